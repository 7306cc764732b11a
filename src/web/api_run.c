/* api_run.c - one run: what it is and how it is; its events, samples, profile and files. */
#include "web/api.h"
#include "core/error.h"
#include "core/file.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

json_t *nas__api_cursors(nas__reader *run) {
    sqlite3_stmt *s = nas__reader_query(
        run,
        "SELECT ifnull((SELECT max(step) FROM tick),-1) AS step, ifnull((SELECT max(epoch) FROM epoch),0) AS epoch, "
        "ifnull((SELECT max(id) FROM evaluation),0) AS evaluation, ifnull((SELECT max(id) FROM event),0) AS event, "
        "ifnull((SELECT max(t_ms) FROM sample),-1) AS sample",
        0, NULL);
    if (!nas__reader_row(run, s)) {
        return NULL;
    }
    json_t *cursors = nas__row_json(s);
    sqlite3_finalize(s);
    return cursors;
}

static void add_texts(nas__reader *run, json_t *answer) {
    sqlite3_stmt *s = nas__reader_query(run,
                                        "SELECT config, machine, command, threads, version, uuid, heartbeat_unix_ms, "
                                        "log_every, steps_per_epoch, primary_metric FROM run",
                                        0, NULL);
    if (!nas__reader_row(run, s)) {
        return;
    }
    json_object_set_new(answer, "config", nas__column_parsed(s, 0));
    json_object_set_new(answer, "machine", nas__column_parsed(s, 1));
    for (int i = 2; i < sqlite3_column_count(s); i++) {
        json_object_set_new(answer, sqlite3_column_name(s, i), nas__column_json(s, i));
    }
    sqlite3_finalize(s);
}

json_t *nas__get_run(nas__call *call) {
    nas__run_state state;
    json_t *answer = nas__run_summary(&call->run, &state);
    json_t *known = nas__runs_summary(call->runs, call->id);
    if (!answer) {
        json_decref(known);
        return nas__api_failed(call);
    }
    json_object_set_new(answer, "id", json_string(call->id));
    json_object_set(answer, "path", json_object_get(known, "path"));
    json_decref(known);
    add_texts(&call->run, answer);
    json_object_set_new(answer, "cursors", nas__api_cursors(&call->run));
    json_object_set_new(
        answer, "metrics",
        nas__rows_json(&call->run, "SELECT id, name, split, unit, direction, per FROM metric ORDER BY id", 0, NULL));
    json_object_set_new(answer, "health", nas__run_health(&call->run, state));
    json_object_set_new(answer, "advice", nas__run_advice(&call->run, state, call->directory));
    if (nas_error_status()) {
        json_decref(answer);
        return nas__api_failed(call);
    }
    return answer;
}

/* --- events and samples ---------------------------------------------------------------------------------- */
json_t *nas__get_events(nas__call *call) {
    static const char *const levels[] = {"info", "warn", "error", NULL};
    int64_t after = nas__api_int(call, "after", 0, 0, INT64_MAX), limit = nas__api_int(call, "limit", 500, 1, 10000);
    int level = nas__api_word(call, "level", 0, levels);
    return nas__api_columns(
        call,
        "SELECT id, unix_ms, segment, step, epoch, level, kind, mutable_id, message FROM event WHERE id > "
        "?1 AND level >= ?2 ORDER BY id",
        2, (int64_t[]){after, 10 * (level + 1)}, limit);
}

/* Thinned evenly to at most `points`, the last one kept. */
json_t *nas__get_samples(nas__call *call) {
    int64_t after = nas__api_int(call, "after_ms", -1, -1, INT64_MAX),
            points = nas__api_int(call, "points", 500, 2, 4000);
    return nas__api_columns(call,
                            "WITH numbered AS (SELECT *, row_number() OVER (ORDER BY t_ms DESC) - 1 AS i, count(*) "
                            "OVER () AS n FROM sample "
                            "WHERE t_ms > ?1) SELECT t_ms, unix_ms, rss_bytes, cpu_ms, threads, images_per_s, step_ms, "
                            "data_wait_ms, energy_j "
                            "FROM numbered WHERE i % ((n + ?2 - 1) / ?2) = 0 ORDER BY t_ms",
                            2, (int64_t[]){after, points}, points + 1);
}

json_t *nas__get_profile(nas__call *call) {
    int64_t last = nas__reader_int(&call->run, "SELECT max(epoch) FROM profile", -1);
    int64_t epoch =
        strcmp(nas__api_text(call, "epoch"), "last") ? nas__api_int(call, "epoch", last, 0, INT64_MAX) : last;
    json_t *answer =
        nas__api_columns(call,
                         "SELECT o.name AS name, o.shape AS shape, p.phase AS phase, p.calls AS calls, p.ns AS ns, "
                         "p.flops AS flops, p.bytes "
                         "AS bytes FROM profile p JOIN op o ON o.id = p.op_id WHERE p.epoch = ?1 ORDER BY p.ns DESC",
                         1, &epoch, 10000);
    if (answer) {
        json_object_set_new(answer, "epoch", last < 0 ? json_null() : json_integer(epoch));
    }
    return answer;
}

/* --- files ------------------------------------------------------------------------------------------------- */
/* Links could lead anywhere. */
static bool is_plain(const char *path, int64_t largest) {
    struct stat st;
    return !lstat(path, &st) && S_ISREG(st.st_mode) && st.st_size <= largest;
}

json_t *nas__get_file(nas__call *call) {
    static const char *const allowed[] = {
        "config.json", "final_architecture.json", "search-result.json", "result.json", "pareto.json", NULL};
    enum { LARGEST = 16 << 20 };
    for (int i = 0; allowed[i]; i++) {
        if (strcmp(call->rest, allowed[i])) {
            continue;
        }
        char *path = nas__join(call->directory, allowed[i]);
        char *text = path && is_plain(path, LARGEST) ? nas__read_file(path, NULL) : NULL;
        json_t *value = text ? json_loads(text, JSON_REJECT_DUPLICATES, NULL) : NULL;
        free(path);
        free(text);
        return value
                   ? value
                   : nas__api_fail(call, 404, "no_file", "the run has no such file, or it is not JSON of at most 16 MB",
                                   "a search writes it when it ends");
    }
    return nas__api_fail(call, 404, "not_found", "no file of this name is handed out",
                         "docs/http-api.md lists the files");
}
