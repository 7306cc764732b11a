/* threads.c - how many threads the kernels (ours and oneDNN's, both over OpenMP) use. */
#include "core/threads.h"
#include "core/error.h"
#include "espalier_version.h"

#include <omp.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

static atomic_int wanted;

/* OMP_NUM_THREADS limits us as it does other programs: batch systems set it, and so does whoever wants one thread. */
static int available(void) {
    const char *limit = getenv("OMP_NUM_THREADS");
    int asked = limit ? atoi(limit) : 0;
    if (asked > 0) {
        return asked;
    }
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set);
    return n > 0 ? n : 1;
}

void nas_set_threads(int n) {
    atomic_store(&wanted, n > 0 ? n : available());
    nas__apply_threads();
}

int nas_threads(void) {
    int n = atomic_load(&wanted);
    return n > 0 ? n : omp_get_max_threads();
}

void nas__apply_threads(void) {
    int n = atomic_load(&wanted);
    if (n > 0 && omp_get_max_threads() != n) {
        omp_set_num_threads(n); /* OpenMP keeps this per calling thread */
    }
}

void nas__apply_one_thread(void) {
    int none = 0;
    atomic_compare_exchange_strong(&wanted, &none, omp_get_max_threads()); /* for nas__apply_threads to find */
    omp_set_num_threads(1);
}

const char *nas_version(void) { return ESPALIER_VERSION; }
