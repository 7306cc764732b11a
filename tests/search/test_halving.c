/* Successive halving in its three forms: who is promoted when, the table of brackets, the density of BOHB's model, and
 * that a training which waited and went on is the training that was never interrupted. labels: slow */
#include "search/planted.h"
#include "support.h"

#include "core/file.h"
#include "search/hyperband.h"
#include "search/kde.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- a judge that knows: the fitness of an architecture is its number of second candidates ------------------------ */
typedef struct record {
    double share[4096];
    int n;
} record;

static nas_status judge(const nas_architecture *a, double share, double *metrics, void *user) {
    record *r = user;
    r->share[r->n++] = share;
    metrics[0] = 0;
    for (int i = 0; i < 8; i++) {
        metrics[0] = 4 * metrics[0] + (double)__builtin_ctzll(nas_architecture_get(a, i));
    }
    return NAS_OK;
}

typedef struct setting {
    nas_module *model;
    nas_dataset *data[2];
    nas_trainer *trainer;
    record *record;
} setting;

static setting searched(const char *strategy, const char *options, uint64_t seed) {
    setting s = {.record = calloc(1, sizeof(record))};
    nas_module *parts[9];
    for (int i = 0; i < 8; i++) {
        char key[8];
        snprintf(key, sizeof key, "c%d", i);
        parts[i] = nas_layer_choice(NULL, key, 4,
                                    ((nas_candidate[]){{NULL, nas_identity_new()},
                                                       {NULL, nas_identity_new()},
                                                       {NULL, nas_identity_new()},
                                                       {NULL, nas_identity_new()}}));
    }
    parts[8] = nas_dense(.in = 2, .out = 2);
    s.model = nas_sequential_new(9, parts);
    const float x[8] = {0}, y[4] = {0, 1, 0, 1};
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
                                                      .user = s.record});
    assert_no_error();
    assert_int_equal(nas_trainer_train(s.trainer), NAS_OK);
    return s;
}

static void setting_free(setting *s) {
    nas_trainer_free(s->trainer);
    nas_module_free(s->model);
    nas_dataset_free(s->data[0]);
    nas_dataset_free(s->data[1]);
    free(s->record);
}

/* --- asha ------------------------------------------------------------------------------------------------------------
 */
/* How many on a rung were done before trial `end` and are better than `trial`. */
static size_t better_before(const nas__trials *t, size_t end, double share, double fitness, size_t *all) {
    size_t better = *all = 0;
    for (size_t i = 0; i < end; i++) {
        *all += t->done[i]->share == share;
        better += t->done[i]->share == share && t->done[i]->fitness > fitness;
    }
    return better;
}

static void the_best_third_is_promoted_once(void **unused) {
    (void)unused;
    setting s = searched("asha", "trials=400,rungs=4", 1);
    const nas__trials *t = s.trainer->s.memory;
    nas__rungs r = {.n = 4, .eta = 3};
    size_t on[4] = {0}, all;
    const nas__trial *best = NULL;
    for (size_t i = 0; i < t->n_done; i++) {
        const nas__trial *trial = t->done[i];
        int rung = nas__rung(&r, trial->share);
        on[rung]++;
        for (size_t j = 0; j < i; j++) { /* never twice on one rung */
            assert_true(trial->hash != t->done[j]->hash || trial->share != t->done[j]->share);
        }
        if (rung > 0) {
            size_t better = better_before(t, i, nas__rung_share(&r, rung - 1), trial->fitness, &all);
            assert_true(better < all / 3);
        }
        best = rung == 0 && (!best || trial->fitness > best->fitness) ? trial : best;
    }
    assert_true(on[0] > 200 && on[3] > 4);
    assert_non_null(nas__trials_find(t, best->hash, 1)); /* without noise the best gets to the top */
    assert_true(nas_architecture_equal(nas_trainer_best(s.trainer, NULL), best->architecture));
    setting_free(&s);
}

/* --- hyperband -----------------------------------------------------------------------------------------------------
 */
static void brackets_are_those_of_the_table(void **unused) {
    (void)unused;
    static const int table[5][5] = {{5}, {8, 2}, {15, 5, 1}, {34, 11, 3, 1}, {81, 27, 9, 3, 1}};
    nas__rungs r = {.n = 5, .eta = 3};
    for (int s = 0; s < 5; s++) {
        int n = nas__bracket_size(&r, s);
        for (int round = 0; round <= s; round++, n /= 3) {
            assert_int_equal(n, table[s][round]);
        }
    }
    setting s = searched("hyperband", "trials=206,rungs=5", 2);
    double units = 0, unit = 81;
    for (int i = 0; i < s.record->n; i++) {
        units += i < 121 ? unit * s.record->share[i] : 0;
    }
    assert_true(fabs(units - 405) < 1e-9); /* of the first bracket */
    int at = 0;
    for (int bracket = 4; bracket >= 0; bracket--) {
        for (int round = 0; round <= bracket; round++) {
            for (int i = 0; i < table[bracket][round]; i++) {
                assert_true(fabs(s.record->share[at++] - pow(3, round - bracket)) < 1e-12);
            }
        }
    }
    assert_int_equal(at, 206);
    setting_free(&s);
}

/* --- bohb ------------------------------------------------------------------------------------------------------------
 */
static void the_density_is_a_product_of_kernels(void **unused) {
    (void)unused;
    nas__gene list[2] = {{0, -1, 4}, {1, -1, 3}};
    nas__genes genes = {.list = list, .n = 2, .most_values = 4};
    int points[] = {0, 1, 0, 2, 3, 1};
    double bandwidth[] = {0.3, 0.5};
    nas__kde kde = {.n = 3, .points = points, .bandwidth = bandwidth};
    double density = nas__kde_density(&kde, &genes, (const int[]){0, 1});
    assert_true(fabs(density - (0.7 * 0.5 + 0.7 * 0.25 + 0.1 * 0.5) / 3) < 1e-15);
    double sum = 0;
    for (int i = 0; i < 12; i++) {
        sum += nas__kde_density(&kde, &genes, (const int[]){i / 3, i % 3});
    }
    assert_true(fabs(sum - 1) < 1e-12);
}

/* The mean fitness, 0..1, of what is new on the lowest rung in the second half of searches, and its standard error. */
static double mean_of_new(const char *strategy, double *error) {
    double sum = 0, squares = 0;
    int n = 0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        setting s = searched(strategy, "trials=300,rungs=3", seed);
        const nas__trials *t = s.trainer->s.memory;
        for (size_t i = t->n_done / 2; i < t->n_done; i++) {
            double fitness = t->done[i]->fitness / 65535;
            if (t->done[i]->share < 0.2) {
                sum += fitness;
                squares += fitness * fitness;
                n++;
            }
        }
        setting_free(&s);
    }
    *error = sqrt((squares / n - sum / n * sum / n) / n);
    return sum / n;
}

/* All fitnesses of the 4^8 architectures are different and evenly spread: 1/2 on average. */
static void the_model_proposes_better_ones(void **unused) {
    (void)unused;
    double error, plain = mean_of_new("hyperband", &error);
    assert_true(fabs(plain - 0.5) < 4 * error);
    double with = mean_of_new("bohb", &error);
    if (!(with > 0.65 && with - 4 * error > plain)) {
        fail_msg("with the model %.3f, without %.3f", with, plain);
    }
}

/* --- trainings that wait -------------------------------------------------------------------------------------------
 */
static nas_module *new_planted(void *user) {
    (void)user;
    return planted_model(2);
}

static double trained(const planted *p, const char *strategy, const char *options, const char *run_dir, int *tops) {
    nas_trainer_config config = p->config;
    config.strategy = strategy;
    config.options = options;
    config.num_epochs = 9;
    config.run_dir = run_dir;
    config.new_model = new_planted;
    config.optimizer = nas_sgd(.lr = 0.05, .momentum = 0.9, .weight_decay = 3e-4);
    nas_trainer *t = nas_trainer_new(&config);
    assert_no_error();
    assert_int_equal(nas_trainer_train(t), NAS_OK);
    const nas__trials *trials = t->s.memory;
    double sum = 0;
    *tops = 0;
    for (size_t i = 0; i < trials->n_done; i++) {
        if (trials->done[i]->share == 1) {
            sum += trials->done[i]->metrics[0] * (double)(trials->done[i]->hash % 1000);
            ++*tops;
        }
    }
    nas_trainer_free(t);
    return sum;
}

static void a_training_that_waited_goes_on(void **unused) {
    (void)unused;
    char *directory = temporary_directory();
    planted p = planted_new(PLANTED_CLASSES, 200, 1);
    int a, b;
    double waited = trained(&p, "asha", "trials=16", directory, &a),
           repeated = trained(&p, "asha", "trials=16", NULL, &b);
    assert_int_equal(a, 1);
    assert_int_equal(a, b);
    assert_true(waited == repeated);
    char *waiting = nas__join(directory, NAS__TRIALS_DIRECTORY);
    assert_false(nas__exists(waiting)); /* nothing waits when the search is over */
    free(waiting);
    planted_free(&p);
    remove_directory(directory);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_best_third_is_promoted_once),     cmocka_unit_test(brackets_are_those_of_the_table),
        cmocka_unit_test(the_density_is_a_product_of_kernels), cmocka_unit_test(the_model_proposes_better_ones),
        cmocka_unit_test(a_training_that_waited_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
