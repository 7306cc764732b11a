/* plan.h - where the values of a fixed network lie while it runs: one arena, in which memory is used again as soon as
 * nobody reads it any more. */
#ifndef IO_PLAN_H
#define IO_PLAN_H

#include "io/graph.h"

#include <espalier/io.h>

typedef struct nas__plan {
    int64_t floats; /* of the arena, for one sample */
    int *storage;   /* per value: the value whose memory it has: itself, or one whose place it takes */
    int64_t *at;    /* per value that has memory in the arena: where that begins; -1: it has none there */
} nas__plan;

/* The network's input and output are the caller's memory, constants their own; all else is in the arena. Operations
 * that go element by element write over their input when nobody needs it later. NULL and an error when memory is out.
 */
nas__plan *nas__plan_new(const nas__graph *graph);
void nas__plan_free(nas__plan *plan); /* NULL is fine */

/* nas_count_c, and the bytes of all that is computed together, whatever the place (may be NULL). */
nas_status nas__count_memory(nas_module *model, int ndim, const int64_t *sample_dims, nas_c_memory *memory,
                             int64_t *computed);

#endif
