/* Objects that were never begun, were copied, overwritten, closed, or taken for another kind; and calls in
 * the wrong order. */
#include "check.h"

static void never_begun(const fixture *f) {
    unsigned char *memory = memory_of(f->session_bytes);
    minigpt_session *session = (minigpt_session *)(void *)memory;
    float *logits = NULL;
    uint32_t token = 1;
    char out[8];
    size_t n = 0;
    for (int fill = 0; fill < 256; fill += 85) {
        memset(memory, fill, f->session_bytes);
        SAYS(MINIGPT_NOT_READY, minigpt_session_forward(session, &token, 1, &logits));
        SAYS(MINIGPT_NOT_READY, minigpt_session_close(session));
        SAYS(MINIGPT_NOT_READY, minigpt_model_verify((minigpt_model *)(void *)memory));
        SAYS(MINIGPT_NOT_READY,
             minigpt_session_init((minigpt_model *)(void *)memory, NULL, f->memory[1],
                                  f->session_bytes, &session));
        SAYS(MINIGPT_NOT_READY, minigpt_sampler_sample((minigpt_sampler *)(void *)memory, logits, 0, &token));
        SAYS(MINIGPT_NOT_READY,
             minigpt_decoder_push((minigpt_decoder *)(void *)memory, 1, out, 8, &n));
    }
    free(memory);
}

static void other_kind(const fixture *f) {
    uint32_t n = 0;
    SAYS(MINIGPT_NOT_READY, minigpt_session_position((minigpt_session *)(void *)f->model, &n));
    SAYS(MINIGPT_NOT_READY, minigpt_model_verify((minigpt_model *)(void *)f->session));
    SAYS(MINIGPT_NOT_READY, minigpt_model_verify((minigpt_model *)(void *)f->sampler));
    SAYS(MINIGPT_NOT_READY, minigpt_model_verify((minigpt_model *)(void *)f->decoder));
}

static void copied(const fixture *f) {
    uint32_t n = 0;
    void *memory = memory_of(f->session_bytes);
    memcpy(memory, f->memory[1], f->session_bytes);
    SAYS(MINIGPT_NOT_READY, minigpt_session_position(memory, &n));
    free(memory);
    memory = memory_of(minigpt_model_bytes());
    memcpy(memory, f->memory[0], minigpt_model_bytes());
    SAYS(MINIGPT_NOT_READY, minigpt_model_verify(memory));
    free(memory);
}

/* A model that is closed before what refers to it. */
static void closed_too_early(fixture *f) {
    float *logits = NULL;
    uint32_t token = 1, n_ctx = 0;
    size_t n = 0;
    char out[64];
    SAYS(MINIGPT_OK, minigpt_session_forward(f->session, &token, 1, &logits));
    SAYS(MINIGPT_OK, minigpt_model_close(f->model));
    SAYS(MINIGPT_CLOSED, minigpt_model_close(f->model));
    SAYS(MINIGPT_CLOSED, minigpt_model_verify(f->model));
    SAYS(MINIGPT_CLOSED, minigpt_session_forward(f->session, &token, 1, &logits));
    SAYS(MINIGPT_CLOSED, minigpt_session_position(f->session, &n_ctx));
    SAYS(MINIGPT_CLOSED, minigpt_session_reset(f->session));
    SAYS(MINIGPT_CLOSED, minigpt_decoder_push(f->decoder, 1, out, sizeof out, &n));
    SAYS(MINIGPT_CLOSED, minigpt_session_init(f->model, NULL, f->memory[1], f->session_bytes,
                                              &f->session));
    SAYS(MINIGPT_CLOSED, minigpt_encode(f->model, "a", 1, &token, 1, &n));
    SAYS(MINIGPT_OK, minigpt_model_open(f->file, f->file_bytes, f->memory[0], minigpt_model_bytes(),
                                        &f->model));
    SAYS(MINIGPT_OK, minigpt_session_forward(f->session, &token, 1, &logits));
}

/* Another model in the memory of the one that a session knows. */
static void exchanged(fixture *f) {
    uint32_t token = 1;
    float *logits = NULL;
    unsigned char *other = memory_of(f->file_bytes);
    memcpy(other, f->file, f->file_bytes);
    SAYS(MINIGPT_OK,
         minigpt_model_open(other, f->file_bytes, f->memory[0], minigpt_model_bytes(), &f->model));
    SAYS(MINIGPT_CLOSED, minigpt_session_forward(f->session, &token, 1, &logits));
    SAYS(MINIGPT_OK, minigpt_model_open(f->file, f->file_bytes, f->memory[0], minigpt_model_bytes(),
                                        &f->model));
    free(other);
}

/* The context: full, truncated, reset, begun anew. */
static void order(fixture *f) {
    uint32_t tokens[33], n = 0;
    size_t kept = 0;
    float *logits = NULL;
    for (uint32_t i = 0; i < 33; i++) {
        tokens[i] = i;
    }
    SAYS(MINIGPT_OK, minigpt_session_reset(f->session));
    SAYS(MINIGPT_CONTEXT_FULL, minigpt_session_forward(f->session, tokens, 33, &logits));
    SAYS(MINIGPT_OK, minigpt_session_forward(f->session, tokens, 32, &logits));
    SAYS(MINIGPT_CONTEXT_FULL, minigpt_session_forward(f->session, tokens, 1, &logits));
    SAYS(MINIGPT_OK, minigpt_session_position(f->session, &n));
    CHECK(n == 32);
    SAYS(MINIGPT_OK, minigpt_session_slide(f->session, tokens, 33, 1, &kept, &logits));
    SAYS(MINIGPT_OK, minigpt_session_position(f->session, &n));
    CHECK(n == kept && tokens[0] == 0 && tokens[kept - 1] == 32);
    SAYS(MINIGPT_OK, minigpt_session_truncate(f->session, 3));
    SAYS(MINIGPT_OK, minigpt_session_truncate(f->session, 30));
    SAYS(MINIGPT_OK, minigpt_session_position(f->session, &n));
    CHECK(n == 3);
    SAYS(MINIGPT_OK, minigpt_session_close(f->session));
    SAYS(MINIGPT_CLOSED, minigpt_session_forward(f->session, tokens, 1, &logits));
    SAYS(MINIGPT_CLOSED, minigpt_session_close(f->session));
    minigpt_session_options one = MINIGPT_SESSION_OPTIONS_INIT;
    one.n_ctx = 1;
    SAYS(MINIGPT_OK, minigpt_session_init(f->model, &one, f->memory[1], f->session_bytes, &f->session));
    SAYS(MINIGPT_CONTEXT_TOO_SHORT, minigpt_session_slide(f->session, tokens, 1, 0, &kept, &logits));
    SAYS(MINIGPT_OK, minigpt_session_context(f->session, &n));
    CHECK(n == 1);
    SAYS(MINIGPT_OK, minigpt_session_forward(f->session, tokens, 1, &logits));
}

/* Begun, and then not stepped to its end. */
static void sliced(fixture *f) {
    uint32_t tokens[3] = {5, 6, 7}, n = 0, last = 5;
    float *logits = NULL;
    size_t bytes = f->facts.n_vocab * sizeof(float), steps = 0;
    float *whole = memory_of(bytes);
    SAYS(MINIGPT_OK, minigpt_session_init(f->model, NULL, f->memory[1], f->session_bytes, &f->session));
    SAYS(MINIGPT_OK, minigpt_session_forward(f->session, tokens, 3, &logits));
    memcpy(whole, logits, bytes);
    SAYS(MINIGPT_OK, minigpt_session_truncate(f->session, 2));
    SAYS(MINIGPT_NOT_BEGUN, minigpt_session_step(f->session, 100, &logits));
    SAYS(MINIGPT_OK, minigpt_session_begin(f->session, tokens, 1));
    SAYS(MINIGPT_OK, minigpt_session_step(f->session, 100, &logits));
    CHECK(logits == NULL);
    SAYS(MINIGPT_OK, minigpt_session_begin(f->session, &tokens[2], 1));
    for (logits = NULL; logits == NULL && steps < 100000; steps++) {
        SAYS(MINIGPT_OK, minigpt_session_step(f->session, 100, &logits));
        SAYS(MINIGPT_OK, minigpt_session_position(f->session, &n));
        CHECK(n == (logits == NULL ? 2 : 3));
    }
    CHECK(steps > 50 && logits != NULL && memcmp(whole, logits, bytes) == 0);
    SAYS(MINIGPT_NOT_BEGUN, minigpt_session_step(f->session, 100, &logits));
    SAYS(MINIGPT_OK, minigpt_session_begin(f->session, &last, 1));
    SAYS(MINIGPT_OK, minigpt_session_reset(f->session));
    SAYS(MINIGPT_NOT_BEGUN, minigpt_session_step(f->session, 100, &logits));
    free(whole);
}

void test_objects(const char *path) {
    fixture f;
    fixture_begin(&f, path);
    never_begun(&f);
    other_kind(&f);
    copied(&f);
    closed_too_early(&f);
    exchanged(&f);
    order(&f);
    sliced(&f);
    fixture_end(&f);
}
