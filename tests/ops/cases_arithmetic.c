/* cases_arithmetic.c - sums, products and the mixed operation. */
#include "ops/gradcheck.h"

#include <math.h>
#include <string.h>

static nas_tensor *run_two(const gradcheck *c, nas_tensor **x) {
    return !strcmp(c->op, "add")   ? nas_add(x[0], x[1])
           : !strcmp(c->op, "sub") ? nas_sub(x[0], x[1])
                                   : nas_mul(x[0], x[1]);
}

/* Index into b for element i of x: equal shapes, one element, (C) or (N,C). */
static int64_t partner(const gradcheck *c, int64_t i) {
    const shape *x = &c->in[0], *b = &c->in[1];
    int64_t count = shape_count(b);
    if (count == shape_count(x) || count == 1) {
        return count == 1 ? 0 : i;
    }
    int64_t plane = i / (x->d[2] * x->d[3]);
    return b->n == 2 ? plane : plane % x->d[1];
}

static shape naive_two(const gradcheck *c, double *const *x, double *y) {
    for (int64_t i = 0; i < shape_count(&c->in[0]); i++) {
        double a = x[0][i], b = x[1][partner(c, i)];
        y[i] = !strcmp(c->op, "add") ? a + b : !strcmp(c->op, "sub") ? a - b : a * b;
    }
    return c->in[0];
}

static nas_tensor *run_square(const gradcheck *c, nas_tensor **x) {
    (void)c;
    return nas_mul(x[0], x[0]);
}

static shape naive_square(const gradcheck *c, double *const *x, double *y) {
    for (int64_t i = 0; i < shape_count(&c->in[0]); i++) {
        y[i] = x[0][i] * x[0][i];
    }
    return c->in[0];
}

/* Every input once, a zero, and the first once more. */
static nas_tensor *run_sum_of(const gradcheck *c, nas_tensor **x) {
    int n = count_inputs(c);
    nas_tensor *list[MOST_INPUTS + 2];
    memcpy(list, x, (size_t)n * sizeof *list);
    list[n] = nas_zero(c->in[0].n, c->in[0].d);
    list[n + 1] = x[0];
    return nas_sum_of(n + 2, list);
}

static shape naive_sum_of(const gradcheck *c, double *const *x, double *y) {
    for (int64_t i = 0; i < shape_count(&c->in[0]); i++) {
        y[i] = x[0][i];
        for (int k = 0; k < count_inputs(c); k++) {
            y[i] += x[k][i];
        }
    }
    return c->in[0];
}

static nas_tensor *run_many(const gradcheck *c, nas_tensor **x) { /* more than one pass holds */
    nas_tensor *list[150];
    for (int i = 0; i < 150; i++) {
        list[i] = x[i % count_inputs(c)];
    }
    return nas_sum_of(150, list);
}

static shape naive_many(const gradcheck *c, double *const *x, double *y) {
    for (int64_t i = 0; i < shape_count(&c->in[0]); i++) {
        y[i] = 75 * x[0][i] + 75 * x[1][i];
    }
    return c->in[0];
}

/* inputs: weights (n + 2), then n candidates; a zero and a missing one stand in between. */
static nas_tensor *run_mixed(const gradcheck *c, nas_tensor **x) {
    int n = count_inputs(c) - 1;
    nas_tensor *list[MOST_INPUTS + 2] = {nas_zero(c->in[1].n, c->in[1].d)};
    for (int i = 0; i < n; i++) {
        list[1 + i + (i > 0)] = x[1 + i];
    }
    return nas_weighted_sum(x[0], n + 2, list);
}

static shape naive_mixed(const gradcheck *c, double *const *x, double *y) {
    int n = count_inputs(c) - 1;
    for (int64_t k = 0; k < shape_count(&c->in[1]); k++) {
        y[k] = 0;
        for (int i = 0; i < n; i++) {
            y[k] += x[0][n == 1 ? 1 : 1 + i + (i > 0)] * x[1 + i][k];
        }
    }
    return c->in[1];
}

/* The same behind the softmax that makes weights of alphas. */
static nas_tensor *run_alphas(const gradcheck *c, nas_tensor **x) {
    (void)c;
    return nas_weighted_sum(nas_softmax(x[0]), 3, x + 1);
}

static shape naive_alphas(const gradcheck *c, double *const *x, double *y) {
    double e[3] = {exp(x[0][0]), exp(x[0][1]), exp(x[0][2])};
    for (int64_t k = 0; k < shape_count(&c->in[1]); k++) {
        y[k] = (e[0] * x[1][k] + e[1] * x[2][k] + e[2] * x[3][k]) / (e[0] + e[1] + e[2]);
    }
    return c->in[1];
}

#define TWO(name, ...)                                                                                                 \
    {                                                                                                                  \
        .op = name, .run = run_two, .naive = naive_two, .in = { __VA_ARGS__ }                                          \
    }
static const gradcheck cases[] = {
    TWO("add", {4, {2, 3, 5, 7}}, {4, {2, 3, 5, 7}}),
    TWO("add", {2, {3, 5}}, {2, {3, 5}}),
    TWO("add", {4, {2, 17, 3, 3}}, {1, {1}}),
    TWO("add", {4, {2, 16, 3, 3}}, {1, {1}}),
    TWO("add", {2, {1, 1}}, {1, {1}}),
    TWO("add", {2, {5, 7001}}, {1, {1}}),
    TWO("sub", {4, {1, 40, 3, 5}}, {4, {1, 40, 3, 5}}),
    TWO("sub", {3, {2, 3, 5}}, {3, {2, 3, 5}}),
    TWO("mul", {4, {2, 3, 5, 7}}, {4, {2, 3, 5, 7}}),
    TWO("mul", {4, {2, 17, 5, 7}}, {1, {1}}),
    TWO("mul", {2, {3, 4}}, {1, {1}}),
    TWO("mul", {4, {3, 17, 5, 2}}, {1, {17}}),
    TWO("mul", {4, {3, 16, 5, 2}}, {1, {16}}),
    TWO("mul", {4, {3, 17, 5, 2}}, {2, {3, 17}}),
    TWO("mul", {4, {2, 40, 1, 2}}, {2, {2, 40}}),
    TWO("mul", {4, {1, 1, 3, 4}}, {1, {1}}),
    {"mul", run_square, naive_square, {{4, {1, 3, 4, 5}}}},
    {"sum_of", run_sum_of, naive_sum_of, {{4, {2, 3, 5, 7}}, {4, {2, 3, 5, 7}}, {4, {2, 3, 5, 7}}}},
    {"sum_of", run_sum_of, naive_sum_of, {{2, {5, 7}}}},
    {"sum_of", run_many, naive_many, {{4, {1, 3, 2, 2}}, {4, {1, 3, 2, 2}}}},
    {"weighted_sum", run_mixed, naive_mixed, {{1, {5}}, {4, {2, 17, 5, 3}}, {4, {2, 17, 5, 3}}, {4, {2, 17, 5, 3}}}},
    {"weighted_sum", run_mixed, naive_mixed, {{1, {4}}, {2, {3, 5}}, {2, {3, 5}}}},
    {"weighted_sum", run_mixed, naive_mixed, {{1, {3}}, {4, {1, 1, 7, 7}}}},
    {"weighted_sum", run_alphas, naive_alphas, {{1, {3}}, {4, {2, 40, 3, 5}}, {4, {2, 40, 3, 5}}, {4, {2, 40, 3, 5}}}},
};
const gradcheck_family arithmetic_cases = {cases, sizeof cases / sizeof *cases};
