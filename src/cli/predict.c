/* predict.c - `espalier predict`: image files through a retrained network. */
#include "cli/cli.h"

#include "cli/image.h"
#include "core/error.h"
#include "core/file.h"
#include "core/memory.h"
#include "data/sources.h"

#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct files {
    char **paths;
    size_t count;
} files;

typedef struct predictor {
    const cli_args *a;
    cli_network network;
    nas_tape *tape;
    float *pixels, *outputs; /* of one image */
    int *order;              /* of the outputs, best first */
    json_t *rows;            /* --json */
    int64_t resized, failed;
} predictor;

/* --- which files -------------------------------------------------------------------------------- */
static void add(files *f, char *path) {
    if (path && nas__grow(&f->paths, f->count, sizeof *f->paths)) {
        f->paths[f->count++] = path;
    } else {
        free(path);
    }
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static nas_status add_directory(files *f, const char *directory) {
    DIR *d = opendir(directory);
    size_t before = f->count;
    for (struct dirent *entry; d && (entry = readdir(d)) != NULL;) {
        if (nas__image_name(entry->d_name)) {
            add(f, nas__join(directory, entry->d_name));
        }
    }
    if (d) {
        closedir(d);
    }
    if (f->count == before && !nas_error_status()) {
        return nas__fail(NAS_NOT_FOUND, "%s has no images (files that end in .png, .jpg or .jpeg)", directory);
    }
    qsort(f->paths + before, f->count - before, sizeof *f->paths, by_name);
    return nas_error_status();
}

static nas_status collect(files *f, const cli_args *a) {
    nas_status status = NAS_OK;
    for (int i = 1; i < a->n_names && !status; i++) {
        if (nas__is_directory(a->names[i])) {
            status = add_directory(f, a->names[i]);
        } else {
            add(f, nas__strdup(a->names[i]));
            status = nas_error_status();
        }
    }
    return status;
}

/* --- one file ----------------------------------------------------------------------------------- */
static nas_status fill_pixels(predictor *p, const nas__image *image) {
    const nas_space_config *c = &p->network.space.config;
    int64_t area = image->height * image->width, target = (int64_t)c->height * c->width;
    float *plane = nas__alloc((size_t)area * sizeof *plane);
    nas_status status = nas_error_status();
    for (int channel = 0; channel < c->channels && !status; channel++) {
        float mean = p->network.transform.mean[channel], deviation = p->network.transform.std[channel];
        for (int64_t i = 0; i < area; i++) {
            plane[i] = (float)image->planes[channel * area + i] / 255;
        }
        float *out = p->pixels + channel * target;
        status = cli_resize_plane(plane, image->height, image->width, out, c->height, c->width);
        for (int64_t i = 0; i < target; i++) {
            out[i] = (out[i] - mean) / deviation;
        }
    }
    p->resized += image->height != c->height || image->width != c->width;
    free(plane);
    return status;
}

static nas_status read_file(predictor *p, const char *path) {
    nas__image image = {0};
    nas_status status = nas__image_read(path, p->network.space.config.channels, &image);
    status = status ? status : fill_pixels(p, &image);
    free(image.planes);
    return status;
}

static void softmax(float *x, int n) {
    double most = x[0], sum = 0;
    for (int i = 1; i < n; i++) {
        most = x[i] > most ? x[i] : most;
    }
    for (int i = 0; i < n; i++) {
        sum += exp(x[i] - most);
    }
    for (int i = 0; i < n; i++) {
        x[i] = (float)(exp(x[i] - most) / sum);
    }
}

static nas_status compute(predictor *p) {
    const nas_space_config *c = &p->network.space.config;
    nas_tape_begin(p->tape, &(nas_tape_config){.bn = NAS_BN_RUNNING});
    nas_tensor *x = nas_input(4, (const int64_t[]){1, c->channels, c->height, c->width}, p->pixels);
    nas_tensor *y = nas_forward(p->network.model, x);
    nas_status status = y ? nas_tensor_read(y, p->outputs) : nas_error_status();
    nas_tape_reset(p->tape);
    if (!status && !p->network.regression) {
        softmax(p->outputs, c->outputs);
    }
    return status;
}

/* The first `top` of `order` by falling output; equal outputs in the order of the classes. */
static void sort_top(predictor *p, int n, int top) {
    for (int i = 0; i < n; i++) {
        p->order[i] = i;
    }
    for (int i = 0; i < top; i++) {
        int best = i;
        for (int k = i + 1; k < n; k++) {
            float x = p->outputs[p->order[k]], y = p->outputs[p->order[best]];
            best = x > y || (x == y && p->order[k] < p->order[best]) ? k : best;
        }
        int kept = p->order[i];
        p->order[i] = p->order[best];
        p->order[best] = kept;
    }
}

/* --- what is printed ---------------------------------------------------------------------------- */
static json_t *row_json(predictor *p, const char *path, int top) {
    json_t *row = json_object(), *list = json_array();
    char text[32];
    json_object_set_new(row, "file", json_string(path));
    for (int i = 0; i < top; i++) {
        int k = p->network.regression ? i : p->order[i];
        if (p->network.regression) {
            json_array_append_new(list, json_real(p->outputs[k]));
        } else {
            json_t *one = json_object();
            json_object_set_new(one, "class", json_string(cli_class_name(&p->network, k, text, sizeof text)));
            json_object_set_new(one, "index", json_integer(k));
            json_object_set_new(one, "probability", json_real(p->outputs[k]));
            json_array_append_new(list, one);
        }
    }
    json_object_set_new(row, p->network.regression ? "values" : "classes", list);
    return row;
}

static void print_row(predictor *p, const char *path, int top) {
    char text[32];
    printf("%s", path);
    for (int i = 0; i < top; i++) {
        if (p->network.regression) {
            printf("%s%.6g", i ? ", " : ": ", p->outputs[i]);
        } else {
            printf("%s%s %.4f", i ? ", " : ": ", cli_class_name(&p->network, p->order[i], text, sizeof text),
                   p->outputs[p->order[i]]);
        }
    }
    putchar('\n');
}

/* An unreadable file does not keep the others from their answer; when there is none, its error is the command's. */
static void note_failure(predictor *p, const char *path, bool alone) {
    if (alone && !p->rows) {
        return;
    }
    fprintf(stderr, "error: %s\n", nas_error_message());
    if (p->rows) {
        json_array_append_new(p->rows, json_pack("{s:s, s:s}", "file", path, "error", nas_error_message()));
    }
    p->failed++;
    nas_error_clear();
}

static void predict_one(predictor *p, const char *path, bool alone) {
    int n = p->network.space.config.outputs;
    int top = p->network.regression || p->a->top > n ? n : (int)p->a->top;
    if (read_file(p, path) || compute(p)) {
        note_failure(p, path, alone);
        return;
    }
    sort_top(p, n, top);
    if (p->rows) {
        json_array_append_new(p->rows, row_json(p, path, top));
    } else {
        print_row(p, path, top);
    }
}

static nas_status open_predictor(predictor *p) {
    nas_status status = cli_network_open(&p->network, p->a->names[0]);
    const nas_space_config *c = &p->network.space.config;
    if (!status && c->channels != 1 && c->channels != 3) {
        return nas__fail(NAS_UNSUPPORTED,
                         "the network of %s takes %d channels; image files have 1 (grey) or 3 (colour)",
                         p->network.directory, c->channels);
    }
    p->tape = nas_tape_new();
    p->pixels = nas__alloc((size_t)c->channels * (size_t)c->height * (size_t)c->width * sizeof(float) + 1);
    p->outputs = nas__alloc((size_t)c->outputs * sizeof(float) + 1);
    p->order = nas__alloc((size_t)c->outputs * sizeof(int) + 1);
    p->rows = p->a->json ? json_array() : NULL;
    return status ? status : nas_error_status();
}

static void close_predictor(predictor *p) {
    cli_network_close(&p->network);
    nas_tape_free(p->tape);
    json_decref(p->rows);
    free(p->pixels);
    free(p->outputs);
    free(p->order);
}

nas_status cli_predict(cli_args *a) {
    predictor p = {.a = a};
    files f = {0};
    nas_status status = open_predictor(&p);
    status = status ? status : collect(&f, a);
    size_t done = 0;
    for (; !status && done < f.count && !cli_signal; done++) {
        predict_one(&p, f.paths[done], f.count == 1);
    }
    const nas_space_config *c = &p.network.space.config;
    status = nas_error_status();
    if (!status && p.resized) {
        cli_note("%lld of %zu images were resized to %dx%d, the size that the network was trained on",
                 (long long)p.resized, f.count, c->width, c->height);
    }
    if (!status && p.rows) {
        status = cli_print_json(json_pack("{s:s, s:O}", "run", p.network.directory, "images", p.rows));
    }
    if (!status && p.failed) {
        nas__fail(NAS_IO, "%lld of %zu files could not be read", (long long)p.failed, f.count);
    }
    for (size_t i = 0; i < f.count; i++) {
        free(f.paths[i]);
    }
    free(f.paths);
    close_predictor(&p);
    return nas_error_status();
}
