/* trials.h - searches by trials: a policy proposes architectures, each is judged alone, the policy sees the result.
 *
 * The policies are the classic ones (random, evolution, ...) and the second halves of one-shot searches; how a trial is
 * judged (trial_judge.c) is independent of them: trained alone for some epochs, run with shared weights that were
 * trained before, looked up in a table, or guessed from random weights. What was proposed and found is one history
 * (trials_history.c): a resumed search gives it to its policy again and goes on, so policies store nothing. Proposal i
 * draws from a random stream of its own.
 *
 * Trials may run side by side (nas_trial_runner). Results are observed in the order of proposals, and how many trials
 * are open when one is proposed is fixed: so what is proposed does not depend on who is done first. */
#ifndef SEARCH_TRIALS_H
#define SEARCH_TRIALS_H

#include "search/proxies.h"
#include "search/trainer.h"

#include <jansson.h>

/* Of the run's directory: where trainings wait that were given only a share. */
#define NAS__TRIALS_DIRECTORY "trials"

typedef struct nas__trials nas__trials;

typedef struct nas__trial {
    nas_architecture *architecture;
    uint64_t hash;
    double share;  /* of a trial's whole training: 1, or less on the lower rungs of successive halving */
    int64_t index; /* its place in the history, from 0 */
    double metrics[NAS__MOST_METRICS];
    double fitness; /* the first metric, turned so that higher is better; -infinity: the trial failed */
    double seconds;
    bool repeated;  /* known from an earlier trial: costs nothing, and counts as no evaluation */
    int64_t window; /* open trials that it was proposed among, at most, itself included */
    enum { NAS__WAITING, NAS__RUNNING, NAS__JUDGED } state;
} nas__trial;

typedef enum nas__proposal { NAS__PROPOSED, NAS__WAIT, NAS__EXHAUSTED } nas__proposal;

/* Of policies whose proposals need no results, but those that they wait for. */
enum { NAS__FAR_AHEAD = 4 };

typedef struct nas__policy {
    size_t memory_size; /* zeroed */
    bool uniform;    /* where limits leave so little that draws miss it, they come ever nearer to one that meets them */
    bool fresh_only; /* an architecture that was begun before at this share is drawn anew */
    int ahead;       /* of trials side by side, how many for each of them may be open; 0: 1 */
    nas_status (*begin)(nas__trials *t);
    /* Writes an architecture (over the first one of the space) and, below 1, a share. Called again when what it
     * proposed does not count: it is beyond the limits, or known although fresh_only; `accept` is told what counts.
     * WAIT: not before an open trial is done. */
    nas__proposal (*propose)(nas__trials *t, nas_rng *rng, nas__trial *trial);
    void (*accept)(nas__trials *t, const nas__trial *trial);
    /* In the order of their proposals, whichever is judged first. */
    void (*observe)(nas__trials *t, const nas__trial *trial);
    void (*end)(nas__trials *t);
    /* How many there are when neither options nor a budget say so; NULL: 100. */
    int64_t (*trials)(const nas__trials *t);
    /* How many of its first architectures are random (nas__trials_new): a warm start fills these. NULL: it has no such
     * beginning. */
    size_t (*beginning)(const nas__trials *t);
} nas__policy;

typedef enum nas__judge { NAS__JUDGE_STANDALONE, NAS__JUDGE_SHARED, NAS__JUDGE_TABLE, NAS__JUDGE_PROXY } nas__judge;

/* Options of every strategy that searches by trials; its options begin with them. */
typedef struct nas__trial_options {
    int evaluate; /* nas__judge */
    int trials;
    double search_share;
    bool recompute;
    int proxy; /* nas__proxy */
    int warm_start, warm_samples;
    char table[NAS_OPTION_TEXT_SIZE];
} nas__trial_options;

#define NAS__TRIAL_OPTION_ROWS(struct_type, evaluate_default)                                                          \
    {"evaluate",                                                                                                       \
     NAS_OPTION_CHOICE,                                                                                                \
     offsetof(struct_type, trial.evaluate),                                                                            \
     evaluate_default,                                                                                                 \
     0,                                                                                                                \
     0,                                                                                                                \
     "standalone|shared|table|proxy",                                                                                  \
     "how a trial is judged: trained alone for --epochs, with weights that all share and --epochs have trained, "      \
     "looked up in `table`, or by a `proxy`: a score of its untrained weights"},                                       \
        {"proxy", NAS_OPTION_CHOICE, offsetof(struct_type, trial.proxy), "synflow", 0,                                 \
         0,       NAS__PROXY_WORDS,  "for evaluate=proxy: which one"},                                                 \
        {"warm_start",                                                                                                 \
         NAS_OPTION_CHOICE,                                                                                            \
         offsetof(struct_type, trial.warm_start),                                                                      \
         "none",                                                                                                       \
         0,                                                                                                            \
         0,                                                                                                            \
         "none|" NAS__PROXY_WORDS "|macs|params",                                                                      \
         "the random beginning is the best of `warm_samples` random architectures by this score of untrained "         \
         "networks"},                                                                                                  \
        {"warm_samples", NAS_OPTION_INT, offsetof(struct_type, trial.warm_samples), "200", 1,                          \
         100000,         NULL,           "for warm_start: how many are scored"},                                       \
        {"table",                                                                                                      \
         NAS_OPTION_TEXT,                                                                                              \
         offsetof(struct_type, trial.table),                                                                           \
         "",                                                                                                           \
         0,                                                                                                            \
         0,                                                                                                            \
         NULL,                                                                                                         \
         "for evaluate=table: FILE.csv[:seen=COL][:truth=COL+COL][:arch=COL]"},                                        \
        {"trials",                                                                                                     \
         NAS_OPTION_INT,                                                                                               \
         offsetof(struct_type, trial.trials),                                                                          \
         "0",                                                                                                          \
         0,                                                                                                            \
         1000000,                                                                                                      \
         NULL,                                                                                                         \
         "architectures to judge; 0: --budget trials=N, or 100, or as many as a budget of time allows"},               \
        {"search_share",                                                                                               \
         NAS_OPTION_FLOAT,                                                                                             \
         offsetof(struct_type, trial.search_share),                                                                    \
         "0.3",                                                                                                        \
         0.01,                                                                                                         \
         0.99,                                                                                                         \
         NULL,                                                                                                         \
         "of a budget of time, the part for trials with shared weights; the rest trains these"},                       \
        NAS_OPTION_RECOMPUTE_AT(struct_type, trial.recompute)

struct nas__trials { /* first in a strategy's memory */
    nas_search *s;
    const nas__policy *policy;
    void *memory; /* the policy's */
    nas__trial **done;
    size_t n_done;
    nas__trial **open; /* proposed, and not observed yet; in this order */
    size_t n_open;
    const nas_trial_runner *runner; /* NULL: trials are judged here, one by one */
    int64_t evaluations;            /* of those done, not repeated */
    int repeats;                    /* the last ones, that were */
    struct nas__history *loaded;    /* of a checkpoint */
    uint64_t *warm;                 /* of a warm start (warm.h): sets of each, the best first */
    size_t n_warm;                  /* numbers of it */
    struct nas__outcomes *outcomes; /* what is known of trials behind it */
};

/* --- for strategies: these are their functions ------------------------------------------------------------------ */
nas_status nas__trials_begin(nas_search *s, const nas__policy *policy);
void nas__trials_end(nas_search *s);
int nas__trials_train_epochs(nas_search *s);                                      /* none for trials trained alone */
nas_status nas__trials_step(nas_search *s, const nas_batch *train, double *loss); /* a uniform path */
nas_status nas__trials_conclude(nas_search *s);
double nas__trials_conclude_share(nas_search *s);
nas_status nas__trials_state(nas_search *s, nas_state *state);
#define NAS__TRIAL_STRATEGY                                                                                            \
    .train_epochs = nas__trials_train_epochs, .step = nas__trials_step, .conclude = nas__trials_conclude,              \
    .conclude_share = nas__trials_conclude_share, .state = nas__trials_state, .end = nas__trials_end

/* --- for policies ------------------------------------------------------------------------------------------------ */
static inline const nas_space *nas__trials_space(const nas__trials *t) { return t->s->space; }
static inline const void *nas__trials_options(const nas__trials *t) { return t->s->options; }
/* A trial with this hash that is done at this share or a larger one, or NULL. */
const nas__trial *nas__trials_find(const nas__trials *t, uint64_t hash, double share);
/* A new architecture: the next of the warm start, else a random one. */
void nas__trials_new(const nas__trials *t, nas_rng *rng, nas_architecture *a);
/* Is such a trial done, or open? */
bool nas__trials_begun(const nas__trials *t, uint64_t hash, double share);
/* Trials that were proposed so far. */
static inline size_t nas__trials_proposed(const nas__trials *t) { return t->n_done + t->n_open; }
/* Copies one architecture's choices to another's. */
void nas__architecture_assign(nas_architecture *to, const nas_architecture *from);

/* --- inside ------------------------------------------------------------------------------------------------------ */
nas__trial *nas__trial_new(const nas__trials *t);
void nas__trial_free(nas__trial *trial);
/* The number of trials that are wanted; INT64_MAX: as many as the time allows. */
int64_t nas__trials_wanted(const nas__trials *t);
/* trials_queue.c: proposes, has judged and observes, until there is no more to propose or the search is interrupted. */
nas_status nas__trials_run(nas__trials *t);
/* Takes a trial that is judged over into the history, and tells the policy. */
void nas__trials_observe(nas__trials *t, nas__trial *trial);
/* trial_judge.c: metrics and seconds; fails only when the search cannot go on. A trial that fails has NaN metrics. */
nas_status nas__judge_trial(nas__trials *t, nas__trial *trial);
void nas__trial_failed(nas__trials *t, nas__trial *trial, const char *reason);
/* Where the training of a trial waits that was, or will be, given only a share (new, free()). NULL, without an error:
 * nowhere, so it would be repeated from its beginning, with the same result. */
char *nas__trial_place(const nas_trainer *t, const nas__trial *trial);
/* A proxy's score of the untrained network of an architecture. */
nas_status nas__proxy_of(nas_trainer *t, const nas_architecture *a, nas__proxy proxy, double *score);
/* Trains an architecture alone, the share of the whole from where it waits (NULL: from the beginning), and scores it.
 */
nas_status nas__trial_alone(nas_trainer *t, const nas_architecture *a, double share, const char *place,
                            double *metrics);
/* trials_history.c */
nas_status nas__history_bind(nas__trials *t, nas_state *state);
/* Trials that a checkpoint knows. The window of one of them; what came of it, which fails when it is not what was
 * proposed. */
size_t nas__history_size(const nas__trials *t);
int64_t nas__history_window(const nas__trials *t, size_t i);
nas_status nas__history_recall(const nas__trials *t, nas__trial *trial);
nas_status nas__history_check(const nas__trials *t);
/* Fails: trial i of it is not what the policy proposes. */
nas_status nas__history_differs(const nas__trials *t, size_t i);
void nas__history_free(struct nas__history *history);
/* trials_outcomes.c: a line for every trial that was judged, written at once, so that a search that dies loses none. */
nas_status nas__outcomes_open(nas__trials *t);
nas_status nas__outcomes_add(nas__trials *t, const nas__trial *trial);
bool nas__outcomes_recall(const nas__trials *t, nas__trial *trial);
void nas__outcomes_free(struct nas__outcomes *outcomes);
/* All metrics of a trial as a list; null: no number. Reading leaves those alone that the list does not have. */
json_t *nas__metrics_json(const double *metrics);
void nas__metrics_read(const json_t *list, double *metrics);

#endif
