/* nsga2.c - NSGA-II (Deb, Pratap, Agarwal and Meyarivan, 2002): a population moves towards the front of architectures
 * that no other beats in both fitness and cost. */
#include "core/file.h"
#include "hardware/cost_table.h"
#include "search/latency.h"
#include "search/limits.h"
#include "search/pareto.h"
#include "search/trials.h"
#include "space/space.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct nsga2_options {
    nas__trial_options trial;
    int population, cost, pick;
    double mutation, crossover;
} nsga2_options;

typedef enum pick_rule { PICK_BEST, PICK_KNEE, PICK_LIMIT } pick_rule;

#define ROW(field, type, ...)                                                                                          \
    { #field, type, offsetof(nsga2_options, field), __VA_ARGS__ }
static const nas_option options[] = {
    ROW(population, NAS_OPTION_INT, "20", 4, 10000, NULL, "architectures of a generation"),
    ROW(cost, NAS_OPTION_CHOICE, "macs", 0, 0, "macs|params|latency", "what is kept low"),
    ROW(pick, NAS_OPTION_CHOICE, "best", 0, 0, "best|knee|limit",
        "which of the front is exported: the fittest, the one before gains get expensive, the fittest within --limit"),
    ROW(mutation, NAS_OPTION_FLOAT, "0", 0, 1, NULL, "probability that a choice changes; 0: one choice on average"),
    ROW(crossover, NAS_OPTION_FLOAT, "0.9", 0, 1, NULL, "probability that a child has two parents"),
    NAS__TRIAL_OPTION_ROWS(nsga2_options, "standalone"),
    {0},
};

typedef struct nsga2 {
    nas__point *all;     /* every trial that is done */
    nas__point *members; /* the population, sorted, then the children so far; index: of the trial */
    int n_members, n_parents;
    nas__cost_table *latency;
} nsga2;

static const nsga2_options *options_of(const nas__trials *t) { return nas__trials_options(t); }

/* --- costs -----------------------------------------------------------------------------------------------------------
 */
static const nas__cost_kind kinds[] = {NAS__COST_MACS, NAS__COST_PARAMS, NAS__COST_LATENCY};

static nas_status begin_policy(nas__trials *t) {
    nsga2 *m = t->memory;
    m->members = nas__alloc(2 * (size_t)options_of(t)->population * sizeof *m->members);
    if (kinds[options_of(t)->cost] == NAS__COST_LATENCY) {
        m->latency = nas__search_costs(nas__trainer_of(t->s), NAS__COST_LATENCY);
    }
    if (options_of(t)->pick == PICK_LIMIT && !t->s->config->limits) {
        return nas__fail(NAS_USAGE, "nsga2: pick=limit takes the fittest within a limit, and none is given: --limit");
    }
    return nas_error_status();
}

static void end_policy(nas__trials *t) {
    nsga2 *m = t->memory;
    nas__cost_table_free(m->latency);
    free(m->members);
    free(m->all);
}

static double cost_of(nas__trials *t, const nas_architecture *a) {
    nsga2 *m = t->memory;
    return m->latency ? nas__cost_of_architecture(m->latency, a)
                      : nas__exact_cost(nas__trainer_of(t->s), kinds[options_of(t)->cost], a);
}

/* --- generations -----------------------------------------------------------------------------------------------------
 */
/* The better of two random members: of lower rank, or with more room around it. */
static const nas__trial *tournament(const nas__trials *t, nas_rng *rng) {
    const nsga2 *m = t->memory;
    int a = (int)nas_rng_below(rng, (uint32_t)m->n_parents), b = (int)nas_rng_below(rng, (uint32_t)m->n_parents);
    return t->done[m->members[a < b ? a : b].index]; /* they are sorted */
}

static nas__proposal propose(nas__trials *t, nas_rng *rng, nas__trial *trial) {
    const nsga2 *m = t->memory;
    if (m->n_members - m->n_parents + (int)t->n_open == options_of(t)->population) {
        return NAS__WAIT; /* the next generation is chosen from all of this one */
    }
    if (m->n_parents == 0) {
        nas__trials_new(t, rng, trial->architecture);
        return NAS__PROPOSED;
    }
    nas__architecture_assign(trial->architecture, tournament(t, rng)->architecture);
    if (nas_rng_uniform(rng) < options_of(t)->crossover) {
        nas__architecture_cross(trial->architecture, tournament(t, rng)->architecture, rng);
    }
    double mutation = options_of(t)->mutation;
    nas__architecture_redraw(trial->architecture, mutation > 0 ? mutation : 1.0 / nas_space_size(t->s->space), rng);
    return NAS__PROPOSED;
}

/* The best of parents and children are the next parents. */
static void observe(nas__trials *t, const nas__trial *trial) {
    nsga2 *m = t->memory;
    int population = options_of(t)->population;
    if (!nas__grow(&m->all, t->n_done - 1, sizeof *m->all)) {
        return;
    }
    m->all[t->n_done - 1] = m->members[m->n_members++] =
        (nas__point){.fitness = trial->fitness, .cost = cost_of(t, trial->architecture), .index = (int)t->n_done - 1};
    if (m->n_members == m->n_parents + population) {
        nas__pareto_sort(m->members, m->n_members);
        m->n_members = m->n_parents = population;
    }
}

static size_t beginning(const nas__trials *t) { return (size_t)options_of(t)->population; }

static const nas__policy policy = {.memory_size = sizeof(nsga2),
                                   .beginning = beginning,
                                   .fresh_only = true,
                                   .ahead = NAS__FAR_AHEAD,
                                   .begin = begin_policy,
                                   .propose = propose,
                                   .observe = observe,
                                   .end = end_policy};

/* --- the front -------------------------------------------------------------------------------------------------------
 */
static int by_cost(const void *a, const void *b) {
    const nas__point *x = a, *y = b;
    return (x->cost > y->cost) - (x->cost < y->cost);
}

/* Of all trials, by cost, each cost and fitness once; *n points (new, free()). */
static nas__point *front_of(const nas__trials *t, int *n) {
    const nsga2 *m = t->memory;
    nas__point *front = nas__alloc((t->n_done + 1) * sizeof *front);
    *n = 0;
    for (size_t i = 0; front && i < t->n_done; i++) {
        const nas__point *point = &m->all[i];
        bool beaten = t->done[i]->repeated || !isfinite(point->fitness);
        for (int j = 0; !beaten && j < *n; j++) {
            beaten = nas__dominates(&front[j], point) ||
                     (front[j].fitness == point->fitness && front[j].cost == point->cost);
        }
        int kept = 0;
        for (int j = 0; !beaten && j < *n; j++) {
            if (!nas__dominates(point, &front[j])) {
                front[kept++] = front[j];
            }
        }
        if (!beaten) {
            front[kept] = *point;
            *n = kept + 1;
        }
    }
    if (front) {
        qsort(front, (size_t)*n, sizeof *front, by_cost);
    }
    return front;
}

static json_t *member_json(const nas__trials *t, const nas__point *point) {
    const nas__trial *trial = t->done[point->index];
    char *architecture = nas_architecture_json(trial->architecture, false),
         *canonical = nas__canonical(nas__trainer_of(t->s), trial->architecture);
    bool latency = kinds[options_of(t)->cost] == NAS__COST_LATENCY;
    json_t *parsed = architecture ? json_loads(architecture, 0, NULL) : NULL;
    json_t *member =
        json_pack("{s:s, s:f, s:f, s:o}", "canonical", canonical ? canonical : "", t->s->config->metrics[0].name,
                  trial->metrics[0], latency ? "latency_ms" : nas__cost_name(kinds[options_of(t)->cost]),
                  latency ? point->cost / 1e3 : point->cost, "architecture", parsed);
    free(architecture);
    free(canonical);
    return member;
}

static nas_status write_front(const nas__trials *t, const nas__point *front, int n, int picked) {
    json_t *root = json_object(), *members = json_array();
    for (int i = 0; i < n; i++) {
        json_array_append_new(members, member_json(t, &front[i]));
    }
    json_object_set_new(root, "metric", json_string(t->s->config->metrics[0].name));
    json_object_set_new(root, "cost", json_string(nas__cost_name(kinds[options_of(t)->cost])));
    json_object_set_new(root, "picked", json_integer(picked));
    json_object_set_new(root, "front", members);
    char *text = json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(12));
    char *path = nas__join(t->s->config->run_dir, "pareto.json");
    nas_status status =
        text && path ? nas__write_file(path, text, strlen(text)) : nas__fail(NAS_NO_MEMORY, "no memory");
    json_decref(root);
    free(text);
    free(path);
    return status;
}

static nas_status conclude(nas_search *s) {
    nas__trials *t = s->memory;
    nas_status status = nas__trials_conclude(s);
    int n = 0;
    nas__point *front = status ? NULL : front_of(t, &n);
    if (front && n > 0) {
        /* beyond the limits nothing was proposed, so the fittest is the fittest within them, too */
        int picked = options_of(t)->pick == PICK_KNEE ? nas__pareto_knee(front, n) : n - 1;
        const nas__trial *trial = t->done[front[picked].index];
        status = nas__score_choose(nas__trainer_of(s), trial->architecture, trial->metrics[0]);
        status = status || !s->config->run_dir ? status : write_front(t, front, n, picked);
        nas_search_note(s, NAS_LOG_INFO, "front", "%d architectures that no other beats in both %s and %s", n,
                        s->config->metrics[0].name, nas__cost_name(kinds[options_of(t)->cost]));
    }
    free(front);
    return status ? status : nas_error_status();
}

static nas_status begin(nas_search *s) { return nas__trials_begin(s, &policy); }

const nas_strategy nas__strategy_nsga2 = {
    .name = "nsga2",
    .summary = "NSGA-II: the front of accuracy against multiply-adds, parameters or latency",
    .paper = "Deb, Pratap, Agarwal, Meyarivan: A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II, 2002",
    .options = options,
    .options_size = sizeof(nsga2_options),
    .state_size = sizeof(nas__trials),
    .begin = begin,
    .train_epochs = nas__trials_train_epochs,
    .step = nas__trials_step,
    .conclude = conclude,
    .conclude_share = nas__trials_conclude_share,
    .state = nas__trials_state,
    .end = nas__trials_end,
};
