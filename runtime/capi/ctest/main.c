/* Runs the tests: `ctest BPE_MODEL MODEL...`. The first model is the one most tests use; what each says is
 * compared with the .txt beside it. */
#include "check.h"

int failures = 0;

void *memory_of(size_t bytes) {
    void *memory = NULL;
    /* Unlike aligned_alloc, any number of bytes: so the end of the memory is the end of the object. */
    if (posix_memalign(&memory, MINIGPT_ALIGNMENT, bytes) != 0) {
        fprintf(stderr, "no memory for %zu bytes\n", bytes);
        exit(2);
    }
    return memory;
}

static unsigned char *file_of(const char *path, size_t *bytes) {
    FILE *file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0) {
        perror(path);
        exit(2);
    }
    *bytes = (size_t)ftell(file);
    rewind(file);
    unsigned char *content = memory_of(*bytes);
    if (fread(content, 1, *bytes, file) != *bytes) {
        perror(path);
        exit(2);
    }
    fclose(file);
    return content;
}

void fixture_begin(fixture *f, const char *path) {
    memset(f, 0, sizeof *f);
    f->file = file_of(path, &f->file_bytes);
    size_t bytes = minigpt_model_bytes();
    f->memory[0] = memory_of(bytes);
    SAYS(MINIGPT_OK,
         minigpt_model_open(f->file, f->file_bytes, f->memory[0], bytes, &f->model));
    SAYS(MINIGPT_OK, minigpt_model_verify(f->model));
    f->facts.size = sizeof f->facts;
    SAYS(MINIGPT_OK, minigpt_model_facts_of(f->model, &f->facts));
    SAYS(MINIGPT_OK, minigpt_session_bytes(f->model, NULL, &f->session_bytes));
    f->memory[1] = memory_of(f->session_bytes);
    SAYS(MINIGPT_OK, minigpt_session_init(f->model, NULL, f->memory[1], f->session_bytes,
                                          &f->session));
    bytes = minigpt_sampler_bytes();
    f->memory[2] = memory_of(bytes);
    SAYS(MINIGPT_OK, minigpt_sampler_init(NULL, f->memory[2], bytes, &f->sampler));
    bytes = minigpt_decoder_bytes();
    f->memory[3] = memory_of(bytes);
    SAYS(MINIGPT_OK, minigpt_decoder_init(f->model, 0, f->memory[3], bytes, &f->decoder));
}

void fixture_end(fixture *f) {
    for (size_t i = 0; i < 4; i++) {
        free(f->memory[i]);
    }
    free(f->file);
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: ctest BPE_MODEL MODEL...\n");
        return 2;
    }
    test_open(argv[1]);
    test_arguments(argv[1]);
    test_options(argv[1]);
    test_objects(argv[1]);
    test_text(argv[1]);
    test_generate(argv[1]);
    for (int i = 1; i < argc; i++) {
        test_golden(argv[i]);
    }
    if (failures > 0) {
        fprintf(stderr, "%d checks failed\n", failures);
        return 1;
    }
    return 0;
}
