/* ema.c - exponential moving average of a model's parameters and buffers (Polyak and Juditsky 1992, in its usual
 * exponential form). Early on the average follows faster, min(decay, (1 + n) / (10 + n)) after n updates, so that the
 * first values do not linger. */
#include <espalier/nn.h>

#include "core/error.h"
#include "kernels/kernels.h"
#include "nn/optim.h"
#include "tensor/prepared.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct averaged {
    char *path;
    nas_tensor *tensor; /* borrowed */
    nas__buffer *average;
} averaged;

struct nas_ema {
    double decay;
    int64_t updates;
    averaged *entries;
    size_t n;
};

static nas_status add(const char *path, nas_tensor *tensor, nas_role role, void *user) {
    (void)role;
    nas_ema *ema = user;
    size_t bytes = (size_t)nas__count(tensor) * sizeof(float);
    averaged entry = {.path = nas__strdup(path), .tensor = tensor, .average = nas__buffer_new(bytes)};
    if (!entry.path || !entry.average || !nas__grow(&ema->entries, ema->n, sizeof entry)) {
        free(entry.path);
        nas__buffer_unref(entry.average);
        return nas_error_status();
    }
    memcpy(entry.average->data, tensor->data, bytes);
    ema->entries[ema->n++] = entry;
    return NAS_OK;
}

nas_ema *nas_ema_new(nas_module *model, double decay) {
    if (!(decay >= 0 && decay < 1)) {
        return nas__fail_null(NAS_INVALID, "nas_ema_new: decay %g must be at least 0 and below 1", decay);
    }
    nas_ema *ema = nas__alloc(sizeof *ema);
    if (!ema) {
        return NULL;
    }
    ema->decay = decay;
    if (nas_visit_parameters(model, add, ema)) {
        nas_ema_free(ema);
        return NULL;
    }
    return ema;
}

void nas_ema_update(nas_ema *ema) {
    double n = (double)++ema->updates, decay = fmin(ema->decay, (1 + n) / (10 + n));
    for (size_t i = 0; i < ema->n; i++) {
        const averaged *e = &ema->entries[i];
        nas__kernel_table()->axpby((size_t)nas__count(e->tensor), (float)(1 - decay), e->tensor->data, (float)decay,
                                   e->average->data);
    }
}

void nas_ema_swap(nas_ema *ema) {
    for (size_t i = 0; i < ema->n; i++) {
        const averaged *e = &ema->entries[i];
        nas__thaw(e->tensor);
        for (int64_t k = 0; k < nas__count(e->tensor); k++) {
            float value = e->tensor->data[k];
            e->tensor->data[k] = e->average->data[k];
            e->average->data[k] = value;
        }
    }
}

void nas__ema_state(nas_ema *ema, const nas__state_visitor *v) {
    for (size_t i = 0; i < ema->n; i++) {
        v->floats(v->user, ema->entries[i].path, ema->entries[i].average->data,
                  (size_t)nas__count(ema->entries[i].tensor));
    }
    v->counters(v->user, ".updates", &ema->updates, 1);
}

void nas_ema_free(nas_ema *ema) {
    if (!ema) {
        return;
    }
    for (size_t i = 0; i < ema->n; i++) {
        free(ema->entries[i].path);
        nas__buffer_unref(ema->entries[i].average);
    }
    free(ema->entries);
    free(ema);
}
