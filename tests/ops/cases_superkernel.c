/* cases_superkernel.c - the relaxed superkernel (sigmoids for indicators) against loops in double. */
#include "ops/gradcheck.h"

#include <math.h>

/* a: mean_norm, no_skip, and the factors of the indicators, if the first is not 0 */
static nas_tensor *run(const gradcheck *c, nas_tensor **x) {
    float factors[3] = {(float)c->a[2], (float)c->a[3], (float)c->a[4]};
    nas_superkernel_parts parts;
    const nas_superkernel_args args = {
        .mean_norm = c->a[0] > 0, .no_skip = c->a[1] > 0, .relaxed = true, .factors = c->a[2] > 0 ? factors : NULL};
    if (!nas_superkernel(x[0], x[1], x[2], &args, &parts)) {
        return NULL;
    }
    nas_tensor *list[] = {nas_reshape(parts.depthwise, NAS_DIMS(-1)), nas_reshape(parts.project, NAS_DIMS(-1)),
                          parts.gate, parts.indicators};
    return nas_concat(4, list, 0);
}

static double indicator(const gradcheck *c, int which, double squares, double count, double threshold) {
    double norm = sqrt((c->a[0] > 0 ? squares / count : squares) + 1e-12);
    return (c->a[2] > 0 ? c->a[2 + which] : 1) / (1 + exp(threshold - norm));
}

static shape naive(const gradcheck *c, double *const *x, double *y) {
    int64_t channels = c->in[0].d[0], side = c->in[0].d[2], taps = side * side, out = c->in[1].d[0], n = 0;
    double v[4096], ring = 0, parts[2] = {0}, d[3];
    for (int64_t i = 0; i < channels * taps; i++) {
        int64_t row = i % taps / side, column = i % side;
        bool outer = row == 0 || column == 0 || row == side - 1 || column == side - 1;
        ring += outer ? x[0][i] * x[0][i] : 0;
    }
    d[0] = indicator(c, 0, ring, (double)(channels * (taps - (side - 2) * (side - 2))), x[2][0]);
    for (int64_t i = 0; i < channels * taps; i++) {
        int64_t row = i % taps / side, column = i % side;
        bool outer = row == 0 || column == 0 || row == side - 1 || column == side - 1;
        v[i] = outer ? d[0] * x[0][i] : x[0][i];
        parts[i / taps >= channels / 2] += v[i] * v[i];
    }
    d[1] = indicator(c, 1, parts[1], (double)(channels / 2 * taps), x[2][1]);
    d[2] = c->a[1] > 0 ? 1 : indicator(c, 2, parts[0], (double)(channels / 2 * taps), x[2][2]);
    for (int64_t i = 0; i < channels * taps; i++) {
        y[n++] = d[2] * v[i] * (i / taps >= channels / 2 ? d[1] : 1);
    }
    for (int64_t i = 0; i < out * channels; i++) {
        y[n++] = x[1][i] * (i % channels >= channels / 2 ? d[1] : 1);
    }
    y[n++] = 1;
    y[n++] = d[2];
    for (int i = 0; i < 3; i++) {
        y[n++] = d[i];
    }
    return (shape){1, {n}};
}

#define CASE(...)                                                                                                      \
    { .op = "superkernel", .run = run, .naive = naive, .plain_only = true, __VA_ARGS__ }
static const gradcheck cases[] = {
    CASE(.in = {{4, {6, 1, 5, 5}}, {4, {3, 6, 1, 1}}, {1, {3}}}),
    CASE(.in = {{4, {34, 1, 5, 5}}, {4, {17, 34, 1, 1}}, {1, {3}}}, .a = {1}, .fill = {UNIFORM, UNIFORM, POSITIVE}),
    CASE(.in = {{4, {8, 1, 3, 3}}, {4, {5, 8, 1, 1}}, {1, {3}}}, .a = {1, 1}),
    CASE(.in = {{4, {2, 1, 7, 7}}, {4, {1, 2, 1, 1}}, {1, {3}}}, .fill = {UNIFORM, UNIFORM, POSITIVE}),
    CASE(.in = {{4, {6, 1, 5, 5}}, {4, {3, 6, 1, 1}}, {1, {3}}}, .a = {1, 0, 1.0 / 0.6, 0, 1.0 / 0.6}),
};
const gradcheck_family superkernel_cases = {cases, sizeof cases / sizeof *cases};
