/* onnx_read.h - what importing reads of an ONNX file, checked: constants, attributes, the input. */
#ifndef IO_ONNX_READ_H
#define IO_ONNX_READ_H

#include <espalier/io.h>

#include "core/error.h"

#include <onnx.pb-c.h>

/* The whole file; free with onnx__model_proto__free_unpacked(model, NULL). NULL and an error: it cannot be read, is no
 * ONNX file, or has no graph. */
Onnx__ModelProto *nas__onnx_open(const char *path);
/* A text of the metadata (new, free()); NULL without an error: there is none of that name. */
char *nas__onnx_metadata(const char *path, const char *key);
/* Dimensions of the only input that is no constant, (batch, ...): *ndim of them, 0 for what is free. */
nas_status nas__onnx_input(const Onnx__GraphProto *g, const char **name, int *ndim, int64_t *dims);

/* Checks a constant of floats (or of whole numbers): 0 to NAS_MAX_DIMS dimensions, and as many numbers as they say. */
bool nas__onnx_is(const Onnx__TensorProto *t, int data_type);
/* Its numbers; `to` has room for nas__onnx_count(t). */
int64_t nas__onnx_count(const Onnx__TensorProto *t);
void nas__onnx_floats(const Onnx__TensorProto *t, float *to);
void nas__onnx_whole(const Onnx__TensorProto *t, int64_t *to);

/* Attributes, or what they are when they are not there; whole numbers beyond +-2^30 become these. */
const Onnx__AttributeProto *nas__onnx_attribute(const Onnx__NodeProto *n, const char *name);
int nas__onnx_get_int(const Onnx__NodeProto *n, const char *name, int otherwise);
float nas__onnx_get_float(const Onnx__NodeProto *n, const char *name, float otherwise);
/* Element i of a list. */
int nas__onnx_get_ints(const Onnx__NodeProto *n, const char *name, size_t i, int otherwise);

#endif
