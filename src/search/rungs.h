/* rungs.h - the shares of a whole training that successive halving gives: eta^-(n-1), ..., 1/eta, 1. */
#ifndef SEARCH_RUNGS_H
#define SEARCH_RUNGS_H

#include "search/trials.h"

#include <math.h>

typedef struct nas__rungs {
    int n, eta;
} nas__rungs;

/* wanted 0: as many as leave the lowest rung a whole epoch of training, four at most; a note when that is one. */
nas__rungs nas__rungs_of(nas_search *s, int eta, int wanted);
static inline double nas__rung_share(const nas__rungs *r, int k) { return pow(r->eta, k - r->n + 1); }
static inline int nas__rung(const nas__rungs *r, double share) {
    return r->n - 1 + (int)lround(log(share) / log(r->eta));
}
/* Trials that are done on rung k, and the place of one among those of its rung: 0 is the best; of equals the earlier
 * counts as better. Repeated trials are one. */
size_t nas__rung_size(const nas__trials *t, const nas__rungs *r, int k);
size_t nas__rung_place(const nas__trials *t, const nas__rungs *r, const nas__trial *trial);

#endif
