/* NumPy arrays: every element type, images in each layout, regression targets, damaged files. */
#include "support.h"
#include "core/file.h"
#include "core/memory.h"

#include <espalier/data.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N = 40 };

static char *directory;

/* Version 1 or 2, header padded to a multiple of 64 as NumPy does; `missing` bytes are cut off the end. */
static void write_npy(const char *name, int version, const char *type, const char *order, const char *shape,
                      const void *data, size_t size, size_t missing) {
    char header[128];
    int begin = version == 1 ? 10 : 12;
    int length =
        snprintf(header, sizeof header, "{'descr': '%s', 'fortran_order': %s, 'shape': %s, }", type, order, shape);
    while ((begin + length + 1) % 64) {
        header[length++] = ' ';
    }
    header[length++] = '\n';
    size_t total = (size_t)(begin + length) + size;
    char *file = calloc(total, 1), *path = nas__join(directory, name);
    memcpy(file, "\x93NUMPY", 6);
    file[6] = (char)version;
    file[8] = (char)length;
    memcpy(file + begin, header, (size_t)length);
    memcpy(file + begin + length, data, size);
    assert_int_equal(nas__write_file(path, file, total - missing), NAS_OK);
    free(file);
    free(path);
}

static void write_labels(void) {
    int64_t y[N];
    for (int i = 0; i < N; i++) {
        y[i] = i % 4;
    }
    write_npy("y.npy", 1, "<i8", "False", "(40,)", y, sizeof y, 0);
}

static nas_dataset *open_part(const char *options, const char *part) {
    char *spec = nas__format("npy:x.npy,y.npy%s", options);
    nas_dataset *d = nas_dataset_open(spec, directory, part);
    free(spec);
    return d;
}

/* Every sample is {k, k + 1, k + 2} for a k of its own, in one of the parts. */
static void check_rows(void) {
    bool seen[3 * N] = {false};
    const char *parts[] = {"train", "test"};
    for (int p = 0; p < 2; p++) {
        nas_dataset *d = open_part("", parts[p]);
        assert_no_error();
        assert_int_equal(nas_dataset_describe(d)->size, p ? 4 : 36);
        assert_int_equal(nas_dataset_describe(d)->classes, 4);
        for (int64_t i = 0; i < nas_dataset_describe(d)->size; i++) {
            float x[3], y;
            nas_dataset_read(d, i, x, &y);
            int k = (int)x[0];
            assert_true(x[1] == (float)(k + 1) && x[2] == (float)(k + 2) && y == (float)(k / 3 % 4));
            assert_false(seen[k]);
            seen[k] = true;
        }
        nas_dataset_free(d);
    }
}

static void every_element_type(void **state) {
    (void)state;
    float f[3 * N];
    double d[3 * N];
    int32_t i4[3 * N];
    int64_t i8[3 * N];
    uint8_t u1[3 * N];
    for (int i = 0; i < 3 * N; i++) {
        f[i] = (float)i, d[i] = i, i4[i] = i, i8[i] = i, u1[i] = (uint8_t)i;
    }
    write_labels();
    write_npy("x.npy", 1, "<f4", "False", "(40, 3)", f, sizeof f, 0);
    check_rows();
    write_npy("x.npy", 2, "<f8", "False", "(40, 3)", d, sizeof d, 0);
    check_rows();
    write_npy("x.npy", 1, "<i4", "False", "(40, 3)", i4, sizeof i4, 0);
    check_rows();
    write_npy("x.npy", 2, "<i8", "False", "(40, 3)", i8, sizeof i8, 0);
    check_rows();
    write_npy("x.npy", 1, "|u1", "False", "(40, 3)", u1, sizeof u1, 0);
    check_rows();
}

static void images_in_each_layout(void **state) {
    (void)state;
    uint8_t x[N * 5 * 6 * 3];
    for (size_t i = 0; i < sizeof x; i++) {
        x[i] = (uint8_t)(i % 90); /* the same in every sample: position p, channel c is 3 * p + c */
    }
    write_labels();
    write_npy("x.npy", 1, "|u1", "False", "(40, 5, 6, 3)", x, sizeof x, 0);
    nas_dataset *d = open_part("", "train");
    assert_no_error();
    const nas_dataset_info *info = nas_dataset_describe(d);
    assert_true(info->ndim == 3 && info->dims[0] == 3 && info->dims[1] == 5 && info->dims[2] == 6);
    float image[90];
    nas_dataset_read(d, 2, image, NULL);
    for (int k = 0; k < 90; k++) {
        assert_true(image[k] == (float)(3 * (k % 30) + k / 30) / 255);
    }
    nas_dataset_free(d);
    write_npy("x.npy", 1, "|u1", "False", "(40, 3, 5, 6)", x, sizeof x, 0);
    d = open_part("", "test");
    nas_dataset_read(d, 2, image, NULL);
    assert_true(image[31] == 31.0f / 255);
    nas_dataset_free(d);
    write_npy("x.npy", 1, "|u1", "False", "(40, 9, 10)", x, sizeof x, 0);
    d = open_part("", "train");
    assert_true(nas_dataset_describe(d)->ndim == 3 && nas_dataset_describe(d)->dims[0] == 1);
    nas_transform t = nas_transform_default(d, false);
    assert_true(t.mean[0] > 44.4f / 255 && t.mean[0] < 44.6f / 255);
    nas_dataset_free(d);
}

static void regression_targets_keep_their_shape(void **state) {
    (void)state;
    float x[N] = {0}, y[N * 6];
    for (int i = 0; i < N * 6; i++) {
        y[i] = (float)i / 4;
    }
    write_npy("x.npy", 1, "<f4", "False", "(40,)", x, sizeof x, 0);
    write_npy("y.npy", 1, "<f4", "False", "(40, 2, 3)", y, sizeof y, 0);
    nas_dataset *d = open_part(",task=regression", "train");
    assert_no_error();
    const nas_dataset_info *info = nas_dataset_describe(d);
    assert_true(info->classes == 0 && info->target_count == 6 && info->target_ndim == 2 && info->target_dims[1] == 3);
    float target[6];
    nas_dataset_read(d, 0, NULL, target);
    assert_true(target[5] - target[0] == 1.25f);
    nas_dataset_free(d);
    assert_null(open_part("", "train"));
    assert_error(NAS_SHAPE, "6 values per sample");
}

static void expect_failure(nas_status status, const char *message) {
    assert_null(open_part("", "train"));
    assert_error(status, message);
}

static void damaged_files_are_refused(void **state) {
    (void)state;
    float x[2 * N] = {0};
    write_labels();
    write_npy("x.npy", 1, "<f4", "False", "(40, 2)", x, sizeof x, 5);
    expect_failure(NAS_PARSE,
                   "x.npy: truncated: the header tells of 80 elements of float32, 320 bytes, and 315 follow");
    write_npy("x.npy", 1, "<f4", "False", "(40, 1)", x, sizeof x, 0);
    expect_failure(NAS_PARSE, "too long");
    write_npy("x.npy", 1, "<f4", "False", "(40, 2)", x, sizeof x, sizeof x + 60);
    expect_failure(NAS_PARSE, "truncated within its header");
    write_npy("x.npy", 1, ">f4", "False", "(40, 2)", x, sizeof x, 0);
    expect_failure(NAS_UNSUPPORTED, "type >f4");
    write_npy("x.npy", 1, "<f4", "True", "(40, 2)", x, sizeof x, 0);
    expect_failure(NAS_UNSUPPORTED, "Fortran order");
    write_npy("x.npy", 4, "<f4", "False", "(40, 2)", x, sizeof x, 0);
    expect_failure(NAS_UNSUPPORTED, "version 4");
    write_npy("x.npy", 1, "<f4", "False", "()", x, 4, 0);
    expect_failure(NAS_SHAPE, "single number");
    write_npy("x.npy", 1, "<f4", "False", "(40, 0)", x, 0, 0);
    expect_failure(NAS_SHAPE, "each at least 1");
    write_npy("x.npy", 1, "<f4", "False", "(4000000000, 4000000000)", x, 0, 0);
    expect_failure(NAS_SHAPE, "this shape is (4000000000");
    write_npy("x.npy", 1, "<f4", "False", "(20, 4)", x, sizeof x, 0);
    expect_failure(NAS_SHAPE, "has 20 samples, but");
    memset(x + 6, 0xff, 4);
    write_npy("x.npy", 1, "<f4", "False", "(40, 2)", x, sizeof x, 0);
    expect_failure(NAS_NUMERIC, "element 6 (of sample 3)");
    x[6] = 0;
    write_npy("x.npy", 1, "<f4", "False", "(40, 2)", x, sizeof x, 0);
    x[7] = 0.5f;
    write_npy("y.npy", 1, "<f4", "False", "(40,)", x, sizeof x / 2, 0);
    expect_failure(NAS_INVALID, "target 7 is 0.5; classes are whole numbers");
    x[7] = 0;
    write_npy("y.npy", 1, "<f4", "False", "(40,)", x, sizeof x / 2, 0);
    expect_failure(NAS_INVALID, "1 classes");
    char *path = nas__join(directory, "x.npy");
    nas__write_file(path, "PK\3\4 something else", 18);
    free(path);
    expect_failure(NAS_PARSE, "not a NumPy array");
    assert_null(nas_dataset_open("npy:x.npy", directory, "train"));
    assert_error(NAS_INVALID, "npy:X.npy,y.npy");
}

int main(void) {
    directory = temporary_directory();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_element_type),
        cmocka_unit_test(images_in_each_layout),
        cmocka_unit_test(regression_targets_keep_their_shape),
        cmocka_unit_test(damaged_files_are_refused),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    remove_directory(directory);
    return failed;
}
