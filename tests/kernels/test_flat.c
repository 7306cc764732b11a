/* Element-wise kernels and optimisers of every instruction set against plain formulas in double. */
#include "blocked.h"

#include <stdio.h>

static const size_t counts[] = {1, 15, 16, 17, 100, 4095, 4096, 4097, 100003};
enum { COUNTS = sizeof counts / sizeof *counts, RANDOM = 500 };

typedef void check_function(const nas__kernels *k, size_t count, const float *a, const float *b);

/* Calls `check` for all tables, those counts and random ones (few enough for the references' loops), with aligned
 * arrays of values in [-1, 1). */
static void for_all(check_function *check) {
    const nas__kernels *tables[3];
    for (int t = 0, n = nas__usable_kernel_tables(tables); t < n; t++) {
        nas_rng rng = nas_rng_new(14, 5);
        for (int i = 0; i < COUNTS + RANDOM; i++) {
            const size_t count = i < COUNTS ? counts[i] : (size_t)uniform_int(&rng, 1, 33 * 33);
            float *a = random_floats(2 * i, count), *b = random_floats(2 * i + 1, count);
            float *x = copy_array(a, count), *y = copy_array(b, count);
            check(tables[t], count, x, y);
            assert_memory_equal(x, a, count * sizeof(float)); /* inputs are left alone */
            assert_memory_equal(y, b, count * sizeof(float));
            free(a), free(b), free(x), free(y);
        }
    }
}

static void finish(float *got, double *expected, size_t count, const char *what) {
    float *rounded = calloc(count, sizeof *rounded);
    for (size_t i = 0; i < count; i++) {
        rounded[i] = (float)expected[i];
    }
    assert_floats_near(got, rounded, count, 1e-6, what);
    free_array(got, count);
    free(rounded), free(expected);
}

static void check_relu(const nas__kernels *k, size_t count, const float *a, const float *b) {
    for (int capped = 0; capped < 2; capped++) {
        const float cap = capped ? 0.5f : 0;
        float *y = new_array(count), *dx = new_array(count);
        double *expected = malloc(count * sizeof *expected), *gradient = malloc(count * sizeof *gradient);
        for (size_t i = 0; i < count; i++) {
            expected[i] = fmin(fmax(a[i], 0), capped ? 0.5 : INFINITY);
            gradient[i] = a[i] > 0 && (!capped || a[i] < 0.5f) ? 0.3 * b[i] : 0;
        }
        k->relu_forward(count, a, y, cap);
        finish(y, expected, count, "relu");
        k->relu_backward(count, a, b, 0.3f, dx, cap);
        finish(dx, gradient, count, "gradient of relu");
    }
}

static void check_add_mul(const nas__kernels *k, size_t count, const float *a, const float *b) {
    float *sum = new_array(count), *product = new_array(count), *same = copy_array(a, count);
    double *s = malloc(count * sizeof *s), *p = malloc(count * sizeof *p), *in_place = malloc(count * sizeof *in_place);
    for (size_t i = 0; i < count; i++) {
        s[i] = in_place[i] = (double)a[i] + b[i];
        p[i] = (double)a[i] * b[i];
    }
    k->add(count, a, b, sum);
    finish(sum, s, count, "add");
    k->mul(count, a, b, product);
    finish(product, p, count, "mul");
    k->add(count, same, b, same);
    finish(same, in_place, count, "add in place");
}

static void check_axpby(const nas__kernels *k, size_t count, const float *a, const float *b) {
    float *y = copy_array(b, count), *fresh = new_array(count); /* NaNs: must not be read when b == 0 */
    double *both = malloc(count * sizeof *both), *one = malloc(count * sizeof *one);
    for (size_t i = 0; i < count; i++) {
        both[i] = 0.7 * a[i] - 1.5 * b[i];
        one[i] = 0.7 * a[i];
    }
    k->axpby(count, 0.7f, a, -1.5f, y);
    finish(y, both, count, "axpby");
    k->axpby(count, 0.7f, a, 0, fresh);
    finish(fresh, one, count, "axpby with b = 0");
}

static void check_samples(const nas__kernels *k, size_t count, const float *a, const float *b) {
    const int n = 3;
    const size_t each = count / n;
    const float factor[] = {0, 1.25f, b[0]};
    float *y = new_array(n * each);
    double *expected = malloc((count + 1) * sizeof *expected);
    for (size_t i = 0; i < n * each; i++) {
        expected[i] = (double)factor[i / each] * a[i];
    }
    k->scale_per_sample(n, each, factor, a, y);
    finish(y, expected, n * each, "scale_per_sample");
}

static void check_dot(const nas__kernels *k, size_t count, const float *a, const float *b) {
    double expected = 0, results[2];
    const int threads = omp_get_max_threads();
    for (size_t i = 0; i < count; i++) {
        expected += (double)a[i] * b[i];
    }
    for (int i = 0; i < 2; i++) {
        omp_set_num_threads(i ? 3 : 1);
        results[i] = k->dot(count, a, b);
    }
    omp_set_num_threads(threads);
    assert_true(fabs(results[0] - expected) <= 1e-6 * sqrt((double)count));
    assert_memory_equal(&results[0], &results[1], sizeof(double));
}

/* One parameter under PyTorch's SGD (torch.optim.SGD), in double. */
static void sgd_reference(const nas__sgd_args *a, bool first, double *w, double g, double *buf) {
    g = a->grad_scale * g + a->weight_decay * *w;
    if (a->momentum != 0) {
        *buf = first ? g : a->momentum * *buf + (1 - (double)a->dampening) * g;
        g = a->nesterov ? g + a->momentum * *buf : *buf;
    }
    *w -= a->lr * g;
}

static void check_sgd(const nas__kernels *k, size_t count, const float *a, const float *b) {
    static const nas__sgd_args variants[] = {
        {.lr = 0.1f, .grad_scale = 1},
        {.lr = 0.1f, .weight_decay = 0.02f, .grad_scale = 0.5f},
        {.lr = 0.1f, .momentum = 0.9f, .weight_decay = 0.02f, .grad_scale = 1},
        {.lr = 0.1f, .momentum = 0.9f, .dampening = 0.3f, .grad_scale = 1},
        {.lr = 0.1f, .momentum = 0.9f, .weight_decay = 0.02f, .grad_scale = 0.5f, .nesterov = true},
    };
    for (int v = 0; v < 5; v++) {
        nas__sgd_args args = variants[v];
        float *w = copy_array(a, count), *buf = args.momentum != 0 ? new_array(count) : NULL;
        double *ew = malloc(count * sizeof *ew), *ebuf = malloc(count * sizeof *ebuf);
        for (size_t i = 0; i < count; i++) {
            ew[i] = a[i];
            for (int step = 0; step < 4; step++) {
                sgd_reference(&args, step == 0, &ew[i], b[i], &ebuf[i]);
            }
        }
        for (int step = 0; step < 4; step++) {
            args.first = step == 0;
            k->sgd(count, &args, w, b, buf);
        }
        finish(w, ew, count, "sgd");
        if (buf) {
            finish(buf, ebuf, count, "sgd's momentum");
        } else {
            free(ebuf);
        }
    }
}

/* One parameter under PyTorch's Adam and AdamW, in double. */
static void adam_reference(const nas__adam_args *a, int step, double *w, double g, double *m, double *v) {
    const double beta1 = a->beta1, beta2 = a->beta2;
    g *= a->grad_scale;
    if (a->decoupled) {
        *w *= 1 - (double)a->lr * a->weight_decay;
    } else {
        g += a->weight_decay * *w;
    }
    *m = beta1 * *m + (1 - beta1) * g;
    *v = beta2 * *v + (1 - beta2) * g * g;
    *w -= a->lr / (1 - pow(beta1, step)) * *m / (sqrt(*v) / sqrt(1 - pow(beta2, step)) + a->eps);
}

static void check_adam(const nas__kernels *k, size_t count, const float *a, const float *b) {
    float *grad = copy_array(b, count);
    for (size_t i = 0; i < count;
         i++) { /* a step is a quotient of moments: rounding is all that is left of tiny ones */
        grad[i] += fabsf(0.5f * b[i] + 0.1f * a[i]) < 1e-3f ? 0.1f : 0;
    }
    for (int variant = 0; variant < 3; variant++) {
        nas__adam_args args = {.lr = 0.01f,
                               .beta1 = variant == 2 ? 0.5f : 0.9f,
                               .beta2 = 0.999f,
                               .eps = 1e-8f,
                               .weight_decay = 0.1f,
                               .grad_scale = 0.5f,
                               .decoupled = variant == 1};
        float *w = copy_array(a, count), *m = new_array(count), *v = new_array(count);
        memset(m, 0, count * sizeof(float));
        memset(v, 0, count * sizeof(float));
        double *ew = malloc(count * sizeof *ew), *em = calloc(count, sizeof *em), *ev = calloc(count, sizeof *ev);
        for (size_t i = 0; i < count; i++) {
            ew[i] = a[i];
            for (int step = 1; step <= 4; step++) {
                adam_reference(&args, step, &ew[i], grad[i], &em[i], &ev[i]);
            }
        }
        for (int step = 1; step <= 4; step++) {
            args.correction1 = 1 - pow(args.beta1, step);
            args.correction2 = 1 - pow(args.beta2, step);
            k->adam(count, &args, w, grad, m, v);
        }
        finish(w, ew, count, "adam");
        finish(m, em, count, "adam's first moment");
        finish(v, ev, count, "adam's second moment");
    }
    free_array(grad, count);
}

static void relu(void **state) {
    (void)state;
    for_all(check_relu);
}

static void add_and_multiply(void **state) {
    (void)state;
    for_all(check_add_mul);
}

static void axpby(void **state) {
    (void)state;
    for_all(check_axpby);
}

static void scale_per_sample(void **state) {
    (void)state;
    for_all(check_samples);
}

static void dot(void **state) {
    (void)state;
    for_all(check_dot);
}

static void sgd(void **state) {
    (void)state;
    for_all(check_sgd);
}

static void adam(void **state) {
    (void)state;
    for_all(check_adam);
}

static void not_a_number_stays(void **state) {
    (void)state;
    const nas__kernels *tables[3];
    for (int t = 0, n = nas__usable_kernel_tables(tables); t < n; t++) {
        float *x = new_array(33), *y = new_array(33);
        memset(y, 0, 33 * sizeof(float));
        tables[t]->relu_forward(33, x, y, t ? 6 : 0);
        for (int i = 0; i < 33; i++) {
            assert_true(isnan(y[i]));
        }
        free(x), free(y);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(relu),  cmocka_unit_test(add_and_multiply),
        cmocka_unit_test(axpby), cmocka_unit_test(scale_per_sample),
        cmocka_unit_test(dot),   cmocka_unit_test(sgd),
        cmocka_unit_test(adam),  cmocka_unit_test(not_a_number_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
