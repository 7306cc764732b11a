/* bender.h - the law by which paths are dropped. */
#ifndef SEARCH_BENDER_H
#define SEARCH_BENDER_H

#include <espalier/strategy.h>

/* With what probability each of k parallel paths is removed at this progress (0..1) of the training: r^(1/k) at its
 * end, so that all are with probability r. */
double nas__path_rate(double r, int k, double progress);
/* Which of k paths stay. */
uint64_t nas__path_mask(int k, double rate, nas_rng *rng);

#endif
