/* warm.h - a warm start of searches by trials: their random beginning is filled with the best of many random
 * architectures by a score that costs next to nothing (Abdelfattah et al., ICLR 2021). */
#ifndef SEARCH_WARM_H
#define SEARCH_WARM_H

#include "search/trials.h"

/* Refuses a warm start where there is no random beginning, or no network to look at. */
nas_status nas__warm_check(const nas__trials *t);
/* Draws and scores, unless a checkpoint knows what came of it. */
nas_status nas__warm_begin(nas__trials *t);
void nas__warm_state(nas__trials *t, nas_state *state);

#endif
