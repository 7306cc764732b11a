/* statistics.c - see statistics.h. */
#include "core/statistics.h"

#include <math.h>
#include <stdlib.h>

double nas__mean(int n, const double *x) {
    double sum = 0;
    for (int i = 0; i < n; i++) {
        sum += x[i];
    }
    return sum / n;
}

double nas__deviation(int n, const double *x) {
    double mean = nas__mean(n, x), squares = 0;
    for (int i = 0; i < n; i++) {
        squares += (x[i] - mean) * (x[i] - mean);
    }
    return n > 1 ? sqrt(squares / (n - 1)) : 0;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double nas__median(int n, double *x) {
    qsort(x, (size_t)n, sizeof *x, ascending);
    return 0.5 * (x[(n - 1) / 2] + x[n / 2]);
}

/* --- Student's t --------------------------------------------------------------------------------
 * Continued fraction of the incomplete beta function (Abramowitz and Stegun 26.5.8) by Lentz's method; it converges
 * fast for x < (a + 1)/(a + b + 2). */
static double beta_fraction(double a, double b, double x) {
    const double tiny = 1e-300;
    double c = 1, d = 1 - (a + b) * x / (a + 1);
    d = 1 / (fabs(d) < tiny ? tiny : d);
    double value = d;
    for (int i = 1; i < 1000; i++) {
        double even = i * (b - i) * x / ((a + 2 * i - 1) * (a + 2 * i));
        double odd = -(a + i) * (a + b + i) * x / ((a + 2 * i) * (a + 2 * i + 1));
        double before = value;
        for (int k = 0; k < 2; k++) {
            double term = k ? odd : even;
            d = 1 + term * d;
            d = 1 / (fabs(d) < tiny ? tiny : d);
            c = 1 + term / c;
            c = fabs(c) < tiny ? tiny : c;
            value *= c * d;
        }
        if (fabs(value - before) < 1e-15 * fabs(value)) {
            break;
        }
    }
    return value;
}

static double incomplete_beta(double a, double b, double x) {
    if (x <= 0 || x >= 1) {
        return x <= 0 ? 0 : 1;
    }
    double front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x));
    return x < (a + 1) / (a + b + 2) ? front * beta_fraction(a, b, x) / a : 1 - front * beta_fraction(b, a, 1 - x) / b;
}

/* P(T > t), t >= 0 */
static double upper_tail(double t, double df) { return 0.5 * incomplete_beta(df / 2, 0.5, df / (df + t * t)); }

double nas__student_quantile(double p, double df) {
    if (p < 0.5) {
        return -nas__student_quantile(1 - p, df);
    }
    double low = 0, high = 1;
    while (upper_tail(high, df) > 1 - p && high < 1e300) {
        high *= 2;
    }
    for (int i = 0; i < 200 && high - low > 1e-14 * high; i++) {
        double middle = 0.5 * (low + high);
        if (upper_tail(middle, df) > 1 - p) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return 0.5 * (low + high);
}

/* --- intervals ---------------------------------------------------------------------------------- */
double nas__interval_of_one(double level, int n, double deviation) {
    return nas__student_quantile(0.5 + 0.5 * level, n - 1) * deviation * sqrt(1 + 1.0 / n);
}

double nas__interval_welch(double level, int n, double deviation, int m, double other_deviation) {
    double a = deviation * deviation / n, b = other_deviation * other_deviation / m;
    if (a + b <= 0) {
        return 0;
    }
    double df = (a + b) * (a + b) / (a * a / (n - 1) + b * b / (m - 1)); /* Welch and Satterthwaite */
    return nas__student_quantile(0.5 + 0.5 * level, df) * sqrt(a + b);
}
