/* simd_depthwise.c - depthwise convolution, forward and backward with respect to the input. Both copy strips of one
 * plane into scratch memory (ReLU on the way) and correlate them there. The gradient of a strided convolution falls
 * apart into `stride` x `stride` dense correlations, one for each remainder of the input pixel's coordinates. */
#include "simd_depthwise.h"

#include <limits.h>

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

/* Along one axis, the input positions rest, rest + stride, ... and the taps that connect them to outputs: position
 * rest + m*stride receives from outputs from + m + u*step, u < taps, through taps last_tap - u*tap_step. */
typedef struct phase {
    int taps, last_tap, tap_step, from;
} phase;

static int greatest_common_divisor(int a, int b) {
    while (b) {
        int t = a % b;
        a = b;
        b = t;
    }
    return a;
}

static phase find_phase(int rest, int kernel, int stride, int dilation, int pad) {
    const int g = greatest_common_divisor(stride, dilation);
    phase ph = {.tap_step = stride / g};
    for (int tap = 0; tap < ph.tap_step && tap < kernel; tap++) {
        if ((rest + pad - tap * dilation) % stride == 0) {
            ph.taps = (kernel - tap - 1) / ph.tap_step + 1;
            ph.last_tap = tap + (ph.taps - 1) * ph.tap_step;
            ph.from = (rest + pad - ph.last_tap * dilation) / stride;
            break;
        }
    }
    return ph;
}

/* The outputs that the positions of all phases receive from: [*from, *to), some perhaps outside dy. */
static void phase_range(int size, int kernel, int stride, int dilation, int pad, int *from, int *to) {
    const int step = dilation / greatest_common_divisor(stride, dilation), count = dw_ceil_div(size, stride);
    *from = INT_MAX;
    *to = INT_MIN;
    for (int rest = 0; rest < stride && rest < size; rest++) {
        phase ph = find_phase(rest, kernel, stride, dilation, pad);
        if (ph.taps > 0) {
            *from = dw_min(*from, ph.from);
            *to = dw_max(*to, ph.from + count + (ph.taps - 1) * step);
        }
    }
    if (*from > *to) { /* no output sees this input at all */
        *from = 0;
        *to = count;
    }
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

/* Reorders the weights so that each pair of phases sees a dense kernel with ascending taps. */
static void gather_weights(const nas__dw_shape *s, const float *w, float *out) {
    for (int rest_h = 0; rest_h < s->stride; rest_h++) {
        const phase ph = find_phase(rest_h, s->kernel_h, s->stride, s->dilation, s->pad_h);
        for (int rest_w = 0; rest_w < s->stride; rest_w++) {
            const phase pw = find_phase(rest_w, s->kernel_w, s->stride, s->dilation, s->pad_w);
            for (int i = 0; i < ph.taps; i++) {
                for (int j = 0; j < pw.taps; j++, out += BLOCK) {
                    int tap_h = ph.last_tap - i * ph.tap_step, tap_w = pw.last_tap - j * pw.tap_step;
                    vstore(out, vload(w + ((size_t)tap_h * s->kernel_w + tap_w) * BLOCK));
                }
            }
        }
    }
}

/* The rows first_m .. first_m + count of every phase, from the strip of dy that lies in `plane`. */
static void backward_strip(const backward *b, ptrdiff_t p, int first_m, int count, const float *plane, int plane_rows) {
    const nas__dw_shape *s = b->s;
    const ptrdiff_t x_row = (ptrdiff_t)b->frame.cols * BLOCK;
    const int col_from = -b->frame.left;
    const float *w = b->weights + (size_t)(p % b->cb) * s->kernel_h * s->kernel_w * BLOCK;
    dw_correlation c = {.x_row = x_row,
                        .y_row = (ptrdiff_t)s->w * s->stride * BLOCK,
                        .y_col = (ptrdiff_t)s->stride * BLOCK,
                        .stride = 1,
                        .dilation = b->step};
    for (int rest_h = 0; rest_h < s->stride; rest_h++) {
        const phase ph = find_phase(rest_h, s->kernel_h, s->stride, s->dilation, s->pad_h);
        for (int rest_w = 0; rest_w < s->stride; rest_w++) {
            const phase pw = find_phase(rest_w, s->kernel_w, s->stride, s->dilation, s->pad_w);
            const int row = rest_h + first_m * s->stride; /* of dx */
            const bool any = ph.taps > 0 && pw.taps > 0;  /* otherwise only zeroes to write */
            const int in = any ? ph.from - b->row_from : 0;
            const ptrdiff_t at = (((ptrdiff_t)p * s->h + row) * s->w + rest_w) * BLOCK;
            c.x = plane + in * x_row + (any ? pw.from - col_from : 0) * BLOCK;
            c.w = w;
            c.y = b->dx + at;
            c.mask = b->x ? b->x + at : NULL;
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
    b.step = s->dilation / greatest_common_divisor(s->stride, s->dilation);
    phase_range(s->h, s->kernel_h, s->stride, s->dilation, s->pad_h, &b.row_from, &b.row_to);
    phase_range(s->w, s->kernel_w, s->stride, s->dilation, s->pad_w, &col_from, &col_to);
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
        gather_weights(s, w + (size_t)i * taps * BLOCK, gathered + (size_t)i * taps * BLOCK);
    }
    b.weights = gathered;
    backward_planes(&b);
    nas__scratch_release(scratch);
}
