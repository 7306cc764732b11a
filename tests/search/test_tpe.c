/* TPE's two models in closed form, for one choice of two candidates. */
#include "support.h"

#include "search/tpe.c"

/* A trainer is not needed: options, space and trials are what propose looks at. */
typedef struct two_arms {
    nas_module *model;
    nas_space *space;
    nas_trainer_config config;
    nas_search search;
    tpe_options options;
    nas__trials trials;
} two_arms;

static void open_arms(two_arms *a, int forgetting) {
    *a = (two_arms){.options = {.startup = 4, .candidates = 24, .forgetting = forgetting, .gamma = 0.5, .prior = 1}};
    a->model = nas_sequential(
        nas_layer_choice(NULL, "arm", 2, ((nas_candidate[]){{"a", nas_identity_new()}, {"b", nas_identity_new()}})),
        nas_identity_new());
    a->space = nas_space_new(a->model);
    a->search = (nas_search){.space = a->space, .options = &a->options, .config = &a->config};
    a->trials = (nas__trials){.s = &a->search, .policy = &policy, .memory = calloc(1, sizeof(tpe))};
    assert_int_equal(begin_policy(&a->trials), NAS_OK);
}

static void tell(two_arms *a, int arm, double fitness) {
    nas__trial *trial = nas__trial_new(&a->trials);
    assert_int_equal(nas_architecture_set(trial->architecture, 0, (uint64_t)1 << arm), NAS_OK);
    trial->fitness = fitness;
    nas__trials_observe(&a->trials, trial);
}

static void close_arms(two_arms *a) {
    end_policy(&a->trials);
    for (size_t i = 0; i < a->trials.n_done; i++) {
        nas__trial_free(a->trials.done[i]);
    }
    free(a->trials.done);
    free(a->trials.memory);
    nas_space_free(a->space);
    nas_module_free(a->model);
}

/* Nine trials: ceil(0.5 * 3) = 2 good ones, both b; of the seven others five are a. */
static void models_are_counts_with_a_prior(void **unused) {
    (void)unused;
    two_arms a;
    open_arms(&a, 0);
    const int arms[9] = {0, 1, 0, 0, 1, 1, 0, 0, 1};
    const double fitness[9] = {1, 9, 2, 3, 8, 0, 4, 5, 0.5};
    for (int i = 0; i < 9; i++) {
        tell(&a, arms[i], fitness[i]);
    }
    seen *list = divide(&a.trials);
    double p[2];
    model(&a.trials, list, 0, true, p);
    assert_true(p[0] == 1.0 / 4 && p[1] == 3.0 / 4);
    model(&a.trials, list, 0, false, p);
    assert_true(p[0] == 6.0 / 9 && p[1] == 3.0 / 9);
    free(list);
    /* b is the more telling: proposed unless all draws are a, which has probability 4^-24 */
    for (uint64_t i = 0; i < 50; i++) {
        nas_rng rng = nas_rng_new(i, 0);
        nas__trial *trial = nas__trial_new(&a.trials);
        assert_int_equal(propose(&a.trials, &rng, trial), NAS__PROPOSED);
        assert_int_equal(nas_architecture_get(trial->architecture, 0), 2);
        nas__trial_free(trial);
    }
    close_arms(&a);
}

static void old_trials_are_forgotten_linearly(void **unused) {
    (void)unused;
    assert_true(weight(0, 25, 25) == 1);
    assert_true(weight(0, 35, 25) == 1.0 / 35);
    assert_true(fabs(weight(9, 35, 25) - 1) < 1e-12 && weight(10, 35, 25) == 1);
    assert_true(fabs(weight(3, 35, 25) - (1.0 / 35 + (34.0 / 35) * 3 / 9)) < 1e-12);
    assert_true(weight(0, 26, 25) == 1.0 / 26 && weight(0, 1000, 0) == 1);
}

static void the_start_is_random(void **unused) {
    (void)unused;
    two_arms a;
    int taken[2] = {0};
    open_arms(&a, 25);
    for (uint64_t i = 0; i < 1000; i++) {
        nas_rng rng = nas_rng_new(i, 0);
        nas__trial *trial = nas__trial_new(&a.trials);
        propose(&a.trials, &rng, trial);
        taken[nas_architecture_get(trial->architecture, 0) == 2]++;
        nas__trial_free(trial);
    }
    assert_in_range(taken[0], 430, 570);
    close_arms(&a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(models_are_counts_with_a_prior),
        cmocka_unit_test(old_trials_are_forgotten_linearly),
        cmocka_unit_test(the_start_is_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
