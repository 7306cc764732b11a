/* What the policy of ENAS learns: the policy gradient against its enumeration, the baseline's variance, a planted
 * optimum, and the skips' KL term. */
#include "controller_fixture.h"

#include <math.h>

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
        assert_int_equal(nas__controller_learn(f->c, &f->sample, &(nas__lesson){.advantage = 1}, 1), NAS_OK);
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
        open_fixture(macro_model(), (nas__controller_config){.hidden = 5, .tanh_constant = 1.5, .skip_target = 0.4});
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
            assert_int_equal(nas__controller_learn(f.c, &f.sample, &(nas__lesson){.advantage = sign}, 1), NAS_OK);
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
                assert_int_equal(
                    nas__controller_learn(f.c, &f.sample, &(nas__lesson){.advantage = advantage}, 1.0 / SAMPLES),
                    NAS_OK);
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
        assert_int_equal(nas__controller_learn(f.c, &f.sample, &(nas__lesson){.kl_weight = 0.8}, 1), NAS_OK);
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
        cmocka_unit_test(policy_gradient_and_frequencies),       cmocka_unit_test(baseline_variance),
        cmocka_unit_test(positive_advantage_raises_probability), cmocka_unit_test(planted_best_is_found),
        cmocka_unit_test(skips_settle_at_their_target),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
