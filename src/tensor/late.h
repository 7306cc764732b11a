/* late.h - tensors whose values nobody has asked for yet, and gradients that are not finished.
 *
 * ReLU, batch norm, pooling, depthwise convolutions and sums come back as tensors without memory. An operation that can
 * do their work while it reads (a fused kernel: kernels/late.h) looks behind them, with nas__read() or at `late`
 * itself; every other operation asks for nas__data(), which computes them then. Nothing else is decided anywhere:
 * fusion follows from who reads whom, for every network alike.
 *
 * A late tensor that is read in both ways is computed once and read behind once; the gradients of both add up. The
 * operation is recorded when it is made (batch norm and pooling, which have work to do at once or whose backward pass
 * needs no output) or when it is computed (all others: whoever looks behind them does their backward pass too). */
#ifndef TENSOR_LATE_H
#define TENSOR_LATE_H

#include "kernels/kernels.h"
#include "tensor/tensor.h"

typedef enum nas__late_kind {
    NAS__LATE_RELU,
    NAS__LATE_NORM,
    NAS__LATE_POOL,
    NAS__LATE_DEPTHWISE,
    NAS__LATE_CONCAT,
    NAS__LATE_CROP,
    NAS__LATE_AGAIN, /* was computed; may be forgotten, and is then computed again */
    NAS__LATE_UNIT,
    NAS__LATE_SUM
} nas__late_kind;

struct nas__late {
    nas__late_kind kind;
    void (*compute)(nas_tensor *t); /* gives t its memory and values, or fails */
    nas_tensor *source;             /* of a sum: none */
    nas__on_load load;              /* ReLU and norm: what makes the source's values t's */
    void *detail;                   /* the operation's own */
};

/* The detail of a pooling, which sums look behind. */
typedef struct nas__late_pool {
    nas__pool_shape shape;
    bool max;
    nas__node *node;             /* NULL: not recorded, or differentiated already */
    nas_tensor *norm;            /* the batch norm of the result, if there is one */
    struct nas__pool_pair *pair; /* the same windows of the same source */
    nas__late_grad other;        /* gradient of the other one of the pair, whose memory is in node->saved[0] */
} nas__late_pool;

/* The maximum and the average over the same windows, which searches like to have both, are done together: their sums
 * when the first is asked for, their gradients when the second is. */
typedef struct nas__pool_pair {
    nas__late_pool *pool[2]; /* average, maximum; NULL: there is none */
    double *moments[2];
    struct nas__pool_pair *next; /* with other windows */
} nas__pool_pair;

/* Of a concatenation of channels, and of a crop, what it leaves out before. */
typedef struct nas__late_concat {
    int n;
    bool equal;         /* all parts have as many channels */
    nas_tensor **parts; /* blocked; only a ReLU or a norm may still be late */
} nas__late_concat;

typedef struct nas__late_crop {
    int top, left;
} nas__late_crop;

/* A late tensor; detail_bytes are zeroed. NULL and an error on failure. Only blocked tensors come late. */
nas_tensor *nas__postpone(const nas__late *late, int64_t const dims[4], size_t detail_bytes);

/* Gives the memory of a tensor of the kind NAS__LATE_AGAIN back until somebody asks for its data once more. */
void nas__forget(nas_tensor *t);

/* x as a fused kernel reads it. */
typedef struct nas__reading {
    nas_tensor *target; /* the gradient of scale*x + shift goes to it: x, or what lies behind its ReLU */
    nas_tensor *values; /* has data */
    nas__on_load load;
} nas__reading;

/* Looks behind a ReLU and a norm; anything else is computed, and blocked. False and an error on failure. */
bool nas__read(nas_tensor *x, nas__reading *reading);

/* --- gradients ----------------------------------------------------------------------------------- */
bool nas__alone(const nas__buffer *b); /* one reference */
/* As nas__grad_give with something left to do: late (in the arena; its z is t's own values or those of its source) is
 * for t's shape. Finished at once where a gradient cannot stay late. */
void nas__grad_give_late(nas_tensor *t, nas__buffer *buffer, float scale, const nas__late_grad *late);
/* Finishes t's late gradient. */
void nas__settle_grad(nas_tensor *t);
/* The gradient for a fused kernel, late or not; g is NULL on failure. */
nas__late_grad nas__grad_late(nas_tensor *t);
/* Where a kernel writes the gradient of an intermediate tensor, or with *accumulate adds it: a term that only t has is
 * added to in its place. NULL when nobody wants it, or on failure. nas__grad_close() ends it. */
float *nas__grad_open(nas_tensor *t, nas__buffer **fresh, bool *accumulate);
void nas__grad_close(nas_tensor *t, nas__buffer *fresh);
/* Tells t the sums (in the arena) over the gradient that was just given: per channel of it, and of it times the values
 * of the source of t, which is a norm. */
void nas__grad_tell_sums(nas_tensor *t, const double *sums);
/* Does t, a norm, need them? Returns an array for them in the arena then, zeroed; else NULL. */
double *nas__grad_wants_sums(const nas_tensor *t);
/* The sums over all of t's gradient, or NULL when not all givers told theirs. */
const double *nas__grad_sums(const nas_tensor *t);

#endif
