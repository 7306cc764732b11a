/* cost_term.c - see cost_term.h */
#include "search/cost_term.h"

#include "search/latency.h"
#include "search/trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- the table and the target ----------------------------------------------------------------------- */
static double log_target(const nas__cost_term *c) {
    return strcmp(c->options.target, "none") == 0 ? 1 : log(c->target);
}

/* The least that the table's costs may add up to. */
static double least(const nas__cost_table *t, const nas_space *space) {
    double sum = t->constant;
    for (int i = 0; i < t->n; i++) {
        const nas_choice *c = nas_space_choice(space, i);
        double cheapest = INFINITY;
        for (int k = 0; k < c->n; k++) {
            cheapest = fmin(cheapest, nas__cost_of(t, i, k));
        }
        /* a choice that is unreached, or takes nothing, costs nothing */
        sum += c->kind == NAS_LAYER && c->parent < 0 ? cheapest : fmin(cheapest, 0);
    }
    return sum;
}

static nas_status check_logarithms(const nas__cost_term *c, const nas_space *space) {
    char text[32];
    if (c->options.loss != NAS__COST_MUL || (least(c->table, space) > 1 && log_target(c) > 0)) {
        return NAS_OK;
    }
    return nas__fail(NAS_INVALID,
                     "cost_loss=mul takes the logarithm of the cost, which must stay above 1, and of the target: the "
                     "least here is %s; use cost_loss=add",
                     nas__cost_text(c->table->kind, least(c->table, space), text));
}

static nas_status open_table(nas__cost_term *c, nas_search *s) {
    nas__cost_kind kind = (nas__cost_kind)(c->options.kind - 1);
    if (c->options.kind == 0) {
        return *c->options.table ? nas__fail(NAS_INVALID,
                                             "cost_table=%s says what things cost, but cost=none says that "
                                             "it does not matter; set cost=macs, params or latency",
                                             c->options.table)
                                 : NAS_OK;
    }
    c->table = *c->options.table ? nas__cost_table_read(s->space, c->options.table)
                                 : nas__search_costs(nas__trainer_of(s), kind);
    if (c->table && c->table->kind != kind) {
        return nas__fail(NAS_INVALID, "%s is a table of %s, but cost=%s", c->options.table,
                         nas__cost_name(c->table->kind), nas__cost_name(kind));
    }
    return c->table ? NAS_OK : nas_error_status();
}

/* --- expectations ------------------------------------------------------------------------------------ */
/* A probability: a tensor {1} of the tape times a number; NULL: the number alone. */
typedef struct chance {
    double factor;
    nas_tensor *tensor;
} chance;

static chance times(chance a, chance b) {
    return (chance){a.factor * b.factor, a.tensor && b.tensor ? nas_mul(a.tensor, b.tensor)
                                         : a.tensor           ? a.tensor
                                                              : b.tensor};
}

static nas_tensor *as_tensor(chance c) {
    float one = (float)c.factor;
    return c.tensor ? nas_scale(c.tensor, (float)c.factor) : nas_input(1, (int64_t[]){1}, &one);
}

typedef struct expectation {
    const nas__cost_table *table;
    nas_search *s;
    nas_tensor *const *weights;
    bool *known;
    chance *reached;
} expectation;

static chance chance_of(const expectation *e, int choice, int candidate) {
    const nas_choice *c = nas_space_choice(e->s->space, choice);
    uint64_t run = nas_decision_of(e->s->space, choice).run;
    int running = __builtin_popcountll(run);
    if (e->weights[choice]) {
        return (chance){1, nas_slice(e->weights[choice], 0, candidate, 1)};
    }
    double share = running > c->n_max && c->n_max > 0 ? (double)c->n_max / running : 1;
    return (chance){run >> candidate & 1 ? share : 0, NULL};
}

/* Any of some candidates. */
static chance chance_of_any(const expectation *e, int choice, uint64_t candidates) {
    chance sum = {0, NULL};
    for (int k = 0; candidates >> k; k++) {
        chance one = candidates >> k & 1 ? chance_of(e, choice, k) : (chance){0, NULL};
        if (one.tensor) {
            sum = (chance){1, sum.tensor ? nas_add(sum.tensor, one.tensor) : one.tensor};
        } else {
            sum.factor += sum.tensor ? 0 : one.factor;
        }
    }
    return sum;
}

static chance reach(expectation *e, int choice);

/* Some input choice takes what this layer choice computes: 1 - product of (1 - p) over the places that may. */
static chance feeds(expectation *e, int layer) {
    chance missed = {1, NULL};
    bool edge = false;
    for (int i = 0; i < e->table->n; i++) {
        const nas_choice *c = nas_space_choice(e->s->space, i);
        for (int k = 0; c->edges && k < c->n; k++) {
            if (c->edges[k] == layer) {
                chance taken = times(reach(e, i), chance_of(e, i, k));
                nas_tensor *not_taken =
                    taken.tensor ? nas_add_scalar(nas_scale(taken.tensor, -(float)taken.factor), 1) : NULL;
                missed = times(missed, (chance){not_taken ? 1 : 1 - taken.factor, not_taken});
                edge = true;
            }
        }
    }
    if (!edge) {
        return (chance){1, NULL};
    }
    nas_tensor *some = missed.tensor ? nas_add_scalar(nas_scale(missed.tensor, -(float)missed.factor), 1) : NULL;
    return (chance){some ? 1 : 1 - missed.factor, some};
}

static chance reach(expectation *e, int choice) {
    const nas_choice *c = nas_space_choice(e->s->space, choice);
    if (!e->known[choice]) {
        e->known[choice] = true; /* also ends a circle of edges, which no network has */
        e->reached[choice] = (chance){1, NULL};
        chance around =
            c->parent < 0 ? (chance){1, NULL} : times(reach(e, c->parent), chance_of_any(e, c->parent, c->parent_set));
        e->reached[choice] = times(around, c->kind == NAS_LAYER ? feeds(e, choice) : (chance){1, NULL});
    }
    return e->reached[choice];
}

/* <weights, costs> of one choice, reached for sure. */
static chance cost_here(const expectation *e, int choice) {
    const double *cost = e->table->cost + e->table->first[choice];
    int64_t n = e->table->first[choice + 1] - e->table->first[choice];
    if (!e->weights[choice]) {
        double sum = 0;
        for (int k = 0; k < n; k++) {
            sum += cost[k] * chance_of(e, choice, k).factor;
        }
        return (chance){sum, NULL};
    }
    float row[NAS_MAX_CANDIDATES];
    for (int k = 0; k < n; k++) {
        row[k] = (float)cost[k];
    }
    return (chance){1, nas_sum(nas_mul(e->weights[choice], nas_input(1, &n, row)))};
}

static nas_tensor *add_up(expectation *e) {
    double constant = e->table->constant;
    nas_tensor *sum = NULL;
    for (int i = 0; i < e->table->n; i++) {
        chance c = times(cost_here(e, i), reach(e, i));
        if (!c.tensor) {
            constant += c.factor;
        } else {
            nas_tensor *here = nas_scale(c.tensor, (float)c.factor);
            sum = sum ? nas_add(sum, here) : here;
        }
    }
    return nas_error_status() ? NULL : sum ? nas_add_scalar(sum, (float)constant) : as_tensor((chance){constant, NULL});
}

nas_tensor *nas__expected_cost(const nas__cost_table *t, nas_search *s, nas_tensor *const *weights) {
    expectation e = {t, s, weights, nas__alloc((size_t)t->n * sizeof *e.known),
                     nas__alloc((size_t)t->n * sizeof *e.reached)};
    nas_tensor *sum = e.known && e.reached ? add_up(&e) : NULL;
    free(e.known);
    free(e.reached);
    return sum;
}

/* --- expectations without a search's tape ------------------------------------------------------------- */
/* How likely each candidate is among those that are taken: as the strategy says, or all alike. */
static nas_tensor *likely(nas_search *s, int choice, bool even) {
    const nas_choice *c = nas_space_choice(s->space, choice);
    double p[NAS_MAX_CANDIDATES], taken = 0.5 * (c->n_min + c->n_max);
    float row[NAS_MAX_CANDIDATES];
    int64_t n = c->n;
    bool given = !even && s->strategy->probabilities && s->strategy->probabilities(s, choice, p);
    for (int k = 0; k < c->n; k++) {
        row[k] = (float)fmin(1, given ? p[k] * taken : taken / c->n);
    }
    return nas_input(1, &n, row);
}

typedef enum belief { EVEN, OF_STRATEGY, DECIDED } belief;

static double expected_now(const nas__cost_table *t, nas_search *s, belief as) {
    nas_tape *tape = nas_tape_new();
    nas_tensor **weights = tape ? nas__alloc((size_t)t->n * sizeof *weights) : NULL;
    if (tape) {
        nas_tape_begin(tape, &(nas_tape_config){0});
    }
    for (int i = 0; weights && i < t->n; i++) {
        weights[i] = as == DECIDED ? NULL : likely(s, i, as == EVEN);
    }
    double cost = weights ? nas_tensor_item(nas__expected_cost(t, s, weights)) : NAN;
    nas_tape_free(tape);
    free(weights);
    return cost;
}

double nas__expected_cost_now(const nas__cost_table *t, nas_search *s) { return expected_now(t, s, OF_STRATEGY); }
double nas__decided_cost(const nas__cost_table *t, nas_search *s) { return expected_now(t, s, DECIDED); }

static nas_status open_target(nas__cost_term *c, nas_search *s) {
    const char *target = c->options.target;
    if (strcmp(target, "auto") == 0) {
        c->target = expected_now(c->table, s, EVEN);
    } else if (strcmp(target, "none") == 0) {
        c->target = 1;
    } else if (!nas__cost_parse(c->table->kind, target, &c->target)) {
        return nas__fail(NAS_INVALID, "cost_target=%s is no cost of this kind: write %s, auto or none", target,
                         c->table->kind == NAS__COST_LATENCY ? "5ms or 300us" : "30M or 250k");
    }
    return c->target > 0 ? check_logarithms(c, s->space)
                         : nas__fail(NAS_INVALID, "cost_target=auto: no candidate costs anything here; write a target");
}

nas_status nas__cost_term_begin(nas__cost_term *c, nas_search *s, const nas__cost_options *options) {
    *c = (nas__cost_term){.options = *options};
    nas_status status = open_table(c, s);
    return status || !c->table ? status : open_target(c, s);
}

void nas__cost_term_end(nas__cost_term *c) {
    nas__cost_table_free(c->table);
    *c = (nas__cost_term){0};
}

void nas__cost_term_state(nas__cost_term *c, nas_state *st) {
    if (c->table) {
        nas_state_f64(st, "cost.target", &c->target, 1);
        nas_state_f64(st, "cost.constant", &c->table->constant, 1);
        nas_state_f64(st, "cost.table", c->table->cost, (size_t)c->table->first[c->table->n]);
    }
}

/* --- losses ------------------------------------------------------------------------------------------- */
nas_tensor *nas__cost_loss(const nas__cost_term *c, nas_tensor *loss, nas_tensor *expected) {
    if (!c->table) {
        return loss;
    }
    if (c->options.loss == NAS__COST_ADD) {
        float share = (float)(c->options.weight / c->target);
        return nas_add(loss, nas_scale(nas_add_scalar(expected, -(float)c->target), share));
    }
    /* (log E / log T)^b = exp(b * log(log E / log T)) */
    nas_tensor *ratio = nas_scale(nas_log(expected), (float)(1 / log_target(c)));
    nas_tensor *factor = nas_exp(nas_scale(nas_log(ratio), (float)c->options.power));
    return nas_mul(loss, nas_scale(factor, (float)c->options.weight));
}
