/* fbnet.c - FBNet: hardware-aware efficient ConvNet design via differentiable neural architecture search (Wu et al.,
 * CVPR 2019). All candidates run, mixed by Gumbel-softmax masks at a falling temperature; what the network is expected
 * to cost under the same masks weighs in the loss. The weights learn on the training part, then theta on the arch part.
 * The result is a distribution over networks: some are drawn, and the best scored is taken. */
#include "search/cost_term.h"
#include "search/gumbel.h"
#include "search/trainer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { PURPOSE_WEIGHTS = 0xfb0e01, PURPOSE_THETA = 0xfb0e02, PURPOSE_DERIVE = 0xfb0e03 };
enum { PHASE_EPOCH, PHASE_BATCH };

typedef struct fbnet_options {
    double tau_max, tau_min, theta_lr, theta_weight_decay, warmup;
    int phases, final_samples, none;
    nas__cost_options cost;
    bool recompute;
} fbnet_options;

#define ROW(field, type, ...)                                                                                          \
    { #field, type, offsetof(fbnet_options, field), __VA_ARGS__ }
static const nas_option options[] = {
    ROW(tau_max, NAS_OPTION_FLOAT, "5", 1e-6, 1e6, NULL, "temperature of the masks until theta's first update"),
    ROW(tau_min, NAS_OPTION_FLOAT, "0.137", 1e-6, 1e6, NULL, "temperature at the end; it falls exponentially"),
    ROW(theta_lr, NAS_OPTION_FLOAT, "0.01", 0, 10, NULL, "learning rate of theta (Adam)"),
    ROW(theta_weight_decay, NAS_OPTION_FLOAT, "5e-4", 0, 1, NULL, "L2 term of theta"),
    ROW(warmup, NAS_OPTION_FLOAT, "0.11", 0, 1, NULL, "share of the run in which only the weights learn"),
    ROW(phases, NAS_OPTION_CHOICE, "epoch", 0, 0, "epoch|batch",
        "theta learns in a pass over the arch part after each epoch of the weights, or in turns with them"),
    ROW(final_samples, NAS_OPTION_INT, "6", 0, 100000, NULL,
        "architectures that are drawn and scored to derive one, beside the most probable"),
    ROW(none, NAS_OPTION_CHOICE, "auto", 0, 0, "auto|exclude|include",
        "may `none` be derived? auto: not where an input choice drops edges"),
    NAS__OPTIONS_COST(fbnet_options, "mul", "0.2", "0.6", "none"),
    NAS_OPTION_RECOMPUTE(fbnet_options),
    {0},
};

typedef struct fbnet {
    nas__gumbel gumbel; /* first: its logits are theta */
    nas__cost_term cost;
} fbnet;

static nas_status accepts(const nas_space *space) { return nas__alphas_accept(space, "fbnet"); }

static nas_status begin(nas_search *s) {
    const fbnet_options *o = s->options;
    fbnet *f = s->memory;
    nas_status status = nas__gumbel_new(
        &f->gumbel, s,
        &(nas__alphas_config){.lr = o->theta_lr, .beta1 = 0.9, .beta2 = 0.999, .weight_decay = o->theta_weight_decay});
    return status ? status : nas__cost_term_begin(&f->cost, s, &o->cost);
}

static void end(nas_search *s) {
    fbnet *f = s->memory;
    nas__gumbel_free(&f->gumbel);
    nas__cost_term_end(&f->cost);
}

/* --- passes ---------------------------------------------------------------------------------------- */
static double temperature(const nas_search *s) {
    const fbnet_options *o = s->options;
    double done = o->warmup < 1 ? fmax(0, s->progress - o->warmup) / (1 - o->warmup) : 0;
    return o->tau_max * pow(o->tau_min / o->tau_max, done);
}

static nas_status draw_masks(nas_search *s, void *user) {
    nas_rng rng = nas_search_rng(s, *(const uint32_t *)user);
    return nas__gumbel_decide(s->memory, s, &rng, &(nas__gumbel_pass){.tau = temperature(s)});
}

/* The weights see the cost as a factor, which only theta can change. */
static nas_tensor *objective(nas_search *s, nas_tensor *output, nas_tensor *target, void *user) {
    fbnet *f = s->memory;
    (void)user;
    nas_tensor *loss = s->config->loss(output, target);
    return f->cost.table ? nas__cost_loss(&f->cost, loss, nas__expected_cost(f->cost.table, s, f->gumbel.weights))
                         : loss;
}

static nas_status weight_step(nas_search *s, const nas_batch *train, double *loss) {
    uint32_t purpose = PURPOSE_WEIGHTS;
    return nas_search_update(s,
                             &(nas_pass){.batch = train,
                                         .grad = NAS_ROLE_WEIGHT,
                                         .training = true,
                                         .decide = draw_masks,
                                         .objective = objective,
                                         .user = &purpose},
                             loss);
}

static nas_status theta_step(nas_search *s) {
    uint32_t purpose = PURPOSE_THETA;
    if (s->progress < ((const fbnet_options *)s->options)->warmup) {
        return NAS_OK;
    }
    const nas_batch *batch = nas_search_arch_batch(s);
    nas_status status = batch ? nas_search_pass(s,
                                                &(nas_pass){.batch = batch,
                                                            .grad = NAS_ROLE_ARCH,
                                                            .training = true,
                                                            .freeze_running = true,
                                                            .decide = draw_masks,
                                                            .objective = objective,
                                                            .user = &purpose},
                                                NULL)
                              : nas_error_status();
    return status ? status : nas__gumbel_step(s->memory, false);
}

static bool in_turns(const nas_search *s) { return ((const fbnet_options *)s->options)->phases == PHASE_BATCH; }

static nas_status step(nas_search *s, const nas_batch *train, double *loss) {
    nas_status status = weight_step(s, train, loss);
    return status || !in_turns(s) ? status : theta_step(s);
}

/* A pass over the arch part. */
static int64_t extra_steps(nas_search *s) {
    return in_turns(s) ? 0 : nas_loader_batches(nas__trainer_of(s)->arch_loader);
}

static nas_status extra_step(nas_search *s, int64_t index) {
    (void)index;
    return theta_step(s);
}

static nas_status end_epoch(nas_search *s) {
    fbnet *f = s->memory;
    char cost[64] = "", text[32];
    if (f->cost.table) {
        double expected = nas__expected_cost_now(f->cost.table, s);
        snprintf(cost, sizeof cost, ", expected cost %s", nas__cost_text(f->cost.table->kind, expected, text));
    }
    double largest = nas__gumbel_mean_largest(&f->gumbel), gradient = nas__gumbel_mean_gradient(&f->gumbel);
    nas_search_note(s, NAS_LOG_INFO, "temperature",
                    "temperature %.3g, mean largest mask %.3f, mean |gradient of theta| %.3g%s", temperature(s),
                    largest, gradient, cost);
    return nas_error_status();
}

/* --- results --------------------------------------------------------------------------------------- */
static nas_status most_probable(nas_search *s, nas_architecture *out) {
    return nas__alphas_derive(&((fbnet *)s->memory)->gumbel.alphas, s,
                              (nas__none_rule)((const fbnet_options *)s->options)->none, out);
}

/* The most probable under theta + Gumbel noise is a draw from softmax(theta), `none` and inputs as for the former. */
static nas_status draw_architecture(nas_search *s, nas_rng *rng, nas_architecture *out) {
    nas__alphas *a = &((fbnet *)s->memory)->gumbel.alphas;
    float(*theta)[NAS_MAX_CANDIDATES] = nas__alloc((size_t)a->n * sizeof *theta);
    if (!theta) {
        return nas_error_status();
    }
    for (int i = 0; i < a->n; i++) {
        float noisy[NAS_MAX_CANDIDATES];
        int n = nas_space_choice(s->space, i)->n;
        nas__gumbel_noise(rng, n, noisy);
        if (a->of_choice[i]) {
            nas_tensor_read(a->of_choice[i], theta[i]);
            for (int k = 0; k < n; k++) {
                noisy[k] += theta[i][k];
            }
            nas_tensor_write(a->of_choice[i], noisy);
        }
    }
    nas_status status = most_probable(s, out);
    for (int i = 0; i < a->n; i++) {
        if (a->of_choice[i]) {
            nas_tensor_write(a->of_choice[i], theta[i]);
        }
    }
    free(theta);
    return status;
}

/* Scores `a`, and copies it to *out when it is better than *best. */
static nas_status challenge(nas_search *s, const nas_architecture *a, double *best, nas_architecture *out) {
    double score;
    nas_status status = nas_search_score(s, a, &score);
    if (!status && nas_search_better(s, score, *best)) {
        *best = score;
        for (int i = 0; !status && i < nas_space_size(s->space); i++) {
            status = nas_architecture_set(out, i, nas_architecture_get(a, i));
        }
    }
    return status;
}

static nas_status derive(nas_search *s, nas_architecture *out) {
    nas_rng rng = nas_search_rng(s, PURPOSE_DERIVE);
    nas_architecture *drawn = nas_architecture_new(s->space);
    double best;
    nas_status status = drawn ? most_probable(s, out) : nas_error_status();
    status = status ? status : nas_search_score(s, out, &best);
    for (int i = 0; !status && i < ((const fbnet_options *)s->options)->final_samples; i++) {
        status = draw_architecture(s, &rng, drawn);
        status = status ? status : challenge(s, drawn, &best, out);
    }
    nas_architecture_free(drawn);
    return status;
}

static bool probabilities(nas_search *s, int choice, double *p) {
    return nas__alphas_softmax(&((fbnet *)s->memory)->gumbel.alphas, s, choice, p);
}

static nas_status state(nas_search *s, nas_state *st) {
    fbnet *f = s->memory;
    nas__alphas_state(&f->gumbel.alphas, s, st);
    nas__cost_term_state(&f->cost, st);
    return NAS_OK;
}

const nas_strategy nas__strategy_fbnet = {
    .name = "fbnet",
    .summary = "gradient descent on Gumbel-softmax masks over all candidates, with the expected cost in the loss",
    .paper = "Wu et al.: FBNet: Hardware-Aware Efficient ConvNet Design via Differentiable Neural Architecture Search, "
             "CVPR 2019",
    .options = options,
    .options_size = sizeof(fbnet_options),
    .state_size = sizeof(fbnet),
    .arch_batches = true,
    .score_steps = 32,
    .accepts = accepts,
    .begin = begin,
    .step = step,
    .extra_steps = extra_steps,
    .extra_step = extra_step,
    .end_epoch = end_epoch,
    .derive = derive,
    .probabilities = probabilities,
    .state = state,
    .end = end,
};
