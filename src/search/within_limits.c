/* within_limits.c - the best architecture within limits: a multiple-choice knapsack, solved by branch and bound. What
 * is still open is bounded from below by a Lagrangian, loss + sum of multiplier * cost, in which every choice is free;
 * so the first descent is usually nearly the best one. Costs come from the tables, and what is found is counted by a
 * dry pass before it is believed. */
#include "search/limits.h"
#include "search/trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_NODES = 1000000, MOST_PASSES = 1000, MOST_SETS = 4096, BISECTIONS = 40, ROUNDS = 3 };

typedef struct option {
    uint64_t set;
    double loss, cost[NAS__COST_KINDS], mixed; /* mixed: the Lagrangian */
} option;

typedef struct item {
    int choice;
    bool always; /* reached whatever the others are */
    option *options;
    int n;
    double least_loss, least_mixed, least_cost[NAS__COST_KINDS]; /* of this item and all behind it */
} item;

typedef struct solver {
    nas_trainer *t;
    int n, n_limits;
    bool relative;
    item *items; /* what decides whether a choice is reached comes before it */
    double lambda[NAS__COST_KINDS];
    uint64_t *bits;
    bool *reached;
    nas_architecture *trial, *best;
    double best_loss;
    int64_t nodes, passes;
} solver;

/* --- the sets of a choice ----------------------------------------------------------------------------- */
static double count_sets(const nas_choice *c) {
    double sets = 0, binomial = 1;
    for (int k = 0; k <= c->n_max; k++) {
        sets += k >= c->n_min ? binomial : 0;
        binomial = binomial * (c->n - k) / (k + 1);
    }
    return sets;
}

static option *add_set(item *it, uint64_t set) {
    if (!nas__grow(&it->options, (size_t)it->n, sizeof *it->options)) {
        return NULL;
    }
    it->options[it->n] = (option){.set = set};
    return &it->options[it->n++];
}

static bool add_sets(item *it, const nas_choice *c, uint64_t set, int from, int taken) {
    if (taken >= c->n_min && !add_set(it, set)) {
        return false;
    }
    for (int k = from; taken < c->n_max && k < c->n; k++) {
        if (!add_sets(it, c, set | (uint64_t)1 << k, k + 1, taken + 1)) {
            return false;
        }
    }
    return true;
}

/* Of a choice with too many sets: those that grow by the candidate that costs the least loss. */
static bool add_growing_sets(item *it, const nas_choice *c, nas__loss_of_set loss, void *user) {
    uint64_t set = 0;
    for (int taken = 0; taken <= c->n_max; taken++) {
        if (taken >= c->n_min && !add_set(it, set)) {
            return false;
        }
        int best = -1;
        double least = INFINITY;
        for (int k = 0; k < c->n; k++) {
            double with = set >> k & 1 ? INFINITY : loss(user, it->choice, set | (uint64_t)1 << k);
            best = with < least || best < 0 ? k : best;
            least = fmin(least, with);
        }
        set |= (uint64_t)1 << best;
    }
    return true;
}

static void make_relative(item *it) {
    double least = INFINITY;
    for (int i = 0; i < it->n; i++) {
        least = fmin(least, it->options[i].loss);
    }
    for (int i = 0; i < it->n; i++) {
        it->options[i].loss -= least;
    }
}

/* Sets with a candidate that needs more memory than there is even among the cheapest others. */
static void leave_out(const solver *s, item *it) {
    int kept = 0;
    for (int i = 0; i < it->n; i++) {
        bool fits = true;
        for (int d = 0; d < s->n_limits; d++) {
            const nas__limit *limit = &s->t->limits.of[d];
            for (int k = 0; limit->kind == NAS__COST_RAM && k < nas_space_choice(s->t->s.space, it->choice)->n; k++) {
                fits &= !(it->options[i].set >> k & 1) || nas__cost_of(limit->table, it->choice, k) <= limit->most;
            }
        }
        if (fits) {
            it->options[kept++] = it->options[i];
        }
    }
    it->n = kept ? kept : it->n;
}

static bool fill_item(solver *s, item *it, nas__loss_of_set loss, void *user) {
    const nas_choice *c = nas_space_choice(s->t->s.space, it->choice);
    if (count_sets(c) > MOST_SETS ? !add_growing_sets(it, c, loss, user) : !add_sets(it, c, 0, 0, 0)) {
        return false;
    }
    for (int i = 0; i < it->n; i++) {
        option *o = &it->options[i];
        o->loss = loss(user, it->choice, o->set);
        for (int d = 0; d < s->n_limits; d++) {
            if (s->t->limits.of[d].kind == NAS__COST_RAM) {
                continue; /* no sum: what is beyond it in any company is left out */
            }
            for (int k = 0; k < c->n; k++) {
                o->cost[d] += o->set >> k & 1 ? nas__cost_of(s->t->limits.of[d].table, it->choice, k) : 0;
            }
        }
    }
    leave_out(s, it);
    if (s->relative) {
        make_relative(it);
    }
    return true;
}

/* --- which choices matter ------------------------------------------------------------------------------ */
/* Is it settled, and if so: is the choice reached? As in space/architecture.c, but for choices that have one place. */
static bool reach_now(const solver *s, int choice, const bool *placed, bool *reached, bool *always) {
    const nas_space *space = s->t->s.space;
    const nas_choice *c = nas_space_choice(space, choice);
    bool edge = false, fed = false, around = c->parent < 0;
    if (c->parent >= 0) {
        if (!placed[c->parent]) {
            return false;
        }
        around = s->reached[c->parent] && (s->bits[c->parent] >> c->parent_candidate & 1);
    }
    for (int i = 0; i < s->n; i++) {
        const nas_choice *input = nas_space_choice(space, i);
        for (int k = 0; input->edges && k < input->n; k++) {
            if (input->edges[k] == choice) {
                if (!placed[i]) {
                    return false;
                }
                edge = true;
                fed |= s->reached[i] && (s->bits[i] >> k & 1);
            }
        }
    }
    *reached = around && (fed || !edge);
    *always = c->parent < 0 && !edge;
    return true;
}

static bool order_items(solver *s, nas__loss_of_set loss, void *user) {
    bool *placed = nas__alloc((size_t)s->n * sizeof *placed), complete = placed != NULL, reached, always;
    int n = 0;
    while (complete && n < s->n) {
        int before = n;
        for (int i = 0; complete && i < s->n; i++) {
            if (!placed[i] && reach_now(s, i, placed, &reached, &always)) {
                s->items[n] = (item){.choice = i, .always = always};
                complete = fill_item(s, &s->items[n++], loss, user);
                placed[i] = true;
            }
        }
        complete &= n > before; /* else a circle, which no network has */
    }
    free(placed);
    return complete;
}

/* --- the multipliers ------------------------------------------------------------------------------------ */
static const option *least_mixed(const item *it, const double *lambda, int n_limits) {
    const option *best = NULL;
    double least = INFINITY;
    for (int i = 0; i < it->n; i++) {
        double mixed = it->options[i].loss;
        for (int d = 0; d < n_limits; d++) {
            mixed += lambda[d] * it->options[i].cost[d];
        }
        best = mixed < least || !best ? &it->options[i] : best;
        least = fmin(least, mixed);
    }
    return best;
}

static double relaxed_cost(const solver *s, int d) {
    double cost = nas__cost_constant(s->t->limits.of[d].table);
    for (int i = 0; i < s->n; i++) {
        cost += least_mixed(&s->items[i], s->lambda, s->n_limits)->cost[d];
    }
    return cost;
}

/* The smallest multiplier under which the free choices meet their limit; one after the other, some rounds. */
static void find_multipliers(solver *s) {
    for (int round = 0; round < ROUNDS; round++) {
        for (int d = 0; d < s->n_limits; d++) {
            double most = s->t->limits.of[d].most, low = 0, high = 1 / most;
            s->lambda[d] = 0;
            if (relaxed_cost(s, d) <= most) {
                continue;
            }
            for (s->lambda[d] = high; relaxed_cost(s, d) > most && high * most < 1e9; s->lambda[d] = high) {
                low = high;
                high *= 4;
            }
            for (int i = 0; i < BISECTIONS; i++) {
                s->lambda[d] = 0.5 * (low + high);
                *(relaxed_cost(s, d) > most ? &low : &high) = s->lambda[d];
            }
            s->lambda[d] = high;
        }
    }
}

static int by_mixed(const void *a, const void *b) {
    const option *x = a, *y = b;
    return x->mixed != y->mixed ? (x->mixed > y->mixed) - (x->mixed < y->mixed) : (x->set > y->set) - (x->set < y->set);
}

static void prepare_bounds(solver *s) {
    for (int i = s->n - 1; i >= 0; i--) {
        item *it = &s->items[i];
        const item *behind = i + 1 < s->n ? &s->items[i + 1] : NULL;
        double least = it->always ? INFINITY : 0, losses = least, costs[NAS__COST_KINDS];
        for (int d = 0; d < s->n_limits; d++) {
            costs[d] = least;
        }
        for (int k = 0; k < it->n; k++) {
            option *o = &it->options[k];
            o->mixed = o->loss;
            for (int d = 0; d < s->n_limits; d++) {
                o->mixed += s->lambda[d] * o->cost[d];
                costs[d] = fmin(costs[d], o->cost[d]);
            }
            least = fmin(least, o->mixed);
            losses = fmin(losses, o->loss);
        }
        it->least_loss = losses + (behind ? behind->least_loss : 0);
        it->least_mixed = least + (behind ? behind->least_mixed : 0);
        for (int d = 0; d < s->n_limits; d++) {
            it->least_cost[d] = costs[d] + (behind ? behind->least_cost[d] : 0);
        }
        qsort(it->options, (size_t)it->n, sizeof *it->options, by_mixed);
    }
}

/* --- the search ------------------------------------------------------------------------------------------ */
static bool hopeless(const solver *s, int depth, double loss, const double *cost) {
    const item *open = depth < s->n ? &s->items[depth] : NULL;
    double bound = loss + (open ? open->least_mixed : 0), least = loss + (open ? open->least_loss : 0);
    for (int d = 0; d < s->n_limits; d++) {
        double left = s->t->limits.of[d].most - cost[d];
        if (left < (open ? open->least_cost[d] : 0)) {
            return true;
        }
        bound -= s->lambda[d] * left;
    }
    return fmax(bound, least) >= s->best_loss - 1e-12 * (1 + fabs(s->best_loss));
}

static void try_leaf(solver *s, double loss) {
    for (int i = 0; i < s->n; i++) {
        if (nas_architecture_set(s->trial, i, s->bits[i])) {
            return;
        }
    }
    s->passes++;
    if (nas__within_limits(s->t, s->trial)) {
        s->best_loss = loss;
        for (int i = 0; i < s->n; i++) {
            nas_architecture_set(s->best, i, s->bits[i]);
        }
    }
}

static bool used_up(const solver *s) {
    return s->nodes >= MOST_NODES || s->passes >= MOST_PASSES || nas_error_status();
}

static void descend(solver *s, int depth, double loss, const double *cost, bool *placed) {
    s->nodes++;
    if (used_up(s) || hopeless(s, depth, loss, cost)) {
        return;
    }
    if (depth == s->n) {
        try_leaf(s, loss);
        return;
    }
    const item *it = &s->items[depth];
    bool always;
    placed[it->choice] = reach_now(s, it->choice, placed, &s->reached[it->choice], &always);
    for (int k = 0; k < it->n; k++) {
        const option *o = &it->options[k];
        double costs[NAS__COST_KINDS];
        for (int d = 0; d < s->n_limits; d++) {
            costs[d] = cost[d] + (s->reached[it->choice] ? o->cost[d] : 0);
        }
        s->bits[it->choice] = o->set;
        descend(s, depth + 1, loss + (s->reached[it->choice] ? o->loss : 0), costs, placed);
        if (!s->reached[it->choice]) {
            break; /* one is as good as another */
        }
    }
    placed[it->choice] = false;
}

static bool solve(solver *s, nas__loss_of_set loss, void *user, bool *placed) {
    double cost[NAS__COST_KINDS];
    if (!order_items(s, loss, user)) {
        return false;
    }
    for (int d = 0; d < s->n_limits; d++) {
        cost[d] = nas__cost_constant(s->t->limits.of[d].table);
    }
    find_multipliers(s);
    prepare_bounds(s);
    descend(s, 0, 0, cost, placed);
    return isfinite(s->best_loss) && !nas_error_status();
}

bool nas__least_loss(nas_trainer *t, nas__loss_of_set loss, void *user, bool relative, nas_architecture *best) {
    int n = nas_space_size(t->s.space);
    solver s = {.t = t, .n = n, .n_limits = t->limits.n, .relative = relative, .best = best, .best_loss = INFINITY};
    s.items = nas__alloc((size_t)n * sizeof *s.items);
    s.bits = nas__alloc((size_t)n * sizeof *s.bits);
    s.reached = nas__alloc(2 * (size_t)n * sizeof *s.reached);
    s.trial = nas_architecture_new(t->s.space);
    bool found = s.items && s.bits && s.reached && s.trial && solve(&s, loss, user, s.reached + n);
    for (int i = 0; s.items && i < n; i++) {
        free(s.items[i].options);
    }
    free(s.items);
    free(s.bits);
    free(s.reached);
    nas_architecture_free(s.trial);
    return found;
}

/* --- what is most probable --------------------------------------------------------------------------------- */
typedef struct beliefs {
    nas_trainer *t;
    const nas_architecture *derived;
    double (*log_p)[NAS_MAX_CANDIDATES]; /* per choice; NaN: it has none */
    bool *behind_input;
} beliefs;

static bool is_none(const nas_choice *c, int k) { return strcmp(c->names[k], "none") == 0; }

/* An input is as probable as the best that its layer choice can compute. */
static void believe_edges(beliefs *b, int choice) {
    const nas_choice *c = nas_space_choice(b->t->s.space, choice);
    for (int k = 0; k < c->n; k++) {
        int layer = c->edges[k];
        const nas_choice *edge = layer < 0 ? NULL : nas_space_choice(b->t->s.space, layer);
        double best = edge ? -INFINITY : 0;
        for (int j = 0; edge && j < edge->n; j++) {
            best = is_none(edge, j) ? best : fmax(best, b->log_p[layer][j]);
        }
        b->log_p[choice][k] = best;
    }
}

static void believe(beliefs *b) {
    const nas_strategy *strategy = b->t->s.strategy;
    int n = nas_space_size(b->t->s.space);
    for (int i = 0; i < n; i++) {
        const nas_choice *c = nas_space_choice(b->t->s.space, i);
        double p[NAS_MAX_CANDIDATES];
        bool given = strategy->probabilities && strategy->probabilities(&b->t->s, i, p);
        for (int k = 0; k < c->n; k++) {
            b->log_p[i][k] = given ? log(fmax(p[k], 1e-30)) : NAN;
            if (c->edges && c->edges[k] >= 0) {
                b->behind_input[c->edges[k]] = true;
            }
        }
    }
    for (int i = 0; i < n; i++) {
        const nas_choice *c = nas_space_choice(b->t->s.space, i);
        if (c->edges && isnan(b->log_p[i][0])) {
            believe_edges(b, i);
        }
    }
}

/* How much less probable than the best a set is, in logarithms. Of a free number of inputs each counts by itself: taken
 * or not, against an even share. */
static double improbability(void *user, int choice, uint64_t set) {
    const beliefs *b = user;
    const nas_choice *c = nas_space_choice(b->t->s.space, choice);
    const double *log_p = b->log_p[choice];
    double loss = 0;
    if (isnan(log_p[0])) {
        return set == nas_architecture_get(b->derived, choice) ? 0 : 1;
    }
    for (int k = 0; k < c->n; k++) {
        bool taken = set >> k & 1, forbidden = taken && b->behind_input[choice] && is_none(c, k);
        double share = log_p[k] + log(c->n);
        if (c->n_min == c->n_max) {
            loss -= taken ? log_p[k] : 0;
        } else {
            loss += taken ? fmax(0, -share) : fmax(0, share);
        }
        loss += forbidden ? 100 : 0; /* an input that is taken should carry something */
    }
    return loss;
}

nas_status nas__derive_within_limits(nas_trainer *t, nas_architecture *a) {
    size_t n = (size_t)nas_space_size(t->s.space);
    nas_architecture *derived = nas_architecture_copy(a);
    beliefs b = {.t = t, .derived = derived};
    b.log_p = nas__alloc(n * sizeof *b.log_p);
    b.behind_input = nas__alloc(n * sizeof *b.behind_input);
    if (derived && b.log_p && b.behind_input) {
        believe(&b);
        if (!nas__least_loss(t, improbability, &b, true, a) && !nas_error_status()) {
            for (size_t i = 0; i < n; i++) {
                nas_architecture_set(a, (int)i, nas_architecture_get(t->limits.meets, (int)i));
            }
        }
    }
    nas_architecture_free(derived);
    free(b.log_p);
    free(b.behind_input);
    return nas_error_status();
}
