/* The repairs of DARTS on its own cells: edge weights, thresholds, stages, the limit of skips, and the inputs of nodes
 * under perturbation. */
#include "support.h"

#include "search/collapse.h"
#include "search/darts.h"
#include "tensor/tensor.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NONE, MAX_POOL, AVG_POOL, SKIP, SEP3, SEP5, DIL3, DIL5, OPS };
enum { SIDE = 8, SAMPLES = 96, BATCH = 16 };

typedef struct cells {
    nas_module *model;
    nas_dataset *parts[2];
    nas_trainer_config config;
    nas_trainer *trainer;
} cells;

static nas_module *cells_model(const char *layers, const char *nodes) {
    const nas_space_info *info = nas_space_info_find("darts");
    void *options = calloc(1, info->options_size);
    nas_options_default(info->options, options);
    nas_options_set(info->options, options, "channels", "4");
    nas_options_set(info->options, options, "layers", layers);
    nas_options_set(info->options, options, "nodes", nodes);
    nas_module *model = nas_space_build(
        "darts", &(nas_space_config){.channels = 1, .height = SIDE, .width = SIDE, .outputs = 2, .options = options});
    free(options);
    assert_no_error();
    return model;
}

static nas_dataset *images(uint64_t seed) {
    float *x = random_floats(seed, SAMPLES * SIDE * SIDE), y[SAMPLES];
    for (int i = 0; i < SAMPLES; i++) {
        y[i] = (float)(i % 2);
    }
    nas_dataset *d = nas_dataset_from_arrays(SAMPLES, 3, (int64_t[]){1, SIDE, SIDE}, x, 1, y, 2);
    free(x);
    return d;
}

static void prepare(cells *c, const char *layers, const char *nodes, const char *options) {
    *c = (cells){.model = cells_model(layers, nodes), .parts = {images(1), images(2)}};
    c->config = (nas_trainer_config){.model = c->model,
                                     .strategy = "darts",
                                     .options = options,
                                     .batch_size = BATCH,
                                     .num_epochs = 3,
                                     .dataset_train = c->parts[0],
                                     .dataset_valid = c->parts[1],
                                     .limit_batches = 1,
                                     .score_steps = NAS_NONE,
                                     .log_frequency = NAS_NONE,
                                     .seed = 4,
                                     .threads = 1};
}

static void start(cells *c) {
    c->trainer = nas_trainer_new(&c->config);
    assert_no_error();
}

static void finish(cells *c) {
    nas_trainer_free(c->trainer);
    nas_free(c->model);
    nas_dataset_free(c->parts[0]);
    nas_dataset_free(c->parts[1]);
}

static nas__darts *darts_of(const cells *c) { return c->trainer->s.memory; }

static int choice_of(const cells *c, const char *key) {
    int i = nas_space_find(c->trainer->s.space, key);
    assert_in_range(i, 0, 1000);
    return i;
}

static void set_alpha(cells *c, const char *key, int op, float value) {
    darts_of(c)->alphas.of_choice[choice_of(c, key)]->data[op] = value;
}

static nas_architecture *derive(cells *c) {
    nas_architecture *a = nas_architecture_new(c->trainer->s.space);
    assert_int_equal(c->trainer->s.strategy->derive(&c->trainer->s, a), NAS_OK);
    return a;
}

static void assert_derived(cells *c, const nas_architecture *a, const char *key, uint64_t expected) {
    assert_int_equal(nas_architecture_get(a, choice_of(c, key)), expected);
}

/* --- PC-DARTS' edge weights ------------------------------------------------------------------------------ */
/* One cell of one node without the head's bias: the logits are linear in the node's value. */
static void logits(cells *c, float out[2 * BATCH]) {
    nas_search *s = &c->trainer->s;
    float *x = random_floats(7, BATCH * SIDE * SIDE);
    nas_tape_begin(c->trainer->tape, &(nas_tape_config){0});
    assert_int_equal(nas__darts_decide(s, NULL), NAS_OK);
    assert_int_equal(nas_tensor_read(nas_forward(s->model, nas_input(4, (int64_t[]){BATCH, 1, SIDE, SIDE}, x)), out),
                     NAS_OK);
    nas_tape_reset(c->trainer->tape);
    free(x);
}

static nas_status clear_bias(const char *path, nas_tensor *tensor, nas_role role, void *user) {
    (void)user;
    if (role == NAS_ROLE_WEIGHT && strstr(path, "bias")) {
        memset(tensor->data, 0, (size_t)nas__count(tensor) * sizeof(float));
    }
    return NAS_OK;
}

static void edge_logits(const char *options, float out[2 * BATCH]) {
    cells c;
    prepare(&c, "1", "1", options);
    start(&c);
    nas_visit_parameters(c.model, clear_bias, NULL);
    for (int i = 0; i < darts_of(&c)->alphas.n; i++) { /* constant edge weights */
        nas_tensor *alpha = darts_of(&c)->alphas.of_choice[i];
        if (alpha && nas_space_choice(c.trainer->s.space, i)->kind == NAS_INPUT) {
            memset(alpha->data, 0, (size_t)nas__count(alpha) * sizeof(float));
        }
    }
    logits(&c, out);
    finish(&c);
}

/* K = 1 and constant weights on the i + 2 edges of a node: DARTS, scaled by 1 / (i + 2). */
static void constant_edge_weights(void **state) {
    (void)state;
    float darts[2 * BATCH], pc[2 * BATCH], partial[2 * BATCH];
    edge_logits("variant=darts", darts);
    edge_logits("variant=pc,partial=1", pc);
    edge_logits("variant=pc,partial=2", partial);
    for (int i = 0; i < 2 * BATCH; i++) {
        assert_true(fabsf(2 * pc[i] - darts[i]) <= 1e-5f * (1 + fabsf(darts[i])));
    }
    assert_memory_not_equal(pc, partial, sizeof pc);
}

/* An edge is as strong as its best operation times its weight. */
static void edge_weights_decide(void **state) {
    (void)state;
    cells c;
    prepare(&c, "3", "2", "variant=pc,partial=1");
    start(&c);
    set_alpha(&c, "normal/edge_3_0", SEP3, 2);
    set_alpha(&c, "normal/edge_3_1", SEP3, 1.9f);
    set_alpha(&c, "normal/edge_3_2", SEP3, 1);
    nas_architecture *a = derive(&c);
    assert_derived(&c, a, "normal/node_3/inputs", 1 << 0 | 1 << 1);
    nas_architecture_free(a);
    set_alpha(&c, "normal/node_3/inputs", 0, -3);
    a = derive(&c);
    assert_derived(&c, a, "normal/node_3/inputs", 1 << 1 | 1 << 2);
    nas_architecture_free(a);
    finish(&c);
}

/* --- FairDARTS ---------------------------------------------------------------------------------------------- */
/* Only what reaches 0.85 stays; an edge without it is dropped, and `none` is never in the mixture. */
static void threshold(void **state) {
    (void)state;
    cells c;
    prepare(&c, "3", "2", "variant=fair");
    start(&c);
    set_alpha(&c, "normal/edge_2_0", SEP3, 1.8f); /* sigmoid 0.858 */
    set_alpha(&c, "normal/edge_2_1", SKIP, 1.7f); /* 0.846 */
    set_alpha(&c, "normal/edge_2_1", NONE, 9);
    nas_architecture *a = derive(&c);
    assert_derived(&c, a, "normal/edge_2_0", 1 << SEP3);
    assert_derived(&c, a, "normal/edge_2_1", 1 << NONE);
    nas_architecture_free(a);
    nas__darts *d = darts_of(&c);
    for (int i = 0; i < d->alphas.n; i++) {
        if (nas_space_choice(c.trainer->s.space, i)->kind == NAS_LAYER) {
            assert_int_equal(d->alphas.allowed[i], 0xfe);
        }
    }
    double p[OPS];
    assert_true(nas__alphas_strengths(&d->alphas, &c.trainer->s, choice_of(&c, "normal/edge_2_0"), p));
    assert_true(fabs(p[SEP3] - 0.8581) < 1e-3 && p[SKIP] == 0.5 && p[NONE] == 0); /* each for itself */
    finish(&c);
}

/* --- stages -------------------------------------------------------------------------------------------------- */
typedef struct stages {
    cells *c;
    int epoch, kept[4];
    double lr[4];
    bool fresh[4];
} stages;

static bool look_at_stage(const nas_progress *progress, void *user) {
    stages *w = user;
    nas__darts *d = darts_of(w->c);
    int i = choice_of(w->c, "normal/edge_3_1"), e = progress->epoch;
    w->kept[e] = __builtin_popcountll(d->alphas.allowed[i]);
    w->lr[e] = progress->lr;
    float mean = 0;
    for (int k = 0; k < OPS; k++) {
        mean += fabsf(d->alphas.of_choice[i]->data[k]) / OPS;
    }
    w->fresh[e] = mean < 0.02f;
    if (e == 1) { /* the lowest four are `none`, max pooling and the separable convolutions */
        static const float alphas[OPS] = {-3, -2, 1, 2, -1, -1.5f, 3, 0.5f};
        nas_tensor_write(d->alphas.of_choice[i], alphas);
    }
    return false;
}

static void run_stages(const char *options, stages *w) {
    cells c;
    prepare(&c, "3", "2", options);
    *w = (stages){.c = &c};
    c.config.limit_batches = 2;
    c.config.on_epoch = look_at_stage;
    c.config.user = w;
    start(&c);
    assert_int_equal(nas_trainer_train(c.trainer), NAS_OK);
    w->c = NULL;
    finish(&c);
}

/* P-DARTS: 8, 5 and 3 candidates, each stage with new alphas and a learning rate from the start. */
static void progressive(void **state) {
    (void)state;
    stages w;
    run_stages("variant=progressive,warmup_epochs=-1", &w);
    assert_int_equal(w.kept[1], 8);
    assert_int_equal(w.kept[2], 5);
    assert_int_equal(w.kept[3], 3);
    assert_true(w.fresh[2]);
    assert_true(fabs(w.lr[2] - w.lr[1]) < 1e-9 && fabs(w.lr[3] - w.lr[1]) < 1e-9 && w.lr[1] > 0);
}

/* DrNAS: 7 candidates, then 4, and the alphas go on. */
static void drnas_stages(void **state) {
    (void)state;
    stages w;
    run_stages("variant=drnas,partial=2,partial2=1,warmup_epochs=-1", &w);
    assert_int_equal(w.kept[1], 7);
    assert_int_equal(w.kept[3], 4);
    assert_false(w.fresh[3]);
}

/* --- depth --------------------------------------------------------------------------------------------------- */
typedef struct depths {
    cells *c;
    int asked;
    double shares[8];
    int64_t parameters[4];
    nas_module *models[4];
} depths;

/* Of eight cells; one or two have no reduction, and so other choices. */
static nas_module *shallow(double share, void *user) {
    depths *w = user;
    char layers[16];
    assert_in_range(w->asked, 0, 7);
    w->shares[w->asked++] = share;
    snprintf(layers, sizeof layers, "%d", (int)lround(8 * share));
    return cells_model(layers, "2");
}

static bool look_at_depth(const nas_progress *progress, void *user) {
    depths *w = user;
    w->models[progress->epoch] = w->c->trainer->s.model;
    w->parameters[progress->epoch] = nas_parameter_count(w->c->trainer->s.model);
    return false;
}

/* P-DARTS' network grows: 5/17, 11/17 and all of its cells; the last one is the given model. */
static void grows(void **state) {
    (void)state;
    cells c;
    depths w = {.c = &c};
    prepare(&c, "8", "2", "variant=progressive");
    c.config.stage_model = shallow;
    c.config.on_epoch = look_at_depth;
    c.config.user = &w;
    start(&c);
    assert_int_equal(nas_trainer_train(c.trainer), NAS_OK);
    assert_int_equal(w.asked, 3);
    assert_true(w.shares[0] == 5.0 / 17 && fabs(w.shares[1] - 5.0 / 17 - 0.1) < 1e-9 && w.shares[2] == 11.0 / 17);
    assert_true(w.models[1] != c.model && w.models[2] != c.model && w.models[3] == c.model);
    assert_true(w.parameters[1] < w.parameters[2] && w.parameters[2] < w.parameters[3]);
    char *json = nas_architecture_json(nas_trainer_best(c.trainer, NULL), false);
    nas_module *fixed = cells_model("8", "2");
    assert_int_equal(nas_apply_fixed_architecture_text(fixed, json), NAS_OK);
    nas_free(fixed);
    free(json);
    finish(&c);
}

/* P-DARTS: the weakest skips go until two are left. */
static void most_skips(void **state) {
    (void)state;
    cells c;
    prepare(&c, "3", "2", "variant=progressive");
    start(&c);
    static const char *const edges[] = {"normal/edge_2_0", "normal/edge_2_1", "normal/edge_3_0", "normal/edge_3_1"};
    for (int i = 0; i < 4; i++) {
        set_alpha(&c, edges[i], SKIP, 2 + (float)i);
        set_alpha(&c, edges[i], DIL3, 1);
    }
    nas_architecture *a = derive(&c);
    nas__skip_count count = nas__count_skips(a);
    assert_int_equal(count.skips, 2);
    assert_derived(&c, a, "normal/edge_2_0", 1 << DIL3);
    assert_derived(&c, a, "normal/edge_2_1", 1 << DIL3);
    nas_architecture_free(a);
    finish(&c);
}

/* --- perturbation ---------------------------------------------------------------------------------------------- */
static double always_the_same(const nas_tensor *output, const nas_tensor *target) {
    (void)output, (void)target;
    return 0.5;
}

/* When nothing hurts, operations are taken, and inputs removed, in order; `none` is not taken. */
static void inputs_are_removed(void **state) {
    (void)state;
    cells c;
    prepare(&c, "3", "2", "variant=perturbation,select_batches=1");
    c.config.reward = always_the_same;
    start(&c);
    assert_int_equal(nas_trainer_train(c.trainer), NAS_OK);
    const nas_architecture *a = c.trainer->derived;
    assert_derived(&c, a, "normal/node_2/inputs", 1 << 0 | 1 << 1);
    assert_derived(&c, a, "normal/node_3/inputs", 1 << 1 | 1 << 2);
    assert_derived(&c, a, "reduce/node_3/inputs", 1 << 1 | 1 << 2);
    assert_derived(&c, a, "normal/edge_3_1", 1 << MAX_POOL);
    finish(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(constant_edge_weights),
        cmocka_unit_test(edge_weights_decide),
        cmocka_unit_test(threshold),
        cmocka_unit_test(progressive),
        cmocka_unit_test(drnas_stages),
        cmocka_unit_test(most_skips),
        cmocka_unit_test(inputs_are_removed),
        cmocka_unit_test(grows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
