/* trial_judge.c - how good is the architecture of a trial: trained alone, with the shared weights, by a table, or by a
 * proxy. */
#include "nn/optim.h"
#include "core/file.h"
#include "search/trials.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* --- trained alone ----------------------------------------------------------------------------------------------- */
static bool out_of_time(const nas_progress *p, void *user) {
    (void)p;
    return nas_search_interrupted(user);
}

static nas_optimizer *optimizer_like(const nas_optimizer *o) {
    return o->is_adam ? nas_adam_new(&o->adam) : nas_sgd_new(&o->sgd);
}

char *nas__trial_place(const nas_trainer *t, const nas__trial *trial) {
    char *place = t->config.run_dir ? nas__format("%s/%s/%016llx", t->config.run_dir, NAS__TRIALS_DIRECTORY,
                                                  (unsigned long long)trial->hash)
                                    : NULL;
    if (place && trial->share == 1 && !nas__exists(place)) {
        free(place);
        place = NULL;
    }
    return place;
}

/* A share is the beginning of the whole training: its schedule is not squeezed. */
static nas_status train(nas_trainer *t, nas_module *model, double share, const char *place) {
    const nas_trainer_config *c = &t->config;
    nas_fit_config fit = {.model = model,
                          .space_name = c->space_name,
                          .loss = c->loss,
                          .metrics = c->metrics,
                          .optimizer = optimizer_like(t->s.optimizer),
                          .schedule = c->schedule,
                          .clip_norm = c->clip_norm > 0 ? c->clip_norm : NAS_NONE,
                          .batch_size = c->batch_size,
                          .num_epochs = c->num_epochs,
                          .end_epoch = (int)fmax(1, lround(share * c->num_epochs)),
                          .dataset_train = c->dataset_train,
                          .transform = c->transform,
                          .workers = c->workers,
                          .log_frequency = NAS_NONE,
                          .quiet = true,
                          .seed = c->seed,
                          .threads = c->threads,
                          .limit_batches = c->limit_batches,
                          .run_dir = place,
                          .resume = place != NULL,
                          .on_step = out_of_time,
                          .user = &t->s};
    return fit.optimizer && !nas_error_status() ? nas_fit(&fit, NULL) : nas_error_status();
}

/* A network of its own, fixed so; NULL, and an error, on failure. */
static nas_module *network_of(const nas_trainer *t, const nas_architecture *a) {
    nas_module *model = t->config.new_model(t->config.user);
    char *json = nas_architecture_json(a, false);
    if (model && (!json || nas_apply_fixed_architecture_text(model, json))) {
        nas_module_free(model);
        model = NULL;
    }
    free(json);
    return model;
}

nas_status nas__trial_alone(nas_trainer *t, const nas_architecture *a, double share, const char *place,
                            double *metrics) {
    nas_evaluation result;
    nas_module *model = network_of(t, a);
    nas_status status = nas_error_status();
    nas__precision *before = nas__precision_use(t->precision); /* it may be a trial without a search */
    status = status ? status : train(t, model, share, place);
    if (!status && !nas_search_interrupted(&t->s)) {
        nas_transform plain =
            t->config.transform ? *t->config.transform : nas_transform_default(t->config.dataset_train, false);
        status = nas_evaluate(&(nas_evaluate_config){.model = model,
                                                     .loss = t->config.loss,
                                                     .metrics = t->config.metrics,
                                                     .data = t->valid,
                                                     .transform = &plain,
                                                     .limit_batches = (t->score_images + 255) / 256},
                              &result);
    }
    nas__precision_use(before);
    for (int i = 0; i < t->n_metrics && !status; i++) {
        metrics[i] = result.metrics[i];
    }
    nas_module_free(model);
    return status;
}

static nas_status standalone(nas_trainer *t, nas__trial *trial) {
    char *place = nas__trial_place(t, trial);
    nas_status status = nas_error_status();
    status = status ? status : nas__trial_alone(t, trial->architecture, trial->share, place, trial->metrics);
    free(place);
    return status;
}

/* Nothing is trained. A table has one number for a network, whatever the share; metrics it does not know are no number.
 */
static nas_status look_up(nas_trainer *t, nas__trial *trial) {
    const nas__truth_row *row = nas__truth_of(t->truth, t->config.space_name, trial->architecture);
    for (int i = 0; i < t->n_metrics; i++) {
        trial->metrics[i] = row && i == 0 ? row->seen : NAN;
    }
    return nas_error_status();
}

/* By its random weights, on the first training batch. */
nas_status nas__proxy_of(nas_trainer *t, const nas_architecture *a, nas__proxy proxy, double *score) {
    const nas_trainer_config *c = &t->config;
    nas_module *model = network_of(t, a);
    nas_status status = nas_error_status();
    status = status ? status : nas_initialise(model, c->seed);
    status = status ? status : nas_loader_seek(t->calibration_loader, 0, 0);
    const nas_batch *batch = status ? NULL : nas_loader_next(t->calibration_loader);
    if (batch) {
        nas__proxy_look look = {batch, nas_dataset_describe(c->dataset_train), c->loss};
        status = nas__proxy_score(model, proxy, &look, score);
    }
    nas_module_free(model);
    return status ? status : nas_error_status();
}

/* What search and journal call better stays better: where less is, the score is negative. */
static nas_status guess(nas_trainer *t, nas__trial *trial) {
    double score = NAN;
    nas_status status =
        nas__proxy_of(t, trial->architecture, ((const nas__trial_options *)t->s.options)->proxy, &score);
    for (int i = 0; i < t->n_metrics; i++) {
        trial->metrics[i] = i > 0 ? NAN : t->config.metrics[0].lower_is_better ? -score : score;
    }
    return status;
}

void nas__trial_failed(nas__trials *t, nas__trial *trial, const char *reason) {
    nas_search_note(t->s, NAS_LOG_WARN, "trial", "trial %lld failed: %s", (long long)trial->index + 1, reason);
    for (int i = 0; i < NAS__MOST_METRICS; i++) {
        trial->metrics[i] = NAN;
    }
}

/* A network that does not train is a bad one, and no reason to end the search. */
static nas_status forgive(nas__trials *t, nas__trial *trial, nas_status status) {
    if (status != NAS_NUMERIC) {
        return status;
    }
    char message[256];
    snprintf(message, sizeof message, "%s", nas_error_message());
    nas_error_clear();
    nas__trial_failed(t, trial, message);
    return NAS_OK;
}

nas_status nas__judge_trial(nas__trials *t, nas__trial *trial) {
    nas_trainer *trainer = nas__trainer_of(t->s);
    const nas__trial_options *o = t->s->options;
    double start = nas__now();
    const nas_trainer_config *c = t->s->config;
    nas_status status = o->evaluate == NAS__JUDGE_TABLE   ? look_up(trainer, trial)
                        : o->evaluate == NAS__JUDGE_PROXY ? guess(trainer, trial)
                        : o->evaluate == NAS__JUDGE_SHARED
                            ? nas__score_path(trainer, trial->architecture, trial->share, trial->metrics)
                        : c->trial ? c->trial(trial->architecture, trial->share, trial->metrics, c->user)
                                   : standalone(trainer, trial);
    status = forgive(t, trial, status);
    trial->seconds = nas__now() - start;
    return status;
}
