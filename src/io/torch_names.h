/* torch_names.h - names of weights in PyTorch. */
#ifndef IO_TORCH_NAMES_H
#define IO_TORCH_NAMES_H

#include <espalier/io.h>

/* Of the weight with this path in a model (new, free()); NULL and an error when memory is out. */
char *nas__torch_name(const char *path);

#endif
