/* pool_reference.h - pooling in plain loops and double, for the tests of the kernels that pool on the way. */
#ifndef TESTS_KERNELS_POOL_REFERENCE_H
#define TESTS_KERNELS_POOL_REFERENCE_H

#include "blocked.h"

/* What one window looks at. */
typedef struct window {
    int best; /* offset in the plane of the first maximum, or of the first pixel where that is a NaN */
    double average;
    int h0, h1, w0, w1, count; /* the pixels inside, and the number that the average is over */
} window;

static inline window look(const nas__pool_shape *s, const float *plane, int oh, int ow) {
    const int top = oh * s->stride - s->pad, left = ow * s->stride - s->pad;
    window v = {.h0 = top < 0 ? 0 : top, .w0 = left < 0 ? 0 : left};
    v.h1 = top + s->kernel < s->h ? top + s->kernel : s->h;
    v.w1 = left + s->kernel < s->w ? left + s->kernel : s->w;
    v.count = s->count_padding ? s->kernel * s->kernel : (v.h1 - v.h0) * (v.w1 - v.w0);
    v.best = v.h0 * s->w + v.w0;
    double sum = 0;
    for (int h = v.h0; h < v.h1; h++) {
        for (int w = v.w0; w < v.w1; w++) {
            sum += plane[h * s->w + w];
            v.best = plane[h * s->w + w] > plane[v.best] ? h * s->w + w : v.best;
        }
    }
    v.average = sum / v.count;
    return v;
}

/* The pooled tensor of plain x, to be freed. */
static inline float *pooled_reference(const nas__pool_shape *s, const float *x, bool max) {
    float *y = malloc((size_t)s->n * s->c * s->oh * s->ow * sizeof *y), *to = y;
    for (int p = 0; p < s->n * s->c; p++) {
        const float *plane = x + (size_t)p * s->h * s->w;
        for (int o = 0; o < s->oh * s->ow; o++) {
            const window v = look(s, plane, o / s->ow, o % s->ow);
            *to++ = max ? plane[v.best] : (float)v.average;
        }
    }
    return y;
}

/* Half of the shapes have 3x3 windows as the usual ones do; few have large ones. */
static inline nas__pool_shape random_pool(nas_rng *rng) {
    static const int channels[] = {1, 3, 17, 24};
    for (;;) {
        nas__pool_shape s = {.n = uniform_int(rng, 1, 2), .c = channels[uniform_int(rng, 0, 3)]};
        s.h = uniform_int(rng, 1, uniform_int(rng, 1, 33));
        s.w = uniform_int(rng, 1, uniform_int(rng, 1, 33));
        s.kernel = uniform_int(rng, 0, 2) ? 3 : uniform_int(rng, 1, uniform_int(rng, 0, 9) ? 5 : 15);
        s.stride = uniform_int(rng, 1, uniform_int(rng, 0, 4) ? 2 : 4);
        s.pad = uniform_int(rng, 0, s.kernel == 3 && uniform_int(rng, 0, 2) ? 1 : s.kernel - 1);
        s.count_padding = uniform_int(rng, 0, 1);
        if (s.h + 2 * s.pad >= s.kernel && s.w + 2 * s.pad >= s.kernel) {
            s.oh = (s.h + 2 * s.pad - s.kernel) / s.stride + 1;
            s.ow = (s.w + 2 * s.pad - s.kernel) / s.stride + 1;
            return s;
        }
    }
}

/* random_floats in steps of a quarter: many equal maxima */
static inline float *quarters(uint64_t seed, size_t count) {
    float *x = random_floats(seed, count);
    for (size_t i = 0; i < count; i++) {
        x[i] = roundf(x[i] * 4) / 4;
    }
    return x;
}

#endif
