/* shape.c - concatenation, slices, padding, reshaping. */
#include "ops/common.h"
#include "tensor/late.h"

#include <string.h>

/* --- pieces along one dimension ------------------------------------------------------------------
 * Seen along `dim`, a tensor is `outer` rows of `row` floats; a piece is a stretch of each row. The blocked layout has
 * the same form, but along the channels only when every border lies between blocks: other pieces move channel by
 * channel. */
typedef struct rows {
    size_t outer, row;
} rows;

static rows rows_along(const nas_tensor *t, int dim) {
    size_t outer = 1;
    for (int i = 0; i < dim; i++) {
        outer *= i == 1 && t->layout == NAS__BLOCKED ? (size_t)nas__padded(t->dims[1]) / (size_t)nas__block()
                                                     : (size_t)t->dims[i];
    }
    return (rows){outer, nas__storage(t) / outer};
}

static void copy_rows(rows dst, float *to, rows src, const float *from, size_t length) {
#pragma omp parallel for schedule(static) if (dst.outer > 1 && dst.outer * length > NAS__SMALL)
    for (size_t i = 0; i < dst.outer; i++) {
        memcpy(to + i * dst.row, from + i * src.row, length * sizeof(float));
    }
}

/* Copies `count` channels of blocked src, from channel `from`, to channel `to` of blocked dst, in runs that cross no
 * border between blocks on either side. */
static void copy_channels(const nas_tensor *dst, float *y, int64_t to, const nas_tensor *src, const float *x,
                          int64_t from, int64_t count) {
    int64_t block = nas__block(), hw = src->dims[2] * src->dims[3];
    int64_t dst_planes = nas__padded(dst->dims[1]) / block, src_planes = nas__padded(src->dims[1]) / block;
#pragma omp parallel for schedule(static) if (src->dims[0] * count * hw > NAS__SMALL)
    for (int64_t n = 0; n < src->dims[0]; n++) {
        for (int64_t c = 0, run; c < count; c += run) {
            int64_t d = to + c, s = from + c, room = block - (d % block > s % block ? d % block : s % block);
            run = count - c < room ? count - c : room;
            float *out = y + (n * dst_planes + d / block) * hw * block + d % block;
            const float *in = x + (n * src_planes + s / block) * hw * block + s % block;
            for (int64_t i = 0; i < hw; i++) {
                for (int64_t k = 0; k < run; k++) {
                    out[i * block + k] = in[i * block + k];
                }
            }
        }
    }
}

/* The piece of `whole` that starts at `begin` of dimension `dim` and has part's shape: copied into part, or from it. */
static void copy_piece(const nas_tensor *whole, float *w, const nas_tensor *part, float *p, int dim, int64_t begin,
                       bool into_whole) {
    int64_t length = part->dims[dim], block = nas__block();
    if (dim == 1 && whole->layout == NAS__BLOCKED && (begin % block || length % block)) {
        if (into_whole) {
            copy_channels(whole, w, begin, part, p, 0, length);
        } else {
            copy_channels(part, p, 0, whole, w, begin, length);
        }
        return;
    }
    rows small = rows_along(part, dim), big = rows_along(whole, dim);
    w += (size_t)begin * (small.row / (size_t)length);
    if (into_whole) {
        copy_rows(big, w, small, p, small.row);
    } else {
        copy_rows(small, p, big, w, small.row);
    }
}

/* Tails that no piece covers have to be zero. */
static void clear_tail(const nas_tensor *t, float *data) {
    if (t->layout == NAS__BLOCKED && t->dims[1] % nas__block()) {
        memset(data, 0, nas__storage(t) * sizeof(float));
    }
}

static bool bad_dim(const char *op, const nas_tensor *x, int dim) {
    if (dim < 0 || dim >= x->ndim) {
        nas__fail(NAS_SHAPE, "%s: dimension %d of a tensor of shape %s", op, dim, nas__shape(x));
        return true;
    }
    return false;
}

typedef struct piece {
    int dim;
    int64_t begin;
} piece;

/* --- concat -------------------------------------------------------------------------------------- */
static void concat_backward(nas__node *node) {
    nas_tensor *y = node->outputs[0];
    float *dy = nas__grad_data(y);
    int dim = ((piece *)node->state)->dim;
    int64_t at = 0;
    for (int i = 0; dy && i < node->n_inputs; i++) {
        nas_tensor *x = node->inputs[i];
        nas__buffer *dx = nas__wants(x) ? nas__floats(nas__storage(x)) : NULL;
        if (dx) {
            clear_tail(x, dx->data);
            copy_piece(y, dy, x, dx->data, dim, at, false);
            nas__grad_give(x, dx, 1);
        }
        at += x->dims[dim];
    }
}

static nas__layout concat_layout(int n, nas_tensor *const *x) {
    bool blocked = false;
    for (int i = 0; i < n; i++) {
        blocked = blocked || (x[i]->layout == NAS__BLOCKED && !x[i]->is_zero);
    }
    return blocked ? NAS__BLOCKED : NAS__PLAIN;
}

static bool concat_fits(int n, nas_tensor *const *x, int dim, int64_t dims[NAS_MAX_DIMS]) {
    memcpy(dims, x[0]->dims, sizeof x[0]->dims);
    dims[dim] = 0;
    for (int i = 0; i < n; i++) {
        for (int d = 0; d < x[0]->ndim; d++) {
            if (x[i]->ndim != x[0]->ndim || (d != dim && x[i]->dims[d] != x[0]->dims[d])) {
                return nas__fail_null(NAS_SHAPE, "nas_concat: %s does not continue %s along dimension %d",
                                      nas__shape(x[i]), nas__shape(x[0]), dim);
            }
        }
        dims[dim] += x[i]->dims[dim];
    }
    return true;
}

static bool fill_concat(nas_tensor *y, int n, nas_tensor *const *list, int dim) {
    clear_tail(y, y->data);
    int64_t at = 0;
    for (int i = 0; i < n; at += list[i++]->dims[dim]) {
        float *part = nas__data(list[i]);
        if (!part) {
            return false;
        }
        copy_piece(y, y->data, list[i], part, dim, at, true);
    }
    nas__node *node = nas__record("concat", concat_backward, n, list, 1, &y, sizeof(piece));
    if (node) {
        ((piece *)node->state)->dim = dim;
    }
    return true;
}

static void compute_concat(nas_tensor *y) {
    const nas__late_concat *c = y->late->detail;
    if (nas__give_memory(y)) {
        fill_concat(y, c->n, c->parts, 1);
    }
}

static bool equal_channels(int n, nas_tensor *const *x) {
    for (int i = 0; i < n; i++) {
        if (x[i]->dims[1] != x[0]->dims[1]) {
            return false;
        }
    }
    return true;
}

/* Those that read a part where it lies finish it on load. */
static bool may_stay_late(const nas_tensor *x, nas__layout layout) {
    return layout == NAS__BLOCKED && x->late && !x->data &&
           (x->late->kind == NAS__LATE_RELU || x->late->kind == NAS__LATE_NORM);
}

/* 1x1 convolutions read equal parts where they lie, splits into halves all of them. */
static nas_tensor *late_concat(int n, nas_tensor **list, const int64_t dims[4]) {
    nas_tensor *y = nas__postpone(&(nas__late){.kind = NAS__LATE_CONCAT, .compute = compute_concat}, dims,
                                  sizeof(nas__late_concat));
    if (y) {
        *(nas__late_concat *)y->late->detail = (nas__late_concat){n, equal_channels(n, list), list};
        for (int i = 0; i < n; i++) {
            y->needs_grad |= nas__wants(list[i]);
        }
    }
    return y;
}

nas_tensor *nas_concat(int n, nas_tensor *const *x, int dim) {
    for (int i = 0; i < n; i++) {
        if (!x[i]) {
            return nas__null_input("nas_concat");
        }
    }
    int64_t dims[NAS_MAX_DIMS];
    if (n < 1 || bad_dim("nas_concat", x[0], dim) || !concat_fits(n, x, dim, dims)) {
        return nas__null_input("nas_concat");
    }
    nas__layout layout = concat_layout(n, x);
    if (nas__dry()) {
        return nas__traced_as("concat", &(nas__told){.dim = dim}, n, x, nas__new(x[0]->ndim, dims, layout));
    }
    bool late = layout == NAS__BLOCKED && dim == 1 && n > 1 && n <= NAS__MOST_PARTS;
    nas_tensor **list = nas__tape() ? nas__arena_alloc(&nas__tape()->arena, (size_t)n * sizeof *list) : NULL;
    for (int i = 0; list && i < n; i++) {
        list[i] = late && may_stay_late(x[i], layout) ? x[i] : nas__as(x[i], layout);
        list = list[i] ? list : NULL;
    }
    if (!list) {
        return NULL;
    }
    if (late) {
        return late_concat(n, list, dims);
    }
    nas_tensor *y = nas__new(x[0]->ndim, dims, layout);
    return y && fill_concat(y, n, list, dim) ? y : NULL;
}

/* --- slice --------------------------------------------------------------------------------------- */
static void slice_backward(nas__node *node) {
    nas_tensor *x = node->inputs[0], *y = node->outputs[0];
    const piece *p = node->state;
    float *dy = nas__grad_data(y);
    nas__buffer *dx = dy ? nas__floats(nas__storage(x)) : NULL;
    if (dx) {
        memset(dx->data, 0, nas__storage(x) * sizeof(float));
        copy_piece(x, dx->data, y, dy, p->dim, p->begin, true);
        nas__grad_give(x, dx, 1);
    }
}

nas_tensor *nas_slice(nas_tensor *x, int dim, int64_t begin, int64_t length) {
    if (!x || bad_dim("nas_slice", x, dim)) {
        return nas__null_input("nas_slice");
    }
    if (begin < 0 || length < 1 || begin + length > x->dims[dim]) {
        return nas__fail_null(NAS_SHAPE, "nas_slice: [%lld, %lld) of dimension %d of %s", (long long)begin,
                              (long long)(begin + length), dim, nas__shape(x));
    }
    if (length == x->dims[dim]) {
        return x;
    }
    int64_t dims[NAS_MAX_DIMS];
    memcpy(dims, x->dims, sizeof dims);
    dims[dim] = length;
    if (x->is_zero) {
        return nas_zero(x->ndim, dims);
    }
    nas_tensor *y = nas__new(x->ndim, dims, x->layout);
    if (!y || nas__dry()) {
        return nas__traced_as("slice", &(nas__told){.dim = dim, .from = begin}, 1, &x, y);
    }
    float *values = nas__data(x);
    if (!values) {
        return NULL;
    }
    clear_tail(y, y->data);
    copy_piece(x, values, y, y->data, dim, begin, false);
    nas__node *node = nas__record("slice", slice_backward, 1, &x, 1, &y, sizeof(piece));
    if (node) {
        *(piece *)node->state = (piece){dim, begin};
    }
    return y;
}

bool nas_split(nas_tensor *x, int dim, int n, const int64_t *lengths, nas_tensor **parts) {
    int64_t sum = 0;
    for (int i = 0; i < n; i++) {
        parts[i] = NULL;
    }
    if (!x || bad_dim("nas_split", x, dim)) {
        nas__null_input("nas_split");
        return false;
    }
    for (int i = 0; i < n; i++) {
        sum += lengths[i];
    }
    if (sum != x->dims[dim]) {
        nas__fail(NAS_SHAPE, "nas_split: the lengths add up to %lld, dimension %d of %s does not", (long long)sum, dim,
                  nas__shape(x));
        return false;
    }
    int64_t at = 0;
    bool ok = true;
    for (int i = 0; i < n; at += lengths[i++]) {
        parts[i] = nas_slice(x, dim, at, lengths[i]);
        ok = ok && parts[i];
    }
    return ok;
}

/* --- pad ----------------------------------------------------------------------------------------- */
typedef struct frame {
    int top, left;
} frame;

/* dst (dh x dw) receives src (sh x sw) moved down and right; what is not covered is zero. */
static void shift_images(const nas_tensor *dst, float *to, const nas_tensor *src, const float *from, int down,
                         int right) {
    int64_t dh = dst->dims[2], dw = dst->dims[3], sh = src->dims[2], sw = src->dims[3];
    int64_t inner = dst->layout == NAS__BLOCKED ? nas__block() : 1,
            planes = (int64_t)nas__storage(dst) / (dh * dw * inner);
    int64_t first = right < 0 ? -right : 0, last = sw < dw - right ? sw : dw - right;
#pragma omp parallel for schedule(static) if (planes * dh * dw * inner > NAS__SMALL)
    for (int64_t p = 0; p < planes; p++) {
        memset(to + p * dh * dw * inner, 0, (size_t)(dh * dw * inner) * sizeof(float));
        for (int64_t y = 0; y < sh; y++) {
            if (y + down >= 0 && y + down < dh && last > first) {
                memcpy(to + ((p * dh + y + down) * dw + first + right) * inner,
                       from + ((p * sh + y) * sw + first) * inner, (size_t)((last - first) * inner) * sizeof(float));
            }
        }
    }
}

static void pad_backward(nas__node *node) {
    nas_tensor *x = node->inputs[0], *y = node->outputs[0];
    const frame *f = node->state;
    const float *dy = nas__grad_data(y);
    nas__buffer *dx = dy ? nas__floats(nas__storage(x)) : NULL;
    if (dx) {
        shift_images(x, dx->data, y, dy, -f->top, -f->left);
        nas__grad_give(x, dx, 1);
    }
}

static bool fill_pad(nas_tensor *y, nas_tensor *x, int top, int left) {
    const float *values = nas__data(x);
    if (!values) {
        return false;
    }
    shift_images(y, y->data, x, values, top, left);
    nas__node *node = nas__record("pad", pad_backward, 1, &x, 1, &y, sizeof(frame));
    if (node) {
        *(frame *)node->state = (frame){top, left};
    }
    return true;
}

static void compute_crop(nas_tensor *y) {
    const nas__late_crop *crop = y->late->detail;
    if (nas__give_memory(y)) {
        fill_pad(y, y->late->source, -crop->top, -crop->left);
    }
}

/* 1x1 convolutions read what is left of x where it lies. */
static nas_tensor *late_crop(nas_tensor *x, const int64_t dims[4], int top, int left) {
    nas_tensor *y = nas__postpone(&(nas__late){.kind = NAS__LATE_CROP, .compute = compute_crop, .source = x}, dims,
                                  sizeof(nas__late_crop));
    if (y) {
        *(nas__late_crop *)y->late->detail = (nas__late_crop){top, left};
    }
    return y;
}

nas_tensor *nas_pad(nas_tensor *x, int top, int bottom, int left, int right) {
    if (!x) {
        return nas__null_input("nas_pad");
    }
    int64_t dims[4] = {x->dims[0], x->dims[1], x->dims[2] + top + bottom, x->dims[3] + left + right};
    if (x->ndim != 4 || dims[2] < 1 || dims[3] < 1) {
        return nas__fail_null(NAS_SHAPE, "nas_pad: %s with %d,%d,%d,%d around it", nas__shape(x), top, bottom, left,
                              right);
    }
    if (x->is_zero) {
        return nas_zero(4, dims);
    }
    if (nas__dry()) {
        return nas__traced_as("pad", &(nas__told){.pad_h = top, .pad_w = left}, 1, &x, nas__new(4, dims, x->layout));
    }
    if (x->layout == NAS__BLOCKED && top <= 0 && bottom <= 0 && left <= 0 && right <= 0) {
        return late_crop(x, dims, -top, -left);
    }
    nas_tensor *y = nas__new(4, dims, x->layout);
    return y && fill_pad(y, x, top, left) ? y : NULL;
}

/* --- reshape ------------------------------------------------------------------------------------- */
static void reshape_backward(nas__node *node) {
    nas__grad dy = nas__grad_of(node->outputs[0]);
    nas__grad_give(node->inputs[0], nas__buffer_ref(dy.buffer), dy.scale);
}

/* The plain result of a reshape keeps that layout even when it is 4-D: its memory is the input's. */
nas_tensor *nas_reshape(nas_tensor *x, int ndim, const int64_t *dims) {
    if (!x) {
        return nas__null_input("nas_reshape");
    }
    int64_t shape[NAS_MAX_DIMS], known = 1, count = nas__count(x);
    int open = -1;
    for (int i = 0; i < ndim && ndim <= NAS_MAX_DIMS; i++) {
        shape[i] = dims[i];
        if (dims[i] < -1 || dims[i] == 0 || (dims[i] == -1 && open >= 0)) {
            return nas__fail_null(
                NAS_SHAPE, "nas_reshape: dimension %d of the new shape is %lld; one may be -1, the others are positive",
                i, (long long)dims[i]);
        }
        known *= dims[i] == -1 ? 1 : dims[i];
        open = dims[i] == -1 ? i : open;
    }
    if (open >= 0) {
        shape[open] = count / known;
        known *= shape[open];
    }
    if (ndim < 1 || ndim > NAS_MAX_DIMS || known != count) {
        return nas__fail_null(NAS_SHAPE, "nas_reshape: %s has %lld elements, the new shape %lld", nas__shape(x),
                              (long long)count, (long long)known);
    }
    if (x->is_zero) {
        return nas_zero(ndim, shape);
    }
    x = nas__as(x, NAS__PLAIN);
    nas_tensor *y = x ? nas__alias(x, ndim, shape) : NULL;
    if (y) {
        nas__record("reshape", reshape_backward, 1, &x, 1, &y, 0);
    }
    return y;
}

nas_tensor *nas_flatten(nas_tensor *x) {
    return x ? nas_reshape(x, 2, (int64_t[]){x->dims[0], -1}) : nas__null_input("nas_flatten");
}
