/* Single-Path NAS: the planted answer, what it is worth without its mechanism, the cost by hand, and what it refuses.
 * labels: slow */
#include "search/planted.h"
#include "search/superkernel_fixture.h"
#include "support.h"

#include "search/block_runtime.h"
#include "search/limits.h"
#include "search/trainer.h"
#include "tape.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- planted ---------------------------------------------------------------------------------------- */
static bool keep_derived(const nas_progress *progress, void *user) {
    nas_architecture **last = user;
    nas_architecture_free(*last);
    *last = nas_architecture_copy(progress->derived);
    return false;
}

typedef struct outcome {
    int found;    /* right choices */
    int large;    /* blocks at their largest */
    int lost;     /* blocks that need all and have less */
    double cost;  /* of the network that is derived, by the strategy's table of multiply-adds */
    double exact; /* and as it is counted */
} outcome;

typedef struct experiment {
    dot_task task;
    uint64_t seed;
    const char *options;
    int64_t samples;
    int epochs;
} experiment;

static outcome look_at(nas_trainer *t, const nas_architecture *a, const experiment *e) {
    outcome o = {.found = dots_found(a, e->task, e->seed)};
    nas__cost_table *table = nas__cost_table_new(
        t->s.space, t->s.model, 3, (int64_t[]){DOT_BLOCKS * DOT_CHANNELS, DOT_SIDE, DOT_SIDE}, NAS__COST_MACS);
    assert_non_null(table);
    o.cost = nas__cost_constant(table);
    for (int i = 0; i < DOT_BLOCKS; i++) {
        int k = __builtin_ctzll(nas_architecture_get(a, i));
        const double d[3] = {k >> 1 & 1, k & 1, k < 4};
        nas__block_runtime r;
        assert_int_equal(nas__block_runtime_read(&r, table, t->s.space, i), NAS_OK);
        o.cost += nas__block_runtime_at(&r, d, NULL);
        o.large += k == 3;
        o.lost += dots_right(e->task, e->seed, i) == 3 && k != 3;
    }
    o.exact = nas__exact_cost(t, NAS__COST_MACS, a);
    nas__cost_table_free(table);
    return o;
}

static outcome search(const experiment *e) {
    nas_dataset *data = dots_data(e->task, e->samples, e->seed), *parts[2];
    nas_module *model = dots_model();
    nas_architecture *last = NULL;
    assert_int_equal(nas_dataset_split(data, e->seed, 2, (const double[]){0.75, 0.25}, parts), NAS_OK);
    nas_trainer_config config = {.model = model,
                                 .strategy = "single-path",
                                 .options = e->options,
                                 .optimizer = nas_sgd(.lr = 0.05, .momentum = 0.9, .weight_decay = 1e-2),
                                 .batch_size = 32,
                                 .num_epochs = e->epochs,
                                 .dataset_train = parts[0],
                                 .dataset_valid = parts[1],
                                 .log_frequency = NAS_NONE,
                                 .score_images = 256,
                                 .seed = e->seed,
                                 .threads = 1,
                                 .on_epoch = keep_derived,
                                 .user = &last};
    nas_trainer *t = nas_trainer_new(&config);
    assert_no_error();
    dots_wire(model);
    assert_int_equal(nas_trainer_train(t), NAS_OK);
    assert_true(nas_architecture_equal(nas_trainer_best(t, NULL), last)); /* what is derived last is exported */
    outcome o = look_at(t, last, e);
    nas_architecture_free(last);
    nas_trainer_free(t);
    nas_free(model);
    nas_dataset_free(parts[0]);
    nas_dataset_free(parts[1]);
    nas_dataset_free(data);
    return o;
}

enum { SAMPLES = 6000, EPOCHS = 12 };

static void all_are_found(dot_task task, const char *options) {
    for (uint64_t seed = 1; seed <= 5; seed++) {
        outcome o = search(&(experiment){task, seed, options, SAMPLES, EPOCHS});
        if (o.found != DOT_BLOCKS) {
            fail_msg("%s, seed %d: %d of %d choices are right", options, (int)seed, o.found, DOT_BLOCKS);
        }
    }
}

static const char planted_options[] = "cost_weight=0.005,threshold_lr=2,norm=sum";

static void finds_the_planted_answer(void **state) {
    (void)state;
    all_are_found(DOTS, planted_options);
}

/* All but skip are equally good there. */
static void finds_the_cheapest_of_equals(void **state) {
    (void)state;
    all_are_found(DOTS_EQUAL, planted_options);
}

static void frozen_thresholds_decide_nothing(void **state) {
    (void)state;
    outcome o = search(&(experiment){DOTS, 1, "threshold_lr=0", 2000, 3});
    assert_int_equal(o.large, DOT_BLOCKS);
}

/* Nothing is worth its cost then: what is right without the pictures' bits is to skip. */
static void shuffled_labels_tell_nothing(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 2; seed++) {
        outcome o = search(&(experiment){DOTS_SHUFFLED, seed, planted_options, SAMPLES, EPOCHS});
        int skips = 0;
        for (int i = 0; i < DOT_BLOCKS; i++) {
            skips += dots_right(DOTS_SHUFFLED, seed, i) == 4;
        }
        assert_true(o.found <= skips + 1);
    }
}

/* Without the cost the blocks that carry bits in their second channel, or far apart, keep what they need for it. */
static void without_cost_what_is_needed_stays(void **state) {
    (void)state;
    outcome o = search(&(experiment){DOTS, 2, "cost_weight=0,threshold_lr=1", 4000, 6});
    assert_int_equal(o.lost, 0);
}

/* The more the cost weighs, the less costs what is derived; and it costs what R says. */
static void cost_falls_with_its_weight(void **state) {
    (void)state;
    static const char *const weights[] = {"0", "0.005", "0.02", "0.1", "1"};
    double before = INFINITY, first = 0;
    for (int i = 0; i < 5; i++) {
        char options[96];
        snprintf(options, sizeof options, "cost_weight=%s,threshold_lr=2,norm=sum", weights[i]);
        outcome o = search(&(experiment){DOTS, 3, options, 3000, 8});
        if (!(o.cost <= before)) {
            fail_msg("weight %s: %g multiply-adds after %g", weights[i], o.cost, before);
        }
        assert_true(fabs(o.cost - o.exact) < 0.1 * o.exact);
        before = o.cost;
        first = i == 0 ? o.cost : first;
    }
    assert_true(before < 0.1 * first); /* of the blocks nothing is left */
}

/* --- the cost alone ---------------------------------------------------------------------------------- */
static nas_tensor *no_loss(nas_tensor *output, nas_tensor *target) {
    (void)target;
    return nas_scale(nas_mean(output), 0);
}

static void cost_alone_leaves_the_least(void **state) {
    (void)state;
    const nas_space_info *info = nas_space_info_find("superkernel");
    char options[256];
    float *x = random_floats(3, 320 * 64), y[320] = {0};
    assert_int_equal(nas_options_default(info->options, options), NAS_OK);
    nas_options_set(info->options, options, "channels", "8");
    nas_options_set(info->options, options, "stages", "2");
    nas_options_set(info->options, options, "blocks", "2");
    nas_module *model = nas_space_build(
        "superkernel", &(nas_space_config){.channels = 1, .height = 8, .width = 8, .outputs = 2, .options = options});
    for (int i = 0; i < 320; i += 2) {
        y[i] = 1;
    }
    nas_dataset *data = nas_dataset_from_arrays(320, 3, (int64_t[]){1, 8, 8}, x, 1, y, 2), *parts[2];
    nas_architecture *last = NULL;
    assert_int_equal(nas_dataset_split(data, 1, 2, (const double[]){0.5, 0.5}, parts), NAS_OK);
    nas_trainer *t = nas_trainer_new(&(nas_trainer_config){.model = model,
                                                           .strategy = "single-path",
                                                           .space_name = "superkernel",
                                                           .options = "warmup=0,cost_weight=1,threshold_lr=4",
                                                           .loss = no_loss,
                                                           .optimizer = nas_sgd(.lr = 0.05, .momentum = 0.9),
                                                           .schedule = {.kind = NAS_SCHEDULE_CONSTANT},
                                                           .batch_size = 16,
                                                           .num_epochs = 30,
                                                           .dataset_train = parts[0],
                                                           .dataset_valid = parts[1],
                                                           .log_frequency = NAS_NONE,
                                                           .seed = 1,
                                                           .threads = 1,
                                                           .on_epoch = keep_derived,
                                                           .user = &last});
    assert_no_error();
    assert_int_equal(nas_trainer_train(t), NAS_OK);
    char *text = info->canonical(last);
    assert_string_equal(text, "k3e3-skip-k3e3-skip");
    free(text);
    nas_architecture_free(last);
    nas_trainer_free(t);
    nas_free(model);
    nas_dataset_free(parts[0]);
    nas_dataset_free(parts[1]);
    nas_dataset_free(data);
    free(x);
}

/* --- the cost by hand --------------------------------------------------------------------------------- */
/* Milliseconds of block 1 in the paper's table: k3e3, k3e6, k5e3, k5e6. */
static const nas__block_runtime table = {{4.49, 9.20, 5.92, 11.59}};

static void runtime_is_the_tables(void **state) {
    (void)state;
    static const double exact[][4] = {/* kernel, expansion, stays, R */
                                      {1, 0, 1, 5.92},
                                      {1, 1, 1, 11.59},
                                      {0, 1, 1, 9.20},
                                      {1, 1, 0, 0},
                                      {0, 0, 0, 0}};
    for (size_t i = 0; i < sizeof exact / sizeof *exact; i++) {
        const double *e = exact[i];
        float d[3] = {(float)e[0], (float)e[1], (float)e[2]};
        assert_true(fabs(nas__block_runtime_at(&table, e, NULL) - e[3]) < 1e-12);
        nas_tape_begin(tape, &(nas_tape_config){0});
        double on_tape = (double)nas_tensor_item(nas__block_runtime_tensor(&table, nas_input(NAS_DIMS(3), d)));
        assert_true(fabs(on_tape - e[3]) < 1e-5);
        nas_tape_reset(tape);
    }
    assert_true(fabs(nas__block_runtime_at(&table, (double[]){0, 0, 1}, NULL) - 5.92 * 9.20 / 11.59) < 1e-12);
}

/* dR/dt of the three thresholds through the operation, against -s'(x) dR/dd, and of the weights' norms. */
static void runtime_differentiates_by_hand(void **state) {
    (void)state;
    enum { C = 6 };
    float w[C * 25], *random = random_floats(8, C * 25), p[C] = {1}, got[3], dw[C * 25];
    const float thresholds[3] = {1.5f, 1, 2};
    double ring = 0, halves[2] = {0};
    for (int i = 0; i < C * 25; i++) {
        int row = i % 25 / 5, column = i % 5;
        w[i] = 0.6f * random[i];
        ring += row % 4 == 0 || column % 4 == 0 ? (double)w[i] * w[i] : 0;
        halves[i / 25 >= C / 2] += (double)w[i] * w[i];
    }
    const double x[3] = {sqrt(ring) - 1.5, sqrt(halves[1]) - 1, sqrt(halves[0]) - 2};
    nas_tensor *t = nas_variable(1, (int64_t[]){3}, NAS_ROLE_ARCH),
               *v = nas_variable(4, (int64_t[]){C, 1, 5, 5}, NAS_ROLE_WEIGHT);
    nas_tensor_write(t, thresholds);
    nas_tensor_write(v, w);
    nas_tape_begin(tape, &(nas_tape_config){.grad = NAS_ROLE_ARCH | NAS_ROLE_WEIGHT});
    nas_superkernel_parts parts;
    assert_true(x[0] > 0 && x[1] > 0 && x[2] > 0);
    assert_true(nas_superkernel(v, nas_input(NAS_DIMS(1, C, 1, 1), p), t, &(nas_superkernel_args){0}, &parts));
    nas_tensor *r = nas__block_runtime_tensor(&table, parts.indicators);
    assert_true(fabs((double)nas_tensor_item(r) - 11.59) < 1e-4); /* hard indicators: all on */
    assert_int_equal(nas_backward(r), NAS_OK);
    nas_tensor_read_grad(t, got);
    nas_tensor_read_grad(v, dw);
    double slope[3], s[3];
    for (int k = 0; k < 3; k++) {
        s[k] = 1 / (1 + exp(-x[k]));
        s[k] *= 1 - s[k];
    }
    double rho = 9.20 / 11.59;
    slope[1] = 11.59 - 5.92;
    slope[2] = 11.59;
    /* d(kernel) also turns the ring inside the other two norms */
    double ring_of[2] = {0};
    for (int i = 0; i < C * 25; i++) {
        int row = i % 25 / 5, column = i % 5;
        ring_of[i / 25 >= C / 2] += row % 4 == 0 || column % 4 == 0 ? (double)w[i] * w[i] : 0;
    }
    slope[0] = 11.59 * (1 - rho) + s[1] * slope[1] * ring_of[1] / sqrt(halves[1]) +
               s[2] * slope[2] * ring_of[0] / sqrt(halves[0]);
    for (int k = 0; k < 3; k++) {
        assert_true(fabs((double)got[k] + s[k] * slope[k]) < 1e-4 * (1 + fabs(s[k] * slope[k])));
    }
    for (int i = 0; i < C * 25; i++) {
        int row = i % 25 / 5, column = i % 5, half = i / 25 >= C / 2;
        double expected = s[2 - half] * slope[2 - half] * (double)w[i] / sqrt(halves[half]);
        expected += row % 4 == 0 || column % 4 == 0 ? s[0] * slope[0] * (double)w[i] / sqrt(ring) : 0;
        assert_true(fabs((double)dw[i] - expected) < 1e-4);
    }
    nas_tape_reset(tape);
    nas_tensor_free(t);
    nas_tensor_free(v);
    free(random);
}

/* --- what it refuses, and is refused ------------------------------------------------------------------- */
static void refuses(nas_module *model, nas_dataset *const parts[2], const char *strategy, const char *part) {
    nas_trainer_config config = {
        .model = model, .strategy = strategy, .batch_size = 8, .dataset_train = parts[0], .dataset_valid = parts[1]};
    assert_null(nas_trainer_new(&config));
    assert_error(NAS_UNSUPPORTED, part);
}

static void other_pairs_are_refused(void **state) {
    (void)state;
    planted p = planted_new(PLANTED_CLASSES, 64, 1);
    refuses(p.model, p.parts, "single-path", "\"quadrant0\" is none");
    planted_free(&p);
    nas_dataset *data = dots_data(DOTS, 64, 1), *parts[2];
    nas_module *model = dots_model();
    assert_int_equal(nas_dataset_split(data, 1, 2, (const double[]){0.5, 0.5}, parts), NAS_OK);
    refuses(model, parts, "darts", "single-path");
    refuses(model, parts, "gdas", "single-path");
    nas_free(model);
    nas_dataset_free(parts[0]);
    nas_dataset_free(parts[1]);
    nas_dataset_free(data);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, open_tape, close_tape)
int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(finds_the_planted_answer),       TEST(finds_the_cheapest_of_equals),
        TEST(cost_falls_with_its_weight),     TEST(frozen_thresholds_decide_nothing),
        TEST(shuffled_labels_tell_nothing),   TEST(without_cost_what_is_needed_stays),
        TEST(cost_alone_leaves_the_least),    TEST(runtime_is_the_tables),
        TEST(runtime_differentiates_by_hand), TEST(other_pairs_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
