/* bench_ops.c - `espalier bench ops`: single kernels, ours beside oneDNN's. */
#include "cli/bench.h"

#include "search/bench_kernels.h"

#include <math.h>

typedef struct table {
    const nas__bench_peaks *peaks;
    json_t *rows; /* NULL: text */
} table;

/* Of what the machine reaches: products or bytes, whichever bounds the kernel. */
static double share(const table *t, const nas__bench_kernel *k, double seconds) {
    return fmax(1e-9 * k->flops / t->peaks->gemm_gflops, 1e-9 * k->bytes / t->peaks->triad_gb_per_s) / seconds;
}

static json_t *seconds_json(double seconds) { return isfinite(seconds) ? json_real(1e3 * seconds) : json_null(); }

static void add_row(const table *t, const nas__bench_kernel *k) {
    double best = fmin(k->ours, k->onednn);
    json_array_append_new(t->rows, json_pack("{s:s, s:s, s:s, s:o, s:o, s:f, s:f, s:f}", "name", k->name, "pass",
                                             k->pass, "shape", k->shape, "ms", seconds_json(k->ours), "onednn_ms",
                                             seconds_json(k->onednn), "gflops", 1e-9 * k->flops / best, "gb_per_s",
                                             1e-9 * k->bytes / best, "share", share(t, k, best)));
}

static void print_seconds(double seconds) {
    if (isfinite(seconds)) {
        printf(" %8.3f", 1e3 * seconds);
    } else {
        printf(" %8s", "-");
    }
}

static void print_row(const table *t, const nas__bench_kernel *k) {
    double best = fmin(k->ours, k->onednn);
    printf("  %-22s %-16s %-30s", k->name, k->pass, k->shape);
    print_seconds(k->ours);
    print_seconds(k->onednn);
    printf(" %8.0f %7.1f %5.0f%%", 1e-9 * k->flops / best, 1e-9 * k->bytes / best, 100 * share(t, k, best));
    if (isfinite(k->ours) && isfinite(k->onednn)) {
        printf("  %s %.2fx", k->ours <= k->onednn ? "ours" : "oneDNN", fmax(k->ours, k->onednn) / best);
    }
    printf("\n");
}

static void visit(const nas__bench_kernel *k, void *user) {
    table *t = user;
    if (!isfinite(k->ours) && !isfinite(k->onednn)) {
        return; /* a shape without any fast kernel: the engine takes another way */
    }
    if (t->rows) {
        add_row(t, k);
    } else {
        print_row(t, k);
    }
}

/* --- bf16 ------------------------------------------------------------------------------------------ */
static void visit_precision(const nas__bench_precision *row, void *user) {
    table *t = user;
    if (t->rows) {
        json_array_append_new(t->rows, json_pack("{s:s, s:o, s:o}", "shape", row->shape, "f32_ms",
                                                 seconds_json(row->f32), "bf16_ms", seconds_json(row->bf16)));
        return;
    }
    printf("  %-30s", row->shape);
    print_seconds(row->f32);
    print_seconds(row->bf16);
    if (isfinite(row->bf16)) {
        printf("  %s %.2fx", row->bf16 < row->f32 ? "bf16" : "f32",
               fmax(row->f32, row->bf16) / fmin(row->f32, row->bf16));
    }
    printf("\n");
}

static nas_status precisions(table *t) {
    if (!t->rows) {
        printf("  %-30s %8s %8s  (convolutions behind a ReLU, forward and backward, conversions included)\n",
               "f32 beside bf16", "f32 ms", "bf16 ms");
    }
    return nas__bench_precisions(false, visit_precision, t);
}

nas_status cli_bench_ops(cli_args *a, json_t *machine, const nas__bench_peaks *peaks) {
    table t = {.peaks = peaks, .rows = a->json ? json_array() : NULL};
    if (!a->json) {
        printf("  %-22s %-16s %-30s %8s %8s %8s %7s %6s\n", "kernel", "pass", "shape", "ours ms", "oneDNN", "GFLOP/s",
               "GB/s", "share");
    }
    nas_status status = nas__bench_kernels(false, visit, &t);
    table p = {.rows = a->json ? json_array() : NULL};
    if (!status && cli_precision(a) != NAS_F32 && !nas_bf16_missing()) {
        status = precisions(&p);
    }
    if (!status && a->json) {
        return cli_print_json(
            json_pack("{s:o, s:o, s:o}", "machine", machine, "kernels", t.rows, "precisions", p.rows));
    }
    json_decref(machine);
    json_decref(t.rows);
    json_decref(p.rows);
    return status;
}
