/* table.c - the built-in spaces, and the parts that they share. */
#include "space/spaces/spaces.h"

#include "tensor/tensor.h"

#include <stdlib.h>
#include <string.h>

static const nas_space_info *const table[] = {
    &nas__space_chain,       &nas__space_nb201,      &nas__space_darts,
    &nas__space_superkernel, &nas__space_mobilenet,  &nas__space_fbnet,
    &nas__space_mobilenetv3, &nas__space_shufflenet, &nas__space_macro,
    &nas__space_nasnet,      &nas__space_amoebanet,  &nas__space_pnas,
    &nas__space_signal1d,    &nas__space_enas_macro, &nas__space_enas_micro,
    &nas__space_smash,       &nas__space_bender,     NULL,
};

const nas_space_info *const *nas_spaces(void) { return table; }

const nas_space_info *nas_space_info_find(const char *name) {
    enum { COUNT = sizeof table / sizeof *table - 1 };
    const char *names[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        names[i] = table[i]->name;
        if (name && strcmp(name, names[i]) == 0) {
            return table[i];
        }
    }
    const char *nearest = name ? nas__nearest(name, names, COUNT, sizeof *names) : NULL;
    return nas__fail_null(NAS_NOT_FOUND, "unknown space \"%s\"; %s \"%s\"", name ? name : "",
                          nearest ? "did you mean" : "the first of them is", nearest ? nearest : names[0]);
}

static nas_space_config with_defaults(const nas_space_config *config) {
    nas_space_config c = config ? *config : (nas_space_config){0};
    c.channels = c.channels ? c.channels : 1;
    c.height = c.height ? c.height : 28;
    c.width = c.width ? c.width : 28;
    c.outputs = c.outputs ? c.outputs : 10;
    return c;
}

enum { SMALLEST_IMAGE = 8 };

nas_module *nas_space_build(const char *name, const nas_space_config *config) {
    const nas_space_info *info = nas_space_info_find(name);
    nas_space_config c = with_defaults(config);
    if (!info) {
        return NULL;
    }
    int smallest = info->smallest ? info->smallest : SMALLEST_IMAGE;
    if (c.channels < 1 || c.height < smallest || c.width < smallest || c.outputs < 1) {
        return nas__fail_null(NAS_INVALID,
                              "space \"%s\": an image of %dx%dx%d and %d outputs do not fit; it needs %dx%d pixels at "
                              "least (the space chain takes any size, signal1d any length)",
                              name, c.channels, c.height, c.width, c.outputs, smallest, smallest);
    }
    if (c.options) {
        return info->build(&c, c.options);
    }
    void *options = nas__alloc(info->options_size);
    nas_module *model = options && !nas_options_default(info->options, options) ? info->build(&c, options) : NULL;
    free(options);
    return model;
}

/* --- shared parts --------------------------------------------------------------------------------------- */
enum { LARGE_IMAGE = 96 };

nas_module *nas__stem(const nas_space_config *config, int out) {
    if (config->height < LARGE_IMAGE && config->width < LARGE_IMAGE) {
        return nas_sequential(nas_conv(.in = config->channels, .out = out, .kernel = 3), nas_bn(.channels = out));
    }
    int half = out > 1 ? out / 2 : 1;
    return nas_sequential(nas_conv_bn_relu(.in = config->channels, .out = half, .kernel = 3, .stride = 2),
                          nas_conv_bn_relu(.in = half, .out = out, .kernel = 3, .stride = 2),
                          nas_conv(.in = out, .out = out, .kernel = 3, .stride = 2), nas_bn(.channels = out));
}

/* Rows of a table are images of one pixel, matrices are images of one channel. */
static nas_tensor *as_images(nas_tensor *x) {
    return x && x->ndim == 2   ? nas_reshape(x, NAS_DIMS(x->dims[0], x->dims[1], 1, 1))
           : x && x->ndim == 3 ? nas_reshape(x, NAS_DIMS(x->dims[0], 1, x->dims[1], x->dims[2]))
                               : x;
}

nas_tensor *nas__pad_image(nas_tensor *x, int multiple) {
    x = as_images(x);
    if (!x || x->ndim != 4) {
        return nas__fail_null(NAS_SHAPE, "a batch of images (N,C,H,W) is needed%s%s", x ? ", not " : "",
                              x ? nas__shape(x) : "");
    }
    int64_t height = x->dims[2], width = x->dims[3];
    int64_t unit = multiple * (height < LARGE_IMAGE && width < LARGE_IMAGE ? 1 : 8);
    int bottom = (int)((unit - height % unit) % unit), right = (int)((unit - width % unit) % unit);
    return bottom || right ? nas_pad(x, 0, bottom, 0, right) : x;
}

nas_module *nas__head(int in, int outputs) {
    return nas_sequential(nas_pool(.kind = NAS_POOL_GLOBAL), nas_dense(.in = in, .out = outputs));
}

const char *nas__chosen_name(const nas_architecture *a, const char *key) {
    int choice = nas_space_find(a->space, key);
    return choice < 0 ? "?" : a->space->choices[choice].public_.names[__builtin_ctzll(a->bits[choice])];
}
