/* simd_depthwise_weights.c - weight gradient of the depthwise convolution: for each tap the product of dy with the
 * input seen through that tap, summed over pixels and images. A group of taps accumulates in registers over a whole
 * strip, so that each dy is loaded once per group. */
#include "simd_depthwise.h"

/* `pixels` neighbouring outputs times the taps; each input is loaded once per row of the kernel for all of them. */
NAS_INLINE void add_pixels(const float *x, ptrdiff_t x_step, const float *dy, ahead_run *run, vec sum[7][7],
                           const int pixels, const int taps_h, const int taps_w, const int s, const int d) {
    vec g[4];
#pragma GCC unroll 4
    for (int t = 0; t < pixels; t++) {
        g[t] = vload(dy + t * BLOCK);
        ahead_next(run);
        ahead_next(run);
    }
#pragma GCC unroll 7
    for (int i = 0; i < taps_h; i++) {
        const float *line = x + i * x_step;
        __asm__("" : "+r"(line)); /* or else every distance from x is kept in a register, and spilled */
#pragma GCC unroll 32
        for (int q = 0; q <= (pixels - 1) * s + (taps_w - 1) * d; q++) {
            const vec value = vload(line + q * BLOCK);
#pragma GCC unroll 4
            for (int t = 0; t < pixels; t++) {
                if (q >= t * s && (q - t * s) % d == 0 && (q - t * s) / d < taps_w) {
                    sum[i][(q - t * s) / d] = vfma(g[t], value, sum[i][(q - t * s) / d]);
                }
            }
        }
    }
}

/* Taps kh .. kh + taps_h of the kernel's rows, kw .. kw + taps_w of its columns. taps, s and d are constants in the
 * fast instances. */
NAS_INLINE void group(const dw_product *p, int kh, int kw, const int taps_h, const int taps_w, const int s, const int d,
                      const int pixels) {
    vec sum[7][7];
    float *dw = p->dw + ((ptrdiff_t)kh * p->kernel_w + kw) * BLOCK;
    const ptrdiff_t dw_row = (ptrdiff_t)p->kernel_w * BLOCK, x_step = p->x_row * d;
#pragma GCC unroll 7
    for (int i = 0; i < taps_h; i++) {
#pragma GCC unroll 7
        for (int j = 0; j < taps_w; j++) {
            sum[i][j] = vload(dw + i * dw_row + j * BLOCK);
        }
    }
    const int from = dw_max(0, dw_ceil_div(p->image_from - (kh + taps_h - 1) * d, s));
    const int to = dw_min(p->rows, dw_ceil_div(p->image_to - kh * d, s));
    for (int r = from; r < to; r++) {
        const float *x = p->x + ((ptrdiff_t)r * s + (ptrdiff_t)kh * d) * p->x_row + (ptrdiff_t)kw * d * BLOCK;
        const float *dy = p->dy + r * p->dy_row, *end = dy + (ptrdiff_t)p->cols * BLOCK;
        ahead_moment(p->ahead);
        ahead_run run = ahead_take(p->ahead, 2 * (size_t)p->cols, x);
        for (; pixels > 1 && end - dy >= pixels * BLOCK; dy += pixels * BLOCK, x += pixels * s * BLOCK) {
            add_pixels(x, x_step, dy, &run, sum, pixels, taps_h, taps_w, s, d);
        }
        for (; dy < end; dy += BLOCK, x += s * BLOCK) {
            vec g = vload(dy);
            ahead_next(&run);
            ahead_next(&run);
#pragma GCC unroll 7
            for (int i = 0; i < taps_h; i++) {
#pragma GCC unroll 7
                for (int j = 0; j < taps_w; j++) {
                    sum[i][j] = vfma(g, vload(x + i * x_step + j * d * BLOCK), sum[i][j]);
                }
            }
        }
    }
#pragma GCC unroll 7
    for (int i = 0; i < taps_h; i++) {
#pragma GCC unroll 7
        for (int j = 0; j < taps_w; j++) {
            vstore(dw + i * dw_row + j * BLOCK, sum[i][j]);
        }
    }
}

/* How many rows of a k x k kernel fit the registers beside the operands of how many pixels. */
#if defined(__AVX512F__)
#define GROUP(K)  ((K) <= 5 ? (K) : 4)
#define PIXELS(K) ((K) <= 3 ? 4 : (K) <= 5 ? 2 : 1)
#elif defined(__AVX2__)
#define GROUP(K)  ((K) <= 3 ? (K) : 2)
#define PIXELS(K) ((K) <= 5 ? 2 : 1)
#else
#define GROUP(K)  ((K) <= 3 ? 2 : 1)
#define PIXELS(K) 1
#endif

NAS_INLINE void square(const dw_product *p, const int k, const int s, const int d) {
    int kh = 0;
    for (; kh + GROUP(k) <= k; kh += GROUP(k)) {
        group(p, kh, 0, GROUP(k), k, s, d, PIXELS(k));
    }
    if (k % GROUP(k)) {
        group(p, kh, 0, k % GROUP(k), k, s, d, PIXELS(k));
    }
}

/* One function per case: inlined into a common one (or into a parallel region), accumulators end up in memory. */
#define CASES(X)                                                                                                       \
    X(3, 1, 1)                                                                                                         \
    X(3, 1, 2)                                                                                                         \
    X(3, 2, 1)                                                                                                         \
    X(3, 2, 2)                                                                                                         \
    X(5, 1, 1)                                                                                                         \
    X(5, 1, 2)                                                                                                         \
    X(5, 2, 1)                                                                                                         \
    X(5, 2, 2)                                                                                                         \
    X(7, 1, 1)                                                                                                         \
    X(7, 1, 2)                                                                                                         \
    X(7, 2, 1)                                                                                                         \
    X(7, 2, 2)

#define DEFINE(K, S, D)                                                                                                \
    static __attribute__((noinline)) void square_##K##S##D(const dw_product *p) { square(p, K, S, D); }
CASES(DEFINE)

static __attribute__((noinline)) void any_kernel(const dw_product *p) {
    for (int kh = 0; kh < p->kernel_h; kh++) {
        int kw = 0;
        for (; kw + 4 <= p->kernel_w; kw += 4) {
            group(p, kh, kw, 1, 4, p->stride, p->dilation, 1);
        }
        for (; kw < p->kernel_w; kw++) {
            group(p, kh, kw, 1, 1, p->stride, p->dilation, 1);
        }
    }
}

void NAS_SIMD(nas__dw_multiply)(const dw_product *p) {
#define CALL(K, S, D)                                                                                                  \
    if (p->kernel_h == K && p->kernel_w == K && p->stride == S && p->dilation == D) {                                  \
        square_##K##S##D(p);                                                                                           \
        return;                                                                                                        \
    }
    CASES(CALL)
    any_kernel(p);
}
