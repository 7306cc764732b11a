/* activation.c - element-wise non-linearities. The ReLUs are one pass of ours, the smooth ones oneDNN's. */
#include "kernels/onednn.h"
#include "ops/common.h"
#include "tensor/late.h"

typedef struct activation {
    nas__eltwise kind;
    float cap; /* ReLU6: 6; ReLU: 0 */
} activation;

/* --- ReLU ---------------------------------------------------------------------------------------- */
static void relu_backward(nas__node *node) {
    nas_tensor *x = node->inputs[0];
    nas__grad dy = nas__grad_of(node->outputs[0]);
    nas__buffer *dx = nas__floats(nas__storage(x));
    if (dx) {
        nas__kernel_table()->relu_backward(nas__storage(x), nas__data(x), dy.buffer->data, dy.scale, dx->data,
                                           ((activation *)node->state)->cap);
        nas__grad_give(x, dx, 1);
    }
}

static nas_tensor *rectify(const char *op, nas_tensor *x, float cap) {
    nas_tensor *y = nas__like(x);
    if (!y || nas__dry()) {
        return nas__traced(op, 1, &x, y);
    }
    nas__kernel_table()->relu_forward(nas__storage(x), nas__data(x), y->data, cap);
    nas__node *node = nas__record(op, relu_backward, 1, &x, 1, &y, sizeof(activation));
    if (node) {
        ((activation *)node->state)->cap = cap;
    }
    return y;
}

/* The gradient stays late: the mask is applied by whoever reads it, with the norm's coefficients when x is one. */
static void late_relu_backward(nas__node *node) {
    nas_tensor *x = node->inputs[0];
    nas__grad dy = nas__grad_of(node->outputs[0]);
    nas__late_grad *late = nas__arena_alloc(&x->tape->arena, sizeof *late);
    if (!late) {
        return;
    }
    bool norm = x->late && x->late->kind == NAS__LATE_NORM;
    *late = (nas__late_grad){.masked = true, .cap = ((activation *)node->state)->cap};
    if (norm) {
        late->mask_scale = x->late->load.scale;
        late->mask_shift = x->late->load.shift;
    }
    late->z = nas__data(norm ? x->late->source : x);
    nas__grad_give_late(x, nas__buffer_ref(dy.buffer), dy.scale, late);
}

static void relu_compute(nas_tensor *y) {
    nas__reading r;
    if (!nas__read(y, &r) || !nas__give_memory(y)) {
        return;
    }
    nas__kernel_table()->late_values((int)y->dims[0], (int)y->dims[1], (int)(y->dims[2] * y->dims[3]), r.values->data,
                                     &r.load, y->data);
    nas__node *node =
        nas__record(r.load.cap > 0 ? "relu6" : "relu", late_relu_backward, 1, &r.target, 1, &y, sizeof(activation));
    if (node) {
        ((activation *)node->state)->cap = r.load.cap;
    }
}

static nas_tensor *relu_of(const char *op, nas_tensor *x, float cap) {
    if (x->is_zero) {
        return x;
    }
    if (x->persistent || x->layout != NAS__BLOCKED || nas__dry() || nas__watches_relus()) {
        return rectify(op, x, cap);
    }
    return nas__postpone(
        &(nas__late){.kind = NAS__LATE_RELU, .compute = relu_compute, .source = x, .load = {.relu = true, .cap = cap}},
        x->dims, 0);
}

nas_tensor *nas_relu(nas_tensor *x) {
    if (!x) {
        return nas__null_input("nas_relu");
    }
    if (x->persistent) {
        return relu_of("relu", x, 0);
    }
    if (!x->relu) { /* all candidates that start with a ReLU of the same node share it */
        x->relu = relu_of("relu", x, 0);
    }
    return x->relu;
}

nas_tensor *nas_relu6(nas_tensor *x) { return x ? relu_of("relu6", x, 6) : nas__null_input("nas_relu6"); }

/* --- smooth ones --------------------------------------------------------------------------------- */
static void smooth_backward(nas__node *node) {
    nas_tensor *x = node->inputs[0];
    const float *dy = nas__grad_data(node->outputs[0]);
    nas__buffer *dx = dy ? nas__floats(nas__storage(x)) : NULL;
    if (dx) {
        nas__eltwise_backward(((activation *)node->state)->kind, nas__storage(x), nas__data(x), dy, dx->data);
        nas__grad_give(x, dx, 1);
    }
}

static nas_tensor *smooth(const char *op, nas_tensor *x, nas__eltwise kind) {
    if (!x) {
        return nas__null_input(op);
    }
    if (x->is_zero && kind != NAS__SIGMOID) {
        return x;
    }
    x = nas__as(x, kind == NAS__SIGMOID ? nas__tailless(x) : x->layout);
    nas_tensor *y = x ? nas__like(x) : NULL;
    if (!y || nas__dry()) {
        return nas__traced(op, 1, &x, y);
    }
    if (nas__eltwise_forward(kind, nas__storage(x), nas__data(x), y->data)) {
        return NULL;
    }
    nas__node *node = nas__record(op, smooth_backward, 1, &x, 1, &y, sizeof(activation));
    if (node) {
        ((activation *)node->state)->kind = kind;
    }
    return y;
}

nas_tensor *nas_sigmoid(nas_tensor *x) { return smooth("nas_sigmoid", x, NAS__SIGMOID); }
nas_tensor *nas_tanh(nas_tensor *x) { return smooth("nas_tanh", x, NAS__TANH); }
nas_tensor *nas_gelu(nas_tensor *x) { return smooth("nas_gelu", x, NAS__GELU); }
nas_tensor *nas_swish(nas_tensor *x) { return smooth("nas_swish", x, NAS__SWISH); }
