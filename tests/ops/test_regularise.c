/* Dropout and drop-path: statistics, determinism, when they are off, bad probabilities. */
#include "tape_fixture.h"

#include "tensor/tensor.h"

#include <math.h>

enum { N = 50, C = 17, HW = 120, COUNT = N * C * HW };
static float got[COUNT], other[COUNT];

static void begin(uint64_t seed, uint64_t step) {
    nas_tape_begin(tape, &(nas_tape_config){.training = true, .seed = seed, .step = step, .drop_path = 0.25});
}

static nas_tensor *twos(nas__layout layout) {
    for (int i = 0; i < COUNT; i++) {
        other[i] = 2;
    }
    return nas__as(nas_input(NAS_DIMS(N, C, 10, 12), other), layout);
}

static void dropout(uint64_t seed, uint64_t step, float p, nas__layout layout, float *values) {
    begin(seed, step);
    assert_int_equal(nas_tensor_read(nas_dropout(twos(layout), p), values), NAS_OK);
}

static int survivors(const float *values, double scaled) {
    int n = 0;
    for (int i = 0; i < COUNT; i++) {
        n += values[i] != 0;
        assert_true(values[i] == 0 || fabs(values[i] - scaled) < 1e-6);
    }
    return n;
}

static void dropout_statistics(void **state) {
    (void)state;
    for (int blocked = 0; blocked < 2; blocked++) {
        dropout(1, 1, 0.3f, blocked ? NAS__BLOCKED : NAS__PLAIN, got);
        assert_true(fabs(survivors(got, 2 / 0.7) - 0.7 * COUNT) < 5 * sqrt(0.21 * COUNT));
    }
    int pairs = 0; /* neighbours fall independently */
    for (int i = 1; i < COUNT; i++) {
        pairs += got[i] != 0 && got[i - 1] != 0;
    }
    assert_true(fabs(pairs - 0.49 * COUNT) < 8 * sqrt(0.25 * COUNT));
}

static void dropout_repeats(void **state) {
    (void)state;
    int threads = nas_threads();
    static float again[COUNT];
    dropout(1, 1, 0.3f, NAS__PLAIN, got);
    nas_set_threads(1);
    dropout(1, 1, 0.3f, NAS__PLAIN, again);
    nas_set_threads(threads);
    assert_memory_equal(got, again, sizeof got);
    for (int i = 0; i < 2; i++) {
        dropout(1 + (uint64_t)i, 2 - (uint64_t)i, 0.3f, NAS__PLAIN, again); /* another step, another seed */
        int same = 0;
        for (int k = 0; k < COUNT; k++) {
            same += (got[k] != 0) == (again[k] != 0);
        }
        assert_true(fabs(same - 0.58 * COUNT) < 5 * sqrt(0.25 * COUNT));
    }
}

static void two_calls_of_one_pass_differ(void **state) {
    (void)state;
    begin(1, 1);
    nas_tensor *x = twos(NAS__PLAIN);
    nas_tensor_read(nas_dropout(x, 0.5f), got);
    nas_tensor_read(nas_dropout(x, 0.5f), other);
    int same = 0;
    for (int k = 0; k < COUNT; k++) {
        same += got[k] == other[k];
    }
    assert_true(fabs(same - 0.5 * COUNT) < 5 * sqrt(0.25 * COUNT));
}

static void drop_path_takes_whole_samples(void **state) {
    (void)state;
    int kept = 0;
    for (uint64_t step = 0; step < 40; step++) {
        begin(3, step);
        nas_tensor_read(nas_drop_path(twos(step & 1 ? NAS__BLOCKED : NAS__PLAIN), -1), got);
        for (int n = 0; n < N; n++) {
            const float *sample = got + n * C * HW;
            kept += sample[0] != 0;
            assert_true(sample[0] == 0 || fabs(sample[0] - 2 / 0.75) < 1e-6);
            for (int i = 1; i < C * HW; i++) {
                assert_true(sample[i] == sample[0]);
            }
        }
    }
    assert_true(fabs(kept - 0.75 * 40 * N) < 5 * sqrt(0.1875 * 40 * N));
}

static void off_means_the_input_itself(void **state) {
    (void)state;
    begin(1, 1);
    nas_tensor *x = nas_input(NAS_DIMS(2, 3), NULL), *z = nas_zero(NAS_DIMS(2, 3));
    assert_ptr_equal(nas_dropout(x, 0), x);
    assert_ptr_equal(nas_drop_path(x, 0), x);
    assert_ptr_equal(nas_dropout(z, 0.5f), z);
    nas_tape_begin(tape, &(nas_tape_config){.drop_path = 0.5});
    x = nas_input(NAS_DIMS(2, 3), NULL);
    assert_ptr_equal(nas_dropout(x, 0.5f), x);
    assert_ptr_equal(nas_drop_path(x, -1), x);
    nas_tape_begin(tape, &(nas_tape_config){.training = true});
    x = nas_input(NAS_DIMS(2, 3), NULL);
    assert_ptr_equal(nas_drop_path(x, -1), x);
}

static void bad_probabilities(void **state) {
    (void)state;
    begin(1, 1);
    nas_tensor *x = nas_input(NAS_DIMS(2, 3), NULL);
    assert_null(nas_dropout(x, 1));
    assert_error(NAS_INVALID, "nas_dropout: the probability is 1");
    assert_null(nas_dropout(x, -0.5f));
    assert_error(NAS_INVALID, "[0, 1)");
    assert_null(nas_drop_path(x, NAN));
    assert_error(NAS_INVALID, "nas_drop_path");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, open_tape, close_tape)
int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(dropout_statistics),           TEST(dropout_repeats),
        TEST(two_calls_of_one_pass_differ), TEST(drop_path_takes_whole_samples),
        TEST(off_means_the_input_itself),   TEST(bad_probabilities),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
