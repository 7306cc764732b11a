/* simd_depthwise_phases.h - the gradient of a strided depthwise convolution with respect to its input falls apart into
 * `stride` x `stride` dense correlations, one for each remainder of the input pixel's coordinates. */
#ifndef NAS_KERNELS_SIMD_DEPTHWISE_PHASES_H
#define NAS_KERNELS_SIMD_DEPTHWISE_PHASES_H

#include "simd_depthwise.h"

#include <limits.h>
#include <math.h>

/* Along one axis, the input positions rest, rest + stride, ... and the taps that connect them to outputs: position
 * rest + m*stride receives from outputs from + m + u*step, u < taps, through taps last_tap - u*tap_step. */
typedef struct dw_phase {
    int taps, last_tap, tap_step, from;
} dw_phase;

NAS_INLINE int dw_greatest_common_divisor(int a, int b) {
    while (b) {
        int t = a % b;
        a = b;
        b = t;
    }
    return a;
}

NAS_INLINE dw_phase dw_find_phase(int rest, int kernel, int stride, int dilation, int pad) {
    const int g = dw_greatest_common_divisor(stride, dilation);
    dw_phase ph = {.tap_step = stride / g};
    for (int tap = 0; tap < ph.tap_step && tap < kernel; tap++) {
        if ((rest + pad - tap * dilation) % stride == 0) {
            ph.taps = (kernel - tap - 1) / ph.tap_step + 1;
            ph.last_tap = tap + (ph.taps - 1) * ph.tap_step;
            ph.from = (rest + pad - ph.last_tap * dilation) / stride;
            break;
        }
    }
    return ph;
}

/* The outputs that the positions of all phases receive from: [*from, *to), some perhaps outside dy. */
NAS_INLINE void dw_phase_range(int size, int kernel, int stride, int dilation, int pad, int *from, int *to) {
    const int step = dilation / dw_greatest_common_divisor(stride, dilation), count = dw_ceil_div(size, stride);
    *from = INT_MAX;
    *to = INT_MIN;
    for (int rest = 0; rest < stride && rest < size; rest++) {
        dw_phase ph = dw_find_phase(rest, kernel, stride, dilation, pad);
        if (ph.taps > 0) {
            *from = dw_min(*from, ph.from);
            *to = dw_max(*to, ph.from + count + (ph.taps - 1) * step);
        }
    }
    if (*from > *to) { /* no output sees this input at all */
        *from = 0;
        *to = count;
    }
}

/* Reorders the weights so that each pair of phases sees a dense kernel with ascending taps. */
NAS_INLINE void dw_gather_weights(const nas__unit *u, const float *w, float *out) {
    for (int rest_h = 0; rest_h < u->stride; rest_h++) {
        const dw_phase ph = dw_find_phase(rest_h, u->kernel_h, u->stride, u->dilation, u->pad_h);
        for (int rest_w = 0; rest_w < u->stride; rest_w++) {
            const dw_phase pw = dw_find_phase(rest_w, u->kernel_w, u->stride, u->dilation, u->pad_w);
            for (int i = 0; i < ph.taps; i++) {
                for (int j = 0; j < pw.taps; j++, out += BLOCK) {
                    int tap_h = ph.last_tap - i * ph.tap_step, tap_w = pw.last_tap - j * pw.tap_step;
                    vstore(out, vload(w + ((size_t)tap_h * u->kernel_w + tap_w) * BLOCK));
                }
            }
        }
    }
}

#endif
