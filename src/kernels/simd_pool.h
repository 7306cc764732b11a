/* simd_pool.h - what the pooling kernels share: which taps lie inside the image, and rows of pooled values for those
 * kernels that never store the pooled tensor. */
#ifndef NAS_KERNELS_SIMD_POOL_H
#define NAS_KERNELS_SIMD_POOL_H

#include "kernels/simd_functions.h"

/* [from, to) */
typedef struct range {
    int from, to;
} range;

NAS_INLINE int clamp(int value, int low, int high) { return value < low ? low : value > high ? high : value; }

/* The taps of the window at `out` that lie inside an image of `size`. */
NAS_INLINE range taps_inside(int out, int size, int kernel, int stride, int pad) {
    const int start = out * stride - pad;
    return (range){start < 0 ? -start : 0, size - start < kernel ? size - start : kernel};
}

/* The windows that lie wholly inside the image. */
NAS_INLINE range whole_windows(int size, int outs, int kernel, int stride, int pad) {
    const int from = clamp((pad + stride - 1) / stride, 0, outs);
    const int last = size + pad - kernel; /* where the last whole window may start, counted from the padding */
    return (range){from, clamp(last < 0 ? 0 : last / stride + 1, from, outs)};
}

/* The windows that cover the pixel `in`. */
NAS_INLINE range windows_over(int in, int outs, int kernel, int stride, int pad) {
    const int first = in + pad - kernel + 1;
    const int to = (in + pad) / stride + 1;
    return (range){first <= 0 ? 0 : (first + stride - 1) / stride, to < outs ? to : outs};
}

/* The usual poolings: a window is clipped by at most one row and one column, and never by two columns at once. */
NAS_INLINE bool usual_pool(const nas__pool_shape *s) {
    return s->kernel == 3 && s->stride <= 2 && s->pad <= 1 && s->w >= 3;
}

/* Rows [from, to) of the pooled plane: `max` and `average` are where row `from` goes, NULL: not wanted. x is the whole
 * plane. Both at once cost little more than one. */
void NAS_SIMD(nas__pool_rows)(const nas__pool_shape *s, const float *x, int from, int to, float *max, float *average);

#endif
