/* driver.c - runs a fuzz target without libFuzzer: every file of a corpus as it is, then seeded mutations of them.
 * usage: fuzz_NAME CORPUS_DIRECTORY [SECONDS]; without SECONDS a fixed number of mutations, so that ctest repeats
 * itself. */
#include "fuzz.h"

#include <espalier/core.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_FILES = 1024, MAX_BYTES = 1 << 16, FIXED_RUNS = 20000 };

typedef struct input {
    uint8_t *bytes;
    size_t size;
} input;

static input corpus[MAX_FILES];
static uint32_t n_files;

static void read_corpus(const char *path) {
    struct dirent **entries;
    int n = scandir(path, &entries, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        char name[4096];
        snprintf(name, sizeof name, "%s/%s", path, entries[i]->d_name);
        FILE *file = entries[i]->d_name[0] != '.' && n_files < MAX_FILES ? fopen(name, "rb") : NULL;
        free(entries[i]);
        if (file) {
            uint8_t *bytes = malloc(MAX_BYTES);
            corpus[n_files++] = (input){bytes, bytes ? fread(bytes, 1, MAX_BYTES, file) : 0};
            fclose(file);
        }
    }
    if (n >= 0) {
        free(entries);
    }
}

/* An exact-size copy, so that AddressSanitizer sees a read one byte too far. */
static void run(const uint8_t *bytes, size_t size) {
    uint8_t *exact = malloc(size ? size : 1);
    if (exact) {
        memcpy(exact, bytes, size);
        LLVMFuzzerTestOneInput(exact, size);
        free(exact);
    }
}

static size_t mutate(nas_rng *rng, uint8_t *bytes, size_t size) {
    for (uint32_t n = 1 + nas_rng_below(rng, 4); n > 0; n--) {
        size_t at = size ? nas_rng_below(rng, (uint32_t)size) : 0;
        switch (nas_rng_below(rng, 6)) {
        case 0: /* flip a bit */
            bytes[at] ^= (uint8_t)(1u << nas_rng_below(rng, 8));
            break;
        case 1: /* any byte */
            bytes[at] = (uint8_t)nas_rng_below(rng, 256);
            break;
        case 2: /* cut the end */
            size = at;
            break;
        case 3: /* insert a byte */
            if (size < MAX_BYTES) {
                memmove(bytes + at + 1, bytes + at, size - at);
                bytes[at] = (uint8_t)nas_rng_below(rng, 256);
                size++;
            }
            break;
        case 4: /* remove a byte */
            if (size > 0) {
                memmove(bytes + at, bytes + at + 1, size - at - 1);
                size--;
            }
            break;
        default: { /* the end of another file */
            const input *other = &corpus[nas_rng_below(rng, n_files)];
            size_t from = other->size ? nas_rng_below(rng, (uint32_t)other->size) : 0;
            size_t count = other->size - from < MAX_BYTES - at ? other->size - from : MAX_BYTES - at;
            memcpy(bytes + at, other->bytes + from, count);
            size = at + count;
        }
        }
    }
    return size;
}

int main(int argc, char **argv) {
    if (argc > 1) {
        read_corpus(argv[1]);
    }
    if (argc < 2 || n_files == 0) {
        fprintf(stderr, "usage: %s CORPUS_DIRECTORY [SECONDS]; the directory must hold at least one file\n", argv[0]);
        return 2;
    }
    static uint8_t bytes[MAX_BYTES + 1];
    time_t end = argc > 2 ? time(NULL) + atoi(argv[2]) : 0;
    long runs = 0;
    for (uint32_t i = 0; i < n_files; i++, runs++) {
        run(corpus[i].bytes, corpus[i].size);
    }
    nas_rng rng = nas_rng_new(end ? (uint64_t)end : 1, 0x66757a7a);
    while (end ? time(NULL) < end : runs < FIXED_RUNS) {
        const input *start = &corpus[nas_rng_below(&rng, n_files)];
        memcpy(bytes, start->bytes, start->size);
        run(bytes, mutate(&rng, bytes, start->size));
        runs++;
    }
    printf("%s: %ld inputs\n", argv[0], runs);
    for (uint32_t i = 0; i < n_files; i++) {
        free(corpus[i].bytes);
    }
    return 0;
}
