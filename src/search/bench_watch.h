/* bench_watch.h - what the operations of a step cost, from the events of its tapes. */
#ifndef SEARCH_BENCH_WATCH_H
#define SEARCH_BENCH_WATCH_H

#include "search/bench.h"
#include "tensor/tensor.h"

typedef struct nas__bench_watch {
    nas__watcher watcher;
    nas__bench_op ops[NAS__BENCH_OPS];
    int n_ops;
    double last; /* time of the event before */
    double flops, bytes;
} nas__bench_watch;

void nas__bench_watch_start(nas__bench_watch *w);
void nas__bench_watch_stop(nas__bench_watch *w);
/* Means per step into the result, dearest operations first. */
void nas__bench_watch_report(nas__bench_watch *w, int steps, nas__bench_result *r);

#endif
