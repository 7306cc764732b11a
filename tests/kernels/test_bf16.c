/* bf16 beside f32: conversions with what is late on load and sums on store, against plain loops in double; oneDNN's
 * convolutions between them, against loops over rounded numbers. Where AVX-512 is missing, there is nothing, and it
 * says so. */
#include "late_reference.h"

#include "kernels/bf16.h"
#include "kernels/onednn.h"

#include <stdio.h>

typedef struct problem {
    int n, c, hw;
    nas__on_load load;
    nas__late_grad late;
    bool accumulate, sums;
    float *x, *g, *z, *before; /* plain */
    char text[160];
} problem;

static size_t size(const problem *p) { return (size_t)p->n * p->c * p->hw; }

static int channel_of(const problem *p, size_t i) { return (int)(i / p->hw % p->c); }

/* Where value i lies with the channels innermost. */
static size_t inner(const problem *p, size_t i) {
    const size_t image = i / p->hw / p->c, pixel = i % p->hw;
    return (image * p->hw + pixel) * p->c + channel_of(p, i);
}

/* By the definition: of the two neighbours the nearer one; of equally near ones the even one. */
static uint16_t rounded(double x) {
    float f = (float)x;
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    const uint32_t low = bits & 0xffff, up = low > 0x8000 || (low == 0x8000 && (bits >> 16 & 1));
    return (uint16_t)((bits >> 16) + up);
}

static double widened(uint16_t h) {
    const uint32_t bits = (uint32_t)h << 16;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static problem make(int n, int c, int hw, nas_rng *rng) {
    problem p = {.n = n, .c = c, .hw = hw, .accumulate = coin(rng), .sums = coin(rng)};
    p.load = random_load(rng, c);
    p.late = random_late(rng, c, 1);
    p.x = eighths(rng, size(&p), 16);
    p.g = scaled(rng, size(&p), 1);
    p.z = eighths(rng, size(&p), 16);
    p.before = scaled(rng, size(&p), 1);
    snprintf(p.text, sizeof p.text,
             "n %d c %d hw %d load %d relu %d cap %g late %d%d masked %d%d cap %g add %d sums %d", n, c, hw,
             p.load.scale != NULL, p.load.relu, (double)p.load.cap, p.late.a != NULL, p.late.b != NULL, p.late.masked,
             p.late.mask_scale != NULL, (double)p.late.cap, p.accumulate, p.sums);
    return p;
}

static void free_problem(problem *p) {
    free(p->x), free(p->g), free(p->z), free(p->before);
    free_coefficients(&p->load, &p->late);
}

/* What went there may lie one step beside: f32 before the rounding is not double. Nothing behind the end. */
static void check_there(const problem *p, uint16_t *got, bool gradient) {
    for (size_t i = 0; i < size(p); i++) {
        const int c = channel_of(p, i);
        const double want = gradient ? late_reference(&p->late, c, p->g[i], p->z[i])
                                     : activate(&p->load, before_act(&p->load, c, p->x[i]));
        const double have = widened(got[inner(p, i)]);
        if (!(fabs(have - want) <= fabs(want) / 256 + 1e-6)) {
            fail_msg("%s: value %zu is %.9g instead of %.9g", p->text, i, have, want);
        }
    }
    assert_int_equal(got[size(p)], 0x7777);
    free(got);
}

static uint16_t *halves(size_t count) {
    uint16_t *h = malloc((count + 1) * sizeof *h);
    h[count] = 0x7777;
    return h;
}

static void check_conversions(problem *p) {
    const int b = nas__kernel_table()->block, width = padded(p->c, b);
    const size_t blocked = (size_t)p->n * width * p->hw;
    float *x = to_blocked(p->x, p->n, p->c, p->hw, b), *g = to_blocked(p->g, p->n, p->c, p->hw, b);
    float *z = to_blocked(p->z, p->n, p->c, p->hw, b), *bias = channel_array(p->before, p->c, b);
    nas__on_load load = load_to_blocked(&p->load, 1, p->c, b);
    nas__late_grad late = late_to_blocked(&p->late, p->c, b, g, z);
    uint16_t *values = halves(size(p)), *gradient = halves(size(p)), *back = halves(size(p));
    nas__bf16_table()->values(p->n, p->c, p->hw, x, &load, values);
    nas__bf16_table()->gradient(p->n, p->c, p->hw, &late, gradient);
    check_there(p, values, false);
    check_there(p, gradient, true);

    /* back: the same numbers as a result, and as the gradient of what was loaded */
    double *sums[2] = {calloc((size_t)2 * width, sizeof(double)), calloc((size_t)2 * width, sizeof(double))};
    double *want_sums[2] = {calloc((size_t)2 * p->c, sizeof(double)), calloc((size_t)2 * p->c, sizeof(double))};
    float *y = new_array(blocked),
          *dx = p->accumulate ? to_blocked(p->before, p->n, p->c, p->hw, b) : new_array(blocked);
    float *want_y = malloc(size(p) * sizeof(float)), *want_dx = malloc(size(p) * sizeof(float));
    for (size_t i = 0; i < size(p); i++) {
        const int c = channel_of(p, i);
        back[inner(p, i)] = rounded(p->g[i]);
        const double v = widened(rounded(p->g[i])), yv = v + (p->sums ? 0 : p->before[c]);
        const double dh = p->load.relu && !passes(before_act(&p->load, c, p->x[i]), p->load.cap) ? 0 : v;
        want_y[i] = (float)yv;
        want_dx[i] = (float)(dh + (p->accumulate ? p->before[i] : 0));
        want_sums[0][c] += yv;
        want_sums[0][p->c + c] += yv * yv;
        want_sums[1][c] += dh;
        want_sums[1][p->c + c] += dh * p->x[i];
    }
    nas__bf16_table()->result(p->n, p->c, p->hw, back, p->sums ? NULL : bias, y, p->sums ? sums[0] : NULL);
    nas__bf16_table()->back(p->n, p->c, p->hw, back, x, &load, dx, p->accumulate, p->sums ? sums[1] : NULL);
    check_blocked(y, want_y, p->n, p->c, p->hw, b, 1e-6, p->text);
    check_blocked(dx, want_dx, p->n, p->c, p->hw, b, 1e-6, p->text);
    for (int i = 0; i < 2; i++) {
        if (p->sums) {
            check_channel_sums(sums[i], want_sums[i], p->c, b, p->n * p->hw, p->text);
        } else {
            free(sums[i]);
        }
        free(want_sums[i]);
    }
    free_coefficients(&load, &late);
    free(x), free(g), free(z), free(bias), free(back), free(want_y), free(want_dx);
}

static void conversions(void **state) {
    (void)state;
    nas_rng rng = nas_rng_new(5, 1);
    for (int i = 0; nas__bf16_table() && i < 300; i++) {
        problem p = make(uniform_int(&rng, 1, 5), uniform_int(&rng, 1, 70), uniform_int(&rng, 1, 200), &rng);
        check_conversions(&p);
        free_problem(&p);
    }
    assert_true(nas__bf16_table() || nas__bf16_missing());
}

static void rounds_to_the_nearest(void **state) {
    (void)state;
    static const struct {
        uint32_t bits;
        uint16_t half;
    } cases[] = {{0x3f800000, 0x3f80}, {0x3f808000, 0x3f80}, {0x3f818000, 0x3f82}, {0x3f808001, 0x3f81},
                 {0xbf817fff, 0xbf81}, {0x7f7fffff, 0x7f80}, {0x7f800000, 0x7f80}, {0xff800000, 0xff80},
                 {0x7f800001, 0x7fc0}, {0xffc12345, 0xffc1}, {0x80000000, 0x8000}, {0x00000000, 0x0000}};
    enum { N = sizeof cases / sizeof *cases };
    float x[16] __attribute__((aligned(64))) = {0};
    uint16_t got[N];
    for (int i = 0; i < N; i++) {
        memcpy(&x[i], &cases[i].bits, sizeof *x);
    }
    if (nas__bf16_table()) {
        nas__bf16_table()->values(1, N, 1, x, NULL, got);
        for (int i = 0; i < N; i++) {
            assert_int_equal(got[i], cases[i].half);
        }
    }
}

/* --- oneDNN between them --------------------------------------------------------------------------- */
typedef struct conv {
    nas__conv_shape s;
    uint16_t *x, *dz;         /* channels innermost */
    float *w, *dw;            /* plain */
    double *z, *dx, *want_dw; /* expected: channels innermost; plain */
    double *z_size, *dx_size; /* sums of absolute products: what errors are relative to */
} conv;

static uint16_t *random_halves(nas_rng *rng, size_t count) {
    uint16_t *h = halves(count);
    for (size_t i = 0; i < count; i++) {
        h[i] = rounded(2 * nas_rng_uniform(rng) - 1);
    }
    return h;
}

static void naive(conv *c, int o, int i) {
    const nas__conv_shape *s = &c->s;
    for (int tap = 0; tap < s->kh * s->kw; tap++) {
        const size_t at = ((size_t)o * s->ic + i) * s->kh * s->kw + tap;
        const double w = widened(rounded(c->w[at]));
        for (int p = 0; p < s->n * s->oh * s->ow; p++) {
            const int image = p / (s->oh * s->ow);
            const int row = p / s->ow % s->oh * s->stride - s->pad_h + tap / s->kw * s->dilation;
            const int column = p % s->ow * s->stride - s->pad_w + tap % s->kw * s->dilation;
            if (row < 0 || row >= s->ih || column < 0 || column >= s->iw) {
                continue;
            }
            const size_t in = (((size_t)image * s->ih + row) * s->iw + column) * s->ic + i;
            const size_t out = (size_t)p * s->oc + o;
            c->z[out] += w * widened(c->x[in]);
            c->z_size[out] += fabs(w * widened(c->x[in]));
            c->dx[in] += w * widened(c->dz[out]);
            c->dx_size[in] += fabs(w * widened(c->dz[out]));
            c->want_dw[at] += widened(c->x[in]) * widened(c->dz[out]);
        }
    }
}

static void check_halves(const uint16_t *got, const double *want, const double *scale, size_t count, const char *what) {
    for (size_t i = 0; i < count; i++) {
        if (!(fabs(widened(got[i]) - want[i]) <= fabs(want[i]) / 256 + 1e-5 * scale[i])) {
            fail_msg("%s: value %zu is %.9g instead of %.9g", what, i, widened(got[i]), want[i]);
        }
    }
}

static void check_conv(int n, int in, int out, int size, int kernel, int stride, int dilation) {
    conv c = {.s = nas__conv_square(n, in, out, size, kernel, stride, dilation, 1)};
    c.s.bf16 = 1;
    const int small = c.s.oh;
    const size_t ins = (size_t)n * in * size * size, outs = (size_t)n * out * small * small;
    const size_t weights = (size_t)in * out * kernel * kernel;
    char text[96];
    nas_rng rng = nas_rng_new(9, (uint64_t)(in + out + kernel));
    snprintf(text, sizeof text, "%dx%dx%dx%d to %d k%d s%d d%d", n, in, size, size, out, kernel, stride, dilation);
    c.x = random_halves(&rng, ins);
    c.dz = random_halves(&rng, outs);
    c.w = scaled(&rng, weights, 1);
    c.dw = new_array(weights);
    c.z = calloc(outs, sizeof(double)), c.z_size = calloc(outs, sizeof(double));
    c.dx = calloc(ins, sizeof(double)), c.dx_size = calloc(ins, sizeof(double));
    c.want_dw = calloc(weights, sizeof(double));
    for (int k = 0; k < out * in; k++) {
        naive(&c, k / in, k % in);
    }
    uint16_t *z = halves(outs), *dx = halves(ins);
    if (!nas__conv_is_fast(&c.s, true, true)) {
        fail_msg("%s: oneDNN has but a reference implementation", text);
    }
    assert_int_equal(nas__conv_forward(&c.s, c.x, c.w, NULL, z), NAS_OK);
    assert_int_equal(nas__conv_backward_data(&c.s, c.dz, c.w, dx), NAS_OK);
    assert_int_equal(nas__conv_backward_weights(&c.s, c.x, c.dz, c.dw, NULL), NAS_OK);
    check_halves(z, c.z, c.z_size, outs, text);
    check_halves(dx, c.dx, c.dx_size, ins, text);
    for (size_t i = 0; i < weights; i++) {
        if (!(fabs(c.dw[i] - c.want_dw[i]) <= 1e-5 * (double)(n * small * small))) {
            fail_msg("%s: weight gradient %zu is %.9g instead of %.9g", text, i, (double)c.dw[i], c.want_dw[i]);
        }
    }
    free_array(c.dw, weights);
    free(c.x), free(c.dz), free(c.w), free(c.z), free(c.z_size), free(c.dx), free(c.dx_size), free(c.want_dw);
    free(z), free(dx);
}

static void convolutions(void **state) {
    (void)state;
    if (!nas__bf16_table()) {
        return;
    }
    check_conv(3, 16, 16, 9, 3, 1, 1);
    check_conv(2, 32, 64, 8, 3, 2, 1);
    check_conv(2, 64, 32, 7, 1, 1, 1);
    check_conv(2, 16, 32, 8, 1, 2, 1);
    check_conv(1, 32, 16, 12, 3, 1, 2);
}

int main(void) {
    setenv("ESPALIER_BF16", "force", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conversions),
        cmocka_unit_test(rounds_to_the_nearest),
        cmocka_unit_test(convolutions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
