/* linear.c - y = x W^T + b. */
#include "kernels/onednn.h"
#include "ops/common.h"

static void bias_gradient(nas_tensor *bias, int64_t rows, int64_t cols, const float *dy) {
    nas__buffer *scratch;
    float *db = nas__grad_begin(bias, &scratch);
    if (!db) {
        return;
    }
    nas__sum_rows(rows, cols, dy, db);
    nas__grad_end(bias, scratch);
}

static void linear_backward(nas__node *node) {
    nas_tensor *x = node->inputs[0], *w = node->inputs[1], *bias = node->n_inputs > 2 ? node->inputs[2] : NULL;
    const float *dy = nas__grad_data(node->outputs[0]);
    int64_t rows = x->dims[0], in = x->dims[1], out = w->dims[0];
    if (!dy) {
        return;
    }
    if (nas__wants(x)) {
        nas__buffer *dx = nas__floats(nas__storage(x));
        if (dx) {
            nas__matmul(rows, in, out, dy, false, nas__data(w), false, dx->data);
            nas__grad_give(x, dx, 1);
        }
    }
    if (nas__wants(w)) {
        nas__buffer *scratch;
        float *dw = nas__grad_begin(w, &scratch);
        if (dw) {
            nas__matmul(out, in, rows, dy, true, nas__data(x), false, dw);
            nas__grad_end(w, scratch);
        }
    }
    if (nas__wants(bias)) {
        bias_gradient(bias, rows, out, dy);
    }
}

static void add_bias(int64_t rows, int64_t cols, const float *bias, float *y) {
#pragma omp parallel for schedule(static) if (rows * cols > NAS__SMALL)
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = 0; j < cols; j++) {
            y[i * cols + j] += bias[j];
        }
    }
}

nas_tensor *nas_linear(nas_tensor *x, nas_tensor *weight, nas_tensor *bias) {
    if (!x || !weight) {
        return nas__null_input("nas_linear");
    }
    if (x->ndim != 2 || weight->ndim != 2 || x->dims[1] != weight->dims[1] ||
        (bias && nas__count(bias) != weight->dims[0])) {
        return nas__fail_null(NAS_SHAPE,
                              "nas_linear: x %s, weight %s, bias %s do not fit: (N,in), (out,in), (out) are needed",
                              nas__shape(x), nas__shape(weight), bias ? nas__shape(bias) : "none");
    }
    int64_t rows = x->dims[0], in = x->dims[1], out = weight->dims[0];
    nas__count_macs((uint64_t)(rows * in * out));
    nas_tensor *y = nas__new(2, (int64_t[]){rows, out}, NAS__PLAIN);
    if (!y || nas__dry()) {
        return nas__traced("linear", bias ? 3 : 2, (nas_tensor *[]){x, weight, bias}, y);
    }
    if (nas__matmul(rows, out, in, nas__data(x), false, nas__data(weight), true, y->data)) {
        return NULL;
    }
    if (bias) {
        add_bias(rows, out, nas__data(bias), y->data);
    }
    nas__record("linear", linear_backward, bias ? 3 : 2, (nas_tensor *[]){x, weight, bias}, 1, &y, 0);
    return y;
}
