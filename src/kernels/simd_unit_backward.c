/* simd_unit_backward.c - backward pass of separable units, image by image: the gradient of the output is finished in
 * scratch memory; then, one panel of input channels after the other, the depthwise result is computed again for the
 * pointwise weights, and the gradient goes through pointwise and depthwise convolution and the activation into dx. */
#include "simd_depthwise_phases.h"
#include "simd_unit.h"

/* Weight gradients are summed in at most 128 groups of images, in fewer when the weights are many. */
enum { GROUPS = 128, FEW_GROUPS = 16, PARTIAL_FLOATS = 1 << 18 };

/* What all threads of one call share. */
typedef struct backward {
    const nas__unit *u;
    const nas__unit_grads *g;
    const float *flipped, *weights; /* depthwise weights gathered by phases; pointwise_t packed */
    float *partial;                 /* [groups][pointwise_floats + depthwise_floats] */
    size_t pointwise_floats, depthwise_floats;
    double *sums; /* [groups][2][in padded], or NULL */
    int in_blocks, out_blocks, groups, parts;
    dw_frame in_frame, out_frame; /* the image, and the gradient of the depthwise result, with their borders */
    int in_rows, out_rows, step;
} backward;

/* What one thread works in. */
typedef struct workspace {
    float *dz;     /* [out_blocks] planes */
    float *in;     /* a panel of bordered planes: the value the depthwise convolution reads */
    float *middle; /* a panel of planes: the depthwise result */
    float *out;    /* a panel of bordered planes: its gradient */
    int32_t *place;
} workspace;

NAS_INLINE void late_row(const nas__late_grad *l, int block, size_t at, int count, float *out, const bool affine,
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
static void late_rows(const nas__late_grad *l, int block, size_t at, int rows, int cols, float *out, ptrdiff_t row) {
    for (int r = 0; r < rows; r++, at += (size_t)cols * BLOCK, out += row) {
        if (l->masked && l->b) {
            late_row(l, block, at, cols, out, true, true);
        } else if (l->masked) {
            late_row(l, block, at, cols, out, false, true);
        } else if (l->b) {
            late_row(l, block, at, cols, out, true, false);
        } else {
            late_row(l, block, at, cols, out, false, false);
        }
    }
}

static bool wants_values(const backward *b) {
    return b->g->d_pointwise || b->g->d_depthwise; /* of the input, and of the depthwise result */
}

static size_t in_floats(const backward *b) { return (size_t)b->in_rows * b->in_frame.cols * BLOCK; }
static size_t out_floats(const backward *b) { return (size_t)b->out_rows * b->out_frame.cols * BLOCK; }
static size_t middle_floats(const backward *b) { return (size_t)b->u->oh * b->u->ow * BLOCK; }

static void load_plane(const backward *b, const float *image, int block, float *plane) {
    const dw_frame *f = &b->in_frame;
    const unit_gate gate = unit_find_gate(b->g->load, block);
    int from, to;
    dw_image_rows(f, 0, b->in_rows, &from, &to);
    const int left = dw_max(f->left, 0), right = dw_min(f->left + f->w, f->cols);
    for (int r = from; r < to; r++) {
        const float *in = image + ((ptrdiff_t)(r - f->top) * f->w - f->left) * BLOCK;
        float *out = plane + (size_t)r * f->cols * BLOCK;
        for (ptrdiff_t c = left; c < right; c++) {
            vstore(out + c * BLOCK, unit_pass(&gate, vload(in + c * BLOCK)));
        }
    }
}

/* The depthwise result again. */
static void forward_plane(const backward *b, int block, const float *plane, float *y) {
    const nas__unit *u = b->u;
    dw_correlation c = {.x = plane,
                        .w = u->depthwise + (size_t)block * u->kernel_h * u->kernel_w * BLOCK,
                        .y = y,
                        .x_row = (ptrdiff_t)b->in_frame.cols * BLOCK,
                        .y_row = (ptrdiff_t)u->ow * BLOCK,
                        .y_col = BLOCK,
                        .rows = u->oh,
                        .cols = u->ow,
                        .kernel_h = u->kernel_h,
                        .kernel_w = u->kernel_w,
                        .stride = u->stride,
                        .dilation = u->dilation};
    dw_image_rows(&b->in_frame, 0, b->in_rows, &c.image_from, &c.image_to);
    NAS_SIMD(nas__dw_correlate)(&c);
}

static void depthwise_weights(const backward *b, const float *in, const float *out, float *dw) {
    const nas__unit *u = b->u;
    dw_product p = {.x = in,
                    .dy = out + ((ptrdiff_t)b->out_frame.top * b->out_frame.cols + b->out_frame.left) * BLOCK,
                    .dw = dw,
                    .x_row = (ptrdiff_t)b->in_frame.cols * BLOCK,
                    .dy_row = (ptrdiff_t)b->out_frame.cols * BLOCK,
                    .rows = u->oh,
                    .cols = u->ow,
                    .kernel_h = u->kernel_h,
                    .kernel_w = u->kernel_w,
                    .stride = u->stride,
                    .dilation = u->dilation};
    dw_image_rows(&b->in_frame, 0, b->in_rows, &p.image_from, &p.image_to);
    NAS_SIMD(nas__dw_multiply)(&p);
}

/* dx of one plane from the bordered gradient of its depthwise result. at: the plane's place in x and dx. */
static void depthwise_data(const backward *b, const float *out, const float *w, size_t at, const dw_finish *finish) {
    const nas__unit *u = b->u;
    const dw_frame *frame = &b->out_frame;
    dw_finish f = *finish;
    dw_correlation c = {.x_row = (ptrdiff_t)frame->cols * BLOCK,
                        .y_row = (ptrdiff_t)u->w * u->stride * BLOCK,
                        .y_col = (ptrdiff_t)u->stride * BLOCK,
                        .finish = &f,
                        .stride = 1,
                        .dilation = b->step};
    for (int rest_h = 0; rest_h < u->stride; rest_h++) {
        const dw_phase ph = dw_find_phase(rest_h, u->kernel_h, u->stride, u->dilation, u->pad_h);
        for (int rest_w = 0; rest_w < u->stride; rest_w++) {
            const dw_phase pw = dw_find_phase(rest_w, u->kernel_w, u->stride, u->dilation, u->pad_w);
            const bool any = ph.taps > 0 && pw.taps > 0; /* otherwise only zeroes to write */
            const int row = any ? ph.from + frame->top : 0, col = any ? pw.from + frame->left : 0;
            const size_t first = at + ((size_t)rest_h * u->w + rest_w) * BLOCK;
            c.x = out + row * c.x_row + (ptrdiff_t)col * BLOCK;
            c.w = w;
            c.y = b->g->dx + first;
            f.x = b->g->x + first;
            c.rows = dw_max(0, dw_ceil_div(u->h - rest_h, u->stride));
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
}

/* Without depthwise convolution its result's gradient is dh already, but for the activation. */
static void pass_data(const backward *b, const float *out, size_t at, const dw_finish *f) {
    float *dx = b->g->dx + at;
    vec s1 = vzero(), s2 = vzero();
    for (ptrdiff_t p = 0; p < (ptrdiff_t)middle_floats(b); p += BLOCK) {
        const vec x = vload(b->g->x + at + p), h = vfma(f->scale, x, f->shift);
        const vec v = vmask_pos(f->high - h, vmask_pos(h - f->low, vload(out + p)));
        s1 += v;
        s2 = vfma(v, x, s2);
        vstore(dx + p, f->accumulate ? v + vload(dx + p) : v);
    }
    if (f->sums) {
        f->sums[0] += s1;
        f->sums[1] += s2;
    }
}

/* The gradient of the depthwise result, for a panel of blocks, into w->out. */
static void middle_gradient(const backward *b, workspace *w, int image, int block, int blocks) {
    const nas__unit *u = b->u;
    const dw_frame *f = &b->out_frame;
    float *first = w->out + ((ptrdiff_t)f->top * f->cols + f->left) * BLOCK;
    if (!u->pointwise) {
        for (int i = 0; i < blocks; i++) {
            const size_t at = ((size_t)image * b->in_blocks + block + i) * middle_floats(b);
            late_rows(b->g->dz, block + i, at, u->oh, u->ow, first + i * out_floats(b), (ptrdiff_t)f->cols * BLOCK);
        }
        return;
    }
    unit_pointwise c = {.x = w->dz,
                        .x_block = (ptrdiff_t)middle_floats(b),
                        .w = b->weights + (size_t)block * BLOCK * u->out,
                        .y = first,
                        .y_block = (ptrdiff_t)out_floats(b),
                        .place = w->place,
                        .in = u->out,
                        .pixels = u->oh * u->ow,
                        .blocks = blocks};
    NAS_SIMD(nas__unit_pointwise)(&c);
}

/* The values that the weights were multiplied with, and the gradient of the pointwise weights. */
static void value_planes(const backward *b, workspace *w, int image, int block, int blocks, float *partial) {
    const nas__unit *u = b->u;
    for (int i = 0; i < blocks; i++) {
        const float *x = b->g->x + ((size_t)image * b->in_blocks + block + i) * u->h * u->w * BLOCK;
        float *in = w->in + i * in_floats(b), *middle = in;
        load_plane(b, x, block + i, in);
        if (!b->g->d_pointwise) {
            continue;
        }
        if (u->depthwise) {
            middle = w->middle;
            forward_plane(b, block + i, in, middle);
        }
        unit_product p = {.x = middle,
                          .dy = w->dz,
                          .dw = partial + (size_t)(block + i) * BLOCK * b->out_blocks * BLOCK,
                          .dy_block = (ptrdiff_t)middle_floats(b),
                          .in = dw_min(BLOCK, u->in - (block + i) * BLOCK),
                          .pixels = u->oh * u->ow,
                          .out_blocks = b->out_blocks};
        NAS_SIMD(nas__unit_multiply)(&p);
    }
}

static void run_panel(const backward *b, workspace *w, int image, int block, float *partial, double *sums) {
    const nas__unit *u = b->u;
    const int blocks = dw_min(UNIT_PANEL, b->in_blocks - block), taps = u->kernel_h * u->kernel_w;
    if (wants_values(b)) {
        value_planes(b, w, image, block, blocks, partial);
    }
    if (!b->g->dx && !b->g->d_depthwise) {
        return;
    }
    middle_gradient(b, w, image, block, blocks);
    for (int i = 0; i < blocks; i++) {
        const size_t dw = (size_t)(block + i) * taps * BLOCK, at = (size_t)image * b->in_blocks + block + i;
        const float *out = w->out + i * out_floats(b);
        if (b->g->d_depthwise) {
            depthwise_weights(b, w->in + i * in_floats(b), out, partial + b->pointwise_floats + dw);
        }
        if (b->g->dx) {
            const unit_gate gate = unit_find_gate(b->g->load, block + i);
            vec total[2] = {vzero(), vzero()};
            const dw_finish f = {.scale = gate.scale,
                                 .shift = gate.shift,
                                 .low = gate.low,
                                 .high = gate.high,
                                 .accumulate = b->g->accumulate,
                                 .sums = sums ? total : NULL};
            if (u->depthwise) {
                depthwise_data(b, out, b->flipped + dw, at * u->h * u->w * BLOCK, &f);
            } else {
                pass_data(b, out, at * u->h * u->w * BLOCK, &f);
            }
            if (sums) {
                fold(sums + (size_t)(block + i) * BLOCK, total[0]);
                fold(sums + (size_t)(b->in_blocks + block + i) * BLOCK, total[1]);
            }
        }
    }
}

/* One part of the panels of the images of one group. */
static void run_task(const backward *b, workspace *w, int group, int part) {
    const nas__unit *u = b->u;
    const int panels = dw_ceil_div(b->in_blocks, UNIT_PANEL);
    const int from = group_start(panels, part, b->parts), to = group_start(panels, part + 1, b->parts);
    float *partial = b->partial + (size_t)group * (b->pointwise_floats + b->depthwise_floats);
    double *sums = b->sums ? b->sums + (size_t)group * 2 * b->in_blocks * BLOCK : NULL;
    for (int n = group_start(u->n, group, b->groups); n < group_start(u->n, group + 1, b->groups); n++) {
        for (int block = 0; u->pointwise && block < b->out_blocks; block++) {
            const size_t plane = middle_floats(b), at = ((size_t)n * b->out_blocks + block) * plane;
            late_rows(b->g->dz, block, at, 1, u->oh * u->ow, w->dz + block * plane, 0);
        }
        for (int panel = from; panel < to; panel++) {
            run_panel(b, w, n, panel * UNIT_PANEL, partial, sums);
        }
    }
}

/* Zeroes the borders, which nobody writes later, and says where each pixel of the gradient lies between them. */
static void prepare(const backward *b, workspace *w) {
    for (int i = 0; i < UNIT_PANEL; i++) {
        if (wants_values(b)) {
            dw_zero_border(&b->in_frame, 0, b->in_rows, w->in + i * in_floats(b));
        }
        dw_zero_border(&b->out_frame, 0, b->out_rows, w->out + i * out_floats(b));
    }
    for (int r = 0, p = 0; r < b->u->oh; r++) {
        for (int c = 0; c < b->u->ow; c++, p++) {
            w->place[p] = (r * b->out_frame.cols + c) * BLOCK;
        }
    }
}

/* Floats of each part of a workspace. */
static size_t dz_part(const backward *b) { return b->u->pointwise ? b->out_blocks * middle_floats(b) : 0; }
static size_t in_part(const backward *b) { return wants_values(b) ? UNIT_PANEL * in_floats(b) : 0; }
static size_t place_part(const backward *b) { return ((size_t)b->u->oh * b->u->ow + BLOCK - 1) / BLOCK * BLOCK; }
static size_t workspace_floats(const backward *b) {
    return dz_part(b) + in_part(b) + middle_floats(b) + UNIT_PANEL * out_floats(b) + place_part(b);
}

static void run(const backward *b, nas__scratch *team) {
#pragma omp parallel if (b->groups * b->parts > 1)
    {
        workspace w = {.dz = nas__scratch_mine(team)};
        w.in = w.dz + dz_part(b);
        w.middle = w.in + in_part(b);
        w.out = w.middle + middle_floats(b);
        w.place = (int32_t *)(w.out + UNIT_PANEL * out_floats(b));
        prepare(b, &w);
#pragma omp for schedule(static)
        for (int task = 0; task < b->groups * b->parts; task++) {
            run_task(b, &w, task / b->parts, task % b->parts);
        }
    }
}

/* Adds up the groups' gradients of one kind of weights. */
static void add_groups(const backward *b, size_t offset, size_t floats, float *out) {
    const size_t width = b->pointwise_floats + b->depthwise_floats;
#pragma omp parallel for schedule(static) if (floats * b->groups >= SERIAL_BELOW)
    for (size_t i = 0; i < floats; i += BLOCK) {
        vec sum = vload(b->partial + offset + i);
        for (int group = 1; group < b->groups; group++) {
            sum += vload(b->partial + group * width + offset + i);
        }
        vstore(out + i, sum);
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
    row_from = dw_min(row_from, 0);
    col_from = dw_min(col_from, 0);
    b->out_rows = dw_max(row_to, u->oh) - row_from;
    b->out_frame = (dw_frame){u->oh, u->ow, -row_from, -col_from, dw_max(col_to, u->ow) - col_from};
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
    b->parts = b->groups < FEW_GROUPS ? dw_ceil_div(b->in_blocks, UNIT_PANEL) : 1;
    frame(b);
}

static void finish(const backward *b) {
    const size_t width = (size_t)2 * b->in_blocks * BLOCK;
    if (b->g->d_pointwise) {
        add_groups(b, 0, b->pointwise_floats, b->g->d_pointwise);
    }
    if (b->g->d_depthwise) {
        add_groups(b, b->pointwise_floats, b->depthwise_floats, b->g->d_depthwise);
    }
    for (size_t i = 0; b->sums && i < width; i++) {
        b->g->in_sums[i] = 0;
        for (int group = 0; group < b->groups; group++) {
            b->g->in_sums[i] += b->sums[group * width + i];
        }
    }
}

/* Lays out what all threads read, and zeroes what they add to. */
static void prepare_shared(backward *b, float *memory, size_t flipped, size_t packed, size_t sums) {
    const nas__unit *u = b->u;
    const size_t taps = (size_t)u->kernel_h * u->kernel_w;
    const nas__dw_shape shape = {.kernel_h = u->kernel_h,
                                 .kernel_w = u->kernel_w,
                                 .stride = u->stride,
                                 .dilation = u->dilation,
                                 .pad_h = u->pad_h,
                                 .pad_w = u->pad_w};
    for (int i = 0; u->depthwise && i < b->in_blocks; i++) {
        dw_gather_weights(&shape, u->depthwise + i * taps * BLOCK, memory + i * taps * BLOCK);
    }
    b->flipped = memory;
    memory += flipped;
    b->weights = u->pointwise ? NAS_SIMD(nas__unit_pack)(u->pointwise_t, u->out, b->in_blocks, memory) : NULL;
    memory += packed;
    b->sums = sums ? (double *)memory : NULL;
    memory += sums;
    b->partial = memory;
    memset(memory - sums, 0, (sums + b->groups * (b->pointwise_floats + b->depthwise_floats)) * sizeof(float));
}

void NAS_SIMD(nas__unit_backward)(const nas__unit *u, const nas__unit_grads *g) {
    backward b = {.u = u, .g = g};
    divide(&b);
    const size_t flipped = u->depthwise ? (size_t)b.in_blocks * u->kernel_h * u->kernel_w * BLOCK : 0;
    const size_t packed = u->pointwise ? (size_t)u->out * b.in_blocks * BLOCK : 0;
    const size_t sums = g->in_sums && g->dx ? (size_t)b.groups * 4 * b.in_blocks * BLOCK : 0;
    const size_t partial = b.groups * (b.pointwise_floats + b.depthwise_floats);
    nas__scratch *scratch = nas__scratch_acquire(flipped + packed + sums + partial);
    nas__scratch *team = scratch ? nas__scratch_acquire_team(workspace_floats(&b)) : NULL;
    if (team) {
        prepare_shared(&b, nas__scratch_floats(scratch), flipped, packed, sums);
        run(&b, team);
        finish(&b);
        nas__scratch_release(team);
    }
    if (scratch) {
        nas__scratch_release(scratch);
    }
}
