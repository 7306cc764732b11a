/* fit.c - training of a network without choices: the retraining of what a search found. */
#include "search/trainer.h"
#include "core/file.h"
#include "io/state.h"
#include "nn/optim.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct fit {
    nas_fit_config config;
    nas_tape *tape;
    nas__shards *shards; /* NULL: a batch is one piece */
    nas__precision *precision;
    nas_loader *loader;
    nas_transform plain;
    nas__pace pace;
    nas__run *run;
    int n_metrics, epoch, epochs, best_epoch, unsaved;
    int64_t step, steps;
    uint64_t total_step;
    double lr, used_seconds, last_checkpoint, score, best_score;
    nas__metric_ids ids;
    nas__guard guard;
    bool has_checkpoint;
    volatile sig_atomic_t stop, stop_wanted; /* wanted: by a callback here; stop: in all ranks */
} fit;

static nas_status apply_defaults(fit *f) {
    nas_fit_config *c = &f->config;
    if (!c->model || !c->dataset_train) {
        return nas__fail(NAS_INVALID, "nas_fit: .model and .dataset_train are required");
    }
    c->loss = nas__loss_for(c->loss, c->dataset_train);
    c->metrics = nas__metrics_for(c->metrics, c->dataset_train);
    f->n_metrics = nas__metric_count(c->metrics);
    c->batch_size = c->batch_size > 0 ? c->batch_size : 96;
    c->num_epochs = c->num_epochs > 0 ? c->num_epochs : 50;
    c->clip_norm = c->clip_norm == 0 ? 5 : c->clip_norm < 0 ? 0 : c->clip_norm;
    c->optimizer =
        c->optimizer ? c->optimizer : nas_sgd(.lr = 0.1, .momentum = 0.9, .nesterov = true, .weight_decay = 5e-4);
    f->score = f->best_score = NAN;
    f->guard = nas__guard_new();
    f->epochs = c->num_epochs;
    return nas_error_status();
}

/* --- checkpoints --------------------------------------------------------------------------------- */
typedef struct saved {
    uint64_t format, epochs_done, total_step, best_epoch;
    double used_seconds, progress, best_score, score;
} saved;

static void bind(fit *f, nas_state *st, saved *v) {
    nas_state_u64(st, "fit.counters", &v->format, 4);
    nas_state_f64(st, "fit.values", &v->used_seconds, 4);
    nas__precision_state(f->precision, f->config.precision, st);
    nas__guard_state(&f->guard, st);
    nas_state_model(st, "model.", f->config.model);
    nas_state_optimizer(st, "optimizer.", f->config.optimizer);
}

static nas_status save(fit *f) {
    if (!f->run) {
        return NAS_OK;
    }
    saved v = {1,
               (uint64_t)f->epoch + 1,
               f->total_step,
               (uint64_t)f->best_epoch,
               nas__pace_seconds(&f->pace),
               f->pace.progress,
               f->best_score,
               f->score};
    char *path = nas__checkpoint_path(f->config.run_dir, f->epoch + 1);
    nas_state *st = path ? nas__state_save_begin(path, NULL) : NULL;
    if (st) {
        bind(f, st, &v);
        nas__state_finish(st);
    }
    if (!nas_error_status()) {
        nas__checkpoint_prune(f->config.run_dir, nas__checkpoints_kept(&f->config.checkpoints));
        f->last_checkpoint = nas__now();
        f->unsaved = 0;
        f->has_checkpoint = true;
    }
    free(path);
    return nas_error_status();
}

static nas_status load(fit *f) {
    char *path = nas__checkpoint_newest(f->config.run_dir);
    nas_state *st = path ? nas__state_load_begin(path) : NULL;
    saved v = {0};
    if (st) {
        bind(f, st, &v);
        if (!nas__state_finish(st)) {
            f->has_checkpoint = true;
            f->epoch = (int)v.epochs_done;
            f->total_step = v.total_step;
            f->best_epoch = (int)v.best_epoch;
            f->used_seconds = v.used_seconds;
            f->pace.progress = v.progress;
            f->best_score = v.best_score;
            f->score = v.score;
        }
    }
    free(path);
    return nas_error_status();
}

/* --- journal ------------------------------------------------------------------------------------- */
static nas_status open_run(fit *f) {
    const nas_fit_config *c = &f->config;
    if (!c->run_dir || nas_rank() > 0) {
        return NAS_OK;
    }
    nas__run_info info = {.kind = "retrain",
                          .space = c->space_name,
                          .data = nas_dataset_describe(c->dataset_train)->name,
                          .seed = c->seed,
                          .threads = nas_threads(),
                          .config = c->run_config,
                          .command = c->command,
                          .epochs = f->epochs,
                          .steps_per_epoch = f->steps};
    bool resume = c->resume && nas__run_exists(c->run_dir);
    f->run = resume ? nas__run_resume(c->run_dir, &info, f->epoch, (int64_t)f->total_step)
                    : nas__run_create(c->run_dir, &info);
    nas__journal_metrics(f->run, c->metrics, c->dataset_valid ? f->n_metrics : 0, &f->ids);
    return nas_error_status();
}

static nas_progress progress_now(const fit *f, double loss) {
    return (nas_progress){.epoch = f->epoch + 1,
                          .epochs = nas__pace_epochs(&f->pace, f->epoch, f->step + 1),
                          .step = f->step + 1,
                          .steps_per_epoch = f->steps,
                          .loss = loss,
                          .lr = f->lr,
                          .images_per_second = f->pace.images_per_second,
                          .seconds = nas__pace_seconds(&f->pace),
                          .eta_seconds = nas__pace_eta(&f->pace, f->epoch, f->step + 1),
                          .score = f->score,
                          .best_score = f->best_score,
                          .best_epoch = f->best_epoch,
                          .entropy = NAN,
                          .skip_share = NAN,
                          .metric = f->config.metrics[0].name};
}

static void journal_step(fit *f, double loss) {
    bool due = nas__pace_step(&f->pace, f->config.batch_size);
    nas_progress p = progress_now(f, loss);
    nas__guard_loss(&f->guard, loss, f->step);
    nas__journal_progress(f->run, &f->ids, &p, due, (int64_t)f->total_step,
                          nas_optimizer_last_norm(f->config.optimizer), f->config.batch_size, f->loader);
    if (f->config.on_step && f->config.on_step(&p, f->config.user)) {
        f->stop_wanted = 1;
    }
}

static nas_status journal_epoch(fit *f, double mean) {
    const nas_fit_config *c = &f->config;
    nas_evaluation e = {0};
    double values[NAS__MOST_METRICS + 1];
    int ids[NAS__MOST_METRICS + 1], n = 0;
    if (c->dataset_valid) {
        nas_status status = nas_evaluate(&(nas_evaluate_config){.model = c->model,
                                                                .loss = c->loss,
                                                                .metrics = c->metrics,
                                                                .data = c->dataset_valid,
                                                                .transform = &f->plain,
                                                                .limit_batches = c->limit_batches},
                                         &e);
        if (status) {
            return status;
        }
        f->score = e.metrics[0];
        if (isnan(f->best_score) ||
            (c->metrics[0].lower_is_better ? f->score < f->best_score : f->score > f->best_score)) {
            f->best_score = f->score;
            f->best_epoch = f->epoch + 1;
        }
        for (; n < f->n_metrics; n++) {
            ids[n] = f->ids.score[n];
            values[n] = e.metrics[n];
        }
    }
    ids[n] = f->ids.train_loss;
    values[n++] = mean;
    nas__run_epoch(f->run, &(nas__run_epoch_row){.epoch = f->epoch + 1,
                                                 .step = (int64_t)f->total_step,
                                                 .entropy = NAN,
                                                 .skip_share = NAN,
                                                 .images_per_s = f->pace.images_per_second,
                                                 .n = n,
                                                 .metrics = ids,
                                                 .values = values});
    nas__guard_spikes(&f->guard, f->run, f->epoch, (int64_t)f->total_step);
    int epochs = nas__pace_epochs(&f->pace, f->epoch, f->step);
    if (c->quiet) {
        return nas__run_flush(f->run);
    }
    if (c->dataset_valid) {
        nas__log(NAS_LOG_INFO, "epoch %d/%d  train loss %.4f  %s %.4f (valid)", f->epoch + 1, epochs, mean,
                 c->metrics[0].name, f->score);
    } else {
        nas__log(NAS_LOG_INFO, "epoch %d/%d  train loss %.4f", f->epoch + 1, epochs, mean);
    }
    return nas__run_flush(f->run); /* a checkpoint comes next */
}

/* --- the loop ------------------------------------------------------------------------------------ */
static bool stopping(const fit *f) {
    bool own = f->stop_wanted || (f->config.stop && *f->config.stop);
    return f->stop || (nas_ranks() == 1 && own); /* several stop together, when they next agree */
}

static nas_status agree(fit *f) {
    const sig_atomic_t wanted = f->stop_wanted || (f->config.stop && *f->config.stop);
    return nas_ranks() == 1 ? NAS_OK : nas__agree(&wanted, &f->stop);
}

typedef struct outcome {
    const fit *f;
    double *value;
} outcome;

static nas_tensor *judge(void *user, nas_tensor *output, nas_tensor *target) {
    const outcome *o = user;
    nas_tensor *loss = o->f->config.loss(output, target);
    *o->value = nas_tensor_item(loss);
    return loss && !nas__check_loss(*o->value, o->f->step, o->f->epoch, o->f->lr) ? loss : NULL;
}

static nas_status sharded_pass(fit *f, const nas_tape_config *pass, const nas_batch *batch, double *value) {
    const nas_fit_config *c = &f->config;
    outcome o = {f, value};
    nas_tape_begin(f->tape, pass);
    nas_status status = nas__shards_pass(f->shards, f->tape,
                                         &(nas__shard_pass){.config = pass,
                                                            .batch = batch,
                                                            .info = nas_dataset_describe(c->dataset_train),
                                                            .model = c->model,
                                                            .objective = judge,
                                                            .user = &o});
    nas_tape_reset(f->tape);
    return status;
}

static nas_status train_batch(fit *f, const nas_batch *batch, double *value) {
    const nas_fit_config *c = &f->config;
    const nas_dataset_info *info = nas_dataset_describe(c->dataset_train);
    f->lr = f->guard.rate * nas_schedule_lr(&c->schedule, nas_optimizer_lr(c->optimizer),
                                            nas__pace_progress(&f->pace, f->epoch, f->step));
    nas_tape_config pass = {.grad = NAS_ROLE_WEIGHT,
                            .training = true,
                            .drop_path = c->drop_path * f->pace.progress,
                            .seed = c->seed,
                            .step = f->total_step + 1};
    nas_status status = f->shards ? sharded_pass(f, &pass, batch, value)
                                  : nas__weight_pass(f->tape, &pass, c->model, c->loss, batch, info, value);
    status = status ? status : nas__check_loss(*value, f->step, f->epoch, f->lr);
    return status ? status : nas__checked_step(c->optimizer, f->lr, c->clip_norm, f->step, f->epoch);
}

static nas_status one_epoch(fit *f) {
    double sum = 0, value = NAN;
    int unsaved = f->unsaved;
    f->unsaved = 0; /* as in a search */
    nas__guard_epoch(&f->guard);
    nas__ranks_span span = nas__ranks_begin();
    nas__pace_epoch(&f->pace, f->epoch, false);
    nas_status status = nas_loader_seek(f->loader, f->epoch, 0);
    for (f->step = 0; !status && f->step < f->steps && !stopping(f) && !nas__pace_out_of_time(&f->pace);
         f->step += !status) {
        const nas_batch *batch = nas_loader_next(f->loader);
        status = batch ? train_batch(f, batch, &value) : nas_error_status();
        status = status ? status : nas__check_alike(f->config.optimizer, (int64_t)f->total_step, false);
        status = status ? status : agree(f);
        sum += value;
        f->total_step++;
        if (!status) {
            journal_step(f, value);
        }
    }
    double before = nas__now();
    if (!f->config.quiet) {
        nas__ranks_log(&span, f->step);
    }
    status = status ? status : journal_epoch(f, sum / (double)(f->step > 0 ? f->step : 1));
    if (!status && !stopping(f) && nas__checkpoint_due(&f->config.checkpoints, &unsaved, f->last_checkpoint)) {
        status = save(f);
    } else if (!status && !stopping(f)) {
        f->unsaved = unsaved;
    }
    f->pace.reserve = 1.2 * (nas__now() - before) + 0.5;
    nas__pace_epoch(&f->pace, f->epoch, true);
    f->epochs = f->pace.epochs;
    nas_progress p = progress_now(f, sum / (double)(f->step > 0 ? f->step : 1));
    if (!status && f->config.on_epoch && f->config.on_epoch(&p, f->config.user)) {
        f->stop_wanted = 1;
    }
    return status;
}

/* Also when the checkpoint is as far already. */
static bool ends_here(fit *f) {
    f->stop |= f->config.end_epoch > 0 && f->epoch >= f->config.end_epoch;
    return f->stop;
}

static nas_status run_epochs(fit *f) {
    double earlier = f->pace.progress;
    nas__pace_start(&f->pace, f->config.budget.minutes, f->config.num_epochs, f->steps, f->config.log_frequency,
                    f->used_seconds);
    f->pace.progress = earlier;
    f->last_checkpoint = nas__now();
    nas_status status = NAS_OK;
    while (!status && !ends_here(f) && !stopping(f) && !nas__pace_over(&f->pace, f->epoch)) {
        status = one_epoch(f);
        f->epoch += !status;
    }
    if (!status && f->unsaved) {
        f->epoch--;
        status = save(f);
        f->epoch++;
    }
    return status;
}

/* To the newest checkpoint; without one to the seed's weights, but weights that came from elsewhere are gone. */
static bool can_go_back(const fit *f) { return f->run && (!f->config.keep_weights || f->has_checkpoint); }

static nas_status go_back(fit *f) {
    char cause[512];
    nas__guard guard = f->guard;
    nas__guard_catch(&guard, f->step, f->epoch, cause, sizeof cause);
    double seconds = nas__pace_seconds(&f->pace), progress = f->pace.progress;
    nas_optimizer_zero_grad(f->config.optimizer);
    nas__optimizer_forget(f->config.optimizer);
    nas_status status = nas__run_close(f->run, "stopped", "goes back to its last good state");
    f->run = NULL;
    f->epoch = f->best_epoch = f->unsaved = 0;
    f->total_step = 0;
    f->score = f->best_score = NAN;
    f->pace.progress = 0;
    f->config.resume = true;
    status = status || f->config.keep_weights ? status : nas_initialise(f->config.model, f->config.seed);
    status = status ? status : load(f);
    status = status ? status : open_run(f);
    if (status) {
        return status;
    }
    f->guard = guard;
    f->used_seconds = seconds;
    f->pace.progress = f->config.budget.minutes > 0 ? progress : f->pace.progress;
    nas__guard_tell(&f->guard, f->run, f->epoch, (int64_t)f->total_step, nas_optimizer_lr(f->config.optimizer), cause);
    return NAS_OK;
}

static nas_status run(fit *f) {
    nas_status status = run_epochs(f);
    if (nas__guard_catches(&f->guard, status, can_go_back(f) ? f->run : NULL, f->step, f->epoch)) {
        status = go_back(f);
        status = status ? status : run_epochs(f);
        nas__guard_catches(&f->guard, status, f->run, f->step, f->epoch);
    }
    return status;
}

/* A search's trials, which ask for nothing, are computed like the search. */
static nas_status run_in(fit *f, nas_precision wanted) {
    if (wanted == NAS_F32) {
        return run(f);
    }
    nas__precision *before = nas__precision_use(f->precision);
    nas_status status = run(f);
    nas__precision_use(before);
    return status;
}

static nas_status prepare(fit *f) {
    nas_fit_config *c = &f->config;
    nas_set_threads(c->threads);
    nas_status status = apply_defaults(f);
    if (!status && !c->keep_weights) {
        status = nas_initialise(c->model, c->seed);
    }
    status = status ? status : nas_optimizer_bind_model(c->optimizer, c->model);
    if (status) {
        return status;
    }
    f->plain = c->transform ? *c->transform : nas_transform_default(c->dataset_train, false);
    nas_transform augmented = c->transform ? *c->transform : nas_transform_default(c->dataset_train, true);
    f->tape = nas_tape_new();
    f->precision = nas__precision_new(c->precision);
    f->shards = nas__shards_new(c->shards, c->batch_size);
    if (nas_error_status()) {
        return nas_error_status();
    }
    nas_loader_config batches = {.data = c->dataset_train,
                                 .batch_size = c->batch_size,
                                 .shuffle = true,
                                 .drop_last = true,
                                 .augment = true,
                                 .transform = augmented,
                                 .seed = c->seed,
                                 .workers = c->workers,
                                 .limit = c->limit_batches};
    nas__shards_loader(f->shards, &batches);
    f->loader = nas_loader_new(&batches);
    f->steps = f->loader ? nas_loader_batches(f->loader) : 0;
    status = nas_error_status();
    status = status || !c->resume || !c->run_dir ? status : load(f);
    return status ? status : open_run(f);
}

nas_status nas_fit(const nas_fit_config *config, int *epochs_done) {
    fit f = {.config = *config};
    nas_status status = prepare(&f);
    status = status ? status : run_in(&f, config->precision);
    nas__precision_journal(f.precision, config->precision, f.run, f.epoch, (int64_t)f.total_step);
    char *weights =
        !status && config->run_dir && nas_rank() == 0 ? nas__join(config->run_dir, "weights.safetensors") : NULL;
    if (weights) {
        status = nas_save_weights(config->model, weights);
        free(weights);
    }
    if (status) {
        nas__run_event(f.run, NAS_LOG_ERROR, "failed", f.epoch + 1, (int64_t)f.total_step, nas_error_message());
    }
    nas_status closed = nas__run_close(f.run,
                                       status         ? "failed"
                                       : stopping(&f) ? "stopped"
                                                      : "finished",
                                       status ? nas_error_message() : NULL);
    if (epochs_done) {
        *epochs_done = f.epoch;
    }
    nas_loader_free(f.loader);
    nas__shards_free(f.shards);
    nas_tape_free(f.tape);
    nas__precision_free(f.precision);
    nas_optimizer_free(f.config.optimizer);
    return status ? status : closed;
}
