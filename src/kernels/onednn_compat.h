/* onednn_compat.h - one C API over oneDNN 2.6 and 3.x, in the shape of 3.x: memory descriptors are handles, and a
 * primitive descriptor is made in one call. The only place that looks at DNNL_VERSION_MAJOR (with onednn_compat.c). */
#ifndef KERNELS_ONEDNN_COMPAT_H
#define KERNELS_ONEDNN_COMPAT_H

#include <oneapi/dnnl/dnnl.h>
#include <stdbool.h>

#if DNNL_VERSION_MAJOR >= 3
typedef dnnl_memory_desc_t nas__md;
typedef const_dnnl_memory_desc_t nas__cmd;
#else
typedef dnnl_memory_desc_t *nas__md;
typedef const dnnl_memory_desc_t *nas__cmd;
#endif

/* NULL on failure; freed with nas__md_free. */
nas__md nas__md_tag(int ndims, const int64_t *dims, dnnl_format_tag_t tag); /* of f32 */
nas__md nas__md_typed(int ndims, const int64_t *dims, dnnl_data_type_t type, dnnl_format_tag_t tag);
nas__md nas__md_strides(int ndims, const int64_t *dims, const int64_t *strides);
void nas__md_free(nas__md md);
bool nas__md_equal(nas__cmd a, nas__cmd b);
size_t nas__md_size(nas__cmd md);
/* Of one execution argument (DNNL_ARG_SRC, ...); borrowed from pd. */
nas__cmd nas__pd_md(const_dnnl_primitive_desc_t pd, int arg);
dnnl_status_t nas__memory_new(dnnl_memory_t *memory, nas__cmd md, dnnl_engine_t engine);

typedef struct nas__conv_desc {
    nas__md src, weight, bias, dst;                     /* bias may be NULL */
    dnnl_dims_t strides, dilates, padding_l, padding_r; /* dilates: 0 is not dilated */
} nas__conv_desc;
dnnl_status_t nas__pd_conv_forward(dnnl_primitive_desc_t *pd, dnnl_engine_t e, const nas__conv_desc *d,
                                   const_dnnl_primitive_attr_t attr);
dnnl_status_t nas__pd_conv_backward_data(dnnl_primitive_desc_t *pd, dnnl_engine_t e, const nas__conv_desc *d,
                                         const_dnnl_primitive_desc_t hint, const_dnnl_primitive_attr_t attr);
dnnl_status_t nas__pd_conv_backward_weights(dnnl_primitive_desc_t *pd, dnnl_engine_t e, const nas__conv_desc *d,
                                            const_dnnl_primitive_desc_t hint, const_dnnl_primitive_attr_t attr);
dnnl_status_t nas__pd_matmul(dnnl_primitive_desc_t *pd, dnnl_engine_t e, nas__md a, nas__md b, nas__md c,
                             const_dnnl_primitive_attr_t attr);
dnnl_status_t nas__pd_eltwise_forward(dnnl_primitive_desc_t *pd, dnnl_engine_t e, dnnl_alg_kind_t kind, nas__md data,
                                      float alpha, const_dnnl_primitive_attr_t attr);
dnnl_status_t nas__pd_eltwise_backward(dnnl_primitive_desc_t *pd, dnnl_engine_t e, dnnl_alg_kind_t kind, nas__md data,
                                       float alpha, const_dnnl_primitive_desc_t hint, const_dnnl_primitive_attr_t attr);
dnnl_status_t nas__pd_reorder(dnnl_primitive_desc_t *pd, dnnl_engine_t e, nas__cmd from, nas__cmd to,
                              const_dnnl_primitive_attr_t attr);

#endif
