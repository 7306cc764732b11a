/* sequence.c - embedding and the LSTM cell, for controllers. */
#include "ops/common.h"

#include <string.h>

static void embedding_backward(nas__node *node) {
    nas_tensor *index = node->inputs[0], *table = node->inputs[1];
    const float *dy = nas__grad_data(node->outputs[0]), *at = nas__data(index);
    int64_t d = table->dims[1];
    nas__buffer *dx = dy && nas__wants(table) ? nas__floats((size_t)nas__count(table)) : NULL;
    if (!dx) {
        return;
    }
    memset(dx->data, 0, (size_t)nas__count(table) * sizeof(float));
    for (int64_t i = 0; i < nas__count(index); i++) {
        for (int64_t k = 0; k < d; k++) {
            dx->data[(int64_t)at[i] * d + k] += dy[i * d + k];
        }
    }
    nas__grad_give(table, dx, 1);
}

nas_tensor *nas_embedding(nas_tensor *index, nas_tensor *table) {
    if (!index || !table) {
        return nas__null_input("nas_embedding");
    }
    if (index->ndim != 1 || table->ndim != 2) {
        return nas__fail_null(NAS_SHAPE, "nas_embedding: index %s must be (N) and table %s (rows, d)",
                              nas__shape(index), nas__shape(table));
    }
    int64_t n = index->dims[0], d = table->dims[1];
    nas_tensor *y = nas__new(2, (int64_t[]){n, d}, NAS__PLAIN);
    if (!y || nas__dry()) {
        return nas__traced("embedding", 2, (nas_tensor *[]){index, table}, y);
    }
    const float *rows = nas__data(table);
    for (int64_t i = 0; i < n; i++) {
        float at = nas__data(index)[i];
        if (!(at >= 0 && at < (float)table->dims[0]) || at != (float)(int64_t)at) {
            return nas__fail_null(NAS_INVALID, "nas_embedding: index %g is not a row of a table with %lld rows", at,
                                  (long long)table->dims[0]);
        }
        memcpy(y->data + i * d, rows + (int64_t)at * d, (size_t)d * sizeof(float));
    }
    nas__record("embedding", embedding_backward, 2, (nas_tensor *[]){index, table}, 1, &y, 0);
    return y;
}

bool nas_lstm_cell(nas_tensor *x, nas_tensor *h, nas_tensor *c, nas_tensor *weight, nas_tensor *bias,
                   nas_tensor **new_h, nas_tensor **new_c) {
    *new_h = *new_c = NULL;
    if (!x || !h || !c || !weight) {
        nas__null_input("nas_lstm_cell");
        return false;
    }
    int64_t hidden = h->dims[h->ndim - 1];
    if (x->ndim != 2 || h->ndim != 2 || !nas__same_shape(h, c) || weight->ndim != 2 || weight->dims[0] != 4 * hidden ||
        weight->dims[1] != x->dims[1] + hidden) {
        nas__fail(NAS_SHAPE,
                  "nas_lstm_cell: x %s, h %s, c %s and weight %s do not fit: (N,in), (N,H), (N,H), (4H,in+H)",
                  nas__shape(x), nas__shape(h), nas__shape(c), nas__shape(weight));
        return false;
    }
    nas_tensor *gates = nas_linear(nas_concat(2, (nas_tensor *[]){x, h}, 1), weight, bias), *part[4];
    if (!gates || !nas_split(gates, 1, 4, (int64_t[]){hidden, hidden, hidden, hidden}, part)) {
        return false;
    }
    nas_tensor *kept = nas_mul(nas_sigmoid(part[1]), c), *added = nas_mul(nas_sigmoid(part[0]), nas_tanh(part[3]));
    *new_c = nas_add(kept, added);
    *new_h = nas_mul(nas_sigmoid(part[2]), nas_tanh(*new_c));
    return *new_h != NULL;
}
