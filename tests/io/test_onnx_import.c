/* ONNX files as modules: what was exported comes back with the same outputs; files of other programs; what is refused.
 */
#include "in_directory.h"
#include "io/exported.h"
#include "io/onnx_run.h"

#include "core/memory.h"

#include <string.h>

static int set_up(void **state) {
    (void)state;
    return make_place("network.onnx");
}

static void run_imported(nas_module *model, int ndim, const int64_t *dims, int n, const float *x, float *y) {
    int64_t batch[NAS_MAX_DIMS] = {n};
    memcpy(batch + 1, dims, (size_t)ndim * sizeof *dims);
    nas_tape *tape = nas_tape_new();
    nas_tape_begin(tape, &(nas_tape_config){.bn = NAS_BN_RUNNING});
    nas_tensor *out = nas_forward(model, nas_input(ndim + 1, batch, x));
    assert_no_error();
    assert_int_equal(nas_tensor_read(out, y), NAS_OK);
    nas_tape_free(tape);
}

static void agree(const char *space, uint64_t seed, bool fold) {
    enum { SAMPLES = 3 };
    exported e = exported_space(space, seed);
    if (fold) {
        assert_int_equal(nas_fold_batch_norm(e.model, NULL), NAS_OK);
    }
    assert_int_equal(nas_export_onnx(e.model, &e.config, path), NAS_OK);
    int ndim;
    int64_t dims[NAS_MAX_DIMS], outputs = exported_outputs(&e);
    nas_module *model = nas_import_onnx(path, &ndim, dims);
    if (!model) {
        fail_msg("%s: %s", space, nas_error_message());
    }
    assert_int_equal(ndim, 3);
    assert_memory_equal(dims, e.config.dims, 3 * sizeof *dims);
    float *x = random_floats(7, (size_t)(SAMPLES * exported_inputs(&e))),
          *y = nas__alloc((size_t)(2 * SAMPLES * outputs) * sizeof *y), *other = y + SAMPLES * outputs;
    exported_forward(&e, SAMPLES, x, y);
    run_imported(model, ndim, dims, SAMPLES, x, other);
    assert_floats_near(other, y, (size_t)(SAMPLES * outputs), 1e-5, space);
    free(x);
    free(y);
    nas_module_free(model);
    exported_free(&e);
}

static void what_was_exported_comes_back(void **state) {
    (void)state;
    static const char *const spaces[] = {"chain", "mobilenet", "macro", "superkernel"};
    for (size_t i = 0; i < sizeof spaces / sizeof *spaces; i++) {
        agree(spaces[i], i, i % 2);
        agree(spaces[i], 10 + i, (i + 1) % 2);
    }
}

/* --- files of other programs ------------------------------------------------------------------------------- */
static Onnx__TensorProto floats(const char *name, size_t n_dims, int64_t *dims, size_t n, float *values) {
    Onnx__TensorProto t = ONNX__TENSOR_PROTO__INIT;
    t.name = (char *)(uintptr_t)name;
    t.has_data_type = true;
    t.data_type = ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT;
    t.n_dims = n_dims;
    t.dims = dims;
    t.n_float_data = n;
    t.float_data = values;
    return t;
}

static Onnx__NodeProto node(const char *op, size_t n_in, char **in, char **out) {
    Onnx__NodeProto n = ONNX__NODE_PROTO__INIT;
    n.op_type = (char *)(uintptr_t)op;
    n.name = n.op_type;
    n.n_input = n_in;
    n.input = in;
    n.n_output = 1;
    n.output = out;
    return n;
}

/* x (batch, 2, 2) -> Identity, Reshape to (-1, 4), MatMul with a weight that comes through Identity, Add of a bias from
 * a Constant, Clip from 0 to 6; or another last operation. */
static void write_foreign(const char *last, int64_t shape_0) {
    static float w[] = {1, 0, 0, 1, -1, 0, 0, 2}, bias[] = {0.5f, -0.25f}, low[] = {0}, high[] = {6};
    int64_t w_dims[] = {4, 2}, bias_dims[] = {2}, shape_dims[] = {2}, shape[] = {shape_0, 4};
    Onnx__TensorProto constants[] = {floats("w", 2, w_dims, 8, w), floats("low", 0, NULL, 1, low),
                                     floats("high", 0, NULL, 1, high), floats("shape", 1, shape_dims, 0, NULL)};
    constants[3].data_type = ONNX__TENSOR_PROTO__DATA_TYPE__INT64;
    constants[3].n_int64_data = 2;
    constants[3].int64_data = shape;
    Onnx__TensorProto bias_value = floats("", 1, bias_dims, 2, bias);
    Onnx__AttributeProto value = ONNX__ATTRIBUTE_PROTO__INIT;
    value.name = "value";
    value.t = &bias_value;
    Onnx__AttributeProto *attributes[] = {&value};
    Onnx__NodeProto nodes[] = {node("Identity", 1, (char *[]){"w"}, (char *[]){"w2"}),
                               node("Identity", 1, (char *[]){"x"}, (char *[]){"x2"}),
                               node("Reshape", 2, (char *[]){"x2", "shape"}, (char *[]){"flat"}),
                               node("MatMul", 2, (char *[]){"flat", "w2"}, (char *[]){"product"}),
                               node("Constant", 0, NULL, (char *[]){"bias"}),
                               node("Add", 2, (char *[]){"bias", "product"}, (char *[]){"sum"}),
                               node(last, 3, (char *[]){"sum", "low", "high"}, (char *[]){"y"})};
    nodes[4].n_attribute = 1;
    nodes[4].attribute = attributes;
    enum { NODES = sizeof nodes / sizeof *nodes };
    Onnx__NodeProto *list[NODES];
    for (int i = 0; i < NODES; i++) {
        list[i] = &nodes[i];
    }
    Onnx__TensorProto *initializers[] = {&constants[0], &constants[1], &constants[2], &constants[3]};
    Onnx__TensorShapeProto__Dimension d[3] = {ONNX__TENSOR_SHAPE_PROTO__DIMENSION__INIT,
                                              ONNX__TENSOR_SHAPE_PROTO__DIMENSION__INIT,
                                              ONNX__TENSOR_SHAPE_PROTO__DIMENSION__INIT};
    d[1].has_dim_value = d[2].has_dim_value = true;
    d[1].dim_value = d[2].dim_value = 2;
    Onnx__TensorShapeProto x_shape = ONNX__TENSOR_SHAPE_PROTO__INIT;
    x_shape.n_dim = 3;
    x_shape.dim = (Onnx__TensorShapeProto__Dimension *[]){&d[0], &d[1], &d[2]};
    Onnx__TypeProto__Tensor tensor = ONNX__TYPE_PROTO__TENSOR__INIT;
    tensor.has_elem_type = true;
    tensor.elem_type = ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT;
    tensor.shape = &x_shape;
    Onnx__TypeProto type = ONNX__TYPE_PROTO__INIT;
    type.tensor_type = &tensor;
    Onnx__ValueInfoProto x = ONNX__VALUE_INFO_PROTO__INIT, y = ONNX__VALUE_INFO_PROTO__INIT;
    x.name = "x";
    x.type = &type;
    y.name = "y";
    Onnx__GraphProto graph = ONNX__GRAPH_PROTO__INIT;
    graph.n_node = NODES;
    graph.node = list;
    graph.n_initializer = 4;
    graph.initializer = initializers;
    graph.n_input = graph.n_output = 1;
    graph.input = (Onnx__ValueInfoProto *[]){&x};
    graph.output = (Onnx__ValueInfoProto *[]){&y};
    Onnx__ModelProto model = ONNX__MODEL_PROTO__INIT;
    model.graph = &graph;
    uint8_t bytes[4096];
    size_t size = onnx__model_proto__get_packed_size(&model);
    assert_true(size <= sizeof bytes);
    onnx__model_proto__pack(&model, bytes);
    assert_int_equal(nas__write_file(path, bytes, size), NAS_OK);
}

static void constants_in_all_places(void **state) {
    (void)state;
    int ndim;
    int64_t dims[NAS_MAX_DIMS];
    float y[4];
    write_foreign("Clip", -1);
    nas_module *model = nas_import_onnx(path, &ndim, dims);
    assert_no_error();
    assert_int_equal(ndim, 2);
    assert_true(dims[0] == 2 && dims[1] == 2);
    run_imported(model, ndim, dims, 2, (const float[]){1, 2, 3, 4, -1, 0, 5, 0.125f}, y);
    /* x0 - x2 + 0.5, x1 + 2 x3 - 0.25, between 0 and 6 */
    assert_floats_near(y, (const float[]){0, 6, 0, 0}, 4, 1e-6, "two samples");
    run_imported(model, ndim, dims, 1, (const float[]){3, 1, 1, 0.5f}, y);
    assert_floats_near(y, (const float[]){2.5f, 1.75f}, 2, 1e-6, "one sample");
    nas_module_free(model);
}

/* --- what is refused --------------------------------------------------------------------------------------- */
static void refused(nas_status status, const char *message) {
    int ndim;
    int64_t dims[NAS_MAX_DIMS];
    assert_null(nas_import_onnx(path, &ndim, dims));
    assert_error(status, message);
}

static void what_is_not_read_is_named(void **state) {
    (void)state;
    refused(NAS_NOT_FOUND, "network.onnx");
    assert_int_equal(nas__write_file(path, "no network at all", 17), NAS_OK);
    refused(NAS_PARSE, "no ONNX file");
    write_foreign("Einsum", -1);
    refused(NAS_UNSUPPORTED, "node \"Einsum\" (Einsum): this operation is not read");
    write_foreign("Clip", 7);
    refused(NAS_UNSUPPORTED, "must leave the samples of a batch apart");
    exported e = exported_space("shufflenet", 0);
    assert_int_equal(nas_export_onnx(e.model, &e.config, path), NAS_OK);
    refused(NAS_UNSUPPORTED, "is not read");
    exported_free(&e);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(what_was_exported_comes_back),
        CASE(constants_in_all_places),
        CASE(what_is_not_read_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
