/* simd_depthwise.h - what the depthwise kernels share. All of them work on one plane (or a strip of its rows) that was
 * copied into scratch memory with its zero border, so that no inner loop tests for borders. */
#ifndef NAS_KERNELS_SIMD_DEPTHWISE_H
#define NAS_KERNELS_SIMD_DEPTHWISE_H

#include "kernels/simd_functions.h"

#include "kernels/scratch.h"
#include "kernels/simd_ahead.h"
#include "kernels/simd_late.h"

NAS_INLINE int dw_min(int a, int b) { return a < b ? a : b; }
NAS_INLINE int dw_max(int a, int b) { return a > b ? a : b; }
NAS_INLINE int dw_ceil_div(int a, int b) { return a >= 0 ? (a + b - 1) / b : -(-a / b); } /* b > 0 */

/* How an h x w image lies in a wider plane: its pixel (0,0) is the plane's (top, left). Both may be negative: then that
 * part of the image is left out, as is what lies beyond `cols`. */
typedef struct dw_frame {
    int h, w, top, left, cols;
} dw_frame;

/* The rows of the plane, counted from `first`, that hold image rows: [from, to). */
NAS_INLINE void dw_image_rows(const dw_frame *f, int first, int count, int *from, int *to) {
    *from = dw_min(dw_max(f->top - first, 0), count);
    *to = dw_max(dw_min(f->top + f->h - first, count), *from);
}

/* Zeroes what lies outside the image in rows [first, first + count). */
NAS_INLINE void dw_zero_border(const dw_frame *f, int first, int count, float *plane) {
    int from, to;
    dw_image_rows(f, first, count, &from, &to);
    size_t row = (size_t)f->cols * BLOCK;
    size_t left = (size_t)dw_min(dw_max(f->left, 0), f->cols) * BLOCK;
    size_t right = (size_t)dw_min(dw_max(f->left + f->w, 0), f->cols) * BLOCK;
    memset(plane, 0, sizeof(float) * row * from);
    for (int r = from; r < to; r++) {
        memset(plane + r * row, 0, sizeof(float) * left);
        memset(plane + r * row + right, 0, sizeof(float) * (row - right));
    }
    memset(plane + to * row, 0, sizeof(float) * row * (count - to));
}

/* What becomes of the outputs of a correlation that is a gradient on its way back through an activation. x is laid out
 * like y. */
typedef struct dw_finish {
    const float *x;
    nas__load_block load; /* of x; with `masked`, the gradient counts only where its ReLU was open */
    bool masked, capped;
    bool accumulate; /* y += result instead of y = result */
    vec *sums;       /* NULL, or {sum of the results, sum of result*x}, added to */
} dw_finish;

NAS_INLINE vec dw_mask(const dw_finish *f, vec x, vec v) {
    return f->masked ? mask_gradient(&f->load, x, v, f->capped) : v;
}

/* y(r, c) = sum over the taps (i, j) of w(i, j) * x(r*stride + i*dilation, c*stride + j*dilation), where y's rows and
 * columns lie y_row and y_col floats apart. Rows of x outside [image_from, image_to) are zero and may be skipped. */
typedef struct dw_correlation {
    const float *x, *w;
    const dw_finish *finish; /* may be NULL */
    float *y;
    ptrdiff_t x_row, y_row, y_col;
    int rows, cols, image_from, image_to;
    int kernel_h, kernel_w, stride, dilation;
    ahead *ahead; /* fetched meanwhile; may be NULL */
} dw_correlation;

void NAS_SIMD(nas__dw_correlate)(const dw_correlation *c);

/* dw(i, j) += sum over (r, c) of dy(r, c) * x(r*stride + i*dilation, c*stride + j*dilation); rows of x outside
 * [image_from, image_to) are zero. */
typedef struct dw_product {
    const float *x, *dy;
    float *dw;
    ptrdiff_t x_row, dy_row;
    int rows, cols, image_from, image_to;
    int kernel_h, kernel_w, stride, dilation;
    ahead *ahead; /* fetched meanwhile; may be NULL */
} dw_product;

void NAS_SIMD(nas__dw_multiply)(const dw_product *p);

#endif
