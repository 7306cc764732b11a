/* log.c - `espalier log`: the metrics of a run, epoch by epoch, or everything as CSV. Reads run.sqlite and nothing
 * else, also while the run is going on. */
#include "cli/cli.h"

#include "core/error.h"
#include "run/reader.h"

/* Calls row for every row; false (and an error) when the database does not answer. */
static bool each_row(nas__reader *r, const char *sql, void (*row)(sqlite3_stmt *s, void *user), void *user) {
    sqlite3_stmt *s = nas__reader_query(r, sql, 0, NULL);
    while (nas__reader_row(r, s)) {
        row(s, user);
    }
    return !nas_error_status();
}

/* --- CSV ---------------------------------------------------------------------------------------- */
static void csv_row(sqlite3_stmt *s, void *user) {
    (void)user;
    for (int i = 0; i < sqlite3_column_count(s); i++) {
        const unsigned char *text = sqlite3_column_text(s, i);
        if (i) {
            putchar(',');
        }
        if (sqlite3_column_type(s, i) == SQLITE_FLOAT) {
            printf("%.17g", sqlite3_column_double(s, i));
        } else {
            printf("%s", text ? (const char *)text : "");
        }
    }
    putchar('\n');
}

static const char csv_sql[] =
    "SELECT 'step', t.epoch, s.step, m.split, m.name, s.value FROM scalar s JOIN metric m ON m.id = s.metric_id "
    "LEFT JOIN tick t ON t.step = s.step UNION ALL "
    "SELECT 'epoch', e.epoch, p.step, m.split, m.name, e.value FROM epoch_metric e JOIN metric m ON m.id = e.metric_id "
    "LEFT JOIN epoch p ON p.epoch = e.epoch ORDER BY 3, 1 DESC, 4, 5";

/* --- text and JSON ------------------------------------------------------------------------------ */
static void text_row(sqlite3_stmt *s, void *user) {
    int *last = user, epoch = sqlite3_column_int(s, 0);
    if (epoch != *last) {
        printf("%sepoch %d", *last ? "\n" : "", epoch);
        *last = epoch;
    }
    printf("  %s %s %.4f", sqlite3_column_text(s, 1), sqlite3_column_text(s, 2), sqlite3_column_double(s, 3));
}

static void json_row(sqlite3_stmt *s, void *user) {
    json_t *list = user;
    json_array_append_new(list, json_pack("{s:i, s:s, s:s, s:o}", "epoch", sqlite3_column_int(s, 0), "split",
                                          sqlite3_column_text(s, 1), "metric", sqlite3_column_text(s, 2), "value",
                                          nas__column_json(s, 3)));
}

static const char epoch_sql[] =
    "SELECT e.epoch, m.split, m.name, e.value FROM epoch_metric e JOIN metric m ON m.id = e.metric_id "
    "ORDER BY e.epoch, m.split, m.name";

static void head_row(sqlite3_stmt *s, void *user) {
    (void)user;
    printf("%s: %s, %s, epoch %d of %d\n", sqlite3_column_text(s, 0), sqlite3_column_text(s, 1),
           sqlite3_column_text(s, 2), sqlite3_column_int(s, 3), sqlite3_column_int(s, 4));
}

static void json_head(sqlite3_stmt *s, void *user) {
    json_t *result = user;
    json_object_set_new(result, "kind", json_string((const char *)sqlite3_column_text(s, 1)));
    json_object_set_new(result, "status", json_string((const char *)sqlite3_column_text(s, 2)));
    json_object_set_new(result, "epoch", json_integer(sqlite3_column_int(s, 3)));
    json_object_set_new(result, "epochs", json_integer(sqlite3_column_int(s, 4)));
    json_object_set_new(result, "command", json_string((const char *)sqlite3_column_text(s, 5)));
}

static const char head_sql[] =
    "SELECT ifnull(name,''), ifnull(kind,''), ifnull(status,''), ifnull(epoch,0), ifnull(epochs,0), ifnull(command,'') "
    "FROM run";

static void show_json(nas__reader *r, const char *run) {
    json_t *result = json_object(), *list = json_array();
    json_object_set_new(result, "run", json_string(run));
    bool whole = each_row(r, head_sql, json_head, result) && each_row(r, epoch_sql, json_row, list);
    json_object_set_new(result, "epochs_metrics", list);
    if (whole) {
        cli_print_json(result);
    } else {
        json_decref(result);
    }
}

nas_status cli_log(cli_args *a) {
    nas__reader r = {0};
    int last = 0;
    if (a->csv && a->json) {
        return nas__fail(NAS_USAGE, "--csv and --json exclude each other");
    }
    nas_status status = nas__reader_open(&r, a->names[0]);
    r.deadline_ms = 0; /* everything may take its time */
    if (status) {
        nas__reader_close(&r);
        return status;
    }
    if (a->json) {
        show_json(&r, a->names[0]);
    } else if (a->csv) {
        printf("per,epoch,step,split,metric,value\n");
        each_row(&r, csv_sql, csv_row, NULL);
    } else if (each_row(&r, head_sql, head_row, NULL)) {
        each_row(&r, epoch_sql, text_row, &last);
        printf(last ? "\n" : "nothing is measured yet\n");
    }
    nas__reader_close(&r);
    return nas_error_status();
}
