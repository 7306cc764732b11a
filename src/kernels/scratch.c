/* scratch.c - a list of buffers that only grows. Nodes are never freed: the list stays reachable from a static, is as
 * long as the largest number of buffers ever held at once, and therefore needs no thread destructors. */
#include "kernels/scratch.h"
#include "core/error.h"

#include <omp.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

/* Parts of a team are a multiple of this apart: most kernels need less, so that each thread's part stays where it is,
 * in that core's cache, from one kernel to the next. */
enum { ALIGNMENT = 4096, PART = 1 << 16 };

struct nas__scratch {
    float *memory;
    size_t bytes, part; /* part: bytes between the parts of a team */
    atomic_bool held;
    nas__scratch *next; /* written before the node is published, constant afterwards */
};

static _Atomic(nas__scratch *) all;

/* The buffers this thread held last; the first for the outermost holder, the second for one inside it. */
static _Thread_local nas__scratch *mine[2];

static bool take(nas__scratch *node) {
    return !atomic_load_explicit(&node->held, memory_order_relaxed) &&
           !atomic_exchange_explicit(&node->held, true, memory_order_acquire);
}

static nas__scratch *new_node(void) {
    nas__scratch *node = calloc(1, sizeof *node);
    if (node) {
        atomic_init(&node->held, true);
        node->next = atomic_load(&all);
        while (!atomic_compare_exchange_weak(&all, &node->next, node)) {
        }
    }
    return node;
}

static nas__scratch *find(void) {
    for (int i = 0; i < 2; i++) {
        if (mine[i] && take(mine[i])) {
            return mine[i];
        }
    }
    for (nas__scratch *node = atomic_load(&all); node; node = node->next) {
        if (take(node)) {
            return node;
        }
    }
    return new_node();
}

static bool grow(nas__scratch *node, size_t bytes) {
    if (node->bytes < bytes) {
        free(node->memory);
        node->memory = aligned_alloc(ALIGNMENT, bytes);
        node->bytes = node->memory ? bytes : 0;
    }
    return node->memory != NULL;
}

static nas__scratch *acquire(size_t parts, size_t part) {
    nas__scratch *node = part && part <= SIZE_MAX / parts ? find() : NULL;
    if (node && !grow(node, parts * part)) {
        nas__scratch_release(node);
        node = NULL;
    }
    if (!node) {
        return nas__fail_null(NAS_NO_MEMORY,
                              "no memory for %zu times %zu bytes of a kernel's working memory; use a smaller "
                              "batch or fewer threads",
                              parts, part);
    }
    if (node != mine[0] && node != mine[1]) {
        mine[mine[0] ? 1 : 0] = node;
    }
    node->part = part;
    return node;
}

/* Bytes of `count` floats and a bit more, 0 when there are too many. */
static size_t rounded_bytes(size_t count, size_t multiple) {
    return count > (SIZE_MAX - multiple) / sizeof(float)
               ? 0
               : (count * sizeof(float) + multiple) / multiple * multiple; /* never 0: no memory has no address */
}

nas__scratch *nas__scratch_acquire(size_t count) { return acquire(1, rounded_bytes(count, ALIGNMENT)); }

nas__scratch *nas__scratch_acquire_team(size_t count) {
    return acquire((size_t)omp_get_max_threads(), rounded_bytes(count, PART));
}

float *nas__scratch_floats(nas__scratch *scratch) { return scratch->memory; }

float *nas__scratch_mine(nas__scratch *scratch) {
    return scratch->memory + (size_t)omp_get_thread_num() * (scratch->part / sizeof(float));
}

void nas__scratch_release(nas__scratch *scratch) { atomic_store_explicit(&scratch->held, false, memory_order_release); }
