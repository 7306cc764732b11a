/* tensor.c - values, gradients and persistent tensors. */
#include "tensor/late.h"
#include "tensor/prepared.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int nas_tensor_ndim(const nas_tensor *t) { return t ? t->ndim : 0; }

int64_t nas_tensor_dim(const nas_tensor *t, int i) { return t && i >= 0 && i < t->ndim ? t->dims[i] : 0; }

int64_t nas_tensor_count(const nas_tensor *t) { return t ? nas__count(t) : 0; }

bool nas__same_shape(const nas_tensor *a, const nas_tensor *b) {
    return a->ndim == b->ndim && !memcmp(a->dims, b->dims, (size_t)a->ndim * sizeof *a->dims);
}

const char *nas__shape(const nas_tensor *t) {
    static _Thread_local char texts[4][NAS_MAX_DIMS * 21];
    static _Thread_local unsigned next;
    char *text = texts[next++ & 3];
    size_t used = 0;
    text[0] = 0;
    for (int i = 0; i < t->ndim; i++) {
        used += (size_t)snprintf(text + used, sizeof texts[0] - used, i ? "x%lld" : "%lld", (long long)t->dims[i]);
    }
    return text;
}

float *nas__data(nas_tensor *t) {
    if (t->is_zero && !t->data && !t->tape->config.dry) {
        t->buffer = nas__buffer_new(nas__storage(t) * sizeof(float));
        if (t->buffer) {
            t->data = memset(t->buffer->data, 0, nas__storage(t) * sizeof(float));
        }
    }
    if (t->late && !t->data) {
        t->late->compute(t);
    }
    return t->data;
}

bool nas__good_shape(const char *op, int ndim, const int64_t *dims) {
    if (ndim < 1 || ndim > NAS_MAX_DIMS) {
        nas__fail(NAS_SHAPE, "%s: %d dimensions; a tensor has 1 to %d", op, ndim, NAS_MAX_DIMS);
        return false;
    }
    for (int i = 0; i < ndim; i++) {
        if (dims[i] < 1) {
            nas__fail(NAS_SHAPE, "%s: dimension %d is %lld; it must be positive", op, i, (long long)dims[i]);
            return false;
        }
    }
    return true;
}

nas_tensor *nas_input(int ndim, const int64_t *dims, const float *values) {
    nas_tensor *t = nas__good_shape("nas_input", ndim, dims) ? nas__new(ndim, dims, NAS__PLAIN) : NULL;
    if (t && values && t->data) {
        memcpy(t->data, values, (size_t)nas__count(t) * sizeof(float));
    }
    return t;
}

nas_status nas_tensor_read(const nas_tensor *t, float *dst) {
    if (!t) {
        return nas__fail(NAS_INVALID, "nas_tensor_read: the tensor is NULL");
    }
    if (t->late && !t->tape->spent) {
        nas__data((nas_tensor *)t); /* its values are the same as if they had been computed before */
    }
    if (t->is_zero) {
        memset(dst, 0, (size_t)nas__count(t) * sizeof(float));
    } else if (!t->data) {
        return nas__fail(
            NAS_USAGE, "nas_tensor_read: the values are gone (released by nas_backward; see nas_retain) or were never "
                       "computed (dry pass)");
    } else if (t->layout == NAS__BLOCKED) {
        nas__unblock_data(t->dims, t->data, dst);
    } else {
        memcpy(dst, t->data, (size_t)nas__count(t) * sizeof(float));
    }
    return NAS_OK;
}

nas_status nas_tensor_write(nas_tensor *t, const float *src) {
    if (!t || !t->data) {
        return nas__fail(NAS_INVALID, "nas_tensor_write: the tensor is NULL or has no memory");
    }
    if (t->persistent) {
        nas__thaw(t);
    }
    if (t->layout == NAS__BLOCKED) {
        nas__block_data(t->dims, src, t->data);
    } else {
        memcpy(t->data, src, (size_t)nas__count(t) * sizeof(float));
    }
    return NAS_OK;
}

float nas_tensor_item(const nas_tensor *t) { return t && t->is_zero ? 0 : t && t->data ? t->data[0] : NAN; }

nas_tensor *nas_retain(nas_tensor *t) {
    if (t) {
        t->retained = true;
        if (t->late) {
            nas__data(t);
        }
    }
    return t;
}

/* --- gradients ----------------------------------------------------------------------------------- */
nas_status nas_tensor_read_grad(const nas_tensor *t, float *dst) {
    if (!t) {
        return nas__fail(NAS_INVALID, "nas_tensor_read_grad: the tensor is NULL");
    }
    size_t count = (size_t)nas__count(t);
    if (!t->persistent) {
        nas__grad_of((nas_tensor *)t); /* its terms added up, it is still the same gradient */
    }
    if (t->persistent && t->has_grad) {
        memcpy(dst, t->grad_data, count * sizeof(float));
    } else if (!t->persistent && t->grad.buffer) {
        if (t->layout == NAS__BLOCKED) {
            nas__unblock_data(t->dims, t->grad.buffer->data, dst);
        } else {
            memcpy(dst, t->grad.buffer->data, count * sizeof(float));
        }
        for (size_t i = 0; i < count; i++) {
            dst[i] *= t->grad.scale;
        }
    } else {
        memset(dst, 0, count * sizeof(float));
    }
    return NAS_OK;
}

bool nas__alone(const nas__buffer *b) { return atomic_load_explicit(&b->refs, memory_order_acquire) == 1; }

/* Adds up the terms of t's gradient in the order of their arrival; where one of them has no other reader, in its place.
 */
static void add_up(nas_tensor *t) {
    const float *terms[1 + NAS__MORE_GRADS] = {t->grad.buffer->data};
    float scales[1 + NAS__MORE_GRADS] = {t->grad.scale};
    nas__buffer *sum = nas__alone(t->grad.buffer) ? nas__buffer_ref(t->grad.buffer) : NULL;
    for (int i = 0; i < t->n_more; i++) {
        nas__buffer *b = t->more[i].buffer;
        terms[1 + i] = b->data;
        scales[1 + i] = t->more[i].scale;
        sum = sum ? sum : nas__alone(b) ? nas__buffer_ref(b) : NULL;
    }
    size_t count = nas__storage(t);
    sum = sum ? sum : nas__buffer_new(count * sizeof(float));
    if (sum) {
        nas__kernel_table()->mix_forward(1 + t->n_more, terms, scales, count, sum->data);
        nas__buffer_unref(t->grad.buffer);
        t->grad = (nas__grad){sum, 1, NULL};
    } /* else the pass has failed, and nobody uses the first term alone */
    for (int i = 0; i < t->n_more; i++) {
        nas__buffer_unref(t->more[i].buffer);
    }
    t->n_more = 0;
}

nas__grad nas__grad_of(nas_tensor *t) {
    if (t->grad.late) {
        nas__settle_grad(t);
    }
    if (t->n_more) {
        add_up(t);
    }
    return t->grad;
}

float *nas__grad_data(nas_tensor *t) {
    nas__grad_of(t);
    nas__grad *g = &t->grad;
    if (!g->buffer || g->scale == 1) {
        return g->buffer ? g->buffer->data : NULL;
    }
    size_t count = nas__storage(t);
    nas__buffer *target = nas__alone(g->buffer) ? nas__buffer_ref(g->buffer) : nas__buffer_new(count * sizeof(float));
    if (!target) {
        return NULL;
    }
    nas__kernel_table()->axpby(count, g->scale, g->buffer->data, 0, target->data);
    nas__buffer_unref(g->buffer);
    *g = (nas__grad){target, 1, NULL};
    return target->data;
}

static void before_gradient(nas_tensor *t) {
    const nas_tape *tape = nas__tape_now();
    if (tape && tape->together) {
        tape->together->before_gradient(tape->together->user, t);
    }
}

void nas__grad_give(nas_tensor *t, nas__buffer *buffer, float scale) {
    if (!buffer || !nas__wants(t)) {
        nas__buffer_unref(buffer);
    } else if (t->persistent) {
        before_gradient(t);
        size_t n = (size_t)nas__count(t);
        nas__kernel_table()->axpby(n, scale, buffer->data, t->has_grad ? 1 : 0, t->grad_data);
        t->has_grad = true;
        nas__buffer_unref(buffer);
    } else if (!t->grad.buffer) {
        t->n_grads++;
        t->grad = (nas__grad){buffer, scale, NULL};
    } else {
        t->n_grads++;
        if (t->grad.late) {
            nas__settle_grad(t);
        }
        t->more[t->n_more++] = (nas__grad){buffer, scale, NULL};
        if (t->n_more == NAS__MORE_GRADS) {
            add_up(t);
        }
    }
}

float *nas__grad_begin(nas_tensor *t, nas__buffer **scratch) {
    *scratch = NULL;
    if (t->persistent) {
        before_gradient(t);
    }
    if (t->persistent && !t->has_grad) {
        return t->grad_data;
    }
    *scratch = nas__buffer_new(nas__storage(t) * sizeof(float));
    return *scratch ? (*scratch)->data : NULL;
}

void nas__grad_end(nas_tensor *t, nas__buffer *scratch) {
    if (scratch) {
        nas__grad_give(t, scratch, 1);
    }
    if (t->persistent) {
        t->has_grad = true;
    }
}

void nas__grad_add_array(nas_tensor *t, const float *values) {
    size_t bytes = (size_t)nas__count(t) * sizeof(float);
    nas__buffer *buffer;
    if (t->persistent) {
        float *dst = nas__grad_begin(t, &buffer);
        if (dst) {
            memcpy(dst, values, bytes);
            nas__grad_end(t, buffer);
        }
        return;
    }
    buffer = nas__buffer_new(nas__storage(t) * sizeof(float));
    if (buffer) {
        if (t->layout == NAS__BLOCKED) {
            nas__block_data(t->dims, values, buffer->data);
        } else {
            memcpy(buffer->data, values, bytes);
        }
        nas__grad_give(t, buffer, 1);
    }
}

void nas_zero_grad(nas_tensor *t) {
    if (t && t->persistent) {
        t->has_grad = false;
    }
}

/* --- persistent tensors -------------------------------------------------------------------------- */
static nas__buffer *zeros(size_t count) {
    nas__buffer *b = nas__buffer_new(count * sizeof(float));
    if (b) {
        memset(b->data, 0, count * sizeof(float));
    }
    return b;
}

nas_tensor *nas__persistent(int ndim, const int64_t *dims, nas_role role) {
    nas_tensor *t = nas__good_shape("nas_variable", ndim, dims) ? nas__alloc(sizeof *t) : NULL;
    if (!t) {
        return NULL;
    }
    t->ndim = ndim;
    memcpy(t->dims, dims, (size_t)ndim * sizeof *dims);
    t->role = role;
    t->persistent = true;
    size_t count = (size_t)nas__count(t);
    t->buffer = zeros(count);
    t->grad_buffer = role == NAS_ROLE_WEIGHT || role == NAS_ROLE_ARCH ? zeros(count) : NULL;
    if (!t->buffer || ((role & (NAS_ROLE_WEIGHT | NAS_ROLE_ARCH)) && !t->grad_buffer)) {
        nas_tensor_free(t);
        return NULL;
    }
    t->data = t->buffer->data;
    t->grad_data = t->grad_buffer ? t->grad_buffer->data : NULL;
    return t;
}

nas_tensor *nas_variable(int ndim, const int64_t *dims, nas_role role) { return nas__persistent(ndim, dims, role); }

void nas_tensor_free(nas_tensor *t) {
    if (t && t->persistent) {
        nas__thaw(t);
        nas__buffer_unref(t->buffer);
        nas__buffer_unref(t->grad_buffer);
        free(t);
    }
}

static size_t slot(const nas_tensor *t) { return ((size_t)nas__count(t) + 15) & ~(size_t)15; }

nas_status nas__flatten(nas_tensor **tensors, size_t n) {
    size_t total = 0;
    for (size_t i = 0; i < n; i++) {
        total += slot(tensors[i]);
    }
    nas__buffer *data = zeros(total), *grad = zeros(total);
    if (!data || !grad) {
        nas__buffer_unref(data);
        nas__buffer_unref(grad);
        return nas_error_status();
    }
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        nas_tensor *t = tensors[i];
        size_t bytes = (size_t)nas__count(t) * sizeof(float);
        nas__thaw(t); /* whoever asks for this trains */
        memcpy(data->data + at, t->data, bytes);
        memcpy(grad->data + at, t->grad_data, bytes);
        nas__buffer_unref(t->buffer);
        nas__buffer_unref(t->grad_buffer);
        t->buffer = nas__buffer_ref(data);
        t->grad_buffer = nas__buffer_ref(grad);
        t->data = data->data + at;
        t->grad_data = grad->data + at;
        at += slot(t);
    }
    nas__buffer_unref(data);
    nas__buffer_unref(grad);
    return NAS_OK;
}
