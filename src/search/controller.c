/* controller.c - parameters of the controller, their updates, and what it tells about itself. */
#include "search/controller.h"
#include "core/error.h"
#include "core/memory.h"
#include "io/state.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PURPOSE_INIT = 0xe0a5 };

/* --- parameters ----------------------------------------------------------------------------------- */
/* U(-0.1, 0.1), as the authors have it. */
static void fill(nas_tensor *t, uint64_t seed, size_t index) {
    int64_t n = nas_tensor_count(t);
    float *values = nas__alloc((size_t)n * sizeof *values);
    nas_rng rng = nas_rng_new(seed, (uint64_t)PURPOSE_INIT << 32 | index);
    for (int64_t i = 0; values && i < n; i++) {
        values[i] = (float)(0.2 * nas_rng_uniform(&rng) - 0.1);
    }
    if (values) {
        nas_tensor_write(t, values);
    }
    free(values);
}

NAS_PRINTF(4, 5) static nas_tensor *add(nas__controller *c, int64_t rows, int64_t columns, const char *format, ...) {
    nas_tensor *t = nas_variable(2, (int64_t[]){rows, columns}, NAS_ROLE_ARCH);
    if (!t) {
        return NULL;
    }
    va_list args;
    va_start(args, format);
    vsnprintf(c->names[c->n_tensors], sizeof *c->names, format, args);
    va_end(args);
    fill(t, c->config.seed, c->n_tensors);
    return c->tensors[c->n_tensors++] = t;
}

/* The authors' (10, 10, 0, 0, 0) for two convolutions, two poolings and the identity. */
static nas_tensor *add_bias(nas__controller *c, const nas_choice *choice, int index) {
    nas_tensor *bias = add(c, 1, choice->n, "bias.%d", index);
    float values[NAS_MAX_CANDIDATES];
    for (int k = 0; k < choice->n; k++) {
        values[k] = strstr(choice->names[k], "conv") ? (float)c->config.op_bias : 0;
    }
    return bias && !nas_tensor_write(bias, values) ? bias : NULL;
}

static nas_status create_parameters(nas__controller *c) {
    enum { SHARED = 5 };
    int64_t h = c->config.hidden;
    size_t most = SHARED + 3 * (size_t)c->n_vocabularies;
    c->tensors = nas__alloc(most * sizeof *c->tensors);
    c->names = nas__alloc(most * sizeof *c->names);
    if (!c->tensors || !c->names) {
        return nas_error_status();
    }
    bool looks = false;
    c->lstm = add(c, 4 * h, 2 * h, "lstm");
    c->start = add(c, 1, h, "start");
    for (int i = 0; i < c->n_vocabularies; i++) {
        const nas_choice *choice = nas_space_choice(c->space, c->vocabularies[i].choice);
        bool inputs = choice->kind == NAS_INPUT;
        nas__vocabulary *v = &c->vocabularies[i];
        v->embedding = inputs && !v->learned ? NULL : add(c, choice->n, h, "embedding.%d", i);
        v->output = inputs ? NULL : add(c, choice->n, h, "output.%d", i);
        v->bias = inputs || c->config.op_bias == 0 ? NULL : add_bias(c, choice, i);
        looks |= inputs;
    }
    if (looks) {
        c->of_anchor = add(c, h, h, "attention.anchor");
        c->of_state = add(c, h, h, "attention.state");
        c->attention = add(c, 1, h, "attention.output");
    }
    return nas_error_status();
}

static nas_status create(nas__controller *c) {
    size_t n = (size_t)nas_space_size(c->space);
    nas_status status = nas__controller_plan(c);
    status = status ? status : create_parameters(c);
    c->tape = nas_tape_new();
    c->marginals = nas__alloc(n * NAS_MAX_CANDIDATES * sizeof *c->marginals);
    c->reached = nas__alloc(n * sizeof *c->reached);
    c->optimizer = nas_adam(.lr = c->config.lr, .beta1 = NAS_NONE, .beta2 = 0.999, .eps = 1e-3);
    status = status ? status : nas_error_status();
    return status ? status : nas_optimizer_bind(c->optimizer, c->n_tensors, c->tensors);
}

nas__controller *nas__controller_new(const nas_space *space, const nas__controller_config *config) {
    nas__controller *c = nas__alloc(sizeof *c);
    if (!c) {
        return NULL;
    }
    c->space = space;
    c->config = *config;
    if (create(c)) {
        nas__controller_free(c);
        return NULL;
    }
    return c;
}

void nas__controller_free(nas__controller *c) {
    if (!c) {
        return;
    }
    for (size_t i = 0; i < c->n_tensors; i++) {
        nas_tensor_free(c->tensors[i]);
    }
    for (int i = 0; i < c->n_visits; i++) {
        free(c->visits[i].anchors);
    }
    nas_optimizer_free(c->optimizer);
    nas_tape_free(c->tape);
    free(c->tensors);
    free(c->names);
    free(c->visits);
    free(c->vocabularies);
    free(c->marginals);
    free(c->reached);
    free(c);
}

nas_status nas__controller_step(nas__controller *c) {
    return nas_optimizer_step(c->optimizer, nas_optimizer_lr(c->optimizer), 0);
}

void nas__controller_state(nas__controller *c, nas_state *state) {
    for (size_t i = 0; i < c->n_tensors; i++) {
        char name[64];
        snprintf(name, sizeof name, "controller.%s", c->names[i]);
        nas_state_tensor(state, name, c->tensors[i]);
    }
    nas_state_optimizer(state, "controller_optimizer.", c->optimizer);
}

/* --- samples -------------------------------------------------------------------------------------- */
nas_status nas__sample_new(nas__sample *sample, const nas__controller *c) {
    size_t most = (size_t)c->most_tokens;
    *sample = (nas__sample){.architecture = nas_architecture_new(c->space),
                            .tokens = nas__alloc(2 * most * sizeof *sample->tokens)};
    sample->arity = sample->tokens ? sample->tokens + most : NULL;
    return sample->architecture && sample->tokens ? NAS_OK : nas_error_status();
}

void nas__sample_free(nas__sample *sample) {
    nas_architecture_free(sample->architecture);
    free(sample->tokens);
    *sample = (nas__sample){0};
}

/* --- marginals ------------------------------------------------------------------------------------ */
void nas__controller_marginal(const nas__controller *c, int choice, double *p) {
    const nas_choice *description = nas_space_choice(c->space, choice);
    double share = (description->n_min + description->n_max) / (2.0 * description->n);
    for (int k = 0; k < description->n; k++) {
        p[k] = c->reached[choice] ? c->marginals[choice * NAS_MAX_CANDIDATES + k] / (double)c->reached[choice] : share;
    }
}

void nas__controller_forget(nas__controller *c) {
    size_t n = (size_t)nas_space_size(c->space);
    memset(c->marginals, 0, n * NAS_MAX_CANDIDATES * sizeof *c->marginals);
    memset(c->reached, 0, n * sizeof *c->reached);
}

/* --- baseline ------------------------------------------------------------------------------------- */
double nas__baseline_advantage(nas__baseline *b, double decay, double reward) {
    b->value = b->rewards++ ? b->value - (1 - decay) * (b->value - reward) : reward;
    return reward - b->value;
}
