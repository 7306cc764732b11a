/* Parts in lockstep: each sees the numbers of all, in their order, at every stop. */
#include "dist/fibers.h"
#include "support.h"

#include <stdlib.h>
#include <string.h>

enum { PARTS = 5, ROUNDS = 40 };

typedef struct seen {
    nas__fibers *fibers;
    double sums[PARTS];
    int pauses[PARTS], last;
    bool odd; /* part 3 gives one number more */
} seen;

/* Round r has r + 1 numbers, so that the memory for them has to grow while others still read. */
static void count(void *user, int part) {
    seen *s = user;
    for (int round = 0; round < ROUNDS; round++) {
        double own[ROUNDS + 1];
        size_t n = (size_t)(1 + round * 7 % ROUNDS + (s->odd && part == 3));
        for (size_t i = 0; i < n; i++) {
            own[i] = 1000 * round + 10 * part + (double)(i % 10);
        }
        const double *all = nas__fibers_gather(s->fibers, own, n);
        if (!all) {
            return;
        }
        for (int p = 0; p < PARTS; p++) {
            for (size_t i = 0; i < n; i++) {
                assert_true(all[(size_t)p * n + i] == 1000 * round + 10 * p + (double)(i % 10));
            }
        }
        s->sums[part] += all[0] + all[(PARTS - 1) * n];
    }
}

static void pause(void *user, int part) {
    seen *s = user;
    s->pauses[part]++;
    s->last = part;
}

static void test_lockstep(void **state) {
    (void)state;
    seen s = {.fibers = nas__fibers_new(PARTS)};
    assert_non_null(s.fibers);
    for (int again = 1; again <= 2; again++) {
        assert_int_equal(nas__fibers_run(s.fibers, count, pause, &s), NAS_OK);
        for (int p = 0; p < PARTS; p++) {
            assert_true(s.sums[p] == s.sums[0] && s.sums[p] != 0);
            assert_int_equal(s.pauses[p], again * (ROUNDS + 1));
        }
    }
    assert_int_equal(s.last, PARTS - 1);
    nas__fibers_free(s.fibers);
}

static void test_parts_that_differ(void **state) {
    (void)state;
    seen s = {.fibers = nas__fibers_new(PARTS), .odd = true};
    assert_int_equal(nas__fibers_run(s.fibers, count, pause, &s), NAS_ENGINE);
    assert_non_null(strstr(nas_error_message(), "one gives 2 numbers, another one 1"));
    nas_error_clear();
    s.odd = false; /* nothing of it is left */
    assert_int_equal(nas__fibers_run(s.fibers, count, pause, &s), NAS_OK);
    nas__fibers_free(s.fibers);
}

static void test_sum(void **state) {
    (void)state;
    const float own[] = {1e8f, 1, -1e8f, 2, 1, 3}; /* (1e8 - 1e8) + 1, whatever the order of time */
    float sum[2];
    assert_int_equal(nas_ranks(), 1);
    assert_int_equal(nas__ranks_sum(3, 2, own, sum), NAS_OK);
    assert_true(sum[0] == 1 && sum[1] == 6);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_lockstep), cmocka_unit_test(test_parts_that_differ),
                                       cmocka_unit_test(test_sum)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
