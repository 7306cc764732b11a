/* warm.c - see warm.h */
#include "search/warm.h"
#include "space/space.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PURPOSE = 0x7a1a03, VAIN_DRAWS = 1000 };

/* The words of the option: none, the proxies, and what is counted without a look at a network. */
enum { NONE, FIRST_PROXY, MACS = FIRST_PROXY + NAS__PROXIES, PARAMS };

typedef struct sample {
    nas_architecture *architecture;
    uint64_t hash;
    double score;
    int order;
} sample;

static const nas__trial_options *options_of(const nas__trials *t) { return t->s->options; }

nas_status nas__warm_check(const nas__trials *t) {
    const nas_trainer_config *c = t->s->config;
    int by = options_of(t)->warm_start;
    if (by == NONE) {
        return NAS_OK;
    }
    if (!t->policy->beginning) {
        return nas__fail(
            NAS_UNSUPPORTED,
            "%s: warm_start fills the random beginning of a search, and there is none here; take evolution, "
            "local, tpe, asha, hyperband, bohb, nsga2 or spos",
            t->s->strategy->name);
    }
    return by >= MACS || c->new_model || c->guess
               ? NAS_OK
               : nas__fail(NAS_USAGE, "%s: warm_start looks at untrained networks: give .new_model or .guess",
                           t->s->strategy->name);
}

/* --- scoring ----------------------------------------------------------------------------------------------------- */
/* A network that breaks down untrained is the worst. */
static double score_of(nas__trials *t, const nas_architecture *a) {
    nas_trainer *trainer = nas__trainer_of(t->s);
    int by = options_of(t)->warm_start;
    double score = NAN;
    if (t->s->config->guess) {
        score = t->s->config->guess(a, t->s->config->user);
    } else if (by >= MACS) {
        score = nas__exact_cost(trainer, by == MACS ? NAS__COST_MACS : NAS__COST_PARAMS, a);
    } else if (nas__proxy_of(trainer, a, (nas__proxy)(by - FIRST_PROXY), &score) == NAS_NUMERIC) {
        nas_error_clear();
    }
    return isnan(score) ? -INFINITY : score;
}

/* --- sampling ---------------------------------------------------------------------------------------------------- */
static bool is_new(const sample *list, int n, uint64_t hash) {
    for (int i = 0; i < n; i++) {
        if (list[i].hash == hash) {
            return false;
        }
    }
    return true;
}

/* Different ones, within the limits; fewer where the space has not so many. */
static int sample_all(nas__trials *t, sample *list) {
    nas_rng rng = nas_rng_new(t->s->config->seed, PURPOSE);
    int n = 0;
    for (int vain = 0; n < options_of(t)->warm_samples && vain < VAIN_DRAWS && !nas_search_interrupted(t->s); vain++) {
        sample one = {.architecture = nas_architecture_new(t->s->space), .order = n};
        if (!one.architecture) {
            break;
        }
        nas_architecture_random(one.architecture, &rng);
        one.hash = nas_architecture_hash(one.architecture);
        if (!is_new(list, n, one.hash) || !nas__within_limits(nas__trainer_of(t->s), one.architecture)) {
            nas_architecture_free(one.architecture);
            continue;
        }
        one.score = score_of(t, one.architecture);
        list[n++] = one;
        vain = -1;
        if (nas_error_status()) {
            break;
        }
    }
    return n;
}

static int better_first(const void *a, const void *b) {
    const sample *x = a, *y = b;
    return x->score != y->score ? (x->score < y->score ? 1 : -1) : x->order - y->order;
}

/* As many of the best as the beginning takes. */
static nas_status keep(nas__trials *t, sample *list, int n) {
    size_t choices = (size_t)nas_space_size(t->s->space), wanted = t->policy->beginning(t);
    size_t kept = (size_t)n < wanted ? (size_t)n : wanted;
    t->warm = nas__alloc((kept * choices + 1) * sizeof *t->warm);
    t->n_warm = t->warm ? kept * choices : 0;
    qsort(list, (size_t)n, sizeof *list, better_first);
    for (size_t i = 0; t->warm && i < kept; i++) {
        memcpy(t->warm + i * choices, list[i].architecture->bits, choices * sizeof *t->warm);
    }
    if (t->warm) {
        nas_search_note(t->s, NAS_LOG_INFO, "warm_start", "warm start: the best %zu of %d random architectures", kept,
                        n);
    }
    return nas_error_status();
}

nas_status nas__warm_begin(nas__trials *t) {
    if (options_of(t)->warm_start == NONE || t->n_warm > 0) {
        return NAS_OK;
    }
    sample *list = nas__alloc((size_t)options_of(t)->warm_samples * sizeof *list);
    int n = list ? sample_all(t, list) : 0;
    nas_status status = nas_error_status();
    if (!status && !nas_search_interrupted(t->s)) {
        status = keep(t, list, n);
    }
    for (int i = 0; i < n; i++) {
        nas_architecture_free(list[i].architecture);
    }
    free(list);
    return status;
}

/* What was kept is saved: with another number of threads near ones might change places. */
void nas__warm_state(nas__trials *t, nas_state *state) {
    nas_state_list_u64(state, "trials.warm", &t->warm, &t->n_warm);
    if (nas_state_is_loading(state) && t->n_warm % (size_t)nas_space_size(t->s->space) != 0) {
        nas__fail(NAS_INVALID, "%s: the saved warm start is of another space", t->s->config->run_dir);
        nas_state_fail(state);
    }
}

/* --- for policies ------------------------------------------------------------------------------------------------ */
void nas__trials_new(const nas__trials *t, nas_rng *rng, nas_architecture *a) {
    size_t choices = (size_t)nas_space_size(t->s->space);
    for (size_t i = 0; i < t->n_warm; i += choices) {
        memcpy(a->bits, t->warm + i, choices * sizeof *a->bits);
        if (!nas__trials_begun(t, nas_architecture_hash(a), 0)) {
            return;
        }
    }
    nas_architecture_random(a, rng);
}
