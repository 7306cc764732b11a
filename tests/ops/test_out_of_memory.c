/* Memory that runs out in the middle of a step: whichever request is the one refused, the step ends with the error that
 * says so, nothing stays behind, and the same step succeeds afterwards. The linker puts refusing functions before the
 * library's own (tests/CMakeLists.txt). */
#include "graphs.h"

#include "core/error.h"
#include "core/memory.h"
#include "ops/precision.h"

#include <math.h>
#include <stdlib.h>

static long requests, refused; /* the refused one, from 1; 0: none */

static bool refuse(void) { return ++requests == refused && !nas__fail_null(NAS_NO_MEMORY, "refused by the test"); }

nas__buffer *__real_nas__buffer_new(size_t bytes);
nas__buffer *__wrap_nas__buffer_new(size_t bytes);
void *__real_nas__arena_alloc(nas__arena *arena, size_t bytes);
void *__wrap_nas__arena_alloc(nas__arena *arena, size_t bytes);
bool __real_nas__grow(void *array, size_t count, size_t size);
bool __wrap_nas__grow(void *array, size_t count, size_t size);

nas__buffer *__wrap_nas__buffer_new(size_t bytes) { return refuse() ? NULL : __real_nas__buffer_new(bytes); }

void *__wrap_nas__arena_alloc(nas__arena *arena, size_t bytes) {
    return refuse() ? NULL : __real_nas__arena_alloc(arena, bytes);
}

bool __wrap_nas__grow(void *array, size_t count, size_t size) {
    return !refuse() && __real_nas__grow(array, count, size);
}

/* NAN when it failed. The input is made with memory for certain. */
static float step(graph *g, build_fn build, long which) {
    nas_tape_begin(
        tape, &(nas_tape_config){.grad = NAS_ROLE_WEIGHT | NAS_ROLE_ARCH, .training = true, .recompute = g->recompute});
    nas_tensor *image = random_input(3, NAS_DIMS(2, 3, 9, 10));
    requests = 0;
    refused = which;
    nas_tensor *loss = loss_of(g, build, image, 20);
    float value = nas_backward(loss) ? NAN : nas_tensor_item(loss);
    refused = 0;
    for (int i = 0; i < g->n; i++) {
        nas_zero_grad(g->parameters[i]);
    }
    nas_tape_reset(tape);
    return value;
}

static void refuse_each(build_fn build, bool recompute) {
    graph g = {.recompute = recompute};
    step(&g, build, 0); /* makes the parameters */
    float loss = step(&g, build, 0);
    assert_no_error();
    long all = requests;
    uint64_t before = nas_memory().live_bytes;
    assert_true(all > 50);
    for (long i = 1; i <= all; i++) {
        step(&g, build, i);
        assert_error(NAS_NO_MEMORY, "refused by the test");
        assert_int_equal(nas_memory().live_bytes, before);
    }
    float again = step(&g, build, 0);
    assert_no_error();
    assert_memory_equal(&loss, &again, sizeof loss);
    for (int i = 0; i < g.n; i++) {
        nas_tensor_free(g.parameters[i]);
    }
}

#define REFUSED(NAME)                                                                                                  \
    static void NAME##_refused(void **state) {                                                                         \
        (void)state;                                                                                                   \
        refuse_each(NAME, false);                                                                                      \
        refuse_each(NAME, true);                                                                                       \
    }
REFUSED(sep_conv)
REFUSED(inverted_residual)
REFUSED(grouped_residual)
REFUSED(parted)
REFUSED(parted_again)
REFUSED(residual)
REFUSED(mixed)
REFUSED(cell)
REFUSED(preprocessing)
REFUSED(read_twice)
REFUSED(computed_late)

/* The choice of what is computed in bf16 is made in the middle of a step, too. */
static void bf16_refused(void **state) {
    (void)state;
    setenv("ESPALIER_BF16", "force", 1);
    nas__precision *precision = nas__precision_new(NAS_BF16);
    nas__precision_use(precision);
    refuse_each(cell, false);
    assert_true(precision->n > 0 || nas_bf16_missing());
    nas__precision_use(NULL);
    nas__precision_free(precision);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(sep_conv_refused, open_tape, close_tape),
        cmocka_unit_test_setup_teardown(inverted_residual_refused, open_tape, close_tape),
        cmocka_unit_test_setup_teardown(grouped_residual_refused, open_tape, close_tape),
        cmocka_unit_test_setup_teardown(parted_refused, open_tape, close_tape),
        cmocka_unit_test_setup_teardown(parted_again_refused, open_tape, close_tape),
        cmocka_unit_test_setup_teardown(residual_refused, open_tape, close_tape),
        cmocka_unit_test_setup_teardown(mixed_refused, open_tape, close_tape),
        cmocka_unit_test_setup_teardown(cell_refused, open_tape, close_tape),
        cmocka_unit_test_setup_teardown(preprocessing_refused, open_tape, close_tape),
        cmocka_unit_test_setup_teardown(read_twice_refused, open_tape, close_tape),
        cmocka_unit_test_setup_teardown(computed_late_refused, open_tape, close_tape),
        cmocka_unit_test_setup_teardown(bf16_refused, open_tape, close_tape),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
