/* bench_first_step.c - the numbers of a first step, collected while it runs, as a safetensors file. */
#include "search/bench_subject.h"

#include "io/safetensors.h"
#include "search/gumbel.h"
#include "search/proxyless.h"

#include <stdlib.h>
#include <string.h>

struct nas__first_step {
    nas__bench_subject *subject;
    nas__update_watcher watcher;
    nas__array *arrays; /* names and data are its own */
    size_t n;
};

/* Room for an array of that name and shape, to be filled. */
static float *add(nas__first_step *f, const char *prefix, const char *name, int ndim, const int64_t *dims) {
    nas__array a = {.name = nas__format("%s%s", prefix, name), .dtype = NAS__F32, .ndim = ndim};
    memcpy(a.dims, dims, (size_t)ndim * sizeof *dims);
    float *values = nas__alloc(nas__array_bytes(&a));
    a.data = values;
    if (!a.name || !values || !nas__grow(&f->arrays, f->n, sizeof *f->arrays)) {
        free((void *)a.name);
        free(values);
        return NULL;
    }
    f->arrays[f->n++] = a;
    return values;
}

static nas_status add_values(nas__first_step *f, const char *prefix, const char *name, const nas_tensor *t) {
    float *values = add(f, prefix, name, t->ndim, t->dims);
    return values ? nas_tensor_read(t, values) : nas_error_status();
}

static nas_status add_gradient(nas__first_step *f, const char *prefix, const char *name, const nas_tensor *t) {
    float *values = t->has_grad ? add(f, prefix, name, t->ndim, t->dims) : NULL;
    return values ? nas_tensor_read_grad(t, values) : nas_error_status();
}

/* --- before the step ----------------------------------------------------------------------------- */
static nas_status add_parameter(const char *path, nas_tensor *t, nas_role role, void *user) {
    (void)role;
    return add_values(user, "model.", path, t);
}

/* The next n images. */
static void add_images(nas__first_step *f, const char *prefix, nas_loader *loader, int64_t n) {
    const int64_t side = f->subject->workload->side, values = NAS__BENCH_CHANNELS * side * side;
    float *x = add(f, prefix, "x", 4, (int64_t[]){n, NAS__BENCH_CHANNELS, side, side}), *y = add(f, prefix, "y", 1, &n);
    const nas_batch *batch;
    for (int64_t done = 0; x && y && done < n && (batch = nas_loader_next(loader)); done += batch->n) {
        memcpy(x + done * values, batch->x, (size_t)(batch->n * values) * sizeof *x);
        memcpy(y + done, batch->y, (size_t)batch->n * sizeof *y);
    }
}

static void add_batch(nas__first_step *f, const char *prefix, nas_loader *loader) {
    add_images(f, prefix, loader, f->subject->batch);
}

static void add_evaluation(nas__first_step *f) {
    const nas__bench_subject *b = f->subject;
    const nas_space *space = b->trainer->s.space;
    add_images(f, "train.", b->trainer->calibration_loader, NAS__BENCH_PART * b->batch);
    add_images(f, "score.", b->trainer->valid_loader, NAS__BENCH_PART * b->batch);
    for (int i = 0; i < nas_space_size(space); i++) {
        const nas_choice *choice = nas_space_choice(space, i);
        float *values = add(f, "path.", choice->key, 2, (int64_t[]){NAS__BENCH_PATHS, choice->n});
        for (int k = 0; values && k < NAS__BENCH_PATHS * choice->n; k++) {
            values[k] = (float)(nas_architecture_get(b->paths[k / choice->n], i) >> k % choice->n & 1);
        }
    }
}

/* --- the updates of the step --------------------------------------------------------------------- */
static nas_status add_weight_gradient(const char *path, nas_tensor *t, nas_role role, void *user) {
    return role == NAS_ROLE_WEIGHT ? add_gradient(user, "grad.model.", path, t) : NAS_OK;
}

/* The optimiser of the choices has one tensor for each of them that does not follow its edges, in their order. */
static void add_choices(nas__first_step *f, const nas_optimizer *o) {
    const nas_space *space = f->subject->trainer->s.space;
    size_t tensor = 0;
    for (int i = 0; i < nas_space_size(space) && tensor < o->n; i++) {
        const nas_choice *choice = nas_space_choice(space, i);
        if (!choice->edges) {
            add_values(f, "alpha.", choice->key, o->tensors[tensor]);
            add_gradient(f, "grad.alpha.", choice->key, o->tensors[tensor++]);
        }
    }
}

/* What the pass that was just differentiated drew. */
static void add_noise(nas__first_step *f, const char *prefix) {
    nas_search *s = &f->subject->trainer->s;
    const nas__gumbel *g = s->memory;
    if (strcmp(s->strategy->name, "gdas") != 0 && strcmp(s->strategy->name, "fbnet") != 0) {
        return;
    }
    for (int i = 0; i < nas_space_size(s->space); i++) {
        const nas_choice *choice = nas_space_choice(s->space, i);
        float *values = add(f, prefix, choice->key, 1, (int64_t[]){choice->n});
        if (values) {
            memcpy(values, g->noise[i], (size_t)choice->n * sizeof *values);
        }
    }
}

/* ProxylessNAS steps alpha without an optimiser. */
static const nas__proxyless *proxyless_of(const nas__first_step *f) {
    const nas_trainer *t = f->subject->trainer;
    return t && strcmp(t->s.strategy->name, "proxyless") == 0 ? t->s.memory : NULL;
}

static void add_gates(nas__first_step *f, const char *prefix) {
    const nas__proxyless *p = proxyless_of(f);
    for (int i = 0; p && i < p->alphas.n; i++) {
        const nas_choice *choice = nas_space_choice(f->subject->trainer->s.space, i);
        float *values = add(f, prefix, choice->key, 2, (int64_t[]){2, choice->n});
        for (int k = 0; values && k < choice->n; k++) {
            values[k] = (float)(p->gates[i].rivals >> k & 1);
            values[choice->n + k] = (float)(p->gates[i].active >> k & 1);
        }
    }
}

static void add_gated_alphas(nas__first_step *f) {
    const nas__proxyless *p = proxyless_of(f);
    for (int i = 0; p && i < p->alphas.n; i++) {
        add_values(f, "alpha.", nas_space_choice(f->subject->trainer->s.space, i)->key, p->alphas.of_choice[i]);
    }
}

static void add_gated_gradients(nas__first_step *f) {
    const nas__proxyless *p = proxyless_of(f);
    for (int i = 0; p && i < p->alphas.n; i++) {
        const nas_choice *choice = nas_space_choice(f->subject->trainer->s.space, i);
        float *values = add(f, "grad.alpha.", choice->key, 1, (int64_t[]){choice->n});
        for (int k = 0; values && k < choice->n; k++) {
            values[k] = (float)p->gradient[p->first[i] + k];
        }
    }
}

/* The path of the pass that was just differentiated, of a search that draws one in every step. */
static void add_path(nas__first_step *f) {
    const nas_search *s = &f->subject->trainer->s;
    if (strcmp(s->strategy->name, "spos") != 0 && strcmp(s->strategy->name, "enas") != 0) {
        return;
    }
    for (int i = 0; i < nas_space_size(s->space); i++) {
        const nas_choice *choice = nas_space_choice(s->space, i);
        float *values = add(f, "path.", choice->key, 1, (int64_t[]){choice->n});
        for (int k = 0; values && k < choice->n; k++) {
            values[k] = (float)(nas_decision_of(s->space, i).run >> k & 1);
        }
    }
}

static void on_update(void *user, const nas_optimizer *o, bool done) {
    nas__first_step *f = user;
    nas_trainer *t = f->subject->trainer;
    if (done) {
        return;
    }
    if (t) {
        add_noise(f, o == t->s.optimizer ? "noise.train." : "noise.arch.");
    }
    if (t && o == t->s.optimizer) {
        add_gates(f, "gate.train.");
        add_path(f);
    }
    if (t && o != t->s.optimizer) {
        add_choices(f, o);
    } else {
        nas_visit_parameters(f->subject->model, add_weight_gradient, f);
    }
}

nas__first_step *nas__first_step_begin(nas__bench_subject *b) {
    nas__first_step *f = nas__alloc(sizeof *f);
    if (!f) {
        return NULL;
    }
    f->subject = b;
    f->watcher = (nas__update_watcher){on_update, f};
    nas_visit_parameters(b->model, add_parameter, f);
    add_gated_alphas(f);
    if (b->workload->kind == NAS__BENCH_EVALUATION) {
        add_evaluation(f);
    } else {
        add_batch(f, "train.", b->trainer ? b->trainer->train_loader : b->loader);
    }
    if (b->workload->kind == NAS__BENCH_SEARCH && b->trainer->arch_loader) {
        add_batch(f, "arch.", b->trainer->arch_loader);
    }
    nas__bench_rewind(b);
    nas__watch_updates(&f->watcher);
    return f;
}

nas_status nas__first_step_end(nas__first_step *f, const char *path) {
    if (!f) {
        return nas_error_status();
    }
    nas__watch_updates(NULL);
    add_gates(f, "gate.arch."); /* of the last pass */
    add_gated_gradients(f);
    const nas__bench_workload *w = f->subject->workload;
    if (w->kind == NAS__BENCH_EVALUATION && path) {
        float *values = add(f, "", "output", 2, (int64_t[]){NAS__BENCH_PART * f->subject->batch, NAS__BENCH_CLASSES});
        if (values) {
            nas__bench_outputs(f->subject, values);
        }
    }
    if (f->subject->output) {
        float *values = add(f, "", "output", 2, (int64_t[]){f->subject->batch, NAS__BENCH_CLASSES});
        if (values) {
            memcpy(values, f->subject->output, nas__array_bytes(&f->arrays[f->n - 1]));
        }
    }
    nas__text_pair metadata[] = {{"workload", w->name}, {"architecture", w->architecture ? w->architecture : "{}"}};
    if (path && !nas_error_status()) {
        nas__safetensors_write(path, f->n, f->arrays, sizeof metadata / sizeof *metadata, metadata);
    }
    for (size_t i = 0; i < f->n; i++) {
        free((void *)f->arrays[i].name);
        free((void *)f->arrays[i].data);
    }
    free(f->arrays);
    free(f);
    return nas_error_status();
}
