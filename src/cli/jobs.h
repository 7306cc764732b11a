/* jobs.h - `--jobs N`: trials of a search in processes of their own. */
#ifndef CLI_JOBS_H
#define CLI_JOBS_H

#include "cli/cli.h"

typedef struct cli_jobs cli_jobs;

/* For a run whose config.json is in `directory` when the first trial starts. NULL and an error on failure. */
cli_jobs *cli_jobs_new(int n, const char *directory);
const nas_trial_runner *cli_jobs_runner(const cli_jobs *jobs);
void cli_jobs_free(cli_jobs *jobs); /* ends those that still run */

/* The process of one trial: `espalier trial RUN`. It reads a request from stdin and writes the result to stdout, both
 * as JSON. Not shown to people. */
extern const cli_command cli_trial_command;
/* What a search with the options of a run's config trains alone, and its metrics (NAN behind the last); search.c */
nas_status cli_search_alone(cli_args *a, const char *run, const char *architecture, double share, const char *place,
                            double *metrics);

#endif
