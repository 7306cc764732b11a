/* onednn_compat.c - see onednn_compat.h */
#include "kernels/onednn_compat.h"

#include <stdlib.h>

#if DNNL_VERSION_MAJOR >= 3

nas__md nas__md_typed(int ndims, const int64_t *dims, dnnl_data_type_t type, dnnl_format_tag_t tag) {
    nas__md md = NULL;
    return dnnl_memory_desc_create_with_tag(&md, ndims, dims, type, tag) ? NULL : md;
}
nas__md nas__md_strides(int ndims, const int64_t *dims, const int64_t *strides) {
    nas__md md = NULL;
    return dnnl_memory_desc_create_with_strides(&md, ndims, dims, dnnl_f32, strides) ? NULL : md;
}
void nas__md_free(nas__md md) {
    if (md) {
        dnnl_memory_desc_destroy(md);
    }
}
dnnl_status_t nas__pd_conv_forward(dnnl_primitive_desc_t *pd, dnnl_engine_t e, const nas__conv_desc *d,
                                   const_dnnl_primitive_attr_t attr) {
    return dnnl_convolution_forward_primitive_desc_create(pd, e, dnnl_forward_training, dnnl_convolution_direct, d->src,
                                                          d->weight, d->bias, d->dst, d->strides, d->dilates,
                                                          d->padding_l, d->padding_r, attr);
}
dnnl_status_t nas__pd_conv_backward_data(dnnl_primitive_desc_t *pd, dnnl_engine_t e, const nas__conv_desc *d,
                                         const_dnnl_primitive_desc_t hint, const_dnnl_primitive_attr_t attr) {
    return dnnl_convolution_backward_data_primitive_desc_create(pd, e, dnnl_convolution_direct, d->src, d->weight,
                                                                d->dst, d->strides, d->dilates, d->padding_l,
                                                                d->padding_r, hint, attr);
}
dnnl_status_t nas__pd_conv_backward_weights(dnnl_primitive_desc_t *pd, dnnl_engine_t e, const nas__conv_desc *d,
                                            const_dnnl_primitive_desc_t hint, const_dnnl_primitive_attr_t attr) {
    return dnnl_convolution_backward_weights_primitive_desc_create(pd, e, dnnl_convolution_direct, d->src, d->weight,
                                                                   d->bias, d->dst, d->strides, d->dilates,
                                                                   d->padding_l, d->padding_r, hint, attr);
}
dnnl_status_t nas__pd_matmul(dnnl_primitive_desc_t *pd, dnnl_engine_t e, nas__md a, nas__md b, nas__md c,
                             const_dnnl_primitive_attr_t attr) {
    return dnnl_matmul_primitive_desc_create(pd, e, a, b, NULL, c, attr);
}
dnnl_status_t nas__pd_eltwise_forward(dnnl_primitive_desc_t *pd, dnnl_engine_t e, dnnl_alg_kind_t kind, nas__md data,
                                      float alpha, const_dnnl_primitive_attr_t attr) {
    return dnnl_eltwise_forward_primitive_desc_create(pd, e, dnnl_forward_training, kind, data, data, alpha, 0, attr);
}
dnnl_status_t nas__pd_eltwise_backward(dnnl_primitive_desc_t *pd, dnnl_engine_t e, dnnl_alg_kind_t kind, nas__md data,
                                       float alpha, const_dnnl_primitive_desc_t hint,
                                       const_dnnl_primitive_attr_t attr) {
    return dnnl_eltwise_backward_primitive_desc_create(pd, e, kind, data, data, data, alpha, 0, hint, attr);
}

#else /* 2.x: descriptors are structs, and an operation descriptor comes first */

static nas__md keep(dnnl_status_t status, const dnnl_memory_desc_t *value) {
    nas__md md = status ? NULL : malloc(sizeof *md);
    if (md) {
        *md = *value;
    }
    return md;
}
nas__md nas__md_typed(int ndims, const int64_t *dims, dnnl_data_type_t type, dnnl_format_tag_t tag) {
    dnnl_memory_desc_t md;
    return keep(dnnl_memory_desc_init_by_tag(&md, ndims, dims, type, tag), &md);
}
nas__md nas__md_strides(int ndims, const int64_t *dims, const int64_t *strides) {
    dnnl_memory_desc_t md;
    return keep(dnnl_memory_desc_init_by_strides(&md, ndims, dims, dnnl_f32, strides), &md);
}
void nas__md_free(nas__md md) { free(md); }

dnnl_status_t nas__pd_conv_forward(dnnl_primitive_desc_t *pd, dnnl_engine_t e, const nas__conv_desc *d,
                                   const_dnnl_primitive_attr_t attr) {
    dnnl_convolution_desc_t desc;
    dnnl_status_t status = dnnl_dilated_convolution_forward_desc_init(
        &desc, dnnl_forward_training, dnnl_convolution_direct, d->src, d->weight, d->bias, d->dst, d->strides,
        d->dilates, d->padding_l, d->padding_r);
    return status ? status : dnnl_primitive_desc_create(pd, &desc, attr, e, NULL);
}
dnnl_status_t nas__pd_conv_backward_data(dnnl_primitive_desc_t *pd, dnnl_engine_t e, const nas__conv_desc *d,
                                         const_dnnl_primitive_desc_t hint, const_dnnl_primitive_attr_t attr) {
    dnnl_convolution_desc_t desc;
    dnnl_status_t status = dnnl_dilated_convolution_backward_data_desc_init(
        &desc, dnnl_convolution_direct, d->src, d->weight, d->dst, d->strides, d->dilates, d->padding_l, d->padding_r);
    return status ? status : dnnl_primitive_desc_create(pd, &desc, attr, e, hint);
}
dnnl_status_t nas__pd_conv_backward_weights(dnnl_primitive_desc_t *pd, dnnl_engine_t e, const nas__conv_desc *d,
                                            const_dnnl_primitive_desc_t hint, const_dnnl_primitive_attr_t attr) {
    dnnl_convolution_desc_t desc;
    dnnl_status_t status =
        dnnl_dilated_convolution_backward_weights_desc_init(&desc, dnnl_convolution_direct, d->src, d->weight, d->bias,
                                                            d->dst, d->strides, d->dilates, d->padding_l, d->padding_r);
    return status ? status : dnnl_primitive_desc_create(pd, &desc, attr, e, hint);
}
dnnl_status_t nas__pd_matmul(dnnl_primitive_desc_t *pd, dnnl_engine_t e, nas__md a, nas__md b, nas__md c,
                             const_dnnl_primitive_attr_t attr) {
    dnnl_matmul_desc_t desc;
    dnnl_status_t status = dnnl_matmul_desc_init(&desc, a, b, NULL, c);
    return status ? status : dnnl_primitive_desc_create(pd, &desc, attr, e, NULL);
}
dnnl_status_t nas__pd_eltwise_forward(dnnl_primitive_desc_t *pd, dnnl_engine_t e, dnnl_alg_kind_t kind, nas__md data,
                                      float alpha, const_dnnl_primitive_attr_t attr) {
    dnnl_eltwise_desc_t desc;
    dnnl_status_t status = dnnl_eltwise_forward_desc_init(&desc, dnnl_forward_training, kind, data, alpha, 0);
    return status ? status : dnnl_primitive_desc_create(pd, &desc, attr, e, NULL);
}
dnnl_status_t nas__pd_eltwise_backward(dnnl_primitive_desc_t *pd, dnnl_engine_t e, dnnl_alg_kind_t kind, nas__md data,
                                       float alpha, const_dnnl_primitive_desc_t hint,
                                       const_dnnl_primitive_attr_t attr) {
    dnnl_eltwise_desc_t desc;
    dnnl_status_t status = dnnl_eltwise_backward_desc_init(&desc, kind, data, data, alpha, 0);
    return status ? status : dnnl_primitive_desc_create(pd, &desc, attr, e, hint);
}

#endif

nas__md nas__md_tag(int ndims, const int64_t *dims, dnnl_format_tag_t tag) {
    return nas__md_typed(ndims, dims, dnnl_f32, tag);
}
nas__cmd nas__pd_md(const_dnnl_primitive_desc_t pd, int arg) {
    return dnnl_primitive_desc_query_md(pd, dnnl_query_exec_arg_md, arg);
}
bool nas__md_equal(nas__cmd a, nas__cmd b) { return dnnl_memory_desc_equal(a, b); }
size_t nas__md_size(nas__cmd md) { return dnnl_memory_desc_get_size(md); }
dnnl_status_t nas__memory_new(dnnl_memory_t *memory, nas__cmd md, dnnl_engine_t engine) {
    return dnnl_memory_create(memory, md, engine, DNNL_MEMORY_NONE);
}
dnnl_status_t nas__pd_reorder(dnnl_primitive_desc_t *pd, dnnl_engine_t e, nas__cmd from, nas__cmd to,
                              const_dnnl_primitive_attr_t attr) {
    return dnnl_reorder_primitive_desc_create(pd, from, e, to, e, attr);
}
