/* alphas.h - the trainable table of the differentiable strategies: one vector of logits per choice. */
#ifndef SEARCH_ALPHAS_H
#define SEARCH_ALPHAS_H

#include <espalier/strategy.h>

typedef struct nas__alphas {
    nas_tensor **of_choice; /* per choice (n), or NULL: input choices that follow their edges have none */
    bool *behind_input;     /* layer choices whose edge an input choice may drop */
    uint64_t *allowed;      /* candidates still in the search, per choice; at first all: the others have share 0 */
    uint64_t *barred;       /* candidates that are not derived, although they have their share; at first none */
    bool sigmoid;           /* a candidate is as strong as the sigmoid of its logit, whatever the others are */
    double threshold;       /* less strong than this, `none` is derived in its place, where there is one */
    int n;                  /* choices */
    nas_optimizer *optimizer;
} nas__alphas;

/* Logits drawn from deviation*N(0,1), keyed by (seed, key of the choice); Adam(lr, beta1, beta2) with an L2 term. */
typedef struct nas__alphas_config {
    double deviation, lr, beta1, beta2, weight_decay;
    bool edge_weights; /* input choices that follow their edges have logits, too: what they multiply the edges with */
} nas__alphas_config;
/* Refuses, with the reason, what cannot be weighted: value choices and superkernels. */
nas_status nas__alphas_accept(const nas_space *space, const char *strategy);
nas_status nas__alphas_new(nas__alphas *a, nas_search *s, const nas__alphas_config *config);
void nas__alphas_free(nas__alphas *a);
void nas__alphas_state(nas__alphas *a, nas_search *s, nas_state *state);
nas_status nas__alphas_step(nas__alphas *a);

/* Draws the logits anew, another time than the first (counted from 1), and forgets what the optimiser knows. */
void nas__alphas_restart(nas__alphas *a, const nas_search *s, double deviation, uint64_t time);

/* softmax(alpha) over what is allowed, in double. False: this choice has no alpha. */
bool nas__alphas_softmax(const nas__alphas *a, const nas_search *s, int choice, double *p);

/* How strong each candidate is: the softmax, or the sigmoids. False as before. */
bool nas__alphas_strengths(const nas__alphas *a, const nas_search *s, int choice, double *p);

/* DARTS' rule (Liu et al. 2019, section 2.4). Input choices keep their strongest
 * edges (an edge is as strong as its best candidate that is not `none`; lower index wins ties), layer choices their
 * best candidate; `none` is left out where an input choice can drop the edge instead, or everywhere, or nowhere. */
typedef enum nas__none_rule { NAS__NONE_AUTO, NAS__NONE_EXCLUDE, NAS__NONE_INCLUDE } nas__none_rule;
bool nas__alphas_may_derive(const nas__alphas *a, const nas_choice *choice, int index, int k, nas__none_rule rule);
nas_status nas__alphas_derive(const nas__alphas *a, const nas_search *s, nas__none_rule rule, nas_architecture *out);

#endif
