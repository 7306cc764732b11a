/* profile_latency.c - latencies for `espalier profile`: tables of what every candidate takes here, and of networks. */
#include "cli/profile.h"

#include "core/correlation.h"
#include "core/error.h"
#include "core/file.h"
#include "core/memory.h"
#include "hardware/stopwatch.h"
#include "io/onnxruntime.h"
#include "run/run.h"
#include "space/space.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SAMPLES = 10 };
static const double MINUTES = 2, SAVE_EVERY = 5; /* seconds */

static bool with_onnxruntime(const cli_args *a) { return !strcmp(a->backend, "onnxruntime"); }

nas_status cli_profile_check(const cli_args *a, bool fixed) {
    nas_budget budget;
    if (fixed && (a->out || a->validate || a->svg)) {
        return nas__fail(NAS_USAGE, "--out, --validate and --svg are for the candidates of a whole space, not for one "
                                    "network");
    }
    if (a->validate && !a->out && !a->latency_table) {
        return nas__fail(NAS_USAGE, "--validate compares with a table: --out FILE measures one, --latency-table FILE "
                                    "names one");
    }
    if (a->svg && !a->validate) {
        return nas__fail(NAS_USAGE, "--svg draws predicted against measured networks: --validate N is missing");
    }
    if (strcmp(a->backend, "espalier") != 0 && !with_onnxruntime(a)) {
        return nas__fail(NAS_USAGE, "--backend: there are espalier and onnxruntime, not \"%s\"", a->backend);
    }
    if (a->onnxruntime && !with_onnxruntime(a)) {
        return nas__fail(NAS_USAGE, "--onnxruntime is for --backend onnxruntime");
    }
    if (with_onnxruntime(a) && !fixed && !a->out && !a->validate) {
        return nas__fail(NAS_USAGE, "--backend onnxruntime measures: give --out FILE for a table");
    }
    nas_status status = cli_budget(a, &budget);
    return status || !budget.trials ? status : nas__fail(NAS_USAGE, "--budget of profile is minutes=M");
}

/* --- the table ------------------------------------------------------------------------------------------- */
typedef struct measuring {
    cli_profiled *p;
    nas__profile *table;
    nas__profile_config config;
    nas__ort *ort; /* of --backend onnxruntime */
    nas__profile_engine engine;
    const char *doing;
    double saved, said; /* seconds since the start */
} measuring;

static nas_module *make(void *user) { return cli_space_model(&((measuring *)user)->p->space); }

static nas_status check_table(const nas__profile *t, const cli_args *a, const char *path, const char *machine) {
    if (with_onnxruntime(a) != nas__profile_is_of_onnxruntime(t)) {
        return nas__fail(NAS_INVALID,
                         "%s was measured with %s: a table is of one backend, --backend %s goes on with it", path,
                         t->engine, with_onnxruntime(a) ? "espalier" : "onnxruntime");
    }
    if (t->batch != a->batch || t->threads != a->threads) {
        return nas__fail(NAS_INVALID, "%s was measured with batch %d and %d threads; this is batch %lld and %lld", path,
                         t->batch, t->threads, (long long)a->batch, (long long)a->threads);
    }
    if (strcmp(t->machine, machine) != 0) {
        return nas__fail(NAS_INVALID, "%s was measured on \"%s\", and this is \"%s\": a table is of one machine", path,
                         t->machine, machine);
    }
    return NAS_OK;
}

/* What is at --out or --latency-table already, or an empty one. */
static nas__profile *open_table(const cli_args *a, const nas__ort *ort) {
    char *machine = nas__machine_name(), *engine = ort ? nas__format("onnxruntime %s", nas__ort_version(ort))
                                                       : nas__format("espalier %s", nas_version());
    const char *path = a->out && nas__exists(a->out) ? a->out : a->latency_table;
    nas__profile *t = !machine || !engine ? NULL
                      : path              ? nas__profile_read(path)
                                          : nas__profile_new(machine, engine, (int)a->batch, (int)a->threads);
    if (t && path && check_table(t, a, path, machine)) {
        nas__profile_free(t);
        t = NULL;
    }
    if (t && strcmp(t->engine, engine) != 0) {
        cli_note("%s was measured with %s; this is %s", path, t->engine, engine);
    }
    free(machine);
    free(engine);
    return t;
}

static bool on_progress(const nas__profile_progress *progress, void *user) {
    measuring *m = user;
    bool last = progress->done >= 1;
    if (cli_terminal_is_live()) {
        fprintf(stderr, "\r%s: %3.0f%%, %d networks, %.0f s\033[K%s", m->doing, 100 * progress->done,
                progress->networks, progress->seconds, last ? "\n" : "");
    } else if (last || progress->seconds > m->said + 10) {
        m->said = progress->seconds;
        cli_note("%s: %.0f%%, %d networks, %.0f s", m->doing, 100 * progress->done, progress->networks,
                 progress->seconds);
    }
    if (m->p->a->out && progress->seconds > m->saved + SAVE_EVERY) {
        m->saved = progress->seconds;
        nas__profile_write(m->table, m->p->a->out);
    }
    return !cli_signal && !nas_error_status();
}

static nas_status open_measuring(measuring *m, cli_profiled *p) {
    nas_budget budget;
    nas_status status = cli_budget(p->a, &budget);
    *m = (measuring){.p = p};
    if (!status && with_onnxruntime(p->a)) {
        m->ort = nas__ort_open(p->a->onnxruntime);
        status = nas_error_status();
    }
    m->table = status ? NULL : open_table(p->a, m->ort);
    m->engine = m->ort ? nas__ort_engine(m->ort) : nas__profile_own_engine;
    m->config = (nas__profile_config){.profile = m->table,
                                      .make = make,
                                      .engine = &m->engine,
                                      .progress = on_progress,
                                      .user = m,
                                      .ndim = 3,
                                      .samples = SAMPLES,
                                      .seconds = 60 * (budget.minutes > 0 ? budget.minutes : MINUTES),
                                      .seed = (uint64_t)p->a->seed};
    memcpy(m->config.dims, p->dims, sizeof p->dims);
    return m->table ? NAS_OK : nas_error_status();
}

/* --- a space --------------------------------------------------------------------------------------------- */
static nas_status describe_table(const measuring *m) {
    nas__profile_fit fit = {0};
    nas__profile_places places = {0};
    nas_space *space = nas_space_new(m->p->model);
    nas_status status =
        space ? nas__profile_places_find(&places, m->table, space, m->p->model, 3, m->p->dims) : nas_error_status();
    nas__cost_table *costs = status ? NULL : nas__profile_costs(m->table, &places, space, &fit);
    if (costs) {
        json_object_set_new(m->p->result, "latency",
                            json_pack("{s:s*, s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:f, s:f}", "table", m->p->a->out,
                                      "engine", m->table->engine, "machine", m->table->machine, "candidates",
                                      (int)places.n, "entries", (int)m->table->n_entries, "batch", m->table->batch,
                                      "threads", m->table->threads, "networks", fit.networks, "factor", fit.factor,
                                      "error", fit.error));
    }
    if (nas_error_status() == NAS_NOT_FOUND && m->p->a->out) {
        nas__error_context(
            "%s is not complete; the same command goes on with it, --budget minutes=M gives it more time",
            m->p->a->out);
    }
    nas__cost_table_free(costs);
    nas__profile_places_free(&places);
    nas_space_free(space);
    return nas_error_status();
}

static nas_status validate(measuring *m) {
    int n = (int)m->p->a->validate;
    double *predicted = nas__alloc(2 * (size_t)n * sizeof *predicted), *measured = predicted + n;
    m->doing = "measuring networks that the table does not know";
    m->said = m->saved = 0;
    nas_status status = predicted ? nas__profile_validate(&m->config, n, predicted, measured) : nas_error_status();
    if (!status) {
        nas__profile_errors e;
        nas__profile_errors_of(&e, n, predicted, measured);
        json_t *rows = json_array();
        for (int i = 0; i < n; i++) {
            json_array_append_new(rows, json_pack("[f,f]", 1e-6 * predicted[i], 1e-6 * measured[i]));
        }
        json_object_set_new(m->p->result, "validation",
                            json_pack("{s:i, s:f, s:f, s:f, s:f, s:o}", "networks", n, "spearman", e.spearman, "mape",
                                      e.mean, "bias", e.bias, "within_10_percent", e.within, "predicted_measured_ms",
                                      rows));
        status = m->p->a->svg ? cli_profile_svg(m->p->a->svg, m->p->space.info->name, n, predicted, measured) : NAS_OK;
    }
    free(predicted);
    return status;
}

static nas_status measure_table(measuring *m) {
    m->doing = "measuring latencies";
    const size_t before = m->table->n_networks;
    nas_status status = nas__profile_measure(&m->config);
    if (!status && m->table->n_networks > before) {
        status = nas__profile_write(m->table, m->p->a->out);
    }
    if (!status && cli_signal) {
        status = nas__fail(NAS_INTERRUPTED, "interrupted; the same command goes on with %s", m->p->a->out);
    }
    return status;
}

nas_status cli_profile_space(cli_profiled *p) {
    measuring m;
    nas__pinned before;
    nas_status status = open_measuring(&m, p);
    nas__pin(&before, (int)p->a->threads, true);
    status = status || !p->a->out ? status : measure_table(&m);
    status = status ? status : describe_table(&m);
    status = status || !p->a->validate ? status : validate(&m);
    nas__unpin(&before);
    nas__profile_free(m.table);
    nas__ort_close(m.ort);
    return status;
}

void cli_profile_print_space(const cli_profiled *p) {
    const json_t *t = json_object_get(p->result, "latency"), *v = json_object_get(p->result, "validation");
    if (t) {
        printf("  latency        %lld candidates, %lld entries in the table; batch %lld, %lld threads\n"
               "                 %lld whole networks: their sums times %.3f; error of those left out %.1f%%\n",
               (long long)json_integer_value(json_object_get(t, "candidates")),
               (long long)json_integer_value(json_object_get(t, "entries")),
               (long long)json_integer_value(json_object_get(t, "batch")),
               (long long)json_integer_value(json_object_get(t, "threads")),
               (long long)json_integer_value(json_object_get(t, "networks")),
               json_real_value(json_object_get(t, "factor")), 100 * json_real_value(json_object_get(t, "error")));
    }
    if (v) {
        printf("  predicted      %lld other networks: Spearman %.3f, mean error %.1f%%, bias %+.1f%%, %.0f%% within "
               "10%%\n",
               (long long)json_integer_value(json_object_get(v, "networks")),
               json_real_value(json_object_get(v, "spearman")), 100 * json_real_value(json_object_get(v, "mape")),
               100 * json_real_value(json_object_get(v, "bias")),
               100 * json_real_value(json_object_get(v, "within_10_percent")));
    }
}

/* --- one network ----------------------------------------------------------------------------------------- */
static nas_status predict(measuring *m, const char *architecture, double *ms) {
    nas__profile_places places = {0};
    nas_module *model = make(m);
    nas_space *space = model ? nas_space_new(model) : NULL;
    nas_architecture *a = space ? nas_architecture_parse(space, architecture) : NULL;
    nas_status status =
        a ? nas__profile_places_find(&places, m->table, space, model, 3, m->p->dims) : nas_error_status();
    nas__cost_table *costs = status ? NULL : nas__profile_costs(m->table, &places, space, NULL);
    *ms = costs ? 1e-3 * nas__cost_of_architecture(costs, a) : NAN;
    nas__cost_table_free(costs);
    nas__profile_places_free(&places);
    nas_architecture_free(a);
    nas_space_free(space);
    nas_module_free(model);
    return nas_error_status();
}

nas_status cli_profile_network(cli_profiled *p, const char *architecture) {
    measuring m;
    nas__pinned before;
    double ns = 0, predicted = NAN;
    nas_status status = open_measuring(&m, p);
    status = status || !p->a->latency_table ? status : predict(&m, architecture, &predicted);
    status = status ? status : nas_fold_batch_norm(p->model, NULL);
    nas__pin(&before, (int)p->a->threads, true);
    status = status ? status : nas__profile_one(&m.config, p->model, &ns);
    nas__unpin(&before);
    nas__profile_free(m.table);
    nas__ort_close(m.ort);
    if (m.ort) {
        json_object_set_new(p->result, "engine", json_sprintf("onnxruntime %s", nas__ort_version(m.ort)));
    }
    json_object_set_new(p->result, "latency_ms", json_real(1e-6 * ns));
    json_object_set_new(p->result, "batch", json_integer(p->a->batch));
    json_object_set_new(p->result, "threads", json_integer(p->a->threads));
    if (!isnan(predicted)) {
        json_object_set_new(p->result, "predicted_ms", json_real(predicted));
    }
    return status;
}

void cli_profile_print_network(const cli_profiled *p) {
    const json_t *predicted = json_object_get(p->result, "predicted_ms");
    const char *engine = json_string_value(json_object_get(p->result, "engine"));
    printf("  latency        %.3f ms for a batch of %lld, %lld threads%s%s\n",
           json_real_value(json_object_get(p->result, "latency_ms")), (long long)p->a->batch, (long long)p->a->threads,
           engine ? ", by " : "", engine ? engine : "");
    if (predicted) {
        printf("  predicted      %.3f ms by the table\n", json_real_value(predicted));
    }
}
