/* onnx_steps.c - the operations that importing reads: what each says in a file, and how this library computes it. */
#include "io/onnx_import.h"

#include "core/memory.h"
#include "tensor/tensor.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FLOATS = ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT, WHOLE = ONNX__TENSOR_PROTO__DATA_TYPE__INT64 };

/* --- weights ------------------------------------------------------------------------------------------------- */
/* Takes the values over, also on failure. */
static nas_tensor *add_parameter(nas__importer *p, int ndim, const int64_t *dims, float *values, bool state) {
    char text[32];
    snprintf(text, sizeof text, "%s%zu", state ? "state" : "weight", p->n_parameters);
    nas_tensor *t = values ? (state ? nas_state_buffer : nas_parameter)(&p->m->base, text, ndim, dims, NAS_INIT_ZERO)
                    : nas_error_status() ? NULL
                                         : nas__fail_null(NAS_NO_MEMORY, "no memory for weights");
    if (!t || !nas__grow(&p->parameters, p->n_parameters, sizeof *p->parameters) ||
        !nas__grow(&p->values, p->n_parameters, sizeof *p->values)) {
        free(values);
        return NULL;
    }
    p->parameters[p->n_parameters] = t;
    p->values[p->n_parameters++] = values;
    return t;
}

/* Constant i, of ndim dimensions, as a parameter; turned: as its transpose. NULL and an error when it is none. */
static nas_tensor *weight_at(nas__importer *p, size_t i, int ndim, bool turned, bool state) {
    const Onnx__TensorProto *t = nas__import_constant(p, i);
    if (!t || !nas__onnx_is(t, FLOATS) || (int)t->n_dims != ndim) {
        nas__import_refuse(p, "its weights must be constants in floats, of the usual number of dimensions");
        return NULL;
    }
    size_t count = (size_t)nas__onnx_count(t);
    float *values = nas__alloc(2 * count * sizeof *values);
    if (values) {
        nas__onnx_floats(t, values + (turned ? count : 0));
    }
    int64_t rows = t->dims[0], columns = ndim > 1 ? t->dims[1] : 1;
    for (int64_t r = 0; values && turned && r < rows; r++) {
        for (int64_t c = 0; c < columns; c++) {
            values[c * rows + r] = values[(int64_t)count + r * columns + c];
        }
    }
    return add_parameter(p, ndim, turned ? (int64_t[]){columns, rows} : t->dims, values, state);
}

static bool optional_weight(nas__importer *p, size_t i, nas_tensor **bias) {
    bool there = i < p->node->n_input && *p->node->input[i];
    *bias = there ? weight_at(p, i, 1, false, false) : NULL;
    return *bias || !there;
}

/* --- reading operations -------------------------------------------------------------------------------------- */
static nas_tensor *run_conv(const nas__step *s, nas_tensor *const *x) {
    bool padded = s->pads[0] || s->pads[1] || s->pads[2] || s->pads[3];
    return nas_conv2d(padded ? nas_pad(x[0], s->pads[0], s->pads[2], s->pads[1], s->pads[3]) : x[0], s->weight, s->bias,
                      s->conv);
}

static bool explicit_pads(const Onnx__NodeProto *n) {
    const Onnx__AttributeProto *a = nas__onnx_attribute(n, "auto_pad");
    return !a || !a->has_s || (a->s.len == 6 && !memcmp(a->s.data, "NOTSET", 6)) ||
           (a->s.len == 5 && !memcmp(a->s.data, "VALID", 5));
}

/* Pads, and one number for both sides of strides and dilations. */
static nas_status read_window(nas__importer *p, int pads[4], int *stride, int *dilation) {
    const Onnx__NodeProto *n = p->node;
    *stride = nas__onnx_get_ints(n, "strides", 0, 1);
    *dilation = nas__onnx_get_ints(n, "dilations", 0, 1);
    bool fits = *stride == nas__onnx_get_ints(n, "strides", 1, 1) &&
                *dilation == nas__onnx_get_ints(n, "dilations", 1, 1) && *stride > 0 && *stride < 64 && *dilation > 0 &&
                *dilation < 64;
    for (size_t i = 0; i < 4; i++) {
        pads[i] = nas__onnx_get_ints(n, "pads", i, 0);
        fits = fits && pads[i] >= 0 && pads[i] < 256;
    }
    return !fits              ? nas__import_refuse(p, "strides and dilations must be equal along both sides, and small")
           : explicit_pads(n) ? NAS_OK
                              : nas__import_refuse(p, "auto_pad is not read; write pads");
}

static nas_status read_conv(nas__importer *p) {
    nas__step *s = p->step;
    s->run = run_conv;
    nas_status status = read_window(p, s->pads, &s->conv.stride, &s->conv.dilation);
    s->weight = status ? NULL : weight_at(p, 1, 4, false, false);
    s->conv.groups = nas__onnx_get_int(p->node, "group", 1);
    if (s->pads[0] == s->pads[2] && s->pads[1] == s->pads[3]) { /* the operation's own padding */
        s->conv.padding = s->pads[0];
        s->conv.padding_w = s->pads[1] == s->pads[0] ? 0 : s->pads[1] ? s->pads[1] : NAS_NONE;
        memset(s->pads, 0, sizeof s->pads);
    }
    if (s->weight && (s->conv.groups < 1 || s->weight->dims[0] % s->conv.groups)) {
        return nas__import_refuse(p, "its groups do not divide its channels");
    }
    return s->weight && optional_weight(p, 2, &s->bias) ? NAS_OK : nas_error_status();
}

static nas_tensor *run_norm(const nas__step *s, nas_tensor *const *x) { return nas_batch_norm(x[0], &s->norm); }

static nas_status read_norm(nas__importer *p) {
    nas_bn_state *b = &p->step->norm;
    p->step->run = run_norm;
    b->eps = nas__onnx_get_float(p->node, "epsilon", 1e-5f);
    b->gamma = weight_at(p, 1, 1, false, false);
    b->beta = b->gamma ? weight_at(p, 2, 1, false, false) : NULL;
    b->running_mean = b->beta ? weight_at(p, 3, 1, false, true) : NULL;
    b->running_var = b->running_mean ? weight_at(p, 4, 1, false, true) : NULL;
    bool fits = b->running_var && b->eps > 0 && b->beta->dims[0] == b->gamma->dims[0] &&
                b->running_mean->dims[0] == b->gamma->dims[0] && b->running_var->dims[0] == b->gamma->dims[0];
    return fits || nas_error_status() ? nas_error_status()
                                      : nas__import_refuse(p, "its constants do not fit each other");
}

static nas_tensor *run_max(const nas__step *s, nas_tensor *const *x) { return nas_max_pool(x[0], s->pool); }
static nas_tensor *run_average(const nas__step *s, nas_tensor *const *x) { return nas_avg_pool(x[0], s->pool); }

static nas_status read_pool(nas__importer *p) {
    nas__step *s = p->step;
    int dilation;
    s->pool.kernel = nas__onnx_get_ints(p->node, "kernel_shape", 0, 0);
    s->pool.count_padding = nas__onnx_get_int(p->node, "count_include_pad", 0) != 0;
    s->run = strcmp(p->node->op_type, "MaxPool") ? run_average : run_max;
    nas_status status = read_window(p, s->pads, &s->pool.stride, &dilation);
    bool same = s->pads[0] == s->pads[1] && s->pads[0] == s->pads[2] && s->pads[0] == s->pads[3];
    s->pool.padding = s->pads[0];
    if (!status && (!same || dilation != 1 || s->pool.kernel != nas__onnx_get_ints(p->node, "kernel_shape", 1, 0) ||
                    s->pool.kernel < 1 || s->pool.kernel > 15 || s->pool.padding >= s->pool.kernel ||
                    nas__onnx_get_int(p->node, "ceil_mode", 0))) {
        status =
            nas__import_refuse(p, "pools are read whose kernel (1 to 15) and pads are equal along both sides, without "
                                  "ceil_mode");
    }
    return status;
}

/* ONNX keeps the sides, of one pixel. */
static nas_tensor *run_global(const nas__step *s, nas_tensor *const *x) {
    nas_tensor *y = nas_global_avg_pool(x[0]);
    (void)s;
    return y ? nas_reshape(y, 4, (int64_t[]){y->dims[0], y->dims[1], 1, 1}) : NULL;
}

static nas_status read_global(nas__importer *p) {
    p->step->run = run_global;
    return NAS_OK;
}

static nas_tensor *run_linear(const nas__step *s, nas_tensor *const *x) { return nas_linear(x[0], s->weight, s->bias); }

static nas_status read_gemm(nas__importer *p) {
    const Onnx__NodeProto *n = p->node;
    p->step->run = run_linear;
    if (nas__onnx_get_int(n, "transA", 0) || fabsf(nas__onnx_get_float(n, "alpha", 1) - 1) > 0 ||
        fabsf(nas__onnx_get_float(n, "beta", 1) - 1) > 0) {
        return nas__import_refuse(p, "dense layers are read with alpha and beta 1 and transA 0");
    }
    p->step->weight = weight_at(p, 1, 2, !nas__onnx_get_int(n, "transB", 0), false);
    return p->step->weight && optional_weight(p, 2, &p->step->bias) ? NAS_OK : nas_error_status();
}

static nas_status read_matmul(nas__importer *p) {
    p->step->run = run_linear;
    p->step->weight = weight_at(p, 1, 2, true, false);
    return nas_error_status();
}

static nas_tensor *run_add(const nas__step *s, nas_tensor *const *x) {
    (void)s;
    return nas_add(x[0], x[1]);
}

/* Is a result read by one node alone, and not the network's output? */
static bool is_read_once(const nas__importer *p, const char *text) {
    int reads = !strcmp(p->graph->output[0]->name, text);
    for (size_t i = 0; i < p->graph->n_node; i++) {
        for (size_t k = 0; k < p->graph->node[i]->n_input; k++) {
            reads += !strcmp(p->graph->node[i]->input[k], text);
        }
    }
    return reads == 1;
}

/* A constant is the bias of the dense layer before it. */
static nas_status read_add(nas__importer *p) {
    for (size_t i = 0; i < 2 && p->node->n_input == 2; i++) {
        const nas__known *other = nas__import_find(p, p->node->input[1 - i]);
        nas__step *last = p->m->n_steps ? &p->m->steps[p->m->n_steps - 1] : NULL;
        if (!nas__import_constant(p, i)) {
            continue;
        }
        if (!last || !other || other->constant || last->out != other->value || last->run != run_linear || last->bias ||
            !is_read_once(p, p->node->input[1 - i])) {
            return nas__import_refuse(p, "a constant is added to what is no dense layer");
        }
        last->bias = weight_at(p, i, 1, false, false);
        return last->bias ? nas__import_name(p, p->node->output[0], last->out, NULL) : nas_error_status();
    }
    p->step->run = run_add;
    return p->step->n_in == 2 && p->node->n_input == 2 ? NAS_OK : nas__import_refuse(p, "it adds up two");
}

static nas_tensor *run_concat(const nas__step *s, nas_tensor *const *x) { return nas_concat(s->n_in, x, 1); }

static nas_status read_concat(nas__importer *p) {
    p->step->run = run_concat;
    return nas__onnx_get_int(p->node, "axis", 1) == 1 && (size_t)p->step->n_in == p->node->n_input
               ? NAS_OK
               : nas__import_refuse(p, "channels alone (axis 1) are joined, and no constants");
}

static nas_tensor *run_relu(const nas__step *s, nas_tensor *const *x) { return (void)s, nas_relu(x[0]); }
static nas_tensor *run_relu6(const nas__step *s, nas_tensor *const *x) { return (void)s, nas_relu6(x[0]); }
static nas_tensor *run_sigmoid(const nas__step *s, nas_tensor *const *x) { return (void)s, nas_sigmoid(x[0]); }

static nas_status read_activation(nas__importer *p) {
    p->step->run = strcmp(p->node->op_type, "Relu") ? run_sigmoid : run_relu;
    return NAS_OK;
}

/* A bound of Clip: an attribute before opset 11, an input since. */
static float bound(const nas__importer *p, size_t i, const char *attribute, float otherwise) {
    const Onnx__TensorProto *t = nas__import_constant(p, i);
    float value = otherwise;
    if (t && nas__onnx_is(t, FLOATS) && nas__onnx_count(t) == 1) {
        nas__onnx_floats(t, &value);
        return value;
    }
    return nas__onnx_get_float(p->node, attribute, otherwise);
}

static nas_status read_clip(nas__importer *p) {
    float low = bound(p, 1, "min", -INFINITY), high = bound(p, 2, "max", INFINITY);
    p->step->run = high > 1e30f ? run_relu : run_relu6;
    return low >= 0 && low <= 0 && (high > 1e30f || (high >= 6 && high <= 6))
               ? NAS_OK
               : nas__import_refuse(p, "it is read from 0 to 6 (ReLU6), and from 0 on (ReLU)");
}

static nas_tensor *run_flatten(const nas__step *s, nas_tensor *const *x) { return (void)s, nas_flatten(x[0]); }

static nas_status read_flatten(nas__importer *p) {
    p->step->run = run_flatten;
    return nas__onnx_get_int(p->node, "axis", 1) == 1 ? NAS_OK : nas__import_refuse(p, "samples (axis 1) stay apart");
}

/* 0: as it was. The first is the batch, whatever was written. */
static nas_tensor *run_reshape(const nas__step *s, nas_tensor *const *x) {
    int64_t dims[NAS_MAX_DIMS];
    for (int i = 0; x[0] && i < s->ndim; i++) {
        bool kept = i == 0 || s->dims[i] == 0;
        if (kept && i >= x[0]->ndim) {
            return nas__fail_null(NAS_SHAPE, "Reshape: there is no dimension %d to keep", i);
        }
        dims[i] = kept ? x[0]->dims[i] : s->dims[i];
    }
    return nas_reshape(x[0], s->ndim, dims);
}

static nas_status read_reshape(nas__importer *p) {
    const Onnx__TensorProto *t = nas__import_constant(p, 1);
    p->step->run = run_reshape;
    if (!t || !nas__onnx_is(t, WHOLE) || t->n_dims != 1 || t->dims[0] > NAS_MAX_DIMS) {
        return nas__import_refuse(p, "its shape must be a constant");
    }
    nas__onnx_whole(t, p->step->dims);
    p->step->ndim = (int)t->dims[0];
    bool fits = p->step->dims[0] >= -1 && p->step->dims[0] <= 1;
    for (int i = 1; i < p->step->ndim; i++) {
        fits = fits && p->step->dims[i] >= -1 && p->step->dims[i] < 1 << 30;
    }
    return fits ? NAS_OK : nas__import_refuse(p, "it must leave the samples of a batch apart");
}

/* The result is the input, or another constant. */
static nas_status read_identity(nas__importer *p) {
    const nas__known *n = nas__import_find(p, p->node->input[0]);
    return nas__import_name(p, p->node->output[0], n->value, n->constant);
}

static nas_status read_constant(nas__importer *p) {
    const Onnx__AttributeProto *a = nas__onnx_attribute(p->node, "value");
    return a && a->t ? nas__import_name(p, p->node->output[0], NAS__NOTHING, a->t)
                     : nas__import_refuse(p, "a tensor is read as its value");
}

static const nas__import_operation operations[] = {
    {"Conv", read_conv, NAS__ONE_RESULT},
    {"BatchNormalization", read_norm, NAS__ONE_RESULT},
    {"Relu", read_activation, NAS__ONE_RESULT},
    {"Sigmoid", read_activation, NAS__ONE_RESULT},
    {"Clip", read_clip, NAS__ONE_RESULT},
    {"MaxPool", read_pool, NAS__ONE_RESULT},
    {"AveragePool", read_pool, NAS__ONE_RESULT},
    {"GlobalAveragePool", read_global, NAS__ONE_RESULT},
    {"Add", read_add, NAS__RESULTS},
    {"Concat", read_concat, NAS__RESULTS},
    {"Gemm", read_gemm, NAS__ONE_RESULT},
    {"MatMul", read_matmul, NAS__ONE_RESULT},
    {"Flatten", read_flatten, NAS__ONE_RESULT},
    {"Reshape", read_reshape, NAS__ONE_RESULT},
    {"Identity", read_identity, NAS__ANYTHING},
    {"Dropout", read_identity, NAS__ANYTHING},
    {"Constant", read_constant, NAS__ANYTHING},
};

const nas__import_operation *nas__import_operation_of(const char *op) {
    for (size_t i = 0; op && i < sizeof operations / sizeof *operations; i++) {
        if (!strcmp(operations[i].op, op)) {
            return &operations[i];
        }
    }
    return NULL;
}
