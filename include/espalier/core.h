/* core.h - errors, log, random numbers, threads: what every other room stands on. */
#ifndef ESPALIER_CORE_H
#define ESPALIER_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define NAS_API                 __attribute__((visibility("default")))
#define NAS_PRINTF(text, first) __attribute__((__format__(__printf__, text, first)))
#else
#define NAS_API
#define NAS_PRINTF(text, first)
#endif

/* "Off", where 0 already means "the documented default" (see the config structs). */
#define NAS_NONE (-1)

/* --- errors -------------------------------------------------------------------------------------
 * Functions that can fail return a nas_status (0 is success) or NULL. The message belongs to the calling thread: it
 * says what went wrong, where, and what to do. Expressions over tensors are sticky: NULL in, NULL out, and the first
 * error is kept, so a forward function reads like mathematics and is checked once. */
#define NAS_STATUS_MAP(X)                                                                                              \
    X(NAS_OK, 0, "ok")                                                                                                 \
    X(NAS_INVALID, 1, "invalid argument")                                                                              \
    X(NAS_SHAPE, 2, "shapes do not fit")                                                                               \
    X(NAS_NO_MEMORY, 3, "out of memory")                                                                               \
    X(NAS_IO, 4, "input/output failed")                                                                                \
    X(NAS_PARSE, 5, "cannot be parsed")                                                                                \
    X(NAS_NOT_FOUND, 6, "not found")                                                                                   \
    X(NAS_UNSUPPORTED, 7, "not supported")                                                                             \
    X(NAS_NUMERIC, 8, "not a number")                                                                                  \
    X(NAS_INTERRUPTED, 9, "interrupted")                                                                               \
    X(NAS_ENGINE, 10, "engine failure")                                                                                \
    X(NAS_USAGE, 11, "wrong usage")

typedef enum nas_status {
#define X(name, value, text) name = value,
    NAS_STATUS_MAP(X)
#undef X
} nas_status;

/* A status in words ("shapes do not fit"); static text, never NULL. */
NAS_API const char *nas_status_text(nas_status status);
/* Status and message of the calling thread's first error since the last nas_error_clear(); never NULL ("" when none).
 */
NAS_API nas_status nas_error_status(void);
NAS_API const char *nas_error_message(void);
NAS_API void nas_error_clear(void);
/* Records an error, unless one is pending, and returns the status: for strategies, spaces and data of your own. Say
 * what, where, and what to do. */
NAS_API nas_status nas_fail(nas_status status, const char *format, ...) NAS_PRINTF(2, 3);
/* Prints the message to stderr and returns 1, so that a main function can end with `return nas_print_error();`. */
NAS_API int nas_print_error(void);

/* --- log ---------------------------------------------------------------------------------------- */
typedef enum nas_log_level {
    NAS_LOG_DEBUG = 0,
    NAS_LOG_INFO = 10,
    NAS_LOG_WARN = 20,
    NAS_LOG_ERROR = 30
} nas_log_level;
typedef void (*nas_log_fn)(nas_log_level level, const char *message, void *user);
/* The library prints nothing by itself: messages go to this callback (NULL: nowhere, the default). Process-wide. */
NAS_API void nas_set_log(nas_log_fn fn, void *user);

/* --- random numbers -----------------------------------------------------------------------------
 * Counter-based (Philox4x32-10, Salmon et al., SC 2011): a stream is a (seed, stream) pair and a position, so streams
 * can be keyed by purpose and step, saved and resumed, and never depend on threads. */
typedef struct nas_rng {
    uint64_t seed, stream, position;
} nas_rng;

/* At position 0 of its stream; each draw below moves the position on. */
NAS_API nas_rng nas_rng_new(uint64_t seed, uint64_t stream);
NAS_API uint32_t nas_rng_u32(nas_rng *rng);               /* all 32 bits */
NAS_API double nas_rng_uniform(nas_rng *rng);             /* [0, 1) */
NAS_API double nas_rng_normal(nas_rng *rng);              /* mean 0, deviation 1 */
NAS_API uint32_t nas_rng_below(nas_rng *rng, uint32_t n); /* 0 .. n-1, without bias; n >= 1 */
/* An index 0 .. n-1, each with its probability p[i] (>= 0; they sum to 1 but for rounding). */
NAS_API int nas_rng_choose(nas_rng *rng, int n, const double *p);
NAS_API void nas_rng_shuffle(nas_rng *rng, int32_t *a, size_t n); /* Fisher-Yates */

/* --- threads and memory ------------------------------------------------------------------------- */
/* Number of threads of the kernels; 0 = OMP_NUM_THREADS where the environment sets it, else all cores this process may
 * use. Call it before the first computation. nas_threads() tells the number in force. */
NAS_API void nas_set_threads(int n);
NAS_API int nas_threads(void);

typedef struct nas_memory_stats {
    size_t live_bytes, peak_bytes, cached_bytes;
    uint64_t system_allocations; /* calls that reached malloc since the start; constant in steady state */
} nas_memory_stats;
/* Tensor memory of this process. nas_memory_reset_peak() restarts the peak at the live bytes. */
NAS_API nas_memory_stats nas_memory(void);
NAS_API void nas_memory_reset_peak(void);

/* Of the library that runs: "0.1.0"; static text. */
NAS_API const char *nas_version(void);

#ifdef __cplusplus
}
#endif
#endif
