/* fibers.h - the parts of a batch that one process computes, in lockstep: each runs until it needs numbers of all
 * parts, and goes on when all have come that far. They are fibers of one thread, so that the threads of the kernels are
 * those of every part. With one part there is nothing to switch, and it runs on the caller's stack. */
#ifndef DIST_FIBERS_H
#define DIST_FIBERS_H

#include "dist/ranks.h"

typedef struct nas__fibers nas__fibers;
/* For batches in so many parts, over all ranks: at least one for each, else NAS_USAGE. */
nas__fibers *nas__fibers_new(int parts);
void nas__fibers_free(nas__fibers *f);
/* Runs body(user, part) for the parts of this rank; pause(user, part) is called whenever one stops: it waits, or it has
 * ended. They call nas__fibers_gather() equally often with equal counts. An error of one ends all. */
nas_status nas__fibers_run(nas__fibers *f, void (*body)(void *user, int part), void (*pause)(void *user, int part),
                           void *user);
/* Inside of body: gives n numbers, returns those of all parts, [parts][n], which stay until the next call. NULL and an
 * error on failure. */
const double *nas__fibers_gather(nas__fibers *f, const double *own, size_t n);

#endif
