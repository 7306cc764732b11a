/* grid.c - all architectures in order: for small spaces, and as an oracle. */
#include "search/trials.h"
#include "space/space.h"

#include <math.h>

typedef struct grid_options {
    nas__trial_options trial;
} grid_options;

static const nas_option options[] = {NAS__TRIAL_OPTION_ROWS(grid_options, "standalone"), {0}};

/* Where the counter stands; it also counts through what was passed over as known or beyond the limits. */
typedef struct grid {
    nas_architecture *at;
    bool started, over;
} grid;

static const double most = 6;

static nas_status accepts(const nas_space *space) {
    return nas_space_log10_size(space) <= most
               ? NAS_OK
               : nas__fail(NAS_UNSUPPORTED,
                           "grid tries every architecture, and this space has 10^%.1f; take random, evolution or "
                           "another strategy that samples",
                           nas_space_log10_size(space));
}

static nas_status begin_policy(nas__trials *t) {
    ((grid *)t->memory)->at = nas_architecture_new(nas__trials_space(t));
    return nas_error_status();
}

static void end_policy(nas__trials *t) { nas_architecture_free(((grid *)t->memory)->at); }

static void restart(nas_architecture *a) {
    for (int i = 0; i < a->space->n_choices; i++) {
        a->bits[i] = nas__choice_set(&a->space->choices[i].public_, 0);
    }
}

static nas__proposal propose(nas__trials *t, nas_rng *rng, nas__trial *trial) {
    grid *g = t->memory;
    (void)rng;
    if (!g->started) {
        restart(g->at);
        g->started = true;
    } else {
        g->over = g->over || !nas__architecture_next(g->at);
    }
    nas__architecture_assign(trial->architecture, g->at);
    return g->over ? NAS__EXHAUSTED : NAS__PROPOSED;
}

static const nas__policy policy = {.memory_size = sizeof(grid),
                                   .fresh_only = true,
                                   .ahead = NAS__FAR_AHEAD,
                                   .begin = begin_policy,
                                   .propose = propose,
                                   .end = end_policy};

static nas_status begin(nas_search *s) { return nas__trials_begin(s, &policy); }

const nas_strategy nas__strategy_grid = {
    .name = "grid",
    .summary = "every architecture of a small space, in order",
    .options = options,
    .options_size = sizeof(grid_options),
    .state_size = sizeof(nas__trials),
    .accepts = accepts,
    .begin = begin,
    NAS__TRIAL_STRATEGY,
};
