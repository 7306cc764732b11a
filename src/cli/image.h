/* image.h - resizing of images for prediction. */
#ifndef CLI_IMAGE_H
#define CLI_IMAGE_H

#include <espalier/core.h>

/* One plane of height x width values to to_height x to_width. */
nas_status cli_resize_plane(const float *x, int64_t height, int64_t width, float *y, int64_t to_height,
                            int64_t to_width);

#endif
