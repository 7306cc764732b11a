/* hyperband.c - see hyperband.h, and the strategies hyperband and bohb: new architectures are random ones, or drawn
 * from a model of the trials so far (Falkner, Klein and Hutter, ICML 2018). */
#include "search/hyperband.h"
#include "search/kde.h"

#include <stdlib.h>

int nas__bracket_size(const nas__rungs *r, int s) { return (int)ceil((double)r->n / (s + 1) * pow(r->eta, s) - 1e-9); }

/* --- the schedule ----------------------------------------------------------------------------------------------------
 */
static void open_bracket(nas__hyperband *h, int s) {
    free(h->members);
    h->members = NULL;
    h->bracket = s;
    h->rung = h->rungs.n - 1 - s;
    h->size = nas__bracket_size(&h->rungs, s);
    h->begun = 0;
}

void nas__hyperband_begin(nas__hyperband *h, nas__rungs rungs) {
    *h = (nas__hyperband){.rungs = rungs};
    open_bracket(h, rungs.n - 1);
}

void nas__hyperband_end(nas__hyperband *h) { free(h->members); }

static bool better(const nas__trials *t, size_t a, size_t b) {
    double x = t->done[a]->fitness, y = t->done[b]->fitness;
    return x != y ? x > y : a < b;
}

/* The round that ended are the last `size` trials; its best are the members of the next, one rung up. */
static void promote(nas__hyperband *h, const nas__trials *t) {
    size_t n = (size_t)h->size, from = t->n_done - n, *order = nas__alloc(n * sizeof *order);
    for (size_t i = 0; order && i < n; i++) {
        size_t at = i;
        for (; at > 0 && better(t, from + i, order[at - 1]); at--) {
            order[at] = order[at - 1];
        }
        order[at] = from + i;
    }
    free(h->members);
    h->members = order;
    h->size /= h->rungs.eta;
    h->rung++;
    h->begun = 0;
}

static bool ends(const nas__hyperband *h) { return h->rung == h->rungs.n - 1 || h->size < h->rungs.eta; }

bool nas__hyperband_waits(const nas__hyperband *h, const nas__trials *t) {
    return h->begun == h->size && !ends(h) && t->n_open > 0;
}

const nas__trial *nas__hyperband_next(nas__hyperband *h, const nas__trials *t, double *share) {
    if (h->begun == h->size) {
        ends(h) ? open_bracket(h, h->bracket > 0 ? h->bracket - 1 : h->rungs.n - 1) : promote(h, t);
    }
    *share = nas__rung_share(&h->rungs, h->rung);
    return h->members ? t->done[h->members[h->begun]] : NULL;
}

void nas__hyperband_accept(nas__hyperband *h) { h->begun++; }

/* --- the strategies
 * ---------------------------------------------------------------------------------------------------- */
typedef struct band_options {
    nas__trial_options trial;
    int eta, rungs, candidates;
    double random, bandwidth_factor, least_bandwidth;
} band_options;

#define ROW(field, type, ...)                                                                                          \
    { #field, type, offsetof(band_options, field), __VA_ARGS__ }
#define BAND_ROWS                                                                                                      \
    ROW(eta, NAS_OPTION_INT, "3", 2, 100, NULL, "one of so many is promoted, to so many times the training"),          \
        ROW(rungs, NAS_OPTION_INT, "0", 0, 20, NULL, "0: as many as leave the lowest an epoch (four at most)"),        \
        NAS__TRIAL_OPTION_ROWS(band_options, "standalone")

static const nas_option hyperband_options[] = {BAND_ROWS, {0}};
static const nas_option bohb_options[] = {
    ROW(random, NAS_OPTION_FLOAT, "0.333", 0, 1, NULL, "share of new architectures that are drawn without the model"),
    ROW(candidates, NAS_OPTION_INT, "64", 1, 100000, NULL, "draws near good ones, of which the most telling is taken"),
    ROW(bandwidth_factor, NAS_OPTION_FLOAT, "1", 0.01, 100, NULL, "draws are wider than the model by this factor"),
    ROW(least_bandwidth, NAS_OPTION_FLOAT, "0.3", 1e-6, 1, NULL,
        "the model's kernels are no narrower: probability of another candidate at least"),
    BAND_ROWS,
    {0},
};

typedef struct band {
    nas__hyperband schedule;
    nas__kde_models models; /* bohb only */
} band;

static const band_options *options_of(const nas__trials *t) { return nas__trials_options(t); }
static bool has_model(const nas__trials *t) { return options_of(t)->candidates > 0; }

static nas_status begin_policy(nas__trials *t) {
    band *b = t->memory;
    nas__hyperband_begin(&b->schedule, nas__rungs_of(t->s, options_of(t)->eta, options_of(t)->rungs));
    return has_model(t) ? nas__kde_begin(&b->models, nas__trials_space(t), options_of(t)->least_bandwidth) : NAS_OK;
}

static void end_policy(nas__trials *t) {
    band *b = t->memory;
    nas__hyperband_end(&b->schedule);
    nas__kde_end(&b->models);
}

static nas__proposal propose(nas__trials *t, nas_rng *rng, nas__trial *trial) {
    band *b = t->memory;
    const band_options *o = options_of(t);
    if (nas__hyperband_waits(&b->schedule, t)) {
        return NAS__WAIT;
    }
    const nas__trial *up = nas__hyperband_next(&b->schedule, t, &trial->share);
    if (up) {
        nas__architecture_assign(trial->architecture, up->architecture);
    } else if (!has_model(t) || nas_rng_uniform(rng) < o->random ||
               !nas__kde_draw(&b->models, t, o->candidates, o->bandwidth_factor, rng, trial->architecture)) {
        nas__trials_new(t, rng, trial->architecture);
    }
    return nas_error_status() ? NAS__EXHAUSTED : NAS__PROPOSED;
}

static void accept(nas__trials *t, const nas__trial *trial) {
    (void)trial;
    nas__hyperband_accept(&((band *)t->memory)->schedule);
}

/* The first round of the first bracket. */
static size_t beginning(const nas__trials *t) {
    const nas__rungs *r = &((const band *)t->memory)->schedule.rungs;
    return (size_t)nas__bracket_size(r, r->n - 1);
}

#define BAND_POLICY                                                                                                    \
    .memory_size = sizeof(band), .begin = begin_policy, .propose = propose, .accept = accept, .end = end_policy,       \
    .beginning = beginning
static const nas__policy without_model = {BAND_POLICY, .ahead = NAS__FAR_AHEAD}, with_model = {BAND_POLICY};

static nas_status begin_hyperband(nas_search *s) { return nas__trials_begin(s, &without_model); }
static nas_status begin_bohb(nas_search *s) { return nas__trials_begin(s, &with_model); }

const nas_strategy nas__strategy_hyperband = {
    .name = "hyperband",
    .summary = "brackets of successive halving, from many architectures with little training to few with all of it",
    .paper = "Li, Jamieson, DeSalvo, Rostamizadeh, Talwalkar: Hyperband, JMLR 2018",
    .options = hyperband_options,
    .options_size = sizeof(band_options),
    .state_size = sizeof(nas__trials),
    .begin = begin_hyperband,
    NAS__TRIAL_STRATEGY,
};

const nas_strategy nas__strategy_bohb = {
    .name = "bohb",
    .summary = "Hyperband whose new architectures come from a model of the good and the bad ones",
    .paper = "Falkner, Klein, Hutter: BOHB: Robust and Efficient Hyperparameter Optimization at Scale, ICML 2018",
    .options = bohb_options,
    .options_size = sizeof(band_options),
    .state_size = sizeof(nas__trials),
    .begin = begin_bohb,
    NAS__TRIAL_STRATEGY,
};
