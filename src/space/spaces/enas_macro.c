/* enas_macro.c - the macro space of ENAS (Pham, Guan, Zoph, Le, Dean, ICML 2018): a chain of layers of one of six
 * operations each, and which of all outputs before its predecessor's a layer adds to its own. */
#include "space/spaces/enas.h"

#include "nn/module.h"

enum { MOST_LAYERS = 32, OPS = 6, STAGES = 3 };

typedef struct macro_options {
    int channels, layers;
    double dropout;
} macro_options;

/* Adds the skips, and normalises the sum. */
typedef struct sum {
    nas_module base;
    nas_mutable *skips;
    nas_module *bn;
} sum;

typedef struct network {
    nas_module base;
    nas_module *stem, *head, *ops[MOST_LAYERS], *sums[MOST_LAYERS];
    nas_module *reductions[STAGES - 1][MOST_LAYERS]; /* of state i behind the first and second stage; NULL: pruned */
    int layers;
} network;

/* --- running ----------------------------------------------------------------------------------------------------- */
/* The stage of what layer `layer` computes: behind the layers at a third and two thirds all states are halved. */
static int stage_of(const network *n, int layer) { return (layer >= n->layers / 3) + (layer >= 2 * n->layers / 3); }

static bool wants(const network *n, int layer, int state) {
    return state == layer || (layer > 0 && nas_wanted(((sum *)n->sums[layer])->skips, state));
}

/* State i (0: the stem's, k: that of the k-th layer) in the size of a stage. It is halved when it is first wanted. */
static nas_tensor *state_at(const network *n, nas_tensor *(*states)[STAGES], int i, int stage) {
    int made_at = i == 0 ? 0 : stage_of(n, i - 1);
    if (!states[i][stage] && stage > made_at) {
        states[i][stage] = nas_forward(n->reductions[stage - 1][i], state_at(n, states, i, stage - 1));
    }
    return states[i][stage];
}

static nas_tensor *add_skips(const network *n, nas_tensor *(*states)[STAGES], int layer, nas_tensor *y) {
    const sum *s = (const sum *)n->sums[layer];
    nas_tensor *given[MOST_LAYERS] = {0};
    bool any = false;
    for (int i = 0; i < layer; i++) {
        if (nas_wanted(s->skips, i)) {
            given[i] = state_at(n, states, i, stage_of(n, layer));
            any = true;
        }
    }
    return nas_forward(n->sums[layer], any ? nas_add(y, nas_choose(s->skips, layer, given)) : y);
}

static nas_tensor *network_forward(nas_module *self, nas_tensor *x) {
    network *n = (network *)self;
    nas_tensor *states[MOST_LAYERS + 1][STAGES] = {0};
    states[0][0] = nas_forward(n->stem, nas__pad_image(x, 4));
    for (int l = 0; l < n->layers; l++) {
        int stage = stage_of(n, l);
        nas_tensor *y = nas_forward(n->ops[l], state_at(n, states, l, stage));
        states[l + 1][stage] = l ? add_skips(n, states, l, y) : y;
    }
    return nas_forward(n->head, states[n->layers][stage_of(n, n->layers - 1)]);
}

/* Reductions of states that no layer wants behind them are gone. */
static void network_fixed(nas_module *self) {
    network *n = (network *)self;
    for (int stage = 1; stage < STAGES; stage++) {
        for (int i = 0; i <= n->layers; i++) {
            bool wanted = false;
            for (int l = i; l < n->layers && !wanted; l++) {
                wanted = stage_of(n, l) >= stage && wants(n, l, i);
            }
            nas_module **reduction = &n->reductions[stage - 1][i];
            if (*reduction && !wanted) {
                nas__module_detach(*reduction);
                nas_module_free(*reduction);
                *reduction = NULL;
            }
        }
    }
}

/* --- making ------------------------------------------------------------------------------------------------------ */
/* Of a sum; what is added up is the network's matter, which has the states. */
static nas_tensor *sum_forward(nas_module *self, nas_tensor *x) { return nas_forward(((sum *)self)->bn, x); }

static nas_module *branch(int c, nas_module *op) {
    return nas_sequential(nas_conv_bn_relu(.in = c, .out = c, .kernel = 1), op);
}

static nas_module *conv(int c, int kernel) { return branch(c, nas_conv_bn_relu(.in = c, .out = c, .kernel = kernel)); }

static nas_module *sep(int c, int kernel) {
    return branch(c, nas_sequential(nas_conv(.in = c, .out = c, .kernel = kernel, .groups = c),
                                    nas_conv_bn_relu(.in = c, .out = c, .kernel = 1)));
}

static nas_module *pool(int c, nas_pool_kind kind) {
    return branch(c, nas_pool(.kind = kind, .kernel = 3, .stride = 1, .padding = NAS_SAME));
}

static const char *const names[OPS] = {"conv3x3", "sepconv3x3", "conv5x5", "sepconv5x5", "avgpool3x3", "maxpool3x3"};

static bool add_op(network *n, int layer, int c) {
    char name[24], key[24];
    snprintf(name, sizeof name, "layer_%d", layer + 1);
    snprintf(key, sizeof key, "layer_%d/op", layer + 1);
    const nas_candidate candidates[OPS] = {
        {names[0], conv(c, 3)},
        {names[1], sep(c, 3)},
        {names[2], conv(c, 5)},
        {names[3], sep(c, 5)},
        {names[4], pool(c, NAS_POOL_AVG)},
        {names[5], pool(c, NAS_POOL_MAX)},
    };
    n->ops[layer] = nas_child(n, name, nas_layer_choice(n, key, OPS, candidates));
    return n->ops[layer] != NULL;
}

/* The skips of a layer: of all states but that which it reads itself. */
static bool add_sum(network *n, int layer, int channels) {
    char name[24], key[24], texts[MOST_LAYERS][16];
    const char *states[MOST_LAYERS];
    for (int i = 0; i < layer; i++) {
        snprintf(texts[i], sizeof *texts, i ? "layer_%d" : "stem", i);
        states[i] = texts[i];
    }
    snprintf(name, sizeof name, "sum_%d", layer + 1);
    snprintf(key, sizeof key, "layer_%d/skips", layer + 1);
    sum *s = nas_module_new(sum, sum_forward);
    if (!s) {
        return false;
    }
    s->bn = nas_child(s, "bn", nas_bn(.channels = channels));
    s->skips = s->bn ? nas_input_choice(s, key, .names = states, .n_candidates = layer) : NULL;
    n->sums[layer] = nas_child(n, name, nas__module_complete(s, s->skips != NULL));
    return n->sums[layer] != NULL;
}

/* Behind the first and the second stage every state that is there has a reduction of its own. */
static bool add_reductions(network *n, int channels) {
    bool complete = true;
    for (int stage = 1; stage < STAGES; stage++) {
        for (int i = 0; complete && i <= n->layers && (i == 0 || stage_of(n, i - 1) < stage); i++) {
            char name[32];
            snprintf(name, sizeof name, "reduction_%d_%d", stage, i);
            n->reductions[stage - 1][i] = nas_child(n, name, nas__enas_reduce_new(channels, channels));
            complete = n->reductions[stage - 1][i] != NULL;
        }
    }
    return complete;
}

static nas_module *build(const nas_space_config *config, const void *options) {
    const macro_options *o = options;
    network *n = o->channels % 2
                     ? nas__fail_null(NAS_INVALID, "space enas-macro: channels is %d, but it must be even", o->channels)
                     : nas_module_new(network, network_forward);
    if (!n) {
        return NULL;
    }
    n->base.fixed = network_fixed;
    n->layers = o->layers;
    n->stem = nas_child(n, "stem", nas__stem(config, o->channels));
    bool complete = n->stem != NULL;
    for (int l = 0; complete && l < n->layers; l++) {
        complete = add_op(n, l, o->channels) && (l == 0 || add_sum(n, l, o->channels));
    }
    complete = complete && add_reductions(n, o->channels);
    n->head = complete ? nas_child(n, "head", nas__enas_head(o->channels, o->dropout, config->outputs)) : NULL;
    return nas__module_complete(n, n->head != NULL);
}

/* --- strings ----------------------------------------------------------------------------------------------------- */
/* The choice of a layer, counted from 0; -1: there is none. */
static int choice_of(const nas_space *space, int layer, const char *what) {
    char key[32];
    snprintf(key, sizeof key, "layer_%d/%s", layer + 1, what);
    return nas_space_find(space, key);
}

static char *canonical(const nas_architecture *a) {
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    for (int l = 0, op; out && (op = choice_of(a->space, l, "op")) >= 0; l++) {
        int skips = choice_of(a->space, l, "skips");
        fprintf(out, "%s%d", l ? " " : "", __builtin_ctzll(a->bits[op]));
        for (int i = 0; i < l; i++) {
            fprintf(out, " %d", (int)(a->bits[skips] >> i & 1));
        }
    }
    return nas__text_end(out, &text);
}

static nas_architecture *parse(const nas_space *space, const char *text) {
    nas__tokens t = {.text = text,
                     .at = text,
                     .form =
                         "an architecture of enas-macro is written as the operation of each layer (0 to 5), and "
                         "behind that for each earlier state but the last whether it is added (0 or 1): 0 3 1 5 0 1"};
    nas_architecture *a = nas_architecture_new(space);
    for (int l = 0, op; a && !t.failed && (op = choice_of(space, l, "op")) >= 0; l++) {
        int token = nas__tokens_next(&t, OPS);
        a->bits[op] = token < 0 ? 1 : (uint64_t)1 << token;
        uint64_t set = 0;
        for (int i = 0; i < l; i++) {
            set |= (uint64_t)(nas__tokens_next(&t, 2) == 1) << i;
        }
        if (l) {
            a->bits[choice_of(space, l, "skips")] = set;
        }
    }
    return a ? nas__tokens_end(&t, a) : NULL;
}

static const nas_option options_table[] = {
    {"channels", NAS_OPTION_INT, offsetof(macro_options, channels), "36", 2, 512, NULL,
     "channels of every layer; an even number"},
    {"layers", NAS_OPTION_INT, offsetof(macro_options, layers), "12", 2, MOST_LAYERS, NULL,
     "layers; behind those at a third and two thirds the image is halved"},
    {"dropout", NAS_OPTION_FLOAT, offsetof(macro_options, dropout), "0.1", 0, 0.99, NULL,
     "probability, before the classifier"},
    {NULL},
};

const nas_space_info nas__space_enas_macro = {
    .name = "enas-macro",
    .summary = "ENAS' macro space: a chain of layers, six operations for each, and any skip connections between them",
    .paper = "Pham, Guan, Zoph, Le and Dean, ENAS, ICML 2018, arXiv 1802.03268",
    .options = options_table,
    .options_size = sizeof(macro_options),
    .build = build,
    .canonical = canonical,
    .parse = parse,
};
