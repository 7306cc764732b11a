/* nn_support.h - what the tests of layers share: parameters by path, random inputs, values as arrays. */
#ifndef TESTS_NN_SUPPORT_H
#define TESTS_NN_SUPPORT_H

#include "support.h"

#include <espalier/nn.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct wanted_parameter {
    const char *path;
    nas_tensor *tensor;
} wanted_parameter;

static nas_status match_path(const char *path, nas_tensor *tensor, nas_role role, void *user) {
    (void)role;
    wanted_parameter *w = user;
    if (!strcmp(path, w->path)) {
        w->tensor = tensor;
    }
    return NAS_OK;
}

/* NULL when there is none. */
static inline nas_tensor *parameter_at(nas_module *model, const char *path) {
    wanted_parameter w = {path, NULL};
    nas_visit_parameters(model, match_path, &w);
    return w.tensor;
}

/* Random values in [-1, 1) for a persistent tensor. */
static inline void randomise(nas_tensor *t, uint64_t seed) {
    float *values = random_floats(seed, (size_t)nas_tensor_count(t));
    nas_tensor_write(t, values);
    free(values);
}

static nas_status randomise_visited(const char *path, nas_tensor *tensor, nas_role role, void *user) {
    (void)path;
    if (role == NAS_ROLE_WEIGHT) {
        randomise(tensor, ++*(uint64_t *)user);
    }
    return NAS_OK;
}

static inline void randomise_all(nas_module *model) {
    uint64_t seed = 100;
    nas_visit_parameters(model, randomise_visited, &seed);
}

static inline nas_tensor *random_input(uint64_t seed, int ndim, const int64_t *dims) {
    size_t count = 1;
    for (int i = 0; i < ndim; i++) {
        count *= (size_t)dims[i];
    }
    float *values = random_floats(seed, count);
    nas_tensor *t = nas_input(ndim, dims, values);
    free(values);
    return t;
}

/* To be freed by the caller. */
static inline float *values_of(const nas_tensor *t) {
    if (!t) {
        fail_msg("no tensor: %s", nas_error_message());
    }
    float *values = calloc((size_t)nas_tensor_count(t), sizeof *values);
    if (nas_tensor_read(t, values)) {
        fail_msg("%s", nas_error_message());
    }
    return values;
}

static inline void assert_same_tensor(const nas_tensor *got, const nas_tensor *expected, double tolerance,
                                      const char *what) {
    float *a = values_of(got), *b = values_of(expected);
    assert_int_equal(nas_tensor_ndim(got), nas_tensor_ndim(expected));
    for (int i = 0; i < nas_tensor_ndim(got); i++) {
        assert_int_equal(nas_tensor_dim(got, i), nas_tensor_dim(expected, i));
    }
    assert_floats_near(a, b, (size_t)nas_tensor_count(got), tolerance, what);
    free(a);
    free(b);
}

#endif
