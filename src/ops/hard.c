/* hard.c - the piecewise approximations of sigmoid and swish of MobileNetV3 (Howard et al., ICCV 2019): no exponential.
 */
#include "ops/common.h"

/* relu6(x + 3) / 6, written such that a NaN comes through */
static inline float gate(float x) {
    const float up = x + 3, positive = 0 > up ? 0 : up;
    return (6 < positive ? 6 : positive) * (1.0f / 6);
}

/* --- hard sigmoid ---------------------------------------------------------------------------------- */
static void sigmoid_backward(nas__node *node) {
    nas_tensor *x = node->inputs[0];
    const float *dy = nas__grad_data(node->outputs[0]), *v = nas__data(x);
    const size_t count = nas__storage(x);
    nas__buffer *dx = dy && v ? nas__floats(count) : NULL;
    if (dx) {
        float *to = dx->data;
#pragma omp parallel for simd schedule(static) if (count > NAS__SMALL)
        for (size_t i = 0; i < count; i++) {
            to[i] = (v[i] > -3) & (v[i] < 3) ? dy[i] * (1.0f / 6) : 0;
        }
        nas__grad_give(x, dx, 1);
    }
}

nas_tensor *nas_hard_sigmoid(nas_tensor *x) {
    if (!x) {
        return nas__null_input("nas_hard_sigmoid");
    }
    x = nas__as(x, nas__tailless(x)); /* of 0 it makes 1/2 */
    nas_tensor *y = x ? nas__like(x) : NULL;
    if (!y || nas__dry()) {
        return nas__traced("hard_sigmoid", 1, &x, y);
    }
    const float *v = nas__data(x);
    if (!v) {
        return NULL;
    }
    float *to = y->data;
    const size_t count = nas__storage(x);
#pragma omp parallel for simd schedule(static) if (count > NAS__SMALL)
    for (size_t i = 0; i < count; i++) {
        to[i] = gate(v[i]);
    }
    nas__record("hard_sigmoid", sigmoid_backward, 1, &x, 1, &y, 0);
    return y;
}

/* --- hard swish ------------------------------------------------------------------------------------ */
static void swish_backward(nas__node *node) {
    nas_tensor *x = node->inputs[0];
    const float *dy = nas__grad_data(node->outputs[0]), *v = nas__data(x);
    const size_t count = nas__storage(x);
    nas__buffer *dx = dy && v ? nas__floats(count) : NULL;
    if (dx) {
        float *to = dx->data;
#pragma omp parallel for simd schedule(static) if (count > NAS__SMALL)
        for (size_t i = 0; i < count; i++) {
            const float middle = (2 * v[i] + 3) * (1.0f / 6), low = v[i] > -3 ? middle : 0;
            to[i] = dy[i] * (v[i] < 3 ? low : 1);
        }
        nas__grad_give(x, dx, 1);
    }
}

nas_tensor *nas_hard_swish(nas_tensor *x) {
    if (!x) {
        return nas__null_input("nas_hard_swish");
    }
    if (x->is_zero) {
        return x;
    }
    nas_tensor *y = nas__like(x);
    if (!y || nas__dry()) {
        return nas__traced("hard_swish", 1, &x, y);
    }
    const float *v = nas__data(x);
    if (!v) {
        return NULL;
    }
    float *to = y->data;
    const size_t count = nas__storage(x);
#pragma omp parallel for simd schedule(static) if (count > NAS__SMALL)
    for (size_t i = 0; i < count; i++) {
        to[i] = v[i] * gate(v[i]);
    }
    nas__record("hard_swish", swish_backward, 1, &x, 1, &y, 0);
    return y;
}
