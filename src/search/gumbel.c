/* gumbel.c - see gumbel.h */
#include "search/gumbel.h"

#include "core/error.h"
#include "core/memory.h"
#include "nn/optim.h"
#include "tensor/tensor.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- drawing ------------------------------------------------------------------------------------- */
void nas__gumbel_noise(nas_rng *rng, int n, float *noise) {
    for (int k = 0; k < n; k++) {
        double u = nas_rng_uniform(rng); /* 0 is possible, and would give infinity */
        noise[k] = (float)-log(u > 0 ? -log1p(-u) : 0x1p-54);
    }
}

uint64_t nas__gumbel_set(int n, const float *logits, const float *noise, int k) {
    uint64_t set = 0;
    for (int taken = 0; taken < k && taken < n; taken++) {
        int best = -1;
        for (int i = 0; i < n; i++) {
            bool better = best < 0 || (double)logits[i] + noise[i] > (double)logits[best] + noise[best];
            best = !(set >> i & 1) && better ? i : best;
        }
        set |= (uint64_t)1 << best;
    }
    return set;
}

/* --- weights on the tape --------------------------------------------------------------------------- */
typedef struct gumbel_state {
    double tau;
    int n;
    double p[];
} gumbel_state;

/* dL/da_k = p_k (u_k - sum_l p_l u_l) / tau: the normaliser of log_softmax has no derivative here, because softmax does
 * not see what is added to all. */
static void weights_backward(nas__node *node) {
    const gumbel_state *s = node->state;
    const float *u = nas__grad_data(node->outputs[0]);
    float gradient[NAS_MAX_CANDIDATES];
    double mean = 0;
    if (!u) {
        return;
    }
    for (int k = 0; k < s->n; k++) {
        mean += s->p[k] * u[k];
    }
    for (int k = 0; k < s->n; k++) {
        gradient[k] = (float)(s->p[k] * (u[k] - mean) / s->tau);
    }
    nas__grad_add_array(node->inputs[0], gradient);
}

/* In double: at low temperatures the differences are large, and their exponentials small. */
static void soften(int n, const float *logits, const float *noise, double tau, double *p) {
    double max = -HUGE_VAL, sum = 0;
    for (int k = 0; k < n; k++) {
        p[k] = ((double)logits[k] + noise[k]) / tau;
        max = fmax(max, p[k]);
    }
    for (int k = 0; k < n; k++) {
        sum += p[k] = exp(p[k] - max);
    }
    for (int k = 0; k < n; k++) {
        p[k] /= sum;
    }
}

nas_tensor *nas__gumbel_weights(nas_tensor *logits, const float *noise, double tau, uint64_t set) {
    const float *a = logits ? nas__data(logits) : NULL;
    int n = a ? (int)nas__count(logits) : 0;
    nas_tensor *y = a ? nas__new(1, (int64_t[]){n}, NAS__PLAIN) : NULL;
    if (!y) {
        return NULL;
    }
    double p[NAS_MAX_CANDIDATES];
    soften(n, a, noise, tau, p);
    for (int k = 0; k < n; k++) {
        y->data[k] = set ? (float)(set >> k & 1) : (float)p[k];
    }
    nas__node *node = nas__record("gumbel_softmax", weights_backward, 1, &logits, 1, &y,
                                  sizeof(gumbel_state) + (size_t)n * sizeof *p);
    if (node) {
        gumbel_state *s = node->state;
        s->tau = tau;
        s->n = n;
        memcpy(s->p, p, (size_t)n * sizeof *p);
    }
    return y;
}

nas_tensor *nas__gumbel_softmax(nas_tensor *logits, const float *noise, double tau, bool hard, int *index) {
    const float *a = logits ? nas__data(logits) : NULL;
    if (!a) {
        return NULL;
    }
    uint64_t drawn = nas__gumbel_set((int)nas__count(logits), a, noise, 1);
    if (index) {
        *index = __builtin_ctzll(drawn);
    }
    return nas__gumbel_weights(logits, noise, tau, hard ? drawn : 0);
}

/* --- decisions ------------------------------------------------------------------------------------- */
nas_status nas__gumbel_new(nas__gumbel *g, nas_search *s, const nas__alphas_config *config) {
    size_t n = (size_t)nas_space_size(s->space);
    g->weights = nas__alloc(n * sizeof *g->weights);
    g->noise = nas__alloc(n * sizeof *g->noise);
    return g->weights && g->noise ? nas__alphas_new(&g->alphas, s, config) : nas_error_status();
}

void nas__gumbel_free(nas__gumbel *g) {
    nas__alphas_free(&g->alphas);
    free(g->weights);
    free(g->noise);
    g->weights = NULL;
    g->noise = NULL;
}

static uint64_t all(int n) { return n >= 64 ? ~(uint64_t)0 : ((uint64_t)1 << n) - 1; }

/* How many of its candidates a choice draws. */
static int draws(const nas_choice *c, nas_rng *rng) {
    int least = c->n_min > 0 ? c->n_min : 1;
    return c->n_max > least ? least + (int)nas_rng_below(rng, (uint32_t)(c->n_max - least + 1)) : least;
}

static double largest_of(int n, const float *values) {
    double largest = values[0];
    for (int k = 1; k < n; k++) {
        largest = fmax(largest, values[k]);
    }
    return largest;
}

static nas_decision decision_of(nas__gumbel *g, nas_search *s, int i, nas_rng *rng, const nas__gumbel_pass *pass) {
    const nas_choice *c = nas_space_choice(s->space, i);
    nas_tensor *alpha = g->alphas.of_choice[i];
    float *noise = g->noise[i];
    nas_decision d = {.run = all(c->n)};
    if (!alpha) {
        return d;
    }
    nas__gumbel_noise(rng, c->n, noise);
    if (g->without_noise) {
        memset(noise, 0, sizeof *g->noise);
    }
    if (pass->hard) {
        d.run = nas__gumbel_set(c->n, nas__data(alpha), noise, draws(c, rng));
    }
    if (pass->weights || !pass->hard) {
        nas_tensor *weights = nas__gumbel_weights(alpha, noise, pass->tau, pass->hard ? d.run : 0);
        int drawn = __builtin_popcountll(d.run);
        bool mean = pass->hard && drawn > 1 && c->kind == NAS_INPUT && c->reduce == NAS_MEAN;
        d.weights = g->weights[i] = mean ? nas_scale(weights, 1.0f / (float)drawn) : weights;
        g->largest += weights ? largest_of(c->n, nas__data(weights)) : 0;
        g->weightings++;
        d.rest = pass->rest && c->kind == NAS_LAYER;
    }
    return d;
}

nas_status nas__gumbel_decide(nas__gumbel *g, nas_search *s, nas_rng *rng, const nas__gumbel_pass *pass) {
    nas_status status = NAS_OK;
    memset(g->weights, 0, (size_t)g->alphas.n * sizeof(nas_tensor *));
    for (int i = 0; !status && i < g->alphas.n; i++) {
        nas_decision d = decision_of(g, s, i, rng, pass);
        status = nas_error_status() ? nas_error_status() : nas_decide(s->space, i, d);
    }
    return status;
}

/* --- what the epochs tell --------------------------------------------------------------------------- */
static double mean_since(double *sum, int64_t *count) {
    double mean = *count ? *sum / (double)*count : 0;
    *sum = 0;
    *count = 0;
    return mean;
}

double nas__gumbel_mean_gradient(nas__gumbel *g) { return mean_since(&g->gradient, &g->updates); }

double nas__gumbel_mean_largest(nas__gumbel *g) { return mean_since(&g->largest, &g->weightings); }

/* --- updates --------------------------------------------------------------------------------------- */
void nas__gradients_for_all(const nas_optimizer *o) {
    for (size_t i = 0; i < o->n; i++) {
        nas_tensor *t = o->tensors[i];
        if (!t->has_grad) {
            memset(t->grad_data, 0, (size_t)nas__count(t) * sizeof *t->grad_data);
            t->has_grad = true;
        }
    }
}

static double mean_absolute_gradient(const nas_optimizer *o) {
    double sum = 0;
    int64_t numbers = 0;
    for (size_t i = 0; i < o->n; i++) {
        int64_t count = nas__count(o->tensors[i]);
        for (int64_t k = 0; o->tensors[i]->has_grad && k < count; k++) {
            sum += fabs((double)o->tensors[i]->grad_data[k]);
        }
        numbers += count;
    }
    return numbers ? sum / (double)numbers : 0;
}

nas_status nas__gumbel_step(nas__gumbel *g, bool everything) {
    nas_optimizer *o = g->alphas.optimizer;
    if (g->without_gradient) {
        nas_optimizer_zero_grad(o);
    }
    g->gradient += mean_absolute_gradient(o);
    g->updates++;
    if (everything) {
        nas__gradients_for_all(o);
    }
    return nas__alphas_step(&g->alphas);
}
