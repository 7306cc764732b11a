/* tape.c - the record of one forward pass, and the backward pass over it. */
#include "tensor/late.h"
#include "core/threads.h"
#include "kernels/kernels.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>
#if defined(__SSE__)
#include <xmmintrin.h>
#endif

static _Thread_local nas_tape *current;
static _Thread_local const nas__watcher *watching;

const nas__watcher *nas__watch(const nas__watcher *watcher) {
    const nas__watcher *before = watching;
    watching = watcher;
    return before;
}

bool nas__watches_relus(void) { return watching && watching->relus; }

static void tell(nas__event event, const nas__node *node) {
    if (watching) {
        watching->event(watching->user, event, node);
    }
}

/* Denormal numbers cost a hundredfold and carry no information here: flushed to zero in every thread of the pool. */
static void flush_denormals(void) {
#if defined(__SSE__)
    static _Thread_local int prepared;
    if (prepared != omp_get_max_threads()) {
#pragma omp parallel
        _mm_setcsr(_mm_getcsr() | 0x8040); /* FTZ and DAZ */
        prepared = omp_get_max_threads();
    }
#endif
}

nas_tape *nas_tape_new(void) { return nas__alloc(sizeof(nas_tape)); }

static void release_bf16(nas_tensor *t) {
    nas__buffer_unref(t->bf16);
    t->bf16 = NULL;
}

static void release(nas_tensor *t) {
    release_bf16(t);
    nas__buffer_unref(t->buffer);
    nas__buffer_unref(t->grad.buffer);
    for (int i = 0; i < t->n_more; i++) {
        nas__buffer_unref(t->more[i].buffer);
    }
    t->n_more = 0;
    t->buffer = NULL;
    t->data = NULL;
    t->grad = (nas__grad){0};
    t->n_grads = t->n_grad_sums = 0;
}

static void release_saved(nas__node *node) {
    for (int i = 0; i < NAS__MAX_SAVED; i++) {
        nas__buffer_unref(node->saved[i]);
        node->saved[i] = NULL;
    }
}

static void drop(nas_tape *tape) {
    for (size_t i = 0; i < tape->n_tensors; i++) {
        release(tape->tensors[i]);
    }
    for (nas__node *node = tape->last; node; node = node->previous) {
        release_saved(node);
    }
    nas__arena_reset(&tape->arena);
    tape->last = NULL;
    tape->n_tensors = 0;
    tape->spent = false;
}

/* Tapes nest: takes one out of the calling thread's pile, wherever it stands. */
static void leave(nas_tape *tape) {
    nas_tape **at = &current;
    while (*at && *at != tape) {
        at = &(*at)->outer;
    }
    if (*at) {
        *at = tape->outer;
    }
    tape->outer = NULL;
    tape->active = false;
}

void nas_tape_reset(nas_tape *tape) {
    if (!tape) {
        return;
    }
    drop(tape);
    if (tape->active) {
        leave(tape);
    }
}

void nas_tape_free(nas_tape *tape) {
    if (tape) {
        nas_tape_reset(tape);
        nas__arena_free(&tape->arena);
        free(tape->tensors);
        free(tape);
    }
}

void nas_tape_begin(nas_tape *tape, const nas_tape_config *config) {
    nas__apply_threads();
    flush_denormals();
    drop(tape);
    if (tape->active) {
        leave(tape);
    }
    tape->outer = current;
    tape->active = true;
    current = tape;
    tape->config = *config;
    tape->macs = tape->recorded_macs = tape->op_count = 0;
    tape->narrow = 1;
    tape->together = NULL;
    tell(NAS__BEGUN, NULL);
}

nas_tape *nas__tape_now(void) { return current; }

nas_tape *nas__tape_swap(nas_tape *tape) {
    nas_tape *before = current;
    current = tape;
    return before;
}

uint64_t nas_tape_macs(const nas_tape *tape) { return tape->macs; }

nas_tape *nas__tape(void) {
    return current ? current : nas__fail_null(NAS_USAGE, "no tape is in use; call nas_tape_begin() before computing");
}

bool nas__dry(void) { return current && current->config.dry; }

int nas__narrowing(void) { return current ? current->narrow : 1; }

nas_rng nas__op_rng(void) {
    nas_tape *tape = current;
    uint64_t op = tape->op_count++;
    return nas_rng_new(tape->config.seed, (tape->config.step << 20) + op + 0x6f70000000000000u);
}

void nas__count_macs(uint64_t macs) {
    if (current) {
        current->macs += macs;
    }
}

/* --- making results ------------------------------------------------------------------------------ */
nas_tensor *nas__bare(int ndim, const int64_t *dims, nas__layout layout) {
    nas_tape *tape = nas__tape();
    if (!tape || !nas__grow(&tape->tensors, tape->n_tensors, sizeof *tape->tensors)) {
        return NULL;
    }
    nas_tensor *t = nas__arena_alloc(&tape->arena, sizeof *t);
    if (t) {
        t->ndim = ndim;
        memcpy(t->dims, dims, (size_t)ndim * sizeof *dims);
        t->layout = ndim == 4 ? layout : NAS__PLAIN;
        t->tape = tape;
        tape->tensors[tape->n_tensors++] = t;
    }
    return t;
}

nas_tensor *nas__new(int ndim, const int64_t *dims, nas__layout layout) {
    nas_tensor *t = nas__bare(ndim, dims, layout);
    return !t || t->tape->config.dry || nas__give_memory(t) ? t : NULL;
}

float *nas__give_memory(nas_tensor *t) {
    t->buffer = nas__buffer_new(nas__storage(t) * sizeof(float));
    return t->data = t->buffer ? t->buffer->data : NULL;
}

nas_tensor *nas__like(nas_tensor *x) {
    return nas__dry() || nas__data(x) ? nas__new(x->ndim, x->dims, x->layout) : NULL;
}

nas_tensor *nas__alias(nas_tensor *x, int ndim, const int64_t *dims) {
    nas_tensor *t = nas__bare(ndim, dims, NAS__PLAIN);
    if (t && !t->tape->config.dry) {
        if (!nas__data(x)) {
            return NULL;
        }
        t->buffer = nas__buffer_ref(x->buffer);
        t->data = x->data;
    }
    return t;
}

nas_tensor *nas_zero(int ndim, const int64_t *dims) {
    nas_tensor *t = nas__good_shape("nas_zero", ndim, dims) ? nas__bare(ndim, dims, NAS__BLOCKED) : NULL;
    if (t) {
        t->is_zero = true;
    }
    return t;
}

nas_tensor *nas__zero_like(const nas_tensor *t, nas__layout layout) {
    nas_tensor *y = nas_zero(t->ndim, t->dims);
    if (y && y->ndim == 4) {
        y->layout = layout;
    }
    return y;
}

/* --- scopes -------------------------------------------------------------------------------------- */
size_t nas__scope_begin(void) { return current ? current->n_tensors : 0; }

/* Tensors from before may know the released ones as their other forms. */
static void forget_other_forms(nas_tensor *t) {
    t->relu = t->relu && t->relu->left ? NULL : t->relu;
    t->twin = t->twin && t->twin->left ? NULL : t->twin;
}

/* A part of it, or what a part will be computed from. */
static bool is_part(const nas_tensor *concat, const nas_tensor *t) {
    const nas__late_concat *c = concat->late->detail;
    for (int i = 0; i < c->n; i++) {
        const nas_tensor *part = c->parts[i];
        while (part != t && part->late && !part->data) {
            part = part->late->source;
        }
        if (part == t) {
            return true;
        }
    }
    return false;
}

nas_tensor *nas__scope_end(size_t begin, nas_tensor *y) {
    if (!y || !current || y->tape != current || current->config.grad || current->config.dry) {
        return y;
    }
    bool parts = y->late && y->late->kind == NAS__LATE_CONCAT && !y->data;
    if (!parts && !y->is_zero && !nas__data(y)) {
        return NULL;
    }
    y->late = parts ? y->late : NULL; /* nobody looks behind it any more */
    size_t kept = begin;
    for (size_t i = begin; i < current->n_tensors; i++) {
        nas_tensor *t = current->tensors[i];
        t->left = t != y && !t->retained && !(parts && is_part(y, t));
        if (t->left) {
            release(t);
        } else {
            current->tensors[kept++] = t;
        }
    }
    for (size_t i = 0; i < kept; i++) {
        forget_other_forms(current->tensors[i]);
    }
    current->n_tensors = kept;
    return y;
}

bool nas__wants(const nas_tensor *t) {
    if (!t) {
        return false;
    }
    return t->persistent ? current && !t->frozen && (t->role & current->config.grad) : t->needs_grad;
}

static nas__node *record(const char *name, const nas__told *told, void (*backward)(nas__node *), int n_inputs,
                         nas_tensor *const *inputs, int n_outputs, nas_tensor *const *outputs, size_t state_bytes) {
    bool wanted = false;
    for (int i = 0; i < n_inputs; i++) {
        wanted |= nas__wants(inputs[i]);
    }
    bool dry = current && current->config.dry;
    for (int i = 0; wanted && i < n_outputs; i++) {
        outputs[i]->needs_grad = true;
    }
    uint64_t macs = current ? current->macs - current->recorded_macs : 0;
    if (!wanted || !current || dry) {
        if (current) {
            current->recorded_macs = current->macs;
        }
        tell(NAS__COMPUTED, &(nas__node){.name = name,
                                         .told = told,
                                         .macs = macs,
                                         .n_inputs = n_inputs,
                                         .n_outputs = n_outputs,
                                         .inputs = (nas_tensor **)inputs,
                                         .outputs = (nas_tensor **)outputs});
        return NULL;
    }
    nas__node *node = nas__arena_alloc(&current->arena, sizeof *node);
    nas_tensor **lists =
        node ? nas__arena_alloc(&current->arena, (size_t)(n_inputs + n_outputs) * sizeof *lists) : NULL;
    void *state = lists && state_bytes ? nas__arena_alloc(&current->arena, state_bytes) : NULL;
    if (!lists || (state_bytes && !state)) {
        return NULL;
    }
    current->recorded_macs = current->macs;
    *node = (nas__node){.previous = current->last,
                        .macs = macs,
                        .name = name,
                        .backward = backward,
                        .n_inputs = n_inputs,
                        .n_outputs = n_outputs,
                        .inputs = lists,
                        .outputs = lists + n_inputs,
                        .state = state};
    memcpy(node->inputs, inputs, (size_t)n_inputs * sizeof *lists);
    memcpy(node->outputs, outputs, (size_t)n_outputs * sizeof *lists);
    current->last = node;
    tell(NAS__COMPUTED, node);
    return node;
}

nas__node *nas__record(const char *name, void (*backward)(nas__node *), int n_inputs, nas_tensor *const *inputs,
                       int n_outputs, nas_tensor *const *outputs, size_t state_bytes) {
    return record(name, NULL, backward, n_inputs, inputs, n_outputs, outputs, state_bytes);
}

nas_tensor *nas__traced_as(const char *name, const nas__told *told, int n_inputs, nas_tensor *const *inputs,
                           nas_tensor *y) {
    if (y) {
        record(name, told, NULL, n_inputs, inputs, 1, &y, 0);
    }
    return y;
}

nas_tensor *nas__traced(const char *name, int n_inputs, nas_tensor *const *inputs, nas_tensor *y) {
    return nas__traced_as(name, NULL, n_inputs, inputs, y);
}

/* --- the backward pass --------------------------------------------------------------------------- */
static bool reached(const nas__node *node) {
    for (int i = 0; i < node->n_outputs; i++) {
        if (node->outputs[i]->grad.buffer) {
            return true;
        }
    }
    return false;
}

/* Everything that read an output has run its backward step by now, so its memory can go. */
static void retire(nas__node *node) {
    release_saved(node);
    for (int i = 0; i < node->n_outputs; i++) {
        nas_tensor *t = node->outputs[i];
        if (t->relu) { /* read behind, it is nobody's output itself */
            release_bf16(t->relu);
        }
        if (!t->retained) {
            release(t);
        }
    }
}

nas_status nas__backward_given(nas_tape *tape) {
    tape->spent = true;
    for (nas__node *node = tape->last; node && !nas_error_status(); node = node->previous) {
        bool differentiates = reached(node);
        if (differentiates) {
            node->backward(node);
        }
        retire(node);
        if (differentiates) {
            tell(NAS__DIFFERENTIATED, node);
        }
    }
    return nas_error_status();
}

nas_status nas_backward(nas_tensor *loss) {
    if (!loss) {
        return nas_error_status() ? nas_error_status() : nas__fail(NAS_INVALID, "nas_backward: the loss is NULL");
    }
    if (nas__count(loss) != 1) {
        return nas__fail(NAS_SHAPE, "nas_backward: the loss has shape %s; reduce it to one number first",
                         nas__shape(loss));
    }
    nas_tape *tape = loss->tape;
    if (!tape || tape != current || tape->spent) {
        return nas__fail(NAS_USAGE, "nas_backward: %s",
                         tape && tape->spent ? "this pass has been differentiated already"
                                             : "the loss is not on the current tape");
    }
    if (!loss->needs_grad) {
        return nas__fail(NAS_USAGE,
                         "nas_backward: nothing behind the loss is differentiated for; see nas_tape_config.grad");
    }
    nas__buffer *one = nas__buffer_new(nas__storage(loss) * sizeof(float));
    if (!one) {
        return nas_error_status();
    }
    memset(one->data, 0, nas__storage(loss) * sizeof(float));
    one->data[0] = 1;
    nas__grad_give(loss, one, 1);
    loss->retained = true; /* its value is wanted after the step */
    return nas__backward_given(tape);
}
