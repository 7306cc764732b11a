/* bench.c - times the steps of a real trainer on random images, and counts what a step has to do. */
#include "core/options.h"
#include "search/bench.h"
#include "data/dataset.h"
#include "search/bench_watch.h"
#include "search/trainer.h"
#include "tensor/tensor.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 64, CHANNELS = 3, SIDE = 32, CLASSES = 10, WARM_UP = 2, DEFAULT_STEPS = 5, ARCH_BATCHES = 4 };

const nas__bench_workload nas__bench_workloads[] = {
    {"darts", "DARTS space, C=16, 8 cells; first-order DARTS", "darts", "darts"},
    {"nb201", "NAS-Bench-201 space, C=16, N=5; first-order DARTS", "nb201", "darts"},
    {0},
};

const nas__bench_workload *nas__bench_find(const char *name) {
    size_t n = 0;
    for (; nas__bench_workloads[n].name; n++) {
        if (strcmp(nas__bench_workloads[n].name, name) == 0) {
            return &nas__bench_workloads[n];
        }
    }
    const char *near = nas__nearest(name, nas__bench_workloads, n, sizeof *nas__bench_workloads);
    return near ? nas__fail_null(NAS_USAGE, "unknown benchmark \"%s\", did you mean \"%s\"?", name, near)
                : nas__fail_null(NAS_USAGE, "unknown benchmark \"%s\"; the first of them is \"%s\"", name,
                                 nas__bench_workloads[0].name);
}

/* --- data ---------------------------------------------------------------------------------------- */
static nas_dataset *random_images(uint64_t seed, uint64_t stream, int64_t n) {
    size_t pixels = (size_t)n * CHANNELS * SIDE * SIDE;
    float *x = nas__alloc(pixels * sizeof *x), *y = nas__alloc((size_t)n * sizeof *y);
    nas_rng rng = nas_rng_new(seed, 0x62656e6368u + stream);
    for (size_t i = 0; x && i < pixels; i++) {
        x[i] = (float)nas_rng_uniform(&rng);
    }
    for (int64_t i = 0; y && i < n; i++) {
        y[i] = (float)nas_rng_below(&rng, CLASSES);
    }
    nas_dataset *d = x && y ? nas_dataset_from_arrays(n, 3, (int64_t[]){CHANNELS, SIDE, SIDE}, x, 1, y, CLASSES) : NULL;
    free(x);
    free(y);
    return d;
}

/* --- one benchmark ------------------------------------------------------------------------------- */
typedef struct bench {
    const nas__bench_config *config;
    nas_module *model;
    nas_dataset *train, *arch, *score;
    nas_trainer *trainer;
    nas__bench_watch watch;
    int steps;
    double *seconds; /* of the timed steps */
} bench;

static void close_bench(bench *b) {
    nas_trainer_free(b->trainer);
    nas_module_free(b->model);
    nas_dataset_free(b->train);
    nas_dataset_free(b->arch);
    nas_dataset_free(b->score);
    free(b->seconds);
}

static nas_module *build_space(const nas__bench_workload *w) {
    const nas_space_info *info = nas_space_info_find(w->space);
    void *options = info ? nas__alloc(info->options_size) : NULL;
    nas_status status =
        options ? nas__options_read(info->options, options, w->space, w->space_options) : nas_error_status();
    nas_space_config config = {
        .channels = CHANNELS, .height = SIDE, .width = SIDE, .outputs = CLASSES, .options = options};
    nas_module *model = status ? NULL : nas_space_build(w->space, &config);
    free(options);
    return model;
}

static nas_status open_bench(bench *b, const nas__bench_workload *w) {
    uint64_t seed = b->config->seed;
    b->steps = b->config->steps > 0 ? b->config->steps : DEFAULT_STEPS;
    b->seconds = nas__alloc((size_t)b->steps * sizeof *b->seconds);
    b->model = build_space(w);
    b->train = random_images(seed, 0, (int64_t)BATCH * (b->steps + WARM_UP));
    b->arch = random_images(seed, 1, BATCH * ARCH_BATCHES);
    b->score = random_images(seed, 2, BATCH);
    if (!b->seconds || !b->model || !b->train || !b->arch || !b->score) {
        return nas_error_status();
    }
    b->trainer = nas_trainer_new(&(nas_trainer_config){.model = b->model,
                                                       .space_name = w->space,
                                                       .strategy = w->strategy,
                                                       .batch_size = BATCH,
                                                       .num_epochs = 1,
                                                       .dataset_train = b->train,
                                                       .dataset_valid = b->arch,
                                                       .dataset_score = b->score,
                                                       .log_frequency = NAS_NONE,
                                                       .seed = seed,
                                                       .threads = b->config->threads});
    return nas_error_status();
}

/* --- the first step, for others to repeat ---------------------------------------------------------- */
static void bind_batch(nas__state *st, const nas_batch *batch, const char *x, const char *y) {
    if (batch) {
        nas__state_f32(st, x, batch->x, (size_t)batch->n * CHANNELS * SIDE * SIDE);
        nas__state_f32(st, y, batch->y, (size_t)batch->n);
    }
}

static nas_status write_first_step(nas_trainer *t, const char *path) {
    nas__state *st = nas__state_save_begin(path, NULL);
    if (!st) {
        return nas_error_status();
    }
    nas__state_model(st, "model.", t->s.model);
    if (t->s.strategy->state) {
        t->s.strategy->state(&t->s, st);
    }
    bind_batch(st, nas_loader_next(t->train_loader), "train.x", "train.y");
    bind_batch(st, nas_loader_next(t->arch_loader), "arch.x", "arch.y");
    nas_status status = nas_error_status();
    if (status) {
        nas__state_abandon(st);
        return status;
    }
    status = nas__state_finish(st);
    status = status ? status : nas_loader_seek(t->train_loader, 0, 0);
    return status ? status : nas_loader_seek(t->arch_loader, 0, 0);
}

/* --- timing -------------------------------------------------------------------------------------- */
static nas_status one_step(nas_trainer *t, double *loss) {
    nas_status status = nas__trainer_step(t, loss);
    t->s.step++;
    t->s.total_step++;
    return status ? status : nas_error_status();
}

static nas_status warm_up(nas_trainer *t, double *first_loss) {
    nas__pace_start(&t->pace, 0, 1, t->s.steps_per_epoch, NAS_NONE, 0);
    nas_status status = nas_loader_seek(t->train_loader, 0, 0);
    for (int i = 0; i < WARM_UP && !status; i++) {
        double loss = NAN;
        status = one_step(t, &loss);
        *first_loss = i ? *first_loss : loss;
    }
    return status;
}

static nas_status time_steps(bench *b, nas__bench_result *r) {
    nas_trainer *t = b->trainer;
    uint64_t reorders = nas__reorder_count(), allocations = nas_memory().system_allocations;
    double waited = nas_loader_wait_seconds(t->train_loader) + nas_loader_wait_seconds(t->arch_loader), loss;
    nas_memory_reset_peak();
    nas__bench_watch_start(&b->watch);
    nas_status status = NAS_OK;
    for (int i = 0; i < b->steps && !status; i++) {
        double start = nas__now();
        status = one_step(t, &loss);
        b->seconds[i] = nas__now() - start;
    }
    nas__bench_watch_stop(&b->watch);
    double steps = b->steps;
    r->peak_bytes = nas_memory().peak_bytes;
    r->reorders = (double)(nas__reorder_count() - reorders) / steps;
    r->allocations = (double)(nas_memory().system_allocations - allocations) / steps;
    r->wait_seconds =
        (nas_loader_wait_seconds(t->train_loader) + nas_loader_wait_seconds(t->arch_loader) - waited) / steps;
    return status;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void summarise(bench *b, nas__bench_result *r) {
    qsort(b->seconds, (size_t)b->steps, sizeof *b->seconds, ascending);
    r->best_seconds = b->seconds[0];
    r->step_seconds = 0.5 * (b->seconds[(b->steps - 1) / 2] + b->seconds[b->steps / 2]);
    r->steps = b->steps;
    r->batch = BATCH;
    r->threads = nas_threads();
    nas__bench_watch_report(&b->watch, b->steps, r);
}

nas_status nas__bench_run(const nas__bench_workload *w, const nas__bench_config *config, nas__bench_result *r) {
    bench b = {.config = config};
    *r = (nas__bench_result){.workload = w};
    nas_status status = open_bench(&b, w);
    if (!status && config->first_step) {
        status = write_first_step(b.trainer, config->first_step);
    }
    status = status ? status : warm_up(b.trainer, &r->first_loss);
    status = status ? status : time_steps(&b, r);
    if (!status) {
        summarise(&b, r);
    }
    close_bench(&b);
    nas__memory_trim();
    return status;
}

double nas__bench_bound(const nas__bench_result *r, const nas__bench_peaks *peaks) {
    return fmax(r->flops / (peaks->gemm_gflops * 1e9), r->bytes / (peaks->triad_gb_per_s * 1e9));
}
