/* The points of a space: every set has one rank, counters visit all, edits give neighbours and nothing else. */
#include "support.h"

#include "space/space.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double binomial(int n, int k) { return round(exp(lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1))); }

static void sets_and_ranks_are_inverse(void **unused) {
    (void)unused;
    for (int n = 1; n <= 9; n++) {
        for (int low = 0; low <= n; low++) {
            for (int high = low; high <= n; high++) {
                nas_choice c = {.key = "c", .kind = NAS_INPUT, .n = n, .n_min = low, .n_max = high};
                double expected = 0;
                for (int k = low; k <= high; k++) {
                    expected += binomial(n, k);
                }
                assert_true((double)nas__choice_sets(&c) == expected);
                uint64_t seen[1 << 9 >> 6] = {0};
                for (uint64_t rank = 0; rank < nas__choice_sets(&c); rank++) {
                    uint64_t set = nas__choice_set(&c, rank);
                    assert_in_range(nas__bit_count(set), low, high);
                    assert_true(nas__choice_rank(&c, set) == rank);
                    assert_false(seen[set >> 6] >> (set & 63) & 1);
                    seen[set >> 6] |= (uint64_t)1 << (set & 63);
                }
            }
        }
    }
    nas_choice wide = {.key = "c", .kind = NAS_INPUT, .n = 64, .n_min = 0, .n_max = 64};
    assert_true(nas__choice_sets(&wide) == (uint64_t)1 << 62);
}

/* A set beside another differs; all are found, each once; few sets: all others, many: one edit. */
static void neighbours(void **unused) {
    (void)unused;
    nas_choice few = {.key = "c", .kind = NAS_INPUT, .n = 5, .n_min = 0, .n_max = 2},
               many = {.key = "c", .kind = NAS_INPUT, .n = 10, .n_min = 1, .n_max = 9};
    assert_int_equal(nas__choice_neighbours(&few, 3), 15);
    assert_int_equal(nas__choice_neighbours(&few, 0), 15);
    uint64_t set = 0x2b, other, last = 0; /* four of ten: 6 more, 4 fewer, 24 exchanged */
    assert_int_equal(nas__choice_neighbours(&many, set), 34);
    for (int i = 0; nas__choice_neighbour(&many, set, i, &other); i++) {
        assert_in_range(nas__bit_count(set ^ other), 1, 2);
        assert_true(other != last);
        last = other;
    }
}

static nas_module *model_new(void) {
    nas_module *m = nas_sequential(
        nas_layer_choice(
            NULL, "a", 3,
            ((nas_candidate[]){{"x", nas_identity_new()}, {"y", nas_identity_new()}, {"z", nas_identity_new()}})),
        nas_layer_choice(NULL, "b", 2, ((nas_candidate[]){{"x", nas_identity_new()}, {"y", nas_identity_new()}})));
    nas_input_choice(m, "in", .n_candidates = 3, .n_min = 1, .n_max = 2);
    assert_no_error();
    return m;
}

static void a_counter_visits_all(void **unused) {
    (void)unused;
    nas_module *model = model_new();
    nas_space *space = nas_space_new(model);
    nas_architecture *a = nas_architecture_new(space);
    uint64_t hashes[64];
    int n = 0;
    do {
        hashes[n] = nas_architecture_hash(a);
        for (int i = 0; i < n; i++) {
            assert_true(hashes[i] != hashes[n]);
        }
        n++;
    } while (nas__architecture_next(a));
    assert_int_equal(n, 3 * 2 * 6);
    assert_true(nas_architecture_hash(a) == hashes[0]);
    nas_architecture_free(a);
    nas_space_free(space);
    nas_module_free(model);
}

static void mutations_change_one_choice(void **unused) {
    (void)unused;
    nas_module *model = model_new();
    nas_space *space = nas_space_new(model);
    nas_architecture *a = nas_architecture_new(space);
    nas_rng rng = nas_rng_new(3, 4);
    int count[3] = {0};
    for (int i = 0; i < 3000; i++) {
        nas_architecture *before = nas_architecture_copy(a);
        int changed = nas__architecture_mutate(a, &rng);
        assert_in_range(changed, 0, 2);
        count[changed]++;
        for (int k = 0; k < 3; k++) {
            assert_true((nas_architecture_get(a, k) != nas_architecture_get(before, k)) == (k == changed));
        }
        nas_architecture_free(before);
    }
    for (int k = 0; k < 3; k++) {
        assert_in_range(count[k], 880, 1120); /* 4.6 standard deviations */
    }
    nas_architecture_free(a);
    nas_space_free(space);
    nas_module_free(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sets_and_ranks_are_inverse),
        cmocka_unit_test(neighbours),
        cmocka_unit_test(a_counter_visits_all),
        cmocka_unit_test(mutations_change_one_choice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
