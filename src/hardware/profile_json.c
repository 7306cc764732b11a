/* profile_json.c - tables of latencies as files. */
#include "hardware/profile.h"

#include "core/error.h"
#include "core/file.h"
#include "core/memory.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char format_name[] = "espalier latency table";
enum { FORMAT_VERSION = 1, MOST_SAMPLES = 100000, MOST_THREADS = 4096, MOST_BATCH = 1000000 };

/* --- writing ------------------------------------------------------------------------------------------- */
static json_t *shape_json(int n, const int64_t *dims) {
    json_t *list = json_array();
    for (int i = 0; i < n; i++) {
        json_array_append_new(list, json_integer(dims[i]));
    }
    return list;
}

static json_t *entry_json(const nas__profile_entry *e) {
    json_t *samples = json_array();
    double ns = nas__entry_ns(e), spread = nas__entry_spread(e);
    for (size_t i = 0; i < e->n; i++) {
        json_array_append_new(samples, json_integer(llround(e->ns[i])));
    }
    return json_pack("{s:s, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:o}", "op", e->op, "in", shape_json(e->n_in, e->in),
                     "out", shape_json(e->n_out, e->out), "ns", (json_int_t)llround(ns), "spread_ns",
                     (json_int_t)llround(spread), "macs", (json_int_t)e->macs, "parameters", (json_int_t)e->parameters,
                     "bytes", (json_int_t)e->bytes, "samples", samples);
}

static json_t *profile_json(const nas__profile *p) {
    json_t *entries = json_array(), *networks = json_array();
    for (size_t i = 0; i < p->n_entries; i++) {
        json_array_append_new(entries, entry_json(&p->entries[i]));
    }
    for (size_t i = 0; i < p->n_networks; i++) {
        const nas__profile_network *n = &p->networks[i];
        json_t *architecture = json_loads(n->architecture, 0, NULL);
        json_array_append_new(networks, json_pack("{s:i, s:I, s:o?}", "rest", n->rest, "ns", (json_int_t)llround(n->ns),
                                                  "architecture", architecture));
    }
    return json_pack("{s:s, s:i, s:s, s:s, s:i, s:i, s:f, s:o, s:o}", "format", format_name, "version", FORMAT_VERSION,
                     "machine", p->machine, "engine", p->engine, "batch", p->batch, "threads", p->threads, "canary_ns",
                     p->canary_ns, "entries", entries, "networks", networks);
}

nas_status nas__profile_write(const nas__profile *p, const char *path) {
    json_t *all = profile_json(p);
    char *text = all ? json_dumps(all, JSON_INDENT(1) | JSON_REAL_PRECISION(9)) : NULL;
    nas_status status = text ? nas__write_file(path, text, strlen(text))
                             : nas__fail(NAS_NO_MEMORY, "%s: no memory to write the table", path);
    free(text);
    json_decref(all);
    return status;
}

/* --- reading ------------------------------------------------------------------------------------------- */
/* A whole number of an object in a range, or -1 and an error. */
static json_int_t whole(const json_t *object, const char *name, json_int_t least, json_int_t most) {
    const json_t *value = json_object_get(object, name);
    if (!json_is_integer(value) || json_integer_value(value) < least || json_integer_value(value) > most) {
        nas__fail(NAS_PARSE, "\"%s\" must be a whole number from %lld to %lld", name, (long long)least,
                  (long long)most);
        return -1;
    }
    return json_integer_value(value);
}

static int read_shape(const json_t *object, const char *name, int64_t dims[NAS_MAX_DIMS]) {
    const json_t *list = json_object_get(object, name);
    size_t n = json_array_size(list);
    bool fits = json_is_array(list) && n < NAS_MAX_DIMS;
    for (size_t i = 0; fits && i < n; i++) {
        dims[i] = json_integer_value(json_array_get(list, i));
        fits = dims[i] > 0 && dims[i] <= INT32_MAX;
    }
    if (!fits) {
        nas__fail(NAS_PARSE, "\"%s\" must be a shape, as [16, 32, 32]", name);
    }
    return fits ? (int)n : -1;
}

static nas_status read_samples(nas__profile *p, int entry, const json_t *samples) {
    size_t n = json_array_size(samples);
    if (!json_is_array(samples) || n > MOST_SAMPLES) {
        return nas__fail(NAS_PARSE, "\"samples\" must be a list of nanoseconds");
    }
    for (size_t i = 0; i < n; i++) {
        double ns = json_number_value(json_array_get(samples, i));
        if (!json_is_number(json_array_get(samples, i)) || !(ns >= 0) || !isfinite(ns)) {
            return nas__fail(NAS_PARSE, "sample %zu is no number of nanoseconds, 0 or more", i);
        }
        if (nas__profile_sample(p, entry, ns)) {
            return nas_error_status();
        }
    }
    return NAS_OK;
}

static nas_status read_entry(nas__profile *p, const json_t *one) {
    const char *op = json_string_value(json_object_get(one, "op"));
    if (!op || !*op) {
        return nas__fail(NAS_PARSE, "\"op\" must say what was measured");
    }
    nas__profile_entry e = {.op = (char *)(uintptr_t)op};
    e.n_in = read_shape(one, "in", e.in);
    e.n_out = e.n_in < 0 ? -1 : read_shape(one, "out", e.out);
    e.macs = e.n_out < 0 ? -1 : whole(one, "macs", 0, INT64_MAX);
    e.parameters = e.macs < 0 ? -1 : whole(one, "parameters", 0, INT64_MAX);
    e.bytes = e.parameters < 0 ? -1 : whole(one, "bytes", 0, INT64_MAX);
    if (e.bytes < 0) {
        return nas_error_status();
    }
    size_t before = p->n_entries;
    int index = nas__profile_entry_of(p, &e);
    if (index >= 0 && (size_t)index < before) {
        return nas__fail(NAS_PARSE, "\"%.60s\" is there twice at the same shape", op);
    }
    return index < 0 ? nas_error_status() : read_samples(p, index, json_object_get(one, "samples"));
}

static nas_status read_network(nas__profile *p, const json_t *one) {
    json_int_t rest = whole(one, "rest", 0, (json_int_t)p->n_entries - 1);
    json_int_t ns = rest < 0 ? -1 : whole(one, "ns", 1, INT64_MAX);
    const json_t *architecture = json_object_get(one, "architecture");
    if (ns < 0 || !json_is_object(architecture)) {
        return nas__fail(NAS_PARSE, "\"architecture\" must be an object");
    }
    return nas__profile_add_network(p, (int)rest, json_dumps(architecture, JSON_COMPACT), (double)ns);
}

static nas_status read_rows(nas__profile *p, const json_t *all, const char *name,
                            nas_status (*read)(nas__profile *p, const json_t *one)) {
    const json_t *list = json_object_get(all, name), *one;
    size_t i;
    if (!json_is_array(list)) {
        return nas__fail(NAS_PARSE, "\"%s\" must be a list", name);
    }
    json_array_foreach(list, i, one) {
        if (read(p, one)) {
            return nas__error_context("%s %zu", name, i);
        }
    }
    return NAS_OK;
}

static nas__profile *read_profile(const json_t *all) {
    const char *format = json_string_value(json_object_get(all, "format"));
    const char *machine = json_string_value(json_object_get(all, "machine"));
    const char *engine = json_string_value(json_object_get(all, "engine"));
    const double canary = json_number_value(json_object_get(all, "canary_ns"));
    if (!format || strcmp(format, format_name) != 0) {
        return nas__fail_null(NAS_PARSE, "this is no table of latencies: \"format\" is not \"%s\"", format_name);
    }
    if (json_integer_value(json_object_get(all, "version")) != FORMAT_VERSION) {
        return nas__fail_null(NAS_UNSUPPORTED, "\"version\" is not %d, which this program reads", FORMAT_VERSION);
    }
    json_int_t batch = whole(all, "batch", 1, MOST_BATCH),
               threads = batch < 0 ? -1 : whole(all, "threads", 1, MOST_THREADS);
    if (threads < 0) {
        return NULL;
    }
    if (!machine || !engine || !(canary >= 0) || !isfinite(canary)) {
        return nas__fail_null(NAS_PARSE, "\"machine\", \"engine\" and \"canary_ns\" must say how it was measured");
    }
    nas__profile *p = nas__profile_new(machine, engine, (int)batch, (int)threads);
    if (p) {
        p->canary_ns = canary;
    }
    if (p && (read_rows(p, all, "entries", read_entry) || read_rows(p, all, "networks", read_network))) {
        nas__profile_free(p);
        return NULL;
    }
    return p;
}

nas__profile *nas__profile_read(const char *path) {
    size_t size;
    json_error_t error;
    char *text = nas__read_file(path, &size);
    if (!text) {
        return NULL;
    }
    json_t *all = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
    nas__profile *p = all ? read_profile(all) : NULL;
    if (!all) {
        nas__fail(NAS_PARSE, "%s: line %d: %s", path, error.line, error.text);
    } else if (!p) {
        nas__error_context("%s", path);
    }
    free(text);
    json_decref(all);
    return p;
}
