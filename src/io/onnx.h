/* onnx.h - what the files of the ONNX writer share: nodes and constants of a graph in memory. */
#ifndef IO_ONNX_H
#define IO_ONNX_H

#include <espalier/io.h>

#include "io/graph.h"

#include <onnx.pb-c.h>

/* Names of opset 13 (2020) and nothing later, so that runtimes of devices read it. */
enum { NAS__ONNX_OPSET = 13, NAS__ONNX_IR = 7 };

typedef struct nas__onnx {
    nas__arena arena; /* of everything in the model but the weights themselves */
    const nas__graph *network;
    const char **names; /* of the network's values */
    bool *written;      /* of those that are constants or zeros */
    Onnx__GraphProto graph;
    size_t n_nodes, n_initializers;
    bool failed;
} nas__onnx;

/* Zeroed memory of the arena. All names and values are copied there, but for weights. NULL, and `failed`, when memory
 * is out. */
void *nas__onnx_alloc(nas__onnx *o, size_t bytes);
const char *nas__onnx_text(nas__onnx *o, const char *format, ...) NAS_PRINTF(2, 3);
/* A node of one output, which it returns; trailing inputs may be NULL. The last node is graph.node[n_nodes - 1]. */
const char *nas__onnx_node(nas__onnx *o, const char *op, const char *output, int n_inputs, const char *const *inputs);
/* Attributes of the last node. */
void nas__onnx_int(nas__onnx *o, const char *name, int64_t value);
void nas__onnx_ints(nas__onnx *o, const char *name, int n, const int64_t *values);
void nas__onnx_float(nas__onnx *o, const char *name, float value);
/* Constants; they return the name. Those of floats are not copied. */
const char *nas__onnx_ints_constant(nas__onnx *o, const char *name, int n, const int64_t *values);
const char *nas__onnx_constant(nas__onnx *o, const char *name, int ndim, const int64_t *dims, const float *values);
const char *nas__onnx_number(nas__onnx *o, const char *name, float value);

/* onnx_nodes.c: the nodes of one operation of the network. */
void nas__onnx_write_node(nas__onnx *o, const nas__graph_node *n);

#endif
