/* Searches on the table of NAS-Bench-Macro: random search leads to what theory says, the others to what was published
 * with the table (regret of the network that looks best; a look is one of its three trainings), and what is told beside
 * the result. Evolution is a little better here than there, as what is known costs no trial. labels: slow */
#include "search/planted.h"
#include "support.h"

#include "search/truth.h"

#include <espalier/search.h>

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MACRO "tests/data/tables/nas-bench-macro.csv"
enum { SEEDS = 240, POINTS = 3, EACH = 50 };

typedef struct run {
    nas_module *model;
    nas_dataset *data[2];
    nas_trainer *trainer;
    nas__truth *truth; /* the mean of all three trainings */
    double found[POINTS];
} run;

static bool on_step(const nas_progress *p, void *user) {
    run *r = user;
    if (p->trial > 0 && p->trial % EACH == 0 && p->trial <= POINTS * EACH) {
        const nas__truth_row *row = nas__truth_of(r->truth, "macro", nas_trainer_best(r->trainer, NULL));
        assert_non_null(row);
        r->found[p->trial / EACH - 1] = row->truth;
    }
    return false;
}

static void open_run(run *r, const char *strategy, const char *options, uint64_t seed) {
    struct {
        int channels;
    } narrow = {1};
    const float x[4 * 64] = {0}, y[4] = {0, 1, 0, 1};
    r->model = nas_space_build(
        "macro", &(nas_space_config){.channels = 1, .height = 8, .width = 8, .outputs = 2, .options = &narrow});
    for (int i = 0; i < 2; i++) {
        r->data[i] = nas_dataset_from_arrays(4, 3, (int64_t[]){1, 8, 8}, x, 1, y, 2);
    }
    r->trainer = nas_trainer_new(&(nas_trainer_config){.model = r->model,
                                                       .space_name = "macro",
                                                       .strategy = strategy,
                                                       .options = options,
                                                       .batch_size = 2,
                                                       .dataset_train = r->data[0],
                                                       .dataset_valid = r->data[1],
                                                       .log_frequency = NAS_NONE,
                                                       .seed = seed,
                                                       .threads = 1,
                                                       .on_step = on_step,
                                                       .user = r});
}

static void close_run(run *r) {
    nas_trainer_free(r->trainer);
    nas_module_free(r->model);
    nas_dataset_free(r->data[0]);
    nas_dataset_free(r->data[1]);
}

typedef struct regret {
    double mean[POINTS], error[POINTS]; /* of the mean */
} regret;

/* With the s-th seed a network's look is the s-th of its three trainings. */
static regret regret_of(const char *strategy, const char *extra, nas__truth *truth, const char *seen) {
    double best = nas__truth_best(truth);
    regret g = {0};
    double squares[POINTS] = {0};
    for (int seed = 1; seed <= SEEDS; seed++) {
        char options[400], one[20];
        double last = 0;
        run r = {.truth = truth};
        snprintf(one, sizeof one, "test_acc_%d", seed % 3 + 1);
        snprintf(options, sizeof options, "evaluate=table,table=" MACRO ":seen=%s,trials=%d%s", seen ? seen : one,
                 POINTS * EACH, extra);
        open_run(&r, strategy, options, (uint64_t)seed);
        assert_no_error();
        assert_int_equal(nas_trainer_train(r.trainer), NAS_OK);
        for (int i = 0; i < POINTS; i++) {
            last = r.found[i] > 0 ? r.found[i] : last; /* it may have run out of new ones before */
            double value = best - last;
            g.mean[i] += value / SEEDS;
            squares[i] += value * value / SEEDS;
        }
        close_run(&r);
    }
    for (int i = 0; i < POINTS; i++) {
        g.error[i] = sqrt((squares[i] - g.mean[i] * g.mean[i]) / (SEEDS - 1));
    }
    return g;
}

static void random_is_what_theory_says(void **unused) {
    (void)unused;
    nas__truth *truth = nas__truth_open(MACRO ",seen=mean_acc", false);
    regret g = regret_of("random", "", truth, "mean_acc");
    for (int i = 0; i < POINTS; i++) {
        double expected = nas__truth_best(truth) - nas__truth_best_of(truth, (i + 1) * EACH);
        print_message("random %d: %.4f, theory %.4f (standard error %.4f)\n", (i + 1) * EACH, g.mean[i], expected,
                      g.error[i]);
        assert_true(fabs(g.mean[i] - expected) < 3 * g.error[i]);
    }
    nas__truth_free(truth);
}

static void regrets_are_those_of_the_fixture(void **unused) {
    (void)unused;
    enum { RUNS = 300 }; /* behind the fixture */
    static const struct {
        const char *strategy, *options;
        double mean[POINTS], deviation[POINTS];
    } fixture[] = {
        {"random", "", {.41, .34, .30}, {.18, .17, .17}},
        {"evolution", ",population=20,sample=5", {.29, .15, .10}, {.19, .14, .11}},
        {"local", "", {.22, .13, .10}, {.16, .11, .10}},
        {"tpe", ",forgetting=0", {.30, .25, .23}, {.19, .17, .16}},
    };
    nas__truth *truth = nas__truth_open(MACRO ",seen=mean_acc", false);
    regret random = {0};
    for (size_t k = 0; k < sizeof fixture / sizeof *fixture; k++) {
        regret g = regret_of(fixture[k].strategy, fixture[k].options, truth, NULL);
        random = k == 0 ? g : random;
        for (int i = 0; i < POINTS; i++) {
            double error = hypot(g.error[i], fixture[k].deviation[i] / sqrt(RUNS));
            double rounding = 0.005;
            print_message("%s %d: %.4f (%.4f), fixture %.2f\n", fixture[k].strategy, (i + 1) * EACH, g.mean[i],
                          g.error[i], fixture[k].mean[i]);
            if (!(fabs(g.mean[i] - fixture[k].mean[i]) < 3 * error + rounding)) {
                fail_msg("%s after %d trials: regret %.4f, not %.2f within %.4f", fixture[k].strategy, (i + 1) * EACH,
                         g.mean[i], fixture[k].mean[i], 3 * error + rounding);
            }
        }
        if (k > 0 && !(g.mean[1] + 3 * hypot(g.error[1], random.error[1]) < random.mean[1])) {
            fail_msg("%s does not beat random after 100 trials", fixture[k].strategy);
        }
    }
    nas__truth_free(truth);
}

/* The numbers beside the result follow from the table. */
static void the_result_tells_the_truth(void **unused) {
    (void)unused;
    run r = {.truth = nas__truth_open(MACRO, false)};
    open_run(&r, "evolution",
             "evaluate=table,table=" MACRO
             ":seen=test_acc_1:truth=test_acc_2+test_acc_3,trials=60,population=10,sample=3",
             7);
    assert_int_equal(nas_trainer_train(r.trainer), NAS_OK);
    char *directory = temporary_directory(), path[400];
    snprintf(path, sizeof path, "%s/final_architecture.json", directory);
    assert_int_equal(nas_trainer_export(r.trainer, path), NAS_OK);
    char *text = file_text(directory, "search-result.json");
    json_t *result = json_loads(text, 0, NULL), *table = json_object_get(result, "table");
    const char *name = json_string_value(json_object_get(result, "canonical"));
    nas__truth *t = nas__truth_open(MACRO ",seen=test_acc_1,truth=test_acc_2+test_acc_3", false);
    const nas__truth_row *row = nas__truth_find(t, name);
    int64_t better = 0, as_good = 0;
    for (int64_t i = 0; i < t->n; i++) {
        better += t->rows[i].truth > row->truth;
        as_good += t->rows[i].truth >= row->truth;
    }
    double q = (double)as_good / 6561;
    assert_true(fabs(json_number_value(json_object_get(table, "seen")) - row->seen) < 1e-9);
    assert_true(fabs(json_number_value(json_object_get(table, "truth")) - row->truth) < 1e-9);
    assert_true(fabs(json_number_value(json_object_get(result, "score")) - row->seen) < 1e-9);
    assert_int_equal(json_integer_value(json_object_get(table, "rank")), better + 1);
    assert_true(fabs(json_number_value(json_object_get(table, "chance_of_random")) - (1 - pow(1 - q, 60))) < 1e-9);
    assert_true(fabs(json_number_value(json_object_get(table, "best_of_random")) - nas__truth_best_of(t, 60)) < 1e-9);
    assert_string_equal(json_string_value(json_object_get(result, "split")), "table");
    nas__truth_free(t);
    nas__truth_free(r.truth);
    json_decref(result);
    free(text);
    remove_directory(directory);
    close_run(&r);
}

static void what_cannot_be_is_refused(void **unused) {
    (void)unused;
    run r = {0};
    open_run(&r, "random", "evaluate=table", 1);
    assert_null(r.trainer);
    assert_error(NAS_USAGE, "table=FILE.csv");
    close_run(&r);
    open_run(&r, "tpe", "evaluate=table,table=nowhere.csv", 1);
    assert_null(r.trainer);
    assert_error(NAS_NOT_FOUND, "nowhere.csv");
    close_run(&r);
    char *directory = temporary_directory(), path[300], options[400];
    snprintf(path, sizeof path, "%s/other.csv", directory);
    FILE *f = fopen(path, "w");
    fputs("arch,accuracy\n|none~0|,1\n", f);
    assert_int_equal(fclose(f), 0);
    snprintf(options, sizeof options, "evaluate=table,table=%s", path);
    open_run(&r, "random", options, 1);
    assert_no_error();
    assert_int_equal(nas_trainer_train(r.trainer), NAS_NOT_FOUND);
    assert_error(NAS_NOT_FOUND, "no row for the architecture");
    close_run(&r);
    remove_directory(directory);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_is_what_theory_says),
        cmocka_unit_test(regrets_are_those_of_the_fixture),
        cmocka_unit_test(the_result_tells_the_truth),
        cmocka_unit_test(what_cannot_be_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
