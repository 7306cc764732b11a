/* profile_engine.c - how long this program takes for a network, and for parts of it, in passes that do nothing else. */
#include "hardware/profile.h"

#include "core/error.h"
#include "core/memory.h"
#include "hardware/stopwatch.h"
#include "nn/module.h"
#include "tensor/tensor.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_DEPTH = 64 };

/* A module whose time is taken. */
typedef struct part {
    const nas_module *module;
    int place;
    double ns; /* in this pass, without the parts inside */
    bool ran;
} part;

typedef struct watch {
    part *parts; /* sorted by module */
    size_t n;
    struct {
        part *part;
        double start, inside;
    } open[MOST_DEPTH];
    int depth;
    const nas__profile_places *places;
    nas_module *model;
    nas_tape *tape;
    int ndim;
    int64_t dims[NAS_MAX_DIMS];
} watch;

/* --- which modules ------------------------------------------------------------------------------------- */
static int by_module(const void *a, const void *b) {
    const nas_module *x = ((const part *)a)->module, *y = ((const part *)b)->module;
    return (x > y) - (x < y);
}

typedef struct finding {
    const nas__profile_places *places;
    const nas_module **modules; /* of each place */
    size_t *lengths;            /* of their paths */
} finding;

/* A candidate that does not keep its path when it is fixed is inside of the nearest module that does. */
static nas_status find_part(nas_module *module, void *user) {
    finding *f = user;
    const char *path = nas_module_path(module);
    const size_t n = strlen(path);
    for (size_t i = 0; n && i < f->places->n; i++) {
        const nas__profile_place *place = &f->places->of[i];
        bool around = place->chosen && !strncmp(place->path, path, n) && (!place->path[n] || place->path[n] == '.');
        if (around && n > f->lengths[i]) {
            f->modules[i] = module;
            f->lengths[i] = n;
        }
    }
    return NAS_OK;
}

static nas_status find_parts(watch *w, nas_module *model) {
    const size_t n = w->places->n;
    finding f = {w->places, nas__alloc(n * sizeof *f.modules), nas__alloc(n * sizeof *f.lengths)};
    w->parts = nas__alloc(n * sizeof *w->parts);
    if (f.modules && f.lengths && w->parts) {
        nas__module_walk(model, find_part, &f);
        for (size_t i = 0; i < n; i++) {
            if (f.modules[i]) {
                w->parts[w->n++] = (part){.module = f.modules[i], .place = (int)i};
            }
        }
        qsort(w->parts, w->n, sizeof *w->parts, by_module);
    }
    free(f.modules);
    free(f.lengths);
    return nas_error_status();
}

static void on_forward(void *user, const nas_module *module, bool done) {
    watch *w = user;
    part key = {.module = module}, *found = bsearch(&key, w->parts, w->n, sizeof *w->parts, by_module);
    if (!found || (!done && w->depth == MOST_DEPTH)) {
        return;
    }
    if (!done) {
        w->open[w->depth].part = found;
        w->open[w->depth].inside = 0;
        w->open[w->depth++].start = nas__now_ns();
    } else if (w->depth && w->open[w->depth - 1].part == found) {
        w->depth--;
        double used = nas__now_ns() - w->open[w->depth].start;
        found->ns += used - w->open[w->depth].inside;
        found->ran = true;
        if (w->depth) {
            w->open[w->depth - 1].inside += used;
        }
    }
}

/* --- passes -------------------------------------------------------------------------------------------- */
static void close_watch(void *opened) {
    watch *w = opened;
    if (w) {
        nas_tape_free(w->tape);
        free(w->parts);
        free(w);
    }
}

static void *open_watch(void *user, const nas__profile_config *config, nas_module *model,
                        const nas__profile_places *places) {
    (void)user;
    watch *w = nas__alloc(sizeof *w);
    if (!w) {
        return NULL;
    }
    *w = (watch){.places = places, .model = model, .tape = nas_tape_new(), .ndim = config->ndim + 1};
    w->dims[0] = config->profile->batch;
    memcpy(w->dims + 1, config->dims, (size_t)config->ndim * sizeof *w->dims);
    if (!w->tape || find_parts(w, model)) {
        close_watch(w);
        return NULL;
    }
    return w;
}

static nas_status run_watched(watch *w, double *whole) {
    nas__forward_watcher watcher = {on_forward, w};
    nas_tape_begin(w->tape, &(nas_tape_config){.bn = NAS_BN_RUNNING});
    nas_tensor *x = nas__random_input(w->ndim, w->dims);
    nas__watch_forward(&watcher);
    double start = nas__now_ns();
    nas_tensor *y = x ? nas_forward(w->model, x) : NULL;
    if (y && !y->is_zero) {
        nas__data(y);
    }
    *whole = nas__now_ns() - start;
    nas__watch_forward(NULL);
    nas_tape_reset(w->tape);
    return nas_error_status();
}

static nas_status pass(void *opened, double *parts, double *whole) {
    watch *w = opened;
    w->depth = 0;
    for (size_t i = 0; i < w->places->n; i++) {
        parts[i] = NAN;
    }
    for (size_t i = 0; i < w->n; i++) {
        w->parts[i].ns = 0;
        w->parts[i].ran = false;
    }
    nas_status status = run_watched(w, whole);
    for (size_t i = 0; i < w->n; i++) {
        parts[w->parts[i].place] = w->parts[i].ran ? w->parts[i].ns : NAN;
    }
    return status;
}

const nas__profile_engine nas__profile_own_engine = {open_watch, pass, close_watch, NULL, NULL};
