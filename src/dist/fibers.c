/* fibers.c - see fibers.h */
#include "dist/fibers.h"

#include "core/error.h"
#include "core/memory.h"
#include "tensor/tensor.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

enum { STACK_BYTES = 8 << 20 }; /* as much as threads have; what is not touched takes no memory */

typedef struct fiber {
    ucontext_t context;
    char *stack;
    nas_tape *tape; /* current when it stopped */
    bool ended;
} fiber;

struct nas__fibers {
    int parts, running; /* running: index of the own part */
    nas__own_parts own;
    fiber *fibers;
    ucontext_t scheduler;
    double *given, *all;                /* [own.n][count], [parts][count] */
    size_t count, given_room, all_room; /* count: of the numbers that a part gives now */
    void (*body)(void *user, int part);
    void (*pause)(void *user, int part);
    void *user;
};

static char *new_stack(void) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stack == MAP_FAILED) {
        return nas__fail_null(NAS_NO_MEMORY, "no memory for the stack of a part of the batch; take fewer shards");
    }
    mprotect(stack, page, PROT_NONE); /* running over ends at once */
    return stack;
}

nas__fibers *nas__fibers_new(int parts) {
    if (parts < nas_ranks()) {
        return nas__fail_null(NAS_USAGE,
                              "%d shards for %d ranks: every rank needs one; take more shards or fewer ranks", parts,
                              nas_ranks());
    }
    nas__fibers *f = nas__alloc(sizeof *f);
    if (!f) {
        return NULL;
    }
    f->parts = parts;
    f->own = nas__parts_of(nas_rank(), parts);
    f->fibers = nas__alloc((size_t)f->own.n * sizeof *f->fibers);
    bool complete = f->fibers != NULL;
    for (int i = 0; complete && f->own.n > 1 && i < f->own.n; i++) {
        complete = (f->fibers[i].stack = new_stack()) != NULL;
    }
    if (!complete) {
        nas__fibers_free(f);
        return NULL;
    }
    return f;
}

void nas__fibers_free(nas__fibers *f) {
    if (!f) {
        return;
    }
    for (int i = 0; f->fibers && i < f->own.n; i++) {
        if (f->fibers[i].stack) {
            munmap(f->fibers[i].stack, STACK_BYTES);
        }
    }
    free(f->fibers);
    free(f->given);
    free(f->all);
    free(f);
}

/* --- numbers of all parts ------------------------------------------------------------------------ */
static bool make_room(double **numbers, size_t *room, size_t wanted) {
    if (wanted > *room) {
        free(*numbers);
        *numbers = nas__alloc(wanted * sizeof **numbers);
        *room = *numbers ? wanted : 0;
    }
    return *numbers != NULL;
}

/* All parts have stopped here, and have read what they were given before. */
static void exchange(nas__fibers *f) {
    if (make_room(&f->all, &f->all_room, (size_t)f->parts * f->count)) {
        nas__ranks_gather(f->parts, f->count, f->given, f->all);
    }
}

const double *nas__fibers_gather(nas__fibers *f, const double *own, size_t n) {
    int i = f->running;
    f->count = i == 0 ? n : f->count;
    if (i == 0 && !make_room(&f->given, &f->given_room, (size_t)f->own.n * n)) {
        return NULL;
    }
    if (n != f->count) {
        return nas__fail_null(NAS_ENGINE, "shards do not compute the same: one gives %zu numbers, another one %zu", n,
                              f->count);
    }
    memcpy(f->given + (size_t)i * n, own, n * sizeof *own);
    if (f->own.n == 1) {
        f->pause(f->user, f->own.first);
        exchange(f);
    } else {
        swapcontext(&f->fibers[i].context, &f->scheduler);
    }
    return nas_error_status() ? NULL : f->all;
}

/* --- switching ----------------------------------------------------------------------------------- */
static _Thread_local nas__fibers *starting;

static void enter(void) {
    nas__fibers *f = starting;
    int i = f->running;
    f->body(f->user, f->own.first + i);
    f->fibers[i].ended = true;
    swapcontext(&f->fibers[i].context, &f->scheduler); /* for good */
}

/* Every part runs until it stops. Returns how many have ended. */
static int all_run(nas__fibers *f) {
    int ended = 0;
    for (int i = 0; i < f->own.n && !nas_error_status(); i++) {
        fiber *b = &f->fibers[i];
        f->running = i;
        starting = f;
        nas_tape *outside = nas__tape_swap(b->tape);
        swapcontext(&f->scheduler, &b->context);
        f->pause(f->user, f->own.first + i);
        b->tape = nas__tape_swap(outside);
        ended += b->ended;
    }
    return ended;
}

nas_status nas__fibers_run(nas__fibers *f, void (*body)(void *user, int part), void (*pause)(void *user, int part),
                           void *user) {
    f->body = body;
    f->pause = pause;
    f->user = user;
    f->running = 0;
    if (f->own.n == 1) {
        body(user, f->own.first);
        pause(user, f->own.first);
        return nas_error_status();
    }
    for (int i = 0; i < f->own.n; i++) {
        fiber *b = &f->fibers[i];
        getcontext(&b->context);
        b->context.uc_stack.ss_sp = b->stack;
        b->context.uc_stack.ss_size = STACK_BYTES;
        b->context.uc_link = NULL;
        makecontext(&b->context, enter, 0);
        b->tape = NULL;
        b->ended = false;
    }
    for (int ended = all_run(f); !nas_error_status() && ended < f->own.n; ended = all_run(f)) {
        if (ended) {
            return nas__fail(NAS_ENGINE, "shards do not compute the same: one has ended, another one waits");
        }
        exchange(f);
    }
    return nas_error_status();
}
