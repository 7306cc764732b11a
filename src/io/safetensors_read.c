/* safetensors_read.c - reads safetensors files that may be truncated, damaged or hostile. */
#include "io/safetensors.h"
#include "io/safetensors_private.h"
#include "core/error.h"
#include "core/file.h"
#include "core/memory.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

typedef struct entry {
    nas__array array;
    size_t begin, end; /* in the data */
} entry;

struct nas__safetensors {
    const char *path; /* only while reading */
    json_t *root, *metadata;
    entry *entries; /* in the order of the data */
    const entry **by_name;
    size_t n;
    char *header;
    size_t header_size, data_size;
    void *data;
    bool checked;
};

static nas_status damaged(const nas__safetensors *s, const char *what) {
    return nas__fail(NAS_PARSE, "%s: is not a valid safetensors file: %s", s->path, what);
}

static nas_status damaged_array(const nas__safetensors *s, const char *name, const char *what) {
    return nas__fail(NAS_PARSE, "%s: is not a valid safetensors file: array \"%.200s\": %s", s->path, name, what);
}

static nas_status parse_dtype(const nas__safetensors *s, const char *name, const json_t *value, nas__array *a) {
    const char *text = json_string_value(value);
    if (!text) {
        return damaged_array(s, name, "its dtype is missing");
    }
    for (nas__dtype t = NAS__F32; t <= NAS__U8; t++) {
        if (!strcmp(text, nas__dtype_name(t))) {
            a->dtype = t;
            return NAS_OK;
        }
    }
    return nas__fail(NAS_UNSUPPORTED,
                     "%s: array \"%.200s\" has the dtype %.20s; only F32, F64, I64, U64 and U8 can be read: convert it",
                     s->path, name, text);
}

/* Fills the dimensions; *bytes is their product times the size of a number, checked for overflow. */
static nas_status parse_shape(const nas__safetensors *s, const char *name, const json_t *shape, nas__array *a,
                              size_t *bytes) {
    size_t n = json_array_size(shape);
    if (!json_is_array(shape) || n > NAS__ARRAY_DIMS) {
        return damaged_array(s, name, "its shape is not an array of at most 8 numbers");
    }
    *bytes = nas__array_bytes(&(nas__array){.dtype = a->dtype});
    bool empty = false;
    for (size_t i = 0; i < n; i++) {
        const json_t *dim = json_array_get(shape, i);
        json_int_t d = json_integer_value(dim);
        if (!json_is_integer(dim) || d < 0) {
            return damaged_array(s, name, "its shape has a dimension that is not a whole number");
        }
        empty |= d == 0;
        a->dims[a->ndim++] = d;
        if (d && __builtin_mul_overflow(*bytes, (size_t)d, bytes)) {
            return damaged_array(s, name, "its shape is too large for any file");
        }
    }
    *bytes = empty ? 0 : *bytes;
    return NAS_OK;
}

static nas_status parse_entry(const nas__safetensors *s, const char *name, const json_t *value, entry *e) {
    if (!json_is_object(value)) {
        return damaged_array(s, name, "its description is not an object");
    }
    e->array.name = name;
    size_t bytes = 0;
    nas_status status = parse_dtype(s, name, json_object_get(value, "dtype"), &e->array);
    status = status ? status : parse_shape(s, name, json_object_get(value, "shape"), &e->array, &bytes);
    if (status) {
        return status;
    }
    const json_t *offsets = json_object_get(value, "data_offsets");
    const json_t *begin = json_array_get(offsets, 0), *end = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(begin) || !json_is_integer(end) ||
        json_integer_value(begin) < 0 || json_integer_value(end) < json_integer_value(begin)) {
        return damaged_array(s, name, "its data_offsets are not two numbers in order");
    }
    e->begin = (size_t)json_integer_value(begin);
    e->end = (size_t)json_integer_value(end);
    return e->end - e->begin == bytes ? NAS_OK : damaged_array(s, name, "its data_offsets do not fit its shape");
}

static int by_offset(const void *a, const void *b) {
    const entry *x = a, *y = b;
    return x->begin != y->begin ? (x->begin > y->begin) - (x->begin < y->begin) : (x->end > y->end) - (x->end < y->end);
}

static int by_name(const void *a, const void *b) {
    return strcmp((*(const entry *const *)a)->array.name, (*(const entry *const *)b)->array.name);
}

static nas_status parse_metadata(nas__safetensors *s) {
    const char *key;
    json_t *value;
    s->metadata = json_object_get(s->root, "__metadata__");
    if (s->metadata && !json_is_object(s->metadata)) {
        return damaged(s, "__metadata__ is not an object");
    }
    json_object_foreach(s->metadata, key, value) {
        if (!json_is_string(value)) {
            return damaged(s, "__metadata__ has a value that is not text");
        }
    }
    return NAS_OK;
}

/* The arrays must cover the data without gap or overlap, as the format demands: nothing can hide between them. */
static nas_status check_cover(const nas__safetensors *s) {
    size_t end = 0;
    for (size_t i = 0; i < s->n; i++) {
        if (s->entries[i].begin != end) {
            return damaged_array(s, s->entries[i].array.name,
                                 s->entries[i].begin < end ? "it overlaps another array" : "there is a gap before it");
        }
        end = s->entries[i].end;
    }
    size_t expected = 8 + s->header_size + end, got = 8 + s->header_size + s->data_size;
    if (got < expected) {
        return nas__fail(NAS_PARSE, "%s: is truncated: %zu of %zu bytes", s->path, got, expected);
    }
    return got == expected ? NAS_OK : damaged(s, "there are bytes behind the last array");
}

static nas_status parse_header(nas__safetensors *s) {
    json_error_t error;
    s->root = json_loadb(s->header, s->header_size, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(s->root)) {
        return nas__fail(NAS_PARSE, "%s: is not a valid safetensors file: its header: %s", s->path,
                         s->root ? "is not an object" : error.text);
    }
    nas_status status = parse_metadata(s);
    size_t n = json_object_size(s->root);
    s->entries = nas__alloc((n + 1) * sizeof *s->entries);
    s->by_name = nas__alloc((n + 1) * sizeof *s->by_name);
    if (!s->entries || !s->by_name) {
        return nas_error_status();
    }
    const char *name;
    json_t *value;
    json_object_foreach(s->root, name, value) {
        if (!status && value != s->metadata) {
            status = parse_entry(s, name, value, &s->entries[s->n++]);
        }
    }
    if (status) {
        return status;
    }
    qsort(s->entries, s->n, sizeof *s->entries, by_offset);
    for (size_t i = 0; i < s->n; i++) {
        s->by_name[i] = &s->entries[i];
    }
    qsort(s->by_name, s->n, sizeof *s->by_name, by_name);
    return check_cover(s);
}

static nas_status verify(nas__safetensors *s) {
    const char *stored = nas__safetensors_metadata(s, NAS__CHECKSUM_KEY);
    if (!stored || strncmp(stored, NAS__CHECKSUM_PREFIX, strlen(NAS__CHECKSUM_PREFIX))) {
        return NAS_OK;
    }
    char *digits = memmem(s->header, s->header_size, NAS__CHECKSUM_TEXT, strlen(NAS__CHECKSUM_TEXT));
    char expected[NAS__CHECKSUM_DIGITS + 1] = "", got[NAS__CHECKSUM_DIGITS + 1];
    if (digits && strlen(stored) == strlen(NAS__CHECKSUM_ZERO)) {
        digits += strlen(NAS__CHECKSUM_TEXT);
        memcpy(expected, digits, NAS__CHECKSUM_DIGITS);
        memset(digits, '0', NAS__CHECKSUM_DIGITS);
    }
    uLong crc = crc32_z(0, (const Bytef *)s->header, s->header_size);
    if (s->data_size) {
        crc = crc32_z(crc, s->data, s->data_size);
    }
    snprintf(got, sizeof got, "%08lx", (unsigned long)crc & 0xffffffffUL);
    s->checked = true;
    return strcmp(expected, got)
               ? nas__fail(NAS_PARSE, "%s: is damaged: its checksum is %s instead of %s", s->path, got, stored)
               : NAS_OK;
}

static nas_status read_part(nas__safetensors *s, FILE *f, void *buffer, size_t bytes) {
    if (fread(buffer, 1, bytes, f) == bytes) {
        return NAS_OK;
    }
    return nas__fail(NAS_IO, "%s: cannot be read: %s", s->path,
                     ferror(f) ? strerror(errno) : "it became shorter while being read");
}

static nas_status read_header(nas__safetensors *s, FILE *f, size_t file_size) {
    unsigned char length[8];
    if (file_size < sizeof length) {
        return nas__fail(NAS_PARSE, "%s: is truncated: %zu bytes are no safetensors file", s->path, file_size);
    }
    nas_status status = read_part(s, f, length, sizeof length);
    uint64_t size = 0;
    for (int i = 7; i >= 0; i--) {
        size = size << 8 | length[i];
    }
    if (status) {
        return status;
    }
    if (size > NAS__HEADER_LIMIT) {
        return damaged(s, "it claims a header of more than 100 MB");
    }
    if (size > file_size - 8) {
        return nas__fail(NAS_PARSE, "%s: is truncated: %zu of at least %zu bytes", s->path, file_size,
                         (size_t)size + 8);
    }
    s->header_size = (size_t)size;
    s->data_size = file_size - 8 - s->header_size;
    s->header = nas__alloc(s->header_size + 1);
    status = s->header ? read_part(s, f, s->header, s->header_size) : nas_error_status();
    if (!status && s->header[0] != '{') {
        return damaged(s, "its header is not a JSON object");
    }
    return status ? status : parse_header(s);
}

static nas_status read_data(nas__safetensors *s, FILE *f) {
    if (posix_memalign(&s->data, 64, s->data_size ? s->data_size : 64)) {
        s->data = NULL;
        return nas__fail(NAS_NO_MEMORY, "%s: no memory for its %.1f MB", s->path, (double)s->data_size / 1e6);
    }
    for (size_t i = 0; i < s->n; i++) {
        s->entries[i].array.data = (const char *)s->data + s->entries[i].begin;
    }
    return read_part(s, f, s->data, s->data_size);
}

nas__safetensors *nas__safetensors_read(const char *path) {
    size_t size;
    FILE *f = nas__open_file(path, &size);
    if (!f) {
        return NULL;
    }
    nas__safetensors *s = nas__alloc(sizeof *s);
    nas_status status = s ? NAS_OK : NAS_NO_MEMORY;
    if (s) {
        s->path = path;
        status = read_header(s, f, size);
        status = status ? status : read_data(s, f);
        status = status ? status : verify(s);
        s->path = NULL;
    }
    fclose(f);
    if (status) {
        nas__safetensors_free(s);
        return NULL;
    }
    return s;
}

void nas__safetensors_free(nas__safetensors *s) {
    if (s) {
        json_decref(s->root);
        free(s->entries);
        free(s->by_name);
        free(s->header);
        free(s->data);
        free(s);
    }
}

size_t nas__safetensors_size(const nas__safetensors *s) { return s->n; }

const nas__array *nas__safetensors_at(const nas__safetensors *s, size_t i) { return &s->entries[i].array; }

const nas__array *nas__safetensors_find(const nas__safetensors *s, const char *name) {
    entry key = {.array.name = name};
    const entry *wanted = &key;
    const entry **found = bsearch(&wanted, s->by_name, s->n, sizeof *s->by_name, by_name);
    return found ? &(*found)->array : NULL;
}

/* The array is the first member of its entry. */
size_t nas__safetensors_index(const nas__safetensors *s, const nas__array *array) {
    return (size_t)((const entry *)array - s->entries);
}

const char *nas__safetensors_metadata(const nas__safetensors *s, const char *key) {
    return json_string_value(json_object_get(s->metadata, key));
}

bool nas__safetensors_checked(const nas__safetensors *s) { return s->checked; }
