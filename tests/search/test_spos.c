/* SPOS: which paths are trained, what calibrating batch norm is worth, and the evolution: its constants on a known
 * function, limits, no architecture twice, a planted optimum, resuming. */
#include "search/planted.h"
#include "support.h"

#include "search/generations.h"
#include "space/space.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static nas_optimizer *sgd(void) { return nas_sgd(.lr = 0.05, .momentum = 0.9, .weight_decay = 3e-4); }

static nas_trainer *trainer_of(planted *p, const char *options) {
    p->config.strategy = "spos";
    p->config.options = options;
    p->config.optimizer = sgd();
    nas_trainer *t = nas_trainer_new(&p->config);
    assert_no_error();
    return t;
}

static const nas__trials *trials_of(nas_trainer *t) { return t->s.memory; }

/* --- which paths are trained ------------------------------------------------------------------------------------- */
typedef struct counts {
    nas_trainer *trainer;
    int of[PLANTED_CHOICES][PLANTED_CANDIDATES], pairs[PLANTED_CANDIDATES][PLANTED_CANDIDATES], passes, steps;
    bool fair;
} counts;

static nas_status count_path(nas_trainer *t, const nas_pass *pass, void *user) {
    counts *c = user;
    int chosen[PLANTED_CHOICES];
    (void)pass;
    for (int i = 0; i < PLANTED_CHOICES; i++) {
        uint64_t run = nas_decision_of(t->s.space, i).run;
        assert_int_equal(nas__bit_count(run), 1);
        chosen[i] = __builtin_ctzll(run);
        c->of[i][chosen[i]]++;
    }
    c->pairs[chosen[0]][chosen[1]]++;
    c->passes++;
    return NAS_OK;
}

static bool check_counts(const nas_progress *p, void *user) {
    counts *c = user;
    if (p->trials > 0 || p->trial > 0) {
        return true; /* the search behind the training */
    }
    c->steps++;
    for (int i = 0; i < PLANTED_CHOICES && c->fair; i++) {
        for (int k = 0; k < PLANTED_CANDIDATES; k++) {
            assert_int_equal(c->of[i][k], c->steps);
        }
    }
    return false;
}

static counts counted(const char *options, int epochs) {
    planted p = planted_new(PLANTED_CLASSES, 1600, 4);
    counts c = {.fair = strstr(options, "fair") != NULL};
    p.config.num_epochs = epochs;
    p.config.on_step = check_counts;
    p.config.user = &c;
    nas_trainer *t = trainer_of(&p, options);
    t->on_pass = count_path;
    t->on_pass_user = &c;
    assert_int_equal(nas_trainer_train(t), NAS_OK);
    nas_trainer_free(t);
    planted_free(&p);
    return c;
}

static void fair_steps_run_all_candidates_equally_often(void **unused) {
    (void)unused;
    counts c = counted("sampling=fair", 4);
    assert_int_equal(c.steps, 100);
    assert_int_equal(c.passes, 100 * PLANTED_CANDIDATES);
    int different = 0; /* the permutations are independent: not always the same partners */
    for (int k = 0; k < PLANTED_CANDIDATES; k++) {
        different += c.pairs[0][k] > 0 && c.pairs[0][k] < 100;
    }
    assert_int_equal(different, PLANTED_CANDIDATES);
}

static double chi_squared(int n, const int *counts_, double expected) {
    double sum = 0;
    for (int i = 0; i < n; i++) {
        sum += (counts_[i] - expected) * (counts_[i] - expected) / expected;
    }
    return sum;
}

static void uniform_paths_are_uniform(void **unused) {
    (void)unused;
    counts c = counted("sampling=uniform", 60);
    assert_int_equal(c.passes, c.steps);
    double n = c.passes, sum = 0;
    for (int i = 0; i < PLANTED_CHOICES; i++) {
        sum += chi_squared(PLANTED_CANDIDATES, c.of[i], n / PLANTED_CANDIDATES);
    }
    assert_true(sum < 42.31); /* 18 degrees of freedom: one in a thousand is above */
    assert_true(sum > 4.90);  /* and one below: more even than chance, as fair sampling is */
    assert_true(chi_squared(16, &c.pairs[0][0], n / 16) < 37.70); /* 15 degrees of freedom */
}

/* --- batch norm -------------------------------------------------------------------------------------------------- */
/* Candidates that move what a batch norm behind them gets: its running estimates mix all paths. */
typedef struct shift {
    nas_module base;
    float by;
} shift;

static nas_tensor *shift_forward(nas_module *self, nas_tensor *x) {
    float one[PLANTED_VALUES * PLANTED_VALUES] = {0}, by[PLANTED_VALUES];
    for (int i = 0; i < PLANTED_VALUES; i++) {
        one[i * (PLANTED_VALUES + 1)] = 1;
        by[i] = ((shift *)self)->by * (i % 2 ? 1.0f : -0.5f);
    }
    return nas_linear(x, nas_input(2, (int64_t[]){PLANTED_VALUES, PLANTED_VALUES}, one),
                      nas_input(1, (int64_t[]){PLANTED_VALUES}, by));
}

static nas_module *shift_of(float by) {
    shift *s = nas_module_new(shift, shift_forward);
    s->by = by;
    return &s->base;
}

static nas_module *shifting(void) {
    nas_module *parts[3];
    for (int i = 0; i < 3; i++) {
        char key[16];
        snprintf(key, sizeof key, "shift%d", i);
        const nas_candidate candidates[] = {{"down", shift_of(-1.5f)}, {"no", shift_of(0)}, {"up", shift_of(1.5f)}};
        parts[i] = nas_layer_choice(NULL, key, 3, candidates);
    }
    return nas_sequential(nas_sequential_new(3, parts), nas_bn(.channels = PLANTED_VALUES),
                          nas_dense(.in = PLANTED_VALUES, .out = 2));
}

/* Scores of the same 27 architectures. */
static void shift_scores(const char *options, double *scores, uint64_t *weights) {
    planted p = planted_new(PLANTED_CLASSES, 2000, 3);
    nas_free(p.model);
    p.config.model = p.model = shifting();
    p.config.num_epochs = 6;
    nas_trainer *t = trainer_of(&p, options);
    assert_int_equal(nas_trainer_train(t), NAS_OK);
    assert_int_equal(trials_of(t)->n_done, 27);
    for (int i = 0; i < 27; i++) {
        scores[i] = trials_of(t)->done[i]->metrics[0];
    }
    *weights = weights_hash(p.model, EVERYTHING);
    nas_trainer_free(t);
    planted_free(&p);
}

static void without_calibration_scores_are_worse(void **unused) {
    (void)unused;
    double with[27], without[27], sum[2] = {0};
    uint64_t weights[2];
    shift_scores("population=27,generations=0", with, &weights[0]);
    shift_scores("population=27,generations=0,recalibrate=0", without, &weights[1]);
    assert_true(weights[0] == weights[1]);
    for (int i = 0; i < 27; i++) {
        sum[0] += with[i] / 27;
        sum[1] += without[i] / 27;
        assert_true(fabs(with[i] - with[0]) < 0.03); /* a shift in front of a batch norm is nothing */
    }
    assert_true(sum[0] > sum[1] + 0.05);
}

/* --- the evolution on a function ---------------------------------------------------------------------------------- */
enum { GENES = 20, VALUES = 4 };

typedef struct onemax {
    int hidden[GENES];
} onemax;

static nas_status count_right(const nas_architecture *a, double share, double *metrics, void *user) {
    const onemax *o = user;
    (void)share;
    metrics[0] = 0;
    for (int i = 0; i < GENES; i++) {
        metrics[0] += nas_architecture_get(a, i) == (uint64_t)1 << o->hidden[i];
    }
    return NAS_OK;
}

static nas_module *genes_new(int n, const int *candidates) {
    nas_module *parts[GENES];
    for (int i = 0; i < n; i++) {
        nas_candidate c[8] = {0};
        char key[16];
        snprintf(key, sizeof key, "gene%d", i);
        for (int k = 0; k < candidates[i]; k++) {
            c[k].module = nas_identity_new();
        }
        parts[i] = nas_layer_choice(NULL, key, candidates[i], c);
    }
    return nas_sequential(nas_sequential_new(n, parts), nas_dense(.in = 2, .out = 2));
}

static nas_dataset *nothing(void) {
    const float x[8] = {0}, y[4] = {0, 1, 0, 1};
    return nas_dataset_from_arrays(4, 1, (int64_t[]){2}, x, 1, y, 2);
}

static void the_constants_solve_twenty_genes(void **unused) {
    (void)unused;
    int candidates[GENES];
    for (int i = 0; i < GENES; i++) {
        candidates[i] = VALUES;
    }
    for (uint64_t seed = 1; seed <= 10; seed++) {
        onemax o;
        nas_rng rng = nas_rng_new(seed, 5);
        for (int i = 0; i < GENES; i++) {
            o.hidden[i] = (int)nas_rng_below(&rng, VALUES);
        }
        nas_module *model = genes_new(GENES, candidates);
        nas_dataset *data[2] = {nothing(), nothing()};
        nas_trainer *t = nas_trainer_new(&(nas_trainer_config){.model = model,
                                                               .strategy = "spos",
                                                               .options = "evaluate=standalone",
                                                               .batch_size = 2,
                                                               .dataset_train = data[0],
                                                               .dataset_valid = data[1],
                                                               .log_frequency = NAS_NONE,
                                                               .seed = seed,
                                                               .threads = 1,
                                                               .trial = count_right,
                                                               .user = &o});
        assert_no_error();
        assert_int_equal(nas_trainer_train(t), NAS_OK);
        assert_int_equal(trials_of(t)->n_done, 50 * 21);
        double first = 0, best;
        for (int i = 0; i < 50; i++) {
            first = fmax(first, trials_of(t)->done[i]->fitness);
        }
        nas_trainer_best(t, &best);
        assert_true(first <= 13 && best >= 18);
        nas_trainer_free(t);
        nas_module_free(model);
        nas_dataset_free(data[0]);
        nas_dataset_free(data[1]);
    }
}

/* --- limits ------------------------------------------------------------------------------------------------------ */
/* Of 400 random architectures. */
static int within_limits(nas_trainer *t) {
    nas_architecture *a = nas_architecture_new(t->s.space);
    nas_rng rng = nas_rng_new(1, 9);
    int within = 0;
    for (int i = 0; i < 400; i++) {
        nas_architecture_random(a, &rng);
        within += nas__within_limits(t, a);
    }
    nas_architecture_free(a);
    return within;
}

static void limits_hold_and_nothing_is_judged_twice(void **unused) {
    (void)unused;
    planted p = planted_cost_new(PLANTED_CLASSES, 400, 1);
    p.config.num_epochs = 1;
    for (int tight = 0; tight < 2; tight++) {
        const char *options =
            tight ? "population=7,generations=0" : "population=20,generations=5,mutants=8,children=8,top=5";
        p.config.limits = tight ? "macs=100" : "macs=250";
        nas_trainer *t = trainer_of(&p, options);
        assert_in_range(within_limits(t), tight ? 0 : 20, tight ? 3 : 200);
        assert_int_equal(nas_trainer_train(t), NAS_OK);
        const nas__trials *trials = trials_of(t);
        assert_int_equal(trials->n_done, tight ? 7 : 120);
        for (size_t i = 0; i < trials->n_done; i++) {
            double cost = nas__limit_cost(t, 0, trials->done[i]->architecture);
            assert_true(cost > 0 && cost <= t->limits.of[0].most);
            for (size_t j = 0; j < i; j++) {
                assert_true(trials->done[i]->hash != trials->done[j]->hash);
            }
        }
        nas_trainer_free(t);
    }
    planted_free(&p);
}

/* --- found, and found again -------------------------------------------------------------------------------------- */
static const char small_search[] = "population=20,generations=8,top=5,mutants=10,children=10";

static void finds_what_was_planted(void **unused) {
    (void)unused;
    static const char *const sampling[] = {"uniform", "fair"};
    for (int k = 0; k < 2; k++) {
        for (uint64_t seed = 1; seed <= 5; seed++) {
            planted p = planted_new(PLANTED_CLASSES, 3000, seed);
            char options[128];
            snprintf(options, sizeof options, "sampling=%s,%s", sampling[k], small_search);
            p.config.num_epochs = k ? 4 : 12;
            nas_trainer *t = trainer_of(&p, options);
            assert_int_equal(nas_trainer_train(t), NAS_OK);
            int found = planted_found(nas_trainer_best(t, NULL), seed);
            nas_trainer_free(t);
            planted_free(&p);
            if (found != PLANTED_CHOICES) {
                fail_msg("%s, seed %d: %d of %d right", sampling[k], (int)seed, found, PLANTED_CHOICES);
            }
        }
    }
}

/* Without a relation to the labels, and with weights as they began, the best is any architecture. */
static void nothing_is_found_without_its_parts(void **unused) {
    (void)unused;
    for (int untrained = 0; untrained < 2; untrained++) {
        int right = 0;
        for (uint64_t seed = 1; seed <= 4; seed++) {
            planted p = planted_new(untrained ? PLANTED_CLASSES : PLANTED_SHUFFLED, 3000, seed);
            p.config.num_epochs = untrained ? 1 : 6;
            p.config.strategy = "spos";
            p.config.options = "population=20,generations=2,mutants=10,children=10";
            p.config.optimizer = nas_sgd(.lr = untrained ? 1e-12 : 0.05);
            nas_trainer *t = nas_trainer_new(&p.config);
            assert_no_error();
            assert_int_equal(nas_trainer_train(t), NAS_OK);
            right += planted_found(nas_trainer_best(t, NULL), seed);
            nas_trainer_free(t);
            planted_free(&p);
        }
        assert_in_range(right, 0, 13); /* of 24, of which chance finds 6 with a deviation of 2.1 */
    }
}

static void resumes_to_the_same_bits(void **unused) {
    (void)unused;
    static const int stops[] = {14, 14 + 43}; /* in the second epoch; at the 27th trial */
    assert_trials_resume(trainer_of, "population=10,generations=4,top=3,mutants=4,children=4", 50, 2, stops);
    assert_trials_resume(trainer_of, "population=10,generations=4,top=3,mutants=4,children=4,sampling=fair", 50, 2,
                         stops);
}

/* --- refused ------------------------------------------------------------------------------------------------------ */
static void fairness_needs_equal_choices(void **unused) {
    (void)unused;
    nas_dataset *data[2] = {nothing(), nothing()};
    nas_module *models[] = {genes_new(2, (const int[]){4, 3}), nas_space_build("chain", NULL)};
    static const char *const reason[] = {"gene1", "skip"};
    for (int i = 0; i < 2; i++) {
        nas_trainer_config config = {.model = models[i],
                                     .strategy = "spos",
                                     .options = "sampling=fair",
                                     .batch_size = 2,
                                     .dataset_train = data[0],
                                     .dataset_valid = data[1]};
        assert_null(nas_trainer_new(&config));
        assert_error(NAS_UNSUPPORTED, reason[i]);
        config.options = "";
        nas_trainer *t = nas_trainer_new(&config);
        assert_no_error();
        nas_trainer_free(t);
        nas_module_free(models[i]);
    }
    nas_dataset_free(data[0]);
    nas_dataset_free(data[1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fair_steps_run_all_candidates_equally_often),
        cmocka_unit_test(uniform_paths_are_uniform),
        cmocka_unit_test(without_calibration_scores_are_worse),
        cmocka_unit_test(the_constants_solve_twenty_genes),
        cmocka_unit_test(limits_hold_and_nothing_is_judged_twice),
        cmocka_unit_test(finds_what_was_planted),
        cmocka_unit_test(nothing_is_found_without_its_parts),
        cmocka_unit_test(resumes_to_the_same_bits),
        cmocka_unit_test(fairness_needs_equal_choices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
