/* journal.c - what a search tells: log lines, callbacks, rows of the run. */
#include "search/collapse.h"
#include "search/trainer.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void nas_search_note(nas_search *s, nas_log_level level, const char *kind, const char *format, ...) {
    char message[512];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    nas__log(level, "%s", message);
    nas__run_event(nas__trainer_of(s)->run, level, kind, s->epoch + 1, (int64_t)s->total_step, message);
}

void nas__journal_metrics(nas__run *run, const nas_metric *metrics, int n_scores, nas__metric_ids *ids) {
    for (int i = 0; i < n_scores; i++) {
        ids->score[i] =
            nas__run_metric(run, metrics[i].name, "valid", "", metrics[i].lower_is_better ? -1 : 1, "epoch", i == 0);
    }
    ids->loss = nas__run_metric(run, "loss", "train", "", -1, "step", false);
    ids->lr = nas__run_metric(run, "lr", "train", "", 0, "step", false);
    ids->gradient = nas__run_metric(run, "gradient_norm", "train", "", 0, "step", false);
    ids->train_loss = nas__run_metric(run, "loss", "train", "", -1, "epoch", false);
}

void nas__journal_progress(nas__run *run, const nas__metric_ids *ids, const nas_progress *p, bool due,
                           int64_t total_step, double gradient, int64_t batch_size, const nas_loader *loader) {
    if (due) {
        char eta[32];
        nas__log(NAS_LOG_INFO, "epoch %d/%d  step %lld/%lld  loss %.4f  lr %.3g  %.0f images/s  ETA %s", p->epoch,
                 p->epochs, (long long)p->step, (long long)p->steps_per_epoch, p->loss, p->lr, p->images_per_second,
                 nas__pace_text(p->eta_seconds, eta, sizeof eta));
    }
    if (due || p->step == p->steps_per_epoch) {
        nas__run_tick(run, total_step, p->epoch, 3, (int[]){ids->loss, ids->lr, ids->gradient},
                      (double[]){p->loss, p->lr, gradient});
    }
    nas__run_sample(run, p->images_per_second, 1e3 * (double)batch_size / fmax(p->images_per_second, 1e-9),
                    1e3 * nas_loader_wait_seconds(loader));
}

nas_status nas__journal_open(nas_trainer *t, bool resume) {
    const nas_trainer_config *c = &t->config;
    if (!c->run_dir || nas_rank() > 0) {
        return NAS_OK;
    }
    nas__run_info info = {.kind = "search",
                          .strategy = t->s.strategy->name,
                          .space = c->space_name,
                          .space_hash = nas_space_hash(t->s.space),
                          .data = nas_dataset_describe(c->dataset_train)->name,
                          .seed = c->seed,
                          .threads = nas_threads(),
                          .config = c->run_config,
                          .command = c->command,
                          .epochs = t->s.epochs,
                          .steps_per_epoch = t->s.steps_per_epoch,
                          .log_every = c->log_frequency > 0 ? c->log_frequency : 0};
    t->run = resume ? nas__run_resume(c->run_dir, &info, t->s.epoch, (int64_t)t->s.total_step)
                    : nas__run_create(c->run_dir, &info);
    if (!t->run) {
        return nas_error_status();
    }
    nas__run_space(t->run, t->s.space);
    nas__journal_metrics(t->run, c->metrics, t->n_metrics, &t->ids);
    return nas_error_status();
}

static nas_progress progress_now(nas_trainer *t, double loss) {
    return (nas_progress){.epoch = t->s.epoch + 1,
                          .epochs = nas__pace_epochs(&t->pace, t->s.epoch, t->s.step + 1),
                          .step = t->s.step + 1,
                          .steps_per_epoch = t->s.steps_per_epoch,
                          .loss = loss,
                          .lr = t->s.lr,
                          .images_per_second = t->pace.images_per_second,
                          .seconds = nas__pace_seconds(&t->pace),
                          .eta_seconds = nas__pace_eta(&t->pace, t->s.epoch, t->s.step + 1),
                          .score = NAN,
                          .best_score = t->best ? t->best_score : NAN,
                          .best_epoch = t->best_epoch,
                          .entropy = NAN,
                          .skip_share = NAN,
                          .metric = t->config.metrics[0].name};
}

void nas__journal_step(nas_trainer *t, double loss) {
    bool due = nas__pace_step(&t->pace, t->config.batch_size);
    nas_progress p = progress_now(t, loss);
    if (t->s.step < t->s.train_steps) {
        nas__guard_loss(&t->guard, loss, t->s.step);
    }
    nas__journal_progress(t->run, &t->ids, &p, due, (int64_t)t->s.total_step, nas_optimizer_last_norm(t->s.optimizer),
                          t->config.batch_size, t->train_loader);
    if (t->config.on_step && t->config.on_step(&p, t->config.user)) {
        nas_trainer_stop(t);
    }
}

/* Mean over the choices of H/log(n), and the rows that the page shows. */
static double record_probabilities(nas_trainer *t) {
    double sum = 0;
    int counted = 0;
    for (int i = 0; i < nas_space_size(t->s.space); i++) {
        const nas_choice *choice = nas_space_choice(t->s.space, i);
        double p[NAS_MAX_CANDIDATES], entropy = 0;
        int argmax = 0;
        if (!t->s.strategy->probabilities || !t->s.strategy->probabilities(&t->s, i, p)) {
            continue;
        }
        for (int k = 0; k < choice->n; k++) {
            entropy -= p[k] > 0 ? p[k] * log(p[k]) : 0;
            argmax = p[k] > p[argmax] ? k : argmax;
        }
        nas__run_probability(t->run, t->s.epoch + 1, i, choice->n, p, argmax, entropy);
        if (choice->n > 1 && choice->n_max == 1) {
            sum += entropy / log(choice->n);
            counted++;
        }
    }
    return counted ? sum / counted : NAN;
}

static void log_epoch(const nas_trainer *t, const nas_progress *p) {
    if (!t->derived) {
        nas__log(NAS_LOG_INFO, "epoch %d/%d  train loss %.4f", p->epoch, p->epochs, p->loss);
        return;
    }
    nas__log(NAS_LOG_INFO,
             "epoch %d/%d  train loss %.4f  derived %s %.4f (valid)  best %.4f (epoch %d)  entropy %.3f  skips %.2f",
             p->epoch, p->epochs, p->loss, p->metric, p->score, p->best_score, t->best_epoch, p->entropy,
             p->skip_share);
}

nas_status nas__journal_epoch(nas_trainer *t, double mean_loss, nas_progress *progress) {
    double values[NAS__MOST_METRICS + 2];
    int ids[NAS__MOST_METRICS + 2], n = 0;
    *progress = progress_now(t, mean_loss);
    progress->derived = t->derived;
    progress->score = t->derived_score;
    progress->best_epoch = t->best_epoch;
    progress->entropy = record_probabilities(t);
    progress->skip_share = t->derived ? nas__count_skips(t->derived).share : NAN;
    for (int i = 0; t->derived && i < t->n_metrics; i++) {
        ids[n] = t->ids.score[i];
        values[n++] = t->derived_metrics[i];
    }
    ids[n] = t->ids.train_loss;
    values[n++] = mean_loss;
    if (t->n_eigenvalues) {
        ids[n] = nas__run_metric(t->run, "eigenvalue", "arch", "", 0, "epoch", false);
        values[n++] = t->eigenvalues[t->n_eigenvalues - 1];
    }
    int64_t derived = t->derived ? nas__run_architecture(t->run, t->derived, 0, 0, t->s.epoch + 1) : 0;
    nas__run_epoch(t->run, &(nas__run_epoch_row){.epoch = t->s.epoch + 1,
                                                 .step = (int64_t)t->s.total_step,
                                                 .entropy = progress->entropy,
                                                 .skip_share = progress->skip_share,
                                                 .images_per_s = t->pace.images_per_second,
                                                 .rank_stable = t->unchanged_epochs,
                                                 .derived_architecture = derived,
                                                 .n = n,
                                                 .metrics = ids,
                                                 .values = values});
    log_epoch(t, progress);
    nas__guard_spikes(&t->guard, t->run, t->s.epoch, (int64_t)t->s.total_step);
    if (t->derived) {
        nas__watch_collapse(t, progress->entropy);
    }
    return nas__run_flush(t->run); /* a checkpoint comes next */
}

enum { SECONDS_BETWEEN_CHECKPOINTS = 30 };

static void log_trial(const nas_trainer *t, const nas_progress *p) {
    char eta[32], of[32] = "";
    if (p->trials > 0) {
        snprintf(of, sizeof of, "/%lld", (long long)p->trials);
    }
    nas__log(NAS_LOG_INFO, "trial %lld%s  %s %.4f (valid)  best %.4f  ETA %s", (long long)p->trial, of, p->metric,
             p->score, t->best_score, nas__pace_text(p->eta_seconds, eta, sizeof eta));
}

nas_status nas__journal_trial(nas_search *s, int64_t done, int64_t wanted, double score) {
    nas_trainer *t = nas__trainer_of(s);
    bool improved = t->best && t->best_evaluation == t->evaluations, due = nas__pace_step(&t->pace, 0);
    nas_progress p = progress_now(t, NAN);
    p.trial = done;
    p.trials = wanted < INT64_MAX ? wanted : 0;
    p.score = score;
    p.derived = t->best;
    p.eta_seconds = nas__pace_trials_eta(&t->pace, t->conclude_started, done, p.trials);
    if (due || improved) {
        log_trial(t, &p);
    }
    nas_status status = NAS_OK;
    double minutes = t->config.checkpoints.minutes;
    if (nas__now() - t->last_checkpoint > (minutes > 0 ? 60 * minutes : SECONDS_BETWEEN_CHECKPOINTS)) {
        status = nas__checkpoint_save(t);
    }
    bool stop = t->config.on_step && t->config.on_step(&p, t->config.user);
    stop = (improved && t->config.on_epoch && t->config.on_epoch(&p, t->config.user)) || stop;
    if (stop) {
        nas_trainer_stop(t);
    }
    return status;
}
