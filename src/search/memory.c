/* memory.c - memory of the exported C file as a cost: bytes of its weights are a sum over candidates, those of its
 * arena are not. Of these the least is found by changing one choice after the other, which is exact where the largest
 * block decides, as in chains. */
#include "search/limits.h"

#include "io/graph.h"
#include "search/trainer.h"
#include "space/space.h"

#include <stdlib.h>

enum { MOST_SWEEPS = 4 };

/* --- weights ------------------------------------------------------------------------------------------- */
static nas_status count_pass(void *user, nas_module *model, int ndim, const int64_t *dims, uint64_t *all) {
    int64_t *floats = user;
    *floats = 0;
    nas__graph_free(nas__graph_count(model, ndim, dims, floats));
    *all = (uint64_t)*floats * sizeof(float);
    return nas_error_status();
}

static double counted(void *user) { return (double)*(const int64_t *)user * (double)sizeof(float); }

static nas_status open_flash(nas_trainer *t, nas__limit *limit) {
    const nas_dataset_info *info = nas_dataset_describe(t->config.dataset_train);
    int64_t floats = 0;
    limit->table = nas__cost_table_counted(t->s.space, t->s.model, info->ndim, info->dims, NAS__COST_FLASH,
                                           &(nas__counter){count_pass, counted, &floats});
    return nas_error_status();
}

/* --- the arena ----------------------------------------------------------------------------------------- */
/* Of two with the same arena the one that computes less is cheaper: so what is not the largest block shrinks, too. */
typedef struct need {
    int64_t arena, computed;
} need;

static bool is_less(need a, need b) { return a.arena != b.arena ? a.arena < b.arena : a.computed < b.computed; }

static bool ask(nas_trainer *t, const nas_architecture *a, need *n) {
    nas_c_memory memory = {0};
    bool counted_it = !nas__exact_memory(t, a, &memory, &n->computed);
    n->arena = memory.arena_bytes;
    return counted_it;
}

/* The best set of a choice, the others as they are; what each candidate needs alone into the table. */
static bool improve(nas_trainer *t, nas__limit *limit, int choice, need *now) {
    const nas_choice *c = nas_space_choice(t->s.space, choice);
    nas_architecture *a = limit->least;
    uint64_t before = nas_architecture_get(a, choice), best = before, other;
    double *costs = limit->table->cost + limit->table->first[choice];
    need least = *now;
    for (int i = 0; !nas_error_status() && nas__choice_neighbour(c, before, i, &other); i++) {
        need n;
        nas_architecture_set(a, choice, other);
        if (!ask(t, a, &n)) {
            break;
        }
        best = is_less(n, least) ? other : best;
        least = is_less(n, least) ? n : least;
        if (c->n_max == 1) {
            costs[__builtin_ctzll(other)] = (double)n.arena;
        }
    }
    if (c->n_max == 1) {
        costs[__builtin_ctzll(before)] = (double)now->arena;
    }
    nas_architecture_set(a, choice, best);
    *now = least;
    return best != before;
}

static nas_status open_ram(nas_trainer *t, nas__limit *limit) {
    limit->table = nas__cost_table_zero(t->s.space, NAS__COST_RAM);
    limit->least = limit->table ? nas_architecture_new(t->s.space) : NULL;
    need now;
    bool changed = limit->least && ask(t, limit->least, &now);
    for (int sweep = 0; changed && sweep < MOST_SWEEPS; sweep++) {
        changed = false;
        for (int i = 0; i < nas_space_size(t->s.space) && !nas_error_status(); i++) {
            changed |= nas_architecture_reaches(limit->least, i) && improve(t, limit, i, &now);
        }
    }
    if (!nas_error_status()) {
        limit->table->constant = (double)now.arena;
    }
    return nas_error_status();
}

nas_status nas__limit_memory(nas_trainer *t, nas__limit *limit) {
    return limit->kind == NAS__COST_RAM ? open_ram(t, limit) : open_flash(t, limit);
}
