/* options.c - typed options of a struct, described by a table: see options.h. */
#include "core/options.h"

#include "core/error.h"
#include "core/memory.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

const nas_option *nas_options_find(const nas_option *table, const char *name) {
    for (const nas_option *row = table; row && row->name; row++) {
        if (strcmp(row->name, name) == 0) {
            return row;
        }
    }
    return NULL;
}

static void *field_of(const nas_option *row, const void *fields) { return (char *)fields + row->offset; }

static bool limited(const nas_option *row) { return row->min != 0 || row->max != 0; }

static nas_status out_of_range(const nas_option *row, const char *value) {
    return nas__fail(NAS_INVALID, "option \"%s\": %s is out of range; it takes %g to %g", row->name, value, row->min,
                     row->max);
}

static nas_status set_int(const nas_option *row, void *fields, const char *value) {
    char *end;
    errno = 0;
    long long number = strtoll(value, &end, 10);
    if (end == value || *end) {
        return nas__fail(NAS_INVALID, "option \"%s\": \"%s\" is not a whole number", row->name, value);
    }
    if (limited(row) && (errno || (double)number < row->min || (double)number > row->max)) {
        return out_of_range(row, value);
    }
    if (errno || number < INT_MIN || number > INT_MAX) {
        return nas__fail(NAS_INVALID, "option \"%s\": %s is too large a number", row->name, value);
    }
    *(int *)field_of(row, fields) = (int)number;
    return NAS_OK;
}

static nas_status set_float(const nas_option *row, void *fields, const char *value) {
    char *end;
    double number = strtod(value, &end);
    if (end == value || *end || !isfinite(number)) {
        return nas__fail(NAS_INVALID, "option \"%s\": \"%s\" is not a number", row->name, value);
    }
    if (limited(row) && (number < row->min || number > row->max)) {
        return out_of_range(row, value);
    }
    *(double *)field_of(row, fields) = number;
    return NAS_OK;
}

static nas_status set_bool(const nas_option *row, void *fields, const char *value) {
    static const char *const words[] = {"0", "1", "false", "true", "no", "yes", "off", "on"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcasecmp(value, words[i]) == 0) {
            *(bool *)field_of(row, fields) = i % 2;
            return NAS_OK;
        }
    }
    return nas__fail(NAS_INVALID, "option \"%s\": \"%s\" is neither yes nor no; write 1 or 0", row->name, value);
}

/* The index-th of the words in "a|b|c"; NULL behind the last. */
static const char *word_at(const char *choices, int index, size_t *length) {
    for (; index > 0 && choices; index--) {
        choices = strchr(choices, '|');
        choices = choices ? choices + 1 : NULL;
    }
    *length = choices ? strcspn(choices, "|") : 0;
    return choices;
}

static nas_status set_choice(const nas_option *row, void *fields, const char *value) {
    size_t length;
    const char *word;
    for (int i = 0; (word = word_at(row->choices, i, &length)); i++) {
        if (strlen(value) == length && strncmp(value, word, length) == 0) {
            *(int *)field_of(row, fields) = i;
            return NAS_OK;
        }
    }
    return nas__fail(NAS_INVALID, "option \"%s\": \"%s\" is unknown; it takes one of %s", row->name, value,
                     row->choices);
}

static nas_status set_text(const nas_option *row, void *fields, const char *value) {
    size_t length = strlen(value);
    if (length >= NAS_OPTION_TEXT_SIZE) {
        return nas__fail(NAS_INVALID, "option \"%s\": a text of %zu bytes is too long; it takes %d", row->name, length,
                         NAS_OPTION_TEXT_SIZE - 1);
    }
    if (strchr(value, ',')) {
        return nas__fail(NAS_INVALID, "option \"%s\": \"%s\" has a comma in it, which stands between options",
                         row->name, value);
    }
    memcpy(field_of(row, fields), value, length + 1);
    return NAS_OK;
}

static nas_status set_list(const nas_option *row, void *fields, const char *value) {
    nas_list list = {0};
    const char *at = value;
    do {
        char *end;
        errno = 0;
        long number = *at >= '0' && *at <= '9' ? strtol(at, &end, 10) : -1;
        if (number < 0 || errno || number > INT_MAX || (*end && *end != '-')) {
            return nas__fail(NAS_INVALID, "option \"%s\": \"%s\" is no list of whole numbers; one looks like 3-5-7",
                             row->name, value);
        }
        if (list.n == NAS_LIST_MOST) {
            return nas__fail(NAS_INVALID, "option \"%s\": %s has more than %d numbers", row->name, value,
                             NAS_LIST_MOST);
        }
        if (limited(row) && ((double)number < row->min || (double)number > row->max)) {
            return out_of_range(row, value);
        }
        list.values[list.n++] = (int)number;
        at = *end ? end + 1 : NULL;
    } while (at);
    *(nas_list *)field_of(row, fields) = list;
    return NAS_OK;
}

static nas_status set_row(const nas_option *row, void *fields, const char *value) {
    switch (row->type) {
    case NAS_OPTION_INT:
        return set_int(row, fields, value);
    case NAS_OPTION_FLOAT:
        return set_float(row, fields, value);
    case NAS_OPTION_BOOL:
        return set_bool(row, fields, value);
    case NAS_OPTION_CHOICE:
        return set_choice(row, fields, value);
    case NAS_OPTION_TEXT:
        return set_text(row, fields, value);
    case NAS_OPTION_LIST:
        return set_list(row, fields, value);
    }
    return nas__fail(NAS_INVALID, "option \"%s\" has an unknown type", row->name);
}

nas_status nas_options_default(const nas_option *table, void *fields) {
    for (const nas_option *row = table; row && row->name; row++) {
        if (set_row(row, fields, row->initial)) {
            return nas__error_context("default");
        }
    }
    return NAS_OK;
}

static nas_status unknown(const nas_option *table, const char *name) {
    size_t n = 0, used = 0;
    char all[512] = "";
    for (; table && table[n].name; n++) {
        int written = snprintf(all + used, sizeof all - used, "%s%s", n ? ", " : "", table[n].name);
        used = used + (size_t)written < sizeof all ? used + (size_t)written : sizeof all - 1;
    }
    const char *nearest = nas__nearest(name, table, n, sizeof *table);
    if (!n) {
        return nas__fail(NAS_NOT_FOUND, "option \"%s\" is unknown: there are no options here", name);
    }
    if (nearest) {
        return nas__fail(NAS_NOT_FOUND, "option \"%s\" is unknown; did you mean \"%s\"? (all: %s)", name, nearest, all);
    }
    return nas__fail(NAS_NOT_FOUND, "option \"%s\" is unknown; there are: %s", name, all);
}

nas_status nas_options_set(const nas_option *table, void *fields, const char *name, const char *value) {
    if (!name || !value) {
        return nas__fail(NAS_INVALID, "nas_options_set: name or value is NULL");
    }
    const nas_option *row = nas_options_find(table, name);
    return row ? set_row(row, fields, value) : unknown(table, name);
}

/* The shortest decimal that reads back as the same double. */
static void print_double(double value, char *text, size_t size) {
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, size, "%.*g", digits, value);
        if (strtod(text, NULL) == value) {
            return;
        }
    }
}

static void print_list(const nas_list *list, char *text, size_t size) {
    size_t used = 0;
    *text = 0;
    for (int i = 0; i < list->n && used < size; i++) {
        used += (size_t)snprintf(text + used, size - used, "%s%d", i ? "-" : "", list->values[i]);
    }
}

void nas_options_get(const nas_option *row, const void *fields, char *text, size_t size) {
    const void *field = field_of(row, fields);
    size_t length;
    const char *word;
    switch (row->type) {
    case NAS_OPTION_INT:
        snprintf(text, size, "%d", *(const int *)field);
        break;
    case NAS_OPTION_FLOAT:
        print_double(*(const double *)field, text, size);
        break;
    case NAS_OPTION_BOOL:
        snprintf(text, size, "%d", *(const bool *)field);
        break;
    case NAS_OPTION_CHOICE:
        word = word_at(row->choices, *(const int *)field, &length);
        snprintf(text, size, "%.*s", (int)length, word ? word : "");
        break;
    case NAS_OPTION_TEXT:
        snprintf(text, size, "%s", (const char *)field);
        break;
    case NAS_OPTION_LIST:
        print_list(field, text, size);
        break;
    }
}

nas_status nas__options_read(const nas_option *table, void *fields, const char *owner, const char *text) {
    char *copy = text ? nas__strdup(text) : NULL, *rest = copy;
    nas_status status = text && !copy ? nas_error_status() : nas_options_default(table, fields);
    for (char *item; !status && (item = strsep(&rest, ",")) != NULL;) {
        char *value = strchr(item, '=');
        if (!*item) {
            continue;
        }
        if (value) {
            *value++ = 0;
        }
        status = value ? nas_options_set(table, fields, item, value)
                       : nas__fail(NAS_USAGE, "option \"%s\" of %s needs a value: %s=...", item, owner, item);
    }
    free(copy);
    return status;
}
