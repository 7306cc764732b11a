/* Normalisation, crop, flip and cutout against what each must do to an image whose pixels tell where they came from. */
#include "support.h"

#include <espalier/data.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { HEIGHT = 6, WIDTH = 9, AREA = HEIGHT * WIDTH, CHANNELS = 3, N = 4000 };

/* Pixel p of channel c of every sample is (1 + p + c * AREA) / 200; 0 is the black outside. */
static nas_dataset *located(void) {
    float *x = malloc((size_t)N * CHANNELS * AREA * sizeof *x), *y = calloc(N, sizeof *y);
    for (int i = 0; i < N * CHANNELS * AREA; i++) {
        x[i] = (float)(1 + i % (CHANNELS * AREA)) / 200;
    }
    nas_dataset *d = nas_dataset_from_arrays(N, 3, (int64_t[]){CHANNELS, HEIGHT, WIDTH}, x, 1, y, 0);
    free(x);
    free(y);
    return d;
}

static const nas_transform identity = {.mean = {0}, .std = {1, 1, 1, 1}};

static nas_loader *loader(nas_dataset *d, nas_transform t) {
    nas_loader *l =
        nas_loader_new(&(nas_loader_config){.data = d, .batch_size = N, .augment = true, .transform = t, .seed = 4});
    assert_non_null(l);
    return l;
}

/* Where the pixel at (y, x) of channel c came from: its number, or -1 for black. */
static int origin(const float *image, int c, int y, int x) {
    int v = (int)lroundf(image[c * AREA + y * WIDTH + x] * 200) - 1;
    return v < 0 ? -1 : v - c * AREA;
}

static void crops_shift_every_way(void **state) {
    (void)state;
    nas_dataset *d = located();
    nas_transform t = identity;
    t.crop_padding = 2;
    nas_loader *l = loader(d, t);
    const nas_batch *b = nas_loader_next(l);
    int counts[5][5] = {{0}};
    for (int i = 0; i < N; i++) {
        const float *image = b->x + (size_t)i * CHANNELS * AREA;
        int middle = origin(image, 0, 3, 4), down = middle / WIDTH - 3, right = middle % WIDTH - 4;
        assert_true(abs(down) <= 2 && abs(right) <= 2);
        counts[down + 2][right + 2]++;
        for (int c = 0; c < CHANNELS; c++) {
            for (int p = 0; p < AREA; p++) {
                int y = p / WIDTH + down, x = p % WIDTH + right;
                bool inside = y >= 0 && y < HEIGHT && x >= 0 && x < WIDTH;
                assert_int_equal(origin(image, c, p / WIDTH, p % WIDTH), inside ? y * WIDTH + x : -1);
            }
        }
    }
    for (int i = 0; i < 25; i++) { /* uniform: 160 +- 5 deviations */
        assert_true(abs(counts[i / 5][i % 5] - N / 25) < 5 * 13);
    }
    nas_loader_free(l);
    nas_dataset_free(d);
}

static void half_are_flipped(void **state) {
    (void)state;
    nas_dataset *d = located();
    nas_transform t = identity;
    t.flip = true;
    nas_loader *l = loader(d, t);
    const nas_batch *b = nas_loader_next(l);
    int flipped = 0;
    for (int i = 0; i < N; i++) {
        const float *image = b->x + (size_t)i * CHANNELS * AREA;
        bool flip = origin(image, 0, 0, 0) == WIDTH - 1;
        flipped += flip;
        for (int c = 0; c < CHANNELS; c++) {
            for (int p = 0; p < AREA; p++) {
                int x = flip ? WIDTH - 1 - p % WIDTH : p % WIDTH;
                assert_int_equal(origin(image, c, p / WIDTH, p % WIDTH), p / WIDTH * WIDTH + x);
            }
        }
    }
    assert_true(abs(flipped - N / 2) < 5 * 32);
    nas_loader_free(l);
    nas_dataset_free(d);
}

static void cutout_leaves_one_square(void **state) {
    (void)state;
    nas_dataset *d = located();
    nas_transform t = identity;
    t.cutout = 4;
    nas_loader *l = loader(d, t);
    const nas_batch *b = nas_loader_next(l);
    int whole = 0, covered[AREA] = {0};
    for (int i = 0; i < N; i++) {
        const float *image = b->x + (size_t)i * CHANNELS * AREA;
        int top = HEIGHT, bottom = -1, left = WIDTH, right = -1, holes = 0;
        for (int p = 0; p < AREA; p++) {
            if (origin(image, 0, p / WIDTH, p % WIDTH) < 0) {
                int y = p / WIDTH, x = p % WIDTH;
                top = y < top ? y : top, bottom = y > bottom ? y : bottom;
                left = x < left ? x : left, right = x > right ? x : right;
                holes++;
                covered[p]++;
                assert_true(origin(image, 2, y, x) < 0); /* in every channel */
            }
        }
        assert_int_equal(holes, (bottom - top + 1) * (right - left + 1)); /* a full rectangle */
        assert_true(holes >= 4 && bottom - top < 4 && right - left < 4);
        whole += holes == 16;
    }
    /* Centres are uniform; those at least 2 above-left and 1 below-right of the border give a whole square: 3*6 of 54.
     */
    assert_true(abs(whole - N * 18 / 54) < 5 * 30);
    for (int p = 0; p < AREA; p++) {
        assert_true(covered[p] > 0);
    }
    nas_loader_free(l);
    nas_dataset_free(d);
}

static void constants_normalise(void **state) {
    (void)state;
    float *x = malloc(200 * 2 * 16 * sizeof *x), y[200] = {0};
    nas_rng rng = nas_rng_new(1, 1);
    for (int i = 0; i < 200 * 2 * 16; i++) {
        x[i] = (float)(i / 16 % 2 ? 0.7 + 0.1 * nas_rng_normal(&rng) : 0.2 + 0.05 * nas_rng_normal(&rng));
    }
    nas_dataset *d = nas_dataset_from_arrays(200, 3, (int64_t[]){2, 4, 4}, x, 1, y, 0);
    nas_transform t = nas_transform_default(d, true);
    assert_true(fabsf(t.mean[0] - 0.2f) < 0.01f && fabsf(t.mean[1] - 0.7f) < 0.01f);
    assert_true(fabsf(t.std[0] - 0.05f) < 0.005f && fabsf(t.std[1] - 0.1f) < 0.01f);
    assert_false(t.flip);
    nas_loader *l = nas_loader_new(&(nas_loader_config){.data = d, .batch_size = 200});
    const nas_batch *b = nas_loader_next(l);
    double sum[2] = {0}, squares[2] = {0};
    for (int i = 0; i < 200 * 2 * 16; i++) {
        double v = b->x[i];
        sum[i / 16 % 2] += v;
        squares[i / 16 % 2] += v * v;
    }
    for (int c = 0; c < 2; c++) {
        assert_true(fabs(sum[c] / 3200) < 1e-4 && fabs(squares[c] / 3200 - 1) < 1e-3);
    }
    nas_loader_free(l);
    nas_dataset_free(d);
    free(x);
}

static void augmentation_is_off_unless_asked_for(void **state) {
    (void)state;
    nas_dataset *d = located();
    nas_transform t = identity;
    t.crop_padding = 2, t.flip = true, t.cutout = 3;
    nas_loader *l = nas_loader_new(&(nas_loader_config){.data = d, .batch_size = 50, .transform = t});
    const nas_batch *b = nas_loader_next(l);
    float raw[CHANNELS * AREA];
    for (int i = 0; i < 50; i++) {
        nas_dataset_read(d, i, raw, NULL);
        assert_memory_equal(raw, b->x + i * CHANNELS * AREA, sizeof raw);
    }
    nas_loader_free(l);
    nas_dataset_free(d);
}

static void what_does_not_fit_is_refused(void **state) {
    (void)state;
    nas_dataset *d = located();
    nas_loader_config config = {.data = d, .batch_size = 5, .augment = true, .transform = identity};
    config.transform.crop_padding = HEIGHT;
    assert_null(nas_loader_new(&config));
    assert_error(NAS_INVALID, "crop_padding 6 is not less than the image's 6x9");
    config.transform.crop_padding = 0;
    config.transform.std[1] = 0;
    assert_null(nas_loader_new(&config));
    assert_error(NAS_INVALID, "channel 1");
    nas_dataset_free(d);
    const float x[4] = {1, 2, 3, 4}, y[2] = {0, 1};
    d = nas_dataset_from_arrays(2, 1, (int64_t[]){2}, x, 1, y, 2);
    config = (nas_loader_config){.data = d, .batch_size = 2, .augment = true, .transform = {.flip = true}};
    assert_null(nas_loader_new(&config));
    assert_error(NAS_INVALID, "need images");
    config.transform.flip = false; /* what is not an image passes unchanged */
    nas_loader *l = nas_loader_new(&config);
    assert_memory_equal(nas_loader_next(l)->x, x, sizeof x);
    nas_loader_free(l);
    nas_dataset_free(d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crops_shift_every_way),
        cmocka_unit_test(half_are_flipped),
        cmocka_unit_test(cutout_leaves_one_square),
        cmocka_unit_test(constants_normalise),
        cmocka_unit_test(augmentation_is_off_unless_asked_for),
        cmocka_unit_test(what_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
