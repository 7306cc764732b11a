/* compare.c - `espalier compare`: a searched network against random ones, or finished runs in one table. */
#include "cli/compare.h"

#include "core/error.h"
#include "core/memory.h"
#include "search/truth.h"

#include <math.h>

#include <stdlib.h>
#include <string.h>

/* --- runs in one table -------------------------------------------------------------------------- */
/* The newest finished retraining of a run; NULL without an error when there is none. */
static json_t *retraining_of(const char *run) {
    char *directory = cli_finished_retrain(run);
    json_t *result = directory ? cli_json_read(directory, "result.json") : NULL;
    free(directory);
    if (nas_error_status() == NAS_NOT_FOUND) {
        nas_error_clear();
    }
    return result;
}

static json_t *metric_json(json_t *result, const nas_metric **metric) {
    double value = 0;
    const nas_metric *first = cli_first_metric(result, &value);
    *metric = first ? first : *metric;
    return first ? json_real(value) : json_null();
}

static json_t *run_json(const char *run) {
    json_t *config = cli_config_read(run);
    json_t *own = config ? cli_json_read(run, "result.json") : NULL;
    json_t *retraining = config && !nas_error_status() ? retraining_of(run) : NULL;
    if (nas_error_status()) {
        json_decref(config);
        json_decref(own);
        return NULL;
    }
    json_t *options = json_object_get(config, "options"), *row = json_object();
    bool is_search = json_object_get(options, "strategy") != NULL;
    const char *status = json_string_value(json_object_get(own, "status"));
    const nas_metric *metric = NULL;
    json_object_set_new(row, "run", json_string(run));
    json_object_set_new(row, "status", json_string(status ? status : "unfinished"));
    json_object_set(row, "space", json_object_get(options, "space"));
    json_object_set(row, "strategy", json_object_get(options, "strategy"));
    json_object_set(row, "data", json_object_get(options, "data"));
    json_object_set_new(row, "valid", is_search ? metric_json(own, &metric) : json_null());
    json_object_set_new(row, "test", metric_json(retraining, &metric));
    json_object_set_new(row, "metric", metric ? json_string(metric->name) : json_null());
    json_object_set(row, "retraining", json_object_get(retraining, "run"));
    json_object_set(row, "macs", json_object_get(retraining, "macs"));
    json_object_set(row, "parameters", json_object_get(retraining, "parameters"));
    json_object_set(row, "search_seconds", is_search ? json_object_get(own, "seconds") : NULL);
    json_object_set(row, "retrain_seconds", json_object_get(retraining, "seconds"));
    json_decref(config);
    json_decref(own);
    json_decref(retraining);
    return row;
}

/* What the table of --truth says about the network that a run found. */
static nas_status add_truth(json_t *row, const char *run, const nas__truth *t) {
    json_t *result = cli_json_read(run, "search-result.json");
    const char *name = json_string_value(json_object_get(result, "canonical"));
    const nas__truth_row *found = name ? nas__truth_find(t, name) : NULL;
    if (name && !found) {
        nas__fail(NAS_NOT_FOUND, "%s: there is no row for \"%s\", the network of %s", t->path, name, run);
    } else if (found) {
        double networks = (double)t->n, q = (double)nas__truth_as_good(t, found->truth) / networks;
        json_int_t better = (json_int_t)nas__truth_better(t, found->truth),
                   evaluations = json_integer_value(json_object_get(result, "evaluations"));
        json_object_set_new(row, "truth",
                            json_pack("{s:f, s:I, s:I, s:f, s:f, s:f}", "value", found->truth, "rank", better + 1,
                                      "networks", (json_int_t)t->n, "percentile", 100 * (1 - (double)better / networks),
                                      "best", nas__truth_best(t), "chance_of_random",
                                      1 - pow(1 - q, (double)evaluations)));
    }
    json_decref(result);
    return nas_error_status();
}

static void print_truths(json_t *rows) {
    json_t *row;
    size_t i;
    printf("%-28s %10s %14s %11s %26s\n", "run", "truth", "rank", "percentile", "best of as many at random");
    json_array_foreach(rows, i, row) {
        json_t *truth = json_object_get(row, "truth");
        if (truth) {
            char rank[40];
            snprintf(rank, sizeof rank, "%lld of %lld", json_integer_value(json_object_get(truth, "rank")),
                     json_integer_value(json_object_get(truth, "networks")));
            printf("%-28s %10.3f %14s %11.2f %13.1f %% as good\n", json_string_value(json_object_get(row, "run")),
                   json_number_value(json_object_get(truth, "value")), rank,
                   json_number_value(json_object_get(truth, "percentile")),
                   100 * json_number_value(json_object_get(truth, "chance_of_random")));
        }
    }
}

/* A number of a row as text, "-" when it is not known. */
static const char *cell(json_t *row, const char *key, const char *(*form)(double x, char *text, size_t size),
                        char *text, size_t size) {
    json_t *value = json_object_get(row, key);
    return json_is_number(value) ? form(json_number_value(value), text, size) : "-";
}

static const char *score_text(double score, char *text, size_t size) {
    snprintf(text, size, "%.4f", score);
    return text;
}

static void print_runs(json_t *rows) {
    json_t *row;
    size_t i;
    char text[6][32];
    printf("%-28s %-10s %-7s %-8s %8s %8s %14s %12s %9s %9s\n", "run", "status", "space", "strategy", "valid", "test",
           "multiply-adds", "parameters", "search", "retrain");
    json_array_foreach(rows, i, row) {
        const char *strategy = json_string_value(json_object_get(row, "strategy"));
        printf("%-28s %-10s %-7s %-8s %8s %8s %14s %12s %9s %9s\n", json_string_value(json_object_get(row, "run")),
               json_string_value(json_object_get(row, "status")), json_string_value(json_object_get(row, "space")),
               strategy ? strategy : "-", cell(row, "valid", score_text, text[0], sizeof text[0]),
               cell(row, "test", score_text, text[1], sizeof text[1]),
               cell(row, "macs", cli_count, text[2], sizeof text[2]),
               cell(row, "parameters", cli_count, text[3], sizeof text[3]),
               cell(row, "search_seconds", cli_duration, text[4], sizeof text[4]),
               cell(row, "retrain_seconds", cli_duration, text[5], sizeof text[5]));
    }
}

static nas_status compare_runs(cli_args *a) {
    json_t *rows = json_array();
    for (int i = 0; i < cli_n_options; i++) {
        if (cli_given(a, cli_options[i].name) && cli_takes(cli_command_of(cli_retrain), &cli_options[i]) &&
            cli_options[i].resume != CLI_FREE) {
            json_decref(rows);
            return nas__fail(NAS_USAGE, "--%s is for trainings, and there are none without --random N",
                             cli_options[i].name);
        }
    }
    nas__truth *truth = a->truth ? nas__truth_open(a->truth, false) : NULL;
    for (int i = 0; i < a->n_names && !nas_error_status(); i++) {
        json_t *row = run_json(a->names[i]);
        if (row) {
            json_array_append_new(rows, row);
        }
        if (row && truth) {
            add_truth(row, a->names[i], truth);
        }
    }
    nas__truth_free(truth);
    nas_status status = nas_error_status();
    if (!status && a->json) {
        return cli_print_json(json_pack("{s:o}", "runs", rows));
    }
    if (!status) {
        print_runs(rows);
        if (a->truth) {
            print_truths(rows);
        }
    }
    json_decref(rows);
    return status;
}

/* --- against random networks -------------------------------------------------------------------- */
static nas_status compare_random(cli_args *a) {
    cli_comparison c = {.a = a, .run = a->names[0], .n_seeds = (int)a->seeds, .notes = json_array()};
    c.out = a->out ? a->out : cli_keep(nas__format("%s/compare", c.run));
    json_t *search = c.out ? cli_json_read(c.run, "result.json") : NULL;
    c.search_seconds = json_number_value(json_object_get(search, "seconds"));
    nas_status status = nas_error_status();
    status = status ? status : cli_compare_train(&c);
    json_t *result = status ? NULL : cli_compare_json(&c);
    status = status ? status : cli_json_write(c.out, "result.json", result);
    if (!status && a->json) {
        status = cli_print_json(json_incref(result));
    } else if (!status) {
        cli_compare_print(result);
    }
    json_decref(result);
    json_decref(search);
    cli_compare_close(&c);
    return status;
}

nas_status cli_compare(cli_args *a) {
    if (a->random == 0) {
        return compare_runs(a);
    }
    if (a->truth) {
        return nas__fail(NAS_USAGE, "--truth judges finished runs by a table; without --random N, which trains");
    }
    return a->n_names == 1 ? compare_random(a)
                           : nas__fail(NAS_USAGE, "--random compares one RUN with random networks of its space, not %d",
                                       a->n_names);
}
