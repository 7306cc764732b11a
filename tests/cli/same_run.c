/* same_run.c - usage: same_run A B. Are two run directories the same but for clocks? Bit for bit: the newest
 * checkpoint, the weights, every table of the log that tells of the run and not of the machine, and the JSON files.
 * Says what differs. */
#include "core/error.h"
#include "core/file.h"
#include "core/memory.h"
#include "io/safetensors.h"
#include "run/run.h"
#include "search/trainer.h"

#include <jansson.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int differences;

#define DIFFER(...) (differences++, printf(__VA_ARGS__), putchar('\n'))

/* --- arrays ----------------------------------------------------------------------------------------------------- */
/* Arrays with clocks in them: every `stride` numbers the one at `at`. */
static const struct clock_place {
    const char *name;
    size_t stride, at;
} clocks[] = {{"search.used_seconds", 1, 0}, {"fit.values", 4, 0}, {"trials.values", 3 + NAS__MOST_METRICS, 1}};

static bool same_array(const nas__array *a, const nas__array *b) {
    const unsigned char *x = a->data, *y = b->data;
    size_t stride = SIZE_MAX, at = 0;
    for (size_t i = 0; i < sizeof clocks / sizeof *clocks; i++) {
        if (strcmp(clocks[i].name, a->name) == 0) {
            stride = clocks[i].stride;
            at = clocks[i].at;
        }
    }
    bool same = strcmp(nas__array_text(a), nas__array_text(b)) == 0;
    for (size_t i = 0; same && i < nas__array_bytes(a); i++) {
        same = x[i] == y[i] || (stride < SIZE_MAX && i / sizeof(double) % stride == at);
    }
    return same;
}

static void compare_arrays(const char *a_path, const char *b_path) {
    nas__safetensors *a = nas__safetensors_read(a_path), *b = nas__safetensors_read(b_path);
    if (!a || !b || nas__safetensors_size(a) != nas__safetensors_size(b)) {
        DIFFER("%s, %s: %s", a_path, b_path, a && b ? "other arrays" : nas_error_message());
    }
    for (size_t i = 0; a && b && i < nas__safetensors_size(a); i++) {
        const nas__array *x = nas__safetensors_at(a, i), *y = nas__safetensors_find(b, x->name);
        if (!y || !same_array(x, y)) {
            DIFFER("%s: \"%s\" differs", a_path, x->name);
        }
    }
    nas__safetensors_free(a);
    nas__safetensors_free(b);
}

static void compare_files(const char *a, const char *b, const char *name) {
    char *x = nas__join(a, name), *y = nas__join(b, name);
    if (nas__exists(x) || nas__exists(y)) {
        compare_arrays(x, y);
    }
    free(x);
    free(y);
}

static void compare_checkpoints(const char *a, const char *b) {
    char *x = nas__checkpoint_newest(a), *y = nas__checkpoint_newest(b);
    if (!x || !y || strcmp(strrchr(x, '/'), strrchr(y, '/')) != 0) {
        DIFFER("newest checkpoints: %s, %s", x ? x : "none", y ? y : "none");
    } else {
        compare_arrays(x, y);
    }
    free(x);
    free(y);
}

/* --- JSON ------------------------------------------------------------------------------------------------------- */
static json_t *read_json(const char *directory, const char *name) {
    char *path = nas__join(directory, name);
    json_t *json = json_load_file(path, 0, NULL);
    json_object_del(json, "run");
    json_object_del(json, "seconds");
    free(path);
    return json;
}

static void compare_json(const char *a, const char *b, const char *name) {
    json_t *x = read_json(a, name), *y = read_json(b, name);
    if (!json_equal(x, y) && (x || y)) {
        DIFFER("%s differs", name);
    }
    json_decref(x);
    json_decref(y);
}

/* --- the log ---------------------------------------------------------------------------------------------------- */
static const char *const tables[][2] = {
    {"metric", "*"},
    {"tick", "step, epoch"},
    {"scalar", "*"},
    {"epoch", "epoch, step, entropy, skip_share, rank_stable, derived_architecture"},
    {"epoch_metric", "*"},
    {"mutable", "*"},
    {"candidate", "*"},
    {"probability", "*"},
    {"architecture", "id, hash, code, params, macs, first_epoch"},
    {"evaluation", "id, architecture_id, epoch, step, metric_id, score, kind"},
};

static void expect_none(sqlite3 *db, const char *table, char *sql) {
    sqlite3_stmt *s = NULL;
    if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) || sqlite3_step(s) != SQLITE_ROW) {
        DIFFER("%s: %s", table, sqlite3_errmsg(db));
    } else if (sqlite3_column_int64(s, 0)) {
        DIFFER("run.sqlite: table %s: %lld rows differ", table, (long long)sqlite3_column_int64(s, 0));
    }
    sqlite3_finalize(s);
    free(sql);
}

static void compare_logs(const char *a, const char *b) {
    sqlite3 *db = NULL;
    char *path = nas__join(a, "run.sqlite"), *attach = nas__format("ATTACH '%s/run.sqlite' AS other", b);
    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL) || sqlite3_exec(db, attach, NULL, NULL, NULL)) {
        DIFFER("run.sqlite: %s", sqlite3_errmsg(db));
    }
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        const char *t = tables[i][0], *columns = tables[i][1];
        for (int way = 0; way < 2; way++) {
            expect_none(db, t,
                        nas__format("SELECT count(*) FROM (SELECT %s FROM %s.%s EXCEPT SELECT %s FROM %s.%s)", columns,
                                    way ? "other" : "main", t, columns, way ? "main" : "other", t));
        }
        expect_none(db, t,
                    nas__format("SELECT (SELECT count(*) FROM main.%s) - (SELECT count(*) FROM other.%s)", t, t));
    }
    sqlite3_close(db);
    free(path);
    free(attach);
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: same_run A B\n");
        return 2;
    }
    compare_checkpoints(argv[1], argv[2]);
    compare_files(argv[1], argv[2], "weights.safetensors");
    compare_logs(argv[1], argv[2]);
    compare_json(argv[1], argv[2], "final_architecture.json");
    compare_json(argv[1], argv[2], "search-result.json");
    compare_json(argv[1], argv[2], "result.json");
    return differences > 0;
}
