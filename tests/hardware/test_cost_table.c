/* Tables of costs: constant + one number per candidate is what the network of any architecture costs. */
#include "support.h"

#include "hardware/cost_table.h"

#include "core/file.h"
#include "space/space.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static nas_module *build(const char *name, nas_space_config config, const char *const (*set)[2]) {
    const nas_space_info *info = nas_space_info_find(name);
    char options[256];
    assert_true(info && info->options_size <= sizeof options);
    assert_int_equal(nas_options_default(info->options, options), NAS_OK);
    for (; (*set)[0]; set++) {
        assert_int_equal(nas_options_set(info->options, options, (*set)[0], (*set)[1]), NAS_OK);
    }
    config.options = options;
    nas_module *model = nas_space_build(name, &config);
    assert_no_error();
    return model;
}

static void same(double got, double expected) {
    if (got != expected) {
        fail_msg("%.17g instead of %.17g", got, expected);
    }
}

/* Of random architectures: the sum of the table is what nas_model_cost counts, before and after fixing. */
static void check_sums(nas_module *model, int n, int ndim, const int64_t *dims) {
    nas_space *space = nas_space_new(model);
    nas__cost_table *macs = nas__cost_table_new(space, model, ndim, dims, NAS__COST_MACS);
    nas__cost_table *parameters = nas__cost_table_new(space, model, ndim, dims, NAS__COST_PARAMS);
    assert_no_error();
    nas_architecture *a = nas_architecture_new(space);
    nas_rng rng = nas_rng_new(5, 5);
    for (int i = 0; i < n; i++) {
        uint64_t counted;
        int64_t counted_parameters;
        nas_architecture_random(a, &rng);
        nas_architecture_apply(a, space);
        assert_int_equal(nas_model_cost(model, ndim, dims, &counted, &counted_parameters), NAS_OK);
        same(nas__cost_of_architecture(macs, a), (double)counted);
        same(nas__cost_of_architecture(parameters, a), (double)counted_parameters);
    }
    char *json = nas_architecture_json(a, false);
    double last_macs = nas__cost_of_architecture(macs, a), last_parameters = nas__cost_of_architecture(parameters, a);
    nas__cost_table_free(macs);
    nas__cost_table_free(parameters);
    nas_architecture_free(a);
    nas_space_free(space);
    assert_int_equal(nas_apply_fixed_architecture_text(model, json), NAS_OK);
    uint64_t fixed;
    int64_t fixed_parameters;
    assert_int_equal(nas_model_cost(model, ndim, dims, &fixed, &fixed_parameters), NAS_OK);
    same((double)fixed, last_macs);
    same((double)fixed_parameters, last_parameters);
    assert_int_equal(nas_parameter_count(model), fixed_parameters);
    free(json);
    nas_module_free(model);
}

static void sums_of_the_built_in_spaces(void **state) {
    (void)state;
    static const char *const nb201[][2] = {{"channels", "4"}, {"cells", "2"}, {NULL}};
    static const char *const darts[][2] = {{"channels", "4"}, {"layers", "3"}, {"nodes", "3"}, {NULL}};
    static const char *const chain[][2] = {{"channels", "4"}, {NULL}};
    const nas_space_config image = {3, 32, 32, 10, NULL};
    check_sums(build("nb201", image, nb201), 20, 3, (int64_t[]){3, 32, 32});
    check_sums(build("darts", image, darts), 20, 3, (int64_t[]){3, 32, 32});
    check_sums(build("chain", image, chain), 20, 3, (int64_t[]){3, 32, 32});
}

/* --- a network with everything in it ---------------------------------------------------------------- */
struct mixed_net {
    nas_module base;
    nas_module *outer, *shared[2], *projection[2], *wide;
    nas_mutable *inputs, *width;
};

static nas_module *kernels(const char *key, int in, int out) {
    return nas_layer_choice(NULL, key, 3,
                            ((nas_candidate[]){{"k1", nas_conv(.in = in, .out = out, .kernel = 1)},
                                               {"k3", nas_conv(.in = in, .out = out, .kernel = 3)},
                                               {"k5", nas_conv(.in = in, .out = out, .kernel = 5)}}));
}

/* The second place of `shared` sees the image halved; projections are computed for wanted inputs alone; `width` says
 * how often `wide` is run. */
static nas_tensor *mixed_forward(nas_module *self, nas_tensor *x) {
    struct mixed_net *n = (struct mixed_net *)self;
    nas_tensor *y = nas_forward(n->shared[0], nas_forward(n->outer, x));
    nas_tensor *inputs[3] = {nas_wanted(n->inputs, 0) ? nas_forward(n->projection[0], y) : NULL,
                             nas_wanted(n->inputs, 1) ? nas_forward(n->projection[1], y) : NULL, y};
    y = nas_choose(n->inputs, 3, inputs);
    for (int i = 0; i < (int)nas_value(n->width); i++) {
        y = nas_forward(n->wide, y);
    }
    return nas_forward(n->shared[1], nas_max_pool(y, (nas_pool_args){.kernel = 2}));
}

static nas_module *mixed_net_new(void) {
    struct mixed_net *n = nas_module_new(struct mixed_net, mixed_forward);
    nas_module *nested = nas_sequential(nas_conv(.in = 2, .out = 2, .kernel = 3), kernels("nested", 2, 2));
    n->outer = nas_child(
        n, "outer",
        nas_layer_choice(n, "outer", 2,
                         ((nas_candidate[]){{"plain", nas_conv(.in = 2, .out = 2, .kernel = 7)}, {"nested", nested}})));
    n->shared[0] = nas_child(n, "a", kernels("shared", 2, 2));
    n->shared[1] = nas_child(n, "b", kernels("shared", 2, 2));
    n->projection[0] = nas_child(n, "p0", nas_conv(.in = 2, .out = 2, .kernel = 1));
    n->projection[1] = nas_child(n, "p1", nas_conv(.in = 2, .out = 2, .kernel = 3));
    n->wide = nas_child(n, "wide", nas_conv(.in = 2, .out = 2, .kernel = 3));
    n->inputs = nas_input_choice(n, "inputs", .n_candidates = 3, .n_min = 1, .n_max = 2);
    n->width = nas_value_choice(n, "width", 3, ((const double[]){1, 2, 4}));
    assert_no_error();
    return &n->base;
}

static void sums_with_nested_and_shared_choices_inputs_and_values(void **state) {
    (void)state;
    check_sums(mixed_net_new(), 60, 3, (int64_t[]){2, 8, 8});
}

static void numbers_counted_by_hand(void **state) {
    (void)state;
    nas_module *model = mixed_net_new();
    nas_space *space = nas_space_new(model);
    nas_decide(space, 0, (nas_decision){.run = 2});
    nas__cost_table *t = nas__cost_table_new(space, model, 3, (int64_t[]){2, 8, 8}, NAS__COST_MACS);
    assert_int_equal(nas_decision_of(space, 0).run, 2); /* left as it was */
    int outer = nas_space_find(space, "outer"), nested = nas_space_find(space, "nested");
    int shared = nas_space_find(space, "shared"), inputs = nas_space_find(space, "inputs");
    int width = nas_space_find(space, "width");
    same(nas__cost_constant(t), 9 * 4 * 64); /* one run of `wide` */
    same(nas__cost_of(t, outer, 0), 49 * 4 * 64);
    same(nas__cost_of(t, outer, 1), 9 * 4 * 64);
    same(nas__cost_of(t, nested, 2), 25 * 4 * 64);
    same(nas__cost_of(t, shared, 1), 9 * 4 * (64 + 16));
    same(nas__cost_of(t, inputs, 0), 4 * 64);
    same(nas__cost_of(t, inputs, 1), 9 * 4 * 64);
    same(nas__cost_of(t, inputs, 2), 0);
    same(nas__cost_of(t, width, 0), 0);
    same(nas__cost_of(t, width, 2), 3 * 9 * 4 * 64);
    nas__cost_table_free(t);
    nas_space_free(space);
    nas_module_free(model);
}

/* --- latency ---------------------------------------------------------------------------------------- */
static void latencies_are_of_this_machine(void **state) {
    (void)state;
    nas_module *model =
        nas_sequential(nas_conv(.in = 3, .out = 32, .kernel = 3),
                       nas_layer_choice(NULL, "layer", 3,
                                        ((nas_candidate[]){{"none", nas_none_new(1)},
                                                           {"k1", nas_conv(.in = 32, .out = 32, .kernel = 1)},
                                                           {"k7", nas_conv(.in = 32, .out = 32, .kernel = 7)}})));
    assert_no_error();
    nas_space *space = nas_space_new(model);
    nas__cost_table *t = nas__cost_table_new(space, model, 3, (int64_t[]){3, 96, 96}, NAS__COST_LATENCY);
    assert_no_error();
    assert_true(nas__cost_of(t, 0, 0) < 20);
    assert_true(nas__cost_of(t, 0, 1) > 1);
    assert_true(nas__cost_of(t, 0, 2) > 3 * nas__cost_of(t, 0, 1)); /* 49 times the multiply-adds */
    assert_true(nas__cost_constant(t) > 1);
    nas__cost_table_free(t);
    nas_space_free(space);
    nas_module_free(model);
}

/* --- files ------------------------------------------------------------------------------------------ */
static void a_table_reads_back_as_it_was_written(void **state) {
    (void)state;
    char *directory = temporary_directory(), *path = nas__join(directory, "table.json");
    nas_module *model = mixed_net_new();
    nas_space *space = nas_space_new(model);
    for (int kind = NAS__COST_MACS; kind <= NAS__COST_LATENCY; kind++) {
        nas__cost_table *t = nas__cost_table_new(space, model, 3, (int64_t[]){2, 8, 8}, (nas__cost_kind)kind);
        assert_int_equal(nas__cost_table_write(t, space, path), NAS_OK);
        nas__cost_table *read = nas__cost_table_read(space, path);
        assert_no_error();
        assert_int_equal(read->kind, kind);
        assert_true(read->constant == t->constant);
        assert_memory_equal(read->cost, t->cost, (size_t)t->first[t->n] * sizeof *t->cost);
        nas__cost_table_free(read);
        nas__cost_table_free(t);
    }
    nas_space_free(space);
    nas_module_free(model);
    free(path);
    remove_directory(directory);
}

static void wrong_tables_are_refused_with_the_reason(void **state) {
    (void)state;
    static const struct {
        const char *text, *message;
    } rows[] = {
        {"{", "line 1"},
        {"[1]", "no table of costs"},
        {"{\"format\": \"espalier cost table\", \"version\": 9}", "version 1"},
        {"{\"format\": \"espalier cost table\", \"version\": 1, \"kind\": \"watts\"}", "\"watts\""},
        {"{\"format\": \"espalier cost table\", \"version\": 1, \"kind\": \"latency\"}", "\"unit\""},
        {"{\"format\": \"espalier cost table\", \"version\": 1, \"kind\": \"macs\"}", "\"constant\""},
        {"{\"format\": \"espalier cost table\", \"version\": 1, \"kind\": \"macs\", \"constant\": 1}", "\"choices\""},
        {"{\"format\": \"espalier cost table\", \"version\": 1, \"kind\": \"macs\", \"constant\": 1, \"choices\": {}}",
         "choice \"layer\" is missing"},
        {"{\"format\": \"espalier cost table\", \"version\": 1, \"kind\": \"macs\", \"constant\": 1, "
         "\"choices\": {\"layre\": {}}}",
         "\"layre\""},
        {"{\"format\": \"espalier cost table\", \"version\": 1, \"kind\": \"macs\", \"constant\": 1, "
         "\"choices\": {\"layer\": {\"k1\": 1, \"k2\": 2, \"k3\": 3, \"k5\": 4}}}",
         "choice \"layer\": unknown candidate \"k2\""},
        {"{\"format\": \"espalier cost table\", \"version\": 1, \"kind\": \"macs\", \"constant\": 1, "
         "\"choices\": {\"layer\": {\"k1\": 1, \"k3\": 3}}}",
         "choice \"layer\": candidate \"k5\" has no number"},
        {"{\"format\": \"espalier cost table\", \"version\": 1, \"kind\": \"macs\", \"constant\": 1, "
         "\"choices\": {\"layer\": {\"k1\": 1, \"k3\": -3, \"k5\": 4}}}",
         "candidate \"k3\" costs -3"},
    };
    char *directory = temporary_directory(), *path = nas__join(directory, "table.json");
    nas_module *model = kernels("layer", 2, 2);
    nas_space *space = nas_space_new(model);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(nas__write_file(path, rows[i].text, strlen(rows[i].text)), NAS_OK);
        assert_null(nas__cost_table_read(space, path));
        assert_non_null(strstr(nas_error_message(), "table.json"));
        assert_error(nas_error_status(), rows[i].message);
    }
    assert_null(nas__cost_table_read(space, "/nowhere.json"));
    assert_error(NAS_NOT_FOUND, "/nowhere.json");
    nas_space_free(space);
    nas_module_free(model);
    free(path);
    remove_directory(directory);
}

static void costs_as_people_write_them(void **state) {
    (void)state;
    static const struct {
        nas__cost_kind kind;
        const char *text;
        double cost; /* 0: refused */
        const char *again;
    } rows[] = {{NAS__COST_MACS, "30M", 30e6, "30M"},
                {NAS__COST_MACS, "1.5g", 1.5e9, "1.5G"},
                {NAS__COST_PARAMS, "431K", 431e3, "431k"},
                {NAS__COST_PARAMS, "12", 12, "12"},
                {NAS__COST_LATENCY, "5ms", 5000, "5 ms"},
                {NAS__COST_LATENCY, "300us", 300, "300 us"},
                {NAS__COST_LATENCY, "1e3ns", 1, "1 us"},
                {NAS__COST_LATENCY, "0.01s", 10000, "10 ms"},
                {NAS__COST_MACS, "30ms", 0, NULL},
                {NAS__COST_MACS, "-3M", 0, NULL},
                {NAS__COST_MACS, "0", 0, NULL},
                {NAS__COST_MACS, "M", 0, NULL},
                {NAS__COST_MACS, "", 0, NULL},
                {NAS__COST_MACS, "nan", 0, NULL},
                {NAS__COST_MACS, "inf", 0, NULL},
                {NAS__COST_MACS, "0x10", 0, NULL},
                {NAS__COST_MACS, "1e999", 0, NULL},
                {NAS__COST_LATENCY, "5", 0, NULL},
                {NAS__COST_LATENCY, "5M", 0, NULL},
                {NAS__COST_RAM, "256KiB", 262144, "262144 bytes (256KiB)"},
                {NAS__COST_FLASH, "4mib", 4194304, "4194304 bytes (4MiB)"},
                {NAS__COST_RAM, "64kB", 64000, "64000 bytes (62.5KiB)"},
                {NAS__COST_RAM, "512", 512, "512 bytes (0.5KiB)"},
                {NAS__COST_RAM, "3ms", 0, NULL},
                {NAS__COST_FLASH, "0KiB", 0, NULL}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        double cost = 0;
        char text[32];
        if (nas__cost_parse(rows[i].kind, rows[i].text, &cost) != (rows[i].cost > 0)) {
            fail_msg("%s", rows[i].text);
        }
        if (rows[i].cost > 0) {
            assert_true(fabs(cost - rows[i].cost) < 1e-9 * cost);
            assert_string_equal(nas__cost_text(rows[i].kind, cost, text), rows[i].again);
        }
    }
    assert_no_error();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_of_the_built_in_spaces),
        cmocka_unit_test(sums_with_nested_and_shared_choices_inputs_and_values),
        cmocka_unit_test(numbers_counted_by_hand),
        cmocka_unit_test(latencies_are_of_this_machine),
        cmocka_unit_test(a_table_reads_back_as_it_was_written),
        cmocka_unit_test(wrong_tables_are_refused_with_the_reason),
        cmocka_unit_test(costs_as_people_write_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
