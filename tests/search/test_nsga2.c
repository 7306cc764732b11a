/* Fronts of fitness against cost: the sorting against its definition, and a search whose whole front is known. */
#include "search/planted.h"
#include "support.h"

#include "core/file.h"
#include "search/pareto.h"
#include "search/trials.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- sorting -------------------------------------------------------------------------------------------------------
 */
static void ranks_follow_their_definition(void **unused) {
    (void)unused;
    enum { N = 60 };
    for (uint64_t seed = 1; seed <= 20; seed++) {
        nas__point p[N];
        nas_rng rng = nas_rng_new(seed, 1);
        for (int i = 0; i < N; i++) {
            p[i] = (nas__point){.fitness = nas_rng_below(&rng, 12), .cost = nas_rng_below(&rng, 12), .index = i};
        }
        nas__pareto_sort(p, N);
        for (int i = 0; i < N; i++) {
            int highest = -1; /* of those that dominate it */
            for (int j = 0; j < N; j++) {
                highest = nas__dominates(&p[j], &p[i]) && p[j].rank > highest ? p[j].rank : highest;
            }
            assert_int_equal(p[i].rank, highest + 1);
            assert_true(i == 0 || p[i - 1].rank < p[i].rank ||
                        (p[i - 1].rank == p[i].rank && p[i - 1].crowding >= p[i].crowding));
        }
    }
}

static void crowding_is_the_size_of_the_gap(void **unused) {
    (void)unused;
    nas__point p[4] = {{.fitness = 1, .cost = 0, .index = 0},
                       {.fitness = 2, .cost = 1, .index = 1},
                       {.fitness = 4, .cost = 8, .index = 2},
                       {.fitness = 5, .cost = 10, .index = 3}};
    nas__pareto_sort(p, 4);
    assert_true(isinf(p[0].crowding) && isinf(p[1].crowding));
    assert_int_equal(p[2].index, 2); /* 9/10 + 3/4 against 8/10 + 3/4 */
    assert_true(fabs(p[2].crowding - 1.65) < 1e-12 && fabs(p[3].crowding - 1.55) < 1e-12);
}

static void the_knee_is_where_gains_get_expensive(void **unused) {
    (void)unused;
    const nas__point front[5] = {{.fitness = 0, .cost = 10},
                                 {.fitness = 0.5, .cost = 20},
                                 {.fitness = 0.9, .cost = 30},
                                 {.fitness = 0.95, .cost = 60},
                                 {.fitness = 1, .cost = 100}};
    assert_int_equal(nas__pareto_knee(front, 5), 2);
    assert_int_equal(nas__pareto_knee(front, 1), 0);
    assert_int_equal(nas__pareto_knee(front + 3, 2), 1);
}

/* --- a search: each of ten layers may be there or not, at the same cost, and gives its own share --------------------
 */
enum { LAYERS = 10 };
static const double share_of[LAYERS] = {7, 1, 12, 3, 5, 2, 9, 4, 15, 6};

static nas_status judge(const nas_architecture *a, double share, double *metrics, void *user) {
    (void)share, (void)user;
    metrics[0] = 0;
    for (int i = 0; i < LAYERS; i++) {
        metrics[0] += nas_architecture_get(a, i) == 2 ? share_of[i] : 0;
    }
    return NAS_OK;
}

static nas_module *model_new(void) {
    nas_module *parts[LAYERS + 1];
    for (int i = 0; i < LAYERS; i++) {
        char key[16];
        snprintf(key, sizeof key, "layer%d", i);
        parts[i] = nas_layer_choice(
            NULL, key, 2, ((nas_candidate[]){{"none", nas_identity_new()}, {"dense", nas_dense(.in = 2, .out = 2)}}));
    }
    parts[LAYERS] = nas_dense(.in = 2, .out = 2);
    return nas_sequential_new(LAYERS + 1, parts);
}

typedef struct result {
    json_t *pareto, *found;
    int size;
} result;

static result search(const char *options, const char *limits) {
    const float x[8] = {0}, y[4] = {0, 1, 0, 1};
    nas_dataset *data[2];
    for (int i = 0; i < 2; i++) {
        data[i] = nas_dataset_from_arrays(4, 1, (int64_t[]){2}, x, 1, y, 2);
    }
    char *directory = temporary_directory(), *path = nas__join(directory, "final_architecture.json");
    nas_module *model = model_new();
    nas_trainer *t = nas_trainer_new(&(nas_trainer_config){.model = model,
                                                           .strategy = "nsga2",
                                                           .options = options,
                                                           .limits = limits,
                                                           .batch_size = 2,
                                                           .dataset_train = data[0],
                                                           .dataset_valid = data[1],
                                                           .log_frequency = NAS_NONE,
                                                           .seed = 1,
                                                           .threads = 1,
                                                           .run_dir = directory,
                                                           .trial = judge});
    assert_no_error();
    assert_int_equal(nas_trainer_train(t), NAS_OK);
    assert_int_equal(nas_trainer_export(t, path), NAS_OK);
    char *pareto = file_text(directory, "pareto.json"), *found = file_text(directory, "final_architecture.json");
    result r = {.pareto = json_loads(pareto, 0, NULL), .found = json_loads(found, 0, NULL)};
    r.size = (int)json_array_size(json_object_get(r.pareto, "front"));
    nas_trainer_free(t);
    nas_module_free(model);
    nas_dataset_free(data[0]);
    nas_dataset_free(data[1]);
    remove_directory(directory);
    free(pareto);
    free(found);
    free(path);
    return r;
}

static void result_free(result *r) {
    json_decref(r->pareto);
    json_decref(r->found);
}

static json_t *member(const result *r, int i) { return json_array_get(json_object_get(r->pareto, "front"), (size_t)i); }

static int descending(const void *a, const void *b) {
    return (*(const double *)a < *(const double *)b) - (*(const double *)a > *(const double *)b);
}

static void the_whole_front_is_found(void **unused) {
    (void)unused;
    result r = search("trials=400,population=20", NULL);
    double shares[LAYERS], sum = 0;
    memcpy(shares, share_of, sizeof shares);
    qsort(shares, LAYERS, sizeof *shares, descending);
    assert_int_equal(r.size, LAYERS + 1); /* of 1,024 architectures 400 were tried */
    for (int i = 0; i <= LAYERS; i++) {
        json_t *m = member(&r, i);
        assert_true(json_number_value(json_object_get(m, "macs")) == 4 * (i + 1));
        assert_true(json_number_value(json_object_get(m, "acc1")) == sum);
        sum += i < LAYERS ? shares[i] : 0;
    }
    assert_true(json_equal(r.found, json_object_get(member(&r, LAYERS), "architecture")));
    result_free(&r);
}

static void the_rule_picks_from_the_front(void **unused) {
    (void)unused;
    result knee = search("trials=400,population=20,pick=knee", NULL),
           limited = search("trials=200,pick=limit", "macs=20");
    int picked = (int)json_integer_value(json_object_get(knee.pareto, "picked"));
    assert_in_range(picked, 3, 6); /* sorted shares: 15 12 9 7 6 5 4 3 2 1, mean 6.4 */
    assert_true(json_equal(knee.found, json_object_get(member(&knee, picked), "architecture")));
    assert_true(json_number_value(json_object_get(member(&limited, limited.size - 1), "macs")) == 20);
    assert_true(json_number_value(json_object_get(member(&limited, limited.size - 1), "acc1")) == 43);
    result_free(&knee);
    result_free(&limited);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_follow_their_definition),         cmocka_unit_test(crowding_is_the_size_of_the_gap),
        cmocka_unit_test(the_knee_is_where_gains_get_expensive), cmocka_unit_test(the_whole_front_is_found),
        cmocka_unit_test(the_rule_picks_from_the_front),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
