/* labels: threads. The loader: the same batches for any number of threads and after a seek, each sample once per epoch,
 * errors of the threads in the caller's hands. */
#include "support.h"

#include <espalier/data.h>

#include <stdlib.h>
#include <string.h>

enum { N = 103, BATCH = 10, SIDE = 8, SAMPLE = SIDE * SIDE };

static nas_dataset *images(void) {
    float *x = random_floats(3, N * SAMPLE), y[N];
    for (int i = 0; i < N; i++) {
        y[i] = (float)i;
        for (int k = 0; k < SAMPLE; k++) {
            x[i * SAMPLE + k] = x[i * SAMPLE + k] * 0.5f + 0.5f;
        }
    }
    nas_dataset *d = nas_dataset_from_arrays(N, 3, (int64_t[]){1, SIDE, SIDE}, x, 1, y, 0);
    free(x);
    assert_non_null(d);
    return d;
}

static nas_loader *new_loader(nas_dataset *d, int workers) {
    nas_loader_config config = {.data = d,
                                .batch_size = BATCH,
                                .shuffle = true,
                                .augment = true,
                                .seed = 11,
                                .workers = workers,
                                .transform = {.crop_padding = 2, .flip = true, .cutout = 3}};
    nas_loader *l = nas_loader_new(&config);
    assert_non_null(l);
    return l;
}

static uint64_t hash(uint64_t h, const void *data, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) {
        h = (h ^ ((const unsigned char *)data)[i]) * 0x100000001b3u;
    }
    return h;
}

/* Hash of every batch of `epochs` epochs. */
static void run(nas_loader *l, int epochs, uint64_t *hashes) {
    for (int e = 0; e < epochs; e++) {
        int64_t count = 0;
        for (const nas_batch *b; (b = nas_loader_next(l)); count++) {
            assert_int_equal(b->index, count);
            assert_int_equal((uintptr_t)b->x % 64, 0);
            hashes[e * 11 + count] =
                hash(hash(14695981039346656037u, b->x, (size_t)b->n * SAMPLE * 4), b->y, (size_t)b->n * 4);
        }
        assert_no_error();
        assert_int_equal(count, 11);
    }
}

static void threads_change_nothing(void **state) {
    (void)state;
    nas_dataset *d = images();
    uint64_t expected[33], got[33];
    nas_loader *l = new_loader(d, NAS_NONE);
    assert_int_equal(nas_loader_batches(l), 11);
    run(l, 3, expected);
    nas_loader_free(l);
    for (int workers = 0; workers < 5; workers++) {
        l = new_loader(d, workers);
        run(l, 3, got);
        nas_loader_free(l);
        assert_memory_equal(got, expected, sizeof got);
    }
    assert_true(expected[0] != expected[11]); /* epochs differ */
    nas_dataset_free(d);
}

static void seeking_resumes_bit_for_bit(void **state) {
    (void)state;
    nas_dataset *d = images();
    for (int workers = NAS_NONE; workers < 3; workers++) {
        uint64_t expected[33];
        nas_loader *l = new_loader(d, workers);
        run(l, 3, expected);
        const int places[][2] = {{1, 4}, {0, 0}, {2, 10}, {2, 10}, {1, 0}};
        for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
            assert_int_equal(nas_loader_seek(l, places[i][0], places[i][1]), NAS_OK);
            const nas_batch *b = nas_loader_next(l);
            assert_int_equal(b->index, places[i][1]);
            uint64_t h = hash(hash(14695981039346656037u, b->x, (size_t)b->n * SAMPLE * 4), b->y, (size_t)b->n * 4);
            assert_true(h == expected[places[i][0] * 11 + places[i][1]]);
        }
        assert_int_equal(nas_loader_seek(l, 1, 11), NAS_OK); /* the end of an epoch */
        assert_null(nas_loader_next(l));
        assert_int_equal(nas_loader_next(l)->index, 0);
        assert_int_not_equal(nas_loader_seek(l, 0, 12), NAS_OK);
        assert_error(NAS_INVALID, "batch 12");
        nas_loader_free(l);
    }
    nas_dataset_free(d);
}

static void each_sample_comes_once(void **state) {
    (void)state;
    nas_dataset *d = images();
    nas_loader *l = new_loader(d, 2);
    int seen[N] = {0}, in_place = 0;
    int64_t at = 0;
    for (const nas_batch *b; (b = nas_loader_next(l));) {
        for (int64_t i = 0; i < b->n; i++, at++) {
            seen[(int)b->y[i]]++;
            in_place += (int)b->y[i] == at;
        }
    }
    assert_int_equal(at, N);
    for (int i = 0; i < N; i++) {
        assert_int_equal(seen[i], 1);
    }
    assert_true(in_place < 10);
    nas_loader_free(l);
    nas_dataset_free(d);
}

static void lengths_of_an_epoch(void **state) {
    (void)state;
    nas_dataset *d = images();
    nas_loader_config config = {.data = d, .batch_size = BATCH, .drop_last = true};
    nas_loader *l = nas_loader_new(&config);
    assert_int_equal(nas_loader_batches(l), 10);
    nas_loader_free(l);
    config.limit = 3;
    l = nas_loader_new(&config);
    int batches = 0;
    while (nas_loader_next(l)) {
        batches++;
    }
    assert_int_equal(batches, 3);
    assert_true(nas_loader_wait_seconds(l) > 0);
    nas_loader_free(l);
    config.batch_size = N + 1;
    assert_null(nas_loader_new(&config));
    assert_error(NAS_INVALID, "a batch of 104 is larger than the 103 samples");
    config.drop_last = false; /* all of the data in one batch is fine for scoring */
    l = nas_loader_new(&config);
    assert_int_equal(nas_loader_next(l)->n, N);
    nas_loader_free(l);
    config.batch_size = 0;
    assert_null(nas_loader_new(&config));
    assert_error(NAS_INVALID, "batch size 0");
    nas_dataset_free(d);
}

static nas_status fails_at_25(void *user, int64_t index, float *x, float *y) {
    (void)user;
    x[0] = y[0] = (float)index;
    return index == 25 ? NAS_IO : NAS_OK;
}

static void errors_reach_the_caller(void **state) {
    (void)state;
    nas_dataset_info info = {.name = "fragile", .size = 40, .ndim = 1, .dims = {1}, .target_count = 1};
    nas_dataset *d = nas_dataset_new(&info, fails_at_25, NULL, NULL);
    for (int workers = NAS_NONE; workers < 4; workers++) {
        nas_loader_config config = {.data = d, .batch_size = 10, .workers = workers};
        nas_loader *l = nas_loader_new(&config);
        assert_non_null(nas_loader_next(l));
        assert_non_null(nas_loader_next(l));
        assert_no_error(); /* although a thread may have failed already */
        assert_null(nas_loader_next(l));
        assert_error(NAS_IO, "fragile: sample 25");
        const nas_batch *b = nas_loader_next(l); /* goes on behind the batch that failed */
        assert_int_equal(b->index, 3);
        assert_true(b->x[0] == 30);
        assert_null(nas_loader_next(l));
        assert_no_error();
        nas_loader_free(l);
    }
    nas_dataset_free(d);
}

static nas_status constant_image(void *user, int64_t index, float *x, float *y) {
    (void)user;
    for (int i = 0; i < SAMPLE; i++) {
        x[i] = (float)(index % 5) / 4;
    }
    y[0] = 0;
    return NAS_OK;
}

static void functions_are_transformed_too(void **state) {
    (void)state;
    nas_dataset_info info = {.size = 100, .ndim = 3, .dims = {1, SIDE, SIDE}, .target_count = 1};
    nas_dataset *d = nas_dataset_new(&info, constant_image, NULL, NULL);
    nas_transform t = nas_transform_default(d, false);
    assert_true(t.mean[0] > 0.4999f && t.mean[0] < 0.5001f && t.std[0] > 0.3535f && t.std[0] < 0.3536f);
    nas_loader_config config = {.data = d, .batch_size = 100, .augment = true, .transform = {.flip = true}};
    nas_loader *l = nas_loader_new(&config);
    const nas_batch *b = nas_loader_next(l);
    for (int i = 0; i < 100; i++) {
        float expected = ((float)(i % 5) / 4 - 0.5f) / 0.35355339f;
        assert_true(b->x[i * SAMPLE + 5] > expected - 1e-5f && b->x[i * SAMPLE + 5] < expected + 1e-5f);
    }
    nas_loader_free(l);
    nas_dataset_free(d);
}

static void unused_loaders_end(void **state) {
    (void)state;
    nas_dataset *d = images();
    for (int i = 0; i < 50; i++) {
        nas_loader *l = new_loader(d, 1 + i % 4);
        if (i % 3 == 0) {
            nas_loader_next(l);
        }
        nas_loader_free(l);
    }
    nas_dataset_free(d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_change_nothing),  cmocka_unit_test(seeking_resumes_bit_for_bit),
        cmocka_unit_test(each_sample_comes_once),  cmocka_unit_test(lengths_of_an_epoch),
        cmocka_unit_test(errors_reach_the_caller), cmocka_unit_test(functions_are_transformed_too),
        cmocka_unit_test(unused_loaders_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
