/* The builder of cells: every wiring and merging against the sums written out, what is left once fixed, drop path, and
 * what it refuses. */
#include "support.h"

#include <espalier/space.h>

#include <stdlib.h>
#include <string.h>

enum { C = 4, SIDE = 6, PIXELS = SIDE * SIDE, COUNT = 2 * C * PIXELS };

/* Operations that are known without weights: y = x, y = 2x, y = 3x, zeros; with stride, every second pixel of them. */
static nas_tensor *times(nas_module *self, nas_tensor *x) {
    int factor = self->type[0] - '0';
    return nas_scale(nas_tensor_dim(x, 3) == SIDE && self->type[1] == '/' ? nas_avg_pool(x, (nas_pool_args){1, 2, 0, 0})
                                                                          : x,
                     (float)factor);
}

static nas_module *factor(int stride, const char *plain, const char *strided) {
    return nas_module_alloc(sizeof(nas_module), times, stride == 1 ? plain : strided);
}

static nas_module *one(int channels, int stride) { return (void)channels, factor(stride, "1", "1/"); }
static nas_module *two(int channels, int stride) { return (void)channels, factor(stride, "2", "2/"); }
static nas_module *three(int channels, int stride) { return (void)channels, factor(stride, "3", "3/"); }

static const nas_cell_op ops[] = {{"one", one, NAS_CELL_IDENTITY}, {"two", two}, {"three", three}};
enum { OPS = 3 };

static nas_cell_config config_of(nas_cell_wiring wiring, nas_cell_merge merge) {
    return (nas_cell_config){.ops = ops,
                             .n_ops = OPS,
                             .channels = C,
                             .n_inputs = 2,
                             .nodes = 3,
                             .preprocess = {NAS_CELL_AS_IS, NAS_CELL_AS_IS},
                             .wiring = wiring,
                             .merge = merge};
}

/* The factor of the cell's output (of its first node when it concatenates) for inputs 1 and 10 everywhere. */
static float output(nas_module *cell, int *channels, int *side) {
    float *x = malloc(2 * COUNT * sizeof *x), first = 0;
    for (int i = 0; i < COUNT; i++) {
        x[i] = 1;
        x[COUNT + i] = 10;
    }
    nas_tape *tape = nas_tape_new();
    nas_tape_begin(tape, &(nas_tape_config){0});
    nas_tensor *inputs[2] = {nas_input(NAS_DIMS(2, C, SIDE, SIDE), x),
                             nas_input(NAS_DIMS(2, C, SIDE, SIDE), x + COUNT)};
    nas_tensor *y = nas_cell_forward(cell, 2, inputs);
    assert_no_error();
    *channels = (int)nas_tensor_dim(y, 1);
    *side = (int)nas_tensor_dim(y, 3);
    float *out = malloc((size_t)nas_tensor_count(y) * sizeof *out);
    nas_tensor_read(y, out);
    first = out[0];
    nas_tape_free(tape);
    free(out);
    free(x);
    return first;
}

static float factor_with(nas_cell_config config, const char *json) {
    float results[2];
    int channels, side;
    nas_module *cell = nas_cell_new(&config);
    assert_no_error();
    nas_space *space = nas_space_new(cell);
    nas_architecture *a = nas_architecture_parse(space, json);
    assert_no_error();
    nas_architecture_apply(a, space);
    results[0] = output(cell, &channels, &side);
    assert_int_equal(channels, nas_cell_channels(cell));
    assert_int_equal(side, config.stride == 2 ? SIDE / 2 : SIDE);
    char *again = nas_architecture_json(a, false);
    nas_architecture_free(a);
    nas_space_free(space);
    assert_int_equal(nas_apply_fixed_architecture_text(cell, again), NAS_OK);
    free(again);
    results[1] = output(cell, &channels, &side);
    assert_true(results[0] == results[1]);
    nas_module_free(cell);
    return results[0];
}

static void all_edges_add_up(void **state) {
    (void)state;
    static const char *const json = "{\"p/edge_2_0\": \"one\", \"p/edge_2_1\": \"two\", \"p/edge_3_0\": \"three\","
                                    "\"p/edge_3_1\": \"one\", \"p/edge_3_2\": \"one\", \"p/edge_4_0\": \"one\","
                                    "\"p/edge_4_1\": \"one\", \"p/edge_4_2\": \"two\", \"p/edge_4_3\": \"three\"}";
    float n2 = 1 + 20, n3 = 3 + 10 + n2, n4 = 1 + 10 + 2 * n2 + 3 * n3;
    nas_cell_config c = config_of(NAS_CELL_ALL, NAS_CELL_LAST);
    c.prefix = "p";
    assert_true(factor_with(c, json) == n4);
    c.merge = NAS_CELL_SUM;
    assert_true(factor_with(c, json) == n2 + n3 + n4);
    c.merge = NAS_CELL_CONCAT;
    assert_true(factor_with(c, json) == n2);
}

static void some_edges_are_chosen(void **state) {
    (void)state;
    static const char *const json =
        "{\"node_2/inputs\": [0, 1], \"edge_2_0\": \"one\", \"edge_2_1\": \"two\", \"node_3/inputs\": [1, 2],"
        "\"edge_3_1\": \"three\", \"edge_3_2\": \"two\", \"node_4/inputs\": [0, 3], \"edge_4_0\": \"two\","
        "\"edge_4_3\": \"one\"}";
    float n2 = 21, n3 = 30 + 2 * n2, n4 = 2 + n3;
    nas_cell_config c = config_of(NAS_CELL_EDGES, NAS_CELL_LAST);
    assert_true(factor_with(c, json) == n4);
    c.stride = 2;
    assert_true(factor_with(c, json) == n4);
}

static void slots_choose_value_and_operation(void **state) {
    (void)state;
    static const char *const json =
        "{\"input_2_0\": \"0\", \"op_2_0\": \"two\", \"input_2_1\": 0, \"op_2_1\": \"three\", \"input_3_0\": [2],"
        "\"op_3_0\": \"two\", \"input_3_1\": 1, \"op_3_1\": \"one\", \"input_4_0\": 3, \"op_4_0\": \"one\","
        "\"input_4_1\": 3, \"op_4_1\": \"one\"}";
    float n2 = 5, n3 = 2 * n2 + 10, n4 = 2 * n3;
    nas_cell_config c = config_of(NAS_CELL_SLOTS, NAS_CELL_LAST);
    assert_true(factor_with(c, json) == n4);
    c.stride = 2;
    assert_true(factor_with(c, json) == n4);
}

static void fixed_wiring_has_its_edges_alone(void **state) {
    (void)state;
    static const int from[] = {1, 0, 2, 0, 3, 2};
    static const char *const json =
        "{\"edge_2_0\": \"one\", \"edge_2_1\": \"two\", \"edge_3_0\": \"one\", \"edge_3_2\": \"three\","
        "\"edge_4_2\": \"one\", \"edge_4_3\": \"two\"}";
    float n2 = 21, n3 = 1 + 3 * n2, n4 = n2 + 2 * n3;
    nas_cell_config c = config_of(NAS_CELL_FIXED, NAS_CELL_LAST);
    c.fixed = from;
    assert_true(factor_with(c, json) == n4);
}

/* Mixed, a slot's operations read the mixture of values, in a reduction cell those of both sizes; both weightings take
 * gradients. */
static void slots_are_mixed(void **state) {
    (void)state;
    for (int stride = 1; stride <= 2; stride++) {
        nas_cell_config c = config_of(NAS_CELL_SLOTS, NAS_CELL_LAST);
        c.per_node = 1;
        c.nodes = 2;
        c.stride = stride;
        nas_module *cell = nas_cell_new(&c);
        nas_space *space = nas_space_new(cell);
        assert_int_equal(nas_space_size(space), 4);
        nas_tape *tape = nas_tape_new();
        nas_tape_begin(tape, &(nas_tape_config){.grad = NAS_ROLE_ARCH});
        static const float values[2][3] = {{.2f, .3f, .5f}, {.1f, .6f, .3f}};
        nas_tensor *weights[4];
        for (int i = 0; i < 4; i++) {
            int n = nas_space_choice(space, i)->n;
            weights[i] = nas_variable(1, (int64_t[]){n}, NAS_ROLE_ARCH);
            nas_tensor_write(weights[i],
                             n == 2 ? (float[]){.25f, .75f} : values[nas_space_choice(space, i)->kind == NAS_LAYER]);
            assert_int_equal(nas_decide(space, i, (nas_decision){.run = (1u << n) - 1, .weights = weights[i]}), NAS_OK);
        }
        float x[COUNT], out, gradient[3];
        for (int i = 0; i < COUNT; i++) {
            x[i] = 1;
        }
        nas_tensor *in = nas_input(NAS_DIMS(2, C, SIDE, SIDE), x), *inputs[2] = {in, nas_scale(in, 10)};
        nas_tensor *y = nas_cell_forward(cell, 2, inputs), *mean = nas_mean(y);
        assert_int_equal(nas_tensor_dim(y, 2), SIDE / stride);
        nas_tensor_read(mean, &out);
        float op = .1f + 1.2f + .9f, n2 = op * (.25f + 7.5f), n3 = op * (.2f + 3 + .5f * n2);
        assert_true(out > n3 * .9999f && out < n3 * 1.0001f);
        assert_int_equal(nas_backward(mean), NAS_OK);
        nas_tensor_read_grad(weights[nas_space_find(space, "input_3_0")], gradient);
        assert_floats_near(gradient, (float[]){op, 10 * op, n2 * op}, 3, 1e-5, "inputs");
        for (int i = 0; i < 4; i++) {
            nas_tensor_free(weights[i]);
        }
        nas_tape_free(tape);
        nas_space_free(space);
        nas_module_free(cell);
    }
}

static nas_module *conv(int channels, int stride) {
    return nas_conv(.in = channels, .out = channels, .kernel = 3, .stride = stride);
}

/* In a reduction cell a slot has an operation for each size; the one that its value does not need goes. */
static void fixed_cells_keep_what_they_use(void **state) {
    (void)state;
    static const nas_cell_op convs[] = {{"conv", conv}, {"other", conv}};
    nas_cell_config c = config_of(NAS_CELL_SLOTS, NAS_CELL_CONCAT);
    c.ops = convs;
    c.n_ops = 2;
    c.stride = 2;
    nas_module *cell = nas_cell_new(&c);
    assert_int_equal(nas_parameter_count(cell), (2 + 4 + 4) * 2 * C * C * 9);
    static const char *const json =
        "{\"input_2_0\": 0, \"op_2_0\": 0, \"input_2_1\": 0, \"op_2_1\": 1, \"input_3_0\": 2, \"op_3_0\": 1,"
        "\"input_3_1\": 1, \"op_3_1\": 0, \"input_4_0\": 3, \"op_4_0\": 0, \"input_4_1\": 2, \"op_4_1\": 1}";
    assert_int_equal(nas_apply_fixed_architecture_text(cell, json), NAS_OK);
    assert_int_equal(nas_parameter_count(cell), 6 * C * C * 9);
    nas_module_free(cell);
}

static void preprocessing_fits_sizes_and_channels(void **state) {
    (void)state;
    nas_cell_config c = config_of(NAS_CELL_ALL, NAS_CELL_CONCAT);
    c.preprocess[0] = NAS_CELL_REDUCE;
    c.preprocess[1] = NAS_CELL_CONV;
    c.in[0] = 3;
    c.in[1] = 5;
    nas_module *cell = nas_cell_new(&c);
    assert_int_equal(nas_parameter_count(cell), 3 * C + 5 * C);
    nas_tape *tape = nas_tape_new();
    nas_tape_begin(tape, &(nas_tape_config){.dry = true});
    nas_tensor *y = nas_cell_forward(
        cell, 2, (nas_tensor *[]){nas_input(NAS_DIMS(2, 3, 12, 12), NULL), nas_input(NAS_DIMS(2, 5, 6, 6), NULL)});
    assert_int_equal(nas_tensor_dim(y, 1), 3 * C);
    assert_int_equal(nas_tensor_dim(y, 2), 6);
    nas_tape_free(tape);
    nas_module_free(cell);
}

static void what_does_not_fit_is_refused(void **state) {
    (void)state;
    static const int twice[] = {0, 0, 1, 2, 3, 2}, later[] = {0, 1, 1, 3, 3, 2};
    struct {
        const char *part;
        nas_cell_config c;
    } wrong[9];
    for (int i = 0; i < 9; i++) {
        wrong[i].c = config_of(i < 6 ? NAS_CELL_ALL : NAS_CELL_FIXED, NAS_CELL_LAST);
    }
    wrong[0].c.ops = NULL, wrong[0].part = ".ops must be given";
    wrong[1].c.n_inputs = 5, wrong[1].part = ".n_inputs 5 must be 1 to 4";
    wrong[2].c.nodes = 13, wrong[2].part = ".nodes 13 1 to 12";
    wrong[3].c.channels = 0, wrong[3].part = ".channels 0";
    wrong[4].c.per_node = 17, wrong[4].part = ".per_node 17 must be 1 to 16";
    wrong[5].c.wiring = NAS_CELL_SLOTS, wrong[5].c.per_node = 5, wrong[5].part = ".per_node 5 must be 1 to 4";
    wrong[6].part = ".fixed must name 2 different";
    wrong[7].c.fixed = twice, wrong[7].part = ".fixed must name 2 different";
    wrong[8].c.fixed = later, wrong[8].part = ".fixed must name 2 different";
    for (int i = 0; i < 9; i++) {
        assert_null(nas_cell_new(&wrong[i].c));
        assert_error(NAS_INVALID, wrong[i].part);
    }
    nas_module *identity = nas_identity_new(),
               *cell = nas_cell_new(&(nas_cell_config){
                   .ops = ops, .n_ops = 1, .channels = 1, .n_inputs = 1, .nodes = 1, .preprocess = {NAS_CELL_AS_IS}});
    assert_null(nas_cell_forward(identity, 1, NULL));
    assert_error(NAS_INVALID, "not one of nas_cell()");
    assert_null(nas_cell_forward(cell, 2, NULL));
    assert_error(NAS_INVALID, "2 inputs for a cell of 1");
    assert_int_equal(nas_cell_channels(identity), 0);
    nas_module_free(identity);
    nas_module_free(cell);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_edges_add_up),
        cmocka_unit_test(some_edges_are_chosen),
        cmocka_unit_test(slots_choose_value_and_operation),
        cmocka_unit_test(fixed_wiring_has_its_edges_alone),
        cmocka_unit_test(slots_are_mixed),
        cmocka_unit_test(fixed_cells_keep_what_they_use),
        cmocka_unit_test(preprocessing_fits_sizes_and_channels),
        cmocka_unit_test(what_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
