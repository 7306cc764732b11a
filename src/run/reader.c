/* reader.c - see reader.h */
#include "run/reader.h"
#include "core/error.h"
#include "core/file.h"
#include "core/memory.h"
#include "io/json.h"
#include "run/process.h"
#include "run/schema.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { QUERY_MS = 2000, BUSY_MS = 200, LONGEST_VALUE = 16 << 20 };

static int is_late(void *user) {
    const nas__reader *r = user;
    return r->deadline_ms && nas__monotonic_ms() > r->deadline_ms;
}

static nas_status failed(nas__reader *r) {
    int code = r->db ? sqlite3_errcode(r->db) : SQLITE_NOMEM;
    const char *what = r->db ? sqlite3_errmsg(r->db) : "out of memory";
    if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB) {
        return nas__fail(NAS_PARSE, "%s: is damaged: %s", r->path, what);
    }
    if (code == SQLITE_BUSY || code == SQLITE_LOCKED) {
        return nas__fail(NAS_IO, "%s: is busy; try again in two seconds", r->path);
    }
    return nas__fail(NAS_IO, "%s: %s", r->path, what);
}

/* "file:PATH?mode=ro", with what has a meaning in a URI escaped. On a medium that cannot be written SQLite could not
 * make the files beside a database in WAL mode, and nobody writes it. */
static char *uri_of(const char *path, bool immutable) {
    size_t n = strlen(path);
    char *uri = nas__alloc(3 * n + 32), *p = uri;
    if (!uri) {
        return NULL;
    }
    p += sprintf(p, "file:");
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)path[i];
        p += strchr("%?#", c) || c < 0x20 ? sprintf(p, "%%%02X", c) : sprintf(p, "%c", c);
    }
    sprintf(p, "?mode=ro%s", immutable ? "&immutable=1" : "");
    return uri;
}

static bool is_immutable(const char *directory) {
    char *wal = nas__join(directory, "run.sqlite-wal");
    bool immutable = wal && !nas__exists(wal) && access(directory, W_OK) != 0;
    free(wal);
    return immutable;
}

static void guard(nas__reader *r) {
    sqlite3_busy_timeout(r->db, BUSY_MS);
    sqlite3_db_config(r->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(r->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    sqlite3_limit(r->db, SQLITE_LIMIT_LENGTH, LONGEST_VALUE);
    r->deadline_ms = nas__monotonic_ms() + QUERY_MS;
    sqlite3_progress_handler(r->db, 100000, is_late, r);
    sqlite3_exec(r->db, "PRAGMA query_only=1; PRAGMA cell_size_check=1; PRAGMA mmap_size=0", NULL, NULL, NULL);
}

nas_status nas__reader_open(nas__reader *r, const char *directory) {
    *r = (nas__reader){.path = nas__join(directory, "run.sqlite")};
    if (!r->path) {
        return nas_error_status();
    }
    if (!nas__exists(r->path)) {
        return nas__fail(NAS_NOT_FOUND, "%s is no run directory: it has no run.sqlite", directory);
    }
    char *uri = uri_of(r->path, is_immutable(directory));
    if (!uri || sqlite3_open_v2(uri, &r->db, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX, NULL)) {
        free(uri);
        return failed(r);
    }
    free(uri);
    guard(r);
    int64_t version = nas__reader_int(r, "PRAGMA user_version", 0);
    if (!nas_error_status() && nas__reader_int(r, "PRAGMA application_id", 0) != NAS__RUN_APPLICATION_ID) {
        return nas__fail(NAS_PARSE, "%s is a database of something else, not the log of a run", r->path);
    }
    if (!nas_error_status() && version / 100 != NAS__RUN_FORMAT) {
        nas__fail(NAS_UNSUPPORTED, "%s has format %d; this version of espalier reads format %d", r->path,
                  (int)(version / 100), NAS__RUN_FORMAT);
    }
    return nas_error_status();
}

void nas__reader_close(nas__reader *r) {
    sqlite3_close(r->db);
    free(r->path);
    *r = (nas__reader){0};
}

sqlite3_stmt *nas__reader_query(nas__reader *r, const char *sql, int n, const int64_t *values) {
    sqlite3_stmt *s = NULL;
    if (sqlite3_prepare_v2(r->db, sql, -1, &s, NULL) != SQLITE_OK) {
        failed(r);
        return NULL;
    }
    for (int i = 0; i < n; i++) {
        sqlite3_bind_int64(s, i + 1, values[i]);
    }
    return s;
}

bool nas__reader_row(nas__reader *r, sqlite3_stmt *s) {
    int code = s ? sqlite3_step(s) : SQLITE_DONE;
    if (code == SQLITE_ROW) {
        return true;
    }
    if (code != SQLITE_DONE) {
        failed(r);
    }
    sqlite3_finalize(s);
    return false;
}

int64_t nas__reader_int(nas__reader *r, const char *sql, int64_t otherwise) {
    sqlite3_stmt *s = nas__reader_query(r, sql, 0, NULL);
    if (!nas__reader_row(r, s)) {
        return otherwise;
    }
    int64_t value = sqlite3_column_type(s, 0) == SQLITE_NULL ? otherwise : sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    return value;
}

/* --- columns as JSON -------------------------------------------------------------------------------- */
/* Names come from files: what is no UTF-8 is shown as far as it is. */
static json_t *text_json(const char *text) {
    json_t *value = json_string(text);
    return value ? value : json_string("(not UTF-8)");
}

json_t *nas__column_json(sqlite3_stmt *s, int column) {
    switch (sqlite3_column_type(s, column)) {
    case SQLITE_INTEGER:
        return json_integer(sqlite3_column_int64(s, column));
    case SQLITE_FLOAT:
        return nas__real_json(sqlite3_column_double(s, column));
    case SQLITE_TEXT:
        return text_json((const char *)sqlite3_column_text(s, column));
    default:
        return json_null();
    }
}

json_t *nas__row_json(sqlite3_stmt *s) {
    json_t *row = json_object();
    for (int i = 0; row && i < sqlite3_column_count(s); i++) {
        json_object_set_new(row, sqlite3_column_name(s, i), nas__column_json(s, i));
    }
    return row;
}

json_t *nas__rows_json(nas__reader *r, const char *sql, int n, const int64_t *values) {
    json_t *list = json_array();
    sqlite3_stmt *s = nas__reader_query(r, sql, n, values);
    while (nas__reader_row(r, s)) {
        json_array_append_new(list, nas__row_json(s));
    }
    return list;
}

json_t *nas__columns_json(nas__reader *r, sqlite3_stmt *s, int64_t limit) {
    int n = s ? sqlite3_column_count(s) : 0;
    json_t *columns = s ? json_object() : NULL;
    json_t *list[64] = {NULL};
    for (int i = 0; i < n && i < 64; i++) {
        list[i] = json_array();
        json_object_set_new(columns, sqlite3_column_name(s, i), list[i]);
    }
    for (int64_t row = 0; s && row < limit; row++) {
        if (!nas__reader_row(r, s)) {
            s = NULL;
            break;
        }
        for (int i = 0; i < n && i < 64; i++) {
            json_array_append_new(list[i], nas__column_json(s, i));
        }
    }
    sqlite3_finalize(s);
    if (nas_error_status()) {
        json_decref(columns);
        return NULL;
    }
    return columns;
}

json_t *nas__column_parsed(sqlite3_stmt *s, int column) {
    const char *text = (const char *)sqlite3_column_text(s, column);
    json_t *value = text ? json_loads(text, JSON_REJECT_DUPLICATES, NULL) : NULL;
    return value ? value : json_null();
}
