/* Text to tokens and back, generating, and the committed answers. */
#include "check.h"

static void encode(const fixture *f) {
    const char *text = "the theatre, 3 \xC3\xA9t\xC3\xA9s";
    uint32_t tokens[32];
    size_t n = 0, needed = 0;
    SAYS(MINIGPT_BUFFER_TOO_SMALL, minigpt_encode(f->model, text, strlen(text), tokens, 2, &needed));
    CHECK(needed == strlen(text) + 1);
    SAYS(MINIGPT_OK, minigpt_encode(f->model, text, strlen(text), tokens, needed, &n));
    CHECK(n > 3 && n < strlen(text));
    char out[64];
    size_t at = 0, bytes = 0;
    for (size_t i = 0; i < n; i++) {
        SAYS(MINIGPT_OK, minigpt_token_bytes(f->model, tokens[i], out + at, sizeof out - at, &bytes));
        at += bytes;
    }
    CHECK(at == strlen(text) && memcmp(out, text, at) == 0);
    SAYS(MINIGPT_BUFFER_TOO_SMALL, minigpt_token_bytes(f->model, tokens[0], NULL, 0, &bytes));
    CHECK(bytes > 0);
    SAYS(MINIGPT_OK, minigpt_encode(f->model, NULL, 0, NULL, 0, &n));
    CHECK(n == 0);
    SAYS(MINIGPT_OK, minigpt_encode_prompt(f->model, "", 0, tokens, 1, &n));
    CHECK(n == 1);
    SAYS(MINIGPT_BUFFER_TOO_SMALL, minigpt_encode_prompt(f->model, "ab", 2, tokens, 0, &n));
    CHECK(n >= 3);
}

/* A character in pieces comes out whole; without room nothing changes. */
static void decode(const fixture *f) {
    char out[8];
    size_t n = 9;
    minigpt_decoder *d = f->decoder;
    SAYS(MINIGPT_OK, minigpt_decoder_push_bytes(d, "\xE2\x82", 2, out, 8, &n));
    CHECK(n == 0);
    SAYS(MINIGPT_BUFFER_TOO_SMALL, minigpt_decoder_push_bytes(d, "\xAC", 1, out, 2, &n));
    CHECK(n == 3);
    SAYS(MINIGPT_OK, minigpt_decoder_push_bytes(d, "\xAC", 1, out, 3, &n));
    CHECK(n == 3 && memcmp(out, "\xE2\x82\xAC", 3) == 0);
    SAYS(MINIGPT_OK, minigpt_decoder_push_bytes(d, "\xF0\x9F", 2, out, 8, &n));
    SAYS(MINIGPT_BUFFER_TOO_SMALL, minigpt_decoder_finish(d, NULL, 0, &n));
    CHECK(n == 3);
    SAYS(MINIGPT_OK, minigpt_decoder_finish(d, out, 8, &n));
    CHECK(n == 3 && memcmp(out, "\xEF\xBF\xBD", 3) == 0);
    SAYS(MINIGPT_OK, minigpt_decoder_finish(d, NULL, 0, &n));
    CHECK(n == 0);
}

void test_text(const char *path) {
    fixture f;
    fixture_begin(&f, path);
    encode(&f);
    decode(&f);
    fixture_end(&f);
}

typedef struct told {
    fixture *f;
    char text[1024];
    size_t n;
    int pieces;
    int stop_after;
    int close;
} told;

static int32_t hear(void *user, const char *text, size_t n) {
    told *t = user;
    uint32_t position = 0, token = 0;
    float logit = 0;
    CHECK(n > 0 && t->n + n < sizeof t->text);
    memcpy(t->text + t->n, text, n);
    t->n += n;
    t->pieces++;
    SAYS(MINIGPT_BUSY, minigpt_session_position(t->f->session, &position));
    SAYS(MINIGPT_BUSY, minigpt_session_reset(t->f->session));
    SAYS(MINIGPT_BUSY, minigpt_session_close(t->f->session));
    SAYS(MINIGPT_BUSY, minigpt_sampler_sample(t->f->sampler, &logit, 1, &token));
    if (t->close) {
        SAYS(MINIGPT_OK, minigpt_model_close(t->f->model));
    }
    return t->pieces == t->stop_after;
}

static minigpt_generated generated(told *t, minigpt_status expected, uint32_t max_tokens,
                                   uint32_t echo, size_t max_history) {
    uint32_t history[64];
    minigpt_generate_options options = MINIGPT_GENERATE_OPTIONS_INIT;
    minigpt_generated result = MINIGPT_GENERATED_INIT;
    options.max_tokens = max_tokens;
    options.echo = echo;
    t->n = 0;
    t->pieces = 0;
    SAYS(expected, minigpt_generate(t->f->session, t->f->sampler, &options, " the then", 9, history,
                                    max_history, hear, t, &result));
    return result;
}

void test_generate(const char *path) {
    fixture f;
    told t, again;
    fixture_begin(&f, path);
    memset(&t, 0, sizeof t);
    t.f = &f;
    minigpt_generated result = generated(&t, MINIGPT_OK, 12, 1, 64);
    CHECK(result.stop == MINIGPT_STOP_MAX_TOKENS && result.n_tokens == 12);
    CHECK(t.n > 9 && memcmp(t.text, " the then", 9) == 0);
    again = t;
    result = generated(&again, MINIGPT_OK, 12, 0, 64);
    CHECK(again.n + 9 == t.n && memcmp(again.text, t.text + 9, again.n) == 0);
    again.stop_after = 2;
    result = generated(&again, MINIGPT_OK, 12, 1, 64);
    CHECK(result.stop == MINIGPT_STOP_CALLBACK && again.pieces == 2 && result.n_tokens < 12);
    again.stop_after = 0;
    result = generated(&again, MINIGPT_OK, 60, 0, 33);
    CHECK(result.stop == MINIGPT_STOP_MAX_TOKENS && result.n_tokens == 60);
    result = generated(&again, MINIGPT_OK, 60, 0, 20);
    CHECK(result.stop == MINIGPT_STOP_CONTEXT && result.n_tokens < 20);
    again.close = 1;
    again.stop_after = 0;
    result = generated(&again, MINIGPT_CLOSED, 12, 1, 64);
    CHECK(again.pieces == 1 && result.stop == 0);
    fixture_end(&f);
}
