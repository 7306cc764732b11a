/* profile.h - what the files of `espalier profile` share. */
#ifndef CLI_PROFILE_H
#define CLI_PROFILE_H

#include "cli/cli.h"

#include "hardware/profile.h"

typedef struct cli_profiled {
    cli_args *a;
    cli_space space;
    nas_module *model;
    int64_t dims[3], parameters;
    uint64_t macs, least, most; /* of a space: mean, least and most over random architectures */
    int64_t memory[2][3];       /* likewise, of a C file's arena and weights: least, median and most; 0: not known */
    json_t *result;
} cli_profiled;

nas_status cli_profile_check(const cli_args *a, bool fixed);
/* Latencies of all candidates into the table, and what it predicts: into the result. */
nas_status cli_profile_space(cli_profiled *p);
/* Latency of the fixed model (batch norm is folded then), and what a table predicts for it: into the result. */
nas_status cli_profile_network(cli_profiled *p, const char *architecture);
/* What the two have put into the result, as lines. */
void cli_profile_print_space(const cli_profiled *p);
void cli_profile_print_network(const cli_profiled *p);

/* Predicted against measured networks (ns) as a picture. */
nas_status cli_profile_svg(const char *path, const char *title, int n, const double *predicted, const double *measured);

#endif
