/* gdas.c - GDAS: searching for a robust neural architecture in four GPU hours (Dong and Yang, CVPR 2019). Each pass
 * draws one candidate per choice by Gumbel noise and computes that one alone; backwards the one-hot weights count as
 * the soft ones, whose gradient alpha takes. The weights step first, then alpha under a new draw.
 *
 * hard=0 is another method of the same name, NNI's GumbelDARTS: soft weights over all candidates, alpha's step first.
 */
#include "search/gumbel.h"

#include <stddef.h>

enum { PURPOSE_WEIGHTS = 0x9da501, PURPOSE_ALPHA = 0x9da502 };
enum { ESTIMATE_SAMPLED, ESTIMATE_ONES };

typedef struct gdas_options {
    double tau_max, tau_min, alpha_lr, alpha_weight_decay, alpha_beta1;
    int estimate, none, warmup_epochs;
    bool hard, update_all, recompute;
} gdas_options;

#define ROW(field, type, ...)                                                                                          \
    { #field, type, offsetof(gdas_options, field), __VA_ARGS__ }
static const nas_option options[] = {
    ROW(tau_max, NAS_OPTION_FLOAT, "10", 1e-6, 1e6, NULL, "temperature at the start"),
    ROW(tau_min, NAS_OPTION_FLOAT, "0.1", 1e-6, 1e6, NULL, "temperature at the end; it falls linearly"),
    ROW(alpha_lr, NAS_OPTION_FLOAT, "3e-4", 0, 10, NULL, "learning rate of alpha (Adam)"),
    ROW(alpha_weight_decay, NAS_OPTION_FLOAT, "1e-3", 0, 1, NULL, "L2 term of alpha"),
    ROW(alpha_beta1, NAS_OPTION_FLOAT, "0.5", 0, 0.9999, NULL, "Adam's first decay rate for alpha"),
    ROW(estimate, NAS_OPTION_CHOICE, "sampled", 0, 0, "sampled|ones",
        "alpha's gradient from candidates that were not computed: none, or as if they gave ones (the code that came "
        "with NAS-Bench-201)"),
    ROW(hard, NAS_OPTION_BOOL, "1", 0, 0, NULL,
        "compute one candidate per choice; 0: all, softly weighted, and alpha's step first"),
    ROW(update_all, NAS_OPTION_BOOL, "0", 0, 0, NULL,
        "weight decay and momentum also move what was not drawn in a step"),
    ROW(warmup_epochs, NAS_OPTION_INT, "0", 0, 100000, NULL, "epochs with alpha frozen at the start"),
    ROW(none, NAS_OPTION_CHOICE, "auto", 0, 0, "auto|exclude|include",
        "may `none` be derived? auto: not where an input choice drops edges"),
    NAS_OPTION_RECOMPUTE(gdas_options),
    {0},
};

static nas_status accepts(const nas_space *space) { return nas__alphas_accept(space, "gdas"); }

static nas_status begin(nas_search *s) {
    const gdas_options *o = s->options;
    return nas__gumbel_new(s->memory, s,
                           &(nas__alphas_config){.deviation = 1e-3,
                                                 .lr = o->alpha_lr,
                                                 .beta1 = o->alpha_beta1,
                                                 .beta2 = 0.999,
                                                 .weight_decay = o->alpha_weight_decay});
}

static void end(nas_search *s) { nas__gumbel_free(s->memory); }

/* --- steps ----------------------------------------------------------------------------------------- */
static double temperature(const nas_search *s) {
    const gdas_options *o = s->options;
    return o->tau_max + (o->tau_min - o->tau_max) * s->progress;
}

static nas_status draw(nas_search *s, uint32_t purpose) {
    const gdas_options *o = s->options;
    bool for_alpha = purpose == PURPOSE_ALPHA;
    nas_rng rng = nas_search_rng(s, purpose);
    return nas__gumbel_decide(s->memory, s, &rng,
                              &(nas__gumbel_pass){.tau = temperature(s),
                                                  .hard = o->hard,
                                                  .weights = for_alpha,
                                                  .rest = for_alpha && o->hard && o->estimate == ESTIMATE_ONES});
}

static nas_status draw_for_weights(nas_search *s, void *user) {
    (void)user;
    return draw(s, PURPOSE_WEIGHTS);
}

static nas_status draw_for_alpha(nas_search *s, void *user) {
    (void)user;
    return draw(s, PURPOSE_ALPHA);
}

static nas_status weight_step(nas_search *s, const nas_batch *train, double *loss) {
    if (((const gdas_options *)s->options)->update_all) {
        nas__gradients_for_all(s->optimizer);
    }
    return nas_search_weight_step(s, train, draw_for_weights, NULL, loss);
}

static nas_status alpha_step(nas_search *s) {
    const gdas_options *o = s->options;
    const nas_batch *batch = s->epoch < o->warmup_epochs ? NULL : nas_search_arch_batch(s);
    if (!batch) {
        return nas_error_status();
    }
    nas_status status = nas_search_pass(
        s,
        &(nas_pass){
            .batch = batch, .grad = NAS_ROLE_ARCH, .training = true, .freeze_running = true, .decide = draw_for_alpha},
        NULL);
    return status ? status : nas__gumbel_step(s->memory, o->update_all);
}

static nas_status step(nas_search *s, const nas_batch *train, double *loss) {
    bool alpha_first = !((const gdas_options *)s->options)->hard;
    nas_status status = alpha_first ? alpha_step(s) : weight_step(s, train, loss);
    return status ? status : alpha_first ? weight_step(s, train, loss) : alpha_step(s);
}

static nas_status end_epoch(nas_search *s) {
    nas_search_note(s, NAS_LOG_INFO, "temperature", "temperature %.3g, mean |gradient of alpha| %.3g", temperature(s),
                    nas__gumbel_mean_gradient(s->memory));
    return NAS_OK;
}

/* --- results --------------------------------------------------------------------------------------- */
static nas_status derive(nas_search *s, nas_architecture *out) {
    return nas__alphas_derive(&((nas__gumbel *)s->memory)->alphas, s,
                              (nas__none_rule)((const gdas_options *)s->options)->none, out);
}

static bool probabilities(nas_search *s, int choice, double *p) {
    return nas__alphas_softmax(&((nas__gumbel *)s->memory)->alphas, s, choice, p);
}

static nas_status state(nas_search *s, nas_state *st) {
    nas__alphas_state(&((nas__gumbel *)s->memory)->alphas, s, st);
    return NAS_OK;
}

const nas_strategy nas__strategy_gdas = {
    .name = "gdas",
    .summary = "gradient descent on Gumbel draws: one candidate per choice is computed",
    .paper = "Dong, Yang: Searching for a Robust Neural Architecture in Four GPU Hours, CVPR 2019",
    .options = options,
    .options_size = sizeof(gdas_options),
    .state_size = sizeof(nas__gumbel),
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
