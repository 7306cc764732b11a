/* simd_norm.c - batch normalisation's passes over blocked activations. Sums run over short stretches in f32 and are
 * folded into double: the result is as good as that of a two-pass algorithm in double, at the speed of memory. */
#include "kernels/simd_functions.h"
#include "kernels/scratch.h"

/* Pixels summed in f32: few enough for the first-level cache and for f32's precision. */
enum { STRETCH = 64 };

/* Partial sums of two quantities per channel; one per group of images and channel block. */
typedef struct pair {
    double first[BLOCK], second[BLOCK];
} pair;

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

/* total[block] = the groups' partial sums, added in order */
static void add_groups(const pair *partial, int groups, int cb, int block, pair *total) {
    *total = partial[block];
    for (int g = 1; g < groups; g++) {
        for (int i = 0; i < BLOCK; i++) {
            total->first[i] += partial[(size_t)g * cb + block].first[i];
            total->second[i] += partial[(size_t)g * cb + block].second[i];
        }
    }
}

static nas__scratch *acquire_pairs(int groups, int cb) {
    return nas__scratch_acquire((size_t)groups * cb * sizeof(pair) / sizeof(float));
}

void NAS_SIMD(nas__bn_stats)(int n, int c, int hw, const float *x, float *mean, float *var) {
    const int cb = (c + BLOCK - 1) / BLOCK, groups = image_groups(n, cb);
    const size_t plane = (size_t)hw * BLOCK;
    nas__scratch *scratch = acquire_pairs(groups, cb);
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
        pair total;
        add_groups(partial, groups, cb, block, &total);
        for (int i = 0; i < BLOCK; i++) {
            const double m = total.first[i] / count, v = total.second[i] / count - m * m;
            mean[block * BLOCK + i] = (float)m;
            var[block * BLOCK + i] = v < 0 ? 0 : (float)v;
        }
    }
    nas__scratch_release(scratch);
}

NAS_INLINE void apply_plane(const float *x, int hw, vec scale, vec shift, const bool relu, float *y) {
#pragma GCC unroll 4
    for (int i = 0; i < hw; i++) {
        const vec v = vfma(scale, vload(x + (size_t)i * BLOCK), shift);
        vstore(y + (size_t)i * BLOCK, relu ? vmax(vzero(), v) : v); /* in this order a NaN comes through */
    }
}

void NAS_SIMD(nas__bn_apply)(int n, int c, int hw, const float *x, const float *scale, const float *shift, bool relu,
                             float *y) {
    const int cb = (c + BLOCK - 1) / BLOCK;
    const size_t plane = (size_t)hw * BLOCK;
#pragma omp parallel for schedule(static) if ((size_t)n * cb * plane >= SERIAL_BELOW)
    for (int p = 0; p < n * cb; p++) {
        const int channel = p % cb * BLOCK;
        const vec a = vload(scale + channel), b = vload(shift + channel);
        if (relu) {
            apply_plane(x + p * plane, hw, a, b, true, y + p * plane);
        } else {
            apply_plane(x + p * plane, hw, a, b, false, y + p * plane);
        }
    }
}

/* What the backward passes know about one channel block. */
typedef struct channels {
    vec mean, scale, shift;
} channels;

NAS_INLINE vec masked(const channels *ch, vec x, vec dy, const bool relu) {
    return relu ? vmask_pos(vfma(ch->scale, x, ch->shift), dy) : dy;
}

/* Adds the sums of g and of g*(x - mean) over one plane, but for dy_scale. */
NAS_INLINE void add_products(const float *x, const float *dy, int hw, const channels *ch, const bool relu,
                             pair *total) {
    for (int from = 0; from < hw; from += STRETCH, x += STRETCH * BLOCK, dy += STRETCH * BLOCK) {
        const int pixels = hw - from < STRETCH ? hw - from : STRETCH;
        vec sum[2] = {vzero(), vzero()}, product[2] = {vzero(), vzero()};
        int i = 0;
        for (; i + 2 <= pixels; i += 2) {
            for (int j = 0; j < 2; j++) {
                const vec v = vload(x + (i + j) * BLOCK), g = masked(ch, v, vload(dy + (i + j) * BLOCK), relu);
                sum[j] += g;
                product[j] = vfma(g, v - ch->mean, product[j]);
            }
        }
        if (i < pixels) {
            const vec v = vload(x + i * BLOCK), g = masked(ch, v, vload(dy + i * BLOCK), relu);
            sum[0] += g;
            product[0] = vfma(g, v - ch->mean, product[0]);
        }
        fold(total->first, sum[0] + sum[1]);
        fold(total->second, product[0] + product[1]);
    }
}

void NAS_SIMD(nas__bn_backward_sums)(int n, int c, int hw, const float *x, const float *dy, float dy_scale,
                                     const float *mean, const float *scale, const float *shift, bool relu, float *sum_g,
                                     float *sum_gx) {
    const int cb = (c + BLOCK - 1) / BLOCK, groups = image_groups(n, cb);
    const size_t plane = (size_t)hw * BLOCK;
    nas__scratch *scratch = acquire_pairs(groups, cb);
    if (!scratch) {
        return;
    }
    pair *partial = (pair *)nas__scratch_floats(scratch);
#pragma omp parallel for schedule(static) if ((size_t)n * cb * plane >= SERIAL_BELOW)
    for (int task = 0; task < groups * cb; task++) {
        const int g = task / cb, block = task % cb, channel = block * BLOCK;
        const channels ch = {vload(mean + channel), vload(scale + channel), vload(shift + channel)};
        partial[task] = (pair){0};
        for (int image = group_start(n, g, groups); image < group_start(n, g + 1, groups); image++) {
            const size_t at = ((size_t)image * cb + block) * plane;
            if (relu) {
                add_products(x + at, dy + at, hw, &ch, true, &partial[task]);
            } else {
                add_products(x + at, dy + at, hw, &ch, false, &partial[task]);
            }
        }
    }
    for (int block = 0; block < cb; block++) {
        pair total;
        add_groups(partial, groups, cb, block, &total);
        for (int i = 0; i < BLOCK; i++) {
            sum_g[block * BLOCK + i] = (float)(dy_scale * total.first[i]);
            sum_gx[block * BLOCK + i] = (float)(dy_scale * total.second[i]);
        }
    }
    nas__scratch_release(scratch);
}

NAS_INLINE void gradient_plane(const float *x, const float *dy, int hw, const channels *ch, vec a, vec b, vec k,
                               const bool relu, float *dx) {
#pragma GCC unroll 4
    for (int i = 0; i < hw; i++) {
        const vec v = vload(x + (size_t)i * BLOCK), g = masked(ch, v, vload(dy + (size_t)i * BLOCK), relu);
        vstore(dx + (size_t)i * BLOCK, vfma(a, g, vfma(b, v, k)));
    }
}

void NAS_SIMD(nas__bn_backward_apply)(int n, int c, int hw, const float *x, const float *dy, float dy_scale,
                                      const float *scale, const float *shift, bool relu, const float *a, const float *b,
                                      const float *k, float *dx) {
    const int cb = (c + BLOCK - 1) / BLOCK;
    const size_t plane = (size_t)hw * BLOCK;
#pragma omp parallel for schedule(static) if ((size_t)n * cb * plane >= SERIAL_BELOW)
    for (int p = 0; p < n * cb; p++) {
        const int channel = p % cb * BLOCK;
        const size_t at = p * plane;
        const channels ch = {.scale = vload(scale + channel), .shift = vload(shift + channel)};
        const vec on_g = vload(a + channel) * dy_scale, on_x = vload(b + channel), constant = vload(k + channel);
        if (relu) {
            gradient_plane(x + at, dy + at, hw, &ch, on_g, on_x, constant, true, dx + at);
        } else {
            gradient_plane(x + at, dy + at, hw, &ch, on_g, on_x, constant, false, dx + at);
        }
    }
}
