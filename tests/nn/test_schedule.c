/* Learning rates at known points of their curves. */
#include "nn_support.h"

#include <math.h>

static void near(double got, double expected) {
    if (!(fabs(got - expected) < 1e-12)) {
        fail_msg("%.15g instead of %.15g", got, expected);
    }
}

static void cosine(void **state) {
    (void)state;
    nas_schedule s = {.min_lr = 0.001};
    near(nas_schedule_lr(&s, 0.025, 0), 0.025);
    near(nas_schedule_lr(&s, 0.025, 0.5), 0.013);
    near(nas_schedule_lr(&s, 0.025, 1), 0.001);
    near(nas_schedule_lr(&s, 0.025, 1.0 / 3), 0.001 + 0.024 * 0.75); /* cos 60 degrees = 1/2 */
}

static void linear_constant_step(void **state) {
    (void)state;
    nas_schedule s = {.kind = NAS_SCHEDULE_LINEAR, .min_lr = 0.1};
    near(nas_schedule_lr(&s, 0.5, 0.25), 0.4);
    near(nas_schedule_lr(&s, 0.5, 1), 0.1);
    s = (nas_schedule){.kind = NAS_SCHEDULE_CONSTANT, .min_lr = 0.1};
    near(nas_schedule_lr(&s, 0.5, 0.99), 0.5);
    s = (nas_schedule){.kind = NAS_SCHEDULE_STEP};
    near(nas_schedule_lr(&s, 1, 0.33), 1);
    near(nas_schedule_lr(&s, 1, 0.34), 0.1);
    near(nas_schedule_lr(&s, 1, 0.67), 0.01);
    near(nas_schedule_lr(&s, 1, 1), 0.01); /* the end belongs to the last stage */
    s = (nas_schedule){.kind = NAS_SCHEDULE_STEP, .gamma = 0.5, .steps = 4};
    near(nas_schedule_lr(&s, 1, 0.8), 0.125);
}

static void warm_up(void **state) {
    (void)state;
    nas_schedule s = {.warmup = 0.2};
    near(nas_schedule_lr(&s, 1, 0), 0);
    near(nas_schedule_lr(&s, 1, 0.05), 0.25);
    near(nas_schedule_lr(&s, 1, 0.2), 1);
    near(nas_schedule_lr(&s, 1, 0.6), 0.5); /* half of what is left */
    near(nas_schedule_lr(&s, 1, 1), 0);
    s.warmup = 1;
    near(nas_schedule_lr(&s, 1, 0.5), 0.5);
}

static void outside_the_run(void **state) {
    (void)state;
    nas_schedule s = {.min_lr = 0.25};
    near(nas_schedule_lr(&s, 1, -1), 1);
    near(nas_schedule_lr(&s, 1, 7), 0.25);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cosine),
        cmocka_unit_test(linear_constant_step),
        cmocka_unit_test(warm_up),
        cmocka_unit_test(outside_the_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
