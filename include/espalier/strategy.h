/* strategy.h - what a strategy is, and what the trainer does for it. A strategy is a table of functions over decisions
 * (space.h); it sees choices, batches and passes, never a particular network. The built-in ones are written against
 * this header too; one of your own runs through the same trainer (nas_trainer_config.custom) and the same command
 * (--strategy-plugin). */
#ifndef ESPALIER_STRATEGY_H
#define ESPALIER_STRATEGY_H

#include <espalier/search.h>

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A row that every strategy has: a `bool recompute` of its struct, which the trainer hands to all passes. */
#define NAS_OPTION_RECOMPUTE(struct_type) NAS_OPTION_RECOMPUTE_AT(struct_type, recompute)
#define NAS_OPTION_RECOMPUTE_AT(struct_type, field)                                                                    \
    {                                                                                                                  \
        "recompute", NAS_OPTION_BOOL, offsetof(struct_type, field), "0", 0, 0, NULL,                                   \
            "less memory, more time: forget results between the halves of separable convolutions and compute them "    \
            "again"                                                                                                    \
    }

typedef struct nas_search nas_search;

typedef struct nas_strategy {
    const char *name, *summary, *paper;
    const nas_option *options; /* of a struct of options_size bytes */
    size_t options_size;
    size_t state_size; /* zeroed before begin, freed after end */
    /* Its choices learn from images that the weights never see (nas_search_arch_batch); without, all images that do not
     * score are the weights'. */
    bool arch_batches;
    int score_steps;   /* default of nas_trainer_config.score_steps: for strategies that never train a path alone */
    bool exports_last; /* what was derived last is exported, whatever was scored before: of strategies that trade the
                          score for something that it does not count */
    /* Refuses a space by an error with the reason; NULL accepts all. */
    nas_status (*accepts)(const nas_space *space);
    nas_status (*begin)(nas_search *s); /* NULL: nothing to prepare beyond zeroed memory */
    /* One step on a training batch; usually some arch pass and nas_search_weight_step. Returns the training loss
     * through *loss. */
    nas_status (*step)(nas_search *s, const nas_batch *train, double *loss);
    /* Steps of a second phase, after an epoch's training batches (the controller of ENAS): how many, and one of them.
     */
    int64_t (*extra_steps)(nas_search *s);
    nas_status (*extra_step)(nas_search *s, int64_t index);
    nas_status (*end_epoch)(nas_search *s);
    /* For strategies that search after the weights were trained, or without: for how many epochs `step` trains them
     * (NULL: all), and the search, once, which ends when nas_search_interrupted says so. conclude_share: of a budget of
     * time the part that is its. A resumed run calls conclude again, with the state loaded. */
    int (*train_epochs)(nas_search *s);
    nas_status (*conclude)(nas_search *s);
    double (*conclude_share)(nas_search *s);
    /* The architecture that the present state stands for; NULL: of every choice the most probable,
     * or, with conclude, none after an epoch. */
    nas_status (*derive)(nas_search *s, nas_architecture *out);
    /* Probability of each candidate of a choice (n numbers), for the log, entropy and page; false: this choice has
     * none. */
    bool (*probabilities)(nas_search *s, int choice, double *p);
    /* Names every number that a resumed run needs; serves for saving and for loading. */
    nas_status (*state)(nas_search *s, nas_state *state);
    void (*end)(nas_search *s);
} nas_strategy;

/* What a strategy may read (and must not write). */
struct nas_search {
    const nas_strategy *strategy;
    nas_module *model;
    nas_space *space;
    const void *options; /* the strategy's struct */
    void *memory;        /* state_size bytes of its own */
    const nas_trainer_config *config;
    nas_optimizer *optimizer;
    int epoch, epochs;                /* 0-based running epoch */
    int64_t step, steps_per_epoch;    /* 0-based step inside the epoch, extra steps included */
    int64_t train_steps, extra_steps; /* of an epoch */
    uint64_t total_step;              /* over all epochs: 0-based */
    double progress;                  /* 0..1 of the whole run */
    double lr;                        /* of the weights, at this step */
};

/* A random stream of its own for one purpose (any constant of the strategy's file), at this step. */
NAS_API nas_rng nas_search_rng(const nas_search *s, uint32_t purpose);

/* The next batch of the arch part (shuffled, endless, not augmented). NULL on error; of strategies with arch_batches.
 */
NAS_API const nas_batch *nas_search_arch_batch(nas_search *s);

/* One forward pass over a batch, with its backward pass when grad asks for roles. */
typedef struct nas_pass {
    const nas_batch *batch;
    unsigned grad;       /* NAS_ROLE_WEIGHT, NAS_ROLE_ARCH, both, or 0 */
    bool training;       /* dropout, drop-path */
    bool freeze_running; /* batch statistics without updating the running estimates */
    bool same_noise;     /* drops what the pass before dropped: for differences of passes */
    /* Makes the decisions of this pass, on its tape (weights of a weighting are tensors of the pass). NULL: those in
     * force stay. */
    nas_status (*decide)(nas_search *s, void *user);
    /* What is differentiated, from what the network gave, in place of s->config->loss (smoothed labels, a cost that
     * weighs in); NULL: that. */
    nas_tensor *(*objective)(nas_search *s, nas_tensor *output, nas_tensor *target, void *user);
    /* The term that is added to the loss on the tape; may be NULL. */
    nas_tensor *(*penalty)(nas_search *s, void *user);
    void *user;
} nas_pass;
typedef struct nas_pass_result {
    double loss, reward; /* reward: only when want_reward */
    bool want_reward;
} nas_pass_result;
/* Gradients are added to what parameters and variables hold; the caller steps or clears. A loss that is not finite
 * fails (NAS_NUMERIC) with the step in the message. */
NAS_API nas_status nas_search_pass(nas_search *s, const nas_pass *pass, nas_pass_result *result);

/* A pass with gradients for the weights, clip, one update. */
NAS_API nas_status nas_search_update(nas_search *s, const nas_pass *pass, double *loss);
/* Pass on a training batch with gradients for the weights under the decisions in force (or pass's decide), clip, one
 * update. */
NAS_API nas_status nas_search_weight_step(nas_search *s, const nas_batch *train,
                                          nas_status (*decide)(nas_search *, void *), void *user, double *loss);

/* The user's reward, or the first metric turned so that higher is better. */
NAS_API double nas_search_reward(const nas_search *s, const nas_tensor *output, const nas_tensor *target);

/* Score of an architecture on the valid part: that path alone, batch norm recalibrated on training batches; the
 * supernet's state is as before afterwards. The score is the first metric. Recorded as an evaluation, and remembered
 * when it is the best. */
NAS_API nas_status nas_search_score(nas_search *s, const nas_architecture *a, double *score);
/* Is the search to end now: it was stopped, or its time is over? */
NAS_API bool nas_search_interrupted(const nas_search *s);
/* a better than b under the first metric's direction? (NaN is worse than anything.) */
NAS_API bool nas_search_better(const nas_search *s, double a, double b);

/* A line in the log and an event of the run. */
NAS_API void nas_search_note(nas_search *s, nas_log_level level, const char *kind, const char *format, ...)
    NAS_PRINTF(4, 5);

/* --- strategies of others -------------------------------------------------------------------------- */
/* The first argument of nas_strategy_plugin: changes whenever this header does. */
#define NAS_STRATEGY_VERSION 2
/* What a plugin, a shared object for --strategy-plugin, has to define with default visibility. It returns its strategy,
 * static, or NULL when it was written for another version than the caller's. */
NAS_API const nas_strategy *nas_strategy_plugin(int version);

#ifdef __cplusplus
}
#endif
#endif
