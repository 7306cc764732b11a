/* The search loop, whatever the strategy: determinism, scoring that disturbs nothing, disjoint parts, the user's own
 * loss, metric, reward and optimiser, log lines, time budget. Errors are in test_trainer_errors.c, resuming in
 * test_resume.c. */
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

static int64_t size_of(const nas_dataset *d) { return nas_dataset_describe(d)->size; }

/* --- determinism ---------------------------------------------------------------------------------- */
typedef struct result {
    step_losses losses;
    uint64_t weights;
    char *json;
    double score;
} result;

static result search(uint64_t seed, int threads, const char *options) {
    result r = {0};
    planted p = planted_new(PLANTED_CLASSES, 320, 2);
    p.config.seed = seed;
    p.config.threads = threads;
    p.config.options = options;
    p.config.on_step = record_loss;
    p.config.user = &r.losses;
    nas_trainer *t = trained(&p.config);
    r.weights = weights_hash(p.model, EVERYTHING);
    r.json = nas_architecture_json(nas_trainer_best(t, &r.score), true);
    nas_trainer_free(t);
    planted_free(&p);
    return r;
}

static void same_seed_same_search(void **state) {
    (void)state;
    for (int threads = 1; threads <= 2; threads++) {
        const char *options = threads == 1 ? "order=1" : "order=2";
        result a = search(11, threads, options), b = search(11, threads, options), c = search(12, threads, options);
        assert_int_equal(a.losses.n, 15);
        assert_int_equal(b.losses.n, 15);
        assert_same_losses(a.losses.values, b.losses.values, 15, "same seed");
        assert_true(a.weights == b.weights);
        assert_string_equal(a.json, b.json);
        assert_true(a.score == b.score);
        assert_true(c.weights != a.weights);
        assert_true(c.losses.values[0] != a.losses.values[0]);
        free(a.json);
        free(b.json);
        free(c.json);
    }
}

/* --- scoring -------------------------------------------------------------------------------------- */
typedef struct scoring {
    step_losses losses;
    nas_trainer *trainer;
    nas_dataset *data;
    bool scores;
    int scored;
} scoring;

static bool score_some(const nas_progress *progress, void *user) {
    scoring *s = user;
    record_loss(progress, &s->losses);
    nas__search *search_ = &s->trainer->s;
    nas_rng rng = nas_rng_new(5, (uint64_t)s->losses.n);
    nas_architecture *a = nas_architecture_new(search_->space);
    uint64_t before = weights_hash(search_->model, EVERYTHING);
    for (int i = 0; s->scores && i < 2; i++) {
        double score = NAN, again = NAN;
        nas_architecture_random(a, &rng);
        assert_int_equal(nas__search_score(search_, a, &score), NAS_OK);
        assert_true(score >= 0 && score <= 1);
        assert_int_equal(nas__search_score(search_, a, &again), NAS_OK);
        assert_true(score == again);
        nas__score_forget(s->trainer);
        assert_int_equal(nas__search_score(search_, a, &again), NAS_OK);
        assert_true(score == again);
        s->scored++;
    }
    nas_evaluation e;
    assert_int_equal(nas_evaluate(&(nas_evaluate_config){.model = search_->model, .data = s->data}, &e), NAS_OK);
    assert_true(weights_hash(search_->model, EVERYTHING) == before);
    nas_architecture_free(a);
    return false;
}

static uint64_t search_and_score(bool scores, scoring *s) {
    planted p = planted_new(PLANTED_CLASSES, 320, 2);
    *s = (scoring){.data = p.parts[1], .scores = scores};
    p.config.on_step = score_some;
    p.config.user = s;
    s->trainer = nas_trainer_new(&p.config);
    assert_int_equal(nas_trainer_train(s->trainer), NAS_OK);
    uint64_t weights = weights_hash(p.model, EVERYTHING);
    nas_trainer_free(s->trainer);
    planted_free(&p);
    return weights;
}

/* A search that scores other architectures after every step is, but for that, the search without. */
static void scoring_disturbs_nothing(void **state) {
    (void)state;
    static scoring with, without;
    uint64_t a = search_and_score(true, &with), b = search_and_score(false, &without);
    assert_int_equal(with.scored, 30);
    assert_int_equal(without.scored, 0);
    assert_int_equal(with.losses.n, without.losses.n);
    assert_same_losses(with.losses.values, without.losses.values, with.losses.n, "with scoring");
    assert_true(a == b);
}

static const nas_metric two_metrics[] = {
    {.name = "acc1", .measure = nas_top1_accuracy}, {.name = "acc5", .measure = nas_top5_accuracy}, {.name = NULL}};

static double constant_metric(const nas_tensor *output, const nas_tensor *target) {
    (void)output, (void)target;
    return 0.375;
}

/* The derived architecture was scored before under the same weights: all of its metrics are remembered, not only the
 * first. */
static bool score_derived(const nas_progress *progress, void *user) {
    nas_trainer *t = *(nas_trainer **)user;
    if (progress->step == progress->steps_per_epoch) {
        nas_architecture *a = nas_architecture_new(t->s.space);
        double score;
        assert_int_equal(t->s.strategy->derive(&t->s, a), NAS_OK);
        assert_int_equal(nas__search_score(&t->s, a, &score), NAS_OK);
        nas_architecture_free(a);
    }
    return false;
}

static void all_metrics_are_remembered(void **state) {
    (void)state;
    nas_metric metrics[3];
    memcpy(metrics, two_metrics, sizeof metrics);
    metrics[1].measure = constant_metric;
    planted p = planted_new(PLANTED_CLASSES, 128, 2);
    nas_trainer *t;
    p.config.metrics = metrics;
    p.config.num_epochs = 1;
    p.config.on_step = score_derived;
    p.config.user = &t;
    t = nas_trainer_new(&p.config);
    assert_int_equal(nas_trainer_train(t), NAS_OK);
    assert_int_equal(t->evaluations, 1);
    assert_float_equal(t->derived_metrics[1], 0.375, 1e-12);
    nas_trainer_free(t);
    planted_free(&p);
}

/* The score is that of the derived path alone, with batch statistics recalibrated on the first training batches: here
 * by the same passes over the same network, sample by sample. */
static void score_by_hand(void **state) {
    (void)state;
    planted p = planted_new(PLANTED_NUMBERS, 640, 2);
    p.config.num_epochs = 1;
    nas_trainer *t = trained(&p.config);
    nas_tape *tape = nas_tape_new();
    double squares = 0;
    nas_architecture_apply(t->derived, t->s.space);
    nas_calibration_reset(p.model);
    for (int b = 0; b < 8; b++) {
        float x[32 * PLANTED_VALUES];
        for (int i = 0; i < 32; i++) {
            assert_int_equal(nas_dataset_read(p.parts[0], 32 * b + i, x + i * PLANTED_VALUES, NULL), NAS_OK);
        }
        nas_tape_begin(tape, &(nas_tape_config){.bn = NAS_BN_CALIBRATE});
        assert_non_null(nas_forward(p.model, nas_input(2, (int64_t[]){32, PLANTED_VALUES}, x)));
        nas_tape_reset(tape);
    }
    for (int i = 0; i < size_of(t->valid); i++) {
        float x[PLANTED_VALUES], y;
        assert_int_equal(nas_dataset_read(t->valid, i, x, &y), NAS_OK);
        nas_tape_begin(tape, &(nas_tape_config){.bn = NAS_BN_CALIBRATED});
        double error = nas_tensor_item(nas_forward(p.model, nas_input(2, (int64_t[]){1, PLANTED_VALUES}, x))) - y;
        nas_tape_reset(tape);
        squares += error * error;
    }
    assert_float_equal(t->derived_score, sqrt(squares / (double)size_of(t->valid)), 1e-5);
    nas_tape_free(tape);
    nas_trainer_free(t);
    planted_free(&p);
}

/* --- parts ---------------------------------------------------------------------------------------- */
enum { COUNTED = 400 };
static int reads[COUNTED];

static nas_status read_counted(void *user, int64_t index, float *x, float *y) {
    __atomic_add_fetch(&reads[index], 1, __ATOMIC_RELAXED);
    return nas_dataset_read(user, index, x, y);
}

static int64_t count_read(nas_dataset *part) {
    int64_t n, found = 0;
    const int32_t *indices = nas_dataset_indices(part, &n);
    for (int64_t i = 0; i < n; i++) {
        found += reads[indices[i]] > 0;
    }
    return found;
}

/* Every sample that was handed over is used, and of the part that was not, none is ever read. */
static void parts_are_what_was_given(void **state) {
    (void)state;
    planted p = planted_new(PLANTED_CLASSES, COUNTED, 2);
    nas_dataset *counted = nas_dataset_new(nas_dataset_describe(p.data), read_counted, NULL, p.data), *parts[4];
    assert_int_equal(nas_dataset_split(counted, 1, 4, (const double[]){0.4, 0.2, 0.2, 0.2}, parts), NAS_OK);
    memset(reads, 0, sizeof reads);
    p.config.dataset_train = parts[0];
    p.config.dataset_valid = parts[1];
    p.config.dataset_score = parts[2];
    p.config.batch_size = 20;
    nas_trainer *t = trained(&p.config);
    assert_int_equal(size_of(t->arch), size_of(parts[1]));
    assert_int_equal(size_of(t->valid), size_of(parts[2]));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(count_read(parts[i]), size_of(parts[i]));
    }
    assert_int_equal(count_read(parts[3]), 0);
    nas_trainer_free(t);
    for (int i = 0; i < 4; i++) {
        nas_dataset_free(parts[i]);
    }
    nas_dataset_free(counted);
    planted_free(&p);
}

static void valid_is_halved(void **state) {
    (void)state;
    planted p = planted_new(PLANTED_CLASSES, 320, 2);
    nas_trainer *t = nas_trainer_new(&p.config);
    assert_no_error();
    bool taken[320] = {0};
    nas_dataset *parts[3] = {p.parts[0], t->arch, t->valid};
    for (int i = 0; i < 3; i++) {
        int64_t n;
        const int32_t *indices = nas_dataset_indices(parts[i], &n);
        assert_int_equal(n, i == 0 ? 160 : 80);
        for (int64_t k = 0; k < n; k++) {
            assert_false(taken[indices[k]]);
            taken[indices[k]] = true;
        }
    }
    nas_trainer_free(t);
    planted_free(&p);
}

static void limits(void **state) {
    (void)state;
    planted p = planted_new(PLANTED_CLASSES, 320, 2);
    step_losses losses = {0};
    p.config.limit_batches = 2;
    p.config.on_step = record_loss;
    p.config.user = &losses;
    nas_trainer_free(trained(&p.config));
    assert_int_equal(losses.n, 3 * 2);
    planted_free(&p);
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
    assert_float_equal(nas__search_reward(&t->s, output, target), -sqrt(12.5), 1e-5);
    nas_trainer_free(t);
    p.config.reward = own_reward;
    t = nas_trainer_new(&p.config);
    assert_float_equal(nas__search_reward(&t->s, output, target), 17, 0);
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
        cmocka_unit_test(same_seed_same_search),
        cmocka_unit_test(scoring_disturbs_nothing),
        cmocka_unit_test(all_metrics_are_remembered),
        cmocka_unit_test(score_by_hand),
        cmocka_unit_test(parts_are_what_was_given),
        cmocka_unit_test(valid_is_halved),
        cmocka_unit_test(limits),
        cmocka_unit_test(smallest_is_best),
        cmocka_unit_test(rewards),
        cmocka_unit_test(callbacks_stop),
        cmocka_unit_test(log_lines),
        cmocka_unit_test(budget_ends_on_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
