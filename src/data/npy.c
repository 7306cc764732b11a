/* npy.c - NumPy arrays (format versions 1 to 3, docs of numpy.lib.format): data of any domain. */
#include "data/sources.h"
#include "data/transform.h"
#include "core/error.h"
#include "core/file.h"
#include "core/memory.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_DIMS = 5, VERSION_AT = 6, LENGTH_AT = 8 };

static const struct type {
    const char *code, *name;
    size_t size;
} types[] = {
    {"<f4", "float32", 4}, {"<f8", "float64", 8}, {"|u1", "uint8", 1}, {"<i4", "int32", 4}, {"<i8", "int64", 8}};

typedef struct array {
    char *file;
    const char *data;
    const struct type *type;
    int ndim;
    int64_t dims[MAX_DIMS], count;
} array;

/* --- header ------------------------------------------------------------------------------------- */
/* What follows 'key': in the header's dictionary, or NULL. */
static const char *value_of(const char *header, const char *key) {
    const char *p = strstr(header, key);
    p = p ? strchr(p, ':') : NULL;
    if (!p) {
        return NULL;
    }
    do {
        p++;
    } while (isspace((unsigned char)*p));
    return p;
}

static nas_status parse_type(array *a, const char *path, const char *header) {
    const char *p = value_of(header, "'descr'");
    if (!p || *p != '\'') {
        return nas__fail(NAS_UNSUPPORTED, "%s: the array has no simple element type; convert it to float32", path);
    }
    size_t length = strcspn(++p, "'");
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (length == 3 && strncmp(p, types[i].code, 3) == 0) {
            a->type = &types[i];
            return NAS_OK;
        }
    }
    return nas__fail(NAS_UNSUPPORTED,
                     "%s: elements of type %.*s; float32, float64, uint8, int32 and int64 can be read "
                     "(little-endian): save x.astype(\"float32\")",
                     path, (int)(length > 32 ? 32 : length), p);
}

static nas_status parse_shape(array *a, const char *path, const char *header) {
    const char *p = value_of(header, "'shape'");
    if (!p || *p++ != '(') {
        return nas__fail(NAS_PARSE, "%s: the header of the array has no shape", path);
    }
    a->count = 1;
    while (*p && *p != ')') {
        char *end;
        long long dim = strtoll(p, &end, 10);
        if (end == p || a->ndim == MAX_DIMS || dim < 1 || dim > INT64_MAX / 8 / a->count) {
            return nas__fail(NAS_SHAPE, "%s: arrays have 1 to %d dimensions, each at least 1; this shape is %.60s",
                             path, MAX_DIMS, value_of(header, "'shape'"));
        }
        a->dims[a->ndim++] = dim;
        a->count *= dim;
        p = end + strspn(end, ", ");
    }
    if (!a->ndim) {
        return nas__fail(NAS_SHAPE, "%s: a single number; an array with samples along its first axis is needed", path);
    }
    return NAS_OK;
}

static nas_status parse_header(array *a, const char *path, size_t size) {
    const unsigned char *file = (const unsigned char *)a->file;
    if (size < LENGTH_AT + 4 || memcmp(file, "\x93NUMPY", VERSION_AT) != 0) {
        return nas__fail(NAS_PARSE, "%s: not a NumPy array; write it with numpy.save(\"file.npy\", x)", path);
    }
    int version = file[VERSION_AT];
    if (version < 1 || version > 3) {
        return nas__fail(NAS_UNSUPPORTED, "%s: version %d of the NumPy format; 1 to 3 can be read", path, version);
    }
    size_t begin = version == 1 ? LENGTH_AT + 2 : LENGTH_AT + 4,
           length = (size_t)file[LENGTH_AT] | (size_t)file[LENGTH_AT + 1] << 8;
    if (version > 1) {
        length |= (size_t)file[LENGTH_AT + 2] << 16 | (size_t)file[LENGTH_AT + 3] << 24;
    }
    if (length > size - begin || !length) {
        return nas__fail(NAS_PARSE, "%s: truncated within its header", path);
    }
    char *header = nas__alloc(length + 1);
    if (!header) {
        return NAS_NO_MEMORY;
    }
    memcpy(header, a->file + begin, length);
    const char *fortran = value_of(header, "'fortran_order'");
    nas_status status = parse_type(a, path, header);
    status = status ? status : parse_shape(a, path, header);
    if (!status && (!fortran || strncmp(fortran, "False", 5) != 0)) {
        status = nas__fail(NAS_UNSUPPORTED, "%s: stored in Fortran order; save numpy.ascontiguousarray(x)", path);
    }
    free(header);
    a->data = a->file + begin + length;
    size_t have = size - begin - length;
    if (!status && have != (size_t)a->count * a->type->size) {
        status = nas__fail(NAS_PARSE, "%s: %s: the header tells of %lld elements of %s, %zu bytes, and %zu follow",
                           path, have < (size_t)a->count * a->type->size ? "truncated" : "too long",
                           (long long)a->count, a->type->name, (size_t)a->count * a->type->size, have);
    }
    return status;
}

static nas_status read_array(array *a, const char *path) {
    size_t size = 0;
    a->file = nas__read_file(path, &size);
    return a->file ? parse_header(a, path, size) : nas_error_status();
}

/* --- elements ----------------------------------------------------------------------------------- */
static double element(const array *a, int64_t i) {
    const char *p = a->data + (size_t)i * a->type->size; /* not aligned */
    float f;
    double d;
    int32_t n;
    int64_t wide;
    switch (a->type - types) {
    case 0:
        return memcpy(&f, p, sizeof f), (double)f;
    case 1:
        return memcpy(&d, p, sizeof d), d;
    case 2:
        return (unsigned char)*p;
    case 3:
        return memcpy(&n, p, sizeof n), n;
    default:
        return memcpy(&wide, p, sizeof wide), (double)wide;
    }
}

static nas_status to_floats(const array *a, const char *path, float *to) {
    for (int64_t i = 0; i < a->count; i++) {
        double v = element(a, i);
        if (!(fabs(v) < 3e38)) {
            return nas__fail(NAS_NUMERIC,
                             "%s: element %lld (of sample %lld) is %g; every element must be a finite number", path,
                             (long long)i, (long long)(i / (a->count / a->dims[0])), v);
        }
        to[i] = (float)v;
    }
    return NAS_OK;
}

static nas_status to_labels(const array *a, const char *path, float *to, int *classes) {
    if (a->count != a->dims[0]) {
        return nas__fail(NAS_SHAPE, "%s: %lld values per sample; classes have one (add task=regression?)", path,
                         (long long)(a->count / a->dims[0]));
    }
    double highest = 0;
    for (int64_t i = 0; i < a->count; i++) {
        double v = element(a, i);
        if (!(v >= 0 && v == floor(v) && v < 1 << 24)) {
            return nas__fail(NAS_INVALID,
                             "%s: target %lld is %g; classes are whole numbers from 0 (add task=regression?)", path,
                             (long long)i, v);
        }
        highest = v > highest ? v : highest;
        to[i] = (float)v;
    }
    *classes = (int)highest + 1;
    if (*classes < 2 || *classes > a->count) {
        return nas__fail(NAS_INVALID,
                         "%s: %d classes in %lld samples (classes are numbered from 0; add task=regression?)", path,
                         *classes, (long long)a->count);
    }
    return NAS_OK;
}

/* --- the data set ------------------------------------------------------------------------------- */
/* Bytes of two or more axes per sample are images; with the channels last they are turned. */
static void describe_samples(const array *x, nas_dataset_info *info, bool *images, bool *turned) {
    *images = x->type->size == 1 && (x->ndim == 3 || x->ndim == 4);
    *turned = *images && x->ndim == 4 && x->dims[3] <= 4 && x->dims[1] > 4;
    info->ndim = x->ndim > 1 ? x->ndim - 1 : 1;
    info->dims[0] = 1;
    memcpy(info->dims, x->dims + 1, (size_t)(x->ndim - 1) * sizeof *x->dims);
    if (*images && x->ndim == 3) {
        info->ndim = 3;
        info->dims[0] = 1;
        info->dims[1] = x->dims[1];
        info->dims[2] = x->dims[2];
    } else if (*turned) {
        info->dims[0] = x->dims[3];
        info->dims[1] = x->dims[1];
        info->dims[2] = x->dims[2];
    }
}

static void copy_images(const array *x, bool turned, const nas_dataset_info *info, uint8_t *to) {
    int64_t channels = info->dims[0], area = info->dims[1] * info->dims[2];
    if (!turned) {
        memcpy(to, x->data, (size_t)x->count);
        return;
    }
    for (int64_t i = 0; i < x->dims[0]; i++, to += channels * area) {
        const uint8_t *from = (const uint8_t *)x->data + i * channels * area;
        for (int64_t p = 0; p < area; p++) {
            for (int64_t c = 0; c < channels; c++) {
                to[c * area + p] = from[p * channels + c];
            }
        }
    }
}

static nas_status take_part(const char *name, nas_dataset *d, bool test) {
    int64_t n_train, n_test, n = d->info.size;
    int32_t *train = nas__holdout(name, n, d->targets, d->info.classes, false, &n_train);
    int32_t *held = train ? nas__holdout(name, n, d->targets, d->info.classes, true, &n_test) : NULL;
    if (held) {
        nas__transform_measure(d, n_train, train);
        nas__dataset_keep(d, test ? n_test : n_train, test ? held : train);
        nas__transform_prepare(d);
    }
    free(train);
    free(held);
    return held ? NAS_OK : nas_error_status();
}

/* Targets to an array of their own first: the number of classes is known only then. */
static float *read_targets(const array *y, const char *path, bool regression, nas_dataset_info *info) {
    info->target_count = (int)(y->count / y->dims[0]);
    info->target_ndim = regression && y->ndim > 1 ? y->ndim - 1 : 1;
    info->target_dims[0] = 1;
    if (regression && y->ndim > 1) {
        memcpy(info->target_dims, y->dims + 1, (size_t)(y->ndim - 1) * sizeof *y->dims);
    }
    float *targets = nas__alloc((size_t)y->count * sizeof *targets);
    if (targets && (regression ? to_floats(y, path, targets) : to_labels(y, path, targets, &info->classes))) {
        free(targets);
        targets = NULL;
    }
    return targets;
}

static nas_dataset *build(const char *name, const array *x, const char *x_path, const array *y, const char *y_path,
                          bool regression, bool test) {
    if (x->dims[0] != y->dims[0]) {
        return nas__fail_null(NAS_SHAPE, "%s has %lld samples, but %s has %lld targets", x_path, (long long)x->dims[0],
                              y_path, (long long)y->dims[0]);
    }
    bool images, turned;
    nas_dataset_info info = {.name = name, .size = x->dims[0]};
    describe_samples(x, &info, &images, &turned);
    float *targets = read_targets(y, y_path, regression, &info);
    nas_dataset *d = !targets ? NULL : images ? nas__dataset_new_bytes(&info) : nas__dataset_new_floats(&info);
    if (d) {
        memcpy(d->targets, targets, (size_t)y->count * sizeof *targets);
    }
    nas_status status = NAS_OK;
    if (d && images) {
        copy_images(x, turned, &info, d->bytes);
    } else if (d) {
        status = to_floats(x, x_path, d->floats);
    }
    if (d && (status || take_part(name, d, test))) {
        nas_dataset_free(d);
        d = NULL;
    }
    free(targets);
    return d;
}

nas_dataset *nas__open_npy(const char *argument, const char *data_dir, bool test) {
    char *text = nas__strdup(argument), *name = nas__format("npy:%s", argument), *x_path = NULL, *y_path = NULL;
    array x = {0}, y = {0};
    bool regression = false;
    nas_dataset *d = NULL;
    if (text && name && !nas__data_task(text, &regression)) {
        char *comma = strchr(text, ',');
        if (!comma || strchr(comma + 1, ',')) {
            nas__fail(NAS_INVALID, "data set \"%s\" is written as npy:X.npy,y.npy[,task=regression]", name);
        } else {
            *comma = 0;
            x_path = nas__data_path(text, data_dir);
            y_path = nas__data_path(comma + 1, data_dir);
        }
    }
    if (x_path && y_path && !read_array(&x, x_path) && !read_array(&y, y_path)) {
        d = build(name, &x, x_path, &y, y_path, regression, test);
    }
    free(x.file);
    free(y.file);
    free(x_path);
    free(y_path);
    free(text);
    free(name);
    return d;
}
