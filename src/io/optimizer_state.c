/* optimizer_state.c - an optimiser in a checkpoint (see espalier/io.h) */
#include "io/state.h"
#include "nn/optim.h"

#include <stdio.h>

typedef struct target {
    nas_state *state;
    const char *prefix;
} target;

static void floats(void *user, const char *name, float *values, size_t count) {
    const target *t = user;
    char full[64];
    snprintf(full, sizeof full, "%s%s", t->prefix, name);
    nas_state_f32(t->state, full, values, count);
}

static void counters(void *user, const char *name, int64_t *values, size_t count) {
    const target *t = user;
    char full[64];
    snprintf(full, sizeof full, "%s%s", t->prefix, name);
    nas_state_i64(t->state, full, values, count);
}

void nas_state_optimizer(nas_state *s, const char *prefix, nas_optimizer *optimizer) {
    target t = {s, prefix};
    nas__optimizer_state(optimizer, &(nas__state_visitor){.floats = floats, .counters = counters, .user = &t});
}
