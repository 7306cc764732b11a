/* summary.c - one row of the table of runs; see summary.h */
#include "run/summary.h"
#include "core/error.h"
#include "run/process.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

enum { HEARTBEAT_MS = 60000, PATIENCE_STEPS = 10 };

const char *nas__run_state_word(nas__run_state state) {
    return (const char *[]){"running", "stalled", "crashed", "stopped", "finished", "failed", "unreadable"}[state];
}

bool nas__run_is_alive(nas__run_state state) { return state == NAS__RUN_RUNNING || state == NAS__RUN_STALLED; }

static nas__run_state stored_state(const char *word) {
    for (int i = NAS__RUN_STOPPED; i <= NAS__RUN_FAILED; i++) {
        if (!strcmp(word, nas__run_state_word(i))) {
            return i;
        }
    }
    return NAS__RUN_UNREADABLE;
}

static const char *text_of(sqlite3_stmt *s, int column) {
    const char *text = (const char *)sqlite3_column_text(s, column);
    return text ? text : "";
}

/* --- is its process alive? ---------------------------------------------------------------------------- */
static const char owner_sql[] =
    "SELECT ifnull(status,''), ifnull(pid,0), ifnull(pid_start,0), ifnull(boot_id,''), ifnull(host,''), "
    "ifnull(heartbeat_unix_ms,0), max(ifnull((SELECT unix_ms FROM tick ORDER BY step DESC LIMIT 1),0), ifnull((SELECT "
    "unix_ms FROM epoch ORDER BY epoch DESC LIMIT 1),0), ifnull((SELECT unix_ms FROM sample ORDER BY t_ms DESC LIMIT "
    "1),0), "
    "ifnull((SELECT unix_ms FROM event ORDER BY id DESC LIMIT 1),0), ifnull(created_unix_ms,0)), "
    "ifnull((SELECT avg(step_ms) FROM (SELECT step_ms FROM sample ORDER BY t_ms DESC LIMIT 20)), 0) FROM run";

/* Other hosts' processes cannot be seen from here: their heartbeat has to do. */
static bool is_gone(sqlite3_stmt *s) {
    char boot[64], host[256] = "";
    gethostname(host, sizeof host - 1);
    nas__read_line("/proc/sys/kernel/random/boot_id", boot, sizeof boot);
    return !strcmp(host, text_of(s, 4)) &&
           (strcmp(boot, text_of(s, 3)) ||
            nas__process_start(sqlite3_column_int64(s, 1)) != sqlite3_column_int64(s, 2));
}

static nas__run_state state_of_row(sqlite3_stmt *s) {
    nas__run_state stored = stored_state(text_of(s, 0));
    if (strcmp(text_of(s, 0), "running")) {
        return stored;
    }
    int64_t now = nas__unix_ms(), silence = now - sqlite3_column_int64(s, 6);
    double patience = fmax(HEARTBEAT_MS, PATIENCE_STEPS * sqlite3_column_double(s, 7));
    return is_gone(s)                                        ? NAS__RUN_CRASHED
           : now - sqlite3_column_int64(s, 5) > HEARTBEAT_MS ? NAS__RUN_STALLED
           : silence > patience                              ? NAS__RUN_STALLED
                                                             : NAS__RUN_RUNNING;
}

static bool read_state(nas__reader *r, nas__run_state *state) {
    sqlite3_stmt *s = nas__reader_query(r, owner_sql, 0, NULL);
    if (!nas__reader_row(r, s)) {
        nas__fail(NAS_PARSE, "%s: has no run in it", r->path);
        return false;
    }
    *state = state_of_row(s);
    sqlite3_finalize(s);
    return true;
}

/* --- the row -------------------------------------------------------------------------------------------- */
static const char best_sql[] =
    "SELECT e.score AS score, m.name AS metric, m.split AS split, m.direction AS direction, e.epoch AS epoch, a.macs "
    "AS "
    "macs, a.params AS params, a.latency_ms AS latency_ms, a.latency_kind AS latency_kind FROM run JOIN evaluation e "
    "ON "
    "e.id = run.best_evaluation LEFT JOIN metric m ON m.id = e.metric_id LEFT JOIN architecture a ON a.id = "
    "e.architecture_id";

static json_t *best_of(nas__reader *r) {
    sqlite3_stmt *s = nas__reader_query(r, best_sql, 0, NULL);
    if (!nas__reader_row(r, s)) {
        return json_null();
    }
    json_t *best = nas__row_json(s);
    sqlite3_finalize(s);
    return best;
}

static const char run_sql[] =
    "SELECT kind, name, strategy, space, data, seed, created_unix_ms, epoch, epochs, step, segment, peak_rss_bytes, "
    "status_detail, trend, active_ms, cpu_ms, warnings, errors, steps_per_epoch FROM run";
enum { PLAIN_COLUMNS = 13, TREND = 13, ACTIVE, CPU, WARNINGS, ERRORS, STEPS };

/* Seconds that are left if it goes on as it went; null while that cannot be said. */
static json_t *eta_of(sqlite3_stmt *s, nas__run_state state) {
    double epochs = sqlite3_column_double(s, 8), steps = epochs * sqlite3_column_double(s, STEPS);
    double done = steps > 0    ? sqlite3_column_double(s, 9) / steps
                  : epochs > 0 ? sqlite3_column_double(s, 7) / epochs
                               : 0;
    double active = sqlite3_column_double(s, ACTIVE) / 1000;
    return nas__run_is_alive(state) && done > 0 && done <= 1 ? json_real(active * (1 - done) / done) : json_null();
}

static json_t *row_of(sqlite3_stmt *s, nas__run_state state) {
    json_t *row = json_object();
    for (int i = 0; i < PLAIN_COLUMNS; i++) {
        json_object_set_new(row, sqlite3_column_name(s, i), nas__column_json(s, i));
    }
    json_object_set_new(row, "status", json_string(nas__run_state_word(state)));
    json_object_set_new(row, "trend", nas__column_parsed(s, TREND));
    json_object_set_new(row, "elapsed_s", json_real(sqlite3_column_double(s, ACTIVE) / 1000));
    json_object_set_new(row, "cpu_s", json_real(sqlite3_column_double(s, CPU) / 1000));
    json_object_set_new(row, "eta_s", eta_of(s, state));
    json_object_set_new(row, "notes",
                        json_pack("{s:I, s:I}", "warn", (json_int_t)sqlite3_column_int64(s, WARNINGS), "error",
                                  (json_int_t)sqlite3_column_int64(s, ERRORS)));
    return row;
}

json_t *nas__run_summary(nas__reader *r, nas__run_state *state) {
    nas__run_state found = NAS__RUN_UNREADABLE;
    if (!read_state(r, &found)) {
        return NULL;
    }
    sqlite3_stmt *s = nas__reader_query(r, run_sql, 0, NULL);
    if (!nas__reader_row(r, s)) {
        return nas__fail_null(NAS_PARSE, "%s: has no run in it", r->path);
    }
    json_t *row = row_of(s, found);
    sqlite3_finalize(s);
    json_object_set_new(row, "best", best_of(r));
    if (state) {
        *state = found;
    }
    if (nas_error_status()) {
        json_decref(row);
        return NULL;
    }
    return row;
}
