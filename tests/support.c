/* support.c - see support.h */
#include "support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ftw.h>

float *random_floats(uint64_t seed, size_t count) {
    float *values = malloc((count ? count : 1) * sizeof *values);
    nas_rng rng = nas_rng_new(seed, 77);
    for (size_t i = 0; i < count; i++) {
        values[i] = (float)(2 * nas_rng_uniform(&rng) - 1);
    }
    return values;
}

void assert_floats_near(const float *got, const float *expected, size_t count, double tolerance, const char *what) {
    for (size_t i = 0; i < count; i++) {
        if (!(fabs((double)got[i] - expected[i]) <= tolerance * (1 + fabs((double)expected[i])))) {
            fail_msg("%s: element %zu of %zu is %.9g instead of %.9g", what, i, count, (double)got[i],
                     (double)expected[i]);
        }
    }
}

void assert_error(nas_status status, const char *part) {
    if (nas_error_status() != status || !strstr(nas_error_message(), part)) {
        fail_msg("expected status %d with \"%s\", got %d: %s", status, part, nas_error_status(), nas_error_message());
    }
    nas_error_clear();
}

void assert_no_error(void) {
    if (nas_error_status()) {
        fail_msg("unexpected error: %s", nas_error_message());
    }
}

char *temporary_directory(void) {
    const char *base = getenv("TMPDIR");
    char *path = NULL;
    if (asprintf(&path, "%s/espalier-test-XXXXXX", base ? base : "/tmp") < 0 || !mkdtemp(path)) {
        fail_msg("no temporary directory");
    }
    return path;
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *where) {
    (void)info, (void)type, (void)where;
    return remove(path);
}

void remove_directory(char *path) {
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(path);
}
