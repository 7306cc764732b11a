/* simple.c - layers without parameters of their own. */
#include "nn/layers.h"

#include "core/error.h"
#include "tensor/tensor.h"

#include <stdio.h>

/* --- activation ---------------------------------------------------------------------------------- */
typedef struct activation {
    nas_module base;
    nas_activation kind;
} activation;

static nas_tensor *(*const functions[])(nas_tensor *) = {
    [NAS_RELU] = nas_relu,
    [NAS_RELU6] = nas_relu6,
    [NAS_SIGMOID] = nas_sigmoid,
    [NAS_TANH] = nas_tanh,
    [NAS_GELU] = nas_gelu,
    [NAS_SWISH] = nas_swish,
    [NAS_HARD_SIGMOID] = nas_hard_sigmoid,
    [NAS_HARD_SWISH] = nas_hard_swish,
};

static nas_tensor *activation_forward(nas_module *self, nas_tensor *x) {
    return functions[((activation *)self)->kind](x);
}

nas_module *nas_activation_new(nas_activation kind) {
    if ((unsigned)kind >= sizeof functions / sizeof *functions) {
        return nas__fail_null(NAS_INVALID, "nas_activation: unknown kind %d", (int)kind);
    }
    activation *a = nas_module_alloc(sizeof *a, activation_forward, "activation");
    if (a) {
        a->kind = kind;
    }
    return (nas_module *)a;
}

/* --- dropout ------------------------------------------------------------------------------------- */
typedef struct dropout {
    nas_module base;
    float p;
} dropout;

static nas_tensor *dropout_forward(nas_module *self, nas_tensor *x) { return nas_dropout(x, ((dropout *)self)->p); }

nas_module *nas_dropout_new(float p) {
    if (!(p >= 0 && p < 1)) {
        return nas__fail_null(NAS_INVALID, "nas_dropout: p %g must be at least 0 and below 1", (double)p);
    }
    dropout *d = nas_module_alloc(sizeof *d, dropout_forward, "dropout");
    if (d) {
        d->p = p;
    }
    return (nas_module *)d;
}

/* --- narrowed layers ----------------------------------------------------------------------------- */
nas_tensor *nas__narrow(nas_tensor *parameter, int dim) {
    int by = parameter ? nas__narrowing() : 1;
    if (by <= 1) {
        return parameter;
    }
    return parameter->dims[dim] % by == 0
               ? nas_slice(parameter, dim, 0, parameter->dims[dim] / by)
               : nas__fail_null(NAS_SHAPE,
                                "partial channels: a layer of %d channels cannot run on one in %d; take channels that "
                                "%d divides, or another share",
                                (int)parameter->dims[dim], by, by);
}

/* --- identity and none --------------------------------------------------------------------------- */
static nas_tensor *identity_forward(nas_module *self, nas_tensor *x) {
    (void)self;
    return x;
}

bool nas__is_identity(const nas_module *module) { return module->forward == identity_forward; }

nas_module *nas_identity_new(void) { return nas_module_alloc(sizeof(nas_module), identity_forward, "identity"); }

typedef struct none {
    nas_module base;
    int stride;
} none;

static nas_tensor *none_forward(nas_module *self, nas_tensor *x) {
    int64_t stride = ((none *)self)->stride, dims[NAS_MAX_DIMS];
    int ndim = nas_tensor_ndim(x);
    if (stride > 1 && ndim != 4) {
        return nas__fail_null(NAS_SHAPE, "nas_none: stride %d needs an image (N,C,H,W), not %d dimensions", (int)stride,
                              ndim);
    }
    for (int i = 0; i < ndim; i++) {
        dims[i] = i >= 2 && ndim == 4 ? (nas_tensor_dim(x, i) + stride - 1) / stride : nas_tensor_dim(x, i);
    }
    return nas_zero(ndim, dims);
}

nas_module *nas_none_new(int stride) {
    if (stride < 1) {
        return nas__fail_null(NAS_INVALID, "nas_none: stride %d must be positive", stride);
    }
    none *m = nas_module_alloc(sizeof *m, none_forward, "none");
    if (m) {
        m->stride = stride;
    }
    return (nas_module *)m;
}

/* --- sequential ---------------------------------------------------------------------------------- */
nas_tensor *nas__row_forward(nas_module *self, nas_tensor *x) {
    size_t n;
    nas_module *const *children = nas__module_children(self, &n);
    for (size_t i = 0; i < n; i++) {
        x = nas_forward(children[i], x);
    }
    return x;
}

nas_module *nas_sequential_new(int n, nas_module *const *modules) {
    nas_module *s = nas_module_alloc(sizeof *s, nas__row_forward, "sequential");
    bool complete = s != NULL;
    for (int i = 0; i < n; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d", i);
        complete = nas_module_add(s, name, modules[i]) && complete;
    }
    return nas__module_complete(s, complete);
}
