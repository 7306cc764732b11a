/* width.c - layers with a searched width: weights for the most channels, of which a pass uses the first ones. */
#include "nn/module.h"

#include "core/error.h"
#include "tensor/prepared.h"
#include "tensor/tensor.h"

#include <string.h>

typedef struct widths {
    const nas__width *out, *in;
} widths;

static nas_status widen_one(nas_module *module, void *user) {
    const widths *w = user;
    for (size_t i = 0; i < module->state->n_parameters; i++) {
        nas__parameter *p = &module->state->parameters[i];
        if (w->out) {
            p->width[0] = *w->out;
        }
        if (w->in && p->tensor->ndim > 1) {
            p->width[1] = *w->in;
        }
    }
    return NAS_OK;
}

void nas__module_width(nas_module *module, const nas__width *out, const nas__width *in) {
    nas__module_walk(module, widen_one, &(widths){out, in});
}

static int64_t in_use(const nas__parameter *p, int dim) {
    const nas__width *w = &p->width[dim];
    return w->now ? w->now(w->source) : p->tensor->dims[dim];
}

static const nas__parameter *parameter_of(const nas_module *layer, const nas_tensor *tensor) {
    const nas_module_state *s = layer->state;
    size_t i = 0;
    while (i < s->n_parameters && s->parameters[i].tensor != tensor) {
        i++;
    }
    return i < s->n_parameters ? &s->parameters[i] : NULL;
}

int64_t nas__channels_in_use(const nas_module *layer, const nas_tensor *parameter) {
    const nas__parameter *p = parameter_of(layer, parameter);
    return p ? in_use(p, 0) : 0;
}

nas_tensor *nas__width_in_use(const nas_module *layer, nas_tensor *parameter) {
    const nas__parameter *p = parameter_of(layer, parameter);
    nas_tensor *part = parameter;
    for (int dim = 0; p && part && dim < 2 && dim < parameter->ndim; dim++) {
        int64_t used = in_use(p, dim);
        part = used == parameter->dims[dim] ? part : nas_slice(part, dim, 0, used);
    }
    return part;
}

int64_t nas__width_unused(const nas__parameter *p) {
    int64_t all = nas__count(p->tensor), used = all;
    for (int dim = 0; dim < 2 && dim < p->tensor->ndim; dim++) {
        used = used / p->tensor->dims[dim] * in_use(p, dim);
    }
    return all - used;
}

/* The values move together within their memory. */
void nas__width_keep(nas__parameter *p) {
    nas_tensor *t = p->tensor;
    int64_t rows = in_use(p, 0), columns = t->ndim > 1 ? in_use(p, 1) : 1, all = t->ndim > 1 ? t->dims[1] : 1;
    int64_t size = nas__count(t) / t->dims[0] / all;
    nas__thaw(t);
    for (int64_t i = 0; i < rows; i++) {
        memmove(t->data + i * columns * size, t->data + i * all * size, (size_t)(columns * size) * sizeof(float));
    }
    t->dims[0] = rows;
    if (t->ndim > 1) {
        t->dims[1] = columns;
    }
    memset(p->width, 0, sizeof p->width);
}
