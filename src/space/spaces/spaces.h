/* spaces.h - what the built-in spaces share: one file each, and one line in table.c. */
#ifndef SPACE_SPACES_SPACES_H
#define SPACE_SPACES_SPACES_H

#include "space/space.h"

extern const nas_space_info nas__space_chain, nas__space_darts, nas__space_nb201;
extern const nas_space_info nas__space_superkernel;

/* The stem: a 3x3 convolution to `out` channels with batch norm. Images of 96 pixels and more are brought to an eighth
 * of their size first, by three convolutions of stride 2 (as DARTS does for ImageNet), so that cells work on maps of
 * the size they were made for. */
nas_module *nas__stem(const nas_space_config *config, int out);
/* x with zeros at the right and below, until height and width are multiples of the stem's stride times `multiple`:
 * reductions that halve the image need even sizes. */
nas_tensor *nas__pad_image(nas_tensor *x, int multiple);
/* Global average pooling and a linear layer from `in` channels. */
nas_module *nas__head(int in, int outputs);

/* Architectures that are a row of single candidates: "a|b" strings are made of their names. */
const char *nas__chosen_name(const nas_architecture *a, const char *key);

#endif
