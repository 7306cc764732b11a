/* small_spaces.h - built-in spaces in a form small enough for a test. */
#ifndef TESTS_SMALL_SPACES_H
#define TESTS_SMALL_SPACES_H

#include <espalier/space.h>

/* A model with n options set, each a name and a value; and the small form of a space. */
nas_module *space_build(const char *name, nas_space_config config, int n, const char *const (*set)[2]);
nas_module *space_small(const char *name, nas_space_config config);
/* Output of a forward pass of two images under the decisions in force, by value; returns the count. */
int64_t space_forward(nas_module *model, nas_space_config c, bool dry, float *out);
/* Kinds of images: grey and small, coloured, large, of any size. */
enum { SPACE_IMAGES = 4 };
extern const nas_space_config space_images[SPACE_IMAGES];

#endif
