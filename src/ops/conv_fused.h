/* conv_fused.h - convolutions of our own kernels, which do batch norm, ReLU and their backward passes while they read,
 * and sum up for the next batch norm while they write. nas_conv2d() asks here first. */
#ifndef OPS_CONV_FUSED_H
#define OPS_CONV_FUSED_H

#include "kernels/onednn.h"
#include "ops/common.h"
#include "tensor/prepared.h"

/* A late depthwise convolution: a pointwise one behind it takes both in one go. */
nas_tensor *nas__depthwise(nas_tensor *x, nas_tensor *weight, const nas__conv_shape *s);

/* Is that convolution of x one for nas__conv_unit(), nas__conv_pointwise() or nas__conv_winograd()? The first that says
 * so takes it; what is left is oneDNN's. */
bool nas__is_unit(const nas_tensor *x, const nas_tensor *bias, const nas__conv_shape *s);
bool nas__is_pointwise(const nas_tensor *x, const nas_tensor *bias, const nas__conv_shape *s);
bool nas__is_conv3(const nas_tensor *x, const nas_tensor *bias, const nas__conv_shape *s);
/* A 1x1 convolution and the late depthwise one before it. Late itself with frozen weights: a sum that reads it may have
 * it computed into its own memory. */
nas_tensor *nas__conv_unit(nas_tensor *x, nas_tensor *weight, nas_tensor *bias, const nas__conv_shape *s);
bool nas__is_late_unit(const nas_tensor *t);
/* y = unit + more, blocked; more is not y's memory. False and an error on failure. */
bool nas__unit_onto(const nas_tensor *unit, const float *more, nas_tensor *y);
/* Any other 1x1 convolution. */
nas_tensor *nas__conv_pointwise(nas_tensor *x, nas_tensor *weight, nas_tensor *bias, const nas__conv_shape *s);
/* A dense 3x3 convolution with stride 1. */
nas_tensor *nas__conv_winograd(nas_tensor *x, nas_tensor *weight, nas_tensor *bias, const nas__conv_shape *s);

/* Before these two: is it to be computed in bf16 (ops/precision.h), by oneDNN between conversions of ours? */
bool nas__is_bf16(const nas_tensor *x, const nas_tensor *bias, const nas__conv_shape *s);
nas_tensor *nas__conv_bf16(nas_tensor *x, nas_tensor *weight, nas_tensor *bias, const nas__conv_shape *s);

/* Is that one of few groups of 1x1? Then nas__dense_weight() makes (out, in, 1, 1) of its weights, zeros between the
 * groups: the weights of a dense convolution with the same result. */
bool nas__is_grouped_pointwise(const nas__conv_shape *s);
nas_tensor *nas__dense_weight(nas_tensor *weight, int groups);

/* Of tensor/prepared.h; with the highest bit set: oneDNN's own layouts. */
enum { NAS__FORM_DEPTHWISE = 1, NAS__FORM_POINTWISE, NAS__FORM_WINOGRAD, NAS__FORM_WINOGRAD_BACK };

/* The weights (out, in, 1, 1) as kernels read them: [in][out padded] in panels, with one reference; and for the
 * backward pass [out][parts * in padded], `in` channels in each part. NULL and an error on failure. */
nas__buffer *nas__pointwise_panels(nas_tensor *weight);
nas__buffer *nas__pointwise_back_panels(const nas_tensor *weight, int parts);
/* Their gradient, from [in][out padded]. */
void nas__give_pointwise(nas_tensor *weight, const float *rows);

/* For all: an array of one number per channel, padded with zeros, in the tape's arena; values may be NULL. */
float *nas__channels(const float *values, int64_t channels);
/* Where the kernel leaves the sums for a batch norm: y->moments when this pass wants statistics, else NULL. */
double *nas__moments(nas_tensor *y);

#endif
