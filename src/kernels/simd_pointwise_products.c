/* simd_pointwise_products.c - see simd_pointwise.h. Tiles of pixels x outputs stay in registers while the inputs, each
 * broadcast, pass by; for the gradient of the weights tiles of inputs x outputs, while the pixels pass by. */
#include "simd_pointwise.h"

/* Rows of a tile that is one block or one panel wide: powers of two, as the numbers of pixels are. With AVX-512 16 of
 * 32 registers accumulate, otherwise 8 of 16, which hides the latency of the multiply-add. */
#if defined(__AVX512F__)
#define ROWS_1 16
#define ROWS_2 8
#elif defined(__AVX2__)
#define ROWS_1 8
#define ROWS_2 4
#else
#define ROWS_1 4
#define ROWS_2 4
#endif

NAS_INLINE void product_tile(const pw_product *c, int pixel, const int rows, const int blocks) {
    vec sum[16][PANEL];
#pragma GCC unroll 2
    for (int b = 0; b < blocks; b++) {
        const vec start = c->bias ? vload(c->bias + b * BLOCK) : vzero();
#pragma GCC unroll 16
        for (int t = 0; t < rows; t++) {
            sum[t][b] = start;
        }
    }
    const float *x = c->x + pixel * c->x_pixel, *end = x + c->in, *w = c->w;
    const ptrdiff_t step = c->x_pixel;
#pragma GCC unroll 1
    for (; x < end; x++, w += blocks * BLOCK) {
        vec weight[PANEL];
#pragma GCC unroll 2
        for (int b = 0; b < blocks; b++) {
            weight[b] = vload(w + b * BLOCK);
        }
#pragma GCC unroll 16
        for (int t = 0; t < rows; t++) {
            const vec value = vset1(x[t * step]);
#pragma GCC unroll 2
            for (int b = 0; b < blocks; b++) {
                sum[t][b] = vfma(value, weight[b], sum[t][b]);
            }
        }
    }
    float *y = c->y + pixel * c->y_pixel;
#pragma GCC unroll 16
    for (int t = 0; t < rows; t++) {
#pragma GCC unroll 2
        for (int b = 0; b < blocks; b++) {
            vstore(y + t * c->y_pixel + b * c->y_block, sum[t][b]);
        }
    }
}

/* Full tiles; what is left over is done by narrower ones. Returns the pixels done. */
NAS_INLINE int product_tiles(const pw_product *c, int pixel, const int rows, const int blocks) {
    for (; pixel + rows <= c->pixels; pixel += rows) {
        product_tile(c, pixel, rows, blocks);
    }
    return pixel;
}

/* One function per case: inlined into a common one, accumulators end up in memory. */
#define DEFINE(NAME, ROWS, BLOCKS)                                                                                     \
    static __attribute__((noinline)) int product_##NAME(const pw_product *c, int pixel) {                              \
        return product_tiles(c, pixel, ROWS, BLOCKS);                                                                  \
    }
DEFINE(wide_1, ROWS_1, 1)
DEFINE(4_1, 4, 1)
DEFINE(1_1, 1, 1)
#if PANEL > 1
DEFINE(wide_2, ROWS_2, 2)
DEFINE(4_2, 4, 2)
DEFINE(1_2, 1, 2)
#endif

void NAS_SIMD(nas__pw_multiply)(const pw_product *c) {
    int pixel = 0;
#if PANEL > 1
    if (c->blocks == 2) {
        pixel = product_wide_2(c, pixel);
        pixel = product_4_2(c, pixel);
        product_1_2(c, pixel);
        return;
    }
#endif
    pixel = product_wide_1(c, pixel);
    pixel = product_4_1(c, pixel);
    product_1_1(c, pixel);
}

/* --- the gradient of the weights --------------------------------------------------------------------- */
NAS_INLINE void gradient_tile(const pw_gradient *c, int i, int block, const int rows, const int blocks) {
    vec sum[16][PANEL];
    float *dw = c->dw + i * c->dw_row + (ptrdiff_t)block * BLOCK;
#pragma GCC unroll 16
    for (int t = 0; t < rows; t++) {
#pragma GCC unroll 2
        for (int b = 0; b < blocks; b++) {
            sum[t][b] = vload(dw + t * c->dw_row + b * BLOCK);
        }
    }
    const float *x = c->x + i, *dy = c->dy + (ptrdiff_t)block * BLOCK, *end = dy + c->pixels * c->dy_pixel;
#pragma GCC unroll 1
    for (; dy < end; dy += c->dy_pixel, x += c->x_pixel) {
        vec g[PANEL];
#pragma GCC unroll 2
        for (int b = 0; b < blocks; b++) {
            g[b] = vload(dy + b * BLOCK);
        }
#pragma GCC unroll 16
        for (int t = 0; t < rows; t++) {
            const vec value = vset1(x[t]);
#pragma GCC unroll 2
            for (int b = 0; b < blocks; b++) {
                sum[t][b] = vfma(value, g[b], sum[t][b]);
            }
        }
    }
#pragma GCC unroll 16
    for (int t = 0; t < rows; t++) {
#pragma GCC unroll 2
        for (int b = 0; b < blocks; b++) {
            vstore(dw + t * c->dw_row + b * BLOCK, sum[t][b]);
        }
    }
}

NAS_INLINE int gradient_tiles(const pw_gradient *c, int i, int block, const int rows, const int blocks) {
    for (; i + rows <= c->in; i += rows) {
        gradient_tile(c, i, block, rows, blocks);
    }
    return i;
}

#define DEFINE_GRADIENT(NAME, ROWS, BLOCKS)                                                                            \
    static __attribute__((noinline)) int gradient_##NAME(const pw_gradient *c, int i, int block) {                     \
        return gradient_tiles(c, i, block, ROWS, BLOCKS);                                                              \
    }
DEFINE_GRADIENT(wide_1, ROWS_1, 1)
DEFINE_GRADIENT(4_1, 4, 1)
DEFINE_GRADIENT(1_1, 1, 1)
#if PANEL > 1
DEFINE_GRADIENT(wide_2, ROWS_2, 2)
DEFINE_GRADIENT(4_2, 4, 2)
DEFINE_GRADIENT(1_2, 1, 2)
#endif

void NAS_SIMD(nas__pw_accumulate)(const pw_gradient *c) {
    int block = 0;
#if PANEL > 1
    for (; block + 2 <= c->blocks; block += 2) {
        int i = gradient_wide_2(c, 0, block);
        i = gradient_4_2(c, i, block);
        gradient_1_2(c, i, block);
    }
#endif
    for (; block < c->blocks; block++) {
        int i = gradient_wide_1(c, 0, block);
        i = gradient_4_1(c, i, block);
        gradient_1_1(c, i, block);
    }
}
