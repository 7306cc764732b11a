/* Rank correlations by hand, under a known distribution, and their intervals. */
#include "support.h"

#include "core/correlation.h"

#include <math.h>

static void near(double value, double expected, double tolerance) {
    if (!(fabs(value - expected) <= tolerance)) {
        fail_msg("%.9g, not %.9g", value, expected);
    }
}

static void by_hand(void **unused) {
    (void)unused;
    const double x[] = {1, 2, 3, 4}, y[] = {1, 2, 4, 3}, tied[] = {1, 2, 2, 3}, constant[] = {5, 5, 5, 5},
                 ends[] = {-INFINITY, 1, 2, INFINITY};
    near(nas__kendall(4, x, y), 2.0 / 3, 1e-15);
    near(nas__spearman(4, x, y), 0.8, 1e-15);
    near(nas__kendall(4, x, tied), 5 / sqrt(30), 1e-15);
    near(nas__spearman(4, x, tied), 4.5 / sqrt(5 * 4.5), 1e-15); /* ranks 1, 2.5, 2.5, 4 */
    assert_true(isnan(nas__kendall(4, x, constant)) && isnan(nas__spearman(4, x, constant)));
    near(nas__kendall(4, x, ends), 1, 1e-15);
    near(nas__spearman(4, x, ends), 1, 1e-15);
    near(nas__partial(0.5, 0.4, 0.3), (0.5 - 0.12) / sqrt(0.84 * 0.91), 1e-15);
    assert_true(isnan(nas__partial(1, 1, 1)));
}

enum { N = 600 };

/* Normal pairs with correlation r: tau = 2/pi asin r, rho = 6/pi asin(r/2); more noise, less of both. */
static void of_normal_pairs(void **unused) {
    (void)unused;
    const double pi = acos(-1.0);
    nas_rng rng = nas_rng_new(3, 1);
    double x[N], noise[N], y[N], before = 2, null = sqrt(2.0 * (2 * N + 5) / (9.0 * N * (N - 1)));
    for (int i = 0; i < N; i++) {
        x[i] = nas_rng_normal(&rng);
        noise[i] = nas_rng_normal(&rng);
    }
    near(nas__kendall(N, x, x), 1, 1e-12);
    for (double r = 0.9; r > -0.1; r -= 0.3) {
        for (int i = 0; i < N; i++) {
            y[i] = r * x[i] + sqrt(1 - r * r) * noise[i];
        }
        double tau = nas__kendall(N, x, y);
        near(tau, 2 / pi * asin(r), 4 * null);
        near(nas__spearman(N, x, y), 6 / pi * asin(r / 2), 6 * null);
        assert_true(tau < before);
        before = tau;
    }
}

/* Of 100 samples the interval of tau covers the truth about 95 times; and it is drawn from the seed. */
static void intervals_cover(void **unused) {
    (void)unused;
    enum { SMALL = 30, TIMES = 100 };
    const double r = 0.6, truth = 2 / acos(-1.0) * asin(r);
    nas_rng rng = nas_rng_new(4, 2);
    int covered = 0;
    double again[2], interval[2];
    for (int k = 0; k < TIMES; k++) {
        double x[SMALL], y[SMALL];
        for (int i = 0; i < SMALL; i++) {
            x[i] = nas_rng_normal(&rng);
            y[i] = r * x[i] + sqrt(1 - r * r) * nas_rng_normal(&rng);
        }
        const double *columns[3] = {x, y};
        nas__bootstrap(SMALL, columns, nas__tau_of, 0.95, 7, interval);
        nas__bootstrap(SMALL, columns, nas__tau_of, 0.95, 7, again);
        assert_true(interval[0] == again[0] && interval[1] == again[1]);
        covered += interval[0] <= truth && truth <= interval[1];
    }
    assert_in_range(covered, 86, 100);
    const double constant[SMALL] = {0}, *columns[3] = {constant, constant};
    nas__bootstrap(SMALL, columns, nas__rho_of, 0.95, 7, interval);
    assert_true(isnan(interval[0]) && isnan(interval[1]));
}

/* x and y that agree only through z: tau is high, the partial tau given z is not. */
static void what_a_third_explains(void **unused) {
    (void)unused;
    nas_rng rng = nas_rng_new(5, 3);
    double x[N], y[N], z[N], interval[2];
    for (int i = 0; i < N; i++) {
        z[i] = nas_rng_normal(&rng);
        x[i] = z[i] + 0.3 * nas_rng_normal(&rng);
        y[i] = z[i] + 0.3 * nas_rng_normal(&rng);
    }
    const double *columns[3] = {x, y, z};
    assert_true(nas__tau_of(N, columns) > 0.7);
    double xz = 2 / acos(-1.0) * asin(sqrt(1 / 1.09)), xy = 2 / acos(-1.0) * asin(1 / 1.09);
    near(nas__partial_of(N, columns), (xy - xz * xz) / (1 - xz * xz), 0.08);
    const double *direct[3] = {x, x, z};
    near(nas__partial_of(N, direct), 1, 1e-12);
    const double *few[3] = {x, y, z};
    nas__bootstrap(60, few, nas__partial_of, 0.95, 1, interval);
    assert_true(interval[0] < nas__partial_of(60, few) && nas__partial_of(60, few) < interval[1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_hand),
        cmocka_unit_test(of_normal_pairs),
        cmocka_unit_test(intervals_cover),
        cmocka_unit_test(what_a_third_explains),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
