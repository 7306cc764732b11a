/* bench.c - `espalier bench`: how fast steps of search, training and inference are here, and what bounds them. */
#include "cli/bench.h"

#include "core/error.h"
#include "run/run.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char ops[] = "ops";

const char *cli_bench_word(int i) {
    int n = 0;
    while (nas__bench_workloads[n].name) {
        n++;
    }
    return i < n ? nas__bench_workloads[i].name : i == n ? ops : NULL;
}

/* --- the machine --------------------------------------------------------------------------------- */
json_t *cli_bench_machine(const nas__bench_peaks *peaks) {
    char *text = nas__machine_json();
    json_t *machine = text ? json_loads(text, 0, NULL) : NULL;
    free(text);
    json_object_set_new(machine, "threads", json_integer(nas_threads()));
    json_object_set_new(machine, "gemm_gflops", json_real(peaks->gemm_gflops));
    json_object_set_new(machine, "triad_gb_per_s", json_real(peaks->triad_gb_per_s));
    return machine;
}

void cli_bench_print_machine(json_t *machine) {
    printf("%s, %s, %d threads, oneDNN %s\n  products %.0f GFLOP/s, memory %.1f GB/s (measured now)\n",
           json_string_value(json_object_get(machine, "cpu")), json_string_value(json_object_get(machine, "isa")),
           (int)json_integer_value(json_object_get(machine, "threads")),
           json_string_value(json_object_get(machine, "onednn")),
           json_number_value(json_object_get(machine, "gemm_gflops")),
           json_number_value(json_object_get(machine, "triad_gb_per_s")));
}

/* --- one result ---------------------------------------------------------------------------------- */
/* How much faster all threads are than one. */
typedef struct scaling {
    int threads;
    double gemm, triad, step;
} scaling;

static double share_of_machine(const scaling *s) { return s->step / fmin(s->gemm, s->triad); }

static json_t *result_json(const cli_args *a, const nas__bench_result *r, const scaling *s) {
    double bound = r->bound_seconds;
    json_t *json = json_pack(
        "{s:s, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:I, s:f, s:f, s:f, s:i, s:i, s:i}", "name", r->workload->name,
        "step_ms", 1e3 * r->step_seconds, "step_ms_min", 1e3 * r->best_seconds, "images_per_s",
        (double)r->images / r->step_seconds, "gflops", 1e-9 * r->flops / r->step_seconds, "roofline_share",
        bound / r->step_seconds, "bound_ms", 1e3 * bound, "step_gflop", 1e-9 * r->flops, "step_gb", 1e-9 * r->bytes,
        "peak_bytes", (json_int_t)r->peak_bytes, "reorders", r->reorders, "allocations", r->allocations, "wait_ms",
        1e3 * r->wait_seconds, "batch", (int)r->batch, "images", (int)r->images, "steps", r->steps);
    if (json && isfinite(r->first_loss)) {
        json_object_set_new(json, "first_loss", json_real(r->first_loss));
    }
    if (json && r->precision[0]) {
        json_object_set_new(json, "precision", json_string(r->precision));
    }
    if (json && a->op_times) {
        json_object_set_new(json, "ops", cli_op_times_json(&r->times, r->steps));
    }
    if (json && a->scaling) {
        json_object_set_new(json, "scaling",
                            json_pack("{s:i, s:f, s:f, s:f, s:f}", "threads", s->threads, "gemm", s->gemm, "triad",
                                      s->triad, "step", s->step, "share", share_of_machine(s)));
    }
    return json;
}

static void print_result(const cli_args *a, const nas__bench_result *r, const scaling *s) {
    double bound = r->bound_seconds;
    printf("%s%s%s: %s, batch %d\n", cli_bold(stdout), r->workload->name, cli_plain(stdout), r->workload->summary,
           (int)r->batch);
    printf("  step         %.*f ms (fastest %.*f), %.1f images/s\n", r->step_seconds < 0.1 ? 2 : 0,
           1e3 * r->step_seconds, r->step_seconds < 0.1 ? 2 : 0, 1e3 * r->best_seconds,
           (double)r->images / r->step_seconds);
    printf("  rate         %.1f GFLOP/s; %.0f%% of the bound of %.*f ms (%.4g GFLOP, %.3g GB)\n",
           1e-9 * r->flops / r->step_seconds, 100 * bound / r->step_seconds, bound < 0.1 ? 2 : 0, 1e3 * bound,
           1e-9 * r->flops, 1e-9 * r->bytes);
    printf("  memory       %.2f GB at most; per step %.3g reorders, %.3g allocations\n", 1e-9 * (double)r->peak_bytes,
           r->reorders, r->allocations);
    printf("  data         %.1f ms of waiting per step\n", 1e3 * r->wait_seconds);
    if (r->precision[0]) {
        printf("  precision    %s\n", r->precision);
    }
    if (a->scaling) {
        printf("  1 -> %d       step %.2fx; products %.2fx, memory %.2fx: %.2f of the smaller\n", s->threads, s->step,
               s->gemm, s->triad, share_of_machine(s));
    }
    if (a->op_times) {
        json_t *times = cli_op_times_json(&r->times, r->steps);
        cli_op_times_print(times);
        json_decref(times);
    }
    fflush(stdout);
}

/* --- passes against networks ----------------------------------------------------------------------- */
static const char *pass_name(const nas__bench_pass *p) { return p->of_weights ? "weights" : "architecture"; }

static json_t *paths_json(const nas__bench_paths *p) {
    json_t *passes = json_array();
    for (int i = 0; i < p->n; i++) {
        const nas__bench_pass *pass = &p->of[i];
        json_array_append_new(passes, json_pack("{s:s, s:i, s:f, s:f, s:f}", "of", pass_name(pass), "networks",
                                                pass->networks, "ms", 1e3 * pass->seconds, "networks_ms",
                                                1e3 * pass->networks_seconds, "ratio", pass->ratio));
    }
    return json_pack("{s:o, s:I, s:I, s:I, s:I}", "passes", passes, "step_bytes", (json_int_t)p->step_bytes,
                     "network_bytes", (json_int_t)p->network_bytes, "weights_bytes", (json_int_t)p->weights_bytes,
                     "network_weights_bytes", (json_int_t)p->network_weights_bytes);
}

static void print_paths(const nas__bench_paths *p) {
    for (int i = 0; i < p->n; i++) {
        const nas__bench_pass *pass = &p->of[i];
        printf("  pass         of the %s: %.1f ms, %.2f of the %.1f ms of the network%s of its path%s\n",
               pass_name(pass), 1e3 * pass->seconds, pass->ratio, 1e3 * pass->networks_seconds,
               pass->networks > 1 ? "s" : "", pass->networks > 1 ? "s" : "");
    }
    if (p->n) {
        printf(
            "  candidates   a step takes %.1f MB, a network of its paths %.1f MB, beside weights of %.2f and %.2f MB\n",
            1e-6 * (double)p->step_bytes, 1e-6 * (double)p->network_bytes, 1e-6 * (double)p->weights_bytes,
            1e-6 * (double)p->network_weights_bytes);
    }
    fflush(stdout);
}

/* --- the subcommand ------------------------------------------------------------------------------ */
typedef struct bench {
    cli_args *a;
    nas__bench_peaks peaks, one; /* with all threads; with one */
    json_t *results;
} bench;

static nas_status measure_scaling(bench *b, const nas__bench_workload *w, nas__bench_config config,
                                  const nas__bench_result *all, scaling *s) {
    nas__bench_result r;
    config.threads = 1;
    config.first_step = NULL;
    config.bound = false;
    nas_status status = nas__bench_run(w, &config, &r);
    *s = (scaling){.threads = all->threads,
                   .gemm = b->peaks.gemm_gflops / b->one.gemm_gflops,
                   .triad = b->peaks.triad_gb_per_s / b->one.triad_gb_per_s,
                   .step = r.best_seconds / all->best_seconds};
    nas_set_threads((int)b->a->threads);
    return status;
}

static nas_status run_one(bench *b, const nas__bench_workload *w) {
    const cli_args *a = b->a;
    nas__bench_config config = {.steps = (int)a->steps,
                                .threads = (int)a->threads,
                                .batch = a->batch,
                                .seed = (uint64_t)a->seed,
                                .precision = cli_precision(a),
                                .bound = true,
                                .first_step = a->first_step};
    nas__bench_result r;
    nas__bench_paths paths = {0};
    scaling s = {0};
    cli_note("%s: %d steps", w->name, config.steps);
    nas_status status = nas__bench_run(w, &config, &r);
    status = status || !a->scaling ? status : measure_scaling(b, w, config, &r, &s);
    status = status ? status : nas__bench_against_paths(w, &config, &paths);
    if (!status && a->json) {
        json_t *result = result_json(a, &r, &s);
        if (paths.n) {
            json_object_set_new(result, "paths", paths_json(&paths));
        }
        json_array_append_new(b->results, result);
    } else if (!status) {
        print_result(a, &r, &s);
        print_paths(&paths);
    }
    return status;
}

static nas_status measure_peaks(bench *b) {
    nas_status status = NAS_OK;
    if (b->a->scaling) {
        nas_set_threads(1);
        status = nas__bench_measure_peaks(&b->one);
    }
    nas_set_threads((int)b->a->threads);
    return status ? status : nas__bench_measure_peaks(&b->peaks);
}

static nas_status check(const cli_args *a, const nas__bench_workload **only) {
    bool kernels = a->n_names > 0 && strcmp(a->names[0], ops) == 0;
    *only = a->n_names > 0 && !kernels ? nas__bench_find(a->names[0]) : NULL;
    if (nas_error_status()) {
        return nas_error_status();
    }
    if (a->first_step && !*only) {
        return nas__fail(NAS_USAGE,
                         "--first-step: the first step of which benchmark? espalier bench NAME --first-step FILE");
    }
    return NAS_OK;
}

nas_status cli_bench(cli_args *a) {
    bench b = {.a = a};
    const nas__bench_workload *only;
    if (cli_precision_check(a) || check(a, &only) || measure_peaks(&b)) {
        return nas_error_status();
    }
    json_t *machine = cli_bench_machine(&b.peaks);
    if (!a->json) {
        cli_bench_print_machine(machine);
    }
    if (a->n_names > 0 && !only) {
        return cli_bench_ops(a, machine, &b.peaks);
    }
    b.results = json_array();
    nas_status status = NAS_OK;
    for (const nas__bench_workload *w = nas__bench_workloads; w->name && !status; w++) {
        if (!only || only == w) {
            status = run_one(&b, w);
        }
    }
    if (!status && a->json) {
        return cli_print_json(json_pack("{s:o, s:o}", "machine", machine, "results", b.results));
    }
    json_decref(machine);
    json_decref(b.results);
    return status;
}
