/* Fused and unfused: the same graph gives the same loss and gradients whether its tensors stay late (fused kernels look
 * behind them) or are all computed, which nas_retain() enforces: the unfused path is the oracle of the fused one. */
#include "graphs.h"

#include <stdlib.h>

static float *run(graph *g, build_fn build, int64_t c, int64_t h, int64_t w, bool computed, float *loss) {
    g->computed = computed;
    nas_tape_begin(
        tape, &(nas_tape_config){.grad = NAS_ROLE_WEIGHT | NAS_ROLE_ARCH, .training = true, .recompute = g->recompute});
    nas_tensor *cost = loss_of(g, build, random_input(3, NAS_DIMS(2, 3, h, w)), c);
    assert_int_equal(nas_backward(cost), NAS_OK);
    *loss = nas_tensor_item(cost);
    size_t total = 0;
    for (int i = 0; i < g->n; i++) {
        total += (size_t)nas_tensor_count(g->parameters[i]);
    }
    float *gradients = malloc(total * sizeof *gradients), *at = gradients;
    for (int i = 0; i < g->n; at += nas_tensor_count(g->parameters[i++])) {
        nas_tensor_read_grad(g->parameters[i], at);
        nas_zero_grad(g->parameters[i]);
    }
    nas_tape_reset(tape);
    return gradients;
}

static void compare(build_fn build, int64_t c, int64_t h, int64_t w) {
    graph g = {0};
    float loss[2];
    float *fused = run(&g, build, c, h, w, false, &loss[0]), *plain = run(&g, build, c, h, w, true, &loss[1]);
    assert_floats_near(&loss[0], &loss[1], 1, 1e-4, "loss");
    const float *a = fused, *b = plain;
    for (int i = 0; i < g.n; i++) {
        size_t n = (size_t)nas_tensor_count(g.parameters[i]);
        assert_floats_near(a, b, n, 2e-4, "gradient of a parameter");
        a += n;
        b += n;
        nas_tensor_free(g.parameters[i]);
    }
    free(fused);
    free(plain);
    assert_no_error();
}

/* Forgetting and computing again changes no bit. */
static void recomputed_is_the_same(void **state) {
    (void)state;
    graph g = {0};
    float loss[2];
    float *kept = run(&g, sep_conv, 16, 12, 12, false, &loss[0]);
    g.recompute = true;
    float *again = run(&g, sep_conv, 16, 12, 12, false, &loss[1]);
    size_t total = 0;
    for (int i = 0; i < g.n; i++) {
        total += (size_t)nas_tensor_count(g.parameters[i]);
        nas_tensor_free(g.parameters[i]);
    }
    assert_memory_equal(loss, loss + 1, sizeof *loss);
    assert_memory_equal(kept, again, total * sizeof *kept);
    free(kept);
    free(again);
    assert_no_error();
}

#define COMPARED(NAME)                                                                                                 \
    static void NAME##_fused(void **state) {                                                                           \
        (void)state;                                                                                                   \
        compare(NAME, 16, 12, 12);                                                                                     \
        compare(NAME, 20, 9, 13);                                                                                      \
    }
COMPARED(sep_conv)
COMPARED(inverted_residual)
COMPARED(grouped_residual)
COMPARED(parted)

/* Parts that fill whole blocks are parted while they are late: an even number of blocks of all parts, then an odd one.
 */
static void parted_again_fused(void **state) {
    (void)state;
    compare(parted_again, 32, 9, 13);
    compare(parted_again, 48, 5, 5);
    compare(parted, 96, 7, 7);
}

COMPARED(residual)
COMPARED(mixed)
COMPARED(cell)
COMPARED(preprocessing)
COMPARED(read_twice)
COMPARED(computed_late)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(sep_conv_fused, open_tape, close_tape),
        cmocka_unit_test_setup_teardown(inverted_residual_fused, open_tape, close_tape),
        cmocka_unit_test_setup_teardown(grouped_residual_fused, open_tape, close_tape),
        cmocka_unit_test_setup_teardown(parted_fused, open_tape, close_tape),
        cmocka_unit_test_setup_teardown(parted_again_fused, open_tape, close_tape),
        cmocka_unit_test_setup_teardown(residual_fused, open_tape, close_tape),
        cmocka_unit_test_setup_teardown(mixed_fused, open_tape, close_tape),
        cmocka_unit_test_setup_teardown(cell_fused, open_tape, close_tape),
        cmocka_unit_test_setup_teardown(recomputed_is_the_same, open_tape, close_tape),
        cmocka_unit_test_setup_teardown(preprocessing_fused, open_tape, close_tape),
        cmocka_unit_test_setup_teardown(read_twice_fused, open_tape, close_tape),
        cmocka_unit_test_setup_teardown(computed_late_fused, open_tape, close_tape),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
