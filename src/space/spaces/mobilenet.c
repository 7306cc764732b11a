/* mobilenet.c - the space of ProxylessNAS (Cai, Zhu and Han, ICLR 2019): MobileNetV2 whose blocks choose kernel and
 * expansion, or nothing. */
#include "space/spaces/mobile.h"

#include <stdio.h>

typedef struct mobilenet_options {
    nas__mobile_options stages;
    nas_list kernels, expansions;
    bool zero;
} mobilenet_options;

static bool candidates(nas__mobile *m, const mobilenet_options *o) {
    for (int k = 0; k < o->kernels.n; k++) {
        for (int e = 0; e < o->expansions.n; e++) {
            if (m->n_candidates == NAS__MOBILE_CANDIDATES) {
                return nas__fail_null(NAS_INVALID, "space mobilenet: %d kernels times %d expansions are more than %d",
                                      o->kernels.n, o->expansions.n, NAS__MOBILE_CANDIDATES);
            }
            nas__mobile_candidate *c = &m->candidates[m->n_candidates++];
            *c = (nas__mobile_candidate){.kernel = o->kernels.values[k], .expansion = o->expansions.values[e]};
            snprintf(c->name, sizeof c->name, "%de%d", c->kernel, o->expansions.values[e]);
        }
    }
    return true;
}

static nas_module *build(const nas_space_config *config, const void *options) {
    const mobilenet_options *o = options;
    nas__mobile m = {.key = "block",
                     .first = 16,
                     .activation = NAS_RELU6,
                     .first_activation = NAS_RELU6,
                     .nothing = o->zero ? "zero" : NULL,
                     .shared_shortcut = true,
                     .bn_eps = 1e-3f};
    return nas__mobile_stages(&m, "mobilenet", &o->stages, config) && candidates(&m, o) ? nas__mobile_new(&m, config)
                                                                                        : NULL;
}

static char *canonical(const nas_architecture *a) { return nas__row_string(a, "block", NULL, ","); }

static nas_architecture *parse(const nas_space *space, const char *text) {
    return nas__row_parse(space, "block", NULL, ",", text);
}

static const nas_option options_table[] = {
    NAS__MOBILE_OPTIONS(mobilenet_options, "24-40-80-96-192-320", "4-4-4-4-4-1", "2-2-2-2-1-2-1", "32", "1280"),
    {"kernels", NAS_OPTION_LIST, offsetof(mobilenet_options, kernels), "3-5-7", 1, 15, NULL,
     "kernels to choose from; odd"},
    {"expansions", NAS_OPTION_LIST, offsetof(mobilenet_options, expansions), "3-6", 1, 16, NULL,
     "expansions to choose from"},
    {"zero", NAS_OPTION_BOOL, offsetof(mobilenet_options, zero), "1", 0, 0, NULL,
     "blocks that keep the shape may be left out"},
    {NULL},
};

const nas_space_info nas__space_mobilenet = {
    .name = "mobilenet",
    .summary = "ProxylessNAS: MobileNetV2 of 21 blocks, each with kernel 3, 5 or 7 and expansion 3 or 6, or left out",
    .paper = "Cai, Zhu and Han, ProxylessNAS, ICLR 2019, arXiv 1812.00332",
    .options = options_table,
    .options_size = sizeof(mobilenet_options),
    .build = build,
    .canonical = canonical,
    .parse = parse,
};
