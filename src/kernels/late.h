/* late.h - values and gradients that are finished where they are read. Batch norm, ReLU and their backward passes are
 * one multiply-add and a comparison per value, but a pass over memory each; so the tape hands kernels a buffer together
 * with per-channel coefficients, and the kernel applies them while it loads. Per-channel arrays have cb*block entries
 * with zero tails, which keeps the tails of what is read zero. */
#ifndef NAS_KERNELS_LATE_H
#define NAS_KERNELS_LATE_H

#include <stdbool.h>

/* The value read is act(scale*x + shift). */
typedef struct nas__on_load {
    const float *scale, *shift; /* per channel; both NULL: x itself */
    bool relu;                  /* max(., 0) */
    float cap;                  /* with relu and cap > 0: min(., cap), as in ReLU6 */
} nas__on_load;

/* The gradient read is a*g + b*z + k with g = scale * (what lies at g), as the backward pass of batch norm leaves it.
 */
typedef struct nas__late_grad {
    const float *g;
    float scale;
    const float *a, *b, *k; /* per channel; a NULL: g alone; b and k NULL: a*g */
    const float *z;         /* the values of the tensor whose gradient this is; needed with b and when masked */
    bool masked;            /* g counts only where mask_scale*z + mask_shift lies in (0, cap or infinity) */
    const float *mask_scale, *mask_shift; /* per channel; both NULL: z itself is compared */
    float cap;
} nas__late_grad;

#endif
