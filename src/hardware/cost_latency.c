/* cost_latency.c - latencies of all candidates, measured here: each alone, on a random input of the shape that it has
 * in the network, at batch 1. */
#include "core/error.h"
#include "core/memory.h"
#include "hardware/cost_table.h"
#include "nn/module.h"
#include "space/space.h"
#include "tensor/tensor.h"

#include <math.h>
#include <stdlib.h>
#include <time.h>

enum { WARM_UP = 3, LEAST_SAMPLES = 7, MOST_SAMPLES = 51 };
static const double ENOUGH_US = 10000; /* in all, of one thing */

/* One candidate at one place. */
typedef struct job {
    int site, candidate;
    nas_module *module;
    int ndim;
    int64_t dims[NAS_MAX_DIMS];
    double us; /* with the first candidates of the choices inside */
} job;

typedef struct jobs {
    job *of;
    size_t n;
    bool failed;
} jobs;

static double now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e6 * (double)t.tv_sec + 1e-3 * (double)t.tv_nsec;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static nas_tensor *random_input(int ndim, const int64_t *dims) {
    nas_tensor *x = nas_input(ndim, dims, NULL);
    nas_rng rng = nas_rng_new(0, 0x6c6174);
    for (int64_t i = 0; x && i < nas__count(x); i++) { /* not zeros, which hide what branches and denormals cost */
        x->data[i] = (float)nas_rng_normal(&rng);
    }
    return ndim == 4 ? nas__as(x, NAS__BLOCKED) : x;
}

/* Microseconds of one pass; negative on failure. */
static double one_pass(nas_tape *tape, nas_module *module, int ndim, const int64_t *dims) {
    nas_tape_begin(tape, &(nas_tape_config){.bn = NAS_BN_RUNNING});
    nas_tensor *x = random_input(ndim, dims);
    double start = now_us();
    nas_tensor *y = x ? nas_forward(module, x) : NULL;
    bool computed = y && (y->is_zero || nas__data(y));
    double used = now_us() - start;
    nas_tape_reset(tape);
    return computed ? used : -1;
}

static nas_status measure(nas_module *module, int ndim, const int64_t *dims, double *us) {
    double samples[MOST_SAMPLES], sum = 0;
    int n = 0;
    nas_tape *tape = nas_tape_new();
    for (int i = 0; tape && i < WARM_UP && one_pass(tape, module, ndim, dims) >= 0; i++) {
    }
    while (tape && !nas_error_status() && n < MOST_SAMPLES && (n < LEAST_SAMPLES || sum < ENOUGH_US)) {
        samples[n] = one_pass(tape, module, ndim, dims);
        sum += samples[n++];
    }
    nas_tape_free(tape);
    if (nas_error_status()) {
        return nas__error_context("measuring latencies");
    }
    qsort(samples, (size_t)n, sizeof *samples, ascending);
    *us = samples[n / 2];
    return NAS_OK;
}

/* --- what is to be measured ------------------------------------------------------------------------ */
static nas_tensor *note_job(void *user, int site, int candidate, nas_module *module, nas_tensor *x) {
    jobs *list = user;
    if (x && !nas__grow(&list->of, list->n, sizeof *list->of)) {
        list->failed = true;
    } else if (x) {
        job *j = &list->of[list->n++];
        *j = (job){.site = site, .candidate = candidate, .module = module, .ndim = x->ndim};
        for (int i = 0; i < x->ndim; i++) {
            j->dims[i] = x->dims[i];
        }
    }
    return nas_forward(module, x);
}

static nas_status find_jobs(jobs *list, nas_space *space, nas_module *model, int ndim, const int64_t *dims) {
    nas__observer observer = {note_job, list};
    uint64_t macs;
    nas__cost_decide_all(space);
    space->observer = &observer;
    nas_status status = nas_model_cost(model, ndim, dims, &macs, NULL);
    space->observer = NULL;
    return status ? status : list->failed ? NAS_NO_MEMORY : NAS_OK;
}

/* What the first candidates of the choices right inside a candidate of a place take: they are counted there. */
static double inside(const jobs *list, const nas_space *space, int site, int candidate) {
    double sum = 0;
    for (size_t i = 0; i < list->n; i++) {
        const nas__site *s = &space->sites[list->of[i].site];
        const bool first = nas__child_candidates(s->mutable_, list->of[i].candidate) & 1;
        if (first && s->parent == site && (site < 0 || s->parent_child == candidate)) {
            sum += list->of[i].us;
        }
    }
    return sum;
}

nas_status nas__cost_measure(nas__cost_table *t, nas_space *space, nas_module *model, int ndim, const int64_t *dims) {
    jobs list = {0};
    int64_t sample[NAS_MAX_DIMS] = {1};
    for (int i = 0; i < ndim && i + 1 < NAS_MAX_DIMS; i++) {
        sample[i + 1] = dims[i];
    }
    nas_status status = find_jobs(&list, space, model, ndim, dims);
    nas__cost_decide_path(space, -1);
    for (size_t i = 0; !status && i < list.n; i++) {
        status = measure(list.of[i].module, list.of[i].ndim, list.of[i].dims, &list.of[i].us);
    }
    double whole = 0;
    status = status ? status : measure(model, ndim + 1, sample, &whole);
    for (size_t i = 0; !status && i < list.n; i++) {
        const job *j = &list.of[i];
        nas__cost_add(t, space, j->site, j->candidate, fmax(0, j->us - inside(&list, space, j->site, j->candidate)));
    }
    t->constant = fmax(0, whole - inside(&list, space, -1, 0));
    free(list.of);
    return status;
}
