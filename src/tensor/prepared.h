/* prepared.h - weights as a kernel wants them: blocked, transposed, transformed. Those of a frozen tensor are made once
 * and kept with it; any other tensor's are made for each pass. */
#ifndef TENSOR_PREPARED_H
#define TENSOR_PREPARED_H

#include "tensor/tensor.h"

/* The tensor's values stay as they are and take no gradient, until nas__thaw(). Persistent tensors only. */
void nas__freeze(nas_tensor *t);
/* Called by whoever is about to write to a persistent tensor or to train it: what was prepared is forgotten. */
void nas__thaw(nas_tensor *t);

/* Writes t's values into `out`; `what` is the caller's own. */
typedef nas_status (*nas__prepare_fn)(const nas_tensor *t, const void *what, float *out);
/* t prepared by `make`, `count` floats, with one reference for the caller; NULL and an error on failure. `form`: of two
 * calls with one tensor, the same number if and only if they make the same values. */
nas__buffer *nas__prepared(nas_tensor *t, uint64_t form, size_t count, nas__prepare_fn make, const void *what);

#endif
