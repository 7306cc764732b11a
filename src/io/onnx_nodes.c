/* onnx_nodes.c - each operation of a network as nodes of ONNX: one function for a kind, and the table of them. */
#include "io/onnx.h"

#include "core/error.h"

/* What an operation's nodes are made of. */
typedef struct writing {
    nas__onnx *o;
    const nas__graph_node *n;
    const nas__graph_value *x, *y; /* first input, output */
    const char *in, *out;          /* their names */
} writing;

/* A name for something between the nodes of one operation. */
static const char *part(const writing *w, const char *what) { return nas__onnx_text(w->o, "%s/%s", w->out, what); }

static const char *unary(const writing *w, const char *op, const char *output, const char *input) {
    return nas__onnx_node(w->o, op, output, 1, &input);
}

static const char *binary(const writing *w, const char *op, const char *output, const char *a, const char *b) {
    return nas__onnx_node(w->o, op, output, 2, (const char *const[]){a, b});
}

static const nas__graph_value *input_value(const writing *w, int i) {
    int value = i < w->n->n_inputs ? w->n->inputs[i] : -1;
    return value < 0 ? NULL : &w->o->network->values[value];
}

/* Zeros of as many samples as the network is given. */
static const char *zeros(nas__onnx *o, int value) {
    const nas__graph_value *v = &o->network->values[value];
    const char *name = o->names[value];
    if (o->written[value]) {
        return name;
    }
    o->written[value] = true;
    const char *shape = nas__onnx_node(o, "Shape", nas__onnx_text(o, "%s/shape", name), 1, &o->names[0]);
    const char *first = nas__onnx_ints_constant(o, nas__onnx_text(o, "%s/0", name), 1, (int64_t[]){0}),
               *last = nas__onnx_ints_constant(o, nas__onnx_text(o, "%s/1", name), 1, (int64_t[]){1});
    const char *batch = nas__onnx_node(o, "Slice", nas__onnx_text(o, "%s/batch", name), 4,
                                       (const char *const[]){shape, first, last, first});
    const char *rest = nas__onnx_ints_constant(o, nas__onnx_text(o, "%s/rest", name), v->ndim - 1, v->dims + 1);
    const char *dims =
        nas__onnx_node(o, "Concat", nas__onnx_text(o, "%s/dims", name), 2, (const char *const[]){batch, rest});
    nas__onnx_int(o, "axis", 0);
    return nas__onnx_node(o, "ConstantOfShape", name, 1, &dims);
}

/* NULL: left out. */
static const char *operand(const writing *w, int i) {
    const nas__graph_value *v = input_value(w, i);
    if (!v) {
        return NULL;
    }
    int value = w->n->inputs[i];
    return v->zero ? zeros(w->o, value) : w->o->names[value];
}

/* --- layers ------------------------------------------------------------------------------------------ */
static void window(const writing *w, int64_t height, int64_t width) {
    const nas__told *t = &w->n->told;
    nas__onnx_ints(w->o, "kernel_shape", 2, (int64_t[]){height, width});
    nas__onnx_ints(w->o, "strides", 2, (int64_t[]){t->stride, t->stride});
    nas__onnx_ints(w->o, "pads", 4, (int64_t[]){t->pad_h, t->pad_w, t->pad_h, t->pad_w});
}

static void conv(const writing *w) {
    const nas__graph_value *weight = input_value(w, 1);
    const nas__told *t = &w->n->told;
    nas__onnx_node(w->o, "Conv", w->out, 3, (const char *const[]){w->in, operand(w, 1), operand(w, 2)});
    window(w, weight->dims[2], weight->dims[3]);
    nas__onnx_ints(w->o, "dilations", 2, (int64_t[]){t->dilation, t->dilation});
    nas__onnx_int(w->o, "group", t->groups);
}

static void linear(const writing *w) {
    nas__onnx_node(w->o, "Gemm", w->out, 3, (const char *const[]){w->in, operand(w, 1), operand(w, 2)});
    nas__onnx_int(w->o, "transB", 1);
}

/* As many equal numbers as there are channels. */
static const char *per_channel(const writing *w, const char *what, float value) {
    int64_t channels = w->x->dims[1];
    float *values = nas__onnx_alloc(w->o, (size_t)channels * sizeof *values);
    for (int64_t i = 0; values && i < channels; i++) {
        values[i] = value;
    }
    return nas__onnx_constant(w->o, part(w, what), 1, &channels, values);
}

static void norm(const writing *w) {
    const char *gamma = operand(w, 1), *beta = operand(w, 2);
    gamma = gamma ? gamma : per_channel(w, "gamma", 1);
    beta = beta ? beta : per_channel(w, "beta", 0);
    nas__onnx_node(w->o, "BatchNormalization", w->out, 5,
                   (const char *const[]){w->in, gamma, beta, operand(w, 3), operand(w, 4)});
    nas__onnx_float(w->o, "epsilon", w->n->told.number);
}

static void max_pool(const writing *w) {
    unary(w, "MaxPool", w->out, w->in);
    window(w, w->n->told.kernel, w->n->told.kernel);
}

static void avg_pool(const writing *w) {
    unary(w, "AveragePool", w->out, w->in);
    window(w, w->n->told.kernel, w->n->told.kernel);
    nas__onnx_int(w->o, "count_include_pad", w->n->told.count_padding);
}

static void reshape_to(const writing *w, const char *output, const char *input, int ndim, const int64_t *dims) {
    binary(w, "Reshape", output, input,
           nas__onnx_ints_constant(w->o, nas__onnx_text(w->o, "%s/dims", output), ndim, dims));
}

static void global_pool(const writing *w) {
    const char *pooled = unary(w, "GlobalAveragePool", part(w, "pool"), w->in);
    unary(w, "Flatten", w->out, pooled);
    nas__onnx_int(w->o, "axis", 1);
}

/* --- activations ------------------------------------------------------------------------------------- */
static void relu(const writing *w) { unary(w, "Relu", w->out, w->in); }
static void sigmoid(const writing *w) { unary(w, "Sigmoid", w->out, w->in); }
static void hyperbolic(const writing *w) { unary(w, "Tanh", w->out, w->in); }

static void relu6(const writing *w) {
    const char *least = nas__onnx_number(w->o, part(w, "min"), 0), *most = nas__onnx_number(w->o, part(w, "max"), 6);
    nas__onnx_node(w->o, "Clip", w->out, 3, (const char *const[]){w->in, least, most});
}

static void swish(const writing *w) { binary(w, "Mul", w->out, w->in, unary(w, "Sigmoid", part(w, "sigmoid"), w->in)); }

static void hard_gate(const writing *w, const char *output) {
    unary(w, "HardSigmoid", output, w->in);
    nas__onnx_float(w->o, "alpha", 1.0f / 6);
    nas__onnx_float(w->o, "beta", 0.5f);
}

static void hard_sigmoid(const writing *w) { hard_gate(w, w->out); }

static void hard_swish(const writing *w) {
    const char *gate = part(w, "gate");
    hard_gate(w, gate);
    binary(w, "Mul", w->out, w->in, gate);
}

/* x/2 * (1 + erf(x / sqrt 2)) */
static void gelu(const writing *w) {
    const char *scaled =
        binary(w, "Mul", part(w, "scaled"), w->in, nas__onnx_number(w->o, part(w, "factor"), 0.70710678118654752f));
    const char *sum = binary(w, "Add", part(w, "sum"), unary(w, "Erf", part(w, "erf"), scaled),
                             nas__onnx_number(w->o, part(w, "one"), 1));
    const char *half = binary(w, "Mul", part(w, "half"), w->in, nas__onnx_number(w->o, part(w, "point_five"), 0.5f));
    binary(w, "Mul", w->out, half, sum);
}

static void softmax(const writing *w) {
    unary(w, w->n->kind == NAS__OP_SOFTMAX ? "Softmax" : "LogSoftmax", w->out, w->in);
    nas__onnx_int(w->o, "axis", -1);
}

/* --- arithmetic -------------------------------------------------------------------------------------- */
/* Two at a time: some runtimes have no Sum. */
static void sum(const writing *w) {
    const char *so_far = w->in;
    for (int i = 1; i < w->n->n_inputs; i++) {
        const char *to = i == w->n->n_inputs - 1 ? w->out : nas__onnx_text(w->o, "%s/%d", w->out, i);
        so_far = binary(w, "Add", to, so_far, operand(w, i));
    }
}

static void difference(const writing *w) { binary(w, "Sub", w->out, w->in, operand(w, 1)); }
static void product(const writing *w) { binary(w, "Mul", w->out, w->in, operand(w, 1)); }

static void gate(const writing *w) {
    const nas__graph_value *b = input_value(w, 1);
    const char *factors = part(w, "factors");
    if (b->constant) {
        nas__onnx_constant(w->o, factors, 4, (int64_t[]){1, nas__value_count(b), 1, 1}, nas__data(b->constant));
    } else {
        reshape_to(w, factors, operand(w, 1), 4, (int64_t[]){0, 0, 1, 1});
    }
    binary(w, "Mul", w->out, w->in, factors);
}

static void scale(const writing *w) {
    binary(w, "Mul", w->out, w->in, nas__onnx_number(w->o, part(w, "factor"), w->n->told.number));
}

/* --- shape ------------------------------------------------------------------------------------------- */
static void concat(const writing *w) {
    const char *inputs[256];
    int n = w->n->n_inputs;
    if (n > 256) {
        nas__fail(NAS_UNSUPPORTED, "%s: more than 256 parts cannot be exported", w->out);
        w->o->failed = true;
        return;
    }
    for (int i = 0; i < n; i++) {
        inputs[i] = operand(w, i);
    }
    nas__onnx_node(w->o, "Concat", w->out, n, inputs);
    nas__onnx_int(w->o, "axis", w->n->told.dim);
}

static void slice_of(const writing *w, const char *output, const char *input, int n, const int64_t *from,
                     const int64_t *to, const int64_t *dims, const int64_t *steps) {
    const char *inputs[5] = {input};
    inputs[1] = nas__onnx_ints_constant(w->o, nas__onnx_text(w->o, "%s/from", output), n, from);
    inputs[2] = nas__onnx_ints_constant(w->o, nas__onnx_text(w->o, "%s/to", output), n, to);
    inputs[3] = nas__onnx_ints_constant(w->o, nas__onnx_text(w->o, "%s/dims", output), n, dims);
    inputs[4] = steps ? nas__onnx_ints_constant(w->o, nas__onnx_text(w->o, "%s/steps", output), n, steps) : NULL;
    nas__onnx_node(w->o, "Slice", output, 5, inputs);
}

static void slice(const writing *w) {
    const nas__told *t = &w->n->told;
    slice_of(w, w->out, w->in, 1, &t->from, (int64_t[]){t->from + w->y->dims[t->dim]}, (int64_t[]){t->dim}, NULL);
}

static void every_other(const writing *w) {
    slice_of(w, w->out, w->in, 1, &w->n->told.from, &w->x->dims[1], (int64_t[]){1}, (int64_t[]){2});
}

static void shuffle(const writing *w) {
    const int64_t *d = w->x->dims, groups = w->n->told.groups;
    const char *grouped = part(w, "grouped"), *shuffled = part(w, "shuffled");
    reshape_to(w, grouped, w->in, 5, (int64_t[]){0, groups, d[1] / groups, d[2], d[3]});
    unary(w, "Transpose", shuffled, grouped);
    nas__onnx_ints(w->o, "perm", 5, (int64_t[]){0, 2, 1, 3, 4});
    reshape_to(w, w->out, shuffled, 4, (int64_t[]){0, d[1], d[2], d[3]});
}

static int64_t above(int64_t a, int64_t b) { return a > b ? a : b; }

/* What is added, then what is cut off. */
static void pad(const writing *w) {
    int64_t top = w->n->told.pad_h, left = w->n->told.pad_w, bottom = w->y->dims[2] - w->x->dims[2] - top,
            right = w->y->dims[3] - w->x->dims[3] - left;
    bool adds = top > 0 || bottom > 0 || left > 0 || right > 0, cuts = top < 0 || bottom < 0 || left < 0 || right < 0;
    const char *padded = w->in;
    if (adds) {
        padded = cuts ? part(w, "padded") : w->out;
        binary(w, "Pad", padded, w->in,
               nas__onnx_ints_constant(
                   w->o, part(w, "pads"), 8,
                   (int64_t[]){0, 0, above(top, 0), above(left, 0), 0, 0, above(bottom, 0), above(right, 0)}));
    }
    if (cuts) {
        int64_t y = above(-top, 0), x = above(-left, 0);
        slice_of(w, w->out, padded, 2, (int64_t[]){y, x}, (int64_t[]){y + w->y->dims[2], x + w->y->dims[3]},
                 (int64_t[]){2, 3}, NULL);
    }
}

static void reshape(const writing *w) {
    int64_t dims[NAS_MAX_DIMS] = {0}; /* as many samples as there are */
    for (int i = 1; i < w->y->ndim; i++) {
        dims[i] = w->y->dims[i];
    }
    reshape_to(w, w->out, w->in, w->y->ndim, dims);
}

static void (*const writers[NAS__N_OPS])(const writing *w) = {
    [NAS__OP_CONV] = conv,
    [NAS__OP_LINEAR] = linear,
    [NAS__OP_NORM] = norm,
    [NAS__OP_MAX_POOL] = max_pool,
    [NAS__OP_AVG_POOL] = avg_pool,
    [NAS__OP_GLOBAL_POOL] = global_pool,
    [NAS__OP_RELU] = relu,
    [NAS__OP_RELU6] = relu6,
    [NAS__OP_SIGMOID] = sigmoid,
    [NAS__OP_TANH] = hyperbolic,
    [NAS__OP_GELU] = gelu,
    [NAS__OP_SWISH] = swish,
    [NAS__OP_HARD_SIGMOID] = hard_sigmoid,
    [NAS__OP_HARD_SWISH] = hard_swish,
    [NAS__OP_SOFTMAX] = softmax,
    [NAS__OP_LOG_SOFTMAX] = softmax,
    [NAS__OP_SUM] = sum,
    [NAS__OP_DIFFERENCE] = difference,
    [NAS__OP_PRODUCT] = product,
    [NAS__OP_GATE] = gate,
    [NAS__OP_SCALE] = scale,
    [NAS__OP_CONCAT] = concat,
    [NAS__OP_SLICE] = slice,
    [NAS__OP_EVERY_OTHER] = every_other,
    [NAS__OP_SHUFFLE] = shuffle,
    [NAS__OP_PAD] = pad,
    [NAS__OP_RESHAPE] = reshape,
};

void nas__onnx_write_node(nas__onnx *o, const nas__graph_node *n) {
    writing w = {.o = o, .n = n, .y = &o->network->values[n->output], .out = o->names[n->output]};
    w.x = input_value(&w, 0);
    w.in = operand(&w, 0);
    writers[n->kind](&w);
}
