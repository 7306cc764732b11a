/* alike.c - ranks that compute one thing watch that they do. */
#include "search/trainer.h"

#include "core/hash.h"
#include "dist/ranks.h"
#include "nn/optim.h"
#include "tensor/tensor.h"

#include <stdlib.h>

enum { STEPS_BETWEEN = 50 };

static uint64_t hash_of(const nas_optimizer *o) {
    uint64_t hash = 0;
    for (size_t i = 0; i < o->n; i++) {
        const nas_tensor *t = o->tensors[i];
        hash = hash * 0x100000001b3u ^ nas__hash_bytes(t->data, (size_t)nas__count(t) * sizeof(float));
    }
    return hash;
}

nas_status nas__check_alike(const nas_optimizer *weights, int64_t step, bool now) {
    if (nas_ranks() == 1 || (!now && (step + 1) % STEPS_BETWEEN)) {
        return NAS_OK;
    }
    uint64_t hash = hash_of(weights);
    double own[] = {(double)(hash >> 32), (double)(uint32_t)hash},
           *all = nas__alloc(2 * (size_t)nas_ranks() * sizeof *all);
    nas_status status = all ? nas__ranks_gather_each(2, own, all) : nas_error_status();
    for (int r = 1; !status && r < nas_ranks(); r++) {
        if (all[2 * r] != all[0] || all[2 * r + 1] != all[1]) {
            status = nas__fail(NAS_ENGINE,
                               "rank %d has other weights than rank 0 after step %lld; go on from the last checkpoint "
                               "(--resume), with the same processors and libraries on all ranks",
                               r, (long long)step + 1);
        }
    }
    free(all);
    return status;
}

nas__ranks_span nas__ranks_begin(void) {
    nas__ranks_use used = nas__ranks_used();
    return (nas__ranks_span){nas__clock(), used.seconds, used.bytes, used.messages};
}

void nas__ranks_log(const nas__ranks_span *begun, int64_t steps) {
    nas__ranks_span now = nas__ranks_begin();
    if (nas_ranks() > 1 && steps > 0) {
        nas__log(NAS_LOG_INFO,
                 "%d ranks: %.0f %% of the time for each other; a step has %.0f messages, and %.2f MB from each rank",
                 nas_ranks(), 100 * (now.waited - begun->waited) / (now.clock - begun->clock),
                 (double)(now.messages - begun->messages) / (double)steps,
                 1e-6 * (now.bytes - begun->bytes) / (double)steps);
    }
}
