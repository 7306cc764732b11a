/* A strategy from outside the library, the example's, through the trainer: it is accepted, finds what was planted, and
 * repeats and resumes. */
#include "search/planted.h"
#include "support.h"

#include "search/trainer.h"

#include "../../examples/my_strategy.c"

#include <string.h>

static nas_trainer *trainer_of(planted *p, const char *run_dir, bool resume) {
    p->config.custom = nas_strategy_plugin(NAS_STRATEGY_VERSION);
    p->config.options = "rate=1.5";
    p->config.run_dir = run_dir;
    p->config.resume = resume;
    p->config.optimizer = nas_sgd(.lr = 0.05, .momentum = 0.9, .weight_decay = 3e-4);
    nas_trainer *t = nas_trainer_new(&p->config);
    assert_no_error();
    return t;
}

static void finds_what_was_planted(void **unused) {
    (void)unused;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        planted p = planted_new(PLANTED_CLASSES, 3000, seed);
        p.config.num_epochs = 60;
        nas_trainer *t = trainer_of(&p, NULL, false);
        assert_int_equal(nas_trainer_train(t), NAS_OK);
        int found = planted_found(nas_trainer_best(t, NULL), seed);
        nas_trainer_free(t);
        planted_free(&p);
        if (found != PLANTED_CHOICES) {
            fail_msg("seed %d: %d of %d right", (int)seed, found, PLANTED_CHOICES);
        }
    }
}

typedef struct outcome {
    uint64_t weights;
    bandit memory;
} outcome;

static outcome searched(const char *directory, int stop_at) {
    outcome o = {0};
    for (int segment = 0; segment < (stop_at ? 2 : 1); segment++) {
        planted p = planted_new(PLANTED_CLASSES, 600, 1);
        step_losses losses = {.stop_at = segment == 0 ? stop_at : 0};
        p.config.num_epochs = 4;
        p.config.on_step = record_loss;
        p.config.user = &losses;
        nas_trainer *t = trainer_of(&p, directory, segment > 0);
        assert_int_equal(nas_trainer_train(t), NAS_OK);
        assert_true(nas_trainer_stopped(t) == (losses.stop_at > 0));
        o.weights = weights_hash(p.model, EVERYTHING);
        memcpy(&o.memory, t->s.memory, sizeof o.memory);
        nas_trainer_free(t);
        planted_free(&p);
    }
    return o;
}

static void resumes_to_the_same_bits(void **unused) {
    (void)unused;
    char *directory = temporary_directory();
    outcome whole = searched(NULL, 0), parts = searched(directory, 14);
    assert_true(whole.weights == parts.weights);
    assert_memory_equal(whole.memory.logits, parts.memory.logits, sizeof whole.memory.logits);
    assert_true(whole.memory.plays == parts.memory.plays && whole.memory.usual == parts.memory.usual);
    remove_directory(directory);
}

static void another_version_is_refused(void **unused) {
    (void)unused;
    assert_null(nas_strategy_plugin(NAS_STRATEGY_VERSION + 1));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_what_was_planted),
        cmocka_unit_test(resumes_to_the_same_bits),
        cmocka_unit_test(another_version_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
