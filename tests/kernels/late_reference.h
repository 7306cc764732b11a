/* late_reference.h - late values and gradients (kernels/late.h) in double, for the tests of the kernels that finish
 * them on load. In a plain problem the coefficients have no tails. */
#ifndef TESTS_KERNELS_LATE_REFERENCE_H
#define TESTS_KERNELS_LATE_REFERENCE_H

#include "blocked.h"

static inline double before_act(const nas__on_load *l, int c, double x) {
    return l->scale ? (double)l->scale[c] * x + (double)l->shift[c] : x;
}

static inline double activate(const nas__on_load *l, double h) {
    if (l->relu) {
        h = h > 0 ? h : 0;
        h = l->cap > 0 && h > l->cap ? l->cap : h;
    }
    return h;
}

/* Whether the gradient of the activation at h is one. */
static inline bool passes(double h, double cap) { return h > 0 && (cap <= 0 || h < cap); }

/* The scaled and masked g. */
static inline double masked_reference(const nas__late_grad *l, int c, double g, double z) {
    const double h = l->mask_scale ? (double)l->mask_scale[c] * z + (double)l->mask_shift[c] : z;
    return l->masked && !passes(h, l->cap) ? 0 : (double)l->scale * g;
}

static inline double late_reference(const nas__late_grad *l, int c, double g, double z) {
    const double t = masked_reference(l, c, g, z) * (l->a ? (double)l->a[c] : 1);
    return l->b ? t + (double)l->b[c] * z + (double)l->k[c] : t;
}

/* --- the same in the layout of one table ---------------------------------------------------------------- */
static inline nas__on_load load_to_blocked(const nas__on_load *l, int parts, int c, int block) {
    nas__on_load b = {.relu = l->relu, .cap = l->cap};
    b.scale = l->scale ? to_blocked(l->scale, parts, c, 1, block) : NULL;
    b.shift = l->shift ? to_blocked(l->shift, parts, c, 1, block) : NULL;
    return b;
}

static inline float *maybe_channels(const float *values, int c, int block) {
    return values ? channel_array(values, c, block) : NULL;
}

/* g and z are blocked already. */
static inline nas__late_grad late_to_blocked(const nas__late_grad *l, int c, int block, const float *g,
                                             const float *z) {
    return (nas__late_grad){.g = g,
                            .scale = l->scale,
                            .a = maybe_channels(l->a, c, block),
                            .b = maybe_channels(l->b, c, block),
                            .k = maybe_channels(l->k, c, block),
                            .z = l->b || l->masked ? z : NULL,
                            .masked = l->masked,
                            .mask_scale = maybe_channels(l->mask_scale, c, block),
                            .mask_shift = maybe_channels(l->mask_shift, c, block),
                            .cap = l->cap};
}

static inline void free_coefficients(const nas__on_load *load, const nas__late_grad *late) {
    free((void *)load->scale), free((void *)load->shift), free((void *)late->a), free((void *)late->b);
    free((void *)late->k), free((void *)late->mask_scale), free((void *)late->mask_shift);
}

/* --- random coefficients -------------------------------------------------------------------------------- */
/* What activations compare is exact when the values are eighths. */
static inline nas__on_load random_load(nas_rng *rng, int c) {
    const bool affine = coin(rng);
    nas__on_load l = {.relu = coin(rng), .cap = coin(rng) ? 1 : 0};
    l.scale = affine ? eighths(rng, (size_t)c, 12) : NULL;
    l.shift = affine ? eighths(rng, (size_t)c, 8) : NULL;
    return l;
}

/* Each of the cases; gradients of about the size `unit`. */
static inline nas__late_grad random_late(nas_rng *rng, int c, double unit) {
    const bool a = coin(rng), b = a && coin(rng), mask = coin(rng);
    nas__late_grad l = {.scale = coin(rng) ? 1 : 0.5F, .masked = coin(rng), .cap = coin(rng) ? 1 : 0};
    l.a = a ? scaled(rng, (size_t)c, 1) : NULL;
    l.b = b ? scaled(rng, (size_t)c, 0.3 * unit) : NULL;
    l.k = b ? scaled(rng, (size_t)c, 0.3 * unit) : NULL;
    l.mask_scale = mask ? eighths(rng, (size_t)c, 12) : NULL;
    l.mask_shift = mask ? eighths(rng, (size_t)c, 8) : NULL;
    return l;
}

#endif
