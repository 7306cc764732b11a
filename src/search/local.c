/* local.c - local search (White, Nolen and Savani, UAI 2021): from the best of some random architectures to the first
 * better neighbour, or to the best of all neighbours, until none is better; then from new random ones. */
#include "search/trials.h"
#include "space/space.h"

#include <math.h>
#include <stdlib.h>

typedef struct local_options {
    nas__trial_options trial;
    int starts;
    bool whole_neighbourhood;
} local_options;

#define ROW(field, type, ...)                                                                                          \
    { #field, type, offsetof(local_options, field), __VA_ARGS__ }
static const nas_option options[] = {
    ROW(starts, NAS_OPTION_INT, "10", 1, 100000, NULL, "random architectures that a climb chooses its start from"),
    ROW(whole_neighbourhood, NAS_OPTION_BOOL, "0", 0, 0, NULL,
        "try all neighbours and go to the best, instead of going to the first better one"),
    NAS__TRIAL_OPTION_ROWS(local_options, "standalone"),
    {0},
};

/* A neighbour of the present place: another set of one choice. */
typedef struct edit {
    int choice;
    uint64_t set;
} edit;

typedef struct local {
    int starts;              /* random ones of this climb so far */
    const nas__trial *place; /* NULL: before the climb */
    const nas__trial *best;  /* of this climb's starts, or of the neighbours tried */
    edit *edits;             /* of the place, shuffled */
    size_t n_edits, next;
} local;

static const local_options *options_of(const nas__trials *t) { return nas__trials_options(t); }

/* All edits of the place, in an order of its own. */
static void look_around(nas__trials *t, local *l) {
    const nas_architecture *a = l->place->architecture;
    bool *reached = nas__reachable(a->space, a->bits);
    l->n_edits = l->next = 0;
    for (int i = 0; reached && i < a->space->n_choices; i++) {
        const nas_choice *c = &a->space->choices[i].public_;
        for (edit e = {.choice = i}; reached[i] && nas__choice_neighbour(c, a->bits[i], (int)l->next, &e.set);
             l->next++) {
            if (!nas__grow(&l->edits, l->n_edits, sizeof *l->edits)) {
                break;
            }
            l->edits[l->n_edits++] = e;
        }
        l->next = 0;
    }
    free(reached);
    nas_rng rng = nas_rng_new(t->s->config->seed, (uint64_t)l->place->index ^ 0x10ca1);
    for (size_t i = l->n_edits; i > 1; i--) {
        size_t j = nas_rng_below(&rng, (uint32_t)i);
        edit e = l->edits[i - 1];
        l->edits[i - 1] = l->edits[j];
        l->edits[j] = e;
    }
}

static void move_to(nas__trials *t, local *l, const nas__trial *place) {
    l->place = place;
    l->best = NULL;
    look_around(t, l);
}

/* What is known already is passed over: it was no improvement when it was found, or it is the way that we came. */
static bool known(const nas__trials *t, const local *l, edit e) {
    nas_architecture *a = nas_architecture_copy(l->place->architecture);
    bool found = true;
    if (a) {
        a->bits[e.choice] = e.set;
        found = nas__trials_begun(t, nas_architecture_hash(a), 1);
    }
    nas_architecture_free(a);
    return found;
}

static void start_anew(local *l) {
    l->place = l->best = NULL;
    l->starts = 0;
}

/* Moves on until there is something to try: to a better neighbour, past known ones, or away from a peak. False: what is
 * open decides. */
static bool settle(nas__trials *t, local *l) {
    while (l->place) {
        while (l->next < l->n_edits && known(t, l, l->edits[l->next])) {
            l->next++;
        }
        if (l->next < l->n_edits || t->n_open > 0) {
            return l->next < l->n_edits;
        }
        if (l->best && l->best->fitness > l->place->fitness) {
            move_to(t, l, l->best);
        } else {
            start_anew(l);
        }
    }
    return l->starts + (int)t->n_open < options_of(t)->starts;
}

static nas__proposal propose(nas__trials *t, nas_rng *rng, nas__trial *trial) {
    local *l = t->memory;
    if (!settle(t, l)) {
        return NAS__WAIT;
    }
    if (!l->place) {
        nas__trials_new(t, rng, trial->architecture);
        return NAS__PROPOSED;
    }
    nas__architecture_assign(trial->architecture, l->place->architecture);
    trial->architecture->bits[l->edits[l->next].choice] = l->edits[l->next].set;
    l->next++; /* one beyond the limits is not tried again */
    return NAS__PROPOSED;
}

static void observe(nas__trials *t, const nas__trial *trial) {
    local *l = t->memory;
    l->best = !l->best || trial->fitness > l->best->fitness ? trial : l->best;
    if (!l->place) {
        if (++l->starts >= options_of(t)->starts) {
            move_to(t, l, l->best);
        }
    } else if (!options_of(t)->whole_neighbourhood && trial->fitness > l->place->fitness) {
        move_to(t, l, trial);
    }
}

static void end_policy(nas__trials *t) { free(((local *)t->memory)->edits); }

static size_t beginning(const nas__trials *t) { return (size_t)options_of(t)->starts; }

static const nas__policy policy = {.memory_size = sizeof(local),
                                   .beginning = beginning,
                                   .fresh_only = true,
                                   .propose = propose,
                                   .observe = observe,
                                   .end = end_policy};

static nas_status begin(nas_search *s) { return nas__trials_begin(s, &policy); }

const nas_strategy nas__strategy_local = {
    .name = "local",
    .summary = "local search: to a better neighbour until there is none, then from new random starts",
    .paper = "White, Nolen, Savani: Exploring the Loss Landscape in Neural Architecture Search, UAI 2021",
    .options = options,
    .options_size = sizeof(local_options),
    .state_size = sizeof(nas__trials),
    .begin = begin,
    NAS__TRIAL_STRATEGY,
};
