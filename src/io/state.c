/* state.c - see state.h. Saving collects descriptions and writes them in finish; loading checks every binding at once
 * and copies in finish, so that a file that does not fit changes nothing. */
#include "io/state.h"
#include "io/safetensors.h"
#include "core/error.h"
#include "core/memory.h"
#include "tensor/tensor.h"

#include <stdlib.h>
#include <string.h>

typedef struct binding {
    nas__array array;   /* name owned; data: the bound memory, or `copy` when saving */
    void *target;       /* loading: where the numbers go, */
    nas_tensor *tensor; /* or the tensor that they go to */
    const nas__array *source;
    void *copy;
} binding;

struct nas_state {
    bool loading;
    char *path, *metadata;
    nas__safetensors *file;
    binding *bindings;
    size_t n;
    nas_status status; /* first failure */
};

static void failed(nas_state *s, nas_status status) {
    if (!s->status) {
        s->status = status;
    }
}

/* A file's array of this name and kind; NULL and an error when it is missing or of another kind. */
static const nas__array *find(nas_state *s, const char *name, nas__dtype dtype) {
    const nas__array *found = nas__safetensors_find(s->file, name);
    if (!found) {
        failed(s,
               nas__fail(NAS_NOT_FOUND, "%s: has no array \"%s\": it was written by another configuration or version",
                         s->path, name));
    } else if (found->dtype != dtype) {
        failed(s, nas__fail(NAS_SHAPE, "%s: array \"%s\" is %s instead of %s", s->path, name,
                            nas__dtype_name(found->dtype), nas__dtype_name(dtype)));
        found = NULL;
    }
    return found;
}

static bool same_dims(const nas__array *a, const nas__array *b) {
    return a->ndim == b->ndim && !memcmp(a->dims, b->dims, sizeof a->dims[0] * (size_t)a->ndim);
}

/* Takes `array`'s description under a copy of its name; NULL after a failure. */
static binding *bind(nas_state *s, const nas__array *array) {
    if (s->status) {
        return NULL;
    }
    const nas__array *source = NULL;
    if (s->loading) {
        source = find(s, array->name, array->dtype);
        if (source && !same_dims(source, array)) {
            failed(s, nas__fail(NAS_SHAPE, "%s: array \"%s\" is %s instead of %s", s->path, array->name,
                                nas__array_text(source), nas__array_text(array)));
        }
    }
    if (s->status) {
        return NULL;
    }
    char *name = nas__strdup(array->name);
    if (!name || !nas__grow(&s->bindings, s->n, sizeof *s->bindings)) {
        free(name);
        failed(s, NAS_NO_MEMORY);
        return NULL;
    }
    binding *b = &s->bindings[s->n++];
    *b = (binding){.array = *array, .source = source};
    b->array.name = name;
    return b;
}

static void bind_numbers(nas_state *s, const char *name, nas__dtype dtype, void *values, size_t count) {
    binding *b =
        bind(s, &(nas__array){.name = name, .dtype = dtype, .ndim = 1, .dims = {(int64_t)count}, .data = values});
    if (b) {
        b->target = values;
    }
}

void nas_state_f32(nas_state *s, const char *name, float *values, size_t count) {
    bind_numbers(s, name, NAS__F32, values, count);
}

void nas_state_f64(nas_state *s, const char *name, double *values, size_t count) {
    bind_numbers(s, name, NAS__F64, values, count);
}

void nas_state_i64(nas_state *s, const char *name, int64_t *values, size_t count) {
    bind_numbers(s, name, NAS__I64, values, count);
}

void nas_state_u64(nas_state *s, const char *name, uint64_t *values, size_t count) {
    bind_numbers(s, name, NAS__U64, values, count);
}

nas__array nas__array_of(const char *name, const nas_tensor *t) {
    nas__array a = {.name = name, .dtype = NAS__F32, .ndim = nas_tensor_ndim(t)};
    for (int i = 0; i < a.ndim; i++) {
        a.dims[i] = nas_tensor_dim(t, i);
    }
    return a;
}

void nas_state_tensor(nas_state *s, const char *name, nas_tensor *t) {
    if (!t || !t->data) {
        failed(s, nas__fail(NAS_INVALID, "%s: the tensor for \"%s\" is missing or has no memory", s->path, name));
        return;
    }
    const nas__array array = nas__array_of(name, t);
    binding *b = bind(s, &array);
    if (b) {
        b->tensor = t;
    }
}

static void load_list(nas_state *s, const char *name, nas__dtype dtype, void **values, size_t *count) {
    *values = NULL;
    *count = 0;
    const nas__array *source = s->status ? NULL : find(s, name, dtype);
    if (source) {
        size_t n = nas__array_count(source);
        *values = nas__alloc((n + 1) * 8);
        if (*values) {
            memcpy(*values, source->data, n * 8);
            *count = n;
        } else {
            failed(s, NAS_NO_MEMORY);
        }
    }
}

/* Saving takes a copy, so that the list may be a temporary one; loading hands its copy out at once. */
static void bind_list(nas_state *s, const char *name, nas__dtype dtype, void **values, size_t *count) {
    if (s->loading) {
        load_list(s, name, dtype, values, count);
        return;
    }
    void *copy = nas__alloc((*count + 1) * 8);
    if (copy && *count) {
        memcpy(copy, *values, *count * 8);
    }
    binding *b =
        copy ? bind(s, &(nas__array){.name = name, .dtype = dtype, .ndim = 1, .dims = {(int64_t)*count}, .data = copy})
             : NULL;
    if (b) {
        b->copy = copy;
    } else {
        failed(s, nas_error_status());
        free(copy);
    }
}

void nas_state_list_f64(nas_state *s, const char *name, double **values, size_t *count) {
    void *list = *values;
    bind_list(s, name, NAS__F64, &list, count);
    *values = list;
}

void nas_state_list_u64(nas_state *s, const char *name, uint64_t **values, size_t *count) {
    void *list = *values;
    bind_list(s, name, NAS__U64, &list, count);
    *values = list;
}

void nas_state_fail(nas_state *s) { failed(s, nas_error_status()); }

bool nas_state_is_loading(const nas_state *s) { return s->loading; }

static nas_state *begin(const char *path, const char *metadata, bool loading) {
    nas_state *s = nas__alloc(sizeof *s);
    if (s) {
        s->loading = loading;
        s->path = nas__strdup(path);
        s->metadata = nas__strdup(metadata ? metadata : "");
        if (!s->path || !s->metadata) {
            nas__state_abandon(s);
            s = NULL;
        }
    }
    return s;
}

nas_state *nas__state_save_begin(const char *path, const char *metadata) { return begin(path, metadata, false); }

nas_state *nas__state_load_begin(const char *path) {
    nas__safetensors *file = nas__safetensors_read(path);
    if (!file) {
        return NULL;
    }
    if (!nas__safetensors_checked(file)) {
        nas__safetensors_free(file);
        return nas__fail_null(NAS_PARSE, "%s: is not a checkpoint: it has no checksum", path);
    }
    nas_state *s = begin(path, nas__safetensors_metadata(file, "espalier"), true);
    if (!s) {
        nas__safetensors_free(file);
        return NULL;
    }
    s->file = file;
    return s;
}

bool nas__state_has(const nas_state *s, const char *name) { return s->file && nas__safetensors_find(s->file, name); }

const char *nas__state_metadata(const nas_state *s) { return s->metadata; }

/* The values of a tensor, row-major, in a copy of their own. */
static nas_status copy_tensor(binding *b) {
    b->copy = nas__alloc(nas__array_bytes(&b->array) + sizeof(float));
    b->array.data = b->copy;
    nas_status status = b->copy ? nas_tensor_read(b->tensor, b->copy) : nas_error_status();
    return status ? nas__error_context("%s", b->array.name) : NAS_OK;
}

static nas_status save(nas_state *s) {
    nas__array *arrays = nas__alloc((s->n + 1) * sizeof *arrays);
    nas_status status = arrays ? NAS_OK : NAS_NO_MEMORY;
    for (size_t i = 0; i < s->n && !status; i++) {
        status = s->bindings[i].tensor ? copy_tensor(&s->bindings[i]) : NAS_OK;
        arrays[i] = s->bindings[i].array;
    }
    if (!status) {
        status = nas__safetensors_write(s->path, s->n, arrays, 1, &(nas__text_pair){"espalier", s->metadata});
    }
    free(arrays);
    return status;
}

static nas_status load(nas_state *s) {
    nas_status status = NAS_OK;
    for (size_t i = 0; i < s->n && !status; i++) {
        const binding *b = &s->bindings[i];
        if (b->tensor) {
            status = nas_tensor_write(b->tensor, b->source->data);
        } else if (b->target) {
            memcpy(b->target, b->source->data, nas__array_bytes(&b->array));
        }
    }
    return status;
}

nas_status nas__state_finish(nas_state *s) {
    nas_status status = s->status;
    if (!status) {
        status = s->loading ? load(s) : save(s);
    }
    nas__state_abandon(s);
    return status;
}

void nas__state_abandon(nas_state *s) {
    if (!s) {
        return;
    }
    for (size_t i = 0; i < s->n; i++) {
        free((char *)s->bindings[i].array.name);
        free(s->bindings[i].copy);
    }
    free(s->bindings);
    free(s->path);
    free(s->metadata);
    nas__safetensors_free(s->file);
    free(s);
}
