/* asha.c - asynchronous successive halving (Li et al., MLSys 2020): many architectures with little training, the better
 * of them with more. From the top rung down, whoever is among the best 1/eta of his rung and was not promoted yet is;
 * when nobody is, a new architecture begins at the bottom (docs/decisions/0014). */
#include "search/rungs.h"

typedef struct asha_options {
    nas__trial_options trial;
    int eta, rungs;
} asha_options;

#define ROW(field, type, ...)                                                                                          \
    { #field, type, offsetof(asha_options, field), __VA_ARGS__ }
static const nas_option options[] = {
    ROW(eta, NAS_OPTION_INT, "3", 2, 100, NULL, "one of so many is promoted, to so many times the training"),
    ROW(rungs, NAS_OPTION_INT, "0", 0, 20, NULL, "0: as many as leave the lowest an epoch (four at most)"),
    NAS__TRIAL_OPTION_ROWS(asha_options, "standalone"),
    {0},
};

/* Trials of the top rung take as long as many of the lowest, which go on beside them. */
enum { AHEAD = 2 };

static const asha_options *options_of(const nas__trials *t) { return nas__trials_options(t); }

static nas_status begin_policy(nas__trials *t) {
    *(nas__rungs *)t->memory = nas__rungs_of(t->s, options_of(t)->eta, options_of(t)->rungs);
    return NAS_OK;
}

/* The best of rung k that its place entitles to a promotion and that has not had it. */
static const nas__trial *promotable(const nas__trials *t, const nas__rungs *r, int k) {
    size_t entitled = nas__rung_size(t, r, k) / (size_t)r->eta;
    const nas__trial *best = NULL;
    for (size_t i = 0; i < t->n_done; i++) {
        const nas__trial *trial = t->done[i];
        if (nas__rung(r, trial->share) == k && nas__rung_place(t, r, trial) < entitled &&
            !nas__trials_begun(t, trial->hash, nas__rung_share(r, k + 1)) && isfinite(trial->fitness) &&
            (!best || trial->fitness > best->fitness)) {
            best = trial;
        }
    }
    return best;
}

static nas__proposal propose(nas__trials *t, nas_rng *rng, nas__trial *trial) {
    const nas__rungs *r = t->memory;
    for (int k = r->n - 2; k >= 0; k--) {
        const nas__trial *up = promotable(t, r, k);
        if (up) {
            nas__architecture_assign(trial->architecture, up->architecture);
            trial->share = nas__rung_share(r, k + 1);
            return NAS__PROPOSED;
        }
    }
    nas__trials_new(t, rng, trial->architecture);
    trial->share = nas__rung_share(r, 0);
    return NAS__PROPOSED;
}

/* As many as it takes for one to reach the top. */
static size_t beginning(const nas__trials *t) {
    const nas__rungs *r = t->memory;
    return (size_t)lround(pow(r->eta, r->n - 1));
}

static const nas__policy policy = {.beginning = beginning,
                                   .memory_size = sizeof(nas__rungs),
                                   .fresh_only = true,
                                   .ahead = AHEAD,
                                   .begin = begin_policy,
                                   .propose = propose};

static nas_status begin(nas_search *s) { return nas__trials_begin(s, &policy); }

const nas_strategy nas__strategy_asha = {
    .name = "asha",
    .summary = "asynchronous successive halving: little training for many architectures, more for the better ones",
    .paper = "Li et al.: A System for Massively Parallel Hyperparameter Tuning, MLSys 2020",
    .options = options,
    .options_size = sizeof(asha_options),
    .state_size = sizeof(nas__trials),
    .begin = begin,
    NAS__TRIAL_STRATEGY,
};
