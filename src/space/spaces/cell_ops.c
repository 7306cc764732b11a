/* cell_ops.c - see cell_ops.h */
#include "space/spaces/cell_ops.h"

enum { LATER = NAS_AFFINE_WHEN_FIXED };

nas_module *nas__op_none(int channels, int stride) {
    (void)channels;
    return nas_none_new(stride);
}

nas_module *nas__op_skip(int channels, int stride) {
    return stride == 1 ? nas_identity_new() : nas_factorized_reduce(.in = channels, .affine = LATER);
}

static nas_module *pool(nas_pool_kind kind, int kernel, int channels, int stride) {
    return nas_pool(.kind = kind, .kernel = kernel, .stride = stride, .padding = NAS_SAME, .channels = channels,
                    .bn_search_only = true);
}

nas_module *nas__op_max_pool_3x3(int channels, int stride) { return pool(NAS_POOL_MAX, 3, channels, stride); }

nas_module *nas__op_max_pool_5x5(int channels, int stride) { return pool(NAS_POOL_MAX, 5, channels, stride); }

nas_module *nas__op_max_pool_7x7(int channels, int stride) { return pool(NAS_POOL_MAX, 7, channels, stride); }

nas_module *nas__op_avg_pool_3x3(int channels, int stride) { return pool(NAS_POOL_AVG, 3, channels, stride); }

static nas_module *sep(int kernel, int channels, int stride) {
    return nas_sep_conv(.in = channels, .kernel = kernel, .stride = stride, .affine = LATER);
}

nas_module *nas__op_dil_sep_3x3(int channels, int stride) {
    return nas_sep_conv(.in = channels, .kernel = 3, .stride = stride, .dilation = 2, .affine = LATER);
}

nas_module *nas__op_sep_3x3(int channels, int stride) { return sep(3, channels, stride); }

nas_module *nas__op_sep_5x5(int channels, int stride) { return sep(5, channels, stride); }

nas_module *nas__op_sep_7x7(int channels, int stride) { return sep(7, channels, stride); }

static nas_module *dil(int kernel, int channels, int stride) {
    return nas_dil_conv(.in = channels, .kernel = kernel, .stride = stride, .affine = LATER);
}

nas_module *nas__op_dil_3x3(int channels, int stride) { return dil(3, channels, stride); }

nas_module *nas__op_dil_5x5(int channels, int stride) { return dil(5, channels, stride); }

static nas_module *conv(int kernel, int channels, int stride) {
    return nas_relu_conv_bn(.in = channels, .out = channels, .kernel = kernel, .stride = stride, .affine = LATER);
}

nas_module *nas__op_conv_1x1(int channels, int stride) { return conv(1, channels, stride); }

nas_module *nas__op_conv_3x3(int channels, int stride) { return conv(3, channels, stride); }

static nas_module *two_axes(int kernel, int channels, int stride) {
    return nas_sequential(nas_activation_new(NAS_RELU),
                          nas_conv(.in = channels, .out = channels, .kernel = 1, .kernel_w = kernel),
                          nas_conv(.in = channels, .out = channels, .kernel = kernel, .kernel_w = 1, .stride = stride),
                          nas_bn(.channels = channels, .affine = NAS_AFFINE_WHEN_FIXED));
}

nas_module *nas__op_conv_3x1_1x3(int channels, int stride) { return two_axes(3, channels, stride); }

nas_module *nas__op_conv_7x1_1x7(int channels, int stride) { return two_axes(7, channels, stride); }
