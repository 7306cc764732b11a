/* export.c - `espalier export`: the retrained network of a run in the formats of other tools. */
#include "cli/cli.h"

#include "core/error.h"
#include "core/memory.h"

#include <espalier/io.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct exporter {
    const cli_args *a;
    cli_network network;
    nas_export_config config;
    char *architecture;
    nas_c_memory memory; /* of the C file */
    nas_picture *picture;
} exporter;

static nas_status write_onnx(exporter *x) { return nas_export_onnx(x->network.model, &x->config, x->a->onnx); }

static nas_status write_c(exporter *x) { return nas_export_c(x->network.model, &x->config, x->a->c, &x->memory); }

static nas_status write_safetensors(exporter *x) {
    return nas_export_safetensors(x->network.model, &x->config, x->a->safetensors);
}

/* A model of its own: drawing fixes it. */
static const nas_picture *picture_of(exporter *x) {
    nas_module *model = x->picture ? NULL : cli_space_model(&x->network.space);
    x->picture = model ? nas_picture_new(model, &x->config) : x->picture;
    nas_module_free(model);
    return x->picture;
}

static nas_status write_svg(exporter *x) {
    const nas_picture *picture = picture_of(x);
    return picture ? nas_picture_svg(picture, x->a->svg) : nas_error_status();
}

static nas_status write_dot(exporter *x) {
    const nas_picture *picture = picture_of(x);
    return picture ? nas_picture_dot(picture, x->a->dot) : nas_error_status();
}

/* One row for each format: its option, where that is, and who writes it. */
static const struct format {
    const char *name;
    size_t offset; /* in cli_args, of the file's name */
    nas_status (*write)(exporter *x);
    bool trained; /* the weights as they were trained, before batch norms are folded; these rows come first */
    bool drawing; /* needs no weights */
} formats[] = {
    {"safetensors", offsetof(cli_args, safetensors), write_safetensors, true, false},
    {"svg", offsetof(cli_args, svg), write_svg, true, true},
    {"dot", offsetof(cli_args, dot), write_dot, true, true},
    {"onnx", offsetof(cli_args, onnx), write_onnx, false, false},
    {"c", offsetof(cli_args, c), write_c, false, false},
};
enum { N_FORMATS = sizeof formats / sizeof *formats };

static const char *file_of(const cli_args *a, int format) {
    return *(const char *const *)((const char *)a + formats[format].offset);
}

/* Is anything but drawings asked for? */
static bool weights_wanted(const cli_args *a) {
    bool wanted = false;
    for (int i = 0; i < N_FORMATS; i++) {
        wanted |= !formats[i].drawing && file_of(a, i);
    }
    return wanted;
}

static nas_status check_options(const cli_args *a) {
    int files = 0;
    for (int i = 0; i < N_FORMATS; i++) {
        const char *file = file_of(a, i);
        files += file != NULL;
        for (int k = 0; file && k < i; k++) {
            if (file_of(a, k) && !strcmp(file, file_of(a, k))) {
                return nas__fail(NAS_USAGE, "--%s and --%s: both would write %s", formats[k].name, formats[i].name,
                                 file);
            }
        }
    }
    if (!files) {
        return nas__fail(NAS_USAGE, "export: nothing to write; give a file, for example: %s", a->command->example);
    }
    if (weights_wanted(a) && (a->n_names == 0 || a->space || a->arch || a->input || a->outputs || a->n_set)) {
        return nas__fail(NAS_USAGE, a->n_names
                                        ? "--space, --arch, --set, --input and --outputs are for drawings alone; a "
                                          "run has its own"
                                        : "which network? espalier export RUN: a space has no weights");
    }
    if (a->n_names == 0 && (!a->space || !a->arch)) {
        return nas__fail(NAS_USAGE, "which network? espalier export RUN, or for drawings --space S --arch FILE");
    }
    if (a->raw_pixels && !a->onnx) {
        return nas__fail(NAS_USAGE, "--raw-pixels is for --onnx");
    }
    return NAS_OK;
}

/* Runs from before the scale was kept: images were bytes, all else had constants 0 and 1. */
static float stored_scale(const cli_network *n) {
    const json_t *scale = json_object_get(json_object_get(n->config, "network"), "scale");
    bool images = n->transform.mean[0] != 0 || n->transform.std[0] != 1;
    return scale ? (float)json_number_value(scale) : images ? 1 / 255.0f : 1;
}

static nas_status describe(exporter *x) {
    const cli_network *n = &x->network;
    const nas_space_config *s = &n->space.config;
    json_t *names = json_object_get(json_object_get(n->config, "network"), "classes");
    size_t n_names = json_array_size(names);
    const char **texts = nas__alloc((n_names + 1) * sizeof *texts);
    x->architecture = json_dumps(json_object_get(n->config, "architecture"), JSON_SORT_KEYS);
    if (!texts || !x->architecture) {
        free(texts);
        return nas__fail(NAS_NO_MEMORY, "export: out of memory");
    }
    for (size_t i = 0; i < n_names; i++) {
        texts[i] = json_string_value(json_array_get(names, i));
    }
    x->config = (nas_export_config){.ndim = 3,
                                    .dims = {s->channels, s->height, s->width},
                                    .space = n->space.info->name,
                                    .architecture = x->architecture,
                                    .n_classes = (int)n_names,
                                    .class_names = texts,
                                    .scale = stored_scale(n),
                                    .normalise = x->a->raw_pixels};
    memcpy(x->config.mean, n->transform.mean, sizeof x->config.mean);
    memcpy(x->config.std, n->transform.std, sizeof x->config.std);
    return NAS_OK;
}

/* --- what is printed ---------------------------------------------------------------------------------- */
static long long bytes_of(const char *path) {
    struct stat info;
    return stat(path, &info) ? 0 : (long long)info.st_size;
}

static json_t *file_json(const exporter *x, int format) {
    json_t *file = json_pack("{s:s, s:s, s:I}", "format", formats[format].name, "file", file_of(x->a, format), "bytes",
                             (json_int_t)bytes_of(file_of(x->a, format)));
    if (formats[format].write == write_c) {
        json_object_set_new(file, "arena_bytes", json_integer(x->memory.arena_bytes));
        json_object_set_new(file, "weight_bytes", json_integer(x->memory.weight_bytes));
    }
    return file;
}

static void report_file(const exporter *x, int format, json_t *files) {
    const char *path = file_of(x->a, format);
    if (files) {
        json_array_append_new(files, file_json(x, format));
        return;
    }
    printf("%-12s%s, %lld bytes", formats[format].name, path, bytes_of(path));
    if (formats[format].write == write_c) {
        printf("; compiled: %lld bytes of weights, an arena of %lld", (long long)x->memory.weight_bytes,
               (long long)x->memory.arena_bytes);
    }
    putchar('\n');
}

static nas_status write_files(exporter *x, json_t *files) {
    nas_status status = NAS_OK;
    bool folded = x->a->keep_batch_norm;
    for (int i = 0; i < N_FORMATS && !status; i++) {
        if (!file_of(x->a, i)) {
            continue;
        }
        if (!formats[i].trained && !folded) {
            status = nas_fold_batch_norm(x->network.model, NULL);
            folded = true;
        }
        status = status ? status : formats[i].write(x);
        if (!status) {
            report_file(x, i, files);
        }
    }
    return status;
}

nas_status cli_export(cli_args *a) {
    nas_status status = check_options(a);
    if (status) {
        return status;
    }
    exporter x = {.a = a};
    json_t *files = a->json ? json_array() : NULL;
    status = weights_wanted(a) ? cli_network_load(&x.network, a->names[0]) : cli_network_drawn(&x.network, a);
    status = status ? status : describe(&x);
    status = status ? status : write_files(&x, files);
    if (!status && files) {
        json_t *result = json_pack("{s:s?, s:O}", "run", x.network.directory, "files", files);
        if (x.network.model) {
            json_object_set_new(result, "parameters", json_integer(nas_parameter_count(x.network.model)));
        }
        status = cli_print_json(result);
    }
    nas_picture_free(x.picture);
    json_decref(files);
    free((void *)(uintptr_t)x.config.class_names);
    free(x.architecture);
    cli_network_close(&x.network);
    return status;
}
