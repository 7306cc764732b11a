/* Image folders: PNG and JPEG round trips, the parts, and everything that can be wrong with a folder. */
#include "support.h"
#include "core/file.h"
#include "core/memory.h"

#include <espalier/data.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <jpeglib.h>
#include <png.h>

enum { SIDE = 8, AREA = SIDE * SIDE };

static char *path_of(const char *directory, const char *class, const char *name) {
    char *folder = nas__join(directory, class), *path = nas__join(folder, name);
    assert_int_equal(nas__make_directory(folder), NAS_OK);
    free(folder);
    return path;
}

/* Interleaved pixels; channels 1, 3 or 4 (with transparency). */
static void write_png(const char *directory, const char *class, const char *name, int channels, int width,
                      const uint8_t *pixels) {
    char *path = path_of(directory, class, name);
    png_image png = {.version = PNG_IMAGE_VERSION,
                     .width = (unsigned)width,
                     .height = SIDE,
                     .format = channels == 1   ? PNG_FORMAT_GRAY
                               : channels == 3 ? PNG_FORMAT_RGB
                                               : PNG_FORMAT_RGBA};
    assert_true(png_image_write_to_file(&png, path, 0, pixels, 0, NULL));
    free(path);
}

static void write_jpeg(const char *directory, const char *class, const char *name, int channels,
                       const uint8_t *pixels) {
    char *path = path_of(directory, class, name);
    struct jpeg_compress_struct jpeg;
    struct jpeg_error_mgr errors;
    FILE *f = fopen(path, "wb");
    jpeg.err = jpeg_std_error(&errors);
    jpeg_create_compress(&jpeg);
    jpeg_stdio_dest(&jpeg, f);
    jpeg.image_width = jpeg.image_height = SIDE;
    jpeg.input_components = channels;
    jpeg.in_color_space = channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
    jpeg_set_defaults(&jpeg);
    jpeg_set_quality(&jpeg, 100, TRUE);
    jpeg_start_compress(&jpeg, TRUE);
    for (int y = 0; y < SIDE; y++) {
        JSAMPROW row = (JSAMPROW)pixels + y * SIDE * channels;
        jpeg_write_scanlines(&jpeg, &row, 1);
    }
    jpeg_finish_compress(&jpeg);
    jpeg_destroy_compress(&jpeg);
    fclose(f);
    free(path);
}

/* A smooth image: what JPEG keeps. */
static void gradient(uint8_t *pixels, int channels, int seed) {
    for (int i = 0; i < AREA * channels; i++) {
        int p = i / channels, c = i % channels;
        pixels[i] = (uint8_t)(20 + 3 * (p % SIDE) + 5 * (p / SIDE) + 60 * c + seed);
    }
}

static float expected(int channel, int p, int seed) {
    return (float)(20 + 3 * (p % SIDE) + 5 * (p / SIDE) + 60 * channel + seed);
}

static void colour_png_and_jpeg_round_trip(void **state) {
    (void)state;
    char *directory = temporary_directory(), *train = nas__join(directory, "train"),
         *test = nas__join(directory, "test");
    uint8_t pixels[AREA * 4];
    gradient(pixels, 3, 0);
    write_png(train, "birds", "b.png", 3, SIDE, pixels);
    gradient(pixels, 3, 10);
    write_jpeg(train, "cats", "a.JPG", 3, pixels);
    write_png(test, "birds", "z.png", 3, SIDE, pixels);
    write_png(test, "cats", "y.png", 3, SIDE, pixels);
    char *spec = nas__format("folder:%s", directory);
    nas_dataset *d = nas_dataset_open(spec, NULL, "train"), *t = nas_dataset_open(spec, NULL, "test");
    assert_no_error();
    const nas_dataset_info *info = nas_dataset_describe(d);
    assert_true(info->size == 2 && info->dims[0] == 3 && info->dims[1] == SIDE && info->classes == 2);
    assert_string_equal(info->class_names[1], "cats");
    float x[3 * AREA], y;
    for (int i = 0; i < 2; i++) {
        nas_dataset_read(d, i, x, &y);
        assert_true(y == (float)i);
        for (int k = 0; k < 3 * AREA; k++) { /* PNG exactly, JPEG nearly */
            assert_true(fabsf(x[k] * 255 - expected(k / AREA, k % AREA, 10 * i)) <= (i ? 8 : 0.01f));
        }
    }
    assert_int_equal(nas_dataset_describe(t)->size, 2);
    nas_dataset_read(t, 1, x, &y);
    assert_true(y == 1);
    nas_transform a = nas_transform_default(d, false),
                  b = nas_transform_default(t, false); /* of the train images, both */
    assert_memory_equal(&a, &b, sizeof a);
    nas_dataset_free(d);
    nas_dataset_free(t);
    free(spec), free(train), free(test);
    remove_directory(directory);
}

static void grey_stays_grey_unless_one_is_colour(void **state) {
    (void)state;
    char *directory = temporary_directory(), *spec = nas__format("folder:%s", directory);
    uint8_t pixels[AREA * 4];
    for (int i = 0; i < 24; i++) {
        char name[16];
        snprintf(name, sizeof name, "%02d.%s", i, i % 2 ? "png" : "jpeg");
        gradient(pixels, 1, i);
        const char *class = i < 12 ? "a" : "b";
        i % 2 ? write_png(directory, class, name, 1, SIDE, pixels) : write_jpeg(directory, class, name, 1, pixels);
    }
    nas_dataset *train = nas_dataset_open(spec, NULL, "train"), *test = nas_dataset_open(spec, NULL, "test");
    assert_no_error();
    assert_int_equal(nas_dataset_describe(train)->size, 22); /* one of twelve held out, in each class */
    assert_int_equal(nas_dataset_describe(test)->size, 2);
    assert_int_equal(nas_dataset_describe(train)->dims[0], 1);
    float x[3 * AREA], y, sum = 0, other[3 * AREA];
    for (int i = 0; i < 2; i++) {
        nas_dataset_read(test, i, x, &y);
        sum += y;
        for (int k = 0; k < 22; k++) { /* every image differs, and none is in both parts */
            nas_dataset_read(train, k, other, NULL);
            assert_memory_not_equal(x, other, AREA * sizeof *x);
        }
    }
    assert_true(sum == 1);
    nas_transform a = nas_transform_default(train, false), b = nas_transform_default(test, false);
    assert_memory_equal(&a, &b, sizeof a);
    nas_dataset_free(train);
    nas_dataset_free(test);
    memset(pixels, 200, sizeof pixels);
    pixels[3] = 0; /* the first pixel is transparent: black shows */
    write_png(directory, "b", "zz.png", 4, SIDE, pixels);
    train = nas_dataset_open(spec, NULL, "train"); /* which image of b is held out changes with their number */
    assert_no_error();
    assert_int_equal(nas_dataset_describe(train)->dims[0], 3);
    nas_dataset_read(train, 0, x, &y);
    assert_memory_equal(x, x + AREA, AREA * sizeof *x); /* grey as RGB */
    nas_dataset_free(train);
    free(spec);
    remove_directory(directory);
}

static void expect_failure(const char *spec, const char *part, nas_status status, const char *message) {
    assert_null(nas_dataset_open(spec, NULL, part));
    assert_error(status, message);
}

static void wrong_folders_are_refused(void **state) {
    (void)state;
    char *directory = temporary_directory(), *spec = nas__format("folder:%s", directory);
    uint8_t pixels[AREA * 4];
    gradient(pixels, 3, 0);
    expect_failure("folder:/nonexistent", "train", NAS_NOT_FOUND, "/nonexistent: cannot be read as a directory");
    expect_failure(spec, "train", NAS_NOT_FOUND, "0 class sub-folders");
    write_png(directory, "a", "1.png", 3, SIDE, pixels);
    expect_failure(spec, "train", NAS_NOT_FOUND, "1 class sub-folder;");
    free(path_of(directory, "b", "none"));
    expect_failure(spec, "train", NAS_NOT_FOUND, "/b: no PNG or JPEG image");
    write_png(directory, "b", "1.png", 3, SIDE, pixels);
    expect_failure(spec, "test", NAS_INVALID, "too few to hold out");
    write_png(directory, "b", "2.png", 3, SIDE - 1, pixels);
    expect_failure(spec, "train", NAS_SHAPE, "/b/2.png: 7x8 pixels, but ");
    char *path = path_of(directory, "b", "2.png");
    nas__write_file(path, "no image", 8);
    expect_failure(spec, "train", NAS_PARSE, "/b/2.png: not a readable PNG file");
    remove(path);
    free(path);
    write_jpeg(directory, "b", "3.jpg", 3, pixels);
    path = path_of(directory, "b", "3.jpg");
    size_t size;
    char *data = nas__read_file(path, &size);
    nas__write_file(path, data, size - 40);
    expect_failure(spec, "train", NAS_PARSE, "/b/3.jpg: damaged JPEG file");
    nas__write_file(path, "", 0);
    expect_failure(spec, "train", NAS_PARSE, "/b/3.jpg: damaged JPEG file");
    free(data);
    free(path);
    free(spec);
    remove_directory(directory);
}

static void test_classes_must_be_known(void **state) {
    (void)state;
    char *directory = temporary_directory(), *spec = nas__format("folder:%s", directory);
    char *train = nas__join(directory, "train"), *test = nas__join(directory, "test");
    uint8_t pixels[AREA];
    gradient(pixels, 1, 0);
    const char *names[] = {"a", "b", "c"};
    for (int i = 0; i < 3; i++) {
        write_png(train, names[i], "1.png", 1, SIDE, pixels);
    }
    write_png(test, "b", "1.png", 1, SIDE, pixels);
    write_png(test, "c", "1.png", 1, SIDE, pixels);
    nas_dataset *d = nas_dataset_open(spec, NULL, "test");
    float y;
    nas_dataset_read(d, 0, NULL, &y);
    assert_true(y == 1); /* b is number 1 of the train part */
    assert_int_equal(nas_dataset_describe(d)->classes, 3);
    nas_dataset_free(d);
    write_png(test, "d", "1.png", 1, SIDE, pixels);
    expect_failure(spec, "test", NAS_INVALID, "/test/d: the train part has no class of this name");
    free(spec), free(train), free(test);
    remove_directory(directory);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(colour_png_and_jpeg_round_trip),
        cmocka_unit_test(grey_stays_grey_unless_one_is_colour),
        cmocka_unit_test(wrong_folders_are_refused),
        cmocka_unit_test(test_classes_must_be_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
