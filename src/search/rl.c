/* rl.c - reinforcement learning without a network (the baseline of NATS-Bench, Dong et al., TPAMI 2021): a row of
 * logits per decision, moved by REINFORCE (Williams 1992) after every trial, or by proximal policy optimisation
 * (Schulman et al. 2017; the update of NASNet's controller) after every few. */
#include "search/genes.h"
#include "search/trials.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct rl_options {
    nas__trial_options trial;
    int update, samples, epochs;
    double lr, baseline_decay, clip, entropy_weight;
} rl_options;

enum { REINFORCE, PPO };

#define ROW(field, type, ...)                                                                                          \
    { #field, type, offsetof(rl_options, field), __VA_ARGS__ }
static const nas_option options[] = {
    ROW(update, NAS_OPTION_CHOICE, "reinforce", 0, 0, "reinforce|ppo", "how the logits learn from rewards"),
    ROW(lr, NAS_OPTION_FLOAT, "0.1", 1e-6, 100, NULL, "learning rate of the logits (Adam)"),
    ROW(baseline_decay, NAS_OPTION_FLOAT, "0.9", 0, 0.9999, NULL,
        "of the moving mean of rewards that a reward is compared with"),
    ROW(entropy_weight, NAS_OPTION_FLOAT, "0", 0, 100, NULL, "weight of the policy's entropy in what is maximised"),
    ROW(samples, NAS_OPTION_INT, "20", 1, 100000, NULL, "ppo: trials per update"),
    ROW(epochs, NAS_OPTION_INT, "5", 1, 1000, NULL, "ppo: steps per update"),
    ROW(clip, NAS_OPTION_FLOAT, "0.2", 0.001, 10, NULL, "ppo: a probability that moved further gets no gradient"),
    NAS__TRIAL_OPTION_ROWS(rl_options, "standalone"),
    {0},
};

/* Row i of a table of numbers per gene and value begins at i * genes.most_values. */
typedef struct rl {
    nas__genes genes;
    double *logits, *before, *gradient, *first, *second; /* before: when the batch's trials were drawn */
    int *values;                                         /* of the batch's trials */
    double *rewards;
    int n_batch;
    int64_t steps;
    double baseline, baseline_weight; /* numerator and denominator of the moving mean */
} rl;

static const rl_options *options_of(const nas__trials *t) { return nas__trials_options(t); }
static size_t table_size(const rl *m) { return (size_t)m->genes.n * (size_t)m->genes.most_values; }

static nas_status begin_policy(nas__trials *t) {
    rl *m = t->memory;
    const rl_options *o = options_of(t);
    if (nas__genes_new(&m->genes, nas__trials_space(t))) {
        return nas_error_status();
    }
    double **tables[] = {&m->logits, &m->before, &m->gradient, &m->first, &m->second};
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        *tables[i] = nas__alloc(table_size(m) * sizeof **tables[i]);
    }
    size_t batch = o->update == PPO ? (size_t)o->samples : 1;
    m->values = nas__alloc(batch * (size_t)m->genes.n * sizeof *m->values);
    m->rewards = nas__alloc(batch * sizeof *m->rewards);
    return nas_error_status();
}

static void end_policy(nas__trials *t) {
    rl *m = t->memory;
    nas__genes_free(&m->genes);
    free(m->logits);
    free(m->before);
    free(m->gradient);
    free(m->first);
    free(m->second);
    free(m->values);
    free(m->rewards);
}

/* --- the policy ------------------------------------------------------------------------------------------------------
 */
static void softmax(const rl *m, const double *table, int gene, double *p) {
    const double *row = table + (size_t)gene * (size_t)m->genes.most_values;
    double most = row[0], sum = 0;
    int n = m->genes.list[gene].values;
    for (int v = 1; v < n; v++) {
        most = fmax(most, row[v]);
    }
    for (int v = 0; v < n; v++) {
        sum += p[v] = exp(row[v] - most);
    }
    for (int v = 0; v < n; v++) {
        p[v] /= sum;
    }
}

enum { MOST_VALUES = 64 };

static double log_probability(const rl *m, const double *table, const int *values) {
    double sum = 0, p[MOST_VALUES];
    for (int i = 0; i < m->genes.n; i++) {
        softmax(m, table, i, p);
        sum += log(fmax(p[values[i]], 1e-300));
    }
    return sum;
}

static nas__proposal propose(nas__trials *t, nas_rng *rng, nas__trial *trial) {
    rl *m = t->memory;
    const rl_options *o = options_of(t);
    double p[MOST_VALUES];
    if (o->update == PPO && m->n_batch + (int)t->n_open == o->samples) {
        return NAS__WAIT; /* all of a batch are drawn from the same logits */
    }
    int *values = nas__alloc((size_t)m->genes.n * sizeof *values);
    for (int i = 0; values && i < m->genes.n; i++) {
        softmax(m, m->logits, i, p);
        values[i] = nas_rng_choose(rng, m->genes.list[i].values, p);
    }
    if (values) {
        nas__genes_write(&m->genes, values, trial->architecture, rng);
    }
    free(values);
    return values ? NAS__PROPOSED : NAS__EXHAUSTED;
}

/* --- learning
 * ---------------------------------------------------------------------------------------------------------- */
/* Adds weight * d log p(values) / d logits. */
static void add_score_function(rl *m, const int *values, double weight) {
    double p[MOST_VALUES];
    for (int i = 0; i < m->genes.n; i++) {
        double *row = m->gradient + (size_t)i * (size_t)m->genes.most_values;
        softmax(m, m->logits, i, p);
        for (int v = 0; v < m->genes.list[i].values; v++) {
            row[v] += weight * ((v == values[i]) - p[v]);
        }
    }
}

/* Adds weight * d entropy / d logits: -p (log p + H). */
static void add_entropy(rl *m, double weight) {
    double p[MOST_VALUES];
    for (int i = 0; weight > 0 && i < m->genes.n; i++) {
        double *row = m->gradient + (size_t)i * (size_t)m->genes.most_values, entropy = 0;
        softmax(m, m->logits, i, p);
        for (int v = 0; v < m->genes.list[i].values; v++) {
            entropy -= p[v] * log(fmax(p[v], 1e-300));
        }
        for (int v = 0; v < m->genes.list[i].values; v++) {
            row[v] -= weight * p[v] * (log(fmax(p[v], 1e-300)) + entropy);
        }
    }
}

/* The gradient of the clipped objective: none where the probability has moved in the advantage's direction beyond the
 * clip, else the ratio times the advantage times the score function. Before any step the ratio is 1: REINFORCE. */
static void add_clipped(rl *m, const int *values, double advantage, double clip, int n) {
    double ratio = exp(log_probability(m, m->logits, values) - log_probability(m, m->before, values));
    bool beyond = advantage > 0 ? ratio > 1 + clip : ratio < 1 - clip;
    add_score_function(m, values, beyond ? 0 : ratio * advantage / n);
}

static void ascend(rl *m, double lr) {
    const double beta1 = 0.9, beta2 = 0.999;
    m->steps++;
    double correct1 = 1 - pow(beta1, (double)m->steps), correct2 = 1 - pow(beta2, (double)m->steps);
    for (size_t i = 0; i < table_size(m); i++) {
        double g = m->gradient[i];
        m->first[i] = beta1 * m->first[i] + (1 - beta1) * g;
        m->second[i] = beta2 * m->second[i] + (1 - beta2) * g * g;
        m->logits[i] += lr * m->first[i] / correct1 / (sqrt(m->second[i] / correct2) + 1e-8);
    }
    memset(m->gradient, 0, table_size(m) * sizeof *m->gradient);
}

static void learn(rl *m, const rl_options *o) {
    int epochs = o->update == PPO ? o->epochs : 1;
    memcpy(m->before, m->logits, table_size(m) * sizeof *m->before);
    for (int epoch = 0; epoch < epochs; epoch++) {
        for (int i = 0; i < m->n_batch; i++) {
            add_clipped(m, m->values + (size_t)i * (size_t)m->genes.n, m->rewards[i], o->clip, m->n_batch);
        }
        add_entropy(m, o->entropy_weight);
        ascend(m, o->lr);
    }
    m->n_batch = 0;
}

/* The reward less the moving mean, in which it is counted before. */
static double advantage(rl *m, double decay, double reward) {
    m->baseline = decay * m->baseline + (1 - decay) * reward;
    m->baseline_weight = decay * m->baseline_weight + (1 - decay);
    return reward - m->baseline / m->baseline_weight;
}

static void observe(nas__trials *t, const nas__trial *trial) {
    rl *m = t->memory;
    const rl_options *o = options_of(t);
    if (!isfinite(trial->fitness)) { /* of a trial that failed nothing is known but that it was none of the good */
        return;
    }
    nas__genes_read(&m->genes, trial->architecture, m->values + (size_t)m->n_batch * (size_t)m->genes.n);
    m->rewards[m->n_batch++] = advantage(m, o->baseline_decay, trial->fitness);
    if (m->n_batch == (o->update == PPO ? o->samples : 1)) {
        learn(m, o);
    }
}

static const nas__policy policy = {
    .memory_size = sizeof(rl), .begin = begin_policy, .propose = propose, .observe = observe, .end = end_policy};

static nas_status begin(nas_search *s) { return nas__trials_begin(s, &policy); }

const nas_strategy nas__strategy_rl = {
    .name = "rl",
    .summary = "reinforcement learning: logits per decision, moved by REINFORCE or PPO",
    .paper = "Williams: Simple Statistical Gradient-Following Algorithms, 1992; Schulman et al.: Proximal Policy "
             "Optimization Algorithms, 2017",
    .options = options,
    .options_size = sizeof(rl_options),
    .state_size = sizeof(nas__trials),
    .begin = begin,
    NAS__TRIAL_STRATEGY,
};
