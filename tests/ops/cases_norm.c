/* cases_norm.c - batch norm, layer norm and softmax. */
#include "ops/gradcheck.h"

#include <math.h>
#include <string.h>

/* a: relu, eps, affine. Inputs x, gamma, beta, and with fixed statistics mean and variance. */
static nas_tensor *run_bn(const gradcheck *c, nas_tensor **x) {
    nas_bn_state state = {.relu = c->a[0] != 0,
                          .eps = (float)c->a[1],
                          .gamma = x[1],
                          .beta = x[2],
                          .running_mean = x[3],
                          .running_var = x[4]};
    return nas_batch_norm(x[0], &state);
}

static shape naive_bn(const gradcheck *c, double *const *x, double *y) {
    const shape *s = &c->in[0];
    int64_t n = s->d[0], channels = s->d[1], hw = shape_count(s) / n / channels;
    double eps = c->a[1] > 0 ? (float)c->a[1] : 1e-5f;
    for (int64_t ch = 0; ch < channels; ch++) {
        double mean = 0, var = 0;
        for (int64_t i = 0; i < n * hw; i++) {
            mean += x[0][(i / hw * channels + ch) * hw + i % hw] / (double)(n * hw);
        }
        for (int64_t i = 0; i < n * hw; i++) {
            var += pow(x[0][(i / hw * channels + ch) * hw + i % hw] - mean, 2) / (double)(n * hw);
        }
        if (c->in[3].n) {
            mean = x[3][ch];
            var = x[4][ch];
        }
        for (int64_t i = 0; i < n * hw; i++) {
            int64_t at = (i / hw * channels + ch) * hw + i % hw;
            double v = (x[0][at] - mean) / sqrt(var + eps) * (c->in[1].n ? x[1][ch] : 1) + (c->in[2].n ? x[2][ch] : 0);
            y[at] = c->a[0] && v < 0 ? 0 : v;
        }
    }
    return *s;
}

static nas_tensor *run_ln(const gradcheck *c, nas_tensor **x) {
    return nas_layer_norm(x[0], x[1], x[2], (float)c->a[0]);
}

static shape naive_ln(const gradcheck *c, double *const *x, double *y) {
    const shape *s = &c->in[0];
    int64_t d = s->d[s->n - 1];
    for (int64_t r = 0; r < shape_count(s) / d; r++) {
        const double *v = x[0] + r * d;
        double mean = 0, var = 0;
        for (int64_t i = 0; i < d; i++) {
            mean += v[i] / (double)d;
        }
        for (int64_t i = 0; i < d; i++) {
            var += (v[i] - mean) * (v[i] - mean) / (double)d;
        }
        for (int64_t i = 0; i < d; i++) {
            y[r * d + i] =
                (v[i] - mean) / sqrt(var + (c->a[0] > 0 ? (float)c->a[0] : 1e-5)) * (c->in[1].n ? x[1][i] : 1) +
                (c->in[2].n ? x[2][i] : 0);
        }
    }
    return *s;
}

static nas_tensor *run_softmax(const gradcheck *c, nas_tensor **x) {
    return strcmp(c->op, "softmax") ? nas_log_softmax(x[0]) : nas_softmax(x[0]);
}

static shape naive_softmax(const gradcheck *c, double *const *x, double *y) {
    const shape *s = &c->in[0];
    int64_t d = s->d[s->n - 1];
    for (int64_t r = 0; r < shape_count(s) / d; r++) {
        double sum = 0;
        for (int64_t i = 0; i < d; i++) {
            sum += exp(x[0][r * d + i]);
        }
        for (int64_t i = 0; i < d; i++) {
            double p = exp(x[0][r * d + i]) / sum;
            y[r * d + i] = strcmp(c->op, "softmax") ? log(p) : p;
        }
    }
    return *s;
}

#define BN(...)                                                                                                        \
    { .op = "batch_norm", .run = run_bn, .naive = naive_bn, __VA_ARGS__ }
#define FIXED .fill = {UNIFORM, UNIFORM, UNIFORM, UNIFORM, POSITIVE}, .constant = 8 | 16, .pass = {.bn = NAS_BN_RUNNING}
static const gradcheck cases[] = {
    BN(.in = {{4, {2, 3, 5, 7}}}),
    BN(.in = {{4, {3, 17, 4, 5}}, {1, {17}}, {1, {17}}}),
    BN(.in = {{4, {2, 16, 5, 3}}, {1, {16}}, {1, {16}}}, .a = {1}),
    BN(.in = {{4, {1, 40, 3, 3}}, {1, {40}}, {1, {40}}}, .a = {1, 1e-2}),
    BN(.in = {{4, {4, 1, 1, 1}}, {1, {1}}, {1, {1}}}, .a = {0, 0.1}),
    BN(.in = {{2, {6, 5}}, {1, {5}}, {1, {5}}}),
    BN(.in = {{4, {2, 17, 4, 3}}, {1, {17}}, {1, {17}}, {1, {17}}, {1, {17}}}, .a = {1}, FIXED),
    BN(.in = {{2, {3, 8}}, {1, {8}}, {1, {8}}, {1, {8}}, {1, {8}}}, FIXED),
    {"layer_norm", run_ln, naive_ln, {{2, {5, 17}}}},
    {"layer_norm", run_ln, naive_ln, {{3, {2, 3, 33}}, {1, {33}}, {1, {33}}}, {1e-3}},
    {"layer_norm", run_ln, naive_ln, {{4, {2, 3, 4, 7}}, {1, {7}}, {1, {7}}}},
    {"softmax", run_softmax, naive_softmax, {{2, {5, 7}}}},
    {"softmax", run_softmax, naive_softmax, {{1, {9}}}},
    {"softmax", run_softmax, naive_softmax, {{4, {1, 3, 4, 5}}}},
    {"log_softmax", run_softmax, naive_softmax, {{2, {4, 40}}}},
    {"log_softmax", run_softmax, naive_softmax, {{3, {2, 3, 5}}}},
};
const gradcheck_family norm_cases = {cases, sizeof cases / sizeof *cases};
