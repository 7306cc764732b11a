/* transform.h - from a stored sample to a row of a batch. */
#ifndef DATA_TRANSFORM_H
#define DATA_TRANSFORM_H

#include "data/dataset.h"

/* Whether samples are images whose channels have constants of their own. */
bool nas__is_image(const nas_dataset_info *info);
/* How many of n samples the constants are measured on; they are numbers i * n / size for i = 0 .. size-1. */
int64_t nas__measured_samples(const nas_dataset_info *info, int64_t n);
/* Measures the constants of a root held in memory on the n samples that `indices` (NULL: 0..n-1) name. */
void nas__transform_measure(nas_dataset *d, int64_t n, const int32_t *indices);
/* Completes a root whose samples are in memory or come from a function: constants unless they are known, augmentation.
 */
void nas__transform_prepare(nas_dataset *d);
/* Refuses constants that are no numbers, and an augmentation that does not fit the samples. */
nas_status nas__transform_check(const nas_transform *t, const nas_dataset_info *info);

/* Sample `place` of a root. t NULL: as it is. rng NULL: not augmented. scratch: one sample of floats, needed only to
 * augment what comes from a function. x, y: where they go; either may be NULL. */
nas_status nas__transform_sample(const nas_dataset *root, int64_t place, const nas_transform *t, nas_rng *rng,
                                 float *scratch, float *x, float *y);

#endif
