/* simd_flat.c - element-wise kernels over flat arrays, and the dot product. Threads take whole pieces, so that no two
 * of them write into one cache line; the compiler vectorises within a piece. */
#include "kernels/simd_functions.h"
#include "kernels/scratch.h"

#include <math.h>

NAS_INLINE size_t piece_end(size_t from, size_t count) { return count - from < FLAT_PIECE ? count : from + FLAT_PIECE; }

/* Comparisons are written such that a NaN comes through and is noticed. */
void NAS_SIMD(nas__relu_forward)(size_t count, const float *x, float *y, float cap) {
    const float top = cap > 0 ? cap : __builtin_inff();
#pragma omp parallel for schedule(static) if (count >= SERIAL_BELOW)
    for (size_t from = 0; from < count; from += FLAT_PIECE) {
        const size_t to = piece_end(from, count);
#pragma omp simd
        for (size_t i = from; i < to; i++) {
            const float positive = 0 > x[i] ? 0 : x[i];
            y[i] = top < positive ? top : positive;
        }
    }
}

void NAS_SIMD(nas__relu_backward)(size_t count, const float *x, const float *dy, float dy_scale, float *dx, float cap) {
    const float top = cap > 0 ? cap : __builtin_inff();
#pragma omp parallel for schedule(static) if (count >= SERIAL_BELOW)
    for (size_t from = 0; from < count; from += FLAT_PIECE) {
        const size_t to = piece_end(from, count);
#pragma omp simd
        for (size_t i = from; i < to; i++) {
            const float g = dy_scale * dy[i];
            dx[i] = (x[i] > 0) & (x[i] < top) ? g : 0;
        }
    }
}

void NAS_SIMD(nas__add)(size_t count, const float *a, const float *b, float *y) {
#pragma omp parallel for schedule(static) if (count >= SERIAL_BELOW)
    for (size_t from = 0; from < count; from += FLAT_PIECE) {
        const size_t to = piece_end(from, count);
#pragma omp simd
        for (size_t i = from; i < to; i++) {
            y[i] = a[i] + b[i];
        }
    }
}

void NAS_SIMD(nas__mul)(size_t count, const float *a, const float *b, float *y) {
#pragma omp parallel for schedule(static) if (count >= SERIAL_BELOW)
    for (size_t from = 0; from < count; from += FLAT_PIECE) {
        const size_t to = piece_end(from, count);
#pragma omp simd
        for (size_t i = from; i < to; i++) {
            y[i] = a[i] * b[i];
        }
    }
}

static void scale_range(size_t count, float a, const float *x, float *y) {
#pragma omp simd
    for (size_t i = 0; i < count; i++) {
        y[i] = a * x[i];
    }
}

static void axpby_range(size_t count, float a, const float *x, float b, float *y) {
#pragma omp simd
    for (size_t i = 0; i < count; i++) {
        y[i] = a * x[i] + b * y[i];
    }
}

void NAS_SIMD(nas__axpby)(size_t count, float a, const float *x, float b, float *y) {
#pragma omp parallel for schedule(static) if (count >= SERIAL_BELOW)
    for (size_t from = 0; from < count; from += FLAT_PIECE) {
        const size_t length = piece_end(from, count) - from;
        if (b == 0) {
            scale_range(length, a, x + from, y + from);
        } else {
            axpby_range(length, a, x + from, b, y + from);
        }
    }
}

void NAS_SIMD(nas__scale_per_sample)(int n, size_t count_per_sample, const float *factor, const float *x, float *y) {
    const size_t pieces = (count_per_sample + FLAT_PIECE - 1) / FLAT_PIECE;
#pragma omp parallel for collapse(2) schedule(static) if (n * count_per_sample >= SERIAL_BELOW)
    for (int sample = 0; sample < n; sample++) {
        for (size_t piece = 0; piece < pieces; piece++) {
            const size_t from = piece * FLAT_PIECE, start = (size_t)sample * count_per_sample + from;
            scale_range(piece_end(from, count_per_sample) - from, factor[sample], x + start, y + start);
        }
    }
}

/* Four vectors of partial sums hide the latency of the multiply-add. */
static double dot_range(size_t count, const float *a, const float *b) {
    vec sum[4] = {vzero(), vzero(), vzero(), vzero()};
    size_t i = 0;
    for (; i + 4 * BLOCK <= count; i += 4 * BLOCK) {
        for (int j = 0; j < 4; j++) {
            sum[j] = vfma(vloadu(a + i + j * BLOCK), vloadu(b + i + j * BLOCK), sum[j]);
        }
    }
    double total = 0, lanes[BLOCK] = {0};
    for (int j = 0; j < 4; j++) {
        fold(lanes, sum[j]);
    }
    for (int j = 0; j < BLOCK; j++) {
        total += lanes[j];
    }
    for (; i < count; i++) {
        total += (double)a[i] * (double)b[i];
    }
    return total;
}

double NAS_SIMD(nas__dot)(size_t count, const float *a, const float *b) {
    const size_t pieces = (count + FLAT_PIECE - 1) / FLAT_PIECE;
    nas__scratch *scratch = nas__scratch_acquire(2 * pieces);
    if (!scratch) {
        return NAN;
    }
    double *partial = (double *)nas__scratch_floats(scratch), total = 0;
#pragma omp parallel for schedule(static) if (count >= SERIAL_BELOW)
    for (size_t piece = 0; piece < pieces; piece++) {
        const size_t from = piece * FLAT_PIECE;
        partial[piece] = dot_range(piece_end(from, count) - from, a + from, b + from);
    }
    for (size_t piece = 0; piece < pieces; piece++) {
        total += partial[piece];
    }
    nas__scratch_release(scratch);
    return total;
}
