/* controller_spaces.h - small spaces whose networks compute next to nothing, for tests of policies over architectures.
 */
#ifndef TESTS_SEARCH_CONTROLLER_SPACES_H
#define TESTS_SEARCH_CONTROLLER_SPACES_H

#include "support.h"

#include <espalier/space.h>
#include <stdio.h>

typedef struct tiny {
    nas_module base;
    nas_mutable *inputs;
} tiny;

static inline nas_tensor *tiny_forward(nas_module *self, nas_tensor *x) {
    (void)self;
    return x;
}

/* A layer choice of n identities called a, b, c, ... */
static inline nas_module *identities(void *owner, const char *key, int n) {
    static const char *const names[] = {"a", "b", "c", "d"};
    nas_candidate candidates[4];
    for (int k = 0; k < n; k++) {
        candidates[k] = (nas_candidate){names[k], nas_identity_new()};
    }
    return nas_layer_choice(owner, key, n, candidates);
}

static inline void add_layer(tiny *t, const char *key, int n) {
    assert_non_null(nas_child(t, key, identities(t, key, n)));
}

/* The macro space of ENAS with two layers of three operations: 3 * 3 * 2 = 18 architectures. */
static inline nas_module *macro_model(void) {
    tiny *t = nas_module_new(tiny, tiny_forward);
    add_layer(t, "layer_1", 3);
    add_layer(t, "layer_2", 3);
    t->inputs = nas_input_choice(t, "skip", .names = (const char *[]){"layer_1"}, .n_candidates = 1);
    assert_non_null(t->inputs);
    return &t->base;
}

/* A cell of two nodes: the first takes one of two inputs, the second two of three (the third is the first node); two
 * operations on every edge. 2 * 2 * 3 sets * 2 * 2 = 48 architectures. */
static inline nas_module *cell_model(void) {
    tiny *t = nas_module_new(tiny, tiny_forward);
    static const char *const edges[2][3] = {{"edge_2_0", "edge_2_1"}, {"edge_3_0", "edge_3_1", "edge_3_2"}};
    static const char *const keys[2] = {"node_2", "node_3"};
    for (int node = 0; node < 2; node++) {
        for (int from = 0; from < node + 2; from++) {
            add_layer(t, edges[node][from], 2);
        }
        t->inputs = nas_input_choice(t, keys[node], .names = edges[node], .n_candidates = node + 2,
                                     .n_chosen = node + 1, .edges = edges[node]);
        assert_non_null(t->inputs);
    }
    return &t->base;
}

/* A value, one to two of three inputs, and a choice nested in the second candidate of another: 2 * 6 * (1 + 3) = 48. */
static inline nas_module *mixed_model(void) {
    tiny *t = nas_module_new(tiny, tiny_forward);
    tiny *inner = nas_module_new(tiny, tiny_forward);
    add_layer(inner, "inner", 3);
    const nas_candidate candidates[] = {{"plain", nas_identity_new()}, {"nested", &inner->base}};
    assert_non_null(nas_child(t, "outer", nas_layer_choice(t, "outer", 2, candidates)));
    assert_non_null(nas_value_choice(t, "width", 2, ((const double[]){8, 16})));
    t->inputs = nas_input_choice(t, "inputs", .n_candidates = 3, .n_min = 1, .n_max = 2);
    assert_non_null(t->inputs);
    return &t->base;
}

/* The macro space as the built-in one is made: three layers of two operations, whose skips are those of layers side by
 * side: 2^3 * 2^(1 + 2) = 64 architectures. */
static inline nas_module *skips_model(void) {
    tiny *t = nas_module_new(tiny, tiny_forward);
    static const char *const ops[] = {"layer_1", "layer_2", "layer_3"}, *const sums[] = {"sum_1", "sum_2", "sum_3"},
                             *const skips[] = {"", "layer_2/skips", "layer_3/skips"}, *const states[] = {"stem", "one"};
    for (int l = 0; l < 3; l++) {
        add_layer(t, ops[l], 2);
        tiny *sum = l ? nas_module_new(tiny, tiny_forward) : NULL;
        if (sum) {
            sum->inputs = nas_input_choice(sum, skips[l], .names = states, .n_candidates = l);
            assert_non_null(sum->inputs);
            assert_non_null(nas_child(t, sums[l], &sum->base));
        }
    }
    return &t->base;
}

static inline nas_module *identity_op(int channels, int stride) {
    (void)channels;
    (void)stride;
    return nas_identity_new();
}

/* A micro cell of two nodes of two terms each: (2 * 2)^2 * (3 * 2)^2 = 576 architectures. */
static inline nas_module *terms_model(void) {
    static const nas_cell_op ops[] = {{"sep_conv", identity_op, NAS_CELL_OP}, {"pool", identity_op, NAS_CELL_OP}};
    tiny *t = nas_module_new(tiny, tiny_forward);
    assert_non_null(nas_child(t, "cell",
                              nas_cell(.ops = ops, .n_ops = 2, .channels = 2, .n_inputs = 2, .nodes = 2, .in = {2, 2},
                                       .preprocess = {NAS_CELL_AS_IS, NAS_CELL_AS_IS}, .wiring = NAS_CELL_SLOTS,
                                       .banks = true, .merge = NAS_CELL_UNREAD)));
    return &t->base;
}

#endif
