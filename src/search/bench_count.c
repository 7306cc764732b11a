/* bench_count.c - what a pass has to compute and to move, counted on its graph in a dry pass. */
#include "search/bench_count.h"

#include <string.h>

/* Operations whose result can be had again from their single large input while that is read, at the price of little or
 * no arithmetic: an implementation need not keep it. All other results are compulsory traffic. */
static bool needs_no_memory(const char *name) {
    static const char *const fleeting[] = {"relu",   "relu6",   "batch_norm", "depthwise", "scale", "mul_scalar",
                                           "concat", "reshape", "reorder",    "pad",       "slice", "split_even_odd"};
    for (size_t i = 0; i < sizeof fleeting / sizeof *fleeting; i++) {
        if (strcmp(fleeting[i], name) == 0) {
            return true;
        }
    }
    return false;
}

static void on_event(void *user, nas__event event, const nas__node *node) {
    nas__bench_counts *c = user;
    if (event != NAS__COMPUTED || !node) {
        return;
    }
    c->flops += 2 * nas__node_macs(node) * (1 + nas__node_products(node));
    for (int i = 0; i < node->n_outputs && !needs_no_memory(node->name); i++) {
        const nas_tensor *y = node->outputs[i];
        /* once written, once read; and so is its gradient */
        c->bytes += (y->needs_grad ? 4 : 2) * (double)nas__count(y) * sizeof(float);
    }
}

nas_status nas__bench_count(const nas__bench_counted *p, nas__bench_counts *counts) {
    nas__watcher watcher = {on_event, counts};
    nas_tape *tape = nas_tape_new();
    if (!tape) {
        return nas_error_status();
    }
    nas_tape_begin(tape, &(nas_tape_config){.grad = p->grad, .dry = true, .bn = p->bn});
    nas__watch(&watcher);
    nas_tensor *target = nas__batch_target(p->batch, p->info);
    nas_tensor *y = nas_forward(p->model, nas__batch_input(p->batch, p->info));
    y = y && p->loss ? p->loss(y, target) : y;
    nas__watch(NULL);
    nas_tape_free(tape);
    return y ? NAS_OK : nas_error_status();
}
