/* fix.c - pruning: the chosen candidates take the place of the choices, and everything unused is freed. */
#include "space/space.h"

#include "nn/module.h"
#include "space/smash.h"

#include <stdlib.h>

static void fix_mutable(nas_mutable *m, uint64_t bits, bool reached) {
    m->fixed = true;
    m->space = NULL;
    m->decision = &m->own;
    m->own = (nas_decision){.run = bits};
    if (m->kind == NAS_LAYER) {
        nas__layer_prune(m, reached ? __builtin_ctzll(bits) : -1);
    }
}

nas_status nas__fix(nas_space *space, const nas_architecture *a) {
    bool *reached = nas__reachable(space, a->bits);
    if (!reached) {
        return nas_error_status();
    }
    /* Outer choices come first: what they free takes the choices inside out of the list. */
    for (int i = 0; i < space->n_sites; i++) {
        const nas__site *s = &space->sites[i];
        if (s->mutable_) {
            fix_mutable(s->mutable_, a->bits[s->choice], reached[space->n_choices + i]);
            space->sites[i].mutable_ = NULL;
        }
    }
    free(reached);
    return nas__module_fix(space->model);
}

/* --- parameters in use ------------------------------------------------------------------------------------ */
int64_t nas__layer_parameters(const nas_space *space, nas__layer_parameters_fn counts, void *user, nas_module *module) {
    const nas_mutable *m = nas__layer_mutable(module);
    int64_t shared = space ? nas__superkernel_parameters(module) : -1;
    shared = space && shared < 0 ? nas__smash_parameters(module) : shared;
    if (shared >= 0) {
        return shared;
    }
    m = space && m && m->space == space ? m : NULL;
    int64_t sum = space ? nas__own_parameters_when_fixed(module) : nas__own_parameters(module);
    size_t n;
    nas_module *const *children = nas__module_children(module, &n);
    for (size_t i = 0; i < n; i++) {
        sum += !m || counts(user, m, (int)i) ? nas__layer_parameters(space, counts, user, children[i]) : 0;
    }
    return sum;
}

static const nas_space *space_of(nas_module *module) {
    const nas_mutable *m = nas__layer_mutable(module);
    size_t n;
    nas_module *const *children = nas__module_children(module, &n);
    const nas_mutable *other = m ? NULL : nas__attached_mutable(module, 0);
    const nas_space *space = m ? m->space : other ? other->space : NULL;
    for (size_t i = 0; !space && i < n; i++) {
        space = space_of(children[i]);
    }
    return space;
}

static bool is_used(void *user, const nas_mutable *m, int child) {
    const bool *sites = user;
    return (!sites || sites[m->site]) && (m->decision->run & nas__child_candidates(m, child));
}

int64_t nas__active_parameters(nas_module *model) {
    const nas_space *space = space_of(model);
    uint64_t *bits = space ? nas__alloc((size_t)space->n_choices * sizeof *bits) : NULL;
    for (int i = 0; bits && i < space->n_choices; i++) {
        bits[i] = space->choices[i].decision.run;
    }
    bool *reached = bits ? nas__reachable(space, bits) : NULL;
    int64_t count = nas__layer_parameters(space, is_used, reached ? reached + space->n_choices : NULL, model);
    free(bits);
    free(reached);
    return count;
}
