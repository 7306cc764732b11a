/* onnx.c - a fixed network as an ONNX file: inputs, constants, metadata; onnx_nodes.c has the operations. */
#include "io/onnx.h"

#include "core/error.h"
#include "core/file.h"
#include "core/memory.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_METADATA = 4 };

/* --- what the network reads and gives ---------------------------------------------------------------- */
static Onnx__ValueInfoProto *describe(nas__onnx *o, const char *name, const nas__graph_value *v) {
    struct {
        Onnx__ValueInfoProto info;
        Onnx__TypeProto type;
        Onnx__TypeProto__Tensor tensor;
        Onnx__TensorShapeProto shape;
        Onnx__TensorShapeProto__Dimension dims[NAS_MAX_DIMS], *list[NAS_MAX_DIMS];
    } *d = nas__onnx_alloc(o, sizeof *d);
    if (!d) {
        return NULL;
    }
    d->info = (Onnx__ValueInfoProto)ONNX__VALUE_INFO_PROTO__INIT;
    d->type = (Onnx__TypeProto)ONNX__TYPE_PROTO__INIT;
    d->tensor = (Onnx__TypeProto__Tensor)ONNX__TYPE_PROTO__TENSOR__INIT;
    d->shape = (Onnx__TensorShapeProto)ONNX__TENSOR_SHAPE_PROTO__INIT;
    for (int i = 0; i < v->ndim; i++) {
        d->dims[i] = (Onnx__TensorShapeProto__Dimension)ONNX__TENSOR_SHAPE_PROTO__DIMENSION__INIT;
        d->dims[i].has_dim_value = i > 0;
        d->dims[i].dim_value = v->dims[i];
        d->list[i] = &d->dims[i];
    }
    d->dims[0].dim_param = (char *)nas__onnx_text(o, "batch");
    d->shape.dim = d->list;
    d->shape.n_dim = (size_t)v->ndim;
    d->tensor.shape = &d->shape;
    d->tensor.has_elem_type = true;
    d->tensor.elem_type = ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT;
    d->type.tensor_type = &d->tensor;
    d->info.type = &d->type;
    d->info.name = (char *)nas__onnx_text(o, "%s", name);
    return &d->info;
}

/* Names as in the network, but for its input and output. */
static void name_values(nas__onnx *o) {
    const nas__graph *g = o->network;
    o->names = nas__onnx_alloc(o, g->n_values * sizeof *o->names);
    o->written = nas__onnx_alloc(o, g->n_values * sizeof *o->written);
    for (size_t i = 0; !o->failed && i < g->n_values; i++) {
        o->names[i] = (int)i == g->output && i ? "output" : g->values[i].name;
    }
}

static void write_constants(nas__onnx *o) {
    const nas__graph *g = o->network;
    for (size_t i = 0; i < g->n_nodes; i++) {
        const nas__graph_node *n = &g->nodes[i];
        for (int k = 0; k < n->n_inputs; k++) {
            int value = n->inputs[k];
            nas_tensor *t = value < 0 || n->kind == NAS__OP_GATE ? NULL : g->values[value].constant;
            if (t && !o->written[value]) {
                o->written[value] = true;
                nas__onnx_constant(o, o->names[value], t->ndim, t->dims, nas__data(t));
            }
        }
    }
}

/* (pixel * scale - mean) / std, in two nodes. */
static void write_normalisation(nas__onnx *o, const nas_export_config *config) {
    const nas__graph_value *x = &o->network->values[0];
    int64_t channels = x->dims[1], dims[NAS_MAX_DIMS] = {1, channels, 1, 1, 1};
    float *factors = nas__onnx_alloc(o, 2 * (size_t)channels * sizeof *factors), *terms = factors + channels;
    if (!factors) {
        return;
    }
    for (int64_t c = 0; c < channels; c++) {
        factors[c] = config->scale / config->std[c];
        terms[c] = -config->mean[c] / config->std[c];
    }
    const char *by = nas__onnx_constant(o, "normalisation/factors", x->ndim, dims, factors),
               *plus = nas__onnx_constant(o, "normalisation/terms", x->ndim, dims, terms);
    const char *scaled = nas__onnx_node(o, "Mul", "normalisation/scaled", 2, (const char *const[]){"input", by});
    o->names[0] = nas__onnx_node(o, "Add", "normalisation", 2, (const char *const[]){scaled, plus});
}

static void write_graph(nas__onnx *o, const nas_export_config *config, Onnx__ValueInfoProto **input,
                        Onnx__ValueInfoProto **output) {
    const nas__graph *g = o->network;
    name_values(o);
    *input = o->failed ? NULL : describe(o, "input", &g->values[0]);
    *output = o->failed ? NULL : describe(o, "output", &g->values[g->output]);
    if (!o->failed && config->normalise) {
        write_normalisation(o, config);
    }
    if (!o->failed) {
        write_constants(o);
    }
    for (size_t i = 0; !o->failed && i < g->n_nodes; i++) {
        nas__onnx_write_node(o, &g->nodes[i]);
    }
    if (!o->failed && g->output == 0) {
        nas__onnx_node(o, "Identity", "output", 1, &o->names[0]);
    }
}

/* --- metadata ---------------------------------------------------------------------------------------- */
typedef struct metadata {
    Onnx__StringStringEntryProto entries[MOST_METADATA], *list[MOST_METADATA];
    size_t n;
} metadata;

static void add_text(nas__onnx *o, metadata *m, const char *key, const char *value) {
    if (value) {
        m->entries[m->n] = (Onnx__StringStringEntryProto)ONNX__STRING_STRING_ENTRY_PROTO__INIT;
        m->entries[m->n].key = (char *)nas__onnx_text(o, "%s", key);
        m->entries[m->n].value = (char *)nas__onnx_text(o, "%s", value);
        m->list[m->n] = &m->entries[m->n];
        m->n++;
    }
}

static void add_json(nas__onnx *o, metadata *m, const char *key, json_t *value) {
    char *text = json_dumps(value, JSON_COMPACT | JSON_REAL_PRECISION(9));
    o->failed |= !text;
    add_text(o, m, key, text);
    free(text);
    json_decref(value);
}

static void describe_network(nas__onnx *o, metadata *m, const nas_export_config *config) {
    add_text(o, m, "architecture", config->architecture);
    add_text(o, m, "space", config->space);
    if (config->n_classes > 0 && config->class_names) {
        json_t *names = json_array();
        for (int i = 0; i < config->n_classes; i++) {
            json_array_append_new(names, json_string(config->class_names[i]));
        }
        add_json(o, m, "classes", names);
    }
    if (config->std[0] > 0) {
        json_t *mean = json_array(), *deviation = json_array();
        for (int64_t c = 0; c < o->network->values[0].dims[1] && c < 4; c++) {
            json_array_append_new(mean, json_real(config->mean[c]));
            json_array_append_new(deviation, json_real(config->std[c]));
        }
        json_t *all = json_pack("{s:f, s:o, s:o}", "scale", (double)config->scale, "mean", mean, "std", deviation);
        add_json(o, m, config->normalise ? "preprocessing_inside" : "preprocessing", all);
    }
}

/* --- the file ---------------------------------------------------------------------------------------- */
static nas_status pack(const Onnx__ModelProto *model, const char *path) {
    size_t size = onnx__model_proto__get_packed_size(model);
    if (size > INT32_MAX) {
        return nas__fail(NAS_UNSUPPORTED, "%s: the network has %zu bytes; an ONNX file holds 2^31 at most", path, size);
    }
    uint8_t *bytes = nas__alloc(size);
    if (!bytes) {
        return nas_error_status();
    }
    onnx__model_proto__pack(model, bytes);
    nas_status status = nas__write_file(path, bytes, size);
    free(bytes);
    return status;
}

static nas_status write_model(nas__onnx *o, const nas_export_config *config, const char *path) {
    Onnx__ModelProto model = ONNX__MODEL_PROTO__INIT;
    Onnx__OperatorSetIdProto opset = ONNX__OPERATOR_SET_ID_PROTO__INIT, *opsets[] = {&opset};
    Onnx__ValueInfoProto *input, *output;
    metadata m = {.n = 0};
    write_graph(o, config, &input, &output);
    describe_network(o, &m, config);
    if (o->failed) {
        return nas__fail(NAS_NO_MEMORY, "%s: no memory to write the network", path);
    }
    o->graph.n_node = o->n_nodes;
    o->graph.n_initializer = o->n_initializers;
    o->graph.name = (char *)(config->space ? config->space : "network");
    o->graph.input = &input;
    o->graph.output = &output;
    o->graph.n_input = o->graph.n_output = 1;
    opset.domain = (char *)"";
    opset.has_version = model.has_ir_version = true;
    opset.version = NAS__ONNX_OPSET;
    model.ir_version = NAS__ONNX_IR;
    model.producer_name = (char *)"espalier";
    model.producer_version = (char *)nas_version();
    model.graph = &o->graph;
    model.opset_import = opsets;
    model.n_opset_import = 1;
    model.metadata_props = m.list;
    model.n_metadata_props = m.n;
    return pack(&model, path);
}

static nas_status check(const nas_export_config *config) {
    if (!config->normalise) {
        return NAS_OK;
    }
    for (int c = 0; c < 4 && c < config->dims[0]; c++) {
        if (!(config->std[c] > 0) || !(config->scale > 0)) {
            return nas__fail(NAS_INVALID, "export: normalisation in the graph needs .scale and .std of every channel");
        }
    }
    return config->dims[0] <= 4 ? NAS_OK
                                : nas__fail(NAS_UNSUPPORTED,
                                            "export: normalisation in the graph is for samples of 1 to 4 channels, not "
                                            "%lld",
                                            (long long)config->dims[0]);
}

nas_status nas_export_onnx(nas_module *model, const nas_export_config *config, const char *path) {
    if (!model || !config || !path) {
        return nas__fail(NAS_INVALID, "nas_export_onnx: model, config or path is NULL");
    }
    nas_status status = check(config);
    nas__graph *network = status ? NULL : nas__graph_new(model, config->ndim, config->dims);
    if (!network) {
        return nas_error_status();
    }
    nas__onnx o = {.network = network, .graph = ONNX__GRAPH_PROTO__INIT};
    status = write_model(&o, config, path);
    free(o.graph.node);
    free(o.graph.initializer);
    nas__arena_free(&o.arena);
    nas__graph_free(network);
    return status;
}
