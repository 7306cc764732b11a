/* conv_grouped.c - 1x1 convolutions in a few groups run as dense ones, with zeros between the groups: the kernels of
 * dense 1x1 convolutions do batch norm and ReLU on the way, and are bound by memory rather than by the products with
 * zero; for groups narrower than a block oneDNN has nothing but a lowering to matrix products. */
#include "ops/conv_fused.h"

#include <string.h>

enum { MOST_GROUPS = 8 };

bool nas__is_grouped_pointwise(const nas__conv_shape *s) {
    return s->kh == 1 && s->kw == 1 && s->pad_h == 0 && s->pad_w == 0 && s->groups > 1 && s->groups <= MOST_GROUPS;
}

/* Row o of the grouped weight lies in the columns of its group. */
static size_t column_of(const nas_tensor *grouped, const nas_tensor *dense, size_t o) {
    const size_t in = (size_t)grouped->dims[1], groups = (size_t)dense->dims[1] / in;
    return o / ((size_t)grouped->dims[0] / groups) * in;
}

static void dense_backward(nas__node *node) {
    nas_tensor *weight = node->inputs[0], *dense = node->outputs[0];
    const float *dy = nas__grad_data(dense);
    nas__buffer *scratch;
    float *dw = dy ? nas__grad_begin(weight, &scratch) : NULL;
    if (dw) {
        const size_t in = (size_t)weight->dims[1], columns = (size_t)dense->dims[1];
        for (size_t o = 0; o < (size_t)weight->dims[0]; o++) {
            memcpy(dw + o * in, dy + o * columns + column_of(weight, dense, o), in * sizeof *dw);
        }
        nas__grad_end(weight, scratch);
    }
}

nas_tensor *nas__dense_weight(nas_tensor *weight, int groups) {
    nas_tensor *dense = nas__new(4, (int64_t[]){weight->dims[0], weight->dims[1] * groups, 1, 1}, NAS__PLAIN);
    const float *values = dense ? nas__data(weight) : NULL;
    if (!values) {
        return NULL;
    }
    const size_t in = (size_t)weight->dims[1], columns = (size_t)dense->dims[1];
    memset(dense->data, 0, nas__storage(dense) * sizeof(float));
    for (size_t o = 0; o < (size_t)weight->dims[0]; o++) {
        memcpy(dense->data + o * columns + column_of(weight, dense, o), values + o * in, in * sizeof *values);
    }
    nas__record("dense_weight", dense_backward, 1, &weight, 1, &dense, 0);
    return dense;
}
