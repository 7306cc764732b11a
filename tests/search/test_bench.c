/* The benchmark's own numbers: products counted by hand, no reorders and no allocations in steady state, and the file
 * from which others repeat the first step. */
#include "support.h"

#include "core/file.h"
#include "io/safetensors.h"
#include "kernels/kernels.h"
#include "search/bench_count.h"
#include "search/bench_kernels.h"
#include "search/bench.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 8 };

static const nas__bench_workload small = {.name = "small",
                                          .summary = "one cell per stage",
                                          .batch = BATCH,
                                          .side = 32,
                                          .space = "nb201",
                                          .space_options = "channels=16,cells=1",
                                          .strategy = "darts"};
static nas__bench_result r;

static int run_small(void **state) {
    (void)state;
    return nas__bench_run(&small, &(nas__bench_config){.steps = 2, .bound = true}, &r);
}

static double convolution(double in, double out, double kernel, double side) {
    return BATCH * in * out * kernel * kernel * side * side;
}

/* The six edges of a cell, or the `edges` first of them. */
static double edges(double channels, double side, int n) {
    return n * (convolution(channels, channels, 1, side) + convolution(channels, channels, 3, side));
}

static double reduction(double in, double side) {
    return convolution(in, 2 * in, 3, side) + convolution(2 * in, 2 * in, 3, side) + convolution(in, 2 * in, 1, side);
}

static double forward_macs(void) {
    return convolution(3, 16, 3, 32) + edges(16, 32, 6) + reduction(16, 16) + edges(32, 16, 6) + reduction(32, 8) +
           edges(64, 8, 6) + convolution(64, 10, 1, 1);
}

static double seen_flops(bool backward) {
    double flops = 0;
    for (int i = 0; i < r.times.n; i++) {
        flops += r.times.ops[i].backward == backward ? r.times.ops[i].flops : 0;
    }
    return flops / r.steps;
}

static void products_are_those_that_run(void **state) {
    (void)state;
    double all = forward_macs(), stem = convolution(3, 16, 3, 32);
    /* Nothing is behind the images; in the step of the architecture nothing is behind the stem either, which three
     * edges read. */
    double data_of_weights = all - stem, data_of_arch = all - stem - edges(16, 32, 3);
    double expected = 2 * (2 * all + data_of_weights + data_of_arch + all);
    assert_true(fabs(r.flops / expected - 1) < 1e-9);
    assert_true(fabs(seen_flops(false) / (2 * 2 * all) - 1) < 1e-9);
}

/* Counted on the graph as it is written: batch norm and ReLU keep nothing, whether they are fused or not. */
static void what_must_be_kept_is_written_and_read(void **state) {
    (void)state;
    nas_module *model = nas_sequential(nas_conv_bn_relu(.in = 3, .out = 16, .kernel = 3),
                                       nas_conv(.in = 16, .out = 8, .kernel = 1, .stride = 2));
    float x[2 * 3 * 8 * 8] = {0}, y[2] = {0};
    nas_batch batch = {.n = 2, .x = x, .y = y};
    nas_dataset_info info = {.ndim = 3, .dims = {3, 8, 8}, .classes = 2, .target_count = 1};
    nas__bench_counts training = {0}, inference = {0};
    nas__bench_counted pass = {.model = model, .batch = &batch, .info = &info, .grad = NAS_ROLE_WEIGHT};
    assert_int_equal(nas__bench_count(&pass, &training), NAS_OK);
    pass.grad = 0;
    assert_int_equal(nas__bench_count(&pass, &inference), NAS_OK);
    double first = 2 * 16 * 64, second = 2 * 8 * 16;
    assert_true(inference.bytes == 2 * sizeof(float) * (first + second));
    assert_true(training.bytes == 2 * inference.bytes);
    assert_true(inference.flops == 2 * (first * 27 + second * 16));
    assert_true(training.flops == 2 * (2 * first * 27 + 3 * second * 16));
    nas_free(model);
}

static void trainings_and_inferences_run(void **state) {
    (void)state;
    nas__bench_workload train = *nas__bench_find("darts-train"), infer = *nas__bench_find("darts-inference");
    nas__bench_result t, i;
    train.space_options = infer.space_options = "channels=4,layers=3";
    assert_int_equal(nas__bench_run(&train, &(nas__bench_config){.steps = 1, .batch = 4}, &t), NAS_OK);
    assert_int_equal(nas__bench_run(&infer, &(nas__bench_config){.steps = 1, .batch = 4}, &i), NAS_OK);
    assert_int_equal(t.batch, 4);
    assert_true(0 < t.first_loss && t.first_loss < 3 * log(10));
    assert_true(i.flops > 0 && 2.5 * i.flops < t.flops && t.flops < 3 * i.flops);
    assert_true(isnan(i.first_loss));
}

static void every_benchmark_has_a_network(void **state) {
    (void)state;
    for (const nas__bench_workload *w = nas__bench_workloads; w->name; w++) {
        assert_ptr_equal(nas__bench_find(w->name), w);
        assert_true(w->batch > 0 && w->side > 0 && (w->space || w->network) &&
                    (w->kind != NAS__BENCH_SEARCH || w->strategy));
    }
}

static void steady_steps_neither_reorder_nor_allocate(void **state) {
    (void)state;
    /* Without AVX oneDNN has backward convolutions for the plain layout alone. */
    assert_true(r.reorders == 0 || strcmp(nas__kernel_table()->isa, "generic") == 0);
    assert_true(r.allocations == 0); /* what is measured between the steps counts for neither */
    assert_in_range(r.peak_bytes, 1, 1 << 28);
    assert_true(0 < r.bound_seconds && r.bound_seconds < r.step_seconds);
    assert_true(0 < r.best_seconds && r.best_seconds <= r.step_seconds);
    double seconds = 0;
    for (int i = 0; i < r.times.n; i++) {
        seconds += r.times.ops[i].seconds;
    }
    assert_true(fabs(seconds / r.times.seconds - 1) < 1e-6 && seconds >= r.steps * r.best_seconds);
}

static void assert_numbers(const nas__safetensors *file, const char *name, size_t count) {
    const nas__array *a = nas__safetensors_find(file, name);
    assert_non_null(a);
    assert_int_equal(nas__array_count(a), count);
}

static void the_first_step_can_be_repeated(void **state) {
    (void)state;
    char *directory = temporary_directory(), *path = nas__join(directory, "first.safetensors");
    nas__bench_result again;
    assert_int_equal(nas__bench_run(&small, &(nas__bench_config){.steps = 2, .first_step = path}, &again), NAS_OK);
    assert_true(again.first_loss == r.first_loss); /* looking at the batches uses none of them up */
    nas__safetensors *file = nas__safetensors_read(path);
    assert_non_null(file);
    assert_numbers(file, "train.x", BATCH * 3 * 32 * 32);
    assert_numbers(file, "arch.y", BATCH);
    assert_numbers(file, "alpha.edge_3_2", 5);
    assert_numbers(file, "grad.alpha.edge_3_2", 5);
    assert_numbers(file, "grad.model.body.0.edge_1_0.nor_conv_3x3.conv.weight", 16 * 16 * 9);
    assert_null(nas__safetensors_find(file, "grad.model.stem.1.running_mean"));
    assert_string_equal(nas__safetensors_metadata(file, "workload"), "small");
    assert_numbers(file, "model.body.0.edge_1_0.nor_conv_3x3.conv.weight", 16 * 16 * 9);
    nas__safetensors_free(file);
    free(path);
    remove_directory(directory);
}

static void unknown_names_are_refused(void **state) {
    (void)state;
    assert_null(nas__bench_find("dart"));
    assert_error(NAS_USAGE, "did you mean \"darts\"?");
    assert_non_null(nas__bench_find("nb201"));
}

typedef struct seen {
    int kernels, depthwise, compared;
} seen;

static void look(const nas__bench_kernel *k, void *user) {
    seen *s = user;
    s->kernels++;
    s->depthwise += strcmp(k->name, "depthwise") == 0;
    s->compared += isfinite(k->ours) && isfinite(k->onednn);
    assert_true(k->bytes > 0 && !(k->ours <= 0) && !(k->onednn <= 0));
}

static void kernels_are_timed(void **state) {
    (void)state;
    seen s = {0};
    assert_int_equal(nas__bench_kernels(true, look, &s), NAS_OK);
    assert_true(s.depthwise == 10 * 3 && s.kernels > s.depthwise + 12);
    assert_true(s.compared > 0 || strcmp(nas__kernel_table()->isa, "generic") == 0);
}

static void count_precision(const nas__bench_precision *row, void *user) {
    assert_true(row->f32 > 0 && row->bf16 > 0);
    ++*(int *)user;
}

static void bf16_is_timed_and_steady(void **state) {
    (void)state;
    int n = 0;
    nas__bench_result b;
    setenv("ESPALIER_BF16", "force", 1);
    assert_int_equal(nas__bench_run(&small, &(nas__bench_config){.steps = 2, .precision = NAS_BF16}, &b), NAS_OK);
    if (!nas_bf16_missing()) {
        assert_int_equal(nas__bench_precisions(true, count_precision, &n), NAS_OK);
        assert_int_equal(n, 4);
        assert_non_null(strstr(b.precision, "shapes of dense convolutions"));
    }
    assert_true(b.reorders == 0 && b.allocations == 0);
    assert_true(fabs(b.first_loss - r.first_loss) < 0.02);
    unsetenv("ESPALIER_BF16");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_are_those_that_run),
        cmocka_unit_test(what_must_be_kept_is_written_and_read),
        cmocka_unit_test(trainings_and_inferences_run),
        cmocka_unit_test(every_benchmark_has_a_network),
        cmocka_unit_test(kernels_are_timed),
        cmocka_unit_test(bf16_is_timed_and_steady),
        cmocka_unit_test(steady_steps_neither_reorder_nor_allocate),
        cmocka_unit_test(the_first_step_can_be_repeated),
        cmocka_unit_test(unknown_names_are_refused),
    };
    return cmocka_run_group_tests(tests, run_small, NULL);
}
