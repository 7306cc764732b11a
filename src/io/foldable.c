/* foldable.c - see foldable.h */
#include "io/foldable.h"

#include "core/error.h"
#include "core/memory.h"
#include "nn/module.h"
#include "tensor/tensor.h"

#include <stdlib.h>

struct nas__foldable {
    const float **means; /* by address */
    size_t n;
};

static nas_status add_norm(int n, nas_module *const *convs, nas_module *bn, void *user) {
    nas__foldable *f = user;
    (void)n, (void)convs;
    if (!nas__grow(&f->means, f->n, sizeof *f->means)) {
        return nas_error_status();
    }
    f->means[f->n++] = nas__bn_mean(bn)->data;
    return NAS_OK;
}

static int by_address(const void *a, const void *b) {
    const float *x = *(const float *const *)a, *y = *(const float *const *)b;
    return (x > y) - (x < y);
}

nas__foldable *nas__foldable_new(nas_module *model) {
    nas__foldable *f = nas__alloc(sizeof *f);
    if (f && nas__fold_pairs(model, add_norm, f)) {
        nas__foldable_free(f);
        return NULL;
    }
    if (f && f->n) {
        qsort(f->means, f->n, sizeof *f->means, by_address);
    }
    return f;
}

void nas__foldable_free(nas__foldable *f) {
    if (f) {
        free(f->means);
        free(f);
    }
}

bool nas__foldable_has(const nas__foldable *f, const nas_tensor *mean) {
    return f->n && bsearch(&mean->data, f->means, f->n, sizeof *f->means, by_address);
}
