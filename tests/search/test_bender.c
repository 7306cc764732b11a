/* Bender's one-shot search: the law of path dropout, ghost batches as passes of their own, what is not used stays, a
 * planted optimum by random and evolutionary search, resuming, what is refused. */
#include "search/planted.h"
#include "support.h"

#include "nn/optim.h"
#include "search/bender.h"
#include "search/generations.h"
#include "space/space.h"
#include "tensor/tensor.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 32, DECAY_PER_MILLE = 20 };

static nas_trainer *trainer_of(planted *p, const char *options) {
    p->config.strategy = "bender";
    p->config.options = options;
    p->config.optimizer = nas_sgd(.lr = 0.05, .momentum = 0.9, .weight_decay = DECAY_PER_MILLE / 1000.0);
    nas_trainer *t = nas_trainer_new(&p->config);
    assert_no_error();
    return t;
}

static const nas__trials *trials_of(nas_trainer *t) { return t->s.memory; }

/* --- the law ------------------------------------------------------------------------------------------------------ */
static void near_within(double hits, double draws, double p) {
    assert_true(fabs(hits / draws - p) < 4 * sqrt(p * (1 - p) / draws));
}

static void all_paths_are_dropped_with_probability_r(void **unused) {
    (void)unused;
    static const int counts[] = {2, 3, 5, 7};
    enum { DRAWS = 1000000 };
    const double r = 0.01;
    for (int i = 0; i < 4; i++) {
        int k = counts[i];
        double all[2] = {0}, first[2] = {0}, both = 0;
        nas_rng rng = nas_rng_new(7, (uint64_t)k);
        for (int half = 0; half < 2; half++) { /* at the end, and half way */
            double rate = nas__path_rate(r, k, half ? 0.5 : 1);
            for (int n = 0; n < DRAWS; n++) {
                uint64_t kept = nas__path_mask(k, rate, &rng);
                assert_true(kept >> k == 0);
                all[half] += kept == 0;
                first[half] += !(kept & 1);
                both += !half && !(kept & 3);
            }
        }
        double p = pow(r, 1.0 / k);
        near_within(all[0], DRAWS, r);
        near_within(first[0], DRAWS, p);
        near_within(both, DRAWS, p * p);
        near_within(first[1], DRAWS, p / 2);
        near_within(all[1], DRAWS, r * pow(0.5, k));
    }
    assert_true(nas__path_rate(0, 3, 1) == 0);
}

/* --- a step --------------------------------------------------------------------------------------------------------
 */
typedef struct watched {
    nas_trainer *trainer;
    struct {
        nas_batch batch;
        uint64_t passes, run[PLANTED_CHOICES];
    } pass[BATCH];
    int n, groups, steps, equal_masks, rests;
    double dropped, paths;
    bool busy;
    float *weights, *momentum;
    unsigned char *used;
} watched;

static nas_status remember_pass(nas_trainer *t, const nas_pass *pass, void *user) {
    watched *w = user;
    if (w->busy) {
        return NAS_OK;
    }
    assert_true(w->n < w->groups);
    w->pass[w->n].batch = *pass->batch;
    w->pass[w->n].passes = t->passes;
    for (int i = 0; i < PLANTED_CHOICES; i++) {
        uint64_t run = w->pass[w->n].run[i] = nas_decision_of(t->s.space, i).run;
        w->dropped += PLANTED_CANDIDATES - nas__bit_count(run);
        w->paths += PLANTED_CANDIDATES;
    }
    w->n++;
    return NAS_OK;
}

static float *copied(const float *values, size_t n) {
    return memcpy(malloc(n * sizeof *values), values, n * sizeof *values);
}

/* What the update is given is the mean over the images of the gradients of each ghost batch, run alone, and of each
 * weight the decay in proportion to the images that used it. */
static void compare_with_passes(watched *w, const nas_optimizer *o) {
    nas_trainer *t = w->trainer;
    uint64_t passes = t->passes;
    size_t n = o->offset[o->n];
    double *sum = calloc(n, sizeof *sum), *share = calloc(o->n, sizeof *share);
    float *given = copied(o->tensors[0]->grad_data, n);
    bool *had = calloc(o->n, sizeof *had);
    for (size_t i = 0; i < o->n; i++) {
        had[i] = o->tensors[i]->has_grad;
    }
    assert_int_equal(w->n, w->groups);
    assert_true(o->sgd.weight_decay == 0);
    for (int g = 0; g < w->n; g++) {
        double part = (double)w->pass[g].batch.n / BATCH;
        nas_optimizer_zero_grad(t->s.optimizer);
        for (int i = 0; i < PLANTED_CHOICES; i++) {
            assert_int_equal(nas__decide_paths(t->s.space, i, w->pass[g].run[i]), NAS_OK);
        }
        t->passes = w->pass[g].passes;
        nas_pass pass = {.batch = &w->pass[g].batch,
                         .grad = NAS_ROLE_WEIGHT,
                         .training = true,
                         .freeze_running = true,
                         .same_noise = true};
        assert_int_equal(nas_search_pass(&t->s, &pass, NULL), NAS_OK);
        for (size_t i = 0; i < o->n; i++) {
            share[i] += o->tensors[i]->has_grad ? part : 0;
            for (size_t k = 0; o->tensors[i]->has_grad && k < (size_t)nas_tensor_count(o->tensors[i]); k++) {
                sum[o->offset[i] + k] += part * o->tensors[i]->grad_data[k];
            }
        }
        w->equal_masks += g > 0 && memcmp(w->pass[g].run, w->pass[g - 1].run, sizeof w->pass[g].run) == 0;
    }
    for (size_t i = 0; i < o->n; i++) {
        assert_true(had[i] == (share[i] > 0));
        for (size_t k = o->offset[i]; had[i] && k < o->offset[i] + (size_t)nas_tensor_count(o->tensors[i]); k++) {
            double want = sum[k] + DECAY_PER_MILLE / 1000.0 * share[i] * o->tensors[0]->data[k];
            assert_true(fabs(given[k] - want) <= 1e-6 * fmax(1, fabs(want)));
        }
        o->tensors[i]->has_grad = had[i];
        w->used[i] = had[i];
    }
    memcpy(o->tensors[0]->grad_data, given, n * sizeof *given);
    t->passes = passes;
    free(sum);
    free(share);
    free(given);
    free(had);
}

static void compare_with_before(watched *w, const nas_optimizer *o) {
    for (size_t i = 0; i < o->n; i++) {
        size_t from = o->offset[i], bytes = (size_t)nas_tensor_count(o->tensors[i]) * sizeof(float);
        bool same = memcmp(o->tensors[i]->data, w->weights + from, bytes) == 0 &&
                    memcmp(o->first->data + from, w->momentum + from, bytes) == 0;
        assert_true(w->used[i] || same);
        w->rests += !w->used[i];
    }
}

static void on_update(void *user, const nas_optimizer *o, bool done) {
    watched *w = user;
    size_t n = o->offset[o->n];
    if (!done) {
        w->busy = true;
        w->weights = copied(o->tensors[0]->data, n);
        w->momentum = copied(o->first->data, n);
        w->used = calloc(o->n, 1);
        compare_with_passes(w, o);
        w->busy = false;
        return;
    }
    compare_with_before(w, o);
    free(w->weights);
    free(w->momentum);
    free(w->used);
    w->n = 0;
    w->steps++;
}

static watched watch(const char *options, int groups) {
    planted p = planted_new(PLANTED_CLASSES, 640, 2);
    watched w = {.groups = groups};
    p.config.num_epochs = 6;
    nas_trainer *t = w.trainer = trainer_of(&p, options);
    t->on_pass = remember_pass;
    t->on_pass_user = &w;
    nas__watch_updates(&(nas__update_watcher){on_update, &w});
    assert_int_equal(nas_trainer_train(t), NAS_OK);
    nas__watch_updates(NULL);
    assert_int_equal(w.steps, 60);
    nas_trainer_free(t);
    planted_free(&p);
    return w;
}

static void ghost_batches_are_passes_of_their_own(void **unused) {
    (void)unused;
    watched w = watch("ghost=8,r=0.2,trials=1", 4);
    assert_in_range(w.equal_masks, 0, 60); /* of 180: at the beginning nothing is dropped */
    assert_true(w.rests > 20);             /* the mean rate is half of 0.2^(1/4), and once in a while four miss one */
    double rate = pow(0.2, 0.25) * 29.5 / 60;
    near_within(w.dropped, w.paths, rate);
    watch("ghost=10,r=0.2,trials=1", 3); /* of 10 or 11 images */
}

static void one_group_is_the_batch(void **unused) {
    (void)unused;
    watched w = watch("ghost=64,r=0.5,trials=1", 1);
    assert_true(w.rests > 60 && w.pass[0].batch.n == BATCH);
}

/* --- all cells share their paths; everything may be dropped --------------------------------------------------------
 */
static nas_module *small(const char *name, const char *const (*set)[2]) {
    const nas_space_info *info = nas_space_info_find(name);
    char options[1024];
    assert_true(info && info->options_size <= sizeof options);
    assert_int_equal(nas_options_default(info->options, options), NAS_OK);
    for (; (*set)[0]; set++) {
        assert_int_equal(nas_options_set(info->options, options, (*set)[0], (*set)[1]), NAS_OK);
    }
    nas_module *model = nas_space_build(
        name, &(nas_space_config){.channels = 1, .height = 8, .width = 8, .outputs = 2, .options = options});
    assert_no_error();
    return model;
}

static nas_trainer *search_of(nas_module *model, nas_dataset *const data[2], const char *options) {
    return nas_trainer_new(&(nas_trainer_config){.model = model,
                                                 .strategy = "bender",
                                                 .options = options,
                                                 .batch_size = 16,
                                                 .num_epochs = 4,
                                                 .dataset_train = data[0],
                                                 .dataset_valid = data[1],
                                                 .log_frequency = NAS_NONE,
                                                 .threads = 1});
}

static nas_dataset *images(uint64_t seed) {
    float *x = random_floats(seed, 64 * 64), y[64];
    for (int i = 0; i < 64; i++) {
        y[i] = (float)(i % 2);
    }
    nas_dataset *d = nas_dataset_from_arrays(64, 3, (int64_t[]){1, 8, 8}, x, 1, y, 2);
    free(x);
    return d;
}

static void nodes_may_lose_all_their_paths(void **unused) {
    (void)unused;
    static const char *const set[][5][2] = {
        {{"channels", "4"}, {"stages", "2"}, {"cells", "1"}, {"blocks", "3"}, {NULL, NULL}},
        {{"channels", "4"}, {"layers", "3"}, {"nodes", "2"}, {NULL, NULL}},
        {{"channels", "4"}, {"layers", "4"}, {"nodes", "3"}, {NULL, NULL}},
        {{"channels", "4"}, {"cells", "1"}, {NULL, NULL}},
        {{"channels", "4"}, {NULL, NULL}},
        {{"channels", "4"}, {"layers", "3"}, {"nodes", "3"}, {NULL, NULL}},
    };
    static const char *const names[] = {"bender", "darts", "nasnet", "nb201", "macro", "enas-micro"};
    nas_dataset *data[2] = {images(1), images(2)};
    for (int i = 0; i < 6; i++) {
        nas_module *model = small(names[i], set[i]);
        nas_trainer *t = search_of(model, data, "r=0.95,ghost=8,trials=3");
        assert_no_error();
        if (nas_trainer_train(t)) {
            fail_msg("%s: %s", names[i], nas_error_message());
        }
        assert_int_equal(trials_of(t)->n_done, 3);
        nas_trainer_free(t);
        nas_module_free(model);
    }
    nas_dataset_free(data[0]);
    nas_dataset_free(data[1]);
}

static void what_cannot_be_summed_is_refused(void **unused) {
    (void)unused;
    static const char *const none[1][2] = {{NULL, NULL}};
    static const char *const names[] = {"superkernel", "mobilenetv3"};
    nas_dataset *data[2] = {images(1), images(2)};
    for (int i = 0; i < 2; i++) {
        nas_module *model = small(names[i], none);
        assert_null(search_of(model, data, ""));
        assert_error(NAS_UNSUPPORTED, "bender sums candidates");
        nas_module_free(model);
    }
    nas_dataset_free(data[0]);
    nas_dataset_free(data[1]);
}

/* --- found, and found again -----------------------------------------------------------------------------------------
 */
static int found(uint64_t seed, planted_task task, const char *options) {
    planted p = planted_new(task, 3000, seed);
    p.config.num_epochs = 10;
    p.config.optimizer = nas_sgd(.lr = 0.05, .momentum = 0.9, .nesterov = true, .weight_decay = 1e-4);
    p.config.strategy = "bender";
    p.config.options = options;
    nas_trainer *t = nas_trainer_new(&p.config);
    assert_no_error();
    assert_int_equal(nas_trainer_train(t), NAS_OK);
    int right = planted_found(nas_trainer_best(t, NULL), seed);
    nas_trainer_free(t);
    planted_free(&p);
    return right;
}

static void finds_what_was_planted(void **unused) {
    (void)unused;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        int right = found(seed, PLANTED_CLASSES,
                          "ghost=16,r=0.1,search=evolution,population=20,generations=8,top=5,mutants=10,children=10");
        if (right != PLANTED_CHOICES) {
            fail_msg("seed %d: %d of %d right", (int)seed, right, PLANTED_CHOICES);
        }
    }
    /* all of them, in random order: it is the maximum */
    assert_int_equal(found(1, PLANTED_CLASSES, "ghost=16,r=0.1,trials=4096"), PLANTED_CHOICES);
}

static void without_relation_chance_finds_as_much(void **unused) {
    (void)unused;
    int right = 0;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        right += found(seed, PLANTED_SHUFFLED, "ghost=16,r=0.1,population=20,generations=2");
    }
    assert_in_range(right, 0, 13); /* of 24, of which chance finds 6 with a deviation of 2.1 */
}

/* The weights as they began. */
static void untrained_weights_find_nothing(void **unused) {
    (void)unused;
    int right = 0;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        planted p = planted_new(PLANTED_CLASSES, 3000, seed);
        p.config.optimizer = nas_sgd(.lr = 1e-12);
        p.config.strategy = "bender";
        p.config.options = "ghost=16,r=0.1,search=evolution,population=20,generations=2";
        nas_trainer *t = nas_trainer_new(&p.config);
        assert_no_error();
        assert_int_equal(nas_trainer_train(t), NAS_OK);
        right += planted_found(nas_trainer_best(t, NULL), seed);
        nas_trainer_free(t);
        planted_free(&p);
    }
    assert_in_range(right, 0, 13);
}

/* --- evolution against as many random draws --------------------------------------------------------------------- */
static nas_status count_right(const nas_architecture *a, double share, double *metrics, void *user) {
    (void)share;
    metrics[0] = planted_found(a, *(const uint64_t *)user);
    return NAS_OK;
}

/* The mean over ten seeds of the best of 120. */
static double mean_best(const char *search) {
    double sum = 0, best;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        planted p = planted_new(PLANTED_CLASSES, 400, seed);
        char options[128];
        snprintf(options, sizeof options, "evaluate=standalone,search=%s,population=20,generations=5", search);
        p.config.trial = count_right;
        p.config.user = &seed;
        nas_trainer *t = trainer_of(&p, options);
        assert_int_equal(nas_trainer_train(t), NAS_OK);
        assert_int_equal(trials_of(t)->n_done, 120);
        nas_trainer_best(t, &best);
        sum += best / 10;
        nas_trainer_free(t);
        planted_free(&p);
    }
    return sum;
}

static void evolution_beats_as_many_random_draws(void **unused) {
    (void)unused;
    double at_random = mean_best("random"), evolved = mean_best("evolution");
    assert_true(at_random >= 3 && at_random < PLANTED_CHOICES);
    assert_true(evolved > at_random + 0.3);
}

static void resumes_to_the_same_bits(void **unused) {
    (void)unused;
    static const int stops[] = {14, 30 + 17}; /* in the second epoch; at the 17th trial */
    assert_trials_resume(trainer_of, "ghost=8,population=10,generations=2,search=evolution,mutants=4,children=4", 30, 2,
                         stops);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_paths_are_dropped_with_probability_r),
        cmocka_unit_test(ghost_batches_are_passes_of_their_own),
        cmocka_unit_test(one_group_is_the_batch),
        cmocka_unit_test(nodes_may_lose_all_their_paths),
        cmocka_unit_test(what_cannot_be_summed_is_refused),
        cmocka_unit_test(finds_what_was_planted),
        cmocka_unit_test(without_relation_chance_finds_as_much),
        cmocka_unit_test(untrained_weights_find_nothing),
        cmocka_unit_test(evolution_beats_as_many_random_draws),
        cmocka_unit_test(resumes_to_the_same_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
