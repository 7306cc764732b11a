/* Pooling kernels of every instruction set against plain loops in double. */
#include "blocked.h"

#include <stdio.h>

typedef struct problem {
    nas__pool_shape s;
    float *x, *dy, *y, *dx, *index; /* plain */
} problem;

static size_t pixels_in(const nas__pool_shape *s) { return (size_t)s->n * s->c * s->h * s->w; }
static size_t pixels_out(const nas__pool_shape *s) { return (size_t)s->n * s->c * s->oh * s->ow; }

/* Position in x of tap k of the window of output o, or -1 in the padding. */
static long source(const nas__pool_shape *s, size_t o, int k) {
    const int h = (int)(o / s->ow % s->oh) * s->stride - s->pad + k / s->kernel;
    const int w = (int)(o % s->ow) * s->stride - s->pad + k % s->kernel;
    return h < 0 || h >= s->h || w < 0 || w >= s->w ? -1 : ((long)(o / s->ow / s->oh) * s->h + h) * s->w + w;
}

static void reference(problem *p, bool max) {
    const nas__pool_shape *s = &p->s;
    double *dx = calloc(pixels_in(s), sizeof *dx);
    for (size_t o = 0; o < pixels_out(s); o++) {
        int best = -1, count = 0;
        double sum = 0;
        for (int k = 0; k < s->kernel * s->kernel; k++) {
            long at = source(s, o, k);
            if (at >= 0) {
                best = best < 0 || p->x[at] > p->x[source(s, o, best)] ? k : best;
                sum += p->x[at];
                count++;
            }
        }
        count = s->count_padding ? s->kernel * s->kernel : count;
        p->y[o] = max ? p->x[source(s, o, best)] : (float)(sum / count);
        p->index[o] = (float)best;
        for (int k = 0; k < s->kernel * s->kernel; k++) {
            if (source(s, o, k) >= 0 && (!max || k == best)) {
                dx[source(s, o, k)] += max ? p->dy[o] : (double)p->dy[o] / count;
            }
        }
    }
    for (size_t i = 0; i < pixels_in(s); i++) {
        p->dx[i] = (float)dx[i];
    }
    free(dx);
}

static void check_table(const problem *p, const nas__kernels *k, bool max) {
    const nas__pool_shape *s = &p->s;
    const int b = k->block, cp = padded(s->c, b);
    const size_t outs = (size_t)s->n * cp * s->oh * s->ow, ins = (size_t)s->n * cp * s->h * s->w;
    char text[256];
    snprintf(text, sizeof text, "%s %s: n %d c %d %dx%d -> %dx%d kernel %d stride %d pad %d count_padding %d", k->isa,
             max ? "max" : "average", s->n, s->c, s->h, s->w, s->oh, s->ow, s->kernel, s->stride, s->pad,
             s->count_padding);
    float *x = to_blocked(p->x, s->n, s->c, s->h * s->w, b), *dy = to_blocked(p->dy, s->n, s->c, s->oh * s->ow, b);
    float *y = new_array(outs), *dx = new_array(ins), *taps = new_array(outs), *bytes = new_array(outs);
    uint8_t *index = (uint8_t *)bytes;
    if (max) {
        k->max_pool_forward(s, x, y, index);
        k->max_pool_backward(s, dy, index, dx);
        float *expected = to_blocked(p->index, s->n, s->c, s->oh * s->ow, b);
        for (size_t i = 0; i < outs; i++) {
            taps[i] = index[i];
            const int channel = (int)(i / b / (s->oh * s->ow) % (cp / b)) * b + (int)(i % b);
            if (channel < s->c && taps[i] != expected[i]) {
                fail_msg("%s: position %g instead of %g", text, (double)taps[i], (double)expected[i]);
            }
        }
        free(expected);
    } else {
        k->avg_pool_forward(s, x, y);
        k->avg_pool_backward(s, dy, dx);
    }
    check_blocked(y, p->y, s->n, s->c, s->oh * s->ow, b, max ? 0 : 1e-6, text);
    check_blocked(dx, p->dx, s->n, s->c, s->h * s->w, b, 2e-6, text);
    free(x), free(dy), free(taps), free(bytes);
}

static void check_shape(nas__pool_shape s, uint64_t seed) {
    const nas__kernels *tables[3];
    s.oh = (s.h + 2 * s.pad - s.kernel) / s.stride + 1;
    s.ow = (s.w + 2 * s.pad - s.kernel) / s.stride + 1;
    problem p = {
        .s = s, .x = random_floats(2 * seed, pixels_in(&s)), .dy = random_floats(2 * seed + 1, pixels_out(&s))};
    p.y = malloc(pixels_out(&s) * sizeof(float));
    p.index = malloc(pixels_out(&s) * sizeof(float));
    p.dx = malloc(pixels_in(&s) * sizeof(float));
    for (size_t i = 0; i < pixels_in(&s); i++) {
        p.x[i] = roundf(p.x[i] * 4) / 4; /* many ties */
    }
    for (int max = 0; max < 2; max++) {
        reference(&p, max);
        for (int t = 0, n = nas__usable_kernel_tables(tables); t < n; t++) {
            check_table(&p, tables[t], max);
        }
    }
    free(p.x), free(p.dy), free(p.y), free(p.dx), free(p.index);
}

static void random_shapes(void **state) {
    (void)state;
    static const int channels[] = {1, 3, 17, 40};
    nas_rng rng = nas_rng_new(12, 5);
    for (uint64_t i = 0; i < 150;) {
        nas__pool_shape s = {.n = uniform_int(&rng, 1, 3), .c = channels[uniform_int(&rng, 0, 3)]};
        s.h = uniform_int(&rng, 1, 20);
        s.w = uniform_int(&rng, 1, 20);
        s.kernel = uniform_int(&rng, 0, 1) ? 3 : uniform_int(&rng, 1, 7);
        s.stride = uniform_int(&rng, 1, 3);
        s.pad = uniform_int(&rng, 0, s.kernel - 1);
        s.count_padding = uniform_int(&rng, 0, 1);
        if (s.h + 2 * s.pad >= s.kernel && s.w + 2 * s.pad >= s.kernel) {
            check_shape(s, i++);
        }
    }
}

static void usual_shapes(void **state) {
    (void)state;
    for (int size = 1; size <= 9; size++) {
        check_shape((nas__pool_shape){.n = 1, .c = 5, .h = size, .w = size, .kernel = 3, .stride = 1, .pad = 1},
                    500 + size);
        check_shape((nas__pool_shape){.n = 1, .c = 5, .h = size, .w = size, .kernel = 3, .stride = 2, .pad = 1},
                    600 + size);
    }
    check_shape((nas__pool_shape){.n = 9, .c = 20, .h = 32, .w = 32, .kernel = 3, .stride = 1, .pad = 1},
                700); /* many threads */
    check_shape((nas__pool_shape){.n = 1, .c = 1, .h = 15, .w = 17, .kernel = 15, .stride = 1, .pad = 7},
                701); /* positions > 127 */
}

static void global(void **state) {
    (void)state;
    static const int shapes[][3] = {{3, 17, 49}, {1, 3, 1}, {2, 40, 2}, {5, 16, 64}, {1, 5, 1000}};
    const nas__kernels *tables[3];
    for (int i = 0; i < 5; i++) {
        const int n = shapes[i][0], c = shapes[i][1], hw = shapes[i][2];
        float *x = random_floats(i, (size_t)n * c * hw), *mean = calloc((size_t)n * c, sizeof *mean);
        float *dx = malloc((size_t)n * c * hw * sizeof *dx);
        for (int plane = 0; plane < n * c; plane++) {
            double sum = 0;
            for (int s = 0; s < hw; s++) {
                sum += x[plane * hw + s];
            }
            mean[plane] = (float)(sum / hw);
            for (int s = 0; s < hw; s++) {
                dx[plane * hw + s] = mean[plane] / (float)hw;
            }
        }
        for (int t = 0, count = nas__usable_kernel_tables(tables); t < count; t++) {
            const int b = tables[t]->block;
            float *blocked = to_blocked(x, n, c, hw, b), *y = new_array((size_t)n * c);
            float *got = new_array((size_t)n * padded(c, b) * hw);
            tables[t]->global_pool_forward(n, c, hw, blocked, y);
            assert_floats_near(y, mean, (size_t)n * c, 1e-6, tables[t]->isa);
            tables[t]->global_pool_backward(n, c, hw, mean, got);
            check_blocked(got, dx, n, c, hw, b, 1e-7, tables[t]->isa);
            free_array(y, (size_t)n * c);
            free(blocked);
        }
        free(x), free(mean), free(dx);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(usual_shapes),
        cmocka_unit_test(random_shapes),
        cmocka_unit_test(global),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
