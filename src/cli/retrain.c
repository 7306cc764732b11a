/* retrain.c - `espalier retrain`: the network that a search found (or any architecture of a space), trained from
 * scratch on all training images and scored once on the test part. */
#include "cli/cli.h"

#include "core/error.h"
#include "core/file.h"
#include "core/memory.h"
#include "run/run.h"
#include "search/op_times.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct retrain {
    cli_args *a;
    const char *run, *out; /* run: of the search, or NULL */
    json_t *search_config, *stored, *settings;
    char *architecture, *config;
    cli_space space;
    nas_budget budget;
    nas_checkpoints checkpoints;
    nas_dataset *train, *valid, *test_data;
    nas_transform transform;
    nas_module *model;
    int epochs;
    double seconds;
    int64_t parameters;
    uint64_t macs;
    nas_evaluation test;
    bool finished;
    nas__op_times times; /* --op-times */
    json_t *result;
} retrain;

/* --- what is asked for -------------------------------------------------------------------------- */
static nas_status choose_directory(retrain *r) {
    const cli_args *a = r->a;
    if (!r->run && !a->arch && !(a->out && a->resume)) {
        return nas__fail(NAS_USAGE, "which network? espalier retrain RUN, or espalier retrain --space S --arch FILE");
    }
    if (!a->out && !r->run && a->resume) {
        return nas__fail(NAS_USAGE, "--resume needs RUN or --out DIR: which run is to go on?");
    }
    r->out = a->out ? a->out
                    : cli_keep(r->run ? cli_retrain_directory(r->run, a->resume)
                                      : nas__run_default_directory("runs", a->space ? a->space : "darts", "retrain"));
    return nas_error_status();
}

nas_status cli_retrain_check(const cli_args *a, nas_budget *budget) {
    nas_status status = cli_budget(a, budget);
    status = status ? status : cli_data_check(a);
    status = status ? status : cli_precision_check(a);
    if (!status && budget->trials) {
        status = nas__fail(NAS_USAGE, "--budget: a retraining evaluates no architectures; minutes=M is what it takes");
    }
    return status;
}

/* Command line, then --config, then the retraining that is resumed, then the search. */
static nas_status read_options(retrain *r) {
    cli_args *a = r->a;
    nas_status status = cli_config_option(a);
    status = status ? status : choose_directory(r);
    if (!status && a->resume) {
        r->stored = cli_config_resumed(a, r->out);
        status = nas_error_status();
    }
    if (!status && r->stored) {
        status = cli_config_apply(a, r->stored, NULL, r->out);
    } else if (!status && r->run) {
        r->search_config = cli_config_read(r->run);
        status =
            r->search_config ? cli_config_apply(a, r->search_config, "data data-dir seed", r->run) : nas_error_status();
    }
    status = status ? status : cli_checkpoints(a, &r->checkpoints);
    cli_settle_shards(a, r->stored != NULL);
    return status ? status : cli_retrain_check(a, &r->budget);
}

static nas_status open_space(retrain *r) {
    cli_args *a = r->a;
    nas_status status;
    if (r->search_config) {
        status = cli_space_stored(&r->space, a, r->search_config, r->run);
    } else {
        if (!a->space) {
            return a->arch ? nas__fail(NAS_USAGE, "--arch FILE needs --space S: of which space is it?")
                           : nas__fail(NAS_USAGE, "--resume: there is no retraining in %s to go on with", r->out);
        }
        status = cli_space_open(&r->space, a->space);
        status = status ? status : cli_apply_settings(a, NULL, &r->space);
    }
    r->settings = status ? NULL : cli_settings_json(NULL, &r->space);
    return status;
}

static nas_status read_architecture(retrain *r) {
    if (r->architecture) {
        return NAS_OK;
    }
    char *path = r->a->arch ? nas__strdup(r->a->arch) : r->run ? nas__join(r->run, "final_architecture.json") : NULL;
    if (path && !r->a->arch && !nas__exists(path)) {
        nas__fail(NAS_NOT_FOUND,
                  "%s has no final_architecture.json: its search has not found anything yet; `espalier search --out %s "
                  "--resume` goes on "
                  "with it",
                  r->run, r->run);
    } else if (path) {
        r->architecture = nas__read_text(path);
    } else if (r->stored) {
        r->architecture = json_dumps(json_object_get(r->stored, "architecture"), 0);
    }
    free(path);
    return nas_error_status();
}

static json_t *architecture_json(const retrain *r) {
    json_t *json = json_loads(r->architecture, 0, NULL);
    return json ? json : json_null();
}

static nas_status compare_stored(const retrain *r) {
    if (!r->stored) {
        return NAS_OK;
    }
    json_t *now = architecture_json(r);
    bool same = json_equal(now, json_object_get(r->stored, "architecture"));
    json_decref(now);
    if (!same) {
        return nas__fail(NAS_USAGE,
                         "--resume: the architecture is not the one that %s was started with; start a new retraining",
                         r->out);
    }
    return cli_config_compare(r->a, r->settings, r->stored, r->out, false);
}

/* --- data and model ----------------------------------------------------------------------------- */
static nas_status open_data(retrain *r) {
    const cli_args *a = r->a;
    cli_args whole = *a;
    whole.limit_images = 0;
    r->test_data = cli_data_open(&whole, "test"); /* what is wrong with it shows before hours of training */
    nas_dataset *all = r->test_data ? cli_data_open(a, "train") : NULL;
    if (!all) {
        return nas_error_status();
    }
    const nas_dataset_info *info = nas_dataset_describe(all);
    cli_space_input(&r->space, info);
    r->transform = nas_transform_default(all, true);
    r->transform.cutout = (int)a->cutout;
    if (a->valid_share == 0) {
        r->train = all;
        return nas_error_status();
    }
    nas_dataset *parts[2] = {0};
    nas_dataset_split(all, (uint64_t)a->seed, 2, (const double[]){1 - a->valid_share, a->valid_share}, parts);
    r->train = parts[0];
    r->valid = parts[1];
    nas_dataset_free(all);
    return nas_error_status();
}

static nas_status inherit(const retrain *r) {
    const char *run = r->run ? r->run : json_string_value(json_object_get(r->stored, "search"));
    char *path = run ? nas__checkpoint_newest(run) : NULL;
    int loaded = 0;
    if (!path && !nas_error_status()) {
        return nas__fail(NAS_NOT_FOUND, "--inherit: %s has no checkpoint with the search's weights",
                         run ? run : "no RUN is given, which");
    }
    if (!path) {
        return nas_error_status();
    }
    nas_status status = nas_initialise(r->model, (uint64_t)r->a->seed);
    status = status ? status : nas_inherit_weights(r->model, path, &loaded);
    if (!status) {
        cli_note("%d parameters and buffers inherited from %s", loaded, path);
    }
    free(path);
    return status;
}

static nas_status build(retrain *r) {
    const nas_space_config *c = &r->space.config;
    r->model = cli_space_model(&r->space);
    nas_status status = r->model ? nas_apply_fixed_architecture_text(r->model, r->architecture) : nas_error_status();
    if (status) {
        return r->a->arch ? nas__error_context("%s", r->a->arch)
                          : nas__error_context("%s/final_architecture.json", r->run ? r->run : r->out);
    }
    const nas_dataset_info *info = nas_dataset_describe(r->train);
    status = nas_model_cost(r->model, info->ndim, info->dims, &r->macs, &r->parameters);
    cli_note("%s: %lld parameters, %llu multiply-adds for one image of %dx%dx%d; run directory %s", r->space.info->name,
             (long long)r->parameters, (unsigned long long)r->macs, c->channels, c->height, c->width, r->out);
    return status || !r->a->inherit ? status : inherit(r);
}

/* --- training ----------------------------------------------------------------------------------- */
static float smoothing; /* a loss has no argument of its own, and a process runs one training */
static nas_tensor *smooth_loss(nas_tensor *output, nas_tensor *target) {
    return nas_cross_entropy_smooth(output, target, smoothing);
}

static bool on_epoch(const nas_progress *p, void *user) {
    retrain *r = user;
    r->epochs = p->step >= p->steps_per_epoch ? p->epoch : p->epoch - 1;
    r->seconds = p->seconds;
    return false;
}

static nas_status describe(retrain *r) {
    json_t *more = json_object();
    json_object_set_new(more, "architecture", architecture_json(r));
    json_object_set_new(more, "network", cli_network_json(&r->space, r->train, &r->transform));
    if (r->run) {
        json_object_set_new(more, "search", json_string(r->run));
    }
    r->config = cli_config_text(r->a, r->settings, more);
    return nas_error_status();
}

/* Beside the weights, so that the directory says by itself what they are of. */
static nas_status write_architecture(const retrain *r) {
    char *path = nas_rank() > 0 ? NULL : nas__join(r->out, "final_architecture.json");
    nas_status status = path ? nas__write_file(path, r->architecture, strlen(r->architecture)) : nas_error_status();
    free(path);
    return status;
}

static nas_status fit(retrain *r) {
    const cli_args *a = r->a;
    bool classes = nas_dataset_describe(r->train)->classes > 0;
    smoothing = (float)a->label_smoothing;
    nas_fit_config config = {
        .model = r->model,
        .space_name = r->space.info->name,
        .loss = smoothing > 0 && classes ? smooth_loss : NULL,
        .optimizer = nas_sgd(.lr = a->lr, .momentum = 0.9, .nesterov = true, .weight_decay = a->weight_decay),
        .drop_path = a->drop_path,
        .batch_size = a->batch,
        .num_epochs = (int)a->epochs,
        .dataset_train = r->train,
        .dataset_valid = r->valid,
        .transform = &r->transform,
        .log_frequency = a->log_frequency         ? (int)a->log_frequency
                         : cli_terminal_is_live() ? NAS_NONE
                                                  : 0,
        .seed = (uint64_t)a->seed,
        .threads = (int)a->threads,
        .shards = (int)a->shards,
        .precision = cli_precision(a),
        .budget = r->budget,
        .limit_batches = a->limit_batches,
        .keep_weights = a->inherit,
        .run_dir = r->out,
        .resume = a->resume,
        .checkpoints = r->checkpoints,
        .run_config = r->config,
        .command = a->command_line,
        .stop = &cli_signal,
        .on_epoch = on_epoch,
        .on_step = cli_progress,
        .user = r,
    };
    if (a->op_times) {
        nas__op_times_start(&r->times);
    }
    nas_status status = nas_fit(&config, &r->epochs);
    if (a->op_times) {
        nas__op_times_stop(&r->times);
    }
    cli_progress_end();
    return status;
}

/* The one look at the test part. */
static nas_status score(retrain *r) {
    nas_transform plain = r->transform;
    plain.crop_padding = plain.cutout = 0;
    plain.flip = false;
    nas_status status = nas_evaluate(
        &(nas_evaluate_config){
            .model = r->model, .data = r->test_data, .transform = &plain, .limit_batches = r->a->limit_batches},
        &r->test);
    int64_t all = nas_dataset_describe(r->test_data)->size;
    if (!status && r->test.images < all) {
        cli_note("scored on %lld of the %lld images of the test part (--limit-batches)", (long long)r->test.images,
                 (long long)all);
    }
    r->finished = !status;
    return status;
}

/* --- the result --------------------------------------------------------------------------------- */
/* `reason`: why it failed, or NULL */
static json_t *result_json(const retrain *r, const char *reason) {
    json_t *result = json_object(), *metrics = json_object();
    if (r->finished) {
        const nas_metric *names = cli_metrics(nas_dataset_describe(r->train));
        for (int i = 0; names[i].name; i++) {
            json_object_set_new(metrics, names[i].name, json_real(r->test.metrics[i]));
        }
        json_object_set_new(metrics, "loss", json_real(r->test.loss));
    }
    json_object_set_new(result, "run", json_string(r->out));
    json_object_set_new(result, "status", json_string(reason ? "failed" : r->finished ? "finished" : "stopped"));
    if (reason) {
        json_object_set_new(result, "reason", json_string(reason));
    }
    json_object_set_new(result, "space", json_string(r->space.info->name));
    json_object_set_new(result, "data", json_string(r->a->data));
    json_object_set_new(result, "epochs", json_integer(r->epochs));
    json_object_set_new(result, "seconds", json_real(r->seconds));
    json_object_set_new(result, "parameters", json_integer(r->parameters));
    json_object_set_new(result, "macs", json_integer((json_int_t)r->macs));
    json_object_set_new(result, "split", json_string("test"));
    json_object_set_new(result, "images", json_integer(r->test.images));
    json_object_set_new(result, "metrics", metrics);
    if (r->times.n > 0) {
        json_object_set_new(result, "ops", cli_op_times_json(&r->times, 1));
    }
    return result;
}

static bool is_done(const retrain *r, json_t *result) {
    const char *status = json_string_value(json_object_get(result, "status"));
    json_t *options = json_object_get(r->stored, "options");
    const char *budget = json_string_value(json_object_get(options, "budget"));
    return status && strcmp(status, "finished") == 0 &&
           strcmp(budget ? budget : "", r->a->budget ? r->a->budget : "") == 0 &&
           r->a->epochs <= json_integer_value(json_object_get(options, "epochs"));
}

/* A training whose numbers broke down is a result, too: result.json says so. The error stays the thread's. */
static void keep_failure(retrain *r) {
    char message[1024];
    snprintf(message, sizeof message, "%s", nas_error_message());
    nas_error_clear();
    r->result = result_json(r, message);
    if (cli_json_write(r->out, "result.json", r->result)) {
        nas_error_clear(); /* what went wrong first is what matters */
    }
    nas__fail(NAS_NUMERIC, "%s", message);
}

static nas_status run(retrain *r) {
    nas_status status = open_data(r);
    status = status ? status : build(r);
    status = status ? status : describe(r);
    status = status ? status : fit(r);
    status = status ? status : write_architecture(r);
    status = status || cli_signal ? status : score(r);
    if (status == NAS_NUMERIC) {
        keep_failure(r);
    }
    if (status) {
        return status;
    }
    r->result = result_json(r, NULL);
    return cli_json_write(r->out, "result.json", r->result);
}

static void close_retrain(retrain *r) {
    nas_module_free(r->model);
    nas_dataset_free(r->train);
    nas_dataset_free(r->valid);
    nas_dataset_free(r->test_data);
    cli_space_close(&r->space);
    json_decref(r->search_config);
    json_decref(r->stored);
    json_decref(r->settings);
    free(r->architecture);
    free(r->config);
}

nas_status cli_retrain_one(cli_args *a, const char *architecture, json_t **result) {
    retrain r = {.a = a, .run = a->n_names ? a->names[0] : NULL};
    r.architecture = architecture ? nas__strdup(architecture) : NULL;
    nas_status status = read_options(&r);
    status = status ? status : open_space(&r);
    status = status ? status : read_architecture(&r);
    status = status ? status : compare_stored(&r);
    status = status ? status : cli_directory_check(r.out, a->resume);
    r.result = status || !r.stored ? NULL : cli_json_read(r.out, "result.json");
    if (r.result && is_done(&r, r.result)) {
        cli_note("%s is finished already", r.out);
    } else if (!status) {
        json_decref(r.result);
        r.result = NULL;
        run(&r);
    }
    *result = r.result;
    close_retrain(&r);
    return nas_error_status();
}

static void print_human(json_t *result) {
    char time[32], parameters[32], macs[32];
    const char *name, *out = json_string_value(json_object_get(result, "run"));
    json_t *metrics = json_object_get(result, "metrics"), *value;
    printf("%sRetraining %s%s: %lld epoch%s in %s\n", cli_bold(stdout),
           json_string_value(json_object_get(result, "status")), cli_plain(stdout),
           (long long)json_integer_value(json_object_get(result, "epochs")),
           json_integer_value(json_object_get(result, "epochs")) == 1 ? "" : "s",
           cli_duration(json_number_value(json_object_get(result, "seconds")), time, sizeof time));
    json_object_foreach(metrics, name, value) { printf("  test      %s %.4f\n", name, json_number_value(value)); }
    bool scored = json_object_size(metrics) > 0;
    if (!scored) {
        printf("  test      not scored: that is done once, at the end\n");
    }
    printf("  network   %s parameters, %s multiply-adds per image\n  files     %s, the weights in "
           "%s/weights.safetensors\n  next      espalier %s%s%s\n",
           cli_count(json_number_value(json_object_get(result, "parameters")), parameters, sizeof parameters),
           cli_count(json_number_value(json_object_get(result, "macs")), macs, sizeof macs), out, out,
           scored ? "eval " : "retrain --out ", out, scored ? "" : " --resume");
}

nas_status cli_retrain(cli_args *a) {
    json_t *result = NULL;
    if (!cli_retrain_one(a, NULL, &result)) {
        if (a->json) {
            return cli_print_json(result);
        }
        print_human(result);
        cli_op_times_print(json_object_get(result, "ops"));
    }
    json_decref(result);
    return nas_error_status();
}
