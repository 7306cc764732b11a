/* scratch.h - working memory for kernels that must not allocate in steady state. A buffer keeps its size between calls
 * and a thread gets the buffer it had last time whenever that one is free, so its contents are usually still in cache.
 *
 * The rule for kernels: take all scratch memory BEFORE the parallel region, in the thread that was called, and return
 * at once when there is none. The error (NAS_NO_MEMORY) is then pending in the caller's thread, where the end of the
 * pass sees it; an error inside the region would be pending in a thread that nobody asks.
 *
 *     nas__scratch *scratch = nas__scratch_acquire_team(count);    // or nas__scratch_acquire: one buffer for all
 *     if (!scratch) {
 *         return;
 *     }
 *     #pragma omp parallel
 *     {
 *         float *plane = nas__scratch_mine(scratch);
 *         ...
 *     }
 *     nas__scratch_release(scratch); */
#ifndef NAS_KERNELS_SCRATCH_H
#define NAS_KERNELS_SCRATCH_H

#include <stddef.h>

typedef struct nas__scratch nas__scratch;

/* A buffer of `count` floats, 4096-byte aligned, contents undefined. NULL and an error when memory is out. */
nas__scratch *nas__scratch_acquire(size_t count);
/* The same, with room for `count` floats of each thread of the next parallel region. */
nas__scratch *nas__scratch_acquire_team(size_t count);
/* The whole buffer of nas__scratch_acquire. */
float *nas__scratch_floats(nas__scratch *scratch);
/* Inside the region: the calling thread's part of the buffer of nas__scratch_acquire_team, 4096-byte aligned. */
float *nas__scratch_mine(nas__scratch *scratch);
void nas__scratch_release(nas__scratch *scratch);

#endif
