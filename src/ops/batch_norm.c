/* batch_norm.c - batch normalisation (Ioffe and Szegedy 2015) per channel, with an optional ReLU in the same pass. */
#include "ops/common.h"

#include <math.h>
#include <string.h>

/* Rows of one buffer, `padded` floats each, all with zero tails. */
enum { MEAN, VAR, INVSTD, SCALE, SHIFT, ROWS };

typedef struct bn_op {
    bool relu, batch_statistics;
    int padded;
} bn_op;

static bool uses_batch(const nas_bn_state *s) {
    nas_bn_mode mode = nas__tape()->config.bn;
    return mode == NAS_BN_BATCH || mode == NAS_BN_CALIBRATE || (mode == NAS_BN_RUNNING && !s->running_mean);
}

static void stored_statistics(const nas_bn_state *s, int c, float *mean, float *var) {
    bool calibrated = nas__tape()->config.bn == NAS_BN_CALIBRATED && s->calibrated_mean && s->calibrated_batches &&
                      *s->calibrated_batches > 0;
    memcpy(mean, calibrated ? s->calibrated_mean->data : s->running_mean->data, (size_t)c * sizeof(float));
    memcpy(var, calibrated ? s->calibrated_var->data : s->running_var->data, (size_t)c * sizeof(float));
}

/* The estimates keep the unbiased variance, as everybody's checkpoints do. */
static void update_estimates(const nas_bn_state *s, int c, double count, const float *mean, const float *var) {
    const nas_tape_config *config = &nas__tape()->config;
    double unbias = count > 1 ? count / (count - 1) : 1;
    float *m = NULL, *v = NULL;
    double rate = s->momentum > 0 ? s->momentum : 0.1;
    if (config->bn == NAS_BN_CALIBRATE && s->calibrated_mean && s->calibrated_batches) {
        m = s->calibrated_mean->data;
        v = s->calibrated_var->data;
        rate = 1.0 / ++*s->calibrated_batches;
    } else if (config->bn == NAS_BN_BATCH && !config->freeze_running && s->running_mean) {
        m = s->running_mean->data;
        v = s->running_var->data;
    }
    for (int i = 0; m && i < c; i++) {
        m[i] = (float)(m[i] + rate * (mean[i] - m[i]));
        v[i] = (float)(v[i] + rate * (var[i] * unbias - v[i]));
    }
}

static void coefficients(const nas_bn_state *s, int c, int padded, float *rows) {
    float eps = s->eps > 0 ? s->eps : 1e-5f;
    for (int i = 0; i < c; i++) {
        float invstd = 1 / sqrtf(rows[VAR * padded + i] + eps);
        float scale = (s->gamma ? nas__data(s->gamma)[i] : 1) * invstd;
        rows[INVSTD * padded + i] = invstd;
        rows[SCALE * padded + i] = scale;
        rows[SHIFT * padded + i] = (s->beta ? nas__data(s->beta)[i] : 0) - rows[MEAN * padded + i] * scale;
    }
}

/* dx = a*g + b*x + k with g = dy behind the ReLU. With fixed statistics only a remains. */
static void input_gradient(const bn_op *op, nas_tensor *x, nas__grad dy, const float *rows, const float *sums) {
    int p = op->padded, c = (int)x->dims[1], hw = (int)(x->dims[2] * x->dims[3]);
    double count = (double)x->dims[0] * hw;
    nas__buffer *abk = nas__floats(3 * (size_t)p), *dx = nas__floats(nas__storage(x));
    if (abk && dx) {
        float *a = abk->data, *b = a + p, *k = b + p;
        memset(a, 0, 3 * (size_t)p * sizeof(float));
        for (int i = 0; i < c; i++) {
            a[i] = rows[SCALE * p + i];
            if (op->batch_statistics) {
                double invstd = rows[INVSTD * p + i];
                b[i] = (float)(-a[i] * invstd * invstd * sums[p + i] / count);
                k[i] = (float)(-a[i] * sums[i] / count) - b[i] * rows[MEAN * p + i];
            }
        }
        nas__kernel_table()->bn_backward_apply((int)x->dims[0], c, hw, nas__data(x), dy.buffer->data, dy.scale,
                                               rows + SCALE * p, rows + SHIFT * p, op->relu, a, b, k, dx->data);
        nas__grad_give(x, nas__buffer_ref(dx), 1);
    }
    nas__buffer_unref(abk);
    nas__buffer_unref(dx);
}

static void batch_norm_backward(nas__node *node) {
    const bn_op *op = node->state;
    nas_tensor *x = node->inputs[0], *gamma = node->inputs[1], *beta = node->inputs[2];
    const float *rows = node->saved[0]->data;
    nas__grad dy = nas__grad_of(node->outputs[0]);
    int p = op->padded, c = (int)x->dims[1];
    nas__buffer *sums = nas__floats(2 * (size_t)p);
    if (!sums) {
        return;
    }
    if (op->batch_statistics || nas__wants(gamma) || nas__wants(beta)) {
        nas__kernel_table()->bn_backward_sums((int)x->dims[0], c, (int)(x->dims[2] * x->dims[3]), nas__data(x),
                                              dy.buffer->data, dy.scale, rows + MEAN * p, rows + SCALE * p,
                                              rows + SHIFT * p, op->relu, sums->data, sums->data + p);
    }
    if (nas__wants(x)) {
        input_gradient(op, x, dy, rows, sums->data);
    }
    if (nas__wants(beta)) {
        nas__grad_add_array(beta, sums->data);
    }
    if (nas__wants(gamma)) {
        for (int i = 0; i < c; i++) {
            sums->data[p + i] *= rows[INVSTD * p + i];
        }
        nas__grad_add_array(gamma, sums->data + p);
    }
    nas__buffer_unref(sums);
}

static nas_tensor *normalise(nas_tensor *x, const nas_bn_state *s) {
    int n = (int)x->dims[0], c = (int)x->dims[1], hw = (int)(x->dims[2] * x->dims[3]), p = nas__padded(c);
    nas_tensor *y = nas__like(x);
    nas__buffer *buffer = y ? nas__floats(ROWS * (size_t)p) : NULL;
    if (!buffer) {
        return NULL;
    }
    float *rows = memset(buffer->data, 0, ROWS * (size_t)p * sizeof(float));
    const nas__kernels *k = nas__kernel_table();
    bool batch = uses_batch(s);
    if (batch) {
        k->bn_stats(n, c, hw, nas__data(x), rows + MEAN * p, rows + VAR * p);
        update_estimates(s, c, (double)n * hw, rows + MEAN * p, rows + VAR * p);
    } else {
        stored_statistics(s, c, rows + MEAN * p, rows + VAR * p);
    }
    coefficients(s, c, p, rows);
    k->bn_apply(n, c, hw, nas__data(x), rows + SCALE * p, rows + SHIFT * p, s->relu, y->data);
    nas__node *node =
        nas__record("batch_norm", batch_norm_backward, 3, (nas_tensor *[]){x, s->gamma, s->beta}, 1, &y, sizeof(bn_op));
    if (node) {
        *(bn_op *)node->state = (bn_op){s->relu, batch, p};
        node->saved[0] = buffer;
    } else {
        nas__buffer_unref(buffer);
    }
    return y;
}

nas_tensor *nas_batch_norm(nas_tensor *x, const nas_bn_state *s) {
    if (!x || !s) {
        return nas__null_input("nas_batch_norm");
    }
    if (x->ndim != 4 && x->ndim != 2) {
        return nas__fail_null(NAS_SHAPE, "nas_batch_norm: x %s must be (N,C,H,W) or (N,C)", nas__shape(x));
    }
    nas_tensor *per_channel[] = {s->gamma,           s->beta,          s->running_mean, s->running_var,
                                 s->calibrated_mean, s->calibrated_var};
    for (int i = 0; i < 6; i++) {
        if (per_channel[i] && nas__count(per_channel[i]) != x->dims[1]) {
            return nas__fail_null(NAS_SHAPE, "nas_batch_norm: x %s with parameters of %s channels", nas__shape(x),
                                  nas__shape(per_channel[i]));
        }
    }
    if (!nas__tape() || nas__dry()) {
        return nas__traced("batch_norm", 3, (nas_tensor *[]){x, s->gamma, s->beta},
                           nas__new(x->ndim, x->dims, NAS__BLOCKED));
    }
    if (!uses_batch(s) && !s->running_mean) {
        return nas__fail_null(NAS_USAGE, "nas_batch_norm: there are no running estimates to use");
    }
    if (x->ndim == 2) {
        nas_tensor *image = nas_reshape(x, 4, (int64_t[]){x->dims[0], x->dims[1], 1, 1});
        return nas_reshape(nas_batch_norm(image, s), 2, x->dims);
    }
    x = nas__as(x, NAS__BLOCKED);
    return x ? normalise(x, s) : NULL;
}
