/* loss.c - cross entropy, squared and absolute error. The gradient is known going forward (up to the factor that comes
 * back), so it is written there, once, and the backward pass only hands it on with that factor as its scale. */
#include "ops/common.h"

#include <math.h>

/* saved[0]: d loss / d inputs[0]; inputs[1], when it is differentiated for, gets the opposite */
static void loss_backward(nas__node *node) {
    nas__grad dy = nas__grad_of(node->outputs[0]);
    float factor = dy.buffer->data[0] * dy.scale;
    nas__grad_give(node->inputs[0], nas__buffer_ref(node->saved[0]), factor);
    if (node->n_inputs > 1) {
        nas__grad_give(node->inputs[1], nas__buffer_ref(node->saved[0]), -factor);
    }
}

static nas_tensor *finish(const char *op, double value, int n_inputs, nas_tensor *const *inputs,
                          nas__buffer *gradient) {
    nas_tensor *y = nas__scalar((float)value);
    nas__node *node = y ? nas__record(op, loss_backward, n_inputs, inputs, 1, &y, 0) : NULL;
    if (node) {
        node->saved[0] = gradient;
    } else {
        nas__buffer_unref(gradient);
    }
    return y;
}

/* --- cross entropy -------------------------------------------------------------------------------
 * Rows are samples, or pixels for dense prediction; class k of a row is `inner` floats after class k - 1. */
typedef struct classes {
    int64_t rows, k, inner;
    double smoothing;
} classes;

/* Cross entropy of one row against (1 - s) onehot + s/K, with log-softmax in double; g (or NULL) gets its gradient
 * divided by the number of rows. */
static double row_loss(const classes *s, const float *x, int64_t target, float *g) {
    double max = x[0], sum = 0, mean = 0, even = s->smoothing / (double)s->k;
    for (int64_t i = 0; i < s->k; i++) {
        double v = x[i * s->inner];
        max = v > max || isnan(v) ? v : max;
        mean += v / (double)s->k;
    }
    for (int64_t i = 0; i < s->k; i++) {
        sum += exp(x[i * s->inner] - max);
    }
    double log_sum = max + log(sum);
    for (int64_t i = 0; g && i < s->k; i++) {
        double wanted = even + (i == target ? 1 - s->smoothing : 0);
        g[i * s->inner] = (float)((exp(x[i * s->inner] - log_sum) - wanted) / (double)s->rows);
    }
    double loss = (1 - s->smoothing) * (log_sum - x[target * s->inner]);
    return s->smoothing > 0 ? loss + s->smoothing * (log_sum - mean) : loss;
}

static bool read_classes(const char *op, const nas_tensor *logits, nas_tensor *target, classes *s) {
    bool matrix = logits->ndim == 2, image = logits->ndim == 4;
    *s = (classes){.k = logits->dims[1], .inner = image ? logits->dims[2] * logits->dims[3] : 1};
    s->rows = logits->dims[0] * s->inner;
    bool fits =
        (matrix && nas__count(target) == s->rows && target->dims[0] == s->rows) ||
        (image && nas__count(target) == s->rows && target->ndim >= 3 && target->dims[0] == logits->dims[0] &&
         target->dims[target->ndim - 2] == logits->dims[2] && target->dims[target->ndim - 1] == logits->dims[3]);
    if (!fits) {
        return nas__fail_null(
            NAS_SHAPE,
            "%s: logits %s with target %s: (N,classes) with (N), or (N,classes,H,W) with (N,H,W), are needed", op,
            nas__shape(logits), nas__shape(target));
    }
    return true;
}

static bool check_targets(const char *op, const classes *s, const float *target) {
    for (int64_t r = 0; r < s->rows; r++) {
        if (!(target[r] >= 0 && target[r] < (float)s->k) || target[r] != (float)(int64_t)target[r]) {
            return nas__fail_null(NAS_INVALID,
                                  "%s: target %lld is %g; with %lld classes it must be a whole number from 0 to %lld",
                                  op, (long long)r, target[r], (long long)s->k, (long long)s->k - 1);
        }
    }
    return true;
}

static nas_tensor *cross_entropy(const char *op, nas_tensor *logits, nas_tensor *target, float smoothing) {
    classes s;
    logits = nas__as(logits, NAS__PLAIN);
    target = nas__as(target, NAS__PLAIN);
    if (!logits || !target || !read_classes(op, logits, target, &s)) {
        return nas__null_input(op);
    }
    if (!(smoothing >= 0 && smoothing < 1)) {
        return nas__fail_null(NAS_INVALID, "%s: the smoothing is %g; it must be in [0, 1)", op, smoothing);
    }
    if (nas__dry()) {
        return nas__traced(op, 1, &logits, nas__new(1, (int64_t[]){1}, NAS__PLAIN));
    }
    s.smoothing = smoothing;
    const float *x = nas__data(logits), *wanted = nas__data(target);
    if (!check_targets(op, &s, wanted)) {
        return NULL;
    }
    nas__buffer *losses = nas__buffer_new((size_t)s.rows * sizeof(double));
    nas__buffer *gradient = losses && nas__wants(logits) ? nas__floats((size_t)nas__count(logits)) : NULL;
    if (!losses || (nas__wants(logits) && !gradient)) {
        nas__buffer_unref(losses);
        return NULL;
    }
    double *loss = (double *)losses->data, sum = 0;
#pragma omp parallel for schedule(static) if (s.rows * s.k > NAS__SMALL / 8)
    for (int64_t r = 0; r < s.rows; r++) {
        int64_t first = r / s.inner * s.k * s.inner + r % s.inner;
        loss[r] = row_loss(&s, x + first, (int64_t)wanted[r], gradient ? gradient->data + first : NULL);
    }
    for (int64_t r = 0; r < s.rows; r++) {
        sum += loss[r];
    }
    nas__buffer_unref(losses);
    return finish(op, sum / (double)s.rows, 1, &logits, gradient);
}

nas_tensor *nas_cross_entropy(nas_tensor *logits, nas_tensor *target) {
    return cross_entropy("nas_cross_entropy", logits, target, 0);
}

nas_tensor *nas_cross_entropy_smooth(nas_tensor *logits, nas_tensor *target, float smoothing) {
    return cross_entropy("nas_cross_entropy_smooth", logits, target, smoothing);
}

/* --- regression ---------------------------------------------------------------------------------- */
/* sum of |d|^power; g (or NULL) gets the gradient of that sum divided by n. Pieces have a fixed length, so the order of
 * the sum does not depend on the threads. */
static double error_sum(bool squared, int64_t count, const float *p, const float *t, double n, float *g) {
    enum { PIECES = 64 };
    double sums[PIECES], sum = 0;
    int64_t length = (count + PIECES - 1) / PIECES;
#pragma omp parallel for schedule(static) if (count > NAS__SMALL)
    for (int piece = 0; piece < PIECES; piece++) {
        int64_t begin = piece * length, end = begin + length < count ? begin + length : count;
        sums[piece] = 0;
        for (int64_t i = begin; i < end; i++) {
            double d = (double)p[i] - t[i];
            sums[piece] += squared ? d * d : fabs(d);
            if (g) {
                g[i] = (float)((squared ? 2 * d : (double)((d > 0) - (d < 0))) / n);
            }
        }
    }
    for (int i = 0; i < PIECES; i++) {
        sum += sums[i];
    }
    return sum;
}

static bool check_numbers(const char *op, size_t count, const float *target) {
    for (size_t i = 0; i < count; i++) {
        if (isnan(target[i])) {
            return nas__fail_null(NAS_NUMERIC, "%s: target %zu is not a number", op, i);
        }
    }
    return true;
}

/* In the prediction's layout: zero tails differ by nothing. */
static nas_tensor *regression(const char *op, nas_tensor *prediction, nas_tensor *target, bool squared) {
    if (!prediction || !target) {
        return nas__null_input(op);
    }
    if (!nas__same_shape(prediction, target)) {
        return nas__fail_null(NAS_SHAPE, "%s: the prediction's shape is %s, the target's %s", op,
                              nas__shape(prediction), nas__shape(target));
    }
    if (nas__dry()) {
        return nas__traced(op, 2, (nas_tensor *[]){prediction, target}, nas__new(1, (int64_t[]){1}, NAS__PLAIN));
    }
    target = nas__as(target, prediction->layout);
    size_t count = nas__storage(prediction);
    if (!target || !check_numbers(op, count, nas__data(target))) {
        return NULL;
    }
    bool wanted = nas__wants(prediction) || nas__wants(target);
    nas__buffer *gradient = wanted ? nas__floats(count) : NULL;
    if (wanted && !gradient) {
        return NULL;
    }
    double n = (double)nas__count(prediction);
    double sum = error_sum(squared, (int64_t)count, nas__data(prediction), nas__data(target), n,
                           gradient ? gradient->data : NULL);
    return finish(op, sum / n, 2, (nas_tensor *[]){prediction, target}, gradient);
}

nas_tensor *nas_mse(nas_tensor *prediction, nas_tensor *target) {
    return regression("nas_mse", prediction, target, true);
}
nas_tensor *nas_l1(nas_tensor *prediction, nas_tensor *target) {
    return regression("nas_l1", prediction, target, false);
}
