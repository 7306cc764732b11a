/* bench.c - times the steps of a benchmark. */
#include "search/bench.h"

#include "core/statistics.h"
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

/* --- timing -------------------------------------------------------------------------------------- */
/* Machines change their pace within seconds. So the rates that bound a step are measured between the steps, and each
 * step is held against the better ones of those before and after it. */
typedef struct timing {
    bool bound;
    double *seconds, *share; /* of each step: what it took, and how much of that it could not save */
    int steps, done, shared; /* those that are over, and those whose share is known */
    nas__bench_peaks before; /* the next step with an unknown share */
    double probed;           /* when */
} timing;

static double bound_of(const nas__bench_result *r, const nas__bench_peaks *a, const nas__bench_peaks *b) {
    return fmax(r->flops / (1e9 * fmax(a->gemm_gflops, b->gemm_gflops)),
                r->bytes / (1e9 * fmax(a->triad_gb_per_s, b->triad_gb_per_s)));
}

/* Before the first step, after the last, and between, but not so often that short steps would find cold caches. */
static nas_status probe(timing *t, nas__bench_result *r) {
    const double start = nas__now(), seldom = 1;
    nas__bench_peaks now;
    if (!t->bound || (t->done > 0 && t->done < t->steps && start - t->probed < seldom)) {
        return NAS_OK;
    }
    nas_status status = nas__bench_probe_peaks(&now);
    for (; t->shared < t->done; t->shared++) {
        t->share[t->shared] = bound_of(r, &t->before, &now) / t->seconds[t->shared];
    }
    t->before = now;
    t->probed = nas__now();
    return status;
}

static nas_status time_step(nas__bench_subject *b, double *seconds, nas__bench_result *r) {
    uint64_t reorders = nas__reorder_count(), allocations = nas_memory().system_allocations;
    double waited = nas__bench_waited(b), start = nas__now(), loss;
    nas_memory_reset_peak();
    nas_status status = nas__bench_step(b, &loss);
    *seconds = nas__now() - start;
    r->peak_bytes = nas_memory().peak_bytes > r->peak_bytes ? nas_memory().peak_bytes : r->peak_bytes;
    r->reorders += (double)(nas__reorder_count() - reorders);
    r->allocations += (double)(nas_memory().system_allocations - allocations);
    r->wait_seconds += nas__bench_waited(b) - waited;
    return status;
}

static nas_status time_steps(nas__bench_subject *b, timing *t, nas__bench_result *r) {
    nas_status status = probe(t, r);
    nas__op_times_start(&r->times);
    while (t->done < t->steps && !status) {
        status = time_step(b, &t->seconds[t->done++], r);
        const double start = nas__now();
        status = status ? status : probe(t, r);
        nas__op_times_leave_out(&r->times, nas__now() - start);
    }
    nas__op_times_stop(&r->times);
    r->reorders /= t->steps;
    r->allocations /= t->steps;
    r->wait_seconds /= t->steps;
    return status;
}

static void summarise(timing *t, nas__bench_result *r) {
    r->step_seconds = nas__median(t->steps, t->seconds);
    r->best_seconds = t->seconds[0];
    r->bound_seconds = t->bound ? nas__median(t->steps, t->share) * r->step_seconds : 0;
    r->steps = t->steps;
    r->threads = nas_threads();
}

nas_status nas__bench_run(const nas__bench_workload *w, const nas__bench_config *config, nas__bench_result *r) {
    nas__bench_subject b = {0};
    int steps = config->steps > 0 ? config->steps : DEFAULT_STEPS;
    double *memory = nas__alloc(2 * (size_t)steps * sizeof *memory);
    *r = (nas__bench_result){.workload = w, .first_loss = NAN};
    nas__precision *precision = nas__precision_new(config->precision), *before = nas__precision_use(precision);
    nas_status status =
        memory && precision ? nas__bench_open(&b, w, config, steps + NAS__BENCH_WARM_UP) : nas_error_status();
    r->batch = b.batch;
    r->images = b.batch * (w->kind == NAS__BENCH_EVALUATION ? 2 * NAS__BENCH_PART : 1);
    status = status ? status : warm_up(&b, config, r);
    timing t = {.bound = config->bound, .seconds = memory, .share = memory ? memory + steps : NULL, .steps = steps};
    status = status ? status : time_steps(&b, &t, r);
    if (!status) {
        summarise(&t, r);
    }
    if (!status && precision->mode != NAS_F32) {
        nas__precision_text(precision, r->precision, sizeof r->precision);
    }
    nas__precision_use(before);
    nas__precision_free(precision);
    nas__bench_close(&b);
    free(memory);
    nas__memory_trim();
    return status;
}
