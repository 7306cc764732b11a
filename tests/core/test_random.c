/* Philox against the published known answers of Random123, and the derived distributions. */
#include "support.h"

#include "core/random.h"

#include <math.h>

static void known_answers(void **state) {
    (void)state;
    nas_rng rng = nas_rng_new(0, 0);
    const uint32_t expected[4] = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(nas_rng_u32(&rng), expected[i]);
    }
}

static void positions_can_be_resumed(void **state) {
    (void)state;
    nas_rng a = nas_rng_new(5, 9);
    for (int i = 0; i < 7; i++) {
        nas_rng_u32(&a);
    }
    nas_rng b = a;
    assert_int_equal(nas_rng_u32(&a), nas_rng_u32(&b));
}

static void many_words_are_the_same_words(void **state) {
    (void)state;
    uint32_t words[333];
    nas_rng one = nas_rng_new(0x123456789abcdef0u, 0xfedcba9876543210u);
    one.position = 0x3ffffff81u; /* the block number passes 2^32 on the way */
    nas_rng many = one;
    for (size_t count = 0; count <= 333; count += 111) {
        nas__rng_fill(&many, words, count);
        for (size_t i = 0; i < count; i++) {
            assert_int_equal(words[i], nas_rng_u32(&one));
        }
        assert_int_equal(one.position, many.position);
    }
}

static void normal_moments(void **state) {
    (void)state;
    nas_rng rng = nas_rng_new(1, 2);
    double sum = 0, squares = 0;
    const int n = 100000;
    for (int i = 0; i < n; i++) {
        double x = nas_rng_normal(&rng);
        sum += x;
        squares += x * x;
    }
    assert_true(fabs(sum / n) < 4 / sqrt(n));
    assert_true(fabs(squares / n - 1) < 4 * sqrt(2.0 / n));
}

static void below_is_uniform(void **state) {
    (void)state;
    nas_rng rng = nas_rng_new(3, 4);
    int counts[7] = {0};
    for (int i = 0; i < 70000; i++) {
        counts[nas_rng_below(&rng, 7)]++;
    }
    for (int i = 0; i < 7; i++) {
        assert_true(fabs(counts[i] - 10000.0) < 5 * 93);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_answers),
        cmocka_unit_test(positions_can_be_resumed),
        cmocka_unit_test(many_words_are_the_same_words),
        cmocka_unit_test(normal_moments),
        cmocka_unit_test(below_is_uniform),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
