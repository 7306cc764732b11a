/* fold.c - batch norm with fixed estimates is a factor and a term per channel: the convolution before it takes both
 * into its weights and bias, and a pass over the activations is saved. */
#include "nn/layers.h"

#include "core/error.h"
#include "core/memory.h"
#include "tensor/prepared.h"

#include <stdlib.h>

/* Modules in the order in which a row runs them; nothing else reads what lies between two of them. */
typedef struct row {
    nas_module *previous; /* the innermost module that ran last; NULL at the start */
    int *folded;
} row;

/* `n` convolutions whose outputs, one behind the other, are the batch norm's channels. */
static nas_status fold_into(int n, nas_module *const *convs, nas_module *bn, int *folded) {
    int64_t channels = nas__bn_foldable(bn), given = 0;
    for (int i = 0; i < n; i++) {
        int64_t out = nas__conv_channels(convs[i]);
        if (!out) {
            return NAS_OK;
        }
        given += out;
    }
    if (!channels || given != channels) {
        return NAS_OK; /* a row that does not fit says so when it runs */
    }
    float *scale = nas__alloc(2 * (size_t)channels * sizeof *scale), *shift = scale + channels;
    nas_status status = scale ? NAS_OK : nas_error_status();
    if (scale) {
        nas__bn_coefficients(bn, scale, shift);
    }
    for (int i = 0; !status && i < n; i++) {
        status = nas__conv_add_bias(convs[i]);
    }
    for (int64_t i = 0, at = 0; !status && i < n; at += nas__conv_channels(convs[i++])) {
        nas__conv_scale(convs[i], scale + at, shift + at);
    }
    free(scale);
    if (!status) {
        nas__bn_drop(bn);
        ++*folded;
    }
    return status;
}

static nas_status fold_module(nas_module *module, row *r);

static nas_status fold_children(nas_module *module, row *shared, int *folded) {
    size_t n;
    nas_module *const *children = nas__module_children(module, &n);
    nas_status status = NAS_OK;
    for (size_t i = 0; i < n && !status; i++) {
        row own = {.folded = folded};
        status = fold_module(children[i], shared ? shared : &own);
    }
    return status;
}

static nas_status fold_module(nas_module *module, row *r) {
    if (module->forward == nas__row_forward) {
        return fold_children(module, r, r->folded);
    }
    nas_status status = NAS_OK;
    if (module->forward == nas__factorized_forward) {
        size_t n;
        nas_module *const *parts = nas__module_children(module, &n);
        status = fold_into(2, parts, parts[2], r->folded);
    } else if (r->previous) {
        status = fold_into(1, &r->previous, module, r->folded);
    }
    r->previous = module;
    return status ? status : fold_children(module, NULL, r->folded);
}

static nas_status freeze(const char *path, nas__parameter *p, void *user) {
    (void)path;
    (void)user;
    nas__freeze(p->tensor);
    return NAS_OK;
}

nas_status nas_fold_batch_norm(nas_module *model, int *folded) {
    int count = 0;
    nas_status status =
        model ? nas__initialise_once(model) : nas__fail(NAS_INVALID, "nas_fold_batch_norm: the model is NULL");
    status = status ? status : fold_module(model, &(row){.folded = &count});
    status = status ? status : nas__module_parameters(model, freeze, NULL);
    if (folded) {
        *folded = count;
    }
    return status;
}
