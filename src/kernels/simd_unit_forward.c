/* simd_unit_forward.c - forward pass of separable units. A strip of rows of one image goes through on-load, depthwise
 * and pointwise convolution and leaves its sums, before the next strip is touched: what lies between stays in cache. */
#include "simd_unit.h"

#include "kernels/tasks.h"

#include <omp.h>

/* A strip's depthwise result should stay in the first-level cache, the bordered planes of an image in the second. */
enum { STRIP_FLOATS = 2 * 1024, IMAGE_FLOATS = 64 * 1024, FEW_TASKS = 16 };

/* What all threads of one call share. */
typedef struct forward {
    const nas__unit *u;
    const float *x, *bias;
    const nas__on_load *load, *act;
    float *z;
    double *partial; /* [groups][parts][2][out padded], or NULL */
    int in_blocks, out_blocks, groups, parts, strip, strips;
    int reach;  /* rows of input that one row of output sees */
    int planes; /* blocks that a strip goes through before the next strip; alone, depthwise convolution takes one */
    bool whole; /* these have bordered planes of their own for the whole image; else one for a strip serves all */
    dw_frame frame;
} forward;

/* What one thread works in. */
typedef struct workspace {
    float *plane, *middle; /* bordered values; the depthwise results of all blocks */
    vec *sums;             /* [out_blocks][2], of one image */
    int bordered;          /* the strip whose border is in place */
    int loaded;            /* with whole planes: their rows before this one are there */
    ahead ahead;           /* of the next image */
} workspace;

static int rows_seen(const forward *f, int rows) { return (rows - 1) * f->u->stride + f->reach; }

static size_t plane_floats(const forward *f) {
    return (size_t)rows_seen(f, f->whole ? f->u->oh : f->strip) * f->frame.cols * BLOCK;
}

static size_t planes_floats(const forward *f) { return plane_floats(f) * (f->whole ? f->planes : 1); }

static size_t middle_floats(const forward *f) {
    return f->u->pointwise ? (size_t)f->in_blocks * f->strip * f->u->ow * BLOCK : 0;
}

/* The plane with the values that rows out .. out + rows of block `block` see, as seen from its row out*stride. */
static float *load_plane(const forward *f, workspace *w, int image, int block, int out, int rows) {
    const nas__unit *u = f->u;
    const int first = out * u->stride, count = rows_seen(f, rows);
    const float *x = f->x + ((size_t)image * f->in_blocks + block) * u->h * u->w * BLOCK;
    if (f->whole) {
        float *plane = w->plane + block % f->planes * plane_floats(f);
        unit_load_rows(&f->frame, x, f->load, block, dw_max(w->loaded, first), first + count, plane);
        return plane + (ptrdiff_t)first * f->frame.cols * BLOCK;
    }
    if (w->bordered != out) {
        dw_zero_border(&f->frame, first, count, w->plane);
        w->bordered = out;
    }
    unit_load_rows(&f->frame, x, f->load, block, first, first + count,
                   w->plane - (ptrdiff_t)first * f->frame.cols * BLOCK);
    return w->plane;
}

/* Rows out .. out + rows of one block's depthwise result. */
static void depthwise_rows(const forward *f, workspace *w, int image, int block, int out, int rows, float *y) {
    unit_correlate(f->u, &f->frame, block, out, rows, load_plane(f, w, image, block, out, rows), y, &w->ahead);
}

/* Bias, activation and sums of a unit without pointwise convolution. */
NAS_INLINE void finish_row(const forward *f, int block, ptrdiff_t floats, const float *more, float *z, vec *sums,
                           const bool change) {
    enum { CHAINS = 4 }; /* of additions, whose latency would be all the time that this takes */
    const nas__load_block act = load_block(f->act, 0);
    const bool relu = f->act && f->act->relu;
    const vec bias = f->bias ? vload(f->bias + (size_t)block * BLOCK) : vzero();
    vec s1[CHAINS] = {vzero()}, s2[CHAINS] = {vzero()};
    for (ptrdiff_t from = 0; from < floats; from += CHAINS * BLOCK) {
#pragma GCC unroll 4
        for (int i = 0; i < CHAINS; i++) {
            const ptrdiff_t p = from + i * BLOCK;
            if (p < floats) {
                vec v = vload(z + p);
                if (change) {
                    v = load_value(&act, more ? v + bias + vload(more + p) : v + bias, false, relu, relu);
                    vstore(z + p, v);
                }
                s1[i] += v;
                s2[i] = vfma(v, v, s2[i]);
            }
        }
    }
    sums[2 * block] += (s1[0] + s1[1]) + (s1[2] + s1[3]);
    sums[2 * block + 1] += (s2[0] + s2[1]) + (s2[2] + s2[3]);
}

static void finish_pixels(const forward *f, int block, int count, const float *more, float *z, vec *sums) {
    if (f->bias || f->act || more) {
        finish_row(f, block, (ptrdiff_t)count * BLOCK, more, z, sums, true);
    } else {
        finish_row(f, block, (ptrdiff_t)count * BLOCK, NULL, z, sums, false);
    }
}

static void plain_strip(const forward *f, workspace *w, int image, int block, int out, int rows) {
    const nas__unit *u = f->u;
    const size_t at = (((size_t)image * f->out_blocks + block) * u->oh + out) * u->ow * BLOCK;
    float *z = f->z + at;
    depthwise_rows(f, w, image, block, out, rows, z);
    if (f->bias || f->act || f->partial || u->more) {
        finish_pixels(f, block, rows * u->ow, u->more ? u->more + at : NULL, z, w->sums);
    }
}

static void pointwise_strip(const forward *f, workspace *w, int image, int out, int rows) {
    const nas__unit *u = f->u;
    const size_t pixels = (size_t)rows * u->ow;
    pw_product c = {.x = w->middle,
                    .x_block = (ptrdiff_t)pixels * BLOCK,
                    .y_block = (ptrdiff_t)u->oh * u->ow * BLOCK,
                    .parts = 1,
                    .in = u->in,
                    .pixels = (int)pixels,
                    .act = f->act,
                    .ahead = &w->ahead};
    for (int block = 0; block < f->in_blocks; block++) {
        depthwise_rows(f, w, image, block, out, rows, w->middle + (size_t)block * pixels * BLOCK);
    }
    for (int block = 0; block < f->out_blocks; block += c.blocks) {
        c.blocks = pw_width(f->out_blocks - block);
        c.w = u->pointwise + (size_t)block * BLOCK * u->in;
        const size_t at = (((size_t)image * f->out_blocks + block) * u->oh + out) * u->ow * BLOCK;
        c.y = f->z + at;
        c.more = u->more ? u->more + at : NULL;
        c.bias = f->bias ? f->bias + (size_t)block * BLOCK : NULL;
        c.sums = f->partial ? w->sums + 2 * (size_t)block : NULL;
        NAS_SIMD(nas__pw_multiply)(&c);
    }
}

/* Adds the float sums of one image to the double sums of its task. */
static void fold_sums(const forward *f, const vec *sums, double *total) {
    for (int block = 0; block < f->out_blocks; block++) {
        fold(total + (size_t)block * BLOCK, sums[2 * block]);
        fold(total + (size_t)(f->out_blocks + block) * BLOCK, sums[2 * block + 1]);
    }
}

/* What comes after this strip will be read and written meanwhile: the next strip, or, at an image's first strip, the
 * next image. The depthwise convolution alone takes blocks for images. */
static void look_ahead(const forward *f, workspace *w, int image, int block, int strip) {
    const nas__unit *u = f->u;
    const int outs = u->pointwise ? f->out_blocks : 1;
    const bool whole = unit_ahead_images(f->planes, u->h * u->w, outs, u->oh * u->ow);
    size_t plane = (size_t)image * f->in_blocks + block;
    if (whole && strip > 0) {
        return;
    }
    ahead_reset(&w->ahead);
    if (whole || ++strip == f->strips) {
        strip = 0;
        plane += f->planes;
    }
    if (f->parts > 1 || plane >= (size_t)u->n * f->in_blocks) {
        return;
    }
    const int out = strip * f->strip, rows = whole ? u->oh : dw_min(f->strip, u->oh - out);
    const int to = out * u->stride + rows_seen(f, rows) - u->pad_h;
    const int from = strip > 0 ? to - rows * u->stride : 0; /* the rows before were read for this strip */
    unit_ahead_rows(&w->ahead, f->x, plane, f->planes, u->h, u->w, from, to);
    unit_ahead_rows(&w->ahead, f->z, plane / f->planes * outs, outs, u->oh, u->ow, out, out + rows);
    ahead_spread(&w->ahead, unit_tiles(f->planes, rows, u->ow) +
                                (u->pointwise ? unit_product_tiles(f->out_blocks, rows, u->ow) * f->in_blocks : 0));
}

/* Strips [from, to) of one image; alone, the depthwise convolution takes block by block. */
static void run_strips(const forward *f, workspace *w, int image, int from, int to) {
    const nas__unit *u = f->u;
    for (int block = 0; block < f->in_blocks; block += f->planes) {
        w->loaded = 0;
        for (int s = from; s < to; s++) {
            look_ahead(f, w, image, block, s);
            const int out = s * f->strip, rows = dw_min(f->strip, u->oh - out);
            if (u->pointwise) {
                pointwise_strip(f, w, image, out, rows);
            } else {
                plain_strip(f, w, image, block, out, rows);
            }
            w->loaded = out * u->stride + rows_seen(f, rows);
        }
    }
}

/* The strips of one part of every image of one group. */
static void run_task(const forward *f, workspace *w, int group, int part) {
    const nas__unit *u = f->u;
    const int from = group_start(f->strips, part, f->parts), to = group_start(f->strips, part + 1, f->parts);
    const size_t width = (size_t)2 * f->out_blocks * BLOCK;
    double *total = f->partial ? f->partial + ((size_t)group * f->parts + part) * width : NULL;
    if (total) {
        memset(total, 0, width * sizeof *total);
    }
    for (int n = group_start(u->n, group, f->groups); n < group_start(u->n, group + 1, f->groups); n++) {
        memset(w->sums, 0, width * sizeof(float));
        run_strips(f, w, n, from, to);
        if (total) {
            fold_sums(f, w->sums, total);
        }
    }
}

/* Few images are cut into parts of several strips, which different threads take: as many as there are threads, unless
 * sums are taken, whose order must not depend on it. */
static void cut(forward *f, bool sums) {
    const nas__unit *u = f->u;
    const int few = sums ? FEW_TASKS : omp_get_max_threads();
    f->groups = image_groups(u->n, 1);
    f->reach = u->dilation * (u->kernel_h - 1) + 1;
    f->frame =
        (dw_frame){u->h, u->w, u->pad_h, u->pad_w, (u->ow - 1) * u->stride + u->dilation * (u->kernel_w - 1) + 1};
    f->planes = u->pointwise ? f->in_blocks : 1;
    int rows = STRIP_FLOATS / (f->planes * u->ow * BLOCK) / 2 * 2;
    if (f->groups < few) {
        rows = dw_min(rows, u->oh * f->groups / few / 2 * 2);
    }
    f->strip = dw_min(dw_max(rows, f->groups < few ? 2 : 4), u->oh);
    f->strips = dw_ceil_div(u->oh, f->strip);
    f->strip = dw_min(dw_ceil_div(dw_ceil_div(u->oh, f->strips), 2) * 2, u->oh); /* of equal size */
    f->strips = dw_ceil_div(u->oh, f->strip);
    f->whole = true;
    f->whole = f->strips > 1 && planes_floats(f) <= IMAGE_FLOATS;
    f->parts = f->groups < few ? dw_min(f->strips, dw_ceil_div(few, f->groups)) : 1;
}

static size_t sums_floats(const forward *f) { return (size_t)2 * f->out_blocks * BLOCK; }

static void run(const forward *f, nas__scratch *team) {
    nas__tasks tasks;
    nas__tasks_share(&tasks, f->groups * f->parts);
#pragma omp parallel if (f->groups * f->parts > 1)
    {
        workspace w = {.sums = (vec *)nas__scratch_mine(team), .bordered = -1};
        w.plane = (float *)w.sums + sums_floats(f);
        w.middle = w.plane + planes_floats(f);
        for (int block = 0; f->whole && block < f->planes; block++) {
            dw_zero_border(&f->frame, 0, rows_seen(f, f->u->oh), w.plane + block * plane_floats(f));
        }
        nas__turn turn = {0};
        for (int task; (task = nas__tasks_next(&tasks, &turn)) >= 0;) {
            run_task(f, &w, task / f->parts, task % f->parts);
        }
    }
}

void NAS_SIMD(nas__unit_forward)(const nas__unit *u, const float *x, const nas__on_load *load, const float *bias,
                                 const nas__on_load *act, float *z, double *sums) {
    forward f = {.u = u, .x = x, .bias = bias, .load = load, .act = act, .z = z};
    f.in_blocks = dw_ceil_div(u->in, BLOCK);
    f.out_blocks = dw_ceil_div(u->out, BLOCK);
    cut(&f, sums != NULL);
    const size_t partial = sums ? 2 * sums_floats(&f) * f.groups * f.parts : 0;
    nas__scratch *scratch = nas__scratch_acquire(partial);
    nas__scratch *team =
        scratch ? nas__scratch_acquire_team(sums_floats(&f) + planes_floats(&f) + middle_floats(&f)) : NULL;
    if (team) {
        f.partial = sums ? (double *)nas__scratch_floats(scratch) : NULL;
        run(&f, team);
        if (sums) {
            pw_add_groups(f.groups * f.parts, sums_floats(&f), f.partial, sums);
        }
        nas__scratch_release(team);
    }
    if (scratch) {
        nas__scratch_release(scratch);
    }
}
