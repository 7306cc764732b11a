/* darts.c - DARTS: Differentiable Architecture Search (Liu, Simonyan and Yang, ICLR 2019). Every candidate runs on
 * every edge, mixed by softmax(alpha); alpha descends on the arch part's loss before each step of the weights on the
 * training part. Its published repairs are options (darts_options.c), each in a place of its own (darts.h). */
#include "search/darts.h"
#include "core/error.h"
#include "core/memory.h"
#include "nn/optim.h"
#include "search/collapse.h"
#include "search/unrolled.h"

#include <stdlib.h>
#include <string.h>

static nas_status accepts(const nas_space *space) { return nas__alphas_accept(space, "darts"); }

/* What an option asks for that this space has nothing for. */
static nas_status check_plan(const nas_search *s, const nas__darts_plan *p) {
    bool edges = false, layers = false;
    for (int i = 0; i < nas_space_size(s->space); i++) {
        edges = edges || nas_space_choice(s->space, i)->edges;
        layers = layers || nas_space_choice(s->space, i)->kind == NAS_LAYER;
    }
    if ((p->auxiliary > 0 || p->skip_dropout > 0) && !nas__darts_has_skips(s->space)) {
        return nas__fail(NAS_UNSUPPORTED,
                         "darts: auxiliary and skip_dropout (variants minus and progressive) are about "
                         "skip connections, and no choice of this space has one");
    }
    if (p->edge_weights && !edges && ((const nas__darts_options *)s->options)->edge_weights) {
        return nas__fail(NAS_UNSUPPORTED, "darts: edge_weights=on needs nodes that choose among edges, as in the space "
                                          "darts; this space has none");
    }
    return layers || !p->perturbation ? NAS_OK
                                      : nas__fail(NAS_UNSUPPORTED, "darts: select=perturbation decides about layer "
                                                                   "choices, and this space has none");
}

static nas_status begin(nas_search *s) {
    const nas__darts_options *o = s->options;
    nas__darts *d = s->memory;
    d->plan = nas__darts_plan_of(o);
    d->none = (nas__none_rule)o->none;
    d->tried = -1;
    nas_status status = check_plan(s, &d->plan);
    status = status ? status : nas__darts_deepen(s);
    status = status ? status
                    : nas__alphas_new(&d->alphas, s,
                                      &(nas__alphas_config){.deviation = d->plan.mix == NAS__MIX_SIGMOID ? 0 : 1e-3,
                                                            .lr = d->plan.alpha_lr,
                                                            .beta1 = d->plan.alpha_beta1,
                                                            .beta2 = 0.999,
                                                            .weight_decay = o->alpha_weight_decay,
                                                            .edge_weights = d->plan.edge_weights});
    if (status) {
        return status;
    }
    d->alphas.sigmoid = d->plan.mix == NAS__MIX_SIGMOID;
    d->alphas.threshold = d->plan.threshold;
    nas__darts_restrict(s);
    return nas__darts_snapshots_new(s);
}

static void end(nas_search *s) {
    nas__darts *d = s->memory;
    nas__alphas_free(&d->alphas);
    free(d->snapshots);
}

/* --- steps ------------------------------------------------------------------------------------------- */
static nas_status differentiate(void *user, bool train, unsigned roles) {
    nas_search *s = user;
    nas__darts *d = s->memory;
    /* The passes of one second-order gradient are of one function: with dropout drawn anew, the difference of its two
     * sides would be noise. */
    bool first = roles == (train ? NAS_ROLE_WEIGHT : NAS_ROLE_ARCH);
    return nas_search_pass(s,
                           &(nas_pass){.batch = train ? d->train : d->arch,
                                       .grad = roles,
                                       .training = true,
                                       .freeze_running = true,
                                       .same_noise = !first,
                                       .decide = nas__darts_decide,
                                       .penalty = train ? NULL : nas__darts_penalty(d)},
                           NULL);
}

static nas_status second_order(nas_search *s) {
    const nas__darts_options *o = s->options;
    nas__darts *d = s->memory;
    const nas_optimizer *weights = s->optimizer, *alphas = d->alphas.optimizer;
    const float **momentum_buffers = nas__alloc(weights->n * sizeof *momentum_buffers);
    if (!momentum_buffers) {
        return nas_error_status();
    }
    for (size_t i = 0; i < weights->n; i++) {
        momentum_buffers[i] = weights->is_adam ? NULL : nas__optimizer_momentum(weights, i);
    }
    nas_status status =
        nas__unrolled_gradient(&(nas__bilevel){.n_weights = weights->n,
                                               .n_alphas = alphas->n,
                                               .weights = weights->tensors,
                                               .alphas = alphas->tensors,
                                               .momentum_buffers = momentum_buffers,
                                               .momentum = weights->sgd.momentum,
                                               .weight_decay = weights->is_adam ? 0 : weights->sgd.weight_decay,
                                               .eta = o->xi > 0 ? o->xi : s->lr,
                                               .differentiate = differentiate,
                                               .user = s});
    free(momentum_buffers);
    return status;
}

static nas_status arch_step(nas_search *s) {
    nas__darts *d = s->memory;
    d->arch = nas_search_arch_batch(s);
    if (!d->arch) {
        return nas_error_status();
    }
    nas_status status =
        ((const nas__darts_options *)s->options)->order == 2 ? second_order(s) : differentiate(s, false, NAS_ROLE_ARCH);
    return status ? status : nas__alphas_step(&d->alphas);
}

static nas_status step(nas_search *s, const nas_batch *train, double *loss) {
    nas__darts *d = s->memory;
    nas_status status = s->step == 0 ? nas__darts_begin_epoch(s) : NAS_OK;
    d->train = train;
    status = status || nas__darts_frozen(s) ? status : arch_step(s);
    return status ? status : nas_search_weight_step(s, train, nas__darts_decide, d, loss);
}

static nas_status end_epoch(nas_search *s) {
    nas_status status = nas__darts_look_back(s);
    return status ? status : nas__darts_perturb(s);
}

/* --- the result -------------------------------------------------------------------------------------- */
/* P-DARTS: while a cell has too many skips, its weakest one is not to be. True when there was one to bar. */
static bool bar_weakest_skip(nas_search *s, const nas_architecture *a) {
    nas__darts *d = s->memory;
    double weakest = 2, p[NAS_MAX_CANDIDATES];
    int at = -1, candidate = 0;
    for (int i = 0; i < d->alphas.n; i++) {
        const nas_choice *choice = nas_space_choice(s->space, i);
        int k = __builtin_ctzll(nas_architecture_get(a, i));
        if (nas__in_normal_cell(a, i) && nas__is_skip(choice->names[k]) && nas__alphas_strengths(&d->alphas, s, i, p) &&
            p[k] < weakest && (d->alphas.allowed[i] & ~d->alphas.barred[i]) != (uint64_t)1 << k) {
            weakest = p[k];
            at = i;
            candidate = k;
        }
    }
    if (at >= 0) {
        d->alphas.barred[at] |= (uint64_t)1 << candidate;
    }
    return at >= 0;
}

static nas_status derive(nas_search *s, nas_architecture *out) {
    nas__darts *d = s->memory;
    nas_status status;
    bool again;
    memset(d->alphas.barred, 0, (size_t)d->alphas.n * sizeof *d->alphas.barred);
    do {
        status = nas__alphas_derive(&d->alphas, s, d->none, out);
        again = !status && d->plan.most_skips >= 0 && nas__count_skips(out).skips > d->plan.most_skips;
    } while (again && bar_weakest_skip(s, out));
    memset(d->alphas.barred, 0, (size_t)d->alphas.n * sizeof *d->alphas.barred);
    return status;
}

static bool probabilities(nas_search *s, int choice, double *p) {
    double sum = 0;
    int n = nas_space_choice(s->space, choice)->n;
    bool has = nas__alphas_strengths(&((nas__darts *)s->memory)->alphas, s, choice, p);
    for (int k = 0; has && k < n; k++) {
        sum += p[k];
    }
    for (int k = 0; has && ((nas__darts *)s->memory)->alphas.sigmoid && k < n; k++) {
        p[k] /= sum;
    }
    return has;
}

static nas_status state(nas_search *s, nas_state *st) {
    nas__darts *d = s->memory;
    nas__alphas_state(&d->alphas, s, st);
    nas_state_u64(st, "darts.allowed", d->alphas.allowed, (size_t)d->alphas.n);
    nas_state_i64(st, "darts.stage", &d->stage, 1);
    nas_state_i64(st, "darts.stage_epoch", &d->stage_epoch, 1);
    nas_state_i64(st, "darts.decided", &d->decided, 1);
    nas_state_u64(st, "darts.ranking", &d->ranking, 1);
    nas_state_i64(st, "darts.rested", &d->rested, 1);
    if (d->snapshots) {
        nas_state_f32(st, "darts.snapshots", d->snapshots, (NAS__SHARP_LAG + 1) * d->snapshot_size);
    }
    return NAS_OK;
}

const nas_strategy nas__strategy_darts = {
    .name = "darts",
    .summary = "gradient descent on softmax-mixed candidates, first or second order, with its published repairs",
    .paper = "Liu, Simonyan, Yang: DARTS: Differentiable Architecture Search, ICLR 2019",
    .options = nas__darts_option_table,
    .options_size = sizeof(nas__darts_options),
    .state_size = sizeof(nas__darts),
    .arch_batches = true,
    .score_steps = 32,
    .accepts = accepts,
    .begin = begin,
    .step = step,
    .end_epoch = end_epoch,
    .derive = derive,
    .probabilities = probabilities,
    .state = state,
    .end = end,
};
