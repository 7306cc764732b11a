/* compare_report.c - what the numbers of a comparison say, and what they do not (docs/compare.md has the formulae). */
#include "cli/compare.h"

#include "core/error.h"
#include "core/memory.h"
#include "core/statistics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double level = 0.95;

/* --- one network -------------------------------------------------------------------------------- */
const nas_metric *cli_first_metric(json_t *result, double *value) {
    json_t *metrics = json_object_get(result, "metrics");
    const nas_metric *kinds[] = {nas_classification_metrics, nas_regression_metrics};
    for (int i = 0; i < 2; i++) {
        json_t *number = json_object_get(metrics, kinds[i][0].name);
        if (json_is_number(number)) {
            *value = json_number_value(number);
            return kinds[i];
        }
    }
    return NULL;
}

static double seconds_of(json_t *result) { return json_number_value(json_object_get(result, "seconds")); }

typedef enum rival_state { DONE, WAITING, BROKEN } rival_state;
/* The values of all seeds of a network; anything but DONE when one of them is missing. */
static rival_state read_values(const cli_comparison *c, const cli_rival *r, double *values, const nas_metric **metric) {
    for (int k = 0; k < c->n_seeds; k++) {
        const char *status = json_string_value(json_object_get(r->results[k], "status"));
        if (!status || strcmp(status, "stopped") == 0) {
            return WAITING;
        }
        const nas_metric *first = cli_first_metric(r->results[k], &values[k]);
        json_t *loss = json_object_get(json_object_get(r->results[k], "metrics"), "loss");
        if (strcmp(status, "failed") == 0 || !first || !isfinite(values[k]) || !json_is_number(loss)) {
            return BROKEN; /* a loss that is no number is not written, as JSON has none */
        }
        *metric = first;
    }
    return DONE;
}

static json_t *rival_json(const cli_comparison *c, const cli_rival *r, rival_state state, const double *values) {
    static const char *const words[] = {"finished", "waiting", "broken"};
    json_t *one = json_object(), *first = r->results[0], *list = json_array();
    json_object_set_new(one, "name", json_string(r->name));
    json_object_set_new(one, "status", json_string(words[state]));
    for (int k = 0; state == DONE && k < c->n_seeds; k++) {
        json_array_append_new(list, json_real(values[k]));
    }
    json_object_set_new(one, "values", list);
    json_object_set_new(one, "value", state == DONE ? json_real(nas__mean(c->n_seeds, values)) : json_null());
    json_object_set(one, "macs", first ? json_object_get(first, "macs") : NULL);
    json_object_set(one, "parameters", first ? json_object_get(first, "parameters") : NULL);
    json_object_set_new(one, "architecture", json_loads(r->architecture, 0, NULL));
    for (int k = 0; state == BROKEN && k < c->n_seeds; k++) {
        json_t *reason = json_object_get(r->results[k], "reason");
        json_object_set(one, "reason", reason);
    }
    return one;
}

/* --- all of them -------------------------------------------------------------------------------- */
typedef struct sample {
    const nas_metric *metric;
    double *searched, *random; /* n_seeds values; a mean over the seeds per network */
    int n_random, waiting, broken, as_good;
    double train_seconds;
    int trained;
    bool has_searched;
} sample;

static void collect(const cli_comparison *c, sample *s, json_t *networks) {
    double *values = nas__alloc((size_t)c->n_seeds * sizeof *values);
    for (int i = 0; values && i < c->n_rivals; i++) {
        const cli_rival *r = &c->rivals[i];
        rival_state state = read_values(c, r, values, &s->metric);
        json_array_append_new(networks, rival_json(c, r, state, values));
        s->waiting += state == WAITING;
        s->broken += state == BROKEN && i > 0;
        for (int k = 0; state == DONE && k < c->n_seeds; k++) {
            s->train_seconds += seconds_of(r->results[k]);
            s->trained++;
        }
        if (state == DONE && i == 0) {
            memcpy(s->searched, values, (size_t)c->n_seeds * sizeof *values);
            s->has_searched = true;
        } else if (state == DONE) {
            s->random[s->n_random++] = nas__mean(c->n_seeds, values);
        }
    }
    free(values);
}

/* How good a random draw is: the share q that is at least as good, and the best of as many as the search's time trains.
 */
static void add_share(const cli_comparison *c, sample *s, double searched, json_t *result) {
    int n = s->n_random + s->broken; /* one that broke was drawn, too, and lost */
    for (int i = 0; i < s->n_random; i++) {
        s->as_good += s->metric->lower_is_better ? s->random[i] <= searched : s->random[i] >= searched;
    }
    double q = n > 0 ? (double)s->as_good / n : 0, each = s->trained > 0 ? s->train_seconds / s->trained : 0;
    json_object_set_new(result, "at_least_as_good", json_integer(s->as_good));
    json_object_set_new(result, "share", json_real(q));
    if (c->search_seconds > 0 && each > 0) {
        int trainings = c->search_seconds > each ? (int)(c->search_seconds / each) : 1;
        json_object_set_new(result, "trainings_in_search_time", json_integer(trainings));
        json_object_set_new(result, "chance_of_best", json_real(1 - pow(1 - q, trainings)));
    }
}

static const char *verdict(double difference, double half, bool lower_is_better) {
    double better = lower_is_better ? -difference : difference;
    return better - half > 0   ? "better"
           : better + half < 0 ? "worse"
           : better > 0        ? "no difference shown"
                               : "not better";
}

static void add_difference(const cli_comparison *c, const sample *s, json_t *result) {
    double mean = nas__mean(s->n_random, s->random), deviation = nas__deviation(s->n_random, s->random);
    double searched = nas__mean(c->n_seeds, s->searched), spread = nas__deviation(c->n_seeds, s->searched);
    bool one = c->n_seeds == 1;
    double half = one ? nas__interval_of_one(level, s->n_random, deviation)
                      : nas__interval_welch(level, c->n_seeds, spread, s->n_random, deviation);
    double difference = searched - mean;
    json_object_set_new(
        result, "random",
        json_pack("{s:i, s:i, s:f, s:f}", "n", s->n_random, "broken", s->broken, "mean", mean, "deviation", deviation));
    json_object_set_new(result, "searched",
                        json_pack("{s:i, s:f, s:f}", "n", c->n_seeds, "mean", searched, "deviation", spread));
    json_object_set_new(result, "difference", json_real(difference));
    json_object_set_new(result, "interval", json_pack("[f, f]", difference - half, difference + half));
    json_object_set_new(result, "interval_kind", json_string(one ? "prediction" : "welch"));
    json_object_set_new(result, "verdict", json_string(verdict(difference, half, s->metric->lower_is_better)));
    if (deviation == 0) {
        json_array_append_new(c->notes,
                              json_string("the random networks do not differ at all, so the interval says nothing"));
    }
}

json_t *cli_compare_json(const cli_comparison *c) {
    json_t *result = json_object(), *networks = json_array();
    sample s = {.searched = nas__alloc((size_t)c->n_seeds * sizeof(double)),
                .random = nas__alloc((size_t)c->n_rivals * sizeof(double))};
    if (s.searched && s.random) {
        collect(c, &s, networks);
    }
    json_object_set_new(result, "run", json_string(c->out));
    json_object_set_new(result, "search", json_string(c->run));
    json_object_set_new(result, "status", json_string(s.waiting ? "stopped" : "finished"));
    json_object_set_new(result, "data", json_string(c->a->data));
    json_object_set_new(result, "epochs", json_integer(c->a->epochs));
    json_object_set_new(result, "metric", s.metric ? json_string(s.metric->name) : json_null());
    json_object_set_new(result, "split", json_string("test"));
    json_object_set_new(result, "networks", networks);
    if (s.broken > 0) {
        json_array_append_new(c->notes,
                              json_sprintf("%d of the random networks broke (no finite loss): they are not in "
                                           "mean and deviation, and count as worse than the searched one",
                                           s.broken));
    }
    if (!s.waiting && !s.has_searched) {
        json_array_append_new(c->notes, json_string("the searched network broke: there is nothing to compare with"));
    } else if (!s.waiting && s.n_random < 2) {
        json_array_append_new(c->notes, json_string("fewer than two random networks have a result: no interval"));
    } else if (!s.waiting) {
        add_difference(c, &s, result);
        add_share(c, &s, nas__mean(c->n_seeds, s.searched), result);
    }
    json_object_set(result, "notes", c->notes);
    free(s.searched);
    free(s.random);
    return result;
}

/* --- for people --------------------------------------------------------------------------------- */
static double number(json_t *object, const char *key) { return json_number_value(json_object_get(object, key)); }

static void print_network(json_t *one) {
    char macs[32], parameters[32], value[32];
    const char *status = json_string_value(json_object_get(one, "status"));
    snprintf(value, sizeof value, "%.4f", number(one, "value"));
    if (strcmp(status, "waiting") == 0) {
        printf("  %-12s waits for its training\n", json_string_value(json_object_get(one, "name")));
        return;
    }
    const char *reason = json_string_value(json_object_get(one, "reason"));
    printf("  %-12s %-8s %14s %12s%s%s\n", json_string_value(json_object_get(one, "name")),
           strcmp(status, "finished") == 0 ? value : status, cli_count(number(one, "macs"), macs, sizeof macs),
           cli_count(number(one, "parameters"), parameters, sizeof parameters), reason ? "  " : "",
           reason ? reason : "");
}

static void print_statistics(json_t *c) {
    json_t *random = json_object_get(c, "random"), *searched = json_object_get(c, "searched"),
           *interval = json_object_get(c, "interval");
    bool one = strcmp(json_string_value(json_object_get(c, "interval_kind")), "prediction") == 0;
    int n = (int)number(random, "n"), drawn = n + (int)number(random, "broken");
    printf("\n  random       mean %.4f, standard deviation %.4f (%d networks)\n", number(random, "mean"),
           number(random, "deviation"), n);
    if (!one) {
        printf("  searched     mean %.4f, standard deviation %.4f (%d seeds)\n", number(searched, "mean"),
               number(searched, "deviation"), (int)number(searched, "n"));
    }
    printf("  difference   %+.4f searched minus random mean; 95 %% interval %+.4f to %+.4f (%s)\n",
           number(c, "difference"), json_number_value(json_array_get(interval, 0)),
           json_number_value(json_array_get(interval, 1)),
           one ? "prediction: t * deviation * sqrt(1 + 1/N)" : "Welch: of the two means");
    printf("  random luck  %d of %d random networks are at least as good (q = %.2f)",
           (int)number(c, "at_least_as_good"), drawn, number(c, "share"));
    if (json_object_get(c, "trainings_in_search_time")) {
        int trainings = (int)number(c, "trainings_in_search_time");
        printf("; the search's time trains %d: the best of so many matches or beats it with chance 1-(1-q)^%d = %.2f",
               trainings, trainings, number(c, "chance_of_best"));
    }
    if (number(c, "at_least_as_good") == 0) {
        printf("\n               none of %d still allows q up to %.2f (95 %%)", drawn, 1 - pow(1 - level, 1.0 / drawn));
    }
    putchar('\n');
}

static void print_verdict(const char *verdict) {
    static const char *const sentences[][2] = {
        {"better", "the searched network is better than random ones of its space: the interval is on its side of 0"},
        {"worse", "the searched network is WORSE than random ones of its space: the interval is on their side of 0"},
        {"no difference shown",
         "no difference shown: the searched network is better than the random mean, but no further "
         "from it than a random one may be"},
        {"not better", "no advantage shown: the searched network is not better than the random mean"}};
    for (size_t i = 0; verdict && i < sizeof sentences / sizeof *sentences; i++) {
        if (strcmp(sentences[i][0], verdict) == 0) {
            printf("  %sverdict%s      %s\n", cli_bold(stdout), cli_plain(stdout), sentences[i][1]);
        }
    }
}

void cli_compare_print(json_t *c) {
    json_t *one;
    size_t i;
    const char *metric = json_string_value(json_object_get(c, "metric")),
               *out = json_string_value(json_object_get(c, "run"));
    bool stopped = strcmp(json_string_value(json_object_get(c, "status")), "stopped") == 0;
    printf(
        "%sComparison %s%s on %s: the same retraining of at most %d epochs for each network, scored on the test part\n",
        cli_bold(stdout), stopped ? "stopped" : "finished", cli_plain(stdout),
        json_string_value(json_object_get(c, "data")), (int)number(c, "epochs"));
    printf("  %-12s %-8s %14s %12s\n", "network", metric ? metric : "", "multiply-adds", "parameters");
    json_array_foreach(json_object_get(c, "networks"), i, one) { print_network(one); }
    if (json_object_get(c, "difference")) {
        print_statistics(c);
        print_verdict(json_string_value(json_object_get(c, "verdict")));
    }
    json_array_foreach(json_object_get(c, "notes"), i, one) { printf("  note         %s\n", json_string_value(one)); }
    printf("  files        %s, a run directory for each network\n", out);
    if (stopped) {
        printf("  next         the same command goes on\n");
    } else if (json_object_get(c, "difference")) {
        printf("  next         espalier eval %s/searched\n", out);
    }
}
