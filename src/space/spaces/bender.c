/* bender.c - the space of Bender et al. (ICML 2018): equal cells of choice blocks, each with any of its inputs and one
 * or two of seven operations. The 1x1 convolution behind the concatenated inputs is the sum of one per input, so that
 * leaving an input out leaves nothing else out. */
#include "space/spaces/spaces.h"

#include "nn/module.h"

#include <stdio.h>
#include <string.h>

enum { MOST_BLOCKS = 6, OUTSIDE = 2, MOST_EARLIER = 3, MOST_INPUTS = OUTSIDE + MOST_EARLIER, OPS = 7, MOST_CELLS = 64 };

typedef struct bender_options {
    int channels, stages, cells, blocks;
} bender_options;

static const char *const op_names[OPS] = {"identity",     "sep_conv_3x3", "sep_conv_5x5", "sep_conv_7x7",
                                          "conv_1x7_7x1", "max_pool_3x3", "avg_pool_3x3"};

/* --- a cell ------------------------------------------------------------------------------------------------------ */
typedef struct block {
    nas_mutable *inputs, *ops;
    nas_module *from[MOST_INPUTS], *op[OPS];
    int n_inputs, first; /* of the earlier blocks, the first that it may read */
} block;

typedef struct cell {
    nas_module base;
    int n, channels;
    block blocks[MOST_BLOCKS];
} cell;

/* What an input choice takes of modules' results; `x` has one tensor for each module, or all share it (n_x 1). */
static nas_tensor *take(nas_mutable *choice, int n, nas_module *const *modules, nas_tensor *const *x, int n_x) {
    nas_tensor *y[OPS > MOST_INPUTS ? OPS : MOST_INPUTS] = {0};
    for (int i = 0; i < n; i++) {
        y[i] = nas_wanted(choice, i) ? nas_forward(modules[i], x[n_x == 1 ? 0 : i]) : NULL;
    }
    return nas_choose(choice, n, y);
}

static nas_tensor *cell_run(cell *c, nas_tensor *const outside[OUTSIDE]) {
    nas_tensor *blocks[MOST_BLOCKS];
    for (int i = 0; i < c->n; i++) {
        const block *b = &c->blocks[i];
        nas_tensor *x[MOST_INPUTS] = {outside[0], outside[1]};
        for (int k = OUTSIDE; k < b->n_inputs; k++) {
            x[k] = blocks[b->first + k - OUTSIDE];
        }
        nas_tensor *sum = take(b->inputs, b->n_inputs, b->from, x, b->n_inputs);
        blocks[i] = take(b->ops, OPS, b->op, &sum, 1);
    }
    return nas_concat(c->n, blocks, 1);
}

static nas_tensor *cell_forward(nas_module *self, nas_tensor *x) {
    return cell_run((cell *)self, (nas_tensor *[OUTSIDE]){x, x});
}

/* --- its modules: batch norm and ReLU stand before convolutions ----------------------------------------------------
 */
static nas_module *norm(int channels) { return nas_bn(.channels = channels, .relu = true); }

static nas_module *sep(int channels, int kernel) {
    nas_module *parts[6];
    for (int i = 0; i < 2; i++) {
        parts[3 * i] = norm(channels);
        parts[3 * i + 1] = nas_conv(.in = channels, .out = channels, .kernel = kernel, .groups = channels);
        parts[3 * i + 2] = nas_conv(.in = channels, .out = channels, .kernel = 1);
    }
    return nas_sequential_new(6, parts);
}

static nas_module *op_new(int op, int channels) {
    switch (op) {
    case 0:
        return nas_identity_new();
    case 1:
    case 2:
    case 3:
        return sep(channels, 2 * op + 1);
    case 4:
        return nas_sequential(norm(channels), nas_conv(.in = channels, .out = channels, .kernel = 1, .kernel_w = 7),
                              norm(channels), nas_conv(.in = channels, .out = channels, .kernel = 7, .kernel_w = 1));
    default:
        return nas_pool(.kind = op == 5 ? NAS_POOL_MAX : NAS_POOL_AVG, .kernel = 3, .stride = 1, .padding = NAS_SAME);
    }
}

/* A layer choice with one candidate, which is there when the input choice takes it: so what is not taken is pruned. */
static nas_module *optional(cell *c, const char *key, const char *name, nas_module *module) {
    char child[48];
    snprintf(child, sizeof child, "%s", key);
    *strchr(child, '/') = '_';
    return nas_child(c, child, nas_layer_choice(NULL, key, 1, (&(nas_candidate){name, module})));
}

typedef struct names {
    char keys[OPS][48], words[OPS][24];
    const char *key[OPS], *word[OPS];
} names;

static nas_mutable *choice_new(cell *c, int index, const char *what, const names *n, int count, int most) {
    char key[32];
    snprintf(key, sizeof key, "block_%d/%s", index + 1, what);
    return nas_input_choice(c, key, .names = n->word, .n_candidates = count, .n_min = 1, .n_max = most,
                            .edges = n->key);
}

static bool add_inputs(cell *c, int index, const int in[OUTSIDE]) {
    block *b = &c->blocks[index];
    names n;
    b->first = index > MOST_EARLIER ? index - MOST_EARLIER : 0;
    b->n_inputs = OUTSIDE + index - b->first;
    for (int i = 0; i < b->n_inputs; i++) {
        bool outside = i < OUTSIDE;
        snprintf(n.words[i], sizeof *n.words, outside ? "cell-%d" : "block_%d",
                 outside ? i + 1 : b->first + i - OUTSIDE + 1);
        snprintf(n.keys[i], sizeof *n.keys, "block_%d/from_%s", index + 1, n.words[i]);
        n.word[i] = n.words[i];
        n.key[i] = n.keys[i];
        int channels = outside ? in[i] : c->channels;
        b->from[i] =
            optional(c, n.keys[i], "conv_1x1",
                     nas_sequential(norm(channels), nas_conv(.in = channels, .out = c->channels, .kernel = 1)));
        if (!b->from[i]) {
            return false;
        }
    }
    b->inputs = choice_new(c, index, "inputs", &n, b->n_inputs, b->n_inputs);
    return b->inputs != NULL;
}

static bool add_ops(cell *c, int index) {
    block *b = &c->blocks[index];
    names n;
    for (int i = 0; i < OPS; i++) {
        snprintf(n.keys[i], sizeof *n.keys, "block_%d/%s", index + 1, op_names[i]);
        n.word[i] = op_names[i];
        n.key[i] = n.keys[i];
        b->op[i] = optional(c, n.keys[i], op_names[i], op_new(i, c->channels));
        if (!b->op[i]) {
            return false;
        }
    }
    b->ops = choice_new(c, index, "ops", &n, OPS, 2);
    return b->ops != NULL;
}

static cell *cell_new(int n, int channels, const int in[OUTSIDE]) {
    cell *c = nas_module_new(cell, cell_forward);
    if (!c) {
        return NULL;
    }
    c->n = n;
    c->channels = channels;
    bool complete = true;
    for (int i = 0; complete && i < n; i++) {
        complete = add_inputs(c, i, in) && add_ops(c, i);
    }
    return (cell *)nas__module_complete(c, complete);
}

/* --- the network ------------------------------------------------------------------------------------------------- */
typedef struct network {
    nas_module base;
    nas_module *stem, *half, *head;
    int n_cells, per_stage, stages;
    cell *cells[MOST_CELLS];
} network;

static nas_tensor *network_forward(nas_module *self, nas_tensor *x) {
    network *n = (network *)self;
    nas_tensor *y = nas_forward(n->stem, nas__pad_image(x, 1 << (n->stages - 1))), *last[OUTSIDE] = {y, y};
    for (int i = 0; i < n->n_cells; i++) {
        for (int k = 0; k < OUTSIDE && i > 0 && i % n->per_stage == 0; k++) {
            last[k] = nas_forward(n->half, last[k]);
        }
        y = cell_run(n->cells[i], last);
        last[1] = last[0];
        last[0] = y;
    }
    return nas_forward(n->head, y);
}

static nas_module *build(const nas_space_config *config, const void *options) {
    const bender_options *o = options;
    network *n = nas_module_new(network, network_forward);
    if (!n) {
        return NULL;
    }
    n->per_stage = o->cells;
    n->stages = o->stages;
    n->n_cells = o->cells * o->stages;
    n->stem = nas_child(n, "stem", nas__stem(config, o->channels));
    n->half = nas_child(n, "half", nas_pool(.kind = NAS_POOL_AVG, .kernel = 2, .stride = 2));
    int in[OUTSIDE] = {o->channels, o->channels};
    bool complete = n->stem && n->half;
    for (int i = 0; complete && i < n->n_cells; i++) {
        int channels = o->channels << i / o->cells;
        char name[16];
        snprintf(name, sizeof name, "cell_%d", i + 1);
        n->cells[i] = (cell *)nas_child(n, name, cell_new(o->blocks, channels, in));
        complete = n->cells[i] != NULL;
        in[1] = in[0];
        in[0] = o->blocks * channels;
    }
    n->head = nas_child(n, "head", nas_sequential(norm(in[0]), nas__head(in[0], config->outputs)));
    return nas__module_complete(n, complete && n->head);
}

static const nas_option options_table[] = {
    {"channels", NAS_OPTION_INT, offsetof(bender_options, channels), "16", 1, 512, NULL,
     "channels of a block in the first stage; they double from stage to stage"},
    {"stages", NAS_OPTION_INT, offsetof(bender_options, stages), "3", 1, 4, NULL, "the image is halved between them"},
    {"cells", NAS_OPTION_INT, offsetof(bender_options, cells), "2", 1, MOST_CELLS / 4, NULL, "cells per stage"},
    {"blocks", NAS_OPTION_INT, offsetof(bender_options, blocks), "4", 1, MOST_BLOCKS, NULL, "choice blocks of a cell"},
    {NULL},
};

const nas_space_info nas__space_bender = {
    .name = "bender",
    .summary = "Understanding One-Shot: equal cells of four blocks, each with any inputs and one or two of seven ops",
    .paper =
        "Bender, Kindermans, Zoph, Vasudevan, Le: Understanding and Simplifying One-Shot Architecture Search, ICML "
        "2018",
    .options = options_table,
    .options_size = sizeof(bender_options),
    .build = build,
};
