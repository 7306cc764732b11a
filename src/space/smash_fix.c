/* smash_fix.c - the network of a fixed architecture of the space smash: ops with weights of their own. */
#include "space/smash.h"

#include "nn/module.h"
#include "tensor/tensor.h"

#include <stdlib.h>
#include <string.h>

nas_tensor *nas__smash_shared(const nas__smash_block *block, const nas__smash_op_plan *op) {
    const int64_t margin = (block->net->options.kernel - op->kernel) / 2;
    nas_tensor *w = nas_slice(nas_slice(block->weight, 0, 0, op->out), 1, 0, op->bottle / op->groups);
    return nas_slice(nas_slice(w, 2, margin, op->kernel), 3, margin, op->kernel);
}

/* [batch norm, ReLU,] 1x1 convolution, [batch norm,] ReLU, convolution */
enum { BARE_FIRST = 0, BARE_SECOND = 2, SANDWICH_FIRST = 1, SANDWICH_SECOND = 3 };

static nas_module *layers_new(const nas__smash_op_plan *p, bool sandwich) {
    nas_module *first = nas_conv(.in = p->in, .out = p->bottle, .kernel = 1),
               *second = nas_conv(.in = p->bottle, .out = p->out, .kernel = p->kernel, .dilation = p->dilation,
                                  .groups = p->groups);
    return sandwich ? nas_sequential(nas_bn(.channels = p->in, .relu = true), first,
                                     nas_bn(.channels = p->bottle, .relu = true), second)
                    : nas_sequential(first, nas_activation_new(NAS_RELU), second);
}

static void give_weight(const nas_module *layers, int layer, const nas_tensor *values) {
    size_t n;
    nas_tensor *weight = nas__module_children(layers, &n)[layer]->state->parameters[0].tensor;
    float *copy = values ? nas__alloc((size_t)nas_tensor_count(values) * sizeof *copy) : NULL;
    if (copy && !nas_tensor_read(values, copy)) {
        nas_tensor_write(weight, copy);
    }
    free(copy);
}

/* The weights that the op had while searched. */
static void inherit(const nas__smash_block *block, const nas__smash_plan *plan, int op, const nas_module *layers) {
    const bool sandwich = block->net->options.sandwich;
    nas_tape *tape = nas_tape_new();
    if (!tape) {
        return;
    }
    nas_tape_begin(tape, &(nas_tape_config){0});
    if (nas__smash_hyper_begin(block->net->hyper)) {
        give_weight(layers, sandwich ? SANDWICH_FIRST : BARE_FIRST, nas__smash_generate(block, plan, op));
        give_weight(layers, sandwich ? SANDWICH_SECOND : BARE_SECOND, nas__smash_shared(block, &plan->ops[op]));
    }
    nas_tape_free(tape);
}

static void fix_block(nas__smash_block *block, bool has_values) {
    const nas__smash_options *o = &block->net->options;
    nas__smash_plan plan;
    nas__smash_read_plan(block, &plan);
    for (int i = 0; i < plan.n_ops; i++) {
        nas__smash_op *op = block->ops[i];
        op->own = nas_child(op, "layers", layers_new(&plan.ops[i], o->sandwich));
        if (op->own && has_values && !nas__initialise_once(op->own)) {
            inherit(block, &plan, i, op->own);
        }
    }
    nas__module_drop_parameters(&block->base);
    block->weight = NULL;
    nas_module *joint = nas__smash_joint_part(block->joint, plan.banks * plan.bank * o->unit);
    nas_module_free(block->joint);
    block->joint = nas_child(block, "joint", joint);
}

void nas__smash_fixed(nas_module *self) {
    nas__smash *net = (nas__smash *)self;
    const bool has_values = nas__module_root(self)->state->initialised;
    for (int b = 0; b < net->options.blocks; b++) {
        fix_block(net->blocks[b], has_values);
    }
    nas_module_free(&net->hyper->base);
    net->hyper = NULL;
}
