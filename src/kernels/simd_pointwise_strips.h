/* simd_pointwise_strips.h - how both passes of 1x1 convolutions cut their work: strips of the output pixels of one
 * image, small enough that what is read of them and what is made of them stay in the first-level cache, in groups that
 * depend on the shape alone, so that sums do not depend on the number of threads. */
#ifndef NAS_KERNELS_SIMD_POINTWISE_STRIPS_H
#define NAS_KERNELS_SIMD_POINTWISE_STRIPS_H

#include "kernels/scratch.h"
#include "kernels/simd_functions.h"
#include "kernels/simd_late.h"
#include "simd_pointwise.h"

typedef struct pw_cut {
    const nas__pointwise *p;
    const nas__on_load *load;
    int in_blocks, out_blocks; /* of one part; of the output */
    int in_all, all_blocks;    /* channels and blocks of all parts */
    int pixels;                /* of an image's output */
    int strip, strips, images; /* pixels of a strip; strips of an image, or images of a strip, whichever is not 1 */
    int tasks, groups;         /* strips in all, and groups of them */
    bool dense;                /* output pixel i reads input pixel i */
} pw_cut;

NAS_INLINE int pw_ceil(int a, int b) { return (a + b - 1) / b; }

/* Small images share a strip, so that weights and their gradients are read less often, but not all of them: there
 * should be something for every thread. */
static inline pw_cut pw_find_cut(const nas__pointwise *p, const nas__on_load *load, int strip_floats, int most_groups) {
    enum { LEAST = 64, MOST = 256, FEW_TASKS = 16 };
    pw_cut c = {.p = p, .load = load, .in_blocks = pw_ceil(p->in, BLOCK), .out_blocks = pw_ceil(p->out, BLOCK)};
    c.in_all = p->parts * p->in;
    c.all_blocks = p->parts * c.in_blocks;
    c.pixels = p->oh * p->ow;
    c.dense = p->stride == 1 && p->top == 0 && p->left == 0 && p->h == p->oh && p->w == p->ow;
    int most = strip_floats / ((c.all_blocks + c.out_blocks) * BLOCK) / 16 * 16;
    most = most < LEAST ? LEAST : most > MOST ? MOST : most;
    if (p->n * pw_ceil(c.pixels, most) < 8) { /* few images: something for every thread */
        most = pw_ceil(pw_ceil(c.pixels * p->n, 8), 16) * 16;
    }
    c.images = most / c.pixels < p->n / FEW_TASKS ? most / c.pixels : p->n / FEW_TASKS;
    c.images = c.images < 1 ? 1 : c.images;
    c.strips = pw_ceil(c.pixels, most);
    c.strip = pw_ceil(pw_ceil(c.pixels * c.images, c.strips), 16) * 16;
    c.strips = pw_ceil(c.pixels, c.strip);
    c.tasks = pw_ceil(p->n, c.images) * c.strips;
    c.groups = c.tasks < most_groups ? c.tasks : most_groups;
    return c;
}

/* One strip: `count` pixels from `from` on of the output of each of `images` images. Within the strip they lie behind
 * one another. */
typedef struct pw_strip {
    int image, images, from, count, all; /* all = images * count */
} pw_strip;

NAS_INLINE pw_strip pw_find_strip(const pw_cut *c, int task) {
    pw_strip s = {.image = task / c->strips * c->images, .from = task % c->strips * c->strip};
    s.images = c->p->n - s.image < c->images ? c->p->n - s.image : c->images;
    s.count = c->pixels - s.from < c->strip ? c->pixels - s.from : c->strip;
    s.all = s.images * s.count;
    return s;
}

/* Fills source[] with the input pixel of each of the strip, counted from the first image's first pixel. */
static inline void pw_sources(const pw_cut *c, const pw_strip *s, int32_t *source) {
    const nas__pointwise *p = c->p;
    for (int image = 0; image < s->images; image++) {
        const int first = image * c->in_blocks * p->h * p->w;
        for (int pixel = s->from; pixel < s->from + s->count; pixel++) {
            const int row = pixel / p->ow, col = pixel % p->ow;
            *source++ = first + (c->dense ? pixel : (row * p->stride + p->top) * p->w + col * p->stride + p->left);
        }
    }
}

/* Where block `block` of one part of the strip's first image begins in that part. */
NAS_INLINE size_t pw_plane(const pw_cut *c, const pw_strip *s, int block) {
    return ((size_t)s->image * c->in_blocks + block) * c->p->h * c->p->w * BLOCK;
}

/* What is to be fetched of `blocks` planes of the strip, which are `pixels` pixels large. */
NAS_INLINE void pw_look_ahead(ahead *a, const pw_strip *s, const float *x, int blocks, int pixels) {
    const size_t plane = (size_t)pixels * BLOCK;
    if (x) {
        ahead_add(a, x + (size_t)s->image * blocks * plane + (size_t)s->from * BLOCK, (size_t)s->count * BLOCK,
                  s->images * blocks, plane);
    }
}

/* Moments to fetch something, about, of a product of a strip from `in` blocks to `out`: one for each block that a tile
 * reads. */
NAS_INLINE size_t pw_moments(const pw_strip *s, int in, int out) {
    return (size_t)s->all * (size_t)in * (size_t)out / PW_TILE;
}

NAS_INLINE void gather_block(const float *x, const int32_t *source, int count, const nas__load_block *load, float *out,
                             const bool relu, const bool capped) {
    for (int i = 0; i < count; i++) {
        const vec v = vload(x + (ptrdiff_t)source[i] * BLOCK);
        vstore(out + (ptrdiff_t)i * BLOCK, load_value(load, v, true, relu, capped));
    }
}

/* The strip's values, through the gate: values[block of all parts][strip]. */
static inline void pw_gather(const pw_cut *c, const pw_strip *s, const float *const *x, const int32_t *source,
                             float *values) {
    const bool relu = c->load && c->load->relu;
    for (int i = 0; i < c->all_blocks; i++) {
        const float *plane = x[i / c->in_blocks] + pw_plane(c, s, i % c->in_blocks);
        float *out = values + (size_t)i * c->strip * BLOCK;
        if (c->dense) {
            const ptrdiff_t row = (ptrdiff_t)s->count * BLOCK;
            load_rows(c->load, i, plane + (ptrdiff_t)s->from * BLOCK, (ptrdiff_t)c->in_blocks * c->pixels * BLOCK,
                      s->images, row, out, row);
            continue;
        }
        const nas__load_block k = load_block(c->load, i);
        if (relu) {
            gather_block(plane, source, s->all, &k, out, true, true);
        } else {
            gather_block(plane, source, s->all, &k, out, false, false);
        }
    }
}

#endif
