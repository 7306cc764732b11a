/* hard.c - the piecewise approximations of sigmoid and swish of MobileNetV3 (Howard et al., ICCV 2019): no exponential.
 */
#include "ops/common.h"

#define INLINED static inline __attribute__((always_inline))

/* relu6(x + 3) / 6, written such that a NaN comes through */
INLINED float gate(float x) {
    const float up = x + 3, positive = 0 > up ? 0 : up;
    return (6 < positive ? 6 : positive) * (1.0f / 6);
}

/* --- one pass over all elements: inlined with its function ------------------------------------------------ */
typedef float (*of_one)(float x);
typedef float (*gradient_of_one)(float x, float dy);

INLINED nas_tensor *forward(const char *op, nas_tensor *x, of_one f, void (*back)(nas__node *)) {
    nas_tensor *y = x ? nas__like(x) : NULL;
    if (!y || nas__dry()) {
        return nas__traced(op, 1, &x, y);
    }
    const float *v = nas__data(x);
    if (!v) {
        return NULL;
    }
    float *to = y->data;
    const size_t count = nas__storage(x);
#pragma omp parallel for simd schedule(static) if (count > NAS__SMALL)
    for (size_t i = 0; i < count; i++) {
        to[i] = f(v[i]);
    }
    nas__record(op, back, 1, &x, 1, &y, 0);
    return y;
}

INLINED void backward(nas__node *node, gradient_of_one g) {
    nas_tensor *x = node->inputs[0];
    const float *dy = nas__grad_data(node->outputs[0]), *v = nas__data(x);
    const size_t count = nas__storage(x);
    nas__buffer *dx = dy && v ? nas__floats(count) : NULL;
    if (dx) {
        float *to = dx->data;
#pragma omp parallel for simd schedule(static) if (count > NAS__SMALL)
        for (size_t i = 0; i < count; i++) {
            to[i] = g(v[i], dy[i]);
        }
        nas__grad_give(x, dx, 1);
    }
}

/* --- hard sigmoid ---------------------------------------------------------------------------------- */
INLINED float sigmoid_gradient(float x, float dy) { return (x > -3) & (x < 3) ? dy * (1.0f / 6) : 0; }

static void sigmoid_backward(nas__node *node) { backward(node, sigmoid_gradient); }

nas_tensor *nas_hard_sigmoid(nas_tensor *x) {
    if (!x) {
        return nas__null_input("nas_hard_sigmoid");
    }
    return forward("hard_sigmoid", nas__as(x, nas__tailless(x)), gate, sigmoid_backward); /* of 0 it makes 1/2 */
}

/* --- hard swish ------------------------------------------------------------------------------------ */
INLINED float swish(float x) { return x * gate(x); }

INLINED float swish_gradient(float x, float dy) {
    const float middle = (2 * x + 3) * (1.0f / 6), low = x > -3 ? middle : 0;
    return dy * (x < 3 ? low : 1);
}

static void swish_backward(nas__node *node) { backward(node, swish_gradient); }

nas_tensor *nas_hard_swish(nas_tensor *x) {
    if (!x) {
        return nas__null_input("nas_hard_swish");
    }
    return x->is_zero ? x : forward("hard_swish", x, swish, swish_backward);
}
