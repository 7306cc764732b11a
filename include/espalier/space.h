/* space.h - choices inside a network (mutables), the space that they span, and architectures: points of it.
 *
 * A mutable knows no strategy. What it does in a forward pass is the *decision* in force: which candidates run, and
 * with which weights. A strategy sets decisions; this room executes them. Mutables with the same key share one
 * decision. */
#ifndef ESPALIER_SPACE_H
#define ESPALIER_SPACE_H

#include <espalier/nn.h>
#include <espalier/options.h>

#ifdef __cplusplus
extern "C" {
#endif

/* --- mutables ----------------------------------------------------------------------------------- */
#define NAS_MAX_CANDIDATES 64

typedef struct nas_candidate {
    const char *name; /* NULL: "0", "1", ... */
    nas_module *module;
} nas_candidate;

/* Exactly one of n modules of equal output shape; itself a module: give it to nas_child(). `key` NULL: the module's
 * path with '/' for '.'. Takes the candidates over (also on failure). Candidates may contain choices. After the
 * architecture is fixed only the chosen candidate is left, under the same path; of an unreachable choice none is. */
#define nas_layer_choice(owner, key, n, candidates)                                                                    \
    nas_layer_choice_new((nas_module *)(owner), (key), (n), (candidates))
NAS_API nas_module *nas_layer_choice_new(nas_module *owner, const char *key, int n, const nas_candidate *candidates);

/* Searched depth: a row of n blocks of which the first d run, d one of least, least+1, ... n (the candidates' names);
 * itself a module. least 0: the row may be left out. A layer choice in all respects (nas_choice.kind, JSON, weightings:
 * the sum of the outputs after each depth), whose candidates share their blocks: all depths must give one shape. Takes
 * the blocks over (also on failure). They may contain choices, which are reachable when their block runs. After the
 * architecture is fixed only the blocks that run are left, under the same path; they are children "0", "1", ... */
#define nas_repeat(owner, key, least, n, blocks) nas_repeat_new((nas_module *)(owner), (key), (least), (n), (blocks))
NAS_API nas_module *nas_repeat_new(nas_module *owner, const char *key, int least, int n, nas_module *const *blocks);

typedef struct nas_mutable nas_mutable;
typedef enum nas_reduce { NAS_SUM = 0, NAS_MEAN, NAS_CONCAT } nas_reduce; /* concat: along the channels */
typedef struct nas_input_choice_config {
    const char *const *names; /* NULL: "0", "1", ... */
    int n_candidates;         /* required */
    int n_chosen;             /* exactly so many; 0 = between n_min and n_max */
    int n_min, n_max;         /* n_max 0 = n_candidates */
    nas_reduce reduce;
    const char *const
        *edges; /* key of the layer choice that computes candidate i, or NULL: unchosen ones become unreachable */
} nas_input_choice_config;
/* Some of n tensors, reduced to one. Owned by `owner`. `key` NULL: owner's path with '/' for '.', and "/inputs". */
#define nas_input_choice(owner, key, ...)                                                                              \
    nas_input_choice_new((nas_module *)(owner), (key), &(nas_input_choice_config){__VA_ARGS__})
NAS_API nas_mutable *nas_input_choice_new(nas_module *owner, const char *key, const nas_input_choice_config *config);
/* The reduction of the inputs that the decision in force takes. x[i] may be NULL where nas_wanted(m, i) is false, so a
 * network need not compute what is not chosen. None chosen: zeros of the shape of any given input. Sticky for wanted
 * inputs. */
NAS_API nas_tensor *nas_choose(nas_mutable *mutable_, int n, nas_tensor *const *x);
/* Does the decision in force take input i? */
NAS_API bool nas_wanted(const nas_mutable *mutable_, int i);

/* One of n numbers, read by the network in its forward pass with nas_value(). Exported as the string of its value.
 * `key` NULL: as for input choices, with "/value". */
#define nas_value_choice(owner, key, n, values) nas_value_choice_new((nas_module *)(owner), (key), (n), (values))
NAS_API nas_mutable *nas_value_choice_new(nas_module *owner, const char *key, int n, const double *values);
/* The number that the decision in force takes. */
NAS_API double nas_value(const nas_mutable *mutable_);

/* --- superkernels ---------------------------------------------------------------------------------- */
typedef struct nas_superkernel_config {
    int in, out;    /* required */
    int stride;     /* 0 = 1 */
    int kernel;     /* of the largest candidate: 0 = 5; odd, 5 at least. The smaller one has 2 less */
    int expansion;  /* of the largest candidate: 0 = 6; the smaller one has half of the channels */
    float momentum; /* of the batch norms: 0 = 0.1 */
    float eps;      /* 0 = 1e-3 */
} nas_superkernel_config;
/* An inverted residual, (N,in,H,W) -> (N,out,H',W'), that holds all its candidates in the weights of the largest one
 * (Stamoulis et al. 2019): 1x1 convolution to expansion*in channels, depthwise, 1x1 convolution, with batch norm behind
 * each and ReLU behind the first two; plus x where in = out and stride = 1. A layer choice of the candidates k3e3,
 * k3e6, k5e3, k5e6 (as kernel and expansion are), and `skip`, which is x, where x is added. A path computes the part of
 * the weights that it needs; under thresholds (nas_decision) the masked weights of all. Once the architecture is fixed
 * the chosen part is left, as plain layers. `key` as of nas_layer_choice, but required; a module for nas_child(). */
#define nas_superkernel_block(key, ...) nas_superkernel_block_new((key), &(nas_superkernel_config){__VA_ARGS__})
NAS_API nas_module *nas_superkernel_block_new(const char *key, const nas_superkernel_config *config);

/* --- the space of a model ------------------------------------------------------------------------- */
typedef enum nas_choice_kind { NAS_LAYER, NAS_INPUT, NAS_VALUE } nas_choice_kind;
/* One key: what all mutables that share it have in common. */
typedef struct nas_choice {
    const char *key;
    nas_choice_kind kind;
    int n; /* candidates */
    const char *const *names;
    int n_min, n_max;  /* how many are chosen; 1, 1 for layers and values */
    nas_reduce reduce; /* input choices: how several become one (of the first place with this key) */
    const int *edges;  /* input choices with .edges: per candidate the index of its layer choice, or -1; else NULL */
    int parent, parent_candidate; /* nested in candidate parent_candidate of choice parent, or -1 */
    uint64_t parent_set;          /* all candidates of it that it is nested in: of a nas_repeat parent_candidate and
                                     what is deeper */
    bool superkernel;             /* candidates are parts of one module's weights: thresholds may decide */
} nas_choice;

typedef struct nas_space nas_space;
/* Collects the choices of a model (borrowed; one space per model at a time) in the order of its tree. Errors: equal
 * keys with different candidates, no choices (NAS_UNSUPPORTED). Until something else is decided, the first candidates
 * are in force. */
NAS_API nas_space *nas_space_new(nas_module *model);
NAS_API void nas_space_free(nas_space *space); /* before or after the model; NULL is fine */
/* Number of choices; nas_space_choice describes one (0 .. size-1; borrowed). */
NAS_API int nas_space_size(const nas_space *space);
NAS_API const nas_choice *nas_space_choice(const nas_space *space, int i);
/* Index of a key, or -1. */
NAS_API int nas_space_find(const nas_space *space, const char *key);
/* A hash of keys, kinds and candidate names: the same space, the same number, on any machine. */
NAS_API uint64_t nas_space_hash(const nas_space *space);
/* log10 of the number of architectures, reachability ignored. */
NAS_API double nas_space_log10_size(const nas_space *space);

/* What a choice does in the coming forward passes. A path or set: run = the chosen ones, weights NULL; several give
 * their sum, or the input choice's reduction (a search may run more than an architecture may choose, except of values
 * and of concatenated inputs). A weighting: run = the candidates to compute (DARTS: all; GDAS: the sampled one;
 * ProxylessNAS: the two sampled), weights = a tensor (n) on the tape of that pass that takes gradients; the result is
 * sum_i weights[i] * candidate_i over `run`. */
typedef struct nas_decision {
    uint64_t run; /* bit i: candidate i */
    nas_tensor *weights;
    const struct nas_thresholds *thresholds; /* superkernels: what takes weights' place; run is ignored. Borrowed */
    uint64_t detached; /* of run, in a layer choice's weighting: computed forwards only, nothing flows back through them
                        * but to their weight (the inactive path of ProxylessNAS) */
    bool rest; /* of a layer choice's weighting: a candidate that does not run adds its weight, a number, to every
                * element, as if it had given ones: gradient estimates that want one for it, too (GDAS's estimate=ones)
                */
    /* Of layer choices. part K above 1: candidates see the first C/K channels alone, with the first C/K of their own
     * channels; the others go past them (past a stride of s through max pooling), and the result is shuffled in K
     * groups (PC-DARTS, Xu et al., ICLR 2020). All candidates have to keep the number of channels, which K divides. It
     * stays in force when an architecture is applied, and does not count in dry passes. */
    int part;
    float skip_dropout; /* share of the elements of identities that training passes drop (P-DARTS, Chen et al. 2019) */
} nas_decision;
/* Fails, and leaves the decision as it is, when `run`, the weights or the thresholds do not fit the choice
 * (NAS_INVALID), and for weightings of values, concatenations and superkernels (NAS_UNSUPPORTED). */
NAS_API nas_status nas_decide(nas_space *space, int choice, nas_decision decision);
/* The decision in force. */
NAS_API nas_decision nas_decision_of(const nas_space *space, int choice);

/* How thresholds decide a superkernel: for each of kernel, expansion and skip (NAS_SUPERKERNEL_...), what it adds stays
 * where its norm reaches the threshold. See nas_superkernel(). */
typedef struct nas_thresholds {
    nas_tensor *values;   /* (3), that take gradients */
    bool mean_norm;       /* norms as root of the mean square */
    bool relaxed;         /* sigmoids for indicators: for tests */
    bool mask_early;      /* only the depthwise weights are masked: what is left out still passes the constants of its
                             batch norms on, as in the authors' program. Otherwise the block computes what its chosen
                             candidate does */
    const float *factors; /* (3) of the indicators; NULL: 1 */
} nas_thresholds;
/* The indicators (3) of the last forward pass under thresholds, on its tape; NULL and an error when there was none. */
NAS_API nas_tensor *nas_indicators(const nas_space *space, int choice);
/* norm - threshold of each, at the present values, and (may be NULL) the candidate that they stand for. */
NAS_API nas_status nas_margins(const nas_space *space, int choice, const nas_thresholds *thresholds, double margins[3],
                               int *candidate);
/* The candidate of a superkernel that indicators stand for: of the kernel, the expansion, and whether it stays. */
NAS_API int nas_superkernel_candidate(const nas_choice *choice, bool large_kernel, bool large_expansion, bool stays);

/* --- architectures -------------------------------------------------------------------------------- */
typedef struct nas_architecture nas_architecture;
NAS_API nas_architecture *
nas_architecture_new(const nas_space *space);            /* the first candidates everywhere; borrows the space */
NAS_API void nas_architecture_free(nas_architecture *a); /* NULL is fine */
NAS_API nas_architecture *nas_architecture_copy(const nas_architecture *a);
/* A set of candidates as bits; set fails when the number of candidates does not fit. */
NAS_API uint64_t nas_architecture_get(const nas_architecture *a, int choice);
NAS_API nas_status nas_architecture_set(nas_architecture *a, int choice, uint64_t candidates);
/* Does this choice matter under the others? */
NAS_API bool nas_architecture_reaches(const nas_architecture *a, int choice);
/* Equal in all reachable choices; the hash likewise. */
NAS_API bool nas_architecture_equal(const nas_architecture *a, const nas_architecture *b);
NAS_API uint64_t nas_architecture_hash(const nas_architecture *a);
/* Every choice uniform and independent. */
NAS_API void nas_architecture_random(nas_architecture *a, nas_rng *rng);
/* Decides every choice by the architecture: the model then computes that path alone. */
NAS_API void nas_architecture_apply(const nas_architecture *a, nas_space *space);
/* The flat JSON object of the reachable choices (new, to be freed with free()); one line, or indented for files. */
NAS_API char *nas_architecture_json(const nas_architecture *a, bool indented);
/* Reads any of the five forms of a choice. Distinct errors, each with the key: not JSON, not an object, missing or
 * unknown key, unknown candidate, index out of range, wrong count, wrong length of a boolean array, duplicates. NULL on
 * error. */
NAS_API nas_architecture *nas_architecture_parse(const nas_space *space, const char *json);

/* Fixes a model to an architecture from a JSON file (or text): chosen candidates take the place of choices, everything
 * unused is freed and out of the parameter lists; the model has no choices afterwards. On error the model is untouched.
 */
NAS_API nas_status nas_apply_fixed_architecture(nas_module *model, const char *path);
NAS_API nas_status nas_apply_fixed_architecture_text(nas_module *model, const char *json);

/* --- cells ---------------------------------------------------------------------------------------- */
/* A cell computes nodes from its input tensors: every node is a sum of operations on values before it (the cell's
 * inputs 0, 1, ... and then its nodes, numbered on), each operation a layer choice. The cells of NAS-Bench-201, DARTS
 * and NASNet are tables for this builder. */
#define NAS_CELL_MOST_INPUTS 4
#define NAS_CELL_MOST_NODES  12

typedef enum nas_cell_op_kind {
    NAS_CELL_OP = 0,
    NAS_CELL_IDENTITY, /* without stride it hands its input on: drop path spares it */
    NAS_CELL_ZERO      /* nothing to drop either */
} nas_cell_op_kind;
typedef struct nas_cell_op {
    const char *name; /* of the candidate */
    nas_module *(*make)(int channels,
                        int stride); /* a new module, (N,channels,H,W) -> (N,channels,H/stride,W/stride) */
    nas_cell_op_kind kind;
} nas_cell_op;

typedef enum nas_cell_wiring {
    NAS_CELL_ALL = 0, /* a node adds up an edge from every value before it: keys edge_TO_FROM */
    NAS_CELL_EDGES,   /* so it does, but of its edges it takes `per_node`: besides, keys node_TO/inputs (DARTS) */
    NAS_CELL_SLOTS,   /* it adds up `per_node` operations, each on one value of all before it: keys op_TO_SLOT and
                         input_TO_SLOT (NASNet) */
    NAS_CELL_FIXED    /* it adds up an edge from each of the values in .fixed: keys edge_TO_FROM */
} nas_cell_wiring;
typedef enum nas_cell_merge {
    NAS_CELL_CONCAT = 0, /* of all nodes, along the channels */
    NAS_CELL_SUM,        /* of all nodes */
    NAS_CELL_LAST,       /* the last node alone */
    NAS_CELL_LOOSE_ENDS, /* of the nodes that no other node reads, along the channels (NASNet). While several values of
                            a node are mixed none counts as read. */
    NAS_CELL_UNREAD      /* likewise, and of the cell's inputs that no node reads (ENAS); not with stride */
} nas_cell_merge;
typedef enum nas_cell_preprocess {
    NAS_CELL_CONV = 0, /* ReLU, 1x1 convolution to the cell's channels, batch norm */
    NAS_CELL_REDUCE,   /* the factorized reduction: for an input that is twice as large as the others */
    NAS_CELL_AS_IS     /* has the cell's channels already */
} nas_cell_preprocess;

typedef struct nas_cell_config {
    const nas_cell_op *ops; /* the candidates of every operation; read while the cell is made */
    int n_ops;
    int channels;        /* of every node */
    int n_inputs, nodes; /* tensors that it is given, and values that it computes */
    int in[NAS_CELL_MOST_INPUTS];
    nas_cell_preprocess preprocess[NAS_CELL_MOST_INPUTS]; /* of each input, with channels `in` */
    const nas_module *from[NAS_CELL_MOST_INPUTS]; /* the cell that computes that input, or NULL. Of NAS_CELL_LOOSE_ENDS
                                                     it is needed (and preprocessing): see nas_cell_feed() */
    nas_cell_wiring wiring;
    int per_node;     /* 0 = 2; not for NAS_CELL_ALL */
    bool banks;       /* NAS_CELL_SLOTS: an operation has weights of its own for every value that it may read (ENAS) */
    const int *fixed; /* NAS_CELL_FIXED: per_node values of each node */
    nas_cell_merge merge;
    int stride;         /* of operations on the cell's inputs: 2 in a reduction cell; 0 = 1 */
    bool drop_path;     /* once fixed, whole operations are dropped as the tape's drop_path says */
    const char *prefix; /* keys are "prefix/edge_2_0"; cells with one prefix share their choices; NULL: none */
} nas_cell_config;
/* A new module for nas_child(), which owns its operations (children "edge_2_0", ... or "op_2_0", ...) and preprocessing
 * ("preprocess0", ...). NULL and an error when numbers do not fit or an operation cannot be made. nas_forward() of a
 * cell gives its one tensor to all of its inputs. */
#define nas_cell(...) nas_cell_new(&(nas_cell_config){__VA_ARGS__})
NAS_API nas_module *nas_cell_new(const nas_cell_config *config);
/* The cell's output from its n inputs, (N,in[i],H,W); sticky. NULL and an error when n is another number than the
 * cell's, or `cell` is none. */
NAS_API nas_tensor *nas_cell_forward(nas_module *cell, int n, nas_tensor *const *x);
/* Channels of its output (with NAS_CELL_LOOSE_ENDS and NAS_CELL_UNREAD the most that it may have); 0 for other modules.
 */
NAS_API int nas_cell_channels(const nas_module *cell);
/* All convolutions and dense layers of `reader` (a head, say) read the cell's output, perhaps pooled per channel: where
 * that has the loose ends alone, a pass uses the weights of these, and once the architecture is fixed the others are
 * gone. Without loose ends nothing happens. The reader must not outlive the cell, unless both belong to one model. */
NAS_API nas_status nas_cell_feed(const nas_module *cell, nas_module *reader);

/* --- built-in spaces ------------------------------------------------------------------------------ */
typedef struct nas_space_config {
    int channels, height, width; /* of the input image; 0 = 1, 28, 28 */
    int outputs;                 /* classes, or numbers to predict; 0 = 10 */
    const void *options;         /* the space's own options struct, as filled from its table; NULL: defaults */
} nas_space_config;
typedef struct nas_space_info {
    const char *name, *summary, *paper;
    const nas_option *options; /* table that ends with a NULL name; fields of a struct of options_size bytes */
    size_t options_size;
    int smallest; /* height and width of an image in pixels that the space takes; 0: 8 */
    nas_module *(*build)(const nas_space_config *config, const void *options);
    char *(*canonical)(const nas_architecture *a); /* one-line string, new; NULL: the one-line JSON */
    /* An architecture from its canonical string; NULL and an error when it is none. NULL: the space reads JSON alone.
     */
    nas_architecture *(*parse)(const nas_space *space, const char *canonical);
    const char *depth; /* its option for a deeper network with the same choices; NULL: none */
} nas_space_info;
/* All of them; ends with NULL. */
NAS_API const nas_space_info *const *nas_spaces(void);
/* By name; NULL and an error with the nearest name. */
NAS_API const nas_space_info *nas_space_info_find(const char *name);
/* A new model of that space (owned by the caller). */
NAS_API nas_module *nas_space_build(const char *name, const nas_space_config *config);

#ifdef __cplusplus
}
#endif
#endif
