/* optimizer_state.h - an optimiser's buffers in a checkpoint. */
#ifndef IO_OPTIMIZER_STATE_H
#define IO_OPTIMIZER_STATE_H

#include "io/state.h"

/* Names every buffer and counter of a bound optimiser. */
void nas__state_optimizer(nas__state *s, const char *prefix, nas_optimizer *optimizer);

#endif
