/* First values: their distributions, and that they depend on the seed and the path and on nothing else. */
#include "nn_support.h"

#include <math.h>

static nas_tensor *pass(nas_module *self, nas_tensor *x) {
    (void)self;
    return x;
}

static void moments(nas_tensor *t, double *mean, double *deviation, double *largest) {
    float *values = values_of(t);
    int64_t n = nas_tensor_count(t);
    double sum = 0, squares = 0;
    *largest = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += values[i];
        squares += (double)values[i] * values[i];
        *largest = fmax(*largest, fabs((double)values[i]));
    }
    *mean = sum / (double)n;
    *deviation = sqrt(squares / (double)n - *mean * *mean);
    free(values);
}

static void distributions(void **state) {
    (void)state;
    nas_module *net = nas_module_new(nas_module, pass);
    nas_tensor *t[6];
    for (int init = NAS_INIT_ZERO; init <= NAS_INIT_UNIFORM; init++) {
        char name[8];
        snprintf(name, sizeof name, "p%d", init);
        t[init] = nas_parameter(net, name, NAS_DIMS(40, 20, 3, 5), (nas_init)init);
    }
    nas_initialise(net, 11);
    const double n = 40 * 20 * 15;
    /* fan in 20*3*5 = 300, fan out 40*3*5 = 600 */
    const double deviations[6] = {0, 0, sqrt(2 / 600.0), 1 / sqrt(300.0) / sqrt(3), 1, 0.1 / sqrt(3)};
    for (int init = NAS_INIT_ZERO; init <= NAS_INIT_UNIFORM; init++) {
        double mean, deviation, largest;
        moments(t[init], &mean, &deviation, &largest);
        assert_true(fabs(mean - (init == NAS_INIT_ONE)) <= 5 * deviations[init] / sqrt(n));
        assert_true(fabs(deviation - deviations[init]) <= 5 * deviations[init] / sqrt(2 * n));
        if (init == NAS_INIT_FAN_IN || init == NAS_INIT_UNIFORM) {
            double bound = deviations[init] * sqrt(3);
            assert_true(largest <= bound * (1 + 1e-6) && largest > 0.99 * bound);
        }
    }
    nas_module_free(net);
}

static void assert_equal_values(nas_tensor *a, nas_tensor *b, bool equal) {
    assert_int_equal(nas_tensor_count(a), nas_tensor_count(b));
    float *x = values_of(a), *y = values_of(b);
    assert_int_equal(!memcmp(x, y, (size_t)nas_tensor_count(a) * sizeof *x), equal);
    free(x);
    free(y);
}

static nas_module *small_conv(void) { return nas_conv(.in = 4, .out = 4, .kernel = 3); }

static void values_depend_on_seed_and_path_alone(void **state) {
    (void)state;
    nas_module *alone = nas_module_new(nas_module, pass), *crowded = nas_module_new(nas_module, pass);
    nas_child(alone, "conv", small_conv());
    nas_child(crowded, "other", small_conv());
    nas_child(crowded, "conv", small_conv());
    nas_initialise(alone, 3);
    nas_initialise(crowded, 3);
    nas_tensor *mine = parameter_at(alone, "conv.weight"), *same = parameter_at(crowded, "conv.weight");
    assert_equal_values(mine, same, true);
    assert_equal_values(mine, parameter_at(crowded, "other.weight"), false);
    nas_initialise(crowded, 4);
    assert_equal_values(mine, same, false);
    nas_initialise(crowded, 3);
    assert_equal_values(mine, same, true);
    nas_module_free(alone);
    nas_module_free(crowded);
}

static void the_first_pass_initialises(void **state) {
    (void)state;
    nas_module *net = nas_sequential(small_conv(), small_conv()), *other = nas_sequential(small_conv(), small_conv());
    nas_initialise(other, 0);
    nas_tape *tape = nas_tape_new();
    nas_tape_begin(tape, &(nas_tape_config){0});
    assert_same_tensor(nas_forward(net, random_input(1, NAS_DIMS(1, 4, 3, 3))),
                       nas_forward(other, random_input(1, NAS_DIMS(1, 4, 3, 3))), 0, "outputs");
    assert_equal_values(parameter_at(net, "1.weight"), parameter_at(other, "1.weight"), true);
    nas_tape_free(tape);
    nas_module_free(net);
    nas_module_free(other);
}

/* What a checkpoint writes through a visit survives the first pass. */
static void written_values_stay(void **state) {
    (void)state;
    nas_module *net = nas_sequential(small_conv());
    nas_tensor *weight = parameter_at(net, "0.weight");
    randomise(weight, 7);
    float *before = values_of(weight);
    nas_tape *tape = nas_tape_new();
    nas_tape_begin(tape, &(nas_tape_config){0});
    assert_non_null(nas_forward(net, random_input(1, NAS_DIMS(1, 4, 3, 3))));
    float *after = values_of(weight);
    assert_memory_equal(before, after, (size_t)nas_tensor_count(weight) * sizeof(float));
    free(before);
    free(after);
    nas_tape_free(tape);
    nas_module_free(net);
}

/* What comes to an initialised model gets the values that it would have had from the beginning. */
static void late_parameters(void **state) {
    (void)state;
    nas_module *early = nas_module_new(nas_module, pass), *late = nas_module_new(nas_module, pass);
    nas_child(early, "conv", small_conv());
    nas_tensor *early_table = nas_parameter(early, "table", NAS_DIMS(5, 5), NAS_INIT_NORMAL);
    nas_initialise(early, 9);
    nas_initialise(late, 9);
    nas_child(late, "conv", small_conv());
    nas_tensor *late_table = nas_parameter(late, "table", NAS_DIMS(5, 5), NAS_INIT_NORMAL);
    assert_equal_values(early_table, late_table, true);
    assert_equal_values(parameter_at(early, "conv.weight"), parameter_at(late, "conv.weight"), true);
    nas_module_free(early);
    nas_module_free(late);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(distributions),
        cmocka_unit_test(values_depend_on_seed_and_path_alone),
        cmocka_unit_test(the_first_pass_initialises),
        cmocka_unit_test(written_values_stay),
        cmocka_unit_test(late_parameters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
