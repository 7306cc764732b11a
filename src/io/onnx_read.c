/* onnx_read.c - see onnx_read.h */
#include "io/onnx_read.h"

#include "core/file.h"
#include "core/memory.h"

#include <stdlib.h>
#include <string.h>

enum { LARGEST = 1 << 30 };

Onnx__ModelProto *nas__onnx_open(const char *path) {
    size_t size;
    char *bytes = nas__read_file(path, &size);
    Onnx__ModelProto *model = bytes ? onnx__model_proto__unpack(NULL, size, (const uint8_t *)bytes) : NULL;
    free(bytes);
    if (!bytes) {
        return NULL;
    }
    if (!model || !model->graph || !model->graph->n_node || !model->graph->n_output || !model->graph->output[0]->name) {
        if (model) {
            onnx__model_proto__free_unpacked(model, NULL);
        }
        return nas__fail_null(NAS_PARSE, "%s is no ONNX file, or has no network in it", path);
    }
    return model;
}

char *nas__onnx_metadata(const char *path, const char *key) {
    Onnx__ModelProto *model = nas__onnx_open(path);
    char *text = NULL;
    for (size_t i = 0; model && i < model->n_metadata_props && !text; i++) {
        const Onnx__StringStringEntryProto *entry = model->metadata_props[i];
        text = entry->key && entry->value && !strcmp(entry->key, key) ? nas__strdup(entry->value) : NULL;
    }
    if (model) {
        onnx__model_proto__free_unpacked(model, NULL);
    }
    return text;
}

static bool is_constant(const Onnx__GraphProto *g, const char *name) {
    for (size_t i = 0; i < g->n_initializer; i++) {
        if (g->initializer[i]->name && !strcmp(g->initializer[i]->name, name)) {
            return true;
        }
    }
    return false;
}

nas_status nas__onnx_input(const Onnx__GraphProto *g, const char **name, int *ndim, int64_t *dims) {
    const Onnx__ValueInfoProto *input = NULL;
    for (size_t i = 0; i < g->n_input; i++) {
        if (g->input[i]->name && !is_constant(g, g->input[i]->name)) {
            if (input) {
                return nas__fail(NAS_UNSUPPORTED, "it has several inputs, \"%s\" and \"%s\"; networks of one are read",
                                 input->name, g->input[i]->name);
            }
            input = g->input[i];
        }
    }
    const Onnx__TypeProto__Tensor *type = input && input->type ? input->type->tensor_type : NULL;
    const Onnx__TensorShapeProto *shape = type ? type->shape : NULL;
    if (!shape || type->elem_type != ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT || shape->n_dim < 2 ||
        shape->n_dim > NAS_MAX_DIMS) {
        return nas__fail(NAS_UNSUPPORTED, "its input is no float tensor of 2 to %d dimensions", NAS_MAX_DIMS);
    }
    *name = input->name;
    *ndim = (int)shape->n_dim;
    for (size_t i = 0; i < shape->n_dim; i++) {
        int64_t d = shape->dim[i]->has_dim_value ? shape->dim[i]->dim_value : 0;
        dims[i] = d > 0 && d < LARGEST ? d : 0;
    }
    return NAS_OK;
}

/* --- constants --------------------------------------------------------------------------------------------- */
int64_t nas__onnx_count(const Onnx__TensorProto *t) {
    int64_t count = 1;
    for (size_t i = 0; i < t->n_dims; i++) {
        if (t->dims[i] < 1 || t->dims[i] > LARGEST || count > LARGEST / t->dims[i]) {
            return -1;
        }
        count *= t->dims[i];
    }
    return count;
}

bool nas__onnx_is(const Onnx__TensorProto *t, int data_type) {
    int64_t count = t->n_dims <= NAS_MAX_DIMS ? nas__onnx_count(t) : -1;
    bool floats = data_type == ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT;
    size_t size = floats ? sizeof(float) : sizeof(int64_t), listed = floats ? t->n_float_data : t->n_int64_data;
    return count > 0 && t->data_type == data_type &&
           (t->has_raw_data ? t->raw_data.len == (size_t)count * size : listed == (size_t)count);
}

void nas__onnx_floats(const Onnx__TensorProto *t, float *to) {
    memcpy(to, t->has_raw_data ? (const void *)t->raw_data.data : t->float_data,
           (size_t)nas__onnx_count(t) * sizeof *to);
}

void nas__onnx_whole(const Onnx__TensorProto *t, int64_t *to) {
    memcpy(to, t->has_raw_data ? (const void *)t->raw_data.data : t->int64_data,
           (size_t)nas__onnx_count(t) * sizeof *to);
}

/* --- attributes -------------------------------------------------------------------------------------------- */
const Onnx__AttributeProto *nas__onnx_attribute(const Onnx__NodeProto *n, const char *name) {
    for (size_t i = 0; i < n->n_attribute; i++) {
        if (n->attribute[i]->name && !strcmp(n->attribute[i]->name, name)) {
            return n->attribute[i];
        }
    }
    return NULL;
}

static int bounded(int64_t value) { return (int)(value > LARGEST ? LARGEST : value < -LARGEST ? -LARGEST : value); }

int nas__onnx_get_int(const Onnx__NodeProto *n, const char *name, int otherwise) {
    const Onnx__AttributeProto *a = nas__onnx_attribute(n, name);
    return a && a->has_i ? bounded(a->i) : otherwise;
}

float nas__onnx_get_float(const Onnx__NodeProto *n, const char *name, float otherwise) {
    const Onnx__AttributeProto *a = nas__onnx_attribute(n, name);
    return a && a->has_f ? a->f : otherwise;
}

int nas__onnx_get_ints(const Onnx__NodeProto *n, const char *name, size_t i, int otherwise) {
    const Onnx__AttributeProto *a = nas__onnx_attribute(n, name);
    return a && i < a->n_ints ? bounded(a->ints[i]) : otherwise;
}
