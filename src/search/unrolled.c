/* unrolled.c - see unrolled.h. With w' = w - eta*(m*buf + dL_train/dw + lambda*w) and v = dL_valid(w',a)/dw':
 *   dL_valid/da = dL_valid(w',a)/da - eta * H,   H = d2 L_train/(da dw) . v
 * and H is the difference of dL_train/da at w + eps*v and w - eps*v over 2*eps, eps = 0.01/||v||. */
#include "search/unrolled.h"
#include "core/error.h"
#include "core/memory.h"
#include "tensor/tensor.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct vectors {
    float *weights;  /* as they were */
    float *gradient; /* v */
    float *alphas;   /* the result so far */
    size_t n_weights, n_alphas;
} vectors;

static size_t total(nas_tensor *const *list, size_t n) {
    size_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += (size_t)nas__count(list[i]);
    }
    return sum;
}

static void copy_out(nas_tensor *const *list, size_t n, float *to) {
    for (size_t i = 0; i < n; i++) {
        memcpy(to, list[i]->data, (size_t)nas__count(list[i]) * sizeof *to);
        to += nas__count(list[i]);
    }
}

static void take_gradients(nas_tensor *const *list, size_t n, float *to) {
    for (size_t i = 0; i < n; i++) {
        nas_tensor_read_grad(list[i], to);
        nas_zero_grad(list[i]);
        to += nas__count(list[i]);
    }
}

/* w = base + factor * direction */
static void move_weights(const nas__bilevel *b, const float *base, double factor, const float *direction) {
    for (size_t i = 0; i < b->n_weights; i++) {
        float *w = b->weights[i]->data;
        int64_t count = nas__count(b->weights[i]);
        for (int64_t k = 0; k < count; k++) {
            w[k] = direction ? (float)(base[k] + factor * direction[k]) : base[k];
        }
        base += count;
        direction = direction ? direction + count : NULL;
    }
}

static void add_momentum_and_decay(const nas__bilevel *b, const vectors *v) {
    float *g = v->gradient;
    const float *w = v->weights;
    for (size_t i = 0; i < b->n_weights; i++) {
        const float *buffer = b->momentum_buffers ? b->momentum_buffers[i] : NULL;
        int64_t count = nas__count(b->weights[i]);
        for (int64_t k = 0; k < count; k++) {
            g[k] = (float)(g[k] + b->weight_decay * w[k] + (buffer ? b->momentum * buffer[k] : 0));
        }
        g += count;
        w += count;
    }
}

static nas_status virtual_step(const nas__bilevel *b, vectors *v) {
    nas_status status = b->differentiate(b->user, true, NAS_ROLE_WEIGHT);
    if (!status) {
        take_gradients(b->weights, b->n_weights, v->gradient);
        add_momentum_and_decay(b, v);
        move_weights(b, v->weights, -b->eta, v->gradient);
    }
    return status;
}

/* alphas += sign * eta / (2 eps) * dL_train(w + sign*... )/da */
static nas_status add_hessian_side(const nas__bilevel *b, vectors *v, double eps, double sign, float *scratch) {
    move_weights(b, v->weights, sign * eps, v->gradient);
    nas_status status = b->differentiate(b->user, true, NAS_ROLE_ARCH);
    if (!status) {
        take_gradients(b->alphas, b->n_alphas, scratch);
        for (size_t i = 0; i < v->n_alphas; i++) {
            v->alphas[i] = (float)(v->alphas[i] - sign * b->eta / (2 * eps) * scratch[i]);
        }
    }
    return status;
}

static nas_status second_order_term(const nas__bilevel *b, vectors *v, float *scratch) {
    double squares = 0;
    for (size_t i = 0; i < v->n_weights; i++) {
        squares += (double)v->gradient[i] * v->gradient[i];
    }
    if (!(squares > 0)) {
        return NAS_OK; /* nothing flows back through w' */
    }
    double eps = 0.01 / sqrt(squares);
    nas_status status = add_hessian_side(b, v, eps, 1, scratch);
    return status ? status : add_hessian_side(b, v, eps, -1, scratch);
}

static nas_status run(const nas__bilevel *b, vectors *v, float *scratch) {
    copy_out(b->weights, b->n_weights, v->weights);
    nas_status status = virtual_step(b, v);
    status = status ? status : b->differentiate(b->user, false, NAS_ROLE_WEIGHT | NAS_ROLE_ARCH);
    if (!status) {
        take_gradients(b->weights, b->n_weights, v->gradient);
        take_gradients(b->alphas, b->n_alphas, v->alphas);
        status = second_order_term(b, v, scratch);
    }
    move_weights(b, v->weights, 0, NULL);
    const float *g = v->alphas;
    for (size_t i = 0; !status && i < b->n_alphas; i++) {
        nas__grad_add_array(b->alphas[i], g);
        g += nas__count(b->alphas[i]);
    }
    return status ? status : nas_error_status();
}

nas_status nas__unrolled_gradient(const nas__bilevel *b) {
    vectors v = {.n_weights = total(b->weights, b->n_weights), .n_alphas = total(b->alphas, b->n_alphas)};
    float *memory = nas__alloc((2 * v.n_weights + 2 * v.n_alphas) * sizeof *memory);
    if (!memory) {
        return nas_error_status();
    }
    v.weights = memory;
    v.gradient = v.weights + v.n_weights;
    v.alphas = v.gradient + v.n_weights;
    nas_status status = run(b, &v, v.alphas + v.n_alphas);
    free(memory);
    return status;
}
