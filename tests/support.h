/* support.h - what every test needs: cmocka, reproducible random arrays, comparisons that say where. */
#ifndef TESTS_SUPPORT_H
#define TESTS_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <espalier/core.h>

/* Uniform values in [-1, 1), to be freed by the caller. */
float *random_floats(uint64_t seed, size_t count);
/* Fails the test when |got - expected| > tolerance * (1 + |expected|) anywhere; names the place. */
void assert_floats_near(const float *got, const float *expected, size_t count, double tolerance, const char *what);
/* Fails unless an error with this status is pending whose message contains `part`; clears it. */
void assert_error(nas_status status, const char *part);
/* Fails, with the message, when an error is pending. */
void assert_no_error(void);
/* A fresh directory below the system's temporary one; removed with everything in it by remove_directory. */
char *temporary_directory(void);
void remove_directory(char *path);

#endif
