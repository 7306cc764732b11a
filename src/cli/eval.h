/* eval.h - what the files of `espalier eval` share. */
#ifndef CLI_EVAL_H
#define CLI_EVAL_H

#include "cli/cli.h"

/* The file of --onnx as a model, which onnxruntime runs, or this program (--backend). */
typedef struct cli_onnx {
    struct nas__ort *ort;             /* NULL: this program */
    struct nas__ort_session *session; /* likewise */
    nas_module *model;
    nas_transform transform;
    json_t *config;            /* names of the classes, as in a run's */
    char *engine;              /* "onnxruntime 1.32.0" */
    const char *preprocessing; /* whose constants the transform has */
} cli_onnx;
/* Closed by the caller in any case. */
nas_status cli_onnx_open(cli_onnx *o, const cli_args *a, const nas_dataset *data);
void cli_onnx_close(cli_onnx *o);
/* Medians for one sample, by turns, in milliseconds: of the file, and of a model of ours (NULL: NaN). */
nas_status cli_onnx_latency(const cli_onnx *o, nas_module *own, const nas_dataset_info *info, double ms[2]);

#endif
