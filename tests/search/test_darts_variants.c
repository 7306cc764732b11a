/* The published repairs of DARTS: each finds what was planted, and has its own property. */
#include "search/planted.h"
#include "support.h"

#include "search/darts.h"
#include "search/registry.h"
#include "tensor/tensor.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- the planted optimum ------------------------------------------------------------------------- */
static nas_trainer *search(planted *p, bool images, int samples, uint64_t seed, const char *options, int epochs) {
    *p = planted_new(PLANTED_CLASSES, samples, seed);
    if (images) {
        nas_free(p->model);
        p->model = p->config.model = planted_images(2, seed);
    }
    p->config.options = options;
    p->config.num_epochs = epochs;
    p->config.optimizer = nas_sgd(.lr = 0.05, .momentum = 0.9, .weight_decay = 3e-4);
    p->config.score_steps = NAS_NONE;
    nas_trainer *t = nas_trainer_new(&p->config);
    assert_no_error();
    assert_int_equal(nas_trainer_train(t), NAS_OK);
    return t;
}

static void finds_all(bool images, int samples, const char *options, int epochs) {
    for (uint64_t seed = 1; seed <= 5; seed++) {
        planted p;
        nas_trainer *t = search(&p, images, samples, seed, options, epochs);
        int found = planted_found(t->derived, seed);
        if (found != PLANTED_CHOICES) {
            fail_msg("%s, seed %d: %d of %d right", options, (int)seed, found, PLANTED_CHOICES);
        }
        nas_trainer_free(t);
        planted_free(&p);
    }
}

#define FINDS_ALL(name, ...)                                                                                           \
    static void name(void **state) {                                                                                   \
        (void)state;                                                                                                   \
        finds_all(__VA_ARGS__);                                                                                        \
    }
/* The published weights of the terms belong to many small steps; here the steps are few and large. */
FINDS_ALL(fair_finds_all, false, 3000, "variant=fair,alpha_lr=0.05,zero_one=1", 6)
FINDS_ALL(beta_finds_all, false, 3000, "variant=beta,alpha_lr=0.05,logsumexp=1", 6)
FINDS_ALL(minus_finds_all, true, 3000, "variant=minus,alpha_lr=0.05", 6)
FINDS_ALL(drnas_finds_all, true, 3000, "variant=drnas,partial=2,alpha_lr=0.05", 6)
FINDS_ALL(pc_finds_all, true, 3000, "variant=pc,partial=2,alpha_lr=0.05", 6)
FINDS_ALL(progressive_finds_all, true, 3000, "variant=progressive,alpha_lr=0.05", 6)
FINDS_ALL(early_finds_all, false, 2400, "variant=early,alpha_lr=0.05", 16)
FINDS_ALL(perturbation_finds_all, false, 6000, "variant=perturbation,alpha_lr=0.05,select_batches=94,select_share=0.4",
          8)
/* ... which looks at the supernet alone: with alpha frozen it finds as much. */
FINDS_ALL(perturbation_needs_no_alpha, false, 6000,
          "variant=perturbation,warmup_epochs=1000,select_batches=94,select_share=0.4", 6)

/* --- a search that has not begun -------------------------------------------------------------------- */
static nas_trainer *prepared(planted *p, bool images, const char *options) {
    *p = planted_new(PLANTED_CLASSES, 256, 1);
    if (images) {
        nas_free(p->model);
        p->model = p->config.model = planted_images(2, 1);
    }
    p->config.options = options;
    nas_trainer *t = nas_trainer_new(&p->config);
    assert_no_error();
    return t;
}

static nas__darts *darts_of(nas_trainer *t) { return t->s.memory; }

static void set_alphas(nas_trainer *t, int choice, const float *values) {
    nas_tensor_write(darts_of(t)->alphas.of_choice[choice], values);
}

/* The gradient of the terms of alpha's loss in the logits of choice 0, halfway through the search. */
static void penalty_gradient(const char *options, const float alpha[4], float gradient[4], double *value) {
    planted p;
    nas_trainer *t = prepared(&p, false, options);
    for (int i = 0; i < PLANTED_CHOICES; i++) {
        set_alphas(t, i, alpha);
    }
    t->s.progress = 0.5;
    nas_tape_begin(t->tape, &(nas_tape_config){.grad = NAS_ROLE_ARCH});
    nas_tensor *term = nas__darts_penalty(darts_of(t))(&t->s, NULL);
    *value = nas_tensor_item(term);
    assert_int_equal(nas_backward(term), NAS_OK);
    nas_tensor_read_grad(darts_of(t)->alphas.of_choice[0], gradient);
    nas_tape_reset(t->tape);
    nas_trainer_free(t);
    planted_free(&p);
}

static void near(double got, double expected, const char *what) {
    if (!(fabs(got - expected) <= 1e-5 * (1 + fabs(expected)))) {
        fail_msg("%s is %.9g instead of %.9g", what, got, expected);
    }
}

static const float some_alphas[4] = {0.3f, -1.2f, 0, 2};

/* lam * softmax(a)_k / choices, lam risen to half of 50 */
static void beta_gradient(void **state) {
    (void)state;
    float gradient[4];
    double value, sum = 0;
    penalty_gradient("variant=beta", some_alphas, gradient, &value);
    for (int k = 0; k < 4; k++) {
        sum += exp(some_alphas[k]);
    }
    near(value, 25 * log(sum), "logsumexp");
    for (int k = 0; k < 4; k++) {
        near(gradient[k], 25 * exp(some_alphas[k]) / sum / PLANTED_CHOICES, "its gradient");
    }
}

/* -10 mean (sigma - 1/2)^2 */
static void zero_one_gradient(void **state) {
    (void)state;
    float gradient[4];
    double value, sum = 0;
    penalty_gradient("variant=fair", some_alphas, gradient, &value);
    for (int k = 0; k < 4; k++) {
        double sigma = 1 / (1 + exp(-some_alphas[k]));
        sum -= 10 * (sigma - 0.5) * (sigma - 0.5) / 4;
        near(gradient[k], -10 * 2 * (sigma - 0.5) * sigma * (1 - sigma) / 4 / PLANTED_CHOICES, "gradient of L01");
    }
    near(value, sum, "L01");
}

static void plain_has_no_penalty(void **state) {
    (void)state;
    planted p;
    nas_trainer *t = prepared(&p, false, "variant=fair,zero_one=-1");
    assert_null(nas__darts_penalty(darts_of(t)));
    nas_trainer_free(t);
    planted_free(&p);
}

/* --- DARTS- ---------------------------------------------------------------------------------------- */
static uint64_t losses_of(const char *options, step_losses *losses) {
    planted p = planted_new(PLANTED_CLASSES, 640, 2);
    nas_free(p.model);
    p.model = p.config.model = planted_images(2, 2);
    p.config.options = options;
    p.config.num_epochs = 2;
    p.config.score_steps = NAS_NONE;
    p.config.on_step = record_loss;
    p.config.user = losses;
    nas_trainer *t = nas_trainer_new(&p.config);
    assert_no_error();
    assert_int_equal(nas_trainer_train(t), NAS_OK);
    uint64_t hash = weights_hash(p.model, EVERYTHING);
    nas_trainer_free(t);
    planted_free(&p);
    return hash;
}

/* With an auxiliary connection of weight 0 it is DARTS, bit for bit; with one of 1 it is not. */
static void minus_without_beta_is_darts(void **state) {
    (void)state;
    step_losses darts = {0}, minus = {0}, real = {0};
    uint64_t expected = losses_of("alpha_lr=0.05", &darts);
    assert_true(losses_of("variant=minus,auxiliary=1e-300,alpha_lr=0.05", &minus) == expected);
    assert_int_equal(darts.n, 20);
    assert_same_losses(minus.values, darts.values, darts.n, "beta 0");
    assert_true(losses_of("variant=minus,alpha_lr=0.05", &real) != expected);
    assert_true(real.values[0] != darts.values[0]);
}

/* The weights of a pass, as they are while it runs. */
static void weights_in_force(nas_trainer *t, double progress, float *weights) {
    t->s.progress = progress;
    nas_tape_begin(t->tape, &(nas_tape_config){0});
    assert_int_equal(nas__darts_decide(&t->s, NULL), NAS_OK);
    nas_tensor_read(nas_decision_of(t->s.space, 0).weights, weights);
    nas_tape_reset(t->tape);
}

static void auxiliary_decays(void **state) {
    (void)state;
    planted p;
    nas_trainer *t = prepared(&p, true, "variant=minus");
    set_alphas(t, 0, (float[5]){0});
    float w[5];
    for (int step = 0; step <= 4; step++) {
        weights_in_force(t, step / 4.0, w);
        near(w[PLANTED_SKIP], 0.2 + 1 - step / 4.0, "weight of the skip");
        near(w[0], 0.2, "weight of another candidate");
    }
    nas_architecture *a = nas_architecture_new(t->s.space);
    set_alphas(t, 0, (float[5]){0, 0.1f, 0, 0, 0.05f}); /* deriving ignores it */
    assert_int_equal(t->s.strategy->derive(&t->s, a), NAS_OK);
    assert_int_equal(nas_architecture_get(a, 0), 2);
    nas_architecture_free(a);
    nas_trainer_free(t);
    planted_free(&p);
}

/* --- perturbation ------------------------------------------------------------------------------------ */
static double always_the_same(const nas_tensor *output, const nas_tensor *target) {
    (void)output, (void)target;
    return 0.5;
}

/* When nothing hurts, the first candidates are taken. */
static void constant_accuracy_picks_by_order(void **state) {
    (void)state;
    planted p = planted_new(PLANTED_CLASSES, 256, 1);
    p.config.options = "variant=perturbation,select_batches=1";
    p.config.reward = always_the_same;
    p.config.num_epochs = 2;
    p.config.score_steps = NAS_NONE;
    nas_trainer *t = nas_trainer_new(&p.config);
    assert_int_equal(nas_trainer_train(t), NAS_OK);
    for (int i = 0; i < PLANTED_CHOICES; i++) {
        assert_int_equal(nas_architecture_get(t->derived, i), 1);
        assert_int_equal(darts_of(t)->alphas.allowed[i], 1);
    }
    nas_trainer_free(t);
    planted_free(&p);
}

/* --- early stopping ------------------------------------------------------------------------------------ */
typedef struct sharpening {
    nas_trainer *trainer;
    float alphas[32][PLANTED_CANDIDATES];
    int epochs;
} sharpening;

static bool sharpen(const nas_progress *progress, void *user) {
    sharpening *w = user;
    w->epochs = progress->epoch;
    nas_tensor_read(darts_of(w->trainer)->alphas.of_choice[0], w->alphas[progress->epoch]);
    assert_int_equal(w->trainer->n_eigenvalues, progress->epoch);
    assert_true(isfinite(w->trainer->eigenvalues[progress->epoch - 1]));
    w->trainer->eigenvalues[progress->epoch - 1] = progress->epoch < 15 ? 1e4 : 1e5;
    return false;
}

/* The eigenvalue leaps in epoch 15: the search ends in the next one, with the alphas of four epochs before. */
static void stops_at_a_sharp_eigenvalue(void **state) {
    (void)state;
    planted p = planted_new(PLANTED_CLASSES, 128, 1);
    sharpening w = {0};
    p.config.options = "variant=early,alpha_lr=0.05";
    p.config.num_epochs = 25;
    p.config.score_steps = NAS_NONE;
    p.config.on_epoch = sharpen;
    p.config.user = &w;
    nas_trainer *t = w.trainer = nas_trainer_new(&p.config);
    assert_int_equal(nas_trainer_train(t), NAS_OK);
    assert_int_equal(w.epochs, 16);
    assert_false(nas_trainer_stopped(t));
    assert_memory_equal(w.alphas[16], w.alphas[12], sizeof *w.alphas);
    assert_memory_not_equal(w.alphas[15], w.alphas[12], sizeof *w.alphas);
    nas_trainer_free(t);
    planted_free(&p);
}

typedef struct skipping {
    nas_trainer *trainer;
    int epochs, choices; /* from epoch 2 on, so many choices take the skip */
} skipping;
static int told;

static void count_collapses(nas_log_level level, const char *message, void *user) {
    (void)user;
    told += level == NAS_LOG_WARN && strstr(message, "the search collapses") != NULL;
}

static bool prefer_skips(const nas_progress *progress, void *user) {
    skipping *w = user;
    w->epochs = progress->epoch;
    for (int i = 0; progress->epoch >= 2 && i < w->choices; i++) {
        set_alphas(w->trainer, i, (float[5]){0, 0, 0, 0, 3});
    }
    return false;
}

static void run_skipping(skipping *w, const char *options) {
    planted p = planted_new(PLANTED_CLASSES, 128, 1);
    nas_free(p.model);
    p.model = p.config.model = planted_images(2, 1);
    p.config.options = options;
    p.config.num_epochs = 14;
    p.config.score_steps = NAS_NONE;
    p.config.on_epoch = prefer_skips;
    p.config.user = w;
    nas_set_log(count_collapses, NULL);
    told = 0;
    w->trainer = nas_trainer_new(&p.config);
    assert_int_equal(nas_trainer_train(w->trainer), NAS_OK);
    nas_set_log(NULL, NULL);
    nas_trainer_free(w->trainer);
    planted_free(&p);
}

static void stops_at_skips(void **state) {
    (void)state;
    skipping w = {.choices = 2};
    run_skipping(&w, "stop=skips,alpha_lr=1e-3");
    assert_int_equal(w.epochs, 3);
    assert_int_equal(told, 0); /* two of six are fewer than three of eight */
    w = (skipping){0};
    run_skipping(&w, "stop=skips,alpha_lr=1e-9,alpha_weight_decay=0"); /* the ranking rests from epoch 1 on */
    assert_int_equal(w.epochs, 11);
}

/* Every run says so, once. */
static void collapse_is_told_once(void **state) {
    (void)state;
    skipping w = {.choices = 4};
    run_skipping(&w, "alpha_lr=1e-3");
    assert_int_equal(w.epochs, 14);
    assert_int_equal(told, 1);
}

/* --- refusals ------------------------------------------------------------------------------------------ */
static void refused(const char *options, const char *why) {
    planted p = planted_new(PLANTED_CLASSES, 128, 1);
    p.config.options = options;
    nas_trainer *t = nas_trainer_new(&p.config);
    if (t) { /* only the running network can tell */
        assert_int_not_equal(nas_trainer_train(t), NAS_OK);
    }
    assert_error(NAS_UNSUPPORTED, why);
    nas_trainer_free(t);
    planted_free(&p);
}

static void what_makes_no_sense(void **state) {
    (void)state;
    refused("variant=minus", "no choice of this space has one");
    refused("skip_dropout=0.3", "no choice of this space has one");
    refused("edge_weights=on", "edge_weights=on");
    refused("variant=pc", "partial channels need candidates on images");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fair_finds_all),
        cmocka_unit_test(beta_finds_all),
        cmocka_unit_test(minus_finds_all),
        cmocka_unit_test(drnas_finds_all),
        cmocka_unit_test(pc_finds_all),
        cmocka_unit_test(progressive_finds_all),
        cmocka_unit_test(early_finds_all),
        cmocka_unit_test(perturbation_finds_all),
        cmocka_unit_test(perturbation_needs_no_alpha),
        cmocka_unit_test(beta_gradient),
        cmocka_unit_test(zero_one_gradient),
        cmocka_unit_test(plain_has_no_penalty),
        cmocka_unit_test(minus_without_beta_is_darts),
        cmocka_unit_test(auxiliary_decays),
        cmocka_unit_test(constant_accuracy_picks_by_order),
        cmocka_unit_test(stops_at_a_sharp_eigenvalue),
        cmocka_unit_test(stops_at_skips),
        cmocka_unit_test(collapse_is_told_once),
        cmocka_unit_test(what_makes_no_sense),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
