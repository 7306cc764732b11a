/* activation.c - element-wise non-linearities. The ReLUs are one pass of ours, the smooth ones oneDNN's. */
#include "kernels/onednn.h"
#include "ops/common.h"

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
    if (x->is_zero) {
        return x;
    }
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

nas_tensor *nas_relu(nas_tensor *x) {
    if (!x) {
        return nas__null_input("nas_relu");
    }
    if (x->persistent) {
        return rectify("relu", x, 0);
    }
    if (!x->relu) { /* all candidates that start with a ReLU of the same node share it */
        x->relu = rectify("relu", x, 0);
    }
    return x->relu;
}

nas_tensor *nas_relu6(nas_tensor *x) { return x ? rectify("relu6", x, 6) : nas__null_input("nas_relu6"); }

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
