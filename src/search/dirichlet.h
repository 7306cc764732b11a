/* dirichlet.h - draws from a Dirichlet distribution that are differentiable in its concentrations (DrNAS, Chen et al.,
 * ICLR 2021; implicit reparameterisation, Figurnov et al., NeurIPS 2018). */
#ifndef SEARCH_DIRICHLET_H
#define SEARCH_DIRICHLET_H

#include <espalier/ops.h>

/* The regularised lower incomplete gamma function P(c, x) for c, x > 0, and its derivative in c. */
double nas__gamma_p(double c, double x);
double nas__gamma_p_dc(double c, double x);
/* A draw from Gamma(c, 1) (Marsaglia and Tsang 2000), at least 1e-30. */
double nas__gamma_draw(nas_rng *rng, double c);
/* How that draw moves with c: -(dP/dc) / density at x. */
double nas__gamma_pathwise(double c, double x);

/* theta ~ Dirichlet(ELU(alpha) + 1) over the candidates in `run` (the others are 0), a tensor of alpha's shape on the
 * current tape, with the pathwise gradient in alpha. Takes the draws of n candidates from rng, whatever runs. */
nas_tensor *nas__dirichlet(nas_tensor *alpha, uint64_t run, nas_rng *rng);
/* Logits with those outside of `run` so low that a softmax gives them 0; itself when all run. */
nas_tensor *nas__masked_logits(nas_tensor *logits, uint64_t run);

#endif
