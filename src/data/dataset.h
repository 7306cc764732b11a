/* dataset.h - inside of a data set, for the sources that fill one and the transforms that read it. */
#ifndef DATA_DATASET_H
#define DATA_DATASET_H

#include <espalier/data.h>

#include <stdatomic.h>

/* Streams of random numbers by purpose; the epoch is added to those that change with it. */
#define NAS__STREAM_ORDER   0x6461000000000000u
#define NAS__STREAM_AUGMENT 0x6462000000000000u
#define NAS__STREAM_SPLIT   0x6463000000000000u
#define NAS__STREAM_HOLDOUT 0x6464000000000000u

struct nas_dataset {
    atomic_int refs;
    nas_dataset_info info;    /* of a subset: its strings belong to the root */
    struct nas_dataset *root; /* of a subset, referenced; NULL: this is a root */
    int32_t *indices;         /* of a subset, into the root */
    /* A root has either bytes (which stand for value/255), floats, or a function. */
    uint8_t *bytes;
    float *floats;
    float *targets; /* with bytes and floats */
    nas_sample_fn read;
    void (*release)(void *);
    void *user;
    nas_transform transform; /* what training uses; std[0] 0: constants are yet to be computed */
};

/* A root without samples, one reference, `info` and its strings copied (checked: sizes positive, products in range). */
nas_dataset *nas__dataset_new(const nas_dataset_info *info);
/* nas__dataset_new for images that are held as bytes, with room for them and their targets. */
nas_dataset *nas__dataset_new_bytes(const nas_dataset_info *info);
/* The same for floats. */
nas_dataset *nas__dataset_new_floats(const nas_dataset_info *info);
/* Floats of one sample. */
int64_t nas__sample_count(const nas_dataset_info *info);
/* The root behind d, and index's place in it. */
static inline const nas_dataset *nas__dataset_root(const nas_dataset *d) { return d->root ? d->root : d; }
static inline int64_t nas__dataset_place(const nas_dataset *d, int64_t index) {
    return d->indices ? d->indices[index] : index;
}
/* What a stored number is multiplied by before its constants: bytes stand for 0..1. */
static inline double nas__dataset_scale(const nas_dataset *d) { return nas__dataset_root(d)->bytes ? 1.0 / 255 : 1; }
/* Keeps the n samples that `indices` (ascending) name, in a root that holds its samples in memory. */
void nas__dataset_keep(nas_dataset *d, int64_t n, const int32_t *indices);

/* The samples of the train or the test part of data that has no test part of its own: the same tenth always, of each
 * class when there are classes; ascending, to be freed by the caller. An empty part is an error that names `what`. */
int32_t *nas__holdout(const char *what, int64_t n, const float *labels, int classes, bool test, int64_t *count);

#endif
