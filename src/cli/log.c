/* log.c - `espalier log`: the metrics of a run, epoch by epoch, or everything as CSV. Reads run.sqlite and nothing
 * else, also while the run is going on. */
#include "cli/cli.h"

#include "core/error.h"
#include "core/file.h"
#include "core/memory.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

enum { KNOWN_FORMAT = 1 };

typedef struct reader {
    sqlite3 *db;
    const char *run;
    bool failed;
} reader;

/* Calls row for every row; false (and an error) when the database does not answer. */
static bool each_row(reader *r, const char *sql, void (*row)(sqlite3_stmt *s, void *user), void *user) {
    sqlite3_stmt *s = NULL;
    int code = sqlite3_prepare_v2(r->db, sql, -1, &s, NULL);
    while (code == SQLITE_OK || code == SQLITE_ROW) {
        code = sqlite3_step(s);
        if (code == SQLITE_ROW) {
            row(s, user);
        }
    }
    if (code != SQLITE_DONE) {
        nas__fail(NAS_IO, "%s/run.sqlite: %s", r->run, sqlite3_errmsg(r->db));
    }
    sqlite3_finalize(s);
    return code == SQLITE_DONE;
}

static void read_number(sqlite3_stmt *s, void *user) { *(int *)user = sqlite3_column_int(s, 0); }

static nas_status open_reader(reader *r) {
    char *path = nas__join(r->run, "run.sqlite");
    if (!path) {
        return nas_error_status();
    }
    int version = 0;
    if (!nas__exists(path)) {
        nas__fail(NAS_NOT_FOUND, "%s is no run directory: it has no run.sqlite", r->run);
    } else if (sqlite3_open_v2(path, &r->db, SQLITE_OPEN_READONLY, NULL) != SQLITE_OK) {
        nas__fail(NAS_IO, "%s: %s", path, r->db ? sqlite3_errmsg(r->db) : "cannot be opened");
    } else {
        sqlite3_busy_timeout(r->db, 200);
        sqlite3_db_config(r->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
        sqlite3_db_config(r->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
        if (each_row(r, "PRAGMA user_version", read_number, &version) && version / 100 != KNOWN_FORMAT) {
            nas__fail(NAS_UNSUPPORTED, "%s has format %d; this version reads format %d", path, version / 100,
                      KNOWN_FORMAT);
        }
    }
    free(path);
    return nas_error_status();
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
    bool known = sqlite3_column_type(s, 3) == SQLITE_FLOAT;
    json_array_append_new(list, json_pack("{s:i, s:s, s:s, s:o}", "epoch", sqlite3_column_int(s, 0), "split",
                                          sqlite3_column_text(s, 1), "metric", sqlite3_column_text(s, 2), "value",
                                          known ? json_real(sqlite3_column_double(s, 3)) : json_null()));
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

static void show_json(reader *r) {
    json_t *result = json_object(), *list = json_array();
    json_object_set_new(result, "run", json_string(r->run));
    bool whole = each_row(r, head_sql, json_head, result) && each_row(r, epoch_sql, json_row, list);
    json_object_set_new(result, "epochs_metrics", list);
    if (whole) {
        cli_print_json(result);
    } else {
        json_decref(result);
    }
}

nas_status cli_log(cli_args *a) {
    reader r = {.run = a->names[0]};
    int last = 0;
    if (a->csv && a->json) {
        return nas__fail(NAS_USAGE, "--csv and --json exclude each other");
    }
    if (open_reader(&r)) {
        sqlite3_close(r.db);
        return nas_error_status();
    }
    if (a->json) {
        show_json(&r);
    } else if (a->csv) {
        printf("per,epoch,step,split,metric,value\n");
        each_row(&r, csv_sql, csv_row, NULL);
    } else if (each_row(&r, head_sql, head_row, NULL)) {
        each_row(&r, epoch_sql, text_row, &last);
        printf(last ? "\n" : "nothing is measured yet\n");
    }
    sqlite3_close(r.db);
    return nas_error_status();
}
