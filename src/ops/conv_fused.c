/* conv_fused.c - what the fused convolutions share. */
#include "ops/conv_fused.h"

#include <string.h>

float *nas__channels(const float *values, int64_t channels) {
    nas_tape *tape = nas__tape();
    float *array = tape ? nas__arena_alloc(&tape->arena, (size_t)nas__padded(channels) * sizeof *array) : NULL;
    if (array && values) {
        memcpy(array, values, (size_t)channels * sizeof *array);
    }
    return array;
}

double *nas__moments(nas_tensor *y) {
    nas_bn_mode mode = y->tape->config.bn;
    if (mode == NAS_BN_BATCH || mode == NAS_BN_CALIBRATE) {
        y->moments = nas__arena_alloc(&y->tape->arena, 2 * (size_t)nas__padded(y->dims[1]) * sizeof *y->moments);
    }
    return y->moments;
}

/* --- weights of 1x1 convolutions ---------------------------------------------------------------------- */
static size_t panel_width(void) { return (size_t)nas__kernel_table()->panel * (size_t)nas__block(); }

/* Row i, column o of the matrix: weight[o][i]. In tiles of rows, which are columns of the weight. */
static nas_status make_panels(const nas_tensor *weight, const void *what, float *to) {
    (void)what;
    enum { TILE = 16 };
    const size_t out = (size_t)weight->dims[0], in = (size_t)weight->dims[1],
                 columns = (size_t)nas__padded(weight->dims[0]);
    for (size_t first = 0; first < columns; first += panel_width(), to += panel_width() * in) {
        const size_t width = columns - first < panel_width() ? columns - first : panel_width();
        for (size_t row = 0; row < in; row += TILE) {
            for (size_t o = 0; o < width; o++) {
                const float *from = first + o < out ? weight->data + (first + o) * in : NULL;
                for (size_t i = row; i < in && i < row + TILE; i++) {
                    to[i * width + o] = from ? from[i] : 0;
                }
            }
        }
    }
    return NAS_OK;
}

nas__buffer *nas__pointwise_panels(nas_tensor *weight) {
    const size_t count = (size_t)weight->dims[1] * (size_t)nas__padded(weight->dims[0]);
    return nas__prepared(weight, NAS__FORM_POINTWISE, count, make_panels, NULL);
}

/* Row o; a column for each channel of each part and the part's tail. */
nas__buffer *nas__pointwise_back_panels(const nas_tensor *weight, int parts) {
    const size_t out = (size_t)weight->dims[0], all = (size_t)weight->dims[1], in = all / (size_t)parts;
    const size_t part = (size_t)nas__padded((int64_t)in), columns = part * (size_t)parts;
    nas__buffer *b = nas__floats(out * columns);
    for (size_t first = 0; b && first < columns; first += panel_width()) {
        const size_t width = columns - first < panel_width() ? columns - first : panel_width();
        for (size_t o = 0; o < out; o++) {
            float *to = b->data + first * out + o * width;
            for (size_t k = 0; k < width; k++) {
                const size_t column = first + k, channel = column % part;
                to[k] = channel < in ? weight->data[o * all + column / part * in + channel] : 0;
            }
        }
    }
    return b;
}

void nas__give_pointwise(nas_tensor *weight, const float *rows) {
    nas__buffer *scratch;
    float *dw = nas__grad_begin(weight, &scratch);
    if (dw) {
        const size_t out = (size_t)weight->dims[0], in = (size_t)weight->dims[1];
        const size_t columns = (size_t)nas__padded(weight->dims[0]);
        for (size_t o = 0; o < out; o++) {
            for (size_t i = 0; i < in; i++) {
                dw[o * in + i] = rows[i * columns + o];
            }
        }
        nas__grad_end(weight, scratch);
    }
}
