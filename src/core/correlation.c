/* correlation.c - see correlation.h. */
#include "core/correlation.h"
#include "core/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { RESAMPLES = 2000, COLUMNS = 3, PURPOSE = 0xb0075 };

static int sign(double a, double b) { return (a > b) - (a < b); }

double nas__kendall(int n, const double *x, const double *y) {
    int64_t difference = 0, in_x = 0, in_y = 0; /* pairs that are not tied there */
    for (int i = 0; i < n; i++) {
        for (int j = 0; j < i; j++) {
            int a = sign(x[i], x[j]), b = sign(y[i], y[j]);
            difference += a * b;
            in_x += a != 0;
            in_y += b != 0;
        }
    }
    return in_x > 0 && in_y > 0 ? (double)difference / (sqrt((double)in_x) * sqrt((double)in_y)) : NAN;
}

/* Ranks from 0, times 2, so that means of ties are whole numbers. */
static void ranks(int n, const double *x, double *rank) {
    for (int i = 0; i < n; i++) {
        rank[i] = 0;
        for (int j = 0; j < n; j++) {
            rank[i] += 1 + sign(x[i], x[j]);
        }
    }
}

double nas__spearman(int n, const double *x, const double *y) {
    double *a = nas__alloc(2 * (size_t)(n + 1) * sizeof *a), *b = a + n;
    double xy = 0, xx = 0, yy = 0;
    if (!a) {
        return NAN;
    }
    ranks(n, x, a);
    ranks(n, y, b);
    for (int i = 0; i < n; i++) { /* their mean is n */
        xy += (a[i] - n) * (b[i] - n);
        xx += (a[i] - n) * (a[i] - n);
        yy += (b[i] - n) * (b[i] - n);
    }
    free(a);
    return xx > 0 && yy > 0 ? xy / sqrt(xx * yy) : NAN;
}

double nas__partial(double xy, double xz, double yz) {
    double rest = (1 - xz * xz) * (1 - yz * yz);
    return rest > 1e-12 ? (xy - xz * yz) / sqrt(rest) : NAN;
}

double nas__tau_of(int n, const double *const *c) { return nas__kendall(n, c[0], c[1]); }
double nas__rho_of(int n, const double *const *c) { return nas__spearman(n, c[0], c[1]); }
double nas__partial_of(int n, const double *const *c) {
    return nas__partial(nas__kendall(n, c[0], c[1]), nas__kendall(n, c[0], c[2]), nas__kendall(n, c[1], c[2]));
}

/* --- bootstrap --------------------------------------------------------------------------------------------------- */
static int ascending(const void *a, const void *b) { return sign(*(const double *)a, *(const double *)b); }

static double quantile(int n, const double *sorted, double p) {
    double at = p * (n - 1);
    int i = (int)at;
    return i + 1 < n ? sorted[i] + (at - i) * (sorted[i + 1] - sorted[i]) : sorted[n - 1];
}

static void draw(int n, const double *const *columns, nas_rng *rng, double *const *drawn) {
    for (int i = 0; i < n; i++) {
        uint32_t from = nas_rng_below(rng, (uint32_t)n);
        for (int c = 0; c < COLUMNS && columns[c]; c++) {
            drawn[c][i] = columns[c][from];
        }
    }
}

void nas__bootstrap(int n, const double *const columns[3], nas__statistic statistic, double level, uint64_t seed,
                    double interval[2]) {
    double *memory = nas__alloc(((size_t)COLUMNS * (size_t)n + RESAMPLES) * sizeof *memory);
    double *values = memory + COLUMNS * n, *drawn[COLUMNS] = {memory, memory + n, memory + 2 * n};
    nas_rng rng = nas_rng_new(seed, PURPOSE);
    int count = 0;
    interval[0] = interval[1] = NAN;
    for (int i = 0; memory && n > 0 && i < RESAMPLES; i++) {
        draw(n, columns, &rng, drawn);
        double value = statistic(n, (const double *const *)drawn);
        values[count] = value;
        count += !isnan(value);
    }
    if (count > 0) {
        qsort(values, (size_t)count, sizeof *values, ascending);
        interval[0] = quantile(count, values, 0.5 - 0.5 * level);
        interval[1] = quantile(count, values, 0.5 + 0.5 * level);
    }
    free(memory);
}
