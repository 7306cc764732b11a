/* score.c - how good is one architecture under the shared weights? Its path alone is run over the valid part, with
 * batch norm recalibrated on training batches, because the supernet's running estimates mix all paths. */
#include "search/trainer.h"
#include "space/space.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bool nas_search_better(const nas_search *s, double a, double b) {
    if (isnan(a) || isnan(b)) {
        return !isnan(a);
    }
    return s->config->metrics[0].lower_is_better ? a < b : a > b;
}

void nas__score_forget(nas_trainer *t) { t->n_scored = 0; }

static nas_tensor *forward(nas_trainer *t, const nas_batch *batch, nas_bn_mode bn) {
    nas_tape_begin(t->tape, &(nas_tape_config){.bn = bn, .freeze_running = true, .seed = t->config.seed});
    return nas_forward(t->s.model, nas__batch_input(batch, nas_dataset_describe(t->config.dataset_train)));
}

/* Under a budget of time scoring may take its part of it and no more: what one score takes, and all scores of one
 * derivation. The first score that was cut short sets how many images the later ones have. */
static const double score_part = 0.04, derivation_part = 0.08;

static bool within(const nas_trainer *t, double since, double part) {
    return t->config.budget.minutes == 0 || nas__now() - since < part * 60 * t->config.budget.minutes;
}

bool nas__scoring_goes_on(const nas_trainer *t) { return within(t, t->score_started, score_part); }

/* Runs the first batches of a loader's epoch, the first one in any case. */
static nas_status over(nas_trainer *t, nas_loader *loader, double share, nas_bn_mode bn, double *sums,
                       int64_t *images) {
    nas_status status = nas_loader_seek(loader, 0, 0);
    int64_t left = (int64_t)ceil(share * (double)nas_loader_batches(loader) - 1e-9);
    const nas_batch *batch;
    while (!status && left-- > 0 && (!images || *images == 0 || nas__scoring_goes_on(t)) &&
           (batch = nas_loader_next(loader))) {
        nas_tensor *output = forward(t, batch, bn);
        if (sums && output) {
            nas_tensor *target = nas__batch_target(batch, nas_dataset_describe(t->config.dataset_train));
            for (int i = 0; i < t->n_metrics; i++) {
                sums[i] += t->config.metrics[i].measure(output, target) * (double)batch->n;
            }
            *images += batch->n;
        }
        nas_tape_reset(t->tape);
        status = nas_error_status();
        status = status ? status : nas__agree(&t->stop_wanted, &t->stop);
    }
    return status ? status : nas_error_status();
}

nas_status nas__score_path(nas_trainer *t, const nas_architecture *a, double share, double *metrics) {
    double sums[NAS__MOST_METRICS] = {0};
    int64_t images = 0;
    t->score_started = nas__now();
    share *= t->score_share > 0 ? t->score_share : 1;
    nas_architecture_apply(a, t->s.space);
    nas__settled *settled = nas__settle(t);
    nas_calibration_reset(t->s.model);
    nas_status status = nas_error_status();
    if (!status && t->score_bn == NAS_BN_CALIBRATED) {
        status = over(t, t->calibration_loader, 1, NAS_BN_CALIBRATE, NULL, NULL);
    }
    status = status ? status : over(t, t->valid_loader, share, t->score_bn, sums, &images);
    nas__unsettle(t, settled);
    if (!nas__scoring_goes_on(t) && t->score_images > 0 && share == 1) {
        t->score_share = (double)images / (double)t->score_images;
        t->score_images = images;
    }
    for (int i = 0; i < t->n_metrics && !status; i++) {
        metrics[i] = nas__metric_value(&t->config.metrics[i], sums[i] / (double)images);
    }
    return status;
}

bool nas__trials_used_up(const nas_trainer *t) {
    return t->config.budget.trials > 0 && t->evaluations >= t->config.budget.trials;
}

static bool lookup(const nas_trainer *t, uint64_t hash, double *metrics) {
    for (size_t i = 0; i < t->n_scored; i++) {
        if (t->scored[i].hash == hash) {
            memcpy(metrics, t->scored[i].metrics, sizeof t->scored[i].metrics);
            return true;
        }
    }
    return false;
}

nas_status nas__score_remember(nas_trainer *t, const nas_architecture *a, uint64_t hash, const double *metrics,
                               double share, double seconds) {
    if (!nas__grow(&t->scored, t->n_scored, sizeof *t->scored)) {
        return nas_error_status();
    }
    t->scored[t->n_scored].hash = hash;
    memcpy(t->scored[t->n_scored++].metrics, metrics, sizeof t->scored->metrics);
    t->evaluations++;
    bool best = !t->best || share > t->best_share ||
                (share == t->best_share &&
                 (t->s.strategy->exports_last || nas_search_better(&t->s, metrics[0], t->best_score)));
    if (best) {
        nas_architecture *copy = nas_architecture_copy(a);
        if (!copy) {
            return nas_error_status();
        }
        nas_architecture_free(t->best);
        t->best = copy;
        t->best_score = metrics[0];
        t->best_share = share;
        t->best_epoch = t->s.epoch + 1;
        t->best_evaluation = t->evaluations;
    }
    uint64_t macs = 0;
    int64_t parameters = 0;
    if (t->run && nas__exact_costs(t, a, &macs, &parameters)) {
        return nas_error_status();
    }
    int64_t id = nas__run_architecture(t->run, a, parameters, macs, t->s.epoch + 1);
    nas__run_evaluation(t->run, id, t->s.epoch + 1, (int64_t)t->s.total_step, t->ids.score[0], metrics[0], 1, seconds,
                        best);
    return NAS_OK;
}

nas_status nas__score_choose(nas_trainer *t, const nas_architecture *a, double score) {
    nas_architecture *copy = nas_architecture_copy(a);
    if (copy) {
        nas_architecture_free(t->best);
        t->best = copy;
        t->best_score = score;
    }
    return nas_error_status();
}

static nas_status score_one(nas_trainer *t, const nas_architecture *a, double *metrics) {
    uint64_t hash = nas_architecture_hash(a);
    if (lookup(t, hash, metrics)) {
        return NAS_OK;
    }
    bool late = t->n_derived > 0 && !within(t, t->derivation_started, derivation_part);
    if (nas__trials_used_up(t) || late || !nas__within_limits(t, a)) {
        for (int i = 0; i < t->n_metrics; i++) {
            metrics[i] = NAN; /* not scored, so never the best */
        }
        return nas_error_status();
    }
    double start = nas__now();
    t->n_derived++;
    nas_status status = nas__score_path(t, a, 1, metrics);
    return status ? status : nas__score_remember(t, a, hash, metrics, 1, nas__now() - start);
}

nas_status nas_search_score(nas_search *s, const nas_architecture *a, double *result) {
    double metrics[NAS__MOST_METRICS] = {0};
    nas_status status = score_one(nas__trainer_of(s), a, metrics);
    *result = metrics[0];
    return status;
}

/* Derives for strategies that have no rule of their own; of an input choice as many as it must take, at least one. */
static nas_status most_probable(nas_search *s, nas_architecture *out) {
    nas_status status = NAS_OK;
    for (int i = 0; !status && i < nas_space_size(s->space); i++) {
        const nas_choice *c = nas_space_choice(s->space, i);
        double p[NAS_MAX_CANDIDATES];
        uint64_t set = 0;
        int wanted = c->n_min > 0 ? c->n_min : 1;
        for (bool known = s->strategy->probabilities(s, i, p); known && nas__bit_count(set) < wanted;) {
            int best = -1;
            for (int k = 0; k < c->n; k++) {
                best = !(set >> k & 1) && (best < 0 || p[k] > p[best]) ? k : best;
            }
            set |= (uint64_t)1 << best;
        }
        status = set ? nas_architecture_set(out, i, set) : NAS_OK;
    }
    return status;
}

/* What the strategy stands for, or the most probable within the limits. */
static nas_status derive(nas_trainer *t, nas_architecture *derived) {
    nas_status (*own)(nas_search *, nas_architecture *) = t->s.strategy->derive;
    nas_status status = (own ? own : most_probable)(&t->s, derived);
    return status || nas__within_limits(t, derived) ? status : nas__derive_within_limits(t, derived);
}

/* Derives, scores, and keeps what the page and the progress line show. */
nas_status nas__score_derived(nas_trainer *t) {
    if (!t->s.strategy->derive && t->s.strategy->conclude) {
        return NAS_OK; /* nothing is derived before the search behind the training */
    }
    double start = t->derivation_started = nas__now();
    t->n_derived = 0;
    nas_architecture *derived = nas_architecture_new(t->s.space);
    nas_status status = derived ? derive(t, derived) : nas_error_status();
    if (status) {
        nas_architecture_free(derived);
        return status;
    }
    t->unchanged_epochs = t->derived && nas_architecture_equal(t->derived, derived) ? t->unchanged_epochs + 1 : 0;
    nas_architecture_free(t->derived);
    t->derived = derived;
    status = score_one(t, derived, t->derived_metrics);
    t->derived_score = t->derived_metrics[0];
    t->pace.reserve = 1.2 * (nas__now() - start) + 0.5;
    return status;
}
