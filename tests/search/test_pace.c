/* The pace of a run under a budget of time, with steps that sleep. */
#include "support.h"

#include "search/pace.h"

#include <time.h>

static void sleep_ms(long ms) { nanosleep(&(struct timespec){.tv_nsec = ms * 1000000L}, NULL); }

/* Of a second a tenth is kept for the end: a third step of 0.4 seconds would not end in time. */
static void no_step_begins_that_would_end_too_late(void **unused) {
    (void)unused;
    nas__pace p;
    nas__pace_start(&p, 1.0 / 60, 1, 100, NAS_NONE, 0);
    nas__pace_epoch(&p, 0, false);
    sleep_ms(400);
    nas__pace_step(&p, 64);
    assert_false(nas__pace_out_of_time(&p));
    assert_true(nas__pace_progress(&p, 0, 1) > 0.7);
    sleep_ms(400);
    nas__pace_step(&p, 64);
    assert_true(nas__pace_out_of_time(&p));
    assert_true(nas__pace_progress(&p, 0, 2) == 1);
}

/* Scores and trials are no steps. */
static void what_has_no_images_is_no_step(void **unused) {
    (void)unused;
    nas__pace p;
    nas__pace_start(&p, 1.0 / 60, 1, 100, NAS_NONE, 0);
    sleep_ms(200);
    nas__pace_step(&p, 0);
    assert_true(p.step_seconds == 0);
    assert_false(nas__pace_out_of_time(&p));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_step_begins_that_would_end_too_late),
        cmocka_unit_test(what_has_no_images_is_no_step),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
