/* ENAS in the trainer's loop: which phase changes what, what a sample trains, a planted optimum, repetition and
 * resuming. */
#include "support.h"

#include "io/state.h"
#include "search/planted.h"
#include "search/trainer.h"

#include <espalier/nn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- data: stripes, upright or lying, in noise ---------------------------------------------------- */
enum { SIDE = 8, IMAGES = 480 };

static nas_dataset *stripes(uint64_t seed) {
    float *x = random_floats(seed, (size_t)IMAGES * SIDE * SIDE), y[IMAGES];
    for (int i = 0; i < IMAGES; i++) {
        y[i] = (float)(i % 2);
        for (int p = 0; p < SIDE * SIDE; p++) {
            int at = i % 2 ? p % SIDE : p / SIDE;
            x[i * SIDE * SIDE + p] = 0.5f + 0.3f * (at % 2 ? 1 : -1) + 0.15f * x[i * SIDE * SIDE + p];
        }
    }
    nas_dataset *d = nas_dataset_from_arrays(IMAGES, 3, (int64_t[]){1, SIDE, SIDE}, x, 1, y, 2);
    free(x);
    assert_non_null(d);
    return d;
}

/* --- a network of two layers: operations that work, or nothing ------------------------------------- */
typedef struct net {
    nas_module base;
    nas_module *stem, *first, *second, *head;
    nas_mutable *skip;
} net;

static nas_tensor *net_forward(nas_module *self, nas_tensor *x) {
    net *n = (net *)self;
    nas_tensor *a = nas_forward(n->stem, x), *b = nas_forward(n->first, a), *c = nas_forward(n->second, b);
    return nas_forward(n->head, nas_add(c, nas_choose(n->skip, 2, (nas_tensor *[]){nas_scale(a, 0), nas_scale(b, 0)})));
}

static nas_module *layer(net *n, const char *key) {
    const nas_candidate candidates[] = {
        {"none", nas_none_new(1)},
        {"conv3x3", nas_conv_bn_relu(.in = 4, .out = 4, .kernel = 3)},
        {"conv1x1", nas_conv_bn_relu(.in = 4, .out = 4, .kernel = 1)},
    };
    return nas_child(n, key, nas_layer_choice(n, key, 3, candidates));
}

static nas_module *net_new(void) {
    net *n = nas_module_new(net, net_forward);
    n->stem = nas_child(n, "stem", nas_conv_bn_relu(.in = 1, .out = 4, .kernel = 3));
    n->first = layer(n, "first");
    n->second = layer(n, "second");
    n->skip = nas_input_choice(n, "skip", .names = (const char *[]){"stem", "first"}, .n_candidates = 2);
    n->head = nas_child(n, "head", nas_sequential(nas_pool(.kind = NAS_POOL_GLOBAL), nas_dense(.in = 4, .out = 2)));
    assert_no_error();
    return &n->base;
}

/* --- snapshots ------------------------------------------------------------------------------------ */
typedef struct hash {
    uint64_t value;
    const char *prefix; /* of paths that count; NULL: all */
} hash;

static uint64_t add_bytes(uint64_t h, const void *data, size_t size) {
    for (size_t i = 0; i < size; i++) {
        h = (h ^ ((const unsigned char *)data)[i]) * 0x100000001b3u;
    }
    return h;
}

static nas_status add_tensor(const char *path, nas_tensor *t, nas_role role, void *user) {
    hash *h = user;
    size_t n = (size_t)nas_tensor_count(t);
    if (h->prefix && (role != NAS_ROLE_WEIGHT || strncmp(path, h->prefix, strlen(h->prefix)) != 0)) {
        return NAS_OK;
    }
    float *values = malloc(n * sizeof *values);
    nas_tensor_read(t, values);
    h->value = add_bytes(h->value, values, n * sizeof *values);
    free(values);
    return NAS_OK;
}

/* Parameters below a path; without one all of them, and the buffers. */
static uint64_t weights_of(nas_module *model, const char *prefix) {
    hash h = {0xcbf29ce484222325u, prefix};
    nas_visit_parameters(model, add_tensor, &h);
    return h.value;
}

/* All that the strategy would save: the bytes of its file. */
static uint64_t controller_of(nas_search *s, const char *directory) {
    char path[256];
    snprintf(path, sizeof path, "%s/state", directory);
    nas_state *st = nas__state_save_begin(path, NULL);
    assert_non_null(st);
    s->strategy->state(s, st);
    assert_int_equal(nas__state_finish(st), NAS_OK);
    FILE *in = fopen(path, "rb");
    uint64_t h = 0xcbf29ce484222325u;
    unsigned char buffer[4096];
    for (size_t n; (n = fread(buffer, 1, sizeof buffer, in)) > 0;) {
        h = add_bytes(h, buffer, n);
    }
    fclose(in);
    return h;
}

/* --- one search ----------------------------------------------------------------------------------- */
typedef struct watch {
    nas_trainer *trainer;
    char *directory;
    uint64_t weights, controller, candidates[2][3];
    int steps, trained[2][3];
} watch;

static nas_trainer_config small(nas_module *model, nas_dataset *train, nas_dataset *valid) {
    return (nas_trainer_config){.model = model,
                                .strategy = "enas",
                                .dataset_train = train,
                                .dataset_valid = valid,
                                .batch_size = 24,
                                .num_epochs = 2,
                                .optimizer = nas_sgd(.lr = 0.05, .momentum = 0.9),
                                .seed = 3,
                                .threads = 1,
                                .log_frequency = NAS_NONE};
}

static const char *const layers[] = {"first", "second"}, *const names[] = {"none", "conv3x3", "conv1x1"};

static void snapshot(watch *w) {
    nas_search *s = &w->trainer->s;
    w->weights = weights_of(s->model, NULL);
    w->controller = controller_of(s, w->directory);
    for (int l = 0; l < 2; l++) {
        for (int k = 1; k < 3; k++) {
            char path[64];
            snprintf(path, sizeof path, "%s.%s.", layers[l], names[k]);
            w->candidates[l][k] = weights_of(s->model, path);
        }
    }
}

/* A step of the weights leaves the controller alone and changes the weights of the sample, and only those; a step of
 * the controller leaves everything else alone, running statistics too. */
static bool check_step(const nas_progress *p, void *user) {
    watch *w = user, before = *w;
    nas_search *s = &w->trainer->s;
    snapshot(w);
    bool of_weights = p->step <= s->train_steps;
    assert_int_equal(of_weights, before.weights != w->weights);
    assert_int_equal(of_weights, before.controller == w->controller);
    uint64_t runs[2];
    for (int l = 0; l < 2; l++) {
        runs[l] = nas_decision_of(s->space, nas_space_find(s->space, layers[l])).run;
    }
    bool judged = !((runs[0] | runs[1]) & 1); /* `none` in either layer stops values and gradients of both */
    for (int l = 0; l < 2 && of_weights; l++) {
        for (int k = 1; k < 3; k++) {
            bool sampled = runs[l] >> k & 1, changed = before.candidates[l][k] != w->candidates[l][k];
            assert_true(sampled || !changed);
            assert_true(!sampled || !judged || changed);
            w->trained[l][k] += changed;
        }
    }
    w->steps++;
    return false;
}

static void phases_are_apart(void **state) {
    (void)state;
    nas_module *model = net_new();
    nas_dataset *train = stripes(1), *valid = stripes(2);
    watch w = {.directory = temporary_directory()};
    nas_trainer_config c = small(model, train, valid);
    nas_optimizer_free(c.optimizer);
    c.optimizer = nas_sgd(.lr = 0.05);
    c.options = "controller_steps=6,samples=3,hidden=8,final_samples=2";
    c.on_step = check_step;
    c.user = &w;
    c.num_epochs = 1;
    w.trainer = nas_trainer_new(&c);
    assert_no_error();
    snapshot(&w);
    assert_int_equal(nas_trainer_train(w.trainer), NAS_OK);
    assert_int_equal(w.steps, IMAGES / 24 + 6);
    for (int l = 0; l < 2; l++) {
        for (int k = 1; k < 3; k++) {
            assert_true(w.trained[l][k] > 0);
        }
    }
    nas_trainer_free(w.trainer);
    nas_module_free(model);
    nas_dataset_free(train);
    nas_dataset_free(valid);
    remove_directory(w.directory);
}

/* --- a planted optimum ----------------------------------------------------------------------------- */
typedef struct last {
    nas_trainer *trainer;
    double none[2], skips[2];
} last;

static bool keep_probabilities(const nas_progress *p, void *user) {
    last *l = user;
    nas_search *s = &l->trainer->s;
    double probability[NAS_MAX_CANDIDATES];
    (void)p;
    for (int i = 0; i < 2; i++) {
        assert_true(s->strategy->probabilities(s, nas_space_find(s->space, layers[i]), probability));
        assert_float_equal(probability[0] + probability[1] + probability[2], 1, 1e-5);
        l->none[i] = probability[0];
    }
    s->strategy->probabilities(s, nas_space_find(s->space, "skip"), l->skips);
    return false;
}

/* `none` anywhere cuts the image off: accuracy is a coin's. The controller leaves it, and the result has none. */
static void finds_what_works(void **state) {
    (void)state;
    nas_module *model = net_new();
    nas_dataset *train = stripes(1), *valid = stripes(2);
    last l = {0};
    nas_trainer_config c = small(model, train, valid);
    c.options = "controller_steps=30,samples=8,controller_lr=0.02,hidden=16,tanh_constant=2.5,baseline_decay=0.9";
    c.num_epochs = 4;
    c.on_epoch = keep_probabilities;
    c.user = &l;
    l.trainer = nas_trainer_new(&c);
    assert_no_error();
    assert_int_equal(nas_trainer_train(l.trainer), NAS_OK);
    double score;
    const nas_architecture *best = nas_trainer_best(l.trainer, &score);
    assert_true(score > 0.95);
    for (int i = 0; i < 2; i++) {
        assert_true(nas_architecture_get(best, nas_space_find(nas_trainer_space(l.trainer), layers[i])) != 1);
        assert_true(l.none[i] < 0.1);               /* 1/3 at first */
        assert_true(fabs(l.skips[i] - 0.4) < 0.15); /* useless here: the KL term holds them */
    }
    nas_trainer_free(l.trainer);
    nas_module_free(model);
    nas_dataset_free(train);
    nas_dataset_free(valid);
}

#define BY_REINFORCE "baseline_decay=0.9,hidden=32,own_words=1,samples=30,final_samples=60"
#define BY_PPO                                                                                                         \
    "baseline_decay=0.9,hidden=32,own_words=1,samples=20,final_samples=100,controller_lr=0.01,tanh_constant=1.2"

static void planted_by_reinforce(void **state) {
    (void)state;
    planted_finds_all("enas", BY_REINFORCE ",controller_steps=40,controller_lr=0.01", 5);
}

static void planted_by_ppo(void **state) {
    (void)state;
    planted_finds_all("enas", BY_PPO ",controller_steps=40,update=ppo", 5);
}

/* With a controller that does not learn the best of as many draws is not it (a chance of 60/4096 each). With shuffled
 * labels: 24 choices with a chance of 1/4 each, of which 13 or more right happen in 0.2 % of such tables. */
static void nothing_without_its_parts(void **state) {
    (void)state;
    int shuffled = 0;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        assert_in_range(
            planted_search("enas", BY_REINFORCE ",controller_steps=1,controller_lr=0", PLANTED_CLASSES, seed), 0, 5);
        shuffled +=
            planted_search("enas", BY_REINFORCE ",controller_steps=10,controller_lr=0.01", PLANTED_SHUFFLED, seed);
    }
    assert_in_range(shuffled, 0, 12);
}

/* --- repetition and resuming ------------------------------------------------------------------------ */
typedef struct outcome {
    uint64_t weights, controller, best;
    double score;
} outcome;

static bool stop_here(const nas_progress *p, void *user) { return p->epoch >= *(const int *)user; }

static nas_module *nb201(void) {
    const nas_space_info *info = nas_space_info_find("nb201");
    void *options = calloc(1, info->options_size);
    assert_int_equal(nas_options_default(info->options, options), NAS_OK);
    assert_int_equal(nas_options_set(info->options, options, "channels", "4"), NAS_OK);
    assert_int_equal(nas_options_set(info->options, options, "cells", "1"), NAS_OK);
    nas_module *model = nas_space_build(
        "nb201", &(nas_space_config){.channels = 1, .height = SIDE, .width = SIDE, .outputs = 2, .options = options});
    free(options);
    assert_no_error();
    return model;
}

static outcome run(const char *update, const char *directory, uint64_t seed, int last_epoch, bool resume) {
    nas_module *model = nb201();
    nas_dataset *train = stripes(1), *valid = stripes(2);
    nas_trainer_config c = small(model, train, valid);
    outcome o;
    char options[128];
    snprintf(options, sizeof options,
             "controller_steps=3,samples=3,hidden=8,final_samples=2,controller_lr=0.05,update=%s", update);
    c.options = options;
    c.num_epochs = 3;
    c.seed = seed;
    c.limit_batches = 4;
    c.score_images = 64;
    c.run_dir = directory;
    c.resume = resume;
    c.on_epoch = stop_here;
    c.user = &last_epoch;
    nas_trainer *t = nas_trainer_new(&c);
    assert_no_error();
    assert_int_equal(nas_trainer_train(t), NAS_OK);
    o.weights = weights_of(model, NULL);
    char *scratch = temporary_directory();
    o.controller = controller_of(&t->s, scratch);
    remove_directory(scratch);
    o.best = nas_architecture_hash(nas_trainer_best(t, &o.score));
    nas_trainer_free(t);
    nas_module_free(model);
    nas_dataset_free(train);
    nas_dataset_free(valid);
    return o;
}

static bool same(outcome a, outcome b) {
    return a.weights == b.weights && a.controller == b.controller && a.best == b.best && a.score == b.score;
}

static const char *const updates[] = {"reinforce", "ppo"};

static void same_seed_same_search(void **state) {
    (void)state;
    outcome first[2];
    for (int u = 0; u < 2; u++) {
        outcome a = first[u] = run(updates[u], NULL, 5, 3, false), b = run(updates[u], NULL, 5, 3, false);
        outcome other = run(updates[u], NULL, 6, 3, false);
        assert_true(same(a, b));
        assert_true(other.weights != a.weights && other.controller != a.controller);
    }
    assert_true(first[0].controller != first[1].controller);
}

static void resumed_is_uninterrupted(void **state) {
    (void)state;
    for (int u = 0; u < 2; u++) {
        char *directory = temporary_directory(), path[256];
        snprintf(path, sizeof path, "%s/run", directory);
        outcome whole = run(updates[u], NULL, 5, 3, false), part = run(updates[u], path, 5, 1, false);
        assert_false(same(whole, part));
        outcome second = run(updates[u], path, 5, 2, true);
        assert_false(same(whole, second));
        assert_true(same(whole, run(updates[u], path, 5, 3, true)));
        remove_directory(directory);
    }
}

/* --- refusals --------------------------------------------------------------------------------------- */
static double no_number(const nas_tensor *output, const nas_tensor *target) {
    (void)output;
    (void)target;
    return NAN;
}

static void rewards_have_to_be_numbers(void **state) {
    (void)state;
    nas_module *model = net_new();
    nas_dataset *train = stripes(1), *valid = stripes(2);
    nas_trainer_config c = small(model, train, valid);
    c.reward = no_number;
    c.limit_batches = 1;
    nas_trainer *t = nas_trainer_new(&c);
    assert_no_error();
    assert_int_equal(nas_trainer_train(t), NAS_NUMERIC);
    assert_error(NAS_NUMERIC, "reward");
    nas_trainer_free(t);
    nas_module_free(model);
    nas_dataset_free(train);
    nas_dataset_free(valid);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_without_its_parts), cmocka_unit_test(phases_are_apart),
        cmocka_unit_test(finds_what_works),          cmocka_unit_test(same_seed_same_search),
        cmocka_unit_test(resumed_is_uninterrupted),  cmocka_unit_test(rewards_have_to_be_numbers),
        cmocka_unit_test(planted_by_reinforce),      cmocka_unit_test(planted_by_ppo),

    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
