/* pareto.h - which of several points no other beats in everything: fitness (higher is better) against a cost. */
#ifndef SEARCH_PARETO_H
#define SEARCH_PARETO_H

#include <stdbool.h>

typedef struct nas__point {
    double fitness, cost;
    int rank;        /* 0: nothing dominates it; r: nothing but points of lower ranks does */
    double crowding; /* how far its neighbours of the same rank are; the ends: infinite */
    int index;       /* the caller's */
} nas__point;

/* a is at least as good in both, and better in one. */
static inline bool nas__dominates(const nas__point *a, const nas__point *b) {
    return a->fitness >= b->fitness && a->cost <= b->cost && (a->fitness > b->fitness || a->cost < b->cost);
}
/* Ranks and crowding distances (Deb et al. 2002), and the order by them: better ones first, equals by their index. */
void nas__pareto_sort(nas__point *points, int n);
/* Of a front (n points of rank 0, any order) the one farthest above the line between its ends, both axes scaled to
 * 0..1; of one or two the fittest. */
int nas__pareto_knee(const nas__point *front, int n);

#endif
