/* minigpt.h: GPT inference in the caller's memory. This header is the manual.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * A model is one file, .mgpt, with its tokenizer inside. The library uses it where it lies: in flash,
 * in a mapped file, in an array. It allocates nothing, keeps nothing between calls but what lies in
 * memory that you gave it, and has no global state, so there is nothing to free.
 *
 * In order:
 *
 *     minigpt_model_open      checks a file and borrows it
 *     minigpt_session_bytes   says how much memory a session takes
 *     minigpt_session_init    begins an empty sequence of tokens in that memory
 *     minigpt_sampler_init    says how tokens are chosen
 *     minigpt_generate        continues a text, and calls you for each piece of it
 *
 * and for who wants each step: minigpt_encode_prompt, minigpt_session_forward (or _begin and _step, a
 * bounded piece of work at a time), minigpt_sampler_sample, minigpt_decoder_push.
 *
 * RULES FOR EVERY FUNCTION
 *
 * Status. A function that can fail returns a minigpt_status: MINIGPT_OK, or what is wrong. Numbers
 *   never change their meaning. After a failure nothing has changed, and out-parameters are as they
 *   were; exceptions say so.
 * Pointers. None may be NULL unless it says so; an array of no elements may be. Each points to what
 *   its type says, at that type's alignment. NULL and misaligned pointers are statuses.
 * Objects. minigpt_model, minigpt_session, minigpt_sampler and minigpt_decoder are opaque and live in
 *   memory of yours that is aligned to MINIGPT_ALIGNMENT. The memory must stay where it is and
 *   untouched while the object is in use; copying it does not copy the object. To begin anew, init
 *   the same memory again. An object that was never begun, was copied, overwritten or closed is seen
 *   by a mark in its memory, and is a status.
 * Lifetimes. The file outlives the model, the model its sessions and decoders. The library cannot
 *   see that memory was unmapped or freed: minigpt_model_close says so in time.
 * Threads. A model may be used from many threads at once. A session, a sampler and a decoder belong
 *   to one thread at a time; different ones run at the same time without locks.
 * Options. A struct by pointer whose first member is its size in bytes, which the _INIT macros set.
 *   NULL and zeros are the defaults. A program keeps working with a newer library; with an older one it
 *   gets MINIGPT_OPTIONS_SIZE only if it sets an option that the library does not know.
 * Text. UTF-8, with its length in bytes, without a terminating zero. What comes out is whole
 *   characters, always; bytes that are no character come out as U+FFFD.
 *
 * C99 or later, C++11 or later.
 */
#ifndef MINIGPT_H
#define MINIGPT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Version ------------------------------------------------------------------------------------ */

/* Version of this header. */
#define MINIGPT_VERSION_MAJOR 0
#define MINIGPT_VERSION_MINOR 1
#define MINIGPT_VERSION_PATCH 0

/* Changes when a program must be compiled again: compare it with minigpt_abi(). */
#define MINIGPT_ABI 1

/* MINIGPT_ABI of the library that is linked. */
uint32_t minigpt_abi(void);

/* Version of the library that is linked, such as "0.1.0"; a constant, ends in a zero. */
const char *minigpt_version(void);

/* ---- Statuses ----------------------------------------------------------------------------------- */

typedef int32_t minigpt_status;

#define MINIGPT_OK 0

/* What a call was given. */
#define MINIGPT_NULL 1             /* a pointer is NULL */
#define MINIGPT_MISALIGNED 2       /* a pointer is not aligned */
#define MINIGPT_MEMORY_TOO_SMALL 3 /* the memory given is smaller than the query or the macro says */
#define MINIGPT_TOO_LARGE 4        /* a size is beyond what this machine can address */
#define MINIGPT_NOT_READY 5        /* the object was not begun, was copied, or was overwritten */
#define MINIGPT_CLOSED 6           /* the object was closed, or its model was */
#define MINIGPT_BUSY 7             /* the object is inside minigpt_generate, which called you */
#define MINIGPT_OVERLAP 8          /* memory of an object overlaps the model or its file */
#define MINIGPT_BUFFER_TOO_SMALL 9 /* the output does not fit; its length says what would */
#define MINIGPT_EMPTY 10           /* no tokens, or no logits, were given */
#define MINIGPT_OPTIONS_SIZE 11    /* the size of a struct is of no version that the library knows */

/* The model file. */
#define MINIGPT_NOT_A_MODEL 20       /* it does not begin with "MGPT" */
#define MINIGPT_FILE_VERSION 21      /* it is of a version that this library does not read */
#define MINIGPT_FILE_TRUNCATED 22    /* it ends too early */
#define MINIGPT_FILE_MALFORMED 23    /* it does not decode */
#define MINIGPT_FILE_TOO_LONG 24     /* bytes follow it: minigpt_model_open_at allows that */
#define MINIGPT_FILE_CONFIG 25       /* its sizes are no model's */
#define MINIGPT_FILE_TOKENIZER 26    /* its tokenizer is damaged, or larger than the model */
#define MINIGPT_FILE_WEIGHTS 27      /* its weights are of another length than its sizes ask for */
#define MINIGPT_FILE_MISALIGNED 28   /* it does not lie on a 16-byte boundary */
#define MINIGPT_FILE_CHECKSUM 29     /* it was changed or damaged */
#define MINIGPT_FILE_FORMAT 30  /* the library was built without its weight format, or a part that it needs */

/* Options. */
#define MINIGPT_BAD_KV 40   /* kv is no MINIGPT_KV_ number, or none that the library was built with */
#define MINIGPT_BAD_TEMPERATURE 41 /* temperature is negative or not a number */
#define MINIGPT_BAD_TOP_K 42       /* top_k is above minigpt_max_top_k() */
#define MINIGPT_BAD_TOP_P 43       /* top_p is outside 0 to 1 */
#define MINIGPT_BAD_MIN_P 44       /* the share is outside 0 to 1 */
#define MINIGPT_BAD_PENALTY 45     /* a penalty is not finite, or that for repetition negative */

/* Running. */
#define MINIGPT_CONTEXT_FULL 60      /* the tokens do not fit into the context any more */
#define MINIGPT_CONTEXT_TOO_SHORT 61 /* a context of one token cannot slide */
#define MINIGPT_UNKNOWN_TOKEN 62     /* the vocabulary has no such token */
#define MINIGPT_UNKNOWN_CHARACTER 63 /* the tokenizer's alphabet lacks a character of the text */
#define MINIGPT_INVALID_UTF8 64      /* the text is not UTF-8, which a character tokenizer needs */
#define MINIGPT_CHUNK_TOO_LONG 65    /* more tokens than go through together: n_chunk of the options */
#define MINIGPT_NOT_BEGUN 66         /* nothing was begun that a step could go on with */

/* One sentence that says what `status` means and what to do; a constant, ends in a zero. Of a number
 * that is no status it says so. */
const char *minigpt_status_text(minigpt_status status);

/* ---- Memory ------------------------------------------------------------------------------------- */

/* Alignment of models, files and all memory given to the library, in bytes. */
#define MINIGPT_ALIGNMENT 16

#if defined(__cplusplus)
#define MINIGPT_ALIGNAS alignas(MINIGPT_ALIGNMENT)
#elif defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
#define MINIGPT_ALIGNAS _Alignas(MINIGPT_ALIGNMENT)
#elif defined(__GNUC__)
#define MINIGPT_ALIGNAS __attribute__((aligned(MINIGPT_ALIGNMENT)))
#endif

/* Bytes that hold the object on every target, for arrays of a constant size:
 *     static MINIGPT_ALIGNAS unsigned char memory[MINIGPT_MODEL_BYTES];
 * The memory of a session depends on the model: minigpt_session_bytes. */
#define MINIGPT_MODEL_BYTES 512
#define MINIGPT_SAMPLER_BYTES 128
#define MINIGPT_DECODER_BYTES 64

/* What the linked library needs on this machine: alignment and bytes, at most the numbers above. */
size_t minigpt_alignment(void);
size_t minigpt_model_bytes(void);
size_t minigpt_sampler_bytes(void);
size_t minigpt_decoder_bytes(void);

/* ---- Model -------------------------------------------------------------------------------------- */

typedef struct minigpt_model minigpt_model;

/* Opens the model file that lies in the `file_bytes` bytes at `file`, without copying, and makes the
 * model in `memory`. Checks everything but the checksum: whatever the bytes are, the result is a
 * status or a model that can be used without fear. Takes time linear in the tokenizer's tables, and
 * none for the weights.
 *
 * Statuses: MINIGPT_NULL, MINIGPT_MISALIGNED (memory), MINIGPT_MEMORY_TOO_SMALL, MINIGPT_TOO_LARGE,
 * MINIGPT_OVERLAP, MINIGPT_NOT_A_MODEL to MINIGPT_FILE_FORMAT but MINIGPT_FILE_CHECKSUM. */
minigpt_status minigpt_model_open(const void *file, size_t file_bytes, void *memory,
                                  size_t memory_bytes, minigpt_model **model);

/* The same, whatever follows the file in those bytes: a flash partition. */
minigpt_status minigpt_model_open_at(const void *partition, size_t partition_bytes, void *memory,
                                     size_t memory_bytes, minigpt_model **model);

/* Compares the file's checksum with all of its bytes. Programs on a PC do so once after opening; a
 * microcontroller may.
 *
 * Statuses: MINIGPT_FILE_CHECKSUM; of the object MINIGPT_NULL, MINIGPT_MISALIGNED, MINIGPT_NOT_READY,
 * MINIGPT_CLOSED. Every function gives these four for each object it takes; they are not repeated. */
minigpt_status minigpt_model_verify(const minigpt_model *model);

/* How matrices are stored: `format`. */
#define MINIGPT_FORMAT_F32 0
#define MINIGPT_FORMAT_F16 1
#define MINIGPT_FORMAT_Q8 2
#define MINIGPT_FORMAT_Q8_DSP 3 /* the numbers of q8 in the order that Cortex-M4 and later multiply in */
#define MINIGPT_FORMAT_Q4 4     /* four bits: blocks of 32 with a scale */

/* `positions`. */
#define MINIGPT_POSITIONS_LEARNED 0
#define MINIGPT_POSITIONS_SINUSOIDAL 1
#define MINIGPT_POSITIONS_ROPE 2

/* `norm`. */
#define MINIGPT_NORM_LAYER_NORM 0
#define MINIGPT_NORM_RMS_NORM 1

/* `mlp`. */
#define MINIGPT_MLP_RELU 0
#define MINIGPT_MLP_GELU 1
#define MINIGPT_MLP_SWIGLU 2
#define MINIGPT_MLP_RELU_SQUARED 3

/* `tokenizer`. */
#define MINIGPT_TOKENIZER_BYTE 0
#define MINIGPT_TOKENIZER_CHAR 1
#define MINIGPT_TOKENIZER_BPE 2
#define MINIGPT_TOKENIZER_SENTENCEPIECE 3

/* A special token that the model has not. */
#define MINIGPT_NO_TOKEN 0xFFFFFFFF

/* Facts of a model, in GPT-2's own names. */
typedef struct minigpt_model_facts {
    uint32_t size;       /* sizeof(minigpt_model_facts) */
    uint32_t format;     /* MINIGPT_FORMAT_ */
    uint32_t n_vocab;    /* rows of the embedding: logits that a forward pass gives */
    uint32_t n_tokens;   /* tokens of the tokenizer, at most n_vocab: logits to choose from */
    uint32_t n_ctx;      /* longest context, tokens */
    uint32_t n_embd;     /* width of the residual stream */
    uint32_t n_head;     /* attention heads */
    uint32_t n_head_kv;  /* heads of keys and values */
    uint32_t n_layer;    /* blocks */
    uint32_t n_ff;       /* width inside the MLP */
    uint32_t positions;  /* MINIGPT_POSITIONS_ */
    float rope_theta;    /* base of the rotation frequencies, with MINIGPT_POSITIONS_ROPE */
    uint32_t norm;       /* MINIGPT_NORM_ */
    uint32_t mlp;        /* MINIGPT_MLP_ */
    uint32_t bias;       /* 1 if linear layers and layer norms have biases */
    uint32_t tied_head;  /* 1 if the head is the embedding itself */
    uint32_t tokenizer;  /* MINIGPT_TOKENIZER_ */
    uint32_t pad;        /* special tokens: an id or MINIGPT_NO_TOKEN; this one fills up batches */
    uint32_t unk;        /* stands for what the vocabulary lacks */
    uint32_t bos;        /* begins a document */
    uint32_t eos;        /* ends a document */
    float bits_per_byte; /* validation loss in bits per byte of text; NaN if it was not measured */
    uint64_t file_bytes; /* bytes of the file */
} minigpt_model_facts;

#define MINIGPT_MODEL_FACTS_INIT {sizeof(minigpt_model_facts), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0.0f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0.0f, 0}

/* Writes the facts of `model`; members beyond `facts->size` are not touched.
 *
 * Statuses: MINIGPT_OPTIONS_SIZE. */
minigpt_status minigpt_model_facts_of(const minigpt_model *model, minigpt_model_facts *facts);

/* A name for people, and how the model was made: the command, the data, the seed. `*text` points into
 * the file, `*text_bytes` long, without a terminating zero. */
minigpt_status minigpt_model_name(const minigpt_model *model, const char **text, size_t *text_bytes);
minigpt_status minigpt_model_made_by(const minigpt_model *model, const char **text,
                                     size_t *text_bytes);

/* Ends the use of a model, before its file goes away: what still refers to it gets MINIGPT_CLOSED
 * from then on. Nothing is freed, and a model that lives as long as the program need not be closed.
 * No other thread may be using the model. */
minigpt_status minigpt_model_close(minigpt_model *model);

/* ---- Session ------------------------------------------------------------------------------------ */

/* One sequence of tokens on its way through a model: keys and values so far, and room to work in. */
typedef struct minigpt_session minigpt_session;

/* How keys and values are kept. */
#define MINIGPT_KV_F32 0 /* 4 bytes a value */
#define MINIGPT_KV_F16 1 /* 2 bytes a value, rounded to 11 bits */
#define MINIGPT_KV_Q8 2  /* 1 byte a value, and attention in integers: fastest without an FPU */

typedef struct minigpt_session_options {
    uint32_t size;    /* sizeof(minigpt_session_options) */
    uint32_t n_ctx;   /* longest context in tokens; 0, and more than the model has, for the model's */
    uint32_t n_chunk; /* tokens of a prompt that go through together; 0 for 1. More is faster and takes
                         more memory; the results are the same bits */
    uint32_t kv;      /* MINIGPT_KV_ */
} minigpt_session_options;

#define MINIGPT_SESSION_OPTIONS_INIT {sizeof(minigpt_session_options), 0, 0, MINIGPT_KV_F32}

/* Bytes of memory that minigpt_session_init takes, exactly. `options` may be NULL.
 *
 * Statuses: MINIGPT_OPTIONS_SIZE, MINIGPT_BAD_KV, MINIGPT_FILE_FORMAT, MINIGPT_TOO_LARGE. */
minigpt_status minigpt_session_bytes(const minigpt_model *model,
                                     const minigpt_session_options *options, size_t *bytes);

/* The longest context, in tokens, for which a session with the other `options` fits into `bytes`:
 * what to write into options->n_ctx on a machine with that much memory. `options` may be NULL.
 *
 * Statuses: as minigpt_session_bytes; MINIGPT_MEMORY_TOO_SMALL if not even one token fits. */
minigpt_status minigpt_session_fit(const minigpt_model *model,
                                   const minigpt_session_options *options, size_t bytes,
                                   uint32_t *n_ctx);

/* Begins an empty sequence in `memory`, of which it takes what minigpt_session_bytes says. The kernels
 * are the best this processor has. `options` may be NULL.
 *
 * Statuses: as minigpt_session_bytes; MINIGPT_MISALIGNED, MINIGPT_MEMORY_TOO_SMALL, MINIGPT_OVERLAP. */
minigpt_status minigpt_session_init(const minigpt_model *model,
                                    const minigpt_session_options *options, void *memory,
                                    size_t memory_bytes, minigpt_session **session);

/* Adds `n_tokens` tokens to the sequence and predicts what follows the last of them. Reading a prompt
 * and going on token by token are the same call; how a sequence is divided into calls changes no bit
 * of the result.
 *
 * `*logits` points to n_vocab values inside the session, to be changed as you like, valid until the
 * session's next call.
 *
 * Statuses: MINIGPT_EMPTY, MINIGPT_CONTEXT_FULL, MINIGPT_UNKNOWN_TOKEN. */
minigpt_status minigpt_session_forward(minigpt_session *session, const uint32_t *tokens,
                                       size_t n_tokens, float **logits);

/* Begins to add `n_tokens` tokens, at most n_chunk of the session's options; minigpt_session_step does
 * the work. For programs that have other things to do between two steps of bounded length. The tokens
 * are in the context when the last step is done; another _begin, _forward, _truncate or _reset before
 * that drops them.
 *
 * Statuses: as minigpt_session_forward, MINIGPT_CHUNK_TOO_LONG. */
minigpt_status minigpt_session_begin(minigpt_session *session, const uint32_t *tokens,
                                     size_t n_tokens);

/* Goes on with what was begun for about `budget` multiply-adds, then comes back: with `*logits` NULL if
 * there is more to do, else with the logits, as minigpt_session_forward to the bit. A token takes about
 * as many multiply-adds as the model has weights. A step exceeds its budget by at most one piece that is
 * not divided: eight rows of a matrix and what follows its last ones, attention of one head (2 * head_size
 * multiply-adds and about ten more for each token of the context), the nonlinearity of 32 values (about 16
 * each), or what happens before and after a matrix to its whole input and output: norm, rounding, rotation,
 * the cache (about 16 a value). But for attention and the nonlinearity, times the tokens that were begun
 * with.
 *
 * Statuses: MINIGPT_NOT_BEGUN. */
minigpt_status minigpt_session_step(minigpt_session *session, size_t budget, float **logits);

/* Makes room in a full context: keeps the first `n_keep` tokens of `history` and the later half of the
 * rest, and reads them anew. `history` are the tokens in the context, which the session does not keep,
 * and any that were to follow them. Those kept are written to its front, and their number to
 * `*n_kept`; `*logits` are those after the last of them. At least one more token fits then.
 *
 * Statuses: MINIGPT_EMPTY, MINIGPT_UNKNOWN_TOKEN, MINIGPT_CONTEXT_TOO_SHORT. */
minigpt_status minigpt_session_slide(minigpt_session *session, uint32_t *history, size_t n_history,
                                     size_t n_keep, size_t *n_kept, float **logits);

/* Tokens in the context. */
minigpt_status minigpt_session_position(const minigpt_session *session, uint32_t *n_tokens);

/* Longest context in tokens. */
minigpt_status minigpt_session_context(const minigpt_session *session, uint32_t *n_tokens);

/* The kernels in use, such as "avx2" or "scalar": a constant, without a terminating zero. */
minigpt_status minigpt_session_kernels(const minigpt_session *session, const char **text,
                                       size_t *text_bytes);

/* Forgets all but the first `n_tokens` tokens; nothing if there are no more. */
minigpt_status minigpt_session_truncate(minigpt_session *session, size_t n_tokens);

/* Forgets everything. */
minigpt_status minigpt_session_reset(minigpt_session *session);

/* Ends the use of a session, before its memory serves another purpose. Optional, as for a model. */
minigpt_status minigpt_session_close(minigpt_session *session);

/* ---- Sampler ------------------------------------------------------------------------------------ */

/* How the next token is chosen, and where its random sequence stands. */
typedef struct minigpt_sampler minigpt_sampler;

typedef struct minigpt_sampler_options {
    uint32_t size;     /* sizeof(minigpt_sampler_options) */
    float temperature; /* divides the logits; 0 always takes the most likely token */
    uint32_t top_k;    /* draw only from this many most likely tokens; 0 for all */
    float top_p;       /* draw only from the fewest most likely tokens whose probabilities reach this
                          sum, up to 1; 0 for all */
    uint64_t seed;     /* start of the random sequence: the same seed draws the same tokens on every
                          machine */
} minigpt_sampler_options;

#define MINIGPT_SAMPLER_OPTIONS_INIT {sizeof(minigpt_sampler_options), 0.0f, 0, 0.0f, 0}

/* Largest `top_k`: 1024, on bare metal 64. Choosing takes 8 bytes of stack for each of these. */
uint32_t minigpt_max_top_k(void);

/* Makes a sampler in `memory`. `options` may be NULL: always the most likely token.
 *
 * Statuses: MINIGPT_MISALIGNED, MINIGPT_MEMORY_TOO_SMALL, MINIGPT_OPTIONS_SIZE, MINIGPT_BAD_TEMPERATURE,
 * MINIGPT_BAD_TOP_K, MINIGPT_BAD_TOP_P. */
minigpt_status minigpt_sampler_init(const minigpt_sampler_options *options, void *memory,
                                    size_t memory_bytes, minigpt_sampler **sampler);

/* Chooses a token; `logits` are used up as room to work in. Give the first n_tokens of a model's
 * logits (minigpt_model_facts): the rows behind them stand for no text.
 *
 * Statuses: MINIGPT_EMPTY. */
minigpt_status minigpt_sampler_sample(minigpt_sampler *sampler, float *logits, size_t n_logits,
                                      uint32_t *token);

/* ---- Logits -------------------------------------------------------------------------------------
 *
 * What a program that chooses its tokens itself may do to logits before minigpt_sampler_sample, in this
 * order. One that calls none of it links none of it. */

/* Adds biases[i] to the logit of tokens[i]; -INFINITY bans a token. Tokens that there are not do not count.
 *
 * Statuses: those of every call. */
minigpt_status minigpt_logits_bias(float *logits, size_t n_logits, const uint32_t *tokens,
                                   const float *biases, size_t n_biases);

typedef struct minigpt_penalty_options {
    uint32_t size;    /* sizeof(minigpt_penalty_options) */
    float repetition; /* divides positive logits of tokens that were said and multiplies negative ones; 0
                         or 1 for none */
    float presence;   /* subtracted once for a token that was said; 0 for none */
    float frequency;  /* subtracted for each time that it was said; 0 for none */
    uint32_t window;  /* how many tokens back count; 0 for 64. Time grows with its square */
} minigpt_penalty_options;

#define MINIGPT_PENALTY_OPTIONS_INIT {sizeof(minigpt_penalty_options), 0.0f, 0.0f, 0.0f, 0}

/* Makes tokens less likely that stand among the last of `history`, all tokens so far. `options` may be NULL:
 * no penalty.
 *
 * Statuses: MINIGPT_OPTIONS_SIZE, MINIGPT_BAD_PENALTY. */
minigpt_status minigpt_logits_penalize(float *logits, size_t n_logits,
                                       const minigpt_penalty_options *options, const uint32_t *history,
                                       size_t n_history);

/* Bans tokens that are less than `share` times as likely as the likeliest at `temperature`, the one of the
 * sampler; a `share` of 0 bans none.
 *
 * Statuses: MINIGPT_BAD_MIN_P, MINIGPT_BAD_TEMPERATURE. */
minigpt_status minigpt_logits_keep_min_p(float *logits, size_t n_logits, float share, float temperature);

/* ---- Text --------------------------------------------------------------------------------------- */

/* Encodes `text` and writes the number of tokens; adds neither bos nor eos. Room for text_bytes + 1
 * tokens always suffices.
 *
 * Statuses: MINIGPT_BUFFER_TOO_SMALL, which writes to `*n_tokens` a number that always suffices, and to
 * `tokens` what it likes; with a character tokenizer MINIGPT_UNKNOWN_CHARACTER, MINIGPT_INVALID_UTF8. */
minigpt_status minigpt_encode(const minigpt_model *model, const char *text, size_t text_bytes,
                              uint32_t *tokens, size_t max_tokens, size_t *n_tokens);

/* The same for the beginning of a text: with the model's bos in front, and never empty (without a bos,
 * an empty text begins after a line's end). Room for text_bytes + 2 tokens always suffices. */
minigpt_status minigpt_encode_prompt(const minigpt_model *model, const char *text, size_t text_bytes,
                                     uint32_t *tokens, size_t max_tokens, size_t *n_tokens);

/* The bytes that one token stands for, which need not be whole characters; none for a special token.
 *
 * Statuses: MINIGPT_UNKNOWN_TOKEN, MINIGPT_BUFFER_TOO_SMALL, which writes to `*n_bytes` what it takes. */
minigpt_status minigpt_token_bytes(const minigpt_model *model, uint32_t token, char *bytes,
                                   size_t max_bytes, size_t *n_bytes);

/* Turns tokens into text as they come, whole characters only. */
typedef struct minigpt_decoder minigpt_decoder;

/* Makes a decoder in `memory`. `continuing` is 0 at the beginning of a document, and 1 for one who
 * decodes only what follows a prompt: SentencePiece puts a space before a document, and the decoder
 * drops it again.
 *
 * Statuses: MINIGPT_MISALIGNED, MINIGPT_MEMORY_TOO_SMALL. */
minigpt_status minigpt_decoder_init(const minigpt_model *model, int32_t continuing, void *memory,
                                    size_t memory_bytes, minigpt_decoder **decoder);

/* Decodes a token: writes the text that is complete now, and its length, which may be 0.
 *
 * Statuses: MINIGPT_UNKNOWN_TOKEN, MINIGPT_BUFFER_TOO_SMALL, which writes to `*n_bytes` what it takes;
 * the decoder is then as it was, so call it again with that much room. */
minigpt_status minigpt_decoder_push(minigpt_decoder *decoder, uint32_t token, char *text,
                                    size_t max_bytes, size_t *n_bytes);

/* The same for bytes that stand between tokens, or before the first: the text of a prompt. */
minigpt_status minigpt_decoder_push_bytes(minigpt_decoder *decoder, const char *bytes, size_t n,
                                          char *text, size_t max_bytes, size_t *n_bytes);

/* Ends the text: a character that never became complete becomes U+FFFD, 3 bytes. The decoder is then
 * at the beginning of a document again.
 *
 * Statuses: MINIGPT_BUFFER_TOO_SMALL, as minigpt_decoder_push. */
minigpt_status minigpt_decoder_finish(minigpt_decoder *decoder, char *text, size_t max_bytes,
                                      size_t *n_bytes);

/* ---- Generate ----------------------------------------------------------------------------------- */

typedef struct minigpt_generate_options {
    uint32_t size;       /* sizeof(minigpt_generate_options) */
    uint32_t max_tokens; /* stop after this many tokens; 0 for 256 */
    uint32_t echo;       /* 1: the text begins with the prompt */
} minigpt_generate_options;

#define MINIGPT_GENERATE_OPTIONS_INIT {sizeof(minigpt_generate_options), 0, 0}

/* Why a text ended: `stop`. */
#define MINIGPT_STOP_END_OF_TEXT 1 /* the model ended it */
#define MINIGPT_STOP_MAX_TOKENS 2  /* max_tokens */
#define MINIGPT_STOP_CALLBACK 3    /* you stopped it */
#define MINIGPT_STOP_CONTEXT 4     /* the context is full, and there is no room to slide */

typedef struct minigpt_generated {
    uint32_t size;     /* sizeof(minigpt_generated) */
    uint32_t stop;     /* MINIGPT_STOP_ */
    uint32_t n_prompt; /* tokens of the prompt, bos included */
    uint32_t n_tokens; /* tokens that the model made, the one that ended the text included */
} minigpt_generated;

#define MINIGPT_GENERATED_INIT {sizeof(minigpt_generated), 0, 0, 0}

/* Gets a piece of text, whole characters, `text_bytes` long and valid during the call. Returns 0 to go
 * on, anything else to stop. It may not use the session and the sampler that are generating
 * (MINIGPT_BUSY), nor unwind or longjmp past the library. */
typedef int32_t (*minigpt_on_text)(void *user, const char *text, size_t text_bytes);

/* Forgets what is in `session`, continues `prompt` and calls `on_text` with each piece of the text, as
 * it is made. `user` is handed on and may be NULL, `options` and `generated` too.
 *
 * `history` is room for `max_history` tokens: at least prompt_bytes + 2. Where it holds one more than
 * the session's context, a text that outgrows the context goes on from its bos and its last half
 * context; else it ends with MINIGPT_STOP_CONTEXT.
 *
 * The same model, prompt, options and seed make the same text on every machine, if the weights are q8 or
 * q4; the command `minigpt generate` makes it too.
 *
 * Statuses: MINIGPT_OPTIONS_SIZE, MINIGPT_CONTEXT_FULL (a prompt of more tokens than the context),
 * those of minigpt_encode_prompt; MINIGPT_CLOSED if `on_text` closed the model. */
minigpt_status minigpt_generate(minigpt_session *session, minigpt_sampler *sampler,
                                const minigpt_generate_options *options, const char *prompt,
                                size_t prompt_bytes, uint32_t *history, size_t max_history,
                                minigpt_on_text on_text, void *user, minigpt_generated *generated);

#ifdef __cplusplus
}
#endif

#endif
