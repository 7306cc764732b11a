/* The 3x3 convolution of every instruction set against plain loops in double, over random shapes. Values that are
 * compared with zero or a cap are multiples of 1/8, so that their signs are exact. */
#include "blocked.h"

#include <math.h>

#include <stdio.h>

/* Channels, or the whole tensor: what is random about one problem. */
typedef struct problem {
    nas__conv3 s;
    bool affine, relu, bias, act_relu; /* of the forward pass */
    float cap, act_cap;
    bool late_a, late_bk, masked, mask_affine; /* of the gradient */
    float late_cap, late_scale;
    bool accumulate, sums, want_dx, want_dw;
    float *x, *w, *scale, *shift, *biases; /* plain */
    float *g, *z_of_g, *a, *b, *k, *mask_scale, *mask_shift, *before;
    float *z, *dx, *dw;       /* expected */
    double *z_sums, *in_sums; /* [2][channels] */
} problem;

static size_t count_in(const nas__conv3 *s) { return (size_t)s->n * s->in * s->h * s->w; }
static size_t count_out(const nas__conv3 *s) { return (size_t)s->n * s->out * s->oh * s->ow; }
static size_t count_weights(const nas__conv3 *s) { return (size_t)s->in * s->out * 9; }

static double clamp(double v, bool relu, float cap) { return !relu ? v : v < 0 ? 0 : cap > 0 && v > cap ? cap : v; }

static bool inside(double v, float cap) { return v > 0 && (cap <= 0 || v < cap); }

/* --- what is expected ---------------------------------------------------------------------------- */
static double *loaded(const problem *p) {
    const nas__conv3 *s = &p->s;
    double *h = malloc(count_in(s) * sizeof *h);
    for (size_t i = 0; i < count_in(s); i++) {
        const size_t c = i / s->h / s->w % s->in;
        h[i] = clamp(p->affine ? (double)p->x[i] * p->scale[c] + p->shift[c] : p->x[i], p->relu, p->cap);
    }
    return h;
}

static double *late(const problem *p) {
    const nas__conv3 *s = &p->s;
    double *t = malloc(count_out(s) * sizeof *t);
    for (size_t i = 0; i < count_out(s); i++) {
        const size_t c = i / s->oh / s->ow % s->out;
        const double z = p->z_of_g[i], m = p->mask_affine ? z * p->mask_scale[c] + p->mask_shift[c] : z;
        const double g = p->masked && !inside(m, p->late_cap) ? 0 : (double)p->late_scale * p->g[i];
        t[i] = p->late_a ? p->a[c] * g + (p->late_bk ? p->b[c] * z + p->k[c] : 0) : g;
    }
    return t;
}

static void add_products(const problem *p, const double *h, const double *t, double *z, double *dh, double *dw) {
    const nas__conv3 *s = &p->s;
    const int hw = s->h * s->w, ohw = s->oh * s->ow;
    for (int pair = 0; pair < s->n * s->out * s->in; pair++) {
        const int n = pair / s->in / s->out, o = pair / s->in % s->out, i = pair % s->in;
        const size_t in = ((size_t)n * s->in + i) * hw, out = ((size_t)n * s->out + o) * ohw;
        for (int tap = 0; tap < 9; tap++) {
            const size_t at = ((size_t)o * s->in + i) * 9 + tap;
            const double w = p->w[at];
            const int top = tap / 3 - s->pad_h, left = tap % 3 - s->pad_w;
            double sum = 0;
            for (int r = 0; r < s->oh; r++) {
                if (r + top < 0 || r + top >= s->h) {
                    continue;
                }
                for (int c = left < 0 ? -left : 0; c < s->ow && c + left < s->w; c++) {
                    const size_t from = in + (size_t)((r + top) * s->w + c + left), to = out + (size_t)(r * s->ow + c);
                    z[to] += w * h[from];
                    dh[from] += w * t[to];
                    sum += h[from] * t[to];
                }
            }
            dw[at] += sum;
        }
    }
}

static void expect(problem *p) {
    const nas__conv3 *s = &p->s;
    double *h = loaded(p), *t = late(p), *z = calloc(count_out(s), sizeof *z);
    double *dh = calloc(count_in(s), sizeof *dh), *dw = calloc(count_weights(s), sizeof *dw);
    p->z_sums = calloc((size_t)2 * s->out, sizeof(double));
    p->in_sums = calloc((size_t)2 * s->in, sizeof(double));
    p->z = malloc(count_out(s) * sizeof(float));
    p->dx = malloc(count_in(s) * sizeof(float));
    p->dw = malloc(count_weights(s) * sizeof(float));
    add_products(p, h, t, z, dh, dw);
    for (size_t i = 0; i < count_out(s); i++) {
        const size_t c = i / s->oh / s->ow % s->out;
        const double value = clamp(z[i] + (p->bias ? p->biases[c] : 0), p->act_relu, p->act_cap);
        p->z[i] = (float)value;
        p->z_sums[c] += value;
        p->z_sums[s->out + c] += value * value;
    }
    for (size_t i = 0; i < count_in(s); i++) {
        const size_t c = i / s->h / s->w % s->in;
        const double pre = p->affine ? (double)p->x[i] * p->scale[c] + p->shift[c] : p->x[i];
        const double value = p->relu && !inside(pre, p->cap) ? 0 : dh[i];
        p->dx[i] = (float)(value + (p->accumulate ? p->before[i] : 0));
        p->in_sums[c] += value;
        p->in_sums[s->in + c] += value * p->x[i];
    }
    for (size_t i = 0; i < count_weights(s); i++) {
        p->dw[i] = (float)dw[i];
    }
    free(h), free(t), free(z), free(dh), free(dw);
}

/* --- what comes ---------------------------------------------------------------------------------- */
static void describe(const problem *p, const char *isa, const char *what, char *text, size_t size) {
    const nas__conv3 *s = &p->s;
    snprintf(text, size, "%s %s: n %d in %d out %d %dx%d -> %dx%d pad %d,%d affine %d relu %d cap %g masked %d", isa,
             what, s->n, s->in, s->out, s->h, s->w, s->oh, s->ow, s->pad_h, s->pad_w, p->affine, p->relu,
             (double)p->cap, p->masked);
}

static void check_forward(const problem *p, const nas__kernels *k) {
    const nas__conv3 *s = &p->s;
    const int b = k->block;
    char text[256];
    float *x = to_blocked(p->x, s->n, s->in, s->h * s->w, b), *bias = channel_array(p->biases, s->out, b);
    float *scale = channel_array(p->scale, s->in, b), *shift = channel_array(p->shift, s->in, b);
    float *u = new_array(k->conv3_weights_size(s)), *z = new_array((size_t)s->n * padded(s->out, b) * s->oh * s->ow);
    double *sums = p->sums ? malloc(2 * sizeof(double) * padded(s->out, b)) : NULL;
    const nas__on_load load = {p->affine ? scale : NULL, p->affine ? shift : NULL, p->relu, p->cap};
    const nas__on_load act = {NULL, NULL, p->act_relu, p->act_cap};
    k->conv3_weights(s, p->w, false, u);
    k->conv3_forward(s, x, p->affine || p->relu ? &load : NULL, u, p->bias ? bias : NULL, p->act_relu ? &act : NULL, z,
                     sums);
    describe(p, k->isa, "forward", text, sizeof text);
    check_blocked(z, p->z, s->n, s->out, s->oh * s->ow, b, 3e-5, text);
    if (sums) {
        check_channel_sums(sums, p->z_sums, s->out, b, s->n * s->oh * s->ow, text);
    }
    free_array(u, k->conv3_weights_size(s));
    free(x), free(bias), free(scale), free(shift);
}

static void check_backward(const problem *p, const nas__kernels *k) {
    const nas__conv3 *s = &p->s;
    const int block = k->block, hw = s->h * s->w, ohw = s->oh * s->ow;
    char text[256];
    float *x = to_blocked(p->x, s->n, s->in, hw, block), *scale = channel_array(p->scale, s->in, block);
    float *shift = channel_array(p->shift, s->in, block), *g = to_blocked(p->g, s->n, s->out, ohw, block);
    float *z = to_blocked(p->z_of_g, s->n, s->out, ohw, block), *a = channel_array(p->a, s->out, block);
    float *b = channel_array(p->b, s->out, block), *shift_k = channel_array(p->k, s->out, block);
    float *ms = channel_array(p->mask_scale, s->out, block), *mh = channel_array(p->mask_shift, s->out, block);
    float *u = new_array(k->conv3_weights_size(s)), *dw = new_array(count_weights(s));
    float *dx = p->accumulate ? to_blocked(p->before, s->n, s->in, hw, block)
                              : new_array((size_t)s->n * padded(s->in, block) * hw);
    double *sums = p->sums ? malloc(2 * sizeof(double) * padded(s->in, block)) : NULL;
    const nas__on_load load = {p->affine ? scale : NULL, p->affine ? shift : NULL, p->relu, p->cap};
    const nas__late_grad dz = {.g = g,
                               .scale = p->late_scale,
                               .a = p->late_a ? a : NULL,
                               .b = p->late_bk ? b : NULL,
                               .k = p->late_bk ? shift_k : NULL,
                               .z = p->late_bk || p->masked ? z : NULL,
                               .masked = p->masked,
                               .mask_scale = p->mask_affine ? ms : NULL,
                               .mask_shift = p->mask_affine ? mh : NULL,
                               .cap = p->late_cap};
    k->conv3_weights(s, p->w, true, u);
    k->conv3_backward(s, &(nas__conv3_grads){.x = p->want_dw || p->relu || p->sums ? x : NULL,
                                             .load = p->affine || p->relu ? &load : NULL,
                                             .dz = &dz,
                                             .u = p->want_dx ? u : NULL,
                                             .dx = p->want_dx ? dx : NULL,
                                             .accumulate = p->accumulate,
                                             .in_sums = p->want_dx ? sums : NULL,
                                             .dw = p->want_dw ? dw : NULL});
    if (p->want_dx) {
        describe(p, k->isa, "data gradient", text, sizeof text);
        check_blocked(dx, p->dx, s->n, s->in, hw, block, 3e-5, text);
    } else {
        free(dx);
    }
    if (p->want_dx && sums) {
        check_channel_sums(sums, p->in_sums, s->in, block, s->n * hw, text);
    } else {
        free(sums);
    }
    if (p->want_dw) {
        describe(p, k->isa, "weight gradient", text, sizeof text);
        assert_floats_near(dw, p->dw, count_weights(s), 5e-5, text);
    }
    free_array(dw, count_weights(s));
    free_array(u, k->conv3_weights_size(s));
    free(x), free(scale), free(shift), free(g), free(z), free(a), free(b), free(shift_k), free(ms), free(mh);
}

static void check(problem p, nas_rng *rng) {
    const nas__conv3 *s = &p.s;
    const double pixels = (double)s->n * s->oh * s->ow;
    const nas__kernels *tables[3];
    p.x = eighths(rng, count_in(s), 16);
    p.scale = eighths(rng, s->in, 12);
    p.shift = eighths(rng, s->in, 8);
    p.w = scaled(rng, count_weights(s), 1 / sqrt(s->in + 1));
    p.biases = scaled(rng, s->out, 1);
    p.z_of_g = eighths(rng, count_out(s), 16);
    p.mask_scale = eighths(rng, s->out, 12);
    p.mask_shift = eighths(rng, s->out, 8);
    p.g = scaled(rng, count_out(s), 1 / sqrt(pixels));
    p.a = scaled(rng, s->out, 1);
    p.b = scaled(rng, s->out, 0.3 / sqrt(pixels));
    p.k = scaled(rng, s->out, 0.3 / sqrt(pixels));
    p.before = scaled(rng, count_in(s), 1);
    expect(&p);
    for (int t = 0, n = nas__usable_kernel_tables(tables); t < n; t++) {
        check_forward(&p, tables[t]);
        check_backward(&p, tables[t]);
    }
    free(p.x), free(p.scale), free(p.shift), free(p.w), free(p.biases), free(p.z_of_g), free(p.mask_scale);
    free(p.mask_shift), free(p.g), free(p.a), free(p.b), free(p.k), free(p.before), free(p.z), free(p.dx), free(p.dw);
    free(p.z_sums), free(p.in_sums);
}

static problem random_problem(nas_rng *rng, nas__conv3 s) {
    problem p = {.s = s, .affine = coin(rng), .relu = coin(rng), .bias = coin(rng), .act_relu = coin(rng)};
    p.cap = coin(rng) ? 1 : 0;
    p.act_cap = coin(rng) ? 0.5f : 0;
    p.late_a = coin(rng);
    p.late_bk = p.late_a && coin(rng);
    p.masked = coin(rng);
    p.mask_affine = p.masked && coin(rng);
    p.late_cap = coin(rng) ? 1 : 0;
    p.late_scale = coin(rng) ? 1 : 0.5f;
    p.accumulate = coin(rng);
    p.sums = coin(rng);
    p.want_dx = uniform_int(rng, 0, 3) > 0;
    p.want_dw = uniform_int(rng, 0, 3) > 0;
    return p;
}

static void random_shapes(void **state) {
    (void)state;
    nas_rng rng = nas_rng_new(12, 5);
    for (int i = 0; i < 500;) {
        nas__conv3 s = {.n = uniform_int(&rng, 1, uniform_int(&rng, 0, 3) ? 3 : 20),
                        .in = uniform_int(&rng, 1, coin(&rng) ? 70 : 20),
                        .out = uniform_int(&rng, 1, coin(&rng) ? 70 : 20),
                        .h = uniform_int(&rng, 1, coin(&rng) ? 9 : 33),
                        .w = uniform_int(&rng, 1, coin(&rng) ? 9 : 33),
                        .pad_h = uniform_int(&rng, 0, 2),
                        .pad_w = uniform_int(&rng, 0, 2)};
        s.oh = s.h + 2 * s.pad_h - 2;
        s.ow = s.w + 2 * s.pad_w - 2;
        if (s.oh > 0 && s.ow > 0 && 9.0 * count_out(&s) * s.in < 4e6) {
            check(random_problem(&rng, s), &rng);
            i++;
        }
    }
}

/* More weights than the cache holds take a way of their own; pieces and panels with remainders. */
static void many_weights(void **state) {
    (void)state;
    nas_rng rng = nas_rng_new(13, 5);
    for (int i = 0; i < 4; i++) {
        problem p = random_problem(&rng, (nas__conv3){.n = 3, .in = 170, .out = 180, .h = 5, .w = 3});
        p.s.pad_h = p.s.pad_w = 1 + i % 2;
        p.s.oh = p.s.h + 2 * p.s.pad_h - 2;
        p.s.ow = p.s.w + 2 * p.s.pad_w - 2;
        p.want_dw = true;
        p.want_dx = i != 1;
        check(p, &rng);
    }
}

/* Sums over images and positions repeat, and do not depend on the number of threads while the weights are small. */
static void threads_do_not_matter(void **state) {
    (void)state;
    const nas__kernels *tables[3];
    const nas__conv3 s = {.n = 37, .in = 5, .out = 17, .h = 9, .w = 9, .oh = 9, .ow = 9, .pad_h = 1, .pad_w = 1};
    const int threads = omp_get_max_threads();
    for (int t = 0, n = nas__usable_kernel_tables(tables); t < n; t++) {
        const nas__kernels *k = tables[t];
        float *plain = random_floats(5, count_in(&s)), *plain_dz = random_floats(6, count_out(&s)), *dw[2];
        float *x = to_blocked(plain, s.n, s.in, 81, k->block), *dz = to_blocked(plain_dz, s.n, s.out, 81, k->block);
        double sums[2][2 * 32];
        float *w = random_floats(7, count_weights(&s)), *u = new_array(k->conv3_weights_size(&s));
        float *dx = new_array((size_t)s.n * padded(s.in, k->block) * 81);
        for (int i = 0; i < 2; i++) {
            omp_set_num_threads(i ? 3 : 1);
            dw[i] = new_array(count_weights(&s));
            k->conv3_weights(&s, w, true, u);
            k->conv3_backward(&s, &(nas__conv3_grads){.x = x,
                                                      .dz = &(nas__late_grad){.g = dz, .scale = 1},
                                                      .u = u,
                                                      .dx = dx,
                                                      .in_sums = sums[i],
                                                      .dw = dw[i]});
        }
        omp_set_num_threads(threads);
        assert_memory_equal(dw[0], dw[1], count_weights(&s) * sizeof(float));
        assert_memory_equal(sums[0], sums[1], 2 * sizeof(double) * padded(s.in, k->block));
        free(plain), free(plain_dz), free(x), free(dz), free(w), free(u), free(dx), free(dw[0]), free(dw[1]);
    }
}

/* A network that has diverged must be seen to have: ReLU, on load and on store, lets NaNs through. */
static void nans_pass(void **state) {
    (void)state;
    const nas__kernels *tables[3];
    const nas__conv3 s = {.n = 1, .in = 3, .out = 2, .h = 8, .w = 8, .oh = 8, .ow = 8, .pad_h = 1, .pad_w = 1};
    const nas__on_load relu6 = {.relu = true, .cap = 6};
    for (int t = 0, n = nas__usable_kernel_tables(tables); t < n; t++) {
        const nas__kernels *k = tables[t];
        float *plain = random_floats(8, count_in(&s)), *w = random_floats(9, count_weights(&s));
        plain[2 * 64 + 27] = NAN; /* row 3, column 3 of the last channel */
        float *x = to_blocked(plain, s.n, s.in, 64, k->block), *u = new_array(k->conv3_weights_size(&s));
        float *z = new_array((size_t)padded(s.out, k->block) * 64);
        k->conv3_weights(&s, w, false, u);
        k->conv3_forward(&s, x, &relu6, u, NULL, &relu6, z, NULL);
        assert_true(isnan(z[27 * k->block]) && isnan(z[27 * k->block + 1]));
        free(plain), free(w), free(x), free(u), free(z);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_shapes),
        cmocka_unit_test(many_weights),
        cmocka_unit_test(threads_do_not_matter),
        cmocka_unit_test(nans_pass),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
