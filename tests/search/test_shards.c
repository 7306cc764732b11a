/* A batch in shards is the batch in one piece, up to rounding: outputs, loss, gradients, running estimates, what
 * dropout drops, and so the losses of whole searches. (That ranks compute the same bits is in tests/cli/ranks.sh.) */
#include "search/planted.h"
#include "search/shards.h"
#include "search/trainer.h"
#include "support.h"

#include "nn/optim.h"
#include "tensor/tensor.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { IMAGES = 14, SIDE = 6, CHANNELS = 3, CLASSES = 4 };

/* --- one pass ------------------------------------------------------------------------------------------ */
typedef struct network {
    nas_module base;
    nas_module *first, *second, *head;
} network;

static nas_tensor *network_forward(nas_module *self, nas_tensor *x) {
    network *n = (network *)self;
    nas_tensor *a = nas_drop_path(nas_forward(n->first, x), 0.3f);
    nas_tensor *b = nas_add(a, nas_forward(n->second, a));
    return nas_forward(n->head, nas_dropout(nas_global_avg_pool(b), 0.4f));
}

static nas_module *network_new(void) {
    network *n = nas_module_new(network, network_forward);
    n->first = nas_child(n, "first", nas_conv_bn_relu(.in = CHANNELS, .out = 8, .kernel = 3));
    n->second = nas_child(n, "second", nas_conv_bn_relu(.in = 8, .out = 8, .kernel = 1));
    n->head = nas_child(n, "head", nas_dense(.in = 8, .out = CLASSES));
    assert_int_equal(nas_initialise(&n->base, 5), NAS_OK);
    return &n->base;
}

typedef struct passed {
    nas_module *model;
    nas_optimizer *optimizer;
    double loss;
} passed;

static nas_tensor *objective(void *user, nas_tensor *output, nas_tensor *target) {
    nas_tensor *loss = nas_cross_entropy(output, target);
    *(double *)user = nas_tensor_item(loss);
    return loss;
}

/* Two passes whose gradients add up. */
static passed two_passes(int count) {
    nas_dataset_info info = {.ndim = 3, .dims = {CHANNELS, SIDE, SIDE}, .classes = CLASSES, .target_count = 1};
    size_t numbers = IMAGES * CHANNELS * SIDE * SIDE;
    float *x = random_floats(1, numbers), y[IMAGES];
    passed p = {network_new(), nas_sgd(.lr = 0.1), 0};
    assert_int_equal(nas_optimizer_bind_model(p.optimizer, p.model), NAS_OK);
    for (int i = 0; i < IMAGES; i++) {
        y[i] = (float)(i * 7 % CLASSES);
    }
    nas_batch batch = {.n = IMAGES, .x = x, .y = y};
    nas_tape *tape = nas_tape_new();
    nas__shards *shards = nas__shards_new(count, IMAGES);
    assert_int_equal(nas__shards_count(shards), count);
    for (uint64_t step = 1; step <= 2; step++) {
        nas_tape_config config = {.grad = NAS_ROLE_WEIGHT, .training = true, .seed = 3, .step = step};
        if (shards) {
            nas_tape_begin(tape, &config);
            nas__shard_pass pass = {.config = &config,
                                    .batch = &batch,
                                    .info = &info,
                                    .model = p.model,
                                    .objective = objective,
                                    .user = &p.loss};
            assert_int_equal(nas__shards_pass(shards, tape, &pass), NAS_OK);
            nas_tape_reset(tape);
        } else {
            nas__weight_pass(tape, &config, p.model, nas_cross_entropy, &batch, &info, &p.loss);
        }
        assert_no_error();
    }
    nas__shards_free(shards);
    nas_tape_free(tape);
    free(x);
    return p;
}

static nas_status copy_buffer(const char *path, nas_tensor *t, nas_role role, void *user) {
    float **next = user;
    (void)path;
    nas_status status = role == NAS_ROLE_BUFFER ? nas_tensor_read(t, *next) : NAS_OK;
    *next += role == NAS_ROLE_BUFFER ? nas_tensor_count(t) : 0;
    return status;
}

static void assert_same_buffers(nas_module *a, nas_module *b) {
    float x[256] = {0}, y[256] = {0}, *x_end = x, *y_end = y;
    assert_int_equal(nas_visit_parameters(a, copy_buffer, &x_end), NAS_OK);
    assert_int_equal(nas_visit_parameters(b, copy_buffer, &y_end), NAS_OK);
    assert_int_equal(x_end - x, 4 * 8); /* mean and variance of two norms */
    assert_floats_near(y, x, 4 * 8, 1e-5, "running estimate");
}

static void free_passed(passed *p) {
    nas_optimizer_free(p->optimizer);
    nas_module_free(p->model);
}

static void test_pass(void **state) {
    (void)state;
    passed whole = two_passes(1);
    for (int count = 2; count <= 5; count++) { /* 14 images are not divisible by 3, 4 and 5 */
        passed cut = two_passes(count);
        assert_true(fabs(cut.loss - whole.loss) < 1e-5);
        assert_int_equal(cut.optimizer->n, whole.optimizer->n);
        for (size_t i = 0; i < whole.optimizer->n; i++) {
            const nas_tensor *a = whole.optimizer->tensors[i], *b = cut.optimizer->tensors[i];
            assert_true(a->has_grad && b->has_grad);
            assert_floats_near(b->grad_data, a->grad_data, (size_t)nas_tensor_count(a), 1e-5, "gradient");
        }
        assert_same_buffers(whole.model, cut.model);
        free_passed(&cut);
    }
    free_passed(&whole);
}

/* --- searches ------------------------------------------------------------------------------------------- */
static step_losses search(const char *strategy, const char *options, int shards) {
    step_losses losses = {0};
    planted p = planted_new(PLANTED_CLASSES, 200, 3); /* batches of 32, and for choices a last one of 18 */
    p.config.strategy = strategy;
    p.config.options = options;
    p.config.shards = shards;
    p.config.batch_size = 32;
    p.config.num_epochs = 2;
    p.config.budget.trials = strcmp(strategy, "spos") == 0 ? 3 : 0;
    p.config.optimizer = nas_sgd(.lr = 0.05, .momentum = 0.9, .weight_decay = 3e-4);
    p.config.log_frequency = NAS_NONE;
    p.config.on_step = record_loss;
    p.config.user = &losses;
    nas_trainer *t = nas_trainer_new(&p.config);
    assert_no_error();
    assert_int_equal(nas_trainer_train(t), NAS_OK);
    nas_trainer_free(t);
    planted_free(&p);
    return losses;
}

static void test_searches(void **state) {
    static const char *const searches[][2] = {
        {"darts", "order=2"},
        {"darts", "variant=fair"},
        {"darts", "variant=beta"},
        {"gdas", "estimate=ones,update_all=1"},
        {"fbnet", NULL},
        {"proxyless", NULL},
        {"proxyless", "mode=reinforce,samples=3"},
        {"enas", "controller_steps=3"},
        {"spos", "sampling=fair"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof searches / sizeof *searches; i++) {
        step_losses whole = search(searches[i][0], searches[i][1], 1), cut = search(searches[i][0], searches[i][1], 3);
        assert_int_equal(cut.n, whole.n);
        assert_true(whole.n >= 6); /* two epochs of three batches */
        for (int k = 0; k < whole.n; k++) {
            if (!(fabs(cut.values[k] - whole.values[k]) < 1e-4) && !(isnan(cut.values[k]) && isnan(whole.values[k]))) {
                fail_msg("%s %s, step %d: %.9g in shards, %.9g in one piece", searches[i][0], searches[i][1], k,
                         cut.values[k], whole.values[k]);
            }
        }
    }
}

static void test_too_many(void **state) {
    (void)state;
    planted p = planted_new(PLANTED_CLASSES, 200, 3);
    p.config.strategy = "darts";
    p.config.shards = 33;
    p.config.batch_size = 32;
    assert_null(nas_trainer_new(&p.config));
    assert_error(NAS_USAGE, "33 shards of a batch of 32: every shard needs an image");
    planted_free(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_pass), cmocka_unit_test(test_searches),
                                       cmocka_unit_test(test_too_many)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
