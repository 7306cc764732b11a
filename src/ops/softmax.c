/* softmax.c - softmax and log-softmax over the last dimension. */
#include "ops/common.h"

#include <math.h>

/* dx = y*(dy - <dy,y>) for softmax, dy - exp(y)*sum(dy) for its logarithm */
static void backward(nas__node *node, bool logarithm) {
    nas_tensor *x = node->inputs[0], *y = node->outputs[0];
    const float *dy = nas__grad_data(y);
    int64_t d = x->dims[x->ndim - 1], rows = nas__count(x) / d;
    nas__buffer *dx = dy ? nas__floats((size_t)nas__count(x)) : NULL;
    if (!dx) {
        return;
    }
#pragma omp parallel for schedule(static) if (rows * d > NAS__SMALL)
    for (int64_t r = 0; r < rows; r++) {
        const float *g = dy + r * d, *v = y->data + r * d;
        float *out = dx->data + r * d;
        double sum = 0;
        for (int64_t i = 0; i < d; i++) {
            sum += logarithm ? g[i] : (double)g[i] * v[i];
        }
        for (int64_t i = 0; i < d; i++) {
            out[i] = (float)(logarithm ? g[i] - exp(v[i]) * sum : v[i] * (g[i] - sum));
        }
    }
    nas__grad_give(x, dx, 1);
}

static void softmax_backward(nas__node *node) { backward(node, false); }
static void log_softmax_backward(nas__node *node) { backward(node, true); }

static nas_tensor *forward(const char *op, nas_tensor *x, bool logarithm) {
    x = nas__as(x, NAS__PLAIN);
    if (!x) {
        return nas__null_input(op);
    }
    nas_tensor *y = nas__like(x);
    if (!y || nas__dry()) {
        return nas__traced(op, 1, &x, y);
    }
    int64_t d = x->dims[x->ndim - 1], rows = nas__count(x) / d;
    const float *values = nas__data(x);
#pragma omp parallel for schedule(static) if (rows * d > NAS__SMALL)
    for (int64_t r = 0; r < rows; r++) {
        const float *v = values + r * d;
        float *out = y->data + r * d, max = v[0];
        double sum = 0;
        for (int64_t i = 1; i < d; i++) {
            max = v[i] > max || isnan(v[i]) ? v[i] : max;
        }
        for (int64_t i = 0; i < d; i++) {
            sum += exp((double)v[i] - max);
        }
        double log_sum = log(sum);
        for (int64_t i = 0; i < d; i++) {
            double z = (double)v[i] - max - log_sum;
            out[i] = (float)(logarithm ? z : exp(z));
        }
    }
    nas__record(op, logarithm ? log_softmax_backward : softmax_backward, 1, &x, 1, &y, 0);
    return y;
}

nas_tensor *nas_softmax(nas_tensor *x) { return forward("nas_softmax", x, false); }
nas_tensor *nas_log_softmax(nas_tensor *x) { return forward("nas_log_softmax", x, true); }
