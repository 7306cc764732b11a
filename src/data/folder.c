/* folder.c - images in one sub-folder per class. */
#include "data/sources.h"
#include "data/transform.h"
#include "core/error.h"
#include "core/file.h"
#include "core/memory.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Strings, sorted. */
typedef struct list {
    char **items;
    size_t n;
} list;

static void list_free(list *l) {
    for (size_t i = 0; i < l->n; i++) {
        free(l->items[i]);
    }
    free(l->items);
    *l = (list){0};
}

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* Names in `path` of sub-folders or of images; sorted bytewise, so that order and classes are the same everywhere. */
static nas_status list_directory(const char *path, bool folders, list *names) {
    DIR *directory = opendir(path);
    if (!directory) {
        return nas__fail(NAS_NOT_FOUND, "%s: cannot be read as a directory: %s", path, strerror(errno));
    }
    nas_status status = NAS_OK;
    for (struct dirent *e; !status && (e = readdir(directory));) {
        char *full = e->d_name[0] == '.' ? NULL : nas__join(path, e->d_name);
        if (full && nas__is_directory(full) == folders && (folders || nas__image_name(e->d_name))) {
            char *name = nas__strdup(e->d_name);
            if (name && nas__grow(&names->items, names->n, sizeof *names->items)) {
                names->items[names->n++] = name;
            } else {
                free(name);
                status = NAS_NO_MEMORY;
            }
        }
        free(full);
    }
    closedir(directory);
    if (names->n) {
        qsort(names->items, names->n, sizeof *names->items, by_text);
    }
    return status;
}

/* The images of a part: paths and classes. */
typedef struct part {
    list paths, classes;
    float *labels;
} part;

static void part_free(part *p) {
    list_free(&p->paths);
    list_free(&p->classes);
    free(p->labels);
}

static nas_status add_class(part *p, const char *directory, int class) {
    char *path = nas__join(directory, p->classes.items[class]);
    list images = {0};
    nas_status status = path ? list_directory(path, false, &images) : NAS_NO_MEMORY;
    if (!status && !images.n) {
        status = nas__fail(NAS_NOT_FOUND, "%s: no PNG or JPEG image in this class (sub-folders of it are not searched)",
                           path);
    }
    for (size_t i = 0; i < images.n && !status; i++) {
        char *full = nas__join(path, images.items[i]);
        if (full && nas__grow(&p->labels, p->paths.n, sizeof *p->labels) &&
            nas__grow(&p->paths.items, p->paths.n, sizeof *p->paths.items)) {
            p->labels[p->paths.n] = (float)class;
            p->paths.items[p->paths.n++] = full;
        } else {
            free(full);
            status = NAS_NO_MEMORY;
        }
    }
    list_free(&images);
    free(path);
    return status;
}

static nas_status list_part(const char *directory, part *p) {
    nas_status status = list_directory(directory, true, &p->classes);
    if (!status && p->classes.n < 2) {
        status = nas__fail(NAS_NOT_FOUND, "%s: %zu class sub-folder%s; two or more are needed, each with images",
                           directory, p->classes.n, p->classes.n == 1 ? "" : "s");
    }
    for (size_t i = 0; i < p->classes.n && !status; i++) {
        status = add_class(p, directory, (int)i);
    }
    return status;
}

/* Size and channels that every image must have: those of the first; RGB as soon as one image is. */
static nas_status probe_all(const part *p, nas__image *common) {
    for (size_t i = 0; i < p->paths.n; i++) {
        nas__image image;
        nas_status status = nas__image_probe(p->paths.items[i], &image);
        if (status) {
            return status;
        }
        if (i == 0) {
            *common = image;
        }
        if (image.height != common->height || image.width != common->width) {
            return nas__fail(NAS_SHAPE,
                             "%s: %lldx%lld pixels, but %s has %lldx%lld; scale or crop all images to one size",
                             p->paths.items[i], (long long)image.width, (long long)image.height, p->paths.items[0],
                             (long long)common->width, (long long)common->height);
        }
        common->channels = image.channels > common->channels ? image.channels : common->channels;
    }
    return NAS_OK;
}

/* Decodes the n images that `indices` (NULL: all) name. `common` gives their size. */
static nas_dataset *load(const char *name, const part *p, int64_t n, const int32_t *indices, const nas__image *common) {
    nas_dataset *d =
        nas__dataset_new_bytes(&(nas_dataset_info){.name = name,
                                                   .size = n,
                                                   .ndim = 3,
                                                   .dims = {common->channels, common->height, common->width},
                                                   .classes = (int)p->classes.n,
                                                   .target_count = 1,
                                                   .class_names = (const char *const *)p->classes.items});
    int64_t size = d ? nas__sample_count(&d->info) : 0;
    for (int64_t i = 0; d && i < n; i++) {
        int64_t k = indices ? indices[i] : i;
        nas__image image;
        nas_status status = nas__image_read(p->paths.items[k], common->channels, &image);
        if (!status && (image.height != common->height || image.width != common->width)) {
            status = nas__fail(NAS_SHAPE, "%s: %lldx%lld pixels, but the train images have %lldx%lld",
                               p->paths.items[k], (long long)image.width, (long long)image.height,
                               (long long)common->width, (long long)common->height);
            free(image.planes);
        }
        if (status) {
            nas_dataset_free(d);
            return NULL;
        }
        memcpy(d->bytes + i * size, image.planes, (size_t)size);
        free(image.planes);
        d->targets[i] = p->labels[k];
    }
    return d;
}

/* Both parts are normalised by constants of the train part's images, measured on the same ones. */
static nas_status take_constants(nas_dataset *d, const part *train, int64_t n, const int32_t *indices,
                                 const nas__image *common) {
    nas_dataset_info info = d->info;
    int64_t size = nas__measured_samples(&info, n);
    int32_t *chosen = nas__alloc((size_t)size * sizeof *chosen);
    if (!chosen) {
        return NAS_NO_MEMORY;
    }
    for (int64_t i = 0; i < size; i++) {
        int64_t k = i * n / size;
        chosen[i] = indices ? indices[k] : (int32_t)k;
    }
    nas_dataset *sample = load(info.name, train, size, chosen, common);
    free(chosen);
    if (!sample) {
        return nas_error_status();
    }
    nas__transform_measure(sample, size, NULL);
    d->transform = sample->transform;
    nas_dataset_free(sample);
    return NAS_OK;
}

/* Classes of a test folder by the train folder's numbers. */
static nas_status match_classes(part *test, const part *train, const char *directory) {
    for (size_t i = 0; i < test->paths.n; i++) {
        char **name = &test->classes.items[(int)test->labels[i]];
        char **found = bsearch(name, train->classes.items, train->classes.n, sizeof *name, by_text);
        if (!found) {
            return nas__fail(NAS_INVALID, "%s/test/%s: the train part has no class of this name", directory, *name);
        }
        test->labels[i] = (float)(found - train->classes.items);
    }
    list classes = test->classes;
    test->classes = (list){0};
    list_free(&classes);
    for (size_t i = 0; i < train->classes.n; i++) {
        char *name = nas__strdup(train->classes.items[i]);
        if (!name || !nas__grow(&test->classes.items, i, sizeof name)) {
            free(name);
            return NAS_NO_MEMORY;
        }
        test->classes.items[test->classes.n++] = name;
    }
    return NAS_OK;
}

static nas_dataset *open_separate(const char *name, const char *directory, const char *train_path,
                                  const char *test_path, bool test) {
    part train = {0}, other = {0};
    nas__image common = {0};
    nas_dataset *d = NULL;
    nas_status status = list_part(train_path, &train);
    status = status ? status : probe_all(&train, &common);
    if (!status && test) {
        status = list_part(test_path, &other);
        status = status ? status : match_classes(&other, &train, directory);
        d = status ? NULL : load(name, &other, (int64_t)other.paths.n, NULL, &common);
        if (d && take_constants(d, &train, (int64_t)train.paths.n, NULL, &common)) {
            nas_dataset_free(d);
            d = NULL;
        }
    } else if (!status) {
        d = load(name, &train, (int64_t)train.paths.n, NULL, &common);
    }
    part_free(&train);
    part_free(&other);
    return d;
}

static nas_dataset *open_held_out(const char *name, const char *directory, bool test) {
    part all = {0};
    nas__image common = {0};
    nas_dataset *d = NULL;
    nas_status status = list_part(directory, &all);
    status = status ? status : probe_all(&all, &common);
    int64_t n = 0, n_train = 0;
    int32_t *indices = NULL, *train = NULL;
    if (!status) {
        indices = nas__holdout(directory, (int64_t)all.paths.n, all.labels, (int)all.classes.n, test, &n);
        train = test && indices
                    ? nas__holdout(directory, (int64_t)all.paths.n, all.labels, (int)all.classes.n, false, &n_train)
                    : NULL;
    }
    if (indices && (train || !test)) {
        d = load(name, &all, n, indices, &common);
    }
    if (d && test && take_constants(d, &all, n_train, train, &common)) {
        nas_dataset_free(d);
        d = NULL;
    }
    free(indices);
    free(train);
    part_free(&all);
    return d;
}

nas_dataset *nas__open_folder(const char *argument, const char *data_dir, bool test) {
    char *directory = nas__data_path(argument, data_dir), *name = nas__format("folder:%s", argument);
    char *train_path = directory ? nas__join(directory, "train") : NULL,
         *test_path = directory ? nas__join(directory, "test") : NULL;
    nas_dataset *d = NULL;
    if (name && train_path && test_path) {
        bool separate = nas__is_directory(train_path) && nas__is_directory(test_path);
        d = separate ? open_separate(name, directory, train_path, test_path, test)
                     : open_held_out(name, directory, test);
    }
    if (d) {
        nas__transform_prepare(d);
    }
    free(directory);
    free(name);
    free(train_path);
    free(test_path);
    return d;
}
