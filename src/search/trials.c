/* trials.c - see trials.h: trials, and what they share with the trainer of strategies. */
#include "core/file.h"
#include "search/trials.h"
#include "search/warm.h"
#include "space/space.h"

#include <ftw.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PURPOSE_PATH = 0x7a1a01, DEFAULT_TRIALS = 100 };

static const nas__trial_options *options_of(const nas_search *s) { return s->options; }

/* --- trials ------------------------------------------------------------------------------------------------------ */
nas__trial *nas__trial_new(const nas__trials *t) {
    nas__trial *trial = nas__alloc(sizeof *trial);
    if (trial) {
        *trial = (nas__trial){.architecture = nas_architecture_new(t->s->space), .share = 1, .fitness = -INFINITY};
    }
    if (trial && !trial->architecture) {
        free(trial);
        trial = NULL;
    }
    return trial;
}

void nas__trial_free(nas__trial *trial) {
    if (trial) {
        nas_architecture_free(trial->architecture);
        free(trial);
    }
}

void nas__architecture_assign(nas_architecture *to, const nas_architecture *from) {
    memcpy(to->bits, from->bits, (size_t)to->space->n_choices * sizeof *to->bits);
}

const nas__trial *nas__trials_find(const nas__trials *t, uint64_t hash, double share) {
    for (size_t i = 0; i < t->n_done; i++) {
        if (t->done[i]->hash == hash && t->done[i]->share >= share) {
            return t->done[i];
        }
    }
    return NULL;
}

int64_t nas__trials_wanted(const nas__trials *t) {
    const nas_search *s = t->s;
    int given = options_of(s)->trials, budget = s->config->budget.trials;
    return given > 0                       ? given
           : budget > 0                    ? budget
           : s->config->budget.minutes > 0 ? INT64_MAX
           : t->policy->trials             ? t->policy->trials(t)
                                           : DEFAULT_TRIALS;
}

/* --- the search -------------------------------------------------------------------------------------------------- */
static int remove_entry(const char *path, const struct stat *about, int type, struct FTW *walk) {
    (void)about, (void)type, (void)walk;
    return remove(path);
}

/* Trainings that wait for more will not get it when the search is over, and what is known of trials is in its
 * checkpoint. */
static void remove_waiting(const nas_search *s) {
    char *place = s->config->run_dir ? nas__join(s->config->run_dir, NAS__TRIALS_DIRECTORY) : NULL;
    if (place && nas__is_directory(place)) {
        nftw(place, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    }
    free(place);
}

nas_status nas__trials_conclude(nas_search *s) {
    nas_status status = nas__trials_run(s->memory);
    if (!status && !nas__trainer_of(s)->stop) {
        status = nas__checkpoint_save(nas__trainer_of(s)); /* what waits is needed until the end is saved */
        if (!status) {
            remove_waiting(s);
        }
    }
    return status;
}

/* --- the strategy's other functions ------------------------------------------------------------------------------ */
static nas_status open_table(nas_search *s) {
    const char *table = options_of(s)->table;
    if (!*table) {
        return nas__fail(NAS_USAGE, "%s: evaluate=table needs a table: table=FILE.csv", s->strategy->name);
    }
    nas__trainer_of(s)->truth = nas__truth_open(table, s->config->metrics[0].lower_is_better);
    return nas_error_status();
}

nas_status nas__trials_begin(nas_search *s, const nas__policy *policy) {
    nas__trials *t = s->memory;
    t->s = s;
    t->policy = policy;
    t->memory = policy->memory_size ? nas__alloc(policy->memory_size) : NULL;
    if (policy->memory_size && !t->memory) {
        return nas_error_status();
    }
    int evaluate = options_of(s)->evaluate;
    const nas_trial_runner *runner = s->config->runner;
    if (runner && evaluate == NAS__JUDGE_SHARED) {
        return nas__fail(NAS_UNSUPPORTED,
                         "%s judges trials by weights that all share, in the process that trains these: not side by "
                         "side; leave out --jobs, or set evaluate=standalone",
                         s->strategy->name);
    }
    t->runner = evaluate == NAS__JUDGE_STANDALONE ? runner : NULL; /* looks take no time */
    bool own = evaluate == NAS__JUDGE_PROXY || (evaluate == NAS__JUDGE_STANDALONE && !s->config->trial && !runner);
    if (own && !s->config->new_model) {
        return nas__fail(NAS_USAGE,
                         "%s judges each architecture alone, in a network of its own: give .new_model or .trial, or "
                         "set evaluate=shared",
                         s->strategy->name);
    }
    if (evaluate == NAS__JUDGE_TABLE && open_table(s)) {
        return nas_error_status();
    }
    return nas__warm_check(t) || !policy->begin ? nas_error_status() : policy->begin(t);
}

void nas__trials_end(nas_search *s) {
    nas__trials *t = s->memory;
    if (t->policy && t->policy->end && t->memory) {
        t->policy->end(t);
    }
    for (size_t i = 0; i < t->n_done; i++) {
        nas__trial_free(t->done[i]);
    }
    for (size_t i = 0; i < t->n_open; i++) {
        nas__trial_free(t->open[i]);
    }
    nas__history_free(t->loaded);
    nas__outcomes_free(t->outcomes);
    free(t->open);
    free(t->warm);
    free(t->done);
    free(t->memory);
}

int nas__trials_train_epochs(nas_search *s) {
    return options_of(s)->evaluate == NAS__JUDGE_SHARED ? s->config->num_epochs : 0;
}

double nas__trials_conclude_share(nas_search *s) {
    return options_of(s)->evaluate == NAS__JUDGE_SHARED ? options_of(s)->search_share : 1;
}

/* Uniform sampling of single paths (Guo et al. 2020): what is judged later was trained alike. */
static nas_status uniform_path(nas_search *s, void *user) {
    nas_rng rng = nas_search_rng(s, PURPOSE_PATH);
    nas_architecture *a = nas_architecture_new(s->space);
    (void)user;
    if (a) {
        nas_architecture_random(a, &rng);
        nas_architecture_apply(a, s->space);
    }
    nas_architecture_free(a);
    return nas_error_status();
}

nas_status nas__trials_step(nas_search *s, const nas_batch *train, double *loss) {
    return nas_search_weight_step(s, train, uniform_path, NULL, loss);
}

nas_status nas__trials_state(nas_search *s, nas_state *state) { return nas__history_bind(s->memory, state); }
