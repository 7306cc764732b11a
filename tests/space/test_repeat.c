/* Searched depth: which blocks run, what is reachable, weightings of depths, pruning, costs, and rows that make no
 * sense. */
#include "support.h"

#include <espalier/hardware.h>
#include <espalier/space.h>

#include "hardware/cost_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { C = 4, SIDE = 6, N = 2, COUNT = N * C * SIDE * SIDE };

/* A block adds to its input, so that every depth has its own result: a choice of two convolutions, or one. */
typedef struct block {
    nas_module base;
    nas_module *body;
} block;

static nas_tensor *block_forward(nas_module *self, nas_tensor *x) {
    return nas_add(x, nas_forward(((block *)self)->body, x));
}

static nas_module *block_new(const char *key) {
    block *b = nas_module_new(block, block_forward);
    const nas_candidate two[] = {{"1x1", nas_conv(.in = C, .out = C, .kernel = 1)},
                                 {"3x3", nas_conv(.in = C, .out = C, .kernel = 3)}};
    b->body = nas_child(b, "body", key ? nas_layer_choice(b, key, 2, two) : two[1].module);
    if (!key) {
        nas_module_free(two[0].module);
    }
    return &b->base;
}

/* key NULL: blocks without choices */
static nas_module *row_new(int least, const char *depth_key, bool choices) {
    nas_module *blocks[] = {block_new(choices ? "a" : NULL), block_new(choices ? "b" : NULL), block_new(NULL),
                            block_new(choices ? "d" : NULL)};
    return nas_sequential(nas_activation_new(NAS_TANH), nas_repeat(NULL, depth_key, least, 4, blocks));
}

static void run(nas_module *model, float out[COUNT]) {
    float *x = random_floats(3, COUNT);
    nas_tape *tape = nas_tape_new();
    nas_tape_begin(tape, &(nas_tape_config){0});
    if (nas_tensor_read(nas_forward(model, nas_input(NAS_DIMS(N, C, SIDE, SIDE), x)), out)) {
        fail_msg("%s", nas_error_message());
    }
    nas_tape_free(tape);
    free(x);
}

static void decide(nas_space *space, const char *key, uint64_t run) {
    assert_int_equal(nas_decide(space, nas_space_find(space, key), (nas_decision){.run = run}), NAS_OK);
}

static void every_depth_is_the_first_blocks(void **state) {
    (void)state;
    nas_module *model = row_new(0, "depth", false);
    nas_space *space = nas_space_new(model);
    assert_int_equal(nas_space_size(space), 1);
    const nas_choice *c = nas_space_choice(space, 0);
    assert_int_equal(c->kind, NAS_LAYER);
    assert_int_equal(c->n, 5);
    assert_string_equal(c->names[0], "0");
    assert_string_equal(c->names[4], "4");
    float all[5][COUNT], both[COUNT];
    for (int d = 0; d <= 4; d++) {
        decide(space, "depth", UINT64_C(1) << d);
        run(model, all[d]);
        assert_true(d == 0 || memcmp(all[d], all[d - 1], sizeof *all) != 0);
    }
    decide(space, "depth", 1 << 1 | 1 << 3); /* several: their sum */
    run(model, both);
    for (int i = 0; i < COUNT; i++) {
        all[0][i] = all[1][i] + all[3][i];
    }
    assert_floats_near(both, all[0], COUNT, 1e-6, "two depths");
    nas_space_free(space);
    nas_module_free(model);
}

static void weightings_mix_the_depths(void **state) {
    (void)state;
    nas_module *model = row_new(2, "depth", false);
    nas_space *space = nas_space_new(model);
    nas_tensor *weights = nas_variable(1, (int64_t[]){3}, NAS_ROLE_ARCH);
    const float w[] = {0.5f, -0.25f, 2};
    float each[3][COUNT], expected[COUNT], mixed[COUNT], gradient[3], *x = random_floats(3, COUNT);
    double sums[3] = {0};
    for (int d = 0; d < 3; d++) {
        decide(space, "depth", UINT64_C(1) << d);
        run(model, each[d]);
    }
    for (int i = 0; i < COUNT; i++) {
        expected[i] = w[0] * each[0][i] + w[1] * each[1][i] + w[2] * each[2][i];
        for (int d = 0; d < 3; d++) {
            sums[d] += (double)each[d][i];
        }
    }
    nas_tensor_write(weights, w);
    assert_int_equal(nas_decide(space, 0, (nas_decision){.run = 7, .weights = weights}), NAS_OK);
    nas_tape *tape = nas_tape_new();
    nas_tape_begin(tape, &(nas_tape_config){.grad = NAS_ROLE_ARCH | NAS_ROLE_WEIGHT});
    nas_tensor *y = nas_forward(model, nas_input(NAS_DIMS(N, C, SIDE, SIDE), x));
    nas_tensor_read(y, mixed);
    assert_floats_near(mixed, expected, COUNT, 1e-5, "mixed");
    assert_int_equal(nas_backward(nas_sum(y)), NAS_OK);
    nas_tensor_read_grad(weights, gradient);
    assert_floats_near(gradient, (float[]){(float)sums[0], (float)sums[1], (float)sums[2]}, 3, 1e-3, "gradient");
    nas_tape_free(tape);
    free(x);
    nas_space_free(space);
    nas_module_free(model);
    nas_tensor_free(weights);
}

static void choices_are_reached_with_their_block(void **state) {
    (void)state;
    nas_module *model = row_new(1, "depth", true);
    nas_space *space = nas_space_new(model);
    nas_architecture *a = nas_architecture_new(space);
    const int depth = nas_space_find(space, "depth"),
              keys[] = {nas_space_find(space, "a"), nas_space_find(space, "b"), nas_space_find(space, "d")};
    static const int from[] = {1, 2, 4};
    for (int d = 1; d <= 4; d++) {
        nas_architecture_set(a, depth, UINT64_C(1) << (d - 1));
        for (int i = 0; i < 3; i++) {
            assert_int_equal(nas_architecture_reaches(a, keys[i]), d >= from[i]);
        }
    }
    const nas_choice *d = nas_space_choice(space, keys[2]), *b = nas_space_choice(space, keys[1]);
    assert_int_equal(d->parent, depth);
    assert_int_equal(d->parent_candidate, 3);
    assert_int_equal(b->parent_candidate, 1);
    assert_int_equal(b->parent_set, 1 << 1 | 1 << 2 | 1 << 3);
    /* what is not reached is not written, and makes no difference */
    nas_architecture *other = nas_architecture_copy(a);
    nas_architecture_set(a, depth, 1);
    nas_architecture_set(other, depth, 1);
    nas_architecture_set(other, keys[2], 2);
    assert_true(nas_architecture_equal(a, other));
    char *json = nas_architecture_json(other, false);
    assert_string_equal(json, "{\"depth\": \"1\", \"a\": \"1x1\"}");
    free(json);
    assert_null(nas_architecture_parse(space, "{\"depth\": \"2\", \"a\": \"1x1\"}"));
    assert_error(NAS_NOT_FOUND, "\"b\"");
    nas_architecture_free(a);
    nas_architecture_free(other);
    nas_space_free(space);
    nas_module_free(model);
}

static void fixed_rows_keep_what_runs(void **state) {
    (void)state;
    for (int d = 0; d <= 4; d++) {
        float searched[COUNT], fixed[COUNT];
        char json[128];
        nas_module *model = row_new(0, "depth", true);
        nas_initialise(model, 4);
        nas_space *space = nas_space_new(model);
        nas_architecture *a = nas_architecture_new(space);
        nas_architecture_set(a, nas_space_find(space, "depth"), UINT64_C(1) << d);
        nas_architecture_set(a, nas_space_find(space, "b"), 2);
        nas_architecture_apply(a, space);
        run(model, searched);
        uint64_t macs, fixed_macs;
        int64_t parameters, fixed_parameters;
        assert_int_equal(nas_model_cost(model, 3, (int64_t[]){C, SIDE, SIDE}, &macs, &parameters), NAS_OK);
        static const int64_t expected[] = {0, C * C, 10 * C * C, 19 * C * C, 20 * C * C};
        assert_int_equal(parameters, expected[d]);
        nas_architecture_free(a);
        nas_space_free(space);
        snprintf(json, sizeof json, "{\"depth\": \"%d\"%s%s%s}", d, d > 0 ? ", \"a\": \"1x1\"" : "",
                 d > 1 ? ", \"b\": \"3x3\"" : "", d > 3 ? ", \"d\": \"1x1\"" : "");
        assert_int_equal(nas_apply_fixed_architecture_text(model, json), NAS_OK);
        assert_int_equal(nas_parameter_count(model), parameters);
        assert_int_equal(nas_model_cost(model, 3, (int64_t[]){C, SIDE, SIDE}, &fixed_macs, &fixed_parameters), NAS_OK);
        assert_int_equal(macs, fixed_macs);
        run(model, fixed);
        assert_memory_equal(searched, fixed, sizeof fixed);
        nas_module_free(model);
    }
}

/* A row in a block of a row: reached only when both run it. */
static void rows_nest(void **state) {
    (void)state;
    nas_module *inner[] = {block_new("x"), block_new("y")}, *outer[2];
    outer[0] = block_new("first");
    outer[1] = nas_repeat(NULL, "inner", 1, 2, inner);
    nas_module *model = nas_sequential(nas_repeat(NULL, "outer", 1, 2, outer));
    nas_space *space = nas_space_new(model);
    nas_architecture *a = nas_architecture_new(space);
    for (int outside = 1; outside <= 2; outside++) {
        for (int inside = 1; inside <= 2; inside++) {
            nas_architecture_set(a, nas_space_find(space, "outer"), UINT64_C(1) << (outside - 1));
            nas_architecture_set(a, nas_space_find(space, "inner"), UINT64_C(1) << (inside - 1));
            assert_true(nas_architecture_reaches(a, nas_space_find(space, "first")));
            assert_int_equal(nas_architecture_reaches(a, nas_space_find(space, "inner")), outside == 2);
            assert_int_equal(nas_architecture_reaches(a, nas_space_find(space, "x")), outside == 2);
            assert_int_equal(nas_architecture_reaches(a, nas_space_find(space, "y")), outside == 2 && inside == 2);
        }
    }
    nas_architecture_free(a);
    nas_space_free(space);
    nas_module_free(model);
}

static void costs_add_up(void **state) {
    (void)state;
    const int64_t sample[] = {C, SIDE, SIDE};
    nas_module *model = row_new(1, "depth", true);
    nas_space *space = nas_space_new(model);
    nas__cost_table *macs = nas__cost_table_new(space, model, 3, sample, NAS__COST_MACS);
    nas__cost_table *parameters = nas__cost_table_new(space, model, 3, sample, NAS__COST_PARAMS);
    assert_no_error();
    nas_architecture *a = nas_architecture_new(space);
    nas_rng rng = nas_rng_new(5, 5);
    for (int i = 0; i < 32; i++) {
        uint64_t counted;
        int64_t trained;
        nas_architecture_random(a, &rng);
        nas_architecture_apply(a, space);
        assert_int_equal(nas_model_cost(model, 3, sample, &counted, &trained), NAS_OK);
        assert_true(nas__cost_of_architecture(macs, a) == (double)counted);
        assert_true(nas__cost_of_architecture(parameters, a) == (double)trained);
    }
    nas_architecture_free(a);
    nas__cost_table_free(macs);
    nas__cost_table_free(parameters);
    nas_space_free(space);
    nas_module_free(model);
}

static void wrong_rows_are_refused(void **state) {
    (void)state;
    nas_module *blocks[] = {block_new(NULL), block_new(NULL)};
    assert_null(nas_repeat(NULL, "depth", 3, 2, blocks)); /* frees them */
    assert_error(NAS_INVALID, "depth \"depth\": 3 to 2 of 2 blocks");
    nas_module *holes[] = {block_new(NULL), NULL};
    assert_null(nas_repeat(NULL, "depth", 1, 2, holes));
    assert_error(NAS_INVALID, "block 1 is NULL");
    assert_null(nas_repeat(NULL, NULL, 0, 0, NULL));
    assert_error(NAS_INVALID, "0 blocks");
    nas_module *shapes[] = {nas_conv(.in = C, .out = C, .kernel = 1), nas_conv(.in = C, .out = 3, .kernel = 1)};
    nas_module *model = nas_sequential(nas_repeat(NULL, "depth", 1, 2, shapes));
    nas_space *space = nas_space_new(model);
    decide(space, "depth", 3);
    nas_tape *tape = nas_tape_new();
    nas_tape_begin(tape, &(nas_tape_config){.dry = true});
    assert_null(nas_forward(model, nas_input(NAS_DIMS(N, C, SIDE, SIDE), NULL)));
    assert_error(NAS_SHAPE, "all depths must give one shape");
    nas_tape_free(tape);
    nas_space_free(space);
    nas_module_free(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_depth_is_the_first_blocks),
        cmocka_unit_test(weightings_mix_the_depths),
        cmocka_unit_test(choices_are_reached_with_their_block),
        cmocka_unit_test(fixed_rows_keep_what_runs),
        cmocka_unit_test(rows_nest),
        cmocka_unit_test(costs_add_up),
        cmocka_unit_test(wrong_rows_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
