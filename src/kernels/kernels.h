/* kernels.h - our own SIMD kernels, as one table per instruction set.
 *
 * All activations here are in the blocked layout [n][cb][h][w][block]: `block` consecutive channels are innermost,
 * cb = ceil(c / block), and the channels of the tail beyond c are ZERO on input and must be written as zero (every
 * kernel here keeps zero tails zero by itself as long as weights and coefficients have zero tails: per-channel
 * coefficient arrays have cb*block entries). A "plane" is one [h][w][block] slab; plane p belongs to image p / cb and
 * to channel block p % cb. Pointers are 64-byte aligned. Work is shared among OpenMP threads, and
 * every sum is reduced in a fixed order, whichever thread did its parts, so results repeat bit for bit for a given
 * thread count.
 *
 * A kernel that finds no working memory leaves an error pending in the calling thread and its results undefined.
 *
 * `flat` kernels see a tensor as `count` floats (count is a multiple of the block for blocked tensors, anything for
 * plain ones; pointers aligned). */
#ifndef NAS_KERNELS_KERNELS_H
#define NAS_KERNELS_KERNELS_H

#include "kernels/late.h"

#include <stdbool.h>
#include <stddef.h>

/* Geometry of a pooling: oh = (h + 2 pad - kernel) / stride + 1. */
typedef struct nas__pool_shape {
    int n, c, h, w, oh, ow;
    int kernel, stride, pad;
    bool count_padding; /* average only: divide by kernel*kernel instead of by the pixels inside the image */
} nas__pool_shape;

/* One term of a mixed sum: a blocked tensor z of the sum's shape, or, with `pool`, the max or average pooling of z,
 * whose output is computed piece by piece and never stored. */
typedef struct nas__term {
    const float *z;
    const nas__pool_shape *pool; /* NULL: z itself */
    bool max;
} nas__term;

/* Geometry of a dense 3x3 convolution, stride 1, without dilation or groups, padding 0 to 2: x (n,in,h,w) -> z
 * (n,out,oh,ow), oh = h + 2 pad_h - 2. */
typedef struct nas__conv3 {
    int n, in, out, h, w, oh, ow, pad_h, pad_w;
} nas__conv3;

/* What conv3_backward reads and writes. x is read for dw, and for dx when an activation was applied on load or in_sums
 * is wanted. */
typedef struct nas__conv3_grads {
    const float *x;
    const nas__on_load *load; /* as in the forward pass */
    const nas__late_grad *dz;
    const float *u;  /* conv3_weights(.., backward = true, ..) */
    float *dx;       /* gradient of the value h = scale*x + shift (the activation's mask applied); NULL: not wanted */
    bool accumulate; /* dx += instead of = */
    double *in_sums; /* NULL, or [2][in padded]: sums of dh and of dh*x, of this call's dh */
    float *dw;       /* plain (out,in,3,3), overwritten; NULL: not wanted */
} nas__conv3_grads;

typedef struct nas__sgd_args {
    float lr, momentum, weight_decay, dampening, grad_scale;
    bool nesterov, first; /* first: the momentum buffer is not initialised yet (buf = g) */
} nas__sgd_args;

typedef struct nas__adam_args {
    float lr, beta1, beta2, eps, weight_decay, grad_scale;
    double correction1, correction2; /* 1 - beta^t */
    bool decoupled;                  /* AdamW */
} nas__adam_args;

/* A matrix [rows][columns] in panels: `panel` (of the kernel table) blocks of columns, all rows of them; then the next
 * ones. The last panel may be narrower; what fits one panel is in plain rows. */

/* A separable unit: [on load] -> depthwise convolution -> pointwise convolution -> [sums on store]. The second one may
 * be missing. x (n,in,h,w) -> z (n,out,oh,ow), oh = (h + 2 pad_h - dilation (kernel_h-1) - 1) / stride + 1. */
typedef struct nas__unit {
    int n, in, out, h, w, oh, ow;                           /* out == in without pointwise */
    int kernel_h, kernel_w, stride, dilation, pad_h, pad_w; /* of the depthwise part */
    const float *depthwise;                                 /* [cb][kernel_h*kernel_w][block] */
    const float *pointwise;   /* [in][out padded to the block] in panels, tails zero; NULL: none */
    const float *pointwise_t; /* [out][in padded] in panels; for the backward pass */
    const float *more;        /* forward: added to the result before act; NULL: none */
} nas__unit;

/* The gradients of a unit from that of its output, and what they are computed from. */
typedef struct nas__unit_grads {
    const float *x;
    const nas__on_load *load;
    const nas__late_grad *dz;
    float *dx;       /* of h = scale*x + shift (masked by the activation, not multiplied by scale); NULL: not wanted */
    bool accumulate; /* dx += */
    double *in_sums; /* NULL, or with dx: [2][in padded], sums of this call's dh and of dh*x */
    float *d_depthwise,
        *d_pointwise; /* as depthwise, and [in][out padded]; NULL: not wanted, no work is done for them */
} nas__unit_grads;

/* A 1x1 convolution whose input is one tensor, or several of equal shape whose channels lie behind one another (a
 * concatenation that nobody made). Output pixel (r, c) reads pixel (r*stride + top, c*stride + left). */
enum { NAS__MOST_PARTS = 16 };

typedef struct nas__pointwise {
    int n, parts, in, out; /* in: channels of each of at most NAS__MOST_PARTS parts */
    int h, w, oh, ow, stride, top, left;
    const float *weights;   /* [parts*in][out padded to the block] in panels, tails zero */
    const float *weights_t; /* [out][parts * in padded] in panels, tails zero; for the backward pass */
} nas__pointwise;

typedef struct nas__pointwise_grads {
    const float *const *x;    /* [parts] */
    const nas__on_load *load; /* coefficients [parts][in padded] */
    const nas__late_grad *dz;
    float *const *dx;       /* [parts] as in nas__unit_grads, each may be NULL; or NULL itself */
    const bool *accumulate; /* [parts] */
    double *in_sums;        /* as in nas__unit_grads, with one part only */
    float *d_weights;       /* [parts*in][out padded]; NULL: not wanted */
} nas__pointwise_grads;

/* Tensors of equal shape but for their channels, which lie behind one another; of all but the last part they fill whole
 * blocks. Halves: every second channel of all, from the first or the second on. */
typedef struct nas__halves {
    int n, hw, parts;
    int blocks[NAS__MOST_PARTS]; /* of channels of each part */
} nas__halves;

typedef struct nas__halves_grads {
    const float *even, *odd; /* gradients of the halves; NULL: zero */
    /* [parts] each, as in nas__unit_grads; x may be NULL where there is neither a ReLU nor in_sums, dx and in_sums
     * always */
    const float *const *x;
    const nas__on_load *load;
    float *const *dx;
    const bool *accumulate;
    double *const *in_sums;
} nas__halves_grads;

typedef struct nas__kernels {
    const char *isa;
    int block, panel;

    /* Separable units. load may be NULL (x itself). bias: out padded, or NULL. act: what is applied to z on store (its
     * scale and shift are not used), or NULL. sums: NULL, or [2][out padded]: sums of z and of z*z over images and
     * pixels (float within a plane of an image, double across). */
    void (*unit_forward)(const nas__unit *u, const float *x, const nas__on_load *load, const float *bias,
                         const nas__on_load *act, float *z, double *sums);
    void (*unit_backward)(const nas__unit *u, const nas__unit_grads *g);

    /* 1x1 convolutions; the arguments mean what they do for units. */
    void (*pointwise_forward)(const nas__pointwise *p, const float *const *x, const nas__on_load *load,
                              const float *bias, const nas__on_load *act, float *z, double *sums);
    void (*pointwise_backward)(const nas__pointwise *p, const nas__pointwise_grads *g);

    /* Halves of the channels of x[parts], each read through load[parts]; and the way back. */
    void (*halves_forward)(const nas__halves *s, const float *const *x, const nas__on_load *load, float *even,
                           float *odd);
    void (*halves_backward)(const nas__halves *s, const nas__halves_grads *g);

    /* Global average pooling: y[n][c] plain (n rows of c values), mean over the plane. */
    void (*global_pool_forward)(int n, int c, int hw, const float *x, float *y);
    void (*global_pool_backward)(int n, int c, int hw, const float *dy, float *dx);

    /* Batch norm over blocked x (n planes of cb blocks, hw pixels). mean/var: cb*block entries, biased variance; tails
     * 0. */
    void (*bn_stats)(int n, int c, int hw, const float *x, float *mean, float *var);

    /* Late values and gradients (late.h) written out; out may be late->g or late->z, y may be x. */
    void (*late_values)(int n, int c, int hw, const float *x, const nas__on_load *load, float *y);
    void (*late_gradient)(int n, int c, int hw, const nas__late_grad *late, float *out);
    /* sums[2][padded]: of g and of g*z, g scaled and masked by z (a, b, k and late->z are not looked at). */
    void (*late_sums)(int n, int c, int hw, const nas__late_grad *late, const float *z, double *sums);

    /* The mixed operation: y = sum_i w[i]*x[i]; NULL x[i] counts as zero; y may be one of at most 8 inputs.
     * dots[i] = <dy, x[i]> in double (0 for NULL). */
    void (*mix_forward)(int n_inputs, const float *const *x, const float *w, size_t count, float *y);
    void (*mix_backward)(int n_inputs, const float *const *x, const float *dy, size_t count, double *dots);

    /* Sums of any number of terms: y = sum_i scale_i*z_i + shift per channel, scale[n_terms][cb*block]; y is none of
     * the inputs. The backward pass gives per channel dots[n_terms][cb*block] = sum of dy*z_i, and sum of dy. */
    void (*terms_forward)(int n_terms, const nas__term *t, int n, int c, int hw, const float *scale, const float *shift,
                          float *y);
    void (*terms_backward)(int n_terms, const nas__term *t, int n, int c, int hw, const float *dy, double *dots,
                           double *sum);

    /* Pooling whose backward pass needs x alone. Sums and gradients are of the maximum and the average of one x by the
     * same windows, at little more than the price of one; NULL: not wanted. max, average: [2][cb*block], sum and sum of
     * squares of the output, which is not stored. Backward: the first maximum of a window (or its first pixel, where
     * that is a NaN) has its gradient; z is not read, but found again from x; accumulate: dx += instead of dx =. */
    void (*pool_forward_late)(const nas__pool_shape *s, bool max, const float *x, float *y);
    void (*pools_sums)(const nas__pool_shape *s, const float *x, double *max, double *average);
    void (*pools_backward_late)(const nas__pool_shape *s, const float *x, const nas__late_grad *max,
                                const nas__late_grad *average, float *dx, bool accumulate);

    /* flat */
    void (*relu_forward)(size_t count, const float *x, float *y, float cap); /* cap > 0: min(., cap) as in ReLU6 */
    void (*relu_backward)(size_t count, const float *x, const float *dy, float dy_scale, float *dx,
                          float cap); /* dx = dy_scale*dy where 0 < x (< cap) */
    void (*add)(size_t count, const float *a, const float *b, float *y);
    void (*mul)(size_t count, const float *a, const float *b, float *y);
    void (*axpby)(size_t count, float a, const float *x, float b, float *y); /* y = a*x + b*y ; b == 0 never reads y */
    void (*scale_per_sample)(int n, size_t count_per_sample, const float *factor, const float *x,
                             float *y);                          /* drop-path */
    double (*dot)(size_t count, const float *a, const float *b); /* fixed order, in double; NaN without memory */

    /* Optimisers, in one pass over flat parameters (weights w, gradients g, state). */
    void (*sgd)(size_t count, const nas__sgd_args *args, float *w, const float *g, float *buf);
    void (*adam)(size_t count, const nas__adam_args *args, float *w, const float *g, float *m, float *v);

    /* Dense 3x3 convolution by Winograd's F(4x4,3x3); relative error about 1e-6. Weights are transformed first, `u` has
     * room for conv3_weights_size() floats; plain weights are (out,in,3,3). The input is read through `load` (NULL: as
     * it is), then padded with zeros; bias (out padded) or NULL; act: NULL or {relu,cap} to apply on store; sums: NULL,
     * or [2][out padded], of z and of z*z over n,oh,ow. */
    size_t (*conv3_weights_size)(const nas__conv3 *s);
    void (*conv3_weights)(const nas__conv3 *s, const float *w, bool backward, float *u);
    void (*conv3_forward)(const nas__conv3 *s, const float *x, const nas__on_load *load, const float *u,
                          const float *bias, const nas__on_load *act, float *z, double *sums);
    void (*conv3_backward)(const nas__conv3 *s, const nas__conv3_grads *g);
} nas__kernels;

/* The table in use: the best that this CPU runs, or a lower one forced by ESPALIER_ISA=avx512|avx2|generic. Never NULL.
 */
const nas__kernels *nas__kernel_table(void);

/* Does the processor multiply tiles of bf16 (AMX)? */
bool nas__cpu_has_amx_bf16(void);

#endif
