/* rows.h - what a query on a run's log gives, as text. */
#ifndef TESTS_RUN_ROWS_H
#define TESTS_RUN_ROWS_H

#include "support.h"

#include "core/memory.h"

#include <sqlite3.h>
#include <stdlib.h>

/* All rows as text, columns by ',' and rows by ';' (NULL is empty); to be freed. */
static inline char *rows(sqlite3 *db, const char *sql) {
    sqlite3_stmt *s = NULL;
    if (sqlite3_prepare_v2(db, sql, -1, &s, NULL)) {
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    }
    char *text = nas__strdup("");
    while (sqlite3_step(s) == SQLITE_ROW) {
        for (int i = 0; i < sqlite3_column_count(s); i++) {
            const char *value = (const char *)sqlite3_column_text(s, i);
            char *longer = nas__format("%s%s%s", text, i ? "," : "", value ? value : "");
            free(text);
            text = longer;
        }
        char *longer = nas__format("%s;", text);
        free(text);
        text = longer;
    }
    sqlite3_finalize(s);
    return text;
}

#endif
