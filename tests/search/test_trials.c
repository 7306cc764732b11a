/* Searches by trials: what a policy proposes, in which order, and that nothing of a history is lost. Architectures are
 * mostly judged by a function that counts right choices, so that hundreds of searches take seconds. labels: slow */
#include "search/planted.h"
#include "support.h"

#include "search/trials.h"
#include "space/space.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_GENES = 20 };

/* --- genes: a chain of choices, of which one candidate each is right -------------------------------------------- */
typedef struct genes {
    int n, candidates, hidden[MOST_GENES];
    int trials, solved_at; /* the first trial that has all right */
    int stop_at;           /* 0: when solved */
    bool constant, fails;  /* every architecture is equally good; some cannot be trained */
} genes;

static nas_module *chain_of(const genes *g) {
    nas_module *parts[MOST_GENES];
    for (int i = 0; i < g->n; i++) {
        nas_candidate c[8];
        char key[16];
        snprintf(key, sizeof key, "gene%d", i);
        for (int k = 0; k < g->candidates; k++) {
            c[k] = (nas_candidate){NULL, nas_identity_new()};
        }
        parts[i] = nas_layer_choice(NULL, key, g->candidates, c);
    }
    return nas_sequential(nas_sequential_new(g->n, parts), nas_dense(.in = 2, .out = 2));
}

static int right(const genes *g, const nas_architecture *a) {
    int n = 0;
    for (int i = 0; i < g->n; i++) {
        n += nas_architecture_get(a, i) == (uint64_t)1 << g->hidden[i];
    }
    return n;
}

static nas_status judge(const nas_architecture *a, double share, double *metrics, void *user) {
    const genes *g = user;
    assert_true(share > 0 && share <= 1);
    metrics[0] = g->fails && nas_architecture_get(a, 0) == 1 ? NAN : g->constant ? 0.5 : right(g, a);
    return NAS_OK;
}

static bool until_solved(const nas_progress *p, void *user) {
    genes *g = user;
    g->trials = (int)p->trial;
    if (p->score == g->n && g->solved_at == 0) {
        g->solved_at = g->trials;
    }
    return g->stop_at ? g->trials >= g->stop_at : g->solved_at > 0;
}

typedef struct setting {
    nas_module *model;
    nas_dataset *data[2];
    nas_trainer *trainer;
} setting;

static setting setting_new(genes *g, const char *strategy, const char *options, uint64_t seed, const char *run_dir) {
    setting s;
    nas_rng rng = nas_rng_new(seed, 77);
    for (int i = 0; i < g->n; i++) {
        g->hidden[i] = (int)nas_rng_below(&rng, (uint32_t)g->candidates);
    }
    const float x[8] = {0}, y[4] = {0, 1, 0, 1};
    s.model = chain_of(g);
    for (int i = 0; i < 2; i++) {
        s.data[i] = nas_dataset_from_arrays(4, 1, (int64_t[]){2}, x, 1, y, 2);
    }
    s.trainer = nas_trainer_new(&(nas_trainer_config){.model = s.model,
                                                      .strategy = strategy,
                                                      .options = options,
                                                      .batch_size = 2,
                                                      .dataset_train = s.data[0],
                                                      .dataset_valid = s.data[1],
                                                      .log_frequency = NAS_NONE,
                                                      .seed = seed,
                                                      .threads = 1,
                                                      .trial = judge,
                                                      .on_step = until_solved,
                                                      .user = g,
                                                      .run_dir = run_dir,
                                                      .resume = run_dir != NULL});
    assert_no_error();
    return s;
}

static void setting_free(setting *s) {
    nas_trainer_free(s->trainer);
    nas_module_free(s->model);
    nas_dataset_free(s->data[0]);
    nas_dataset_free(s->data[1]);
}

static const nas__trials *trials_of(const setting *s) { return s->trainer->s.memory; }

/* Trials until all genes are right. */
static int solve(genes g, const char *strategy, const char *options, uint64_t seed) {
    setting s = setting_new(&g, strategy, options, seed, NULL);
    assert_int_equal(nas_trainer_train(s.trainer), NAS_OK);
    double score;
    const nas_architecture *best = nas_trainer_best(s.trainer, &score);
    assert_true(right(&g, best) == score);
    setting_free(&s);
    return g.solved_at;
}

/* --- random, against theory; the others against random -------------------------------------------------------------
 */
enum { SEEDS = 200 };

static double mean_trials(const char *strategy, const char *options, double *error) {
    double sum = 0, squares = 0;
    for (int seed = 1; seed <= SEEDS; seed++) {
        int trials = solve((genes){.n = 6, .candidates = 4}, strategy, options, (uint64_t)seed);
        assert_true(trials > 0);
        sum += trials;
        squares += (double)trials * trials;
    }
    double mean = sum / SEEDS;
    *error = sqrt((squares / SEEDS - mean * mean) / (SEEDS - 1));
    return mean;
}

static void random_takes_as_long_as_theory_says_and_others_less(void **unused) {
    (void)unused;
    double error, at_random = mean_trials("random", "trials=4096", &error), points = 4096;
    /* without repetition the optimum comes equally likely at each of 4096 places */
    assert_true(fabs(at_random - (points + 1) / 2) < 4 * sqrt((points * points - 1) / 12 / SEEDS));
    double least = at_random - 4 * error;
    static const char *const others[][2] = {{"evolution", "trials=4096,population=20,sample=5"},
                                            {"local", "trials=4096"},
                                            {"local", "trials=4096,whole_neighbourhood=1"},
                                            {"tpe", "trials=4096"},
                                            {"rl", "trials=4096"},
                                            {"rl", "trials=4096,update=ppo"}};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        double mean = mean_trials(others[i][0], others[i][1], &error);
        if (mean + 4 * error >= least / 2) {
            fail_msg("%s needs %.0f trials, random %.0f", others[i][0], mean, at_random);
        }
    }
}

static void evolution_solves_twenty_genes(void **unused) {
    (void)unused;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        int trials = solve((genes){.n = 20, .candidates = 4}, "evolution", "trials=2000,population=50,sample=10", seed);
        assert_in_range(trials, 1, 2000);
    }
    genes g = {.n = 20, .candidates = 4, .stop_at = 1000};
    setting s = setting_new(&g, "random", "trials=1000", 1, NULL);
    assert_int_equal(nas_trainer_train(s.trainer), NAS_OK);
    double score;
    nas_trainer_best(s.trainer, &score);
    assert_in_range((int)score, 9, 15);
    setting_free(&s);
}

static void small_spaces_are_covered_once(void **unused) {
    (void)unused;
    static const char *const strategies[] = {"random", "grid"};
    for (int k = 0; k < 2; k++) {
        genes g = {.n = 3, .candidates = 4, .stop_at = 1000};
        setting s = setting_new(&g, strategies[k], "trials=100", 5, NULL);
        assert_int_equal(nas_trainer_train(s.trainer), NAS_OK);
        const nas__trials *t = trials_of(&s);
        assert_int_equal(t->n_done, 64);
        for (size_t i = 0; i < t->n_done; i++) {
            for (size_t j = 0; j < i; j++) {
                assert_true(t->done[i]->hash != t->done[j]->hash);
            }
        }
        setting_free(&s);
    }
}

static int differences(const nas_architecture *a, const nas_architecture *b) {
    int n = 0;
    for (int i = 0; i < a->space->n_choices; i++) {
        n += nas_architecture_get(a, i) != nas_architecture_get(b, i);
    }
    return n;
}

/* Where all are equally good, killing the worst instead of the oldest would let some parents live for ever. */
static void the_oldest_dies(void **unused) {
    (void)unused;
    enum { POPULATION = 6 };
    genes g = {.n = 20, .candidates = 4, .stop_at = 400, .constant = true};
    setting s = setting_new(&g, "evolution", "trials=400,population=6,sample=3", 2, NULL);
    assert_int_equal(nas_trainer_train(s.trainer), NAS_OK);
    const nas__trials *t = trials_of(&s);
    for (size_t i = POPULATION; i < t->n_done; i++) {
        bool has_parent = false;
        for (size_t j = i - POPULATION; j < i; j++) {
            has_parent = has_parent || differences(t->done[i]->architecture, t->done[j]->architecture) == 1;
        }
        assert_true(has_parent);
    }
    setting_free(&s);
}

static void a_trial_that_fails_costs_only_itself(void **unused) {
    (void)unused;
    genes g = {.n = 3, .candidates = 4, .stop_at = 1000, .fails = true};
    setting s = setting_new(&g, "evolution", "trials=40,population=8,sample=3", 3, NULL);
    assert_int_equal(nas_trainer_train(s.trainer), NAS_OK);
    assert_int_equal(trials_of(&s)->evaluations, 40);
    assert_true(nas_architecture_get(nas_trainer_best(s.trainer, NULL), 0) != 1);
    setting_free(&s);
}

/* --- histories -----------------------------------------------------------------------------------------------------
 */
static void same_history(const nas__trials *a, const nas__trials *b) {
    assert_int_equal(a->n_done, b->n_done);
    for (size_t i = 0; i < a->n_done; i++) {
        assert_true(nas_architecture_equal(a->done[i]->architecture, b->done[i]->architecture));
        assert_true(a->done[i]->fitness == b->done[i]->fitness && a->done[i]->repeated == b->done[i]->repeated);
    }
}

static void a_resumed_search_goes_on(void **unused) {
    (void)unused;
    static const char *const strategies[] = {"random", "grid",      "evolution", "local", "tpe",
                                             "asha",   "hyperband", "bohb",      "rl",    "nsga2"};
    for (size_t i = 0; i < sizeof strategies / sizeof *strategies; i++) {
        genes g = {.n = 6, .candidates = 4, .stop_at = 150};
        const char *options = strcmp(strategies[i], "evolution") == 0 ? "trials=150,population=10,sample=3"
                              : strcmp(strategies[i], "rl") == 0      ? "trials=150,lr=0.01"
                                                                      : "trials=150";
        setting whole = setting_new(&g, strategies[i], options, 4, NULL), parts[2];
        assert_int_equal(nas_trainer_train(whole.trainer), NAS_OK);
        char *directory = temporary_directory();
        for (int k = 0; k < 2; k++) {
            g = (genes){.n = 6, .candidates = 4, .stop_at = k == 0 ? 71 : 150};
            parts[k] = setting_new(&g, strategies[i], options, 4, directory);
            assert_int_equal(nas_trainer_train(parts[k].trainer), NAS_OK);
            if (k == 0) {
                assert_int_equal(trials_of(&parts[0])->evaluations, 71);
                setting_free(&parts[0]);
            }
        }
        same_history(trials_of(&whole), trials_of(&parts[1]));
        setting_free(&whole);
        setting_free(&parts[1]);
        remove_directory(directory);
    }
}

/* --- trained for real ----------------------------------------------------------------------------------------------
 */
static nas_module *new_planted(void *user) {
    (void)user;
    return planted_model(2);
}

static double alone(const planted *p, const nas_architecture *a) {
    nas_module *model = planted_model(2);
    char *json = nas_architecture_json(a, false);
    nas_evaluation result;
    assert_int_equal(nas_apply_fixed_architecture_text(model, json), NAS_OK);
    nas_fit_config fit = {.model = model,
                          .optimizer = nas_sgd(.lr = 0.05, .momentum = 0.9, .weight_decay = 3e-4),
                          .batch_size = 32,
                          .num_epochs = 2,
                          .dataset_train = p->parts[0],
                          .seed = p->config.seed,
                          .quiet = true,
                          .threads = 1};
    assert_int_equal(nas_fit(&fit, NULL), NAS_OK);
    assert_int_equal(nas_evaluate(&(nas_evaluate_config){.model = model, .data = p->parts[1]}, &result), NAS_OK);
    nas_module_free(model);
    free(json);
    return result.metrics[0];
}

static void a_trial_is_a_training_alone(void **unused) {
    (void)unused;
    planted p = planted_new(PLANTED_CLASSES, 800, 1);
    p.config.strategy = "random";
    p.config.options = "trials=3";
    p.config.num_epochs = 2;
    p.config.optimizer = nas_sgd(.lr = 0.05, .momentum = 0.9, .weight_decay = 3e-4);
    p.config.new_model = new_planted;
    nas_trainer *t = nas_trainer_new(&p.config);
    assert_no_error();
    assert_int_equal(nas_trainer_train(t), NAS_OK);
    const nas__trials *trials = t->s.memory;
    assert_int_equal(trials->n_done, 3);
    for (size_t i = 0; i < trials->n_done; i++) {
        assert_true(trials->done[i]->metrics[0] == alone(&p, trials->done[i]->architecture));
    }
    nas_trainer_free(t);
    planted_free(&p);
}

static void shared_weights_find_what_was_planted(void **unused) {
    (void)unused;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        planted p = planted_new(PLANTED_CLASSES, 3000, seed);
        p.config.strategy = "evolution";
        p.config.options = "evaluate=shared,trials=300,population=30,sample=8";
        p.config.num_epochs = 12;
        p.config.optimizer = nas_sgd(.lr = 0.05, .momentum = 0.9, .weight_decay = 3e-4);
        nas_trainer *t = nas_trainer_new(&p.config);
        assert_no_error();
        assert_int_equal(nas_trainer_train(t), NAS_OK);
        int found = planted_found(nas_trainer_best(t, NULL), seed);
        nas_trainer_free(t);
        planted_free(&p);
        if (found != PLANTED_CHOICES) {
            fail_msg("seed %d: %d of %d right", (int)seed, found, PLANTED_CHOICES);
        }
    }
}

static void what_cannot_be_is_refused(void **unused) {
    (void)unused;
    planted p = planted_new(PLANTED_CLASSES, 400, 1);
    p.config.strategy = "random";
    p.config.options = "trials=3";
    assert_null(nas_trainer_new(&p.config));
    assert_error(NAS_USAGE, ".new_model");
    planted_free(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_takes_as_long_as_theory_says_and_others_less),
        cmocka_unit_test(evolution_solves_twenty_genes),
        cmocka_unit_test(small_spaces_are_covered_once),
        cmocka_unit_test(the_oldest_dies),
        cmocka_unit_test(a_trial_that_fails_costs_only_itself),
        cmocka_unit_test(a_resumed_search_goes_on),
        cmocka_unit_test(a_trial_is_a_training_alone),
        cmocka_unit_test(shared_weights_find_what_was_planted),
        cmocka_unit_test(what_cannot_be_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
