/* shufflenet.c - the space of SPOS (Guo et al., ECCV 2020): ShuffleNetV2 whose blocks choose a kernel, or the Xception
 * form. With channels=search each block also chooses the width inside it: its candidates have weights for the widest,
 * and a path uses the first channels of these. */
#include "space/spaces/mobile.h"

#include "nn/module.h"
#include "space/space.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct shufflenet_options {
    nas__mobile_options stages;
    nas_list factors;
    double dropout;
    int channels;
} shufflenet_options;

enum { CANDIDATES = 4 };
enum { CHANNELS_FIXED, CHANNELS_SEARCH };

static const char *const names[CANDIDATES] = {"shuffle_3", "shuffle_5", "shuffle_7", "xception"};
static const char *const codes[CANDIDATES] = {"0", "1", "2", "3"};

/* --- a block ------------------------------------------------------------------------------------------------ */
/* Every second channel passes, the others go through `main`; in the first block of a stage all channels go through
 * both branches. That split is the shuffle of the channels. */
typedef struct block {
    nas_module base;
    nas_module *main, *projection; /* projection NULL: half of the channels passes */
} block;

static nas_tensor *block_forward(nas_module *self, nas_tensor *x) {
    block *b = (block *)self;
    nas_tensor *parts[2] = {x, x};
    if (!b->projection && !nas_split_even_odd(x, parts)) {
        return NULL;
    }
    parts[0] = b->projection ? nas_forward(b->projection, parts[0]) : parts[0];
    parts[1] = nas_forward(b->main, parts[1]);
    return nas_concat(2, parts, 1);
}

static nas_module *depthwise(int channels, int kernel, int stride) {
    return nas_sequential(
        nas_conv(.in = channels, .out = channels, .kernel = kernel, .stride = stride, .groups = channels),
        nas_bn(.channels = channels, .affine = NAS_AFFINE_WHEN_FIXED));
}

static nas_module *pointwise(int in, int out) {
    return nas_conv_bn_relu(.in = in, .out = out, .kernel = 1, .affine = NAS_AFFINE_WHEN_FIXED);
}

typedef struct shape {
    int in, out, stride; /* of the block */
    bool first;          /* of a stage */
    int wide;            /* channels inside, the most */
    nas__width width;    /* and how many of them are in use, when that is searched */
} shape;

/* `narrow`, which may be NULL, with outputs or inputs of the searched width. */
static nas_module *slim(const shape *s, nas_module *narrow, bool out, bool in) {
    if (narrow && s->width.now) {
        nas__module_width(narrow, out ? &s->width : NULL, in ? &s->width : NULL);
    }
    return narrow;
}

static nas_module *widening(const shape *s, int in) { return slim(s, pointwise(in, s->wide), true, false); }
static nas_module *narrowing(const shape *s, int out) { return slim(s, pointwise(s->wide, out), false, true); }
static nas_module *inner(const shape *s, int kernel, int stride) {
    return slim(s, depthwise(s->wide, kernel, stride), true, false);
}

static nas_module *main_new(const shape *s, int kernel, bool xception) {
    int in = s->first ? s->in : s->in / 2, out = s->out - in;
    return xception ? nas_sequential(depthwise(in, kernel, s->stride), widening(s, in), inner(s, kernel, 1),
                                     slim(s, pointwise(s->wide, s->wide), true, true), inner(s, kernel, 1),
                                     narrowing(s, out))
                    : nas_sequential(widening(s, in), inner(s, kernel, s->stride), narrowing(s, out));
}

static nas_module *block_new(const shape *s, int candidate) {
    bool xception = candidate == CANDIDATES - 1;
    int kernel = xception ? 3 : 3 + 2 * candidate;
    block *b = nas_module_new(block, block_forward);
    if (!b) {
        return NULL;
    }
    if (s->first) {
        b->projection =
            nas_child(b, "projection", nas_sequential(depthwise(s->in, kernel, s->stride), pointwise(s->in, s->in)));
    }
    b->main = nas_child(b, "main", main_new(s, kernel, xception));
    return nas__module_complete(b, b->main && (b->projection || !s->first));
}

/* --- the network ------------------------------------------------------------------------------------------- */
static int64_t width_now(const void *choice) { return (int64_t)nas_value(choice); }

/* The choice of a width for the block: factors of half of its output's channels, which is what it has otherwise. */
static bool search_width(nas_module *network, const nas_list *factors, int number, shape *s) {
    double widths[NAS_LIST_MOST];
    char key[24];
    snprintf(key, sizeof key, "channels_%d", number);
    s->wide = 0;
    for (int i = 0; i < factors->n; i++) {
        widths[i] = fmax(1, round(s->out / 2 * factors->values[i] / 100.0));
        for (int k = 0; k < i; k++) {
            if (widths[k] == widths[i]) {
                return nas__fail_null(NAS_INVALID,
                                      "space shufflenet: factors %d and %d both make %g of the %d channels inside "
                                      "block %d; take wider stages, or fewer factors",
                                      factors->values[k], factors->values[i], widths[i], s->out / 2, number);
            }
        }
        s->wide = s->wide > (int)widths[i] ? s->wide : (int)widths[i];
    }
    s->width = (nas__width){width_now, nas_value_choice_new(network, key, factors->n, widths)};
    return s->width.source != NULL;
}

static bool add_stage(nas_module *network, const shufflenet_options *o, const nas__mobile_stage *stage, int in,
                      int *number) {
    for (int i = 0; i < stage->blocks; i++) {
        nas_candidate candidates[CANDIDATES];
        shape s = {i ? stage->width : in, stage->width, i ? 1 : stage->stride, i == 0, stage->width / 2, {0}};
        char key[24];
        snprintf(key, sizeof key, "block_%d", ++*number);
        if (o->channels == CHANNELS_SEARCH && !search_width(network, &o->factors, *number, &s)) {
            return false;
        }
        for (int k = 0; k < CANDIDATES; k++) {
            candidates[k] = (nas_candidate){names[k], block_new(&s, k)};
        }
        if (!nas_child(network, key, nas_layer_choice(network, key, CANDIDATES, candidates))) {
            return false;
        }
    }
    return true;
}

static bool widths_fit(const nas__mobile *m) {
    for (int i = 0, in = m->stem; i < m->n_stages; in = m->stages[i++].width) {
        if (m->stages[i].width % 4 || m->stages[i].width <= in) {
            return nas__fail_null(NAS_INVALID,
                                  "space shufflenet: stage %d has %d channels behind %d; they must be a multiple of 4 "
                                  "and grow from stage to stage",
                                  i + 1, m->stages[i].width, in);
        }
    }
    return true;
}

static nas_module *head_new(const nas__mobile *m, double dropout, int outputs) {
    return nas_sequential(nas_pool(.kind = NAS_POOL_GLOBAL), nas_dropout_new((float)dropout),
                          nas_dense(.in = m->last, .out = outputs, .no_bias = true));
}

static nas_module *build(const nas_space_config *config, const void *options) {
    const shufflenet_options *o = options;
    nas__mobile m = {0};
    if (!nas__mobile_stages(&m, "shufflenet", &o->stages, config) || !widths_fit(&m)) {
        return NULL;
    }
    nas_module *network = nas__row_network_new();
    bool complete = network && nas_child(network, "stem",
                                         nas_conv_bn_relu(.in = config->channels, .out = m.stem, .kernel = 3,
                                                          .stride = m.stem_stride, .affine = NAS_AFFINE_WHEN_FIXED));
    int in = m.stem, number = 0;
    for (int i = 0; complete && i < m.n_stages; i++) {
        complete = add_stage(network, o, &m.stages[i], in, &number);
        in = m.stages[i].width;
    }
    complete = complete && nas_child(network, "last", pointwise(in, m.last)) &&
               nas_child(network, "head", head_new(&m, o->dropout, config->outputs));
    return nas__module_complete(network, complete);
}

/* "2,0,1" or, with searched widths, "2,0,1;26,32,51". */
static char *canonical(const nas_architecture *a) {
    char *blocks = nas__row_string(a, "block", codes, ",");
    char *widths = blocks ? nas__row_string(a, "channels", NULL, ",") : NULL;
    char *text = widths && *widths ? nas__format("%s;%s", blocks, widths) : NULL;
    if (widths && !*widths) {
        text = blocks;
        blocks = NULL;
    }
    free(blocks);
    free(widths);
    return text;
}

static nas_architecture *parse(const nas_space *space, const char *text) {
    nas_architecture *a = nas_architecture_new(space);
    char *blocks = a ? nas__strdup(text) : NULL, *widths = blocks;
    bool complete = blocks && nas__row_fill(a, "block", codes, ",", strsep(&widths, ";")) &&
                    nas__row_fill(a, "channels", NULL, ",", widths ? widths : "");
    free(blocks);
    if (!complete) {
        nas_architecture_free(a);
    }
    return complete ? a : NULL;
}

static const nas_option options_table[] = {
    NAS__MOBILE_OPTIONS(shufflenet_options, "64-160-320-640", "4-4-8-4", "2-2-2-2-2", "16", "1024"),
    {"dropout", NAS_OPTION_FLOAT, offsetof(shufflenet_options, dropout), "0.1", 0, 0.99, NULL,
     "probability, before the classifier"},
    {"channels", NAS_OPTION_CHOICE, offsetof(shufflenet_options, channels), "fixed", 0, 0, "fixed|search",
     "inside a block: half of its output's, or searched, too"},
    {"factors", NAS_OPTION_LIST, offsetof(shufflenet_options, factors), "20-40-60-80-100-120-140-160", 1, 400, NULL,
     "channels=search: the widths to choose from, in percent of that half"},
    {NULL},
};

const nas_space_info nas__space_shufflenet = {
    .name = "shufflenet",
    .summary = "SPOS: ShuffleNetV2 of 20 blocks, each with kernel 3, 5 or 7 or in the form of Xception",
    .paper = "Guo et al., Single Path One-Shot Neural Architecture Search with Uniform Sampling, ECCV 2020, arXiv "
             "1904.00420",
    .options = options_table,
    .options_size = sizeof(shufflenet_options),
    .build = build,
    .canonical = canonical,
    .parse = parse,
};
