/* simd_unit_backward.c - backward pass of separable units, image by image and strip by strip of rows: the gradient of
 * the output is finished in scratch memory; then, one panel of input channels after the other, the depthwise result is
 * computed again for the pointwise weights, and the gradient goes through pointwise and depthwise convolution and the
 * activation into those rows of dx that no later strip adds to. */
#include "simd_depthwise_phases.h"
#include "simd_unit.h"

#include "kernels/tasks.h"

/* Weight gradients are summed in at most 128 groups of images, in fewer when the weights are many. */
enum { GROUPS = 128, FEW_GROUPS = 16, PARTIAL_FLOATS = 1 << 18 };

/* A strip of the output's gradient should stay in the first-level cache, all bordered planes in the second.
 * Each strip reads and writes the whole gradient of the weights once, so it should not have too few pixels. */
enum { STRIP_FLOATS = 4 * 1024, IMAGE_FLOATS = 128 * 1024, LEAST_PIXELS = 64 };

/* What all threads of one call share. */
typedef struct backward {
    const nas__unit *u;
    const nas__unit_grads *g;
    const float *flipped; /* depthwise weights gathered by phases */
    float *partial;       /* [groups][pointwise_floats + depthwise_floats] */
    size_t pointwise_floats, depthwise_floats;
    double *sums; /* [groups][2][in padded], or NULL */
    int in_blocks, out_blocks, groups, parts;
    int panel;  /* blocks worked on together, at most */
    int planes; /* bordered ones: of a panel when there is one strip, or else of all blocks that a strip goes through */
    dw_frame in_frame, out_frame; /* the image, and the gradient of the depthwise result, with their borders */
    int in_rows, out_rows, step;
    int strip, strips; /* rows of output; several strips only when each block has bordered planes of its own */
    bool ahead_images; /* images are fetched ahead as a whole, not strip by strip */
    int behind;        /* the row m*stride of dx is complete when the rows of output before m + behind are there */
} backward;

/* Rows of output [from, to), and the rows of dx that they complete, in units of the stride: [dx_from, dx_to). */
typedef struct strip {
    int image, from, to, dx_from, dx_to;
} strip;

/* What one thread works in. */
typedef struct workspace {
    float *dz;     /* a strip of all output blocks */
    float *in;     /* bordered planes of a panel, or of all blocks: the values that the depthwise convolution reads */
    float *middle; /* a strip of one block: the depthwise result */
    float *out;    /* bordered planes as those of `in`: the gradient of the depthwise result */
    float *dx;     /* with a stride: complete rows before the activation */
    vec *sums;     /* [in_blocks][2], of one image */
    int32_t *place;
    int first;   /* the block that the first of the planes is of */
    ahead ahead; /* of what comes next */
} workspace;

static bool wants_values(const backward *b) {
    return b->g->d_pointwise || b->g->d_depthwise; /* of the input, and of the depthwise result */
}

static size_t in_floats(const backward *b) { return (size_t)b->in_rows * b->in_frame.cols * BLOCK; }
static size_t out_floats(const backward *b) { return (size_t)b->out_rows * b->out_frame.cols * BLOCK; }
static size_t strip_floats(const backward *b) { return (size_t)b->strip * b->u->ow * BLOCK; }
static float *in_plane(const backward *b, const workspace *w, int block) {
    return w->in + (block - w->first) * in_floats(b);
}
static float *out_plane(const backward *b, const workspace *w, int block) {
    return w->out + (block - w->first) * out_floats(b);
}
/* Where row r of an output plane of block `block` begins. */
static size_t out_at(const backward *b, const strip *s, int block, int blocks) {
    return (((size_t)s->image * blocks + block) * b->u->oh + s->from) * b->u->ow * BLOCK;
}
static size_t in_at(const backward *b, const strip *s, int block) {
    return ((size_t)s->image * b->in_blocks + block) * b->u->h * b->u->w * BLOCK;
}
/* The row of the bordered input that row r of output sees first, and the rows that the strip sees. */
static int seen_from(const backward *b, const strip *s) { return s->from * b->u->stride; }
static int seen_rows(const backward *b, const strip *s) {
    return (s->to - s->from - 1) * b->u->stride + b->u->dilation * (b->u->kernel_h - 1) + 1;
}

/* The values that the strip sees, as far as the strips before did not load them. */
static void load_values(const backward *b, const strip *s, int block, float *plane) {
    const int to = seen_from(b, s) + seen_rows(b, s);
    const int done = s->from > 0 ? to - (s->to - s->from) * b->u->stride : 0; /* where the last strip ended */
    unit_load_rows(&b->in_frame, b->g->x + in_at(b, s, block), b->g->load, block, dw_max(done, 0), to, plane);
}

/* Pixel (s->from, 0) of the bordered gradient. */
static float *strip_of(const backward *b, const strip *s, float *out) {
    return out + ((ptrdiff_t)(b->out_frame.top + s->from) * b->out_frame.cols + b->out_frame.left) * BLOCK;
}

static void depthwise_weights(const backward *b, workspace *w, const strip *s, int block, float *dw) {
    const nas__unit *u = b->u;
    dw_product p = {.x = in_plane(b, w, block) + (ptrdiff_t)seen_from(b, s) * b->in_frame.cols * BLOCK,
                    .dy = strip_of(b, s, out_plane(b, w, block)),
                    .dw = dw,
                    .x_row = (ptrdiff_t)b->in_frame.cols * BLOCK,
                    .dy_row = (ptrdiff_t)b->out_frame.cols * BLOCK,
                    .rows = s->to - s->from,
                    .cols = u->ow,
                    .kernel_h = u->kernel_h,
                    .kernel_w = u->kernel_w,
                    .stride = u->stride,
                    .dilation = u->dilation,
                    .ahead = &w->ahead};
    dw_image_rows(&b->in_frame, seen_from(b, s), seen_rows(b, s), &p.image_from, &p.image_to);
    NAS_SIMD(nas__dw_multiply)(&p);
}

/* dx from pixel `at` of all of dx on, from `count` floats that lack only the activation. */
static void pass_data(const backward *b, const float *out, size_t at, size_t count, const dw_finish *f) {
    float *dx = b->g->dx + at;
    vec s1 = vzero(), s2 = vzero();
    for (size_t p = 0; p < count; p += BLOCK) {
        const vec x = vload(b->g->x + at + p), v = dw_mask(f, x, vload(out + p));
        s1 += v;
        s2 = vfma(v, x, s2);
        vstore(dx + p, f->accumulate ? v + vload(dx + p) : v);
    }
    if (f->sums) {
        f->sums[0] += s1;
        f->sums[1] += s2;
    }
}

/* The complete rows of dx of one plane. at: the plane's place in x and dx. With a stride the correlations write pixels
 * apart from each other, so they go to scratch memory first: x and dx are read and written in order. */
static void depthwise_data(const backward *b, workspace *work, const strip *s, const float *out, const float *w,
                           size_t at, const dw_finish *finish) {
    const nas__unit *u = b->u;
    const dw_frame *frame = &b->out_frame;
    dw_finish f = *finish;
    dw_correlation c = {.x_row = (ptrdiff_t)frame->cols * BLOCK,
                        .y_row = (ptrdiff_t)u->w * u->stride * BLOCK,
                        .y_col = (ptrdiff_t)u->stride * BLOCK,
                        .finish = u->stride > 1 ? NULL : &f,
                        .stride = 1,
                        .dilation = b->step,
                        .ahead = &work->ahead};
    for (int rest_h = 0; rest_h < u->stride; rest_h++) {
        const dw_phase ph = dw_find_phase(rest_h, u->kernel_h, u->stride, u->dilation, u->pad_h);
        for (int rest_w = 0; rest_w < u->stride; rest_w++) {
            const dw_phase pw = dw_find_phase(rest_w, u->kernel_w, u->stride, u->dilation, u->pad_w);
            const bool any = ph.taps > 0 && pw.taps > 0; /* otherwise only zeroes to write */
            const int top = rest_h + s->dx_from * u->stride;
            const int row = any ? ph.from + frame->top + s->dx_from : 0, col = any ? pw.from + frame->left : 0;
            const size_t first = at + ((size_t)top * u->w + rest_w) * BLOCK;
            c.x = out + row * c.x_row + (ptrdiff_t)col * BLOCK;
            c.w = w;
            c.y = u->stride > 1 ? work->dx + ((size_t)rest_h * u->w + rest_w) * BLOCK : b->g->dx + first;
            f.x = b->g->x + first;
            c.rows = dw_max(0, dw_min(s->dx_to - s->dx_from, dw_ceil_div(u->h - top, u->stride)));
            c.cols = dw_max(0, dw_ceil_div(u->w - rest_w, u->stride));
            c.kernel_h = any ? ph.taps : 0;
            c.kernel_w = any ? pw.taps : 1;
            dw_image_rows(frame, 0, b->out_rows, &c.image_from, &c.image_to);
            c.image_from -= row;
            c.image_to -= row;
            if (c.rows > 0 && c.cols > 0) {
                NAS_SIMD(nas__dw_correlate)(&c);
            }
            w += (size_t)ph.taps * pw.taps * BLOCK;
        }
    }
    if (u->stride > 1) {
        const int from = s->dx_from * u->stride, rows = dw_max(0, dw_min(s->dx_to * u->stride, u->h) - from);
        const size_t row = (size_t)u->w * BLOCK;
        pass_data(b, work->dx, at + from * row, rows * row, finish);
    }
}

/* The gradient of the depthwise result, for a panel of blocks, between its borders. */
static void middle_gradient(const backward *b, workspace *w, const strip *s, int block, int blocks) {
    const nas__unit *u = b->u;
    const int rows = s->to - s->from;
    if (!u->pointwise) {
        for (int i = block; i < block + blocks; i++) {
            grad_rows(b->g->dz, i, out_at(b, s, i, b->in_blocks), rows, (ptrdiff_t)u->ow * BLOCK,
                      strip_of(b, s, out_plane(b, w, i)), (ptrdiff_t)b->out_frame.cols * BLOCK);
        }
        return;
    }
    pw_product c = {.x = w->dz,
                    .x_block = (ptrdiff_t)strip_floats(b),
                    .w = u->pointwise_t + (size_t)block * BLOCK * u->out,
                    .y = strip_of(b, s, out_plane(b, w, block)),
                    .y_block = (ptrdiff_t)out_floats(b),
                    .place = w->place,
                    .parts = 1,
                    .in = u->out,
                    .pixels = rows * u->ow,
                    .blocks = blocks,
                    .ahead = &w->ahead};
    NAS_SIMD(nas__pw_multiply)(&c);
}

/* The values that the weights were multiplied with, and the gradient of the pointwise weights. */
static void values(const backward *b, workspace *w, const strip *s, int block, float *partial) {
    const nas__unit *u = b->u;
    load_values(b, s, block, in_plane(b, w, block));
    if (!b->g->d_pointwise) {
        return;
    }
    const float *seen = in_plane(b, w, block) + (ptrdiff_t)seen_from(b, s) * b->in_frame.cols * BLOCK;
    unit_correlate(u, &b->in_frame, block, s->from, s->to - s->from, seen, w->middle, &w->ahead);
    pw_gradient p = {.x = w->middle,
                     .dy = w->dz,
                     .dw = partial + (size_t)block * BLOCK * b->out_blocks * BLOCK,
                     .dy_block = (ptrdiff_t)strip_floats(b),
                     .parts = 1,
                     .in = dw_min(BLOCK, u->in - block * BLOCK),
                     .pixels = (s->to - s->from) * u->ow,
                     .blocks = b->out_blocks,
                     .ahead = &w->ahead};
    NAS_SIMD(nas__pw_accumulate)(&p);
}

static void data(const backward *b, workspace *w, const strip *s, int block) {
    const nas__unit *u = b->u;
    const nas__on_load *load = b->g->load;
    const dw_finish f = {.load = load_block(load, block),
                         .masked = load && load->relu,
                         .capped = load && load->cap > 0,
                         .accumulate = b->g->accumulate,
                         .sums = b->sums ? w->sums + 2 * (size_t)block : NULL};
    const float *flipped = b->flipped + (size_t)block * u->kernel_h * u->kernel_w * BLOCK;
    depthwise_data(b, w, s, out_plane(b, w, block), flipped, in_at(b, s, block), &f);
}

static void run_panel(const backward *b, workspace *w, const strip *s, int block, int blocks, float *partial) {
    const int taps = b->u->kernel_h * b->u->kernel_w;
    for (int i = block; i < block + blocks && wants_values(b); i++) {
        values(b, w, s, i, partial);
    }
    if (!b->g->dx && !b->g->d_depthwise) {
        return;
    }
    middle_gradient(b, w, s, block, blocks);
    for (int i = block; i < block + blocks; i++) {
        if (b->g->d_depthwise) {
            depthwise_weights(b, w, s, i, partial + b->pointwise_floats + (size_t)i * taps * BLOCK);
        }
        if (b->g->dx) {
            data(b, w, s, i);
        }
    }
}

/* Goes on to the next strip; the rows of dx come in pairs as long as there are more. */
static void advance(const backward *b, strip *s, int count) {
    const int rows = dw_ceil_div(b->u->h, b->u->stride);
    s->to = dw_min(s->from + count, b->u->oh);
    s->dx_from = s->dx_to;
    s->dx_to = s->to == b->u->oh ? rows : dw_max(dw_min(s->to - b->behind, rows) / 2 * 2, s->dx_from);
}

/* The float sums of one image join the double sums of its group. */
static void fold_sums(const backward *b, const workspace *w, int from, int to, double *total) {
    for (int block = from; block < to; block++) {
        fold(total + (size_t)block * BLOCK, w->sums[2 * block]);
        fold(total + (size_t)(b->in_blocks + block) * BLOCK, w->sums[2 * block + 1]);
    }
}

/* Tiles, about, that a strip of so many rows takes. */
static size_t strip_tiles(const backward *b, int rows, int blocks) {
    const nas__unit *u = b->u;
    const nas__unit_grads *g = b->g;
    const size_t correlations = unit_tiles(blocks, rows * u->stride, u->w);
    if (!u->pointwise) {
        return (g->dx ? correlations : 0) + (g->d_depthwise ? rows : 0);
    }
    return (g->dx ? correlations + unit_product_tiles(blocks, rows, u->ow) * b->out_blocks : 0) +
           (g->d_pointwise ? unit_tiles(blocks, rows, u->ow) * (1 + b->out_blocks) : 0) +
           (g->d_depthwise ? (size_t)blocks * rows : 0);
}

/* What comes after this strip will be read and written meanwhile: the next strip, or, at an image's first strip, the
 * next image. The depthwise convolution alone takes blocks for images. */
static void look_ahead(const backward *b, workspace *w, const strip *now, int block) {
    const nas__unit *u = b->u;
    const nas__unit_grads *g = b->g;
    const int blocks = u->pointwise ? b->in_blocks : 1, outs = u->pointwise ? b->out_blocks : 1;
    size_t in = (size_t)now->image * b->in_blocks + block;
    strip s = *now;
    if (b->ahead_images && now->from > 0) {
        return;
    }
    ahead_reset(&w->ahead);
    if (b->ahead_images || now->to == u->oh) {
        s = (strip){.to = 0};
        in += blocks;
    }
    if (b->parts > 1 || in >= (size_t)u->n * b->in_blocks) {
        return;
    }
    s.from = s.to;
    advance(b, &s, b->ahead_images ? u->oh : b->strip);
    const size_t out = in / blocks * outs;
    const int dx_from = s.dx_from * u->stride, dx_to = s.dx_to * u->stride;
    int x_from = dx_from, x_to = dx_to;
    if (wants_values(b)) {
        x_to = seen_from(b, &s) + seen_rows(b, &s) - b->in_frame.top;
        x_from = s.from > 0 ? x_to - (s.to - s.from) * u->stride : 0;
    }
    const bool z = g->dz->b || g->dz->masked, x = wants_values(b) || g->in_sums || (g->load && g->load->relu);
    unit_ahead_rows(&w->ahead, g->dz->g, out, outs, u->oh, u->ow, s.from, s.to);
    unit_ahead_rows(&w->ahead, z ? g->dz->z : NULL, out, outs, u->oh, u->ow, s.from, s.to);
    unit_ahead_rows(&w->ahead, x ? g->x : NULL, in, blocks, u->h, u->w, x_from, x_to);
    unit_ahead_rows(&w->ahead, g->dx, in, blocks, u->h, u->w, dx_from, dx_to);
    ahead_spread(&w->ahead, strip_tiles(b, b->ahead_images ? u->oh : now->to - now->from, blocks));
}

/* Blocks [from, to) of one image; alone, the depthwise convolution takes block by block. */
static void run_strips(const backward *b, workspace *w, int image, int from, int to, float *partial) {
    const nas__unit *u = b->u;
    for (strip s = {.image = image}; s.from < u->oh; s.from = s.to) {
        advance(b, &s, b->strip);
        look_ahead(b, w, &s, from);
        for (int block = 0; u->pointwise && block < b->out_blocks; block++) {
            grad_rows(b->g->dz, block, out_at(b, &s, block, b->out_blocks), 1,
                      (ptrdiff_t)(s.to - s.from) * u->ow * BLOCK, w->dz + block * strip_floats(b), 0);
        }
        for (int block = from, blocks; block < to; block += blocks) {
            blocks = dw_min(b->panel, pw_width(to - block));
            w->first = b->strips > 1 ? from : block;
            run_panel(b, w, &s, block, blocks, partial);
        }
    }
}

/* One part of the panels of the images of one group. */
static void run_task(const backward *b, workspace *w, int group, int part) {
    const nas__unit *u = b->u;
    const int panels = dw_ceil_div(b->in_blocks, PANEL);
    const int from = group_start(panels, part, b->parts) * PANEL;
    const int to = dw_min(group_start(panels, part + 1, b->parts) * PANEL, b->in_blocks);
    float *partial = b->partial + (size_t)group * (b->pointwise_floats + b->depthwise_floats);
    if (b->parts == 1) {
        memset(partial, 0, (b->pointwise_floats + b->depthwise_floats) * sizeof(float));
    }
    for (int n = group_start(u->n, group, b->groups); n < group_start(u->n, group + 1, b->groups); n++) {
        memset(w->sums, 0, sizeof(vec) * 2 * b->in_blocks);
        if (u->pointwise) {
            run_strips(b, w, n, from, to, partial);
        } else {
            for (int block = from; block < to; block++) {
                run_strips(b, w, n, block, block + 1, partial);
            }
        }
        if (b->sums) {
            fold_sums(b, w, from, to, b->sums + (size_t)group * 2 * b->in_blocks * BLOCK);
        }
    }
}

/* Zeroes the borders, which nobody writes later, and says where each pixel of the gradient lies between them. */
static void prepare(const backward *b, workspace *w) {
    for (int i = 0; i < b->planes; i++) {
        if (wants_values(b)) {
            dw_zero_border(&b->in_frame, 0, b->in_rows, w->in + i * in_floats(b));
        }
        dw_zero_border(&b->out_frame, 0, b->out_rows, w->out + i * out_floats(b));
    }
    for (int r = 0, p = 0; r < b->strip; r++) {
        for (int c = 0; c < b->u->ow; c++, p++) {
            w->place[p] = (r * b->out_frame.cols + c) * BLOCK;
        }
    }
}

/* Floats of each part of a workspace. */
static size_t dz_part(const backward *b) { return b->u->pointwise ? b->out_blocks * strip_floats(b) : 0; }
static size_t in_part(const backward *b) { return wants_values(b) ? b->planes * in_floats(b) : 0; }
static size_t sums_part(const backward *b) { return (size_t)2 * b->in_blocks * BLOCK; }
static size_t dx_part(const backward *b) { return b->u->stride > 1 ? (size_t)b->u->h * b->u->w * BLOCK : 0; }
static size_t workspace_floats(const backward *b) { /* place has one entry where a strip has BLOCK floats */
    return dz_part(b) + in_part(b) + 2 * strip_floats(b) + b->planes * out_floats(b) + sums_part(b) + dx_part(b);
}

static void run(const backward *b, nas__scratch *team) {
    nas__tasks tasks;
    nas__tasks_share(&tasks, b->groups * b->parts);
#pragma omp parallel if (b->groups * b->parts > 1)
    {
        workspace w = {.dz = nas__scratch_mine(team)};
        w.in = w.dz + dz_part(b);
        w.middle = w.in + in_part(b);
        w.out = w.middle + strip_floats(b);
        w.sums = (vec *)(w.out + b->planes * out_floats(b));
        w.dx = (float *)w.sums + sums_part(b);
        w.place = (int32_t *)(w.dx + dx_part(b));
        prepare(b, &w);
        nas__turn turn = {0};
        for (int task; (task = nas__tasks_next(&tasks, &turn)) >= 0;) {
            run_task(b, &w, task / b->parts, task % b->parts);
        }
    }
}

/* Where images and gradients lie between their borders. */
static void frame(backward *b) {
    const nas__unit *u = b->u;
    int row_from, row_to, col_from, col_to;
    b->step = u->dilation / dw_greatest_common_divisor(u->stride, u->dilation);
    b->in_rows = (u->oh - 1) * u->stride + u->dilation * (u->kernel_h - 1) + 1;
    b->in_frame =
        (dw_frame){u->h, u->w, u->pad_h, u->pad_w, (u->ow - 1) * u->stride + u->dilation * (u->kernel_w - 1) + 1};
    dw_phase_range(u->h, u->kernel_h, u->stride, u->dilation, u->pad_h, &row_from, &row_to);
    dw_phase_range(u->w, u->kernel_w, u->stride, u->dilation, u->pad_w, &col_from, &col_to);
    b->behind = row_to - dw_ceil_div(u->h, u->stride);
    row_from = dw_min(row_from, 0);
    col_from = dw_min(col_from, 0);
    b->out_rows = dw_max(row_to, u->oh) - row_from;
    b->out_frame = (dw_frame){u->oh, u->ow, -row_from, -col_from, dw_max(col_to, u->ow) - col_from};
}

/* Several strips, if all planes fit the cache. */
static void cut_strips(backward *b) {
    const nas__unit *u = b->u;
    const int blocks = u->pointwise ? b->in_blocks : 1, out_blocks = u->pointwise ? b->out_blocks : 1;
    const size_t whole = ((wants_values(b) ? in_floats(b) : 0) + out_floats(b)) * blocks;
    int rows = dw_max(STRIP_FLOATS / (out_blocks * u->ow * BLOCK) / 2 * 2, 4);
    rows = dw_max(rows, dw_ceil_div(LEAST_PIXELS, 2 * u->ow) * 2);
    b->strip = u->oh;
    b->strips = 1;
    if (rows < u->oh && whole <= IMAGE_FLOATS) {
        b->strip = dw_ceil_div(dw_ceil_div(u->oh, dw_ceil_div(u->oh, rows)), 2) * 2;
        b->strips = dw_ceil_div(u->oh, b->strip);
    }
    b->ahead_images = unit_ahead_images(2 * blocks, u->h * u->w, 2 * out_blocks, u->oh * u->ow);
    b->panel = dw_min(whole <= IMAGE_FLOATS ? PW_WIDE : PANEL, blocks);
    b->planes = b->strips > 1 ? blocks : b->panel;
}

static void divide(backward *b) {
    const nas__unit *u = b->u;
    b->in_blocks = dw_ceil_div(u->in, BLOCK);
    b->out_blocks = dw_ceil_div(u->out, BLOCK);
    b->pointwise_floats = b->g->d_pointwise ? (size_t)u->in * b->out_blocks * BLOCK : 0;
    b->depthwise_floats = b->g->d_depthwise ? (size_t)b->in_blocks * u->kernel_h * u->kernel_w * BLOCK : 0;
    b->groups = GROUPS;
    while (b->groups > FEW_GROUPS && b->groups * (b->pointwise_floats + b->depthwise_floats) > PARTIAL_FLOATS) {
        b->groups /= 2;
    }
    b->groups = dw_min(b->groups, u->n);
    b->parts = b->groups < FEW_GROUPS ? dw_ceil_div(b->in_blocks, PANEL) : 1;
    frame(b);
    cut_strips(b);
}

static void finish(const backward *b) {
    const size_t width = b->pointwise_floats + b->depthwise_floats;
    if (b->g->d_pointwise) {
        pw_add_weights(b->groups, width, b->partial, b->pointwise_floats, b->g->d_pointwise);
    }
    if (b->g->d_depthwise) {
        pw_add_weights(b->groups, width, b->partial + b->pointwise_floats, b->depthwise_floats, b->g->d_depthwise);
    }
    if (b->sums) {
        pw_add_groups(b->groups, (size_t)2 * b->in_blocks * BLOCK, b->sums, b->g->in_sums);
    }
}

/* Lays out what all threads read, and zeroes what they add to. */
static void prepare_shared(backward *b, float *memory, size_t flipped, size_t sums) {
    const nas__unit *u = b->u;
    const size_t taps = (size_t)u->kernel_h * u->kernel_w;
    for (int i = 0; i < b->in_blocks; i++) {
        dw_gather_weights(u, u->depthwise + i * taps * BLOCK, memory + i * taps * BLOCK);
    }
    b->flipped = memory;
    memory += flipped;
    b->sums = sums ? (double *)memory : NULL;
    memory += sums;
    b->partial = memory;
    memset(memory - sums, 0, sums * sizeof(float));
    if (b->parts > 1) { /* else each group's task does it */
        memset(memory, 0, b->groups * (b->pointwise_floats + b->depthwise_floats) * sizeof(float));
    }
}

void NAS_SIMD(nas__unit_backward)(const nas__unit *u, const nas__unit_grads *g) {
    backward b = {.u = u, .g = g};
    divide(&b);
    const size_t flipped = (size_t)b.in_blocks * u->kernel_h * u->kernel_w * BLOCK;
    const size_t sums = g->in_sums && g->dx ? (size_t)b.groups * 4 * b.in_blocks * BLOCK : 0;
    const size_t partial = b.groups * (b.pointwise_floats + b.depthwise_floats);
    nas__scratch *scratch = nas__scratch_acquire(flipped + sums + partial);
    nas__scratch *team = scratch ? nas__scratch_acquire_team(workspace_floats(&b)) : NULL;
    if (team) {
        prepare_shared(&b, nas__scratch_floats(scratch), flipped, sums);
        run(&b, team);
        finish(&b);
        nas__scratch_release(team);
    }
    if (scratch) {
        nas__scratch_release(scratch);
    }
}
