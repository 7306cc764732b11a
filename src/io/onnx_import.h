/* onnx_import.h - what importing consists of: operations in the order in which they run, and the names of a file while
 * it is read. */
#ifndef IO_ONNX_IMPORT_H
#define IO_ONNX_IMPORT_H

#include "io/onnx_read.h"

enum { NAS__NOTHING = -1, NAS__MOST_INPUTS = 64 };

/* An operation of the module; values are numbered, 0 is the input. */
typedef struct nas__step {
    nas_tensor *(*run)(const struct nas__step *s, nas_tensor *const *x);
    int n_in, *in, out;
    nas_conv_args conv;
    nas_pool_args pool;
    int pads[4]; /* top, left, bottom, right, of a pass of its own */
    nas_bn_state norm;
    nas_tensor *weight, *bias;
    int ndim;
    int64_t dims[NAS_MAX_DIMS];
} nas__step;

typedef struct nas__imported {
    nas_module base;
    nas__step *steps;
    size_t n_steps;
    int n_values, output;
} nas__imported;

/* Names while the file is read. */
typedef struct nas__known {
    const char *text;
    int value;                         /* or, of a constant: */
    const Onnx__TensorProto *constant; /* NULL: a result */
} nas__known;

typedef struct nas__importer {
    nas__imported *m;
    nas__known *names;
    size_t n_names;
    const Onnx__GraphProto *graph;
    const Onnx__NodeProto *node; /* at hand */
    nas__step *step;
    nas_tensor **parameters; /* their values come when all are there */
    float **values;
    size_t n_parameters;
} nas__importer;

/* An error about the node at hand. */
nas_status nas__import_refuse(const nas__importer *p, const char *what);
const nas__known *nas__import_find(const nas__importer *p, const char *text); /* NULL: nothing has that name */
nas_status nas__import_name(nas__importer *p, const char *text, int value, const Onnx__TensorProto *constant);
/* The constant at input i of the node; NULL: it is none, or not there. */
const Onnx__TensorProto *nas__import_constant(const nas__importer *p, size_t i);

/* onnx_steps.c: one row for each operation that is read. */
typedef struct nas__import_operation {
    const char *op;
    nas_status (*read)(nas__importer *p); /* fills p->step, whose `run` stays NULL where nothing has to run */
    enum { NAS__ONE_RESULT, NAS__RESULTS, NAS__ANYTHING } reads;
} nas__import_operation;
const nas__import_operation *nas__import_operation_of(const char *op); /* NULL: it is not read */

#endif
