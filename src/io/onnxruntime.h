/* onnxruntime.h - ONNX files run by libonnxruntime, which is opened when it is asked for: nothing is linked with it. */
#ifndef IO_ONNXRUNTIME_H
#define IO_ONNXRUNTIME_H

#include "hardware/profile.h"

typedef struct nas__ort nas__ort;
/* library: the path of a libonnxruntime.so; NULL: what ESPALIER_ONNXRUNTIME names, else the system's. NAS_NOT_FOUND
 * when there is none, NAS_ENGINE when it is none of version 1.2 or later. */
nas__ort *nas__ort_open(const char *library);
void nas__ort_close(nas__ort *ort);                /* NULL is fine */
const char *nas__ort_version(const nas__ort *ort); /* "1.32.0" */

typedef struct nas__ort_session {
    nas__ort *ort;
    void *session, *options, *memory;
    char *path, *input, *output; /* names, of the file's only input and of its first output */
    int ndim;
    int64_t dims[NAS_MAX_DIMS]; /* of the input; dims[0], and what else is free: -1 */
} nas__ort_session;
/* The file, ready to run; the library must outlive it. profile: NULL, or where a trace of its runs is written, as the
 * beginning of a path. NULL and an error: no such network, or not one float input of up to NAS_MAX_DIMS dimensions. */
nas__ort_session *nas__ort_session_new(nas__ort *ort, const char *path, int threads, const char *profile);
void nas__ort_session_free(nas__ort_session *s); /* NULL is fine */
/* Ends the trace; its path (new, free()). */
char *nas__ort_trace(nas__ort_session *s);
/* A text of the file's metadata (new, free()); NULL without an error: it has none of that name. */
char *nas__ort_metadata(nas__ort_session *s, const char *key);
/* One run of x, of these dimensions. What comes out into *y (new, free()) and `out`, *n_out; y NULL: it is thrown away.
 */
nas_status nas__ort_run(nas__ort_session *s, int ndim, const int64_t *dims, float *x, float **y, int64_t *out,
                        int *n_out);

/* onnx_engine.c: measures the networks of a space as onnxruntime runs their exported files. `user` of the engine is
 * the nas__ort. */
nas__profile_engine nas__ort_engine(nas__ort *ort);

#endif
