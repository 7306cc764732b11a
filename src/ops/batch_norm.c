/* batch_norm.c - batch normalisation (Ioffe and Szegedy 2015) per channel. What it does to the values and to their
 * gradients is one multiply-add each, left to whoever reads them (tensor/late.h). */
#include "ops/common.h"
#include "tensor/late.h"

#include <math.h>
#include <string.h>

/* Rows of one array in the arena, `padded` floats each, all with zero tails. */
enum { MEAN, VAR, INVSTD, SCALE, SHIFT, ROWS };

typedef struct bn_op {
    bool batch_statistics;
    int padded;
    double count; /* of values per channel, in all parts of the batch */
    const float *rows;
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

static bool keeps_estimates(void) {
    const nas__together *all = nas__tape()->together;
    return !all || all->keeps;
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
    } else if (config->bn == NAS_BN_BATCH && !config->freeze_running && s->running_mean && keeps_estimates()) {
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

/* dx = a*g + b*x + k with g = dy behind the ReLU, left to whoever reads it. With fixed statistics only a remains. */
static void give_input_gradient(const bn_op *op, nas_tensor *x, nas_tensor *y, const double *sums) {
    int p = op->padded, c = (int)x->dims[1];
    double count = op->count;
    const float *rows = op->rows;
    nas__late_grad *late = nas__arena_alloc(&x->tape->arena, sizeof *late);
    float *a = late ? nas__arena_alloc(&x->tape->arena, 3 * (size_t)p * sizeof(float)) : NULL;
    if (!a) {
        return;
    }
    float *b = a + p, *k = b + p;
    *late = nas__grad_late(y);
    late->a = a;
    late->z = x->late && x->late->kind == NAS__LATE_POOL ? x->data : nas__data(x);
    for (int i = 0; i < c; i++) {
        a[i] = rows[SCALE * p + i];
        if (op->batch_statistics) {
            double invstd = rows[INVSTD * p + i], mean = rows[MEAN * p + i];
            double sum_gx = sums[p + i] - mean * sums[i];
            b[i] = (float)(-a[i] * invstd * invstd * sum_gx / count);
            k[i] = (float)(-a[i] * sums[i] / count - b[i] * mean);
        }
    }
    if (op->batch_statistics) {
        late->b = b;
        late->k = k;
    }
    nas__grad_give_late(x, nas__buffer_ref(y->grad.buffer), y->grad.scale, late);
}

/* sums[2][padded] of g and of g*x: those that the giver of the gradient made on the way, or a pass over both. */
static const double *gradient_sums(nas_tensor *x, nas_tensor *y, int padded) {
    const double *told = nas__grad_sums(y);
    if (told) {
        return told;
    }
    double *sums = nas__arena_alloc(&x->tape->arena, 2 * (size_t)padded * sizeof *sums);
    const float *values = sums ? nas__data(x) : NULL;
    if (values) {
        nas__late_grad late = nas__grad_late(y);
        nas__kernel_table()->late_sums((int)x->dims[0], (int)x->dims[1], (int)(x->dims[2] * x->dims[3]), &late, values,
                                       sums);
    }
    return values ? sums : NULL;
}

static void give_parameter_gradients(const bn_op *op, int c, nas_tensor *gamma, nas_tensor *beta, const double *sums) {
    int p = op->padded;
    nas__buffer *row = nas__floats((size_t)p);
    if (row && nas__wants(beta)) {
        for (int i = 0; i < c; i++) {
            row->data[i] = (float)sums[i];
        }
        nas__grad_add_array(beta, row->data);
    }
    if (row && nas__wants(gamma)) {
        for (int i = 0; i < c; i++) {
            row->data[i] = (float)((sums[p + i] - op->rows[MEAN * p + i] * sums[i]) * op->rows[INVSTD * p + i]);
        }
        nas__grad_add_array(gamma, row->data);
    }
    nas__buffer_unref(row);
}

/* --- a batch in several parts ---------------------------------------------------------------------- */
/* What the parts' sums add up to, in the order of the parts. */
static const double *sums_of_all(const double *own, size_t n) {
    const nas__together *together = nas__tape()->together;
    double *sum = nas__arena_alloc(&nas__tape()->arena, n * sizeof *sum);
    const double *all = sum ? together->gather(together->user, own, n) : NULL;
    for (int part = 0; all && part < together->parts; part++) {
        for (size_t i = 0; i < n; i++) {
            sum[i] += all[(size_t)part * n + i];
        }
    }
    return all ? sum : NULL;
}

/* Statistics of the whole batch from those of its parts (Chan, Golub and LeVeque 1979), in the order of the parts;
 * *count grows to all values. Gathered are mean and variance per channel, and the count behind them. */
static bool statistics_of_all(int c, double *count, float *mean, float *var) {
    const nas__together *together = nas__tape()->together;
    size_t n = 2 * (size_t)c + 1;
    double *own = nas__arena_alloc(&nas__tape()->arena, n * sizeof *own), total = 0;
    for (int i = 0; own && i < c; i++) {
        own[i] = mean[i];
        own[c + i] = var[i];
    }
    if (own) {
        own[2 * c] = *count;
    }
    const double *all = own ? together->gather(together->user, own, n) : NULL;
    for (int part = 0; all && part < together->parts; part++) {
        total += all[(size_t)part * n + 2 * c];
    }
    for (int i = 0; all && i < c; i++) {
        double m = 0, v = 0;
        for (int part = 0; part < together->parts; part++) {
            const double *p = all + (size_t)part * n;
            m += p[2 * c] / total * p[i];
        }
        for (int part = 0; part < together->parts; part++) {
            const double *p = all + (size_t)part * n;
            v += p[2 * c] / total * (p[c + i] + (p[i] - m) * (p[i] - m));
        }
        mean[i] = (float)m;
        var[i] = (float)v;
    }
    *count = total;
    return all != NULL;
}

static void batch_norm_backward(nas__node *node) {
    const bn_op *op = node->state;
    nas_tensor *x = node->inputs[0], *gamma = node->inputs[1], *beta = node->inputs[2], *y = node->outputs[0];
    const double *sums = NULL;
    if (y->grad.late && y->grad.late->a) { /* another norm's: two of them do not make one multiply-add */
        nas__grad_of(y);
    }
    if (op->batch_statistics || nas__wants(gamma) || nas__wants(beta)) {
        sums = gradient_sums(x, y, op->padded);
        if (!sums) {
            return;
        }
        give_parameter_gradients(op, (int)x->dims[1], gamma, beta, sums);
    }
    if (op->batch_statistics && nas__tape()->together) {
        sums = sums_of_all(sums, 2 * (size_t)op->padded);
        if (!sums) {
            return;
        }
    }
    if (nas__wants(x)) {
        give_input_gradient(op, x, y, sums);
    }
}

/* From sums of values and squares that came with x. False where the variance would drown in them. */
static bool statistics_from_moments(int c, int padded, double count, const double *moments, float *mean, float *var) {
    for (int i = 0; i < c; i++) {
        double m = moments[i] / count, v = moments[padded + i] / count - m * m;
        if (!(m * m <= 256 * v)) { /* a constant channel, a distant one, or not finite */
            return false;
        }
        mean[i] = (float)m;
        var[i] = (float)v;
    }
    return true;
}

/* Of a pooling that nobody has computed, which is no reason to do so; and of the other one of its pair, for which the
 * source would have to be read again. */
static void pooled_moments(nas_tensor *x, int padded) {
    const nas__late_pool *pool = x->late->detail;
    double **moments = pool->pair->moments;
    if (!moments[pool->max]) {
        double *both = nas__arena_alloc(&x->tape->arena, 4 * (size_t)padded * sizeof *both);
        const float *values = both ? nas__data(x->late->source) : NULL;
        if (!values) {
            return;
        }
        moments[0] = both;
        moments[1] = both + 2 * padded;
        nas__kernel_table()->pools_sums(&pool->shape, values, moments[1], moments[0]);
    }
    x->moments = moments[pool->max];
}

static bool batch_statistics(nas_tensor *x, int padded, float *mean, float *var) {
    if (x->late && x->late->kind == NAS__LATE_POOL && !x->data && !x->moments) {
        pooled_moments(x, padded);
    }
    int n = (int)x->dims[0], c = (int)x->dims[1], hw = (int)(x->dims[2] * x->dims[3]);
    if (!x->moments || !statistics_from_moments(c, padded, (double)n * hw, x->moments, mean, var)) {
        const float *values = nas__data(x);
        if (!values) {
            return false;
        }
        nas__kernel_table()->bn_stats(n, c, hw, values, mean, var);
    }
    return true;
}

static void norm_compute(nas_tensor *y) {
    nas_tensor *x = y->late->source;
    const float *values = nas__data(x);
    if (values && nas__give_memory(y)) {
        nas__kernel_table()->late_values((int)y->dims[0], (int)y->dims[1], (int)(y->dims[2] * y->dims[3]), values,
                                         &y->late->load, y->data);
    }
}

static nas_tensor *normalise(nas_tensor *x, const nas_bn_state *s) {
    int n = (int)x->dims[0], c = (int)x->dims[1], hw = (int)(x->dims[2] * x->dims[3]), p = nas__padded(c);
    float *rows = nas__arena_alloc(&nas__tape()->arena, ROWS * (size_t)p * sizeof(float));
    if (!rows) {
        return NULL;
    }
    bool batch = uses_batch(s);
    double count = (double)n * hw;
    if (batch) {
        if (!batch_statistics(x, p, rows + MEAN * p, rows + VAR * p) ||
            (nas__tape()->together && !statistics_of_all(c, &count, rows + MEAN * p, rows + VAR * p))) {
            return NULL;
        }
        update_estimates(s, c, count, rows + MEAN * p, rows + VAR * p);
    } else {
        stored_statistics(s, c, rows + MEAN * p, rows + VAR * p);
    }
    coefficients(s, c, p, rows);
    nas_tensor *y = nas__postpone(&(nas__late){.kind = NAS__LATE_NORM,
                                               .compute = norm_compute,
                                               .source = x,
                                               .load = {.scale = rows + SCALE * p, .shift = rows + SHIFT * p}},
                                  x->dims, 0);
    if (!y) {
        return NULL;
    }
    if (x->late && x->late->kind == NAS__LATE_POOL) {
        ((nas__late_pool *)x->late->detail)->norm = y;
    }
    nas__node *node =
        nas__record("batch_norm", batch_norm_backward, 3, (nas_tensor *[]){x, s->gamma, s->beta}, 1, &y, sizeof(bn_op));
    if (node) {
        *(bn_op *)node->state = (bn_op){batch, p, count, rows};
    }
    return s->relu ? nas_relu(y) : y;
}

static nas_tensor *traced(nas_tensor *x, const nas_bn_state *s) {
    nas_tensor *inputs[] = {x, s->gamma, s->beta, s->running_mean, s->running_var};
    nas_tensor *y = nas__traced_as("batch_norm", &(nas__told){.number = s->eps > 0 ? s->eps : 1e-5f}, 5, inputs,
                                   nas__new(x->ndim, x->dims, NAS__BLOCKED));
    return s->relu ? nas_relu(y) : y;
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
        return traced(x, s);
    }
    if (!uses_batch(s) && !s->running_mean) {
        return nas__fail_null(NAS_USAGE, "nas_batch_norm: there are no running estimates to use");
    }
    if (x->ndim == 2) {
        nas_tensor *image = nas_reshape(x, 4, (int64_t[]){x->dims[0], x->dims[1], 1, 1});
        return nas_reshape(nas_batch_norm(image, s), 2, x->dims);
    }
    bool behind = x->late && x->late->kind == NAS__LATE_POOL; /* need not be computed to be summed */
    x = behind ? x : nas__as(x, NAS__BLOCKED);
    return x ? normalise(x, s) : NULL;
}
