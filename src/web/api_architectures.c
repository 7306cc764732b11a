/* api_architectures.c - scored architectures: the cloud with its front of accuracy against cost, and one by one. */
#include "web/api.h"
#include "core/error.h"
#include "core/memory.h"
#include "io/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct point {
    int64_t architecture, evaluation, epoch;
    double score, cost[3], latency_kind; /* NaN: not known */
    int kind;
    bool shown, front;
} point;

typedef struct cloud {
    point *point;
    size_t n;
    int sign; /* of the metric: +1, the higher the better */
    int cost; /* which of costs[] */
} cloud;

static const char *const costs[] = {"macs", "params", "latency_ms", NULL};
static const char *const kinds[] = {"supernet", "derived", "retrained", "all", NULL};
enum { ALL_KINDS = 3 };

static double number(sqlite3_stmt *s, int column) {
    return sqlite3_column_type(s, column) == SQLITE_NULL ? NAN : sqlite3_column_double(s, column);
}

static bool read_points(nas__call *call, cloud *c, int64_t metric, int64_t kind, int64_t after) {
    sqlite3_stmt *s = nas__reader_query(&call->run,
                                        "SELECT a.id, e.id, e.epoch, e.score, a.macs, a.params, a.latency_ms, "
                                        "a.latency_kind, e.kind FROM evaluation e JOIN "
                                        "architecture a ON a.id=e.architecture_id WHERE e.metric_id=?1 AND (?2=3 OR "
                                        "e.kind=?2) AND e.id>?3 ORDER BY e.id",
                                        3, (int64_t[]){metric, kind, after});
    while (nas__reader_row(&call->run, s)) {
        if (!nas__grow(&c->point, c->n, sizeof *c->point)) {
            sqlite3_finalize(s);
            return false;
        }
        c->point[c->n++] = (point){.architecture = sqlite3_column_int64(s, 0),
                                   .evaluation = sqlite3_column_int64(s, 1),
                                   .epoch = sqlite3_column_int64(s, 2),
                                   .score = number(s, 3),
                                   .cost = {number(s, 4), number(s, 5), number(s, 6)},
                                   .latency_kind = number(s, 7),
                                   .kind = sqlite3_column_int(s, 8)};
    }
    return !nas_error_status();
}

/* --- the front, and which points are sent ------------------------------------------------------------------ */
static int by_cost(const void *a, const void *b, void *user) {
    const cloud *c = user;
    const point *p = &c->point[*(const size_t *)a], *q = &c->point[*(const size_t *)b];
    double x = p->cost[c->cost], y = q->cost[c->cost], u = c->sign * p->score, v = c->sign * q->score;
    return x != y   ? (x > y) - (x < y)
           : u != v ? (u < v) - (u > v)
                    : (p->evaluation > q->evaluation) - (p->evaluation < q->evaluation);
}

static int by_score(const void *a, const void *b, void *user) {
    const cloud *c = user;
    const point *p = &c->point[*(const size_t *)a], *q = &c->point[*(const size_t *)b];
    double u = c->sign * p->score, v = c->sign * q->score;
    return u != v ? (u < v) - (u > v) : (p->evaluation > q->evaluation) - (p->evaluation < q->evaluation);
}

/* Of those with a score and a cost: nobody is at most as costly and better. Their evaluations, the cheapest first. */
static json_t *find_front(cloud *c, size_t *order) {
    json_t *front = json_array();
    size_t n = 0;
    for (size_t i = 0; i < c->n; i++) {
        if (isfinite(c->point[i].score) && isfinite(c->point[i].cost[c->cost])) {
            order[n++] = i;
        }
    }
    qsort_r(order, n, sizeof *order, by_cost, c);
    double best = -INFINITY;
    for (size_t i = 0; i < n; i++) {
        point *p = &c->point[order[i]];
        p->front = c->sign * p->score > best;
        if (p->front) {
            best = c->sign * p->score;
            json_array_append_new(front, json_integer(p->evaluation));
        }
    }
    return front;
}

static uint64_t scatter(int64_t id) { return (uint64_t)id * 0x9E3779B97F4A7C15ULL; }

/* All when there is room; else the front, the best and of the rest always the same ones. */
static void choose(cloud *c, size_t *order, size_t limit) {
    enum { BEST = 1000 };
    size_t rest = limit > BEST ? limit - BEST : 0;
    for (size_t i = 0; i < c->n; i++) {
        order[i] = i;
        point *p = &c->point[i];
        p->shown = c->n <= limit || p->front || scatter(p->evaluation) < UINT64_MAX / c->n * rest;
    }
    if (c->n > limit) {
        qsort_r(order, c->n, sizeof *order, by_score, c);
        for (size_t i = 0; i < BEST && i < c->n; i++) {
            c->point[order[i]].shown = true;
        }
    }
}

/* --- the answer --------------------------------------------------------------------------------------------- */
static json_t *whole(double value) { return isfinite(value) ? json_integer((json_int_t)value) : json_null(); }

static json_t *columns_of(const cloud *c, size_t *shown) {
    json_t *id = json_array(), *evaluation = json_array(), *score = json_array(), *macs = json_array(),
           *params = json_array(), *latency = json_array(), *latency_kind = json_array(), *epoch = json_array(),
           *kind = json_array();
    for (size_t i = 0; i < c->n; i++) {
        const point *p = &c->point[i];
        if (!p->shown) {
            continue;
        }
        ++*shown;
        json_array_append_new(id, json_integer(p->architecture));
        json_array_append_new(evaluation, json_integer(p->evaluation));
        json_array_append_new(score, nas__real_json(p->score));
        json_array_append_new(macs, whole(p->cost[0]));
        json_array_append_new(params, whole(p->cost[1]));
        json_array_append_new(latency, nas__real_json(p->cost[2]));
        json_array_append_new(latency_kind, whole(p->latency_kind));
        json_array_append_new(epoch, json_integer(p->epoch));
        json_array_append_new(kind, json_integer(p->kind));
    }
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "id", id, "evaluation", evaluation, "score",
                     score, "macs", macs, "params", params, "latency_ms", latency, "latency_kind", latency_kind,
                     "epoch", epoch, "kind", kind);
}

static json_t *list_of(nas__call *call, int64_t metric) {
    int cost = nas__api_word(call, "x", 0, costs), kind = nas__api_word(call, "kind", ALL_KINDS, kinds);
    int64_t after = nas__api_int(call, "after", 0, 0, INT64_MAX);
    int64_t limit = nas__api_int(call, "limit", NAS__MOST_ARCHITECTURES, 1, NAS__MOST_ARCHITECTURES);
    sqlite3_stmt *s = nas__reader_query(&call->run, "SELECT direction FROM metric WHERE id=?1", 1, &metric);
    cloud c = {.sign = nas__reader_row(&call->run, s) && sqlite3_column_int(s, 0) < 0 ? -1 : 1, .cost = cost};
    sqlite3_finalize(s);
    if (call->status || !read_points(call, &c, metric, kind, after)) {
        free(c.point);
        return NULL;
    }
    size_t *order = nas__alloc((c.n + 1) * sizeof *order), shown = 0;
    if (!order) {
        free(c.point);
        return NULL;
    }
    json_t *front = find_front(&c, order);
    choose(&c, order, (size_t)limit);
    json_t *columns = columns_of(&c, &shown);
    json_t *answer = json_pack("{s:I, s:I, s:I, s:o, s:o, s:I}", "metric", (json_int_t)metric, "total", (json_int_t)c.n,
                               "shown", (json_int_t)shown, "columns", columns, "front", front, "next",
                               (json_int_t)(c.n ? c.point[c.n - 1].evaluation : after));
    free(order);
    free(c.point);
    return answer;
}

/* --- one ----------------------------------------------------------------------------------------------------- */
static json_t *candidate(nas__reader *run, int64_t mutable, int64_t index) {
    sqlite3_stmt *s = nas__reader_query(run, "SELECT name FROM candidate WHERE mutable_id=?1 AND idx=?2", 2,
                                        (int64_t[]){mutable, index});
    if (!nas__reader_row(run, s)) {
        return NULL;
    }
    json_t *name = nas__column_json(s, 0);
    sqlite3_finalize(s);
    return name;
}

/* A choice out of an architecture's code (docs/run-format.md); NULL when nothing reaches it. */
static json_t *decode(nas__reader *run, sqlite3_stmt *s, const unsigned char *code, int size) {
    int64_t id = sqlite3_column_int64(s, 0);
    const char *kind = (const char *)sqlite3_column_text(s, 2);
    int most = sqlite3_column_int(s, 3), offset = sqlite3_column_int(s, 4), bytes = sqlite3_column_int(s, 5);
    if (offset < 0 || bytes < 1 || bytes > 8 || offset > size - bytes) {
        return NULL;
    }
    json_t *list = json_array(), *name;
    if (most == 1) {
        name = code[offset] == 255 ? NULL : candidate(run, id, code[offset]);
        json_array_append_new(list, name);
    } else {
        for (int k = 0; k < 8 * bytes; k++) {
            if (code[offset + k / 8] >> (k % 8) & 1) {
                json_array_append_new(list, candidate(run, id, k));
            }
        }
    }
    bool is_list = kind && !strcmp(kind, "input");
    json_t *value = !json_array_size(list) ? NULL : json_incref(is_list ? list : json_array_get(list, 0));
    json_decref(list);
    return value;
}

static json_t *choices_of(nas__reader *run, const unsigned char *code, int size) {
    json_t *choices = json_object();
    sqlite3_stmt *s = nas__reader_query(
        run, "SELECT id, key, kind, chosen_max, code_offset, code_bytes FROM mutable ORDER BY id", 0, NULL);
    while (nas__reader_row(run, s)) {
        const char *key = (const char *)sqlite3_column_text(s, 1);
        json_t *value = key ? decode(run, s, code, size) : NULL;
        if (value) {
            json_object_set_new(choices, key, value);
        }
    }
    return choices;
}

static json_t *commands_of(const char *directory, const char *id) {
    char *retrain =
        nas__format("espalier retrain %s --arch architecture-%s.json --out %s-%s", directory, id, directory, id);
    json_t *commands = json_pack("{s:s?}", "retrain", retrain);
    free(retrain);
    return commands;
}

static json_t *one(nas__call *call) {
    char *end;
    int64_t id = strtoll(call->rest, &end, 10);
    sqlite3_stmt *s = *end ? NULL
                           : nas__reader_query(&call->run,
                                               "SELECT code, macs, params, latency_ms, latency_kind, first_epoch FROM "
                                               "architecture WHERE id=?1",
                                               1, &id);
    if (!nas__reader_row(&call->run, s)) {
        return nas__api_fail(call, 404, "no_architecture", "the run has no architecture of this id",
                             "the resource architectures lists them");
    }
    json_t *answer = json_pack("{s:I}", "id", (json_int_t)id), *cost = json_object();
    json_object_set_new(answer, "choices",
                        choices_of(&call->run, sqlite3_column_blob(s, 0), sqlite3_column_bytes(s, 0)));
    for (int i = 1; i < 6; i++) {
        json_object_set_new(cost, sqlite3_column_name(s, i), nas__column_json(s, i));
    }
    sqlite3_finalize(s);
    json_object_set_new(answer, "evaluations",
                        nas__rows_json(&call->run,
                                       "SELECT id, epoch, step, metric_id, score, kind, seconds FROM evaluation WHERE "
                                       "architecture_id=?1 ORDER BY id",
                                       1, &id));
    json_object_set_new(answer, "cost", cost);
    json_object_set_new(answer, "commands", commands_of(call->directory, call->rest));
    return answer;
}

/* By its name, of the scores of epochs; "" is the metric that the run is judged by. */
static int64_t metric_named(nas__call *call, const char *name) {
    if (*name) {
        char *end;
        int64_t id = strtoll(name, &end, 10);
        if (!*end) {
            return id;
        }
        sqlite3_stmt *s = nas__reader_query(
            &call->run, "SELECT id FROM metric WHERE name=?1 AND per='epoch' ORDER BY split='valid' DESC", 0, NULL);
        if (s) {
            sqlite3_bind_text(s, 1, name, -1, SQLITE_TRANSIENT);
        }
        if (nas__reader_row(&call->run, s)) {
            id = sqlite3_column_int64(s, 0);
            sqlite3_finalize(s);
            return id;
        }
        nas__api_fail(call, 404, "no_metric", "the run has no metric of this name", "/api/runs/ID lists its metrics");
    }
    return nas__reader_int(&call->run, "SELECT primary_metric FROM run", 0);
}

json_t *nas__get_architectures(nas__call *call) {
    return *call->rest ? one(call) : list_of(call, metric_named(call, nas__api_text(call, "metric")));
}
