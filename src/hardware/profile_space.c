/* profile_space.c - which entries of a table a space needs: a dry pass in which every candidate runs tells what each is
 * made of, and the shape at its place. */
#include "hardware/profile.h"

#include "core/error.h"
#include "core/hash.h"
#include "core/memory.h"
#include "nn/module.h"
#include "space/space.h"
#include "tensor/tensor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a candidate, or all around the choices, has computed so far; without the candidates inside. */
typedef struct frame {
    FILE *text;
    char *op;
    size_t size;
    double inside; /* multiply-adds */
} frame;

typedef struct tracer {
    nas__profile *p;
    nas_space *space;
    nas__profile_places *places;
    frame *now;
} tracer;

/* --- what operations are called -------------------------------------------------------------------------- */
static void write_weights(FILE *out, const nas_tensor *w) {
    fprintf(out, " %lld", (long long)w->dims[0]);
    for (int i = 1; i < w->ndim; i++) {
        fprintf(out, "x%lld", (long long)w->dims[i]);
    }
}

/* "conv 72x24x1x1": the shape of the weights, and what else tells it from others. */
static void on_computed(void *user, nas__event event, const nas__node *op) {
    const tracer *t = user;
    FILE *out = t->now->text;
    /* a ReLU of what is given is shared by all that read it: it may have been computed for another candidate */
    bool shared = ftell(out) == 0 && (!strcmp(op->name, "relu") || !strcmp(op->name, "relu6"));
    if (event != NAS__COMPUTED || shared || !strcmp(op->name, "reorder")) {
        return;
    }
    const nas__told told = op->told ? *op->told : (nas__told){0};
    fprintf(out, "%s%s", ftell(out) > 0 ? ", " : "", strncmp(op->name, "nas_", 4) ? op->name : op->name + 4);
    if (op->n_inputs > 1 && op->inputs[1] && op->inputs[1]->persistent && op->inputs[1]->ndim > 1) {
        write_weights(out, op->inputs[1]);
    }
    const struct {
        const char *name;
        int64_t value, usual;
    } numbers[] = {{"kernel", told.kernel, 0}, {"stride", told.stride, 1}, {"dilation", told.dilation, 1},
                   {"groups", told.groups, 1}, {"from", told.from, 0},     {"pad", told.pad_h, 0}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (numbers[i].value && numbers[i].value != numbers[i].usual) {
            fprintf(out, " %s %lld", numbers[i].name, (long long)numbers[i].value);
        }
    }
}

/* Of long texts the beginning and a number for all of it. The text is freed. */
static char *shortened(char *text) {
    enum { LONGEST = 240, KEPT = 120 };
    if (!text || strlen(text) <= LONGEST) {
        return text;
    }
    char *cut = nas__format("%.*s... #%016llx", KEPT, text, (unsigned long long)nas__hash_text(text));
    free(text);
    return cut;
}

static bool frame_open(frame *f) {
    *f = (frame){0};
    f->text = open_memstream(&f->op, &f->size);
    return f->text != NULL || nas__fail_null(NAS_NO_MEMORY, "no memory for the name of an operation");
}

/* What it was made of (new); NULL and an error when memory is out. */
static char *frame_close(frame *f, const char *otherwise) {
    if (fclose(f->text)) {
        free(f->op);
        return nas__fail_null(NAS_NO_MEMORY, "no memory for the name of an operation");
    }
    if (*f->op) {
        return shortened(f->op);
    }
    free(f->op);
    return nas__strdup(otherwise);
}

/* --- entries ------------------------------------------------------------------------------------------- */
static bool none(void *user, const nas_mutable *m, int candidate) {
    (void)user;
    (void)m;
    (void)candidate;
    return false;
}

/* op is freed. */
static int add_entry(tracer *t, char *op, const nas_tensor *x, const nas_tensor *y, double macs, nas_module *module) {
    nas__profile_entry e = {.op = op, .n_in = x->ndim - 1, .n_out = y->ndim - 1, .macs = (int64_t)macs};
    int64_t numbers = 0, in = 1, out = 1;
    for (int i = 1; i < x->ndim; i++) {
        in *= e.in[i - 1] = x->dims[i];
    }
    for (int i = 1; i < y->ndim; i++) {
        out *= e.out[i - 1] = y->dims[i];
    }
    e.parameters = nas__layer_parameters(t->space, none, NULL, module);
    numbers = e.parameters + in + out;
    e.bytes = numbers * (int64_t)sizeof(float);
    int index = op ? nas__profile_entry_of(t->p, &e) : -1;
    free(op);
    return index;
}

static nas_status add_place(tracer *t, int site, int child, int entry, const nas_module *module) {
    nas__profile_places *places = t->places;
    for (size_t i = 0; i < places->n; i++) {
        if (places->of[i].site == site && places->of[i].child == child) {
            return nas_error_status(); /* it runs several times, and is measured as a whole */
        }
    }
    char *path = entry >= 0 ? nas__strdup(nas_module_path(module)) : NULL;
    if (!path || !nas__grow(&places->of, places->n, sizeof *places->of)) {
        free(path);
        return nas_error_status();
    }
    places->of[places->n++] = (nas__profile_place){site, child, entry, path, false};
    return NAS_OK;
}

static nas_tensor *watch_candidate(void *user, int site, int child, nas_module *module, nas_tensor *x) {
    tracer *t = user;
    frame *around = t->now, own;
    if (!x || !frame_open(&own)) {
        return NULL;
    }
    double before = (double)nas__tape()->macs;
    t->now = &own;
    nas_tensor *y = nas_forward(module, x);
    t->now = around;
    double all = (double)nas__tape()->macs - before;
    around->inside += all;
    char *op = frame_close(&own, y && y->is_zero ? "zero" : "identity");
    if (!y) {
        free(op);
        return NULL;
    }
    int entry = add_entry(t, op, x, y, all - own.inside, module);
    return add_place(t, site, child, entry, module) ? NULL : y;
}

/* --- the pass ------------------------------------------------------------------------------------------ */
static nas_status run_dry(tracer *t, nas_module *model, const nas_tensor **x, nas_tensor **y, int ndim,
                          const int64_t *dims) {
    nas__watcher watcher = {.event = on_computed, .user = t};
    nas__observer observer = {watch_candidate, t};
    *x = nas_input(ndim, dims, NULL);
    t->space->observer = &observer;
    const nas__watcher *before = nas__watch(&watcher);
    *y = *x ? nas_forward(model, (nas_tensor *)(uintptr_t)*x) : NULL;
    nas__watch(before);
    t->space->observer = NULL;
    return *y ? NAS_OK : nas__error_context("looking for what can be measured");
}

nas_status nas__profile_places_find(nas__profile_places *places, nas__profile *p, nas_space *space, nas_module *model,
                                    int ndim, const int64_t *dims) {
    frame outside;
    tracer t = {.p = p, .space = space, .places = places, .now = &outside};
    int64_t sample[NAS_MAX_DIMS] = {1};
    memcpy(sample + 1, dims, (size_t)ndim * sizeof *dims);
    *places = (nas__profile_places){.rest = -1};
    nas_tape *tape = nas_tape_new();
    if (!tape || !frame_open(&outside)) {
        nas_tape_free(tape);
        return nas_error_status();
    }
    nas__cost_decide_all(space);
    nas_tape_begin(tape, &(nas_tape_config){.dry = true, .bn = NAS_BN_RUNNING});
    const nas_tensor *x;
    nas_tensor *y;
    nas_status status = run_dry(&t, model, &x, &y, ndim + 1, sample);
    char *op = frame_close(&outside, "nothing");
    char *rest = op && !status ? nas__format("all around the choices: %s", op) : NULL;
    free(op);
    if (rest) {
        places->rest = add_entry(&t, rest, x, y, (double)nas_tape_macs(tape) - outside.inside, model);
    }
    nas_tape_free(tape);
    return !nas_error_status() && !places->n
               ? nas__fail(NAS_UNSUPPORTED,
                           "latencies are measured of candidates of layer choices, and this space has none")
               : nas_error_status();
}

nas_status nas__profile_choose(nas__profile_places *places, const nas_architecture *a) {
    bool *reached = nas__reachable(a->space, a->bits);
    for (size_t i = 0; reached && i < places->n; i++) {
        nas__profile_place *place = &places->of[i];
        const nas__site *s = &a->space->sites[place->site];
        place->chosen = reached[a->space->n_choices + place->site] &&
                        (a->bits[s->choice] & nas__child_candidates(s->mutable_, place->child));
    }
    free(reached);
    return reached ? NAS_OK : nas_error_status();
}

void nas__profile_places_free(nas__profile_places *places) {
    for (size_t i = 0; i < places->n; i++) {
        free(places->of[i].path);
    }
    free(places->of);
    *places = (nas__profile_places){0};
}

/* --- what the table says of a space ---------------------------------------------------------------------- */
const char *nas__profile_missing(const nas__profile *p, const nas__profile_places *places, const nas_space *space,
                                 char *text, size_t size) {
    for (size_t i = 0; i < places->n; i++) {
        const nas__profile_place *place = &places->of[i];
        const nas__profile_entry *e = &p->entries[place->entry];
        if (e->n) {
            continue;
        }
        const nas__site *s = &space->sites[place->site];
        const nas_choice *c = &space->choices[s->choice].public_;
        uint64_t candidates = nas__child_candidates(s->mutable_, place->child);
        int used = snprintf(text, size, "\"%s\" of \"%s\", that is %s, on ", c->names[__builtin_ctzll(candidates)],
                            c->key, e->op);
        for (int d = 0; d < e->n_in && used > 0 && (size_t)used < size; d++) {
            used += snprintf(text + used, size - (size_t)used, "%s%lld", d ? "x" : "", (long long)e->in[d]);
        }
        return text;
    }
    if (!p->entries[places->rest].n) {
        snprintf(text, size, "what is around the choices of this network");
        return text;
    }
    return NULL;
}
