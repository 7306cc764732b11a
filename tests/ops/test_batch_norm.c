/* Batch norm's statistics: which are used and which are updated in each mode. */
#include "support.h"

#include <espalier/ops.h>

#include "tensor/tensor.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N = 3, C = 5, HW = 12, COUNT = N * C * HW };

static nas_tape *tape;
static nas_bn_state bn;
static int batches;
static float x[COUNT];
static double mean[C], variance[C]; /* biased */

static int set_up(void **state) {
    (void)state;
    tape = nas_tape_new();
    nas_tensor **all[] = {&bn.running_mean, &bn.running_var, &bn.calibrated_mean, &bn.calibrated_var};
    for (int i = 0; i < 4; i++) {
        *all[i] = nas_variable(NAS_DIMS(C), NAS_ROLE_BUFFER);
    }
    nas_tensor_write(bn.running_var, (float[]){1, 1, 1, 1, 1});
    bn.calibrated_batches = &batches;
    batches = 0;
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    nas_tape_free(tape);
    nas_tensor *all[] = {bn.running_mean, bn.running_var, bn.calibrated_mean, bn.calibrated_var};
    for (int i = 0; i < 4; i++) {
        nas_tensor_free(all[i]);
    }
    memset(&bn, 0, sizeof bn);
    nas_error_clear();
    return 0;
}

/* A fresh batch and its moments. */
static void draw(uint64_t seed) {
    float *values = random_floats(seed, COUNT);
    for (int c = 0; c < C; c++) {
        mean[c] = variance[c] = 0;
        for (int i = 0; i < N * HW; i++) {
            int at = (i / HW * C + c) * HW + i % HW;
            x[at] = values[at] * (float)(c + 1) + (float)c;
            mean[c] += (double)x[at] / (N * HW);
            variance[c] += (double)x[at] * x[at] / (N * HW);
        }
        variance[c] -= mean[c] * mean[c];
    }
    free(values);
}

static void pass(nas_bn_mode mode, bool freeze, float *y) {
    nas_tape_begin(tape, &(nas_tape_config){.bn = mode, .freeze_running = freeze});
    nas_tensor *out = nas_batch_norm(nas_input(NAS_DIMS(N, C, 3, 4), x), &bn);
    assert_int_equal(nas_tensor_read(out, y), NAS_OK);
}

static void assert_normalised(const float *y, const double *m, const double *v) {
    for (int i = 0; i < COUNT; i++) {
        int c = i / HW % C;
        assert_true(fabs(y[i] - (x[i] - m[c]) / sqrt(v[c] + 1e-5)) < 1e-4);
    }
}

static void near(const nas_tensor *t, const double *expected) {
    float values[C];
    nas_tensor_read(t, values);
    for (int c = 0; c < C; c++) {
        assert_true(fabs(values[c] - expected[c]) < 1e-4 * (1 + fabs(expected[c])));
    }
}

static const double unbias = (double)(N * HW) / (N * HW - 1);

static void batch_mode_moves_the_running_estimates(void **state) {
    (void)state;
    float y[COUNT];
    double m[C] = {0}, v[C] = {1, 1, 1, 1, 1};
    for (uint64_t step = 0; step < 3; step++) {
        bn.momentum = step == 2 ? 0.5f : 0;
        double rate = step == 2 ? 0.5 : 0.1;
        draw(step);
        pass(NAS_BN_BATCH, false, y);
        assert_normalised(y, mean, variance);
        for (int c = 0; c < C; c++) {
            m[c] += rate * (mean[c] - m[c]);
            v[c] += rate * (variance[c] * unbias - v[c]);
        }
    }
    near(bn.running_mean, m);
    near(bn.running_var, v);
    draw(9);
    pass(NAS_BN_BATCH, true, y); /* frozen */
    assert_normalised(y, mean, variance);
    near(bn.running_mean, m);
    pass(NAS_BN_RUNNING, false, y);
    assert_normalised(y, m, v);
    near(bn.running_var, v);
    assert_int_equal(batches, 0);
}

static void calibration_averages_batches_apart(void **state) {
    (void)state;
    float y[COUNT];
    double m[C] = {0}, v[C] = {0}, zeros[C] = {0}, ones[C] = {1, 1, 1, 1, 1};
    pass(NAS_BN_CALIBRATED, false, y); /* nothing yet: the running estimates */
    assert_normalised(y, zeros, ones);
    for (uint64_t step = 0; step < 4; step++) {
        draw(20 + step);
        pass(NAS_BN_CALIBRATE, false, y);
        assert_normalised(y, mean, variance);
        for (int c = 0; c < C; c++) {
            m[c] += mean[c] / 4;
            v[c] += variance[c] * unbias / 4;
        }
    }
    assert_int_equal(batches, 4);
    near(bn.calibrated_mean, m);
    near(bn.calibrated_var, v);
    near(bn.running_mean, zeros);
    near(bn.running_var, ones);
    pass(NAS_BN_CALIBRATED, false, y);
    assert_normalised(y, m, v);
}

static void without_estimates(void **state) {
    (void)state;
    float y[COUNT];
    nas_bn_state bare = {.eps = 0.1f};
    draw(3);
    nas_tape_begin(tape, &(nas_tape_config){.bn = NAS_BN_RUNNING}); /* layers that keep none use the batch's */
    assert_int_equal(nas_tensor_read(nas_batch_norm(nas_input(NAS_DIMS(N, C, 3, 4), x), &bare), y), NAS_OK);
    for (int i = 0; i < COUNT; i++) {
        int c = i / HW % C;
        assert_true(fabs(y[i] - (x[i] - mean[c]) / sqrt(variance[c] + 0.1)) < 1e-4);
    }
}

static void one_value_per_channel(void **state) {
    (void)state;
    nas_tape_begin(tape, &(nas_tape_config){0});
    float y[C], ones[C] = {1, 1, 1, 1, 1};
    assert_int_equal(nas_tensor_read(nas_batch_norm(nas_input(NAS_DIMS(1, C), ones), &bn), y), NAS_OK);
    for (int c = 0; c < C; c++) {
        assert_true(y[c] == 0);
    }
    double v[C] = {0.9, 0.9, 0.9, 0.9, 0.9}; /* no division by count - 1 = 0 */
    near(bn.running_var, v);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(batch_mode_moves_the_running_estimates),
        TEST(calibration_averages_batches_apart),
        TEST(without_estimates),
        TEST(one_value_per_channel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
