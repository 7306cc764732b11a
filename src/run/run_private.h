/* run_private.h - the inside of a run, shared by the files of this room. */
#ifndef RUN_RUN_PRIVATE_H
#define RUN_RUN_PRIVATE_H

#include "run/run.h"
#include "run/writer.h"

typedef struct nas__run_metric_key {
    char *name, *split, *per;
} nas__run_metric_key;

typedef struct nas__known_architecture {
    uint64_t hash;
    int64_t id; /* 0: free slot */
} nas__known_architecture;

struct nas__run {
    char *directory;
    int lock; /* descriptor, or -1 */
    nas__writer *writer;
    int segment, last_epoch;
    int64_t started_ms, active_ms; /* monotonic start of this segment; active time of those before */
    int64_t sampled_ms;            /* of the last sample; 0: none yet */
    int64_t cpu_before_ms;         /* to be added to the process's CPU time */
    int64_t last_evaluation, last_architecture;
    nas__run_metric_key *metrics; /* id - 1 is the index */
    size_t n_metrics;
    nas__known_architecture *known; /* open addressing, known_size a power of two */
    size_t n_known, known_size;
    nas__rows held; /* of an epoch that has not ended */
    /* The code of an architecture: see docs/run-format.md */
    int *code_offset; /* per choice, and the total behind the last */
    int n_choices;
};

int64_t nas__run_t_ms(const nas__run *run); /* active time now */
bool nas__run_remember(nas__run *run, uint64_t hash, int64_t id);
int64_t nas__run_known(const nas__run *run, uint64_t hash); /* id, or 0 */
nas_status nas__run_write_config(const char *directory, const char *config);
/* Keeps others out of the directory until unlock, or the end of the process. NAS_USAGE names who holds it. */
nas_status nas__run_lock(const char *directory, int *lock);
void nas__run_unlock(int lock);
/* Adds name, split and per under the next id; 0 when memory is out. */
int nas__run_add_metric(nas__run *run, const char *name, const char *split, const char *per);

#endif
