/* A loss or a gradient that is not finite: a search and a training go back to their last good state with a lower rate,
 * once, on a resumed run as on one that was never interrupted; a run without trouble knows nothing of all this. */
#include "search/planted.h"
#include "search/run_log.h"
#include "support.h"

#include "core/file.h"
#include "search/guard.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { EPOCHS = 4 };
static const double rate = 0.05;

/* Where a run is: what its last step told. The loss of the step behind (epoch, step) breaks, while the rate is high. */
static struct {
    int epoch, broken_epoch, stop_epoch;
    int64_t step, broken_step, stop_step;
    double lr, leap;
    bool always, in_gradient, broken;
} now;

static nas_tensor *loss(nas_tensor *output, nas_tensor *target) {
    nas_tensor *value = nas_cross_entropy(output, target);
    if (now.epoch != now.broken_epoch || now.step != now.broken_step || (now.lr < 0.26 * rate && !now.always)) {
        return value;
    }
    now.broken = true;
    now.step = -1; /* a step that is told of comes before the next breakdown */
    return now.leap          ? nas_scale(value, now.leap)
           : now.in_gradient ? nas_add(value, nas_scale(nas_scale(nas_scale(value, 0), 1e38), 1e38))
                             : nas_scale(value, NAN);
}

static bool on_step(const nas_progress *p, void *user) {
    (void)user;
    now.epoch = p->epoch;
    now.step = p->step;
    now.lr = p->lr;
    return p->epoch == now.stop_epoch && p->step == now.stop_step;
}

typedef struct outcome {
    uint64_t weights;
    nas_status status;
    char message[512];
} outcome;

static outcome search(const char *path, const char *strategy, bool resume) {
    planted p = planted_new(PLANTED_CLASSES, 320, 3); /* five steps an epoch */
    nas_trainer_config *c = &p.config;
    c->strategy = strategy;
    c->options = strcmp(strategy, "darts") ? NULL : c->options;
    c->num_epochs = EPOCHS;
    c->optimizer = nas_sgd(.lr = rate, .momentum = 0.9);
    c->loss = loss;
    c->run_dir = path;
    c->resume = resume;
    c->log_frequency = 1;
    c->on_step = on_step;
    now.lr = rate;
    nas_trainer *t = nas_trainer_new(c);
    assert_no_error();
    outcome o = {.status = nas_trainer_train(t)};
    snprintf(o.message, sizeof o.message, "%s", nas_error_message());
    nas_error_clear();
    o.weights = weights_hash(c->model, EVERYTHING);
    nas_trainer_free(t);
    planted_free(&p);
    return o;
}

static outcome train(const char *path, const char *unused, bool resume) {
    (void)unused;
    planted p = planted_new(PLANTED_CLASSES, 320, 4);
    char *answer = planted_answer(4);
    assert_int_equal(nas_apply_fixed_architecture_text(p.model, answer), NAS_OK);
    free(answer);
    now.lr = rate;
    nas_fit_config c = {.model = p.model,
                        .batch_size = 32,
                        .num_epochs = EPOCHS,
                        .optimizer = nas_sgd(.lr = rate, .momentum = 0.9),
                        .loss = loss,
                        .dataset_train = p.parts[0],
                        .dataset_valid = p.parts[1],
                        .log_frequency = 1,
                        .seed = 4,
                        .threads = 1,
                        .run_dir = path,
                        .resume = resume,
                        .on_step = on_step};
    outcome o = {.status = nas_fit(&c, NULL)};
    snprintf(o.message, sizeof o.message, "%s", nas_error_message());
    nas_error_clear();
    o.weights = weights_hash(p.model, EVERYTHING);
    planted_free(&p);
    return o;
}

typedef outcome (*run_fn)(const char *path, const char *strategy, bool resume);

static const struct {
    const char *name;
    run_fn run;
    bool in_gradient;
} runs[] = {{"darts", search, false},
            {"spos", search, true},
            {"enas", search, false},
            {"retrain", train, false},
            {"retrain", train, true}};
enum { RUNS = sizeof runs / sizeof *runs };

static void assert_row(const char *path, const char *sql, const char *part) {
    char *rows = log_rows(path, sql);
    if (!strstr(rows, part)) {
        fail_msg("%s: \"%s\" without \"%s\"", sql, rows, part);
    }
    free(rows);
}

static void break_in(int epoch, int64_t step, bool in_gradient) {
    memset(&now, 0, sizeof now);
    now.broken_epoch = epoch;
    now.broken_step = step;
    now.in_gradient = in_gradient;
}

/* In the third epoch; stopped behind that, and resumed, it is the same run. */
static void goes_back_once(void **state) {
    (void)state;
    for (int i = 0; i < RUNS; i++) {
        char *directory = temporary_directory(), *whole = nas__join(directory, "whole");
        char *parts = nas__join(directory, "parts");
        break_in(3, 2, runs[i].in_gradient);
        outcome one = runs[i].run(whole, runs[i].name, false);
        assert_true(now.broken);
        assert_string_equal(one.message, "");
        assert_int_equal(one.status, NAS_OK);
        assert_row(whole, "SELECT message FROM event WHERE kind='rollback'", "behind epoch 2");
        assert_row(whole, "SELECT status FROM run", "finished");
        assert_row(whole, "SELECT count(*), count(DISTINCT epoch) FROM epoch", "4 4");
        assert_row(whole, "SELECT count(*) FROM tick WHERE epoch=3", runs[i].run == search ? "" : "5");
        assert_row(whole,
                   "SELECT value < 0.0126 FROM scalar s JOIN metric m ON s.metric_id=m.id WHERE m.name='lr' ORDER "
                   "BY step DESC LIMIT 1",
                   "1");
        for (int stop = 3; stop <= 4; stop++) { /* before the lower rate is in a checkpoint, and behind that */
            break_in(3, 2, runs[i].in_gradient);
            now.stop_epoch = stop;
            now.stop_step = stop == 3 ? 4 : 2;
            runs[i].run(parts, runs[i].name, false);
            now.stop_epoch = 0;
            outcome two = runs[i].run(parts, runs[i].name, true);
            assert_int_equal(two.status, NAS_OK);
            assert_true(two.weights == one.weights);
            assert_same_log(whole, parts);
            remove_directory(parts);
            parts = nas__join(directory, "parts");
        }
        free(whole);
        free(parts);
        remove_directory(directory);
    }
}

/* There is no checkpoint yet: to the beginning. */
static void in_the_first_epoch(void **state) {
    (void)state;
    for (int i = 0; i < RUNS; i++) {
        char *directory = temporary_directory(), *path = nas__join(directory, "run");
        break_in(1, 2, runs[i].in_gradient);
        outcome o = runs[i].run(path, runs[i].name, false);
        assert_true(now.broken);
        assert_int_equal(o.status, NAS_OK);
        assert_row(path, "SELECT message FROM event WHERE kind='rollback'", "to the beginning");
        assert_row(path, "SELECT count(*), min(epoch) FROM epoch", "4 1");
        free(path);
        remove_directory(directory);
    }
}

static void ends_the_second_time(void **state) {
    (void)state;
    for (int i = 0; i < RUNS; i++) {
        char *directory = temporary_directory(), *path = nas__join(directory, "run");
        break_in(3, 2, runs[i].in_gradient);
        now.always = true;
        outcome o = runs[i].run(path, runs[i].name, false);
        assert_int_equal(o.status, NAS_NUMERIC);
        assert_non_null(
            strstr(o.message, "for the second time, now in step 3 of epoch 3 (the first time was step 3 of"));
        assert_row(path, "SELECT status, status_detail FROM run", "failed for the second time");
        assert_row(path, "SELECT max(epoch) FROM epoch", "2");
        /* without a directory there is no way back */
        break_in(3, 2, runs[i].in_gradient);
        o = runs[i].run(NULL, runs[i].name, false);
        assert_int_equal(o.status, NAS_NUMERIC);
        assert_null(strstr(o.message, "second time"));
        free(path);
        remove_directory(directory);
    }
}

/* Fifteen calm losses are too few to know what is ordinary; then a leap is told of, and the mean stays. */
static void leaps(void **state) {
    (void)state;
    nas__guard g = nas__guard_new();
    nas__guard_epoch(&g);
    for (int i = 0; i < 16; i++) {
        nas__guard_loss(&g, i == 7 ? 100 : 2, i);
    }
    assert_int_equal(g.spikes, 0);
    nas__guard_epoch(&g);
    for (int i = 0; i < 40; i++) {
        nas__guard_loss(&g, i == 20 ? 6.5 : i == 30 ? 9 : i == 31 ? 5.9 : 2, i);
    }
    assert_int_equal(g.spikes, 2);
    assert_int_equal(g.worst_step, 31);
    assert_true(fabs(g.worst_ratio - 4.5) < 1e-9);
    nas__guard_epoch(&g);
    assert_int_equal(g.spikes, 0);
}

static void leaps_are_logged(void **state) {
    (void)state;
    char *directory = temporary_directory(), *path = nas__join(directory, "run");
    planted p = planted_new(PLANTED_CLASSES, 1600, 3); /* 25 steps */
    memset(&now, 0, sizeof now);
    now.broken_epoch = 2;
    now.broken_step = 20;
    now.leap = 50;
    now.always = true;
    p.config.strategy = "spos";
    p.config.options = NULL;
    p.config.num_epochs = 2;
    p.config.optimizer = nas_sgd(.lr = 0.001);
    p.config.loss = loss;
    p.config.run_dir = path;
    p.config.log_frequency = 5;
    p.config.on_step = on_step;
    nas_trainer *t = nas_trainer_new(&p.config);
    assert_no_error();
    assert_int_equal(nas_trainer_train(t), NAS_OK);
    nas_trainer_free(t);
    assert_row(path, "SELECT epoch, message FROM event WHERE kind='spike'", "2 1 training loss of epoch 2 leapt");
    assert_row(path, "SELECT message FROM event WHERE kind='spike'", "in step 21");
    assert_row(path,
               "SELECT count(*), min(value) > 0 FROM scalar s JOIN metric m ON s.metric_id=m.id WHERE m.name="
               "'gradient_norm'",
               "10 1");
    free(path);
    planted_free(&p);
    remove_directory(directory);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goes_back_once), cmocka_unit_test(in_the_first_epoch), cmocka_unit_test(ends_the_second_time),
        cmocka_unit_test(leaps),          cmocka_unit_test(leaps_are_logged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
