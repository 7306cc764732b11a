/* bench.c - `espalier bench`: how fast search steps are here, and what bounds them. */
#include "cli/cli.h"

#include "core/error.h"
#include "run/run.h"
#include "search/bench.h"

#include <stdlib.h>

enum { SHOWN_OPS = 24 };

const char *cli_bench_word(int i) { return nas__bench_workloads[i].name; }

/* --- JSON ---------------------------------------------------------------------------------------- */
static json_t *machine_json(const nas__bench_peaks *peaks) {
    char *text = nas__machine_json();
    json_t *machine = text ? json_loads(text, 0, NULL) : NULL;
    free(text);
    json_object_set_new(machine, "threads", json_integer(nas_threads()));
    json_object_set_new(machine, "gemm_gflops", json_real(peaks->gemm_gflops));
    json_object_set_new(machine, "triad_gb_per_s", json_real(peaks->triad_gb_per_s));
    return machine;
}

static json_t *ops_json(const nas__bench_result *r) {
    json_t *all = json_array();
    for (int i = 0; i < r->n_ops; i++) {
        const nas__bench_op *op = &r->ops[i];
        json_array_append_new(all, json_pack("{s:s, s:s, s:f, s:I, s:f, s:f}", "name", op->name, "pass",
                                             op->backward ? "backward" : "forward", "ms", 1e3 * op->seconds, "calls",
                                             (json_int_t)op->calls, "gflop", 1e-9 * op->flops, "gb", 1e-9 * op->bytes));
    }
    return all;
}

static json_t *result_json(const cli_args *a, const nas__bench_result *r, const nas__bench_peaks *peaks) {
    double bound = nas__bench_bound(r, peaks);
    json_t *json = json_pack(
        "{s:s, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:I, s:f, s:f, s:f, s:i, s:i, s:f}", "name", r->workload->name,
        "step_ms", 1e3 * r->step_seconds, "step_ms_min", 1e3 * r->best_seconds, "images_per_s",
        (double)r->batch / r->step_seconds, "gflops", 1e-9 * r->flops / r->step_seconds, "roofline_share",
        bound / r->step_seconds, "bound_ms", 1e3 * bound, "step_gflop", 1e-9 * r->flops, "step_gb", 1e-9 * r->bytes,
        "peak_bytes", (json_int_t)r->peak_bytes, "reorders", r->reorders, "allocations", r->allocations, "wait_ms",
        1e3 * r->wait_seconds, "batch", (int)r->batch, "steps", r->steps, "first_loss", r->first_loss);
    if (json && a->op_times) {
        json_object_set_new(json, "ops", ops_json(r));
    }
    return json;
}

/* --- text ---------------------------------------------------------------------------------------- */
static void print_machine(json_t *machine) {
    printf("%s, %s, %d threads, oneDNN %s\n  products %.0f GFLOP/s, memory %.1f GB/s (measured now)\n",
           json_string_value(json_object_get(machine, "cpu")), json_string_value(json_object_get(machine, "isa")),
           (int)json_integer_value(json_object_get(machine, "threads")),
           json_string_value(json_object_get(machine, "onednn")),
           json_number_value(json_object_get(machine, "gemm_gflops")),
           json_number_value(json_object_get(machine, "triad_gb_per_s")));
}

static void print_ops(const nas__bench_result *r) {
    printf("  %-20s %-8s %7s %9s %6s %8s\n", "operation", "pass", "calls", "ms", "share", "GFLOP/s");
    for (int i = 0; i < r->n_ops && i < SHOWN_OPS; i++) {
        const nas__bench_op *op = &r->ops[i];
        printf("  %-20s %-8s %7llu %9.1f %5.1f%% %8.0f\n", op->name, op->backward ? "backward" : "forward",
               (unsigned long long)op->calls, 1e3 * op->seconds, 100 * op->seconds / r->step_seconds,
               op->seconds > 0 ? 1e-9 * op->flops / op->seconds : 0);
    }
}

static void print_result(const cli_args *a, const nas__bench_result *r, const nas__bench_peaks *peaks) {
    double bound = nas__bench_bound(r, peaks);
    printf("%s%s%s: %s, batch %d\n", cli_bold(stdout), r->workload->name, cli_plain(stdout), r->workload->summary,
           (int)r->batch);
    printf("  step         %.0f ms (fastest %.0f), %.1f images/s\n", 1e3 * r->step_seconds, 1e3 * r->best_seconds,
           (double)r->batch / r->step_seconds);
    printf("  rate         %.1f GFLOP/s; %.0f%% of the bound of %.0f ms (%.0f GFLOP, %.1f GB)\n",
           1e-9 * r->flops / r->step_seconds, 100 * bound / r->step_seconds, 1e3 * bound, 1e-9 * r->flops,
           1e-9 * r->bytes);
    printf("  memory       %.2f GB at most; per step %.3g reorders, %.3g allocations\n", 1e-9 * (double)r->peak_bytes,
           r->reorders, r->allocations);
    printf("  data         %.1f ms of waiting per step\n", 1e3 * r->wait_seconds);
    if (a->op_times) {
        print_ops(r);
    }
    fflush(stdout);
}

/* --- the subcommand ------------------------------------------------------------------------------ */
static nas_status run_one(cli_args *a, const nas__bench_workload *w, const nas__bench_peaks *peaks, json_t *results) {
    nas__bench_config config = {
        .steps = (int)a->steps, .threads = (int)a->threads, .seed = (uint64_t)a->seed, .first_step = a->first_step};
    nas__bench_result r;
    cli_note("%s: %d steps", w->name, config.steps);
    nas_status status = nas__bench_run(w, &config, &r);
    if (!status && a->json) {
        json_array_append_new(results, result_json(a, &r, peaks));
    } else if (!status) {
        print_result(a, &r, peaks);
    }
    return status;
}

nas_status cli_bench(cli_args *a) {
    const nas__bench_workload *only = a->n_names > 0 ? nas__bench_find(a->names[0]) : NULL;
    if (nas_error_status()) {
        return nas_error_status();
    }
    if (a->first_step && !only) {
        return nas__fail(NAS_USAGE,
                         "--first-step: the first step of which benchmark? espalier bench NAME --first-step FILE");
    }
    nas__bench_peaks peaks;
    if (nas__bench_measure_peaks(&peaks)) {
        return nas_error_status();
    }
    json_t *machine = machine_json(&peaks), *results = json_array();
    if (!a->json) {
        print_machine(machine);
    }
    nas_status status = NAS_OK;
    for (const nas__bench_workload *w = nas__bench_workloads; w->name && !status; w++) {
        if (!only || only == w) {
            status = run_one(a, w, &peaks, results);
        }
    }
    if (!status && a->json) {
        return cli_print_json(json_pack("{s:o, s:o}", "machine", machine, "results", results));
    }
    json_decref(machine);
    json_decref(results);
    return status;
}
