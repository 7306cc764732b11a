/* simd_late.c - late values and gradients (late.h) written out, and the sums that batch norm's backward pass needs of
 * them: for whatever reads memory as it is. */
#include "kernels/simd_functions.h"
#include "kernels/simd_late.h"
#include "kernels/simd_sums.h"
#include "kernels/scratch.h"

/* Pixels summed in f32 before they are folded into double. */
enum { STRETCH = 64 };

NAS_INLINE bool is_small(int n, int c, int hw) { return (size_t)n * c * hw < SERIAL_BELOW; }

void NAS_SIMD(nas__late_values)(int n, int c, int hw, const float *x, const nas__on_load *load, float *y) {
    const int cb = (c + BLOCK - 1) / BLOCK;
    const size_t plane = (size_t)hw * BLOCK;
#pragma omp parallel for schedule(static) if (!is_small(n, c, hw))
    for (int p = 0; p < n * cb; p++) {
        load_rows(load, p % cb, x + p * plane, 0, 1, (ptrdiff_t)plane, y + p * plane, 0);
    }
}

void NAS_SIMD(nas__late_gradient)(int n, int c, int hw, const nas__late_grad *late, float *out) {
    const int cb = (c + BLOCK - 1) / BLOCK;
    const size_t plane = (size_t)hw * BLOCK;
#pragma omp parallel for schedule(static) if (!is_small(n, c, hw))
    for (int p = 0; p < n * cb; p++) {
        grad_rows(late, p % cb, p * plane, 1, (ptrdiff_t)plane, out + p * plane, 0);
    }
}

/* Of g and of g*z. */
NAS_INLINE void sum_plane(const nas__grad_block *block, const float *g, const float *z, int hw, const bool masked,
                          pair *total) {
    for (int from = 0; from < hw; from += STRETCH) {
        const int to = hw - from < STRETCH ? hw : from + STRETCH;
        vec sum[2] = {vzero(), vzero()}, product[2] = {vzero(), vzero()};
#pragma GCC unroll 2
        for (int i = from; i < to; i++) {
            const vec v = vload(z + (size_t)i * BLOCK), read = vload(g + (size_t)i * BLOCK);
            const vec gradient = masked ? mask_gradient(&block->mask, v, read, true) : read;
            sum[i & 1] += gradient;
            product[i & 1] = vfma(gradient, v, product[i & 1]);
        }
        fold(total->first, sum[0] + sum[1]);
        fold(total->second, product[0] + product[1]);
    }
}

void NAS_SIMD(nas__late_sums)(int n, int c, int hw, const nas__late_grad *late, const float *z, double *sums) {
    const int cb = (c + BLOCK - 1) / BLOCK, groups = image_groups(n, cb);
    const size_t plane = (size_t)hw * BLOCK;
    nas__scratch *scratch = nas__scratch_acquire((size_t)groups * cb * sizeof(pair) / sizeof(float));
    if (!scratch) {
        return;
    }
    pair *partial = (pair *)nas__scratch_floats(scratch);
#pragma omp parallel for schedule(static) if (!is_small(n, c, hw))
    for (int task = 0; task < groups * cb; task++) {
        const int g = task / cb;
        const nas__grad_block block = grad_block(late, task % cb);
        partial[task] = (pair){0};
        for (int image = group_start(n, g, groups); image < group_start(n, g + 1, groups); image++) {
            const size_t at = ((size_t)image * cb + task % cb) * plane;
            if (late->masked) {
                sum_plane(&block, late->g + at, z + at, hw, true, &partial[task]);
            } else {
                sum_plane(&block, late->g + at, z + at, hw, false, &partial[task]);
            }
        }
    }
    for (int b = 0; b < cb; b++) {
        const pair total = add_groups(partial, groups, cb, b);
        for (int i = 0; i < BLOCK; i++) {
            sums[b * BLOCK + i] = late->scale * total.first[i];
            sums[(cb + b) * BLOCK + i] = late->scale * total.second[i];
        }
    }
    nas__scratch_release(scratch);
}
