/* genes.h - an architecture as a row of categories, for policies that model each decision by itself: a choice with few
 * sets is one gene, of a choice with many (inputs of a free number) every candidate is one, taken or not. */
#ifndef SEARCH_GENES_H
#define SEARCH_GENES_H

#include "space/space.h"

typedef struct nas__gene {
    int choice, candidate; /* candidate -1: the whole set */
    int values;            /* 0 .. values-1: the set's rank, or whether the candidate is taken */
} nas__gene;

typedef struct nas__genes {
    nas__gene *list;
    int n, most_values;
} nas__genes;

nas_status nas__genes_new(nas__genes *g, const nas_space *space);
void nas__genes_free(nas__genes *g);
void nas__genes_read(const nas__genes *g, const nas_architecture *a, int *values); /* n values */
/* Sets that a choice may not take are replaced by random ones. */
void nas__genes_write(const nas__genes *g, const int *values, nas_architecture *a, nas_rng *rng);

#endif
