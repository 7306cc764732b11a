/* tape_fixture.h - a tape for each test of a program, and random tensors. */
#ifndef TESTS_OPS_TAPE_FIXTURE_H
#define TESTS_OPS_TAPE_FIXTURE_H

#include "tape.h"

#include <espalier/ops.h>

#include <stdlib.h>

static inline void fill_randomly(nas_tensor *t, uint64_t seed) {
    float *values = random_floats(seed, (size_t)nas_tensor_count(t));
    nas_tensor_write(t, values);
    free(values);
}

static inline nas_tensor *random_variable(uint64_t seed, nas_role role, int ndim, const int64_t *dims) {
    nas_tensor *t = nas_variable(ndim, dims, role);
    fill_randomly(t, seed);
    return t;
}

static inline nas_tensor *random_input(uint64_t seed, int ndim, const int64_t *dims) {
    nas_tensor *t = nas_input(ndim, dims, NULL);
    fill_randomly(t, seed);
    return t;
}

#endif
