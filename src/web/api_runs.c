/* api_runs.c - the server itself, and the list of its runs. */
#include "web/api.h"

#include <espalier/core.h>

#include <string.h>
#include <strings.h>
#include <stdlib.h>

json_t *nas__get_server(nas__call *call) {
    return json_pack("{s:i, s:s, s:s, s:i, s:b, s:b, s:{s:i, s:i, s:i, s:i}}", "api", 1, "version", nas_version(),
                     "dir", nas__runs_directory(call->runs), "runs", nas__runs_count(call->runs), "scanning",
                     nas__runs_scanning(call->runs), "read_only", 1, "limits", "points", NAS__MOST_POINTS, "values",
                     NAS__MOST_VALUES, "architectures", NAS__MOST_ARCHITECTURES, "streams", NAS__MOST_STREAMS);
}

/* --- filter and order --------------------------------------------------------------------------------- */
static const char *text_in(const json_t *run, const char *key) {
    const char *text = json_string_value(json_object_get(run, key));
    return text ? text : "";
}

static bool has_text(const json_t *run, const char *q) {
    static const char *const keys[] = {"name", "path", "strategy", "space", "data", "status"};
    bool found = !*q;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        found = found || strcasestr(text_in(run, keys[i]), q);
    }
    return found;
}

static const char *const orders[] = {"created", "best", "name", "status", "strategy", "space", "data", "elapsed", NULL};
static const char *const keys[] = {"created_unix_ms", "best",  "name", "status",
                                   "strategy",        "space", "data", "elapsed_s"};
enum { BY_CREATED, BY_BEST };

/* Scores of unlike metrics are not compared: runs stand in groups of metric and split, the better first. */
static int compare_best(const json_t *a, const json_t *b) {
    const json_t *x = json_object_get(a, "best"), *y = json_object_get(b, "best");
    if (!json_is_object(x) || !json_is_object(y)) {
        return json_is_object(x) - json_is_object(y);
    }
    int order = strcmp(text_in(y, "metric"), text_in(x, "metric"));
    order = order ? order : strcmp(text_in(y, "split"), text_in(x, "split"));
    double p = json_number_value(json_object_get(x, "score")), q = json_number_value(json_object_get(y, "score"));
    int sign = json_integer_value(json_object_get(x, "direction")) < 0 ? -1 : 1;
    return order ? order : sign * ((p > q) - (p < q));
}

static int compare(const json_t *a, const json_t *b, int by) {
    if (by == BY_BEST) {
        return compare_best(a, b);
    }
    const json_t *x = json_object_get(a, keys[by]), *y = json_object_get(b, keys[by]);
    if (json_is_string(x) || json_is_string(y)) {
        return strcasecmp(text_in(a, keys[by]), text_in(b, keys[by]));
    }
    double p = json_number_value(x), q = json_number_value(y);
    return (p > q) - (p < q);
}

typedef struct sorting {
    int by, sign;
} sorting;

static int compare_rows(const void *a, const void *b, void *user) {
    const sorting *s = user;
    const json_t *const *x = a, *const *y = b;
    int order = s->sign * compare(*x, *y, s->by);
    return order ? order : strcmp(text_in(*x, "id"), text_in(*y, "id"));
}

json_t *nas__get_runs(nas__call *call) {
    static const char *const directions[] = {"desc", "asc", NULL};
    int by = nas__api_word(call, "sort", BY_CREATED, orders), ascending = nas__api_word(call, "order", 0, directions);
    int64_t limit = nas__api_int(call, "limit", 500, 1, 10000), offset = nas__api_int(call, "offset", 0, 0, 1000000);
    const char *q = nas__api_text(call, "q"), *status = nas__api_text(call, "status");
    if (call->status) {
        return NULL;
    }
    json_t *all = nas__runs_list(call->runs), *page = json_array(), *run;
    const json_t **row = calloc(json_array_size(all) + 1, sizeof(*row));
    size_t i, n = 0;
    json_array_foreach(all, i, run) {
        if (row && has_text(run, q) && (!*status || !strcmp(status, text_in(run, "status")))) {
            row[n++] = run;
        }
    }
    qsort_r(row, row ? n : 0, sizeof(*row), compare_rows, &(sorting){by, ascending ? 1 : -1});
    for (i = (size_t)offset; i < n && i < (size_t)(offset + limit); i++) {
        json_array_append(page, (json_t *)row[i]);
    }
    free(row);
    json_decref(all);
    return json_pack("{s:I, s:b, s:o}", "total", (json_int_t)n, "scanning", nas__runs_scanning(call->runs), "runs",
                     page);
}
