/* error.h - how the library reports what went wrong. The first error of a thread is kept until nas_error_clear(), so
 * that a sticky chain of tensor expressions reports its cause and not its last consequence. */
#ifndef CORE_ERROR_H
#define CORE_ERROR_H

#include <espalier/core.h>

/* Records status and message unless an error is pending; returns the status (for `return nas__fail(...)`). */
#define nas__fail nas_fail
/* The same for functions that return pointers: always NULL. */
void *nas__fail_null(nas_status status, const char *format, ...) NAS_PRINTF(2, 3);
/* Puts "context: " in front of the pending message (a file name, a module path); returns the pending status. */
nas_status nas__error_context(const char *format, ...) NAS_PRINTF(1, 2);

void nas__log(nas_log_level level, const char *format, ...) NAS_PRINTF(2, 3);

/* The entry of `names` (count, stride bytes apart, each element starting with a const char *) nearest to `name` in edit
 * distance, or NULL when none is near: for "did you mean ...?". */
const char *nas__nearest(const char *name, const void *names, size_t count, size_t stride);

#endif
