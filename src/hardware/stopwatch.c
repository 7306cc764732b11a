/* stopwatch.c - see stopwatch.h */
#include "hardware/stopwatch.h"

#include "core/error.h"
#include "tensor/tensor.h"

#include <omp.h>
#include <time.h>

double nas__now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e9 * (double)t.tv_sec + (double)t.tv_nsec;
}

/* Not zeros, which hide what branches and denormals cost. */
nas_tensor *nas__random_input(int ndim, const int64_t *dims) {
    nas_tensor *x = nas_input(ndim, dims, NULL);
    nas_rng rng = nas_rng_new(0, 0x6c6174);
    for (int64_t i = 0; x && i < nas__count(x); i++) {
        x->data[i] = (float)nas_rng_normal(&rng);
    }
    return x;
}

/* --- the canary ---------------------------------------------------------------------------------------- */
enum { CANARY_CHANNELS = 24, CANARY_WIDE = 80, CANARY_SIDE = 32 };

/* A bit of all that networks do: products, depthwise convolutions, activations beyond the second cache. */
nas_status nas__canary_open(nas__canary *c) {
    *c = (nas__canary){.module = nas_sequential(nas_mbconv(.in = CANARY_CHANNELS, .kernel = 5, .expansion = 6),
                                                nas_mbconv(.in = CANARY_CHANNELS, .out = CANARY_WIDE, .kernel = 5,
                                                           .stride = 2, .expansion = 6),
                                                nas_mbconv(.in = CANARY_WIDE, .kernel = 5, .expansion = 6)),
                       .tape = nas_tape_new()};
    return c->module && c->tape ? nas_fold_batch_norm(c->module, NULL) : nas_error_status();
}

void nas__canary_close(nas__canary *c) {
    nas_tape_free(c->tape);
    nas_module_free(c->module);
    *c = (nas__canary){0};
}

double nas__canary_ns(nas__canary *c) {
    nas_tape_begin(c->tape, &(nas_tape_config){.bn = NAS_BN_RUNNING});
    nas_tensor *x = nas__random_input(4, (int64_t[]){1, CANARY_CHANNELS, CANARY_SIDE, CANARY_SIDE});
    double start = nas__now_ns();
    nas_tensor *y = x ? nas_forward(c->module, x) : NULL;
    bool computed = y && nas__data(y);
    double used = nas__now_ns() - start;
    nas_tape_reset(c->tape);
    return computed ? used : -1;
}

/* --- threads ------------------------------------------------------------------------------------------- */
/* The last cores first: the first one serves interrupts. */
static void settle(const cpu_set_t *allowed, int thread) {
    int left = thread % CPU_COUNT(allowed);
    for (int core = CPU_SETSIZE - 1; core >= 0; core--) {
        if (CPU_ISSET(core, allowed) && left-- == 0) {
            cpu_set_t one;
            CPU_ZERO(&one);
            CPU_SET(core, &one);
            sched_setaffinity(0, sizeof one, &one);
            return;
        }
    }
}

void nas__pin(nas__pinned *before, int threads, bool pinned) {
    *before = (nas__pinned){.threads = nas_threads()};
    nas_set_threads(threads);
    before->pinned = pinned && sched_getaffinity(0, sizeof before->allowed, &before->allowed) == 0;
    if (before->pinned) {
#pragma omp parallel num_threads(threads)
        settle(&before->allowed, omp_get_thread_num());
    }
}

void nas__unpin(const nas__pinned *before) {
    if (before->pinned) {
#pragma omp parallel num_threads(nas_threads())
        sched_setaffinity(0, sizeof before->allowed, &before->allowed);
    }
    nas_set_threads(before->threads);
}
