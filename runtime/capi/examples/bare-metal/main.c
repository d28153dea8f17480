/* A microcontroller that tells a story. The model is not part of the program: it lies in a flash partition
 * of its own, at MODEL_ADDRESS, and is used there. All memory is in arrays whose sizes are known when this
 * is compiled; there is no heap.
 *
 * The text goes where the C library's stdout goes: here semihosting, on a board a serial port. */
#include <minigpt.h>
#include <stdio.h>

/* The model's partition, as the linker script has it. */
#ifndef MODEL_ADDRESS
#define MODEL_ADDRESS 0x00100000
#endif
#ifndef MODEL_PARTITION_BYTES
#define MODEL_PARTITION_BYTES 0x00300000
#endif
/* Memory for the session; the context is as long as it allows. */
#ifndef SESSION_BYTES
#define SESSION_BYTES (64 * 1024)
#endif
#ifndef PROMPT
#define PROMPT "Once upon a time"
#endif
#ifndef TEMPERATURE
#define TEMPERATURE 0.8f
#endif
#ifndef TOP_P
#define TOP_P 0.95f
#endif
#ifndef SEED
#define SEED 1
#endif
#ifndef MAX_TOKENS
#define MAX_TOKENS 100
#endif

static MINIGPT_ALIGNAS unsigned char model_memory[MINIGPT_MODEL_BYTES];
static MINIGPT_ALIGNAS unsigned char sampler_memory[MINIGPT_SAMPLER_BYTES];
static MINIGPT_ALIGNAS unsigned char session_memory[SESSION_BYTES];
static uint32_t history[1024];

static int32_t write_text(void *user, const char *text, size_t bytes) {
    (void)user;
    return fwrite(text, 1, bytes, stdout) != bytes;
}

static minigpt_status tell(void) {
    minigpt_session_options options = MINIGPT_SESSION_OPTIONS_INIT;
    minigpt_sampler_options sampling = MINIGPT_SAMPLER_OPTIONS_INIT;
    minigpt_generate_options asked = MINIGPT_GENERATE_OPTIONS_INIT;
    minigpt_model *model = NULL;
    minigpt_session *session = NULL;
    minigpt_sampler *sampler = NULL;
    minigpt_status status = minigpt_model_open_at((const void *)MODEL_ADDRESS, MODEL_PARTITION_BYTES,
                                                  model_memory, sizeof model_memory, &model);
    options.kv = MINIGPT_KV_F16;
    if (status == MINIGPT_OK) {
        status = minigpt_session_fit(model, &options, sizeof session_memory, &options.n_ctx);
    }
    if (status == MINIGPT_OK) {
        status = minigpt_session_init(model, &options, session_memory, sizeof session_memory, &session);
    }
    sampling.temperature = TEMPERATURE;
    sampling.top_p = TOP_P;
    sampling.seed = SEED;
    if (status == MINIGPT_OK) {
        status = minigpt_sampler_init(&sampling, sampler_memory, sizeof sampler_memory, &sampler);
    }
    asked.max_tokens = MAX_TOKENS;
    asked.echo = 1;
    if (status == MINIGPT_OK) {
        status = minigpt_generate(session, sampler, &asked, PROMPT, sizeof PROMPT - 1, history,
                                  sizeof history / sizeof *history, write_text, NULL, NULL);
    }
    return status;
}

int main(void) {
    minigpt_status status = tell();
    printf("\n");
    if (status != MINIGPT_OK) {
        printf("error: %s\n", minigpt_status_text(status));
        return 1;
    }
    return 0;
}
