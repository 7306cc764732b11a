/* Searches and trainings in bf16 beside the same in f32: losses, what is preferred, and resuming bit for bit with the
 * choices that were made. ESPALIER_BF16=force has vectors stand in where the processor has no bf16. */
#include "search/planted.h"
#include "search/trainer.h"
#include "support.h"

#include "core/file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SAMPLES = 256, EPOCHS = 3, STEPS = 4, SIDE = 8, MOST = 64 };

/* --- a small NAS-Bench-201 and its data -------------------------------------------------------------- */
static nas_module *small_space(void) {
    const nas_space_info *info = nas_space_info_find("nb201");
    void *options = malloc(info->options_size);
    assert_int_equal(nas_options_default(info->options, options), NAS_OK);
    assert_int_equal(nas_options_set(info->options, options, "channels", "16"), NAS_OK);
    assert_int_equal(nas_options_set(info->options, options, "cells", "1"), NAS_OK);
    nas_module *model = nas_space_build(
        "nb201", &(nas_space_config){.channels = 1, .height = SIDE, .width = SIDE, .outputs = 2, .options = options});
    free(options);
    assert_no_error();
    return model;
}

/* Stripes across or upright, in noise. */
static nas_dataset *stripes(void) {
    enum { PIXELS = SIDE * SIDE };
    float *x = random_floats(8, (size_t)SAMPLES * PIXELS), y[SAMPLES];
    for (int i = 0; i < SAMPLES; i++) {
        y[i] = (float)(i % 2);
        for (int p = 0; p < PIXELS; p++) {
            x[i * PIXELS + p] = 0.5f + 0.3f * x[i * PIXELS + p] + ((i % 2 ? p % SIDE : p / SIDE) % 2 ? 0.15f : -0.15f);
        }
    }
    nas_dataset *d = nas_dataset_from_arrays(SAMPLES, 3, (int64_t[]){1, SIDE, SIDE}, x, 1, y, 2);
    free(x);
    return d;
}

/* --- one run ----------------------------------------------------------------------------------------- */
typedef struct run {
    step_losses losses;
    nas_trainer *trainer;
    bool choose; /* after the first step: every other shape in bf16, the others not, whatever was measured */
    int stop_epoch;
    double probabilities[MOST];
    int n_probabilities;
    uint64_t weights;
    size_t shapes, in_bf16;
    char *best;
} run;

static bool on_step(const nas_progress *progress, void *user) {
    run *r = user;
    nas__precision *p = r->trainer ? r->trainer->precision : NULL;
    for (size_t i = 0; r->choose && i < p->n; i++) {
        p->choices[i].verdict = i % 2 ? NAS__F32_IS_FASTER : NAS__IN_BF16;
    }
    r->choose = false;
    return record_loss(progress, &r->losses);
}

static bool on_epoch(const nas_progress *progress, void *user) { return progress->epoch == ((run *)user)->stop_epoch; }

static void look_at(run *r) {
    nas_trainer *t = r->trainer;
    for (int i = 0; i < nas_space_size(t->s.space); i++) {
        double *p = r->probabilities + r->n_probabilities;
        if (t->s.strategy->probabilities(&t->s, i, p)) {
            r->n_probabilities += nas_space_choice(t->s.space, i)->n;
        }
        assert_true(r->n_probabilities < MOST - 8);
    }
    r->weights = weights_hash(t->config.model, EVERYTHING);
    r->shapes = t->precision->n;
    for (size_t i = 0; i < r->shapes; i++) {
        r->in_bf16 += t->precision->choices[i].verdict == NAS__IN_BF16;
    }
    r->best = nas_architecture_json(nas_trainer_best(t, NULL), false);
}

static run search(nas_precision precision, uint64_t seed, const char *directory, bool resume, int stop_epoch,
                  bool choose) {
    run r = {.stop_epoch = stop_epoch, .choose = choose};
    nas_dataset *data = stripes(), *parts[2];
    assert_int_equal(nas_dataset_split(data, 1, 2, (const double[]){0.5, 0.5}, parts), NAS_OK);
    nas_trainer_config config = {.model = small_space(),
                                 .strategy = "darts",
                                 .space_name = "nb201",
                                 .optimizer = nas_sgd(.lr = 0.05, .momentum = 0.9),
                                 .batch_size = SAMPLES / 2 / STEPS,
                                 .num_epochs = EPOCHS,
                                 .score_steps = NAS_NONE,
                                 .dataset_train = parts[0],
                                 .dataset_valid = parts[1],
                                 .log_frequency = NAS_NONE,
                                 .seed = seed,
                                 .threads = 1,
                                 .precision = precision,
                                 .run_dir = directory,
                                 .resume = resume,
                                 .on_step = on_step,
                                 .on_epoch = on_epoch,
                                 .user = &r};
    r.trainer = nas_trainer_new(&config);
    assert_no_error();
    assert_int_equal(nas_trainer_train(r.trainer), NAS_OK);
    look_at(&r);
    nas_trainer_free(r.trainer);
    nas_free(config.model);
    nas_dataset_free(parts[0]);
    nas_dataset_free(parts[1]);
    nas_dataset_free(data);
    return r;
}

static run fit(nas_precision precision, const char *architecture, const char *directory, bool resume, int stop_epoch) {
    run r = {.stop_epoch = stop_epoch};
    nas_dataset *data = stripes();
    nas_fit_config config = {.model = small_space(),
                             .batch_size = SAMPLES / 4,
                             .num_epochs = EPOCHS,
                             .dataset_train = data,
                             .log_frequency = NAS_NONE,
                             .seed = 4,
                             .threads = 1,
                             .precision = precision,
                             .run_dir = directory,
                             .resume = resume,
                             .on_step = on_step,
                             .on_epoch = on_epoch,
                             .user = &r};
    assert_int_equal(nas_apply_fixed_architecture_text(config.model, architecture), NAS_OK);
    assert_int_equal(nas_fit(&config, NULL), NAS_OK);
    r.weights = weights_hash(config.model, EVERYTHING);
    nas_free(config.model);
    nas_dataset_free(data);
    return r;
}

/* --- comparisons -------------------------------------------------------------------------------------- */
/* Mean distance of the losses of all steps. */
static double apart(const run *a, const run *b) {
    double sum = 0;
    assert_int_equal(a->losses.n, b->losses.n);
    for (int i = 0; i < a->losses.n; i++) {
        assert_true(isfinite(b->losses.values[i]));
        sum += fabs(a->losses.values[i] - b->losses.values[i]);
    }
    return sum / a->losses.n;
}

/* Of all pairs of candidates of the same choice (five each), those that both order alike. */
static double ordered_alike(const run *a, const run *b) {
    enum { CANDIDATES = 5 };
    int alike = 0, pairs = 0;
    assert_int_equal(a->n_probabilities, 6 * CANDIDATES);
    for (int choice = 0; choice < a->n_probabilities; choice += CANDIDATES) {
        for (int i = 0; i < CANDIDATES; i++) {
            for (int k = i + 1; k < CANDIDATES; k++) {
                const double *x = a->probabilities + choice, *y = b->probabilities + choice;
                alike += (x[i] > x[k]) == (y[i] > y[k]);
                pairs++;
            }
        }
    }
    return (double)alike / pairs;
}

static void a_search_is_that_of_f32(void **state) {
    (void)state;
    run f32 = search(NAS_F32, 1, NULL, false, 0, false), bf16 = search(NAS_BF16, 1, NULL, false, 0, false);
    run other = search(NAS_F32, 2, NULL, false, 0, false);
    assert_int_equal(f32.losses.n, EPOCHS * STEPS);
    assert_int_equal(f32.shapes, 0);
    assert_true((bf16.in_bf16 > 0) == !nas_bf16_missing());
    assert_true(apart(&f32, &bf16) < 0.2 * apart(&f32, &other));
    assert_true(ordered_alike(&f32, &bf16) > 0.9);
    assert_true(ordered_alike(&f32, &bf16) > ordered_alike(&f32, &other));
    free(f32.best), free(bf16.best), free(other.best);
}

/* The same bits when it is interrupted, with choices that no measuring would make again. */
static void a_resumed_search_keeps_its_choices(void **state) {
    (void)state;
    char *directory = temporary_directory(), *once = nas__join(directory, "once"),
         *twice = nas__join(directory, "twice");
    run whole = search(NAS_AUTO, 1, once, false, 0, true);
    run first = search(NAS_AUTO, 1, twice, false, 1, true), rest = search(NAS_AUTO, 1, twice, true, 0, false);
    assert_int_equal(first.losses.n, STEPS);
    assert_int_equal(rest.losses.n, (EPOCHS - 1) * STEPS);
    assert_same_losses(whole.losses.values, first.losses.values, STEPS, "first epoch");
    assert_same_losses(whole.losses.values + STEPS, rest.losses.values, rest.losses.n, "the others");
    assert_int_equal(whole.weights, rest.weights);
    assert_true(!nas_bf16_missing() == (whole.shapes > 4 && whole.in_bf16 > 1));
    assert_int_equal(rest.in_bf16, whole.in_bf16);
    free(whole.best), free(first.best), free(rest.best), free(once), free(twice);
    remove_directory(directory);
}

static void a_training_is_that_of_f32_and_resumes(void **state) {
    (void)state;
    const char *architecture = "{\"edge_1_0\":\"nor_conv_3x3\",\"edge_2_0\":\"nor_conv_1x1\",\"edge_2_1\":"
                               "\"nor_conv_3x3\",\"edge_3_0\":\"skip_connect\",\"edge_3_1\":\"nor_conv_1x1\","
                               "\"edge_3_2\":\"nor_conv_3x3\"}";
    char *directory = temporary_directory(), *path = nas__join(directory, "run");
    run f32 = fit(NAS_F32, architecture, NULL, false, 0), bf16 = fit(NAS_BF16, architecture, NULL, false, 0);
    run first = fit(NAS_BF16, architecture, path, false, 2), rest = fit(NAS_BF16, architecture, path, true, 0);
    assert_true(apart(&f32, &bf16) < 0.05);
    assert_true(nas_bf16_missing() || f32.weights != bf16.weights);
    assert_int_equal(first.losses.n, 2 * STEPS);
    assert_same_losses(bf16.losses.values + 2 * STEPS, rest.losses.values, STEPS, "resumed");
    assert_int_equal(bf16.weights, rest.weights);
    free(path);
    remove_directory(directory);
}

static nas_module *new_model(void *user) {
    (void)user;
    return small_space();
}

/* Architectures that are trained alone, too. */
static void trials_are_computed_like_their_search(void **state) {
    (void)state;
    run r = {0};
    nas_dataset *data = stripes(), *parts[2];
    assert_int_equal(nas_dataset_split(data, 1, 2, (const double[]){0.5, 0.5}, parts), NAS_OK);
    nas_trainer_config config = {.model = small_space(),
                                 .strategy = "random",
                                 .batch_size = SAMPLES / 4,
                                 .num_epochs = 1,
                                 .dataset_train = parts[0],
                                 .dataset_valid = parts[1],
                                 .log_frequency = NAS_NONE,
                                 .seed = 1,
                                 .threads = 1,
                                 .precision = NAS_BF16,
                                 .budget = {.trials = 1},
                                 .new_model = new_model};
    r.trainer = nas_trainer_new(&config);
    assert_no_error();
    assert_int_equal(nas_trainer_train(r.trainer), NAS_OK);
    assert_true((r.trainer->precision->n > 0) == !nas_bf16_missing());
    nas_trainer_free(r.trainer);
    nas_free(config.model);
    nas_dataset_free(parts[0]);
    nas_dataset_free(parts[1]);
    nas_dataset_free(data);
}

int main(void) {
    setenv("ESPALIER_BF16", "force", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_search_is_that_of_f32),
        cmocka_unit_test(a_resumed_search_keeps_its_choices),
        cmocka_unit_test(a_training_is_that_of_f32_and_resumes),
        cmocka_unit_test(trials_are_computed_like_their_search),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
