/* Moving averages of weights and buffers. */
#include "nn_support.h"

#include "nn/optim.h"

#include <math.h>

enum { WEIGHTS = 4 * 3 * 9 };

static void follows_the_weights(void **state) {
    (void)state;
    nas_module *net = nas_conv_bn_relu(.in = 3, .out = 4, .kernel = 3);
    nas_ema *ema = nas_ema_new(net, 0.3);
    assert_non_null(ema);
    nas_tensor *weight = parameter_at(net, "conv.weight"), *var = parameter_at(net, "bn.running_var");
    float *average = values_of(weight), last[WEIGHTS];
    double var_average = 1;
    for (int n = 1; n <= 5; n++) {
        randomise(weight, (uint64_t)n);
        nas_tensor_write(var, (float[]){(float)n, 1, 1, 1});
        nas_tensor_read(weight, last);
        nas_ema_update(ema);
        double decay = fmin(0.3, (1.0 + n) / (10.0 + n));
        for (int i = 0; i < WEIGHTS; i++) {
            average[i] = (float)(decay * average[i] + (1 - decay) * last[i]);
        }
        var_average = decay * var_average + (1 - decay) * n;
    }
    float now[WEIGHTS], v[4];
    nas_ema_swap(ema);
    nas_tensor_read(weight, now);
    nas_tensor_read(var, v);
    assert_floats_near(now, average, WEIGHTS, 1e-6, "averages");
    assert_true(fabs(v[0] - var_average) < 1e-5);
    nas_ema_swap(ema);
    nas_tensor_read(weight, now);
    assert_memory_equal(now, last, sizeof last);
    free(average);
    nas_ema_free(ema);
    nas_module_free(net);
}

typedef struct list {
    char names[256];
    int64_t *updates;
} list;

static void list_floats(void *user, const char *name, float *values, size_t count) {
    list *l = user;
    (void)values;
    snprintf(l->names + strlen(l->names), sizeof l->names - strlen(l->names), "%s:%zu ", name, count);
}

static void list_counters(void *user, const char *name, int64_t *values, size_t count) {
    list *l = user;
    assert_string_equal(name, ".updates");
    assert_int_equal(count, 1);
    l->updates = values;
}

static void state_is_named_by_path(void **state) {
    (void)state;
    nas_module *net = nas_sequential(nas_dense(.in = 2, .out = 3), nas_bn(.channels = 3, .affine = NAS_AFFINE_NEVER));
    nas_ema *ema = nas_ema_new(net, 0.9);
    nas_ema_update(ema);
    nas_ema_update(ema);
    list l = {0};
    nas__ema_state(ema, &(nas__state_visitor){list_floats, list_counters, &l});
    assert_string_equal(l.names, "0.weight:6 0.bias:3 1.running_mean:3 1.running_var:3 ");
    assert_int_equal(*l.updates, 2);
    nas_ema_free(ema);
    nas_module_free(net);
}

static void wrong_use_is_refused(void **state) {
    (void)state;
    nas_module *net = nas_identity_new();
    assert_null(nas_ema_new(net, 1));
    assert_error(NAS_INVALID, "decay 1");
    assert_null(nas_ema_new(NULL, 0.5));
    assert_error(NAS_INVALID, "model is NULL");
    nas_module_free(net);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_the_weights),
        cmocka_unit_test(state_is_named_by_path),
        cmocka_unit_test(wrong_use_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
