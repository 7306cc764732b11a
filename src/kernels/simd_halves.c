/* simd_halves.c - the even and the odd channels of several tensors that lie behind one another, as ShuffleNetV2 parts
 * them, and their gradients back. Two blocks of channels are a block of each half, so all that happens happens in
 * registers; values are finished on load, and gradients leave with what the norm behind them asks for (late.h). */
#include "kernels/scratch.h"
#include "kernels/simd_functions.h"
#include "kernels/simd_late.h"
#include "kernels/simd_sums.h"

/* Pixels summed in f32 before they are folded into double. */
enum { STRETCH = 64 };

#if BLOCK == 16
#define EVENS ((ivec){0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30})
#define LOWER ((ivec){0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23})
#else
#define EVENS ((ivec){0, 2, 4, 6, 8, 10, 12, 14})
#define LOWER ((ivec){0, 8, 1, 9, 2, 10, 3, 11})
#endif
#define ODDS  (EVENS + 1)
#define UPPER (LOWER + BLOCK / 2)

static int all_blocks(const nas__halves *s) {
    int sum = 0;
    for (int i = 0; i < s->parts; i++) {
        sum += s->blocks[i];
    }
    return sum;
}

/* Where block `block` of all parts lies. */
typedef struct place {
    int part, block; /* of the part */
} place;

static place place_of(const nas__halves *s, int block) {
    int part = 0;
    while (block >= s->blocks[part]) {
        block -= s->blocks[part++];
    }
    return (place){part, block};
}

static size_t floats_before(const nas__halves *s, place p, int image) {
    return ((size_t)image * s->blocks[p.part] + p.block) * s->hw * BLOCK;
}

/* --- forward -------------------------------------------------------------------------------------- */
typedef struct source {
    const float *x; /* NULL: there is no such block, which reads as zeros */
    nas__load_block load;
    vec floor; /* of a ReLU; none: -infinity */
} source;

static source source_of(const nas__halves *s, const float *const *x, const nas__on_load *load, int image, int block) {
    if (block >= all_blocks(s)) {
        return (source){0};
    }
    const place p = place_of(s, block);
    return (source){x[p.part] + floats_before(s, p, image), load_block(&load[p.part], p.block),
                    vset1(load[p.part].relu ? 0 : -INFINITY)};
}

NAS_INLINE vec read_value(const source *s, int pixel) {
    const vec v = vfma(s->load.scale, vload(s->x + (size_t)pixel * BLOCK), s->load.shift);
    return vmin(s->load.cap, vmax(s->floor, v));
}

void NAS_SIMD(nas__halves_forward)(const nas__halves *s, const float *const *x, const nas__on_load *load, float *even,
                                   float *odd) {
    const int pairs = (all_blocks(s) + 1) / 2;
#pragma omp parallel for schedule(static) if ((size_t)s->n * pairs * s->hw * 2 * BLOCK >= SERIAL_BELOW)
    for (int task = 0; task < s->n * pairs; task++) {
        const source first = source_of(s, x, load, task / pairs, task % pairs * 2),
                     second = source_of(s, x, load, task / pairs, task % pairs * 2 + 1);
        const size_t at = (size_t)task * s->hw * BLOCK;
#pragma GCC unroll 2
        for (int i = 0; i < s->hw; i++) {
            const vec a = read_value(&first, i), b = second.x ? read_value(&second, i) : vzero();
            vstore(even + at + (size_t)i * BLOCK, __builtin_shuffle(a, b, EVENS));
            vstore(odd + at + (size_t)i * BLOCK, __builtin_shuffle(a, b, ODDS));
        }
    }
}

/* --- backward ------------------------------------------------------------------------------------- */
typedef struct sink {
    const float *x; /* NULL: neither masked nor summed */
    float *dx;      /* NULL: not wanted */
    nas__load_block load;
    bool accumulate, masked;
    pair *total; /* of dh and of dh*x; NULL: not wanted */
} sink;

NAS_INLINE void write_gradient(const sink *s, const float *even, const float *odd, size_t at, int from, int to,
                               const ivec lanes) {
    vec sum = vzero(), product = vzero();
    for (int i = from; i < to; i++) {
        const size_t pixel = (size_t)i * BLOCK;
        vec g = __builtin_shuffle(even ? vload(even + at + pixel) : vzero(), odd ? vload(odd + at + pixel) : vzero(),
                                  lanes);
        const vec value = s->x ? vload(s->x + pixel) : vzero();
        g = s->masked ? mask_gradient(&s->load, value, g, true) : g;
        vstore(s->dx + pixel, s->accumulate ? vload(s->dx + pixel) + g : g);
        sum += g;
        product = vfma(g, value, product);
    }
    if (s->total) {
        fold(s->total->first, sum);
        fold(s->total->second, product);
    }
}

static sink sink_of(const nas__halves *s, const nas__halves_grads *g, int image, int block, pair *totals) {
    if (block >= all_blocks(s)) {
        return (sink){0};
    }
    const place p = place_of(s, block);
    const bool masked = g->load[p.part].relu, summed = g->in_sums[p.part];
    const size_t at = floats_before(s, p, image);
    return (sink){masked || summed ? g->x[p.part] + at : NULL,
                  g->dx[p.part] ? g->dx[p.part] + at : NULL,
                  load_block(&g->load[p.part], p.block),
                  g->accumulate[p.part],
                  masked,
                  summed ? totals + block : NULL};
}

/* Both blocks from the same stretch of the halves, which is read from memory once. */
static void image_backward(const nas__halves *s, const nas__halves_grads *g, int image, int k, pair *totals) {
    const size_t at = ((size_t)image * ((all_blocks(s) + 1) / 2) + k) * s->hw * BLOCK;
    const sink first = sink_of(s, g, image, 2 * k, totals), second = sink_of(s, g, image, 2 * k + 1, totals);
    for (int from = 0; from < s->hw; from += STRETCH) {
        const int to = s->hw - from < STRETCH ? s->hw : from + STRETCH;
        if (first.dx) {
            write_gradient(&first, g->even, g->odd, at, from, to, LOWER);
        }
        if (second.dx) {
            write_gradient(&second, g->even, g->odd, at, from, to, UPPER);
        }
    }
}

static void write_sums(const nas__halves *s, const nas__halves_grads *g, int groups, const pair *totals) {
    const int blocks = all_blocks(s);
    for (int block = 0; block < blocks; block++) {
        const place p = place_of(s, block);
        double *sums = g->in_sums[p.part];
        if (sums) {
            const pair total = add_groups(totals, groups, blocks, block);
            memcpy(sums + (size_t)p.block * BLOCK, total.first, sizeof total.first);
            memcpy(sums + (size_t)(s->blocks[p.part] + p.block) * BLOCK, total.second, sizeof total.second);
        }
    }
}

void NAS_SIMD(nas__halves_backward)(const nas__halves *s, const nas__halves_grads *g) {
    const int blocks = all_blocks(s), pairs = (blocks + 1) / 2, groups = image_groups(s->n, pairs);
    nas__scratch *scratch = nas__scratch_acquire((size_t)groups * blocks * sizeof(pair) / sizeof(float));
    if (!scratch) {
        return;
    }
    pair *totals = memset(nas__scratch_floats(scratch), 0, (size_t)groups * blocks * sizeof(pair));
#pragma omp parallel for schedule(static) if ((size_t)s->n * blocks * s->hw * BLOCK >= SERIAL_BELOW)
    for (int task = 0; task < groups * pairs; task++) {
        const int group = task / pairs;
        for (int image = group_start(s->n, group, groups); image < group_start(s->n, group + 1, groups); image++) {
            image_backward(s, g, image, task % pairs, totals + (size_t)group * blocks);
        }
    }
    write_sums(s, g, groups, totals);
    nas__scratch_release(scratch);
}
