/* dirichlet.c - see dirichlet.h. With P(c, x) = sum_n x^(c+n) e^-x / Gamma(c+n+1), whose terms are all positive, the
 * derivative in c multiplies each by ln x - psi(c+n+1): accurate wherever draws fall. */
#include "search/dirichlet.h"
#include "core/error.h"

#include <math.h>

static double digamma(double z) {
    double shift = 0;
    for (; z < 8; z++) {
        shift -= 1 / z;
    }
    double r = 1 / (z * z);
    return shift + log(z) - 0.5 / z - r * (1.0 / 12 - r * (1.0 / 120 - r * (1.0 / 252 - r * (1.0 / 240 - r / 132))));
}

/* sum_n r_n and sum_n r_n (ln x - psi(c+n+1)), with r_n = x^n / ((c+1) ... (c+n)): both over the first term. */
static void series(double c, double x, double *sum, double *derivative) {
    double r = 1, psi = digamma(c + 1), log_x = log(x);
    *sum = *derivative = 0;
    for (int n = 0; n < 10000; n++) {
        *sum += r;
        *derivative += r * (log_x - psi);
        double next = c + n + 1;
        psi += 1 / next;
        r *= x / next;
        if (next > x && r * (1 + fabs(log_x - psi)) < 1e-17 * *sum) {
            break;
        }
    }
}

static double first_term(double c, double x) { return exp(c * log(x) - x - lgamma(c + 1)); }

double nas__gamma_p(double c, double x) {
    double sum, derivative;
    series(c, x, &sum, &derivative);
    return fmin(1, first_term(c, x) * sum);
}

double nas__gamma_p_dc(double c, double x) {
    double sum, derivative;
    series(c, x, &sum, &derivative);
    return first_term(c, x) * derivative;
}

double nas__gamma_pathwise(double c, double x) {
    double sum, derivative;
    series(c, x, &sum, &derivative);
    return -derivative * x / c; /* the density at x is c/x times the first term */
}

double nas__gamma_draw(nas_rng *rng, double c) {
    double d = (c < 1 ? c + 1 : c) - 1.0 / 3, k = 1 / sqrt(9 * d), v, u;
    do {
        double x = nas_rng_normal(rng);
        v = 1 + k * x;
        u = 1 - nas_rng_uniform(rng);
        v = v > 0 ? v * v * v : 0;
        if (v > 0 && log(u) < 0.5 * x * x + d - d * v + d * log(v)) {
            break;
        }
        v = 0;
    } while (v <= 0);
    double draw = d * v;
    if (c < 1) {
        draw *= pow(1 - nas_rng_uniform(rng), 1 / c);
    }
    return fmax(draw, 1e-30);
}

nas_tensor *nas__masked_logits(nas_tensor *logits, uint64_t run) {
    float floor[64];
    int64_t n = logits ? nas_tensor_count(logits) : 0;
    bool all = true;
    for (int64_t k = 0; k < n; k++) {
        bool runs = run >> k & 1;
        floor[k] = runs ? 0 : -1e30f;
        all = all && runs;
    }
    return all ? logits : nas_add(logits, nas_input(1, &n, floor));
}

/* ELU(a) + 1 = max(a, 0) + exp(a - max(a, 0)), with slope 1 at 0 */
static nas_tensor *concentration(nas_tensor *alpha) {
    nas_tensor *positive = nas_relu(alpha);
    return nas_add(positive, nas_exp(nas_sub(alpha, positive)));
}

nas_tensor *nas__dirichlet(nas_tensor *alpha, uint64_t run, nas_rng *rng) {
    float draw[64], slope[64], c[64];
    nas_tensor *concentrations = concentration(alpha);
    int64_t n = concentrations ? nas_tensor_count(concentrations) : 0;
    if (!n || nas_tensor_read(concentrations, c)) {
        return NULL;
    }
    for (int64_t k = 0; k < n; k++) {
        double floored = fmax(c[k], 1e-4), g = nas__gamma_draw(rng, floored);
        bool runs = run >> k & 1;
        draw[k] = runs ? (float)g : 1;
        slope[k] = runs ? (float)nas__gamma_pathwise(floored, g) : 0;
    }
    /* g moves with c by its slope; its value is the draw. theta = g / sum(g) is the softmax of ln g. */
    nas_tensor *moves = nas_mul(nas_input(1, &n, slope), nas_sub(concentrations, nas_detach(concentrations)));
    return nas_softmax(nas__masked_logits(nas_log(nas_add(nas_input(1, &n, draw), moves)), run));
}
