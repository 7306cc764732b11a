/* late.c - see late.h. */
#include "tensor/late.h"

static int padded(const nas_tensor *t) {
    int block = nas__block();
    return (int)(t->dims[1] + block - 1) / block * block;
}

static int pixels(const nas_tensor *t) { return (int)(t->dims[2] * t->dims[3]); }

nas_tensor *nas__postpone(const nas__late *late, int64_t const dims[4], size_t detail_bytes) {
    nas_tensor *t = nas__bare(4, dims, NAS__BLOCKED);
    nas__late *own = t ? nas__arena_alloc(&t->tape->arena, sizeof *own + detail_bytes) : NULL;
    if (!own) {
        return NULL;
    }
    *own = *late;
    own->detail = own + 1;
    t->late = own;
    t->needs_grad = late->source && nas__wants(late->source);
    return t;
}

void nas__forget(nas_tensor *t) {
    if (t->late && t->late->kind == NAS__LATE_AGAIN && !t->retained) {
        nas__buffer_unref(t->buffer);
        t->buffer = NULL;
        t->data = NULL;
    }
}

bool nas__read(nas_tensor *x, nas__reading *r) {
    *r = (nas__reading){0};
    if (x->late && x->late->kind == NAS__LATE_RELU) {
        r->load = x->late->load;
        x = x->late->source;
    }
    r->target = x;
    if (x->late && x->late->kind == NAS__LATE_NORM) {
        r->load.scale = x->late->load.scale;
        r->load.shift = x->late->load.shift;
        x = x->late->source;
    } else {
        r->target = x = nas__as(x, NAS__BLOCKED);
    }
    r->values = x;
    return x && nas__data(x);
}

/* --- gradients ----------------------------------------------------------------------------------- */
/* The finished gradient; takes the buffer's reference, gives one. Without memory the unfinished one: the pass has
 * failed then, and nobody uses what its last steps still write. */
static nas__buffer *finish(nas_tensor *t, nas__buffer *buffer, float scale, const nas__late_grad *what) {
    nas__late_grad late = *what;
    late.g = buffer->data;
    late.scale = scale;
    if (!late.z && (late.b || late.masked)) { /* a pooling that was never computed */
        late.z = nas__data(t);
    }
    bool ready = late.z || !(late.b || late.masked);
    nas__buffer *out = !ready               ? NULL
                       : nas__alone(buffer) ? nas__buffer_ref(buffer)
                                            : nas__buffer_new(nas__storage(t) * sizeof(float));
    if (!out) {
        return buffer;
    }
    nas__kernel_table()->late_gradient((int)t->dims[0], (int)t->dims[1], pixels(t), &late, out->data);
    nas__buffer_unref(buffer);
    return out;
}

void nas__settle_grad(nas_tensor *t) {
    nas__buffer *out = finish(t, t->grad.buffer, t->grad.scale, t->grad.late);
    t->grad = (nas__grad){out, 1, NULL};
}

void nas__grad_give_late(nas_tensor *t, nas__buffer *buffer, float scale, const nas__late_grad *late) {
    if (!nas__wants(t)) {
        nas__buffer_unref(buffer);
    } else if (t->grad.buffer || t->persistent) {
        nas__grad_give(t, finish(t, buffer, scale, late), 1);
    } else {
        nas__grad_give(t, buffer, scale);
        t->grad.late = late;
    }
}

nas__late_grad nas__grad_late(nas_tensor *t) {
    nas__grad g = t->n_more ? nas__grad_of(t) : t->grad;
    nas__late_grad late = g.late ? *g.late : (nas__late_grad){0};
    late.g = g.buffer ? g.buffer->data : NULL;
    late.scale = g.scale;
    return late;
}

static nas__buffer *own_term(const nas_tensor *t) {
    if (t->grad.buffer && !t->grad.late && t->grad.scale == 1 && nas__alone(t->grad.buffer)) {
        return t->grad.buffer;
    }
    for (int i = 0; i < t->n_more; i++) {
        if (t->more[i].scale == 1 && nas__alone(t->more[i].buffer)) {
            return t->more[i].buffer;
        }
    }
    return NULL;
}

float *nas__grad_open(nas_tensor *t, nas__buffer **fresh, bool *accumulate) {
    *fresh = NULL;
    *accumulate = false;
    if (!nas__wants(t)) {
        return NULL;
    }
    nas__buffer *own = own_term(t);
    *accumulate = own != NULL;
    *fresh = own ? NULL : nas__buffer_new(nas__storage(t) * sizeof(float));
    return own ? own->data : *fresh ? (*fresh)->data : NULL;
}

void nas__grad_close(nas_tensor *t, nas__buffer *fresh) {
    if (fresh) {
        nas__grad_give(t, fresh, 1);
    } else {
        t->n_grads++;
    }
}

double *nas__grad_wants_sums(const nas_tensor *t) {
    bool wanted = t->late && t->late->kind == NAS__LATE_NORM && nas__wants(t);
    return wanted ? nas__arena_alloc(&t->tape->arena, 2 * (size_t)padded(t) * sizeof(double)) : NULL;
}

void nas__grad_tell_sums(nas_tensor *t, const double *sums) {
    if (!sums) {
        return;
    }
    size_t count = 2 * (size_t)padded(t);
    double *all = t->grad_sums ? t->grad_sums : nas__arena_alloc(&t->tape->arena, count * sizeof *all);
    if (all) {
        for (size_t i = 0; i < count; i++) {
            all[i] += sums[i];
        }
        t->grad_sums = all;
        t->n_grad_sums++;
    }
}

const double *nas__grad_sums(const nas_tensor *t) { return t->n_grad_sums == t->n_grads ? t->grad_sums : NULL; }
