/* Continues a text with a model from a file, which is mapped and not read:
 *
 *     generate MODEL [PROMPT [TEMPERATURE [TOP_P [SEED [MAX_TOKENS]]]]]
 *
 * The text goes to standard output as it is made; `minigpt generate --kv f16` writes the same one. */
#define _POSIX_C_SOURCE 200809L

#include <fcntl.h>
#include <minigpt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Ends the program with a sentence if a call did not go well. */
static void check(const char *what, minigpt_status status) {
    if (status != MINIGPT_OK) {
        fprintf(stderr, "error: %s: %s\n", what, minigpt_status_text(status));
        exit(1);
    }
}

static const void *mapped(const char *path, size_t *bytes) {
    struct stat facts;
    int file = open(path, O_RDONLY);
    if (file < 0 || fstat(file, &facts) != 0) {
        perror(path);
        exit(1);
    }
    *bytes = (size_t)facts.st_size;
    const void *content = mmap(NULL, *bytes, PROT_READ, MAP_PRIVATE, file, 0);
    if (content == MAP_FAILED) {
        perror(path);
        exit(1);
    }
    close(file);
    return content;
}

static int32_t write_text(void *user, const char *text, size_t bytes) {
    return fwrite(text, 1, bytes, user) != bytes || fflush(user) != 0;
}

/* The arguments behind MODEL and PROMPT. */
static void parse(int argc, char **argv, minigpt_sampler_options *sampling,
                  minigpt_generate_options *options) {
    sampling->temperature = argc > 3 ? strtof(argv[3], NULL) : 0.8f;
    sampling->top_p = argc > 4 ? strtof(argv[4], NULL) : 0.95f;
    sampling->seed = argc > 5 ? strtoull(argv[5], NULL, 10) : 1;
    options->max_tokens = argc > 6 ? (uint32_t)strtoul(argv[6], NULL, 10) : 100;
    options->echo = 1;
}

/* A session in memory of its own, to be freed, and the length of its context. */
static minigpt_session *session_on(const minigpt_model *model, size_t *n_ctx) {
    minigpt_session_options options = MINIGPT_SESSION_OPTIONS_INIT;
    minigpt_session *session = NULL;
    uint32_t context = 0;
    size_t bytes = 0;
    options.n_chunk = 32;
    options.kv = MINIGPT_KV_F16;
    check("the session", minigpt_session_bytes(model, &options, &bytes));
    /* aligned_alloc wants a multiple of the alignment; what the library asks for is one. */
    void *memory = aligned_alloc(MINIGPT_ALIGNMENT, bytes);
    check("the session", minigpt_session_init(model, &options, memory, bytes, &session));
    check("the session", minigpt_session_context(session, &context));
    *n_ctx = context;
    return session;
}

int main(int argc, char **argv) {
    static MINIGPT_ALIGNAS unsigned char model_memory[MINIGPT_MODEL_BYTES];
    static MINIGPT_ALIGNAS unsigned char sampler_memory[MINIGPT_SAMPLER_BYTES];
    minigpt_sampler_options sampling = MINIGPT_SAMPLER_OPTIONS_INIT;
    minigpt_generate_options options = MINIGPT_GENERATE_OPTIONS_INIT;
    minigpt_model *model = NULL;
    minigpt_sampler *sampler = NULL;
    size_t file_bytes = 0, n_ctx = 0;
    if (argc < 2) {
        fprintf(stderr, "usage: %s MODEL [PROMPT [TEMPERATURE [TOP_P [SEED [MAX_TOKENS]]]]]\n", argv[0]);
        return 2;
    }
    const char *prompt = argc > 2 ? argv[2] : "";
    const void *file = mapped(argv[1], &file_bytes);
    check(argv[1], minigpt_model_open(file, file_bytes, model_memory, sizeof model_memory, &model));
    check(argv[1], minigpt_model_verify(model));
    parse(argc, argv, &sampling, &options);
    check("options",
          minigpt_sampler_init(&sampling, sampler_memory, sizeof sampler_memory, &sampler));
    minigpt_session *session = session_on(model, &n_ctx);

    size_t room = strlen(prompt) + 2 > n_ctx + 1 ? strlen(prompt) + 2 : n_ctx + 1;
    uint32_t *history = malloc(room * sizeof *history);
    check("the prompt", minigpt_generate(session, sampler, &options, prompt, strlen(prompt), history,
                                         room, write_text, stdout, NULL));
    putchar('\n');

    free(history);
    free(session);
    munmap((void *)(uintptr_t)file, file_bytes);
    return 0;
}
