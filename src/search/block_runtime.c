/* block_runtime.c - see block_runtime.h */
#include "search/block_runtime.h"

#include "core/error.h"

#include <string.h>

enum { K3E3, K3E6, K5E3, K5E6 };

nas_status nas__block_runtime_read(nas__block_runtime *r, const nas__cost_table *t, const nas_space *space,
                                   int choice) {
    const nas_choice *c = nas_space_choice(space, choice);
    for (int k = K3E3; k <= K5E6; k++) {
        r->of[k] = nas__cost_of(t, choice, k);
        if (!(r->of[k] > 0)) {
            return nas__fail(NAS_INVALID,
                             "the cost of candidate \"%s\" of \"%s\" is %g; those of a superkernel, but for skip, must "
                             "be positive",
                             c->names[k], c->key, r->of[k]);
        }
    }
    return NAS_OK;
}

/* R = d_skip * (R(5,3) + d_expansion * more) * (rho + (1 - rho) * d_kernel) */
double nas__block_runtime_at(const nas__block_runtime *r, const double d[3], double slopes[3]) {
    double more = r->of[K5E6] - r->of[K5E3], rho = r->of[K3E6] / r->of[K5E6];
    double channels = r->of[K5E3] + d[NAS_SUPERKERNEL_EXPANSION] * more;
    double kernel = rho + (1 - rho) * d[NAS_SUPERKERNEL_KERNEL], stays = d[NAS_SUPERKERNEL_SKIP];
    if (slopes) {
        slopes[NAS_SUPERKERNEL_KERNEL] = stays * channels * (1 - rho);
        slopes[NAS_SUPERKERNEL_EXPANSION] = stays * more * kernel;
        slopes[NAS_SUPERKERNEL_SKIP] = channels * kernel;
    }
    return stays * channels * kernel;
}

static nas_tensor *one(nas_tensor *indicators, int which) { return nas_slice(indicators, 0, which, 1); }

nas_tensor *nas__block_runtime_tensor(const nas__block_runtime *r, nas_tensor *d) {
    double more = r->of[K5E6] - r->of[K5E3], rho = r->of[K3E6] / r->of[K5E6];
    nas_tensor *channels =
        nas_add_scalar(nas_scale(one(d, NAS_SUPERKERNEL_EXPANSION), (float)more), (float)r->of[K5E3]);
    nas_tensor *kernel = nas_add_scalar(nas_scale(one(d, NAS_SUPERKERNEL_KERNEL), (float)(1 - rho)), (float)rho);
    return nas_mul(one(d, NAS_SUPERKERNEL_SKIP), nas_mul(channels, kernel));
}
