/* tasks.c - see tasks.h. */
#include "kernels/tasks.h"

#include <omp.h>

static uint64_t pack(int64_t from, int64_t to) { return (uint64_t)from << 32 | (uint64_t)to; }

void nas__tasks_share(nas__tasks *tasks, int count) {
    const int threads = omp_get_max_threads();
    tasks->shares = threads < NAS__MOST_SHARES ? threads : NAS__MOST_SHARES;
    for (int64_t i = 0; i < tasks->shares; i++) {
        atomic_init(&tasks->share[i].range, pack(i * count / tasks->shares, (i + 1) * count / tasks->shares));
    }
}

/* The first or the last quarter of what a share still has. */
static bool take(_Atomic uint64_t *share, bool first, nas__turn *turn) {
    uint64_t range = atomic_load_explicit(share, memory_order_relaxed), rest;
    do {
        const int from = (int)(range >> 32), to = (int)(range & UINT32_MAX), count = (to - from + 3) / 4;
        if (count == 0) {
            return false;
        }
        *turn = first ? (nas__turn){from, from + count} : (nas__turn){to - count, to};
        rest = first ? pack(from + count, to) : pack(from, to - count);
    } while (!atomic_compare_exchange_weak_explicit(share, &range, rest, memory_order_relaxed, memory_order_relaxed));
    return true;
}

bool nas__tasks_take(nas__tasks *tasks, nas__turn *turn) {
    const int own = omp_get_thread_num() % tasks->shares;
    bool taken = take(&tasks->share[own].range, true, turn);
    for (int i = 1; !taken && i < tasks->shares; i++) {
        taken = take(&tasks->share[(own + i) % tasks->shares].range, false, turn);
    }
    return taken;
}
