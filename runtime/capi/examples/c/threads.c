/* Two threads, each with a session of its own, on one model: `threads MODEL PROMPT PROMPT`. Writes both
 * texts, in the order of the prompts. */
#define _POSIX_C_SOURCE 200809L

#include <minigpt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TEXT 4096

/* What a thread works on; the model is shared. */
typedef struct teller {
    const minigpt_model *model;
    const char *prompt;
    char text[MAX_TEXT];
    size_t bytes;
    minigpt_status status;
} teller;

static int32_t keep(void *user, const char *text, size_t bytes) {
    teller *t = user;
    if (bytes > MAX_TEXT - t->bytes) {
        return 1;
    }
    memcpy(t->text + t->bytes, text, bytes);
    t->bytes += bytes;
    return 0;
}

static void *tell(void *argument) {
    teller *t = argument;
    MINIGPT_ALIGNAS unsigned char sampler_memory[MINIGPT_SAMPLER_BYTES];
    minigpt_sampler_options sampling = MINIGPT_SAMPLER_OPTIONS_INIT;
    minigpt_generate_options options = MINIGPT_GENERATE_OPTIONS_INIT;
    minigpt_session *session = NULL;
    minigpt_sampler *sampler = NULL;
    uint32_t history[1024];
    size_t bytes = 0;
    sampling.temperature = 0.8f;
    sampling.top_p = 0.95f;
    sampling.seed = 7;
    options.max_tokens = 40;
    options.echo = 1;
    t->status = minigpt_session_bytes(t->model, NULL, &bytes);
    if (t->status != MINIGPT_OK) {
        return NULL;
    }
    void *memory = aligned_alloc(MINIGPT_ALIGNMENT, bytes);
    t->status = minigpt_session_init(t->model, NULL, memory, bytes, &session);
    if (t->status == MINIGPT_OK) {
        t->status =
            minigpt_sampler_init(&sampling, sampler_memory, sizeof sampler_memory, &sampler);
    }
    if (t->status == MINIGPT_OK) {
        t->status = minigpt_generate(session, sampler, &options, t->prompt, strlen(t->prompt),
                                     history, 1024, keep, t, NULL);
    }
    free(memory);
    return NULL;
}

static unsigned char *read_file(const char *path, size_t *bytes) {
    FILE *file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0) {
        perror(path);
        exit(1);
    }
    *bytes = (size_t)ftell(file);
    rewind(file);
    size_t room = (*bytes + MINIGPT_ALIGNMENT) / MINIGPT_ALIGNMENT * MINIGPT_ALIGNMENT;
    unsigned char *content = aligned_alloc(MINIGPT_ALIGNMENT, room);
    if (content == NULL || fread(content, 1, *bytes, file) != *bytes) {
        perror(path);
        exit(1);
    }
    fclose(file);
    return content;
}

int main(int argc, char **argv) {
    static MINIGPT_ALIGNAS unsigned char model_memory[MINIGPT_MODEL_BYTES];
    static teller tellers[2];
    pthread_t threads[2];
    minigpt_model *model = NULL;
    size_t bytes = 0;
    if (argc != 4) {
        fprintf(stderr, "usage: %s MODEL PROMPT PROMPT\n", argv[0]);
        return 2;
    }
    unsigned char *file = read_file(argv[1], &bytes);
    minigpt_status status =
        minigpt_model_open(file, bytes, model_memory, sizeof model_memory, &model);
    if (status != MINIGPT_OK) {
        fprintf(stderr, "error: %s: %s\n", argv[1], minigpt_status_text(status));
        return 1;
    }
    for (int i = 0; i < 2; i++) {
        tellers[i].model = model;
        tellers[i].prompt = argv[2 + i];
        if (pthread_create(&threads[i], NULL, tell, &tellers[i]) != 0) {
            fprintf(stderr, "error: the system gives no thread\n");
            return 1;
        }
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        if (tellers[i].status != MINIGPT_OK) {
            fprintf(stderr, "error: %s\n", minigpt_status_text(tellers[i].status));
            return 1;
        }
        fwrite(tellers[i].text, 1, tellers[i].bytes, stdout);
        putchar('\n');
    }
    free(file);
    return 0;
}
