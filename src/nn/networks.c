/* networks.c - well-known networks for small images: what a found network is compared with, and what the benchmark
 * trains beside the search spaces. */
#include "nn/layers.h"

#include "core/error.h"

#include <stdio.h>

/* A child whose name is the text of `number`, as in a row of modules. */
static nas_module *numbered(nas_module *parent, int number, nas_module *child) {
    char name[16];
    snprintf(name, sizeof name, "%d", number);
    return nas_child(parent, name, child);
}

/* --- residual networks (He et al. 2016) -------------------------------------------------------------- */
typedef struct residual_block {
    nas_module base;
    nas_module *first, *second, *shortcut; /* shortcut: NULL where the shapes are equal */
} residual_block;

static nas_tensor *residual_forward(nas_module *self, nas_tensor *x) {
    residual_block *b = (residual_block *)self;
    nas_tensor *y = nas_forward(b->second, nas_forward(b->first, x));
    return nas_relu(nas_add(y, b->shortcut ? nas_forward(b->shortcut, x) : x));
}

static nas_module *conv_bn(int in, int out, int kernel, int stride) {
    return nas_sequential(nas_conv(.in = in, .out = out, .kernel = kernel, .stride = stride), nas_bn(.channels = out));
}

static nas_module *residual_new(int in, int out, int stride) {
    residual_block *b = nas_module_alloc(sizeof *b, residual_forward, "residual block");
    if (!b) {
        return NULL;
    }
    bool projected = stride > 1 || in != out;
    b->first = nas_child(b, "first", nas_conv_bn_relu(.in = in, .out = out, .kernel = 3, .stride = stride));
    b->second = nas_child(b, "second", conv_bn(out, out, 3, 1));
    b->shortcut = projected ? nas_child(b, "shortcut", conv_bn(in, out, 1, stride)) : NULL;
    return nas__module_complete(b, b->first && b->second && (b->shortcut || !projected));
}

static bool fits(const char *what, int channels, int outputs) {
    if (channels < 1 || outputs < 1) {
        return nas__fail_null(NAS_INVALID, "%s: %d channels and %d outputs must be positive", what, channels, outputs);
    }
    return true;
}

static bool add_classifier(nas_module *m, int in, int outputs) {
    return nas_child(m, "pool", nas_pool(.kind = NAS_POOL_GLOBAL)) &&
           nas_child(m, "classifier", nas_dense(.in = in, .out = outputs));
}

nas_module *nas_resnet18_new(int channels, int outputs) {
    nas_module *m =
        fits("nas_resnet18_new", channels, outputs) ? nas_module_alloc(sizeof *m, nas__row_forward, "resnet18") : NULL;
    nas_module *blocks = m && nas_child(m, "stem", nas_conv_bn_relu(.in = channels, .out = 64, .kernel = 3))
                             ? nas_child(m, "blocks", nas_module_alloc(sizeof *m, nas__row_forward, "blocks"))
                             : NULL;
    bool complete = blocks != NULL;
    for (int i = 0, in = 64; complete && i < 8; i++) {
        int out = 64 << i / 2;
        complete = numbered(blocks, i, residual_new(in, out, i % 2 == 0 && i > 0 ? 2 : 1)) != NULL;
        in = out;
    }
    return nas__module_complete(m, complete && add_classifier(m, 512, outputs));
}

/* --- inverted residuals (Sandler et al. 2018) --------------------------------------------------------- */
typedef struct inverted_block {
    nas_module base;
    nas_module *body;
    bool residual;
} inverted_block;

static nas_tensor *inverted_forward(nas_module *self, nas_tensor *x) {
    inverted_block *b = (inverted_block *)self;
    nas_tensor *y = nas_forward(b->body, x);
    return b->residual ? nas_add(x, y) : y;
}

static nas_module *conv_bn_relu6(int in, int out, int kernel, int stride, int groups) {
    return nas_sequential(nas_conv(.in = in, .out = out, .kernel = kernel, .stride = stride, .groups = groups),
                          nas_bn(.channels = out), nas_activation_new(NAS_RELU6));
}

static nas_module *inverted_body(int in, int out, int stride, int expansion) {
    int wide = in * expansion;
    nas_module *depthwise = conv_bn_relu6(wide, wide, 3, stride, wide), *project = conv_bn(wide, out, 1, 1);
    return expansion == 1 ? nas_sequential(depthwise, project)
                          : nas_sequential(conv_bn_relu6(in, wide, 1, 1, 1), depthwise, project);
}

static nas_module *inverted_new(int in, int out, int stride, int expansion) {
    inverted_block *b = nas_module_alloc(sizeof *b, inverted_forward, "inverted residual");
    if (!b) {
        return NULL;
    }
    b->residual = stride == 1 && in == out;
    b->body = nas_child(b, "body", inverted_body(in, out, stride, expansion));
    return nas__module_complete(b, b->body != NULL);
}

nas_module *nas_mobilenetv2_new(int channels, int outputs) {
    /* expansion, channels, blocks, stride of the first: the paper's table 2, but with stride 1 where images of 32
     * pixels would lose too much (the stem and the second row), as is usual for CIFAR */
    static const int rows[][4] = {{1, 16, 1, 1}, {6, 24, 2, 1},  {6, 32, 3, 2}, {6, 64, 4, 2},
                                  {6, 96, 3, 1}, {6, 160, 3, 2}, {6, 320, 1, 1}};
    nas_module *m = fits("nas_mobilenetv2_new", channels, outputs)
                        ? nas_module_alloc(sizeof *m, nas__row_forward, "mobilenetv2")
                        : NULL;
    nas_module *blocks = m && nas_child(m, "stem", conv_bn_relu6(channels, 32, 3, 1, 1))
                             ? nas_child(m, "blocks", nas_module_alloc(sizeof *m, nas__row_forward, "blocks"))
                             : NULL;
    bool complete = blocks != NULL;
    int in = 32, number = 0;
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        for (int i = 0; complete && i < rows[r][2]; i++) {
            nas_module *block = inverted_new(in, rows[r][1], i == 0 ? rows[r][3] : 1, rows[r][0]);
            complete = numbered(blocks, number++, block) != NULL;
            in = rows[r][1];
        }
    }
    complete = complete && nas_child(m, "last", conv_bn_relu6(in, 1280, 1, 1, 1));
    return nas__module_complete(m, complete && add_classifier(m, 1280, outputs));
}
