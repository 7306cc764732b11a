/* labels: slow
 * C files: compiled as C99 without warnings and run, they compute what the network does; their arrays are as large as
 * was said; the plan of their memory gives nobody's memory to somebody else. */
#include "in_directory.h"
#include "io/exported.h"
#include "space/small_spaces.h"

#include "core/memory.h"
#include "io/plan.h"

#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static int set_up(void **state) {
    (void)state;
    return make_place("network.c");
}

typedef void (*run_fn)(const float *input, float *output);

static void *compile(const char *what) {
    char command[1024], library[512];
    snprintf(library, sizeof library, "%s/%s.so", directory, what);
    snprintf(command, sizeof command, "${CC:-cc} -std=c99 -Wall -Wextra -Werror -O1 -shared -fPIC '%s' -o '%s' -lm",
             path, library);
    if (system(command)) {
        fail_msg("%s does not compile", what);
    }
    void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        fail_msg("%s", dlerror());
    }
    return handle;
}

static void agree(const exported *e, const char *what) {
    enum { SAMPLES = 3 };
    nas_c_memory memory;
    int64_t inputs = exported_inputs(e), outputs = exported_outputs(e);
    if (nas_export_c(e->model, &e->config, path, &memory)) {
        fail_msg("%s: %s", what, nas_error_message());
    }
    assert_true(memory.arena_bytes >= 0 && memory.weight_bytes > 0);
    void *handle = compile(what);
    run_fn run = (run_fn)dlsym(handle, "network_run");
    assert_non_null(run);
    float *x = random_floats(7, (size_t)(SAMPLES * inputs)),
          *y = nas__alloc((size_t)(2 * SAMPLES * outputs) * sizeof *y), *other = y + SAMPLES * outputs;
    exported_forward(e, SAMPLES, x, y);
    for (int i = 0; i < SAMPLES; i++) {
        run(x + i * inputs, other + i * outputs);
    }
    assert_floats_near(other, y, (size_t)(SAMPLES * outputs), 1e-4, what);
    dlclose(handle);
    free(x);
    free(y);
}

static void every_space_agrees(void **state) {
    (void)state;
    for (const nas_space_info *const *info = nas_spaces(); *info; info++) {
        exported e = exported_space((*info)->name, 0);
        assert_int_equal(nas_fold_batch_norm(e.model, NULL), NAS_OK);
        agree(&e, (*info)->name);
        exported_free(&e);
    }
    exported kept = exported_space("nb201", 1);
    agree(&kept, "kept");
    exported_free(&kept);
}

static void every_operation_agrees(void **state) {
    (void)state;
    exported e = exported_operations();
    agree(&e, "operations");
    exported_free(&e);
}

/* --- memory ---------------------------------------------------------------------------------------------- */
/* What nm says of the arrays whose names begin like that. */
static int64_t size_of_arrays(const char *object, const char *kinds, const char *begin) {
    char command[1024], line[512], kind, name[256];
    unsigned long long size;
    int64_t sum = 0;
    snprintf(command, sizeof command, "nm -S --defined-only '%s'", object);
    FILE *f = popen(command, "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        if (sscanf(line, "%*s %llx %c %255s", &size, &kind, name) == 3 && strchr(kinds, kind) &&
            !strncmp(name, begin, strlen(begin))) {
            sum += (int64_t)size;
        }
    }
    assert_int_equal(pclose(f), 0);
    return sum;
}

static void arrays_are_as_large_as_was_said(void **state) {
    (void)state;
    static const char *const spaces[] = {"macro", "mobilenet"};
    for (int i = 0; i < 2; i++) {
        exported e = exported_space(spaces[i], 2);
        nas_c_memory memory;
        char command[1024], object[512];
        assert_int_equal(nas_fold_batch_norm(e.model, NULL), NAS_OK);
        assert_int_equal(nas_export_c(e.model, &e.config, path, &memory), NAS_OK);
        snprintf(object, sizeof object, "%s/network.o", directory);
        snprintf(command, sizeof command, "${CC:-cc} -std=c99 -O1 -c '%s' -o '%s'", path, object);
        assert_int_equal(system(command), 0);
        assert_int_equal(size_of_arrays(object, "bB", "network_"), memory.arena_bytes);
        assert_int_equal(size_of_arrays(object, "rR", "network_"), memory.weight_bytes);
        exported_free(&e);
    }
}

static void is_counted(const char *name, uint64_t seed) {
    const nas_space_config c =
        strcmp(name, "signal1d") ? space_images[seed % 2] : (nas_space_config){2, 1, 64, 5, NULL};
    const nas_export_config config = {.ndim = 3, .dims = {c.channels, c.height, c.width}};
    nas_module *model = space_small(name, c);
    nas_space *space = nas_space_new(model);
    nas_architecture *a = nas_architecture_new(space);
    nas_rng rng = nas_rng_new(seed, 9);
    nas_c_memory counted, written;
    nas_architecture_random(a, &rng);
    nas_architecture_apply(a, space);
    char *json = nas_architecture_json(a, false);
    nas_status status = nas_count_c(model, 3, config.dims, &counted);
    nas_architecture_free(a);
    nas_space_free(space);
    if (!strcmp(name, "smash")) { /* its hypernetwork computes weights */
        assert_int_equal(status, NAS_UNSUPPORTED);
        assert_error(NAS_UNSUPPORTED, "neither its input nor its weights");
    } else {
        assert_int_equal(status, NAS_OK);
        assert_int_equal(nas_apply_fixed_architecture_text(model, json), NAS_OK);
        assert_int_equal(nas_fold_batch_norm(model, NULL), NAS_OK);
        assert_int_equal(nas_export_c(model, &config, path, &written), NAS_OK);
        if (counted.arena_bytes != written.arena_bytes || counted.weight_bytes != written.weight_bytes) {
            fail_msg("%s, seed %d, %s: counted %lld and %lld, written %lld and %lld", name, (int)seed, json,
                     (long long)counted.arena_bytes, (long long)counted.weight_bytes, (long long)written.arena_bytes,
                     (long long)written.weight_bytes);
        }
    }
    free(json);
    nas_module_free(model);
}

/* Of a supernet with its choices open, before anything is written. */
static void memory_is_counted_to_the_byte(void **state) {
    (void)state;
    for (const nas_space_info *const *info = nas_spaces(); *info; info++) {
        for (uint64_t seed = 0; seed < 6; seed++) {
            is_counted((*info)->name, seed);
        }
    }
}

/* Runs the plan: every read finds the value that was written last, and by its own operation. */
static void check_plan(const nas__graph *g) {
    nas__plan *plan = nas__plan_new(g);
    assert_non_null(plan);
    int *owner = nas__alloc((size_t)(plan->floats + 1) * sizeof *owner);
    for (int64_t i = 0; i < plan->floats; i++) {
        owner[i] = -1;
    }
    for (size_t i = 0; i < g->n_nodes; i++) {
        const nas__graph_node *n = &g->nodes[i];
        for (int k = 0; k <= n->n_inputs; k++) { /* all inputs, then the output */
            int value = k < n->n_inputs ? n->inputs[k] : n->output, s = value < 0 ? 0 : plan->storage[value];
            int64_t at = value < 0 ? -1 : plan->at[s], count = at < 0 ? 0 : nas__value_count(&g->values[value]);
            bool writes = k == n->n_inputs || (value >= 0 && g->values[value].zero && owner[at] != value);
            for (int64_t p = at; p < at + count; p++) {
                assert_true(p < plan->floats);
                assert_true(writes || owner[p] == value ||
                            (n->kind == NAS__OP_RESHAPE && plan->storage[owner[p]] == s));
                owner[p] = writes ? value : owner[p];
            }
        }
    }
    free(owner);
    nas__plan_free(plan);
}

static nas_tensor *chain(nas_module *self, nas_tensor *x) {
    (void)self;
    nas_tensor *a = nas_max_pool(x, (nas_pool_args){.kernel = 2}), *b = nas_avg_pool(x, (nas_pool_args){.kernel = 2});
    nas_tensor *sum = nas_sum_of(4, (nas_tensor *[]){a, b, a, b});
    return nas_global_avg_pool(nas_add(nas_tanh(nas_max_pool(sum, (nas_pool_args){.kernel = 3, .stride = 1})),
                                       nas_max_pool(nas_relu(sum), (nas_pool_args){.kernel = 3, .stride = 1})));
}

static void memory_is_nobody_elses(void **state) {
    (void)state;
    for (const nas_space_info *const *info = nas_spaces(); *info; info++) {
        exported e = exported_space((*info)->name, 1);
        nas__graph *g = nas__graph_new(e.model, e.config.ndim, e.config.dims);
        check_plan(g);
        nas__graph_free(g);
        exported_free(&e);
    }
    exported e = {.model = nas_module_new(nas_module, chain), .config = {.ndim = 3, .dims = {2, 10, 8}}};
    nas__graph *g = nas__graph_new(e.model, 3, e.config.dims);
    check_plan(g);
    nas__plan *plan = nas__plan_new(g);
    /* the pools' 2*(5*4) floats, twice, and the sum, which may not overwrite a term that it reads again */
    assert_int_equal(plan->floats, 3 * 2 * 5 * 4);
    nas__plan_free(plan);
    nas__graph_free(g);
    e.config.space = "chain of pools";
    nas_c_memory memory;
    assert_int_equal(nas_export_c(e.model, &e.config, path, &memory), NAS_OK);
    void *handle = compile("pools");
    run_fn run = (run_fn)dlsym(handle, "network_run");
    float *x = random_floats(3, 160), y[2], other[2];
    exported_forward(&e, 1, x, y);
    run(x, other);
    assert_floats_near(other, y, 2, 1e-5, "pools");
    dlclose(handle);
    free(x);
    nas_module_free(e.model);
}

static nas_status spoil(const char *name, nas_tensor *t, nas_role role, void *user) {
    (void)name, (void)role, (void)user;
    float *values = nas__alloc((size_t)nas_tensor_count(t) * sizeof *values);
    values[nas_tensor_count(t) - 1] = NAN;
    nas_tensor_write(t, values);
    free(values);
    return NAS_OK;
}

static void what_cannot_be_written_leaves_nothing(void **state) {
    (void)state;
    const nas_export_config row = {.ndim = 1, .dims = {3}};
    nas_module *dense = nas_dense(.in = 3, .out = 2);
    nas_initialise(dense, 0);
    assert_int_equal(nas_export_c(dense, &row, "/nowhere/x.c", NULL), NAS_IO);
    assert_error(NAS_IO, "/nowhere/x.c");
    nas_visit_parameters(dense, spoil, NULL);
    assert_int_equal(nas_export_c(dense, &row, path, NULL), NAS_NUMERIC);
    assert_error(NAS_NUMERIC, "weight: number 5 is not finite");
    assert_false(nas__exists(path));
    nas_module_free(dense);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(every_space_agrees),
        CASE(every_operation_agrees),
        CASE(memory_is_nobody_elses),
        CASE(arrays_are_as_large_as_was_said),
        CASE(memory_is_counted_to_the_byte),
        CASE(what_cannot_be_written_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
