/* trainer.h - the inside of a search, shared by the files of this room. */
#ifndef SEARCH_TRAINER_H
#define SEARCH_TRAINER_H

#include <espalier/strategy.h>

#include "core/error.h"
#include "core/memory.h"
#include "ops/precision.h"
#include "run/run.h"
#include "search/guard.h"
#include "search/limits.h"
#include "search/pace.h"
#include "search/shards.h"
#include "search/truth.h"

#include <signal.h>

enum { NAS__MOST_METRICS = 16 };

/* Ids of what searches and retrainings log alike. */
typedef struct nas__metric_ids {
    int loss, lr, gradient, train_loss, score[NAS__MOST_METRICS];
} nas__metric_ids;

typedef struct nas__score_entry {
    uint64_t hash;
    double metrics[NAS__MOST_METRICS];
} nas__score_entry;

struct nas_trainer {
    nas_search s; /* first: a nas_search of this room is a nas_trainer */
    nas_trainer_config config;
    void *options;
    int n_metrics;
    nas_dataset *arch, *valid;
    nas_loader *train_loader, *arch_loader, *valid_loader, *calibration_loader, *settle_loader;
    int settle_steps;
    nas__limits limits;
    struct nas__profile *latency; /* of candidates; NULL: nobody has asked */
    bool foreign_latency;         /* it is another machine's */
    nas_tape *tape;
    nas__shards *shards; /* NULL: a batch is one piece */
    nas__precision *precision;
    bool recompute;      /* of the strategy's options */
    uint64_t passes;     /* forward passes so far: the key of dropout and its like */
    uint64_t arch_drawn; /* batches of the arch part so far */
    /* what was scored */
    nas_architecture *best, *derived;
    double best_share; /* of a whole training that the best's score comes from */
    double best_score, derived_score, derived_metrics[NAS__MOST_METRICS];
    int best_epoch, best_evaluation, evaluations, unchanged_epochs;
    nas_bn_mode score_bn; /* how a path is scored: calibrated, or for other statistics that the strategy wants */
    int64_t score_images; /* of the valid part, behind every score */
    double score_share;   /* what a budget of time has left of them; 0: all */
    double score_started, derivation_started;
    int n_derived;            /* scored in the running derivation */
    nas__score_entry *scored; /* under the present weights */
    size_t n_scored;
    nas__truth *truth; /* trials are looked up in it; NULL: they are not */
    /* the run */
    nas__pace pace;
    nas__run *run;
    nas__metric_ids ids;
    volatile sig_atomic_t stop, stop_wanted; /* wanted: in this process; stop: in all ranks */
    bool stopped, concluding;
    double last_checkpoint, conclude_started;   /* when */
    int unsaved;                                /* epochs since then */
    int64_t trials;                             /* of a search by trials: done so far, earlier processes included */
    uint64_t ended;                             /* the strategy has found that it is done (nas__search_finish) */
    double phase_begin, phase_end, phase_scale; /* of the learning rate's schedule (nas__search_schedule) */
    double depth;                               /* share of the model's in force (nas__search_depth) */
    nas_module *stage_model;                    /* of that depth; NULL: the whole one, config.model */
    nas_space **spaces;                         /* of all models but the one in force: architectures may be of them */
    size_t n_spaces;
    nas_space *whole; /* of config.model */
    /* the watch for a collapse (collapse.c) */
    double *eigenvalues; /* per epoch, of strategies that measure them */
    size_t n_eigenvalues;
    uint64_t collapse_told;
    double used_seconds; /* of earlier segments */
    nas__guard guard;
    /* Called behind each pass, while its decisions are in force (the benchmark counts what a pass computes); NULL:
     * nobody
     */
    nas_status (*on_pass)(nas_trainer *t, const nas_pass *pass, void *user);
    void *on_pass_user;
    double pass_seconds; /* of the last one, forward and backward */
};

static inline nas_trainer *nas__trainer_of(nas_search *s) { return (nas_trainer *)s; }

/* trainer.c: one step of the running epoch; the loss of its training batch through *loss */
nas_status nas__trainer_step(nas_trainer *t, double *loss);
/* phase.c: what strategies that search in phases may ask for. The search is finished with this epoch. */
void nas__search_finish(nas_search *s);
/* The learning rate's schedule runs from `begin` to `end` of the search's progress, times scale, from this step on. */
void nas__search_schedule(nas_search *s, double begin, double end, double scale);
/* The learning rate of the running step. */
double nas__search_lr(const nas_trainer *t);
/* New weights for stage `stage` (from 1). */
nas_status nas__search_renew(nas_search *s, int stage);
/* From here on the network has that share (0..1) of its depth, with new weights, where the configuration can make one;
 * else nothing happens. */
nas_status nas__search_depth(nas_search *s, double share);
void nas__search_depth_close(nas_trainer *t);
/* alike.c: fails, naming the rank, when the weights of the ranks differ, which they never should; looks every 50th
 * step, or now. */
nas_status nas__check_alike(const nas_optimizer *weights, int64_t step, bool now);
/* A line on what the ranks spent on each other in the steps since `begun`; nothing for one rank. */
typedef struct nas__ranks_span {
    double clock, waited, bytes;
    int64_t messages;
} nas__ranks_span;
nas__ranks_span nas__ranks_begin(void);
void nas__ranks_log(const nas__ranks_span *begun, int64_t steps);
/* parts.c: the four parts of design section "data flow", and their loaders */
nas_status nas__parts_open(nas_trainer *t);
void nas__parts_close(nas_trainer *t);
/* batch.c: tensors of a batch on the current tape */
nas_tensor *nas__batch_input(const nas_batch *batch, const nas_dataset_info *info);
nas_tensor *nas__batch_target(const nas_batch *batch, const nas_dataset_info *info);
/* adapt.c: lets the weights of the path in force settle before it is scored (NULL, no error: this search does not), and
 * puts everything back. */
typedef struct nas__settled nas__settled;
nas__settled *nas__settle(nas_trainer *t);
void nas__unsettle(nas_trainer *t, nas__settled *settled);
/* common.c: what the passes of searches, retrainings and evaluations share. Loss and metrics: the given ones, or those
 * for classes or numbers. */
nas_loss_fn nas__loss_for(nas_loss_fn given, const nas_dataset *data);
const nas_metric *nas__metrics_for(const nas_metric *given, const nas_dataset *data);
int nas__metric_count(const nas_metric *metrics); /* NAS__MOST_METRICS at most */
/* The value of a metric from its mean over all images. */
double nas__metric_value(const nas_metric *metric, double mean);
/* Fails (NAS_NUMERIC) for a loss that is not finite; step and epoch 0-based. */
nas_status nas__check_loss(double loss, int64_t step, int epoch, double lr);
/* A step of the weights; a gradient that is not finite although the loss was names the step, too (from 0; lr: now). */
nas_status nas__checked_step(nas_optimizer *o, double lr, double clip_norm, int64_t step, int epoch);
/* Forward and backward pass of a network without choices over a batch; the gradients of its weights are added to what
 * they hold. The loss through *value: when that is not finite, nothing is differentiated. */
nas_status nas__weight_pass(nas_tape *tape, const nas_tape_config *pass, nas_module *model, nas_loss_fn loss,
                            const nas_batch *batch, const nas_dataset_info *info, double *value);
/* score.c */
nas_status nas__score_derived(nas_trainer *t);
/* What the path scores on a share of the valid part's images with the shared weights. */
nas_status nas__score_path(nas_trainer *t, const nas_architecture *a, double share, double *metrics);
/* Is there time for more of the running score? */
bool nas__scoring_goes_on(const nas_trainer *t);
/* Records a score; the best of the largest share is kept. */
nas_status nas__score_remember(nas_trainer *t, const nas_architecture *a, uint64_t hash, const double *metrics,
                               double share, double seconds);
/* What is exported, when a strategy has a rule of its own for that; its score in the first metric. */
nas_status nas__score_choose(nas_trainer *t, const nas_architecture *a, double score);
void nas__score_forget(nas_trainer *t);         /* the weights changed */
bool nas__trials_used_up(const nas_trainer *t); /* the budget's evaluations are done */
/* export.c: the space's string of an architecture, or its JSON (new, free()) */
char *nas__canonical(const nas_trainer *t, const nas_architecture *a);
/* journal.c: lines, events, rows of the run; the first two also serve nas_fit. The first n_scores metrics are scored on
 * the valid part. */
void nas__journal_metrics(nas__run *run, const nas_metric *metrics, int n_scores, nas__metric_ids *ids);
/* After a step: the line and the tick that are due, and the sample of the speed. gradient: its norm before clipping. */
void nas__journal_progress(nas__run *run, const nas__metric_ids *ids, const nas_progress *p, bool due,
                           int64_t total_step, double gradient, int64_t batch_size, const nas_loader *loader);
nas_status nas__journal_open(nas_trainer *t, bool resume);
void nas__journal_step(nas_trainer *t, double loss);
/* After a trial: the callbacks, a line that is due, and at times a checkpoint. wanted INT64_MAX: no number is given. */
nas_status nas__journal_trial(nas_search *s, int64_t done, int64_t wanted, double score);
nas_status nas__journal_epoch(nas_trainer *t, double mean_loss, nas_progress *progress);
/* collapse.c: the eigenvalue of this epoch, from a strategy; and the look at the end of an epoch, which tells once. */
nas_status nas__watch_eigenvalue(nas_search *s, double value);
void nas__watch_collapse(nas_trainer *t, double entropy);
/* precision.c: what was chosen is part of a run's state, and comes into its log when it ends, unless f32 was wanted. */
void nas__precision_state(nas__precision *p, nas_precision wanted, nas_state *st);
void nas__precision_journal(const nas__precision *p, nas_precision wanted, nas__run *run, int epoch, int64_t step);
/* common.c: is one due, after so many epochs and since then? Epochs that ended are counted in *unsaved. */
bool nas__checkpoint_due(const nas_checkpoints *c, int *unsaved, double last);
int nas__checkpoints_kept(const nas_checkpoints *c);
/* checkpoint.c */
nas_status nas__checkpoint_save(nas_trainer *t);
/* The newest one of a run's directory. Returns the number of finished epochs through *epochs (0: nothing to resume). */
nas_status nas__checkpoint_load(nas_trainer *t, const char *directory, int *epochs);

#endif
