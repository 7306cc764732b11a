/* cell.c - the builder of cells: nodes that add up operations on earlier values, from a table of candidates. */
#include "space/space.h"

#include "nn/module.h"
#include "tensor/tensor.h"

#include <stdio.h>
#include <stdlib.h>

enum { MOST_INPUTS = NAS_CELL_MOST_INPUTS, MOST_NODES = NAS_CELL_MOST_NODES, MOST_VALUES = MOST_INPUTS + MOST_NODES };
enum {
    MOST_SLOTS = 4,
    SIDES = 2,
    MOST_OPS = MOST_SLOTS * MOST_VALUES
}; /* a slot's operation on one of the cell's inputs, and that on one of its nodes */

/* An operation of a node: its layer choice, or NULL. */
typedef struct operation {
    nas_module *choice;
    int stride;
    bool drop_path; /* fixed: its output may be dropped */
} operation;

typedef struct node {
    operation
        ops[MOST_OPS]; /* by the value they read; slots: [SIDES * slot + side], banks: [MOST_VALUES * slot + value]
                        */
    nas_mutable *inputs[MOST_SLOTS]; /* edges: the first; slots: one each */
} node;

typedef struct cell {
    nas_module base;
    nas_cell_wiring wiring;
    nas_cell_merge merge;
    int n_inputs, n_nodes, n_slots, channels, stride;
    bool drop_path, banks;
    uint64_t identities, zeros; /* candidates */
    nas_module *preprocess[MOST_INPUTS];
    node nodes[];
} cell;

/* --- running ---------------------------------------------------------------------------------------- */
static nas_tensor *run(const operation *op, nas_tensor *x) {
    nas_tensor *y = nas_forward(op->choice, x);
    return op->drop_path ? nas_drop_path(y, -1) : y;
}

static nas_tensor *add_edges(const node *n, int n_values, nas_tensor *const *values) {
    nas_tensor *terms[MOST_VALUES] = {0};
    int n_terms = 0;
    for (int from = 0; from < n_values; from++) {
        if (n->ops[from].choice && (!n->inputs[0] || nas_wanted(n->inputs[0], from))) {
            terms[n->inputs[0] ? from : n_terms] = run(&n->ops[from], values[from]);
            n_terms++;
        }
    }
    return n->inputs[0] ? nas_choose(n->inputs[0], n_values, terms) : nas_sum_of(n_terms, terms);
}

static nas_tensor *nothing_taken(const cell *c, const nas_tensor *x) {
    int64_t dims[NAS_MAX_DIMS];
    for (int i = 0; i < x->ndim; i++) {
        dims[i] = i < 2 ? x->dims[i] : (x->dims[i] + c->stride - 1) / c->stride;
    }
    return nas_zero(x->ndim, dims);
}

/* Each slot has an operation for every value. */
static nas_tensor *add_banks(const cell *c, const node *n, int n_values, nas_tensor *const *values) {
    nas_tensor *terms[MOST_SLOTS];
    for (int slot = 0; slot < c->n_slots; slot++) {
        nas_tensor *given[MOST_VALUES] = {0};
        for (int from = 0; from < n_values; from++) {
            if (nas_wanted(n->inputs[slot], from)) {
                given[from] = run(&n->ops[MOST_VALUES * slot + from], values[from]);
            }
        }
        terms[slot] = nas_choose(n->inputs[slot], n_values, given);
    }
    return nas_sum_of(c->n_slots, terms);
}

/* What the slot takes of the cell's inputs and of its nodes has different sizes where the cell reduces, so each has an
 * operation of its own there. */
static nas_tensor *add_slots(const cell *c, const node *n, int n_values, nas_tensor *const *values) {
    nas_tensor *terms[SIDES * MOST_SLOTS];
    int n_terms = 0;
    for (int i = 0; i < SIDES * c->n_slots; i++) {
        bool halves = c->stride > 1, second = i % SIDES;
        int from = second ? c->n_inputs : 0, to = halves && !second ? c->n_inputs : n_values;
        nas_tensor *x = n->ops[i].choice ? nas__choose_among(n->inputs[i / SIDES], from, to, values) : NULL;
        if (x) {
            terms[n_terms++] = run(&n->ops[i], x);
        }
    }
    return n_terms ? nas_sum_of(n_terms, terms) : values[0] ? nothing_taken(c, values[0]) : NULL;
}

/* What a mixture reads counts elsewhere, too: only what is taken alone, or without weights, is taken. */
static uint64_t taken_by(const node *n, int n_values) {
    uint64_t taken = 0;
    for (int i = 0; i < MOST_SLOTS && n->inputs[i]; i++) {
        const nas_decision *d = n->inputs[i]->decision;
        taken |= !d->weights || nas__bit_count(d->run) == 1 ? d->run : 0;
    }
    for (int from = 0; !n->inputs[0] && from < n_values; from++) {
        taken |= (uint64_t)(n->ops[from].choice != NULL) << from;
    }
    return taken;
}

static bool hands_on_what_is_unread(const cell *c) {
    return c->merge == NAS_CELL_LOOSE_ENDS || c->merge == NAS_CELL_UNREAD;
}

/* The nodes that none reads, or the inputs and nodes: a set that is never empty. */
static uint64_t loose_ends(const void *source) {
    const cell *c = source;
    uint64_t taken = 0;
    for (int i = 0; i < c->n_nodes; i++) {
        taken |= taken_by(&c->nodes[i], c->n_inputs + i);
    }
    return c->merge == NAS_CELL_UNREAD ? nas__all_bits(c->n_inputs + c->n_nodes) & ~taken
                                       : nas__all_bits(c->n_nodes) & ~(taken >> c->n_inputs);
}

/* What is joined along the channels: values of the cell, as many as it has parts. */
static int n_parts(const cell *c) { return c->n_nodes + (c->merge == NAS_CELL_UNREAD ? c->n_inputs : 0); }

static nas_tensor *join(const cell *c, nas_tensor *const *parts) {
    nas_tensor *list[MOST_VALUES];
    uint64_t set = hands_on_what_is_unread(c) ? loose_ends(c) : nas__all_bits(c->n_nodes);
    int n = 0;
    for (int i = 0; i < n_parts(c); i++) {
        if (set >> i & 1) {
            list[n++] = parts[i];
        }
    }
    return n == 1 && hands_on_what_is_unread(c) ? list[0] : nas_concat(n, list, 1);
}

static nas_tensor *merge(const cell *c, nas_tensor *const *values) {
    nas_tensor *const *nodes = values + c->n_inputs;
    return c->merge == NAS_CELL_SUM    ? nas_sum_of(c->n_nodes, nodes)
           : c->merge == NAS_CELL_LAST ? nodes[c->n_nodes - 1]
                                       : join(c, c->merge == NAS_CELL_UNREAD ? values : nodes);
}

static nas_tensor *cell_run(cell *c, nas_tensor *const *x) {
    size_t scope = nas__scope_begin();
    nas_tensor *values[MOST_VALUES] = {0};
    int n = c->n_inputs;
    for (int i = 0; i < n; i++) {
        values[i] = c->preprocess[i] ? nas_forward(c->preprocess[i], x[i]) : x[i];
    }
    for (int i = 0; i < c->n_nodes; i++) {
        values[n + i] = c->banks                      ? add_banks(c, &c->nodes[i], n + i, values)
                        : c->wiring == NAS_CELL_SLOTS ? add_slots(c, &c->nodes[i], n + i, values)
                                                      : add_edges(&c->nodes[i], n + i, values);
    }
    return nas__scope_end(scope, merge(c, values));
}

static nas_tensor *cell_forward(nas_module *self, nas_tensor *x) {
    nas_tensor *same[MOST_INPUTS];
    for (int i = 0; i < MOST_INPUTS; i++) {
        same[i] = x;
    }
    return cell_run((cell *)self, same);
}

static bool is_cell(const nas_module *module) { return module && module->forward == cell_forward; }

nas_tensor *nas_cell_forward(nas_module *module, int n, nas_tensor *const *x) {
    cell *c = (cell *)module;
    if (!is_cell(module)) {
        return nas__fail_null(NAS_INVALID, "nas_cell_forward: the module is not one of nas_cell()");
    }
    return n == c->n_inputs
               ? cell_run(c, x)
               : nas__fail_null(NAS_INVALID, "nas_cell_forward: %d inputs for a cell of %d", n, c->n_inputs);
}

int nas_cell_channels(const nas_module *module) {
    const cell *c = (const cell *)module;
    bool joined = is_cell(module) && (c->merge == NAS_CELL_CONCAT || hands_on_what_is_unread(c));
    return is_cell(module) ? c->channels * (joined ? n_parts(c) : 1) : 0;
}

bool nas__cell_view_of(nas_module *module, nas__cell_view *view) {
    const cell *c = (const cell *)module;
    const nas_mutable *first = NULL;
    for (int i = 0; is_cell(module) && !first && i < MOST_OPS; i++) {
        first = c->nodes[0].ops[i].choice ? nas__layer_mutable(c->nodes[0].ops[i].choice) : NULL;
    }
    if (!first) {
        return false;
    }
    *view = (nas__cell_view){c->n_inputs, c->n_nodes, c->merge, c->zeros, c->identities, first->key};
    return true;
}

nas_status nas_cell_feed(const nas_module *module, nas_module *reader) {
    const cell *c = (const cell *)module;
    if (!is_cell(module) || !reader) {
        return nas__fail(NAS_INVALID, "nas_cell_feed: %s",
                         reader ? "the cell is not one of nas_cell()" : "the reader is NULL");
    }
    return hands_on_what_is_unread(c)
               ? nas__module_supply(reader, &(nas__supply){.parts = n_parts(c), .given = loose_ends, .source = c})
               : NAS_OK;
}

static void cell_fixed(nas_module *self) {
    cell *c = (cell *)self;
    for (int i = 0; c->drop_path && i < c->n_nodes * MOST_OPS; i++) {
        operation *op = &c->nodes[i / MOST_OPS].ops[i % MOST_OPS];
        int chosen = op->choice ? nas__chosen_candidate(op->choice) : -1;
        bool spared = chosen < 0 || (c->zeros >> chosen & 1) || (op->stride == 1 && (c->identities >> chosen & 1));
        op->drop_path = !spared;
    }
}

/* --- making ------------------------------------------------------------------------------------------ */
typedef struct naming {
    char key[96], name[32]; /* "normal/edge_2_0", and without the prefix */
} naming;

/* "edge", 2, 0, "" -> "edge_2_0"; `from` -1: none. */
static void name_it(naming *n, const nas_cell_config *config, const char *what, int to, int from, const char *tail) {
    char number[16] = "";
    if (from >= 0) {
        snprintf(number, sizeof number, "_%d", from);
    }
    snprintf(n->name, sizeof n->name, "%s_%d%s%s", what, to, number, tail);
    snprintf(n->key, sizeof n->key, "%.60s%s%s", config->prefix ? config->prefix : "", config->prefix ? "/" : "",
             n->name);
}

static bool make_op(cell *c, const nas_cell_config *config, operation *op, const naming *n, const char *child,
                    int stride) {
    nas_candidate candidates[NAS_MAX_CANDIDATES];
    for (int i = 0; i < config->n_ops; i++) {
        candidates[i] = (nas_candidate){config->ops[i].name, config->ops[i].make(config->channels, stride)};
    }
    op->stride = stride;
    op->choice = nas_child(c, child, nas_layer_choice(c, n->key, config->n_ops, candidates));
    return op->choice != NULL;
}

static bool has_edge(const nas_cell_config *config, int index, int from) {
    bool found = config->wiring != NAS_CELL_FIXED;
    for (int i = 0; !found && i < config->per_node; i++) {
        found = config->fixed[index * config->per_node + i] == from;
    }
    return found;
}

static bool make_edges(cell *c, const nas_cell_config *config, int index) {
    node *n = &c->nodes[index];
    naming edges[MOST_VALUES], inputs;
    const char *names[MOST_VALUES], *keys[MOST_VALUES];
    int to = c->n_inputs + index;
    for (int from = 0; from < to; from++) {
        name_it(&edges[from], config, "edge", to, from, "");
        names[from] = edges[from].name;
        keys[from] = edges[from].key;
        if (has_edge(config, index, from) &&
            !make_op(c, config, &n->ops[from], &edges[from], names[from], from < c->n_inputs ? c->stride : 1)) {
            return false;
        }
    }
    if (config->wiring != NAS_CELL_EDGES) {
        return true;
    }
    name_it(&inputs, config, "node", to, -1, "/inputs");
    n->inputs[0] = nas_input_choice(c, inputs.key, .names = names, .n_candidates = to,
                                    .n_chosen = config->per_node < to ? config->per_node : to, .edges = keys);
    return n->inputs[0] != NULL;
}

/* An operation of one key for every value, of which that runs, and stays, whose value is taken. */
static bool make_bank(cell *c, const nas_cell_config *config, int index, int slot, const naming *op) {
    node *n = &c->nodes[index];
    bool complete = true;
    for (int from = 0; complete && from < c->n_inputs + index; from++) {
        operation *of = &n->ops[MOST_VALUES * slot + from];
        char child[48];
        snprintf(child, sizeof child, "%s_of_%d", op->name, from);
        complete = make_op(c, config, of, op, child, from < c->n_inputs ? c->stride : 1);
        if (complete) {
            nas__layer_behind(of->choice, n->inputs[slot], (uint64_t)1 << from);
        }
    }
    return complete;
}

static bool make_slot(cell *c, const nas_cell_config *config, int index, int slot) {
    node *n = &c->nodes[index];
    naming input, op, first;
    int to = c->n_inputs + index;
    name_it(&input, config, "input", to, slot, "");
    name_it(&op, config, "op", to, slot, "");
    name_it(&first, config, "op", to, slot, "_of_input");
    n->inputs[slot] = nas_input_choice(c, input.key, .n_candidates = to, .n_chosen = 1);
    operation *ops = &n->ops[SIDES * slot];
    if (!n->inputs[slot]) {
        return false;
    }
    if (c->banks) {
        return make_bank(c, config, index, slot, &op);
    }
    if (c->stride == 1) {
        bool made = make_op(c, config, &ops[0], &op, op.name, 1);
        if (made) {
            nas__layer_behind(ops[0].choice, n->inputs[slot], nas__all_bits(to));
        }
        return made;
    }
    if (!make_op(c, config, &ops[0], &op, first.name, c->stride)) {
        return false;
    }
    uint64_t of_inputs = nas__all_bits(c->n_inputs);
    nas__layer_behind(ops[0].choice, n->inputs[slot], of_inputs);
    if (index == 0) {
        return true;
    }
    if (!make_op(c, config, &ops[1], &op, op.name, 1)) {
        return false;
    }
    nas__layer_behind(ops[1].choice, n->inputs[slot], ~of_inputs);
    return true;
}

static bool make_node(cell *c, const nas_cell_config *config, int index) {
    bool complete = true;
    if (config->wiring != NAS_CELL_SLOTS) {
        return make_edges(c, config, index);
    }
    for (int slot = 0; complete && slot < c->n_slots; slot++) {
        complete = make_slot(c, config, index, slot);
    }
    return complete;
}

static bool make_preprocess(cell *c, const nas_cell_config *config, int i) {
    char name[24];
    snprintf(name, sizeof name, "preprocess%d", i);
    const nas_conv_config conv = {
        .in = config->in[i], .out = config->channels, .kernel = 1, .affine = NAS_AFFINE_WHEN_FIXED};
    if (config->preprocess[i] == NAS_CELL_AS_IS) {
        const cell *from = (const cell *)config->from[i];
        return !is_cell(config->from[i]) || !hands_on_what_is_unread(from) ||
               nas__fail_null(
                   NAS_INVALID,
                   "nas_cell: input %d is as it is, but the loose ends of a cell, which vary, must be preprocessed", i);
    }
    c->preprocess[i] = nas_child(c, name,
                                 config->preprocess[i] == NAS_CELL_REDUCE ? nas_factorized_reduce_new(&conv)
                                                                          : nas_relu_conv_bn_new(&conv));
    return c->preprocess[i] && (!config->from[i] || !nas_cell_feed(config->from[i], c->preprocess[i]));
}

/* --- the config --------------------------------------------------------------------------------------- */
static bool fixed_fits(const nas_cell_config *c) {
    bool fits = c->fixed != NULL;
    for (int i = 0; fits && i < c->nodes * c->per_node; i++) {
        int index = i / c->per_node, value = c->fixed[i];
        fits = value >= 0 && value < c->n_inputs + index;
        for (int j = index * c->per_node; fits && j < i; j++) {
            fits = c->fixed[j] != value;
        }
    }
    return fits;
}

static bool fits(const nas_cell_config *c) {
    if (!c->ops || c->n_ops < 1 || c->n_ops > NAS_MAX_CANDIDATES || c->channels < 1 || c->stride < 1) {
        return nas__fail_null(NAS_INVALID,
                              "nas_cell: .ops must be given, and .n_ops %d (1 to %d), .channels %d, .stride %d be "
                              "positive",
                              c->n_ops, NAS_MAX_CANDIDATES, c->channels, c->stride);
    }
    if (c->n_inputs < 1 || c->n_inputs > MOST_INPUTS || c->nodes < 1 || c->nodes > MOST_NODES) {
        return nas__fail_null(NAS_INVALID, "nas_cell: .n_inputs %d must be 1 to %d, .nodes %d 1 to %d", c->n_inputs,
                              MOST_INPUTS, c->nodes, MOST_NODES);
    }
    int most = c->wiring == NAS_CELL_SLOTS ? MOST_SLOTS : MOST_VALUES;
    if (c->per_node < 1 || c->per_node > most) {
        return nas__fail_null(NAS_INVALID, "nas_cell: .per_node %d must be 1 to %d", c->per_node, most);
    }
    if (c->merge == NAS_CELL_UNREAD && c->stride > 1) {
        return nas__fail_null(NAS_INVALID,
                              "nas_cell: with .stride %d the inputs have another size than the nodes, and "
                              "cannot be joined as NAS_CELL_UNREAD asks; take NAS_CELL_LOOSE_ENDS",
                              c->stride);
    }
    if (c->wiring == NAS_CELL_FIXED && !fixed_fits(c)) {
        return nas__fail_null(NAS_INVALID, "nas_cell: .fixed must name %d different earlier values for every node",
                              c->per_node);
    }
    return true;
}

static void note_kinds(cell *c, const nas_cell_config *config) {
    for (int i = 0; i < config->n_ops; i++) {
        c->identities |= (uint64_t)(config->ops[i].kind == NAS_CELL_IDENTITY) << i;
        c->zeros |= (uint64_t)(config->ops[i].kind == NAS_CELL_ZERO) << i;
    }
}

nas_module *nas_cell_new(const nas_cell_config *given) {
    nas_cell_config config = *given;
    config.per_node = config.per_node ? config.per_node : 2;
    config.stride = config.stride ? config.stride : 1;
    if (!fits(&config)) {
        return NULL;
    }
    cell *c = nas_module_alloc(sizeof *c + (size_t)config.nodes * sizeof *c->nodes, cell_forward, "cell");
    if (!c) {
        return NULL;
    }
    c->base.fixed = cell_fixed;
    c->wiring = config.wiring;
    c->merge = config.merge;
    c->n_inputs = config.n_inputs;
    c->n_nodes = config.nodes;
    c->n_slots = config.per_node;
    c->channels = config.channels;
    c->stride = config.stride;
    c->drop_path = config.drop_path;
    c->banks = config.banks && config.wiring == NAS_CELL_SLOTS;
    note_kinds(c, &config);
    bool complete = true;
    for (int i = 0; complete && i < c->n_inputs; i++) {
        complete = make_preprocess(c, &config, i);
    }
    for (int i = 0; complete && i < c->n_nodes; i++) {
        complete = make_node(c, &config, i);
    }
    return nas__module_complete(c, complete);
}
