/* simd_unit.h - what the passes of separable units share: activations applied on load, and the products of the
 * pointwise convolution. */
#ifndef NAS_KERNELS_SIMD_UNIT_H
#define NAS_KERNELS_SIMD_UNIT_H

#include "simd_depthwise.h"
#include "simd_pointwise.h"

#include <math.h>

/* min(max(scale*x + shift, low), high): every on-load is brought into this form, infinities where there is no bound. */
typedef struct unit_gate {
    vec scale, shift, low, high;
} unit_gate;

NAS_INLINE unit_gate unit_find_gate(const nas__on_load *load, int block) {
    unit_gate g = {vset1(1), vzero(), vset1(-INFINITY), vset1(INFINITY)};
    if (load && load->scale) {
        g.scale = vload(load->scale + (size_t)block * BLOCK);
        g.shift = vload(load->shift + (size_t)block * BLOCK);
    }
    if (load && load->relu) {
        g.low = vzero();
        g.high = load->cap > 0 ? vset1(load->cap) : g.high;
    }
    return g;
}

NAS_INLINE bool unit_gate_is_open(const nas__on_load *load) { return !load || (!load->scale && !load->relu); }

NAS_INLINE void unit_pass_row(const unit_gate *gate, const float *in, ptrdiff_t count, float *out, const bool scaled,
                              const bool relu, const bool capped) {
#pragma GCC unroll 4
    for (ptrdiff_t i = 0; i < count; i += BLOCK) {
        vec v = vload(in + i);
        v = scaled ? vfma(gate->scale, v, gate->shift) : v;
        v = relu ? vmax(vzero(), v) : v; /* the order of the operands lets NaNs pass */
        vstore(out + i, capped ? vmin(gate->high, v) : v);
    }
}

/* `rows` rows of `count` floats through the gate; they lie in_row and out_row floats apart. */
static inline void unit_pass_rows(const nas__on_load *load, int block, const float *in, ptrdiff_t in_row, int rows,
                                  ptrdiff_t count, float *out, ptrdiff_t out_row) {
    const unit_gate gate = unit_find_gate(load, block);
    const bool scaled = load && load->scale, relu = load && load->relu, capped = relu && load->cap > 0;
    for (int r = 0; r < rows; r++, in += in_row, out += out_row) {
        if (capped) {
            unit_pass_row(&gate, in, count, out, true, true, true);
        } else if (scaled && relu) {
            unit_pass_row(&gate, in, count, out, true, true, false);
        } else if (scaled) {
            unit_pass_row(&gate, in, count, out, true, false, false);
        } else if (relu) {
            unit_pass_row(&gate, in, count, out, false, true, false);
        } else {
            unit_pass_row(&gate, in, count, out, false, false, false);
        }
    }
}

/* Loads the image part of rows [from, to) of the plane. */
NAS_INLINE void unit_load_rows(const dw_frame *f, const float *image, const nas__on_load *load, int block, int from,
                               int to, float *plane) {
    const int left = dw_max(f->left, 0), right = dw_min(f->left + f->w, f->cols);
    const ptrdiff_t in_row = (ptrdiff_t)f->w * BLOCK, out_row = (ptrdiff_t)f->cols * BLOCK;
    from = dw_max(from, f->top);
    to = dw_min(to, f->top + f->h);
    unit_pass_rows(load, block, image + (from - f->top) * in_row + (left - f->left) * BLOCK, in_row, to - from,
                   (ptrdiff_t)(right - left) * BLOCK, plane + from * out_row + left * BLOCK, out_row);
}

NAS_INLINE void unit_late_row(const nas__late_grad *l, int block, size_t at, int count, float *out, const bool affine,
                              const bool masked) {
    const size_t channel = (size_t)block * BLOCK;
    const vec one = vset1(1), scale = vset1(l->scale);
    const vec a = l->a ? scale * vload(l->a + channel) : scale;
    const vec b = affine ? vload(l->b + channel) : vzero(), k = affine ? vload(l->k + channel) : vzero();
    const vec mask_scale = masked && l->mask_scale ? vload(l->mask_scale + channel) : one;
    const vec mask_shift = masked && l->mask_scale ? vload(l->mask_shift + channel) : vzero();
    const vec high = vset1(l->cap > 0 ? l->cap : INFINITY);
    const float *g = l->g + at, *z = affine || masked ? l->z + at : NULL;
#pragma GCC unroll 4
    for (ptrdiff_t p = 0; p < (ptrdiff_t)count * BLOCK; p += BLOCK) {
        vec t = vload(g + p);
        if (masked) {
            const vec h = vfma(mask_scale, vload(z + p), mask_shift);
            t = vmask_pos(high - h, vmask_pos(h, t));
        }
        t = affine ? vfma(a, t, vfma(b, vload(z + p), k)) : a * t;
        vstore(out + p, t);
    }
}

/* Rows of `cols` pixels of the finished gradient, `row` floats apart in `out`; the first pixel is at g + at. */
static inline void unit_late_rows(const nas__late_grad *l, int block, size_t at, int rows, int cols, float *out,
                                  ptrdiff_t row) {
    for (int r = 0; r < rows; r++, at += (size_t)cols * BLOCK, out += row) {
        if (l->masked && l->b) {
            unit_late_row(l, block, at, cols, out, true, true);
        } else if (l->masked) {
            unit_late_row(l, block, at, cols, out, false, true);
        } else if (l->b) {
            unit_late_row(l, block, at, cols, out, true, false);
        } else {
            unit_late_row(l, block, at, cols, out, false, false);
        }
    }
}

/* Tiles, about, of products and correlations over `blocks` blocks of h x w pixels: each a moment to fetch something. */
NAS_INLINE size_t unit_tiles(int blocks, int h, int w) { return (size_t)blocks * ((size_t)h * (size_t)w / 16 + 1); }

/* The tiles of products that make `blocks` blocks: those of a single block are half as large. */
NAS_INLINE size_t unit_product_tiles(int blocks, int h, int w) { return unit_tiles(dw_max(blocks, 2), h, w); }

#endif
