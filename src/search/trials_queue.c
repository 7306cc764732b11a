/* trials_queue.c - see trials.h: the trials between their proposal and their observation. Those of a checkpoint go the
 * same way, but for being judged: so a resumed search asks its policy exactly what it was asked before. */
#include "search/trials.h"
#include "search/warm.h"
#include "space/space.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PURPOSE_PROPOSAL = 0x7a1a02, MOST_DRAWS = 10000, NEARER = 500, MOST_REPEATS = 1000 };

/* --- proposing --------------------------------------------------------------------------------------------------- */
static const nas__trial *open_one(const nas__trials *t, uint64_t hash, double share) {
    for (size_t i = 0; i < t->n_open; i++) {
        if (t->open[i]->hash == hash && t->open[i]->share >= share) {
            return t->open[i];
        }
    }
    return NULL;
}

bool nas__trials_begun(const nas__trials *t, uint64_t hash, double share) {
    return nas__trials_find(t, hash, share) || open_one(t, hash, share);
}

/* Takes ever more choices from one that meets the limits. */
static void come_nearer(const nas__trials *t, int tries, nas_rng *rng, nas_architecture *a) {
    const nas_architecture *meets = nas__trainer_of(t->s)->limits.meets;
    double keep = 1 - pow(0.5, (double)(tries / NEARER));
    for (int i = 0; meets && keep > 0 && i < a->space->n_choices; i++) {
        a->bits[i] = nas_rng_uniform(rng) < keep ? meets->bits[i] : a->bits[i];
    }
}

/* Draws until there is one that counts. */
static nas__proposal draw(nas__trials *t, nas_rng *rng, nas__trial *trial) {
    for (int i = 0; i < MOST_DRAWS; i++) {
        trial->share = 1;
        nas__proposal answer = t->policy->propose(t, rng, trial);
        if (answer != NAS__PROPOSED || nas_error_status()) {
            return answer;
        }
        if (t->policy->uniform) {
            come_nearer(t, i, rng, trial->architecture);
        }
        trial->hash = nas_architecture_hash(trial->architecture);
        trial->repeated = nas__trials_begun(t, trial->hash, trial->share);
        if (!(trial->repeated && t->policy->fresh_only) &&
            nas__within_limits(nas__trainer_of(t->s), trial->architecture)) {
            return NAS__PROPOSED;
        }
    }
    return NAS__EXHAUSTED;
}

/* One more, if there is one now; *over: none is to be had. */
static nas_status propose(nas__trials *t, int64_t window, bool *over) {
    size_t index = nas__trials_proposed(t);
    nas_rng rng = nas_rng_new(t->s->config->seed, (uint64_t)PURPOSE_PROPOSAL << 40 ^ (uint64_t)index);
    nas__trial *trial = nas__trial_new(t);
    nas__proposal answer =
        trial && nas__grow(&t->open, t->n_open, sizeof(nas__trial *)) ? draw(t, &rng, trial) : NAS__EXHAUSTED;
    if (answer != NAS__PROPOSED || nas_error_status()) {
        nas__trial_free(trial);
        *over = true;
        return nas_error_status();
    }
    trial->index = (int64_t)index;
    trial->window = window;
    t->open[t->n_open++] = trial;
    if (t->policy->accept) {
        t->policy->accept(t, trial);
    }
    return index < nas__history_size(t) ? nas__history_recall(t, trial) : NAS_OK;
}

static int64_t claimed(const nas__trials *t) {
    int64_t n = t->evaluations;
    for (size_t i = 0; i < t->n_open; i++) {
        n += !t->open[i]->repeated;
    }
    return n;
}

/* What a search had proposed before it was interrupted it proposes again; more only while there is time, and need. */
static bool may_propose(const nas__trials *t, int64_t *window) {
    size_t index = nas__trials_proposed(t);
    const nas_trial_runner *r = t->runner;
    if (index < nas__history_size(t)) {
        *window = nas__history_window(t, index);
        return (int64_t)t->n_open < *window;
    }
    *window = r && r->jobs > 1 ? (int64_t)r->jobs * (t->policy->ahead > 0 ? t->policy->ahead : 1) : 1;
    return (int64_t)t->n_open < *window && claimed(t) < nas__trials_wanted(t) && t->repeats < MOST_REPEATS &&
           !nas_search_interrupted(t->s);
}

/* As many as there is room for. */
static nas_status propose_all(nas__trials *t) {
    nas_status status = NAS_OK;
    int64_t window;
    for (bool over = false; !status && !over && may_propose(t, &window);) {
        status = propose(t, window, &over);
    }
    return status;
}

/* --- judging ----------------------------------------------------------------------------------------------------- */
static nas_status judged(nas__trials *t, nas__trial *trial) {
    trial->state = NAS__JUDGED;
    return nas__outcomes_add(t, trial);
}

/* Trainings of one architecture go on from each other: one at a time. */
static bool must_wait(const nas__trials *t, size_t i) {
    for (size_t j = 0; j < i; j++) {
        if (t->open[j]->hash == t->open[i]->hash) {
            return true;
        }
    }
    return false;
}

static nas_status start(nas__trials *t, nas__trial *trial) {
    if (!t->runner) {
        nas_status status = nas__judge_trial(t, trial);
        return status || nas_search_interrupted(t->s) ? status : judged(t, trial);
    }
    char *place = nas__trial_place(nas__trainer_of(t->s), trial);
    nas_status status = nas_error_status();
    status = status ? status
                    : t->runner->start(&(nas_trial_request){.number = trial->index + 1,
                                                            .architecture = trial->architecture,
                                                            .share = trial->share,
                                                            .directory = place},
                                       t->runner->user);
    trial->state = NAS__RUNNING;
    trial->seconds = -nas__now(); /* less the time when it began */
    free(place);
    return status;
}

static nas_status start_all(nas__trials *t) {
    nas_status status = NAS_OK;
    int running = 0, most = t->runner ? t->runner->jobs : 1;
    for (size_t i = 0; i < t->n_open; i++) {
        running += t->open[i]->state == NAS__RUNNING;
    }
    for (size_t i = 0; !status && i < t->n_open && running < most && !nas_search_interrupted(t->s); i++) {
        nas__trial *trial = t->open[i];
        if (trial->state != NAS__WAITING || must_wait(t, i)) {
            continue;
        }
        if (trial->repeated || nas__outcomes_recall(t, trial)) {
            trial->state = NAS__JUDGED;
            continue;
        }
        status = start(t, trial);
        running += trial->state == NAS__RUNNING;
    }
    return status;
}

/* Wakes up when a trial ends, or the time; a signal may come just before the waiting begins, so not too late. */
static double patience(const nas__trials *t) {
    const nas__pace *p = &nas__trainer_of(t->s)->pace;
    double left = p->budget_seconds > 0 ? p->budget_seconds - p->reserve - nas__pace_seconds(p) : 1;
    return fmin(1, fmax(0.01, left));
}

static nas_status wait_for_one(nas__trials *t) {
    nas_trial_result result = {0};
    nas_status status = t->runner->wait(patience(t), &result, t->runner->user);
    if (status || result.number == 0 || nas_search_interrupted(t->s)) {
        return status;
    }
    for (size_t i = 0; i < t->n_open; i++) {
        nas__trial *trial = t->open[i];
        if (trial->index + 1 == result.number && trial->state == NAS__RUNNING) {
            memcpy(trial->metrics, result.metrics, sizeof trial->metrics);
            trial->seconds += nas__now();
            if (*result.failure) {
                nas__trial_failed(t, trial, result.failure);
            }
            return judged(t, trial);
        }
    }
    return nas__fail(NAS_INVALID, "the runner of trials says that trial %lld has ended, which it was not given",
                     (long long)result.number);
}

/* --- observing --------------------------------------------------------------------------------------------------- */
void nas__trials_observe(nas__trials *t, nas__trial *trial) {
    if (!nas__grow(&t->done, t->n_done, sizeof(nas__trial *))) {
        nas__trial_free(trial);
        return;
    }
    t->done[t->n_done++] = trial;
    t->evaluations += !trial->repeated;
    nas__trainer_of(t->s)->trials = t->evaluations;
    t->repeats = trial->repeated ? t->repeats + 1 : 0;
    if (t->policy->observe) {
        t->policy->observe(t, trial);
    }
}

/* The oldest open one, which is judged, is done. */
static nas_status observe(nas__trials *t) {
    nas__trial *trial = t->open[0];
    nas_trainer *trainer = nas__trainer_of(t->s);
    bool recalled = (size_t)trial->index < nas__history_size(t);
    if (trial->repeated) {
        memcpy(trial->metrics, nas__trials_find(t, trial->hash, trial->share)->metrics, sizeof trial->metrics);
    }
    double value = trial->metrics[0];
    trial->fitness = isnan(value) ? -INFINITY : t->s->config->metrics[0].lower_is_better ? -value : value;
    memmove(t->open, t->open + 1, --t->n_open * sizeof(nas__trial *));
    nas__trials_observe(t, trial);
    if (!nas_error_status() && !trial->repeated) {
        nas__score_remember(trainer, trial->architecture, trial->hash, trial->metrics, trial->share, trial->seconds);
    }
    return nas_error_status() || recalled
               ? nas_error_status()
               : nas__journal_trial(t->s, t->evaluations, nas__trials_wanted(t), trial->metrics[0]);
}

/* --- the loop ---------------------------------------------------------------------------------------------------- */
/* The best and the rows of the run's log follow from the history, like everything else. */
static void forget_scores(nas__trials *t) {
    nas_trainer *trainer = nas__trainer_of(t->s);
    nas_architecture_free(trainer->best);
    trainer->best = NULL;
    trainer->best_share = 0;
    trainer->evaluations = 0;
}

nas_status nas__trials_run(nas__trials *t) {
    nas_status status = nas__history_check(t);
    if (!status && nas__history_size(t) > 0) {
        forget_scores(t);
    }
    status = status ? status : nas__outcomes_open(t);
    status = status ? status : nas__warm_begin(t);
    while (!status) {
        status = propose_all(t);
        if (status || t->n_open == 0) {
            break;
        }
        status = start_all(t);
        if (!status && t->open[0]->state == NAS__JUDGED) {
            status = observe(t);
        } else if (status || nas_search_interrupted(t->s)) { /* what was cut short is judged again when resumed */
            break;
        } else {
            status = t->runner ? wait_for_one(t) : NAS_OK;
        }
    }
    if (t->runner) {
        t->runner->cancel(t->runner->user);
    }
    if (!status && t->n_done < nas__history_size(t)) { /* the policy had nothing to propose in its place */
        status = nas__history_differs(t, t->n_done);
    }
    if (t->repeats == MOST_REPEATS) {
        nas_search_note(t->s, NAS_LOG_INFO, "repeats",
                        "the last %d proposals were known already: the search ends after %lld trials", MOST_REPEATS,
                        (long long)t->evaluations);
    }
    if (!status && t->evaluations == 0 && !nas_search_interrupted(t->s)) {
        status =
            nas__fail(NAS_UNSUPPORTED, "%s: no architecture within the limits was found in %d draws; widen --limit",
                      t->s->strategy->name, MOST_DRAWS);
    }
    return status;
}
