/* Blocks of networks for small devices against the operations that they are made of, in every combination of their
 * options; folding, shapes and numbers of parameters. */
#include "nn_support.h"
#include "tape.h"

enum { N = 2, IN = 6, H = 7, W = 5 };

static int begin(void **state) {
    open_tape(state);
    nas_tape_begin(tape, &(nas_tape_config){.freeze_running = true});
    return 0;
}

static nas_tensor *conv(nas_module *m, const char *path, nas_tensor *x, nas_conv_args args) {
    return nas_conv2d(x, parameter_at(m, path), NULL, args);
}

static nas_tensor *norm(nas_module *m, const char *name, nas_tensor *x, float eps) {
    char gamma[64], beta[64];
    snprintf(gamma, sizeof gamma, "%s.gamma", name);
    snprintf(beta, sizeof beta, "%s.beta", name);
    return nas_batch_norm(x,
                          &(nas_bn_state){.gamma = parameter_at(m, gamma), .beta = parameter_at(m, beta), .eps = eps});
}

static nas_tensor *active(nas_activation kind, nas_tensor *x) {
    return kind == NAS_RELU6 ? nas_relu6(x) : kind == NAS_HARD_SWISH ? nas_hard_swish(x) : nas_relu(x);
}

static nas_tensor *squeezed(nas_module *m, const char *prefix, nas_tensor *x) {
    char path[4][64];
    static const char *const names[] = {"reduce.weight", "reduce.bias", "expand.weight", "expand.bias"};
    for (int i = 0; i < 4; i++) {
        snprintf(path[i], sizeof *path, "%s%s", prefix, names[i]);
    }
    nas_tensor *s = nas_global_avg_pool(x);
    s = nas_relu(nas_linear(s, parameter_at(m, path[0]), parameter_at(m, path[1])));
    s = nas_linear(s, parameter_at(m, path[2]), parameter_at(m, path[3]));
    return nas_mul(x, nas_scale(nas_relu6(nas_add_scalar(s, 3)), 1.0f / 6));
}

static nas_tensor *expected(nas_module *m, const nas_mbconv_config *c, nas_tensor *x) {
    nas_tensor *y = x;
    int groups = c->groups ? c->groups : 1;
    if (parameter_at(m, "body.expand.weight")) {
        y = conv(m, "body.expand.weight", y, (nas_conv_args){.groups = groups});
        y = nas_channel_shuffle(active(c->activation, norm(m, "body.expand_bn", y, c->bn_eps)), groups);
    }
    int wide = (int)nas_tensor_dim(y, 1);
    y = conv(m, "body.depthwise.weight", y,
             (nas_conv_args){.stride = c->stride, .padding = c->kernel / 2, .groups = wide});
    y = active(c->activation, norm(m, "body.depthwise_bn", y, c->bn_eps));
    y = c->squeeze ? squeezed(m, "body.squeeze.", y) : y;
    y = norm(m, "body.project_bn", conv(m, "body.project.weight", y, (nas_conv_args){.groups = groups}), c->bn_eps);
    return c->stride < 2 && (!c->out || c->out == c->in) && !c->no_shortcut ? nas_add(x, y) : y;
}

static const nas_mbconv_config configs[] = {
    {.in = IN, .kernel = 3, .expansion = 3, .activation = NAS_RELU6},
    {.in = IN, .kernel = 5, .expansion = 6, .stride = 2, .out = 9, .activation = NAS_RELU6, .bn_eps = 1e-3f},
    {.in = IN, .kernel = 7, .expansion = 1},
    {.in = IN, .kernel = 3, .expansion = 1, .always_expand = true, .no_shortcut = true},
    {.in = IN, .kernel = 3, .expansion = 4, .groups = 2},
    {.in = IN, .kernel = 5, .expansion = 1, .groups = 2, .out = 8},
    {.in = IN, .kernel = 3, .expansion = 4.4, .squeeze = 4, .activation = NAS_HARD_SWISH},
    {.in = IN, .kernel = 3, .stride = 2, .squeeze = 2, .out = IN},
};
enum { CONFIGS = sizeof configs / sizeof *configs };

static void blocks_are_their_operations(void **state) {
    (void)state;
    nas_tensor *x = random_input(1, NAS_DIMS(N, IN, H, W));
    for (int i = 0; i < CONFIGS; i++) {
        nas_module *m = nas_mbconv_new(&configs[i]);
        assert_non_null(m);
        randomise_all(m);
        nas_tensor *y = nas_forward(m, x);
        assert_same_tensor(y, expected(m, &configs[i], x), 1e-5, "mbconv");
        assert_int_equal(nas_tensor_dim(y, 2), configs[i].stride == 2 ? 4 : H);
        nas_free(m);
    }
}

static void sizes(void **state) {
    (void)state;
    static const int64_t parameters[] = {
        6 * 18 + 9 * 18 + 18 * 6 + 2 * (18 + 18 + 6),
        6 * 36 + 25 * 36 + 36 * 9 + 2 * (36 + 36 + 9),
        49 * 6 + 6 * 6 + 2 * (6 + 6),
        6 * 6 + 9 * 6 + 6 * 6 + 2 * (6 + 6 + 6),
        (6 * 24 + 24 * 6) / 2 + 9 * 24 + 2 * (24 + 24 + 6),
        25 * 6 + 6 * 8 / 2 + 2 * (6 + 8),
        6 * 26 + 9 * 26 + (26 * 8 + 8 + 8 * 26 + 26) + 26 * 6 + 2 * (26 + 26 + 6),
        9 * 6 + (6 * 8 + 8 + 8 * 6 + 6) + 6 * 6 + 2 * (6 + 6),
    };
    for (int i = 0; i < CONFIGS; i++) {
        nas_module *m = nas_mbconv_new(&configs[i]);
        assert_int_equal(nas_parameter_count(m), parameters[i]);
        nas_free(m);
    }
    assert_int_equal(nas_round_channels(3, 8), 8);
    assert_int_equal(nas_round_channels(24 * 0.75, 8), 24); /* 16 would be less than nine tenths */
    assert_int_equal(nas_round_channels(32 * 1.4, 8), 48);
    assert_int_equal(nas_round_channels(17, 8), 16);
}

/* The networks in use: batch norms go into all convolutions, and what comes out is the same. */
static void blocks_fold(void **state) {
    (void)state;
    for (int i = 0; i < CONFIGS; i++) {
        nas_module *m = nas_mbconv_new(&configs[i]);
        randomise_all(m);
        nas_tape_begin(tape, &(nas_tape_config){.bn = NAS_BN_RUNNING});
        nas_tensor *y = nas_forward(m, random_input(1, NAS_DIMS(N, IN, H, W)));
        size_t count = (size_t)nas_tensor_count(y);
        float *before = values_of(y);
        int folded, all = 2 + (parameter_at(m, "body.expand.weight") != NULL);
        assert_int_equal(nas_fold_batch_norm(m, &folded), NAS_OK);
        assert_int_equal(folded, all);
        nas_tape_begin(tape, &(nas_tape_config){.bn = NAS_BN_RUNNING});
        float *after = values_of(nas_forward(m, random_input(1, NAS_DIMS(N, IN, H, W))));
        assert_floats_near(after, before, count, 2e-4, "folded");
        free(before);
        free(after);
        nas_free(m);
    }
}

static void squeeze_and_excite(void **state) {
    (void)state;
    nas_module *m = nas_squeeze_excite_new(IN, 4);
    randomise_all(m);
    nas_tensor *x = random_input(1, NAS_DIMS(N, IN, H, W));
    assert_same_tensor(nas_forward(m, x), squeezed(m, "", x), 1e-6, "squeeze and excite");
    nas_free(m);
}

static void wrong_configs_are_refused(void **state) {
    (void)state;
    assert_null(nas_mbconv(.in = 3));
    assert_error(NAS_INVALID, ".kernel 0");
    assert_null(nas_mbconv(.in = 3, .kernel = 3, .groups = 2));
    assert_error(NAS_INVALID, "2 groups do not divide 3");
    assert_null(nas_mbconv(.in = 3, .kernel = 3, .expansion = 0.1));
    assert_error(NAS_INVALID, ".expansion 0.1");
    assert_null(nas_squeeze_excite_new(3, 0));
    assert_error(NAS_INVALID, "0 reduced");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(blocks_are_their_operations, begin, close_tape),
        cmocka_unit_test(sizes),
        cmocka_unit_test_setup_teardown(blocks_fold, begin, close_tape),
        cmocka_unit_test_setup_teardown(squeeze_and_excite, begin, close_tape),
        cmocka_unit_test(wrong_configs_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
