/* The search loop, whatever the strategy: determinism, scoring that disturbs nothing, disjoint parts, limits. What a
 * user brings and sees is in test_trainer_user.c, errors in test_trainer_errors.c, resuming in test_resume.c. */
#include "search/planted.h"
#include "support.h"

#include "search/trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static nas_trainer *trained(const nas_trainer_config *config) {
    nas_trainer *t = nas_trainer_new(config);
    assert_no_error();
    assert_int_equal(nas_trainer_train(t), NAS_OK);
    return t;
}

static int64_t size_of(const nas_dataset *d) { return nas_dataset_describe(d)->size; }

/* --- determinism ---------------------------------------------------------------------------------- */
typedef struct result {
    step_losses losses;
    uint64_t weights;
    char *json;
    double score;
} result;

static result search(uint64_t seed, int threads, int steps, const char *options) {
    result r = {0};
    planted p = planted_new(PLANTED_CLASSES, 320, 2);
    p.config.seed = seed;
    p.config.threads = threads;
    p.config.limit_batches = steps;
    p.config.options = options;
    p.config.on_step = record_loss;
    p.config.user = &r.losses;
    nas_trainer *t = trained(&p.config);
    r.weights = weights_hash(p.model, EVERYTHING);
    r.json = nas_architecture_json(nas_trainer_best(t, &r.score), true);
    nas_trainer_free(t);
    planted_free(&p);
    return r;
}

static void assert_repeats(int threads, const char *options, int steps) {
    result a = search(11, threads, steps, options), b = search(11, threads, steps, options),
           c = search(12, threads, steps, options);
    assert_int_equal(a.losses.n, 3 * steps);
    assert_int_equal(b.losses.n, 3 * steps);
    assert_same_losses(a.losses.values, b.losses.values, 3 * steps, "same seed");
    assert_true(a.weights == b.weights);
    assert_string_equal(a.json, b.json);
    assert_true(a.score == b.score);
    assert_true(c.weights != a.weights);
    assert_true(c.losses.values[0] != a.losses.values[0]);
    free(a.json);
    free(b.json);
    free(c.json);
}

static void same_seed_same_search(void **state) {
    (void)state;
    assert_repeats(1, "order=1", 5);
    assert_repeats(1, "order=2", 5);
    assert_repeats(2, "order=1",
                   1); /* few steps: two threads on a busy machine wait for each other at every operation */
}

/* --- scoring -------------------------------------------------------------------------------------- */
typedef struct scoring {
    step_losses losses;
    nas_trainer *trainer;
    nas_dataset *data;
    bool scores;
    int scored;
} scoring;

static bool score_some(const nas_progress *progress, void *user) {
    scoring *s = user;
    record_loss(progress, &s->losses);
    nas_search *search_ = &s->trainer->s;
    nas_rng rng = nas_rng_new(5, (uint64_t)s->losses.n);
    nas_architecture *a = nas_architecture_new(search_->space);
    uint64_t before = weights_hash(search_->model, EVERYTHING);
    for (int i = 0; s->scores && i < 2; i++) {
        double score = NAN, again = NAN;
        nas_architecture_random(a, &rng);
        assert_int_equal(nas_search_score(search_, a, &score), NAS_OK);
        assert_true(score >= 0 && score <= 1);
        assert_int_equal(nas_search_score(search_, a, &again), NAS_OK);
        assert_true(score == again);
        nas__score_forget(s->trainer);
        assert_int_equal(nas_search_score(search_, a, &again), NAS_OK);
        assert_true(score == again);
        s->scored++;
    }
    nas_evaluation e;
    assert_int_equal(nas_evaluate(&(nas_evaluate_config){.model = search_->model, .data = s->data}, &e), NAS_OK);
    assert_true(weights_hash(search_->model, EVERYTHING) == before);
    nas_architecture_free(a);
    return false;
}

static uint64_t search_and_score(bool scores, scoring *s) {
    planted p = planted_new(PLANTED_CLASSES, 320, 2);
    *s = (scoring){.data = p.parts[1], .scores = scores};
    p.config.on_step = score_some;
    p.config.user = s;
    s->trainer = nas_trainer_new(&p.config);
    assert_int_equal(nas_trainer_train(s->trainer), NAS_OK);
    uint64_t weights = weights_hash(p.model, EVERYTHING);
    nas_trainer_free(s->trainer);
    planted_free(&p);
    return weights;
}

/* A search that scores other architectures after every step is, but for that, the search without. */
static void scoring_disturbs_nothing(void **state) {
    (void)state;
    static scoring with, without;
    uint64_t a = search_and_score(true, &with), b = search_and_score(false, &without);
    assert_int_equal(with.scored, 30);
    assert_int_equal(without.scored, 0);
    assert_int_equal(with.losses.n, without.losses.n);
    assert_same_losses(with.losses.values, without.losses.values, with.losses.n, "with scoring");
    assert_true(a == b);
}

static const nas_metric two_metrics[] = {
    {.name = "acc1", .measure = nas_top1_accuracy}, {.name = "acc5", .measure = nas_top5_accuracy}, {.name = NULL}};

static double constant_metric(const nas_tensor *output, const nas_tensor *target) {
    (void)output, (void)target;
    return 0.375;
}

/* The derived architecture was scored before under the same weights: all of its metrics are remembered, not only the
 * first. */
static bool score_derived(const nas_progress *progress, void *user) {
    nas_trainer *t = *(nas_trainer **)user;
    if (progress->step == progress->steps_per_epoch) {
        nas_architecture *a = nas_architecture_new(t->s.space);
        double score;
        assert_int_equal(t->s.strategy->derive(&t->s, a), NAS_OK);
        assert_int_equal(nas_search_score(&t->s, a, &score), NAS_OK);
        nas_architecture_free(a);
    }
    return false;
}

static void all_metrics_are_remembered(void **state) {
    (void)state;
    nas_metric metrics[3];
    memcpy(metrics, two_metrics, sizeof metrics);
    metrics[1].measure = constant_metric;
    planted p = planted_new(PLANTED_CLASSES, 128, 2);
    nas_trainer *t;
    p.config.metrics = metrics;
    p.config.num_epochs = 1;
    p.config.on_step = score_derived;
    p.config.user = &t;
    t = nas_trainer_new(&p.config);
    assert_int_equal(nas_trainer_train(t), NAS_OK);
    assert_int_equal(t->evaluations, 1);
    assert_float_equal(t->derived_metrics[1], 0.375, 1e-12);
    nas_trainer_free(t);
    planted_free(&p);
}

/* The score is that of the derived path alone, with batch statistics recalibrated on the first training batches: here
 * by the same passes over the same network, sample by sample. */
static void score_by_hand(void **state) {
    (void)state;
    planted p = planted_new(PLANTED_NUMBERS, 640, 2);
    p.config.num_epochs = 2; /* nothing is left of the calibration after the first */
    p.config.score_steps = NAS_NONE;
    nas_trainer *t = trained(&p.config);
    nas_tape *tape = nas_tape_new();
    double squares = 0;
    nas_architecture_apply(t->derived, t->s.space);
    nas_calibration_reset(p.model);
    for (int b = 0; b < 8; b++) {
        float x[32 * PLANTED_VALUES];
        for (int i = 0; i < 32; i++) {
            assert_int_equal(nas_dataset_read(p.parts[0], 32 * b + i, x + i * PLANTED_VALUES, NULL), NAS_OK);
        }
        nas_tape_begin(tape, &(nas_tape_config){.bn = NAS_BN_CALIBRATE});
        assert_non_null(nas_forward(p.model, nas_input(2, (int64_t[]){32, PLANTED_VALUES}, x)));
        nas_tape_reset(tape);
    }
    for (int i = 0; i < size_of(t->valid); i++) {
        float x[PLANTED_VALUES], y;
        assert_int_equal(nas_dataset_read(t->valid, i, x, &y), NAS_OK);
        nas_tape_begin(tape, &(nas_tape_config){.bn = NAS_BN_CALIBRATED});
        double error = nas_tensor_item(nas_forward(p.model, nas_input(2, (int64_t[]){1, PLANTED_VALUES}, x))) - y;
        nas_tape_reset(tape);
        squares += error * error;
    }
    assert_float_equal(t->derived_score, sqrt(squares / (double)size_of(t->valid)), 1e-5);
    nas_tape_free(tape);
    nas_trainer_free(t);
    planted_free(&p);
}

/* --- parts ---------------------------------------------------------------------------------------- */
enum { COUNTED = 400 };
static int reads[COUNTED];

static nas_status read_counted(void *user, int64_t index, float *x, float *y) {
    __atomic_add_fetch(&reads[index], 1, __ATOMIC_RELAXED);
    return nas_dataset_read(user, index, x, y);
}

static int64_t count_read(nas_dataset *part) {
    int64_t n, found = 0;
    const int32_t *indices = nas_dataset_indices(part, &n);
    for (int64_t i = 0; i < n; i++) {
        found += __atomic_load_n(&reads[indices[i]], __ATOMIC_RELAXED) > 0; /* the loader still prefetches */
    }
    return found;
}

/* Every sample that was handed over is used, and of the part that was not, none is ever read. */
static void parts_are_what_was_given(void **state) {
    (void)state;
    planted p = planted_new(PLANTED_CLASSES, COUNTED, 2);
    nas_dataset *counted = nas_dataset_new(nas_dataset_describe(p.data), read_counted, NULL, p.data), *parts[4];
    assert_int_equal(nas_dataset_split(counted, 1, 4, (const double[]){0.4, 0.2, 0.2, 0.2}, parts), NAS_OK);
    memset(reads, 0, sizeof reads);
    p.config.dataset_train = parts[0];
    p.config.dataset_valid = parts[1];
    p.config.dataset_score = parts[2];
    p.config.batch_size = 20;
    nas_trainer *t = trained(&p.config);
    assert_int_equal(size_of(t->arch), size_of(parts[1]));
    assert_int_equal(size_of(t->valid), size_of(parts[2]));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(count_read(parts[i]), size_of(parts[i]));
    }
    assert_int_equal(count_read(parts[3]), 0);
    nas_trainer_free(t);
    for (int i = 0; i < 4; i++) {
        nas_dataset_free(parts[i]);
    }
    nas_dataset_free(counted);
    planted_free(&p);
}

static void valid_is_halved(void **state) {
    (void)state;
    planted p = planted_new(PLANTED_CLASSES, 320, 2);
    nas_trainer *t = nas_trainer_new(&p.config);
    assert_no_error();
    bool taken[320] = {0};
    nas_dataset *parts[3] = {p.parts[0], t->arch, t->valid};
    for (int i = 0; i < 3; i++) {
        int64_t n;
        const int32_t *indices = nas_dataset_indices(parts[i], &n);
        assert_int_equal(n, i == 0 ? 160 : 80);
        for (int64_t k = 0; k < n; k++) {
            assert_false(taken[indices[k]]);
            taken[indices[k]] = true;
        }
    }
    nas_trainer_free(t);
    planted_free(&p);
}

static void limits(void **state) {
    (void)state;
    planted p = planted_new(PLANTED_CLASSES, 320, 2);
    step_losses losses = {0};
    p.config.limit_batches = 2;
    p.config.on_step = record_loss;
    p.config.user = &losses;
    nas_trainer_free(trained(&p.config));
    assert_int_equal(losses.n, 3 * 2);
    planted_free(&p);
}

static int64_t scored(int64_t score_images, int64_t limit_batches) {
    planted p = planted_new(PLANTED_CLASSES, 1200, 2); /* 300 to score with */
    p.config.score_images = score_images;
    p.config.limit_batches = limit_batches;
    nas_trainer *t = nas_trainer_new(&p.config);
    assert_no_error();
    int64_t images = 0;
    for (const nas_batch *batch; (batch = nas_loader_next(t->valid_loader)) != NULL;) {
        images += batch->n;
    }
    assert_int_equal(images, t->score_images);
    nas_trainer_free(t);
    planted_free(&p);
    return images;
}

static void scored_images(void **state) {
    (void)state;
    assert_int_equal(scored(0, 0), 300);
    assert_int_equal(scored(10, 0), 10);
    assert_int_equal(scored(280, 0), 280);
    assert_int_equal(scored(5000, 0), 300);
    assert_int_equal(scored(0, 1), 256); /* four batches of five */
}

/* A budget of trials ends the search when so many architectures were evaluated. */
static void trials(void **state) {
    (void)state;
    planted p = planted_new(PLANTED_CLASSES, 320, 2);
    step_losses losses = {0};
    p.config.budget.trials = 2;
    p.config.on_step = record_loss;
    p.config.user = &losses;
    nas_trainer *t = trained(&p.config);
    assert_int_equal(t->evaluations, 2);
    assert_int_equal(losses.n, 2 * 5);
    assert_false(nas_trainer_stopped(t));
    nas_trainer_free(t);
    planted_free(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_seed_same_search),
        cmocka_unit_test(scoring_disturbs_nothing),
        cmocka_unit_test(all_metrics_are_remembered),
        cmocka_unit_test(score_by_hand),
        cmocka_unit_test(parts_are_what_was_given),
        cmocka_unit_test(valid_is_halved),
        cmocka_unit_test(limits),
        cmocka_unit_test(scored_images),
        cmocka_unit_test(trials),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
