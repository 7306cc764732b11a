/* Costs against numbers that were counted by hand. */
#include "support.h"

#include <espalier/hardware.h>
#include <espalier/space.h>

static void one_convolution(void **state) {
    (void)state;
    nas_module *model = nas_conv(.in = 3, .out = 8, .kernel = 5, .stride = 2, .bias = true);
    uint64_t macs;
    int64_t parameters;
    assert_int_equal(nas_model_cost(model, 3, (int64_t[]){3, 32, 32}, &macs, &parameters), NAS_OK);
    assert_int_equal(macs, 8 * 16 * 16 * 3 * 25);
    assert_int_equal(parameters, 8 * 3 * 25 + 8);
    nas_module_free(model);
}

static void a_depthwise_convolution_and_a_linear_layer(void **state) {
    (void)state;
    nas_module *model =
        nas_sequential(nas_conv(.in = 6, .out = 6, .kernel = 3, .groups = 6), nas_dense(.in = 6 * 7 * 7, .out = 10));
    uint64_t macs;
    assert_int_equal(nas_model_cost(model, 3, (int64_t[]){6, 7, 7}, &macs, NULL), NAS_OK);
    assert_int_equal(macs, 6 * 7 * 7 * 9 + 6 * 7 * 7 * 10);
    nas_module_free(model);
}

/* The choice in force counts, the other candidates do not; nested ones neither. */
static void only_the_path_counts(void **state) {
    (void)state;
    nas_module *inner = nas_layer_choice(NULL, "inner", 2,
                                         ((nas_candidate[]){{"k1", nas_conv(.in = 2, .out = 2, .kernel = 1)},
                                                            {"k5", nas_conv(.in = 2, .out = 2, .kernel = 5)}}));
    nas_module *outer = nas_layer_choice(
        NULL, "outer", 2, ((nas_candidate[]){{"k3", nas_conv(.in = 2, .out = 2, .kernel = 3)}, {"nested", inner}}));
    nas_space *space = nas_space_new(outer);
    static const struct {
        uint64_t outer, inner;
        int taps;
    } rows[] = {{1, 1, 9}, {1, 2, 9}, {2, 1, 1}, {2, 2, 25}};
    for (int i = 0; i < 4; i++) {
        uint64_t macs;
        int64_t parameters;
        nas_decide(space, nas_space_find(space, "outer"), (nas_decision){.run = rows[i].outer});
        nas_decide(space, nas_space_find(space, "inner"), (nas_decision){.run = rows[i].inner});
        assert_int_equal(nas_model_cost(outer, 3, (int64_t[]){2, 10, 10}, &macs, &parameters), NAS_OK);
        assert_int_equal(parameters, 4 * rows[i].taps);
        assert_int_equal(macs, 400 * rows[i].taps);
    }
    nas_space_free(space);
    nas_module_free(outer);
}

static void wrong_samples_are_refused(void **state) {
    (void)state;
    nas_module *model = nas_conv(.in = 3, .out = 8, .kernel = 5);
    uint64_t macs;
    assert_int_equal(nas_model_cost(model, 3, (int64_t[]){4, 32, 32}, &macs, NULL), NAS_SHAPE);
    assert_error(NAS_SHAPE, "counting multiply-adds");
    assert_int_equal(nas_model_cost(model, 0, NULL, &macs, NULL), NAS_INVALID);
    assert_error(NAS_INVALID, "one sample");
    nas_module_free(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_convolution),
        cmocka_unit_test(a_depthwise_convolution_and_a_linear_layer),
        cmocka_unit_test(only_the_path_counts),
        cmocka_unit_test(wrong_samples_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
