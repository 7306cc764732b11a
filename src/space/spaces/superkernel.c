/* superkernel.c - the space of Single-Path NAS (Stamoulis et al. 2019): stages of inverted residuals, each a
 * superkernel of kernel 3 or 5 and expansion 3 or 6, all but the first of a stage with a skip. */
#include "space/spaces/spaces.h"

#include "nn/module.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STAGES = 5, MOST_BLOCKS = 16, LARGE_IMAGE = 96 };

typedef struct superkernel_options {
    int channels, stages, blocks;
    double dropout, bn_momentum;
} superkernel_options;

/* Of the paper, for 32 channels of the stem. Small images keep their size in the stem, and twice more on the way, so
 * that 28 and 32 pixels end at 4. */
static const struct {
    int out, stride, stride_small;
} stages[STAGES] = {{24, 2, 2}, {40, 2, 2}, {80, 2, 1}, {96, 1, 1}, {192, 2, 2}};
static const float EPS = 1e-3f;

/* --- fixed parts ------------------------------------------------------------------------------------- */
typedef struct width {
    int channels; /* of the stem */
    float momentum;
} width;

static int scaled(const width *w, int channels) {
    int c = (int)lround(channels * w->channels / 32.0);
    return c > 0 ? c : 1;
}

static nas_module *norm(const width *w, int channels, bool relu) {
    return nas_bn(.channels = channels, .momentum = w->momentum, .eps = EPS, .relu = relu);
}

static nas_module *pointwise(const width *w, int in, int out) {
    return nas_sequential(nas_conv(.in = in, .out = out, .kernel = 1), norm(w, out, true));
}

static nas_module *inverted(const width *w, int in, int out, int expansion) {
    return nas_mbconv(.in = in, .out = out, .kernel = 3, .expansion = expansion, .no_shortcut = true,
                      .bn_momentum = w->momentum, .bn_eps = EPS);
}

static nas_module *stem(const nas_space_config *config, const width *w) {
    bool large = config->height >= LARGE_IMAGE || config->width >= LARGE_IMAGE;
    nas_module *first =
        nas_sequential(nas_conv(.in = config->channels, .out = w->channels, .kernel = 3, .stride = large ? 2 : 1),
                       norm(w, w->channels, true));
    return nas_sequential(first, inverted(w, w->channels, scaled(w, 16), 1));
}

/* Five thirds of the last stage's channels, and four times as many before the pooling: 320 and 1280 in the paper. */
static nas_module *tail(const nas_space_config *config, const superkernel_options *o, const width *w, int in) {
    int out = (5 * in + 2) / 3;
    return nas_sequential(inverted(w, in, out, 6), pointwise(w, out, 4 * out), nas_pool(.kind = NAS_POOL_GLOBAL),
                          nas_dropout_new((float)o->dropout), nas_dense(.in = 4 * out, .out = config->outputs));
}

/* --- the network ------------------------------------------------------------------------------------- */
typedef struct network {
    nas_module base;
    nas_module *stem, *tail, *blocks[STAGES * MOST_BLOCKS];
    int n_blocks;
} network;

static nas_tensor *network_forward(nas_module *self, nas_tensor *x) {
    network *n = (network *)self;
    x = nas_forward(n->stem, nas__pad_image(x, 1));
    for (int i = 0; i < n->n_blocks; i++) {
        x = nas_forward(n->blocks[i], x);
    }
    return nas_forward(n->tail, x);
}

static bool add_blocks(network *n, const nas_space_config *config, const superkernel_options *o, const width *w,
                       int *channels) {
    bool small = config->height < LARGE_IMAGE && config->width < LARGE_IMAGE, complete = true;
    for (int i = 0; complete && i < o->stages * o->blocks; i++) {
        int stage = i / o->blocks, out = scaled(w, stages[stage].out);
        int stride = i % o->blocks ? 1 : small ? stages[stage].stride_small : stages[stage].stride;
        char key[16];
        snprintf(key, sizeof key, "block_%d", i + 1);
        n->blocks[i] = nas_child(n, key,
                                 nas_superkernel_block(key, .in = *channels, .out = out, .stride = stride,
                                                       .momentum = w->momentum, .eps = EPS));
        complete = n->blocks[i] != NULL;
        n->n_blocks = i + 1;
        *channels = out;
    }
    return complete;
}

static nas_module *build(const nas_space_config *config, const void *options) {
    const superkernel_options *o = options;
    const width w = {o->channels, (float)o->bn_momentum};
    int channels = scaled(&w, 16);
    network *n = nas_module_new(network, network_forward);
    if (!n) {
        return NULL;
    }
    n->stem = nas_child(n, "stem", stem(config, &w));
    bool complete = n->stem && add_blocks(n, config, o, &w, &channels);
    n->tail = complete ? nas_child(n, "tail", tail(config, o, &w, channels)) : NULL;
    return nas__module_complete(n, n->tail != NULL);
}

/* --- the string: k5e6-skip-k3e3-..., block by block ----------------------------------------------------- */
static char *canonical(const nas_architecture *a) {
    char text[STAGES * MOST_BLOCKS * 8] = "";
    size_t used = 0;
    for (int i = 0; i < nas_space_size(a->space) && used < sizeof text; i++) {
        const nas_choice *c = nas_space_choice(a->space, i);
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", i ? "-" : "", nas__chosen_name(a, c->key));
    }
    return nas__strdup(text);
}

static int read_candidate(const nas_choice *c, const char *text, size_t length) {
    for (int k = 0; k < c->n; k++) {
        if (strlen(c->names[k]) == length && strncmp(c->names[k], text, length) == 0) {
            return k;
        }
    }
    return -1;
}

static nas_architecture *parse(const nas_space *space, const char *string) {
    nas_architecture *a = nas_architecture_new(space);
    const char *at = string;
    bool fits = a != NULL;
    int n = nas_space_size(space);
    for (int i = 0; fits && i < n; i++) {
        size_t length = strcspn(at, "-");
        int k = read_candidate(nas_space_choice(space, i), at, length);
        fits = k >= 0 && at[length] == (i < n - 1 ? '-' : 0);
        at += length + (i < n - 1);
        if (fits) {
            a->bits[i] = (uint64_t)1 << k;
        }
    }
    if (a && !fits) {
        nas_architecture_free(a);
        return nas__fail_null(NAS_PARSE,
                              "\"%.200s\" is no architecture of this superkernel space; one looks like k5e6-skip-k3e3 "
                              "with %d blocks of k3e3, k3e6, k5e3, k5e6 and, but for the first of a stage, skip",
                              string, n);
    }
    return a;
}

#define ROW(field, type, ...)                                                                                          \
    { #field, type, offsetof(superkernel_options, field), __VA_ARGS__ }
static const nas_option options_table[] = {
    ROW(channels, NAS_OPTION_INT, "32", 2, 512, NULL, "channels of the stem; all others are in proportion"),
    ROW(stages, NAS_OPTION_INT, "5", 1, STAGES, NULL, "stages, of 24, 40, 80, 96 and 192 channels"),
    ROW(blocks, NAS_OPTION_INT, "4", 1, MOST_BLOCKS, NULL, "blocks of each stage; the first has no skip"),
    ROW(dropout, NAS_OPTION_FLOAT, "0.2", 0, 0.99, NULL, "probability, before the classifier"),
    ROW(bn_momentum, NAS_OPTION_FLOAT, "0.1", 1e-4, 1, NULL,
        "share of the newest batch in the running estimates (the paper has 0.01, for long trainings)"),
    {NULL},
};

const nas_space_info nas__space_superkernel = {
    .name = "superkernel",
    .summary = "Single-Path NAS: 20 inverted residuals, kernel 3 or 5, expansion 3 or 6, or none, in shared weights",
    .paper = "Stamoulis et al., Single-Path NAS, 2019, arXiv 1904.02877",
    .options = options_table,
    .options_size = sizeof(superkernel_options),
    .build = build,
    .canonical = canonical,
    .parse = parse,
};
