/* onnxruntime.c - see onnxruntime.h. Of the library's C interface this file states what it uses: an interface is a
 * table of functions in an order that never changes, and these are all in its version 2 (onnxruntime 1.2). */
#include "io/onnxruntime.h"

#include "core/error.h"
#include "core/memory.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

enum { API_VERSION = 2, FLOAT = 1, LOG_ERRORS = 3, ALL_OPTIMISATIONS = 99, ARENA = 1, DEFAULT_MEMORY = 0 };

/* Where the functions stand. */
enum {
    GET_ERROR_MESSAGE = 2,
    CREATE_ENV = 3,
    CREATE_SESSION = 7,
    RUN = 9,
    CREATE_OPTIONS = 10,
    ENABLE_PROFILING = 14,
    SET_LOG_SEVERITY = 22,
    SET_OPTIMISATION = 23,
    SET_THREADS = 24,
    SET_INTER_THREADS = 25,
    INPUT_COUNT = 30,
    INPUT_TYPE = 33,
    INPUT_NAME = 36,
    OUTPUT_NAME = 37,
    CREATE_TENSOR = 49,
    TENSOR_DATA = 51,
    TYPE_TO_TENSOR = 55,
    ELEMENT_TYPE = 60,
    DIMENSIONS_COUNT = 61,
    DIMENSIONS = 62,
    VALUE_SHAPE = 65,
    CREATE_CPU_MEMORY = 69,
    ALLOCATOR_FREE = 76,
    DEFAULT_ALLOCATOR = 78,
    RELEASE_ENV = 92,
    RELEASE_STATUS = 93,
    RELEASE_MEMORY = 94,
    RELEASE_SESSION = 95,
    RELEASE_VALUE = 96,
    RELEASE_TYPE = 98,
    RELEASE_SHAPE = 99,
    RELEASE_OPTIONS = 100,
    END_PROFILING = 110,
    MODEL_METADATA = 111,
    LOOKUP_METADATA = 116,
    RELEASE_METADATA = 118
};

typedef void (*function)(void);
typedef struct api_base {
    const function *(*get)(uint32_t version);
    const char *(*version)(void);
} api_base;

struct nas__ort {
    void *object, *env, *allocator;
    const function *api;
    const api_base *base;
};

/* A function of the table; its arguments, but not what it returns: a status, which is NULL when all is well. */
#define CALL(ort, index, types, ...) status_of(ort, ((void *(*)types)(ort)->api[index])(__VA_ARGS__))
#define RELEASE(ort, index, object)  ((void (*)(void *))(ort)->api[index])(object)

static nas_status status_of(const nas__ort *ort, void *status) {
    if (!status) {
        return NAS_OK;
    }
    const char *text = ((const char *(*)(const void *))ort->api[GET_ERROR_MESSAGE])(status);
    nas__fail(NAS_ENGINE, "onnxruntime: %.600s", text ? text : "an error without a message");
    RELEASE(ort, RELEASE_STATUS, status);
    return nas_error_status();
}

/* --- the library ------------------------------------------------------------------------------------------ */
static nas_status open_object(nas__ort *ort, const char *library) {
    const char *named = library ? library : getenv("ESPALIER_ONNXRUNTIME");
    static const char *const usual[] = {"libonnxruntime.so", "libonnxruntime.so.1"};
    bool any = !named || !*named;
    ort->object = any ? NULL : dlopen(named, RTLD_NOW | RTLD_LOCAL);
    const char *why = any || ort->object ? "" : dlerror();
    for (size_t i = 0; any && !ort->object && i < sizeof usual / sizeof *usual; i++) {
        ort->object = dlopen(usual[i], RTLD_NOW | RTLD_LOCAL);
    }
    return ort->object ? NAS_OK
           : any       ? nas__fail(NAS_NOT_FOUND, "libonnxruntime.so is not here: name one by --onnxruntime LIB or "
                                                        "ESPALIER_ONNXRUNTIME; that of Python's package onnxruntime serves (in "
                                                        "its folder capi)")
                       : nas__fail(NAS_NOT_FOUND, "%s, named by %s, cannot be opened: %s", named,
                             library ? "--onnxruntime" : "ESPALIER_ONNXRUNTIME", why);
}

static nas_status open_api(nas__ort *ort) {
    const api_base *(*get_base)(void) = (const api_base *(*)(void))dlsym(ort->object, "OrtGetApiBase");
    ort->base = get_base ? get_base() : NULL;
    ort->api = ort->base ? ort->base->get(API_VERSION) : NULL;
    if (!ort->api) {
        return nas__fail(NAS_ENGINE, "this is no libonnxruntime of version 1.2 or later: %s",
                         ort->base ? ort->base->version() : "it has no OrtGetApiBase");
    }
    nas_status status = CALL(ort, CREATE_ENV, (int, const char *, void **), LOG_ERRORS, "espalier", &ort->env);
    return status ? status : CALL(ort, DEFAULT_ALLOCATOR, (void **), &ort->allocator);
}

nas__ort *nas__ort_open(const char *library) {
    nas__ort *ort = nas__alloc(sizeof *ort);
    if (ort && (open_object(ort, library) || open_api(ort))) {
        nas__ort_close(ort);
        return NULL;
    }
    return ort;
}

/* The object stays: its threads may still run when it would be unloaded. */
void nas__ort_close(nas__ort *ort) {
    if (ort && ort->env) {
        RELEASE(ort, RELEASE_ENV, ort->env);
    }
    free(ort);
}

const char *nas__ort_version(const nas__ort *ort) { return ort->base->version(); }

/* --- sessions --------------------------------------------------------------------------------------------- */
/* A text of the library's as one of ours. */
static char *take_text(const nas__ort *ort, char *text) {
    char *copy = text ? nas__strdup(text) : NULL;
    if (text && CALL(ort, ALLOCATOR_FREE, (void *, void *), ort->allocator, text)) {
        free(copy);
        copy = NULL;
    }
    return copy;
}

static nas_status read_input(nas__ort_session *s) {
    const nas__ort *ort = s->ort;
    size_t inputs = 0, ndim = 0;
    void *type = NULL, *tensor = NULL;
    int element = 0;
    nas_status status = CALL(ort, INPUT_COUNT, (const void *, size_t *), s->session, &inputs);
    if (!status && inputs != 1) {
        status = nas__fail(NAS_UNSUPPORTED, "%s has %zu inputs; networks of one are run", s->path, inputs);
    }
    status = status ? status : CALL(ort, INPUT_TYPE, (const void *, size_t, void **), s->session, 0, &type);
    status = status ? status : CALL(ort, TYPE_TO_TENSOR, (const void *, void **), type, &tensor); /* of `type` */
    if (!status && tensor) {
        status = CALL(ort, ELEMENT_TYPE, (const void *, int *), tensor, &element);
        status = status ? status : CALL(ort, DIMENSIONS_COUNT, (const void *, size_t *), tensor, &ndim);
    }
    if (!status && (element != FLOAT || ndim < 2 || ndim > NAS_MAX_DIMS)) {
        status =
            nas__fail(NAS_UNSUPPORTED, "%s: its input is no float tensor of 2 to %d dimensions", s->path, NAS_MAX_DIMS);
    }
    s->ndim = (int)ndim;
    status = status ? status : CALL(ort, DIMENSIONS, (const void *, int64_t *, size_t), tensor, s->dims, ndim);
    if (type) {
        RELEASE(ort, RELEASE_TYPE, type);
    }
    return status;
}

static nas_status read_names(nas__ort_session *s) {
    char *text = NULL;
    nas_status status =
        CALL(s->ort, INPUT_NAME, (const void *, size_t, void *, char **), s->session, 0, s->ort->allocator, &text);
    s->input = status ? NULL : take_text(s->ort, text);
    status = status ? status
                    : CALL(s->ort, OUTPUT_NAME, (const void *, size_t, void *, char **), s->session, 0,
                           s->ort->allocator, &text);
    s->output = status ? NULL : take_text(s->ort, text);
    return nas_error_status();
}

static nas_status open_session(nas__ort_session *s, int threads, const char *profile) {
    const nas__ort *ort = s->ort;
    nas_status status = CALL(ort, CREATE_OPTIONS, (void **), &s->options);
    status = status ? status : CALL(ort, SET_OPTIMISATION, (void *, int), s->options, ALL_OPTIMISATIONS);
    status = status ? status : CALL(ort, SET_LOG_SEVERITY, (void *, int), s->options, LOG_ERRORS);
    status = status ? status : CALL(ort, SET_THREADS, (void *, int), s->options, threads);
    status = status ? status : CALL(ort, SET_INTER_THREADS, (void *, int), s->options, 1);
    if (!status && profile) {
        status = CALL(ort, ENABLE_PROFILING, (void *, const char *), s->options, profile);
    }
    status = status ? status
                    : CALL(ort, CREATE_SESSION, (const void *, const char *, const void *, void **), ort->env, s->path,
                           s->options, &s->session);
    return status ? status : CALL(ort, CREATE_CPU_MEMORY, (int, int, void **), ARENA, DEFAULT_MEMORY, &s->memory);
}

nas__ort_session *nas__ort_session_new(nas__ort *ort, const char *path, int threads, const char *profile) {
    nas__ort_session *s = nas__alloc(sizeof *s);
    if (!s) {
        return NULL;
    }
    *s = (nas__ort_session){.ort = ort, .path = nas__strdup(path)};
    nas_status status = s->path ? open_session(s, threads, profile) : nas_error_status();
    status = status ? status : read_input(s);
    status = status ? status : read_names(s);
    if (status) {
        nas__error_context("%s", path);
        nas__ort_session_free(s);
        return NULL;
    }
    return s;
}

void nas__ort_session_free(nas__ort_session *s) {
    const struct {
        void *object;
        int release;
    } parts[] = {{s ? s->memory : NULL, RELEASE_MEMORY},
                 {s ? s->session : NULL, RELEASE_SESSION},
                 {s ? s->options : NULL, RELEASE_OPTIONS}};
    for (size_t i = 0; s && i < sizeof parts / sizeof *parts; i++) {
        if (parts[i].object) {
            RELEASE(s->ort, parts[i].release, parts[i].object);
        }
    }
    if (s) {
        free(s->path);
        free(s->input);
        free(s->output);
        free(s);
    }
}

char *nas__ort_trace(nas__ort_session *s) {
    char *text = NULL;
    nas_status status = CALL(s->ort, END_PROFILING, (void *, void *, char **), s->session, s->ort->allocator, &text);
    return status ? NULL : take_text(s->ort, text);
}

char *nas__ort_metadata(nas__ort_session *s, const char *key) {
    void *metadata = NULL;
    char *text = NULL;
    if (CALL(s->ort, MODEL_METADATA, (const void *, void **), s->session, &metadata)) {
        return NULL;
    }
    nas_status status = CALL(s->ort, LOOKUP_METADATA, (const void *, void *, const char *, char **), metadata,
                             s->ort->allocator, key, &text);
    RELEASE(s->ort, RELEASE_METADATA, metadata);
    return status ? NULL : take_text(s->ort, text);
}

/* --- runs ------------------------------------------------------------------------------------------------- */
static nas_status read_output(const nas__ort_session *s, void *value, float **y, int64_t *out, int *n_out) {
    const nas__ort *ort = s->ort;
    void *shape = NULL;
    float *data = NULL;
    size_t ndim = 0, count = 1;
    int element = 0;
    nas_status status = CALL(ort, VALUE_SHAPE, (const void *, void **), value, &shape);
    status = status ? status : CALL(ort, ELEMENT_TYPE, (const void *, int *), shape, &element);
    status = status ? status : CALL(ort, DIMENSIONS_COUNT, (const void *, size_t *), shape, &ndim);
    if (!status && (element != FLOAT || ndim < 1 || ndim > NAS_MAX_DIMS)) {
        status = nas__fail(NAS_UNSUPPORTED, "%s: its output is no float tensor of 1 to %d dimensions", s->path,
                           NAS_MAX_DIMS);
    }
    status = status ? status : CALL(ort, DIMENSIONS, (const void *, int64_t *, size_t), shape, out, ndim);
    status = status ? status : CALL(ort, TENSOR_DATA, (void *, void **), value, (void **)&data);
    for (size_t i = 0; !status && i < ndim; i++) {
        count *= (size_t)out[i];
    }
    *n_out = (int)ndim;
    *y = status ? NULL : nas__alloc((count ? count : 1) * sizeof **y);
    if (*y) {
        memcpy(*y, data, count * sizeof **y);
    }
    if (shape) {
        RELEASE(ort, RELEASE_SHAPE, shape);
    }
    return nas_error_status();
}

nas_status nas__ort_run(nas__ort_session *s, int ndim, const int64_t *dims, float *x, float **y, int64_t *out,
                        int *n_out) {
    const nas__ort *ort = s->ort;
    size_t count = 1;
    void *in = NULL, *result = NULL;
    for (int i = 0; i < ndim; i++) {
        count *= (size_t)dims[i];
    }
    nas_status status = CALL(ort, CREATE_TENSOR, (const void *, void *, size_t, const int64_t *, size_t, int, void **),
                             s->memory, x, count * sizeof *x, dims, (size_t)ndim, FLOAT, &in);
    const char *inputs[] = {s->input}, *outputs[] = {s->output};
    status = status ? status
                    : CALL(ort, RUN,
                           (void *, const void *, const char *const *, void *const *, size_t, const char *const *,
                            size_t, void **),
                           s->session, NULL, inputs, &in, 1, outputs, 1, &result);
    status = status || !y ? status : read_output(s, result, y, out, n_out);
    if (in) {
        RELEASE(ort, RELEASE_VALUE, in);
    }
    if (result) {
        RELEASE(ort, RELEASE_VALUE, result);
    }
    return status ? nas__error_context("%s", s->path) : NAS_OK;
}
