/* simd_ahead.h - memory fetched ahead: while a kernel computes on one image, what it will read and write of the next
 * one comes into the second-level cache, a few lines at a time. The processor does not do it by itself: it
 * follows a stream only as long as the stream is read, and then the arithmetic units wait. */
#ifndef NAS_KERNELS_SIMD_AHEAD_H
#define NAS_KERNELS_SIMD_AHEAD_H

#include "kernels/simd.h"

enum { AHEAD_LINE = 64, AHEAD_PARTS = 40 };

/* The simplest case: long streams that are read piece by piece, other streams in between. Each line fetches the one
 * that lies so far ahead of it; beyond the end nothing happens. */
enum { AHEAD_PIXELS = 256 };

NAS_INLINE void ahead_of(const float *p) { __builtin_prefetch(p + AHEAD_PIXELS * BLOCK, 0, 2); }

/* `planes` pieces of `lines` lines, `stride` bytes apart. */
typedef struct ahead_part {
    const char *at;
    ptrdiff_t stride;
    int planes;
    size_t lines, done;
} ahead_part;

typedef struct ahead {
    int parts, current;
    size_t step, lines, due; /* lines after each tile, in all, and those that are late */
    ahead_part part[AHEAD_PARTS];
} ahead;

NAS_INLINE void ahead_reset(ahead *a) {
    a->parts = a->current = 0;
    a->step = a->lines = a->due = 0;
}

/* Adds `planes` pieces of `floats` from `from` on, `stride` floats apart; nothing when it is NULL. */
static inline void ahead_add(ahead *a, const float *from, size_t floats, int planes, size_t stride) {
    size_t lines = floats * sizeof(float) / AHEAD_LINE;
    if (floats == stride) { /* one piece */
        lines *= (size_t)planes, planes = 1;
    }
    if (from && lines && planes && a->parts < AHEAD_PARTS) {
        a->part[a->parts++] = (ahead_part){
            .at = (const char *)from, .stride = (ptrdiff_t)(stride * sizeof(float)), .planes = planes, .lines = lines};
        a->lines += lines * (size_t)planes;
    }
}

/* All of it in the first two thirds of `tiles` steps: the last lines, too, are to be there in time. */
NAS_INLINE void ahead_spread(ahead *a, size_t tiles) { a->step = tiles ? (a->lines * 3 / 2 + tiles - 1) / tiles : 0; }

/* `lines` of the current piece, at most, have been fetched. */
NAS_INLINE void ahead_advance(ahead *a, ahead_part *p, size_t lines) {
    p->done += lines;
    if (p->done >= p->lines) {
        p->done = 0;
        p->at += p->stride;
        a->current += --p->planes == 0;
    }
}

/* Lines that are fetched one by one between the operations of an inner loop. Memory has a line for a core every ten or
 * twenty cycles; several at once would have to wait, and the arithmetic behind them as well. */
typedef struct ahead_run {
    const char *at;
    ptrdiff_t step; /* zero where nothing is to be fetched: `at` is in the caches then */
} ahead_run;

/* After each of the tiles of ahead_spread more is due, for the next runs to fetch. */
NAS_INLINE void ahead_moment(ahead *a) {
    if (a) {
        a->due += a->step;
    }
}

/* The next `lines` lines, or none when fewer are due. Where the piece ends before the run does, the lines behind it are
 * fetched in vain. */
NAS_INLINE ahead_run ahead_take(ahead *a, size_t lines, const void *here) {
    if (!a || a->due < lines || a->current == a->parts) {
        return (ahead_run){here, 0};
    }
    ahead_part *p = &a->part[a->current];
    const ahead_run run = {p->at + p->done * AHEAD_LINE, AHEAD_LINE};
    a->due -= lines;
    ahead_advance(a, p, lines);
    return run;
}

NAS_INLINE void ahead_next(ahead_run *r) {
    __builtin_prefetch(r->at, 0, 2);
    r->at += r->step;
}

#endif
