/* signal1d.c - cells of one-dimensional convolutions, for sensors and audio: those of DARTS, along the time alone. A
 * signal is an image of one row. */
#include "space/spaces/cells.h"

#include "nn/module.h"
#include "tensor/tensor.h"

enum { LATER = NAS_AFFINE_WHEN_FIXED };

/* --- operations ------------------------------------------------------------------------------------------------ */
static nas_module *none(int channels, int stride) {
    (void)channels;
    return nas_none_new(stride);
}

static nas_module *skip(int channels, int stride) {
    return stride == 1 ? nas_identity_new() : nas_factorized_reduce(.in = channels, .affine = LATER);
}

/* Padding never wins and does not count, so that windows of three rows are windows of their middle one here. */
static nas_module *max_pool_3(int channels, int stride) {
    return nas_pool(.kind = NAS_POOL_MAX, .kernel = 3, .stride = stride, .padding = NAS_SAME, .channels = channels,
                    .bn_search_only = true);
}

static nas_module *avg_pool_3(int channels, int stride) {
    return nas_pool(.kind = NAS_POOL_AVG, .kernel = 3, .stride = stride, .padding = NAS_SAME, .channels = channels,
                    .bn_search_only = true);
}

static nas_module *conv(int kernel, int dilation, int channels, int stride) {
    return nas_relu_conv_bn(.in = channels, .out = channels, .kernel = 1, .kernel_w = kernel, .stride = stride,
                            .dilation = dilation, .affine = LATER);
}

static nas_module *conv_3(int channels, int stride) { return conv(3, 1, channels, stride); }

static nas_module *conv_5(int channels, int stride) { return conv(5, 1, channels, stride); }

static nas_module *conv_7(int channels, int stride) { return conv(7, 1, channels, stride); }

static nas_module *dil_conv_5(int channels, int stride) { return conv(5, 2, channels, stride); }

static nas_module *sep(int kernel, int channels, int stride) {
    return nas_sep_conv(.in = channels, .kernel = 1, .kernel_w = kernel, .stride = stride, .affine = LATER);
}

static nas_module *sep_conv_5(int channels, int stride) { return sep(5, channels, stride); }

static nas_module *sep_conv_9(int channels, int stride) { return sep(9, channels, stride); }

static const nas_cell_op ops[] = {
    {"none", none, NAS_CELL_ZERO},           {"skip_connect", skip, NAS_CELL_IDENTITY},
    {"max_pool_3", max_pool_3, NAS_CELL_OP}, {"avg_pool_3", avg_pool_3, NAS_CELL_OP},
    {"conv_3", conv_3, NAS_CELL_OP},         {"conv_5", conv_5, NAS_CELL_OP},
    {"conv_7", conv_7, NAS_CELL_OP},         {"dil_conv_5", dil_conv_5, NAS_CELL_OP},
    {"sep_conv_5", sep_conv_5, NAS_CELL_OP}, {"sep_conv_9", sep_conv_9, NAS_CELL_OP},
};

/* --- from the array to images of one row ------------------------------------------------------------------------ */
enum { LONG = 1024, REDUCTIONS = 4 /* two that halve */, LONG_STRIDE = 16 };

typedef struct stem {
    nas_module base;
    nas_module *layers;
    int64_t channels, length;
    int unit; /* the length is padded to a multiple of it */
} stem;

static nas_tensor *stem_forward(nas_module *self, nas_tensor *x) {
    stem *s = (stem *)self;
    int64_t n = nas_tensor_dim(x, 0);
    if (nas_tensor_count(x) != n * s->channels * s->length) {
        return nas__fail_null(NAS_SHAPE, "a batch of signals (N,%lld,%lld) is needed, not %s", (long long)s->channels,
                              (long long)s->length, nas__shape(x));
    }
    x = nas_reshape(x, NAS_DIMS(n, s->channels, 1, s->length));
    int right = (int)((s->unit - s->length % s->unit) % s->unit);
    return nas_forward(s->layers, right ? nas_pad(x, 0, 0, 0, right) : x);
}

/* Signals of 1,024 values and more are brought to a sixteenth first: their neighbours tell little new. */
static nas_module *layers_of(const stem *s, int out) {
    int in = (int)s->channels, half = out > 1 ? out / 2 : 1;
    return s->length < LONG
               ? nas_sequential(nas_conv(.in = in, .out = out, .kernel = 1, .kernel_w = 3), nas_bn(.channels = out))
               : nas_sequential(nas_conv_bn_relu(.in = in, .out = half, .kernel = 1, .kernel_w = 9, .stride = 4),
                                nas_conv(.in = half, .out = out, .kernel = 1, .kernel_w = 9, .stride = 4),
                                nas_bn(.channels = out));
}

/* What a data set calls channels and rows are the signal's channels; a row of a table is one signal. */
static nas_module *stem_new(const nas_space_config *config, int out) {
    stem *s = nas_module_new(stem, stem_forward);
    if (!s) {
        return NULL;
    }
    s->channels = config->width > 1 ? (int64_t)config->channels * config->height : 1;
    s->length = config->width > 1 ? config->width : (int64_t)config->channels * config->height;
    s->unit = s->length < LONG ? REDUCTIONS : REDUCTIONS * LONG_STRIDE;
    s->layers = nas_child(s, "layers", layers_of(s, out));
    return nas__module_complete(s, s->layers != NULL);
}

/* --- the space -------------------------------------------------------------------------------------------------- */
static const nas__cells cells = {.space = "signal1d",
                                 .ops = ops,
                                 .n_ops = sizeof ops / sizeof *ops,
                                 .wiring = NAS_CELL_EDGES,
                                 .merge = NAS_CELL_CONCAT,
                                 .stem = stem_new};

static nas_module *build(const nas_space_config *config, const void *options) {
    return nas__cells_new(&cells, config, options);
}

static const nas_option options_table[] = {
    NAS__CELLS_CHANNELS("16"),
    {"cells", NAS_OPTION_INT, offsetof(nas__cells_options, layers), "6", 1, 64, NULL,
     "the ones at a third and two thirds reduce"},
    NAS__CELLS_NODES("3"),
    NAS__CELLS_STEM("2"),
    {NULL},
};

const nas_space_info nas__space_signal1d = {
    .name = "signal1d",
    .summary =
        "signals of sensors and audio: cells of 1-D convolutions, ten operations on every edge, two inputs per node",
    .paper = NULL,
    .options = options_table,
    .options_size = sizeof(nas__cells_options),
    .smallest = 1,
    .build = build,
    .canonical = nas__cells_string,
    .parse = nas__cells_parse,
};
