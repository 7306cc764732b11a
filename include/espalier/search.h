/* search.h - the search of an architecture, and the training of a fixed one. */
#ifndef ESPALIER_SEARCH_H
#define ESPALIER_SEARCH_H

#include <espalier/data.h>
#include <espalier/hardware.h>
#include <espalier/io.h>
#include <espalier/space.h>

#include <signal.h>

#ifdef __cplusplus
extern "C" {
#endif

/* --- what callbacks see --------------------------------------------------------------------------- */
typedef struct nas_progress {
    int epoch, epochs;             /* epoch: 1-based in on_epoch, the running one in on_step */
    int64_t trial, trials;         /* searches by trials: how many are done, of how many (0: until the time is over); */
                                   /* otherwise, and while shared weights are trained, 0 */
    int64_t step, steps_per_epoch; /* step inside the epoch, 1-based */
    double loss;                   /* on_step: of the last batch; on_epoch: mean over the epoch's training batches */
    double lr, images_per_second, seconds, eta_seconds;
    /* on_epoch only */
    double score; /* of the derived architecture (search) or the model (fit) on the valid part; NaN: not scored */
    double best_score;
    int best_epoch;
    double entropy,
        skip_share; /* search: mean normalised entropy of the choices; share of skips in the derived one; NaN: none */
    const nas_architecture *derived; /* search */
    const char *metric;              /* what score measures */
} nas_progress;
/* Return true to stop: the run ends cleanly with the best so far. */
typedef bool (*nas_progress_fn)(const nas_progress *progress, void *user);

/* Trains and scores an architecture: its metrics (in the order of the configuration's) through *metrics, NaN when it
 * failed; share: of a trial's whole training, up to 1. An error ends the search. */
typedef nas_status (*nas_trial_fn)(const nas_architecture *a, double share, double *metrics, void *user);

/* --- trials side by side ---------------------------------------------------------------------------- */
typedef struct nas_trial_request {
    int64_t number;                       /* of the trial in its search, from 1 */
    const nas_architecture *architecture; /* borrowed, like `directory`, during the call */
    double share;                         /* of a trial's whole training, up to 1 */
    const char
        *directory; /* a training that was, or will be, given only a share keeps its checkpoint there; NULL: none */
} nas_trial_request;
typedef struct nas_trial_result {
    int64_t number;
    double metrics[16]; /* in the order of the configuration's */
    char failure[256];  /* why there are none; "": there are */
} nas_trial_result;
/* Runs the trials of a search that trains each architecture alone, several at a time: in processes, as the command does
 * for --jobs, on other machines, or in threads of the caller's. Called from the thread of nas_trainer_train. Results
 * are taken in the order of the requests, whichever comes first: the same number of jobs gives the same search. An
 * error of start or wait ends the search; a trial that fails costs only itself. */
typedef struct nas_trial_runner {
    int jobs; /* that run at a time, from 1 */
    nas_status (*start)(const nas_trial_request *request, void *user);
    /* Until one ends, or so many seconds have passed: then number is 0. May return early. */
    nas_status (*wait)(double seconds, nas_trial_result *result, void *user);
    void (*cancel)(void *user); /* ends all that run; called when the search ends, always */
    void *user;
} nas_trial_runner;

typedef struct nas_budget {
    double minutes; /* 0 = none: end on time, schedules finished, instead of after a number of epochs */
    int trials;     /* 0 = none: architectures evaluated */
} nas_budget;

/* When the state of a run is saved: at the end of an epoch, when this many epochs or minutes have passed (either; 0:
 * after every epoch), and at the end of the run. The newest `keep` are kept (0: 2), so that a damaged one has another
 * behind it. */
typedef struct nas_checkpoints {
    int epochs;
    double minutes;
    int keep;
} nas_checkpoints;

/* --- search --------------------------------------------------------------------------------------- */
typedef struct nas_trainer nas_trainer;
typedef struct nas_trainer_config {
    nas_module *model;                 /* borrowed; has choices inside */
    const char *space_name;            /* of a built-in space, for the log and the canonical string; may be NULL */
    const char *strategy;              /* "darts", "enas", ...; see nas_strategies() */
    const struct nas_strategy *custom; /* one of your own instead (strategy.h); borrowed; NULL: the built-in one */
    const char *options;               /* the strategy's, as "order=2,xi=0.01"; NULL: defaults */
    nas_loss_fn loss;                  /* NULL: nas_cross_entropy for classes, nas_mse otherwise */
    const nas_metric *metrics; /* ends with a NULL name, the first 8 count; the first one scores architectures; NULL:
                                  accuracy or RMSE */
    nas_metric_fn reward;      /* higher is better; NULL: the first metric, negated if lower is better */
    nas_optimizer *optimizer;  /* of the weights; taken over; NULL: SGD 0.025, momentum 0.9, weight decay 3e-4 */
    nas_schedule schedule;     /* of its learning rate */
    double clip_norm;          /* 0 = 5; NAS_NONE = off */
    int64_t batch_size;        /* 0 = 64 */
    int num_epochs;            /* 0 = 50 */
    /* The weights learn from dataset_train. dataset_valid is split in two by seed: choices and rewards (arch), and
     * scoring and export (valid), unless dataset_score is given: then dataset_valid is arch alone. All of it scores
     * when the strategy has no arch_batches. Borrowed. Parts that share an image of one data set are refused. */
    nas_dataset *dataset_train, *dataset_valid, *dataset_score;
    const nas_transform
        *transform;    /* NULL: nas_transform_default of the training data; augmentation for dataset_train only */
    int workers;       /* prefetch threads of each loader; 0 = 1 */
    int log_frequency; /* steps per log line; 0 = a line every 10 seconds; NAS_NONE = none */
    uint64_t seed;
    int threads; /* 0 = all cores */
    /* Each batch is cut into so many shards, which ranks (dist.h) divide among themselves; what they give is added in
     * their order, so that any number of ranks computes the same bits. Batch norm sees the whole batch. 0 = one for
     * each rank. */
    int shards;
    nas_precision precision; /* of dense convolutions while it trains and scores; what was chosen is in checkpoints */
    nas_budget budget;
    const char *limits; /* of what may be exported: "macs=30M,params=1M,latency=5ms", some or all of them; multiply-adds
                         * of one sample and parameters are counted, latencies those of candidates measured here at the
                         * start; what is beyond is neither scored nor kept. NULL: none */
    const char *latency_table; /* latencies that `espalier profile --out FILE` measured, for the limits, the cost in the
                                * loss and the objectives; NULL: measured here when one is asked for, in networks of
                                * new_model, or in the model itself */
    bool measure_missing;      /* what latency_table lacks is measured here; otherwise it is refused */
    int64_t limit_batches;     /* steps per epoch at most; 0 = no limit */
    int64_t score_images;      /* images of the valid part that score an architecture; 0 = all, at most 5000 */
    int score_steps; /* before an architecture is scored, its weights settle for so many training steps and are put back
                      * afterwards; 0 = as the strategy needs it (darts 32, strategies that train paths none); NAS_NONE
                      * = none */
    const char *run_dir; /* log and checkpoints; created; NULL: none are written */
    bool resume;         /* go on from run_dir's newest checkpoint, if there is one */
    nas_checkpoints checkpoints;
    const char *run_config; /* JSON for run_dir/config.json (the command line writes everything needed to repeat it);
                               may be NULL */
    const char *command;    /* how the run was started, for its log; may be NULL */
    /* A new model of the same space, owned by the caller, for strategies that train architectures alone; NULL: these
     * refuse. */
    nas_module *(*new_model)(void *user);
    nas_trial_fn trial; /* such an architecture is trained and scored by this instead; NULL: here, on the valid part */
    const nas_trial_runner *runner; /* borrowed; ... or by this, several at a time; NULL: one by one, in this process.
                                     * Strategies without such trials refuse it */
    /* A guess of how good an architecture is, higher is better, in place of the one that the option warm_start names;
     * NULL: that. */
    double (*guess)(const nas_architecture *a, void *user);
    /* on_epoch: after every epoch, and after every trial that is the best so far; on_step: after steps and trials. */
    nas_progress_fn on_epoch, on_step;
    void *user;
    /* For strategies that begin with less depth (variant=progressive of darts): a new model with the same choices and
     * about this share, below 1, of the model's depth, which the trainer takes over; NULL and an error on failure. It
     * is asked for more when the choices differ. NULL: every stage has the whole model. Not used under limits. */
    nas_module *(*stage_model)(double share, void *user);
} nas_trainer_config;

/* NULL and an error when the configuration does not fit (unknown strategy or option with the nearest name, batch larger
 * than the data, a space that the strategy refuses, ...). Initialises the model's weights from the seed. */
NAS_API nas_trainer *nas_trainer_new(const nas_trainer_config *config);
/* Runs the search to its end; nas_trainer_stop() from a signal handler or a callback ends it cleanly after the current
 * step. */
NAS_API nas_status nas_trainer_train(nas_trainer *trainer);
NAS_API void nas_trainer_stop(nas_trainer *trainer); /* async-signal-safe */
/* Writes the best-scored architecture found so far, and search-result.json beside it; directories are made. NAS_USAGE
 * before anything was scored. */
NAS_API nas_status nas_trainer_export(nas_trainer *trainer, const char *path);
/* The best-scored architecture so far and its score (may be NULL) in the first metric's unit. Borrowed; NULL before
 * anything was scored. */
NAS_API const nas_architecture *nas_trainer_best(const nas_trainer *trainer, double *score);
/* Of the model, borrowed: its choices and candidates. */
NAS_API const nas_space *nas_trainer_space(const nas_trainer *trainer);
NAS_API bool nas_trainer_stopped(const nas_trainer *trainer); /* ended by nas_trainer_stop or a callback */
NAS_API void nas_trainer_free(nas_trainer *trainer);          /* the model stays with its owner */

/* The strategies: name, one line, paper, options. Ends with a NULL name. Static; any thread may ask. */
typedef struct nas_strategy_info {
    const char *name, *summary, *paper;
    const nas_option *options;
} nas_strategy_info;
NAS_API const nas_strategy_info *nas_strategies(void);

/* --- training of a model without choices ----------------------------------------------------------- */
typedef struct nas_evaluation {
    int64_t images;
    double loss, seconds;
    double metrics[16]; /* in the order of the metrics given, the first 16 */
} nas_evaluation;

typedef struct nas_fit_config {
    nas_module *model;      /* borrowed; fixed */
    const char *space_name; /* for the log; may be NULL */
    nas_loss_fn loss;       /* this and the next as of a search */
    const nas_metric *metrics;
    nas_optimizer *optimizer; /* taken over; NULL: SGD 0.1, momentum 0.9, Nesterov, weight decay 5e-4 */
    nas_schedule schedule;
    double clip_norm;               /* 0 = 5; NAS_NONE = off */
    double drop_path;               /* final probability, rises linearly from 0 (0 = off) */
    int64_t batch_size;             /* 0 = 96 */
    int num_epochs;                 /* 0 = 50 */
    int end_epoch;                  /* stop behind this one, the beginning of a longer training; 0: run all */
    nas_dataset *dataset_train;     /* borrowed */
    nas_dataset *dataset_valid;     /* watched each epoch; NULL: nothing is watched. Never used to choose weights */
    const nas_transform *transform; /* these six as of a search */
    int workers, log_frequency;
    uint64_t seed;
    int threads, shards;
    nas_precision precision; /* NAS_F32 inside of a search: as the search */
    nas_budget budget;       /* minutes only */
    int64_t limit_batches;   /* per epoch, of training and of watching; 0 = no limit */
    bool quiet;              /* no lines in the log */
    bool keep_weights;       /* start from the model's weights instead of the seed's */
    const char *run_dir;     /* log, checkpoints, weights.safetensors; NULL: none */
    bool resume;
    nas_checkpoints checkpoints;
    const char *run_config, *command;  /* as of a search */
    const volatile sig_atomic_t *stop; /* set from a signal handler; may be NULL */
    nas_progress_fn on_epoch, on_step;
    void *user;
} nas_fit_config;
/* Trains a network without choices and logs it as a run. A loss or gradient that is not finite sends it back to the
 * newest checkpoint with a lower rate, once (docs/run-directory.md); the second time, or without a run_dir, it is
 * NAS_NUMERIC, naming the step, and the newest checkpoint stays. A stop or the end of the budget is no error.
 * *epochs_done (may be NULL) tells how many epochs were run in all, earlier ones of a resumed run included. */
NAS_API nas_status nas_fit(const nas_fit_config *config, int *epochs_done);

/* One pass over a data set with running batch-norm estimates. batch_size 0 = 256; limit 0 = all batches. visit (may be
 * NULL) sees every batch's outputs and targets. */
typedef struct nas_evaluate_config {
    nas_module *model;
    nas_loss_fn loss;
    const nas_metric *metrics;
    nas_dataset *data;
    const nas_transform *transform; /* of the training data; augmentation is ignored */
    int64_t batch_size, limit_batches;
    void (*visit)(const nas_tensor *output, const nas_tensor *target, void *user);
    void *user;
} nas_evaluate_config;
NAS_API nas_status nas_evaluate(const nas_evaluate_config *config, nas_evaluation *result);

#ifdef __cplusplus
}
#endif
#endif
