/* bench.h - what the files of `espalier bench` share. */
#ifndef CLI_BENCH_H
#define CLI_BENCH_H

#include "cli/cli.h"
#include "search/bench.h"

/* The machine with its peaks (new), and that in words. */
json_t *cli_bench_machine(const nas__bench_peaks *peaks);
void cli_bench_print_machine(json_t *machine);
/* `espalier bench ops`; steals the machine. */
nas_status cli_bench_ops(cli_args *a, json_t *machine, const nas__bench_peaks *peaks);

#endif
