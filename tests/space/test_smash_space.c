/* The space smash: plans are always possible, encodings tell them apart, generated weights have norm 1 and gradients,
 * and what an op does not use of the shared weights gets none. */
#include "support.h"

#include <espalier/hardware.h>
#include <espalier/space.h>

#include "space/smash.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct fixture {
    nas_module *model;
    nas__smash *net;
    nas_space *space;
    nas_architecture *a;
} fixture;

static fixture fixture_new(uint64_t seed) {
    fixture f = {.model = nas_space_build("smash", NULL)};
    assert_no_error();
    assert_int_equal(nas_initialise(f.model, seed), NAS_OK);
    f.net = nas__smash_module(f.model);
    f.space = nas_space_new(f.model);
    f.a = nas_architecture_new(f.space);
    nas_rng rng = nas_rng_new(seed, 77);
    nas_architecture_random(f.a, &rng);
    nas_architecture_apply(f.a, f.space);
    f.net->z = 0.5f;
    return f;
}

static void fixture_free(fixture *f) {
    nas_architecture_free(f->a);
    nas_space_free(f->space);
    nas_module_free(f->model);
}

/* --- plans and encodings --------------------------------------------------------------------------- */
static void check_plan(const nas__smash_options *o, const nas__smash_plan *p) {
    int filled = o->units / p->bank;
    assert_true(p->n_ops >= 1 && p->n_ops <= o->ops);
    for (int i = 0; i < p->n_ops; i++) {
        const nas__smash_op_plan *op = &p->ops[i];
        const int before = filled;
        assert_true(op->reads > 0 && op->writes > 0);
        for (int r = 0; r < op->reads; r++) {
            assert_true(op->read[r] < before);
        }
        for (int w = 0; w < op->writes; w++) {
            assert_true(op->write[w] <= filled); /* none is left out */
            filled += op->write[w] == filled;
        }
        assert_true(op->units % p->bank == 0 && op->units >= p->bank && op->units <= o->units);
        assert_true(op->bottle % op->groups == 0 && op->out % op->groups == 0 && op->bottle <= op->in);
    }
    assert_int_equal(filled, p->banks);
    assert_true(filled <= o->banks);
}

static uint64_t mix(uint64_t hash, const void *data, size_t size) {
    for (size_t i = 0; i + 4 <= size; i += 4) {
        uint32_t word;
        memcpy(&word, (const char *)data + i, 4);
        hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
        hash ^= hash >> 29;
    }
    return hash;
}

typedef struct pair {
    uint64_t code, plan;
} pair;

static int by_code(const void *a, const void *b) {
    const pair *p = a, *q = b;
    return p->code != q->code ? (p->code < q->code ? -1 : 1) : (p->plan > q->plan) - (p->plan < q->plan);
}

static pair look_at(const fixture *f) {
    pair found = {1, 1};
    for (int b = 0; b < f->net->options.blocks; b++) {
        nas__smash_plan plan;
        float code[128];
        nas__smash_read_plan(f->net->blocks[b], &plan);
        check_plan(&f->net->options, &plan);
        found.plan = mix(found.plan, &plan, sizeof plan);
        for (int i = 0; i < plan.n_ops; i++) {
            for (int r = 0; r < plan.ops[i].reads; r++) {
                nas__smash_encode(f->net->blocks[b], &plan, i, r, code);
                found.code = mix(found.code, code, (size_t)nas__smash_encoding_size(&f->net->options) * sizeof(float));
            }
        }
    }
    return found;
}

static void any_choices_are_a_network_with_its_own_encoding(void **state) {
    (void)state;
    enum { DRAWS = 100000 };
    fixture f = fixture_new(1);
    pair *pairs = malloc(DRAWS * sizeof *pairs);
    nas_rng rng = nas_rng_new(5, 1);
    int distinct = 0;
    for (int i = 0; i < DRAWS; i++) {
        nas_architecture_random(f.a, &rng);
        if (i % 3) { /* few ops, so that equal networks come, too */
            nas_architecture_set(f.a, nas_space_find(f.space, "block_1/ops"), 1);
            nas_architecture_set(f.a, nas_space_find(f.space, "block_2/ops"), 1);
        }
        nas_architecture_apply(f.a, f.space);
        pairs[i] = look_at(&f);
    }
    qsort(pairs, DRAWS, sizeof *pairs, by_code);
    for (int i = 1; i < DRAWS; i++) {
        distinct += pairs[i].code != pairs[i - 1].code;
        assert_int_equal(pairs[i].code == pairs[i - 1].code, pairs[i].plan == pairs[i - 1].plan);
    }
    assert_true(distinct > DRAWS / 2 && distinct < DRAWS - 1);
    free(pairs);
    fixture_free(&f);
}

static void strings_and_files_round_trip(void **state) {
    (void)state;
    fixture f = fixture_new(2);
    const nas_space_info *info = nas_space_info_find("smash");
    nas_rng rng = nas_rng_new(6, 1);
    for (int i = 0; i < 200; i++) {
        nas_architecture_random(f.a, &rng);
        char *text = info->canonical(f.a), *json = nas_architecture_json(f.a, false);
        nas_architecture *a = info->parse(f.space, text), *b = nas_architecture_parse(f.space, json);
        assert_true(a && b && nas_architecture_equal(a, f.a) && nas_architecture_equal(b, f.a));
        const int ops = __builtin_ctzll(nas_architecture_get(f.a, nas_space_find(f.space, "block_2/ops"))) + 1;
        assert_int_equal(strstr(json, "block_2/op_4/") != NULL, ops == 4);
        free(text);
        free(json);
        nas_architecture_free(a);
        nas_architecture_free(b);
    }
    static const char *const wrong[] = {"",
                                        "b1",
                                        "b1:1>1,1,3,1,1",
                                        "b3:1>1,1,3,1,1+b1:1>1,1,3,1,1",
                                        "b1:0>1,1,3,1,1+b1:1>1,1,3,1,1",
                                        "b1:1>1,1,4,1,1+b1:1>1,1,3,1,1",
                                        "b1:1>1,1,3,1,1+b1:1>1,1,3,1,1+",
                                        "b1:1>1,1,3,1,1+b1:1>1,1,3,1",
                                        "b1:ffffff>1,1,3,1,1+b1:1>1,1,3,1,1"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_null(info->parse(f.space, wrong[i]));
        assert_error(NAS_PARSE, "no architecture of this smash space");
    }
    fixture_free(&f);
}

/* --- generated weights ------------------------------------------------------------------------------ */
/* Of the first op of block 1; their number. */
static int64_t generate(const fixture *f, float *w) {
    nas_tape *tape = nas_tape_new();
    nas__smash_plan plan;
    nas_tape_begin(tape, &(nas_tape_config){0});
    nas__smash_read_plan(f->net->blocks[0], &plan);
    assert_true(nas__smash_hyper_begin(f->net->hyper));
    nas_tensor *t = nas__smash_generate(f->net->blocks[0], &plan, 0);
    assert_no_error();
    int64_t n = nas_tensor_count(t);
    nas_tensor_read(t, w);
    nas_tape_free(tape);
    return n;
}

static void each_field_changes_the_weights(void **state) {
    (void)state;
    static const char *const base = "b1:3>3,2,3,1,1+b4:1>1,4,3,1,1";
    static const char *const others[] = {"b1:5>3,2,3,1,1+b4:1>1,4,3,1,1", "b1:3>5,2,3,1,1+b4:1>1,4,3,1,1",
                                         "b1:3>3,3,3,1,1+b4:1>1,4,3,1,1", "b1:3>3,2,5,1,1+b4:1>1,4,3,1,1",
                                         "b1:3>3,2,3,2,1+b4:1>1,4,3,1,1", "b1:3>3,2,3,1,2+b4:1>1,4,3,1,1",
                                         "b2:3>3,2,3,1,1+b4:1>1,4,3,1,1"};
    const nas_space_info *info = nas_space_info_find("smash");
    fixture f = fixture_new(3);
    float w[2][16 * 96];
    for (int i = -1; i < (int)(sizeof others / sizeof *others); i++) {
        nas_architecture *a = info->parse(f.space, i < 0 ? base : others[i]);
        assert_non_null(a);
        nas_architecture_apply(a, f.space);
        int64_t n = generate(&f, w[i >= 0]);
        double square = 0;
        for (int64_t k = 0; k < n; k++) {
            square += (double)w[i >= 0][k] * w[i >= 0][k];
        }
        assert_true(fabs(sqrt(square) - 1) < 1e-6);
        assert_int_equal(i < 0 || memcmp(w[0], w[1], 8 * sizeof(float)) != 0, true);
        float again[16 * 96];
        generate(&f, again);
        assert_memory_equal(again, w[i >= 0], (size_t)n * sizeof(float));
        nas_architecture_free(a);
    }
    fixture_free(&f);
}

/* --- the hypernetwork in double ---------------------------------------------------------------------- */
typedef struct walk {
    const nas__smash_op_plan *op;
    int size, most, bank;
    float codes[8][64];
    double *w[NAS__SMASH_LAYERS];
    int rows[NAS__SMASH_LAYERS], columns[NAS__SMASH_LAYERS];
} walk;

/* y = w x * sqrt(rows) / ||w||, and a leaky ReLU but for the last layer. */
static void layer(const walk *h, int i, const double *x, double *y) {
    double square = 0;
    for (int k = 0; k < h->rows[i] * h->columns[i]; k++) {
        square += h->w[i][k] * h->w[i][k];
    }
    for (int row = 0; row < h->rows[i]; row++) {
        double sum = 0;
        for (int k = 0; k < h->columns[i]; k++) {
            sum += h->w[i][row * h->columns[i] + k] * x[k];
        }
        sum *= sqrt(h->rows[i] / square);
        y[row] = i == NAS__SMASH_LAYERS - 1 || sum > 0 ? sum : 0.02 * sum;
    }
}

/* The generated weights, and their product with a direction. */
static double walk_generate(const walk *h, const float *direction, double *w) {
    double square = 0, sum = 0;
    for (int r = 0; r < h->op->reads; r++) {
        double x[2][512];
        for (int k = 0; k < h->size; k++) {
            x[0][k] = h->codes[r][k];
        }
        for (int i = 0; i < NAS__SMASH_LAYERS; i++) {
            layer(h, i, x[i % 2], x[(i + 1) % 2]);
        }
        for (int k = 0; k < h->op->bottle * h->bank; k++) {
            double value = x[NAS__SMASH_LAYERS % 2][k / h->bank * h->most + k % h->bank];
            w[k / h->bank * h->op->in + r * h->bank + k % h->bank] = value;
            square += value * value;
        }
    }
    for (int k = 0; k < h->op->bottle * h->op->in; k++) {
        w[k] /= sqrt(square);
        sum += direction[k] * w[k];
    }
    return sum;
}

static void walk_open(walk *h, const fixture *f, const nas__smash_plan *plan) {
    const nas__smash_options *o = &f->net->options;
    *h = (walk){.op = &plan->ops[0],
                .size = nas__smash_encoding_size(o),
                .most = o->unit * o->units,
                .bank = plan->bank * o->unit};
    assert_true(h->op->reads <= 8 && h->size <= 64 && h->most * h->most <= 512);
    for (int r = 0; r < h->op->reads; r++) {
        nas__smash_encode(f->net->blocks[0], plan, 0, r, h->codes[r]);
    }
    for (int i = 0; i < NAS__SMASH_LAYERS; i++) {
        nas_tensor *t = f->net->hyper->weights[i];
        h->rows[i] = (int)nas_tensor_dim(t, 0);
        h->columns[i] = (int)nas_tensor_dim(t, 1);
        h->w[i] = malloc((size_t)nas_tensor_count(t) * sizeof(double));
        float *values = malloc((size_t)nas_tensor_count(t) * sizeof *values);
        nas_tensor_read(t, values);
        for (int64_t k = 0; k < nas_tensor_count(t); k++) {
            h->w[i][k] = values[k];
        }
        free(values);
    }
}

/* Central differences of the walk, for one parameter in eleven. */
static void compare_gradients(walk *h, const fixture *f, const float *direction) {
    double w[16 * 96];
    for (int i = 0; i < NAS__SMASH_LAYERS; i++) {
        int n = h->rows[i] * h->columns[i];
        float *got = malloc((size_t)n * sizeof *got);
        double worst = 0, largest = 0;
        nas_tensor_read_grad(f->net->hyper->weights[i], got);
        for (int k = i; k < n; k += 11) {
            double kept = h->w[i][k], at[2];
            for (int side = 0; side < 2; side++) {
                h->w[i][k] = kept + (side ? 1e-6 : -1e-6);
                at[side] = walk_generate(h, direction, w);
            }
            h->w[i][k] = kept;
            double expected = (at[1] - at[0]) / 2e-6;
            worst = fmax(worst, fabs(expected - got[k]));
            largest = fmax(largest, fabs(expected));
        }
        if (!(largest > 0) || worst > 1e-5 * largest) {
            fail_msg("layer %d: %g off, of %g", i, worst, largest);
        }
        free(got);
    }
}

static void generated_weights_and_gradients_are_those_of_a_second_walk(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 3; seed++) {
        fixture f = fixture_new(seed);
        nas_architecture *a = nas_space_info_find("smash")->parse(f.space, "b1:3>3,2,3,1,1+b4:1>1,4,3,1,1");
        nas_architecture_apply(a, f.space);
        nas__smash_plan plan;
        walk h;
        nas__smash_read_plan(f.net->blocks[0], &plan);
        walk_open(&h, &f, &plan);
        const int n = h.op->bottle * h.op->in;
        float *direction = random_floats(seed + 50, (size_t)n), got[16 * 96];
        double w[16 * 96];
        nas_tape *tape = nas_tape_new();
        nas_tape_begin(tape, &(nas_tape_config){.grad = NAS_ROLE_WEIGHT});
        assert_true(nas__smash_hyper_begin(f.net->hyper));
        nas_tensor *t = nas__smash_generate(f.net->blocks[0], &plan, 0);
        nas_tensor_read(t, got);
        nas_tensor *product = nas_mul(t, nas_input(NAS_DIMS(h.op->bottle, h.op->in, 1, 1), direction));
        assert_int_equal(nas_backward(nas_sum(product)), NAS_OK);
        walk_generate(&h, direction, w);
        for (int k = 0; k < n; k++) {
            assert_true(fabs(w[k] - got[k]) < 1e-6);
        }
        compare_gradients(&h, &f, direction);
        nas_tape_free(tape);
        free(direction);
        for (int i = 0; i < NAS__SMASH_LAYERS; i++) {
            free(h.w[i]);
        }
        nas_architecture_free(a);
        fixture_free(&f);
    }
}

/* --- gradients --------------------------------------------------------------------------------------- */
enum { IMAGES = 4, PIXELS = IMAGES * 28 * 28 };

static double pass(const fixture *f, nas_tensor *x, bool backward) {
    nas_tape *tape = nas_tape_new();
    nas_tape_begin(tape,
                   &(nas_tape_config){.grad = backward ? NAS_ROLE_ARCH | NAS_ROLE_WEIGHT : 0, .freeze_running = true});
    nas_tensor *y = nas_forward(f->model, x);
    nas_tensor *loss = nas_cross_entropy(y, nas_input(NAS_DIMS(IMAGES), (float[]){1, 2, 3, 4}));
    double value = nas_tensor_item(loss);
    nas_tensor *last = nas_retain(f->net->hyper->normed[NAS__SMASH_LAYERS - 1]);
    if (backward) {
        assert_int_equal(nas_backward(loss), NAS_OK);
        int64_t n = nas_tensor_count(last);
        float *w = malloc((size_t)n * sizeof *w), *g = malloc((size_t)n * sizeof *g);
        nas_tensor_read(last, w);
        nas_tensor_read_grad(last, g);
        double inner = 0, sizes[2] = {0, 0};
        for (int64_t i = 0; i < n; i++) { /* generated weights are linear in these: their norm does not matter */
            inner += (double)w[i] * g[i];
            sizes[0] += (double)w[i] * w[i];
            sizes[1] += (double)g[i] * g[i];
        }
        assert_true(sizes[1] > 0 && fabs(inner) < 1e-6 + 1e-5 * sqrt(sizes[0] * sizes[1]));
        free(w);
        free(g);
    }
    assert_no_error();
    nas_tape_free(tape);
    return value;
}

/* Along the gradient, whose norm is the slope; a small step, for ReLUs have kinks. */
static void check_slope(const fixture *f, nas_tensor *x, nas_tensor *t, const char *what) {
    const size_t n = (size_t)nas_tensor_count(t);
    float *g = malloc(n * sizeof *g), *at = malloc(n * sizeof *at), *moved = malloc(n * sizeof *moved);
    double square = 0, size = 0, losses[2];
    nas_tensor_read_grad(t, g);
    nas_tensor_read(t, at);
    for (size_t i = 0; i < n; i++) {
        square += (double)g[i] * g[i];
        size += (double)at[i] * at[i];
    }
    const double step = fmin(1e-4 * sqrt(size), 3e-4 / sqrt(square));
    for (int side = 0; side < 2; side++) {
        for (size_t i = 0; i < n; i++) {
            moved[i] = at[i] + (float)((side ? step : -step) * g[i] / sqrt(square));
        }
        nas_tensor_write(t, moved);
        losses[side] = pass(f, x, false);
    }
    nas_tensor_write(t, at);
    double slope = (losses[1] - losses[0]) / (2 * step);
    if (!(square > 0) || fabs(slope - sqrt(square)) > 0.02 * sqrt(square)) {
        fail_msg("%s: slope %g, gradient %g", what, slope, sqrt(square));
    }
    free(g);
    free(at);
    free(moved);
}

static void gradients_are_slopes(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 3; seed++) {
        fixture f = fixture_new(seed);
        nas_tensor *x = nas_variable(NAS_DIMS(IMAGES, 1, 28, 28), NAS_ROLE_ARCH);
        float *values = random_floats(seed, PIXELS);
        nas_tensor_write(x, values);
        pass(&f, x, true);
        check_slope(&f, x, x, "input");
        for (int i = 0; i < NAS__SMASH_LAYERS; i++) {
            check_slope(&f, x, f.net->hyper->weights[i], "hypernetwork");
        }
        for (int b = 0; b < f.net->options.blocks; b++) {
            check_slope(&f, x, f.net->blocks[b]->weight, "shared weights");
        }
        free(values);
        nas_tensor_free(x);
        fixture_free(&f);
    }
}

/* Op 1 of block 1 gives 8 channels from at most 8, with kernel 3 in two groups. */
static void unused_shared_weights_have_no_gradient(void **state) {
    (void)state;
    fixture f = fixture_new(4);
    nas_architecture *a = nas_space_info_find("smash")->parse(f.space, "b1:3>30,2,3,1,2+b4:1>1,4,3,1,1");
    nas_architecture_apply(a, f.space);
    nas_tensor *x = nas_variable(NAS_DIMS(IMAGES, 1, 28, 28), NAS_ROLE_ARCH);
    float *values = random_floats(4, PIXELS), gradient[16][16][5][5];
    nas_tensor_write(x, values);
    pass(&f, x, true);
    nas_tensor_read_grad(f.net->blocks[0]->weight, &gradient[0][0][0][0]);
    for (int o = 0; o < 16; o++) {
        for (int i = 0; i < 16; i++) {
            for (int k = 0; k < 25; k++) {
                bool used = o < 8 && i < 4 && k / 5 > 0 && k / 5 < 4 && k % 5 > 0 && k % 5 < 4;
                assert_int_equal(gradient[o][i][k / 5][k % 5] != 0, used);
            }
        }
    }
    free(values);
    nas_tensor_free(x);
    nas_architecture_free(a);
    fixture_free(&f);
}

/* With batch norms around the 1x1 convolutions: as many parameters as were promised. */
static void found_networks_cost_what_was_said(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 8; seed++) {
        fixture f = fixture_new(seed);
        uint64_t macs[2];
        int64_t parameters[2];
        assert_int_equal(nas_model_cost(f.model, 3, (int64_t[]){1, 28, 28}, &macs[0], &parameters[0]), NAS_OK);
        char *json = nas_architecture_json(f.a, false);
        nas_module *alone = nas_space_build("smash", NULL);
        assert_int_equal(nas_apply_fixed_architecture_text(alone, json), NAS_OK);
        assert_int_equal(nas_model_cost(alone, 3, (int64_t[]){1, 28, 28}, &macs[1], &parameters[1]), NAS_OK);
        assert_int_equal(parameters[0], parameters[1]);
        assert_int_equal(nas_parameter_count(alone), parameters[1]);
        assert_int_equal(macs[0], macs[1]);
        free(json);
        nas_module_free(alone);
        fixture_free(&f);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_choices_are_a_network_with_its_own_encoding),
        cmocka_unit_test(strings_and_files_round_trip),
        cmocka_unit_test(each_field_changes_the_weights),
        cmocka_unit_test(generated_weights_and_gradients_are_those_of_a_second_walk),
        cmocka_unit_test(gradients_are_slopes),
        cmocka_unit_test(unused_shared_weights_have_no_gradient),
        cmocka_unit_test(found_networks_cost_what_was_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
