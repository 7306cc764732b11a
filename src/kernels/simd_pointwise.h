/* simd_pointwise.h - products of rows of pixels with a matrix of weights, the arithmetic of 1x1 convolutions and of
 * separable units. Values lie in blocked planes: block b of pixel p at b*x_block + p*BLOCK. */
#ifndef NAS_KERNELS_SIMD_POINTWISE_H
#define NAS_KERNELS_SIMD_POINTWISE_H

#include "kernels/late.h"
#include "kernels/simd.h"
#include "kernels/simd_ahead.h"

/* Blocks of outputs that one tile computes together, and so the width of a panel of weights: they share the loads of
 * the values. */
#if defined(__AVX2__)
#define PANEL 2
#else
#define PANEL 1
#endif

/* Vectors of a tile of results, about, which registers hold; and blocks of outputs that one product has at most: as
 * many as its tiles are wide. */
#if defined(__AVX512F__)
enum { PW_TILE = 24, PW_WIDE = 4 };
#elif defined(__AVX2__)
enum { PW_TILE = 8, PW_WIDE = PANEL };
#else
enum { PW_TILE = 4, PW_WIDE = PANEL };
#endif

/* y[p][o] = bias[o] + sum over i of x[p][i]*w[i][o] for `blocks` (1 to PW_WIDE) blocks of outputs o. The inputs are
 * `parts` times `in` channels, the last block of each part may have a tail, which is skipped. Pixel p of output block b
 * is at y + b*y_block + place[p]. */
typedef struct pw_product {
    const float *x, *w; /* w: [parts*in][blocks*BLOCK], in panels */
    float *y;
    ptrdiff_t x_block, y_block;
    const int32_t *place; /* increasing; NULL: p*BLOCK */
    int parts, in, pixels, blocks;
    const float *bias;       /* NULL: zero */
    const float *more;       /* NULL, or added to y before act; in the places of y, but not y */
    const nas__on_load *act; /* NULL: none; scale and shift are not used */
    vec *sums;               /* NULL, or [blocks][2]: sums of y and of y*y, added to */
    ahead *ahead;            /* fetched meanwhile; may be NULL */
} pw_product;

void NAS_SIMD(nas__pw_multiply)(const pw_product *c);

/* How many of the next `left` blocks of outputs one product takes: whole panels, and not one block alone in the end. */
NAS_INLINE int pw_width(int left) {
    return left == PW_WIDE + 1 && PW_WIDE > PANEL ? PANEL : left < PW_WIDE ? left : PW_WIDE;
}

/* dw[i][o] += sum over pixels of x[p][i]*dy[p][o] with x as above and all output blocks; a row of dw has blocks*BLOCK.
 */
typedef struct pw_gradient {
    const float *x, *dy;
    float *dw;
    ptrdiff_t x_block, dy_block;
    int parts, in, pixels, blocks;
    bool first;   /* dw = instead of += */
    ahead *ahead; /* fetched meanwhile; may be NULL */
} pw_gradient;

enum { PW_PIXELS = 16 }; /* it fetches ahead for each tile of the gradient after so many pixels */

void NAS_SIMD(nas__pw_accumulate)(const pw_gradient *c);

/* sums[i] = total of the groups' rows of `width` doubles */
static inline void pw_add_groups(int groups, size_t width, const double *partial, double *sums) {
    memset(sums, 0, width * sizeof *sums);
    for (int g = 0; g < groups; g++, partial += width) {
        for (size_t i = 0; i < width; i++) { /* inside: the additions do not wait for one another */
            sums[i] += partial[i];
        }
    }
}

/* out[i] = total of the groups' rows of `width` floats, of which `count` belong to these weights */
static inline void pw_add_weights(int groups, size_t width, const float *partial, size_t count, float *out) {
#pragma omp parallel for schedule(static) if (count * groups >= SERIAL_BELOW)
    for (size_t i = 0; i < count; i += BLOCK) {
        vec sum = vload(partial + i);
        for (int group = 1; group < groups; group++) {
            sum += vload(partial + group * width + i);
        }
        vstore(out + i, sum);
    }
}

#endif
