/* darts_perturb.c - selection by perturbation (Wang et al., Rethinking Architecture Selection in Differentiable NAS,
 * ICLR 2021): not the largest alpha is derived, but the candidate whose removal hurts the supernet most. In the last
 * part of the search choices are decided one by one, in random order, with training in between; layers first, then the
 * inputs of nodes, of which the one that hurts least is removed until no more are left than may be chosen. */
#include "search/darts.h"

#include <math.h>
#include <stdlib.h>

enum { PURPOSE_ORDER = 0xd1b1 };

double nas__darts_selection_begins(const nas__darts *d) { return d->plan.perturbation ? 1 - d->plan.select_share : 1; }

/* --- what removing hurts -------------------------------------------------------------------------------- */
/* The mean reward with each of n sets of candidates of one choice, on the same batches. */
static nas_status rewards_of(nas_search *s, int choice, int n, const uint64_t *sets, double *rewards) {
    nas__darts *d = s->memory;
    nas_status status = NAS_OK;
    for (int i = 0; i < n; i++) {
        rewards[i] = 0;
    }
    d->tried = choice;
    for (int b = 0; !status && b < d->plan.select_batches; b++) {
        const nas_batch *batch = nas_search_arch_batch(s);
        for (int i = 0; !status && i < n; i++) {
            nas_pass_result result = {.want_reward = true};
            d->trial = sets[i];
            status = nas_search_pass(
                s, &(nas_pass){.batch = batch, .freeze_running = true, .decide = nas__darts_decide}, &result);
            rewards[i] += result.reward / d->plan.select_batches;
        }
    }
    d->tried = -1;
    return status;
}

/* Index of the smallest (largest: highest) number; the first one wins ties. */
static int extreme(const double *values, int n, bool highest) {
    int best = 0;
    for (int i = 1; i < n; i++) {
        best = (highest ? values[i] > values[best] : values[i] < values[best]) ? i : best;
    }
    return best;
}

static nas_status decide_layer(nas_search *s, int choice) {
    nas__darts *d = s->memory;
    const nas_choice *c = nas_space_choice(s->space, choice);
    uint64_t sets[NAS_MAX_CANDIDATES];
    double rewards[NAS_MAX_CANDIDATES];
    int candidates[NAS_MAX_CANDIDATES], n = 0;
    for (int k = 0; k < c->n; k++) {
        uint64_t others = d->alphas.allowed[choice] & ~((uint64_t)1 << k);
        if (others && nas__alphas_may_derive(&d->alphas, c, choice, k, d->none)) {
            candidates[n] = k;
            sets[n++] = others;
        }
    }
    nas_status status = n > 1 ? rewards_of(s, choice, n, sets, rewards) : NAS_OK;
    if (!status && n > 0) {
        d->alphas.allowed[choice] = (uint64_t)1 << candidates[n > 1 ? extreme(rewards, n, false) : 0];
    }
    return status;
}

static nas_status decide_inputs(nas_search *s, int choice) {
    nas__darts *d = s->memory;
    const nas_choice *c = nas_space_choice(s->space, choice);
    uint64_t *allowed = &d->alphas.allowed[choice], sets[NAS_MAX_CANDIDATES];
    double rewards[NAS_MAX_CANDIDATES];
    nas_status status = NAS_OK;
    while (!status && __builtin_popcountll(*allowed) > c->n_max) {
        int n = 0;
        for (int k = 0; k < c->n; k++) {
            if (*allowed >> k & 1) {
                sets[n++] = *allowed & ~((uint64_t)1 << k);
            }
        }
        status = rewards_of(s, choice, n, sets, rewards);
        *allowed = status ? *allowed : sets[extreme(rewards, n, true)];
    }
    return status;
}

/* --- in which order, and when --------------------------------------------------------------------------- */
/* All choices that are decided so: layers in random order, then the inputs that follow their edges; how many. */
static int order_of(const nas_search *s, int32_t *order) {
    nas_rng rng = nas_rng_new(s->config->seed, PURPOSE_ORDER);
    int layers = 0, n = 0;
    for (int i = 0; i < nas_space_size(s->space); i++) {
        if (nas_space_choice(s->space, i)->kind == NAS_LAYER) {
            order[layers++] = i;
        }
    }
    nas_rng_shuffle(&rng, order, (size_t)layers);
    n = layers;
    for (int i = 0; i < nas_space_size(s->space); i++) {
        if (nas_space_choice(s->space, i)->edges) {
            order[n++] = i;
        }
    }
    nas_rng_shuffle(&rng, order + layers, (size_t)(n - layers));
    return n;
}

nas_status nas__darts_perturb(nas_search *s) {
    nas__darts *d = s->memory;
    double begin = nas__darts_selection_begins(d);
    double done = fmax(s->progress, s->config->budget.minutes > 0 ? 0 : (s->epoch + 1.0) / s->epochs);
    if (!d->plan.perturbation || done <= begin) {
        return NAS_OK;
    }
    int32_t *order = nas__alloc((size_t)nas_space_size(s->space) * sizeof *order);
    int n = order ? order_of(s, order) : 0;
    int due = begin < 1 ? (int)ceil(n * fmin(1, (done - begin) / (1 - begin))) : n;
    nas_status status = order ? NAS_OK : nas_error_status();
    for (; !status && d->decided < due; d->decided++) {
        int choice = order[d->decided];
        status =
            nas_space_choice(s->space, choice)->kind == NAS_LAYER ? decide_layer(s, choice) : decide_inputs(s, choice);
    }
    free(order);
    return status;
}
