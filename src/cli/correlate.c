/* correlate.c - `espalier correlate`: random networks of a run's space, ranked by the search's score, by their size and
 * by scores of random weights, against what they are worth: trained alone, or by a table. */
#include "cli/correlate.h"

#include "cli/compare.h"
#include "core/error.h"
#include "core/file.h"
#include "core/memory.h"
#include "search/trainer.h"
#include "search/truth.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PURPOSE = 0x636f7272, LOOK = 64 };

typedef struct correlate {
    cli_correlation c;
    cli_args as_search; /* the options of the search */
    json_t *config;
    cli_strategy strategy;
    cli_space space;
    cli_parts parts;
    nas_module *model;
    nas_trainer *trainer; /* the search as it ended, with its shared weights */
    bool shared;          /* it has some */
    nas__truth *truth;
    char **architectures; /* JSON, c.n */
    cli_comparison trainings;
} correlate;

/* --- the search, as it ended ------------------------------------------------------------------------------------- */
/* Searches by trials have shared weights when they were told to. */
static bool has_shared_weights(const correlate *s) {
    const char *evaluate = json_string_value(json_object_get(s->strategy.values, "evaluate"));
    return !evaluate || strcmp(evaluate, "shared") == 0;
}

static nas_module *new_model(void *user) { return cli_space_model(&((correlate *)user)->space); }

static nas_status open_data(correlate *s) {
    nas_dataset *train = cli_data_open(&s->as_search, "train");
    if (!train) {
        return nas_error_status();
    }
    cli_space_input(&s->space, nas_dataset_describe(train));
    nas_status status = cli_parts_open(&s->parts, &s->strategy, (uint64_t)s->as_search.seed, train);
    nas_dataset_free(train);
    return status;
}

/* Nothing is written to the run: the trainer has no directory. */
static nas_status open_trainer(correlate *s) {
    const cli_args *a = &s->as_search;
    char *options = cli_strategy_options(&s->strategy);
    int epochs = 0;
    s->model = options ? cli_space_model(&s->space) : NULL;
    if (s->model) {
        s->trainer = nas_trainer_new(
            &(nas_trainer_config){.model = s->model,
                                  .strategy = s->strategy.info->name,
                                  .custom = s->strategy.custom,
                                  .space_name = s->space.info->name,
                                  .options = options,
                                  .optimizer = nas_sgd(.lr = a->lr, .momentum = 0.9, .weight_decay = a->weight_decay),
                                  .batch_size = a->batch,
                                  .num_epochs = (int)a->epochs,
                                  .dataset_train = s->parts.train,
                                  .dataset_valid = s->parts.arch ? s->parts.arch : s->parts.valid,
                                  .dataset_score = s->parts.arch ? s->parts.valid : NULL,
                                  .log_frequency = NAS_NONE,
                                  .seed = (uint64_t)a->seed,
                                  .threads = (int)s->c.a->threads,
                                  .limit_batches = a->limit_batches,
                                  .score_steps = (int)a->score_steps,
                                  .new_model = new_model,
                                  .user = s});
    }
    free(options);
    nas_status status = s->trainer ? nas__checkpoint_load(s->trainer, s->c.run, &epochs) : nas_error_status();
    return status || epochs > 0 || !s->shared ? status
                                              : nas__fail(NAS_NOT_FOUND,
                                                          "%s has no checkpoint with shared weights: its "
                                                          "search has not finished an epoch",
                                                          s->c.run);
}

static nas_status open_search(correlate *s) {
    cli_args *a = s->c.a;
    s->as_search = (cli_args){.command = cli_command_of(cli_search), .threads = a->threads, .quiet = a->quiet};
    s->config = cli_config_read(s->c.run);
    nas_status status = s->config ? cli_config_apply(&s->as_search, s->config, NULL, s->c.run) : nas_error_status();
    if (!status && !s->as_search.strategy) {
        status = nas__fail(NAS_USAGE, "%s is no search", s->c.run);
    }
    status = status ? status : cli_strategy_open(&s->strategy, &s->as_search);
    status = status ? status : cli_space_open(&s->space, s->as_search.space);
    status = status ? status : cli_apply_settings(&s->as_search, &s->strategy, &s->space);
    s->shared = !status && has_shared_weights(s);
    if (!status && !s->shared && !a->truth) {
        status = nas__fail(NAS_USAGE,
                           "%s has no shared weights whose ranking could be judged; with --truth "
                           "FILE.csv,seen=COL,truth=COL two columns of a table are compared",
                           s->c.run);
    }
    status = status ? status : open_data(s);
    return status ? status : open_trainer(s);
}

/* --- the networks ------------------------------------------------------------------------------------------------ */
static nas_status room_for(correlate *s, int n) {
    cli_correlation *c = &s->c;
    c->names = nas__alloc((size_t)n * sizeof *c->names);
    s->architectures = nas__alloc((size_t)n * sizeof *s->architectures);
    c->truth = nas__alloc((size_t)n * sizeof *c->truth);
    for (int i = 0; i < CLI_RANKERS; i++) {
        bool wanted = i < CLI_PROXIES || !s->c.a->no_proxies;
        c->by[i] = wanted ? nas__alloc((size_t)n * sizeof(double)) : NULL;
    }
    return nas_error_status();
}

static nas_architecture *architecture_of(const correlate *s, const nas__truth_row *row) {
    const nas_space *space = nas_trainer_space(s->trainer);
    nas_architecture *a =
        s->space.info->parse ? s->space.info->parse(space, row->arch) : nas_architecture_parse(space, row->arch);
    if (!a) {
        nas__error_context("%s:%lld", s->truth->path, (long long)row->line);
    }
    return a;
}

/* Random rows of the table; all of them when it has no more. */
static nas_status draw_known(correlate *s) {
    int64_t rows = s->truth->n, *order = nas__alloc((size_t)rows * sizeof *order);
    double sign = s->truth->lower_is_better ? -1 : 1;
    nas_rng rng = nas_rng_new((uint64_t)s->c.a->seed, PURPOSE);
    for (int64_t i = 0; order && i < rows; i++) { /* Fisher and Yates, from the inside out */
        int64_t other = nas_rng_below(&rng, (uint32_t)i + 1);
        order[i] = order[other];
        order[other] = i;
    }
    for (int64_t i = 0; order && i < rows && s->c.n < s->c.a->samples && !nas_error_status(); i++) {
        const nas__truth_row *row = &s->truth->rows[order[i]];
        nas_architecture *one = architecture_of(s, row);
        s->c.truth[s->c.n] = sign * row->truth;
        s->c.by[CLI_SCORE][s->c.n] = sign * row->seen;
        s->architectures[s->c.n] = one ? nas_architecture_json(one, false) : NULL;
        s->c.n += s->architectures[s->c.n] != NULL;
        nas_architecture_free(one);
    }
    free(order);
    return nas_error_status();
}

/* As `espalier compare` draws and trains them. */
static nas_status train(correlate *s) {
    cli_comparison *t = &s->trainings;
    cli_args *a = s->c.a;
    a->random = a->samples;
    a->seeds = 1;
    *t = (cli_comparison){.a = a, .run = s->c.run, .out = s->c.out, .n_seeds = 1, .notes = json_array()};
    nas_status status = cli_compare_train(t);
    for (int i = 1; i < t->n_rivals && !status; i++) {
        double value;
        const nas_metric *metric = cli_first_metric(t->rivals[i].results[0], &value);
        if (metric && isfinite(value)) {
            s->c.truth[s->c.n] = metric->lower_is_better ? -value : value;
            s->architectures[s->c.n++] = nas__strdup(t->rivals[i].architecture);
        }
    }
    return status;
}

/* --- what ranks them --------------------------------------------------------------------------------------------- */
static nas_module *alone(const correlate *s, const char *architecture) {
    nas_module *model = cli_space_model(&s->space);
    if (model && (nas_apply_fixed_architecture_text(model, architecture) ||
                  nas_initialise(model, (uint64_t)s->as_search.seed))) {
        nas_module_free(model);
        model = NULL;
    }
    return model;
}

static nas_status measure_size(correlate *s, int k) {
    const nas_dataset_info *info = nas_dataset_describe(s->parts.train);
    nas_module *model = alone(s, s->architectures[k]);
    uint64_t macs = 0;
    int64_t parameters = 0;
    nas_status status = model ? nas_model_cost(model, info->ndim, info->dims, &macs, &parameters) : nas_error_status();
    s->c.by[CLI_MACS][k] = (double)macs;
    s->c.by[CLI_PARAMETERS][k] = (double)parameters;
    nas_module_free(model);
    return status;
}

static nas_status measure_proxies(correlate *s, int k, const nas_batch *batch) {
    nas__proxy_look look = {batch, nas_dataset_describe(s->parts.train), nas__loss_for(NULL, s->parts.train)};
    for (int i = 0; i < NAS__PROXIES && !nas_error_status(); i++) {
        nas_module *model = alone(s, s->architectures[k]);
        double *score = &s->c.by[CLI_PROXIES + i][k];
        if (model && nas__proxy_score(model, (nas__proxy)i, &look, score) == NAS_NUMERIC) {
            nas_error_clear();
            *score = -INFINITY;
        }
        nas_module_free(model);
    }
    return nas_error_status();
}

static nas_status measure_score(correlate *s, int k) {
    nas_architecture *a = nas_architecture_parse(nas_trainer_space(s->trainer), s->architectures[k]);
    nas_status status = a ? NAS_OK : nas_error_status();
    if (a && s->shared) {
        double score = NAN;
        status = nas_search_score(&s->trainer->s, a, &score);
        bool lower = s->trainer->s.config->metrics[0].lower_is_better;
        s->c.by[CLI_SCORE][k] = isnan(score) ? -INFINITY : lower ? -score : score;
    }
    s->c.names[k] = a ? nas__canonical_name(s->space.info->name, a) : NULL;
    nas_architecture_free(a);
    return status ? status : nas_error_status();
}

static nas_status measure(correlate *s) {
    int64_t size = nas_dataset_describe(s->parts.train)->size;
    nas_loader *loader = nas_loader_new(&(nas_loader_config){.data = s->parts.train,
                                                             .batch_size = size < LOOK ? size : LOOK,
                                                             .transform = nas_transform_default(s->parts.train, false),
                                                             .workers = NAS_NONE});
    const nas_batch *batch = loader ? nas_loader_next(loader) : NULL;
    nas_status status = nas_error_status();
    for (int k = 0; !status && batch && k < s->c.n; k++) {
        if (cli_signal) {
            status = nas__fail(NAS_INTERRUPTED, "interrupted");
        }
        status = status ? status : measure_score(s, k);
        status = status ? status : measure_size(s, k);
        status = status || s->c.a->no_proxies ? status : measure_proxies(s, k, batch);
    }
    nas_loader_free(loader);
    return status ? status : nas_error_status();
}

/* --- the command ------------------------------------------------------------------------------------------------- */
static nas_status show(correlate *s) {
    json_t *result = cli_correlate_json(&s->c);
    char *path = nas__join(s->c.out, "correlation.svg");
    nas_status status = path ? nas__make_directory(s->c.out) : nas_error_status();
    status = status ? status : cli_correlate_svg(&s->c, path);
    status = status ? status : cli_json_write(s->c.out, "correlation.json", result);
    if (!status && s->c.a->json) {
        status = cli_print_json(json_incref(result));
    } else if (!status) {
        cli_correlate_print(result);
        printf("numbers and picture: %s/correlation.json, .svg\n", s->c.out);
    }
    json_decref(result);
    free(path);
    return status;
}

static nas_status run(correlate *s) {
    cli_args *a = s->c.a;
    nas_status status = open_search(s);
    bool lower = !status && s->trainer->s.config->metrics[0].lower_is_better;
    if (!status && a->truth) {
        s->truth = nas__truth_open(a->truth, lower);
        status = s->truth ? NAS_OK : nas_error_status();
    }
    s->c.score = s->shared ? "shared weights" : "column seen of the table";
    s->c.kind = a->truth ? "table" : "trained alone, test part";
    status = status ? status : room_for(s, (int)a->samples);
    status = status ? status : a->truth ? draw_known(s) : train(s);
    if (!status && s->c.n < 3) {
        status = nas__fail(NAS_UNSUPPORTED, "only %d networks have a result; three are needed at least", s->c.n);
    }
    status = status ? status : measure(s);
    return status ? status : show(s);
}

static void close_all(correlate *s) {
    for (int i = 0; i < s->c.n; i++) {
        free(s->c.names[i]);
        free(s->architectures[i]);
    }
    for (int i = 0; i < CLI_RANKERS; i++) {
        free(s->c.by[i]);
    }
    free(s->c.names);
    free(s->c.truth);
    free(s->architectures);
    if (s->trainings.notes) {
        cli_compare_close(&s->trainings);
    }
    nas__truth_free(s->truth);
    nas_trainer_free(s->trainer);
    nas_module_free(s->model);
    cli_parts_close(&s->parts);
    cli_space_close(&s->space);
    cli_strategy_close(&s->strategy);
    json_decref(s->config);
}

nas_status cli_correlate(cli_args *a) {
    correlate s = {.c = {.a = a, .run = a->names[0]}};
    s.c.out = a->out ? a->out : cli_keep(nas__format("%s/correlate", s.c.run));
    if (s.c.out) {
        run(&s);
    }
    close_all(&s);
    return nas_error_status();
}
