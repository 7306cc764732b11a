/* network.c - the retrained network of a run, rebuilt from its directory alone: no data set is needed to use it. */
#include "cli/cli.h"

#include "core/error.h"
#include "core/file.h"
#include "core/memory.h"
#include "data/dataset.h"

#include <stdlib.h>
#include <string.h>

json_t *cli_network_json(const cli_space *space, const nas_dataset *data, const nas_transform *transform) {
    const nas_dataset_info *info = nas_dataset_describe(data);
    json_t *network =
        json_pack("{s:i, s:i, s:i, s:i, s:b}", "channels", space->config.channels, "height", space->config.height,
                  "width", space->config.width, "outputs", space->config.outputs, "regression", info->classes == 0);
    json_t *mean = json_array(), *deviation = json_array(), *names = json_array();
    for (int c = 0; c < 4; c++) {
        json_array_append_new(mean, json_real(transform->mean[c]));
        json_array_append_new(deviation, json_real(transform->std[c]));
    }
    for (int i = 0; info->class_names && i < info->classes; i++) {
        json_array_append_new(names, json_string(info->class_names[i]));
    }
    json_object_set_new(network, "scale", json_real(nas__dataset_scale(data)));
    json_object_set_new(network, "mean", mean);
    json_object_set_new(network, "std", deviation);
    json_object_set_new(network, "classes", names);
    return network;
}

nas_status cli_space_input_stored(cli_space *s, json_t *config, const char *directory) {
    json_t *network = json_object_get(config, "network");
    nas_space_config *c = &s->config;
    if (json_unpack(network, "{s:i, s:i, s:i, s:i}", "channels", &c->channels, "height", &c->height, "width", &c->width,
                    "outputs", &c->outputs) ||
        c->channels < 1 || c->channels > 4096 || c->height < 1 || c->height > 16384 || c->width < 1 ||
        c->width > 16384 || c->outputs < 1 || c->outputs > 1000000) {
        return nas__fail(NAS_PARSE, "%s/config.json: \"network\" with the shape of the images is missing or damaged",
                         directory);
    }
    return NAS_OK;
}

nas_status cli_input_option(const cli_args *a, nas_space_config *c) {
    int end = 0;
    if (a->input && (sscanf(a->input, "%dx%dx%d%n", &c->channels, &c->height, &c->width, &end) != 3 || a->input[end] ||
                     c->channels < 1 || c->height < 1 || c->width < 1 || c->channels > 4096 || c->height > 16384 ||
                     c->width > 16384)) {
        return nas__fail(NAS_USAGE, "--input: \"%s\" is not of the form CxHxW, such as 3x32x32", a->input);
    }
    c->outputs = a->outputs ? (int)a->outputs : c->outputs;
    return NAS_OK;
}

nas_status cli_space_stored(cli_space *s, cli_args *a, json_t *config, const char *directory) {
    const char *stored = json_string_value(json_object_get(json_object_get(config, "options"), "space"));
    bool other = a->space && stored && strcmp(a->space, stored) != 0;
    nas_status status = other
                            ? nas__fail(NAS_USAGE, "--space: %s is a run on %s, not on %s", directory, stored, a->space)
                            : cli_config_apply(a, config, "space set", directory);
    if (!status && !a->space) {
        status = nas__fail(NAS_PARSE, "%s/config.json names no space", directory);
    }
    status = status ? status : cli_space_open(s, a->space);
    return status ? status : cli_apply_settings(a, NULL, s);
}

static nas_status fix_model(cli_network *n) {
    char *architecture = json_dumps(json_object_get(n->config, "architecture"), 0),
         *weights = nas__join(n->directory, "weights.safetensors");
    nas_status status = nas_error_status();
    if (!status && !architecture) {
        status = nas__fail(NAS_PARSE, "%s/config.json has no \"architecture\"", n->directory);
    }
    n->model = status ? NULL : cli_space_model(&n->space);
    status = n->model ? nas_apply_fixed_architecture_text(n->model, architecture) : nas_error_status();
    status = status ? status : nas_load_weights(n->model, weights);
    free(architecture);
    free(weights);
    return status;
}

static void read_constants(cli_network *n) {
    json_t *network = json_object_get(n->config, "network");
    n->regression = json_is_true(json_object_get(network, "regression"));
    for (size_t c = 0; c < 4; c++) {
        n->transform.mean[c] = (float)json_number_value(json_array_get(json_object_get(network, "mean"), c));
        n->transform.std[c] = (float)json_number_value(json_array_get(json_object_get(network, "std"), c));
    }
}

nas_status cli_network_load(cli_network *n, const char *run) {
    *n = (cli_network){.directory = cli_finished_retrain(run)};
    n->config = n->directory ? cli_config_read(n->directory) : NULL;
    cli_args stored = {.command = cli_command_of(cli_retrain)};
    nas_status status = n->config ? cli_space_stored(&n->space, &stored, n->config, n->directory) : nas_error_status();
    status = status ? status : cli_space_input_stored(&n->space, n->config, n->directory);
    status = status ? status : fix_model(n);
    read_constants(n);
    return status;
}

/* The run itself, as its search has left it. */
static nas_status load_searched(cli_network *n, const char *run) {
    nas_error_clear();
    char *path = nas__join(run, "final_architecture.json");
    n->config = path ? cli_config_read(run) : NULL;
    if (n->config && !nas__exists(path)) {
        nas__fail(NAS_NOT_FOUND, "%s has no final_architecture.json yet: its search has not found anything", run);
    }
    json_t *architecture = n->config && !nas_error_status() ? cli_json_read(run, "final_architecture.json") : NULL;
    n->directory = nas__strdup(run);
    if (architecture) {
        json_object_set_new(n->config, "architecture", architecture);
    }
    free(path);
    return nas_error_status();
}

static nas_status load_given(cli_network *n, cli_args *a) {
    char *text = nas__read_text(a->arch);
    json_error_t error;
    json_t *architecture = text ? json_loads(text, JSON_REJECT_DUPLICATES, &error) : NULL;
    free(text);
    if (!architecture) {
        return nas_error_status() ? nas_error_status()
                                  : nas__fail(NAS_PARSE, "%s, line %d: %s", a->arch, error.line, error.text);
    }
    n->config = json_pack("{s:o}", "architecture", architecture);
    nas_status status = cli_space_open(&n->space, a->space);
    return status ? status : cli_apply_settings(a, NULL, &n->space);
}

nas_status cli_network_drawn(cli_network *n, cli_args *a) {
    nas_status status;
    *n = (cli_network){0};
    if (a->n_names == 0) {
        status = load_given(n, a);
    } else {
        n->directory = cli_finished_retrain(a->names[0]);
        n->config = n->directory ? cli_config_read(n->directory) : NULL;
        status = n->directory ? nas_error_status() : load_searched(n, a->names[0]);
        status = status ? status : cli_space_stored(&n->space, a, n->config, n->directory);
    }
    n->space.config = (nas_space_config){.channels = 1, .height = 28, .width = 28, .outputs = 10};
    if (!status && json_object_get(n->config, "network")) {
        status = cli_space_input_stored(&n->space, n->config, n->directory);
    }
    status = status ? status : cli_input_option(a, &n->space.config);
    if (!status && !json_is_object(json_object_get(n->config, "architecture"))) {
        status = nas__fail(NAS_PARSE, "%s has no \"architecture\"", n->directory ? n->directory : a->arch);
    }
    read_constants(n);
    return status;
}

nas_status cli_network_open(cli_network *n, const char *run) {
    nas_status status = cli_network_load(n, run);
    return status ? status : nas_fold_batch_norm(n->model, NULL);
}

void cli_network_close(cli_network *n) {
    nas_module_free(n->model);
    cli_space_close(&n->space);
    json_decref(n->config);
    free(n->directory);
}

const char *cli_class_name(const cli_network *n, int64_t index, char *text, size_t size) {
    json_t *names = json_object_get(json_object_get(n->config, "network"), "classes");
    const char *name = json_string_value(json_array_get(names, (size_t)index));
    snprintf(text, size, "%lld", (long long)index);
    return name ? name : text;
}
