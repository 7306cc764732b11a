/* parts.c - weights of layers whose input comes in parts, of which some may be missing: the loose ends of a cell. */
#include "nn/module.h"

#include "core/error.h"
#include "tensor/prepared.h"
#include "tensor/tensor.h"

#include <string.h>

enum { MOST_PARTS = 64 };

static uint64_t all_parts(const nas__supply *s) { return ~(uint64_t)0 >> (MOST_PARTS - s->parts); }

static nas_status supply_one(nas_module *module, void *user) {
    const nas__supply *supply = user;
    nas_module_state *s = module->state;
    for (size_t i = 0; i < s->n_parameters; i++) {
        nas__parameter *p = &s->parameters[i];
        if (p->tensor->ndim < 2 || strcmp(p->name, "weight") != 0) {
            continue;
        }
        if (p->tensor->dims[1] % supply->parts) {
            return nas__fail(NAS_SHAPE, "\"%s\" reads %lld channels, which are not %d equal parts",
                             nas_module_path(module), (long long)p->tensor->dims[1], supply->parts);
        }
        p->supply = *supply;
    }
    return NAS_OK;
}

nas_status nas__module_supply(nas_module *module, const nas__supply *supply) {
    return nas__module_walk(module, supply_one, (void *)supply);
}

static const nas__supply *supply_of(const nas_module *layer, const nas_tensor *weight) {
    const nas_module_state *s = layer->state;
    for (size_t i = 0; i < s->n_parameters; i++) {
        if (s->parameters[i].tensor == weight) {
            return s->parameters[i].supply.given ? &s->parameters[i].supply : NULL;
        }
    }
    return NULL;
}

nas_tensor *nas__weight_in_use(const nas_module *layer, nas_tensor *weight) {
    const nas__supply *s = supply_of(layer, weight);
    uint64_t given = s ? s->given(s->source) : 0;
    if (!s || given == all_parts(s)) {
        return weight;
    }
    nas_tensor *pieces[MOST_PARTS];
    int64_t part = weight->dims[1] / s->parts;
    int n = 0;
    for (int i = 0, end; i < s->parts; i = end + 1) {
        for (end = i; end < s->parts && (given >> end & 1);) {
            end++;
        }
        if (end > i) {
            pieces[n++] = nas_slice(weight, 1, i * part, (end - i) * part);
        }
    }
    return n == 1 ? pieces[0] : nas_concat(n, pieces, 1);
}

int64_t nas__weights_unused(const nas_module *layer) {
    const nas_module_state *s = layer->state;
    int64_t sum = 0;
    for (size_t i = 0; i < s->n_parameters; i++) {
        const nas__supply *supply = &s->parameters[i].supply;
        if (supply->given) {
            int missing = supply->parts - __builtin_popcountll(supply->given(supply->source));
            sum += nas__count(s->parameters[i].tensor) / supply->parts * missing;
        }
        sum += s->parameters[i].role == NAS_ROLE_WEIGHT ? nas__width_unused(&s->parameters[i]) : 0;
    }
    return sum;
}

/* The values move together within their memory. */
static void keep(nas__parameter *p) {
    nas_tensor *t = p->tensor;
    nas__supply *s = &p->supply;
    int64_t part = nas__count(t) / t->dims[0] / s->parts;
    float *from = t->data, *to = t->data;
    s->kept = s->given(s->source);
    nas__thaw(t);
    for (int64_t i = 0; i < t->dims[0] * s->parts; i++, from += part) {
        if (s->kept >> i % s->parts & 1) {
            memmove(to, from, (size_t)part * sizeof *to);
            to += part;
        }
    }
    t->dims[1] = t->dims[1] / s->parts * __builtin_popcountll(s->kept);
    s->given = NULL;
}

void nas__weights_keep_given(nas_module *layer) {
    for (size_t i = 0; i < layer->state->n_parameters; i++) {
        nas__parameter *p = &layer->state->parameters[i];
        if (p->supply.given) {
            keep(p);
        }
        if (p->width[0].now || p->width[1].now) {
            nas__width_keep(p);
        }
    }
}
