/* correlate_report.c - what `espalier correlate` says and draws about its numbers. */
#include "cli/correlate.h"

#include "core/correlation.h"
#include "core/error.h"
#include "core/file.h"
#include "io/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double level = 0.95;

const char *cli_ranker(int i) {
    static const char *const names[] = {"score", "macs", "parameters"};
    return i < CLI_PROXIES ? names[i] : nas__proxy_names[i - CLI_PROXIES];
}

static void add(const cli_correlation *c, json_t *one, const char *name, nas__statistic statistic,
                const double *const columns[3]) {
    double interval[2];
    nas__bootstrap(c->n, columns, statistic, level, (uint64_t)c->a->seed, interval);
    char key[64];
    snprintf(key, sizeof key, "%s_interval", name);
    json_object_set_new(one, name, nas__real_json(statistic(c->n, columns)));
    json_object_set_new(one, key, json_pack("[o, o]", nas__real_json(interval[0]), nas__real_json(interval[1])));
}

json_t *cli_correlate_json(const cli_correlation *c) {
    json_t *result = json_object(), *rankers = json_array(), *networks = json_array();
    for (int i = 0; i < CLI_RANKERS; i++) {
        if (!c->by[i]) {
            continue;
        }
        json_t *one = json_object();
        const double *columns[3] = {c->by[i], c->truth, i == CLI_MACS ? NULL : c->by[CLI_MACS]};
        json_object_set_new(one, "name", json_string(cli_ranker(i)));
        add(c, one, "tau", nas__tau_of, columns);
        add(c, one, "rho", nas__rho_of, columns);
        if (i != CLI_MACS) {
            add(c, one, "partial_tau", nas__partial_of, columns);
        }
        json_array_append_new(rankers, one);
    }
    for (int k = 0; k < c->n; k++) {
        json_t *one = json_pack("{s:s, s:o}", "network", c->names[k], "truth", nas__real_json(c->truth[k]));
        for (int i = 0; i < CLI_RANKERS; i++) {
            if (c->by[i]) {
                json_object_set_new(one, cli_ranker(i), nas__real_json(c->by[i][k]));
            }
        }
        json_array_append_new(networks, one);
    }
    json_object_set_new(result, "run", json_string(c->run));
    json_object_set_new(result, "samples", json_integer(c->n));
    json_object_set_new(result, "score", json_string(c->score));
    json_object_set_new(result, "truth", json_string(c->kind));
    json_object_set_new(result, "null_error_of_tau", json_real(sqrt(2.0 * (2 * c->n + 5) / (9.0 * c->n * (c->n - 1)))));
    json_object_set_new(result, "rankers", rankers);
    json_object_set_new(result, "networks", networks);
    return result;
}

/* "0.52 (0.41 to 0.60)" */
static const char *with_interval(json_t *one, const char *name, char *text, size_t size) {
    char key[64];
    snprintf(key, sizeof key, "%s_interval", name);
    json_t *value = json_object_get(one, name), *interval = json_object_get(one, key);
    if (!json_is_number(value)) {
        return "-";
    }
    snprintf(text, size, "%6.3f (%6.3f to %6.3f)", json_number_value(value),
             json_number_value(json_array_get(interval, 0)), json_number_value(json_array_get(interval, 1)));
    return text;
}

void cli_correlate_print(json_t *result) {
    json_t *one;
    size_t i;
    char text[3][64];
    printf("%lld networks; score: %s; truth: %s; 95 %% intervals by bootstrap\n",
           json_integer_value(json_object_get(result, "samples")), json_string_value(json_object_get(result, "score")),
           json_string_value(json_object_get(result, "truth")));
    printf("%-12s %-26s %-26s %s\n", "ranked by", "tau-b", "rho", "partial tau given multiply-adds");
    json_array_foreach(json_object_get(result, "rankers"), i, one) {
        printf("%-12s %-26s %-26s %s\n", json_string_value(json_object_get(one, "name")),
               with_interval(one, "tau", text[0], sizeof text[0]), with_interval(one, "rho", text[1], sizeof text[1]),
               with_interval(one, "partial_tau", text[2], sizeof text[2]));
    }
    printf("by chance alone tau is 0 with a standard error of %.3f\n",
           json_number_value(json_object_get(result, "null_error_of_tau")));
}

/* --- the picture ------------------------------------------------------------------------------------------------- */
enum { SIZE = 480, EDGE = 56 };

typedef struct axis {
    double least, most;
} axis;

static axis axis_of(int n, const double *x) {
    axis a = {INFINITY, -INFINITY};
    for (int i = 0; i < n; i++) {
        a.least = isfinite(x[i]) ? fmin(a.least, x[i]) : a.least;
        a.most = isfinite(x[i]) ? fmax(a.most, x[i]) : a.most;
    }
    double margin = a.most > a.least ? 0.04 * (a.most - a.least) : 0.5;
    return (axis){a.least - margin, a.most + margin};
}

static double place(axis a, double x) { return EDGE + (SIZE - 2 * EDGE) * (x - a.least) / (a.most - a.least); }

nas_status cli_correlate_svg(const cli_correlation *c, const char *path) {
    nas__atomic_file f;
    if (nas__atomic_open(&f, path)) {
        return nas_error_status();
    }
    axis x = axis_of(c->n, c->by[CLI_SCORE]), y = axis_of(c->n, c->truth);
    fprintf(f.stream,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" font-family=\"sans-serif\" "
            "font-size=\"12\">\n<rect width=\"%d\" height=\"%d\" fill=\"white\"/>\n<path d=\"M%d %dV%dH%d\" "
            "fill=\"none\" stroke=\"black\"/>\n",
            SIZE, SIZE, SIZE, SIZE, EDGE, EDGE, SIZE - EDGE, SIZE - EDGE);
    for (int k = 0; k <= 4; k++) {
        double vx = x.least + (x.most - x.least) * k / 4, vy = y.least + (y.most - y.least) * k / 4;
        fprintf(f.stream,
                "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.4g</text><text x=\"%d\" y=\"%.1f\" "
                "text-anchor=\"end\">%.4g</text>\n",
                place(x, vx), SIZE - EDGE + 16, vx, EDGE - 4, SIZE - place(y, vy) + 4, vy);
    }
    fprintf(f.stream,
            "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">score: %s</text><text transform=\"translate(14 %d) "
            "rotate(-90)\" text-anchor=\"middle\">truth: %s</text>\n",
            SIZE / 2, SIZE - 12, c->score, SIZE / 2, c->kind);
    for (int i = 0; i < c->n; i++) {
        if (isfinite(c->by[CLI_SCORE][i]) && isfinite(c->truth[i])) {
            fprintf(f.stream, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"#1f6feb\" fill-opacity=\"0.6\"/>\n",
                    place(x, c->by[CLI_SCORE][i]), SIZE - place(y, c->truth[i]));
        }
    }
    fprintf(f.stream, "</svg>\n");
    return nas__atomic_commit(&f);
}
