/* A control loop that also tells a story: each turn does its own work, then gives the model a bounded
 * piece of its own: `sliced MODEL PROMPT BUDGET`, the budget in multiply-adds a turn. The text is the same
 * for every budget. */
#include <minigpt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_PROMPT 256
static MINIGPT_ALIGNAS unsigned char model_memory[MINIGPT_MODEL_BYTES];
static MINIGPT_ALIGNAS unsigned char sampler_memory[MINIGPT_SAMPLER_BYTES];
static MINIGPT_ALIGNAS unsigned char decoder_memory[MINIGPT_DECODER_BYTES];

/* A story in the making. */
typedef struct story {
    minigpt_session *session;
    minigpt_sampler *sampler;
    minigpt_decoder *decoder;
    uint32_t n_tokens; /* logits to choose from */
    uint32_t eos, bos;
    uint32_t tokens[MAX_PROMPT + 2];
    size_t n, next; /* tokens of the prompt, and the one that goes in next */
    int left;       /* tokens still to be made */
} story;

static void check(minigpt_status status) {
    if (status != MINIGPT_OK) {
        fprintf(stderr, "error: %s\n", minigpt_status_text(status));
        exit(1);
    }
}

/* At most `budget` multiply-adds of work on the story; 0 when it is told. */
static int story_turn(story *s, size_t budget) {
    float *logits = NULL;
    char text[256];
    size_t bytes = 0;
    uint32_t token = 0;
    check(minigpt_session_step(s->session, budget, &logits));
    if (logits == NULL) {
        return 1; /* the token is not done: more in the next turn */
    }
    if (s->next < s->n) {
        check(minigpt_session_begin(s->session, &s->tokens[s->next++], 1));
        return 1; /* the prompt */
    }
    check(minigpt_sampler_sample(s->sampler, logits, s->n_tokens, &token));
    if (token == s->eos || token == s->bos) {
        return 0;
    }
    check(minigpt_decoder_push(s->decoder, token, text, sizeof text, &bytes));
    fwrite(text, 1, bytes, stdout);
    if (--s->left == 0) {
        return 0;
    }
    return minigpt_session_begin(s->session, &token, 1) == MINIGPT_OK; /* else the context is full */
}

static void story_begin(story *s, const minigpt_model *model, const char *prompt) {
    minigpt_model_facts facts = MINIGPT_MODEL_FACTS_INIT;
    minigpt_session_options options = MINIGPT_SESSION_OPTIONS_INIT;
    minigpt_sampler_options sampling = MINIGPT_SAMPLER_OPTIONS_INIT;
    size_t bytes = 0;
    options.kv = MINIGPT_KV_Q8;
    check(minigpt_session_bytes(model, &options, &bytes));
    void *memory = aligned_alloc(MINIGPT_ALIGNMENT, bytes);
    check(minigpt_session_init(model, &options, memory, bytes, &s->session));
    sampling.temperature = 0.8f;
    sampling.seed = 7;
    check(minigpt_sampler_init(&sampling, sampler_memory, sizeof sampler_memory, &s->sampler));
    check(minigpt_decoder_init(model, 1, decoder_memory, sizeof decoder_memory, &s->decoder));
    check(minigpt_model_facts_of(model, &facts));
    s->n_tokens = facts.n_tokens;
    s->eos = facts.eos;
    s->bos = facts.bos;
    check(minigpt_encode_prompt(model, prompt, strlen(prompt), s->tokens, MAX_PROMPT + 2, &s->n));
    s->next = 1;
    s->left = 20;
    check(minigpt_session_begin(s->session, &s->tokens[0], 1));
}

int main(int argc, char **argv) {
    static story s;
    minigpt_model *model = NULL;
    static MINIGPT_ALIGNAS unsigned char file[1 << 20];
    if (argc != 4) {
        fprintf(stderr, "usage: %s MODEL PROMPT BUDGET\n", argv[0]);
        return 2;
    }
    FILE *in = fopen(argv[1], "rb");
    if (in == NULL) {
        perror(argv[1]);
        return 1;
    }
    size_t bytes = fread(file, 1, sizeof file, in);
    fclose(in);
    check(minigpt_model_open(file, bytes, model_memory, sizeof model_memory, &model));
    story_begin(&s, model, argv[2]);
    size_t budget = strtoul(argv[3], NULL, 10);
    unsigned long turns = 0;
    fputs(argv[2], stdout);
    do {
        turns++; /* here the loop's own work: sensors, motors, the radio */
    } while (story_turn(&s, budget));
    putchar('\n');
    fprintf(stderr, "%lu turns\n", turns);
    free(s.session);
    return 0;
}
