/* What operations say when shapes or values do not fit: the message names the operation, the shapes and the rule. */
#include "tape_fixture.h"

#include <math.h>

static int set_up(void **state) {
    int failed = open_tape(state);
    nas_tape_begin(tape, &(nas_tape_config){0});
    return failed;
}

static nas_tensor *of(int ndim, const int64_t *dims) {
    nas_tensor *t = nas_input(ndim, dims, NULL);
    float values[4096] = {0};
    nas_tensor_write(t, values);
    return t;
}
#define T(...) of(NAS_DIMS(__VA_ARGS__))
#define REFUSED(call, status, part)                                                                                    \
    do {                                                                                                               \
        assert_null(call);                                                                                             \
        assert_error(status, part);                                                                                    \
    } while (0)

static void convolutions(void **state) {
    (void)state;
    REFUSED(nas_conv2d(T(2, 3), T(4, 3, 3, 3), NULL, (nas_conv_args){0}), NAS_SHAPE,
            "x 2x3 and weight 4x3x3x3 must have 4");
    REFUSED(nas_conv2d(T(1, 4, 5, 5), T(4, 3, 3, 3), NULL, (nas_conv_args){0}), NAS_SHAPE,
            "weight 4x3x3x3 does not fit x 1x4x5x5");
    REFUSED(nas_conv2d(T(1, 4, 5, 5), T(4, 1, 3, 3), NULL, (nas_conv_args){.groups = 3}), NAS_SHAPE, "with 3 groups");
    REFUSED(nas_conv2d(T(1, 4, 5, 5), T(2, 4, 3, 3), T(3), (nas_conv_args){0}), NAS_SHAPE, "bias 3 must have 2");
    REFUSED(nas_conv2d(T(1, 4, 2, 5), T(2, 4, 3, 3), NULL, (nas_conv_args){0}), NAS_SHAPE,
            "larger than the padded image");
    REFUSED(nas_conv2d(T(1, 4, 5, 5), T(2, 4, 3, 3), NULL, (nas_conv_args){.dilation = 3}), NAS_SHAPE,
            "larger than the padded image");
    REFUSED(nas_conv2d(T(1, 4, 5, 5), T(2, 4, 3, 3), NULL, (nas_conv_args){.stride = -1}), NAS_INVALID, "stride -1");
    REFUSED(nas_conv2d(T(1, 4, 5, 5), T(2, 4, 3, 3), NULL, (nas_conv_args){.padding = -1}), NAS_INVALID, "padding -1");
    REFUSED(nas_linear(T(2, 3), T(4, 5), NULL), NAS_SHAPE, "x 2x3, weight 4x5, bias none");
    REFUSED(nas_linear(T(2, 3), T(4, 3), T(3)), NAS_SHAPE, "bias 3");
    REFUSED(nas_linear(T(2, 3, 1, 1), T(4, 3), NULL), NAS_SHAPE, "(N,in)");
}

static void norms_and_pools(void **state) {
    (void)state;
    REFUSED(nas_batch_norm(T(2, 3, 4), &(nas_bn_state){0}), NAS_SHAPE, "x 2x3x4 must be (N,C,H,W) or (N,C)");
    REFUSED(nas_batch_norm(T(2, 3, 4, 4), &(nas_bn_state){.gamma = T(4)}), NAS_SHAPE, "parameters of 4 channels");
    REFUSED(nas_layer_norm(T(2, 3), T(2), NULL, 0), NAS_SHAPE, "last dimension");
    REFUSED(nas_max_pool(T(2, 3), (nas_pool_args){.kernel = 2}), NAS_SHAPE, "nas_max_pool: x 2x3");
    REFUSED(nas_avg_pool(T(1, 1, 4, 4), (nas_pool_args){.kernel = 16}), NAS_SHAPE, "kernel 16 (1..15)");
    REFUSED(nas_avg_pool(T(1, 1, 4, 4), (nas_pool_args){.kernel = 3, .padding = 3}), NAS_SHAPE,
            "padding 3 (less than the kernel)");
    REFUSED(nas_max_pool(T(1, 1, 4, 4), (nas_pool_args){.kernel = 5}), NAS_SHAPE,
            "kernel 5 is larger than the padded image 1x1x4x4");
    REFUSED(nas_max_pool(T(1, 1, 4, 4), (nas_pool_args){0}), NAS_SHAPE, "kernel 0");
    REFUSED(nas_global_avg_pool(T(2, 3)), NAS_SHAPE, "must be (N,C,H,W)");
}

static void arithmetic(void **state) {
    (void)state;
    REFUSED(nas_add(T(2, 3), T(3, 2)), NAS_SHAPE, "nas_add: shapes 2x3 and 3x2 differ");
    REFUSED(nas_sub(T(2, 3), T(2)), NAS_SHAPE, "nas_sub");
    REFUSED(nas_sum_of(2, (nas_tensor *[]){T(2), T(3)}), NAS_SHAPE, "nas_sum_of: shapes 2 and 3 differ");
    REFUSED(nas_mul(T(2, 3), T(3)), NAS_SHAPE, "nas_mul: 3 cannot multiply 2x3");
    REFUSED(nas_mul(T(2, 3, 4, 4), T(2)), NAS_SHAPE, "(C) or (N,C) on (N,C,H,W)");
    REFUSED(nas_mul(nas_zero(NAS_DIMS(2, 3)), T(3)), NAS_SHAPE, "nas_mul");
    REFUSED(nas_weighted_sum(T(3), 2, (nas_tensor *[]){T(2), T(2)}), NAS_SHAPE, "2 candidates with 3 weights");
    REFUSED(nas_weighted_sum(T(2), 2, (nas_tensor *[]){T(2), T(3)}), NAS_SHAPE, "candidate 1 has shape 3, others 2");
    REFUSED(nas_weighted_sum(T(2), 2, (nas_tensor *[]){NULL, NULL}), NAS_INVALID, "nas_weighted_sum");
}

static void shapes(void **state) {
    (void)state;
    nas_tensor *parts[2];
    REFUSED(nas_concat(2, (nas_tensor *[]){T(2, 3), T(3, 3)}, 1), NAS_SHAPE,
            "3x3 does not continue 2x3 along dimension 1");
    REFUSED(nas_concat(2, (nas_tensor *[]){T(2, 3), T(2)}, 0), NAS_SHAPE, "nas_concat");
    REFUSED(nas_concat(1, (nas_tensor *[]){T(2, 3)}, 2), NAS_SHAPE, "dimension 2 of a tensor of shape 2x3");
    REFUSED(nas_slice(T(2, 3), 1, 1, 3), NAS_SHAPE, "[1, 4) of dimension 1 of 2x3");
    REFUSED(nas_slice(T(2, 3), 1, -1, 2), NAS_SHAPE, "nas_slice");
    REFUSED(nas_slice(T(2, 3), 0, 0, 0), NAS_SHAPE, "nas_slice");
    REFUSED(nas_slice(T(2, 3), -1, 0, 1), NAS_SHAPE, "dimension -1");
    assert_false(nas_split(T(2, 3), 1, 2, (int64_t[]){1, 1}, parts));
    assert_error(NAS_SHAPE, "lengths add up to 2");
    assert_false(nas_split(T(2, 3), 1, 2, (int64_t[]){4, -1}, parts));
    assert_error(NAS_SHAPE, "nas_slice");
    REFUSED(nas_pad(T(2, 3), 1, 1, 1, 1), NAS_SHAPE, "nas_pad: 2x3");
    REFUSED(nas_pad(T(1, 1, 2, 2), -1, -1, 0, 0), NAS_SHAPE, "nas_pad");
    REFUSED(nas_reshape(T(2, 3), 2, (int64_t[]){4, 2}), NAS_SHAPE, "2x3 has 6 elements, the new shape 8");
    REFUSED(nas_reshape(T(2, 3), 2, (int64_t[]){-1, -1}), NAS_SHAPE, "one may be -1");
    REFUSED(nas_reshape(T(2, 3), 2, (int64_t[]){-2, -3}), NAS_SHAPE, "dimension 0 of the new shape is -2");
    REFUSED(nas_reshape(T(2, 3), 2, (int64_t[]){0, -1}), NAS_SHAPE, "nas_reshape");
    REFUSED(nas_reshape(T(2, 3), 2, (int64_t[]){4, -1}), NAS_SHAPE, "6 elements");
    REFUSED(nas_reshape(T(2, 3), 6, (int64_t[]){1, 1, 1, 1, 1, 6}), NAS_SHAPE, "nas_reshape");
    REFUSED(nas_sum_dim(T(2, 3), 2), NAS_SHAPE, "nas_sum_dim: dimension 2");
}

static void sequences(void **state) {
    (void)state;
    nas_tensor *h, *c;
    REFUSED(nas_embedding(T(2, 1), T(3, 4)), NAS_SHAPE, "index 2x1 must be (N)");
    REFUSED(nas_embedding(nas_input(NAS_DIMS(2), (float[]){0, 3}), T(3, 4)), NAS_INVALID,
            "index 3 is not a row of a table with 3 rows");
    REFUSED(nas_embedding(nas_input(NAS_DIMS(1), (float[]){0.5f}), T(3, 4)), NAS_INVALID, "index 0.5");
    REFUSED(nas_embedding(nas_input(NAS_DIMS(1), (float[]){NAN}), T(3, 4)), NAS_INVALID, "not a row");
    assert_false(nas_lstm_cell(T(2, 3), T(2, 4), T(2, 4), T(16, 6), NULL, &h, &c));
    assert_error(NAS_SHAPE, "weight 16x6 do not fit");
    assert_false(nas_lstm_cell(T(3, 3), T(2, 4), T(2, 4), T(16, 7), NULL, &h, &c));
    assert_error(NAS_SHAPE, "does not continue");
}

static void losses(void **state) {
    (void)state;
    nas_tensor *logits = T(2, 3);
    REFUSED(nas_cross_entropy(logits, T(3)), NAS_SHAPE, "logits 2x3 with target 3");
    REFUSED(nas_cross_entropy(T(2), T(2)), NAS_SHAPE, "(N,classes)");
    REFUSED(nas_cross_entropy(T(2, 3, 4, 5), T(2, 5, 4)), NAS_SHAPE, "(N,classes,H,W) with (N,H,W)");
    REFUSED(nas_cross_entropy(logits, nas_input(NAS_DIMS(2), (float[]){0, 3})), NAS_INVALID,
            "target 1 is 3; with 3 classes");
    REFUSED(nas_cross_entropy(logits, nas_input(NAS_DIMS(2), (float[]){-1, 0})), NAS_INVALID, "target 0 is -1");
    REFUSED(nas_cross_entropy(logits, nas_input(NAS_DIMS(2), (float[]){0, 0.5f})), NAS_INVALID,
            "whole number from 0 to 2");
    REFUSED(nas_cross_entropy(logits, nas_input(NAS_DIMS(2), (float[]){NAN, 0})), NAS_INVALID, "nan");
    REFUSED(nas_cross_entropy_smooth(logits, T(2), 1), NAS_INVALID, "smoothing is 1");
    REFUSED(nas_mse(T(2, 3), T(3, 2)), NAS_SHAPE, "the prediction's shape is 2x3, the target's 3x2");
    REFUSED(nas_l1(T(2), nas_input(NAS_DIMS(2), (float[]){0, NAN})), NAS_NUMERIC, "nas_l1: target 1 is not a number");
}

static void losses_of_extremes(void **state) {
    (void)state;
    nas_tensor *logits = nas_input(NAS_DIMS(2, 3), (float[]){3e38f, -3e38f, 0, 1e4f, 1e4f, -1e4f});
    nas_tensor *loss = nas_cross_entropy(logits, nas_input(NAS_DIMS(2), (float[]){0, 1}));
    assert_true(fabs(nas_tensor_item(loss) - log(2) / 2) < 1e-6);
    assert_true(fabs(nas_tensor_item(nas_cross_entropy(T(2, 3), T(2))) - log(3)) < 1e-6);
    /* a diverged network shows in the loss, and is not an error of its own */
    logits = nas_input(NAS_DIMS(1, 3), (float[]){0, NAN, 1});
    assert_true(isnan(nas_tensor_item(nas_cross_entropy(logits, T(1)))));
    assert_no_error();
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, close_tape)
int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(convolutions), TEST(norms_and_pools), TEST(arithmetic),         TEST(shapes),
        TEST(sequences),    TEST(losses),          TEST(losses_of_extremes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
