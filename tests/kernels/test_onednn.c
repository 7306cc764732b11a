/* The bridge to oneDNN against naive loops in double: convolution in three directions with the layouts that the
 * operations choose, matrix products, smooth activations; zero tails, the cache of plans, steady memory. */
#include "support.h"
#include "kernels/kernels.h"
#include "kernels/onednn.h"

#include <math.h>
#include <omp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int block(void) { return nas__kernel_table()->block; }

static int padded(int c) { return (c + block() - 1) / block() * block(); }

static float *aligned(size_t count, float value) {
    float *p = aligned_alloc(64, (count * sizeof *p + 63) / 64 * 64);
    for (size_t i = 0; i < count; i++) {
        p[i] = value;
    }
    return p;
}

static size_t stored(int n, int c, int hw, bool plain) { return (size_t)n * (plain ? c : padded(c)) * hw; }

static size_t place(int c, int hw, int i, int channel, int p) {
    return (((size_t)i * (padded(c) / block()) + channel / block()) * hw + p) * block() + channel % block();
}

/* (n,c,hw) plain -> the layout asked for */
static float *arrange(const float *x, int n, int c, int hw, bool plain) {
    float *y = aligned(stored(n, c, hw, plain), 0);
    for (int i = 0; i < n; i++) {
        for (int j = 0; j < c; j++) {
            for (int p = 0; p < hw; p++) {
                size_t from = ((size_t)i * c + j) * hw + p;
                y[plain ? from : place(c, hw, i, j, p)] = x[from];
            }
        }
    }
    return y;
}

/* Compares with plain values; the tail must be exactly zero. */
static void compare(const float *got, const double *expected, int n, int c, int hw, bool plain, const char *what) {
    for (int i = 0; i < n; i++) {
        for (int j = 0; j < (plain ? c : padded(c)); j++) {
            for (int p = 0; p < hw; p++) {
                size_t at = ((size_t)i * c + j) * hw + p;
                double want = j < c ? expected[at] : 0, have = got[plain ? at : place(c, hw, i, j, p)];
                if (!(fabs(have - want) <= (j < c ? 3e-5 * (1 + fabs(want)) : 0))) {
                    fail_msg("%s: image %d channel %d of %d pixel %d is %.9g instead of %.9g", what, i, j, c, p, have,
                             want);
                }
            }
        }
    }
}

/* --- naive convolution --------------------------------------------------------------------------- */
typedef struct example {
    nas__conv_shape s;
    float *src, *weight, *bias, *diff_dst; /* plain */
    double *dst, *diff_src, *diff_weight, *diff_bias;
} example;

static size_t sources(const nas__conv_shape *s) { return (size_t)s->n * s->ic * s->ih * s->iw; }
static size_t outputs(const nas__conv_shape *s) { return (size_t)s->n * s->oc * s->oh * s->ow; }
static size_t weights(const nas__conv_shape *s) { return (size_t)s->oc * (s->ic / s->groups) * s->kh * s->kw; }

/* All products that meet in output pixel (i, o, y, x). */
static void naive_pixel(example *e, int i, int o, int y, int x) {
    const nas__conv_shape *s = &e->s;
    int per_group = s->ic / s->groups, first = o / (s->oc / s->groups) * per_group;
    size_t out = (((size_t)i * s->oc + o) * s->oh + y) * s->ow + x;
    for (int c = 0; c < per_group; c++) {
        for (int a = 0; a < s->kh; a++) {
            for (int b = 0; b < s->kw; b++) {
                int row = y * s->stride - s->pad_h + a * s->dilation,
                    column = x * s->stride - s->pad_w + b * s->dilation;
                if (row < 0 || row >= s->ih || column < 0 || column >= s->iw) {
                    continue;
                }
                size_t in = (((size_t)i * s->ic + first + c) * s->ih + row) * s->iw + column;
                size_t w = (((size_t)o * per_group + c) * s->kh + a) * s->kw + b;
                e->dst[out] += (double)e->src[in] * e->weight[w];
                e->diff_src[in] += (double)e->diff_dst[out] * e->weight[w];
                e->diff_weight[w] += (double)e->diff_dst[out] * e->src[in];
            }
        }
    }
    e->dst[out] += e->bias[o];
    e->diff_bias[o] += e->diff_dst[out];
}

static example example_new(const nas__conv_shape *s, uint64_t seed) {
    example e = {.s = *s,
                 .src = random_floats(seed, sources(s)),
                 .weight = random_floats(seed + 1, weights(s)),
                 .bias = random_floats(seed + 2, (size_t)s->oc),
                 .diff_dst = random_floats(seed + 3, outputs(s)),
                 .dst = calloc(outputs(s), sizeof(double)),
                 .diff_src = calloc(sources(s), sizeof(double)),
                 .diff_weight = calloc(weights(s), sizeof(double)),
                 .diff_bias = calloc((size_t)s->oc, sizeof(double))};
    for (int p = 0; p < s->n * s->oc * s->oh * s->ow; p++) {
        naive_pixel(&e, p / (s->oc * s->oh * s->ow), p / (s->oh * s->ow) % s->oc, p / s->ow % s->oh, p % s->ow);
    }
    return e;
}

static void example_free(example *e) {
    void *all[] = {e->src, e->weight, e->bias, e->diff_dst, e->dst, e->diff_src, e->diff_weight, e->diff_bias};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        free(all[i]);
    }
}

/* --- the three directions ------------------------------------------------------------------------ */
static void check_forward(const example *e, const nas__conv_shape *s, const float *src, bool bias, const char *what) {
    float *dst = aligned(stored(s->n, s->oc, s->oh * s->ow, s->plain_dst), NAN);
    double *expected = malloc(outputs(s) * sizeof *expected);
    for (size_t i = 0; i < outputs(s); i++) {
        expected[i] = e->dst[i] - (bias ? 0 : e->bias[i / (size_t)(s->oh * s->ow) % (size_t)s->oc]);
    }
    assert_int_equal(nas__conv_forward(s, src, e->weight, bias ? e->bias : NULL, dst), NAS_OK);
    compare(dst, expected, s->n, s->oc, s->oh * s->ow, s->plain_dst, what);
    uint64_t form = 0;
    size_t size = nas__conv_weights_size(s, bias, &form);
    assert_true(form != 0);
    if (size) { /* the primitive's own layout */
        float *own = aligned(size, NAN), *again = aligned(stored(s->n, s->oc, s->oh * s->ow, s->plain_dst), NAN);
        assert_int_equal(nas__conv_weights(s, bias, e->weight, own), NAS_OK);
        assert_int_equal(nas__conv_forward_prepared(s, src, own, bias ? e->bias : NULL, again), NAS_OK);
        compare(again, expected, s->n, s->oc, s->oh * s->ow, s->plain_dst, what);
        free(own);
        free(again);
    }
    free(expected);
    free(dst);
}

static void check_backward_data(const example *e, const nas__conv_shape *s, const float *diff_dst, const char *what) {
    float *diff_src = aligned(stored(s->n, s->ic, s->ih * s->iw, s->plain_src), NAN);
    assert_int_equal(nas__conv_backward_data(s, diff_dst, e->weight, diff_src), NAS_OK);
    compare(diff_src, e->diff_src, s->n, s->ic, s->ih * s->iw, s->plain_src, what);
    free(diff_src);
}

static void check_backward_weights(const example *e, const nas__conv_shape *s, const float *src, const float *diff_dst,
                                   bool bias, const char *what) {
    float *diff_weight = aligned(weights(s), NAN), *diff_bias = aligned((size_t)s->oc, NAN);
    assert_int_equal(nas__conv_backward_weights(s, src, diff_dst, diff_weight, bias ? diff_bias : NULL), NAS_OK);
    compare(diff_weight, e->diff_weight, 1, 1, (int)weights(s), true, what);
    if (bias) {
        compare(diff_bias, e->diff_bias, 1, 1, s->oc, true, what);
    }
    free(diff_weight);
    free(diff_bias);
}

static void check(const example *e, bool plain_src, bool plain_dst, bool data) {
    nas__conv_shape s = e->s;
    s.plain_src = plain_src;
    s.plain_dst = plain_dst;
    float *src = arrange(e->src, s.n, s.ic, s.ih * s.iw, plain_src);
    float *diff_dst = arrange(e->diff_dst, s.n, s.oc, s.oh * s.ow, plain_dst);
    char what[200];
    for (int bias = 0; bias < 2; bias++) {
        snprintf(what, sizeof what, "(%d,%d,%d,%d)->%d k%dx%d s%d d%d g%d %s->%s%s", s.n, s.ic, s.ih, s.iw, s.oc, s.kh,
                 s.kw, s.stride, s.dilation, s.groups, plain_src ? "plain" : "blocked", plain_dst ? "plain" : "blocked",
                 bias ? " bias" : "");
        check_forward(e, &s, src, bias, what);
        if (data && !bias) {
            check_backward_data(e, &s, diff_dst, what);
        }
        check_backward_weights(e, &s, src, diff_dst, bias, what);
        assert_no_error();
    }
    free(src);
    free(diff_dst);
}

static nas__conv_shape shape(int n, int ic, int oc, int size, int kernel, int stride, int dilation, int groups) {
    int pad = dilation * (kernel - 1) / 2, width = size + 2;
    return (nas__conv_shape){.n = n,
                             .ic = ic,
                             .ih = size,
                             .iw = width,
                             .oc = oc,
                             .kh = kernel,
                             .kw = kernel,
                             .stride = stride,
                             .dilation = dilation,
                             .pad_h = pad,
                             .pad_w = pad,
                             .groups = groups,
                             .oh = (size + 2 * pad - dilation * (kernel - 1) - 1) / stride + 1,
                             .ow = (width + 2 * pad - dilation * (kernel - 1) - 1) / stride + 1};
}

/* Every layout in which the operation could ask for the shape. */
static void check_layouts(const nas__conv_shape *s, uint64_t seed) {
    example e = example_new(s, seed);
    nas__conv_shape input = *s;
    input.plain_src = 1;
    if (s->ic < 8 && nas__conv_is_fast(&input, false, true)) {
        check(&e, true, false, false);
    }
    if (s->groups == 1 || nas__conv_is_fast(s, true, true)) {
        check(&e, false, false, true);
    }
    if (!nas__conv_is_fast(s, true, true)) {
        check(&e, true, true, true);
    }
    example_free(&e);
}

static void dense_convolutions(void **state) {
    (void)state;
    const int channels[][2] = {{1, 17}, {3, 16}, {3, 40}, {17, 3}, {16, 32}, {40, 17}, {40, 40}};
    int tried = 0;
    for (int kernel = 1; kernel <= 7; kernel += kernel == 1 || kernel >= 3 ? 2 : 1) {
        for (int i = 0; i < 7; i++, tried++) {
            int stride = 1 + (i + kernel / 2) % 2, dilation = kernel > 1 && (i / 2 + kernel / 2) % 3 == 0 ? 2 : 1;
            nas__conv_shape s =
                shape(i % 2 ? 1 : 3, channels[i][0], channels[i][1], 5 + i % 4, kernel, stride, dilation, 1);
            check_layouts(&s, 1000 + 10 * (uint64_t)tried);
        }
    }
    for (int stride = 1; stride <= 2; stride++) { /* even kernels and sides that differ, as in factorised 1x7 and 7x1 */
        for (int kernel = 2; kernel <= 6; kernel += 2, tried++) {
            nas__conv_shape s = shape(2, 17, 16, 8, kernel, stride, 1, 1);
            check_layouts(&s, 2000 + 10 * (uint64_t)tried);
        }
        nas__conv_shape wide = shape(1, 16, 40, 7, 1, stride, 1, 1);
        wide.kw = 7;
        wide.pad_w = 3;
        check_layouts(&wide, 3000);
    }
    assert_true(tried > 30);
}

static void grouped_convolutions(void **state) {
    (void)state;
    for (int groups = 2; groups <= 4; groups += 2) {
        const int channels[][2] = {
            {groups, 2 * groups}, {3 * groups, 17 * groups}, {16 * groups, 16 * groups}, {40, 40}};
        for (int i = 0; i < 4; i++) {
            for (int kernel = 1; kernel <= 3; kernel += 2) {
                nas__conv_shape s = shape(1 + 2 * (i % 2), channels[i][0], channels[i][1], 6 + i % 2, kernel, 1 + i % 2,
                                          1 + (kernel > 1 && i == 3), groups);
                check_layouts(&s, 4000 + 100 * (uint64_t)groups + 10 * (uint64_t)i);
            }
        }
    }
}

static void common_convolutions_are_fast(void **state) {
    (void)state;
    bool backward =
        strcmp(nas__kernel_table()->isa, "generic") != 0; /* with SSE alone oneDNN has fast forward passes only */
    for (int kernel = 1; kernel <= 5; kernel += 2) {
        for (int stride = 1; stride <= 2; stride++) {
            nas__conv_shape s = shape(8, 32, 48, 16, kernel, stride, 1, 1);
            if (!nas__conv_is_fast(&s, backward, backward)) {
                fail_msg("kernel %d, stride %d: no fast implementation", kernel, stride);
            }
        }
    }
    nas__conv_shape stem = shape(8, 3, 16, 32, 3, 1, 1, 1), plain = shape(8, 32, 32, 16, 3, 1, 1, 1);
    stem.plain_src = 1;
    assert_true(nas__conv_is_fast(&stem, false, backward));
    plain.plain_src = plain.plain_dst = 1;
    assert_false(nas__conv_is_fast(&plain, true, true));
    assert_no_error();
}

/* --- products ------------------------------------------------------------------------------------ */
static void products(void **state) {
    (void)state;
    const int sizes[][3] = {{1, 1, 1}, {1, 10, 64}, {64, 10, 1}, {5, 1, 7}, {17, 33, 40}, {64, 100, 256}, {3, 128, 65}};
    for (int t = 0; t < 28; t++) {
        int m = sizes[t / 4][0], n = sizes[t / 4][1], k = sizes[t / 4][2];
        bool transpose_a = t & 1, transpose_b = t & 2;
        float *a = random_floats(10 + (uint64_t)t, (size_t)m * k), *b = random_floats(50 + (uint64_t)t, (size_t)k * n);
        float *c = aligned((size_t)m * n, NAN);
        double *expected = calloc((size_t)m * n, sizeof *expected);
        for (int p = 0; p < m * n * k; p++) {
            int i = p / (n * k), j = p / k % n, l = p % k;
            expected[i * n + j] +=
                (double)a[transpose_a ? l * m + i : i * k + l] * b[transpose_b ? j * k + l : l * n + j];
        }
        assert_int_equal(nas__matmul(m, n, k, a, transpose_a, b, transpose_b, c), NAS_OK);
        char what[80];
        snprintf(what, sizeof what, "product %dx%dx%d%s%s", m, n, k, transpose_a ? " a'" : "",
                 transpose_b ? " b'" : "");
        compare(c, expected, 1, 1, m * n, true, what);
        free(a);
        free(b);
        free(c);
        free(expected);
    }
    assert_no_error();
}

/* --- activations --------------------------------------------------------------------------------- */
static double value(nas__eltwise kind, double x) {
    switch (kind) {
    case NAS__SIGMOID:
        return 1 / (1 + exp(-x));
    case NAS__TANH:
        return tanh(x);
    case NAS__GELU:
        return x / 2 * (1 + erf(x / sqrt(2)));
    default:
        return x / (1 + exp(-x));
    }
}

static double slope(nas__eltwise kind, double x) {
    double s = 1 / (1 + exp(-x));
    switch (kind) {
    case NAS__SIGMOID:
        return s * (1 - s);
    case NAS__TANH:
        return 1 - tanh(x) * tanh(x);
    case NAS__GELU:
        return (1 + erf(x / sqrt(2))) / 2 + x * exp(-x * x / 2) / sqrt(2 * acos(-1));
    default:
        return s + x * s * (1 - s);
    }
}

static void activations(void **state) {
    (void)state;
    const size_t counts[] = {1, 15, 16, 1000, 5003};
    for (int t = 0; t < 20; t++) {
        nas__eltwise kind = (nas__eltwise)(t % 4);
        size_t count = counts[t / 4];
        float *x = random_floats(7, count), *dy = random_floats(8, count), *y = aligned(count, NAN),
              *dx = aligned(count, NAN);
        double *expected = malloc(count * sizeof *expected);
        for (size_t i = 0; i < count; i++) {
            x[i] *= 6;
            expected[i] = value(kind, x[i]);
        }
        assert_int_equal(nas__eltwise_forward(kind, count, x, y), NAS_OK);
        compare(y, expected, 1, 1, (int)count, true, "activation");
        for (size_t i = 0; i < count; i++) {
            expected[i] = slope(kind, x[i]) * dy[i];
        }
        assert_int_equal(nas__eltwise_backward(kind, count, x, dy, dx), NAS_OK);
        compare(dx, expected, 1, 1, (int)count, true, "slope of the activation");
        free(x);
        free(dy);
        free(y);
        free(dx);
        free(expected);
    }
    assert_no_error();
}

/* --- the cache ----------------------------------------------------------------------------------- */
static void count_name(const char *name, void *user) {
    int *counts = user;
    counts[0]++;
    counts[1] += strncmp(name, "conv_bwd_weights ", 17) == 0;
    counts[2] += strstr(name, "unknown") != NULL;
}

static nas_status one_step(const nas__conv_shape *s, float *src, float *dst, float *weight) {
    nas_status status = nas__conv_forward(s, src, weight, NULL, dst);
    status = status ? status : nas__conv_backward_data(s, dst, weight, src);
    nas__conv_is_fast(s, true, true);
    return status ? status : nas__conv_backward_weights(s, src, dst, weight, NULL);
}

/* What a thread of its own found: it reports, the test judges. */
typedef struct observed {
    int at_start[3], warm[3], other_threads[3], failures;
    uint64_t allocations;
} observed;

static void *in_a_thread(void *result) {
    observed *o = result;
    nas__conv_shape s = shape(2, 20, 24, 6, 3, 1, 1, 1);
    float *src = aligned(stored(2, 20, 48, false), 0), *dst = aligned(stored(2, 24, 48, false), 0),
          *weight = aligned(weights(&s), 0);
    nas__onednn_implementations(count_name, o->at_start);
    o->failures += one_step(&s, src, dst, weight) != NAS_OK;
    uint64_t before = nas_memory().system_allocations;
    for (int i = 0; i < 5; i++) {
        o->failures += one_step(&s, src, dst, weight) != NAS_OK;
    }
    o->allocations = nas_memory().system_allocations - before;
    nas__onednn_implementations(count_name, o->warm);
    omp_set_num_threads(omp_get_max_threads() + 1);
    o->failures += one_step(&s, src, dst, weight) != NAS_OK;
    nas__onednn_implementations(count_name, o->other_threads);
    free(src);
    free(dst);
    free(weight);
    return NULL;
}

static void plans_are_kept(void **state) {
    (void)state;
    pthread_t thread;
    observed o = {0};
    assert_int_equal(pthread_create(&thread, NULL, in_a_thread, &o), 0);
    pthread_join(thread, NULL);
    assert_int_equal(o.failures, 0);
    assert_int_equal(o.at_start[0], 0);
    assert_int_equal(o.warm[0], 3);
    assert_int_equal(o.warm[1], 1);
    assert_int_equal(o.warm[2], 0);
    assert_int_equal(o.allocations, 0);
    assert_int_equal(o.other_threads[0], 6); /* other code may be chosen: other plans */
}

static void many_shapes_are_kept_apart(void **state) {
    (void)state;
    float *x = random_floats(1, 700), *y = aligned(700, 0);
    for (int round = 0; round < 2; round++) { /* more than the table's first size */
        for (size_t count = 1; count <= 700; count++) {
            y[count - 1] = NAN;
            assert_int_equal(nas__eltwise_forward(NAS__TANH, count, x, y), NAS_OK);
            assert_true(fabs(y[count - 1] - tanh(x[count - 1])) < 1e-5);
        }
    }
    int counts[3] = {0};
    nas__onednn_implementations(count_name, counts);
    assert_true(counts[0] >= 700);
    free(x);
    free(y);
}

static void refusals_are_reported(void **state) {
    (void)state;
    nas__conv_shape s = shape(1, 4, 4, 5, 3, 1, 1, 1);
    s.oh += 3; /* an output that no convolution of this size gives */
    float x = 0;
    assert_int_not_equal(nas__conv_forward(&s, &x, &x, NULL, &x), NAS_OK);
    assert_error(NAS_ENGINE, "conv_fwd of (1,4,5,7)");
    assert_false(nas__conv_is_fast(&s, false, false));
    assert_no_error();
}

static void count_above(const char *name, void *user) {
    const char *isa = nas__kernel_table()->isa;
    int *counts = user;
    counts[0]++;
    counts[1] +=
        (strcmp(isa, "avx512") != 0 && strstr(name, "avx512")) || (strcmp(isa, "generic") == 0 && strstr(name, "avx"));
}

/* The tests before this one have filled the cache; with a lower set forced, no plan may use a higher one. */
static void instruction_set_is_limited(void **state) {
    (void)state;
    int counts[2] = {0};
    nas__onednn_implementations(count_above, counts);
    assert_true(counts[0] > 100);
    assert_int_equal(counts[1], 0);
}

static void version(void **state) {
    (void)state;
    int major = 0, minor = -1, patch = -1;
    assert_int_equal(sscanf(nas__onednn_version(), "%d.%d.%d", &major, &minor, &patch), 3);
    assert_true(major >= 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plans_are_kept),
        cmocka_unit_test(dense_convolutions),
        cmocka_unit_test(grouped_convolutions),
        cmocka_unit_test(common_convolutions_are_fast),
        cmocka_unit_test(products),
        cmocka_unit_test(activations),
        cmocka_unit_test(many_shapes_are_kept_apart),
        cmocka_unit_test(refusals_are_reported),
        cmocka_unit_test(instruction_set_is_limited),
        cmocka_unit_test(version),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
