/* smash_sample.c - see smash.h: which architectures are trained and ranked. */
#include "search/smash.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct sampler {
    nas_architecture *a;
    nas_rng *rng;
    const nas__smash_options *o;
    int bank, filled; /* units of a bank; banks that hold something so far */
    double grown;     /* 0..1 */
} sampler;

static int below(const sampler *s, int n) { return (int)nas_rng_below(s->rng, (uint32_t)n); }

static void set(const sampler *s, const char *prefix, const char *name, uint64_t bits) {
    char key[64];
    snprintf(key, sizeof key, "%s/%s", prefix, name);
    s->a->bits[nas_space_find(s->a->space, key)] = bits;
}

static int weighted(const sampler *s, int n, const double *weights) {
    double sum = 0;
    for (int i = 0; i < n; i++) {
        sum += weights[i];
    }
    double u = nas_rng_uniform(s->rng) * sum;
    int i = 0;
    for (; i < n - 1 && u >= weights[i]; i++) {
        u -= weights[i];
    }
    return i;
}

/* m different ones of n. */
static uint64_t subset(const sampler *s, int n, int m) {
    uint64_t bits = 0;
    while (nas__bit_count(bits) < m) {
        bits |= (uint64_t)1 << below(s, n);
    }
    return bits;
}

/* Few writes are exponentially more likely. */
static int draw_writes(const sampler *s, int most) {
    double weights[NAS__SMASH_BANKS];
    for (int i = 0; i < most; i++) {
        weights[i] = ldexp(1, -i);
    }
    return 1 + weighted(s, most, weights);
}

/* The nearer to what is read, the likelier; in banks. */
static int draw_slices(const sampler *s, int reads) {
    double weights[NAS__SMASH_BANKS];
    const int most = s->o->units / s->bank;
    for (int i = 0; i < most; i++) {
        weights[i] = 1 / (0.01 + 10 * s->bank * abs(i + 1 - reads));
    }
    return 1 + weighted(s, most, weights);
}

static void draw_op(sampler *s, const char *prefix) {
    const int reads = 1 + below(s, s->filled), slices = draw_slices(s, reads);
    const int most = slices < s->o->banks ? slices : s->o->banks, writes = draw_writes(s, most);
    const int reach = s->filled + writes < s->o->banks ? s->filled + writes : s->o->banks;
    const uint64_t targets = nas__smash_fold_writes(subset(s, reach, writes), s->filled);
    const int kernels = 1 + (int)(s->grown * (s->o->kernel - 3) / 2 + 1e-9), kernel = 3 + 2 * below(s, kernels);
    const int dilations = nas__smash_most_dilation(kernel);
    set(s, prefix, "read", subset(s, s->filled, reads));
    set(s, prefix, "units", (uint64_t)1 << (slices * s->bank - 1));
    set(s, prefix, "write", targets);
    set(s, prefix, "kernel", (uint64_t)1 << (kernel - 3) / 2);
    set(s, prefix, "dilation", (uint64_t)1 << below(s, dilations < s->o->dilation ? dilations : s->o->dilation));
    set(s, prefix, "groups", (uint64_t)1 << below(s, 1 + __builtin_ctz((unsigned)s->o->groups)));
    const int last = 63 - __builtin_clzll(targets);
    s->filled = last < s->filled ? s->filled : last + 1;
}

static void draw_block(sampler *s, const nas__smash_block *block) {
    char prefix[32];
    snprintf(prefix, sizeof prefix, "block_%d", block->index + 1);
    const int bank = below(s, block->bank->n), most = (int)ceil(s->o->ops * (1 + s->grown) / 2);
    s->bank = (int)block->bank->values[bank];
    s->filled = s->o->units / s->bank;
    set(s, prefix, "bank", (uint64_t)1 << bank);
    set(s, prefix, "ops", (uint64_t)1 << below(s, most));
    for (int i = 0; i < s->o->ops; i++) {
        snprintf(prefix, sizeof prefix, "block_%d/op_%d", block->index + 1, i + 1);
        draw_op(s, prefix);
    }
}

void nas__smash_sample(nas_architecture *a, nas_rng *rng, double progress) {
    const nas__smash *net = nas__smash_of(a->space);
    sampler s = {.a = a, .rng = rng, .o = &net->options, .grown = fmin(1, 2 * progress)};
    for (int b = 0; b < net->options.blocks; b++) {
        draw_block(&s, net->blocks[b]);
    }
}

void nas__smash_perturb(nas_architecture *a, nas_rng *rng, double probability) {
    nas_architecture *fresh = nas_architecture_copy(a);
    if (!fresh) {
        return;
    }
    nas__smash_sample(fresh, rng, 1);
    for (int i = 0; i < a->space->n_choices; i++) {
        a->bits[i] = nas_rng_uniform(rng) < probability ? fresh->bits[i] : a->bits[i];
    }
    nas_architecture_free(fresh);
}
