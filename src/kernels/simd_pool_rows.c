/* simd_pool_rows.c - the forward pass of max and average pooling without an index: whole tensors, their sums, and rows
 * for others. Windows of 3x3 are reduced column by column, and each column once: the three that a window needs stay in
 * registers while it moves on. */
#include "kernels/simd_pool.h"
#include "kernels/scratch.h"
#include "kernels/simd_ahead.h"
#include "kernels/tasks.h"

/* The rows of the image that one row of windows covers, and where its results go. */
typedef struct band {
    const float *x; /* the first row, column 0 */
    ptrdiff_t row;  /* floats from row to row */
    int w, ow, pad;
    float whole, edge; /* one over the number of pixels in a whole window and in one without its outer column */
    float *max, *average;
} band;

typedef struct column {
    vec max, sum;
} column;

NAS_INLINE column reduce_column(const band *b, ptrdiff_t col, const int rows) {
    const float *x = b->x + col * BLOCK;
    column c = {vload(x), vload(x)};
#pragma GCC unroll 3
    for (int r = 1; r < rows; r++) {
        const vec v = vload(x + r * b->row);
        c.max = vmax(v, c.max);
        c.sum += v;
    }
    return c;
}

NAS_INLINE column join(column left, column right) { return (column){vmax(right.max, left.max), left.sum + right.sum}; }

NAS_INLINE void store_window(const band *b, ptrdiff_t out, column window, float factor, const bool max,
                             const bool average) {
    if (max) {
        vstore(b->max + out * BLOCK, window.max);
    }
    if (average) {
        vstore(b->average + out * BLOCK, window.sum * factor);
    }
}

/* Everything but `b` is a constant in each instance. */
NAS_INLINE void slide(const band *b, const int rows, const int stride, const bool max, const bool average) {
    const int pad = b->pad, whole = whole_windows(b->w, b->ow, 3, stride, pad).to;
    column left = reduce_column(b, 0, rows), middle = reduce_column(b, 1, rows);
    ptrdiff_t o = 0;
    if (pad) { /* the first window has no left column */
        store_window(b, o++, join(left, middle), b->edge, max, average);
        left = stride == 2 ? middle : left;
    }
    for (; o < whole; o++) {
        if (stride == 2) {
            middle = reduce_column(b, 2 * o - pad + 1, rows);
        }
        const column right = reduce_column(b, o * stride - pad + 2, rows);
        store_window(b, o, join(join(left, middle), right), b->whole, max, average);
#pragma GCC unroll 2
        for (int j = 0; j < stride; j++) {
            ahead_of(b->x + (o * stride + j) * BLOCK);
        }
        left = stride == 2 ? right : middle;
        middle = right;
    }
    if (o < b->ow) { /* the last window has no right column */
        if (stride == 2) {
            middle = reduce_column(b, 2 * o - pad + 1, rows);
        }
        store_window(b, o, join(left, middle), b->edge, max, average);
    }
}

NAS_INLINE void slide_rows(const band *b, int rows, const int stride, const bool max, const bool average) {
    if (rows == 3) {
        slide(b, 3, stride, max, average);
    } else if (rows == 2) {
        slide(b, 2, stride, max, average);
    } else {
        slide(b, 1, stride, max, average);
    }
}

NAS_INLINE void slide_band(const band *b, int rows, const int stride) {
    if (b->max && b->average) {
        slide_rows(b, rows, stride, true, true);
    } else if (b->max) {
        slide_rows(b, rows, stride, true, false);
    } else {
        slide_rows(b, rows, stride, false, true);
    }
}

static __attribute__((noinline)) void usual_row(const nas__pool_shape *s, const float *x, int out, float *max,
                                                float *average) {
    const range taps = taps_inside(out, s->h, 3, s->stride, s->pad);
    const int rows = taps.to - taps.from;
    const ptrdiff_t row = (ptrdiff_t)s->w * BLOCK;
    const band b = {.x = x + (out * s->stride - s->pad + taps.from) * row,
                    .row = row,
                    .w = s->w,
                    .ow = s->ow,
                    .pad = s->pad,
                    .whole = 1.0f / (float)(s->count_padding ? 9 : rows * 3),
                    .edge = 1.0f / (float)(s->count_padding ? 9 : rows * 2),
                    .max = max,
                    .average = average};
    if (s->stride == 1) {
        slide_band(&b, rows, 1);
    } else {
        slide_band(&b, rows, 2);
    }
}

/* Any kernel, stride and padding. */
NAS_INLINE void any_row(const nas__pool_shape *s, const float *x, int out, float *max, float *average,
                        const bool with_max, const bool with_average) {
    const range kh = taps_inside(out, s->h, s->kernel, s->stride, s->pad);
    const ptrdiff_t row = (ptrdiff_t)s->w * BLOCK;
    for (ptrdiff_t o = 0; o < s->ow; o++) {
        const range kw = taps_inside((int)o, s->w, s->kernel, s->stride, s->pad);
        const float *first =
            x + (out * s->stride - s->pad + kh.from) * row + (o * s->stride - s->pad + kw.from) * BLOCK;
        vec best = vload(first), sum = vzero();
        for (int i = 0; i < kh.to - kh.from; i++) {
            for (int j = 0; j < kw.to - kw.from; j++) {
                const vec v = vload(first + i * row + j * BLOCK);
                best = with_max ? vmax(v, best) : best;
                sum = with_average ? sum + v : sum;
            }
        }
        if (with_max) {
            vstore(max + o * BLOCK, best);
        }
        if (with_average) {
            const int inside = (kh.to - kh.from) * (kw.to - kw.from);
            vstore(average + o * BLOCK, sum * (1.0f / (float)(s->count_padding ? s->kernel * s->kernel : inside)));
        }
    }
}

void NAS_SIMD(nas__pool_rows)(const nas__pool_shape *s, const float *x, int from, int to, float *max, float *average) {
    const ptrdiff_t row = (ptrdiff_t)s->ow * BLOCK;
    for (int out = from; out < to; out++) {
        if (usual_pool(s)) {
            usual_row(s, x, out, max, average);
        } else if (max && average) {
            any_row(s, x, out, max, average, true, true);
        } else if (max) {
            any_row(s, x, out, max, average, true, false);
        } else {
            any_row(s, x, out, max, average, false, true);
        }
        max = max ? max + row : NULL;
        average = average ? average + row : NULL;
    }
}

void NAS_SIMD(nas__pool_forward_late)(const nas__pool_shape *s, bool max, const float *x, float *y) {
    const int planes = s->n * ((s->c + BLOCK - 1) / BLOCK);
    const size_t in = (size_t)s->h * s->w * BLOCK, out = (size_t)s->oh * s->ow * BLOCK;
#pragma omp parallel for schedule(static) if (planes * in >= SERIAL_BELOW)
    for (int p = 0; p < planes; p++) {
        NAS_SIMD(nas__pool_rows)(s, x + p * in, 0, s->oh, max ? y + p * out : NULL, max ? NULL : y + p * out);
    }
}

/* Sum and sum of squares of a channel block. */
typedef struct moments {
    double sum[BLOCK], squares[BLOCK];
} moments;

static void add_row(const float *y, int pixels, moments *total) {
    vec sum[2] = {vzero(), vzero()}, squares[2] = {vzero(), vzero()};
    for (int i = 0; i < pixels; i++) {
        const vec v = vload(y + (ptrdiff_t)i * BLOCK);
        sum[0] += v;
        squares[0] = vfma(v, v, squares[0]);
        if (++i < pixels) {
            const vec u = vload(y + (ptrdiff_t)i * BLOCK);
            sum[1] += u;
            squares[1] = vfma(u, u, squares[1]);
        }
    }
    fold(total->sum, sum[0] + sum[1]);
    fold(total->squares, squares[0] + squares[1]);
}

/* The rows of one plane, each summed while it is in the first-level cache; NULL: not wanted. */
static void sum_plane(const nas__pool_shape *s, const float *x, float *max, float *average, moments total[2]) {
    for (int out = 0; out < s->oh; out++) {
        NAS_SIMD(nas__pool_rows)(s, x, out, out + 1, max, average);
        if (max) {
            add_row(max, s->ow, &total[0]);
        }
        if (average) {
            add_row(average, s->ow, &total[1]);
        }
    }
}

/* sums[2][padded] = the partial sums, added in order */
static void add_up(const moments (*partial)[2], int which, int groups, int cb, double *sums) {
    memset(sums, 0, sizeof(double) * 2 * cb * BLOCK);
    for (int task = 0; task < groups * cb; task++) {
        double *sum = sums + task % cb * BLOCK, *squares = sum + (ptrdiff_t)cb * BLOCK;
        for (int i = 0; i < BLOCK; i++) {
            sum[i] += partial[task][which].sum[i];
            squares[i] += partial[task][which].squares[i];
        }
    }
}

/* The partial sums of every group of images and channel block. */
static void sum_groups(const nas__pool_shape *s, const float *x, bool max, bool average, nas__scratch *team,
                       moments (*partial)[2]) {
    const int cb = (s->c + BLOCK - 1) / BLOCK, groups = image_groups(s->n, cb);
    const size_t plane = (size_t)s->h * s->w * BLOCK, row = (size_t)s->ow * BLOCK;
    nas__tasks tasks;
    nas__tasks_share(&tasks, groups * cb);
#pragma omp parallel if ((size_t)s->n * cb * plane >= SERIAL_BELOW)
    {
        nas__turn turn = {0};
        for (int task; (task = nas__tasks_next(&tasks, &turn)) >= 0;) {
            const int g = task / cb, block = task % cb;
            float *rows = nas__scratch_mine(team);
            partial[task][0] = partial[task][1] = (moments){0};
            for (int image = group_start(s->n, g, groups); image < group_start(s->n, g + 1, groups); image++) {
                sum_plane(s, x + ((size_t)image * cb + block) * plane, max ? rows : NULL, average ? rows + row : NULL,
                          partial[task]);
            }
        }
    }
}

void NAS_SIMD(nas__pools_sums)(const nas__pool_shape *s, const float *x, double *max, double *average) {
    const int cb = (s->c + BLOCK - 1) / BLOCK, groups = image_groups(s->n, cb);
    nas__scratch *scratch = nas__scratch_acquire((size_t)groups * cb * 2 * sizeof(moments) / sizeof(float));
    nas__scratch *team = scratch ? nas__scratch_acquire_team(2 * (size_t)s->ow * BLOCK) : NULL;
    if (team) {
        moments(*partial)[2] = (moments(*)[2])nas__scratch_floats(scratch);
        sum_groups(s, x, max, average, team, partial);
        if (max) {
            add_up(partial, 0, groups, cb, max);
        }
        if (average) {
            add_up(partial, 1, groups, cb, average);
        }
        nas__scratch_release(team);
    }
    if (scratch) {
        nas__scratch_release(scratch);
    }
}
