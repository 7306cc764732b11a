/* chain.c - a small first space: a chain of layers, each one of five kinds, and one skip connection over its last part.
 */
#include "space/spaces/spaces.h"

#include <stdio.h>

enum { MAX_LAYERS = 16, N_CANDIDATES = 5 };

typedef struct chain_options {
    int channels, layers;
} chain_options;

typedef struct chain {
    nas_module base;
    nas_module *stem, *layers[MAX_LAYERS], *half, *head;
    nas_mutable *skip; /* over the outputs of layers `from` to n_layers - 1 */
    int n_layers, from;
    bool halves; /* not the rows of a table, which are images of one pixel */
} chain;

enum { SMALLEST_HALVED = 8 };

/* Halved behind a third and two thirds of the layers. */
static bool is_last_of_stage(const chain *c, int layer) {
    return c->halves && (layer == c->n_layers / 3 || layer == c->from);
}

static nas_tensor *chain_forward(nas_module *self, nas_tensor *x) {
    chain *c = (chain *)self;
    nas_tensor *outputs[MAX_LAYERS + 1] = {nas_forward(c->stem, nas__pad_image(x, 1))};
    for (int i = 1; i <= c->n_layers; i++) {
        nas_tensor *y = nas_forward(c->layers[i - 1], outputs[i - 1]);
        outputs[i] = is_last_of_stage(c, i) ? nas_forward(c->half, y) : y;
    }
    nas_tensor *skip = nas_choose(c->skip, c->n_layers - c->from, outputs + c->from);
    return nas_forward(c->head, nas_add(outputs[c->n_layers], skip));
}

static nas_module *layer(chain *c, int index, int channels) {
    char key[24];
    snprintf(key, sizeof key, "layer_%d", index);
    const nas_candidate candidates[N_CANDIDATES] = {
        {"conv3x3", nas_conv_bn_relu(.in = channels, .out = channels, .kernel = 3)},
        {"conv5x5", nas_conv_bn_relu(.in = channels, .out = channels, .kernel = 5)},
        {"sep3x3", nas_sep_conv(.in = channels, .out = channels, .kernel = 3)},
        {"max_pool_3x3", nas_pool(.kind = NAS_POOL_MAX, .kernel = 3, .stride = 1, .padding = NAS_SAME)},
        {"skip", nas_identity_new()},
    };
    return nas_child(c, key, nas_layer_choice(c, key, N_CANDIDATES, candidates));
}

static nas_module *build(const nas_space_config *config, const void *options) {
    const chain_options *o = options;
    chain *c = nas_module_new(chain, chain_forward);
    if (!c) {
        return NULL;
    }
    char texts[MAX_LAYERS][24];
    const char *names[MAX_LAYERS];
    c->n_layers = o->layers;
    c->from = 2 * o->layers / 3;
    c->halves = config->height >= SMALLEST_HALVED && config->width >= SMALLEST_HALVED;
    c->stem = nas_child(c, "stem", nas__stem(config, o->channels));
    bool complete = c->stem != NULL;
    for (int i = 1; complete && i <= c->n_layers; i++) {
        c->layers[i - 1] = layer(c, i, o->channels);
        complete = c->layers[i - 1] != NULL;
    }
    for (int i = c->from; i < c->n_layers; i++) {
        snprintf(texts[i - c->from], sizeof *texts, "layer_%d", i);
        names[i - c->from] = texts[i - c->from];
    }
    c->skip = nas_input_choice(c, "skip", .names = names, .n_candidates = c->n_layers - c->from, .n_chosen = 1);
    c->half = nas_child(c, "half", nas_pool(.kind = NAS_POOL_MAX, .kernel = 2, .stride = 2));
    c->head = nas_child(c, "head", nas__head(o->channels, config->outputs));
    if (!complete || !c->skip || !c->half || !c->head) {
        nas_free(c);
        return NULL;
    }
    return &c->base;
}

static const nas_option options_table[] = {
    {"channels", NAS_OPTION_INT, offsetof(chain_options, channels), "16", 2, 512, NULL, "channels of every layer"},
    {"layers", NAS_OPTION_INT, offsetof(chain_options, layers), "5", 4, MAX_LAYERS, NULL, "layers, each a choice"},
    {NULL},
};

const nas_space_info nas__space_chain = {
    .name = "chain",
    .summary = "a chain of layers (convolutions, pooling, nothing) with one skip connection: small, a first space",
    .paper = NULL,
    .options = options_table,
    .options_size = sizeof(chain_options),
    .smallest = 1,
    .build = build,
};
