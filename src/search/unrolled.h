/* unrolled.h - the gradient of L_valid(w'(a), a) through one virtual training step w'(a) (DARTS' second order; Liu et
 * al. 2019, section 2.3, equations 6 to 8), apart from any supernet, so that it can be proved on problems with a known
 * answer. */
#ifndef SEARCH_UNROLLED_H
#define SEARCH_UNROLLED_H

#include <espalier/tensor.h>

typedef struct nas__bilevel {
    size_t n_weights, n_alphas;
    nas_tensor *const *weights, *const *alphas; /* persistent, of the roles WEIGHT and ARCH */
    const float *const *momentum_buffers;       /* per weight, or NULL: zeros; the whole may be NULL */
    double momentum, weight_decay;              /* of the weights' SGD */
    double eta;                                 /* its learning rate */
    /* Differentiates the training or validation loss at the present values; adds to cleared gradients. */
    nas_status (*differentiate)(void *user, bool train, unsigned roles);
    void *user;
} nas__bilevel;

/* Leaves the gradient in the alphas and the weights as they were, bit for bit. */
nas_status nas__unrolled_gradient(const nas__bilevel *b);

#endif
