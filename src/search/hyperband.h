/* hyperband.h - brackets of successive halving (Li et al., JMLR 2018), for random architectures or those of a model. */
#ifndef SEARCH_HYPERBAND_H
#define SEARCH_HYPERBAND_H

#include "search/rungs.h"

/* Bracket s of the rungs begins with so many architectures, on the rung s below the top. */
int nas__bracket_size(const nas__rungs *r, int s);

typedef struct nas__hyperband {
    nas__rungs rungs;
    int bracket;     /* s: from rungs.n - 1 down to 0, and again */
    int rung, size;  /* the running round: on this rung, of so many */
    int begun;       /* proposals of the round that count */
    size_t *members; /* of the round: trials of the round before, the best first; NULL in a bracket's first round */
} nas__hyperband;

void nas__hyperband_begin(nas__hyperband *h, nas__rungs rungs);
void nas__hyperband_end(nas__hyperband *h);
/* A round begins when all of the one before are done. */
bool nas__hyperband_waits(const nas__hyperband *h, const nas__trials *t);
/* The trial that is to be promoted next, or NULL when a new architecture is wanted; its share through *share. */
const nas__trial *nas__hyperband_next(nas__hyperband *h, const nas__trials *t, double *share);
/* The proposal counts; after trial `t->n_done` of a round the next round or bracket begins by itself. */
void nas__hyperband_accept(nas__hyperband *h);

#endif
