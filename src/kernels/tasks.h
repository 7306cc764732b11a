/* tasks.h - the tasks of a parallel region. Each thread has an equal share of neighbouring ones, in order; who is done
 * takes over from the end of another's share, since threads are not equally fast on a machine that does other things,
 * too. What a task computes must not depend on the thread that runs it.
 *
 *     nas__tasks tasks;
 *     nas__tasks_share(&tasks, count);
 *     #pragma omp parallel
 *     {
 *         nas__turn turn = {0};
 *         for (int task; (task = nas__tasks_next(&tasks, &turn)) >= 0;) {
 *             ...
 *         }
 *     } */
#ifndef NAS_KERNELS_TASKS_H
#define NAS_KERNELS_TASKS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { NAS__MOST_SHARES = 64 }; /* more threads than that have shares together */

typedef struct nas__tasks {
    int shares;
    struct {
        _Alignas(64) _Atomic uint64_t range; /* [from, to): from in the upper half */
    } share[NAS__MOST_SHARES];
} nas__tasks;

/* What a thread has taken and not yet done: several tasks at a time, because taking some waits for all that the thread
 * has stored. */
typedef struct nas__turn {
    int next, to;
} nas__turn;

/* Before the region. */
void nas__tasks_share(nas__tasks *tasks, int count);
/* Takes more; false when there are none. */
bool nas__tasks_take(nas__tasks *tasks, nas__turn *turn);

/* Inside the region: the calling thread's next task, or -1 when all are taken. */
static inline int nas__tasks_next(nas__tasks *tasks, nas__turn *turn) {
    return turn->next < turn->to || nas__tasks_take(tasks, turn) ? turn->next++ : -1;
}

#endif
