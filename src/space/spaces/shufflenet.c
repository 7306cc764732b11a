/* shufflenet.c - the space of SPOS (Guo et al., ECCV 2020): ShuffleNetV2 whose blocks choose a kernel, or the Xception
 * form. */
#include "space/spaces/mobile.h"

#include "nn/module.h"

typedef struct shufflenet_options {
    nas__mobile_options stages;
    double dropout;
} shufflenet_options;

enum { CANDIDATES = 4 };

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
} shape;

static nas_module *main_new(const shape *s, int kernel, bool xception) {
    int in = s->first ? s->in : s->in / 2, wide = s->out / 2, out = s->out - in;
    return xception ? nas_sequential(depthwise(in, kernel, s->stride), pointwise(in, wide), depthwise(wide, kernel, 1),
                                     pointwise(wide, wide), depthwise(wide, kernel, 1), pointwise(wide, out))
                    : nas_sequential(pointwise(in, wide), depthwise(wide, kernel, s->stride), pointwise(wide, out));
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
static bool add_stage(nas_module *network, const nas__mobile_stage *stage, int in, int *number) {
    for (int i = 0; i < stage->blocks; i++) {
        nas_candidate candidates[CANDIDATES];
        const shape s = {i ? stage->width : in, stage->width, i ? 1 : stage->stride, i == 0};
        char key[24];
        snprintf(key, sizeof key, "block_%d", ++*number);
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
        complete = add_stage(network, &m.stages[i], in, &number);
        in = m.stages[i].width;
    }
    complete = complete && nas_child(network, "last", pointwise(in, m.last)) &&
               nas_child(network, "head", head_new(&m, o->dropout, config->outputs));
    return nas__module_complete(network, complete);
}

static char *canonical(const nas_architecture *a) { return nas__row_string(a, "block", codes, ","); }

static nas_architecture *parse(const nas_space *space, const char *text) {
    return nas__row_parse(space, "block", codes, ",", text);
}

static const nas_option options_table[] = {
    NAS__MOBILE_OPTIONS(shufflenet_options, "64-160-320-640", "4-4-8-4", "2-2-2-2-2", "16", "1024"),
    {"dropout", NAS_OPTION_FLOAT, offsetof(shufflenet_options, dropout), "0.1", 0, 0.99, NULL,
     "probability, before the classifier"},
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
