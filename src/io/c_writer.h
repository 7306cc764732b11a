/* c_writer.h - what the files of the writer of C share. */
#ifndef IO_C_WRITER_H
#define IO_C_WRITER_H

#include "io/plan.h"

/* The C functions that networks consist of. */
typedef enum nas__c_function {
    NAS__C_CONV,
    NAS__C_LINEAR,
    NAS__C_AFFINE,
    NAS__C_MAX_POOL,
    NAS__C_AVG_POOL,
    NAS__C_GLOBAL_POOL,
    NAS__C_RELU,
    NAS__C_RELU6,
    NAS__C_SIGMOID,
    NAS__C_TANH,
    NAS__C_GELU,
    NAS__C_SWISH,
    NAS__C_HARD_SIGMOID,
    NAS__C_HARD_SWISH,
    NAS__C_SOFTMAX,
    NAS__C_ADD,
    NAS__C_SUB,
    NAS__C_MUL,
    NAS__C_GATE,
    NAS__C_SCALE,
    NAS__C_ROWS,
    NAS__C_PAD,
    NAS__N_C_FUNCTIONS
} nas__c_function;

const char *nas__c_text(nas__c_function f); /* its definition, C99 */

#endif
