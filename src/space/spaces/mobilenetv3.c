/* mobilenetv3.c - MobileNetV3 (Howard et al., ICCV 2019) with searched kernels, expansions, squeeze-and-excite and
 * depths, as in Once-for-All (Cai et al., ICLR 2020). */
#include "space/spaces/mobile.h"

#include <stdlib.h>
#include <string.h>

typedef struct mobilenetv3_options {
    nas__mobile_options stages;
    nas_list kernels, expansions;
    int squeeze, least_depth;
} mobilenetv3_options;

enum { SQUEEZE_NONE, SQUEEZE_ALL, SQUEEZE_SEARCH };
enum { RELU_STAGES = 2, HIDDEN = 1280, FIRST = 16, SQUEEZE = 4 };

static bool add_candidate(nas__mobile *m, int kernel, int expansion, bool squeeze, bool named) {
    if (m->n_candidates == NAS__MOBILE_CANDIDATES) {
        return nas__fail_null(NAS_INVALID, "space mobilenetv3: more than %d kernels times expansions",
                              NAS__MOBILE_CANDIDATES);
    }
    nas__mobile_candidate *c = &m->candidates[m->n_candidates++];
    *c = (nas__mobile_candidate){.kernel = kernel, .expansion = expansion, .squeeze = squeeze ? SQUEEZE : 0};
    snprintf(c->name, sizeof c->name, "k%d_e%d%s", kernel, expansion, named ? "_se" : "");
    return true;
}

static bool candidates(nas__mobile *m, const mobilenetv3_options *o) {
    bool complete = true;
    for (int i = 0; complete && i < o->kernels.n * o->expansions.n; i++) {
        int kernel = o->kernels.values[i / o->expansions.n], expansion = o->expansions.values[i % o->expansions.n];
        complete = add_candidate(m, kernel, expansion, o->squeeze == SQUEEZE_ALL, false) &&
                   (o->squeeze != SQUEEZE_SEARCH || add_candidate(m, kernel, expansion, true, true));
    }
    return complete;
}

static nas_module *build(const nas_space_config *config, const void *options) {
    const mobilenetv3_options *o = options;
    nas__mobile m = {.key = "block",
                     .first = FIRST,
                     .hidden = HIDDEN,
                     .activation = NAS_HARD_SWISH,
                     .first_activation = NAS_RELU,
                     .least_depth = o->least_depth};
    if (!nas__mobile_stages(&m, "mobilenetv3", &o->stages, config) || !candidates(&m, o)) {
        return NULL;
    }
    for (int i = 0; i < RELU_STAGES && i < m.n_stages; i++) {
        m.stages[i].activation = NAS_RELU;
    }
    return nas__mobile_new(&m, config);
}

/* --- the string: the blocks that run, stages apart --------------------------------------------------------------- */
static int depth_choice(const nas_space *space, int stage) {
    char key[32];
    snprintf(key, sizeof key, "stage_%d/depth", stage);
    return nas_space_find(space, key);
}

static char *canonical(const nas_architecture *a) {
    char *text = NULL;
    size_t size = 0;
    int choice;
    FILE *out = open_memstream(&text, &size);
    for (int i = 1; out && (choice = depth_choice(a->space, i)) >= 0; i++) {
        char prefix[32];
        const nas_choice *c = nas_space_choice(a->space, choice);
        snprintf(prefix, sizeof prefix, "stage_%d/block", i);
        fputs(i > 1 ? ";" : "", out);
        nas__row_write(out, a, prefix, NULL, ",", atoi(c->names[__builtin_ctzll(a->bits[choice])]));
    }
    return nas__text_end(out, &text);
}

static bool read_stage(nas_architecture *a, int stage, int choice, const char *text) {
    char prefix[32], depth[16], list[128];
    snprintf(prefix, sizeof prefix, "stage_%d/block", stage);
    int blocks = nas__row_read(a, prefix, NULL, ",", text);
    if (blocks < 0) {
        return false;
    }
    const nas_choice *c = nas_space_choice(a->space, choice);
    snprintf(depth, sizeof depth, "%d", blocks);
    int candidate = nas__choice_candidate(c, depth);
    if (candidate < 0) {
        return nas__fail_null(NAS_PARSE, "\"%.200s\" is no stage %d of this space: it has %d blocks, not one of %s",
                              text, stage, blocks, nas__candidate_list(c, list, sizeof list));
    }
    a->bits[choice] = (uint64_t)1 << candidate;
    return true;
}

static bool read_stages(nas_architecture *a, const char *text, char *rest) {
    int choice, stage = 1;
    for (; (choice = depth_choice(a->space, stage)) >= 0; stage++) {
        char *part = strsep(&rest, ";");
        if (!part) {
            return nas__fail_null(NAS_PARSE, "\"%.200s\" is no architecture of this space: it ends before stage %d",
                                  text, stage);
        }
        if (!read_stage(a, stage, choice, part)) {
            return false;
        }
    }
    if (rest) {
        return nas__fail_null(NAS_PARSE, "\"%.200s\" is no architecture of this space: it has more than %d stages",
                              text, stage - 1);
    }
    return true;
}

static nas_architecture *parse(const nas_space *space, const char *text) {
    nas_architecture *a = nas_architecture_new(space);
    char *copy = a ? nas__strdup(text) : NULL;
    bool complete = copy && read_stages(a, text, copy);
    free(copy);
    if (!complete) {
        nas_architecture_free(a);
    }
    return complete ? a : NULL;
}

static const nas_option options_table[] = {
    NAS__MOBILE_OPTIONS(mobilenetv3_options, "24-40-80-112-160", "4-4-4-4-4", "2-2-2-2-1-2", "16", "960"),
    {"kernels", NAS_OPTION_LIST, offsetof(mobilenetv3_options, kernels), "3-5-7", 1, 15, NULL,
     "kernels to choose from; odd"},
    {"expansions", NAS_OPTION_LIST, offsetof(mobilenetv3_options, expansions), "3-4-6", 1, 16, NULL,
     "expansions to choose from"},
    {"squeeze", NAS_OPTION_CHOICE, offsetof(mobilenetv3_options, squeeze), "search", 0, 0, "none|all|search",
     "squeeze-and-excite: in no block, in all, or searched"},
    {"least_depth", NAS_OPTION_INT, offsetof(mobilenetv3_options, least_depth), "2", 1, 16, NULL,
     "blocks that a stage has at least"},
    {NULL},
};

const nas_space_info nas__space_mobilenetv3 = {
    .name = "mobilenetv3",
    .summary = "MobileNetV3: kernel, expansion and squeeze-and-excite of each block, and the depth of five stages",
    .paper = "Howard et al., Searching for MobileNetV3, ICCV 2019, arXiv 1905.02244",
    .options = options_table,
    .options_size = sizeof(mobilenetv3_options),
    .build = build,
    .canonical = canonical,
    .parse = parse,
};
