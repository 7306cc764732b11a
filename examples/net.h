/* net.h - a network with two choices inside, written once: train.c searches it, retrain.c trains what was found. */
#ifndef NET_H
#define NET_H

#include <espalier/espalier.h>

/* A network is a struct that begins with a nas_module. The layers it is made of are its children and belong to it. */
struct net {
    nas_module base;
    nas_module *stem, *conv, *head;
    nas_mutable *skip;
};

/* The forward pass reads like mathematics: there is no check per line, because NULL passes through and the first error
 * is kept. */
static nas_tensor *net_forward(nas_module *self, nas_tensor *x) {
    struct net *n = (struct net *)self;
    nas_tensor *a = nas_forward(n->stem, x);
    nas_tensor *b = nas_forward(n->conv, a);                                     /* a layer choice is a module */
    return nas_forward(n->head, nas_choose(n->skip, 2, (nas_tensor *[]){a, b})); /* an input choice picks tensors */
}

/* For grey images of 28x28 pixels and ten classes. NULL and an error when something does not fit. */
static nas_module *net_new(void) {
    struct net *n = nas_module_new(struct net, net_forward);
    if (!n) {
        return NULL;
    }
    n->stem = nas_child(
        n, "stem",
        nas_sequential(nas_conv_bn_relu(.in = 1, .out = 16, .kernel = 3), nas_pool(.kind = NAS_POOL_MAX, .kernel = 2)));
    /* Which layer? All candidates take and give the same shape. The key and the names are what the JSON file will say.
     */
    n->conv = nas_child(n, "conv",
                        nas_layer_choice(n, "LayerChoice1", 3,
                                         ((nas_candidate[]){
                                             {"conv3x3", nas_conv_bn_relu(.in = 16, .out = 16, .kernel = 3)},
                                             {"conv5x5", nas_conv_bn_relu(.in = 16, .out = 16, .kernel = 5)},
                                             {"sep5x5", nas_sep_conv(.in = 16, .out = 16, .kernel = 5)},
                                         })));
    /* From where does the head read: from the stem, past that layer, or from the layer? */
    n->skip = nas_input_choice(n, "InputChoice2", .names = (const char *[]){"layer1", "layer2"}, .n_candidates = 2,
                               .n_chosen = 1, .reduce = NAS_SUM);
    n->head = nas_child(n, "head",
                        nas_sequential(nas_conv_bn_relu(.in = 16, .out = 32, .kernel = 3, .stride = 2),
                                       nas_pool(.kind = NAS_POOL_GLOBAL), nas_dense(.in = 32, .out = 10)));
    if (nas_error_status()) { /* asked once, for all of the above */
        nas_free(n);
        return NULL;
    }
    return &n->base;
}

#endif
