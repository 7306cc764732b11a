/* smash.h - the sampler of SMASH, for its strategy and its tests. */
#ifndef SEARCH_SMASH_H
#define SEARCH_SMASH_H

#include "space/smash.h"

/* An architecture of the space smash as the paper draws them; progress 0..1 of the training: through its first half the
 * largest kernel grows from 3 and the most ops from half of all. */
void nas__smash_sample(nas_architecture *a, nas_rng *rng, double progress);
/* Each choice drawn anew with that probability. */
void nas__smash_perturb(nas_architecture *a, nas_rng *rng, double probability);

#endif
