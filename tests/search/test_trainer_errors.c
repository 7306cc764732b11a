/* What a search refuses, with a message that helps, and what is left of one that fails in its middle. */
#include "search/planted.h"
#include "support.h"

#include "core/file.h"
#include "run/run.h"

#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* nas_trainer_new must fail with this. */
static void refused(const nas_trainer_config *config, nas_status status, const char *part) {
    assert_null(nas_trainer_new(config));
    assert_error(status, part);
}

static void names(void **state) {
    (void)state;
    planted p = planted_new(PLANTED_CLASSES, 320, 1);
    p.config.strategy = "dart";
    refused(&p.config, NAS_USAGE, "did you mean \"darts\"");
    p.config.strategy = NULL;
    refused(&p.config, NAS_USAGE, "unknown strategy");
    p.config.strategy = "darts";
    p.config.options = "ordr=2";
    refused(&p.config, NAS_NOT_FOUND, "did you mean \"order\"");
    p.config.options = "order=3";
    refused(&p.config, NAS_INVALID, "\"order\": 3 is out of range");
    p.config.options = "order=two";
    refused(&p.config, NAS_INVALID, "\"two\" is not a whole number");
    p.config.options = "order";
    refused(&p.config, NAS_USAGE, "order=");
    p.config.options = "none=sometimes";
    refused(&p.config, NAS_INVALID, "auto|exclude|include");
    /* an optimiser that was handed over is freed (the leak checkers see it) */
    p.config.optimizer = nas_sgd(.lr = 0.1);
    refused(&p.config, NAS_INVALID, "auto|exclude|include");
    planted_free(&p);
}

static void missing_members(void **state) {
    (void)state;
    planted p = planted_new(PLANTED_CLASSES, 320, 1);
    nas_trainer_config config = p.config;
    config.model = NULL;
    refused(&config, NAS_INVALID, ".model");
    config = p.config;
    config.dataset_train = NULL;
    refused(&config, NAS_INVALID, ".dataset_train");
    config = p.config;
    config.dataset_valid = NULL;
    refused(&config, NAS_INVALID, ".dataset_valid");
    config = p.config;
    config.metrics = &(nas_metric){.name = NULL};
    refused(&config, NAS_INVALID, ".metrics");
    planted_free(&p);
}

/* --- data ----------------------------------------------------------------------------------------- */
static void batches_too_large(void **state) {
    (void)state;
    planted p = planted_new(PLANTED_CLASSES, 320, 1); /* train 160, arch 80 */
    p.config.batch_size = 161;
    refused(&p.config, NAS_INVALID, "161");
    p.config.batch_size = 81;
    refused(&p.config, NAS_INVALID, "81");
    p.config.batch_size = 80;
    nas_trainer_free(nas_trainer_new(&p.config));
    assert_no_error();
    planted_free(&p);
}

static void overlapping_parts(void **state) {
    (void)state;
    planted p = planted_new(PLANTED_CLASSES, 320, 1);
    nas_trainer_config config = p.config;
    config.dataset_valid = p.parts[0];
    refused(&config, NAS_INVALID, "is in the train part and in the arch part");
    config.dataset_valid = p.data; /* a whole over its own part */
    refused(&config, NAS_INVALID, "disjoint");
    config = p.config;
    config.dataset_score = p.parts[0];
    refused(&config, NAS_INVALID, "is in the train part and in the valid part");
    config.dataset_score = p.parts[1];
    refused(&config, NAS_INVALID, "is in the arch part and in the valid part");
    /* one common sample */
    int64_t n;
    const int32_t *indices = nas_dataset_indices(p.parts[0], &n), *others = nas_dataset_indices(p.parts[1], &n);
    int32_t *list = malloc((size_t)n * sizeof *list);
    memcpy(list, others, (size_t)n * sizeof *list);
    list[n / 2] = indices[3];
    nas_dataset *almost = nas_dataset_subset(p.data, n, list);
    config = p.config;
    config.dataset_valid = almost;
    char message[64];
    snprintf(message, sizeof message, "image %d is in the train part", (int)indices[3]);
    refused(&config, NAS_INVALID, message);
    nas_dataset_free(almost);
    free(list);
    /* another data set altogether is nobody's overlap */
    nas_dataset *other = planted_data(PLANTED_CLASSES, 160, 9);
    config.dataset_valid = other;
    nas_trainer_free(nas_trainer_new(&config));
    assert_no_error();
    nas_dataset_free(other);
    planted_free(&p);
}

static void other_shapes(void **state) {
    (void)state;
    planted p = planted_new(PLANTED_CLASSES, 320, 1);
    nas_dataset *numbers = planted_data(PLANTED_NUMBERS, 160, 1);
    p.config.dataset_valid = numbers;
    refused(&p.config, NAS_SHAPE, "dataset_valid");
    p.config.dataset_valid = p.parts[1];
    p.config.dataset_score = numbers;
    refused(&p.config, NAS_SHAPE, "the scoring part");
    nas_dataset_free(numbers);
    planted_free(&p);
}

static void models_without_choices(void **state) {
    (void)state;
    planted p = planted_new(PLANTED_CLASSES, 320, 1);
    nas_module *plain = nas_dense(.in = PLANTED_VALUES, .out = 2);
    p.config.model = plain;
    refused(&p.config, NAS_UNSUPPORTED, "no choices");
    nas_free(plain);
    planted_free(&p);
}

/* --- in the middle of a run ----------------------------------------------------------------------- */
static int calls, fails_at, fails_again;
static nas_tensor *failing_loss(nas_tensor *output, nas_tensor *target) {
    nas_tensor *loss = nas_cross_entropy(output, target);
    calls++;
    return calls == fails_at || calls == fails_again ? nas_scale(loss, NAN) : loss;
}

static char *query(const char *directory, const char *sql) {
    char *path = nas__join(directory, "run.sqlite"), *text = NULL;
    sqlite3 *db;
    sqlite3_stmt *statement;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    text = strdup((const char *)sqlite3_column_text(statement, 0));
    sqlite3_finalize(statement);
    sqlite3_close(db);
    free(path);
    return text;
}

static void assert_query(const char *directory, const char *sql, const char *part) {
    char *text = query(directory, sql);
    if (!strstr(text, part)) {
        fail_msg("%s: \"%s\" without \"%s\"", sql, text, part);
    }
    free(text);
}

/* Two passes a step and five steps an epoch: the 14th is the weights' in step 2 of epoch 2, and the 18th is
 * the same, when the search has gone back to the first epoch's end. */
static void not_a_number(void **state) {
    (void)state;
    planted p = planted_new(PLANTED_CLASSES, 320, 1);
    char *directory = temporary_directory(), *path = nas__join(directory, "run");
    p.config.loss = failing_loss;
    p.config.score_steps = NAS_NONE; /* its passes would count */
    p.config.run_dir = path;
    calls = 0;
    fails_at = 14;
    fails_again = 18;
    nas_trainer *t = nas_trainer_new(&p.config);
    assert_no_error();
    assert_int_equal(nas_trainer_train(t), NAS_NUMERIC);
    /* the last good state and the best so far are there */
    char *newest = nas__checkpoint_newest(path), *json = nas__join(path, "final_architecture.json");
    assert_non_null(newest);
    assert_non_null(strstr(newest, "checkpoint-00001"));
    assert_int_equal(nas_trainer_export(t, json), NAS_OK); /* with the error still pending */
    assert_error(NAS_NUMERIC, "step 2 of epoch 2");
    nas_trainer_free(t);
    assert_query(path, "SELECT status FROM run", "failed");
    assert_query(path, "SELECT status_detail FROM run", "step 2 of epoch 2");
    assert_query(path, "SELECT message FROM event WHERE kind='failed'", "step 2 of epoch 2");
    assert_query(path, "SELECT max(epoch) FROM epoch", "1");
    /* and from them it goes on */
    step_losses losses = {0};
    fails_at = fails_again = 0;
    p.config.resume = true;
    p.config.on_step = record_loss;
    p.config.user = &losses;
    t = nas_trainer_new(&p.config);
    assert_no_error();
    assert_int_equal(nas_trainer_train(t), NAS_OK);
    assert_int_equal(losses.n, 10);
    nas_trainer_free(t);
    assert_query(path, "SELECT status FROM run", "finished");
    free(newest);
    free(json);
    free(path);
    planted_free(&p);
    remove_directory(directory);
}

static void unwritable_directory(void **state) {
    (void)state;
    planted p = planted_new(PLANTED_CLASSES, 320, 1);
    char *directory = temporary_directory(), *file = nas__join(directory, "file"), *below = nas__join(file, "run");
    assert_int_equal(nas__write_file(file, "x", 1), NAS_OK);
    p.config.run_dir = below;
    refused(&p.config, NAS_IO, below);
    p.config.run_dir = NULL;
    nas_trainer *t = nas_trainer_new(&p.config);
    char *json = nas__join(below, "a.json");
    assert_int_equal(nas_trainer_export(t, json), NAS_USAGE);
    assert_error(NAS_USAGE, "nothing was scored yet");
    assert_null(nas_trainer_best(t, NULL));
    assert_int_equal(nas_trainer_train(t), NAS_OK);
    assert_int_not_equal(nas_trainer_export(t, json), NAS_OK);
    assert_error(NAS_IO, below);
    nas_trainer_free(t);
    free(json);
    free(below);
    free(file);
    planted_free(&p);
    remove_directory(directory);
}

/* A network whose output does not fit the labels fails in its first step, and says where. */
static void outputs_that_do_not_fit(void **state) {
    (void)state;
    planted p = planted_new(PLANTED_CLASSES, 320, 1);
    nas_module *narrow = planted_model(1);
    p.config.model = narrow;
    nas_trainer *t = nas_trainer_new(&p.config);
    if (t) {
        assert_int_not_equal(nas_trainer_train(t), NAS_OK);
    }
    assert_int_not_equal(nas_error_status(), NAS_OK);
    assert_non_null(strstr(nas_error_message(), "class"));
    nas_error_clear();
    nas_trainer_free(t);
    nas_free(narrow);
    planted_free(&p);
}

static int clear_error(void **state) {
    (void)state;
    nas_error_clear();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(names, clear_error),
        cmocka_unit_test_teardown(missing_members, clear_error),
        cmocka_unit_test_teardown(batches_too_large, clear_error),
        cmocka_unit_test_teardown(overlapping_parts, clear_error),
        cmocka_unit_test_teardown(other_shapes, clear_error),
        cmocka_unit_test_teardown(models_without_choices, clear_error),
        cmocka_unit_test_teardown(not_a_number, clear_error),
        cmocka_unit_test_teardown(unwritable_directory, clear_error),
        cmocka_unit_test_teardown(outputs_that_do_not_fit, clear_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
