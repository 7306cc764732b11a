/* tensor.h - the inside of tensors and of the tape, for the operations.
 *
 * Layouts. PLAIN is row-major. BLOCKED exists for (N,C,H,W) only: [n][cb][h][w][block] with the kernel table's block
 * and zero tails. A tensor has one layout for its life; nas__as() gives its twin in the other one (a recorded
 * operation, counted as a reorder), so the gradient of a tensor always has the tensor's own layout.
 *
 * Gradients of intermediate tensors are a reference-counted buffer times a scalar: the mixed operation hands its own
 * gradient to every candidate, scaled, without writing it out. Those from several consumers wait side by side until the
 * sum is asked for: one pass instead of one for each. Gradients of persistent tensors (parameters, variables)
 * are plain arrays that passes add to.
 *
 * Late tensors and gradients: see tensor/late.h. */
#ifndef TENSOR_TENSOR_H
#define TENSOR_TENSOR_H

#include <espalier/tensor.h>

#include "core/error.h"
#include "core/memory.h"
#include "kernels/late.h"

typedef enum nas__layout { NAS__PLAIN, NAS__BLOCKED } nas__layout;

typedef struct nas__grad {
    nas__buffer *buffer; /* NULL: no gradient */
    float scale;
    const nas__late_grad *late; /* what is still to be done to it (g and scale are not set); NULL: nothing */
} nas__grad;

typedef struct nas__late nas__late;
typedef struct nas__prepared_form nas__prepared_form;

/* Gradients that a tensor may hold apart before they are added up, all in one pass. */
enum { NAS__MORE_GRADS = 7 };

struct nas_tensor {
    int ndim;
    int64_t dims[NAS_MAX_DIMS];
    nas__layout layout;
    nas_role role;
    bool persistent; /* parameter, variable or buffer: outlives tapes */
    bool needs_grad; /* of intermediate tensors: something behind it is differentiated for */
    bool is_zero;    /* all zero, no memory behind it */
    bool retained;
    bool left;     /* released at the end of a scope */
    bool has_grad; /* persistent: grad_data holds a gradient */
    nas__buffer *buffer;
    float *data;                     /* inside buffer; NULL when dry, zero, or released */
    nas__grad grad;                  /* intermediate tensors */
    nas__grad more[NAS__MORE_GRADS]; /* further terms of its gradient */
    int n_more;
    nas__buffer *grad_buffer;
    float *grad_data;       /* persistent tensors, inside grad_buffer; plain */
    uint64_t gradient_seen; /* persistent: the owner's of nas__together.before_gradient */
    bool frozen;            /* persistent: see tensor/prepared.h */
    _Atomic(nas__prepared_form *) prepared;
    nas_tape *tape;    /* owner of an intermediate tensor */
    nas_tensor *twin;  /* the same values in the other layout */
    nas_tensor *relu;  /* max(t, 0), when something asked for it: shared by all that read it */
    nas__buffer *bf16; /* the values as bf16 convolutions read them, for all that do; late or not */
    nas__late *late;   /* how to compute the values when somebody asks for them; NULL: they were computed at once */
    struct nas__pool_pair *pools; /* poolings of this tensor (tensor/late.h) */
    double *moments;   /* [2][padded]: sums of the values and of their squares per channel, if the kernel made them */
    double *grad_sums; /* [2][padded]: see nas__grad_sums() */
    int n_grads, n_grad_sums;
};

enum { NAS__MAX_SAVED = 6 };

/* What an operation does beside its inputs; what it has not is zero. */
typedef struct nas__told {
    int kernel, stride, dilation, groups; /* kernel: of poolings; groups: of shuffles, too */
    int pad_h, pad_w;                     /* of a frame: what it adds above and to the left */
    bool count_padding;
    int dim;      /* that it works along */
    int64_t from; /* the first one of a slice; 0: even, 1: odd channels */
    float number; /* a factor, a term, an epsilon */
} nas__told;

/* One recorded operation. backward() reads the gradients of the outputs and gives the inputs theirs. */
typedef struct nas__node nas__node;
struct nas__node {
    nas__node *previous;
    const char *name;
    void (*backward)(nas__node *node);
    int n_inputs, n_outputs;
    nas_tensor **inputs, **outputs;
    nas__buffer *saved[NAS__MAX_SAVED]; /* one reference each, given back after the backward step */
    void *state;                        /* in the tape's arena */
    uint64_t macs;                      /* multiply-adds of the forward step */
    const nas__told *told;              /* in dry passes; NULL: nothing */
};

/* One batch computed in parts, each by a tape of its own: what an operation that looks over the whole batch asks. */
typedef struct nas__together {
    int parts;
    bool keeps; /* of the parts in this process, the one that updates what they have in common: running estimates */
    /* n numbers of this part; returns those of all, [parts][n], for use until the next call. NULL and an error. */
    const double *(*gather)(void *user, const double *own, size_t n);
    /* Called before a pass writes to the gradient of a persistent tensor. */
    void (*before_gradient)(void *user, nas_tensor *t);
    void *user;
} nas__together;

struct nas_tape {
    nas_tape_config config;
    const nas__together *together; /* borrowed, set behind nas_tape_begin(); NULL: the batch is in one piece */
    nas__arena arena;
    nas__node *last;
    nas_tensor **tensors; /* all tensors of the pass, to release their buffers */
    size_t n_tensors;
    uint64_t macs, recorded_macs, op_count, reorders;
    bool active, spent;
    int narrow;      /* above 1: layers have the first 1/narrow of their channels alone, see nas__narrow() */
    nas_tape *outer; /* the tape that was current before */
};

/* --- the current tape ---------------------------------------------------------------------------- */
/* NULL and an error when no tape is current. */
nas_tape *nas__tape(void);
bool nas__dry(void);           /* shapes and costs only */
nas_tape *nas__tape_now(void); /* NULL: none, which is no error */
/* Makes another tape the calling thread's current one, with those around it; returns the one before. */
nas_tape *nas__tape_swap(nas_tape *tape);
/* Runs the backward steps of the current tape from the gradients that its tensors hold by now. */
nas_status nas__backward_given(nas_tape *tape);
/* A random stream of its own for the calling operation, keyed by the pass's seed and step. */
nas_rng nas__op_rng(void);
void nas__count_macs(uint64_t macs);
/* 1, or what a layer's channels are divided by in this part of the pass. */
int nas__narrowing(void);
/* Reorders of activations of this process since the start (for the benchmark). */
uint64_t nas__reorder_count(void);

/* --- watching a pass ------------------------------------------------------------------------------ */
typedef enum nas__event { NAS__BEGUN, NAS__COMPUTED, NAS__DIFFERENTIATED } nas__event;
/* Called on its own thread when a pass begins (node NULL), when an operation has been computed (the node serves for the
 * call alone when nothing has to be recorded), and when its backward step is done. */
typedef struct nas__watcher {
    void (*event)(void *user, nas__event event, const nas__node *node);
    void *user;
    bool relus; /* wants every ReLU as an operation of its own, "relu" or "relu6", whose output has values: none is left
                   to whoever reads it */
} nas__watcher;
/* Of the calling thread's passes, until it is replaced; NULL: nobody watches. Borrowed. Returns who did before. */
const nas__watcher *nas__watch(const nas__watcher *watcher);
bool nas__watches_relus(void);

/* --- making results ------------------------------------------------------------------------------ */
/* A fresh tensor on the current tape with memory (none when dry). NULL and an error on failure. */
nas_tensor *nas__new(int ndim, const int64_t *dims, nas__layout layout);
/* The same for a result of x's shape: x has its values then (nas__data()). */
nas_tensor *nas__like(nas_tensor *x);
/* The same without memory, and the memory for one that has none (NULL and an error when there is none left). */
nas_tensor *nas__bare(int ndim, const int64_t *dims, nas__layout layout);
float *nas__give_memory(nas_tensor *t);
/* A zero tensor (no memory) of t's shape. */
nas_tensor *nas__zero_like(const nas_tensor *t, nas__layout layout);
/* What a function computes beside its result: in a pass without gradients the tensors that were made since
 * nas__scope_begin() are released by nas__scope_end(), unless they are retained; y, which it returns, is computed (of a
 * late concatenation its parts are kept). In other passes nothing happens. Apart from y (NULL passes through) none of
 * them may be read afterwards. */
size_t nas__scope_begin(void);
nas_tensor *nas__scope_end(size_t begin, nas_tensor *y);
/* A second tensor over x's memory with another (plain) shape. */
nas_tensor *nas__alias(nas_tensor *x, int ndim, const int64_t *dims);
/* Records `outputs = name(inputs)` when any input is differentiated for; returns the node, or NULL when nothing has to
 * be recorded (or on failure: check outputs afterwards with nas_error_status()). state_bytes are zeroed. */
nas__node *nas__record(const char *name, void (*backward)(nas__node *), int n_inputs, nas_tensor *const *inputs,
                       int n_outputs, nas_tensor *const *outputs, size_t state_bytes);
/* What an operation returns in a dry pass: y, told to whoever watches as any other result, and known to depend on its
 * inputs. NULL passes through. Nothing is fused in a dry pass: it shows the graph as it was written. */
nas_tensor *nas__traced(const char *name, int n_inputs, nas_tensor *const *inputs, nas_tensor *y);
nas_tensor *nas__traced_as(const char *name, const nas__told *told, int n_inputs, nas_tensor *const *inputs,
                           nas_tensor *y);
/* Does a pass have to deliver the gradient of t? */
bool nas__wants(const nas_tensor *t);

/* --- values -------------------------------------------------------------------------------------- */
/* t in the given layout; itself when it has it. 2-D and other shapes are always PLAIN. Sticky. */
nas_tensor *nas__as(nas_tensor *t, nas__layout layout);
/* Data of t; writes zeros into fresh memory for a zero tensor, and computes a late one. NULL and an error on failure.
 */
float *nas__data(nas_tensor *t);
/* Floats that t occupies, padding included. */
size_t nas__storage(const nas_tensor *t);
int nas__block(void);
/* False, with an error that names `op`, unless there are 1 to NAS_MAX_DIMS dimensions, all positive. */
bool nas__good_shape(const char *op, int ndim, const int64_t *dims);
bool nas__same_shape(const nas_tensor *a, const nas_tensor *b);
/* "64x16x32x32", in one of a few static per-thread buffers. */
const char *nas__shape(const nas_tensor *t);

/* --- gradients ----------------------------------------------------------------------------------- */
/* Gradient of an output, to be read with its scale; buffer NULL when nothing came back. Still owned by t. */
nas__grad nas__grad_of(nas_tensor *t);
/* The same with the scale multiplied in: NULL when there is none. */
float *nas__grad_data(nas_tensor *t);
/* Adds scale*buffer (in t's layout) to t's gradient when t is differentiated for; takes the caller's reference. */
void nas__grad_give(nas_tensor *t, nas__buffer *buffer, float scale);
/* Where to write a gradient for t, in t's layout: a parameter's own array when it is empty, else a scratch buffer;
 * finish with nas__grad_end, which gives or adds the scratch. Returns NULL on failure. */
float *nas__grad_begin(nas_tensor *t, nas__buffer **scratch);
void nas__grad_end(nas_tensor *t, nas__buffer *scratch);
/* A plain array of `count` floats as gradient for t of either kind (copied or added). */
void nas__grad_add_array(nas_tensor *t, const float *values);

/* --- persistent tensors -------------------------------------------------------------------------- */
nas_tensor *nas__persistent(int ndim, const int64_t *dims, nas_role role); /* zero-filled */
/* Moves data and gradients of persistent tensors into one contiguous buffer each (64-byte aligned slots), in order. */
nas_status nas__flatten(nas_tensor **tensors, size_t n);
int64_t nas__count(const nas_tensor *t);

/* --- layouts ------------------------------------------------------------------------------------- */
void nas__block_data(const int64_t dims[4], const float *plain, float *blocked);
void nas__unblock_data(const int64_t dims[4], const float *blocked, float *plain);

#endif
