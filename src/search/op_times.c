/* op_times.c - see op_times.h. The time between two events belongs to the operation that the second one is about:
 * kernels run inside the operations, in order, on this thread. */
#include "search/op_times.h"
#include "search/pace.h"

#include <stdlib.h>
#include <string.h>

static const char between[] = "(between)", optimiser[] = "optimiser";

/* --- what a node costs ----------------------------------------------------------------------------- */
/* A table of embeddings has a weight's shape, and no products. */
static bool is_factor(const nas__node *node, const nas_tensor *t) {
    return t && t->persistent && t->role == NAS_ROLE_WEIGHT && t->ndim > 1 && t->ndim == node->outputs[0]->ndim &&
           strcmp(node->name, "embedding") != 0;
}

double nas__node_macs(const nas__node *node) {
    const nas_tensor *y = node->outputs[0];
    double weights = 0;
    for (int i = 0; i < node->n_inputs; i++) {
        weights += is_factor(node, node->inputs[i]) ? (double)nas__count(node->inputs[i]) : 0;
    }
    return weights > 0 ? (double)nas__count(y) / (double)y->dims[1] * weights : 0;
}

int nas__node_products(const nas__node *node) {
    bool data = false, weights = false;
    for (int i = 0; i < node->n_inputs; i++) {
        const nas_tensor *t = node->inputs[i];
        bool wanted = nas__wants(t);
        weights |= wanted && is_factor(node, t);
        data |= wanted && !t->persistent;
    }
    return data + weights;
}

static double bytes_of(int n, nas_tensor *const *list, bool wanted_only) {
    double bytes = 0;
    for (int i = 0; i < n; i++) {
        bool counts = list[i] && !list[i]->is_zero && (!wanted_only || nas__wants(list[i]));
        bytes += counts ? (double)nas__storage(list[i]) * sizeof(float) : 0;
    }
    return bytes;
}

/* --- events ---------------------------------------------------------------------------------------- */
static nas__op_time *row(nas__op_times *t, const char *name, bool backward) {
    for (int i = 0; i < t->n; i++) {
        if (t->ops[i].backward == backward && strcmp(t->ops[i].name, name) == 0) {
            return &t->ops[i];
        }
    }
    if (t->n == NAS__OP_KINDS) {
        return &t->ops[NAS__OP_KINDS - 1];
    }
    t->ops[t->n] = (nas__op_time){.name = name, .backward = backward};
    return &t->ops[t->n++];
}

static void account(nas__op_times *t, const char *name, bool backward, double flops, double bytes) {
    double now = nas__clock();
    nas__op_time *op = row(t, name, backward);
    op->calls++;
    op->seconds += now - t->last;
    op->flops += flops;
    op->bytes += bytes;
    t->last = now;
}

static void on_pass(void *user, nas__event event, const nas__node *node) {
    nas__op_times *t = user;
    if (!node) {
        account(t, between, false, 0, 0);
        return;
    }
    bool backward = event == NAS__DIFFERENTIATED;
    double values = bytes_of(node->n_inputs, node->inputs, false),
           results = bytes_of(node->n_outputs, node->outputs, false);
    double gradients = backward ? bytes_of(node->n_inputs, node->inputs, true) : 0;
    account(t, node->name, backward, 2 * nas__node_macs(node) * (backward ? nas__node_products(node) : 1),
            values + results + gradients);
}

/* Weights and state are read and written, gradients read once more for their norm. */
static void on_update(void *user, const nas_optimizer *o, bool done) {
    double count = o->n ? (double)o->offset[o->n] : 0;
    int arrays = 4 + (o->first ? 2 : 0) + (o->second ? 2 : 0);
    account(user, done ? optimiser : between, false, 0, done ? count * arrays * sizeof(float) : 0);
}

void nas__op_times_start(nas__op_times *t) {
    double now = nas__clock();
    *t = (nas__op_times){.passes = {on_pass, t}, .updates = {on_update, t}, .started = now, .last = now};
    nas__watch(&t->passes);
    nas__watch_updates(&t->updates);
}

void nas__op_times_leave_out(nas__op_times *t, double seconds) {
    t->last += seconds;
    t->started += seconds;
}

static int dearest_first(const void *a, const void *b) {
    double x = ((const nas__op_time *)a)->seconds, y = ((const nas__op_time *)b)->seconds;
    return (x < y) - (x > y);
}

void nas__op_times_stop(nas__op_times *t) {
    nas__watch(NULL);
    nas__watch_updates(NULL);
    account(t, between, false, 0, 0);
    t->seconds = t->last - t->started;
    qsort(t->ops, (size_t)t->n, sizeof *t->ops, dearest_first);
}
