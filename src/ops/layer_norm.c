/* layer_norm.c - layer normalisation over the last dimension (Ba, Kiros and Hinton 2016). */
#include "ops/common.h"

#include <math.h>

/* saved[0]: mean and 1/deviation of each row */
static void row_gradient(int64_t d, const float *x, const float *dy, const float *gamma, float mean, float invstd,
                         float *dx) {
    double sum_g = 0, sum_gx = 0;
    for (int64_t i = 0; i < d; i++) {
        float g = dy[i] * (gamma ? gamma[i] : 1);
        sum_g += g;
        sum_gx += (double)g * (x[i] - mean) * invstd;
    }
    for (int64_t i = 0; i < d; i++) {
        float g = dy[i] * (gamma ? gamma[i] : 1);
        dx[i] = (float)(invstd * (g - sum_g / d - (x[i] - mean) * invstd * sum_gx / d));
    }
}

enum { STRIP = 32 };

static void parameter_gradients(nas__node *node, int64_t rows, int64_t d, const float *x, const float *dy,
                                const float *stats) {
    nas_tensor *gamma = node->inputs[1], *beta = node->inputs[2];
    nas__buffer *sums = nas__floats(2 * (size_t)d);
    if (!sums) {
        return;
    }
    nas__sum_rows(rows, d, dy, sums->data + d);
#pragma omp parallel for schedule(static) if (rows * d > NAS__SMALL)
    for (int64_t first = 0; first < d; first += STRIP) { /* memory is read along the rows */
        int64_t n = d - first < STRIP ? d - first : STRIP;
        double gx[STRIP] = {0};
        for (int64_t r = 0; r < rows; r++) {
            const float *g = dy + r * d + first, *v = x + r * d + first;
            for (int64_t i = 0; i < n; i++) {
                gx[i] += (double)g[i] * (v[i] - stats[2 * r]) * stats[2 * r + 1];
            }
        }
        for (int64_t i = 0; i < n; i++) {
            sums->data[first + i] = (float)gx[i];
        }
    }
    if (nas__wants(gamma)) {
        nas__grad_add_array(gamma, sums->data);
    }
    if (nas__wants(beta)) {
        nas__grad_add_array(beta, sums->data + d);
    }
    nas__buffer_unref(sums);
}

static void layer_norm_backward(nas__node *node) {
    nas_tensor *x = node->inputs[0], *gamma = node->inputs[1], *beta = node->inputs[2];
    const float *dy = nas__grad_data(node->outputs[0]), *stats = node->saved[0]->data, *values = nas__data(x);
    int64_t d = x->dims[x->ndim - 1], rows = nas__count(x) / d;
    if (!dy) {
        return;
    }
    nas__buffer *dx = nas__wants(x) ? nas__floats((size_t)nas__count(x)) : NULL;
    if (dx) {
        const float *scale = gamma ? nas__data(gamma) : NULL;
#pragma omp parallel for schedule(static)
        for (int64_t r = 0; r < rows; r++) {
            row_gradient(d, values + r * d, dy + r * d, scale, stats[2 * r], stats[2 * r + 1], dx->data + r * d);
        }
        nas__grad_give(x, dx, 1);
    }
    if (nas__wants(gamma) || nas__wants(beta)) {
        parameter_gradients(node, rows, d, values, dy, stats);
    }
}

static void normalise_row(int64_t d, const float *x, const float *gamma, const float *beta, double eps, float *stats,
                          float *y) {
    double mean = 0, var = 0;
    for (int64_t i = 0; i < d; i++) {
        mean += x[i];
    }
    mean /= (double)d;
    for (int64_t i = 0; i < d; i++) {
        var += (x[i] - mean) * (x[i] - mean);
    }
    double invstd = 1 / sqrt(var / (double)d + eps);
    for (int64_t i = 0; i < d; i++) {
        y[i] = (float)((x[i] - mean) * invstd) * (gamma ? gamma[i] : 1) + (beta ? beta[i] : 0);
    }
    stats[0] = (float)mean;
    stats[1] = (float)invstd;
}

nas_tensor *nas_layer_norm(nas_tensor *x, nas_tensor *gamma, nas_tensor *beta, float eps) {
    x = nas__as(x, NAS__PLAIN);
    if (!x) {
        return nas__null_input("nas_layer_norm");
    }
    int64_t d = x->dims[x->ndim - 1], rows = nas__count(x) / d;
    if ((gamma && nas__count(gamma) != d) || (beta && nas__count(beta) != d)) {
        return nas__fail_null(NAS_SHAPE,
                              "nas_layer_norm: gamma and beta must have the %lld elements of x's last dimension (x %s)",
                              (long long)d, nas__shape(x));
    }
    nas_tensor *y = nas__like(x);
    if (!y || nas__dry()) {
        return nas__traced("layer_norm", 3, (nas_tensor *[]){x, gamma, beta}, y);
    }
    nas__buffer *stats = nas__floats(2 * (size_t)rows);
    if (!stats) {
        return NULL;
    }
    const float *values = nas__data(x), *g = gamma ? nas__data(gamma) : NULL, *b = beta ? nas__data(beta) : NULL;
    double epsilon = eps > 0 ? eps : 1e-5;
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < rows; r++) {
        normalise_row(d, values + r * d, g, b, epsilon, stats->data + 2 * r, y->data + r * d);
    }
    nas__node *node = nas__record("layer_norm", layer_norm_backward, 3, (nas_tensor *[]){x, gamma, beta}, 1, &y, 0);
    if (node) {
        node->saved[0] = stats;
    } else {
        nas__buffer_unref(stats);
    }
    return y;
}
