/* bench_count.h - what a pass has to compute and to move, however it is done. */
#ifndef SEARCH_BENCH_COUNT_H
#define SEARCH_BENCH_COUNT_H

#include "search/op_times.h"
#include "search/trainer.h"

typedef struct nas__bench_counts {
    double flops; /* of convolutions and linear layers */
    double bytes; /* every tensor that has to be kept, written once and read once; the same for gradients */
} nas__bench_counts;

typedef struct nas__bench_counted {
    nas_module *model;
    nas_loss_fn loss; /* NULL: none, as in inference */
    const nas_batch *batch;
    const nas_dataset_info *info;
    unsigned grad; /* roles that are differentiated for */
    nas_bn_mode bn;
} nas__bench_counted;
/* Adds to the counts. The model computes under the decisions in force. Nothing may watch this thread's passes. */
nas_status nas__bench_count(const nas__bench_counted *pass, nas__bench_counts *counts);

#endif
