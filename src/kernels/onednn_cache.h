/* onednn_cache.h - oneDNN primitives that are made once and run often. Each thread has its own engine, stream and table
 * of plans; they are freed when the thread ends. A plan is a primitive with its memory objects and, where the primitive
 * wants its weights in a layout of its own, a reorder from or to the plain one. */
#ifndef KERNELS_ONEDNN_CACHE_H
#define KERNELS_ONEDNN_CACHE_H

#include "kernels/onednn_compat.h"

#include <espalier/core.h>

enum { NAS__KEY_LENGTH = 22, NAS__PLAN_ARGS = 5 };

typedef enum nas__plan_kind {
    NAS__PLAN_CONV_FORWARD,
    NAS__PLAN_CONV_BACKWARD_DATA,
    NAS__PLAN_CONV_BACKWARD_WEIGHTS,
    NAS__PLAN_CONV_SPEED, /* holds an answer instead of a primitive */
    NAS__PLAN_MATMUL,
    NAS__PLAN_ELTWISE_FORWARD,
    NAS__PLAN_ELTWISE_BACKWARD,
} nas__plan_kind;

/* What a plan is for: [0] is the kind, [1] the thread count (set by nas__plan_get), the rest belongs to the operation.
 */
typedef struct nas__plan_key {
    int32_t v[NAS__KEY_LENGTH];
} nas__plan_key;

typedef struct nas__step {
    dnnl_primitive_t primitive; /* NULL: nothing to do */
    dnnl_exec_arg_t args[NAS__PLAN_ARGS];
    int n_args;
    size_t scratch_bytes; /* > 0: the last argument is the scratchpad */
} nas__step;

typedef struct nas__plan {
    struct nas__plan *next; /* in its hash bucket */
    uint64_t hash;
    nas__plan_key key;
    nas__step main, reorder;
    int staged; /* the argument of `main` that goes through `reorder`, when there is one */
    bool reorder_after;
    size_t staged_bytes;
    bool fast; /* of NAS__PLAN_CONV_SPEED */
    char name[64];
} nas__plan;

/* Fills a zeroed plan for `what`; a failure has been reported. */
typedef nas_status nas__plan_build(nas__plan *plan, const void *what);

/* The calling thread's plan for the key, built at the first call. NULL and an error when that fails. */
nas__plan *nas__plan_get(nas__plan_key *key, nas__plan_build *build, const void *what);
/* Runs it; data[i] belongs to the i-th argument that was given to nas__plan_primitive. */
nas_status nas__plan_run(nas__plan *plan, const void *const *data);
/* In two steps, when the staged argument is used more than once: its reorder from `plain` into staged_bytes, and the
 * rest, with what came of it among the data. Only of plans that have such a reorder, before the main step. */
nas_status nas__plan_prepare(nas__plan *plan, const void *plain, void *staged);
nas_status nas__plan_run_prepared(nas__plan *plan, const void *const *data);

/* For build functions. --------------------------------------------------------------------------- */
dnnl_engine_t nas__plan_engine(void);
/* Scratch memory is passed in by the caller: exact accounting, and none is held between calls. */
const_dnnl_primitive_attr_t nas__plan_attr(void);
/* Makes the main step from pd. `label` is what the implementation's name is put behind. */
nas_status nas__plan_primitive(nas__plan *plan, const char *label, const_dnnl_primitive_desc_t pd, int n_args,
                               const int *args);
/* Argument `index` is `plain` outside; when pd wants it otherwise it is reordered before the main step, or after. */
nas_status nas__plan_stage(nas__plan *plan, const_dnnl_primitive_desc_t pd, int index, nas__cmd plain, bool after);
/* Reports what oneDNN refused; NAS_OK for dnnl_success. */
nas_status nas__onednn_check(dnnl_status_t status, const char *what);
/* Name of the implementation behind pd, as oneDNN calls it. */
const char *nas__implementation(const_dnnl_primitive_desc_t pd);

#endif
