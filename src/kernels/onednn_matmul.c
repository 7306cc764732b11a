/* onednn_matmul.c - dense products of row-major matrices; a transposed operand is a matter of strides, not of copying.
 */
#include "kernels/onednn.h"
#include "kernels/onednn_cache.h"
#include "core/error.h"

#include <inttypes.h>
#include <stdio.h>

typedef struct request {
    int64_t m, n, k;
    bool transpose_a, transpose_b;
} request;

static nas__md matrix(int64_t rows, int64_t columns, bool transposed) {
    const int64_t dims[] = {rows, columns};
    return nas__md_strides(2, dims, transposed ? (const int64_t[]){1, rows} : (const int64_t[]){columns, 1});
}

static nas_status build(nas__plan *plan, const void *what) {
    const request *r = what;
    nas__md a = matrix(r->m, r->k, r->transpose_a), b = matrix(r->k, r->n, r->transpose_b),
            c = matrix(r->m, r->n, false);
    dnnl_primitive_desc_t pd = NULL;
    dnnl_status_t made =
        a && b && c ? nas__pd_matmul(&pd, nas__plan_engine(), a, b, c, nas__plan_attr()) : dnnl_invalid_arguments;
    char text[120];
    snprintf(text, sizeof text, "the product of (%" PRId64 ",%" PRId64 ") and (%" PRId64 ",%" PRId64 ")", r->m, r->k,
             r->k, r->n);
    nas_status status = nas__onednn_check(made, text);
    if (!status) {
        status =
            nas__plan_primitive(plan, "matmul", pd, 3, (const int[]){DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST});
        dnnl_primitive_desc_destroy(pd);
    }
    nas__md_free(a);
    nas__md_free(b);
    nas__md_free(c);
    return status;
}

nas_status nas__matmul(int64_t m, int64_t n, int64_t k, const float *a, bool transpose_a, const float *b,
                       bool transpose_b, float *c) {
    /* A vector is its own transpose in memory, and the strides of the plain form are the ones without ambiguity. */
    const request r = {m, n, k, transpose_a && m > 1 && k > 1, transpose_b && n > 1 && k > 1};
    nas__plan_key key = {{NAS__PLAN_MATMUL, 0, r.transpose_a + 2 * r.transpose_b, (int32_t)m, (int32_t)(m >> 32),
                          (int32_t)n, (int32_t)(n >> 32), (int32_t)k, (int32_t)(k >> 32)}};
    nas__plan *plan = nas__plan_get(&key, build, &r);
    return plan ? nas__plan_run(plan, (const void *[]){a, b, c}) : nas_error_status();
}
