/* Trees of modules: paths, order, counts, refusals, replacing and detaching. */
#include "support.h"

#include <espalier/nn.h>
#include "nn/module.h"
#include "core/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int freed;

static nas_tensor *pass(nas_module *self, nas_tensor *x) {
    size_t n;
    nas_module *const *children = nas__module_children(self, &n);
    for (size_t i = 0; i < n; i++) {
        x = nas_forward(children[i], x);
    }
    return x;
}

static void count_free(nas_module *self) {
    (void)self;
    freed++;
}

static nas_module *leaf(void) {
    nas_module *m = nas_module_new(nas_module, pass);
    m->release = count_free;
    return m;
}

static nas_status append(const char *path, nas_tensor *tensor, nas_role role, void *user) {
    char *text = user;
    sprintf(text + strlen(text), "%s:%d:%d ", path, (int)nas_tensor_count(tensor), (int)role);
    return NAS_OK;
}

static void paths_order_and_counts(void **state) {
    (void)state;
    nas_module *net = nas_module_new(nas_module, pass);
    nas_parameter(net, "scale", NAS_DIMS(3), NAS_INIT_ONE);
    nas_module *cells = nas_child(net, "cells",
                                  nas_sequential(nas_conv_bn_relu(.in = 3, .out = 4, .kernel = 1),
                                                 nas_conv(.in = 4, .out = 2, .kernel = 3, .bias = true)));
    nas_child(net, "head", nas_dense(.in = 2, .out = 5));
    assert_no_error();
    char text[1024] = "";
    assert_int_equal(nas_visit_parameters(net, append, text), NAS_OK);
    assert_string_equal(text,
                        "scale:3:1 cells.0.conv.weight:12:1 cells.0.bn.gamma:4:1 cells.0.bn.beta:4:1 "
                        "cells.0.bn.running_mean:4:4 cells.0.bn.running_var:4:4 cells.1.weight:72:1 cells.1.bias:2:1 "
                        "head.weight:10:1 head.bias:5:1 ");
    assert_int_equal(nas_parameter_count(net), 3 + 12 + 8 + 72 + 2 + 15);
    size_t n;
    nas_module *bn = nas__module_children(nas__module_children(cells, &n)[0], &n)[1];
    assert_string_equal(nas_module_path(bn), "cells.0.bn");
    assert_string_equal(nas_module_path(net), "");
    assert_ptr_equal(nas__module_root(bn), net);
    nas_module_free(net);
}

static nas_status stop_at_second(const char *path, nas_tensor *tensor, nas_role role, void *user) {
    (void)path, (void)tensor, (void)role;
    return ++*(int *)user == 2 ? NAS_IO : NAS_OK;
}

static void a_visit_can_stop(void **state) {
    (void)state;
    nas_module *conv = nas_conv_bn_relu(.in = 1, .out = 1, .kernel = 1);
    int calls = 0;
    assert_int_equal(nas_visit_parameters(conv, stop_at_second, &calls), NAS_IO);
    assert_int_equal(calls, 2);
    nas_module_free(conv);
}

static void bad_children_are_refused_and_freed_once(void **state) {
    (void)state;
    nas_module *net = nas_module_new(nas_module, pass);
    nas_module *a = nas_child(net, "a", leaf());
    freed = 0;
    assert_null(nas_child(net, "a", leaf()));
    assert_error(NAS_INVALID, "has a child \"a\" already");
    assert_int_equal(freed, 1);
    assert_null(nas_child(net, "x.y", leaf()));
    assert_error(NAS_INVALID, "x.y");
    assert_null(nas_child(net, "", leaf()));
    assert_error(NAS_INVALID, "empty");
    assert_null(nas_child(NULL, "b", leaf()));
    assert_error(NAS_INVALID, "parent");
    assert_int_equal(freed, 4);
    assert_null(nas_child(net, "b", NULL));
    assert_error(NAS_INVALID, "\"b\" is NULL");
    /* owned already, or a circle: refused, and alive */
    assert_null(nas_child(net, "b", a));
    assert_error(NAS_INVALID, "a child already, at \"a\"");
    assert_null(nas_child(a, "b", net));
    assert_error(NAS_INVALID, "below itself");
    assert_int_equal(freed, 4);
    nas_module_free(net);
    assert_int_equal(freed, 5);
}

static void bad_parameters_are_refused(void **state) {
    (void)state;
    nas_module *net = nas_module_new(nas_module, pass);
    assert_non_null(nas_parameter(net, "w", NAS_DIMS(2), NAS_INIT_ZERO));
    assert_null(nas_parameter(net, "w", NAS_DIMS(2), NAS_INIT_ZERO));
    assert_error(NAS_INVALID, "\"w\" already");
    assert_null(nas_parameter(net, "a.b", NAS_DIMS(2), NAS_INIT_ZERO));
    assert_error(NAS_INVALID, "a.b");
    assert_null(nas_parameter(net, "v", NAS_DIMS(2, 0), NAS_INIT_ZERO));
    assert_error(NAS_SHAPE, "positive");
    assert_null(nas_parameter(NULL, "v", NAS_DIMS(2), NAS_INIT_ZERO));
    assert_error(NAS_INVALID, "owner");
    assert_int_equal(nas_parameter_count(net), 2);
    nas_module_free(net);
}

static void a_failing_constructor_frees_what_it_took(void **state) {
    (void)state;
    freed = 0;
    assert_null(nas_sequential(leaf(), nas_conv(.in = 3, .out = 4, .kernel = 1, .groups = 2), leaf()));
    assert_error(NAS_INVALID, "2 groups do not divide 3");
    assert_int_equal(freed, 2);
}

static void detached_modules_leave_the_lists(void **state) {
    (void)state;
    nas_module *net = nas_sequential(nas_conv(.in = 1, .out = 2, .kernel = 1), nas_conv(.in = 2, .out = 3, .kernel = 1),
                                     nas_conv(.in = 3, .out = 4, .kernel = 1));
    size_t n;
    nas_module *middle = nas__module_children(net, &n)[1];
    nas__module_detach(middle);
    nas_module_free(middle);
    char text[256] = "";
    nas_visit_parameters(net, append, text);
    assert_string_equal(text, "0.weight:2:1 2.weight:12:1 ");
    nas_module_free(nas__module_children(net, &n)[0]); /* freeing a child takes it out by itself */
    assert_int_equal(nas_parameter_count(net), 12);
    assert_non_null(nas_child(net, "1", leaf()));
    nas_module_free(net);
}

/* What pruning a choice does: the chosen candidate stays where it was, so its parameters keep their paths. */
static void a_candidate_that_is_left_keeps_its_path(void **state) {
    (void)state;
    nas_module *choice = nas_module_new(nas_module, pass), *net = nas_module_new(nas_module, pass);
    nas_module *dropped =
        nas_child(choice, "conv3x3", nas_conv_bn_relu(.in = 1, .out = 2, .kernel = 3, .affine = NAS_AFFINE_NEVER));
    nas_child(choice, "conv1x1", nas_conv_bn_relu(.in = 1, .out = 2, .kernel = 1, .affine = NAS_AFFINE_WHEN_FIXED));
    nas_child(net, "conv", choice);
    nas_module_free(dropped);
    assert_int_equal(nas__module_fix(net), NAS_OK);
    char text[256] = "";
    nas_visit_parameters(net, append, text);
    assert_string_equal(text, "conv.conv1x1.conv.weight:2:1 conv.conv1x1.bn.running_mean:2:4 "
                              "conv.conv1x1.bn.running_var:2:4 conv.conv1x1.bn.gamma:2:1 conv.conv1x1.bn.beta:2:1 ");
    nas_module_free(net);
}

static void attachments_live_with_their_module(void **state) {
    (void)state;
    nas_module *net = nas_module_new(nas_module, pass);
    char *one = nas__strdup("one"), *two = nas__strdup("two"), *other = nas__strdup("other");
    nas__attach(net, "choice", one, free);
    nas__attach(net, "value", other, free);
    nas__attach(net, "choice", two, free);
    assert_ptr_equal(nas__attached(net, "choice", 0), one);
    assert_ptr_equal(nas__attached(net, "choice", 1), two);
    assert_null(nas__attached(net, "choice", 2));
    assert_ptr_equal(nas__attached(net, "value", 0), other);
    nas_module_free(net);
}

static int hook_runs;

static void count_fixed(nas_module *self) {
    (void)self;
    hook_runs++;
}

static void fixing_runs_each_hook_once(void **state) {
    (void)state;
    nas_module *net = leaf(), *below = nas_child(net, "below", leaf());
    hook_runs = 0;
    net->fixed = below->fixed = count_fixed;
    assert_int_equal(nas__module_fix(net), NAS_OK);
    assert_int_equal(nas__module_fix(net), NAS_OK);
    assert_int_equal(hook_runs, 2);
    nas_module_free(net);
}

static void errors_name_the_place(void **state) {
    (void)state;
    nas_module *net = nas_sequential(nas_identity_new(), nas_sequential(nas_conv(.in = 3, .out = 4, .kernel = 1)));
    nas_tape *tape = nas_tape_new();
    nas_tape_begin(tape, &(nas_tape_config){.dry = true});
    assert_null(nas_forward(net, nas_input(NAS_DIMS(1, 2, 4, 4), NULL)));
    assert_true(!strncmp(nas_error_message(), "1.0: nas_conv2d: ", 17));
    assert_error(NAS_SHAPE, "does not fit");
    assert_null(nas_forward(net, NULL));
    assert_error(NAS_INVALID, "input is NULL");
    nas_tensor *y = nas_forward(net, nas_input(NAS_DIMS(2, 3, 4, 5), NULL));
    assert_no_error();
    assert_int_equal(nas_tensor_dim(y, 1), 4);
    assert_int_equal(nas_tape_macs(tape), 2 * 4 * 5 * 12);
    nas_tape_free(tape);
    nas_module_free(net);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_order_and_counts),
        cmocka_unit_test(a_visit_can_stop),
        cmocka_unit_test(bad_children_are_refused_and_freed_once),
        cmocka_unit_test(bad_parameters_are_refused),
        cmocka_unit_test(a_failing_constructor_frees_what_it_took),
        cmocka_unit_test(detached_modules_leave_the_lists),
        cmocka_unit_test(a_candidate_that_is_left_keeps_its_path),
        cmocka_unit_test(attachments_live_with_their_module),
        cmocka_unit_test(fixing_runs_each_hook_once),
        cmocka_unit_test(errors_name_the_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
