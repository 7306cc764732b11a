/* safetensors.c - arrays' descriptions, and the writer. */
#include "io/safetensors.h"
#include "io/safetensors_private.h"
#include "core/error.h"
#include "core/file.h"
#include "core/memory.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { ALIGNMENT = 64 };

static const struct {
    const char *name;
    size_t size;
} dtypes[] = {{"F32", 4}, {"F64", 8}, {"I64", 8}, {"U64", 8}, {"U8", 1}};

const char *nas__dtype_name(nas__dtype dtype) { return dtypes[dtype].name; }

size_t nas__array_count(const nas__array *a) {
    size_t count = 1;
    for (int i = 0; i < a->ndim; i++) {
        count *= (size_t)a->dims[i];
    }
    return count;
}

size_t nas__array_bytes(const nas__array *a) { return nas__array_count(a) * dtypes[a->dtype].size; }

const char *nas__array_text(const nas__array *a) {
    static _Thread_local char texts[4][192];
    static _Thread_local unsigned next;
    char *text = texts[next++ % 4];
    int used = snprintf(text, sizeof texts[0], "%s ", dtypes[a->dtype].name);
    for (int i = 0; i < a->ndim; i++) {
        used += snprintf(text + used, sizeof texts[0] - (size_t)used, "%s%lld", i ? "x" : "", (long long)a->dims[i]);
    }
    if (!a->ndim) {
        snprintf(text + used, sizeof texts[0] - (size_t)used, "scalar");
    }
    return text;
}

/* Order of the data: wide numbers first, so that every array is aligned to its own numbers without gaps. */
static int by_width(const void *a, const void *b) {
    const nas__array *x = *(const nas__array *const *)a, *y = *(const nas__array *const *)b;
    size_t wx = dtypes[x->dtype].size, wy = dtypes[y->dtype].size;
    return wx != wy ? (wx < wy) - (wx > wy) : (x > y) - (x < y);
}

static bool add_array(json_t *root, const nas__array *a, size_t begin) {
    json_t *shape = json_array();
    for (int i = 0; i < a->ndim; i++) {
        json_array_append_new(shape, json_integer(a->dims[i]));
    }
    json_t *entry = json_pack("{s:s, s:o, s:[I, I]}", "dtype", dtypes[a->dtype].name, "shape", shape, "data_offsets",
                              (json_int_t)begin, (json_int_t)(begin + nas__array_bytes(a)));
    return json_object_set_new(root, a->name, entry) == 0;
}

static json_t *make_metadata(const char *path, size_t n, const nas__text_pair *metadata) {
    json_t *object = json_pack("{s:s}", NAS__CHECKSUM_KEY, NAS__CHECKSUM_ZERO);
    for (size_t i = 0; i < n; i++) {
        if (json_object_set_new(object, metadata[i].key, json_string(metadata[i].value))) {
            json_decref(object);
            return nas__fail_null(NAS_INVALID, "%s: the metadata \"%s\" is not UTF-8 text", path, metadata[i].key);
        }
    }
    return object;
}

/* The header's JSON, padded with spaces so that the data begin on a multiple of 64 bytes in the file. */
static char *make_header(const char *path, size_t n, const nas__array *const *order, json_t *metadata, size_t *size) {
    json_t *root = json_pack("{s:o}", "__metadata__", metadata);
    char *text = NULL, *padded = NULL;
    size_t begin = 0;
    for (size_t i = 0; i < n; i++) {
        if (json_object_get(root, order[i]->name)) {
            nas__fail(NAS_INVALID, "%s: the name \"%s\" is used for two arrays", path, order[i]->name);
            goto done;
        }
        if (!add_array(root, order[i], begin)) {
            nas__fail(NAS_INVALID, "%s: the name \"%s\" is not UTF-8 text", path, order[i]->name);
            goto done;
        }
        begin += nas__array_bytes(order[i]);
    }
    text = json_dumps(root, JSON_COMPACT);
    size_t length = text ? strlen(text) : 0;
    *size = (length + 8 + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT - 8;
    padded = text ? nas__alloc(*size + 1) : nas__fail_null(NAS_NO_MEMORY, "%s: no memory for its header", path);
    if (padded && *size > NAS__HEADER_LIMIT) {
        free(padded);
        padded = nas__fail_null(NAS_UNSUPPORTED, "%s: %zu arrays are too many for one file", path, n);
    }
    if (padded) {
        memset(padded, ' ', *size);
        memcpy(padded, text, length);
    }
done:
    free(text);
    json_decref(root);
    return padded;
}

static void stamp_checksum(char *header, size_t size, size_t n, const nas__array *const *order) {
    uLong crc = crc32_z(0, (const Bytef *)header, size);
    for (size_t i = 0; i < n; i++) {
        size_t bytes = nas__array_bytes(order[i]);
        if (bytes) { /* crc32 of a null pointer starts anew */
            crc = crc32_z(crc, order[i]->data, bytes);
        }
    }
    char digits[NAS__CHECKSUM_DIGITS + 1];
    snprintf(digits, sizeof digits, "%08lx", (unsigned long)crc & 0xffffffffUL);
    memcpy(strstr(header, NAS__CHECKSUM_TEXT) + strlen(NAS__CHECKSUM_TEXT), digits, NAS__CHECKSUM_DIGITS);
}

static nas_status write_out(const char *path, const char *header, size_t size, size_t n,
                            const nas__array *const *order) {
    nas__atomic_file f = {0};
    nas_status status = nas__atomic_open(&f, path);
    if (status) {
        return status;
    }
    unsigned char length[8];
    for (int i = 0; i < 8; i++) {
        length[i] = (unsigned char)((uint64_t)size >> (8 * i));
    }
    fwrite(length, 1, sizeof length, f.stream); /* failures show in ferror at the commit */
    fwrite(header, 1, size, f.stream);
    for (size_t i = 0; i < n; i++) {
        size_t bytes = nas__array_bytes(order[i]);
        if (bytes) {
            fwrite(order[i]->data, 1, bytes, f.stream);
        }
    }
    return nas__atomic_commit(&f);
}

nas_status nas__safetensors_write(const char *path, size_t n, const nas__array *arrays, size_t n_metadata,
                                  const nas__text_pair *metadata) {
    const nas__array **order = nas__alloc((n + 1) * sizeof *order);
    json_t *object = order ? make_metadata(path, n_metadata, metadata) : NULL;
    char *header = NULL;
    size_t size = 0;
    if (object) {
        for (size_t i = 0; i < n; i++) {
            order[i] = &arrays[i];
        }
        qsort(order, n, sizeof *order, by_width);
        header = make_header(path, n, order, object, &size);
    }
    if (!header) {
        free(order);
        return nas_error_status();
    }
    stamp_checksum(header, size, n, order);
    nas_status status = write_out(path, header, size, n, order);
    free(header);
    free(order);
    return status;
}
