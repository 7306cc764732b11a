/* conv_fused.c - what the fused convolutions share. */
#include "ops/conv_fused.h"

#include <string.h>

float *nas__channels(const float *values, int64_t channels) {
    nas_tape *tape = nas__tape();
    float *array = tape ? nas__arena_alloc(&tape->arena, (size_t)nas__padded(channels) * sizeof *array) : NULL;
    if (array && values) {
        memcpy(array, values, (size_t)channels * sizeof *array);
    }
    return array;
}

double *nas__moments(nas_tensor *y) {
    nas_bn_mode mode = y->tape->config.bn;
    if (mode == NAS_BN_BATCH || mode == NAS_BN_CALIBRATE) {
        y->moments = nas__arena_alloc(&y->tape->arena, 2 * (size_t)nas__padded(y->dims[1]) * sizeof *y->moments);
    }
    return y->moments;
}
