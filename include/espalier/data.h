/* data.h - data sets (random-access samples), splits, transforms, and the loader that prepares batches in the
 * background. Images are (C, H, W) with values 0..1; class labels are whole numbers held in floats, as the losses take
 * them. */
#ifndef ESPALIER_DATA_H
#define ESPALIER_DATA_H

#include <espalier/core.h>

#ifdef __cplusplus
extern "C" {
#endif

/* --- data sets ----------------------------------------------------------------------------------
 * Samples that can be read in any order. Reference-counted and immutable: any number of threads may read one. */
typedef struct nas_dataset nas_dataset;

typedef struct nas_dataset_info {
    const char *name; /* as in the specification ("cifar10", "folder:DIR") or "arrays" */
    int64_t size;     /* samples */
    int ndim;         /* of one sample: 1..4 */
    int64_t dims[4];  /* of one sample; images C, H, W */
    int classes;      /* 0: regression */
    int target_count; /* floats per target; 1 for classes */
    int target_ndim;  /* of one target: 1..4 */
    int64_t target_dims[4];
    const char *const *class_names; /* `classes` names, or NULL when they have none */
} nas_dataset_info;

/* Valid, with all it points to, as long as the data set. NULL (no error) for NULL. */
NAS_API const nas_dataset_info *nas_dataset_describe(const nas_dataset *d);

/* Opens one part, "train" or "test", of a data set. The samples are held in memory. `spec` is one of
 * - fashion-mnist: 28x28 grey, 10 classes; idx files in data_dir (NULL: where Debian's dataset-fashion-mnist puts them)
 * - cifar10, cifar100: 32x32 colour; the binary distribution in data_dir (tools/get-data fetches it)
 * - folder:DIR: PNG and JPEG images of one size, a sub-folder per class; DIR/train and DIR/test when both exist, else a
 *   tenth of each class (at least one image, always the same ones) is the test part
 * - csv:FILE,target=COLUMN[,task=regression]: header line, numeric columns standardised with the train part's mean and
 *   deviation; COLUMN is a name, or a number (0 the first, -1 the last); classes are its distinct texts; regression
 *   targets keep their unit. A stratified tenth is the test part
 * - npy:X.npy,y.npy[,task=regression]: NumPy arrays, samples along the first axis; bytes of two or more axes are images
 *   (n,h,w), (n,c,h,w) or (n,h,w,c), scaled to 0..1; all else is taken as it is
 *
 * Relative files of csv:, npy: and folder: are looked for in data_dir first (when not NULL). NULL and an error that
 * names the file and the remedy when anything is missing, truncated or of another format. */
NAS_API nas_dataset *nas_dataset_open(const char *spec, const char *data_dir, const char *part);

/* n samples of `dims` (ndim 1..4) in x, n targets of `target_count` floats in y; both copied. classes > 0: target_count
 * is 1 and every target a whole number 0..classes-1 (checked). */
NAS_API nas_dataset *nas_dataset_from_arrays(int64_t n, int ndim, const int64_t *dims, const float *x, int target_count,
                                             const float *y, int classes);

/* Writes sample `index` (0..size-1) to x and its target to y. Called from several threads at a time. A status other
 * than 0 becomes an error that names the sample. */
typedef nas_status (*nas_sample_fn)(void *user, int64_t index, float *x, float *y);
/* A data set whose samples come from a function; `info` is copied, strings too (target_ndim 0: {target_count}).
 * `release` (NULL: nothing) is called with `user` when the last reference is gone, and not when this fails. */
NAS_API nas_dataset *nas_dataset_new(const nas_dataset_info *info, nas_sample_fn read, void (*release)(void *),
                                     void *user);

/* The n samples of d that `indices` (copied) name, in that order. Keeps a reference to d's root. */
NAS_API nas_dataset *nas_dataset_subset(nas_dataset *d, int64_t n, const int32_t *indices);
/* Indices of a subset into its root, and their number; NULL (and the size) for a root. Owned by d. */
NAS_API const int32_t *nas_dataset_indices(const nas_dataset *d, int64_t *n);
/* One more reference; returns d. Every reference is given back with nas_dataset_free (NULL is fine). */
NAS_API nas_dataset *nas_dataset_ref(nas_dataset *d);
NAS_API void nas_dataset_free(nas_dataset *d);

/* Copies one sample, before any transform (images 0..1), to x (product of dims floats) and y (target_count floats);
 * either may be NULL. */
NAS_API nas_status nas_dataset_read(const nas_dataset *d, int64_t index, float *x, float *y);

/* Disjoint random parts by seed; part i gets fractions[i] of d, rounded so that parts whose fractions sum to 1 use
 * every sample. With classes each part holds each class in proportion (rounded), and so does every beginning of it.
 * fractions are above 0 and sum to at most 1; a part that would be empty is an error. Each part is freed by the caller;
 * on failure none is left. */
NAS_API nas_status nas_dataset_split(nas_dataset *d, uint64_t seed, int n_parts, const double *fractions,
                                     nas_dataset **parts);

/* --- transforms ---------------------------------------------------------------------------------
 * Applied while batches are made: (x - mean[c]) / std[c] for images of up to 4 channels; augmentation for images. */
typedef struct nas_transform {
    float mean[4], std[4]; /* per channel, on the 0..1 scale; std[0] = 0 takes mean and std of the data set */
    int crop_padding;      /* pixels of black on each side, then a random crop of the original size */
    bool flip;             /* left-right, with probability 1/2 */
    int cutout;            /* side of a square set to the mean at a random place, clipped at the border
                            * (DeVries and Taylor 2017); 0 = none */
} nas_transform;

/* The usual constants of known data sets; for other images those of (an evenly spaced sample of) the train part; mean 0
 * and std 1 for samples that are not images. training: crop 4 and flip for 32x32 colour, crop 2 and flip for
 * fashion-mnist, none for others; cutout is always off. */
NAS_API nas_transform nas_transform_default(const nas_dataset *d, bool training);

/* --- loader ------------------------------------------------------------------------------------- */
typedef struct nas_batch {
    int64_t n;     /* samples: batch_size, or less in the last batch of an epoch */
    float *x;      /* n samples, plain row-major (n, dims...), 64-byte aligned */
    float *y;      /* n targets of target_count floats */
    int64_t index; /* of the batch in its epoch */
} nas_batch;

typedef struct nas_loader_config {
    nas_dataset *data; /* the loader keeps its own reference */
    int64_t batch_size;
    bool shuffle;   /* a new order each epoch; else the data set's own */
    bool drop_last; /* leave out a last batch that is not full */
    bool augment;   /* crop, flip and cutout as in `transform`; when that is all zero, nas_transform_default's */
    nas_transform transform;
    uint64_t seed;
    int workers;   /* prefetch threads; 0 = 1; NAS_NONE: batches are made inside nas_loader_next */
    int64_t limit; /* batches per epoch at most; 0 = all */
    /* Of a batch of n samples in this many parts (0 = 1), part p are the samples from n*p/parts to n*(p+1)/parts. Those
     * of parts first_part to end_part - 1 are read; the others' places are in the batch, but their contents undefined.
     */
    int parts, first_part, end_part;
} nas_loader_config;

typedef struct nas_loader nas_loader;

/* The order is a pure function of (seed, epoch), the augmentation of (seed, epoch, position in the epoch): batches are
 * bit-identical for any number of workers and after any seek. Starts at epoch 0, batch 0. An epoch without a single
 * batch (batch_size above the size of the data, with drop_last) is an error. */
NAS_API nas_loader *nas_loader_new(const nas_loader_config *config);
/* Batches per epoch. */
NAS_API int64_t nas_loader_batches(const nas_loader *l);
/* Goes to a position: epoch >= 0, batch 0..batches (batches: at the epoch's end). Free when already there. */
NAS_API nas_status nas_loader_seek(nas_loader *l, int64_t epoch, int64_t batch);
/* The next batch, valid until the next call on this loader. NULL at the epoch's end, with no error pending; the call
 * after that goes on with the next epoch. NULL with an error when a sample cannot be read; that batch is passed over.
 */
NAS_API const nas_batch *nas_loader_next(nas_loader *l);
/* Seconds that nas_loader_next has kept its callers waiting, since the loader was made. */
NAS_API double nas_loader_wait_seconds(const nas_loader *l);
/* NULL is fine. */
NAS_API void nas_loader_free(nas_loader *l);

#ifdef __cplusplus
}
#endif
#endif
