/* A network as a list of operations: names, shapes, and only what the output needs. */
#include "support.h"

#include "io/graph.h"
#include "nn/module.h"

#include <string.h>

static nas__graph *graph_of(nas_module *model, int64_t channels, int64_t size) {
    nas__graph *g = nas__graph_new(model, 3, (int64_t[]){channels, size, size});
    assert_no_error();
    return g;
}

static void operations_are_named_by_their_modules(void **state) {
    (void)state;
    static const char *const names[] = {"0.conv/conv", "0.bn/batch_norm", "0.bn/relu", "1/global_avg_pool", "2/linear"};
    static const nas__op_kind kinds[] = {NAS__OP_CONV, NAS__OP_NORM, NAS__OP_RELU, NAS__OP_GLOBAL_POOL, NAS__OP_LINEAR};
    nas_module *model = nas_sequential(nas_conv_bn_relu(.in = 2, .out = 4, .kernel = 3, .stride = 2),
                                       nas_pool(.kind = NAS_POOL_GLOBAL), nas_dense(.in = 4, .out = 3));
    nas__graph *g = graph_of(model, 2, 7);
    assert_int_equal(g->n_nodes, 5);
    for (size_t i = 0; i < g->n_nodes; i++) {
        assert_string_equal(g->nodes[i].name, names[i]);
        assert_int_equal(g->nodes[i].kind, kinds[i]);
    }
    const nas__graph_value *y = &g->values[g->nodes[0].output];
    assert_int_equal(y->ndim, 4);
    assert_memory_equal(y->dims, ((int64_t[]){1, 4, 4, 4}), 4 * sizeof(int64_t));
    const nas__graph_value *weight = &g->values[g->nodes[0].inputs[1]];
    assert_string_equal(weight->name, "0.conv.weight");
    assert_non_null(weight->constant);
    assert_int_equal(g->nodes[0].told.stride, 2);
    assert_int_equal(g->output, g->nodes[4].output);
    nas__graph_free(g);
    nas_module_free(model);
}

/* --- what the output needs ------------------------------------------------------------------------------ */
static nas_tensor *wasteful(nas_module *self, nas_tensor *x) {
    nas_tanh(nas_sigmoid(x));
    nas_tensor *y = nas_relu(x);
    return (void)self, nas_add(nas_relu(x), nas_add(y, nas_zero(4, (int64_t[]){nas_tensor_dim(x, 0), 2, 5, 5})));
}

static void only_what_the_output_needs(void **state) {
    (void)state;
    nas_module *model = nas_module_new(nas_module, wasteful);
    nas__graph *g = graph_of(model, 2, 5);
    assert_int_equal(g->n_nodes, 2); /* one ReLU for both, no zeros */
    assert_int_equal(g->nodes[0].kind, NAS__OP_RELU);
    assert_int_equal(g->nodes[1].kind, NAS__OP_SUM);
    assert_int_equal(g->nodes[1].inputs[0], g->nodes[1].inputs[1]);
    nas__graph_free(g);
    nas_module_free(model);
}

static nas_tensor *twice(nas_module *self, nas_tensor *x) { return (void)self, nas_scale(nas_scale(x, 2), 3); }
static nas_tensor *nothing(nas_module *self, nas_tensor *x) { return (void)self, x; }

static void names_are_unique(void **state) {
    (void)state;
    nas_module *model = nas_module_new(nas_module, twice);
    nas__graph *g = graph_of(model, 1, 2);
    assert_string_equal(g->nodes[0].name, "scale");
    assert_string_equal(g->nodes[1].name, "scale_2");
    assert_true(g->nodes[1].told.number == 3);
    nas__graph_free(g);
    nas_module_free(model);
    model = nas_module_new(nas_module, nothing);
    g = graph_of(model, 1, 2);
    assert_int_equal(g->n_nodes, 0);
    assert_int_equal(g->output, 0);
    nas__graph_free(g);
    nas_module_free(model);
}

static void deep_networks_are_followed(void **state) {
    (void)state;
    nas_module *model = nas_dense(.in = 2, .out = 3);
    for (int depth = 0; depth < 100; depth++) {
        model = nas_sequential(model);
    }
    nas__graph *g = nas__graph_new(model, 1, (int64_t[]){2});
    assert_no_error();
    assert_int_equal(g->n_nodes, 1);
    assert_int_equal(g->nodes[0].kind, NAS__OP_LINEAR);
    nas__graph_free(g);
    nas_module_free(model);
}

static void every_kind_has_a_name(void **state) {
    (void)state;
    for (int kind = 0; kind < NAS__N_OPS; kind++) {
        assert_true(*nas__op_name((nas__op_kind)kind));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operations_are_named_by_their_modules),
        cmocka_unit_test(only_what_the_output_needs),
        cmocka_unit_test(names_are_unique),
        cmocka_unit_test(deep_networks_are_followed),
        cmocka_unit_test(every_kind_has_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
