/* Depthwise kernels of every instruction set against plain loops in double, over random shapes. */
#include "blocked.h"

#include <stdio.h>

typedef struct problem {
    nas__dw_shape s;
    float *x, *w, *dy; /* plain: (n,c,h,w), (c,kh,kw), (n,c,oh,ow) */
    float *y, *dx, *dw;
} problem;

static size_t pixels_in(const nas__dw_shape *s) { return (size_t)s->n * s->c * s->h * s->w; }
static size_t pixels_out(const nas__dw_shape *s) { return (size_t)s->n * s->c * s->oh * s->ow; }
static size_t weights(const nas__dw_shape *s) { return (size_t)s->c * s->kernel_h * s->kernel_w; }

/* Calls every product (output o, weight k, input i) of the convolution once. */
static void reference(problem *p, bool relu) {
    const nas__dw_shape *s = &p->s;
    double *y = calloc(pixels_out(s), sizeof *y), *dx = calloc(pixels_in(s), sizeof *dx),
           *dw = calloc(weights(s), sizeof *dw);
    for (size_t o = 0; o < pixels_out(s); o++) {
        const int ow = (int)(o % s->ow), oh = (int)(o / s->ow % s->oh);
        const size_t plane = o / s->ow / s->oh, channel = plane % s->c;
        for (int k = 0; k < s->kernel_h * s->kernel_w; k++) {
            const int h = oh * s->stride - s->pad_h + k / s->kernel_w * s->dilation;
            const int w = ow * s->stride - s->pad_w + k % s->kernel_w * s->dilation;
            if (h < 0 || h >= s->h || w < 0 || w >= s->w) {
                continue;
            }
            const size_t i = (plane * s->h + h) * s->w + w, tap = channel * s->kernel_h * s->kernel_w + k;
            const double x = relu && p->x[i] < 0 ? 0 : p->x[i];
            y[o] += x * p->w[tap];
            dw[tap] += x * p->dy[o];
            dx[i] += !relu || p->x[i] > 0 ? (double)p->w[tap] * p->dy[o] : 0;
        }
    }
    for (size_t i = 0; i < pixels_out(s); i++) {
        p->y[i] = (float)y[i];
    }
    for (size_t i = 0; i < pixels_in(s); i++) {
        p->dx[i] = (float)dx[i];
    }
    for (size_t i = 0; i < weights(s); i++) {
        p->dw[i] = (float)dw[i];
    }
    free(y), free(dx), free(dw);
}

static void describe(const problem *p, const char *isa, const char *what, bool relu, char *text, size_t size) {
    const nas__dw_shape *s = &p->s;
    snprintf(text, size, "%s %s: n %d c %d %dx%d -> %dx%d kernel %dx%d stride %d dilation %d pad %d,%d relu %d", isa,
             what, s->n, s->c, s->h, s->w, s->oh, s->ow, s->kernel_h, s->kernel_w, s->stride, s->dilation, s->pad_h,
             s->pad_w, relu);
}

static void check_table(const problem *p, const nas__kernels *k, bool relu) {
    const nas__dw_shape *s = &p->s;
    const int b = k->block, cp = padded(s->c, b), taps = s->kernel_h * s->kernel_w;
    char text[256];
    float *x = to_blocked(p->x, s->n, s->c, s->h * s->w, b), *w = to_blocked(p->w, 1, s->c, taps, b);
    float *dy = to_blocked(p->dy, s->n, s->c, s->oh * s->ow, b);
    float *y = new_array((size_t)s->n * cp * s->oh * s->ow), *dx = new_array((size_t)s->n * cp * s->h * s->w);
    float *dw = new_array((size_t)cp * taps);
    k->dw_forward(s, x, w, y, relu);
    describe(p, k->isa, "forward", relu, text, sizeof text);
    check_blocked(y, p->y, s->n, s->c, s->oh * s->ow, b, 1e-5, text);
    k->dw_backward_data(s, dy, w, relu ? x : NULL, dx, relu);
    describe(p, k->isa, "backward data", relu, text, sizeof text);
    check_blocked(dx, p->dx, s->n, s->c, s->h * s->w, b, 1e-5, text);
    k->dw_backward_weights(s, x, dy, dw, relu);
    describe(p, k->isa, "backward weights", relu, text, sizeof text);
    check_blocked(dw, p->dw, 1, s->c, taps, b, 5e-5, text);
    free(x), free(w), free(dy);
}

static bool output_size(nas__dw_shape *s) {
    int h = s->h + 2 * s->pad_h - s->dilation * (s->kernel_h - 1) - 1;
    int w = s->w + 2 * s->pad_w - s->dilation * (s->kernel_w - 1) - 1;
    s->oh = h / s->stride + 1;
    s->ow = w / s->stride + 1;
    return h >= 0 && w >= 0;
}

static void check_shape(nas__dw_shape s, uint64_t seed, bool relu) {
    const nas__kernels *tables[3];
    problem p = {.s = s};
    p.x = random_floats(3 * seed, pixels_in(&s));
    p.w = random_floats(3 * seed + 1, weights(&s));
    p.dy = random_floats(3 * seed + 2, pixels_out(&s));
    p.y = malloc(pixels_out(&s) * sizeof(float));
    p.dx = malloc(pixels_in(&s) * sizeof(float));
    p.dw = malloc(weights(&s) * sizeof(float));
    reference(&p, relu);
    for (int t = 0, n = nas__usable_kernel_tables(tables); t < n; t++) {
        check_table(&p, tables[t], relu);
    }
    free(p.x), free(p.w), free(p.dy), free(p.y), free(p.dx), free(p.dw);
}

static void random_shapes(void **state) {
    (void)state;
    nas_rng rng = nas_rng_new(11, 5);
    for (uint64_t i = 0; i < 500;) {
        nas__dw_shape s = {.n = uniform_int(&rng, 1, 3), .c = uniform_int(&rng, 1, 40)};
        s.h = uniform_int(&rng, 1, 33);
        s.w = uniform_int(&rng, 1, 33);
        s.kernel_h = uniform_int(&rng, 1, 7);
        s.kernel_w = uniform_int(&rng, 0, 2) ? s.kernel_h : uniform_int(&rng, 1, 7);
        s.stride = uniform_int(&rng, 1, 3);
        s.dilation = uniform_int(&rng, 1, 3);
        s.pad_h = uniform_int(&rng, 0, s.dilation * (s.kernel_h - 1));
        s.pad_w = uniform_int(&rng, 0, s.dilation * (s.kernel_w - 1));
        if (output_size(&s)) {
            check_shape(s, i++, uniform_int(&rng, 0, 1));
        }
    }
}

/* Every instance with its own code: square kernels, 'same' padding, image sizes with and without a remainder. */
static void usual_shapes(void **state) {
    (void)state;
    static const int sizes[] = {7, 8, 14, 33};
    uint64_t seed = 1000;
    for (int kernel = 1; kernel <= 7; kernel += 2) {
        for (int stride = 1; stride <= 2; stride++) {
            for (int dilation = 1; dilation <= 2; dilation++) {
                int size = sizes[seed % 4], pad = dilation * (kernel - 1) / 2;
                nas__dw_shape s = {.n = 2,
                                   .c = 17,
                                   .h = size,
                                   .w = size,
                                   .kernel_h = kernel,
                                   .kernel_w = kernel,
                                   .stride = stride,
                                   .dilation = dilation,
                                   .pad_h = pad,
                                   .pad_w = pad};
                assert_true(output_size(&s));
                check_shape(s, seed++, true);
            }
        }
    }
}

/* Sums over images do not depend on the number of threads. */
static void threads_do_not_matter(void **state) {
    (void)state;
    const nas__kernels *tables[3];
    nas__dw_shape s = {.n = 37,
                       .c = 17,
                       .h = 9,
                       .w = 9,
                       .oh = 9,
                       .ow = 9,
                       .kernel_h = 3,
                       .kernel_w = 3,
                       .stride = 1,
                       .dilation = 1,
                       .pad_h = 1,
                       .pad_w = 1};
    const int threads = omp_get_max_threads();
    for (int t = 0, n = nas__usable_kernel_tables(tables); t < n; t++) {
        const int block = tables[t]->block;
        const size_t count = (size_t)padded(s.c, block) * 9;
        float *plain = random_floats(5, pixels_in(&s)), *one = new_array(count), *three = new_array(count);
        float *x = to_blocked(plain, s.n, s.c, 81, block);
        omp_set_num_threads(1);
        tables[t]->dw_backward_weights(&s, x, x, one, false);
        omp_set_num_threads(3);
        tables[t]->dw_backward_weights(&s, x, x, three, false);
        omp_set_num_threads(threads);
        assert_memory_equal(one, three, count * sizeof(float));
        free(plain), free(x), free(one), free(three);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(usual_shapes),
        cmocka_unit_test(random_shapes),
        cmocka_unit_test(threads_do_not_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
