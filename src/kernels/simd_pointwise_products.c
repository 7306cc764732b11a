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
    const float *w = c->w, *block = c->x + (ptrdiff_t)pixel * BLOCK;
    for (int part = 0; part < c->parts; part++) {
        for (int left = c->in; left > 0; left -= BLOCK, block += c->x_block) {
            const float *x = block, *end = x + (left < BLOCK ? left : BLOCK);
#pragma GCC unroll 1
            for (; x < end; x++, w += blocks * BLOCK) {
                vec weight[PANEL];
#pragma GCC unroll 2
                for (int b = 0; b < blocks; b++) {
                    weight[b] = vload(w + b * BLOCK);
                }
#pragma GCC unroll 16
                for (int t = 0; t < rows; t++) {
                    const vec value = vset1(x[t * BLOCK]);
#pragma GCC unroll 2
                    for (int b = 0; b < blocks; b++) {
                        sum[t][b] = vfma(value, weight[b], sum[t][b]);
                    }
                }
            }
        }
    }
    float *y = c->y + (ptrdiff_t)pixel * BLOCK;
#pragma GCC unroll 16
    for (int t = 0; t < rows; t++) {
#pragma GCC unroll 2
        for (int b = 0; b < blocks; b++) {
            vstore(y + t * BLOCK + b * c->y_block, sum[t][b]);
        }
    }
}

/* Full tiles; what is left over is done by narrower ones. Returns the pixels done. */
NAS_INLINE int product_tiles(const pw_product *c, int pixel, const int rows, const int blocks) {
    for (; pixel + rows <= c->pixels; pixel += rows) {
        product_tile(c, pixel, rows, blocks);
        ahead_fetch(c->ahead);
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
/* Rows i.. of the gradient, whose inputs lie side by side at x, and `blocks` blocks of columns. */
NAS_INLINE void gradient_tile(const pw_gradient *c, const float *x, int i, int block, const int rows,
                              const int blocks) {
    vec sum[16][PANEL];
    const ptrdiff_t row = (ptrdiff_t)c->blocks * BLOCK;
    float *dw = c->dw + i * row + (ptrdiff_t)block * BLOCK;
#pragma GCC unroll 16
    for (int t = 0; t < rows; t++) {
#pragma GCC unroll 2
        for (int b = 0; b < blocks; b++) {
            sum[t][b] = vload(dw + t * row + b * BLOCK);
        }
    }
    const float *dy = c->dy + block * c->dy_block, *end = dy + (ptrdiff_t)c->pixels * BLOCK;
#pragma GCC unroll 1
    for (; dy < end; dy += BLOCK, x += BLOCK) {
        vec g[PANEL];
#pragma GCC unroll 2
        for (int b = 0; b < blocks; b++) {
            g[b] = vload(dy + b * c->dy_block);
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
            vstore(dw + t * row + b * BLOCK, sum[t][b]);
        }
    }
}

/* The `count` inputs of one block, in tiles. */
NAS_INLINE void gradient_tiles(const pw_gradient *c, const float *x, int i, int count, int block, const int rows,
                               const int blocks) {
    int t = 0;
    for (; t + rows <= count; t += rows) {
        gradient_tile(c, x + t, i + t, block, rows, blocks);
        ahead_fetch(c->ahead);
    }
    for (; t < count; t++) {
        gradient_tile(c, x + t, i + t, block, 1, blocks);
    }
}

static __attribute__((noinline)) void gradient_1(const pw_gradient *c, const float *x, int i, int count, int block) {
    if (count < ROWS_1) {
        gradient_tiles(c, x, i, count, block, 4, 1);
    } else {
        gradient_tiles(c, x, i, count, block, ROWS_1, 1);
    }
}

#if PANEL > 1
static __attribute__((noinline)) void gradient_2(const pw_gradient *c, const float *x, int i, int count, int block) {
    if (count < ROWS_2) {
        gradient_tiles(c, x, i, count, block, 4, 2);
    } else {
        gradient_tiles(c, x, i, count, block, ROWS_2, 2);
    }
}
#endif

static void gradient_of_block(const pw_gradient *c, const float *x, int i, int count) {
    int block = 0;
#if PANEL > 1
    for (; block + 2 <= c->blocks; block += 2) {
        gradient_2(c, x, i, count, block);
    }
#endif
    for (; block < c->blocks; block++) {
        gradient_1(c, x, i, count, block);
    }
}

void NAS_SIMD(nas__pw_accumulate)(const pw_gradient *c) {
    const float *x = c->x;
    int i = 0;
    for (int part = 0; part < c->parts; part++) {
        for (int left = c->in; left > 0; left -= BLOCK, x += c->x_block) {
            const int count = left < BLOCK ? left : BLOCK;
            gradient_of_block(c, x, i, count);
            i += count;
        }
    }
}
