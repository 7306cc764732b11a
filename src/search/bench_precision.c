/* bench_precision.c - dense convolutions at the shapes of the spaces, in f32 beside bf16. */
#include "search/bench_kernels.h"

#include "core/error.h"
#include "core/memory.h"
#include "ops/precision.h"

#include <math.h>
#include <stdio.h>

enum { BATCH = 64, RUNS = 10 };

typedef struct look {
    bool quick;
    void (*visit)(const nas__bench_precision *row, void *user);
    void *user;
} look;

static void measure(const look *l, int in, int out, int size, int kernel, int stride) {
    const nas__conv_shape s = nas__conv_square(l->quick ? 2 : BATCH, in, out, size, kernel, stride, 1, 1);
    nas__bench_precision row;
    if (nas_error_status()) {
        return;
    }
    const nas__precision_times t = nas__precision_measure(&s, l->quick ? 1 : RUNS);
    row.f32 = t.f32;
    row.bf16 = nas__bf16_is_fast(&s) ? t.bf16 : NAN;
    snprintf(row.shape, sizeof row.shape, "%dx%dx%dx%d to %d k%d s%d", s.n, in, size, size, out, kernel, stride);
    if (!nas_error_status()) {
        l->visit(&row, l->user);
    }
}

nas_status nas__bench_precisions(bool quick, void (*visit)(const nas__bench_precision *row, void *user), void *user) {
    static const int shapes[][2] = {{16, 32}, {32, 16}, {64, 8}, {36, 32}, {144, 8}, {64, 32}, {128, 16}, {256, 8}};
    const look l = {quick, visit, user};
    const int n = quick ? 1 : (int)(sizeof shapes / sizeof *shapes);
    for (int i = 0; i < n; i++) {
        const int c = shapes[i][0], size = quick ? 8 : shapes[i][1];
        measure(&l, c, c, size, 1, 1);
        measure(&l, 4 * c, c, size, 1, 1);
        measure(&l, c, c, size, 3, 1);
        measure(&l, c, 2 * c, size, 3, 2);
    }
    nas__memory_trim();
    return nas_error_status();
}
