/* cost_text.c - costs as people write them: 30M multiply-adds, 431k parameters, 5 ms; and tables of them as JSON. */
#include "hardware/cost_table.h"

#include "core/error.h"
#include "core/file.h"
#include "core/memory.h"
#include "space/space.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char format_name[] = "espalier cost table";
enum { FORMAT_VERSION = 1 };

/* --- numbers --------------------------------------------------------------------------------------- */
static const char *const kind_names[] = {"macs", "params", "latency", "ram", "flash"};
static const char *const kind_units[] = {"multiply-adds", "parameters", "us", "bytes", "bytes"};

const char *nas__cost_name(nas__cost_kind kind) { return kind_names[kind]; }

typedef struct unit {
    const char *text;
    double size;
} unit;
static const unit counts[] = {{"", 1}, {"k", 1e3}, {"M", 1e6}, {"G", 1e9}, {NULL, 0}};
static const unit times[] = {{"ns", 1e-3}, {"us", 1}, {"ms", 1e3}, {"s", 1e6}, {NULL, 0}};

static const unit sizes[] = {
    {"", 1},  {"B", 1}, {"kB", 1e3}, {"MB", 1e6}, {"KiB", 1024}, {"MiB", 1024 * 1024}, {"GiB", 1024.0 * 1024 * 1024},
    {NULL, 0}};

static const unit *units_of(nas__cost_kind kind) {
    return kind == NAS__COST_LATENCY ? times : kind == NAS__COST_RAM || kind == NAS__COST_FLASH ? sizes : counts;
}

const char *nas__cost_text(nas__cost_kind kind, double cost, char text[32]) {
    const unit *units = units_of(kind);
    int i = 0;
    if (units == sizes) { /* all digits: whoever sets a limit to what a message says should meet it */
        bool large = cost >= 1024 * 1024;
        snprintf(text, 32, "%.0f bytes (%.4g%s)", cost, cost / (large ? 1024 * 1024 : 1024), large ? "MiB" : "KiB");
        return text;
    }
    while (units[i + 1].text && fabs(cost) >= units[i + 1].size) {
        i++;
    }
    snprintf(text, 32, "%.4g%s%s", cost / units[i].size, kind == NAS__COST_LATENCY ? " " : "", units[i].text);
    return text;
}

bool nas__cost_parse(nas__cost_kind kind, const char *text, double *cost) {
    char *end;
    double number = strtod(text, &end);
    if (end == text || !isfinite(number) || !(number > 0) || strspn(text, "0123456789.eE+-") < (size_t)(end - text)) {
        return false;
    }
    for (const unit *u = units_of(kind); u->text; u++) {
        /* k and K, m and M are the same; of times mS is as good as ms */
        if (strcasecmp(end, u->text) == 0) {
            *cost = number * u->size;
            return *cost > 0 && isfinite(*cost);
        }
    }
    return false;
}

/* --- writing --------------------------------------------------------------------------------------- */
nas_status nas__cost_table_write(const nas__cost_table *t, const nas_space *space, const char *path) {
    json_t *choices = json_object();
    for (int i = 0; i < t->n; i++) {
        const nas_choice *c = nas_space_choice(space, i);
        json_t *one = json_object();
        for (int k = 0; k < c->n; k++) {
            json_object_set_new(one, c->names[k], json_real(nas__cost_of(t, i, k)));
        }
        json_object_set_new(choices, c->key, one);
    }
    json_t *all =
        json_pack("{s:s, s:i, s:s, s:s, s:f, s:o}", "format", format_name, "version", FORMAT_VERSION, "kind",
                  nas__cost_name(t->kind), "unit", kind_units[t->kind], "constant", t->constant, "choices", choices);
    char *text = all ? json_dumps(all, JSON_INDENT(2)) : NULL;
    nas_status status = text ? nas__write_file(path, text, strlen(text)) : nas__fail(NAS_NO_MEMORY, "%s", path);
    free(text);
    json_decref(all);
    return status;
}

/* --- reading --------------------------------------------------------------------------------------- */
static nas_status read_kind(const json_t *all, nas__cost_kind *kind, double *size) {
    const char *format = json_string_value(json_object_get(all, "format"));
    const char *name = json_string_value(json_object_get(all, "kind"));
    const char *unit_name = json_string_value(json_object_get(all, "unit"));
    json_int_t version = json_integer_value(json_object_get(all, "version"));
    if (!format || strcmp(format, format_name) != 0) {
        return nas__fail(NAS_INVALID, "this is no table of costs: \"format\" is not \"%s\"", format_name);
    }
    if (version != FORMAT_VERSION) {
        return nas__fail(NAS_INVALID, "\"version\" is %lld; this program reads version %d", (long long)version,
                         FORMAT_VERSION);
    }
    int found = 0;
    while (found < 3 && (!name || strcmp(name, kind_names[found]) != 0)) {
        found++;
    }
    if (found == 3) {
        return nas__fail(NAS_INVALID, "\"kind\" is \"%s\"; it must be macs, params or latency", name ? name : "");
    }
    *kind = (nas__cost_kind)found;
    *size = found == NAS__COST_LATENCY ? 0 : 1;
    for (const unit *u = times; found == NAS__COST_LATENCY && u->text; u++) {
        *size = unit_name && strcmp(unit_name, u->text) == 0 ? u->size : *size;
    }
    return *size > 0 ? NAS_OK
                     : nas__fail(NAS_INVALID, "\"unit\" is \"%s\"; a latency has ns, us, ms or s",
                                 unit_name ? unit_name : "");
}

static nas_status read_choice(nas__cost_table *t, int index, const nas_choice *c, const json_t *one, double size) {
    const char *name;
    json_t *value;
    char list[400];
    if (!json_is_object(one)) {
        return nas__fail(NAS_INVALID, "choice \"%s\" is missing: it needs the cost of each of %s", c->key,
                         nas__candidate_list(c, list, sizeof list));
    }
    json_object_foreach((json_t *)one, name, value) {
        if (nas__choice_candidate(c, name) < 0) {
            return nas__fail(NAS_NOT_FOUND, "choice \"%s\": unknown candidate \"%s\"; candidates are %s", c->key, name,
                             nas__candidate_list(c, list, sizeof list));
        }
    }
    for (int k = 0; k < c->n; k++) {
        value = json_object_get(one, c->names[k]);
        if (!json_is_number(value)) {
            return nas__fail(NAS_INVALID, "choice \"%s\": candidate \"%s\" has no number", c->key, c->names[k]);
        }
        double cost = size * json_number_value(value);
        if (cost < 0 && c->kind == NAS_LAYER) {
            return nas__fail(NAS_INVALID, "choice \"%s\": candidate \"%s\" costs %g; costs are not negative", c->key,
                             c->names[k], json_number_value(value));
        }
        t->cost[t->first[index] + k] = cost;
    }
    return NAS_OK;
}

static nas_status read_choices(nas__cost_table *t, const nas_space *space, const json_t *choices, double size) {
    const char *key;
    json_t *value;
    if (!json_is_object(choices)) {
        return nas__fail(NAS_INVALID, "\"choices\" is missing: an object with one object per choice");
    }
    json_object_foreach((json_t *)choices, key, value) {
        if (nas_space_find(space, key) < 0) {
            return nas__fail(NAS_NOT_FOUND, "the space has no choice \"%s\"; is this the table of another space?", key);
        }
    }
    nas_status status = NAS_OK;
    for (int i = 0; !status && i < t->n; i++) {
        const nas_choice *c = nas_space_choice(space, i);
        const json_t *one = json_object_get(choices, c->key);
        /* what is no layer may be left out: most cost nothing */
        status = c->kind == NAS_LAYER || one ? read_choice(t, i, c, one, size) : NAS_OK;
    }
    return status;
}

static nas__cost_table *read_table(const nas_space *space, const json_t *all) {
    nas__cost_kind kind = NAS__COST_MACS;
    double size = 1;
    if (read_kind(all, &kind, &size)) {
        return NULL;
    }
    const json_t *constant = json_object_get(all, "constant");
    if (!json_is_number(constant) || json_number_value(constant) < 0) {
        return nas__fail_null(NAS_INVALID, "\"constant\" must be a number, 0 or more: what is not searched costs that");
    }
    nas__cost_table *t = nas__cost_table_zero(space, kind);
    if (t && read_choices(t, space, json_object_get(all, "choices"), size)) {
        nas__cost_table_free(t);
        return NULL;
    }
    if (t) {
        t->constant = size * json_number_value(constant);
    }
    return t;
}

nas__cost_table *nas__cost_table_read(const nas_space *space, const char *path) {
    json_error_t error;
    char *text = nas__read_text(path);
    if (!text) {
        return NULL;
    }
    json_t *all = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    nas__cost_table *t = all ? read_table(space, all) : NULL;
    if (!all) {
        nas__fail(NAS_INVALID, "%s: line %d: %s", path, error.line, error.text);
    } else if (!t) {
        nas__error_context("%s", path);
    }
    free(text);
    json_decref(all);
    return t;
}
