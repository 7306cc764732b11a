/* Global average pooling of every instruction set against plain loops in double. */
#include "blocked.h"

static void global(void **state) {
    (void)state;
    static const int shapes[][3] = {{3, 17, 49}, {1, 3, 1}, {2, 40, 2}, {5, 16, 64}, {1, 5, 1000}};
    const nas__kernels *tables[3];
    for (int i = 0; i < 5; i++) {
        const int n = shapes[i][0], c = shapes[i][1], hw = shapes[i][2];
        float *x = random_floats(i, (size_t)n * c * hw), *mean = calloc((size_t)n * c, sizeof *mean);
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
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(global),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
