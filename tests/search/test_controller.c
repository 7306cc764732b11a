/* The policy of ENAS against its definition: probabilities that add up to 1, and draws with their frequencies;
 * gradients against a second walk in double. What it learns is the matter of test_controller_learning.c. */
#include "controller_fixture.h"

#include <math.h>
#include <stdlib.h>

/* --- all sequences -------------------------------------------------------------------------------- */
static void check_normalised(nas_module *model, nas__controller_config config, int sequences, int architectures) {
    fixture f = open_fixture(model, config);
    spread_parameters(f.c, 8);
    double sum = 0, of_all = 0, of_tokens = 0; /* entropy of the sequences, and the mean of what samples say */
    int count = 0, distinct = 0;
    static uint64_t seen[600];
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
        of_all -= exp(f.sample.log_pi) * f.sample.log_pi;
        of_tokens += exp(f.sample.log_pi) * f.sample.entropy;
        count++;
    }
    assert_int_equal(count, sequences);
    assert_int_equal(distinct, architectures);
    assert_true(fabs(sum - 1) < 1e-5);
    assert_true(of_all > 0.5 && fabs(of_all - of_tokens) < 1e-4); /* the chain rule */
    close_fixture(&f);
}

static void probabilities_add_up(void **state) {
    (void)state;
    const nas__controller_config capped = {.hidden = 8, .tanh_constant = 1.5, .skip_target = 0.4};
    const nas__controller_config hot = {.hidden = 8, .tanh_constant = 2.5, .temperature = 5, .skip_target = 0.4};
    const nas__controller_config micro = {
        .hidden = 8, .tanh_constant = 1.1, .op_reduce = 2.5, .op_bias = 10, .skip_target = 0.4};
    const nas__controller_config free_ = {.hidden = 8, .skip_target = 0.4};
    check_normalised(macro_model(), capped, 18, 18);
    check_normalised(macro_model(), hot, 18, 18);
    check_normalised(cell_model(), capped, 2 * 2 * 6 * 4, 48); /* sequences know the order of the inputs, sets do not */
    check_normalised(cell_model(), free_, 2 * 2 * 6 * 4, 48);
    check_normalised(mixed_model(), capped, 48, 48);
    check_normalised(skips_model(), capped, 64, 64);
    check_normalised(terms_model(), micro, 576, 576);
}

/* --- a second walk, in double --------------------------------------------------------------------- */
enum { H = 5 };

typedef struct reference {
    const nas__controller *c;
    double *values[16]; /* of c->tensors */
    double h[H], cell[H], x[H];
    double log_pi, kl, entropy;
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
    for (int k = 0; k < n; k++) {
        double p = exp(logits[k]) / sum;
        r->entropy -= p > 0 ? p * log(p) : 0;
    }
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

/* Operations with a bias and a reduced bound; vocabularies 0 and 2 are inputs, without embeddings. */
static void biased_word(reference *r, int token) {
    double logits[2];
    lstm(r);
    for (int k = 0; k < 2; k++) {
        logits[k] = parameter(r, "bias.1")[k];
        for (int i = 0; i < H; i++) {
            logits[k] += parameter(r, "output.1")[k * H + i] * r->h[i];
        }
        logits[k] = cap(r, logits[k]) / r->c->config.op_reduce;
    }
    softmax(r, 2, logits, token);
    memcpy(r->x, parameter(r, "embedding.1") + token * H, sizeof r->x);
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
    r->log_pi = r->kl = r->entropy = 0;
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
    r->entropy -= p * log(p) + (1 - p) * log(1 - p);
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
    double logits[3], node[H], inputs[2 * H];
    for (int k = 0; k < 2; k++) { /* a step for each input */
        lstm(r);
        memcpy(inputs + k * H, r->h, sizeof r->h);
    }
    lstm(r);
    for (int k = 0; k < 2; k++) {
        logits[k] = attention(r, inputs + k * H);
    }
    softmax(r, 2, logits, tokens[0]);
    memset(r->x, 0, sizeof r->x);
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
        for (int i = 0; i < H; i++) { /* the inputs have no vector of their own */
            r->x[i] = tokens[2 + draw] < 2 ? 0 : node[i];
        }
    }
    word(r, 2, "output.1", "embedding.1", tokens[4]);
    word(r, 2, "output.1", "embedding.1", tokens[5]);
}

/* Three layers with skips; the authors' order: operation, bits; the first layer's second step makes the anchor of what
 * it reads, the stem's. */
static void walk_skips(reference *r, const int *tokens) {
    begin_walk(r);
    double anchors[2][H];
    word(r, 2, "output.0", "embedding.0", tokens[0]);
    lstm(r);
    memcpy(anchors[0], r->h, sizeof r->h);
    memcpy(r->x, parameter(r, "start"), sizeof r->x);
    for (int layer = 1, at = 1; layer < 3; layer++) {
        word(r, 2, "output.0", "embedding.0", tokens[at++]);
        lstm(r);
        int n = 0;
        double sum[H] = {0};
        for (int k = 0; k < layer; k++) {
            double p = sigmoid(2 * attention(r, anchors[k]));
            bool taken = tokens[at++] == 1;
            r->log_pi += log(taken ? p : 1 - p);
            r->kl += p * log(p / 0.4) + (1 - p) * log((1 - p) / 0.6);
            r->entropy -= p * log(p) + (1 - p) * log(1 - p);
            n += taken;
            for (int i = 0; i < H; i++) {
                sum[i] += taken ? anchors[k][i] : 0;
            }
        }
        for (int i = 0; i < H; i++) {
            r->x[i] = sum[i] / (1 + n);
        }
        memcpy(anchors[layer % 2], r->h, sizeof r->h);
    }
}

/* Two nodes of two terms; the authors' order: both inputs, both operations, a step for the node's anchor. */
static void walk_terms(reference *r, const int *tokens) {
    begin_walk(r);
    double anchors[4][H];
    for (int k = 0; k < 2; k++) {
        lstm(r);
        memcpy(anchors[k], r->h, sizeof r->h);
    }
    for (int node = 2, at = 0; node < 4; node++) {
        double logits[3];
        for (int term = 0; term < 2; term++, at++) {
            lstm(r);
            for (int k = 0; k < node; k++) {
                logits[k] = attention(r, anchors[k]);
            }
            softmax(r, node, logits, tokens[at]);
            for (int i = 0; i < H; i++) {
                r->x[i] = tokens[at] < 2 ? 0 : anchors[tokens[at]][i];
            }
        }
        for (int term = 0; term < 2; term++, at++) {
            biased_word(r, tokens[at]);
        }
        if (node == 2) {
            lstm(r);
            memcpy(anchors[2], r->h, sizeof r->h);
            memcpy(r->x, parameter(r, "start"), sizeof r->x);
        }
    }
}

typedef void (*walk_fn)(reference *r, const int *tokens);

static double loss_of(reference *r, walk_fn walk, const int *tokens, const nas__lesson *l) {
    walk(r, tokens);
    double ratio = exp(r->log_pi - l->old_log_pi), kept = fmin(fmax(ratio, 1 - l->clip), 1 + l->clip);
    double gain = l->clip > 0 ? fmin(ratio * l->advantage, kept * l->advantage) : l->advantage * r->log_pi;
    return l->kl_weight * r->kl - gain - l->entropy_weight * r->entropy;
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
static void check_gradient(fixture *f, walk_fn walk, const nas__lesson *lesson) {
    reference r = new_reference(f->c);
    double largest = 0;
    walk(&r, f->sample.tokens);
    assert_true(fabs(r.log_pi - f->sample.log_pi) < 1e-5);
    assert_true(fabs(r.kl - f->sample.kl) < 1e-5);
    assert_true(fabs(r.entropy - f->sample.entropy) < 1e-5);
    nas_optimizer_zero_grad(f->c->optimizer);
    assert_int_equal(nas__controller_learn(f->c, &f->sample, lesson, 1), NAS_OK);
    for (size_t i = 0; i < f->c->n_tensors; i++) {
        float got[4096];
        nas_tensor_read_grad(f->c->tensors[i], got);
        for (int64_t k = 0; k < nas_tensor_count(f->c->tensors[i]); k++) {
            double *value = &r.values[i][k], kept = *value, at[2];
            for (int side = 0; side < 2; side++) {
                *value = kept + (side ? 1e-5 : -1e-5);
                at[side] = loss_of(&r, walk, f->sample.tokens, lesson);
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

static void gradients(nas_module *model, walk_fn walk, nas__controller_config config) {
    config.hidden = H;
    config.tanh_constant = 1.5;
    config.skip_target = 0.4;
    fixture f = open_fixture(model, config);
    spread_parameters(f.c, 8);
    for (uint64_t i = 0; i < 6; i++) {
        nas_rng rng = nas_rng_new(3, i);
        assert_int_equal(nas__controller_draw(f.c, &rng, false, &f.sample), NAS_OK);
        /* REINFORCE; and PPO, where the policy has moved by less than the clip */
        const nas__lesson lessons[] = {{.advantage = 1.25},
                                       {.advantage = 1.25, .kl_weight = 0.8},
                                       {.advantage = 0.5, .entropy_weight = 0.7},
                                       {.advantage = i % 2 ? 1.25 : -1.25,
                                        .clip = 0.2,
                                        .old_log_pi = f.sample.log_pi - 0.1,
                                        .entropy_weight = 0.1}};
        check_gradient(&f, walk, &lessons[i % 4]);
        check_gradient(&f, walk, &lessons[3]);
    }
    close_fixture(&f);
}

static void gradients_of_a_macro_space(void **state) {
    (void)state;
    gradients(macro_model(), walk_macro, (nas__controller_config){0});
    gradients(skips_model(), walk_skips, (nas__controller_config){0});
}

static void gradients_of_a_cell(void **state) {
    (void)state;
    gradients(cell_model(), walk_cell, (nas__controller_config){0});
    gradients(terms_model(), walk_terms, (nas__controller_config){.op_reduce = 2.5, .op_bias = 0.1});
}

/* Beyond the clip there is nothing to gain, and no gradient; back again there is. Without a move PPO is REINFORCE. */
static void ppo_stays_near_the_old_policy(void **state) {
    (void)state;
    fixture f =
        open_fixture(skips_model(), (nas__controller_config){.hidden = 8, .tanh_constant = 1.5, .skip_target = 0.4});
    spread_parameters(f.c, 8);
    nas_rng rng = nas_rng_new(3, 3);
    assert_int_equal(nas__controller_draw(f.c, &rng, false, &f.sample), NAS_OK);
    static const struct {
        double advantage, moved;
        bool learns;
    } cases[] = {{1, 0.3, false}, {1, -0.3, true}, {-1, -0.3, false}, {-1, 0.3, true}, {1, 0, true}};
    float plain[512], got[512];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        nas__lesson lesson = {
            .advantage = cases[i].advantage, .clip = 0.2, .old_log_pi = f.sample.log_pi - cases[i].moved};
        nas_optimizer_zero_grad(f.c->optimizer);
        assert_int_equal(nas__controller_learn(f.c, &f.sample, &lesson, 1), NAS_OK);
        assert_int_equal(nas_tensor_read_grad(f.c->lstm, got), NAS_OK);
        double sum = 0;
        for (int64_t k = 0; k < nas_tensor_count(f.c->lstm); k++) {
            sum += fabs(got[k]);
        }
        assert_int_equal(sum > 0, cases[i].learns);
    }
    nas_optimizer_zero_grad(f.c->optimizer);
    assert_int_equal(nas__controller_learn(f.c, &f.sample, &(nas__lesson){.advantage = 1}, 1), NAS_OK);
    assert_int_equal(nas_tensor_read_grad(f.c->lstm, plain), NAS_OK);
    assert_memory_equal(plain, got, (size_t)nas_tensor_count(f.c->lstm) * sizeof *got);
    close_fixture(&f);
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(probabilities_add_up),          cmocka_unit_test(gradients_of_a_macro_space),
        cmocka_unit_test(ppo_stays_near_the_old_policy), cmocka_unit_test(gradients_of_a_cell),
        cmocka_unit_test(replay_repeats_a_draw),         cmocka_unit_test(marginals_are_frequencies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
