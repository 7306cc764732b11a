/* optim.c - SGD and Adam over flat memory.
 *
 * Binding moves the tensors into one buffer, so that a step is a few kernel calls over long stretches instead of one
 * call per tensor. A stretch ends where a tensor has no gradient (a candidate that was not sampled) or another number
 * of steps behind it. */
#include "nn/optim.h"

#include "core/error.h"
#include "core/threads.h"
#include "kernels/kernels.h"
#include "nn/module.h"
#include "tensor/tensor.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- making -------------------------------------------------------------------------------------- */
static bool out_of(double value, double low, double high) { return !(value >= low && value <= high); }

nas_optimizer *nas_sgd_new(const nas_sgd_config *c) {
    if (!(c->lr > 0 && isfinite(c->lr))) {
        return nas__fail_null(NAS_INVALID, "nas_sgd: .lr %g must be given and positive", c->lr);
    }
    if (out_of(c->momentum, 0, 1) || out_of(c->dampening, 0, 1) || out_of(c->weight_decay, 0, HUGE_VAL)) {
        return nas__fail_null(NAS_INVALID,
                              "nas_sgd: .momentum %g and .dampening %g must be 0..1, .weight_decay %g not negative",
                              c->momentum, c->dampening, c->weight_decay);
    }
    if (c->nesterov && (c->momentum == 0 || c->dampening != 0)) {
        return nas__fail_null(NAS_INVALID, "nas_sgd: .nesterov needs a momentum and no dampening");
    }
    nas_optimizer *o = nas__alloc(sizeof *o);
    if (o) {
        o->sgd = *c;
    }
    return o;
}

static double or_default(double value, double standard) {
    return value == 0 ? standard : value == NAS_NONE ? 0 : value;
}

nas_optimizer *nas_adam_new(const nas_adam_config *given) {
    nas_adam_config c = *given;
    c.lr = or_default(c.lr, 1e-3);
    c.beta1 = or_default(c.beta1, 0.9);
    c.beta2 = or_default(c.beta2, 0.999);
    c.eps = or_default(c.eps, 1e-8);
    if (!(c.lr > 0 && isfinite(c.lr)) || out_of(c.weight_decay, 0, HUGE_VAL) || !(c.eps > 0)) {
        return nas__fail_null(NAS_INVALID,
                              "nas_adam: .lr %g and .eps %g must be positive, .weight_decay %g not negative", c.lr,
                              c.eps, c.weight_decay);
    }
    if (out_of(c.beta1, 0, 1) || out_of(c.beta2, 0, 1) || c.beta1 == 1 || c.beta2 == 1) {
        return nas__fail_null(NAS_INVALID, "nas_adam: .beta1 %g and .beta2 %g must be at least 0 and below 1", c.beta1,
                              c.beta2);
    }
    nas_optimizer *o = nas__alloc(sizeof *o);
    if (o) {
        o->is_adam = true;
        o->adam = c;
    }
    return o;
}

void nas_optimizer_free(nas_optimizer *o) {
    if (o) {
        nas__buffer_unref(o->first);
        nas__buffer_unref(o->second);
        free(o->tensors);
        free(o->offset);
        free(o->steps);
        free(o);
    }
}

double nas_optimizer_lr(const nas_optimizer *o) { return o->is_adam ? o->adam.lr : o->sgd.lr; }

double nas_optimizer_last_norm(const nas_optimizer *o) { return o->last_norm; }

/* --- binding ------------------------------------------------------------------------------------- */
static bool zeros(nas__buffer **buffer, size_t count) {
    *buffer = nas__buffer_new(count * sizeof(float));
    if (*buffer) {
        memset((*buffer)->data, 0, count * sizeof(float));
    }
    return *buffer != NULL;
}

static int by_address(const void *a, const void *b) {
    uintptr_t x = (uintptr_t) * (nas_tensor *const *)a, y = (uintptr_t) * (nas_tensor *const *)b;
    return (x > y) - (x < y);
}

/* The list may be sorted: it is a copy. */
static nas_status check_tensors(size_t n, nas_tensor **tensors) {
    for (size_t i = 0; i < n; i++) {
        if (!tensors[i] || !tensors[i]->grad_data) {
            return nas__fail(NAS_INVALID,
                             "nas_optimizer_bind: tensor %zu is no parameter or variable that has gradients", i);
        }
    }
    qsort(tensors, n, sizeof *tensors, by_address);
    for (size_t i = 1; i < n; i++) {
        if (tensors[i] == tensors[i - 1]) {
            return nas__fail(NAS_INVALID, "nas_optimizer_bind: a tensor of shape %s is in the list twice",
                             nas__shape(tensors[i]));
        }
    }
    return NAS_OK;
}

static bool allocate(nas_optimizer *o, size_t n, nas_tensor *const *tensors) {
    size_t room = n ? n : 1;
    o->tensors = nas__alloc(room * sizeof *o->tensors);
    o->offset = nas__alloc((n + 1) * sizeof *o->offset);
    o->steps = nas__alloc(room * sizeof *o->steps);
    if (!o->tensors || !o->offset || !o->steps ||
        (n && check_tensors(n, memcpy(o->tensors, tensors, n * sizeof *tensors)))) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        o->tensors[i] = tensors[i];
        o->offset[i + 1] = o->offset[i] + (((size_t)nas__count(tensors[i]) + 15) & ~(size_t)15);
    }
    bool first = o->is_adam || o->sgd.momentum > 0;
    return (!first || zeros(&o->first, o->offset[n])) && (!o->is_adam || zeros(&o->second, o->offset[n]));
}

nas_status nas_optimizer_bind(nas_optimizer *o, size_t n, nas_tensor *const *tensors) {
    if (!o || o->bound) {
        return nas__fail(NAS_USAGE, "nas_optimizer_bind: the optimiser is %s",
                         o ? "bound already; make a second one" : "NULL");
    }
    if (!allocate(o, n, tensors) || (n && nas__flatten(o->tensors, n))) {
        nas__buffer_unref(o->first);
        nas__buffer_unref(o->second);
        free(o->tensors);
        free(o->offset);
        free(o->steps);
        *o = (nas_optimizer){.is_adam = o->is_adam, .sgd = o->sgd, .adam = o->adam};
        return nas_error_status();
    }
    o->n = n;
    o->bound = true;
    return NAS_OK;
}

typedef struct tensor_list {
    nas_tensor **tensors;
    size_t n;
} tensor_list;

static nas_status collect(const char *path, nas_tensor *tensor, nas_role role, void *user) {
    (void)path;
    tensor_list *list = user;
    if (role == NAS_ROLE_WEIGHT) {
        if (!nas__grow(&list->tensors, list->n, sizeof *list->tensors)) {
            return nas_error_status();
        }
        list->tensors[list->n++] = tensor;
    }
    return NAS_OK;
}

nas_status nas_optimizer_bind_model(nas_optimizer *o, nas_module *model) {
    tensor_list list = {0};
    nas_status status = nas_visit_parameters(model, collect, &list);
    status = status ? status : nas_optimizer_bind(o, list.n, list.tensors);
    free(list.tensors);
    return status;
}

/* --- one step ------------------------------------------------------------------------------------ */
/* Does tensor i continue the stretch that tensor i-1 is in? Another optimiser may have moved some of them since. */
static bool adjacent(const nas_optimizer *o, size_t i) {
    const nas_tensor *a = o->tensors[i - 1], *b = o->tensors[i];
    size_t length = o->offset[i] - o->offset[i - 1];
    return b->has_grad && a->data + length == b->data && a->grad_data + length == b->grad_data;
}

static bool same_state(const nas_optimizer *o, size_t i) {
    return o->is_adam ? o->steps[i] == o->steps[i - 1] : o->sgd.momentum == 0 ? true : !o->steps[i] == !o->steps[i - 1];
}

/* The stretch of tensors [from, *end) that one kernel call takes; from == n at the end. */
static size_t next_stretch(const nas_optimizer *o, size_t from, bool any_state, size_t *end) {
    while (from < o->n && !o->tensors[from]->has_grad) {
        from++;
    }
    *end = from + 1;
    while (*end < o->n && adjacent(o, *end) && (any_state || same_state(o, *end))) {
        ++*end;
    }
    return from;
}

static double gradient_norm(const nas_optimizer *o) {
    double squares = 0;
    size_t end;
    for (size_t i = next_stretch(o, 0, true, &end); i < o->n; i = next_stretch(o, end, true, &end)) {
        const float *g = o->tensors[i]->grad_data;
        squares += nas__kernel_table()->dot(o->offset[end] - o->offset[i], g, g);
    }
    return sqrt(squares);
}

static void update_sgd(const nas_optimizer *o, size_t i, size_t count, double lr, double scale) {
    const nas_sgd_config *c = &o->sgd;
    nas__sgd_args args = {.lr = (float)lr,
                          .momentum = (float)c->momentum,
                          .weight_decay = (float)c->weight_decay,
                          .dampening = (float)c->dampening,
                          .grad_scale = (float)scale,
                          .nesterov = c->nesterov,
                          .first = o->steps[i] == 0};
    nas__kernel_table()->sgd(count, &args, o->tensors[i]->data, o->tensors[i]->grad_data,
                             o->first ? o->first->data + o->offset[i] : NULL);
}

static void update_adam(const nas_optimizer *o, size_t i, size_t count, double lr, double scale) {
    const nas_adam_config *c = &o->adam;
    double t = (double)o->steps[i] + 1;
    nas__adam_args args = {.lr = (float)lr,
                           .beta1 = (float)c->beta1,
                           .beta2 = (float)c->beta2,
                           .eps = (float)c->eps,
                           .weight_decay = (float)c->weight_decay,
                           .grad_scale = (float)scale,
                           .correction1 = 1 - pow(c->beta1, t),
                           .correction2 = 1 - pow(c->beta2, t),
                           .decoupled = c->decoupled};
    nas__kernel_table()->adam(count, &args, o->tensors[i]->data, o->tensors[i]->grad_data,
                              o->first->data + o->offset[i], o->second->data + o->offset[i]);
}

static _Thread_local const nas__update_watcher *watching;

void nas__watch_updates(const nas__update_watcher *watcher) { watching = watcher; }

static void tell(const nas_optimizer *o, bool done) {
    if (watching) {
        watching->event(watching->user, o, done);
    }
}

nas_status nas_optimizer_step(nas_optimizer *o, double lr, double clip_norm) {
    if (!o || !o->bound) {
        return nas__fail(NAS_USAGE, "nas_optimizer_step: the optimiser is %s", o ? "not bound to any tensors" : "NULL");
    }
    if (!(lr >= 0 && isfinite(lr)) || !(clip_norm >= 0)) {
        return nas__fail(NAS_INVALID, "nas_optimizer_step: learning rate %g and clip_norm %g must not be negative", lr,
                         clip_norm);
    }
    nas__apply_threads();
    tell(o, false);
    double norm = gradient_norm(o);
    if (!isfinite(norm) && nas_error_status()) {
        return nas_error_status();
    }
    if (!isfinite(norm)) {
        return nas__fail(
            NAS_NUMERIC,
            "the norm of the gradient is not finite; nothing was changed. A lower learning rate or clipping may help");
    }
    o->last_norm = norm;
    /* as torch's clip_grad_norm_: a factor that never enlarges */
    double scale = clip_norm > 0 ? fmin(1, clip_norm / (norm + 1e-6)) : 1;
    size_t end;
    for (size_t i = next_stretch(o, 0, false, &end); i < o->n; i = next_stretch(o, end, false, &end)) {
        (o->is_adam ? update_adam : update_sgd)(o, i, o->offset[end] - o->offset[i], lr, scale);
        for (size_t k = i; k < end; k++) {
            o->steps[k]++;
        }
    }
    nas_optimizer_zero_grad(o);
    tell(o, true);
    return NAS_OK;
}

void nas_optimizer_zero_grad(nas_optimizer *o) {
    for (size_t i = 0; i < o->n; i++) {
        nas_zero_grad(o->tensors[i]);
    }
}

/* --- checkpoints --------------------------------------------------------------------------------- */
void nas__optimizer_state(nas_optimizer *o, const nas__state_visitor *v) {
    if (o->first) {
        v->floats(v->user, o->is_adam ? "moment1" : "momentum", o->first->data, o->offset[o->n]);
    }
    if (o->second) {
        v->floats(v->user, "moment2", o->second->data, o->offset[o->n]);
    }
    if (o->bound) {
        v->counters(v->user, "steps", o->steps, o->n);
    }
}

nas_optimizer *nas__optimizer_like(const nas_optimizer *o) {
    return o->is_adam ? nas_adam_new(&o->adam) : nas_sgd_new(&o->sgd);
}

void nas__optimizer_forget(nas_optimizer *o) {
    memset(o->steps, 0, o->n * sizeof *o->steps);
    nas__buffer *const moments[] = {o->first, o->second};
    for (int i = 0; i < 2; i++) {
        if (moments[i]) {
            memset(moments[i]->data, 0, o->offset[o->n] * sizeof(float));
        }
    }
}

const float *nas__optimizer_momentum(const nas_optimizer *o, size_t i) {
    return o->is_adam || !o->first || !o->steps[i] ? NULL : o->first->data + o->offset[i];
}
