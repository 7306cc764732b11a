/* Batch-norm kernels of every instruction set against plain loops in double. */
#include "blocked.h"

#include <stdio.h>

typedef struct shape {
    int n, c, hw;
} shape;

static const shape shapes[] = {{1, 1, 1},   {4, 17, 49},   {3, 40, 1},   {2, 3, 65},
                               {130, 5, 7}, {16, 16, 256}, {1, 33, 200}, {9, 20, 130}};
enum { SHAPES = sizeof shapes / sizeof *shapes, RANDOM = 500 };

/* The listed shapes, then random ones. */
static shape shape_at(nas_rng *rng, int i) {
    return i < SHAPES ? shapes[i]
                      : (shape){uniform_int(rng, 1, 4), uniform_int(rng, 1, 40),
                                uniform_int(rng, 1, 33) * uniform_int(rng, 1, 33)};
}

static void moments(int n, int c, int hw, const float *x, float *mean, float *var) {
    for (int ch = 0; ch < c; ch++) {
        double sum = 0, squares = 0;
        for (int i = 0; i < n * hw; i++) {
            sum += x[((size_t)(i / hw) * c + ch) * hw + i % hw];
        }
        const double m = sum / n / hw;
        for (int i = 0; i < n * hw; i++) {
            const double d = x[((size_t)(i / hw) * c + ch) * hw + i % hw] - m;
            squares += d * d;
        }
        mean[ch] = (float)m;
        var[ch] = (float)(squares / n / hw);
    }
}

/* Compares relative to each value, which assert_floats_near does not do for small ones. */
static void assert_relative(const float *got, const float *expected, int count, double tolerance, const char *what) {
    for (int i = 0; i < count; i++) {
        if (!(fabs((double)got[i] - expected[i]) <= tolerance * fabs((double)expected[i]))) {
            fail_msg("%s: element %d of %d is %.9g instead of %.9g", what, i, count, (double)got[i],
                     (double)expected[i]);
        }
    }
}

static void check_stats(int n, int c, int hw, const float *x, double tolerance) {
    const nas__kernels *tables[3];
    float *mean = malloc(c * sizeof *mean), *var = malloc(c * sizeof *var);
    moments(n, c, hw, x, mean, var);
    for (int t = 0, count = nas__usable_kernel_tables(tables); t < count; t++) {
        const int b = tables[t]->block, p = padded(c, b);
        char text[128];
        snprintf(text, sizeof text, "%s statistics of (%d, %d, %d)", tables[t]->isa, n, c, hw);
        float *blocked = to_blocked(x, n, c, hw, b), *got_mean = new_array(p), *got_var = new_array(p);
        tables[t]->bn_stats(n, c, hw, blocked, got_mean, got_var);
        assert_relative(got_var, var, c, tolerance, text);
        check_blocked(got_mean, mean, 1, c, 1, b, 1e-6, text);
        check_blocked(got_var, var, 1, c, 1, b, tolerance, text);
        free(blocked);
    }
    free(mean), free(var);
}

static void statistics(void **state) {
    (void)state;
    nas_rng rng = nas_rng_new(15, 5);
    for (int i = 0; i < SHAPES + RANDOM; i++) {
        const shape s = shape_at(&rng, i);
        float *x = random_floats(i, (size_t)s.n * s.c * s.hw);
        check_stats(s.n, s.c, s.hw, x, 1e-5);
        free(x);
    }
}

/* A mean thousands of standard deviations away, and a first pixel unlike all others, must not spoil the variance. */
static void statistics_far_from_zero(void **state) {
    (void)state;
    const int n = 8, c = 5, hw = 100;
    float *x = random_floats(3, (size_t)n * c * hw);
    for (int i = 0; i < n * c * hw; i++) {
        x[i] = 3000 + x[i];
    }
    check_stats(n, c, hw, x, 1e-5);
    x[0] = x[hw] = -3000;
    check_stats(n, c, hw, x, 1e-5);
    free(x);
}

typedef struct problem {
    int n, c, hw;
    bool relu;
    float dy_scale;
    float *x, *dy;                           /* (n, c, hw) */
    float *mean, *scale, *shift, *a, *b, *k; /* c */
} problem;

static problem make_problem(shape s, int i, bool relu) {
    problem p = {s.n, s.c, s.hw, relu, i % 2 ? 1 : 0.37f};
    const size_t count = (size_t)p.n * p.c * p.hw;
    p.x = random_floats(10 * i, count);
    p.dy = random_floats(10 * i + 1, count);
    float **coefficients[] = {&p.mean, &p.scale, &p.shift, &p.a, &p.b, &p.k};
    for (int j = 0; j < 6; j++) {
        *coefficients[j] = random_floats(10 * i + 2 + j, p.c);
    }
    return p;
}

static void free_problem(problem *p) {
    free(p->x), free(p->dy), free(p->mean), free(p->scale), free(p->shift), free(p->a), free(p->b), free(p->k);
}

static int channel_of(const problem *p, size_t i) { return (int)(i / p->hw % p->c); }

static double normalised(const problem *p, size_t i) {
    return (double)p->scale[channel_of(p, i)] * p->x[i] + p->shift[channel_of(p, i)];
}

static double gradient(const problem *p, size_t i) {
    return p->relu && normalised(p, i) <= 0 ? 0 : (double)p->dy_scale * p->dy[i];
}

static void check_table(const problem *p, const nas__kernels *k, const float *y, const float *dx, const float *sum_g,
                        const float *sum_gx) {
    const int b = k->block, n = p->n, c = p->c, hw = p->hw, pc = padded(c, b);
    const size_t count = (size_t)n * pc * hw;
    char text[128];
    snprintf(text, sizeof text, "%s (%d, %d, %d) relu %d", k->isa, n, c, hw, p->relu);
    float *x = to_blocked(p->x, n, c, hw, b), *dy = to_blocked(p->dy, n, c, hw, b);
    const float *plain[] = {p->mean, p->scale, p->shift, p->a, p->b, p->k};
    float *rows[6];
    for (int i = 0; i < 6; i++) {
        rows[i] = channel_array(plain[i], c, b);
    }
    float *got = new_array(count), *got_g = new_array(pc), *got_gx = new_array(pc);
    k->bn_apply(n, c, hw, x, rows[1], rows[2], p->relu, got);
    check_blocked(got, y, n, c, hw, b, 1e-6, text);
    k->bn_backward_sums(n, c, hw, x, dy, p->dy_scale, rows[0], rows[1], rows[2], p->relu, got_g, got_gx);
    check_blocked(got_g, sum_g, 1, c, 1, b, 1e-5, text);
    check_blocked(got_gx, sum_gx, 1, c, 1, b, 1e-5, text);
    got = new_array(count);
    k->bn_backward_apply(n, c, hw, x, dy, p->dy_scale, rows[1], rows[2], p->relu, rows[3], rows[4], rows[5], got);
    check_blocked(got, dx, n, c, hw, b, 1e-6, text);
    for (int i = 0; i < 6; i++) {
        free(rows[i]);
    }
    free(x), free(dy);
}

static void check_passes(problem *p) {
    const nas__kernels *tables[3];
    const size_t count = (size_t)p->n * p->c * p->hw;
    float *y = malloc(count * sizeof *y), *dx = malloc(count * sizeof *dx);
    float *sum_g = malloc(p->c * sizeof *sum_g), *sum_gx = malloc(p->c * sizeof *sum_gx);
    double *g = calloc(p->c, sizeof *g), *gx = calloc(p->c, sizeof *gx);
    for (size_t i = 0; i < count; i++) {
        const int ch = channel_of(p, i);
        if (fabs(normalised(p, i)) < 1e-6) {
            p->x[i] += 0.01f; /* f32 may see the other side of ReLU's corner */
        }
        y[i] = (float)(p->relu ? fmax(normalised(p, i), 0) : normalised(p, i));
        dx[i] = (float)(p->a[ch] * gradient(p, i) + (double)p->b[ch] * p->x[i] + p->k[ch]);
        g[ch] += gradient(p, i);
        gx[ch] += gradient(p, i) * ((double)p->x[i] - p->mean[ch]);
    }
    for (int ch = 0; ch < p->c; ch++) {
        sum_g[ch] = (float)g[ch];
        sum_gx[ch] = (float)gx[ch];
    }
    for (int t = 0, n = nas__usable_kernel_tables(tables); t < n; t++) {
        check_table(p, tables[t], y, dx, sum_g, sum_gx);
    }
    free(y), free(dx), free(sum_g), free(sum_gx), free(g), free(gx);
}

static void passes(void **state) {
    (void)state;
    nas_rng rng = nas_rng_new(16, 5);
    for (int i = 0; i < SHAPES + RANDOM; i++) {
        problem p = make_problem(shape_at(&rng, i), i, i / 2 % 2);
        check_passes(&p);
        free_problem(&p);
    }
}

static void threads_do_not_matter(void **state) {
    (void)state;
    const nas__kernels *tables[3];
    const int n = 37, c = 17, hw = 100, threads = omp_get_max_threads();
    float *plain = random_floats(1, (size_t)n * c * hw), *plain_dy = random_floats(2, (size_t)n * c * hw);
    for (int t = 0, count = nas__usable_kernel_tables(tables); t < count; t++) {
        const int b = tables[t]->block, p = padded(c, b);
        float *x = to_blocked(plain, n, c, hw, b), *dy = to_blocked(plain_dy, n, c, hw, b), *out[2];
        for (int i = 0; i < 2; i++) {
            omp_set_num_threads(i ? 3 : 1);
            out[i] = new_array(4 * (size_t)p);
            tables[t]->bn_stats(n, c, hw, x, out[i], out[i] + p);
            tables[t]->bn_backward_sums(n, c, hw, x, dy, 1, out[i], out[i] + p, out[i], true, out[i] + 2 * p,
                                        out[i] + 3 * p);
        }
        omp_set_num_threads(threads);
        assert_memory_equal(out[0], out[1], 4 * (size_t)p * sizeof(float));
        free(x), free(dy), free(out[0]), free(out[1]);
    }
    free(plain), free(plain_dy);
}

/* A NaN in an activation must not disappear in the fused ReLU. */
static void not_a_number_stays(void **state) {
    (void)state;
    const nas__kernels *tables[3];
    for (int t = 0, n = nas__usable_kernel_tables(tables); t < n; t++) {
        float one = 1, *x = channel_array(&one, 1, tables[t]->block), *y = new_array(tables[t]->block);
        x[0] = NAN;
        float *scale = channel_array(&one, 1, tables[t]->block), *shift = channel_array(&one, 1, tables[t]->block);
        tables[t]->bn_apply(1, 1, 1, x, scale, shift, true, y);
        assert_true(isnan(y[0]));
        free(x), free(y), free(scale), free(shift);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(statistics),
        cmocka_unit_test(statistics_far_from_zero),
        cmocka_unit_test(passes),
        cmocka_unit_test(threads_do_not_matter),
        cmocka_unit_test(not_a_number_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
