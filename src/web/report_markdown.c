/* report_markdown.c - the comparison of a report as a table and a picture, for places that show no HTML. */
#include "web/report.h"

#include "core/error.h"
#include "core/file.h"
#include "core/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double number(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static const char *text_of(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "–";
}

/* --- the table -------------------------------------------------------------------------------------------- */
/* Names come from directories: none of them may change the table or what is around it. */
static void cell(FILE *f, const char *text) {
    fputs("| ", f);
    for (const char *p = text; *p; p++) {
        if ((unsigned char)*p < ' ') {
            fputc(' ', f);
        } else {
            fprintf(f, strchr("|<>*_`[]\\&", *p) ? "\\%c" : "%c", *p);
        }
    }
    fputc(' ', f);
}

static void number_cell(FILE *f, const char *format, double value) {
    char text[64];
    snprintf(text, sizeof text, format, value);
    cell(f, isfinite(value) ? text : "–");
}

static void row(FILE *f, const json_t *run) {
    const json_t *best = json_object_get(run, "best");
    char what[128] = "–";
    if (json_is_object(best)) {
        snprintf(what, sizeof what, "%s %s", text_of(best, "split"), text_of(best, "metric"));
    }
    cell(f, text_of(run, "name"));
    cell(f, text_of(run, "status"));
    cell(f, text_of(run, "strategy"));
    cell(f, text_of(run, "space"));
    cell(f, text_of(run, "data"));
    number_cell(f, "%.4f", number(best, "score"));
    cell(f, what);
    number_cell(f, "%.4f", number(run, "best_at_budget"));
    number_cell(f, "%.0f", number(best, "macs"));
    number_cell(f, "%.0f", number(best, "params"));
    number_cell(f, "%.0f", number(run, "elapsed_s"));
    number_cell(f, "%.0f", number(run, "seed"));
    fputs("|\n", f);
}

static void table(FILE *f, const json_t *report, const json_t *compared, const char *picture) {
    const json_t *run, *runs = json_object_get(compared, "runs");
    size_t i;
    fprintf(
        f,
        "# Report of %s\n\n| run | status | strategy | space | data | best | of | at equal budget | multiply-adds | "
        "parameters | seconds | seed |\n|---|---|---|---|---|---:|---|---:|---:|---:|---:|---:|\n",
        text_of(report, "date"));
    json_array_foreach(runs, i, run) { row(f, run); }
    double budget = number(compared, "budget");
    if (isfinite(budget) && json_array_size(runs) > 1) {
        fprintf(f, "\nEqual budget: the best of each run up to epoch %.0f.\n", budget);
    }
    const char *name = strrchr(picture, '/');
    fprintf(f, "\n![curves by epoch](<%s>)\n", name ? name + 1 : picture);
}

/* --- the picture ------------------------------------------------------------------------------------------ */
enum { WIDTH = 720, HEIGHT = 360, LEFT = 64, RIGHT = 160, TOP = 16, BOTTOM = 40, LOOKS = 6 };
/* As the page's, in its light theme: docs/ui.md. */
static const char *const colours[LOOKS] = {"#2064B5", "#D37845", "#085326", "#9A316A", "#209DB6", "#A864FA"};
static const char *const dashes[LOOKS] = {"none", "8 4", "2 3", "12 4", "8 3 2 3", "4 4"};

typedef struct range {
    double least, most;
} range;

static void widen(range *r, double v) {
    r->least = isfinite(v) ? fmin(r->least, v) : r->least;
    r->most = isfinite(v) ? fmax(r->most, v) : r->most;
}

static range settle(range r, double margin) {
    if (!(r.most >= r.least)) {
        return (range){0, 1};
    }
    double more = r.most > r.least ? margin * (r.most - r.least) : 0.5;
    return (range){r.least - more, r.most + more};
}

static double across(range r, double v) { return LEFT + (WIDTH - LEFT - RIGHT) * (v - r.least) / (r.most - r.least); }
static double upward(range r, double v) {
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (v - r.least) / (r.most - r.least);
}

static const json_t *points(const json_t *run, const char *axis) {
    return json_object_get(json_object_get(run, "series"), axis);
}

static double point(const json_t *list, size_t i) {
    const json_t *value = json_array_get(list, i);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static void escaped(FILE *f, const char *text) {
    for (const char *p = text; *p; p++) {
        fprintf(f, strchr("<>&\"'", *p) || (unsigned char)*p < ' ' ? "&#%d;" : "%c",
                (unsigned char)*p < ' ' ? ' ' : *p);
    }
}

/* A value that is missing leaves a gap. */
static void curve(FILE *f, const json_t *run, size_t k, range x, range y) {
    const json_t *xs = points(run, "x"), *values = points(run, "value");
    bool drawn = false;
    double height = TOP + 16.0 * (double)k;
    fprintf(f, "<path fill=\"none\" stroke=\"%s\" stroke-width=\"2\" stroke-dasharray=\"%s\" d=\"", colours[k % LOOKS],
            dashes[(k + k / LOOKS) % LOOKS]);
    for (size_t i = 0; i < json_array_size(xs); i++) {
        double v = point(values, i);
        if (isfinite(v)) {
            fprintf(f, "%c%.1f %.1f", drawn ? 'L' : 'M', across(x, point(xs, i)), upward(y, v));
        }
        drawn = isfinite(v);
    }
    fprintf(f,
            "\"/>\n<path stroke=\"%s\" stroke-width=\"2\" stroke-dasharray=\"%s\" d=\"M%d %.1fh24\"/><text x=\"%d\" "
            "y=\"%.1f\">",
            colours[k % LOOKS], dashes[(k + k / LOOKS) % LOOKS], WIDTH - RIGHT + 12, height, WIDTH - RIGHT + 42,
            height + 4);
    escaped(f, text_of(run, "name"));
    fputs("</text>\n", f);
}

static void axes(FILE *f, range x, range y, const char *metric) {
    fprintf(f,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" font-family=\"sans-serif\" "
            "font-size=\"12\">\n<rect width=\"%d\" height=\"%d\" fill=\"white\"/>\n",
            WIDTH, HEIGHT, WIDTH, HEIGHT);
    for (int k = 0; k <= 4; k++) {
        double vx = x.least + (x.most - x.least) * k / 4, vy = y.least + (y.most - y.least) * k / 4;
        fprintf(f,
                "<path stroke=\"#D8DEE4\" d=\"M%d %.1fH%d\"/><text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.4g</text>"
                "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.4g</text>\n",
                LEFT, upward(y, vy), WIDTH - RIGHT, LEFT - 6, upward(y, vy) + 4, vy, across(x, vx),
                HEIGHT - BOTTOM + 16, vx);
    }
    fprintf(f, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">epoch</text><text x=\"4\" y=\"%d\">",
            (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, HEIGHT - 6);
    escaped(f, metric);
    fputs("</text>\n", f);
}

static nas_status draw(const json_t *compared, const char *path) {
    nas__atomic_file f;
    const json_t *run, *runs = json_object_get(compared, "runs");
    range x = {INFINITY, -INFINITY}, y = x;
    size_t i;
    if (nas__atomic_open(&f, path)) {
        return nas_error_status();
    }
    json_array_foreach(runs, i, run) {
        for (size_t k = 0; k < json_array_size(points(run, "x")); k++) {
            widen(&x, point(points(run, "x"), k));
            widen(&y, point(points(run, "value"), k));
        }
    }
    x = settle(x, 0);
    y = settle(y, 0.05);
    axes(f.stream, x, y, text_of(json_object_get(json_array_get(runs, 0), "best"), "metric"));
    json_array_foreach(runs, i, run) { curve(f.stream, run, i, x, y); }
    fputs("</svg>\n", f.stream);
    return nas__atomic_commit(&f);
}

nas_status nas__report_markdown(json_t *report, const char *path, char **picture) {
    const json_t *compared = json_object_get(json_object_get(report, "answers"), "/api/compare?x=epoch");
    const char *slash = strrchr(path, '/'), *dot = strrchr(slash ? slash : path, '.');
    int stem = (int)(dot && dot != path ? dot - path : (ptrdiff_t)strlen(path));
    *picture = NULL;
    if (dot && !strcmp(dot, ".svg")) {
        return nas__fail(NAS_USAGE, "%s: the table takes another ending, .svg is the picture's", path);
    }
    *picture = nas__format("%.*s.svg", stem, path);
    if (!*picture) {
        return nas_error_status();
    }
    nas__atomic_file f;
    nas_status status = draw(compared, *picture);
    status = status ? status : nas__atomic_open(&f, path);
    if (status) {
        return status;
    }
    table(f.stream, report, compared, *picture);
    return nas__atomic_commit(&f);
}
