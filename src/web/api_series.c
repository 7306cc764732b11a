/* api_series.c - curves. A long one is sent in buckets whose edges are multiples of their width, so that they never
 * move while the run goes on; each tells its least, mean, greatest and last value. */
#include "web/api.h"
#include "core/error.h"
#include "io/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BY_STEP, BY_EPOCH, BY_TIME };
static const char *const axes[] = {"step", "epoch", "time", NULL};

typedef struct window {
    int axis;
    int64_t from, to, points, width;
} window;

/* Columns x, value; of the metric ?1, with x in [?2, ?3], in order. */
static const char *const step_sql[] = {
    "SELECT s.step, s.value FROM scalar s WHERE s.metric_id=?1 AND s.step BETWEEN ?2 AND ?3 ORDER BY s.step",
    "SELECT t.epoch, s.value FROM scalar s JOIN tick t ON t.step=s.step WHERE s.metric_id=?1 AND t.epoch BETWEEN ?2 "
    "AND ?3 "
    "ORDER BY s.step",
    "SELECT t.t_ms, s.value FROM scalar s JOIN tick t ON t.step=s.step WHERE s.metric_id=?1 AND t.t_ms BETWEEN ?2 AND "
    "?3 "
    "ORDER BY s.step"};
static const char *const epoch_sql[] = {
    "SELECT e.step, m.value FROM epoch_metric m JOIN epoch e ON e.epoch=m.epoch WHERE m.metric_id=?1 AND e.step "
    "BETWEEN ?2 "
    "AND ?3 ORDER BY m.epoch",
    "SELECT m.epoch, m.value FROM epoch_metric m WHERE m.metric_id=?1 AND m.epoch BETWEEN ?2 AND ?3 ORDER BY m.epoch",
    "SELECT e.t_ms, m.value FROM epoch_metric m JOIN epoch e ON e.epoch=m.epoch WHERE m.metric_id=?1 AND e.t_ms "
    "BETWEEN ?2 "
    "AND ?3 ORDER BY m.epoch"};

/* --- buckets ------------------------------------------------------------------------------------------- */
typedef struct bucket {
    int64_t x, n;
    double min, max, sum, last;
} bucket;

typedef struct curve {
    json_t *x, *min, *mean, *max, *last, *n;
    int64_t bad;
} curve;

static void put(curve *c, const bucket *b) {
    json_array_append_new(c->x, json_integer(b->x));
    json_array_append_new(c->min, nas__real_json(b->n ? b->min : NAN));
    json_array_append_new(c->mean, nas__real_json(b->n ? b->sum / (double)b->n : NAN));
    json_array_append_new(c->max, nas__real_json(b->n ? b->max : NAN));
    json_array_append_new(c->last, nas__real_json(b->n ? b->last : NAN));
    json_array_append_new(c->n, json_integer(b->n));
}

static void add(bucket *b, curve *c, double value) {
    if (!isfinite(value)) {
        c->bad++;
        return;
    }
    b->min = b->n ? fmin(b->min, value) : value;
    b->max = b->n ? fmax(b->max, value) : value;
    b->sum += value;
    b->last = value;
    b->n++;
}

/* Empty buckets are not sent; one that holds only values that are not finite is, as a gap. */
static void fill(nas__reader *run, const char *sql, int64_t metric, const window *w, curve *c) {
    sqlite3_stmt *s = nas__reader_query(run, sql, 3, (int64_t[]){metric, w->from, w->to});
    bucket b = {0};
    bool open = false;
    while (nas__reader_row(run, s)) {
        int64_t x = sqlite3_column_int64(s, 0) / w->width * w->width;
        if (open && x != b.x) {
            put(c, &b);
        }
        if (!open || x != b.x) {
            b = (bucket){.x = x};
            open = true;
        }
        add(&b, c, sqlite3_column_type(s, 1) == SQLITE_NULL ? NAN : sqlite3_column_double(s, 1));
    }
    if (open) {
        put(c, &b);
    }
}

/* The smallest width 2^k with which the whole curve has at most that many buckets; 1 while every row fits. */
static int64_t choose_width(nas__reader *run, const window *w) {
    static const char *const range_sql[] = {"SELECT count(*), ifnull(max(step),0) FROM tick",
                                            "SELECT count(*), ifnull(max(epoch),0) FROM epoch",
                                            "SELECT count(*), ifnull(max(t_ms),0) FROM tick"};
    sqlite3_stmt *s = nas__reader_query(run, range_sql[w->axis], 0, NULL);
    if (!nas__reader_row(run, s)) {
        return 1;
    }
    int64_t rows = sqlite3_column_int64(s, 0), most = sqlite3_column_int64(s, 1), width = 1;
    sqlite3_finalize(s);
    while (rows > w->points && most / width >= w->points) {
        width *= 2;
    }
    return width;
}

static json_t *series_of(nas__call *call, int64_t metric, const window *w) {
    sqlite3_stmt *s = nas__reader_query(&call->run, "SELECT per='step' FROM metric WHERE id=?1", 1, &metric);
    if (!nas__reader_row(&call->run, s)) {
        return nas__api_fail(call, 404, "no_metric", "the run has no metric of this id",
                             "/api/runs/ID lists its metrics");
    }
    bool per_step = sqlite3_column_int(s, 0);
    sqlite3_finalize(s);
    curve c = {json_array(), json_array(), json_array(), json_array(), json_array(), json_array(), 0};
    fill(&call->run, (per_step ? step_sql : epoch_sql)[w->axis], metric, w, &c);
    return json_pack("{s:I, s:I, s:{s:o, s:o, s:o, s:o, s:o, s:o}}", "metric", (json_int_t)metric, "bad",
                     (json_int_t)c.bad, "columns", "x", c.x, "min", c.min, "mean", c.mean, "max", c.max, "last", c.last,
                     "n", c.n);
}

static int64_t last_x(const json_t *series) {
    const json_t *x = json_object_get(json_object_get(series, "columns"), "x");
    size_t n = json_array_size(x);
    return n ? json_integer_value(json_array_get(x, n - 1)) : 0;
}

json_t *nas__get_series(nas__call *call) {
    static const char *const units[] = {"step", "epoch", "ms"};
    enum { MOST_SERIES = 16 };
    window w = {.axis = nas__api_word(call, "x", BY_STEP, axes),
                .from = nas__api_int(call, "from", 0, 0, INT64_MAX),
                .to = nas__api_int(call, "to", INT64_MAX, 0, INT64_MAX),
                .points = nas__api_int(call, "points", 1000, 2, NAS__MOST_POINTS),
                .width = nas__api_int(call, "width", 0, 1, INT64_C(1) << 40)};
    if (call->status) {
        return NULL;
    }
    w.width = w.width ? w.width : choose_width(&call->run, &w);
    json_t *list = json_array();
    int64_t next = w.from;
    const char *p = nas__api_text(call, "metrics");
    for (int n = 0; *p && !call->status && n < MOST_SERIES; n++) {
        char *end;
        long long metric = strtoll(p, &end, 10);
        if (end == p || (*end && *end != ',')) {
            nas__api_fail(call, 400, "bad_parameter", "metrics takes ids of metrics, separated by commas",
                          "/api/runs/ID lists its metrics");
            break;
        }
        json_t *series = series_of(call, metric, &w);
        next = series && last_x(series) > next ? last_x(series) : next;
        json_array_append_new(list, series);
        p = *end ? end + 1 : end;
    }
    return json_pack("{s:s, s:I, s:o, s:I}", "x_unit", units[w.axis], "width", (json_int_t)w.width, "series", list,
                     "next", (json_int_t)next);
}

/* --- epochs ---------------------------------------------------------------------------------------------- */
/* One column m<ID> for every metric per epoch. */
static void add_metrics(nas__call *call, json_t *columns, int64_t after, int64_t limit) {
    sqlite3_stmt *s = nas__reader_query(&call->run, "SELECT id FROM metric WHERE per='epoch' ORDER BY id", 0, NULL);
    while (nas__reader_row(&call->run, s)) {
        char name[32];
        snprintf(name, sizeof name, "m%lld", (long long)sqlite3_column_int64(s, 0));
        sqlite3_stmt *values =
            nas__reader_query(&call->run,
                              "SELECT m.value AS value FROM (SELECT epoch FROM epoch WHERE epoch > ?2 ORDER BY epoch "
                              "LIMIT ?3) e LEFT JOIN "
                              "epoch_metric m ON m.epoch=e.epoch AND m.metric_id=?1 ORDER BY e.epoch",
                              3, (int64_t[]){sqlite3_column_int64(s, 0), after, limit});
        json_t *column = values ? nas__columns_json(&call->run, values, limit) : NULL;
        json_object_set(columns, name, json_object_get(column, "value"));
        json_decref(column);
    }
}

json_t *nas__get_epochs(nas__call *call) {
    int64_t after = nas__api_int(call, "after", -1, -1, INT64_MAX), limit = nas__api_int(call, "limit", 1000, 1, 10000);
    json_t *answer = nas__api_columns(call,
                                      "SELECT e.epoch AS epoch, e.step AS step, e.t_ms AS t_ms, e.unix_ms AS unix_ms, "
                                      "e.entropy AS entropy, e.skip_share AS "
                                      "skip_share, e.rank_stable AS rank_stable, e.images_per_s AS images_per_s FROM "
                                      "epoch e WHERE e.epoch > ?1 ORDER BY "
                                      "e.epoch",
                                      1, &after, limit);
    json_t *columns = json_object_get(answer, "columns"), *epochs = json_object_get(columns, "epoch");
    if (answer) {
        add_metrics(call, columns, after, limit);
        size_t n = json_array_size(epochs);
        json_object_set_new(answer, "next",
                            json_integer(n ? json_integer_value(json_array_get(epochs, n - 1)) : after));
    }
    return answer;
}
