/* DARTS by what can be observed of it: it finds what was planted, each of its two steps changes only what it should,
 * the first order differentiates nothing for the weights, and its derivation is the paper's. */
#include "search/planted.h"
#include "support.h"

#include "nn/optim.h"
#include "search/alphas.h"
#include "search/registry.h"
#include "search/trainer.h"
#include "tensor/tensor.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- the planted optimum ------------------------------------------------------------------------- */
static void first_order_finds_all(void **state) {
    (void)state;
    planted_finds_all("darts", "order=1,alpha_lr=0.05", 5);
}

static void second_order_finds_all(void **state) {
    (void)state;
    planted_finds_all("darts", "order=2,alpha_lr=0.05", 5);
}

/* 24 choices with a chance of 1/4 each: 13 or more right happen in 0.2 % of such tables. */
static void shuffled_labels_find_nothing(void **state) {
    (void)state;
    int found = 0;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        found += planted_search("darts", "order=1,alpha_lr=0.05", PLANTED_SHUFFLED, seed);
    }
    assert_in_range(found, 0, 12);
}

/* The weights learn as before, but nothing reaches alpha. */
static void without_alphas_gradient_nothing_is_found(void **state) {
    (void)state;
    int found = 0;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        found += planted_search("darts", "order=1,alpha_lr=0.05,warmup_epochs=6", PLANTED_CLASSES, seed);
    }
    assert_in_range(found, 0, 12);
}

/* --- which step changes what --------------------------------------------------------------------- */
enum { MOST_CALLS = 8 };
typedef struct watch {
    nas_trainer *trainer;
    nas_module *model;
    int calls; /* of the loss in the running step */
    uint64_t weights[MOST_CALLS], buffers[MOST_CALLS], alphas[MOST_CALLS];
    uint64_t noise[MOST_CALLS];                                     /* key of dropout */
    bool weight_gradients[MOST_CALLS], alpha_gradients[MOST_CALLS]; /* held when the loss is computed */
    uint64_t weights_before, buffers_before, alphas_before;
    uint64_t noise_before;
    int steps;
    int calls_per_step;
    bool warming;
} watch;
static watch seen;

static const nas__alphas *alphas_of(const nas_trainer *t) { return t->s.memory; /* first in the strategy's memory */ }

static uint64_t alphas_hash(const nas_trainer *t) {
    const nas__alphas *a = alphas_of(t);
    uint64_t hash = 7;
    for (int i = 0; i < a->n; i++) {
        for (int k = 0; k < PLANTED_CANDIDATES; k++) {
            uint32_t bits;
            memcpy(&bits, &a->of_choice[i]->data[k], sizeof bits);
            hash = (hash ^ bits) * 0x100000001b3u;
        }
    }
    return hash;
}

static bool holds_gradients(nas_tensor *const *list, size_t n) {
    bool any = false;
    for (size_t i = 0; i < n; i++) {
        any = any || list[i]->has_grad;
    }
    return any;
}

static nas_tensor *watching_loss(nas_tensor *output, nas_tensor *target) {
    if (seen.trainer && output->tape->config.grad) { /* not the scoring's passes */
        const nas_optimizer *w = seen.trainer->s.optimizer, *a = alphas_of(seen.trainer)->optimizer;
        int i = seen.calls++;
        assert_in_range(i, 0, MOST_CALLS - 1);
        seen.weights[i] = weights_hash(seen.model, NAS_ROLE_WEIGHT);
        seen.buffers[i] = weights_hash(seen.model, NAS_ROLE_BUFFER);
        seen.alphas[i] = alphas_hash(seen.trainer);
        seen.noise[i] = output->tape->config.step;
        seen.weight_gradients[i] = holds_gradients(w->tensors, w->n);
        seen.alpha_gradients[i] = holds_gradients(a->tensors, a->n);
    }
    return nas_cross_entropy(output, target);
}

/* After a step: the passes were arch ones but the last, which is the weights'. */
static bool check_step(const nas_progress *progress, void *user) {
    (void)progress, (void)user;
    int last = seen.calls - 1;
    assert_int_equal(seen.calls, seen.calls_per_step);
    /* where the first pass began, and where the weight step began: no weight has changed */
    assert_true(seen.weights[0] == seen.weights_before);
    assert_true(seen.weights[last] == seen.weights_before);
    assert_true(seen.alphas[0] == seen.alphas_before);
    for (int i = 0; i < last; i++) { /* nor any running estimate before the weight step's pass */
        assert_true(seen.buffers[i] == seen.buffers_before);
    }
    assert_true(seen.buffers[last] != seen.buffers_before);
    if (!seen.warming) {
        assert_true(seen.alphas[last] != seen.alphas_before);
    }
    for (int i = 1; i < last; i++) { /* one function is differentiated, whatever it drops; the weight step drops anew */
        assert_true(seen.noise[i] == seen.noise[0]);
    }
    assert_true(last == 0 || seen.noise[last] != seen.noise[0]);
    assert_true(seen.noise[0] != seen.noise_before);
    seen.noise_before = seen.noise[last];
    assert_false(seen.weight_gradients[last]);
    assert_false(seen.alpha_gradients[last]);
    /* the weight step */
    uint64_t alphas = alphas_hash(seen.trainer), weights = weights_hash(seen.model, NAS_ROLE_WEIGHT);
    assert_true(alphas == seen.alphas[last]);
    assert_true(weights != seen.weights[last]);
    assert_false(holds_gradients(alphas_of(seen.trainer)->optimizer->tensors, alphas_of(seen.trainer)->optimizer->n));
    seen.weights_before = weights;
    seen.buffers_before = seen.buffers[last];
    seen.alphas_before = alphas;
    seen.calls = 0;
    seen.steps++;
    return false;
}

static void watch_search(const char *options, int calls_per_step, bool warming) {
    planted p = planted_new(PLANTED_CLASSES, 256, 1);
    p.config.options = options;
    p.config.num_epochs = 1;
    p.config.loss = watching_loss;
    p.config.score_steps = NAS_NONE; /* its passes would count */
    p.config.on_step = check_step;
    seen = (watch){.model = p.model, .calls_per_step = calls_per_step, .warming = warming};
    nas_trainer *t = nas_trainer_new(&p.config);
    assert_no_error();
    seen.trainer = t;
    seen.weights_before = weights_hash(p.model, NAS_ROLE_WEIGHT);
    seen.buffers_before = weights_hash(p.model, NAS_ROLE_BUFFER);
    seen.alphas_before = alphas_hash(t);
    assert_int_equal(nas_trainer_train(t), NAS_OK);
    assert_int_equal(seen.steps, 4);
    nas_trainer_free(t);
    planted_free(&p);
}

static void first_order_steps(void **state) {
    (void)state;
    watch_search("order=1,alpha_lr=0.05", 2, false);
    assert_false(seen.weight_gradients[1]);
}

/* virtual step, validation at w', two sides of the difference, weight step */
static void second_order_steps(void **state) {
    (void)state;
    watch_search("order=2,alpha_lr=0.05", 5, false);
}

static void warm_up_leaves_alpha(void **state) {
    (void)state;
    watch_search("warmup_epochs=1", 1, true);
}

/* The three middle passes of the second order are at weights of their own. */
static bool middle_passes_moved(const nas_progress *progress, void *user) {
    (void)progress;
    int *checked = user;
    for (int i = 1; i <= 3; i++) {
        assert_true(seen.weights[i] != seen.weights[0]);
        for (int j = 1; j < i; j++) {
            assert_true(seen.weights[i] != seen.weights[j]);
        }
    }
    *checked = 1;
    return true;
}

static void second_order_moves_the_weights(void **state) {
    (void)state;
    planted p = planted_new(PLANTED_CLASSES, 256, 1);
    int checked = 0;
    p.config.options = "order=2";
    p.config.loss = watching_loss;
    p.config.score_steps = NAS_NONE; /* its passes would count */
    p.config.on_step = middle_passes_moved;
    p.config.user = &checked;
    seen = (watch){.model = p.model};
    nas_trainer *t = nas_trainer_new(&p.config);
    seen.trainer = t;
    assert_int_equal(nas_trainer_train(t), NAS_OK);
    assert_int_equal(checked, 1);
    nas_trainer_free(t);
    planted_free(&p);
}

/* --- derivation, on the cells of the paper -------------------------------------------------------- */
enum { NONE, MAX_POOL, AVG_POOL, SKIP, SEP3, SEP5, DIL3, DIL5, OPS };
typedef struct cells {
    nas_module *model;
    nas_space *space;
    nas_trainer_config config;
    nas_search search;
    nas__alphas alphas;
    nas_architecture *derived;
} cells;

static cells *cells_new(const char *name) {
    cells *c = calloc(1, sizeof *c);
    c->model = nas_space_build(name, &(nas_space_config){0});
    c->space = nas_space_new(c->model);
    c->search = (nas_search){.space = c->space, .model = c->model, .config = &c->config};
    assert_int_equal(nas__alphas_new(&c->alphas, &c->search, &(nas__alphas_config){.lr = 1e-3}), NAS_OK);
    c->derived = nas_architecture_new(c->space);
    return c;
}

static void cells_free(cells *c) {
    nas_architecture_free(c->derived);
    nas__alphas_free(&c->alphas);
    nas_space_free(c->space);
    nas_free(c->model);
    free(c);
}

static void set_alpha(cells *c, const char *key, int op, float value) {
    int i = nas_space_find(c->space, key);
    assert_in_range(i, 0, nas_space_size(c->space) - 1);
    c->alphas.of_choice[i]->data[op] = value;
}

static void set_everywhere(cells *c, int op, float value) {
    for (int i = 0; i < c->alphas.n; i++) {
        if (c->alphas.of_choice[i]) {
            c->alphas.of_choice[i]->data[op] = value;
        }
    }
}

static void derive(cells *c, nas__none_rule rule) {
    assert_int_equal(nas__alphas_derive(&c->alphas, &c->search, rule, c->derived), NAS_OK);
}

static uint64_t derived(const cells *c, const char *key) {
    return nas_architecture_get(c->derived, nas_space_find(c->space, key));
}

/* All edges equal: each node keeps its two lowest inputs, each edge its lowest operation that counts. */
static void equal_edges(void **state) {
    (void)state;
    cells *c = cells_new("darts");
    derive(c, NAS__NONE_AUTO);
    assert_int_equal(derived(c, "normal/node_2/inputs"), 3);
    assert_int_equal(derived(c, "normal/node_5/inputs"), 3);
    assert_int_equal(derived(c, "reduce/node_4/inputs"), 3);
    assert_int_equal(derived(c, "normal/edge_2_0"), 1 << MAX_POOL);
    assert_int_equal(derived(c, "reduce/edge_5_1"), 1 << MAX_POOL);
    cells_free(c);
}

/* `none` the largest everywhere: it is left out of every operation and of the strength of the edges, but not of the
 * softmax. */
static void none_is_largest(void **state) {
    (void)state;
    cells *c = cells_new("darts");
    set_everywhere(c, NONE, 5);
    set_alpha(c, "normal/edge_3_1", SEP3, 2);
    set_alpha(c, "normal/edge_3_2", DIL5, 1);
    set_alpha(c, "normal/edge_4_3", SEP5, 4); /* a larger logit, but less of this edge's softmax than edge_4_2's: */
    set_alpha(c, "normal/edge_4_3", NONE, 9);
    set_alpha(c, "normal/edge_4_2", SKIP, 2);
    set_alpha(c, "normal/edge_4_0", AVG_POOL, 1);
    derive(c, NAS__NONE_AUTO);
    assert_int_equal(derived(c, "normal/node_3/inputs"), 1 << 1 | 1 << 2);
    assert_int_equal(derived(c, "normal/edge_3_1"), 1 << SEP3);
    assert_int_equal(derived(c, "normal/edge_3_2"), 1 << DIL5);
    assert_int_equal(derived(c, "normal/node_4/inputs"), 1 << 0 | 1 << 2);
    assert_int_equal(derived(c, "normal/edge_4_2"), 1 << SKIP);
    assert_int_equal(derived(c, "normal/edge_4_0"), 1 << AVG_POOL);
    assert_int_equal(derived(c, "reduce/node_2/inputs"), 3);
    assert_false(nas_architecture_reaches(c->derived, nas_space_find(c->space, "normal/edge_4_3")));
    assert_true(nas_architecture_reaches(c->derived, nas_space_find(c->space, "normal/edge_4_2")));
    cells_free(c);
}

static void ties(void **state) {
    (void)state;
    cells *c = cells_new("darts");
    set_alpha(c, "normal/edge_4_3", SEP5, 1); /* the strongest edge, and three equal ones for the second place */
    set_alpha(c, "normal/edge_2_1", DIL3, 1); /* two equal operations */
    set_alpha(c, "normal/edge_2_1", SEP3, 1);
    derive(c, NAS__NONE_AUTO);
    assert_int_equal(derived(c, "normal/node_4/inputs"), 1 << 0 | 1 << 3);
    assert_int_equal(derived(c, "normal/edge_2_1"), 1 << SEP3);
    cells_free(c);
}

static void none_included(void **state) {
    (void)state;
    cells *c = cells_new("darts");
    set_alpha(c, "normal/edge_3_2", NONE, 5);
    set_alpha(c, "normal/edge_3_1", SEP3, 1);
    derive(c, NAS__NONE_INCLUDE);
    assert_int_equal(derived(c, "normal/node_3/inputs"), 1 << 1 | 1 << 2);
    assert_int_equal(derived(c, "normal/edge_3_2"), 1 << NONE);
    derive(c, NAS__NONE_EXCLUDE);
    assert_int_equal(derived(c, "normal/node_3/inputs"), 1 << 0 | 1 << 1);
    assert_int_equal(derived(c, "normal/edge_3_2"), 1 << MAX_POOL);
    cells_free(c);
}

/* Where no input choice drops edges, `none` is how an edge is dropped: auto keeps it. */
static void none_without_input_choice(void **state) {
    (void)state;
    cells *c = cells_new("nb201");
    set_alpha(c, "edge_2_1", 0, 2);
    set_alpha(c, "edge_2_1", 3, 1);
    derive(c, NAS__NONE_AUTO);
    assert_int_equal(derived(c, "edge_2_1"), 1);
    derive(c, NAS__NONE_INCLUDE);
    assert_int_equal(derived(c, "edge_2_1"), 1);
    derive(c, NAS__NONE_EXCLUDE);
    assert_int_equal(derived(c, "edge_2_1"), 1 << 3);
    assert_int_equal(derived(c, "edge_1_0"), 1 << 1);
    cells_free(c);
}

/* Starting values are small, differ from key to key, and are the same for the same seed. */
static void alphas_start(void **state) {
    (void)state;
    cells *a = cells_new("nb201"), *b = cells_new("nb201");
    nas__alphas_free(&a->alphas);
    nas__alphas_free(&b->alphas);
    a->config.seed = b->config.seed = 5;
    nas__alphas_config config = {.deviation = 1e-3, .lr = 1e-3};
    assert_int_equal(nas__alphas_new(&a->alphas, &a->search, &config), NAS_OK);
    assert_int_equal(nas__alphas_new(&b->alphas, &b->search, &config), NAS_OK);
    for (int i = 0; i < a->alphas.n; i++) {
        const float *x = a->alphas.of_choice[i]->data;
        assert_memory_equal(x, b->alphas.of_choice[i]->data, 5 * sizeof *x);
        assert_true(i == 0 || memcmp(x, a->alphas.of_choice[0]->data, 5 * sizeof *x) != 0);
        double squares = 0;
        for (int k = 0; k < 5; k++) {
            squares += x[k] * x[k];
        }
        assert_true(squares > 1e-8 && squares < 1e-4);
    }
    cells_free(a);
    cells_free(b);
}

static struct value_net {
    nas_module base;
    nas_mutable *value;
} * value_net;

static nas_tensor *value_forward(nas_module *self, nas_tensor *x) {
    return nas_scale(x, (float)nas_value(((struct value_net *)self)->value));
}

static void value_choices_are_refused(void **state) {
    (void)state;
    planted p = planted_new(PLANTED_CLASSES, 128, 1);
    value_net = nas_module_new(struct value_net, value_forward);
    value_net->value = nas_value_choice(value_net, "width", 2, ((double[]){1, 2}));
    p.config.model = &value_net->base;
    assert_null(nas_trainer_new(&p.config));
    assert_error(NAS_UNSUPPORTED, "\"width\"");
    /* asked beforehand, a refusal is an answer and no error */
    nas_space *space = nas_space_new(&value_net->base);
    assert_non_null(space);
    assert_false(nas__strategy_accepts(nas__strategy_find("darts"), space));
    assert_int_equal(nas_error_status(), NAS_OK);
    assert_true(nas__strategy_accepts(nas__strategy_find("enas"), space));
    nas_space_free(space);
    nas_free(value_net);
    planted_free(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_order_finds_all),
        cmocka_unit_test(second_order_finds_all),
        cmocka_unit_test(shuffled_labels_find_nothing),
        cmocka_unit_test(without_alphas_gradient_nothing_is_found),
        cmocka_unit_test(first_order_steps),
        cmocka_unit_test(second_order_steps),
        cmocka_unit_test(second_order_moves_the_weights),
        cmocka_unit_test(warm_up_leaves_alpha),
        cmocka_unit_test(equal_edges),
        cmocka_unit_test(none_is_largest),
        cmocka_unit_test(ties),
        cmocka_unit_test(none_included),
        cmocka_unit_test(none_without_input_choice),
        cmocka_unit_test(alphas_start),
        cmocka_unit_test(value_choices_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
