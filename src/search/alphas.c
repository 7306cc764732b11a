/* alphas.c - see alphas.h */
#include "search/alphas.h"
#include "core/error.h"
#include "core/hash.h"
#include "core/memory.h"
#include "io/state.h"
#include "nn/optim.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PURPOSE_INIT = 0xa1fa };

static void draw_logits(nas_tensor *t, const nas_search *s, const nas_choice *choice, double deviation, uint64_t time) {
    float values[NAS_MAX_CANDIDATES];
    nas_rng rng = nas_rng_new(s->config->seed, nas__hash_text(choice->key) ^ PURPOSE_INIT ^ time << 32);
    for (int k = 0; k < choice->n; k++) {
        values[k] = (float)(deviation * nas_rng_normal(&rng));
    }
    nas_tensor_write(t, values);
}

static nas_tensor *new_logits(const nas_search *s, const nas_choice *choice, double deviation) {
    nas_tensor *t = nas_variable(1, (int64_t[]){choice->n}, NAS_ROLE_ARCH);
    if (t) {
        draw_logits(t, s, choice, deviation, 0);
    }
    return t;
}

static nas_status create_logits(nas__alphas *a, nas_search *s, const nas__alphas_config *config) {
    for (int i = 0; i < a->n; i++) {
        const nas_choice *choice = nas_space_choice(s->space, i);
        for (int k = 0; choice->edges && k < choice->n; k++) {
            if (choice->edges[k] >= 0) {
                a->behind_input[choice->edges[k]] = true;
            }
        }
        a->allowed[i] = choice->n >= 64 ? ~(uint64_t)0 : ((uint64_t)1 << choice->n) - 1;
        if (!choice->edges || config->edge_weights) {
            a->of_choice[i] = new_logits(s, choice, config->deviation);
        }
    }
    return nas_error_status();
}

static nas_status bind_optimizer(nas__alphas *a, const nas__alphas_config *c) {
    nas_tensor **list = nas__alloc((size_t)a->n * sizeof *list);
    size_t n = 0;
    for (int i = 0; list && i < a->n; i++) {
        if (a->of_choice[i]) {
            list[n++] = a->of_choice[i];
        }
    }
    a->optimizer = nas_adam(.lr = c->lr, .beta1 = c->beta1 > 0 ? c->beta1 : NAS_NONE, .beta2 = c->beta2,
                            .weight_decay = c->weight_decay);
    nas_status status = list && a->optimizer ? nas_optimizer_bind(a->optimizer, n, list) : nas_error_status();
    free(list);
    return status;
}

nas_status nas__alphas_accept(const nas_space *space, const char *strategy) {
    for (int i = 0; i < nas_space_size(space); i++) {
        const nas_choice *choice = nas_space_choice(space, i);
        if (choice->kind == NAS_VALUE) {
            return nas__fail(NAS_UNSUPPORTED,
                             "%s mixes outputs of candidates and cannot mix the numbers of the value choice \"%s\"; "
                             "use a strategy that samples (enas)",
                             strategy, choice->key);
        }
        if (choice->kind == NAS_INPUT && choice->reduce == NAS_CONCAT && choice->n_max > 1) {
            return nas__fail(NAS_UNSUPPORTED,
                             "%s weights outputs of candidates and cannot weight the concatenated inputs of choice "
                             "\"%s\"; use a strategy that samples (enas)",
                             strategy, choice->key);
        }
        if (choice->superkernel) {
            return nas__fail(NAS_UNSUPPORTED,
                             "%s mixes outputs of candidates, but those of \"%s\" are parts of one superkernel, which "
                             "would be mixed with themselves; use single-path, whose thresholds decide superkernels, "
                             "or a strategy that samples (enas)",
                             strategy, choice->key);
        }
    }
    return NAS_OK;
}

nas_status nas__alphas_new(nas__alphas *a, nas_search *s, const nas__alphas_config *config) {
    a->n = nas_space_size(s->space);
    a->of_choice = nas__alloc((size_t)a->n * sizeof *a->of_choice);
    a->behind_input = nas__alloc((size_t)a->n * sizeof *a->behind_input);
    a->allowed = nas__alloc((size_t)a->n * sizeof *a->allowed);
    a->barred = nas__alloc((size_t)a->n * sizeof *a->barred);
    nas_status status =
        a->of_choice && a->behind_input && a->allowed && a->barred ? create_logits(a, s, config) : nas_error_status();
    return status ? status : bind_optimizer(a, config);
}

void nas__alphas_free(nas__alphas *a) {
    for (int i = 0; a->of_choice && i < a->n; i++) {
        nas_tensor_free(a->of_choice[i]);
    }
    nas_optimizer_free(a->optimizer);
    free(a->of_choice);
    free(a->behind_input);
    free(a->allowed);
    free(a->barred);
    *a = (nas__alphas){0};
}

void nas__alphas_state(nas__alphas *a, nas_search *s, nas_state *state) {
    for (int i = 0; i < a->n; i++) {
        if (a->of_choice[i]) {
            char name[256];
            snprintf(name, sizeof name, "alpha.%s", nas_space_choice(s->space, i)->key);
            nas_state_tensor(state, name, a->of_choice[i]);
        }
    }
    nas_state_optimizer(state, "alpha_optimizer.", a->optimizer);
}

nas_status nas__alphas_step(nas__alphas *a) {
    return nas_optimizer_step(a->optimizer, nas_optimizer_lr(a->optimizer), 0);
}

void nas__alphas_restart(nas__alphas *a, const nas_search *s, double deviation, uint64_t time) {
    for (int i = 0; i < a->n; i++) {
        if (a->of_choice[i]) {
            draw_logits(a->of_choice[i], s, nas_space_choice(s->space, i), deviation, time);
        }
    }
    nas__optimizer_forget(a->optimizer);
}

bool nas__alphas_softmax(const nas__alphas *a, const nas_search *s, int choice, double *p) {
    float logits[NAS_MAX_CANDIDATES];
    int n = nas_space_choice(s->space, choice)->n;
    if (!a->of_choice[choice] || nas_tensor_read(a->of_choice[choice], logits)) {
        return false;
    }
    uint64_t allowed = a->allowed[choice];
    double max = -HUGE_VAL, sum = 0;
    for (int k = 0; k < n; k++) {
        max = allowed >> k & 1 ? fmax(max, logits[k]) : max;
    }
    for (int k = 0; k < n; k++) {
        sum += p[k] = allowed >> k & 1 ? exp(logits[k] - max) : 0;
    }
    for (int k = 0; k < n; k++) {
        p[k] /= sum;
    }
    return true;
}

bool nas__alphas_strengths(const nas__alphas *a, const nas_search *s, int choice, double *p) {
    const nas_choice *c = nas_space_choice(s->space, choice);
    if (!a->sigmoid || c->edges) {
        return nas__alphas_softmax(a, s, choice, p);
    }
    float logits[NAS_MAX_CANDIDATES];
    if (!a->of_choice[choice] || nas_tensor_read(a->of_choice[choice], logits)) {
        return false;
    }
    for (int k = 0; k < c->n; k++) {
        p[k] = a->allowed[choice] >> k & 1 ? 1 / (1 + exp(-logits[k])) : 0;
    }
    return true;
}

/* --- the discrete architecture ------------------------------------------------------------------- */
bool nas__alphas_may_derive(const nas__alphas *a, const nas_choice *choice, int index, int k, nas__none_rule rule) {
    bool excluded = rule == NAS__NONE_EXCLUDE || (rule == NAS__NONE_AUTO && a->behind_input[index]);
    bool in = (a->allowed[index] & ~a->barred[index]) >> k & 1;
    return in && (!excluded || strcmp(choice->names[k], "none") != 0);
}

/* The strongest candidate that counts, and its probability. */
static int strongest(const nas__alphas *a, const nas_search *s, int index, nas__none_rule rule, double *strength) {
    const nas_choice *choice = nas_space_choice(s->space, index);
    double p[NAS_MAX_CANDIDATES];
    int best = -1;
    nas__alphas_strengths(a, s, index, p);
    for (int k = 0; k < choice->n; k++) {
        if (nas__alphas_may_derive(a, choice, index, k, rule) && (best < 0 || p[k] > p[best])) {
            best = k;
        }
    }
    *strength = best < 0 ? 0 : p[best];
    return best < 0 ? 0 : best;
}

/* What a layer choice becomes. */
static int derive_layer(const nas__alphas *a, const nas_search *s, int index, nas__none_rule rule) {
    const nas_choice *choice = nas_space_choice(s->space, index);
    double strength;
    int best = strongest(a, s, index, rule, &strength);
    for (int k = 0; strength < a->threshold && k < choice->n; k++) {
        best = strcmp(choice->names[k], "none") == 0 ? k : best;
    }
    return best;
}

/* The `n` largest strengths of a set, as a set; the lower index wins ties. */
static uint64_t largest(const double *strength, int candidates, uint64_t of, int n) {
    uint64_t set = 0;
    for (int taken = 0; taken < n; taken++) {
        int best = -1;
        for (int k = 0; k < candidates; k++) {
            if ((of & ~set) >> k & 1 && (best < 0 || strength[k] > strength[best])) {
                best = k;
            }
        }
        set |= (uint64_t)1 << best;
    }
    return set;
}

static uint64_t derive_inputs(const nas__alphas *a, const nas_search *s, int index, nas__none_rule rule) {
    const nas_choice *choice = nas_space_choice(s->space, index);
    double strength[NAS_MAX_CANDIDATES], weight[NAS_MAX_CANDIDATES];
    int n = choice->n_max;
    if (choice->edges) {
        bool weighted = nas__alphas_softmax(a, s, index, weight);
        for (int k = 0; k < choice->n; k++) {
            strength[k] = 0;
            if (choice->edges[k] >= 0) {
                strongest(a, s, choice->edges[k], rule == NAS__NONE_INCLUDE ? rule : NAS__NONE_EXCLUDE, &strength[k]);
                strength[k] *= weighted ? weight[k] : 1;
            }
        }
    } else {
        /* A free number of inputs: as many as carry at least their even share. */
        nas__alphas_strengths(a, s, index, strength);
        n = 0;
        for (int k = 0; k < choice->n; k++) {
            n += strength[k] >= 1.0 / choice->n;
        }
        n = n < choice->n_min ? choice->n_min : n > choice->n_max ? choice->n_max : n;
    }
    return largest(strength, choice->n, a->allowed[index], n);
}

nas_status nas__alphas_derive(const nas__alphas *a, const nas_search *s, nas__none_rule rule, nas_architecture *out) {
    nas_status status = NAS_OK;
    for (int i = 0; !status && i < a->n; i++) {
        bool layer = nas_space_choice(s->space, i)->kind == NAS_LAYER;
        status = nas_architecture_set(
            out, i, layer ? (uint64_t)1 << derive_layer(a, s, i, rule) : derive_inputs(a, s, i, rule));
    }
    return status;
}
