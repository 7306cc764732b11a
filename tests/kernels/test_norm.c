/* Statistics of batch norm by every instruction set against plain loops in double. */
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

static void threads_do_not_matter(void **state) {
    (void)state;
    const nas__kernels *tables[3];
    const int n = 37, c = 17, hw = 100, threads = omp_get_max_threads();
    float *plain = random_floats(1, (size_t)n * c * hw);
    for (int t = 0, count = nas__usable_kernel_tables(tables); t < count; t++) {
        const int b = tables[t]->block, p = padded(c, b);
        float *x = to_blocked(plain, n, c, hw, b), *out[2];
        for (int i = 0; i < 2; i++) {
            omp_set_num_threads(i ? 3 : 1);
            out[i] = new_array(2 * (size_t)p);
            tables[t]->bn_stats(n, c, hw, x, out[i], out[i] + p);
        }
        omp_set_num_threads(threads);
        assert_memory_equal(out[0], out[1], 2 * (size_t)p * sizeof(float));
        free(x), free(out[0]), free(out[1]);
    }
    free(plain);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(statistics),
        cmocka_unit_test(statistics_far_from_zero),
        cmocka_unit_test(threads_do_not_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
