/* Data sets from arrays and functions, subsets of subsets, splits: disjoint, stratified, by seed. */
#include "support.h"

#include <espalier/data.h>

#include <stdlib.h>
#include <string.h>

enum { N = 1000, CLASSES = 7 };

/* Sample i holds i and -i; its class is uneven: class 0 gets half, the others share. */
static nas_dataset *numbered(void) {
    float *x = malloc(2 * N * sizeof *x), *y = malloc(N * sizeof *y);
    for (int i = 0; i < N; i++) {
        x[2 * i] = (float)i;
        x[2 * i + 1] = (float)-i;
        y[i] = (float)(i % 2 ? 0 : 1 + i / 2 % (CLASSES - 1));
    }
    nas_dataset *d = nas_dataset_from_arrays(N, 1, (int64_t[]){2}, x, 1, y, CLASSES);
    free(x);
    free(y);
    assert_non_null(d);
    return d;
}

static void arrays_are_copied_and_read(void **state) {
    (void)state;
    nas_dataset *d = numbered();
    const nas_dataset_info *info = nas_dataset_describe(d);
    assert_int_equal(info->size, N);
    assert_int_equal(info->classes, CLASSES);
    assert_int_equal(info->target_ndim, 1);
    float x[2], y;
    assert_int_equal(nas_dataset_read(d, 17, x, &y), NAS_OK);
    assert_true(x[0] == 17 && x[1] == -17 && y == 0);
    assert_int_equal(nas_dataset_read(d, N, x, &y), NAS_INVALID);
    assert_error(NAS_INVALID, "sample 1000 does not exist");
    nas_dataset_free(d);
}

static void subsets_reach_the_root(void **state) {
    (void)state;
    nas_dataset *d = numbered(), *a = nas_dataset_subset(d, 4, (int32_t[]){9, 5, 7, 3});
    nas_dataset *b = nas_dataset_subset(a, 2, (int32_t[]){3, 1});
    nas_dataset_free(d); /* the subsets keep the data alive */
    nas_dataset_free(a);
    int64_t n;
    const int32_t *indices = nas_dataset_indices(b, &n);
    assert_int_equal(n, 2);
    assert_int_equal(indices[0], 3);
    assert_int_equal(indices[1], 5);
    float x[2], y;
    assert_int_equal(nas_dataset_read(b, 1, x, &y), NAS_OK);
    assert_true(x[0] == 5);
    assert_null(nas_dataset_subset(b, 1, (int32_t[]){2}));
    assert_error(NAS_INVALID, "subset index 2");
    nas_dataset_free(b);
}

static void splits_are_disjoint_and_stratified(void **state) {
    (void)state;
    nas_dataset *d = numbered(), *parts[3];
    const double fractions[3] = {0.45, 0.45, 0.10};
    assert_int_equal(nas_dataset_split(d, 5, 3, fractions, parts), NAS_OK);
    char seen[N] = {0};
    int64_t total = 0;
    for (int p = 0; p < 3; p++) {
        int counts[CLASSES] = {0};
        int64_t n;
        const int32_t *indices = nas_dataset_indices(parts[p], &n);
        assert_int_equal(n, p < 2 ? 450 : 100);
        for (int64_t i = 0; i < n; i++) {
            assert_false(seen[indices[i]]++);
            float y;
            nas_dataset_read(parts[p], i, NULL, &y);
            counts[(int)y]++;
        }
        for (int c = 0; c < CLASSES; c++) {
            double expected = fractions[p] * (c ? 500.0 / (CLASSES - 1) : 500);
            assert_true(counts[c] >= expected - 1.5 && counts[c] <= expected + 1.5);
        }
        total += n;
        nas_dataset_free(parts[p]);
    }
    assert_int_equal(total, N);
    nas_dataset_free(d);
}

static void splits_depend_on_the_seed(void **state) {
    (void)state;
    nas_dataset *d = numbered(), *a, *b, *c;
    assert_int_equal(nas_dataset_split(d, 1, 1, (double[]){0.5}, &a), NAS_OK);
    assert_int_equal(nas_dataset_split(d, 1, 1, (double[]){0.5}, &b), NAS_OK);
    assert_int_equal(nas_dataset_split(d, 2, 1, (double[]){0.5}, &c), NAS_OK);
    size_t bytes = 500 * sizeof(int32_t);
    assert_memory_equal(nas_dataset_indices(a, NULL), nas_dataset_indices(b, NULL), bytes);
    assert_int_not_equal(memcmp(nas_dataset_indices(a, NULL), nas_dataset_indices(c, NULL), bytes), 0);
    nas_dataset_free(a);
    nas_dataset_free(b);
    nas_dataset_free(c);
    nas_dataset_free(d);
}

static void impossible_splits_are_refused(void **state) {
    (void)state;
    nas_dataset *d = numbered(), *parts[2];
    assert_int_not_equal(nas_dataset_split(d, 1, 2, (double[]){0.7, 0.4}, parts), NAS_OK);
    assert_error(NAS_INVALID, "sum to 1.1");
    assert_int_not_equal(nas_dataset_split(d, 1, 2, (double[]){0.7, 0.0001}, parts), NAS_OK);
    assert_error(NAS_INVALID, "would be empty");
    assert_null(parts[0]);
    assert_int_not_equal(nas_dataset_split(d, 1, 2, (double[]){0.7, -0.1}, parts), NAS_OK);
    assert_error(NAS_INVALID, "fraction 1");
    nas_dataset_free(d);
}

static void bad_arrays_are_refused(void **state) {
    (void)state;
    const float x[4] = {0}, y[4] = {0, 1, 2, 0.5f};
    const int64_t dims[1] = {1};
    assert_null(nas_dataset_from_arrays(4, 1, dims, x, 1, y, 3));
    assert_error(NAS_INVALID, "target 3 is 0.5");
    assert_null(nas_dataset_from_arrays(4, 1, dims, x, 1, y, 2));
    assert_error(NAS_INVALID, "target 2 is 2");
    assert_null(nas_dataset_from_arrays(0, 1, dims, x, 1, y, 3));
    assert_error(NAS_INVALID, "0 samples");
    assert_null(nas_dataset_from_arrays(4, 5, dims, x, 1, y, 3));
    assert_error(NAS_SHAPE, "1 to 4 dimensions");
    assert_null(nas_dataset_from_arrays(2, 1, dims, x, 2, y, 3));
    assert_error(NAS_INVALID, "classes need exactly 1");
}

static nas_status square(void *user, int64_t index, float *x, float *y) {
    (void)user;
    x[0] = (float)index;
    y[0] = (float)(index * index);
    return index == 3 ? NAS_IO : NAS_OK;
}

static void count_release(void *user) { ++*(int *)user; }

static void functions_produce_samples(void **state) {
    (void)state;
    int released = 0;
    nas_dataset_info info = {.name = "squares", .size = 5, .ndim = 1, .dims = {1}, .target_count = 1};
    nas_dataset *d = nas_dataset_new(&info, square, count_release, &released);
    float x, y;
    assert_int_equal(nas_dataset_read(d, 4, &x, &y), NAS_OK);
    assert_true(x == 4 && y == 16);
    assert_int_equal(nas_dataset_read(d, 4, NULL, &y), NAS_OK);
    assert_int_equal(nas_dataset_read(d, 3, &x, &y), NAS_IO);
    assert_error(NAS_IO, "squares: sample 3");
    nas_dataset_ref(d);
    nas_dataset_free(d);
    assert_int_equal(released, 0);
    nas_dataset_free(d);
    assert_int_equal(released, 1);
}

static void specifications_are_checked(void **state) {
    (void)state;
    assert_null(nas_dataset_open("cifar-10", NULL, "train"));
    assert_error(NAS_NOT_FOUND, "did you mean cifar10?");
    assert_null(nas_dataset_open("fashion-mnist", NULL, "valid"));
    assert_error(NAS_INVALID, "part \"valid\"");
    assert_null(nas_dataset_open("csv", NULL, "train"));
    assert_error(NAS_INVALID, "csv:FILE,target=COLUMN");
    assert_null(nas_dataset_open("cifar10:somewhere", NULL, "train"));
    assert_error(NAS_INVALID, "is written as cifar10");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arrays_are_copied_and_read),         cmocka_unit_test(subsets_reach_the_root),
        cmocka_unit_test(splits_are_disjoint_and_stratified), cmocka_unit_test(splits_depend_on_the_seed),
        cmocka_unit_test(impossible_splits_are_refused),      cmocka_unit_test(bad_arrays_are_refused),
        cmocka_unit_test(functions_produce_samples),          cmocka_unit_test(specifications_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
