/* Options of every version and value. */
#include "check.h"

#include <math.h>

/* The layout that the library was compiled with. */
#define AT(type, member, offset) \
    typedef char type##_##member[offsetof(type, member) == (offset) ? 1 : -1]
AT(minigpt_model_facts, n_tokens, 12);
AT(minigpt_model_facts, rope_theta, 44);
AT(minigpt_model_facts, bits_per_byte, 84);
AT(minigpt_model_facts, file_bytes, 88);
AT(minigpt_session_options, kv, 12);
AT(minigpt_sampler_options, temperature, 4);
AT(minigpt_sampler_options, top_p, 12);
AT(minigpt_sampler_options, seed, 16);
AT(minigpt_penalty_options, window, 16);
AT(minigpt_generate_options, echo, 8);
AT(minigpt_generated, n_tokens, 12);
typedef char facts_size[sizeof(minigpt_model_facts) == 96 ? 1 : -1];
typedef char session_size[sizeof(minigpt_session_options) == 16 ? 1 : -1];
typedef char sampler_size[sizeof(minigpt_sampler_options) == 24 ? 1 : -1];
typedef char penalty_size[sizeof(minigpt_penalty_options) == 20 ? 1 : -1];
typedef char generate_size[sizeof(minigpt_generate_options) == 12 ? 1 : -1];
typedef char generated_size[sizeof(minigpt_generated) == 16 ? 1 : -1];

/* Options of a newer version of the library. */
typedef struct newer {
    minigpt_session_options known;
    uint32_t added[4];
} newer;

static void versions(const fixture *f) {
    newer options = {MINIGPT_SESSION_OPTIONS_INIT, {0, 0, 0, 0}};
    size_t n = 0, plain = 0;
    options.known.n_ctx = 8;
    SAYS(MINIGPT_OK, minigpt_session_bytes(f->model, &options.known, &plain));
    options.known.size = sizeof options;
    SAYS(MINIGPT_OK, minigpt_session_bytes(f->model, &options.known, &n));
    CHECK(n == plain && n < f->session_bytes);
    options.added[3] = 1;
    SAYS(MINIGPT_OPTIONS_SIZE, minigpt_session_bytes(f->model, &options.known, &n));
    for (uint32_t size = 0; size < sizeof options.known; size++) {
        options.known.size = size;
        SAYS(MINIGPT_OPTIONS_SIZE, minigpt_session_bytes(f->model, &options.known, &n));
    }
    options.known.size = UINT32_MAX;
    SAYS(MINIGPT_OPTIONS_SIZE, minigpt_session_bytes(f->model, &options.known, &n));
    minigpt_sampler_options sampling = {0, 0.0f, 0, 0.0f, 0};
    minigpt_sampler *sampler = NULL;
    void *memory = memory_of(minigpt_sampler_bytes());
    SAYS(MINIGPT_OPTIONS_SIZE,
         minigpt_sampler_init(&sampling, memory, minigpt_sampler_bytes(), &sampler));
    free(memory);
}

/* Facts of an older and of a newer version: nothing beyond the size is touched. */
static void facts(const fixture *f) {
    struct {
        minigpt_model_facts known;
        uint32_t added[2];
    } newer = {MINIGPT_MODEL_FACTS_INIT, {3, 4}};
    newer.known.size = sizeof newer;
    SAYS(MINIGPT_OK, minigpt_model_facts_of(f->model, &newer.known));
    CHECK(newer.added[0] == 3 && newer.added[1] == 4 && newer.known.size == sizeof newer);
    newer.known.size = f->facts.size;
    CHECK(memcmp(&newer.known, &f->facts, sizeof f->facts) == 0);
    newer.known.size = 8;
    SAYS(MINIGPT_OPTIONS_SIZE, minigpt_model_facts_of(f->model, &newer.known));
    CHECK(f->facts.format == MINIGPT_FORMAT_Q8 && f->facts.positions == MINIGPT_POSITIONS_ROPE);
    CHECK(f->facts.norm == MINIGPT_NORM_RMS_NORM && f->facts.mlp == MINIGPT_MLP_SWIGLU);
    CHECK(f->facts.tokenizer == MINIGPT_TOKENIZER_BPE && f->facts.bits_per_byte == 1.25f);
    CHECK(f->facts.n_ctx == 32 && f->facts.n_embd == 40 && f->facts.n_head == 4);
    CHECK(f->facts.n_head_kv == 2 && f->facts.n_layer == 2 && f->facts.n_ff == 41);
    CHECK(f->facts.bias == 0 && f->facts.tied_head == 1 && f->facts.rope_theta == 10000.0f);
    CHECK(f->facts.file_bytes == f->file_bytes && f->facts.n_tokens <= f->facts.n_vocab);
    CHECK(f->facts.bos == MINIGPT_NO_TOKEN || f->facts.bos < f->facts.n_tokens);
    const char *text = NULL;
    size_t n = 0;
    SAYS(MINIGPT_OK, minigpt_model_name(f->model, &text, &n));
    CHECK(n == 6 && memcmp(text, "golden", n) == 0);
    SAYS(MINIGPT_OK, minigpt_model_made_by(f->model, &text, &n));
    CHECK(n == 27 && memcmp(text, "the test write_golden_files", n) == 0);
}

/* What fits is what was asked for, and not a byte more was needed. */
static void memory(const fixture *f) {
    size_t needed = 0;
    uint32_t n_ctx = 0;
    minigpt_session_options options = MINIGPT_SESSION_OPTIONS_INIT;
    options.n_ctx = 11;
    options.kv = MINIGPT_KV_F16;
    SAYS(MINIGPT_OK, minigpt_session_bytes(f->model, &options, &needed));
    SAYS(MINIGPT_OK, minigpt_session_fit(f->model, &options, needed, &n_ctx));
    CHECK(n_ctx >= 11);
    options.n_ctx = n_ctx + 1;
    SAYS(MINIGPT_OK, minigpt_session_bytes(f->model, &options, &needed));
    SAYS(MINIGPT_OK, minigpt_session_fit(f->model, &options, needed - 1, &n_ctx));
    CHECK(n_ctx == options.n_ctx - 1);
    options.n_ctx = UINT32_MAX;
    options.n_chunk = UINT32_MAX;
    SAYS(MINIGPT_OK, minigpt_session_bytes(f->model, &options, &needed));
    options.kv = 17;
    SAYS(MINIGPT_BAD_KV, minigpt_session_bytes(f->model, &options, &needed));
    SAYS(MINIGPT_BAD_KV, minigpt_session_fit(f->model, &options, needed, &n_ctx));
    CHECK(minigpt_model_bytes() <= MINIGPT_MODEL_BYTES);
    CHECK(minigpt_sampler_bytes() <= MINIGPT_SAMPLER_BYTES);
    CHECK(minigpt_decoder_bytes() <= MINIGPT_DECODER_BYTES);
    CHECK(minigpt_alignment() == MINIGPT_ALIGNMENT && minigpt_abi() == MINIGPT_ABI);
}

static minigpt_status sampling(float temperature, uint32_t top_k, float top_p) {
    minigpt_sampler_options options = MINIGPT_SAMPLER_OPTIONS_INIT;
    minigpt_sampler *sampler = NULL;
    void *room = memory_of(minigpt_sampler_bytes());
    options.temperature = temperature;
    options.top_k = top_k;
    options.top_p = top_p;
    minigpt_status status =
        minigpt_sampler_init(&options, room, minigpt_sampler_bytes(), &sampler);
    free(room);
    return status;
}

static minigpt_status penalty(float repetition, float presence, float frequency) {
    minigpt_penalty_options options = MINIGPT_PENALTY_OPTIONS_INIT;
    float logits[1] = {1.0f};
    const uint32_t history[1] = {0};
    options.repetition = repetition;
    options.presence = presence;
    options.frequency = frequency;
    return minigpt_logits_penalize(logits, 1, &options, history, 1);
}

/* What the functions do to logits; token 3 is said twice, and there is no token 9. */
static void logits(void) {
    float x[4] = {2.0f, -2.0f, 4.0f, 1.0f};
    const uint32_t history[6] = {2, 9, 1, 3, 3, 9};
    const uint32_t tokens[3] = {0, 9, 2};
    const float biases[3] = {0.5f, 1.0f, -INFINITY};
    minigpt_penalty_options options = MINIGPT_PENALTY_OPTIONS_INIT;
    options.repetition = 2.0f;
    options.presence = 0.5f;
    options.frequency = 0.25f;
    SAYS(MINIGPT_OK, minigpt_logits_penalize(x, 4, &options, history, 6));
    CHECK(x[0] == 2.0f && x[1] == -4.75f && x[2] == 1.25f && x[3] == -0.5f);
    options.window = 2;
    SAYS(MINIGPT_OK, minigpt_logits_penalize(x, 4, &options, history, 6));
    CHECK(x[0] == 2.0f && x[1] == -4.75f && x[2] == 1.25f && x[3] == -1.75f);
    SAYS(MINIGPT_OK, minigpt_logits_bias(x, 4, tokens, biases, 3));
    CHECK(x[0] == 2.5f && x[2] == -INFINITY && x[3] == -1.75f);
    SAYS(MINIGPT_OK, minigpt_logits_keep_min_p(x, 4, 0.0f, 1.0f));
    CHECK(x[1] == -4.75f && x[3] == -1.75f);
    SAYS(MINIGPT_OK, minigpt_logits_keep_min_p(x, 4, 0.01f, 1.0f));
    CHECK(x[0] == 2.5f && x[1] == -INFINITY && x[3] == -1.75f);
    SAYS(MINIGPT_OK, minigpt_logits_keep_min_p(x, 4, 0.5f, 1.0f));
    CHECK(x[0] == 2.5f && x[3] == -INFINITY);
    SAYS(MINIGPT_BAD_MIN_P, minigpt_logits_keep_min_p(x, 4, 1.5f, 1.0f));
    SAYS(MINIGPT_BAD_MIN_P, minigpt_logits_keep_min_p(x, 4, NAN, 1.0f));
    SAYS(MINIGPT_BAD_TEMPERATURE, minigpt_logits_keep_min_p(x, 4, 0.5f, -1.0f));
    SAYS(MINIGPT_OK, penalty(0.0f, 0.0f, 0.0f));
    SAYS(MINIGPT_BAD_PENALTY, penalty(-1.0f, 0.0f, 0.0f));
    SAYS(MINIGPT_BAD_PENALTY, penalty(NAN, 0.0f, 0.0f));
    SAYS(MINIGPT_BAD_PENALTY, penalty(0.0f, INFINITY, 0.0f));
    SAYS(MINIGPT_BAD_PENALTY, penalty(0.0f, 0.0f, NAN));
}

void test_options(const char *path) {
    fixture f;
    fixture_begin(&f, path);
    logits();
    versions(&f);
    facts(&f);
    memory(&f);
    SAYS(MINIGPT_OK, sampling(0.8f, 40, 0.9f));
    SAYS(MINIGPT_OK, sampling(0.8f, minigpt_max_top_k(), 1.0f));
    SAYS(MINIGPT_BAD_TEMPERATURE, sampling(-1.0f, 0, 0.0f));
    SAYS(MINIGPT_BAD_TEMPERATURE, sampling(NAN, 0, 0.0f));
    SAYS(MINIGPT_BAD_TEMPERATURE, sampling(INFINITY, 0, 0.0f));
    SAYS(MINIGPT_BAD_TOP_K, sampling(1.0f, minigpt_max_top_k() + 1, 0.0f));
    SAYS(MINIGPT_BAD_TOP_P, sampling(1.0f, 0, 1.5f));
    SAYS(MINIGPT_BAD_TOP_P, sampling(1.0f, 0, -0.5f));
    SAYS(MINIGPT_BAD_TOP_P, sampling(1.0f, 0, NAN));
    fixture_end(&f);
}
