/* reduce.c - sums and means. Accumulated in double, in a fixed order. */
#include "ops/common.h"

#include <string.h>

double nas__sum_floats(size_t count, const float *x) {
    enum { PIECES = 64 };
    double sums[PIECES], sum = 0;
    size_t length = (count + PIECES - 1) / PIECES;
#pragma omp parallel for schedule(static) if (count > NAS__SMALL)
    for (size_t p = 0; p < PIECES; p++) {
        size_t begin = p * length, end = begin + length < count ? begin + length : count;
        sums[p] = 0;
        for (size_t i = begin; i < end; i++) {
            sums[p] += x[i];
        }
    }
    for (int p = 0; p < PIECES; p++) {
        sum += sums[p];
    }
    return sum;
}

/* Columns in strips, so that memory is read along the rows. */
void nas__sum_rows(int64_t rows, int64_t columns, const float *x, float *sums) {
    enum { STRIP = 32 };
#pragma omp parallel for schedule(static) if (rows * columns > NAS__SMALL)
    for (int64_t first = 0; first < columns; first += STRIP) {
        int64_t n = columns - first < STRIP ? columns - first : STRIP;
        double sum[STRIP] = {0};
        for (int64_t r = 0; r < rows; r++) {
            for (int64_t i = 0; i < n; i++) {
                sum[i] += x[r * columns + first + i];
            }
        }
        for (int64_t i = 0; i < n; i++) {
            sums[first + i] = (float)sum[i];
        }
    }
}

typedef struct reduce_state {
    float factor;
    int64_t outer, size, inner; /* of the reduced dimension */
} reduce_state;

static void reduce_backward(nas__node *node) {
    const reduce_state *s = node->state;
    nas_tensor *x = node->inputs[0];
    const float *dy = nas__grad_data(node->outputs[0]);
    nas__buffer *dx = dy ? nas__floats((size_t)nas__count(x)) : NULL;
    if (!dx) {
        return;
    }
#pragma omp parallel for schedule(static) if (s->outer * s->size * s->inner > NAS__SMALL)
    for (int64_t p = 0; p < s->outer * s->size; p++) {
        const float *src = dy + p / s->size * s->inner;
        for (int64_t i = 0; i < s->inner; i++) {
            dx->data[p * s->inner + i] = src[i] * s->factor;
        }
    }
    nas__grad_give(x, dx, 1);
}

static nas_tensor *reduce(const char *op, nas_tensor *x, reduce_state s, int ndim, const int64_t *dims) {
    nas_tensor *y = nas__new(ndim, dims, NAS__PLAIN);
    if (!y || nas__dry()) {
        return nas__traced(op, 1, &x, y);
    }
    const float *v = nas__data(x);
    if (!v) {
        return NULL;
    }
    if (s.inner == 1) {
        for (int64_t o = 0; o < s.outer; o++) {
            y->data[o] = (float)(nas__sum_floats((size_t)s.size, v + o * s.size) * s.factor);
        }
    } else {
        for (int64_t o = 0; o < s.outer; o++) {
            nas__sum_rows(s.size, s.inner, v + o * s.size * s.inner, y->data + o * s.inner);
        }
        for (int64_t i = 0; s.factor != 1 && i < s.outer * s.inner; i++) {
            y->data[i] *= s.factor;
        }
    }
    nas__node *node = nas__record(op, reduce_backward, 1, &x, 1, &y, sizeof s);
    if (node) {
        *(reduce_state *)node->state = s;
    }
    return y;
}

static nas_tensor *reduce_all(const char *op, nas_tensor *x, bool mean) {
    x = nas__as(x, NAS__PLAIN);
    if (!x) {
        return nas__null_input(op);
    }
    int64_t count = nas__count(x);
    return reduce(op, x, (reduce_state){mean ? 1 / (float)count : 1, 1, count, 1}, 1, (int64_t[]){1});
}

static nas_tensor *reduce_dim(const char *op, nas_tensor *x, int dim, bool mean) {
    x = nas__as(x, NAS__PLAIN);
    if (!x) {
        return nas__null_input(op);
    }
    if (dim < 0 || dim >= x->ndim) {
        return nas__fail_null(NAS_SHAPE, "%s: dimension %d of a tensor of shape %s", op, dim, nas__shape(x));
    }
    int64_t dims[NAS_MAX_DIMS] = {1};
    int ndim = 0;
    reduce_state s = {mean ? 1 / (float)x->dims[dim] : 1, 1, x->dims[dim], 1};
    for (int i = 0; i < x->ndim; i++) {
        s.outer *= i < dim ? x->dims[i] : 1;
        s.inner *= i > dim ? x->dims[i] : 1;
        if (i != dim) {
            dims[ndim++] = x->dims[i];
        }
    }
    return reduce(op, x, s, ndim ? ndim : 1, dims);
}

nas_tensor *nas_sum(nas_tensor *x) { return reduce_all("nas_sum", x, false); }
nas_tensor *nas_mean(nas_tensor *x) { return reduce_all("nas_mean", x, true); }
nas_tensor *nas_sum_dim(nas_tensor *x, int dim) { return reduce_dim("nas_sum_dim", x, dim, false); }
nas_tensor *nas_mean_dim(nas_tensor *x, int dim) { return reduce_dim("nas_mean_dim", x, dim, true); }
