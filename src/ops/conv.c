/* conv.c - 2-D convolution. Grouped ones and what our own kernels (conv_fused.h) leave are oneDNN's; depthwise ones are
 * ours, because oneDNN's backward passes fall to a reference path for them (docs/decisions). Activations stay blocked,
 * except the network's input. */
#include "ops/conv_fused.h"

typedef struct conv_state {
    nas__conv_shape shape;
} conv_state;

/* --- bias of a depthwise convolution: one number per channel ------------------------------------- */
static void channel_bias_backward(nas__node *node) {
    nas_tensor *x = node->inputs[0], *bias = node->inputs[1], *y = node->outputs[0];
    nas__grad dy = nas__grad_of(y);
    int n = (int)y->dims[0], c = (int)y->dims[1], hw = (int)(y->dims[2] * y->dims[3]), padded = nas__padded(c);
    if (nas__wants(bias)) {
        double *sums = nas__arena_alloc(&y->tape->arena, 2 * (size_t)padded * sizeof *sums);
        float *db = sums ? nas__arena_alloc(&y->tape->arena, (size_t)c * sizeof *db) : NULL;
        if (db) {
            nas__late_grad late = {.g = dy.buffer->data, .scale = dy.scale};
            nas__kernel_table()->late_sums(n, c, hw, &late, dy.buffer->data, sums);
            for (int i = 0; i < c; i++) {
                db[i] = (float)sums[i];
            }
            nas__grad_add_array(bias, db);
        }
    }
    nas__grad_give(x, nas__buffer_ref(dy.buffer), dy.scale);
}

static nas_tensor *channel_bias(nas_tensor *x, nas_tensor *bias) {
    nas_tensor *y = x ? nas__like(x) : NULL;
    if (!y || nas__dry()) {
        return nas__traced("channel_bias", 2, (nas_tensor *[]){x, bias}, y);
    }
    int n = (int)x->dims[0], c = (int)x->dims[1], padded = nas__padded(c);
    nas__buffer *scale = nas__floats(2 * (size_t)padded);
    if (!scale) {
        return NULL;
    }
    for (int i = 0; i < padded; i++) {
        scale->data[i] = 1;
        scale->data[padded + i] = i < c ? nas__data(bias)[i] : 0;
    }
    nas__kernel_table()->late_values(n, c, (int)(x->dims[2] * x->dims[3]), nas__data(x),
                                     &(nas__on_load){.scale = scale->data, .shift = scale->data + padded}, y->data);
    nas__buffer_unref(scale);
    nas__record("channel_bias", channel_bias_backward, 2, (nas_tensor *[]){x, bias}, 1, &y, 0);
    return y;
}

/* --- dense and grouped --------------------------------------------------------------------------- */
static void dense_weight_gradient(const nas__conv_shape *s, nas_tensor *x, const float *dy, nas_tensor *weight,
                                  nas_tensor *bias) {
    nas__buffer *w_scratch = NULL, *b_scratch = NULL, *unwanted = NULL;
    float *dw = nas__wants(weight)                                     ? nas__grad_begin(weight, &w_scratch)
                : (unwanted = nas__floats((size_t)nas__count(weight))) ? unwanted->data
                                                                       : NULL;
    float *db = nas__wants(bias) ? nas__grad_begin(bias, &b_scratch) : NULL;
    if (dw && !nas__conv_backward_weights(s, nas__data(x), dy, dw, db)) {
        if (nas__wants(weight)) {
            nas__grad_end(weight, w_scratch);
        }
        if (db) {
            nas__grad_end(bias, b_scratch);
        }
    } else {
        nas__buffer_unref(w_scratch);
        nas__buffer_unref(b_scratch);
    }
    nas__buffer_unref(unwanted);
}

static void dense_backward(nas__node *node) {
    const nas__conv_shape *s = &((conv_state *)node->state)->shape;
    nas_tensor *x = node->inputs[0], *weight = node->inputs[1], *bias = node->n_inputs > 2 ? node->inputs[2] : NULL;
    const float *dy = nas__grad_data(node->outputs[0]);
    if (!dy) {
        return;
    }
    if (nas__wants(weight) || nas__wants(bias)) {
        dense_weight_gradient(s, x, dy, weight, bias);
    }
    nas__buffer *dx = nas__wants(x) ? nas__floats(nas__storage(x)) : NULL;
    if (dx) {
        nas__conv_backward_data(s, dy, nas__data(weight), dx->data);
        nas__grad_give(x, dx, 1);
    }
}

/* Blocked wherever oneDNN has a fast implementation for every pass that will run; the network's plain input is read as
 * it is. Shapes that oneDNN only serves in plain layout (narrow groups) take that. */
static void choose_layouts(nas__conv_shape *s, const nas_tensor *x) {
    bool train = nas__tape()->config.grad != 0, data = train && nas__wants(x);
    s->plain_src = x->layout == NAS__PLAIN && s->ic < 8 && !data;
    s->plain_dst = 0;
    if (s->plain_src && nas__conv_is_fast(s, data, train)) {
        return;
    }
    s->plain_src = 0;
    if (!nas__conv_is_fast(s, data, train)) {
        s->plain_src = s->plain_dst = 1;
    }
}

typedef struct own_layout {
    const nas__conv_shape *shape;
    bool bias;
} own_layout;

static nas_status make_own_layout(const nas_tensor *weight, const void *what, float *out) {
    const own_layout *own = what;
    return nas__conv_weights(own->shape, own->bias, weight->data, out);
}

/* With frozen weights oneDNN's own layout of them is made once. */
static nas_status forward(const nas__conv_shape *s, const float *x, nas_tensor *weight, const float *bias, float *y) {
    uint64_t form;
    size_t size = weight->frozen ? nas__conv_weights_size(s, bias != NULL, &form) : 0;
    if (!size) {
        return nas__conv_forward(s, x, nas__data(weight), bias, y);
    }
    nas__buffer *own = nas__prepared(weight, form, size, make_own_layout, &(own_layout){s, bias != NULL});
    nas_status status = own ? nas__conv_forward_prepared(s, x, own->data, bias, y) : nas_error_status();
    nas__buffer_unref(own);
    return status;
}

/* For AVX2 and an odd number of channel blocks, oneDNN 2.6 has no fast data gradient of a kernel of one column with a
 * stride; with a column of zeros at each side it has one. */
static nas_tensor *widen(const nas_tensor *x, nas_tensor *weight, nas__conv_shape *s) {
    bool train = nas__tape()->config.grad != 0;
    if (s->kw > 1 || s->kh == 1 || s->stride == 1 || s->pad_w || nas__conv_is_fast(s, train && nas__wants(x), train)) {
        return weight;
    }
    s->kw = 3;
    s->pad_w = s->dilation;
    return nas_pad(weight, 0, 0, 1, 1);
}

static nas_tensor *dense(nas_tensor *x, nas_tensor *weight, nas_tensor *bias, nas__conv_shape *s,
                         const int64_t out[4]) {
    choose_layouts(s, x);
    x = nas__as(x, s->plain_src ? NAS__PLAIN : NAS__BLOCKED);
    nas_tensor *y = x ? nas__new(4, out, s->plain_dst ? NAS__PLAIN : NAS__BLOCKED) : NULL;
    if (!y || forward(s, nas__data(x), weight, bias ? nas__data(bias) : NULL, y->data)) {
        return NULL;
    }
    nas__node *node =
        nas__record("conv", dense_backward, bias ? 3 : 2, (nas_tensor *[]){x, weight, bias}, 1, &y, sizeof(conv_state));
    if (node) {
        ((conv_state *)node->state)->shape = *s;
    }
    return y;
}

/* --- the operation ------------------------------------------------------------------------------- */
static int64_t padding_of(int padding, int64_t dilation, int64_t kernel) {
    return padding == NAS_SAME ? dilation * (kernel - 1) / 2 : padding;
}

static bool read_shape(const nas_tensor *x, const nas_tensor *w, const nas_tensor *bias, const nas_conv_args *a,
                       nas__conv_shape *s) {
    int64_t stride = a->stride ? a->stride : 1, dilation = a->dilation ? a->dilation : 1,
            groups = a->groups ? a->groups : 1;
    if (x->ndim != 4 || w->ndim != 4) {
        return nas__fail_null(NAS_SHAPE, "nas_conv2d: x %s and weight %s must have 4 dimensions", nas__shape(x),
                              nas__shape(w));
    }
    int64_t pad_h = padding_of(a->padding, dilation, w->dims[2]);
    int64_t pad_w =
        a->padding_w == NAS_NONE ? 0 : padding_of(a->padding_w ? a->padding_w : a->padding, dilation, w->dims[3]);
    if (stride < 1 || dilation < 1 || groups < 1 || pad_h < 0 || pad_w < 0) {
        return nas__fail_null(NAS_INVALID,
                              "nas_conv2d: stride %d, dilation %d, groups %d, padding %d, padding_w %d: "
                              "negative",
                              a->stride, a->dilation, a->groups, a->padding, a->padding_w);
    }
    if (x->dims[1] % groups || w->dims[0] % groups || w->dims[1] != x->dims[1] / groups) {
        return nas__fail_null(NAS_SHAPE, "nas_conv2d: weight %s does not fit x %s with %d groups", nas__shape(w),
                              nas__shape(x), (int)groups);
    }
    if (bias && nas__count(bias) != w->dims[0]) {
        return nas__fail_null(NAS_SHAPE, "nas_conv2d: bias %s must have %d elements", nas__shape(bias),
                              (int)w->dims[0]);
    }
    int64_t reach_h = x->dims[2] + 2 * pad_h - dilation * (w->dims[2] - 1) - 1;
    int64_t reach_w = x->dims[3] + 2 * pad_w - dilation * (w->dims[3] - 1) - 1;
    if (reach_h < 0 || reach_w < 0) {
        return nas__fail_null(NAS_SHAPE, "nas_conv2d: kernel %s is larger than the padded image %s", nas__shape(w),
                              nas__shape(x));
    }
    *s = (nas__conv_shape){.n = (int)x->dims[0],
                           .ic = (int)x->dims[1],
                           .ih = (int)x->dims[2],
                           .iw = (int)x->dims[3],
                           .oc = (int)w->dims[0],
                           .oh = (int)(reach_h / stride) + 1,
                           .ow = (int)(reach_w / stride) + 1,
                           .kh = (int)w->dims[2],
                           .kw = (int)w->dims[3],
                           .stride = (int)stride,
                           .dilation = (int)dilation,
                           .pad_h = (int)pad_h,
                           .pad_w = (int)pad_w,
                           .groups = (int)groups};
    return true;
}

static nas_tensor *traced(const char *name, nas_tensor *x, nas_tensor *weight, nas_tensor *bias,
                          const nas__conv_shape *s, const int64_t out[4]) {
    const nas__told told = {
        .stride = s->stride, .dilation = s->dilation, .groups = s->groups, .pad_h = s->pad_h, .pad_w = s->pad_w};
    return nas__traced_as(name, &told, bias ? 3 : 2, (nas_tensor *[]){x, weight, bias}, nas__new(4, out, NAS__BLOCKED));
}

nas_tensor *nas_conv2d(nas_tensor *x, nas_tensor *weight, nas_tensor *bias, nas_conv_args args) {
    nas__conv_shape s;
    if (!x || !weight || !read_shape(x, weight, bias, &args, &s)) {
        return nas__null_input("nas_conv2d");
    }
    int64_t out[4] = {s.n, s.oc, s.oh, s.ow};
    nas__count_macs((uint64_t)s.n * s.oc * s.oh * s.ow * (s.ic / s.groups) * s.kh * s.kw);
    if (x->is_zero && !bias) {
        return nas_zero(4, out);
    }
    weight = nas__as(weight, NAS__PLAIN);
    bias = nas__as(bias, NAS__PLAIN);
    if (!nas__tape() || !weight) {
        return NULL;
    }
    if (s.groups == s.ic && s.groups == s.oc && s.groups > 1) {
        nas_tensor *y = nas__dry() ? traced("depthwise", x, weight, NULL, &s, out) : nas__depthwise(x, weight, &s);
        return bias ? channel_bias(y, bias) : y;
    }
    if (nas__dry()) {
        return traced("conv", x, weight, bias, &s, out);
    }
    if (nas__is_grouped_pointwise(&s)) {
        weight = nas__dense_weight(weight, s.groups);
        s.groups = 1;
        if (!weight) {
            return NULL;
        }
    }
    if (nas__is_unit(x, bias, &s)) {
        return nas__conv_unit(x, weight, bias, &s);
    }
    if (nas__is_bf16(x, bias, &s)) {
        return nas__conv_bf16(x, weight, bias, &s);
    }
    if (nas__is_pointwise(x, bias, &s)) {
        return nas__conv_pointwise(x, weight, bias, &s);
    }
    if (nas__is_conv3(x, bias, &s)) {
        return nas__conv_winograd(x, weight, bias, &s);
    }
    weight = widen(x, weight, &s);
    return weight ? dense(x, weight, bias, &s, out) : NULL;
}
