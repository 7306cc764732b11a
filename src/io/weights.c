/* weights.c - all parameters and buffers of a model, by path: in files of their own, and as a part of a checkpoint. */
#include <espalier/io.h>

#include "core/error.h"
#include "core/memory.h"
#include "io/safetensors.h"
#include "io/state.h"
#include "io/torch_names.h"
#include "nn/module.h"
#include "tensor/tensor.h"

#include <stdlib.h>
#include <string.h>

/* --- as a part of a checkpoint ----------------------------------------------------------------------- */
typedef struct state_walk {
    nas_state *state;
    const char *prefix;
} state_walk;

static nas_status bind_one(const char *path, nas_tensor *tensor, nas_role role, void *user) {
    (void)role;
    const state_walk *walk = user;
    char *name = nas__format("%s%s", walk->prefix, path);
    if (!name) {
        return NAS_NO_MEMORY;
    }
    nas_state_tensor(walk->state, name, tensor);
    free(name);
    return NAS_OK;
}

void nas_state_model(nas_state *s, const char *prefix, nas_module *model) {
    if (nas_visit_parameters(model, bind_one, &(state_walk){s, prefix})) {
        nas_state_fail(s);
    }
}

nas_status nas_save_weights(nas_module *model, const char *path) {
    nas_state *s = nas__state_save_begin(path, NULL);
    if (!s) {
        return nas_error_status();
    }
    nas_state_model(s, "", model);
    return nas__state_finish(s);
}

/* --- from a file ------------------------------------------------------------------------------------- */
typedef struct weight_walk {
    const char *path;
    const nas__safetensors *file;
    size_t met; /* arrays of the file that the model has, */
    bool *seen; /* and which (may be NULL) */
} weight_walk;

static bool fits(const nas__array *found, const nas__array *wanted) {
    return found->dtype == wanted->dtype && found->ndim == wanted->ndim &&
           !memcmp(found->dims, wanted->dims, sizeof found->dims[0] * (size_t)found->ndim);
}

/* By its path, or by what PyTorch calls it. */
static const nas__array *find_named(const nas__safetensors *file, const char *path) {
    const nas__array *found = nas__safetensors_find(file, path);
    char *name = found ? NULL : nas__torch_name(path);
    found = name ? nas__safetensors_find(file, name) : found;
    free(name);
    return found;
}

static nas_status check_one(const char *name, nas_tensor *tensor, nas_role role, void *user) {
    (void)role;
    weight_walk *walk = user;
    const nas__array wanted = nas__array_of(name, tensor), *found = find_named(walk->file, name);
    if (!found) {
        return nas__fail(NAS_NOT_FOUND,
                         "%s: has no \"%s\", which the model has: the weights are of another network or architecture",
                         walk->path, name);
    }
    walk->met++;
    walk->seen[nas__safetensors_index(walk->file, found)] = true;
    return fits(found, &wanted)
               ? NAS_OK
               : nas__fail(NAS_SHAPE, "%s: \"%s\" is %s, but %s in the model: the weights are of another network",
                           walk->path, name, nas__array_text(found), nas__array_text(&wanted));
}

/* By its path, or by its name in a checkpoint, where the model is one part among others. */
static const nas__array *find_weight(const nas__safetensors *file, const char *path) {
    const nas__array *found = find_named(file, path);
    char *name = found ? NULL : nas__format("model.%s", path);
    found = name ? nas__safetensors_find(file, name) : found;
    free(name);
    return found;
}

/* Copies what fits; counts it. */
static nas_status copy_one(const char *name, nas_tensor *tensor, nas_role role, void *user) {
    (void)role;
    weight_walk *walk = user;
    const nas__array wanted = nas__array_of(name, tensor), *found = find_weight(walk->file, name);
    if (!found || !fits(found, &wanted)) {
        return NAS_OK;
    }
    walk->met++;
    return nas_tensor_write(tensor, found->data);
}

/* The model has fewer arrays than the file: names the first that it lacks. */
static nas_status refuse_surplus(const weight_walk *walk) {
    size_t i = 0;
    while (walk->seen[i]) {
        i++;
    }
    return nas__fail(NAS_NOT_FOUND,
                     "%s: has \"%s\", which the model has not: the weights are of another network or architecture",
                     walk->path, nas__safetensors_at(walk->file, i)->name);
}

nas_status nas_load_weights(nas_module *model, const char *path) {
    nas__safetensors *file = nas__safetensors_read(path);
    if (!file) {
        return nas_error_status();
    }
    weight_walk walk = {path, file, 0, nas__alloc(nas__safetensors_size(file) + 1)};
    nas_status status = walk.seen ? nas_visit_parameters(model, check_one, &walk) : nas_error_status();
    if (!status && walk.met < nas__safetensors_size(file)) {
        status = refuse_surplus(&walk);
    }
    status = status ? status : nas_visit_parameters(model, copy_one, &walk);
    free(walk.seen);
    nas__safetensors_free(file);
    return status;
}

/* Of a weight that has fewer inputs than the supernet's: those of the parts that were kept. */
static nas_status copy_kept(const nas__array *found, const nas__parameter *p) {
    int64_t rest = 1, kept = __builtin_popcountll(p->supply.kept), all = p->tensor->dims[1] / kept * p->supply.parts;
    for (int i = 2; i < p->tensor->ndim; i++) {
        rest *= p->tensor->dims[i];
    }
    size_t part = (size_t)(p->tensor->dims[1] / kept * rest);
    float *values = nas__alloc((size_t)nas_tensor_count(p->tensor) * sizeof *values), *to = values;
    for (int64_t out = 0; values && out < p->tensor->dims[0]; out++) {
        for (int i = 0; i < p->supply.parts; i++) {
            if (p->supply.kept >> i & 1) {
                memcpy(to, (const float *)found->data + out * all * rest + (size_t)i * part, part * sizeof *to);
                to += part;
            }
        }
    }
    nas_status status = values ? nas_tensor_write(p->tensor, values) : nas_error_status();
    free(values);
    return status;
}

static nas_status inherit_one(const char *name, nas__parameter *p, void *user) {
    weight_walk *walk = user;
    nas__array wanted = nas__array_of(name, p->tensor);
    const nas__array *found = p->supply.kept ? find_weight(walk->file, name) : NULL;
    if (!found || fits(found, &wanted)) {
        return copy_one(name, p->tensor, p->role, user);
    }
    wanted.dims[1] = wanted.dims[1] / __builtin_popcountll(p->supply.kept) * p->supply.parts;
    if (!fits(found, &wanted)) {
        return NAS_OK;
    }
    walk->met++;
    return copy_kept(found, p);
}

nas_status nas_inherit_weights(nas_module *model, const char *path, int *loaded) {
    nas__safetensors *file = nas__safetensors_read(path);
    if (loaded) {
        *loaded = 0;
    }
    if (!file) {
        return nas_error_status();
    }
    weight_walk walk = {path, file, 0, NULL};
    nas_status status = nas__initialise_once(model); /* what is written stays */
    status = status ? status : nas__module_parameters(model, inherit_one, &walk);
    if (!status && loaded) {
        *loaded = (int)walk.met;
    }
    nas__safetensors_free(file);
    return status;
}
