/* simd_depthwise.c - depthwise convolution, forward and backward with respect to the input. Both copy strips of one
 * plane into scratch memory (ReLU on the way) and correlate them there. The gradient of a strided convolution falls
 * apart into `stride` x `stride` dense correlations, one for each remainder of the input pixel's coordinates. */
#include "simd_depthwise_phases.h"

void NAS_SIMD(nas__dw_forward)(const nas__dw_shape *s, const float *x, const float *w, float *y, bool relu_input) {
    const int cb = (s->c + BLOCK - 1) / BLOCK, taps = s->kernel_h * s->kernel_w;
    const int reach = s->dilation * (s->kernel_h - 1) + 1;
    const int cols = (s->ow - 1) * s->stride + s->dilation * (s->kernel_w - 1) + 1;
    const dw_frame frame = {s->h, s->w, s->pad_h, s->pad_w, cols};
    const int strip = dw_strip_rows(s->oh, cols, s->stride, reach), strips = dw_ceil_div(s->oh, strip);
    const ptrdiff_t tasks = (ptrdiff_t)s->n * cb * strips;
    nas__scratch *scratch = nas__scratch_acquire_team(((size_t)(strip - 1) * s->stride + reach) * cols * BLOCK);
    if (!scratch) {
        return;
    }
#pragma omp parallel if (tasks > 1)
    {
        float *plane = nas__scratch_mine(scratch);
        int bordered = -1; /* the strip whose zero border is in place */
#pragma omp for schedule(static)
        for (ptrdiff_t task = 0; task < tasks; task++) {
            const ptrdiff_t p = task / strips;
            const int part = (int)(task % strips), out = part * strip, first = out * s->stride;
            const int rows = dw_min(strip, s->oh - out), count = (rows - 1) * s->stride + reach;
            if (part != bordered) {
                dw_zero_border(&frame, first, count, plane);
                bordered = part;
            }
            dw_copy_rows(&frame, x + (size_t)p * s->h * s->w * BLOCK, first, count, plane, relu_input);
            dw_correlation c = {.x = plane,
                                .w = w + (size_t)(p % cb) * taps * BLOCK,
                                .y = y + ((size_t)p * s->oh + out) * s->ow * BLOCK,
                                .x_row = (ptrdiff_t)cols * BLOCK,
                                .y_row = (ptrdiff_t)s->ow * BLOCK,
                                .y_col = BLOCK,
                                .rows = rows,
                                .cols = s->ow,
                                .kernel_h = s->kernel_h,
                                .kernel_w = s->kernel_w,
                                .stride = s->stride,
                                .dilation = s->dilation};
            dw_image_rows(&frame, first, count, &c.image_from, &c.image_to);
            NAS_SIMD(nas__dw_correlate)(&c);
        }
    }
    nas__scratch_release(scratch);
}

/* What all strips of one backward-data call share. */
typedef struct backward {
    const nas__dw_shape *s;
    const float *weights; /* per channel block and pair of phases, in the order the correlation wants */
    const float *dy, *x;
    float *dx;
    dw_frame frame;
    int cb, step, row_from, row_to; /* rows of dy that take part */
    int strip, strips;              /* in input rows of one phase */
} backward;

/* The rows first_m .. first_m + count of every phase, from the strip of dy that lies in `plane`. */
static void backward_strip(const backward *b, ptrdiff_t p, int first_m, int count, const float *plane, int plane_rows) {
    const nas__dw_shape *s = b->s;
    const ptrdiff_t x_row = (ptrdiff_t)b->frame.cols * BLOCK;
    const int col_from = -b->frame.left;
    const float *w = b->weights + (size_t)(p % b->cb) * s->kernel_h * s->kernel_w * BLOCK;
    dw_finish relu = {.low = vzero(), .scale = vset1(1), .shift = vzero(), .masked = true};
    dw_correlation c = {.x_row = x_row,
                        .finish = b->x ? &relu : NULL,
                        .y_row = (ptrdiff_t)s->w * s->stride * BLOCK,
                        .y_col = (ptrdiff_t)s->stride * BLOCK,
                        .stride = 1,
                        .dilation = b->step};
    for (int rest_h = 0; rest_h < s->stride; rest_h++) {
        const dw_phase ph = dw_find_phase(rest_h, s->kernel_h, s->stride, s->dilation, s->pad_h);
        for (int rest_w = 0; rest_w < s->stride; rest_w++) {
            const dw_phase pw = dw_find_phase(rest_w, s->kernel_w, s->stride, s->dilation, s->pad_w);
            const int row = rest_h + first_m * s->stride; /* of dx */
            const bool any = ph.taps > 0 && pw.taps > 0;  /* otherwise only zeroes to write */
            const int in = any ? ph.from - b->row_from : 0;
            const ptrdiff_t at = (((ptrdiff_t)p * s->h + row) * s->w + rest_w) * BLOCK;
            c.x = plane + in * x_row + (any ? pw.from - col_from : 0) * BLOCK;
            c.w = w;
            c.y = b->dx + at;
            relu.x = b->x + at;
            c.rows = dw_max(0, dw_min(count, dw_ceil_div(s->h - row, s->stride)));
            c.cols = dw_max(0, dw_ceil_div(s->w - rest_w, s->stride));
            c.kernel_h = any ? ph.taps : 0;
            c.kernel_w = any ? pw.taps : 1;
            dw_image_rows(&b->frame, first_m, plane_rows, &c.image_from, &c.image_to);
            c.image_from -= in;
            c.image_to -= in;
            if (c.rows > 0 && c.cols > 0) {
                NAS_SIMD(nas__dw_correlate)(&c);
            }
            w += (size_t)ph.taps * pw.taps * BLOCK;
        }
    }
}

static void backward_planes(const backward *b) {
    const nas__dw_shape *s = b->s;
    const int halo = b->row_to - b->row_from - dw_ceil_div(s->h, s->stride); /* rows of dy beyond those of a phase */
    const ptrdiff_t tasks = (ptrdiff_t)s->n * b->cb * b->strips;
    nas__scratch *scratch = nas__scratch_acquire_team((size_t)(b->strip + halo) * b->frame.cols * BLOCK);
    if (!scratch) {
        return;
    }
#pragma omp parallel if (tasks > 1)
    {
        float *plane = nas__scratch_mine(scratch);
        int bordered = -1;
#pragma omp for schedule(static)
        for (ptrdiff_t task = 0; task < tasks; task++) {
            const ptrdiff_t p = task / b->strips;
            const int part = (int)(task % b->strips), first = part * b->strip;
            const int rows = dw_min(b->strip, dw_ceil_div(s->h, s->stride) - first);
            const int in = rows + halo;
            if (part != bordered) {
                dw_zero_border(&b->frame, first, in, plane);
                bordered = part;
            }
            dw_copy_rows(&b->frame, b->dy + (size_t)p * s->oh * s->ow * BLOCK, first, in, plane, false);
            backward_strip(b, p, first, rows, plane, in);
        }
    }
    nas__scratch_release(scratch);
}

void NAS_SIMD(nas__dw_backward_data)(const nas__dw_shape *s, const float *dy, const float *w, const float *x, float *dx,
                                     bool relu_input) {
    const int cb = (s->c + BLOCK - 1) / BLOCK, taps = s->kernel_h * s->kernel_w;
    int col_from, col_to;
    backward b = {.s = s, .dy = dy, .x = relu_input ? x : NULL, .dx = dx, .cb = cb};
    b.step = s->dilation / dw_greatest_common_divisor(s->stride, s->dilation);
    dw_phase_range(s->h, s->kernel_h, s->stride, s->dilation, s->pad_h, &b.row_from, &b.row_to);
    dw_phase_range(s->w, s->kernel_w, s->stride, s->dilation, s->pad_w, &col_from, &col_to);
    b.frame = (dw_frame){s->oh, s->ow, -b.row_from, -col_from, col_to - col_from};
    const int rows = dw_ceil_div(s->h, s->stride);
    b.strip = dw_strip_rows(rows, b.frame.cols, 1, b.row_to - b.row_from - rows + 1);
    b.strips = dw_ceil_div(rows, b.strip);

    nas__scratch *scratch = nas__scratch_acquire((size_t)cb * taps * BLOCK);
    if (!scratch) {
        return;
    }
    float *gathered = nas__scratch_floats(scratch);
    for (int i = 0; i < cb; i++) {
        dw_gather_weights(s, w + (size_t)i * taps * BLOCK, gathered + (size_t)i * taps * BLOCK);
    }
    b.weights = gathered;
    backward_planes(&b);
    nas__scratch_release(scratch);
}
