/* kde.c - see kde.h */
#include "search/kde.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double good_share = 0.15, smallest_density = 1e-32;

nas_status nas__kde_begin(nas__kde_models *m, const nas_space *space, double least_bandwidth) {
    m->least_bandwidth = least_bandwidth;
    return nas__genes_new(&m->genes, space);
}

static void clear(nas__kde *kde) {
    free(kde->points);
    free(kde->bandwidth);
    *kde = (nas__kde){0};
}

void nas__kde_end(nas__kde_models *m) {
    nas__genes_free(&m->genes);
    clear(&m->good);
    clear(&m->bad);
}

/* --- densities -----------------------------------------------------------------------------------------------------
 */
double nas__kde_density(const nas__kde *kde, const nas__genes *genes, const int *values) {
    double sum = 0;
    for (int i = 0; i < kde->n; i++) {
        double product = 1;
        for (int j = 0; j < genes->n; j++) {
            double bandwidth = kde->bandwidth[j];
            int others = genes->list[j].values - 1;
            product *= values[j] == kde->points[i * genes->n + j] ? 1 - bandwidth : others > 0 ? bandwidth / others : 0;
        }
        sum += product;
    }
    return sum / kde->n;
}

/* The normal reference rule on the values' numbers, as HpBandSter has it; at most what makes all values alike. */
static double bandwidth_of(const nas__kde *kde, const nas__genes *genes, int gene, double least) {
    double sum = 0, squares = 0;
    for (int i = 0; i < kde->n; i++) {
        double v = kde->points[i * genes->n + gene];
        sum += v;
        squares += v * v;
    }
    double mean = sum / kde->n, deviation = sqrt(fmax(squares / kde->n - mean * mean, 0));
    double rule = 1.06 * deviation * pow(kde->n, -1.0 / (4 + genes->n));
    int values = genes->list[gene].values;
    return fmin(fmax(rule, least), (values - 1.0) / values);
}

static nas_status fill(nas__kde *kde, const nas__kde_models *m, const nas__trial *const *trials, int n) {
    size_t genes = (size_t)m->genes.n;
    clear(kde);
    kde->n = n;
    kde->points = nas__alloc((size_t)n * genes * sizeof *kde->points);
    kde->bandwidth = nas__alloc(genes * sizeof *kde->bandwidth);
    if (!kde->points || !kde->bandwidth) {
        return nas_error_status();
    }
    for (int i = 0; i < n; i++) {
        nas__genes_read(&m->genes, trials[i]->architecture, kde->points + (size_t)i * genes);
    }
    for (int j = 0; j < m->genes.n; j++) {
        kde->bandwidth[j] = bandwidth_of(kde, &m->genes, j, m->least_bandwidth);
    }
    return NAS_OK;
}

/* --- the models of the largest share that has enough ---------------------------------------------------------------
 */
static int better_first(const void *a, const void *b) {
    const nas__trial *x = *(const nas__trial *const *)a, *y = *(const nas__trial *const *)b;
    return x->fitness != y->fitness ? (x->fitness < y->fitness ? 1 : -1)
                                    : (x->index > y->index) - (x->index < y->index);
}

static size_t with_share(const nas__trials *t, double share, const nas__trial **list) {
    size_t n = 0;
    for (size_t i = 0; i < t->n_done; i++) {
        if (t->done[i]->share == share && !t->done[i]->repeated) {
            list[n++] = t->done[i];
        }
    }
    return n;
}

/* Every trial counts as good or bad at most once: with few, the two sets meet. */
static nas_status model_share(nas__kde_models *m, const nas__trials *t, double share, const nas__trial **list) {
    size_t n = with_share(t, share, list), least = (size_t)m->genes.n + 1;
    if (n < least + 2) {
        return NAS_OK;
    }
    size_t good = (size_t)(good_share * (double)n), bad = (size_t)((1 - good_share) * (double)n);
    good = good < least ? least : good;
    bad = bad < least ? least : bad;
    bad = bad > n ? n : bad;
    qsort(list, n, sizeof *list, better_first);
    m->made = !fill(&m->good, m, list, (int)good) && !fill(&m->bad, m, list + n - bad, (int)bad);
    return nas_error_status();
}

static nas_status make(nas__kde_models *m, const nas__trials *t) {
    if (m->trials == t->n_done) {
        return NAS_OK;
    }
    const nas__trial **list = nas__alloc((t->n_done + 1) * sizeof *list);
    m->trials = t->n_done;
    m->made = false;
    double tried = INFINITY;
    while (list && !m->made && !nas_error_status()) {
        double share = 0; /* the largest below the last one tried */
        for (size_t i = 0; i < t->n_done; i++) {
            share = t->done[i]->share < tried ? fmax(share, t->done[i]->share) : share;
        }
        if (share == 0) {
            break;
        }
        model_share(m, t, tried = share, list);
    }
    free(list);
    return nas_error_status();
}

/* --- drawing ---------------------------------------------------------------------------------------------------------
 */
static void near_a_good_one(const nas__kde_models *m, double factor, nas_rng *rng, int *values) {
    int n = m->genes.n, point = (int)nas_rng_below(rng, (uint32_t)m->good.n);
    for (int j = 0; j < n; j++) {
        bool keeps = nas_rng_uniform(rng) >= fmin(factor * m->good.bandwidth[j], 1);
        values[j] = keeps ? m->good.points[point * n + j] : (int)nas_rng_below(rng, (uint32_t)m->genes.list[j].values);
    }
}

bool nas__kde_draw(nas__kde_models *m, const nas__trials *t, int candidates, double factor, nas_rng *rng,
                   nas_architecture *a) {
    size_t size = (size_t)m->genes.n * sizeof(int);
    if (make(m, t) || !m->made) {
        return false;
    }
    int *values = nas__alloc(2 * size), *best = values ? values + m->genes.n : NULL;
    double least = INFINITY;
    for (int i = 0; values && i < candidates; i++) {
        near_a_good_one(m, factor, rng, values);
        double ratio = fmax(nas__kde_density(&m->bad, &m->genes, values), smallest_density) /
                       fmax(nas__kde_density(&m->good, &m->genes, values), smallest_density);
        if (ratio < least) {
            least = ratio;
            memcpy(best, values, size);
        }
    }
    if (values) {
        nas__genes_write(&m->genes, best, a, rng);
    }
    free(values);
    return isfinite(least);
}
