/* tasks.c - see tasks.h. */
#include "kernels/tasks.h"

#include <omp.h>
#include <stdbool.h>

static uint64_t pack(int64_t from, int64_t to) { return (uint64_t)from << 32 | (uint64_t)to; }

void nas__tasks_share(nas__tasks *tasks, int count) {
    const int threads = omp_get_max_threads();
    tasks->shares = threads < NAS__MOST_SHARES ? threads : NAS__MOST_SHARES;
    for (int64_t i = 0; i < tasks->shares; i++) {
        atomic_init(&tasks->share[i].range, pack(i * count / tasks->shares, (i + 1) * count / tasks->shares));
    }
}

/* The first or the last task of a share, or -1. */
static int take(_Atomic uint64_t *share, bool first) {
    uint64_t range = atomic_load_explicit(share, memory_order_relaxed), rest;
    int from, to;
    do {
        from = (int)(range >> 32);
        to = (int)(range & UINT32_MAX);
        if (from >= to) {
            return -1;
        }
        rest = first ? pack(from + 1, to) : pack(from, to - 1);
    } while (!atomic_compare_exchange_weak_explicit(share, &range, rest, memory_order_relaxed, memory_order_relaxed));
    return first ? from : to - 1;
}

int nas__tasks_next(nas__tasks *tasks) {
    const int own = omp_get_thread_num() % tasks->shares;
    int task = take(&tasks->share[own].range, true);
    for (int i = 1; task < 0 && i < tasks->shares; i++) {
        task = take(&tasks->share[(own + i) % tasks->shares].range, false);
    }
    return task;
}
