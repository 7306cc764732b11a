/* The spaces of cells: their keys, weights and strings, published networks, loose ends, drop path. */
#include "space/small_spaces.h"
#include "support.h"

#include <espalier/hardware.h>
#include <espalier/io.h>
#include <espalier/space.h>

#include "space/spaces/nb201.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    nas_module *model = space_build("darts", (nas_space_config){3, 32, 32, 10, NULL}, 2, set);
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
        nas_module *model = space_small(spaces[s], space_images[0]);
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
    nas_module *model = space_small("darts", space_images[0]);
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
    nas_module *model = space_build("nasnet", (nas_space_config){3, 32, 32, 10, NULL}, 2, set);
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
    nas_module *model = space_build("nasnet", space_images[0], 4, set);
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
    nas_module *other = space_build("nasnet", space_images[0], 4, set);
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
        nas_module *model = space_build("darts", space_images[0], 3, set);
        train(model, space_images[0], 0, without);
        train(model, space_images[0], 0.5, with);
        assert_memory_equal(with, without, sizeof with);
        char json[256];
        snprintf(json, sizeof json,
                 "{\"normal/edge_2_0\": \"%s\", \"normal/edge_2_1\": \"%s\", \"normal/node_2/inputs\": [0, 1]}", ops[i],
                 ops[i]);
        assert_int_equal(nas_apply_fixed_architecture_text(model, json), NAS_OK);
        train(model, space_images[0], 0, without);
        train(model, space_images[0], 0.5, with);
        assert_int_equal(memcmp(with, without, sizeof with) != 0, i == 0);
        nas_module_free(model);
    }
}

/* The supernet as DARTS trains it: every operation of every edge mixed, every input of every node added. */
static void darts_mixes_every_edge(void **state) {
    (void)state;
    nas_module *model = space_small("darts", space_images[0]);
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(darts_has_the_papers_keys),
        cmocka_unit_test(cells_keep_their_keys_and_weights),
        cmocka_unit_test(cell_strings_round_trip),
        cmocka_unit_test(cell_strings_say_what_is_wrong),
        cmocka_unit_test(darts_mixes_every_edge),
        cmocka_unit_test(darts_derives_the_published_network),
        cmocka_unit_test(nasnet_derives_the_published_network),
        cmocka_unit_test(loose_ends_keep_their_weights),
        cmocka_unit_test(drop_path_comes_with_fixing_and_spares_identities),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
