/* Optimisers against torch's formulas in double, over steps in which not every tensor has a gradient. */
#include "nn_support.h"

#include "nn/optim.h"
#include "tensor/tensor.h"

#include <math.h>

enum { TENSORS = 5, STEPS = 7, LARGEST = 40 };
static const int64_t sizes[TENSORS] = {5, 16, 33, 1, 40};
/* bit i: tensor i has a gradient. Tensor 4 comes late, tensor 2 pauses, nothing at all happens in step 3. */
static const unsigned masks[STEPS] = {0x0b, 0x0f, 0x0b, 0x00, 0x1f, 0x1b, 0x1f};

typedef struct reference {
    double w[TENSORS][LARGEST], first[TENSORS][LARGEST], second[TENSORS][LARGEST];
    int t[TENSORS];
} reference;

static void start(nas_tensor **tensors, reference *r) {
    memset(r, 0, sizeof *r);
    for (int i = 0; i < TENSORS; i++) {
        tensors[i] = nas_variable(1, &sizes[i], NAS_ROLE_WEIGHT);
        randomise(tensors[i], 10 + (uint64_t)i);
        for (int k = 0; k < sizes[i]; k++) {
            r->w[i][k] = tensors[i]->data[k];
        }
    }
}

static void finish(nas_tensor **tensors, nas_optimizer *o) {
    nas_optimizer_free(o);
    for (int i = 0; i < TENSORS; i++) {
        nas_tensor_free(tensors[i]);
    }
    assert_no_error();
}

/* Gives the tensors of the mask random gradients; returns their common norm. */
static double give_gradients(nas_tensor **tensors, unsigned mask, uint64_t seed, double g[TENSORS][LARGEST]) {
    double squares = 0;
    for (int i = 0; i < TENSORS; i++) {
        if (mask >> i & 1) {
            float *values = random_floats(seed * 100 + (uint64_t)i, (size_t)sizes[i]);
            nas__grad_add_array(tensors[i], values);
            for (int k = 0; k < sizes[i]; k++) {
                g[i][k] = values[k];
                squares += g[i][k] * g[i][k];
            }
            free(values);
        }
    }
    return sqrt(squares);
}

static double clip_factor(double norm, double clip) { return clip > 0 ? fmin(1, clip / (norm + 1e-6)) : 1; }

static void reference_sgd(reference *r, int i, const double *g, double scale, double lr, const nas_sgd_config *c) {
    for (int k = 0; k < sizes[i]; k++) {
        double d = scale * g[k] + c->weight_decay * r->w[i][k], *b = &r->first[i][k];
        if (c->momentum > 0) {
            *b = r->t[i] == 0 ? d : c->momentum * *b + (1 - c->dampening) * d;
            d = c->nesterov ? d + c->momentum * *b : *b;
        }
        r->w[i][k] -= lr * d;
    }
    r->t[i]++;
}

static void reference_adam(reference *r, int i, const double *g, double scale, double lr, const nas_adam_config *c) {
    r->t[i]++;
    for (int k = 0; k < sizes[i]; k++) {
        double d = scale * g[k], *w = &r->w[i][k], *m = &r->first[i][k], *v = &r->second[i][k];
        if (c->decoupled) {
            *w -= lr * c->weight_decay * *w;
        } else {
            d += c->weight_decay * *w;
        }
        *m = c->beta1 * *m + (1 - c->beta1) * d;
        *v = c->beta2 * *v + (1 - c->beta2) * d * d;
        *w -= lr * (*m / (1 - pow(c->beta1, r->t[i]))) / (sqrt(*v / (1 - pow(c->beta2, r->t[i]))) + c->eps);
    }
}

static void assert_weights(nas_tensor **tensors, const reference *r) {
    for (int i = 0; i < TENSORS; i++) {
        float expected[LARGEST];
        for (int k = 0; k < sizes[i]; k++) {
            expected[k] = (float)r->w[i][k];
        }
        assert_floats_near(tensors[i]->data, expected, (size_t)sizes[i], 2e-6, "weights");
    }
}

/* Runs STEPS steps with a learning rate that changes, and compares after each. `adam` NULL: SGD. */
static void follow(const nas_sgd_config *sgd, const nas_adam_config *adam, double clip) {
    nas_tensor *tensors[TENSORS];
    reference r;
    start(tensors, &r);
    nas_optimizer *o = adam ? nas_adam_new(adam) : nas_sgd_new(sgd);
    assert_int_equal(nas_optimizer_bind(o, TENSORS, tensors), NAS_OK);
    assert_weights(tensors, &r);
    for (int step = 0; step < STEPS; step++) {
        double g[TENSORS][LARGEST], norm = give_gradients(tensors, masks[step], (uint64_t)step + 1, g);
        double lr = nas_optimizer_lr(o) / (1 + step), scale = clip_factor(norm, clip);
        assert_int_equal(nas_optimizer_step(o, lr, clip), NAS_OK);
        assert_true(fabs(nas_optimizer_last_norm(o) - norm) < 1e-6 * (1 + norm));
        for (int i = 0; i < TENSORS; i++) {
            assert_false(tensors[i]->has_grad);
            if (masks[step] >> i & 1 && adam) {
                reference_adam(&r, i, g[i], scale, lr, adam);
            } else if (masks[step] >> i & 1) {
                reference_sgd(&r, i, g[i], scale, lr, sgd);
            }
        }
        assert_weights(tensors, &r);
    }
    finish(tensors, o);
}

static void sgd(void **state) {
    (void)state;
    follow(&(nas_sgd_config){.lr = 0.1}, NULL, 0);
    follow(&(nas_sgd_config){.lr = 0.1, .weight_decay = 0.01}, NULL, 0.5);
    follow(&(nas_sgd_config){.lr = 0.1, .momentum = 0.9, .weight_decay = 3e-4}, NULL, 0);
    follow(&(nas_sgd_config){.lr = 0.1, .momentum = 0.9, .dampening = 0.3}, NULL, 2);
    follow(&(nas_sgd_config){.lr = 0.1, .momentum = 0.8, .weight_decay = 0.1, .nesterov = true}, NULL, 100);
}

static void adam(void **state) {
    (void)state;
    nas_adam_config c = {.lr = 0.01, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8};
    follow(NULL, &c, 0);
    c.weight_decay = 0.1;
    follow(NULL, &c, 1);
    c.decoupled = true;
    follow(NULL, &c, 0);
    c.beta1 = 0.5;
    follow(NULL, &c, 0);
}

static void adam_without_first_moment(void **state) {
    (void)state;
    nas_tensor *t = nas_variable(NAS_DIMS(1), NAS_ROLE_ARCH);
    nas_optimizer *o = nas_adam(.beta1 = NAS_NONE);
    assert_true(nas_optimizer_lr(o) == 1e-3);
    nas_optimizer_bind(o, 1, &t);
    for (int i = 0; i < 2; i++) { /* the sign of the second gradient is the sign of the second step */
        nas__grad_add_array(t, &(float){i ? -2.0f : 2.0f});
        assert_int_equal(nas_optimizer_step(o, 1e-3, 0), NAS_OK);
    }
    assert_true(fabsf(t->data[0]) < 1e-6f);
    nas_optimizer_free(o);
    nas_tensor_free(t);
}

static void a_bad_gradient_changes_nothing(void **state) {
    (void)state;
    const float bad[2] = {NAN, INFINITY};
    for (int round = 0; round < 2; round++) {
        nas_tensor *tensors[TENSORS];
        reference r;
        double g[TENSORS][LARGEST];
        nas_sgd_config c = {.lr = 0.1, .momentum = 0.9};
        start(tensors, &r);
        nas_optimizer *o = nas_sgd_new(&c);
        nas_optimizer_bind(o, TENSORS, tensors);
        give_gradients(tensors, 0x1f, 1, g);
        tensors[3]->grad_data[0] = bad[round];
        assert_int_equal(nas_optimizer_step(o, 0.1, 5), NAS_NUMERIC);
        assert_error(NAS_NUMERIC, "nothing was changed");
        assert_weights(tensors, &r);
        assert_null(nas__optimizer_momentum(o, 0));
        assert_true(tensors[0]->has_grad); /* the gradients are there to be looked at */
        nas_optimizer_zero_grad(o);
        give_gradients(tensors, 0x1f, 2, g);
        assert_int_equal(nas_optimizer_step(o, 0.1, 0), NAS_OK);
        for (int i = 0; i < TENSORS; i++) {
            reference_sgd(&r, i, g[i], 1, 0.1, &c);
        }
        assert_weights(tensors, &r);
        finish(tensors, o);
    }
}

/* --- state ----------------------------------------------------------------------------------------- */
typedef struct copy {
    float floats[2][256];
    int64_t counters[TENSORS];
    int n_floats;
    bool restore;
    char names[128];
} copy;

static void copy_floats(void *user, const char *name, float *values, size_t count) {
    copy *c = user;
    float *kept = c->floats[c->n_floats++];
    strcat(strcat(c->names, name), " ");
    memcpy(c->restore ? values : kept, c->restore ? kept : values, count * sizeof *values);
}

static void copy_counters(void *user, const char *name, int64_t *values, size_t count) {
    copy *c = user;
    strcat(strcat(c->names, name), " ");
    memcpy(c->restore ? values : c->counters, c->restore ? c->counters : values, count * sizeof *values);
}

static void state_continues_bit_for_bit(void **state) {
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        nas_tensor *tensors[TENSORS], *others[TENSORS];
        reference r;
        double g[TENSORS][LARGEST];
        start(tensors, &r);
        start(others, &r);
        nas_optimizer *a = kind ? nas_adam(.lr = 0.01) : nas_sgd(.lr = 0.1, .momentum = 0.9);
        nas_optimizer *b = kind ? nas_adam(.lr = 0.01) : nas_sgd(.lr = 0.1, .momentum = 0.9);
        nas_optimizer_bind(a, TENSORS, tensors);
        nas_optimizer_bind(b, TENSORS, others);
        for (int step = 0; step < 3; step++) {
            give_gradients(tensors, masks[step], (uint64_t)step, g);
            nas_optimizer_step(a, 0.1, 0);
        }
        copy kept = {0};
        nas__state_visitor visitor = {copy_floats, copy_counters, &kept};
        nas__optimizer_state(a, &visitor);
        assert_string_equal(kept.names, kind ? "moment1 moment2 steps " : "momentum steps ");
        kept.restore = true;
        kept.n_floats = 0;
        nas__optimizer_state(b, &visitor);
        for (int i = 0; i < TENSORS; i++) {
            nas_tensor_write(others[i], tensors[i]->data);
        }
        give_gradients(tensors, 0x1f, 9, g);
        give_gradients(others, 0x1f, 9, g);
        nas_optimizer_step(a, 0.1, 0);
        nas_optimizer_step(b, 0.1, 0);
        for (int i = 0; i < TENSORS; i++) {
            assert_memory_equal(tensors[i]->data, others[i]->data, (size_t)sizes[i] * sizeof(float));
        }
        finish(tensors, a);
        finish(others, b);
    }
}

static void momentum_is_readable(void **state) {
    (void)state;
    nas_tensor *tensors[TENSORS];
    reference r;
    double g[TENSORS][LARGEST];
    start(tensors, &r);
    nas_optimizer *o = nas_sgd(.lr = 0.1, .momentum = 0.9);
    nas_optimizer_bind(o, TENSORS, tensors);
    give_gradients(tensors, 0x04, 1, g);
    nas_optimizer_step(o, 0.1, 0);
    assert_null(nas__optimizer_momentum(o, 1));
    for (int k = 0; k < sizes[2]; k++) {
        assert_true(nas__optimizer_momentum(o, 2)[k] == (float)g[2][k]);
    }
    finish(tensors, o);
}

/* Tensors that a second optimiser has moved are still found by the first, and the first's state still fits. */
static void bound_twice(void **state) {
    (void)state;
    nas_tensor *tensors[TENSORS];
    reference r;
    double g[TENSORS][LARGEST];
    nas_sgd_config c = {.lr = 0.1, .momentum = 0.9};
    start(tensors, &r);
    nas_optimizer *o = nas_sgd_new(&c), *second = nas_sgd(.lr = 1);
    nas_optimizer_bind(o, TENSORS, tensors);
    nas_optimizer_bind(second, 2, (nas_tensor *[]){tensors[3], tensors[1]});
    for (int step = 0; step < 2; step++) {
        give_gradients(tensors, 0x1f, (uint64_t)step, g);
        nas_optimizer_step(o, 0.1, 0);
        for (int i = 0; i < TENSORS; i++) {
            reference_sgd(&r, i, g[i], 1, 0.1, &c);
        }
    }
    assert_weights(tensors, &r);
    nas_optimizer_free(second);
    finish(tensors, o);
}

/* A real model: after a backward pass a plain SGD step lowers the loss; buffers are not touched by the optimiser. */
static void a_model_learns(void **state) {
    (void)state;
    nas_module *model = nas_sequential(nas_conv_bn_relu(.in = 2, .out = 6, .kernel = 3),
                                       nas_pool(.kind = NAS_POOL_GLOBAL), nas_dense(.in = 6, .out = 3));
    nas_optimizer *o = nas_sgd(.lr = 0.2, .momentum = 0.9);
    nas_initialise(model, 5);
    assert_int_equal(nas_optimizer_bind_model(o, model), NAS_OK);
    assert_int_equal(o->n, 5);
    nas_tape *tape = nas_tape_new();
    float labels[6] = {0, 1, 2, 0, 1, 2}, first = 0, last = 0;
    for (int step = 0; step < 30; step++) {
        nas_tape_begin(tape, &(nas_tape_config){.grad = NAS_ROLE_WEIGHT, .training = true});
        nas_tensor *loss = nas_cross_entropy(nas_forward(model, random_input(3, NAS_DIMS(6, 2, 5, 5))),
                                             nas_input(NAS_DIMS(6), labels));
        last = nas_tensor_item(loss);
        first = step ? first : last;
        assert_int_equal(nas_backward(loss), NAS_OK);
        assert_int_equal(nas_optimizer_step(o, 0.2, 5), NAS_OK);
    }
    assert_true(last < 0.3f * first);
    nas_tape_free(tape);
    nas_module_free(model); /* before the optimiser, which only borrows */
    nas_optimizer_free(o);
}

static void wrong_use_is_refused(void **state) {
    (void)state;
    assert_null(nas_sgd(.momentum = 0.9));
    assert_error(NAS_INVALID, ".lr 0");
    assert_null(nas_sgd(.lr = 0.1, .momentum = 1.5));
    assert_error(NAS_INVALID, ".momentum 1.5");
    assert_null(nas_sgd(.lr = 0.1, .nesterov = true));
    assert_error(NAS_INVALID, ".nesterov");
    assert_null(nas_adam(.beta2 = 1));
    assert_error(NAS_INVALID, ".beta2 1");
    nas_optimizer *o = nas_sgd(.lr = 0.1);
    assert_int_equal(nas_optimizer_step(o, 0.1, 0), NAS_USAGE);
    assert_error(NAS_USAGE, "not bound");
    nas_tensor *t = nas_variable(NAS_DIMS(3), NAS_ROLE_WEIGHT), *buffer = nas_variable(NAS_DIMS(3), NAS_ROLE_BUFFER);
    nas_optimizer_bind(o, 2, (nas_tensor *[]){t, t});
    assert_error(NAS_INVALID, "twice");
    nas_optimizer_bind(o, 2, (nas_tensor *[]){t, buffer});
    assert_error(NAS_INVALID, "tensor 1 is no parameter");
    assert_int_equal(nas_optimizer_bind(o, 1, &t), NAS_OK);
    nas_optimizer_bind(o, 1, &t);
    assert_error(NAS_USAGE, "bound already");
    assert_int_equal(nas_optimizer_step(o, NAN, 0), NAS_INVALID);
    assert_error(NAS_INVALID, "learning rate");
    nas_optimizer_free(o);
    nas_tensor_free(t);
    nas_tensor_free(buffer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sgd),
        cmocka_unit_test(adam),
        cmocka_unit_test(adam_without_first_moment),
        cmocka_unit_test(a_bad_gradient_changes_nothing),
        cmocka_unit_test(state_continues_bit_for_bit),
        cmocka_unit_test(momentum_is_readable),
        cmocka_unit_test(bound_twice),
        cmocka_unit_test(a_model_learns),
        cmocka_unit_test(wrong_use_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
