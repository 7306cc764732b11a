/* trainer.c - the loop of every search: batches to the strategy, scoring, journal, checkpoint, export. */
#include "search/trainer.h"
#include "search/registry.h"

#include "core/options.h"
#include "core/file.h"
#include "hardware/profile.h"
#include "nn/optim.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- configuration ------------------------------------------------------------------------------- */
static double only_metric_reward(const nas_metric *m, const nas_tensor *output, const nas_tensor *target) {
    double value = m->measure(output, target);
    return m->lower_is_better ? -nas__metric_value(m, value) : value;
}

double nas_search_reward(const nas_search *s, const nas_tensor *output, const nas_tensor *target) {
    return s->config->reward ? s->config->reward(output, target)
                             : only_metric_reward(&s->config->metrics[0], output, target);
}

static nas_status apply_defaults(nas_trainer *t) {
    nas_trainer_config *c = &t->config;
    if (!c->model || !c->dataset_train || !c->dataset_valid) {
        return nas__fail(NAS_INVALID, "nas_trainer_new: .model, .dataset_train and .dataset_valid are required");
    }
    c->loss = nas__loss_for(c->loss, c->dataset_train);
    c->metrics = nas__metrics_for(c->metrics, c->dataset_train);
    t->n_metrics = nas__metric_count(c->metrics);
    c->batch_size = c->batch_size > 0 ? c->batch_size : 64;
    c->num_epochs = c->num_epochs > 0 ? c->num_epochs : 50;
    c->clip_norm = c->clip_norm == 0 ? 5 : c->clip_norm < 0 ? 0 : c->clip_norm;
    c->optimizer = c->optimizer ? c->optimizer : nas_sgd(.lr = 0.025, .momentum = 0.9, .weight_decay = 3e-4);
    t->settle_steps = c->score_steps < 0 ? 0 : c->score_steps > 0 ? c->score_steps : t->s.strategy->score_steps;
    if (nas_ranks() > 1 && c->precision != NAS_F32) {
        return nas__fail(NAS_UNSUPPORTED, "several ranks compute in f32: what bf16 is used for is measured, and would "
                                          "differ between them");
    }
    if (t->n_metrics == 0) {
        return nas__fail(NAS_INVALID, "nas_trainer_new: .metrics is empty; the first metric scores architectures");
    }
    return nas_error_status();
}

/* "a=1,b=2" into the strategy's struct */
static nas_status read_options(nas_trainer *t) {
    const nas_strategy *st = t->s.strategy;
    t->options = nas__alloc(st->options_size);
    nas_status status =
        t->options ? nas__options_read(st->options, t->options, st->name, t->config.options) : nas_error_status();
    t->s.options = t->options;
    for (const nas_option *row = st->options; !status && row->name; row++) {
        if (strcmp(row->name, "recompute") == 0) {
            t->recompute = *(const bool *)((const char *)t->options + row->offset);
        }
    }
    return status;
}

static nas_status count_steps(nas_trainer *t) {
    t->s.train_steps = nas_loader_batches(t->train_loader);
    if (t->s.strategy->extra_steps) {
        t->s.extra_steps = t->s.strategy->extra_steps(&t->s);
        int64_t limit = t->config.limit_batches;
        t->s.extra_steps = limit > 0 && t->s.extra_steps > limit ? limit : t->s.extra_steps;
    }
    t->s.steps_per_epoch = t->s.train_steps + t->s.extra_steps;
    t->s.epochs = t->s.strategy->train_epochs ? t->s.strategy->train_epochs(&t->s) : t->config.num_epochs;
    return nas_error_status();
}

static nas_status open_run(nas_trainer *t) {
    int done = 0;
    nas_status status = NAS_OK;
    if (t->config.resume && t->config.run_dir) {
        status = nas__checkpoint_load(t, t->config.run_dir, &done);
    }
    bool resume = done > 0 || (t->config.resume && t->config.run_dir && nas__run_exists(t->config.run_dir));
    return status ? status : nas__journal_open(t, resume);
}

/* Refuses with the strategy's reason, and with the strategies that fit. */
static nas_status accept_space(const nas_trainer *t) {
    const nas_strategy *strategy = t->s.strategy;
    nas_status status = strategy->accepts ? strategy->accepts(t->s.space) : NAS_OK;
    char reason[512], fitting[512] = "";
    if (!status) {
        return NAS_OK;
    }
    snprintf(reason, sizeof reason, "%s", nas_error_message());
    nas_error_clear();
    for (const nas_strategy *const *other = nas__strategies; *other; other++) {
        if (nas__strategy_accepts(*other, t->s.space)) {
            size_t used = strlen(fitting);
            snprintf(fitting + used, sizeof fitting - used, "%s%s", used ? ", " : "", (*other)->name);
        }
    }
    return nas__fail(status, "%s; strategies that take this space: %s", reason, fitting);
}

/* Side by side are trials, which not every strategy has. */
static nas_status accept_runner(const nas_trainer *t) {
    const nas_strategy *strategy = t->s.strategy;
    if (!t->config.runner || (strategy->conclude && nas_options_find(strategy->options, "evaluate"))) {
        return NAS_OK;
    }
    return nas__fail(NAS_UNSUPPORTED,
                     "%s trains one network with all choices: it has no trials that could run side by side; leave out "
                     "--jobs, or take a strategy of trials, such as random or evolution",
                     strategy->name);
}

static nas_status prepare(nas_trainer *t) {
    t->s.strategy = t->config.custom ? t->config.custom : nas__strategy_find(t->config.strategy);
    t->s.config = &t->config;
    t->s.model = t->config.model;
    nas_status status = t->s.strategy ? apply_defaults(t) : nas_error_status();
    t->s.optimizer = t->config.optimizer;
    nas_set_threads(t->config.threads);
    status = status ? status : accept_runner(t);
    status = status ? status : read_options(t);
    t->s.space = status || t->s.space ? t->s.space : nas_space_new(t->config.model);
    if (status || !t->s.space) {
        return nas_error_status();
    }
    status = accept_space(t);
    status = status ? status : nas_initialise(t->config.model, t->config.seed);
    status = status ? status : nas_optimizer_bind_model(t->s.optimizer, t->config.model);
    t->shards = status ? NULL : nas__shards_new(t->config.shards, t->config.batch_size);
    status = status || nas_error_status() ? nas_error_status() : nas__parts_open(t);
    t->tape = nas_tape_new();
    t->precision = nas__precision_new(t->config.precision);
    t->s.memory = nas__alloc(t->s.strategy->state_size);
    status = status ? status : nas_error_status();
    status = status ? status : nas__limits_open(t);
    status = status ? status : count_steps(t);
    status = status || !t->s.strategy->begin ? status : t->s.strategy->begin(&t->s);
    return status ? status : open_run(t);
}

static void begin(nas_trainer *t, const nas_trainer_config *config) {
    t->config = *config;
    t->best_score = t->derived_score = NAN;
    t->phase_end = t->phase_scale = t->depth = 1;
    t->score_bn = NAS_BN_CALIBRATED;
    t->guard = nas__guard_new();
}

nas_trainer *nas_trainer_new(const nas_trainer_config *config) {
    nas_trainer *t = nas__alloc(sizeof *t);
    if (!t) {
        return NULL;
    }
    begin(t, config);
    if (prepare(t)) {
        nas_trainer_free(t);
        return NULL;
    }
    return t;
}

/* All that prepare() and the epochs made, but the spaces, which architectures in other hands may be of. */
static void unprepare(nas_trainer *t) {
    if (t->s.memory && t->s.strategy->end) {
        t->s.strategy->end(&t->s);
    }
    nas__limits_close(&t->limits);
    nas__profile_free(t->latency);
    nas__truth_free(t->truth);
    nas__parts_close(t);
    nas__shards_free(t->shards);
    nas_tape_free(t->tape);
    nas__precision_free(t->precision);
    nas_architecture_free(t->best);
    nas_architecture_free(t->derived);
    nas_optimizer_free(t->config.optimizer);
    free(t->s.memory);
    free(t->options);
    free(t->scored);
    free(t->eigenvalues);
}

void nas_trainer_free(nas_trainer *t) {
    if (!t) {
        return;
    }
    nas__run_close(t->run, "failed", "the search did not run to its end");
    unprepare(t);
    nas__search_depth_close(t);
    nas_space_free(t->s.space);
    free(t);
}

/* --- numbers that broke down ---------------------------------------------------------------------- */
/* A new trainer in the place of this one, as --resume would make it. */
static nas_status prepare_again(nas_trainer *t) {
    nas_optimizer *o = nas__optimizer_like(t->s.optimizer);
    nas_status status = nas__run_close(t->run, "stopped", "goes back to its last good state");
    t->run = NULL;
    if (!o || status) {
        nas_optimizer_free(o);
        return nas_error_status();
    }
    nas_optimizer_zero_grad(t->s.optimizer);
    nas__precision_use(NULL);
    unprepare(t);
    nas_trainer before = *t;
    *t = (nas_trainer){.s.space = before.whole ? before.whole : before.s.space,
                       .spaces = before.spaces,
                       .n_spaces = before.n_spaces,
                       .stop = before.stop,
                       .stop_wanted = before.stop_wanted,
                       .on_pass = before.on_pass,
                       .on_pass_user = before.on_pass_user};
    begin(t, &before.config);
    t->config.optimizer = o;
    t->config.resume = true;
    return prepare(t);
}

static nas_status go_back(nas_trainer *t) {
    char cause[512];
    nas__guard guard = t->guard;
    nas__guard_catch(&guard, t->s.step, t->s.epoch, cause, sizeof cause);
    double seconds = nas__pace_seconds(&t->pace), progress = t->pace.progress;
    nas_space *stage = t->whole && t->whole != t->s.space ? t->s.space : NULL;
    if (stage && !nas__grow(&t->spaces, t->n_spaces, sizeof *t->spaces)) {
        return nas_error_status();
    }
    if (stage) {
        t->spaces[t->n_spaces++] = stage;
    }
    nas_free(t->stage_model);
    t->stage_model = NULL;
    if (prepare_again(t)) {
        return nas_error_status();
    }
    t->guard = guard;
    t->used_seconds = seconds;
    if (t->config.budget.minutes > 0) {
        t->pace.progress = progress;
    }
    nas__precision_use(t->precision);
    nas__guard_tell(&t->guard, t->run, t->s.epoch, (int64_t)t->s.total_step, nas_optimizer_lr(t->s.optimizer), cause);
    return NAS_OK;
}

/* --- the loop ------------------------------------------------------------------------------------ */
void nas_trainer_stop(nas_trainer *t) {
    t->stop_wanted = 1;
    t->stop = nas_ranks() == 1 || t->stop; /* several stop together, when they next agree */
}

static bool ends_now(const nas_trainer *t) { return t->stop || nas__pace_out_of_time(&t->pace); }

nas_status nas__trainer_step(nas_trainer *t, double *loss) {
    nas_search *s = &t->s;
    s->progress = nas__pace_progress(&t->pace, s->epoch, s->step);
    s->lr = nas__search_lr(t);
    if (s->step >= s->train_steps) {
        return s->strategy->extra_step(s, s->step - s->train_steps);
    }
    const nas_batch *batch = nas_loader_next(t->train_loader);
    return batch ? s->strategy->step(s, batch, loss) : nas_error_status();
}

/* The steps of an epoch; the mean training loss through *mean. */
static nas_status run_steps(nas_trainer *t, double *mean) {
    double loss = NAN, sum = 0;
    int64_t counted = 0;
    for (t->s.step = 0; t->s.step < t->s.steps_per_epoch; t->s.step++) {
        nas_status status = nas__agree(&t->stop_wanted, &t->stop);
        if (!status && ends_now(t)) {
            break;
        }
        status = status ? status : nas__trainer_step(t, &loss);
        status = status ? status : nas__check_alike(t->s.optimizer, (int64_t)t->s.total_step, false);
        if (status || nas_error_status()) {
            return nas_error_status();
        }
        if (t->s.step < t->s.train_steps) {
            sum += loss;
            counted++;
        }
        t->s.total_step++;
        nas__journal_step(t, loss);
    }
    *mean = counted ? sum / (double)counted : NAN;
    return NAS_OK;
}

static nas_status one_epoch(nas_trainer *t) {
    double mean = NAN;
    int unsaved = t->unsaved;
    t->unsaved = 0; /* what was not saved before is gone with the first step */
    nas__guard_epoch(&t->guard);
    nas__ranks_span span = nas__ranks_begin();
    nas__pace_epoch(&t->pace, t->s.epoch, false);
    nas_status status = nas_loader_seek(t->train_loader, t->s.epoch, 0);
    status = status ? status : run_steps(t, &mean);
    nas__ranks_log(&span, t->s.step);
    if (!status && t->s.strategy->end_epoch) {
        status = t->s.strategy->end_epoch(&t->s);
    }
    status = status ? status : nas__score_derived(t);
    status = status ? status : nas__check_alike(t->s.optimizer, (int64_t)t->s.total_step - 1, true);
    nas_progress progress;
    status = status ? status : nas__journal_epoch(t, mean, &progress);
    /* An epoch that was cut short is not a state to go on from: --resume repeats it. */
    if (!status && !t->stop && nas__checkpoint_due(&t->config.checkpoints, &unsaved, t->last_checkpoint)) {
        status = nas__checkpoint_save(t);
    } else if (!status && !t->stop) {
        t->unsaved = unsaved;
    }
    nas__pace_epoch(&t->pace, t->s.epoch, true);
    t->s.epochs = t->pace.epochs;
    if (!status && t->config.on_epoch && t->config.on_epoch(&progress, t->config.user)) {
        nas_trainer_stop(t);
    }
    return status;
}

static nas_status run_epochs(nas_trainer *t) {
    double earlier = t->pace.progress, share = 1;
    if (t->s.strategy->conclude_share) {
        share -= t->s.strategy->conclude_share(&t->s);
    }
    nas__pace_start(&t->pace, t->config.budget.minutes * share, t->s.epochs, t->s.steps_per_epoch,
                    t->config.log_frequency, t->used_seconds);
    t->pace.progress = earlier;
    t->last_checkpoint = nas__now();
    nas_status status = NAS_OK;
    while (!status && t->s.epochs > 0 && !t->stop && !t->ended && !nas__trials_used_up(t) &&
           !nas__pace_over(&t->pace, t->s.epoch)) {
        status = one_epoch(t);
        t->s.epoch += !status;
    }
    if (!status && t->unsaved) { /* the state is still that of the last epoch's end */
        t->s.epoch--;
        status = nas__checkpoint_save(t);
        t->s.epoch++;
    }
    return status;
}

bool nas_search_interrupted(const nas_search *s) {
    const nas_trainer *t = (const nas_trainer *)s;
    return ends_now(t);
}

/* What follows the training of the weights, with the whole budget of time. Its last state is saved, too. */
static nas_status conclude(nas_trainer *t) {
    if (!t->s.strategy->conclude || t->stop) {
        return NAS_OK;
    }
    t->concluding = true;
    t->pace.budget_seconds = t->config.budget.minutes * 60;
    t->pace.reserve = fmin(0.5, 0.01 * t->pace.budget_seconds);
    t->pace.step_seconds = 0; /* there are none any more */
    t->last_checkpoint = t->conclude_started = nas__now();
    nas_status status = t->s.strategy->conclude(&t->s);
    return status ? status : nas__checkpoint_save(t);
}

nas_status nas_trainer_train(nas_trainer *t) {
    nas__precision *before = nas__precision_use(t->precision);
    nas_status status = run_epochs(t);
    if (nas__guard_catches(&t->guard, status, t->run, t->s.step, t->s.epoch)) {
        status = go_back(t);
        status = status ? status : run_epochs(t);
        nas__guard_catches(&t->guard, status, t->run, t->s.step, t->s.epoch);
    }
    status = status ? status : conclude(t);
    nas__precision_use(before);
    nas__precision_journal(t->precision, t->config.precision, t->run, t->s.epoch, (int64_t)t->s.total_step);
    t->stopped = t->stop != 0;
    if (status) {
        nas__run_event(t->run, NAS_LOG_ERROR, "failed", t->s.epoch + 1, (int64_t)t->s.total_step, nas_error_message());
    }
    nas_status closed = nas__run_close(t->run,
                                       status       ? "failed"
                                       : t->stopped ? "stopped"
                                                    : "finished",
                                       status ? nas_error_message() : NULL);
    t->run = NULL;
    return status ? status : closed;
}

/* --- results ------------------------------------------------------------------------------------- */
const nas_architecture *nas_trainer_best(const nas_trainer *t, double *score) {
    if (score) {
        *score = t->best_score;
    }
    return t->best;
}

const nas_space *nas_trainer_space(const nas_trainer *t) { return t->s.space; }

bool nas_trainer_stopped(const nas_trainer *t) { return t->stopped; }
