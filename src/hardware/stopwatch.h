/* stopwatch.h - measuring on a machine that drifts: threads that stay on their cores, and a canary, an operation that
 * is always the same, whose time tells how fast the machine is at the moment. */
#ifndef HARDWARE_STOPWATCH_H
#define HARDWARE_STOPWATCH_H

#include <espalier/nn.h>

#include <sched.h>

double nas__now_ns(void);
/* A tensor (normally distributed) on the current tape. */
nas_tensor *nas__random_input(int ndim, const int64_t *dims);

typedef struct nas__canary {
    nas_module *module;
    nas_tape *tape;
} nas__canary;
nas_status nas__canary_open(nas__canary *c);
void nas__canary_close(nas__canary *c);
/* Nanoseconds of one run; negative, and an error, on failure. */
double nas__canary_ns(nas__canary *c);

/* The process works with so many threads from here on, each on a core of its own as far as there are cores (with
 * `pinned`; other programs' threads would inherit the core). Undone by the other. */
typedef struct nas__pinned {
    int threads;
    bool pinned;
    cpu_set_t allowed;
} nas__pinned;
void nas__pin(nas__pinned *before, int threads, bool pinned);
void nas__unpin(const nas__pinned *before);

#endif
