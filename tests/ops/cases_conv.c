/* cases_conv.c - convolution and linear layers against loops. */
#include "ops/gradcheck.h"

/* a: stride, padding, dilation, groups, padding_w; inputs x, weight, bias or none */
static nas_tensor *run_conv(const gradcheck *c, nas_tensor **x) {
    return nas_conv2d(x[0], x[1], x[2],
                      (nas_conv_args){(int)c->a[0], (int)c->a[1], (int)c->a[2], (int)c->a[3], (int)c->a[4]});
}

static double pixel(const gradcheck *c, double *const *x, int64_t n, int64_t o, int64_t oy, int64_t ox, int pad_h,
                    int pad_w) {
    const int64_t *d = c->in[0].d, *w = c->in[1].d;
    int64_t stride = c->a[0] ? (int64_t)c->a[0] : 1, dilation = c->a[2] ? (int64_t)c->a[2] : 1,
            groups = c->a[3] ? (int64_t)c->a[3] : 1;
    int64_t group = o / (w[0] / groups);
    double sum = c->in[2].n ? x[2][o] : 0;
    for (int64_t i = 0; i < w[1]; i++) {
        for (int64_t ky = 0; ky < w[2]; ky++) {
            for (int64_t kx = 0; kx < w[3]; kx++) {
                int64_t y = oy * stride - pad_h + ky * dilation, at = ox * stride - pad_w + kx * dilation;
                if (y >= 0 && y < d[2] && at >= 0 && at < d[3]) {
                    sum += x[0][((n * d[1] + group * w[1] + i) * d[2] + y) * d[3] + at] *
                           x[1][((o * w[1] + i) * w[2] + ky) * w[3] + kx];
                }
            }
        }
    }
    return sum;
}

static shape naive_conv(const gradcheck *c, double *const *x, double *y) {
    const int64_t *d = c->in[0].d, *w = c->in[1].d;
    int stride = c->a[0] ? (int)c->a[0] : 1, dilation = c->a[2] ? (int)c->a[2] : 1;
    double padding_w = c->a[4] == NAS_NONE ? 0 : c->a[4] != 0 ? c->a[4] : c->a[1];
    int pad_h = c->a[1] == NAS_SAME ? dilation * (int)(w[2] - 1) / 2 : (int)c->a[1];
    int pad_w = padding_w == NAS_SAME ? dilation * (int)(w[3] - 1) / 2 : (int)padding_w;
    shape out = {4,
                 {d[0], w[0], (d[2] + 2 * pad_h - dilation * (w[2] - 1) - 1) / stride + 1,
                  (d[3] + 2 * pad_w - dilation * (w[3] - 1) - 1) / stride + 1}};
    for (int64_t p = 0; p < shape_count(&out); p++) {
        y[p] = pixel(c, x, p / out.d[3] / out.d[2] / out.d[1], p / out.d[3] / out.d[2] % out.d[1],
                     p / out.d[3] % out.d[2], p % out.d[3], pad_h, pad_w);
    }
    return out;
}

static nas_tensor *run_linear(const gradcheck *c, nas_tensor **x) {
    return nas_linear(x[0], x[1], c->in[2].n ? x[2] : NULL);
}

static shape naive_linear(const gradcheck *c, double *const *x, double *y) {
    int64_t n = c->in[0].d[0], in = c->in[0].d[1], out = c->in[1].d[0];
    for (int64_t i = 0; i < n * out; i++) {
        y[i] = c->in[2].n ? x[2][i % out] : 0;
        for (int64_t k = 0; k < in; k++) {
            y[i] += x[0][i / out * in + k] * x[1][i % out * in + k];
        }
    }
    return (shape){2, {n, out}};
}

#define CONV(...)                                                                                                      \
    { .op = "conv2d", .run = run_conv, .naive = naive_conv, __VA_ARGS__ }
static const gradcheck cases[] = {
    CONV(.in = {{4, {1, 1, 5, 7}}, {4, {1, 1, 1, 1}}}),
    CONV(.in = {{4, {2, 3, 9, 7}}, {4, {17, 3, 3, 3}}, {1, {17}}}, .a = {1, NAS_SAME}),
    CONV(.in = {{4, {1, 16, 6, 5}}, {4, {16, 16, 3, 3}}}, .a = {1, 1}),
    CONV(.in = {{4, {2, 16, 7, 9}}, {4, {32, 16, 3, 3}}, {1, {32}}}, .a = {2, 1}),
    CONV(.in = {{4, {1, 17, 7, 6}}, {4, {40, 17, 1, 1}}, {1, {40}}}),
    CONV(.in = {{4, {2, 40, 5, 5}}, {4, {3, 40, 5, 5}}}, .a = {2, 2}),
    CONV(.in = {{4, {1, 3, 11, 13}}, {4, {8, 3, 7, 7}}}, .a = {2, 3}),
    CONV(.in = {{4, {1, 8, 9, 9}}, {4, {16, 8, 3, 3}}}, .a = {1, NAS_SAME, 2}),
    CONV(.in = {{4, {2, 16, 6, 7}}, {4, {32, 8, 3, 3}}, {1, {32}}}, .a = {1, 1, 1, 2}),
    CONV(.in = {{4, {1, 12, 5, 6}}, {4, {24, 3, 3, 3}}}, .a = {2, 1, 1, 4}),
    CONV(.in = {{4, {2, 24, 4, 5}}, {4, {40, 12, 1, 1}}}, .a = {1, 0, 1, 2}),
    CONV(.in = {{4, {1, 16, 5, 5}}, {4, {32, 8, 1, 1}}}, .a = {2, 0, 1, 2}),
    CONV(.in = {{4, {1, 9, 3, 4}}, {4, {6, 3, 1, 1}}, {1, {6}}}, .a = {1, 0, 1, 3}),
    CONV(.in = {{4, {1, 18, 3, 4}}, {4, {9, 2, 1, 1}}}, .a = {1, 0, 1, 9}),
    CONV(.in = {{4, {1, 6, 5, 6}}, {4, {12, 1, 3, 3}}, {1, {12}}}, .a = {1, 1, 1, 6}),
    CONV(.in = {{4, {1, 5, 8, 6}}, {4, {7, 5, 1, 3}}}, .a = {1, NAS_SAME}),
    CONV(.in = {{4, {1, 5, 8, 6}}, {4, {7, 5, 2, 2}}}, .a = {2, 0}),
    CONV(.in = {{4, {1, 16, 5, 9}}, {4, {16, 16, 1, 7}}}, .a = {1, NAS_SAME}),
    CONV(.in = {{4, {1, 16, 9, 6}}, {4, {16, 16, 7, 1}}, {1, {16}}}, .a = {2, NAS_SAME}),
    CONV(.in = {{4, {1, 24, 7, 6}}, {4, {24, 24, 3, 1}}}, .a = {2, NAS_SAME}),
    CONV(.in = {{4, {2, 16, 1, 13}}, {4, {17, 16, 1, 5}}}, .a = {2, NAS_SAME}),
    CONV(.in = {{4, {1, 17, 1, 11}}, {4, {16, 17, 1, 3}}}, .a = {1, NAS_SAME, 2}),
    CONV(.in = {{4, {1, 8, 7, 8}}, {4, {8, 8, 3, 3}}}, .a = {1, 1, 1, 1, NAS_NONE}),
    CONV(.in = {{4, {1, 16, 5, 7}}, {4, {16, 16, 3, 5}}}, .a = {1, 0, 1, 1, 2}),
    /* depthwise */
    CONV(.in = {{4, {2, 17, 7, 9}}, {4, {17, 1, 3, 3}}}, .a = {1, NAS_SAME, 1, 17}),
    CONV(.in = {{4, {1, 40, 8, 7}}, {4, {40, 1, 5, 5}}, {1, {40}}}, .a = {2, 2, 1, 40}),
    CONV(.in = {{4, {2, 3, 9, 11}}, {4, {3, 1, 7, 7}}, {1, {3}}}, .a = {1, 3, 1, 3}),
    CONV(.in = {{4, {1, 16, 11, 9}}, {4, {16, 1, 5, 5}}}, .a = {2, NAS_SAME, 2, 16}),
    CONV(.in = {{4, {1, 16, 4, 4}}, {4, {16, 1, 2, 2}}}, .a = {2, 0, 1, 16}),
    CONV(.in = {{4, {1, 8, 6, 5}}, {4, {8, 1, 1, 1}}}, .a = {1, 0, 1, 8}),
    CONV(.in = {{4, {1, 16, 6, 7}}, {4, {16, 1, 1, 3}}}, .a = {1, NAS_SAME, 1, 16}),
    CONV(.in = {{4, {2, 17, 1, 12}}, {4, {17, 1, 1, 7}}}, .a = {2, NAS_SAME, 1, 17}),
    CONV(.in = {{4, {1, 16, 8, 3}}, {4, {16, 1, 5, 1}}}, .a = {1, NAS_SAME, 2, 16}),
    CONV(.in = {{4, {1, 16, 6, 7}}, {4, {16, 1, 3, 5}}}, .a = {1, 1, 1, 16, 2}),
    {"linear", run_linear, naive_linear, {{2, {1, 1}}, {2, {1, 1}}, {1, {1}}}},
    {"linear", run_linear, naive_linear, {{2, {7, 17}}, {2, {40, 17}}}},
    {"linear", run_linear, naive_linear, {{2, {3, 33}}, {2, {10, 33}}, {1, {10}}}},
};
const gradcheck_family conv_cases = {cases, sizeof cases / sizeof *cases};
