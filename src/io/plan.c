/* plan.c - see plan.h */
#include "io/plan.h"

#include "core/error.h"
#include "core/memory.h"

#include <stdlib.h>

enum { NEVER = -1 };

/* A piece of memory, by the value that it is named after. */
typedef struct life {
    int value, first, last; /* nodes */
    int64_t floats, at;
} life;

typedef struct planning {
    const nas__graph *g;
    nas__plan *plan;
    int *last_read;    /* per value: the last node that reads it */
    int *first, *last; /* per storage */
    life *lives;
    size_t n_lives;
} planning;

/* An operation that may write over its first input: element by element. */
static bool goes_in_place(nas__op_kind kind) {
    switch (kind) {
    case NAS__OP_NORM:
    case NAS__OP_RELU:
    case NAS__OP_RELU6:
    case NAS__OP_SIGMOID:
    case NAS__OP_TANH:
    case NAS__OP_GELU:
    case NAS__OP_SWISH:
    case NAS__OP_HARD_SIGMOID:
    case NAS__OP_HARD_SWISH:
    case NAS__OP_SUM:
    case NAS__OP_DIFFERENCE:
    case NAS__OP_PRODUCT:
    case NAS__OP_GATE:
    case NAS__OP_SCALE:
        return true;
    default:
        return false;
    }
}

/* Memory of the caller or of the model: nobody writes there. */
static bool is_given(const nas__graph *g, int value) {
    return value == 0 || g->values[value].constant || g->values[value].weight;
}

static void read_uses(planning *p) {
    for (size_t i = 0; i < p->g->n_values; i++) {
        p->plan->storage[i] = (int)i;
        p->plan->at[i] = p->last_read[i] = p->first[i] = p->last[i] = NEVER;
    }
    for (size_t i = 0; i < p->g->n_nodes; i++) {
        const nas__graph_node *n = &p->g->nodes[i];
        for (int k = 0; k < n->n_inputs; k++) {
            if (n->inputs[k] >= 0) {
                p->last_read[n->inputs[k]] = (int)i;
            }
        }
    }
    p->last_read[p->g->output] = (int)p->g->n_nodes;
}

static void extend(planning *p, int value, int node) {
    int s = p->plan->storage[value], until = p->last_read[value];
    p->first[s] = p->first[s] == NEVER ? node : p->first[s];
    p->last[s] = until > p->last[s] ? until : p->last[s];
}

/* May node i write over its first input? Of a sum of many, only the second is read before that is written to. */
static bool may_overwrite(const planning *p, const nas__graph_node *n, int i) {
    int x = p->plan->storage[n->inputs[0]];
    bool may = goes_in_place(n->kind) && p->last[x] == i && !is_given(p->g, x) && !p->g->values[x].zero;
    for (int k = 2; may && n->kind == NAS__OP_SUM && k < n->n_inputs; k++) {
        may = p->plan->storage[n->inputs[k]] != x;
    }
    return may;
}

/* The output of node i gets memory, or its input's. */
static void place_output(planning *p, int i) {
    const nas__graph_node *n = &p->g->nodes[i];
    int x = p->plan->storage[n->inputs[0]];
    if (n->kind == NAS__OP_RESHAPE || may_overwrite(p, n, i)) {
        p->plan->storage[n->output] = x;
    }
    extend(p, n->output, i);
}

static nas_status collect(planning *p) {
    const nas__graph *g = p->g;
    for (size_t i = 0; i < g->n_values; i++) {
        if (p->plan->storage[i] != (int)i || p->first[i] == NEVER || is_given(g, (int)i) ||
            (int)i == p->plan->storage[g->output]) {
            continue;
        }
        if (!nas__grow(&p->lives, p->n_lives, sizeof *p->lives)) {
            return nas_error_status();
        }
        p->lives[p->n_lives++] = (life){(int)i, p->first[i], p->last[i], nas__value_count(&g->values[i]), NEVER};
    }
    return NAS_OK;
}

/* Large ones first, each at the lowest place where it is alone during its life. */
static int by_size(const void *a, const void *b) {
    const life *x = a, *y = b;
    return x->floats != y->floats ? (x->floats < y->floats ? 1 : -1) : x->first - y->first;
}

static int64_t lowest_place(const life *placed, size_t n, const life *l) {
    int64_t at = 0;
    for (size_t i = 0; i < n; i++) {
        const life *o = &placed[i];
        bool meets = o->first <= l->last && l->first <= o->last && o->at < at + l->floats && at < o->at + o->floats;
        if (meets) {
            at = o->at + o->floats;
            i = (size_t)-1; /* from the beginning: those passed over may be in the way now */
        }
    }
    return at;
}

static void place_all(planning *p) {
    qsort(p->lives, p->n_lives, sizeof *p->lives, by_size);
    for (size_t i = 0; i < p->n_lives; i++) {
        life *l = &p->lives[i];
        l->at = lowest_place(p->lives, i, l);
        p->plan->at[l->value] = l->at;
        p->plan->floats = l->at + l->floats > p->plan->floats ? l->at + l->floats : p->plan->floats;
    }
}

nas__plan *nas__plan_new(const nas__graph *g) {
    size_t bytes = g->n_values * sizeof(int);
    planning p = {.g = g,
                  .plan = nas__alloc(sizeof *p.plan),
                  .last_read = nas__alloc(bytes),
                  .first = nas__alloc(bytes),
                  .last = nas__alloc(bytes)};
    if (p.plan) {
        p.plan->storage = nas__alloc(bytes);
        p.plan->at = nas__alloc(g->n_values * sizeof *p.plan->at);
    }
    nas_status status = nas_error_status();
    if (!status) {
        read_uses(&p);
        for (size_t i = 0; i < g->n_nodes; i++) {
            for (int k = 0; k < g->nodes[i].n_inputs; k++) { /* zeros are made where they are read first */
                int value = g->nodes[i].inputs[k];
                if (value >= 0 && g->values[value].zero) {
                    extend(&p, value, (int)i);
                }
            }
            place_output(&p, (int)i);
        }
        status = collect(&p);
    }
    if (!status) {
        place_all(&p);
    }
    free(p.last_read);
    free(p.first);
    free(p.last);
    free(p.lives);
    if (status) {
        nas__plan_free(p.plan);
    }
    return status ? NULL : p.plan;
}

void nas__plan_free(nas__plan *plan) {
    if (plan) {
        free(plan->storage);
        free(plan->at);
        free(plan);
    }
}

/* --- without a file ------------------------------------------------------------------------------------- */
nas_status nas__count_memory(nas_module *model, int ndim, const int64_t *sample_dims, nas_c_memory *memory,
                             int64_t *computed) {
    nas__graph *g = nas__graph_count(model, ndim, sample_dims, NULL);
    nas__plan *plan = g ? nas__plan_new(g) : NULL;
    bool *has = plan ? nas__alloc(g->n_values * sizeof *has) : NULL;
    int64_t weights = 0, all = 0;
    for (size_t i = 0; has && i < g->n_nodes; i++) {
        weights += nas__node_weights(g, &g->nodes[i], has);
        all += nas__value_count(&g->values[g->nodes[i].output]);
    }
    *memory = (nas_c_memory){.arena_bytes = has ? plan->floats * (int64_t)sizeof(float) : 0,
                             .weight_bytes = weights * (int64_t)sizeof(float)};
    if (computed) {
        *computed = all * (int64_t)sizeof(float);
    }
    free(has);
    nas__plan_free(plan);
    nas__graph_free(g);
    return nas_error_status();
}

nas_status nas_count_c(nas_module *model, int ndim, const int64_t *sample_dims, nas_c_memory *memory) {
    return model && sample_dims && memory ? nas__count_memory(model, ndim, sample_dims, memory, NULL)
                                          : nas__fail(NAS_INVALID, "nas_count_c: model, sample_dims or memory is NULL");
}
