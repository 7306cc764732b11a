/* Convolutions and average pools are linear in the image and in the weights, so their gradients are adjoints:
 * <f(x, w), r> = <x, df/dx' r> = <w, df/dw' r>. Checked on sizes as networks have them, where a naive loop takes too
 * long. */
#include "support.h"

#include <espalier/ops.h>

#include "tensor/tensor.h"

#include <math.h>
#include <stdlib.h>

typedef struct size {
    int64_t n, c, h, w, out, kernel;
    nas_conv_args args; /* groups = c: depthwise */
} size;

static const size sizes[] = {
    {8, 3, 33, 31, 16, 3, {.padding = NAS_SAME}},
    {4, 3, 64, 65, 32, 7, {.stride = 2, .padding = 3}},
    {8, 16, 32, 32, 16, 3, {.padding = NAS_SAME}},
    {3, 64, 16, 17, 128, 3, {.stride = 2, .padding = 1}},
    {5, 48, 14, 14, 96, 1, {0}},
    {2, 72, 13, 11, 40, 1, {.stride = 2}},
    {2, 32, 28, 27, 64, 5, {.padding = NAS_SAME}},
    {2, 24, 19, 23, 48, 3, {.padding = NAS_SAME, .dilation = 2}},
    {4, 64, 15, 15, 64, 3, {.padding = 1, .groups = 4}},
    {1, 36, 15, 15, 36, 3, {.padding = 1, .groups = 6}},
    {8, 48, 28, 28, 48, 3, {.padding = NAS_SAME, .groups = 48}},
    {3, 96, 27, 29, 96, 5, {.stride = 2, .padding = 2, .groups = 96}},
    {2, 40, 31, 17, 40, 7, {.padding = NAS_SAME, .groups = 40}},
    {2, 33, 21, 19, 33, 5, {.padding = NAS_SAME, .dilation = 2, .groups = 33}},
    {1, 16, 20, 20, 16, 3, {.stride = 3, .padding = 2, .dilation = 3, .groups = 16}},
};

static nas_tensor *random_variable(uint64_t seed, int ndim, const int64_t *dims) {
    nas_tensor *t = nas_variable(ndim, dims, NAS_ROLE_WEIGHT);
    float *values = random_floats(seed, (size_t)nas__count(t));
    nas_tensor_write(t, values);
    free(values);
    return t;
}

static double dot(int64_t n, const float *a, const float *b) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += (double)a[i] * b[i];
    }
    return sum;
}

/* <t, gradient of t>, and the size of the terms it adds up */
static double with_gradient(nas_tensor *t, double *scale) {
    int64_t n = nas__count(t);
    float *gradient = calloc((size_t)n, sizeof *gradient);
    assert_int_equal(nas_tensor_read_grad(t, gradient), NAS_OK);
    double product = dot(n, t->data, gradient);
    *scale = sqrt(dot(n, t->data, t->data) * dot(n, gradient, gradient));
    free(gradient);
    return product;
}

static void check(nas_tape *tape, nas_tensor *x, nas_tensor *w,
                  nas_tensor *(*f)(nas_tensor *, nas_tensor *, const void *), const void *args) {
    nas_tape_begin(tape, &(nas_tape_config){.grad = NAS_ROLE_WEIGHT});
    nas_tensor *y = f(x, w, args);
    assert_no_error();
    float *r = random_floats(9, (size_t)nas__count(y));
    nas_tensor *loss = nas_sum(nas_mul(y, nas_input(y->ndim, y->dims, r)));
    assert_int_equal(nas_backward(loss), NAS_OK);
    nas_tensor *both[] = {x, w};
    for (int i = 0; i < 2 && both[i]; i++) {
        double scale, product = with_gradient(both[i], &scale);
        if (!(fabs(product - nas_tensor_item(loss)) <= 1e-5 * scale) || scale == 0) {
            fail_msg("input %d (%s): %.9g instead of %.9g", i, nas__shape(both[i]), product,
                     (double)nas_tensor_item(loss));
        }
        nas_zero_grad(both[i]);
    }
    free(r);
}

static nas_tensor *conv(nas_tensor *x, nas_tensor *w, const void *args) {
    return nas_conv2d(x, w, NULL, *(const nas_conv_args *)args);
}

static void convolutions(void **state) {
    (void)state;
    nas_tape *tape = nas_tape_new();
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const size *s = &sizes[i];
        nas_tensor *x = random_variable(1, NAS_DIMS(s->n, s->c, s->h, s->w));
        nas_tensor *w =
            random_variable(2, NAS_DIMS(s->out, s->c / (s->args.groups ? s->args.groups : 1), s->kernel, s->kernel));
        check(tape, x, w, conv, &s->args);
        nas_tensor_free(x);
        nas_tensor_free(w);
    }
    nas_tape_free(tape);
}

static nas_tensor *pool(nas_tensor *x, nas_tensor *w, const void *args) {
    (void)w;
    return nas_avg_pool(x, *(const nas_pool_args *)args);
}

static nas_tensor *global(nas_tensor *x, nas_tensor *w, const void *args) {
    (void)w, (void)args;
    return nas_global_avg_pool(x);
}

static void pools(void **state) {
    (void)state;
    static const nas_pool_args args[] = {{3, 1, 1, false}, {3, 2, 1, false}, {3, 2, 1, true},
                                         {2, 2, 0, false}, {5, 3, 2, false}, {8, 8, 0, false}};
    nas_tape *tape = nas_tape_new();
    nas_tensor *x = random_variable(1, NAS_DIMS(3, 40, 33, 29));
    for (size_t i = 0; i < sizeof args / sizeof *args; i++) {
        check(tape, x, NULL, pool, &args[i]);
    }
    check(tape, x, NULL, global, NULL);
    nas_tensor_free(x);
    nas_tape_free(tape);
}

static nas_tensor *linear(nas_tensor *x, nas_tensor *w, const void *args) {
    (void)args;
    return nas_linear(x, w, NULL);
}

static void matrices(void **state) {
    (void)state;
    nas_tape *tape = nas_tape_new();
    nas_tensor *x = random_variable(1, NAS_DIMS(130, 515)), *w = random_variable(2, NAS_DIMS(101, 515));
    check(tape, x, w, linear, NULL);
    nas_tensor_free(x);
    nas_tensor_free(w);
    nas_tape_free(tape);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(convolutions),
        cmocka_unit_test(pools),
        cmocka_unit_test(matrices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
