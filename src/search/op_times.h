/* op_times.h - where the time of training goes, by kind of operation and direction, from the events of tapes and
 * optimisers. */
#ifndef SEARCH_OP_TIMES_H
#define SEARCH_OP_TIMES_H

#include "nn/optim.h"
#include "tensor/tensor.h"

/* One kind of operation in one direction. */
typedef struct nas__op_time {
    const char *name;
    bool backward;
    uint64_t calls;
    double seconds;
    double flops; /* two for each multiply-add of convolutions and linear layers */
    double bytes; /* operands and results once each: what a pass over them moves at least */
} nas__op_time;
enum { NAS__OP_KINDS = 96 };

typedef struct nas__op_times {
    nas__watcher passes;
    nas__update_watcher updates;
    nas__op_time ops[NAS__OP_KINDS]; /* "(between)": loader, journal and all else that is no operation */
    int n;
    double started, last, seconds; /* seconds: from start to stop */
} nas__op_times;

/* Of the calling thread's passes and updates; nobody else may watch them until the stop. */
void nas__op_times_start(nas__op_times *t);
/* Something else was done for the last `seconds`. */
void nas__op_times_leave_out(nas__op_times *t, double seconds);
/* Dearest operations first. */
void nas__op_times_stop(nas__op_times *t);

/* Multiply-adds of one pass over the weights of an operation: each weight meets each pixel of its output. */
double nas__node_macs(const nas__node *node);
/* How many such passes its backward step takes, by what the current tape asks for: for the data, for the weights. */
int nas__node_products(const nas__node *node);

#endif
