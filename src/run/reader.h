/* reader.h - run.sqlite for those who look on: read-only, also while the run is being written, and with the guards that
 * a file of a stranger needs (docs/run-format.md). For one thread at a time. */
#ifndef RUN_READER_H
#define RUN_READER_H

#include <espalier/core.h>

#include <jansson.h>
#include <sqlite3.h>

enum { NAS__RUN_FORMAT = 1 }; /* the newest major version that we read */

typedef struct nas__reader {
    sqlite3 *db;
    char *path;          /* of run.sqlite */
    int64_t deadline_ms; /* monotonic; a query that runs behind it is interrupted. 0: none */
} nas__reader;

/* NAS_NOT_FOUND: no run directory. NAS_UNSUPPORTED: a newer format. NAS_IO, NAS_PARSE: cannot be read. Close in any
 * case. */
nas_status nas__reader_open(nas__reader *r, const char *directory);
void nas__reader_close(nas__reader *r);

/* A statement with its first parameters bound to `n` values; NULL and an error. */
sqlite3_stmt *nas__reader_query(nas__reader *r, const char *sql, int n, const int64_t *values);
/* true: there is a row. false: the end, or an error; the statement is released then. */
bool nas__reader_row(nas__reader *r, sqlite3_stmt *s);
/* First column of the first row, or `otherwise` when there is none. */
int64_t nas__reader_int(nas__reader *r, const char *sql, int64_t otherwise);

/* --- columns as JSON -------------------------------------------------------------------------------- */
/* NULL and what is not finite become null. */
json_t *nas__column_json(sqlite3_stmt *s, int column);
/* The current row as an object; the names of the columns are the keys. */
json_t *nas__row_json(sqlite3_stmt *s);
/* All rows of a query as an array of such objects; what was read before an error, which is then pending. */
json_t *nas__rows_json(nas__reader *r, const char *sql, int n, const int64_t *values);
/* All rows that are left, at most `limit`, as {"name": [...], ...}, one array for each column; NULL and an error. */
json_t *nas__columns_json(nas__reader *r, sqlite3_stmt *s, int64_t limit);
/* A text column that holds JSON, or null. */
json_t *nas__column_parsed(sqlite3_stmt *s, int column);

#endif
