/* One pass of GDAS over whole networks: bit for bit what the network of its draw gives, and gradients of alpha that are
 * the closed form of what scaling the drawn operation does to the loss. */
#include "search/gumbel_fixture.h"

#include "core/options.h"

#include <stdio.h>

enum { BATCH = 32, SIDE = 12, CLASSES = 3, PURPOSE = 21 };

typedef struct network {
    nas_module *model;
    nas_space *space;
    nas_trainer_config config;
    nas_search search;
    nas__gumbel gumbel;
    nas_tape *tape;
    float *x, y[BATCH];
} network;

static nas_module *build(const char *space, const char *options) {
    const nas_space_info *info = nas_space_info_find(space);
    void *values = calloc(1, info->options_size);
    assert_int_equal(nas__options_read(info->options, values, space, options), NAS_OK);
    nas_module *model = nas_space_build(
        space,
        &(nas_space_config){.channels = 1, .height = SIDE, .width = SIDE, .outputs = CLASSES, .options = values});
    free(values);
    assert_no_error();
    return model;
}

static network *network_new(const char *space, const char *options, double deviation) {
    network *n = calloc(1, sizeof *n);
    n->model = build(space, options);
    n->space = nas_space_new(n->model);
    n->search = (nas_search){.space = n->space, .model = n->model, .config = &n->config};
    assert_int_equal(nas_initialise(n->model, 3), NAS_OK);
    assert_int_equal(nas__gumbel_new(&n->gumbel, &n->search, &(nas__alphas_config){.deviation = deviation, .lr = 0.1}),
                     NAS_OK);
    n->tape = nas_tape_new();
    n->x = random_floats(1, BATCH * SIDE * SIDE);
    for (int i = 0; i < BATCH; i++) {
        n->y[i] = (float)(i % CLASSES);
    }
    assert_no_error();
    return n;
}

static void network_free(network *n) {
    nas__gumbel_free(&n->gumbel);
    nas_space_free(n->space);
    nas_free(n->model);
    nas_tape_free(n->tape);
    free(n->x);
    free(n);
}

static void begin_pass(network *n, unsigned grad) {
    nas_tape_reset(n->tape);
    nas_tape_begin(n->tape, &(nas_tape_config){.grad = grad, .bn = NAS_BN_BATCH, .freeze_running = true});
}

static void draw(network *n, uint64_t stream, nas__gumbel_pass pass) {
    nas_rng rng = nas_rng_new(stream, PURPOSE);
    assert_int_equal(nas__gumbel_decide(&n->gumbel, &n->search, &rng, &pass), NAS_OK);
}

static nas_tensor *forward(network *n, nas_module *model) {
    return nas_forward(model, nas_input(4, (int64_t[]){BATCH, 1, SIDE, SIDE}, n->x));
}

static void outputs_of(network *n, nas_module *model, float *out) {
    assert_int_equal(nas_tensor_read(forward(n, model), out), NAS_OK);
    assert_no_error();
}

/* --- exactness ----------------------------------------------------------------------------------- */
typedef struct copying {
    nas_module *from;
    const char *path;
    nas_tensor *found;
} copying;

static nas_status find_tensor(const char *path, nas_tensor *t, nas_role role, void *user) {
    copying *c = user;
    (void)role;
    c->found = strcmp(path, c->path) == 0 ? t : c->found;
    return NAS_OK;
}

static nas_status copy_tensor(const char *path, nas_tensor *t, nas_role role, void *user) {
    copying c = {user, path, NULL};
    (void)role;
    nas_visit_parameters(c.from, find_tensor, &c);
    if (!c.found) { /* gains that only the fixed network has: they start at 1 and 0 */
        assert_true(strstr(path, "gamma") || strstr(path, "beta"));
        return NAS_OK;
    }
    float *values = malloc((size_t)nas_tensor_count(t) * sizeof *values);
    nas_tensor_read(c.found, values);
    nas_status status = nas_tensor_write(t, values);
    free(values);
    return status;
}

/* The network of the decisions in force, with the supernet's weights. */
static nas_module *stand_alone(network *n, const char *space, const char *options) {
    nas_architecture *a = nas_architecture_new(n->space);
    for (int i = 0; i < nas_space_size(n->space); i++) {
        assert_int_equal(nas_architecture_set(a, i, nas_decision_of(n->space, i).run), NAS_OK);
    }
    char *json = nas_architecture_json(a, false);
    nas_module *model = build(space, options);
    assert_int_equal(nas_apply_fixed_architecture_text(model, json), NAS_OK);
    assert_int_equal(nas_initialise(model, 99), NAS_OK);
    assert_int_equal(nas_visit_parameters(model, copy_tensor, n->model), NAS_OK);
    free(json);
    nas_architecture_free(a);
    return model;
}

/* Is a node's sum handed on by a skip? The engine then adds its terms to the next node's without storing it; a weight
 * of its own keeps the two sums apart, and their terms are added in another order. */
static bool adds_a_sum(const nas_space *space) {
    static const char *const inner[] = {"edge_2_1", "edge_3_1", "edge_3_2"};
    bool any = false;
    for (int i = 0; i < 3; i++) {
        int e = nas_space_find(space, inner[i]);
        any = any || e < 0 || nas_decision_of(space, e).run == 1 << 1; /* of other spaces it is not known */
    }
    return any;
}

static void same_bits(const char *space, const char *options, int draws) {
    int exact = 0;
    network *n = network_new(space, options, 1e-3);
    for (int i = 0; i < draws; i++) {
        float path[BATCH * CLASSES], weighted[BATCH * CLASSES], alone[BATCH * CLASSES];
        begin_pass(n, NAS_ROLE_WEIGHT);
        draw(n, (uint64_t)i, (nas__gumbel_pass){.tau = 1, .hard = true});
        outputs_of(n, n->model, path);
        nas_module *model = stand_alone(n, space, options);
        begin_pass(n, NAS_ROLE_WEIGHT);
        outputs_of(n, model, alone);
        begin_pass(n, NAS_ROLE_ARCH);
        draw(n, (uint64_t)i, (nas__gumbel_pass){.tau = 1, .hard = true, .weights = true});
        outputs_of(n, n->model, weighted);
        if (memcmp(path, alone, sizeof path) != 0) {
            fail_msg("%s, draw %d: the path is not the network", space, i);
        }
        if (!adds_a_sum(n->space) && memcmp(weighted, alone, sizeof path) != 0) {
            fail_msg("%s, draw %d: the weighted path is not the network", space, i);
        }
        assert_floats_near(weighted, alone, BATCH * CLASSES, 1e-5, space);
        exact += memcmp(weighted, alone, sizeof path) == 0;
        nas_free(model);
    }
    network_free(n);
    assert_in_range(exact, 2 * draws / 3, draws);
}

static void a_pass_is_the_network_of_its_draw(void **state) {
    (void)state;
    same_bits("nb201", "channels=4,cells=1", 25);
    same_bits("nb201", "channels=18,cells=1", 5);
    same_bits("chain", "channels=8,layers=4", 10);
}

/* --- gradients ----------------------------------------------------------------------------------- */
static double loss_now(network *n) {
    float out[BATCH * CLASSES];
    double loss = 0;
    outputs_of(n, n->model, out);
    for (int i = 0; i < BATCH; i++) {
        double sum = 0;
        for (int k = 0; k < CLASSES; k++) {
            sum += exp(out[i * CLASSES + k] - out[i * CLASSES + (int)n->y[i]]);
        }
        loss += log(sum) / BATCH;
    }
    return loss;
}

/* The loss when the weight of candidate k of choice e is moved by h: the drawn operation is scaled, or, of another, a
 * constant is added. */
static double moved(network *n, int e, int k, double h) {
    begin_pass(n, 0);
    nas_decision d = nas_decision_of(n->space, e);
    const nas_choice *c = nas_space_choice(n->space, e);
    float weights[NAS_MAX_CANDIDATES] = {0};
    weights[__builtin_ctzll(d.run)] = 1;
    weights[k] += (float)h;
    nas_tensor *w = nas_input(1, (int64_t[]){c->n}, weights);
    assert_int_equal(nas_decide(n->space, e, (nas_decision){.run = d.run, .weights = w, .rest = true}), NAS_OK);
    double loss = loss_now(n);
    assert_int_equal(nas_decide(n->space, e, d), NAS_OK);
    return loss;
}

static double slope(network *n, int e, int k) {
    const double h = 1e-4; /* larger ones pass the kinks of too many ReLUs, smaller ones drown in rounding */
    return (moved(n, e, k, h) - moved(n, e, k, -h)) / (2 * h);
}

static void closed_form(network *n, int e, nas_rng *rng, double tau, bool ones, double *gradient) {
    const nas_choice *c = nas_space_choice(n->space, e);
    float alpha[NAS_MAX_CANDIDATES], noise[NAS_MAX_CANDIDATES];
    double p[NAS_MAX_CANDIDATES], u[NAS_MAX_CANDIDATES], sum = 0, mean = 0;
    nas_tensor_read(n->gumbel.alphas.of_choice[e], alpha);
    nas__gumbel_noise(rng, c->n, noise);
    int drawn = __builtin_ctzll(nas_decision_of(n->space, e).run);
    for (int k = 0; k < c->n; k++) {
        sum += p[k] = exp((alpha[k] + noise[k]) / tau);
        u[k] = k == drawn || ones ? slope(n, e, k) : 0;
    }
    for (int k = 0; k < c->n; k++) {
        mean += p[k] / sum * u[k];
    }
    for (int k = 0; k < c->n; k++) {
        gradient[k] = p[k] / sum * (u[k] - mean) / tau;
    }
}

static void gradients_of_alpha(bool ones) {
    const double tau = 2;
    network *n = network_new("nb201", "channels=4,cells=1", 0.3);
    double largest = 0, worst = 0;
    for (uint64_t i = 0; i < 3; i++) {
        begin_pass(n, NAS_ROLE_ARCH);
        draw(n, i, (nas__gumbel_pass){.tau = tau, .hard = true, .weights = true, .rest = ones});
        nas_tensor *loss = nas_cross_entropy(forward(n, n->model), nas_input(1, (int64_t[]){BATCH}, n->y));
        assert_int_equal(nas_backward(loss), NAS_OK);
        draw(n, i, (nas__gumbel_pass){.tau = tau, .hard = true}); /* the same, as a path */
        nas_rng rng = nas_rng_new(i, PURPOSE);
        for (int e = 0; e < n->gumbel.alphas.n; e++) {
            double expected[NAS_MAX_CANDIDATES];
            float got[NAS_MAX_CANDIDATES];
            closed_form(n, e, &rng, tau, ones, expected);
            nas_tensor_read_grad(n->gumbel.alphas.of_choice[e], got);
            nas_zero_grad(n->gumbel.alphas.of_choice[e]);
            for (int k = 0; k < nas_space_choice(n->space, e)->n; k++) {
                largest = fmax(largest, fabs(expected[k]));
                worst = fmax(worst, fabs(expected[k] - got[k]));
            }
        }
    }
    network_free(n);
    if (!(largest > 1e-3 && worst < 0.03 * largest)) {
        fail_msg("gradients up to %g are off by %g", largest, worst);
    }
}

static void gradients_from_what_was_drawn(void **state) {
    (void)state;
    gradients_of_alpha(false);
}

static void gradients_as_if_the_others_gave_ones(void **state) {
    (void)state;
    gradients_of_alpha(true);
}

/* `none` drawn everywhere: there is nothing to differentiate, and no gradient. */
static void a_draw_of_nothing_has_no_gradient(void **state) {
    (void)state;
    network *n = network_new("nb201", "channels=4,cells=1", 0);
    for (int e = 0; e < n->gumbel.alphas.n; e++) {
        nas_tensor_write(n->gumbel.alphas.of_choice[e], (const float[]){100, 0, 0, 0, 0});
    }
    begin_pass(n, NAS_ROLE_ARCH);
    draw(n, 1, (nas__gumbel_pass){.tau = 1, .hard = true, .weights = true});
    nas_tensor *loss = nas_cross_entropy(forward(n, n->model), nas_input(1, (int64_t[]){BATCH}, n->y));
    assert_non_null(loss);
    assert_false(loss->needs_grad);
    network_free(n);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pass_is_the_network_of_its_draw),
        cmocka_unit_test(gradients_from_what_was_drawn),
        cmocka_unit_test(gradients_as_if_the_others_gave_ones),
        cmocka_unit_test(a_draw_of_nothing_has_no_gradient),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
