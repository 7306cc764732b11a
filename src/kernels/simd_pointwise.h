/* simd_pointwise.h - products of rows of pixels with a matrix of weights, the arithmetic of 1x1 convolutions. Values
 * lie pixel by pixel: value i of pixel p at p*stride + i, strides in whole vectors. */
#ifndef NAS_KERNELS_SIMD_POINTWISE_H
#define NAS_KERNELS_SIMD_POINTWISE_H

#include "kernels/simd.h"
#include "kernels/simd_ahead.h"

/* Blocks of outputs that one tile computes together, and so the width of a panel of weights: they share the loads of
 * the values. */
#if defined(__AVX2__)
#define PANEL 2
#else
#define PANEL 1
#endif

/* y[p][o] = bias[o] + sum over i of x[p][i]*w[i][o] for `blocks` (1 to PANEL) blocks of outputs o. The inputs are
 * `parts` times `in` channels, the last block of each part may have a tail, which is skipped. Pixel p of input block b
 * is at x + b*x_block + p*BLOCK, of output block b at y + b*y_block + p*BLOCK. */
typedef struct pw_product {
    const float *x, *w; /* w: [parts*in][blocks*BLOCK] */
    float *y;
    ptrdiff_t x_block, y_block;
    int parts, in, pixels, blocks;
    const float *bias; /* NULL: zero */
    ahead *ahead;      /* fetched meanwhile; may be NULL */
} pw_product;

void NAS_SIMD(nas__pw_multiply)(const pw_product *c);

/* dw[i][o] += sum over pixels of x[p][i]*dy[p][o] with x as above and all output blocks; a row of dw has blocks*BLOCK.
 */
typedef struct pw_gradient {
    const float *x, *dy;
    float *dw;
    ptrdiff_t x_block, dy_block;
    int parts, in, pixels, blocks;
    ahead *ahead; /* fetched meanwhile; may be NULL */
} pw_gradient;

void NAS_SIMD(nas__pw_accumulate)(const pw_gradient *c);

#endif
