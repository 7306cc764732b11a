/* controller_plan.c - in which order the controller visits the choices, what they share, and what input choices look
 * at. */
#include "core/error.h"
#include "core/memory.h"
#include "nn/module.h"
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

static bool is_free(const nas_choice *c) { return c->kind == NAS_INPUT && c->n_min < c->n_max; }

/* Of one module; or of modules side by side, as layers with skips of a free number are. */
static bool in_one_row(const nas_space *space, int a, int b) {
    const nas_module *first = owner_of(space, a), *second = owner_of(space, b);
    bool free_ = is_free(nas_space_choice(space, a)) && is_free(nas_space_choice(space, b));
    return first == second ||
           (free_ && first && second && first->state->parent && first->state->parent == second->state->parent);
}

/* Input choices of one module with equal numbers of candidates, and no edges: the terms of one node. */
static bool of_one_node(const nas_space *space, int a, int b) {
    const nas_choice *x = nas_space_choice(space, a), *y = nas_space_choice(space, b);
    return x->kind == NAS_INPUT && y->kind == NAS_INPUT && x->n == y->n && !x->edges && !y->edges && !is_free(x) &&
           !is_free(y) && owner_of(space, a) == owner_of(space, b);
}

/* The last input choice of the node before this one in its row: it offers one candidate less. */
static int previous_node(const nas_space *space, int choice) {
    const nas_choice *c = nas_space_choice(space, choice);
    for (int i = choice - 1; i >= 0 && c->kind == NAS_INPUT; i--) {
        const nas_choice *other = nas_space_choice(space, i);
        if (other->kind == NAS_INPUT && in_one_row(space, i, choice) && !of_one_node(space, i, choice)) {
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
    for (int i = 0; i < space->n_sites; i++) {
        if (space->sites[i].choice == choice && space->sites[i].behind >= 0) {
            visit(p, space->sites[space->sites[i].behind].choice);
        }
    }
    for (int k = 0; k < entry->public_.n && entry->public_.kind == NAS_INPUT && !entry->public_.edges; k++) {
        int named = nas_space_find(space, entry->public_.names[k]);
        if (named >= 0) {
            visit(p, named);
        }
    }
}

static void visit_operations_behind(plan *p, int input) {
    const nas_space *space = p->space;
    for (int i = 0; i < space->n_sites; i++) {
        int behind = space->sites[i].behind;
        if (behind >= 0 && space->sites[behind].choice == input) {
            visit(p, space->sites[i].choice);
        }
    }
}

static void add_visit(plan *p, int choice) {
    p->entered[choice] = true;
    visit_what_comes_before(p, choice);
    p->place[choice] = p->c->n_visits;
    p->c->visits[p->c->n_visits++] =
        (nas__visit){.choice = choice, .previous = previous_node(p->space, choice), .finishes = -1};
}

/* All inputs of a node, then its operations. */
static void visit_terms(plan *p, int first) {
    int last = first;
    for (int i = first + 1; i < nas_space_size(p->space); i++) {
        if (!p->entered[i] && of_one_node(p->space, first, i)) {
            add_visit(p, i);
            last = i;
        }
    }
    for (int i = first; i <= last; i++) {
        if (i == first || of_one_node(p->space, first, i)) {
            visit_operations_behind(p, i);
        }
    }
    p->c->visits[p->c->n_visits - 1].finishes = last;
}

static void visit(plan *p, int choice) {
    if (p->entered[choice]) {
        return;
    }
    add_visit(p, choice);
    const nas_choice *c = nas_space_choice(p->space, choice);
    for (int k = 0; c->edges && k < c->n; k++) {
        if (c->edges[k] >= 0) {
            visit(p, c->edges[k]);
        }
    }
    if (c->kind == NAS_INPUT) {
        visit_terms(p, choice);
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
    bool own = c->config.own_words && nas_space_choice(c->space, choice)->kind != NAS_INPUT;
    for (int i = 0; !own && i < c->n_vocabularies; i++) {
        if (same_candidates(nas_space_choice(c->space, choice),
                            nas_space_choice(c->space, c->vocabularies[i].choice))) {
            return i;
        }
    }
    c->vocabularies[c->n_vocabularies].choice = choice;
    return c->n_vocabularies++;
}

/* --- anchors -------------------------------------------------------------------------------------- */
/* The first input choice of the node's row. */
static const nas__visit *root_of(const plan *p, const nas__visit *v) {
    while (v->previous >= 0) {
        v = &p->c->visits[p->place[v->previous]];
    }
    while (v > p->c->visits && of_one_node(p->space, v[-1].choice, v->choice)) {
        v--;
    }
    return v;
}

/* The inputs of a row are the same for all its nodes; the walk makes a state for each before the first node. Free skips
 * are decided behind their layer's operation, and the layer before the first of them has none: its step comes then. */
static nas__anchor input_of_row(plan *p, const nas__visit *v, int row) {
    const nas__visit *root = root_of(p, v);
    const nas_choice *first = nas_space_choice(p->space, root->choice);
    bool is_alone = root == v;
    for (int i = 0; is_alone && i < p->c->n_visits; i++) {
        is_alone = p->c->visits[i].previous < 0 || root_of(p, &p->c->visits[i]) != root;
    }
    if (is_alone) {
        return (nas__anchor){-1, v->vocabulary, row};
    }
    nas__visit *before = &p->c->visits[root - p->c->visits];
    before -= is_free(first) && before > p->c->visits ? 1 : 0;
    if (!before->n_inputs) {
        before->n_inputs = first->n;
        before->first_input = nas_space_size(p->space) + p->c->n_row_inputs;
        before->starts_anew = !is_free(first);
        p->c->n_row_inputs += first->n;
    }
    return (nas__anchor){before->first_input + row, v->vocabulary, row};
}

static nas__anchor anchor_of(plan *p, const nas__visit *v, int candidate) {
    const nas_choice *choice = nas_space_choice(p->space, v->choice);
    int named = choice->edges ? -1 : nas_space_find(p->space, choice->names[candidate]);
    if (named >= 0 && p->place[named] < p->place[v->choice]) {
        return (nas__anchor){named, v->vocabulary, candidate};
    }
    int node = v->previous;
    for (int behind = choice->n - 1; node >= 0 && behind > candidate; behind--) {
        node = p->c->visits[p->place[node]].previous;
    }
    return node >= 0 ? (nas__anchor){node, v->vocabulary, candidate} : input_of_row(p, v, candidate);
}

static nas_status find_anchors(plan *p) {
    for (int i = 0; i < p->c->n_visits; i++) {
        nas__visit *v = &p->c->visits[i];
        const nas_choice *choice = nas_space_choice(p->space, v->choice);
        v->anchors = choice->kind == NAS_INPUT ? nas__alloc((size_t)choice->n * sizeof *v->anchors) : NULL;
        for (int k = 0; v->anchors && k < choice->n; k++) {
            v->anchors[k] = anchor_of(p, v, k);
            int state = v->anchors[k].choice;
            if (state >= 0 && state < nas_space_size(p->space)) {
                p->c->visits[p->place[state]].is_anchor = true;
            }
            p->c->vocabularies[v->vocabulary].learned |= state < 0;
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
