/* truth.c - see truth.h. */
#include "search/truth.h"
#include "core/error.h"
#include "core/file.h"
#include "core/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_COLUMNS = 256 };

/* --- what is asked for ------------------------------------------------------------------------------------------- */
typedef struct request {
    char *text; /* the spec, cut into the following */
    const char *path, *arch;
    char *seen, *truth;
} request;

static const char *const keys[] = {"arch=", "seen=", "truth="};
enum { ARCH, SEEN, TRUTH, KEYS, NONE = -1 };

/* Which key begins behind this separator? A file's name may have commas and colons, too. */
static int key_at(const char *p) {
    for (int i = 0; i < KEYS && (*p == ',' || *p == ':'); i++) {
        if (strncmp(p + 1, keys[i], strlen(keys[i])) == 0) {
            return i;
        }
    }
    return NONE;
}

static nas_status parse_request(const char *spec, request *r) {
    char *found[KEYS] = {0};
    *r = (request){.text = nas__strdup(spec ? spec : "")};
    for (char *p = r->text; p && *p; p++) {
        int key = key_at(p);
        if (key != NONE && found[key]) {
            return nas__fail(NAS_USAGE, "table \"%s\": %s is given twice; several columns are written %sA+B", spec,
                             keys[key], keys[key]);
        }
        if (key != NONE) {
            *p = 0;
            found[key] = p + 1 + strlen(keys[key]);
        }
    }
    r->path = r->text;
    r->arch = found[ARCH];
    r->seen = found[SEEN];
    r->truth = found[TRUTH];
    return !r->text    ? nas_error_status()
           : !*r->path ? nas__fail(NAS_USAGE, "table: no file is named; write FILE.csv[,seen=COL][,truth=COL+COL]")
                       : NAS_OK;
}

/* --- lines and cells --------------------------------------------------------------------------------------------- */
typedef struct line {
    char *cells[MOST_COLUMNS];
    int n;
    int64_t number;
} line;

/* Cuts the next line that is not empty into its cells; false: there is none, or an error. */
static bool next_line(const nas__truth *t, char **rest, line *l) {
    char *p;
    do {
        p = strsep(rest, "\n");
        l->number++;
    } while (p && p[strspn(p, " \t\r")] == 0);
    for (l->n = 0; p; l->n++) {
        if (l->n == MOST_COLUMNS) {
            nas__fail(NAS_PARSE, "%s:%lld: more than %d columns", t->path, (long long)l->number, MOST_COLUMNS);
            return false;
        }
        char *cell = p + (*p == '"'), *end = *p == '"' ? strchr(cell, '"') : cell + strcspn(cell, ",\r");
        if (!end || (*p == '"' && !strchr(",\r", end[1]) && end[1])) {
            nas__fail(NAS_PARSE, "%s:%lld: column %d: a quoted field without its closing quote", t->path,
                      (long long)l->number, l->n + 1);
            return false;
        }
        char *after = *p == '"' ? end + 1 : end;
        bool more = *after == ',';
        *end = 0;
        l->cells[l->n] = cell;
        p = more ? after + 1 : NULL;
    }
    return l->n > 0;
}

static int find_column(const nas__truth *t, const line *header, const char *name) {
    for (int i = 0; i < header->n; i++) {
        if (strcmp(header->cells[i], name) == 0) {
            return i;
        }
    }
    char list[400] = "";
    for (int i = 0; i < header->n && strlen(list) + strlen(header->cells[i]) + 3 < sizeof list; i++) {
        strcat(strcat(list, i ? ", " : ""), header->cells[i]);
    }
    nas__fail(NAS_USAGE, "%s:%lld: there is no column \"%s\"; there are: %s", t->path, (long long)header->number, name,
              list);
    return NONE;
}

/* --- columns ----------------------------------------------------------------------------------------------------- */
typedef struct columns {
    int n, of[MOST_COLUMNS];
} columns;

static nas_status find_columns(const nas__truth *t, const line *header, char *names, columns *c) {
    c->n = 0;
    for (char *name; (name = strsep(&names, "+")) != NULL;) {
        int column = c->n < MOST_COLUMNS ? find_column(t, header, name) : NONE;
        if (column == NONE) {
            return nas_error_status();
        }
        c->of[c->n++] = column;
    }
    return NAS_OK;
}

static nas_status choose_columns(const nas__truth *t, const line *header, request *r, int *arch, columns *seen,
                                 columns *truth) {
    if (header->n < 2) {
        return nas__fail(NAS_PARSE,
                         "%s:%lld: the header names %d column; a table needs the architecture and a number, as in "
                         "\"arch,accuracy\"",
                         t->path, (long long)header->number, header->n);
    }
    *arch = r->arch ? find_column(t, header, r->arch) : 0;
    for (int i = 0; !r->arch && i < header->n; i++) {
        *arch = strcmp(header->cells[i], "arch") == 0 ? i : *arch;
    }
    *seen = (columns){.n = 1, .of = {*arch == 0}};
    nas_status status = *arch == NONE ? nas_error_status() : NAS_OK;
    status = status || !r->seen ? status : find_columns(t, header, r->seen, seen);
    *truth = *seen;
    return status || !r->truth ? status : find_columns(t, header, r->truth, truth);
}

static nas_status mean_of(const nas__truth *t, const line *header, const line *l, const columns *c, double *mean) {
    double sum = 0;
    for (int i = 0; i < c->n; i++) {
        char *text = l->cells[c->of[i]], *end;
        double value = strtod(text, &end);
        if (end == text || end[strspn(end, " \t")] || !isfinite(value)) {
            return nas__fail(NAS_PARSE, "%s:%lld: column \"%s\": \"%s\" is not a number", t->path, (long long)l->number,
                             header->cells[c->of[i]], text);
        }
        sum += value;
    }
    *mean = sum / c->n;
    return NAS_OK;
}

static nas_status read_row(nas__truth *t, const line *header, const line *l, int arch, const columns *seen,
                           const columns *truth) {
    if (l->n != header->n) {
        return nas__fail(NAS_PARSE, "%s:%lld: %d columns, and the header has %d", t->path, (long long)l->number, l->n,
                         header->n);
    }
    if (!nas__grow(&t->rows, (size_t)t->n, sizeof *t->rows)) {
        return nas_error_status();
    }
    nas__truth_row *row = &t->rows[t->n++];
    *row = (nas__truth_row){.arch = l->cells[arch], .line = l->number};
    nas_status status = mean_of(t, header, l, seen, &row->seen);
    return status ? status : mean_of(t, header, l, truth, &row->truth);
}

/* --- the table --------------------------------------------------------------------------------------------------- */
static int by_name(const void *a, const void *b) {
    return strcmp(((const nas__truth_row *)a)->arch, ((const nas__truth_row *)b)->arch);
}

static nas_status sort(nas__truth *t) {
    if (t->n == 0) {
        return nas__fail(NAS_PARSE, "%s: no rows behind the header", t->path);
    }
    qsort(t->rows, (size_t)t->n, sizeof *t->rows, by_name);
    for (int64_t i = 1; i < t->n; i++) {
        if (by_name(&t->rows[i - 1], &t->rows[i]) == 0) {
            int64_t x = t->rows[i - 1].line, y = t->rows[i].line;
            return nas__fail(NAS_PARSE, "%s:%lld: \"%s\" is there already, in line %lld", t->path,
                             (long long)(x > y ? x : y), t->rows[i].arch, (long long)(x < y ? x : y));
        }
    }
    return NAS_OK;
}

static nas_status read_table(nas__truth *t, request *r) {
    char *rest = t->text;
    line *lines = nas__alloc(2 * sizeof *lines), *header = lines, *l = lines + 1;
    int arch = 0;
    columns seen, truth;
    nas_status status = !lines ? nas_error_status() : NAS_OK;
    if (!status && !next_line(t, &rest, header)) {
        status = nas_error_status() ? nas_error_status() : nas__fail(NAS_PARSE, "%s: is empty", t->path);
    }
    status = status ? status : choose_columns(t, header, r, &arch, &seen, &truth);
    if (!status) {
        l->number = header->number;
    }
    while (!status && next_line(t, &rest, l)) {
        status = read_row(t, header, l, arch, &seen, &truth);
    }
    free(lines);
    status = status ? status : nas_error_status();
    return status ? status : sort(t);
}

nas__truth *nas__truth_open(const char *spec, bool lower_is_better) {
    request r = {0};
    nas__truth *t = nas__alloc(sizeof *t);
    nas_status status = t ? parse_request(spec, &r) : nas_error_status();
    if (!status) {
        t->lower_is_better = lower_is_better;
        t->path = nas__strdup(r.path);
        t->text = t->path ? nas__read_text(t->path) : NULL;
        status = t->text ? read_table(t, &r) : nas_error_status();
    }
    free(r.text);
    if (status) {
        nas__truth_free(t);
        t = NULL;
    }
    return t;
}

void nas__truth_free(nas__truth *t) {
    if (t) {
        free(t->path);
        free(t->text);
        free(t->rows);
        free(t);
    }
}

/* --- questions --------------------------------------------------------------------------------------------------- */
const nas__truth_row *nas__truth_find(const nas__truth *t, const char *arch) {
    nas__truth_row key = {.arch = arch};
    return bsearch(&key, t->rows, (size_t)t->n, sizeof key, by_name);
}

char *nas__canonical_name(const char *space_name, const nas_architecture *a) {
    const nas_space_info *info = NULL;
    for (const nas_space_info *const *i = nas_spaces(); space_name && *i; i++) {
        info = strcmp((*i)->name, space_name) == 0 ? *i : info;
    }
    return info && info->canonical ? info->canonical(a) : nas_architecture_json(a, false);
}

const nas__truth_row *nas__truth_of(const nas__truth *t, const char *space_name, const nas_architecture *a) {
    char *name = nas__canonical_name(space_name, a);
    const nas__truth_row *row = name ? nas__truth_find(t, name) : NULL;
    if (name && !row) {
        nas__fail(NAS_NOT_FOUND, "%s: there is no row for the architecture \"%s\"; the first one is for \"%s\"",
                  t->path, name, t->rows[0].arch);
    }
    free(name);
    return row;
}

static double goodness(const nas__truth *t, double value) { return t->lower_is_better ? -value : value; }

int64_t nas__truth_better(const nas__truth *t, double value) {
    int64_t n = 0;
    for (int64_t i = 0; i < t->n; i++) {
        n += goodness(t, t->rows[i].truth) > goodness(t, value);
    }
    return n;
}

int64_t nas__truth_as_good(const nas__truth *t, double value) {
    int64_t n = 0;
    for (int64_t i = 0; i < t->n; i++) {
        n += goodness(t, t->rows[i].truth) >= goodness(t, value);
    }
    return n;
}

double nas__truth_best(const nas__truth *t) {
    double best = t->rows[0].truth;
    for (int64_t i = 1; i < t->n; i++) {
        best = goodness(t, t->rows[i].truth) > goodness(t, best) ? t->rows[i].truth : best;
    }
    return best;
}

typedef struct pair {
    double seen, truth;
} pair;

static int best_looking_first(const void *a, const void *b) {
    double x = ((const pair *)a)->seen, y = ((const pair *)b)->seen;
    return (x < y) - (x > y);
}

/* The rows in the order of what is seen, best first; of equal ones each has their mean truth. */
static pair *in_order(const nas__truth *t) {
    pair *p = nas__alloc((size_t)t->n * sizeof *p);
    for (int64_t i = 0; p && i < t->n; i++) {
        p[i] = (pair){goodness(t, t->rows[i].seen), t->rows[i].truth};
    }
    if (p) {
        qsort(p, (size_t)t->n, sizeof *p, best_looking_first);
    }
    for (int64_t i = 0, end; p && i < t->n; i = end) {
        double sum = 0;
        for (end = i; end < t->n && p[end].seen == p[i].seen; end++) {
            sum += p[end].truth;
        }
        for (int64_t k = i; k < end; k++) {
            p[k].truth = sum / (double)(end - i);
        }
    }
    return p;
}

/* P(the best of the n draws is row i in order) = n/N * prod_{j<i} (N-n-j+1)/(N-j), counted from 1. */
double nas__truth_best_of(const nas__truth *t, int64_t n) {
    pair *rows = in_order(t);
    double total = (double)t->n, draws = n < t->n ? (double)n : total, p = draws / total, sum = 0;
    for (int64_t i = 0; rows && i < t->n && p > 0; i++) {
        sum += p * rows[i].truth;
        p *= (total - draws - (double)i) / (total - (double)i - 1);
    }
    double result = rows ? sum : NAN;
    free(rows);
    return result;
}
