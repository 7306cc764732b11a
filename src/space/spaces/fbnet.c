/* fbnet.c - the layer-wise space of FBNet (Wu et al., CVPR 2019): 22 layers with nine candidates. */
#include "space/spaces/mobile.h"

#include <string.h>

typedef struct fbnet_options {
    nas__mobile_options stages;
    bool expand_e1, reducing_skip;
} fbnet_options;

static const nas__mobile_candidate blocks[] = {
    {.name = "k3_e1", .kernel = 3, .expansion = 1}, {.name = "k3_e1_g2", .kernel = 3, .expansion = 1, .groups = 2},
    {.name = "k3_e3", .kernel = 3, .expansion = 3}, {.name = "k3_e6", .kernel = 3, .expansion = 6},
    {.name = "k5_e1", .kernel = 5, .expansion = 1}, {.name = "k5_e1_g2", .kernel = 5, .expansion = 1, .groups = 2},
    {.name = "k5_e3", .kernel = 5, .expansion = 3}, {.name = "k5_e6", .kernel = 5, .expansion = 6},
};

static nas_module *build(const nas_space_config *config, const void *options) {
    const fbnet_options *o = options;
    nas__mobile m = {.key = "layer",
                     .activation = NAS_RELU,
                     .nothing = "skip",
                     .always_expand = o->expand_e1,
                     .reducing_skip = o->reducing_skip,
                     .n_candidates = sizeof blocks / sizeof *blocks};
    memcpy(m.candidates, blocks, sizeof blocks);
    return nas__mobile_stages(&m, "fbnet", &o->stages, config) ? nas__mobile_new(&m, config) : NULL;
}

static char *canonical(const nas_architecture *a) { return nas__row_string(a, "layer", NULL, ","); }

static nas_architecture *parse(const nas_space *space, const char *text) {
    return nas__row_parse(space, "layer", NULL, ",", text);
}

static const nas_option options_table[] = {
    NAS__MOBILE_OPTIONS(fbnet_options, "16-24-32-64-112-184-352", "1-4-4-4-4-4-1", "2-1-2-2-2-1-2-1", "16", "1984"),
    {"expand_e1", NAS_OPTION_BOOL, offsetof(fbnet_options, expand_e1), "0", 0, 0, NULL,
     "blocks of expansion 1 have the first 1x1 convolution, too, as in the search of the paper"},
    {"reducing_skip", NAS_OPTION_BOOL, offsetof(fbnet_options, reducing_skip), "0", 0, 0, NULL,
     "layers that change the shape have skip, too: a 1x1 convolution"},
    {NULL},
};

const nas_space_info nas__space_fbnet = {
    .name = "fbnet",
    .summary = "FBNet: 22 layers with nine candidates each: kernel 3 or 5, expansion 1, 3 or 6, groups, nothing",
    .paper = "Wu et al., FBNet, CVPR 2019, arXiv 1812.03443",
    .options = options_table,
    .options_size = sizeof(fbnet_options),
    .build = build,
    .canonical = canonical,
    .parse = parse,
};
