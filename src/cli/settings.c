/* settings.c - spaces, strategies and data as the options name them, and --set. */
#include "cli/cli.h"

#include "core/error.h"
#include "core/memory.h"
#include "data/sources.h"

#include <espalier/strategy.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- spaces and strategies ---------------------------------------------------------------------- */
nas_status cli_space_open(cli_space *s, const char *name) {
    char hint[512];
    *s = (cli_space){0};
    for (const nas_space_info *const *i = nas_spaces(); *i; i++) {
        s->info = strcmp((*i)->name, name) == 0 ? *i : s->info;
    }
    if (!s->info) {
        return nas__fail(NAS_USAGE, "unknown space \"%s\"%s", name, cli_hint(name, cli_space_word, hint, sizeof hint));
    }
    s->options = nas__alloc(s->info->options_size ? s->info->options_size : 1);
    return s->options ? nas_options_default(s->info->options, s->options) : nas_error_status();
}

void cli_space_close(cli_space *s) {
    free(s->options);
    *s = (cli_space){0};
}

void cli_space_input(cli_space *s, const nas_dataset_info *info) {
    bool matrix = info->ndim == 2; /* one of 2 dimensions has one channel, a row of a table is one pixel of many */
    const int64_t *dims = info->dims;
    s->config = (nas_space_config){.channels = matrix ? 1 : (int)dims[0],
                                   .height = info->ndim > 1 ? (int)dims[matrix ? 0 : 1] : 1,
                                   .width = info->ndim > 1 ? (int)dims[matrix ? 1 : 2] : 1,
                                   .outputs = info->classes > 0 ? info->classes : info->target_count};
}

nas_module *cli_space_model(const cli_space *s) {
    nas_space_config config = s->config;
    config.options = s->options;
    return nas_space_build(s->info->name, &config);
}

nas_module *cli_space_shallow(const cli_space *s, double share) {
    const nas_option *row = nas_options_find(s->info->options, s->info->depth);
    nas_space_config config = s->config;
    void *options = nas__alloc(s->info->options_size);
    if (!row || !options) {
        free(options);
        return NULL;
    }
    memcpy(options, s->options, s->info->options_size);
    int *depth = (int *)((char *)options + row->offset);
    *depth = share * *depth > 1 ? (int)lround(share * *depth) : 1;
    config.options = options;
    nas_module *model = nas_space_build(s->info->name, &config);
    free(options);
    return model;
}

/* Checks one value of a strategy's option as the strategy itself will, and keeps it as it would be written. */
static nas_status set_strategy(cli_strategy *s, const char *key, const char *value) {
    const nas_option *row = nas_options_find(s->info->options, key);
    union {
        int number;
        double real;
        bool flag;
        char text[NAS_OPTION_TEXT_SIZE];
        nas_list list;
    } field = {0};
    nas_option alone[2] = {*row, {0}};
    alone[0].offset = 0;
    char text[NAS_OPTION_TEXT_SIZE];
    nas_status status = nas_options_set(alone, &field, key, value);
    if (!status) {
        nas_options_get(alone, &field, text, sizeof text);
        json_object_set_new(s->values, key, json_string(text));
    }
    return status;
}

static nas_status find_strategy(cli_strategy *s, const char *name) {
    char hint[512];
    for (const nas_strategy_info *i = nas_strategies(); i->name; i++) {
        s->info = strcmp(i->name, name) == 0 ? i : s->info;
    }
    return s->info ? NAS_OK
                   : nas__fail(NAS_USAGE, "unknown strategy \"%s\"%s", name,
                               cli_hint(name, cli_strategy_word, hint, sizeof hint));
}

/* The plugin's own name takes the place of --strategy, wherever that is shown or stored. */
static nas_status load_strategy(cli_strategy *s, cli_args *a) {
    const nas_strategy *custom = s->custom = cli_plugin_open(a->strategy_plugin);
    if (!custom) {
        return cli_as_usage();
    }
    if (cli_given(a, "strategy") && strcmp(a->strategy, custom->name) != 0) {
        return nas__fail(NAS_USAGE, "--strategy is \"%s\", but the plugin %s holds \"%s\"; leave one of them out",
                         a->strategy, a->strategy_plugin, custom->name);
    }
    s->of_custom = (nas_strategy_info){custom->name, custom->summary, custom->paper, custom->options};
    s->info = &s->of_custom;
    a->strategy = custom->name;
    return NAS_OK;
}

nas_status cli_strategy_open(cli_strategy *s, cli_args *a) {
    *s = (cli_strategy){0};
    if (a->strategy_plugin ? load_strategy(s, a) : find_strategy(s, a->strategy)) {
        return nas_error_status();
    }
    s->values = json_object();
    nas_status status = s->values ? NAS_OK : nas__fail(NAS_NO_MEMORY, "out of memory");
    for (const nas_option *row = s->info->options; !status && row && row->name; row++) {
        status = set_strategy(s, row->name, row->initial);
    }
    return status;
}

void cli_strategy_close(cli_strategy *s) {
    json_decref(s->values);
    *s = (cli_strategy){0};
}

char *cli_strategy_options(const cli_strategy *s) {
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    const char *name, *separator = "";
    json_t *value;
    json_object_foreach(s->values, name, value) {
        if (out) {
            fprintf(out, "%s%s=%s", separator, name, json_string_value(value));
            separator = ",";
        }
    }
    if (!out || fclose(out)) {
        return nas__fail_null(NAS_NO_MEMORY, "out of memory");
    }
    return text;
}

/* --- --set -------------------------------------------------------------------------------------- */
/* Of another strategy: "evolution, tpe"; false: of none. */
static bool strategies_with(const char *key, char *text, size_t size) {
    size_t used = 0;
    for (const nas_strategy_info *i = nas_strategies(); i->name && used < size; i++) {
        if (nas_options_find(i->options, key)) {
            used += (size_t)snprintf(text + used, size - used, "%s%s", used ? ", " : "", i->name);
        }
    }
    return used > 0;
}

static nas_status unknown_key(const char *key, const cli_strategy *strategy, const cli_space *space) {
    const char *names[256];
    char others[512];
    size_t n = 0;
    if (strategy && strategies_with(key, others, sizeof others)) {
        return nas__fail(NAS_USAGE, "--set: %s has no option \"%s\"; that is one of %s", strategy->info->name, key,
                         others);
    }
    for (const nas_option *row = strategy ? strategy->info->options : NULL; row && row->name && n < 128; row++) {
        names[n++] = row->name;
    }
    for (const nas_option *row = space->info->options; row && row->name && n < 256; row++) {
        names[n++] = row->name;
    }
    const char *near = nas__nearest(key, names, n, sizeof *names);
    if (near) {
        return nas__fail(NAS_USAGE, "--set: unknown option \"%s\", did you mean \"%s\"?", key, near);
    }
    return nas__fail(NAS_USAGE,
                     "--set: neither %s nor %s has an option \"%s\"; `espalier list options %s` and `espalier list "
                     "options %s` show all",
                     strategy ? strategy->info->name : "the network", space->info->name, key,
                     strategy ? strategy->info->name : space->info->name, space->info->name);
}

static nas_status apply_one(const char *key, const char *value, cli_strategy *strategy, cli_space *space) {
    bool only_strategy = strncmp(key, "strategy.", 9) == 0, only_space = strncmp(key, "space.", 6) == 0;
    const char *name = only_strategy ? key + 9 : only_space ? key + 6 : key;
    bool in_strategy = strategy && !only_space && nas_options_find(strategy->info->options, name);
    bool in_space = !only_strategy && nas_options_find(space->info->options, name);
    if (in_strategy && in_space) {
        return nas__fail(
            NAS_USAGE,
            "--set: both the strategy %s and the space %s have an option \"%s\"; write strategy.%s=%s or space.%s=%s",
            strategy->info->name, space->info->name, name, name, value, name, value);
    }
    if (!in_strategy && !in_space) {
        return unknown_key(name, strategy, space);
    }
    nas_status status = in_strategy ? set_strategy(strategy, name, value)
                                    : nas_options_set(space->info->options, space->options, name, value);
    return status ? cli_as_usage() : NAS_OK;
}

static nas_status apply_pick(const char *pick, cli_strategy *strategy) {
    if (!strategy || !nas_options_find(strategy->info->options, "pick")) {
        return nas__fail(NAS_USAGE,
                         "--pick chooses from the front of several objectives, and %s finds one network; take "
                         "--strategy nsga2",
                         strategy ? strategy->info->name : "this command");
    }
    return set_strategy(strategy, "pick", pick) ? cli_as_usage() : NAS_OK;
}

nas_status cli_apply_settings(const cli_args *a, cli_strategy *strategy, cli_space *space) {
    nas_status status = a->pick ? apply_pick(a->pick, strategy) : NAS_OK;
    for (int i = 0; i < a->n_set && !status; i++) {
        const char *equal = strchr(a->set[i], '=');
        if (!equal || equal == a->set[i]) {
            return nas__fail(NAS_USAGE, "--set: \"%s\" is not of the form key=value", a->set[i]);
        }
        char *key = nas__strdup(a->set[i]);
        if (!key) {
            return nas_error_status();
        }
        key[equal - a->set[i]] = 0;
        status = apply_one(key, equal + 1, strategy, space);
        free(key);
    }
    return status;
}

json_t *cli_settings_json(const cli_strategy *strategy, const cli_space *space) {
    json_t *all = json_object(), *value;
    char key[160], text[128];
    const char *name;
    if (strategy) {
        json_object_foreach(strategy->values, name, value) {
            snprintf(key, sizeof key, "strategy.%s", name);
            json_object_set(all, key, value);
        }
    }
    for (const nas_option *row = space->info->options; row && row->name; row++) {
        snprintf(key, sizeof key, "space.%s", row->name);
        nas_options_get(row, space->options, text, sizeof text);
        json_object_set_new(all, key, json_string(text));
    }
    return all;
}

void cli_settle_shards(cli_args *a, bool resumed) {
    if (a->shards == 0 && nas_ranks() > 1) {
        a->shards = resumed ? 1 : nas_ranks();
    }
}

/* --- data --------------------------------------------------------------------------------------- */
nas_status cli_data_check(const cli_args *a) {
    const char *spec = a->data;
    char name[64], hint[512];
    snprintf(name, sizeof name, "%.*s", (int)(strcspn(spec, ":") < 60 ? strcspn(spec, ":") : 60), spec);
    for (int i = 0; i < nas__n_data_sources; i++) {
        if (strcmp(nas__data_sources[i].name, name) == 0) {
            return NAS_OK;
        }
    }
    return nas__fail(NAS_USAGE, "unknown data set \"%s\"%s", spec, cli_hint(name, cli_data_word, hint, sizeof hint));
}

nas_dataset *cli_data_open(const cli_args *a, const char *part) {
    nas_dataset *all = cli_data_check(a) ? NULL : nas_dataset_open(a->data, a->data_dir, part), *some = NULL;
    int64_t size = all ? nas_dataset_describe(all)->size : 0;
    if (!all || a->limit_images == 0 || a->limit_images >= size) {
        return all;
    }
    nas_dataset_split(all, (uint64_t)a->seed, 1, (const double[]){(double)a->limit_images / (double)size}, &some);
    nas_dataset_free(all);
    return some;
}

const nas_metric *cli_metrics(const nas_dataset_info *info) {
    return info->classes > 0 ? nas_classification_metrics : nas_regression_metrics;
}
