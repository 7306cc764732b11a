/* Draws by Gumbel noise: their frequencies, whatever the temperature is; the exact values and the closed gradient of
 * the weights; and what the gradient of a single draw is on the average. */
#include "tape.h"

#include <espalier/ops.h>

#include "search/gumbel.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N = 5, DRAWS = 100000, PURPOSE = 3 };
static const double shares[N] = {0.5, 0.25, 0.15, 0.07, 0.03};
static const double temperatures[] = {10, 1, 0.1};
enum { TEMPERATURES = sizeof temperatures / sizeof *temperatures };

static nas_tensor *new_logits(const double *p) {
    nas_tensor *t = nas_variable(1, (int64_t[]){N}, NAS_ROLE_ARCH);
    float values[N];
    for (int k = 0; k < N; k++) {
        values[k] = (float)log(p[k]) + 3; /* any constant may be added */
    }
    nas_tensor_write(t, values);
    return t;
}

static void begin_pass(void) {
    nas_tape_reset(tape);
    nas_tape_begin(tape, &(nas_tape_config){.grad = NAS_ROLE_ARCH});
}

/* --- drawing ------------------------------------------------------------------------------------- */
static void noise_has_its_moments(void **state) {
    (void)state;
    nas_rng rng = nas_rng_new(1, PURPOSE);
    float noise[100];
    double sum = 0, squares = 0;
    for (int i = 0; i < DRAWS / 100; i++) {
        nas__gumbel_noise(&rng, 100, noise);
        for (int k = 0; k < 100; k++) {
            assert_true(isfinite(noise[k]));
            sum += noise[k];
            squares += (double)noise[k] * noise[k];
        }
    }
    double mean = sum / DRAWS, variance = squares / DRAWS - mean * mean;
    assert_true(fabs(mean - 0.5772157) < 4 * 1.2825 / sqrt(DRAWS));
    assert_true(fabs(variance - 1.6449341) < 0.05);
}

/* Four standard deviations each, and chi-square with 4 degrees of freedom: beyond 18.47 in one of 1000 tables. */
static void assert_frequencies(const int *counts, double tau) {
    double chi_square = 0;
    for (int k = 0; k < N; k++) {
        double expected = DRAWS * shares[k], sigma = sqrt(DRAWS * shares[k] * (1 - shares[k]));
        if (!(fabs(counts[k] - expected) < 4 * sigma)) {
            fail_msg("temperature %g: candidate %d was drawn %d times, not %.0f", tau, k, counts[k], expected);
        }
        chi_square += (counts[k] - expected) * (counts[k] - expected) / expected;
    }
    if (!(chi_square < 18.47)) {
        fail_msg("temperature %g: chi-square %.2f", tau, chi_square);
    }
}

static void draws_follow_the_softmax(void **state) {
    (void)state;
    nas_tensor *logits = new_logits(shares);
    for (int t = 0; t < TEMPERATURES; t++) {
        nas_rng rng = nas_rng_new(2 + (uint64_t)t, PURPOSE);
        int counts[N] = {0}, index;
        float noise[N];
        for (int i = 0; i < DRAWS; i++) {
            if (i % 1000 == 0) {
                begin_pass();
            }
            nas__gumbel_noise(&rng, N, noise);
            nas_tensor *h = nas__gumbel_softmax(logits, noise, temperatures[t], true, &index);
            assert_true(nas__gumbel_set(N,
                                        (const float[]){logf(0.5f), logf(0.25f), logf(0.15f), logf(0.07f), logf(0.03f)},
                                        noise, 1) == (uint64_t)1 << index);
            assert_non_null(h);
            counts[index]++;
        }
        assert_frequencies(counts, temperatures[t]);
    }
    nas_tensor_free(logits);
}

/* Two without putting back: {i, j} has probability p_i p_j/(1 - p_i) + p_j p_i/(1 - p_j). */
static void sets_follow_the_softmax(void **state) {
    (void)state;
    float logits[N], noise[N];
    int counts[N][N] = {{0}};
    nas_rng rng = nas_rng_new(7, PURPOSE);
    for (int k = 0; k < N; k++) {
        logits[k] = (float)log(shares[k]);
    }
    for (int i = 0; i < DRAWS; i++) {
        nas__gumbel_noise(&rng, N, noise);
        uint64_t set = nas__gumbel_set(N, logits, noise, 2);
        assert_int_equal(__builtin_popcountll(set), 2);
        counts[__builtin_ctzll(set)][63 - __builtin_clzll(set)]++;
    }
    for (int i = 0; i < N; i++) {
        for (int j = i + 1; j < N; j++) {
            double p = shares[i] * shares[j] * (1 / (1 - shares[i]) + 1 / (1 - shares[j]));
            assert_true(fabs(counts[i][j] - DRAWS * p) < 4.5 * sqrt(DRAWS * p * (1 - p)));
        }
    }
    assert_true(nas__gumbel_set(N, logits, noise, N) == (1 << N) - 1);
    assert_true(nas__gumbel_set(3, (const float[]){1, 2, 2}, (const float[]){0, 0, 0}, 1) == 1 << 1);
}

/* --- values -------------------------------------------------------------------------------------- */
static void hard_weights_are_exact(void **state) {
    (void)state;
    nas_tensor *logits = new_logits(shares);
    nas_rng rng = nas_rng_new(3, PURPOSE);
    begin_pass();
    for (int i = 0; i < 300; i++) {
        float noise[N], h[N];
        int index;
        nas__gumbel_noise(&rng, N, noise);
        nas_tensor_read(nas__gumbel_softmax(logits, noise, temperatures[i % TEMPERATURES], true, &index), h);
        for (int k = 0; k < N; k++) {
            float expected = k == index ? 1.0f : 0.0f;
            assert_memory_equal(&h[k], &expected, sizeof expected); /* no -0 either */
        }
    }
    nas_tensor_free(logits);
}

static void temperature_shapes_soft_weights(void **state) {
    (void)state;
    nas_tensor *logits = new_logits(shares);
    nas_rng rng = nas_rng_new(4, PURPOSE);
    for (int i = 0; i < 100; i++) {
        float noise[N], flat[N], steep[N];
        int index;
        begin_pass();
        nas__gumbel_noise(&rng, N, noise);
        nas_tensor_read(nas__gumbel_softmax(logits, noise, 1e3, false, &index), flat);
        nas_tensor_read(nas__gumbel_softmax(logits, noise, 1e-3, false, NULL), steep);
        for (int k = 0; k < N; k++) {
            assert_true(fabsf(flat[k] - 1.0f / N) < 0.01f);
            assert_true(k == index ? steep[k] >= 0.5f : steep[k] <= 0.5f);
        }
    }
    nas_tensor_free(logits);
}

/* --- gradients ----------------------------------------------------------------------------------- */
static void soft_reference(const double *a, const float *noise, double tau, double *p) {
    double max = -HUGE_VAL, sum = 0;
    for (int k = 0; k < N; k++) {
        p[k] = (a[k] + noise[k]) / tau;
        max = fmax(max, p[k]);
    }
    for (int k = 0; k < N; k++) {
        sum += p[k] = exp(p[k] - max);
    }
    for (int k = 0; k < N; k++) {
        p[k] /= sum;
    }
}

static double objective(const double *a, const float *noise, double tau, const double *c) {
    double p[N], f = 0;
    soft_reference(a, noise, tau, p);
    for (int k = 0; k < N; k++) {
        f += c[k] * p[k];
    }
    return f;
}

static void differentiate(nas_tensor *logits, const float *noise, double tau, bool hard, const double *c,
                          float *gradient) {
    float u[N];
    for (int k = 0; k < N; k++) {
        u[k] = (float)c[k];
    }
    begin_pass();
    nas_tensor *weights = nas__gumbel_softmax(logits, noise, tau, hard, NULL);
    assert_int_equal(nas_backward(nas_sum(nas_mul(weights, nas_input(1, (int64_t[]){N}, u)))), NAS_OK);
    nas_tensor_read_grad(logits, gradient);
    nas_zero_grad(logits);
}

static void gradients_have_the_closed_form(void **state) {
    (void)state;
    static const double c[N] = {0.5, -1.25, 2, 0.75, -0.375};
    nas_tensor *logits = new_logits(shares);
    nas_rng rng = nas_rng_new(5, PURPOSE);
    for (int i = 0; i < 30; i++) {
        double tau = temperatures[i % TEMPERATURES], a[N], p[N], mean = 0, h = 1e-4 * tau;
        float noise[N], values[N], soft[N], hard[N];
        nas__gumbel_noise(&rng, N, noise);
        nas_tensor_read(logits, values);
        for (int k = 0; k < N; k++) {
            a[k] = values[k];
        }
        soft_reference(a, noise, tau, p);
        for (int k = 0; k < N; k++) {
            mean += c[k] * p[k];
        }
        differentiate(logits, noise, tau, false, c, soft);
        differentiate(logits, noise, tau, true, c, hard);
        assert_memory_equal(soft, hard, sizeof soft);
        for (int k = 0; k < N; k++) {
            double closed = p[k] * (c[k] - mean) / tau, at = a[k];
            a[k] = at + h;
            double above = objective(a, noise, tau, c);
            a[k] = at - h;
            double slope = (above - objective(a, noise, tau, c)) / (2 * h);
            a[k] = at;
            assert_true(fabs(slope - closed) < 1e-7 * (1 + fabs(closed)));
            assert_true(fabs(soft[k] - closed) < 1e-7 * (1 + fabs(closed)));
        }
    }
    nas_tensor_free(logits);
}

/* Candidate k gives c_k and the loss is what comes out; only the drawn one is computed. With equal logits all means are
 * (c_k - mean c) times the same number E[p_I (1 - p_I)]/((N - 1) tau): biased in scale, not in direction. */
static void a_draw_is_right_on_the_average(void **state) {
    (void)state;
    static const double c[N] = {1, -0.5, 2, 0.25, -1.5}, equal[N] = {0.2, 0.2, 0.2, 0.2, 0.2};
    double mean_c = 0.25, sum[N] = {0}, squares[N] = {0}, kappa = 0;
    nas_tensor *logits = new_logits(equal);
    nas_rng rng = nas_rng_new(6, PURPOSE);
    for (int i = 0; i < DRAWS; i++) {
        float noise[N], gradient[N], value;
        double p[N], zero[N] = {0};
        int index;
        begin_pass();
        nas__gumbel_noise(&rng, N, noise);
        nas_tensor *h = nas__gumbel_softmax(logits, noise, 1, true, &index), *results[N] = {NULL};
        value = (float)c[index];
        results[index] = nas_input(1, (int64_t[]){1}, &value);
        nas_tensor *out = nas_weighted_sum(h, N, results);
        assert_true(nas_tensor_item(out) == value);
        assert_int_equal(nas_backward(out), NAS_OK);
        nas_tensor_read_grad(logits, gradient);
        nas_zero_grad(logits);
        soft_reference(zero, noise, 1, p);
        kappa += p[index] * (1 - p[index]) / (N - 1) / DRAWS;
        for (int k = 0; k < N; k++) {
            sum[k] += gradient[k];
            squares[k] += (double)gradient[k] * gradient[k];
        }
    }
    for (int k = 0; k < N; k++) {
        double mean = sum[k] / DRAWS, error = sqrt((squares[k] / DRAWS - mean * mean) / DRAWS);
        if (!(fabs(mean - kappa * (c[k] - mean_c)) < 4 * error)) {
            fail_msg("candidate %d: mean %.5f, not %.5f (standard error %.5f)", k, mean, kappa * (c[k] - mean_c),
                     error);
        }
    }
    nas_tensor_free(logits);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(noise_has_its_moments),
        cmocka_unit_test_setup_teardown(draws_follow_the_softmax, open_tape, close_tape),
        cmocka_unit_test(sets_follow_the_softmax),
        cmocka_unit_test_setup_teardown(hard_weights_are_exact, open_tape, close_tape),
        cmocka_unit_test_setup_teardown(temperature_shapes_soft_weights, open_tape, close_tape),
        cmocka_unit_test_setup_teardown(gradients_have_the_closed_form, open_tape, close_tape),
        cmocka_unit_test_setup_teardown(a_draw_is_right_on_the_average, open_tape, close_tape),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
