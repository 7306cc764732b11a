/* memory.c - see memory.h. Sizes are rounded to classes eight per power of two, so at most 12.5 % is wasted. */
#include "core/memory.h"
#include "core/error.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { CLASSES = 8 * 56, CHUNK = 1 << 16, LARGE = 1 << 21 /* a huge page */ };

static struct {
    pthread_mutex_t lock;
    nas__buffer *free[CLASSES];
    nas__buffer *spare; /* headers without memory */
    nas_memory_stats stats;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER};

static int size_class(size_t bytes, size_t *rounded) {
    if (bytes < 64) {
        bytes = 64;
    }
    int power = 63 - __builtin_clzll(bytes); /* 2^power <= bytes */
    size_t step = (size_t)1 << (power - 3);
    if (step < 64) {
        step = 64;
    }
    size_t up = (bytes + step - 1) / step * step;
    power = 63 - __builtin_clzll(up);
    *rounded = up;
    return power * 8 + (int)((up >> (power - 3)) & 7);
}

static nas__buffer *take_cached(int class, size_t bytes) {
    nas__buffer *b = pool.free[class];
    if (b) {
        pool.free[class] = b->next;
        pool.stats.cached_bytes -= bytes;
    }
    return b;
}

nas__buffer *nas__buffer_new(size_t bytes) {
    size_t rounded;
    int class = size_class(bytes, &rounded);
    pthread_mutex_lock(&pool.lock);
    nas__buffer *b = take_cached(class, rounded);
    bool fresh = !b;
    pool.stats.live_bytes += rounded;
    if (pool.stats.live_bytes > pool.stats.peak_bytes) {
        pool.stats.peak_bytes = pool.stats.live_bytes;
    }
    pool.stats.system_allocations += fresh;
    pthread_mutex_unlock(&pool.lock);
    if (fresh) {
        void *data = NULL;
        b = malloc(sizeof *b);
        if (!b || posix_memalign(&data, rounded >= LARGE ? LARGE : 64, rounded)) {
            free(b);
            pthread_mutex_lock(&pool.lock);
            pool.stats.live_bytes -= rounded;
            pthread_mutex_unlock(&pool.lock);
            return nas__fail_null(NAS_NO_MEMORY,
                                  "no memory for a tensor of %.1f MB (%.1f MB in use); use a smaller batch or network",
                                  (double)rounded / 1e6, (double)pool.stats.live_bytes / 1e6);
        }
        if (rounded >= LARGE) {
            madvise(data, rounded, MADV_HUGEPAGE); /* a wish: passes over large tensors spend less on page tables */
        }
        *b = (nas__buffer){.data = data, .bytes = rounded};
    }
    b->next = NULL;
    atomic_store_explicit(&b->refs, 1, memory_order_relaxed);
    return b;
}

nas__buffer *nas__buffer_ref(nas__buffer *b) {
    if (b) {
        atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
    }
    return b;
}

void nas__buffer_unref(nas__buffer *b) {
    if (!b || atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    size_t rounded;
    int class = size_class(b->bytes, &rounded);
    pthread_mutex_lock(&pool.lock);
    b->next = pool.free[class];
    pool.free[class] = b;
    pool.stats.live_bytes -= b->bytes;
    pool.stats.cached_bytes += b->bytes;
    pthread_mutex_unlock(&pool.lock);
}

void nas__memory_trim(void) {
    pthread_mutex_lock(&pool.lock);
    for (int i = 0; i < CLASSES; i++) {
        while (pool.free[i]) {
            nas__buffer *b = pool.free[i];
            pool.free[i] = b->next;
            free(b->data);
            free(b);
        }
    }
    pool.stats.cached_bytes = 0;
    pthread_mutex_unlock(&pool.lock);
}

nas_memory_stats nas_memory(void) {
    pthread_mutex_lock(&pool.lock);
    nas_memory_stats stats = pool.stats;
    pthread_mutex_unlock(&pool.lock);
    return stats;
}

void nas_memory_reset_peak(void) {
    pthread_mutex_lock(&pool.lock);
    pool.stats.peak_bytes = pool.stats.live_bytes;
    pthread_mutex_unlock(&pool.lock);
}

/* --- arena --------------------------------------------------------------------------------------- */
struct nas__arena_chunk {
    struct nas__arena_chunk *next;
    size_t size;
    _Alignas(64) unsigned char bytes[]; /* as vectors want it */
};

static bool next_chunk(nas__arena *arena, size_t bytes) {
    struct nas__arena_chunk *next = arena->current ? arena->current->next : arena->first;
    if (!next || next->size < bytes) {
        size_t size = bytes > CHUNK ? bytes : CHUNK; /* multiples of 64 both */
        struct nas__arena_chunk *fresh = aligned_alloc(64, sizeof *fresh + size);
        if (!fresh) {
            nas__fail(NAS_NO_MEMORY, "no memory for %zu bytes", size);
            return false;
        }
        *fresh = (struct nas__arena_chunk){.next = next, .size = size};
        *(arena->current ? &arena->current->next : &arena->first) = fresh;
        next = fresh;
    }
    arena->current = next;
    arena->used = 0;
    return true;
}

void *nas__arena_alloc(nas__arena *arena, size_t bytes) {
    bytes = (bytes + 63) & ~(size_t)63;
    if ((!arena->current || arena->used + bytes > arena->current->size) && !next_chunk(arena, bytes)) {
        return NULL;
    }
    void *p = arena->current->bytes + arena->used;
    arena->used += bytes;
    return memset(p, 0, bytes);
}

void nas__arena_reset(nas__arena *arena) {
    arena->current = arena->first;
    arena->used = 0;
}

void nas__arena_free(nas__arena *arena) {
    for (struct nas__arena_chunk *c = arena->first; c;) {
        struct nas__arena_chunk *next = c->next;
        free(c);
        c = next;
    }
    *arena = (nas__arena){0};
}

/* --- small allocations --------------------------------------------------------------------------- */
void *nas__alloc(size_t bytes) {
    void *p = calloc(1, bytes ? bytes : 1);
    return p ? p : nas__fail_null(NAS_NO_MEMORY, "no memory for %zu bytes", bytes);
}

char *nas__strdup(const char *s) {
    char *copy = nas__alloc(strlen(s) + 1);
    return copy ? strcpy(copy, s) : NULL;
}

char *nas__format(const char *format, ...) {
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *text = nas__alloc((size_t)n + 1);
    if (text) {
        vsnprintf(text, (size_t)n + 1, format, again);
    }
    va_end(again);
    return text;
}

bool nas__grow(void *array, size_t count, size_t size) {
    if (count & (count - 1) || count == 1) { /* room doubles at 0, 2, 4, 8, ... */
        return true;
    }
    void **p = array;
    void *grown = realloc(*p, (count ? 2 * count : 2) * size);
    if (!grown) {
        nas__fail(NAS_NO_MEMORY, "no memory for %zu elements", 2 * count);
        return false;
    }
    *p = grown;
    return true;
}
