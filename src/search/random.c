/* random.c - random search: uniform draws without repetition. What every other strategy has to beat (Li and Talwalkar,
 * UAI 2019). */
#include "search/trials.h"

typedef struct random_options {
    nas__trial_options trial;
} random_options;

static const nas_option options[] = {NAS__TRIAL_OPTION_ROWS(random_options, "standalone"), {0}};

static nas__proposal propose(nas__trials *t, nas_rng *rng, nas__trial *trial) {
    (void)t;
    nas_architecture_random(trial->architecture, rng);
    return NAS__PROPOSED;
}

static const nas__policy policy = {.uniform = true, .fresh_only = true, .ahead = NAS__FAR_AHEAD, .propose = propose};

static nas_status begin(nas_search *s) { return nas__trials_begin(s, &policy); }

const nas_strategy nas__strategy_random = {
    .name = "random",
    .summary = "random search: uniform architectures, each once; what others have to beat",
    .paper = "Li and Talwalkar: Random Search and Reproducibility for Neural Architecture Search, UAI 2019",
    .options = options,
    .options_size = sizeof(random_options),
    .state_size = sizeof(nas__trials),
    .begin = begin,
    NAS__TRIAL_STRATEGY,
};
