/* Warm starts: the random beginning of a search is the best of many by a cheap score; worth something when the score
 * is, and nothing when it is shuffled. On the table of NAS-Bench-Macro, where a trial is a look. labels: slow */
#include "support.h"

#include "search/trials.h"
#include "search/truth.h"
#include "space/space.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MACRO "tests/data/tables/nas-bench-macro.csv"
enum { MOST = 400 };

typedef struct run {
    nas_module *model;
    nas_dataset *data[2];
    nas_trainer *trainer;
    const nas__trials *trials;
    bool guesses; /* by what has no relation to how good it is */
    uint64_t seed;
    struct {
        uint64_t hash;
        double score;
    } asked[MOST];
    int n_asked, stop_at;
} run;

/* Without any relation to how good it is. */
static double shuffled(uint64_t hash, uint64_t seed) {
    nas_rng rng = nas_rng_new(seed, hash);
    return nas_rng_uniform(&rng);
}

static double guess(const nas_architecture *a, void *user) {
    run *r = user;
    uint64_t hash = nas_architecture_hash(a);
    r->asked[r->n_asked].hash = hash;
    return r->asked[r->n_asked++].score = shuffled(hash, r->seed);
}

static bool on_step(const nas_progress *p, void *user) {
    const run *r = user;
    return r->stop_at > 0 && p->trial >= r->stop_at;
}

static void open_run(run *r, const char *strategy, const char *options, uint64_t seed, const char *run_dir) {
    struct {
        int channels;
    } narrow = {1};
    char all[400];
    const float x[4 * 64] = {0}, y[4] = {0, 1, 0, 1};
    snprintf(all, sizeof all, "evaluate=table,table=" MACRO ":seen=test_acc_1:truth=mean_acc,%s", options);
    r->seed = seed;
    r->model = nas_space_build(
        "macro", &(nas_space_config){.channels = 1, .height = 8, .width = 8, .outputs = 2, .options = &narrow});
    for (int i = 0; i < 2; i++) {
        r->data[i] = nas_dataset_from_arrays(4, 3, (int64_t[]){1, 8, 8}, x, 1, y, 2);
    }
    r->trainer = nas_trainer_new(&(nas_trainer_config){.model = r->model,
                                                       .space_name = "macro",
                                                       .strategy = strategy,
                                                       .options = all,
                                                       .batch_size = 2,
                                                       .dataset_train = r->data[0],
                                                       .dataset_valid = r->data[1],
                                                       .log_frequency = NAS_NONE,
                                                       .seed = seed,
                                                       .threads = 1,
                                                       .run_dir = run_dir,
                                                       .resume = run_dir != NULL,
                                                       .guess = r->guesses ? guess : NULL,
                                                       .on_step = on_step,
                                                       .user = r});
    r->trials = r->trainer ? r->trainer->s.memory : NULL;
}

static void close_run(run *r) {
    nas_trainer_free(r->trainer);
    nas_module_free(r->model);
    nas_dataset_free(r->data[0]);
    nas_dataset_free(r->data[1]);
}

/* --- is it worth something? ----------------------------------------------------------------------------------------
 */
typedef struct regret {
    double mean, error; /* of the mean */
} regret;

static regret regret_of(const char *options, bool guesses, const nas__truth *truth) {
    enum { SEEDS = 120 };
    double sum = 0, squares = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        run r = {.guesses = guesses};
        open_run(&r, "evolution", options, seed, NULL);
        assert_no_error();
        assert_int_equal(nas_trainer_train(r.trainer), NAS_OK);
        double value = nas__truth_best(truth) - nas__truth_of(truth, "macro", nas_trainer_best(r.trainer, NULL))->truth;
        sum += value;
        squares += value * value;
        close_run(&r);
    }
    double mean = sum / SEEDS;
    return (regret){mean, sqrt((squares / SEEDS - mean * mean) / (SEEDS - 1))};
}

/* Multiply-adds know something in this space (Spearman 0.75 with accuracy). */
static void a_warm_start_is_worth_what_its_score_is(void **unused) {
    (void)unused;
#define TWENTY "trials=20,population=10,sample=3"
    nas__truth *truth = nas__truth_open(MACRO ",seen=mean_acc", false);
    regret cold = regret_of(TWENTY, false, truth);
    regret warm = regret_of(TWENTY ",warm_start=macs,warm_samples=60", false, truth);
    regret blind = regret_of(TWENTY ",warm_start=macs,warm_samples=60", true, truth);
    print_message("regret after 20 trials: cold %.4f (%.4f), warm %.4f (%.4f), shuffled %.4f (%.4f)\n", cold.mean,
                  cold.error, warm.mean, warm.error, blind.mean, blind.error);
    assert_true(warm.mean + 3 * hypot(warm.error, cold.error) < cold.mean);
    assert_true(fabs(blind.mean - cold.mean) < 3 * hypot(blind.error, cold.error));
    nas__truth_free(truth);
}

/* --- what the beginning is -----------------------------------------------------------------------------------------
 */
static void the_beginning_is_the_best_of_the_sample(void **unused) {
    (void)unused;
    static const struct {
        const char *strategy, *options;
        size_t beginning;
        double share;
    } rows[] = {{"evolution", "population=10,sample=3", 10, 1},
                {"tpe", "startup=8", 8, 1},
                {"local", "starts=6", 6, 1},
                {"nsga2", "population=12", 12, 1},
                {"asha", "rungs=3", 9, 1.0 / 9},
                {"hyperband", "rungs=3", 9, 1.0 / 9},
                {"bohb", "rungs=2", 3, 1.0 / 3}};
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        char options[200];
        snprintf(options, sizeof options, "trials=40,warm_start=synflow,warm_samples=50,%s", rows[k].options);
        run r = {.guesses = true};
        open_run(&r, rows[k].strategy, options, 3, NULL);
        assert_no_error();
        assert_int_equal(nas_trainer_train(r.trainer), NAS_OK);
        assert_int_equal(r.n_asked, 50);
        size_t met = 0;
        for (size_t i = 0; i < r.trials->n_done && met < rows[k].beginning; i++) {
            const nas__trial *trial = r.trials->done[i];
            if (fabs(trial->share - rows[k].share) > 1e-9) {
                continue; /* asha promotes in between */
            }
            size_t better = 0, known = 0;
            for (int j = 0; j < r.n_asked; j++) {
                better += r.asked[j].score > shuffled(trial->hash, 3);
                known += r.asked[j].hash == trial->hash;
            }
            assert_int_equal(known, 1);
            assert_int_equal(better, met++);
        }
        assert_int_equal(met, rows[k].beginning);
        close_run(&r);
    }
}

static void a_resumed_search_is_the_same(void **unused) {
    (void)unused;
#define OPTIONS "trials=40,population=10,sample=3,warm_start=synflow,warm_samples=50"
    run whole = {.guesses = true}, parts[2] = {{.guesses = true, .stop_at = 7}, {.guesses = true}};
    char *directory = temporary_directory();
    open_run(&whole, "evolution", OPTIONS, 4, NULL);
    assert_int_equal(nas_trainer_train(whole.trainer), NAS_OK);
    for (int i = 0; i < 2; i++) {
        open_run(&parts[i], "evolution", OPTIONS, 4, directory);
        assert_no_error();
        assert_int_equal(nas_trainer_train(parts[i].trainer), NAS_OK);
        assert_int_equal(parts[i].n_asked, i == 0 ? 50 : 0); /* the checkpoint knows */
        if (i == 0) {
            close_run(&parts[i]);
        }
    }
    assert_int_equal(whole.trials->n_done, parts[1].trials->n_done);
    for (size_t i = 0; i < whole.trials->n_done; i++) {
        assert_true(whole.trials->done[i]->hash == parts[1].trials->done[i]->hash);
    }
    close_run(&whole);
    close_run(&parts[1]);
    remove_directory(directory);
}

static void what_cannot_be_is_refused(void **unused) {
    (void)unused;
    static const char *const without[] = {"random", "grid", "rl"};
    for (int i = 0; i < 3; i++) {
        run r = {0};
        open_run(&r, without[i], "warm_start=macs", 1, NULL);
        assert_null(r.trainer);
        assert_error(NAS_UNSUPPORTED, "there is none here");
        close_run(&r);
    }
    run r = {0};
    open_run(&r, "evolution", "warm_start=synflow", 1, NULL);
    assert_null(r.trainer);
    assert_error(NAS_USAGE, ".guess");
    close_run(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_warm_start_is_worth_what_its_score_is),
        cmocka_unit_test(the_beginning_is_the_best_of_the_sample),
        cmocka_unit_test(a_resumed_search_is_the_same),
        cmocka_unit_test(what_cannot_be_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
