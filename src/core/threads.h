/* threads.h - OpenMP's thread count is a property of each calling thread: a pass applies the process's wish first. */
#ifndef CORE_THREADS_H
#define CORE_THREADS_H

#include <espalier/core.h>

void nas__apply_threads(void);

#endif
