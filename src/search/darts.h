/* darts.h - what the files of DARTS share: the mixture (darts_mix.c), the stages of a search (darts_stages.c),
 * selection by perturbation (darts_perturb.c), and early stopping (darts_stop.c). */
#ifndef SEARCH_DARTS_H
#define SEARCH_DARTS_H

#include "search/alphas.h"
#include "search/darts_options.h"
#include "search/trainer.h"

typedef struct nas__darts {
    nas__alphas alphas; /* first */
    nas__darts_plan plan;
    nas__none_rule none;
    const nas_batch *train, *arch; /* of the running step */
    /* stages */
    int64_t stage, stage_epoch; /* the running one, and the epoch that it began in */
    /* perturbation: choices that are decided already, and what the passes run instead of one choice's candidates */
    int64_t decided;
    int tried;
    uint64_t trial;
    /* early stopping: the alphas of the last epochs, and how long the ranking of candidates has rested */
    float *snapshots;
    size_t snapshot_size;
    uint64_t ranking;
    int64_t rested;
} nas__darts;

/* --- darts_mix.c */
/* Decides all choices of a pass: for the weights when `user` is not NULL. */
nas_status nas__darts_decide(nas_search *s, void *user);
/* The further terms of alpha's loss, or NULL when there are none. */
nas_tensor *(*nas__darts_penalty(const nas__darts *d))(nas_search *s, void *user);
/* May candidates of a choice be skip connections? */
bool nas__darts_has_skips(const nas_space *space);

/* --- darts_stages.c */
void nas__darts_restrict(nas_search *s); /* leaves out `none` where the plan says so */
nas_status nas__darts_begin_epoch(nas_search *s);
nas_status nas__darts_deepen(nas_search *s);           /* the running stage's depth of the network */
double nas__darts_stage_progress(const nas_search *s); /* 0..1 */
bool nas__darts_frozen(const nas_search *s);

/* --- darts_perturb.c */
nas_status nas__darts_perturb(nas_search *s);
double nas__darts_selection_begins(const nas__darts *d); /* of the search's progress; 1: never */

/* --- darts_stop.c */
nas_status nas__darts_look_back(nas_search *s);
nas_status nas__darts_snapshots_new(nas_search *s);

#endif
