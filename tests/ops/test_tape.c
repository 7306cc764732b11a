/* The tape as operations see it: sticky errors, roles, shared results, memory, dry passes, layouts. */
#include "tape_fixture.h"

#include "kernels/kernels.h"
#include "tensor/tensor.h"

#include <math.h>
#include <string.h>

static void begin(unsigned grad) { nas_tape_begin(tape, &(nas_tape_config){.grad = grad}); }

static void the_first_error_is_kept(void **state) {
    (void)state;
    begin(0);
    nas_tensor *x = random_input(1, NAS_DIMS(2, 3, 5, 5)), *w = random_input(2, NAS_DIMS(4, 7, 3, 3));
    nas_tensor *y = nas_relu(nas_conv2d(x, w, NULL, (nas_conv_args){.padding = NAS_SAME}));
    y = nas_linear(nas_global_avg_pool(nas_avg_pool(nas_add(y, y), (nas_pool_args){.kernel = 2})), w, NULL);
    nas_tensor *loss = nas_cross_entropy(nas_log_softmax(nas_dropout(nas_flatten(y), 0.5f)), x);
    assert_null(loss);
    assert_int_not_equal(nas_backward(loss), NAS_OK);
    assert_error(NAS_SHAPE, "nas_conv2d: weight 4x7x3x3 does not fit x 2x3x5x5");
}

/* Every operation takes NULL for each tensor. */
static void null_goes_through(void **state) {
    (void)state;
    begin(0);
    nas_tensor *x = random_input(1, NAS_DIMS(2, 3)), *parts[2] = {x, x}, *h, *c;
    nas_tensor *with_null[] = {x, NULL};
    nas_bn_state bn = {0};
    nas_tensor *results[] = {nas_conv2d(NULL, x, NULL, (nas_conv_args){0}),
                             nas_conv2d(x, NULL, NULL, (nas_conv_args){0}),
                             nas_linear(NULL, x, NULL),
                             nas_linear(x, NULL, NULL),
                             nas_batch_norm(NULL, &bn),
                             nas_batch_norm(x, NULL),
                             nas_layer_norm(NULL, NULL, NULL, 0),
                             nas_max_pool(NULL, (nas_pool_args){2}),
                             nas_avg_pool(NULL, (nas_pool_args){2}),
                             nas_global_avg_pool(NULL),
                             nas_relu(NULL),
                             nas_relu6(NULL),
                             nas_sigmoid(NULL),
                             nas_tanh(NULL),
                             nas_gelu(NULL),
                             nas_swish(NULL),
                             nas_softmax(NULL),
                             nas_log_softmax(NULL),
                             nas_add(NULL, x),
                             nas_add(x, NULL),
                             nas_sum_of(2, with_null),
                             nas_sum_of(0, with_null),
                             nas_sub(NULL, x),
                             nas_sub(x, NULL),
                             nas_mul(NULL, x),
                             nas_mul(x, NULL),
                             nas_scale(NULL, 2),
                             nas_add_scalar(NULL, 2),
                             nas_exp(NULL),
                             nas_log(NULL),
                             nas_weighted_sum(NULL, 2, parts),
                             nas_weighted_sum(x, 2, NULL),
                             nas_detach(NULL),
                             nas_concat(2, with_null, 0),
                             nas_concat(0, with_null, 0),
                             nas_slice(NULL, 0, 0, 1),
                             nas_pad(NULL, 1, 1, 1, 1),
                             nas_reshape(NULL, 1, (int64_t[]){1}),
                             nas_flatten(NULL),
                             nas_sum(NULL),
                             nas_mean(NULL),
                             nas_sum_dim(NULL, 0),
                             nas_mean_dim(NULL, 0),
                             nas_embedding(NULL, x),
                             nas_embedding(x, NULL),
                             nas_dropout(NULL, 0.5f),
                             nas_drop_path(NULL, 0.5f),
                             nas_cross_entropy(NULL, x),
                             nas_cross_entropy(x, NULL),
                             nas_cross_entropy_smooth(NULL, x, 0.1f),
                             nas_mse(NULL, x),
                             nas_mse(x, NULL),
                             nas_l1(NULL, x),
                             nas_l1(x, NULL),
                             nas_retain(NULL)};
    for (size_t i = 0; i < sizeof results / sizeof *results; i++) {
        if (results[i]) {
            fail_msg("call %zu made something of NULL", i);
        }
    }
    assert_false(nas_split(NULL, 0, 2, (int64_t[]){1, 1}, parts));
    assert_null(parts[0]);
    assert_false(nas_lstm_cell(x, x, NULL, x, NULL, &h, &c));
    assert_null(h);
    assert_null(c);
    assert_error(NAS_INVALID, "an input is NULL");
}

static void a_candidate_that_failed_is_not_a_missing_one(void **state) {
    (void)state;
    begin(0);
    nas_tensor *x = random_input(1, NAS_DIMS(2, 3)), *w = random_input(2, NAS_DIMS(2));
    nas_tensor *bad = nas_reshape(x, 1, (int64_t[]){5});
    assert_null(nas_weighted_sum(w, 2, (nas_tensor *[]){x, bad}));
    assert_error(NAS_SHAPE, "nas_reshape");
    assert_non_null(nas_weighted_sum(w, 2, (nas_tensor *[]){x, NULL}));
    assert_no_error();
}

static void without_a_tape(void **state) {
    (void)state;
    nas_tensor *p = random_variable(1, NAS_ROLE_WEIGHT, NAS_DIMS(2, 3, 4, 4)),
               *w = random_variable(2, NAS_ROLE_WEIGHT, NAS_DIMS(2));
    nas_tensor *results[] = {nas_relu(p),
                             nas_conv2d(p, p, NULL, (nas_conv_args){0}),
                             nas_batch_norm(p, &(nas_bn_state){0}),
                             nas_dropout(p, 0.5f),
                             nas_weighted_sum(w, 2, (nas_tensor *[]){p, p}),
                             nas_sum(p),
                             nas_zero(1, (int64_t[]){1}),
                             nas_add_scalar(p, 1),
                             nas_drop_path(p, -1),
                             nas_mse(p, p)};
    for (size_t i = 0; i < sizeof results / sizeof *results; i++) {
        assert_null(results[i]);
    }
    nas_error_clear();
    assert_null(nas_softmax(p));
    assert_error(NAS_USAGE, "nas_tape_begin");
    nas_tensor_free(p);
    nas_tensor_free(w);
}

static void only_asked_roles_get_gradients(void **state) {
    (void)state;
    nas_tensor *w = random_variable(1, NAS_ROLE_WEIGHT, NAS_DIMS(16, 3, 3, 3)),
               *dw = random_variable(2, NAS_ROLE_WEIGHT, NAS_DIMS(16, 1, 3, 3));
    nas_tensor *gamma = random_variable(3, NAS_ROLE_WEIGHT, NAS_DIMS(16)),
               *beta = random_variable(4, NAS_ROLE_WEIGHT, NAS_DIMS(16));
    nas_tensor *fc = random_variable(5, NAS_ROLE_WEIGHT, NAS_DIMS(4, 16)),
               *alpha = random_variable(6, NAS_ROLE_ARCH, NAS_DIMS(2));
    nas_tensor *weights[] = {w, dw, gamma, beta, fc};
    for (int pass = 0; pass < 2; pass++) {
        begin(pass ? NAS_ROLE_WEIGHT : NAS_ROLE_ARCH);
        nas_tensor *x =
            nas_conv2d(random_input(7, NAS_DIMS(2, 3, 6, 6)), w, NULL, (nas_conv_args){.padding = NAS_SAME});
        nas_tensor *a = nas_batch_norm(x, &(nas_bn_state){.gamma = gamma, .beta = beta, .relu = true});
        nas_tensor *b = nas_conv2d(x, dw, NULL, (nas_conv_args){.padding = NAS_SAME, .groups = 16});
        nas_tensor *y = nas_weighted_sum(nas_softmax(alpha), 2, (nas_tensor *[]){a, b});
        assert_int_equal(nas_backward(nas_mean(nas_tanh(nas_linear(nas_global_avg_pool(y), fc, NULL)))), NAS_OK);
        assert_int_equal(alpha->has_grad, pass == 0);
        for (int i = 0; i < 5; i++) {
            assert_int_equal(weights[i]->has_grad, pass == 1);
        }
        nas_zero_grad(alpha);
    }
    for (int i = 0; i < 5; i++) {
        nas_tensor_free(weights[i]);
    }
    nas_tensor_free(alpha);
}

static void one_backward_pass_per_tape(void **state) {
    (void)state;
    nas_tensor *w = random_variable(1, NAS_ROLE_WEIGHT, NAS_DIMS(3));
    begin(NAS_ROLE_WEIGHT);
    nas_tensor *loss = nas_sum(nas_exp(w));
    assert_int_equal(nas_backward(loss), NAS_OK);
    assert_false(isnan(nas_tensor_item(loss))); /* the loss itself stays */
    assert_int_equal(nas_backward(loss), NAS_USAGE);
    assert_error(NAS_USAGE, "differentiated already");
    begin(NAS_ROLE_WEIGHT);
    assert_int_equal(nas_backward(nas_exp(w)), NAS_SHAPE);
    assert_error(NAS_SHAPE, "reduce it");
    assert_int_equal(nas_backward(nas_sum(nas_input(NAS_DIMS(2), (float[]){1, 2}))), NAS_USAGE);
    assert_error(NAS_USAGE, "nothing behind the loss");
    nas_tensor_free(w);
}

static void a_shared_relu(void **state) {
    (void)state;
    nas_tensor *w = random_variable(1, NAS_ROLE_WEIGHT, NAS_DIMS(1, 3, 4, 5));
    float value[60], grad[60];
    nas_tensor_read(w, value);
    begin(NAS_ROLE_WEIGHT);
    nas_tensor *x = nas_scale(w, 2), *once = nas_relu(x);
    assert_ptr_equal(once, nas_relu(x));
    nas_tensor *sum = nas_add(nas_scale(once, 3), nas_add(nas_relu(x), nas_scale(nas_relu(x), -0.5f)));
    assert_int_equal(nas_backward(nas_sum(nas_add(sum, x))), NAS_OK);
    nas_tensor_read_grad(w, grad);
    for (int i = 0; i < 60; i++) {
        assert_true(fabs(grad[i] - (value[i] > 0 ? 2 * 4.5 : 2)) < 1e-5);
    }
    nas_tensor_free(w);
}

static void nothing_flows_through_detach(void **state) {
    (void)state;
    nas_tensor *w = random_variable(1, NAS_ROLE_WEIGHT, NAS_DIMS(1, 17, 3, 3));
    float value[153], grad[153];
    nas_tensor_read(w, value);
    for (int blocked = 0; blocked < 2; blocked++) {
        begin(NAS_ROLE_WEIGHT);
        nas_tensor *x = blocked ? nas__as(w, NAS__BLOCKED) : w;
        assert_int_equal(nas_backward(nas_sum(nas_mul(x, nas_detach(x)))), NAS_OK);
        nas_tensor_read_grad(w, grad);
        assert_floats_near(grad, value, 153, 1e-6, "gradient of x*detach(x)");
        nas_zero_grad(w);
    }
    nas_tensor_free(w);
}

static void retained_tensors_stay(void **state) {
    (void)state;
    nas_tensor *w = random_variable(1, NAS_ROLE_WEIGHT, NAS_DIMS(2, 3, 4, 4));
    float value[96], got[96];
    nas_tensor_read(w, value);
    begin(NAS_ROLE_WEIGHT);
    nas_tensor *gone = nas_scale(nas__as(w, NAS__BLOCKED), 2), *kept = nas_retain(nas_scale(gone, 3));
    assert_int_equal(nas_backward(nas_sum(nas_scale(kept, -0.25f))), NAS_OK);
    assert_int_equal(nas_tensor_read(kept, got), NAS_OK);
    for (int i = 0; i < 96; i++) {
        value[i] *= 6;
    }
    assert_floats_near(got, value, 96, 1e-6, "retained values");
    assert_int_equal(nas_tensor_read_grad(kept, got), NAS_OK);
    for (int i = 0; i < 96; i++) {
        assert_true(got[i] == -0.25f);
    }
    assert_int_equal(nas_tensor_read(gone, got), NAS_USAGE);
    assert_error(NAS_USAGE, "nas_retain");
    nas_tensor_free(w);
}

static void zeros_cost_nothing(void **state) {
    (void)state;
    nas_tensor *w = random_variable(1, NAS_ROLE_WEIGHT, NAS_DIMS(16, 16, 3, 3)),
               *alpha = random_variable(2, NAS_ROLE_ARCH, NAS_DIMS(3));
    begin(NAS_ROLE_WEIGHT | NAS_ROLE_ARCH);
    size_t before = nas_memory().live_bytes;
    nas_tensor *z = nas_zero(NAS_DIMS(2, 16, 8, 8));
    nas_tensor *y = nas_conv2d(nas_relu(z), w, NULL, (nas_conv_args){.stride = 2, .padding = 1});
    y = nas_avg_pool(nas_max_pool(y, (nas_pool_args){.kernel = 3, .stride = 1, .padding = 1}),
                     (nas_pool_args){.kernel = 2});
    y = nas_scale(nas_slice(nas_pad(y, 0, 1, 0, 1), 1, 2, 5), 3);
    y = nas_global_avg_pool(nas_sum_of(2, (nas_tensor *[]){y, nas_tanh(nas_add(y, y))}));
    assert_true(y->is_zero);
    assert_int_equal(nas_tensor_dim(y, 1), 5);
    assert_int_equal(nas_memory().live_bytes, before);
    nas_tensor *x = random_input(3, NAS_DIMS(2, 16, 8, 8));
    nas_tensor *mixed =
        nas_weighted_sum(alpha, 3, (nas_tensor *[]){z, nas_conv2d(x, w, NULL, (nas_conv_args){.padding = 1}), NULL});
    assert_int_equal(nas_backward(nas_sum(mixed)), NAS_OK);
    float grad[3];
    nas_tensor_read_grad(alpha, grad);
    assert_true(grad[0] == 0 && grad[1] != 0 && grad[2] == 0);
    nas_tensor_free(w);
    nas_tensor_free(alpha);
}

/* A zero tensor read in both layouts keeps enough memory for each. */
static void zeros_in_two_layouts(void **state) {
    (void)state;
    begin(0);
    nas_tensor *z = nas_zero(NAS_DIMS(2, 3, 4, 4)), *plain = nas__as(z, NAS__PLAIN),
               *blocked = nas__as(plain, NAS__BLOCKED);
    assert_int_equal(plain->layout, NAS__PLAIN);
    assert_int_equal(blocked->layout, NAS__BLOCKED);
    nas__data(plain);
    const float *data = nas__data(blocked);
    for (size_t i = 0; i < nas__storage(blocked); i++) {
        assert_true(data[i] == 0);
    }
    assert_true(blocked->buffer->bytes >= nas__storage(blocked) * sizeof(float));
}

static void a_dry_pass_counts(void **state) {
    (void)state;
    nas_tensor *w = random_variable(1, NAS_ROLE_WEIGHT, NAS_DIMS(32, 8, 3, 3)),
               *dw = random_variable(2, NAS_ROLE_WEIGHT, NAS_DIMS(32, 1, 5, 5));
    nas_tensor *fc = random_variable(3, NAS_ROLE_WEIGHT, NAS_DIMS(10, 32)),
               *gamma = random_variable(4, NAS_ROLE_WEIGHT, NAS_DIMS(32));
    for (int dry = 0; dry < 2; dry++) {
        nas_tape_begin(tape, &(nas_tape_config){.dry = dry, .training = true, .drop_path = 0.5});
        size_t before = nas_memory().live_bytes;
        nas_tensor *x = nas_input(NAS_DIMS(3, 16, 9, 7), NULL);
        x = nas_conv2d(x, w, NULL, (nas_conv_args){.stride = 2, .padding = 1, .groups = 2}); /* 3x32x5x4 */
        x = nas_relu(nas_batch_norm(x, &(nas_bn_state){.gamma = gamma}));
        x = nas_conv2d(x, dw, gamma, (nas_conv_args){.padding = NAS_SAME, .groups = 32});
        x = nas_drop_path(nas_dropout(nas_mul(nas_add_scalar(nas_sigmoid(x), 1), gamma), 0.5f), -1);
        x = nas_weighted_sum(
            nas_slice(gamma, 0, 0, 2), 2,
            (nas_tensor *[]){nas_max_pool(x, (nas_pool_args){3, 1, 1, 0}),
                             nas_concat(2, (nas_tensor *[]){nas_slice(x, 1, 0, 5), nas_slice(x, 1, 5, 27)}, 1)});
        x = nas_linear(nas_global_avg_pool(x), fc, NULL);
        nas_tensor *loss = nas_cross_entropy(x, nas_zero(NAS_DIMS(3)));
        assert_int_equal(nas_tensor_dim(x, 1), 10);
        assert_int_equal(nas_tensor_count(loss), 1);
        assert_int_equal(nas_tape_macs(tape), 3 * 32 * 5 * 4 * 8 * 9 + 3 * 32 * 5 * 4 * 25 + 3 * 10 * 32);
        if (dry) {
            float values[30];
            assert_int_equal(nas_memory().live_bytes, before);
            assert_int_equal(nas_tensor_read(x, values), NAS_USAGE);
            assert_error(NAS_USAGE, "dry");
        }
    }
    nas_tensor_free(w);
    nas_tensor_free(dw);
    nas_tensor_free(fc);
    nas_tensor_free(gamma);
}

static void tapes_nest(void **state) {
    (void)state;
    nas_tape *inner = nas_tape_new();
    nas_tensor *w = random_variable(1, NAS_ROLE_WEIGHT, NAS_DIMS(3));
    begin(NAS_ROLE_WEIGHT);
    nas_tensor *outside = nas_sum(nas_exp(w));
    nas_tape_begin(inner, &(nas_tape_config){.grad = NAS_ROLE_WEIGHT});
    assert_int_equal(nas_backward(outside), NAS_USAGE);
    assert_error(NAS_USAGE, "not on the current tape");
    assert_ptr_equal(nas_exp(w)->tape, inner);
    nas_tape_reset(inner);
    assert_int_equal(nas_backward(outside), NAS_OK);
    nas_tape_begin(inner, &(nas_tape_config){0});
    begin(NAS_ROLE_WEIGHT); /* again, from below: it comes to the top */
    assert_ptr_equal(nas_exp(w)->tape, tape);
    nas_tape_free(inner); /* from below, too */
    nas_tape_reset(tape);
    assert_null(nas_exp(w));
    assert_error(NAS_USAGE, "nas_tape_begin");
    nas_tensor_free(w);
}

static void bad_shapes(void **state) {
    (void)state;
    begin(0);
    assert_null(nas_input(2, (int64_t[]){3, 0}, NULL));
    assert_error(NAS_SHAPE, "nas_input: dimension 1 is 0");
    assert_null(nas_zero(6, (int64_t[]){1, 1, 1, 1, 1, 1}));
    assert_error(NAS_SHAPE, "nas_zero: 6 dimensions");
    assert_null(nas_variable(0, NULL, NAS_ROLE_WEIGHT));
    assert_error(NAS_SHAPE, "1 to 5");
}

/* Gradients of more consumers than a tensor holds apart, some of them sharing one buffer: x + 2x + ... + nx. */
static void many_consumers(void **state) {
    (void)state;
    enum { COUNT = 24, MOST = 20 };
    for (int n = 1; n <= MOST; n++) {
        nas_tensor *v = random_variable(70, NAS_ROLE_WEIGHT, NAS_DIMS(COUNT)), *terms[MOST];
        begin(NAS_ROLE_WEIGHT);
        nas_tensor *x = nas_retain(nas_scale(v, 3));
        for (int i = 0; i < n; i++) {
            terms[i] = i % 3 ? nas_scale(x, (float)(i + 1)) : nas_mul(x, nas_scale(x, (float)(i + 1)));
        }
        assert_int_equal(nas_backward(nas_sum(nas_sum_of(n, terms))), NAS_OK);
        float got[COUNT], of_variable[COUNT], expected[COUNT], values[COUNT];
        nas_tensor_read_grad(x, got);
        nas_tensor_read_grad(v, of_variable);
        nas_tensor_read(v, values);
        for (int k = 0; k < COUNT; k++) {
            expected[k] = 0;
            for (int i = 0; i < n; i++) {
                expected[k] += (float)(i + 1) * (i % 3 ? 1 : 2 * 3 * values[k]);
            }
        }
        assert_floats_near(got, expected, COUNT, 1e-5, "an intermediate tensor");
        for (int k = 0; k < COUNT; k++) {
            expected[k] *= 3;
        }
        assert_floats_near(of_variable, expected, COUNT, 1e-5, "the variable behind it");
        nas_tape_reset(tape);
        nas_tensor_free(v);
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, open_tape, close_tape)
int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(the_first_error_is_kept),
        TEST(null_goes_through),
        TEST(a_candidate_that_failed_is_not_a_missing_one),
        TEST(without_a_tape),
        TEST(only_asked_roles_get_gradients),
        TEST(one_backward_pass_per_tape),
        TEST(a_shared_relu),
        TEST(many_consumers),
        TEST(nothing_flows_through_detach),
        TEST(retained_tensors_stay),
        TEST(zeros_cost_nothing),
        TEST(zeros_in_two_layouts),
        TEST(a_dry_pass_counts),
        TEST(tapes_nest),
        TEST(bad_shapes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
