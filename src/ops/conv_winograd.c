/* conv_winograd.c - dense 3x3 convolutions with stride 1 by Winograd's algorithm (Lavin and Gray, CVPR 2016), with four
 * times fewer multiplications than the definition. */
#include "ops/conv_fused.h"
#include "tensor/late.h"

typedef struct conv3_state {
    nas__conv3 shape;
    nas__on_load load;
    nas_tensor *values; /* that the kernel read */
} conv3_state;

static nas__conv3 shape_of(const nas__conv_shape *s) {
    return (nas__conv3){.n = s->n,
                        .in = s->ic,
                        .out = s->oc,
                        .h = s->ih,
                        .w = s->iw,
                        .oh = s->oh,
                        .ow = s->ow,
                        .pad_h = s->pad_h,
                        .pad_w = s->pad_w};
}

static nas_status transform(const nas_tensor *weight, const void *what, float *u) {
    nas__kernel_table()->conv3_weights(what, weight->data, false, u);
    return NAS_OK;
}

static nas_status transform_back(const nas_tensor *weight, const void *what, float *u) {
    nas__kernel_table()->conv3_weights(what, weight->data, true, u);
    return NAS_OK;
}

static nas__buffer *transformed(const nas__conv3 *s, nas_tensor *weight, bool backward) {
    return nas__prepared(weight, backward ? NAS__FORM_WINOGRAD_BACK : NAS__FORM_WINOGRAD,
                         nas__kernel_table()->conv3_weights_size(s), backward ? transform_back : transform, s);
}

static void conv3_backward(nas__node *node) {
    conv3_state *s = node->state;
    nas_tensor *target = node->inputs[0], *weight = node->inputs[1];
    nas__late_grad dz = nas__grad_late(node->outputs[0]);
    nas__buffer *fresh = NULL, *scratch = NULL;
    nas__conv3_grads grads = {.x = s->values->data, .load = &s->load, .dz = &dz};
    bool data = nas__wants(target), weights = nas__wants(weight);
    grads.dx = data ? nas__grad_open(target, &fresh, &grads.accumulate) : NULL;
    grads.in_sums = grads.dx ? nas__grad_wants_sums(target) : NULL;
    grads.dw = weights ? nas__grad_begin(weight, &scratch) : NULL;
    nas__buffer *u = grads.dx ? transformed(&s->shape, weight, true) : NULL;
    if (dz.g && !grads.dx == !data && !grads.dw == !weights && (u || !data)) {
        grads.u = u ? u->data : NULL;
        nas__kernel_table()->conv3_backward(&s->shape, &grads);
    }
    nas__buffer_unref(u);
    if (grads.dx) {
        nas__grad_close(target, fresh);
        nas__grad_tell_sums(target, grads.in_sums);
    }
    if (grads.dw) {
        nas__grad_end(weight, scratch);
    }
}

bool nas__is_conv3(const nas_tensor *x, const nas_tensor *bias, const nas__conv_shape *s) {
    enum { MOST_CHANNELS = 512 };
    return s->kh == 3 && s->kw == 3 && s->stride == 1 && s->dilation == 1 && s->groups == 1 && s->pad_h <= 2 &&
           s->pad_w <= 2 && x->layout == NAS__BLOCKED && s->ic >= nas__block() / 2 && s->ic <= MOST_CHANNELS &&
           s->oc <= MOST_CHANNELS && s->oh >= 4 && s->ow >= 4 && !nas__wants(bias);
}

nas_tensor *nas__conv_winograd(nas_tensor *x, nas_tensor *weight, nas_tensor *bias, const nas__conv_shape *s) {
    nas__reading r;
    nas_tensor *y = nas__read(x, &r) ? nas__new(4, (int64_t[]){s->n, s->oc, s->oh, s->ow}, NAS__BLOCKED) : NULL;
    conv3_state state = {shape_of(s), r.load, r.values};
    nas__buffer *u = y ? transformed(&state.shape, weight, false) : NULL;
    const float *offsets = u && bias ? nas__channels(nas__data(bias), s->oc) : NULL;
    if (!u || (bias && !offsets)) {
        nas__buffer_unref(u);
        return NULL;
    }
    nas__kernel_table()->conv3_forward(&state.shape, r.values->data, &r.load, u->data, offsets, NULL, y->data,
                                       nas__moments(y));
    nas__buffer_unref(u);
    nas__node *node =
        nas__record("conv", conv3_backward, 2, (nas_tensor *[]){r.target, weight}, 1, &y, sizeof(conv3_state));
    if (node) {
        *(conv3_state *)node->state = state;
    }
    return y;
}
