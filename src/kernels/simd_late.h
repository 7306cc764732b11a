/* simd_late.h - late values and gradients (late.h) of one channel block, as kernels read them. */
#ifndef NAS_KERNELS_SIMD_LATE_H
#define NAS_KERNELS_SIMD_LATE_H

#include "kernels/late.h"
#include "kernels/simd.h"

#include <math.h>

typedef struct nas__load_block {
    vec scale, shift, cap;
} nas__load_block;

NAS_INLINE nas__load_block load_block(const nas__on_load *load, int block) {
    return (nas__load_block){load->scale ? vload(load->scale + block * BLOCK) : vset1(1),
                             load->shift ? vload(load->shift + block * BLOCK) : vzero(),
                             vset1(load->cap > 0 ? load->cap : INFINITY)};
}

/* A multiply-add costs nothing beside the memory; vmax(0, v), in this order, lets NaNs pass. */
NAS_INLINE vec load_value(const nas__load_block *b, vec x, const bool relu, const bool capped) {
    vec v = vfma(b->scale, x, b->shift);
    v = relu ? vmax(vzero(), v) : v;
    return capped ? vmin(b->cap, v) : v;
}

typedef struct nas__grad_block {
    vec a, b, k; /* scale is in a */
    vec mask_scale, mask_shift, cap;
} nas__grad_block;

NAS_INLINE nas__grad_block grad_block(const nas__late_grad *late, int block) {
    const int at = block * BLOCK;
    return (nas__grad_block){
        .a = late->a ? vload(late->a + at) * late->scale : vset1(late->scale),
        .b = late->a && late->b ? vload(late->b + at) : vzero(),
        .k = late->a && late->k ? vload(late->k + at) : vzero(),
        .mask_scale = late->mask_scale ? vload(late->mask_scale + at) : vset1(1),
        .mask_shift = late->mask_shift ? vload(late->mask_shift + at) : vzero(),
        .cap = vset1(late->cap > 0 ? late->cap : INFINITY),
    };
}

/* g where the activation let z through, else 0 */
NAS_INLINE vec mask_gradient(const nas__grad_block *b, vec z, vec g) {
    const vec v = vfma(b->mask_scale, z, b->mask_shift);
    return vmask_pos(v, vmask_pos(b->cap - v, g));
}

/* The gradient over one plane, `from` floats into g and z. */
static inline void gradient_plane(const nas__late_grad *late, int block, size_t from, int hw, float *out) {
    const nas__grad_block b = grad_block(late, block);
    const float *g = late->g + from, *z = late->z ? late->z + from : NULL;
    if (late->masked) {
#pragma GCC unroll 2
        for (int i = 0; i < hw; i++) {
            const vec v = vload(z + (size_t)i * BLOCK);
            const vec masked = mask_gradient(&b, v, vload(g + (size_t)i * BLOCK));
            vstore(out + (size_t)i * BLOCK, vfma(b.a, masked, vfma(b.b, v, b.k)));
        }
    } else if (late->a && late->b) {
#pragma GCC unroll 4
        for (int i = 0; i < hw; i++) {
            const vec rest = vfma(b.b, vload(z + (size_t)i * BLOCK), b.k);
            vstore(out + (size_t)i * BLOCK, vfma(b.a, vload(g + (size_t)i * BLOCK), rest));
        }
    } else {
#pragma GCC unroll 4
        for (int i = 0; i < hw; i++) {
            vstore(out + (size_t)i * BLOCK, b.a * vload(g + (size_t)i * BLOCK));
        }
    }
}

#endif
