/* spos.c - Single Path One-Shot (Guo et al., ECCV 2020): every step trains one uniformly drawn path, or fairly each
 * candidate once (FairNAS, Chu et al., ICCV 2021); then evolution with the shared weights, batch norm calibrated anew
 * for each path. What is not on the path has no gradient, and the optimiser passes it over: no momentum, no decay. */
#include "search/generations.h"
#include "space/space.h"

#include <stdlib.h>

enum { PURPOSE_FAIR = 0x590501 };

typedef enum sampling { UNIFORM, FAIR } sampling;

typedef struct spos_options {
    nas__trial_options trial;
    nas__generations search;
    int sampling;
    bool recalibrate;
} spos_options;

static const nas_option options[] = {
    {"sampling", NAS_OPTION_CHOICE, offsetof(spos_options, sampling), "uniform", 0, 0, "uniform|fair",
     "uniform: a step is one random path; fair: as many paths as choices have candidates, each candidate once"},
    {"recalibrate", NAS_OPTION_BOOL, offsetof(spos_options, recalibrate), "1", 0, 0, NULL,
     "calibrate batch norm for each path that is judged; 0: with the running estimates of all paths, to see the "
     "difference"},
    NAS__GENERATIONS_ROWS(spos_options),
    NAS__TRIAL_OPTION_ROWS(spos_options, "shared"),
    {0},
};

/* --- strict fairness --------------------------------------------------------------------------------------------- */
typedef struct fair_paths {
    int n, m;          /* choices, candidates of each */
    int path;          /* that runs */
    unsigned char *of; /* (n, m): the candidate of each choice in each path */
} fair_paths;

static nas_status check_fair(const nas_space *space) {
    for (int i = 0; i < nas_space_size(space); i++) {
        const nas_choice *c = nas_space_choice(space, i), *first = nas_space_choice(space, 0);
        if (c->n_min != 1 || c->n_max != 1) {
            return nas__fail(NAS_UNSUPPORTED,
                             "spos, sampling=fair: choice \"%s\" may take several candidates; a fair step runs each "
                             "once, alone. Set sampling=uniform",
                             c->key);
        }
        if (c->parent >= 0) {
            return nas__fail(NAS_UNSUPPORTED,
                             "spos, sampling=fair: choice \"%s\" lies inside a candidate of \"%s\" and does not run in "
                             "every path, so its candidates cannot be run equally often. Set sampling=uniform",
                             c->key, nas_space_choice(space, c->parent)->key);
        }
        if (c->n != first->n) {
            return nas__fail(NAS_UNSUPPORTED,
                             "spos, sampling=fair: choice \"%s\" has %d candidates and \"%s\" has %d; a fair step runs "
                             "each once, so all choices need equally many. Set sampling=uniform",
                             c->key, c->n, first->key, first->n);
        }
    }
    return NAS_OK;
}

/* Path j takes the j-th of each choice's own permutation. */
static bool draw_paths(const nas_search *s, fair_paths *f) {
    nas_rng rng = nas_search_rng(s, PURPOSE_FAIR);
    f->n = nas_space_size(s->space);
    f->m = nas_space_choice(s->space, 0)->n;
    f->of = nas__alloc((size_t)f->n * (size_t)f->m);
    for (int i = 0; f->of && i < f->n; i++) {
        unsigned char *row = f->of + (size_t)i * (size_t)f->m;
        for (int k = 0; k < f->m; k++) { /* Fisher and Yates, from the inside out */
            int other = (int)nas_rng_below(&rng, (uint32_t)k + 1);
            row[k] = row[other];
            row[other] = (unsigned char)k;
        }
    }
    return f->of != NULL;
}

static nas_status decide_fair(nas_search *s, void *user) {
    const fair_paths *f = user;
    nas_status status = NAS_OK;
    for (int i = 0; !status && i < f->n; i++) {
        int candidate = f->of[(size_t)i * (size_t)f->m + (size_t)f->path];
        status = nas_decide(s->space, i, (nas_decision){.run = (uint64_t)1 << candidate});
    }
    return status;
}

/* The gradients of all paths add up to one step. */
static nas_status fair_step(nas_search *s, const nas_batch *train, double *loss) {
    nas_trainer *t = nas__trainer_of(s);
    fair_paths f = {0};
    nas_status status = draw_paths(s, &f) ? NAS_OK : nas_error_status();
    *loss = 0;
    for (; !status && f.path < f.m; f.path++) {
        nas_pass_result result = {0};
        status = nas_search_pass(
            s,
            &(nas_pass){.batch = train, .grad = NAS_ROLE_WEIGHT, .training = true, .decide = decide_fair, .user = &f},
            &result);
        *loss += result.loss / f.m;
    }
    status = status ? status : nas__checked_step(s->optimizer, s->lr, t->config.clip_norm, s->step, s->epoch);
    nas__score_forget(t);
    free(f.of);
    return status;
}

/* --- the strategy ------------------------------------------------------------------------------------------------ */
static nas_status begin(nas_search *s) {
    const spos_options *o = s->options;
    nas__trainer_of(s)->score_bn = o->recalibrate ? NAS_BN_CALIBRATED : NAS_BN_RUNNING;
    nas_status status = o->sampling == FAIR ? check_fair(s->space) : NAS_OK;
    return status ? status : nas__trials_begin(s, &nas__generations_policy);
}

static nas_status step(nas_search *s, const nas_batch *train, double *loss) {
    const spos_options *o = s->options;
    return (o->sampling == FAIR ? fair_step : nas__trials_step)(s, train, loss);
}

const nas_strategy nas__strategy_spos = {
    .name = "spos",
    .summary = "single paths, uniform or strictly fair, train the shared weights; evolution searches with them",
    .paper = "Guo et al., Single Path One-Shot Neural Architecture Search with Uniform Sampling, ECCV 2020, arXiv "
             "1904.00420; sampling=fair: Chu et al., FairNAS, ICCV 2021, arXiv 1907.01845",
    .options = options,
    .options_size = sizeof(spos_options),
    .state_size = sizeof(nas__trials),
    .begin = begin,
    .train_epochs = nas__trials_train_epochs,
    .step = step,
    .conclude = nas__trials_conclude,
    .conclude_share = nas__trials_conclude_share,
    .state = nas__trials_state,
    .end = nas__trials_end,
};
