/* simd_unit.h - what the passes of separable units share: activations applied on load, and the products of the
 * pointwise convolution. */
#ifndef NAS_KERNELS_SIMD_UNIT_H
#define NAS_KERNELS_SIMD_UNIT_H

#include "simd_depthwise.h"
#include "simd_pointwise.h"

/* Loads the image part of rows [from, to) of the plane. */
NAS_INLINE void unit_load_rows(const dw_frame *f, const float *image, const nas__on_load *load, int block, int from,
                               int to, float *plane) {
    const int left = dw_max(f->left, 0), right = dw_min(f->left + f->w, f->cols);
    const ptrdiff_t in_row = (ptrdiff_t)f->w * BLOCK, out_row = (ptrdiff_t)f->cols * BLOCK;
    from = dw_max(from, f->top);
    to = dw_min(to, f->top + f->h);
    load_rows(load, block, image + (from - f->top) * in_row + (left - f->left) * BLOCK, in_row, to - from,
              (ptrdiff_t)(right - left) * BLOCK, plane + from * out_row + left * BLOCK, out_row);
}

/* The depthwise convolution of block `block` from row `out` of its result on, whose bordered plane lies in `frame`: x
 * is the plane's row out*stride. */
NAS_INLINE void unit_correlate(const nas__unit *u, const dw_frame *frame, int block, int out, int rows, const float *x,
                               float *y, ahead *next) {
    dw_correlation c = {.x = x,
                        .w = u->depthwise + (size_t)block * u->kernel_h * u->kernel_w * BLOCK,
                        .y = y,
                        .x_row = (ptrdiff_t)frame->cols * BLOCK,
                        .y_row = (ptrdiff_t)u->ow * BLOCK,
                        .y_col = BLOCK,
                        .rows = rows,
                        .cols = u->ow,
                        .kernel_h = u->kernel_h,
                        .kernel_w = u->kernel_w,
                        .stride = u->stride,
                        .dilation = u->dilation,
                        .ahead = next};
    const int seen = (rows - 1) * u->stride + u->dilation * (u->kernel_h - 1) + 1;
    dw_image_rows(frame, out * u->stride, seen, &c.image_from, &c.image_to);
    NAS_SIMD(nas__dw_correlate)(&c);
}

/* Whether images are fetched ahead as a whole, or strip by strip: too much at once would drive what is worked on from
 * the second-level cache. It is for the blocks and pixels that are read and written of either side. */
NAS_INLINE bool unit_ahead_images(int blocks, int pixels, int out_blocks, int out_pixels) {
    enum { MOST = 4 * 1024 };
    return (size_t)blocks * pixels + (size_t)out_blocks * out_pixels <= MOST;
}

/* Adds rows [from, to) of `blocks` planes of h x w pixels, the first of which is plane `plane` of x; x may be NULL. */
static inline void unit_ahead_rows(ahead *a, const float *x, size_t plane, int blocks, int h, int w, int from, int to) {
    const size_t row = (size_t)w * BLOCK;
    from = dw_max(from, 0);
    to = dw_min(to, h);
    if (x && from < to) {
        ahead_add(a, x + (plane * h + from) * row, (to - from) * row, blocks, h * row);
    }
}

/* Tiles, about, of products and correlations over `blocks` blocks of h x w pixels: each a moment to fetch something. */
NAS_INLINE size_t unit_tiles(int blocks, int h, int w) { return (size_t)blocks * ((size_t)h * (size_t)w / 16 + 1); }

/* The tiles of products that make `blocks` blocks: those of a single block are half as large. */
NAS_INLINE size_t unit_product_tiles(int blocks, int h, int w) { return unit_tiles(dw_max(blocks, 2), h, w); }

#endif
