/* Limits: what is refused, and that the export is the most probable architecture within them, whatever the strategy. */
#include "search/planted.h"
#include "support.h"

#include <espalier/strategy.h>

#include "search/limits.h"
#include "search/trainer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A strategy that learns nothing: its probabilities are random numbers of the seed, its export the most probable. Where
 * `edges` are the strengths of inputs, inputs have no numbers of their own. */
static bool probabilities(nas_search *s, int choice, double *p) {
    const nas_choice *c = nas_space_choice(s->space, choice);
    nas_rng rng = nas_rng_new(s->config->seed, (uint64_t)choice);
    double sum = 0;
    for (int k = 0; k < c->n; k++) {
        sum += p[k] = 0.01 + nas_rng_uniform(&rng);
    }
    for (int k = 0; k < c->n; k++) {
        p[k] /= sum;
    }
    return !c->edges;
}

static nas_status step(nas_search *s, const nas_batch *batch, double *loss) {
    (void)s;
    (void)batch;
    *loss = 1;
    return NAS_OK;
}

static nas_status derive(nas_search *s, nas_architecture *out) {
    nas_status status = NAS_OK;
    for (int i = 0; !status && i < nas_space_size(s->space); i++) {
        const nas_choice *c = nas_space_choice(s->space, i);
        double p[NAS_MAX_CANDIDATES];
        int best = 0;
        bool given = probabilities(s, i, p);
        for (int k = 0; given && k < c->n; k++) {
            best = p[k] > p[best] ? k : best;
        }
        status = given && c->n_min == 1 ? nas_architecture_set(out, i, (uint64_t)1 << best) : NAS_OK;
    }
    return status;
}

static const nas_option no_options[] = {{0}};
static const nas_strategy believer = {.name = "believer",
                                      .options = no_options,
                                      .options_size = 1,
                                      .state_size = 1,
                                      .step = step,
                                      .derive = derive,
                                      .probabilities = probabilities};

static nas_dataset *random_images(int64_t n, int channels, int side) {
    float *x = random_floats(2, (size_t)n * channels * side * side), *y = calloc((size_t)n, sizeof *y);
    for (int64_t i = 0; i < n; i++) {
        y[i] = (float)(i % 10);
    }
    nas_dataset *data = nas_dataset_from_arrays(n, 3, (int64_t[]){channels, side, side}, x, 1, y, 10);
    free(x);
    free(y);
    return data;
}

static nas_module *build(const char *name, const char *const (*set)[2]) {
    const nas_space_info *info = nas_space_info_find(name);
    char options[256];
    assert_int_equal(nas_options_default(info->options, options), NAS_OK);
    for (; (*set)[0]; set++) {
        assert_int_equal(nas_options_set(info->options, options, (*set)[0], (*set)[1]), NAS_OK);
    }
    return nas_space_build(name, &(nas_space_config){3, 8, 8, 10, options});
}

static nas_trainer_config config_of(nas_module *model, nas_dataset *const parts[2], uint64_t seed, const char *limits) {
    return (nas_trainer_config){.model = model,
                                .custom = &believer,
                                .batch_size = 8,
                                .num_epochs = 1,
                                .dataset_train = parts[0],
                                .dataset_valid = parts[1],
                                .limit_batches = 1,
                                .score_steps = NAS_NONE,
                                .log_frequency = NAS_NONE,
                                .seed = seed,
                                .threads = 1,
                                .limits = limits};
}

/* The log-probability of an architecture without unreachable choices. */
static double log_probability(nas_trainer *t, const nas_architecture *a) {
    double sum = 0, p[NAS_MAX_CANDIDATES];
    for (int i = 0; i < nas_space_size(t->s.space); i++) {
        probabilities(&t->s, i, p);
        sum += log(p[__builtin_ctzll(nas_architecture_get(a, i))]);
    }
    return sum;
}

/* By trying all: the greatest log-probability within the limits, by the tables' sums. */
static double brute_force(nas_trainer *t) {
    int n = nas_space_size(t->s.space), digits[64] = {0}, i;
    double best = -INFINITY;
    nas_architecture *a = nas_architecture_new(t->s.space);
    do {
        bool within = true;
        for (i = 0; i < n; i++) {
            nas_architecture_set(a, i, (uint64_t)1 << digits[i]);
        }
        for (int d = 0; d < t->limits.n; d++) {
            within &= nas__cost_of_architecture(t->limits.of[d].table, a) <= t->limits.of[d].most;
        }
        best = within ? fmax(best, log_probability(t, a)) : best;
        for (i = 0; i < n && ++digits[i] == nas_space_choice(t->s.space, i)->n; i++) {
            digits[i] = 0;
        }
    } while (i < n);
    nas_architecture_free(a);
    return best;
}

/* The text of limits at a share of the way from the cheapest to the dearest of random architectures. */
static void limits_at(nas_module *model, const nas_dataset *data, double share, bool parameters, bool macs,
                      char *text) {
    const nas_dataset_info *info = nas_dataset_describe(data);
    nas_space *space = nas_space_new(model);
    nas_architecture *a = nas_architecture_new(space);
    nas_rng rng = nas_rng_new(1, 1);
    double least[2] = {INFINITY, INFINITY}, most[2] = {0, 0};
    for (int i = 0; i < 100; i++) {
        uint64_t m;
        int64_t p;
        nas_architecture_random(a, &rng);
        nas_architecture_apply(a, space);
        assert_int_equal(nas_model_cost(model, info->ndim, info->dims, &m, &p), NAS_OK);
        for (int d = 0; d < 2; d++) {
            double cost = d ? (double)p : (double)m;
            least[d] = fmin(least[d], cost);
            most[d] = fmax(most[d], cost);
        }
    }
    nas_architecture_free(a);
    nas_space_free(space);
    int used = macs ? sprintf(text, "macs=%.0f", least[0] + share * (most[0] - least[0])) : 0;
    if (parameters) {
        sprintf(text + used, "%sparams=%.0f", macs ? "," : "", least[1] + share * (most[1] - least[1]));
    }
}

/* Exports within the limits, counted anew on the fixed network; and the most probable there is. Returns how often the
 * limits made a difference. */
static int check(nas_module *(*make)(uint64_t seed), nas_dataset *const parts[2], bool parameters, bool macs,
                 bool exact) {
    int bound = 0;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        for (int level = 0; level < 3; level++) {
            char text[96];
            nas_module *model = make(seed);
            limits_at(model, parts[0], 0.02 + 0.12 * level, parameters, macs, text);
            nas_trainer_config config = config_of(model, parts, seed, text);
            nas_trainer *t = nas_trainer_new(&config);
            assert_no_error();
            assert_int_equal(nas_trainer_train(t), NAS_OK);
            const nas_architecture *best = nas_trainer_best(t, NULL);
            assert_non_null(best);
            nas_architecture *free_choice = nas_architecture_copy(best);
            assert_int_equal(derive(&t->s, free_choice), NAS_OK);
            bound += !nas_architecture_equal(best, free_choice);
            if (exact) {
                double expected = brute_force(t), got = log_probability(t, best);
                if (fabs(expected - got) > 1e-9) {
                    fail_msg("seed %d, %s: log-probability %.9g instead of %.9g", (int)seed, text, got, expected);
                }
            }
            nas_architecture_free(free_choice);
            nas__limits limits;
            assert_int_equal(nas__limits_parse(text, &limits), NAS_OK);
            char *json = nas_architecture_json(best, false);
            nas_trainer_free(t);
            assert_int_equal(nas_apply_fixed_architecture_text(model, json), NAS_OK);
            const nas_dataset_info *info = nas_dataset_describe(parts[0]);
            uint64_t counted;
            int64_t counted_parameters;
            assert_int_equal(nas_model_cost(model, info->ndim, info->dims, &counted, &counted_parameters), NAS_OK);
            for (int d = 0; d < limits.n; d++) {
                assert_true((limits.of[d].kind == NAS__COST_MACS ? (double)counted : (double)counted_parameters) <=
                            limits.of[d].most);
            }
            free(json);
            nas_module_free(model);
        }
    }
    return bound;
}

static nas_module *make_nb201(uint64_t seed) {
    static const char *const set[][2] = {{"channels", "4"}, {"cells", "1"}, {NULL}};
    (void)seed;
    return build("nb201", set);
}

static nas_module *make_chain(uint64_t seed) {
    static const char *const set[][2] = {{"channels", "4"}, {"layers", "5"}, {NULL}};
    (void)seed;
    return build("chain", set);
}

static nas_module *make_darts(uint64_t seed) {
    static const char *const set[][2] = {{"channels", "4"}, {"layers", "3"}, {"nodes", "3"}, {NULL}};
    (void)seed;
    return build("darts", set);
}

static nas_module *make_planted(uint64_t seed) { return planted_cost_model(2, seed); }

static void the_most_probable_within_limits(void **state) {
    (void)state;
    nas_dataset *images = random_images(64, 3, 8), *parts[2];
    assert_int_equal(nas_dataset_split(images, 0, 2, (const double[]){0.5, 0.5}, parts), NAS_OK);
    assert_true(check(make_nb201, parts, false, true, true) >= 8);
    assert_true(check(make_nb201, parts, true, true, true) >= 8);
    assert_true(check(make_chain, parts, true, false, true) >= 8);
    assert_true(check(make_darts, parts, false, true, false) >= 8);
    nas_dataset_free(parts[0]);
    nas_dataset_free(parts[1]);
    nas_dataset_free(images);
    planted p = planted_cost_new(PLANTED_CLASSES, 64, 1);
    assert_true(check(make_planted, p.parts, false, true, true) >= 8);
    planted_free(&p);
}

/* A trained search, too: the dearest candidates are made the likeliest by nothing but the data, so limits bind. */
static void a_search_with_darts_meets_three_limits(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        for (int level = 0; level < 3; level++) {
            char text[96];
            planted p = planted_cost_new(PLANTED_CLASSES, 128, seed);
            limits_at(p.model, p.parts[0], 0.2 * level, false, true, text);
            p.config.limits = text;
            p.config.num_epochs = 1;
            nas_trainer *t = nas_trainer_new(&p.config);
            assert_no_error();
            assert_int_equal(nas_trainer_train(t), NAS_OK);
            assert_true(nas__within_limits(t, nas_trainer_best(t, NULL)));
            assert_true(nas__limit_cost(t, 0, nas_trainer_best(t, NULL)) <= t->limits.of[0].most);
            nas_trainer_free(t);
            planted_free(&p);
        }
    }
}

static void what_is_beyond_is_never_the_best(void **state) {
    (void)state;
    planted p = planted_cost_new(PLANTED_CLASSES, 128, 1);
    p.config.limits = "macs=200";
    nas_trainer *t = nas_trainer_new(&p.config);
    assert_no_error();
    nas_architecture *a = nas_architecture_new(t->s.space);
    double score = 0;
    for (int rank = PLANTED_CANDIDATES - 1; rank >= 0; rank--) {
        for (int i = 0; i < PLANTED_CHOICES; i++) {
            nas_architecture_set(a, i, (uint64_t)1 << planted_by_cost(1, i, rank));
        }
        assert_int_equal(nas_search_score(&t->s, a, &score), NAS_OK);
        assert_int_equal(isfinite(score), rank < 2);
        assert_int_equal(t->evaluations, rank == 1 ? 1 : rank == 0 ? 2 : 0);
    }
    nas_architecture_free(a);
    nas_trainer_free(t);
    planted_free(&p);
}

static void latency_is_limited_by_what_was_measured(void **state) {
    (void)state;
    planted p = planted_cost_new(PLANTED_CLASSES, 128, 1);
    p.config.limits = "latency=10s";
    nas_trainer *t = nas_trainer_new(&p.config);
    assert_no_error();
    const nas_architecture *a = t->limits.meets;
    double all = nas__limit_cost(t, 0, a);
    assert_true(all > 0 && all == nas__cost_of_architecture(t->limits.of[0].table, a));
    nas_trainer_free(t);
    planted_free(&p);
    p = planted_cost_new(PLANTED_CLASSES, 128, 1);
    p.config.limits = "latency=1ns";
    assert_null(nas_trainer_new(&p.config));
    assert_error(NAS_INVALID, "limit latency=1 ns cannot be met");
    planted_free(&p);
}

static void wrong_limits_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *text;
        nas_status status;
        const char *part;
    } rows[] = {
        {"", NAS_USAGE, "write macs=30M"},
        {"macs", NAS_USAGE, "write macs=30M"},
        {"ram=3ms", NAS_USAGE, "as 256KiB, 4MiB or 64kB"},
        {"flops=3", NAS_USAGE, "there are macs, params, latency, ram and flash"},
        {"macs=3M,macs=4M", NAS_USAGE, "given twice"},
        {"macs=0", NAS_USAGE, "a number above 0"},
        {"latency=5", NAS_USAGE, "with its unit"},
        {"macs=20", NAS_INVALID, "limit macs=20 cannot be met: the cheapest architecture of this space has 84"},
        {"params=10", NAS_INVALID, "limit params=10 cannot be met"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        planted p = planted_cost_new(PLANTED_CLASSES, 128, 1);
        p.config.limits = rows[i].text;
        assert_null(nas_trainer_new(&p.config));
        assert_error(rows[i].status, rows[i].part);
        planted_free(&p);
    }
}

static void a_resumed_run_keeps_its_limits(void **state) {
    (void)state;
    static const struct {
        const char *limits;
        bool refused;
    } rows[] = {{"macs=1000,latency=5s", false}, {"macs=1001,latency=5s", true}, {"macs=1000", true}, {NULL, true}};
    char *directory = temporary_directory();
    double measured = 0;
    for (int i = -1; i < 4; i++) {
        planted p = planted_cost_new(PLANTED_CLASSES, 128, 1);
        p.config.num_epochs = i < 0 ? 1 : 2;
        p.config.run_dir = directory;
        p.config.resume = i >= 0;
        p.config.limits = i < 0 ? rows[0].limits : rows[i].limits;
        nas_trainer *t = nas_trainer_new(&p.config);
        if (i >= 0 && rows[i].refused) {
            assert_null(t);
            assert_error(nas_error_status(), "");
        } else {
            assert_no_error();
            assert_true(i < 0 || t->limits.of[1].table->cost[0] == measured); /* not measured anew */
            measured = t->limits.of[1].table->cost[0];
            assert_int_equal(i < 0 ? nas_trainer_train(t) : NAS_OK, NAS_OK);
        }
        nas_trainer_free(t);
        planted_free(&p);
    }
    remove_directory(directory);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_most_probable_within_limits),  cmocka_unit_test(a_search_with_darts_meets_three_limits),
        cmocka_unit_test(what_is_beyond_is_never_the_best), cmocka_unit_test(latency_is_limited_by_what_was_measured),
        cmocka_unit_test(wrong_limits_are_refused),         cmocka_unit_test(a_resumed_run_keeps_its_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
