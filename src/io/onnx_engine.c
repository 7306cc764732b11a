/* onnx_engine.c - the networks of a space as onnxruntime runs them: each is exported, a traced session tells what share
 * of the time each part has, and another one, untraced, how long passes take. */
#include "io/onnxruntime.h"

#include <espalier/io.h>

#include "core/error.h"
#include "core/file.h"
#include "core/memory.h"
#include "hardware/stopwatch.h"
#include "nn/module.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WARM_UP = 2, TRACED = 16 };

typedef struct network {
    nas__ort_session *session;
    const nas__profile_places *places;
    char **paths;   /* per place: of the module that it is in, in this network; NULL: it is not there */
    double *shares; /* per place */
    float *x;
    int ndim;
    int64_t dims[NAS_MAX_DIMS];
} network;

/* --- which operations belong to which place -------------------------------------------------------------- */
/* A candidate that does not keep its path when it is fixed is inside of the nearest module that does. */
static nas_status find_path(nas_module *module, void *user) {
    network *w = user;
    const char *path = nas_module_path(module);
    size_t n = strlen(path);
    for (size_t i = 0; n && i < w->places->n; i++) {
        const nas__profile_place *place = &w->places->of[i];
        bool around = place->chosen && !strncmp(place->path, path, n) && (!place->path[n] || place->path[n] == '.');
        if (around && (!w->paths[i] || n > strlen(w->paths[i]))) {
            free(w->paths[i]);
            w->paths[i] = nas__strdup(path);
        }
    }
    return nas_error_status();
}

/* The innermost place around an operation ("fused block_2.body/conv_kernel_time"), or -1. */
static int place_of(const network *w, const char *name) {
    static const char fused[] = "fused ";
    int best = -1;
    size_t longest = 0;
    name += strncmp(name, fused, sizeof fused - 1) ? 0 : sizeof fused - 1;
    for (size_t i = 0; i < w->places->n; i++) {
        size_t n = w->paths[i] ? strlen(w->paths[i]) : 0;
        if (n > longest && !strncmp(name, w->paths[i], n) && (name[n] == '.' || name[n] == '/')) {
            best = (int)i;
            longest = n;
        }
    }
    return best;
}

/* What a trace says of each operation, as shares of all of them. */
static nas_status read_trace(network *w, const char *path) {
    char *text = nas__read_file(path, NULL);
    json_t *events = text ? json_loads(text, 0, NULL) : NULL, *event;
    size_t index;
    double all = 0;
    free(text);
    if (!json_is_array(events)) {
        json_decref(events);
        return nas_error_status()
                   ? nas_error_status()
                   : nas__fail(NAS_ENGINE, "onnxruntime has written no trace that can be read: %s", path);
    }
    json_array_foreach(events, index, event) {
        const char *name = json_string_value(json_object_get(event, "name"));
        const char *category = json_string_value(json_object_get(event, "cat"));
        const char *end = name ? strstr(name, "_kernel_time") : NULL;
        if (category && !strcmp(category, "Node") && end) {
            double us = json_number_value(json_object_get(event, "dur"));
            int place = place_of(w, name);
            all += us;
            if (place >= 0) {
                w->shares[place] += us;
            }
        }
    }
    json_decref(events);
    for (size_t i = 0; i < w->places->n; i++) {
        w->shares[i] /= all > 0 ? all : 1;
    }
    return NAS_OK;
}

/* --- the two sessions ------------------------------------------------------------------------------------ */
static nas_status run(const network *w, nas__ort_session *s) {
    return nas__ort_run(s, w->ndim, w->dims, w->x, NULL, NULL, NULL);
}

static nas_status trace(network *w, nas__ort *ort, const char *file, int threads) {
    char *prefix = nas__format("%s.trace", file), *written = NULL;
    nas__ort_session *s = prefix ? nas__ort_session_new(ort, file, threads, prefix) : NULL;
    nas_status status = s ? NAS_OK : nas_error_status();
    for (int i = 0; !status && i < TRACED; i++) {
        status = run(w, s);
    }
    written = status ? NULL : nas__ort_trace(s);
    status = status ? status : written ? read_trace(w, written) : nas_error_status();
    if (written) {
        unlink(written);
    }
    nas__ort_session_free(s);
    free(written);
    free(prefix);
    return status;
}

static void close_network(void *opened) {
    network *w = opened;
    if (w) {
        nas__ort_session_free(w->session);
        for (size_t i = 0; w->paths && i < w->places->n; i++) {
            free(w->paths[i]);
        }
        free(w->paths);
        free(w->shares);
        free(w->x);
        free(w);
    }
}

static nas_status fill_input(network *w, const nas__profile_config *config) {
    nas_rng rng = nas_rng_new(1, 2);
    size_t count = (size_t)config->profile->batch;
    w->ndim = config->ndim + 1;
    w->dims[0] = config->profile->batch;
    for (int i = 0; i < config->ndim; i++) {
        w->dims[i + 1] = config->dims[i];
        count *= (size_t)config->dims[i];
    }
    w->x = nas__alloc(count * sizeof *w->x);
    for (size_t i = 0; w->x && i < count; i++) {
        w->x[i] = (float)nas_rng_uniform(&rng) - 0.5f;
    }
    return nas_error_status();
}

static nas_status open_sessions(network *w, nas__ort *ort, const nas__profile_config *config, nas_module *model,
                                const char *file) {
    nas_export_config export = {.ndim = config->ndim};
    memcpy(export.dims, config->dims, (size_t)config->ndim * sizeof *export.dims);
    nas_status status = nas_export_onnx(model, &export, file);
    status = status || !w->places->n ? status : trace(w, ort, file, config->profile->threads);
    w->session = status ? NULL : nas__ort_session_new(ort, file, config->profile->threads, NULL);
    status = w->session ? NAS_OK : nas_error_status();
    for (int i = 0; !status && i < WARM_UP; i++) {
        status = run(w, w->session);
    }
    return status;
}

static void *open_network(void *user, const nas__profile_config *config, nas_module *model,
                          const nas__profile_places *places) {
    const char *temporary = getenv("TMPDIR");
    char *file = nas__format("%s/espalier-XXXXXX", temporary && *temporary ? temporary : "/tmp");
    int descriptor = file ? mkstemp(file) : -1;
    network *w = nas__alloc(sizeof *w);
    nas_status status = nas_error_status();
    if (!status && descriptor < 0) {
        status = nas__fail(NAS_IO, "%s: no temporary file can be made there; TMPDIR names another place", file);
    }
    if (!status) {
        *w = (network){.places = places,
                       .paths = nas__alloc((places->n + 1) * sizeof *w->paths),
                       .shares = nas__alloc((places->n + 1) * sizeof *w->shares)};
        status = w->paths && w->shares ? nas__module_walk(model, find_path, w) : nas_error_status();
        status = status ? status : fill_input(w, config);
        status = status ? status : open_sessions(w, user, config, model, file);
    }
    if (descriptor >= 0) {
        close(descriptor);
        unlink(file);
    }
    free(file);
    if (status) {
        close_network(w);
        return NULL;
    }
    return w;
}

static nas_status pass(void *opened, double *parts, double *whole) {
    const network *w = opened;
    double start = nas__now_ns();
    nas_status status = run(w, w->session);
    *whole = nas__now_ns() - start;
    for (size_t i = 0; i < w->places->n; i++) {
        parts[i] = w->paths[i] ? w->shares[i] * *whole : NAN;
    }
    return status;
}

nas__profile_engine nas__ort_engine(nas__ort *ort) {
    return (nas__profile_engine){open_network, pass, close_network, NULL, ort};
}
