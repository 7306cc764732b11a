/* simd_norm.c - batch normalisation's statistics of blocked activations. Sums run over short stretches in f32 and are
 * folded into double: the result is as good as that of a two-pass algorithm in double, at the speed of memory. */
#include "kernels/simd_functions.h"
#include "kernels/scratch.h"
#include "kernels/simd_sums.h"

/* Pixels summed in f32: few enough for the first-level cache and for f32's precision. */
enum { STRETCH = 64 };

NAS_INLINE vec sum_stretch(const float *x, int pixels) {
    vec s[4] = {vzero(), vzero(), vzero(), vzero()};
    int i = 0;
    for (; i + 4 <= pixels; i += 4) {
        for (int j = 0; j < 4; j++) {
            s[j] += vload(x + (i + j) * BLOCK);
        }
    }
    for (; i < pixels; i++) {
        s[0] += vload(x + i * BLOCK);
    }
    return (s[0] + s[1]) + (s[2] + s[3]);
}

typedef struct deviations {
    vec sum, squares;
} deviations;

NAS_INLINE deviations sum_deviations(const float *x, int pixels, vec centre) {
    vec sum[4] = {vzero(), vzero(), vzero(), vzero()}, squares[4] = {vzero(), vzero(), vzero(), vzero()};
    int i = 0;
    for (; i + 4 <= pixels; i += 4) {
        for (int j = 0; j < 4; j++) {
            const vec d = vload(x + (i + j) * BLOCK) - centre;
            sum[j] += d;
            squares[j] = vfma(d, d, squares[j]);
        }
    }
    for (; i < pixels; i++) {
        const vec d = vload(x + i * BLOCK) - centre;
        sum[0] += d;
        squares[0] = vfma(d, d, squares[0]);
    }
    return (deviations){(sum[0] + sum[1]) + (sum[2] + sum[3]), (squares[0] + squares[1]) + (squares[2] + squares[3])};
}

/* Adds sum and sum of squares of one plane. Both are taken around a centre near the data (the mean of the stretch
 * before), where f32 loses nothing however far the mean is from zero; the shift back is made in double. Should the data
 * jump, what f32 loses is small beside the variance of the jump itself. */
static void add_moments(const float *x, int hw, vec *centre, pair *total) {
    for (int from = 0; from < hw; from += STRETCH, x += STRETCH * BLOCK) {
        const int pixels = hw - from < STRETCH ? hw - from : STRETCH;
        const deviations around = sum_deviations(x, pixels, *centre);
        for (int i = 0; i < BLOCK; i++) {
            const double m = (*centre)[i], d = around.sum[i];
            total->first[i] += pixels * m + d;
            total->second[i] += around.squares[i] + m * (pixels * m + 2 * d);
        }
        *centre += around.sum / (float)pixels;
    }
}

void NAS_SIMD(nas__bn_stats)(int n, int c, int hw, const float *x, float *mean, float *var) {
    const int cb = (c + BLOCK - 1) / BLOCK, groups = image_groups(n, cb);
    const size_t plane = (size_t)hw * BLOCK;
    nas__scratch *scratch = nas__scratch_acquire((size_t)groups * cb * sizeof(pair) / sizeof(float));
    if (!scratch) {
        return;
    }
    pair *partial = (pair *)nas__scratch_floats(scratch);
#pragma omp parallel for schedule(static) if ((size_t)n * cb * plane >= SERIAL_BELOW)
    for (int task = 0; task < groups * cb; task++) {
        const int g = task / cb, block = task % cb;
        const int first = hw < STRETCH ? hw : STRETCH;
        vec centre = sum_stretch(x + ((size_t)group_start(n, g, groups) * cb + block) * plane, first) / (float)first;
        partial[task] = (pair){0};
        for (int image = group_start(n, g, groups); image < group_start(n, g + 1, groups); image++) {
            add_moments(x + ((size_t)image * cb + block) * plane, hw, &centre, &partial[task]);
        }
    }
    const double count = (double)n * hw;
    for (int block = 0; block < cb; block++) {
        const pair total = add_groups(partial, groups, cb, block);
        for (int i = 0; i < BLOCK; i++) {
            const double m = total.first[i] / count, v = total.second[i] / count - m * m;
            mean[block * BLOCK + i] = (float)m;
            var[block * BLOCK + i] = v < 0 ? 0 : (float)v;
        }
    }
    nas__scratch_release(scratch);
}
