/* bench_watch.c - see bench_watch.h. The time between two events of a pass belongs to the operation that the second one
 * is about: kernels run inside the operations, in order, on this thread. */
#include "search/bench_watch.h"
#include "search/pace.h"

#include <stdlib.h>
#include <string.h>

static const char between[] = "(between passes)";

/* Operations whose result can be had again from their single large input while that is read, at the price of little or
 * no arithmetic: an implementation need not keep it. All other results are compulsory traffic. */
static bool needs_no_memory(const char *name) {
    static const char *const fleeting[] = {"relu",   "batch_norm", "depthwise", "scale", "mul_scalar",
                                           "concat", "reshape",    "reorder",   "pad",   "slice"};
    for (size_t i = 0; i < sizeof fleeting / sizeof *fleeting; i++) {
        if (strcmp(fleeting[i], name) == 0) {
            return true;
        }
    }
    return false;
}

static double kept_bytes(const nas__node *node) {
    double bytes = 0;
    for (int i = 0; i < node->n_outputs && !needs_no_memory(node->name); i++) {
        bytes += (double)nas__storage(node->outputs[i]) * sizeof(float);
    }
    return bytes;
}

/* Multiply-adds of one pass over a convolution or linear layer: each weight meets each pixel of its output channel. */
static double macs_of(const nas__node *node) {
    if (strcmp(node->name, "conv") != 0 && strcmp(node->name, "depthwise") != 0 && strcmp(node->name, "linear") != 0) {
        return 0;
    }
    const nas_tensor *y = node->outputs[0], *weight = node->inputs[1];
    return (double)nas__count(y) / (double)y->dims[1] * (double)nas__count(weight);
}

static nas__bench_op *op_of(nas__bench_watch *w, const char *name, bool backward) {
    for (int i = 0; i < w->n_ops; i++) {
        if (w->ops[i].backward == backward && strcmp(w->ops[i].name, name) == 0) {
            return &w->ops[i];
        }
    }
    if (w->n_ops == NAS__BENCH_OPS) {
        return &w->ops[NAS__BENCH_OPS - 1];
    }
    w->ops[w->n_ops] = (nas__bench_op){.name = name, .backward = backward};
    return &w->ops[w->n_ops++];
}

static void on_event(void *user, nas__event event, const nas__node *node) {
    nas__bench_watch *w = user;
    double now = nas__now(), flops = 0, bytes = 0;
    nas__bench_op *op = op_of(w, node ? node->name : between, event == NAS__DIFFERENTIATED);
    if (event != NAS__BEGUN) {
        double macs = macs_of(node);
        int products =
            event == NAS__COMPUTED ? 1 : nas__wants(node->inputs[0]) + (macs > 0 && nas__wants(node->inputs[1]));
        flops = 2 * macs * products;
        bytes = 2 * kept_bytes(node); /* once written, once read */
    }
    op->calls++;
    op->seconds += now - w->last;
    op->flops += flops;
    op->bytes += bytes;
    w->flops += flops;
    w->bytes += bytes;
    w->last = nas__now();
}

void nas__bench_watch_start(nas__bench_watch *w) {
    *w = (nas__bench_watch){.watcher = {on_event, w}, .last = nas__now()};
    nas__watch(&w->watcher);
}

void nas__bench_watch_stop(nas__bench_watch *w) {
    op_of(w, between, false)->seconds += nas__now() - w->last;
    nas__watch(NULL);
}

static int dearest_first(const void *a, const void *b) {
    double x = ((const nas__bench_op *)a)->seconds, y = ((const nas__bench_op *)b)->seconds;
    return (x < y) - (x > y);
}

void nas__bench_watch_report(nas__bench_watch *w, int steps, nas__bench_result *r) {
    for (int i = 0; i < w->n_ops; i++) {
        w->ops[i].seconds /= steps;
        w->ops[i].flops /= steps;
        w->ops[i].bytes /= steps;
        w->ops[i].calls /= (uint64_t)steps;
    }
    qsort(w->ops, (size_t)w->n_ops, sizeof *w->ops, dearest_first);
    memcpy(r->ops, w->ops, sizeof r->ops);
    r->n_ops = w->n_ops;
    r->flops = w->flops / steps;
    r->bytes = w->bytes / steps;
}
