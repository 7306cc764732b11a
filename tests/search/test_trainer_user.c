/* What a user brings to a search and sees of it: loss, metric, reward, optimiser; callbacks, log lines, and a time
 * budget that is kept. */
#include "search/planted.h"
#include "support.h"

#include "core/file.h"
#include "search/trainer.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static nas_trainer *trained(const nas_trainer_config *config) {
    nas_trainer *t = nas_trainer_new(config);
    assert_no_error();
    assert_int_equal(nas_trainer_train(t), NAS_OK);
    return t;
}

/* --- the user's own ------------------------------------------------------------------------------- */
typedef struct epochs {
    double scores[16];
    int n, stop_at;
    nas_trainer *trainer;
} epochs;

static bool record_epoch(const nas_progress *progress, void *user) {
    epochs *e = user;
    assert_int_equal(progress->epoch, e->n + 1);
    assert_int_equal(progress->epochs, 5);
    assert_non_null(progress->derived);
    assert_true(progress->entropy > 0 && progress->entropy <= 1);
    assert_true(isfinite(progress->loss));
    e->scores[e->n++] = progress->score;
    return e->n == e->stop_at;
}

static int loss_calls;
static nas_tensor *own_loss(nas_tensor *output, nas_tensor *target) {
    loss_calls++;
    return nas_scale(nas_l1(output, target), 2);
}

static double own_reward(const nas_tensor *output, const nas_tensor *target) {
    (void)output, (void)target;
    return 17;
}

/* Numbers to predict, RMSE (lower is better), L1 loss, Adam: the best is the smallest. */
static void smallest_is_best(void **state) {
    (void)state;
    planted p = planted_new(PLANTED_NUMBERS, 640, 2);
    char *directory = temporary_directory(), *path = nas__join(directory, "out/final_architecture.json");
    epochs e = {0};
    p.config.num_epochs = 5;
    p.config.loss = own_loss;
    p.config.score_steps = NAS_NONE; /* its passes would count */
    p.config.optimizer = nas_adam(.lr = 0.03);
    p.config.schedule = (nas_schedule){.kind = NAS_SCHEDULE_CONSTANT};
    p.config.on_epoch = record_epoch;
    p.config.user = &e;
    loss_calls = 0;
    nas_trainer *t = trained(&p.config);
    assert_int_equal(loss_calls, 5 * 10 * 2);
    double best = INFINITY, score;
    int at = 0;
    for (int i = 0; i < e.n; i++) {
        at = e.scores[i] < best ? i + 1 : at;
        best = fmin(best, e.scores[i]);
    }
    assert_int_equal(e.n, 5);
    assert_true(e.scores[4] < e.scores[0]);
    nas_trainer_best(t, &score);
    assert_true(score == best);
    assert_int_equal(nas_trainer_export(t, path), NAS_OK);
    char *dir = nas__join(directory, "out"), *text = file_text(dir, "search-result.json");
    json_t *json = json_loads(text, 0, NULL);
    assert_float_equal(json_number_value(json_object_get(json, "score")), best, 1e-12);
    assert_string_equal(json_string_value(json_object_get(json, "metric")), "rmse");
    assert_string_equal(json_string_value(json_object_get(json, "split")), "valid");
    assert_true(json_is_true(json_object_get(json, "lower_is_better")));
    assert_int_equal(json_integer_value(json_object_get(json, "epoch")), at);
    json_decref(json);
    free(text);
    free(dir);
    free(path);
    nas_trainer_free(t);
    planted_free(&p);
    remove_directory(directory);
}

/* Without a reward of the user: the first metric, turned so that higher is better. */
static void rewards(void **state) {
    (void)state;
    planted p = planted_new(PLANTED_NUMBERS, 320, 2);
    nas_trainer *t = nas_trainer_new(&p.config);
    nas_tape *tape = nas_tape_new();
    nas_tape_begin(tape, &(nas_tape_config){0});
    nas_tensor *output = nas_input(2, (int64_t[]){2, 1}, (float[]){1, 2}),
               *target = nas_input(2, (int64_t[]){2, 1}, (float[]){4, 6});
    assert_float_equal(nas_search_reward(&t->s, output, target), -sqrt(12.5), 1e-5);
    nas_trainer_free(t);
    p.config.reward = own_reward;
    t = nas_trainer_new(&p.config);
    assert_float_equal(nas_search_reward(&t->s, output, target), 17, 0);
    nas_tape_reset(tape);
    nas_tape_free(tape);
    nas_trainer_free(t);
    planted_free(&p);
}

static void callbacks_stop(void **state) {
    (void)state;
    planted p = planted_new(PLANTED_CLASSES, 320, 2);
    epochs e = {.stop_at = 2};
    p.config.num_epochs = 5;
    p.config.on_epoch = record_epoch;
    p.config.user = &e;
    nas_trainer *t = trained(&p.config);
    assert_true(nas_trainer_stopped(t));
    assert_int_equal(e.n, 2);
    double score;
    assert_non_null(nas_trainer_best(t, &score));
    assert_true(score == fmax(e.scores[0], e.scores[1]));
    nas_trainer_free(t);
    planted_free(&p);
}

/* --- lines of the log ------------------------------------------------------------------------------ */
typedef struct lines {
    char text[64][200];
    int n;
} lines;

static void keep_line(nas_log_level level, const char *message, void *user) {
    lines *l = user;
    if (level == NAS_LOG_INFO && l->n < 64) {
        snprintf(l->text[l->n++], sizeof *l->text, "%s", message);
    }
}

static int lines_with(const lines *l, const char *a, const char *b) {
    int n = 0;
    for (int i = 0; i < l->n; i++) {
        n += strstr(l->text[i], a) && strstr(l->text[i], b);
    }
    return n;
}

static lines logged(int frequency) {
    lines l = {.n = 0};
    planted p = planted_new(PLANTED_CLASSES, 320, 2);
    p.config.num_epochs = 2;
    p.config.log_frequency = frequency;
    nas_set_log(keep_line, &l);
    nas_trainer_free(trained(&p.config));
    nas_set_log(NULL, NULL);
    planted_free(&p);
    return l;
}

static void log_lines(void **state) {
    (void)state;
    lines l = logged(3); /* ten steps of two epochs: the 3rd, 6th and 9th */
    assert_int_equal(lines_with(&l, "step ", "ETA"), 3);
    assert_int_equal(lines_with(&l, "epoch 1/2  step 3/5", "images/s"), 1);
    assert_int_equal(lines_with(&l, "epoch 2/2  step 1/5", "loss"), 1);
    assert_int_equal(lines_with(&l, "epoch 2/2  step 4/5", "lr"), 1);
    assert_int_equal(lines_with(&l, "epoch 2/2  train loss", "derived acc1"), 1);
    l = logged(NAS_NONE);
    assert_int_equal(lines_with(&l, "step ", "ETA"), 0);
    l = logged(1);
    assert_int_equal(lines_with(&l, "step ", "ETA"), 10);
}

/* --- time ----------------------------------------------------------------------------------------- */
typedef struct clock_watch {
    double lr, first_lr, eta;
    int epoch;
} clock_watch;

static bool watch_clock(const nas_progress *progress, void *user) {
    clock_watch *w = user;
    w->first_lr = w->lr == 0 ? progress->lr : w->first_lr;
    assert_true(progress->lr <= w->lr || w->lr == 0);
    w->lr = progress->lr;
    w->eta = progress->eta_seconds;
    w->epoch = progress->epoch;
    return false;
}

static void budget_ends_on_time(void **state) {
    (void)state;
    planted p = planted_new(PLANTED_CLASSES, 3200, 2);
    clock_watch w = {0};
    p.config.num_epochs = 100000;
    p.config.budget.minutes = 0.1;
    p.config.optimizer = nas_sgd(.lr = 0.05, .momentum = 0.9);
    p.config.schedule = (nas_schedule){.kind = NAS_SCHEDULE_COSINE, .min_lr = 0.001};
    p.config.on_step = watch_clock;
    p.config.user = &w;
    nas_trainer *t = nas_trainer_new(&p.config);
    double start = nas__now();
    assert_int_equal(nas_trainer_train(t), NAS_OK);
    double seconds = nas__now() - start;
    assert_on_time(seconds, 6);
    assert_true(w.first_lr > 0.0499);
    assert_float_equal(w.lr, 0.001, 2.5e-3);
    assert_true(w.eta < 1.5);
    assert_true(w.epoch > 2);
    assert_false(nas_trainer_stopped(t));
    assert_non_null(nas_trainer_best(t, NULL));
    nas_trainer_free(t);
    planted_free(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(smallest_is_best),    cmocka_unit_test(rewards),
        cmocka_unit_test(callbacks_stop),      cmocka_unit_test(log_lines),
        cmocka_unit_test(budget_ends_on_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
