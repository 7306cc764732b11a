/* Batch norm folded into the convolutions before it: the same results, and where there is no such convolution it stays.
 */
#include "nn_support.h"
#include "tape.h"

#include <espalier/space.h>

enum { N = 3, C = 6, H = 8, W = 6 };

/* Weights that no symmetry hides: variances positive, everything else of either sign. */
static nas_status fill(const char *path, nas_tensor *t, nas_role role, void *user) {
    (void)role;
    uint64_t seed = ++*(uint64_t *)user;
    size_t count = (size_t)nas_tensor_count(t);
    float *values = random_floats(seed, count);
    const char *leaf = strrchr(path, '.');
    for (size_t i = 0; leaf && !strcmp(leaf, ".running_var") && i < count; i++) {
        values[i] = 0.1f + values[i] * values[i];
    }
    nas_tensor_write(t, values);
    free(values);
    return NAS_OK;
}

static void fill_all(nas_module *model) {
    uint64_t seed = 7;
    nas_visit_parameters(model, fill, &seed);
}

static float *run(nas_module *model, int channels, int height, int width) {
    nas_tape_begin(tape, &(nas_tape_config){.bn = NAS_BN_RUNNING});
    return values_of(nas_forward(model, random_input(1, NAS_DIMS(N, channels, height, width))));
}

static int64_t output_count(nas_module *model, int channels, int height, int width) {
    nas_tape_begin(tape, &(nas_tape_config){.bn = NAS_BN_RUNNING, .dry = true});
    return nas_tensor_count(nas_forward(model, nas_input(4, (int64_t[]){N, channels, height, width}, NULL)));
}

static nas_status count_estimates(const char *path, nas_tensor *t, nas_role role, void *user) {
    (void)t;
    (void)role;
    const char *leaf = strrchr(path, '.');
    *(int *)user += strcmp(leaf ? leaf + 1 : path, "running_mean") == 0;
    return NAS_OK;
}

static int batch_norms(nas_module *model) {
    int n = 0;
    nas_visit_parameters(model, count_estimates, &n);
    return n;
}

/* Takes the model over. */
static void check(const char *what, nas_module *model, int channels, int height, int width, int expected, int left) {
    assert_no_error();
    fill_all(model);
    assert_int_equal(batch_norms(model), expected + left);
    float *before = run(model, channels, height, width);
    int folded = -1;
    assert_int_equal(nas_fold_batch_norm(model, &folded), NAS_OK);
    assert_int_equal(folded, expected);
    assert_int_equal(batch_norms(model), left);
    float *after = run(model, channels, height, width);
    size_t count = (size_t)output_count(model, channels, height, width);
    float most = 0;
    for (size_t i = 0; i < count; i++) {
        float size = before[i] < 0 ? -before[i] : before[i];
        most = size > most ? size : most;
    }
    assert_true(most > 0);
    for (size_t i = 0; i < count; i++) {
        before[i] /= most;
        after[i] /= most;
    }
    assert_floats_near(after, before, count, 2e-5, what);
    assert_int_equal(nas_fold_batch_norm(model, &folded), NAS_OK);
    assert_int_equal(folded, 0);
    free(before);
    free(after);
    nas_free(model);
}

static void blocks_fold(void **state) {
    (void)state;
    check("conv_bn_relu", nas_conv_bn_relu(.in = C, .out = 9, .kernel = 3, .stride = 2), C, H, W, 1, 0);
    check("with a bias", nas_conv_bn_relu(.in = C, .out = 9, .kernel = 3, .bias = true), C, H, W, 1, 0);
    check("without gamma", nas_conv_bn_relu(.in = C, .out = 9, .kernel = 1, .affine = NAS_AFFINE_NEVER), C, H, W, 1, 0);
    check("in groups", nas_conv_bn_relu(.in = C, .out = 12, .kernel = 3, .groups = 3), C, H, W, 1, 0);
    check("depthwise", nas_conv_bn_relu(.in = C, .out = C, .kernel = 5, .groups = C), C, H, W, 1, 0);
    check("relu_conv_bn", nas_relu_conv_bn(.in = C, .out = 20, .kernel = 1), C, H, W, 1, 0);
    check("sep_conv", nas_sep_conv(.in = C, .out = 20, .kernel = 3, .stride = 2), C, H, W, 2, 0);
    check("dil_conv", nas_dil_conv(.in = C, .kernel = 5), C, H, W, 1, 0);
    check("factorized_reduce", nas_factorized_reduce(.in = C, .out = 10), C, H, W, 1, 0);
}

static void rows_fold_across_their_ends(void **state) {
    (void)state;
    check("a row in a row",
          nas_sequential(nas_sequential(nas_conv(.in = C, .out = 4, .kernel = 3)),
                         nas_sequential(nas_bn(.channels = 4), nas_activation_new(NAS_RELU6))),
          C, H, W, 1, 0);
    check("two in turn",
          nas_sequential(nas_conv(.in = C, .out = 4, .kernel = 3), nas_bn(.channels = 4), nas_bn(.channels = 4)), C, H,
          W, 1, 1);
}

/* A module of a user's own, which reads the result of its convolution twice. */
typedef struct own {
    nas_module base;
    nas_module *conv, *bn;
} own;

static nas_tensor *own_forward(nas_module *self, nas_tensor *x) {
    own *m = (own *)self;
    nas_tensor *y = nas_forward(m->conv, x);
    return nas_add(y, nas_forward(m->bn, y));
}

static void others_stay(void **state) {
    (void)state;
    check("after a pooling",
          nas_sequential(nas_pool(.kind = NAS_POOL_AVG, .kernel = 2, .stride = 2), nas_bn(.channels = C)), C, H, W, 0,
          1);
    check("after a ReLU",
          nas_sequential(nas_conv(.in = C, .out = C, .kernel = 1), nas_activation_new(NAS_RELU), nas_bn(.channels = C)),
          C, H, W, 0, 1);
    own *m = nas_module_new(own, own_forward);
    m->conv = nas_child(m, "conv", nas_conv(.in = C, .out = C, .kernel = 3));
    m->bn = nas_child(m, "bn", nas_bn(.channels = C));
    check("in a module of one's own", &m->base, C, H, W, 0, 1);
}

/* Sums of convolutions and of other things, in modules of a user's own. */
typedef struct sums {
    nas_module base;
    nas_module *a, *b, *pool;
} sums;

static nas_tensor *sums_forward(nas_module *self, nas_tensor *x) {
    sums *m = (sums *)self;
    nas_tensor *a = nas_forward(m->a, x), *b = nas_forward(m->b, x), *p = nas_forward(m->pool, x);
    nas_tensor *pair = nas_add(a, b), *twice = nas_add(b, b), *beside = nas_add(x, nas_forward(m->a, b));
    nas_tensor *pooled = nas_add(nas_forward(m->b, a), p), *three = nas_sum_of(3, (nas_tensor *[]){a, x, p});
    return nas_concat(5, (nas_tensor *[]){pair, twice, beside, pooled, three}, 1);
}

static void sums_of_folded_convolutions(void **state) {
    (void)state;
    sums *m = nas_module_new(sums, sums_forward);
    m->a = nas_child(m, "a", nas_relu_conv_bn(.in = C, .out = C, .kernel = 1));
    m->b = nas_child(m, "b", nas_dil_conv(.in = C, .kernel = 3));
    m->pool = nas_child(m, "pool", nas_pool(.kind = NAS_POOL_MAX, .kernel = 3, .stride = 1, .padding = NAS_SAME));
    check("sums", &m->base, C, H, W, 2, 0);
}

static nas_module *space_network(const char *name, const char *architecture) {
    nas_module *model = nas_space_build(name, &(nas_space_config){.channels = 3, .height = 32, .width = 32});
    nas_apply_fixed_architecture_text(model, architecture);
    return model;
}

static void networks_fold(void **state) {
    (void)state;
    /* what stays in nb201 is the head's, behind a sum */
    check("nb201",
          space_network("nb201",
                        "{\"edge_1_0\":\"nor_conv_3x3\",\"edge_2_0\":\"nor_conv_1x1\",\"edge_2_1\":\"none\","
                        "\"edge_3_0\":\"skip_connect\",\"edge_3_1\":\"avg_pool_3x3\",\"edge_3_2\":\"nor_conv_3x3\"}"),
          3, 32, 32, 1 + 15 * 3 + 4, 1);
}

static void nothing_is_an_error(void **state) {
    (void)state;
    assert_int_equal(nas_fold_batch_norm(NULL, NULL), NAS_INVALID);
    assert_error(NAS_INVALID, "nas_fold_batch_norm");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(blocks_fold, open_tape, close_tape),
        cmocka_unit_test_setup_teardown(rows_fold_across_their_ends, open_tape, close_tape),
        cmocka_unit_test_setup_teardown(others_stay, open_tape, close_tape),
        cmocka_unit_test_setup_teardown(sums_of_folded_convolutions, open_tape, close_tape),
        cmocka_unit_test_setup_teardown(networks_fold, open_tape, close_tape),
        cmocka_unit_test(nothing_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
