/* idx.c - Fashion-MNIST (Xiao, Rasul and Vollgraf 2017) in the idx format of MNIST, compressed or not. */
#include "data/sources.h"
#include "data/transform.h"
#include "core/error.h"
#include "core/file.h"
#include "core/memory.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define REMEDY                                                                                                         \
    "install the Debian package dataset-fashion-mnist, or name the directory of its four files with --data-dir"

enum { IDX_MAX_DIMS = 3, CLASSES = 10 };

static const char *const names[CLASSES] = {"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
                                           "Sandal",      "Shirt",   "Sneaker",  "Bag",   "Ankle boot"};

/* Exactly `size` bytes, whether the file is compressed or not. */
static nas_status read_exactly(gzFile f, const char *path, void *to, size_t size) {
    for (size_t done = 0; done < size;) {
        size_t rest = size - done;
        int got = gzread(f, (char *)to + done, rest > INT_MAX ? INT_MAX : (unsigned)rest);
        int error = Z_OK;
        const char *message = gzerror(f, &error);
        if (got < 0 || (error != Z_OK && error != Z_STREAM_END && error != Z_BUF_ERROR)) {
            return nas__fail(NAS_IO, "%s: damaged: %s; %s", path, message, REMEDY);
        }
        if (got == 0) {
            return nas__fail(NAS_PARSE, "%s: truncated: it ends %zu bytes too early; %s", path, rest, REMEDY);
        }
        done += (size_t)got;
    }
    return NAS_OK;
}

static nas_status read_header(gzFile f, const char *path, int ndim, int64_t *dims) {
    uint8_t header[4 + 4 * IDX_MAX_DIMS];
    nas_status status = read_exactly(f, path, header, 4 + 4 * (size_t)ndim);
    if (status) {
        return status;
    }
    if (header[0] || header[1] || header[2] != 8 || header[3] != ndim) {
        return nas__fail(NAS_PARSE, "%s: magic number %02x%02x%02x%02x instead of 0000080%d: not the idx file of %s",
                         path, header[0], header[1], header[2], header[3], ndim, ndim == 3 ? "images" : "labels");
    }
    for (int i = 0; i < ndim; i++) {
        const uint8_t *p = header + 4 + 4 * i;
        dims[i] = (int64_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3];
    }
    return NAS_OK;
}

/* Nothing may follow; at the end zlib also checks the sum over all that was read. */
static nas_status expect_end(gzFile f, const char *path) {
    char more;
    int got = gzread(f, &more, 1), error = Z_OK;
    const char *message = gzerror(f, &error);
    if (got > 0) {
        return nas__fail(NAS_PARSE, "%s: longer than its header says; %s", path, REMEDY);
    }
    if (got < 0 || (error != Z_OK && error != Z_STREAM_END)) {
        return nas__fail(NAS_IO, "%s: damaged: %s; %s", path, message, REMEDY);
    }
    return NAS_OK;
}

/* The file of an idx array: its dimensions, and its bytes (to be freed by the caller). */
static uint8_t *read_idx(const char *directory, const char *name, int ndim, int64_t *dims) {
    char *path = nas__format("%s/%s.gz", directory, name);
    gzFile f = path ? gzopen(path, "rb") : NULL;
    if (path && !f) { /* the same without compression */
        path[strlen(path) - 3] = 0;
        f = gzopen(path, "rb");
    }
    uint8_t *data = NULL;
    if (!f) {
        nas__fail(NAS_NOT_FOUND, "%s/%s.gz is missing: %s", directory, name, REMEDY);
    } else if (!read_header(f, path, ndim, dims)) {
        int64_t size = dims[0];
        for (int i = 1; i < ndim; i++) {
            size = dims[i] && size > INT32_MAX / dims[i] ? -1 : size * dims[i];
            if (size < 0) {
                break;
            }
        }
        if (size < 1) {
            nas__fail(NAS_PARSE, "%s: its header says a size of %lld samples that is not possible", path,
                      (long long)dims[0]);
        } else {
            data = nas__alloc((size_t)size);
        }
        if (data && (read_exactly(f, path, data, (size_t)size) || expect_end(f, path))) {
            free(data);
            data = NULL;
        }
    }
    if (f) {
        gzclose_r(f);
    }
    free(path);
    return data;
}

static nas_dataset *build(const char *directory, uint8_t *images, const int64_t *dims, const uint8_t *labels,
                          int64_t n_labels) {
    if (n_labels != dims[0]) {
        return nas__fail_null(NAS_PARSE, "%s: %lld images but %lld labels", directory, (long long)dims[0],
                              (long long)n_labels);
    }
    for (int64_t i = 0; i < n_labels; i++) {
        if (labels[i] >= CLASSES) {
            return nas__fail_null(NAS_PARSE, "%s: label %lld is %d; labels go from 0 to 9", directory, (long long)i,
                                  labels[i]);
        }
    }
    nas_dataset *d = nas__dataset_new_bytes(&(nas_dataset_info){.name = "fashion-mnist",
                                                                .size = dims[0],
                                                                .ndim = 3,
                                                                .dims = {1, dims[1], dims[2]},
                                                                .classes = CLASSES,
                                                                .target_count = 1,
                                                                .class_names = names});
    if (d) {
        memcpy(d->bytes, images, (size_t)(dims[0] * dims[1] * dims[2]));
        for (int64_t i = 0; i < n_labels; i++) {
            d->targets[i] = labels[i];
        }
        d->transform = (nas_transform){.mean = {0.2860f}, .std = {0.3530f}, .crop_padding = 2, .flip = true};
    }
    return d;
}

nas_dataset *nas__open_fashion_mnist(const char *argument, const char *data_dir, bool test) {
    (void)argument;
    const char *directory = data_dir ? data_dir : NAS__FASHION_MNIST_DIRECTORY;
    if (!nas__is_directory(directory)) {
        return nas__fail_null(NAS_NOT_FOUND, "fashion-mnist: there is no directory %s: %s", directory, REMEDY);
    }
    int64_t dims[IDX_MAX_DIMS], n_labels = 0;
    nas_dataset *d = NULL;
    uint8_t *labels = NULL,
            *images = read_idx(directory, test ? "t10k-images-idx3-ubyte" : "train-images-idx3-ubyte", 3, dims);
    if (images) {
        labels = read_idx(directory, test ? "t10k-labels-idx1-ubyte" : "train-labels-idx1-ubyte", 1, &n_labels);
    }
    if (labels) {
        d = build(directory, images, dims, labels, n_labels);
    }
    free(images);
    free(labels);
    return d;
}
