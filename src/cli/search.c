/* search.c - `espalier search`. */
#include "cli/jobs.h"

#include "core/error.h"
#include "core/file.h"
#include "core/memory.h"
#include "run/run.h"
#include "search/latency.h"
#include "search/limits.h"
#include "search/op_times.h"
#include "search/trainer.h"
#include "search/trials.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct search {
    cli_args *a;
    const char *out;
    cli_strategy strategy;
    cli_space space;
    json_t *settings, *stored; /* stored: config.json of the run that is resumed */
    nas_budget budget;
    nas_checkpoints checkpoints;
    cli_parts parts;
    const nas_metric *metric;
    nas_module *model;
    nas_trainer *trainer;
    cli_jobs *jobs; /* --jobs */
    char *config, *options, *architecture_path;
    int epochs;
    int64_t trials;      /* of searches by trials */
    double seconds;      /* of training, earlier segments of the run included */
    nas__op_times times; /* --op-times */
} search;

/* --- what is asked for -------------------------------------------------------------------------- */
static nas_status check_limits(const cli_args *a) {
    nas__limits limits;
    return nas__limits_parse(a->limit, &limits) ? nas__error_context("--limit") : NAS_OK;
}

/* Trials side by side share the processors; how many threads one has is its result's business, so it is fixed here. */
static void share_threads(cli_args *a) {
    if (a->jobs > 0 && a->threads == 0) {
        int64_t each = nas_threads() / a->jobs;
        a->threads = each > 0 ? each : 1;
    }
}

/* With --resume the run's own options stand where the command line says nothing. */
static nas_status read_options(search *s) {
    cli_args *a = s->a;
    nas_status status = cli_config_option(a);
    if (!status && a->resume && !a->out) {
        return nas__fail(NAS_USAGE, "--resume needs --out DIR: which run is to go on?");
    }
    if (!status && a->resume) {
        s->stored = cli_config_resumed(a, a->out);
        status = nas_error_status();
    }
    if (!status && s->stored) {
        status = cli_config_apply(a, s->stored, NULL, a->out);
    }
    status = status ? status : cli_budget(a, &s->budget);
    status = status ? status : cli_checkpoints(a, &s->checkpoints);
    status = status ? status : check_limits(a);
    share_threads(a);
    cli_settle_shards(a, s->stored != NULL);
    status = status ? status : cli_data_check(a);
    status = status ? status : cli_precision_check(a);
    status = status ? status : cli_strategy_open(&s->strategy, a);
    status = status ? status : cli_space_open(&s->space, a->space);
    status = status ? status : cli_apply_settings(a, &s->strategy, &s->space);
    s->settings = status ? NULL : cli_settings_json(&s->strategy, &s->space);
    return status || !s->stored ? status : cli_config_compare(a, s->settings, s->stored, a->out, false);
}

static nas_status choose_directory(search *s) {
    s->out = s->a->out ? s->a->out : cli_keep(nas__run_default_directory("runs", s->a->space, s->a->strategy));
    return s->out ? cli_directory_check(s->out, s->a->resume) : nas_error_status();
}

/* --- the result --------------------------------------------------------------------------------- */
static json_t *architecture_json(const nas_architecture *a) {
    char *text = a ? nas_architecture_json(a, false) : NULL;
    json_t *json = text ? json_loads(text, 0, NULL) : NULL;
    free(text);
    return json ? json : json_null();
}

static json_t *canonical_json(const search *s, const nas_architecture *a) {
    char *text = a && s->space.info->canonical ? s->space.info->canonical(a)
                 : a                           ? nas_architecture_json(a, false)
                                               : NULL;
    json_t *json = text ? json_string(text) : json_null();
    free(text);
    return json;
}

/* A look in a table and a score of random weights are no metric of the valid part: what the best score is, and where it
 * comes from. */
static const char *scored_by(const search *s, const char **split) {
    const char *evaluate = json_string_value(json_object_get(s->strategy.values, "evaluate"));
    bool table = evaluate && strcmp(evaluate, "table") == 0, proxy = evaluate && strcmp(evaluate, "proxy") == 0;
    *split = table ? "table" : proxy ? "train" : "valid";
    return table ? "seen" : proxy ? json_string_value(json_object_get(s->strategy.values, "proxy")) : s->metric->name;
}

static json_t *result_json(const search *s) {
    double score = NAN;
    const nas_architecture *best = nas_trainer_best(s->trainer, &score);
    json_t *result = json_object(), *metrics = json_object();
    const char *split, *metric = scored_by(s, &split);
    if (best && isfinite(score)) {
        json_object_set_new(metrics, metric, json_real(score));
    }
    json_object_set_new(result, "run", json_string(s->out));
    json_object_set_new(result, "status", json_string(nas_trainer_stopped(s->trainer) ? "stopped" : "finished"));
    json_object_set_new(result, "strategy", json_string(s->strategy.info->name));
    json_object_set_new(result, "space", json_string(s->space.info->name));
    json_object_set_new(result, "data", json_string(s->a->data));
    json_object_set_new(result, "epochs", json_integer(s->epochs));
    if (s->trials > 0) {
        json_object_set_new(result, "trials", json_integer(s->trials));
    }
    json_object_set_new(result, "seconds", json_real(s->seconds));
    json_object_set_new(result, "architecture", architecture_json(best));
    json_object_set_new(result, "canonical", canonical_json(s, best));
    json_object_set_new(result, "split", json_string(split));
    json_object_set_new(result, "metrics", metrics);
    if (s->times.n > 0) {
        json_object_set_new(result, "ops", cli_op_times_json(&s->times, 1));
    }
    return result;
}

/* "2 epochs, 12 trials" */
static void print_counts(json_t *result) {
    static const char *const names[] = {"epoch", "trial"};
    long long n[] = {json_integer_value(json_object_get(result, "epochs")),
                     json_integer_value(json_object_get(result, "trials"))};
    for (int i = 0; i < 2; i++) {
        if (n[i] > 0 || (i == 0 && n[1] == 0)) {
            printf("%s%lld %s%s", i && n[0] > 0 ? ", " : "", n[i], names[i], n[i] == 1 ? "" : "s");
        }
    }
}

static void print_human(const char *out, json_t *result) {
    const char *split = json_string_value(json_object_get(result, "split"));
    const char *where = split && strcmp(split, "table") == 0   ? "in the table"
                        : split && strcmp(split, "train") == 0 ? "of random weights"
                                                               : "on the valid part";
    char time[32];
    json_t *metrics = json_object_get(result, "metrics"), *value;
    const char *name;
    printf("%sSearch %s%s: %s on %s, ", cli_bold(stdout), json_string_value(json_object_get(result, "status")),
           cli_plain(stdout), json_string_value(json_object_get(result, "strategy")),
           json_string_value(json_object_get(result, "space")));
    print_counts(result);
    printf(" in %s\n", cli_duration(json_number_value(json_object_get(result, "seconds")), time, sizeof time));
    json_object_foreach(metrics, name, value) {
        printf("  best      %s %.4f %s\n", name, json_number_value(value), where);
    }
    const json_t *latency = json_object_get(result, "latency");
    if (latency) {
        printf("  latency   %.4g ms measured, %.4g ms predicted%s\n",
               json_real_value(json_object_get(latency, "measured_ms")),
               json_real_value(json_object_get(latency, "predicted_ms")),
               json_is_true(json_object_get(latency, "same_machine")) ? "" : " for another machine");
    }
    const char *canonical = json_string_value(json_object_get(result, "canonical"));
    if (canonical) {
        printf(
            "  network   %s\n  files     %s, the network in %s/final_architecture.json\n  next      espalier retrain "
            "%s\n",
            canonical, out, out, out);
    } else {
        printf(
            "  network   none: nothing was scored yet\n  files     %s\n  next      espalier search --out %s --resume\n",
            out, out);
    }
}

static nas_status show(const search *s, json_t *result) {
    if (s->a->json) {
        return cli_print_json(json_incref(result));
    }
    print_human(s->out, result);
    cli_op_times_print(json_object_get(result, "ops"));
    return NAS_OK;
}

/* A finished run that is resumed without asking for more prints what it printed before. */
static nas_status show_finished(const search *s, bool *shown) {
    *shown = false;
    json_t *result = s->stored ? cli_json_read(s->out, "result.json") : NULL;
    const char *status = json_string_value(json_object_get(result, "status"));
    json_t *before = json_object_get(json_object_get(s->stored, "options"), "budget");
    bool same_budget = strcmp(before ? json_string_value(before) : "", s->a->budget ? s->a->budget : "") == 0;
    json_t *epochs = json_object_get(json_object_get(s->stored, "options"), "epochs");
    if (status && strcmp(status, "finished") == 0 && same_budget && s->a->epochs <= json_integer_value(epochs)) {
        *shown = true;
        cli_note("%s is finished already", s->out);
        show(s, result);
    }
    json_decref(result);
    return nas_error_status();
}

/* --- the search --------------------------------------------------------------------------------- */
static nas_status open_data(search *s) {
    nas_dataset *train = cli_data_open(s->a, "train");
    if (!train) {
        return nas_error_status();
    }
    const nas_dataset_info *info = nas_dataset_describe(train);
    s->metric = cli_metrics(info);
    cli_space_input(&s->space, info);
    nas_status status = cli_parts_open(&s->parts, &s->strategy, (uint64_t)s->a->seed, train);
    nas_dataset_free(train);
    return status;
}

/* The best so far is in the directory after every epoch, and when a trial was better: a run that dies later leaves it.
 */
static bool export_best(search *s) {
    if (nas_trainer_best(s->trainer, NULL) && nas_trainer_export(s->trainer, s->architecture_path)) {
        cli_note("%s", nas_error_message());
        nas_error_clear();
    }
    return false;
}

static bool on_epoch(const nas_progress *p, void *user) {
    search *s = user;
    if (p->trial > 0) {
        s->epochs = p->epoch - 1;
        s->seconds = p->seconds;
        return export_best(s);
    }
    /* An epoch that was stopped does not count (--resume repeats it); the last one under a time budget does. */
    s->epochs = p->step >= p->steps_per_epoch || s->budget.minutes > 0 ? p->epoch : p->epoch - 1;
    s->seconds = p->seconds;
    return export_best(s);
}

static nas_module *new_model(void *user) { return cli_space_model(&((search *)user)->space); }

static json_t *describe_parts(const search *s) {
    return json_pack("{s:o, s:{s:i,s:i,s:i,s:i}}", "parts", cli_parts_json(&s->parts), "network", "channels",
                     s->space.config.channels, "height", s->space.config.height, "width", s->space.config.width,
                     "outputs", s->space.config.outputs);
}

static nas_module *stage_model(double share, void *user) { return cli_space_shallow(&((search *)user)->space, share); }

/* Of a search, and of a trial of it alone: data, network, and how it is trained. */
static nas_trainer_config config_of(search *s) {
    const cli_args *a = s->a;
    return (nas_trainer_config){
        .model = s->model,
        .space_name = s->space.info->name,
        .optimizer = nas_sgd(.lr = a->lr, .momentum = 0.9, .weight_decay = a->weight_decay),
        .batch_size = a->batch,
        .num_epochs = (int)a->epochs,
        .dataset_train = s->parts.train,
        .dataset_valid = s->parts.arch ? s->parts.arch : s->parts.valid,
        .dataset_score = s->parts.arch ? s->parts.valid : NULL,
        .seed = (uint64_t)a->seed,
        .threads = (int)a->threads,
        .shards = (int)a->shards,
        .precision = cli_precision(a),
        .limit_batches = a->limit_batches,
        .score_steps = (int)a->score_steps,
        .new_model = new_model,
        .user = s,
    };
}

static nas_trainer *new_trainer(search *s) {
    const cli_args *a = s->a;
    s->options = cli_strategy_options(&s->strategy);
    s->config = cli_config_text(a, s->settings, describe_parts(s));
    s->architecture_path = nas__join(s->out, "final_architecture.json");
    s->jobs = a->jobs > 0 ? cli_jobs_new((int)a->jobs, s->out) : NULL;
    if (!s->options || !s->config || !s->architecture_path || nas_error_status()) {
        return NULL;
    }
    nas_trainer_config config = config_of(s);
    config.strategy = s->strategy.info->name;
    config.custom = s->strategy.custom;
    config.options = s->options;
    config.log_frequency = a->log_frequency ? (int)a->log_frequency : cli_terminal_is_live() ? NAS_NONE : 0;
    config.budget = s->budget;
    config.limits = a->limit;
    config.latency_table = a->latency_table;
    config.measure_missing = a->measure_missing;
    config.run_dir = s->out;
    config.resume = a->resume;
    config.checkpoints = s->checkpoints;
    config.run_config = s->config;
    config.command = a->command_line;
    config.runner = s->jobs ? cli_jobs_runner(s->jobs) : NULL;
    config.on_epoch = on_epoch;
    config.on_step = cli_progress;
    config.stage_model = s->space.info->depth ? stage_model : NULL;
    return nas_trainer_new(&config);
}

/* More than this beyond its limit a network is refused: measurements of one network differ by less. */
static const double TOLERANCE = 1.05;

/* What the network takes that was found, into the result; where latency counts. */
static nas_status measure_final(const search *s, json_t *result) {
    nas__final_latency final;
    nas_status status = nas__measure_final(s->trainer, &final);
    if (!status) {
        json_object_set_new(result, "latency",
                            json_pack("{s:f, s:f, s:b}", "predicted_ms", final.predicted_ms, "measured_ms",
                                      final.measured_ms, "same_machine", final.same_machine));
    }
    return nas_error_status();
}

static nas_status check_latency(const search *s, const json_t *result) {
    const json_t *latency = json_object_get(result, "latency");
    const double measured = json_real_value(json_object_get(latency, "measured_ms"));
    nas__limits limits;
    nas__limits_parse(s->a->limit, &limits);
    for (int i = 0; i < limits.n && json_is_true(json_object_get(latency, "same_machine")); i++) {
        double most = 1e-3 * limits.of[i].most;
        if (limits.of[i].kind == NAS__COST_LATENCY && measured > TOLERANCE * most) {
            return nas__fail(NAS_INVALID,
                             "the network takes %.4g ms, and the limit is %.4g ms (predicted: %.4g ms): search with a "
                             "lower limit, or with a table of more samples (espalier profile --out)",
                             measured, most, json_real_value(json_object_get(latency, "predicted_ms")));
        }
    }
    return NAS_OK;
}

static nas_status finish(search *s) {
    cli_progress_end();
    if (nas_trainer_best(s->trainer, NULL) && nas_trainer_export(s->trainer, s->architecture_path)) {
        return nas_error_status();
    }
    json_t *result = result_json(s);
    nas_status status = measure_final(s, result);
    status = status ? status : cli_json_write(s->out, "result.json", result);
    status = status ? status : show(s, result);
    status = status ? status : check_latency(s, result);
    json_decref(result);
    return status;
}

static nas_status run(search *s) {
    nas_status status = open_data(s);
    if (status) {
        return status;
    }
    s->model = cli_space_model(&s->space);
    s->trainer = s->model ? new_trainer(s) : NULL;
    if (!s->trainer) {
        return nas_error_status() == NAS_UNSUPPORTED ? cli_as_usage()
                                                     : nas_error_status(); /* they do not go together */
    }
    const nas_space *space = nas_trainer_space(s->trainer);
    char parts[80];
    cli_note("%s on %s: %d choices, 10^%.1f architectures; %s images of %s; run directory %s", s->strategy.info->name,
             s->space.info->name, nas_space_size(space), nas_space_log10_size(space),
             cli_parts_text(&s->parts, parts, sizeof parts), s->a->data, s->out);
    cli_stop_on_signal(s->trainer);
    if (s->a->op_times) {
        nas__op_times_start(&s->times);
    }
    status = nas_trainer_train(s->trainer);
    if (s->a->op_times) {
        nas__op_times_stop(&s->times);
    }
    cli_stop_on_signal(NULL);
    if (s->seconds == 0) { /* a resumed run that had nothing left to do */
        s->seconds = nas__pace_seconds(&s->trainer->pace);
    }
    s->trials = s->trainer->trials;
    if (!nas_trainer_stopped(s->trainer) && s->budget.minutes == 0 && s->budget.trials == 0) {
        s->epochs = (int)s->a->epochs; /* also when a resumed run had nothing left to do */
    }
    return status ? status : finish(s);
}

static void close_search(search *s) {
    nas_trainer_free(s->trainer);
    cli_jobs_free(s->jobs);
    nas_module_free(s->model);
    cli_parts_close(&s->parts);
    cli_space_close(&s->space);
    cli_strategy_close(&s->strategy);
    json_decref(s->settings);
    json_decref(s->stored);
    free(s->config);
    free(s->options);
    free(s->architecture_path);
}

nas_status cli_search(cli_args *a) {
    search s = {.a = a};
    bool shown = false;
    nas_status status = read_options(&s);
    status = status ? status : choose_directory(&s);
    status = status ? status : show_finished(&s, &shown);
    if (!status && !shown) {
        run(&s);
    }
    close_search(&s);
    return nas_error_status();
}

/* --- one trial of it ---------------------------------------------------------------------------- */
/* The run's options, as its config has them. */
static nas_status read_run(search *s, const char *run) {
    cli_args *a = s->a;
    a->command = cli_command_of(cli_search);
    json_t *config = cli_config_read(run);
    nas_status status = config ? cli_config_apply(a, config, NULL, run) : nas_error_status();
    status = status ? status : cli_precision_check(a);
    status = status ? status : cli_strategy_open(&s->strategy, a);
    status = status ? status : cli_space_open(&s->space, a->space);
    status = status ? status : cli_apply_settings(a, &s->strategy, &s->space);
    json_decref(config);
    return status ? status : open_data(s);
}

nas_status cli_search_alone(cli_args *a, const char *run, const char *architecture, double share, const char *place,
                            double *metrics) {
    search s = {.a = a};
    nas_status status = read_run(&s, run);
    s.model = status ? NULL : cli_space_model(&s.space);
    nas_trainer_config config = config_of(&s);
    config.strategy = "random"; /* its options do not matter here: the architecture is given */
    s.trainer = s.model ? nas_trainer_new(&config) : NULL;
    nas_architecture *parsed = s.trainer ? nas_architecture_parse(nas_trainer_space(s.trainer), architecture) : NULL;
    status = parsed ? nas__trial_alone(s.trainer, parsed, share, place, metrics) : nas_error_status();
    nas_architecture_free(parsed);
    close_search(&s);
    return status;
}
