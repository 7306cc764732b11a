/* correlate.h - random networks of a space with everything that may rank them: what measuring hands to the report. */
#ifndef CLI_CORRELATE_H
#define CLI_CORRELATE_H

#include "cli/cli.h"
#include "search/proxies.h"

/* What ranks: the search's score, the size, the scores of random weights. */
enum { CLI_SCORE, CLI_MACS, CLI_PARAMETERS, CLI_PROXIES, CLI_RANKERS = CLI_PROXIES + NAS__PROXIES };

typedef struct cli_correlation {
    cli_args *a;
    const char *run, *out;
    int n;                    /* networks */
    char **names;             /* canonical strings */
    double *by[CLI_RANKERS];  /* n numbers each, higher is better; NULL: not measured */
    double *truth;            /* likewise */
    const char *score, *kind; /* what the search's score is, and what is true */
} cli_correlation;

const char *cli_ranker(int i);
/* Everything that follows from the numbers (new), the same for people, and the picture in the run's directory. */
json_t *cli_correlate_json(const cli_correlation *c);
void cli_correlate_print(json_t *result);
nas_status cli_correlate_svg(const cli_correlation *c, const char *path);

#endif
