/* darts_mix.c - from alpha to what the candidates weigh: DARTS' softmax; FairDARTS' sigmoids (Chu et al., ECCV 2020);
 * DrNAS' Dirichlet draws (Chen et al., ICLR 2021); DARTS-'s auxiliary skip connection (Chu et al., ICLR 2021);
 * PC-DARTS' partial channels and edge weights (Xu et al., ICLR 2020); P-DARTS' dropout behind skips (Chen et al., ICCV
 * 2019); and the terms of alpha's loss, of FairDARTS and of beta-DARTS (Ye et al., CVPR 2022). */
#include "search/collapse.h"
#include "search/darts.h"
#include "search/dirichlet.h"

#include <math.h>

enum { PURPOSE_ALPHA = 0xd1a1, PURPOSE_WEIGHTS = 0xd1a2 };

bool nas__darts_has_skips(const nas_space *space) {
    for (int i = 0; i < nas_space_size(space); i++) {
        const nas_choice *choice = nas_space_choice(space, i);
        for (int k = 0; choice->kind == NAS_LAYER && k < choice->n; k++) {
            if (nas__is_skip(choice->names[k])) {
                return true;
            }
        }
    }
    return false;
}

/* --- the weights of one choice ---------------------------------------------------------------------- */
/* An auxiliary skip connection beside the candidates is one more share for the candidate that is one. */
static nas_tensor *with_auxiliary(const nas_search *s, const nas_choice *choice, uint64_t run, nas_tensor *weights) {
    const nas__darts *d = s->memory;
    double beta = d->plan.auxiliary * (1 - s->progress);
    float further[NAS_MAX_CANDIDATES] = {0};
    bool any = false;
    for (int k = 0; k < choice->n; k++) {
        bool skip = (run >> k & 1) && nas__is_skip(choice->names[k]);
        further[k] = skip && !any ? (float)beta : 0;
        any = any || skip;
    }
    return any ? nas_add(weights, nas_input(1, (int64_t[]){choice->n}, further)) : weights;
}

static nas_tensor *weights_of(nas_search *s, int i, nas_rng *rng) {
    const nas__darts *d = s->memory;
    const nas_choice *choice = nas_space_choice(s->space, i);
    nas_tensor *alpha = d->alphas.of_choice[i];
    uint64_t allowed = d->alphas.allowed[i];
    if (choice->kind != NAS_LAYER || d->plan.mix == NAS__MIX_SOFTMAX) {
        nas_tensor *weights = nas_softmax(nas__masked_logits(alpha, allowed));
        return choice->kind == NAS_LAYER && d->plan.auxiliary > 0 ? with_auxiliary(s, choice, allowed, weights)
                                                                  : weights;
    }
    nas_tensor *weights = d->plan.mix == NAS__MIX_SIGMOID ? nas_sigmoid(alpha) : nas__dirichlet(alpha, allowed, rng);
    return d->plan.auxiliary > 0 ? with_auxiliary(s, choice, allowed, weights) : weights;
}

/* P-DARTS: from p0 in proportion while alpha is frozen, then by the exponential of its published epochs, of 25. */
static double skip_dropout(const nas_search *s) {
    static const double of_stage[NAS__DARTS_STAGES] = {0, 4.0 / 7, 1};
    enum { EPOCHS = 25, FROZEN = 10 };
    const nas__darts *d = s->memory;
    double p = d->plan.skip_dropout * of_stage[NAS__DARTS_STAGES - d->plan.stages + d->stage];
    double epoch = EPOCHS * nas__darts_stage_progress(s);
    return nas__darts_frozen(s) ? p * (EPOCHS - 1 - epoch > 0 ? (EPOCHS - 1 - epoch) / EPOCHS : 0)
                                : p * exp(-0.2 * fmax(0, epoch - FROZEN));
}

nas_status nas__darts_decide(nas_search *s, void *user) {
    nas__darts *d = s->memory;
    nas_rng rng = nas_search_rng(s, user ? PURPOSE_WEIGHTS : PURPOSE_ALPHA);
    int part = d->plan.partial[d->stage];
    nas_status status = NAS_OK;
    for (int i = 0; !status && i < d->alphas.n; i++) {
        bool layer = nas_space_choice(s->space, i)->kind == NAS_LAYER;
        nas_decision decision = {.run = d->tried == i ? d->trial : d->alphas.allowed[i]};
        decision.weights = d->alphas.of_choice[i] ? weights_of(s, i, &rng) : NULL;
        if (layer) {
            decision.part = part > 1 ? part : 0;
            decision.skip_dropout = d->plan.skip_dropout > 0 ? (float)skip_dropout(s) : 0;
        }
        status = nas_decide(s->space, i, decision);
    }
    return status ? status : nas_error_status();
}

/* --- terms of alpha's loss ---------------------------------------------------------------------------- */
static nas_tensor *sum_over_choices(nas_search *s, nas_tensor *(*term)(nas_tensor *alpha, uint64_t allowed), int *n) {
    const nas__darts *d = s->memory;
    nas_tensor *sum = NULL;
    *n = 0;
    for (int i = 0; i < d->alphas.n; i++) {
        if (d->alphas.of_choice[i] && nas_space_choice(s->space, i)->kind == NAS_LAYER) {
            nas_tensor *t = term(d->alphas.of_choice[i], d->alphas.allowed[i]);
            sum = sum ? nas_add(sum, t) : t;
            ++*n;
        }
    }
    return sum;
}

/* FairDARTS: -mean((sigma - 1/2)^2) over what is allowed. */
static nas_tensor *distance_from_half(nas_tensor *alpha, uint64_t allowed) {
    float share[NAS_MAX_CANDIDATES];
    int64_t n = nas_tensor_count(alpha);
    for (int64_t k = 0; k < n; k++) {
        share[k] = allowed >> k & 1 ? -1.0f / (float)__builtin_popcountll(allowed) : 0;
    }
    nas_tensor *half = nas_add_scalar(nas_sigmoid(alpha), -0.5f);
    return nas_sum(nas_mul(nas_mul(half, half), nas_input(1, &n, share)));
}

/* beta-DARTS: logsumexp(a) = a_k - log_softmax(a)_k for every k; here their mean over what is allowed. */
static nas_tensor *logsumexp(nas_tensor *alpha, uint64_t allowed) {
    float share[NAS_MAX_CANDIDATES];
    int64_t n = nas_tensor_count(alpha);
    for (int64_t k = 0; k < n; k++) {
        share[k] = allowed >> k & 1 ? 1.0f / (float)__builtin_popcountll(allowed) : 0;
    }
    nas_tensor *masked = nas__masked_logits(alpha, allowed);
    return nas_sum(nas_mul(nas_sub(masked, nas_log_softmax(masked)), nas_input(1, &n, share)));
}

static nas_tensor *penalty(nas_search *s, void *user) {
    const nas__darts_plan *p = &((nas__darts *)s->memory)->plan;
    nas_tensor *sum = NULL;
    int n;
    (void)user;
    if (p->zero_one > 0) {
        sum = sum_over_choices(s, distance_from_half, &n);
        sum = n ? nas_scale(sum, (float)(p->zero_one / n)) : NULL;
    }
    if (p->logsumexp > 0) {
        nas_tensor *mean = sum_over_choices(s, logsumexp, &n);
        mean = n ? nas_scale(mean, (float)(p->logsumexp * s->progress / n)) : NULL;
        sum = sum && mean ? nas_add(sum, mean) : sum ? sum : mean;
    }
    return sum ? sum : nas_input(1, (int64_t[]){1}, (float[]){0});
}

nas_tensor *(*nas__darts_penalty(const nas__darts *d))(nas_search *s, void *user) {
    return d->plan.zero_one > 0 || d->plan.logsumexp > 0 ? penalty : NULL;
}
