/* bench.h - the speed of whole steps of search, training and inference, against what this machine can do. */
#ifndef SEARCH_BENCH_H
#define SEARCH_BENCH_H

#include "search/op_times.h"

/* What this machine reaches just now: the largest square product of oneDNN, and y = a*x + b*y over arrays far larger
 * than its caches (two read, one written). */
typedef struct nas__bench_peaks {
    double gemm_gflops, triad_gb_per_s;
} nas__bench_peaks;
nas_status nas__bench_measure_peaks(nas__bench_peaks *peaks);
/* The same, but free memory stays with the steps that it is for. */
nas_status nas__bench_probe_peaks(nas__bench_peaks *peaks);

/* --- workloads ----------------------------------------------------------------------------------- */
typedef enum nas__bench_kind {
    NAS__BENCH_SEARCH,
    NAS__BENCH_EVALUATION, /* of an architecture with the shared weights, each time of another one */
    NAS__BENCH_TRAINING,
    NAS__BENCH_INFERENCE
} nas__bench_kind;
typedef struct nas__bench_workload {
    const char *name, *summary;
    nas__bench_kind kind;
    int64_t batch;                                     /* images of a step, unless the configuration says otherwise */
    int side;                                          /* height and width of an image */
    const char *space, *space_options;                 /* "a=1,b=2"; NULL: the space's defaults */
    const char *strategy, *strategy_options;           /* of a search or evaluation */
    const char *architecture;                          /* JSON: what the space is fixed to; NULL for a search */
    nas_module *(*network)(int channels, int outputs); /* instead of a space */
} nas__bench_workload;
/* Ends with a NULL name. */
extern const nas__bench_workload nas__bench_workloads[];
/* NULL and an error with the nearest name when there is none. */
const nas__bench_workload *nas__bench_find(const char *name);

/* --- running one --------------------------------------------------------------------------------- */
typedef struct nas__bench_config {
    int steps;     /* timed; 0 = 5, after 2 others */
    int threads;   /* 0 = all cores */
    int64_t batch; /* 0 = the workload's */
    uint64_t seed;
    nas_precision precision;
    bool bound;             /* measure the machine between the steps, for bound_seconds */
    const char *first_step; /* file for the numbers of the first step, by name, so that another system can repeat it; or
                               NULL */
} nas__bench_config;

typedef struct nas__bench_result {
    const nas__bench_workload *workload;
    int steps, threads;
    int64_t batch;                     /* images of the step of the weights, or of the inference */
    int64_t images;                    /* of a whole evaluation; of the others the batch */
    double first_loss;                 /* loss of the very first step */
    double step_seconds, best_seconds; /* median and minimum */
    /* What a step cannot be faster than, all products at the peak or all compulsory traffic at the triad's rate: the
     * median over the steps of its share of their time, each by the rates around it, of step_seconds. */
    double bound_seconds;
    double flops, bytes;          /* of a step: products of convolutions and linear layers, and compulsory traffic */
    double reorders, allocations; /* of a step */
    double wait_seconds;          /* of a step, for the loader */
    size_t peak_bytes;
    nas__op_times times; /* of all timed steps */
    char precision[512]; /* what is computed in bf16; empty: nothing was asked for */
} nas__bench_result;
nas_status nas__bench_run(const nas__bench_workload *workload, const nas__bench_config *config,
                          nas__bench_result *result);

/* --- a search's passes against networks -------------------------------------------------------------- */
/* A pass of a strategy that draws paths for weights and for alpha, against the stand-alone networks of the paths that
 * it drew: forward and backward, on as many images, in turns. */
typedef struct nas__bench_pass {
    bool of_weights;                  /* else of the architecture */
    int networks;                     /* 1, or 2 for gates between two paths */
    double seconds, networks_seconds; /* medians; of the networks together */
    double ratio;                     /* median of the rounds' */
} nas__bench_pass;

enum { NAS__BENCH_PASSES = 4 };
typedef struct nas__bench_paths {
    nas__bench_pass of[NAS__BENCH_PASSES];
    int n; /* passes of a step; 0: its passes are of no path */
    /* What a step takes beyond what is there before and after it, as weights and their momentum are; the most that one
     * of the networks takes. */
    size_t step_bytes, network_bytes;
    size_t weights_bytes, network_weights_bytes; /* of the supernet, and of the largest of the networks */
} nas__bench_paths;
nas_status nas__bench_against_paths(const nas__bench_workload *workload, const nas__bench_config *config,
                                    nas__bench_paths *paths);

#endif
