/* The benchmark's own numbers: products counted by hand, no reorders and no allocations in steady state, and the file
 * from which others repeat the first step. */
#include "support.h"

#include "core/file.h"
#include "io/safetensors.h"
#include "kernels/kernels.h"
#include "search/bench.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 64 };

static const nas__bench_workload small = {"small", "one cell per stage", "nb201", "darts", "channels=16,cells=1"};
static nas__bench_result r;

static int run_small(void **state) {
    (void)state;
    return nas__bench_run(&small, &(nas__bench_config){.steps = 2}, &r);
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

static double op_flops(const char *name, bool backward) {
    double flops = 0;
    for (int i = 0; i < r.n_ops; i++) {
        flops += strcmp(r.ops[i].name, name) == 0 && r.ops[i].backward == backward ? r.ops[i].flops : 0;
    }
    return flops;
}

static void products_are_those_that_run(void **state) {
    (void)state;
    double all = forward_macs(), stem = convolution(3, 16, 3, 32);
    /* Nothing is behind the images; in the step of the architecture nothing is behind the stem either, which three
     * edges read. */
    double data_of_weights = all - stem, data_of_arch = all - stem - edges(16, 32, 3);
    double expected = 2 * (2 * all + data_of_weights + data_of_arch + all);
    assert_true(fabs(r.flops / expected - 1) < 1e-9);
    assert_true(fabs((op_flops("conv", false) + op_flops("linear", false)) / (2 * 2 * all) - 1) < 1e-9);
    assert_true(r.bytes > 0);
}

static void steady_steps_neither_reorder_nor_allocate(void **state) {
    (void)state;
    /* Without AVX oneDNN has backward convolutions for the plain layout alone. */
    assert_true(r.reorders == 0 || strcmp(nas__kernel_table()->isa, "generic") == 0);
    assert_true(r.allocations == 0);
    assert_true(r.peak_bytes > 0);
    assert_true(0 < r.best_seconds && r.best_seconds <= r.step_seconds);
    double seconds = 0;
    for (int i = 0; i < r.n_ops; i++) {
        seconds += r.ops[i].seconds;
    }
    assert_true(0.5 * r.best_seconds < seconds && seconds <= 2 * r.step_seconds);
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_are_those_that_run),
        cmocka_unit_test(steady_steps_neither_reorder_nor_allocate),
        cmocka_unit_test(the_first_step_can_be_repeated),
        cmocka_unit_test(unknown_names_are_refused),
    };
    return cmocka_run_group_tests(tests, run_small, NULL);
}
