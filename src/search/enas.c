/* enas.c - ENAS: Efficient Neural Architecture Search via Parameter Sharing (Pham, Guan, Zoph, Le and Dean, ICML 2018).
 * The weights are trained under architectures that a controller draws, one per batch; then the controller learns by
 * REINFORCE, or by PPO (Schulman et al. 2017), from their rewards on batches of the arch part, the weights being left
 * alone. In the end some architectures are drawn, and the best scored is taken.
 *
 * The probabilities that the log shows are means over the controller's draws of the epoch. Rewards use the statistics
 * of their own batch and leave the running ones alone, which mix all architectures. */
#include "core/error.h"
#include "core/memory.h"
#include "search/controller.h"
#include <espalier/strategy.h>

#include <math.h>
#include <stdlib.h>

enum { PURPOSE_WEIGHTS = 0xe4a501, PURPOSE_CONTROLLER = 0xe4a502, PURPOSE_DERIVE = 0xe4a503 };

typedef struct enas_options {
    double controller_lr, tanh_constant, temperature, op_reduce, op_bias, entropy_weight, skip_weight, skip_target,
        baseline_decay, ppo_clip;
    int hidden, update, ppo_epochs, controller_steps, samples, epoch_samples, score_period, final_samples;
    bool own_words, skip_compat;
    bool recompute;
} enas_options;

enum { REINFORCE, PPO };

#define ROW(field, type, ...)                                                                                          \
    { #field, type, offsetof(enas_options, field), __VA_ARGS__ }
static const nas_option options[] = {
    ROW(controller_lr, NAS_OPTION_FLOAT, "1e-3", 0, 10, NULL,
        "learning rate of the controller (Adam without momentum)"),
    ROW(hidden, NAS_OPTION_INT, "64", 1, 1024, NULL, "size of the controller's state"),
    ROW(own_words, NAS_OPTION_BOOL, "0", 0, 0, NULL,
        "every choice has output weights of its own, not those of all choices with equal candidates: learns where good "
        "candidates differ from place to place"),
    ROW(tanh_constant, NAS_OPTION_FLOAT, "1.5", 0, 100, NULL,
        "logits stay within +- this, which bounds every probability; 0: no bound"),
    ROW(temperature, NAS_OPTION_FLOAT, "0", 0, 1000, NULL,
        "logits are divided by this before they are bounded; 0: they are not"),
    ROW(op_reduce, NAS_OPTION_FLOAT, "1", 0.01, 100, NULL,
        "tanh_constant is divided by this for operations; the authors' cells have 2.5"),
    ROW(op_bias, NAS_OPTION_FLOAT, "0", -100, 100, NULL,
        "initial bias of convolutions among the operations; the authors' cells have 10; 0: no biases"),
    ROW(update, NAS_OPTION_CHOICE, "reinforce", 0, 0, "reinforce|ppo", "how the controller learns"),
    ROW(ppo_epochs, NAS_OPTION_INT, "4", 1, 1000, NULL, "ppo: how often it learns from the architectures of an update"),
    ROW(ppo_clip, NAS_OPTION_FLOAT, "0.2", 0.001, 10, NULL,
        "ppo: an architecture's probability may change by this share in an update"),
    ROW(entropy_weight, NAS_OPTION_FLOAT, "1e-4", 0, 10, NULL,
        "weight of the policy's entropy in the reward; with ppo in the loss, where it has a gradient"),
    ROW(skip_weight, NAS_OPTION_FLOAT, "0.8", 0, 100, NULL,
        "weight of the term that draws skips of free number to their target"),
    ROW(skip_target, NAS_OPTION_FLOAT, "0.4", 0.001, 0.999, NULL, "wanted share of such skips"),
    ROW(skip_compat, NAS_OPTION_BOOL, "0", 0, 0, NULL,
        "that term as in the authors' code, which settles below the target"),
    ROW(baseline_decay, NAS_OPTION_FLOAT, "0.99", 0, 0.999999, NULL,
        "of the moving mean of rewards that rewards are compared with"),
    ROW(controller_steps, NAS_OPTION_INT, "50", 1, 1000000, NULL,
        "updates of the controller after each epoch of the weights"),
    ROW(samples, NAS_OPTION_INT, "20", 1, 10000, NULL, "architectures per update, each with a batch of its own"),
    ROW(epoch_samples, NAS_OPTION_INT, "1", 1, 100000, NULL,
        "architectures that are scored to derive one after an epoch"),
    ROW(score_period, NAS_OPTION_INT, "1", 1, 1000000, NULL,
        "epochs from one time that so many are scored to the next; between them it is one"),
    ROW(final_samples, NAS_OPTION_INT, "10", 1, 100000, NULL,
        "architectures that are scored to derive one after the last epoch"),
    NAS_OPTION_RECOMPUTE(enas_options),
    {0},
};

typedef struct enas {
    nas__controller *controller;
    nas__sample sample;
    nas__sample *kept; /* ppo: the samples of an update */
    nas__lesson *lessons;
    nas__baseline baseline;
    double reward, entropy, uniform, saturation; /* sums over the epoch's samples of the controller */
    int64_t samples;
} enas;

static nas_status begin(nas_search *s) {
    const enas_options *o = s->options;
    enas *e = s->memory;
    e->controller = nas__controller_new(s->space, &(nas__controller_config){.hidden = o->hidden,
                                                                            .tanh_constant = o->tanh_constant,
                                                                            .temperature = o->temperature,
                                                                            .op_reduce = o->op_reduce,
                                                                            .own_words = o->own_words,
                                                                            .op_bias = o->op_bias,
                                                                            .skip_target = o->skip_target,
                                                                            .skip_compat = o->skip_compat,
                                                                            .lr = o->controller_lr,
                                                                            .seed = s->config->seed});
    nas_status status = e->controller ? nas__sample_new(&e->sample, e->controller) : nas_error_status();
    if (status || o->update != PPO) {
        return status;
    }
    e->kept = nas__alloc((size_t)o->samples * sizeof *e->kept);
    e->lessons = nas__alloc((size_t)o->samples * sizeof *e->lessons);
    for (int i = 0; e->kept && e->lessons && !status && i < o->samples; i++) {
        status = nas__sample_new(&e->kept[i], e->controller);
    }
    return status ? status : nas_error_status();
}

static void end(nas_search *s) {
    enas *e = s->memory;
    for (int i = 0; e->kept && i < ((const enas_options *)s->options)->samples; i++) {
        nas__sample_free(&e->kept[i]);
    }
    free(e->kept);
    free(e->lessons);
    nas__sample_free(&e->sample);
    nas__controller_free(e->controller);
}

static nas_status take_sample(nas_search *s, void *user) {
    enas *e = s->memory;
    (void)user;
    nas_architecture_apply(e->sample.architecture, s->space);
    return NAS_OK;
}

/* --- the weights ---------------------------------------------------------------------------------- */
static nas_status step(nas_search *s, const nas_batch *train, double *loss) {
    enas *e = s->memory;
    nas_rng rng = nas_search_rng(s, PURPOSE_WEIGHTS);
    nas_status status = nas__controller_draw(e->controller, &rng, false, &e->sample);
    return status ? status : nas_search_weight_step(s, train, take_sample, NULL, loss);
}

/* --- the controller ------------------------------------------------------------------------------- */
static int64_t extra_steps(nas_search *s) { return ((const enas_options *)s->options)->controller_steps; }

static void account(enas *e, double reward) {
    e->samples++;
    e->reward += reward;
    e->entropy += e->sample.entropy;
    e->saturation += e->sample.saturation;
    e->uniform += e->sample.uniform;
}

/* Draws an architecture into e->sample, and its reward. */
static nas_status draw_and_judge(nas_search *s, nas_rng *rng, double *reward) {
    enas *e = s->memory;
    nas_pass_result result = {.want_reward = true};
    nas_status status = nas__controller_draw(e->controller, rng, true, &e->sample);
    const nas_batch *batch = status ? NULL : nas_search_arch_batch(s);
    if (!batch) {
        return nas_error_status();
    }
    status = nas_search_pass(s, &(nas_pass){.batch = batch, .freeze_running = true, .decide = take_sample}, &result);
    if (!status && !isfinite(result.reward)) {
        status =
            nas__fail(NAS_NUMERIC, "enas: the reward of an architecture is %g; the controller cannot learn from it",
                      result.reward);
    }
    *reward = result.reward;
    return status;
}

static nas_status draw_lesson(nas_search *s, nas_rng *rng, nas__lesson *lesson) {
    const enas_options *o = s->options;
    enas *e = s->memory;
    double reward = 0;
    nas_status status = draw_and_judge(s, rng, &reward);
    if (status) {
        return status;
    }
    account(e, reward);
    bool ppo = o->update == PPO;
    double entropy = ppo ? 0 : o->entropy_weight * e->sample.entropy;
    *lesson = (nas__lesson){.advantage = nas__baseline_advantage(&e->baseline, o->baseline_decay, reward + entropy),
                            .kl_weight = o->skip_weight,
                            .entropy_weight = ppo ? o->entropy_weight : 0,
                            .clip = ppo ? o->ppo_clip : 0,
                            .old_log_pi = e->sample.log_pi};
    return NAS_OK;
}

static nas_status reinforce(nas_search *s, nas_rng *rng) {
    enas *e = s->memory;
    int n = ((const enas_options *)s->options)->samples;
    nas_status status = NAS_OK;
    for (int i = 0; !status && i < n; i++) {
        nas__lesson lesson = {0};
        status = draw_lesson(s, rng, &lesson);
        status = status ? status : nas__controller_learn(e->controller, &e->sample, &lesson, 1.0 / n);
    }
    return status ? status : nas__controller_step(e->controller);
}

/* Several updates from the same architectures, whose probabilities are kept near those that they were drawn with. */
static nas_status ppo(nas_search *s, nas_rng *rng) {
    const enas_options *o = s->options;
    enas *e = s->memory;
    nas_status status = NAS_OK;
    for (int i = 0; !status && i < o->samples; i++) {
        status = draw_lesson(s, rng, &e->lessons[i]);
        nas__sample drawn = e->sample;
        e->sample = e->kept[i];
        e->kept[i] = drawn;
    }
    for (int epoch = 0; !status && epoch < o->ppo_epochs; epoch++) {
        for (int i = 0; !status && i < o->samples; i++) {
            status = nas__controller_learn(e->controller, &e->kept[i], &e->lessons[i], 1.0 / o->samples);
        }
        status = status ? status : nas__controller_step(e->controller);
    }
    return status;
}

static nas_status extra_step(nas_search *s, int64_t index) {
    enas *e = s->memory;
    nas_rng rng = nas_search_rng(s, PURPOSE_CONTROLLER);
    if (index == 0) {
        nas__controller_forget(e->controller);
        e->reward = e->entropy = e->uniform = e->saturation = 0;
        e->samples = 0;
    }
    return (((const enas_options *)s->options)->update == PPO ? ppo : reinforce)(s, &rng);
}

static nas_status end_epoch(nas_search *s) {
    enas *e = s->memory;
    double n = (double)e->samples, entropy = e->uniform > 0 ? e->entropy / e->uniform : 0;
    if (e->samples == 0) {
        return NAS_OK;
    }
    nas_search_note(s, NAS_LOG_INFO, "controller",
                    "controller: mean reward %.4f, baseline %.4f, entropy %.3f of the uniform policy's", e->reward / n,
                    e->baseline.value, entropy);
    if (e->saturation / n > 0.98) {
        nas_search_note(s, NAS_LOG_WARN, "controller",
                        "the controller's logits are at their bound and it has stopped learning; lower "
                        "controller_lr or set a temperature");
    }
    if (s->progress < 0.25 && e->uniform > 0 && entropy < 0.2) {
        nas_search_note(s, NAS_LOG_WARN, "controller",
                        "the controller settles on few architectures early; lower controller_lr or raise "
                        "entropy_weight");
    }
    e->samples = 0;
    return NAS_OK;
}

/* --- results -------------------------------------------------------------------------------------- */
static nas_status copy_architecture(const nas_search *s, const nas_architecture *from, nas_architecture *to) {
    nas_status status = NAS_OK;
    for (int i = 0; !status && i < nas_space_size(s->space); i++) {
        status = nas_architecture_set(to, i, nas_architecture_get(from, i));
    }
    return status;
}

/* Scoring many after each epoch would cost more than a small epoch itself. */
static int samples_to_score(const nas_search *s) {
    const enas_options *o = s->options;
    bool last = s->epoch + 1 >= s->epochs, due = (s->epoch + 1) % o->score_period == 0;
    return last ? o->final_samples : due ? o->epoch_samples : 1;
}

/* The best scored of some draws, the earlier of equal ones. A single one needs no comparison. */
static nas_status derive(nas_search *s, nas_architecture *out) {
    enas *e = s->memory;
    nas_rng rng = nas_search_rng(s, PURPOSE_DERIVE);
    double best = NAN, score = NAN;
    int n = samples_to_score(s);
    nas_status status = NAS_OK;
    for (int i = 0; !status && i < n; i++) {
        status = nas__controller_draw(e->controller, &rng, false, &e->sample);
        status = status || n == 1 ? status : nas_search_score(s, e->sample.architecture, &score);
        if (!status && (i == 0 || nas_search_better(s, score, best))) {
            best = score;
            status = copy_architecture(s, e->sample.architecture, out);
        }
    }
    return status;
}

static bool probabilities(nas_search *s, int choice, double *p) {
    nas__controller_marginal(((enas *)s->memory)->controller, choice, p);
    return true;
}

static nas_status state(nas_search *s, nas_state *st) {
    enas *e = s->memory;
    nas__controller_state(e->controller, st);
    nas_state_f64(st, "controller_baseline.value", &e->baseline.value, 1);
    nas_state_i64(st, "controller_baseline.rewards", &e->baseline.rewards, 1);
    return NAS_OK;
}

const nas_strategy nas__strategy_enas = {
    .name = "enas",
    .summary = "an LSTM controller draws architectures and learns from their rewards by REINFORCE or PPO",
    .paper = "Pham, Guan, Zoph, Le, Dean: Efficient Neural Architecture Search via Parameter Sharing, ICML 2018",
    .options = options,
    .options_size = sizeof(enas_options),
    .state_size = sizeof(enas),
    .arch_batches = true,
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
