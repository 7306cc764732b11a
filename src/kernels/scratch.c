/* scratch.c - a list of buffers that only grows. Nodes are never freed: the list stays reachable from a static, is as
 * long as the largest number of buffers ever held at once, and therefore needs no thread destructors. */
#include "kernels/scratch.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

struct nas__scratch {
    float *memory;
    size_t capacity;
    atomic_bool held;
    nas__scratch *next; /* written before the node is published, constant afterwards */
};

static _Atomic(nas__scratch *) all;

/* The buffers this thread held last; the first for the outermost holder, the second for one inside it. */
static _Thread_local nas__scratch *mine[2];

static void out_of_memory(size_t bytes) {
    fprintf(stderr, "espalier: out of memory (%zu bytes of kernel scratch)\n", bytes);
    abort();
}

static bool take(nas__scratch *node) {
    return !atomic_load_explicit(&node->held, memory_order_relaxed) &&
           !atomic_exchange_explicit(&node->held, true, memory_order_acquire);
}

static nas__scratch *new_node(void) {
    nas__scratch *node = calloc(1, sizeof *node);
    if (!node) {
        out_of_memory(sizeof *node);
    }
    atomic_init(&node->held, true);
    node->next = atomic_load(&all);
    while (!atomic_compare_exchange_weak(&all, &node->next, node)) {
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

nas__scratch *nas__scratch_acquire(size_t count) {
    nas__scratch *node = find();
    if (node != mine[0] && node != mine[1]) {
        mine[mine[0] ? 1 : 0] = node;
    }
    if (node->capacity < count) {
        size_t bytes = (count * sizeof(float) + 4095) / 4096 * 4096;
        free(node->memory);
        node->memory = aligned_alloc(4096, bytes);
        if (!node->memory) {
            out_of_memory(bytes);
        }
        node->capacity = bytes / sizeof(float);
    }
    return node;
}

float *nas__scratch_floats(nas__scratch *scratch) { return scratch->memory; }

void nas__scratch_release(nas__scratch *scratch) { atomic_store_explicit(&scratch->held, false, memory_order_release); }
