/* smash_plan.c - what the choices of the space smash stand for, and what a network of it costs. */
#include "space/smash.h"

#include "nn/module.h"

static int value(const nas_mutable *m) { return (int)m->values[nas__mutable_single(m)]; }

static int at_most(int a, int b) { return a < b ? a : b; }

int nas__smash_most_dilation(int kernel) { return kernel >= 7 ? 1 : kernel == 5 ? 2 : 3; }

uint64_t nas__smash_fold_writes(uint64_t targets, int filled) {
    const uint64_t old = targets & nas__all_bits(filled);
    return old | nas__all_bits(nas__bit_count(targets & ~old)) << filled;
}

/* A bank that holds nothing stands for one that does. */
static uint64_t fold_reads(uint64_t sources, int filled) {
    uint64_t folded = 0;
    for (; sources; sources &= sources - 1) {
        folded |= (uint64_t)1 << __builtin_ctzll(sources) % filled;
    }
    return folded;
}

static int list(uint64_t bits, int *members) {
    int n = 0;
    for (; bits; bits &= bits - 1) {
        members[n++] = __builtin_ctzll(bits);
    }
    return n;
}

/* At least what the op gives, at most four times that, and not more than it reads. */
int nas__smash_bottle(const nas__smash_options *o, int in, int out) {
    int times = in / out < 1 ? 1 : at_most(in / out, 4);
    return at_most(at_most(times * out, in), o->unit * o->units);
}

static void plan_op(const nas__smash_op *op, const nas__smash_options *o, int bank, int *filled,
                    nas__smash_op_plan *plan) {
    plan->reads = list(fold_reads(op->read->decision->run, *filled), plan->read);
    plan->writes = list(nas__smash_fold_writes(op->write->decision->run, *filled), plan->write);
    int units = value(op->units) / bank * bank;
    plan->units = units ? units : bank;
    plan->kernel = value(op->kernel);
    plan->dilation = at_most(value(op->dilation), nas__smash_most_dilation(plan->kernel));
    plan->groups = value(op->groups);
    plan->in = plan->reads * bank * o->unit;
    plan->out = plan->units * o->unit;
    plan->bottle = nas__smash_bottle(o, plan->in, plan->out);
    int last = plan->write[plan->writes - 1];
    *filled = last < *filled ? *filled : last + 1;
}

void nas__smash_read_plan(const nas__smash_block *block, nas__smash_plan *plan) {
    const nas__smash_options *o = &block->net->options;
    *plan = (nas__smash_plan){.bank = value(block->bank)};
    plan->banks = o->units / plan->bank;
    /* the most of several depths, which passes that count all candidates take */
    plan->n_ops = 64 - __builtin_clzll(nas__repeat_mutable(block->row)->decision->run | 1);
    for (int i = 0; i < plan->n_ops; i++) {
        plan_op(block->ops[i], o, plan->bank, &plan->banks, &plan->ops[i]);
    }
}

static int64_t op_parameters(const nas__smash_options *o, const nas__smash_op_plan *p) {
    int64_t convolutions = (int64_t)p->bottle * p->in + (int64_t)p->out * p->bottle / p->groups * p->kernel * p->kernel;
    return convolutions + (o->sandwich ? 2 * ((int64_t)p->in + p->bottle) : 0);
}

int64_t nas__smash_parameters(const nas_module *module) {
    const nas__smash *net = nas__smash_module((nas_module *)module);
    if (!net || !net->hyper) {
        return -1;
    }
    int64_t sum = nas_parameter_count(net->stem);
    for (int b = 0; b < net->options.blocks; b++) {
        nas__smash_plan plan;
        nas__smash_read_plan(net->blocks[b], &plan);
        for (int i = 0; i < plan.n_ops; i++) {
            sum += op_parameters(&net->options, &plan.ops[i]);
        }
        sum += nas__smash_joint_parameters(net->blocks[b]->joint, plan.banks * plan.bank * net->options.unit);
    }
    return sum;
}
