/* Files of a run's directory: names, the newest checkpoint that is whole, pruning; the machine's description. */
#include "support.h"
#include "core/file.h"
#include "io/state.h"
#include "run/run.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void save(const char *directory, int epoch) {
    char *path = nas__checkpoint_path(directory, epoch);
    nas_state *s = nas__state_save_begin(path, NULL);
    int64_t value = epoch;
    nas_state_i64(s, "epoch", &value, 1);
    assert_int_equal(nas__state_finish(s), NAS_OK);
    free(path);
}

static void expect_newest(const char *directory, const char *name) {
    char *newest = nas__checkpoint_newest(directory);
    assert_no_error();
    assert_string_equal(strrchr(newest, '/') + 1, name);
    free(newest);
}

static void newest_whole_checkpoint(void **state) {
    (void)state;
    char *d = temporary_directory();
    assert_null(nas__checkpoint_newest(d));
    assert_no_error();
    for (int epoch = 8; epoch <= 11; epoch++) {
        save(d, epoch);
    }
    expect_newest(d, "checkpoint-00011.safetensors");
    char *path = nas__checkpoint_path(d, 11), *half = nas__join(d, "checkpoint-00012.safetensors.tmp-77");
    size_t size;
    char *file = nas__read_file(path, &size);
    nas__write_file(path, file, size - 3);
    nas__write_file(half, file, 10);
    expect_newest(d, "checkpoint-00010.safetensors"); /* the damaged one is passed over */
    nas__checkpoint_prune(d, 2);
    assert_false(nas__exists(half));
    expect_newest(d, "checkpoint-00010.safetensors");
    nas__checkpoint_prune(d, 1);
    assert_null(nas__checkpoint_newest(d));
    assert_error(NAS_PARSE, "none of its 1 checkpoints can be used");
    nas__write_file(path, file, size);
    expect_newest(d, "checkpoint-00011.safetensors");
    free(file);
    free(half);
    free(path);
    remove_directory(d);
}

static void default_names_do_not_collide(void **state) {
    (void)state;
    char *d = temporary_directory();
    for (int i = 0; i < 3; i++) {
        char *name = nas__run_default_directory(d, "nb201", "gdas");
        assert_non_null(strstr(name, "-nb201-gdas"));
        assert_false(nas__exists(name));
        assert_int_equal(nas__make_directory(name), NAS_OK);
        free(name);
    }
    remove_directory(d);
}

static void machine_is_described(void **state) {
    (void)state;
    char *text = nas__machine_json();
    json_t *root = json_loads(text, 0, NULL);
    static const char *const words[] = {"cpu", "architecture", "isa", "kernel", "compiler", "onednn", "sqlite"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        const char *value = json_string_value(json_object_get(root, words[i]));
        assert_true(value && value[0]);
    }
    assert_true(json_integer_value(json_object_get(root, "cores")) >= 1);
    assert_true(json_integer_value(json_object_get(root, "memory_bytes")) ==
                (json_int_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE));
    assert_string_equal(json_string_value(json_object_get(root, "espalier")), nas_version());
    json_decref(root);
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(newest_whole_checkpoint),
        cmocka_unit_test(default_names_do_not_collide),
        cmocka_unit_test(machine_is_described),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
