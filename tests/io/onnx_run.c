/* onnx_run.c - see onnx_run.h */
#include "io/onnx_run.h"
#include "support.h"

#include "core/file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_DIMS = 5 };

typedef struct value {
    const char *name;
    int ndim;
    int64_t dims[MOST_DIMS];
    double *x; /* whole numbers, too */
} value;

typedef struct machine {
    value *values;
    size_t n;
    const Onnx__NodeProto *node;
    const value *in[64];
    value *out;
} machine;

static int64_t count_of(const value *v) {
    int64_t count = 1;
    for (int i = 0; i < v->ndim; i++) {
        count *= v->dims[i];
    }
    return count;
}

static const value *find(const machine *m, const char *name) {
    for (size_t i = m->n; i-- > 0;) {
        if (!strcmp(m->values[i].name, name)) {
            return &m->values[i];
        }
    }
    fail_msg("node %s reads \"%s\", which nothing before it writes", m->node ? m->node->name : "", name);
    return NULL;
}

static value *make(value *v, int ndim, const int64_t *dims) {
    v->ndim = ndim;
    memcpy(v->dims, dims, (size_t)ndim * sizeof *dims);
    v->x = calloc((size_t)count_of(v) + 1, sizeof *v->x);
    assert_non_null(v->x);
    return v;
}

static const Onnx__AttributeProto *attribute(const machine *m, const char *name) {
    for (size_t i = 0; i < m->node->n_attribute; i++) {
        if (!strcmp(m->node->attribute[i]->name, name)) {
            return m->node->attribute[i];
        }
    }
    return NULL;
}

static int64_t whole(const machine *m, const char *name, int64_t otherwise) {
    const Onnx__AttributeProto *a = attribute(m, name);
    return a ? a->i : otherwise;
}

static double number(const machine *m, const char *name, double otherwise) {
    const Onnx__AttributeProto *a = attribute(m, name);
    return a ? (double)a->f : otherwise;
}

static int64_t element(const machine *m, const char *name, size_t i, int64_t otherwise) {
    const Onnx__AttributeProto *a = attribute(m, name);
    assert_true(!a || i < a->n_ints);
    return a ? a->ints[i] : otherwise;
}

/* --- windows ----------------------------------------------------------------------------------------- */
typedef struct window {
    int64_t kernel[2], stride[2], dilation[2], before[2], size[2];
} window;

static window read_window(const machine *m) {
    window w;
    for (size_t i = 0; i < 2; i++) {
        w.kernel[i] = element(m, "kernel_shape", i, 0);
        w.stride[i] = element(m, "strides", i, 1);
        w.dilation[i] = element(m, "dilations", i, 1);
        w.before[i] = element(m, "pads", i, 0);
        int64_t padded = m->in[0]->dims[2 + i] + w.before[i] + element(m, "pads", i + 2, 0);
        w.size[i] = (padded - w.dilation[i] * (w.kernel[i] - 1) - 1) / w.stride[i] + 1;
    }
    return w;
}

/* Pixel of tap (ky, kx) of the window at (y, x) in an image, or NULL outside. */
static const double *tap(const value *v, const window *w, int64_t plane, int64_t y, int64_t x, int64_t ky, int64_t kx) {
    int64_t row = y * w->stride[0] - w->before[0] + ky * w->dilation[0],
            column = x * w->stride[1] - w->before[1] + kx * w->dilation[1];
    bool inside = row >= 0 && row < v->dims[2] && column >= 0 && column < v->dims[3];
    return inside ? v->x + (plane * v->dims[2] + row) * v->dims[3] + column : NULL;
}

static void conv(machine *m) {
    const value *x = m->in[0], *weight = m->in[1];
    window w = read_window(m);
    int64_t groups = whole(m, "group", 1), outs = weight->dims[0], ins = weight->dims[1];
    assert_int_equal(ins * groups, x->dims[1]);
    make(m->out, 4, (int64_t[]){x->dims[0], outs, w.size[0], w.size[1]});
    double *to = m->out->x;
    for (int64_t n = 0; n < x->dims[0]; n++) {
        for (int64_t o = 0; o < outs; o++) {
            for (int64_t p = 0; p < w.size[0] * w.size[1]; p++) {
                double sum = m->in[2] ? m->in[2]->x[o] : 0;
                for (int64_t k = 0; k < ins * w.kernel[0] * w.kernel[1]; k++) {
                    int64_t c = k / (w.kernel[0] * w.kernel[1]), ky = k / w.kernel[1] % w.kernel[0];
                    const double *pixel = tap(x, &w, n * x->dims[1] + o / (outs / groups) * ins + c, p / w.size[1],
                                              p % w.size[1], ky, k % w.kernel[1]);
                    sum += pixel ? *pixel * weight->x[o * ins * w.kernel[0] * w.kernel[1] + k] : 0;
                }
                *to++ = sum;
            }
        }
    }
}

static void pool(machine *m, bool max) {
    const value *x = m->in[0];
    window w = read_window(m);
    bool all = whole(m, "count_include_pad", 0);
    make(m->out, 4, (int64_t[]){x->dims[0], x->dims[1], w.size[0], w.size[1]});
    for (int64_t i = 0; i < count_of(m->out); i++) {
        double sum = 0, most = -INFINITY, taps = 0;
        for (int64_t k = 0; k < w.kernel[0] * w.kernel[1]; k++) {
            const double *pixel = tap(x, &w, i / (w.size[0] * w.size[1]), i / w.size[1] % w.size[0], i % w.size[1],
                                      k / w.kernel[1], k % w.kernel[1]);
            sum += pixel ? *pixel : 0;
            most = pixel && *pixel > most ? *pixel : most;
            taps += pixel || all;
        }
        m->out->x[i] = max ? most : sum / taps;
    }
}

static void max_pool(machine *m) { pool(m, true); }
static void average_pool(machine *m) { pool(m, false); }

static void global_average(machine *m) {
    const value *x = m->in[0];
    int64_t area = x->dims[2] * x->dims[3];
    make(m->out, 4, (int64_t[]){x->dims[0], x->dims[1], 1, 1});
    for (int64_t i = 0; i < count_of(x); i++) {
        m->out->x[i / area] += x->x[i] / (double)area;
    }
}

static void gemm(machine *m) {
    const value *x = m->in[0], *w = m->in[1];
    assert_int_equal(whole(m, "transB", 0), 1);
    assert_int_equal(x->dims[1], w->dims[1]);
    make(m->out, 2, (int64_t[]){x->dims[0], w->dims[0]});
    for (int64_t i = 0; i < count_of(m->out); i++) {
        int64_t row = i / w->dims[0], column = i % w->dims[0];
        m->out->x[i] = m->in[2] ? m->in[2]->x[column] : 0;
        for (int64_t k = 0; k < w->dims[1]; k++) {
            m->out->x[i] += x->x[row * w->dims[1] + k] * w->x[column * w->dims[1] + k];
        }
    }
}

static void batch_norm(machine *m) {
    const value *x = m->in[0];
    int64_t inner = x->ndim == 4 ? x->dims[2] * x->dims[3] : 1;
    make(m->out, x->ndim, x->dims);
    for (int64_t i = 0; i < count_of(x); i++) {
        int64_t c = i / inner % x->dims[1];
        m->out->x[i] = (x->x[i] - m->in[3]->x[c]) / sqrt(m->in[4]->x[c] + number(m, "epsilon", 1e-5)) * m->in[1]->x[c] +
                       m->in[2]->x[c];
    }
}

/* --- one by one -------------------------------------------------------------------------------------- */
static void map(machine *m, double (*f)(const machine *m, double x)) {
    make(m->out, m->in[0]->ndim, m->in[0]->dims);
    for (int64_t i = 0; i < count_of(m->out); i++) {
        m->out->x[i] = f(m, m->in[0]->x[i]);
    }
}

static double same_of(const machine *m, double x) { return (void)m, x; }
static double relu_of(const machine *m, double x) { return (void)m, x > 0 ? x : 0; }
static double clip_of(const machine *m, double x) { return fmin(fmax(x, m->in[1]->x[0]), m->in[2]->x[0]); }
static double sigmoid_of(const machine *m, double x) { return (void)m, 1 / (1 + exp(-x)); }
static double tanh_of(const machine *m, double x) { return (void)m, tanh(x); }
static double erf_of(const machine *m, double x) { return (void)m, erf(x); }
static double hard_of(const machine *m, double x) {
    return fmax(0, fmin(1, number(m, "alpha", 0.2) * x + number(m, "beta", 0.5)));
}

/* Shapes are aligned at their last dimensions; 1 stands for any. */
static void broadcast(machine *m, int sign, bool product) {
    const value *a = m->in[0], *b = m->in[1];
    int64_t dims[MOST_DIMS];
    int ndim = a->ndim > b->ndim ? a->ndim : b->ndim;
    for (int i = 0; i < ndim; i++) {
        int64_t p = i < ndim - a->ndim ? 1 : a->dims[i - ndim + a->ndim],
                q = i < ndim - b->ndim ? 1 : b->dims[i - ndim + b->ndim];
        assert_true(p == q || p == 1 || q == 1);
        dims[i] = p > q ? p : q;
    }
    make(m->out, ndim, dims);
    for (int64_t i = 0; i < count_of(m->out); i++) {
        int64_t rest = i, at[2] = {0, 0}, step[2] = {1, 1};
        for (int d = ndim - 1; d >= 0; d--) {
            for (int k = 0; k < 2; k++) {
                const value *v = m->in[k];
                int64_t size = d < ndim - v->ndim ? 1 : v->dims[d - ndim + v->ndim];
                at[k] += size == 1 ? 0 : rest % dims[d] * step[k];
                step[k] *= size;
            }
            rest /= dims[d];
        }
        m->out->x[i] = product ? a->x[at[0]] * b->x[at[1]] : a->x[at[0]] + sign * b->x[at[1]];
    }
}

static void add(machine *m) { broadcast(m, 1, false); }
static void subtract(machine *m) { broadcast(m, -1, false); }
static void multiply(machine *m) { broadcast(m, 1, true); }

static void softmax_of(machine *m, bool logarithm) {
    const value *x = m->in[0];
    int64_t n = x->dims[x->ndim - 1];
    assert_int_equal(whole(m, "axis", -1), -1);
    make(m->out, x->ndim, x->dims);
    for (int64_t row = 0; row < count_of(x); row += n) {
        double sum = 0;
        for (int64_t i = 0; i < n; i++) {
            sum += exp(x->x[row + i]);
        }
        for (int64_t i = 0; i < n; i++) {
            m->out->x[row + i] = logarithm ? x->x[row + i] - log(sum) : exp(x->x[row + i]) / sum;
        }
    }
}

static void softmax(machine *m) { softmax_of(m, false); }
static void log_softmax(machine *m) { softmax_of(m, true); }

/* --- shapes ------------------------------------------------------------------------------------------ */
static void concat(machine *m) {
    int64_t dims[MOST_DIMS], axis = whole(m, "axis", 99), outer = 1, inner = 1, at = 0;
    int parts = (int)m->node->n_input;
    memcpy(dims, m->in[0]->dims, sizeof dims);
    for (int i = 1; i < parts; i++) {
        dims[axis] += m->in[i]->dims[axis];
    }
    for (int d = 0; d < m->in[0]->ndim; d++) {
        outer *= d < axis ? dims[d] : 1;
        inner *= d > axis ? dims[d] : 1;
    }
    make(m->out, m->in[0]->ndim, dims);
    for (int i = 0; i < parts; i++) {
        int64_t row = m->in[i]->dims[axis] * inner;
        for (int64_t o = 0; o < outer; o++) {
            memcpy(m->out->x + o * dims[axis] * inner + at, m->in[i]->x + o * row, (size_t)row * sizeof(double));
        }
        at += row;
    }
}

/* Copies with out[i0, i1, ...] = in[from + i * step in the order `perm`]; outside of the input: zero. */
static void pick(machine *m, const int64_t *from, const int64_t *step, const int64_t *perm) {
    const value *x = m->in[0];
    value *y = m->out;
    for (int64_t i = 0; i < count_of(y); i++) {
        int64_t rest = i, index[MOST_DIMS], at = 0;
        bool inside = true;
        for (int d = y->ndim - 1; d >= 0; d--) {
            index[perm ? perm[d] : d] = from[d] + rest % y->dims[d] * step[d];
            rest /= y->dims[d];
        }
        for (int d = 0; d < x->ndim; d++) {
            inside = inside && index[d] >= 0 && index[d] < x->dims[d];
            at = at * x->dims[d] + index[d];
        }
        y->x[i] = inside ? x->x[at] : 0;
    }
}

static void slice(machine *m) {
    const value *x = m->in[0];
    int64_t dims[MOST_DIMS], from[MOST_DIMS] = {0}, step[MOST_DIMS] = {1, 1, 1, 1, 1};
    memcpy(dims, x->dims, sizeof dims);
    for (int64_t i = 0; i < count_of(m->in[1]); i++) {
        int64_t d = m->in[3] ? (int64_t)m->in[3]->x[i] : i, end = (int64_t)m->in[2]->x[i];
        from[d] = (int64_t)m->in[1]->x[i];
        step[d] = m->in[4] ? (int64_t)m->in[4]->x[i] : 1;
        end = end > x->dims[d] ? x->dims[d] : end;
        assert_true(from[d] >= 0 && step[d] > 0 && end > from[d]);
        dims[d] = (end - from[d] + step[d] - 1) / step[d];
    }
    make(m->out, x->ndim, dims);
    pick(m, from, step, NULL);
}

static void pad(machine *m) {
    int64_t dims[MOST_DIMS], from[MOST_DIMS], step[MOST_DIMS] = {1, 1, 1, 1, 1};
    int n = m->in[0]->ndim;
    for (int d = 0; d < n; d++) {
        from[d] = -(int64_t)m->in[1]->x[d];
        dims[d] = m->in[0]->dims[d] - from[d] + (int64_t)m->in[1]->x[n + d];
    }
    make(m->out, n, dims);
    pick(m, from, step, NULL);
}

static void transpose(machine *m) {
    const value *x = m->in[0];
    int64_t dims[MOST_DIMS], perm[MOST_DIMS], from[MOST_DIMS] = {0}, step[MOST_DIMS] = {1, 1, 1, 1, 1};
    for (int d = 0; d < x->ndim; d++) {
        perm[d] = element(m, "perm", (size_t)d, x->ndim - 1 - d);
        dims[d] = x->dims[perm[d]];
    }
    make(m->out, x->ndim, dims);
    pick(m, from, step, perm);
}

static void take(machine *m, int ndim, const int64_t *dims) {
    make(m->out, ndim, dims);
    assert_int_equal(count_of(m->out), count_of(m->in[0]));
    memcpy(m->out->x, m->in[0]->x, (size_t)count_of(m->out) * sizeof(double));
}

static void reshape(machine *m) {
    int64_t dims[MOST_DIMS];
    int ndim = (int)count_of(m->in[1]);
    for (int d = 0; d < ndim; d++) {
        dims[d] = (int64_t)m->in[1]->x[d] == 0 ? m->in[0]->dims[d] : (int64_t)m->in[1]->x[d];
    }
    take(m, ndim, dims);
}

static void flatten(machine *m) {
    assert_int_equal(whole(m, "axis", 1), 1);
    take(m, 2, (int64_t[]){m->in[0]->dims[0], count_of(m->in[0]) / m->in[0]->dims[0]});
}

static void shape(machine *m) {
    make(m->out, 1, (int64_t[]){m->in[0]->ndim});
    for (int d = 0; d < m->in[0]->ndim; d++) {
        m->out->x[d] = (double)m->in[0]->dims[d];
    }
}

static void constant_of_shape(machine *m) {
    int64_t dims[MOST_DIMS];
    int ndim = (int)count_of(m->in[0]);
    for (int d = 0; d < ndim; d++) {
        dims[d] = (int64_t)m->in[0]->x[d];
    }
    make(m->out, ndim, dims);
}

static const struct {
    const char *op;
    void (*run)(machine *m); /* NULL: `each` for every number */
    double (*each)(const machine *m, double x);
} operators[] = {
    {"Conv", conv},
    {"MaxPool", max_pool},
    {"AveragePool", average_pool},
    {"GlobalAveragePool", global_average},
    {"Gemm", gemm},
    {"BatchNormalization", batch_norm},
    {"Identity", .each = same_of},
    {"Relu", .each = relu_of},
    {"Clip", .each = clip_of},
    {"Sigmoid", .each = sigmoid_of},
    {"Tanh", .each = tanh_of},
    {"Erf", .each = erf_of},
    {"HardSigmoid", .each = hard_of},
    {"Softmax", softmax},
    {"LogSoftmax", log_softmax},
    {"Add", add},
    {"Sub", subtract},
    {"Mul", multiply},
    {"Concat", concat},
    {"Slice", slice},
    {"Pad", pad},
    {"Transpose", transpose},
    {"Reshape", reshape},
    {"Flatten", flatten},
    {"Shape", shape},
    {"ConstantOfShape", constant_of_shape},
};

/* --- the graph --------------------------------------------------------------------------------------- */
static value *add_value(machine *m, const char *name) {
    for (size_t i = 0; i < m->n; i++) {
        if (!strcmp(m->values[i].name, name)) {
            fail_msg("\"%s\" is written twice", name);
        }
    }
    m->values[m->n].name = name;
    return &m->values[m->n++];
}

static void load_constant(machine *m, const Onnx__TensorProto *t) {
    value *v = make(add_value(m, t->name), (int)t->n_dims, t->dims);
    bool floats = t->data_type == ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT;
    assert_true(floats || t->data_type == ONNX__TENSOR_PROTO__DATA_TYPE__INT64);
    assert_int_equal(t->raw_data.len, (size_t)count_of(v) * (floats ? sizeof(float) : sizeof(int64_t)));
    for (int64_t i = 0; i < count_of(v); i++) {
        float f;
        int64_t k;
        memcpy(&f, t->raw_data.data + 4 * i, floats ? 4 : 0);
        memcpy(&k, t->raw_data.data + 8 * i, floats ? 0 : 8);
        v->x[i] = floats ? (double)f : (double)k;
    }
}

static void run_node(machine *m, const Onnx__NodeProto *node) {
    m->node = node;
    assert_true(node->n_input <= 64 && node->n_output == 1);
    memset(m->in, 0, sizeof m->in);
    for (size_t i = 0; i < node->n_input; i++) {
        m->in[i] = *node->input[i] ? find(m, node->input[i]) : NULL;
    }
    m->out = add_value(m, node->output[0]);
    for (size_t i = 0; i < sizeof operators / sizeof *operators; i++) {
        if (!strcmp(operators[i].op, node->op_type)) {
            if (operators[i].run) {
                operators[i].run(m);
            } else {
                map(m, operators[i].each);
            }
            return;
        }
    }
    fail_msg("no such operator: %s", node->op_type);
}

void onnx_run(const Onnx__ModelProto *model, int n, const float *x, float *y, int64_t count) {
    const Onnx__GraphProto *g = model->graph;
    machine m = {.values = calloc(g->n_node + g->n_initializer + 1, sizeof *m.values)};
    int64_t dims[MOST_DIMS] = {n};
    const Onnx__TensorShapeProto *s = g->input[0]->type->tensor_type->shape;
    for (size_t d = 1; d < s->n_dim; d++) {
        dims[d] = s->dim[d]->dim_value;
    }
    value *input = make(add_value(&m, g->input[0]->name), (int)s->n_dim, dims);
    for (int64_t i = 0; i < count_of(input); i++) {
        input->x[i] = (double)x[i];
    }
    for (size_t i = 0; i < g->n_initializer; i++) {
        load_constant(&m, g->initializer[i]);
    }
    for (size_t i = 0; i < g->n_node; i++) {
        run_node(&m, g->node[i]);
    }
    const value *output = find(&m, g->output[0]->name);
    assert_int_equal(count_of(output), count);
    for (int64_t i = 0; i < count; i++) {
        y[i] = (float)output->x[i];
    }
    for (size_t i = 0; i < m.n; i++) {
        free(m.values[i].x);
    }
    free(m.values);
}

Onnx__ModelProto *onnx_read(const char *path) {
    size_t size;
    char *bytes = nas__read_file(path, &size);
    assert_no_error();
    Onnx__ModelProto *model = onnx__model_proto__unpack(NULL, size, (const uint8_t *)bytes);
    assert_non_null(model);
    free(bytes);
    return model;
}

const char *onnx_metadata(const Onnx__ModelProto *model, const char *key) {
    for (size_t i = 0; i < model->n_metadata_props; i++) {
        if (!strcmp(model->metadata_props[i]->key, key)) {
            return model->metadata_props[i]->value;
        }
    }
    return NULL;
}

int onnx_count(const Onnx__ModelProto *model, const char *op) {
    int n = 0;
    for (size_t i = 0; i < model->graph->n_node; i++) {
        n += !strcmp(model->graph->node[i]->op_type, op);
    }
    return n;
}
