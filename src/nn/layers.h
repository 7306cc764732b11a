/* layers.h - what the files of layers share. */
#ifndef NN_LAYERS_H
#define NN_LAYERS_H

#include "nn/module.h"

/* false and an error when the config of a convolution makes no sense. */
bool nas__conv_config_fits(const char *what, const nas_conv_config *config);
/* Forward functions: the children in order; of nas_factorized_reduce, whose children are two convolutions and their
 * batch norm. */
nas_tensor *nas__row_forward(nas_module *self, nas_tensor *x);
nas_tensor *nas__factorized_forward(nas_module *self, nas_tensor *x);

/* The batch norm of x, which has only the first of the channels. Sticky. */
nas_tensor *nas__bn_first(nas_module *bn, nas_tensor *x);
/* A parameter of channels along `dim`; where a pass has narrowed the layers (nas__narrowing()), the first part of it,
 * on the tape. NULL and an error when it does not divide; NULL in, NULL out. */
nas_tensor *nas__narrow(nas_tensor *parameter, int dim);

/* --- folding ------------------------------------------------------------------------------------- */
/* Channels of a convolution's output; 0: the module is no convolution. */
int64_t nas__conv_channels(const nas_module *module);
/* Sees to it that the convolution has a bias. */
nas_status nas__conv_add_bias(nas_module *conv);
/* Makes the result scale*result + shift, per channel; there must be a bias. */
void nas__conv_scale(nas_module *conv, const float *scale, const float *shift);
/* Channels of a batch norm that normalises in a finished network, with estimates to do it; else 0. */
int64_t nas__bn_foldable(const nas_module *module);
/* What it does to x with its running estimates, before its ReLU: scale*x + shift, per channel. */
void nas__bn_coefficients(const nas_module *bn, float *scale, float *shift);
/* Trainable numbers that it has once the architecture is fixed; -1: the module is no batch norm. */
int64_t nas__bn_fixed_parameters(const nas_module *module);
/* From here on it is the identity, or its ReLU, without parameters. */
void nas__bn_drop(nas_module *bn);

#endif
