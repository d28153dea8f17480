#include <minigpt.h>
#include <stdio.h>
#include <stdlib.h>

static MINIGPT_ALIGNAS unsigned char file[16 << 20], model_memory[MINIGPT_MODEL_BYTES],
    sampler_memory[MINIGPT_SAMPLER_BYTES];

static int32_t write_text(void *user, const char *text, size_t bytes) {
    return fwrite(text, 1, bytes, user) != bytes; /* 0: go on */
}

static void check(minigpt_status status) {
    if (status != MINIGPT_OK) {
        fprintf(stderr, "error: %s\n", minigpt_status_text(status));
        exit(1);
    }
}

int main(int argc, char **argv) {
    minigpt_model *model;
    minigpt_session *session;
    minigpt_sampler *sampler;
    minigpt_sampler_options options = MINIGPT_SAMPLER_OPTIONS_INIT;
    uint32_t history[1024];
    size_t bytes;

    FILE *in = argc > 1 ? fopen(argv[1], "rb") : NULL;
    if (in == NULL) {
        fprintf(stderr, "usage: minimal MODEL.mgpt\n");
        return 2;
    }
    check(minigpt_model_open(file, fread(file, 1, sizeof file, in), model_memory,
                             sizeof model_memory, &model));
    check(minigpt_model_verify(model)); /* the checksum */

    check(minigpt_session_bytes(model, NULL, &bytes));
    void *memory = aligned_alloc(MINIGPT_ALIGNMENT, bytes);
    check(minigpt_session_init(model, NULL, memory, bytes, &session));

    options.temperature = 0.8f;
    options.seed = 7;
    check(minigpt_sampler_init(&options, sampler_memory, sizeof sampler_memory, &sampler));

    check(minigpt_generate(session, sampler, NULL, "Once upon a time", 16, history, 1024,
                           write_text, stdout, NULL));
    putchar('\n');
    free(memory);
    return 0;
}
