/* init.c - first values of parameters: a function of the seed and of the parameter's path, of nothing else. */
#include "nn/module.h"

#include "core/error.h"
#include "core/hash.h"
#include "tensor/prepared.h"

#include <math.h>

/* weight (out, in, kernel...): how many numbers feed an output, and how many outputs a number feeds */
static double fan(const nas_tensor *t, bool in) {
    double rest = 1;
    for (int i = 2; i < t->ndim; i++) {
        rest *= (double)t->dims[i];
    }
    return rest * (double)(in && t->ndim > 1 ? t->dims[1] : t->dims[0]);
}

nas_status nas__initialise_parameter(const char *path, nas__parameter *p, uint64_t seed) {
    nas_rng rng = nas_rng_new(seed, nas__hash_text(path));
    int64_t count = nas__count(p->tensor);
    float *values = p->tensor->data;
    nas__thaw(p->tensor);
    double deviation = p->init == NAS_INIT_HE ? sqrt(2 / fan(p->tensor, false)) : 1;
    double bound = p->init == NAS_INIT_FAN_IN ? 1 / sqrt(fan(p->tensor, true)) : 0.1;
    for (int64_t i = 0; i < count; i++) {
        switch (p->init) {
        case NAS_INIT_ZERO:
        case NAS_INIT_ONE:
            values[i] = p->init == NAS_INIT_ONE;
            break;
        case NAS_INIT_HE:
        case NAS_INIT_NORMAL:
            values[i] = (float)(deviation * nas_rng_normal(&rng));
            break;
        case NAS_INIT_FAN_IN:
        case NAS_INIT_UNIFORM:
            values[i] = (float)(bound * (2 * nas_rng_uniform(&rng) - 1));
            break;
        default:
            return nas__fail(NAS_INVALID, "parameter \"%s\": unknown initialiser %d", path, (int)p->init);
        }
    }
    return NAS_OK;
}

static nas_status initialise_one(const char *path, nas__parameter *p, void *user) {
    return nas__initialise_parameter(path, p, *(const uint64_t *)user);
}

static nas_status mark(nas_module *module, void *user) {
    module->state->initialised = true;
    module->state->seed = *(const uint64_t *)user;
    return NAS_OK;
}

nas_status nas_initialise(nas_module *model, uint64_t seed) {
    if (!model) {
        return nas__fail(NAS_INVALID, "nas_initialise: the model is NULL");
    }
    nas_status status = nas__module_parameters(model, initialise_one, &seed);
    return status ? status : nas__module_walk(model, mark, &seed);
}

static nas_status initialise_late(nas_module *module, void *user) {
    return module->state->initialised ? NAS_OK : nas_initialise(module, *(const uint64_t *)user);
}

nas_status nas__initialise_once(nas_module *module) {
    const nas_module_state *root = nas__module_root(module)->state;
    if (!root->initialised) {
        return nas_initialise(nas__module_root(module), 0);
    }
    uint64_t seed = root->seed;
    return nas__module_walk(module, initialise_late, &seed);
}
