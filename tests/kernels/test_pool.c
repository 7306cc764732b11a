/* Global average pooling of every instruction set against plain loops in double. */
#include "blocked.h"

static void check(uint64_t seed, int n, int c, int hw) {
    const nas__kernels *tables[3];
    float *x = random_floats(seed, (size_t)n * c * hw), *mean = calloc((size_t)n * c, sizeof *mean);
    float *dx = malloc((size_t)n * c * hw * sizeof *dx);
    for (int plane = 0; plane < n * c; plane++) {
        double sum = 0;
        for (int s = 0; s < hw; s++) {
            sum += x[plane * hw + s];
        }
        mean[plane] = (float)(sum / hw);
        for (int s = 0; s < hw; s++) {
            dx[plane * hw + s] = mean[plane] / (float)hw;
        }
    }
    for (int t = 0, count = nas__usable_kernel_tables(tables); t < count; t++) {
        const int b = tables[t]->block;
        float *blocked = to_blocked(x, n, c, hw, b), *y = new_array((size_t)n * c);
        float *got = new_array((size_t)n * padded(c, b) * hw);
        tables[t]->global_pool_forward(n, c, hw, blocked, y);
        assert_floats_near(y, mean, (size_t)n * c, 1e-6, tables[t]->isa);
        tables[t]->global_pool_backward(n, c, hw, mean, got);
        check_blocked(got, dx, n, c, hw, b, 1e-7, tables[t]->isa);
        free_array(y, (size_t)n * c);
        free(blocked);
    }
    free(x), free(mean), free(dx);
}

static void random_shapes(void **state) {
    (void)state;
    nas_rng rng = nas_rng_new(12, 5);
    for (uint64_t i = 0; i < 500; i++) {
        check(i, uniform_int(&rng, 1, 5), uniform_int(&rng, 1, 40),
              uniform_int(&rng, 1, 33) * uniform_int(&rng, 1, 33));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_shapes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
