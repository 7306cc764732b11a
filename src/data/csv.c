/* csv.c - a table of numbers with a header line (RFC 4180: quoted fields, "" for a quote). */
#include "data/sources.h"
#include "data/transform.h"
#include "core/error.h"
#include "core/file.h"
#include "core/memory.h"

#include <ctype.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct table {
    const char *path;
    char *text;   /* the file; the cells point into it */
    char **cells; /* row after row, the header first */
    size_t n_cells;
    int64_t columns, rows; /* without the header */
    int64_t *lines;        /* on which each row begins, the header's first */
    int64_t target;        /* column */
    locale_t plain;        /* decimal points whatever the program's locale */
} table;

static void table_free(table *t) {
    free(t->text);
    free(t->cells);
    free(t->lines);
    if (t->plain) {
        freelocale(t->plain);
    }
}

/* --- reading ------------------------------------------------------------------------------------ */
/* Cuts a quoted field that begins at p (after the quote) out in place; returns what follows the closing quote. */
static char *unquote(char *p, int64_t *line) {
    char *to = p;
    for (; *p; p++) {
        if (*p == '"' && p[1] != '"') {
            *to = 0; /* at or before the closing quote */
            return p + 1;
        }
        p += *p == '"';
        *line += *p == '\n';
        *to++ = *p;
    }
    return NULL;
}

static bool add_cell(table *t, char *cell) {
    if (!nas__grow(&t->cells, t->n_cells, sizeof *t->cells)) {
        return false;
    }
    t->cells[t->n_cells++] = cell;
    return true;
}

/* One field from *p on; *p is left behind its separator. *last: the row ends with it. */
static nas_status parse_field(table *t, char **p, int64_t *line, bool *last) {
    char *cell = *p, *end;
    if (*cell == '"') {
        int64_t begin = *line;
        end = unquote(++cell, line);
        if (!end) {
            return nas__fail(NAS_PARSE, "%s:%lld: a quoted field has no closing quote", t->path, (long long)begin);
        }
        if (*end && !strchr(",\r\n", *end)) {
            return nas__fail(NAS_PARSE, "%s:%lld: \"%c\" after a closing quote; write \"\" for a quote inside quotes",
                             t->path, (long long)*line, *end);
        }
    } else {
        end = cell + strcspn(cell, ",\r\n");
    }
    char separator = *end;
    *end = 0;
    if (separator == '\r' && end[1] == '\n') {
        end++;
    }
    *p = separator ? end + 1 : end;
    *last = separator != ',';
    *line += separator == '\n' || separator == '\r';
    return add_cell(t, cell) ? NAS_OK : NAS_NO_MEMORY;
}

static nas_status parse_row(table *t, char **p, int64_t *line) {
    int64_t first = *line;
    size_t before = t->n_cells;
    for (bool last = false; !last;) {
        nas_status status = parse_field(t, p, line, &last);
        if (status) {
            return status;
        }
    }
    int64_t columns = (int64_t)(t->n_cells - before);
    t->columns = t->columns ? t->columns : columns;
    if (columns != t->columns) {
        return nas__fail(NAS_PARSE, "%s:%lld: %lld fields, but the header has %lld", t->path, (long long)first,
                         (long long)columns, (long long)t->columns);
    }
    int64_t row = (int64_t)(t->n_cells / (size_t)columns) - 1;
    if (!nas__grow(&t->lines, (size_t)row, sizeof *t->lines)) {
        return NAS_NO_MEMORY;
    }
    t->lines[row] = first;
    return NAS_OK;
}

static nas_status parse(table *t) {
    size_t size = 0;
    t->text = nas__read_file(t->path, &size);
    if (!t->text) {
        return nas_error_status();
    }
    if (strlen(t->text) != size) {
        return nas__fail(NAS_PARSE, "%s: not a text file (it has a zero byte)", t->path);
    }
    char *p = strncmp(t->text, "\xEF\xBB\xBF", 3) == 0 ? t->text + 3 : t->text; /* byte order mark */
    int64_t line = 1;
    while (*p) {
        if (*p == '\n' || *p == '\r') { /* an empty line */
            line += *p == '\n';
            p++;
            continue;
        }
        nas_status status = parse_row(t, &p, &line);
        if (status) {
            return status;
        }
    }
    t->rows = t->columns ? (int64_t)t->n_cells / t->columns - 1 : 0;
    if (t->rows < 2) {
        return nas__fail(NAS_PARSE, "%s: %lld rows below the header line; at least 2 are needed", t->path,
                         (long long)t->rows);
    }
    if (t->columns < 2) {
        return nas__fail(NAS_PARSE, "%s: only one column; fields are separated by commas", t->path);
    }
    return NAS_OK;
}

static char *cell(const table *t, int64_t row, int64_t column) { return t->cells[(row + 1) * t->columns + column]; }

/* --- columns ------------------------------------------------------------------------------------ */
static nas_status find_target(table *t, const char *wanted) {
    for (int64_t c = 0; c < t->columns; c++) {
        if (strcmp(t->cells[c], wanted) == 0) {
            t->target = c;
            return NAS_OK;
        }
    }
    char *end;
    long long number = strtoll(wanted, &end, 10);
    number += number < 0 ? t->columns : 0;
    if (*wanted && !*end && number >= 0 && number < t->columns) {
        t->target = number;
        return NAS_OK;
    }
    const char *near = nas__nearest(wanted, t->cells, (size_t)t->columns, sizeof *t->cells);
    return nas__fail(NAS_NOT_FOUND,
                     "%s: no target column \"%s\"%s%s%s; name one of the header's %lld columns (\"%s\" ... \"%s\") "
                     "or its number from 0",
                     t->path, wanted, near ? ", did you mean " : "", near ? near : "", near ? "?" : "",
                     (long long)t->columns, t->cells[0], t->cells[t->columns - 1]);
}

static bool to_number(const table *t, const char *text, double *value) {
    char *end;
    *value = strtod_l(text, &end, t->plain);
    while (isspace((unsigned char)*end)) {
        end++;
    }
    return end != text && !*end && isfinite(*value);
}

static nas_status number(const table *t, int64_t row, int64_t column, float *value) {
    double v;
    const char *text = cell(t, row, column);
    if (!to_number(t, text, &v) || fabs(v) > 3e38) {
        return nas__fail(
            NAS_PARSE, "%s:%lld: column \"%s\" is \"%s\", not a number; encode texts and fill in missing values first",
            t->path, (long long)t->lines[row + 1], t->cells[column], text);
    }
    *value = (float)v;
    return NAS_OK;
}

/* --- classes ------------------------------------------------------------------------------------ */
typedef struct label {
    char *text;
    double value; /* when all labels are numbers */
} label;

static int by_text(const void *a, const void *b) { return strcmp(((const label *)a)->text, ((const label *)b)->text); }

static int by_value(const void *a, const void *b) {
    const label *p = a, *q = b;
    return p->value != q->value ? (p->value > q->value) - (p->value < q->value) : by_text(a, b);
}

/* The distinct texts of the target column, as numbers when all are; *n of them. To be freed by the caller. */
static label *distinct_labels(const table *t, size_t *n, bool *numeric) {
    label *all = nas__alloc((size_t)t->rows * sizeof *all);
    *n = 0;
    *numeric = true;
    for (int64_t i = 0; all && i < t->rows; i++) {
        all[i].text = cell(t, i, t->target);
        *numeric &= to_number(t, all[i].text, &all[i].value);
        if (!all[i].text[0]) {
            nas__fail(NAS_PARSE, "%s:%lld: the target column \"%s\" is empty", t->path, (long long)t->lines[i + 1],
                      t->cells[t->target]);
            free(all);
            return NULL;
        }
    }
    if (!all) {
        return NULL;
    }
    int (*order)(const void *, const void *) = *numeric ? by_value : by_text;
    qsort(all, (size_t)t->rows, sizeof *all, order);
    for (int64_t i = 0; i < t->rows; i++) {
        if (!*n || strcmp(all[*n - 1].text, all[i].text) != 0) {
            all[(*n)++] = all[i];
        }
    }
    return all;
}

/* Class names (pointers into the table, to be freed as an array) and each row's class; NULL on failure. */
static const char **classify(const table *t, float *labels, int *classes) {
    size_t n;
    bool numeric;
    label *found = distinct_labels(t, &n, &numeric);
    const char **names = found ? nas__alloc(n * sizeof *names) : NULL;
    if (names && n < 2) {
        nas__fail(NAS_INVALID, "%s: the target column \"%s\" is always \"%s\"; two classes are needed", t->path,
                  t->cells[t->target], found[0].text);
    } else if (names && numeric && n > 20 && (int64_t)n > t->rows / 2) {
        nas__fail(NAS_INVALID,
                  "%s: the target column \"%s\" has %zu different numbers in %lld rows, too many for classes; add "
                  "task=regression",
                  t->path, t->cells[t->target], n, (long long)t->rows);
    } else if (names) {
        for (int64_t i = 0; i < t->rows; i++) {
            label key = {.text = cell(t, i, t->target)};
            if (numeric) {
                to_number(t, key.text, &key.value);
            }
            label *at = bsearch(&key, found, n, sizeof key, numeric ? by_value : by_text);
            labels[i] = (float)(at - found);
        }
        for (size_t i = 0; i < n; i++) {
            names[i] = found[i].text;
        }
        *classes = (int)n;
        free(found);
        return names;
    }
    free(names);
    free(found);
    return NULL;
}

/* --- the data set ------------------------------------------------------------------------------- */
/* Each column of x (rows, columns) to mean 0, deviation 1 over the rows that `train` names. */
static void standardise(float *x, int64_t rows, int64_t columns, int64_t n, const int32_t *train) {
    for (int64_t c = 0; c < columns; c++) {
        double sum = 0, squares = 0;
        for (int64_t i = 0; i < n; i++) {
            sum += x[train[i] * columns + c];
        }
        double mean = sum / (double)n;
        for (int64_t i = 0; i < n; i++) {
            double v = x[train[i] * columns + c] - mean;
            squares += v * v;
        }
        double deviation = sqrt(squares / (double)n);
        deviation = deviation > 1e-7 * fabs(mean) && deviation > 0 ? deviation : 1; /* a constant column becomes 0 */
        for (int64_t i = 0; i < rows; i++) {
            x[i * columns + c] = (float)((x[i * columns + c] - mean) / deviation);
        }
    }
}

static nas_status read_numbers(const table *t, nas_dataset *d) {
    float *x = d->floats;
    nas_status status = NAS_OK;
    for (int64_t i = 0; i < t->rows; i++) {
        for (int64_t c = 0; c < t->columns && !status; c++) {
            if (c != t->target) {
                status = number(t, i, c, x++);
            } else if (!d->info.classes) {
                status = number(t, i, c, d->targets + i);
            }
        }
    }
    return status;
}

static nas_status take_part(const table *t, nas_dataset *d, bool test) {
    int64_t n_train, n_test;
    int classes = d->info.classes;
    int32_t *train = nas__holdout(t->path, t->rows, d->targets, classes, false, &n_train);
    int32_t *held = train ? nas__holdout(t->path, t->rows, d->targets, classes, true, &n_test) : NULL;
    if (held) {
        standardise(d->floats, t->rows, t->columns - 1, n_train, train);
        nas__dataset_keep(d, test ? n_test : n_train, test ? held : train);
        nas__transform_prepare(d);
    }
    free(train);
    free(held);
    return held ? NAS_OK : nas_error_status();
}

static nas_dataset *build(const table *t, const char *name, bool regression, bool test) {
    float *labels = nas__alloc((size_t)t->rows * sizeof *labels);
    int classes = 0;
    const char **names = labels && !regression ? classify(t, labels, &classes) : NULL;
    nas_dataset *d = NULL;
    if (labels && (names || regression)) {
        d = nas__dataset_new_floats(&(nas_dataset_info){.name = name,
                                                        .size = t->rows,
                                                        .ndim = 1,
                                                        .dims = {t->columns - 1},
                                                        .classes = classes,
                                                        .target_count = 1,
                                                        .class_names = names});
    }
    if (d && !regression) {
        memcpy(d->targets, labels, (size_t)t->rows * sizeof *labels);
    }
    if (d && (read_numbers(t, d) || take_part(t, d, test))) {
        nas_dataset_free(d);
        d = NULL;
    }
    free(names);
    free(labels);
    return d;
}

nas_dataset *nas__open_csv(const char *argument, const char *data_dir, bool test) {
    char *text = nas__strdup(argument), *name = nas__format("csv:%s", argument);
    bool regression = false;
    nas_dataset *d = NULL;
    table t = {0};
    char *path = NULL;
    if (!text || !name || nas__data_task(text, &regression)) {
        goto done;
    }
    const char *target = nas__data_option(text, "target");
    if (!target) {
        nas__fail(NAS_INVALID, "data set \"%s\": say which column is the target: csv:%s,target=COLUMN", name, text);
        goto done;
    }
    t.path = path = nas__data_path(text, data_dir);
    t.plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (path && t.plain && !parse(&t) && !find_target(&t, target)) {
        d = build(&t, name, regression, test);
    }
done:
    table_free(&t);
    free(path);
    free(text);
    free(name);
    return d;
}
