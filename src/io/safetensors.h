/* safetensors.h - the safetensors format: an 8-byte little-endian length, a JSON header, the arrays' bytes without
 * gaps. Files may come from anywhere, so everything in a header is checked before it is believed. */
#ifndef IO_SAFETENSORS_H
#define IO_SAFETENSORS_H

#include <espalier/core.h>

typedef enum nas__dtype { NAS__F32, NAS__F64, NAS__I64, NAS__U64, NAS__U8 } nas__dtype;
enum { NAS__ARRAY_DIMS = 8 };

typedef struct nas__array {
    const char *name;
    nas__dtype dtype;
    int ndim; /* 0: a single number */
    int64_t dims[NAS__ARRAY_DIMS];
    const void *data; /* row-major; of a file that was read: perhaps not aligned, to be copied out */
} nas__array;

const char *nas__dtype_name(nas__dtype dtype); /* "F32" */
size_t nas__array_count(const nas__array *a);  /* numbers */
size_t nas__array_bytes(const nas__array *a);
/* "F32 64x16x3x3", in one of a few static per-thread buffers. */
const char *nas__array_text(const nas__array *a);

typedef struct nas__text_pair {
    const char *key, *value;
} nas__text_pair;

/* Writes atomically; a checksum over header and data goes into the metadata. Names are unique UTF-8. */
nas_status nas__safetensors_write(const char *path, size_t n, const nas__array *arrays, size_t n_metadata,
                                  const nas__text_pair *metadata);

typedef struct nas__safetensors nas__safetensors;
/* Reads a whole file; NULL and an error when it is missing, truncated or inconsistent, or when its checksum (if it has
 * one) is wrong. */
nas__safetensors *nas__safetensors_read(const char *path);
void nas__safetensors_free(nas__safetensors *file); /* NULL is fine */
size_t nas__safetensors_size(const nas__safetensors *file);
const nas__array *nas__safetensors_at(const nas__safetensors *file, size_t i);           /* in the order of the data */
const nas__array *nas__safetensors_find(const nas__safetensors *file, const char *name); /* NULL when there is none */
size_t nas__safetensors_index(const nas__safetensors *file,
                              const nas__array *array); /* of one that at() or find() gave */
const char *nas__safetensors_metadata(const nas__safetensors *file, const char *key); /* NULL when there is none */
bool nas__safetensors_checked(const nas__safetensors *file);                          /* did it have a checksum? */

#endif
