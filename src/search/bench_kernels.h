/* bench_kernels.h - the speed of single kernels at the shapes of the search spaces, ours beside oneDNN's: what the
 * engine's choice between the two stands on. */
#ifndef SEARCH_BENCH_KERNELS_H
#define SEARCH_BENCH_KERNELS_H

#include <espalier/core.h>

/* One kernel at one shape. */
typedef struct nas__bench_kernel {
    const char *name, *pass; /* "depthwise", "backward weights" */
    char shape[48];          /* "64x16x32x32 k3 s1 d1" */
    double flops, bytes;     /* bytes: operands and results once each */
    double ours, onednn; /* seconds, the fastest of many runs over warm caches; NaN: there is none, or oneDNN has but
                            a slow reference for it */
} nas__bench_kernel;
/* Calls visit for each of them, in a fixed order. With `quick` each runs once, at small shapes (for the tests). */
nas_status nas__bench_kernels(bool quick, void (*visit)(const nas__bench_kernel *kernel, void *user), void *user);

/* A dense convolution behind a ReLU, forward and backward, in f32 and in bf16: what --precision auto chooses by. */
typedef struct nas__bench_precision {
    char shape[48];
    double f32, bf16; /* seconds; bf16 NaN: oneDNN has but a slow reference for it */
} nas__bench_precision;
/* Of the same shapes; only where nas_bf16_missing() is NULL. */
nas_status nas__bench_precisions(bool quick, void (*visit)(const nas__bench_precision *row, void *user), void *user);

#endif
