/* eigenvalue.h - the dominant eigenvalue of the Hessian d2L/d alpha2, whose growth announces a collapse (Zela et al.,
 * Understanding and Robustifying Differentiable Architecture Search, ICLR 2020). Apart from any supernet, so that it
 * can be proved on functions with a known answer. */
#ifndef SEARCH_EIGENVALUE_H
#define SEARCH_EIGENVALUE_H

#include <espalier/tensor.h>

typedef struct nas__curvature {
    size_t n;
    nas_tensor *const *alphas; /* persistent */
    /* Adds dL/d alpha at the present values to cleared gradients: of one function, call for call. */
    nas_status (*differentiate)(void *user);
    void *user;
    nas_rng rng;    /* of the direction that the iteration starts from */
    int iterations; /* at most; 0 = 12 */
} nas__curvature;

/* The eigenvalue of largest magnitude, by power iteration on H v = (g(a + eps v) - g(a - eps v)) / (2 eps). The alphas
 * are as they were afterwards, bit for bit, and their gradients cleared. */
nas_status nas__dominant_eigenvalue(const nas__curvature *curvature, double *value);

#endif
