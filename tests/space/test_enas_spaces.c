/* The two spaces of ENAS: sizes, strings, which weights a path has, and networks against their parts done by hand. */
#include "support.h"

#include <espalier/hardware.h>
#include <espalier/space.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const published = "0 2 0 0 0 4 0 1 0 4 1 1 1 0 0 1 0 2 1 1 1 0 1 0 0 3 0 2 1 1 3 1 1 0 0 4 0 3 1 1";

static nas_module *build(const char *name, int side, const char *set) {
    const nas_space_info *info = nas_space_info_find(name);
    void *options = calloc(1, info->options_size);
    char *words = strdup(set), *rest = words, *word;
    assert_int_equal(nas_options_default(info->options, options), NAS_OK);
    while ((word = strsep(&rest, ",")) && *word) {
        char *value = strchr(word, '=');
        *value++ = 0;
        assert_int_equal(nas_options_set(info->options, options, word, value), NAS_OK);
    }
    nas_module *model = nas_space_build(
        name, &(nas_space_config){.channels = 3, .height = side, .width = side, .outputs = 10, .options = options});
    free(words);
    free(options);
    assert_no_error();
    return model;
}

/* Output of a pass in evaluation mode, of two images; new. */
static float *output(nas_module *model, int side, unsigned grad) {
    float *x = random_floats(9, (size_t)(2 * 3 * side * side)), *y = malloc(20 * sizeof *y);
    nas_tape *tape = nas_tape_new();
    nas_tape_begin(tape, &(nas_tape_config){.freeze_running = true, .grad = grad});
    nas_tensor *out = nas_forward(model, nas_input(NAS_DIMS(2, 3, side, side), x));
    assert_no_error();
    assert_int_equal(nas_tensor_read(out, y), NAS_OK);
    if (grad) {
        float target[2] = {3, 7};
        assert_int_equal(nas_backward(nas_cross_entropy(out, nas_input(NAS_DIMS(2), target))), NAS_OK);
    }
    nas_tape_free(tape);
    free(x);
    return y;
}

/* --- strings --------------------------------------------------------------------------------------------------- */
static void strings_round_trip(void **state) {
    (void)state;
    static const char *const spaces[][2] = {{"enas-macro", "layers=5,channels=4"},
                                            {"enas-micro", "nodes=2,channels=4"}};
    for (int s = 0; s < 2; s++) {
        nas_module *model = build(spaces[s][0], 8, spaces[s][1]);
        nas_space *space = nas_space_new(model);
        const nas_space_info *info = nas_space_info_find(spaces[s][0]);
        nas_architecture *a = nas_architecture_new(space);
        nas_rng rng = nas_rng_new(3, 3);
        for (int draw = 0; draw < 8; draw++) {
            nas_architecture_random(a, &rng);
            char *text = info->canonical(a);
            nas_architecture *again = info->parse(space, text);
            assert_no_error();
            assert_true(nas_architecture_equal(a, again));
            for (size_t cut = 0; cut < strlen(text); cut++) { /* no beginning is one, nor one with a letter changed */
                char *wrong = strdup(text);
                wrong[cut] = cut % 2 ? 'x' : '9';
                assert_null(info->parse(space, wrong));
                assert_error(NAS_PARSE, "is expected");
                wrong[cut] = 0;
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

static void sizes_are_the_papers(void **state) {
    (void)state;
    nas_module *macro = nas_space_build("enas-macro", NULL), *micro = nas_space_build("enas-micro", NULL);
    nas_space *space = nas_space_new(macro);
    assert_float_equal(nas_space_log10_size(space), 12 * log10(6) + 66 * log10(2), 1e-9);
    const nas_choice *skips = nas_space_choice(space, nas_space_find(space, "layer_4/skips"));
    assert_int_equal(skips->n, 3); /* the stem and the first two layers, not the third */
    assert_string_equal(skips->names[2], "layer_2");
    assert_int_equal(skips->n_min, 0);
    assert_int_equal(skips->n_max, 3);
    nas_space_free(space);
    space = nas_space_new(micro);
    assert_float_equal(nas_space_log10_size(space), 4 * log10(pow(5, 5) * 2 * 3 * 4 * 5 * 6), 1e-9);
    nas_space_free(space);
    nas_module_free(macro);
    nas_module_free(micro);
}

/* --- macro ------------------------------------------------------------------------------------------------------- */
typedef struct gradients {
    const char *below;
    bool any;
} gradients;

static nas_status look_for_gradient(const char *path, nas_tensor *t, nas_role role, void *user) {
    gradients *g = user;
    if (role == NAS_ROLE_WEIGHT && strncmp(path, g->below, strlen(g->below)) == 0) {
        size_t n = (size_t)nas_tensor_count(t);
        float *values = calloc(n, sizeof *values);
        nas_tensor_read_grad(t, values);
        for (size_t i = 0; i < n; i++) {
            g->any |= values[i] != 0;
        }
        free(values);
    }
    return NAS_OK;
}

static bool has_gradient(nas_module *model, const char *below) {
    gradients g = {below, false};
    nas_visit_parameters(model, look_for_gradient, &g);
    return g.any;
}

/* The sampled operations and the reductions of states that are read have gradients, and nothing else has. */
static void only_the_sample_has_gradients(void **state) {
    (void)state;
    nas_module *model = build("enas-macro", 16, "channels=4,layers=6");
    assert_int_equal(nas_initialise(model, 4), NAS_OK);
    nas_space *space = nas_space_new(model);
    nas_architecture *a =
        nas_space_info_find("enas-macro")->parse(space, "0  3 0  4 1 0  1 0 0 0  2 0 0 1 0  5 0 0 0 0 1");
    assert_no_error();
    nas_architecture_apply(a, space);
    free(output(model, 16, NAS_ROLE_WEIGHT));
    static const char *const ops[] = {"conv3x3", "sepconv3x3", "conv5x5", "sepconv5x5", "avgpool3x3", "maxpool3x3"};
    static const int taken[] = {0, 3, 4, 1, 2, 5};
    for (int l = 0; l < 6; l++) {
        for (int k = 0; k < 6; k++) {
            char path[64];
            snprintf(path, sizeof path, "layer_%d.%s.", l + 1, ops[k]);
            assert_int_equal(has_gradient(model, path), k == taken[l]);
        }
    }
    /* Layer 3 reads state 2, and adds the stem's, behind the first reduction; layer 5 adds state 2 and layer 6 state 4
     * behind the second. */
    static const bool read[2][6] = {{true, false, true, false, false, false}, {false, false, true, false, true, false}};
    for (int stage = 1; stage < 3; stage++) {
        for (int i = 0; i < 5; i++) {
            char path[64];
            snprintf(path, sizeof path, "reduction_%d_%d.", stage, i);
            assert_int_equal(has_gradient(model, path), read[stage - 1][i]);
        }
    }
    nas_architecture_free(a);
    nas_space_free(space);
    nas_module_free(model);
}

/* --- micro ------------------------------------------------------------------------------------------------------- */
static void a_slot_has_weights_for_each_value(void **state) {
    (void)state;
    nas_module *model = build("enas-micro", 16, "channels=4,layers=1,nodes=2");
    assert_int_equal(nas_initialise(model, 4), NAS_OK);
    nas_space *space = nas_space_new(model);
    for (int from = 0; from < 3; from++) {
        char text[64], path[64];
        snprintf(text, sizeof text, "0 1 1 4 %d 0 1 4", from);
        nas_architecture *a = nas_space_info_find("enas-micro")->parse(space, text);
        assert_no_error();
        nas_architecture_apply(a, space);
        nas_optimizer *clear = nas_sgd(.lr = 0.1);
        nas_optimizer_bind_model(clear, model);
        nas_optimizer_zero_grad(clear);
        free(output(model, 16, NAS_ROLE_WEIGHT));
        for (int i = 0; i < 3; i++) {
            snprintf(path, sizeof path, "cell_0.op_3_0_of_%d.sep_conv_3x3.", i);
            assert_int_equal(has_gradient(model, path), i == from);
        }
        nas_optimizer_free(clear);
        nas_architecture_free(a);
    }
    nas_space_free(space);
    nas_module_free(model);
}

/* The published cells, as the paper's final network of 15 and 2 cells of 36 channels: 4.6 million parameters are
 * reported, which count an auxiliary head. Reductions of either kind take the same architecture. */
static void published_cells(void **state) {
    (void)state;
    static const char *const how[] = {"channels=36,layers=17,strided=1", "channels=36,layers=17"};
    for (int i = 0; i < 2; i++) {
        nas_module *model = build("enas-micro", 32, how[i]);
        nas_space *space = nas_space_new(model);
        assert_int_equal(nas_space_size(space), 2 * 5 * 4);
        const nas_space_info *info = nas_space_info_find("enas-micro");
        nas_architecture *a = info->parse(space, published);
        assert_no_error();
        char *text = info->canonical(a), *json = nas_architecture_json(a, false);
        assert_string_equal(text, published);
        nas_architecture_apply(a, space);
        uint64_t macs, fixed_macs;
        int64_t parameters, fixed_parameters;
        assert_int_equal(nas_model_cost(model, 3, (int64_t[]){3, 32, 32}, &macs, &parameters), NAS_OK);
        nas_architecture_free(a);
        nas_space_free(space);
        assert_int_equal(nas_apply_fixed_architecture_text(model, json), NAS_OK);
        assert_int_equal(nas_model_cost(model, 3, (int64_t[]){3, 32, 32}, &fixed_macs, &fixed_parameters), NAS_OK);
        assert_int_equal(macs, fixed_macs);
        assert_int_equal(parameters, fixed_parameters);
        assert_int_equal(parameters, i ? 3151116 : 3190860);
        free(text);
        free(json);
        nas_module_free(model);
    }
}

/* --- a sample alone ----------------------------------------------------------------------------------------------- */
typedef struct copying {
    nas_module *from;
    int copied;
} copying;

typedef struct wanted {
    const char *path;
    nas_tensor *tensor;
} wanted;

static nas_status find_path(const char *path, nas_tensor *t, nas_role role, void *user) {
    wanted *w = user;
    (void)role;
    w->tensor = strcmp(path, w->path) == 0 ? t : w->tensor;
    return NAS_OK;
}

static nas_status copy_parameter(const char *path, nas_tensor *t, nas_role role, void *user) {
    copying *c = user;
    wanted w = {path, NULL};
    (void)role;
    nas_visit_parameters(c->from, find_path, &w);
    assert_non_null(w.tensor);
    size_t n = (size_t)nas_tensor_count(t);
    if ((size_t)nas_tensor_count(w.tensor) == n) {
        float *values = malloc(n * sizeof *values);
        nas_tensor_read(w.tensor, values);
        nas_tensor_write(t, values);
        free(values);
        c->copied++;
    } else { /* what reads the values that no node reads: 4 channels each, some of them */
        assert_non_null(strstr(path, "out_"));
    }
    return NAS_OK;
}

/* A network that was made for the architecture alone, with the weights of the supernet under the same names. */
static void a_sample_is_its_network(void **state) {
    (void)state;
    static const struct {
        const char *space, *options, *text;
    } samples[] = {
        {"enas-macro", "channels=4,layers=6", "0  3 0  4 1 0  1 0 0 0  2 0 0 1 0  5 0 0 0 0 1"},
        {"enas-macro", "channels=4,layers=6", "5  4 1  0 1 1  1 0 1 1  3 1 1 1 1  2 0 0 0 0 0"},
        /* each cell ends in the last node alone, so nothing but the reader's slice differs from a chain */
        {"enas-micro", "channels=4,layers=4,nodes=2", "0 1 1 0 2 2 2 4 1 3 0 1 2 0 2 1"},
    };
    for (size_t s = 0; s < sizeof samples / sizeof *samples; s++) {
        nas_module *model = build(samples[s].space, 16, samples[s].options),
                   *alone = build(samples[s].space, 16, samples[s].options);
        assert_int_equal(nas_initialise(model, 4), NAS_OK);
        nas_space *space = nas_space_new(model);
        nas_architecture *a = nas_space_info_find(samples[s].space)->parse(space, samples[s].text);
        assert_no_error();
        nas_architecture_apply(a, space);
        float *of_sample = output(model, 16, 0);
        char *json = nas_architecture_json(a, false);
        assert_int_equal(nas_apply_fixed_architecture_text(alone, json), NAS_OK);
        assert_int_equal(nas_initialise(alone, 5), NAS_OK);
        nas_architecture_free(a);
        nas_space_free(space);
        int64_t before = nas_parameter_count(model);
        nas_apply_fixed_architecture_text(model, json);
        assert_true(nas_parameter_count(model) < before / 2);
        assert_int_equal(nas_parameter_count(model), nas_parameter_count(alone));
        copying c = {model, 0};
        nas_visit_parameters(alone, copy_parameter, &c);
        assert_true(c.copied > 10);
        float *of_network = output(alone, 16, 0), *of_pruned = output(model, 16, 0);
        assert_memory_equal(of_sample, of_pruned, 20 * sizeof(float));
        assert_memory_equal(of_sample, of_network, 20 * sizeof(float));
        free(of_sample);
        free(of_network);
        free(of_pruned);
        free(json);
        nas_module_free(model);
        nas_module_free(alone);
    }
}

static void what_does_not_fit_is_refused(void **state) {
    (void)state;
    nas_module *cell = nas_cell(.ops = (nas_cell_op[]){{"a", NULL, NAS_CELL_OP}}, .n_ops = 1, .channels = 2,
                                .n_inputs = 1, .nodes = 1, .in = {2}, .preprocess = {NAS_CELL_AS_IS},
                                .wiring = NAS_CELL_SLOTS, .merge = NAS_CELL_UNREAD, .stride = 2);
    assert_null(cell);
    assert_error(NAS_INVALID, "NAS_CELL_LOOSE_ENDS");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings_round_trip),
        cmocka_unit_test(sizes_are_the_papers),
        cmocka_unit_test(only_the_sample_has_gradients),
        cmocka_unit_test(a_slot_has_weights_for_each_value),
        cmocka_unit_test(published_cells),
        cmocka_unit_test(a_sample_is_its_network),
        cmocka_unit_test(what_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
