/* compare.h - a searched network against random ones of its space: what drawing and training hand to the report. */
#ifndef CLI_COMPARE_H
#define CLI_COMPARE_H

#include "cli/cli.h"

typedef struct cli_rival {
    char name[24];      /* "searched", "random-1", ... */
    char *architecture; /* flat JSON */
    json_t **results;   /* result.json of each retraining; NULL: not trained */
} cli_rival;

typedef struct cli_comparison {
    cli_args *a;
    const char *run, *out; /* of the search; where the retrainings are */
    int n_rivals, n_seeds; /* rivals[0] is the searched one */
    cli_rival *rivals;
    json_t *notes;         /* what a reader has to know besides the numbers */
    double search_seconds; /* 0: unknown */
} cli_comparison;

/* Draws, trains what is not trained yet; a signal ends it early with what there is. */
nas_status cli_compare_train(cli_comparison *c);
void cli_compare_close(cli_comparison *c);

/* The comparison as JSON (new), and the same for people. */
json_t *cli_compare_json(const cli_comparison *c);
void cli_compare_print(json_t *comparison);

/* First metric of a result that is known, its value through *value; NULL: none, or a number that is none. */
const nas_metric *cli_first_metric(json_t *result, double *value);

#endif
