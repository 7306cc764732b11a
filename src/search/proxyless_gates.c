/* proxyless_gates.c - drawing gates, their weights on the tape, and the steps of the numbers behind them. */
#include "search/gumbel.h"
#include "search/proxyless.h"

#include <math.h>

void nas__draw_in_order(nas_rng *rng, int n, const float *logits, int m, int *order) {
    float noise[NAS_MAX_CANDIDATES];
    uint64_t before = 0;
    nas__gumbel_noise(rng, n, noise);
    for (int i = 0; i < m; i++) { /* the set of i+1 holds that of i */
        uint64_t set = nas__gumbel_set(n, logits, noise, i + 1);
        order[i] = __builtin_ctzll(set & ~before);
        before = set;
    }
}

void nas__draws_score(int n, const float *logits, int m, const int *order, double scale, double *gradient) {
    uint64_t gone = 0;
    for (int i = 0; i < m; i++) {
        double max = -HUGE_VAL, sum = 0;
        for (int k = 0; k < n; k++) {
            max = gone >> k & 1 ? max : fmax(max, logits[k]);
        }
        for (int k = 0; k < n; k++) {
            sum += gone >> k & 1 ? 0 : exp(logits[k] - max);
        }
        for (int k = 0; k < n; k++) {
            gradient[k] -= gone >> k & 1 ? 0 : scale * exp(logits[k] - max) / sum;
        }
        gradient[order[i]] += scale;
        gone |= (uint64_t)1 << order[i];
    }
}

static uint64_t all(int n) { return n >= 64 ? ~(uint64_t)0 : ((uint64_t)1 << n) - 1; }

nas__gate nas__draw_gate(nas_rng *rng, int n, const float *logits, int among, bool two) {
    int order[NAS_MAX_CANDIDATES];
    bool compete = among < n;
    int draws = among + (compete && two);
    nas__gate gate = {0};
    nas__draw_in_order(rng, n, logits, draws, order);
    for (int i = 0; i < draws; i++) {
        gate.run |= (uint64_t)1 << order[i];
    }
    gate.active = gate.run;
    if (compete && two) {
        int a = order[among - 1], b = order[among];
        double p = 1 / (1 + exp((double)logits[b] - logits[a]));
        gate.rivals = (uint64_t)1 << a | (uint64_t)1 << b;
        gate.active &= ~((uint64_t)1 << (nas_rng_uniform(rng) < p ? b : a));
    } else if (compete) {
        gate.run = gate.rivals = all(n);
    }
    return gate;
}

nas_tensor *nas__gate_weights(nas_tensor *logits, const nas__gate *gate) {
    float mask[NAS_MAX_CANDIDATES];
    for (int k = 0; k < NAS_MAX_CANDIDATES; k++) {
        mask[k] = gate->rivals >> k & 1 ? 0 : -1e30f;
    }
    return nas__gumbel_weights(logits, mask, 1, gate->active);
}

static double log_sum(int n, const float *logits, uint64_t set) {
    double max = -HUGE_VAL, sum = 0;
    for (int k = 0; k < n; k++) {
        max = set >> k & 1 ? fmax(max, logits[k]) : max;
    }
    for (int k = 0; k < n; k++) {
        sum += set >> k & 1 ? exp(logits[k] - max) : 0;
    }
    return max + log(sum);
}

void nas__step_gate(int n, float *logits, const double *gradient, double *second, int64_t *steps, uint64_t rivals,
                    const nas__gate_step *how) {
    if (!rivals) {
        return;
    }
    double before = log_sum(n, logits, rivals);
    for (int k = 0; k < n; k++) {
        if (rivals >> k & 1) {
            double g = gradient[k] + how->weight_decay * logits[k];
            second[k] = how->beta2 * second[k] + (1 - how->beta2) * g * g;
            double corrected = second[k] / (1 - pow(how->beta2, (double)++steps[k]));
            logits[k] -= (float)(how->lr * g / (sqrt(corrected) + 1e-8));
        }
    }
    double shift = how->rescale ? log_sum(n, logits, rivals) - before : 0;
    for (int k = 0; k < n; k++) {
        logits[k] -= rivals >> k & 1 ? (float)shift : 0;
    }
}
