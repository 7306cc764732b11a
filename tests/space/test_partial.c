/* Partial channels and dropout behind identities: what a layer choice does with a decision's .part and .skip_dropout.
 */
#include "tape.h"

#include <espalier/space.h>

#include "tensor/tensor.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N = 2, C = 8, PART = 4, SIDE = 6 };

typedef struct net {
    nas_module *choice;
    nas_space *space;
    float *x;
} net;

static net net_new(int n, const nas_candidate *candidates) {
    net t = {.choice = nas_layer_choice(NULL, "op", n, candidates), .x = random_floats(4, (size_t)N * C * SIDE * SIDE)};
    assert_no_error();
    assert_int_equal(nas_initialise(t.choice, 5), NAS_OK);
    t.space = nas_space_new(t.choice);
    return t;
}

static void net_free(net *t) {
    nas_space_free(t->space);
    nas_free(t->choice);
    free(t->x);
}

static nas_tensor *input_of(const net *t) { return nas_input(4, (int64_t[]){N, C, SIDE, SIDE}, t->x); }

static nas_status find_weight(const char *path, nas_tensor *tensor, nas_role role, void *user) {
    if (role == NAS_ROLE_WEIGHT && strstr(path, "weight")) {
        *(nas_tensor **)user = tensor;
    }
    return NAS_OK;
}

static nas_candidate relu_conv_bn(void) {
    return (nas_candidate){"conv", nas_relu_conv_bn(.in = C, .out = C, .kernel = 3, .affine = NAS_AFFINE_WHEN_FIXED)};
}

/* What is expected of one convolution with weight (C/K, C/K, 3, 3). */
static nas_tensor *reference(const net *t, nas_tensor *weight) {
    nas_tensor *x = input_of(t), *first = nas_slice(x, 1, 0, C / PART);
    nas_tensor *y = nas_conv2d(nas_relu(first), weight, NULL, (nas_conv_args){.padding = NAS_SAME});
    y = nas_batch_norm(y, &(nas_bn_state){0});
    nas_tensor *all = nas_concat(2, (nas_tensor *[]){y, nas_slice(x, 1, C / PART, C - C / PART)}, 1);
    /* shuffle: channel i * K + g is channel i of group g */
    nas_tensor *channels[C];
    for (int c = 0; c < C; c++) {
        channels[c] = nas_slice(all, 1, c % PART * (C / PART) + c / PART, 1);
    }
    return nas_concat(C, channels, 1);
}

static nas_tensor *weigh(nas_tensor *y, const float *factors) {
    return nas_sum(nas_mul(y, nas_input(4, (int64_t[]){N, C, SIDE, SIDE}, factors)));
}

static void one_in_four(void **state) {
    (void)state;
    nas_candidate candidate = relu_conv_bn();
    net t = net_new(1, &candidate);
    nas_tensor *weight = NULL, *small = nas_variable(4, (int64_t[]){C / PART, C / PART, 3, 3}, NAS_ROLE_WEIGHT);
    nas_visit_parameters(t.choice, find_weight, &weight);
    for (int o = 0; o < C / PART; o++) {
        memcpy(small->data + o * C / PART * 9, weight->data + o * C * 9, C / PART * 9 * sizeof(float));
    }
    enum { COUNT = N * C * SIDE * SIDE };
    float *factors = random_floats(9, COUNT), got[COUNT], expected[COUNT];
    float gradient[C * C * 9], small_gradient[C / PART * C / PART * 9];
    assert_int_equal(nas_decide(t.space, 0, (nas_decision){.run = 1, .part = PART}), NAS_OK);
    nas_tape_begin(tape, &(nas_tape_config){.grad = NAS_ROLE_WEIGHT});
    nas_tensor *y = nas_retain(nas_forward(t.choice, input_of(&t)));
    assert_no_error();
    nas_tensor_read(y, got);
    assert_int_equal(nas_backward(weigh(y, factors)), NAS_OK);
    nas_tensor_read_grad(weight, gradient);
    nas_tape_begin(tape, &(nas_tape_config){.grad = NAS_ROLE_WEIGHT});
    y = nas_retain(reference(&t, small));
    nas_tensor_read(y, expected);
    assert_int_equal(nas_backward(weigh(y, factors)), NAS_OK);
    nas_tensor_read_grad(small, small_gradient);
    nas_tape_reset(tape);
    assert_floats_near(got, expected, COUNT, 1e-5, "partial channels");
    for (int i = 0; i < C * C * 9; i++) {
        int o = i / (C * 9), in = i / 9 % C, k = i % 9;
        bool inside = o < C / PART && in < C / PART;
        float want = inside ? small_gradient[(o * C / PART + in) * 9 + k] : 0;
        assert_true(fabsf(gradient[i] - want) < 1e-4f * (1 + fabsf(want)));
    }
    free(factors);
    nas_tensor_free(small);
    net_free(&t);
}

/* Every operation of the cells runs on part of the channels, with and without stride; what goes past is in its place.
 */
static void operations_of_cells(void **state) {
    (void)state;
    for (int stride = 1; stride <= 2; stride++) {
        enum { LATER = NAS_AFFINE_WHEN_FIXED, OPS = 5 };
        const nas_candidate candidates[OPS] = {
            {"none", nas_none_new(stride)},
            {"pool", nas_pool(.kind = NAS_POOL_MAX, .kernel = 3, .stride = stride, .padding = NAS_SAME, .channels = C,
                              .bn_search_only = true)},
            {"skip_connect",
             stride == 1 ? nas_identity_new() : nas_factorized_reduce(.in = C, .out = C, .affine = LATER)},
            {"sep", nas_sep_conv(.in = C, .kernel = 3, .stride = stride)},
            {"dil", nas_dil_conv(.in = C, .kernel = 5, .stride = stride, .affine = LATER)},
        };
        net t = net_new(OPS, candidates);
        int side = SIDE / stride;
        float rest[N * (C - C / PART) * SIDE * SIDE], y[N * C * SIDE * SIDE];
        nas_tape_begin(tape, &(nas_tape_config){.grad = NAS_ROLE_WEIGHT});
        nas_tensor *past = nas_slice(input_of(&t), 1, C / PART, C - C / PART);
        past = stride == 2 ? nas_max_pool(past, (nas_pool_args){.kernel = 2}) : past;
        nas_tensor_read(past, rest);
        nas_tape_reset(tape);
        for (int op = 0; op <= OPS; op++) { /* each alone, and all */
            uint64_t run = op < OPS ? (uint64_t)1 << op : (1 << OPS) - 1;
            assert_int_equal(nas_decide(t.space, 0, (nas_decision){.run = run, .part = PART}), NAS_OK);
            nas_tape_begin(tape, &(nas_tape_config){.grad = NAS_ROLE_WEIGHT});
            nas_tensor *out = nas_retain(nas_forward(t.choice, input_of(&t)));
            assert_no_error();
            assert_int_equal(nas_tensor_dim(out, 1), C);
            assert_int_equal(nas_tensor_dim(out, 2), side);
            nas_tensor_read(out, y);
            if (run >> 3) { /* with weights in every case */
                assert_int_equal(nas_backward(nas_sum(nas_mul(out, out))), NAS_OK);
            }
            nas_tape_reset(tape);
            int plane = side * side;
            for (int c = 0; c < C; c++) { /* of the first image: groups 1 to 3 went past */
                int from = c % PART * (C / PART) + c / PART;
                if (from >= C / PART) {
                    assert_memory_equal(y + c * plane, rest + (from - C / PART) * plane, (size_t)plane * sizeof(float));
                }
            }
        }
        net_free(&t);
    }
}

static void stays_in_force(void **state) {
    (void)state;
    nas_candidate two[] = {relu_conv_bn(), {"skip", nas_identity_new()}};
    net t = net_new(2, two);
    nas_decide(t.space, 0, (nas_decision){.run = 3, .part = PART});
    nas_architecture *a = nas_architecture_new(t.space);
    nas_architecture_apply(a, t.space);
    assert_int_equal(nas_decision_of(t.space, 0).part, PART);
    assert_int_equal(nas_decision_of(t.space, 0).run, 1);
    nas_tape_begin(tape, &(nas_tape_config){0});
    nas_forward(t.choice, input_of(&t));
    uint64_t narrow = nas_tape_macs(tape);
    nas_tape_begin(tape, &(nas_tape_config){.dry = true});
    nas_forward(t.choice, input_of(&t));
    uint64_t full = nas_tape_macs(tape);
    nas_tape_reset(tape);
    assert_int_equal(full, N * C * C * 9 * SIDE * SIDE);
    assert_int_equal(full, narrow * PART * PART);
    nas_architecture_free(a);
    net_free(&t);
}

static void assert_refused(nas_candidate candidate, int part, const char *why) {
    net t = net_new(1, &candidate);
    assert_int_equal(nas_decide(t.space, 0, (nas_decision){.run = 1, .part = part}), NAS_OK);
    nas_tape_begin(tape, &(nas_tape_config){0});
    assert_null(nas_forward(t.choice, input_of(&t)));
    assert_error(nas_error_status(), why);
    nas_tape_reset(tape);
    net_free(&t);
}

static void refusals(void **state) {
    (void)state;
    assert_refused((nas_candidate){"wide", nas_conv(.in = C, .out = 2 * C, .kernel = 1)}, 2, "number of channels");
    assert_refused(relu_conv_bn(), 3, "one in 3 channels of 2x8x6x6");
    nas_module *inner =
        nas_sequential(nas_conv(.in = C, .out = 6, .kernel = 1), nas_conv(.in = 6, .out = C, .kernel = 1));
    assert_refused((nas_candidate){"inner", inner}, 4, "6 channels");
    nas_candidate candidate = relu_conv_bn();
    net t = net_new(1, &candidate);
    assert_int_equal(nas_decide(t.space, 0, (nas_decision){.run = 1, .part = -1}), NAS_INVALID);
    assert_error(NAS_INVALID, "\"op\"");
    assert_int_equal(nas_decide(t.space, 0, (nas_decision){.run = 1, .skip_dropout = 1}), NAS_INVALID);
    assert_error(NAS_INVALID, "\"op\"");
    net_free(&t);
}

/* Elements of the identity are dropped, in training, and of nothing else. */
static void dropout_behind_identities(void **state) {
    (void)state;
    nas_candidate two[] = {relu_conv_bn(), {"skip", nas_identity_new()}};
    net t = net_new(2, two);
    enum { COUNT = N * C * SIDE * SIDE };
    float y[COUNT];
    for (int training = 0; training < 2; training++) {
        for (int op = 0; op < 2; op++) {
            nas_decide(t.space, 0, (nas_decision){.run = (uint64_t)1 << op, .skip_dropout = 0.5f});
            nas_tape_begin(tape, &(nas_tape_config){.training = training, .seed = 3});
            nas_tensor_read(nas_forward(t.choice, input_of(&t)), y);
            nas_tape_reset(tape);
            int zeros = 0, doubled = 0;
            for (int i = 0; i < COUNT; i++) {
                zeros += y[i] == 0;
                doubled += y[i] == 2 * t.x[i];
            }
            if (op == 1 && training) {
                assert_in_range(zeros, COUNT * 4 / 10, COUNT * 6 / 10);
                assert_int_equal(zeros + doubled, COUNT);
            } else {
                assert_in_range(zeros, 0, 3);
            }
        }
    }
    net_free(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_in_four, open_tape, close_tape),
        cmocka_unit_test_setup_teardown(operations_of_cells, open_tape, close_tape),
        cmocka_unit_test_setup_teardown(stays_in_force, open_tape, close_tape),
        cmocka_unit_test_setup_teardown(refusals, open_tape, close_tape),
        cmocka_unit_test_setup_teardown(dropout_behind_identities, open_tape, close_tape),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
