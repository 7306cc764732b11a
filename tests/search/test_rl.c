/* The policy gradient of rl on bandits, against the expectation in closed form, and PPO's clipped objective. */
#include "support.h"

#include "search/rl.c"

typedef struct bandit {
    nas_module *model;
    nas_space *space;
    nas_trainer_config config;
    nas_search search;
    rl_options options;
    nas__trials trials;
} bandit;

static void open_bandit(bandit *b, rl_options with) {
    *b = (bandit){.options = with};
    nas_candidate arms[3] = {{"a", nas_identity_new()}, {"b", nas_identity_new()}, {"c", nas_identity_new()}};
    b->model = nas_sequential(nas_layer_choice(NULL, "arm", 3, arms), nas_identity_new());
    b->space = nas_space_new(b->model);
    b->search = (nas_search){.space = b->space, .options = &b->options, .config = &b->config};
    b->trials = (nas__trials){.s = &b->search, .policy = &policy, .memory = calloc(1, sizeof(rl))};
    assert_int_equal(begin_policy(&b->trials), NAS_OK);
}

static void close_bandit(bandit *b) {
    end_policy(&b->trials);
    free(b->trials.memory);
    nas_space_free(b->space);
    nas_module_free(b->model);
}

static int pull(bandit *b, nas_rng *rng) {
    nas__trial *trial = nas__trial_new(&b->trials);
    propose(&b->trials, rng, trial);
    int arm = __builtin_ctzll(nas_architecture_get(trial->architecture, 0));
    nas__trial_free(trial);
    return arm;
}

/* d E[r] / d logit_i = p_i (r_i - sum p r) */
static void the_mean_gradient_is_that_of_the_expectation(void **unused) {
    (void)unused;
    enum { DRAWS = 200000 };
    const double rewards[3] = {0.2, 0.9, 0.5}, logits[3] = {0.3, -0.7, 0.1};
    for (int with_baseline = 0; with_baseline < 2; with_baseline++) {
        bandit b;
        open_bandit(&b, (rl_options){0});
        rl *m = b.trials.memory;
        memcpy(m->logits, logits, sizeof logits);
        double p[3], expected = 0, squares[3] = {0}, sums[3] = {0};
        softmax(m, m->logits, 0, p);
        for (int i = 0; i < 3; i++) {
            expected += p[i] * rewards[i];
        }
        nas_rng rng = nas_rng_new(7, 8);
        for (int i = 0; i < DRAWS; i++) {
            int arm = pull(&b, &rng);
            memset(m->gradient, 0, 3 * sizeof *m->gradient);
            add_score_function(m, &arm, rewards[arm] - (with_baseline ? 0.6 : 0));
            for (int k = 0; k < 3; k++) {
                sums[k] += m->gradient[k];
                squares[k] += m->gradient[k] * m->gradient[k];
            }
        }
        for (int k = 0; k < 3; k++) {
            double mean = sums[k] / DRAWS, error = sqrt((squares[k] / DRAWS - mean * mean) / DRAWS);
            assert_true(fabs(mean - p[k] * (rewards[k] - expected)) < 4 * error);
        }
        close_bandit(&b);
    }
}

static double probability_of_the_best(rl_options with) {
    const double rewards[3] = {0.2, 0.9, 0.5};
    bandit b;
    open_bandit(&b, with);
    double p[3];
    for (int i = 0; i < 600; i++) {
        nas_rng rng = nas_rng_new(3, (uint64_t)i);
        nas__trial *trial = nas__trial_new(&b.trials);
        propose(&b.trials, &rng, trial);
        trial->fitness = rewards[__builtin_ctzll(nas_architecture_get(trial->architecture, 0))];
        observe(&b.trials, trial);
        nas__trial_free(trial);
    }
    softmax(b.trials.memory, ((rl *)b.trials.memory)->logits, 0, p);
    close_bandit(&b);
    return p[1];
}

static void the_best_arm_wins(void **unused) {
    (void)unused;
    rl_options o = {.update = REINFORCE, .lr = 0.1, .baseline_decay = 0.9, .clip = 0.2, .samples = 20, .epochs = 5};
    assert_true(probability_of_the_best(o) > 0.95);
    o.update = PPO;
    assert_true(probability_of_the_best(o) > 0.95);
    o.lr = 1e-6; /* a policy that does not learn finds nothing */
    assert_true(probability_of_the_best(o) < 0.4);
}

static void ppo_begins_as_reinforce_and_is_clipped(void **unused) {
    (void)unused;
    bandit b;
    open_bandit(&b, (rl_options){0});
    rl *m = b.trials.memory;
    const double before[3] = {0.3, -0.7, 0.1};
    const int arm = 1;
    double plain[3];
    memcpy(m->logits, before, sizeof before);
    memcpy(m->before, before, sizeof before);
    add_score_function(m, &arm, 0.25);
    memcpy(plain, m->gradient, sizeof plain);
    memset(m->gradient, 0, sizeof plain);
    add_clipped(m, &arm, 0.25, 0.2, 1);
    assert_memory_equal(m->gradient, plain, sizeof plain);
    /* twice as likely as before: no gradient upwards, all of it downwards; half as likely: the other way round */
    static const double moved[] = {1, -1};
    for (int k = 0; k < 2; k++) {
        m->logits[1] = before[1] + moved[k];
        for (int sign = -1; sign <= 1; sign += 2) {
            memset(m->gradient, 0, sizeof plain);
            add_clipped(m, &arm, 0.25 * sign, 0.2, 1);
            assert_true((m->gradient[1] == 0) == (moved[k] * sign > 0));
        }
    }
    close_bandit(&b);
}

static void the_entropy_gradient_is_exact(void **unused) {
    (void)unused;
    bandit b;
    open_bandit(&b, (rl_options){0});
    rl *m = b.trials.memory;
    const double at[3] = {0.3, -0.7, 0.1}, step = 1e-6;
    memcpy(m->logits, at, sizeof at);
    add_entropy(m, 1);
    for (int k = 0; k < 3; k++) {
        double side[2], p[3];
        for (int i = 0; i < 2; i++) {
            memcpy(m->logits, at, sizeof at);
            m->logits[k] += i ? step : -step;
            softmax(m, m->logits, 0, p);
            side[i] = -p[0] * log(p[0]) - p[1] * log(p[1]) - p[2] * log(p[2]);
        }
        assert_true(fabs((side[1] - side[0]) / (2 * step) - m->gradient[k]) < 1e-8);
    }
    close_bandit(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_mean_gradient_is_that_of_the_expectation),
        cmocka_unit_test(the_best_arm_wins),
        cmocka_unit_test(ppo_begins_as_reinforce_and_is_clipped),
        cmocka_unit_test(the_entropy_gradient_is_exact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
