/* image.c - an image of any size to the size that a network takes: a triangle filter, as wide as the pixels that fall
 * into one when shrinking (so nothing aliases) and bilinear when enlarging. */
#include "cli/image.h"

#include "core/error.h"
#include "core/memory.h"

#include <math.h>
#include <stdlib.h>

/* One line of `from` samples to `to`, both with a distance between neighbours. */
static void resize_line(const float *x, int64_t from, int64_t x_step, float *y, int64_t to, int64_t y_step) {
    double scale = (double)from / (double)to, reach = scale > 1 ? scale : 1;
    for (int64_t i = 0; i < to; i++) {
        double centre = ((double)i + 0.5) * scale - 0.5, sum = 0, weights = 0;
        int64_t first = (int64_t)ceil(centre - reach), last = (int64_t)floor(centre + reach);
        for (int64_t k = first; k <= last; k++) {
            double weight = 1 - fabs((double)k - centre) / reach;
            int64_t inside = k < 0 ? 0 : k >= from ? from - 1 : k; /* the border repeats */
            sum += weight > 0 ? weight * x[inside * x_step] : 0;
            weights += weight > 0 ? weight : 0;
        }
        y[i * y_step] = (float)(sum / weights);
    }
}

nas_status cli_resize_plane(const float *x, int64_t height, int64_t width, float *y, int64_t to_height,
                            int64_t to_width) {
    float *middle = nas__alloc((size_t)(height * to_width) * sizeof *middle);
    if (!middle) {
        return nas_error_status();
    }
    for (int64_t row = 0; row < height; row++) {
        resize_line(x + row * width, width, 1, middle + row * to_width, to_width, 1);
    }
    for (int64_t column = 0; column < to_width; column++) {
        resize_line(middle + column, height, to_width, y + column, to_height, to_width);
    }
    free(middle);
    return NAS_OK;
}
