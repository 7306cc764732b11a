/* repeat.c - searched depth: a row of blocks of which the first ones run. A layer choice whose candidates share their
 * blocks: each is one of the row's depths. */
#include "space/space.h"

#include "tensor/tensor.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct repeat {
    nas_module base;
    nas_mutable *mutable_;
    int n;
    nas_module **blocks; /* children of this module; NULL when pruned */
} repeat;

uint64_t nas__child_candidates(const nas_mutable *m, int child) {
    if (!m->repeat) {
        return (uint64_t)1 << child;
    }
    const int shortest = child + 1 > m->least ? child + 1 - m->least : 0;
    return nas__all_bits(m->n) & ~nas__all_bits(shortest);
}

/* --- executing ----------------------------------------------------------------------------------------- */
static nas_tensor *run_block(repeat *r, int i, nas_tensor *x) {
    const nas_mutable *m = r->mutable_;
    const nas__observer *o = m->space ? m->space->observer : NULL;
    return o ? o->forward(o->user, m->site, i, r->blocks[i], x) : nas_forward(r->blocks[i], x);
}

static void *complain(const nas_mutable *m, const nas_tensor *a, const nas_tensor *b) {
    char *key = nas__mutable_key(m);
    nas__fail(NAS_SHAPE, "depth \"%s\": shapes %s and %s differ; all depths must give one shape", key ? key : "",
              nas__shape(a), nas__shape(b));
    free(key);
    return NULL;
}

static nas_tensor *repeat_forward(nas_module *self, nas_tensor *x) {
    repeat *r = (repeat *)self;
    const nas_mutable *m = r->mutable_;
    const uint64_t run = m->decision->run;
    nas_tensor *results[NAS_MAX_CANDIDATES] = {0}, *computed[NAS_MAX_CANDIDATES];
    int n = 0;
    for (int done = 0; x && run >> (done > m->least ? done - m->least : 0); done++) {
        const int candidate = done - m->least;
        x = done ? run_block(r, done - 1, x) : x;
        if (x && candidate >= 0 && (run >> candidate & 1)) {
            results[candidate] = computed[n++] = x;
            if (!nas__same_shape(computed[0], x)) {
                return complain(m, computed[0], x);
            }
        }
    }
    if (!x || !run) {
        return x ? nas_zero(x->ndim, x->dims) : NULL; /* unreachable: nobody looks at it */
    }
    return m->decision->weights ? nas_weighted_sum(m->decision->weights, m->n, results) : nas_sum_of(n, computed);
}

/* --- pruning ------------------------------------------------------------------------------------------- */
static void repeat_release(nas_module *self) {
    repeat *r = (repeat *)self;
    nas__mutable_free(r->mutable_);
    free(r->blocks);
}

nas_mutable *nas__repeat_mutable(nas_module *module) {
    return module->forward == repeat_forward ? ((repeat *)module)->mutable_ : NULL;
}

void nas__repeat_prune(nas_mutable *m, int keep) {
    repeat *r = (repeat *)m->owner;
    for (int i = 0; i < r->n; i++) {
        if (r->blocks[i] && (keep < 0 || i >= m->least + keep)) {
            nas_module_free(r->blocks[i]);
            r->blocks[i] = NULL;
        }
    }
}

/* --- making -------------------------------------------------------------------------------------------- */
static nas_module *give_up(int n, nas_module *const *blocks) {
    for (int i = 0; i < n; i++) {
        nas_module_free(blocks[i]);
    }
    return NULL;
}

static nas_mutable *depths_new(repeat *r, const char *key, int least) {
    char texts[NAS_MAX_CANDIDATES][16];
    const char *names[NAS_MAX_CANDIDATES];
    const int n = r->n - least + 1;
    for (int i = 0; i < n && i < NAS_MAX_CANDIDATES; i++) {
        snprintf(texts[i], sizeof *texts, "%d", least + i);
        names[i] = texts[i];
    }
    nas_mutable *m = nas__mutable_new(NAS_LAYER, &r->base, key, n, names);
    if (m) {
        m->repeat = true;
        m->least = least;
    }
    return m;
}

static bool adopt(repeat *r, nas_module *const *blocks, int *adopted) {
    for (int i = 0; i < r->n; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d", i);
        r->blocks[i] = nas_child(r, name, blocks[i]);
        *adopted = i + 1; /* the parent takes a child over even when it refuses it */
        if (!r->blocks[i]) {
            return false;
        }
    }
    return true;
}

nas_module *nas_repeat_new(nas_module *owner, const char *key, int least, int n, nas_module *const *blocks) {
    (void)owner; /* as of layer choices */
    bool complete = n > 0 && n < NAS_MAX_CANDIDATES && least >= 0 && least <= n;
    if (!complete) {
        nas__fail(NAS_INVALID, "depth \"%s\": %d to %d of %d blocks; there must be 1 to %d, and not more than all run",
                  key ? key : "(no key)", least, n, n, NAS_MAX_CANDIDATES - 1);
    }
    for (int i = 0; complete && i < n; i++) {
        complete = blocks[i] != NULL;
        if (!complete) {
            nas__fail(NAS_INVALID, "depth \"%s\": block %d is NULL", key ? key : "(no key)", i);
        }
    }
    repeat *r = complete ? nas_module_alloc(sizeof *r, repeat_forward, "repeat") : NULL;
    if (!r) {
        return give_up(n, blocks);
    }
    r->base.release = repeat_release;
    r->n = n;
    r->mutable_ = depths_new(r, key, least);
    r->blocks = r->mutable_ ? nas__alloc((size_t)n * sizeof *r->blocks) : NULL;
    int adopted = 0;
    if (!r->blocks || !adopt(r, blocks, &adopted)) {
        give_up(n - adopted, blocks + adopted);
        nas_module_free(&r->base);
        return NULL;
    }
    return &r->base;
}
