/* Number of threads: asked for, or limited by OMP_NUM_THREADS, or all cores this process may use. */
#include "support.h"

#include <espalier/core.h>

#include <sched.h>
#include <stdlib.h>

static void of_environment(void **state) {
    (void)state;
    setenv("OMP_NUM_THREADS", "3", 1);
    nas_set_threads(0);
    assert_int_equal(nas_threads(), 3);
    nas_set_threads(2);
    assert_int_equal(nas_threads(), 2);
}

static void of_machine(void **state) {
    (void)state;
    cpu_set_t set;
    assert_int_equal(sched_getaffinity(0, sizeof set, &set), 0);
    unsetenv("OMP_NUM_THREADS");
    nas_set_threads(0);
    assert_int_equal(nas_threads(), CPU_COUNT(&set));
    setenv("OMP_NUM_THREADS", "many", 1);
    nas_set_threads(0);
    assert_int_equal(nas_threads(), CPU_COUNT(&set));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(of_environment), cmocka_unit_test(of_machine)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
