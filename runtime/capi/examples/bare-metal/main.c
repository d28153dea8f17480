#include <minigpt.h>
#include <stdio.h>

#ifndef PROMPT
#define PROMPT "Once upon a time"
#define SAMPLING {sizeof(minigpt_sampler_options), 0.8f, 0, 0.95f, 7} /* temperature, top-k, top-p, seed */
#define MAX_TOKENS 60
#endif

/* The model's partition, as in the linker script: the program does not contain the model. */
#define MODEL ((const void *)0x00100000)
#define MODEL_BYTES 0x00300000

/* All memory. The context is as long as the session's allows. */
static MINIGPT_ALIGNAS unsigned char model_memory[MINIGPT_MODEL_BYTES];
static MINIGPT_ALIGNAS unsigned char sampler_memory[MINIGPT_SAMPLER_BYTES];
static MINIGPT_ALIGNAS unsigned char session_memory[64 * 1024];
static uint32_t history[512];

/* Semihosting here; on a board a serial port. */
static int32_t write_text(void *user, const char *text, size_t bytes) {
    (void)user;
    return fwrite(text, 1, bytes, stdout) != bytes;
}

#define TRY(call)                  \
    if ((status = (call)) != MINIGPT_OK) return status

static minigpt_status tell(void) {
    minigpt_session_options options = MINIGPT_SESSION_OPTIONS_INIT;
    minigpt_sampler_options sampling = SAMPLING;
    minigpt_generate_options asked = {sizeof asked, MAX_TOKENS, 1};
    minigpt_model *model;
    minigpt_session *session;
    minigpt_sampler *sampler;
    minigpt_status status;
    options.kv = MINIGPT_KV_F16;
    TRY(minigpt_model_open_at(MODEL, MODEL_BYTES, model_memory, sizeof model_memory, &model));
    TRY(minigpt_model_verify(model)); /* an upload may have broken off */
    TRY(minigpt_session_fit(model, &options, sizeof session_memory, &options.n_ctx));
    TRY(minigpt_session_init(model, &options, session_memory, sizeof session_memory, &session));
    TRY(minigpt_sampler_init(&sampling, sampler_memory, sizeof sampler_memory, &sampler));
    return minigpt_generate(session, sampler, &asked, PROMPT, sizeof PROMPT - 1, history,
                            sizeof history / sizeof *history, write_text, NULL, NULL);
}

int main(void) {
    minigpt_status status = tell();
    puts(status == MINIGPT_OK ? "" : minigpt_status_text(status));
    return status != MINIGPT_OK;
}
