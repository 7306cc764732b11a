/* data_file.h - for targets of readers that take a file: the input as a file of this process, removed at its end. */
#ifndef TESTS_FUZZ_DATA_FILE_H
#define TESTS_FUZZ_DATA_FILE_H

#include <espalier/data.h>

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char data_directory[64];

static inline void remove_data_files(void) {
    static const char *const names[] = {"in.csv",
                                        "x.npy",
                                        "y.npy",
                                        "in.png",
                                        "in.jpg",
                                        "in.safetensors",
                                        "in.onnx",
                                        "in.json",
                                        "train.bin",
                                        "train-images-idx3-ubyte",
                                        "train-labels-idx1-ubyte"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", data_directory, names[i]);
        unlink(path);
    }
    rmdir(data_directory);
}

/* Writes data_directory/name and returns its path (valid until the next call). */
static inline const char *write_data_file(const char *name, const void *data, size_t size) {
    static char path[128];
    if (!data_directory[0]) {
        const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp"; /* thousands of files: in memory */
        snprintf(data_directory, sizeof data_directory, "%s/espalier-fuzz-XXXXXX", base);
        if (!mkdtemp(data_directory)) {
            abort();
        }
        atexit(remove_data_files);
    }
    snprintf(path, sizeof path, "%s/%s", data_directory, name);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(data, 1, size, f) != size || fclose(f)) {
        abort();
    }
    return path;
}

/* A refusal must say why, and what is accepted must be readable to its last sample. */
static inline void open_part(const char *spec, const char *part) {
    nas_dataset *d = nas_dataset_open(spec, data_directory, part);
    if (!d && (!nas_error_status() || !nas_error_message()[0])) {
        abort();
    }
    nas_error_clear();
    const nas_dataset_info *info = nas_dataset_describe(d);
    float y[1] = {0};
    if (d && (info->size < 1 || info->target_count != 1 || nas_dataset_read(d, info->size - 1, NULL, y))) {
        abort();
    }
    if (d && info->classes && !(y[0] >= 0 && y[0] < (float)info->classes)) {
        abort();
    }
    nas_dataset_free(d);
}

static inline void open_data(const char *spec) {
    open_part(spec, "train");
    open_part(spec, "test");
}

#endif
