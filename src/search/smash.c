/* smash.c - SMASH (Brock, Lim, Ritchie and Weston, ICLR 2018): a hypernetwork learns to give the weights of any
 * architecture, from another one in each batch; then random architectures are ranked with the weights that it gives
 * them, and the best is changed a little. */
#include "search/smash.h"
#include "search/trials.h"

#include <math.h>

enum { PURPOSE_SAMPLE = 0x50a501, PURPOSE_Z = 0x50a502, PURPOSE_FIXED_Z = 0x50a503, DEFAULT_TRIALS = 100 };

typedef struct smash_options {
    nas__trial_options trial;
    double random_share, perturbation;
} smash_options;

#define ROW(field, type, ...)                                                                                          \
    { #field, type, offsetof(smash_options, field), __VA_ARGS__ }
static const nas_option options[] = {
    ROW(random_share, NAS_OPTION_FLOAT, "0.714", 0.01, 1, NULL,
        "of the trials, the part of random architectures; half of the rest change the best of these, the other half "
        "the best so far"),
    ROW(perturbation, NAS_OPTION_FLOAT, "0.05", 0.001, 1, NULL, "probability that a choice of the best is drawn anew"),
    NAS__TRIAL_OPTION_ROWS(smash_options, "shared"),
    {0},
};

static nas_status accepts(const nas_space *space) {
    return nas__smash_of(space) ? NAS_OK
                                : nas__fail(NAS_UNSUPPORTED, "smash needs the space smash, whose network has a "
                                                             "hypernetwork that gives the ops their weights");
}

/* --- training: another architecture and another z in each batch ----------------------------------------------------
 */
static nas_status draw(nas_search *s, void *user) {
    nas_rng rng = nas_search_rng(s, PURPOSE_SAMPLE), noise = nas_search_rng(s, PURPOSE_Z);
    nas_architecture *a = nas_architecture_new(s->space);
    (void)user;
    if (a) {
        nas__smash_sample(a, &rng, s->progress);
        nas_architecture_apply(a, s->space);
        nas__smash_of(s->space)->z = (float)nas_rng_normal(&noise);
    }
    nas_architecture_free(a);
    return nas_error_status();
}

static nas_status step(nas_search *s, const nas_batch *train, double *loss) {
    return nas_search_weight_step(s, train, draw, NULL, loss);
}

/* --- ranking ---------------------------------------------------------------------------------------------------------
 */
static const smash_options *options_of(const nas__trials *t) { return nas__trials_options(t); }

static int64_t trials_of(const nas__trials *t) {
    const int given = options_of(t)->trial.trials, budget = t->s->config->budget.trials;
    return given > 0 ? given : budget > 0 ? budget : DEFAULT_TRIALS;
}

/* The first best of the first n that are done. */
static const nas__trial *best_of(const nas__trials *t, size_t n) {
    const nas__trial *best = t->done[0];
    for (size_t i = 1; i < t->n_done && i < n; i++) {
        best = t->done[i]->fitness > best->fitness ? t->done[i] : best;
    }
    return best;
}

static nas__proposal propose(nas__trials *t, nas_rng *rng, nas__trial *trial) {
    const int64_t all = trials_of(t), random = (int64_t)ceil((double)all * options_of(t)->random_share);
    if ((int64_t)t->n_done < random || t->n_done == 0) {
        nas__smash_sample(trial->architecture, rng, 1);
        return NAS__PROPOSED;
    }
    const bool chain = (int64_t)t->n_done >= random + (all - random) / 2;
    nas__architecture_assign(trial->architecture, best_of(t, chain ? t->n_done : (size_t)random)->architecture);
    nas__smash_perturb(trial->architecture, rng, options_of(t)->perturbation);
    return nas_error_status() ? NAS__EXHAUSTED : NAS__PROPOSED;
}

static const nas__policy policy = {.fresh_only = true, .propose = propose};

static nas_status begin(nas_search *s) { return nas__trials_begin(s, &policy); }

/* One z for all: its noise is not to rank them. */
static nas_status conclude(nas_search *s) {
    nas_rng rng = nas_rng_new(s->config->seed, PURPOSE_FIXED_Z);
    nas__smash_of(s->space)->z = (float)nas_rng_normal(&rng);
    return nas__trials_conclude(s);
}

const nas_strategy nas__strategy_smash = {
    .name = "smash",
    .summary = "a hypernetwork gives each architecture its weights; random ones are ranked, the best changed a little",
    .paper = "Brock, Lim, Ritchie, Weston: SMASH: One-Shot Model Architecture Search through HyperNetworks, ICLR 2018",
    .options = options,
    .options_size = sizeof(smash_options),
    .state_size = sizeof(nas__trials),
    .accepts = accepts,
    .begin = begin,
    .train_epochs = nas__trials_train_epochs,
    .step = step,
    .conclude = conclude,
    .conclude_share = nas__trials_conclude_share,
    .state = nas__trials_state,
    .end = nas__trials_end,
};
