/* Metrics on outputs small enough to count by hand. */
#include "nn_support.h"
#include "tape.h"

#include <math.h>

static int begin(void **state) {
    open_tape(state);
    nas_tape_begin(tape, &(nas_tape_config){0});
    return 0;
}

static void accuracies(void **state) {
    (void)state;
    const float logits[4 * 7] = {
        7,   6,   5,   4, 3,   2, 1,  /* class 0 first, class 4 fifth, class 5 sixth */
        1,   9,   2,   3, 4,   5, 6,  /* class 1 first */
        2,   2,   2,   2, 2,   2, 2,  /* all equal: class 0 first, class 4 fifth */
        NAN, NAN, NAN, 1, NAN, 0, -1, /* class 3 */
    };
    nas_tensor *output = nas_input(NAS_DIMS(4, 7), logits);
    assert_true(nas_top1_accuracy(output, nas_input(NAS_DIMS(4), (float[]){0, 1, 0, 3})) == 1);
    assert_true(nas_top1_accuracy(output, nas_input(NAS_DIMS(4), (float[]){4, 1, 4, 0})) == 0.25);
    assert_true(nas_top5_accuracy(output, nas_input(NAS_DIMS(4), (float[]){4, 1, 4, 0})) == 0.75);
    assert_true(nas_top5_accuracy(output, nas_input(NAS_DIMS(4), (float[]){5, 0, 5, 0})) == 0);
    assert_no_error();
}

static void errors(void **state) {
    (void)state;
    const float x[6] = {1, 2, 3, 4, 5, 6}, y[6] = {1, 0, 3, 8, 5, 7};
    nas_tensor *output = nas_input(NAS_DIMS(3, 2), x), *target = nas_input(NAS_DIMS(3, 2), y);
    assert_true(nas_squared_error(output, target) == 21.0 / 6);
    assert_true(nas_absolute_error(output, target) == 7.0 / 6);
    assert_true(nas_negative_rmse(output, target) == -sqrt(21.0 / 6));
    assert_true(nas_squared_error(output, nas_input(NAS_DIMS(6), y)) == 21.0 / 6); /* sizes count, not shapes */
}

static void an_image_in_the_blocked_layout_is_read_in_order(void **state) {
    (void)state;
    nas_tensor *x = random_input(1, NAS_DIMS(2, 3, 4, 4)), *y = nas_relu(nas_max_pool(x, (nas_pool_args){.kernel = 1}));
    float *values = random_floats(1, 96);
    double sum = 0;
    for (int i = 0; i < 96; i++) {
        sum += fabs((values[i] > 0 ? (double)values[i] : 0) - values[i]);
    }
    assert_true(fabs(nas_absolute_error(y, x) - sum / 96) < 1e-12);
    free(values);
}

static void misfits(void **state) {
    (void)state;
    nas_tensor *output = nas_input(NAS_DIMS(3, 2), NULL);
    assert_true(isnan(nas_top1_accuracy(output, nas_input(NAS_DIMS(2), (float[]){0, 1}))));
    assert_error(NAS_SHAPE, "must be (N, classes)");
    assert_true(isnan(nas_top1_accuracy(output, nas_input(NAS_DIMS(3), (float[]){0, 2, 1}))));
    assert_error(NAS_INVALID, "class 2 of image 1 is not in 0..1");
    assert_true(isnan(nas_squared_error(output, nas_input(NAS_DIMS(2), (float[]){0, 1}))));
    assert_error(NAS_SHAPE, "differ in size");
    assert_true(isnan(nas_negative_rmse(NULL, output)));
    assert_error(NAS_INVALID, "output is NULL");
}

static void lists(void **state) {
    (void)state;
    assert_string_equal(nas_classification_metrics[0].name, "acc1");
    assert_false(nas_classification_metrics[0].lower_is_better);
    assert_null(nas_classification_metrics[1].name);
    assert_string_equal(nas_regression_metrics[0].name, "rmse");
    assert_true(nas_regression_metrics[0].lower_is_better);
    assert_true(nas_regression_metrics[0].finish(9) == 3);
    assert_null(nas_regression_metrics[1].name);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(accuracies, begin, close_tape),
        cmocka_unit_test_setup_teardown(errors, begin, close_tape),
        cmocka_unit_test_setup_teardown(an_image_in_the_blocked_layout_is_read_in_order, begin, close_tape),
        cmocka_unit_test_setup_teardown(misfits, begin, close_tape),
        cmocka_unit_test_setup_teardown(lists, begin, close_tape),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
