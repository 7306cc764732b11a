/* common.h - what every operation's file needs. */
#ifndef OPS_COMMON_H
#define OPS_COMMON_H

#include <espalier/ops.h>

#include "kernels/kernels.h"
#include "tensor/tensor.h"

/* Sticky expressions: an operation whose input is NULL returns NULL; the first error is the one that is kept. */
static inline void *nas__null_input(const char *op) {
    return nas__fail_null(NAS_INVALID, "%s: an input is NULL", op);
}

static inline nas__buffer *nas__floats(size_t count) { return nas__buffer_new(count * sizeof(float)); }

/* Channels rounded up to whole blocks. */
static inline int nas__padded(int64_t channels) {
    int block = nas__block();
    return (int)((channels + block - 1) / block * block);
}

/* The layout for operations that do not map 0 to 0, and so would fill the channel tail: blocked only without a tail. */
static inline nas__layout nas__tailless(const nas_tensor *x) {
    return x->layout == NAS__BLOCKED && x->dims[1] % nas__block() == 0 ? NAS__BLOCKED : NAS__PLAIN;
}

/* {1} with a value, and one float of a gradient buffer. */
nas_tensor *nas__scalar(float value);

/* The table of all operations: the tests demand a gradient check for each of them. */
typedef struct nas__op {
    const char *name, *family;
} nas__op;
extern const nas__op nas__ops[];
extern const int nas__n_ops;

#endif
