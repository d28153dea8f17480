/* Files that are no models, and memory that is no room. */
#include "check.h"

static minigpt_status opened(const void *file, size_t bytes) {
    minigpt_model *model = NULL;
    void *memory = memory_of(minigpt_model_bytes());
    minigpt_status status =
        minigpt_model_open(file, bytes, memory, minigpt_model_bytes(), &model);
    CHECK((status == MINIGPT_OK) == (model != NULL));
    free(memory);
    return status;
}

/* A changed byte of a copy, or a shorter copy. */
static void damaged(const fixture *f) {
    unsigned char *copy = memory_of(f->file_bytes + 16);
    memcpy(copy, f->file, f->file_bytes);
    memset(copy + f->file_bytes, 0xFF, 16);
    SAYS(MINIGPT_OK, opened(copy, f->file_bytes));
    SAYS(MINIGPT_FILE_TOO_LONG, opened(copy, f->file_bytes + 16));
    memmove(copy + 4, f->file, f->file_bytes);
    SAYS(MINIGPT_FILE_MISALIGNED, opened(copy + 4, f->file_bytes));
    memcpy(copy, f->file, f->file_bytes);
    copy[0] = 'm';
    SAYS(MINIGPT_NOT_A_MODEL, opened(copy, f->file_bytes));
    copy[0] = 'M';
    copy[4] = 200;
    SAYS(MINIGPT_FILE_VERSION, opened(copy, f->file_bytes));
    copy[4] = f->file[4];
    copy[5] = 0x80; /* n_vocab: two bytes that say 0 */
    copy[6] = 0;
    SAYS(MINIGPT_FILE_CONFIG, opened(copy, f->file_bytes));
    free(copy);
}

/* Every length short of the whole, exactly as much memory. */
static void truncated(const fixture *f) {
    for (size_t bytes = 0; bytes < f->file_bytes; bytes = bytes < 512 ? bytes + 1 : bytes + 4093) {
        unsigned char *copy = memory_of(bytes + 1);
        memcpy(copy, f->file, bytes);
        minigpt_status status = opened(copy, bytes);
        CHECK(status == MINIGPT_FILE_TRUNCATED || status == MINIGPT_NOT_A_MODEL);
        free(copy);
    }
}

/* Any one byte of what stands before the weights: a status, or a model whose checksum is wrong. */
static void flipped(const fixture *f) {
    unsigned char *copy = memory_of(f->file_bytes);
    void *memory = memory_of(minigpt_model_bytes());
    memcpy(copy, f->file, f->file_bytes);
    for (size_t at = 0; at < 1024; at++) {
        minigpt_model *model = NULL;
        copy[at] ^= 0x55;
        if (minigpt_model_open(copy, f->file_bytes, memory, minigpt_model_bytes(), &model) ==
            MINIGPT_OK) {
            SAYS(MINIGPT_FILE_CHECKSUM, minigpt_model_verify(model));
        }
        copy[at] ^= 0x55;
    }
    free(memory);
    free(copy);
}

static void room(const fixture *f) {
    minigpt_model *model = NULL;
    size_t bytes = minigpt_model_bytes();
    unsigned char *memory = memory_of(bytes + 16);
    const void *file = f->file;
    size_t file_bytes = f->file_bytes;
    SAYS(MINIGPT_NULL, minigpt_model_open(NULL, file_bytes, memory, bytes, &model));
    SAYS(MINIGPT_NULL, minigpt_model_open(NULL, 0, memory, bytes, &model));
    SAYS(MINIGPT_NULL, minigpt_model_open(file, file_bytes, NULL, bytes, &model));
    SAYS(MINIGPT_NULL, minigpt_model_open(file, file_bytes, memory, bytes, NULL));
    SAYS(MINIGPT_NOT_A_MODEL, minigpt_model_open(file, 0, memory, bytes, &model));
    SAYS(MINIGPT_TOO_LARGE, minigpt_model_open(file, SIZE_MAX, memory, bytes, &model));
    SAYS(MINIGPT_TOO_LARGE, minigpt_model_open(file, file_bytes, memory, SIZE_MAX, &model));
    SAYS(MINIGPT_MEMORY_TOO_SMALL,
         minigpt_model_open(file, file_bytes, memory, bytes - 1, &model));
    SAYS(MINIGPT_MISALIGNED, minigpt_model_open(file, file_bytes, memory + 8, bytes, &model));
    SAYS(MINIGPT_OVERLAP, minigpt_model_open(file, file_bytes, f->file + 16, bytes, &model));
    SAYS(MINIGPT_MISALIGNED, minigpt_model_open(file, file_bytes, memory, bytes,
                                                (minigpt_model **)(void *)(memory + 1)));
    CHECK(model == NULL);
    SAYS(MINIGPT_NULL, minigpt_model_open_at(NULL, file_bytes, memory, bytes, &model));
    SAYS(MINIGPT_NULL, minigpt_model_open_at(file, file_bytes, NULL, bytes, &model));
    SAYS(MINIGPT_NULL, minigpt_model_open_at(file, file_bytes, memory, bytes, NULL));
    SAYS(MINIGPT_MEMORY_TOO_SMALL, minigpt_model_open_at(file, file_bytes, memory, 0, &model));
    free(memory);
}

/* A partition: erased flash follows the file. */
static void partition(const fixture *f) {
    minigpt_model *model = NULL;
    minigpt_model_facts facts = MINIGPT_MODEL_FACTS_INIT;
    unsigned char *flash = memory_of(f->file_bytes + 1000);
    void *memory = memory_of(minigpt_model_bytes());
    memset(flash, 0xFF, f->file_bytes + 1000);
    SAYS(MINIGPT_NOT_A_MODEL, minigpt_model_open_at(flash, 1000, memory, minigpt_model_bytes(), &model));
    memcpy(flash, f->file, f->file_bytes);
    SAYS(MINIGPT_OK, minigpt_model_open_at(flash, f->file_bytes + 1000, memory, minigpt_model_bytes(),
                                           &model));
    SAYS(MINIGPT_OK, minigpt_model_verify(model));
    SAYS(MINIGPT_OK, minigpt_model_facts_of(model, &facts));
    CHECK(facts.file_bytes == f->file_bytes);
    flash[f->file_bytes - 1] ^= 1;
    SAYS(MINIGPT_FILE_CHECKSUM, minigpt_model_verify(model));
    free(memory);
    free(flash);
}

void test_open(const char *path) {
    fixture f;
    fixture_begin(&f, path);
    damaged(&f);
    truncated(&f);
    flipped(&f);
    room(&f);
    partition(&f);
    fixture_end(&f);
}
