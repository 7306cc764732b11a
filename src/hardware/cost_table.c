/* cost_table.c - see cost_table.h. Multiply-adds: one dry pass in which all candidates run, watched at every layer
 * choice, and one more for each candidate of the other choices. Parameters: the tree of modules. */
#include "hardware/cost_table.h"

#include "core/error.h"
#include "core/memory.h"
#include "nn/module.h"
#include "space/space.h"
#include "tensor/tensor.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- the table ----------------------------------------------------------------------------------- */
nas__cost_table *nas__cost_table_zero(const nas_space *space, nas__cost_kind kind) {
    nas__cost_table *t = nas__alloc(sizeof *t);
    int n = nas_space_size(space);
    if (!t) {
        return NULL;
    }
    t->kind = kind;
    t->n = n;
    t->first = nas__alloc(((size_t)n + 1) * sizeof *t->first);
    for (int i = 0; t->first && i < n; i++) {
        t->first[i + 1] = t->first[i] + nas_space_choice(space, i)->n;
    }
    t->cost = t->first ? nas__alloc((size_t)t->first[n] * sizeof *t->cost) : NULL;
    if (!t->cost) {
        nas__cost_table_free(t);
        return NULL;
    }
    return t;
}

void nas__cost_table_free(nas__cost_table *t) {
    if (t) {
        free(t->first);
        free(t->cost);
        free(t);
    }
}

double nas__cost_constant(const nas__cost_table *t) { return t->constant; }

double nas__cost_of(const nas__cost_table *t, int choice, int candidate) {
    return t->cost[t->first[choice] + candidate];
}

void nas__cost_add(nas__cost_table *t, const nas_space *space, int site, int child, double cost) {
    const nas__site *s = &space->sites[site];
    const uint64_t candidates = nas__child_candidates(s->mutable_, child);
    for (int k = 0; k < s->mutable_->n; k++) {
        t->cost[t->first[s->choice] + k] += candidates >> k & 1 ? cost : 0;
    }
}

double nas__cost_of_architecture(const nas__cost_table *t, const nas_architecture *a) {
    bool *reached = nas__reachable(a->space, a->bits);
    double sum = reached ? t->constant : NAN;
    for (int i = 0; reached && i < t->n; i++) {
        for (int k = 0; reached[i] && t->first[i] + k < t->first[i + 1]; k++) {
            sum += a->bits[i] >> k & 1 ? nas__cost_of(t, i, k) : 0;
        }
    }
    free(reached);
    return sum;
}

/* --- decisions of the passes ---------------------------------------------------------------------- */
void nas__cost_decide_all(nas_space *space) {
    for (int i = 0; i < space->n_choices; i++) {
        nas__choice_entry *e = &space->choices[i];
        bool one = e->public_.kind == NAS_VALUE, few = e->concat && e->public_.n_max < e->public_.n;
        e->decision.weights = NULL;
        e->decision.run = nas__all_bits(one ? 1 : few ? e->public_.n_max : e->public_.n);
    }
}

void nas__cost_decide_path(nas_space *space, int inside) {
    nas__cost_decide_all(space);
    for (int i = 0; i < space->n_choices; i++) {
        if (space->choices[i].public_.kind == NAS_LAYER) {
            space->choices[i].decision.run = 1;
        }
    }
    while (inside >= 0) {
        const nas_choice *c = &space->choices[inside].public_;
        if (c->parent >= 0) {
            space->choices[c->parent].decision.run = (uint64_t)1 << c->parent_candidate;
        }
        inside = c->parent;
    }
}

static nas_decision *save_decisions(const nas_space *space) {
    nas_decision *saved = nas__alloc((size_t)space->n_choices * sizeof *saved);
    for (int i = 0; saved && i < space->n_choices; i++) {
        saved[i] = space->choices[i].decision;
    }
    return saved;
}

static void restore_decisions(nas_space *space, nas_decision *saved) {
    for (int i = 0; saved && i < space->n_choices; i++) {
        space->choices[i].decision = saved[i];
    }
    free(saved);
}

/* --- what passes count: multiply-adds --------------------------------------------------------------------------------
 */
/* What a pass did: outside all layer choices, and in each candidate at each place, without the choices inside. */
typedef struct counts {
    double outside, inside; /* inside: of the candidate that runs now, what choices in it have had */
    double *of;             /* [site][NAS_MAX_CANDIDATES] */
    bool *seen;
    const nas__counter *counter;
} counts;

static nas_tensor *count_candidate(void *user, int site, int candidate, nas_module *module, nas_tensor *x) {
    counts *c = user;
    double before = c->counter->now(c->counter->user), around = c->inside;
    c->inside = 0;
    nas_tensor *y = nas_forward(module, x);
    double all = c->counter->now(c->counter->user) - before;
    c->of[site * NAS_MAX_CANDIDATES + candidate] += all - c->inside;
    c->seen[site * NAS_MAX_CANDIDATES + candidate] = true;
    c->inside = around + all;
    return y;
}

static size_t slots(const nas_space *space) { return (size_t)space->n_sites * NAS_MAX_CANDIDATES; }

static bool counts_new(counts *c, const nas_space *space, const nas__counter *counter) {
    *c = (counts){.counter = counter,
                  .of = nas__alloc(slots(space) * sizeof *c->of),
                  .seen = nas__alloc(slots(space) * sizeof *c->seen)};
    return c->of && c->seen;
}

static void counts_free(counts *c) {
    free(c->of);
    free(c->seen);
}

static nas_status count_pass(counts *c, nas_space *space, nas_module *model, int ndim, const int64_t *dims) {
    nas__observer observer = {count_candidate, c};
    uint64_t all = 0;
    c->outside = c->inside = 0;
    memset(c->of, 0, slots(space) * sizeof *c->of);
    memset(c->seen, 0, slots(space) * sizeof *c->seen);
    space->observer = &observer;
    nas_status status = c->counter->pass(c->counter->user, model, ndim, dims, &all);
    space->observer = NULL;
    c->outside = (double)all - c->inside;
    return status;
}

/* What goes when an input is left out, but for the layer choices that feed it alone: they have their own numbers. It is
 * taken from `rest`. */
static double take_out(counts *rest, const counts *whole, const counts *without, size_t n) {
    double difference = whole->outside - without->outside;
    rest->outside -= difference;
    for (size_t i = 0; i < n; i++) {
        if (whole->seen[i] && without->seen[i]) {
            rest->of[i] -= whole->of[i] - without->of[i];
            difference += whole->of[i] - without->of[i];
        }
    }
    return difference;
}

typedef struct count_job {
    nas__cost_table *t;
    nas_space *space;
    nas_module *model;
    int ndim;
    const int64_t *dims;
    counts whole, without, rest; /* rest: the whole, less what inputs take */
} count_job;

static nas_status count_inputs(count_job *j, int choice) {
    nas__choice_entry *e = &j->space->choices[choice];
    nas_status status = NAS_OK;
    for (int k = 0; !status && !e->concat && e->public_.n > 1 && k < e->public_.n; k++) {
        nas__cost_decide_all(j->space);
        e->decision.run &= ~((uint64_t)1 << k);
        status = count_pass(&j->without, j->space, j->model, j->ndim, j->dims);
        j->t->cost[j->t->first[choice] + k] = status ? 0 : take_out(&j->rest, &j->whole, &j->without, slots(j->space));
    }
    return status;
}

static nas_status count_values(count_job *j, int choice) {
    uint64_t first = 0, macs;
    nas_status status = NAS_OK;
    for (int k = 0; !status && k < j->space->choices[choice].public_.n; k++) {
        nas__cost_decide_path(j->space, choice);
        j->space->choices[choice].decision.run = (uint64_t)1 << k;
        status = j->whole.counter->pass(j->whole.counter->user, j->model, j->ndim, j->dims, &macs);
        first = k ? first : macs;
        j->t->cost[j->t->first[choice] + k] = status ? 0 : (double)macs - (double)first;
    }
    return status;
}

static nas_status count_all(count_job *j) {
    nas__cost_decide_all(j->space);
    nas_status status = count_pass(&j->whole, j->space, j->model, j->ndim, j->dims);
    status = status ? status : count_pass(&j->rest, j->space, j->model, j->ndim, j->dims);
    for (int i = 0; !status && i < j->space->n_choices; i++) {
        nas_choice_kind kind = j->space->choices[i].public_.kind;
        status = kind == NAS_INPUT ? count_inputs(j, i) : kind == NAS_VALUE ? count_values(j, i) : NAS_OK;
    }
    j->t->constant = j->rest.outside;
    for (size_t i = 0; !status && i < slots(j->space); i++) {
        if (j->rest.seen[i]) {
            nas__cost_add(j->t, j->space, (int)(i / NAS_MAX_CANDIDATES), (int)(i % NAS_MAX_CANDIDATES), j->rest.of[i]);
        }
    }
    return status;
}

static nas_status pass_macs(void *user, nas_module *model, int ndim, const int64_t *dims, uint64_t *all) {
    (void)user;
    return nas_model_cost(model, ndim, dims, all, NULL);
}

static double macs_now(void *user) {
    (void)user;
    return (double)nas__tape()->macs;
}

static nas_status fill_counted(nas__cost_table *t, nas_space *space, nas_module *model, int ndim, const int64_t *dims,
                               const nas__counter *counter) {
    count_job j = {.t = t, .space = space, .model = model, .ndim = ndim, .dims = dims};
    bool complete = counts_new(&j.whole, space, counter) && counts_new(&j.without, space, counter) &&
                    counts_new(&j.rest, space, counter);
    nas_status status = complete ? count_all(&j) : nas_error_status();
    counts_free(&j.whole);
    counts_free(&j.without);
    counts_free(&j.rest);
    return status;
}

/* --- parameters ----------------------------------------------------------------------------------- */
static bool none(void *user, const nas_mutable *m, int candidate) {
    (void)user;
    (void)m;
    (void)candidate;
    return false;
}

static void fill_parameters(nas__cost_table *t, const nas_space *space, nas_module *model) {
    t->constant = (double)nas__layer_parameters(space, none, NULL, model);
    for (int i = 0; i < space->n_sites; i++) {
        const nas_mutable *m = space->sites[i].mutable_;
        size_t n = 0;
        nas_module *const *candidates = m && m->kind == NAS_LAYER ? nas__module_children(m->owner, &n) : NULL;
        for (size_t k = 0; k < n; k++) {
            nas__cost_add(t, space, i, (int)k, (double)nas__layer_parameters(space, none, NULL, candidates[k]));
        }
    }
}

nas__cost_table *nas__cost_table_counted(nas_space *space, nas_module *model, int ndim, const int64_t *sample_dims,
                                         nas__cost_kind kind, const nas__counter *counter) {
    nas__cost_table *t = nas__cost_table_zero(space, kind);
    nas_decision *saved = t ? save_decisions(space) : NULL;
    if (!saved) {
        nas__cost_table_free(t);
        return NULL;
    }
    nas_status status = NAS_OK;
    if (kind == NAS__COST_PARAMS) {
        fill_parameters(t, space, model);
    } else if (kind != NAS__COST_LATENCY) {
        status = fill_counted(t, space, model, ndim, sample_dims, counter);
    } else {
        status = nas__cost_measure(t, space, model, ndim, sample_dims);
    }
    restore_decisions(space, saved);
    if (status) {
        nas__error_context("the table of costs");
        nas__cost_table_free(t);
        return NULL;
    }
    return t;
}

nas__cost_table *nas__cost_table_new(nas_space *space, nas_module *model, int ndim, const int64_t *sample_dims,
                                     nas__cost_kind kind) {
    return nas__cost_table_counted(space, model, ndim, sample_dims, kind, &(nas__counter){pass_macs, macs_now, NULL});
}
