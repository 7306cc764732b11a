/* conv_unit.c - depthwise and pointwise convolutions, alone or one behind the other in one kernel: the halves of
 * separable and dilated convolutions (DARTS) and the parts of inverted residuals (MobileNetV2). The result between the
 * two is never stored: the backward pass computes it again. */
#include "ops/conv_fused.h"
#include "tensor/late.h"

#include <string.h>

typedef struct late_depthwise {
    nas__conv_shape shape;
    nas_tensor *weight;
} late_depthwise;

/* What the backward step starts from; saved[0] holds the blocked depthwise weights. */
typedef struct unit_state {
    nas__unit unit;
    nas__on_load load;
    nas_tensor *values; /* that the kernel read */
    nas_tensor *depthwise, *pointwise;
} unit_state;

/* --- arrays --------------------------------------------------------------------------------------- */
/* (C,1,kh,kw) plain <-> [cb][kh*kw][block], the tail zero */
static void block_weights(int c, int taps, const float *plain, float *blocked) {
    int block = nas__block();
    for (int i = 0; i < nas__padded(c); i++) {
        for (int t = 0; t < taps; t++) {
            blocked[(i / block * taps + t) * block + i % block] = i < c ? plain[i * taps + t] : 0;
        }
    }
}

static void unblock_weights(int c, int taps, const float *blocked, float *plain) {
    int block = nas__block();
    for (int i = 0; i < c; i++) {
        for (int t = 0; t < taps; t++) {
            plain[i * taps + t] = blocked[(i / block * taps + t) * block + i % block];
        }
    }
}

static nas_status make_depthwise(const nas_tensor *weight, const void *what, float *out) {
    const nas__unit *u = what;
    block_weights(u->in, u->kernel_h * u->kernel_w, weight->data, out);
    return NAS_OK;
}

static nas__buffer *blocked_depthwise(nas_tensor *weight, const nas__unit *u) {
    size_t count = (size_t)nas__padded(u->in) * u->kernel_h * u->kernel_w;
    return nas__prepared(weight, NAS__FORM_DEPTHWISE, count, make_depthwise, u);
}

/* --- backward --------------------------------------------------------------------------------------- */
static void give_depthwise(const unit_state *s, const float *blocked) {
    nas__buffer *scratch;
    float *dw = nas__grad_begin(s->depthwise, &scratch);
    if (dw) {
        unblock_weights(s->unit.in, s->unit.kernel_h * s->unit.kernel_w, blocked, dw);
        nas__grad_end(s->depthwise, scratch);
    }
}

/* Runs the kernel with room for the weight gradients that are wanted, and gives these. */
static void run_backward(unit_state *s, nas__unit_grads *grads) {
    nas__unit *u = &s->unit;
    bool depthwise = nas__wants(s->depthwise), pointwise = nas__wants(s->pointwise);
    nas__buffer *columns = s->pointwise ? nas__pointwise_back_panels(s->pointwise, 1) : NULL;
    nas__buffer *dd = depthwise ? nas__floats((size_t)nas__padded(u->in) * u->kernel_h * u->kernel_w) : NULL;
    nas__buffer *dp = pointwise ? nas__floats((size_t)u->in * nas__padded(u->out)) : NULL;
    if ((columns || !s->pointwise) && (dd || !depthwise) && (dp || !pointwise)) {
        u->pointwise_t = columns ? columns->data : NULL;
        grads->d_depthwise = dd ? dd->data : NULL;
        grads->d_pointwise = dp ? dp->data : NULL;
        nas__kernel_table()->unit_backward(u, grads);
        if (dd) {
            give_depthwise(s, dd->data);
        }
        if (dp) {
            nas__give_pointwise(s->pointwise, dp->data);
        }
    }
    nas__buffer_unref(columns);
    nas__buffer_unref(dd);
    nas__buffer_unref(dp);
}

static void unit_backward(nas__node *node) {
    unit_state *s = node->state;
    nas_tensor *target = node->inputs[0];
    nas__late_grad dz = nas__grad_late(node->outputs[0]);
    nas__buffer *fresh = NULL;
    nas__unit_grads grads = {.x = nas__data(s->values), .load = &s->load, .dz = &dz};
    if (!dz.g || !grads.x) {
        return;
    }
    grads.dx = nas__grad_open(target, &fresh, &grads.accumulate);
    grads.in_sums = grads.dx ? nas__grad_wants_sums(target) : NULL;
    s->unit.depthwise = node->saved[0]->data;
    run_backward(s, &grads);
    if (grads.dx) {
        nas__grad_close(target, fresh);
        nas__grad_tell_sums(target, grads.in_sums);
    }
}

/* --- forward ---------------------------------------------------------------------------------------- */
static bool run_forward(unit_state *s, nas__buffer *depthwise, const float *bias, nas_tensor *y, double *moments) {
    nas__buffer *rows = s->pointwise ? nas__pointwise_panels(s->pointwise) : NULL;
    bool ready = (rows || !s->pointwise) && (y->data || nas__give_memory(y));
    if (ready) {
        s->unit.depthwise = depthwise->data;
        s->unit.pointwise = rows ? rows->data : NULL;
        nas__kernel_table()->unit_forward(&s->unit, s->values->data, &s->load, bias, NULL, y->data, moments);
    }
    nas__buffer_unref(rows);
    return ready;
}

/* --- forgetting and computing again ------------------------------------------------------------------ */
static void compute_again(nas_tensor *y) {
    const nas__node *node = *(nas__node **)y->late->detail;
    unit_state s = *(const unit_state *)node->state;
    if (nas__data(s.values)) {
        run_forward(&s, node->saved[0], NULL, y, NULL);
    }
}

/* With recomputation y may be forgotten from now on. What this unit read is forgotten when it was another one's output
 * behind a norm: nobody else will want it before the backward pass. */
static void may_forget(nas__node *node, const unit_state *s, nas_tensor *y) {
    if (s->load.scale) {
        nas__forget(s->values);
    }
    nas__late *again = y->late ? NULL : nas__arena_alloc(&y->tape->arena, sizeof *again + sizeof node);
    if (again) {
        *again = (nas__late){.kind = NAS__LATE_AGAIN, .compute = compute_again, .detail = again + 1};
        *(nas__node **)again->detail = node;
        y->late = again;
    }
}

/* y = the unit of x; pointwise may be NULL. */
static bool compute_unit(const char *name, nas_tensor *x, unit_state *s, nas_tensor *bias, nas_tensor *y) {
    nas__reading r;
    if (!nas__read(x, &r)) {
        return false;
    }
    s->values = r.values;
    s->load = r.load;
    nas__buffer *depthwise = blocked_depthwise(s->depthwise, &s->unit);
    const float *offsets = bias ? nas__channels(nas__data(bias), y->dims[1]) : NULL;
    bool done = depthwise && (offsets || !bias) && run_forward(s, depthwise, offsets, y, nas__moments(y));
    nas_tensor *inputs[] = {r.target, s->depthwise, s->pointwise};
    int n_inputs = s->pointwise ? 3 : 2;
    nas__node *node = done ? nas__record(name, unit_backward, n_inputs, inputs, 1, &y, sizeof *s) : NULL;
    if (node) {
        *(unit_state *)node->state = *s;
        node->saved[0] = depthwise;
        if (y->tape->config.recompute && !bias) {
            may_forget(node, s, y);
        }
    } else {
        nas__buffer_unref(depthwise);
    }
    return done;
}

/* The unit of a late depthwise convolution and the pointwise one behind it, or none (NULL). */
static unit_state start(const late_depthwise *d, nas_tensor *pointwise) {
    const nas__conv_shape *c = &d->shape;
    return (unit_state){.unit = {.n = c->n,
                                 .in = c->ic,
                                 .out = pointwise ? (int)pointwise->dims[0] : c->oc,
                                 .h = c->ih,
                                 .w = c->iw,
                                 .oh = c->oh,
                                 .ow = c->ow,
                                 .kernel_h = c->kh,
                                 .kernel_w = c->kw,
                                 .stride = c->stride,
                                 .dilation = c->dilation,
                                 .pad_h = c->pad_h,
                                 .pad_w = c->pad_w},
                        .depthwise = d->weight,
                        .pointwise = pointwise};
}

static void depthwise_compute(nas_tensor *y) {
    unit_state s = start(y->late->detail, NULL);
    compute_unit("depthwise", y->late->source, &s, NULL, y);
}

nas_tensor *nas__depthwise(nas_tensor *x, nas_tensor *weight, const nas__conv_shape *s) {
    x = x->layout == NAS__BLOCKED ? x : nas__as(x, NAS__BLOCKED);
    nas_tensor *y =
        x ? nas__postpone(&(nas__late){.kind = NAS__LATE_DEPTHWISE, .compute = depthwise_compute, .source = x},
                          (int64_t[]){s->n, s->oc, s->oh, s->ow}, sizeof(late_depthwise))
          : NULL;
    if (y) {
        *(late_depthwise *)y->late->detail = (late_depthwise){*s, weight};
        y->needs_grad |= nas__wants(weight);
    }
    return y;
}

static const late_depthwise *depthwise_before(const nas_tensor *x) {
    return x->late && x->late->kind == NAS__LATE_DEPTHWISE && !x->data ? x->late->detail : NULL;
}

bool nas__is_unit(const nas_tensor *x, const nas_tensor *bias, const nas__conv_shape *s) {
    bool pointwise = s->kh == 1 && s->kw == 1 && s->stride == 1 && s->groups == 1 && s->pad_h == 0 && s->pad_w == 0;
    return pointwise && x->layout == NAS__BLOCKED && !nas__wants(bias) && depthwise_before(x);
}

/* --- late units: of passes without gradients -------------------------------------------------------- */
typedef struct late_unit {
    unit_state state;
    nas_tensor *bias;
} late_unit;

static bool compute_late(const nas_tensor *unit, const float *more, nas_tensor *y) {
    const late_unit *late = unit->late->detail;
    unit_state state = late->state;
    state.unit.more = more;
    return compute_unit("separable", unit->late->source, &state, late->bias, y);
}

static void unit_compute(nas_tensor *y) { compute_late(y, NULL, y); }

bool nas__is_late_unit(const nas_tensor *t) { return t->late && t->late->kind == NAS__LATE_UNIT && !t->data; }

bool nas__unit_onto(const nas_tensor *unit, const float *more, nas_tensor *y) { return compute_late(unit, more, y); }

static nas_tensor *postpone_unit(nas_tensor *x, const unit_state *state, nas_tensor *bias, const int64_t dims[4]) {
    nas_tensor *y = nas__postpone(&(nas__late){.kind = NAS__LATE_UNIT, .compute = unit_compute, .source = x}, dims,
                                  sizeof(late_unit));
    if (y) {
        *(late_unit *)y->late->detail = (late_unit){*state, bias};
    }
    return y;
}

nas_tensor *nas__conv_unit(nas_tensor *x, nas_tensor *weight, nas_tensor *bias, const nas__conv_shape *s) {
    const int64_t dims[4] = {s->n, s->oc, s->oh, s->ow};
    unit_state state = start(depthwise_before(x), weight);
    if (weight->frozen && !nas__tape()->config.grad) {
        return postpone_unit(x->late->source, &state, bias, dims);
    }
    nas_tensor *y = nas__bare(4, dims, NAS__BLOCKED);
    return y && compute_unit("separable", x->late->source, &state, bias, y) ? y : NULL;
}
