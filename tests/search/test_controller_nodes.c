/* The policy of ENAS over the nodes of its own two spaces in small: frequencies of draws against enumerated
 * probabilities, the policy gradient against its expectation, planted optima by REINFORCE and PPO, and the skips'
 * share. */
#include "controller_fixture.h"

#include <math.h>
#include <stdlib.h>

enum { MOST_SEQUENCES = 600, MOST_PARAMETERS = 1024 };

static const nas__controller_config small = {.hidden = 5, .tanh_constant = 1.5, .skip_target = 0.4};

/* --- all sequences --------------------------------------------------------------------------------------- */
typedef struct table {
    int n, n_parameters;
    uint64_t hash[MOST_SEQUENCES];
    double p[MOST_SEQUENCES];
    float gradient[MOST_SEQUENCES][MOST_PARAMETERS]; /* of -log pi */
} table;

static int read_gradient(const nas__controller *c, float *all) {
    int n = 0;
    for (size_t i = 0; i < c->n_tensors; i++) {
        assert_true(n + nas_tensor_count(c->tensors[i]) <= MOST_PARAMETERS);
        nas_tensor_read_grad(c->tensors[i], all + n);
        n += (int)nas_tensor_count(c->tensors[i]);
    }
    return n;
}

static void enumerate(fixture *f, table *t) {
    t->n = 0;
    for (bool first = true; next_sequence(f, first); first = false) {
        assert_true(t->n < MOST_SEQUENCES);
        t->hash[t->n] = nas_architecture_hash(f->sample.architecture);
        t->p[t->n] = exp(f->sample.log_pi);
        nas_optimizer_zero_grad(f->c->optimizer);
        assert_int_equal(nas__controller_learn(f->c, &f->sample, &(nas__lesson){.advantage = 1}, 1), NAS_OK);
        t->n_parameters = read_gradient(f->c, t->gradient[t->n++]);
    }
}

static int index_of(const table *t, const nas__sample *s) {
    uint64_t hash = nas_architecture_hash(s->architecture);
    int i = 0;
    while (t->hash[i] != hash) {
        assert_true(++i < t->n);
    }
    return i;
}

static double reward_of(int index) {
    nas_rng rng = nas_rng_new(77, (uint64_t)index);
    return nas_rng_uniform(&rng);
}

/* The 0.999 quantile, by Wilson and Hilferty. */
static double chi_square_limit(int freedom) {
    double a = 2.0 / (9 * freedom), c = 1 - a + 3.09 * sqrt(a);
    return freedom * c * c * c;
}

/* Rare architectures count together. */
static void check_frequencies(const table *t, const int *counts, int draws) {
    double chi = 0, expected = 0, seen = 0;
    int groups = 0;
    for (int i = 0; i < t->n; i++) {
        expected += draws * t->p[i];
        seen += counts[i];
        if (expected >= 10 || i == t->n - 1) {
            chi += (seen - expected) * (seen - expected) / expected;
            expected = seen = 0;
            groups++;
        }
    }
    assert_true(groups > 30);
    assert_true(chi < chi_square_limit(groups - 1));
}

static void check_mean(const table *t, const int *counts, int draws) {
    int beyond = 0;
    for (int k = 0; k < t->n_parameters; k++) {
        double expected = 0, sum = 0, squares = 0;
        for (int i = 0; i < t->n; i++) {
            double g = reward_of(i) * t->gradient[i][k];
            expected += t->p[i] * g;
            sum += counts[i] * g;
            squares += counts[i] * g * g;
        }
        double mean = sum / draws, error = sqrt(fmax(squares / draws - mean * mean, 0) / draws);
        beyond += fabs(mean - expected) > 4 * error + 1e-7;
    }
    assert_int_equal(beyond, 0);
}

static void draws_are_those_of_the_policy(void **state) {
    (void)state;
    enum { DRAWS = 10000 };
    static table t;
    nas_module *(*const models[])(void) = {skips_model, terms_model};
    for (int m = 0; m < 2; m++) {
        fixture f = open_fixture(models[m](), small);
        spread_parameters(f.c, 8);
        enumerate(&f, &t);
        int *counts = calloc((size_t)t.n, sizeof *counts);
        nas_rng rng = nas_rng_new(21, (uint64_t)m);
        for (int i = 0; i < DRAWS; i++) {
            assert_int_equal(nas__controller_draw(f.c, &rng, false, &f.sample), NAS_OK);
            counts[index_of(&t, &f.sample)]++;
        }
        check_frequencies(&t, counts, DRAWS);
        check_mean(&t, counts, DRAWS);
        free(counts);
        close_fixture(&f);
    }
}

/* --- planted optima ---------------------------------------------------------------------------------------- */
typedef struct course {
    double clip, lr;
    int updates, samples, epochs;
} course;

/* The reward is the share of the choices that are as in `best`. */
static double likeness(const nas_architecture *a, const nas_architecture *best, int n) {
    int equal = 0;
    for (int i = 0; i < n; i++) {
        equal += nas_architecture_get(a, i) == nas_architecture_get(best, i);
    }
    return equal / (double)n;
}

static void learn(fixture *f, const nas_architecture *best, const course *c, uint64_t seed) {
    nas__baseline baseline = {0};
    nas_rng rng = nas_rng_new(seed, 5);
    nas__sample kept[16];
    nas__lesson lessons[16];
    for (int i = 0; i < c->samples; i++) {
        assert_int_equal(nas__sample_new(&kept[i], f->c), NAS_OK);
    }
    for (int u = 0; u < c->updates; u++) {
        for (int i = 0; i < c->samples; i++) {
            assert_int_equal(nas__controller_draw(f->c, &rng, false, &kept[i]), NAS_OK);
            double reward = likeness(kept[i].architecture, best, nas_space_size(f->space));
            lessons[i] = (nas__lesson){.advantage = nas__baseline_advantage(&baseline, 0.9, reward),
                                       .clip = c->clip,
                                       .old_log_pi = kept[i].log_pi};
        }
        for (int epoch = 0; epoch < c->epochs; epoch++) {
            for (int i = 0; i < c->samples; i++) {
                assert_int_equal(nas__controller_learn(f->c, &kept[i], &lessons[i], 1.0 / c->samples), NAS_OK);
            }
            assert_int_equal(nas__controller_step(f->c), NAS_OK);
        }
    }
    for (int i = 0; i < c->samples; i++) {
        nas__sample_free(&kept[i]);
    }
}

/* Of 100 draws, how many are the planted architecture. */
static int found(nas_module *model, const course *c, uint64_t seed) {
    fixture f = open_fixture(
        model,
        (nas__controller_config){
            .hidden = 16, .tanh_constant = 1.5, .own_words = true, .skip_target = 0.4, .lr = c->lr, .seed = seed});
    nas_architecture *best = nas_architecture_new(f.space);
    nas_rng rng = nas_rng_new(seed, 9);
    nas_architecture_random(best, &rng);
    learn(&f, best, c, seed);
    int hits = 0;
    for (int i = 0; i < 100; i++) {
        assert_int_equal(nas__controller_draw(f.c, &rng, false, &f.sample), NAS_OK);
        hits += nas_architecture_equal(f.sample.architecture, best);
    }
    nas_architecture_free(best);
    close_fixture(&f);
    return hits;
}

static void planted_optima_are_found(void **state) {
    (void)state;
    static const course reinforce = {0, 1e-2, 150, 10, 1}, ppo = {0.2, 1e-2, 50, 10, 4}, frozen = {0, 0, 5, 10, 1};
    for (uint64_t seed = 0; seed < 5; seed++) {
        int by_reinforce = found(skips_model(), &reinforce, seed), by_ppo = found(skips_model(), &ppo, seed);
        if (by_reinforce < 30 || by_ppo < 30) {
            fail_msg("seed %d: %d and %d of 100", (int)seed, by_reinforce, by_ppo);
        }
        assert_in_range(found(skips_model(), &frozen, seed), 0, 10);
    }
}

/* --- the skips' share ---------------------------------------------------------------------------------------- */
static void skips_settle_at_their_target(void **state) {
    (void)state;
    fixture f = open_fixture(
        skips_model(),
        (nas__controller_config){.hidden = 16, .tanh_constant = 1.5, .skip_target = 0.4, .lr = 5e-3, .seed = 2});
    nas_rng rng = nas_rng_new(6, 6);
    for (int u = 0; u < 500; u++) {
        if (u == 400) {
            nas__controller_forget(f.c);
        }
        assert_int_equal(nas__controller_draw(f.c, &rng, true, &f.sample), NAS_OK);
        assert_int_equal(nas__controller_learn(f.c, &f.sample, &(nas__lesson){.kl_weight = 0.8}, 1), NAS_OK);
        assert_int_equal(nas__controller_step(f.c), NAS_OK);
    }
    static const char *const keys[] = {"layer_2/skips", "layer_3/skips"};
    for (int l = 0; l < 2; l++) {
        double p[NAS_MAX_CANDIDATES];
        nas__controller_marginal(f.c, nas_space_find(f.space, keys[l]), p);
        for (int k = 0; k <= l; k++) {
            assert_float_equal(p[k], 0.4, 0.005);
        }
    }
    close_fixture(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(draws_are_those_of_the_policy),
        cmocka_unit_test(planted_optima_are_found),
        cmocka_unit_test(skips_settle_at_their_target),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
