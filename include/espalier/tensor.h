/* tensor.h - tensors and the tape (reverse-mode automatic differentiation).
 *
 * A tensor is a float array of up to 5 dimensions. Images are (N, C, H, W). Class labels and indices are floats that
 * hold whole numbers. Every operation of ops.h records itself on the calling thread's current tape; the tape owns its
 * results and frees them at nas_tape_reset(). Parameters and buffers are owned by modules and outlive tapes. */
#ifndef ESPALIER_TENSOR_H
#define ESPALIER_TENSOR_H

#include <espalier/core.h>

#ifdef __cplusplus
extern "C" {
#endif

#define NAS_MAX_DIMS 5

typedef struct nas_tensor nas_tensor;
typedef struct nas_tape nas_tape;

/* Whose gradient a backward pass has to deliver: a tensor that nothing asks for costs nothing (the architecture step of
 * a first-order search computes no weight gradients). */
typedef enum nas_role { NAS_ROLE_DATA = 0, NAS_ROLE_WEIGHT = 1, NAS_ROLE_ARCH = 2, NAS_ROLE_BUFFER = 4 } nas_role;

typedef enum nas_bn_mode {
    NAS_BN_BATCH = 0, /* batch statistics; running estimates updated unless .freeze_running */
    NAS_BN_RUNNING,   /* running estimates */
    NAS_BN_CALIBRATE, /* batch statistics, averaged into a second set of estimates (from the last nas_calibration) */
    NAS_BN_CALIBRATED /* that second set: how a sampled path is scored without touching the supernet's state */
} nas_bn_mode;

/* What holds during one forward pass. All zero: evaluation-free training defaults (record nothing, batch statistics).
 */
typedef struct nas_tape_config {
    unsigned grad; /* roles to differentiate for: NAS_ROLE_WEIGHT | NAS_ROLE_ARCH | NAS_ROLE_DATA; 0 records nothing */
    bool training; /* dropout and drop-path are active */
    nas_bn_mode bn;
    bool freeze_running;  /* NAS_BN_BATCH without updating the running estimates */
    bool dry;             /* shapes and costs only: nothing is computed and no activation is allocated */
    bool recompute;       /* less memory, more time: what lies between the halves of separable convolutions is not kept
                             for the backward pass but computed again; the same values bit for bit */
    double drop_path;     /* probability for nas_drop_path; 0 = off */
    uint64_t seed, step;  /* key of the random numbers of this pass */
    int64_t first_sample; /* of a pass over a part of a batch: where it begins; samples drop the same as in one piece */
} nas_tape_config;

/* Owned by the caller; NULL and an error when out of memory. Used by one thread at a time. */
NAS_API nas_tape *nas_tape_new(void);
NAS_API void nas_tape_free(nas_tape *tape); /* NULL is fine */
/* Makes `tape` the calling thread's current tape for one forward pass; drops whatever it held before. */
NAS_API void nas_tape_begin(nas_tape *tape, const nas_tape_config *config);
/* Differentiates the scalar `loss` (shape {1}) on its tape: fills the gradients of parameters of the asked roles (added
 * to what they hold). Activations are released on the way, except retained ones and the loss. The tape can be used for
 * one backward pass. */
NAS_API nas_status nas_backward(nas_tensor *loss);
/* Ends the pass: frees all tensors of the tape, which stops being current. */
NAS_API void nas_tape_reset(nas_tape *tape);
/* Multiply-adds recorded since nas_tape_begin (convolutions, linear layers, recurrent cells), for the whole batch. */
NAS_API uint64_t nas_tape_macs(const nas_tape *tape);

/* --- tensors ------------------------------------------------------------------------------------ */
/* Shape. */
NAS_API int nas_tensor_ndim(const nas_tensor *t);
NAS_API int64_t nas_tensor_dim(const nas_tensor *t, int i);
NAS_API int64_t nas_tensor_count(const nas_tensor *t); /* number of elements, without layout padding */
/* Copies the values, row-major (N,C,H,W), into dst (count floats). NULL tensor or a tensor without data: an error. */
NAS_API nas_status nas_tensor_read(const nas_tensor *t, float *dst);
/* The other way: src holds count floats. */
NAS_API nas_status nas_tensor_write(nas_tensor *t, const float *src);
/* Value of a tensor with one element; NaN for NULL. */
NAS_API float nas_tensor_item(const nas_tensor *t);
/* Copies the gradient (count floats, row-major); zeros when there is none. */
NAS_API nas_status nas_tensor_read_grad(const nas_tensor *t, float *dst);
/* A constant on the current tape, copied from row-major values (NULL: uninitialised). */
NAS_API nas_tensor *nas_input(int ndim, const int64_t *dims, const float *values);
#define NAS_DIMS(...)                                                                                                  \
    ((int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t))), (const int64_t[]) { __VA_ARGS__ }
/* A tensor of zeros that occupies no memory and costs no pass where operations know it (sums, mixed sums). */
NAS_API nas_tensor *nas_zero(int ndim, const int64_t *dims);
/* Keeps data (and gradient) of an intermediate tensor readable after nas_backward. Returns t. */
NAS_API nas_tensor *nas_retain(nas_tensor *t);
/* A tensor that is differentiated for (role) and lives until nas_tensor_free: alphas, a user's own parameters.
 * Zero-filled. */
NAS_API nas_tensor *nas_variable(int ndim, const int64_t *dims, nas_role role);
NAS_API void nas_tensor_free(nas_tensor *t); /* only for nas_variable; NULL is fine */
/* Forgets the gradient of a variable or parameter. */
NAS_API void nas_zero_grad(nas_tensor *t);

#ifdef __cplusplus
}
#endif
#endif
