/* proxyless.h - the inside of ProxylessNAS, for its files and its tests. */
#ifndef SEARCH_PROXYLESS_H
#define SEARCH_PROXYLESS_H

#include "search/alphas.h"
#include "search/cost_term.h"

typedef enum nas__proxyless_mode {
    NAS__PROXYLESS_TWO,
    NAS__PROXYLESS_FULL,
    NAS__PROXYLESS_REINFORCE
} nas__proxyless_mode;

/* What was drawn for one choice. */
typedef struct nas__gate {
    uint64_t run, active; /* computed; of these, let through */
    uint64_t rivals;      /* the gates that compete: softmax over these; 0: none do */
} nas__gate;

/* First in the strategy's memory. */
typedef struct nas__proxyless {
    nas__alphas alphas;
    nas__cost_term cost;
    int *first;          /* n+1: where the candidates of a choice begin in the arrays below */
    double *second;      /* Adam's second moments */
    int64_t *steps;      /* how often each number was stepped */
    double *gradient;    /* to descend */
    double *score;       /* of REINFORCE: d log p of the samples, added up */
    nas__gate *gates;    /* of this pass */
    nas_tensor **likely; /* per choice, on the tape of the pass: probabilities for the expected cost, or NULL */
    double baseline;
    int64_t rewards;          /* updates of the baseline */
    double absolute_gradient; /* of the epoch's alpha steps, added up, per number */
    int64_t alpha_steps;
    /* For tests: what is left when a part of the mechanism is taken away. */
    bool without_gradient, without_rescale;
} nas__proxyless;

/* m draws from softmax(logits) without putting back, in their order. */
void nas__draw_in_order(nas_rng *rng, int n, const float *logits, int m, int *order);
/* Adds scale * d log p / d logits of these draws to gradient (n). */
void nas__draws_score(int n, const float *logits, int m, const int *order, double scale, double *gradient);
/* A gate that lets `among` of a choice's candidates through; two: two of them compete, one of which is active, else
 * all. */
nas__gate nas__draw_gate(nas_rng *rng, int n, const float *logits, int among, bool two);
/* Gates as weights on the running tape: 1 or 0, exactly; backwards they count as the softmax over the rivals. */
nas_tensor *nas__gate_weights(nas_tensor *logits, const nas__gate *gate);
/* Adam without first moments on the rivals alone, then, of two rivals, what keeps the others' probabilities. */
typedef struct nas__gate_step {
    double lr, beta2, weight_decay;
    bool rescale;
} nas__gate_step;
void nas__step_gate(int n, float *logits, const double *gradient, double *second, int64_t *steps, uint64_t rivals,
                    const nas__gate_step *how);

#endif
