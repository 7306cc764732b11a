/* onnx_build.c - nodes, attributes and constants of an ONNX graph in memory. */
#include "io/onnx.h"

#include "core/error.h"
#include "core/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *nas__onnx_alloc(nas__onnx *o, size_t bytes) {
    void *p = nas__arena_alloc(&o->arena, bytes ? bytes : 1);
    o->failed |= !p;
    return p;
}

const char *nas__onnx_text(nas__onnx *o, const char *format, ...) {
    va_list arguments;
    char *text = NULL;
    va_start(arguments, format);
    int length = vasprintf(&text, format, arguments);
    va_end(arguments);
    char *copy = length < 0 ? NULL : nas__onnx_alloc(o, (size_t)length + 1);
    if (copy) {
        memcpy(copy, text, (size_t)length + 1);
    }
    o->failed |= length < 0;
    free(length < 0 ? NULL : text);
    return copy;
}

static char *copy_text(nas__onnx *o, const char *text) { return (char *)nas__onnx_text(o, "%s", text ? text : ""); }

const char *nas__onnx_node(nas__onnx *o, const char *op, const char *output, int n_inputs, const char *const *inputs) {
    Onnx__NodeProto *node = nas__onnx_alloc(o, sizeof *node);
    char **texts = nas__onnx_alloc(o, ((size_t)n_inputs + 1) * sizeof *texts);
    if (!node || !texts || !nas__grow(&o->graph.node, o->n_nodes, sizeof *o->graph.node)) {
        o->failed = true;
        return output;
    }
    *node = (Onnx__NodeProto)ONNX__NODE_PROTO__INIT;
    for (int i = 0; i < n_inputs; i++) {
        texts[i] = copy_text(o, inputs[i]);
        node->n_input = inputs[i] ? (size_t)i + 1 : node->n_input;
    }
    texts[n_inputs] = copy_text(o, output);
    node->input = texts;
    node->output = texts + n_inputs;
    node->n_output = 1;
    node->name = texts[n_inputs];
    node->op_type = copy_text(o, op);
    o->graph.node[o->n_nodes++] = node;
    return texts[n_inputs];
}

/* --- attributes -------------------------------------------------------------------------------------- */
static Onnx__AttributeProto *attribute(nas__onnx *o, const char *name, Onnx__AttributeProto__AttributeType type) {
    enum { MOST = 8 };
    Onnx__NodeProto *node = o->failed || !o->n_nodes ? NULL : o->graph.node[o->n_nodes - 1];
    Onnx__AttributeProto *a = node ? nas__onnx_alloc(o, sizeof *a) : NULL;
    if (a && !node->attribute) {
        node->attribute = nas__onnx_alloc(o, MOST * sizeof *node->attribute);
    }
    if (!a || !node->attribute || node->n_attribute == MOST) {
        o->failed = true;
        return NULL;
    }
    *a = (Onnx__AttributeProto)ONNX__ATTRIBUTE_PROTO__INIT;
    a->name = copy_text(o, name);
    a->has_type = true;
    a->type = type;
    return node->attribute[node->n_attribute++] = a;
}

static int64_t *copy_ints(nas__onnx *o, int n, const int64_t *values) {
    int64_t *copy = nas__onnx_alloc(o, (size_t)n * sizeof *copy);
    if (copy) {
        memcpy(copy, values, (size_t)n * sizeof *copy);
    }
    return copy;
}

void nas__onnx_int(nas__onnx *o, const char *name, int64_t value) {
    Onnx__AttributeProto *a = attribute(o, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT);
    if (a) {
        a->has_i = true;
        a->i = value;
    }
}

void nas__onnx_ints(nas__onnx *o, const char *name, int n, const int64_t *values) {
    Onnx__AttributeProto *a = attribute(o, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS);
    if (a) {
        a->ints = copy_ints(o, n, values);
        a->n_ints = a->ints ? (size_t)n : 0;
    }
}

void nas__onnx_float(nas__onnx *o, const char *name, float value) {
    Onnx__AttributeProto *a = attribute(o, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT);
    if (a) {
        a->has_f = true;
        a->f = value;
    }
}

/* --- constants --------------------------------------------------------------------------------------- */
static const char *constant(nas__onnx *o, const char *name, int type, int ndim, const int64_t *dims, size_t bytes,
                            const void *data) {
    Onnx__TensorProto *t = nas__onnx_alloc(o, sizeof *t);
    if (!t || !nas__grow(&o->graph.initializer, o->n_initializers, sizeof *o->graph.initializer)) {
        o->failed = true;
        return name;
    }
    *t = (Onnx__TensorProto)ONNX__TENSOR_PROTO__INIT;
    t->name = copy_text(o, name);
    t->has_data_type = true;
    t->data_type = type;
    t->dims = copy_ints(o, ndim, dims);
    t->n_dims = (size_t)ndim;
    t->has_raw_data = true;
    t->raw_data = (ProtobufCBinaryData){bytes, (uint8_t *)(uintptr_t)data};
    o->graph.initializer[o->n_initializers++] = t;
    return t->name;
}

const char *nas__onnx_ints_constant(nas__onnx *o, const char *name, int n, const int64_t *values) {
    return constant(o, name, ONNX__TENSOR_PROTO__DATA_TYPE__INT64, 1, (int64_t[]){n}, (size_t)n * sizeof *values,
                    copy_ints(o, n, values));
}

const char *nas__onnx_constant(nas__onnx *o, const char *name, int ndim, const int64_t *dims, const float *values) {
    size_t count = 1;
    for (int i = 0; i < ndim; i++) {
        count *= (size_t)dims[i];
    }
    return constant(o, name, ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT, ndim, dims, count * sizeof *values, values);
}

const char *nas__onnx_number(nas__onnx *o, const char *name, float value) {
    float *copy = nas__onnx_alloc(o, sizeof *copy);
    if (copy) {
        *copy = value;
    }
    return nas__onnx_constant(o, name, 0, NULL, copy);
}
