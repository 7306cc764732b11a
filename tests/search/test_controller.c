/* The policy of ENAS against its definition: probabilities that add up to 1, gradients against a second walk in double,
 * the policy gradient against its enumeration, frequencies, a planted optimum, and the skips' KL term. */
#include "controller_spaces.h"

#include "search/controller.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct fixture {
    nas_module *model;
    nas_space *space;
    nas__controller *c;
    nas__sample sample;
} fixture;

static fixture open_fixture(nas_module *model, nas__controller_config config) {
    fixture f = {.model = model, .space = nas_space_new(model)};
    assert_non_null(f.space);
    f.c = nas__controller_new(f.space, &config);
    assert_no_error();
    assert_int_equal(nas__sample_new(&f.sample, f.c), NAS_OK);
    return f;
}

static void close_fixture(fixture *f) {
    nas__sample_free(&f->sample);
    nas__controller_free(f->c);
    nas_space_free(f->space);
    nas_module_free(f->model);
}

/* Larger parameters than the initial ones, so that probabilities differ. */
static void spread_parameters(nas__controller *c, float factor) {
    for (size_t i = 0; i < c->n_tensors; i++) {
        float values[4096];
        nas_tensor_read(c->tensors[i], values);
        for (int64_t k = 0; k < nas_tensor_count(c->tensors[i]); k++) {
            values[k] *= factor;
        }
        nas_tensor_write(c->tensors[i], values);
    }
}

/* --- all sequences -------------------------------------------------------------------------------- */
/* The sequence behind this one, or false. Those that draw a candidate twice, which the walk refuses, are passed over.
 */
static bool next_sequence(fixture *f, bool first) {
    nas__sample *s = &f->sample;
    if (first) {
        memset(s->tokens, 0, (size_t)f->c->most_tokens * sizeof *s->tokens);
    }
    do {
        if (!first) {
            int at = s->n_tokens - 1;
            while (at >= 0 && s->tokens[at] + 1 >= s->arity[at]) {
                at--;
            }
            if (at < 0) {
                nas_error_clear();
                return false;
            }
            s->tokens[at]++;
            memset(s->tokens + at + 1, 0, (size_t)(f->c->most_tokens - at - 1) * sizeof *s->tokens);
        }
        first = false;
        nas_error_clear();
    } while (nas__controller_replay(f->c, s));
    return true;
}

static void check_normalised(nas_module *model, nas__controller_config config, int sequences, int architectures) {
    fixture f = open_fixture(model, config);
    spread_parameters(f.c, 8);
    double sum = 0;
    int count = 0, distinct = 0;
    uint64_t seen[128];
    for (bool first = true; next_sequence(&f, first); first = false) {
        uint64_t hash = nas_architecture_hash(f.sample.architecture);
        bool known = false;
        for (int i = 0; i < distinct; i++) {
            known |= seen[i] == hash;
        }
        if (!known) {
            seen[distinct++] = hash;
        }
        sum += exp(f.sample.log_pi);
        count++;
    }
    assert_int_equal(count, sequences);
    assert_int_equal(distinct, architectures);
    assert_true(fabs(sum - 1) < 1e-5);
    close_fixture(&f);
}

static void probabilities_add_up(void **state) {
    (void)state;
    const nas__controller_config capped = {.hidden = 8, .tanh_constant = 1.5, .skip_target = 0.4};
    const nas__controller_config hot = {.hidden = 8, .tanh_constant = 2.5, .temperature = 5, .skip_target = 0.4};
    const nas__controller_config free_ = {.hidden = 8, .skip_target = 0.4};
    check_normalised(macro_model(), capped, 18, 18);
    check_normalised(macro_model(), hot, 18, 18);
    check_normalised(cell_model(), capped, 2 * 2 * 6 * 4, 48); /* sequences know the order of the inputs, sets do not */
    check_normalised(cell_model(), free_, 2 * 2 * 6 * 4, 48);
    check_normalised(mixed_model(), capped, 48, 48);
}

/* --- a second walk, in double --------------------------------------------------------------------- */
enum { H = 5 };

typedef struct reference {
    const nas__controller *c;
    double *values[16]; /* of c->tensors */
    double h[H], cell[H], x[H];
    double log_pi, kl;
} reference;

static const double *parameter(const reference *r, const char *name) {
    for (size_t i = 0; i < r->c->n_tensors; i++) {
        if (strcmp(r->c->names[i], name) == 0) {
            return r->values[i];
        }
    }
    fail_msg("no parameter %s", name);
    return NULL;
}

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

static void lstm(reference *r) {
    const double *w = parameter(r, "lstm");
    double gates[4 * H];
    for (int i = 0; i < 4 * H; i++) {
        gates[i] = 0;
        for (int k = 0; k < H; k++) {
            gates[i] += w[i * 2 * H + k] * r->x[k] + w[i * 2 * H + H + k] * r->h[k];
        }
    }
    for (int k = 0; k < H; k++) {
        r->cell[k] = sigmoid(gates[H + k]) * r->cell[k] + sigmoid(gates[k]) * tanh(gates[3 * H + k]);
        r->h[k] = sigmoid(gates[2 * H + k]) * tanh(r->cell[k]);
    }
}

static double cap(const reference *r, double logit) { return r->c->config.tanh_constant * tanh(logit); }

static void softmax(reference *r, int n, const double *logits, int token) {
    double sum = 0;
    for (int k = 0; k < n; k++) {
        sum += exp(logits[k]);
    }
    r->log_pi += logits[token] - log(sum);
}

static void word(reference *r, int n, const char *output, const char *embedding, int token) {
    double logits[4];
    lstm(r);
    for (int k = 0; k < n; k++) {
        double sum = 0;
        for (int i = 0; i < H; i++) {
            sum += parameter(r, output)[k * H + i] * r->h[i];
        }
        logits[k] = cap(r, sum);
    }
    softmax(r, n, logits, token);
    memcpy(r->x, parameter(r, embedding) + token * H, sizeof r->x);
}

static double attention(const reference *r, const double *anchor) {
    double q = 0;
    for (int i = 0; i < H; i++) {
        double sum = 0;
        for (int k = 0; k < H; k++) {
            sum += parameter(r, "attention.anchor")[i * H + k] * anchor[k] +
                   parameter(r, "attention.state")[i * H + k] * r->h[k];
        }
        q += parameter(r, "attention.output")[i] * tanh(sum);
    }
    return cap(r, q);
}

static void begin_walk(reference *r) {
    memset(r->h, 0, sizeof r->h);
    memset(r->cell, 0, sizeof r->cell);
    memcpy(r->x, parameter(r, "start"), sizeof r->x);
    r->log_pi = r->kl = 0;
}

/* layer_1, its skip, layer_2; the vocabularies are 0 (layers) and 1 (inputs). */
static void walk_macro(reference *r, const int *tokens) {
    begin_walk(r);
    word(r, 3, "output.0", "embedding.0", tokens[0]);
    double anchor[H];
    memcpy(anchor, r->h, sizeof anchor);
    lstm(r);
    double q = attention(r, anchor), p = sigmoid(2 * q);
    r->log_pi += log(tokens[1] ? p : 1 - p);
    r->kl += p * log(p / 0.4) + (1 - p) * log((1 - p) / 0.6);
    for (int i = 0; i < H; i++) {
        r->x[i] = tokens[1] ? anchor[i] / 2 : 0;
    }
    word(r, 3, "output.0", "embedding.0", tokens[2]);
}

/* node_2: an input, its operation, the step that makes its anchor; node_3: two inputs, their operations in the order of
 * the edges. */
static void walk_cell(reference *r, const int *tokens) {
    begin_walk(r);
    const double *inputs = parameter(r, "embedding.0");
    double logits[3], node[H];
    lstm(r);
    for (int k = 0; k < 2; k++) {
        logits[k] = attention(r, inputs + k * H);
    }
    softmax(r, 2, logits, tokens[0]);
    memcpy(r->x, inputs + tokens[0] * H, sizeof r->x);
    word(r, 2, "output.1", "embedding.1", tokens[1]);
    lstm(r);
    memcpy(node, r->h, sizeof node);
    memcpy(r->x, parameter(r, "start"), sizeof r->x);
    for (int draw = 0; draw < 2; draw++) {
        lstm(r);
        for (int k = 0; k < 3; k++) {
            logits[k] = draw && tokens[2] == k ? -INFINITY : attention(r, k < 2 ? inputs + k * H : node);
        }
        softmax(r, 3, logits, tokens[2 + draw]);
        memcpy(r->x, tokens[2 + draw] < 2 ? inputs + tokens[2 + draw] * H : node, sizeof r->x);
    }
    word(r, 2, "output.1", "embedding.1", tokens[4]);
    word(r, 2, "output.1", "embedding.1", tokens[5]);
}

typedef void (*walk_fn)(reference *r, const int *tokens);

static double loss_of(reference *r, walk_fn walk, const int *tokens, double weight, double kl_weight) {
    walk(r, tokens);
    return -weight * r->log_pi + kl_weight * r->kl;
}

static reference new_reference(const nas__controller *c) {
    reference r = {.c = c};
    for (size_t i = 0; i < c->n_tensors; i++) {
        float values[4096];
        nas_tensor_read(c->tensors[i], values);
        r.values[i] = calloc((size_t)nas_tensor_count(c->tensors[i]), sizeof(double));
        for (int64_t k = 0; k < nas_tensor_count(c->tensors[i]); k++) {
            r.values[i][k] = values[k];
        }
    }
    return r;
}

/* Central differences of the double walk against what learning adds, every parameter. */
static void check_gradient(fixture *f, walk_fn walk, double weight, double kl_weight) {
    reference r = new_reference(f->c);
    double largest = 0;
    walk(&r, f->sample.tokens);
    assert_true(fabs(r.log_pi - f->sample.log_pi) < 1e-5);
    assert_true(fabs(r.kl - f->sample.kl) < 1e-5);
    nas_optimizer_zero_grad(f->c->optimizer);
    assert_int_equal(nas__controller_learn(f->c, &f->sample, weight, kl_weight), NAS_OK);
    for (size_t i = 0; i < f->c->n_tensors; i++) {
        float got[4096];
        nas_tensor_read_grad(f->c->tensors[i], got);
        for (int64_t k = 0; k < nas_tensor_count(f->c->tensors[i]); k++) {
            double *value = &r.values[i][k], kept = *value, at[2];
            for (int side = 0; side < 2; side++) {
                *value = kept + (side ? 1e-5 : -1e-5);
                at[side] = loss_of(&r, walk, f->sample.tokens, weight, kl_weight);
            }
            *value = kept;
            double expected = (at[1] - at[0]) / 2e-5;
            largest = fmax(largest, fabs(expected));
            assert_true(fabs(got[k] - expected) < 1e-5 * (1 + fabs(expected)));
        }
    }
    for (size_t i = 0; i < f->c->n_tensors; i++) {
        free(r.values[i]);
    }
    assert_true(largest > 0.05); /* there was something to compare */
}

static void gradients(nas_module *model, walk_fn walk) {
    fixture f = open_fixture(model, (nas__controller_config){.hidden = H, .tanh_constant = 1.5, .skip_target = 0.4});
    spread_parameters(f.c, 8);
    for (uint64_t i = 0; i < 6; i++) {
        nas_rng rng = nas_rng_new(3, i);
        assert_int_equal(nas__controller_draw(f.c, &rng, false, &f.sample), NAS_OK);
        check_gradient(&f, walk, 1.25, i % 2 ? 0.8 : 0);
    }
    close_fixture(&f);
}

static void gradients_of_a_macro_space(void **state) {
    (void)state;
    gradients(macro_model(), walk_macro);
}

static void gradients_of_a_cell(void **state) {
    (void)state;
    gradients(cell_model(), walk_cell);
}

/* --- draws ---------------------------------------------------------------------------------------- */
static void replay_repeats_a_draw(void **state) {
    (void)state;
    fixture f =
        open_fixture(mixed_model(), (nas__controller_config){.hidden = 8, .tanh_constant = 1.5, .skip_target = 0.4});
    spread_parameters(f.c, 8);
    int outer = nas_space_find(f.space, "outer"), inner = nas_space_find(f.space, "inner"), without = 0;
    for (uint64_t i = 0; i < 50; i++) {
        nas_rng rng = nas_rng_new(9, i);
        assert_int_equal(nas__controller_draw(f.c, &rng, false, &f.sample), NAS_OK);
        double log_pi = f.sample.log_pi;
        int tokens = f.sample.n_tokens;
        nas_architecture *drawn = nas_architecture_copy(f.sample.architecture);
        assert_int_equal(nas__controller_replay(f.c, &f.sample), NAS_OK);
        assert_true(log_pi == f.sample.log_pi && tokens == f.sample.n_tokens &&
                    nas_architecture_equal(drawn, f.sample.architecture));
        assert_true(f.sample.entropy > 0 && f.sample.entropy <= f.sample.uniform + 1e-6);
        if (nas_architecture_get(drawn, outer) == 1) { /* the plain candidate: nothing is nested in it */
            without++;
            assert_false(nas_architecture_reaches(drawn, inner));
            assert_int_equal(nas_architecture_get(drawn, inner), 1);
        }
        nas_architecture_free(drawn);
    }
    assert_true(without > 0 && without < 50);
    close_fixture(&f);
}

static void marginals_are_frequencies(void **state) {
    (void)state;
    enum { N = 4000 };
    fixture f =
        open_fixture(cell_model(), (nas__controller_config){.hidden = 8, .tanh_constant = 1.5, .skip_target = 0.4});
    spread_parameters(f.c, 8);
    int node = nas_space_find(f.space, "node_3"), counts[3] = {0};
    double p[NAS_MAX_CANDIDATES], sum = 0;
    nas__controller_marginal(f.c, node, p);
    assert_float_equal(p[0], 2.0 / 3, 1e-12);
    nas_rng rng = nas_rng_new(5, 5);
    for (int i = 0; i < N; i++) {
        assert_int_equal(nas__controller_draw(f.c, &rng, true, &f.sample), NAS_OK);
        for (int k = 0; k < 3; k++) {
            counts[k] += nas_architecture_get(f.sample.architecture, node) >> k & 1;
        }
    }
    nas__controller_marginal(f.c, node, p);
    for (int k = 0; k < 3; k++) {
        sum += p[k];
        assert_true(fabs(p[k] - counts[k] / (double)N) < 4 * sqrt(0.25 / N));
    }
    assert_float_equal(sum, 2, 1e-5); /* two inputs are taken */
    close_fixture(&f);
}

/* --- the policy gradient -------------------------------------------------------------------------- */
enum { SEQUENCES = 18, MOST = 1024 };

static int index_of(const nas__sample *s) { return (s->tokens[0] * 2 + s->tokens[1]) * 3 + s->tokens[2]; }

static double reward_of(int index) {
    nas_rng rng = nas_rng_new(77, (uint64_t)index);
    return nas_rng_uniform(&rng);
}

static size_t read_gradient(const nas__controller *c, double *all) {
    size_t n = 0;
    for (size_t i = 0; i < c->n_tensors; i++) {
        float values[MOST];
        nas_tensor_read_grad(c->tensors[i], values);
        for (int64_t k = 0; k < nas_tensor_count(c->tensors[i]); k++) {
            all[n++] = values[k];
        }
    }
    assert_true(n <= MOST);
    return n;
}

typedef struct table {
    double p[SEQUENCES], gradient[SEQUENCES][MOST]; /* of -log pi: what learning with weight 1 adds */
    size_t n;
} table;

static void enumerate(fixture *f, table *t) {
    for (bool first = true; next_sequence(f, first); first = false) {
        int index = index_of(&f->sample);
        t->p[index] = exp(f->sample.log_pi);
        nas_optimizer_zero_grad(f->c->optimizer);
        assert_int_equal(nas__controller_learn(f->c, &f->sample, 1, 0), NAS_OK);
        t->n = read_gradient(f->c, t->gradient[index]);
    }
}

/* Mean of `factor[i]` times the gradient of draw i against its expectation, within 4 standard errors for all but
 * chance. */
static void check_mean(const table *t, int draws, const int *drawn, const double *advantage, double scale) {
    int outside = 0;
    for (size_t k = 0; k < t->n; k++) {
        double expected = 0, sum = 0, squares = 0;
        for (int i = 0; i < SEQUENCES; i++) {
            expected += scale * t->p[i] * reward_of(i) * t->gradient[i][k];
        }
        for (int i = 0; i < draws; i++) {
            double g = advantage[i] * t->gradient[drawn[i]][k];
            sum += g;
            squares += g * g;
        }
        double mean = sum / draws, error = sqrt((squares / draws - mean * mean) / draws);
        outside += fabs(mean - expected) > 4 * error + 1e-7;
    }
    assert_int_equal(outside, 0);
}

static void policy_gradient_and_frequencies(void **state) {
    (void)state;
    enum { DRAWS = 50000 };
    fixture f =
        open_fixture(macro_model(), (nas__controller_config){.hidden = H, .tanh_constant = 1.5, .skip_target = 0.4});
    spread_parameters(f.c, 8);
    static table t;
    static int drawn[DRAWS];
    static double plain[DRAWS], relative[DRAWS];
    const double decay = 0.9;
    nas__baseline baseline = {0};
    int counts[SEQUENCES] = {0};
    enumerate(&f, &t);
    nas_rng rng = nas_rng_new(21, 1);
    for (int i = 0; i < DRAWS; i++) {
        assert_int_equal(nas__controller_draw(f.c, &rng, false, &f.sample), NAS_OK);
        counts[drawn[i] = index_of(&f.sample)]++;
        plain[i] = reward_of(drawn[i]);
        relative[i] = nas__baseline_advantage(&baseline, decay, plain[i]);
    }
    check_mean(&t, 20000, drawn, plain, 1);
    /* The baseline takes the reward in first, so the advantage is decay * (reward - earlier rewards' mean). */
    check_mean(&t, 20000, drawn, relative, decay);
    double chi = 0, entropy = 0;
    for (int i = 0; i < SEQUENCES; i++) {
        chi += (counts[i] - DRAWS * t.p[i]) * (counts[i] - DRAWS * t.p[i]) / (DRAWS * t.p[i]);
        entropy -= t.p[i] * log(t.p[i]);
    }
    assert_true(chi < 40.79);                     /* 17 degrees of freedom, p = 1e-3 */
    assert_true(entropy < log(SEQUENCES) - 0.05); /* not the uniform distribution */
    close_fixture(&f);
}

static void baseline_variance(void **state) {
    (void)state;
    nas__baseline b = {0};
    assert_true(nas__baseline_advantage(&b, 0.99, 0.6) == 0); /* the first reward is the baseline */
    assert_float_equal(nas__baseline_advantage(&b, 0.99, 0.8), 0.99 * 0.2, 1e-12);
    assert_float_equal(b.value, 0.602, 1e-12);
}

/* --- learning ------------------------------------------------------------------------------------- */
static void positive_advantage_raises_probability(void **state) {
    (void)state;
    nas_module *(*const models[])(void) = {macro_model, cell_model, mixed_model};
    for (int m = 0; m < 3; m++) {
        for (int sign = -1; sign <= 1; sign += 2) {
            fixture f = open_fixture(
                models[m](),
                (nas__controller_config){.hidden = 8, .tanh_constant = 1.5, .skip_target = 0.4, .lr = 1e-2});
            nas_rng rng = nas_rng_new(4, (uint64_t)m);
            assert_int_equal(nas__controller_draw(f.c, &rng, false, &f.sample), NAS_OK);
            double before = f.sample.log_pi;
            assert_int_equal(nas__controller_learn(f.c, &f.sample, sign, 0), NAS_OK);
            assert_int_equal(nas__controller_step(f.c), NAS_OK);
            assert_int_equal(nas__controller_replay(f.c, &f.sample), NAS_OK);
            assert_true(sign * (f.sample.log_pi - before) > 1e-5);
            close_fixture(&f);
        }
    }
}

static double probability_of(fixture *f, const int *tokens) {
    memcpy(f->sample.tokens, tokens, 3 * sizeof *tokens);
    assert_int_equal(nas__controller_replay(f->c, &f->sample), NAS_OK);
    return exp(f->sample.log_pi);
}

static void planted_best_is_found(void **state) {
    (void)state;
    enum { SEEDS = 20, UPDATES = 100, SAMPLES = 10 };
    const double c = 1.5, op = exp(2 * c) / (exp(2 * c) + 2), most = op * op / (1 + exp(-2 * c));
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        const int best[3] = {(int)(seed % 3), (int)(seed / 3 % 2), (int)(seed / 6 % 3)};
        fixture f = open_fixture(
            macro_model(),
            (nas__controller_config){.hidden = 16, .tanh_constant = c, .skip_target = 0.4, .lr = 2e-2, .seed = seed});
        nas__baseline baseline = {0};
        assert_true(probability_of(&f, best) < 0.1);
        nas_rng rng = nas_rng_new(seed, 1);
        for (int u = 0; u < UPDATES; u++) {
            for (int m = 0; m < SAMPLES; m++) {
                assert_int_equal(nas__controller_draw(f.c, &rng, false, &f.sample), NAS_OK);
                double reward = memcmp(f.sample.tokens, best, sizeof best) == 0,
                       advantage = nas__baseline_advantage(&baseline, 0.95, reward);
                assert_int_equal(nas__controller_learn(f.c, &f.sample, advantage / SAMPLES, 0), NAS_OK);
            }
            assert_int_equal(nas__controller_step(f.c), NAS_OK);
        }
        double p = probability_of(&f, best);
        assert_true(p >= 0.9 * most && p <= most + 1e-6);
        close_fixture(&f);
    }
}

static double skip_rate_after(bool compat) {
    enum { UPDATES = 400 };
    fixture f = open_fixture(
        macro_model(),
        (nas__controller_config){
            .hidden = 16, .tanh_constant = 1.5, .skip_target = 0.4, .skip_compat = compat, .lr = 5e-3, .seed = 2});
    int skip = nas_space_find(f.space, "skip");
    double p[NAS_MAX_CANDIDATES];
    nas_rng rng = nas_rng_new(6, 6);
    for (int u = 0; u < UPDATES; u++) {
        if (u == UPDATES - 100) {
            nas__controller_forget(f.c);
        }
        assert_int_equal(nas__controller_draw(f.c, &rng, true, &f.sample), NAS_OK);
        assert_int_equal(nas__controller_learn(f.c, &f.sample, 0, 0.8), NAS_OK);
        assert_int_equal(nas__controller_step(f.c), NAS_OK);
    }
    nas__controller_marginal(f.c, skip, p);
    close_fixture(&f);
    return p[0];
}

static void skips_settle_at_their_target(void **state) {
    (void)state;
    assert_float_equal(skip_rate_after(false), 0.4, 0.005);
    /* sigmoid(q) = 0.4 is sigmoid(2 q) = 0.16 / (0.16 + 0.36) */
    assert_float_equal(skip_rate_after(true), 0.16 / 0.52, 0.005);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(probabilities_add_up),      cmocka_unit_test(gradients_of_a_macro_space),
        cmocka_unit_test(gradients_of_a_cell),       cmocka_unit_test(replay_repeats_a_draw),
        cmocka_unit_test(marginals_are_frequencies), cmocka_unit_test(policy_gradient_and_frequencies),
        cmocka_unit_test(baseline_variance),         cmocka_unit_test(positive_advantage_raises_probability),
        cmocka_unit_test(planted_best_is_found),     cmocka_unit_test(skips_settle_at_their_target),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
