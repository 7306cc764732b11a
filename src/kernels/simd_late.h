/* simd_late.h - late values and gradients (late.h) of one channel block, as all kernels read them. */
#ifndef NAS_KERNELS_SIMD_LATE_H
#define NAS_KERNELS_SIMD_LATE_H

#include "kernels/late.h"
#include "kernels/simd.h"

#include <math.h>

/* --- values --------------------------------------------------------------------------------------- */
typedef struct nas__load_block {
    vec scale, shift, cap; /* cap: infinite when there is none */
} nas__load_block;

/* load may be NULL. */
NAS_INLINE nas__load_block load_block(const nas__on_load *load, int block) {
    const bool scaled = load && load->scale;
    return (nas__load_block){scaled ? vload(load->scale + (size_t)block * BLOCK) : vset1(1),
                             scaled ? vload(load->shift + (size_t)block * BLOCK) : vzero(),
                             vset1(load && load->cap > 0 ? load->cap : INFINITY)};
}

NAS_INLINE bool loads_as_it_is(const nas__on_load *load) { return !load || (!load->scale && !load->relu); }

/* The order of the operands lets NaNs pass. */
NAS_INLINE vec load_value(const nas__load_block *b, vec x, const bool scaled, const bool relu, const bool capped) {
    vec v = scaled ? vfma(b->scale, x, b->shift) : x;
    v = relu ? vmax(vzero(), v) : v;
    return capped ? vmin(b->cap, v) : v;
}

NAS_INLINE void load_row(const nas__load_block *b, const float *x, ptrdiff_t floats, float *out, const bool scaled,
                         const bool relu, const bool capped) {
#pragma GCC unroll 4
    for (ptrdiff_t i = 0; i < floats; i += BLOCK) {
        vstore(out + i, load_value(b, vload(x + i), scaled, relu, capped));
    }
}

/* `rows` rows of `floats` floats of one block; they lie x_row and out_row apart. */
static inline void load_rows(const nas__on_load *load, int block, const float *x, ptrdiff_t x_row, int rows,
                             ptrdiff_t floats, float *out, ptrdiff_t out_row) {
    const nas__load_block b = load_block(load, block);
    const bool scaled = load && load->scale, relu = load && load->relu, capped = relu && load->cap > 0;
    for (int r = 0; r < rows; r++, x += x_row, out += out_row) {
        if (capped) {
            load_row(&b, x, floats, out, true, true, true);
        } else if (scaled && relu) {
            load_row(&b, x, floats, out, true, true, false);
        } else if (scaled) {
            load_row(&b, x, floats, out, true, false, false);
        } else if (relu) {
            load_row(&b, x, floats, out, false, true, false);
        } else {
            load_row(&b, x, floats, out, false, false, false);
        }
    }
}

/* The way back through ReLU: g where it let x through, else 0. */
NAS_INLINE vec mask_gradient(const nas__load_block *b, vec x, vec g, const bool capped) {
    const vec v = vfma(b->scale, x, b->shift);
    g = vmask_pos(v, g);
    return capped ? vmask_greater(b->cap, v, g) : g;
}

/* --- gradients ------------------------------------------------------------------------------------ */
typedef struct nas__grad_block {
    vec a, b, k; /* scale is in a */
    nas__load_block mask;
    bool affine, masked; /* whether z counts */
} nas__grad_block;

NAS_INLINE nas__grad_block grad_block(const nas__late_grad *late, int block) {
    const size_t at = (size_t)block * BLOCK;
    const nas__on_load mask = {.scale = late->mask_scale, .shift = late->mask_shift, .cap = late->cap};
    return (nas__grad_block){
        .a = late->a ? vload(late->a + at) * late->scale : vset1(late->scale),
        .b = late->a && late->b ? vload(late->b + at) : vzero(),
        .k = late->a && late->k ? vload(late->k + at) : vzero(),
        .mask = load_block(&mask, block),
        .affine = late->a && late->b,
        .masked = late->masked,
    };
}

NAS_INLINE vec grad_value(const nas__grad_block *b, vec g, vec z, const bool affine, const bool masked) {
    g = masked ? mask_gradient(&b->mask, z, g, true) : g;
    return affine ? vfma(b->a, g, vfma(b->b, z, b->k)) : b->a * g;
}

NAS_INLINE void grad_row(const nas__grad_block *b, const float *g, const float *z, ptrdiff_t floats, float *out,
                         const bool affine, const bool masked) {
#pragma GCC unroll 4
    for (ptrdiff_t i = 0; i < floats; i += BLOCK) {
        const vec value = affine || masked ? vload(z + i) : vzero();
        vstore(out + i, grad_value(b, vload(g + i), value, affine, masked));
    }
}

/* `rows` rows of `floats` floats of one block, from g + at on; they lie out_row apart in `out`. */
static inline void grad_rows(const nas__late_grad *late, int block, size_t at, int rows, ptrdiff_t floats, float *out,
                             ptrdiff_t out_row) {
    const nas__grad_block b = grad_block(late, block);
    for (int r = 0; r < rows; r++, at += (size_t)floats, out += out_row) {
        const float *g = late->g + at, *z = late->z ? late->z + at : NULL;
        if (b.masked && b.affine) {
            grad_row(&b, g, z, floats, out, true, true);
        } else if (b.masked) {
            grad_row(&b, g, z, floats, out, false, true);
        } else if (b.affine) {
            grad_row(&b, g, z, floats, out, true, false);
        } else {
            grad_row(&b, g, z, floats, out, false, false);
        }
    }
}

#endif
