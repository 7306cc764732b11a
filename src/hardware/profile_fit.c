/* profile_fit.c - from entries to networks. A network takes about the sum of its entries; what is missing, or too much,
 * is fitted to the whole networks that were measured: an overhead, a factor, and for each entry what others do on its
 * behalf (a pool that the sum behind it computes, a sum that nothing has to be added to). Ridge regression of relative
 * errors; how strongly it is held back is decided by leaving networks out. */
#include "hardware/profile.h"

#include "core/correlation.h"
#include "core/error.h"
#include "core/memory.h"
#include "space/space.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FEW = 5 };                 /* networks: below, the sums stand as they are */
enum { OVERHEAD, FACTOR, FIXED }; /* the first unknowns; those of entries follow */

typedef struct fitting {
    const nas__profile *p;
    nas__profile_places *places;
    const nas_space *space;
    size_t n, k;    /* networks, unknowns */
    double *x, *y;  /* n x k, n; both divided by what the network takes */
    double *matrix; /* k x k, then its Cholesky factor */
    double *right, *row;
    int *column; /* of each entry; 0: it is not of this space */
    double mean; /* of the networks, ns */
} fitting;

/* --- the rows -------------------------------------------------------------------------------------------- */
/* The plain sum of what is chosen, ns, and how often each entry is in it. */
static double add_up(const fitting *f, double *counts) {
    double sum = nas__entry_ns(&f->p->entries[f->places->rest]);
    for (size_t i = 0; i < f->places->n; i++) {
        int entry = f->places->of[i].entry;
        if (f->places->of[i].chosen) {
            sum += nas__entry_ns(&f->p->entries[entry]);
            counts[f->column[entry]]++;
        }
    }
    return sum;
}

static nas_status fill_row(fitting *f, const nas__profile_network *network) {
    nas_architecture *a = nas_architecture_parse(f->space, network->architecture);
    if (a && !nas__profile_choose(f->places, a)) {
        double *row = f->x + f->n * f->k, sum = add_up(f, row);
        row[OVERHEAD] = f->mean;
        row[FACTOR] = sum;
        for (size_t i = 0; i < f->k; i++) {
            row[i] *= (i < FIXED ? 1 : f->mean / (double)f->places->n) / network->ns;
        }
        f->y[f->n++] = 1 - sum / network->ns;
    }
    nas_architecture_free(a);
    return nas_error_status() ? nas__error_context("a network of the table of latencies") : NAS_OK;
}

static nas_status fill_rows(fitting *f) {
    nas_status status = NAS_OK;
    for (size_t i = 0; !status && i < f->p->n_networks; i++) {
        status = f->p->networks[i].rest == f->places->rest ? fill_row(f, &f->p->networks[i]) : NAS_OK;
    }
    return status;
}

/* --- solving --------------------------------------------------------------------------------------------- */
static void factorise(double *a, size_t k) {
    for (size_t j = 0; j < k; j++) {
        for (size_t i = j; i < k; i++) {
            double sum = a[i * k + j];
            for (size_t m = 0; m < j; m++) {
                sum -= a[i * k + m] * a[j * k + m];
            }
            a[i * k + j] = i == j ? sqrt(fmax(sum, 1e-30)) : sum / a[j * k + j];
        }
    }
}

static void forward(const double *a, size_t k, double *b) {
    for (size_t i = 0; i < k; i++) {
        for (size_t m = 0; m < i; m++) {
            b[i] -= a[i * k + m] * b[m];
        }
        b[i] /= a[i * k + i];
    }
}

static void backward(const double *a, size_t k, double *b) {
    for (size_t i = k; i-- > 0;) {
        for (size_t m = i + 1; m < k; m++) {
            b[i] -= a[m * k + i] * b[m];
        }
        b[i] /= a[i * k + i];
    }
}

/* The unknowns into f->right for one strength of the penalty. The mean error of networks that are left out. */
static double solve(fitting *f, double penalty) {
    const size_t k = f->k;
    memset(f->matrix, 0, k * k * sizeof *f->matrix);
    memset(f->right, 0, k * sizeof *f->right);
    for (size_t i = 0; i < k; i++) {
        f->matrix[i * k + i] = i == OVERHEAD ? 1e-4 * (double)f->n : i == FACTOR ? 1e-4 * (double)f->n : penalty;
    }
    for (size_t r = 0; r < f->n; r++) {
        const double *x = f->x + r * k;
        for (size_t i = 0; i < k; i++) {
            f->right[i] += x[i] * f->y[r];
            for (size_t j = 0; j <= i; j++) {
                f->matrix[i * k + j] += x[i] * x[j];
            }
        }
    }
    factorise(f->matrix, k);
    forward(f->matrix, k, f->right);
    backward(f->matrix, k, f->right);
    double error = 0;
    for (size_t r = 0; r < f->n; r++) {
        const double *x = f->x + r * k;
        double fitted = 0, leverage = 0;
        memcpy(f->row, x, k * sizeof *x);
        forward(f->matrix, k, f->row);
        for (size_t i = 0; i < k; i++) {
            fitted += x[i] * f->right[i];
            leverage += f->row[i] * f->row[i];
        }
        error += fabs(f->y[r] - fitted) / fmax(1 - leverage, 1e-6) / (double)f->n;
    }
    return error;
}

static void solve_best(fitting *f, nas__profile_fit *fit) {
    double best = 0;
    fit->error = INFINITY;
    for (double penalty = 1e-4; penalty < 2e4; penalty *= 10) {
        double error = solve(f, penalty);
        best = error < fit->error ? penalty : best;
        fit->error = fmin(fit->error, error);
    }
    solve(f, best);
}

/* --- the table ------------------------------------------------------------------------------------------- */
static void number_columns(fitting *f) {
    f->k = FIXED;
    for (size_t i = 0; i < f->places->n; i++) {
        int *column = &f->column[f->places->of[i].entry];
        *column = *column ? *column : (int)f->k++;
    }
    size_t n = 0;
    for (size_t i = 0; i < f->p->n_networks; i++) {
        bool ours = f->p->networks[i].rest == f->places->rest;
        n += ours;
        f->mean += ours ? f->p->networks[i].ns : 0;
    }
    f->mean /= n ? (double)n : 1;
    f->x = nas__alloc((n * f->k + 1) * sizeof *f->x);
    f->y = nas__alloc((n + 1) * sizeof *f->y);
    f->matrix = nas__alloc(f->k * f->k * sizeof *f->matrix);
    f->right = nas__alloc(f->k * sizeof *f->right);
    f->row = nas__alloc(f->k * sizeof *f->row);
}

static void fill_table(const fitting *f, nas__cost_table *t) {
    const double factor = 1 + f->right[FACTOR], unit = f->mean / (double)f->places->n;
    for (size_t i = 0; i < f->places->n; i++) {
        const nas__profile_place *place = &f->places->of[i];
        double ns = factor * nas__entry_ns(&f->p->entries[place->entry]) + unit * f->right[f->column[place->entry]];
        nas__cost_add(t, f->space, place->site, place->child, 1e-3 * fmax(0, ns));
    }
    double rest = factor * nas__entry_ns(&f->p->entries[f->places->rest]) + f->mean * f->right[OVERHEAD];
    t->constant = 1e-3 * fmax(0, rest);
}

static void fitting_free(fitting *f) {
    free(f->x);
    free(f->y);
    free(f->matrix);
    free(f->right);
    free(f->row);
    free(f->column);
}

nas__cost_table *nas__profile_costs(const nas__profile *p, nas__profile_places *places, const nas_space *space,
                                    nas__profile_fit *fit) {
    char missing[512];
    nas__profile_fit own;
    fitting f = {.p = p, .places = places, .space = space};
    fit = fit ? fit : &own;
    if (nas__profile_missing(p, places, space, missing, sizeof missing)) {
        return nas__fail_null(NAS_NOT_FOUND, "no latency of %s", missing);
    }
    nas__cost_table *t = nas__cost_table_zero(space, NAS__COST_LATENCY);
    f.column = nas__alloc(p->n_entries * sizeof *f.column);
    if (t && f.column) {
        number_columns(&f);
    }
    if (!nas_error_status() && !fill_rows(&f)) {
        *fit = (nas__profile_fit){.networks = (int)f.n};
        if (f.n >= FEW) {
            solve_best(&f, fit);
        }
        fit->factor = 1 + f.right[FACTOR];
        fill_table(&f, t);
    }
    fitting_free(&f);
    if (nas_error_status()) {
        nas__cost_table_free(t);
        return NULL;
    }
    return t;
}

void nas__profile_errors_of(nas__profile_errors *e, int n, const double *predicted, const double *measured) {
    *e = (nas__profile_errors){.spearman = nas__spearman(n, predicted, measured)};
    for (int i = 0; i < n; i++) {
        double error = predicted[i] / measured[i] - 1;
        e->mean += fabs(error) / n;
        e->bias += error / n;
        e->within += (fabs(error) <= 0.1) / (double)n;
    }
}
