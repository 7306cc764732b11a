/* input_choice.c - some of several tensors, reduced to one. */
#include "space/space.h"

#include "tensor/tensor.h"

#include <stdio.h>
#include <stdlib.h>

/* --- making ---------------------------------------------------------------------------------------- */
static nas_status set_counts(nas_mutable *m, const nas_input_choice_config *config) {
    m->n_min = config->n_chosen ? config->n_chosen : config->n_min;
    m->n_max = config->n_chosen ? config->n_chosen : config->n_max ? config->n_max : m->n;
    if (m->n_min < 0 || m->n_max < m->n_min || m->n_max > m->n) {
        return nas__fail(NAS_INVALID, "input choice \"%s\": %d to %d of %d candidates cannot be chosen",
                         m->key ? m->key : "(no key)", m->n_min, m->n_max, m->n);
    }
    m->own.run = nas__all_bits(m->n_min ? m->n_min : 1);
    return NAS_OK;
}

static bool copy_edges(nas_mutable *m, const char *const *edges) {
    m->edges = edges ? nas__alloc((size_t)m->n * sizeof *m->edges) : NULL;
    bool complete = !edges || m->edges;
    for (int i = 0; edges && complete && i < m->n; i++) {
        m->edges[i] = edges[i] ? nas__strdup(edges[i]) : NULL;
        complete = !edges[i] || m->edges[i];
    }
    return complete;
}

nas_mutable *nas_input_choice_new(nas_module *owner, const char *key, const nas_input_choice_config *config) {
    if (!owner) {
        return nas__fail_null(NAS_INVALID, "input choice \"%s\": the owner is NULL", key ? key : "(no key)");
    }
    nas_mutable *m = nas__mutable_new(NAS_INPUT, owner, key, config->n_candidates, config->names);
    if (!m) {
        return NULL;
    }
    m->reduce = config->reduce;
    if (set_counts(m, config) || !copy_edges(m, config->edges)) {
        nas__mutable_free(m);
        return NULL;
    }
    return nas__mutable_attach(m);
}

/* --- executing ------------------------------------------------------------------------------------- */
static void *complain(const nas_mutable *m, nas_status status, const char *format, const char *detail) {
    char *key = nas__mutable_key(m);
    nas__fail(status, format, key ? key : "", detail);
    free(key);
    return NULL;
}

static bool shapes_fit(const nas_mutable *m, const nas_tensor *a, const nas_tensor *b) {
    bool fit = a->ndim == b->ndim;
    for (int d = 0; fit && d < a->ndim; d++) {
        fit = a->dims[d] == b->dims[d] || (m->reduce == NAS_CONCAT && d == 1);
    }
    return fit;
}

static bool wanted_inputs_fit(const nas_mutable *m, int from, int to, nas_tensor *const *x) {
    const nas_tensor *first = NULL;
    for (int i = from; i < to; i++) {
        if (!nas_wanted(m, i)) {
            continue;
        }
        if (!x[i]) {
            return complain(m, NAS_INVALID, "input choice \"%s\": input \"%s\" is chosen but NULL", m->names[i]);
        }
        first = first ? first : x[i];
        if (!shapes_fit(m, first, x[i])) {
            char *detail =
                nas__format("\"%s\" has shape %s, others %s", m->names[i], nas__shape(x[i]), nas__shape(first));
            complain(m, NAS_SHAPE, "input choice \"%s\": input %s", detail ? detail : "");
            free(detail);
            return false;
        }
    }
    return true;
}

static nas_tensor *nothing_chosen(const nas_mutable *m, nas_tensor *const *x) {
    for (int i = 0; i < m->n; i++) {
        if (x[i]) {
            return nas_zero(x[i]->ndim, x[i]->dims);
        }
    }
    return complain(m, NAS_INVALID, "input choice \"%s\": no input is chosen, and none is given%s",
                    " whose shape the zeros could have");
}

static nas_tensor *reduce(const nas_mutable *m, int n, nas_tensor *const *chosen) {
    if (n == 1) {
        return chosen[0];
    }
    if (m->reduce == NAS_CONCAT) {
        return nas_concat(n, chosen, 1);
    }
    nas_tensor *sum = nas_sum_of(n, chosen);
    return m->reduce == NAS_MEAN ? nas_scale(sum, 1.0f / (float)n) : sum;
}

bool nas_wanted(const nas_mutable *m, int i) { return m && i >= 0 && i < m->n && (m->decision->run >> i & 1); }

nas_tensor *nas__choose_among(nas_mutable *m, int from, int to, nas_tensor *const *x) {
    nas_tensor *chosen[NAS_MAX_CANDIDATES] = {0};
    int n_chosen = 0;
    if (!wanted_inputs_fit(m, from, to, x)) {
        return NULL;
    }
    for (int i = from; i < to; i++) {
        if (nas_wanted(m, i)) {
            chosen[m->decision->weights ? i : n_chosen] = x[i];
            n_chosen++;
        }
    }
    return n_chosen == 0          ? NULL
           : m->decision->weights ? nas_weighted_sum(m->decision->weights, m->n, chosen)
                                  : reduce(m, n_chosen, chosen);
}

nas_tensor *nas_choose(nas_mutable *m, int n, nas_tensor *const *x) {
    if (!m) {
        return nas__fail_null(NAS_INVALID, "nas_choose: the input choice is NULL");
    }
    if (n != m->n || m->kind != NAS_INPUT) {
        char count[32];
        snprintf(count, sizeof count, "%d inputs", n);
        return complain(m, NAS_INVALID, "choice \"%s\": nas_choose() was given %s, which do not fit it", count);
    }
    nas_tensor *y = nas__choose_among(m, 0, n, x);
    return y || (m->decision->run & nas__all_bits(n)) ? y : nothing_chosen(m, x);
}
