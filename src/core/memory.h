/* memory.h - tensor buffers: reference-counted, 64-byte aligned, from a caching allocator. Freed buffers are kept by
 * size class and handed out again, so a training step in its steady state never reaches the system's allocator. */
#ifndef CORE_MEMORY_H
#define CORE_MEMORY_H

#include <espalier/core.h>

#include <stdatomic.h>

typedef struct nas__buffer {
    float *data;
    size_t bytes; /* of its size class */
    atomic_int refs;
    struct nas__buffer *next; /* in the free list */
} nas__buffer;

/* A buffer with at least `bytes` bytes and one reference; contents undefined. NULL and an error when memory is out. */
nas__buffer *nas__buffer_new(size_t bytes);
nas__buffer *nas__buffer_ref(nas__buffer *b); /* NULL is fine */
void nas__buffer_unref(nas__buffer *b);       /* NULL is fine */
/* Gives every cached buffer back to the system. */
void nas__memory_trim(void);

/* Bump allocator for the small structures of one forward pass; keeps its chunks over resets. */
typedef struct nas__arena {
    struct nas__arena_chunk *first, *current;
    size_t used;
} nas__arena;
void *nas__arena_alloc(nas__arena *arena,
                       size_t bytes); /* zeroed, aligned to 64 bytes; NULL and an error when memory is out */
void nas__arena_reset(nas__arena *arena);
void nas__arena_free(nas__arena *arena);

/* malloc family with an error message; zeroed. */
void *nas__alloc(size_t bytes);
char *nas__strdup(const char *s);
/* Printed string, to be freed by the caller. */
char *nas__format(const char *format, ...) NAS_PRINTF(1, 2);
/* Grows *array (element size `size`) so that it can hold one more than `count`; false when memory is out. */
bool nas__grow(void *array, size_t count, size_t size);

#endif
