/* What the passes of strategies that draw paths compute, counted while they run, against the networks of their paths;
 * the comparison that the benchmark times; what the file of the first step has of drawn paths; and an evaluation of a
 * path, repeated from that file. */
#include "support.h"

#include "core/file.h"
#include "io/safetensors.h"
#include "search/bench_subject.h"
#include "search/proxyless.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { BATCH = 2 };

typedef struct flops {
    double forward, backward;
} flops;

static flops sum_of(const nas__op_times *times, int steps) {
    flops f = {0};
    for (int i = 0; i < times->n; i++) {
        *(times->ops[i].backward ? &f.backward : &f.forward) += times->ops[i].flops / steps;
    }
    return f;
}

/* From the end of the weights' pass on. */
static nas_status count_step_of_alpha(nas_trainer *t, const nas_pass *pass, void *user) {
    (void)t;
    if (pass->grad == NAS_ROLE_WEIGHT) {
        nas__op_times_start(user);
    }
    return NAS_OK;
}

/* One of the two paths through all blocks. */
static char *architecture(const nas_trainer *t, bool active) {
    const nas__proxyless *p = t->s.memory;
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    for (int i = 0; i < p->alphas.n; i++) {
        const nas_choice *c = nas_space_choice(t->s.space, i);
        const nas__gate *g = &p->gates[i];
        assert_int_equal(__builtin_popcountll(g->rivals), 2);
        assert_int_equal(__builtin_popcountll(g->active & g->rivals), 1);
        uint64_t taken = active ? g->active : g->rivals & ~g->active;
        fprintf(out, "%s\"%s\": \"%s\"", i ? ", " : "{", c->key, c->names[__builtin_ctzll(taken)]);
    }
    fprintf(out, "}");
    fclose(out);
    return text;
}

/* Forwards and backwards through the network of a path, which is freed. */
static flops alone(nas__bench_workload w, char *path) {
    nas__bench_result r;
    w.kind = NAS__BENCH_TRAINING;
    w.architecture = path;
    assert_int_equal(nas__bench_run(&w, &(nas__bench_config){.steps = 1, .batch = BATCH}, &r), NAS_OK);
    free(path);
    return sum_of(&r.times, r.steps);
}

static void two_paths_cost_no_more_than_their_networks(void **state) {
    (void)state;
    nas__bench_subject b;
    nas__op_times times;
    double loss;
    assert_int_equal(nas__bench_open(&b, nas__bench_find("proxyless"), &(nas__bench_config){.batch = BATCH}, 1),
                     NAS_OK);
    assert_int_equal(nas__bench_rewind(&b), NAS_OK);
    b.trainer->on_pass = count_step_of_alpha;
    b.trainer->on_pass_user = &times;
    assert_int_equal(nas__bench_step(&b, &loss), NAS_OK);
    nas__op_times_stop(&times);
    nas__bench_workload w = *nas__bench_find("proxyless");
    flops both = sum_of(&times, 1), active = alone(w, architecture(b.trainer, true)),
          rival = alone(w, architecture(b.trainer, false));
    double step = both.forward + both.backward;
    double networks = active.forward + active.backward + rival.forward + rival.backward;
    assert_true(step <= 1.6 * networks);
    /* What is outside the blocks runs once; nothing flows back through the rivals, nor into weights. */
    assert_true(both.forward > active.forward && both.forward > rival.forward);
    assert_true(both.forward < active.forward + rival.forward);
    assert_true(both.backward > 0 && both.backward < 0.6 * active.backward);
    print_message("a step of two paths: %.2f of its networks' forward and backward\n", step / networks);
    nas__bench_close(&b);
}

/* --- GDAS --------------------------------------------------------------------------------------------- */
static const nas__bench_workload gdas = {.name = "small gdas",
                                         .summary = "one cell per stage",
                                         .batch = BATCH,
                                         .side = 16,
                                         .space = "nb201",
                                         .space_options = "channels=8,cells=1",
                                         .strategy = "gdas"};
enum { WEIGHTS, ALPHA, PASSES };
typedef struct two_passes {
    nas__op_times times[PASSES];
    char *paths[PASSES];
    int n;
} two_passes;

static nas_status end_of_pass(nas_trainer *t, const nas_pass *pass, void *user) {
    two_passes *p = user;
    nas_architecture *a = nas_architecture_new(t->s.space);
    nas__op_times_stop(&p->times[p->n]);
    assert_int_equal(pass->grad, p->n == WEIGHTS ? NAS_ROLE_WEIGHT : NAS_ROLE_ARCH);
    for (int i = 0; i < nas_space_size(t->s.space); i++) {
        nas_architecture_set(a, i, nas_decision_of(t->s.space, i).run);
    }
    p->paths[p->n++] = nas_architecture_json(a, false);
    nas_architecture_free(a);
    if (p->n < PASSES) {
        nas__op_times_start(&p->times[p->n]);
    }
    return NAS_OK;
}

/* The pass of the weights computes what the network of its path does, and nothing else; that of alpha the same
 * forwards, and backwards nothing for the weights. */
static void a_draw_computes_what_its_network_does(void **state) {
    (void)state;
    nas__bench_subject b;
    two_passes p = {.n = 0};
    double loss;
    assert_int_equal(nas__bench_open(&b, &gdas, &(nas__bench_config){.batch = BATCH}, 1), NAS_OK);
    assert_int_equal(nas__bench_rewind(&b), NAS_OK);
    b.trainer->on_pass = end_of_pass;
    b.trainer->on_pass_user = &p;
    nas__op_times_start(&p.times[WEIGHTS]);
    assert_int_equal(nas__bench_step(&b, &loss), NAS_OK);
    assert_int_equal(p.n, PASSES);
    for (int k = 0; k < PASSES; k++) {
        flops pass = sum_of(&p.times[k], 1), network = alone(gdas, p.paths[k]);
        double share = (pass.forward + pass.backward) / (network.forward + network.backward);
        assert_true(pass.forward == network.forward);
        assert_true(k == WEIGHTS ? pass.backward == network.backward : pass.backward < 0.6 * network.backward);
        print_message("GDAS's pass %d: %.2f of its network's forward and backward\n", k, share);
    }
    nas__bench_close(&b);
}

static void passes_are_held_against_networks(void **state) {
    (void)state;
    nas__bench_workload gates = *nas__bench_find("proxyless"), all = *nas__bench_find("nb201");
    nas__bench_config config = {.steps = 2, .batch = BATCH};
    nas__bench_paths p;
    assert_int_equal(nas__bench_against_paths(&gdas, &config, &p), NAS_OK);
    assert_int_equal(p.n, 2);
    for (int k = 0; k < 2; k++) {
        const nas__bench_pass *pass = &p.of[k];
        assert_true(pass->of_weights == (k == WEIGHTS) && pass->networks == 1);
        assert_true(pass->seconds > 0 && pass->networks_seconds > 0 && pass->ratio > 0);
    }
    assert_true(p.step_bytes > 0 && p.network_bytes > 0 && p.network_weights_bytes < p.weights_bytes);
    gates.space_options = "widths=8-12,depths=2-1,stem=8,last=32";
    assert_int_equal(nas__bench_against_paths(&gates, &config, &p), NAS_OK);
    assert_int_equal(p.n, 2);
    assert_true(p.of[0].networks == 1 && p.of[1].networks == 2 && !p.of[1].of_weights);
    all.space_options = gdas.space_options; /* every candidate runs: there is no network to compare with */
    assert_int_equal(nas__bench_against_paths(&all, &config, &p), NAS_OK);
    assert_int_equal(p.n, 0);
}

/* --- the file of the first step -------------------------------------------------------------------- */
static const float *numbers(const nas__safetensors *file, const char *name, size_t count) {
    const nas__array *a = nas__safetensors_find(file, name);
    assert_non_null(a);
    assert_int_equal(nas__array_count(a), count);
    return a->data;
}

/* Others repeat the first step from the gates: two rivals, one of them active, and a gradient for these alone. */
static void the_gates_are_in_the_file(void **state) {
    (void)state;
    enum { CANDIDATES = 7 };
    char *directory = temporary_directory(), *path = nas__join(directory, "first.safetensors");
    nas__bench_config config = {.steps = 1, .batch = BATCH, .first_step = path};
    nas__bench_result r;
    assert_int_equal(nas__bench_run(nas__bench_find("proxyless"), &config, &r), NAS_OK);
    nas__safetensors *file = nas__safetensors_read(path);
    assert_non_null(file);
    const float *gate = numbers(file, "gate.arch.block_2", 2 * CANDIDATES);
    const float *gradient = numbers(file, "grad.alpha.block_2", CANDIDATES);
    numbers(file, "gate.train.block_2", 2 * CANDIDATES);
    numbers(file, "alpha.block_2", CANDIDATES);
    double rivals = 0, active = 0, sum = 0, size = 0;
    for (int k = 0; k < CANDIDATES; k++) {
        rivals += gate[k];
        active += gate[k] * gate[CANDIDATES + k];
        sum += gradient[k];
        size += fabs(gradient[k]);
        assert_true(gate[k] == 1 || gradient[k] == 0);
    }
    assert_true(rivals == 2 && active == 1);
    assert_true(size > 0 && fabs(sum) < 1e-5 * size);
    nas__safetensors_free(file);
    free(path);
    remove_directory(directory);
}

/* --- one path ------------------------------------------------------------------------------------- */
/* The first step of a benchmark as a file. */
static nas__safetensors *first_step(const char *name, nas__bench_result *r) {
    char *directory = temporary_directory(), *path = nas__join(directory, "first.safetensors");
    nas__bench_config config = {.steps = 1, .batch = BATCH, .first_step = path};
    assert_int_equal(nas__bench_run(nas__bench_find(name), &config, r), NAS_OK);
    nas__safetensors *file = nas__safetensors_read(path);
    assert_non_null(file);
    free(path);
    remove_directory(directory);
    return file;
}

static int the_one(const float *bits, int n) {
    int one = -1;
    for (int k = 0; k < n; k++) {
        assert_true(bits[k] == 0 || (bits[k] == 1 && one < 0));
        one = bits[k] == 1 ? k : one;
    }
    assert_true(one >= 0);
    return one;
}

enum { BLOCKS = 20, FORMS = 4 };
static const char *const forms[FORMS] = {"shuffle_3", "shuffle_5", "shuffle_7", "xception"};

static void what_is_on_the_path_has_gradients(void **state) {
    (void)state;
    nas__bench_result r;
    nas__safetensors *file = first_step("spos", &r);
    for (int i = 1; i <= BLOCKS; i++) {
        char name[96];
        snprintf(name, sizeof name, "path.block_%d", i);
        int drawn = the_one(numbers(file, name, FORMS), FORMS);
        for (int k = 0; k < FORMS; k++) {
            snprintf(name, sizeof name, "grad.model.block_%d.%s.main.1.%s", i, forms[k],
                     k == FORMS - 1 ? "conv.weight" : "0.weight");
            assert_true((nas__safetensors_find(file, name) != NULL) == (k == drawn));
        }
    }
    nas__safetensors_free(file);
}

static void values_are_read_and_operated_on(void **state) {
    (void)state;
    nas__bench_result r;
    nas__safetensors *file = first_step("enas", &r);
    the_one(numbers(file, "path.normal/input_6_1", 6), 6);
    the_one(numbers(file, "path.reduce/op_2_0", 5), 5);
    nas__safetensors_free(file);
    assert_true(0 < r.first_loss && r.first_loss < 5);
}

/* --- an evaluation -------------------------------------------------------------------------------- */
static void take_first_path(nas_space *space, const nas__safetensors *file) {
    nas_architecture *a = nas_architecture_new(space);
    for (int i = 0; i < BLOCKS; i++) {
        char name[32];
        snprintf(name, sizeof name, "path.%s", nas_space_choice(space, i)->key);
        int drawn = the_one(numbers(file, name, NAS__BENCH_PATHS * FORMS), FORMS);
        assert_int_equal(nas_architecture_set(a, i, (uint64_t)1 << drawn), NAS_OK);
    }
    nas_architecture_apply(a, space);
    nas_architecture_free(a);
}

static nas_status load(const char *path, nas_tensor *t, nas_role role, void *file) {
    char name[128];
    snprintf(name, sizeof name, "model.%s", path);
    (void)role;
    return nas_tensor_write(t, numbers(file, name, (size_t)nas_tensor_count(t)));
}

static void an_evaluation_can_be_repeated(void **state) {
    (void)state;
    enum { IMAGES = NAS__BENCH_PART * BATCH, VALUES = 3 * 32 * 32, CLASSES = NAS__BENCH_CLASSES };
    nas__bench_result r;
    nas__safetensors *file = first_step("spos-evaluation", &r);
    assert_int_equal(r.images, 2 * IMAGES);
    assert_true(isnan(r.first_loss));
    nas_module *model = nas_space_build(
        "shufflenet", &(nas_space_config){.channels = 3, .height = 32, .width = 32, .outputs = CLASSES});
    assert_int_equal(nas_initialise(model, 1), NAS_OK);
    assert_int_equal(nas_visit_parameters(model, load, file), NAS_OK);
    nas_space *space = nas_space_new(model);
    take_first_path(space, file);
    nas_tape *tape = nas_tape_new();
    const float *train = numbers(file, "train.x", IMAGES * VALUES);
    for (int i = 0; i < NAS__BENCH_PART; i++) {
        nas_tape_begin(tape, &(nas_tape_config){.bn = NAS_BN_CALIBRATE});
        nas_forward(model, nas_input(4, (int64_t[]){BATCH, 3, 32, 32}, train + i * BATCH * VALUES));
        nas_tape_reset(tape);
    }
    nas_tape_begin(tape, &(nas_tape_config){.bn = NAS_BN_CALIBRATED});
    nas_tensor *y =
        nas_forward(model, nas_input(4, (int64_t[]){IMAGES, 3, 32, 32}, numbers(file, "score.x", IMAGES * VALUES)));
    assert_non_null(y);
    float values[IMAGES * CLASSES];
    nas_tensor_read(y, values);
    assert_memory_equal(values, numbers(file, "output", IMAGES * CLASSES), sizeof values);
    nas_tape_free(tape);
    nas_space_free(space);
    nas_free(model);
    nas__safetensors_free(file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_paths_cost_no_more_than_their_networks),
        cmocka_unit_test(a_draw_computes_what_its_network_does),
        cmocka_unit_test(passes_are_held_against_networks),
        cmocka_unit_test(the_gates_are_in_the_file),
        cmocka_unit_test(what_is_on_the_path_has_gradients),
        cmocka_unit_test(values_are_read_and_operated_on),
        cmocka_unit_test(an_evaluation_can_be_repeated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
