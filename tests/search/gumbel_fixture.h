/* gumbel_fixture.h - searches of the planted optimum by the strategies that draw with Gumbel noise, and what tests look
 * at in them. */
#ifndef TESTS_GUMBEL_FIXTURE_H
#define TESTS_GUMBEL_FIXTURE_H

#include "search/planted.h"
#include "support.h"

#include "nn/optim.h"
#include "search/gumbel.h"
#include "search/trainer.h"
#include "tensor/tensor.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A part of the mechanism that is taken away. */
typedef enum ablation { INTACT, NO_NOISE, NO_GRADIENT } ablation;

static inline nas__gumbel *gumbel_of(nas_trainer *t) { return t->s.memory; /* first in the strategies' memory */ }

/* How many of the six choices are right in what is derived in the end. */
static inline int found_by(const char *strategy, const char *options, planted_task task, uint64_t seed, ablation off) {
    planted p = planted_new(task, 3000, seed);
    p.config.strategy = strategy;
    p.config.options = options;
    p.config.num_epochs = 6;
    p.config.score_steps = NAS_NONE;
    p.config.optimizer = nas_sgd(.lr = 0.05, .momentum = 0.9, .weight_decay = 3e-4);
    nas_trainer *t = nas_trainer_new(&p.config);
    assert_no_error();
    gumbel_of(t)->without_noise = off == NO_NOISE;
    gumbel_of(t)->without_gradient = off == NO_GRADIENT;
    assert_int_equal(nas_trainer_train(t), NAS_OK);
    int found = planted_found(t->derived, seed);
    nas_trainer_free(t);
    planted_free(&p);
    return found;
}

static inline void finds_all(const char *strategy, const char *options) {
    for (uint64_t seed = 1; seed <= 5; seed++) {
        int found = found_by(strategy, options, PLANTED_CLASSES, seed, INTACT);
        if (found != PLANTED_CHOICES) {
            fail_msg("%s with %s, seed %d: %d of %d right", strategy, options, (int)seed, found, PLANTED_CHOICES);
        }
    }
}

/* Of 24 choices in four searches. */
static inline int found_in_four(const char *strategy, const char *options, planted_task task, ablation off) {
    int found = 0;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        found += found_by(strategy, options, task, seed, off);
    }
    return found;
}

#endif
