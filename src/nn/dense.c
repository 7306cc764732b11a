/* dense.c - the fully connected layer. */
#include "nn/layers.h"

#include "core/error.h"

typedef struct dense {
    nas_module base;
    nas_tensor *weight, *bias;
} dense;

static nas_tensor *dense_forward(nas_module *self, nas_tensor *x) {
    dense *d = (dense *)self;
    nas_tensor *weight = nas__narrow(nas__narrow(nas__weight_in_use(self, d->weight), 0), 1),
               *bias = d->bias ? nas__narrow(d->bias, 0) : NULL;
    return d->bias && !bias ? NULL : nas_linear(nas_tensor_ndim(x) > 2 ? nas_flatten(x) : x, weight, bias);
}

nas_module *nas_dense_new(const nas_dense_config *config) {
    if (config->in < 1 || config->out < 1) {
        return nas__fail_null(NAS_INVALID, "nas_dense: .in %d and .out %d must be given and positive", config->in,
                              config->out);
    }
    dense *d = nas_module_alloc(sizeof *d, dense_forward, "dense");
    if (!d) {
        return NULL;
    }
    d->weight = nas_parameter(&d->base, "weight", NAS_DIMS(config->out, config->in), NAS_INIT_FAN_IN);
    d->bias = config->no_bias ? NULL : nas_parameter(&d->base, "bias", NAS_DIMS(config->out), NAS_INIT_ZERO);
    return nas__module_complete(d, d->weight && (d->bias || config->no_bias));
}
