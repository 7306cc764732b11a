/* tape.h - a tape for each test of a program: open_tape and close_tape are its setup and teardown. */
#ifndef TESTS_TAPE_H
#define TESTS_TAPE_H

#include "support.h"

#include <espalier/tensor.h>

static nas_tape *tape;

static inline int open_tape(void **state) {
    (void)state;
    nas_error_clear();
    tape = nas_tape_new();
    return tape == NULL;
}

static inline int close_tape(void **state) {
    (void)state;
    nas_tape_free(tape);
    nas_error_clear();
    return 0;
}

#endif
