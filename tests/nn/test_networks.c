/* The reference networks: sizes as published for ten classes, shapes, and numbers that make no sense. */
#include "nn_support.h"

#include <math.h>

static void check(nas_module *model, int64_t parameters, double million_macs) {
    nas_tape *tape = nas_tape_new();
    assert_non_null(model);
    assert_int_equal(nas_parameter_count(model), parameters);
    nas_tape_begin(tape, &(nas_tape_config){.dry = true});
    nas_tensor *y = nas_forward(model, nas_input(NAS_DIMS(2, 3, 32, 32), NULL));
    assert_non_null(y);
    assert_true(nas_tensor_ndim(y) == 2 && nas_tensor_dim(y, 0) == 2 && nas_tensor_dim(y, 1) == 10);
    assert_true(fabs((double)nas_tape_macs(tape) / 2 / (1e6 * million_macs) - 1) < 0.002);
    nas_tape_begin(tape, &(nas_tape_config){.grad = NAS_ROLE_WEIGHT});
    y = nas_forward(model, random_input(1, NAS_DIMS(1, 3, 8, 8)));
    assert_int_equal(nas_backward(nas_mean(nas_mul(y, y))), NAS_OK);
    nas_tape_free(tape);
    nas_free(model);
}

static void sizes_are_the_published_ones(void **state) {
    (void)state;
    check(nas_resnet18_new(3, 10), 11173962, 555.4);
    check(nas_mobilenetv2_new(3, 10), 2236682, 87.98);
}

static void nothing_is_built_without_channels(void **state) {
    (void)state;
    assert_null(nas_resnet18_new(0, 10));
    assert_error(NAS_INVALID, "0 channels");
    assert_null(nas_mobilenetv2_new(3, -1));
    assert_error(NAS_INVALID, "-1 outputs");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_the_published_ones),
        cmocka_unit_test(nothing_is_built_without_channels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
