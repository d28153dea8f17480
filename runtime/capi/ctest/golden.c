/* The answers of the Rust session that are committed beside each model: tokens, and for integer weights the
 * bits of all logits. */
#include "check.h"

#define PROMPT " the then"

/* The numbers of a line `name: [1, 2]` or `[1a, 2b]`, and how many. */
static size_t numbers(const char *line, int base, uint32_t *out, size_t max) {
    const char *at = strchr(line, '[');
    size_t n = 0;
    while (at != NULL && *at != ']' && n < max) {
        char *end = NULL;
        out[n] = (uint32_t)strtoul(at + 1, &end, base);
        if (end == at + 1) {
            break;
        }
        n++;
        at = end;
    }
    return n;
}

/* The tokens that a greedy sampler adds. */
static void greedy(fixture *f, const uint32_t *expected, size_t n, float *logits) {
    for (size_t i = 0; i < n; i++) {
        uint32_t token = 0;
        SAYS(MINIGPT_OK, minigpt_sampler_sample(f->sampler, logits, f->facts.n_tokens, &token));
        CHECK(token == expected[i]);
        SAYS(MINIGPT_OK, minigpt_session_forward(f->session, &token, 1, &logits));
    }
}

void test_golden(const char *path) {
    fixture f;
    char name[1024], line[1024];
    uint32_t row[64], tokens[64], steps[64];
    size_t n = 0, n_steps = 0, n_logits = 0, bytes = 0;
    float *logits = NULL;
    fixture_begin(&f, path);
    snprintf(name, sizeof name, "%.*s.txt", (int)(strrchr(path, '.') - path), path);
    FILE *file = fopen(name, "r");
    CHECK(file != NULL);
    SAYS(MINIGPT_OK, minigpt_encode(f.model, PROMPT, strlen(PROMPT), tokens, 64, &n));
    SAYS(MINIGPT_OK, minigpt_session_forward(f.session, tokens, n, &logits));
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, "prompt", 6) == 0) {
            size_t n_prompt = numbers(line, 10, row, 64);
            CHECK(n_prompt == n && memcmp(row, tokens, n * sizeof *row) == 0);
        } else if (strncmp(line, "greedy", 6) == 0) {
            n_steps = numbers(line, 10, steps, 64);
        } else {
            bytes = numbers(line, 16, row, 64) * sizeof *row;
            CHECK(bytes > 0 && memcmp(row, logits + n_logits, bytes) == 0);
            n_logits += bytes / sizeof *row;
        }
    }
    CHECK(n_steps > 0);
    CHECK(f.facts.format < MINIGPT_FORMAT_Q8 || n_logits == f.facts.n_vocab);
    greedy(&f, steps, n_steps, logits);
    if (file != NULL) {
        fclose(file);
    }
    fixture_end(&f);
}
