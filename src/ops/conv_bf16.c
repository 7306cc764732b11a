/* conv_bf16.c - dense convolutions by oneDNN in bf16, with the channels innermost: the only way to matrix units.
 * Activations stay blocked f32 outside. One pass brings them there, and does batch norm and ReLU on the way; one takes
 * the result back, and sums up for the next batch norm. All that read a tensor share what was brought there. */
#include "kernels/bf16.h"
#include "ops/conv_fused.h"
#include "ops/precision.h"
#include "tensor/late.h"

typedef struct bf16_state {
    nas__conv_shape shape;
    nas__on_load load;
    nas_tensor *values; /* that were converted; saved[0] holds what came of it */
} bf16_state;

typedef uint16_t half; /* the upper half of a float */

static nas__buffer *halves(int n, int channels, int pixels) {
    return nas__buffer_new((size_t)n * (size_t)channels * (size_t)pixels * sizeof(half));
}

static nas__buffer *converted(nas_tensor *x, const nas__reading *r, const nas__conv_shape *s) {
    if (x->bf16) {
        return nas__buffer_ref(x->bf16);
    }
    const int pixels = s->ih * s->iw;
    nas__buffer *b = halves(s->n, s->ic, pixels);
    if (b) {
        nas__bf16_table()->values(s->n, s->ic, pixels, r->values->data, &r->load, (half *)b->data);
        x->bf16 = x->persistent ? NULL : nas__buffer_ref(b);
    }
    return b;
}

/* --- backward --------------------------------------------------------------------------------------- */
static void weight_gradient(const bf16_state *s, const nas__buffer *x, const nas__buffer *dz, nas_tensor *weight) {
    nas__buffer *scratch = NULL;
    float *dw = nas__grad_begin(weight, &scratch);
    if (dw && !nas__conv_backward_weights(&s->shape, x->data, dz->data, dw, NULL)) {
        nas__grad_end(weight, scratch);
    } else {
        nas__buffer_unref(scratch);
    }
}

static void data_gradient(const bf16_state *s, nas_tensor *target, const nas__buffer *dz, nas_tensor *weight) {
    const nas__conv_shape *c = &s->shape;
    const int pixels = c->ih * c->iw;
    nas__buffer *fresh = NULL, *dh = halves(c->n, c->ic, pixels);
    bool accumulate;
    float *dx = dh && !nas__conv_backward_data(c, dz->data, nas__data(weight), dh->data)
                    ? nas__grad_open(target, &fresh, &accumulate)
                    : NULL;
    if (dx) {
        double *sums = nas__grad_wants_sums(target);
        nas__bf16_table()->back(c->n, c->ic, pixels, (const half *)dh->data, s->values->data, &s->load, dx, accumulate,
                                sums);
        nas__grad_close(target, fresh);
        nas__grad_tell_sums(target, sums);
    }
    nas__buffer_unref(dh);
}

static void bf16_backward(nas__node *node) {
    const bf16_state *s = node->state;
    nas_tensor *target = node->inputs[0], *weight = node->inputs[1];
    nas__late_grad late = nas__grad_late(node->outputs[0]);
    const int pixels = s->shape.oh * s->shape.ow;
    nas__buffer *dz = late.g ? halves(s->shape.n, s->shape.oc, pixels) : NULL;
    if (!dz) {
        return;
    }
    nas__bf16_table()->gradient(s->shape.n, s->shape.oc, pixels, &late, (half *)dz->data);
    if (nas__wants(weight)) {
        weight_gradient(s, node->saved[0], dz, weight);
    }
    if (nas__wants(target)) {
        data_gradient(s, target, dz, weight);
    }
    nas__buffer_unref(dz);
}

/* --- forward ---------------------------------------------------------------------------------------- */
bool nas__is_bf16(const nas_tensor *x, const nas_tensor *bias, const nas__conv_shape *s) {
    bool known = s->kh == s->kw && (s->kh == 1 || s->kh == 3) && s->pad_h == s->pad_w;
    return known && s->groups == 1 && x->layout == NAS__BLOCKED && s->ic >= nas__block() / 2 && !nas__wants(bias) &&
           nas__precision_is_bf16(s);
}

static bool run_forward(const nas__conv_shape *s, const nas__buffer *x, nas_tensor *weight, nas_tensor *bias,
                        nas_tensor *y) {
    const float *offsets = bias ? nas__channels(nas__data(bias), s->oc) : NULL;
    nas__buffer *z = halves(s->n, s->oc, s->oh * s->ow);
    bool done = z && (offsets || !bias) && !nas__conv_forward(s, x->data, nas__data(weight), NULL, z->data);
    if (done) {
        nas__bf16_table()->result(s->n, s->oc, s->oh * s->ow, (const half *)z->data, offsets, y->data, nas__moments(y));
    }
    nas__buffer_unref(z);
    return done;
}

nas_tensor *nas__conv_bf16(nas_tensor *x, nas_tensor *weight, nas_tensor *bias, const nas__conv_shape *s) {
    nas__reading r;
    nas_tensor *y = nas__read(x, &r) ? nas__new(4, (int64_t[]){s->n, s->oc, s->oh, s->ow}, NAS__BLOCKED) : NULL;
    bf16_state state = {*s, r.load, r.values};
    state.shape.bf16 = 1;
    nas__buffer *inner = y ? converted(x, &r, s) : NULL;
    if (!inner || !run_forward(&state.shape, inner, weight, bias, y)) {
        nas__buffer_unref(inner);
        return NULL;
    }
    nas__node *node =
        nas__record("conv_bf16", bf16_backward, 2, (nas_tensor *[]){r.target, weight}, 1, &y, sizeof state);
    if (node) {
        *(bf16_state *)node->state = state;
        node->saved[0] = nas__wants(weight) ? nas__buffer_ref(inner) : NULL;
    }
    nas__buffer_unref(inner);
    return y;
}
