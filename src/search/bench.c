/* bench.c - times the steps of a benchmark. */
#include "search/bench.h"

#include "search/bench_subject.h"

#include <math.h>
#include <stdlib.h>

enum { DEFAULT_STEPS = 5 };

static nas_status warm_up(nas__bench_subject *b, const nas__bench_config *config, nas__bench_result *r) {
    nas__first_step *first = NULL;
    nas__bench_counts counts = {0};
    double loss;
    nas_status status = nas__bench_rewind(b);
    if (!status && config->first_step) {
        first = nas__first_step_begin(b);
        status = nas_error_status();
    }
    status = status ? status : nas__bench_counted_step(b, &r->first_loss, &counts);
    nas_status written = nas__first_step_end(first, status ? NULL : config->first_step);
    status = status ? status : written;
    for (int i = 1; i < NAS__BENCH_WARM_UP && !status; i++) {
        status = nas__bench_step(b, &loss);
    }
    r->flops = counts.flops;
    r->bytes = counts.bytes;
    return status;
}

static nas_status time_steps(nas__bench_subject *b, int steps, double *seconds, nas__bench_result *r) {
    uint64_t reorders = nas__reorder_count(), allocations = nas_memory().system_allocations;
    double waited = nas__bench_waited(b), loss;
    nas_memory_reset_peak();
    nas__op_times_start(&r->times);
    nas_status status = NAS_OK;
    for (int i = 0; i < steps && !status; i++) {
        double start = nas__now();
        status = nas__bench_step(b, &loss);
        seconds[i] = nas__now() - start;
    }
    nas__op_times_stop(&r->times);
    r->peak_bytes = nas_memory().peak_bytes;
    r->reorders = (double)(nas__reorder_count() - reorders) / steps;
    r->allocations = (double)(nas_memory().system_allocations - allocations) / steps;
    r->wait_seconds = (nas__bench_waited(b) - waited) / steps;
    return status;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void summarise(int steps, double *seconds, nas__bench_result *r) {
    qsort(seconds, (size_t)steps, sizeof *seconds, ascending);
    r->best_seconds = seconds[0];
    r->step_seconds = 0.5 * (seconds[(steps - 1) / 2] + seconds[steps / 2]);
    r->steps = steps;
    r->threads = nas_threads();
}

nas_status nas__bench_run(const nas__bench_workload *w, const nas__bench_config *config, nas__bench_result *r) {
    nas__bench_subject b = {0};
    int steps = config->steps > 0 ? config->steps : DEFAULT_STEPS;
    double *seconds = nas__alloc((size_t)steps * sizeof *seconds);
    *r = (nas__bench_result){.workload = w, .first_loss = NAN};
    nas__precision *precision = nas__precision_new(config->precision), *before = nas__precision_use(precision);
    nas_status status =
        seconds && precision ? nas__bench_open(&b, w, config, steps + NAS__BENCH_WARM_UP) : nas_error_status();
    r->batch = b.batch;
    r->images = b.batch * (w->kind == NAS__BENCH_EVALUATION ? 2 * NAS__BENCH_PART : 1);
    status = status ? status : warm_up(&b, config, r);
    status = status ? status : time_steps(&b, steps, seconds, r);
    if (!status) {
        summarise(steps, seconds, r);
    }
    if (!status && precision->mode != NAS_F32) {
        nas__precision_text(precision, r->precision, sizeof r->precision);
    }
    nas__precision_use(before);
    nas__precision_free(precision);
    nas__bench_close(&b);
    free(seconds);
    nas__memory_trim();
    return status;
}

double nas__bench_bound(const nas__bench_result *r, const nas__bench_peaks *peaks) {
    return fmax(r->flops / (peaks->gemm_gflops * 1e9), r->bytes / (peaks->triad_gb_per_s * 1e9));
}
