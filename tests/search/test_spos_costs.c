/* SPOS and what paths cost: training even over bins of multiply-adds, the evolution among what a limit leaves, and
 * searching widths under one. */
#include "search/planted.h"
#include "support.h"

#include <espalier/hardware.h>

#include "search/generations.h"
#include "space/space.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const nas__trials *trials_of(nas_trainer *t) { return t->s.memory; }

/* --- bins -------------------------------------------------------------------------------------------------------- */
enum { BINS = 5, MOST_PASSES = 1000 };

typedef struct paths {
    uint64_t bits[MOST_PASSES][PLANTED_CHOICES];
    int n;
} paths;

static nas_status remember_path(nas_trainer *t, const nas_pass *pass, void *user) {
    paths *p = user;
    if (pass->training && p->n < MOST_PASSES) {
        for (int i = 0; i < PLANTED_CHOICES; i++) {
            p->bits[p->n][i] = nas_decision_of(t->s.space, i).run;
        }
        p->n++;
    }
    return NAS_OK;
}

static nas_trainer *trainer_of(planted *p, const char *options) {
    p->config.strategy = "spos";
    p->config.options = options;
    p->config.optimizer = nas_sgd(.lr = 0.05, .momentum = 0.9);
    return nas_trainer_new(&p->config);
}

static double cost_of(nas_trainer *t, const uint64_t *bits) {
    nas_architecture *a = nas_architecture_new(t->s.space);
    for (int i = 0; i < PLANTED_CHOICES; i++) {
        nas_architecture_set(a, i, bits[i]);
    }
    double cost = nas__exact_cost(t, NAS__COST_MACS, a);
    nas_architecture_free(a);
    return cost;
}

/* Chi-squared of 600 paths in five equal bins between the two costs; what is beyond counts in none. */
static double unevenness(const char *options, double least, double most, int *counts) {
    planted p = planted_cost_new(PLANTED_CLASSES, 1600, 3);
    static paths seen;
    seen.n = 0;
    p.config.num_epochs = 24;
    nas_trainer *t = trainer_of(&p, options);
    assert_no_error();
    t->on_pass = remember_path;
    t->on_pass_user = &seen;
    assert_int_equal(nas_trainer_train(t), NAS_OK);
    assert_int_equal(seen.n, 600);
    double sum = 0;
    memset(counts, 0, BINS * sizeof *counts);
    for (int i = 0; i < seen.n; i++) {
        double place = (cost_of(t, seen.bits[i]) - least) / (most - least) * BINS;
        if (place >= 0 && place <= BINS) {
            counts[place < BINS ? (int)place : BINS - 1]++;
        }
    }
    for (int i = 0; i < BINS; i++) {
        sum += (counts[i] - 120.0) * (counts[i] - 120.0) / 120;
    }
    nas_trainer_free(t);
    planted_free(&p);
    return sum;
}

static void bins_are_trained_equally_often(void **unused) {
    (void)unused;
    int bins[BINS], uniform[BINS];
    char options[128];
    const double least = 84,
                 most = 84 + 5 * 126; /* the cheapest; a detector of 64 numbers for one of 1 with each bin */
    snprintf(options, sizeof options, "trials=1,sampling=bins,bins=5,least_macs=%.8f,most_macs=%.8f", least / 1e6,
             most / 1e6);
    double even = unevenness(options, least, most, bins);
    double uneven = unevenness("trials=1", least, most, uniform);
    print_message("bins: chi-squared %.1f (%d %d %d %d %d), uniform paths %.1f (%d %d %d %d %d)\n", even, bins[0],
                  bins[1], bins[2], bins[3], bins[4], uneven, uniform[0], uniform[1], uniform[2], uniform[3],
                  uniform[4]);
    assert_int_equal(bins[0] + bins[1] + bins[2] + bins[3] + bins[4], 600);
    assert_true(even < 18.47); /* 4 degrees of freedom: one in a thousand is above */
    assert_true(uneven > 100);
}

static void bins_need_a_range(void **unused) {
    (void)unused;
    planted p = planted_new(PLANTED_CLASSES, 400, 1); /* all paths cost the same */
    assert_null(trainer_of(&p, "sampling=bins"));
    assert_error(NAS_UNSUPPORTED, "nothing between");
    planted_free(&p);
}

/* --- the best of those within a limit ---------------------------------------------------------------------------- */
static double worth(const nas_architecture *a, uint64_t seed) {
    double sum = 0;
    for (int i = 0; i < PLANTED_CHOICES; i++) {
        nas_rng rng = nas_rng_new(seed * 100 + (uint64_t)i, nas_architecture_get(a, i));
        sum += nas_rng_uniform(&rng);
    }
    return sum;
}

static nas_status judge(const nas_architecture *a, double share, double *metrics, void *user) {
    (void)share;
    metrics[0] = worth(a, *(const uint64_t *)user);
    return NAS_OK;
}

/* Of all architectures within the limits: their number, and how many are worth more than `best`. */
static void count_legal(nas_trainer *t, uint64_t seed, double best, int counts[2]) {
    nas_architecture *a = nas_architecture_new(t->s.space);
    counts[0] = counts[1] = 0;
    do {
        bool legal = nas__within_limits(t, a);
        counts[0] += legal;
        counts[1] += legal && worth(a, seed) > best;
    } while (nas__architecture_next(a));
    nas_architecture_free(a);
}

static void the_best_legal_ones_are_found(void **unused) {
    (void)unused;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        planted p = planted_cost_new(PLANTED_CLASSES, 400, seed);
        double best;
        int counts[2];
        p.config.limits = "macs=310";
        p.config.trial = judge;
        p.config.user = &seed;
        nas_trainer *t = trainer_of(&p, "evaluate=standalone,population=20,generations=6,top=5,mutants=10,children=10");
        assert_no_error();
        assert_int_equal(nas_trainer_train(t), NAS_OK);
        nas_trainer_best(t, &best);
        count_legal(t, seed, best, counts);
        assert_in_range(counts[0], 1500, 3000); /* of 4,096 */
        assert_true(trials_of(t)->n_done == 140 && 140 < 0.15 * counts[0]);
        if (counts[1] > counts[0] / 100) {
            fail_msg("seed %d: %d of %d are better", (int)seed, counts[1], counts[0]);
        }
        nas_trainer_free(t);
        planted_free(&p);
    }
}

/* --- widths ------------------------------------------------------------------------------------------------------ */
static nas_module *shufflenet(void *unused) {
    static const char *const set[][2] = {{"widths", "12-16"},  {"depths", "1-2"}, {"stem", "6"},
                                         {"strides", "1-1-2"}, {"last", "20"},    {"channels", "search"}};
    const nas_space_info *info = nas_space_info_find("shufflenet");
    char options[1024];
    (void)unused;
    assert_int_equal(nas_options_default(info->options, options), NAS_OK);
    for (size_t i = 0; i < sizeof set / sizeof *set; i++) {
        assert_int_equal(nas_options_set(info->options, options, set[i][0], set[i][1]), NAS_OK);
    }
    return nas_space_build(
        "shufflenet", &(nas_space_config){.channels = 1, .height = 8, .width = 8, .outputs = 2, .options = options});
}

static nas_dataset *images(uint64_t seed) {
    float *x = random_floats(seed, 64 * 64), y[64];
    for (int i = 0; i < 64; i++) {
        y[i] = (float)(i % 2);
    }
    nas_dataset *d = nas_dataset_from_arrays(64, 3, (int64_t[]){1, 8, 8}, x, 1, y, 2);
    free(x);
    return d;
}

static nas_trainer *width_search(nas_module *model, nas_dataset *const data[2], const char *strategy,
                                 const char *options, const char *limits) {
    return nas_trainer_new(&(nas_trainer_config){.model = model,
                                                 .strategy = strategy,
                                                 .options = options,
                                                 .limits = limits,
                                                 .batch_size = 8,
                                                 .num_epochs = 2,
                                                 .dataset_train = data[0],
                                                 .dataset_valid = data[1],
                                                 .log_frequency = NAS_NONE,
                                                 .threads = 1});
}

/* The network of an architecture alone costs what the limit was checked with. */
static void check_network(nas_trainer *t, const nas_architecture *a) {
    char *json = nas_architecture_json(a, false);
    nas_module *alone = shufflenet(NULL);
    uint64_t macs;
    int64_t parameters;
    assert_int_equal(nas_apply_fixed_architecture_text(alone, json), NAS_OK);
    assert_int_equal(nas_model_cost(alone, 3, (int64_t[]){1, 8, 8}, &macs, &parameters), NAS_OK);
    assert_true((double)macs == nas__exact_cost(t, NAS__COST_MACS, a));
    assert_true((double)parameters == nas__exact_cost(t, NAS__COST_PARAMS, a));
    assert_int_equal(parameters, nas_parameter_count(alone));
    nas_module_free(alone);
    free(json);
}

/* Of 200 random architectures. */
static int within_limits(nas_trainer *t) {
    nas_architecture *a = nas_architecture_new(t->s.space);
    nas_rng rng = nas_rng_new(1, 9);
    int within = 0;
    for (int i = 0; i < 200; i++) {
        nas_architecture_random(a, &rng);
        within += nas__within_limits(t, a);
    }
    nas_architecture_free(a);
    return within;
}

static void widths_are_searched_under_limits(void **unused) {
    (void)unused;
    nas_dataset *data[2] = {images(1), images(2)};
    nas_module *model = shufflenet(NULL);
    nas_trainer *t = width_search(model, data, "spos", "population=8,generations=2,mutants=3,children=3,top=3",
                                  "macs=45k,params=2200");
    assert_no_error();
    assert_in_range(within_limits(t), 10, 90);
    assert_int_equal(nas_trainer_train(t), NAS_OK);
    const nas__trials *trials = trials_of(t);
    assert_int_equal(trials->n_done, 24);
    uint64_t widths[3] = {0}, blocks[3] = {0};
    double dearest = 0;
    for (size_t i = 0; i < trials->n_done; i++) {
        const nas_architecture *a = trials->done[i]->architecture;
        double macs = nas__exact_cost(t, NAS__COST_MACS, a);
        assert_true(macs <= 45e3 && nas__exact_cost(t, NAS__COST_PARAMS, a) <= 2200);
        dearest = fmax(dearest, macs);
        check_network(t, a);
        for (int k = 0; k < 3; k++) {
            char key[16];
            snprintf(key, sizeof key, "channels_%d", k + 1);
            widths[k] |= nas_architecture_get(a, nas_space_find(t->s.space, key));
            snprintf(key, sizeof key, "block_%d", k + 1);
            blocks[k] |= nas_architecture_get(a, nas_space_find(t->s.space, key));
        }
    }
    for (int k = 0; k < 3; k++) {
        assert_true(nas__bit_count(widths[k]) > 3 && nas__bit_count(blocks[k]) > 2);
    }
    assert_true(dearest > 40e3);
    nas_trainer_free(t);
    nas_module_free(model);
    nas_dataset_free(data[0]);
    nas_dataset_free(data[1]);
}

static void widths_are_sampled_only(void **unused) {
    (void)unused;
    static const char *const rows[][3] = {{"spos", "sampling=fair", "candidates"}, {"darts", "", "channels_1"}};
    nas_dataset *data[2] = {images(1), images(2)};
    for (int i = 0; i < 2; i++) {
        nas_module *model = shufflenet(NULL);
        assert_null(width_search(model, data, rows[i][0], rows[i][1], NULL));
        assert_error(NAS_UNSUPPORTED, rows[i][2]);
        nas_module_free(model);
    }
    nas_dataset_free(data[0]);
    nas_dataset_free(data[1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bins_are_trained_equally_often), cmocka_unit_test(bins_need_a_range),
        cmocka_unit_test(the_best_legal_ones_are_found),  cmocka_unit_test(widths_are_searched_under_limits),
        cmocka_unit_test(widths_are_sampled_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
