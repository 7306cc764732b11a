/* statistics.h - mean, deviation, median, Student's t: what a comparison of few numbers needs. */
#ifndef CORE_STATISTICS_H
#define CORE_STATISTICS_H

/* Mean and standard deviation (divisor n - 1; 0 for n < 2). */
double nas__mean(int n, const double *x);
double nas__deviation(int n, const double *x);
/* Sorts x, ascending; n > 0. */
double nas__median(int n, double *x);
/* The t with P(T <= t) = p for Student's distribution with df > 0 degrees of freedom, not necessarily a whole number.
 */
double nas__student_quantile(double p, double df);

/* Half the width of a two-sided interval at confidence level `level` (0.95) of a difference: of one new value and the
 * mean of n >= 2 (its prediction interval, t_{n-1} s sqrt(1 + 1/n)), and of two means (Welch: their variances may
 * differ). */
double nas__interval_of_one(double level, int n, double deviation);
double nas__interval_welch(double level, int n, double deviation, int m, double other_deviation);

#endif
