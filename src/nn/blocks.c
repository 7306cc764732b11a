/* blocks.c - convolution, batch norm and ReLU in their usual orders, and the blocks of DARTS (Liu et al. 2019). */
#include "nn/layers.h"

#include "core/error.h"

/* --- in a row: conv_bn_relu, relu_conv_bn, sep_conv, dil_conv --------------------------------------- */
nas_module *nas_conv_bn_relu_new(const nas_conv_config *c) {
    nas_module *m = nas_module_alloc(sizeof *m, nas__row_forward, "conv_bn_relu");
    bool complete = m && nas_child(m, "conv", nas_conv_new(c)) &&
                    nas_child(m, "bn", nas_bn(.channels = c->out, .affine = (nas_affine)c->affine, .relu = true));
    return nas__module_complete(m, complete);
}

nas_module *nas_relu_conv_bn_new(const nas_conv_config *c) {
    nas_module *m = nas_module_alloc(sizeof *m, nas__row_forward, "relu_conv_bn");
    bool complete = m && nas_child(m, "relu", nas_activation_new(NAS_RELU)) && nas_child(m, "conv", nas_conv_new(c)) &&
                    nas_child(m, "bn", nas_bn(.channels = c->out, .affine = (nas_affine)c->affine));
    return nas__module_complete(m, complete);
}

/* DARTS' blocks set their own groups, padding and bias; saying otherwise would be ignored silently. */
static bool block_config(const char *what, const nas_conv_config *given, nas_conv_config *c) {
    *c = *given;
    c->out = c->out ? c->out : c->in;
    if (c->groups || c->bias || c->padding_w || (c->padding && c->padding != NAS_SAME)) {
        return nas__fail_null(NAS_INVALID, "%s: .groups, .bias and .padding are the block's own and cannot be set",
                              what);
    }
    return nas__conv_config_fits(what, c);
}

/* ReLU, depthwise, pointwise, batch norm; `number` 0 when the block is alone. The second block's ReLU comes with the
 * first one's batch norm, in one pass. */
static bool add_separable(nas_module *m, int number, const nas_conv_config *c, int out, int stride, int dilation) {
    static const char *const names[3][4] = {{"relu", "depthwise", "pointwise", "bn"},
                                            {"relu1", "depthwise1", "pointwise1", "bn1"},
                                            {NULL, "depthwise2", "pointwise2", "bn2"}};
    const char *const *name = names[number];
    return (number == 2 || nas_child(m, name[0], nas_activation_new(NAS_RELU))) &&
           nas_child(m, name[1],
                     nas_conv(.in = c->in, .out = c->in, .kernel = c->kernel, .kernel_w = c->kernel_w, .stride = stride,
                              .dilation = dilation, .groups = c->in)) &&
           nas_child(m, name[2], nas_conv(.in = c->in, .out = out, .kernel = 1)) &&
           nas_child(m, name[3], nas_bn(.channels = out, .affine = (nas_affine)c->affine, .relu = number == 1));
}

nas_module *nas_sep_conv_new(const nas_conv_config *config) {
    nas_conv_config c;
    if (!block_config("nas_sep_conv", config, &c)) {
        return NULL;
    }
    nas_module *m = nas_module_alloc(sizeof *m, nas__row_forward, "sep_conv");
    bool complete =
        m && add_separable(m, 1, &c, c.in, c.stride, c.dilation) && add_separable(m, 2, &c, c.out, 1, c.dilation);
    return nas__module_complete(m, complete);
}

nas_module *nas_dil_conv_new(const nas_conv_config *config) {
    nas_conv_config c;
    if (!block_config("nas_dil_conv", config, &c)) {
        return NULL;
    }
    nas_module *m = nas_module_alloc(sizeof *m, nas__row_forward, "dil_conv");
    return nas__module_complete(m, m && add_separable(m, 0, &c, c.out, c.stride, c.dilation ? c.dilation : 2));
}

/* --- factorized reduce --------------------------------------------------------------------------- */
typedef struct factorized_reduce {
    nas_module base;
    nas_module *even, *odd, *bn;
} factorized_reduce;

nas_tensor *nas__factorized_forward(nas_module *self, nas_tensor *x) {
    factorized_reduce *f = (factorized_reduce *)self;
    bool row = nas_tensor_ndim(x) == 4 && nas_tensor_dim(x, 2) == 1;
    if (nas_tensor_ndim(x) != 4 || (!row && nas_tensor_dim(x, 2) % 2) || nas_tensor_dim(x, 3) % 2) {
        return nas__fail_null(NAS_SHAPE,
                              "nas_factorized_reduce: an image (N,C,H,W) with even height and width is needed, not %d "
                              "x %d (%d dimensions);"
                              " pad the input or reduce less often",
                              (int)nas_tensor_dim(x, 2), (int)nas_tensor_dim(x, 3), nas_tensor_ndim(x));
    }
    x = nas_relu(x);
    nas_tensor *halves[2] = {nas_forward(f->even, x), nas_forward(f->odd, nas_pad(x, row ? 0 : -1, 0, -1, 0))};
    return nas_forward(f->bn, nas_concat(2, halves, 1));
}

nas_module *nas_factorized_reduce_new(const nas_conv_config *config) {
    nas_conv_config c = *config;
    c.out = c.out ? c.out : c.in;
    if (c.in < 1 || c.out < 2 || c.out % 2) {
        return nas__fail_null(NAS_INVALID, "nas_factorized_reduce: .in %d must be positive and .out %d even", c.in,
                              c.out);
    }
    factorized_reduce *f = nas_module_alloc(sizeof *f, nas__factorized_forward, "factorized_reduce");
    if (!f) {
        return NULL;
    }
    f->even = nas_child(f, "conv1", nas_conv(.in = c.in, .out = c.out / 2, .kernel = 1, .stride = 2));
    f->odd = nas_child(f, "conv2", nas_conv(.in = c.in, .out = c.out / 2, .kernel = 1, .stride = 2));
    f->bn = nas_child(f, "bn", nas_bn(.channels = c.out, .affine = (nas_affine)c.affine));
    return nas__module_complete(f, f->even && f->odd && f->bn);
}
