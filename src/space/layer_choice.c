/* layer_choice.c - one of several modules: its making, its pruning, and how it executes a decision. */
#include "space/space.h"

#include "nn/module.h"
#include "tensor/tensor.h"

#include <stdlib.h>

typedef struct layer_choice {
    nas_module base;
    nas_mutable *mutable_;
    nas_module **candidates; /* children of this module; NULL when pruned */
} layer_choice;

static nas_status shape_mismatch(const nas_mutable *m, int a, const nas_tensor *x, int b, const nas_tensor *y) {
    char *key = nas__mutable_key(m);
    nas__fail(
        NAS_SHAPE,
        "layer choice \"%s\": candidate \"%s\" gives shape %s, candidate \"%s\" %s; all candidates must give one shape",
        key ? key : "", m->names[b], nas__shape(y), m->names[a], nas__shape(x));
    free(key);
    return NAS_SHAPE;
}

static nas_tensor *run_candidate(layer_choice *choice, int i, nas_tensor *x) {
    const nas_mutable *m = choice->mutable_;
    const nas__observer *o = m->space ? m->space->observer : NULL;
    nas_tensor *y =
        o ? o->forward(o->user, m->site, i, choice->candidates[i], x) : nas_forward(choice->candidates[i], x);
    bool drops = m->decision->skip_dropout > 0 && nas__is_identity(choice->candidates[i]);
    return drops ? nas_dropout(y, m->decision->skip_dropout) : y;
}

/* Nothing of it is recorded, so nothing is kept for a backward pass. */
static nas_tensor *run_detached(layer_choice *choice, int i, nas_tensor *x) {
    nas_tensor *y = run_candidate(choice, i, nas__wants(x) ? nas_detach(x) : x);
    return y && nas__wants(y) ? nas_detach(y) : y;
}

/* The weights of the candidates that do not run, added up. */
static nas_tensor *rest_of(const nas_decision *d, int n) {
    float rest[NAS_MAX_CANDIDATES];
    for (int i = 0; i < n; i++) {
        rest[i] = (float)!(d->run >> i & 1);
    }
    return nas_sum(nas_mul(d->weights, nas_input(1, (int64_t[]){n}, rest)));
}

static nas_tensor *weigh(const nas_mutable *m, nas_tensor *const *results) {
    const nas_decision *d = m->decision;
    nas_tensor *sum = nas_weighted_sum(d->weights, m->n, results);
    return d->rest && d->run != nas__all_bits(m->n) ? nas_add(sum, rest_of(d, m->n)) : sum;
}

/* Several candidates: their weighted sum, or without weights their sum. */
static nas_tensor *mixed(layer_choice *choice, nas_tensor *x) {
    const nas_mutable *m = choice->mutable_;
    nas_tensor *results[NAS_MAX_CANDIDATES] = {0}, *computed[NAS_MAX_CANDIDATES];
    int first = -1, n = 0;
    for (int i = 0; i < m->n; i++) {
        if (!(m->decision->run >> i & 1)) {
            continue;
        }
        results[i] = computed[n++] =
            m->decision->detached >> i & 1 ? run_detached(choice, i, x) : run_candidate(choice, i, x);
        if (!results[i]) {
            return NULL;
        }
        if (first >= 0 && !nas__same_shape(results[first], results[i])) {
            shape_mismatch(m, first, results[first], i, results[i]);
            return NULL;
        }
        first = first < 0 ? i : first;
    }
    return m->decision->weights ? weigh(m, results) : nas_sum_of(n, computed);
}

/* Zeros of the shape that candidates give: the first one is asked. */
static nas_tensor *nothing_runs(layer_choice *choice, nas_tensor *x) {
    nas_tape *tape = nas__tape();
    bool dry = tape->config.dry;
    tape->config.dry = true;
    const nas_tensor *y = nas_forward(choice->candidates[0], nas_input(x->ndim, x->dims, NULL));
    tape->config.dry = dry;
    return y ? nas_zero(y->ndim, y->dims) : NULL;
}

static nas_tensor *whole(layer_choice *choice, nas_tensor *x) {
    const nas_mutable *m = choice->mutable_;
    int chosen = nas__mutable_single(m);
    if (m->decision->weights || (m->decision->run && chosen < 0)) {
        return mixed(choice, x);
    }
    /* An unreachable choice of a fixed network has no candidates left. What a network gives to nas_choose() in its name
     * without having asked nas_wanted() is not looked at, and costs nothing. */
    return chosen >= 0 ? run_candidate(choice, chosen, x)
           : m->space  ? nothing_runs(choice, x)
                       : nas_zero(x->ndim, x->dims);
}

static nas_tensor *not_partial(const nas_mutable *m, const nas_tensor *x, const nas_tensor *y) {
    char *key = nas__mutable_key(m), *result = y ? nas__format("; they make %s of it", nas__shape(y)) : NULL;
    nas__fail(NAS_UNSUPPORTED,
              "layer choice \"%s\": its candidates cannot run on one in %d channels of %s%s; partial channels need "
              "candidates on images that keep the number of channels",
              key ? key : "", m->decision->part, nas__shape(x), result ? result : "");
    free(key);
    free(result);
    return NULL;
}

/* Partial channels: what goes past the candidates, in the size of their result y. */
static nas_tensor *bypass(const nas_mutable *m, nas_tensor *x, int64_t channels, const nas_tensor *y) {
    nas_tensor *rest = nas_slice(x, 1, channels, x->dims[1] - channels);
    int stride = (int)((x->dims[2] + y->dims[2] - 1) / y->dims[2]);
    rest = stride > 1 ? nas_max_pool(rest, (nas_pool_args){.kernel = stride, .stride = stride}) : rest;
    bool fits =
        y->ndim == 4 && y->dims[1] == channels && rest && rest->dims[2] == y->dims[2] && rest->dims[3] == y->dims[3];
    return fits || !rest ? rest : not_partial(m, x, y);
}

static nas_tensor *partial(layer_choice *choice, nas_tensor *x) {
    const nas_mutable *m = choice->mutable_;
    int part = m->decision->part;
    nas_tape *tape = nas__tape();
    if (x->ndim != 4 || x->dims[1] % part) {
        return not_partial(m, x, NULL);
    }
    int64_t channels = x->dims[1] / part;
    tape->narrow = part;
    nas_tensor *y = whole(choice, nas_slice(x, 1, 0, channels));
    tape->narrow = 1;
    nas_tensor *rest = y ? bypass(m, x, channels, y) : NULL;
    return rest ? nas_channel_shuffle(nas_concat(2, (nas_tensor *[]){y, rest}, 1), part) : NULL;
}

static nas_tensor *layer_choice_forward(nas_module *self, nas_tensor *x) {
    layer_choice *choice = (layer_choice *)self;
    /* What is nested in a candidate is narrow already. */
    bool narrows = choice->mutable_->decision->part > 1 && nas__narrowing() == 1 && !nas__dry();
    return narrows ? partial(choice, x) : whole(choice, x);
}

static void layer_choice_release(nas_module *self) {
    layer_choice *choice = (layer_choice *)self;
    nas__mutable_free(choice->mutable_);
    free(choice->candidates);
}

nas_mutable *nas__layer_mutable(nas_module *module) {
    return module->forward == layer_choice_forward ? ((layer_choice *)module)->mutable_ : nas__repeat_mutable(module);
}

int nas__chosen_candidate(nas_module *module) {
    const nas_mutable *m = nas__layer_mutable(module);
    return m ? nas__mutable_single(m) : -1;
}

void nas__layer_behind(nas_module *module, const nas_mutable *input, uint64_t any) {
    nas_mutable *m = nas__layer_mutable(module);
    m->behind = input;
    m->behind_any = any;
}

void nas__layer_prune(nas_mutable *m, int keep) {
    layer_choice *choice = (layer_choice *)m->owner;
    if (m->repeat) {
        nas__repeat_prune(m, keep);
    }
    for (int i = 0; !m->repeat && i < m->n; i++) {
        if (i != keep && choice->candidates[i]) {
            nas_module_free(choice->candidates[i]);
            choice->candidates[i] = NULL;
        }
    }
    m->own = (nas_decision){.run = keep < 0 ? 0 : (uint64_t)1 << keep};
}

static nas_module *give_up(int n, const nas_candidate *candidates) {
    for (int i = 0; i < n; i++) {
        nas_module_free(candidates[i].module);
    }
    return NULL;
}

static bool adopt(layer_choice *choice, int n, const nas_candidate *candidates, int *adopted) {
    for (int i = 0; i < n; i++) {
        choice->candidates[i] = nas_child(choice, choice->mutable_->names[i], candidates[i].module);
        *adopted = i + 1; /* the parent takes a child over even when it refuses it */
        if (!choice->candidates[i]) {
            return false;
        }
    }
    return true;
}

nas_module *nas_layer_choice_new(nas_module *owner, const char *key, int n, const nas_candidate *candidates) {
    (void)owner; /* the key of a choice follows from its place in the tree */
    const char *names[NAS_MAX_CANDIDATES] = {0};
    for (int i = 0; i < n && i < NAS_MAX_CANDIDATES; i++) {
        names[i] = candidates[i].name;
        if (!candidates[i].module) {
            nas__fail(NAS_INVALID, "layer choice \"%s\": candidate %d is NULL", key ? key : "(no key)", i);
            return give_up(n, candidates);
        }
    }
    layer_choice *choice = nas_module_alloc(sizeof *choice, layer_choice_forward, "layer choice");
    if (!choice) {
        return give_up(n, candidates);
    }
    choice->base.release = layer_choice_release;
    choice->mutable_ = nas__mutable_new(NAS_LAYER, &choice->base, key, n, names);
    choice->candidates = choice->mutable_ ? nas__alloc((size_t)n * sizeof *choice->candidates) : NULL;
    int adopted = 0;
    if (!choice->candidates || !adopt(choice, n, candidates, &adopted)) {
        give_up(n - adopted, candidates + adopted);
        nas_module_free(&choice->base);
        return NULL;
    }
    return &choice->base;
}
