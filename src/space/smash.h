/* smash.h - the inside of the space `smash` (Brock et al., ICLR 2018), for its files, its strategy and its tests.
 *
 * A block is a set of memory banks of b units of N channels each. Its input fills the first ones; each op reads some of
 * them, and adds what it computes to some. While searched, an op's 1x1 weights are the output of a hypernetwork for the
 * op's encoding, and its other weights a part of one tensor that all ops of the block share; once the architecture is
 * fixed each op has its own. Choices are independent, so that any combination of them is a network: what a choice takes
 * that does not fit the others is folded to what does (nas__smash_plan). */
#ifndef SPACE_SMASH_H
#define SPACE_SMASH_H

#include "space/space.h"

enum { NAS__SMASH_BLOCKS = 4, NAS__SMASH_OPS = 12, NAS__SMASH_BANKS = 16, NAS__SMASH_LAYERS = 3 };

typedef struct nas__smash_options {
    int unit, units, banks, blocks, ops, kernel, dilation, groups, hidden;
    bool sandwich;
} nas__smash_options;

/* What an op does. */
typedef struct nas__smash_op_plan {
    int reads, read[NAS__SMASH_BANKS], writes, write[NAS__SMASH_BANKS];
    int units, kernel, dilation, groups;
    int in, bottle, out; /* channels: read, behind the 1x1 convolution, of the result */
} nas__smash_op_plan;
typedef struct nas__smash_plan {
    int bank;  /* units of each bank */
    int banks; /* that hold something in the end */
    int n_ops;
    nas__smash_op_plan ops[NAS__SMASH_OPS];
} nas__smash_plan;

typedef struct nas__smash nas__smash;
typedef struct nas__smash_block nas__smash_block;

typedef struct nas__smash_op {
    nas_module base;
    nas__smash_block *block;
    int index;
    nas_mutable *read, *write, *units, *kernel, *dilation, *groups;
    nas_module *own; /* once fixed: its layers */
} nas__smash_op;

struct nas__smash_block {
    nas_module base;
    nas__smash *net;
    int index;
    nas_mutable *bank;
    nas_module *row, *joint; /* the ops, and what leads to the next block or to the output */
    nas__smash_op *ops[NAS__SMASH_OPS];
    nas_tensor *weight;                   /* of all ops; NULL once fixed */
    nas__smash_plan plan;                 /* of the running pass, */
    nas_tensor *memory[NAS__SMASH_BANKS]; /* and its banks */
};

typedef struct nas__smash_hyper {
    nas_module base;
    nas_tensor *weights[NAS__SMASH_LAYERS], *normed[NAS__SMASH_LAYERS]; /* normed: of the running pass */
} nas__smash_hyper;

struct nas__smash {
    nas_module base;
    nas__smash_options options;
    nas_module *stem;
    nas__smash_hyper *hyper; /* NULL once fixed */
    nas__smash_block *blocks[NAS__SMASH_BLOCKS];
    float z; /* of the coming passes */
};

/* The network of a space `smash`, or NULL. */
nas__smash *nas__smash_of(const nas_space *space);
nas__smash *nas__smash_module(nas_module *model);

/* smash_plan.c: what the decisions in force stand for */
void nas__smash_read_plan(const nas__smash_block *block, nas__smash_plan *plan);
/* Targets of a write when `filled` banks hold something: a bank that holds nothing stands for the next unused one. */
uint64_t nas__smash_fold_writes(uint64_t targets, int filled);
int nas__smash_most_dilation(int kernel);
/* Channels behind the 1x1 convolution. */
int nas__smash_bottle(const nas__smash_options *o, int in, int out);
/* Trainable numbers of the network once it is fixed to the decisions in force; -1: the module is none that is searched.
 */
int64_t nas__smash_parameters(const nas_module *module);

/* smash_hyper.c */
nas_module *nas__smash_hyper_new(const nas__smash_options *o);
int nas__smash_encoding_size(const nas__smash_options *o);
/* Of the r-th bank that an op reads: -1 and 1 for what is not and what is, and at the end z. */
void nas__smash_encode(const nas__smash_block *block, const nas__smash_plan *plan, int op, int r, float *code);
/* Before the first op of a pass. */
bool nas__smash_hyper_begin(nas__smash_hyper *h);
/* The op's 1x1 weights (bottle, in, 1, 1) of Frobenius norm 1, on the tape. */
nas_tensor *nas__smash_generate(const nas__smash_block *block, const nas__smash_plan *plan, int op);

/* spaces/smash_string.c: an architecture in one line, and back (NULL and an error: it is none) */
char *nas__smash_string(const nas_architecture *a);
nas_architecture *nas__smash_parse(const nas_space *space, const char *string);

/* smash_joint.c: batch norm, ReLU, and a 1x1 convolution with pooling or, for the last block, the classifier, for as
 * many channels as there are, `in` at most. */
nas_module *nas__smash_joint_new(int in, int out, bool last);
/* A new one for `in` channels alone, with the values of the other where it has some. */
nas_module *nas__smash_joint_part(const nas_module *joint, int in);
int64_t nas__smash_joint_parameters(const nas_module *joint, int in);

/* smash_fix.c: the hook of the network when it is fixed. */
void nas__smash_fixed(nas_module *self);
/* The part of the block's shared weights that an op uses. */
nas_tensor *nas__smash_shared(const nas__smash_block *block, const nas__smash_op_plan *op);

#endif
