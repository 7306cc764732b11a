/* simd_unit.h - what the passes of separable units share: activations applied on load, and the products of the
 * pointwise convolution. */
#ifndef NAS_KERNELS_SIMD_UNIT_H
#define NAS_KERNELS_SIMD_UNIT_H

#include "simd_depthwise.h"

#include <math.h>

/* Channel blocks of output that one pointwise tile computes together, so that they share the loads of the input. */
#if defined(__AVX2__)
#define UNIT_PANEL 2
#else
#define UNIT_PANEL 1
#endif

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

/* The order of the operands lets NaNs pass. */
NAS_INLINE vec unit_pass(const unit_gate *g, vec x) { return vmin(g->high, vmax(g->low, vfma(g->scale, x, g->shift))); }

NAS_INLINE bool unit_gate_is_open(const nas__on_load *load) { return !load || (!load->scale && !load->relu); }

/* Loads the image part of rows [from, to) of the plane through the gate. */
NAS_INLINE void unit_load_rows(const dw_frame *f, const float *image, const unit_gate *gate, int from, int to,
                               float *plane) {
    const int left = dw_max(f->left, 0), right = dw_min(f->left + f->w, f->cols);
    for (int r = dw_max(from, f->top); r < dw_min(to, f->top + f->h); r++) {
        const float *in = image + ((ptrdiff_t)(r - f->top) * f->w - f->left) * BLOCK;
        float *out = plane + (ptrdiff_t)r * f->cols * BLOCK;
        for (ptrdiff_t c = left; c < right; c++) {
            vstore(out + c * BLOCK, unit_pass(gate, vload(in + c * BLOCK)));
        }
    }
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
    for (ptrdiff_t p = 0; p < (ptrdiff_t)count * BLOCK; p += BLOCK) {
        vec t = vload(l->g + at + p);
        if (masked) {
            const vec h = vfma(mask_scale, vload(l->z + at + p), mask_shift);
            t = vmask_pos(high - h, vmask_pos(h, t));
        }
        t = affine ? vfma(a, t, vfma(b, vload(l->z + at + p), k)) : a * t;
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

/* y[o] = bias[o] + sum over i of x[i]*w[i][o], for `pixels` pixels and `blocks` (1 or UNIT_PANEL) blocks of outputs o.
 * Pixel p of input block b is at x + b*x_block + p*BLOCK, that of output block b at y + b*y_block + place[p]. */
typedef struct unit_pointwise {
    const float *x, *w; /* w: [in][blocks*BLOCK] */
    float *y;
    ptrdiff_t x_block, y_block;
    const int32_t *place; /* NULL: p*BLOCK */
    int in, pixels, blocks;
    const float *bias;       /* NULL: zero */
    const float *more;       /* NULL, or added to y before act; in the places of y, but not y */
    const nas__on_load *act; /* NULL: none; scale and shift are not used */
    vec *sums;               /* NULL, or [blocks][2]: sums of y and of y*y, added to */
    ahead *ahead;            /* fetched meanwhile; may be NULL */
} unit_pointwise;

void NAS_SIMD(nas__unit_pointwise)(const unit_pointwise *c);

/* Tiles, about, of products and correlations over `blocks` blocks of h x w pixels: each a moment to fetch something. */
NAS_INLINE size_t unit_tiles(int blocks, int h, int w) { return (size_t)blocks * ((size_t)h * (size_t)w / 16 + 1); }

/* dw[i][o] += sum over pixels of x[i]*dy[o], for the inputs of one block (`in` of them) and all outputs. Rows of dw are
 * out_blocks*BLOCK apart. */
typedef struct unit_product {
    const float *x, *dy;
    float *dw;
    ptrdiff_t dy_block;
    int in, pixels, out_blocks;
} unit_product;

void NAS_SIMD(nas__unit_multiply)(const unit_product *p);

/* The weights [in][blocks*BLOCK] in panels of at most UNIT_PANEL blocks, each [in][panel*BLOCK]; panel p begins at
 * p * UNIT_PANEL * BLOCK * in. Returns w itself when one panel holds all. */
const float *NAS_SIMD(nas__unit_pack)(const float *w, int in, int blocks, float *packed);

#endif
