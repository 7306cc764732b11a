/* trials.h - searches by trials: a policy proposes architectures, each is judged alone, the policy sees the result.
 *
 * The policies are the classic ones (random, evolution, ...) and the second halves of one-shot searches; how a trial is
 * judged (trial_judge.c) is independent of them: trained alone for some epochs, run with shared weights that were
 * trained before, looked up in a table, or guessed from random weights. What was proposed and found is one history
 * (trials_history.c): a resumed search gives it to its policy again and goes on, so policies store nothing. Proposal i
 * draws from a random stream of its own. */
#ifndef SEARCH_TRIALS_H
#define SEARCH_TRIALS_H

#include "search/proxies.h"
#include "search/trainer.h"

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
    bool repeated; /* known from an earlier trial: costs nothing, and counts as no evaluation */
} nas__trial;

typedef enum nas__proposal { NAS__PROPOSED, NAS__EXHAUSTED } nas__proposal;

typedef struct nas__policy {
    size_t memory_size; /* zeroed */
    bool fresh_only;    /* an architecture that was tried before at this share is drawn anew */
    nas_status (*begin)(nas__trials *t);
    /* Writes an architecture (over the first one of the space) and, below 1, a share. Called again when what it
     * proposed does not count: it is beyond the limits, or known although fresh_only; `accept` is told what counts.
     * WAIT: not before a running trial is done. */
    nas__proposal (*propose)(nas__trials *t, nas_rng *rng, nas__trial *trial);
    void (*accept)(nas__trials *t, const nas__trial *trial);
    /* In the order in which trials are done. */
    void (*observe)(nas__trials *t, const nas__trial *trial);
    void (*end)(nas__trials *t);
    /* How many there are when neither options nor a budget say so; NULL: 100. */
    int64_t (*trials)(const nas__trials *t);
} nas__policy;

typedef enum nas__judge { NAS__JUDGE_STANDALONE, NAS__JUDGE_SHARED, NAS__JUDGE_TABLE, NAS__JUDGE_PROXY } nas__judge;

/* Options of every strategy that searches by trials; its options begin with them. */
typedef struct nas__trial_options {
    int evaluate; /* nas__judge */
    int trials;
    double search_share;
    bool recompute;
    int proxy; /* nas__proxy */
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
    int64_t evaluations;         /* of them, not repeated */
    struct nas__history *loaded; /* of a checkpoint, until it has been given to the policy */
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
/* Copies one architecture's choices to another's. */
void nas__architecture_assign(nas_architecture *to, const nas_architecture *from);

/* --- inside ------------------------------------------------------------------------------------------------------ */
nas__trial *nas__trial_new(const nas__trials *t);
void nas__trial_free(nas__trial *trial);
/* trial_judge.c: fills metrics; fails only when the search cannot go on. A trial that fails has NaN metrics. */
nas_status nas__judge_trial(nas__trials *t, nas__trial *trial);
/* trials_history.c */
nas_status nas__history_bind(nas__trials *t, nas_state *state);
nas_status nas__history_replay(nas__trials *t);
void nas__history_free(struct nas__history *history);
/* trials.c: the next one, to be judged and observed or freed; NULL when there is none, or on an error. */
nas__trial *nas__trials_propose(nas__trials *t);
void nas__trials_observe(nas__trials *t, nas__trial *trial);

#endif
