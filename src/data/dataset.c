/* dataset.c - data sets: roots that hold or produce samples, and subsets that pick from them. */
#include "data/dataset.h"
#include "data/transform.h"
#include "core/error.h"
#include "core/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Product of dims, or -1 when a dimension is not positive or the product leaves 31 bits. */
static int64_t product(int ndim, const int64_t *dims) {
    int64_t count = 1;
    for (int i = 0; i < ndim; i++) {
        if (dims[i] < 1 || dims[i] > INT32_MAX / count) {
            return -1;
        }
        count *= dims[i];
    }
    return count;
}

int64_t nas__sample_count(const nas_dataset_info *info) { return product(info->ndim, info->dims); }

static nas_status check(const nas_dataset_info *info) {
    const char *name = info->name ? info->name : "data set";
    if (info->size < 1 || info->size > INT32_MAX) {
        return nas__fail(NAS_INVALID, "%s: %lld samples; between 1 and 2147483647 are possible", name,
                         (long long)info->size);
    }
    if (info->ndim < 1 || info->ndim > 4 || product(info->ndim, info->dims) < 0) {
        return nas__fail(NAS_SHAPE, "%s: a sample has 1 to 4 dimensions, each at least 1, and fewer than 2^31 elements",
                         name);
    }
    if (info->target_ndim < 0 || info->target_ndim > 4 || info->target_count < 1 ||
        (info->target_ndim && product(info->target_ndim, info->target_dims) != info->target_count)) {
        return nas__fail(NAS_SHAPE, "%s: target_count (%d) must be the product of 1 to 4 target_dims", name,
                         info->target_count);
    }
    if (info->classes < 0 || (info->classes && info->target_count != 1)) {
        return nas__fail(NAS_INVALID, "%s: %d classes with %d values per target; classes need exactly 1", name,
                         info->classes, info->target_count);
    }
    return NAS_OK;
}

static const char *const *copy_names(const char *const *names, int n) {
    char **copy = nas__alloc(((size_t)n + 1) * sizeof *copy); /* one NULL more ends the list */
    for (int i = 0; copy && i < n; i++) {
        copy[i] = nas__strdup(names[i]);
        if (!copy[i]) {
            while (i-- > 0) {
                free(copy[i]);
            }
            free(copy);
            return NULL;
        }
    }
    return (const char *const *)copy;
}

static void free_names(const char *const *names) {
    for (const char *const *p = names; p && *p; p++) {
        free((char *)*p);
    }
    free((void *)names);
}

nas_dataset *nas__dataset_new(const nas_dataset_info *info) {
    if (check(info)) {
        return NULL;
    }
    nas_dataset *d = nas__alloc(sizeof *d);
    if (!d) {
        return NULL;
    }
    atomic_init(&d->refs, 1);
    d->info = *info;
    if (!info->target_ndim) {
        d->info.target_ndim = 1;
        d->info.target_dims[0] = info->target_count;
    }
    d->info.name = nas__strdup(info->name ? info->name : "data set");
    d->info.class_names = info->class_names ? copy_names(info->class_names, info->classes) : NULL;
    if (!d->info.name || (info->class_names && !d->info.class_names)) {
        nas_dataset_free(d);
        return NULL;
    }
    return d;
}

/* Targets, and samples of `unit` bytes per element. */
static bool allocate(nas_dataset *d, void *samples, size_t unit) {
    size_t n = (size_t)d->info.size;
    d->targets = nas__alloc(n * (size_t)d->info.target_count * sizeof *d->targets);
    *(void **)samples = d->targets ? nas__alloc(n * (size_t)nas__sample_count(&d->info) * unit) : NULL;
    return *(void **)samples != NULL;
}

nas_dataset *nas__dataset_new_bytes(const nas_dataset_info *info) {
    nas_dataset *d = nas__dataset_new(info);
    if (d && !allocate(d, &d->bytes, 1)) {
        nas_dataset_free(d);
        return NULL;
    }
    return d;
}

nas_dataset *nas__dataset_new_floats(const nas_dataset_info *info) {
    nas_dataset *d = nas__dataset_new(info);
    if (d && !allocate(d, &d->floats, sizeof(float))) {
        nas_dataset_free(d);
        return NULL;
    }
    return d;
}

nas_dataset *nas_dataset_from_arrays(int64_t n, int ndim, const int64_t *dims, const float *x, int target_count,
                                     const float *y, int classes) {
    nas_dataset_info info = {
        .name = "arrays", .size = n, .ndim = ndim, .classes = classes, .target_count = target_count};
    if (!x || !y || !dims) {
        return nas__fail_null(NAS_INVALID, "nas_dataset_from_arrays: x, y and dims are needed");
    }
    if (ndim >= 1 && ndim <= 4) {
        memcpy(info.dims, dims, (size_t)ndim * sizeof *dims);
    }
    nas_dataset *d = nas__dataset_new_floats(&info);
    if (!d) {
        return NULL;
    }
    for (int64_t i = 0; classes && i < n; i++) {
        if (!(y[i] >= 0 && y[i] < (float)classes && y[i] == floorf(y[i]))) {
            nas_dataset_free(d);
            return nas__fail_null(NAS_INVALID, "arrays: target %lld is %g, not a whole number from 0 to %d",
                                  (long long)i, (double)y[i], classes - 1);
        }
    }
    memcpy(d->floats, x, (size_t)(n * nas__sample_count(&info)) * sizeof *x);
    memcpy(d->targets, y, (size_t)(n * target_count) * sizeof *y);
    nas__transform_prepare(d);
    return d;
}

nas_dataset *nas_dataset_new(const nas_dataset_info *info, nas_sample_fn read, void (*release)(void *), void *user) {
    if (!info || !read) {
        return nas__fail_null(NAS_INVALID, "nas_dataset_new: info and read are needed");
    }
    nas_dataset *d = nas__dataset_new(info);
    if (d) {
        d->read = read;
        d->release = release;
        d->user = user;
        nas__transform_prepare(d);
    }
    return d;
}

nas_dataset *nas_dataset_subset(nas_dataset *d, int64_t n, const int32_t *indices) {
    if (!d || !indices) {
        return nas__fail_null(NAS_INVALID, "nas_dataset_subset: a data set and indices are needed");
    }
    if (n < 1 || n > INT32_MAX) {
        return nas__fail_null(NAS_INVALID, "%s: a subset of %lld samples; at least 1 is needed", d->info.name,
                              (long long)n);
    }
    nas_dataset *s = nas__alloc(sizeof *s);
    int32_t *own = s ? nas__alloc((size_t)n * sizeof *own) : NULL;
    if (!own) {
        free(s);
        return NULL;
    }
    for (int64_t i = 0; i < n; i++) {
        if (indices[i] < 0 || indices[i] >= d->info.size) {
            nas__fail(NAS_INVALID, "%s: subset index %d at place %lld; the data has 0 to %lld", d->info.name,
                      indices[i], (long long)i, (long long)d->info.size - 1);
            free(own);
            free(s);
            return NULL;
        }
        own[i] = (int32_t)nas__dataset_place(d, indices[i]);
    }
    atomic_init(&s->refs, 1);
    s->info = d->info;
    s->info.size = n;
    s->root = nas_dataset_ref(d->root ? d->root : d);
    s->indices = own;
    return s;
}

void nas__dataset_keep(nas_dataset *d, int64_t n, const int32_t *indices) {
    size_t bytes = (size_t)nas__sample_count(&d->info) * (d->bytes ? 1 : sizeof(float));
    size_t target = (size_t)d->info.target_count * sizeof(float);
    char *samples = d->bytes ? (char *)d->bytes : (char *)d->floats, *targets = (char *)d->targets;
    for (size_t i = 0; i < (size_t)n; i++) { /* ascending: what is overwritten has been moved already */
        size_t from = (size_t)indices[i];
        memmove(samples + i * bytes, samples + from * bytes, bytes);
        memmove(targets + i * target, targets + from * target, target);
    }
    d->info.size = n;
    char *smaller = realloc(samples, (size_t)n * bytes);
    samples = smaller ? smaller : samples;
    if (d->bytes) {
        d->bytes = (uint8_t *)samples;
    } else {
        d->floats = (float *)(void *)samples;
    }
}

const nas_dataset_info *nas_dataset_describe(const nas_dataset *d) { return d ? &d->info : NULL; }

const int32_t *nas_dataset_indices(const nas_dataset *d, int64_t *n) {
    if (n) {
        *n = d ? d->info.size : 0;
    }
    return d ? d->indices : NULL;
}

nas_dataset *nas_dataset_ref(nas_dataset *d) {
    if (d) {
        atomic_fetch_add(&d->refs, 1);
    }
    return d;
}

void nas_dataset_free(nas_dataset *d) {
    if (!d || atomic_fetch_sub(&d->refs, 1) > 1) {
        return;
    }
    if (d->root) {
        nas_dataset_free(d->root);
    } else {
        if (d->release) {
            d->release(d->user);
        }
        free((char *)d->info.name);
        free_names(d->info.class_names);
    }
    free(d->indices);
    free(d->bytes);
    free(d->floats);
    free(d->targets);
    free(d);
}

nas_status nas_dataset_read(const nas_dataset *d, int64_t index, float *x, float *y) {
    if (!d) {
        return nas__fail(NAS_INVALID, "nas_dataset_read: no data set");
    }
    if (index < 0 || index >= d->info.size) {
        return nas__fail(NAS_INVALID, "%s: sample %lld does not exist; there are %lld", d->info.name, (long long)index,
                         (long long)d->info.size);
    }
    return nas__transform_sample(nas__dataset_root(d), nas__dataset_place(d, index), NULL, NULL, NULL, x, y);
}
