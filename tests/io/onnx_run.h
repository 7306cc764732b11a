/* onnx_run.h - runs an ONNX file by loops that follow the published definitions of its operators word by word: a second
 * implementation, to compare with. */
#ifndef TESTS_ONNX_RUN_H
#define TESTS_ONNX_RUN_H

#include <onnx.pb-c.h>

/* Fails the test when the file is none, or has an operator that the loops do not know. free with
 * onnx__model_proto__free_unpacked(model, NULL). */
Onnx__ModelProto *onnx_read(const char *path);
/* x: n samples of what the input is declared as; returns the first `count` numbers of the output, which has exactly as
 * many. */
void onnx_run(const Onnx__ModelProto *model, int n, const float *x, float *y, int64_t count);
/* Value of a key of the metadata, or NULL. */
const char *onnx_metadata(const Onnx__ModelProto *model, const char *key);
/* How many nodes with this operator there are. */
int onnx_count(const Onnx__ModelProto *model, const char *op);

#endif
