/* The log of a run: its schema, what the rows become, resuming, crashes, readers at work, and failures of the disk.
 * labels: threads */
#include "support.h"
#include "rows.h"
#include "core/file.h"
#include "core/memory.h"
#include "run/reader.h"
#include "run/run.h"

#include <math.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char *base, *directory, *path;

static int set_up(void **state) {
    (void)state;
    base = temporary_directory();
    directory = nas__join(base, "a-run");
    path = nas__join(directory, "run.sqlite");
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    nas_error_clear();
    free(path);
    free(directory);
    remove_directory(base);
    return 0;
}

static const nas__run_info info = {
    .kind = "search",
    .strategy = "darts",
    .space = "nb201",
    .data = "fashion-mnist",
    .space_hash = 0xabcdef,
    .seed = 3,
    .threads = 2,
    .config = "{\"epochs\": 4}",
    .epochs = 4,
    .steps_per_epoch = 10,
    .log_every = 2,
};

/* --- reading -------------------------------------------------------------------------------------- */
static sqlite3 *open_reader(void) {
    sqlite3 *db = NULL;
    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL)) {
        fail_msg("%s: %s", path, sqlite3_errmsg(db));
    }
    sqlite3_busy_timeout(db, 2000);
    return db;
}

static void expect_in(sqlite3 *db, const char *sql, const char *expected) {
    char *got = rows(db, sql);
    if (strcmp(got, expected)) {
        fail_msg("%s:\n gave     %.2000s\n expected %.2000s", sql, got, expected);
    }
    free(got);
}

static void expect(const char *sql, const char *expected) {
    sqlite3 *db = open_reader();
    expect_in(db, sql, expected);
    sqlite3_close(db);
}

/* --- a made-up run, the same whenever it is played ------------------------------------------------- */
static int loss, acc;

static nas__run *name_metrics(nas__run *run) {
    loss = nas__run_metric(run, "loss", "train", "", -1, "step", false);
    acc = nas__run_metric(run, "acc1", "valid", "", 1, "epoch", true);
    return run;
}

/* Steps of epoch e (1-based) are (e-1)*10+1 .. e*10, logged every second one. */
static void play_epoch(nas__run *run, int epoch, int last_step_of_epoch) {
    for (int i = 2; i <= last_step_of_epoch; i += 2) {
        int64_t step = (epoch - 1) * 10 + i;
        double value = i == 4 && epoch == 2 ? NAN : 1.0 / (double)step;
        nas__run_tick(run, step, epoch, 1, &loss, &value);
    }
    if (last_step_of_epoch < 10) {
        return;
    }
    nas__run_probability(run, epoch, 0, 3, (double[]){0.5, 0.25, 0.25}, 0, 0.9);
    nas__run_probability(run, epoch, 1, 2, (double[]){0.125 * epoch, 1 - 0.125 * epoch}, 1, 0.5);
    double score = epoch == 3 ? 0.9 : 0.1 * epoch;
    nas__run_evaluation(run, 0, epoch, epoch * 10, acc, score, 1, 0.5, epoch != 4);
    nas__run_epoch(run, &(nas__run_epoch_row){.epoch = epoch,
                                              .step = epoch * 10,
                                              .entropy = 0.7,
                                              .skip_share = NAN,
                                              .images_per_s = 100,
                                              .rank_stable = epoch,
                                              .n = 1,
                                              .metrics = &acc,
                                              .values = &score});
}

static nas__run *create(void) {
    nas__run *run = nas__run_create(directory, &info);
    assert_no_error();
    assert_non_null(run);
    return name_metrics(run);
}

static void play(int from, int to) {
    nas__run *run = from == 1 ? create() : nas__run_resume(directory, &info, from - 1, (from - 1) * 10);
    assert_no_error();
    name_metrics(run);
    for (int epoch = from; epoch <= to; epoch++) {
        play_epoch(run, epoch, 10);
    }
    assert_int_equal(nas__run_close(run, "finished", NULL), NAS_OK);
}

/* --- tests ---------------------------------------------------------------------------------------- */
static void schema_is_format_1(void **state) {
    (void)state;
    play(1, 1);
    expect("PRAGMA application_id", "1163087937;");
    expect("PRAGMA user_version", "100;");
    expect("PRAGMA page_size", "4096;");
    expect("PRAGMA journal_mode", "delete;");
    expect("PRAGMA integrity_check", "ok;");
    expect("SELECT name FROM sqlite_schema WHERE type='table' ORDER BY name",
           "architecture;candidate;edge;epoch;epoch_metric;evaluation;event;metric;mutable;node;op;probability;profile;"
           "run;sample;scalar;"
           "stage;tick;");
    expect(
        "SELECT group_concat(name) FROM pragma_table_info('run')",
        "id,uuid,name,kind,strategy,space,space_hash,data,seed,threads,ranks,command,config,machine,version,created_"
        "unix_ms,segment,"
        "status,status_detail,pid,pid_start,boot_id,host,heartbeat_unix_ms,active_ms,cpu_ms,energy_j,peak_rss_bytes,"
        "epoch,epochs,"
        "step,steps_per_epoch,log_every,primary_metric,best_evaluation,best_score,evaluations,trend,warnings,errors;");
    expect("SELECT group_concat(name) FROM pragma_table_info('evaluation')",
           "id,architecture_id,epoch,step,t_ms,metric_id,score,kind,seconds;");
    expect("SELECT group_concat(name) FROM pragma_table_info('probability')", "epoch,mutable_id,p,argmax,entropy;");
    expect("SELECT name FROM sqlite_schema WHERE sql LIKE '%WITHOUT ROWID%' ORDER BY name",
           "candidate;epoch_metric;probability;profile;scalar;");
    expect("SELECT name FROM sqlite_schema WHERE type='index' AND sql NOT NULL ORDER BY name",
           "evaluation_architecture;evaluation_score;");
    char *wal = nas__format("%s-wal", path);
    assert_false(nas__exists(wal));
    free(wal);
}

static void rows_say_what_was_given(void **state) {
    (void)state;
    play(1, 4);
    expect("SELECT name, split, direction, per FROM metric ORDER BY id", "loss,train,-1,step;acc1,valid,1,epoch;");
    expect("SELECT step, epoch FROM tick WHERE epoch=2", "12,2;14,2;16,2;18,2;20,2;");
    expect("SELECT step, value FROM scalar WHERE step BETWEEN 14 AND 20 AND metric_id=1",
           "14,;16,0.0625;18,0.0555555555555556;20,0.05;");
    expect("SELECT epoch, step, entropy, skip_share, rank_stable, images_per_s, derived_architecture FROM epoch WHERE "
           "epoch=2",
           "2,20,0.7,,2,100.0,;");
    expect("SELECT epoch, value FROM epoch_metric WHERE metric_id=2", "1,0.1;2,0.2;3,0.9;4,0.4;");
    expect("SELECT mutable_id, hex(p), argmax FROM probability WHERE epoch=4",
           "1,0000003F0000803E0000803E,0;2,0000003F0000003F,1;");
    expect("SELECT kind, strategy, space, space_hash, seed, threads, segment, status, epoch, epochs, step, "
           "evaluations, best_evaluation, "
           "best_score, primary_metric, trend, name FROM run",
           "search,darts,nb201,0000000000abcdef,3,2,1,finished,4,4,40,4,3,0.9,2,[0.1,0.2,0.9,0.4],a-run;");
    expect(
        "SELECT config, json_extract(machine,'$.espalier') = version, peak_rss_bytes > 1000000, length(uuid) FROM run",
        "{\"epochs\": 4},1,1,36;");
    char *config = nas__join(directory, "config.json"), *text = nas__read_file(config, NULL);
    assert_non_null(strstr(text, "\"epochs\": 4"));
    assert_non_null(strstr(text, "\"machine\""));
    free(text);
    free(config);
}

static const char *const lasting[] = {
    "SELECT step, epoch FROM tick",
    "SELECT * FROM scalar",
    "SELECT epoch, step, entropy, skip_share, rank_stable, images_per_s, derived_architecture FROM epoch",
    "SELECT * FROM epoch_metric",
    "SELECT epoch, mutable_id, hex(p), argmax, entropy FROM probability",
    "SELECT id, architecture_id, epoch, step, metric_id, score, kind, seconds FROM evaluation",
    "SELECT id, hex(hash), hex(code), first_epoch FROM architecture",
    "SELECT * FROM metric",
    "SELECT epoch, step, evaluations, best_evaluation, best_score, primary_metric, trend FROM run",
};
enum { LASTING = sizeof lasting / sizeof *lasting };

static void resumed_log_equals_an_uninterrupted_one(void **state) {
    (void)state;
    char *whole[LASTING];
    play(1, 4);
    sqlite3 *db = open_reader();
    for (int i = 0; i < LASTING; i++) {
        whole[i] = rows(db, lasting[i]);
    }
    sqlite3_close(db);
    free(directory);
    free(path);
    directory = nas__join(base, "b-run");
    path = nas__join(directory, "run.sqlite");
    nas__run *run = create(); /* two epochs, a part of the third, the checkpoint is that of epoch 2 */
    for (int epoch = 1; epoch <= 3; epoch++) {
        play_epoch(run, epoch, 10);
    }
    play_epoch(run, 4, 6);
    nas__run_event(run, NAS_LOG_WARN, "collapse", 3, 30, "kept");
    assert_int_equal(nas__run_close(run, "stopped", "signal"), NAS_OK);
    expect("SELECT status, status_detail, warnings FROM run", "stopped,signal,1;");
    play(3, 4);
    db = open_reader();
    for (int i = 0; i < LASTING; i++) {
        expect_in(db, lasting[i], whole[i]);
        free(whole[i]);
    }
    expect_in(db, "SELECT segment, status, status_detail, warnings FROM run", "2,finished,,1;");
    expect_in(db, "SELECT segment, kind, epoch, step FROM event ORDER BY id", "1,collapse,3,30;2,resume,2,20;");
    sqlite3_close(db);
}

static void resuming_from_the_beginning_empties_the_log(void **state) {
    (void)state;
    play(1, 2);
    nas__run *run = nas__run_resume(directory, &info, 0, 0);
    assert_no_error();
    assert_int_equal(nas__run_close(run, "stopped", NULL), NAS_OK);
    expect("SELECT (SELECT count(*) FROM tick) + (SELECT count(*) FROM scalar) + (SELECT count(*) FROM epoch) + "
           "(SELECT count(*) FROM "
           "epoch_metric) + (SELECT count(*) FROM probability) + (SELECT count(*) FROM evaluation)",
           "0;");
    expect("SELECT epoch, step, evaluations, best_evaluation, trend FROM run", "0,0,0,,[];");
}

static void wrong_directories_are_refused(void **state) {
    (void)state;
    assert_false(nas__run_exists(directory));
    assert_null(nas__run_resume(directory, &info, 0, 0));
    assert_error(NAS_NOT_FOUND, "no run to resume");
    play(1, 1);
    assert_true(nas__run_exists(directory));
    assert_null(nas__run_create(directory, &info));
    assert_error(NAS_USAGE, "is not empty");
    nas__run_info other = info;
    other.strategy = "gdas";
    assert_null(nas__run_resume(directory, &other, 1, 10));
    assert_error(NAS_USAGE, "strategy darts and cannot go on with gdas");
    other = info;
    other.space_hash++;
    assert_null(nas__run_resume(directory, &other, 1, 10));
    assert_error(NAS_USAGE, "space of hash");
    assert_null(nas__run_create("/proc/nothing/here", &info));
    assert_error(NAS_IO, "/proc/nothing/here");
    nas__run *run = nas__run_resume(directory, &info, 1, 10);
    assert_null(nas__run_resume(directory, &info, 1, 10));
    assert_error(NAS_USAGE, "still being written by process");
    nas__run_close(run, "finished", NULL);
}

static void damaged_logs_are_refused(void **state) {
    (void)state;
    play(1, 4);
    size_t size;
    char *file = nas__read_file(path, &size);
    nas__write_file(path, file, size / 2);
    assert_null(nas__run_resume(directory, &info, 1, 10));
    assert_error(NAS_PARSE, "is damaged");
    char text[600];
    memset(text, 'x', sizeof text);
    nas__write_file(path, text, sizeof text);
    assert_null(nas__run_resume(directory, &info, 1, 10));
    assert_error(NAS_PARSE, "is damaged or not the log of a run");
    nas__write_file(path, file, size);
    sqlite3 *db;
    sqlite3_open(path, &db);
    sqlite3_exec(db, "PRAGMA user_version=200", NULL, NULL, NULL);
    sqlite3_close(db);
    assert_null(nas__run_resume(directory, &info, 1, 10));
    assert_error(NAS_UNSUPPORTED, "format 2.00");
    free(file);
}

static void databases_of_something_else_are_no_logs(void **state) {
    (void)state;
    sqlite3 *db;
    nas__reader r;
    assert_int_equal(nas__make_directory(directory), NAS_OK);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "PRAGMA user_version=100; CREATE TABLE run(name)", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    assert_int_equal(nas__reader_open(&r, directory), NAS_PARSE);
    assert_non_null(strstr(nas_error_message(), "something else"));
    nas__reader_close(&r);
}

static void pause_ms(int ms) { nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000L}, NULL); }

static void killed_process_leaves_a_readable_log(void **state) {
    (void)state;
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        nas__run *run = name_metrics(nas__run_create(directory, &info));
        play_epoch(run, 1, 10);
        play_epoch(run, 2, 10);
        pause_ms(300);
        char done = 1;
        for (int64_t step = 21;; step++) { /* writes without end: the signal comes in the middle */
            double value = 1;
            nas__run_tick(run, step, 3, 1, &loss, &value);
            if (step == 2000 && write(ready[1], &done, 1) != 1) {
                _exit(1);
            }
        }
    }
    char done = 0;
    assert_int_equal(read(ready[0], &done, 1), 1);
    expect("SELECT status, epoch FROM run", "running,2;");
    assert_null(nas__run_resume(directory, &info, 2, 20));
    assert_error(NAS_USAGE, "still being written by process");
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    close(ready[0]);
    close(ready[1]);
    expect("PRAGMA integrity_check", "ok;");
    expect("SELECT epoch, step FROM epoch", "1,10;2,20;");
    expect("SELECT count(*) FROM probability", "4;");
    play(3, 4); /* and the next one goes on behind the checkpoint */
    expect("SELECT group_concat(step) FROM tick", "2,4,6,8,10,12,14,16,18,20,22,24,26,28,30,32,34,36,38,40;");
    expect("SELECT segment, status, evaluations FROM run", "2,finished,4;");
}

static void readers_see_whole_epochs_while_it_is_written(void **state) {
    (void)state;
    pid_t child = fork(); /* before there is a thread */
    if (child == 0) {     /* whatever it sees: an epoch has its metric, its probabilities and its summary */
        int seen = 0, bad = 0;
        for (int i = 0; i < 2000 && !nas__exists(path); i++) {
            pause_ms(1);
        }
        sqlite3 *db = NULL;
        sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL);
        sqlite3_busy_timeout(db, 2000);
        sqlite3_stmt *s = NULL;
        bad +=
            sqlite3_prepare_v2(
                db,
                "SELECT (SELECT count(*) FROM epoch), (SELECT count(*) FROM epoch_metric), (SELECT count(*)/2.0 FROM "
                "probability), (SELECT epoch FROM run)",
                -1, &s, NULL) != SQLITE_OK;
        for (int i = 0; i < 4000 && seen < 60 && !bad; i++) {
            bad += sqlite3_step(s) != SQLITE_ROW;
            seen = sqlite3_column_int(s, 0);
            for (int k = 1; k < 4; k++) {
                bad += sqlite3_column_double(s, k) != seen;
            }
            sqlite3_reset(s);
            pause_ms(1);
        }
        _exit(bad || seen < 60);
    }
    nas__run *run = create();
    for (int epoch = 1; epoch <= 60; epoch++) {
        play_epoch(run, epoch, 10);
        pause_ms(2);
    }
    int result = -1;
    waitpid(child, &result, 0);
    assert_int_equal(result, 0);
    assert_int_equal(nas__run_close(run, "finished", NULL), NAS_OK);
}

static void rows_are_committed_within_a_second_and_the_heart_beats(void **state) {
    (void)state;
    nas__run *run = create();
    double value = 1;
    nas__run_tick(run, 1, 1, 1, &loss, &value);
    nas__run_sample(run, 10, 20, NAN);
    nas__run_sample(run, 11, 21, NAN); /* too soon: dropped */
    pause_ms(900);
    expect("SELECT count(*) FROM tick", "1;");
    expect("SELECT images_per_s, step_ms, data_wait_ms, rss_bytes > 1000000, threads >= 2 FROM sample",
           "10.0,20.0,,1,1;");
    sqlite3 *db = open_reader();
    char *before = rows(db, "SELECT heartbeat_unix_ms FROM run");
    pause_ms(4500);
    char *after = rows(db, "SELECT heartbeat_unix_ms FROM run");
    assert_in_range(atoll(after) - atoll(before), 3000, 5000);
    sqlite3_close(db);
    free(before);
    free(after);
    nas__run_close(run, "finished", NULL);
}

static void many_rows_pass_through_the_queue(void **state) {
    (void)state;
    nas__run *run = create();
    double values[2] = {0.5, 0.25};
    for (int64_t step = 1; step <= 100000; step++) {
        nas__run_tick(run, step, 1, 2, (int[]){loss, acc}, values);
    }
    assert_int_equal(nas__run_close(run, "finished", NULL), NAS_OK);
    expect("SELECT count(*), sum(value) FROM scalar", "200000,75000.0;");
    expect("SELECT step FROM run", "100000;");
}

static void removed_directory_is_reported(void **state) {
    (void)state;
    nas__run *run = create();
    assert_int_equal(nas__run_check(run), NAS_OK);
    remove_directory(nas__strdup(directory));
    play_epoch(run, 1, 10);
    for (int i = 0; i < 100 && !nas__run_check(run); i++) {
        pause_ms(20);
    }
    assert_error(NAS_IO, "was removed or replaced");
    for (int epoch = 2; epoch < 5; epoch++) {
        play_epoch(run, epoch, 10); /* nothing blocks or crashes */
    }
    assert_int_equal(nas__run_close(run, "finished", NULL), NAS_IO);
    assert_error(NAS_IO, "run.sqlite: the run cannot be logged any more");
}

/* A limit on file sizes stands for a full disk. */
static void full_disk_is_reported(void **state) {
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){300000, 300000});
        nas__run *run = nas__run_create(directory, &info);
        name_metrics(run);
        double value = 1;
        for (int64_t step = 1; run && step <= 300000 && !nas_error_status(); step++) {
            nas__run_tick(run, step, 1, 1, &loss, &value);
            nas__run_check(run);
        }
        bool said = run && nas_error_status() == NAS_IO && strstr(nas_error_message(), "cannot be logged any more");
        nas_error_clear();
        bool again = nas__run_close(run, "failed", NULL) == NAS_IO;
        _exit(said && again ? 0 : 1);
    }
    int result = -1;
    waitpid(child, &result, 0);
    assert_int_equal(result, 0);
    expect("PRAGMA integrity_check", "ok;");
}

static void no_run_is_no_trouble(void **state) {
    (void)state;
    assert_int_equal(nas__run_metric(NULL, "a", "b", "c", 1, "step", true), 0);
    nas__run_tick(NULL, 1, 1, 0, NULL, NULL);
    nas__run_epoch(NULL, NULL);
    nas__run_probability(NULL, 1, 1, 0, NULL, 0, 0);
    nas__run_evaluation(NULL, 0, 0, 0, 0, 0, 0, 0, false);
    nas__run_event(NULL, NAS_LOG_INFO, "a", 0, 0, "b");
    nas__run_sample(NULL, 0, 0, 0);
    assert_int_equal(nas__run_check(NULL), NAS_OK);
    assert_int_equal(nas__run_close(NULL, "finished", NULL), NAS_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(schema_is_format_1, set_up, tear_down),
        cmocka_unit_test_setup_teardown(rows_say_what_was_given, set_up, tear_down),
        cmocka_unit_test_setup_teardown(resumed_log_equals_an_uninterrupted_one, set_up, tear_down),
        cmocka_unit_test_setup_teardown(resuming_from_the_beginning_empties_the_log, set_up, tear_down),
        cmocka_unit_test_setup_teardown(wrong_directories_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(damaged_logs_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(databases_of_something_else_are_no_logs, set_up, tear_down),
        cmocka_unit_test_setup_teardown(killed_process_leaves_a_readable_log, set_up, tear_down),
        cmocka_unit_test_setup_teardown(readers_see_whole_epochs_while_it_is_written, set_up, tear_down),
        cmocka_unit_test_setup_teardown(rows_are_committed_within_a_second_and_the_heart_beats, set_up, tear_down),
        cmocka_unit_test_setup_teardown(many_rows_pass_through_the_queue, set_up, tear_down),
        cmocka_unit_test_setup_teardown(removed_directory_is_reported, set_up, tear_down),
        cmocka_unit_test_setup_teardown(full_disk_is_reported, set_up, tear_down),
        cmocka_unit_test_setup_teardown(no_run_is_no_trouble, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
