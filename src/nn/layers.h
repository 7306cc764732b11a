/* layers.h - what the files of layers share. */
#ifndef NN_LAYERS_H
#define NN_LAYERS_H

#include "nn/module.h"

/* false and an error when the config of a convolution makes no sense. */
bool nas__conv_config_fits(const char *what, const nas_conv_config *config);
/* A forward function: the children in order. */
nas_tensor *nas__row_forward(nas_module *self, nas_tensor *x);

#endif
