/* What the tests share: a check that names its line, and a model that is ready to run. */
#ifndef CHECK_H
#define CHECK_H

#include <minigpt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Counts, and says what is wrong and where. */
extern int failures;

#define CHECK(condition)                                                              \
    do {                                                                              \
        if (!(condition)) {                                                           \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
            failures++;                                                               \
        }                                                                             \
    } while (0)

/* That a call says `expected`. */
#define SAYS(expected, call)                                                                   \
    do {                                                                                       \
        minigpt_status said_ = (call);                                                         \
        if (said_ != (expected)) {                                                             \
            fprintf(stderr, "%s:%d: %s says %d (%s), expected %s\n", __FILE__, __LINE__, #call, \
                    (int)said_, minigpt_status_text(said_), #expected);                        \
            failures++;                                                                        \
        }                                                                                      \
    } while (0)

/* Aligned memory that exactly one object or file takes: a byte beyond it is seen by the sanitizer and by
 * valgrind. */
void *memory_of(size_t bytes);

/* A model file and objects on it, all freed by `fixture_end`. */
typedef struct fixture {
    unsigned char *file;
    size_t file_bytes;
    void *memory[4];
    size_t session_bytes;
    minigpt_model *model;
    minigpt_session *session;
    minigpt_sampler *sampler;
    minigpt_decoder *decoder;
    minigpt_model_facts facts;
} fixture;

void fixture_begin(fixture *f, const char *path);
void fixture_end(fixture *f);

/* The tests; each gets the path of a model with a byte-level BPE. */
void test_open(const char *path);
void test_arguments(const char *path);
void test_options(const char *path);
void test_objects(const char *path);
void test_text(const char *path);
void test_generate(const char *path);

/* Compares a model with the `.txt` beside it. */
void test_golden(const char *path);

#endif
