/* graph.h - a fixed network as a list of operations, as a dry pass shows it: what the writers of ONNX, C and drawings
 * read. A space needs no code for it; an operation is one line in graph.c and one in each writer. */
#ifndef IO_GRAPH_H
#define IO_GRAPH_H

#include <espalier/nn.h>

#include "tensor/tensor.h"

typedef enum nas__op_kind {
    NAS__OP_CONV, /* inputs: x, weight, perhaps bias */
    NAS__OP_LINEAR,
    NAS__OP_NORM, /* x, gamma, beta (both or none: -1), running mean, running variance */
    NAS__OP_MAX_POOL,
    NAS__OP_AVG_POOL,
    NAS__OP_GLOBAL_POOL,
    NAS__OP_RELU,
    NAS__OP_RELU6,
    NAS__OP_SIGMOID,
    NAS__OP_TANH,
    NAS__OP_GELU,
    NAS__OP_SWISH,
    NAS__OP_HARD_SIGMOID,
    NAS__OP_HARD_SWISH,
    NAS__OP_SOFTMAX,
    NAS__OP_LOG_SOFTMAX,
    NAS__OP_SUM, /* of two or more */
    NAS__OP_DIFFERENCE,
    NAS__OP_PRODUCT,
    NAS__OP_GATE, /* (N,C,H,W) times (N,C), or times a constant (C) */
    NAS__OP_SCALE,
    NAS__OP_CONCAT,
    NAS__OP_SLICE,
    NAS__OP_EVERY_OTHER, /* channels from, from + 2, ... */
    NAS__OP_SHUFFLE,
    NAS__OP_PAD,
    NAS__OP_RESHAPE,
    NAS__N_OPS
} nas__op_kind;

/* What operations read and write: the network's input, a result, a constant of the model, or zeros. */
typedef struct nas__graph_value {
    char *name; /* of a constant: its path in the model; else that of its operation */
    int ndim;
    int64_t dims[NAS_MAX_DIMS]; /* for one sample: dims[0] is 1, but for constants */
    nas_tensor *constant;       /* borrowed from the model; NULL: none */
    bool zero;
    bool weight; /* of a counted graph: what it makes of constants alone, which a fixed network would have as one */
} nas__graph_value;

typedef struct nas__graph_node {
    nas__op_kind kind;
    char *name;                    /* "path of the module/operation", unique */
    int n_inputs, *inputs, output; /* values; an input may be left out (-1) */
    nas__told told;
    int64_t bias; /* of a counted graph: numbers that folding would add to a convolution */
} nas__graph_node;

typedef struct nas__graph {
    nas__graph_value *values; /* values[0] is the input */
    nas__graph_node *nodes;   /* in the order in which they run; each is needed for the output */
    size_t n_values, n_nodes;
    int output;
} nas__graph;

/* What a fixed model does to a sample of these dimensions. Batch norm uses its running estimates. The model has to
 * outlive the graph. NULL and an error: choices are open, or an operation mixes samples or cannot be exported. */
nas__graph *nas__graph_new(nas_module *model, int ndim, const int64_t *dims);
/* What the decisions in force of a model, choices open, would be as a fixed network with batch norms folded: the same
 * operations on the same shapes, without names. *floats (may be NULL) is kept up to date during the pass: numbers in
 * the weights of all operations so far. */
nas__graph *nas__graph_count(nas_module *model, int ndim, const int64_t *dims, int64_t *floats);
/* Numbers that the writer of C stores for an operation, but for constants that an earlier one had (has, per value). */
int64_t nas__node_weights(const nas__graph *g, const nas__graph_node *n, bool *has);
void nas__graph_free(nas__graph *graph); /* NULL is fine */

const char *nas__op_name(nas__op_kind kind);         /* "conv" */
int64_t nas__value_count(const nas__graph_value *v); /* numbers, of one sample */

#endif
