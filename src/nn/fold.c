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
    nas__fold_fn fold;
    void *user;
} row;

/* `n` convolutions whose outputs, one behind the other, are the batch norm's channels. */
static nas_status fold_into(int n, nas_module *const *convs, nas_module *bn, const row *r) {
    int64_t channels = nas__bn_foldable(bn), given = 0;
    for (int i = 0; i < n; i++) {
        int64_t out = nas__conv_channels(convs[i]);
        if (!out) {
            return NAS_OK;
        }
        given += out;
    }
    /* a row that does not fit says so when it runs */
    return !channels || given != channels ? NAS_OK : r->fold(n, convs, bn, r->user);
}

static nas_status fold_module(nas_module *module, row *r);

static nas_status fold_children(nas_module *module, row *r, bool shared) {
    size_t n;
    nas_module *const *children = nas__module_children(module, &n);
    nas_status status = NAS_OK;
    for (size_t i = 0; i < n && !status; i++) {
        row own = {.fold = r->fold, .user = r->user};
        status = fold_module(children[i], shared ? r : &own);
    }
    return status;
}

static nas_status fold_module(nas_module *module, row *r) {
    if (module->forward == nas__row_forward) {
        return fold_children(module, r, true);
    }
    nas_status status = NAS_OK;
    if (module->forward == nas__factorized_forward) {
        size_t n;
        nas_module *const *parts = nas__module_children(module, &n);
        status = fold_into(2, parts, parts[2], r);
    } else if (r->previous) {
        status = fold_into(1, &r->previous, module, r);
    }
    r->previous = module;
    return status ? status : fold_children(module, r, false);
}

nas_status nas__fold_pairs(nas_module *model, nas__fold_fn fold, void *user) {
    return fold_module(model, &(row){.fold = fold, .user = user});
}

static nas_status fold_pair(int n, nas_module *const *convs, nas_module *bn, void *folded) {
    size_t channels = (size_t)nas__bn_foldable(bn);
    float *scale = nas__alloc(2 * channels * sizeof *scale), *shift = scale + channels;
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
        ++*(int *)folded;
    }
    return status;
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
    status = status ? status : nas__fold_pairs(model, fold_pair, &count);
    status = status ? status : nas__module_parameters(model, freeze, NULL);
    if (folded) {
        *folded = count;
    }
    return status;
}
