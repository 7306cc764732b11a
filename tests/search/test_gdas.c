/* GDAS by what can be observed of it: it finds what was planted and nothing without its mechanism, each step draws anew
 * and changes only what was drawn, one candidate per choice is computed, and the temperature reaches its end. */
#include "search/gumbel_fixture.h"

#include <stdio.h>

/* --- the planted optimum ------------------------------------------------------------------------- */
static void all_are_found(void **state) {
    (void)state;
    finds_all("gdas", "alpha_lr=0.05");
}

static void other_estimates_find_them(void **state) {
    (void)state;
    finds_all("gdas", "alpha_lr=0.05,estimate=ones");
    finds_all("gdas", "alpha_lr=0.05,update_all=1");
}

static void soft_weights_find_them(void **state) {
    (void)state;
    finds_all("gdas", "alpha_lr=0.05,hard=0,tau_max=1,tau_min=0.33");
}

/* 24 choices with a chance of 1/4 each: 13 or more right happen in 0.2 % of such tables. */
static void shuffled_labels_find_nothing(void **state) {
    (void)state;
    assert_in_range(found_in_four("gdas", "alpha_lr=0.05", PLANTED_SHUFFLED, INTACT), 0, 12);
}

/* At 1e-6 the soft weights are one-hot, and have no derivative; at 1e6 it vanishes beside Adam's eps. */
static void nothing_without_its_parts(void **state) {
    (void)state;
    assert_in_range(found_in_four("gdas", "alpha_lr=0.05,tau_max=1e-6,tau_min=1e-6", PLANTED_CLASSES, INTACT), 0, 12);
    assert_in_range(found_in_four("gdas", "alpha_lr=0.05,tau_max=1e6,tau_min=1e6", PLANTED_CLASSES, INTACT), 0, 12);
    assert_in_range(found_in_four("gdas", "alpha_lr=0.05", PLANTED_CLASSES, NO_GRADIENT), 0, 12);
    assert_in_range(found_in_four("gdas", "alpha_lr=0.05", PLANTED_CLASSES, NO_NOISE), 0, 23); /* not all */
}

/* --- one edge of which only one candidate shows the label --------------------------------------------- */
enum { SIDE = 4, PIXELS = SIDE * SIDE, EDGE_SAMPLES = 1024 };

static nas_tensor *constant_forward(nas_module *self, nas_tensor *x) {
    (void)self;
    float *ones = malloc((size_t)nas_tensor_count(x) * 4 * sizeof *ones);
    int64_t dims[4] = {x->dims[0], 4, x->dims[2], x->dims[3]};
    for (int64_t i = 0; i < 4 * nas_tensor_count(x); i++) {
        ones[i] = 1;
    }
    nas_tensor *y = nas_input(4, dims, ones);
    free(ones);
    return y;
}

static nas_tensor *zero_forward(nas_module *self, nas_tensor *x) {
    (void)self;
    return nas_zero(4, (int64_t[]){x->dims[0], 4, x->dims[2], x->dims[3]});
}

static nas_module *edge_model(void) {
    nas_candidate candidates[] = {
        {"none", nas_module_new(nas_module, zero_forward)},
        {"skip_connect", nas_module_new(nas_module, constant_forward)},
        {"nor_conv_1x1", nas_module_new(nas_module, zero_forward)},
        {"nor_conv_3x3", nas_conv_bn_relu(.in = 1, .out = 4, .kernel = 3, .affine = NAS_AFFINE_WHEN_FIXED)},
        {"avg_pool_3x3", nas_module_new(nas_module, constant_forward)},
    };
    return nas_sequential(nas_layer_choice(NULL, "edge", 5, candidates), nas_pool(.kind = NAS_POOL_GLOBAL),
                          nas_dense(.in = 4, .out = 2));
}

/* Stripes that stand or lie, of either sign: the mean of the image tells nothing. */
static nas_dataset *stripes(uint64_t seed) {
    float *x = random_floats(seed, EDGE_SAMPLES * PIXELS), y[EDGE_SAMPLES];
    nas_rng rng = nas_rng_new(seed, 77);
    for (int i = 0; i < EDGE_SAMPLES; i++) {
        uint32_t bits = nas_rng_u32(&rng);
        y[i] = (float)(bits & 1);
        for (int p = 0; p < PIXELS; p++) {
            int place = bits & 1 ? p % SIDE : p / SIDE;
            x[i * PIXELS + p] = 0.3f * x[i * PIXELS + p] + ((place + (int)(bits >> 1)) & 1 ? 1.0f : -1.0f);
        }
    }
    nas_dataset *d = nas_dataset_from_arrays(EDGE_SAMPLES, 3, (int64_t[]){1, SIDE, SIDE}, x, 1, y, 2);
    free(x);
    return d;
}

static double probability_of_the_convolution(uint64_t seed) {
    nas_dataset *data = stripes(seed), *parts[2];
    assert_int_equal(nas_dataset_split(data, seed, 2, (const double[]){0.5, 0.5}, parts), NAS_OK);
    nas_trainer_config config = {.model = edge_model(),
                                 .strategy = "gdas",
                                 .options = "alpha_lr=0.1,alpha_weight_decay=0,tau_max=5,tau_min=0.5",
                                 .batch_size = 16,
                                 .num_epochs = 12,
                                 .dataset_train = parts[0],
                                 .dataset_valid = parts[1],
                                 .optimizer = nas_sgd(.lr = 0.1, .momentum = 0.9),
                                 .log_frequency = NAS_NONE,
                                 .seed = seed,
                                 .threads = 1};
    nas_trainer *t = nas_trainer_new(&config);
    assert_no_error();
    assert_int_equal(nas_trainer_train(t), NAS_OK);
    double p[NAS_MAX_CANDIDATES];
    assert_true(t->s.strategy->probabilities(&t->s, 0, p));
    assert_int_equal(nas_architecture_get(t->derived, 0), 1 << 3);
    nas_trainer_free(t);
    nas_free(config.model);
    nas_dataset_free(parts[0]);
    nas_dataset_free(parts[1]);
    nas_dataset_free(data);
    return p[3];
}

static void one_edge_is_found_with_every_seed(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        double p = probability_of_the_convolution(seed);
        if (!(p > 0.9)) {
            fail_msg("seed %d: the convolution has probability %.3f", (int)seed, p);
        }
    }
}

/* --- which pass does what -------------------------------------------------------------------------- */
typedef struct pass_record {
    unsigned roles;
    uint64_t drawn[PLANTED_CHOICES];
    bool weighted;
    float first_pixel;
    double tau_share; /* of the way from the highest temperature to the lowest */
} pass_record;
typedef struct watch {
    pass_record passes[64];
    int n;
    nas_trainer *trainer;
    float *before, *momentum_before; /* of all weights */
    int untouched, touched, steps;
    bool everything;
} watch;
static watch seen;

static nas_status keep_pass(nas_trainer *t, const nas_pass *pass, void *user) {
    (void)user;
    pass_record *r = &seen.passes[seen.n++ % 64];
    r->roles = pass->grad;
    r->first_pixel = ((const float *)pass->batch->x)[0];
    for (int i = 0; i < PLANTED_CHOICES; i++) {
        nas_decision d = nas_decision_of(t->s.space, i);
        r->drawn[i] = d.run;
        r->weighted = d.weights != NULL;
    }
    return NAS_OK;
}

static size_t floats_of(const nas_optimizer *o) { return o->offset[o->n]; }

static void keep_weights(const nas_optimizer *o) {
    memcpy(seen.before, o->tensors[0]->data, floats_of(o) * sizeof(float));
    memcpy(seen.momentum_before, o->first->data, floats_of(o) * sizeof(float));
}

/* The candidate that a weight belongs to, or -1: "quadrant3.rows.0.weight" */
static int drawn_place(const char *path, int *choice) {
    static const char *const names[PLANTED_CANDIDATES] = {"flat", "rows", "columns", "diagonal"};
    if (sscanf(path, "quadrant%d.", choice) != 1) {
        return -1;
    }
    for (int k = 0; k < PLANTED_CANDIDATES; k++) {
        if (strstr(path, names[k])) {
            return k;
        }
    }
    return -1;
}

static nas_status check_weight(const char *path, nas_tensor *t, nas_role role, void *user) {
    const pass_record *pass = user;
    const nas_optimizer *o = seen.trainer->s.optimizer;
    size_t at = 0;
    int choice, k = drawn_place(path, &choice);
    if (role != NAS_ROLE_WEIGHT) {
        return NAS_OK;
    }
    while (o->tensors[at] != t) {
        at++;
    }
    size_t bytes = (size_t)nas_tensor_count(t) * sizeof(float);
    bool moved = memcmp(t->data, seen.before + o->offset[at], bytes) != 0 ||
                 memcmp(o->first->data + o->offset[at], seen.momentum_before + o->offset[at], bytes) != 0;
    bool drawn = k < 0 || (pass->drawn[choice] >> k & 1);
    /* the bias before a batch norm has a gradient of about nothing */
    if (seen.everything && strstr(path, "weight") && seen.steps > PLANTED_CANDIDATES * 4) {
        assert_true(moved);
    } else if (!drawn) {
        assert_false(moved && !seen.everything);
        seen.untouched++;
    } else if (strstr(path, "weight")) {
        assert_true(moved);
        seen.touched++;
    }
    return NAS_OK;
}

/* After a step: a pass for the weights under a path, then one for alpha under another draw. */
static bool check_step(const nas_progress *progress, void *user) {
    (void)progress, (void)user;
    const pass_record *weights = &seen.passes[(seen.n - 2) % 64], *alpha = &seen.passes[(seen.n - 1) % 64];
    assert_int_equal(seen.n, 2 * ++seen.steps);
    assert_int_equal(weights->roles, NAS_ROLE_WEIGHT);
    assert_int_equal(alpha->roles, NAS_ROLE_ARCH);
    assert_true(alpha->weighted && !weights->weighted);
    for (int i = 0; i < PLANTED_CHOICES; i++) {
        assert_int_equal(__builtin_popcountll(weights->drawn[i]), 1);
        assert_int_equal(__builtin_popcountll(alpha->drawn[i]), 1);
    }
    nas_visit_parameters(seen.trainer->s.model, check_weight, (void *)weights);
    keep_weights(seen.trainer->s.optimizer);
    return false;
}

static void watch_search(const char *options) {
    planted p = planted_new(PLANTED_CLASSES, 1024, 1);
    p.config.strategy = "gdas";
    p.config.options = options;
    p.config.num_epochs = 1;
    p.config.optimizer = nas_sgd(.lr = 0.05, .momentum = 0.9, .weight_decay = 3e-4);
    p.config.on_step = check_step;
    seen = (watch){.everything = strstr(options, "update_all=1") != NULL};
    nas_trainer *t = nas_trainer_new(&p.config);
    assert_no_error();
    seen.before = malloc(floats_of(t->s.optimizer) * sizeof(float));
    seen.momentum_before = malloc(floats_of(t->s.optimizer) * sizeof(float));
    seen.trainer = t;
    t->on_pass = keep_pass;
    keep_weights(t->s.optimizer);
    assert_int_equal(nas_trainer_train(t), NAS_OK);
    nas_trainer_free(t);
    planted_free(&p);
    free(seen.before);
    free(seen.momentum_before);
}

static void only_what_was_drawn_changes(void **state) {
    (void)state;
    watch_search("alpha_lr=0.05");
    assert_int_equal(seen.steps, 16);
    assert_true(seen.untouched > 16 * PLANTED_CHOICES && seen.touched > 16 * PLANTED_CHOICES);
}

static void everything_changes_where_that_is_wanted(void **state) {
    (void)state;
    watch_search("alpha_lr=0.05,update_all=1");
    assert_int_equal(seen.steps, 16);
}

/* All draws of 32 passes over 6 choices of 4: two passes agree in everything by a chance of 1/4096 each. */
static void draws_and_batches_are_fresh(void **state) {
    (void)state;
    watch_search("alpha_lr=0.05");
    int equal = 0;
    for (int i = 1; i < seen.n; i++) {
        equal += memcmp(seen.passes[i].drawn, seen.passes[i - 1].drawn, sizeof seen.passes[i].drawn) == 0;
        /* batches are drawn from the arch part without putting back; the two parts are disjoint */
        assert_true(seen.passes[i].first_pixel != seen.passes[i - 1].first_pixel);
        assert_true(i < 2 || seen.passes[i].first_pixel != seen.passes[i - 2].first_pixel);
    }
    assert_in_range(equal, 0, 2);
    int counts[PLANTED_CANDIDATES] = {0};
    for (int i = 0; i < seen.n; i++) {
        for (int c = 0; c < PLANTED_CHOICES; c++) {
            counts[__builtin_ctzll(seen.passes[i].drawn[c])]++;
        }
    }
    for (int k = 0; k < PLANTED_CANDIDATES; k++) {
        assert_in_range(counts[k], 20, 80); /* of 192 draws, 48 expected */
    }
}

/* --- how many candidates run ----------------------------------------------------------------------- */
static struct counter {
    nas_module base;
    int calls;
} * counters[PLANTED_CHOICES][PLANTED_CANDIDATES];

static nas_tensor *count_forward(nas_module *self, nas_tensor *x) {
    ((struct counter *)self)->calls++;
    return x;
}

static nas_module *counting_model(void) {
    nas_module *blocks[PLANTED_CHOICES + 1];
    static const char *const keys[PLANTED_CHOICES] = {"a", "b", "c", "a2", "b2", "c2"};
    for (int i = 0; i < PLANTED_CHOICES; i++) {
        nas_candidate candidates[PLANTED_CANDIDATES];
        for (int k = 0; k < PLANTED_CANDIDATES; k++) {
            counters[i][k] = nas_module_new(struct counter, count_forward);
            candidates[k] = (nas_candidate){
                NULL, nas_sequential(&counters[i][k]->base, nas_dense(.in = PLANTED_VALUES, .out = PLANTED_VALUES))};
        }
        blocks[i] = nas_layer_choice(NULL, keys[i], PLANTED_CANDIDATES, candidates);
    }
    blocks[PLANTED_CHOICES] = nas_dense(.in = PLANTED_VALUES, .out = 2);
    return nas_sequential_new(PLANTED_CHOICES + 1, blocks);
}

/* Since the last call; every choice's own through *most. */
static int calls(int *most) {
    int sum = 0;
    for (int i = 0; i < PLANTED_CHOICES; i++) {
        for (int k = 0; k < PLANTED_CANDIDATES; k++) {
            sum += counters[i][k]->calls;
            *most = counters[i][k]->calls > *most ? counters[i][k]->calls : *most;
            counters[i][k]->calls = 0;
        }
    }
    return sum;
}

static nas_status one_candidate_ran(nas_trainer *t, const nas_pass *pass, void *user) {
    (void)t, (void)pass;
    int most = 0;
    assert_int_equal(calls(&most), *(int *)user);
    assert_int_equal(most, 1);
    return NAS_OK;
}

static void candidates_per_pass(const char *options, int expected) {
    planted p = planted_new(PLANTED_CLASSES, 512, 1);
    nas_module *model = counting_model();
    p.config.model = model;
    p.config.strategy = "gdas";
    p.config.options = options;
    p.config.num_epochs = 1;
    nas_trainer *t = nas_trainer_new(&p.config);
    assert_no_error();
    t->on_pass = one_candidate_ran;
    t->on_pass_user = &expected;
    assert_int_equal(nas_trainer_train(t), NAS_OK);
    nas_trainer_free(t);
    nas_free(model);
    planted_free(&p);
}

static void exactly_one_candidate_runs(void **state) {
    (void)state;
    candidates_per_pass("hard=1", PLANTED_CHOICES);
    candidates_per_pass("estimate=ones", PLANTED_CHOICES);
    candidates_per_pass("hard=0", PLANTED_CHOICES * PLANTED_CANDIDATES);
}

/* --- the temperature ------------------------------------------------------------------------------- */
static double last_temperature;

static void read_temperature(nas_log_level level, const char *message, void *user) {
    (void)level, (void)user;
    sscanf(message, "temperature %lf", &last_temperature);
}

static double end_temperature(nas_trainer_config *config) {
    last_temperature = 0;
    nas_set_log(read_temperature, NULL);
    nas_trainer *t = nas_trainer_new(config);
    assert_no_error();
    assert_int_equal(nas_trainer_train(t), NAS_OK);
    nas_trainer_free(t);
    nas_set_log(NULL, NULL);
    return last_temperature;
}

/* Linear in what is done of the run: by steps, or of the time that there is. */
static void the_temperature_falls_to_its_end(void **state) {
    (void)state;
    planted p = planted_new(PLANTED_CLASSES, 640, 1); /* ten steps an epoch */
    p.config.strategy = "gdas";
    p.config.num_epochs = 5;
    double t = end_temperature(&p.config);
    assert_true(fabs(t - (0.1 + 9.9 / 50)) < 1e-3);
    p.config.num_epochs = 1;
    p.config.options = "tau_max=3,tau_min=3";
    assert_true(end_temperature(&p.config) == 3);
    p.config.options = "";
    p.config.budget.minutes = 2.0 / 60;
    t = end_temperature(&p.config);
    assert_true(t < 0.6); /* the last look at the clock is one step before the end */
    planted_free(&p);
}

/* --- what is refused ------------------------------------------------------------------------------- */
static nas_tensor *refused_forward(nas_module *self, nas_tensor *x) {
    (void)self;
    return x;
}

static void refusals(void **state) {
    (void)state;
    planted p = planted_new(PLANTED_CLASSES, 128, 1);
    nas_module *model = nas_module_new(nas_module, refused_forward);
    p.config.model = model;
    p.config.strategy = "gdas";
    nas_value_choice(model, "width", 2, ((double[]){1, 2}));
    assert_null(nas_trainer_new(&p.config));
    assert_error(NAS_UNSUPPORTED, "the value choice \"width\"");
    nas_free(model);
    p.config.model = model = nas_module_new(nas_module, refused_forward);
    nas_input_choice(model, "both", .n_candidates = 3, .n_chosen = 2, .reduce = NAS_CONCAT);
    assert_null(nas_trainer_new(&p.config));
    assert_error(NAS_UNSUPPORTED, "the concatenated inputs of choice \"both\"");
    nas_free(model);
    planted_free(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_are_found),
        cmocka_unit_test(other_estimates_find_them),
        cmocka_unit_test(soft_weights_find_them),
        cmocka_unit_test(shuffled_labels_find_nothing),
        cmocka_unit_test(nothing_without_its_parts),
        cmocka_unit_test(one_edge_is_found_with_every_seed),
        cmocka_unit_test(only_what_was_drawn_changes),
        cmocka_unit_test(everything_changes_where_that_is_wanted),
        cmocka_unit_test(draws_and_batches_are_fresh),
        cmocka_unit_test(exactly_one_candidate_runs),
        cmocka_unit_test(the_temperature_falls_to_its_end),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
