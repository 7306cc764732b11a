/* Tasks of a parallel region: each one is run once, whatever the number of threads and however slow one of them is. */
#include "blocked.h"

#include "kernels/tasks.h"

enum { MOST = 1000 };

/* Runs `count` tasks with `threads` threads; a slow first one waits until the others have done all that it has not
 * taken. */
static void run(int count, int threads, bool slow, int *times, int *by_first) {
    const int before = omp_get_max_threads();
    atomic_int done = 0;
    omp_set_num_threads(threads);
    nas__tasks tasks;
    nas__tasks_share(&tasks, count);
    *by_first = 0;
#pragma omp parallel
    {
        nas__turn turn = {0};
        for (int task; (task = nas__tasks_next(&tasks, &turn)) >= 0;) {
            const bool first = omp_get_thread_num() == 0;
#pragma omp atomic
            times[task]++;
            if (first) {
                ++*by_first;
            }
            while (slow && first && omp_get_num_threads() > 1 && done < count - 1 - (turn.to - turn.next)) {
            }
            done++;
        }
    }
    omp_set_num_threads(before);
}

static void each_runs_once(void **state) {
    (void)state;
    for (int threads = 1; threads <= 2 * NAS__MOST_SHARES + 1; threads = 3 * threads + 1) {
        for (int count = 0; count <= MOST; count = 2 * count + 1) {
            int times[MOST] = {0}, by_first;
            run(count, threads, false, times, &by_first);
            for (int i = 0; i < MOST; i++) {
                assert_int_equal(times[i], i < count);
            }
        }
    }
}

static void others_take_over_from_a_slow_thread(void **state) {
    (void)state;
    int times[MOST] = {0}, by_first;
    run(MOST, 2, true, times, &by_first);
    for (int i = 0; i < MOST; i++) {
        assert_int_equal(times[i], 1);
    }
    assert_true(by_first <= MOST / 2 / 4);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_runs_once),
        cmocka_unit_test(others_take_over_from_a_slow_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
