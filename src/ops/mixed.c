/* mixed.c - the mixed operation of DARTS: a weighted sum of candidates in one pass. Blocked candidates: late_sum.c;
 * here are the others. Its backward pass computes all dL/dw_i in one pass too, and hands its own gradient to every
 * candidate with the weight as a scale, without writing it out. */
#include "ops/late_sum.h"

#include <string.h>

typedef struct mixed_state {
    int n;
    float weights[]; /* n */
} mixed_state;

static void gather(int n, nas_tensor *const *x, const float **data) {
    for (int i = 0; i < n; i++) {
        data[i] = !x[i] || x[i]->is_zero ? NULL : nas__data(x[i]);
    }
}

static void weight_gradient(nas__node *node, int n, nas__grad dy) {
    nas_tensor *weight = node->inputs[n];
    nas__buffer *memory = nas__buffer_new((size_t)n * (sizeof(double) + sizeof(float *) + sizeof(float)));
    if (!memory) {
        return;
    }
    double *dots = (double *)memory->data;
    const float **data = (const float **)(dots + n);
    float *dw = (float *)(data + n);
    gather(n, node->inputs, data);
    nas__kernel_table()->mix_backward(n, data, dy.buffer->data, nas__storage(node->outputs[0]), dots);
    for (int i = 0; i < n; i++) {
        dw[i] = (float)(dots[i] * dy.scale);
    }
    nas__grad_add_array(weight, dw);
    nas__buffer_unref(memory);
}

static void weighted_sum_backward(nas__node *node) {
    const mixed_state *s = node->state;
    nas__grad dy = nas__grad_of(node->outputs[0]);
    if (nas__wants(node->inputs[s->n])) {
        weight_gradient(node, s->n, dy);
    }
    for (int i = 0; i < s->n; i++) {
        if (node->inputs[i] && !node->inputs[i]->is_zero) {
            nas__grad_give(node->inputs[i], nas__buffer_ref(dy.buffer), dy.scale * s->weights[i]);
        }
    }
}

/* All candidates in one layout: blocked when any is. The first that is neither missing nor zero gives the shape. */
static bool prepare(int n, nas_tensor *const *x, nas_tensor **same, nas_tensor **model) {
    *model = NULL;
    nas__layout layout = NAS__PLAIN;
    for (int i = 0; i < n; i++) {
        if (x[i] && (!*model || (*model)->is_zero)) {
            *model = x[i];
        }
        if (x[i] && !x[i]->is_zero && x[i]->layout == NAS__BLOCKED) {
            layout = NAS__BLOCKED;
        }
        if (!x[i] && nas_error_status()) { /* not left out, but failed */
            return false;
        }
    }
    if (!*model) {
        return nas__null_input("nas_weighted_sum");
    }
    for (int i = 0; i < n; i++) {
        if (x[i] && !nas__same_shape(x[i], *model)) {
            return nas__fail_null(NAS_SHAPE, "nas_weighted_sum: candidate %d has shape %s, others %s", i,
                                  nas__shape(x[i]), nas__shape(*model));
        }
        same[i] = x[i] && !x[i]->is_zero && x[i]->layout != layout ? nas__as(x[i], layout) : x[i];
        if (x[i] && !same[i]) {
            return false;
        }
        *model = x[i] && !x[i]->is_zero ? same[i] : *model;
    }
    return true;
}

static nas_tensor *mix(nas_tensor *weight, int n, nas_tensor **list, nas_tensor *model) {
    nas_tensor *y = nas__like(model);
    nas__buffer *memory = y ? nas__buffer_new((size_t)n * sizeof(float *)) : NULL;
    list[n] = weight;
    if (!memory || nas__dry()) {
        nas__buffer_unref(memory);
        return memory ? nas__traced("weighted_sum", n + 1, list, y) : NULL;
    }
    const float **data = (const float **)memory->data;
    gather(n, list, data);
    nas__kernel_table()->mix_forward(n, data, nas__data(weight), nas__storage(y), y->data);
    nas__buffer_unref(memory);
    nas__node *node = nas__record("weighted_sum", weighted_sum_backward, n + 1, list, 1, &y,
                                  sizeof(mixed_state) + (size_t)n * sizeof(float));
    if (node) {
        mixed_state *s = node->state;
        s->n = n;
        memcpy(s->weights, nas__data(weight), (size_t)n * sizeof(float));
    }
    return y;
}

static nas_tensor *late_mix(nas_tensor *weight, int n, nas_tensor *const *list) {
    nas__addend *addends = nas__arena_alloc(&nas__tape()->arena, (size_t)n * sizeof *addends);
    int used = 0;
    for (int i = 0; addends && i < n; i++) {
        if (list[i] && !list[i]->is_zero) {
            addends[used++] = (nas__addend){list[i], weight, i};
        }
    }
    return addends ? nas__late_sum("weighted_sum", used, addends) : NULL;
}

nas_tensor *nas_weighted_sum(nas_tensor *weight, int n, nas_tensor *const *x) {
    if (!weight || !x) {
        return nas__null_input("nas_weighted_sum");
    }
    if (n < 1 || nas__count(weight) != n) {
        return nas__fail_null(NAS_SHAPE, "nas_weighted_sum: %d candidates with %s weights", n, nas__shape(weight));
    }
    nas_tape *tape = nas__tape();
    nas_tensor **list = tape ? nas__arena_alloc(&tape->arena, (size_t)(n + 1) * sizeof *list) : NULL, *model;
    if (!list || !prepare(n, x, list, &model)) {
        return NULL;
    }
    if (model->is_zero) {
        return nas_zero(model->ndim, model->dims);
    }
    return model->layout == NAS__BLOCKED && !nas__dry() ? late_mix(weight, n, list) : mix(weight, n, list, model);
}
