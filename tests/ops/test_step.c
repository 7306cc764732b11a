/* Whole steps of a small network: in steady state they move and allocate nothing, and the same step gives the same
 * bits. */
#include "tape_fixture.h"

#include "kernels/kernels.h"
#include "tensor/tensor.h"

#include <string.h>

typedef struct net {
    nas_tensor *stem, *conv, *depthwise, *half, *gamma[3], *fc, *alpha;
} net;

static nas_tensor *norm(nas_tensor *x, nas_tensor *gamma) { return nas_batch_norm(x, &(nas_bn_state){.gamma = gamma}); }

static net make_net(void) {
    return (net){.stem = random_variable(1, NAS_ROLE_WEIGHT, NAS_DIMS(16, 3, 3, 3)),
                 .conv = random_variable(2, NAS_ROLE_WEIGHT, NAS_DIMS(32, 16, 3, 3)),
                 .depthwise = random_variable(3, NAS_ROLE_WEIGHT, NAS_DIMS(32, 1, 3, 3)),
                 .half = random_variable(4, NAS_ROLE_WEIGHT, NAS_DIMS(8, 16, 1, 1)),
                 .gamma = {random_variable(5, NAS_ROLE_WEIGHT, NAS_DIMS(16)),
                           random_variable(6, NAS_ROLE_WEIGHT, NAS_DIMS(32)),
                           random_variable(7, NAS_ROLE_WEIGHT, NAS_DIMS(32))},
                 .fc = random_variable(8, NAS_ROLE_WEIGHT, NAS_DIMS(10, 32)),
                 .alpha = random_variable(9, NAS_ROLE_ARCH, NAS_DIMS(3))};
}

static void free_net(net *m) {
    nas_tensor *all[] = {m->stem,     m->conv,     m->depthwise, m->half, m->gamma[0],
                         m->gamma[1], m->gamma[2], m->fc,        m->alpha};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        nas_tensor_free(all[i]);
    }
}

/* Stem, a factorised reduction (two halves of 8 channels side by side), a mixed operation, pools, head. */
static void one_step(const net *m, uint64_t step) {
    static const float labels[] = {1, 7, 3};
    nas_tape_begin(
        tape,
        &(nas_tape_config){.grad = NAS_ROLE_WEIGHT | NAS_ROLE_ARCH, .training = true, .drop_path = 0.2, .step = step});
    nas_tensor *x = nas_relu(
        norm(nas_conv2d(random_input(step, NAS_DIMS(3, 3, 13, 11)), m->stem, NULL, (nas_conv_args){.padding = 1}),
             m->gamma[0]));
    nas_tensor *halves[] = {nas_conv2d(x, m->half, NULL, (nas_conv_args){.stride = 2}),
                            nas_conv2d(nas_pad(x, -1, 1, -1, 1), m->half, NULL, (nas_conv_args){.stride = 2})};
    nas_tensor *reduced = nas_concat(2, halves, 1);
    x = nas_relu(norm(nas_conv2d(reduced, m->conv, NULL, (nas_conv_args){.padding = 1}), m->gamma[1]));
    nas_tensor *deep =
        norm(nas_conv2d(x, m->depthwise, NULL, (nas_conv_args){.padding = 1, .groups = 32}), m->gamma[2]);
    nas_tensor *pooled = nas_max_pool(x, (nas_pool_args){.kernel = 3, .stride = 1, .padding = 1});
    x = nas_weighted_sum(nas_softmax(m->alpha), 3,
                         (nas_tensor *[]){nas_drop_path(deep, -1), pooled, nas_zero(x->ndim, x->dims)});
    x = nas_avg_pool(nas_dropout(x, 0.1f), (nas_pool_args){.kernel = 2});
    x = nas_linear(nas_global_avg_pool(x), m->fc, NULL);
    assert_int_equal(nas_backward(nas_cross_entropy(x, nas_input(NAS_DIMS(3), labels))), NAS_OK);
    nas_tape_reset(tape);
}

static void no_reorders_and_no_allocations(void **state) {
    (void)state;
    net m = make_net();
    uint64_t reorders = nas__reorder_count();
    one_step(&m, 1);
    one_step(&m, 2);
    uint64_t allocations = nas_memory().system_allocations;
    size_t live = nas_memory().live_bytes;
    for (uint64_t step = 3; step < 8; step++) {
        one_step(&m, step);
    }
    assert_int_equal(nas_memory().system_allocations, allocations);
    assert_int_equal(nas_memory().live_bytes, live);
    if (strcmp(nas__kernel_table()->isa, "generic")) { /* there oneDNN has no blocked backward convolutions */
        assert_int_equal(nas__reorder_count(), reorders);
    }
    free_net(&m);
}

static void the_same_step_twice_is_bit_identical(void **state) {
    (void)state;
    static float first[32 * 16 * 9], second[32 * 16 * 9];
    net m = make_net();
    one_step(&m, 5);
    nas_tensor_read_grad(m.conv, first);
    nas_zero_grad(m.conv);
    one_step(&m, 5);
    nas_tensor_read_grad(m.conv, second);
    assert_memory_equal(first, second, sizeof first);
    free_net(&m);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, open_tape, close_tape)
int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(no_reorders_and_no_allocations),
        TEST(the_same_step_twice_is_bit_identical),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
