/* Weights in files: back bit for bit; other networks are refused by name and left alone; what fits can be inherited. */
#include "in_directory.h"
#include "io/safetensors.h"
#include "io/state.h"

#include <espalier/io.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int set_up(void **state) {
    (void)state;
    return make_place("weights.safetensors");
}

static nas_module *net_new(int width, bool bias, uint64_t seed) {
    nas_module *net = nas_sequential(nas_conv_bn_relu(.in = 3, .out = 4, .kernel = 3),
                                     nas_conv(.in = 4, .out = width, .kernel = 1, .bias = bias));
    nas_initialise(net, seed);
    assert_no_error();
    return net;
}

typedef struct values {
    float numbers[4096];
    size_t n;
} values;

static nas_status collect(const char *name, nas_tensor *t, nas_role role, void *user) {
    (void)name, (void)role;
    values *v = user;
    nas_tensor_read(t, v->numbers + v->n);
    v->n += (size_t)nas_tensor_count(t);
    return NAS_OK;
}

static bool equal(nas_module *a, nas_module *b) {
    static values x, y;
    x.n = y.n = 0;
    nas_visit_parameters(a, collect, &x);
    nas_visit_parameters(b, collect, &y);
    return x.n == y.n && !memcmp(x.numbers, y.numbers, x.n * sizeof(float));
}

static void come_back(void **state) {
    (void)state;
    nas_module *a = net_new(5, true, 1), *b = net_new(5, true, 2);
    assert_false(equal(a, b));
    assert_int_equal(nas_save_weights(a, path), NAS_OK);
    assert_int_equal(nas_load_weights(b, path), NAS_OK);
    assert_true(equal(a, b));
    nas_free(a);
    nas_free(b);
}

static void refuse(nas_module *net, nas_module *twin, nas_status status, const char *part) {
    assert_int_equal(nas_load_weights(net, path), status);
    assert_error(status, part);
    assert_true(equal(net, twin));
    nas_free(net);
    nas_free(twin);
}

static void other_networks_are_refused(void **state) {
    (void)state;
    nas_module *a = net_new(5, true, 1);
    assert_int_equal(nas_save_weights(a, path), NAS_OK);
    refuse(net_new(6, true, 2), net_new(6, true, 2), NAS_SHAPE,
           "\"1.weight\" is F32 5x4x1x1, but F32 6x4x1x1 in the model");
    refuse(net_new(5, false, 2), net_new(5, false, 2), NAS_NOT_FOUND, "has \"1.bias\", which the model has not");
    nas_module *b = net_new(5, false, 3);
    assert_int_equal(nas_save_weights(b, path), NAS_OK);
    refuse(a, net_new(5, true, 1), NAS_NOT_FOUND, "has no \"1.bias\", which the model has");
    nas_free(b);
}

static void what_fits_is_inherited(void **state) {
    (void)state;
    nas_module *a = net_new(5, true, 1), *b = net_new(6, true, 2), *untouched = net_new(6, true, 2);
    int loaded = -1;
    assert_int_equal(nas_save_weights(a, path), NAS_OK);
    assert_int_equal(nas_inherit_weights(b, path, &loaded), NAS_OK);
    assert_int_equal(loaded, 5); /* the first layer's weight, gamma, beta, mean, variance */
    assert_false(equal(b, untouched));
    assert_int_equal(nas_inherit_weights(b, "/nowhere/w", &loaded), NAS_NOT_FOUND);
    assert_error(NAS_NOT_FOUND, "/nowhere/w");
    assert_int_equal(loaded, 0);
    nas_free(a);
    nas_free(b);
    nas_free(untouched);
}

static void a_model_is_part_of_a_checkpoint(void **state) {
    (void)state;
    nas_module *a = net_new(5, true, 1), *b = net_new(5, true, 2);
    nas_state *s = nas__state_save_begin(path, NULL);
    nas_state_model(s, "model.", a);
    assert_int_equal(nas__state_finish(s), NAS_OK);
    s = nas__state_load_begin(path);
    nas_state_model(s, "model.", b);
    assert_false(equal(a, b));
    assert_int_equal(nas__state_finish(s), NAS_OK);
    assert_true(equal(a, b));
    nas_free(a);
    nas_free(b);
}

static void names_of_pytorch(void **state) {
    (void)state;
    const nas_export_config config = {.space = "mine", .architecture = "{}"};
    nas_module *a = net_new(5, true, 1), *b = net_new(5, true, 2);
    assert_int_equal(nas_export_safetensors(a, &config, path), NAS_OK);
    nas__safetensors *file = nas__safetensors_read(path);
    static const char *const names[] = {"0.conv.weight",    "0.bn.weight", "0.bn.bias", "0.bn.running_mean",
                                        "0.bn.running_var", "1.weight",    "1.bias"};
    assert_int_equal(nas__safetensors_size(file), 7);
    for (size_t i = 0; i < 7; i++) {
        assert_non_null(nas__safetensors_find(file, names[i]));
    }
    assert_string_equal(nas__safetensors_metadata(file, "space"), "mine");
    nas__safetensors_free(file);
    assert_int_equal(nas_load_weights(b, path), NAS_OK);
    assert_true(equal(a, b));
    nas_free(a);
    nas_free(b);
}

/* Into Python's safetensors and out of it. */
static void through_python(void **state) {
    (void)state;
    const char *given = getenv("ESPALIER_PEER_PYTHON"), *python = given ? given : "python3";
    char command[1024], *other = nas__join(directory, "other.safetensors");
    snprintf(command, sizeof command, "'%s' -c 'import safetensors.numpy' 2>/dev/null", python);
    if (system(command)) {
        free(other);
        assert_null(given);
        print_message("skipped: no python3 with safetensors (ESPALIER_PEER_PYTHON)\n");
        skip();
    }
    nas_module *a = net_new(5, true, 1), *b = net_new(5, true, 2);
    assert_int_equal(nas_export_safetensors(a, &(nas_export_config){0}, path), NAS_OK);
    snprintf(
        command, sizeof command,
        "'%s' -c 'import sys, safetensors.numpy as s; s.save_file(s.load_file(sys.argv[1]), sys.argv[2])' '%s' '%s'",
        python, path, other);
    assert_int_equal(system(command), 0);
    assert_int_equal(nas_load_weights(b, other), NAS_OK);
    assert_true(equal(a, b));
    nas_free(a);
    nas_free(b);
    free(other);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(come_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(other_networks_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_fits_is_inherited, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_model_is_part_of_a_checkpoint, set_up, tear_down),
        cmocka_unit_test_setup_teardown(names_of_pytorch, set_up, tear_down),
        cmocka_unit_test_setup_teardown(through_python, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
