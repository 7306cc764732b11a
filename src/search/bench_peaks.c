/* bench_peaks.c - the two rates that bound every step on this machine: multiply-adds, and bytes from memory. */
#include "core/memory.h"
#include "kernels/kernels.h"
#include "kernels/onednn.h"
#include "search/bench.h"
#include "search/pace.h"

#include <math.h>

enum { REPEATS = 5, TRIAD_FLOATS = 64 << 20 };

/* New memory holds anything: a product of NaN or of denormal numbers may be slower. */
static nas__buffer *ones(size_t count) {
    nas__buffer *b = nas__buffer_new(count * sizeof(float));
    for (size_t i = 0; b && i < count; i++) {
        b->data[i] = 1;
    }
    return b;
}

static double gemm_rate(int64_t n) {
    size_t count = (size_t)(n * n);
    nas__buffer *a = ones(count), *b = ones(count), *c = ones(count);
    double best = INFINITY;
    nas_status status = a && b && c ? NAS_OK : nas_error_status();
    for (int i = 0; i <= REPEATS && !status; i++) {
        double start = nas__now();
        status = nas__matmul(n, n, n, a->data, false, b->data, false, c->data);
        best = fmin(best, nas__now() - start);
    }
    nas__buffer_unref(a);
    nas__buffer_unref(b);
    nas__buffer_unref(c);
    return 2.0 * (double)n * (double)n * (double)n / best / 1e9;
}

static double triad_rate(void) {
    size_t count = TRIAD_FLOATS;
    nas__buffer *x = ones(count), *y = ones(count);
    double best = INFINITY;
    for (int i = 0; i <= REPEATS && x && y; i++) {
        double start = nas__now();
        nas__kernel_table()->axpby(count, 0.5f, x->data, 0.5f, y->data);
        best = fmin(best, nas__now() - start);
    }
    nas__buffer_unref(x);
    nas__buffer_unref(y);
    return 3.0 * (double)count * sizeof(float) / best / 1e9;
}

nas_status nas__bench_probe_peaks(nas__bench_peaks *peaks) {
    *peaks = (nas__bench_peaks){0};
    for (int64_t n = 512; n <= 2048 && !nas_error_status(); n *= 2) {
        peaks->gemm_gflops = fmax(peaks->gemm_gflops, gemm_rate(n));
    }
    peaks->triad_gb_per_s = nas_error_status() ? 0 : triad_rate();
    return nas_error_status();
}

nas_status nas__bench_measure_peaks(nas__bench_peaks *peaks) {
    nas_status status = nas__bench_probe_peaks(peaks);
    nas__memory_trim(); /* half a gigabyte that no step will ask for again */
    return status;
}
