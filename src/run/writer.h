/* writer.h - the one thread that writes run.sqlite: takes rows from a bounded queue and commits them in batches, with
 * the summary in the row of `run` and its heartbeat in the same transaction. */
#ifndef RUN_WRITER_H
#define RUN_WRITER_H

#include "run/schema.h"

#include <math.h>

typedef struct nas__value {
    int type; /* SQLITE_INTEGER, ... */
    int64_t integer;
    double real;
    const void *data;
    size_t size;
} nas__value;

static inline nas__value nas__null_value(void) { return (nas__value){.type = SQLITE_NULL}; }
static inline nas__value nas__int(int64_t i) { return (nas__value){.type = SQLITE_INTEGER, .integer = i}; }
static inline nas__value nas__real(double d) { /* NULL = not finite */
    return (nas__value){.type = isfinite(d) ? SQLITE_FLOAT : SQLITE_NULL, .real = d};
}
static inline nas__value nas__blob(const void *p, size_t n) {
    return (nas__value){.type = SQLITE_BLOB, .data = p, .size = n};
}
nas__value nas__text(const char *s); /* NULL stays NULL */

/* Rows that are committed together. */
typedef struct nas__row nas__row;
typedef struct nas__rows {
    nas__row *first, *last;
    size_t n;
} nas__rows;

/* Appends a copy of the values. `mark`: of a metric, it is the primary one; of an evaluation, it is the best so far. */
bool nas__rows_add(nas__rows *rows, nas__statement statement, bool mark, int n, const nas__value *values);
#define NAS__ROW(rows, statement, mark, ...)                                                                           \
    nas__rows_add((rows), (statement), (mark), (int)(sizeof((nas__value[]){__VA_ARGS__}) / sizeof(nas__value)),        \
                  (nas__value[]){__VA_ARGS__})
void nas__rows_free(nas__rows *rows);

/* What the row of `run` says about the rows so far; the writer keeps it up to date as it writes them. */
typedef struct nas__summary {
    int epoch, primary_metric;
    int64_t step, best_evaluation, evaluations, warnings, errors;
    double best_score;
    double *trend; /* the primary metric of every epoch; owned */
    size_t n_trend;
    int64_t started_ms;                        /* monotonic, of this segment */
    int64_t active_ms, cpu_ms, peak_rss_bytes; /* of the segments before */
} nas__summary;

typedef struct nas__writer nas__writer;
typedef struct nas__writer_config {
    sqlite3 *db;          /* taken over, also on failure */
    const char *path;     /* of the database */
    nas__summary summary; /* taken over */
    int commit_ms;        /* longest time that a row waits for its commit */
} nas__writer_config;
/* NULL and an error on failure. */
nas__writer *nas__writer_start(const nas__writer_config *config);
/* Hands rows over as one group, which empties the list; waits when the queue is full. commit_now: do not wait for the
 * next commit. */
void nas__writer_push(nas__writer *writer, nas__rows *rows, bool commit_now);
/* Waits until the groups that were pushed with commit_now are committed, or for two seconds: a reader of a rollback
 * journal may be in the way, and the run need not stand still for it. Returns what nas__writer_check would. */
nas_status nas__writer_flush(nas__writer *writer);
/* NAS_OK, or the writer's first error as an error of the calling thread. */
nas_status nas__writer_check(nas__writer *writer);
/* Writes what is left and the final status, makes the database one plain file, ends the thread. Returns the writer's
 * first error. */
nas_status nas__writer_stop(nas__writer *writer, const char *status, const char *detail);

#endif
