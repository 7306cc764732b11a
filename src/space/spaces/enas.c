/* enas.c - see enas.h */
#include "space/spaces/enas.h"

#include "nn/module.h"

#include <stdlib.h>
#include <string.h>

/* --- modules --------------------------------------------------------------------------------------------------- */
typedef struct reduction {
    nas_module base;
    nas_module *even, *odd, *bn;
} reduction;

static nas_tensor *reduction_forward(nas_module *self, nas_tensor *x) {
    reduction *r = (reduction *)self;
    nas_tensor *halves[2] = {nas_forward(r->even, x), nas_forward(r->odd, nas_pad(x, -1, 0, -1, 0))};
    return nas_forward(r->bn, nas_concat(2, halves, 1));
}

nas_module *nas__enas_reduce_new(int in, int out) {
    reduction *r = nas_module_new(reduction, reduction_forward);
    if (!r) {
        return NULL;
    }
    r->even = nas_child(r, "conv1", nas_conv(.in = in, .out = out / 2, .kernel = 1, .stride = 2));
    r->odd = nas_child(r, "conv2", nas_conv(.in = in, .out = out / 2, .kernel = 1, .stride = 2));
    r->bn = nas_child(r, "bn", nas_bn(.channels = out));
    return nas__module_complete(r, r->even && r->odd && r->bn);
}

nas_module *nas__enas_head(int in, double dropout, int outputs) {
    return nas_sequential(nas_pool(.kind = NAS_POOL_GLOBAL), nas_dropout_new((float)dropout),
                          nas_dense(.in = in, .out = outputs, .no_bias = true));
}

/* --- strings --------------------------------------------------------------------------------------------------- */
static void refuse(nas__tokens *t, const char *expected) {
    if (!t->failed) {
        nas__fail(NAS_PARSE, "\"%.400s\", at character %d: %s is expected; %s", t->text, (int)(t->at - t->text) + 1,
                  expected, t->form);
        t->failed = true;
    }
}

static const char *blanks_behind(const char *at) { return at + strspn(at, " \t\n"); }

int nas__tokens_next(nas__tokens *t, int most) {
    char *end = (char *)t->at, expected[64];
    t->at = blanks_behind(t->at);
    long number = *t->at >= '0' && *t->at <= '9' && !t->failed ? strtol(t->at, &end, 10) : -1;
    if (number < 0 || number >= most || (*end && blanks_behind(end) == end)) {
        snprintf(expected, sizeof expected, "a number from 0 to %d", most - 1);
        refuse(t, expected);
        return -1;
    }
    t->at = end;
    return (int)number;
}

nas_architecture *nas__tokens_end(nas__tokens *t, nas_architecture *a) {
    t->at = blanks_behind(t->at);
    if (*t->at) {
        refuse(t, "the end");
    }
    if (t->failed) {
        nas_architecture_free(a);
        return NULL;
    }
    return a;
}
