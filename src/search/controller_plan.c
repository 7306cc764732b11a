/* controller_plan.c - in which order the controller visits the choices, what they share, and what input choices look
 * at. */
#include "core/error.h"
#include "core/memory.h"
#include "search/controller.h"
#include "space/space.h"

#include <stdlib.h>
#include <string.h>

/* --- nodes of a cell ------------------------------------------------------------------------------ */
static const nas_module *owner_of(const nas_space *space, int choice) {
    for (int i = 0; i < space->n_sites; i++) {
        if (space->sites[i].choice == choice && space->sites[i].mutable_) {
            return space->sites[i].mutable_->owner;
        }
    }
    return NULL;
}

/* The input choice before this one in the same module, when it offers one candidate less. */
static int previous_node(const nas_space *space, int choice) {
    const nas_choice *c = nas_space_choice(space, choice);
    for (int i = choice - 1; i >= 0 && c->kind == NAS_INPUT; i--) {
        const nas_choice *other = nas_space_choice(space, i);
        if (other->kind == NAS_INPUT && owner_of(space, i) == owner_of(space, choice)) {
            return other->n == c->n - 1 ? i : -1;
        }
    }
    return -1;
}

/* --- order ---------------------------------------------------------------------------------------- */
typedef struct plan {
    nas__controller *c;
    const nas_space *space;
    bool *entered;
    int *place; /* of a choice in the walk */
} plan;

static void visit(plan *p, int choice);

static void visit_what_comes_before(plan *p, int choice) {
    const nas_space *space = p->space;
    const nas__choice_entry *entry = &space->choices[choice];
    for (int i = 0; i < space->n_sites; i++) {
        if (space->sites[i].choice == choice && space->sites[i].parent >= 0) {
            visit(p, space->sites[space->sites[i].parent].choice);
        }
    }
    for (size_t i = 0; i < entry->n_edges; i++) {
        visit(p, entry->edges[i].input);
    }
    for (int k = 0; k < entry->public_.n && entry->public_.kind == NAS_INPUT && !entry->public_.edges; k++) {
        int named = nas_space_find(space, entry->public_.names[k]);
        if (named >= 0) {
            visit(p, named);
        }
    }
}

static void visit(plan *p, int choice) {
    if (p->entered[choice]) {
        return;
    }
    p->entered[choice] = true;
    visit_what_comes_before(p, choice);
    const nas_choice *c = nas_space_choice(p->space, choice);
    p->place[choice] = p->c->n_visits;
    p->c->visits[p->c->n_visits++] =
        (nas__visit){.choice = choice, .previous = previous_node(p->space, choice), .finishes = -1};
    for (int k = 0; c->edges && k < c->n; k++) {
        if (c->edges[k] >= 0) {
            visit(p, c->edges[k]);
        }
    }
    if (c->kind == NAS_INPUT) {
        p->c->visits[p->c->n_visits - 1].finishes = choice;
    }
}

/* --- vocabularies --------------------------------------------------------------------------------- */
static bool same_candidates(const nas_choice *a, const nas_choice *b) {
    bool same = a->kind == b->kind && a->n == b->n;
    for (int k = 0; same && k < a->n; k++) {
        same = strcmp(a->names[k], b->names[k]) == 0;
    }
    return same;
}

static int vocabulary_of(nas__controller *c, int choice) {
    for (int i = 0; i < c->n_vocabularies; i++) {
        if (same_candidates(nas_space_choice(c->space, choice),
                            nas_space_choice(c->space, c->vocabularies[i].choice))) {
            return i;
        }
    }
    c->vocabularies[c->n_vocabularies].choice = choice;
    return c->n_vocabularies++;
}

/* --- anchors -------------------------------------------------------------------------------------- */
/* The inputs of a cell are the same for all its nodes, so they have the vectors of the first node. */
static nas__anchor input_of_cell(const plan *p, const nas__visit *v, int row) {
    while (v->previous >= 0) {
        v = &p->c->visits[p->place[v->previous]];
    }
    return (nas__anchor){-1, v->vocabulary, row};
}

static nas__anchor anchor_of(const plan *p, const nas__visit *v, int candidate) {
    const nas_choice *choice = nas_space_choice(p->space, v->choice);
    int named = choice->edges ? -1 : nas_space_find(p->space, choice->names[candidate]);
    if (named >= 0 && p->place[named] < p->place[v->choice]) {
        return (nas__anchor){named, v->vocabulary, candidate};
    }
    int node = v->previous;
    for (int behind = choice->n - 1; node >= 0 && behind > candidate; behind--) {
        node = p->c->visits[p->place[node]].previous;
    }
    return node >= 0 ? (nas__anchor){node, v->vocabulary, candidate} : input_of_cell(p, v, candidate);
}

static nas_status find_anchors(plan *p) {
    for (int i = 0; i < p->c->n_visits; i++) {
        nas__visit *v = &p->c->visits[i];
        const nas_choice *choice = nas_space_choice(p->space, v->choice);
        v->anchors = choice->kind == NAS_INPUT ? nas__alloc((size_t)choice->n * sizeof *v->anchors) : NULL;
        for (int k = 0; v->anchors && k < choice->n; k++) {
            v->anchors[k] = anchor_of(p, v, k);
            if (v->anchors[k].choice >= 0) {
                p->c->visits[p->place[v->anchors[k].choice]].is_anchor = true;
            }
        }
    }
    return nas_error_status();
}

nas_status nas__controller_plan(nas__controller *c) {
    size_t n = (size_t)nas_space_size(c->space);
    plan p = {c, c->space, nas__alloc(n * sizeof *p.entered), nas__alloc(n * sizeof *p.place)};
    c->visits = nas__alloc(n * sizeof *c->visits);
    c->vocabularies = nas__alloc(n * sizeof *c->vocabularies);
    nas_status status = p.entered && p.place && c->visits && c->vocabularies ? NAS_OK : nas_error_status();
    for (size_t i = 0; !status && i < n; i++) {
        visit(&p, (int)i);
    }
    for (int i = 0; !status && i < c->n_visits; i++) {
        c->visits[i].vocabulary = vocabulary_of(c, c->visits[i].choice);
        c->most_tokens += nas_space_choice(c->space, c->visits[i].choice)->n;
    }
    status = status ? status : find_anchors(&p);
    free(p.entered);
    free(p.place);
    return status;
}
