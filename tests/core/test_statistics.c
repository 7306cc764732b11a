/* Statistics against tables and worked examples. */
#include "support.h"

#include "core/statistics.h"

#include <math.h>

static void near(double value, double expected, double tolerance) {
    if (!(fabs(value - expected) <= tolerance)) {
        fail_msg("%.9g, not %.9g", value, expected);
    }
}

/* Tables of Student's t, and the closed forms for 1 and 2 degrees of freedom. */
static void quantiles(void **state) {
    (void)state;
    static const struct {
        double p, df, t;
    } table[] = {{0.975, 1, 12.7062047},  {0.975, 2, 4.30265273},   {0.975, 5, 2.57058184},
                 {0.975, 9, 2.26215716},  {0.95, 9, 1.83311293},    {0.995, 9, 3.24983554},
                 {0.975, 30, 2.04227246}, {0.975, 1e6, 1.95996636}, {0.025, 9, -2.26215716}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        near(nas__student_quantile(table[i].p, table[i].df), table[i].t, 2e-7 * fabs(table[i].t));
    }
    for (double p = 0.55; p < 0.999; p += 0.05) {
        double x = 2 * p - 1;
        near(nas__student_quantile(p, 1), tan(0.5 * acos(-1.0) * x), 1e-9 * tan(0.5 * acos(-1.0) * x));
        near(nas__student_quantile(p, 2), x * sqrt(2 / (1 - x * x)), 1e-9 * x * sqrt(2 / (1 - x * x)));
    }
    assert_true(nas__student_quantile(0.975, 9.5) < 2.26215716 && nas__student_quantile(0.975, 9.5) > 2.22813885);
}

static void means(void **state) {
    (void)state;
    const double x[] = {2, 4, 4, 4, 5, 5, 7, 9};
    near(nas__mean(8, x), 5, 0);
    near(nas__deviation(8, x), sqrt(32.0 / 7), 1e-15);
    near(nas__deviation(1, x), 0, 0);
}

static void intervals(void **state) {
    (void)state;
    near(nas__interval_of_one(0.95, 10, 0.5), 2.26215716 * 0.5 * sqrt(1.1), 1e-7);
    /* equal sizes and deviations: Welch's is the pooled test with 2n - 2 degrees of freedom */
    near(nas__interval_welch(0.95, 16, 1, 16, 1), 2.04227246 * sqrt(2.0 / 16), 1e-7);
    /* one side without spread: the other's n - 1 */
    near(nas__interval_welch(0.95, 10, 3, 4, 0), 2.26215716 * 3 / sqrt(10), 1e-6);
    near(nas__interval_welch(0.95, 10, 0, 4, 0), 0, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantiles),
        cmocka_unit_test(means),
        cmocka_unit_test(intervals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
