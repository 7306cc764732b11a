/* enas_micro.c - the micro space of ENAS (Pham, Guan, Zoph, Le, Dean, ICML 2018): normal and reduction cells of nodes
 * that add up two of five operations on any values before them, with weights for each value that they may read. */
#include "space/spaces/enas.h"

#include "nn/module.h"

enum { MOST_LAYERS = 64, KINDS = 2, FIRST = 2, SLOTS = 2 };

typedef struct micro_options {
    int channels, layers, nodes;
    double dropout;
    bool strided;
} micro_options;

/* --- operations -------------------------------------------------------------------------------------------------- */
static nas_module *sep_3x3(int channels, int stride) {
    return nas_sep_conv(.in = channels, .kernel = 3, .stride = stride);
}

static nas_module *sep_5x5(int channels, int stride) {
    return nas_sep_conv(.in = channels, .kernel = 5, .stride = stride);
}

static nas_module *avg_pool(int channels, int stride) {
    (void)channels;
    return nas_pool(.kind = NAS_POOL_AVG, .kernel = 3, .stride = stride, .padding = NAS_SAME);
}

static nas_module *max_pool(int channels, int stride) {
    (void)channels;
    return nas_pool(.kind = NAS_POOL_MAX, .kernel = 3, .stride = stride, .padding = NAS_SAME);
}

static nas_module *identity(int channels, int stride) {
    return stride == 1 ? nas_identity_new() : nas__enas_reduce_new(channels, channels);
}

static const nas_cell_op ops[] = {
    {"sep_conv_3x3", sep_3x3, NAS_CELL_OP},    {"sep_conv_5x5", sep_5x5, NAS_CELL_OP},
    {"avg_pool_3x3", avg_pool, NAS_CELL_OP},   {"max_pool_3x3", max_pool, NAS_CELL_OP},
    {"identity", identity, NAS_CELL_IDENTITY},
};
enum { OPS = sizeof ops / sizeof *ops };

/* --- the network ------------------------------------------------------------------------------------------------- */
typedef struct layer {
    nas_module *reduce; /* halves the image before the cell; NULL: nothing does, or the cell itself */
    nas_module *cell, *out;
} layer;

typedef struct network {
    nas_module base;
    nas_module *stem, *head;
    int n_layers;
    layer layers[MOST_LAYERS];
} network;

static nas_tensor *network_forward(nas_module *self, nas_tensor *x) {
    network *n = (network *)self;
    nas_tensor *stem = nas_forward(n->stem, nas__pad_image(x, 4)), *last[2] = {stem, stem};
    for (int i = 0; i < n->n_layers; i++) {
        const layer *l = &n->layers[i];
        if (l->reduce) {
            last[0] = last[1];
            last[1] = nas_forward(l->reduce, last[1]);
        }
        nas_tensor *out = nas_forward(l->out, nas_cell_forward(l->cell, 2, last));
        last[0] = last[1];
        last[1] = out;
    }
    return nas_forward(n->head, last[1]);
}

/* What a cell may be given: channels and by how much it is larger than the image now. */
typedef struct value {
    int channels, size;
} value;

static nas_cell_preprocess fitting(value v, int channels) {
    return v.size > 1 ? NAS_CELL_REDUCE : v.channels != channels ? NAS_CELL_CONV : NAS_CELL_AS_IS;
}

static nas_module *child(network *n, const char *what, int number, nas_module *module) {
    char name[24];
    snprintf(name, sizeof name, "%s_%d", what, number);
    return nas_child(n, name, module);
}

static bool add_layer(network *n, const micro_options *o, int index, bool reduces, int channels, value last[2]) {
    layer *l = &n->layers[index];
    if (reduces && !o->strided) {
        last[0] = (value){last[1].channels, 2};
        l->reduce = child(n, "reduce", index, nas__enas_reduce_new(last[1].channels, channels));
        last[1] = (value){channels, 1};
    }
    bool strides = reduces && o->strided;
    l->cell =
        child(n, "cell", index,
              nas_cell(.ops = ops, .n_ops = OPS, .channels = channels, .n_inputs = 2, .nodes = o->nodes,
                       .in = {last[0].channels, last[1].channels},
                       .preprocess = {fitting(last[0], channels), fitting(last[1], channels)}, .wiring = NAS_CELL_SLOTS,
                       .banks = true, .merge = strides ? NAS_CELL_LOOSE_ENDS : NAS_CELL_UNREAD,
                       .stride = strides ? 2 : 1, .drop_path = true, .prefix = reduces ? "reduce" : "normal"));
    l->out = l->cell ? child(n, "out", index,
                             nas_relu_conv_bn(.in = nas_cell_channels(l->cell), .out = channels, .kernel = 1))
                     : NULL;
    last[0] = (value){last[1].channels, strides ? 2 : 1};
    last[1] = (value){channels, 1};
    return l->out && !nas_cell_feed(l->cell, l->out);
}

static nas_module *build(const nas_space_config *config, const void *options) {
    const micro_options *o = options;
    network *n = o->channels % 2
                     ? nas__fail_null(NAS_INVALID, "space enas-micro: channels is %d, but it must be even", o->channels)
                     : nas_module_new(network, network_forward);
    if (!n) {
        return NULL;
    }
    int stem = 3 * o->channels, channels = o->channels;
    value last[2] = {{stem, 1}, {stem, 1}};
    n->stem = nas_child(n, "stem", nas__stem(config, stem));
    bool complete = n->stem != NULL;
    for (; complete && n->n_layers < o->layers; n->n_layers++) {
        int i = n->n_layers;
        bool reduces = o->layers > 2 && (i == o->layers / 3 || i == 2 * o->layers / 3);
        channels *= reduces ? 2 : 1;
        complete = add_layer(n, o, i, reduces, channels, last);
    }
    n->head = complete ? nas_child(n, "head", nas__enas_head(channels, o->dropout, config->outputs)) : NULL;
    return nas__module_complete(n, n->head != NULL);
}

/* --- strings ----------------------------------------------------------------------------------------------------- */
static const char *const kinds[KINDS] = {"normal", "reduce"};

/* The choice of a slot of a node; -1: there is none. */
static int choice_of(const nas_space *space, int kind, const char *what, int node, int slot) {
    char key[48];
    snprintf(key, sizeof key, "%s/%s_%d_%d", kinds[kind], what, node, slot);
    return nas_space_find(space, key);
}

static char *canonical(const nas_architecture *a) {
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    for (int i = 0; out && i < KINDS * NAS_CELL_MOST_NODES * SLOTS; i++) {
        int kind = i / (NAS_CELL_MOST_NODES * SLOTS), node = FIRST + i / SLOTS % NAS_CELL_MOST_NODES, slot = i % SLOTS;
        int input = choice_of(a->space, kind, "input", node, slot), op = choice_of(a->space, kind, "op", node, slot);
        if (input >= 0 && op >= 0) {
            fprintf(out, "%s%d %d", i ? " " : "", __builtin_ctzll(a->bits[input]), __builtin_ctzll(a->bits[op]));
        }
    }
    return nas__text_end(out, &text);
}

static nas_architecture *parse(const nas_space *space, const char *text) {
    nas__tokens t = {.text = text,
                     .at = text,
                     .form =
                         "an architecture of enas-micro is written as four numbers for every node of the normal, "
                         "then of the reduction cell: an earlier value, the operation on it (0 to 4), and both once "
                         "more: 0 2 0 0 0 4 0 1"};
    nas_architecture *a = nas_architecture_new(space);
    for (int i = 0; a && !t.failed && i < KINDS * NAS_CELL_MOST_NODES * SLOTS; i++) {
        int kind = i / (NAS_CELL_MOST_NODES * SLOTS), node = FIRST + i / SLOTS % NAS_CELL_MOST_NODES, slot = i % SLOTS;
        int input = choice_of(space, kind, "input", node, slot), op = choice_of(space, kind, "op", node, slot);
        if (input >= 0 && op >= 0) {
            int from = nas__tokens_next(&t, node), what = nas__tokens_next(&t, OPS);
            a->bits[input] = from < 0 ? 1 : (uint64_t)1 << from;
            a->bits[op] = what < 0 ? 1 : (uint64_t)1 << what;
        }
    }
    return a ? nas__tokens_end(&t, a) : NULL;
}

static const nas_option options_table[] = {
    {"channels", NAS_OPTION_INT, offsetof(micro_options, channels), "20", 2, 512, NULL,
     "channels of the first cells, an even number; they double at each reduction"},
    {"layers", NAS_OPTION_INT, offsetof(micro_options, layers), "8", 1, MOST_LAYERS, NULL,
     "cells; the ones at a third and two thirds reduce"},
    {"nodes", NAS_OPTION_INT, offsetof(micro_options, nodes), "5", 1, 8, NULL, "nodes of a cell"},
    {"strided", NAS_OPTION_BOOL, offsetof(micro_options, strided), "0", 0, 0, NULL,
     "reduction cells halve by the stride of operations on their inputs, as in the paper's final networks, instead of "
     "by a factorized reduction before them"},
    {"dropout", NAS_OPTION_FLOAT, offsetof(micro_options, dropout), "0.1", 0, 0.99, NULL,
     "probability, before the classifier"},
    {NULL},
};

const nas_space_info nas__space_enas_micro = {
    .name = "enas-micro",
    .summary =
        "ENAS' micro space: normal and reduction cells, nodes of two operations out of five on any earlier values",
    .paper = "Pham, Guan, Zoph, Le and Dean, ENAS, ICML 2018, arXiv 1802.03268",
    .options = options_table,
    .options_size = sizeof(micro_options),
    .build = build,
    .canonical = canonical,
    .parse = parse,
};
