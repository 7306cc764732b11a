/* space.c - collects the mutables of a model into choices by key, and puts decisions in force. */
#include "space/space.h"

#include "nn/module.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- candidates of one choice ---------------------------------------------------------------------- */
int nas__choice_candidate(const nas_choice *c, const char *name) {
    for (int i = 0; i < c->n; i++) {
        if (strcmp(c->names[i], name) == 0) {
            return i;
        }
    }
    return -1;
}

const char *nas__candidate_list(const nas_choice *c, char *text, size_t size) {
    size_t used = 0;
    text[0] = 0;
    for (int i = 0; i < c->n; i++) {
        size_t length = strlen(c->names[i]) + 2;
        if (used + length + 8 > size) {
            snprintf(text + used, size - used, ", ...");
            break;
        }
        used += (size_t)snprintf(text + used, size - used, "%s%s", i ? ", " : "", c->names[i]);
    }
    return text;
}

nas_status nas__choice_accepts(const nas_choice *c, uint64_t candidates) {
    int count = nas__bit_count(candidates);
    if (candidates & ~nas__all_bits(c->n)) {
        return nas__fail(NAS_INVALID, "choice \"%s\": candidate %d is out of range; there are %d", c->key,
                         63 - __builtin_clzll(candidates), c->n);
    }
    if (count < c->n_min || count > c->n_max) {
        char range[48] = "exactly";
        if (c->n_min != c->n_max) {
            snprintf(range, sizeof range, "%d to", c->n_min);
        }
        return nas__fail(NAS_INVALID, "choice \"%s\": %d candidates are chosen, but it takes %s %d", c->key, count,
                         range, c->n_max);
    }
    return NAS_OK;
}

/* --- collecting ------------------------------------------------------------------------------------ */
static int find(const nas_space *space, const char *key) {
    for (int i = 0; i < space->n_choices; i++) {
        if (strcmp(space->choices[i].public_.key, key) == 0) {
            return i;
        }
    }
    return -1;
}

static nas_status same_candidates(const nas_choice *c, const nas_mutable *m) {
    bool same = c->kind == m->kind && c->n == m->n && c->n_min == m->n_min && c->n_max == m->n_max &&
                c->superkernel == m->superkernel;
    for (int i = 0; same && i < c->n; i++) {
        same = strcmp(c->names[i], m->names[i]) == 0;
    }
    return same ? NAS_OK
                : nas__fail(NAS_INVALID,
                            "choice \"%s\": \"%s\" has other candidates (or counts) than an earlier choice with this "
                            "key; equal keys "
                            "share one decision, so they must agree",
                            c->key, nas_module_path(m->owner));
}

static nas_status add_choice(nas_space *space, const nas_mutable *m, const char *key) {
    if (!nas__grow(&space->choices, (size_t)space->n_choices, sizeof *space->choices)) {
        return nas_error_status();
    }
    nas__choice_entry *entry = &space->choices[space->n_choices];
    char **names = nas__alloc((size_t)m->n * sizeof *names);
    *entry = (nas__choice_entry){.public_ = {.key = nas__strdup(key),
                                             .kind = m->kind,
                                             .n = m->n,
                                             .names = (const char *const *)names,
                                             .n_min = m->n_min,
                                             .n_max = m->n_max,
                                             .reduce = m->reduce,
                                             .parent = -1,
                                             .parent_candidate = -1,
                                             .superkernel = m->superkernel},
                                 .decision = m->own};
    space->n_choices++;
    bool complete = names && entry->public_.key;
    for (int i = 0; complete && i < m->n; i++) {
        names[i] = nas__strdup(m->names[i]);
        complete = names[i] != NULL;
    }
    return complete ? NAS_OK : NAS_NO_MEMORY;
}

/* Derived keys are meant for one place each: two that coincide are an accident, not a wish to share. */
static nas_status check_derived(const nas_space *space, int choice, const nas_mutable *m) {
    for (int i = 0; i < space->n_sites; i++) {
        const nas_mutable *other = space->sites[i].mutable_;
        if (space->sites[i].choice == choice && (!m->key || !other->key)) {
            return nas__fail(
                NAS_INVALID,
                "choice \"%s\": two choices have this key, and one of them only because it was given none; give it one",
                space->choices[choice].public_.key);
        }
    }
    return NAS_OK;
}

/* Where a module stands: in a child of the layer choice of a site. */
typedef struct place {
    int parent, child;
    uint64_t set;
} place;

static nas_status enter(nas_space *space, nas_mutable *m, const place *at) {
    if (m->space) {
        return nas__fail(NAS_USAGE, "the model belongs to another space already (of a trainer?); free that one first");
    }
    char *key = nas__mutable_key(m);
    if (!key || !*key) {
        free(key);
        return nas__fail(NAS_INVALID, "a choice at the root of the model needs a key");
    }
    int choice = find(space, key);
    nas_status status = choice < 0 ? add_choice(space, m, key) : same_candidates(&space->choices[choice].public_, m);
    status = status || choice < 0 ? status : check_derived(space, choice, m);
    choice = choice < 0 ? space->n_choices - 1 : choice;
    free(key);
    if (status || !nas__grow(&space->sites, (size_t)space->n_sites, sizeof *space->sites)) {
        return status ? status : NAS_NO_MEMORY;
    }
    space->choices[choice].concat |= m->kind == NAS_INPUT && m->reduce == NAS_CONCAT;
    m->space = space;
    m->site = space->n_sites;
    space->sites[space->n_sites++] =
        (nas__site){m, choice, at->parent, at->child, at->set, m->behind ? m->behind->site : -1};
    return NAS_OK;
}

static nas_status collect(nas_space *space, nas_module *module, const place *at) {
    nas_mutable *m, *layer = nas__layer_mutable(module);
    layer = layer && !layer->fixed ? layer : NULL;
    nas_status status = layer ? enter(space, layer, at) : NAS_OK;
    const int site = space->n_sites - 1;
    for (size_t i = 0; !status && (m = nas__attached_mutable(module, i)); i++) {
        status = m->fixed ? NAS_OK : enter(space, m, at);
    }
    size_t n;
    nas_module *const *children = nas__module_children(module, &n);
    for (size_t i = 0; !status && i < n; i++) {
        const place inside = layer ? (place){site, (int)i, nas__child_candidates(layer, (int)i)} : *at;
        status = collect(space, children[i], &inside);
    }
    return status;
}

/* --- links between choices --------------------------------------------------------------------------- */
static nas_status add_edge(nas_space *space, int input, int candidate, int layer) {
    nas__choice_entry *entry = &space->choices[layer];
    for (size_t i = 0; i < entry->n_edges; i++) {
        if (entry->edges[i].input == input && entry->edges[i].candidate == candidate) {
            return NAS_OK;
        }
    }
    if (!nas__grow(&entry->edges, entry->n_edges, sizeof *entry->edges)) {
        return nas_error_status();
    }
    entry->edges[entry->n_edges++] = (nas__edge){input, candidate};
    return NAS_OK;
}

static nas_status link_edges(nas_space *space, int input, const nas_mutable *m) {
    nas_choice *c = &space->choices[input].public_;
    int *edges = c->edges ? (int *)c->edges : nas__alloc((size_t)c->n * sizeof *edges);
    if (!edges) {
        return nas_error_status();
    }
    for (int i = 0; i < c->n; i++) {
        int layer = m->edges[i] ? find(space, m->edges[i]) : -1;
        if (m->edges[i] && (layer < 0 || space->choices[layer].public_.kind != NAS_LAYER)) {
            c->edges = edges;
            return nas__fail(NAS_NOT_FOUND,
                             "input choice \"%s\": the edge of candidate \"%s\" is layer choice \"%s\", which the "
                             "model does not have",
                             c->key, c->names[i], m->edges[i]);
        }
        edges[i] = !c->edges || layer >= 0 ? layer : edges[i];
    }
    c->edges = edges;
    nas_status status = NAS_OK;
    for (int i = 0; !status && i < c->n; i++) {
        status = edges[i] >= 0 ? add_edge(space, input, i, edges[i]) : NAS_OK;
    }
    return status;
}

/* A choice is nested for the public when all its places are; reachability goes by the places themselves. */
static void link_parents(nas_space *space) {
    for (int i = space->n_sites - 1; i >= 0; i--) {
        nas__site *s = &space->sites[i];
        nas_choice *c = &space->choices[s->choice].public_;
        c->parent = s->parent < 0 ? -1 : space->sites[s->parent].choice;
        c->parent_candidate = s->parent < 0 ? -1 : __builtin_ctzll(s->parent_set);
        c->parent_set = s->parent_set;
    }
    for (int i = 0; i < space->n_sites; i++) {
        if (space->sites[i].parent < 0) {
            nas_choice *c = &space->choices[space->sites[i].choice].public_;
            c->parent = c->parent_candidate = -1;
            c->parent_set = 0;
        }
    }
}

static nas_status link_choices(nas_space *space) {
    space->view = nas__alloc((size_t)space->n_choices * sizeof *space->view);
    if (!space->view) {
        return nas_error_status();
    }
    link_parents(space);
    for (int i = 0; i < space->n_choices; i++) {
        space->view[i] = &space->choices[i].public_;
    }
    for (int i = 0; i < space->n_sites; i++) {
        nas_mutable *m = space->sites[i].mutable_;
        m->decision = &space->choices[space->sites[i].choice].decision;
        if (m->edges && link_edges(space, space->sites[i].choice, m)) {
            return nas_error_status();
        }
    }
    return NAS_OK;
}

/* --- the public face ----------------------------------------------------------------------------------- */
nas_space *nas_space_new(nas_module *model) {
    if (!model) {
        return nas__fail_null(NAS_INVALID, "nas_space_new: the model is NULL");
    }
    nas_space *space = nas__alloc(sizeof *space);
    if (!space) {
        return NULL;
    }
    space->model = model;
    nas_status status = collect(space, model, &(place){-1, -1, 0});
    if (!status && !space->n_choices) {
        status = nas__fail(NAS_UNSUPPORTED,
                           "the model has no choices: it was fixed already, or has no layer, input or value choice");
    }
    if (status || link_choices(space)) {
        nas_space_free(space);
        return NULL;
    }
    return space;
}

static void free_choice(nas__choice_entry *entry) {
    for (int i = 0; entry->public_.names && i < entry->public_.n; i++) {
        free((char *)entry->public_.names[i]);
    }
    free((void *)entry->public_.names);
    free((void *)entry->public_.edges);
    free((char *)entry->public_.key);
    free(entry->edges);
}

void nas_space_free(nas_space *space) {
    if (!space) {
        return;
    }
    for (int i = 0; i < space->n_sites; i++) {
        nas_mutable *m = space->sites[i].mutable_;
        if (m) {
            m->space = NULL;
            m->decision = &m->own;
        }
    }
    for (int i = 0; i < space->n_choices; i++) {
        free_choice(&space->choices[i]);
    }
    free(space->choices);
    free(space->view);
    free(space->sites);
    free(space);
}

int nas_space_size(const nas_space *space) { return space->n_choices; }

const nas_choice *nas_space_choice(const nas_space *space, int i) {
    return i >= 0 && i < space->n_choices ? space->view[i]
                                          : nas__fail_null(NAS_INVALID, "nas_space_choice: there is no choice %d", i);
}

int nas_space_find(const nas_space *space, const char *key) { return find(space, key); }

static nas_status check_weighting(const nas__choice_entry *entry, nas_decision decision) {
    const nas_choice *c = &entry->public_;
    if (c->kind == NAS_VALUE || entry->concat || c->superkernel) {
        return nas__fail(NAS_UNSUPPORTED, "choice \"%s\": %s cannot be weighted; use a strategy that samples", c->key,
                         entry->concat    ? "a concatenation"
                         : c->superkernel ? "parts of a superkernel"
                                          : "values");
    }
    if (nas_tensor_count(decision.weights) != c->n || !decision.run || decision.run & ~nas__all_bits(c->n)) {
        return nas__fail(NAS_INVALID, "choice \"%s\": the weighting does not fit its %d candidates", c->key, c->n);
    }
    return NAS_OK;
}

/* A search may add up more than an architecture may choose; what is read or concatenated has to have its count. */
static nas_status check_set(const nas__choice_entry *entry, uint64_t run) {
    const nas_choice *c = &entry->public_;
    if (c->kind == NAS_VALUE || entry->concat || run & ~nas__all_bits(c->n)) {
        return nas__choice_accepts(c, run);
    }
    return run || c->kind == NAS_INPUT ? NAS_OK
                                       : nas__fail(NAS_INVALID, "choice \"%s\": no candidate is to run", c->key);
}

/* Every place would have norms, and so indicators, of its own. */
static nas_status check_thresholds(const nas_space *space, int choice, nas_decision decision) {
    const nas_choice *c = &space->choices[choice].public_;
    int places = 0;
    for (int i = 0; i < space->n_sites; i++) {
        places += space->sites[i].choice == choice;
    }
    if (!c->superkernel || places != 1 || decision.weights ||
        nas_tensor_count(decision.thresholds->values) != NAS_SUPERKERNEL_THRESHOLDS) {
        return nas__fail(NAS_INVALID,
                         "choice \"%s\": thresholds decide a superkernel that stands at one place, three of them and "
                         "without weights",
                         c->key);
    }
    return NAS_OK;
}

/* How candidates are run: for layer choices alone. */
static nas_status check_execution(const nas_choice *c, nas_decision decision) {
    bool given = decision.part > 1 || decision.skip_dropout > 0;
    bool fits = decision.part >= 0 && decision.skip_dropout >= 0 && decision.skip_dropout < 1;
    return fits && (!given || c->kind == NAS_LAYER)
               ? NAS_OK
               : nas__fail(NAS_INVALID, "choice \"%s\": .part %d and .skip_dropout %g do not fit it", c->key,
                           decision.part, (double)decision.skip_dropout);
}

nas_status nas_decide(nas_space *space, int choice, nas_decision decision) {
    if (choice < 0 || choice >= space->n_choices) {
        return nas__fail(NAS_INVALID, "nas_decide: there is no choice %d", choice);
    }
    nas__choice_entry *entry = &space->choices[choice];
    nas_status status = check_execution(&entry->public_, decision);
    status = status                ? status
             : decision.thresholds ? check_thresholds(space, choice, decision)
             : decision.weights    ? check_weighting(entry, decision)
                                   : check_set(entry, decision.run);
    if (!status) {
        entry->decision = decision;
        entry->indicators = NULL;
    }
    return status;
}

nas_status nas__decide_paths(nas_space *space, int choice, uint64_t run) {
    nas__choice_entry *entry = &space->choices[choice];
    if (run || entry->public_.kind != NAS_LAYER) {
        return nas_decide(space, choice, (nas_decision){.run = run});
    }
    entry->decision = (nas_decision){0};
    entry->indicators = NULL;
    return NAS_OK;
}

nas_decision nas_decision_of(const nas_space *space, int choice) {
    return choice >= 0 && choice < space->n_choices ? space->choices[choice].decision : (nas_decision){0};
}

/* --- numbers about a space --------------------------------------------------------------------------- */
static uint64_t hash_bytes(uint64_t hash, const void *data, size_t size) { /* FNV-1a */
    for (size_t i = 0; i < size; i++) {
        hash = (hash ^ ((const unsigned char *)data)[i]) * 0x100000001b3u;
    }
    return hash;
}

uint64_t nas_space_hash(const nas_space *space) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (int i = 0; i < space->n_choices; i++) {
        const nas_choice *c = &space->choices[i].public_;
        const unsigned char numbers[4] = {(unsigned char)c->kind, (unsigned char)c->n, (unsigned char)c->n_min,
                                          (unsigned char)c->n_max};
        hash = hash_bytes(hash, c->key, strlen(c->key) + 1);
        hash = hash_bytes(hash, numbers, sizeof numbers);
        for (int j = 0; j < c->n; j++) {
            hash = hash_bytes(hash, c->names[j], strlen(c->names[j]) + 1);
        }
    }
    return hash;
}

double nas_space_log10_size(const nas_space *space) {
    double sum = 0;
    for (int i = 0; i < space->n_choices; i++) {
        const nas_choice *c = &space->choices[i].public_;
        double sets = 0, binomial = 1; /* n choose k */
        for (int k = 0; k <= c->n_max; k++) {
            sets += k >= c->n_min ? binomial : 0;
            binomial = binomial * (c->n - k) / (k + 1);
        }
        sum += log10(sets);
    }
    return sum;
}
