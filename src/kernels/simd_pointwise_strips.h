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
    int strip, strips, groups; /* pixels of a strip, strips of an image, groups of strips */
    bool dense;                /* output pixel i reads input pixel i */
} pw_cut;

NAS_INLINE int pw_ceil(int a, int b) { return (a + b - 1) / b; }

static inline pw_cut pw_find_cut(const nas__pointwise *p, const nas__on_load *load, int most_groups) {
    enum { STRIP_FLOATS = 6 * 1024 };
    pw_cut c = {.p = p, .load = load, .in_blocks = pw_ceil(p->in, BLOCK), .out_blocks = pw_ceil(p->out, BLOCK)};
    c.in_all = p->parts * p->in;
    c.all_blocks = p->parts * c.in_blocks;
    c.pixels = p->oh * p->ow;
    c.dense = p->stride == 1 && p->top == 0 && p->left == 0 && p->h == p->oh && p->w == p->ow;
    int most = STRIP_FLOATS / ((c.all_blocks + c.out_blocks) * BLOCK) / 16 * 16;
    most = most < 32 ? 32 : most > 256 ? 256 : most;
    if (p->n * pw_ceil(c.pixels, most) < 8) { /* few images: something for every thread */
        most = pw_ceil(pw_ceil(c.pixels * p->n, 8), 16) * 16;
    }
    c.strips = pw_ceil(c.pixels, most);
    c.strip = pw_ceil(pw_ceil(c.pixels, c.strips), 16) * 16;
    c.strips = pw_ceil(c.pixels, c.strip);
    const int tasks = p->n * c.strips;
    c.groups = tasks < most_groups ? tasks : most_groups;
    return c;
}

/* One strip: pixels from .. from + count of one image's output. */
typedef struct pw_strip {
    int image, from, count;
} pw_strip;

NAS_INLINE pw_strip pw_find_strip(const pw_cut *c, int task) {
    pw_strip s = {task / c->strips, task % c->strips * c->strip, c->strip};
    s.count = c->pixels - s.from < s.count ? c->pixels - s.from : s.count;
    return s;
}

/* Fills source[] with the input pixel of each of the strip. */
static inline void pw_sources(const pw_cut *c, const pw_strip *s, int32_t *source) {
    const nas__pointwise *p = c->p;
    for (int i = 0; i < s->count; i++) {
        const int pixel = s->from + i;
        source[i] =
            c->dense ? pixel : (pixel / p->ow * p->stride + p->top) * p->w + pixel % p->ow * p->stride + p->left;
    }
}

/* Where block `block` of part `part` of the strip's image begins in that part. */
NAS_INLINE size_t pw_plane(const pw_cut *c, const pw_strip *s, int block) {
    return ((size_t)s->image * c->in_blocks + block) * c->p->h * c->p->w * BLOCK;
}

/* What is to be fetched of `blocks` planes of the strip, which are `pixels` pixels large. */
NAS_INLINE void pw_look_ahead(ahead *a, const pw_strip *s, const float *x, int blocks, int pixels) {
    const size_t plane = (size_t)pixels * BLOCK;
    if (x) {
        ahead_add(a, x + (size_t)s->image * blocks * plane + (size_t)s->from * BLOCK, (size_t)s->count * BLOCK, blocks,
                  plane);
    }
}

/* Tiles, about, of a product with `blocks` blocks of outputs. */
NAS_INLINE size_t pw_tiles(const pw_cut *c, int blocks) {
    return (size_t)pw_ceil(c->strip, 8) * (size_t)pw_ceil(blocks, PANEL);
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
            load_rows(c->load, i, plane + (ptrdiff_t)s->from * BLOCK, 0, 1, (ptrdiff_t)s->count * BLOCK, out, 0);
            continue;
        }
        const nas__load_block k = load_block(c->load, i);
        if (relu) {
            gather_block(plane, source, s->count, &k, out, true, true);
        } else {
            gather_block(plane, source, s->count, &k, out, false, false);
        }
    }
}

#endif
