/* macro.c - the space of NAS-Bench-Macro (Su et al., CVPR 2021): a chain of eight layers, of which all 6,561 networks
 * have been trained. */
#include "space/spaces/spaces.h"

#include "nn/module.h"

#include <stdio.h>

enum { LAYERS = 8, CANDIDATES = 3, LAST = 1280 };

typedef struct macro_options {
    int channels;
} macro_options;

static const char *const names[CANDIDATES] = {"identity", "mb3_k3", "mb6_k5"}, *const digits[] = {"0", "1", "2"};

/* Two, three and three layers; the first of a stage halves the image and doubles the channels. */
static bool begins_stage(int layer) { return layer == 0 || layer == 2 || layer == 5; }

static nas_module *layer_new(const char *key, int in, int out, int stride) {
    nas_module *identity =
        in == out && stride == 1
            ? nas_identity_new()
            : nas_sequential(nas_conv(.in = in, .out = out, .kernel = 1, .stride = stride), nas_bn(.channels = out));
    const nas_candidate candidates[CANDIDATES] = {
        {names[0], identity},
        {names[1], nas_mbconv(.in = in, .out = out, .kernel = 3, .stride = stride, .expansion = 3)},
        {names[2], nas_mbconv(.in = in, .out = out, .kernel = 5, .stride = stride, .expansion = 6)},
    };
    return nas_layer_choice(NULL, key, CANDIDATES, candidates);
}

static nas_module *build(const nas_space_config *config, const void *options) {
    const macro_options *o = options;
    nas_module *network = nas__row_network_new();
    bool complete = network && nas_child(network, "stem",
                                         nas_sequential(nas__stem(config, o->channels), nas_activation_new(NAS_RELU)));
    int in = o->channels;
    for (int i = 0; complete && i < LAYERS; i++) {
        char key[16];
        int out = begins_stage(i) ? 2 * in : in;
        snprintf(key, sizeof key, "layer_%d", i + 1);
        complete = nas_child(network, key, layer_new(key, in, out, begins_stage(i) ? 2 : 1)) != NULL;
        in = out;
    }
    complete = complete && nas_child(network, "last", nas_conv_bn_relu(.in = in, .out = LAST, .kernel = 1)) &&
               nas_child(network, "head", nas__head(LAST, config->outputs));
    return nas__module_complete(network, complete);
}

static char *canonical(const nas_architecture *a) { return nas__row_string(a, "layer", digits, ""); }

static nas_architecture *parse(const nas_space *space, const char *text) {
    return nas__row_parse(space, "layer", digits, "", text);
}

static const nas_option options_table[] = {
    {"channels", NAS_OPTION_INT, offsetof(macro_options, channels), "32", 1, 512, NULL,
     "channels of the stem; they double three times"},
    {NULL},
};

const nas_space_info nas__space_macro = {
    .name = "macro",
    .summary = "NAS-Bench-Macro: a chain of eight layers with three candidates each, 6,561 networks",
    .paper = "Su et al., Prioritized Architecture Sampling with Monto-Carlo Tree Search, CVPR 2021, arXiv 2103.11922",
    .options = options_table,
    .options_size = sizeof(macro_options),
    .build = build,
    .canonical = canonical,
    .parse = parse,
};
