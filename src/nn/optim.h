/* optim.h - the inside of optimisers and moving averages: for checkpoints, and for strategies that look a step ahead.
 */
#ifndef NN_OPTIM_H
#define NN_OPTIM_H

#include <espalier/nn.h>

#include "core/memory.h"

/* Tensor i owns the floats [offset[i], offset[i+1]) of the groups' memory: its values, then zeros up to a multiple
 * of 16. */
struct nas_optimizer {
    bool is_adam, bound;
    nas_sgd_config sgd;
    nas_adam_config adam;
    size_t n;
    nas_tensor **tensors; /* borrowed */
    size_t *offset;       /* n + 1 */
    int64_t *steps;       /* updates that each tensor has had: state is per tensor, as torch's */
    nas__buffer *first;   /* momentum, or Adam's first moment; NULL without momentum */
    nas__buffer *second;  /* Adam's second moment */
    double last_norm;
};

/* The arrays that a checkpoint keeps, by name. Memory is the object's own: read or overwrite it before its next use. */
typedef struct nas__state_visitor {
    void (*floats)(void *user, const char *name, float *values, size_t count);
    void (*counters)(void *user, const char *name, int64_t *values, size_t count);
    void *user;
} nas__state_visitor;
/* "momentum" or "moment1" and "moment2", and "steps", of a bound optimiser. */
void nas__optimizer_state(nas_optimizer *optimizer, const nas__state_visitor *visitor);
/* The path of every averaged tensor, and ".updates" (no path begins with a dot). */
void nas__ema_state(nas_ema *ema, const nas__state_visitor *visitor);

/* Called on its own thread before an update of the weights (their gradients are complete) and after it. */
typedef struct nas__update_watcher {
    void (*event)(void *user, const nas_optimizer *optimizer, bool done);
    void *user;
} nas__update_watcher;
/* Of the calling thread's optimisers, until it is replaced; NULL: nobody watches. Borrowed. */
void nas__watch_updates(const nas__update_watcher *watcher);

/* A new one of its kind, not bound. */
nas_optimizer *nas__optimizer_like(const nas_optimizer *optimizer);
/* No tensor has had a step: the next one begins anew. */
void nas__optimizer_forget(nas_optimizer *optimizer);
/* Momentum of the i-th tensor (its count of floats), or NULL while it has none: before its first step, or without
 * momentum. */
const float *nas__optimizer_momentum(const nas_optimizer *optimizer, size_t i);

#endif
