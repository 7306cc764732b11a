/* waiting.c - how the threads of OpenMP wait for each other. Left alone, GCC's libgomp lets a thread that waits spin
 * for milliseconds: on a machine that others use too, it burns the time of the thread that it waits for. Sleeping at
 * once is as bad on a quiet machine, for then every one of a step's hundreds of parallel regions pays for a wake-up. So
 * threads spin for some microseconds and then sleep (docs/decisions/0005-short-spinning.md).
 *
 * libgomp reads its settings once, before main(): the process starts itself anew with the setting. */
#include "cli/cli.h"

#include <limits.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { SPIN_NS = 30000, LEAST_COUNT = 100, PAUSES = 1000, REPEATS = 5 };

static double now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e9 * (double)t.tv_sec + (double)t.tv_nsec;
}

static void pause_once(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#else
    __asm__ volatile("" ::: "memory");
#endif
}

/* One turn of libgomp's loop is one pause, which takes 10 to 140 cycles, depending on the processor: it is measured. */
static int spin_count(void) {
    double least = 0;
    for (int r = 0; r < REPEATS; r++) {
        double start = now_ns();
        for (int i = 0; i < PAUSES; i++) {
            pause_once();
        }
        double took = now_ns() - start;
        least = r == 0 || took < least ? took : least;
    }
    int count = least > 0 ? (int)(SPIN_NS * (double)PAUSES / least) : LEAST_COUNT;
    return count > LEAST_COUNT ? count : LEAST_COUNT;
}

void cli_wait_briefly(char **argv) {
    if (getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT")) {
        return; /* the user's wish, or this process is the second one */
    }
    char text[16], self[PATH_MAX + 1] = "";
    snprintf(text, sizeof text, "%d", spin_count());
    /* by its own path, so that the process keeps its name; where this fails, as without /proc, threads wait in
     * libgomp's own way */
    if (readlink("/proc/self/exe", self, PATH_MAX) > 0 && setenv("GOMP_SPINCOUNT", text, 1) == 0) {
        execv(self, argv);
    }
}
