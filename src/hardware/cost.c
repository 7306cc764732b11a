/* cost.c - what a model costs without running it: a dry pass counts the multiply-adds. */
#include <espalier/hardware.h>

#include "core/error.h"
#include "space/space.h"

static nas_status count_macs(nas_module *model, int ndim, const int64_t *sample_dims, uint64_t *macs) {
    int64_t dims[NAS_MAX_DIMS] = {1};
    for (int i = 0; i < ndim; i++) {
        dims[i + 1] = sample_dims[i];
    }
    nas_tape *tape = nas_tape_new();
    if (!tape) {
        return nas_error_status();
    }
    nas_tape_begin(tape, &(nas_tape_config){.dry = true, .bn = NAS_BN_RUNNING});
    nas_tensor *y = nas_forward(model, nas_input(ndim + 1, dims, NULL));
    *macs = nas_tape_macs(tape);
    nas_tape_free(tape);
    return y ? NAS_OK : nas__error_context("counting multiply-adds");
}

nas_status nas_model_cost(nas_module *model, int ndim, const int64_t *sample_dims, uint64_t *macs,
                          int64_t *parameters) {
    if (!model || ndim < 1 || ndim >= NAS_MAX_DIMS || !sample_dims) {
        return nas__fail(NAS_INVALID, "nas_model_cost: a model and the 1 to %d dimensions of one sample are needed",
                         NAS_MAX_DIMS - 1);
    }
    if (parameters) {
        *parameters = nas__active_parameters(model);
    }
    return macs ? count_macs(model, ndim, sample_dims, macs) : NAS_OK;
}
