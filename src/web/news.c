/* news.c - see news.h */
#include "web/news.h"
#include "core/error.h"
#include "core/memory.h"
#include "run/process.h"
#include "web/api.h"

#include <stdlib.h>
#include <string.h>

enum { QUERY_MS = 2000, MOST_ROWS = 1000 };

static void append(char **text, const char *more) {
    size_t n = *text ? strlen(*text) : 0, m = strlen(more);
    char *grown = realloc(*text, n + m + 1);
    if (grown) {
        memcpy(grown + n, more, m + 1);
        *text = grown;
    }
}

void nas__event_append(char **text, const char *name, const char *id, json_t *data) {
    char *json = json_dumps(data, JSON_COMPACT | JSON_REAL_PRECISION(9));
    char *event = json ? id ? nas__format("event: %s\nid: %s\ndata: %s\n\n", name, id, json)
                            : nas__format("event: %s\ndata: %s\n\n", name, json)
                       : NULL;
    if (event) {
        append(text, event);
    }
    free(event);
    free(json);
    json_decref(data);
}

/* --- a run that is followed --------------------------------------------------------------------------------- */
bool nas__followed_open(nas__followed *f, const char *id, const char *directory) {
    snprintf(f->id, sizeof f->id, "%s", id);
    f->directory = nas__strdup(directory);
    bool opened = !nas__reader_open(&f->run, directory);
    nas_error_clear();
    return opened && f->directory;
}

void nas__followed_close(nas__followed *f) {
    nas__reader_close(&f->run);
    free(f->directory);
    free(f->memo);
    free(f);
}

void nas__followed_forget(nas__followed *f) {
    free(f->memo);
    f->memo = NULL;
}

bool nas__followed_changed(nas__followed *f) {
    f->run.deadline_ms = nas__monotonic_ms() + QUERY_MS;
    int64_t version = nas__reader_int(&f->run, "PRAGMA data_version", f->version);
    bool changed = version != f->version;
    f->version = version;
    if (changed) {
        nas__followed_forget(f);
    }
    nas_error_clear();
    return changed;
}

/* --- events --------------------------------------------------------------------------------------------------- */
static void add_id(json_t *data, const nas__followed *f) { json_object_set_new(data, "run", json_string(f->id)); }

static const char *id_of(const nas__cursor *c, char *id, size_t size) {
    snprintf(id, size, "%lld.%lld.%lld", (long long)c->segment, (long long)c->epoch, (long long)c->event);
    return id;
}

static void add_metrics(nas__followed *f, json_t *row, int64_t epoch) {
    sqlite3_stmt *s = nas__reader_query(
        &f->run, "SELECT metric_id, value FROM epoch_metric WHERE epoch=?1 ORDER BY metric_id", 1, &epoch);
    while (nas__reader_row(&f->run, s)) {
        char name[32];
        snprintf(name, sizeof name, "m%lld", (long long)sqlite3_column_int64(s, 0));
        json_object_set_new(row, name, nas__column_json(s, 1));
    }
}

/* Rows behind a cursor, each an event of its own that moves the cursor to the number in its first column. */
static void add_rows(nas__followed *f, nas__cursor *c, int64_t *at, const char *name, const char *sql, char **text) {
    char id[80];
    sqlite3_stmt *s = nas__reader_query(&f->run, sql, 2, (int64_t[]){*at, MOST_ROWS});
    while (nas__reader_row(&f->run, s)) {
        json_t *row = nas__row_json(s);
        *at = sqlite3_column_int64(s, 0);
        if (at == &c->epoch) {
            add_metrics(f, row, *at);
        }
        add_id(row, f);
        nas__event_append(text, name, id_of(c, id, sizeof id), row);
    }
}

static const char epoch_sql[] =
    "SELECT epoch, step, t_ms, unix_ms, entropy, skip_share, rank_stable, images_per_s FROM "
    "epoch WHERE epoch>?1 ORDER BY epoch LIMIT ?2";
static const char note_sql[] =
    "SELECT id, unix_ms, segment, step, epoch, level, kind, mutable_id, message FROM event WHERE "
    "id>?1 ORDER BY id LIMIT ?2";
static const char head_sql[] = "SELECT t.step AS step, t.epoch AS epoch, t.t_ms AS t_ms, (SELECT value FROM scalar "
                               "JOIN metric ON metric.id=metric_id "
                               "WHERE name='loss' AND per='step' AND scalar.step=t.step) AS loss, (SELECT images_per_s "
                               "FROM sample ORDER BY t_ms DESC "
                               "LIMIT 1) AS images_per_s FROM tick t ORDER BY t.step DESC LIMIT 1";

static void add_head(nas__followed *f, nas__cursor *c, char **text) {
    json_t *cursors = nas__api_cursors(&f->run);
    int64_t step = json_integer_value(json_object_get(cursors, "step"));
    int64_t sample = json_integer_value(json_object_get(cursors, "sample"));
    int64_t head = step + sample; /* both only grow */
    sqlite3_stmt *s = c->head == head ? NULL : nas__reader_query(&f->run, head_sql, 0, NULL);
    if (nas__reader_row(&f->run, s)) {
        json_t *row = nas__row_json(s);
        sqlite3_finalize(s);
        add_id(row, f);
        json_object_set(row, "cursors", cursors);
        nas__event_append(text, "head", NULL, row);
    }
    c->head = head;
    json_decref(cursors);
}

static void add_status(nas__followed *f, nas__cursor *c, char **text) {
    nas__run_state state;
    json_t *summary = nas__run_summary(&f->run, &state);
    if (summary && (int)state != c->state) {
        c->state = (int)state;
        nas__event_append(text, "status", NULL,
                          json_pack("{s:s, s:s, s:O}", "run", f->id, "status", nas__run_state_word(state), "detail",
                                    json_object_get(summary, "status_detail")));
    }
    json_decref(summary);
}

static void greet(nas__followed *f, nas__cursor *c, int64_t segment, char **text) {
    if (c->segment && c->segment != segment) {
        nas__event_append(text, "reset", NULL,
                          json_pack("{s:s, s:I, s:s}", "run", f->id, "segment", (json_int_t)segment, "reason",
                                    "the run went on from a checkpoint: rows behind it are gone"));
        *c = (nas__cursor){.state = c->state, .greeted = true};
    }
    if (!c->greeted) {
        nas__event_append(text, "hello", NULL,
                          json_pack("{s:s, s:I, s:o}", "run", f->id, "segment", (json_int_t)segment, "cursors",
                                    nas__api_cursors(&f->run)));
        c->greeted = true;
    }
    c->segment = segment;
}

static bool same_place(const nas__cursor *a, const nas__cursor *b) {
    return a->segment == b->segment && a->epoch == b->epoch && a->event == b->event && a->head == b->head &&
           a->state == b->state && a->greeted == b->greeted;
}

static void read_news(nas__followed *f, nas__cursor *c, char **text) {
    greet(f, c, nas__reader_int(&f->run, "SELECT segment FROM run", c->segment), text);
    add_rows(f, c, &c->epoch, "epoch", epoch_sql, text);
    add_rows(f, c, &c->event, "note", note_sql, text);
    add_head(f, c, text);
    add_status(f, c, text);
}

void nas__followed_news(nas__followed *f, nas__cursor *cursor, char **text) {
    if (!f->memo || !same_place(&f->memo_from, cursor)) {
        nas__followed_forget(f);
        f->memo_from = f->memo_to = *cursor;
        f->memo = nas__strdup("");
        f->run.deadline_ms = nas__monotonic_ms() + QUERY_MS;
        read_news(f, &f->memo_to, &f->memo);
        nas_error_clear(); /* busy or damaged now: the next look tells */
    }
    if (f->memo && *f->memo) {
        append(text, f->memo);
    }
    *cursor = f->memo_to;
}
