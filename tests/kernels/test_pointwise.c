/* 1x1 convolutions of every instruction set against plain loops in double, over random shapes and options. */
#include "late_reference.h"

#include <stdio.h>

/* One random problem in plain layout; several parts lie behind one another. */
typedef struct problem {
    nas__pointwise p;
    nas__on_load load, act;
    nas__late_grad late;
    bool no_load, bias, has_act, no_dx, want_sums, want_in_sums, want_weights;
    bool accumulate[NAS__MOST_PARTS], want_dx[NAS__MOST_PARTS];
    float *x, *w, *b, *g, *z_of_g, *before; /* inputs; x and before: [parts][n][in][h][w]; w: [parts*in][out] */
    float *z, *dx, *dw;                     /* expected */
    double *sums, *in_sums;                 /* [2][out]; [2][in] of the first part */
} problem;

static size_t in_all(const nas__pointwise *p) { return (size_t)p->parts * p->in; }
static size_t part_size(const nas__pointwise *p) { return (size_t)p->n * p->in * p->h * p->w; }
static size_t in_size(const nas__pointwise *p) { return p->parts * part_size(p); }
static size_t out_size(const nas__pointwise *p) { return (size_t)p->n * p->out * p->oh * p->ow; }

/* --- what is expected ---------------------------------------------------------------------------------- */
/* Where the input pixel of output pixel o of channel i (of all parts) of an image lies. */
static size_t place(const nas__pointwise *p, int image, int i, int o) {
    const size_t plane = ((size_t)i / p->in * p->n + image) * p->in + i % p->in;
    return (plane * p->h + o / p->ow * p->stride + p->top) * p->w + o % p->ow * p->stride + p->left;
}

static void forward(problem *p, int image, const double *values) {
    const nas__pointwise *s = &p->p;
    const int ohw = s->oh * s->ow;
    double *row = malloc(ohw * sizeof *row);
    for (int o = 0; o < s->out; o++) {
        for (int pixel = 0; pixel < ohw; pixel++) {
            row[pixel] = p->bias ? (double)p->b[o] : 0;
        }
        for (size_t i = 0; i < in_all(s); i++) {
            const double w = p->w[i * s->out + o];
            for (int pixel = 0; pixel < ohw; pixel++) {
                row[pixel] += w * values[i * ohw + pixel];
            }
        }
        for (int pixel = 0; pixel < ohw; pixel++) {
            const double z = p->has_act ? activate(&p->act, row[pixel]) : row[pixel];
            p->z[((size_t)image * s->out + o) * ohw + pixel] = (float)z;
            p->sums[o] += z;
            p->sums[s->out + o] += z * z;
        }
    }
    free(row);
}

/* Adds to d_values[all channels][pixels] and dw. */
static void multiply_back(const problem *p, int image, const double *values, double *d_values, double *dw) {
    const nas__pointwise *s = &p->p;
    const int ohw = s->oh * s->ow;
    double *t = malloc(ohw * sizeof *t);
    for (int o = 0; o < s->out; o++) {
        for (int pixel = 0; pixel < ohw; pixel++) {
            const size_t at = ((size_t)image * s->out + o) * ohw + pixel;
            t[pixel] = late_reference(&p->late, o, p->g[at], p->z_of_g[at]);
        }
        for (size_t i = 0; i < in_all(s); i++) {
            const double w = p->w[i * s->out + o];
            double sum = 0;
            for (int pixel = 0; pixel < ohw; pixel++) {
                d_values[i * ohw + pixel] += w * t[pixel];
                sum += values[i * ohw + pixel] * t[pixel];
            }
            dw[i * s->out + o] += sum;
        }
    }
    free(t);
}

static void give_back(problem *p, int image, const double *d_values) {
    const nas__pointwise *s = &p->p;
    const int ohw = s->oh * s->ow;
    for (int i = 0; i < (int)in_all(s); i++) {
        for (int pixel = 0; pixel < ohw; pixel++) {
            const size_t at = place(s, image, i, pixel);
            const bool open = !p->load.relu || passes(before_act(&p->load, i, p->x[at]), p->load.cap);
            const double d = open ? d_values[(size_t)i * ohw + pixel] : 0;
            p->dx[at] = (float)(d + (p->accumulate[i / s->in] ? (double)p->before[at] : 0));
            if (i < s->in) {
                p->in_sums[i] += d;
                p->in_sums[s->in + i] += d * (double)p->x[at];
            }
        }
    }
}

static void reference(problem *p) {
    const nas__pointwise *s = &p->p;
    const int ohw = s->oh * s->ow;
    double *values = malloc(in_all(s) * ohw * sizeof *values), *dw = calloc(in_all(s) * s->out, sizeof *dw);
    for (size_t i = 0; i < in_size(s); i++) {
        p->dx[i] = p->accumulate[i / part_size(s)] ? p->before[i] : 0;
    }
    for (int image = 0; image < s->n; image++) {
        double *d_values = calloc(in_all(s) * ohw, sizeof *d_values);
        for (size_t i = 0; i < in_all(s) * ohw; i++) {
            const int c = (int)(i / ohw);
            values[i] = activate(&p->load, before_act(&p->load, c, p->x[place(s, image, c, (int)(i % ohw))]));
        }
        forward(p, image, values);
        multiply_back(p, image, values, d_values, dw);
        give_back(p, image, d_values);
        free(d_values);
    }
    for (size_t i = 0; i < in_all(s) * s->out; i++) {
        p->dw[i] = (float)dw[i];
    }
    free(values), free(dw);
}

/* --- the problem in the layout of one table, and what comes of it ------------------------------------- */
typedef struct blocked {
    nas__pointwise p;
    nas__on_load load;
    nas__late_grad late;
    float *x[NAS__MOST_PARTS], *weights, *weights_t, *bias, *g, *z;
} blocked;

typedef struct results {
    size_t z_size, part_size, dw_size;
    float *z, *dx[NAS__MOST_PARTS], *dw; /* dx: NULL where not wanted */
    double *sums, *in_sums;
} results;

static blocked to_table(const problem *p, const nas__kernels *k) {
    const nas__pointwise *s = &p->p;
    const int block = k->block, all = (int)in_all(s);
    float *wt = transposed(p->w, all, s->out);
    blocked b = {.p = *s, .load = load_to_blocked(&p->load, s->parts, s->in, block)};
    for (int part = 0; part < s->parts; part++) {
        b.x[part] = to_blocked(p->x + part * part_size(s), s->n, s->in, s->h * s->w, block);
    }
    b.g = to_blocked(p->g, s->n, s->out, s->oh * s->ow, block);
    b.z = to_blocked(p->z_of_g, s->n, s->out, s->oh * s->ow, block);
    b.late = late_to_blocked(&p->late, s->out, block, b.g, b.z);
    b.bias = channel_array(p->b, s->out, block);
    b.weights = to_panels(padded_rows(p->w, all, s->out, block), all, padded(s->out, block), k->panel * block);
    b.weights_t = to_panels(padded_rows(wt, s->out * s->parts, s->in, block), s->out, s->parts * padded(s->in, block),
                            k->panel * block);
    free(wt);
    return b;
}

static void free_blocked(blocked *b) {
    for (int part = 0; part < b->p.parts; part++) {
        free(b->x[part]);
    }
    free(b->weights), free(b->weights_t), free(b->bias), free(b->g), free(b->z);
    free_coefficients(&b->load, &b->late);
}

static results new_results(const problem *p, int block) {
    const nas__pointwise *s = &p->p;
    const int in = padded(s->in, block), out = padded(s->out, block);
    results r = {.z_size = (size_t)s->n * out * s->oh * s->ow,
                 .part_size = (size_t)s->n * in * s->h * s->w,
                 .dw_size = in_all(s) * out};
    r.z = new_array(r.z_size);
    for (int part = 0; part < s->parts && !p->no_dx; part++) {
        const float *before = p->before + part * part_size(s);
        r.dx[part] = !p->want_dx[part]     ? NULL
                     : p->accumulate[part] ? to_blocked(before, s->n, s->in, s->h * s->w, block)
                                           : new_array(r.part_size);
    }
    r.dw = p->want_weights ? new_array(r.dw_size) : NULL;
    r.sums = p->want_sums ? calloc((size_t)2 * out, sizeof(double)) : NULL;
    r.in_sums = p->want_in_sums ? calloc((size_t)2 * in, sizeof(double)) : NULL;
    return r;
}

static results run(const problem *p, const nas__kernels *k, const blocked *b) {
    results r = new_results(p, k->block);
    const float *x[NAS__MOST_PARTS];
    memcpy(x, b->x, sizeof x);
    const nas__on_load *load = p->no_load ? NULL : &b->load;
    nas__pointwise s = b->p;
    s.weights = b->weights;
    k->pointwise_forward(&s, x, load, p->bias ? b->bias : NULL, p->has_act ? &p->act : NULL, r.z, r.sums);
    s.weights = NULL;
    s.weights_t = p->no_dx ? NULL : b->weights_t;
    k->pointwise_backward(&s, &(nas__pointwise_grads){.x = x,
                                                      .load = load,
                                                      .dz = &b->late,
                                                      .dx = p->no_dx ? NULL : r.dx,
                                                      .accumulate = p->no_dx ? NULL : p->accumulate,
                                                      .in_sums = r.in_sums,
                                                      .d_weights = r.dw});
    assert_no_error();
    return r;
}

/* --- comparisons ---------------------------------------------------------------------------------------- */
static const char *describe(const problem *p, const char *isa, const char *what) {
    static char text[512];
    const nas__pointwise *s = &p->p;
    snprintf(text, sizeof text,
             "%s %s: n %d %dx%d -> %d, %dx%d -> %dx%d stride %d from %d,%d load %d%d relu %d cap %g bias %d act %d%d "
             "late %d%d%d",
             isa, what, s->n, s->parts, s->in, s->out, s->h, s->w, s->oh, s->ow, s->stride, s->top, s->left,
             !p->no_load, p->load.scale != NULL, p->load.relu, (double)p->load.cap, p->bias, p->has_act, p->act.relu,
             p->late.a != NULL, p->late.b != NULL, p->late.masked);
    return text;
}

static void check_backward(const problem *p, const nas__kernels *k, results *r) {
    const nas__pointwise *s = &p->p;
    for (int part = 0; part < s->parts; part++) {
        if (r->dx[part]) {
            check_blocked(r->dx[part], p->dx + part * part_size(s), s->n, s->in, s->h * s->w, k->block, 2e-5,
                          describe(p, k->isa, p->accumulate[part] ? "dx +=" : "dx"));
        }
    }
    if (r->in_sums) {
        check_channel_sums(r->in_sums, p->in_sums, s->in, k->block, sqrt((double)s->n * s->oh * s->ow) + 1,
                           describe(p, k->isa, "in_sums"));
    }
    if (r->dw) {
        float *expected = padded_rows(p->dw, (int)in_all(s), s->out, k->block);
        assert_floats_near(r->dw, expected, r->dw_size, 5e-5, describe(p, k->isa, "d_weights"));
        free_array(r->dw, r->dw_size);
        free(expected);
    }
}

static void check_results(const problem *p, const nas__kernels *k, results *r) {
    const nas__pointwise *s = &p->p;
    check_blocked(r->z, p->z, s->n, s->out, s->oh * s->ow, k->block, 1e-5, describe(p, k->isa, "forward"));
    if (r->sums) {
        check_channel_sums(r->sums, p->sums, s->out, k->block, (double)s->n * s->oh * s->ow,
                           describe(p, k->isa, "sums"));
    }
    check_backward(p, k, r);
}

/* --- random problems ------------------------------------------------------------------------------------ */
static void make(problem *p, nas_rng *rng) {
    const nas__pointwise *s = &p->p;
    const double unit = 1 / sqrt((double)s->n * s->oh * s->ow);
    p->load = random_load(rng, (int)in_all(s));
    p->no_load = !p->load.scale && !p->load.relu && coin(rng);
    p->act = (nas__on_load){.relu = coin(rng), .cap = coin(rng) ? 0.5F : 0};
    p->late = random_late(rng, s->out, unit);
    p->bias = coin(rng);
    p->has_act = coin(rng);
    p->no_dx = uniform_int(rng, 0, 7) == 0;
    p->want_sums = coin(rng);
    p->want_in_sums = s->parts == 1 && !p->no_dx && coin(rng);
    p->want_weights = uniform_int(rng, 0, 3) > 0;
    for (int part = 0; part < s->parts; part++) {
        p->want_dx[part] = p->want_in_sums || uniform_int(rng, 0, 4) > 0;
        p->accumulate[part] = coin(rng);
    }
    p->x = eighths(rng, in_size(s), 16);
    p->w = scaled(rng, in_all(s) * s->out, 1 / sqrt((double)in_all(s)));
    p->b = scaled(rng, (size_t)s->out, 1);
    p->g = scaled(rng, out_size(s), unit);
    p->z_of_g = eighths(rng, out_size(s), 16);
    p->before = scaled(rng, in_size(s), 1);
    p->z = malloc(out_size(s) * sizeof(float));
    p->dx = malloc(in_size(s) * sizeof(float));
    p->dw = malloc(in_all(s) * s->out * sizeof(float));
    p->sums = calloc((size_t)2 * s->out, sizeof(double));
    p->in_sums = calloc((size_t)2 * s->in, sizeof(double));
}

static void free_problem(problem *p) {
    free(p->x), free(p->w), free(p->b), free(p->g), free(p->z_of_g), free(p->before);
    free(p->z), free(p->dx), free(p->dw), free(p->sums), free(p->in_sums);
    free_coefficients(&p->load, &p->late);
}

static void check(nas__pointwise shape, nas_rng *rng) {
    const nas__kernels *tables[3];
    problem p = {.p = shape};
    make(&p, rng);
    reference(&p);
    for (int t = 0, n = nas__usable_kernel_tables(tables); t < n; t++) {
        blocked b = to_table(&p, tables[t]);
        results r = run(&p, tables[t], &b);
        check_results(&p, tables[t], &r);
        free_blocked(&b);
    }
    free_problem(&p);
}

static int random_output(nas_rng *rng, int size, int first, int stride) {
    const int most = (size - 1 - first) / stride + 1;
    return uniform_int(rng, 0, 3) ? most : uniform_int(rng, 1, most);
}

/* Half of them read every pixel. */
static nas__pointwise random_shape(nas_rng *rng) {
    for (;;) {
        nas__pointwise p = {.n = uniform_int(rng, 1, uniform_int(rng, 0, 7) ? 3 : 20), .stride = 1};
        p.parts = coin(rng) ? 1 : uniform_int(rng, 2, 5);
        p.in = uniform_int(rng, 1, coin(rng) ? 70 : 12);
        p.out = uniform_int(rng, 1, coin(rng) ? 70 : 12);
        p.oh = p.h = uniform_int(rng, 1, 33);
        p.ow = p.w = uniform_int(rng, 1, 33);
        if (coin(rng)) {
            p.stride = uniform_int(rng, 1, 3);
            p.top = uniform_int(rng, 0, p.h > 3 && coin(rng) ? 2 : p.h - 1);
            p.left = uniform_int(rng, 0, p.w > 3 && coin(rng) ? 2 : p.w - 1);
            p.oh = random_output(rng, p.h, p.top, p.stride);
            p.ow = random_output(rng, p.w, p.left, p.stride);
        }
        if ((double)out_size(&p) * (double)in_all(&p) < 1.5e6) {
            return p;
        }
    }
}

static void random_shapes(void **state) {
    (void)state;
    nas_rng rng = nas_rng_new(15, 5);
    for (int i = 0; i < 500; i++) {
        check(random_shape(&rng), &rng);
    }
}

/* More strips than groups, whose number depends on that of the weights; several images in a strip, the last one with
 * fewer. */
static const nas__pointwise large[] = {
    {.n = 40, .parts = 5, .in = 70, .out = 70, .h = 2, .w = 2, .oh = 2, .ow = 2, .stride = 1},
    {.n = 20, .parts = 1, .in = 512, .out = 256, .h = 1, .w = 1, .oh = 1, .ow = 1, .stride = 1},
    {.n = 150, .parts = 1, .in = 3, .out = 5, .h = 5, .w = 5, .oh = 3, .ow = 2, .stride = 2, .left = 1},
    {.n = 3, .parts = 1, .in = 65, .out = 17, .h = 33, .w = 33, .oh = 33, .ow = 33, .stride = 1},
    {.n = 83, .parts = 1, .in = 20, .out = 40, .h = 3, .w = 5, .oh = 3, .ow = 5, .stride = 1},
    {.n = 37, .parts = 2, .in = 17, .out = 33, .h = 9, .w = 9, .oh = 4, .ow = 4, .stride = 2, .top = 1, .left = 1}};

enum { LARGE = sizeof large / sizeof *large };

static void large_shapes(void **state) {
    (void)state;
    nas_rng rng = nas_rng_new(16, 5);
    for (int i = 0; i < 3 * LARGE; i++) {
        check(large[i % LARGE], &rng);
    }
}

/* --- threads -------------------------------------------------------------------------------------------- */
static void check_same(const problem *p, results *one, results *other, int block) {
    const nas__pointwise *s = &p->p;
    assert_memory_equal(one->z, other->z, one->z_size * sizeof(float));
    for (int part = 0; part < s->parts; part++) {
        if (one->dx[part]) {
            assert_memory_equal(one->dx[part], other->dx[part], one->part_size * sizeof(float));
        }
        free(one->dx[part]), free(other->dx[part]);
    }
    if (one->dw) {
        assert_memory_equal(one->dw, other->dw, one->dw_size * sizeof(float));
    }
    if (one->sums) {
        assert_memory_equal(one->sums, other->sums, 2 * sizeof(double) * padded(s->out, block));
    }
    if (one->in_sums) {
        assert_memory_equal(one->in_sums, other->in_sums, 2 * sizeof(double) * padded(s->in, block));
    }
    free(one->z), free(one->dw), free(one->sums), free(one->in_sums);
    free(other->z), free(other->dw), free(other->sums), free(other->in_sums);
}

static void threads_do_not_matter(void **state) {
    (void)state;
    const nas__kernels *tables[3];
    const int threads = omp_get_max_threads();
    nas_rng rng = nas_rng_new(17, 5);
    for (int i = 0; i < 20 + 3 * LARGE; i++) {
        problem p = {.p = i < 20 ? random_shape(&rng) : large[i % LARGE]};
        make(&p, &rng);
        for (int t = 0, n = nas__usable_kernel_tables(tables); t < n; t++) {
            blocked b = to_table(&p, tables[t]);
            omp_set_num_threads(1);
            results one = run(&p, tables[t], &b);
            omp_set_num_threads(3);
            results three = run(&p, tables[t], &b);
            omp_set_num_threads(threads);
            check_same(&p, &one, &three, tables[t]->block);
            free_blocked(&b);
        }
        free_problem(&p);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_shapes),
        cmocka_unit_test(large_shapes),
        cmocka_unit_test(threads_do_not_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
