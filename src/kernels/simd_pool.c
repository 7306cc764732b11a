/* simd_pool.c - global average pooling. */
#include "kernels/simd_functions.h"

/* Sums pixels in f32 over short stretches only. */
static void plane_sum(const float *x, int hw, double *total) {
    enum { STRETCH = 64 };
    for (int from = 0; from < hw; from += STRETCH) {
        const int to = hw - from < STRETCH ? hw : from + STRETCH;
        vec even = vzero(), odd = vzero();
        int i = from;
        for (; i + 2 <= to; i += 2) {
            even += vload(x + (size_t)i * BLOCK);
            odd += vload(x + (size_t)(i + 1) * BLOCK);
        }
        fold(total, i < to ? even + odd + vload(x + (size_t)i * BLOCK) : even + odd);
    }
}

void NAS_SIMD(nas__global_pool_forward)(int n, int c, int hw, const float *x, float *y) {
    const int cb = (c + BLOCK - 1) / BLOCK;
#pragma omp parallel for schedule(static) if ((size_t)n * cb * hw * BLOCK >= SERIAL_BELOW)
    for (int p = 0; p < n * cb; p++) {
        const int first = p % cb * BLOCK;
        double total[BLOCK] = {0};
        plane_sum(x + (size_t)p * hw * BLOCK, hw, total);
        for (int i = 0; i < BLOCK && first + i < c; i++) {
            y[(size_t)(p / cb) * c + first + i] = (float)(total[i] / hw);
        }
    }
}

void NAS_SIMD(nas__global_pool_backward)(int n, int c, int hw, const float *dy, float *dx) {
    const int cb = (c + BLOCK - 1) / BLOCK;
#pragma omp parallel for schedule(static) if ((size_t)n * cb * hw * BLOCK >= SERIAL_BELOW)
    for (int p = 0; p < n * cb; p++) {
        const int first = p % cb * BLOCK;
        vec g = vzero();
        for (int i = 0; i < BLOCK && first + i < c; i++) {
            g[i] = dy[(size_t)(p / cb) * c + first + i] / (float)hw;
        }
        for (int i = 0; i < hw; i++) {
            vstore(dx + ((size_t)p * hw + i) * BLOCK, g);
        }
    }
}
