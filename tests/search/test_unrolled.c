/* Second-order DARTS against known answers: the closed form of its specification, and central differences of
 * a -> L_valid(w'(a), a) with momentum and weight decay. */
#include "support.h"

#include "search/unrolled.h"

#include <espalier/nn.h>
#include <math.h>
#include <stdlib.h>

/* --- L_train = w^2 - 2aw + a^2, L_valid = aw - 2a + 1 -------------------------------------------- */
typedef struct toy {
    nas_tape *tape;
    nas_tensor *w, *a;
} toy;

static nas_status toy_differentiate(void *user, bool train, unsigned roles) {
    toy *t = user;
    nas_tape_begin(t->tape, &(nas_tape_config){.grad = roles});
    nas_tensor *wa = nas_mul(t->w, t->a), *loss;
    if (train) {
        loss = nas_add(nas_sub(nas_mul(t->w, t->w), nas_scale(wa, 2)), nas_mul(t->a, t->a));
    } else {
        loss = nas_add_scalar(nas_sub(wa, nas_scale(t->a, 2)), 1);
    }
    nas_status status = nas_backward(loss);
    nas_tape_reset(t->tape);
    return status;
}

static toy new_toy(float w, float a) {
    toy t = {nas_tape_new(), nas_variable(1, (int64_t[]){1}, NAS_ROLE_WEIGHT),
             nas_variable(1, (int64_t[]){1}, NAS_ROLE_ARCH)};
    nas_tensor_write(t.w, &w);
    nas_tensor_write(t.a, &a);
    return t;
}

static void free_toy(toy *t) {
    nas_tensor_free(t->w);
    nas_tensor_free(t->a);
    nas_tape_free(t->tape);
}

static float alpha_gradient(toy *t, double eta) {
    nas__bilevel b = {.n_weights = 1,
                      .n_alphas = 1,
                      .weights = &t->w,
                      .alphas = &t->a,
                      .eta = eta,
                      .differentiate = toy_differentiate,
                      .user = t};
    float g = NAN;
    nas_zero_grad(t->a);
    assert_int_equal(nas__unrolled_gradient(&b), NAS_OK);
    nas_tensor_read_grad(t->a, &g);
    return g;
}

static void closed_form(void **state) {
    (void)state;
    toy t = new_toy(-2, 2);
    assert_float_equal(alpha_gradient(&t, 0.5), 2, 1e-4); /* first order would say -4 */
    assert_true(nas_tensor_item(t.w) == -2);
    free_toy(&t);
}

static void first_order_differs(void **state) {
    (void)state;
    toy t = new_toy(-2, 2);
    float g;
    assert_int_equal(toy_differentiate(&t, false, NAS_ROLE_ARCH), NAS_OK);
    nas_tensor_read_grad(t.a, &g);
    assert_float_equal(g, -4, 1e-6);
    free_toy(&t);
}

/* Alternating steps reach (1, 1), the optimum of L_valid(w*(a), a); first order settles at (2, 2). */
static void iterates_to(bool second, float expected) {
    toy t = new_toy(-2, 2);
    const double eta = 0.1;
    for (int i = 0; i < 600; i++) {
        float g, w, a;
        if (second) {
            g = alpha_gradient(&t, 0.5);
        } else {
            nas_zero_grad(t.a);
            toy_differentiate(&t, false, NAS_ROLE_ARCH);
            nas_tensor_read_grad(t.a, &g);
        }
        a = nas_tensor_item(t.a) - (float)(eta * g);
        nas_tensor_write(t.a, &a);
        nas_zero_grad(t.w);
        toy_differentiate(&t, true, NAS_ROLE_WEIGHT);
        nas_tensor_read_grad(t.w, &g);
        w = nas_tensor_item(t.w) - 0.5f * g;
        nas_tensor_write(t.w, &w);
        nas_zero_grad(t.w);
    }
    assert_float_equal(nas_tensor_item(t.a), expected, 0.02);
    assert_float_equal(nas_tensor_item(t.w), expected, 0.02);
    free_toy(&t);
}

static void second_order_finds_the_optimum(void **state) {
    (void)state;
    iterates_to(true, 1);
    iterates_to(false, 2);
}

/* --- a small smooth network: y = sum_k softmax(a)_k * tanh(x W_k) -------------------------------- */
enum { IN = 4, HIDDEN = 5, CANDIDATES = 3, ROWS = 6 };

typedef struct net {
    nas_tape *tape;
    nas_tensor *w[CANDIDATES], *head, *a;
    float *x[2], *y[2]; /* train, valid */
} net;

static nas_tensor *net_loss(net *n, bool train) {
    int which = train ? 0 : 1;
    nas_tensor *x = nas_input(NAS_DIMS(ROWS, IN), n->x[which]), *out[CANDIDATES];
    for (int k = 0; k < CANDIDATES; k++) {
        out[k] = nas_tanh(nas_linear(x, n->w[k], NULL));
    }
    nas_tensor *mixed = nas_weighted_sum(nas_softmax(n->a), CANDIDATES, out);
    return nas_mse(nas_linear(mixed, n->head, NULL), nas_input(NAS_DIMS(ROWS, 1), n->y[which]));
}

static nas_status net_differentiate(void *user, bool train, unsigned roles) {
    net *n = user;
    nas_tape_begin(n->tape, &(nas_tape_config){.grad = roles});
    nas_status status = nas_backward(net_loss(n, train));
    nas_tape_reset(n->tape);
    return status;
}

static nas_tensor *filled(int ndim, const int64_t *dims, nas_role role, uint64_t seed) {
    nas_tensor *t = nas_variable(ndim, dims, role);
    float *values = random_floats(seed, (size_t)nas_tensor_count(t));
    nas_tensor_write(t, values);
    free(values);
    return t;
}

static net new_net(void) {
    net n = {.tape = nas_tape_new()};
    for (int k = 0; k < CANDIDATES; k++) {
        n.w[k] = filled(2, (int64_t[]){HIDDEN, IN}, NAS_ROLE_WEIGHT, 10 + (uint64_t)k);
    }
    n.head = filled(2, (int64_t[]){1, HIDDEN}, NAS_ROLE_WEIGHT, 20);
    n.a = filled(1, (int64_t[]){CANDIDATES}, NAS_ROLE_ARCH, 30);
    for (int i = 0; i < 2; i++) {
        n.x[i] = random_floats(40 + (uint64_t)i, ROWS * IN);
        n.y[i] = random_floats(50 + (uint64_t)i, ROWS);
    }
    return n;
}

static void free_net(net *n) {
    for (int k = 0; k < CANDIDATES; k++) {
        nas_tensor_free(n->w[k]);
    }
    nas_tensor_free(n->head);
    nas_tensor_free(n->a);
    nas_tape_free(n->tape);
    for (int i = 0; i < 2; i++) {
        free(n->x[i]);
        free(n->y[i]);
    }
}

/* L_valid after the virtual step from the present weights, which are put back. */
static double valid_after_step(net *n, const nas__bilevel *b) {
    float saved[CANDIDATES + 1][HIDDEN * IN], g[HIDDEN * IN], w[HIDDEN * IN];
    assert_int_equal(net_differentiate(n, true, NAS_ROLE_WEIGHT), NAS_OK);
    for (size_t i = 0; i < b->n_weights; i++) {
        nas_tensor_read(b->weights[i], saved[i]);
        nas_tensor_read_grad(b->weights[i], g);
        nas_zero_grad(b->weights[i]);
        for (int64_t k = 0; k < nas_tensor_count(b->weights[i]); k++) {
            double buffer = b->momentum_buffers ? b->momentum * b->momentum_buffers[i][k] : 0;
            w[k] = (float)(saved[i][k] - b->eta * (buffer + g[k] + b->weight_decay * saved[i][k]));
        }
        nas_tensor_write(b->weights[i], w);
    }
    nas_tape_begin(n->tape, &(nas_tape_config){0});
    double loss = nas_tensor_item(net_loss(n, false));
    nas_tape_reset(n->tape);
    for (size_t i = 0; i < b->n_weights; i++) {
        nas_tensor_write(b->weights[i], saved[i]);
    }
    return loss;
}

static void check_network(double momentum, double decay) {
    net n = new_net();
    nas_tensor *weights[CANDIDATES + 1] = {n.w[0], n.w[1], n.w[2], n.head};
    float *buffers[CANDIDATES + 1], alpha[CANDIDATES], moved[CANDIDATES], got[CANDIDATES];
    for (int i = 0; i <= CANDIDATES; i++) {
        buffers[i] = random_floats(60 + (uint64_t)i, HIDDEN * IN);
    }
    nas__bilevel b = {.n_weights = CANDIDATES + 1,
                      .n_alphas = 1,
                      .weights = weights,
                      .alphas = &n.a,
                      .eta = 0.3,
                      .momentum = momentum,
                      .weight_decay = decay,
                      .momentum_buffers = momentum > 0 ? (const float *const *)buffers : NULL,
                      .differentiate = net_differentiate,
                      .user = &n};
    nas_tensor_read(n.a, alpha);
    assert_int_equal(nas__unrolled_gradient(&b), NAS_OK);
    nas_tensor_read_grad(n.a, got);
    for (int k = 0; k < CANDIDATES; k++) {
        const double h = 5e-2;
        double at[4]; /* -2h, -h, +h, +2h: a fourth-order difference, since the values are f32 */
        for (int j = 0; j < 4; j++) {
            const double steps[4] = {-2, -1, 1, 2};
            for (int m = 0; m < CANDIDATES; m++) {
                moved[m] = alpha[m] + (m == k ? (float)(steps[j] * h) : 0);
            }
            nas_tensor_write(n.a, moved);
            at[j] = valid_after_step(&n, &b);
        }
        nas_tensor_write(n.a, alpha);
        double expected = (at[0] - 8 * at[1] + 8 * at[2] - at[3]) / (12 * h);
        assert_true(fabs(got[k] - expected) < 1e-3 * fmax(fabs(expected), 0.02));
    }
    for (int i = 0; i <= CANDIDATES; i++) {
        free(buffers[i]);
    }
    free_net(&n);
}

static void network_without_momentum(void **state) {
    (void)state;
    check_network(0, 0);
}

static void network_with_momentum_and_decay(void **state) {
    (void)state;
    check_network(0.9, 0.05);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(closed_form),
        cmocka_unit_test(first_order_differs),
        cmocka_unit_test(second_order_finds_the_optimum),
        cmocka_unit_test(network_without_momentum),
        cmocka_unit_test(network_with_momentum_and_decay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
