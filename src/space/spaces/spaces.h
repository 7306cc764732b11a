/* spaces.h - what the built-in spaces share: one file each, and one line in table.c. */
#ifndef SPACE_SPACES_SPACES_H
#define SPACE_SPACES_SPACES_H

#include "space/space.h"

#include <stdio.h>

extern const nas_space_info nas__space_chain, nas__space_darts, nas__space_nb201;
extern const nas_space_info nas__space_superkernel, nas__space_bender;
extern const nas_space_info nas__space_smash;
extern const nas_space_info nas__space_fbnet, nas__space_mobilenet, nas__space_mobilenetv3, nas__space_shufflenet,
    nas__space_macro;
extern const nas_space_info nas__space_enas_macro, nas__space_enas_micro;
extern const nas_space_info nas__space_nasnet, nas__space_amoebanet, nas__space_pnas, nas__space_signal1d;

/* The stem: a 3x3 convolution to `out` channels with batch norm. Images of 96 pixels and more are brought to an eighth
 * of their size first, by three convolutions of stride 2 (as DARTS does for ImageNet), so that cells work on maps of
 * the size they were made for. */
nas_module *nas__stem(const nas_space_config *config, int out);
/* x with zeros at the right and below, until height and width are multiples of the stem's stride times `multiple`:
 * reductions that halve the image need even sizes. */
nas_tensor *nas__pad_image(nas_tensor *x, int multiple);
/* Global average pooling and a linear layer from `in` channels. */
nas_module *nas__head(int in, int outputs);

/* --- rows of layers ---------------------------------------------------------------------------------------- */
/* A network of a row of layers: images as all spaces take them run through its children in their order. */
nas_module *nas__row_network_new(void);
/* Makes strides 1, the first ones first, until the last map of the smaller side of the image has 4 pixels. */
void nas__fit_strides(const nas_space_config *config, int n, int *strides);
/* The candidates of the choices PREFIX_1, PREFIX_2, ... in one string, by name or by their codes (one for each
 * candidate), and back: NULL and an error that says what is wrong when it is none. */
char *nas__row_string(const nas_architecture *a, const char *prefix, const char *const *codes, const char *separator);
nas_architecture *nas__row_parse(const nas_space *space, const char *prefix, const char *const *codes,
                                 const char *separator, const char *text);
/* The same into an architecture's choices, all of them: false and an error when the text is none. */
bool nas__row_fill(nas_architecture *a, const char *prefix, const char *const *codes, const char *separator,
                   const char *text);
/* The same for `most` of the choices; and for as many of them as the text has: their number, or -1 and an error. */
void nas__row_write(FILE *out, const nas_architecture *a, const char *prefix, const char *const *codes,
                    const char *separator, int most);
int nas__row_read(nas_architecture *a, const char *prefix, const char *const *codes, const char *separator,
                  const char *text);
/* Ends a stream of open_memstream (NULL: it could not be opened) and returns its text; NULL and an error. */
char *nas__text_end(FILE *out, char **text);

/* Architectures that are a row of single candidates: "a|b" strings are made of their names. */
const char *nas__chosen_name(const nas_architecture *a, const char *key);

#endif
