/* smash_hyper.c - the hypernetwork of the space smash: from the encoding of an op to its 1x1 weights. For each bank
 * that an op reads a perceptron gives a matrix of the channels of a bank by those behind the convolution; side by side
 * they are the op's weights, divided by their norm. */
#include "space/smash.h"

#include "nn/module.h"
#include "tensor/tensor.h"

#include <math.h>
#include <stdlib.h>

static const float LEAK = 0.02f;

static int kernels(const nas__smash_options *o) { return (o->kernel - 1) / 2; }
static int group_kinds(const nas__smash_options *o) { return 1 + __builtin_ctz((unsigned)o->groups); }

int nas__smash_encoding_size(const nas__smash_options *o) {
    return 2 * o->banks + o->blocks + 2 * o->units + kernels(o) + o->dilation + group_kinds(o) + 1;
}

static float *one_hot(float *code, int n, int which) {
    for (int i = 0; i < n; i++) {
        code[i] = i == which ? 1.0f : -1.0f;
    }
    return code + n;
}

void nas__smash_encode(const nas__smash_block *block, const nas__smash_plan *plan, int op, int r, float *code) {
    const nas__smash_options *o = &block->net->options;
    const nas__smash_op_plan *p = &plan->ops[op];
    code = one_hot(code, o->banks, p->read[r]);
    float *writes = code;
    code = one_hot(code, o->banks, -1);
    for (int i = 0; i < p->writes; i++) {
        writes[p->write[i]] = 1;
    }
    code = one_hot(code, o->blocks, block->index);
    code = one_hot(code, o->units, plan->bank - 1);
    code = one_hot(code, o->units, p->units - 1);
    code = one_hot(code, kernels(o), (p->kernel - 3) / 2);
    code = one_hot(code, o->dilation, p->dilation - 1);
    code = one_hot(code, group_kinds(o), __builtin_ctz((unsigned)p->groups));
    *code = block->net->z;
}

/* w times gain / ||w||. */
static nas_tensor *normed(nas_tensor *w, float gain) {
    nas_tensor *inverse = nas_exp(nas_scale(nas_log(nas_sum(nas_mul(w, w))), -0.5f));
    return gain == 1 ? nas_mul(w, inverse) : nas_scale(nas_mul(w, inverse), gain);
}

bool nas__smash_hyper_begin(nas__smash_hyper *h) {
    bool complete = true;
    for (int i = 0; i < NAS__SMASH_LAYERS; i++) {
        h->normed[i] = normed(h->weights[i], sqrtf((float)h->weights[i]->dims[0]));
        complete = complete && h->normed[i];
    }
    return complete;
}

static nas_tensor *leaky(nas_tensor *x) { return nas_add(nas_scale(nas_relu(x), 1 - LEAK), nas_scale(x, LEAK)); }

nas_tensor *nas__smash_generate(const nas__smash_block *block, const nas__smash_plan *plan, int op) {
    const nas__smash_options *o = &block->net->options;
    const nas__smash_op_plan *p = &plan->ops[op];
    const nas__smash_hyper *h = block->net->hyper;
    const int most = o->unit * o->units, bank = plan->bank * o->unit, size = nas__smash_encoding_size(o);
    float *codes = nas__alloc((size_t)(p->reads * size) * sizeof *codes);
    for (int r = 0; codes && r < p->reads; r++) {
        nas__smash_encode(block, plan, op, r, codes + (size_t)r * (size_t)size);
    }
    nas_tensor *x = codes ? nas_input(NAS_DIMS(p->reads, size), codes) : NULL;
    free(codes);
    for (int i = 0; i < NAS__SMASH_LAYERS; i++) {
        x = nas_linear(x, h->normed[i], NULL);
        x = i < NAS__SMASH_LAYERS - 1 ? leaky(x) : x;
    }
    x = nas_reshape(x, NAS_DIMS(p->reads, most, most));
    x = nas_slice(nas_slice(x, 1, 0, p->bottle), 2, 0, bank);
    nas_tensor *parts[NAS__SMASH_BANKS];
    for (int r = 0; r < p->reads; r++) {
        parts[r] = nas_slice(x, 0, r, 1);
    }
    x = p->reads > 1 ? nas_concat(p->reads, parts, 2) : x;
    return normed(nas_reshape(x, NAS_DIMS(p->bottle, p->in, 1, 1)), 1);
}

/* Weights are put together by the network. */
static nas_tensor *hyper_forward(nas_module *self, nas_tensor *x) {
    (void)self;
    return x;
}

nas_module *nas__smash_hyper_new(const nas__smash_options *o) {
    nas__smash_hyper *h = nas_module_alloc(sizeof *h, hyper_forward, "hypernetwork");
    const int most = o->unit * o->units;
    const int widths[NAS__SMASH_LAYERS + 1] = {nas__smash_encoding_size(o), o->hidden, o->hidden, most * most};
    bool complete = h != NULL;
    for (int i = 0; complete && i < NAS__SMASH_LAYERS; i++) {
        const char name[] = {'w', (char)('1' + i), 0};
        h->weights[i] = nas_parameter(&h->base, name, NAS_DIMS(widths[i + 1], widths[i]), NAS_INIT_NORMAL);
        complete = h->weights[i] != NULL;
    }
    return nas__module_complete(h, complete);
}
