/* metrics.c - numbers that say how good an output is. */
#include <espalier/nn.h>

#include "core/error.h"
#include "core/memory.h"
#include "tensor/tensor.h"

#include <math.h>
#include <stdlib.h>

/* Values of both tensors in one array, row-major: output, then target. NULL and an error when they cannot be had. */
static float *read_both(const char *what, const nas_tensor *output, const nas_tensor *target) {
    if (!output || !target) {
        return nas__fail_null(NAS_INVALID, "%s: the %s is NULL", what, output ? "target" : "output");
    }
    size_t n = (size_t)nas__count(output);
    float *values = nas__alloc((n + (size_t)nas__count(target)) * sizeof *values);
    if (values && (nas_tensor_read(output, values) || nas_tensor_read(target, values + n))) {
        free(values);
        return NULL;
    }
    return values;
}

/* Is the class among the k largest? Among equals the lower class goes first, as argmax takes it. */
static bool among_largest(const float *logits, int64_t classes, int64_t class, int k) {
    int before = 0;
    for (int64_t j = 0; j < classes; j++) {
        before += logits[j] > logits[class] || (logits[j] == logits[class] && j < class);
    }
    return !isnan(logits[class]) && before < k;
}

static double accuracy(const char *what, const nas_tensor *output, const nas_tensor *target, int k) {
    if (output && target && (output->ndim != 2 || nas__count(target) != output->dims[0])) {
        nas__fail(NAS_SHAPE, "%s: output %s must be (N, classes) and target %s (N)", what, nas__shape(output),
                  nas__shape(target));
        return NAN;
    }
    float *values = read_both(what, output, target);
    if (!values) {
        return NAN;
    }
    int64_t n = output->dims[0], classes = output->dims[1], right = 0;
    for (int64_t i = 0; i < n; i++) {
        float class = values[n * classes + i];
        if (!(class >= 0 && class < (float)classes)) {
            nas__fail(NAS_INVALID, "%s: class %g of image %lld is not in 0..%lld", what, (double)class, (long long)i,
                      (long long)classes - 1);
            right = -1;
            break;
        }
        right += among_largest(values + i * classes, classes, (int64_t) class, k);
    }
    free(values);
    return right < 0 ? NAN : (double)right / (double)n;
}

double nas_top1_accuracy(const nas_tensor *output, const nas_tensor *target) {
    return accuracy("nas_top1_accuracy", output, target, 1);
}

double nas_top5_accuracy(const nas_tensor *output, const nas_tensor *target) {
    return accuracy("nas_top5_accuracy", output, target, 5);
}

/* Mean over all elements of |output - target|, or of its square. */
static double mean_error(const char *what, const nas_tensor *output, const nas_tensor *target, bool square) {
    if (output && target && nas__count(output) != nas__count(target)) {
        nas__fail(NAS_SHAPE, "%s: output %s and target %s differ in size", what, nas__shape(output),
                  nas__shape(target));
        return NAN;
    }
    float *values = read_both(what, output, target);
    if (!values) {
        return NAN;
    }
    int64_t n = nas__count(output);
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = (double)values[i] - (double)values[n + i];
        sum += square ? d * d : fabs(d);
    }
    free(values);
    return sum / (double)n;
}

double nas_squared_error(const nas_tensor *output, const nas_tensor *target) {
    return mean_error("nas_squared_error", output, target, true);
}

double nas_absolute_error(const nas_tensor *output, const nas_tensor *target) {
    return mean_error("nas_absolute_error", output, target, false);
}

double nas_negative_rmse(const nas_tensor *output, const nas_tensor *target) {
    return -sqrt(mean_error("nas_negative_rmse", output, target, true));
}

const nas_metric nas_classification_metrics[] = {{.name = "acc1", .measure = nas_top1_accuracy}, {.name = NULL}};

const nas_metric nas_regression_metrics[] = {
    {.name = "rmse", .measure = nas_squared_error, .lower_is_better = true, .finish = sqrt},
    {.name = NULL},
};
