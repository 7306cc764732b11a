/* writer_rows.c - rows as values in one piece of memory, and what the writer does with one. */
#include "run/writer_private.h"
#include "core/error.h"
#include "core/memory.h"
#include "run/process.h"

#include <stdlib.h>
#include <string.h>

enum { TREND_POINTS = 24 };

nas__value nas__text(const char *s) {
    return s ? (nas__value){.type = SQLITE_TEXT, .data = s, .size = strlen(s)} : nas__null_value();
}

bool nas__rows_add(nas__rows *rows, nas__statement statement, bool mark, int n, const nas__value *values) {
    size_t bytes = sizeof(nas__row) + (size_t)n * sizeof *values;
    for (int i = 0; i < n; i++) {
        bytes += values[i].size;
    }
    nas__row *row = nas__alloc(bytes);
    if (!row) {
        return false;
    }
    *row = (nas__row){.statement = statement, .mark = mark, .n = n};
    char *tail = (char *)(row->values + n);
    for (int i = 0; i < n; i++) {
        row->values[i] = values[i];
        if (values[i].size) {
            row->values[i].data = memcpy(tail, values[i].data, values[i].size);
            tail += values[i].size;
        }
    }
    if (rows->last) {
        rows->last->next = row;
    } else {
        rows->first = row;
    }
    rows->last = row;
    rows->n++;
    return true;
}

void nas__rows_free(nas__rows *rows) {
    for (nas__row *row = rows->first; row;) {
        nas__row *next = row->next;
        free(row);
        row = next;
    }
    *rows = (nas__rows){0};
}

static int bind(sqlite3_stmt *statement, int i, const nas__value *v) {
    switch (v->type) {
    case SQLITE_INTEGER:
        return sqlite3_bind_int64(statement, i, v->integer);
    case SQLITE_FLOAT:
        return sqlite3_bind_double(statement, i, v->real);
    case SQLITE_TEXT:
        return sqlite3_bind_text64(statement, i, v->data ? v->data : "", v->size, SQLITE_STATIC, SQLITE_UTF8);
    case SQLITE_BLOB:
        return sqlite3_bind_blob64(statement, i, v->data ? v->data : "", v->size, SQLITE_STATIC);
    default:
        return sqlite3_bind_null(statement, i);
    }
}

static bool execute(nas__writer *w, nas__statement which, int n, const nas__value *values) {
    sqlite3_stmt *statement = w->statements[which];
    int code = SQLITE_OK;
    for (int i = 0; i < n && !code; i++) {
        code = bind(statement, i + 1, &values[i]);
    }
    if (!code) {
        code = sqlite3_step(statement);
    }
    if (code != SQLITE_DONE) {
        nas__writer_fail_sql(w, code);
    }
    sqlite3_reset(statement);
    return code == SQLITE_DONE;
}

static void add_trend(nas__summary *s, double value) {
    if (nas__grow(&s->trend, s->n_trend, sizeof *s->trend)) {
        s->trend[s->n_trend++] = value;
    } else {
        nas_error_clear(); /* of this thread: a shorter trend is no reason to stop */
    }
}

static void take_into_summary(nas__summary *s, const nas__row *row) {
    const nas__value *v = row->values;
    switch (row->statement) {
    case NAS__SQL_METRIC:
        s->primary_metric = row->mark ? (int)v[0].integer : s->primary_metric;
        break;
    case NAS__SQL_TICK:
        s->step = v[0].integer > s->step ? v[0].integer : s->step;
        break;
    case NAS__SQL_EPOCH:
        s->epoch = (int)v[0].integer;
        s->step = v[1].integer > s->step ? v[1].integer : s->step;
        break;
    case NAS__SQL_EPOCH_METRIC:
        if (v[1].integer == s->primary_metric && v[2].type == SQLITE_FLOAT) {
            add_trend(s, v[2].real);
        }
        break;
    case NAS__SQL_EVALUATION:
        s->evaluations++;
        if (row->mark) {
            s->best_evaluation = v[0].integer;
            s->best_score = v[6].type == SQLITE_FLOAT ? v[6].real : NAN;
        }
        break;
    case NAS__SQL_EVENT:
        s->warnings += v[4].integer == NAS_LOG_WARN;
        s->errors += v[4].integer >= NAS_LOG_ERROR;
        break;
    default:
        break;
    }
}

bool nas__writer_row(nas__writer *w, const nas__row *row) {
    if (!execute(w, row->statement, row->n, row->values)) {
        return false;
    }
    take_into_summary(&w->summary, row);
    return true;
}

/* At most 24 numbers, evenly spaced over the epochs, the last one always among them: "[0.1,0.2]". */
static void trend_text(const nas__summary *s, char *text, size_t size) {
    size_t points = s->n_trend < TREND_POINTS ? s->n_trend : TREND_POINTS;
    size_t used = (size_t)snprintf(text, size, "[");
    for (size_t i = 0; i < points; i++) {
        size_t index = points == 1 ? 0 : i * (s->n_trend - 1) / (points - 1);
        used += (size_t)snprintf(text + used, size - used, "%s%.6g", i ? "," : "", s->trend[index]);
    }
    snprintf(text + used, size - used, "]");
}

static nas__value or_null(int64_t id) { return id ? nas__int(id) : nas__null_value(); }

bool nas__writer_summary(nas__writer *w) {
    nas__summary *s = &w->summary;
    char trend[TREND_POINTS * 16];
    trend_text(s, trend, sizeof trend);
    int64_t peak = nas__peak_rss_bytes();
    s->peak_rss_bytes = peak > s->peak_rss_bytes ? peak : s->peak_rss_bytes;
    pthread_mutex_lock(&w->lock);
    const char *status = w->final_status, *detail = w->final_detail;
    pthread_mutex_unlock(&w->lock);
    const nas__value values[] = {
        nas__int(nas__unix_ms()),
        nas__int(s->active_ms + nas__monotonic_ms() - s->started_ms),
        nas__int(s->cpu_ms + nas__cpu_ms()),
        nas__int(s->peak_rss_bytes),
        nas__int(s->epoch),
        nas__int(s->step),
        or_null(s->primary_metric),
        or_null(s->best_evaluation),
        s->best_evaluation ? nas__real(s->best_score) : nas__null_value(),
        nas__int(s->evaluations),
        nas__text(trend),
        nas__int(s->warnings),
        nas__int(s->errors),
        nas__text(status),
        nas__text(detail),
    };
    return execute(w, NAS__SQL_SUMMARY, (int)(sizeof values / sizeof *values), values);
}
