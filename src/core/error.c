/* error.c - the calling thread's pending error, and the log callback. */
#include "core/error.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum { MESSAGE_SIZE = 1024, NAME_LIMIT = 64 };

static _Thread_local struct {
    nas_status status;
    char message[MESSAGE_SIZE];
} pending;

static struct {
    _Atomic(nas_log_fn) fn;
    _Atomic(void *) user;
} log_target;

const char *nas_status_text(nas_status status) {
    switch (status) {
#define X(name, value, text)                                                                                           \
    case name:                                                                                                         \
        return text;
        NAS_STATUS_MAP(X)
#undef X
    }
    return "unknown status";
}

nas_status nas_error_status(void) { return pending.status; }

const char *nas_error_message(void) { return pending.message; }

void nas_error_clear(void) {
    pending.status = NAS_OK;
    pending.message[0] = 0;
}

int nas_print_error(void) {
    fprintf(stderr, "error: %s\n", pending.status ? pending.message : "unknown");
    return 1;
}

static nas_status record(nas_status status, const char *format, va_list args) {
    if (pending.status == NAS_OK) {
        pending.status = status;
        vsnprintf(pending.message, sizeof pending.message, format, args);
    }
    return status;
}

nas_status nas_fail(nas_status status, const char *format, ...) {
    va_list args;
    va_start(args, format);
    record(status, format, args);
    va_end(args);
    return status;
}

void *nas__fail_null(nas_status status, const char *format, ...) {
    va_list args;
    va_start(args, format);
    record(status, format, args);
    va_end(args);
    return NULL;
}

nas_status nas__error_context(const char *format, ...) {
    if (pending.status != NAS_OK) {
        char cause[MESSAGE_SIZE];
        memcpy(cause, pending.message, sizeof cause);
        va_list args;
        va_start(args, format);
        int n = vsnprintf(pending.message, MESSAGE_SIZE / 2, format, args);
        va_end(args);
        size_t used = n < 0 ? 0 : n < MESSAGE_SIZE / 2 ? (size_t)n : MESSAGE_SIZE / 2 - 1;
        size_t rest = strnlen(cause, MESSAGE_SIZE - used - 3);
        memcpy(pending.message + used, ": ", 2);
        memcpy(pending.message + used + 2, cause, rest);
        pending.message[used + 2 + rest] = 0;
    }
    return pending.status;
}

void nas_set_log(nas_log_fn fn, void *user) {
    atomic_store(&log_target.user, user);
    atomic_store(&log_target.fn, fn);
}

void nas__log(nas_log_level level, const char *format, ...) {
    nas_log_fn fn = atomic_load(&log_target.fn);
    if (!fn) {
        return;
    }
    char message[MESSAGE_SIZE];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    fn(level, message, atomic_load(&log_target.user));
}

/* Levenshtein distance, or a large number for names too long to be anybody's typing error. */
static size_t edit_distance(const char *a, const char *b) {
    size_t n = strlen(a), m = strlen(b);
    if (n > NAME_LIMIT || m > NAME_LIMIT) {
        return NAME_LIMIT;
    }
    size_t row[NAME_LIMIT + 1];
    for (size_t j = 0; j <= m; j++) {
        row[j] = j;
    }
    for (size_t i = 1; i <= n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            best = row[j] + 1 < best ? row[j] + 1 : best;
            row[j] = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
        }
    }
    return row[m];
}

const char *nas__nearest(const char *name, const void *names, size_t count, size_t stride) {
    const char *nearest = NULL;
    size_t best = strlen(name) / 3 + 2; /* anything farther is not a typing error */
    for (size_t i = 0; i < count; i++) {
        const char *candidate = *(const char *const *)((const char *)names + i * stride);
        size_t distance = edit_distance(name, candidate);
        /* short words are near all others */
        bool alike = 2 * distance <= strlen(name) || 2 * distance <= strlen(candidate);
        if (alike && distance < best) {
            best = distance;
            nearest = candidate;
        }
    }
    return nearest;
}
