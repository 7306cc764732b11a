/* bench_subject.h - what a benchmark runs: a network with its data, and one step of its search, training or inference.
 */
#ifndef SEARCH_BENCH_SUBJECT_H
#define SEARCH_BENCH_SUBJECT_H

#include "search/bench.h"
#include "search/bench_count.h"

enum { NAS__BENCH_CHANNELS = 3, NAS__BENCH_CLASSES = 10, NAS__BENCH_WARM_UP = 2 };
/* An evaluation calibrates on so many batches, and scores as many; architectures repeat behind so many evaluations. */
enum { NAS__BENCH_PART = 4, NAS__BENCH_PATHS = 20 };

typedef struct nas__bench_subject {
    const nas__bench_workload *workload;
    int64_t batch;
    nas_module *model;
    nas_dataset *train, *arch, *score; /* the last two of a search or evaluation */
    nas_trainer *trainer;              /* of a search or evaluation; the rest of the others */
    nas_loader *loader;
    nas_tape *tape;
    nas_optimizer *optimizer;                  /* of a training */
    nas_architecture *paths[NAS__BENCH_PATHS]; /* of an evaluation */
    const nas_batch *image;                    /* of all inferences: they are timed without the loader */
    float *output;                             /* of the last inference: (batch, classes) */
    uint64_t step;
} nas__bench_subject;

/* steps: how many there will be, the first ones included. On failure close it all the same. */
nas_status nas__bench_open(nas__bench_subject *b, const nas__bench_workload *w, const nas__bench_config *config,
                           int steps);
void nas__bench_close(nas__bench_subject *b);
/* Before the first step. */
nas_status nas__bench_rewind(nas__bench_subject *b);
nas_status nas__bench_step(nas__bench_subject *b, double *loss);
/* Of a network's loader, round after round. */
const nas_batch *nas__bench_next_batch(nas__bench_subject *b);
/* The first step, counted: on the graph as it was written, in dry passes beside the real ones, so that whatever the
 * engine fuses, leaves out or computes again does not change it. */
nas_status nas__bench_counted_step(nas__bench_subject *b, double *loss, nas__bench_counts *counts);
/* Of the path and the statistics that the last evaluation has left: (images of the score part, classes). */
nas_status nas__bench_outputs(nas__bench_subject *b, float *output);
double nas__bench_waited(const nas__bench_subject *b); /* seconds for the loaders so far */

/* What another system needs to repeat the first step, and to see that it did: weights, choices, draws and batches
 * before it, and from the end on the gradients (before clipping), or the outputs of an inference or evaluation. Names:
 * model.PATH, alpha.KEY, train.x, arch.y, grad.model.PATH, output; for the draws noise.train.KEY, gate.arch.KEY,
 * path.KEY. An evaluation has the paths of all its steps, (paths, candidates), and its images as train.x, score.x. */
typedef struct nas__first_step nas__first_step;
nas__first_step *nas__first_step_begin(nas__bench_subject *b);
/* Writes the file behind the step (path NULL: none) and frees f; NULL is fine. */
nas_status nas__first_step_end(nas__first_step *f, const char *path);

#endif
