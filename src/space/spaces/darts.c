/* darts.c - the cell space of DARTS (Liu, Simonyan, Yang, ICLR 2019): normal and reduction cells, every edge a choice
 * of eight operations, every node two of its inputs. */
#include "space/spaces/spaces.h"

#include "nn/module.h"
#include "tensor/tensor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_NODES = 8,
    MAX_INPUTS = MAX_NODES + 1,
    MAX_EDGES = MAX_NODES * (MAX_NODES + 3) / 2,
    MAX_LAYERS = 64,
    OPS = 8,
    NONE = 0,
    SKIP = 3
};

typedef struct darts_options {
    int channels, layers, nodes, stem_multiplier;
} darts_options;

static const char *const op_names[OPS] = {"none",         "max_pool_3x3", "avg_pool_3x3", "skip_connect",
                                          "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5"};

/* --- the cell ---------------------------------------------------------------------------------------------- */
typedef struct cell {
    nas_module base;
    bool reduction;
    int nodes;
    nas_module *preprocess[2], *edges[MAX_EDGES];
    nas_mutable *inputs[MAX_NODES]; /* node i takes two of its i + 2 inputs */
    bool drop_path[MAX_EDGES];      /* fixed: the op's output may be dropped */
} cell;

/* Edge of node `node` (0-based) from input `from`: 0, 1 are the cell's inputs, 2.. earlier nodes. */
static int edge_index(int node, int from) { return node * (node + 3) / 2 + from; }

static nas_tensor *edge_forward(cell *c, int edge, nas_tensor *x) {
    nas_tensor *y = nas_forward(c->edges[edge], x);
    return c->drop_path[edge] ? nas_drop_path(y, -1) : y;
}

static nas_tensor *cell_run(cell *c, nas_tensor *s0, nas_tensor *s1) {
    size_t scope = nas__scope_begin();
    nas_tensor *values[MAX_NODES + 2] = {nas_forward(c->preprocess[0], s0), nas_forward(c->preprocess[1], s1)};
    for (int node = 0; node < c->nodes; node++) {
        nas_tensor *inputs[MAX_INPUTS] = {0};
        for (int from = 0; from < node + 2; from++) {
            if (nas_wanted(c->inputs[node], from)) {
                inputs[from] = edge_forward(c, edge_index(node, from), values[from]);
            }
        }
        values[node + 2] = nas_choose(c->inputs[node], node + 2, inputs);
    }
    return nas__scope_end(scope, nas_concat(c->nodes, values + 2, 1));
}

/* As a module of its own, a cell sees the same tensor twice. */
static nas_tensor *cell_forward(nas_module *self, nas_tensor *x) { return cell_run((cell *)self, x, x); }

/* Drop path spares plain identities (and zeros, which have nothing to drop). */
static void cell_fixed(nas_module *self) {
    cell *c = (cell *)self;
    for (int node = 0; node < c->nodes; node++) {
        for (int from = 0; from < node + 2; from++) {
            int edge = edge_index(node, from), op = nas__chosen_candidate(c->edges[edge]);
            bool identity = op == SKIP && !(c->reduction && from < 2);
            c->drop_path[edge] = op > NONE && !identity;
        }
    }
}

static nas_module *edge_new(cell *c, const char *key, const char *name, int channels, int stride) {
    enum { LATER = NAS_AFFINE_WHEN_FIXED };
    const nas_candidate candidates[OPS] = {
        {op_names[NONE], nas_none_new(stride)},
        {op_names[1], nas_pool(.kind = NAS_POOL_MAX, .kernel = 3, .stride = stride, .padding = NAS_SAME,
                               .channels = channels, .bn_search_only = true)},
        {op_names[2], nas_pool(.kind = NAS_POOL_AVG, .kernel = 3, .stride = stride, .padding = NAS_SAME,
                               .channels = channels, .bn_search_only = true)},
        {op_names[SKIP],
         stride == 1 ? nas_identity_new() : nas_factorized_reduce(.in = channels, .out = channels, .affine = LATER)},
        {op_names[4], nas_sep_conv(.in = channels, .kernel = 3, .stride = stride, .affine = LATER)},
        {op_names[5], nas_sep_conv(.in = channels, .kernel = 5, .stride = stride, .affine = LATER)},
        {op_names[6], nas_dil_conv(.in = channels, .kernel = 3, .stride = stride, .affine = LATER)},
        {op_names[7], nas_dil_conv(.in = channels, .kernel = 5, .stride = stride, .affine = LATER)},
    };
    return nas_child(c, name, nas_layer_choice(c, key, OPS, candidates));
}

static bool add_node(cell *c, int node, int channels) {
    char keys[MAX_INPUTS][40], inputs_key[48];
    const char *kind = c->reduction ? "reduce" : "normal", *names[MAX_INPUTS], *edges[MAX_INPUTS];
    for (int from = 0; from < node + 2; from++) {
        snprintf(keys[from], sizeof *keys, "%s/edge_%d_%d", kind, node + 2, from);
        edges[from] = keys[from];
        names[from] = keys[from] + strlen(kind) + 1;
        nas_module *edge = edge_new(c, keys[from], names[from], channels, c->reduction && from < 2 ? 2 : 1);
        c->edges[edge_index(node, from)] = edge;
        if (!edge) {
            return false;
        }
    }
    snprintf(inputs_key, sizeof inputs_key, "%s/node_%d/inputs", kind, node + 2);
    c->inputs[node] =
        nas_input_choice(c, inputs_key, .names = names, .n_candidates = node + 2, .n_chosen = 2, .edges = edges);
    return c->inputs[node] != NULL;
}

typedef struct cell_config {
    int in0, in1, channels, nodes;
    bool reduction, after_reduction;
} cell_config;

static cell *cell_new(const cell_config *config) {
    enum { LATER = NAS_AFFINE_WHEN_FIXED };
    cell *c = nas_module_new(cell, cell_forward);
    if (!c) {
        return NULL;
    }
    c->base.fixed = cell_fixed;
    c->reduction = config->reduction;
    c->nodes = config->nodes;
    nas_module *first =
        config->after_reduction
            ? nas_factorized_reduce(.in = config->in0, .out = config->channels, .affine = LATER)
            : nas_relu_conv_bn(.in = config->in0, .out = config->channels, .kernel = 1, .affine = LATER);
    c->preprocess[0] = nas_child(c, "preprocess0", first);
    c->preprocess[1] = nas_child(
        c, "preprocess1", nas_relu_conv_bn(.in = config->in1, .out = config->channels, .kernel = 1, .affine = LATER));
    bool complete = c->preprocess[0] && c->preprocess[1];
    for (int node = 0; complete && node < c->nodes; node++) {
        complete = add_node(c, node, config->channels);
    }
    return (cell *)nas__module_complete(c, complete);
}

/* --- the network --------------------------------------------------------------------------------------------- */
typedef struct network {
    nas_module base;
    nas_module *stem, *head;
    cell *cells[MAX_LAYERS];
    int layers;
} network;

static nas_tensor *network_forward(nas_module *self, nas_tensor *x) {
    network *n = (network *)self;
    nas_tensor *s1 = nas_forward(n->stem, nas__pad_image(x, 4)), *s0 = s1;
    for (int i = 0; i < n->layers; i++) {
        nas_tensor *out = cell_run(n->cells[i], s0, s1);
        s0 = s1;
        s1 = out;
    }
    return nas_forward(n->head, s1);
}

/* At a third and two thirds; networks of one or two cells have normal cells alone. */
static bool is_reduction(int layer, int layers) {
    return layers > 2 && (layer == layers / 3 || layer == 2 * layers / 3);
}

/* The channels of the last cell's output, or 0. */
static int add_cells(network *n, const darts_options *o) {
    int stem = o->channels * o->stem_multiplier;
    cell_config c = {.in0 = stem, .in1 = stem, .channels = o->channels, .nodes = o->nodes};
    for (int i = 0; i < o->layers; i++) {
        char name[24];
        c.after_reduction = c.reduction;
        c.reduction = is_reduction(i, o->layers);
        c.channels *= c.reduction ? 2 : 1;
        snprintf(name, sizeof name, "cell_%d", i);
        n->cells[i] = (cell *)nas_child(n, name, cell_new(&c));
        if (!n->cells[i]) {
            return 0;
        }
        c.in0 = c.in1;
        c.in1 = o->nodes * c.channels;
    }
    n->layers = o->layers;
    return c.in1;
}

static nas_module *build(const nas_space_config *config, const void *options) {
    const darts_options *o = options;
    network *n = o->channels % 2
                     ? nas__fail_null(NAS_INVALID, "space darts: channels is %d, but it must be even", o->channels)
                     : nas_module_new(network, network_forward);
    if (!n) {
        return NULL;
    }
    n->stem = nas_child(n, "stem", nas__stem(config, o->channels * o->stem_multiplier));
    int channels = n->stem ? add_cells(n, o) : 0;
    n->head = channels ? nas_child(n, "head", nas__head(channels, config->outputs)) : NULL;
    return nas__module_complete(n, n->head != NULL);
}

/* --- the string: normal=|op~0|op~1|+|...|;reduce=|...| with the chosen inputs of each node ---------------------- */
static void write_node(FILE *out, const nas_architecture *a, const char *kind, int node, uint64_t inputs) {
    for (int from = 0; from < node + 2; from++) {
        char key[40];
        snprintf(key, sizeof key, "%s/edge_%d_%d", kind, node + 2, from);
        if (inputs >> from & 1) {
            fprintf(out, "|%s~%d", nas__chosen_name(a, key), from);
        }
    }
}

static void write_cell(FILE *out, const nas_architecture *a, const char *kind) {
    for (int node = 0; node < MAX_NODES; node++) {
        char key[40];
        snprintf(key, sizeof key, "%s/node_%d/inputs", kind, node + 2);
        int choice = nas_space_find(a->space, key);
        if (choice < 0) {
            break;
        }
        fputs(node ? "+" : "", out);
        write_node(out, a, kind, node, a->bits[choice]);
        fputs("|", out);
    }
}

static char *canonical(const nas_architecture *a) {
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out) {
        return nas__fail_null(NAS_NO_MEMORY, "no memory for an architecture's string");
    }
    fputs("normal=", out);
    write_cell(out, a, "normal");
    if (nas_space_find(a->space, "reduce/node_2/inputs") >= 0) {
        fputs(";reduce=", out);
        write_cell(out, a, "reduce");
    }
    return fclose(out) == 0 ? text
                            : (free(text), nas__fail_null(NAS_NO_MEMORY, "no memory for an architecture's string"));
}

static const nas_option options_table[] = {
    {"channels", NAS_OPTION_INT, offsetof(darts_options, channels), "16", 2, 512, NULL,
     "channels of the first cells; they double at each reduction"},
    {"layers", NAS_OPTION_INT, offsetof(darts_options, layers), "8", 1, MAX_LAYERS, NULL,
     "cells; the ones at a third and two thirds reduce"},
    {"nodes", NAS_OPTION_INT, offsetof(darts_options, nodes), "4", 1, MAX_NODES, NULL, "intermediate nodes of a cell"},
    {"stem_multiplier", NAS_OPTION_INT, offsetof(darts_options, stem_multiplier), "3", 1, 16, NULL,
     "stem channels as a multiple of channels"},
    {NULL},
};

const nas_space_info nas__space_darts = {
    .name = "darts",
    .summary = "DARTS: normal and reduction cells, eight operations on every edge, two inputs per node",
    .paper = "Liu, Simonyan and Yang, DARTS, ICLR 2019, arXiv 1806.09055",
    .options = options_table,
    .options_size = sizeof(darts_options),
    .build = build,
    .canonical = canonical,
};
