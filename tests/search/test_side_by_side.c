/* Trials side by side: what is proposed and in which order does not depend on who is done first, and a search that ends
 * in the middle loses nothing that was done. */
#include "search/run_log.h"
#include "support.h"

#include "search/trials.h"
#include "space/space.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHOICES = 6, CANDIDATES = 4, MOST = 64 };

/* --- a runner that ends trials in an order of its own ------------------------------------------------------------ */
typedef enum rule { OLDEST_FIRST, NEWEST_FIRST, BY_CHANCE } rule;

typedef struct bench {
    nas_trial_runner runner;
    rule order;
    nas_rng rng;
    struct {
        int64_t number;
        double value, share;
        uint64_t hash;
    } running[MOST];
    int n_running, most_running, started, cancelled;
    int stop_after; /* trials that were judged, of this runner; 0: none stops it */
    int ended;
    int64_t fails; /* this trial does */
    nas_trainer *trainer;
} bench;

static double value_of(const nas_architecture *a) {
    double sum = 0;
    for (int i = 0; i < CHOICES; i++) {
        sum += (nas_architecture_get(a, i) == 1u << (i % CANDIDATES)) * (1 + 0.01 * i);
    }
    return sum;
}

static nas_status start(const nas_trial_request *r, void *user) {
    bench *b = user;
    for (int i = 0; i < b->n_running; i++) { /* one training of an architecture at a time */
        assert_true(b->running[i].hash != nas_architecture_hash(r->architecture));
    }
    b->running[b->n_running].number = r->number;
    b->running[b->n_running].value = value_of(r->architecture);
    b->running[b->n_running].share = r->share;
    b->running[b->n_running++].hash = nas_architecture_hash(r->architecture);
    b->most_running = b->n_running > b->most_running ? b->n_running : b->most_running;
    assert_true(b->n_running <= b->runner.jobs);
    b->started++;
    return NAS_OK;
}

static nas_status wait_for_one(double seconds, nas_trial_result *result, void *user) {
    bench *b = user;
    assert_true(b->n_running > 0 && seconds > 0);
    if (b->stop_after > 0 && b->ended == b->stop_after) {
        nas_trainer_stop(b->trainer);
        return NAS_OK;
    }
    int k = b->order == OLDEST_FIRST   ? 0
            : b->order == NEWEST_FIRST ? b->n_running - 1
                                       : (int)nas_rng_below(&b->rng, (uint32_t)b->n_running);
    *result = (nas_trial_result){.number = b->running[k].number};
    result->metrics[0] = b->running[k].value;
    if (b->running[k].number == b->fails) {
        snprintf(result->failure, sizeof result->failure, "it was made to");
    }
    memmove(&b->running[k], &b->running[k + 1], (size_t)(--b->n_running - k) * sizeof *b->running);
    b->ended++;
    return NAS_OK;
}

static void cancel(void *user) {
    bench *b = user;
    b->cancelled += b->n_running;
    b->n_running = 0;
}

/* --- a search ---------------------------------------------------------------------------------------------------- */
typedef struct setting {
    bench bench;
    nas_module *model;
    nas_dataset *data[2];
    nas_trainer *trainer;
    const nas__trials *trials;
} setting;

static void open_setting(setting *s, const char *strategy, const char *options, int jobs, rule order,
                         const char *run_dir) {
    nas_module *parts[CHOICES + 1];
    for (int i = 0; i < CHOICES; i++) {
        char key[8];
        nas_candidate c[CANDIDATES];
        for (int k = 0; k < CANDIDATES; k++) {
            c[k] = (nas_candidate){NULL, nas_identity_new()};
        }
        snprintf(key, sizeof key, "c%d", i);
        parts[i] = nas_layer_choice(NULL, key, CANDIDATES, c);
    }
    parts[CHOICES] = nas_dense(.in = 2, .out = 2);
    const float x[8] = {0}, y[4] = {0, 1, 0, 1};
    for (int i = 0; i < 2; i++) {
        s->data[i] = nas_dataset_from_arrays(4, 1, (int64_t[]){2}, x, 1, y, 2);
    }
    s->model = nas_sequential_new(CHOICES + 1, parts);
    s->bench.order = order;
    s->bench.rng = nas_rng_new(3, (uint64_t)jobs);
    s->bench.runner =
        (nas_trial_runner){.jobs = jobs, .start = start, .wait = wait_for_one, .cancel = cancel, .user = &s->bench};
    s->trainer = s->bench.trainer = nas_trainer_new(&(nas_trainer_config){.model = s->model,
                                                                          .strategy = strategy,
                                                                          .options = options,
                                                                          .batch_size = 2,
                                                                          .num_epochs = 9,
                                                                          .dataset_train = s->data[0],
                                                                          .dataset_valid = s->data[1],
                                                                          .log_frequency = NAS_NONE,
                                                                          .seed = 5,
                                                                          .threads = 1,
                                                                          .runner = &s->bench.runner,
                                                                          .run_dir = run_dir,
                                                                          .resume = run_dir != NULL});
    s->trials = s->trainer ? s->trainer->s.memory : NULL;
}

static void close_setting(setting *s) {
    nas_trainer_free(s->trainer);
    nas_module_free(s->model);
    nas_dataset_free(s->data[0]);
    nas_dataset_free(s->data[1]);
}

static void search(setting *s, const char *strategy, int jobs, rule order) {
    char options[80];
    snprintf(options, sizeof options, "trials=120%s",
             strcmp(strategy, "evolution") == 0 ? ",population=10,sample=4"
             : strcmp(strategy, "rl") == 0      ? ",lr=0.01"
             : strcmp(strategy, "rl-ppo") == 0  ? ",update=ppo,samples=10,lr=0.01"
                                                : "");
    *s = (setting){0};
    open_setting(s, strncmp(strategy, "rl", 2) == 0 ? "rl" : strategy, options, jobs, order, NULL);
    assert_no_error();
    assert_int_equal(nas_trainer_train(s->trainer), NAS_OK);
    assert_int_equal(s->trials->evaluations, 120);
    assert_int_equal(s->bench.cancelled, 0);
}

static bool same_history(const nas__trials *a, const nas__trials *b) {
    bool same = a->n_done == b->n_done;
    for (size_t i = 0; same && i < a->n_done; i++) {
        same = nas_architecture_equal(a->done[i]->architecture, b->done[i]->architecture) &&
               a->done[i]->share == b->done[i]->share && a->done[i]->fitness == b->done[i]->fitness &&
               a->done[i]->repeated == b->done[i]->repeated;
    }
    return same;
}

static void who_is_done_first_changes_nothing(void **unused) {
    (void)unused;
    static const char *const strategies[] = {"random",    "grid", "evolution", "local",  "tpe",  "asha",
                                             "hyperband", "bohb", "rl",        "rl-ppo", "nsga2"};
    for (size_t i = 0; i < sizeof strategies / sizeof *strategies; i++) {
        for (int jobs = 2; jobs <= 5; jobs += 3) {
            setting first, other;
            search(&first, strategies[i], jobs, OLDEST_FIRST);
            assert_int_equal(first.bench.most_running, jobs);
            for (rule o = NEWEST_FIRST; o <= BY_CHANCE; o++) {
                search(&other, strategies[i], jobs, o);
                if (!same_history(first.trials, other.trials)) {
                    fail_msg("%s, %d jobs: the order in which trials end changes the search", strategies[i], jobs);
                }
                close_setting(&other);
            }
            close_setting(&first);
        }
    }
}

/* Those that need no results, or wait for all of a round, search as one by one; the others cannot know as much. */
static void side_by_side_is_one_by_one(void **unused) {
    (void)unused;
    static const struct {
        const char *strategy;
        bool same;
    } rows[] = {{"random", true}, {"grid", true}, {"hyperband", true}, {"nsga2", true}, {"evolution", false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        setting one, many;
        search(&one, rows[i].strategy, 1, OLDEST_FIRST);
        search(&many, rows[i].strategy, 4, BY_CHANCE);
        if (same_history(one.trials, many.trials) != rows[i].same) {
            fail_msg("%s with 4 jobs is %s one by one", rows[i].strategy, rows[i].same ? "not as" : "as");
        }
        close_setting(&one);
        close_setting(&many);
    }
}

static void nobody_is_promoted_twice(void **unused) {
    (void)unused;
    setting s;
    search(&s, "asha", 4, BY_CHANCE);
    int on[3] = {0};
    for (size_t i = 0; i < s.trials->n_done; i++) {
        const nas__trial *trial = s.trials->done[i];
        on[trial->share > 0.9 ? 2 : trial->share > 0.3 ? 1 : 0]++;
        for (size_t j = 0; j < i; j++) {
            assert_true(trial->hash != s.trials->done[j]->hash || trial->share != s.trials->done[j]->share);
        }
    }
    assert_true(on[2] > 0 && on[1] > on[2] && on[0] > on[1]);
    close_setting(&s);
}

static void a_failure_costs_one_trial(void **unused) {
    (void)unused;
    setting s = {.bench = {.fails = 3}}, whole;
    open_setting(&s, "random", "trials=20", 3, NEWEST_FIRST, NULL);
    assert_int_equal(nas_trainer_train(s.trainer), NAS_OK);
    search(&whole, "random", 1, OLDEST_FIRST);
    assert_int_equal(s.trials->n_done, 20);
    for (size_t i = 0; i < 20; i++) {
        assert_true(s.trials->done[i]->hash == whole.trials->done[i]->hash);
        assert_true(i == 2 ? isnan(s.trials->done[i]->metrics[0])
                           : s.trials->done[i]->fitness == whole.trials->done[i]->fitness);
    }
    close_setting(&s);
    close_setting(&whole);
}

/* Stopped in the middle, without a checkpoint of what was done since the start when `lost`: only what ran is run again.
 */
static void resume(const char *strategy, bool lost, int jobs_then) {
    char *directory = temporary_directory(), path[300];
    setting whole = {0}, parts[2] = {{.bench = {.stop_after = 31}}};
    open_setting(&whole, strategy, "trials=80", 3, NEWEST_FIRST, NULL);
    assert_int_equal(nas_trainer_train(whole.trainer), NAS_OK);
    open_setting(&parts[0], strategy, "trials=80", 3, NEWEST_FIRST, directory);
    assert_int_equal(nas_trainer_train(parts[0].trainer), NAS_OK);
    assert_true(nas_trainer_stopped(parts[0].trainer) && parts[0].bench.cancelled > 0);
    close_setting(&parts[0]);
    if (lost) {
        snprintf(path, sizeof path, "%s/checkpoint-00001.safetensors", directory);
        assert_int_equal(remove(path), 0);
    }
    open_setting(&parts[1], strategy, "trials=80", jobs_then, BY_CHANCE, directory);
    assert_no_error();
    assert_int_equal(nas_trainer_train(parts[1].trainer), NAS_OK);
    assert_int_equal(parts[1].trials->evaluations, 80);
    if (jobs_then == 3) {
        assert_true(same_history(whole.trials, parts[1].trials));
        assert_int_equal(parts[1].bench.started, 80 - 31);
    }
    close_setting(&parts[1]);
    char *evaluations = log_rows(directory, "SELECT count(*) FROM evaluation");
    assert_string_equal(evaluations, "80 \n");
    free(evaluations);
    close_setting(&whole);
    remove_directory(directory);
}

static void a_resumed_search_runs_nothing_twice(void **unused) {
    (void)unused;
    resume("random", false, 3);
    resume("random", true, 3);
    resume("evolution", true, 3);
    resume("asha", true, 3);
    resume("hyperband", false, 3);
    resume("nsga2", true, 3);
    resume("tpe", false, 2); /* with fewer jobs it goes on, from the same history */
}

static void what_cannot_be_is_refused(void **unused) {
    (void)unused;
    setting s = {0};
    open_setting(&s, "darts", NULL, 2, OLDEST_FIRST, NULL);
    assert_null(s.trainer);
    assert_error(NAS_UNSUPPORTED, "no trials that could run side by side");
    close_setting(&s);
    s = (setting){0};
    open_setting(&s, "random", "evaluate=shared", 2, OLDEST_FIRST, NULL);
    assert_null(s.trainer);
    assert_error(NAS_UNSUPPORTED, "weights that all share");
    close_setting(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_is_done_first_changes_nothing),
        cmocka_unit_test(side_by_side_is_one_by_one),
        cmocka_unit_test(nobody_is_promoted_twice),
        cmocka_unit_test(a_failure_costs_one_trial),
        cmocka_unit_test(a_resumed_search_runs_nothing_twice),
        cmocka_unit_test(what_cannot_be_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
