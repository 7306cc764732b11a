/* ops.h - differentiable operations on tensors. All are sticky (NULL in, NULL out), record on the current tape, and
 * return tensors owned by it. Shapes: image tensors are (N, C, H, W), matrices (rows, columns). */
#ifndef ESPALIER_OPS_H
#define ESPALIER_OPS_H

#include <espalier/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* --- convolution and linear --------------------------------------------------------------------- */
typedef struct nas_conv_args {
    int stride;    /* 0 = 1 */
    int padding;   /* 0 = none; NAS_SAME = dilation*(kernel-1)/2 */
    int dilation;  /* 0 = 1 (not dilated) */
    int groups;    /* 0 = 1; equal to the channels of x: depthwise */
    int padding_w; /* at the left and right, where it is another than above and below; 0 = padding, NAS_NONE = none */
} nas_conv_args;
#define NAS_SAME (-2)
/* x (N,C,H,W), weight (O, C/groups, kh, kw), bias (O) or NULL -> (N,O,OH,OW). */
NAS_API nas_tensor *nas_conv2d(nas_tensor *x, nas_tensor *weight, nas_tensor *bias, nas_conv_args args);
/* What dense convolutions of a search or training multiply: bf16 (8 bits of precision, f32's range) where the processor
 * has instructions for it. Weights, sums, statistics and everything else stay f32 (docs/performance.md). */
typedef enum nas_precision {
    NAS_F32 = 0,
    NAS_BF16, /* every shape of convolution that has a fast implementation of it */
    NAS_AUTO  /* each shape as measured, when it first comes up, to be faster */
} nas_precision;
/* Why nothing can be computed in bf16 here; NULL: it can. */
NAS_API const char *nas_bf16_missing(void);
/* x (N, in), weight (out, in), bias (out) or NULL -> (N, out). */
NAS_API nas_tensor *nas_linear(nas_tensor *x, nas_tensor *weight, nas_tensor *bias);

/* --- normalisation ------------------------------------------------------------------------------ */
typedef struct nas_bn_state {
    nas_tensor *gamma, *beta;               /* (C) or NULL: not affine */
    nas_tensor *running_mean, *running_var; /* (C) buffers */
    nas_tensor *calibrated_mean, *calibrated_var;
    int *calibrated_batches; /* how many batches the calibrated estimates average */
    float momentum, eps;     /* 0 = 0.1, 1e-5 */
    bool relu;               /* apply max(.,0) in the same pass */
} nas_bn_state;
/* Batch norm per channel of (N,C,H,W) or (N,C); the tape's bn mode decides which statistics are used. */
NAS_API nas_tensor *nas_batch_norm(nas_tensor *x, const nas_bn_state *state);
/* Normalises the last dimension; gamma, beta (last) or NULL. eps 0 = 1e-5. */
NAS_API nas_tensor *nas_layer_norm(nas_tensor *x, nas_tensor *gamma, nas_tensor *beta, float eps);

/* --- pooling ------------------------------------------------------------------------------------ */
typedef struct nas_pool_args {
    int kernel;         /* required, 1..15 */
    int stride;         /* 0 = kernel */
    int padding;        /* less than kernel */
    bool count_padding; /* average only: divide by kernel*kernel at the borders too (default: pixels inside) */
} nas_pool_args;
/* (N,C,H,W) -> (N,C,OH,OW), OH = (H + 2 padding - kernel) / stride + 1, rounded down; padding never wins and, in
 * averages, does not count unless asked. */
NAS_API nas_tensor *nas_max_pool(nas_tensor *x, nas_pool_args args);
NAS_API nas_tensor *nas_avg_pool(nas_tensor *x, nas_pool_args args);
NAS_API nas_tensor *nas_global_avg_pool(nas_tensor *x); /* (N,C,H,W) -> (N,C) */

/* --- activations, softmax ----------------------------------------------------------------------- */
/* Element by element, x's shape. */
NAS_API nas_tensor *nas_relu(nas_tensor *x);
NAS_API nas_tensor *nas_relu6(nas_tensor *x);
NAS_API nas_tensor *nas_sigmoid(nas_tensor *x);
NAS_API nas_tensor *nas_tanh(nas_tensor *x);
NAS_API nas_tensor *nas_gelu(nas_tensor *x);         /* with erf */
NAS_API nas_tensor *nas_swish(nas_tensor *x);        /* x * sigmoid(x) */
NAS_API nas_tensor *nas_hard_sigmoid(nas_tensor *x); /* relu6(x + 3) / 6 (Howard et al., MobileNetV3, ICCV 2019) */
NAS_API nas_tensor *nas_hard_swish(nas_tensor *x);   /* x * hard_sigmoid(x), likewise */
NAS_API nas_tensor *nas_softmax(nas_tensor *x);      /* over the last dimension */
NAS_API nas_tensor *nas_log_softmax(nas_tensor *x);

/* --- arithmetic --------------------------------------------------------------------------------- */
NAS_API nas_tensor *nas_add(nas_tensor *a, nas_tensor *b);   /* equal shapes, or b of one element */
NAS_API nas_tensor *nas_sum_of(int n, nas_tensor *const *x); /* sum of n >= 1 tensors of equal shape in one pass */
NAS_API nas_tensor *nas_sub(nas_tensor *a, nas_tensor *b);
NAS_API nas_tensor *nas_mul(nas_tensor *a,
                            nas_tensor *b); /* equal shapes, or b of one element, or (N,C)/(C) on (N,C,H,W) */
NAS_API nas_tensor *nas_scale(nas_tensor *x, float factor);
NAS_API nas_tensor *nas_add_scalar(nas_tensor *x, float value);
NAS_API nas_tensor *nas_exp(nas_tensor *x);
NAS_API nas_tensor *nas_log(nas_tensor *x);
/* The mixed operation: sum_i weight[i] * x[i]; weight (n). x of equal shape; zero tensors (nas_zero) and candidates
 * whose entry is NULL in `x` cost nothing. DARTS, Liu et al. 2019, eq. 2. Gradients to the weights and to every x. */
NAS_API nas_tensor *nas_weighted_sum(nas_tensor *weight, int n, nas_tensor *const *x);
/* x unchanged going forward; nothing flows back. */
NAS_API nas_tensor *nas_detach(nas_tensor *x);

/* --- shape -------------------------------------------------------------------------------------- */
/* Tensors of equal shape but for `dim`, side by side along it; elements begin .. begin+length-1 of it. */
NAS_API nas_tensor *nas_concat(int n, nas_tensor *const *x, int dim);
NAS_API nas_tensor *nas_slice(nas_tensor *x, int dim, int64_t begin, int64_t length);
/* parts[i] gets the i-th slice of `lengths[i]` along dim; false (error set) when the lengths do not add up. */
NAS_API bool nas_split(nas_tensor *x, int dim, int n, const int64_t *lengths, nas_tensor **parts);
/* (N,C,H,W) with its channels in another order: of g groups of C/g channels first the first ones, then the second ones,
 * ... (ShuffleNet, Zhang et al., CVPR 2018), so that a grouped convolution behind another one sees all groups. g has to
 * divide C. */
NAS_API nas_tensor *nas_channel_shuffle(nas_tensor *x, int groups);
/* parts[0]: the channels 0, 2, 4, ..., parts[1]: the others; C even. False, an error and NULLs on failure. */
NAS_API bool nas_split_even_odd(nas_tensor *x, nas_tensor *parts[2]);
/* Zeros around the image: (N,C,H,W) -> (N,C,H+top+bottom,W+left+right); negative values crop. */
NAS_API nas_tensor *nas_pad(nas_tensor *x, int top, int bottom, int left, int right);
NAS_API nas_tensor *nas_reshape(nas_tensor *x, int ndim, const int64_t *dims); /* one dimension may be -1 */
NAS_API nas_tensor *nas_flatten(nas_tensor *x);                                /* (N, rest) */

/* --- reductions --------------------------------------------------------------------------------- */
NAS_API nas_tensor *nas_sum(nas_tensor *x);              /* all elements -> {1} */
NAS_API nas_tensor *nas_mean(nas_tensor *x);             /* all elements -> {1} */
NAS_API nas_tensor *nas_sum_dim(nas_tensor *x, int dim); /* that dimension removed (a 1-D input gives {1}) */
NAS_API nas_tensor *nas_mean_dim(nas_tensor *x, int dim);

/* --- sequence ----------------------------------------------------------------------------------- */
/* index (N) of whole numbers 0..rows-1, table (rows, d) -> (N, d). */
NAS_API nas_tensor *nas_embedding(nas_tensor *index, nas_tensor *table);
/* One LSTM step (Hochreiter and Schmidhuber 1997), gate order i,f,o,g as in ENAS: weight (4H, in+H) on [x,h], bias (4H)
 * or NULL; x (N,in), h and c (N,H); writes the new state. Returns false (error set) on failure. */
NAS_API bool nas_lstm_cell(nas_tensor *x, nas_tensor *h, nas_tensor *c, nas_tensor *weight, nas_tensor *bias,
                           nas_tensor **new_h, nas_tensor **new_c);

/* --- superkernel: Stamoulis et al. 2019, "Single-Path NAS" ------------------------------------------ */
/* A block with a depthwise and a projecting 1x1 convolution whose weights hold those of all smaller blocks: the smaller
 * kernel is the centre of the larger one, the smaller expansion the first half of the channels. What each decision adds
 * is kept where its norm reaches a threshold: the outermost taps; the second half of the channels; all of them. */
enum { NAS_SUPERKERNEL_KERNEL = 0, NAS_SUPERKERNEL_EXPANSION, NAS_SUPERKERNEL_SKIP, NAS_SUPERKERNEL_THRESHOLDS };
typedef struct nas_superkernel_args {
    bool mean_norm;       /* root of the mean square of the weights instead of the sum: thresholds of any width alike */
    bool no_skip;         /* the block stays: its third threshold is not read */
    bool relaxed;         /* sigmoids instead of indicators: what the gradients are of */
    const float *factors; /* (3) of the indicators (dropout: 0 or 1/keep); NULL: 1. Read at once */
} nas_superkernel_args;
typedef struct nas_superkernel_parts {
    nas_tensor *depthwise;  /* (C,1,k,k): d_skip * (first half, d_expansion * second half) of the kernel that is left */
    nas_tensor *project;    /* (O,C,1,1): the second half of the inputs times d_expansion */
    nas_tensor *gate;       /* (2): 1 and d_skip, weights of a shortcut and of the block */
    nas_tensor *indicators; /* (3) */
} nas_superkernel_parts;
/* depthwise (C,1,k,k), project (O,C,1,1), thresholds (3). An indicator is 1 where norm - threshold >= 0, else 0; its
 * derivative is that of the sigmoid, for the threshold and for the weights in the norm. false (error set) on failure.
 */
NAS_API bool nas_superkernel(nas_tensor *depthwise, nas_tensor *project, nas_tensor *thresholds,
                             const nas_superkernel_args *args, nas_superkernel_parts *parts);
/* The three differences norm - threshold at the present values, outside any pass; the third is the norm with no_skip.
 */
NAS_API nas_status nas_superkernel_margins(const nas_tensor *depthwise, const nas_tensor *thresholds,
                                           const nas_superkernel_args *args,
                                           double margins[NAS_SUPERKERNEL_THRESHOLDS]);

/* --- regularisation (identity unless the tape is training) --------------------------------------- */
NAS_API nas_tensor *nas_dropout(nas_tensor *x, float p); /* elements; survivors scaled by 1/(1-p) */
NAS_API nas_tensor *nas_drop_path(nas_tensor *x,
                                  float p); /* whole samples (Larsson et al. 2017); p < 0 takes the tape's drop_path */

/* --- losses: scalar {1}, mean over the batch ------------------------------------------------------ */
/* logits (N, classes), target (N) class numbers; or for dense prediction logits (N, classes, H, W), target (N,H,W) or
 * (N,1,H,W), mean over the pixels. */
NAS_API nas_tensor *nas_cross_entropy(nas_tensor *logits, nas_tensor *target);
/* With label smoothing 0 <= smoothing < 1 (Szegedy et al. 2016). */
NAS_API nas_tensor *nas_cross_entropy_smooth(nas_tensor *logits, nas_tensor *target, float smoothing);
NAS_API nas_tensor *nas_mse(nas_tensor *prediction, nas_tensor *target); /* equal shapes */
NAS_API nas_tensor *nas_l1(nas_tensor *prediction, nas_tensor *target);

#ifdef __cplusplus
}
#endif
#endif
