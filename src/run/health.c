/* health.c - is a run healthy, and what should its user do next? One table of rules each; see summary.h */
#include "run/summary.h"
#include "core/error.h"
#include "core/memory.h"
#include "io/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- health ------------------------------------------------------------------------------------------- */
enum { OK, WATCH, BROKEN };

typedef struct verdict {
    nas__reader *r;
    nas__run_state state;
    int level;
    json_t *reasons;
} verdict;

static void reason(verdict *v, int level, const char *code, const char *text, double value, double threshold) {
    v->level = level > v->level ? level : v->level;
    json_array_append_new(v->reasons, json_pack("{s:s, s:s, s:o, s:o}", "code", code, "text", text, "value",
                                                nas__real_json(value), "threshold", nas__real_json(threshold)));
}

/* First row's columns as numbers, NaN for NULL; false without a row. */
static bool numbers(nas__reader *r, const char *sql, int n, double *values) {
    sqlite3_stmt *s = nas__reader_query(r, sql, 0, NULL);
    if (!nas__reader_row(r, s)) {
        return false;
    }
    for (int i = 0; i < n; i++) {
        values[i] = sqlite3_column_type(s, i) == SQLITE_NULL ? NAN : sqlite3_column_double(s, i);
    }
    sqlite3_finalize(s);
    return true;
}

static void check_state(verdict *v) {
    static const struct {
        nas__run_state state;
        int level;
        const char *text;
    } rules[] = {{NAS__RUN_STALLED, WATCH, "no progress for a minute or more, though its process is there"},
                 {NAS__RUN_CRASHED, BROKEN, "its process is gone without having said goodbye"},
                 {NAS__RUN_FAILED, BROKEN, "it ended with an error; the log says which"}};
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        if (rules[i].state == v->state) {
            reason(v, rules[i].level, nas__run_state_word(v->state), rules[i].text, NAN, NAN);
        }
    }
}

static void check_finite(verdict *v) {
    double bad = 0;
    if (numbers(v->r, "SELECT count(*) FROM scalar WHERE value IS NULL", 1, &bad) && bad > 0) {
        reason(v, BROKEN, "nan", "logged values that are not finite", bad, 0);
    }
}

/* The last minute against the median of all: something else uses the machine, or it is too hot. */
static void check_speed(verdict *v) {
    enum { RECENT = 12, LEAST = 24 };
    double x[3];
    if (v->state != NAS__RUN_RUNNING ||
        !numbers(
            v->r,
            "SELECT (SELECT count(*) FROM sample), (SELECT avg(images_per_s) FROM (SELECT images_per_s FROM sample "
            "ORDER BY t_ms DESC LIMIT 12)), (SELECT images_per_s FROM sample WHERE images_per_s IS NOT NULL ORDER "
            "BY images_per_s LIMIT 1 OFFSET (SELECT count(images_per_s) FROM sample) / 2)",
            3, x)) {
        return;
    }
    if (x[0] >= LEAST && x[1] < 0.8 * x[2]) {
        reason(v, WATCH, "slow", "images per second in the last minute, against four fifths of their median", x[1],
               0.8 * x[2]);
    }
}

static void check_loader(verdict *v) {
    double x[2];
    if (numbers(v->r, "SELECT max(data_wait_ms) - min(data_wait_ms), max(t_ms) - min(t_ms) FROM sample", 2, x) &&
        x[1] > 60000 && x[0] / x[1] > 0.1) {
        reason(v, WATCH, "data", "share of the time spent waiting for images", x[0] / x[1], 0.1);
    }
}

static void check_memory(verdict *v) {
    double x[2];
    if (numbers(v->r,
                "SELECT (SELECT rss_bytes FROM sample ORDER BY t_ms DESC LIMIT 1), (SELECT max(rss_bytes) FROM (SELECT "
                "rss_bytes FROM sample WHERE t_ms <= (SELECT min(t_ms) + 300000 FROM sample)))",
                2, x) &&
        x[0] > 1.2 * x[1]) {
        reason(v, WATCH, "memory", "bytes of memory, against 1.2 times the most of the first five minutes", x[0],
               1.2 * x[1]);
    }
}

static void check_collapse(verdict *v) {
    double x[3];
    if (numbers(
            v->r,
            "SELECT (SELECT count(*) FROM event WHERE kind='collapse' AND level>=20), skip_share, entropy FROM epoch "
            "ORDER BY epoch DESC LIMIT 1",
            3, x) &&
        x[0] > 0) {
        reason(v, WATCH, "collapse", "the search said that it collapses to skip connections; their share now", x[1],
               NAN);
    }
}

json_t *nas__run_health(nas__reader *r, nas__run_state state) {
    static void (*const rules[])(verdict *) = {check_state,  check_finite, check_speed,
                                               check_loader, check_memory, check_collapse};
    verdict v = {.r = r, .state = state, .reasons = json_array()};
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        rules[i](&v);
    }
    if (nas_error_status()) {
        json_decref(v.reasons);
        return NULL;
    }
    return json_pack("{s:s, s:o}", "level", (const char *[]){"ok", "watch", "broken"}[v.level], "reasons", v.reasons);
}

/* --- advice ------------------------------------------------------------------------------------------- */
typedef struct situation {
    nas__run_state state;
    bool is_search, collapsed;
    double entropy, skips, epoch, epochs;
    const char *strategy, *command, *directory;
} situation;

static char *resume_command(const situation *x) {
    return nas__format("%s%s", x->command, strstr(x->command, " --resume") ? "" : " --resume");
}
static char *retrain_command(const situation *x) { return nas__format("espalier retrain %s", x->directory); }
static char *eval_command(const situation *x) { return nas__format("espalier eval %s", x->directory); }
static char *longer_command(const situation *x) {
    return nas__format("%s --epochs %.0f --resume", x->command, 2 * x->epochs);
}
static char *repair_command(const situation *x) {
    return nas__format("%s --set variant=beta --out %s-beta", x->command, x->directory);
}
static char *list_command(const situation *x) {
    (void)x;
    return nas__strdup("espalier list strategies");
}
static char *log_command(const situation *x) { return nas__format("espalier log %s", x->directory); }

static bool is_broken_off(const situation *x) { return x->state == NAS__RUN_CRASHED || x->state == NAS__RUN_STOPPED; }
static bool has_failed(const situation *x) { return x->state == NAS__RUN_FAILED; }
static bool can_repair(const situation *x) {
    return x->is_search && x->collapsed && !strcmp(x->strategy, "darts") && !strstr(x->command, "variant=");
}
static bool has_collapsed(const situation *x) { return x->is_search && x->collapsed && !can_repair(x); }
static bool is_undecided(const situation *x) {
    return x->is_search && x->state == NAS__RUN_FINISHED && x->entropy > 0.9;
}
static bool is_found(const situation *x) { return x->is_search && x->state == NAS__RUN_FINISHED; }
static bool is_trained(const situation *x) { return !x->is_search && x->state == NAS__RUN_FINISHED; }

static char *epochs_evidence(const situation *x) { return nas__format("epoch %.0f of %.0f", x->epoch, x->epochs); }
static char *skips_evidence(const situation *x) { return nas__format("share of skip connections %.2f", x->skips); }
static char *entropy_evidence(const situation *x) {
    return nas__format("mean entropy %.2f (1 = undecided)", x->entropy);
}

static const struct {
    const char *code, *text;
    bool (*applies)(const situation *x);
    char *(*evidence)(const situation *x);
    char *(*command)(const situation *x);
} advice[] = {
    {"resume", "go on from its last checkpoint", is_broken_off, epochs_evidence, resume_command},
    {"failed", "read what went wrong", has_failed, epochs_evidence, log_command},
    {"repair", "search again with a repair against collapse", can_repair, skips_evidence, repair_command},
    {"collapse", "choose another strategy", has_collapsed, skips_evidence, list_command},
    {"longer", "it has not decided yet: search longer", is_undecided, entropy_evidence, longer_command},
    {"retrain", "train the network that it found", is_found, epochs_evidence, retrain_command},
    {"eval", "score it class by class", is_trained, epochs_evidence, eval_command},
};

static json_t *advise(const situation *x) {
    enum { MOST = 3 };
    json_t *list = json_array();
    for (size_t i = 0; i < sizeof advice / sizeof *advice && json_array_size(list) < MOST; i++) {
        if (!advice[i].applies(x)) {
            continue;
        }
        char *evidence = advice[i].evidence(x), *command = advice[i].command(x);
        json_array_append_new(list, json_pack("{s:s, s:s, s:s?, s:s?}", "code", advice[i].code, "text", advice[i].text,
                                              "evidence", evidence, "command", command));
        free(evidence);
        free(command);
    }
    return list;
}

json_t *nas__run_advice(nas__reader *r, nas__run_state state, const char *directory) {
    double x[4] = {NAN, NAN, 0, 0};
    numbers(r, "SELECT entropy, skip_share FROM epoch ORDER BY epoch DESC LIMIT 1", 2, x);
    numbers(r, "SELECT count(*) FROM event WHERE kind='collapse' AND level>=20", 1, x + 2);
    sqlite3_stmt *s = nas__reader_query(
        r,
        "SELECT ifnull(kind,''), ifnull(strategy,''), ifnull(command,''), ifnull(epoch,0), ifnull(epochs,0) FROM run",
        0, NULL);
    if (!nas__reader_row(r, s)) {
        return nas_error_status() ? NULL : json_array();
    }
    situation now = {.state = state,
                     .is_search = !strcmp((const char *)sqlite3_column_text(s, 0), "search"),
                     .strategy = (const char *)sqlite3_column_text(s, 1),
                     .command = (const char *)sqlite3_column_text(s, 2),
                     .epoch = sqlite3_column_double(s, 3),
                     .epochs = sqlite3_column_double(s, 4),
                     .entropy = x[0],
                     .skips = x[1],
                     .collapsed = x[2] > 0,
                     .directory = directory};
    json_t *list = advise(&now);
    sqlite3_finalize(s);
    return list;
}
