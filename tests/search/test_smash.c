/* SMASH: what is drawn, what a search trains and what it leaves alone, and a planted kernel that the hypernetwork's
 * weights have to find. */
#include "core/correlation.h"
#include "search/planted.h"
#include "search/smash.h"
#include "search/trainer.h"
#include "support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static nas_module *model_of(const nas_space_config *config, const char *const (*set)[2]) {
    const nas_space_info *info = nas_space_info_find("smash");
    nas__smash_options options;
    nas_space_config c = *config;
    assert_int_equal(nas_options_default(info->options, &options), NAS_OK);
    for (; set && (*set)[0]; set++) {
        assert_int_equal(nas_options_set(info->options, &options, (*set)[0], (*set)[1]), NAS_OK);
    }
    c.options = &options;
    nas_module *model = nas_space_build("smash", &c);
    assert_no_error();
    return model;
}

/* --- the sampler ------------------------------------------------------------------------------------- */
static int chosen(const nas_architecture *a, const char *key) {
    return __builtin_ctzll(nas_architecture_get(a, nas_space_find(a->space, key)));
}

static void assert_frequencies(int n, const int *counts, const double *p, double most, const char *what) {
    double all = 0, chi = 0;
    for (int i = 0; i < n; i++) {
        all += counts[i];
    }
    for (int i = 0; i < n; i++) {
        chi += (counts[i] - all * p[i]) * (counts[i] - all * p[i]) / (all * p[i]);
    }
    if (chi > most) {
        fail_msg("%s: chi-squared %g of %d", what, chi, n - 1);
    }
}

/* Thresholds are of probability 1e-3 with 1, 2 and 3 degrees of freedom. */
static void draws_are_distributed_as_stated(void **state) {
    (void)state;
    enum { DRAWS = 20000 };
    static const double even[] = {0.5, 0.5}, thirds[] = {1 / 3., 1 / 3., 1 / 3.}, quarters[] = {.25, .25, .25, .25};
    nas_module *model = model_of(&(nas_space_config){.channels = 1, .height = 28, .width = 28, .outputs = 10}, NULL);
    nas_space *space = nas_space_new(model);
    nas_architecture *a = nas_architecture_new(space);
    nas_rng rng = nas_rng_new(3, 9);
    int bank[3] = {0}, ops[4] = {0}, kernel[2] = {0}, dilation[2] = {0}, groups[2] = {0}, writes[4] = {0};
    for (int i = 0; i < DRAWS; i++) {
        nas__smash_sample(a, &rng, 1);
        bank[chosen(a, "block_1/bank")]++;
        ops[chosen(a, "block_1/ops")]++;
        kernel[chosen(a, "block_1/op_1/kernel")]++;
        dilation[chosen(a, "block_1/op_1/dilation")]++;
        groups[chosen(a, "block_2/op_1/groups")]++;
        if (chosen(a, "block_1/bank") == 0 && chosen(a, "block_1/op_1/units") == 3) {
            writes[__builtin_popcountll(nas_architecture_get(a, nas_space_find(space, "block_1/op_1/write"))) - 1]++;
        }
    }
    assert_frequencies(3, bank, thirds, 13.8, "bank size");
    assert_frequencies(4, ops, quarters, 16.3, "ops");
    assert_frequencies(2, kernel, even, 10.8, "kernel");
    assert_frequencies(2, dilation, even, 10.8, "dilation");
    assert_frequencies(2, groups, even, 10.8, "groups");
    assert_frequencies(4, writes, (double[]){8 / 15., 4 / 15., 2 / 15., 1 / 15.}, 16.3, "writes");
    for (int i = 0; i < 200; i++) { /* at the beginning */
        nas__smash_sample(a, &rng, 0);
        assert_true(chosen(a, "block_1/ops") < 2 && chosen(a, "block_1/op_1/kernel") == 0);
    }
    nas_architecture_free(a);
    nas_space_free(space);
    nas_module_free(model);
}

/* --- a planted kernel ----------------------------------------------------------------------------------
 * Rows of random signs in which what is five pixels apart is equal, in the one class, or opposite, in the other. What
 * the stem and an op of kernel 3 see together is five pixels wide, where both classes look alike; with kernel 5 it is
 * seven. */
enum { SIDE = 15, SAMPLES = 512, PERIOD = 5 };

static nas_dataset *periods(int64_t n, uint64_t seed) {
    float *x = malloc((size_t)n * SIDE * SIDE * sizeof *x), *y = malloc((size_t)n * sizeof *y);
    nas_rng rng = nas_rng_new(seed, 4000);
    for (int64_t i = 0; i < n; i++) {
        y[i] = (float)(i % 2);
        for (int p = 0; p < SIDE * SIDE; p++) {
            float *at = x + i * SIDE * SIDE + p;
            *at = p % SIDE < PERIOD ? (nas_rng_below(&rng, 2) ? 1.0f : -1.0f) : (i % 2 ? at[-PERIOD] : -at[-PERIOD]);
        }
    }
    nas_dataset *data = nas_dataset_from_arrays(n, 3, (int64_t[]){1, SIDE, SIDE}, x, 1, y, 2);
    free(x);
    free(y);
    assert_no_error();
    return data;
}

typedef struct search {
    nas_module *model;
    nas_dataset *data, *parts[2];
    nas_trainer *trainer;
    int64_t steps, stop_at; /* so far; stops there, if not 0 */
    uint64_t trained, last; /* hash of the weights when the first trial was done, and at the last one */
    int64_t trials;
} search;

static bool watch(const nas_progress *p, void *user) {
    search *s = user;
    if (p->trial > s->trials) {
        s->trials = p->trial;
        s->last = weights_hash(s->model, EVERYTHING);
        s->trained = s->trained ? s->trained : s->last;
    }
    return ++s->steps == s->stop_at;
}

static const char *const one_op[][2] = {{"units", "2"},    {"banks", "3"},  {"blocks", "1"}, {"ops", "1"},
                                        {"dilation", "1"}, {"groups", "1"}, {NULL}};

static void search_open(search *s, int epochs, uint64_t seed, const char *run_dir, int64_t stop_at) {
    *s = (search){
        .stop_at = stop_at,
        .model = model_of(&(nas_space_config){.channels = 1, .height = SIDE, .width = SIDE, .outputs = 2}, one_op)};
    s->data = periods(SAMPLES, seed);
    assert_int_equal(nas_dataset_split(s->data, seed, 2, (const double[]){0.5, 0.5}, s->parts), NAS_OK);
    s->trainer = nas_trainer_new(&(nas_trainer_config){.model = s->model,
                                                       .strategy = "smash",
                                                       .space_name = "smash",
                                                       .options = "trials=24",
                                                       .optimizer = nas_adam(.lr = 0.01),
                                                       .batch_size = 32,
                                                       .num_epochs = epochs,
                                                       .dataset_train = s->parts[0],
                                                       .dataset_valid = s->parts[1],
                                                       .log_frequency = NAS_NONE,
                                                       .seed = seed,
                                                       .threads = 1,
                                                       .run_dir = run_dir,
                                                       .resume = run_dir != NULL,
                                                       .on_step = watch,
                                                       .user = s});
    assert_no_error();
}

static void search_close(search *s) {
    nas_trainer_free(s->trainer);
    nas_module_free(s->model);
    nas_dataset_free(s->parts[0]);
    nas_dataset_free(s->parts[1]);
    nas_dataset_free(s->data);
}

/* Scores 200 random architectures: the mean of those with kernel 5 less that of the others; *ranked: how many of the
 * best ten have kernel 5. */
static double gap(search *s, int *ranked) {
    enum { DRAWS = 200, BEST = 10 };
    nas_space *space = s->trainer->s.space;
    nas_architecture *a = nas_architecture_new(space);
    nas_rng rng = nas_rng_new(11, 1);
    double scores[DRAWS], sums[2] = {0, 0};
    int large[DRAWS], counts[2] = {0, 0};
    for (int i = 0; i < DRAWS; i++) {
        double metrics[NAS__MOST_METRICS];
        nas__smash_sample(a, &rng, 1);
        assert_int_equal(nas__score_path(s->trainer, a, 1, metrics), NAS_OK);
        large[i] = chosen(a, "block_1/op_1/kernel");
        scores[i] = metrics[0];
        sums[large[i]] += metrics[0];
        counts[large[i]]++;
    }
    *ranked = 0;
    for (int n = 0; n < BEST; n++) {
        int best = 0;
        for (int i = 1; i < DRAWS; i++) {
            best = scores[i] > scores[best] ? i : best;
        }
        *ranked += large[best];
        scores[best] = -1;
    }
    nas_architecture_free(a);
    return sums[1] / counts[1] - sums[0] / counts[0];
}

/* --- does the score rank? ------------------------------------------------------------------------------ */
enum { RANKED = 24 };

static double trained_alone(const search *s, const nas_architecture *a) {
    nas_module *model =
        model_of(&(nas_space_config){.channels = 1, .height = SIDE, .width = SIDE, .outputs = 2}, one_op);
    char *json = nas_architecture_json(a, false);
    nas_evaluation result;
    assert_int_equal(nas_apply_fixed_architecture_text(model, json), NAS_OK);
    nas_fit_config fit = {.model = model,
                          .optimizer = nas_adam(.lr = 0.01),
                          .batch_size = 32,
                          .num_epochs = 10,
                          .dataset_train = s->parts[0],
                          .quiet = true,
                          .threads = 1};
    assert_int_equal(nas_fit(&fit, NULL), NAS_OK);
    assert_int_equal(nas_evaluate(&(nas_evaluate_config){.model = model, .data = s->parts[1]}, &result), NAS_OK);
    free(json);
    nas_module_free(model);
    return result.metrics[0];
}

/* Random architectures, and Kendall's tau of their scores with the accuracies that they reach alone. */
typedef struct ranking {
    nas_architecture *list[RANKED];
    double truth[RANKED];
} ranking;

static void ranking_open(const search *s, ranking *r) {
    nas_rng rng = nas_rng_new(31, 1);
    for (int i = 0; i < RANKED; i++) {
        r->list[i] = nas_architecture_new(s->trainer->s.space);
        nas__smash_sample(r->list[i], &rng, 1);
        r->truth[i] = trained_alone(s, r->list[i]);
    }
}

static double tau(search *s, const ranking *r) {
    double scores[RANKED];
    for (int i = 0; i < RANKED; i++) {
        double metrics[NAS__MOST_METRICS];
        assert_int_equal(nas__score_path(s->trainer, r->list[i], 1, metrics), NAS_OK);
        scores[i] = metrics[0];
    }
    return nas__kendall(RANKED, scores, r->truth);
}

static void ranking_close(ranking *r) {
    for (int i = 0; i < RANKED; i++) {
        nas_architecture_free(r->list[i]);
    }
}

/* Other weights of the hypernetwork than those that were learnt. */
static void forget_hypernetwork(search *s) {
    nas__smash_hyper *h = nas__smash_module(s->model)->hyper;
    for (int i = 0; i < NAS__SMASH_LAYERS; i++) {
        size_t n = (size_t)nas_tensor_count(h->weights[i]);
        float *values = random_floats((uint64_t)i + 70, n);
        nas_tensor_write(h->weights[i], values);
        free(values);
    }
}

static void the_kernel_that_solves_it_is_found(void **state) {
    (void)state;
    double with = 0, without = 0;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        search s;
        double score, trained, untrained;
        int ranked, none;
        search_open(&s, 100, seed, NULL, 0);
        assert_int_equal(nas_trainer_train(s.trainer), NAS_OK);
        const nas_architecture *best = nas_trainer_best(s.trainer, &score);
        trained = gap(&s, &ranked);
        ranking r = {0};
        if (seed == 1) {
            ranking_open(&s, &r);
            with = tau(&s, &r);
        }
        forget_hypernetwork(&s);
        untrained = gap(&s, &none);
        without = seed == 1 ? tau(&s, &r) : without;
        ranking_close(&r);
        print_message("seed %d: best %.3f, kernel 5 less kernel 3 %.3f, %d of the best ten; hypernetwork forgotten "
                      "%.3f\n",
                      (int)seed, score, trained, ranked, untrained);
        assert_int_equal(chosen(best, "block_1/op_1/kernel"), 1);
        assert_true(ranked >= 9);
        assert_true(trained > 0.15 && untrained < trained / 2);
        assert_int_equal(s.trials, 24);
        assert_int_equal(s.trained, s.last); /* scoring trains nothing */
        search_close(&s);
    }
    print_message("tau of scores and accuracies of networks trained alone %.3f; hypernetwork forgotten %.3f\n", with,
                  without);
    assert_true(with > 0.3 && fabs(without) < 0.25);
}

/* --- resuming ---------------------------------------------------------------------------------------- */
enum { EPOCHS = 3, STEPS = SAMPLES / 2 / 32 };

/* Runs a search on a directory until it stops there; the weights that it leaves. */
static uint64_t run(const char *directory, int64_t stop_at, bool stops) {
    search s;
    search_open(&s, EPOCHS, 5, directory, stop_at);
    assert_int_equal(nas_trainer_train(s.trainer), NAS_OK);
    assert_int_equal(nas_trainer_stopped(s.trainer), stops);
    uint64_t hash = weights_hash(s.model, EVERYTHING);
    if (!stops) {
        char path[4096];
        snprintf(path, sizeof path, "%s/final_architecture.json", directory);
        assert_int_equal(nas_trainer_export(s.trainer, path), NAS_OK);
    }
    search_close(&s);
    return hash;
}

static void stopped_and_resumed(int64_t stop_at) {
    static const char *const files[] = {"final_architecture.json", "search-result.json"};
    char *roots[2] = {temporary_directory(), temporary_directory()}, places[2][4096];
    for (int i = 0; i < 2; i++) {
        snprintf(places[i], sizeof places[i], "%s/run", roots[i]);
    }
    const uint64_t whole = run(places[0], 0, false);
    run(places[1], stop_at, true);
    const uint64_t resumed = run(places[1], 0, false);
    assert_true(whole == resumed);
    for (int i = 0; i < 2; i++) {
        char *a = file_text(places[0], files[i]), *b = file_text(places[1], files[i]);
        assert_string_equal(a, b);
        free(a);
        free(b);
    }
    remove_directory(roots[0]);
    remove_directory(roots[1]);
}

/* In the training of the hypernetwork, and among the trials. */
static void a_resumed_search_is_the_same(void **state) {
    (void)state;
    stopped_and_resumed(STEPS + 3);
    stopped_and_resumed(EPOCHS * STEPS + 7);
}

/* --- who may search where ------------------------------------------------------------------------------ */
static void other_spaces_are_refused(void **state) {
    (void)state;
    planted p = planted_new(PLANTED_CLASSES, 64, 1);
    p.config.strategy = "smash";
    p.config.options = NULL;
    assert_null(nas_trainer_new(&p.config));
    assert_error(NAS_UNSUPPORTED, "smash needs the space smash");
    planted_free(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(draws_are_distributed_as_stated),
        cmocka_unit_test(the_kernel_that_solves_it_is_found),
        cmocka_unit_test(a_resumed_search_is_the_same),
        cmocka_unit_test(other_spaces_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
