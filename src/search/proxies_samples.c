/* proxies_samples.c - proxies that ask whether an untrained network tells samples apart: by the pattern of its ReLUs,
 * and by its derivative with respect to the input. */
#include "search/proxies_samples.h"
#include "search/trainer.h"
#include "tensor/tensor.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- symmetric matrices: Cholesky's decomposition ---------------------------------------------------------------- */
static bool decompose(int n, double *a) {
    for (int j = 0; j < n; j++) {
        for (int i = j; i < n; i++) {
            double sum = a[i * n + j];
            for (int k = 0; k < j; k++) {
                sum -= a[i * n + k] * a[j * n + k];
            }
            if (i == j && !(sum > 1e-12 * a[j * n + j])) {
                return false; /* singular but for rounding */
            }
            a[i * n + j] = i == j ? sqrt(sum) : sum / a[j * n + j];
        }
    }
    return true;
}

/* The trace of (L L')^-1 is the sum of the squares of the inverse of L, column by column by substitution. */
static double trace_of_inverse(int n, const double *l, double *column) {
    double trace = 0;
    for (int j = 0; j < n; j++) {
        for (int i = j; i < n; i++) {
            double sum = i == j;
            for (int k = j; k < i; k++) {
                sum -= l[i * n + k] * column[k];
            }
            column[i] = sum / l[i * n + i];
            trace += column[i] * column[i];
        }
    }
    return trace;
}

bool nas__log_det(int n, double *a, double *log_det, double *inverse_trace) {
    bool positive = decompose(n, a);
    double *column = positive && inverse_trace ? nas__alloc((size_t)n * sizeof *column) : NULL;
    *log_det = 0;
    for (int i = 0; positive && i < n; i++) {
        *log_det += 2 * log(a[i * n + i]);
    }
    if (column) {
        *inverse_trace = trace_of_inverse(n, a, column);
    }
    free(column);
    return positive;
}

/* --- NASWOT ------------------------------------------------------------------------------------------------------ */
typedef struct codes {
    int64_t n;      /* samples */
    double *agree;  /* (n, n): ReLUs that agree, so far */
    uint64_t *bits; /* of one operation, words each sample */
} codes;

static void count_agreeing(codes *c, const float *y, int64_t units) {
    size_t words = (size_t)(units + 63) / 64;
    uint64_t *bits = nas__alloc((size_t)c->n * words * sizeof *bits);
    for (int64_t i = 0; bits && i < c->n; i++) {
        for (int64_t u = 0; u < units; u++) {
            bits[(size_t)i * words + (size_t)u / 64] |= (uint64_t)(y[i * units + u] > 0) << u % 64;
        }
    }
    for (int64_t i = 0; bits && i < c->n; i++) {
        for (int64_t j = 0; j <= i; j++) {
            int64_t differ = 0;
            for (size_t w = 0; w < words; w++) {
                differ += __builtin_popcountll(bits[(size_t)i * words + w] ^ bits[(size_t)j * words + w]);
            }
            c->agree[i * c->n + j] += (double)(units - differ);
        }
    }
    free(bits);
}

static void on_computed(void *user, nas__event event, const nas__node *node) {
    codes *c = user;
    if (event != NAS__COMPUTED || (strcmp(node->name, "relu") != 0 && strcmp(node->name, "relu6") != 0) ||
        node->outputs[0]->dims[0] != c->n) {
        return;
    }
    size_t count = (size_t)nas__count(node->outputs[0]);
    float *values = nas__alloc(count * sizeof *values);
    if (values && !nas_tensor_read(node->outputs[0], values)) {
        count_agreeing(c, values, (int64_t)count / c->n);
    }
    free(values);
}

nas_status nas__proxy_naswot(nas_module *model, const nas__proxy_look *look, double *score) {
    codes c = {.n = look->batch->n};
    c.agree = nas__alloc((size_t)(c.n * c.n) * sizeof *c.agree);
    nas_tape *tape = nas_tape_new();
    if (c.agree && tape) {
        nas_tape_begin(tape, &(nas_tape_config){.freeze_running = true});
        nas__watch(&(nas__watcher){.event = on_computed, .user = &c, .relus = true});
        nas_forward(model, nas__batch_input(look->batch, look->info));
        nas__watch(NULL);
        double log_det;
        *score = nas__log_det((int)c.n, c.agree, &log_det, NULL) ? log_det : -INFINITY;
    }
    nas_tape_free(tape);
    free(c.agree);
    return nas_error_status();
}

/* --- jacob_cov --------------------------------------------------------------------------------------------------- */
/* Rows of mean 0 and length 1; false when one is constant. */
static bool normalise(int64_t n, int64_t width, const float *rows, double *unit) {
    for (int64_t i = 0; i < n; i++) {
        double mean = 0, squares = 0;
        for (int64_t k = 0; k < width; k++) {
            mean += rows[i * width + k] / (double)width;
        }
        for (int64_t k = 0; k < width; k++) {
            unit[i * width + k] = rows[i * width + k] - mean;
            squares += unit[i * width + k] * unit[i * width + k];
        }
        if (!(squares > 0) || !isfinite(squares)) {
            return false;
        }
        for (int64_t k = 0; k < width; k++) {
            unit[i * width + k] /= sqrt(squares);
        }
    }
    return true;
}

/* -sum(log(v + k) + 1/(v + k)) over the eigenvalues v of the rows' correlations, which is -(log det + trace of the
 * inverse) of these with k on the diagonal. */
static double spread(int64_t n, int64_t width, const float *rows) {
    const double k = 1e-5;
    double *unit = nas__alloc((size_t)(n * width) * sizeof *unit), log_det = 0, trace = 0;
    double *correlation = nas__alloc((size_t)(n * n) * sizeof *correlation);
    bool good = unit && correlation && normalise(n, width, rows, unit);
    for (int64_t i = 0; good && i < n; i++) {
        for (int64_t j = 0; j <= i; j++) {
            for (int64_t m = 0; m < width; m++) {
                correlation[i * n + j] += unit[i * width + m] * unit[j * width + m];
            }
        }
        correlation[i * n + i] += k;
    }
    good = good && nas__log_det((int)n, correlation, &log_det, &trace);
    free(unit);
    free(correlation);
    return good ? -(log_det + trace) : -INFINITY;
}

nas_status nas__proxy_jacob_cov(nas_module *model, const nas__proxy_look *look, double *score) {
    const nas_dataset_info *info = look->info;
    int64_t dims[NAS_MAX_DIMS] = {look->batch->n}, width = 1;
    for (int i = 0; i < info->ndim; i++) {
        width *= dims[i + 1] = info->dims[i];
    }
    nas_tensor *x =
        nas_variable(info->ndim + 1, dims, NAS_ROLE_ARCH); /* a network without choices has no others of this role */
    float *rows = nas__alloc((size_t)(dims[0] * width) * sizeof *rows);
    nas_tape *tape = nas_tape_new();
    if (x && rows && tape) {
        nas_tape_begin(tape, &(nas_tape_config){.grad = NAS_ROLE_ARCH, .freeze_running = true});
        nas_tensor_write(x, look->batch->x);
        nas_tensor *total = nas_sum(nas_forward(model, x));
        if (total && !total->needs_grad) {
            *score = -INFINITY; /* nothing of the input arrives */
        } else if (total && !nas_backward(total) && !nas_tensor_read_grad(x, rows)) {
            *score = spread(dims[0], width, rows);
        }
    }
    nas_tape_free(tape);
    nas_tensor_free(x);
    free(rows);
    return nas_error_status();
}
