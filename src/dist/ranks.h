/* ranks.h - what ranks exchange. All of it is called by all ranks in the same order. What is added up is added in the
 * order of the parts of a batch, so that the result has the same bits for any number of ranks. */
#ifndef DIST_RANKS_H
#define DIST_RANKS_H

#include <espalier/dist.h>

/* The parts of a batch that a rank computes: n of them, from `first`. */
typedef struct nas__own_parts {
    int first, n;
} nas__own_parts;
nas__own_parts nas__parts_of(int rank, int parts);

/* own[n][count] of this rank's parts, all[parts][count] of all, in order. */
nas_status nas__ranks_gather(int parts, size_t count, const double *own, double *all);
/* The same with one part for each rank. */
nas_status nas__ranks_gather_each(size_t count, const double *own, double *all);
/* sum[count] = own[0][count] + own[1][count] + ... over all parts, for every rank. */
nas_status nas__ranks_sum(int parts, size_t count, const float *own, float *sum);

/* Since the start: time spent waiting for others and moving, and bytes that this rank gave away. */
typedef struct nas__ranks_use {
    double seconds, bytes;
    int64_t messages;
} nas__ranks_use;
nas__ranks_use nas__ranks_used(void);

#endif
