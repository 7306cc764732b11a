/* genes.c - see genes.h */
#include "search/genes.h"

#include <stdlib.h>

enum { FEW_SETS = 64 };

static nas_status add(nas__genes *g, nas__gene gene) {
    if (!nas__grow(&g->list, (size_t)g->n, sizeof *g->list)) {
        return nas_error_status();
    }
    g->list[g->n++] = gene;
    g->most_values = gene.values > g->most_values ? gene.values : g->most_values;
    return NAS_OK;
}

nas_status nas__genes_new(nas__genes *g, const nas_space *space) {
    nas_status status = NAS_OK;
    *g = (nas__genes){0};
    for (int i = 0; !status && i < nas_space_size(space); i++) {
        const nas_choice *c = nas_space_choice(space, i);
        if (nas__choice_sets(c) <= FEW_SETS) {
            status = add(g, (nas__gene){i, -1, (int)nas__choice_sets(c)});
        }
        for (int k = 0; !status && nas__choice_sets(c) > FEW_SETS && k < c->n; k++) {
            status = add(g, (nas__gene){i, k, 2});
        }
    }
    return status;
}

void nas__genes_free(nas__genes *g) {
    free(g->list);
    *g = (nas__genes){0};
}

void nas__genes_read(const nas__genes *g, const nas_architecture *a, int *values) {
    for (int i = 0; i < g->n; i++) {
        const nas__gene *gene = &g->list[i];
        const nas_choice *c = &a->space->choices[gene->choice].public_;
        uint64_t set = a->bits[gene->choice];
        values[i] = gene->candidate < 0 ? (int)nas__choice_rank(c, set) : (int)(set >> gene->candidate & 1);
    }
}

void nas__genes_write(const nas__genes *g, const int *values, nas_architecture *a, nas_rng *rng) {
    for (int i = 0; i < g->n;) {
        const nas_choice *c = &a->space->choices[g->list[i].choice].public_;
        uint64_t *set = &a->bits[g->list[i].choice];
        if (g->list[i].candidate < 0) {
            *set = nas__choice_set(c, (uint64_t)values[i++]);
            continue;
        }
        *set = 0;
        for (int k = 0; k < c->n; k++, i++) {
            *set |= (uint64_t)values[i] << k;
        }
        int count = nas__bit_count(*set);
        *set = count < c->n_min || count > c->n_max ? nas__choice_random(c, rng) : *set;
    }
}
