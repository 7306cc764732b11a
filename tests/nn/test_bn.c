/* The modes of the batch norm layer, and what fixing an architecture makes of it. */
#include "nn_support.h"
#include "tape.h"

#include "nn/module.h"

#include <math.h>

enum { N = 3, C = 5, HW = 6, COUNT = N * C * HW };

static void batch_statistics(const float *x, double mean[C], double var[C]) {
    for (int c = 0; c < C; c++) {
        double sum = 0, squares = 0;
        for (int i = 0; i < N * HW; i++) {
            sum += x[(i / HW * C + c) * HW + i % HW];
        }
        mean[c] = sum / (N * HW);
        for (int i = 0; i < N * HW; i++) {
            double d = x[(i / HW * C + c) * HW + i % HW] - mean[c];
            squares += d * d;
        }
        var[c] = squares / (N * HW);
    }
}

/* The layer's output in this mode, for batch number `batch`. */
static float *run(nas_module *bn, nas_bn_mode mode, bool freeze, uint64_t batch) {
    nas_tape_begin(tape, &(nas_tape_config){.bn = mode, .freeze_running = freeze});
    return values_of(nas_forward(bn, random_input(batch, NAS_DIMS(N, C, 2, 3))));
}

static void assert_normalised(nas_module *bn, float *y, uint64_t batch, const double *mean, const double *var,
                              bool relu) {
    float *x = random_floats(batch, COUNT), expected[COUNT];
    nas_tensor *gamma = parameter_at(bn, "gamma"), *beta = parameter_at(bn, "beta");
    float *g = gamma ? values_of(gamma) : NULL, *b = beta ? values_of(beta) : NULL;
    for (int i = 0; i < COUNT; i++) {
        int c = i / HW % C;
        double value = (x[i] - mean[c]) / sqrt(var[c] + 1e-5) * (g ? g[c] : 1) + (b ? b[c] : 0);
        expected[i] = (float)(relu ? fmax(value, 0) : value);
    }
    assert_floats_near(y, expected, COUNT, 2e-5, "batch norm");
    free(x);
    free(g);
    free(b);
    free(y);
}

static void assert_buffer(nas_module *bn, const char *name, const double *expected) {
    float *values = values_of(parameter_at(bn, name)), e[C];
    for (int c = 0; c < C; c++) {
        e[c] = (float)expected[c];
    }
    assert_floats_near(values, e, C, 1e-5, name);
    free(values);
}

static void batch_and_running(void **state) {
    (void)state;
    nas_module *bn = nas_bn(.channels = C, .momentum = 0.3f, .relu = true);
    randomise_all(bn);
    double running_mean[C] = {0}, running_var[C] = {1, 1, 1, 1, 1}, mean[C], var[C];
    for (uint64_t batch = 1; batch <= 3; batch++) {
        float *x = random_floats(batch, COUNT);
        batch_statistics(x, mean, var);
        free(x);
        bool freeze = batch == 2; /* whose statistics leave no trace */
        assert_normalised(bn, run(bn, NAS_BN_BATCH, freeze, batch), batch, mean, var, true);
        for (int c = 0; c < C && !freeze; c++) {
            running_mean[c] += 0.3 * (mean[c] - running_mean[c]);
            running_var[c] += 0.3 * (var[c] * (N * HW) / (N * HW - 1.0) - running_var[c]);
        }
        assert_buffer(bn, "running_mean", running_mean);
        assert_buffer(bn, "running_var", running_var);
    }
    assert_normalised(bn, run(bn, NAS_BN_RUNNING, false, 4), 4, running_mean, running_var, true);
    nas_module_free(bn);
}

static void calibration(void **state) {
    (void)state;
    nas_module *net = nas_sequential(nas_bn(.channels = C, .affine = NAS_AFFINE_NEVER));
    const double zero[C] = {0}, one[C] = {1, 1, 1, 1, 1};
    /* nothing calibrated: the running estimates, here still the first ones */
    assert_normalised(net, run(net, NAS_BN_CALIBRATED, false, 1), 1, zero, one, false);
    for (int round = 0; round < 2; round++) { /* the reset forgets the round before */
        double sum_mean[C] = {0}, sum_var[C] = {0}, mean[C], var[C];
        nas_calibration_reset(net);
        for (int i = 0; i < 3; i++) {
            uint64_t batch = (uint64_t)(10 * round + i + 1);
            float *x = random_floats(batch, COUNT);
            batch_statistics(x, mean, var);
            free(x);
            assert_normalised(net, run(net, NAS_BN_CALIBRATE, false, batch), batch, mean, var, false);
            for (int c = 0; c < C; c++) {
                sum_mean[c] += mean[c] / 3;
                sum_var[c] += var[c] * (N * HW) / (N * HW - 1.0) / 3;
            }
        }
        assert_normalised(net, run(net, NAS_BN_CALIBRATED, false, 99), 99, sum_mean, sum_var, false);
    }
    assert_buffer(net, "0.running_mean", zero);
    assert_buffer(net, "0.running_var", one);
    nas_module_free(net);
}

static void affine_when_fixed(void **state) {
    (void)state;
    nas_module *bn = nas_bn(.channels = C, .affine = NAS_AFFINE_WHEN_FIXED);
    nas_module *never = nas_bn(.channels = C, .affine = NAS_AFFINE_NEVER);
    nas_initialise(bn, 1);
    assert_int_equal(nas_parameter_count(bn), 0);
    float *before = run(bn, NAS_BN_BATCH, true, 1);
    assert_int_equal(nas__module_fix(bn), NAS_OK);
    assert_int_equal(nas__module_fix(never), NAS_OK);
    assert_int_equal(nas_parameter_count(bn), 2 * C);
    assert_int_equal(nas_parameter_count(never), 0);
    float *after = run(bn, NAS_BN_BATCH, true, 1), *gamma = values_of(parameter_at(bn, "gamma"));
    assert_memory_equal(before, after, COUNT * sizeof(float));
    assert_true(gamma[0] == 1 && gamma[C - 1] == 1);
    free(before);
    free(after);
    free(gamma);
    nas_module_free(bn);
    nas_module_free(never);
}

static nas_status count_visits(const char *path, nas_tensor *tensor, nas_role role, void *user) {
    (void)path, (void)tensor, (void)role;
    ++*(int *)user;
    return NAS_OK;
}

static void search_only_vanishes_when_fixed(void **state) {
    (void)state;
    nas_module *pool =
        nas_pool(.kind = NAS_POOL_MAX, .kernel = 3, .stride = 1, .padding = 1, .channels = C, .bn_search_only = true);
    int before = 0, after = 0;
    nas_visit_parameters(pool, count_visits, &before);
    assert_int_equal(before, 2);
    nas_tape_begin(tape, &(nas_tape_config){0});
    nas_tensor *x = random_input(1, NAS_DIMS(N, C, 2, 3));
    nas_tensor *plain = nas_max_pool(x, (nas_pool_args){.kernel = 3, .stride = 1, .padding = 1});
    assert_same_tensor(nas_forward(pool, x), nas_batch_norm(plain, &(nas_bn_state){0}), 1e-5, "while searching");
    nas_module *bn = nas_bn(.channels = C, .search_only = true, .relu = true);
    assert_int_equal(nas__module_fix(pool), NAS_OK);
    assert_int_equal(nas__module_fix(bn), NAS_OK);
    assert_same_tensor(nas_forward(pool, x), plain, 0, "fixed");
    assert_same_tensor(nas_forward(bn, x), nas_relu(x), 0, "fixed, with ReLU");
    nas_visit_parameters(pool, count_visits, &after);
    assert_int_equal(after, 0);
    nas_calibration_reset(pool);
    nas_module_free(bn);
    nas_module_free(pool);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(batch_and_running, open_tape, close_tape),
        cmocka_unit_test_setup_teardown(calibration, open_tape, close_tape),
        cmocka_unit_test_setup_teardown(affine_when_fixed, open_tape, close_tape),
        cmocka_unit_test_setup_teardown(search_only_vanishes_when_fixed, open_tape, close_tape),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
