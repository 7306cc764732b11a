/* api_space.c - the space as a graph, and the probabilities of its choices over the epochs. */
#include "web/api.h"
#include "core/error.h"
#include "io/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- the space ------------------------------------------------------------------------------------------- */
static json_t *mutables_of(nas__reader *run) {
    json_t *list = nas__rows_json(
        run, "SELECT id, key, kind, chosen_min, chosen_max, code_offset AS offset FROM mutable ORDER BY id", 0, NULL);
    json_t *mutable;
    size_t i;
    json_array_foreach(list, i, mutable) {
        int64_t id = json_integer_value(json_object_get(mutable, "id"));
        json_object_set_new(mutable, "candidates",
                            nas__rows_json(run,
                                           "SELECT name, name AS label, slot, params, macs, latency_ms FROM candidate "
                                           "WHERE mutable_id=?1 ORDER BY idx",
                                           1, &id));
    }
    return list;
}

json_t *nas__get_space(nas__call *call) {
    static const char *const lists[][2] = {
        {"stages", "SELECT id, name, parent, repeat FROM stage ORDER BY id"},
        {"nodes", "SELECT id, stage_id AS stage, label, kind FROM node ORDER BY id"},
        {"edges",
         "SELECT id, stage_id AS stage, source, target, mutable_id AS mutable, candidate_idx AS candidate FROM "
         "edge ORDER BY id"}};
    sqlite3_stmt *s = nas__reader_query(&call->run, "SELECT space_hash FROM run", 0, NULL);
    if (!nas__reader_row(&call->run, s)) {
        return nas__api_failed(call);
    }
    json_t *answer = json_object();
    json_object_set_new(answer, "hash", nas__column_json(s, 0));
    sqlite3_finalize(s);
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        json_object_set_new(answer, lists[i][0], nas__rows_json(&call->run, lists[i][1], 0, NULL));
    }
    json_object_set_new(answer, "mutables", mutables_of(&call->run));
    return answer;
}

/* --- probabilities ----------------------------------------------------------------------------------------- */
static float little_endian(const unsigned char *bytes) {
    uint32_t bits = 0;
    float value;
    for (int i = 0; i < 4; i++) {
        bits |= (uint32_t)bytes[i] << (8 * i);
    }
    memcpy(&value, &bits, sizeof value);
    return value;
}

typedef struct layout { /* of one answer: which choices, in which order */
    json_t *order, *sizes;
    int64_t values; /* of one epoch */
    int64_t first, step, last, every;
} layout;

static bool read_layout(nas__call *call, layout *l, int64_t only) {
    sqlite3_stmt *s = nas__reader_query(
        &call->run,
        "SELECT id, candidates FROM mutable WHERE (?1=0 OR id=?1) AND id IN (SELECT DISTINCT mutable_id FROM "
        "probability) ORDER BY id",
        1, &only);
    l->order = json_array();
    l->sizes = json_array();
    while (nas__reader_row(&call->run, s)) {
        json_array_append_new(l->order, json_integer(sqlite3_column_int64(s, 0)));
        json_array_append_new(l->sizes, json_integer(sqlite3_column_int64(s, 1)));
        l->values += sqlite3_column_int64(s, 1);
    }
    return !nas_error_status();
}

/* The first, the last and every k-th epoch, counted from the first, so that there are not too many values. */
static void choose_epochs(nas__call *call, layout *l, int64_t after, int64_t to, int64_t every) {
    sqlite3_stmt *s =
        nas__reader_query(&call->run,
                          "SELECT ifnull(min(epoch),0), ifnull(max(epoch),-1), count(DISTINCT epoch) FROM "
                          "probability WHERE epoch > ?1 AND epoch <= ?2",
                          2, (int64_t[]){after, to});
    l->every = every ? every : 1;
    if (!nas__reader_row(&call->run, s)) {
        return;
    }
    l->first = sqlite3_column_int64(s, 0);
    l->last = sqlite3_column_int64(s, 1);
    int64_t epochs = sqlite3_column_int64(s, 2);
    sqlite3_finalize(s);
    while (l->values * (epochs / l->every + 2) > NAS__MOST_VALUES && l->every < epochs) {
        l->every++;
    }
}

/* An epoch's rows may lack a choice (nulls then) but not be of another length. */
static void put_values(json_t *p, const unsigned char *blob, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        float value = blob ? little_endian(blob + 4 * i) : NAN;
        json_array_append_new(p, nas__real_json(value));
    }
}

typedef struct frame {
    json_t *p, *argmax;
    size_t at; /* choices that are there */
} frame;

static void put_missing(frame *f, const layout *l, size_t until) {
    for (; f->at < until; f->at++) {
        put_values(f->p, NULL, json_integer_value(json_array_get(l->sizes, f->at)));
        json_array_append_new(f->argmax, json_null());
    }
}

static size_t place_of(const layout *l, int64_t mutable, size_t from) {
    size_t n = json_array_size(l->order);
    while (from < n && json_integer_value(json_array_get(l->order, from)) != mutable) {
        from++;
    }
    return from;
}

static bool put_row(nas__call *call, sqlite3_stmt *s, frame *f, const layout *l) {
    size_t place = place_of(l, sqlite3_column_int64(s, 1), f->at);
    if (place == json_array_size(l->order)) {
        return true; /* a choice that was not asked for */
    }
    put_missing(f, l, place);
    int64_t n = json_integer_value(json_array_get(l->sizes, place));
    if (sqlite3_column_bytes(s, 2) != 4 * n) {
        nas__api_fail(call, 500, "damaged", "probabilities of a choice are not as many as its candidates",
                      "the run cannot be shown; others are unaffected");
        return false;
    }
    put_values(f->p, sqlite3_column_blob(s, 2), n);
    json_array_append_new(f->argmax, nas__column_json(s, 3));
    f->at++;
    return true;
}

typedef struct frames {
    json_t *epochs, *p, *argmax;
} frames;

static void read_frames(nas__call *call, const layout *l, frames *out) {
    sqlite3_stmt *s = nas__reader_query(&call->run,
                                        "SELECT epoch, mutable_id, p, argmax FROM probability WHERE epoch BETWEEN ?1 "
                                        "AND ?2 AND ((epoch-?1) % ?3 = 0 OR "
                                        "epoch=?2) ORDER BY epoch, mutable_id",
                                        3, (int64_t[]){l->first, l->last, l->every});
    frame f = {0};
    int64_t epoch = -1;
    while (nas__reader_row(&call->run, s)) {
        if (sqlite3_column_int64(s, 0) != epoch) {
            if (f.p) {
                put_missing(&f, l, json_array_size(l->order));
            }
            epoch = sqlite3_column_int64(s, 0);
            f = (frame){json_array(), json_array(), 0};
            json_array_append_new(out->epochs, json_integer(epoch));
            json_array_append_new(out->p, f.p);
            json_array_append_new(out->argmax, f.argmax);
        }
        if (!put_row(call, s, &f, l)) {
            sqlite3_finalize(s);
            return;
        }
    }
    if (f.p) {
        put_missing(&f, l, json_array_size(l->order));
    }
}

json_t *nas__get_probabilities(nas__call *call) {
    int64_t after = nas__api_int(call, "after", -1, -1, INT64_MAX),
            to = nas__api_int(call, "to", INT64_MAX, 0, INT64_MAX);
    bool automatic = !strcmp(nas__api_text(call, "every"), "auto");
    int64_t every = automatic ? 0 : nas__api_int(call, "every", 0, 1, 1 << 20);
    int64_t only = nas__api_int(call, "mutable", 0, 1, INT64_MAX);
    layout l = {0};
    if (call->status || !read_layout(call, &l, only)) {
        return call->status ? NULL : nas__api_failed(call);
    }
    choose_epochs(call, &l, after, to, every);
    frames out = {json_array(), json_array(), json_array()};
    read_frames(call, &l, &out);
    return json_pack("{s:s, s:o, s:o, s:o, s:I, s:o, s:o, s:b, s:I}", "kind", "probability", "order", l.order, "sizes",
                     l.sizes, "epochs", out.epochs, "every", (json_int_t)l.every, "p", out.p, "argmax", out.argmax,
                     "complete", l.every == 1, "next", (json_int_t)(l.last > after ? l.last : after));
}
