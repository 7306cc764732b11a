/* pareto.c - see pareto.h */
#include "search/pareto.h"

#include <math.h>
#include <stdlib.h>

/* Front after front: what no point that is left dominates. */
static void rank_points(nas__point *points, int n) {
    for (int i = 0; i < n; i++) {
        points[i].rank = -1;
    }
    for (int rank = 0, ranked = 0; ranked < n; rank++) {
        for (int i = 0; i < n; i++) {
            bool beaten = points[i].rank >= 0;
            for (int j = 0; !beaten && j < n; j++) {
                bool stands = points[j].rank < 0 || points[j].rank == rank; /* not of an earlier front */
                beaten = stands && nas__dominates(&points[j], &points[i]);
            }
            if (!beaten) {
                points[i].rank = rank;
                ranked++;
            }
        }
    }
}

static int by_rank_and_cost(const void *a, const void *b) {
    const nas__point *x = a, *y = b;
    return x->rank != y->rank   ? x->rank - y->rank
           : x->cost != y->cost ? (x->cost > y->cost ? 1 : -1)
                                : x->index - y->index;
}

static int by_rank_and_crowding(const void *a, const void *b) {
    const nas__point *x = a, *y = b;
    return x->rank != y->rank           ? x->rank - y->rank
           : x->crowding != y->crowding ? (x->crowding < y->crowding ? 1 : -1)
                                        : x->index - y->index;
}

/* Along a front of two objectives both run the same way, so one order serves both. */
static void crowd(nas__point *front, int n) {
    double fitness = fabs(front[n - 1].fitness - front[0].fitness), cost = front[n - 1].cost - front[0].cost;
    for (int i = 0; i < n; i++) {
        front[i].crowding = INFINITY;
        if (i > 0 && i < n - 1) {
            front[i].crowding = (cost > 0 ? (front[i + 1].cost - front[i - 1].cost) / cost : 0) +
                                (fitness > 0 ? fabs(front[i + 1].fitness - front[i - 1].fitness) / fitness : 0);
        }
    }
}

void nas__pareto_sort(nas__point *points, int n) {
    rank_points(points, n);
    qsort(points, (size_t)n, sizeof *points, by_rank_and_cost);
    for (int first = 0, end; first < n; first = end) {
        for (end = first; end < n && points[end].rank == points[first].rank; end++) {
        }
        crowd(points + first, end - first);
    }
    qsort(points, (size_t)n, sizeof *points, by_rank_and_crowding);
}

int nas__pareto_knee(const nas__point *front, int n) {
    int cheapest = 0, fittest = 0;
    for (int i = 1; i < n; i++) {
        cheapest = front[i].cost < front[cheapest].cost ? i : cheapest;
        fittest = front[i].fitness > front[fittest].fitness ? i : fittest;
    }
    double cost = front[fittest].cost - front[cheapest].cost, gain = front[fittest].fitness - front[cheapest].fitness;
    int knee = fittest;
    double above = 1e-12; /* a front that is a line has no knee */
    for (int i = 0; i < n && cost > 0 && gain > 0; i++) {
        double height =
            (front[i].fitness - front[cheapest].fitness) / gain - (front[i].cost - front[cheapest].cost) / cost;
        knee = height > above ? i : knee;
        above = fmax(above, height);
    }
    return knee;
}
