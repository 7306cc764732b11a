/* cases_pool.c - max, average and global average pooling. */
#include "ops/gradcheck.h"

#include <math.h>
#include <string.h>

/* a: kernel, stride, padding, count_padding */
static nas_tensor *run_pool(const gradcheck *c, nas_tensor **x) {
    nas_pool_args args = {(int)c->a[0], (int)c->a[1], (int)c->a[2], c->a[3] != 0};
    return strcmp(c->op, "max_pool") ? nas_avg_pool(x[0], args) : nas_max_pool(x[0], args);
}

static double window(const gradcheck *c, const double *plane, int64_t top, int64_t left) {
    bool max = !strcmp(c->op, "max_pool");
    int64_t h = c->in[0].d[2], w = c->in[0].d[3], kernel = (int64_t)c->a[0];
    double best = -INFINITY, sum = 0, inside = 0;
    for (int64_t k = 0; k < kernel * kernel; k++) {
        int64_t y = top + k / kernel, x = left + k % kernel;
        if (y >= 0 && y < h && x >= 0 && x < w) {
            best = fmax(best, plane[y * w + x]);
            sum += plane[y * w + x];
            inside++;
        }
    }
    return max ? best : sum / (c->a[3] ? (double)(kernel * kernel) : inside);
}

static shape naive_pool(const gradcheck *c, double *const *x, double *y) {
    const int64_t *d = c->in[0].d;
    int64_t kernel = (int64_t)c->a[0], stride = c->a[1] ? (int64_t)c->a[1] : kernel, pad = (int64_t)c->a[2];
    int64_t oh = (d[2] + 2 * pad - kernel) / stride + 1, ow = (d[3] + 2 * pad - kernel) / stride + 1;
    for (int64_t p = 0; p < d[0] * d[1]; p++) {
        for (int64_t i = 0; i < oh * ow; i++) {
            y[p * oh * ow + i] = window(c, x[0] + p * d[2] * d[3], i / ow * stride - pad, i % ow * stride - pad);
        }
    }
    return (shape){4, {d[0], d[1], oh, ow}};
}

static nas_tensor *run_global(const gradcheck *c, nas_tensor **x) {
    (void)c;
    return nas_global_avg_pool(x[0]);
}

static shape naive_global(const gradcheck *c, double *const *x, double *y) {
    const int64_t *d = c->in[0].d, hw = d[2] * d[3];
    for (int64_t p = 0; p < d[0] * d[1]; p++) {
        y[p] = 0;
        for (int64_t i = 0; i < hw; i++) {
            y[p] += x[0][p * hw + i] / (double)hw;
        }
    }
    return (shape){2, {d[0], d[1]}};
}

#define MAX(...)                                                                                                       \
    {                                                                                                                  \
        .op = "max_pool", .run = run_pool, .naive = naive_pool, .fill = {SPACED}, .a = {__VA_ARGS__}, .in
#define AVG(...)                                                                                                       \
    {                                                                                                                  \
        .op = "avg_pool", .run = run_pool, .naive = naive_pool, .a = {__VA_ARGS__}, .in
static const gradcheck cases[] = {MAX(2) = {{4, {1, 1, 5, 7}}}}, MAX(3, 1, 1) = {{4, {2, 3, 7, 5}}}
}
, MAX(3, 2, 1) = {{4, {1, 17, 9, 8}}}
}
, MAX(5, 2, 2) = {{4, {1, 16, 7, 7}}}
}
, MAX(7, 1, 3) = {{4, {1, 3, 9, 6}}}
}
, MAX(1, 2) = {{4, {2, 40, 5, 5}}}
}
, MAX(3, 1, 1) = {{4, {2, 17, 1, 9}}}
}
, MAX(5, 2, 2) = {{4, {1, 3, 1, 8}}}
}
, MAX(3, 3, 2) = {{4, {1, 8, 2, 3}}}
}
, MAX(2, 3) = {{4, {1, 5, 8, 9}}}
}
, MAX(15, 1, 14) = {{4, {1, 2, 3, 2}}}
}
, AVG(2) = {{4, {1, 1, 5, 7}}}
}
, AVG(3, 1, 1) = {{4, {2, 3, 7, 5}}}
}
, AVG(3, 2, 1) = {{4, {1, 17, 9, 8}}}
}
, AVG(5, 2, 2, 1) = {{4, {1, 16, 7, 7}}}
}
, AVG(7, 1, 3, 1) = {{4, {1, 3, 9, 6}}}
}
, AVG(1, 2) = {{4, {2, 40, 5, 5}}}
}
, AVG(3, 1, 1) = {{4, {2, 17, 1, 9}}}
}
, AVG(5, 2, 2) = {{4, {1, 3, 1, 8}}}
}
, AVG(3, 3, 2) = {{4, {1, 8, 2, 3}}}
}
, AVG(2, 3) = {{4, {1, 5, 8, 9}}}
}
, {"global_avg_pool", run_global, naive_global, {{4, {1, 1, 1, 1}}}},
    {"global_avg_pool", run_global, naive_global, {{4, {3, 17, 5, 7}}}},
    {"global_avg_pool", run_global, naive_global, {{4, {2, 40, 3, 3}}}},
}
;
const gradcheck_family pool_cases = {cases, sizeof cases / sizeof *cases};
