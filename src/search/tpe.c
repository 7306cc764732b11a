/* tpe.c - the tree-structured Parzen estimator (Bergstra, Bardenet, Bengio and Kegl, NeurIPS 2011) over categories:
 * what is frequent among the good architectures and rare among the others is tried next, each decision by itself. */
#include "search/genes.h"
#include "search/trials.h"

#include <math.h>
#include <stdlib.h>

typedef struct tpe_options {
    nas__trial_options trial;
    int startup, candidates, forgetting;
    double gamma, prior;
} tpe_options;

#define ROW(field, type, ...)                                                                                          \
    { #field, type, offsetof(tpe_options, field), __VA_ARGS__ }
static const nas_option options[] = {
    ROW(startup, NAS_OPTION_INT, "20", 1, 100000, NULL, "random trials before there is a model"),
    ROW(gamma, NAS_OPTION_FLOAT, "0.25", 0.001, 100, NULL, "of n trials, gamma times the root of n are the good ones"),
    ROW(candidates, NAS_OPTION_INT, "24", 1, 100000, NULL,
        "draws from the good ones, of which the most telling is taken"),
    ROW(prior, NAS_OPTION_FLOAT, "1", 1e-6, 1000, NULL, "weight of the uniform distribution in both models"),
    ROW(forgetting, NAS_OPTION_INT, "25", 0, 100000, NULL,
        "so many of the newest trials have full weight, older ones less and less; 0: all have"),
    NAS__TRIAL_OPTION_ROWS(tpe_options, "standalone"),
    {0},
};

enum { MOST_GOOD = 25 };

typedef struct seen {
    double fitness;
    int order; /* of completion */
    bool good;
} seen;

typedef struct tpe {
    nas__genes genes;
    int *values;     /* of every trial that is done, n genes each */
    size_t n_values; /* trials with values */
    double *good, *others;
    int *drawn;
} tpe;

static const tpe_options *options_of(const nas__trials *t) { return nas__trials_options(t); }

static nas_status begin_policy(nas__trials *t) {
    tpe *m = t->memory;
    nas_status status = nas__genes_new(&m->genes, nas__trials_space(t));
    m->good = nas__alloc((size_t)(m->genes.most_values + 1) * sizeof *m->good);
    m->others = nas__alloc((size_t)(m->genes.most_values + 1) * sizeof *m->others);
    m->drawn = nas__alloc((size_t)(m->genes.n + 1) * sizeof *m->drawn);
    return status ? status : nas_error_status();
}

static void end_policy(nas__trials *t) {
    tpe *m = t->memory;
    nas__genes_free(&m->genes);
    free(m->values);
    free(m->good);
    free(m->others);
    free(m->drawn);
}

static void observe(nas__trials *t, const nas__trial *trial) {
    tpe *m = t->memory;
    size_t n = (size_t)m->genes.n;
    if (nas__grow(&m->values, m->n_values, n * sizeof *m->values)) {
        nas__genes_read(&m->genes, trial->architecture, m->values + m->n_values++ * n);
    }
}

/* --- the two models ------------------------------------------------------------------------------------------------
 */
static int better_first(const void *a, const void *b) {
    const seen *x = a, *y = b;
    return x->fitness != y->fitness ? (x->fitness < y->fitness ? 1 : -1)
                                    : (x->order > y->order) - (x->order < y->order);
}

static int in_order(const void *a, const void *b) { return ((const seen *)a)->order - ((const seen *)b)->order; }

/* Of all trials that are done, which are the good ones? In the order of completion. */
static seen *divide(const nas__trials *t) {
    size_t n = t->n_done;
    seen *list = nas__alloc((n + 1) * sizeof *list);
    for (size_t i = 0; list && i < n; i++) {
        list[i] = (seen){.fitness = t->done[i]->fitness, .order = (int)i};
    }
    if (list) {
        int good = (int)fmin(ceil(options_of(t)->gamma * sqrt((double)n)), MOST_GOOD);
        qsort(list, n, sizeof *list, better_first);
        for (int i = 0; i < good && i < (int)n; i++) {
            list[i].good = true;
        }
        qsort(list, n, sizeof *list, in_order);
    }
    return list;
}

/* The weight of the i-th of n observations, the newest last (Bergstra's linear forgetting). */
static double weight(int i, int n, int forgetting) {
    int old = n - forgetting;
    if (forgetting == 0 || old <= 0 || i >= old) {
        return 1;
    }
    return old == 1 ? 1.0 / n : 1.0 / n + (1 - 1.0 / n) * i / (old - 1);
}

/* The probability of each value of a gene among the good trials, or among the others. */
static void model(const nas__trials *t, const seen *list, int gene, bool good, double *p) {
    const tpe *m = t->memory;
    const tpe_options *o = options_of(t);
    int values = m->genes.list[gene].values, n = 0, at = 0;
    double sum = 0;
    for (size_t i = 0; i < t->n_done; i++) {
        n += list[i].good == good;
    }
    for (int v = 0; v < values; v++) {
        p[v] = o->prior;
    }
    for (size_t i = 0; i < t->n_done; i++) {
        if (list[i].good == good) {
            p[m->values[i * (size_t)m->genes.n + (size_t)gene]] += weight(at++, n, o->forgetting);
        }
    }
    for (int v = 0; v < values; v++) {
        sum += p[v];
    }
    for (int v = 0; v < values; v++) {
        p[v] /= sum;
    }
}

/* The most telling of some draws from the good model. */
static int draw(const nas__trials *t, int gene, nas_rng *rng) {
    const tpe *m = t->memory;
    int best = -1;
    for (int i = 0; i < options_of(t)->candidates; i++) {
        int v = nas_rng_choose(rng, m->genes.list[gene].values, m->good);
        best = best < 0 || m->good[v] * m->others[best] > m->good[best] * m->others[v] ? v : best;
    }
    return best;
}

static nas__proposal propose(nas__trials *t, nas_rng *rng, nas__trial *trial) {
    tpe *m = t->memory;
    if (nas__trials_proposed(t) < (size_t)options_of(t)->startup) {
        nas__trials_new(t, rng, trial->architecture);
        return NAS__PROPOSED;
    }
    seen *list = divide(t);
    for (int gene = 0; list && gene < m->genes.n; gene++) {
        model(t, list, gene, true, m->good);
        model(t, list, gene, false, m->others);
        m->drawn[gene] = draw(t, gene, rng);
    }
    if (list) {
        nas__genes_write(&m->genes, m->drawn, trial->architecture, rng);
    }
    free(list);
    return list ? NAS__PROPOSED : NAS__EXHAUSTED;
}

static size_t beginning(const nas__trials *t) { return (size_t)options_of(t)->startup; }

static const nas__policy policy = {.memory_size = sizeof(tpe),
                                   .beginning = beginning,
                                   .begin = begin_policy,
                                   .propose = propose,
                                   .observe = observe,
                                   .end = end_policy};

static nas_status begin(nas_search *s) { return nas__trials_begin(s, &policy); }

const nas_strategy nas__strategy_tpe = {
    .name = "tpe",
    .summary = "tree-structured Parzen estimator: what is frequent among good architectures and rare among others",
    .paper = "Bergstra, Bardenet, Bengio, Kegl: Algorithms for Hyper-Parameter Optimization, NeurIPS 2011",
    .options = options,
    .options_size = sizeof(tpe_options),
    .state_size = sizeof(nas__trials),
    .begin = begin,
    NAS__TRIAL_STRATEGY,
};
