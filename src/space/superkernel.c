/* superkernel.c - an inverted residual whose candidates are parts of one set of weights (Single-Path NAS, Stamoulis et
 * al. 2019): a layer choice of small modules that compute a part of the block, or the block itself under thresholds. */
#include "space/space.h"

#include "nn/layers.h"
#include "tensor/tensor.h"

#include <stdio.h>
#include <string.h>

enum { EXPAND, EXPAND_BN, DEPTHWISE, DEPTHWISE_BN, PROJECT, PROJECT_BN }; /* layers of an inverted residual */
enum { PARTS = 4, SKIPPED = PARTS, MOST_CANDIDATES };                     /* 2*(large kernel) + expansion */

typedef struct superkernel superkernel;

/* A candidate of the choice: it owns nothing. */
typedef struct part {
    nas_module base;
    superkernel *block;
    int index;
} part;

struct superkernel {
    nas_module base;
    nas_superkernel_config config;
    nas_module *whole; /* the largest candidate, an inverted residual; once fixed the chosen one, or NULL */
    nas_module *choice;
    bool residual;
};

static nas_tensor *block_forward(nas_module *self, nas_tensor *x);
static nas_tensor *part_forward(nas_module *self, nas_tensor *x);

static bool is_large(int candidate) { return candidate & 1; }
static int kernel_of(const superkernel *b, int candidate) { return b->config.kernel - (candidate & 2 ? 0 : 2); }
static int width_of(const superkernel *b, int candidate) {
    return b->config.in * b->config.expansion / (is_large(candidate) ? 1 : 2);
}

/* The layers in a row, whose sum with x is the block. */
static nas_module *const *layers(const nas_module *inverted_residual) {
    size_t n;
    return nas__module_children(nas__module_children(inverted_residual, &n)[0], &n);
}

static nas_module *layer(const superkernel *b, int i) { return layers(b->whole)[i]; }

/* The only parameter of a convolution. */
static nas_tensor *weight(const superkernel *b, int i) { return layer(b, i)->state->parameters[0].tensor; }

static nas_module *candidate_new(const superkernel *b, int candidate) {
    const nas_superkernel_config *c = &b->config;
    return nas_mbconv(.in = c->in, .out = c->out, .kernel = kernel_of(b, candidate), .stride = c->stride,
                      .expansion = (double)width_of(b, candidate) / c->in, .always_expand = true,
                      .bn_momentum = c->momentum, .bn_eps = c->eps);
}

/* --- a path: one part of the weights -------------------------------------------------------------- */
/* The middle of the taps, along both sides. */
static nas_tensor *centre(nas_tensor *w, int kernel) {
    int64_t from = (nas_tensor_dim(w, 2) - kernel) / 2;
    return nas_slice(nas_slice(w, 2, from, kernel), 3, from, kernel);
}

static nas_tensor *depthwise(const superkernel *b, nas_tensor *y, nas_tensor *w, int width) {
    return nas_conv2d(y, w, NULL, (nas_conv_args){.stride = b->config.stride, .padding = NAS_SAME, .groups = width});
}

static nas_tensor *run_part(const superkernel *b, int candidate, nas_tensor *x) {
    int width = width_of(b, candidate), kernel = kernel_of(b, candidate);
    nas_tensor *y = nas_conv2d(x, nas_slice(weight(b, EXPAND), 0, 0, width), NULL, (nas_conv_args){0});
    y = nas__bn_first(layer(b, EXPAND_BN), y);
    y = depthwise(b, y, centre(nas_slice(weight(b, DEPTHWISE), 0, 0, width), kernel), width);
    y = nas__bn_first(layer(b, DEPTHWISE_BN), y);
    y = nas_conv2d(y, nas_slice(weight(b, PROJECT), 1, 0, width), NULL, (nas_conv_args){0});
    return nas_forward(layer(b, PROJECT_BN), y);
}

static nas_tensor *with_shortcut(const superkernel *b, nas_tensor *x, nas_tensor *y) {
    return b->residual ? nas_add(x, y) : y;
}

static nas_tensor *part_forward(nas_module *self, nas_tensor *x) {
    const part *p = (part *)self;
    return p->index == SKIPPED ? x : with_shortcut(p->block, x, run_part(p->block, p->index, x));
}

/* --- under thresholds: masked weights ------------------------------------------------------------- */
static nas_superkernel_args arguments(const superkernel *b, const nas_thresholds *t) {
    return (nas_superkernel_args){
        .mean_norm = t->mean_norm, .relaxed = t->relaxed, .no_skip = !b->residual, .factors = t->factors};
}

/* The unchosen channels would reach the sum as the constants that their batch norms give; so, where a mask is asked
 * for behind them, the projection ignores these channels, and the shortcut's weighting ignores the block. */
static nas_tensor *run_masked(const superkernel *b, const nas_mutable *m, nas_tensor *x) {
    const nas_thresholds *t = m->decision->thresholds;
    const nas_superkernel_args args = arguments(b, t);
    nas_superkernel_parts parts;
    if (!nas_superkernel(weight(b, DEPTHWISE), weight(b, PROJECT), t->values, &args, &parts)) {
        return NULL;
    }
    m->space->choices[m->space->sites[m->site].choice].indicators = parts.indicators;
    nas_tensor *y = nas_forward(layer(b, EXPAND_BN), nas_forward(layer(b, EXPAND), x));
    y = depthwise(b, y, parts.depthwise, width_of(b, PARTS - 1));
    y = nas_forward(layer(b, DEPTHWISE_BN), y);
    y = nas_conv2d(y, t->mask_early ? weight(b, PROJECT) : parts.project, NULL, (nas_conv_args){0});
    y = nas_forward(layer(b, PROJECT_BN), y);
    return b->residual && !t->mask_early ? nas_weighted_sum(parts.gate, 2, (nas_tensor *[]){x, y})
                                         : with_shortcut(b, x, y);
}

static nas_tensor *block_forward(nas_module *self, nas_tensor *x) {
    const superkernel *b = (superkernel *)self;
    if (!b->choice) { /* fixed */
        return b->whole ? nas_forward(b->whole, x) : x;
    }
    const nas_mutable *m = nas__layer_mutable(b->choice);
    return m->decision->thresholds ? run_masked(b, m, x) : nas_forward(b->choice, x);
}

/* --- fixing ---------------------------------------------------------------------------------------- */
/* Of a tensor (a, b, k, k) or (a) the first of a and of b and the middle of the taps. */
static void copy_part(nas_tensor *to, const nas_tensor *from) {
    int64_t d[4] = {1, 1, 1, 1}, s[4] = {1, 1, 1, 1};
    memcpy(d, to->dims, (size_t)to->ndim * sizeof *d);
    memcpy(s, from->dims, (size_t)from->ndim * sizeof *s);
    int64_t y0 = (s[2] - d[2]) / 2, x0 = (s[3] - d[3]) / 2;
    for (int64_t i = 0; i < d[0] * d[1] * d[2]; i++) {
        int64_t a = i / d[2] / d[1], b = i / d[2] % d[1], y = i % d[2];
        memcpy(to->data + i * d[3], from->data + ((a * s[1] + b) * s[2] + y + y0) * s[3] + x0,
               (size_t)d[3] * sizeof(float));
    }
}

static void copy_values(const nas_module *to, const nas_module *from) {
    for (int i = EXPAND; i <= PROJECT_BN; i++) {
        const nas_module_state *copy = layers(to)[i]->state, *original = layers(from)[i]->state;
        for (size_t k = 0; k < copy->n_parameters; k++) {
            copy_part(copy->parameters[k].tensor, original->parameters[k].tensor);
        }
    }
}

/* The candidate alone in the place of the largest one; values are taken over when there are any. */
static void shrink(superkernel *b, int candidate) {
    nas_module *old = b->whole;
    bool has_values = nas__module_root(&b->base)->state->initialised;
    nas__module_detach(old);
    b->whole = nas_child(b, "block", candidate_new(b, candidate));
    if (b->whole && has_values && !nas__initialise_once(b->whole)) {
        copy_values(b->whole, old);
    }
    nas_module_free(old);
}

static void block_fixed(nas_module *self) {
    superkernel *b = (superkernel *)self;
    int chosen = nas__chosen_candidate(b->choice);
    if (chosen < 0 || chosen == SKIPPED) {
        nas_module_free(b->whole);
        b->whole = NULL;
    } else if (chosen != PARTS - 1) {
        shrink(b, chosen);
    }
    nas_module_free(b->choice);
    b->choice = NULL;
}

/* --- making ---------------------------------------------------------------------------------------- */
static bool config_fits(const char *key, const nas_superkernel_config *c) {
    if (!key || c->in < 1 || c->out < 1 || c->stride < 1 || c->kernel < 5 || c->kernel % 2 == 0 || c->kernel > 15 ||
        c->expansion < 2 || c->expansion % 2) {
        return nas__fail_null(NAS_INVALID,
                              "superkernel \"%s\": .in %d and .out %d must be positive, .kernel %d odd and 5 to 15, "
                              ".expansion %d even, and there must be a key",
                              key ? key : "(no key)", c->in, c->out, c->kernel, c->expansion);
    }
    return true;
}

static nas_module *part_new(superkernel *b, int index) {
    part *p = nas_module_alloc(sizeof *p, part_forward, "superkernel part");
    if (p) {
        p->block = b;
        p->index = index;
    }
    return (nas_module *)p;
}

static nas_module *choice_new(superkernel *b, const char *key) {
    nas_candidate candidates[MOST_CANDIDATES];
    char names[PARTS][32];
    for (int i = 0; i < PARTS; i++) {
        snprintf(names[i], sizeof *names, "k%de%d", kernel_of(b, i), b->config.expansion / (is_large(i) ? 1 : 2));
        candidates[i] = (nas_candidate){names[i], part_new(b, i)};
    }
    candidates[SKIPPED] = (nas_candidate){"skip", b->residual ? part_new(b, SKIPPED) : NULL};
    nas_module *choice = nas_layer_choice_new(&b->base, key, b->residual ? MOST_CANDIDATES : PARTS, candidates);
    if (choice) {
        nas__layer_mutable(choice)->superkernel = true;
    }
    return choice;
}

nas_module *nas_superkernel_block_new(const char *key, const nas_superkernel_config *config) {
    nas_superkernel_config c = *config;
    c.stride = c.stride ? c.stride : 1;
    c.kernel = c.kernel ? c.kernel : 5;
    c.expansion = c.expansion ? c.expansion : 6;
    c.eps = c.eps > 0 ? c.eps : 1e-3f;
    superkernel *b = config_fits(key, &c) ? nas_module_alloc(sizeof *b, block_forward, "superkernel") : NULL;
    if (!b) {
        return NULL;
    }
    b->base.fixed = block_fixed;
    b->config = c;
    b->residual = c.stride == 1 && c.in == c.out;
    b->whole = nas_child(b, "block", candidate_new(b, PARTS - 1));
    b->choice = b->whole ? nas_child(b, "choice", choice_new(b, key)) : NULL;
    return nas__module_complete(b, b->choice != NULL);
}

/* --- what spaces and strategies ask ------------------------------------------------------------------ */
static int64_t part_parameters(const part *p) {
    const superkernel *b = p->block;
    int64_t width = width_of(b, p->index), kernel = kernel_of(b, p->index);
    return p->index == SKIPPED
               ? 0
               : width * (b->config.in + kernel * kernel + b->config.out) + 2 * (2 * width + b->config.out);
}

int64_t nas__superkernel_parameters(const nas_module *module) {
    if (module->forward == part_forward) {
        return part_parameters((const part *)module);
    }
    const nas_module *parent = module->state->parent;
    const superkernel *b = parent && parent->forward == block_forward ? (const superkernel *)parent : NULL;
    return b && b->choice && module == b->whole ? 0 : -1;
}

static const superkernel *block_of(const nas_space *space, int choice) {
    const superkernel *found = NULL;
    for (int i = 0; !found && i < space->n_sites; i++) {
        const nas_mutable *m = space->sites[i].choice == choice ? space->sites[i].mutable_ : NULL;
        found = m && m->superkernel ? (const superkernel *)m->owner->state->parent : NULL;
    }
    return found ? found : nas__fail_null(NAS_INVALID, "choice %d is no superkernel", choice);
}

nas_tensor *nas_indicators(const nas_space *space, int choice) {
    nas_tensor *t = choice >= 0 && choice < space->n_choices ? space->choices[choice].indicators : NULL;
    return t ? t : nas__fail_null(NAS_USAGE, "nas_indicators: choice %d had no pass under thresholds", choice);
}

int nas_superkernel_candidate(const nas_choice *choice, bool large_kernel, bool large_expansion, bool stays) {
    return choice->n > PARTS && !stays ? SKIPPED : 2 * large_kernel + large_expansion;
}

nas_status nas_margins(const nas_space *space, int choice, const nas_thresholds *thresholds, double margins[3],
                       int *candidate) {
    const superkernel *b = block_of(space, choice);
    if (!b) {
        return nas_error_status();
    }
    const nas_superkernel_args args = arguments(b, thresholds);
    nas_status status = nas_superkernel_margins(weight(b, DEPTHWISE), thresholds->values, &args, margins);
    if (!status && candidate) {
        *candidate =
            nas_superkernel_candidate(&space->choices[choice].public_, margins[NAS_SUPERKERNEL_KERNEL] >= 0,
                                      margins[NAS_SUPERKERNEL_EXPANSION] >= 0, margins[NAS_SUPERKERNEL_SKIP] >= 0);
    }
    return status;
}
