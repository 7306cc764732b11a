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

static size_t at_most(size_t a, size_t b) { return a < b ? a : b; }

/* to[c][r] = from[r][c], in tiles of rows, whose lines stay in cache while the columns pass by. */
static void transpose(const float *from, size_t from_row, size_t rows, size_t columns, float *to, size_t to_row) {
    enum { TILE = 16 };
    for (size_t first = 0; first < rows; first += TILE, from += TILE * from_row, to += TILE) {
        const size_t count = at_most(TILE, rows - first);
        for (size_t c = 0; c < columns; c++) {
            for (size_t r = 0; r < count; r++) {
                to[c * to_row + r] = from[r * from_row + c];
            }
        }
    }
}

/* Row i, column o of the matrix: weight[o][i]. */
static nas_status make_panels(const nas_tensor *weight, const void *what, float *to) {
    (void)what;
    const size_t out = (size_t)weight->dims[0], in = (size_t)weight->dims[1], panel = panel_width(),
                 columns = (size_t)nas__padded(weight->dims[0]);
#pragma omp parallel for schedule(static) if (columns * in > NAS__SMALL)
    for (size_t first = 0; first < columns; first += panel) {
        const size_t width = at_most(panel, columns - first), count = at_most(width, out - first);
        float *rows = to + first * in;
        transpose(weight->data + first * in, in, count, in, rows, width);
        for (size_t i = 0; count < width && i < in; i++) {
            memset(rows + i * width + count, 0, (width - count) * sizeof *rows);
        }
    }
    return NAS_OK;
}

nas__buffer *nas__pointwise_panels(nas_tensor *weight) {
    const size_t count = (size_t)weight->dims[1] * (size_t)nas__padded(weight->dims[0]);
    return nas__prepared(weight, NAS__FORM_POINTWISE, count, make_panels, NULL);
}

/* Columns `column` .. + block of all rows: channels of one part, perhaps with its tail. */
static void copy_block(const nas_tensor *weight, size_t in, size_t column, size_t block, float *to, size_t width) {
    const size_t part = (size_t)nas__padded((int64_t)in), all = (size_t)weight->dims[1], channel = column % part;
    const size_t count = at_most(block, in - channel);
    const float *from = weight->data + column / part * in + channel;
    for (int64_t o = 0; o < weight->dims[0]; o++, from += all, to += width) {
        memcpy(to, from, count * sizeof *to);
        memset(to + count, 0, (block - count) * sizeof *to);
    }
}

/* Row o; a column for each channel of each part and the part's tail. */
nas__buffer *nas__pointwise_back_panels(const nas_tensor *weight, int parts) {
    const size_t out = (size_t)weight->dims[0], in = (size_t)weight->dims[1] / (size_t)parts, panel = panel_width();
    const size_t columns = (size_t)nas__padded((int64_t)in) * (size_t)parts, block = (size_t)nas__block();
    nas__buffer *b = nas__floats(out * columns);
    if (!b) {
        return NULL;
    }
#pragma omp parallel for schedule(static) if (columns * out > NAS__SMALL)
    for (size_t column = 0; column < columns; column += block) {
        const size_t first = column / panel * panel, width = at_most(panel, columns - first);
        copy_block(weight, in, column, block, b->data + first * out + column - first, width);
    }
    return b;
}

void nas__give_pointwise(nas_tensor *weight, const float *rows) {
    enum { COLUMNS = 64 };
    nas__buffer *scratch;
    float *dw = nas__grad_begin(weight, &scratch);
    if (dw) {
        const size_t out = (size_t)weight->dims[0], in = (size_t)weight->dims[1];
        const size_t columns = (size_t)nas__padded(weight->dims[0]);
#pragma omp parallel for schedule(static) if (out * in > NAS__SMALL)
        for (size_t o = 0; o < out; o += COLUMNS) {
            transpose(rows + o, columns, in, at_most(COLUMNS, out - o), dw + o * in, in);
        }
        nas__grad_end(weight, scratch);
    }
}
