/* Tables of latencies: what is one entry, how a device's times come back from them, and files. Times are those of a
 * device that is made up, so that it is known what must come out. */
#include "support.h"

#include "hardware/profile.h"

#include "core/file.h"
#include "core/hash.h"
#include "hardware/stopwatch.h"
#include "space/space.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static nas_module *make_cells(void *user) {
    (void)user;
    const nas_space_info *info = nas_space_info_find("nb201");
    char options[256];
    assert_int_equal(nas_options_default(info->options, options), NAS_OK);
    assert_int_equal(nas_options_set(info->options, options, "channels", "4"), NAS_OK);
    assert_int_equal(nas_options_set(info->options, options, "cells", "2"), NAS_OK);
    return nas_space_build("nb201", &(nas_space_config){3, 16, 16, 10, options});
}

/* --- a device ------------------------------------------------------------------------------------------ */
/* Each kind of candidate takes a time of its own, and somebody else takes a quarter of it again on its behalf; pools
 * take nothing themselves. All is 20 % slower than the canary says, and slower still in every second pass, which the
 * canary sees. */
typedef struct device {
    nas__profile *table;
    const nas__profile_places *places;
    double drift, work;
    int passes;
} device;

static double work_of(const nas__profile_entry *e) { return 1000 + (double)(nas__hash_text(e->op) % 9000); }

static void *device_open(void *user, const nas__profile_config *config, nas_module *model,
                         const nas__profile_places *places) {
    device *d = user;
    (void)model;
    d->table = config->profile;
    d->places = places;
    return d;
}

static nas_status device_pass(void *opened, double *parts, double *whole) {
    device *d = opened;
    d->drift = d->passes++ % 2 ? 3 : 1;
    *whole = 5000 * d->drift;
    for (size_t i = 0; i < d->places->n; i++) {
        const nas__profile_entry *e = &d->table->entries[d->places->of[i].entry];
        bool pool = strstr(e->op, "pool") != NULL;
        parts[i] = d->places->of[i].chosen ? (pool ? 0 : d->drift * work_of(e)) : NAN;
        *whole += d->places->of[i].chosen ? 1.25 * d->drift * work_of(e) : 0;
    }
    return NAS_OK;
}

static void device_close(void *opened) { (void)opened; }

static double device_canary(void *user) { return 700 * ((device *)user)->drift; }

static nas__profile_config config_of(nas__profile *table, const nas__profile_engine *engine) {
    return (nas__profile_config){.profile = table,
                                 .make = make_cells,
                                 .engine = engine,
                                 .ndim = 3,
                                 .dims = {3, 16, 16},
                                 .samples = 8,
                                 .seconds = 600};
}

static void times_of_a_device_come_back(void **state) {
    (void)state;
    device d = {.drift = 1};
    nas__profile_engine engine = {device_open, device_pass, device_close, device_canary, &d};
    nas__profile *table = nas__profile_new("a machine", "an engine", 1, 1);
    nas__profile_config config = config_of(table, &engine);
    double predicted[30], measured[30];
    nas__profile_errors errors;
    assert_int_equal(nas__profile_measure(&config), NAS_OK);
    assert_int_equal(nas__profile_validate(&config, 30, predicted, measured), NAS_OK);
    nas__profile_errors_of(&errors, 30, predicted, measured);
    assert_true(errors.spearman > 0.99);
    assert_true(errors.mean < 0.02); /* though pools seem to take nothing */
    assert_true(fabs(table->canary_ns - 700) < 1);
    for (size_t i = 0; i < table->n_entries; i++) {
        const nas__profile_entry *e = &table->entries[i];
        assert_true(e->n >= 8);
        if (!strstr(e->op, "pool") && !strstr(e->op, "around")) {
            assert_true(fabs(nas__entry_ns(e) / work_of(e) - 1) < 1e-9); /* drift is gone */
        }
    }
    nas__profile_free(table);
}

/* --- entries ------------------------------------------------------------------------------------------- */
static void same_operations_at_the_same_shape_are_one_entry(void **state) {
    (void)state;
    nas_module *model = make_cells(NULL);
    nas_space *space = nas_space_new(model);
    nas__profile *table = nas__profile_new("a machine", "an engine", 1, 1);
    nas__profile_places places;
    assert_int_equal(nas__profile_places_find(&places, table, space, model, 3, (int64_t[]){3, 16, 16}), NAS_OK);
    assert_int_equal(places.n, 3 * 2 * 6 * 5); /* stages, cells, edges, operations */
    assert_int_equal(table->n_entries, 3 * 5 + 1);
    int conv = nas__profile_find(table, "conv 8x8x3x3 pad 1, batch_norm", 3, (int64_t[]){8, 8, 8});
    assert_true(conv >= 0);
    assert_int_equal(table->entries[conv].macs, 9 * 8 * 8 * 64);
    assert_int_equal(table->entries[conv].parameters, 9 * 8 * 8 + 16);
    assert_int_equal(table->entries[conv].bytes, 4 * (9 * 8 * 8 + 16 + 2 * 8 * 64));
    char text[256];
    assert_non_null(strstr(nas__profile_missing(table, &places, space, text, sizeof text), "\"none\" of \"edge_1_0\""));
    assert_null(nas__profile_costs(table, &places, space, NULL));
    assert_error(NAS_NOT_FOUND, "edge_1_0");
    nas__profile_places_free(&places);
    nas__profile_free(table);
    nas_space_free(space);
    nas_module_free(model);
}

static bool stop_at_once(const nas__profile_progress *progress, void *user) {
    (void)user;
    return progress->networks < 3;
}

static void what_is_there_is_not_measured_again(void **state) {
    (void)state;
    device d = {.drift = 1};
    nas__profile_engine engine = {device_open, device_pass, device_close, device_canary, &d};
    nas__profile *table = nas__profile_new("a machine", "an engine", 1, 1);
    nas__profile_config config = config_of(table, &engine);
    config.progress = stop_at_once;
    assert_int_equal(nas__profile_measure(&config), NAS_OK);
    assert_int_equal(table->n_networks, 3); /* interrupted */
    config.progress = NULL;
    assert_int_equal(nas__profile_measure(&config), NAS_OK);
    size_t networks = table->n_networks;
    assert_true(networks > 3);
    for (size_t i = 0; i < networks; i++) { /* going on is no repetition */
        for (size_t j = 0; j < i && i < 6; j++) {
            assert_true(strcmp(table->networks[i].architecture, table->networks[j].architecture) != 0);
        }
    }
    assert_int_equal(nas__profile_measure(&config), NAS_OK);
    assert_int_equal(table->n_networks, networks);
    nas__profile_free(table);
}

/* --- this machine -------------------------------------------------------------------------------------- */
static void this_program_measures_itself(void **state) {
    (void)state;
    nas__profile *table = nas__profile_new("this", "this", 2, 1);
    nas__profile_config config = config_of(table, NULL);
    config.samples = 1;
    assert_int_equal(nas__profile_measure(&config), NAS_OK);
    int small = nas__profile_find(table, "zero", 3, (int64_t[]){4, 16, 16});
    int large = nas__profile_find(table, "conv 4x4x3x3 pad 1, batch_norm", 3, (int64_t[]){4, 16, 16});
    assert_true(small >= 0 && large >= 0);
    assert_true(nas__entry_ns(&table->entries[large]) > nas__entry_ns(&table->entries[small]));
    nas__profile_free(table);
}

/* --- files --------------------------------------------------------------------------------------------- */
static const char path[] = "/tmp/espalier-test-latencies.json";

static void a_table_survives_its_file(void **state) {
    (void)state;
    device d = {.drift = 1};
    nas__profile_engine engine = {device_open, device_pass, device_close, device_canary, &d};
    nas__profile *table = nas__profile_new("a machine", "an engine", 4, 2);
    nas__profile_config config = config_of(table, &engine);
    assert_int_equal(nas__profile_measure(&config), NAS_OK);
    assert_int_equal(nas__profile_write(table, path), NAS_OK);
    nas__profile *read = nas__profile_read(path);
    assert_non_null(read);
    assert_string_equal(read->machine, "a machine");
    assert_int_equal(read->batch, 4);
    assert_int_equal(read->threads, 2);
    assert_int_equal(read->n_entries, table->n_entries);
    assert_int_equal(read->n_networks, table->n_networks);
    for (size_t i = 0; i < read->n_entries; i++) {
        const nas__profile_entry *a = &read->entries[i], *b = &table->entries[i];
        assert_string_equal(a->op, b->op);
        assert_memory_equal(a->in, b->in, sizeof a->in);
        assert_int_equal(a->n, b->n);
        assert_true(fabs(nas__entry_ns(a) - nas__entry_ns(b)) <= 0.5);
    }
    size_t networks = read->n_networks;
    config.profile = read;
    assert_int_equal(nas__profile_measure(&config), NAS_OK); /* it has all */
    assert_int_equal(read->n_networks, networks);
    nas__profile_free(read);
    nas__profile_free(table);
    unlink(path);
}

static void refused(const char *text, const char *why) {
    assert_int_equal(nas__write_file(path, text, strlen(text)), NAS_OK);
    assert_null(nas__profile_read(path));
    assert_non_null(strstr(nas_error_message(), path));
    if (!strstr(nas_error_message(), why)) {
        fail_msg("\"%s\" does not say \"%s\"", nas_error_message(), why);
    }
    nas_error_clear();
    unlink(path);
}

#define HEAD                                                                                                           \
    "{\"format\":\"espalier latency table\",\"version\":1,\"machine\":\"m\",\"engine\":\"e\",\"batch\":1,"             \
    "\"threads\":1,\"canary_ns\":5,"
#define ENTRY "{\"op\":\"o\",\"in\":[1],\"out\":[1],\"macs\":1,\"parameters\":1,\"bytes\":1,\"samples\":"

static void files_that_are_no_tables_are_refused(void **state) {
    (void)state;
    refused("[1,", "line 1");
    refused("{}", "\"format\"");
    refused("{\"format\":\"espalier latency table\",\"version\":2}", "\"version\"");
    refused("{\"format\":\"espalier latency table\",\"version\":1}", "\"batch\"");
    refused(HEAD "\"entries\":3,\"networks\":[]}", "\"entries\"");
    refused(HEAD "\"entries\":[{}],\"networks\":[]}", "entries 0: \"op\"");
    refused(HEAD "\"entries\":[{\"op\":\"o\",\"in\":[0]}],\"networks\":[]}", "\"in\"");
    refused(HEAD "\"entries\":[" ENTRY "[-1]}],\"networks\":[]}", "sample 0");
    refused(HEAD "\"entries\":[" ENTRY "[\"x\"]}],\"networks\":[]}", "sample 0");
    refused(HEAD "\"entries\":[" ENTRY "[1]}," ENTRY "[1]}],\"networks\":[]}", "entries 1: \"o\" is there twice");
    refused(HEAD "\"entries\":[" ENTRY "[1]}],\"networks\":[{\"rest\":1,\"ns\":1}]}", "networks 0: \"rest\"");
    refused(HEAD "\"entries\":[" ENTRY "[1]}],\"networks\":[{\"rest\":0,\"ns\":1}]}", "\"architecture\"");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_of_a_device_come_back),
        cmocka_unit_test(same_operations_at_the_same_shape_are_one_entry),
        cmocka_unit_test(what_is_there_is_not_measured_again),
        cmocka_unit_test(this_program_measures_itself),
        cmocka_unit_test(a_table_survives_its_file),
        cmocka_unit_test(files_that_are_no_tables_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
