/* conv.c - the convolution layer. */
#include "nn/layers.h"

#include "core/error.h"
#include "tensor/tensor.h"

typedef struct conv {
    nas_module base;
    nas_tensor *weight, *bias;
    nas_conv_args args;
    int64_t out; /* channels that it was made with */
} conv;

static nas_tensor *conv_forward(nas_module *self, nas_tensor *x) {
    conv *c = (conv *)self;
    nas_conv_args args = c->args;
    nas_tensor *weight = nas__width_in_use(self, nas__weight_in_use(self, c->weight)),
               *bias = c->bias ? nas__narrow(nas__width_in_use(self, c->bias), 0) : NULL;
    if (weight && args.groups > 1) { /* depthwise, when not all channels are in use */
        args.groups = (int)(args.groups * weight->dims[0] / c->out);
    }
    weight = nas__narrow(weight, 0);
    if (args.groups > 1 && args.groups % nas__narrowing() == 0) {
        args.groups /= nas__narrowing();
    } else {
        weight = nas__narrow(weight, 1);
    }
    return c->bias && !bias ? NULL : nas_conv2d(x, weight, bias, args);
}

static bool is_padding(int padding) { return padding >= 0 || padding == NAS_NONE || padding == NAS_SAME; }

bool nas__conv_config_fits(const char *what, const nas_conv_config *c) {
    int groups = c->groups ? c->groups : 1;
    if (c->in < 1 || c->out < 1 || c->kernel < 1) {
        return nas__fail_null(NAS_INVALID, "%s: .in %d, .out %d and .kernel %d must be given and positive", what, c->in,
                              c->out, c->kernel);
    }
    if (c->stride < 0 || c->dilation < 0 || groups < 1 || c->kernel_w < 0 || !is_padding(c->padding) ||
        !is_padding(c->padding_w)) {
        return nas__fail_null(NAS_INVALID,
                              "%s: .stride %d, .dilation %d, .groups %d, .kernel_w %d, .padding %d or .padding_w %d is "
                              "negative",
                              what, c->stride, c->dilation, c->groups, c->kernel_w, c->padding, c->padding_w);
    }
    if (c->in % groups || c->out % groups) {
        return nas__fail_null(NAS_INVALID, "%s: %d groups do not divide %d and %d channels", what, groups, c->in,
                              c->out);
    }
    return true;
}

nas_module *nas_conv_new(const nas_conv_config *config) {
    if (!nas__conv_config_fits("nas_conv", config)) {
        return NULL;
    }
    conv *c = nas_module_alloc(sizeof *c, conv_forward, "conv");
    if (!c) {
        return NULL;
    }
    int groups = config->groups ? config->groups : 1, kernel_w = config->kernel_w ? config->kernel_w : config->kernel;
    int padding = config->padding == 0 ? NAS_SAME : config->padding == NAS_NONE ? 0 : config->padding;
    c->args = (nas_conv_args){.stride = config->stride,
                              .padding = padding,
                              .dilation = config->dilation,
                              .groups = groups,
                              .padding_w = config->padding_w};
    c->out = config->out;
    c->weight = nas_parameter(&c->base, "weight", NAS_DIMS(config->out, config->in / groups, config->kernel, kernel_w),
                              NAS_INIT_FAN_IN);
    c->bias = config->bias ? nas_parameter(&c->base, "bias", NAS_DIMS(config->out), NAS_INIT_ZERO) : NULL;
    return nas__module_complete(c, c->weight && (c->bias || !config->bias));
}

/* --- folding ------------------------------------------------------------------------------------- */
int64_t nas__conv_channels(const nas_module *module) {
    return module->forward == conv_forward ? ((const conv *)module)->weight->dims[0] : 0;
}

nas_status nas__conv_add_bias(nas_module *module) {
    conv *c = (conv *)module;
    c->bias = c->bias ? c->bias : nas_parameter(module, "bias", 1, c->weight->dims, NAS_INIT_ZERO);
    return c->bias ? NAS_OK : nas_error_status();
}

void nas__conv_scale(nas_module *module, const float *scale, const float *shift) {
    conv *c = (conv *)module;
    int64_t out = c->weight->dims[0], row = nas__count(c->weight) / out;
    float *weight = nas__data(c->weight), *bias = nas__data(c->bias);
    for (int64_t o = 0; o < out; o++) {
        bias[o] = bias[o] * scale[o] + shift[o];
        for (int64_t i = 0; i < row; i++) {
            weight[o * row + i] *= scale[o];
        }
    }
}
