/* Pooling without an index, and its backward pass from late gradients, against plain loops in double. */
#include "pool_reference.h"

#include <stdio.h>

typedef struct problem {
    nas__pool_shape s;
    bool max, accumulate, with_a, with_b, masked, mask_scaled;
    float scale, cap;
    float *x, *g, *a, *b, *k, *mask_scale, *mask_shift, *before; /* plain; before: what dx held */
    float *y, *dx;
    double *sums; /* [2][c] */
    char text[200];
} problem;

static size_t pixels_in(const nas__pool_shape *s) { return (size_t)s->n * s->c * s->h * s->w; }
static size_t pixels_out(const nas__pool_shape *s) { return (size_t)s->n * s->c * s->oh * s->ow; }

/* The late gradient of output o of a channel. Where rounding decides whether it counts, g becomes zero. */
static double late(problem *p, size_t o, int channel, double z) {
    if (p->masked) {
        const double m = p->mask_scaled ? (double)p->mask_scale[channel] * z + (double)p->mask_shift[channel] : z;
        const bool exact = p->max && !p->mask_scaled;
        if (!exact && (fabs(m) < 1e-5 || fabs(m - p->cap) < 1e-5)) {
            p->g[o] = 0;
        }
        if (!(m > 0 && (p->cap == 0 || m < (double)p->cap))) {
            return p->with_b ? p->b[channel] * z + p->k[channel] : 0;
        }
    }
    const double g = (double)p->scale * p->g[o], t = p->with_a ? p->a[channel] * g : g;
    return p->with_b ? t + p->b[channel] * z + p->k[channel] : t;
}

static void reference(problem *p) {
    const nas__pool_shape *s = &p->s;
    double *dx = calloc(pixels_in(s), sizeof *dx);
    for (size_t o = 0; o < pixels_out(s); o++) {
        const int plane = (int)(o / s->oh / s->ow), channel = plane % s->c;
        const size_t at = (size_t)plane * s->h * s->w;
        const window v = look(s, p->x + at, (int)(o / s->ow % s->oh), (int)(o % s->ow));
        const double z = p->max ? p->x[at + v.best] : v.average, t = late(p, o, channel, z);
        p->y[o] = (float)z;
        p->sums[channel] += z;
        p->sums[s->c + channel] += z * z;
        for (int h = v.h0; h < v.h1 && !p->max; h++) {
            for (int w = v.w0; w < v.w1; w++) {
                dx[at + h * s->w + w] += t / v.count;
            }
        }
        dx[at + v.best] += p->max ? t : 0;
    }
    for (size_t i = 0; i < pixels_in(s); i++) {
        p->dx[i] = (float)(dx[i] + (p->accumulate ? p->before[i] : 0));
    }
    free(dx);
}

static void check_forward(const problem *p, const nas__kernels *k, const float *x) {
    const nas__pool_shape *s = &p->s;
    const int cp = padded(s->c, k->block);
    float *y = new_array((size_t)s->n * cp * s->oh * s->ow);
    k->pool_forward_late(s, p->max, x, y);
    check_blocked(y, p->y, s->n, s->c, s->oh * s->ow, k->block, p->max ? 0 : 1e-6, p->text);
    double *sums = malloc(2 * cp * sizeof *sums);
    k->pools_sums(s, x, p->max ? sums : NULL, p->max ? NULL : sums);
    for (int i = 0; i < 2 * cp; i++) {
        const double expected = i % cp < s->c ? p->sums[i / cp * s->c + i % cp] : 0;
        if (!(fabs(sums[i] - expected) <= 1e-6 * (i % cp < s->c ? s->n * s->oh * s->ow : 0))) {
            fail_msg("%s %s: sum %d is %.9g instead of %.9g", k->isa, p->text, i, sums[i], expected);
        }
    }
    free(sums);
}

static void check_backward(const problem *p, const nas__kernels *k, const float *x) {
    const nas__pool_shape *s = &p->s;
    const int b = k->block;
    float *g = to_blocked(p->g, s->n, s->c, s->oh * s->ow, b);
    float *dx = p->accumulate ? to_blocked(p->before, s->n, s->c, s->h * s->w, b)
                              : new_array((size_t)s->n * padded(s->c, b) * s->h * s->w);
    float *on_g = channel_array(p->a, s->c, b), *on_z = channel_array(p->b, s->c, b);
    float *constant = channel_array(p->k, s->c, b);
    float *mask_scale = channel_array(p->mask_scale, s->c, b), *mask_shift = channel_array(p->mask_shift, s->c, b);
    const nas__late_grad dy = {.g = g,
                               .scale = p->scale,
                               .a = p->with_a ? on_g : NULL,
                               .b = p->with_b ? on_z : NULL,
                               .k = p->with_b ? constant : NULL,
                               .masked = p->masked,
                               .mask_scale = p->mask_scaled ? mask_scale : NULL,
                               .mask_shift = p->mask_scaled ? mask_shift : NULL,
                               .cap = p->cap};
    k->pools_backward_late(s, x, p->max ? &dy : NULL, p->max ? NULL : &dy, dx, p->accumulate);
    check_blocked(dx, p->dx, s->n, s->c, s->h * s->w, b, 5e-6, p->text);
    free(g), free(on_g), free(on_z), free(constant), free(mask_scale), free(mask_shift);
}

/* Bits of `variant` choose the kind of late gradient. */
static void check(nas__pool_shape s, bool max, unsigned variant, uint64_t seed, bool nans) {
    problem p = {.s = s, .max = max, .accumulate = variant & 1, .masked = variant & 2, .mask_scaled = variant & 4};
    p.with_a = variant & 24;
    p.with_b = (variant & 24) == 24;
    p.scale = variant & 32 ? 0.75f : 1;
    p.cap = variant & 64 ? 0.5f : 0;
    snprintf(
        p.text, sizeof p.text, "%s: n %d c %d %dx%d -> %dx%d kernel %d stride %d pad %d count_padding %d, variant %u",
        max ? "max" : "average", s.n, s.c, s.h, s.w, s.oh, s.ow, s.kernel, s.stride, s.pad, s.count_padding, variant);
    p.x = quarters(9 * seed, pixels_in(&s));
    for (size_t i = 0; i < pixels_in(&s) && nans; i += 3 + i % 5) {
        p.x[i] = NAN;
    }
    p.g = random_floats(9 * seed + 1, pixels_out(&s));
    p.before = random_floats(9 * seed + 2, pixels_in(&s));
    float **channels[] = {&p.a, &p.b, &p.k, &p.mask_scale, &p.mask_shift};
    for (int i = 0; i < 5; i++) {
        *channels[i] = random_floats(9 * seed + 3 + i, s.c);
    }
    p.y = malloc(pixels_out(&s) * sizeof *p.y);
    p.dx = malloc(pixels_in(&s) * sizeof *p.dx);
    p.sums = calloc(2 * s.c, sizeof *p.sums);
    reference(&p);
    const nas__kernels *tables[3];
    for (int t = 0, n = nas__usable_kernel_tables(tables); t < n; t++) {
        float *x = to_blocked(p.x, s.n, s.c, s.h * s.w, tables[t]->block);
        if (!nans) {
            check_forward(&p, tables[t], x);
        }
        check_backward(&p, tables[t], x);
        free(x);
    }
    free(p.x), free(p.g), free(p.before), free(p.y), free(p.dx), free(p.sums);
    free(p.a), free(p.b), free(p.k), free(p.mask_scale), free(p.mask_shift);
}

static void random_shapes(void **state) {
    (void)state;
    nas_rng rng = nas_rng_new(17, 5);
    for (uint64_t i = 0; i < 500; i++) {
        check(random_pool(&rng), i % 2, (unsigned)uniform_int(&rng, 0, 127), i, false);
    }
}

static nas__pool_shape usual(int n, int c, int size, int stride) {
    return (nas__pool_shape){n, c, size, size, (size - 1) / stride + 1, (size - 1) / stride + 1, 3, stride, 1, false};
}

static void every_variant(void **state) {
    (void)state;
    for (unsigned variant = 0; variant < 128; variant++) {
        for (int stride = 1; stride <= 2; stride++) {
            check(usual(1, 3, 5 + (int)variant % 6, stride), false, variant, 600 + variant, false);
            check(usual(1, 3, 5 + (int)variant % 6, stride), true, variant, 600 + variant, false);
        }
    }
    check(usual(7, 20, 33, 1), true, 24, 800, false); /* many threads */
    check(usual(7, 20, 33, 2), false, 26, 801, false);
}

/* A maximum that is a NaN sends its gradient to the first pixel of the window; other NaNs are passed over. */
static void not_a_number(void **state) {
    (void)state;
    nas_rng rng = nas_rng_new(18, 5);
    for (uint64_t i = 0; i < 40; i++) {
        check(random_pool(&rng), true, 8 + i % 2, 900 + i, true);
    }
}

/* Max and average at once give what they give one after the other, to the last bit. */
static void check_both(nas__pool_shape s, unsigned variant, const nas__kernels *k, uint64_t seed) {
    const int cp = padded(s.c, k->block);
    const size_t ins = (size_t)s.n * cp * s.h * s.w, outs = (size_t)s.n * cp * s.oh * s.ow;
    float *values = quarters(3 * seed, ins), *x = copy_array(values, ins); /* the tails hold values, too */
    float *more = random_floats(3 * seed + 1, outs), *g = copy_array(more, outs);
    float *both = variant & 1 ? copy_array(values, ins) : new_array(ins);
    float *coefficients = random_floats(3 * seed + 2, cp), *a = copy_array(coefficients, cp);
    const nas__late_grad max = {.g = g, .scale = 1, .a = a}, average = {.g = g, .scale = 2, .masked = variant & 2};
    float *one = copy_array(both, ins);
    k->pools_backward_late(&s, x, &max, NULL, one, variant & 1);
    k->pools_backward_late(&s, x, NULL, &average, one, true);
    k->pools_backward_late(&s, x, &max, &average, both, variant & 1);
    assert_memory_equal(one, both, ins * sizeof *one);
    double *sums = malloc(8 * cp * sizeof *sums);
    k->pools_sums(&s, x, sums, NULL);
    k->pools_sums(&s, x, NULL, sums + 2 * cp);
    k->pools_sums(&s, x, sums + 4 * cp, sums + 6 * cp);
    assert_memory_equal(sums, sums + 4 * cp, 4 * cp * sizeof *sums);
    free_array(one, ins), free_array(both, ins);
    free(values), free(x), free(more), free(g), free(coefficients), free(a), free(sums);
}

static void both_at_once(void **state) {
    (void)state;
    const nas__kernels *tables[3];
    nas_rng rng = nas_rng_new(19, 5);
    for (uint64_t i = 0; i < 60; i++) {
        nas__pool_shape s = random_pool(&rng);
        for (int t = 0, n = nas__usable_kernel_tables(tables); t < n; t++) {
            check_both(s, (unsigned)i, tables[t], 2000 + i);
        }
    }
}

static void threads_do_not_matter(void **state) {
    (void)state;
    const nas__kernels *tables[3];
    const nas__pool_shape s = usual(9, 5, 16, 1);
    const int threads = omp_get_max_threads();
    float *values = random_floats(1, pixels_in(&s));
    for (int t = 0, n = nas__usable_kernel_tables(tables); t < n; t++) {
        const int b = tables[t]->block;
        float *x = to_blocked(values, s.n, s.c, s.h * s.w, b);
        double one[32] = {0}, three[32] = {0};
        omp_set_num_threads(1);
        tables[t]->pools_sums(&s, x, NULL, one);
        omp_set_num_threads(3);
        tables[t]->pools_sums(&s, x, NULL, three);
        omp_set_num_threads(threads);
        assert_memory_equal(one, three, sizeof one);
        free(x);
    }
    free(values);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_variant), cmocka_unit_test(random_shapes),         cmocka_unit_test(not_a_number),
        cmocka_unit_test(both_at_once),  cmocka_unit_test(threads_do_not_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
