/* Separable units of every instruction set against plain loops in double, over random shapes and options. */
#include "late_reference.h"

#include <stdio.h>

/* One random problem in plain layout; what is absent is NULL. */
typedef struct problem {
    nas__unit u;
    nas__on_load load, act;
    nas__late_grad late;
    bool pointwise, bias, has_act, accumulate, want_dx, want_sums, want_d_depthwise, want_d_pointwise;
    float *x, *wd, *wp, *b, *g, *dx0; /* inputs */
    float *z, *dx, *d_wd, *d_wp;      /* expected */
    double *sums, *in_sums;
} problem;

static size_t in_size(const nas__unit *u) { return (size_t)u->n * u->in * u->h * u->w; }
static size_t mid_size(const nas__unit *u) { return (size_t)u->n * u->in * u->oh * u->ow; }
static size_t out_size(const nas__unit *u) { return (size_t)u->n * u->out * u->oh * u->ow; }
static int taps(const nas__unit *u) { return u->kernel_h * u->kernel_w; }

static bool chance(nas_rng *rng, double p) { return nas_rng_uniform(rng) < p; }

/* Index of the input pixel that output pixel o of the plane (w, h from u) sees through tap k; -1 in the padding. */
static ptrdiff_t seen(const nas__unit *u, int o, int k) {
    const int h = o / u->ow * u->stride - u->pad_h + k / u->kernel_w * u->dilation;
    const int w = o % u->ow * u->stride - u->pad_w + k % u->kernel_w * u->dilation;
    return h < 0 || h >= u->h || w < 0 || w >= u->w ? -1 : (ptrdiff_t)h * u->w + w;
}

/* The value after on-load, and after the depthwise convolution. */
static void middle(const problem *p, double *value, double *mid) {
    const nas__unit *u = &p->u;
    const int hw = u->h * u->w, ohw = u->oh * u->ow;
    for (size_t i = 0; i < in_size(u); i++) {
        const int c = (int)(i / hw % u->in);
        value[i] = activate(&p->load, before_act(&p->load, c, p->x[i]));
    }
    for (size_t o = 0; o < mid_size(u); o++) {
        const size_t plane = o / ohw;
        mid[o] = 0;
        for (int k = 0; k < taps(u); k++) {
            const ptrdiff_t i = seen(u, (int)(o % ohw), k);
            const double w = (double)p->wd[plane % u->in * taps(u) + k];
            mid[o] += i < 0 ? 0 : w * value[plane * hw + i];
        }
    }
}

static void forward(problem *p, const double *mid) {
    const nas__unit *u = &p->u;
    const int ohw = u->oh * u->ow;
    for (size_t o = 0; o < out_size(u); o++) {
        const int c = (int)(o / ohw % u->out), pixel = (int)(o % ohw);
        const size_t n = o / ohw / u->out;
        double z = p->bias ? (double)p->b[c] : 0;
        for (int i = 0; p->pointwise && i < u->in; i++) {
            z += mid[(n * u->in + i) * ohw + pixel] * (double)p->wp[(size_t)i * u->out + c];
        }
        z += p->pointwise ? 0 : mid[o];
        z = p->has_act ? activate(&p->act, z) : z;
        p->z[o] = (float)z;
        p->sums[c] += z;
        p->sums[u->out + c] += z * z;
    }
}

static void backward(problem *p, const double *value, const double *mid) {
    const nas__unit *u = &p->u;
    const int hw = u->h * u->w, ohw = u->oh * u->ow;
    double *d_mid = calloc(mid_size(u), sizeof(double)), *dx = calloc(in_size(u), sizeof(double));
    double *d_wp = calloc((size_t)u->in * u->out, sizeof(double)),
           *d_wd = calloc((size_t)u->in * taps(u), sizeof(double));
    for (size_t o = 0; o < out_size(u); o++) {
        const int c = (int)(o / ohw % u->out), pixel = (int)(o % ohw);
        const size_t n = o / ohw / u->out;
        const double g = late_reference(&p->late, c, p->g[o], p->z[o]);
        for (int i = 0; p->pointwise && i < u->in; i++) {
            d_mid[(n * u->in + i) * ohw + pixel] += g * (double)p->wp[(size_t)i * u->out + c];
            d_wp[(size_t)i * u->out + c] += g * mid[(n * u->in + i) * ohw + pixel];
        }
        if (!p->pointwise) {
            d_mid[o] = g;
        }
    }
    for (size_t o = 0; o < mid_size(u); o++) {
        const size_t plane = o / ohw, weight = plane % u->in * taps(u);
        for (int k = 0; k < taps(u); k++) {
            const ptrdiff_t i = seen(u, (int)(o % ohw), k);
            if (i >= 0) {
                dx[plane * hw + i] += d_mid[o] * (double)p->wd[weight + k];
                d_wd[weight + k] += d_mid[o] * value[plane * hw + i];
            }
        }
    }
    for (size_t i = 0; i < in_size(u); i++) {
        const int c = (int)(i / hw % u->in);
        const double h = before_act(&p->load, c, p->x[i]);
        const double d = !p->load.relu || passes(h, p->load.cap) ? dx[i] : 0;
        p->in_sums[c] += d;
        p->in_sums[u->in + c] += d * (double)p->x[i];
        p->dx[i] = (float)(d + (p->accumulate ? (double)p->dx0[i] : 0));
    }
    for (int i = 0; i < u->in * u->out; i++) {
        p->d_wp[i] = (float)d_wp[i];
    }
    for (int i = 0; i < u->in * taps(u); i++) {
        p->d_wd[i] = (float)d_wd[i];
    }
    free(d_mid), free(dx), free(d_wp), free(d_wd);
}

static void reference(problem *p) {
    const nas__unit *u = &p->u;
    double *value = malloc(in_size(u) * sizeof(double)), *mid = malloc(mid_size(u) * sizeof(double));
    middle(p, value, mid);
    forward(p, mid);
    backward(p, value, mid);
    free(value), free(mid);
}

static char text[512];

static const char *describe(const problem *p, const char *isa, const char *what) {
    const nas__unit *u = &p->u;
    snprintf(text, sizeof text,
             "%s %s: n %d %d -> %d, %dx%d -> %dx%d kernel %dx%d stride %d dilation %d pad %d,%d pointwise "
             "%d load %d relu %d cap %g bias %d act %d late %d%d%d accumulate %d",
             isa, what, u->n, u->in, u->out, u->h, u->w, u->oh, u->ow, u->kernel_h, u->kernel_w, u->stride, u->dilation,
             u->pad_h, u->pad_w, p->pointwise, p->load.scale != NULL, p->load.relu, (double)p->load.cap, p->bias,
             p->has_act, p->late.a != NULL, p->late.b != NULL, p->late.masked, p->accumulate);
    return text;
}

/* The problem in the layout of one table. */
typedef struct blocked {
    nas__unit u;
    nas__on_load load;
    nas__late_grad late;
    float *x, *wd, *wp, *wpt, *bias, *z, *g;
} blocked;

static blocked to_table(const problem *p, const nas__kernels *k) {
    const nas__unit *u = &p->u;
    const int block = k->block;
    blocked b = {.u = *u, .load = load_to_blocked(&p->load, 1, u->in, block)};
    float *wpt = transposed(p->wp, u->in, u->out);
    b.x = to_blocked(p->x, u->n, u->in, u->h * u->w, block);
    b.z = to_blocked(p->z, u->n, u->out, u->oh * u->ow, block);
    b.g = to_blocked(p->g, u->n, u->out, u->oh * u->ow, block);
    b.wd = to_blocked(p->wd, 1, u->in, taps(u), block);
    b.wp = to_panels(padded_rows(p->wp, u->in, u->out, block), u->in, padded(u->out, block), k->panel * block);
    b.wpt = to_panels(padded_rows(wpt, u->out, u->in, block), u->out, padded(u->in, block), k->panel * block);
    b.late = late_to_blocked(&p->late, u->out, block, b.g, b.z);
    b.bias = channel_array(p->b, u->out, block);
    b.u.depthwise = b.wd;
    b.u.pointwise = p->pointwise ? b.wp : NULL;
    b.u.pointwise_t = p->pointwise ? b.wpt : NULL;
    free(wpt);
    return b;
}

static void free_blocked(blocked *b) {
    free(b->x), free(b->wd), free(b->wp), free(b->wpt), free(b->bias), free(b->z), free(b->g);
    free_coefficients(&b->load, &b->late);
}

static void check_forward(const problem *p, const nas__kernels *k, const blocked *b) {
    const nas__unit *u = &p->u;
    const int width = padded(u->out, k->block);
    float *z = new_array((size_t)u->n * width * u->oh * u->ow);
    double *sums = malloc((size_t)2 * width * sizeof(double));
    const bool no_load = !p->load.scale && !p->load.relu;
    k->unit_forward(&b->u, b->x, no_load && u->n % 2 ? NULL : &b->load, p->bias ? b->bias : NULL,
                    p->has_act ? &p->act : NULL, z, p->want_sums ? sums : NULL);
    check_blocked(z, p->z, u->n, u->out, u->oh * u->ow, k->block, 1e-5, describe(p, k->isa, "forward"));
    if (p->want_sums) {
        check_channel_sums(sums, p->sums, u->out, k->block, (double)u->n * u->oh * u->ow, describe(p, k->isa, "sums"));
    } else {
        free(sums);
    }
}

static void check_backward(const problem *p, const nas__kernels *k, const blocked *b) {
    const nas__unit *u = &p->u;
    const int in = padded(u->in, k->block), out = padded(u->out, k->block);
    float *dx = p->accumulate ? to_blocked(p->dx0, u->n, u->in, u->h * u->w, k->block)
                              : new_array((size_t)u->n * in * u->h * u->w);
    float *d_wd = new_array((size_t)in * taps(u)), *d_wp = new_array((size_t)u->in * out);
    double *sums = malloc((size_t)2 * in * sizeof(double));
    const nas__unit_grads g = {.x = b->x,
                               .load = &b->load,
                               .dz = &b->late,
                               .dx = p->want_dx ? dx : NULL,
                               .accumulate = p->accumulate,
                               .in_sums = p->want_dx && p->want_sums ? sums : NULL,
                               .d_depthwise = p->want_d_depthwise ? d_wd : NULL,
                               .d_pointwise = p->want_d_pointwise ? d_wp : NULL};
    k->unit_backward(&b->u, &g);
    const double count = (double)u->n * u->oh * u->ow;
    if (g.dx) {
        check_blocked(dx, p->dx, u->n, u->in, u->h * u->w, k->block, 2e-5, describe(p, k->isa, "dx"));
    } else {
        free(dx);
    }
    if (g.in_sums) {
        check_channel_sums(sums, p->in_sums, u->in, k->block, count * sqrt(u->out) * sqrt(taps(u)) + 10,
                           describe(p, k->isa, "in_sums"));
    } else {
        free(sums);
    }
    if (g.d_depthwise) {
        check_blocked(d_wd, p->d_wd, 1, u->in, taps(u), k->block, 2e-4, describe(p, k->isa, "d_depthwise"));
    } else {
        free(d_wd);
    }
    if (g.d_pointwise) {
        float *expected = padded_rows(p->d_wp, u->in, u->out, k->block);
        assert_floats_near(d_wp, expected, (size_t)u->in * out, 2e-4, describe(p, k->isa, "d_pointwise"));
        free_array(d_wp, (size_t)u->in * out);
        free(expected);
    } else {
        free(d_wp);
    }
}

static void random_options(problem *p, nas_rng *rng) {
    p->bias = chance(rng, 0.3);
    p->has_act = chance(rng, 0.3);
    p->act = (nas__on_load){.relu = chance(rng, 0.8), .cap = chance(rng, 0.5) ? 0.5F : 0};
    p->accumulate = chance(rng, 0.5);
    p->want_dx = chance(rng, 0.9);
    p->want_sums = chance(rng, 0.7);
    p->want_d_depthwise = chance(rng, 0.7);
    p->want_d_pointwise = p->pointwise && chance(rng, 0.7);
}

static float *channels(uint64_t seed, int c, bool wanted) { return wanted ? random_floats(seed, c) : NULL; }

static void random_coefficients(problem *p, nas_rng *rng, uint64_t seed) {
    const nas__unit *u = &p->u;
    const bool affine = chance(rng, 0.5), a = chance(rng, 0.7), b = a && chance(rng, 0.7), mask = chance(rng, 0.5);
    p->load.scale = channels(seed, u->in, affine);
    p->load.shift = channels(seed + 1, u->in, affine);
    p->load.relu = chance(rng, 0.6);
    p->load.cap = chance(rng, 0.3) ? 0.4F : 0;
    p->late.scale = chance(rng, 0.5) ? 1 : 0.75F;
    p->late.a = channels(seed + 2, u->out, a);
    p->late.b = channels(seed + 3, u->out, b);
    p->late.k = channels(seed + 4, u->out, b);
    p->late.masked = chance(rng, 0.4);
    p->late.mask_scale = channels(seed + 5, u->out, mask);
    p->late.mask_shift = channels(seed + 6, u->out, mask);
    p->late.cap = chance(rng, 0.3) ? 0.3F : 0;
}

static void make(problem *p, nas_rng *rng, uint64_t seed) {
    const nas__unit *u = &p->u;
    random_options(p, rng);
    random_coefficients(p, rng, seed);
    p->x = random_floats(seed + 10, in_size(u));
    p->wd = random_floats(seed + 11, (size_t)u->in * taps(u));
    p->wp = random_floats(seed + 12, (size_t)u->in * u->out);
    p->b = random_floats(seed + 13, u->out);
    p->g = random_floats(seed + 14, out_size(u));
    p->dx0 = random_floats(seed + 15, in_size(u));
    for (int i = 0; i < u->in * u->out; i++) {
        p->wp[i] /= sqrtf((float)u->in); /* values of a usual size */
    }
    p->z = malloc(out_size(u) * sizeof(float));
    p->dx = malloc(in_size(u) * sizeof(float));
    p->d_wd = malloc((size_t)u->in * taps(u) * sizeof(float));
    p->d_wp = malloc((size_t)u->in * u->out * sizeof(float));
    p->sums = calloc((size_t)2 * u->out, sizeof(double));
    p->in_sums = calloc((size_t)2 * u->in, sizeof(double));
}

static void free_problem(problem *p) {
    free(p->x), free(p->wd), free(p->wp), free(p->b), free(p->g), free(p->dx0), free(p->z), free(p->dx);
    free(p->d_wd), free(p->d_wp), free(p->sums), free(p->in_sums);
    free_coefficients(&p->load, &p->late);
}

static void check(problem *p, nas_rng *rng, uint64_t seed) {
    const nas__kernels *tables[3];
    make(p, rng, seed);
    reference(p);
    for (int t = 0, n = nas__usable_kernel_tables(tables); t < n; t++) {
        blocked b = to_table(p, tables[t]);
        check_forward(p, tables[t], &b);
        check_backward(p, tables[t], &b);
        free_blocked(&b);
    }
    free_problem(p);
}

static bool output_size(nas__unit *u) {
    const int h = u->h + 2 * u->pad_h - u->dilation * (u->kernel_h - 1) - 1;
    const int w = u->w + 2 * u->pad_w - u->dilation * (u->kernel_w - 1) - 1;
    u->oh = h / u->stride + 1;
    u->ow = w / u->stride + 1;
    return h >= 0 && w >= 0;
}

static int random_channels(nas_rng *rng) {
    static const int usual[] = {1, 3, 8, 16, 17, 32, 36, 40, 48};
    return usual[uniform_int(rng, 0, 8)];
}

static void random_shapes(void **state) {
    (void)state;
    nas_rng rng = nas_rng_new(12, 5);
    for (uint64_t i = 0; i < 700;) {
        problem p = {.pointwise = chance(&rng, 0.6)};
        nas__unit *u = &p.u;
        *u = (nas__unit){.n = uniform_int(&rng, 1, 3)};
        u->in = random_channels(&rng);
        u->out = p.pointwise ? random_channels(&rng) : u->in;
        const int largest = p.pointwise && u->in * u->out > 300 ? 12 : 33;
        u->h = uniform_int(&rng, 1, largest);
        u->w = uniform_int(&rng, 1, largest);
        u->kernel_h = uniform_int(&rng, 1, 7);
        u->kernel_w = uniform_int(&rng, 0, 2) ? u->kernel_h : uniform_int(&rng, 1, 7);
        u->stride = uniform_int(&rng, 1, 3);
        u->dilation = uniform_int(&rng, 1, 3);
        u->pad_h = uniform_int(&rng, 0, u->dilation * (u->kernel_h - 1));
        u->pad_w = uniform_int(&rng, 0, u->dilation * (u->kernel_w - 1));
        if (output_size(u)) {
            check(&p, &rng, 100 * i++);
        }
    }
}

/* The cases with code of their own, with 'same' padding, image sizes with and without a remainder; large enough for
 * several strips. */
static void check_usual(int kernel, int stride, int dilation, bool pointwise, nas_rng *rng, uint64_t seed) {
    static const int sizes[] = {7, 8, 14, 33};
    const int size = pointwise ? 32 : sizes[seed % 4];
    problem p = {.pointwise = pointwise};
    p.u = (nas__unit){.n = 2, .in = 36, .out = pointwise ? 20 : 36, .h = size, .w = size};
    p.u.kernel_h = p.u.kernel_w = kernel;
    p.u.stride = stride;
    p.u.dilation = dilation;
    p.u.pad_h = p.u.pad_w = dilation * (kernel - 1) / 2;
    assert_true(output_size(&p.u));
    check(&p, rng, 100 * seed);
}

static void usual_shapes(void **state) {
    (void)state;
    nas_rng rng = nas_rng_new(13, 5);
    uint64_t seed = 1000;
    for (int kernel = 1; kernel <= 7; kernel += 2) {
        for (int stride = 1; stride <= 2; stride++) {
            for (int dilation = 1; dilation <= 2; dilation++) {
                check_usual(kernel, stride, dilation, true, &rng, seed++);
                for (int i = 0; i < 4; i++) {
                    check_usual(kernel, stride, dilation, false, &rng, seed++);
                }
            }
        }
    }
}

/* Results do not depend on the number of threads. */
static void check_threads(bool pointwise) {
    const nas__kernels *tables[3];
    const int threads = omp_get_max_threads();
    nas_rng rng = nas_rng_new(14, 5);
    problem p = {.pointwise = pointwise};
    p.u = (nas__unit){
        .n = 37, .in = 17, .out = pointwise ? 33 : 17, .h = 9, .w = 9, .oh = 9, .ow = 9, .kernel_h = 3, .kernel_w = 3};
    p.u.stride = p.u.dilation = p.u.pad_h = p.u.pad_w = 1;
    make(&p, &rng, 200000);
    memset(p.z, 0, out_size(&p.u) * sizeof(float));
    for (int t = 0, n = nas__usable_kernel_tables(tables); t < n; t++) {
        const nas__kernels *k = tables[t];
        const int in = padded(p.u.in, k->block), out = padded(p.u.out, k->block);
        const size_t size[] = {(size_t)37 * out * 81, (size_t)37 * in * 81, (size_t)in * 9, (size_t)17 * out};
        blocked b = to_table(&p, k);
        float *got[2][4];
        double *sums[2][2];
        for (int run = 0; run < 2; run++) {
            for (int i = 0; i < 4; i++) {
                got[run][i] = new_array(size[i]);
            }
            sums[run][0] = malloc((size_t)2 * out * sizeof(double));
            sums[run][1] = malloc((size_t)2 * in * sizeof(double));
            omp_set_num_threads(run ? 3 : 1);
            k->unit_forward(&b.u, b.x, &b.load, NULL, NULL, got[run][0], sums[run][0]);
            k->unit_backward(&b.u, &(nas__unit_grads){.x = b.x,
                                                      .load = &b.load,
                                                      .dz = &b.late,
                                                      .dx = got[run][1],
                                                      .in_sums = sums[run][1],
                                                      .d_depthwise = got[run][2],
                                                      .d_pointwise = pointwise ? got[run][3] : NULL});
        }
        omp_set_num_threads(threads);
        for (int i = 0; i < 4; i++) {
            assert_memory_equal(got[0][i], got[1][i], size[i] * sizeof(float));
            free_array(got[0][i], size[i]), free_array(got[1][i], size[i]);
        }
        assert_memory_equal(sums[0][0], sums[1][0], (size_t)2 * out * sizeof(double));
        assert_memory_equal(sums[0][1], sums[1][1], (size_t)2 * in * sizeof(double));
        free(sums[0][0]), free(sums[0][1]), free(sums[1][0]), free(sums[1][1]);
        free_blocked(&b);
    }
    free_problem(&p);
}

static void threads_do_not_matter(void **state) {
    (void)state;
    check_threads(true);
    check_threads(false);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(usual_shapes),
        cmocka_unit_test(random_shapes),
        cmocka_unit_test(threads_do_not_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
