/* Frozen tensors keep what kernels prepared of them until somebody may change them; scopes end what nobody reads. */
#include "support.h"

#include <espalier/nn.h>

#include "tensor/prepared.h"

#include <stdlib.h>

static int made;

/* Doubles the values. */
static nas_status make(const nas_tensor *t, const void *what, float *out) {
    made++;
    for (int64_t i = 0; i < nas__count(t); i++) {
        out[i] = *(const float *)what * t->data[i];
    }
    return NAS_OK;
}

static nas_status refuse(const nas_tensor *t, const void *what, float *out) {
    (void)t;
    (void)what;
    (void)out;
    return nas__fail(NAS_UNSUPPORTED, "refused");
}

static float prepared_first(nas_tensor *t, uint64_t form, float factor) {
    nas__buffer *b = nas__prepared(t, form, (size_t)nas__count(t), make, &factor);
    assert_non_null(b);
    float value = b->data[0];
    nas__buffer_unref(b);
    return value;
}

static void frozen_tensors_are_prepared_once(void **state) {
    (void)state;
    nas_tensor *t = nas_variable(NAS_DIMS(3), NAS_ROLE_WEIGHT);
    nas_tensor_write(t, (float[]){1, 2, 3});
    made = 0;
    prepared_first(t, 1, 2);
    prepared_first(t, 1, 2);
    assert_int_equal(made, 2);
    nas__freeze(t);
    assert_float_equal(prepared_first(t, 1, 2), 2, 0);
    assert_float_equal(prepared_first(t, 1, 2), 2, 0);
    assert_float_equal(prepared_first(t, 2, 3), 3, 0);
    assert_float_equal(prepared_first(t, 1, 2), 2, 0);
    assert_int_equal(made, 4);
    nas_tensor_write(t, (float[]){5, 2, 3});
    assert_float_equal(prepared_first(t, 1, 2), 10, 0);
    assert_null(nas__prepared(t, 1, 3, refuse, NULL));
    assert_error(NAS_UNSUPPORTED, "refused");
    nas_tensor_free(t);
}

static void frozen_tensors_take_no_gradient(void **state) {
    (void)state;
    nas_tape *tape = nas_tape_new();
    nas_tensor *t = nas_variable(NAS_DIMS(3), NAS_ROLE_WEIGHT);
    nas_tape_begin(tape, &(nas_tape_config){.grad = NAS_ROLE_WEIGHT});
    assert_true(nas__wants(t));
    nas__freeze(t);
    assert_false(nas__wants(t));
    assert_int_equal(nas__flatten(&t, 1), NAS_OK); /* as an optimiser does */
    assert_true(nas__wants(t));
    nas_tape_free(tape);
    nas_tensor_free(t);
}

/* --- scopes -------------------------------------------------------------------------------------- */
static const int64_t dims[] = {1, 3, 4, 5};

static nas_tensor *input(void) {
    float *values = random_floats(1, 60);
    nas_tensor *x = nas__as(nas_input(4, dims, values), NAS__BLOCKED);
    free(values);
    return x;
}

static void check_sum(nas_tensor *t, double factor) {
    float *x = random_floats(1, 60), y[60];
    assert_int_equal(nas_tensor_read(t, y), NAS_OK);
    for (int i = 0; i < 60; i++) {
        x[i] = (float)(factor * (x[i] > 0 ? x[i] : 0));
    }
    assert_floats_near(y, x, 60, 1e-6, "values after the scope");
    free(x);
}

static void a_scope_keeps_its_result(void **state) {
    (void)state;
    nas_tape *tape = nas_tape_new();
    nas_tape_begin(tape, &(nas_tape_config){0});
    nas_tensor *x = input();
    size_t before = nas_memory().live_bytes, scope = nas__scope_begin();
    nas_tensor *inner = nas_scale(nas_relu(x), 2), *kept = nas_retain(nas_scale(inner, 5));
    nas_tensor *y = nas__scope_end(scope, nas_add(inner, nas_relu(x))); /* late until here */
    assert_ptr_not_equal(y, NULL);
    size_t after = nas_memory().live_bytes;
    assert_true(after - before <= 2 * nas__storage(y) * sizeof(float) + 256);
    check_sum(y, 3);
    check_sum(kept, 10);
    check_sum(nas_relu(x), 1); /* the scope's own ReLU of it is gone */
    check_sum(nas_relu(y), 3);
    assert_no_error();
    nas_tape_free(tape);
}

static void a_result_from_outside_stays(void **state) {
    (void)state;
    nas_tape *tape = nas_tape_new();
    nas_tape_begin(tape, &(nas_tape_config){0});
    nas_tensor *y = nas_relu(input());
    size_t scope = nas__scope_begin();
    nas_scale(y, 3);
    assert_ptr_equal(nas__scope_end(scope, y), y);
    assert_null(nas__scope_end(scope, NULL));
    check_sum(y, 1);
    nas_tape_free(tape);
}

static void passes_with_gradients_keep_all(void **state) {
    (void)state;
    nas_tape *tape = nas_tape_new();
    nas_tensor *w = nas_variable(NAS_DIMS(1), NAS_ROLE_WEIGHT);
    nas_tensor_write(w, (float[]){2});
    nas_tape_begin(tape, &(nas_tape_config){.grad = NAS_ROLE_WEIGHT});
    nas_tensor *x = input();
    size_t scope = nas__scope_begin();
    nas_tensor *inner = nas_mul(nas_relu(x), w), *y = nas__scope_end(scope, nas_scale(inner, 3));
    check_sum(inner, 2);
    check_sum(y, 6);
    assert_int_equal(nas_backward(nas_sum(y)), NAS_OK);
    nas_tape_free(tape);
    nas_tensor_free(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frozen_tensors_are_prepared_once), cmocka_unit_test(frozen_tensors_take_no_gradient),
        cmocka_unit_test(a_scope_keeps_its_result),         cmocka_unit_test(a_result_from_outside_stays),
        cmocka_unit_test(passes_with_gradients_keep_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
