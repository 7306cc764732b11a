/* blocked.h - what the kernels' tests share: aligned arrays with a guard behind them, the blocked layout, the loop over
 * every instruction set that this CPU runs. */
#ifndef TESTS_KERNELS_BLOCKED_H
#define TESTS_KERNELS_BLOCKED_H

#include "support.h"

#include "kernels/kernel_tables.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

enum { GUARD = 16 };

/* Aligned as the kernels want it, full of NaNs: what a kernel forgets to write is seen. */
static inline float *new_array(size_t count) {
    size_t bytes = ((count + GUARD) * sizeof(float) + 63) / 64 * 64;
    float *array = aligned_alloc(64, bytes);
    for (size_t i = 0; i < bytes / sizeof(float); i++) {
        array[i] = NAN;
    }
    return array;
}

static inline float *copy_array(const float *values, size_t count) {
    float *array = new_array(count);
    for (size_t i = 0; i < count; i++) {
        array[i] = values[i];
    }
    return array;
}

/* Frees an array whose guard must still be there. */
static inline void free_array(float *array, size_t count) {
    for (size_t i = count; i < count + GUARD; i++) {
        if (!isnan(array[i])) {
            fail_msg("a kernel wrote %zu floats behind the end of an array of %zu", i - count, count);
        }
    }
    free(array);
}

static inline int padded(int c, int block) { return (c + block - 1) / block * block; }

/* (n, c, hw) plain to blocked with zero tails */
static inline float *to_blocked(const float *plain, int n, int c, int hw, int block) {
    const int p = padded(c, block);
    float *out = new_array((size_t)n * p * hw);
    for (int i = 0; i < n; i++) {
        for (int ch = 0; ch < p; ch++) {
            for (int s = 0; s < hw; s++) {
                size_t at = ((size_t)(i * (p / block) + ch / block) * hw + s) * block + ch % block;
                out[at] = ch < c ? plain[((size_t)i * c + ch) * hw + s] : 0;
            }
        }
    }
    return out;
}

/* Compares a blocked array with a plain one; tails must be zero. Frees `got`. */
static inline void check_blocked(float *got, const float *plain, int n, int c, int hw, int block, double tolerance,
                                 const char *what) {
    const size_t count = (size_t)n * padded(c, block) * hw;
    float *expected = to_blocked(plain, n, c, hw, block);
    assert_floats_near(got, expected, count, tolerance, what);
    for (size_t i = 0; i < count; i++) {
        int channel = (int)(i / block / hw % (padded(c, block) / block)) * block + (int)(i % block);
        if (channel >= c && got[i] != 0) {
            fail_msg("%s: the tail is not zero", what);
        }
    }
    free_array(got, count);
    free(expected);
}

/* Coefficients per channel, with a zero tail. */
static inline float *channel_array(const float *values, int c, int block) { return to_blocked(values, 1, c, 1, block); }

/* Weights (rows, columns) with the columns padded. */
static inline float *padded_rows(const float *w, int rows, int columns, int block) {
    return to_blocked(w, rows, columns, 1, block);
}

static inline float *transposed(const float *w, int rows, int columns) {
    float *out = malloc((size_t)rows * columns * sizeof *out);
    for (int i = 0; i < rows * columns; i++) {
        out[i % columns * rows + i / columns] = w[i];
    }
    return out;
}

/* [2][padded] against [2][c], relative to the number of addends. Frees `got`. */
static inline void check_channel_sums(double *got, const double *expected, int c, int block, double count,
                                      const char *what) {
    const int width = padded(c, block);
    for (int i = 0; i < 2 * width; i++) {
        const double e = i % width < c ? expected[i / width * c + i % width] : 0;
        if (!(fabs(got[i] - e) <= 2e-5 * (count + fabs(e)))) {
            fail_msg("%s: sum %d is %g instead of %g", what, i, got[i], e);
        }
    }
    free(got);
}

static inline int uniform_int(nas_rng *rng, int from, int to) {
    return from + (int)(nas_rng_uniform(rng) * (to - from + 1));
}

static inline bool coin(nas_rng *rng) { return uniform_int(rng, 0, 1); }

/* Multiples of 1/8 up to limit/8, whose products and sums have exact signs. */
static inline float *eighths(nas_rng *rng, size_t count, int limit) {
    float *v = malloc(count * sizeof *v);
    for (size_t i = 0; i < count; i++) {
        v[i] = (float)uniform_int(rng, -limit, limit) / 8;
    }
    return v;
}

static inline float *scaled(nas_rng *rng, size_t count, double factor) {
    float *v = malloc(count * sizeof *v);
    for (size_t i = 0; i < count; i++) {
        v[i] = (float)(factor * (2 * nas_rng_uniform(rng) - 1));
    }
    return v;
}

/* Panels of a matrix whose columns are padded; frees it. */
static inline float *to_panels(float *matrix, int rows, int columns, int width) {
    float *out = new_array((size_t)rows * columns), *to = out;
    for (int first = 0; first < columns; first += width) {
        for (int r = 0; r < rows; r++) {
            for (int c = first; c < columns && c < first + width; c++) {
                *to++ = matrix[r * columns + c];
            }
        }
    }
    free(matrix);
    return out;
}

#endif
