/* run_log.c - see run_log.h */
#include "search/run_log.h"

#include "support.h"

#include "core/file.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int add_row(void *user, int n, char **values, char **names) {
    FILE *out = user;
    (void)names;
    for (int i = 0; i < n; i++) {
        fprintf(out, "%s ", values[i] ? values[i] : "NULL");
    }
    fputc('\n', out);
    return 0;
}

char *log_rows(const char *directory, const char *sql) {
    char *path = nas__join(directory, "run.sqlite"), *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, add_row, out, NULL), SQLITE_OK);
    sqlite3_close(db);
    fclose(out);
    free(path);
    return text;
}

static const char *const queries[] = {
    "SELECT epoch, mutable_id, hex(p), argmax, entropy FROM probability ORDER BY 1, 2",
    "SELECT epoch, step, entropy, skip_share, rank_stable, derived_architecture FROM epoch ORDER BY 1",
    "SELECT epoch, metric_id, value FROM epoch_metric ORDER BY 1, 2",
    "SELECT id, hex(hash), hex(code), first_epoch FROM architecture ORDER BY 1",
    "SELECT id, architecture_id, epoch, step, metric_id, score, kind FROM evaluation ORDER BY 1",
    "SELECT metric_id, max(step) FROM scalar GROUP BY 1 ORDER BY 1",
    "SELECT status, epoch, epochs, step, best_score, evaluations FROM run",
};

void assert_same_log(const char *a, const char *b) {
    for (size_t i = 0; i < sizeof queries / sizeof *queries; i++) {
        char *x = log_rows(a, queries[i]), *y = log_rows(b, queries[i]);
        if (strcmp(x, y) != 0) {
            fail_msg("the logs differ in \"%s\":\n%s\nand\n%s", queries[i], x, y);
        }
        free(x);
        free(y);
    }
}
