/* Choices in a network: what decisions compute, how inputs are reduced, sharing by key, nesting, reachability. */
#include "support.h"

#include <espalier/space.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- a network of scaled copies: candidate i of a layer choice multiplies by its factor ------------------------- */
struct scale {
    nas_module base;
    float factor;
    int *runs;
};

static nas_tensor *scale_forward(nas_module *self, nas_tensor *x) {
    struct scale *s = (struct scale *)self;
    if (s->runs) {
        ++*s->runs;
    }
    return nas_scale(x, s->factor);
}

static nas_module *scale_new(float factor, int *runs) {
    struct scale *s = nas_module_new(struct scale, scale_forward);
    s->factor = factor;
    s->runs = runs;
    return &s->base;
}

struct holder {
    nas_module base;
    nas_module *child[3];
    nas_mutable *inputs;
    int n;
};

/* The children one after another. */
static nas_tensor *row_forward(nas_module *self, nas_tensor *x) {
    struct holder *h = (struct holder *)self;
    for (int i = 0; i < h->n; i++) {
        x = nas_forward(h->child[i], x);
    }
    return x;
}

/* The wanted children side by side. */
static nas_tensor *inputs_forward(nas_module *self, nas_tensor *x) {
    struct holder *h = (struct holder *)self;
    nas_tensor *y[3] = {0};
    for (int i = 0; i < h->n; i++) {
        y[i] = nas_wanted(h->inputs, i) ? nas_forward(h->child[i], x) : NULL;
    }
    return nas_choose(h->inputs, h->n, y);
}

static struct holder *three_scales(nas_reduce reduce, int n_min, int n_max, int *runs) {
    struct holder *h = nas_module_new(struct holder, inputs_forward);
    h->n = 3;
    h->child[0] = nas_child(h, "a", scale_new(1, runs));
    h->child[1] = nas_child(h, "b", scale_new(10, runs));
    h->child[2] = nas_child(h, "c", scale_new(100, runs));
    h->inputs = nas_input_choice(h, NULL, .names = (const char *const[]){"a", "b", "c"}, .n_candidates = 3,
                                 .n_min = n_min, .n_max = n_max, .reduce = reduce);
    assert_non_null(h->inputs);
    return h;
}

static nas_tape *tape;
static const int64_t image[4] = {1, 2, 1, 2};
static const float values[4] = {1, 2, 3, 4};

/* Result of a forward pass over the image; its element count through *count. */
static float *run(nas_module *model, int64_t *count) {
    nas_tape_begin(tape, &(nas_tape_config){0});
    nas_tensor *y = nas_forward(model, nas_input(4, image, values));
    if (!y) {
        fail_msg("forward: %s", nas_error_message());
    }
    static float out[64];
    assert_true(nas_tensor_count(y) <= 64);
    assert_int_equal(nas_tensor_read(y, out), NAS_OK);
    *count = nas_tensor_count(y);
    nas_tape_reset(tape);
    return out;
}

static float factor_of(nas_module *model) {
    int64_t count;
    return run(model, &count)[0];
}

static nas_module *two_scales(const char *key, float a, float b, int *runs) {
    return nas_layer_choice(NULL, key, 2, ((nas_candidate[]){{"a", scale_new(a, runs)}, {"b", scale_new(b, runs)}}));
}

static void a_path_runs_one_candidate(void **state) {
    (void)state;
    int runs = 0;
    struct holder *h = nas_module_new(struct holder, row_forward);
    h->n = 1;
    h->child[0] = nas_child(h, "layer", two_scales(NULL, 2, 3, &runs));
    assert_true(factor_of(&h->base) == 2); /* without a space: the first */
    nas_space *space = nas_space_new(&h->base);
    assert_int_equal(nas_space_size(space), 1);
    assert_string_equal(nas_space_choice(space, 0)->key, "layer");
    assert_int_equal(nas_decide(space, 0, (nas_decision){.run = 2}), NAS_OK);
    runs = 0;
    assert_true(factor_of(&h->base) == 3);
    assert_int_equal(runs, 1);
    assert_int_equal(nas_decide(space, 0, (nas_decision){.run = 3}), NAS_OK);
    assert_true(factor_of(&h->base) == 5); /* a set: the sum */
    assert_int_equal(nas_decide(space, 0, (nas_decision){.run = 0}), NAS_INVALID);
    assert_error(NAS_INVALID, "no candidate is to run");
    assert_int_not_equal(nas_decide(space, 0, (nas_decision){.run = 4}), NAS_OK);
    assert_error(NAS_INVALID, "candidate 2 is out of range");
    nas_space_free(space);
    nas_free(h);
}

static void a_weighting_mixes_and_skips_what_does_not_run(void **state) {
    (void)state;
    int runs = 0;
    struct holder *h = nas_module_new(struct holder, row_forward);
    h->n = 1;
    h->child[0] = nas_child(
        h, "layer",
        nas_layer_choice(
            h, "key", 3,
            ((nas_candidate[]){{"none", nas_none_new(1)}, {"x2", scale_new(2, &runs)}, {"x3", scale_new(3, &runs)}})));
    nas_space *space = nas_space_new(&h->base);
    nas_tensor *weights = nas_variable(1, (int64_t[]){3}, NAS_ROLE_ARCH);
    nas_tensor_write(weights, (float[]){0.5f, 0.25f, 2});
    float gradient[3];
    for (int pass = 0; pass < 2; pass++) {
        uint64_t bits = pass ? 3 : 7; /* all; then without the last */
        nas_tape_begin(tape, &(nas_tape_config){.grad = NAS_ROLE_ARCH});
        runs = 0;
        assert_int_equal(nas_decide(space, 0, (nas_decision){.run = bits, .weights = weights}), NAS_OK);
        nas_tensor *loss = nas_sum(nas_forward(&h->base, nas_input(4, image, values)));
        assert_true(fabsf(nas_tensor_item(loss) - (bits == 7 ? 6.5f : 0.5f) * 10) < 1e-4);
        assert_int_equal(runs, bits == 7 ? 2 : 1);
        nas_zero_grad(weights);
        assert_int_equal(nas_backward(loss), NAS_OK);
        nas_tensor_read_grad(weights, gradient);
        assert_floats_near(gradient, (float[]){0, 20, bits == 7 ? 30 : 0}, 3, 1e-6, "gradient of the weights");
        nas_tape_reset(tape);
    }
    nas_tensor_free(weights);
    nas_space_free(space);
    nas_free(h);
}

static void inputs_are_reduced(void **state) {
    (void)state;
    static const struct {
        nas_reduce reduce;
        float expected[3]; /* a and c; b alone; nothing */
        int64_t count[3];
    } rows[] = {
        {NAS_SUM, {101, 10, 0}, {4, 4, 4}}, {NAS_MEAN, {50.5f, 10, 0}, {4, 4, 4}}, {NAS_CONCAT, {1, 10, 0}, {8, 4, 4}}};
    for (size_t r = 0; r < 3; r++) {
        int runs = 0;
        struct holder *h = three_scales(rows[r].reduce, 0, 0, &runs);
        nas_space *space = nas_space_new(&h->base);
        assert_string_equal(nas_space_choice(space, 0)->key, "inputs");
        for (int i = 0; i < 2; i++) {
            int64_t count;
            runs = 0;
            assert_int_equal(nas_decide(space, 0, (nas_decision){.run = i ? 2 : 5}), NAS_OK);
            assert_true(run(&h->base, &count)[0] == rows[r].expected[i]);
            assert_int_equal(count, rows[r].count[i]);
            assert_int_equal(runs, i ? 1 : 2);
        }
        /* nothing chosen: zeros of the shape of an input that is given */
        assert_int_equal(nas_decide(space, 0, (nas_decision){.run = 0}), NAS_OK);
        nas_tape_begin(tape, &(nas_tape_config){0});
        nas_tensor *x = nas_input(4, image, values), *y = nas_choose(h->inputs, 3, (nas_tensor *[]){NULL, x, NULL});
        float zeros[4] = {1, 1, 1, 1};
        assert_int_equal(nas_tensor_read(y, zeros), NAS_OK);
        assert_true(zeros[0] == 0 && zeros[3] == 0);
        assert_null(nas_choose(h->inputs, 3, (nas_tensor *[]){NULL, NULL, NULL}));
        assert_error(NAS_INVALID, "none is given");
        assert_null(nas_choose(h->inputs, 2, (nas_tensor *[]){x, x}));
        assert_error(NAS_INVALID, "2 inputs");
        nas_tape_reset(tape);
        nas_space_free(space);
        nas_free(h);
    }
}

static void inputs_can_be_weighted_unless_concatenated(void **state) {
    (void)state;
    nas_tensor *weights = nas_variable(1, (int64_t[]){3}, NAS_ROLE_ARCH);
    nas_tensor_write(weights, (float[]){3, 2, 1});
    struct holder *h = three_scales(NAS_MEAN, 0, 0, NULL), *concat = three_scales(NAS_CONCAT, 0, 0, NULL);
    nas_space *space = nas_space_new(&h->base), *other = nas_space_new(&concat->base);
    assert_int_equal(nas_decide(space, 0, (nas_decision){.run = 3, .weights = weights}), NAS_OK);
    assert_true(factor_of(&h->base) == 23);
    assert_int_equal(nas_decide(other, 0, (nas_decision){.run = 3, .weights = weights}), NAS_UNSUPPORTED);
    assert_error(NAS_UNSUPPORTED, "choice \"inputs\": a concatenation cannot be weighted");
    nas_tensor_free(weights);
    nas_space_free(space);
    nas_space_free(other);
    nas_free(h);
    nas_free(concat);
}

static void candidates_of_different_shape_are_named(void **state) {
    (void)state;
    nas_module *choice =
        nas_layer_choice(NULL, "edge", 2,
                         ((nas_candidate[]){{"same", nas_identity_new()},
                                            {"half", nas_pool(.kind = NAS_POOL_MAX, .kernel = 1, .stride = 2)}}));
    nas_space *space = nas_space_new(choice);
    nas_tensor *weights = nas_variable(1, (int64_t[]){2}, NAS_ROLE_ARCH);
    nas_decide(space, 0, (nas_decision){.run = 3, .weights = weights});
    nas_tape_begin(tape, &(nas_tape_config){0});
    assert_null(nas_forward(choice, nas_input(4, image, values)));
    assert_non_null(strstr(nas_error_message(), "\"edge\""));
    assert_error(NAS_SHAPE, "candidate \"half\" gives shape");
    nas_tape_reset(tape);
    nas_tensor_free(weights);
    nas_module_free(choice); /* before its space */
    nas_space_free(space);
}

static void equal_keys_share_one_decision(void **state) {
    (void)state;
    struct holder *h = nas_module_new(struct holder, row_forward);
    h->n = 2;
    h->child[0] = nas_child(h, "one", two_scales("shared", 2, 3, NULL));
    h->child[1] = nas_child(h, "two", two_scales("shared", 5, 7, NULL));
    nas_space *space = nas_space_new(&h->base);
    assert_int_equal(nas_space_size(space), 1);
    nas_decide(space, 0, (nas_decision){.run = 2});
    assert_true(factor_of(&h->base) == 21);
    assert_null(nas_space_new(&h->base));
    assert_error(NAS_USAGE, "another space");
    assert_true(factor_of(&h->base) == 21); /* the refused space took nothing away */
    nas_space_free(space);
    nas_free(h);
}

static void disagreeing_keys_are_refused(void **state) {
    (void)state;
    struct holder *h = nas_module_new(struct holder, row_forward);
    nas_child(h, "one", two_scales("shared", 2, 3, NULL));
    nas_child(h, "three", nas_layer_choice(h, "shared", 1, ((nas_candidate[]){{"a", nas_identity_new()}})));
    assert_null(nas_space_new(&h->base));
    assert_error(NAS_INVALID, "\"shared\"");
    nas_free(h);
    h = nas_module_new(struct holder, row_forward);
    nas_input_choice(h, NULL, .n_candidates = 2);
    nas_input_choice(h, NULL, .n_candidates = 2);
    assert_null(nas_space_new(&h->base)); /* derived keys that coincide by accident */
    assert_error(NAS_INVALID, "\"inputs\"");
    nas_free(h);
    nas_module *plain = nas_identity_new();
    assert_null(nas_space_new(plain));
    assert_error(NAS_UNSUPPORTED, "no choices");
    nas_module_free(plain);
}

static void keys_follow_from_paths(void **state) {
    (void)state;
    struct holder *h = nas_module_new(struct holder, row_forward), *inner = nas_module_new(struct holder, row_forward);
    nas_child(h, "block", inner);
    nas_child(inner, "conv", two_scales(NULL, 1, 2, NULL));
    nas_input_choice(inner, NULL, .n_candidates = 2);
    nas_value_choice(inner, NULL, 2, ((double[]){3, 0.5}));
    nas_space *space = nas_space_new(&h->base);
    assert_int_equal(nas_space_size(space), 3);
    assert_true(nas_space_find(space, "block/conv") >= 0 && nas_space_find(space, "block/inputs") >= 0);
    const nas_choice *value = nas_space_choice(space, nas_space_find(space, "block/value"));
    assert_string_equal(value->names[0], "3");
    assert_string_equal(value->names[1], "0.5");
    assert_true(fabs(nas_space_log10_size(space) - log10(2 * 4 * 2)) < 1e-12);
    nas_space_free(space);
    nas_free(h);
}

static void a_value_is_read(void **state) {
    (void)state;
    struct holder *h = nas_module_new(struct holder, row_forward);
    nas_mutable *value = nas_value_choice(h, "kernel", 3, ((double[]){3, 5, 7}));
    assert_true(nas_value(value) == 3);
    nas_space *space = nas_space_new(&h->base);
    assert_int_equal(nas_decide(space, 0, (nas_decision){.run = 4}), NAS_OK);
    assert_true(nas_value(value) == 7);
    assert_int_equal(nas_decide(space, 0, (nas_decision){.run = 3}), NAS_INVALID);
    assert_error(NAS_INVALID, "takes exactly 1");
    nas_space_free(space);
    nas_free(h);
}

/* outer {a: identity, b: [inner {x, y}]}; a second place holds "inner" too when `twice`. */
static struct holder *nested(bool twice) {
    struct holder *h = nas_module_new(struct holder, row_forward);
    h->n = twice ? 2 : 1;
    nas_module *row = nas_sequential(two_scales("inner", 2, 3, NULL), scale_new(1, NULL));
    h->child[0] = nas_child(
        h, "outer", nas_layer_choice(h, "outer", 2, ((nas_candidate[]){{"a", nas_identity_new()}, {"b", row}})));
    if (twice) {
        h->child[1] = nas_child(h, "more", two_scales("inner", 5, 7, NULL));
    }
    return h;
}

static void nested_choices_are_reached_through_their_candidate(void **state) {
    (void)state;
    struct holder *h = nested(false);
    nas_space *space = nas_space_new(&h->base);
    int outer = nas_space_find(space, "outer"), inner = nas_space_find(space, "inner");
    assert_int_equal(nas_space_choice(space, inner)->parent, outer);
    assert_int_equal(nas_space_choice(space, inner)->parent_candidate, 1);
    assert_int_equal(nas_space_choice(space, outer)->parent, -1);
    nas_architecture *a = nas_architecture_new(space), *b = nas_architecture_new(space);
    assert_false(nas_architecture_reaches(a, inner));
    nas_architecture_set(b, inner, 2);
    assert_true(nas_architecture_equal(a, b)); /* they differ where it does not matter */
    assert_true(nas_architecture_hash(a) == nas_architecture_hash(b));
    nas_architecture_set(a, outer, 2);
    nas_architecture_set(b, outer, 2);
    assert_true(nas_architecture_reaches(a, inner));
    assert_false(nas_architecture_equal(a, b));
    assert_true(nas_architecture_hash(a) != nas_architecture_hash(b));
    nas_architecture_apply(b, space);
    assert_true(factor_of(&h->base) == 3);
    nas_architecture_free(a);
    nas_architecture_free(b);
    nas_space_free(space);
    nas_free(h);
}

static void a_shared_choice_is_reached_through_any_place(void **state) {
    (void)state;
    struct holder *h = nested(true);
    nas_space *space = nas_space_new(&h->base);
    nas_architecture *a = nas_architecture_new(space);
    int inner = nas_space_find(space, "inner");
    assert_int_equal(nas_space_choice(space, inner)->parent, -1);
    assert_true(nas_architecture_reaches(a, inner));
    nas_architecture_free(a);
    nas_space_free(space);
    nas_free(h);
}

/* Two edges into an input choice each; the edges of both have the same keys. */
static void edges_are_reached_when_any_input_choice_takes_them(void **state) {
    (void)state;
    struct holder *h = nas_module_new(struct holder, inputs_forward);
    nas_child(h, "e0", two_scales("e0", 1, 2, NULL));
    nas_child(h, "e1", two_scales("e1", 1, 2, NULL));
    nas_child(h, "free", two_scales("free", 1, 2, NULL));
    static const char *const edges[] = {"e0", "e1", NULL};
    nas_input_choice(h, "in", .n_candidates = 3, .n_chosen = 1, .edges = edges);
    nas_input_choice(h, "in2", .n_candidates = 3, .n_chosen = 1, .edges = edges);
    nas_space *space = nas_space_new(&h->base);
    nas_architecture *a = nas_architecture_new(space);
    int e0 = nas_space_find(space, "e0"), e1 = nas_space_find(space, "e1"), in = nas_space_find(space, "in"),
        in2 = nas_space_find(space, "in2");
    assert_int_equal(nas_space_choice(space, in)->edges[1], e1);
    assert_int_equal(nas_space_choice(space, in)->edges[2], -1);
    assert_true(nas_architecture_reaches(a, e0));
    assert_false(nas_architecture_reaches(a, e1));
    nas_architecture_set(a, in2, 2);
    assert_true(nas_architecture_reaches(a, e0) && nas_architecture_reaches(a, e1));
    nas_architecture_set(a, in, 2);
    assert_false(nas_architecture_reaches(a, e0));
    assert_true(nas_architecture_reaches(a, nas_space_find(space, "free")));
    nas_architecture_free(a);
    nas_space_free(space);
    nas_input_choice(h, "in3", .n_candidates = 1, .edges = (const char *const[]){"e9"});
    assert_null(nas_space_new(&h->base));
    assert_error(NAS_NOT_FOUND, "\"e9\"");
    nas_free(h);
}

static void random_architectures_are_uniform(void **state) {
    (void)state;
    struct holder *h = three_scales(NAS_SUM, 1, 2, NULL); /* 3 + 3 sets */
    nas_child(h, "layer", two_scales("layer", 1, 2, NULL));
    nas_space *space = nas_space_new(&h->base);
    nas_architecture *a = nas_architecture_new(space);
    nas_rng rng = nas_rng_new(1, 2);
    enum { DRAWS = 12000 };
    int counts[8][3] = {0};
    int inputs = nas_space_find(space, "inputs"), layer = nas_space_find(space, "layer");
    for (int i = 0; i < DRAWS; i++) {
        nas_architecture_random(a, &rng);
        counts[nas_architecture_get(a, inputs)][nas_architecture_get(a, layer)]++;
    }
    double chi = 0;
    for (int set = 1; set < 7; set++) {
        for (int bit = 1; bit < 3; bit++) {
            chi += pow(counts[set][bit] - DRAWS / 12.0, 2) / (DRAWS / 12.0);
        }
    }
    assert_int_equal(counts[0][1] + counts[0][2] + counts[7][1] + counts[7][2], 0);
    assert_true(chi < 31.3); /* 11 degrees of freedom, p = 0.001 */
    nas_architecture_free(a);
    nas_space_free(space);
    nas_free(h);
}

static void makers_refuse_nonsense(void **state) {
    (void)state;
    struct holder *h = nas_module_new(struct holder, row_forward);
    assert_null(nas_layer_choice(h, "k", 2, ((nas_candidate[]){{"a", nas_identity_new()}, {"a", nas_identity_new()}})));
    assert_error(NAS_INVALID, "both named \"a\"");
    assert_null(nas_layer_choice(h, "k", 2, ((nas_candidate[]){{"a", nas_identity_new()}, {"b", NULL}})));
    assert_error(NAS_INVALID, "candidate 1 is NULL");
    assert_null(
        nas_layer_choice(h, "k", 2, ((nas_candidate[]){{"a", nas_identity_new()}, {"b.c", nas_identity_new()}})));
    assert_error(NAS_INVALID, "b.c");
    assert_null(nas_layer_choice(h, "k", 0, NULL));
    assert_error(NAS_INVALID, "0 candidates");
    assert_null(nas_input_choice(h, "k", .n_candidates = 2, .n_chosen = 3));
    assert_error(NAS_INVALID, "3 to 3 of 2");
    assert_null(nas_input_choice(h, "k", .n_candidates = 65));
    assert_error(NAS_INVALID, "65 candidates");
    assert_null(nas_value_choice(h, "k", 2, ((double[]){1, NAN})));
    assert_error(NAS_INVALID, "not finite");
    nas_free(h);
}

static int set_up(void **state) {
    (void)state;
    tape = nas_tape_new();
    return tape ? 0 : 1;
}

static int tear_down(void **state) {
    (void)state;
    nas_tape_free(tape);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_path_runs_one_candidate),
        cmocka_unit_test(a_weighting_mixes_and_skips_what_does_not_run),
        cmocka_unit_test(inputs_are_reduced),
        cmocka_unit_test(inputs_can_be_weighted_unless_concatenated),
        cmocka_unit_test(candidates_of_different_shape_are_named),
        cmocka_unit_test(equal_keys_share_one_decision),
        cmocka_unit_test(disagreeing_keys_are_refused),
        cmocka_unit_test(keys_follow_from_paths),
        cmocka_unit_test(a_value_is_read),
        cmocka_unit_test(nested_choices_are_reached_through_their_candidate),
        cmocka_unit_test(a_shared_choice_is_reached_through_any_place),
        cmocka_unit_test(edges_are_reached_when_any_input_choice_takes_them),
        cmocka_unit_test(random_architectures_are_uniform),
        cmocka_unit_test(makers_refuse_nonsense),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
