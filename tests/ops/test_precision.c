/* Dense convolutions in bf16 against the same graphs in f32: losses and gradients within what 8 bits of precision
 * allow, and which shapes are chosen. ESPALIER_BF16=force has oneDNN's vectors stand in where the processor has no
 * bf16. */
#include "graphs.h"

#include "core/error.h"
#include "kernels/bf16.h"
#include "ops/precision.h"
#include "tensor/tensor.h"

#include <math.h>
#include <string.h>

static nas__precision *precision;

static int setup(void **state) {
    precision = nas__precision_new(NAS_BF16);
    return open_tape(state);
}

static int teardown(void **state) {
    nas__precision_use(NULL);
    nas__precision_free(precision);
    return close_tape(state);
}

/* --- watching ---------------------------------------------------------------------------------------- */
static int in_bf16; /* convolutions and their backward steps */

static void count(void *user, nas__event event, const nas__node *node) {
    (void)user, (void)event;
    in_bf16 += node && strcmp(node->name, "conv_bf16") == 0;
}

static const nas__watcher counter = {.event = count};

static float *run(graph *g, build_fn build, int64_t c, float *loss, size_t *total) {
    in_bf16 = 0;
    nas__watch(&counter);
    nas_tape_begin(tape, &(nas_tape_config){.grad = NAS_ROLE_WEIGHT | NAS_ROLE_ARCH, .training = true});
    nas_tensor *cost = loss_of(g, build, random_input(3, NAS_DIMS(2, 3, 12, 13)), c);
    assert_int_equal(nas_backward(cost), NAS_OK);
    nas__watch(NULL);
    *loss = nas_tensor_item(cost);
    *total = 0;
    for (int i = 0; i < g->n; i++) {
        *total += (size_t)nas_tensor_count(g->parameters[i]);
    }
    float *gradients = malloc(*total * sizeof *gradients), *at = gradients;
    for (int i = 0; i < g->n; at += nas_tensor_count(g->parameters[i++])) {
        nas_tensor_read_grad(g->parameters[i], at);
        nas_zero_grad(g->parameters[i]);
    }
    nas_tape_reset(tape);
    return gradients;
}

static double distance(const float *a, const float *b, size_t n) {
    double difference = 0, norm = 0;
    for (size_t i = 0; i < n; i++) {
        assert_true(isfinite(a[i]));
        difference += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        norm += (double)b[i] * b[i];
    }
    return sqrt(difference / norm);
}

/* Rounding to 8 bits errs by 1/512 at most; a handful of layers adds some of those up. Batch norm over 312 pixels makes
 * more of what is small. Graphs without dense convolutions behind the stem stay what they are. */
static void near_f32(build_fn build, int64_t c, bool dense) {
    graph g = {0};
    float loss[2];
    size_t n;
    float *f32 = run(&g, build, c, &loss[0], &n);
    assert_int_equal(in_bf16, 0);
    nas__precision_use(precision);
    float *bf16 = run(&g, build, c, &loss[1], &n), *again = run(&g, build, c, &loss[1], &n);
    nas__precision_use(NULL);
    assert_true((in_bf16 > 0) == (dense && precision->mode == NAS_BF16));
    assert_true(fabs((double)loss[1] - loss[0]) < 0.01);
    double d = distance(bf16, f32, n);
    if (!(d < 0.03) || (in_bf16 > 0) != (d > 1e-6)) {
        fail_msg("gradients differ by %g of their norm", d);
    }
    assert_memory_equal(bf16, again, n * sizeof *bf16);
    for (int i = 0; i < g.n; i++) {
        nas_tensor_free(g.parameters[i]);
    }
    free(f32), free(bf16), free(again);
    assert_no_error();
}

#define NEAR(NAME, DENSE)                                                                                              \
    static void NAME##_is_near_f32(void **state) {                                                                     \
        (void)state;                                                                                                   \
        near_f32(NAME, 16, DENSE);                                                                                     \
        near_f32(NAME, 20, DENSE);                                                                                     \
    }
NEAR(sep_conv, false)
NEAR(inverted_residual, true)
NEAR(grouped_residual, true)
NEAR(parted, true)
NEAR(parted_again, true)
NEAR(residual, true)
NEAR(mixed, true)
NEAR(cell, true)
NEAR(preprocessing, true)
NEAR(read_twice, false)
NEAR(computed_late, false)

/* --- choosing ---------------------------------------------------------------------------------------- */
static nas__conv_shape shape_of(int channels, int kernel) {
    return nas__conv_square(4, channels, channels, 8, kernel, 1, 1, 1);
}

static void f32_asks_nobody(void **state) {
    (void)state;
    nas__precision *f32 = nas__precision_new(NAS_F32);
    nas__precision_use(f32);
    nas__conv_shape s = shape_of(16, 3);
    assert_false(nas__precision_is_bf16(&s));
    assert_int_equal(f32->n, 0);
    nas__precision_use(NULL);
    nas__precision_free(f32);
}

/* Measured once; what was chosen before stands. */
static void a_shape_is_chosen_once(void **state) {
    (void)state;
    if (nas_bf16_missing()) {
        return;
    }
    nas__conv_shape s[] = {shape_of(16, 3), shape_of(32, 1)};
    nas__precision *automatic = nas__precision_new(NAS_AUTO);
    nas__precision_use(automatic);
    nas_tape_begin(tape, &(nas_tape_config){.grad = NAS_ROLE_WEIGHT});
    assert_int_equal(nas__precision_choose(automatic, &(nas__precision_choice){s[0], NAS__IN_BF16}), NAS_OK);
    assert_true(nas__precision_is_bf16(&s[0]));
    bool chosen = nas__precision_is_bf16(&s[1]);
    assert_int_equal(automatic->n, 2);
    assert_int_equal(automatic->choices[1].verdict, chosen ? NAS__IN_BF16 : NAS__F32_IS_FASTER);
    automatic->choices[1].verdict = chosen ? NAS__F32_IS_FASTER : NAS__IN_BF16;
    assert_true(nas__precision_is_bf16(&s[1]) == !chosen);
    assert_int_equal(automatic->n, 2);
    assert_ptr_equal(nas__tape(), tape); /* the pass that asked goes on */
    assert_true(nas__precision_use(NULL) == automatic);
    nas__precision_times t = nas__precision_measure(&s[0], 2);
    assert_true(t.f32 > 0 && t.bf16 > 0 && t.f32 < 1 && t.bf16 < 1);
    char text[256];
    automatic->choices[1].verdict = NAS__F32_IS_FASTER;
    nas__precision_text(automatic, text, sizeof text);
    assert_string_equal(text, "bf16 for 1 of 2 shapes of dense convolutions; f32 is faster for 4x32x8x8 to 32 1x1/1");
    nas__precision_free(automatic);
}

/* It is off, with the reason, on this processor without AVX-512. */
static void says_what_is_missing(void **state) {
    (void)state;
    setenv("ESPALIER_BF16", "", 1);
    if (nas_bf16_missing()) {
        nas__precision *p = nas__precision_new(NAS_BF16);
        assert_int_equal(p->mode, NAS_F32);
        assert_non_null(strstr(nas_bf16_missing(), nas__bf16_table() ? "avx512_bf16" : "AVX-512"));
        nas__precision_free(p);
    }
    setenv("ESPALIER_BF16", "force", 1);
    assert_true(!nas_bf16_missing() == !!nas__bf16_table());
}

int main(void) {
    setenv("ESPALIER_BF16", "force", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(sep_conv_is_near_f32, setup, teardown),
        cmocka_unit_test_setup_teardown(grouped_residual_is_near_f32, setup, teardown),
        cmocka_unit_test_setup_teardown(mixed_is_near_f32, setup, teardown),
        cmocka_unit_test_setup_teardown(read_twice_is_near_f32, setup, teardown),
        cmocka_unit_test_setup_teardown(computed_late_is_near_f32, setup, teardown),
        cmocka_unit_test_setup_teardown(inverted_residual_is_near_f32, setup, teardown),
        cmocka_unit_test_setup_teardown(parted_is_near_f32, setup, teardown),
        cmocka_unit_test_setup_teardown(parted_again_is_near_f32, setup, teardown),
        cmocka_unit_test_setup_teardown(residual_is_near_f32, setup, teardown),
        cmocka_unit_test_setup_teardown(cell_is_near_f32, setup, teardown),
        cmocka_unit_test_setup_teardown(preprocessing_is_near_f32, setup, teardown),
        cmocka_unit_test_setup_teardown(f32_asks_nobody, setup, teardown),
        cmocka_unit_test_setup_teardown(a_shape_is_chosen_once, setup, teardown),
        cmocka_unit_test_setup_teardown(says_what_is_missing, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
