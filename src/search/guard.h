/* guard.h - numbers that break down in the middle of a run: back to the last good state with a lower rate, once; and a
 * watch over losses that leap. */
#ifndef SEARCH_GUARD_H
#define SEARCH_GUARD_H

#include "io/state.h"
#include "run/run.h"

typedef struct nas__guard {
    uint64_t rollbacks;   /* 0 or 1 */
    uint64_t epoch, step; /* 1-based, where the first breakdown was */
    double rate;          /* of the learning rate, from then on; 1 before */
    /* of the losses of the running epoch */
    int64_t seen, spikes, worst_step;
    double mean, worst_ratio, worst;
} nas__guard;

/* How the rate is lowered. */
#define NAS__GUARD_RATE 0.25

static inline nas__guard nas__guard_new(void) { return (nas__guard){.rate = 1}; }

/* Part of a checkpoint from the first breakdown on; before, nothing is written, and none is missed. */
void nas__guard_state(nas__guard *g, nas_state *st);
/* After an error of training, in 0-based step and epoch: may the run go back (once, and it has checkpoints in a
 * directory)? If not, the pending error tells of the first breakdown, too. */
bool nas__guard_catches(const nas__guard *g, nas_status status, const nas__run *run, int64_t step, int epoch);
/* Counts the breakdown, takes the pending error and clears it (text: what it said, shortened). */
void nas__guard_catch(nas__guard *g, int64_t step, int epoch, char *text, size_t size);
/* Tells what was done, behind the way back: `epochs` are done, and `lr` is the optimiser's. */
void nas__guard_tell(const nas__guard *g, nas__run *run, int epochs, int64_t total_step, double lr, const char *cause);
/* The watch: a new epoch, its steps (from 0), and its end, where an event tells of losses above
 * three times the mean of those before. */
void nas__guard_epoch(nas__guard *g);
void nas__guard_loss(nas__guard *g, double loss, int64_t step);
void nas__guard_spikes(const nas__guard *g, nas__run *run, int epoch, int64_t total_step);

#endif
