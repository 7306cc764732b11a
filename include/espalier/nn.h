/* nn.h - networks: modules by composition, layers, initialisers, losses and metrics, optimisers, schedules.
 *
 * A module is any struct whose first member is a nas_module. It owns its parameters and children; freeing the root
 * frees the tree. Constructors return NULL on failure and nas_child() takes NULL, so a network is built without a check
 * per line and asked once, at its end, by nas_error_status(). */
#ifndef ESPALIER_NN_H
#define ESPALIER_NN_H

#include <espalier/ops.h>
#include <espalier/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* --- modules ------------------------------------------------------------------------------------ */
typedef struct nas_module nas_module;
typedef struct nas_module_state nas_module_state;
typedef nas_tensor *(*nas_forward_fn)(nas_module *self, nas_tensor *x);

struct nas_module {
    nas_forward_fn forward;
    void (*release)(nas_module *self); /* frees what the module owns beside parameters and children; may be NULL */
    void (*fixed)(nas_module *self);   /* called once when the architecture is fixed; may be NULL */
    const char *type;                  /* "conv", "layer choice", ... ; "module" for a user's own */
    nas_module_state *state;           /* name, parent, children, parameters: private */
};

/* A zeroed struct of the given type (its first member is a nas_module) with its forward function; NULL when out of
 * memory. */
#define nas_module_new(struct_type, forward_fn)                                                                        \
    ((struct_type *)nas_module_alloc(sizeof(struct_type), (forward_fn), "module"))
NAS_API void *nas_module_alloc(size_t size, nas_forward_fn forward, const char *type);
/* Frees the module with its children, parameters and mutables; NULL is fine. */
NAS_API void nas_module_free(nas_module *module);
#define nas_free(module) nas_module_free((nas_module *)(module))

/* Makes `child` a child named `name` (unique among its siblings, no '.') and returns it. The parent owns it from the
 * call on: a child that cannot be added is freed, unless it has a parent already. NULL passes through. On failure NULL
 * and an error. */
#define nas_child(parent, name, child) nas_module_add((nas_module *)(parent), (name), (nas_module *)(child))
NAS_API nas_module *nas_module_add(nas_module *parent, const char *name, nas_module *child);
/* Runs module->forward; sticky. A model whose parameters were never initialised is initialised first, with seed 0 (not
 * in a dry pass). An error names the path of the innermost module that failed. */
NAS_API nas_tensor *nas_forward(nas_module *module, nas_tensor *x);

typedef enum nas_init {
    NAS_INIT_ZERO = 0,
    NAS_INIT_ONE,
    NAS_INIT_HE, /* normal, deviation sqrt(2 / fan_out) (He et al. 2015, as in residual networks); fans as of (out, in,
                    k, k) */
    NAS_INIT_FAN_IN, /* uniform in +-1/sqrt(fan_in) */
    NAS_INIT_NORMAL, /* normal, deviation 1 */
    NAS_INIT_UNIFORM /* uniform in +-0.1 (controllers, Zoph and Le 2017) */
} nas_init;
/* A parameter (differentiated for with the weights) or a buffer (state without a gradient, such as running means) of
 * `owner`, by name; owned by it. Values come with nas_initialise(), so write your own after it; a parameter that is
 * added to an initialised model has its values at once. */
NAS_API nas_tensor *nas_parameter(nas_module *owner, const char *name, int ndim, const int64_t *dims, nas_init init);
NAS_API nas_tensor *nas_state_buffer(nas_module *owner, const char *name, int ndim, const int64_t *dims, nas_init init);
/* Fills all parameters and buffers below `model`. The values of each depend on (seed, its path) only: a fixed network
 * starts with the same weights as the same path of the supernet. */
NAS_API nas_status nas_initialise(nas_module *model, uint64_t seed);

/* Calls visit(path, tensor, role, user) for every parameter and buffer in a fixed order; path is
 * "cells.0.edge_2_0.conv.weight", from the root. The first status other than 0 ends the walk and is returned. A model
 * that was never initialised is, with seed 0, so that values written by the visitor stay. */
typedef nas_status (*nas_parameter_fn)(const char *path, nas_tensor *tensor, nas_role role, void *user);
NAS_API nas_status nas_visit_parameters(nas_module *model, nas_parameter_fn visit, void *user);
/* Number of trainable numbers. */
NAS_API int64_t nas_parameter_count(nas_module *model);
/* Dotted path from the root ("" for a root), valid until the next call of this thread. */
NAS_API const char *nas_module_path(const nas_module *module);

/* --- layers: constructors take their config by designated initialisers, as nas_conv(.in = 3, .out = 16, .kernel = 3)
 * ------- Weights start as torch's, uniform in +-1/sqrt(fan_in); biases at 0. */
typedef struct nas_conv_config {
    int in, out, kernel; /* required */
    int stride;          /* 0 = 1 */
    int padding;         /* 0 or NAS_SAME = dilation*(kernel-1)/2; NAS_NONE = none */
    int dilation;        /* 0 = 1 */
    int groups;          /* 0 = 1 */
    bool bias;
    int affine;              /* of the batch norm in nas_conv_bn_relu and nas_relu_conv_bn: nas_affine */
    int kernel_w, padding_w; /* of the width, where they are others than of the height: 1x7 is .kernel = 1, .kernel_w =
                                7; 0 = kernel, padding */
} nas_conv_config;
typedef enum nas_affine {
    NAS_AFFINE = 0,        /* gamma and beta */
    NAS_AFFINE_WHEN_FIXED, /* none while searching; they come (1 and 0) when the architecture is fixed (DARTS) */
    NAS_AFFINE_NEVER
} nas_affine;
/* (N,in,H,W) -> (N,out,H',W'); parameters weight (out, in/groups, kernel, kernel_w) and, with .bias, bias (out). As all
 * constructors: a new module for nas_child(); NULL and an error when a required number is missing or numbers do not
 * fit. */
#define nas_conv(...) nas_conv_new(&(nas_conv_config){__VA_ARGS__})
NAS_API nas_module *nas_conv_new(const nas_conv_config *config);
/* Convolution, batch norm, ReLU; and ReLU, convolution, batch norm (the order of the cells' operations in DARTS and
 * NAS-Bench-201). */
#define nas_conv_bn_relu(...) nas_conv_bn_relu_new(&(nas_conv_config){__VA_ARGS__})
NAS_API nas_module *nas_conv_bn_relu_new(const nas_conv_config *config);
#define nas_relu_conv_bn(...) nas_relu_conv_bn_new(&(nas_conv_config){__VA_ARGS__})
NAS_API nas_module *nas_relu_conv_bn_new(const nas_conv_config *config);
/* DARTS' blocks (Liu et al. 2019): separable = [ReLU, depthwise, pointwise, BN] twice, the first with the stride;
 * dilated = once, with .dilation 0 = 2. .out 0 = .in; groups, padding and bias are their own. */
#define nas_sep_conv(...) nas_sep_conv_new(&(nas_conv_config){__VA_ARGS__})
NAS_API nas_module *nas_sep_conv_new(const nas_conv_config *config);
#define nas_dil_conv(...) nas_dil_conv_new(&(nas_conv_config){__VA_ARGS__})
NAS_API nas_module *nas_dil_conv_new(const nas_conv_config *config);
/* ReLU, two 1x1 convolutions of stride 2 on x and on x shifted by one pixel, concatenated, BN; .in, .out (even; 0 =
 * .in) and .affine. Height and width of x must be even; a height of 1 stays. */
#define nas_factorized_reduce(...) nas_factorized_reduce_new(&(nas_conv_config){__VA_ARGS__})
NAS_API nas_module *nas_factorized_reduce_new(const nas_conv_config *config);

typedef struct nas_bn_config {
    int channels; /* required */
    nas_affine affine;
    float momentum, eps; /* 0 = 0.1, 1e-5 */
    bool relu;           /* ReLU in the same pass */
    bool search_only;    /* the identity (or ReLU) once the architecture is fixed, without parameters (DARTS' pooling
                            candidates) */
} nas_bn_config;
/* Batch norm per channel of (N,C,H,W) or (N,C) (Ioffe and Szegedy 2015); buffers running_mean and running_var,
 * parameters gamma and beta when affine. */
#define nas_bn(...) nas_bn_new(&(nas_bn_config){__VA_ARGS__})
NAS_API nas_module *nas_bn_new(const nas_bn_config *config);
/* Forgets the calibrated estimates of all batch norms below `model`, before passes with NAS_BN_CALIBRATE. */
NAS_API void nas_calibration_reset(nas_module *model);
/* Readies a trained network for use (passes with NAS_BN_RUNNING and no gradients): a batch norm that comes right behind
 * a convolution, in one of the blocks here or in a sequential, is multiplied into the convolution's weights and bias by
 * its running estimates, and is the identity (or its ReLU) from then on, without parameters. Every other batch norm
 * stays. All weights are constants from then on, which passes prepare for their kernels once only: they take no
 * gradient unless an optimiser is made for them. Results are the same to rounding. The change cannot be undone, and
 * weight files of the network no longer fit: save before. *folded (may be NULL) counts. After an error (out of memory)
 * the network computes what it did before. */
NAS_API nas_status nas_fold_batch_norm(nas_module *model, int *folded);

typedef struct nas_dense_config {
    int in, out; /* required; x with more than 2 dimensions is flattened */
    bool no_bias;
} nas_dense_config;
/* (N,in) -> (N,out): x weight' + bias; weight (out, in). */
#define nas_dense(...) nas_dense_new(&(nas_dense_config){__VA_ARGS__})
NAS_API nas_module *nas_dense_new(const nas_dense_config *config);

typedef enum nas_pool_kind { NAS_POOL_MAX = 0, NAS_POOL_AVG, NAS_POOL_GLOBAL } nas_pool_kind;
typedef struct nas_pool_config {
    nas_pool_kind kind;
    int kernel, stride, padding; /* as in nas_pool_args; padding 0 = none, NAS_SAME = (kernel-1)/2 */
    bool count_padding;
    int channels; /* with .bn_search_only: DARTS' batch norm behind the pooling while searching */
    bool bn_search_only;
} nas_pool_config;
/* (N,C,H,W) -> (N,C,H',W'); NAS_POOL_GLOBAL: the mean of each channel, (N,C). */
#define nas_pool(...) nas_pool_new(&(nas_pool_config){__VA_ARGS__})
NAS_API nas_module *nas_pool_new(const nas_pool_config *config);

typedef enum nas_activation {
    NAS_RELU = 0,
    NAS_RELU6,
    NAS_SIGMOID,
    NAS_TANH,
    NAS_GELU,
    NAS_SWISH,
    NAS_HARD_SIGMOID,
    NAS_HARD_SWISH
} nas_activation;
/* Modules without parameters, of x's shape: an activation; dropout with probability 0 <= p < 1 of a zero; x itself. */
NAS_API nas_module *nas_activation_new(nas_activation kind);
NAS_API nas_module *nas_dropout_new(float p);
NAS_API nas_module *nas_identity_new(void);
/* Zeros of x's shape subsampled by stride: the candidate `none`. */
NAS_API nas_module *nas_none_new(int stride);
/* Children "0", "1", ... in order; takes the modules over (also on failure). */
NAS_API nas_module *nas_sequential_new(int n, nas_module *const *modules);
#define nas_sequential(...)                                                                                            \
    nas_sequential_new((int)(sizeof((nas_module *[]){__VA_ARGS__}) / sizeof(nas_module *)),                            \
                       (nas_module *[]){__VA_ARGS__})

/* --- blocks of networks for small devices ------------------------------------------------------------ */
typedef struct nas_mbconv_config {
    int in, kernel;            /* required */
    int out;                   /* 0 = in */
    int stride;                /* of the depthwise convolution; 0 = 1 */
    double expansion;          /* channels of the depthwise convolution: in * expansion, rounded; 0 = 1 */
    int groups;                /* of the two 1x1 convolutions; 0 = 1 */
    nas_activation activation; /* behind the first two batch norms (MobileNetV2: NAS_RELU6) */
    int squeeze;               /* squeeze-and-excite before the projection, to 1/squeeze of its channels rounded to
                                  multiples of 8 (MobileNetV3: 4); 0 = none */
    bool always_expand;        /* the first 1x1 convolution also where it would not change the number of channels */
    bool no_shortcut;          /* no sum with x, also where the shape is kept */
    nas_affine affine;         /* of the batch norms, as .bn_momentum and .bn_eps (0 = 0.1, 1e-5) */
    float bn_momentum, bn_eps;
} nas_mbconv_config;
/* The inverted residual of MobileNetV2 (Sandler et al., CVPR 2018) and its descendants: 1x1 convolution to the expanded
 * channels (with groups: then a channel shuffle, as in FBNet), depthwise convolution, 1x1 convolution to .out, batch
 * norm behind each; plus x where the shape is kept. (N,in,H,W) -> (N,out,H/stride,W/stride), rounded up. */
#define nas_mbconv(...) nas_mbconv_new(&(nas_mbconv_config){__VA_ARGS__})
NAS_API nas_module *nas_mbconv_new(const nas_mbconv_config *config);
/* x times a factor per image and channel (Hu et al., CVPR 2018): the mean of each channel, a dense layer to `reduced`
 * numbers, ReLU, a dense layer back, and as in MobileNetV3 a hard sigmoid. (N,channels,H,W). */
NAS_API nas_module *nas_squeeze_excite_new(int channels, int reduced);
/* The nearest multiple, at least one of it, and not less than nine tenths of `channels`: how MobileNets round widths.
 */
NAS_API int nas_round_channels(double channels, int multiple);

/* --- networks: to compare a found one with ---------------------------------------------------------- */
/* For small images (N,channels,H,W), about 32x32, to (N,outputs). ResNet-18 (He et al., CVPR 2016) and MobileNetV2 of
 * width 1 (Sandler et al., CVPR 2018), both in the form that is usual for CIFAR: a 3x3 stem of stride 1 and no pooling
 * behind it; MobileNetV2's second stage keeps its size too. New modules; NULL and an error when a number is not
 * positive. */
NAS_API nas_module *nas_resnet18_new(int channels, int outputs);
NAS_API nas_module *nas_mobilenetv2_new(int channels, int outputs);

/* --- losses and metrics ------------------------------------------------------------------------- */
/* A scalar {1} to be minimised, mean over the batch. nas_cross_entropy, nas_mse, nas_l1, or the user's own. */
typedef nas_tensor *(*nas_loss_fn)(nas_tensor *output, nas_tensor *target);
/* A number for one batch, averaged over the images of all batches. The tensors are read, not differentiated. NaN and an
 * error when they do not fit. */
typedef double (*nas_metric_fn)(const nas_tensor *output, const nas_tensor *target);
typedef struct nas_metric {
    const char *name; /* NULL ends a list */
    nas_metric_fn measure;
    bool lower_is_better;
    double (*finish)(double mean); /* applied to the mean over all images (RMSE: sqrt); may be NULL */
} nas_metric;
/* output (N, classes), target (N) class numbers; or equally many elements for the errors. */
NAS_API double nas_top1_accuracy(const nas_tensor *output, const nas_tensor *target); /* 0..1 */
NAS_API double nas_top5_accuracy(const nas_tensor *output, const nas_tensor *target);
NAS_API double nas_negative_rmse(const nas_tensor *output, const nas_tensor *target); /* a reward for regression */
NAS_API double nas_squared_error(const nas_tensor *output,
                                 const nas_tensor *target); /* mean; with .finish = sqrt: the RMSE */
NAS_API double nas_absolute_error(const nas_tensor *output, const nas_tensor *target);
/* {"acc1", higher}, and {"rmse", lower}; both end with a NULL name */
NAS_API extern const nas_metric nas_classification_metrics[];
NAS_API extern const nas_metric nas_regression_metrics[];

/* --- optimisers --------------------------------------------------------------------------------- */
typedef struct nas_optimizer nas_optimizer;
typedef struct nas_sgd_config {
    double lr, momentum, weight_decay, dampening; /* lr is required */
    bool nesterov;
} nas_sgd_config;
/* Momentum as torch's: v = momentum v + (1 - dampening) g, w -= lr v; Nesterov (Sutskever et al. 2013); weight decay is
 * an L2 term of g. New, owned by the caller until it is handed to a trainer; NULL and an error when a number is out of
 * range. */
#define nas_sgd(...) nas_sgd_new(&(nas_sgd_config){__VA_ARGS__})
NAS_API nas_optimizer *nas_sgd_new(const nas_sgd_config *config);
typedef struct nas_adam_config {
    double lr;           /* 0 = 1e-3 */
    double beta1, beta2; /* 0 = 0.9, 0.999; NAS_NONE = 0 */
    double eps;          /* 0 = 1e-8 */
    double weight_decay;
    bool decoupled; /* AdamW (Loshchilov and Hutter 2019); otherwise an L2 term of the gradient */
} nas_adam_config;
/* Adam (Kingma and Ba 2015), with its corrections of the bias. Owned as nas_sgd. */
#define nas_adam(...) nas_adam_new(&(nas_adam_config){__VA_ARGS__})
NAS_API nas_optimizer *nas_adam_new(const nas_adam_config *config);
NAS_API void nas_optimizer_free(nas_optimizer *optimizer); /* NULL is fine */
/* The tensors that it updates (borrowed; their memory is moved into one contiguous group). Once per optimiser. */
NAS_API nas_status nas_optimizer_bind(nas_optimizer *optimizer, size_t n, nas_tensor *const *tensors);
/* All trainable parameters below `model`. */
NAS_API nas_status nas_optimizer_bind_model(nas_optimizer *optimizer, nas_module *model);
NAS_API double nas_optimizer_lr(const nas_optimizer *optimizer); /* of its config: the schedule's base */
/* One update of the tensors that have a gradient (others are left alone, as with torch's set_to_none), then their
 * gradients are cleared. Fails (NAS_NUMERIC) without changing anything when the gradient's norm is not finite. */
NAS_API nas_status nas_optimizer_step(nas_optimizer *optimizer, double lr, double clip_norm /* 0 = none */);
NAS_API void nas_optimizer_zero_grad(nas_optimizer *optimizer);
NAS_API double
nas_optimizer_last_norm(const nas_optimizer *optimizer); /* of the last step's gradient, before clipping */

/* --- schedules: learning rate from progress, so that a time budget can replan without jumps ------- */
typedef enum nas_schedule_kind {
    NAS_SCHEDULE_COSINE = 0,
    NAS_SCHEDULE_CONSTANT,
    NAS_SCHEDULE_LINEAR,
    NAS_SCHEDULE_STEP
} nas_schedule_kind;
typedef struct nas_schedule {
    nas_schedule_kind kind;
    double min_lr; /* cosine, linear: where it ends */
    double warmup; /* share of the run (0..1) with a linear rise from 0 */
    double gamma;  /* step: factor, 0 = 0.1 */
    int steps;     /* step: number of equal stages, 0 = 3 */
} nas_schedule;
/* Learning rate at progress 0..1 of the run. */
NAS_API double nas_schedule_lr(const nas_schedule *schedule, double base_lr, double progress);

/* --- exponential moving average of the weights ---------------------------------------------------- */
/* Of all parameters and buffers (Polyak and Juditsky 1992, in the exponential form): after n updates with min(decay,
 * (1+n)/(10+n)), so that the first values do not linger. Borrows the model, which must outlive it unpruned. */
typedef struct nas_ema nas_ema;
/* Starts from the present weights; 0 <= decay < 1. NULL and an error when decay is out of range or memory is short. */
NAS_API nas_ema *nas_ema_new(nas_module *model, double decay);
NAS_API void nas_ema_update(nas_ema *ema); /* after a step of the optimiser */
/* Exchanges the model's weights and their averages; calling it twice restores. */
NAS_API void nas_ema_swap(nas_ema *ema);
NAS_API void nas_ema_free(nas_ema *ema); /* NULL is fine */

#ifdef __cplusplus
}
#endif
#endif
