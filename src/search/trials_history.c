/* trials_history.c - the history of trials in a checkpoint: a policy that is given the same history proposes the same
 * again, so a resumed search needs nothing else. */
#include "search/trials.h"
#include "search/warm.h"
#include "space/space.h"

#include <stdlib.h>
#include <string.h>

typedef struct nas__history {
    uint64_t *sets; /* (trials, choices) */
    double *values; /* (trials, VALUES): share, seconds, window, metrics */
    size_t n_sets, n_values;
} nas__history;

enum { METRICS = 3, VALUES = METRICS + NAS__MOST_METRICS };

void nas__history_free(nas__history *h) {
    if (h) {
        free(h->sets);
        free(h->values);
        free(h);
    }
}

static void describe(const nas__trial *trial, double *values) {
    memcpy(values, (const double[METRICS]){trial->share, trial->seconds, (double)trial->window},
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
    nas__warm_state(t, state);
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

nas_status nas__history_differs(const nas__trials *t, size_t i) {
    return nas__fail(NAS_INVALID,
                     "%s: trial %zu of the saved history is not what %s proposes now: it was saved by another version, "
                     "or with other options",
                     t->s->config->run_dir, i + 1, t->s->strategy->name);
}

size_t nas__history_size(const nas__trials *t) { return t->loaded ? t->loaded->n_values / VALUES : 0; }

int64_t nas__history_window(const nas__trials *t, size_t i) { return (int64_t)t->loaded->values[i * VALUES + 2]; }

nas_status nas__history_recall(const nas__trials *t, nas__trial *trial) {
    size_t i = (size_t)trial->index, choices = (size_t)nas_space_size(t->s->space);
    const double *values = t->loaded->values + i * VALUES;
    const uint64_t *sets = t->loaded->sets + i * choices;
    if (trial->share != values[0] || memcmp(trial->architecture->bits, sets, choices * sizeof *sets) != 0) {
        return nas__history_differs(t, i);
    }
    trial->seconds = values[1];
    memcpy(trial->metrics, values + METRICS, sizeof trial->metrics);
    trial->state = NAS__JUDGED;
    return NAS_OK;
}

nas_status nas__history_check(const nas__trials *t) {
    const nas__history *h = t->loaded;
    size_t n = nas__history_size(t);
    return h && (h->n_sets != n * (size_t)nas_space_size(t->s->space) || h->n_values != n * VALUES)
               ? nas__fail(NAS_INVALID, "%s: the saved history of trials does not fit together", t->s->config->run_dir)
               : NAS_OK;
}
