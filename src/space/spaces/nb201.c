/* nb201.c - the cell space of NAS-Bench-201 (Dong and Yang, ICLR 2020): 15,625 cells, each known from tables. */
#include "space/spaces/cell_ops.h"
#include "space/spaces/spaces.h"
#include "space/spaces/nb201.h"

#include "nn/module.h"
#include "tensor/tensor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NODES = 4, EDGES = NAS__NB201_EDGES, OPS = NAS__NB201_OPS };

typedef struct nb201_options {
    int channels, cells;
} nb201_options;

static const char *const edge_keys[EDGES] = {"edge_1_0", "edge_2_0", "edge_2_1", "edge_3_0", "edge_3_1", "edge_3_2"};

/* --- the cell ------------------------------------------------------------------------------------------- */
/* NAS-Bench-201 has no batch norm behind its pooling. */
static nas_module *avg_pool(int channels, int stride) {
    (void)channels;
    return nas_pool(.kind = NAS_POOL_AVG, .kernel = 3, .stride = stride, .padding = NAS_SAME);
}

static const nas_cell_op ops[OPS] = {
    {"none", nas__op_none, NAS_CELL_ZERO},           {"skip_connect", nas__op_skip, NAS_CELL_IDENTITY},
    {"nor_conv_1x1", nas__op_conv_1x1, NAS_CELL_OP}, {"nor_conv_3x3", nas__op_conv_3x3, NAS_CELL_OP},
    {"avg_pool_3x3", avg_pool, NAS_CELL_OP},
};

static nas_module *cell_new(int channels) {
    return nas_cell(.ops = ops, .n_ops = OPS, .channels = channels, .n_inputs = 1, .nodes = NODES - 1,
                    .preprocess = {NAS_CELL_AS_IS}, .merge = NAS_CELL_LAST);
}

/* --- the reduction block: residual, halves the image --------------------------------------------------------- */
typedef struct reduction {
    nas_module base;
    nas_module *main, *shortcut;
} reduction;

static nas_tensor *reduction_forward(nas_module *self, nas_tensor *x) {
    reduction *r = (reduction *)self;
    return nas_add(nas_forward(r->main, x), nas_forward(r->shortcut, x));
}

static nas_module *reduction_new(int in, int out) {
    reduction *r = nas_module_new(reduction, reduction_forward);
    if (!r) {
        return NULL;
    }
    r->main = nas_child(r, "main",
                        nas_sequential(nas_relu_conv_bn(.in = in, .out = out, .kernel = 3, .stride = 2),
                                       nas_relu_conv_bn(.in = out, .out = out, .kernel = 3)));
    r->shortcut = nas_child(r, "shortcut",
                            nas_sequential(nas_pool(.kind = NAS_POOL_AVG, .kernel = 2, .stride = 2),
                                           nas_conv(.in = in, .out = out, .kernel = 1)));
    return nas__module_complete(r, r->main && r->shortcut);
}

/* --- the network ------------------------------------------------------------------------------------------- */
typedef struct network {
    nas_module base;
    nas_module *stem, *body, *head;
} network;

static nas_tensor *network_forward(nas_module *self, nas_tensor *x) {
    network *n = (network *)self;
    return nas_forward(n->head, nas_forward(n->body, nas_forward(n->stem, nas__pad_image(x, 4))));
}

static nas_module *body_new(int channels, int cells) {
    enum { STAGES = 3 };
    int count = STAGES * cells + STAGES - 1, made = 0;
    nas_module **blocks = nas__alloc((size_t)count * sizeof *blocks);
    for (int stage = 0; blocks && stage < STAGES; stage++) {
        if (stage) {
            blocks[made++] = reduction_new(channels << (stage - 1), channels << stage);
        }
        for (int i = 0; i < cells; i++) {
            blocks[made++] = cell_new(channels << stage);
        }
    }
    nas_module *body = blocks ? nas_sequential_new(count, blocks) : NULL;
    free(blocks);
    return body;
}

static nas_module *build(const nas_space_config *config, const void *options) {
    const nb201_options *o = options;
    network *n = nas_module_new(network, network_forward);
    if (!n) {
        return NULL;
    }
    n->stem = nas_child(n, "stem", nas__stem(config, o->channels));
    n->body = nas_child(n, "body", body_new(o->channels, o->cells));
    n->head = nas_child(
        n, "head",
        nas_sequential(nas_bn(.channels = 4 * o->channels, .relu = true), nas__head(4 * o->channels, config->outputs)));
    return nas__module_complete(n, n->stem && n->body && n->head);
}

/* --- strings and codes --------------------------------------------------------------------------------------- */
int nas__nb201_code(const nas_architecture *a) {
    int code = 0;
    for (int i = 0; i < EDGES; i++) {
        int choice = nas_space_find(a->space, edge_keys[i]);
        if (choice < 0) {
            nas__fail(NAS_INVALID, "this architecture is not of space nb201: it has no \"%s\"", edge_keys[i]);
            return -1;
        }
        code = code * OPS + __builtin_ctzll(a->bits[choice]);
    }
    return code;
}

nas_architecture *nas__nb201_decode(const nas_space *space, int code) {
    nas_architecture *a = nas_architecture_new(space);
    for (int i = EDGES - 1, rest = code; a && i >= 0; i--, rest /= OPS) {
        int choice = nas_space_find(space, edge_keys[i]);
        if (choice < 0 || code < 0 || code >= NAS__NB201_CELLS) {
            nas_architecture_free(a);
            return nas__fail_null(NAS_INVALID, "%d is no cell of space nb201 (0 to %d), or the space is another", code,
                                  NAS__NB201_CELLS - 1);
        }
        a->bits[choice] = (uint64_t)1 << rest % OPS;
    }
    return a;
}

char *nas__nb201_string(int code) {
    int digits[EDGES];
    char text[EDGES * 20 + 8];
    size_t used = 0;
    for (int i = EDGES - 1; i >= 0; i--, code /= OPS) {
        digits[i] = code % OPS;
    }
    for (int to = 1, edge = 0; to < NODES; to++) {
        used += (size_t)snprintf(text + used, sizeof text - used, "%s", to > 1 ? "+" : "");
        for (int from = 0; from < to; from++, edge++) {
            used += (size_t)snprintf(text + used, sizeof text - used, "|%s~%d%s", ops[digits[edge]].name, from,
                                     from == to - 1 ? "|" : "");
        }
    }
    return nas__strdup(text);
}

/* Reads "|op~from" at *text; the op's index, or -1. */
static int read_op(const char **text, int from) {
    const char *name = **text == '|' ? *text + 1 : *text;
    size_t length = strcspn(name, "~");
    if (**text != '|' || name[length] != '~' || name[length + 1] != '0' + from) {
        return -1;
    }
    *text = name + length + 2;
    for (int i = 0; i < OPS; i++) {
        if (strlen(ops[i].name) == length && strncmp(ops[i].name, name, length) == 0) {
            return i;
        }
    }
    return -1;
}

int nas__nb201_parse(const char *string) {
    const char *at = string;
    int code = 0;
    bool fits = true;
    for (int to = 1; fits && to < NODES; to++) {
        fits = to == 1 || *at++ == '+';
        for (int from = 0; fits && from < to; from++) {
            int op = read_op(&at, from);
            fits = op >= 0;
            code = code * OPS + op;
        }
        fits = fits && *at++ == '|';
    }
    if (!fits || *at) {
        nas__fail(NAS_PARSE,
                  "\"%.200s\" is no cell of NAS-Bench-201; one looks like |op~0|+|op~0|op~1|+|op~0|op~1|op~2| "
                  "with ops none, skip_connect, nor_conv_1x1, nor_conv_3x3, avg_pool_3x3",
                  string);
        return -1;
    }
    return code;
}

static char *canonical(const nas_architecture *a) {
    int code = nas__nb201_code(a);
    return code < 0 ? NULL : nas__nb201_string(code);
}

static nas_architecture *parse(const nas_space *space, const char *text) {
    int code = nas__nb201_parse(text);
    return code < 0 ? NULL : nas__nb201_decode(space, code);
}

static const nas_option options_table[] = {
    {"channels", NAS_OPTION_INT, offsetof(nb201_options, channels), "16", 1, 512, NULL,
     "channels of the first stage; they double twice"},
    {"cells", NAS_OPTION_INT, offsetof(nb201_options, cells), "5", 1, 32, NULL, "cells per stage, of three stages"},
    {NULL},
};

const nas_space_info nas__space_nb201 = {
    .name = "nb201",
    .summary = "NAS-Bench-201: one cell of six edges with five operations each, 15,625 cells",
    .paper = "Dong and Yang, NAS-Bench-201, ICLR 2020, arXiv 2001.00326",
    .options = options_table,
    .options_size = sizeof(nb201_options),
    .build = build,
    .depth = "cells",
    .canonical = canonical,
    .parse = parse,
};
