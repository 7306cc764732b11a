/* smash.c - the space of SMASH (Brock, Lim, Ritchie and Weston, ICLR 2018): blocks of memory banks, which a searched
 * number of ops reads from and adds to. */
#include "space/spaces/spaces.h"

#include "nn/module.h"
#include "space/smash.h"
#include "tensor/tensor.h"

/* --- a pass ---------------------------------------------------------------------------------------- */
static nas_tensor *gather(int n, const int *which, nas_tensor *const *memory) {
    nas_tensor *parts[NAS__SMASH_BANKS];
    for (int i = 0; i < n; i++) {
        parts[i] = memory[which[i]];
    }
    return n > 1 ? nas_concat(n, parts, 1) : parts[0];
}

/* Under the weights of the search; a dry pass counts the op's work, not that of making its weights. */
static nas_tensor *run_searched(const nas__smash_op *op, const nas__smash_op_plan *p, nas_tensor *x) {
    const nas__smash_block *b = op->block;
    nas_tensor *generated =
        nas__dry() ? nas_input(NAS_DIMS(p->bottle, p->in, 1, 1), NULL) : nas__smash_generate(b, &b->plan, op->index);
    nas_tensor *y = nas_relu(nas_conv2d(x, generated, NULL, (nas_conv_args){0}));
    return nas_conv2d(y, nas__smash_shared(b, p), NULL,
                      (nas_conv_args){.padding = NAS_SAME, .dilation = p->dilation, .groups = p->groups});
}

/* Banks are never written in place: who read one before goes on having what it read. */
static bool scatter(nas__smash_block *b, const nas__smash_op_plan *p, nas_tensor *z) {
    const int slices = p->units / b->plan.bank, channels = b->plan.bank * b->net->options.unit;
    for (int j = 0; z && j < p->writes; j++) {
        nas_tensor **bank = &b->memory[p->write[j]],
                   *slice = slices > 1 ? nas_slice(z, 1, (int64_t)(j % slices) * channels, channels) : z;
        *bank = *bank ? nas_add(*bank, slice) : slice;
        if (!*bank) {
            return false;
        }
    }
    return z != NULL;
}

static nas_tensor *op_forward(nas_module *self, nas_tensor *x) {
    nas__smash_op *op = (nas__smash_op *)self;
    const nas__smash_op_plan *p = &op->block->plan.ops[op->index];
    nas_tensor *u = gather(p->reads, p->read, op->block->memory);
    nas_tensor *z = op->own ? nas_forward(op->own, u) : run_searched(op, p, u);
    return scatter(op->block, p, z) ? x : NULL;
}

static nas_tensor *block_forward(nas_module *self, nas_tensor *x) {
    nas__smash_block *b = (nas__smash_block *)self;
    nas__smash_read_plan(b, &b->plan);
    const int channels = b->plan.bank * b->net->options.unit, first = b->net->options.units / b->plan.bank;
    int all[NAS__SMASH_BANKS];
    for (int i = 0; i < NAS__SMASH_BANKS; i++) {
        all[i] = i;
        b->memory[i] = i >= first ? NULL : first > 1 ? nas_slice(x, 1, (int64_t)i * channels, channels) : x;
    }
    return x && nas_forward(b->row, x) ? nas_forward(b->joint, gather(b->plan.banks, all, b->memory)) : NULL;
}

static nas_tensor *net_forward(nas_module *self, nas_tensor *x) {
    nas__smash *net = (nas__smash *)self;
    x = nas_relu(nas_forward(net->stem, nas__pad_image(x, 1 << (net->options.blocks - 1))));
    if (x && net->hyper && !nas__dry() && !nas__smash_hyper_begin(net->hyper)) {
        return NULL;
    }
    for (int i = 0; i < net->options.blocks; i++) {
        x = nas_forward(&net->blocks[i]->base, x);
    }
    return x;
}

nas__smash *nas__smash_module(nas_module *model) { return model->forward == net_forward ? (nas__smash *)model : NULL; }
nas__smash *nas__smash_of(const nas_space *space) { return nas__smash_module(space->model); }

/* --- making ---------------------------------------------------------------------------------------- */
/* from, from + step ... to; step 0: doubled; only those that divide `of` when that is given. */
static nas_mutable *numbers(void *owner, const char *prefix, const char *name, int from, int to, int step, int of) {
    double values[NAS_MAX_CANDIDATES];
    int n = 0;
    char key[64];
    snprintf(key, sizeof key, "%s/%s", prefix, name);
    for (int v = from; v <= to && n < NAS_MAX_CANDIDATES; v = step ? v + step : 2 * v) {
        if (!of || of % v == 0) {
            values[n++] = v;
        }
    }
    return nas_value_choice(owner, key, n, values);
}

static nas_mutable *banks(void *owner, const char *prefix, const char *name, int n, int most) {
    char key[64];
    snprintf(key, sizeof key, "%s/%s", prefix, name);
    return nas_input_choice(owner, key, .n_candidates = n, .n_min = 1, .n_max = most);
}

static nas_module *op_new(nas__smash_block *block, int index) {
    const nas__smash_options *o = &block->net->options;
    char prefix[32];
    snprintf(prefix, sizeof prefix, "block_%d/op_%d", block->index + 1, index + 1);
    nas__smash_op *op = block->ops[index] = nas_module_alloc(sizeof *op, op_forward, "smash op");
    if (!op) {
        return NULL;
    }
    op->block = block;
    op->index = index;
    op->read = banks(op, prefix, "read", o->banks, o->banks);
    op->write = banks(op, prefix, "write", o->banks, o->units < o->banks ? o->units : o->banks);
    op->units = numbers(op, prefix, "units", 1, o->units, 1, 0);
    op->kernel = numbers(op, prefix, "kernel", 3, o->kernel, 2, 0);
    op->dilation = numbers(op, prefix, "dilation", 1, o->dilation, 1, 0);
    op->groups = numbers(op, prefix, "groups", 1, o->groups, 0, 0);
    return nas__module_complete(op, op->read && op->write && op->units && op->kernel && op->dilation && op->groups);
}

static nas_module *block_new(nas__smash *net, int index, int outputs) {
    const nas__smash_options *o = &net->options;
    const int most = o->unit * o->units;
    nas__smash_block *b = net->blocks[index] = nas_module_alloc(sizeof *b, block_forward, "smash block");
    nas_module *ops[NAS__SMASH_OPS] = {0};
    char prefix[24], key[32];
    if (!b) {
        return NULL;
    }
    b->net = net;
    b->index = index;
    snprintf(prefix, sizeof prefix, "block_%d", index + 1);
    snprintf(key, sizeof key, "%s/ops", prefix);
    b->bank = numbers(b, prefix, "bank", 1, o->units, 1, o->units);
    b->weight = nas_parameter(&b->base, "weight", NAS_DIMS(most, most, o->kernel, o->kernel), NAS_INIT_FAN_IN);
    for (int i = 0; i < o->ops; i++) {
        ops[i] = op_new(b, i);
    }
    b->row = nas_child(b, "ops", nas_repeat(b, key, 1, o->ops, ops));
    const bool last = index == o->blocks - 1;
    b->joint = nas_child(b, "joint", nas__smash_joint_new(o->banks * most, last ? outputs : most, last));
    return nas__module_complete(b, b->bank && b->weight && b->row && b->joint);
}

static bool options_fit(const nas__smash_options *o) {
    if (o->banks < o->units || o->kernel % 2 == 0 || o->groups & (o->groups - 1) || o->unit % o->groups) {
        return nas__fail_null(NAS_INVALID,
                              "space \"smash\": banks %d must hold the %d units of a block's input, kernel %d be odd, "
                              "groups %d a power of two that divides unit %d",
                              o->banks, o->units, o->kernel, o->groups, o->unit);
    }
    return true;
}

static nas_module *build(const nas_space_config *config, const void *options) {
    const nas__smash_options *o = options;
    nas__smash *net = options_fit(o) ? nas_module_new(nas__smash, net_forward) : NULL;
    if (!net) {
        return NULL;
    }
    net->options = *o;
    net->base.fixed = nas__smash_fixed;
    net->stem = nas_child(net, "stem", nas__stem(config, o->unit * o->units));
    net->hyper = (nas__smash_hyper *)nas_child(net, "hyper", nas__smash_hyper_new(o));
    bool complete = net->stem && net->hyper;
    for (int i = 0; complete && i < o->blocks; i++) {
        char name[16];
        snprintf(name, sizeof name, "block_%d", i + 1);
        complete = nas_child(net, name, block_new(net, i, config->outputs)) != NULL;
    }
    return nas__module_complete(net, complete);
}

#define ROW(field, type, ...)                                                                                          \
    { #field, type, offsetof(nas__smash_options, field), __VA_ARGS__ }
static const nas_option options_table[] = {
    ROW(unit, NAS_OPTION_INT, "4", 1, 64, NULL, "channels of a unit, N of the paper"),
    ROW(units, NAS_OPTION_INT, "4", 1, 16, NULL, "of a block's input, and the most that an op gives"),
    ROW(banks, NAS_OPTION_INT, "6", 1, NAS__SMASH_BANKS, NULL, "memory banks of a block at most; `units` at least"),
    ROW(blocks, NAS_OPTION_INT, "2", 1, NAS__SMASH_BLOCKS, NULL, "the image is halved between them"),
    ROW(ops, NAS_OPTION_INT, "4", 1, NAS__SMASH_OPS, NULL, "of a block at most"),
    ROW(kernel, NAS_OPTION_INT, "5", 3, 7, NULL, "the largest: 3, 5 or 7"),
    ROW(dilation, NAS_OPTION_INT, "2", 1, 3, NULL, "the largest: 3 for kernel 3, 2 for 5, and 1 for 7 at most"),
    ROW(groups, NAS_OPTION_INT, "2", 1, 8, NULL,
        "the most groups of a convolution: 1, 2, 4 or 8, which divides `unit`"),
    ROW(hidden, NAS_OPTION_INT, "64", 1, 4096, NULL, "width of the hypernetwork's two hidden layers"),
    ROW(sandwich, NAS_OPTION_BOOL, "1", 0, 0, NULL,
        "batch norm and ReLU before and behind the 1x1 convolutions of a found network (without: as while searched)"),
    {NULL},
};

const nas_space_info nas__space_smash = {
    .name = "smash",
    .summary = "SMASH: blocks of memory banks, up to four ops each, which read some banks and add to some",
    .paper = "Brock, Lim, Ritchie and Weston, SMASH, ICLR 2018, arXiv 1708.05344",
    .options = options_table,
    .options_size = sizeof(nas__smash_options),
    .build = build,
    .canonical = nas__smash_string,
    .parse = nas__smash_parse,
};
