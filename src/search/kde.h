/* kde.h - BOHB's model (Falkner, Klein and Hutter, ICML 2018): densities of the good and of the bad trials, products of
 * Aitchison and Aitken's kernel for categories, on the largest share that has trials enough. */
#ifndef SEARCH_KDE_H
#define SEARCH_KDE_H

#include "search/genes.h"
#include "search/trials.h"

typedef struct nas__kde {
    int n; /* points */
    int *points;
    double *bandwidth; /* per gene: probability that the kernel gives to other values together */
} nas__kde;

typedef struct nas__kde_models {
    nas__genes genes;
    double least_bandwidth;
    size_t trials; /* that were done when the models were made */
    bool made;
    nas__kde good, bad;
} nas__kde_models;

nas_status nas__kde_begin(nas__kde_models *m, const nas_space *space, double least_bandwidth);
void nas__kde_end(nas__kde_models *m);
/* Of `candidates` draws near good trials the one that is likeliest among the good and least likely among the bad;
 * false: there are too few trials for a model, or an error. */
bool nas__kde_draw(nas__kde_models *m, const nas__trials *t, int candidates, double factor, nas_rng *rng,
                   nas_architecture *a);
/* The density at a point of n values. */
double nas__kde_density(const nas__kde *kde, const nas__genes *genes, const int *values);

#endif
