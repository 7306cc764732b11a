/* late_sum.h - weighted sums of blocked tensors, computed when somebody asks for them. Sums of sums become one, so that
 * a node of a cell is one pass over all candidates of all its edges. */
#ifndef OPS_LATE_SUM_H
#define OPS_LATE_SUM_H

#include "ops/common.h"

typedef struct nas__addend {
    nas_tensor *x;      /* neither NULL nor zero */
    nas_tensor *weight; /* element `index` of it; NULL: 1 */
    int index;
} nas__addend;

/* The late sum of n addends of one shape, four-dimensional. */
nas_tensor *nas__late_sum(const char *op, int n, const nas__addend *addends);

#endif
