/* norm.c - the batch norm layer: running estimates, a second set of estimates for calibration, and gamma and beta that
 * may come only with the fixed architecture. */
#include "nn/layers.h"

#include "core/error.h"
#include "tensor/tensor.h"

#include <math.h>
#include <string.h>

typedef struct batch_norm {
    nas_module base;
    nas_bn_state state;
    int64_t channels;
    nas_affine affine;
    bool search_only, identity;
    int calibrated_batches;
} batch_norm;

static int64_t in_use(const batch_norm *b) { return nas__channels_in_use(&b->base, b->state.running_mean); }

static nas_tensor *bn_forward(nas_module *self, nas_tensor *x) {
    batch_norm *b = (batch_norm *)self;
    if (b->identity) {
        return b->state.relu ? nas_relu(x) : x;
    }
    bool part = x->dims[1] != b->channels && (nas__narrowing() > 1 || x->dims[1] == in_use(b));
    return part ? nas__bn_first(self, x) : nas_batch_norm(x, &b->state);
}

/* The first channels of an array that a batch norm writes to. */
static nas_tensor *first_of(const nas_tensor *t, int64_t channels, nas_tensor *view) {
    if (t) {
        *view = *t;
        view->dims[0] = channels;
    }
    return t ? view : NULL;
}

nas_tensor *nas__bn_first(nas_module *self, nas_tensor *x) {
    batch_norm *b = (batch_norm *)self;
    int64_t channels = nas_tensor_dim(x, 1);
    if (!x || b->identity || channels == b->channels) {
        return nas_forward(self, x);
    }
    nas_tensor views[4];
    nas_bn_state part = b->state;
    part.gamma = part.gamma ? nas_slice(part.gamma, 0, 0, channels) : NULL;
    part.beta = part.beta ? nas_slice(part.beta, 0, 0, channels) : NULL;
    part.running_mean = first_of(part.running_mean, channels, &views[0]);
    part.running_var = first_of(part.running_var, channels, &views[1]);
    part.calibrated_mean = first_of(part.calibrated_mean, channels, &views[2]);
    part.calibrated_var = first_of(part.calibrated_var, channels, &views[3]);
    return nas_batch_norm(x, &part);
}

static void drop_calibration(batch_norm *b) {
    nas_tensor_free(b->state.calibrated_mean);
    nas_tensor_free(b->state.calibrated_var);
    b->state.calibrated_mean = b->state.calibrated_var = NULL;
}

static void bn_release(nas_module *self) { drop_calibration((batch_norm *)self); }

void nas__bn_drop(nas_module *self) {
    batch_norm *b = (batch_norm *)self;
    b->identity = true;
    drop_calibration(b);
    nas__module_drop_parameters(self);
    b->state = (nas_bn_state){.relu = b->state.relu};
}

static bool add_affine(batch_norm *b) {
    b->state.gamma = nas_parameter(&b->base, "gamma", 1, &b->channels, NAS_INIT_ONE);
    b->state.beta = nas_parameter(&b->base, "beta", 1, &b->channels, NAS_INIT_ZERO);
    return b->state.gamma && b->state.beta;
}

int64_t nas__bn_fixed_parameters(const nas_module *module) {
    const batch_norm *b = (const batch_norm *)module;
    if (module->forward != bn_forward) {
        return -1;
    }
    return b->identity || b->search_only || b->affine == NAS_AFFINE_NEVER ? 0 : 2 * in_use(b);
}

static void bn_fixed(nas_module *self) {
    batch_norm *b = (batch_norm *)self;
    if (b->identity) {
        return;
    }
    b->channels = b->state.running_mean->dims[0]; /* of a searched width what was kept */
    b->state.calibrated_mean->dims[0] = b->state.calibrated_var->dims[0] = b->channels;
    if (b->search_only) {
        nas__bn_drop(self);
    } else if (b->affine == NAS_AFFINE_WHEN_FIXED) {
        add_affine(b);
    }
}

nas_module *nas_bn_new(const nas_bn_config *config) {
    if (config->channels < 1 || config->momentum < 0 || config->momentum > 1 || config->eps < 0) {
        return nas__fail_null(NAS_INVALID,
                              "nas_bn: .channels %d must be positive, .momentum %g in 0..1, .eps %g not negative",
                              config->channels, (double)config->momentum, (double)config->eps);
    }
    batch_norm *b = nas_module_alloc(sizeof *b, bn_forward, "batch norm");
    if (!b) {
        return NULL;
    }
    b->base.release = bn_release;
    b->base.fixed = bn_fixed;
    b->channels = config->channels;
    b->affine = config->affine;
    b->search_only = config->search_only;
    nas_bn_state *s = &b->state;
    s->momentum = config->momentum;
    s->eps = config->eps;
    s->relu = config->relu;
    s->calibrated_batches = &b->calibrated_batches;
    bool affine = config->affine != NAS_AFFINE || add_affine(b);
    s->running_mean = nas_state_buffer(&b->base, "running_mean", 1, &b->channels, NAS_INIT_ZERO);
    s->running_var = nas_state_buffer(&b->base, "running_var", 1, &b->channels, NAS_INIT_ONE);
    /* not part of the model's state: they belong to one scoring and are gone with the next nas_calibration_reset() */
    s->calibrated_mean = nas__persistent(1, &b->channels, NAS_ROLE_BUFFER);
    s->calibrated_var = nas__persistent(1, &b->channels, NAS_ROLE_BUFFER);
    return nas__module_complete(b,
                                affine && s->running_mean && s->running_var && s->calibrated_mean && s->calibrated_var);
}

static nas_status reset_one(nas_module *module, void *user) {
    (void)user;
    batch_norm *b = (batch_norm *)module;
    if (module->forward == bn_forward && !b->identity) {
        b->calibrated_batches = 0;
        memset(b->state.calibrated_mean->data, 0, (size_t)b->channels * sizeof(float));
        memset(b->state.calibrated_var->data, 0, (size_t)b->channels * sizeof(float));
    }
    return NAS_OK;
}

void nas_calibration_reset(nas_module *model) {
    if (model) {
        nas__module_walk(model, reset_one, NULL);
    }
}

/* --- folding ------------------------------------------------------------------------------------- */
int64_t nas__bn_foldable(const nas_module *module) {
    const batch_norm *b = (const batch_norm *)module;
    return module->forward == bn_forward && !b->identity && !b->search_only ? b->channels : 0;
}

const nas_tensor *nas__bn_mean(const nas_module *module) { return ((const batch_norm *)module)->state.running_mean; }

bool nas__bn_goes_when_fixed(const nas_module *module) {
    return module->forward == bn_forward && ((const batch_norm *)module)->search_only;
}

void nas__bn_coefficients(const nas_module *module, float *scale, float *shift) {
    const nas_bn_state *s = &((const batch_norm *)module)->state;
    const float *mean = s->running_mean->data, *var = s->running_var->data;
    for (int64_t i = 0; i < ((const batch_norm *)module)->channels; i++) {
        scale[i] = (s->gamma ? s->gamma->data[i] : 1) / sqrtf(var[i] + (s->eps > 0 ? s->eps : 1e-5f));
        shift[i] = (s->beta ? s->beta->data[i] : 0) - mean[i] * scale[i];
    }
}
