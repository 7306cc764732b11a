/* Fashion-MNIST: small files of our own, whole and damaged, and the real data where it is installed. */
#include "support.h"
#include "core/file.h"

#include <espalier/data.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { N = 12, SIDE = 5 };

static void write_gz(const char *directory, const char *name, const void *data, size_t size) {
    char *path = nas__join(directory, name);
    gzFile f = gzopen(path, "wb");
    assert_int_equal(gzwrite(f, data, (unsigned)size), size);
    assert_int_equal(gzclose(f), Z_OK);
    free(path);
}

static void truncate_file(const char *directory, const char *name, size_t keep, long damage_at) {
    char *path = nas__join(directory, name);
    size_t size;
    char *data = nas__read_file(path, &size);
    if (damage_at >= 0) {
        data[(size_t)damage_at < size ? (size_t)damage_at : size - 1] ^= 0x55;
    }
    assert_int_equal(nas__write_file(path, data, keep < size ? keep : size), NAS_OK);
    free(data);
    free(path);
}

static const char images_name[] = "train-images-idx3-ubyte.gz", labels_name[] = "train-labels-idx1-ubyte.gz";

static void write_train(const char *directory, int n_labels, int last_label) {
    uint8_t images[16 + N * SIDE * SIDE] = {0, 0, 8, 3, 0, 0, 0, N, 0, 0, 0, SIDE, 0, 0, 0, SIDE};
    uint8_t labels[8 + N] = {0, 0, 8, 1, 0, 0, 0, (uint8_t)n_labels};
    for (int i = 0; i < N * SIDE * SIDE; i++) {
        images[16 + i] = (uint8_t)(i * 37);
    }
    for (int i = 0; i < N; i++) {
        labels[8 + i] = (uint8_t)(i == N - 1 ? last_label : i % 10);
    }
    write_gz(directory, images_name, images, sizeof images);
    write_gz(directory, labels_name, labels, 8 + (size_t)n_labels);
}

static void whole_files_are_read(void **state) {
    (void)state;
    char *directory = temporary_directory();
    write_train(directory, N, 9);
    nas_dataset *d = nas_dataset_open("fashion-mnist", directory, "train");
    assert_non_null(d);
    float x[SIDE * SIDE], y;
    assert_int_equal(nas_dataset_read(d, 3, x, &y), NAS_OK);
    assert_true(y == 3);
    for (int i = 0; i < SIDE * SIDE; i++) {
        assert_true(x[i] == (float)(uint8_t)((3 * SIDE * SIDE + i) * 37) / 255);
    }
    nas_dataset_free(d);
    remove_directory(directory);
}

static void expect_failure(const char *directory, const char *part, nas_status status, const char *message) {
    assert_null(nas_dataset_open("fashion-mnist", directory, part));
    assert_error(status, message);
}

static void damaged_files_are_refused(void **state) {
    (void)state;
    char *directory = temporary_directory();
    write_train(directory, N, 9);
    expect_failure(directory, "test", NAS_NOT_FOUND,
                   "t10k-images-idx3-ubyte.gz is missing: install the Debian package");
    truncate_file(directory, images_name, 200, -1);
    expect_failure(directory, "train", NAS_PARSE, "truncated");
    write_train(directory, N, 9);
    truncate_file(directory, images_name, 1 << 20, 1 << 20); /* the checksum at the end */
    expect_failure(directory, "train", NAS_IO, "damaged");
    write_train(directory, N - 1, 9);
    expect_failure(directory, "train", NAS_PARSE, "12 images but 11 labels");
    write_train(directory, N, 10);
    expect_failure(directory, "train", NAS_PARSE, "label 11 is 10");
    write_gz(directory, labels_name, "\0\0\x08\x03\0\0\0\x0c", 8);
    expect_failure(directory, "train", NAS_PARSE, "magic number 00000803 instead of 00000801");
    write_gz(directory, images_name, "\0\0\x08\x03\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 16);
    expect_failure(directory, "train", NAS_PARSE, "not possible");
    write_gz(directory, images_name, "", 0);
    expect_failure(directory, "train", NAS_PARSE, "truncated");
    expect_failure("/nonexistent", "train", NAS_NOT_FOUND, "--data-dir");
    remove_directory(directory);
}

static void the_real_data(void **state) {
    (void)state;
    if (!nas__exists("/usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz")) {
        skip();
    }
    static const int first[10] = {9, 0, 0, 3, 0, 2, 7, 2, 5, 5};
    static const int first_test[5] = {9, 2, 1, 1, 6};
    nas_dataset *train = nas_dataset_open("fashion-mnist", NULL, "train"),
                *test = nas_dataset_open("fashion-mnist", NULL, "test");
    assert_no_error();
    const nas_dataset_info *info = nas_dataset_describe(train);
    assert_int_equal(info->size, 60000);
    assert_int_equal(info->dims[1], 28);
    assert_string_equal(info->class_names[9], "Ankle boot");
    assert_int_equal(nas_dataset_describe(test)->size, 10000);
    int counts[10] = {0};
    double sum = 0;
    for (int64_t i = 0; i < 60000; i++) {
        float x[784], y;
        nas_dataset_read(train, i, x, &y);
        counts[(int)y]++;
        if (i < 10) {
            assert_int_equal((int)y, first[i]);
        }
        for (int k = 0; k < 784; k++) {
            sum += (double)x[k];
        }
    }
    for (int c = 0; c < 10; c++) {
        assert_int_equal(counts[c], 6000);
    }
    assert_true(sum / 60000 / 784 > 0.28595 && sum / 60000 / 784 < 0.28605); /* the constant that transforms use */
    for (int i = 0; i < 5; i++) {
        float y;
        nas_dataset_read(test, i, NULL, &y);
        assert_int_equal((int)y, first_test[i]);
    }
    nas_transform t = nas_transform_default(train, true);
    assert_true(t.crop_padding == 2 && t.flip && t.cutout == 0);
    nas_dataset *parts[3];
    assert_int_equal(nas_dataset_split(train, 1, 3, (double[]){0.45, 0.45, 0.1}, parts), NAS_OK);
    const int64_t sizes[3] = {27000, 27000, 6000};
    for (int p = 0; p < 3; p++) {
        memset(counts, 0, sizeof counts);
        for (int64_t i = 0; i < sizes[p]; i++) {
            float y;
            nas_dataset_read(parts[p], i, NULL, &y);
            counts[(int)y]++;
        }
        for (int c = 0; c < 10; c++) {
            assert_int_equal(counts[c], sizes[p] / 10);
        }
        nas_dataset_free(parts[p]);
    }
    nas_dataset_free(train);
    nas_dataset_free(test);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_files_are_read),
        cmocka_unit_test(damaged_files_are_refused),
        cmocka_unit_test(the_real_data),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
