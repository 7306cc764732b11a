/* smash_joint.c - what stands behind a block of the space smash: it takes as many channels as the block gives. */
#include "space/smash.h"

#include "nn/layers.h"
#include "nn/module.h"
#include "tensor/tensor.h"

#include <string.h>

typedef struct joint {
    nas_module base;
    nas_module *norm;
    nas_tensor *weight, *bias; /* (out, in[, 1, 1]), (out); no bias: a convolution */
} joint;

static nas_tensor *joint_forward(nas_module *self, nas_tensor *x) {
    joint *j = (joint *)self;
    x = nas_relu(nas__bn_first(j->norm, x));
    nas_tensor *weight = x ? nas_slice(j->weight, 1, 0, x->dims[1]) : NULL;
    return j->bias ? nas_linear(nas_global_avg_pool(x), weight, j->bias)
                   : nas_avg_pool(nas_conv2d(x, weight, NULL, (nas_conv_args){0}), (nas_pool_args){.kernel = 2});
}

nas_module *nas__smash_joint_new(int in, int out, bool last) {
    joint *j = nas_module_alloc(sizeof *j, joint_forward, "joint");
    if (!j) {
        return NULL;
    }
    j->norm = nas_child(j, "norm", nas_bn(.channels = in));
    j->weight = nas_parameter(&j->base, "weight", last ? 2 : 4, (int64_t[]){out, in, 1, 1}, NAS_INIT_FAN_IN);
    j->bias = last ? nas_parameter(&j->base, "bias", NAS_DIMS(out), NAS_INIT_ZERO) : NULL;
    return nas__module_complete(j, j->norm && j->weight && (j->bias || !last));
}

int64_t nas__smash_joint_parameters(const nas_module *module, int in) {
    const joint *j = (const joint *)module;
    int64_t out = j->weight->dims[0];
    return 2 * (int64_t)in + out * in + (j->bias ? out : 0);
}

nas_module *nas__smash_joint_part(const nas_module *module, int in) {
    const joint *j = (const joint *)module;
    joint *part = (joint *)nas__smash_joint_new(in, (int)j->weight->dims[0], j->bias != NULL);
    if (!part || !nas__module_root((nas_module *)module)->state->initialised || nas__initialise_once(&part->base)) {
        return (nas_module *)part;
    }
    for (int64_t o = 0; o < j->weight->dims[0]; o++) {
        memcpy(part->weight->data + o * in, j->weight->data + o * j->weight->dims[1], (size_t)in * sizeof(float));
    }
    if (j->bias) {
        memcpy(part->bias->data, j->bias->data, (size_t)j->bias->dims[0] * sizeof(float));
    }
    const nas_module_state *to = part->norm->state, *from = j->norm->state;
    for (size_t k = 0; k < to->n_parameters; k++) {
        nas_tensor *t = to->parameters[k].tensor;
        memcpy(t->data, from->parameters[k].tensor->data, (size_t)t->dims[0] * sizeof(float));
    }
    return &part->base;
}
