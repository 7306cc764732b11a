/* CIFAR binary files: both layouts, both formats, damaged ones; real images when ESPALIER_TEST_DATA names a directory
 * with cifar10-mini/ in it. */
#include "support.h"
#include "core/file.h"
#include "core/memory.h"

#include <espalier/data.h>

#include <stdlib.h>
#include <string.h>

enum { PIXELS = 3072 };

/* n records whose pixels are `first`, first + 1, ... */
static void write_records(const char *directory, const char *name, int n, int label_bytes, int first, size_t extra) {
    size_t record = PIXELS + (size_t)label_bytes, size = (size_t)n * record + extra;
    uint8_t *data = calloc(size, 1);
    for (int i = 0; i < n; i++) {
        uint8_t *p = data + (size_t)i * record;
        p[label_bytes - 1] = (uint8_t)((first + i) % 10);
        memset(p + label_bytes, first + i, PIXELS);
    }
    char *path = nas__join(directory, name);
    assert_int_equal(nas__write_file(path, data, size), NAS_OK);
    free(path);
    free(data);
}

static void check_samples(nas_dataset *d, int n) {
    assert_non_null(d);
    assert_int_equal(nas_dataset_describe(d)->size, n);
    for (int i = 0; i < n; i++) {
        float x[PIXELS], y;
        nas_dataset_read(d, i, x, &y);
        assert_true(y == (float)(i % 10) && x[0] == (float)i / 255 && x[PIXELS - 1] == (float)i / 255);
    }
    nas_dataset_free(d);
}

static void both_layouts_and_formats(void **state) {
    (void)state;
    char *directory = temporary_directory();
    write_records(directory, "train.bin", 7, 1, 0, 0);
    write_records(directory, "test.bin", 3, 1, 0, 0);
    check_samples(nas_dataset_open("cifar10", directory, "train"), 7);
    check_samples(nas_dataset_open("cifar10", directory, "test"), 3);
    char *inner = nas__join(directory, "cifar-10-batches-bin"); /* what the archive unpacks to goes first */
    nas__make_directory(inner);
    for (int i = 0; i < 5; i++) {
        char *name = nas__format("data_batch_%d.bin", i + 1);
        write_records(inner, name, 4, 1, 4 * i, 0);
        free(name);
    }
    write_records(inner, "test_batch.bin", 2, 1, 0, 0);
    free(inner);
    check_samples(nas_dataset_open("cifar10", directory, "train"), 20);
    check_samples(nas_dataset_open("cifar10", directory, "test"), 2);
    write_records(directory, "train.bin", 7, 2, 0, 0);
    nas_dataset *d = nas_dataset_open("cifar100", directory, "train");
    assert_string_equal(nas_dataset_describe(d)->class_names[99], "worm");
    check_samples(d, 7);
    remove_directory(directory);
}

static void expect_failure(const char *spec, const char *directory, nas_status status, const char *message) {
    assert_null(nas_dataset_open(spec, directory, "train"));
    assert_error(status, message);
}

static void damaged_files_are_refused(void **state) {
    (void)state;
    expect_failure("cifar10", NULL, NAS_NOT_FOUND, "--data-dir");
    expect_failure("cifar10", "/nonexistent", NAS_NOT_FOUND, "tools/get-data cifar10 /nonexistent");
    char *directory = temporary_directory();
    expect_failure("cifar10", directory, NAS_NOT_FOUND, "data_batch_1.bin or train.bin");
    expect_failure("cifar100", directory, NAS_NOT_FOUND, "tools/get-data cifar100");
    write_records(directory, "train.bin", 3, 2, 0, 0);
    expect_failure("cifar10", directory, NAS_PARSE, "format of cifar100");
    write_records(directory, "train.bin", 3, 1, 0, 0);
    expect_failure("cifar100", directory, NAS_PARSE, "format of cifar10;");
    write_records(directory, "train.bin", 3, 1, 0, 100);
    expect_failure("cifar10", directory, NAS_PARSE, "truncated");
    write_records(directory, "train.bin", 0, 1, 0, 0);
    expect_failure("cifar10", directory, NAS_PARSE, "0 bytes");
    char *path = nas__join(directory, "train.bin"), *record = calloc(1, PIXELS + 1);
    record[0] = 10;
    nas__write_file(path, record, PIXELS + 1);
    expect_failure("cifar10", directory, NAS_PARSE, "record 0 has label 10");
    free(record);
    free(path);
    write_records(directory, "data_batch_1.bin", 3, 1, 0, 0);
    expect_failure("cifar10", directory, NAS_NOT_FOUND, "data_batch_2.bin");
    remove_directory(directory);
}

static void real_images(void **state) {
    (void)state;
    const char *base = getenv("ESPALIER_TEST_DATA");
    if (!base) {
        skip();
    }
    char *directory = nas__join(base, "cifar10-mini");
    nas_dataset *train = nas_dataset_open("cifar10", directory, "train"),
                *test = nas_dataset_open("cifar10", directory, "test");
    assert_no_error();
    assert_int_equal(nas_dataset_describe(train)->size, 8000);
    assert_int_equal(nas_dataset_describe(test)->size, 2000);
    int counts[10] = {0};
    double sum[3] = {0};
    float x[PIXELS], y;
    for (int64_t i = 0; i < 8000; i++) {
        nas_dataset_read(train, i, x, &y);
        counts[(int)y]++;
        for (int k = 0; k < PIXELS; k++) {
            sum[k / 1024] += (double)x[k];
        }
    }
    const double mean[3] = {0.4913, 0.4821, 0.4465}; /* of the full 50,000 */
    for (int c = 0; c < 3; c++) {
        assert_true(sum[c] / 8000 / 1024 > mean[c] - 0.01 && sum[c] / 8000 / 1024 < mean[c] + 0.01);
    }
    for (int c = 0; c < 10; c++) {
        assert_int_equal(counts[c], 800);
    }
    nas_transform t = nas_transform_default(train, true);
    assert_true(t.crop_padding == 4 && t.flip && t.mean[0] == 0.4914f);
    t = nas_transform_default(test, false);
    assert_true(t.crop_padding == 0 && !t.flip && t.mean[0] == 0.4914f);
    nas_dataset_free(train);
    nas_dataset_free(test);
    free(directory);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_layouts_and_formats),
        cmocka_unit_test(damaged_files_are_refused),
        cmocka_unit_test(real_images),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
