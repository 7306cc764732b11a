/* simd_pointwise.h - products of rows of pixels with a matrix of weights, the arithmetic of 1x1 convolutions. Values
 * lie pixel by pixel: value i of pixel p at p*stride + i, strides in whole vectors. */
#ifndef NAS_KERNELS_SIMD_POINTWISE_H
#define NAS_KERNELS_SIMD_POINTWISE_H

#include "kernels/simd.h"

/* Blocks of outputs that one tile computes together, and so the width of a panel of weights: they share the loads of
 * the values. */
#if defined(__AVX2__)
#define PANEL 2
#else
#define PANEL 1
#endif

/* y[p][o] = bias[o] + sum over i of x[p][i]*w[i][o] for `blocks` (1 to PANEL) blocks of outputs. Pixel p of output
 * block b goes to y + b*y_block + p*y_pixel. */
typedef struct pw_product {
    const float *x, *w; /* w: [in][blocks*BLOCK] */
    float *y;
    ptrdiff_t x_pixel, y_pixel, y_block;
    int in, pixels, blocks;
    const float *bias; /* NULL: zero */
} pw_product;

void NAS_SIMD(nas__pw_multiply)(const pw_product *c);

/* dw[i][o] += sum over pixels of x[p][i]*dy[p][o], i < in, o < blocks*BLOCK; rows of dw are dw_row apart. */
typedef struct pw_gradient {
    const float *x, *dy;
    float *dw;
    ptrdiff_t x_pixel, dy_pixel, dw_row;
    int in, pixels, blocks;
} pw_gradient;

void NAS_SIMD(nas__pw_accumulate)(const pw_gradient *c);

#endif
