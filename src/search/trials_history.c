/* trials_history.c - the history of trials in a checkpoint, and its replay: a policy that is given the same history
 * proposes the same again, so a resumed search needs nothing else. */
#include "search/trials.h"
#include "space/space.h"

#include <stdlib.h>
#include <string.h>

typedef struct nas__history {
    uint64_t *sets; /* (trials, choices) */
    double *values; /* (trials, VALUES): share, seconds, fitness, repeated, metrics */
    size_t n_sets, n_values;
} nas__history;

enum { METRICS = 4, VALUES = METRICS + NAS__MOST_METRICS };

void nas__history_free(nas__history *h) {
    if (h) {
        free(h->sets);
        free(h->values);
        free(h);
    }
}

static void describe(const nas__trial *trial, double *values) {
    memcpy(values, (const double[METRICS]){trial->share, trial->seconds, trial->fitness, trial->repeated},
           METRICS * sizeof *values);
    memcpy(values + METRICS, trial->metrics, sizeof trial->metrics);
}

static void save(nas__trials *t, nas_state *state) {
    size_t n = t->n_done, choices = (size_t)nas_space_size(t->s->space);
    nas__history h = {.sets = nas__alloc((n * choices + 1) * sizeof *h.sets),
                      .values = nas__alloc((n * VALUES + 1) * sizeof *h.values),
                      .n_sets = n * choices,
                      .n_values = n * VALUES};
    if (!h.sets || !h.values) {
        nas_state_fail(state);
    }
    for (size_t i = 0; i < n && !nas_error_status(); i++) {
        memcpy(h.sets + i * choices, t->done[i]->architecture->bits, choices * sizeof *h.sets);
        describe(t->done[i], h.values + i * VALUES);
    }
    nas_state_list_u64(state, "trials.sets", &h.sets, &h.n_sets); /* copied at once */
    nas_state_list_f64(state, "trials.values", &h.values, &h.n_values);
    free(h.sets);
    free(h.values);
}

nas_status nas__history_bind(nas__trials *t, nas_state *state) {
    if (!nas_state_is_loading(state)) {
        save(t, state);
        return NAS_OK;
    }
    nas__history *h = t->loaded = nas__alloc(sizeof *h);
    if (!h) {
        nas_state_fail(state);
        return nas_error_status();
    }
    nas_state_list_u64(state, "trials.sets", &h->sets, &h->n_sets);
    nas_state_list_f64(state, "trials.values", &h->values, &h->n_values);
    return NAS_OK;
}

static nas_status differs(const nas__trials *t, size_t i) {
    return nas__fail(NAS_INVALID,
                     "%s: trial %zu of the saved history is not what %s proposes now: it was saved by another version, "
                     "or with other options",
                     t->s->config->run_dir, i + 1, t->s->strategy->name);
}

/* The i-th trial that was done, as it was; it must be among those that the policy proposes. */
static nas_status replay_one(nas__trials *t, const nas__history *h, size_t i) {
    const uint64_t *sets = h->sets + i * (size_t)nas_space_size(t->s->space);
    const double *values = h->values + i * VALUES;
    nas__trial *trial = nas__trials_propose(t);
    if (!trial) {
        return nas_error_status() ? nas_error_status() : differs(t, i);
    }
    bool same = trial->share == values[0];
    for (int c = 0; same && c < nas_space_size(t->s->space); c++) {
        same = trial->architecture->bits[c] == sets[c];
    }
    if (!same) {
        nas__trial_free(trial);
        return differs(t, i);
    }
    trial->seconds = values[1];
    trial->fitness = values[2];
    trial->repeated = values[3] != 0;
    memcpy(trial->metrics, values + METRICS, sizeof trial->metrics);
    nas__trials_observe(t, trial);
    return nas_error_status();
}

nas_status nas__history_replay(nas__trials *t) {
    nas__history *h = t->loaded;
    size_t choices = (size_t)nas_space_size(t->s->space), n = h ? h->n_values / VALUES : 0;
    nas_status status =
        h && (h->n_sets != n * choices || h->n_values != n * VALUES)
            ? nas__fail(NAS_INVALID, "%s: the saved history of trials does not fit together", t->s->config->run_dir)
            : NAS_OK;
    for (size_t i = 0; !status && i < n; i++) {
        status = replay_one(t, h, i);
    }
    nas__history_free(h);
    t->loaded = NULL;
    return status;
}
