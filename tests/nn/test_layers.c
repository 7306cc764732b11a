/* Every layer against the operations it is made of, called directly with its parameters; shapes and numbers of
 * parameters. */
#include "nn_support.h"
#include "tape.h"

#include <math.h>

static int begin(void **state) {
    open_tape(state);
    nas_tape_begin(tape, &(nas_tape_config){.freeze_running = true});
    return 0;
}

static void conv(void **state) {
    (void)state;
    nas_module *same = nas_conv(.in = 6, .out = 4, .kernel = 3, .dilation = 2, .groups = 2, .bias = true);
    nas_module *valid = nas_conv(.in = 6, .out = 5, .kernel = 3, .stride = 2, .padding = NAS_NONE);
    nas_module *padded = nas_conv(.in = 6, .out = 5, .kernel = 3, .padding = 3);
    randomise_all(same);
    randomise_all(valid);
    nas_tensor *x = random_input(1, NAS_DIMS(2, 6, 9, 8));
    nas_tensor *y = nas_conv2d(x, parameter_at(same, "weight"), parameter_at(same, "bias"),
                               (nas_conv_args){.padding = 2, .dilation = 2, .groups = 2});
    assert_same_tensor(nas_forward(same, x), y, 1e-6, "same padding");
    assert_int_equal(nas_tensor_dim(y, 2), 9);
    y = nas_forward(valid, x);
    assert_same_tensor(y, nas_conv2d(x, parameter_at(valid, "weight"), NULL, (nas_conv_args){.stride = 2}), 1e-6,
                       "no padding");
    assert_int_equal(nas_tensor_dim(y, 2), 4);
    assert_int_equal(nas_tensor_dim(nas_forward(padded, x), 3), 12);
    assert_int_equal(nas_parameter_count(same), 4 * 3 * 9 + 4);
    nas_free(same);
    nas_free(valid);
    nas_free(padded);
}

/* 1x7 and 7x1, and paddings of their own. */
static void rectangular_kernels(void **state) {
    (void)state;
    nas_module *row = nas_conv(.in = 3, .out = 4, .kernel = 1, .kernel_w = 7);
    nas_module *column = nas_relu_conv_bn(.in = 3, .out = 4, .kernel = 7, .kernel_w = 1, .stride = 2);
    nas_module *wide = nas_conv(.in = 3, .out = 4, .kernel = 3, .kernel_w = 5, .padding = NAS_NONE, .padding_w = 1);
    nas_module *sep = nas_sep_conv(.in = 3, .kernel = 1, .kernel_w = 5);
    randomise_all(row);
    randomise_all(column);
    nas_tensor *x = random_input(1, NAS_DIMS(2, 3, 9, 8));
    nas_tensor *y = nas_conv2d(x, parameter_at(row, "weight"), NULL, (nas_conv_args){.padding_w = 3});
    assert_same_tensor(nas_forward(row, x), y, 1e-6, "1x7");
    assert_int_equal(nas_tensor_dim(y, 2), 9);
    assert_int_equal(nas_tensor_dim(y, 3), 8);
    y = nas_conv2d(nas_relu(x), parameter_at(column, "conv.weight"), NULL,
                   (nas_conv_args){.stride = 2, .padding = 3, .padding_w = NAS_NONE});
    nas_bn_state bn = {.gamma = parameter_at(column, "bn.gamma"), .beta = parameter_at(column, "bn.beta")};
    assert_same_tensor(nas_forward(column, x), nas_batch_norm(y, &bn), 1e-5, "7x1");
    y = nas_forward(wide, x);
    assert_int_equal(nas_tensor_dim(y, 2), 7);
    assert_int_equal(nas_tensor_dim(y, 3), 6);
    assert_int_equal(nas_parameter_count(sep), 2 * (3 * 5 + 9 + 6));
    assert_int_equal(nas_tensor_dim(nas_forward(sep, random_input(2, NAS_DIMS(2, 3, 1, 10))), 3), 10);
    assert_null(nas_conv(.in = 3, .out = 4, .kernel = 1, .kernel_w = -1));
    assert_error(NAS_INVALID, ".kernel_w -1");
    assert_null(nas_conv(.in = 3, .out = 4, .kernel = 1, .padding_w = -3));
    assert_error(NAS_INVALID, ".padding_w -3");
    nas_free(row);
    nas_free(column);
    nas_free(wide);
    nas_free(sep);
}

/* A signal of one row is halved along it. */
static void factorized_reduce_of_a_row(void **state) {
    (void)state;
    nas_module *f = nas_factorized_reduce(.in = 1, .out = 2, .affine = NAS_AFFINE_NEVER);
    nas_tensor_write(parameter_at(f, "conv1.weight"), (float[]){1});
    nas_tensor_write(parameter_at(f, "conv2.weight"), (float[]){1});
    float values[2][3];
    nas_tensor *y = nas_forward(f, nas_input(NAS_DIMS(1, 1, 1, 6), (float[]){1, 2, 5, 7, 9, 3}));
    assert_int_equal(nas_tensor_dim(y, 2), 1);
    assert_int_equal(nas_tensor_dim(y, 3), 3);
    nas_tensor_read(y, values[0]);
    static const double even[] = {1, 5, 9}, odd[] = {2, 7, 3};
    for (int i = 0; i < 3; i++) { /* normalised: mean and variance are those of three numbers */
        assert_true(fabs(values[0][i] - (even[i] - 5) / sqrt(32 / 3.)) < 1e-4);
        assert_true(fabs(values[1][i] - (odd[i] - 4) / sqrt(14 / 3.)) < 1e-4);
    }
    nas_free(f);
}

static void conv_bn_relu_and_relu_conv_bn(void **state) {
    (void)state;
    nas_module *cbr = nas_conv_bn_relu(.in = 3, .out = 7, .kernel = 3, .stride = 2);
    nas_module *rcb = nas_relu_conv_bn(.in = 3, .out = 7, .kernel = 1, .affine = NAS_AFFINE_NEVER);
    randomise_all(cbr);
    randomise_all(rcb);
    nas_tensor *x = random_input(2, NAS_DIMS(3, 3, 8, 6));
    nas_tensor *y = nas_conv2d(x, parameter_at(cbr, "conv.weight"), NULL, (nas_conv_args){.stride = 2, .padding = 1});
    nas_bn_state bn = {.gamma = parameter_at(cbr, "bn.gamma"), .beta = parameter_at(cbr, "bn.beta")};
    assert_same_tensor(nas_forward(cbr, x), nas_relu(nas_batch_norm(y, &bn)), 1e-6, "conv_bn_relu");
    y = nas_conv2d(nas_relu(x), parameter_at(rcb, "conv.weight"), NULL, (nas_conv_args){0});
    assert_same_tensor(nas_forward(rcb, x), nas_batch_norm(y, &(nas_bn_state){0}), 1e-6, "relu_conv_bn");
    assert_null(parameter_at(rcb, "bn.gamma"));
    assert_int_equal(nas_parameter_count(cbr), 7 * 3 * 9 + 14);
    assert_int_equal(nas_parameter_count(rcb), 7 * 3);
    nas_free(cbr);
    nas_free(rcb);
}

/* ReLU, depthwise, pointwise, batch norm with the parameters named with `suffix` */
static nas_tensor *separable(nas_module *m, const char *suffix, nas_tensor *x, int kernel, int stride, int dilation) {
    char depthwise[32], pointwise[32];
    snprintf(depthwise, sizeof depthwise, "depthwise%s.weight", suffix);
    snprintf(pointwise, sizeof pointwise, "pointwise%s.weight", suffix);
    x = nas_conv2d(nas_relu(x), parameter_at(m, depthwise), NULL,
                   (nas_conv_args){.stride = stride,
                                   .padding = dilation * (kernel - 1) / 2,
                                   .dilation = dilation,
                                   .groups = (int)nas_tensor_dim(x, 1)});
    x = nas_conv2d(x, parameter_at(m, pointwise), NULL, (nas_conv_args){0});
    return nas_batch_norm(x, &(nas_bn_state){0});
}

static void separable_blocks(void **state) {
    (void)state;
    nas_module *sep = nas_sep_conv(.in = 5, .kernel = 5, .stride = 2, .affine = NAS_AFFINE_WHEN_FIXED);
    nas_module *dil = nas_dil_conv(.in = 5, .out = 6, .kernel = 3, .stride = 2, .affine = NAS_AFFINE_WHEN_FIXED);
    randomise_all(sep);
    randomise_all(dil);
    nas_tensor *x = random_input(3, NAS_DIMS(2, 5, 10, 8));
    nas_tensor *y = separable(sep, "2", separable(sep, "1", x, 5, 2, 1), 5, 1, 1);
    assert_same_tensor(nas_forward(sep, x), y, 1e-5, "sep_conv");
    y = separable(dil, "", x, 3, 2, 2);
    assert_same_tensor(nas_forward(dil, x), y, 1e-5, "dil_conv");
    assert_int_equal(nas_tensor_dim(y, 1), 6);
    assert_int_equal(nas_tensor_dim(y, 2), 5);
    assert_int_equal(nas_parameter_count(sep), 2 * (5 * 25 + 25)); /* C k k + C C, twice */
    assert_int_equal(nas_parameter_count(dil), 5 * 9 + 5 * 6);
    nas_free(sep);
    nas_free(dil);
}

static void factorized_reduce(void **state) {
    (void)state;
    nas_module *f = nas_factorized_reduce(.in = 3, .out = 8);
    randomise_all(f);
    float *values = random_floats(4, 2 * 3 * 6 * 8), shifted[2 * 3 * 5 * 7];
    nas_tensor *x = nas_input(NAS_DIMS(2, 3, 6, 8), values);
    for (int p = 0; p < 6; p++) { /* x[:, :, 1:, 1:] */
        for (int i = 0; i < 5; i++) {
            memcpy(shifted + (p * 5 + i) * 7, values + (p * 6 + i + 1) * 8 + 1, 7 * sizeof(float));
        }
    }
    nas_conv_args half = {.stride = 2};
    nas_tensor *parts[2] = {
        nas_conv2d(nas_relu(x), parameter_at(f, "conv1.weight"), NULL, half),
        nas_conv2d(nas_relu(nas_input(NAS_DIMS(2, 3, 5, 7), shifted)), parameter_at(f, "conv2.weight"), NULL, half)};
    nas_bn_state bn = {.gamma = parameter_at(f, "bn.gamma"), .beta = parameter_at(f, "bn.beta")};
    nas_tensor *y = nas_batch_norm(nas_concat(2, parts, 1), &bn);
    assert_same_tensor(nas_forward(f, x), y, 1e-5, "factorized reduce");
    assert_int_equal(nas_tensor_dim(y, 2), 3);
    assert_int_equal(nas_tensor_dim(y, 3), 4);
    assert_int_equal(nas_parameter_count(f), 8 * 3 + 16);
    assert_null(nas_forward(f, nas_input(NAS_DIMS(1, 3, 7, 8), NULL)));
    assert_error(NAS_SHAPE, "even height and width is needed, not 7 x 8");
    free(values);
    nas_free(f);
}

static void dense(void **state) {
    (void)state;
    nas_module *d = nas_dense(.in = 12, .out = 4), *bare = nas_dense(.in = 12, .out = 4, .no_bias = true);
    randomise_all(d);
    nas_tensor *image = random_input(5, NAS_DIMS(2, 3, 2, 2)), *x = nas_reshape(image, NAS_DIMS(2, 12));
    nas_tensor *y = nas_linear(x, parameter_at(d, "weight"), parameter_at(d, "bias"));
    assert_same_tensor(nas_forward(d, x), y, 1e-6, "dense");
    assert_same_tensor(nas_forward(d, image), y, 1e-6, "dense behind an image");
    assert_int_equal(nas_parameter_count(d), 52);
    assert_int_equal(nas_parameter_count(bare), 48);
    nas_free(d);
    nas_free(bare);
}

static void pooling(void **state) {
    (void)state;
    nas_tensor *x = random_input(6, NAS_DIMS(2, 5, 8, 6));
    nas_module *max = nas_pool(.kind = NAS_POOL_MAX, .kernel = 3, .stride = 2, .padding = NAS_SAME);
    nas_module *avg =
        nas_pool(.kind = NAS_POOL_AVG, .kernel = 3, .stride = 1, .padding = 1, .channels = 5, .bn_search_only = true);
    nas_module *global = nas_pool(.kind = NAS_POOL_GLOBAL);
    assert_same_tensor(nas_forward(max, x), nas_max_pool(x, (nas_pool_args){.kernel = 3, .stride = 2, .padding = 1}), 0,
                       "max");
    nas_tensor *y = nas_avg_pool(x, (nas_pool_args){.kernel = 3, .stride = 1, .padding = 1});
    assert_same_tensor(nas_forward(avg, x), nas_batch_norm(y, &(nas_bn_state){0}), 1e-6, "average, with batch norm");
    assert_same_tensor(nas_forward(global, x), nas_global_avg_pool(x), 0, "global");
    nas_free(max);
    nas_free(avg);
    nas_free(global);
}

static void layers_without_parameters(void **state) {
    (void)state;
    nas_tensor *x = random_input(7, NAS_DIMS(2, 3, 5, 4));
    nas_tensor *(*const functions[])(nas_tensor *) = {nas_relu, nas_relu6, nas_sigmoid,      nas_tanh,
                                                      nas_gelu, nas_swish, nas_hard_sigmoid, nas_hard_swish};
    for (int kind = NAS_RELU; kind <= NAS_HARD_SWISH; kind++) {
        nas_module *m = nas_activation_new((nas_activation)kind);
        assert_same_tensor(nas_forward(m, x), functions[kind](x), 0, "activation");
        nas_free(m);
    }
    nas_module *identity = nas_identity_new(), *dropout = nas_dropout_new(0.5f), *none = nas_none_new(2),
               *keep = nas_none_new(1);
    assert_ptr_equal(nas_forward(identity, x), x);
    assert_same_tensor(nas_forward(dropout, x), x, 0, "dropout outside training");
    nas_tensor *zero = nas_forward(none, x);
    assert_int_equal(nas_tensor_dim(zero, 2), 3); /* x[:, :, ::2, ::2] */
    assert_int_equal(nas_tensor_dim(zero, 3), 2);
    float *values = values_of(zero);
    for (int i = 0; i < 2 * 3 * 3 * 2; i++) {
        assert_true(values[i] == 0);
    }
    free(values);
    assert_int_equal(nas_tensor_dim(nas_forward(keep, nas_input(NAS_DIMS(2, 9), NULL)), 1), 9);
    assert_null(nas_forward(none, nas_input(NAS_DIMS(2, 9), NULL)));
    assert_error(NAS_SHAPE, "stride 2 needs an image");
    nas_free(identity);
    nas_free(dropout);
    nas_free(none);
    nas_free(keep);
}

static void dropout_while_training(void **state) {
    (void)state;
    nas_module *dropout = nas_dropout_new(0.25f);
    float ones[4000];
    for (int i = 0; i < 4000; i++) {
        ones[i] = 1;
    }
    nas_tape_begin(tape, &(nas_tape_config){.training = true, .seed = 3});
    float *y = values_of(nas_forward(dropout, nas_input(NAS_DIMS(4, 1000), ones)));
    int kept = 0;
    for (int i = 0; i < 4000; i++) {
        assert_true(y[i] == 0 || y[i] == 1 / 0.75f);
        kept += y[i] != 0;
    }
    assert_in_range(kept, 3000 - 5 * 28, 3000 + 5 * 28);
    free(y);
    nas_free(dropout);
}

static void sequence(void **state) {
    (void)state;
    nas_module *m = nas_sequential(nas_activation_new(NAS_TANH), nas_activation_new(NAS_SIGMOID));
    nas_tensor *x = random_input(8, NAS_DIMS(2, 5));
    assert_same_tensor(nas_forward(m, x), nas_sigmoid(nas_tanh(x)), 0, "sequential");
    nas_free(m);
}

static void wrong_configs_are_refused(void **state) {
    (void)state;
    assert_null(nas_conv(.in = 3, .kernel = 3));
    assert_error(NAS_INVALID, ".out 0");
    assert_null(nas_conv(.in = 3, .out = 3, .kernel = 3, .padding = -5));
    assert_error(NAS_INVALID, ".padding -5");
    assert_null(nas_conv_bn_relu(.in = 4, .out = 4, .kernel = 3, .groups = 3));
    assert_error(NAS_INVALID, "3 groups do not divide");
    assert_null(nas_sep_conv(.in = 4, .kernel = 3, .groups = 2));
    assert_error(NAS_INVALID, "nas_sep_conv: .groups");
    assert_null(nas_factorized_reduce(.in = 4, .out = 5));
    assert_error(NAS_INVALID, ".out 5 even");
    assert_null(nas_bn(.channels = 0));
    assert_error(NAS_INVALID, ".channels 0");
    assert_null(nas_dense(.in = 3));
    assert_error(NAS_INVALID, ".out 0");
    assert_null(nas_pool(.kind = NAS_POOL_AVG, .kernel = 3, .padding = 3));
    assert_error(NAS_INVALID, ".padding 3");
    assert_null(nas_pool(.kind = NAS_POOL_AVG, .kernel = 3, .bn_search_only = true));
    assert_error(NAS_INVALID, ".channels 0");
    assert_null(nas_activation_new((nas_activation)99));
    assert_error(NAS_INVALID, "unknown kind 99");
    assert_null(nas_dropout_new(1));
    assert_error(NAS_INVALID, "nas_dropout: p 1");
    assert_null(nas_none_new(0));
    assert_error(NAS_INVALID, "stride 0");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(conv, begin, close_tape),
        cmocka_unit_test_setup_teardown(rectangular_kernels, begin, close_tape),
        cmocka_unit_test_setup_teardown(factorized_reduce_of_a_row, begin, close_tape),
        cmocka_unit_test_setup_teardown(conv_bn_relu_and_relu_conv_bn, begin, close_tape),
        cmocka_unit_test_setup_teardown(separable_blocks, begin, close_tape),
        cmocka_unit_test_setup_teardown(factorized_reduce, begin, close_tape),
        cmocka_unit_test_setup_teardown(dense, begin, close_tape),
        cmocka_unit_test_setup_teardown(pooling, begin, close_tape),
        cmocka_unit_test_setup_teardown(layers_without_parameters, begin, close_tape),
        cmocka_unit_test_setup_teardown(dropout_while_training, begin, close_tape),
        cmocka_unit_test_setup_teardown(sequence, begin, close_tape),
        cmocka_unit_test_setup_teardown(wrong_configs_are_refused, begin, close_tape),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
