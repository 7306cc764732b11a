/* simd_pointwise_products.c - see simd_pointwise.h. Tiles of pixels x outputs stay in registers while the inputs, each
 * broadcast, pass by; for the gradient of the weights tiles of inputs x outputs, while the pixels pass by. */
#include "simd_pointwise.h"

#include <math.h>

/* Rows of a tile that is one block or one panel wide: powers of two, as the numbers of pixels are. With AVX-512 16 of
 * 32 registers accumulate, otherwise 8 of 16, which hides the latency of the multiply-add. */
#define ROWS_1 PW_TILE
#define ROWS_2 (PW_TILE / PANEL)

/* sum[t][b] goes to `first` + t*BLOCK, or to place[t]. What the loops need is loaded before they store: the compiler
 * cannot know that y is not where it lies. */
NAS_INLINE void store_tile(const pw_product *c, vec sum[16][PANEL], ptrdiff_t first, const int32_t *place,
                           const int rows, const int blocks) {
    const ptrdiff_t y_block = c->y_block;
    const float *more = c->more;
    float *y = c->y;
    vec *sums = c->sums;
    if (more) {
#pragma GCC unroll 16
        for (int t = 0; t < rows; t++) {
            const ptrdiff_t at = place ? place[t] : first + t * BLOCK;
#pragma GCC unroll 2
            for (int b = 0; b < blocks; b++) {
                sum[t][b] += vload(more + at + b * y_block);
            }
        }
    }
    if (c->act && c->act->relu) {
        const vec high = vset1(c->act->cap > 0 ? c->act->cap : INFINITY);
#pragma GCC unroll 16
        for (int t = 0; t < rows; t++) {
#pragma GCC unroll 2
            for (int b = 0; b < blocks; b++) {
                sum[t][b] = vmin(high, vmax(vzero(), sum[t][b])); /* in this order NaNs pass */
            }
        }
    }
#pragma GCC unroll 16
    for (int t = 0; t < rows; t++) {
        const ptrdiff_t at = place ? place[t] : first + t * BLOCK;
#pragma GCC unroll 2
        for (int b = 0; b < blocks; b++) {
            vstore(y + at + b * y_block, sum[t][b]);
        }
    }
    if (sums) {
#pragma GCC unroll 2
        for (int b = 0; b < blocks; b++) {
            vec s1[2] = {sums[2 * b], vzero()}, s2[2] = {sums[2 * b + 1], vzero()}; /* two each hide their latency */
#pragma GCC unroll 16
            for (int t = 0; t < rows; t++) {
                s1[t % 2] += sum[t][b];
                s2[t % 2] = vfma(sum[t][b], sum[t][b], s2[t % 2]);
            }
            sums[2 * b] = s1[0] + s1[1];
            sums[2 * b + 1] = s2[0] + s2[1];
        }
    }
}

/* Most tiles lie in one row of pixels: one place is enough. */
NAS_INLINE void finish_tile(const pw_product *c, vec sum[16][PANEL], int pixel, const int rows, const int blocks) {
    const int32_t *place = c->place ? c->place + pixel : NULL;
    const ptrdiff_t first = place ? place[0] : (ptrdiff_t)pixel * BLOCK;
    if (!place || place[rows - 1] == first + (rows - 1) * BLOCK) {
        store_tile(c, sum, first, NULL, rows, blocks);
    } else {
        store_tile(c, sum, 0, place, rows, blocks);
    }
}

NAS_INLINE void start_tile(const pw_product *c, vec sum[16][PANEL], const int rows, const int blocks) {
#pragma GCC unroll 2
    for (int b = 0; b < blocks; b++) {
        const vec start = c->bias ? vload(c->bias + b * BLOCK) : vzero();
#pragma GCC unroll 16
        for (int t = 0; t < rows; t++) {
            sum[t][b] = start;
        }
    }
}

NAS_INLINE void product_tile(const pw_product *c, int pixel, const int rows, const int blocks) {
    vec sum[16][PANEL];
    start_tile(c, sum, rows, blocks);
    const ptrdiff_t x_block = c->x_block;
    const float *w = c->w, *block = c->x + (ptrdiff_t)pixel * BLOCK;
    int left = c->in; /* of the part */
    for (int i = c->parts * ((left + BLOCK - 1) / BLOCK); i > 0; i--, block += x_block) {
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
        left = left > BLOCK ? left - BLOCK : c->in;
        ahead_fetch(c->ahead);
    }
    finish_tile(c, sum, pixel, rows, blocks);
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

#if defined(__AVX512F__)
/* `rows` pixels of one block of outputs from one block of inputs. */
NAS_INLINE void held_tile(const pw_product *c, const vec weight[BLOCK], int pixel, const int rows) {
    vec sum[16][PANEL];
    const float *x = c->x + (ptrdiff_t)pixel * BLOCK;
    start_tile(c, sum, rows, 1);
#pragma GCC unroll 16
    for (int i = 0; i < BLOCK; i++) {
#pragma GCC unroll 12
        for (int t = 0; t < rows; t++) {
            sum[t][0] = vfma(vset1(x[t * BLOCK + i]), weight[i], sum[t][0]);
        }
    }
    finish_tile(c, sum, pixel, rows, 1);
}

/* All weights stay in registers: one block of outputs does not share the loads of the values, which take all the time
 * that the multiply-adds take. 16 of 32 registers hold weights, 12 accumulate: 8 would only just hide the latency of
 * the multiply-add. */
static __attribute__((noinline)) int product_held(const pw_product *c, int pixel) {
    vec weight[BLOCK];
#pragma GCC unroll 16
    for (int i = 0; i < BLOCK; i++) {
        weight[i] = vload(c->w + i * BLOCK);
    }
    for (; pixel + 12 <= c->pixels; pixel += 12) {
        held_tile(c, weight, pixel, 12);
        ahead_fetch(c->ahead);
    }
    for (; pixel + 8 <= c->pixels; pixel += 8) {
        held_tile(c, weight, pixel, 8);
        ahead_fetch(c->ahead);
    }
    return pixel;
}
#endif

void NAS_SIMD(nas__pw_multiply)(const pw_product *c) {
    int pixel = 0;
#if defined(__AVX512F__)
    if (c->blocks == 1 && c->parts == 1 && c->in == BLOCK) {
        pixel = product_held(c, pixel);
    }
#endif
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
    const float *dy = c->dy + block * c->dy_block;
    for (int left = c->pixels; left > 0; left -= PW_PIXELS) {
        const float *end = dy + (ptrdiff_t)(left < PW_PIXELS ? left : PW_PIXELS) * BLOCK;
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
        ahead_fetch(c->ahead);
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
    }
    for (; rows > 4 && t + 4 <= count; t += 4) {
        gradient_tile(c, x + t, i + t, block, 4, blocks);
    }
    for (; t < count; t++) {
        gradient_tile(c, x + t, i + t, block, 1, blocks);
    }
}

static __attribute__((noinline)) void gradient_1(const pw_gradient *c, const float *x, int i, int count, int block) {
    gradient_tiles(c, x, i, count, block, ROWS_1, 1);
}

#if PANEL > 1
static __attribute__((noinline)) void gradient_2(const pw_gradient *c, const float *x, int i, int count, int block) {
    gradient_tiles(c, x, i, count, block, ROWS_2, 2);
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
