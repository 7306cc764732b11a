/* What units do for finished networks, against the plain forward pass: another tensor added to the result, a mere ReLU
 * on load, parts by the number of threads. */
#include "blocked.h"

#include <omp.h>

typedef struct example {
    nas__unit u;
    int in, out; /* padded */
    float *x, *depthwise, *pointwise, *bias, *more;
} example;

static float *zeros(size_t count) {
    float *values = new_array(count);
    return memset(values, 0, count * sizeof *values);
}

static float *blocked(uint64_t seed, int images, int channels, int inner) {
    float *random = random_floats(seed, (size_t)images * channels * inner);
    float *values = to_blocked(random, images, channels, inner, nas__kernel_table()->block);
    free(random);
    return values;
}

static float *panels(uint64_t seed, int in, int out) {
    const nas__kernels *k = nas__kernel_table();
    float *random = random_floats(seed, (size_t)in * out);
    float *rows = padded_rows(random, in, out, k->block);
    free(random);
    return to_panels(rows, in, padded(out, k->block), k->panel * k->block);
}

static example make(const nas__unit *shape, bool pointwise, uint64_t seed) {
    const int block = nas__kernel_table()->block;
    example e = {.u = *shape, .in = padded(shape->in, block), .out = padded(shape->out, block)};
    e.x = blocked(seed, shape->n, shape->in, shape->h * shape->w);
    e.more = blocked(seed + 1, shape->n, shape->out, shape->oh * shape->ow);
    e.bias = blocked(seed + 2, 1, shape->out, 1);
    e.depthwise = blocked(seed + 3, 1, shape->in, shape->kernel_h * shape->kernel_w);
    e.pointwise = pointwise ? panels(seed + 4, shape->in, shape->out) : NULL;
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
    float *want = expected(e, count), *got = zeros(count);
    nas__on_load relu = {.relu = true};
    nas__unit u = e->u;
    u.more = e->more;
    for (int threads = 1; threads <= 5; threads += 2) {
        omp_set_num_threads(threads);
        memset(got, 0xff, count * sizeof *got);
        k->unit_forward(&u, e->x, &relu, e->bias, &relu, got, NULL);
        assert_floats_near(got, want, count, 1e-5, "unit for a finished network");
    }
    free(want);
    free(got);
}

static int below(nas_rng *rng, int n) { return (int)nas_rng_below(rng, (uint64_t)n); }

static void random_shapes(void **state) {
    (void)state;
    nas_rng rng = nas_rng_new(3, 5);
    for (int i = 0; i < 200; i++) {
        bool pointwise = i % 3 != 1;
        nas__unit u = {
            .n = 1 + below(&rng, 3), .in = 1 + below(&rng, 70), .h = 1 + below(&rng, 20), .w = 1 + below(&rng, 20)};
        u.out = pointwise ? 1 + below(&rng, 70) : u.in;
        u.kernel_h = u.kernel_w = 1 + 2 * below(&rng, 3);
        u.stride = 1 + below(&rng, 2);
        u.dilation = 1 + below(&rng, 2);
        u.pad_h = u.pad_w = u.dilation * (u.kernel_h / 2);
        u.oh = (u.h - 1) / u.stride + 1;
        u.ow = (u.w - 1) / u.stride + 1;
        example e = make(&u, pointwise, (uint64_t)i * 10);
        check(&e);
        drop(&e);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(random_shapes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
