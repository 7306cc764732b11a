/* The superkernel: thresholds at their extremes, pruning to each candidate, paths, decisions that are refused. */
#include "support.h"

#include <espalier/hardware.h>
#include <espalier/space.h>

#include "space/space.h"
#include "nn/module.h"
#include "tape.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { IN = 8, SIDE = 9, IMAGES = 2, VALUES = IMAGES * IN * SIDE * SIDE };
static const float FAR = 1e6f;

/* --- a network of one superkernel ------------------------------------------------------------------- */
typedef struct fixture {
    nas_module *model;
    nas_space *space;
    nas_tensor *t;
    nas_thresholds thresholds;
    float *x;
} fixture;

static nas_status stir(const char *path, nas_tensor *tensor, nas_role role, void *user) {
    (void)role;
    (void)user;
    int64_t n = nas_tensor_count(tensor);
    bool of_norm = strstr(path, "_bn") != NULL;
    float *values = random_floats((uint64_t)n + strlen(path), (size_t)n);
    for (int64_t i = 0; of_norm && i < n; i++) { /* estimates, gains and offsets that a short training might give */
        values[i] = strstr(path, "var") || strstr(path, "gamma") ? 1 + 0.5f * values[i] : 0.3f * values[i];
    }
    nas_status status = of_norm ? nas_tensor_write(tensor, values) : NAS_OK;
    free(values);
    return status;
}

static nas_module *model_new(int out, int stride) {
    nas_module *block = nas_superkernel_block("block", .in = IN, .out = out, .stride = stride);
    nas_module *model = nas_sequential(block);
    assert_no_error();
    assert_int_equal(nas_initialise(model, 3), NAS_OK);
    assert_int_equal(nas_visit_parameters(model, stir, NULL), NAS_OK);
    return model;
}

static fixture fixture_new(int out, int stride) {
    fixture f = {.model = model_new(out, stride), .x = random_floats(4, VALUES)};
    f.space = nas_space_new(f.model);
    f.t = nas_variable(1, (int64_t[]){3}, NAS_ROLE_ARCH);
    f.thresholds.values = f.t;
    assert_no_error();
    return f;
}

static void fixture_free(fixture *f) {
    nas_space_free(f->space);
    nas_free(f->model);
    nas_tensor_free(f->t);
    free(f->x);
}

/* The output under what is in force, new. */
static float *output(const fixture *f, nas_bn_mode bn, int64_t *count) {
    nas_tape_begin(tape, &(nas_tape_config){.bn = bn, .freeze_running = true});
    nas_tensor *y = nas_forward(f->model, nas_input(NAS_DIMS(IMAGES, IN, SIDE, SIDE), f->x));
    if (!y) {
        fail_msg("forward: %s", nas_error_message());
    }
    *count = nas_tensor_count(y);
    float *values = malloc((size_t)*count * sizeof *values);
    assert_int_equal(nas_tensor_read(y, values), NAS_OK);
    nas_tape_reset(tape);
    return values;
}

static void decide_by(fixture *f, float kernel, float expansion, float skip) {
    nas_tensor_write(f->t, (float[]){kernel, expansion, skip});
    assert_int_equal(nas_decide(f->space, 0, (nas_decision){.thresholds = &f->thresholds}), NAS_OK);
}

static void decide_candidate(fixture *f, int candidate) {
    bool skip = candidate == 4;
    decide_by(f, candidate & 2 && !skip ? -FAR : FAR, candidate & 1 && !skip ? -FAR : FAR, skip ? FAR : -FAR);
}

/* --- the tests ----------------------------------------------------------------------------------------- */
static void has_the_papers_candidates(void **state) {
    (void)state;
    static const char *const names[] = {"k3e3", "k3e6", "k5e3", "k5e6", "skip"};
    for (int skips = 0; skips < 2; skips++) {
        fixture f = fixture_new(skips ? IN : IN + 4, 1);
        const nas_choice *c = nas_space_choice(f.space, 0);
        assert_int_equal(nas_space_size(f.space), 1);
        assert_string_equal(c->key, "block");
        assert_true(c->superkernel);
        assert_int_equal(c->n, skips ? 5 : 4);
        for (int i = 0; i < c->n; i++) {
            assert_string_equal(c->names[i], names[i]);
        }
        fixture_free(&f);
    }
}

/* For each candidate: thresholds far off, a path, and the network that is fixed to it, compute the same, with running
 * estimates and with those of the batch. */
static void all_ways_to_a_candidate_agree(int out, int stride, int candidates) {
    for (int k = 0; k < candidates; k++) {
        for (nas_bn_mode bn = NAS_BN_BATCH; bn <= NAS_BN_RUNNING; bn++) {
            fixture f = fixture_new(out, stride);
            int64_t counts[3];
            decide_candidate(&f, k);
            float *masked = output(&f, bn, &counts[0]);
            assert_int_equal(nas_decide(f.space, 0, (nas_decision){.run = (uint64_t)1 << k}), NAS_OK);
            float *path = output(&f, bn, &counts[1]);
            nas_architecture *a = nas_architecture_new(f.space);
            nas_architecture_set(a, 0, (uint64_t)1 << k);
            char *json = nas_architecture_json(a, false);
            nas_architecture_free(a);
            nas_space_free(f.space);
            f.space = NULL;
            assert_int_equal(nas_apply_fixed_architecture_text(f.model, json), NAS_OK);
            float *pruned = output(&f, bn, &counts[2]);
            assert_int_equal(counts[0], counts[1]);
            assert_int_equal(counts[0], counts[2]);
            assert_floats_near(masked, pruned, (size_t)counts[0], 1e-5, json);
            assert_memory_equal(path, pruned, (size_t)counts[0] * sizeof(float));
            free(json);
            free(masked);
            free(path);
            free(pruned);
            fixture_free(&f);
        }
    }
}

static void pruned_is_the_supernet(void **state) {
    (void)state;
    all_ways_to_a_candidate_agree(IN, 1, 5);
    all_ways_to_a_candidate_agree(IN + 4, 1, 4);
    all_ways_to_a_candidate_agree(12, 2, 4);
}

static nas_module *only_child(nas_module *m, size_t i) {
    size_t n;
    return nas__module_children(m, &n)[i];
}

/* What is left of a choice: names and shapes of plain layers. */
static void pruned_is_plain(void **state) {
    (void)state;
    fixture f = fixture_new(IN, 1);
    nas_space_free(f.space);
    f.space = NULL;
    assert_int_equal(nas_apply_fixed_architecture_text(f.model, "{\"block\": \"k3e3\"}"), NAS_OK);
    nas_module *block = only_child(f.model, 0), *row = only_child(only_child(block, 0), 0);
    size_t n;
    nas__module_children(block, &n);
    assert_int_equal(n, 1);
    assert_string_equal(only_child(block, 0)->type, "mbconv");
    const nas_tensor *depthwise = only_child(row, 2)->state->parameters[0].tensor;
    assert_int_equal(nas_tensor_dim(depthwise, 0), 3 * IN);
    assert_int_equal(nas_tensor_dim(depthwise, 2), 3);
    assert_int_equal(nas_parameter_count(f.model), 3 * IN * (IN + 9 + IN) + 2 * (3 * IN + 3 * IN + IN));
    fixture_free(&f);
    f = fixture_new(IN, 1);
    nas_space_free(f.space);
    f.space = NULL;
    assert_int_equal(nas_apply_fixed_architecture_text(f.model, "{\"block\": \"skip\"}"), NAS_OK);
    assert_int_equal(nas_parameter_count(f.model), 0);
    int64_t count;
    float *y = output(&f, NAS_BN_BATCH, &count);
    assert_memory_equal(y, f.x, sizeof(float) * VALUES);
    free(y);
    fixture_free(&f);
}

static void skip_is_the_shortcut_bit_by_bit(void **state) {
    (void)state;
    fixture f = fixture_new(IN, 1);
    int64_t count;
    decide_by(&f, 0, 0, FAR);
    float *y = output(&f, NAS_BN_BATCH, &count);
    assert_memory_equal(y, f.x, sizeof(float) * VALUES);
    free(y);
    f.thresholds.mask_early = true; /* as published: the constants of the batch norms are left */
    decide_by(&f, 0, 0, FAR);
    y = output(&f, NAS_BN_BATCH, &count);
    assert_memory_not_equal(y, f.x, sizeof(float) * VALUES);
    free(y);
    fixture_free(&f);
}

/* A depthwise convolution with the masked 5x5 weights is the one with their 3x3 centre, bit by bit; with the ring kept
 * it is the 5x5 one. */
static void depthwise_kernels_are_exact(void **state) {
    (void)state;
    enum { C = 24, SPAN = 11 };
    float *x = random_floats(5, 2 * C * SPAN * SPAN), *w = random_floats(6, C * 25), *p = random_floats(7, 4 * C);
    for (int large = 0; large < 2; large++) {
        float got[2 * C * SPAN * SPAN], expected[2 * C * SPAN * SPAN];
        nas_tape_begin(tape, &(nas_tape_config){0});
        nas_tensor *input = nas_input(NAS_DIMS(2, C, SPAN, SPAN), x), *weight = nas_input(NAS_DIMS(C, 1, 5, 5), w);
        nas_superkernel_parts parts;
        assert_true(nas_superkernel(weight, nas_input(NAS_DIMS(4, C, 1, 1), p),
                                    nas_input(NAS_DIMS(3), (float[]){large ? -FAR : FAR, -FAR, -FAR}),
                                    &(nas_superkernel_args){0}, &parts));
        const nas_conv_args args = {.padding = NAS_SAME, .groups = C};
        nas_tensor_read(nas_conv2d(input, parts.depthwise, NULL, args), got);
        nas_tensor *plain = large ? weight : nas_slice(nas_slice(weight, 2, 1, 3), 3, 1, 3);
        nas_tensor_read(nas_conv2d(input, plain, NULL, args), expected);
        assert_memory_equal(got, expected, sizeof got);
        nas_tape_reset(tape);
    }
    free(x);
    free(w);
    free(p);
}

/* The indicators, and the candidate that the margins stand for, follow from the norms. */
static void margins_decide(void **state) {
    (void)state;
    fixture f = fixture_new(IN, 1);
    double at_zero[3], margins[3];
    int candidate;
    nas_tensor_write(f.t, (float[]){0, 0, 0});
    assert_int_equal(nas_margins(f.space, 0, &f.thresholds, at_zero, &candidate), NAS_OK);
    assert_int_equal(candidate, 3);
    for (int k = 0; k < 5; k++) {
        /* the norm of a half is less without the ring of the kernel */
        float t[3] = {(float)at_zero[0] + (k & 2 && k < 4 ? -0.01f : 0.01f),
                      (float)at_zero[1] * (k & 1 && k < 4 ? 0.3f : 1.01f), (float)at_zero[2] * (k < 4 ? 0.3f : 1.01f)};
        float indicators[3];
        nas_tensor_write(f.t, t);
        assert_int_equal(nas_margins(f.space, 0, &f.thresholds, margins, &candidate), NAS_OK);
        assert_int_equal(candidate, k);
        assert_true(fabs(margins[0] - (at_zero[0] - (double)t[0])) < 1e-12);
        assert_int_equal(nas_decide(f.space, 0, (nas_decision){.thresholds = &f.thresholds}), NAS_OK);
        nas_tape_begin(tape, &(nas_tape_config){0});
        assert_non_null(nas_forward(f.model, nas_input(NAS_DIMS(IMAGES, IN, SIDE, SIDE), f.x)));
        assert_int_equal(nas_tensor_read(nas_indicators(f.space, 0), indicators), NAS_OK);
        nas_tape_reset(tape);
        const nas_choice *c = nas_space_choice(f.space, 0);
        assert_int_equal(nas_superkernel_candidate(c, indicators[0] > 0, indicators[1] > 0, indicators[2] > 0), k);
    }
    fixture_free(&f);
}

/* What a path costs is what its network costs. */
static void paths_cost_what_they_compute(void **state) {
    (void)state;
    uint64_t most = 0;
    for (int k = 0; k < 5; k++) {
        fixture f = fixture_new(IN, 1);
        uint64_t path, fixed;
        int64_t path_parameters, fixed_parameters, dims[] = {IN, SIDE, SIDE};
        assert_int_equal(nas_decide(f.space, 0, (nas_decision){.run = (uint64_t)1 << k}), NAS_OK);
        assert_int_equal(nas_model_cost(f.model, 3, dims, &path, &path_parameters), NAS_OK);
        nas_architecture *a = nas_architecture_new(f.space);
        nas_architecture_set(a, 0, (uint64_t)1 << k);
        char *json = nas_architecture_json(a, false);
        nas_architecture_free(a);
        nas_space_free(f.space);
        f.space = NULL;
        assert_int_equal(nas_apply_fixed_architecture_text(f.model, json), NAS_OK);
        assert_int_equal(nas_model_cost(f.model, 3, dims, &fixed, &fixed_parameters), NAS_OK);
        assert_int_equal(path, fixed);
        assert_int_equal(path_parameters, fixed_parameters);
        most = fixed > most ? fixed : most;
        free(json);
        fixture_free(&f);
    }
    assert_int_equal(most, SIDE * SIDE * 6 * IN * (2 * IN + 25));
}

static void wrong_decisions_are_refused(void **state) {
    (void)state;
    fixture f = fixture_new(IN, 1);
    nas_tensor *two = nas_variable(1, (int64_t[]){2}, NAS_ROLE_ARCH),
               *five = nas_variable(1, (int64_t[]){5}, NAS_ROLE_ARCH);
    nas_thresholds wrong = {.values = two};
    assert_int_not_equal(nas_decide(f.space, 0, (nas_decision){.thresholds = &wrong}), NAS_OK);
    assert_error(NAS_INVALID, "\"block\"");
    assert_int_not_equal(nas_decide(f.space, 0, (nas_decision){.run = 31, .weights = five}), NAS_OK);
    assert_error(NAS_UNSUPPORTED, "parts of a superkernel");
    assert_null(nas_indicators(f.space, 0));
    assert_error(NAS_USAGE, "no pass under thresholds");
    assert_null(nas_superkernel_block(NULL, .in = 4, .out = 4));
    assert_error(NAS_INVALID, "there must be a key");
    assert_null(nas_superkernel_block("b", .in = 4, .out = 4, .kernel = 3));
    assert_error(NAS_INVALID, "5 to 15");
    assert_null(nas_superkernel_block("b", .in = 4, .out = 4, .expansion = 5));
    assert_error(NAS_INVALID, "even");
    nas_module *shared =
        nas_sequential(nas_superkernel_block("b", .in = 4, .out = 4), nas_superkernel_block("b", .in = 4, .out = 4));
    nas_space *space = nas_space_new(shared);
    assert_int_not_equal(nas_decide(space, 0, (nas_decision){.thresholds = &f.thresholds}), NAS_OK);
    assert_error(NAS_INVALID, "at one place");
    nas_space_free(space);
    nas_free(shared);
    nas_tensor_free(two);
    nas_tensor_free(five);
    fixture_free(&f);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, open_tape, close_tape)
int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(has_the_papers_candidates),       TEST(pruned_is_the_supernet),      TEST(pruned_is_plain),
        TEST(skip_is_the_shortcut_bit_by_bit), TEST(depthwise_kernels_are_exact), TEST(margins_decide),
        TEST(paths_cost_what_they_compute),    TEST(wrong_decisions_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
