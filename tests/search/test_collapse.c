/* The watch for a collapse: tables of probabilities recorded in searches, collapsed and healthy, the thresholds on the
 * cells of DARTS, eigenvalues of matrices that are known, and their growth. */
#include "tape.h"

#include "search/collapse.h"
#include "search/eigenvalue.h"

#include <espalier/ops.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* --- recorded tables: DARTS on nb201, CIFAR-10, softmax(alpha) of edge_1_0, 2_0, 2_1, 3_0, 3_1, 3_2 ------------------
 */
enum { EDGES = 6, OPS = 5 };
static const double first_epoch[EDGES][OPS] = {
    {0.1930, 0.2073, 0.2276, 0.1863, 0.1858}, {0.1904, 0.2087, 0.1838, 0.2141, 0.2030},
    {0.1699, 0.1998, 0.2430, 0.1997, 0.1876}, {0.2103, 0.2124, 0.1877, 0.1594, 0.2303},
    {0.1807, 0.2009, 0.1644, 0.2475, 0.2065}, {0.1792, 0.2207, 0.1644, 0.2044, 0.2312}};
static const double ninth_epoch[EDGES][OPS] = {
    {0.1767, 0.3518, 0.0619, 0.1214, 0.2882}, {0.1502, 0.4117, 0.1089, 0.1158, 0.2135},
    {0.2325, 0.2142, 0.2596, 0.1281, 0.1656}, {0.2165, 0.2923, 0.1233, 0.1096, 0.2583},
    {0.1374, 0.1431, 0.1790, 0.3947, 0.1458}, {0.2616, 0.1770, 0.1140, 0.2765, 0.1710}};
static const double twelfth_epoch[EDGES][OPS] = {
    {0.2408, 0.3342, 0.0572, 0.1383, 0.2295}, {0.1637, 0.4362, 0.0995, 0.1371, 0.1635},
    {0.2643, 0.1983, 0.2643, 0.1304, 0.1428}, {0.2933, 0.2842, 0.1220, 0.1008, 0.1997},
    {0.1067, 0.0985, 0.1394, 0.5615, 0.0939}, {0.3342, 0.1518, 0.0815, 0.3021, 0.1303}};

static double entropy_of(const double table[EDGES][OPS]) {
    double sum = 0;
    for (int i = 0; i < EDGES * OPS; i++) {
        sum -= table[i / OPS][i % OPS] * log(table[i / OPS][i % OPS]);
    }
    return sum / EDGES / log(OPS);
}

/* The strongest candidate of every edge, as an architecture. */
static void assert_table(const double table[EDGES][OPS], int skips, bool collapsed) {
    nas_module *model = nas_space_build("nb201", &(nas_space_config){0});
    nas_space *space = nas_space_new(model);
    nas_architecture *a = nas_architecture_new(space);
    for (int i = 0; i < EDGES; i++) {
        int best = 0;
        for (int k = 1; k < OPS; k++) {
            best = table[i][k] > table[i][best] ? k : best;
        }
        assert_int_equal(nas_architecture_set(a, i, (uint64_t)1 << best), NAS_OK);
    }
    nas__skip_count count = nas__count_skips(a);
    assert_int_equal(count.layers, EDGES);
    assert_int_equal(count.skips, skips);
    assert_true(count.share == skips / 6.0);
    assert_int_equal(nas__has_collapsed(count, entropy_of(table)), collapsed);
    nas_architecture_free(a);
    nas_space_free(space);
    nas_free(model);
}

static void recorded_tables(void **state) {
    (void)state;
    assert_table(first_epoch, 0, false);
    assert_table(ninth_epoch, 3, true);
    assert_table(twelfth_epoch, 2, false);
}

/* --- the cells of DARTS ------------------------------------------------------------------------------ */
/* The first `skips` of the eight operations of the normal cell are skips; of the reduction cell, all are. */
static nas__skip_count darts_cell(int skips) {
    nas_module *model = nas_space_build("darts", &(nas_space_config){0});
    nas_space *space = nas_space_new(model);
    nas_architecture *a = nas_architecture_new(space);
    for (int node = 2, op = 0; node < 6; node++) {
        for (int from = 0; from < 2; from++, op++) {
            char key[32];
            snprintf(key, sizeof key, "normal/edge_%d_%d", node, from);
            nas_architecture_set(a, nas_space_find(space, key), op < skips ? 1 << 3 : 1 << 4);
            snprintf(key, sizeof key, "reduce/edge_%d_%d", node, from);
            nas_architecture_set(a, nas_space_find(space, key), 1 << 3);
        }
    }
    nas__skip_count count = nas__count_skips(a);
    assert_int_equal(count.layers, 8);
    assert_int_equal(count.skips, skips);
    nas_architecture_free(a);
    nas_space_free(space);
    nas_free(model);
    return count;
}

static void three_of_eight(void **state) {
    (void)state;
    assert_false(nas__has_collapsed(darts_cell(0), 0.8));
    assert_false(nas__has_collapsed(darts_cell(2), 0.8)); /* the published cell has two */
    assert_true(nas__has_collapsed(darts_cell(3), 0.8));
    assert_true(nas__has_collapsed(darts_cell(8), 0.8));
    assert_false(nas__has_collapsed(darts_cell(8), 0.995)); /* not decided */
    assert_false(nas__has_collapsed(darts_cell(8), NAN));   /* no probabilities */
    assert_false(nas__has_collapsed((nas__skip_count){.layers = 2, .skips = 1, .share = 0.5}, 0.5));
}

static void names(void **state) {
    (void)state;
    assert_true(nas__is_skip("skip_connect") && nas__is_skip("skip") && nas__is_skip("identity"));
    assert_false(nas__is_skip("none") || nas__is_skip("sep_conv_3x3"));
}

/* --- the dominant eigenvalue --------------------------------------------------------------------------- */
/* L = a' M a / 2 over two tensors, of 2 and 1 numbers; with a cubic term whose third derivative the difference cancels.
 */
typedef struct quadratic {
    nas_tensor *parts[2];
    double matrix[3][3];
    int calls;
} quadratic;

static nas_status differentiate(void *user) {
    quadratic *q = user;
    nas_tape_begin(tape, &(nas_tape_config){.grad = NAS_ROLE_ARCH});
    nas_tensor *a[3] = {nas_slice(q->parts[0], 0, 0, 1), nas_slice(q->parts[0], 0, 1, 1), q->parts[1]}, *loss = NULL;
    for (int i = 0; i < 3; i++) {
        for (int k = 0; k < 3; k++) {
            nas_tensor *term = nas_scale(nas_mul(a[i], a[k]), (float)(q->matrix[i][k] / 2));
            loss = loss ? nas_add(loss, term) : term;
        }
    }
    loss = nas_add(loss, nas_mul(a[0], nas_mul(a[0], a[0])));
    nas_status status = nas_backward(loss);
    nas_tape_reset(tape);
    q->calls++;
    return status;
}

static double dominant(const double matrix[3][3], const float values[3]) {
    quadratic q = {
        .parts = {nas_variable(1, (int64_t[]){2}, NAS_ROLE_ARCH), nas_variable(1, (int64_t[]){1}, NAS_ROLE_ARCH)}};
    memcpy(q.matrix, matrix, sizeof q.matrix);
    nas_tensor_write(q.parts[0], values);
    nas_tensor_write(q.parts[1], values + 2);
    nas__curvature c = {.n = 2,
                        .alphas = q.parts,
                        .differentiate = differentiate,
                        .user = &q,
                        .rng = nas_rng_new(1, 2),
                        .iterations = 40};
    double value = NAN;
    assert_int_equal(nas__dominant_eigenvalue(&c, &value), NAS_OK);
    float after[3], gradient[2];
    nas_tensor_read(q.parts[0], after);
    nas_tensor_read(q.parts[1], after + 2);
    assert_memory_equal(after, values, sizeof after);
    nas_tensor_read_grad(q.parts[0], gradient);
    assert_true(gradient[0] == 0 && gradient[1] == 0);
    assert_in_range(q.calls, 2, 80);
    nas_tensor_free(q.parts[0]);
    nas_tensor_free(q.parts[1]);
    return value;
}

static void known_matrices(void **state) {
    (void)state;
    const double diagonal[3][3] = {{0.5, 0, 0}, {0, 3, 0}, {0, 0, 1}};
    assert_true(fabs(dominant(diagonal, (float[3]){0, 0.3f, -2}) - 3) < 0.01);
    const double negative[3][3] = {{0.5, 0, 0}, {0, 1, 0}, {0, 0, -4}}; /* largest in magnitude */
    assert_true(fabs(dominant(negative, (float[3]){0, 0, 0}) + 4) < 0.02);
    const double mixed[3][3] = {{2, 1, 0}, {1, 2, 1}, {0, 1, 2}}; /* 2 + sqrt(2) */
    assert_true(fabs(dominant(mixed, (float[3]){0, 1, 1}) - 3.41421) < 0.03);
    /* the cubic term adds 6 a_0 to the first entry */
    assert_true(fabs(dominant(diagonal, (float[3]){1, 0, 0}) - 6.5) < 0.03);
    const double none[3][3] = {{0}};
    assert_true(dominant(none, (float[3]){0, 1, 2}) == 0);
}

/* 1, 1, ... and then a rise: the means of five, four epochs apart. */
static void growth(void **state) {
    (void)state;
    double history[20];
    for (int i = 0; i < 20; i++) {
        history[i] = i < 14 ? 1 : 2;
    }
    assert_true(nas__eigenvalue_growth(history, 13, 10) == 0); /* the earlier mean ends in epoch 9 */
    assert_true(nas__eigenvalue_growth(history, 14, 10) == 1);
    assert_true(fabs(nas__eigenvalue_growth(history, 15, 10) - 1.2) < 1e-12);
    assert_true(fabs(nas__eigenvalue_growth(history, 16, 10) - 1.4) < 1e-12 && 1.4 > NAS__SHARP);
    assert_true(nas__eigenvalue_growth(history, 8, 1) == 0); /* not five yet */
    assert_true(nas__eigenvalue_growth(history, 9, 1) == 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recorded_tables), cmocka_unit_test(three_of_eight),
        cmocka_unit_test(names),           cmocka_unit_test_setup_teardown(known_matrices, open_tape, close_tape),
        cmocka_unit_test(growth),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
