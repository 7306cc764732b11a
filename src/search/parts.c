/* parts.c - train (weights), arch (choices and rewards), valid (scoring and export): disjoint by construction, and
 * asserted. The test part never comes near a search: there is no field for it. */
#include "data/dataset.h"
#include "search/trainer.h"

#include <stdlib.h>
#include <string.h>

static int ascending(const void *a, const void *b) {
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

/* The sorted indices of a data set into its root; a root has all of them. */
static int32_t *sorted_indices(const nas_dataset *d, int64_t *n) {
    const int32_t *indices = nas_dataset_indices(d, n);
    int64_t size = nas_dataset_describe(d)->size;
    int32_t *list = nas__alloc((size_t)size * sizeof *list);
    for (int64_t i = 0; list && i < size; i++) {
        list[i] = indices ? indices[i] : (int32_t)i;
    }
    if (list) {
        qsort(list, (size_t)size, sizeof *list, ascending);
    }
    *n = size;
    return list;
}

static nas_status assert_disjoint(const nas_dataset *a, const char *a_name, const nas_dataset *b, const char *b_name) {
    if (!a || !b || nas__dataset_root(a) != nas__dataset_root(b)) {
        return NAS_OK;
    }
    int64_t n = 0, m = 0;
    int32_t *x = sorted_indices(a, &n), *y = sorted_indices(b, &m);
    nas_status status = x && y ? NAS_OK : nas_error_status();
    for (int64_t i = 0, j = 0; !status && i < n && j < m;) {
        if (x[i] == y[j]) {
            status = nas__fail(NAS_INVALID,
                               "image %d is in the %s part and in the %s part; a search needs disjoint parts "
                               "(nas_dataset_split makes them)",
                               x[i], a_name, b_name);
        } else if (x[i] < y[j]) {
            i++;
        } else {
            j++;
        }
    }
    free(x);
    free(y);
    return status;
}

static nas_status check_same_shape(const nas_dataset *a, const nas_dataset *b, const char *name) {
    const nas_dataset_info *x = nas_dataset_describe(a), *y = nas_dataset_describe(b);
    if (x->ndim != y->ndim || memcmp(x->dims, y->dims, (size_t)x->ndim * sizeof *x->dims) || x->classes != y->classes ||
        x->target_count != y->target_count) {
        return nas__fail(NAS_SHAPE, "%s has samples of another shape, or other classes, than dataset_train", name);
    }
    return NAS_OK;
}

static nas_status split_valid(nas_trainer *t) {
    nas_trainer_config *c = &t->config;
    if (!t->s.strategy->arch_batches) {
        t->valid = nas_dataset_ref(c->dataset_score ? c->dataset_score : c->dataset_valid);
        return NAS_OK;
    }
    if (c->dataset_score) {
        t->arch = nas_dataset_ref(c->dataset_valid);
        t->valid = nas_dataset_ref(c->dataset_score);
        return NAS_OK;
    }
    nas_dataset *halves[2] = {0};
    nas_status status = nas_dataset_split(c->dataset_valid, c->seed, 2, (const double[]){0.5, 0.5}, halves);
    t->arch = halves[0];
    t->valid = halves[1];
    return status;
}

/* sharded: batches of it are passed in shards, of which this rank reads its own. */
static nas_loader *open_loader(const nas_trainer *t, nas_dataset *data, const nas_transform *transform, bool shuffle,
                               bool augment, int64_t batch, int64_t limit, int workers, uint64_t purpose,
                               bool sharded) {
    nas_loader_config config = {.data = data,
                                .batch_size = batch,
                                .shuffle = shuffle,
                                .drop_last = shuffle,
                                .augment = augment,
                                .transform = *transform,
                                .seed = t->config.seed * 8 + purpose,
                                .workers = workers,
                                .limit = limit};
    nas__shards_loader(sharded ? t->shards : NULL, &config);
    return nas_loader_new(&config);
}

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/* The images of the valid part that score an architecture, in batches of nearly 64 that they fill: larger ones take
 * more memory and no less time. A limit of batches leaves four times as many of them as of the steps' batches. */
static nas_loader *open_valid_loader(nas_trainer *t, const nas_transform *plain) {
    const int64_t size = nas_dataset_describe(t->valid)->size, full = 64, limit = 4 * t->config.limit_batches;
    int64_t images = smaller(size, t->config.score_images > 0 ? t->config.score_images : 5000);
    images = limit > 0 ? smaller(images, limit * full) : images;
    int64_t batches = (images + full - 1) / full, batch = (images + batches - 1) / batches;
    t->score_images = smaller(size, batches * batch);
    return open_loader(t, t->valid, plain, false, false, batch, batches, NAS_NONE, 3, false);
}

static nas_status open_loaders(nas_trainer *t) {
    nas_trainer_config *c = &t->config;
    nas_transform plain = c->transform ? *c->transform : nas_transform_default(c->dataset_train, false);
    nas_transform augmented = c->transform ? *c->transform : nas_transform_default(c->dataset_train, true);
    int64_t batch = c->batch_size;
    if (nas_error_status()) {
        return nas_error_status();
    }
    t->train_loader =
        open_loader(t, c->dataset_train, &augmented, true, true, batch, c->limit_batches, c->workers, 1, true);
    t->arch_loader = t->arch ? open_loader(t, t->arch, &plain, true, false, batch, 0, c->workers, 2, true) : NULL;
    t->valid_loader = open_valid_loader(t, &plain);
    t->calibration_loader = open_loader(t, c->dataset_train, &plain, false, false, batch,
                                        smaller(8, nas_loader_batches(t->train_loader)), NAS_NONE, 4, false);
    if (t->settle_steps > 0) {
        t->settle_loader =
            open_loader(t, c->dataset_train, &plain, true, false, batch, t->settle_steps, NAS_NONE, 5, false);
        t->settle_steps = (int)smaller(t->settle_steps, nas_loader_batches(t->train_loader));
    }
    return nas_error_status();
}

nas_status nas__parts_open(nas_trainer *t) {
    nas_trainer_config *c = &t->config;
    nas_status status = split_valid(t);
    status = status ? status : assert_disjoint(c->dataset_train, "train", t->arch, "arch");
    status = status ? status : assert_disjoint(c->dataset_train, "train", t->valid, "valid");
    status = status ? status : assert_disjoint(t->arch, "arch", t->valid, "valid");
    status = status ? status : check_same_shape(c->dataset_train, c->dataset_valid, "dataset_valid");
    status = status ? status : check_same_shape(c->dataset_train, t->valid, "the scoring part");
    return status ? status : open_loaders(t);
}

void nas__parts_close(nas_trainer *t) {
    nas_loader_free(t->train_loader);
    nas_loader_free(t->arch_loader);
    nas_loader_free(t->valid_loader);
    nas_loader_free(t->calibration_loader);
    nas_loader_free(t->settle_loader);
    nas_dataset_free(t->arch);
    nas_dataset_free(t->valid);
}
