/* cifar.c - the binary version of CIFAR-10 and CIFAR-100 (Krizhevsky 2009): records of labels and three planes. */
#include "data/sources.h"
#include "data/transform.h"
#include "core/error.h"
#include "core/file.h"
#include "core/memory.h"

#include <stdlib.h>
#include <string.h>

enum { PIXELS = 3 * 32 * 32, MAX_FILES = 5 };

typedef struct format {
    const char *name, *other, *folder; /* folder: what the archive unpacks to */
    int classes, labels;               /* label bytes in front of the pixels; the last one counts */
    const char *const *class_names;
    nas_transform transform;
} format;

static const char *const names10[] = {"airplane", "automobile", "bird",  "cat",  "deer",
                                      "dog",      "frog",       "horse", "ship", "truck"};

static const char *const names100[] = {
    "apple",      "aquarium_fish", "baby",         "bear",       "beaver",      "bed",         "bee",
    "beetle",     "bicycle",       "bottle",       "bowl",       "boy",         "bridge",      "bus",
    "butterfly",  "camel",         "can",          "castle",     "caterpillar", "cattle",      "chair",
    "chimpanzee", "clock",         "cloud",        "cockroach",  "couch",       "crab",        "crocodile",
    "cup",        "dinosaur",      "dolphin",      "elephant",   "flatfish",    "forest",      "fox",
    "girl",       "hamster",       "house",        "kangaroo",   "keyboard",    "lamp",        "lawn_mower",
    "leopard",    "lion",          "lizard",       "lobster",    "man",         "maple_tree",  "motorcycle",
    "mountain",   "mouse",         "mushroom",     "oak_tree",   "orange",      "orchid",      "otter",
    "palm_tree",  "pear",          "pickup_truck", "pine_tree",  "plain",       "plate",       "poppy",
    "porcupine",  "possum",        "rabbit",       "raccoon",    "ray",         "road",        "rocket",
    "rose",       "sea",           "seal",         "shark",      "shrew",       "skunk",       "skyscraper",
    "snail",      "snake",         "spider",       "squirrel",   "streetcar",   "sunflower",   "sweet_pepper",
    "table",      "tank",          "telephone",    "television", "tiger",       "tractor",     "train",
    "trout",      "tulip",         "turtle",       "wardrobe",   "whale",       "willow_tree", "wolf",
    "woman",      "worm",
};

static const format cifar10 = {
    "cifar10",
    "cifar100",
    "cifar-10-batches-bin",
    10,
    1,
    names10,
    {.mean = {0.4914f, 0.4822f, 0.4465f}, .std = {0.2470f, 0.2435f, 0.2616f}, .crop_padding = 4, .flip = true},
};
static const format cifar100 = {
    "cifar100",
    "cifar10",
    "cifar-100-binary",
    100,
    2,
    names100,
    {.mean = {0.5071f, 0.4865f, 0.4409f}, .std = {0.2673f, 0.2564f, 0.2762f}, .crop_padding = 4, .flip = true},
};

/* Paths of the part's files, to be freed by the caller; their number, or 0 and an error that says what is missing. */
static int find_files(const format *f, const char *directory, bool test, char **paths) {
    char *single = nas__join(directory, test ? "test.bin" : "train.bin");
    char *batch = nas__join(directory, test ? "test_batch.bin" : "data_batch_1.bin");
    int n = 0;
    if (!single || !batch) {
        n = 0;
    } else if (nas__exists(batch) && f->labels == 1) {
        for (int i = 0; i < (test ? 1 : MAX_FILES); i++) {
            paths[n++] = test ? nas__strdup(batch) : nas__format("%s/data_batch_%d.bin", directory, i + 1);
        }
    } else if (nas__exists(single)) {
        paths[n++] = nas__strdup(single);
    } else {
        nas__fail(NAS_NOT_FOUND, "%s: %s has no %s%s%s; fetch the binary version with: tools/get-data %s %s", f->name,
                  directory, f->labels == 1 ? (test ? "test_batch.bin" : "data_batch_1.bin") : "",
                  f->labels == 1 ? " or " : "", test ? "test.bin" : "train.bin", f->name, directory);
    }
    free(single);
    free(batch);
    return n;
}

static nas_status check_size(const format *f, const char *path, size_t size) {
    size_t record = PIXELS + (size_t)f->labels, other = PIXELS + 3 - (size_t)f->labels;
    if (size && size % record == 0) {
        return NAS_OK;
    }
    if (size && size % other == 0) {
        return nas__fail(NAS_PARSE, "%s: its %zu bytes are records of %zu, which is the format of %s; use --data %s",
                         path, size, other, f->other, f->other);
    }
    return nas__fail(NAS_PARSE,
                     "%s: its %zu bytes are not records of %zu bytes; the file is truncated or not the binary version: "
                     "fetch it with tools/get-data %s",
                     path, size, record, f->name);
}

/* Appends the records of one file to d, from sample *at on. */
static nas_status unpack(const format *f, const char *path, const uint8_t *data, size_t size, nas_dataset *d,
                         int64_t *at) {
    size_t record = PIXELS + (size_t)f->labels;
    for (size_t i = 0; i < size / record; i++, ++*at) {
        const uint8_t *p = data + i * record;
        int label = p[f->labels - 1];
        if (label >= f->classes) {
            return nas__fail(NAS_PARSE, "%s: record %zu has label %d; labels of %s go from 0 to %d", path, i, label,
                             f->name, f->classes - 1);
        }
        d->targets[*at] = (float)label;
        memcpy(d->bytes + *at * PIXELS, p + f->labels, PIXELS);
    }
    return NAS_OK;
}

static nas_dataset *read_files(const format *f, int n, char *const *paths) {
    uint8_t *data[MAX_FILES] = {NULL};
    size_t size[MAX_FILES], total = 0;
    nas_status status = NAS_OK;
    for (int i = 0; i < n && !status; i++) {
        data[i] = paths[i] ? (uint8_t *)nas__read_file(paths[i], &size[i]) : NULL;
        status = data[i] ? check_size(f, paths[i], size[i]) : nas_error_status();
        total += status ? 0 : size[i] / (PIXELS + (size_t)f->labels);
    }
    nas_dataset *d = NULL;
    if (!status) {
        d = nas__dataset_new_bytes(&(nas_dataset_info){.name = f->name,
                                                       .size = (int64_t)total,
                                                       .ndim = 3,
                                                       .dims = {3, 32, 32},
                                                       .classes = f->classes,
                                                       .target_count = 1,
                                                       .class_names = f->class_names});
    }
    int64_t at = 0;
    for (int i = 0; i < n && d && !status; i++) {
        status = unpack(f, paths[i], data[i], size[i], d, &at);
    }
    for (int i = 0; i < n; i++) {
        free(data[i]);
    }
    if (d && status) {
        nas_dataset_free(d);
        return NULL;
    }
    if (d) {
        d->transform = f->transform;
    }
    return d;
}

static nas_dataset *open(const format *f, const char *data_dir, bool test) {
    if (!data_dir) {
        return nas__fail_null(NAS_NOT_FOUND,
                              "%s: name its directory with --data-dir DIR; tools/get-data %s DIR fetches it", f->name,
                              f->name);
    }
    if (!nas__is_directory(data_dir)) {
        return nas__fail_null(NAS_NOT_FOUND, "%s: there is no directory %s; tools/get-data %s %s fetches the data",
                              f->name, data_dir, f->name, data_dir);
    }
    char *inner = nas__join(data_dir, f->folder); /* the archive unpacked in data_dir */
    char *paths[MAX_FILES] = {NULL};
    int n = inner ? find_files(f, nas__is_directory(inner) ? inner : data_dir, test, paths) : 0;
    nas_dataset *d = n ? read_files(f, n, paths) : NULL;
    for (int i = 0; i < n; i++) {
        free(paths[i]);
    }
    free(inner);
    return d;
}

nas_dataset *nas__open_cifar10(const char *argument, const char *data_dir, bool test) {
    (void)argument;
    return open(&cifar10, data_dir, test);
}

nas_dataset *nas__open_cifar100(const char *argument, const char *data_dir, bool test) {
    (void)argument;
    return open(&cifar100, data_dir, test);
}
