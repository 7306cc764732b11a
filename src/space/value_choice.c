/* value_choice.c - one of several numbers, which the network reads. */
#include "space/space.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LARGEST_WHOLE = 1000000000 };

/* The shortest decimal that reads back as the same number: the candidate's name. Whole numbers have no exponent. */
static void print_value(double value, char text[32]) {
    int digits = 1;
    if (value == floor(value) && fabs(value) <= LARGEST_WHOLE) {
        snprintf(text, 32, "%.0f", value + 0.0); /* + 0: not -0 */
        return;
    }
    do {
        snprintf(text, 32, "%.*g", digits, value);
    } while (strtod(text, NULL) != value && ++digits <= 17);
}

nas_mutable *nas_value_choice_new(nas_module *owner, const char *key, int n, const double *values) {
    char texts[NAS_MAX_CANDIDATES][32];
    const char *names[NAS_MAX_CANDIDATES] = {0};
    if (!owner) {
        return nas__fail_null(NAS_INVALID, "value choice \"%s\": the owner is NULL", key ? key : "(no key)");
    }
    for (int i = 0; i < n && i < NAS_MAX_CANDIDATES; i++) {
        if (!isfinite(values[i])) {
            return nas__fail_null(NAS_INVALID, "value choice \"%s\": value %d is not finite", key ? key : "(no key)",
                                  i);
        }
        print_value(values[i], texts[i]);
        names[i] = texts[i];
    }
    nas_mutable *m = nas__mutable_new(NAS_VALUE, owner, key, n, names);
    if (!m) {
        return NULL;
    }
    m->values = nas__alloc((size_t)n * sizeof *m->values);
    if (!m->values) {
        nas__mutable_free(m);
        return NULL;
    }
    memcpy(m->values, values, (size_t)n * sizeof *m->values);
    return nas__mutable_attach(m);
}

double nas_value(const nas_mutable *m) {
    int chosen = m && m->kind == NAS_VALUE ? nas__mutable_single(m) : -1;
    if (chosen < 0) {
        nas__fail(NAS_INVALID, "nas_value: this is no value choice");
        return NAN;
    }
    return m->values[chosen];
}
