/* Values and gradients of every operation against a naive implementation in double (gradcheck.h). */
#include "ops/gradcheck.h"

#include <string.h>

static const gradcheck_family *const families[] = {&conv_cases,       &norm_cases,  &pool_cases, &element_cases,
                                                   &arithmetic_cases, &shape_cases, &loss_cases, &superkernel_cases};

static void check_family(void **state) {
    const gradcheck_family *family = *state;
    for (int i = 0; i < family->n; i++) {
        run_gradcheck(&family->cases[i]);
    }
}

static bool has_case(const char *op) {
    for (size_t f = 0; f < sizeof families / sizeof *families; f++) {
        for (int i = 0; i < families[f]->n; i++) {
            if (!strcmp(families[f]->cases[i].op, op)) {
                return true;
            }
        }
    }
    return false;
}

static void every_operation_is_checked(void **state) {
    (void)state;
    for (int i = 0; i < nas__n_ops; i++) {
        if (!has_case(nas__ops[i].name)) {
            fail_msg("%s has no case in tests/ops/cases_*.c", nas__ops[i].name);
        }
    }
}

#define FAMILY(name)                                                                                                   \
    { #name, check_family, NULL, NULL, (void *)&name##_cases }
int main(void) {
    const struct CMUnitTest tests[] = {
        FAMILY(conv),    FAMILY(norm),        FAMILY(pool),
        FAMILY(element), FAMILY(arithmetic),  FAMILY(shape),
        FAMILY(loss),    FAMILY(superkernel), cmocka_unit_test(every_operation_is_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
