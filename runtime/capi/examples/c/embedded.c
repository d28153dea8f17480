/* A model that is part of the program, and each step by hand: tokens, logits, choice, text. Nothing is
 * allocated. `model.inc` holds the file's bytes, made by
 *
 *     od -An -v -tu1 MODEL.mgpt | sed 's/[0-9]\{1,\}/&,/g' > model.inc
 *
 * It takes a prompt as its argument and writes 40 tokens more. */
#include <minigpt.h>
#include <stdio.h>
#include <string.h>

static const MINIGPT_ALIGNAS unsigned char MODEL[] = {
#include "model.inc"
};

#define MAX_PROMPT 128
static MINIGPT_ALIGNAS unsigned char model_memory[MINIGPT_MODEL_BYTES];
static MINIGPT_ALIGNAS unsigned char sampler_memory[MINIGPT_SAMPLER_BYTES];
static MINIGPT_ALIGNAS unsigned char decoder_memory[MINIGPT_DECODER_BYTES];
/* As much as this program gives; the context is as long as it allows. */
static MINIGPT_ALIGNAS unsigned char session_memory[64 * 1024];

/* Leaves the function with the status of a call that did not go well. */
#define TRY(call)                       \
    do {                                \
        minigpt_status status_ = (call); \
        if (status_ != MINIGPT_OK) {    \
            return status_;             \
        }                               \
    } while (0)

/* Begins a session with the longest context that the memory allows. */
static minigpt_status begin(const minigpt_model *model, minigpt_session **session) {
    minigpt_session_options options = MINIGPT_SESSION_OPTIONS_INIT;
    options.kv = MINIGPT_KV_F16;
    TRY(minigpt_session_fit(model, &options, sizeof session_memory, &options.n_ctx));
    return minigpt_session_init(model, &options, session_memory, sizeof session_memory, session);
}

static minigpt_status tell(const minigpt_model *model, minigpt_session *session, const char *prompt) {
    minigpt_model_facts facts = MINIGPT_MODEL_FACTS_INIT;
    minigpt_sampler_options sampling = MINIGPT_SAMPLER_OPTIONS_INIT;
    minigpt_sampler *sampler = NULL;
    minigpt_decoder *decoder = NULL;
    uint32_t tokens[MAX_PROMPT + 2];
    size_t n = 0, bytes = 0;
    float *logits = NULL;
    char text[256];
    sampling.temperature = 0.8f;
    sampling.top_p = 0.95f;
    sampling.seed = 7;
    TRY(minigpt_model_facts_of(model, &facts));
    TRY(minigpt_sampler_init(&sampling, sampler_memory, sizeof sampler_memory, &sampler));
    TRY(minigpt_decoder_init(model, 0, decoder_memory, sizeof decoder_memory, &decoder));
    TRY(minigpt_encode_prompt(model, prompt, strlen(prompt), tokens, MAX_PROMPT + 2, &n));
    TRY(minigpt_decoder_push_bytes(decoder, prompt, strlen(prompt), text, sizeof text, &bytes));
    fwrite(text, 1, bytes, stdout);
    TRY(minigpt_session_forward(session, tokens, n, &logits));
    for (int i = 0; i < 40; i++) {
        uint32_t token = 0;
        TRY(minigpt_sampler_sample(sampler, logits, facts.n_tokens, &token));
        if (token == facts.eos || token == facts.bos) {
            break;
        }
        TRY(minigpt_decoder_push(decoder, token, text, sizeof text, &bytes));
        fwrite(text, 1, bytes, stdout);
        if (minigpt_session_forward(session, &token, 1, &logits) == MINIGPT_CONTEXT_FULL) {
            break;
        }
    }
    TRY(minigpt_decoder_finish(decoder, text, sizeof text, &bytes));
    fwrite(text, 1, bytes, stdout);
    putchar('\n');
    return MINIGPT_OK;
}

int main(int argc, char **argv) {
    minigpt_model *model = NULL;
    minigpt_session *session = NULL;
    minigpt_status status =
        minigpt_model_open(MODEL, sizeof MODEL, model_memory, sizeof model_memory, &model);
    if (status == MINIGPT_OK) {
        status = begin(model, &session);
    }
    if (status == MINIGPT_OK) {
        status = tell(model, session, argc > 1 ? argv[1] : "");
    }
    if (status != MINIGPT_OK) {
        fprintf(stderr, "error: %s\n", minigpt_status_text(status));
        return 1;
    }
    return 0;
}
