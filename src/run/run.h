/* run.h - a run directory: config.json, run.sqlite (format 1), checkpoints. One writer thread commits in batches;
 * everything here is cheap to call from a training step and does nothing on a NULL run, so callers without a directory
 * need no conditions. */
#ifndef RUN_RUN_H
#define RUN_RUN_H

#include <espalier/space.h>

typedef struct nas__run nas__run;

typedef struct nas__run_info {
    const char *kind;                              /* "search" or "retrain" */
    const char *strategy, *space, *data, *command; /* may be NULL */
    uint64_t space_hash, seed;
    int threads;
    const char *config; /* JSON text, written to config.json and into the log */
    int epochs;
    int64_t steps_per_epoch, log_every;
} nas__run_info;

/* A new run in `directory` (created). Fails (NAS_USAGE) when something is in it already. */
nas__run *nas__run_create(const char *directory, const nas__run_info *info);
/* Goes on with the run in `directory` behind `epoch` (1-based, the last completed one) and the global `step`, of the
 * checkpoint; 0, 0: from the beginning. Every row behind them is deleted, segment += 1, event "resume". Fails when the
 * run is another one (kind, strategy or space), is still being written by a living process, or its log is damaged. */
nas__run *nas__run_resume(const char *directory, const nas__run_info *info, int epoch, int64_t step);
bool nas__run_exists(const char *directory); /* is there a run.sqlite? */
/* NAS_OK, or the first failure of the log's writer (disk full, directory removed) as an error of the calling thread: a
 * run that cannot be logged should stop with this message. Rows given after a failure are dropped. Cheap enough for
 * every step. */
nas_status nas__run_check(nas__run *run);
/* The same, after waiting (two seconds at most) until the epochs given so far are committed: before a checkpoint is
 * written, so that a run that is killed behind it does not miss in its log what it goes on from. */
nas_status nas__run_flush(nas__run *run);
/* Marks the end ("finished", "stopped", "failed" with detail), waits for the writer, closes. Returns what
 * nas__run_check would. NULL is fine. */
nas_status nas__run_close(nas__run *run, const char *status, const char *detail);

/* Rows come from one thread. Epochs are 1-based, the running one included; steps are global and grow.
 *
 * Id of a metric; direction +1, -1, 0; per "step" or "epoch". The one marked primary is the run's score. The same name,
 * split and per give the same id. */
int nas__run_metric(nas__run *run, const char *name, const char *split, const char *unit, int direction,
                    const char *per, bool primary);
/* Values of some step metrics at a global step. */
void nas__run_tick(nas__run *run, int64_t step, int epoch, int n, const int *metrics, const double *values);

typedef struct nas__run_epoch_row {
    int epoch; /* 1-based */
    int64_t step;
    double entropy, skip_share, images_per_s; /* NaN: NULL */
    int rank_stable;
    int64_t derived_architecture; /* 0: none */
    int n;
    const int *metrics;
    const double *values;
} nas__run_epoch_row;
/* The end of an epoch: it is committed at once, together with the probabilities given before for this epoch. */
void nas__run_epoch(nas__run *run, const nas__run_epoch_row *row);

/* The space's choices and candidates, and a graph of them for the page; before architectures, also after a resume. */
void nas__run_space(nas__run *run, const nas_space *space);
/* Before nas__run_epoch of the same epoch. */
void nas__run_probability(nas__run *run, int epoch, int choice, int n, const double *p, int argmax, double entropy);
/* Id of an architecture (stored once by its hash). */
int64_t nas__run_architecture(nas__run *run, const nas_architecture *a, int64_t parameters, uint64_t macs, int epoch);
/* kind 0 supernet, 1 derived, 2 retrained */
void nas__run_evaluation(nas__run *run, int64_t architecture, int epoch, int64_t step, int metric, double score,
                         int kind, double seconds, bool best);
void nas__run_event(nas__run *run, nas_log_level level, const char *kind, int epoch, int64_t step, const char *message);
/* Speed and memory, at most every 5 seconds; more frequent calls are dropped. */
void nas__run_sample(nas__run *run, double images_per_s, double step_ms, double data_wait_ms);

/* JSON object about this machine and these versions (new, free()). */
char *nas__machine_json(void);
/* What decides how fast it is: "Intel(R) Xeon(R) CPU @ 2.00GHz, avx512" (new, free()). */
char *nas__machine_name(void);
/* "DIR/<time>-<space>-<strategy>", not existing yet (new, free()). */
char *nas__run_default_directory(const char *base, const char *space, const char *strategy);

/* Newest checkpoint of a directory that is whole (new path, free()); damaged ones are passed over with a warning in the
 * log. NULL without an error when there are none, with an error when all are damaged. */
char *nas__checkpoint_newest(const char *directory);
/* "DIR/checkpoint-00012.safetensors" (new, free()). */
char *nas__checkpoint_path(const char *directory, int epoch);
/* Removes all but the newest `keep`. */
void nas__checkpoint_prune(const char *directory, int keep);

#endif
