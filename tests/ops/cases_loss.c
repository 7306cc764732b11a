/* cases_loss.c - losses. */
#include "ops/gradcheck.h"

#include <math.h>
#include <string.h>

/* a: classes, smoothing */
static nas_tensor *run_entropy(const gradcheck *c, nas_tensor **x) {
    return strcmp(c->op, "cross_entropy") ? nas_cross_entropy_smooth(x[0], x[1], (float)c->a[1])
                                          : nas_cross_entropy(x[0], x[1]);
}

static shape naive_entropy(const gradcheck *c, double *const *x, double *y) {
    const shape *s = &c->in[0];
    int64_t k = s->d[1], inner = shape_count(s) / s->d[0] / k, rows = s->d[0] * inner;
    double smoothing = (float)c->a[1];
    y[0] = 0;
    for (int64_t r = 0; r < rows; r++) {
        const double *v = x[0] + r / inner * k * inner + r % inner;
        double sum = 0;
        for (int64_t i = 0; i < k; i++) {
            sum += exp(v[i * inner]);
        }
        for (int64_t i = 0; i < k; i++) {
            double p = smoothing / (double)k + (i == (int64_t)x[1][r] ? 1 - smoothing : 0);
            y[0] -= p * log(exp(v[i * inner]) / sum) / (double)rows;
        }
    }
    return (shape){1, {1}};
}

static nas_tensor *run_error(const gradcheck *c, nas_tensor **x) {
    return strcmp(c->op, "mse") ? nas_l1(x[0], x[1]) : nas_mse(x[0], x[1]);
}

static shape naive_error(const gradcheck *c, double *const *x, double *y) {
    int64_t n = shape_count(&c->in[0]);
    y[0] = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = x[0][i] - x[1][i];
        y[0] += (strcmp(c->op, "mse") ? fabs(d) : d * d) / (double)n;
    }
    return (shape){1, {1}};
}

#define ENTROPY(name, ...)                                                                                             \
    { .op = name, .run = run_entropy, .naive = naive_entropy, .fill = {UNIFORM, CLASSES}, .constant = 2, __VA_ARGS__ }
static const gradcheck cases[] = {
    ENTROPY("cross_entropy", .in = {{2, {5, 7}}, {1, {5}}}, .a = {7}),
    ENTROPY("cross_entropy", .in = {{2, {1, 1}}, {1, {1}}}, .a = {1}),
    ENTROPY("cross_entropy", .in = {{2, {300, 10}}, {1, {300}}}, .a = {10}),
    ENTROPY("cross_entropy", .in = {{4, {2, 17, 3, 5}}, {3, {2, 3, 5}}}, .a = {17}),
    ENTROPY("cross_entropy", .in = {{4, {2, 3, 5, 4}}, {4, {2, 1, 5, 4}}}, .a = {3}),
    ENTROPY("cross_entropy_smooth", .in = {{2, {5, 7}}, {1, {5}}}, .a = {7, 0.1}),
    ENTROPY("cross_entropy_smooth", .in = {{4, {1, 3, 5, 4}}, {3, {1, 5, 4}}}, .a = {3, 0.3}),
    {"mse", run_error, naive_error, {{2, {5, 3}}, {2, {5, 3}}}},
    {"mse", run_error, naive_error, {{4, {2, 17, 3, 5}}, {4, {2, 17, 3, 5}}}},
    {"l1", run_error, naive_error, {{1, {9}}, {1, {9}}}},
    {"l1", run_error, naive_error, {{4, {2, 3, 5, 3}}, {4, {2, 3, 5, 3}}}},
};
const gradcheck_family loss_cases = {cases, sizeof cases / sizeof *cases};
