/* bf16.h - to bf16 and back. oneDNN reaches matrix units only with the channels innermost and without tails,
 * [n][hw][c]; everything else of ours is blocked f32 (kernels.h). Each is one pass over memory. */
#ifndef NAS_KERNELS_BF16_H
#define NAS_KERNELS_BF16_H

#include "kernels/late.h"

#include <stdint.h>

typedef struct nas__bf16_kernels {
    /* Late values and gradients written out, rounded to the nearest; load may be NULL. */
    void (*values)(int n, int c, int hw, const float *x, const nas__on_load *load, uint16_t *out);
    void (*gradient)(int n, int c, int hw, const nas__late_grad *late, uint16_t *out);
    /* A result: y = z + bias (padded, or NULL), sums as of unit_forward. */
    void (*result)(int n, int c, int hw, const uint16_t *z, const float *bias, float *y, double *sums);
    /* A gradient of the loaded values: x, load, dx, accumulate and in_sums as of unit_backward. */
    void (*back)(int n, int c, int hw, const uint16_t *dh, const float *x, const nas__on_load *load, float *dx,
                 bool accumulate, double *in_sums);
} nas__bf16_kernels;

/* Of the kernel table in use; NULL: bf16 is not for its instruction set. */
const nas__bf16_kernels *nas__bf16_table(void);
/* Why nothing can be computed in bf16 here; NULL: it can. */
const char *nas__bf16_missing(void);

#endif
