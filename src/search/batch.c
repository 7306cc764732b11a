/* batch.c - a loader's batch as tensors of the current pass. */
#include "search/trainer.h"

nas_tensor *nas__batch_input(const nas_batch *batch, const nas_dataset_info *info) {
    int64_t dims[NAS_MAX_DIMS] = {batch->n};
    for (int i = 0; i < info->ndim; i++) {
        dims[i + 1] = info->dims[i];
    }
    return nas_input(info->ndim + 1, dims, batch->x);
}

/* (n) for classes; (n, ...) with the target's own shape otherwise. */
nas_tensor *nas__batch_target(const nas_batch *batch, const nas_dataset_info *info) {
    int64_t dims[NAS_MAX_DIMS] = {batch->n};
    int ndim = 1;
    for (int i = 0; i < info->target_ndim && !(info->classes > 0 && info->target_count == 1); i++) {
        dims[ndim++] = info->target_dims[i];
    }
    return nas_input(ndim, dims, batch->y);
}
