/* onednn_conv.c - convolution in its three directions. The activations' layouts are given, the primitive chooses that
 * of the weights, and the plan takes plain weights to it (or their gradient back). */
#include "kernels/kernels.h"
#include "kernels/onednn.h"
#include "kernels/onednn_cache.h"
#include "core/error.h"

#include <stdio.h>
#include <string.h>

typedef struct request {
    const nas__conv_shape *shape;
    nas__direction direction;
    bool bias;
} request;

nas__conv_shape nas__conv_square(int n, int in, int out, int size, int kernel, int stride, int dilation, int groups) {
    const int pad = dilation * (kernel - 1) / 2, small = (size - 1) / stride + 1;
    return (nas__conv_shape){.n = n,
                             .ic = in,
                             .ih = size,
                             .iw = size,
                             .oc = out,
                             .oh = small,
                             .ow = small,
                             .kh = kernel,
                             .kw = kernel,
                             .stride = stride,
                             .dilation = dilation,
                             .pad_h = pad,
                             .pad_w = pad,
                             .groups = groups};
}

static nas__md activation_md(const nas__conv_shape *s, int channels, int height, int width, int plain) {
    const int64_t dims[] = {s->n, channels, height, width};
    if (s->bf16) {
        return nas__md_typed(4, dims, dnnl_bf16, dnnl_nhwc);
    }
    return nas__md_tag(4, dims, plain ? dnnl_nchw : nas__kernel_table()->block == 16 ? dnnl_nChw16c : dnnl_nChw8c);
}

/* As we have them, or as the primitive likes them. */
static nas__md weight_md(const nas__conv_shape *s, nas__direction direction, bool plain) {
    const dnnl_data_type_t type = s->bf16 && !plain && direction != NAS__BACKWARD_WEIGHTS ? dnnl_bf16 : dnnl_f32;
    if (s->groups == 1) {
        const int64_t dims[] = {s->oc, s->ic, s->kh, s->kw};
        return nas__md_typed(4, dims, type, plain ? dnnl_oihw : dnnl_format_tag_any);
    }
    const int64_t dims[] = {s->groups, s->oc / s->groups, s->ic / s->groups, s->kh, s->kw};
    return nas__md_typed(5, dims, type, plain ? dnnl_goihw : dnnl_format_tag_any);
}

static void free_desc(nas__conv_desc *d) {
    nas__md_free(d->src);
    nas__md_free(d->weight);
    nas__md_free(d->bias);
    nas__md_free(d->dst);
}

static bool make_desc(nas__conv_desc *d, const nas__conv_shape *s, bool bias) {
    *d = (nas__conv_desc){.strides = {s->stride, s->stride},
                          .dilates = {s->dilation - 1, s->dilation - 1},
                          .padding_l = {s->pad_h, s->pad_w},
                          .padding_r = {s->pad_h, s->pad_w}};
    d->src = activation_md(s, s->ic, s->ih, s->iw, s->plain_src);
    d->dst = activation_md(s, s->oc, s->oh, s->ow, s->plain_dst);
    d->weight = weight_md(s, NAS__FORWARD, false);
    d->bias = bias ? nas__md_tag(1, (const int64_t[]){s->oc}, dnnl_x) : NULL;
    return d->src && d->dst && d->weight && (d->bias || !bias);
}

/* The forward pass's weights may be of another type than their gradient. */
static dnnl_status_t make_backward_weights(dnnl_primitive_desc_t *pd, const request *r, nas__conv_desc *d,
                                           const_dnnl_primitive_desc_t forward) {
    nas__md_free(d->weight);
    d->weight = weight_md(r->shape, NAS__BACKWARD_WEIGHTS, false);
    return d->weight ? nas__pd_conv_backward_weights(pd, nas__plan_engine(), d, forward, nas__plan_attr())
                     : dnnl_out_of_memory;
}

/* Backward descriptors need that of the forward pass as a hint. */
static dnnl_status_t make_pd(dnnl_primitive_desc_t *pd, const request *r) {
    dnnl_engine_t engine = nas__plan_engine();
    const_dnnl_primitive_attr_t attr = nas__plan_attr();
    nas__conv_desc d;
    dnnl_primitive_desc_t forward = NULL;
    dnnl_status_t status =
        make_desc(&d, r->shape, r->bias) ? nas__pd_conv_forward(&forward, engine, &d, attr) : dnnl_invalid_arguments;
    if (status || r->direction == NAS__FORWARD) {
        *pd = forward;
    } else {
        status = r->direction == NAS__BACKWARD_DATA ? nas__pd_conv_backward_data(pd, engine, &d, forward, attr)
                                                    : make_backward_weights(pd, r, &d, forward);
        dnnl_primitive_desc_destroy(forward);
    }
    free_desc(&d);
    return status;
}

static const char *const labels[] = {"conv_fwd", "conv_bwd_data", "conv_bwd_weights"};

static const char *describe(const request *r, char text[160]) {
    const nas__conv_shape *s = r->shape;
    snprintf(text, 160, "%s of (%d,%d,%d,%d) to (%d,%d,%d,%d), kernel %dx%d, stride %d, dilation %d, groups %d",
             labels[r->direction], s->n, s->ic, s->ih, s->iw, s->n, s->oc, s->oh, s->ow, s->kh, s->kw, s->stride,
             s->dilation, s->groups);
    return text;
}

/* Positions of the arguments: source, weights, destination of the direction, then the bias. */
static nas_status build(nas__plan *plan, const void *what) {
    static const int args[][4] = {
        {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST, DNNL_ARG_BIAS},
        {DNNL_ARG_DIFF_DST, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_SRC},
        {DNNL_ARG_SRC, DNNL_ARG_DIFF_WEIGHTS, DNNL_ARG_DIFF_DST, DNNL_ARG_DIFF_BIAS},
    };
    const request *r = what;
    char text[160];
    dnnl_primitive_desc_t pd = NULL;
    if (nas__onednn_check(make_pd(&pd, r), describe(r, text))) {
        return nas_error_status();
    }
    nas__md plain = weight_md(r->shape, r->direction, true);
    nas_status status = plain ? nas__plan_primitive(plan, labels[r->direction], pd, 3 + r->bias, args[r->direction])
                              : nas__fail(NAS_NO_MEMORY, "no memory for %s", text);
    if (!status) {
        status = nas__plan_stage(plan, pd, 1, plain, r->direction == NAS__BACKWARD_WEIGHTS);
    }
    nas__md_free(plain);
    dnnl_primitive_desc_destroy(pd);
    return status;
}

static nas__plan_key key_of(const nas__conv_shape *s, nas__plan_kind kind, int variant) {
    return (nas__plan_key){{(int32_t)kind, 0,        variant,   s->n,         s->ic,        s->ih,     s->iw,
                            s->oc,         s->oh,    s->ow,     s->kh,        s->kw,        s->stride, s->dilation,
                            s->pad_h,      s->pad_w, s->groups, s->plain_src, s->plain_dst, s->bf16}};
}

static nas__plan *plan_of(const request *r) {
    static const nas__plan_kind kinds[] = {NAS__PLAN_CONV_FORWARD, NAS__PLAN_CONV_BACKWARD_DATA,
                                           NAS__PLAN_CONV_BACKWARD_WEIGHTS};
    nas__plan_key key = key_of(r->shape, kinds[r->direction], r->bias);
    return nas__plan_get(&key, build, r);
}

static nas_status run(const request *r, const void *const *data) {
    nas__plan *plan = plan_of(r);
    return plan ? nas__plan_run(plan, data) : nas_error_status();
}

nas_status nas__conv_forward(const nas__conv_shape *s, const void *src, const float *weight, const float *bias,
                             void *dst) {
    return run(&(request){s, NAS__FORWARD, bias != NULL}, (const void *[]){src, weight, dst, bias});
}

size_t nas__conv_weights_size(const nas__conv_shape *s, bool bias, uint64_t *form) {
    nas__plan *plan = plan_of(&(request){s, NAS__FORWARD, bias});
    *form = plan ? plan->hash | 1ull << 63 : 0;
    return plan && plan->reorder.primitive ? plan->staged_bytes / sizeof(float) : 0;
}

nas_status nas__conv_weights(const nas__conv_shape *s, bool bias, const float *weight, float *prepared) {
    nas__plan *plan = plan_of(&(request){s, NAS__FORWARD, bias});
    return plan ? nas__plan_prepare(plan, weight, prepared) : nas_error_status();
}

nas_status nas__conv_forward_prepared(const nas__conv_shape *s, const float *src, const float *prepared,
                                      const float *bias, float *dst) {
    nas__plan *plan = plan_of(&(request){s, NAS__FORWARD, bias != NULL});
    return plan ? nas__plan_run_prepared(plan, (const void *[]){src, prepared, dst, bias}) : nas_error_status();
}

nas_status nas__conv_backward_data(const nas__conv_shape *s, const void *diff_dst, const float *weight,
                                   void *diff_src) {
    return run(&(request){s, NAS__BACKWARD_DATA, false}, (const void *[]){diff_dst, weight, diff_src});
}

nas_status nas__conv_backward_weights(const nas__conv_shape *s, const void *src, const void *diff_dst,
                                      float *diff_weight, float *diff_bias) {
    return run(&(request){s, NAS__BACKWARD_WEIGHTS, diff_bias != NULL},
               (const void *[]){src, diff_weight, diff_dst, diff_bias});
}

/* --- speed --------------------------------------------------------------------------------------- */
static bool direction_is_fast(const nas__conv_shape *s, nas__direction direction) {
    dnnl_primitive_desc_t pd = NULL;
    if (make_pd(&pd, &(request){s, direction, false})) {
        return false;
    }
    const char *name = nas__implementation(pd);
    /* "gemm:jit" lowers to im2col and a product per image; "brgemm" is another matter. */
    bool fast = !strstr(name, "ref") && strncmp(name, "gemm", 4) != 0 && !strstr(name, ":gemm");
    dnnl_primitive_desc_destroy(pd);
    return fast;
}

typedef struct question {
    const nas__conv_shape *shape;
    bool data, weights;
} question;

static nas_status answer(nas__plan *plan, const void *what) {
    const question *q = what;
    plan->fast = direction_is_fast(q->shape, NAS__FORWARD) &&
                 (!q->data || direction_is_fast(q->shape, NAS__BACKWARD_DATA)) &&
                 (!q->weights || direction_is_fast(q->shape, NAS__BACKWARD_WEIGHTS));
    return NAS_OK;
}

bool nas__conv_is_fast(const nas__conv_shape *s, bool backward_data, bool backward_weights) {
    nas__plan_key key = key_of(s, NAS__PLAN_CONV_SPEED, backward_data + 2 * backward_weights);
    nas__plan *plan = nas__plan_get(&key, answer, &(question){s, backward_data, backward_weights});
    return plan && plan->fast;
}
