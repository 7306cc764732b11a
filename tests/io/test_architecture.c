/* Architecture files: the five forms of a choice, every way to be wrong, and the pruned network that they make. */
#include "support.h"

#include <espalier/space.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { C = 8, CLASSES = 5 };

/* --- a network with the keys of tests/data/architecture.json ------------------------------------------------------ */
struct net {
    nas_module base;
    nas_module *stem, *first, *second, *head;
    nas_mutable *in3, *in4, *in5;
};

static nas_tensor *net_forward(nas_module *self, nas_tensor *x) {
    struct net *n = (struct net *)self;
    nas_tensor *a = nas_forward(n->stem, x), *b = nas_forward(n->first, a), *c = nas_forward(n->second, b);
    nas_tensor *d = nas_choose(n->in3, 3, (nas_tensor *[]){a, b, c});
    nas_tensor *e = nas_choose(n->in4, 3, (nas_tensor *[]){b, c, d});
    nas_tensor *more[5] = {e, nas_relu(e), nas_scale(e, 2), nas_relu6(e), nas_tanh(e)};
    return nas_forward(n->head, nas_choose(n->in5, 5, more));
}

static nas_module *conv(int kernel) { return nas_conv_bn_relu(.in = C, .out = C, .kernel = kernel); }

static nas_module *net_new(void) {
    struct net *n = nas_module_new(struct net, net_forward);
    n->stem = nas_child(n, "stem", nas_conv_bn_relu(.in = 2, .out = C, .kernel = 3));
    n->first = nas_child(
        n, "first",
        nas_layer_choice(n, "LayerChoice1", 2, ((nas_candidate[]){{"conv3x3", conv(3)}, {"conv5x5", conv(5)}})));
    nas_candidate many[8];
    for (int i = 0; i < 8; i++) {
        many[i] = (nas_candidate){NULL, nas_relu_conv_bn(.in = C, .out = C, .kernel = 1 + 2 * (i % 3), .bias = i > 3)};
    }
    n->second = nas_child(n, "second", nas_layer_choice(n, "LayerChoice2", 8, many));
    n->in3 = nas_input_choice(n, "InputChoice3", .names = (const char *const[]){"layer1", "layer2", "layer3"},
                              .n_candidates = 3, .n_chosen = 2);
    n->in4 = nas_input_choice(n, "InputChoice4", .n_candidates = 3, .n_chosen = 2, .reduce = NAS_CONCAT);
    n->in5 = nas_input_choice(n, "InputChoice5", .n_candidates = 5, .reduce = NAS_MEAN);
    n->head =
        nas_child(n, "head", nas_sequential(nas_pool(.kind = NAS_POOL_GLOBAL), nas_dense(.in = 2 * C, .out = CLASSES)));
    assert_no_error();
    return &n->base;
}

static const int64_t batch[4] = {3, 2, 9, 9};
enum { OUTPUTS = 3 * CLASSES };

static void run(nas_module *model, float *out) {
    float *x = random_floats(5, 3 * 2 * 9 * 9);
    nas_tape *tape = nas_tape_new();
    nas_tape_begin(tape, &(nas_tape_config){.freeze_running = true});
    nas_tensor *y = nas_forward(model, nas_input(4, batch, x));
    if (!y) {
        fail_msg("forward: %s", nas_error_message());
    }
    assert_int_equal(nas_tensor_count(y), OUTPUTS);
    nas_tensor_read(y, out);
    nas_tape_free(tape);
    free(x);
}

static char *read_text(const char *path) {
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    char *text = calloc(1, 4096);
    size_t n = fread(text, 1, 4095, f);
    fclose(f);
    assert_true(n > 0);
    return text;
}

static const char *const example = "tests/data/architecture.json";

static void all_five_forms_are_read(void **state) {
    (void)state;
    nas_module *model = net_new();
    nas_space *space = nas_space_new(model);
    char *text = read_text(example);
    nas_architecture *a = nas_architecture_parse(space, text);
    assert_no_error();
    static const struct {
        const char *key;
        uint64_t bits;
    } rows[] = {
        {"LayerChoice1", 2}, {"LayerChoice2", 64}, {"InputChoice3", 5}, {"InputChoice4", 6}, {"InputChoice5", 18}};
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(nas_architecture_get(a, nas_space_find(space, rows[i].key)), rows[i].bits);
    }
    char *json = nas_architecture_json(a, false);
    assert_non_null(strstr(json, "\"LayerChoice2\": \"6\""));
    assert_non_null(strstr(json, "\"InputChoice3\": [\"layer1\", \"layer3\"]"));
    assert_null(strchr(json, '\n'));
    nas_architecture *again = nas_architecture_parse(space, json);
    assert_true(nas_architecture_equal(a, again));
    free(json);
    json = nas_architecture_json(a, true);
    assert_non_null(strchr(json, '\n'));
    free(json);
    free(text);
    nas_architecture_free(a);
    nas_architecture_free(again);
    nas_space_free(space);
    nas_module_free(model);
}

static void the_fixed_network_is_the_supernets_path(void **state) {
    (void)state;
    float searched[OUTPUTS], fixed[OUTPUTS], other[OUTPUTS];
    nas_module *model = net_new();
    nas_initialise(model, 3);
    nas_space *space = nas_space_new(model);
    char *text = read_text(example);
    nas_architecture *a = nas_architecture_parse(space, text);
    run(model, other);
    nas_architecture_apply(a, space);
    run(model, searched);
    assert_memory_not_equal(other, searched, sizeof searched); /* switching the path changes the output */
    assert_int_equal(nas_apply_fixed_architecture(model, example), NAS_USAGE); /* a space holds it */
    assert_error(NAS_USAGE, "another space");
    nas_architecture_free(a);
    nas_space_free(space);
    assert_int_equal(nas_apply_fixed_architecture(model, example), NAS_OK);
    run(model, fixed);
    assert_memory_equal(fixed, searched, sizeof fixed);
    /* a new network of the same code, fixed before its weights are made, has the same weights */
    nas_module *same = net_new();
    assert_int_equal(nas_apply_fixed_architecture(same, example), NAS_OK);
    nas_initialise(same, 3);
    run(same, fixed);
    assert_memory_equal(fixed, searched, sizeof fixed);
    free(text);
    nas_module_free(same);
    nas_module_free(model);
}

static nas_status note_path(const char *path, nas_tensor *tensor, nas_role role, void *user) {
    (void)tensor, (void)role;
    if (strncmp(path, "first.", 6) == 0) {
        assert_true(strncmp(path, "first.conv5x5.", 14) == 0);
    }
    if (strncmp(path, "second.", 7) == 0) {
        assert_true(strncmp(path, "second.6.", 9) == 0);
        ++*(int *)user;
    }
    return NAS_OK;
}

static void unused_parameters_are_gone(void **state) {
    (void)state;
    size_t before = nas_memory().live_bytes;
    nas_module *model = net_new();
    size_t searching = nas_memory().live_bytes;
    assert_int_equal(nas_apply_fixed_architecture(model, example), NAS_OK);
    size_t fixed = nas_memory().live_bytes;
    nas_module *by_hand = nas_sequential(nas_conv_bn_relu(.in = 2, .out = C, .kernel = 3), conv(5),
                                         nas_relu_conv_bn(.in = C, .out = C, .kernel = 1, .bias = true),
                                         nas_dense(.in = 2 * C, .out = CLASSES));
    assert_int_equal(nas_parameter_count(model), nas_parameter_count(by_hand));
    assert_int_equal(nas_parameter_count(model),
                     2 * C * 9 + 2 * C + C * C * 25 + 2 * C + C * C + C + 2 * C + 2 * C * CLASSES + CLASSES);
    assert_true(searching - before > 2 * (fixed - before));
    assert_int_equal(nas_memory().live_bytes - fixed, fixed - before);
    int seen = 0;
    nas_visit_parameters(model, note_path, &seen);
    assert_true(seen > 0);
    assert_null(nas_space_new(model));
    assert_error(NAS_UNSUPPORTED, "no choices");
    nas_module_free(by_hand);
    nas_module_free(model);
    assert_int_equal(nas_memory().live_bytes, before);
}

/* --- errors ----------------------------------------------------------------------------------------------------- */
#define KEYS(first)                                                                                                    \
    "{" first ", \"LayerChoice2\": 6, \"InputChoice3\": [0, 1], \"InputChoice4\": [1, 2], \"InputChoice5\": []}"
#define INPUT(third)                                                                                                   \
    "{\"LayerChoice1\": 0, \"LayerChoice2\": 6, \"InputChoice3\": " third                                              \
    ", \"InputChoice4\": [1, 2], \"InputChoice5\": []}"

static const struct {
    const char *json;
    nas_status status;
    const char *parts[4];
} wrong[] = {
    {"", NAS_PARSE, {"not JSON", "line 1"}},
    {"{\"LayerChoice1\": 1,\n  oops}", NAS_PARSE, {"not JSON", "line 2", "column"}},
    {"{\"LayerChoice1\": 1} trailing", NAS_PARSE, {"not JSON"}},
    {"[1, 2]", NAS_PARSE, {"must be a JSON object"}},
    {"\"conv3x3\"", NAS_PARSE, {"must be a JSON object"}},
    {KEYS("\"LayerChoice1\": 0, \"LayerChoice1\": 1"), NAS_PARSE, {"occurs twice", "LayerChoice1"}},
    {KEYS("\"Layerchoice1\": 0"), NAS_NOT_FOUND, {"unknown key \"Layerchoice1\"", "did you mean \"LayerChoice1\""}},
    {KEYS("\"LayerChoice1\": 0, \"entirely different\": 0"),
     NAS_NOT_FOUND,
     {"unknown key \"entirely different\"", "no such choice"}},
    {"{\"LayerChoice2\": 6, \"InputChoice3\": [0, 1], \"InputChoice4\": [1, 2], \"InputChoice5\": []}",
     NAS_NOT_FOUND,
     {"key \"LayerChoice1\" is missing", "conv3x3, conv5x5"}},
    {"{}", NAS_NOT_FOUND, {"is missing"}},
    {KEYS("\"LayerChoice1\": \"conv5x4\""),
     NAS_NOT_FOUND,
     {"LayerChoice1", "\"conv5x4\"", "did you mean \"conv5x5\"", "conv3x3, conv5x5"}},
    {KEYS("\"LayerChoice1\": \"pooling layer\""),
     NAS_NOT_FOUND,
     {"LayerChoice1", "\"pooling layer\"", "candidates are conv3x3, conv5x5"}},
    {KEYS("\"LayerChoice1\": 2"), NAS_INVALID, {"LayerChoice1", "index 2 is out of range 0 to 1", "conv3x3, conv5x5"}},
    {KEYS("\"LayerChoice1\": -1"), NAS_INVALID, {"LayerChoice1", "index -1 is out of range"}},
    {KEYS("\"LayerChoice1\": 0.5"), NAS_INVALID, {"LayerChoice1", "0.5 is no index"}},
    {KEYS("\"LayerChoice1\": 1e30"), NAS_INVALID, {"LayerChoice1", "out of range"}},
    {KEYS("\"LayerChoice1\": [0, 1]"),
     NAS_INVALID,
     {"LayerChoice1", "[0, 1] chooses 2 candidates", "exactly 1 of conv3x3, conv5x5"}},
    {KEYS("\"LayerChoice1\": []"), NAS_INVALID, {"LayerChoice1", "chooses 0 candidates"}},
    {KEYS("\"LayerChoice1\": [true, true]"), NAS_INVALID, {"LayerChoice1", "chooses 2 candidates"}},
    {KEYS("\"LayerChoice1\": [true]"), NAS_INVALID, {"LayerChoice1", "1 booleans", "2 candidates"}},
    {KEYS("\"LayerChoice1\": true"), NAS_INVALID, {"LayerChoice1", "true is no choice"}},
    {KEYS("\"LayerChoice1\": null"), NAS_INVALID, {"LayerChoice1", "null is no choice"}},
    {KEYS("\"LayerChoice1\": {\"a\": 1}"), NAS_INVALID, {"LayerChoice1", "is no choice"}},
    {KEYS("\"LayerChoice1\": [[1]]"), NAS_INVALID, {"LayerChoice1", "is no choice"}},
    {INPUT("[\"layer1\", 1]"), NAS_INVALID, {"InputChoice3", "is no choice"}},
    {INPUT("[true, 1, false]"), NAS_INVALID, {"InputChoice3", "is no choice"}},
    {INPUT("[1, true]"), NAS_INVALID, {"InputChoice3", "is no choice"}},
    {INPUT("[\"layer1\", \"layer1\"]"), NAS_INVALID, {"InputChoice3", "\"layer1\" is given twice"}},
    {INPUT("[2, 2]"), NAS_INVALID, {"InputChoice3", "\"layer3\" is given twice"}},
    {INPUT("[0, 1, 2]"), NAS_INVALID, {"InputChoice3", "chooses 3 candidates", "exactly 2 of layer1, layer2, layer3"}},
    {INPUT("\"layer1\""), NAS_INVALID, {"InputChoice3", "\"layer1\" chooses 1 candidates", "exactly 2"}},
    {INPUT("[0, 3]"), NAS_INVALID, {"InputChoice3", "index 3 is out of range 0 to 2"}},
    {INPUT("[true, true, false, false]"),
     NAS_INVALID,
     {"InputChoice3", "4 booleans", "3 candidates: layer1, layer2, layer3"}},
    {INPUT("[\"layer1\", \"layer9\"]"),
     NAS_NOT_FOUND,
     {"InputChoice3", "\"layer9\"", "candidates are layer1, layer2, layer3"}},
};

static void every_error_is_clear_and_leaves_the_model_alone(void **state) {
    (void)state;
    float before[OUTPUTS], after[OUTPUTS];
    nas_module *model = net_new();
    int64_t parameters = nas_parameter_count(model);
    nas_initialise(model, 1);
    run(model, before);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(nas_apply_fixed_architecture_text(model, wrong[i].json), wrong[i].status);
        for (int p = 1; p < 4 && wrong[i].parts[p]; p++) {
            if (!strstr(nas_error_message(), wrong[i].parts[p])) {
                fail_msg("%s: \"%s\" is not in \"%s\"", wrong[i].json, wrong[i].parts[p], nas_error_message());
            }
        }
        assert_error(wrong[i].status, wrong[i].parts[0]);
    }
    assert_int_equal(nas_apply_fixed_architecture(model, "tests/data/no-such-file.json"), NAS_NOT_FOUND);
    assert_error(NAS_NOT_FOUND, "no-such-file.json");
    assert_int_equal(nas_parameter_count(model), parameters);
    run(model, after);
    assert_memory_equal(before, after, sizeof before);
    assert_int_equal(nas_apply_fixed_architecture(model, example), NAS_OK);
    nas_module_free(model);
}

static void errors_of_a_file_name_it(void **state) {
    (void)state;
    char *directory = temporary_directory(), *path = NULL;
    assert_true(asprintf(&path, "%s/broken.json", directory) > 0);
    FILE *f = fopen(path, "w");
    fputs("{\"LayerChoice1\": 7", f);
    fclose(f);
    nas_module *model = net_new();
    assert_int_equal(nas_apply_fixed_architecture(model, path), NAS_PARSE);
    assert_error(NAS_PARSE, "broken.json: not JSON: line 1");
    nas_module_free(model);
    free(path);
    remove_directory(directory);
}

/* --- what is not reached ------------------------------------------------------------------------------------------ */
struct small {
    nas_module base;
    nas_module *edges[2];
    nas_mutable *inputs, *value;
    int fixed;
};

/* Computes both edges, wanted or not. */
static nas_tensor *small_forward(nas_module *self, nas_tensor *x) {
    struct small *s = (struct small *)self;
    nas_tensor *y =
        nas_choose(s->inputs, 2, (nas_tensor *[]){nas_forward(s->edges[0], x), nas_forward(s->edges[1], x)});
    return nas_scale(y, (float)nas_value(s->value));
}

static void small_fixed(nas_module *self) { ((struct small *)self)->fixed++; }

static nas_module *small_new(void) {
    struct small *s = nas_module_new(struct small, small_forward);
    s->base.fixed = small_fixed;
    nas_module *inner = nas_layer_choice(s, "inner", 2,
                                         ((nas_candidate[]){{"k1", nas_conv(.in = 2, .out = 2, .kernel = 1)},
                                                            {"k3", nas_conv(.in = 2, .out = 2, .kernel = 3)}}));
    s->edges[0] = nas_child(
        s, "e0",
        nas_layer_choice(s, "edge_0", 2,
                         ((nas_candidate[]){{"skip", nas_identity_new()}, {"nested", nas_sequential(inner)}})));
    s->edges[1] = nas_child(s, "e1",
                            nas_layer_choice(s, "edge_1", 2,
                                             ((nas_candidate[]){{"skip", nas_identity_new()},
                                                                {"conv", nas_conv(.in = 2, .out = 2, .kernel = 3)}})));
    s->inputs = nas_input_choice(s, "in", .names = (const char *const[]){"e0", "e1"}, .n_candidates = 2, .n_chosen = 1,
                                 .edges = (const char *const[]){"edge_0", "edge_1"});
    s->value = nas_value_choice(s, "factor", 3, ((double[]){3, 5, 7}));
    assert_no_error();
    return &s->base;
}

static void unreachable_choices_are_checked_then_ignored(void **state) {
    (void)state;
    static const struct {
        const char *given, *exported; /* NULL: an error that names the key */
    } rows[] = {
        {"{\"in\": \"e1\", \"edge_1\": \"conv\", \"factor\": 1}",
         "{\"in\": [\"e1\"], \"factor\": \"5\", \"edge_1\": \"conv\"}"},
        {"{\"in\": [\"e1\"], \"edge_1\": [0], \"factor\": \"7\", \"edge_0\": \"nested\", \"inner\": \"k3\"}",
         "{\"in\": [\"e1\"], \"factor\": \"7\", \"edge_1\": \"skip\"}"},
        {"{\"in\": 0, \"edge_0\": \"nested\", \"inner\": \"k3\", \"factor\": \"3\"}",
         "{\"in\": [\"e0\"], \"factor\": \"3\", \"edge_0\": \"nested\", \"inner\": \"k3\"}"},
        {"{\"in\": 0, \"edge_0\": \"skip\", \"factor\": \"3\"}",
         "{\"in\": [\"e0\"], \"factor\": \"3\", \"edge_0\": \"skip\"}"},
        {"{\"in\": 0, \"edge_0\": \"nested\", \"factor\": \"3\"}", NULL},
        {"{\"in\": 1, \"edge_1\": 0, \"factor\": 0, \"inner\": \"k5\"}", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        nas_module *model = small_new();
        nas_space *space = nas_space_new(model);
        nas_architecture *a = nas_architecture_parse(space, rows[i].given);
        if (!rows[i].exported) {
            assert_null(a);
            assert_error(NAS_NOT_FOUND, "\"inner\"");
        } else {
            char *json = a ? nas_architecture_json(a, false) : NULL;
            assert_no_error();
            assert_string_equal(json, rows[i].exported);
            free(json);
        }
        nas_architecture_free(a);
        nas_space_free(space);
        nas_module_free(model);
    }
}

static void pruning_goes_through_nesting_and_edges(void **state) {
    (void)state;
    nas_module *model = small_new();
    assert_int_equal(nas_apply_fixed_architecture_text(
                         model, "{\"in\": 0, \"edge_0\": \"nested\", \"inner\": \"k3\", \"factor\": \"5\"}"),
                     NAS_OK);
    assert_int_equal(nas_parameter_count(model), 2 * 2 * 9);
    assert_int_equal(((struct small *)model)->fixed, 1);
    assert_true(nas_value(((struct small *)model)->value) == 5);
    nas_tape *tape = nas_tape_new();
    nas_tape_begin(tape, &(nas_tape_config){0});
    assert_non_null(nas_forward(model, nas_input(4, batch, NULL))); /* edge_1 is empty, but nobody looks at it */
    assert_no_error();
    nas_tape_free(tape);
    nas_module_free(model);
    model = small_new();
    assert_int_equal(nas_apply_fixed_architecture_text(model, "{\"in\": 0, \"edge_0\": \"skip\", \"factor\": \"5\"}"),
                     NAS_OK);
    assert_int_equal(nas_parameter_count(model), 0);
    assert_null(nas_space_new(model));
    assert_error(NAS_UNSUPPORTED, "no choices");
    nas_module_free(model);
}

/* Who prints an error and goes on with a better file must not get half a network. */
static void an_earlier_error_does_not_disturb(void **state) {
    (void)state;
    nas_module *model = small_new();
    assert_int_equal(nas_apply_fixed_architecture_text(model, "{"), NAS_PARSE);
    assert_int_equal(nas_apply_fixed_architecture_text(model, "{\"in\": 0, \"edge_0\": \"skip\", \"factor\": \"5\"}"),
                     NAS_OK);
    assert_error(NAS_PARSE, "not JSON");
    assert_int_equal(((struct small *)model)->fixed, 1);
    nas_module_free(model);
    model = small_new();
    assert_int_equal(nas_apply_fixed_architecture_text(model, "{\"in\": 0, \"edge_0\": \"skip\", \"factor\": 5}"),
                     NAS_INVALID);
    assert_error(NAS_INVALID, "write a value as a string");
    nas_module_free(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_five_forms_are_read),
        cmocka_unit_test(the_fixed_network_is_the_supernets_path),
        cmocka_unit_test(unused_parameters_are_gone),
        cmocka_unit_test(every_error_is_clear_and_leaves_the_model_alone),
        cmocka_unit_test(errors_of_a_file_name_it),
        cmocka_unit_test(unreachable_choices_are_checked_then_ignored),
        cmocka_unit_test(pruning_goes_through_nesting_and_edges),
        cmocka_unit_test(an_earlier_error_does_not_disturb),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
