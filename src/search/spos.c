/* spos.c - Single Path One-Shot (Guo et al., ECCV 2020): every step trains one path, drawn uniformly or evenly over
 * what paths cost, or fairly each candidate once (FairNAS, Chu et al., ICCV 2021); then evolution with the shared
 * weights, batch norm calibrated anew for each path. What is not on the path has no gradient, and the optimiser passes
 * it over: no momentum, no decay. */
#include "search/generations.h"
#include "space/space.h"

#include <math.h>
#include <stdlib.h>

enum { PURPOSE_FAIR = 0x590501, PURPOSE_BIN, PURPOSE_RANGE };
enum { RANGE_DRAWS = 200, BIN_DRAWS = 500 }; /* the latter as in the authors' program */

typedef enum sampling { UNIFORM, FAIR, BINS } sampling;

typedef struct spos_options {
    nas__trial_options trial;
    nas__generations search;
    int sampling, bins;
    double least_macs, most_macs;
    bool recalibrate;
} spos_options;

static const nas_option options[] = {
    {"sampling", NAS_OPTION_CHOICE, offsetof(spos_options, sampling), "uniform", 0, 0, "uniform|fair|bins",
     "uniform: a step is one random path; fair: as many paths as choices have candidates, each candidate once; bins: "
     "one path, whose multiply-adds fall into each bin equally often"},
    {"bins", NAS_OPTION_INT, offsetof(spos_options, bins), "7", 1, 1000, NULL, "sampling=bins: how many"},
    {"least_macs", NAS_OPTION_FLOAT, offsetof(spos_options, least_macs), "0", 0, 1e9, NULL,
     "sampling=bins: where the first begins, in millions of multiply-adds; 0: the least of 200 random paths"},
    {"most_macs", NAS_OPTION_FLOAT, offsetof(spos_options, most_macs), "0", 0, 1e9, NULL,
     "sampling=bins: where the last ends; 0: the most of these"},
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

/* --- even over multiply-adds ---------------------------------------------------------------------------------------
 */
typedef struct spos {
    nas__trials trials;
    double least, most; /* multiply-adds that the bins share */
} spos;

static nas_status find_range(nas_search *s) {
    const spos_options *o = s->options;
    spos *m = s->memory;
    nas_architecture *a = nas_architecture_new(s->space);
    nas_rng rng = nas_rng_new(s->config->seed, (uint64_t)PURPOSE_RANGE << 40);
    m->least = INFINITY;
    for (int i = 0; a && i < RANGE_DRAWS && !nas_error_status(); i++) {
        nas_architecture_random(a, &rng);
        double cost = nas__exact_cost(nas__trainer_of(s), NAS__COST_MACS, a);
        m->least = fmin(m->least, cost);
        m->most = fmax(m->most, cost);
    }
    nas_architecture_free(a);
    m->least = o->least_macs > 0 ? o->least_macs * 1e6 : m->least;
    m->most = o->most_macs > 0 ? o->most_macs * 1e6 : m->most;
    return nas_error_status()   ? nas_error_status()
           : m->least < m->most ? NAS_OK
                                : nas__fail(NAS_UNSUPPORTED,
                                            "spos, sampling=bins: there is nothing between %g and %g million "
                                            "multiply-adds to be divided into bins; set least_macs and most_macs, or "
                                            "sampling=uniform",
                                            m->least / 1e6, m->most / 1e6);
}

/* A bin, and random paths until one falls into it; when none does, the last of them. */
static nas_status decide_in_bin(nas_search *s, void *user) {
    const spos *m = s->memory;
    int bins = ((const spos_options *)s->options)->bins;
    nas_rng rng = nas_search_rng(s, PURPOSE_BIN);
    nas_architecture *a = nas_architecture_new(s->space);
    double width = (m->most - m->least) / bins, bin = nas_rng_below(&rng, (uint32_t)bins);
    bool falls = false;
    (void)user;
    for (int i = 0; a && !falls && i < BIN_DRAWS && !nas_error_status(); i++) {
        nas_architecture_random(a, &rng);
        double place = (nas__exact_cost(nas__trainer_of(s), NAS__COST_MACS, a) - m->least) / width;
        falls = place >= bin && (place < bin + 1 || (bin + 1 == bins && place <= bins));
    }
    if (a) {
        nas_architecture_apply(a, s->space);
    }
    nas_architecture_free(a);
    return nas_error_status();
}

/* --- the strategy ------------------------------------------------------------------------------------------------ */
static nas_status begin(nas_search *s) {
    const spos_options *o = s->options;
    nas__trainer_of(s)->score_bn = o->recalibrate ? NAS_BN_CALIBRATED : NAS_BN_RUNNING;
    nas_status status = nas__trials_begin(s, &nas__generations_policy);
    return status ? status : o->sampling == FAIR ? check_fair(s->space) : o->sampling == BINS ? find_range(s) : NAS_OK;
}

static nas_status step(nas_search *s, const nas_batch *train, double *loss) {
    const spos_options *o = s->options;
    return o->sampling == FAIR   ? fair_step(s, train, loss)
           : o->sampling == BINS ? nas_search_weight_step(s, train, decide_in_bin, NULL, loss)
                                 : nas__trials_step(s, train, loss);
}

const nas_strategy nas__strategy_spos = {
    .name = "spos",
    .summary = "single paths, uniform, even over their cost or strictly fair, train the shared weights; evolution "
               "searches with them",
    .paper = "Guo et al., Single Path One-Shot Neural Architecture Search with Uniform Sampling, ECCV 2020, arXiv "
             "1904.00420; sampling=fair: Chu et al., FairNAS, ICCV 2021, arXiv 1907.01845",
    .options = options,
    .options_size = sizeof(spos_options),
    .state_size = sizeof(spos),
    .begin = begin,
    .train_epochs = nas__trials_train_epochs,
    .step = step,
    .conclude = nas__trials_conclude,
    .conclude_share = nas__trials_conclude_share,
    .state = nas__trials_state,
    .end = nas__trials_end,
};
