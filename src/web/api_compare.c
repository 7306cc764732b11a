/* api_compare.c - some runs side by side: curves, their best at equal budget, and what their configurations differ in.
 */
#include "web/api.h"
#include "core/error.h"
#include "io/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_RUNS = 12 };
enum { BY_EPOCH, BY_TIME, BY_EVALUATIONS, BY_IMAGES };
static const char *const axes[] = {"epoch", "time", "evaluations", "images", NULL};
/* Columns x, value of the epoch metric ?1; "?2" is the number of images of a step. */
static const char *const curve_sql[] = {
    "SELECT m.epoch AS x, m.value AS value FROM epoch_metric m WHERE m.metric_id=?1 ORDER BY m.epoch",
    "SELECT e.t_ms AS x, m.value AS value FROM epoch_metric m JOIN epoch e ON e.epoch=m.epoch WHERE m.metric_id=?1 "
    "ORDER BY "
    "m.epoch",
    "SELECT (SELECT count(*) FROM evaluation v WHERE v.epoch<=m.epoch) AS x, m.value AS value FROM epoch_metric m "
    "WHERE "
    "m.metric_id=?1 ORDER BY m.epoch",
    "SELECT e.step*?2 AS x, m.value AS value FROM epoch_metric m JOIN epoch e ON e.epoch=m.epoch WHERE m.metric_id=?1 "
    "ORDER "
    "BY m.epoch"};

typedef struct compared {
    json_t *shown, *curve, *config;
    int direction;
} compared;

static int64_t metric_of(nas__reader *run, const char *name, const char *split, int *direction) {
    sqlite3_stmt *s = nas__reader_query(
        run,
        "SELECT id, direction FROM metric WHERE per='epoch' AND (?1='' OR name=?1) AND (?2='' OR split=?2) ORDER BY "
        "id=(SELECT primary_metric FROM run) DESC, id",
        0, NULL);
    if (s) {
        sqlite3_bind_text(s, 1, name, -1, SQLITE_TRANSIENT);
        sqlite3_bind_text(s, 2, split, -1, SQLITE_TRANSIENT);
    }
    if (!nas__reader_row(run, s)) {
        return 0;
    }
    int64_t id = sqlite3_column_int64(s, 0);
    *direction = sqlite3_column_int(s, 1);
    sqlite3_finalize(s);
    return id;
}

/* --- configuration ---------------------------------------------------------------------------------------- */
/* {"a": {"b": 1}} -> {"a.b": 1} */
static void flatten(const json_t *value, const char *prefix, json_t *out) {
    const char *key;
    json_t *inner;
    json_object_foreach((json_t *)value, key, inner) {
        char name[256];
        snprintf(name, sizeof name, "%s%s%s", prefix, *prefix ? "." : "", key);
        if (json_is_object(inner)) {
            flatten(inner, name, out);
        } else {
            json_object_set(out, name, inner);
        }
    }
}

static json_t *config_of(nas__reader *run) {
    json_t *flat = json_object();
    sqlite3_stmt *s = nas__reader_query(run, "SELECT config FROM run", 0, NULL);
    if (nas__reader_row(run, s)) {
        json_t *config = nas__column_parsed(s, 0);
        const json_t *options = json_object_get(config, "options"); /* beside them: versions and the command line */
        flatten(options ? options : config, "", flat);
        json_decref(config);
        sqlite3_finalize(s);
    }
    return flat;
}

/* [{key, values: [one of each run]}] of the keys in which they are not all alike. */
static json_t *differences(const compared *sides, int n) {
    json_t *keys = json_object(), *list = json_array(), *unused;
    const char *key;
    for (int i = 0; i < n; i++) {
        json_object_update(keys, sides[i].config);
    }
    json_object_foreach(keys, key, unused) {
        json_t *values = json_array();
        bool same = true;
        for (int i = 0; i < n; i++) {
            json_t *value = json_object_get(sides[i].config, key);
            same = same && value && json_equal(value, json_object_get(sides[0].config, key));
            json_array_append_new(values, value ? json_incref(value) : json_null());
        }
        if (!same) {
            json_array_append_new(list, json_pack("{s:s, s:O}", "key", key, "values", values));
        }
        json_decref(values);
    }
    json_decref(keys);
    return list;
}

/* --- one run ------------------------------------------------------------------------------------------------- */
static json_t *choices_of(nas__call *call, const char *directory) {
    nas__call inner = *call;
    inner.directory = (char *)directory;
    inner.rest = "final_architecture.json";
    json_t *choices = nas__get_file(&inner);
    json_decref(inner.error);
    return choices ? choices : json_null();
}

static bool open_side(nas__call *call, const char *id, int axis, compared *side) {
    char *directory = nas__runs_path(call->runs, id);
    nas__reader run = {0};
    if (!directory) {
        nas__api_fail(call, 404, "run_not_found", "there is no run of this id", "/api/runs lists the runs");
        return false;
    }
    nas__run_state state;
    json_t *summary = nas__reader_open(&run, directory) ? NULL : nas__run_summary(&run, &state);
    if (summary) {
        int64_t metric = metric_of(&run, nas__api_text(call, "metric"), nas__api_text(call, "split"), &side->direction);
        side->config = config_of(&run);
        int64_t batch = json_integer_value(json_object_get(side->config, "batch"));
        sqlite3_stmt *s =
            nas__reader_query(&run, curve_sql[axis], axis == BY_IMAGES ? 2 : 1, (int64_t[]){metric, batch});
        side->curve = s ? nas__columns_json(&run, s, 100000) : NULL;
        json_object_set_new(summary, "id", json_string(id));
        json_object_set_new(summary, "choices", choices_of(call, directory));
        json_object_set(summary, "series", side->curve);
        side->shown = summary;
    }
    nas__reader_close(&run);
    free(directory);
    if (nas_error_status()) {
        nas__api_failed(call);
    }
    return side->shown && side->curve;
}

/* --- equal budget ---------------------------------------------------------------------------------------------- */
/* A run without a curve has no say in what is a budget that all have spent. */
static double last_x(const compared *side) {
    const json_t *x = json_object_get(side->curve, "x");
    size_t n = json_array_size(x);
    return n ? json_number_value(json_array_get(x, n - 1)) : INFINITY;
}

static json_t *best_until(const compared *side, double budget) {
    const json_t *x = json_object_get(side->curve, "x"), *value = json_object_get(side->curve, "value");
    double best = NAN;
    for (size_t i = 0; i < json_array_size(x) && json_number_value(json_array_get(x, i)) <= budget; i++) {
        const json_t *at = json_array_get(value, i);
        double v = json_is_number(at) ? json_number_value(at) : NAN;
        best = isnan(best) || (side->direction < 0 ? v < best : v > best) ? (isnan(v) ? best : v) : best;
    }
    return isnan(best) ? json_null() : json_real(best);
}

json_t *nas__get_compare(nas__call *call) {
    compared sides[MOST_RUNS] = {0};
    int n = 0, axis = nas__api_word(call, "x", BY_EPOCH, axes);
    const char *p = nas__api_text(call, "runs");
    for (; *p && !call->status; p += strcspn(p, ","), p += *p == ',') {
        char id[NAS__RUN_ID] = "";
        size_t length = strcspn(p, ",");
        if (n == MOST_RUNS || length != NAS__RUN_ID - 1) {
            nas__api_fail(call, 400, "bad_parameter", "runs takes 1 to 12 ids of runs, separated by commas",
                          "/api/runs lists the runs");
            break;
        }
        memcpy(id, p, length);
        open_side(call, id, axis, &sides[n++]);
    }
    double budget = INFINITY;
    for (int i = 0; i < n; i++) {
        budget = fmin(budget, last_x(&sides[i]));
    }
    json_t *runs = json_array(), *different = call->status ? json_array() : differences(sides, n);
    for (int i = 0; i < n; i++) {
        json_object_set_new(sides[i].shown, "best_at_budget", best_until(&sides[i], budget));
        json_array_append_new(runs, sides[i].shown);
        json_decref(sides[i].curve);
        json_decref(sides[i].config);
    }
    return json_pack("{s:s, s:o, s:o, s:o}", "x", axes[axis < 0 ? 0 : axis], "budget", nas__real_json(budget), "runs",
                     runs, "differences", different);
}
