/* onednn_eltwise.c - smooth activations over flat memory: 1 / (1 + e^-x), tanh x, x Phi(x) (GELU, Hendrycks and Gimpel
 * 2016) and x / (1 + e^-x) (swish, Ramachandran et al. 2017). */
#include "kernels/onednn.h"
#include "kernels/onednn_cache.h"
#include "core/error.h"

typedef struct request {
    nas__eltwise kind;
    size_t count;
    bool backward;
} request;

static dnnl_status_t make_pd(dnnl_primitive_desc_t *pd, const request *r, nas__md data) {
    static const dnnl_alg_kind_t kinds[] = {
        [NAS__SIGMOID] = dnnl_eltwise_logistic,
        [NAS__TANH] = dnnl_eltwise_tanh,
        [NAS__GELU] = dnnl_eltwise_gelu_erf,
        [NAS__SWISH] = dnnl_eltwise_swish,
    };
    const float alpha = r->kind == NAS__SWISH ? 1 : 0; /* swish is x sigmoid(alpha x); the others have no parameter */
    dnnl_primitive_desc_t forward = NULL;
    dnnl_status_t status =
        nas__pd_eltwise_forward(&forward, nas__plan_engine(), kinds[r->kind], data, alpha, nas__plan_attr());
    if (status || !r->backward) {
        *pd = forward;
        return status;
    }
    status = nas__pd_eltwise_backward(pd, nas__plan_engine(), kinds[r->kind], data, alpha, forward, nas__plan_attr());
    dnnl_primitive_desc_destroy(forward);
    return status;
}

static nas_status build(nas__plan *plan, const void *what) {
    static const int args[][3] = {{DNNL_ARG_SRC, DNNL_ARG_DST}, {DNNL_ARG_SRC, DNNL_ARG_DIFF_DST, DNNL_ARG_DIFF_SRC}};
    const request *r = what;
    const char *label = r->backward ? "eltwise_bwd" : "eltwise_fwd";
    nas__md data = nas__md_tag(1, (const int64_t[]){(int64_t)r->count}, dnnl_a);
    dnnl_primitive_desc_t pd = NULL;
    nas_status status = nas__onednn_check(data ? make_pd(&pd, r, data) : dnnl_invalid_arguments, label);
    if (!status) {
        status = nas__plan_primitive(plan, label, pd, 2 + r->backward, args[r->backward]);
        dnnl_primitive_desc_destroy(pd);
    }
    nas__md_free(data);
    return status;
}

static nas_status run(const request *r, const void *const *data) {
    nas__plan_key key = {{r->backward ? NAS__PLAN_ELTWISE_BACKWARD : NAS__PLAN_ELTWISE_FORWARD, 0, (int32_t)r->kind,
                          (int32_t)r->count, (int32_t)(r->count >> 32)}};
    nas__plan *plan = nas__plan_get(&key, build, r);
    return plan ? nas__plan_run(plan, data) : nas_error_status();
}

nas_status nas__eltwise_forward(nas__eltwise kind, size_t count, const float *x, float *y) {
    return run(&(request){kind, count, false}, (const void *[]){x, y});
}

nas_status nas__eltwise_backward(nas__eltwise kind, size_t count, const float *x, const float *dy, float *dx) {
    return run(&(request){kind, count, true}, (const void *[]){x, dy, dx});
}
