/* gradcheck.h - checks an operation against a naive second implementation in double: its values, and its gradients
 * against central finite differences of the naive one (so that the differences carry no single-precision noise). The
 * loss is a fixed random projection of the result. Every case runs with plain inputs, and again with blocked inputs, a
 * scaled gradient coming back and gradients that are already there. */
#ifndef TESTS_OPS_GRADCHECK_H
#define TESTS_OPS_GRADCHECK_H

#include "support.h"

#include <espalier/ops.h>

#include "ops/common.h"

enum { MOST_INPUTS = 6 };

typedef struct shape {
    int n;
    int64_t d[NAS_MAX_DIMS];
} shape;

typedef enum fill {
    UNIFORM,  /* [-1, 1) */
    POSITIVE, /* [0.5, 2) */
    SPACED,   /* distinct, at least 0.01 apart and 0.004 away from 0: for operations with kinks */
    CLASSES,  /* whole numbers below a[0] */
} fill;

typedef struct gradcheck gradcheck;
struct gradcheck {
    const char *op; /* as in nas__ops */
    nas_tensor *(*run)(const gradcheck *c, nas_tensor **x);
    shape (*naive)(const gradcheck *c, double *const *x, double *y); /* fills y, returns its shape */
    shape in[MOST_INPUTS];                                           /* up to the first with n = 0 */
    double a[10];                                                    /* arguments, as `run` and `naive` agree */
    fill fill[MOST_INPUTS];
    unsigned constant;    /* bit i: input i takes no gradient */
    bool plain_only;      /* no second run */
    nas_tape_config pass; /* grad is set by the check */
};

typedef struct gradcheck_family {
    const gradcheck *cases;
    int n;
} gradcheck_family;

/* cases_*.c */
extern const gradcheck_family conv_cases, norm_cases, pool_cases, element_cases, arithmetic_cases, shape_cases,
    loss_cases, superkernel_cases;

void run_gradcheck(const gradcheck *c);
int64_t shape_count(const shape *s);
int count_inputs(const gradcheck *c);

#endif
