/* threads.h - OpenMP's thread count is a property of each calling thread: a pass applies the process's wish first. */
#ifndef CORE_THREADS_H
#define CORE_THREADS_H

#include <espalier/core.h>

void nas__apply_threads(void);
/* The calling thread works alone until the next nas__apply_threads(), which every nas_tape_begin() does: for passes
 * over a few numbers, where waking others costs more than the work. */
void nas__apply_one_thread(void);

#endif
