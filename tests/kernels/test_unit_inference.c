/* What units do for finished networks, against the plain forward pass: weights that were packed before, another tensor
 * added to the result, a mere ReLU on load in the products, parts by the number of threads. */
#include "support.h"

#include "kernels/kernels.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

typedef struct example {
    nas__unit u;
    int in, out; /* padded */
    float *x, *depthwise, *pointwise, *bias, *more;
} example;

static int padded(int c) {
    int block = nas__kernel_table()->block;
    return (c + block - 1) / block * block;
}

static float *zeros(size_t count) {
    size_t bytes = (count * sizeof(float) + 63) / 64 * 64;
    return memset(aligned_alloc(64, bytes), 0, bytes);
}

/* Random where channel c of `channels` is not in the tail; `inner` numbers for each channel of each block. */
static float *blocked(uint64_t seed, int images, int channels, int inner) {
    int block = nas__kernel_table()->block;
    size_t count = (size_t)images * padded(channels) * inner;
    float *values = zeros(count), *random = random_floats(seed, count);
    for (size_t i = 0; i < count; i++) {
        size_t channel = i / ((size_t)inner * block) * block % padded(channels) + i % block;
        values[i] = channel < (size_t)channels ? random[i] : 0;
    }
    free(random);
    return values;
}

static float *rows(uint64_t seed, int in, int out) {
    float *values = zeros((size_t)in * padded(out)), *random = random_floats(seed, (size_t)in * out);
    for (int i = 0; i < in; i++) {
        memcpy(values + (size_t)i * padded(out), random + (size_t)i * out, (size_t)out * sizeof *values);
    }
    free(random);
    return values;
}

static example make(const nas__unit *shape, bool depthwise, bool pointwise, uint64_t seed) {
    example e = {.u = *shape, .in = padded(shape->in), .out = padded(shape->out)};
    e.x = blocked(seed, shape->n, shape->in, shape->h * shape->w);
    e.more = blocked(seed + 1, shape->n, shape->out, shape->oh * shape->ow);
    e.bias = blocked(seed + 2, 1, shape->out, 1);
    e.depthwise = depthwise ? blocked(seed + 3, 1, shape->in, shape->kernel_h * shape->kernel_w) : NULL;
    e.pointwise = pointwise ? rows(seed + 4, shape->in, shape->out) : NULL;
    e.u.depthwise = e.depthwise;
    e.u.pointwise = e.pointwise;
    return e;
}

static void drop(example *e) {
    free(e->x);
    free(e->more);
    free(e->bias);
    free(e->depthwise);
    free(e->pointwise);
}

/* max(x, 0) before, bias and addition and max(., 0) after, each on its own */
static float *expected(const example *e, size_t count) {
    size_t inputs = (size_t)e->u.n * e->in * e->u.h * e->u.w;
    float *x = zeros(inputs), *z = zeros(count);
    for (size_t i = 0; i < inputs; i++) {
        x[i] = e->x[i] > 0 ? e->x[i] : 0;
    }
    nas__kernel_table()->unit_forward(&e->u, x, NULL, e->bias, NULL, z, NULL);
    for (size_t i = 0; i < count; i++) {
        z[i] = z[i] + e->more[i] > 0 ? z[i] + e->more[i] : 0;
    }
    free(x);
    return z;
}

static void check(example *e) {
    const nas__kernels *k = nas__kernel_table();
    size_t count = (size_t)e->u.n * e->out * e->u.oh * e->u.ow;
    float *want = expected(e, count), *got = zeros(count), *packed = zeros((size_t)e->u.in * e->out);
    nas__on_load relu = {.relu = true};
    nas__unit u = e->u;
    if (u.pointwise) {
        k->unit_pack(&u, packed);
        u.pointwise = packed;
        u.packed = true;
    }
    u.more = e->more;
    for (int threads = 1; threads <= 5; threads += 2) {
        omp_set_num_threads(threads);
        memset(got, 0xff, count * sizeof *got);
        k->unit_forward(&u, e->x, &relu, e->bias, &relu, got, NULL);
        assert_floats_near(got, want, count, 1e-5, "unit for a finished network");
    }
    free(want);
    free(got);
    free(packed);
}

static int below(nas_rng *rng, int n) { return (int)nas_rng_below(rng, (uint64_t)n); }

static void random_shapes(void **state) {
    (void)state;
    nas_rng rng = nas_rng_new(3, 5);
    for (int i = 0; i < 200; i++) {
        bool depthwise = i % 3 != 0, pointwise = i % 3 != 1;
        nas__unit u = {
            .n = 1 + below(&rng, 3), .in = 1 + below(&rng, 70), .h = 1 + below(&rng, 20), .w = 1 + below(&rng, 20)};
        u.out = pointwise ? 1 + below(&rng, 70) : u.in;
        u.kernel_h = u.kernel_w = depthwise ? 3 + 2 * below(&rng, 2) : 1;
        u.stride = depthwise ? 1 + below(&rng, 2) : 1;
        u.dilation = depthwise ? 1 + below(&rng, 2) : 1;
        u.pad_h = u.pad_w = u.dilation * (u.kernel_h / 2);
        u.oh = (u.h - 1) / u.stride + 1;
        u.ow = (u.w - 1) / u.stride + 1;
        example e = make(&u, depthwise, pointwise, (uint64_t)i * 10);
        check(&e);
        drop(&e);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(random_shapes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
