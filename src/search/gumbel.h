/* gumbel.h - drawing candidates by Gumbel noise (Jang, Gu and Poole, ICLR 2017; Maddison, Mnih and Teh, ICLR 2017), and
 * the decisions of a pass from it: what GDAS and FBNet share. */
#ifndef SEARCH_GUMBEL_H
#define SEARCH_GUMBEL_H

#include "search/alphas.h"

/* Standard Gumbel numbers, always finite (-3.7 to 37.5). */
void nas__gumbel_noise(nas_rng *rng, int n, float *noise);

/* The k largest of logits + noise: k draws from softmax(logits) without putting back (k = 1: one draw), whatever any
 * temperature is. The lower index wins ties. */
uint64_t nas__gumbel_set(int n, const float *logits, const float *noise, int k);

/* p = softmax((log_softmax(logits) + noise)/tau) on the running tape. hard: 1 for the candidate that was drawn and 0
 * for all others, exactly, with the derivative of p; its index through *index (may be NULL). Sticky. */
nas_tensor *nas__gumbel_softmax(nas_tensor *logits, const float *noise, double tau, bool hard, int *index);
/* The same for a set: 1 for its candidates, 0 for others, the derivative of p. A set of none: p itself. */
nas_tensor *nas__gumbel_weights(nas_tensor *logits, const float *noise, double tau, uint64_t set);

/* --- the decisions of a pass ----------------------------------------------------------------------- */
/* First in the memory of the strategies that draw so. */
typedef struct nas__gumbel {
    nas__alphas alphas;
    nas_tensor **weights;               /* per choice, on the tape of the pass that runs; NULL: it has none */
    float (*noise)[NAS_MAX_CANDIDATES]; /* per choice, of the last draw */
    /* Over the epoch: sums of |dL/dalpha| per number and update, and of the largest weight per weighting. */
    double gradient, largest;
    int64_t updates, weightings;
    /* For tests: what is left when a part of the mechanism is taken away. */
    bool without_noise, without_gradient;
} nas__gumbel;

typedef struct nas__gumbel_pass {
    double tau;
    bool hard;    /* compute what was drawn; else everything, mixed */
    bool weights; /* hard: with weights that take gradients; else what was drawn is a path */
    bool rest;    /* nas_decision.rest */
} nas__gumbel_pass;

nas_status nas__gumbel_new(nas__gumbel *g, nas_search *s, const nas__alphas_config *config);
void nas__gumbel_free(nas__gumbel *g);
/* Draws and decides every choice: one draw for a key, so that all its places share it. Input choices whose candidates
 * are edges take all of them; other input choices draw as many as they choose, or, when the number is free, any
 * permitted number but none. */
nas_status nas__gumbel_decide(nas__gumbel *g, nas_search *s, nas_rng *rng, const nas__gumbel_pass *pass);
/* Adam's step of the logits by the gradients that they hold. all: those without a gradient are updated too, by a
 * gradient of zero. */
nas_status nas__gumbel_step(nas__gumbel *g, bool all);
/* Mean |dL/dalpha| of the updates since the last call. */
double nas__gumbel_mean_gradient(nas__gumbel *g);
/* Mean of the largest weight of each weighting since the last call. */
double nas__gumbel_mean_largest(nas__gumbel *g);
/* Gives a gradient of zero to the tensors of an optimiser that hold none: decay and momentum then move them, too. */
void nas__gradients_for_all(const nas_optimizer *o);

#endif
