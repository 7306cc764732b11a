/* Training and evaluation of networks without choices: determinism, drop-path, time budget, the stop flag, failures; an
 * evaluation is what one would compute by hand. Resuming is in test_resume.c. labels: threads */
#include "search/planted.h"
#include "support.h"

#include "core/file.h"
#include "run/run.h"
#include "search/pace.h"

#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The right network for the planted data, in two halves; training data first. */
typedef struct fixture {
    planted p;
    nas_fit_config config;
    step_losses losses;
    double scores[32];
    int epochs;
} fixture;

static bool count_epoch(const nas_progress *progress, void *user) {
    fixture *f = user;
    assert_int_equal(progress->epoch, f->epochs + 1);
    assert_null(progress->derived);
    f->scores[f->epochs++] = progress->score;
    return false;
}

static bool count_step(const nas_progress *progress, void *user) {
    return record_loss(progress, &((fixture *)user)->losses);
}

static fixture *fixture_new(planted_task task, int64_t n) {
    fixture *f = calloc(1, sizeof *f);
    f->p = planted_new(task, n, 4);
    char *answer = planted_answer(4);
    assert_int_equal(nas_apply_fixed_architecture_text(f->p.model, answer), NAS_OK);
    free(answer);
    f->config = (nas_fit_config){.model = f->p.model,
                                 .batch_size = 32,
                                 .num_epochs = 4,
                                 .dataset_train = f->p.parts[0],
                                 .dataset_valid = f->p.parts[1],
                                 .log_frequency = NAS_NONE,
                                 .seed = 4,
                                 .threads = 1,
                                 .on_step = count_step,
                                 .on_epoch = count_epoch,
                                 .user = f};
    return f;
}

static void fixture_free(fixture *f) {
    planted_free(&f->p);
    free(f);
}

static fixture *trained(double drop_path, uint64_t seed) {
    fixture *f = fixture_new(PLANTED_CLASSES, 640);
    f->config.drop_path = drop_path;
    f->config.seed = seed;
    int epochs = 0;
    assert_int_equal(nas_fit(&f->config, &epochs), NAS_OK);
    assert_int_equal(epochs, 4);
    assert_int_equal(f->epochs, 4);
    assert_int_equal(f->losses.n, 40);
    return f;
}

static void learns(void **state) {
    (void)state;
    fixture *f = trained(0, 4);
    assert_true(f->scores[3] > 0.82); /* the best possible is about 0.89 */
    assert_true(f->losses.values[39] < f->losses.values[0]);
    fixture_free(f);
}

static void same_seed_same_training(void **state) {
    (void)state;
    fixture *a = trained(0, 4), *b = trained(0, 4), *c = trained(0, 5);
    assert_same_losses(a->losses.values, b->losses.values, 40, "same seed");
    assert_true(weights_hash(a->p.model, EVERYTHING) == weights_hash(b->p.model, EVERYTHING));
    assert_memory_equal(a->scores, b->scores, sizeof a->scores);
    assert_true(c->losses.values[0] != a->losses.values[0]);
    fixture_free(a);
    fixture_free(b);
    fixture_free(c);
}

/* The probability rises from 0: the first step is as without, later ones differ; the same seed drops the same paths. */
static void drop_path(void **state) {
    (void)state;
    fixture *without = trained(0, 4), *a = trained(0.4, 4), *b = trained(0.4, 4);
    assert_same_losses(a->losses.values, b->losses.values, 40, "drop-path");
    assert_same_losses(a->losses.values, without->losses.values, 1, "the first step with drop-path");
    assert_true(a->losses.values[20] != without->losses.values[20]);
    assert_true(a->losses.values[39] > without->losses.values[39]); /* noisier inputs to the head */
    fixture_free(without);
    fixture_free(a);
    fixture_free(b);
}

static void kept_weights(void **state) {
    (void)state;
    fixture *f = trained(0, 4);
    double last = f->losses.values[39], first = f->losses.values[0];
    f->losses.n = f->epochs = 0;
    f->config.keep_weights = true;
    f->config.num_epochs = 1;
    assert_int_equal(nas_fit(&f->config, NULL), NAS_OK);
    assert_true(fabs(f->losses.values[0] - last) < fabs(f->losses.values[0] - first));
    f->losses.n = f->epochs = 0;
    f->config.keep_weights = false;
    assert_int_equal(nas_fit(&f->config, NULL), NAS_OK);
    assert_true(f->losses.values[0] == first);
    fixture_free(f);
}

static void limit_batches(void **state) {
    (void)state;
    fixture *f = fixture_new(PLANTED_CLASSES, 640);
    f->config.limit_batches = 3;
    assert_int_equal(nas_fit(&f->config, NULL), NAS_OK);
    assert_int_equal(f->losses.n, 12);
    fixture_free(f);
}

/* --- ends ------------------------------------------------------------------------------------------ */
static volatile sig_atomic_t flag;
static bool raise_flag(const nas_progress *progress, void *user) {
    (void)user;
    flag = progress->epoch == 2 && progress->step == 3;
    return false;
}

static void stop_flag(void **state) {
    (void)state;
    fixture *f = fixture_new(PLANTED_CLASSES, 640);
    char *directory = temporary_directory(), *path = nas__join(directory, "run"),
         *weights = nas__join(path, "weights.safetensors");
    f->config.stop = &flag;
    f->config.on_step = raise_flag;
    f->config.run_dir = path;
    int epochs = 0;
    assert_int_equal(nas_fit(&f->config, &epochs), NAS_OK);
    assert_int_equal(f->epochs, 2);
    flag = 0;
    /* the weights are there as they are */
    uint64_t hash = weights_hash(f->p.model, EVERYTHING);
    assert_int_equal(nas_initialise(f->p.model, 99), NAS_OK);
    assert_true(weights_hash(f->p.model, EVERYTHING) != hash);
    assert_int_equal(nas_load_weights(f->p.model, weights), NAS_OK);
    assert_true(weights_hash(f->p.model, EVERYTHING) == hash);
    free(weights);
    free(path);
    remove_directory(directory);
    fixture_free(f);
}

/* The beginning of a training is not made longer by being resumed where it ends. */
static void end_epoch(void **state) {
    (void)state;
    fixture *f = fixture_new(PLANTED_CLASSES, 640);
    char *directory = temporary_directory(), *path = nas__join(directory, "run");
    uint64_t hash = 0;
    f->config.run_dir = path;
    f->config.resume = true;
    f->config.end_epoch = 2;
    for (int i = 0; i < 2; i++) {
        int epochs = 0;
        assert_int_equal(nas_fit(&f->config, &epochs), NAS_OK);
        assert_int_equal(epochs, 2);
        assert_int_equal(f->epochs, 2);
        assert_true(i == 0 || weights_hash(f->p.model, EVERYTHING) == hash);
        hash = weights_hash(f->p.model, EVERYTHING);
        assert_int_equal(nas_initialise(f->p.model, 99), NAS_OK);
    }
    f->config.end_epoch = 0;
    assert_int_equal(nas_fit(&f->config, NULL), NAS_OK);
    assert_int_equal(f->epochs, 4);
    free(path);
    remove_directory(directory);
    fixture_free(f);
}

typedef struct rate {
    double first, last;
} rate;

static bool watch_rate(const nas_progress *progress, void *user) {
    rate *r = user;
    r->first = r->first == 0 ? progress->lr : r->first;
    assert_true(r->last == 0 || progress->lr <= r->last);
    r->last = progress->lr;
    return false;
}

static void budget_ends_on_time(void **state) {
    (void)state;
    fixture *f = fixture_new(PLANTED_CLASSES, 6400);
    rate r = {0};
    f->config.budget.minutes = 0.1;
    f->config.num_epochs = 100000;
    f->config.optimizer = nas_sgd(.lr = 0.1, .momentum = 0.9);
    f->config.on_step = watch_rate;
    f->config.on_epoch = NULL;
    f->config.user = &r;
    double start = nas__now();
    int epochs = 0;
    assert_int_equal(nas_fit(&f->config, &epochs), NAS_OK);
    double seconds = nas__now() - start;
    assert_on_time(seconds, 6);
    assert_true(r.first > 0.0999);
    assert_float_equal(r.last, 0, 5e-3);
    assert_true(epochs > 2);
    fixture_free(f);
}

/* --- failures -------------------------------------------------------------------------------------- */
static int calls;
/* And once more where it happened, when the training has gone back and comes by again. */
static nas_tensor *loss_with_nan(nas_tensor *output, nas_tensor *target) {
    ++calls;
    return nas_scale(nas_cross_entropy(output, target), calls == 40 || calls == 44 ? NAN : 1);
}

/* Finite itself: 0 is added to it, whose derivative is 0 times infinity. */
static nas_tensor *loss_with_nan_gradient(nas_tensor *output, nas_tensor *target) {
    nas_tensor *loss = nas_cross_entropy(output, target);
    return ++calls == 40 ? nas_add(loss, nas_scale(nas_scale(nas_scale(loss, 0), 1e38), 1e38)) : loss;
}

static void no_finite_gradient(void **state) {
    (void)state;
    fixture *f = fixture_new(PLANTED_CLASSES, 640);
    f->config.loss = loss_with_nan_gradient;
    calls = 0;
    assert_int_equal(nas_fit(&f->config, NULL), NAS_NUMERIC);
    assert_error(NAS_NUMERIC, "step 4 of epoch 4 at learning rate");
    fixture_free(f);
}

static void not_a_number(void **state) {
    (void)state;
    fixture *f = fixture_new(PLANTED_CLASSES, 640);
    char *directory = temporary_directory(), *path = nas__join(directory, "run");
    f->config.loss = loss_with_nan; /* ten steps and two validation batches an epoch */
    f->config.run_dir = path;
    calls = 0;
    assert_int_equal(nas_fit(&f->config, NULL), NAS_NUMERIC);
    assert_error(NAS_NUMERIC, "step 4 of epoch 4");
    char *newest = nas__checkpoint_newest(path);
    assert_non_null(newest);
    assert_non_null(strstr(newest, "checkpoint-00003"));
    sqlite3 *db;
    sqlite3_stmt *row;
    char *log = nas__join(path, "run.sqlite");
    assert_int_equal(sqlite3_open(log, &db), SQLITE_OK);
    assert_int_equal(
        sqlite3_prepare_v2(db, "SELECT status, status_detail, message FROM run, event WHERE event.kind='failed'", -1,
                           &row, NULL),
        SQLITE_OK);
    assert_int_equal(sqlite3_step(row), SQLITE_ROW);
    assert_string_equal((const char *)sqlite3_column_text(row, 0), "failed");
    assert_non_null(strstr((const char *)sqlite3_column_text(row, 1), "step 4 of epoch 4"));
    assert_non_null(strstr((const char *)sqlite3_column_text(row, 2), "step 4 of epoch 4"));
    sqlite3_finalize(row);
    sqlite3_close(db);
    free(log);
    free(newest);
    free(path);
    remove_directory(directory);
    fixture_free(f);
}

static void refused(const nas_fit_config *config, nas_status status, const char *part) {
    assert_int_equal(nas_fit(config, NULL), status);
    assert_error(status, part);
}

static void errors(void **state) {
    (void)state;
    fixture *f = fixture_new(PLANTED_CLASSES, 640);
    char *directory = temporary_directory(), *file = nas__join(directory, "file"), *below = nas__join(file, "run");
    nas_fit_config config = f->config;
    config.model = NULL;
    refused(&config, NAS_INVALID, ".model");
    config = f->config;
    config.dataset_train = NULL;
    refused(&config, NAS_INVALID, ".dataset_train");
    config = f->config;
    config.batch_size = 321;
    refused(&config, NAS_INVALID, "321");
    config = f->config;
    assert_int_equal(nas__write_file(file, "x", 1), NAS_OK);
    config.run_dir = below;
    config.optimizer = nas_sgd(.lr = 0.1);
    refused(&config, NAS_IO, below);
    nas_evaluation e;
    assert_int_equal(nas_evaluate(&(nas_evaluate_config){.model = f->p.model}, &e), NAS_INVALID);
    assert_error(NAS_INVALID, ".data");
    assert_int_equal(nas_evaluate(&(nas_evaluate_config){.data = f->p.data}, &e), NAS_INVALID);
    assert_error(NAS_INVALID, ".model");
    free(below);
    free(file);
    remove_directory(directory);
    fixture_free(f);
}

/* --- evaluation ------------------------------------------------------------------------------------ */
/* Sample by sample, with the running estimates, in double. */
static void by_hand(fixture *f, int64_t images, double *loss, double *accuracy) {
    nas_tape *tape = nas_tape_new();
    *loss = *accuracy = 0;
    for (int64_t i = 0; i < images; i++) {
        float x[PLANTED_VALUES], y, z[2];
        assert_int_equal(nas_dataset_read(f->p.parts[1], i, x, &y), NAS_OK);
        nas_tape_begin(tape, &(nas_tape_config){.bn = NAS_BN_RUNNING});
        assert_int_equal(nas_tensor_read(nas_forward(f->p.model, nas_input(2, (int64_t[]){1, PLANTED_VALUES}, x)), z),
                         NAS_OK);
        nas_tape_reset(tape);
        *loss += log(exp((double)z[0]) + exp((double)z[1])) - z[(int)y];
        *accuracy += (z[1] > z[0]) == (y > 0.5f);
    }
    *loss /= (double)images;
    *accuracy /= (double)images;
    nas_tape_free(tape);
}

typedef struct visits {
    int64_t batches, images;
    double correct;
} visits;

static void visit(const nas_tensor *output, const nas_tensor *target, void *user) {
    visits *v = user;
    v->batches++;
    v->images += nas_tensor_dim(target, 0);
    v->correct += nas_top1_accuracy(output, target) * (double)nas_tensor_dim(output, 0);
}

static void evaluation_is_by_hand(void **state) {
    (void)state;
    fixture *f = trained(0, 4);
    uint64_t before = weights_hash(f->p.model, EVERYTHING);
    double loss, accuracy;
    by_hand(f, 320, &loss, &accuracy);
    for (int64_t batch = 0; batch <= 100; batch += 50) { /* 0: 256, with a smaller last batch */
        nas_evaluation e;
        visits v = {0};
        assert_int_equal(
            nas_evaluate(
                &(nas_evaluate_config){
                    .model = f->p.model, .data = f->p.parts[1], .batch_size = batch, .visit = visit, .user = &v},
                &e),
            NAS_OK);
        assert_int_equal(e.images, 320);
        assert_float_equal(e.loss, loss, 1e-5);
        assert_float_equal(e.metrics[0], accuracy, 1e-9);
        assert_int_equal(v.images, 320);
        assert_int_equal(v.batches, batch == 0 ? 2 : (320 + batch - 1) / batch);
        assert_float_equal(v.correct / 320, accuracy, 1e-9);
    }
    assert_float_equal(f->scores[3], accuracy, 1e-9); /* what the training's last epoch told */
    nas_evaluation e;
    by_hand(f, 80, &loss, &accuracy);
    assert_int_equal(
        nas_evaluate(
            &(nas_evaluate_config){.model = f->p.model, .data = f->p.parts[1], .batch_size = 40, .limit_batches = 2},
            &e),
        NAS_OK);
    assert_int_equal(e.images, 80);
    assert_float_equal(e.loss, loss, 1e-5);
    assert_float_equal(e.metrics[0], accuracy, 1e-9);
    assert_true(weights_hash(f->p.model, EVERYTHING) == before);
    fixture_free(f);
}

static const nas_metric errors_of_numbers[] = {
    {.name = "rmse", .measure = nas_squared_error, .lower_is_better = true, .finish = sqrt},
    {.name = "mae", .measure = nas_absolute_error, .lower_is_better = true},
    {.name = NULL}};

typedef struct best {
    double best, smallest;
} best;

static bool smallest_is_best(const nas_progress *progress, void *user) {
    best *b = user;
    b->smallest = fmin(b->smallest, progress->score);
    b->best = progress->best_score;
    return false;
}

/* A root of a mean over all images is not the mean of the batches' roots. */
static void numbers(void **state) {
    (void)state;
    fixture *f = fixture_new(PLANTED_NUMBERS, 640);
    best b = {.smallest = INFINITY};
    f->config.optimizer = nas_adam(.lr = 0.05);
    f->config.metrics = errors_of_numbers;
    f->config.num_epochs = 8;
    f->config.on_epoch = smallest_is_best;
    f->config.on_step = NULL;
    f->config.user = &b;
    assert_int_equal(nas_fit(&f->config, NULL), NAS_OK);
    assert_true(b.best == b.smallest);
    nas_evaluation whole, parts;
    nas_evaluate_config config = {
        .model = f->p.model, .data = f->p.parts[1], .metrics = errors_of_numbers, .batch_size = 320};
    assert_int_equal(nas_evaluate(&config, &whole), NAS_OK);
    config.batch_size = 7;
    assert_int_equal(nas_evaluate(&config, &parts), NAS_OK);
    assert_float_equal(parts.metrics[0], whole.metrics[0], 1e-5);
    assert_float_equal(parts.metrics[1], whole.metrics[1], 1e-5);
    assert_float_equal(whole.metrics[0], sqrt(whole.loss), 1e-5); /* the loss of numbers is the MSE */
    assert_true(whole.metrics[1] < whole.metrics[0]);
    assert_true(whole.metrics[0] < 1.5); /* the deviation of the sum of six bits is about 3.6 */
    fixture_free(f);
}

static int clear_error(void **state) {
    (void)state;
    nas_error_clear();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(learns, clear_error),
        cmocka_unit_test_teardown(same_seed_same_training, clear_error),
        cmocka_unit_test_teardown(drop_path, clear_error),
        cmocka_unit_test_teardown(kept_weights, clear_error),
        cmocka_unit_test_teardown(limit_batches, clear_error),
        cmocka_unit_test_teardown(stop_flag, clear_error),
        cmocka_unit_test_teardown(end_epoch, clear_error),
        cmocka_unit_test_teardown(budget_ends_on_time, clear_error),
        cmocka_unit_test_teardown(not_a_number, clear_error),
        cmocka_unit_test_teardown(no_finite_gradient, clear_error),
        cmocka_unit_test_teardown(errors, clear_error),
        cmocka_unit_test_teardown(evaluation_is_by_hand, clear_error),
        cmocka_unit_test_teardown(numbers, clear_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
