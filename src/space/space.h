/* space.h - the inside of mutables, spaces and architectures.
 *
 * A mutable is one place in a model; a choice is one key, with a decision that all its mutables execute. A mutable that
 * is in no space executes its own decision: the first candidates, or, once fixed, the architecture's. */
#ifndef SPACE_SPACE_H
#define SPACE_SPACE_H

#include <espalier/space.h>

#include "core/error.h"
#include "core/memory.h"

struct nas_mutable {
    nas_choice_kind kind;
    char *key;         /* NULL: derived from the module's path */
    nas_module *owner; /* of a layer choice: the choice itself, whose children are the candidates */
    int n, n_min, n_max;
    char **names;
    nas_reduce reduce;
    char **edges;   /* input choices: per candidate the key of its layer choice or NULL; NULL: none have one */
    double *values; /* value choices */
    bool repeat;    /* nas_repeat: candidate k is the first least + k children */
    int least;
    const nas_mutable *behind; /* layer choices: they run when that input choice takes one of ... */
    uint64_t behind_any;       /* ... these; NULL: not behind one */
    bool fixed;
    bool superkernel; /* layer choices whose candidates are parts of one module's weights */
    nas_decision own;
    const nas_decision *decision; /* in force: &own, or the space's */
    nas_space *space;
    int site; /* index in the space */
};

/* One mutable of a space, with where it stands. */
typedef struct nas__site {
    nas_mutable *mutable_; /* NULL when its module was freed before the space */
    int choice;
    int parent, parent_child; /* the site of the layer choice around it and which of its children, or -1 */
    uint64_t parent_set;      /* the candidates that have that child */
    int behind;               /* the site of the input choice that leads to it, or -1 */
} nas__site;

/* Candidate `candidate` of input choice `input` is computed by the layer choice that holds this. */
typedef struct nas__edge {
    int input, candidate;
} nas__edge;

typedef struct nas__choice_entry {
    nas_choice public_;
    nas_decision decision;
    bool concat;            /* one of its mutables concatenates: no weighting */
    nas_tensor *indicators; /* superkernels: of the last pass under thresholds */
    nas__edge *edges;       /* that may reach it; none: not an edge */
    size_t n_edges;
} nas__choice_entry;

/* Computes candidates of layer choices in the network's stead, and so sees each at its place: nas_forward(module, x) at
 * the end of the day. */
typedef struct nas__observer {
    nas_tensor *(*forward)(void *user, int site, int candidate, nas_module *module, nas_tensor *x);
    void *user;
} nas__observer;

struct nas_space {
    nas_module *model;
    const nas__observer *observer; /* borrowed; NULL: nobody watches */
    int n_choices, n_sites;
    nas__choice_entry *choices;
    nas_choice const **view;
    nas__site *sites;
};

struct nas_architecture {
    const nas_space *space;
    uint64_t bits[]; /* per choice */
};

/* A mutable of `owner` with copies of key and names (NULL: "0", "1", ...); NULL and an error when names repeat or do
 * not fit. */
nas_mutable *nas__mutable_new(nas_choice_kind kind, nas_module *owner, const char *key, int n,
                              const char *const *names);
void nas__mutable_free(nas_mutable *m);
/* The mutable of a layer choice's module; NULL for other modules. */
nas_mutable *nas__layer_mutable(nas_module *module);
/* Index of the only candidate that a layer choice computes, or -1. */
int nas__chosen_candidate(nas_module *layer_choice);
/* This place of a layer choice runs, and stays when the architecture is fixed, only when the input choice takes one of
 * these candidates. The input choice belongs to a module above. */
void nas__layer_behind(nas_module *layer_choice, const nas_mutable *input, uint64_t any);
/* nas_choose() of the inputs from .. to-1 alone (x has all n); NULL without an error when the decision takes none. */
nas_tensor *nas__choose_among(nas_mutable *input, int from, int to, nas_tensor *const *x);
/* superkernel.c. Trainable numbers of a module once it is fixed, where they are not its own and its children's: a
 * part's are in the block, and what the block shares counts with the parts. -1: any other module. */
int64_t nas__superkernel_parameters(const nas_module *module);
/* The given key, or the one that follows from the path (new, free()). */
char *nas__mutable_key(const nas_mutable *m);
/* The candidates in which a child of a layer choice runs: of nas_repeat several. */
uint64_t nas__child_candidates(const nas_mutable *m, int child);
nas_mutable *nas__repeat_mutable(nas_module *module); /* as nas__layer_mutable, which asks here */
void nas__repeat_prune(nas_mutable *m, int keep);     /* as nas__layer_prune, likewise */
/* Frees all candidates of a layer choice but `keep` (-1: all); the choice is then that candidate, under the same path.
 */
void nas__layer_prune(nas_mutable *m, int keep);
/* Index of the only candidate that is in force; -1 when there are none or several. */
int nas__mutable_single(const nas_mutable *m);
/* Gives an input or value choice to its owner; NULL and an error on failure (it is freed). */
nas_mutable *nas__mutable_attach(nas_mutable *m);
/* The index-th of them in the order of their making, or NULL. */
nas_mutable *nas__attached_mutable(const nas_module *module, size_t index);

/* What matters when choice i takes bits[i]: first per choice (reached through any of its mutables), then per site (new,
 * free()). */
bool *nas__reachable(const nas_space *space, const uint64_t *bits);
/* Is that a set that the choice may take? An error with the key if not. */
nas_status nas__choice_accepts(const nas_choice *c, uint64_t candidates);
/* A path or set for a search; of layer choices, too, none: zeros of the shape that candidates give. */
nas_status nas__decide_paths(nas_space *space, int choice, uint64_t run);
/* "a, b, c" of a choice's candidates, cut when long, into text. */
const char *nas__candidate_list(const nas_choice *c, char *text, size_t size);
int nas__choice_candidate(const nas_choice *c, const char *name); /* index, or -1 */

/* --- points.c: the points of a space. A choice has nas__choice_sets() sets (2^62 stands for more), in an order that is
 * by their size first; rank and set are inverse. ------------------------------------------------------------------ */
uint64_t nas__choice_sets(const nas_choice *c);
uint64_t nas__choice_set(const nas_choice *c, uint64_t index);
uint64_t nas__choice_rank(const nas_choice *c, uint64_t set);
/* Each set with the same probability. */
uint64_t nas__choice_random(const nas_choice *c, nas_rng *rng);
/* The next architecture in the order of a counter whose last choice runs fastest; false: it began anew. */
bool nas__architecture_next(nas_architecture *a);
/* Sets one edit away: all others of a choice that has few, else those with one candidate added, left out or exchanged.
 */
int nas__choice_neighbours(const nas_choice *c, uint64_t set);
bool nas__choice_neighbour(const nas_choice *c, uint64_t set, int index, uint64_t *neighbour); /* false: no more */
/* Every choice from either of two architectures, with the same probability. */
void nas__architecture_cross(nas_architecture *a, const nas_architecture *other, nas_rng *rng);
/* Every choice is drawn anew with this probability, which may give what it had. */
void nas__architecture_redraw(nas_architecture *a, double probability, nas_rng *rng);
/* Changes one of the choices that matter, which always gives another architecture; the choice, or -1 (nothing can
 * change, or an error). */
int nas__architecture_mutate(nas_architecture *a, nas_rng *rng);

/* --- cell.c: what a drawing shows of a cell ------------------------------------------------------------------------
 */
typedef struct nas__cell_view {
    int n_inputs, n_nodes;
    nas_cell_merge merge;
    uint64_t zeros, identities; /* candidates; with stride the latter are no identities */
    const char *key;            /* of one of its choices; borrowed */
} nas__cell_view;
bool nas__cell_view_of(nas_module *module, nas__cell_view *view); /* false: not one of nas_cell(), or it is fixed */

/* Prunes the space's model to an architecture and ends the space's hold on it. */
nas_status nas__fix(nas_space *space, const nas_architecture *a);
/* Trainable numbers that a model has once it is fixed to the decisions in force: without what they do not use, with the
 * gains of batch norms that come then. */
int64_t nas__active_parameters(nas_module *model);
/* The same for those candidates of a space's layer choices that `counts` takes; without a space as things are. */
typedef bool (*nas__layer_parameters_fn)(void *user, const nas_mutable *m, int candidate);
int64_t nas__layer_parameters(const nas_space *space, nas__layer_parameters_fn counts, void *user, nas_module *module);

static inline int nas__bit_count(uint64_t bits) { return __builtin_popcountll(bits); }
static inline uint64_t nas__all_bits(int n) { return n >= 64 ? ~(uint64_t)0 : ((uint64_t)1 << n) - 1; }

#endif
