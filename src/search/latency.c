/* latency.c - see latency.h */
#include "search/latency.h"

#include "hardware/profile.h"
#include "hardware/stopwatch.h"
#include "run/run.h"
#include "search/trainer.h"
#include "space/space.h"

#include <stdlib.h>
#include <string.h>

enum { SAMPLES = 4 }; /* of every candidate, when a search measures them itself */
static const double MOST_SECONDS = 120;

/* --- the table ------------------------------------------------------------------------------------------- */
static nas__profile *read_table(nas_trainer *t, const char *machine) {
    nas__profile *p = nas__profile_read(t->config.latency_table);
    t->foreign_latency = p && strcmp(p->machine, machine) != 0;
    if (t->foreign_latency) {
        nas__log(NAS_LOG_WARN, "%s was measured on \"%s\", and this is \"%s\": latencies are those of that machine",
                 t->config.latency_table, p->machine, machine);
    }
    if (p && nas__profile_is_of_onnxruntime(p)) { /* what is measured here later is no comparison */
        nas__log(NAS_LOG_INFO, "%s was measured with %s: latencies are those of that program", t->config.latency_table,
                 p->engine);
        t->foreign_latency = true;
    }
    return p;
}

static nas_status open_table(nas_trainer *t) {
    char *machine = nas__machine_name(), *engine = nas__format("espalier %s", nas_version());
    if (machine && engine && !t->latency) {
        t->latency =
            t->config.latency_table ? read_table(t, machine) : nas__profile_new(machine, engine, 1, nas_threads());
    }
    free(machine);
    free(engine);
    return t->latency ? NAS_OK : nas_error_status();
}

static nas__profile_config measuring(nas_trainer *t) {
    const nas_dataset_info *info = nas_dataset_describe(t->config.dataset_train);
    nas__profile_config config = {.profile = t->latency,
                                  .make = t->config.new_model,
                                  .user = t->config.user,
                                  .ndim = info->ndim,
                                  .samples = SAMPLES,
                                  .seconds = MOST_SECONDS,
                                  .seed = t->config.seed};
    memcpy(config.dims, info->dims, (size_t)info->ndim * sizeof *config.dims);
    return config;
}

/* Networks made anew are measured as they will be used; without .new_model the model itself has to serve. */
static nas_status measure(nas_trainer *t) {
    nas__profile_config config = measuring(t);
    nas__pinned before;
    nas__log(NAS_LOG_INFO, "measuring the latency of every candidate");
    nas__pin(&before, t->latency->threads, true);
    nas_status status =
        config.make ? nas__profile_measure(&config) : nas__profile_supernet(&config, t->s.space, t->s.model);
    nas__unpin(&before);
    return status;
}

static nas_status lacking(const nas_trainer *t, const char *what) {
    return nas__fail(NAS_NOT_FOUND,
                     "%s has no latency of %s; --measure-missing measures what it lacks here, `espalier profile --out` "
                     "adds it to the file",
                     t->config.latency_table, what);
}

static nas__cost_table *latencies(nas_trainer *t) {
    const nas_dataset_info *info = nas_dataset_describe(t->config.dataset_train);
    nas__profile_places places = {0};
    char text[512];
    nas_status status = open_table(t);
    status =
        status ? status : nas__profile_places_find(&places, t->latency, t->s.space, t->s.model, info->ndim, info->dims);
    const char *missing = status ? NULL : nas__profile_missing(t->latency, &places, t->s.space, text, sizeof text);
    if (missing && t->config.latency_table && (!t->config.measure_missing || t->foreign_latency)) {
        status = lacking(t, missing);
    } else if (missing) {
        status = measure(t);
    }
    nas__cost_table *costs = status ? NULL : nas__profile_costs(t->latency, &places, t->s.space, NULL);
    nas__profile_places_free(&places);
    return costs;
}

/* The decisions in force stay what they are. */
nas__cost_table *nas__search_costs(nas_trainer *t, nas__cost_kind kind) {
    const nas_dataset_info *info = nas_dataset_describe(t->s.config->dataset_train);
    if (kind != NAS__COST_LATENCY) {
        return nas__cost_table_new(t->s.space, t->s.model, info->ndim, info->dims, kind);
    }
    int n = nas_space_size(t->s.space);
    nas_decision *saved = nas__alloc((size_t)n * sizeof *saved);
    for (int c = 0; saved && c < n; c++) {
        saved[c] = nas_decision_of(t->s.space, c);
    }
    nas__cost_table *costs = saved ? latencies(t) : NULL;
    for (int c = 0; saved && c < n; c++) {
        t->s.space->choices[c].decision = saved[c];
    }
    free(saved);
    return costs;
}

/* --- the network that was found -------------------------------------------------------------------------- */
static nas_module *make_best(nas_trainer *t) {
    char *architecture = nas_architecture_json(t->best, false);
    nas_module *model = architecture ? t->config.new_model(t->config.user) : NULL;
    if (model && (nas_apply_fixed_architecture_text(model, architecture) || nas_fold_batch_norm(model, NULL))) {
        nas_free(model);
        model = NULL;
    }
    free(architecture);
    return model;
}

/* In microseconds; by the limit's table, if there is one: a resumed search keeps that. Negative on failure. */
static double predict_best(nas_trainer *t) {
    for (int i = 0; i < t->limits.n; i++) {
        if (t->limits.of[i].kind == NAS__COST_LATENCY) {
            return nas__limit_cost(t, i, t->best);
        }
    }
    nas__cost_table *costs = nas__search_costs(t, NAS__COST_LATENCY);
    double us = costs ? nas__cost_of_architecture(costs, t->best) : -1;
    nas__cost_table_free(costs);
    return us;
}

static nas_status measure_here(nas_trainer *t, nas_module *model, double *ns) {
    /* another machine's canary says nothing of this one */
    nas__profile *own = t->foreign_latency ? nas__profile_new("", "", t->latency->batch, t->latency->threads) : NULL;
    nas__profile_config config = measuring(t);
    config.profile = own ? own : t->latency;
    nas__pinned before;
    nas__pin(&before, t->latency->threads, true);
    nas_status status = nas_error_status() ? nas_error_status() : nas__profile_one(&config, model, ns);
    nas__unpin(&before);
    nas__profile_free(own);
    return status;
}

nas_status nas__measure_final(nas_trainer *t, nas__final_latency *final) {
    *final = (nas__final_latency){.same_machine = !t->foreign_latency};
    if (!t->latency || !t->best || !t->config.new_model) {
        return NAS_NOT_FOUND;
    }
    double ns = 0, us = predict_best(t);
    nas_module *model = us < 0 ? NULL : make_best(t);
    nas_status status = model ? measure_here(t, model, &ns) : nas_error_status();
    final->predicted_ms = 1e-3 * us;
    final->measured_ms = 1e-6 * ns;
    nas_free(model);
    return status;
}
