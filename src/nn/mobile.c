/* mobile.c - the blocks of networks for small devices: inverted residuals (MobileNetV2, Sandler et al., CVPR 2018; with
 * groups and a channel shuffle: FBNet, Wu et al., CVPR 2019) and squeeze-and-excite (Hu et al., CVPR 2018). */
#include "nn/layers.h"

#include "core/error.h"

#include <math.h>

/* --- squeeze and excite ----------------------------------------------------------------------------- */
typedef struct squeeze_excite {
    nas_module base;
    nas_module *reduce, *expand;
} squeeze_excite;

static nas_tensor *squeeze_forward(nas_module *self, nas_tensor *x) {
    squeeze_excite *s = (squeeze_excite *)self;
    nas_tensor *hidden = nas_relu(nas_forward(s->reduce, nas_global_avg_pool(x)));
    return nas_mul(x, nas_hard_sigmoid(nas_forward(s->expand, hidden)));
}

nas_module *nas_squeeze_excite_new(int channels, int reduced) {
    if (channels < 1 || reduced < 1) {
        return nas__fail_null(NAS_INVALID, "nas_squeeze_excite: %d channels and %d reduced ones must be positive",
                              channels, reduced);
    }
    squeeze_excite *s = nas_module_alloc(sizeof *s, squeeze_forward, "squeeze and excite");
    if (!s) {
        return NULL;
    }
    s->reduce = nas_child(s, "reduce", nas_dense(.in = channels, .out = reduced));
    s->expand = nas_child(s, "expand", nas_dense(.in = reduced, .out = channels));
    return nas__module_complete(s, s->reduce && s->expand);
}

/* --- channel shuffle ---------------------------------------------------------------------------------- */
typedef struct shuffle {
    nas_module base;
    int groups;
} shuffle;

static nas_tensor *shuffle_forward(nas_module *self, nas_tensor *x) {
    return nas_channel_shuffle(x, ((shuffle *)self)->groups);
}

static nas_module *shuffle_new(int groups) {
    shuffle *s = nas_module_alloc(sizeof *s, shuffle_forward, "channel shuffle");
    if (s) {
        s->groups = groups;
    }
    return (nas_module *)s;
}

/* --- inverted residuals --------------------------------------------------------------------------------- */
typedef struct inverted {
    nas_module base;
    nas_module *body;
    bool shortcut;
} inverted;

static nas_tensor *inverted_forward(nas_module *self, nas_tensor *x) {
    inverted *b = (inverted *)self;
    nas_tensor *y = nas_forward(b->body, x);
    return b->shortcut ? nas_add(x, y) : y;
}

int nas_round_channels(double channels, int multiple) {
    int rounded = (int)(channels + multiple / 2.0) / multiple * multiple;
    rounded = rounded < multiple ? multiple : rounded;
    return rounded < 0.9 * channels ? rounded + multiple : rounded;
}

static bool add_norm(nas_module *row, const char *name, int channels, const nas_mbconv_config *c, bool relu) {
    return nas_child(row, name,
                     nas_bn(.channels = channels, .affine = c->affine, .momentum = c->bn_momentum, .eps = c->bn_eps,
                            .relu = relu)) != NULL;
}

/* Batch norm and the activation; ReLU is done in batch norm's own pass. */
static bool add_active(nas_module *row, const char *norm, const char *active, int channels,
                       const nas_mbconv_config *c) {
    bool relu = c->activation == NAS_RELU;
    return add_norm(row, norm, channels, c, relu) &&
           (relu || nas_child(row, active, nas_activation_new(c->activation)));
}

static bool add_expansion(nas_module *row, int wide, const nas_mbconv_config *c) {
    return nas_child(row, "expand", nas_conv(.in = c->in, .out = wide, .kernel = 1, .groups = c->groups)) &&
           add_active(row, "expand_bn", "expand_act", wide, c) &&
           (c->groups < 2 || nas_child(row, "shuffle", shuffle_new(c->groups)));
}

static nas_module *body_new(int wide, const nas_mbconv_config *c) {
    nas_module *row = nas_module_alloc(sizeof *row, nas__row_forward, "row");
    bool complete =
        row && ((wide == c->in && !c->always_expand) || add_expansion(row, wide, c)) &&
        nas_child(row, "depthwise",
                  nas_conv(.in = wide, .out = wide, .kernel = c->kernel, .stride = c->stride, .groups = wide)) &&
        add_active(row, "depthwise_bn", "depthwise_act", wide, c) &&
        (!c->squeeze ||
         nas_child(row, "squeeze", nas_squeeze_excite_new(wide, nas_round_channels((double)wide / c->squeeze, 8)))) &&
        nas_child(row, "project", nas_conv(.in = wide, .out = c->out, .kernel = 1, .groups = c->groups)) &&
        add_norm(row, "project_bn", c->out, c, false);
    return nas__module_complete(row, complete);
}

nas_module *nas_mbconv_new(const nas_mbconv_config *config) {
    nas_mbconv_config c = *config;
    c.out = c.out ? c.out : c.in;
    c.stride = c.stride ? c.stride : 1;
    int wide = (int)lround(c.in * (c.expansion > 0 ? c.expansion : 1));
    if (c.in < 1 || c.out < 1 || c.kernel < 1 || c.stride < 1 || c.groups < 0 || c.squeeze < 0 || c.expansion < 0 ||
        wide < 1) {
        return nas__fail_null(NAS_INVALID,
                              "nas_mbconv: .in %d and .kernel %d must be given and positive; .out %d, .stride %d, "
                              ".groups %d, .squeeze %d and .expansion %g not negative",
                              c.in, c.kernel, c.out, c.stride, c.groups, c.squeeze, c.expansion);
    }
    inverted *b = nas_module_alloc(sizeof *b, inverted_forward, "mbconv");
    if (!b) {
        return NULL;
    }
    b->shortcut = c.stride == 1 && c.in == c.out && !c.no_shortcut;
    b->body = nas_child(b, "body", body_new(wide, &c));
    return nas__module_complete(b, b->body != NULL);
}
