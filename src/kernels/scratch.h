/* scratch.h - working memory for kernels that must not allocate in steady state. A buffer is held by one thread at a
 * time and keeps its size between calls; a thread gets the buffer it had last time whenever that one is free, so its
 * contents are usually still in that core's cache. */
#ifndef NAS_KERNELS_SCRATCH_H
#define NAS_KERNELS_SCRATCH_H

#include <stddef.h>

typedef struct nas__scratch nas__scratch;

/* Takes a buffer with room for `count` floats, 64-byte aligned, contents undefined. Never NULL: a kernel has no way to
 * report failure, so running out of memory here ends the process with a message. */
nas__scratch *nas__scratch_acquire(size_t count);
float *nas__scratch_floats(nas__scratch *scratch);
void nas__scratch_release(nas__scratch *scratch);

#endif
