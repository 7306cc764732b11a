/* correlation.h - do two measurements put things into the same order? */
#ifndef CORE_CORRELATION_H
#define CORE_CORRELATION_H

#include <espalier/core.h>

/* Kendall's tau-b: (concordant - discordant pairs) / sqrt((all - tied in x)(all - tied in y)). NaN when x or y is
 * constant; values may be infinite, not NaN. */
double nas__kendall(int n, const double *x, const double *y);
/* Spearman's rho: the correlation of the ranks, ties having the mean of theirs. NaN likewise, and without memory. */
double nas__spearman(int n, const double *x, const double *y);
/* Kendall's partial tau of x and y given z: (xy - xz yz) / sqrt((1 - xz^2)(1 - yz^2)). NaN when z decides one of them.
 */
double nas__partial(double xy, double xz, double yz);

/* What a bootstrap repeats: a number of n things, of the columns' values for them. */
typedef double (*nas__statistic)(int n, const double *const *columns);
/* The interval at `level` (0.95) by percentiles of 2000 samples of n things with repetition (Efron 1979), drawn from
 * the seed; samples where the statistic is NaN do not count. columns: up to 3, NULL from the first that is missing.
 * Both NaN when there is none. */
void nas__bootstrap(int n, const double *const columns[3], nas__statistic statistic, double level, uint64_t seed,
                    double interval[2]);
/* Three of these: of the first two columns, and the partial tau given the third. */
double nas__tau_of(int n, const double *const *columns);
double nas__rho_of(int n, const double *const *columns);
double nas__partial_of(int n, const double *const *columns);

#endif
