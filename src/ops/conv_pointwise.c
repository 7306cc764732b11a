/* conv_pointwise.c - 1x1 convolutions. They read behind a ReLU, a norm, a crop and a concatenation: the preprocessing
 * and the factorized reductions of cells, the expansions of inverted residuals, the heads of separable convolutions
 * whose depthwise half somebody else wanted to see. */
#include "ops/conv_fused.h"
#include "tensor/late.h"

typedef struct pointwise_state {
    nas__pointwise shape;
    nas__on_load load;
    nas_tensor *weight;
    nas_tensor *values[NAS__MOST_PARTS]; /* that the kernel reads */
} pointwise_state;

/* x as the kernel reads it: `targets` have the gradients. */
static bool read_parts(nas_tensor *x, pointwise_state *s, nas_tensor **targets) {
    nas_tensor *whole = x;
    if (x->late && x->late->kind == NAS__LATE_CROP && !x->data) {
        const nas__late_crop *crop = x->late->detail;
        s->shape.top = crop->top;
        s->shape.left = crop->left;
        whole = x = x->late->source;
    }
    s->shape.h = (int)x->dims[2];
    s->shape.w = (int)x->dims[3];
    nas__on_load load = {0};
    if (x->late && x->late->kind == NAS__LATE_RELU) {
        load = x->late->load;
        x = x->late->source;
    }
    s->shape.parts = 1;
    s->load = load;
    const bool late = x->late && x->late->kind == NAS__LATE_CONCAT && !x->data;
    const nas__late_concat *c = late ? x->late->detail : NULL;
    if (c && c->equal) {
        s->shape.parts = c->n;
        for (int i = 0; i < c->n; i++) {
            s->values[i] = targets[i] = c->parts[i];
        }
    } else {
        nas__reading r;
        if (!nas__read(whole, &r)) {
            return false;
        }
        s->load = r.load;
        s->values[0] = r.values;
        targets[0] = r.target;
    }
    s->shape.in /= s->shape.parts;
    return true;
}

/* --- backward ----------------------------------------------------------------------------------------- */
typedef struct targets {
    const float *x[NAS__MOST_PARTS];
    float *dx[NAS__MOST_PARTS];
    bool accumulate[NAS__MOST_PARTS];
    nas__buffer *fresh[NAS__MOST_PARTS];
    bool any;
} targets;

static void open_targets(nas__node *node, const pointwise_state *s, targets *t) {
    t->any = false;
    for (int i = 0; i < s->shape.parts; i++) {
        t->x[i] = s->values[i]->data;
        t->dx[i] = nas__grad_open(node->inputs[i], &t->fresh[i], &t->accumulate[i]);
        t->any |= t->dx[i] != NULL;
    }
}

static void run_backward(pointwise_state *s, targets *t, nas__pointwise_grads *g) {
    bool weights = nas__wants(s->weight);
    nas__buffer *panels = t->any ? nas__pointwise_back_panels(s->weight, s->shape.parts) : NULL;
    nas__buffer *dw = weights ? nas__floats((size_t)s->weight->dims[1] * (size_t)nas__padded(s->shape.out)) : NULL;
    if ((panels || !t->any) && (dw || !weights)) {
        s->shape.weights_t = panels ? panels->data : NULL;
        g->dx = t->any ? t->dx : NULL;
        g->d_weights = dw ? dw->data : NULL;
        nas__kernel_table()->pointwise_backward(&s->shape, g);
        if (dw) {
            nas__give_pointwise(s->weight, dw->data);
        }
    }
    nas__buffer_unref(panels);
    nas__buffer_unref(dw);
}

static void pointwise_backward(nas__node *node) {
    pointwise_state *s = node->state;
    nas__late_grad dz = nas__grad_late(node->outputs[0]);
    targets t;
    if (!dz.g) {
        return;
    }
    open_targets(node, s, &t);
    nas_tensor *only = node->inputs[0];
    double *sums = s->shape.parts == 1 && t.any ? nas__grad_wants_sums(only) : NULL;
    nas__pointwise_grads g = {.x = t.x, .load = &s->load, .dz = &dz, .accumulate = t.accumulate, .in_sums = sums};
    run_backward(s, &t, &g);
    for (int i = 0; i < s->shape.parts; i++) {
        if (t.dx[i]) {
            nas__grad_close(node->inputs[i], t.fresh[i]);
        }
    }
    nas__grad_tell_sums(only, sums);
}

/* --- forward ------------------------------------------------------------------------------------------ */
bool nas__is_pointwise(const nas_tensor *x, const nas_tensor *bias, const nas__conv_shape *s) {
    return s->kh == 1 && s->kw == 1 && s->groups == 1 && s->pad_h == 0 && s->pad_w == 0 && x->layout == NAS__BLOCKED &&
           !nas__wants(bias);
}

static bool run_forward(const pointwise_state *s, nas_tensor *bias, nas_tensor *y) {
    const float *x[NAS__MOST_PARTS];
    for (int i = 0; i < s->shape.parts; i++) {
        x[i] = nas__data(s->values[i]);
        if (!x[i]) {
            return false;
        }
    }
    const float *offsets = bias ? nas__channels(nas__data(bias), y->dims[1]) : NULL;
    nas__pointwise p = s->shape;
    nas__buffer *panels = nas__pointwise_panels(s->weight);
    bool ready = panels && (offsets || !bias);
    if (ready) {
        p.weights = panels->data;
        nas__kernel_table()->pointwise_forward(&p, x, &s->load, offsets, NULL, y->data, nas__moments(y));
    }
    nas__buffer_unref(panels);
    return ready;
}

nas_tensor *nas__conv_pointwise(nas_tensor *x, nas_tensor *weight, nas_tensor *bias, const nas__conv_shape *s) {
    pointwise_state state = {
        .shape = {.n = s->n, .in = s->ic, .out = s->oc, .oh = s->oh, .ow = s->ow, .stride = s->stride},
        .weight = weight};
    nas_tensor *inputs[NAS__MOST_PARTS + 1];
    nas_tensor *y =
        read_parts(x, &state, inputs) ? nas__new(4, (int64_t[]){s->n, s->oc, s->oh, s->ow}, NAS__BLOCKED) : NULL;
    if (!y || !run_forward(&state, bias, y)) {
        return NULL;
    }
    inputs[state.shape.parts] = weight;
    nas__node *node =
        nas__record("pointwise", pointwise_backward, state.shape.parts + 1, inputs, 1, &y, sizeof(pointwise_state));
    if (node) {
        *(pointwise_state *)node->state = state;
    }
    return y;
}
