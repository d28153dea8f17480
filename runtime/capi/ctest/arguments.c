/* Every function with NULL, misaligned and too little. */
#include "check.h"

static unsigned char bytes[64];
/* One byte past an aligned address. */
#define ODD(type) ((type)(void *)(bytes + 1 + (16 - (uintptr_t)bytes % 16) % 16))

static void model_arguments(const fixture *f) {
    minigpt_model_facts facts = MINIGPT_MODEL_FACTS_INIT;
    const char *text = NULL;
    size_t n = 0;
    const minigpt_model *model = f->model;
    SAYS(MINIGPT_NULL, minigpt_model_verify(NULL));
    SAYS(MINIGPT_MISALIGNED, minigpt_model_verify(ODD(minigpt_model *)));
    SAYS(MINIGPT_NULL, minigpt_model_facts_of(NULL, &facts));
    SAYS(MINIGPT_NULL, minigpt_model_facts_of(model, NULL));
    SAYS(MINIGPT_MISALIGNED, minigpt_model_facts_of(ODD(minigpt_model *), &facts));
    SAYS(MINIGPT_MISALIGNED, minigpt_model_facts_of(model, ODD(minigpt_model_facts *)));
    SAYS(MINIGPT_NULL, minigpt_model_name(NULL, &text, &n));
    SAYS(MINIGPT_NULL, minigpt_model_name(model, NULL, &n));
    SAYS(MINIGPT_NULL, minigpt_model_name(model, &text, NULL));
    SAYS(MINIGPT_MISALIGNED, minigpt_model_name(model, ODD(const char **), &n));
    SAYS(MINIGPT_MISALIGNED, minigpt_model_name(model, &text, ODD(size_t *)));
    SAYS(MINIGPT_NULL, minigpt_model_made_by(NULL, &text, &n));
    SAYS(MINIGPT_NULL, minigpt_model_made_by(model, NULL, &n));
    SAYS(MINIGPT_NULL, minigpt_model_made_by(model, &text, NULL));
    SAYS(MINIGPT_NULL, minigpt_model_close(NULL));
    SAYS(MINIGPT_MISALIGNED, minigpt_model_close(ODD(minigpt_model *)));
    CHECK(text == NULL && n == 0);
}

static void init_arguments(const fixture *f) {
    size_t n = 0, all = f->session_bytes;
    uint32_t n_ctx = 0;
    minigpt_session *session = NULL;
    unsigned char *memory = memory_of(all + 16);
    SAYS(MINIGPT_NULL, minigpt_session_bytes(NULL, NULL, &n));
    SAYS(MINIGPT_NULL, minigpt_session_bytes(f->model, NULL, NULL));
    SAYS(MINIGPT_MISALIGNED, minigpt_session_bytes(f->model, ODD(minigpt_session_options *), &n));
    SAYS(MINIGPT_MISALIGNED, minigpt_session_bytes(f->model, NULL, ODD(size_t *)));
    SAYS(MINIGPT_NULL, minigpt_session_fit(NULL, NULL, all, &n_ctx));
    SAYS(MINIGPT_NULL, minigpt_session_fit(f->model, NULL, all, NULL));
    SAYS(MINIGPT_MISALIGNED, minigpt_session_fit(f->model, NULL, all, ODD(uint32_t *)));
    SAYS(MINIGPT_MEMORY_TOO_SMALL, minigpt_session_fit(f->model, NULL, 0, &n_ctx));
    SAYS(MINIGPT_NULL, minigpt_session_init(NULL, NULL, memory, all, &session));
    SAYS(MINIGPT_NULL, minigpt_session_init(f->model, NULL, NULL, all, &session));
    SAYS(MINIGPT_NULL, minigpt_session_init(f->model, NULL, memory, all, NULL));
    SAYS(MINIGPT_MISALIGNED, minigpt_session_init(f->model, NULL, memory + 4, all, &session));
    SAYS(MINIGPT_MISALIGNED,
         minigpt_session_init(f->model, NULL, memory, all, ODD(minigpt_session **)));
    SAYS(MINIGPT_MEMORY_TOO_SMALL, minigpt_session_init(f->model, NULL, memory, all - 1, &session));
    SAYS(MINIGPT_MEMORY_TOO_SMALL, minigpt_session_init(f->model, NULL, memory, 0, &session));
    SAYS(MINIGPT_TOO_LARGE, minigpt_session_init(f->model, NULL, memory, SIZE_MAX, &session));
    SAYS(MINIGPT_OVERLAP, minigpt_session_init(f->model, NULL, f->file, all, &session));
    SAYS(MINIGPT_OVERLAP, minigpt_session_init(f->model, NULL, f->memory[0], all, &session));
    CHECK(session == NULL && n == 0 && n_ctx == 0);
    free(memory);
}

static void session_arguments(const fixture *f) {
    uint32_t tokens[2] = {1, 2}, count = 0, unknown = f->facts.n_vocab;
    size_t kept = 0;
    float *logits = NULL;
    const char *text = NULL;
    minigpt_session *session = f->session;
    SAYS(MINIGPT_NULL, minigpt_session_forward(NULL, tokens, 2, &logits));
    SAYS(MINIGPT_NULL, minigpt_session_forward(session, NULL, 2, &logits));
    SAYS(MINIGPT_NULL, minigpt_session_forward(session, tokens, 2, NULL));
    SAYS(MINIGPT_MISALIGNED, minigpt_session_forward(session, ODD(uint32_t *), 2, &logits));
    SAYS(MINIGPT_MISALIGNED, minigpt_session_forward(session, tokens, 2, ODD(float **)));
    SAYS(MINIGPT_TOO_LARGE, minigpt_session_forward(session, tokens, SIZE_MAX / 2, &logits));
    SAYS(MINIGPT_TOO_LARGE, minigpt_session_forward(session, tokens, SIZE_MAX / 4, &logits));
    SAYS(MINIGPT_EMPTY, minigpt_session_forward(session, tokens, 0, &logits));
    SAYS(MINIGPT_EMPTY, minigpt_session_forward(session, NULL, 0, &logits));
    SAYS(MINIGPT_UNKNOWN_TOKEN, minigpt_session_forward(session, &unknown, 1, &logits));
    SAYS(MINIGPT_NULL, minigpt_session_begin(NULL, tokens, 1));
    SAYS(MINIGPT_NULL, minigpt_session_begin(session, NULL, 1));
    SAYS(MINIGPT_MISALIGNED, minigpt_session_begin(session, ODD(uint32_t *), 1));
    SAYS(MINIGPT_EMPTY, minigpt_session_begin(session, tokens, 0));
    SAYS(MINIGPT_UNKNOWN_TOKEN, minigpt_session_begin(session, &unknown, 1));
    SAYS(MINIGPT_CHUNK_TOO_LONG, minigpt_session_begin(session, tokens, 2));
    SAYS(MINIGPT_NOT_BEGUN, minigpt_session_step(session, 1, &logits));
    SAYS(MINIGPT_NULL, minigpt_session_step(NULL, 1, &logits));
    SAYS(MINIGPT_NULL, minigpt_session_step(session, 1, NULL));
    SAYS(MINIGPT_MISALIGNED, minigpt_session_step(session, 1, ODD(float **)));
    SAYS(MINIGPT_NULL, minigpt_session_slide(NULL, tokens, 2, 0, &kept, &logits));
    SAYS(MINIGPT_NULL, minigpt_session_slide(session, NULL, 2, 0, &kept, &logits));
    SAYS(MINIGPT_NULL, minigpt_session_slide(session, tokens, 2, 0, NULL, &logits));
    SAYS(MINIGPT_NULL, minigpt_session_slide(session, tokens, 2, 0, &kept, NULL));
    SAYS(MINIGPT_EMPTY, minigpt_session_slide(session, tokens, 0, 0, &kept, &logits));
    SAYS(MINIGPT_UNKNOWN_TOKEN, minigpt_session_slide(session, &unknown, 1, 0, &kept, &logits));
    SAYS(MINIGPT_NULL, minigpt_session_position(NULL, &count));
    SAYS(MINIGPT_NULL, minigpt_session_position(session, NULL));
    SAYS(MINIGPT_MISALIGNED, minigpt_session_position(session, ODD(uint32_t *)));
    SAYS(MINIGPT_NULL, minigpt_session_context(NULL, &count));
    SAYS(MINIGPT_NULL, minigpt_session_context(session, NULL));
    SAYS(MINIGPT_NULL, minigpt_session_kernels(NULL, &text, &kept));
    SAYS(MINIGPT_NULL, minigpt_session_kernels(session, NULL, &kept));
    SAYS(MINIGPT_NULL, minigpt_session_kernels(session, &text, NULL));
    SAYS(MINIGPT_NULL, minigpt_session_truncate(NULL, 0));
    SAYS(MINIGPT_NULL, minigpt_session_reset(NULL));
    SAYS(MINIGPT_NULL, minigpt_session_close(NULL));
    SAYS(MINIGPT_MISALIGNED, minigpt_session_reset(ODD(minigpt_session *)));
    CHECK(logits == NULL && count == 0 && kept == 0 && text == NULL);
}

static void sampler_arguments(const fixture *f) {
    size_t all = minigpt_sampler_bytes();
    unsigned char *memory = memory_of(all + 16);
    minigpt_sampler *sampler = NULL;
    float logits[2] = {1.0f, 2.0f};
    uint32_t token = 7;
    SAYS(MINIGPT_NULL, minigpt_sampler_init(NULL, NULL, all, &sampler));
    SAYS(MINIGPT_NULL, minigpt_sampler_init(NULL, memory, all, NULL));
    SAYS(MINIGPT_MISALIGNED, minigpt_sampler_init(NULL, memory + 1, all, &sampler));
    SAYS(MINIGPT_MISALIGNED,
         minigpt_sampler_init(ODD(minigpt_sampler_options *), memory, all, &sampler));
    SAYS(MINIGPT_MEMORY_TOO_SMALL, minigpt_sampler_init(NULL, memory, all - 1, &sampler));
    SAYS(MINIGPT_NULL, minigpt_sampler_sample(NULL, logits, 2, &token));
    SAYS(MINIGPT_NULL, minigpt_sampler_sample(f->sampler, NULL, 2, &token));
    SAYS(MINIGPT_NULL, minigpt_sampler_sample(f->sampler, logits, 2, NULL));
    SAYS(MINIGPT_MISALIGNED, minigpt_sampler_sample(f->sampler, ODD(float *), 2, &token));
    SAYS(MINIGPT_EMPTY, minigpt_sampler_sample(f->sampler, logits, 0, &token));
    CHECK(sampler == NULL && token == 7);
    SAYS(MINIGPT_OK, minigpt_sampler_sample(f->sampler, logits, 2, &token));
    CHECK(token == 1);
    free(memory);
}

static void logits_arguments(void) {
    float logits[4] = {1.0f, 2.0f, 3.0f, 4.0f}, biases[1] = {1.0f};
    uint32_t tokens[1] = {2};
    minigpt_penalty_options options = MINIGPT_PENALTY_OPTIONS_INIT;
    SAYS(MINIGPT_NULL, minigpt_logits_bias(NULL, 4, tokens, biases, 1));
    SAYS(MINIGPT_NULL, minigpt_logits_bias(logits, 4, NULL, biases, 1));
    SAYS(MINIGPT_NULL, minigpt_logits_bias(logits, 4, tokens, NULL, 1));
    SAYS(MINIGPT_MISALIGNED, minigpt_logits_bias(ODD(float *), 4, tokens, biases, 1));
    SAYS(MINIGPT_TOO_LARGE, minigpt_logits_bias(logits, SIZE_MAX, tokens, biases, 1));
    SAYS(MINIGPT_OK, minigpt_logits_bias(logits, 4, NULL, NULL, 0));
    SAYS(MINIGPT_NULL, minigpt_logits_penalize(NULL, 4, &options, tokens, 1));
    SAYS(MINIGPT_NULL, minigpt_logits_penalize(logits, 4, &options, NULL, 1));
    SAYS(MINIGPT_MISALIGNED, minigpt_logits_penalize(logits, 4, &options, ODD(uint32_t *), 1));
    SAYS(MINIGPT_MISALIGNED,
         minigpt_logits_penalize(logits, 4, ODD(minigpt_penalty_options *), tokens, 1));
    SAYS(MINIGPT_OK, minigpt_logits_penalize(logits, 4, NULL, tokens, 1));
    options.size = 19;
    SAYS(MINIGPT_OPTIONS_SIZE, minigpt_logits_penalize(logits, 4, &options, tokens, 1));
    SAYS(MINIGPT_NULL, minigpt_logits_keep_min_p(NULL, 4, 0.5f, 1.0f));
    SAYS(MINIGPT_MISALIGNED, minigpt_logits_keep_min_p(ODD(float *), 4, 0.5f, 1.0f));
    SAYS(MINIGPT_OK, minigpt_logits_keep_min_p(NULL, 0, 0.5f, 1.0f));
    CHECK(logits[0] == 1.0f && logits[1] == 2.0f && logits[2] == 3.0f && logits[3] == 4.0f);
}

static void text_arguments(const fixture *f) {
    size_t n = 77, all = minigpt_decoder_bytes();
    uint32_t tokens[8];
    char out[8];
    unsigned char *memory = memory_of(all + 16);
    minigpt_decoder *decoder = NULL;
    SAYS(MINIGPT_NULL, minigpt_encode(NULL, "a", 1, tokens, 8, &n));
    SAYS(MINIGPT_NULL, minigpt_encode(f->model, NULL, 1, tokens, 8, &n));
    SAYS(MINIGPT_NULL, minigpt_encode(f->model, "a", 1, NULL, 8, &n));
    SAYS(MINIGPT_NULL, minigpt_encode(f->model, "a", 1, tokens, 8, NULL));
    SAYS(MINIGPT_MISALIGNED, minigpt_encode(f->model, "a", 1, ODD(uint32_t *), 8, &n));
    SAYS(MINIGPT_TOO_LARGE, minigpt_encode(f->model, "a", SIZE_MAX, tokens, 8, &n));
    SAYS(MINIGPT_NULL, minigpt_encode_prompt(NULL, "a", 1, tokens, 8, &n));
    SAYS(MINIGPT_NULL, minigpt_encode_prompt(f->model, NULL, 1, tokens, 8, &n));
    SAYS(MINIGPT_NULL, minigpt_encode_prompt(f->model, "a", 1, NULL, 8, &n));
    SAYS(MINIGPT_NULL, minigpt_encode_prompt(f->model, "a", 1, tokens, 8, NULL));
    SAYS(MINIGPT_NULL, minigpt_token_bytes(NULL, 1, out, 8, &n));
    SAYS(MINIGPT_NULL, minigpt_token_bytes(f->model, 1, NULL, 8, &n));
    SAYS(MINIGPT_NULL, minigpt_token_bytes(f->model, 1, out, 8, NULL));
    SAYS(MINIGPT_UNKNOWN_TOKEN, minigpt_token_bytes(f->model, f->facts.n_tokens, out, 8, &n));
    SAYS(MINIGPT_NULL, minigpt_decoder_init(NULL, 0, memory, all, &decoder));
    SAYS(MINIGPT_NULL, minigpt_decoder_init(f->model, 0, NULL, all, &decoder));
    SAYS(MINIGPT_NULL, minigpt_decoder_init(f->model, 0, memory, all, NULL));
    SAYS(MINIGPT_MISALIGNED, minigpt_decoder_init(f->model, 0, memory + 2, all, &decoder));
    SAYS(MINIGPT_MEMORY_TOO_SMALL, minigpt_decoder_init(f->model, 0, memory, all - 1, &decoder));
    SAYS(MINIGPT_NULL, minigpt_decoder_push(NULL, 1, out, 8, &n));
    SAYS(MINIGPT_NULL, minigpt_decoder_push(f->decoder, 1, NULL, 8, &n));
    SAYS(MINIGPT_NULL, minigpt_decoder_push(f->decoder, 1, out, 8, NULL));
    SAYS(MINIGPT_UNKNOWN_TOKEN,
         minigpt_decoder_push(f->decoder, f->facts.n_tokens, out, 8, &n));
    SAYS(MINIGPT_NULL, minigpt_decoder_push_bytes(NULL, "a", 1, out, 8, &n));
    SAYS(MINIGPT_NULL, minigpt_decoder_push_bytes(f->decoder, NULL, 1, out, 8, &n));
    SAYS(MINIGPT_NULL, minigpt_decoder_push_bytes(f->decoder, "a", 1, NULL, 8, &n));
    SAYS(MINIGPT_NULL, minigpt_decoder_push_bytes(f->decoder, "a", 1, out, 8, NULL));
    SAYS(MINIGPT_NULL, minigpt_decoder_finish(NULL, out, 8, &n));
    SAYS(MINIGPT_NULL, minigpt_decoder_finish(f->decoder, NULL, 8, &n));
    SAYS(MINIGPT_NULL, minigpt_decoder_finish(f->decoder, out, 8, NULL));
    CHECK(decoder == NULL && n == 77);
    free(memory);
}

static int32_t ignore(void *user, const char *text, size_t n) {
    (void)user, (void)text, (void)n;
    return 0;
}

static void generate_arguments(const fixture *f) {
    uint32_t history[64];
    minigpt_session *session = f->session;
    minigpt_sampler *sampler = f->sampler;
    SAYS(MINIGPT_NULL, minigpt_generate(NULL, sampler, NULL, "a", 1, history, 64, ignore, NULL, NULL));
    SAYS(MINIGPT_NULL, minigpt_generate(session, NULL, NULL, "a", 1, history, 64, ignore, NULL, NULL));
    SAYS(MINIGPT_NULL, minigpt_generate(session, sampler, NULL, NULL, 1, history, 64, ignore, NULL, NULL));
    SAYS(MINIGPT_NULL, minigpt_generate(session, sampler, NULL, "a", 1, NULL, 64, ignore, NULL, NULL));
    SAYS(MINIGPT_NULL, minigpt_generate(session, sampler, NULL, "a", 1, history, 64, NULL, NULL, NULL));
    SAYS(MINIGPT_MISALIGNED, minigpt_generate(session, sampler, NULL, "a", 1, ODD(uint32_t *), 4,
                                              ignore, NULL, NULL));
    SAYS(MINIGPT_MISALIGNED, minigpt_generate(session, sampler, NULL, "a", 1, history, 64, ignore,
                                              NULL, ODD(minigpt_generated *)));
    SAYS(MINIGPT_BUFFER_TOO_SMALL,
         minigpt_generate(session, sampler, NULL, "a b", 3, history, 1, ignore, NULL, NULL));
    SAYS(MINIGPT_BUFFER_TOO_SMALL,
         minigpt_generate(session, sampler, NULL, "", 0, NULL, 0, ignore, NULL, NULL));
}

void test_arguments(const char *path) {
    fixture f;
    fixture_begin(&f, path);
    model_arguments(&f);
    init_arguments(&f);
    session_arguments(&f);
    sampler_arguments(&f);
    logits_arguments();
    text_arguments(&f);
    generate_arguments(&f);
    fixture_end(&f);
}
