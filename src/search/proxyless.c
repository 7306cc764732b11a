/* proxyless.c - ProxylessNAS: direct neural architecture search on target task and hardware (Cai, Zhu and Han, ICLR
 * 2019). One path is computed in a step of the weights, and two in a step of alpha: binary gates, whose gradient goes
 * through the softmax to the numbers behind them. The expected cost is a term of the loss. */
#include "search/proxyless.h"

#include "core/error.h"
#include "core/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PURPOSE_WEIGHTS = 0x960c01, PURPOSE_ALPHA = 0x960c02 };

typedef struct proxyless_options {
    int mode, warmup_epochs, alpha_period, alpha_steps, samples, none;
    double alpha_lr, alpha_beta2, alpha_weight_decay, baseline_decay, reward_power, label_smoothing;
    nas__cost_options cost;
    bool skip_zero, recompute;
} proxyless_options;

#define ROW(field, type, ...)                                                                                          \
    { #field, type, offsetof(proxyless_options, field), __VA_ARGS__ }
static const nas_option options[] = {
    ROW(mode, NAS_OPTION_CHOICE, "two", 0, 0, "two|full|reinforce",
        "a step of alpha computes two paths, or all candidates forwards and one backwards, or draws networks and "
        "learns "
        "from their rewards"),
    ROW(alpha_lr, NAS_OPTION_FLOAT, "6e-3", 0, 10, NULL,
        "learning rate of alpha (Adam without first moments); the paper's, for its many steps: 1e-3"),
    ROW(alpha_beta2, NAS_OPTION_FLOAT, "0.999", 0, 0.999999, NULL, "Adam's decay rate of second moments"),
    ROW(alpha_weight_decay, NAS_OPTION_FLOAT, "0", 0, 1, NULL, "L2 term of alpha"),
    ROW(alpha_period, NAS_OPTION_INT, "2", 1, 100000, NULL,
        "alpha steps once behind so many steps of the weights; the paper's: 5"),
    ROW(alpha_steps, NAS_OPTION_INT, "1", 1, 1000, NULL, "and so often then"),
    ROW(warmup_epochs, NAS_OPTION_INT, "-1", -1, 100000, NULL,
        "epochs with alpha frozen at the start; -1: a quarter of the search"),
    ROW(skip_zero, NAS_OPTION_BOOL, "0", 0, 0, NULL,
        "as the authors' program does: no gradient for a choice whose active path is `none` or `zero`"),
    ROW(label_smoothing, NAS_OPTION_FLOAT, "0.1", 0, 0.99, NULL,
        "of the weights' loss, where that is the cross-entropy"),
    ROW(samples, NAS_OPTION_INT, "10", 1, 1000, NULL, "mode=reinforce: networks of an update, all on one batch"),
    ROW(baseline_decay, NAS_OPTION_FLOAT, "0.99", 0, 1, NULL,
        "mode=reinforce: how far the baseline follows the mean reward of an update"),
    ROW(reward_power, NAS_OPTION_FLOAT, "0.1", -100, 100, NULL,
        "mode=reinforce with a cost: w of reward * (T / cost)^w"),
    NAS__OPTIONS_COST(proxyless_options, "mul", "0.2", "0.3", "auto"),
    ROW(none, NAS_OPTION_CHOICE, "auto", 0, 0, "auto|exclude|include",
        "may `none` be derived? auto: not where an input choice drops edges"),
    NAS_OPTION_RECOMPUTE(proxyless_options),
    {0},
};

static nas_status accepts(const nas_space *space) {
    for (int i = 0; i < nas_space_size(space); i++) {
        const nas_choice *c = nas_space_choice(space, i);
        if (c->kind == NAS_INPUT && c->reduce == NAS_CONCAT && c->n_min < c->n) {
            return nas__fail(NAS_UNSUPPORTED,
                             "proxyless puts gates on what a choice adds up, and \"%s\" concatenates; use a strategy "
                             "that samples (enas)",
                             c->key);
        }
    }
    return nas__alphas_accept(space, "proxyless");
}

/* --- memory ---------------------------------------------------------------------------------------- */
static nas_status new_arrays(nas__proxyless *p, const nas_space *space) {
    size_t n = (size_t)nas_space_size(space);
    p->first = nas__alloc((n + 1) * sizeof *p->first);
    for (size_t i = 0; p->first && i < n; i++) {
        p->first[i + 1] = p->first[i] + nas_space_choice(space, (int)i)->n;
    }
    size_t numbers = p->first ? (size_t)p->first[n] : 0;
    p->second = nas__alloc(numbers * sizeof *p->second);
    p->steps = nas__alloc(numbers * sizeof *p->steps);
    p->gradient = nas__alloc(numbers * sizeof *p->gradient);
    p->score = nas__alloc(numbers * sizeof *p->score);
    p->gates = nas__alloc(n * sizeof *p->gates);
    p->likely = nas__alloc(n * sizeof *p->likely);
    return nas_error_status();
}

static nas_status begin(nas_search *s) {
    const proxyless_options *o = s->options;
    nas__proxyless *p = s->memory;
    nas_status status = new_arrays(p, s->space);
    status = status ? status
                    : nas__alphas_new(&p->alphas, s,
                                      &(nas__alphas_config){.deviation = 1e-3, .lr = o->alpha_lr, .beta2 = 0.999});
    return status ? status : nas__cost_term_begin(&p->cost, s, &o->cost);
}

static void end(nas_search *s) {
    nas__proxyless *p = s->memory;
    nas__alphas_free(&p->alphas);
    nas__cost_term_end(&p->cost);
    free(p->first);
    free(p->second);
    free(p->steps);
    free(p->gradient);
    free(p->score);
    free(p->gates);
    free(p->likely);
}

/* --- draws ----------------------------------------------------------------------------------------- */
static uint64_t all(int n) { return n >= 64 ? ~(uint64_t)0 : ((uint64_t)1 << n) - 1; }

static int64_t count_of(const nas_choice *c, nas_rng *rng) {
    int least = c->n_min > 0 ? c->n_min : 1;
    return c->n_max > least ? least + (int64_t)nas_rng_below(rng, (uint32_t)(c->n_max - least + 1)) : least;
}

/* Gates as weights, and the probabilities that the expected cost takes: their value is that of all candidates, their
 * derivative that of the rivals. */
static nas_decision gated(nas__proxyless *p, nas_search *s, int i, const nas__gate *g, const float *logits) {
    const nas_choice *c = nas_space_choice(s->space, i);
    nas_tensor *alpha = p->alphas.of_choice[i];
    nas_decision d = {.run = g->run, .detached = g->run & ~g->active};
    if (!g->rivals) {
        return d;
    }
    int taken = __builtin_popcountll(g->active);
    nas_tensor *weights = nas__gate_weights(alpha, g);
    bool mean = c->kind == NAS_INPUT && c->reduce == NAS_MEAN && taken > 1;
    d.weights = mean ? nas_scale(weights, 1.0f / (float)taken) : weights;
    if (p->cost.table) {
        double q[NAS_MAX_CANDIDATES], sum = 0;
        float difference[NAS_MAX_CANDIDATES];
        nas_tensor *soft = nas__gate_weights(alpha, &(nas__gate){.rivals = g->rivals});
        int64_t n = c->n;
        nas__alphas_softmax(&p->alphas, s, i, q);
        for (int k = 0; k < c->n; k++) {
            sum += g->rivals >> k & 1 ? exp(logits[k]) : 0;
        }
        for (int k = 0; k < c->n; k++) {
            difference[k] = (float)(q[k] - (g->rivals >> k & 1 ? exp(logits[k]) / sum : 0));
        }
        nas_tensor *likely = nas_add(soft, nas_input(1, &n, difference));
        p->likely[i] = taken > 1 ? nas_scale(likely, (float)taken) : likely;
    }
    return d;
}

typedef struct draw {
    uint32_t purpose;
    bool gates; /* weights that take gradients; else paths */
} draw;

static nas_status decide(nas_search *s, void *user) {
    const draw *how = user;
    nas__proxyless *p = s->memory;
    bool two = ((const proxyless_options *)s->options)->mode == NAS__PROXYLESS_TWO;
    nas_rng rng = nas_search_rng(s, how->purpose);
    nas_status status = NAS_OK;
    for (int i = 0; !status && i < p->alphas.n; i++) {
        const nas_choice *c = nas_space_choice(s->space, i);
        float logits[NAS_MAX_CANDIDATES];
        nas_tensor *alpha = p->alphas.of_choice[i];
        p->gates[i] = (nas__gate){.run = all(c->n), .active = all(c->n)};
        p->likely[i] = NULL;
        status = alpha ? nas_tensor_read(alpha, logits) : NAS_OK;
        if (alpha && !status) {
            int among = (int)count_of(c, &rng);
            p->gates[i] = nas__draw_gate(&rng, c->n, logits, among, two);
        }
        nas_decision d = how->gates ? gated(p, s, i, &p->gates[i], logits) : (nas_decision){.run = p->gates[i].active};
        status = nas_error_status() ? nas_error_status() : nas_decide(s->space, i, d);
    }
    return status;
}

/* --- the weights ------------------------------------------------------------------------------------- */
static nas_tensor *smoothed(nas_search *s, nas_tensor *output, nas_tensor *target, void *user) {
    double smoothing = ((const proxyless_options *)s->options)->label_smoothing;
    (void)user;
    return s->config->loss == nas_cross_entropy ? nas_cross_entropy_smooth(output, target, (float)smoothing)
                                                : s->config->loss(output, target);
}

static nas_status weight_step(nas_search *s, const nas_batch *train, double *loss) {
    draw how = {.purpose = PURPOSE_WEIGHTS};
    return nas_search_update(s,
                             &(nas_pass){.batch = train,
                                         .grad = NAS_ROLE_WEIGHT,
                                         .training = true,
                                         .decide = decide,
                                         .objective = smoothed,
                                         .user = &how},
                             loss);
}

/* --- alpha, by gates --------------------------------------------------------------------------------- */
static nas_tensor *with_cost(nas_search *s, nas_tensor *output, nas_tensor *target, void *user) {
    nas__proxyless *p = s->memory;
    nas_tensor *loss = s->config->loss(output, target);
    (void)user;
    return p->cost.table ? nas__cost_loss(&p->cost, loss, nas__expected_cost(p->cost.table, s, p->likely)) : loss;
}

static bool is_zero(const nas_choice *c, uint64_t set) {
    const char *name = set ? c->names[__builtin_ctzll(set)] : "";
    return strcmp(name, "none") == 0 || strcmp(name, "zero") == 0;
}

/* What the pass left in the tensors, into the array; choices that do not step lose their rivals. */
static nas_status take_gradients(nas_search *s) {
    nas__proxyless *p = s->memory;
    bool quirk = ((const proxyless_options *)s->options)->skip_zero;
    nas_status status = NAS_OK;
    for (int i = 0; !status && i < p->alphas.n; i++) {
        const nas_choice *c = nas_space_choice(s->space, i);
        float gradient[NAS_MAX_CANDIDATES] = {0};
        if (!p->alphas.of_choice[i]) {
            continue;
        }
        status = nas_tensor_read_grad(p->alphas.of_choice[i], gradient);
        nas_zero_grad(p->alphas.of_choice[i]);
        if (quirk && is_zero(c, p->gates[i].active & p->gates[i].rivals)) {
            p->gates[i].rivals = 0;
        }
        for (int k = 0; k < c->n; k++) {
            p->gradient[p->first[i] + k] = gradient[k];
        }
    }
    return status;
}

/* --- alpha, by rewards -------------------------------------------------------------------------------- */
static nas_status draw_path(nas_search *s, void *user) {
    nas__proxyless *p = s->memory;
    nas_rng *rng = user;
    nas_status status = NAS_OK;
    for (int i = 0; !status && i < p->alphas.n; i++) {
        const nas_choice *c = nas_space_choice(s->space, i);
        float logits[NAS_MAX_CANDIDATES];
        int order[NAS_MAX_CANDIDATES], draws = 0;
        uint64_t run = all(c->n);
        if (p->alphas.of_choice[i]) {
            status = nas_tensor_read(p->alphas.of_choice[i], logits);
            draws = (int)count_of(c, rng);
            nas__draw_in_order(rng, c->n, logits, draws, order);
            run = 0;
            memset(p->score + p->first[i], 0, (size_t)c->n * sizeof *p->score);
            nas__draws_score(c->n, logits, draws, order, 1, p->score + p->first[i]);
            for (int k = 0; k < draws; k++) {
                run |= (uint64_t)1 << order[k];
            }
        }
        p->gates[i] = (nas__gate){.run = run, .active = run, .rivals = draws && c->n > 1 ? all(c->n) : 0};
        status = status ? status : nas_decide(s->space, i, (nas_decision){.run = run});
    }
    return status;
}

/* The reward of one more network, in which its cost counts; the sum of reward * d log p goes to the gradient, that of
 * d log p alone to `scores`. */
static nas_status one_sample(nas_search *s, const nas_batch *batch, nas_rng *rng, double *scores, double *reward) {
    const proxyless_options *o = s->options;
    nas__proxyless *p = s->memory;
    nas_pass_result result = {.want_reward = true};
    nas_pass pass = {.batch = batch, .freeze_running = true, .decide = draw_path, .user = rng};
    nas_status status = nas_search_pass(s, &pass, &result);
    if (status) {
        return status;
    }
    *reward = result.reward;
    if (p->cost.table) {
        *reward *= pow(p->cost.target / nas__decided_cost(p->cost.table, s), o->reward_power);
    }
    for (int k = 0; k < p->first[p->alphas.n]; k++) {
        p->gradient[k] += *reward * p->score[k];
        scores[k] += p->score[k];
    }
    return isfinite(*reward) ? NAS_OK
                             : nas__fail(NAS_NUMERIC,
                                         "proxyless: the reward of a network is %g; alpha cannot learn "
                                         "from it",
                                         *reward);
}

static nas_status by_rewards(nas_search *s, const nas_batch *batch) {
    const proxyless_options *o = s->options;
    nas__proxyless *p = s->memory;
    size_t numbers = (size_t)p->first[p->alphas.n];
    double *scores = nas__alloc(numbers * sizeof *scores), mean = 0, reward = 0;
    nas_rng rng = nas_search_rng(s, PURPOSE_ALPHA);
    nas_status status = scores ? NAS_OK : nas_error_status();
    memset(p->gradient, 0, numbers * sizeof *p->gradient);
    for (int m = 0; !status && m < o->samples; m++) {
        status = one_sample(s, batch, &rng, scores, &reward);
        mean += reward / o->samples;
    }
    p->baseline = p->rewards++ ? p->baseline + o->baseline_decay * (mean - p->baseline) : mean;
    for (size_t k = 0; !status && k < numbers; k++) {
        p->gradient[k] = -(p->gradient[k] - p->baseline * scores[k]) / o->samples;
    }
    free(scores);
    return status;
}

/* --- steps of alpha ---------------------------------------------------------------------------------- */
static nas_status step_alphas(nas_search *s) {
    const proxyless_options *o = s->options;
    nas__proxyless *p = s->memory;
    nas_status status = NAS_OK;
    nas__gate_step how = {o->alpha_lr, o->alpha_beta2, o->alpha_weight_decay,
                          o->mode == NAS__PROXYLESS_TWO && !p->without_rescale};
    for (int i = 0; !status && i < p->alphas.n; i++) {
        float logits[NAS_MAX_CANDIDATES];
        int n = p->first[i + 1] - p->first[i];
        double *gradient = p->gradient + p->first[i];
        if (!p->alphas.of_choice[i] || nas_tensor_read(p->alphas.of_choice[i], logits)) {
            continue;
        }
        for (int k = 0; k < n; k++) {
            gradient[k] = p->without_gradient ? 0 : gradient[k];
            p->absolute_gradient += fabs(gradient[k]) / p->first[p->alphas.n];
        }
        nas__step_gate(n, logits, gradient, p->second + p->first[i], p->steps + p->first[i], p->gates[i].rivals, &how);
        status = nas_tensor_write(p->alphas.of_choice[i], logits);
    }
    p->alpha_steps++;
    return status ? status : nas_error_status();
}

static nas_status alpha_step(nas_search *s, int index) {
    draw how = {.purpose = PURPOSE_ALPHA + 2 * (uint32_t)index, .gates = true};
    const nas_batch *batch = nas_search_arch_batch(s);
    nas_status status = batch ? NAS_OK : nas_error_status();
    if (!status && ((const proxyless_options *)s->options)->mode == NAS__PROXYLESS_REINFORCE) {
        status = by_rewards(s, batch);
    } else if (!status) {
        nas_pass pass = {.batch = batch,
                         .grad = NAS_ROLE_ARCH,
                         .training = true,
                         .freeze_running = true,
                         .decide = decide,
                         .objective = with_cost,
                         .user = &how};
        status = nas_search_pass(s, &pass, NULL);
        status = status ? status : take_gradients(s);
    }
    return status ? status : step_alphas(s);
}

static bool warms_up(const nas_search *s) {
    int epochs = ((const proxyless_options *)s->options)->warmup_epochs;
    return epochs < 0 ? s->progress < 0.25 : s->epoch < epochs;
}

static nas_status step(nas_search *s, const nas_batch *train, double *loss) {
    const proxyless_options *o = s->options;
    nas_status status = weight_step(s, train, loss);
    bool due = !warms_up(s) && (s->step + 1) % o->alpha_period == 0;
    for (int i = 0; !status && due && i < o->alpha_steps; i++) {
        status = alpha_step(s, i);
    }
    return status;
}

static nas_status end_epoch(nas_search *s) {
    nas__proxyless *p = s->memory;
    if (p->alpha_steps) {
        nas_search_note(s, NAS_LOG_INFO, "alpha", "%lld steps of alpha, mean |gradient| %.3g",
                        (long long)p->alpha_steps, p->absolute_gradient / (double)p->alpha_steps);
    }
    if (p->cost.table) {
        char now[32], target[32];
        nas_search_note(s, NAS_LOG_INFO, "cost", "expected %s %s, target %s", nas__cost_name(p->cost.table->kind),
                        nas__cost_text(p->cost.table->kind, nas__expected_cost_now(p->cost.table, s), now),
                        nas__cost_text(p->cost.table->kind, p->cost.target, target));
    }
    p->alpha_steps = 0;
    p->absolute_gradient = 0;
    return NAS_OK;
}

/* --- results ------------------------------------------------------------------------------------------ */
static nas_status derive(nas_search *s, nas_architecture *out) {
    return nas__alphas_derive(&((nas__proxyless *)s->memory)->alphas, s,
                              (nas__none_rule)((const proxyless_options *)s->options)->none, out);
}

static bool probabilities(nas_search *s, int choice, double *p) {
    return nas__alphas_softmax(&((nas__proxyless *)s->memory)->alphas, s, choice, p);
}

static nas_status state(nas_search *s, nas_state *st) {
    nas__proxyless *p = s->memory;
    size_t numbers = (size_t)p->first[p->alphas.n];
    nas__alphas_state(&p->alphas, s, st);
    nas_state_f64(st, "alpha_second", p->second, numbers);
    nas_state_i64(st, "alpha_steps", p->steps, numbers);
    nas_state_f64(st, "baseline.value", &p->baseline, 1);
    nas_state_i64(st, "baseline.rewards", &p->rewards, 1);
    nas__cost_term_state(&p->cost, st);
    return NAS_OK;
}

const nas_strategy nas__strategy_proxyless = {
    .name = "proxyless",
    .summary = "gradient descent on binary gates: one path for the weights, two for alpha; cost is part of the loss",
    .paper = "Cai, Zhu, Han: ProxylessNAS: Direct Neural Architecture Search on Target Task and Hardware, ICLR 2019",
    .options = options,
    .options_size = sizeof(proxyless_options),
    .state_size = sizeof(nas__proxyless),
    .arch_batches = true,
    .accepts = accepts,
    .begin = begin,
    .step = step,
    .end_epoch = end_epoch,
    .derive = derive,
    .probabilities = probabilities,
    .state = state,
    .end = end,
};
