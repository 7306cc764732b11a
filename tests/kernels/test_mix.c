/* The mixed operation's kernels of every instruction set against plain loops in double. */
#include "blocked.h"

#include <stdio.h>
#include <string.h>

enum { MOST = 35 };

/* Every third input is missing when `holes`. */
static void check(uint64_t seed, int n, size_t count, bool holes) {
    const nas__kernels *tables[3];
    float *x[MOST], *w = random_floats(100 * seed + 99, n), *plain_dy = random_floats(100 * seed + 98, count),
                    *dy = copy_array(plain_dy, count);
    double *sum = calloc(count + 1, sizeof *sum), dots[MOST] = {0}, got_dots[MOST];
    for (int i = 0; i < n; i++) {
        float *values = random_floats(100 * seed + i, count);
        x[i] = holes && i % 3 == 0 ? NULL : copy_array(values, count);
        for (size_t j = 0; j < count && x[i]; j++) {
            sum[j] += (double)w[i] * values[j];
            dots[i] += (double)dy[j] * values[j];
        }
        free(values);
    }
    float *expected = malloc((count + 1) * sizeof *expected);
    for (size_t j = 0; j < count; j++) {
        expected[j] = (float)sum[j];
    }
    for (int t = 0, tables_n = nas__usable_kernel_tables(tables); t < tables_n; t++) {
        char text[128];
        snprintf(text, sizeof text, "%s: %d inputs of %zu, holes %d", tables[t]->isa, n, count, holes);
        float *y = new_array(count);
        tables[t]->mix_forward(n, (const float *const *)x, w, count, y);
        assert_floats_near(y, expected, count, 2e-6, text);
        if (n <= 8 && x[n - 1]) { /* the result in an input's place */
            memcpy(y, x[n - 1], count * sizeof *y);
            float *own = x[n - 1];
            x[n - 1] = y;
            tables[t]->mix_forward(n, (const float *const *)x, w, count, y);
            x[n - 1] = own;
            assert_floats_near(y, expected, count, 2e-6, text);
        }
        free_array(y, count);
        tables[t]->mix_backward(n, (const float *const *)x, dy, count, got_dots);
        for (int i = 0; i < n; i++) {
            if (!(fabs(got_dots[i] - dots[i]) <= 1e-6 * sqrt((double)count))) {
                fail_msg("%s: product %d is %.9g instead of %.9g", text, i, got_dots[i], dots[i]);
            }
        }
    }
    for (int i = 0; i < n; i++) {
        free(x[i]);
    }
    free(w), free(plain_dy), free(dy), free(sum), free(expected);
}

static void all_numbers_of_inputs(void **state) {
    (void)state;
    for (int n = 1; n <= MOST; n++) {
        check(n, n, 4096 + 16 * 3 + 5, n % 2);
    }
}

static void all_tails(void **state) {
    (void)state;
    for (size_t count = 0; count <= 70; count++) {
        check(count, 5, count, count % 2);
    }
    check(0, 3, 100003, true); /* enough for several threads */
}

/* As tensors have them: images of 1 to 33 pixels a side, channels that fill no block. */
static void random_shapes(void **state) {
    (void)state;
    nas_rng rng = nas_rng_new(13, 5);
    for (uint64_t i = 0; i < 500; i++) {
        const int n = uniform_int(&rng, 1, MOST), side = uniform_int(&rng, 1, n > 8 ? 9 : 33);
        const size_t count = (size_t)uniform_int(&rng, 1, 40) * (size_t)side * (size_t)uniform_int(&rng, 1, side);
        check(i, n, count, uniform_int(&rng, 0, 1));
    }
}

static void threads_do_not_matter(void **state) {
    (void)state;
    const nas__kernels *tables[3];
    const size_t count = 100003;
    const int threads = omp_get_max_threads();
    float *values = random_floats(1, count), *x = copy_array(values, count);
    const float *inputs[] = {x, x, NULL, x, x, x};
    for (int t = 0, n = nas__usable_kernel_tables(tables); t < n; t++) {
        double one[6], three[6];
        omp_set_num_threads(1);
        tables[t]->mix_backward(6, inputs, x, count, one);
        omp_set_num_threads(3);
        tables[t]->mix_backward(6, inputs, x, count, three);
        omp_set_num_threads(threads);
        assert_memory_equal(one, three, sizeof one);
        assert_true(one[2] == 0);
    }
    free(values), free(x);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_numbers_of_inputs),
        cmocka_unit_test(all_tails),
        cmocka_unit_test(random_shapes),
        cmocka_unit_test(threads_do_not_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
