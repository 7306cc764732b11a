/* simd_unit_pointwise.c - the products of 1x1 convolutions on blocked planes: tiles of pixels x output channels stay in
 * registers while the input channels, each broadcast, pass by. */
#include "simd_unit.h"

/* Pixels of a tile that is one block or one panel wide, and inputs of a tile of the weight gradient. */
#if defined(__AVX512F__)
#define PIXELS_1 16
#define PIXELS_2 8
#define INPUTS_1 16
#define INPUTS_2 8
#elif defined(__AVX2__)
#define PIXELS_1 8
#define PIXELS_2 4
#define INPUTS_1 8
#define INPUTS_2 4
#else
#define PIXELS_1 4
#define PIXELS_2 4
#define INPUTS_1 4
#define INPUTS_2 4
#endif

/* The first `skip` pixels were stored, and summed, by the tile before. */
NAS_INLINE void store_tile(const unit_pointwise *c, vec sum[16][UNIT_PANEL], int pixel, int skip, const int pixels,
                           const int blocks) {
    if (c->more) {
#pragma GCC unroll 16
        for (int t = 0; t < pixels; t++) {
            const float *more = c->more + (c->place ? c->place[pixel + t] : (ptrdiff_t)(pixel + t) * BLOCK);
#pragma GCC unroll 2
            for (int b = 0; b < blocks; b++) {
                sum[t][b] += vload(more + b * c->y_block);
            }
        }
    }
    if (c->act) {
        const unit_gate gate = unit_find_gate(c->act, 0);
#pragma GCC unroll 16
        for (int t = 0; t < pixels; t++) {
#pragma GCC unroll 2
            for (int b = 0; b < blocks; b++) {
                sum[t][b] = vmin(gate.high, vmax(gate.low, sum[t][b]));
            }
        }
    }
#pragma GCC unroll 16
    for (int t = 0; t < pixels; t++) {
        float *y = c->y + (c->place ? c->place[pixel + t] : (ptrdiff_t)(pixel + t) * BLOCK);
#pragma GCC unroll 2
        for (int b = 0; b < blocks; b++) {
            vstore(y + b * c->y_block, sum[t][b]);
        }
    }
    if (c->sums) {
#pragma GCC unroll 2
        for (int b = 0; b < blocks; b++) {
            vec s1[2] = {c->sums[2 * b], vzero()}, s2[2] = {c->sums[2 * b + 1], vzero()};
#pragma GCC unroll 16
            for (int t = 0; t < pixels; t++) {
                if (t >= skip) {
                    s1[t % 2] += sum[t][b];
                    s2[t % 2] = vfma(sum[t][b], sum[t][b], s2[t % 2]);
                }
            }
            c->sums[2 * b] = s1[0] + s1[1];
            c->sums[2 * b + 1] = s2[0] + s2[1];
        }
    }
}

NAS_INLINE void tile(const unit_pointwise *c, int pixel, int skip, const int pixels, const int blocks) {
    vec sum[16][UNIT_PANEL];
#pragma GCC unroll 2
    for (int b = 0; b < blocks; b++) {
        const vec start = c->bias ? vload(c->bias + b * BLOCK) : vzero();
#pragma GCC unroll 16
        for (int t = 0; t < pixels; t++) {
            sum[t][b] = start;
        }
    }
    const float *w = c->w, *block = c->x + (ptrdiff_t)pixel * BLOCK;
    for (int left = c->in; left > 0; left -= BLOCK, block += c->x_block) {
        const float *x = block, *end = x + dw_min(left, BLOCK);
#pragma GCC unroll 1
        for (; x < end; x++, w += blocks * BLOCK) {
            vec weight[UNIT_PANEL];
#pragma GCC unroll 2
            for (int b = 0; b < blocks; b++) {
                weight[b] = vload(w + b * BLOCK);
            }
#pragma GCC unroll 16
            for (int t = 0; t < pixels; t++) {
                const vec value = vset1(x[t * BLOCK]);
#pragma GCC unroll 2
                for (int b = 0; b < blocks; b++) {
                    sum[t][b] = vfma(value, weight[b], sum[t][b]);
                }
            }
        }
    }
    store_tile(c, sum, pixel, skip, pixels, blocks);
}

/* The last tile is moved back to end with the pixels. */
NAS_INLINE void tiles(const unit_pointwise *c, const int pixels, const int blocks) {
    for (int from = 0; from < c->pixels; from += pixels) {
        const int pixel = dw_min(from, c->pixels - pixels);
        tile(c, pixel, from - pixel, pixels, blocks);
        ahead_fetch(c->ahead);
    }
}

/* One function per case: inlined into a common one, accumulators end up in memory. */
#define DEFINE(PIXELS, BLOCKS)                                                                                         \
    static __attribute__((noinline)) void tiles_##PIXELS##_##BLOCKS(const unit_pointwise *c) {                         \
        tiles(c, PIXELS, BLOCKS);                                                                                      \
    }

static __attribute__((noinline)) void wide_tiles_1(const unit_pointwise *c) { tiles(c, PIXELS_1, 1); }
DEFINE(4, 1)
DEFINE(1, 1)
#if UNIT_PANEL > 1
static __attribute__((noinline)) void wide_tiles_2(const unit_pointwise *c) { tiles(c, PIXELS_2, 2); }
DEFINE(4, 2)
DEFINE(1, 2)
#endif

void NAS_SIMD(nas__unit_pointwise)(const unit_pointwise *c) {
#if UNIT_PANEL > 1
    if (c->blocks == 2) {
        (c->pixels >= PIXELS_2 ? wide_tiles_2 : c->pixels >= 4 ? tiles_4_2 : tiles_1_2)(c);
        return;
    }
#endif
    (c->pixels >= PIXELS_1 ? wide_tiles_1 : c->pixels >= 4 ? tiles_4_1 : tiles_1_1)(c);
}

/* Rows i .. i + inputs of the gradient, columns of `blocks` blocks from `block` on. */
NAS_INLINE void product_tile(const unit_product *p, int i, int block, const int inputs, const int blocks) {
    vec sum[16][2];
    const ptrdiff_t row = (ptrdiff_t)p->out_blocks * BLOCK;
    float *dw = p->dw + i * row + (ptrdiff_t)block * BLOCK;
#pragma GCC unroll 16
    for (int t = 0; t < inputs; t++) {
#pragma GCC unroll 2
        for (int b = 0; b < blocks; b++) {
            sum[t][b] = vload(dw + t * row + b * BLOCK);
        }
    }
    const float *x = p->x + i, *dy = p->dy + block * p->dy_block, *end = dy + (ptrdiff_t)p->pixels * BLOCK;
#pragma GCC unroll 1
    for (; dy < end; dy += BLOCK, x += BLOCK) {
        vec g[2];
#pragma GCC unroll 2
        for (int b = 0; b < blocks; b++) {
            g[b] = vload(dy + b * p->dy_block);
        }
#pragma GCC unroll 16
        for (int t = 0; t < inputs; t++) {
            const vec value = vset1(x[t]);
#pragma GCC unroll 2
            for (int b = 0; b < blocks; b++) {
                sum[t][b] = vfma(value, g[b], sum[t][b]);
            }
        }
    }
#pragma GCC unroll 16
    for (int t = 0; t < inputs; t++) {
#pragma GCC unroll 2
        for (int b = 0; b < blocks; b++) {
            vstore(dw + t * row + b * BLOCK, sum[t][b]);
        }
    }
}

#define DEFINE_PRODUCT(NAME, INPUTS, BLOCKS)                                                                           \
    static __attribute__((noinline)) void product_##NAME(const unit_product *p, int i, int block) {                    \
        product_tile(p, i, block, INPUTS, BLOCKS);                                                                     \
    }
DEFINE_PRODUCT(wide_1, INPUTS_1, 1)
DEFINE_PRODUCT(4_1, 4, 1)
DEFINE_PRODUCT(1_1, 1, 1)
#if UNIT_PANEL > 1
DEFINE_PRODUCT(wide_2, INPUTS_2, 2)
DEFINE_PRODUCT(4_2, 4, 2)
DEFINE_PRODUCT(1_2, 1, 2)
#endif

void NAS_SIMD(nas__unit_multiply)(const unit_product *p) {
    int block = 0;
#if UNIT_PANEL > 1
    for (; block + 2 <= p->out_blocks; block += 2) {
        int i = 0;
        for (; i + INPUTS_2 <= p->in; i += INPUTS_2) {
            product_wide_2(p, i, block);
        }
        for (; i + 4 <= p->in; i += 4) {
            product_4_2(p, i, block);
        }
        for (; i < p->in; i++) {
            product_1_2(p, i, block);
        }
    }
#endif
    for (; block < p->out_blocks; block++) {
        int i = 0;
        for (; i + INPUTS_1 <= p->in; i += INPUTS_1) {
            product_wide_1(p, i, block);
        }
        for (; i + 4 <= p->in; i += 4) {
            product_4_1(p, i, block);
        }
        for (; i < p->in; i++) {
            product_1_1(p, i, block);
        }
    }
}

const float *NAS_SIMD(nas__unit_pack)(const float *w, int in, int blocks, float *packed) {
    if (blocks <= UNIT_PANEL) {
        return w;
    }
    float *out = packed;
    for (int first = 0; first < blocks; first += UNIT_PANEL) {
        const size_t width = (size_t)dw_min(UNIT_PANEL, blocks - first) * BLOCK;
        for (int i = 0; i < in; i++, out += width) {
            memcpy(out, w + ((size_t)i * blocks + first) * BLOCK, width * sizeof(float));
        }
    }
    return packed;
}
