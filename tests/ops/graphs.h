/* graphs.h - graphs that make tensors of every late kind, and their parameters. */
#ifndef TESTS_OPS_GRAPHS_H
#define TESTS_OPS_GRAPHS_H

#include "tape_fixture.h"

enum { MOST = 24 };

/* Parameters are made the first time that a graph asks for them, in its order. */
typedef struct graph {
    nas_tensor *parameters[MOST];
    int n, used;
    bool computed;  /* everything at once */
    bool recompute; /* what may be forgotten is */
} graph;

static nas_tensor *parameter(graph *g, nas_role role, int ndim, const int64_t *dims) {
    if (g->used == g->n) {
        assert_true(g->n < MOST);
        g->parameters[g->n] = random_variable((uint64_t)g->n + 11, role, ndim, dims);
        g->n++;
    }
    return g->parameters[g->used++];
}

static nas_tensor *node(graph *g, nas_tensor *x) { return g->computed ? nas_retain(x) : x; }

static nas_tensor *norm(graph *g, nas_tensor *x, bool affine) {
    int64_t c = nas_tensor_dim(x, 1);
    nas_bn_state s = {0};
    if (affine) {
        s.gamma = parameter(g, NAS_ROLE_WEIGHT, 1, &c);
        s.beta = parameter(g, NAS_ROLE_WEIGHT, 1, &c);
    }
    return node(g, nas_batch_norm(x, &s));
}

static nas_tensor *conv(graph *g, nas_tensor *x, int out, int kernel, nas_conv_args args) {
    int64_t groups = args.groups ? args.groups : 1;
    nas_tensor *w = parameter(g, NAS_ROLE_WEIGHT, NAS_DIMS(out, nas_tensor_dim(x, 1) / groups, kernel, kernel));
    return node(g, nas_conv2d(x, w, NULL, args));
}

static nas_tensor *separable(graph *g, nas_tensor *x, int out, int kernel, int stride, int dilation) {
    int c = (int)nas_tensor_dim(x, 1);
    x = conv(g, x, c, kernel,
             (nas_conv_args){.stride = stride, .padding = NAS_SAME, .dilation = dilation, .groups = c});
    return conv(g, x, out, 1, (nas_conv_args){0});
}

/* --- the graphs: from an image (2,C,H,W) --------------------------------------------------------------- */
static nas_tensor *sep_conv(graph *g, nas_tensor *x) {
    x = norm(g, separable(g, node(g, nas_relu(x)), 24, 5, 2, 1), false);
    return norm(g, separable(g, node(g, nas_relu(x)), 20, 3, 1, 2), true);
}

static nas_tensor *inverted_residual(graph *g, nas_tensor *x) {
    int c = (int)nas_tensor_dim(x, 1);
    nas_tensor *y = node(g, nas_relu6(norm(g, conv(g, x, 40, 1, (nas_conv_args){0}), true)));
    y = conv(g, y, 40, 3, (nas_conv_args){.padding = 1, .groups = 40});
    y = conv(g, node(g, nas_relu6(norm(g, y, true))), c, 1, (nas_conv_args){0});
    return node(g, nas_add(x, norm(g, y, true)));
}

/* As in FBNet and MobileNetV3: grouped 1x1 convolutions with a shuffle, and squeeze-and-excite. */
static nas_tensor *grouped_residual(graph *g, nas_tensor *x) {
    int c = (int)nas_tensor_dim(x, 1), wide = 2 * c, groups = 2;
    nas_tensor *y = node(g, nas_relu(norm(g, conv(g, x, wide, 1, (nas_conv_args){.groups = groups}), true)));
    y = node(g, nas_channel_shuffle(y, groups));
    y = conv(g, y, wide, 5, (nas_conv_args){.padding = 2, .groups = wide});
    y = node(g, nas_hard_swish(norm(g, y, true)));
    nas_tensor *means = node(g, nas_global_avg_pool(y));
    nas_tensor *fc = parameter(g, NAS_ROLE_WEIGHT, NAS_DIMS(wide, wide));
    y = node(g, nas_mul(y, node(g, nas_hard_sigmoid(nas_linear(means, fc, NULL)))));
    y = norm(g, conv(g, y, c, 1, (nas_conv_args){.groups = groups}), true);
    return node(g, nas_add(x, y));
}

/* As in ShuffleNetV2: one half of the channels passes. */
static nas_tensor *parted(graph *g, nas_tensor *x) {
    nas_tensor *part[2];
    int half = (int)nas_tensor_dim(x, 1) / 2;
    nas_split_even_odd(x, part);
    nas_tensor *y = node(g, nas_relu(norm(g, conv(g, node(g, part[1]), 12, 1, (nas_conv_args){0}), false)));
    y = norm(g, conv(g, y, 12, 3, (nas_conv_args){.padding = 1, .groups = 12}), false);
    y = node(g, nas_relu(norm(g, conv(g, y, half, 1, (nas_conv_args){0}), false)));
    y = node(g, nas_concat(2, (nas_tensor *[]){node(g, part[0]), y}, 1));
    nas_split_even_odd(y, part);
    return node(g, nas_concat(2, (nas_tensor *[]){part[1], node(g, nas_relu(norm(g, part[0], true)))}, 1));
}

/* Three halvings in a row of what comes late from both sides, and a norm without a ReLU. */
static nas_tensor *parted_again(graph *g, nas_tensor *x) {
    nas_tensor *part[2] = {x, x};
    int c = (int)nas_tensor_dim(x, 1);
    for (int i = 0; i < 3; i++) {
        nas_tensor *y = norm(g, conv(g, part[1], c, 1, (nas_conv_args){0}), false);
        nas_tensor *passes = i ? part[0] : node(g, nas_relu6(norm(g, conv(g, x, c, 1, (nas_conv_args){0}), true)));
        y = node(g, nas_concat(2, (nas_tensor *[]){passes, i == 1 ? y : node(g, nas_relu(y))}, 1));
        nas_split_even_odd(y, part);
    }
    return node(g, nas_add(part[0], part[1]));
}

static nas_tensor *residual(graph *g, nas_tensor *x) {
    int c = (int)nas_tensor_dim(x, 1);
    nas_tensor *y = node(g, nas_relu(norm(g, conv(g, x, c, 3, (nas_conv_args){.padding = 1}), true)));
    y = norm(g, conv(g, y, c, 3, (nas_conv_args){.padding = 1}), true);
    return node(g, nas_relu(node(g, nas_add(x, y))));
}

static nas_tensor *mixed(graph *g, nas_tensor *x) {
    enum { N = 6 };
    int c = (int)nas_tensor_dim(x, 1), h = (int)nas_tensor_dim(x, 2), w = (int)nas_tensor_dim(x, 3);
    nas_pool_args pool = {.kernel = 3, .stride = 1, .padding = 1};
    nas_tensor *relu = node(g, nas_relu(x)), *candidates[N] = {
                                                 nas_zero(4, (int64_t[]){2, c, h, w}),
                                                 norm(g, node(g, nas_max_pool(x, pool)), false),
                                                 norm(g, node(g, nas_avg_pool(x, pool)), false),
                                                 x,
                                                 norm(g, separable(g, relu, c, 3, 1, 2), false),
                                                 norm(g, conv(g, relu, c, 3, (nas_conv_args){.padding = 1}), false),
                                             };
    nas_tensor *alpha = parameter(g, NAS_ROLE_ARCH, NAS_DIMS(N));
    return node(g, nas_weighted_sum(nas_softmax(alpha), N, candidates));
}

/* A cell: the second node adds up two mixed operations, of which one reads the first node. */
static nas_tensor *cell(graph *g, nas_tensor *x) {
    nas_tensor *first = mixed(g, x), *edges[] = {mixed(g, x), mixed(g, first)};
    nas_tensor *second = node(g, nas_sum_of(2, edges));
    return node(g, nas_concat(2, (nas_tensor *[]){first, second}, 1));
}

/* What reads a cell's output: a factorized reduction and a 1x1 convolution, through one ReLU. */
static nas_tensor *preprocessing(graph *g, nas_tensor *x) {
    int64_t c = nas_tensor_dim(x, 1), h = nas_tensor_dim(x, 2) / 2 * 2, w = nas_tensor_dim(x, 3) / 2 * 2;
    nas_tensor *even = node(g, nas_pad(x, 0, (int)(h - nas_tensor_dim(x, 2)), 0, (int)(w - nas_tensor_dim(x, 3))));
    nas_tensor *nodes[] = {norm(g, separable(g, even, (int)c, 3, 1, 1), false), even, node(g, nas_relu(even))};
    nas_tensor *all = node(g, nas_relu(node(g, nas_concat(3, nodes, 1))));
    nas_conv_args half = {.stride = 2};
    nas_tensor *halves[] = {conv(g, all, 9, 1, half), conv(g, node(g, nas_pad(all, -1, 0, -1, 0)), 9, 1, half)};
    nas_tensor *reduced = norm(g, node(g, nas_concat(2, halves, 1)), false);
    nas_tensor *same = norm(g, conv(g, all, 18, 1, (nas_conv_args){0}), true);
    return node(g, nas_sum_of(2, (nas_tensor *[]){reduced, node(g, nas_avg_pool(same, (nas_pool_args){.kernel = 2}))}));
}

/* Late tensors that are looked behind, and computed as well. */
static nas_tensor *read_twice(graph *g, nas_tensor *x) {
    int c = (int)nas_tensor_dim(x, 1);
    nas_tensor *normal = norm(g, x, true), *relu = node(g, nas_relu(normal));
    nas_tensor *deep = conv(g, relu, c, 3, (nas_conv_args){.padding = 1, .groups = c});
    nas_tensor *both[] = {conv(g, deep, 18, 1, (nas_conv_args){0}), conv(g, deep, 18, 1, (nas_conv_args){0})};
    nas_tensor *more[] = {node(g, nas_swish(deep)), relu,
                          node(g, nas_max_pool(normal, (nas_pool_args){.kernel = 3, .stride = 1, .padding = 1})),
                          normal};
    nas_tensor *sum = node(g, nas_sum_of(2, both)), *rest = node(g, nas_sum_of(4, more));
    return node(g, nas_concat(3, (nas_tensor *[]){sum, rest, norm(g, norm(g, rest, false), true)}, 1));
}

/* Late tensors of each kind, and those who know nothing of them. */
static nas_tensor *computed_late(graph *g, nas_tensor *x) {
    int c = (int)nas_tensor_dim(x, 1);
    nas_tensor *factor = parameter(g, NAS_ROLE_WEIGHT, 1, (int64_t[]){1});
    nas_tensor *normal = norm(g, x, true), *pool = node(g, nas_max_pool(normal, (nas_pool_args){3, 1, 1, false}));
    nas_tensor *list[] = {
        node(g, nas_scale(norm(g, x, false), 0.5f)),
        node(g, nas_mul(node(g, nas_relu(normal)), factor)),
        node(g, nas_slice(node(g, nas_add(normal, pool)), 1, 0, c)),
        node(g, nas_sub(node(g, nas_relu6(pool)), node(g, nas_tanh(pool)))),
        node(g, nas_mul(conv(g, normal, c, 3, (nas_conv_args){.padding = 1, .groups = c}), norm(g, pool, false))),
        node(g, nas_relu(node(g, nas_relu(norm(g, normal, false))))),
    };
    nas_tensor *sum = node(g, nas_sum_of(6, list)), *wide = node(g, nas_concat(2, (nas_tensor *[]){sum, normal}, 1));
    nas_tensor *part = node(g, nas_slice(node(g, nas_pad(wide, -1, 0, 0, -1)), 1, 1, c));
    return node(g, nas_relu(norm(g, node(g, nas_mul(part, factor)), true)));
}

typedef nas_tensor *(*build_fn)(graph *, nas_tensor *);

/* The loss of two images with c channels after the first convolution. */
static nas_tensor *loss_of(graph *g, build_fn build, nas_tensor *images, int64_t c) {
    g->used = 0;
    nas_tensor *x = conv(g, images, (int)c, 3, (nas_conv_args){.padding = 1});
    nas_tensor *y = nas_global_avg_pool(build(g, x));
    nas_tensor *fc = parameter(g, NAS_ROLE_WEIGHT, NAS_DIMS(3, nas_tensor_dim(y, 1)));
    return nas_cross_entropy(nas_linear(y, fc, NULL), nas_input(NAS_DIMS(2), (float[]){1, 2}));
}

#endif
