/* Differentiable draws from a Dirichlet distribution: the incomplete gamma function and its derivative against closed
 * forms and differences, the draws against their distribution, the gradients against that of the expectation. */
#include "tape.h"

#include "search/dirichlet.h"

#include <math.h>
#include <string.h>

static const double concentrations[] = {0.02, 0.3, 0.9, 1, 1.7, 4, 12};
enum { N_CONCENTRATIONS = sizeof concentrations / sizeof *concentrations };

static void near(double got, double expected, double tolerance, const char *what) {
    if (!(fabs(got - expected) <= tolerance * (1 + fabs(expected)))) {
        fail_msg("%s is %.12g instead of %.12g", what, got, expected);
    }
}

/* P(1, x) = 1 - e^-x, P(1/2, x) = erf(sqrt(x)), P(c+1, x) = P(c, x) - x^c e^-x / Gamma(c+1) */
static void incomplete_gamma(void **state) {
    (void)state;
    for (double x = 0.01; x < 40; x *= 1.7) {
        near(nas__gamma_p(1, x), 1 - exp(-x), 1e-12, "P(1, x)");
        near(nas__gamma_p(0.5, x), erf(sqrt(x)), 1e-12, "P(1/2, x)");
        for (int i = 0; i < N_CONCENTRATIONS; i++) {
            double c = concentrations[i], next = nas__gamma_p(c, x) - exp(c * log(x) - x - lgamma(c + 1));
            near(nas__gamma_p(c + 1, x), next, 1e-12, "P(c+1, x)");
        }
    }
}

static void derivative_in_c(void **state) {
    (void)state;
    for (int i = 0; i < N_CONCENTRATIONS; i++) {
        for (double x = 0.001; x < 40; x *= 2.3) {
            double c = concentrations[i], h = 1e-4 * c;
            double difference = (8 * (nas__gamma_p(c + h, x) - nas__gamma_p(c - h, x)) -
                                 (nas__gamma_p(c + 2 * h, x) - nas__gamma_p(c - 2 * h, x))) /
                                (12 * h);
            near(nas__gamma_p_dc(c, x), difference, 1e-8, "dP/dc");
        }
    }
}

/* The draw that keeps its place in the distribution when c moves: P(c + h, x') = P(c, x), by Newton's method. */
static double moved(double c, double x, double h) {
    double u = nas__gamma_p(c, x), y = x;
    for (int i = 0; i < 60; i++) {
        double density = exp((c + h - 1) * log(y) - y - lgamma(c + h));
        double next = y - (nas__gamma_p(c + h, y) - u) / density;
        y = next > 0 ? next : y / 2;
    }
    return y;
}

static void pathwise(void **state) {
    (void)state;
    nas_rng rng = nas_rng_new(3, 1);
    for (int i = 1; i < N_CONCENTRATIONS; i++) {
        double c = concentrations[i], h = 1e-4 * c;
        for (int k = 0; k < 20; k++) {
            double x = nas__gamma_draw(&rng, c);
            if (x > 1e-6) {
                near(nas__gamma_pathwise(c, x), (moved(c, x, h) - moved(c, x, -h)) / (2 * h), 1e-4, "dx/dc");
            }
        }
    }
    assert_true(isfinite(nas__gamma_pathwise(1e-4, 1e-30)));
}

/* Mean and variance of Gamma(c, 1) are c. */
static void draws(void **state) {
    (void)state;
    enum { N = 20000 };
    for (int i = 0; i < N_CONCENTRATIONS; i++) {
        nas_rng rng = nas_rng_new(5, (uint64_t)i);
        double c = concentrations[i], sum = 0, squares = 0;
        for (int k = 0; k < N; k++) {
            double x = nas__gamma_draw(&rng, c);
            sum += x;
            squares += x * x;
        }
        double mean = sum / N, deviation = sqrt(c / N);
        assert_true(fabs(mean - c) < 4.5 * deviation);
        assert_true(fabs(squares / N - mean * mean - c) < 0.12 * c + 0.01);
    }
}

static const float alpha_values[4] = {0.7f, -0.4f, 0, -1.2f};

/* theta for one draw, and d theta_0 / d alpha. */
static void draw(uint64_t stream, uint64_t run, float theta[4], float gradient[4]) {
    nas_tensor *alpha = nas_variable(1, (int64_t[]){4}, NAS_ROLE_ARCH);
    nas_tensor_write(alpha, alpha_values);
    nas_tape_begin(tape, &(nas_tape_config){.grad = NAS_ROLE_ARCH});
    nas_rng rng = nas_rng_new(11, stream);
    nas_tensor *t = nas__dirichlet(alpha, run, &rng);
    assert_no_error();
    nas_tensor_read(t, theta);
    assert_int_equal(nas_backward(nas_slice(t, 0, 0, 1)), NAS_OK);
    nas_tensor_read_grad(alpha, gradient);
    nas_tape_reset(tape);
    nas_tensor_free(alpha);
}

/* E[theta_0] = c_0 / sum c, whose gradient the mean of the draws' gradients is. */
static void gradient_of_the_mean(void **state) {
    (void)state;
    enum { N = 6000 };
    double c[4], total = 0, mean = 0, gradient[4] = {0};
    for (int k = 0; k < 4; k++) {
        total += c[k] = alpha_values[k] > 0 ? alpha_values[k] + 1 : exp(alpha_values[k]);
    }
    for (uint64_t i = 0; i < N; i++) {
        float theta[4], g[4];
        draw(i, 15, theta, g);
        mean += theta[0] / (double)N;
        for (int k = 0; k < 4; k++) {
            gradient[k] += g[k] / (double)N;
        }
        near(theta[0] + theta[1] + theta[2] + theta[3], 1, 1e-6, "sum of theta");
    }
    near(mean, c[0] / total, 0.012, "E[theta_0]");
    for (int k = 0; k < 4; k++) {
        double slope = alpha_values[k] > 0 ? 1 : c[k];
        double expected = slope * ((k == 0) - c[0] / total) / total;
        near(gradient[k], expected, 0.008, "gradient of E[theta_0]");
    }
}

/* What does not run has no share and no gradient, and takes its draws all the same: the others keep theirs. */
static void only_what_runs(void **state) {
    (void)state;
    float all[4], some[4], gradient[4];
    draw(7, 15, all, gradient);
    draw(7, 5, some, gradient);
    assert_true(some[1] == 0 && some[3] == 0 && gradient[1] == 0 && gradient[3] == 0);
    near(some[0] / some[2], all[0] / all[2], 1e-4, "ratio of two shares");
    near(some[0] + some[2], 1, 1e-6, "sum of theta");
    assert_true(gradient[0] > 0 && gradient[2] < 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(incomplete_gamma),
        cmocka_unit_test(derivative_in_c),
        cmocka_unit_test(pathwise),
        cmocka_unit_test(draws),
        cmocka_unit_test_setup_teardown(gradient_of_the_mean, open_tape, close_tape),
        cmocka_unit_test_setup_teardown(only_what_runs, open_tape, close_tape),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
