/* architecture.c - a point of a space: which candidates each choice takes, and which choices matter. */
#include "space/space.h"

#include <stdlib.h>
#include <string.h>

/* --- reachability ------------------------------------------------------------------------------------ */
static bool edge_wanted(const nas__choice_entry *entry, const uint64_t *bits, const bool *choices) {
    for (size_t i = 0; i < entry->n_edges; i++) {
        const nas__edge *e = &entry->edges[i];
        if (choices[e->input] && (bits[e->input] >> e->candidate & 1)) {
            return true;
        }
    }
    return entry->n_edges == 0;
}

static bool behind_wanted(const nas_space *space, const nas__site *s, const uint64_t *bits, const bool *sites) {
    return s->behind < 0 || !s->mutable_ ||
           (sites[s->behind] && (bits[space->sites[s->behind].choice] & s->mutable_->behind_any));
}

static bool site_reached(const nas_space *space, const nas__site *s, const uint64_t *bits, const bool *sites,
                         const bool *choices) {
    bool nested = s->parent < 0 || (sites[s->parent] && (bits[space->sites[s->parent].choice] & s->parent_set));
    return nested && behind_wanted(space, s, bits, sites) && edge_wanted(&space->choices[s->choice], bits, choices);
}

/* The smallest set that satisfies the conditions: what is reached never stops being so, hence the loop ends. */
static void spread(const nas_space *space, const uint64_t *bits, bool *sites, bool *choices) {
    memset(sites, 0, (size_t)space->n_sites * sizeof *sites);
    memset(choices, 0, (size_t)space->n_choices * sizeof *choices);
    for (bool changed = true; changed;) {
        changed = false;
        for (int i = 0; i < space->n_sites; i++) {
            if (!sites[i] && site_reached(space, &space->sites[i], bits, sites, choices)) {
                sites[i] = choices[space->sites[i].choice] = changed = true;
            }
        }
    }
}

bool *nas__reachable(const nas_space *space, const uint64_t *bits) {
    bool *reached = nas__alloc((size_t)(space->n_choices + space->n_sites) * sizeof *reached);
    if (reached) {
        spread(space, bits, reached + space->n_choices, reached);
    }
    return reached;
}

bool nas_architecture_reaches(const nas_architecture *a, int choice) {
    bool *reached = choice >= 0 && choice < a->space->n_choices ? nas__reachable(a->space, a->bits) : NULL;
    bool answer = reached && reached[choice];
    free(reached);
    return answer;
}

/* --- making and changing ------------------------------------------------------------------------------- */
nas_architecture *nas_architecture_new(const nas_space *space) {
    nas_architecture *a = nas__alloc(sizeof *a + (size_t)space->n_choices * sizeof *a->bits);
    for (int i = 0; a && i < space->n_choices; i++) {
        a->bits[i] = nas__all_bits(space->choices[i].public_.n_min ? space->choices[i].public_.n_min : 1);
    }
    if (a) {
        a->space = space;
    }
    return a;
}

void nas_architecture_free(nas_architecture *a) { free(a); }

nas_architecture *nas_architecture_copy(const nas_architecture *a) {
    size_t size = sizeof *a + (size_t)a->space->n_choices * sizeof *a->bits;
    nas_architecture *copy = nas__alloc(size);
    return copy ? memcpy(copy, a, size) : NULL;
}

uint64_t nas_architecture_get(const nas_architecture *a, int choice) {
    return choice >= 0 && choice < a->space->n_choices ? a->bits[choice] : 0;
}

nas_status nas_architecture_set(nas_architecture *a, int choice, uint64_t candidates) {
    if (choice < 0 || choice >= a->space->n_choices) {
        return nas__fail(NAS_INVALID, "nas_architecture_set: there is no choice %d", choice);
    }
    if (nas__choice_accepts(&a->space->choices[choice].public_, candidates)) {
        return nas_error_status();
    }
    a->bits[choice] = candidates;
    return NAS_OK;
}

void nas_architecture_apply(const nas_architecture *a, nas_space *space) {
    for (int i = 0; i < space->n_choices && i < a->space->n_choices; i++) {
        space->choices[i].decision = (nas_decision){.run = a->bits[i], .part = space->choices[i].decision.part};
    }
}

/* --- comparing ----------------------------------------------------------------------------------------- */
bool nas_architecture_equal(const nas_architecture *a, const nas_architecture *b) {
    if (a->space != b->space && nas_space_hash(a->space) != nas_space_hash(b->space)) {
        return false;
    }
    bool *of_a = nas__reachable(a->space, a->bits), *of_b = nas__reachable(b->space, b->bits);
    bool equal = of_a && of_b;
    for (int i = 0; equal && i < a->space->n_choices; i++) {
        equal = of_a[i] == of_b[i] && (!of_a[i] || a->bits[i] == b->bits[i]);
    }
    free(of_a);
    free(of_b);
    return equal;
}

/* The finaliser of splitmix64: every input bit changes half of the output. */
static uint64_t scramble(uint64_t x) {
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

uint64_t nas_architecture_hash(const nas_architecture *a) {
    uint64_t hash = nas_space_hash(a->space);
    bool *reached = nas__reachable(a->space, a->bits);
    for (int i = 0; reached && i < a->space->n_choices; i++) {
        if (reached[i]) {
            hash = scramble(scramble(hash + (uint64_t)i + 0x9e3779b97f4a7c15u) ^ a->bits[i]);
        }
    }
    free(reached);
    return hash;
}
