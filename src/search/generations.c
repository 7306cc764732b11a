/* generations.c - see generations.h. Nothing is judged twice, nor beyond the limits: the loop of trials draws such a
 * proposal anew, which counts as a try. */
#include "search/generations.h"
#include "space/space.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Mutants, or children, of a generation are given up after so many tries for each. */
enum { TRIES = 10, RANDOM_TRIES = 500 };

typedef enum origin { MUTANT, CHILD, RANDOM } origin;

typedef struct memory {
    int64_t generation;     /* that is being filled; -1: none yet */
    int64_t made, of[3];    /* of it: all, and by origin */
    int64_t tries[3];       /* of it, of mutants and children; of random ones: since the last that counted */
    origin last;            /* of what was proposed last */
    size_t *parents, n_top; /* indices of trials */
} memory;

static const nas__generations *options_of(const nas__trials *t) {
    return &((const nas__generations_options *)nas__trials_options(t))->search;
}

/* --- parents ----------------------------------------------------------------------------------------------------- */
/* Of equal ones the earlier. */
static void insert(const nas__trials *t, memory *m, size_t trial, size_t most) {
    size_t at = m->n_top;
    while (at > 0 && t->done[m->parents[at - 1]]->fitness < t->done[trial]->fitness) {
        at--;
    }
    if (at == most) {
        return;
    }
    size_t kept = m->n_top < most ? m->n_top : most - 1;
    memmove(m->parents + at + 1, m->parents + at, (kept - at) * sizeof *m->parents);
    m->parents[at] = trial;
    m->n_top = kept + 1;
}

static void choose_parents(const nas__trials *t, memory *m) {
    m->n_top = 0;
    for (size_t i = 0; i < t->n_done; i++) {
        if (t->done[i]->fitness > -INFINITY) {
            insert(t, m, i, (size_t)options_of(t)->top);
        }
    }
}

static const nas_architecture *parent(const nas__trials *t, const memory *m, nas_rng *rng) {
    return t->done[m->parents[nas_rng_below(rng, (uint32_t)m->n_top)]]->architecture;
}

/* --- offspring --------------------------------------------------------------------------------------------------- */
static void mutate(const nas__trials *t, const memory *m, nas_rng *rng, nas_architecture *a) {
    nas__architecture_assign(a, parent(t, m, rng));
    nas__architecture_redraw(a, options_of(t)->mutation, rng);
}

static void cross(const nas__trials *t, const memory *m, nas_rng *rng, nas_architecture *a) {
    nas__architecture_assign(a, parent(t, m, rng));
    nas__architecture_cross(a, parent(t, m, rng), rng);
}

/* Where limits leave so little that random draws miss it, ever fewer choices are changed of one that meets them. */
static void draw(const nas__trials *t, int64_t tries, nas_rng *rng, nas_architecture *a) {
    const nas_architecture *meets = nas__trainer_of(t->s)->limits.meets;
    double keep = 1 - pow(0.5, (double)(tries / RANDOM_TRIES));
    nas__trials_new(t, rng, a);
    for (int i = 0; meets && keep > 0 && i < a->space->n_choices; i++) {
        a->bits[i] = nas_rng_uniform(rng) < keep ? meets->bits[i] : a->bits[i];
    }
}

/* --- the policy -------------------------------------------------------------------------------------------------- */
int64_t nas__generations_trials(const nas__trials *t) {
    return (int64_t)options_of(t)->population * (options_of(t)->generations + 1);
}

static nas_status begin(nas__trials *t) {
    memory *m = t->memory;
    m->generation = -1;
    m->parents = nas__alloc(((size_t)options_of(t)->top + 1) * sizeof *m->parents);
    return m->parents ? NAS_OK : nas_error_status();
}

static void end(nas__trials *t) { free(((memory *)t->memory)->parents); }

static void begin_generation(const nas__trials *t, memory *m) {
    m->generation++;
    m->made = 0;
    memset(m->of, 0, sizeof m->of);
    memset(m->tries, 0, sizeof m->tries);
    choose_parents(t, m);
}

static origin next_origin(const nas__trials *t, const memory *m) {
    const nas__generations *o = options_of(t);
    const int wanted[] = {o->mutants, o->children};
    for (origin k = MUTANT; k <= CHILD; k++) {
        if (m->n_top > 0 && m->of[k] < wanted[k] && m->tries[k] < (int64_t)TRIES * wanted[k]) {
            return k;
        }
    }
    return RANDOM;
}

static nas__proposal propose(nas__trials *t, nas_rng *rng, nas__trial *trial) {
    memory *m = t->memory;
    if (m->generation < 0 || m->made == options_of(t)->population) {
        if (t->n_open > 0) {
            return NAS__WAIT; /* parents are chosen among all */
        }
        if (m->generation == options_of(t)->generations) {
            return NAS__EXHAUSTED;
        }
        begin_generation(t, m);
    }
    m->last = next_origin(t, m);
    if (m->last == MUTANT) {
        mutate(t, m, rng, trial->architecture);
    } else if (m->last == CHILD) {
        cross(t, m, rng, trial->architecture);
    } else {
        draw(t, m->tries[RANDOM], rng, trial->architecture);
    }
    m->tries[m->last]++;
    return NAS__PROPOSED;
}

static void accept(nas__trials *t, const nas__trial *trial) {
    memory *m = t->memory;
    (void)trial;
    m->made++;
    m->of[m->last]++;
    m->tries[RANDOM] = 0;
}

static size_t beginning(const nas__trials *t) { return (size_t)options_of(t)->population; }

const nas__policy nas__generations_policy = {
    .beginning = beginning,
    .memory_size = sizeof(memory),
    .fresh_only = true,
    .ahead = NAS__FAR_AHEAD,
    .begin = begin,
    .propose = propose,
    .accept = accept,
    .end = end,
    .trials = nas__generations_trials,
};

static nas__proposal propose_random(nas__trials *t, nas_rng *rng, nas__trial *trial) {
    int64_t *tries = t->memory;
    draw(t, (*tries)++, rng, trial->architecture);
    return NAS__PROPOSED;
}

static void accept_random(nas__trials *t, const nas__trial *trial) {
    (void)trial;
    *(int64_t *)t->memory = 0;
}

const nas__policy nas__random_generations_policy = {
    .memory_size = sizeof(int64_t),
    .fresh_only = true,
    .ahead = NAS__FAR_AHEAD,
    .propose = propose_random,
    .accept = accept_random,
    .trials = nas__generations_trials,
};
