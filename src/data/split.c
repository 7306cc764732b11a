/* split.c - dividing data by seed: stratified parts, and the test part of data that comes without one. */
#include "data/dataset.h"
#include "core/error.h"
#include "core/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A sample and how far through its shuffled class it stands, 0..1. Ordered by this, every stretch of samples holds each
 * class in proportion, so that parts are simply consecutive stretches. Classes start at different fractions of their
 * first step: those of equal size would otherwise come in clumps, which a cut could only divide unevenly. */
typedef struct entry {
    double place;
    int32_t index, class;
} entry;

static int compare(const void *a, const void *b) {
    const entry *p = a, *q = b;
    return p->place != q->place ? (p->place > q->place) - (p->place < q->place)
                                : (p->class > q->class) - (p->class < q->class);
}

/* Indices 0..n-1 shuffled, and interleaved by class (labels NULL: one class). To be freed by the caller. */
static int32_t *stratified(int64_t n, const float *labels, int classes, uint64_t seed, uint64_t stream) {
    int32_t *order = nas__alloc((size_t)n * sizeof *order);
    int64_t *seen = nas__alloc(2 * ((size_t)classes + 1) * sizeof *seen), *sizes = seen ? seen + classes + 1 : NULL;
    entry *entries = nas__alloc((size_t)n * sizeof *entries);
    if (!order || !seen || !entries) {
        free(order);
        order = NULL;
        goto done;
    }
    for (int64_t i = 0; i < n; i++) {
        order[i] = (int32_t)i;
        sizes[labels ? (int)labels[i] : 0]++;
    }
    nas_rng rng = nas_rng_new(seed, stream);
    nas_rng_shuffle(&rng, order, (size_t)n);
    for (int64_t i = 0; i < n; i++) {
        int32_t class = labels ? (int32_t)labels[order[i]] : 0;
        double step = (double)seen[class]++ + (class + 0.5) / (classes ? classes : 1);
        entries[i] = (entry){step / (double)sizes[class], order[i], class};
    }
    qsort(entries, (size_t)n, sizeof *entries, compare); /* within a class no two are equal */
    for (int64_t i = 0; i < n; i++) {
        order[i] = entries[i].index;
    }
done:
    free(entries);
    free(seen);
    return order;
}

/* The class of each sample of d; *labels NULL for regression. */
static nas_status read_labels(const nas_dataset *d, float **labels) {
    *labels = NULL;
    if (!d->info.classes) {
        return NAS_OK;
    }
    float *all = nas__alloc((size_t)d->info.size * sizeof *all);
    if (!all) {
        return NAS_NO_MEMORY;
    }
    for (int64_t i = 0; i < d->info.size; i++) {
        nas_status status = nas_dataset_read(d, i, NULL, all + i);
        if (status) {
            free(all);
            return status;
        }
    }
    *labels = all;
    return NAS_OK;
}

static nas_status check_fractions(const nas_dataset *d, int n_parts, const double *fractions) {
    double sum = 0;
    for (int i = 0; i < n_parts; i++) {
        if (!(fractions[i] > 0 && fractions[i] <= 1)) {
            return nas__fail(NAS_INVALID, "%s: fraction %d of the split is %g; it must be above 0 and at most 1",
                             d->info.name, i, fractions[i]);
        }
        sum += fractions[i];
    }
    if (sum > 1 + 1e-9) {
        return nas__fail(NAS_INVALID, "%s: the fractions of the split sum to %g; parts are disjoint, so at most 1",
                         d->info.name, sum);
    }
    return NAS_OK;
}

nas_status nas_dataset_split(nas_dataset *d, uint64_t seed, int n_parts, const double *fractions, nas_dataset **parts) {
    if (!d || n_parts < 1 || !fractions || !parts) {
        return nas__fail(NAS_INVALID,
                         "nas_dataset_split: a data set, at least one fraction and room for the parts are needed");
    }
    memset(parts, 0, (size_t)n_parts * sizeof *parts);
    float *labels = NULL;
    nas_status status = check_fractions(d, n_parts, fractions);
    status = status ? status : read_labels(d, &labels);
    int32_t *order = status ? NULL : stratified(d->info.size, labels, d->info.classes, seed, NAS__STREAM_SPLIT);
    free(labels);
    if (!order) {
        return status ? status : NAS_NO_MEMORY;
    }
    double sum = 0;
    int64_t begin = 0, n = d->info.size;
    for (int i = 0; i < n_parts && !status; i++) {
        sum += fractions[i];
        int64_t end = llround(sum * (double)n);
        end = end > n ? n : end;
        if (end <= begin) {
            status = nas__fail(NAS_INVALID, "%s: part %d of the split (%g of %lld samples) would be empty",
                               d->info.name, i, fractions[i], (long long)n);
        } else {
            parts[i] = nas_dataset_subset(d, end - begin, order + begin);
            status = parts[i] ? NAS_OK : nas_error_status();
        }
        begin = end;
    }
    for (int i = 0; i < n_parts && status; i++) {
        nas_dataset_free(parts[i]);
        parts[i] = NULL;
    }
    free(order);
    return status;
}

/* Marks a tenth of each class, at least one sample, but never a class's only one. */
static void mark_test(int64_t n, const int32_t *order, const float *labels, int64_t *sizes, uint8_t *marks) {
    for (int64_t i = 0; i < n; i++) {
        sizes[labels ? (int)labels[i] : 0]++;
    }
    for (int64_t i = 0; i < n; i++) { /* from here on: how many are still to be marked, as a negative number */
        int64_t *size = &sizes[labels ? (int)labels[order[i]] : 0];
        if (*size > 0) {
            int64_t tenth = (*size + 5) / 10;
            *size = *size == 1 ? 0 : tenth > 1 ? -tenth : -1;
        }
        if (*size < 0) {
            marks[order[i]] = 1;
            ++*size;
        }
    }
}

int32_t *nas__holdout(const char *what, int64_t n, const float *labels, int classes, bool test, int64_t *count) {
    labels = classes ? labels : NULL;
    int32_t *order = stratified(n, labels, classes, 0, NAS__STREAM_HOLDOUT);
    int64_t *sizes = nas__alloc(((size_t)classes + 1) * sizeof *sizes);
    uint8_t *marks = nas__alloc((size_t)n);
    *count = 0;
    if (order && sizes && marks) {
        mark_test(n, order, labels, sizes, marks);
        for (int64_t i = 0; i < n; i++) {
            if (marks[i] == test) {
                order[(*count)++] = (int32_t)i;
            }
        }
        if (!*count) {
            nas__fail(NAS_INVALID, "%s: %lld samples are too few to hold out a test part; give some class at least two",
                      what, (long long)n);
        }
    }
    free(sizes);
    free(marks);
    if (!*count) {
        free(order);
        return NULL;
    }
    return order;
}
