/* common.h - what every operation's file needs. */
#ifndef OPS_COMMON_H
#define OPS_COMMON_H

#include <espalier/ops.h>

#include "kernels/kernels.h"
#include "tensor/tensor.h"

/* Sticky expressions: an operation whose input is NULL returns NULL; the first error is the one that is kept. */
static inline void *nas__null_input(const char *op) { return nas__fail_null(NAS_INVALID, "%s: an input is NULL", op); }

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

/* Loops over fewer elements than this are not worth waking the other threads. */
enum { NAS__SMALL = 16384 };

/* {1} with a value. */
nas_tensor *nas__scalar(float value);

/* Sums in double, in an order that does not depend on the number of threads. */
double nas__sum_floats(size_t count, const float *x);
/* sums[j] = sum over the rows of x (rows, columns). */
void nas__sum_rows(int64_t rows, int64_t columns, const float *x, float *sums);

/* The table of all operations: the tests demand a gradient check for each of them. */
typedef struct nas__op {
    const char *name, *family;
} nas__op;
extern const nas__op nas__ops[];
extern const int nas__n_ops;

#endif
