/* Limits of memory: what the search's planner says of an architecture is what the exported C file has, to the byte, and
 * nothing beyond the limits is exported. */
#include "support.h"

#include <espalier/strategy.h>

#include "io/in_directory.h"
#include "search/limits.h"
#include "search/trainer.h"

#include <stdio.h>
#include <string.h>

enum { SIDE = 16, SEARCHES = 1, SAMPLES = 31 };

static int set_up(void **state) {
    (void)state;
    return make_place("network.c");
}

static nas_dataset *random_images(int64_t n) {
    float *x = random_floats(2, (size_t)n * SIDE * SIDE), *y = calloc((size_t)n, sizeof *y);
    for (int64_t i = 0; i < n; i++) {
        y[i] = (float)(i % 10);
    }
    nas_dataset *data = nas_dataset_from_arrays(n, 3, (int64_t[]){1, SIDE, SIDE}, x, 1, y, 10);
    free(x);
    free(y);
    return data;
}

static nas_module *build(const char *name, const char *key, const char *value) {
    const nas_space_info *info = nas_space_info_find(name);
    char options[512];
    assert_int_equal(nas_options_default(info->options, options), NAS_OK);
    assert_int_equal(nas_options_set(info->options, options, key, value), NAS_OK);
    return nas_space_build(name, &(nas_space_config){1, SIDE, SIDE, 10, options});
}

static nas_trainer *begin(nas_module *model, nas_dataset *const parts[2], const char *strategy, uint64_t seed,
                          const char *limits) {
    return nas_trainer_new(&(nas_trainer_config){.model = model,
                                                 .strategy = strategy,
                                                 .options = strcmp(strategy, "random") ? NULL : "evaluate=shared",
                                                 .batch_size = 4,
                                                 .num_epochs = 1,
                                                 .budget = {.trials = strcmp(strategy, "random") ? 0 : 3},
                                                 .dataset_train = parts[0],
                                                 .dataset_valid = parts[1],
                                                 .limit_batches = 1,
                                                 .score_steps = NAS_NONE,
                                                 .log_frequency = NAS_NONE,
                                                 .seed = seed,
                                                 .threads = 1,
                                                 .limits = limits});
}

static int by_size(const void *a, const void *b) {
    const int64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* Of random architectures. */
static void medians(nas_trainer *t, int64_t of[2]) {
    int64_t sizes[2][SAMPLES];
    nas_architecture *a = nas_architecture_new(t->s.space);
    nas_rng rng = nas_rng_new(3, 4);
    for (int i = 0; i < SAMPLES; i++) {
        nas_c_memory memory;
        nas_architecture_random(a, &rng);
        assert_int_equal(nas__exact_memory(t, a, &memory, NULL), NAS_OK);
        sizes[0][i] = memory.arena_bytes;
        sizes[1][i] = memory.weight_bytes;
    }
    for (int k = 0; k < 2; k++) {
        qsort(sizes[k], SAMPLES, sizeof **sizes, by_size);
        of[k] = sizes[k][SAMPLES / 2];
    }
    nas_architecture_free(a);
}

/* The least that refused limits name. */
static int64_t least(const char *name, const char *key, const char *value, nas_dataset *const parts[2],
                     const char *kind) {
    char limits[64];
    long long bytes = 0;
    snprintf(limits, sizeof limits, "%s=1", kind);
    nas_module *model = build(name, key, value);
    assert_null(begin(model, parts, "random", 0, limits));
    const char *number = strstr(nas_error_message(), "space has ");
    assert_non_null(number);
    assert_int_equal(sscanf(number, "space has %lld bytes", &bytes), 1);
    nas_error_clear();
    nas_module_free(model);
    return bytes;
}

static void search_within(const char *name, const char *key, const char *value, nas_dataset *const parts[2],
                          const char *strategy, uint64_t seed, const int64_t most[2]) {
    char limits[96];
    snprintf(limits, sizeof limits, "ram=%lld,flash=%lld", (long long)most[0], (long long)most[1]);
    nas_module *model = build(name, key, value);
    nas_trainer *t = begin(model, parts, strategy, seed, limits);
    if (!t) {
        fail_msg("%s, %s: %s", name, limits, nas_error_message());
    }
    assert_int_equal(nas_trainer_train(t), NAS_OK);
    const nas_architecture *best = nas_trainer_best(t, NULL);
    assert_non_null(best);
    double counted[2] = {nas__limit_cost(t, 0, best), nas__limit_cost(t, 1, best)};
    char *json = nas_architecture_json(best, false);
    nas_trainer_free(t);
    nas_c_memory written;
    assert_int_equal(nas_apply_fixed_architecture_text(model, json), NAS_OK);
    assert_int_equal(nas_fold_batch_norm(model, NULL), NAS_OK);
    assert_int_equal(nas_export_c(model, &(nas_export_config){.ndim = 3, .dims = {1, SIDE, SIDE}}, path, &written),
                     NAS_OK);
    assert_true((double)written.arena_bytes == counted[0] && (double)written.weight_bytes == counted[1]);
    assert_true(written.arena_bytes <= most[0] && written.weight_bytes <= most[1]);
    free(json);
    nas_module_free(model);
}

static void check(const char *name, const char *key, const char *value, nas_dataset *const parts[2]) {
    static const char *const strategies[] = {"random", "spos", "gdas"};
    int64_t low[2] = {least(name, key, value, parts, "ram"), least(name, key, value, parts, "flash")}, middle[2];
    nas_module *model = build(name, key, value);
    nas_trainer *t = begin(model, parts, "random", 0, NULL);
    medians(t, middle);
    nas_trainer_free(t);
    nas_module_free(model);
    assert_true(low[0] < middle[0] && low[1] < middle[1]);
    for (uint64_t seed = 0; seed < SEARCHES; seed++) {
        for (int64_t part = 0; part < 3; part++) { /* none, half and all of the way to the median */
            int64_t most[2] = {low[0] + part * (middle[0] - low[0]) / 2, low[1] + part * (middle[1] - low[1]) / 2};
            /* uniform draws do not find the one that has the least */
            uint64_t strategy = part ? (seed + (uint64_t)part) % 3 : 1 + seed % 2;
            search_within(name, key, value, parts, strategies[strategy], seed, most);
        }
    }
}

static void exported_files_are_within_limits(void **state) {
    (void)state;
    nas_dataset *images = random_images(32), *parts[2];
    assert_int_equal(nas_dataset_split(images, 0, 2, (const double[]){0.5, 0.5}, parts), NAS_OK);
    check("macro", "channels", "4", parts);
    check("mobilenet", "width", "0.05", parts);
    nas_dataset_free(parts[0]);
    nas_dataset_free(parts[1]);
    nas_dataset_free(images);
}

static void what_is_computed_while_searching_has_no_size(void **state) {
    (void)state;
    nas_dataset *images = random_images(32), *parts[2];
    assert_int_equal(nas_dataset_split(images, 0, 2, (const double[]){0.5, 0.5}, parts), NAS_OK);
    nas_module *model = build("smash", "blocks", "1");
    assert_null(begin(model, parts, "smash", 0, "flash=4MiB"));
    assert_error(NAS_UNSUPPORTED, "limit flash");
    nas_module_free(model);
    nas_dataset_free(parts[0]);
    nas_dataset_free(parts[1]);
    nas_dataset_free(images);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(exported_files_are_within_limits),
        CASE(what_is_computed_while_searching_has_no_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
