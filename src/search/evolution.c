/* evolution.c - regularised evolution (Real, Aggarwal, Huang and Le, AAAI 2019): a queue of architectures; the best of
 * a random sample has a child with one change, and the oldest leaves, however good it is. */
#include "search/trials.h"
#include "space/space.h"

#include <math.h>

typedef struct evolution_options {
    nas__trial_options trial;
    int population, sample;
    double crossover;
} evolution_options;

#define ROW(field, type, ...)                                                                                          \
    { #field, type, offsetof(evolution_options, field), __VA_ARGS__ }
static const nas_option options[] = {
    ROW(population, NAS_OPTION_INT, "50", 2, 100000, NULL, "architectures that live at a time; the oldest dies"),
    ROW(sample, NAS_OPTION_INT, "10", 1, 100000, NULL, "drawn (with repetition) for a parent: the best of them"),
    ROW(crossover, NAS_OPTION_FLOAT, "0", 0, 1, NULL,
        "probability that a second parent gives half of its choices before the change"),
    NAS__TRIAL_OPTION_ROWS(evolution_options, "standalone"),
    {0},
};

static const evolution_options *options_of(const nas__trials *t) { return nas__trials_options(t); }

/* The living are the last `population` of the trials that are done: order of completion is age. */
static size_t first_living(const nas__trials *t) {
    size_t population = (size_t)options_of(t)->population;
    return t->n_done > population ? t->n_done - population : 0;
}

static const nas__trial *best_of_sample(const nas__trials *t, nas_rng *rng) {
    size_t first = first_living(t);
    const nas__trial *best = NULL;
    for (int i = 0; i < options_of(t)->sample; i++) {
        const nas__trial *drawn = t->done[first + nas_rng_below(rng, (uint32_t)(t->n_done - first))];
        best = !best || drawn->fitness > best->fitness ? drawn : best;
    }
    return best;
}

static nas__proposal propose(nas__trials *t, nas_rng *rng, nas__trial *trial) {
    if (nas__trials_proposed(t) < (size_t)options_of(t)->population || t->n_done == 0) {
        nas__trials_new(t, rng, trial->architecture);
        return NAS__PROPOSED;
    }
    nas__architecture_assign(trial->architecture, best_of_sample(t, rng)->architecture);
    if (options_of(t)->crossover > 0 && nas_rng_uniform(rng) < options_of(t)->crossover) {
        nas__architecture_cross(trial->architecture, best_of_sample(t, rng)->architecture, rng);
    }
    return nas__architecture_mutate(trial->architecture, rng) < 0 ? NAS__EXHAUSTED : NAS__PROPOSED;
}

static size_t beginning(const nas__trials *t) { return (size_t)options_of(t)->population; }

static const nas__policy policy = {.propose = propose, .beginning = beginning};

static nas_status begin(nas_search *s) { return nas__trials_begin(s, &policy); }

const nas_strategy nas__strategy_evolution = {
    .name = "evolution",
    .summary = "regularised (aging) evolution: children of the best of a sample, and the oldest dies",
    .paper = "Real, Aggarwal, Huang, Le: Regularized Evolution for Image Classifier Architecture Search, AAAI 2019",
    .options = options,
    .options_size = sizeof(evolution_options),
    .state_size = sizeof(nas__trials),
    .begin = begin,
    NAS__TRIAL_STRATEGY,
};
