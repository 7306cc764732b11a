/* The built-in spaces: keys, shapes for every kind of image, parameters after fixing, canonical strings. */
#include "support.h"

#include <espalier/hardware.h>
#include <espalier/io.h>
#include <espalier/space.h>

#include "space/spaces/nb201.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A model with options set from "name=value" words. */
static nas_module *build(const char *name, nas_space_config config, int n, const char *const (*set)[2]) {
    const nas_space_info *info = nas_space_info_find(name);
    char options[1024];
    assert_true(info && info->options_size <= sizeof options);
    assert_int_equal(nas_options_default(info->options, options), NAS_OK);
    for (int i = 0; i < n; i++) {
        assert_int_equal(nas_options_set(info->options, options, set[i][0], set[i][1]), NAS_OK);
    }
    config.options = options;
    nas_module *model = nas_space_build(name, &config);
    assert_no_error();
    return model;
}

/* Small enough for a test. */
static nas_module *small(const char *name, nas_space_config config) {
    static const char *const smaller[][3] = {
        {"darts", "channels", "4"},
        {"darts", "layers", "3"},
        {"darts", "nodes", "2"},
        {"darts", "stem_multiplier", "1"},
        {"nb201", "channels", "4"},
        {"nb201", "cells", "1"},
        {"chain", "channels", "4"},
        {"superkernel", "channels", "8"},
        {"superkernel", "blocks", "2"},
        {"chain", "layers", "4"},
        {"mobilenet", "widths", "8-8-12"},
        {"mobilenet", "depths", "2-1-2"},
        {"mobilenet", "stem", "6"},
        {"mobilenet", "last", "20"},
        {"nasnet", "channels", "4"},
        {"nasnet", "layers", "4"},
        {"nasnet", "nodes", "3"},
        {"amoebanet", "channels", "4"},
        {"amoebanet", "layers", "4"},
        {"amoebanet", "nodes", "3"},
        {"pnas", "channels", "4"},
        {"pnas", "layers", "4"},
        {"pnas", "nodes", "3"},
        {"signal1d", "channels", "4"},
        {"signal1d", "cells", "3"},
        {"signal1d", "nodes", "2"},
        {"fbnet", "widths", "6-8-12"},
        {"fbnet", "depths", "1-2-2"},
        {"fbnet", "stem", "6"},
        {"fbnet", "last", "20"},
        {"mobilenetv3", "widths", "8-12"},
        {"mobilenetv3", "depths", "2-3"},
        {"mobilenetv3", "stem", "6"},
        {"mobilenetv3", "last", "20"},
        {"mobilenetv3", "kernels", "3-5"},
        {"mobilenetv3", "expansions", "3"},
        {"shufflenet", "widths", "12-16"},
        {"shufflenet", "depths", "2-2"},
        {"shufflenet", "stem", "6"},
        {"shufflenet", "last", "20"},
        {"macro", "channels", "4"},
        {"enas-macro", "channels", "4"},
        {"enas-macro", "layers", "6"},
        {"enas-micro", "channels", "4"},
        {"enas-micro", "layers", "4"},
        {"enas-micro", "nodes", "3"},
        {"smash", "sandwich", "0"},
        {"bender", "channels", "4"},
        {"bender", "stages", "2"},
        {"bender", "cells", "1"},
        {"bender", "blocks", "5"},
    };
    enum { MOST = 8 };
    const char *set[MOST][2];
    int n = 0;
    for (size_t i = 0; i < sizeof smaller / sizeof *smaller; i++) {
        if (strcmp(smaller[i][0], name) == 0) {
            assert_true(n < MOST);
            set[n][0] = smaller[i][1];
            set[n++][1] = smaller[i][2];
        }
    }
    return build(name, config, n, (const char *const(*)[2])set);
}

/* Output of a forward pass of two images under the decisions in force, by value; returns the count. */
static int64_t forward(nas_module *model, nas_space_config c, bool dry, float *out) {
    float *x = random_floats(9, (size_t)(2 * c.channels * c.height * c.width));
    nas_tape *tape = nas_tape_new();
    nas_tape_begin(tape, &(nas_tape_config){.dry = dry, .freeze_running = true});
    nas_tensor *y = nas_forward(model, nas_input(NAS_DIMS(2, c.channels, c.height, c.width), x));
    if (!y) {
        fail_msg("forward: %s", nas_error_message());
    }
    assert_int_equal(nas_tensor_dim(y, 0), 2);
    int64_t count = nas_tensor_count(y);
    if (out) {
        nas_tensor_read(y, out);
    }
    nas_tape_free(tape);
    free(x);
    return count;
}

static const nas_space_config images[] = {
    {1, 28, 28, 10, NULL}, {3, 32, 32, 7, NULL}, {3, 224, 224, 100, NULL}, {2, 30, 50, 3, NULL}};

static void every_space_works_for_every_image(void **state) {
    (void)state;
    for (const nas_space_info *const *info = nas_spaces(); *info; info++) {
        for (size_t i = 0; i < sizeof images / sizeof *images; i++) {
            nas_module *model = small((*info)->name, images[i]);
            nas_space *space = nas_space_new(model);
            nas_architecture *a = nas_architecture_new(space);
            nas_rng rng = nas_rng_new(i, 1);
            for (int draw = 0; draw < 3; draw++) {
                nas_architecture_random(a, &rng);
                nas_architecture_apply(a, space);
                assert_int_equal(forward(model, images[i], true, NULL), 2 * images[i].outputs);
            }
            nas_architecture_free(a);
            nas_space_free(space);
            nas_module_free(model);
        }
    }
}

/* DARTS and those after it drop the batch norm behind their pools when they are fixed. */
static void avoid_pools(nas_architecture *a, const nas_space *space, bool keep) {
    for (int i = 0; !keep && i < nas_space_size(space); i++) {
        const nas_choice *c = nas_space_choice(space, i);
        int op = __builtin_ctzll(nas_architecture_get(a, i));
        while (c->kind == NAS_LAYER && strstr(c->names[op], "pool")) {
            op = (op + 1) % c->n;
            nas_architecture_set(a, i, UINT64_C(1) << op);
        }
    }
}

static void fixed_networks_repeat_the_supernet(void **state) {
    (void)state;
    static const char *const names[] = {"chain",     "bender",     "nb201",      "superkernel", "mobilenet",
                                        "fbnet",     "enas-macro", "enas-micro", "darts",       "nasnet",
                                        "amoebanet", "pnas",       "signal1d",   "smash"};
    for (size_t s = 0; s < sizeof names / sizeof *names; s++) {
        for (uint64_t seed = 0; seed < 4; seed++) {
            float searched[20], fixed[20];
            nas_module *model = small(names[s], images[0]);
            nas_initialise(model, seed);
            nas_space *space = nas_space_new(model);
            nas_architecture *a = nas_architecture_new(space);
            nas_rng rng = nas_rng_new(seed, 1);
            nas_architecture_random(a, &rng);
            avoid_pools(a, space, s < 8);
            nas_architecture_apply(a, space);
            forward(model, images[0], false, searched);
            char *json = nas_architecture_json(a, true);
            nas_architecture_free(a);
            nas_space_free(space);
            assert_int_equal(nas_apply_fixed_architecture_text(model, json), NAS_OK);
            forward(model, images[0], false, fixed);
            assert_memory_equal(searched, fixed, sizeof fixed);
            free(json);
            nas_module_free(model);
        }
    }
}

/* --- darts ----------------------------------------------------------------------------------------------------- */
static void darts_has_the_papers_keys(void **state) {
    (void)state;
    nas_module *model = nas_space_build("darts", NULL);
    nas_space *space = nas_space_new(model);
    static const char *const ops[] = {"none",         "max_pool_3x3", "avg_pool_3x3", "skip_connect",
                                      "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5"};
    assert_int_equal(nas_space_size(space), 2 * (14 + 4));
    for (int node = 2; node < 6; node++) {
        char key[64];
        snprintf(key, sizeof key, "reduce/node_%d/inputs", node);
        const nas_choice *inputs = nas_space_choice(space, nas_space_find(space, key));
        assert_int_equal(inputs->n, node);
        assert_int_equal(inputs->n_min, 2);
        assert_int_equal(inputs->n_max, 2);
        for (int from = 0; from < node; from++) {
            snprintf(key, sizeof key, "reduce/edge_%d_%d", node, from);
            int edge = nas_space_find(space, key);
            assert_int_equal(inputs->edges[from], edge);
            for (int k = 0; k < 8; k++) {
                assert_string_equal(nas_space_choice(space, edge)->names[k], ops[k]);
            }
        }
    }
    /* 8^28 ops and (1*3*6*10)^2 inputs */
    assert_true(fabs(nas_space_log10_size(space) - (28 * log10(8) + 2 * log10(180))) < 1e-9);
    nas_space_free(space);
    nas_module_free(model);
}

/* The published second-order cells, 20 cells of 36 channels: 3,349,342 parameters with their auxiliary head left out
 * (Liu et al. report 3.3 million). */
static void darts_derives_the_published_network(void **state) {
    (void)state;
    static const char *const json =
        "{\"normal/edge_2_0\": \"sep_conv_3x3\", \"normal/edge_2_1\": \"sep_conv_3x3\", \"normal/edge_3_0\": "
        "\"sep_conv_3x3\","
        " \"normal/edge_3_1\": \"sep_conv_3x3\", \"normal/edge_4_1\": \"sep_conv_3x3\", \"normal/edge_4_0\": "
        "\"skip_connect\","
        " \"normal/edge_5_0\": \"skip_connect\", \"normal/edge_5_2\": \"dil_conv_3x3\","
        " \"reduce/edge_2_0\": \"max_pool_3x3\", \"reduce/edge_2_1\": \"max_pool_3x3\", \"reduce/edge_3_2\": "
        "\"skip_connect\","
        " \"reduce/edge_3_1\": \"max_pool_3x3\", \"reduce/edge_4_0\": \"max_pool_3x3\", \"reduce/edge_4_2\": "
        "\"skip_connect\","
        " \"reduce/edge_5_2\": \"skip_connect\", \"reduce/edge_5_1\": \"max_pool_3x3\","
        " \"normal/node_2/inputs\": [0, 1], \"normal/node_3/inputs\": [0, 1], \"normal/node_4/inputs\": [0, 1],"
        " \"normal/node_5/inputs\": [0, 2], \"reduce/node_2/inputs\": [0, 1], \"reduce/node_3/inputs\": [1, 2],"
        " \"reduce/node_4/inputs\": [0, 2], \"reduce/node_5/inputs\": [1, 2]}";
    static const char *const set[][2] = {{"channels", "36"}, {"layers", "20"}};
    nas_module *model = build("darts", (nas_space_config){3, 32, 32, 10, NULL}, 2, set);
    nas_space *space = nas_space_new(model);
    nas_architecture *a = nas_architecture_parse(space, json);
    assert_no_error();
    char *text = nas_space_info_find("darts")->canonical(a);
    assert_string_equal(
        text, "normal=|sep_conv_3x3~0|sep_conv_3x3~1|+|sep_conv_3x3~0|sep_conv_3x3~1|+|skip_connect~0|sep_conv_3x3~1|+"
              "|skip_connect~0|dil_conv_3x3~2|;reduce=|max_pool_3x3~0|max_pool_3x3~1|+|max_pool_3x3~1|skip_connect~2|+"
              "|max_pool_3x3~0|skip_connect~2|+|max_pool_3x3~1|skip_connect~2|");
    free(text);
    nas_architecture_free(a);
    nas_space_free(space);
    assert_int_equal(nas_apply_fixed_architecture_text(model, json), NAS_OK);
    assert_int_equal(nas_parameter_count(model), 3349342);
    nas_module_free(model);
}

/* Keys, paths and initial values as they have always been: runs that were stored before still load. */
static nas_status hash_parameter(const char *path, nas_tensor *t, nas_role role, void *user) {
    uint64_t *hash = user;
    size_t n = (size_t)nas_tensor_count(t) * sizeof(float);
    float *values = malloc(n);
    nas_tensor_read(t, values);
    for (size_t i = 0; i < strlen(path) + n; i++) {
        unsigned char c = i < strlen(path) ? (unsigned char)path[i] : ((unsigned char *)values)[i - strlen(path)];
        *hash = (*hash ^ c) * 0x100000001b3u;
    }
    (void)role;
    free(values);
    return NAS_OK;
}

static void cells_keep_their_keys_and_weights(void **state) {
    (void)state;
    static const struct {
        const char *name;
        uint64_t space, parameters;
    } known[] = {{"nb201", 0x405e584aa6214921u, 0x1c162f3624cf5c9au},
                 {"darts", 0x4faa58d7ce7cbb1du, 0x045b7719015cf274u}};
    for (int i = 0; i < 2; i++) {
        uint64_t hash = 0xcbf29ce484222325u;
        nas_module *model = nas_space_build(known[i].name, &(nas_space_config){3, 32, 32, 10, NULL});
        nas_initialise(model, 7);
        nas_visit_parameters(model, hash_parameter, &hash);
        nas_space *space = nas_space_new(model);
        assert_true(nas_space_hash(space) == known[i].space);
        assert_true(hash == known[i].parameters);
        nas_space_free(space);
        nas_module_free(model);
    }
}

static void cell_strings_round_trip(void **state) {
    (void)state;
    static const char *const spaces[] = {"darts", "nasnet", "amoebanet", "pnas", "signal1d"};
    for (size_t s = 0; s < sizeof spaces / sizeof *spaces; s++) {
        nas_module *model = small(spaces[s], images[0]);
        nas_space *space = nas_space_new(model);
        const nas_space_info *info = nas_space_info_find(spaces[s]);
        nas_architecture *a = nas_architecture_new(space);
        nas_rng rng = nas_rng_new(s, 1);
        for (int draw = 0; draw < 8; draw++) {
            nas_architecture_random(a, &rng);
            char *text = info->canonical(a);
            nas_architecture *again = info->parse(space, text);
            assert_no_error();
            assert_true(nas_architecture_equal(a, again));
            for (size_t cut = 0; cut < strlen(text); cut++) { /* no beginning is one, nor one with a letter changed */
                char *wrong = strdup(text);
                wrong[cut] = 0;
                assert_null(info->parse(space, wrong));
                assert_error(NAS_PARSE, "is expected");
                wrong[cut] = text[cut] == 'x' ? 'y' : '\x01';
                assert_null(info->parse(space, wrong));
                assert_error(NAS_PARSE, "is expected");
                free(wrong);
            }
            nas_architecture_free(again);
            free(text);
        }
        nas_architecture_free(a);
        nas_space_free(space);
        nas_module_free(model);
    }
}

static void cell_strings_say_what_is_wrong(void **state) {
    (void)state;
    nas_module *model = small("darts", images[0]);
    nas_space *space = nas_space_new(model);
    static const char *const wrong[][2] = {
        {"", "at character 1: \"normal\""},
        {"normal=|none~0|none~0|+", "at character 15: another value before the node"},
        {"normal=|none~0|none~2|+", "at character 15: another value before the node"},
        {"normal=|none~0|conv~1|+", "at character 16: one of none, max_pool_3x3"},
        {"normal=|none~0|none~1|;", "at character 23: \"+\""},
        {"normal=|none~|none~1|", "the number of a value"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_null(nas_space_info_find("darts")->parse(space, wrong[i][0]));
        assert_error(NAS_PARSE, wrong[i][1]);
    }
    nas_space_free(space);
    nas_module_free(model);
}

typedef struct wanted_weight {
    const char *path;
    nas_tensor *tensor;
} wanted_weight;

static nas_status look_for(const char *path, nas_tensor *t, nas_role role, void *user) {
    wanted_weight *w = user;
    (void)role;
    w->tensor = strcmp(path, w->path) == 0 ? t : w->tensor;
    return NAS_OK;
}

static nas_tensor *weight_at(nas_module *model, const char *path) {
    wanted_weight w = {path, NULL};
    nas_visit_parameters(model, look_for, &w);
    assert_non_null(w.tensor);
    return w.tensor;
}

/* --- nasnet ---------------------------------------------------------------------------------------------------- */
/* NASNet-A, with the nodes that none reads as the output of its cells; 18 normal cells and two reductions of 32
 * channels. Zoph et al. report 3.3 million parameters: theirs hands on an input that no node reads, too, and has an
 * auxiliary head. */
static const char *const nasnet_a =
    "normal=|sep_conv_3x3~1|skip_connect~1|+|sep_conv_3x3~0|sep_conv_5x5~1|+|avg_pool_3x3~1|skip_connect~0|+"
    "|avg_pool_3x3~0|avg_pool_3x3~0|+|sep_conv_5x5~0|sep_conv_3x3~0|;"
    "reduce=|sep_conv_7x7~0|sep_conv_5x5~1|+|max_pool_3x3~1|sep_conv_7x7~0|+|avg_pool_3x3~1|sep_conv_5x5~0|+"
    "|max_pool_3x3~1|sep_conv_3x3~2|+|avg_pool_3x3~2|skip_connect~3|";

static void nasnet_derives_the_published_network(void **state) {
    (void)state;
    static const char *const set[][2] = {{"channels", "32"}, {"layers", "20"}};
    nas_module *model = build("nasnet", (nas_space_config){3, 32, 32, 10, NULL}, 2, set);
    nas_space *space = nas_space_new(model);
    assert_int_equal(nas_space_size(space), 2 * 5 * 4);
    nas_architecture *a = nas_space_info_find("nasnet")->parse(space, nasnet_a);
    assert_no_error();
    nas_architecture_apply(a, space);
    uint64_t macs, fixed_macs;
    int64_t parameters, fixed_parameters_;
    assert_int_equal(nas_model_cost(model, 3, (int64_t[]){3, 32, 32}, &macs, &parameters), NAS_OK);
    char *json = nas_architecture_json(a, false);
    nas_architecture_free(a);
    nas_space_free(space);
    assert_int_equal(nas_apply_fixed_architecture_text(model, json), NAS_OK);
    assert_int_equal(nas_model_cost(model, 3, (int64_t[]){3, 32, 32}, &fixed_macs, &fixed_parameters_), NAS_OK);
    assert_int_equal(macs, fixed_macs);
    assert_int_equal(parameters, fixed_parameters_);
    assert_int_equal(parameters, 3061738);
    free(json);
    nas_module_free(model);
}

/* What reads the loose ends has weights for them alone once fixed, those that it had for them in the supernet. */
static void loose_ends_keep_their_weights(void **state) {
    (void)state;
    static const char *const set[][2] = {{"channels", "4"}, {"layers", "1"}, {"nodes", "3"}, {"stem_multiplier", "1"}};
    static const char *const text = "normal=|sep_conv_3x3~1|skip_connect~1|+|sep_conv_3x3~0|sep_conv_5x5~1|+"
                                    "|avg_pool_3x3~3|skip_connect~0|";
    nas_module *model = build("nasnet", images[0], 4, set);
    nas_initialise(model, 3);
    nas_space *space = nas_space_new(model);
    nas_architecture *a = nas_space_info_find("nasnet")->parse(space, text);
    char *json = nas_architecture_json(a, false);
    float before[10][12], after[10][8];
    nas_tensor_read(weight_at(model, "head.1.weight"), before[0]);
    char *directory = temporary_directory(), path[4096];
    snprintf(path, sizeof path, "%s/supernet.safetensors", directory);
    assert_int_equal(nas_save_weights(model, path), NAS_OK);
    nas_architecture_free(a);
    nas_space_free(space);
    assert_int_equal(nas_apply_fixed_architecture_text(model, json), NAS_OK);
    nas_tensor *weight = weight_at(model, "head.1.weight");
    assert_int_equal(nas_tensor_dim(weight, 1), 8);
    nas_tensor_read(weight, after[0]);
    for (int class = 0; class < 10; class ++) { /* nodes 2 and 4 of 2, 3 and 4 */
        assert_memory_equal(after[class], before[class], 4 * sizeof(float));
        assert_memory_equal(after[class] + 4, before[class] + 8, 4 * sizeof(float));
    }
    /* and a network that was fixed before inherits the same ones */
    float inherited[10][8];
    nas_module *other = build("nasnet", images[0], 4, set);
    assert_int_equal(nas_apply_fixed_architecture_text(other, json), NAS_OK);
    assert_int_equal(nas_initialise(other, 8), NAS_OK);
    assert_int_equal(nas_inherit_weights(other, path, NULL), NAS_OK);
    nas_tensor_read(weight_at(other, "head.1.weight"), inherited[0]);
    assert_memory_equal(inherited, after, sizeof after);
    nas_module_free(other);
    remove_directory(directory);
    free(json);
    nas_module_free(model);
}

/* Output of one training pass with drop path. */
static void train(nas_module *model, nas_space_config c, double drop_path, float *out) {
    float *x = random_floats(9, (size_t)(2 * c.channels * c.height * c.width));
    nas_tape *tape = nas_tape_new();
    nas_tape_begin(tape,
                   &(nas_tape_config){.training = true, .freeze_running = true, .drop_path = drop_path, .seed = 1});
    nas_tensor *y = nas_forward(model, nas_input(NAS_DIMS(2, c.channels, c.height, c.width), x));
    assert_int_equal(nas_tensor_read(y, out), NAS_OK);
    nas_tape_free(tape);
    free(x);
}

static void drop_path_comes_with_fixing_and_spares_identities(void **state) {
    (void)state;
    static const char *const set[][2] = {{"channels", "4"}, {"layers", "1"}, {"nodes", "1"}};
    static const char *const ops[] = {"sep_conv_3x3", "skip_connect", "none"};
    for (int i = 0; i < 3; i++) {
        float without[20], with[20];
        nas_module *model = build("darts", images[0], 3, set);
        train(model, images[0], 0, without);
        train(model, images[0], 0.5, with);
        assert_memory_equal(with, without, sizeof with);
        char json[256];
        snprintf(json, sizeof json,
                 "{\"normal/edge_2_0\": \"%s\", \"normal/edge_2_1\": \"%s\", \"normal/node_2/inputs\": [0, 1]}", ops[i],
                 ops[i]);
        assert_int_equal(nas_apply_fixed_architecture_text(model, json), NAS_OK);
        train(model, images[0], 0, without);
        train(model, images[0], 0.5, with);
        assert_int_equal(memcmp(with, without, sizeof with) != 0, i == 0);
        nas_module_free(model);
    }
}

/* The supernet as DARTS trains it: every operation of every edge mixed, every input of every node added. */
static void darts_mixes_every_edge(void **state) {
    (void)state;
    nas_module *model = small("darts", images[0]);
    nas_initialise(model, 2);
    nas_space *space = nas_space_new(model);
    nas_tensor *weights[64] = {0};
    nas_tape *tape = nas_tape_new();
    float *x = random_floats(9, 2 * 28 * 28), gradient[8];
    nas_tape_begin(tape, &(nas_tape_config){.grad = NAS_ROLE_ARCH | NAS_ROLE_WEIGHT, .training = true});
    for (int i = 0; i < nas_space_size(space); i++) {
        const nas_choice *c = nas_space_choice(space, i);
        if (c->kind == NAS_LAYER) {
            weights[i] = nas_variable(1, (int64_t[]){c->n}, NAS_ROLE_ARCH);
            nas_tensor_write(weights[i], (float[]){.1f, .1f, .1f, .1f, .2f, .1f, .2f, .1f});
        }
        assert_int_equal(nas_decide(space, i, (nas_decision){.run = (UINT64_C(1) << c->n) - 1, .weights = weights[i]}),
                         NAS_OK);
    }
    nas_tensor *y = nas_forward(model, nas_input(NAS_DIMS(2, 1, 28, 28), x));
    assert_int_equal(nas_backward(nas_cross_entropy(y, nas_input(1, (int64_t[]){2}, (float[]){3, 8}))), NAS_OK);
    for (int i = 0; i < nas_space_size(space); i++) {
        for (int k = 0; weights[i] && k < 8; k++) {
            nas_tensor_read_grad(weights[i], gradient);
            assert_true(k == 0 ? gradient[k] == 0 : isfinite(gradient[k]) && gradient[k] != 0);
        }
        nas_tensor_free(weights[i]);
    }
    nas_tape_free(tape);
    free(x);
    nas_space_free(space);
    nas_module_free(model);
}

/* --- nb201 ----------------------------------------------------------------------------------------------------- */
static int64_t fixed_parameters(int code, uint64_t *macs) {
    nas_space_config cifar = {3, 32, 32, 10, NULL};
    nas_module *model = nas_space_build("nb201", &cifar);
    nas_space *space = nas_space_new(model);
    nas_architecture *a = nas__nb201_decode(space, code);
    char *json = nas_architecture_json(a, false);
    nas_architecture_free(a);
    nas_space_free(space);
    assert_int_equal(nas_apply_fixed_architecture_text(model, json), NAS_OK);
    int64_t parameters;
    assert_int_equal(nas_model_cost(model, 3, (int64_t[]){3, 32, 32}, macs, &parameters), NAS_OK);
    assert_int_equal(parameters, nas_parameter_count(model));
    free(json);
    nas_module_free(model);
    return parameters;
}

static void nb201_has_the_benchmarks_parameters(void **state) {
    (void)state;
    uint64_t none, all;
    assert_int_equal(fixed_parameters(0, &none), 73306);
    assert_int_equal(fixed_parameters(4 * 3906, &all), 73306); /* 3906 = 11111 to base 5, and one more digit */
    assert_int_equal(fixed_parameters(1 * 3906, &none), 73306);
    assert_int_equal(fixed_parameters(3 * 3906, &all), 1531546);
    /* six convolutions of 3x3 in five cells at each of three scales cost the same at every scale */
    assert_int_equal(all - none, UINT64_C(3) * 5 * 6 * 9 * 16 * 16 * 32 * 32);
}

static void nb201_strings_round_trip(void **state) {
    (void)state;
    nas_module *model = small("nb201", images[1]);
    nas_space *space = nas_space_new(model);
    const nas_space_info *info = nas_space_info_find("nb201");
    for (int code = 0; code < NAS__NB201_CELLS; code++) {
        char *text = nas__nb201_string(code);
        assert_int_equal(nas__nb201_parse(text), code);
        if (code % 97 == 0) {
            nas_architecture *a = info->parse(space, text);
            char *again = info->canonical(a);
            assert_int_equal(nas__nb201_code(a), code);
            assert_string_equal(text, again);
            free(again);
            nas_architecture_free(a);
        }
        free(text);
    }
    static const char *const text =
        "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|skip_connect~2|";
    assert_int_equal(nas__nb201_parse(text), ((((3 * 5 + 3) * 5 + 4) * 5 + 1) * 5 + 3) * 5 + 1);
    static const char *const wrong[] = {"",
                                        "|",
                                        "|none~0|",
                                        "|none~0|+|none~0|none~1|+|none~0|none~1|none~3|",
                                        "|none~0|+|none~0|none~1|+|none~0|none~1|conv~2|",
                                        "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|+",
                                        "none~0|+|none~0|none~1|+|none~0|none~1|none~2|"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_null(info->parse(space, wrong[i]));
        assert_error(NAS_PARSE, "no cell of NAS-Bench-201");
    }
    nas_space_free(space);
    nas_module_free(model);
}

/* --- cost -------------------------------------------------------------------------------------------------------- */
static void the_cost_is_that_of_the_path(void **state) {
    (void)state;
    for (const nas_space_info *const *info = nas_spaces(); *info; info++) {
        nas_module *model = small((*info)->name, images[0]);
        nas_space *space = nas_space_new(model);
        nas_architecture *a = nas_architecture_new(space);
        nas_rng rng = nas_rng_new(4, 1);
        nas_architecture_random(a, &rng);
        nas_architecture_apply(a, space);
        uint64_t macs, fixed_macs, live = nas_memory().live_bytes;
        int64_t parameters, fixed_parameters_;
        assert_int_equal(nas_model_cost(model, 3, (int64_t[]){1, 28, 28}, &macs, &parameters), NAS_OK);
        assert_int_equal(nas_memory().live_bytes, live);
        char *json = nas_architecture_json(a, false);
        nas_architecture_free(a);
        nas_space_free(space);
        nas_apply_fixed_architecture_text(model, json);
        assert_int_equal(nas_model_cost(model, 3, (int64_t[]){1, 28, 28}, &fixed_macs, &fixed_parameters_), NAS_OK);
        assert_int_equal(macs, fixed_macs);
        assert_true(macs > 0 && parameters > 0 &&
                    parameters <= fixed_parameters_); /* affine parameters come with fixing */
        assert_true(parameters > fixed_parameters_ * 3 / 4);
        free(json);
        nas_module_free(model);
    }
}

/* What the blocks of `bender` compute for their inputs: the sum of a 1x1 convolution per input is the 1x1 convolution
 * of the concatenated inputs with the weights side by side. */
static void a_sum_of_convolutions_is_that_of_the_concatenation(void **state) {
    (void)state;
    enum { OUT = 3, A = 2, B = 5, PIXELS = 12 };
    float *x = random_floats(1, (A + B) * PIXELS), *w = random_floats(2, OUT * (A + B));
    float parts[2][OUT * B], sum[OUT * PIXELS], whole[OUT * PIXELS];
    for (int o = 0; o < OUT; o++) {
        memcpy(parts[0] + o * A, w + o * (A + B), A * sizeof *w);
        memcpy(parts[1] + o * B, w + o * (A + B) + A, B * sizeof *w);
    }
    nas_tape *tape = nas_tape_new();
    nas_tape_begin(tape, &(nas_tape_config){0});
    nas_tensor *in[2] = {nas_input(NAS_DIMS(1, A, 3, 4), x), nas_input(NAS_DIMS(1, B, 3, 4), x + A * PIXELS)};
    nas_tensor *a = nas_conv2d(in[0], nas_input(NAS_DIMS(OUT, A, 1, 1), parts[0]), NULL, (nas_conv_args){0});
    nas_tensor *b = nas_conv2d(in[1], nas_input(NAS_DIMS(OUT, B, 1, 1), parts[1]), NULL, (nas_conv_args){0});
    nas_tensor *weights = nas_input(NAS_DIMS(OUT, A + B, 1, 1), w);
    nas_tensor_read(nas_add(a, b), sum);
    nas_tensor_read(nas_conv2d(nas_concat(2, in, 1), weights, NULL, (nas_conv_args){0}), whole);
    assert_no_error();
    for (int i = 0; i < OUT * PIXELS; i++) {
        assert_true(fabsf(sum[i] - whole[i]) <= 1e-6f * fmaxf(1, fabsf(whole[i])));
    }
    nas_tape_free(tape);
    free(x);
    free(w);
}

/* 84, 196, 420 and 868 blocks of two to five inputs. */
static void bender_has_the_papers_cells(void **state) {
    (void)state;
    nas_module *model = nas_space_build("bender", NULL);
    nas_space *space = nas_space_new(model);
    double cells = 3.0 * 28 * 7 * 28 * 15 * 28 * 31 * 28;
    assert_true(fabs(nas_space_log10_size(space) - log10(cells)) < 1e-9);
    for (int i = 0; i < 4; i++) {
        char key[32];
        snprintf(key, sizeof key, "block_%d/inputs", i + 1);
        assert_int_equal(nas_space_choice(space, nas_space_find(space, key))->n, 2 + i);
    }
    nas_space_free(space);
    nas_module_free(model);
}

static void zero_candidates_cost_nothing(void **state) {
    (void)state;
    nas_module *model = small("nb201", images[1]);
    nas_space *space = nas_space_new(model);
    nas_architecture *a = nas__nb201_decode(space, 0), *b = nas__nb201_decode(space, 3 * 3906);
    size_t peaks[2];
    for (int i = 0; i < 2; i++) {
        nas_architecture_apply(i ? b : a, space);
        forward(model, images[1], false, NULL);
        nas_memory_reset_peak();
        size_t live = nas_memory().live_bytes;
        forward(model, images[1], false, NULL);
        peaks[i] = nas_memory().peak_bytes - live;
    }
    assert_true(peaks[0] * 2 < peaks[1]);
    nas_architecture_free(a);
    nas_architecture_free(b);
    nas_space_free(space);
    nas_module_free(model);
}

static void unknown_spaces_and_bad_images_are_refused(void **state) {
    (void)state;
    assert_null(nas_space_build("dart", NULL));
    assert_error(NAS_NOT_FOUND, "did you mean \"darts\"");
    assert_null(nas_space_build("nb201", &(nas_space_config){.height = 4}));
    assert_error(NAS_INVALID, "8x8 pixels");
    assert_null(nas_space_build("darts", &(nas_space_config){.width = 7}));
    assert_error(NAS_INVALID, "8x8 pixels");
}

/* Rows of a table are images of one pixel, a series is one of a single row or column. */
static void chain_takes_any_size(void **state) {
    (void)state;
    static const nas_space_config sizes[] = {
        {5, 1, 1, 1, NULL}, {5, 40, 1, 1, NULL}, {1, 1, 9, 2, NULL}, {2, 3, 5, 3, NULL}, {1, 7, 30, 1, NULL}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        nas_module *model = small("chain", sizes[i]);
        nas_space *space = nas_space_new(model);
        nas_architecture *a = nas_architecture_new(space);
        nas_rng rng = nas_rng_new(i, 1);
        for (int draw = 0; draw < 8; draw++) {
            float out[6] = {NAN};
            nas_architecture_random(a, &rng);
            nas_architecture_apply(a, space);
            assert_int_equal(forward(model, sizes[i], false, out), 2 * sizes[i].outputs);
            assert_true(isfinite(out[0]));
        }
        nas_architecture_free(a);
        nas_space_free(space);
        nas_module_free(model);
    }
}

/* Arrays of a signal's values in every form that they come in: (N,L), (N,C,L), (N,C,1,L); also long ones, and lengths
 * that nothing halves. */
static void signals_take_any_form(void **state) {
    (void)state;
    static const struct {
        nas_space_config config;
        int ndim;
        int64_t dims[4];
    } forms[] = {{{50, 1, 1, 3, NULL}, 2, {2, 50}},        {{1, 6, 45, 3, NULL}, 3, {2, 6, 45}},
                 {{1, 6, 45, 3, NULL}, 4, {2, 1, 6, 45}},  {{6, 1, 45, 3, NULL}, 4, {2, 6, 1, 45}},
                 {{1, 1, 3001, 3, NULL}, 3, {2, 1, 3001}}, {{1, 2, 3, 3, NULL}, 3, {2, 2, 3}}};
    float outputs[6][6];
    for (int i = 0; i < 6; i++) {
        nas_module *model = small("signal1d", forms[i].config);
        nas_initialise(model, 1);
        nas_tape *tape = nas_tape_new();
        nas_tape_begin(tape, &(nas_tape_config){.freeze_running = true});
        float *x = random_floats(3, 2 * 3001);
        nas_tensor *y = nas_forward(model, nas_input(forms[i].ndim, forms[i].dims, x));
        assert_no_error();
        assert_int_equal(nas_tensor_count(y), 6);
        nas_tensor_read(y, outputs[i]);
        free(x);
        assert_null(nas_forward(model, nas_input(NAS_DIMS(2, 7), NULL)));
        assert_error(NAS_SHAPE, "a batch of signals");
        nas_tape_free(tape);
        nas_module_free(model);
    }
    assert_memory_equal(outputs[1], outputs[2], sizeof *outputs);
    assert_memory_equal(outputs[1], outputs[3], sizeof *outputs);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_space_works_for_every_image),
        cmocka_unit_test(chain_takes_any_size),
        cmocka_unit_test(signals_take_any_form),
        cmocka_unit_test(fixed_networks_repeat_the_supernet),
        cmocka_unit_test(darts_has_the_papers_keys),
        cmocka_unit_test(cells_keep_their_keys_and_weights),
        cmocka_unit_test(cell_strings_round_trip),
        cmocka_unit_test(cell_strings_say_what_is_wrong),
        cmocka_unit_test(darts_mixes_every_edge),
        cmocka_unit_test(darts_derives_the_published_network),
        cmocka_unit_test(nasnet_derives_the_published_network),
        cmocka_unit_test(loose_ends_keep_their_weights),
        cmocka_unit_test(nb201_has_the_benchmarks_parameters),
        cmocka_unit_test(nb201_strings_round_trip),
        cmocka_unit_test(the_cost_is_that_of_the_path),
        cmocka_unit_test(drop_path_comes_with_fixing_and_spares_identities),
        cmocka_unit_test(zero_candidates_cost_nothing),
        cmocka_unit_test(a_sum_of_convolutions_is_that_of_the_concatenation),
        cmocka_unit_test(bender_has_the_papers_cells),
        cmocka_unit_test(unknown_spaces_and_bad_images_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
