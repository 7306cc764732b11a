/* Scores of untrained networks against closed forms, differences and a second way to compute them. */
#include "support.h"

#include "search/proxies.h"

#include <espalier/ops.h>
#include <espalier/search.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void near(double value, double expected, double tolerance) {
    if (!(fabs(value - expected) <= tolerance * (1 + fabs(expected)))) {
        fail_msg("%.9g, not %.9g", value, expected);
    }
}

typedef struct look {
    nas__proxy_look of;
    nas_batch batch;
    nas_dataset *data;
    float *x, y[64];
} look;

/* Random images; classes by turns. */
static void look_open(look *l, int64_t n, int64_t c, int64_t h, int classes) {
    *l = (look){.x = random_floats(5, (size_t)(n * c * h * h))};
    for (int64_t i = 0; i < n; i++) {
        l->y[i] = (float)(i % classes);
    }
    l->data = nas_dataset_from_arrays(n, 3, (int64_t[]){c, h, h}, l->x, 1, l->y, classes);
    l->batch = (nas_batch){.n = n, .x = l->x, .y = l->y};
    l->of = (nas__proxy_look){&l->batch, nas_dataset_describe(l->data), nas_cross_entropy};
}

static void look_close(look *l) {
    nas_dataset_free(l->data);
    free(l->x);
}

static nas_status set_one(const char *path, nas_tensor *t, nas_role role, void *user) {
    (void)path;
    float **next = user;
    if (role == NAS_ROLE_WEIGHT) {
        nas_tensor_write(t, *next);
        *next += nas_tensor_count(t);
    }
    return NAS_OK;
}

static nas_status copy_one(const char *path, nas_tensor *t, nas_role role, void *user) {
    (void)path;
    float **next = user;
    if (role == NAS_ROLE_WEIGHT) {
        nas_tensor_read(t, *next);
        *next += nas_tensor_count(t);
    }
    return NAS_OK;
}

static nas_module *scalar(void) { return nas_conv(.in = 1, .out = 1, .kernel = 1); }

/* R = prod |w|, and each of the L weights gives it once: L R. Also where R is beyond single precision. */
static void synflow_of_a_chain(void **unused) {
    (void)unused;
    look l;
    look_open(&l, 2, 1, 1, 2);
    for (int deep = 0; deep < 2; deep++) {
        nas_module *m = nas_sequential(scalar(), scalar(), scalar(), nas_bn(.channels = 1), scalar(), scalar());
        float weights[8] = {0.5f, -3, 1.25f, 7, -2, 1, 7, 7}, *next = weights;
        double log_r = 0;
        assert_int_equal(nas_initialise(m, 1), NAS_OK);
        float values[8], *at = values;
        nas_visit_parameters(m, copy_one, &at);
        int n = (int)(at - values);
        /* three scalars, gamma and beta, two scalars */
        assert_int_equal(n, 7);
        float placed[7] = {weights[0], weights[1], weights[2], 3, 4, weights[3], weights[4]};
        for (int i = 0; i < 7; i++) {
            placed[i] *= deep && i != 3 && i != 4 ? 1e10f : 1;
            log_r += i == 3 || i == 4 ? 0 : log(fabs((double)placed[i]));
        }
        next = placed;
        nas_visit_parameters(m, set_one, &next);
        double score;
        assert_int_equal(nas__proxy_score(m, NAS__PROXY_SYNFLOW, &l.of, &score), NAS_OK);
        near(score, log(5) + log_r, 1e-6);
        nas_module_free(m);
    }
    look_close(&l);
}

static nas_module *small_net(int classes) {
    return nas_sequential(nas_conv(.in = 2, .out = 3, .kernel = 3), nas_activation_new(NAS_TANH),
                          nas_pool(.kind = NAS_POOL_GLOBAL), nas_dense(.in = 3, .out = classes));
}

static double loss_of(nas_module *m, const look *l) {
    nas_tape *tape = nas_tape_new();
    nas_tape_begin(tape, &(nas_tape_config){0});
    nas_tensor *x = nas_input(NAS_DIMS(l->batch.n, 2, 4, 4), l->x), *y = nas_input(NAS_DIMS(l->batch.n), l->y);
    double value = nas_tensor_item(nas_cross_entropy(nas_forward(m, x), y));
    nas_tape_free(tape);
    return value;
}

/* |w dL/dw| and the layers' norms by central differences. */
static void snip_and_grad_norm_are_differences(void **unused) {
    (void)unused;
    look l;
    look_open(&l, 6, 2, 4, 3);
    nas_module *m = small_net(3);
    assert_int_equal(nas_initialise(m, 3), NAS_OK);
    float values[128], *at = values;
    nas_visit_parameters(m, copy_one, &at);
    int n = (int)(at - values), conv = 2 * 3 * 9, dense = 3 * 3;
    double products = 0, squares[2] = {0}, snip, norm;
    for (int i = 0; i < n; i++) {
        const float kept = values[i], step = 1e-2f;
        double losses[2];
        for (int side = 0; side < 2; side++) {
            values[i] = kept + (side ? step : -step);
            at = values;
            nas_visit_parameters(m, set_one, &at);
            losses[side] = loss_of(m, &l);
        }
        values[i] = kept;
        double slope = (losses[1] - losses[0]) / (2 * (double)step);
        bool is_conv = i < conv, is_dense = i >= n - dense - 3 && i < n - 3; /* weight and bias of the last layer */
        products += is_conv || is_dense ? fabs(kept * slope) : 0;
        squares[0] += is_conv ? slope * slope : 0;
        squares[1] += is_dense ? slope * slope : 0;
    }
    at = values;
    nas_visit_parameters(m, set_one, &at);
    assert_int_equal(nas__proxy_score(m, NAS__PROXY_SNIP, &l.of, &snip), NAS_OK);
    assert_int_equal(nas__proxy_score(m, NAS__PROXY_GRAD_NORM, &l.of, &norm), NAS_OK);
    near(snip, products, 2e-3);
    near(norm, sqrt(squares[0]) + sqrt(squares[1]), 2e-3);
    nas_module_free(m);
    look_close(&l);
}

/* ReLU of the pixels themselves, twice: K counts the signs that agree. */
static void naswot_counts_signs(void **unused) {
    (void)unused;
    enum { N = 4, UNITS = 2 * 9 };
    look l;
    look_open(&l, N, 2, 3, 2);
    nas_module *m =
        nas_sequential(nas_activation_new(NAS_RELU), nas_pool(.kind = NAS_POOL_GLOBAL), nas_dense(.in = 2, .out = 2));
    assert_int_equal(nas_initialise(m, 3), NAS_OK);
    double k[N * N] = {0}, expected, score;
    for (int i = 0; i < N; i++) {
        for (int j = 0; j < N; j++) {
            for (int u = 0; u < UNITS; u++) {
                k[i * N + j] += (l.x[i * UNITS + u] > 0) == (l.x[j * UNITS + u] > 0);
            }
        }
        near(k[i * N + i], UNITS, 0);
    }
    assert_true(nas__log_det(N, k, &expected, NULL));
    assert_int_equal(nas__proxy_score(m, NAS__PROXY_NASWOT, &l.of, &score), NAS_OK);
    near(score, expected, 1e-9);
    memcpy(l.x + UNITS, l.x, UNITS * sizeof *l.x); /* two samples alike */
    assert_int_equal(nas__proxy_score(m, NAS__PROXY_NASWOT, &l.of, &score), NAS_OK);
    assert_true(score == -INFINITY);
    nas_module_free(m);
    look_close(&l);
}

/* Behind convolution and batch norm, where ReLUs are otherwise fused into what reads them. */
static void naswot_sees_fused_relus(void **unused) {
    (void)unused;
    enum { N = 5, C = 5, UNITS = C * 16 };
    look l;
    look_open(&l, N, 2, 4, 2);
    nas_module *norm = nas_sequential(nas_conv(.in = 2, .out = C, .kernel = 3), nas_bn(.channels = C)),
               *m = nas_sequential(norm, nas_activation_new(NAS_RELU), nas_conv(.in = C, .out = C, .kernel = 1),
                                   nas_pool(.kind = NAS_POOL_GLOBAL), nas_dense(.in = C, .out = 2));
    assert_int_equal(nas_initialise(m, 3), NAS_OK);
    float before[N * UNITS];
    nas_tape *tape = nas_tape_new();
    nas_tape_begin(tape, &(nas_tape_config){.freeze_running = true});
    assert_int_equal(nas_tensor_read(nas_forward(norm, nas_input(NAS_DIMS(N, 2, 4, 4), l.x)), before), NAS_OK);
    nas_tape_free(tape);
    double k[N * N] = {0}, expected, score;
    for (int i = 0; i < N; i++) {
        for (int j = 0; j < N; j++) {
            for (int u = 0; u < UNITS; u++) {
                k[i * N + j] += (before[i * UNITS + u] > 0) == (before[j * UNITS + u] > 0);
            }
        }
    }
    assert_true(nas__log_det(N, k, &expected, NULL));
    assert_int_equal(nas__proxy_score(m, NAS__PROXY_NASWOT, &l.of, &score), NAS_OK);
    near(score, expected, 1e-9);
    nas_module_free(m);
    look_close(&l);
}

static double derivative(nas_module *m, const look *l, int64_t index) {
    double sums[2];
    float kept = l->x[index];
    for (int side = 0; side < 2; side++) {
        float out[64];
        l->x[index] = kept + (side ? 1e-2f : -1e-2f);
        nas_tape *tape = nas_tape_new();
        nas_tape_begin(tape, &(nas_tape_config){0});
        nas_tensor *y = nas_forward(m, nas_input(NAS_DIMS(l->batch.n, 2, 4, 4), l->x));
        assert_int_equal(nas_tensor_read(y, out), NAS_OK);
        sums[side] = 0;
        for (int64_t i = 0; i < nas_tensor_count(y); i++) {
            sums[side] += out[i];
        }
        nas_tape_free(tape);
    }
    l->x[index] = kept;
    return (sums[1] - sums[0]) / 2e-2;
}

/* Eigenvalues of a correlation matrix of two rows are 1 + r and 1 - r. */
static void jacob_cov_of_two_samples(void **unused) {
    (void)unused;
    enum { WIDTH = 2 * 16 };
    look l;
    look_open(&l, 2, 2, 4, 3);
    nas_module *m = small_net(3);
    assert_int_equal(nas_initialise(m, 3), NAS_OK);
    double rows[2][WIDTH], mean[2] = {0}, xy = 0, xx = 0, yy = 0, score;
    for (int i = 0; i < 2; i++) {
        for (int k = 0; k < WIDTH; k++) {
            rows[i][k] = derivative(m, &l, i * WIDTH + k);
            mean[i] += rows[i][k] / WIDTH;
        }
    }
    for (int k = 0; k < WIDTH; k++) {
        double a = rows[0][k] - mean[0], b = rows[1][k] - mean[1];
        xy += a * b;
        xx += a * a;
        yy += b * b;
    }
    double r = xy / sqrt(xx * yy), k = 1e-5, v[2] = {1 + r + k, 1 - r + k};
    assert_int_equal(nas__proxy_score(m, NAS__PROXY_JACOB_COV, &l.of, &score), NAS_OK);
    near(score, -(log(v[0]) + 1 / v[0] + log(v[1]) + 1 / v[1]), 2e-2);
    nas_module_free(m);
    nas_module *cut = nas_sequential(nas_none_new(1), nas_pool(.kind = NAS_POOL_GLOBAL), nas_dense(.in = 2, .out = 2));
    assert_int_equal(nas_initialise(cut, 3), NAS_OK);
    assert_int_equal(nas__proxy_score(cut, NAS__PROXY_JACOB_COV, &l.of, &score), NAS_OK);
    assert_true(score == -INFINITY);
    nas_module_free(cut);
    look_close(&l);
}

static void determinants(void **unused) {
    (void)unused;
    double a[9] = {4, 0, 0, 2, 5, 0, 1, 2, 6}, log_det, trace; /* the lower half counts */
    assert_true(nas__log_det(3, a, &log_det, &trace));
    near(exp(log_det), 83, 1e-12); /* 4 (30 - 4) - 2 (12 - 2) + (4 - 5) */
    near(trace, (26 + 23 + 16) / 83.0, 1e-12);
    double singular[4] = {1, 1, 1, 1};
    assert_false(nas__log_det(2, singular, &log_det, NULL));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(synflow_of_a_chain),       cmocka_unit_test(snip_and_grad_norm_are_differences),
        cmocka_unit_test(naswot_counts_signs),      cmocka_unit_test(naswot_sees_fused_relus),
        cmocka_unit_test(jacob_cov_of_two_samples), cmocka_unit_test(determinants),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
