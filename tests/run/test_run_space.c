/* A space and its architectures in the log: what the page and `espalier log` decode. */
#include "support.h"
#include "rows.h"
#include "core/file.h"
#include "core/memory.h"
#include "run/run.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

/* Fails unless a query on DIRECTORY/run.sqlite gives these rows. */
static void expect(const char *directory, const char *sql, const char *expected) {
    char *path = nas__join(directory, "run.sqlite");
    sqlite3 *db = NULL;
    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL)) {
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    }
    char *text = rows(db, sql);
    sqlite3_close(db);
    if (strcmp(text, expected)) {
        fail_msg("%s:\n gave     %.2000s\n expected %.2000s", sql, text, expected);
    }
    free(text);
    free(path);
}

static nas_tensor *same(nas_module *self, nas_tensor *x) {
    (void)self;
    return x;
}

static nas_module *small_net(void) {
    nas_module *net = nas_module_new(nas_module, same);
    const nas_candidate a[] = {{"none", nas_none_new(1)}, {"skip", nas_identity_new()}, {"odd", nas_identity_new()}};
    const nas_candidate b[] = {{"conv3x3", nas_identity_new()}, {"sep3x3", nas_identity_new()}};
    const double widths[] = {8, 16};
    nas_child(net, "a", nas_layer_choice(net, "cell/edge_2_0", 3, a));
    nas_child(net, "b", nas_layer_choice(net, "cell/edge_2_1", 2, b));
    nas_input_choice(net, "cell/inputs", .names = (const char *[]){"0", "1", "other"}, .n_candidates = 3, .n_min = 1);
    nas_value_choice(net, "width", 2, widths);
    assert_no_error();
    return net;
}

static const nas__run_info info = {.kind = "search", .strategy = "random", .space = "small", .epochs = 2};

static void space_and_architectures(void **state) {
    (void)state;
    char *base = temporary_directory(), *directory = nas__join(base, "run");
    nas_module *net = small_net();
    nas_space *space = nas_space_new(net);
    assert_no_error();
    nas__run *run = nas__run_create(directory, &info);
    nas__run_space(run, space);
    nas_architecture *a = nas_architecture_new(space);
    nas_architecture_set(a, nas_space_find(space, "cell/edge_2_0"), 4);
    nas_architecture_set(a, nas_space_find(space, "cell/inputs"), 5);
    assert_no_error();
    assert_int_equal(nas__run_architecture(run, a, 1000, 5000, 1), 1);
    assert_int_equal(nas__run_architecture(run, a, 1000, 5000, 1), 1);
    nas_architecture_set(a, nas_space_find(space, "width"), 2);
    assert_int_equal(nas__run_architecture(run, a, 0, 0, 2), 2);
    assert_int_equal(nas__run_close(run, "stopped", NULL), NAS_OK);
    expect(directory, "SELECT key, kind, candidates, chosen_min, chosen_max, code_bytes FROM mutable ORDER BY key",
           "cell/edge_2_0,layer,3,1,1,1;cell/edge_2_1,layer,2,1,1,1;cell/inputs,input,3,1,3,1;width,value,2,1,1,1;");
    expect(directory,
           "SELECT name, slot FROM candidate JOIN mutable ON mutable_id=id WHERE kind='layer' ORDER BY key, idx",
           "none,0;skip,-1;odd,3;conv3x3,1;sep3x3,2;");
    expect(directory,
           "SELECT key, hex(substr(code, code_offset + 1, code_bytes)) FROM architecture JOIN mutable WHERE "
           "architecture.id=1 ORDER BY key",
           "cell/edge_2_0,02;cell/edge_2_1,00;cell/inputs,05;width,00;");
    expect(directory, "SELECT id, length(hash), params, macs, latency_kind, first_epoch FROM architecture",
           "1,8,1000,5000,0,1;2,8,,,0,2;");
    expect(directory,
           "SELECT s.label, t.label, key, candidate_idx FROM edge JOIN mutable m ON mutable_id=m.id JOIN node s ON "
           "s.id=source JOIN node t ON "
           "t.id=target ORDER BY key, candidate_idx",
           "0,2,cell/edge_2_0,;1,2,cell/edge_2_1,;0,inputs,cell/inputs,0;1,inputs,cell/inputs,1;other,inputs,cell/"
           "inputs,2;input,width,width,;");
    expect(directory, "SELECT name FROM stage", "cell;network;");
    run = nas__run_resume(directory, &info, 1, 10); /* the second architecture was first seen behind the checkpoint */
    assert_no_error();
    nas__run_space(run, space);
    assert_int_equal(nas__run_architecture(run, a, 7, 8, 2), 2);
    assert_int_equal(nas__run_close(run, "finished", NULL), NAS_OK);
    expect(directory, "SELECT id, params FROM architecture", "1,1000;2,7;");
    expect(directory, "SELECT count(*) FROM mutable", "4;");
    nas_architecture_free(a);
    nas_space_free(space);
    nas_free(net);
    free(directory);
    remove_directory(base);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(space_and_architectures)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
