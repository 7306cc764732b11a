/* ProxylessNAS: the gates' gradients against closed forms, the two-path step's invariants, and what it finds. */
#include "search/planted.h"
#include "support.h"

#include <espalier/strategy.h>

#include "search/proxyless.h"
#include "search/trainer.h"
#include "tensor/tensor.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OPS = 4 };
static const double outputs[OPS] = {0.7, -1.1, 0.4, 2.0};
static const float logits[OPS] = {0.3f, -0.4f, 0.1f, 0.6f};

static void near(double got, double expected, double tolerance, const char *what) {
    if (!(fabs(got - expected) <= tolerance * (1 + fabs(expected)))) {
        fail_msg("%s: %.12g instead of %.12g", what, got, expected);
    }
}

/* --- one choice of four constants --------------------------------------------------------------------- */
struct constant {
    nas_module base;
    float value;
};

static nas_tensor *constant_forward(nas_module *self, nas_tensor *x) {
    return nas_scale(x, ((struct constant *)self)->value);
}

static nas_module *constants(void) {
    nas_candidate candidates[OPS] = {{0}};
    for (int k = 0; k < OPS; k++) {
        struct constant *c = nas_module_new(struct constant, constant_forward);
        c->value = (float)outputs[k];
        candidates[k].module = &c->base;
    }
    return nas_layer_choice(NULL, "op", OPS, candidates);
}

static void probabilities_of(double *p) {
    double sum = 0;
    for (int k = 0; k < OPS; k++) {
        sum += p[k] = exp(logits[k]);
    }
    for (int k = 0; k < OPS; k++) {
        p[k] /= sum;
    }
}

typedef struct toy {
    nas_module *model;
    nas_space *space;
    nas_tensor *alpha, *x;
    nas_tape *tape;
} toy;

static toy toy_new(void) {
    toy t = {.model = constants(), .tape = nas_tape_new()};
    t.space = nas_space_new(t.model);
    t.alpha = nas_variable(1, (int64_t[]){OPS}, NAS_ROLE_ARCH);
    t.x = nas_variable(2, (int64_t[]){1, 1}, NAS_ROLE_ARCH); /* as if other gates were before it */
    nas_tensor_write(t.alpha, logits);
    nas_tensor_write(t.x, (const float[]){1});
    assert_no_error();
    return t;
}

static void toy_free(toy *t) {
    nas_tape_free(t->tape);
    nas_tensor_free(t->alpha);
    nas_tensor_free(t->x);
    nas_space_free(t->space);
    nas_module_free(t->model);
}

/* The gradient of 0.5 (y - target)^2, or of slope * y, to alpha; returns that to x. */
static double gate_gradient(toy *t, const nas__gate *g, bool linear, double target, float *gradient) {
    nas_tape_begin(t->tape, &(nas_tape_config){.grad = NAS_ROLE_ARCH});
    assert_int_equal(
        nas_decide(
            t->space, 0,
            (nas_decision){.run = g->run, .weights = nas__gate_weights(t->alpha, g), .detached = g->run & ~g->active}),
        NAS_OK);
    nas_tensor *y = nas_forward(t->model, t->x), *e = nas_add_scalar(y, -(float)target);
    assert_true(nas_tensor_item(y) == (float)outputs[__builtin_ctzll(g->active)]);
    nas_tensor *loss = nas_sum(linear ? nas_scale(y, (float)target) : nas_scale(nas_mul(e, e), 0.5f));
    assert_int_equal(nas_backward(loss), NAS_OK);
    float to_x;
    nas_tensor_read_grad(t->alpha, gradient);
    nas_tensor_read_grad(t->x, &to_x);
    nas_zero_grad(t->alpha);
    nas_zero_grad(t->x);
    nas_decide(t->space, 0, (nas_decision){.run = 1});
    nas_tape_reset(t->tape);
    return to_x;
}

/* Averaged over the active path, the gradient is that of 0.5 (mean - target)^2; where the loss is linear in y every
 * sample has it. */
static void full_gates_have_the_closed_form(void **state) {
    (void)state;
    toy t = toy_new();
    double p[OPS], mean = 0, average[OPS] = {0}, target = 0.2;
    probabilities_of(p);
    for (int k = 0; k < OPS; k++) {
        mean += p[k] * outputs[k];
    }
    for (int k = 0; k < OPS; k++) {
        nas__gate g = {.run = 15, .active = (uint64_t)1 << k, .rivals = 15};
        float gradient[OPS];
        gate_gradient(&t, &g, false, target, gradient);
        for (int i = 0; i < OPS; i++) {
            average[i] += p[k] * gradient[i];
        }
        gate_gradient(&t, &g, true, target, gradient);
        for (int i = 0; i < OPS; i++) {
            near(gradient[i], target * p[i] * (outputs[i] - mean), 1e-6, "linear loss");
        }
    }
    for (int i = 0; i < OPS; i++) {
        near(average[i], (mean - target) * p[i] * (outputs[i] - mean), 1e-6, "mean over the paths");
    }
    toy_free(&t);
}

/* p'_i p'_j (G_i - G_j) and its opposite; nothing to the others; nothing flows back through the inactive path. */
static void two_gates_have_the_closed_form(void **state) {
    (void)state;
    toy t = toy_new();
    double target = 0.2;
    for (int i = 0; i < OPS; i++) {
        for (int j = 0; j < OPS; j++) {
            if (i == j) {
                continue;
            }
            nas__gate g = {.active = (uint64_t)1 << i};
            g.run = g.rivals = (uint64_t)1 << i | (uint64_t)1 << j;
            float gradient[OPS];
            double to_x = gate_gradient(&t, &g, false, target, gradient);
            double q = 1 / (1 + exp(logits[j] - logits[i])), dy = outputs[i] - target;
            double expected = q * (1 - q) * dy * (outputs[i] - outputs[j]);
            near(gradient[i], expected, 1e-6, "the active one");
            near(gradient[j], -expected, 1e-6, "its rival");
            near(to_x, dy * outputs[i], 1e-6, "through the active one alone");
            for (int k = 0; k < OPS; k++) {
                assert_true(k == i || k == j || gradient[k] == 0);
            }
        }
    }
    toy_free(&t);
}

/* Of pairs, p_i p_j (1/(1-p_i) + 1/(1-p_j)); of a pair, the softmax over the two. */
static void draws_follow_the_probabilities(void **state) {
    (void)state;
    enum { DRAWS = 40000 };
    double p[OPS], counts[OPS][OPS] = {{0}};
    nas_rng rng = nas_rng_new(3, 3);
    probabilities_of(p);
    for (int n = 0; n < DRAWS; n++) {
        nas__gate g = nas__draw_gate(&rng, OPS, logits, 1, true);
        assert_int_equal(__builtin_popcountll(g.run), 2);
        assert_int_equal(__builtin_popcountll(g.active), 1);
        assert_true(g.run == g.rivals && (g.active & g.run));
        counts[__builtin_ctzll(g.active)][__builtin_ctzll(g.run & ~g.active)]++;
    }
    for (int i = 0; i < OPS; i++) {
        for (int j = 0; j < OPS; j++) {
            double pair = p[i] * p[j] * (1 / (1 - p[i]) + 1 / (1 - p[j])), q = i == j ? 0 : pair * p[i] / (p[i] + p[j]);
            double deviation = sqrt(q * (1 - q) / DRAWS);
            assert_true(fabs(counts[i][j] / DRAWS - q) <= 4.5 * deviation);
        }
    }
}

/* mean of L_s d log p_s = p_i (L_i - sum p L) over all draws, of one and of two without putting back. */
static void scores_have_the_closed_form(void **state) {
    (void)state;
    double p[OPS], loss[OPS], mean = 0, average[OPS] = {0}, none[OPS] = {0};
    probabilities_of(p);
    for (int k = 0; k < OPS; k++) {
        loss[k] = 0.5 * (outputs[k] - 0.2) * (outputs[k] - 0.2);
        mean += p[k] * loss[k];
    }
    for (int k = 0; k < OPS; k++) {
        nas__draws_score(OPS, logits, 1, &k, p[k] * loss[k], average);
        for (int j = 0; j < OPS; j++) {
            if (j != k) {
                nas__draws_score(OPS, logits, 2, (const int[]){k, j}, p[k] * p[j] / (1 - p[k]), none);
            }
        }
    }
    for (int i = 0; i < OPS; i++) {
        near(average[i], p[i] * (loss[i] - mean), 1e-6, "one draw");
        near(none[i], 0, 1e-6, "two draws: the mean of the score is 0");
    }
}

static void a_step_leaves_the_others_alone(void **state) {
    (void)state;
    for (int rescale = 0; rescale < 2; rescale++) {
        float moved[OPS];
        double second[OPS] = {0}, sum = 0, before[OPS], gradient[OPS] = {0.3, 9, -0.3, 9};
        int64_t steps[OPS] = {0};
        memcpy(moved, logits, sizeof moved);
        probabilities_of(before);
        nas__step_gate(OPS, moved, gradient, second, steps, 5, &(nas__gate_step){0.3, 0.999, 0, rescale});
        for (int k = 0; k < OPS; k++) {
            sum += exp(moved[k]);
            assert_int_equal(steps[k], k % 2 == 0);
            assert_true(k % 2 == 0 ? second[k] > 0 : second[k] == 0 && moved[k] == logits[k]);
        }
        for (int k = 1; k < OPS; k += 2) {
            assert_int_equal(fabs(exp(moved[k]) / sum - before[k]) < 1e-6, rescale);
        }
        near((double)moved[2] - moved[0], (double)logits[2] - logits[0] + 0.6, 1e-5, "Adam's step of each");
    }
}

/* --- searches ----------------------------------------------------------------------------------------- */
typedef enum left { INTACT, NO_GRADIENT } left;

static int found(planted *p, const char *options, int epochs, uint64_t seed, bool cheap, left what) {
    p->config.strategy = "proxyless";
    p->config.options = options;
    p->config.num_epochs = epochs;
    nas_trainer *t = nas_trainer_new(&p->config);
    assert_no_error();
    ((nas__proxyless *)t->s.memory)->without_gradient = what == NO_GRADIENT;
    assert_int_equal(nas_trainer_train(t), NAS_OK);
    nas_architecture *last = nas_architecture_new(t->s.space);
    assert_int_equal(t->s.strategy->derive(&t->s, last), NAS_OK);
    int n = cheap ? planted_cheap_found(last, seed) : planted_found(last, seed);
    nas_architecture_free(last);
    nas_trainer_free(t);
    return n;
}

static void finds_all(const char *options, int epochs) {
    for (uint64_t seed = 1; seed <= 5; seed++) {
        planted p = planted_new(PLANTED_CLASSES, 2048, seed);
        int n = found(&p, options, epochs, seed, false, INTACT);
        if (n != PLANTED_CHOICES) {
            fail_msg("%s, seed %d: %d of %d", options, (int)seed, n, PLANTED_CHOICES);
        }
        planted_free(&p);
    }
}

static int found_in_four(const char *options, planted_task task, left what) {
    int n = 0;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        planted p = planted_new(task, 2048, seed);
        n += found(&p, options, 6, seed, false, what);
        planted_free(&p);
    }
    return n;
}

static void the_planted_optimum_is_found(void **state) {
    (void)state;
    finds_all("alpha_lr=0.1,alpha_period=1,warmup_epochs=1", 12);
    finds_all("mode=full,alpha_lr=0.05,alpha_period=1,warmup_epochs=1", 6);
    finds_all("mode=reinforce,alpha_lr=0.05,alpha_period=1,warmup_epochs=1", 6);
}

/* 24 choices with a chance of 1/4 each: 13 or more right happen in 0.2 % of such tables. */
static void nothing_is_found_without_its_parts(void **state) {
    (void)state;
    assert_in_range(found_in_four("alpha_lr=0.1,alpha_period=1,warmup_epochs=1", PLANTED_SHUFFLED, INTACT), 0, 12);
    assert_in_range(found_in_four("alpha_lr=0.1,alpha_period=1,warmup_epochs=1", PLANTED_CLASSES, NO_GRADIENT), 0, 12);
}

static void the_planted_cost_optimum_is_found(void **state) {
    (void)state;
    static const char *const rows[] = {
        "alpha_lr=0.05,alpha_period=1,warmup_epochs=1,cost=macs,cost_loss=add,cost_weight=10",
        "alpha_lr=0.05,alpha_period=1,warmup_epochs=1,cost=params,cost_loss=mul,cost_weight=1,cost_power=20",
        "mode=reinforce,alpha_lr=0.05,alpha_period=1,warmup_epochs=1,samples=20,cost=macs,reward_power=2"};
    for (int i = 0; i < 3; i++) {
        planted_finds_cheapest("proxyless", rows[i], 24, 5);
    }
}

static nas_tensor *no_loss(nas_tensor *output, nas_tensor *target) {
    return nas_scale(nas_cross_entropy(output, target), 0);
}

static void cost_alone_leads_to_the_cheapest(void **state) {
    (void)state;
    planted p = planted_new(PLANTED_CLASSES, 1024, 1);
    planted_free(&p);
    p = planted_cost_new(PLANTED_CLASSES, 1024, 1);
    p.config.loss = no_loss;
    assert_int_equal(
        found(&p, "alpha_lr=0.1,alpha_period=1,warmup_epochs=0,cost=macs,cost_loss=add", 8, 1, true, INTACT),
        PLANTED_CHOICES);
    planted_free(&p);
}

/* The same loss once in alpha's pass: its gradient is that with the cost's and without. */
static void warm_up_leaves_alpha_alone(void **state) {
    (void)state;
    planted p = planted_new(PLANTED_CLASSES, 512, 1);
    p.config.strategy = "proxyless";
    p.config.options = "warmup_epochs=2,alpha_period=1";
    p.config.num_epochs = 2;
    nas_trainer *t = nas_trainer_new(&p.config);
    assert_no_error();
    nas__proxyless *memory = t->s.memory;
    assert_int_equal(nas_trainer_train(t), NAS_OK);
    for (int k = 0; k < memory->first[PLANTED_CHOICES]; k++) {
        assert_int_equal(memory->steps[k], 0);
    }
    assert_int_equal(t->arch_drawn, 0);
    nas_trainer_free(t);
    planted_free(&p);
}

/* --- memory ------------------------------------------------------------------------------------------ */
static nas_module *wide(int n) {
    nas_candidate candidates[16] = {{0}};
    for (int k = 0; k < n; k++) {
        candidates[k].module = nas_conv_bn_relu(.in = 8, .out = 8, .kernel = 3);
    }
    nas_module *choice = nas_layer_choice(NULL, "layer", n, candidates);
    return nas_sequential(nas_conv_bn_relu(.in = 1, .out = 8, .kernel = 3), choice, nas_pool(.kind = NAS_POOL_GLOBAL),
                          nas_dense(.in = 8, .out = 2));
}

static size_t peak_of(int candidates) {
    enum { N = 64, SIDE = 16 };
    float *x = random_floats(1, N * SIDE * SIDE), y[N];
    for (int i = 0; i < N; i++) {
        y[i] = (float)(i % 2);
    }
    nas_dataset *data = nas_dataset_from_arrays(N, 3, (int64_t[]){1, SIDE, SIDE}, x, 1, y, 2), *parts[2];
    assert_int_equal(nas_dataset_split(data, 0, 2, (const double[]){0.5, 0.5}, parts), NAS_OK);
    nas_module *model = wide(candidates);
    nas_trainer *t = nas_trainer_new(&(nas_trainer_config){.model = model,
                                                           .strategy = "proxyless",
                                                           .options = "warmup_epochs=0,alpha_period=1",
                                                           .batch_size = 16,
                                                           .num_epochs = 2,
                                                           .dataset_train = parts[0],
                                                           .dataset_valid = parts[1],
                                                           .log_frequency = NAS_NONE,
                                                           .threads = 1});
    assert_no_error();
    size_t live = nas_memory().live_bytes;
    nas_memory_reset_peak();
    assert_int_equal(nas_trainer_train(t), NAS_OK);
    size_t peak = nas_memory().peak_bytes - live;
    nas_trainer_free(t);
    nas_module_free(model);
    nas_dataset_free(parts[0]);
    nas_dataset_free(parts[1]);
    nas_dataset_free(data);
    free(x);
    return peak;
}

static void memory_does_not_grow_with_the_candidates(void **state) {
    (void)state;
    size_t two = peak_of(2), sixteen = peak_of(16);
    size_t of_weights = 14 * 8 * 8 * 9 * sizeof(float) * 4; /* momentum, gradient and prepared forms come with them */
    if (sixteen > two + of_weights) {
        fail_msg("%zu bytes with 16 candidates, %zu with 2", sixteen, two);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(full_gates_have_the_closed_form),          cmocka_unit_test(two_gates_have_the_closed_form),
        cmocka_unit_test(draws_follow_the_probabilities),           cmocka_unit_test(scores_have_the_closed_form),
        cmocka_unit_test(a_step_leaves_the_others_alone),           cmocka_unit_test(the_planted_optimum_is_found),
        cmocka_unit_test(nothing_is_found_without_its_parts),       cmocka_unit_test(the_planted_cost_optimum_is_found),
        cmocka_unit_test(cost_alone_leads_to_the_cheapest),         cmocka_unit_test(warm_up_leaves_alpha_alone),
        cmocka_unit_test(memory_does_not_grow_with_the_candidates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
