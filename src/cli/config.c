/* config.c - config.json: everything needed to repeat a run, read back by --resume, --config and the later subcommands.
 */
#include "cli/cli.h"

#include "core/error.h"
#include "core/file.h"
#include "core/memory.h"
#include "run/run.h"

#include <stdlib.h>
#include <string.h>

enum { FORMAT = 1 };

static json_t *option_json(const cli_args *a, const cli_option *option) {
    char text[64];
    const char *value = cli_option_text(a, option, text, sizeof text);
    const void *field = (const char *)a + option->offset;
    switch (option->type) {
    case CLI_FLAG:
        return json_boolean(*(const bool *)field);
    case CLI_INT: /* 0 outside the range is what stands for "not given", and could not be read back */
        return *(const int64_t *)field == 0 && option->min > 0 ? NULL : json_integer(*(const int64_t *)field);
    case CLI_REAL:
        return json_real(*(const double *)field);
    default:
        return value ? json_string(value) : NULL;
    }
}

static json_t *options_json(const cli_args *a) {
    json_t *options = json_object();
    for (int i = 0; i < cli_n_options; i++) {
        const cli_option *option = &cli_options[i];
        json_t *value = option->resume != CLI_FREE && cli_takes(a->command, option) ? option_json(a, option) : NULL;
        if (value) {
            json_object_set_new(options, option->name, value);
        }
    }
    return options;
}

char *cli_config_text(const cli_args *a, json_t *settings, json_t *more) {
    char *machine = nas__machine_json();
    json_t *options = options_json(a), *root = json_object();
    /* those of a file or of an earlier segment are not in force yet */
    json_object_set_new(options, "threads", json_integer(a->threads > 0 ? a->threads : nas_threads()));
    json_object_set(options, "set", settings);
    json_object_set_new(root, "format", json_integer(FORMAT));
    json_object_set_new(root, "espalier", json_string(nas_version()));
    json_object_set_new(root, "command", json_string(a->command->name));
    json_object_set_new(root, "command_line", json_string(a->command_line));
    json_object_set_new(root, "options", options);
    if (cli_takes(a->command, cli_option_find("precision"))) { /* what was decided here */
        json_object_set_new(root, "plan", json_pack("{s:s}", "precision", cli_precision_in_effect(a)));
    }
    if (more) {
        json_object_update(root, more);
        json_decref(more);
    }
    json_object_set_new(root, "machine", machine ? json_loads(machine, 0, NULL) : json_null());
    char *text = json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
    json_decref(root);
    free(machine);
    return text ? text : nas__fail_null(NAS_NO_MEMORY, "config.json cannot be written");
}

json_t *cli_json_read(const char *directory, const char *name) {
    char *path = nas__join(directory, name);
    char *text = path && nas__exists(path) ? nas__read_text(path) : NULL;
    json_error_t error;
    json_t *json = text ? json_loads(text, 0, &error) : NULL;
    if (text && !json_is_object(json)) {
        nas__fail(NAS_PARSE, "%s is damaged: line %d: %s", path, error.line, json ? "not an object" : error.text);
        json_decref(json);
        json = NULL;
    }
    free(text);
    free(path);
    return json;
}

nas_status cli_json_write(const char *directory, const char *name, json_t *json) {
    if (nas_rank() > 0) {
        return NAS_OK;
    }
    char *path = nas__join(directory, name), *text = json_dumps(json, JSON_INDENT(2) | JSON_REAL_PRECISION(12));
    nas_status status =
        path && text ? nas__write_file(path, text, strlen(text)) : nas__fail(NAS_NO_MEMORY, "%s: out of memory", name);
    free(path);
    free(text);
    return status;
}

json_t *cli_config_read(const char *directory) {
    if (!nas__is_directory(directory)) {
        return nas__fail_null(NAS_NOT_FOUND, "%s: no such run directory", directory);
    }
    json_t *config = cli_json_read(directory, "config.json");
    if (!config && !nas_error_status()) {
        return nas__fail_null(NAS_NOT_FOUND, "%s is no run directory: it has no config.json", directory);
    }
    if (config && !json_is_object(json_object_get(config, "options"))) {
        json_decref(config);
        return nas__fail_null(NAS_PARSE, "%s/config.json has no \"options\"", directory);
    }
    return config;
}

json_t *cli_config_resumed(const cli_args *a, const char *directory) {
    json_t *config = nas__is_directory(directory) ? cli_json_read(directory, "config.json") : NULL;
    const char *command = json_string_value(json_object_get(config, "command"));
    const char *now = a->command->name;
    if (config && (!command || !json_is_object(json_object_get(config, "options")))) {
        nas__fail(NAS_PARSE, "--resume: %s/config.json is damaged: it has no \"%s\"", directory,
                  command ? "options" : "command");
    } else if (config && strcmp(command, now) != 0) {
        nas__fail(NAS_USAGE,
                  "--resume: the run in %s is of `espalier %s`, not of `espalier %s`: that one goes on with it",
                  directory, command, now);
    } else {
        return config;
    }
    json_decref(config);
    return NULL;
}

/* --- taking options from a file ----------------------------------------------------------------- */
static const char *value_text(json_t *value, char *text, size_t size) {
    if (json_is_string(value)) {
        return json_string_value(value);
    }
    if (json_is_integer(value)) {
        snprintf(text, size, "%lld", (long long)json_integer_value(value));
    } else if (json_is_real(value)) {
        snprintf(text, size, "%.17g", json_real_value(value));
    } else if (json_is_boolean(value)) {
        snprintf(text, size, "%d", json_is_true(value));
    } else {
        return NULL;
    }
    return text;
}

/* Settings of the file go before those of the command line, so that the latter win. Of a file those of the space are
 * enough for subcommands without a strategy. */
static nas_status apply_settings(cli_args *a, json_t *set, const char *origin) {
    const char *given[CLI_MOST_SETTINGS], *key;
    int n_given = a->n_set;
    bool strategies = cli_takes(a->command, cli_option_find("strategy"));
    char text[64];
    json_t *value;
    if (!json_is_object(set)) {
        return nas__fail(NAS_USAGE, "%s: \"set\" is not an object", origin);
    }
    memcpy(given, a->set, sizeof given);
    a->n_set = 0;
    json_object_foreach(set, key, value) {
        const char *written = value_text(value, text, sizeof text);
        if (!written || a->n_set + n_given >= CLI_MOST_SETTINGS) {
            return nas__fail(NAS_USAGE, "%s: \"set\": \"%s\" needs a text, a number or a boolean", origin, key);
        }
        if (strategies || strncmp(key, "strategy.", 9) != 0) {
            a->set[a->n_set++] = cli_keep(nas__format("%s=%s", key, written));
        }
    }
    memcpy(a->set + a->n_set, given, (size_t)n_given * sizeof *given);
    a->n_set += n_given;
    return nas_error_status();
}

/* Is `name` in the list "a b c"? A NULL list has all. */
static bool among(const char *list, const char *name) {
    size_t n = strlen(name);
    for (const char *p = list ? list : ""; *p; p += strcspn(p, " "), p += strspn(p, " ")) {
        if (strcspn(p, " ") == n && strncmp(p, name, n) == 0) {
            return true;
        }
    }
    return !list;
}

nas_status cli_config_apply(cli_args *a, json_t *config, const char *only, const char *origin) {
    json_t *options = json_object_get(config, "options"), *value;
    const char *key;
    char text[64];
    nas_status status = NAS_OK;
    if (options && !json_is_object(options)) {
        return nas__fail(NAS_USAGE, "%s: \"options\" is not an object", origin);
    }
    json_object_foreach(options ? options : config, key, value) {
        if (!status && strcmp(key, "set") == 0) {
            status = apply_settings(a, value, origin);
            continue;
        }
        const cli_option *option = cli_option_find(key);
        if (!option) {
            return nas__fail(NAS_USAGE, "%s: \"%s\" is no option", origin, key);
        }
        const char *written = value_text(value, text, sizeof text);
        if (!written) {
            return nas__fail(NAS_USAGE, "%s: \"%s\" needs a text, a number or a boolean", origin, key);
        }
        if (!status && among(only, key) && cli_takes(a->command, option) && !cli_given(a, key)) {
            status = cli_set_option(a, option, cli_keep(nas__strdup(written)));
        }
    }
    return status ? status : nas_error_status();
}

nas_status cli_config_option(cli_args *a) {
    if (!a->config) {
        return NAS_OK;
    }
    char *text = nas__read_text(a->config);
    json_error_t error;
    json_t *json = text ? json_loads(text, 0, &error) : NULL;
    nas_status status = nas_error_status();
    if (text && !json_is_object(json)) {
        status = nas__fail(NAS_USAGE, "--config: %s is no JSON object: line %d: %s", a->config, error.line,
                           json ? "something else" : error.text);
    }
    status = status ? status : cli_config_apply(a, json, NULL, a->config);
    for (int i = 0; !status && i < cli_n_options; i++) { /* what the file says stands like the command line's */
        json_t *options = json_object_get(json, "options");
        bool said = json_object_get(options ? options : json, cli_options[i].name) && cli_options[i].type != CLI_LIST;
        a->given[i] |= said && cli_takes(a->command, &cli_options[i]);
    }
    free(text);
    json_decref(json);
    return status;
}

/* --- what --resume may not change --------------------------------------------------------------- */
static nas_status changed(const char *directory, const char *name, const char *before, const char *now) {
    return nas__fail(NAS_USAGE,
                     "%s was %s in %s and is %s now; leave it out to go on there, or start anew with another --out",
                     name, before, directory, now);
}

/* For people: numbers in few digits. */
static const char *said(json_t *value, char *text, size_t size) {
    if (json_is_real(value)) {
        snprintf(text, size, "%g", json_real_value(value));
        return text;
    }
    const char *written = value ? value_text(value, text, size) : "not given";
    return written ? written : "?";
}

static nas_status compare_option(const cli_args *a, const cli_option *option, json_t *before, const char *directory,
                                 bool exactly) {
    char now_text[64], before_text[64];
    json_t *now = option_json(a, option);
    const char *x = said(now, now_text, sizeof now_text), *y = said(before, before_text, sizeof before_text);
    bool same = now && before && json_is_number(now) && json_is_number(before)
                    ? json_number_value(now) == json_number_value(before)
                    : strcmp(x, y) == 0;
    bool allowed = !exactly && (option->resume == CLI_MAY_CHANGE ||
                                (option->resume == CLI_MAY_GROW && json_number_value(now) > json_number_value(before)));
    char name[80];
    snprintf(name, sizeof name, "--%s", option->name);
    nas_status status = same || allowed ? NAS_OK : changed(directory, name, y, x);
    if (!same && allowed) {
        cli_note("--%s was %s and is %s now: the result is no longer bit-identical to an uninterrupted run",
                 option->name, y, x);
    }
    json_decref(now);
    return status;
}

nas_status cli_config_compare(const cli_args *a, json_t *settings, json_t *stored, const char *directory,
                              bool exactly) {
    json_t *options = json_object_get(stored, "options"), *set = json_object_get(options, "set"), *value;
    nas_status status = NAS_OK;
    for (int i = 0; !status && i < cli_n_options; i++) {
        const cli_option *option = &cli_options[i];
        if (option->resume != CLI_FREE && cli_takes(a->command, option) && cli_given(a, option->name)) {
            status = compare_option(a, option, json_object_get(options, option->name), directory, exactly);
        }
    }
    const char *key;
    json_object_foreach(settings, key, value) {
        const char *before = json_string_value(json_object_get(set, key)), *now = json_string_value(value);
        if (!status && before && strcmp(before, now) != 0) {
            status = changed(directory, key, before, now);
        }
    }
    return status;
}
