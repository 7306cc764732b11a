/* Checkpoints: what was bound for saving comes back to the same bindings, bit for bit; a file that does not fit changes
 * nothing. */
#include "in_directory.h"
#include "io/safetensors.h"
#include "io/state.h"

#include <stdlib.h>
#include <string.h>

static int set_up(void **state) {
    (void)state;
    return make_place("checkpoint-00001.safetensors");
}

/* The numbers of a made-up run, and the one function that names them. */
struct numbers {
    float momentum[5];
    double scores[3];
    int64_t epoch;
    uint64_t position;
    nas_tensor *alpha;
    double *history;
    size_t n_history;
    uint64_t *population;
    size_t n_population;
};

static void name_all(nas_state *s, struct numbers *n) {
    nas_state_f32(s, "momentum", n->momentum, 5);
    nas_state_f64(s, "scores", n->scores, 3);
    nas_state_i64(s, "epoch", &n->epoch, 1);
    nas_state_u64(s, "position", &n->position, 1);
    nas_state_tensor(s, "alpha", n->alpha);
    nas_state_list_f64(s, "history", &n->history, &n->n_history);
    nas_state_list_u64(s, "population", &n->population, &n->n_population);
}

static const float alphas[6] = {0.1f, 0.2f, -0.3f, 4, 5, 1e-40f};

static void save_some(void) {
    struct numbers n = {{1, 2, 3, 4, 5}, {0.25, -1, 1e-310}, 17, UINT64_MAX};
    double history[4] = {9, 8, 7, 6};
    n.alpha = nas_variable(NAS_DIMS(2, 3), NAS_ROLE_ARCH);
    nas_tensor_write(n.alpha, alphas);
    n.history = history;
    n.n_history = 4;
    nas_state *s = nas__state_save_begin(path, "{\"strategy\": \"x\"}");
    assert_false(nas_state_is_loading(s));
    name_all(s, &n);
    memset(history, 0, sizeof history); /* lists are copied when they are bound */
    assert_int_equal(nas__state_finish(s), NAS_OK);
    nas_tensor_free(n.alpha);
}

static void comes_back(void **state) {
    (void)state;
    save_some();
    struct numbers n = {.alpha = nas_variable(NAS_DIMS(2, 3), NAS_ROLE_ARCH)};
    nas_state *s = nas__state_load_begin(path);
    assert_no_error();
    assert_true(nas_state_is_loading(s));
    assert_string_equal(nas__state_metadata(s), "{\"strategy\": \"x\"}");
    name_all(s, &n);
    assert_int_equal(n.n_history, 4); /* lists are there at once, */
    assert_int_equal(n.epoch, 0);     /* the rest when everything fits */
    assert_int_equal(nas__state_finish(s), NAS_OK);
    float got[6];
    nas_tensor_read(n.alpha, got);
    assert_memory_equal(got, alphas, sizeof alphas);
    assert_int_equal(n.epoch, 17);
    assert_true(n.position == UINT64_MAX && n.scores[2] == 1e-310 && n.momentum[4] == 5);
    assert_true(n.history[0] == 9 && n.history[3] == 6);
    assert_int_equal(n.n_population, 0);
    free(n.history);
    free(n.population);
    nas_tensor_free(n.alpha);
}

/* Loads `epoch` and then something that does not fit: epoch must stay. */
static nas_state *begin_with_epoch(int64_t *epoch) {
    nas_state *s = nas__state_load_begin(path);
    assert_no_error();
    *epoch = -5;
    nas_state_i64(s, "epoch", epoch, 1);
    return s;
}

static void what_does_not_fit_changes_nothing(void **state) {
    (void)state;
    save_some();
    int64_t epoch, wrong[2] = {3, 3};
    float few[4] = {2, 2, 2, 2};
    nas_state *s = begin_with_epoch(&epoch);
    nas_state_i64(s, "missing", wrong, 2);
    assert_int_equal(nas__state_finish(s), NAS_NOT_FOUND);
    assert_error(NAS_NOT_FOUND, "no array \"missing\"");
    s = begin_with_epoch(&epoch);
    nas_state_f32(s, "momentum", few, 4);
    nas_state_i64(s, "missing", wrong, 2);
    assert_int_equal(nas__state_finish(s), NAS_SHAPE);
    assert_error(NAS_SHAPE, "\"momentum\" is F32 5 instead of F32 4");
    s = begin_with_epoch(&epoch);
    nas_state_i64(s, "scores", wrong, 2);
    assert_int_equal(nas__state_finish(s), NAS_SHAPE);
    assert_error(NAS_SHAPE, "\"scores\" is F64 instead of I64");
    s = begin_with_epoch(&epoch);
    nas_tensor *other = nas_variable(NAS_DIMS(3, 2), NAS_ROLE_ARCH);
    nas_state_tensor(s, "alpha", other);
    assert_int_equal(nas__state_finish(s), NAS_SHAPE);
    assert_error(NAS_SHAPE, "\"alpha\" is F32 2x3 instead of F32 3x2");
    nas_tensor_free(other);
    s = begin_with_epoch(&epoch);
    nas__state_abandon(s);
    assert_int_equal(epoch, -5);
    assert_true(wrong[0] == 3 && few[0] == 2);
}

static void damaged_checkpoints_are_refused(void **state) {
    (void)state;
    save_some();
    size_t size;
    char *file = nas__read_file(path, &size);
    nas__write_file(path, file, size - 1);
    assert_null(nas__state_load_begin(path));
    assert_error(NAS_PARSE, "is truncated");
    file[size - 9] ^= 16;
    nas__write_file(path, file, size);
    assert_null(nas__state_load_begin(path));
    assert_error(NAS_PARSE, "is damaged: its checksum");
    free(file);
    nas__write_file(path, "\x02\0\0\0\0\0\0\0{}", 10);
    assert_null(nas__state_load_begin(path));
    assert_error(NAS_PARSE, "no checksum");
    assert_null(nas__state_load_begin("/nowhere/checkpoint"));
    assert_error(NAS_NOT_FOUND, "/nowhere/checkpoint");
}

static void failed_saving_keeps_the_old_file(void **state) {
    (void)state;
    save_some();
    nas_state *s = nas__state_save_begin(path, NULL);
    int64_t a = 1, b = 2;
    nas_state_i64(s, "a", &a, 1);
    nas_state_i64(s, "a", &b, 1);
    assert_int_equal(nas__state_finish(s), NAS_INVALID);
    assert_error(NAS_INVALID, "\"a\" is used for two");
    s = nas__state_load_begin(path);
    assert_no_error();
    nas_state_i64(s, "epoch", &a, 1);
    assert_int_equal(nas__state_finish(s), NAS_OK);
    assert_int_equal(a, 17);
    nas__state_abandon(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(comes_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_does_not_fit_changes_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(damaged_checkpoints_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(failed_saving_keeps_the_old_file, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
