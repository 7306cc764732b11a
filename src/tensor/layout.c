/* layout.c - plain (N,C,H,W) and blocked [n][cb][h][w][block] arrays, and the operation that goes between them. */
#include "tensor/tensor.h"
#include "kernels/kernels.h"

#include <stdatomic.h>
#include <string.h>

static _Atomic uint64_t reorders;

uint64_t nas__reorder_count(void) { return atomic_load(&reorders); }

int nas__block(void) { return nas__kernel_table()->block; }

int64_t nas__count(const nas_tensor *t) {
    int64_t count = 1;
    for (int i = 0; i < t->ndim; i++) {
        count *= t->dims[i];
    }
    return count;
}

size_t nas__storage(const nas_tensor *t) {
    if (t->layout == NAS__PLAIN) {
        return (size_t)nas__count(t);
    }
    int64_t block = nas__block(), padded = (t->dims[1] + block - 1) / block * block;
    return (size_t)(t->dims[0] * padded * t->dims[2] * t->dims[3]);
}

void nas__block_data(const int64_t dims[4], const float *plain, float *blocked) {
    int64_t block = nas__block(), c = dims[1], hw = dims[2] * dims[3], cb = (c + block - 1) / block;
#pragma omp parallel for schedule(static)
    for (int64_t p = 0; p < dims[0] * cb; p++) {
        int64_t image = p / cb, first = p % cb * block, used = c - first < block ? c - first : block;
        const float *src = plain + (image * c + first) * hw;
        float *dst = blocked + p * hw * block;
        for (int64_t i = 0; i < hw; i++) {
            for (int64_t k = 0; k < used; k++) {
                dst[i * block + k] = src[k * hw + i];
            }
            for (int64_t k = used; k < block; k++) {
                dst[i * block + k] = 0;
            }
        }
    }
}

void nas__unblock_data(const int64_t dims[4], const float *blocked, float *plain) {
    int64_t block = nas__block(), c = dims[1], hw = dims[2] * dims[3], cb = (c + block - 1) / block;
#pragma omp parallel for schedule(static)
    for (int64_t p = 0; p < dims[0] * cb; p++) {
        int64_t image = p / cb, first = p % cb * block, used = c - first < block ? c - first : block;
        float *dst = plain + (image * c + first) * hw;
        const float *src = blocked + p * hw * block;
        for (int64_t k = 0; k < used; k++) {
            for (int64_t i = 0; i < hw; i++) {
                dst[k * hw + i] = src[i * block + k];
            }
        }
    }
}

static void convert(const nas_tensor *shape, nas__layout to, const float *src, float *dst) {
    (to == NAS__BLOCKED ? nas__block_data : nas__unblock_data)(shape->dims, src, dst);
}

static void reorder_backward(nas__node *node) {
    nas_tensor *x = node->inputs[0], *y = node->outputs[0];
    const float *dy = nas__grad_data(y);
    nas__buffer *dx = dy && nas__wants(x) ? nas__buffer_new(nas__storage(x) * sizeof(float)) : NULL;
    if (dx) {
        convert(x, x->layout, dy, dx->data);
        nas__grad_give(x, dx, 1);
    }
}

nas_tensor *nas__as(nas_tensor *t, nas__layout layout) {
    if (t && t->late && !nas__dry() && !nas__data(t)) {
        return NULL;
    }
    if (!t || t->layout == layout || t->ndim != 4) {
        return t;
    }
    if (t->twin) {
        return t->twin;
    }
    nas_tensor *y = t->is_zero ? nas__zero_like(t, layout) : nas__new(t->ndim, t->dims, layout);
    if (!y) {
        return NULL;
    }
    if (!nas__dry() && !t->is_zero) {
        convert(t, layout, nas__data(t), y->data);
        /* A 1x1 image only sheds its padding, and the network's input has to be blocked once: neither is a reorder of
         * activations inside the network, which is what the counter watches. */
        if (t->dims[2] * t->dims[3] > 1 && t->needs_grad) {
            atomic_fetch_add(&reorders, 1);
        }
    }
    nas__record("reorder", reorder_backward, 1, &t, 1, &y, 0);
    y->twin = t; /* going back costs nothing */
    if (!t->persistent) {
        t->twin = y;
    }
    return y;
}
