/* simd_pointwise_products.c - see simd_pointwise.h. Tiles of pixels x outputs stay in registers while the inputs, each
 * broadcast, pass by; for the gradient of the weights tiles of inputs x outputs, while the pixels pass by. */
#include "simd_pointwise.h"

#include <math.h>

/* Rows of a tile so many blocks wide. The more registers accumulate, and the more square the tile, the fewer loads
 * there are for a multiply-add. With AVX-512 these are 24 of 32, with AVX2 12 of 16; 8 would only just hide the latency
 * of the multiply-add. Rows of the gradient's tiles are inputs of one block, so they divide it. */
#if defined(__AVX512F__)
enum { ROWS_1 = 16, ROWS_2 = 8, ROWS_3 = 8, ROWS_4 = 6 };
enum { INPUTS_1 = 16, INPUTS_2 = 8, INPUTS_3 = 8 };
#elif defined(__AVX2__)
enum { ROWS_1 = 12, ROWS_2 = 6 };
enum { INPUTS_1 = 8, INPUTS_2 = 4, INPUTS_3 = 4 };
#else
enum { ROWS_1 = PW_TILE };
enum { INPUTS_1 = PW_TILE };
#endif

/* sum += a*b, in the register where the sum is. Left to itself, the compiler picks forms of the multiply-add that put
 * the sum elsewhere and loads factors again; with all registers in use it then moves sums to memory and back. */
#if defined(__AVX2__) && !defined(__AVX512F__)
#define ADD_PRODUCT(SUM, A, B) __asm__("vfmadd231ps %2, %1, %0" : "+x"(SUM) : "x"(A), "x"(B))
#else
#define ADD_PRODUCT(SUM, A, B) (SUM) = vfma((A), (B), (SUM))
#endif

/* The blocks of inputs that are multiplied before the next ones are: their weights are to stay in the first-level
 * cache while all pixels pass by. */
enum { PIECE_BLOCKS = 10 };

typedef struct piece {
    int from, to;  /* blocks of inputs, of all parts */
    int left;      /* inputs of the part from there on */
    ptrdiff_t row; /* of the weights */
    bool last;
} piece;

/* sum[t][b] goes to `first` + t*BLOCK, or to place[t]. What the loops need is loaded before they store: the compiler
 * cannot know that y is not where it lies. */
NAS_INLINE void store_tile(const pw_product *c, vec sum[16][PW_WIDE], ptrdiff_t first, const int32_t *place,
                           const int rows, const int blocks) {
    const ptrdiff_t y_block = c->y_block;
    const float *more = c->more;
    float *y = c->y;
    vec *sums = c->sums;
    if (more) {
#pragma GCC unroll 16
        for (int t = 0; t < rows; t++) {
            const ptrdiff_t at = place ? place[t] : first + t * BLOCK;
#pragma GCC unroll 4
            for (int b = 0; b < blocks; b++) {
                sum[t][b] += vload(more + at + b * y_block);
            }
        }
    }
    if (c->act && c->act->relu) {
        const vec high = vset1(c->act->cap > 0 ? c->act->cap : INFINITY);
#pragma GCC unroll 16
        for (int t = 0; t < rows; t++) {
#pragma GCC unroll 4
            for (int b = 0; b < blocks; b++) {
                sum[t][b] = vmin(high, vmax(vzero(), sum[t][b])); /* in this order NaNs pass */
            }
        }
    }
#pragma GCC unroll 16
    for (int t = 0; t < rows; t++) {
        const ptrdiff_t at = place ? place[t] : first + t * BLOCK;
#pragma GCC unroll 4
        for (int b = 0; b < blocks; b++) {
            vstore(y + at + b * y_block, sum[t][b]);
        }
    }
    if (sums) {
#pragma GCC unroll 4
        for (int b = 0; b < blocks; b++) {
            vec s1[2] = {sums[2 * b], vzero()}, s2[2] = {sums[2 * b + 1], vzero()}; /* two each hide their latency */
#pragma GCC unroll 16
            for (int t = 0; t < rows; t++) {
                s1[t % 2] += sum[t][b];
                s2[t % 2] = vfma(sum[t][b], sum[t][b], s2[t % 2]);
            }
            sums[2 * b] = s1[0] + s1[1];
            sums[2 * b + 1] = s2[0] + s2[1];
        }
    }
}

/* Most tiles lie in one row of pixels: one place is enough. */
NAS_INLINE void finish_tile(const pw_product *c, vec sum[16][PW_WIDE], int pixel, const int rows, const int blocks) {
    const int32_t *place = c->place ? c->place + pixel : NULL;
    const ptrdiff_t first = place ? place[0] : (ptrdiff_t)pixel * BLOCK;
    if (!place || place[rows - 1] == first + (rows - 1) * BLOCK) {
        store_tile(c, sum, first, NULL, rows, blocks);
    } else {
        store_tile(c, sum, 0, place, rows, blocks);
    }
}

NAS_INLINE void start_tile(const pw_product *c, vec sum[16][PW_WIDE], const int rows, const int blocks) {
#pragma GCC unroll 4
    for (int b = 0; b < blocks; b++) {
        const vec start = c->bias ? vload(c->bias + b * BLOCK) : vzero();
#pragma GCC unroll 16
        for (int t = 0; t < rows; t++) {
            sum[t][b] = start;
        }
    }
}

/* Between pieces a tile lies where it belongs. */
NAS_INLINE void move_tile(const pw_product *c, vec sum[16][PW_WIDE], int pixel, const bool load, const int rows,
                          const int blocks) {
    const int32_t *place = c->place ? c->place + pixel : NULL;
    const ptrdiff_t y_block = c->y_block;
    float *y = c->y;
#pragma GCC unroll 16
    for (int t = 0; t < rows; t++) {
        const ptrdiff_t at = place ? place[t] : (ptrdiff_t)(pixel + t) * BLOCK;
#pragma GCC unroll 4
        for (int b = 0; b < blocks; b++) {
            if (load) {
                sum[t][b] = vload(y + at + b * y_block);
            } else {
                vstore(y + at + b * y_block, sum[t][b]);
            }
        }
    }
}

/* One input. The weights of blocks beyond the first panel are at `beyond`. */
NAS_INLINE void product_step(const float *x, const float *w, const float *beyond, vec sum[16][PW_WIDE], const int rows,
                             const int blocks) {
    vec weight[PW_WIDE];
#pragma GCC unroll 4
    for (int b = 0; b < blocks; b++) {
        weight[b] = vload(b < PANEL ? w + b * BLOCK : beyond + (b - PANEL) * BLOCK);
    }
#pragma GCC unroll 16
    for (int t = 0; t < rows; t++) {
        const vec value = vset1(x[t * BLOCK]);
#pragma GCC unroll 4
        for (int b = 0; b < blocks; b++) {
            ADD_PRODUCT(sum[t][b], value, weight[b]);
        }
    }
}

NAS_INLINE void product_tile(const pw_product *c, const piece *p, int pixel, const int rows, const int blocks) {
    const ptrdiff_t width = (blocks < PANEL ? blocks : PANEL) * BLOCK, width_beyond = (blocks - PANEL) * BLOCK;
    vec sum[16][PW_WIDE];
    if (p->from == 0) {
        start_tile(c, sum, rows, blocks);
    } else {
        move_tile(c, sum, pixel, true, rows, blocks);
    }
    const float *block = c->x + p->from * c->x_block + (ptrdiff_t)pixel * BLOCK;
    const float *w = c->w + p->row * width;
    const float *beyond = c->w + (ptrdiff_t)c->parts * c->in * PANEL * BLOCK + p->row * width_beyond;
    int left = p->left;
    for (int i = p->from; i < p->to; i++, block += c->x_block) {
        const float *x = block, *end = x + (left < BLOCK ? left : BLOCK);
        ahead_moment(c->ahead);
        ahead_run run = ahead_take(c->ahead, BLOCK, x);
#pragma GCC unroll 1
        for (; x + 2 <= end; x += 2, w += 2 * width, beyond += 2 * width_beyond) {
            ahead_next(&run);
            product_step(x, w, beyond, sum, rows, blocks);
            ahead_next(&run);
            product_step(x + 1, w + width, beyond + width_beyond, sum, rows, blocks);
        }
        if (x < end) {
            product_step(x, w, beyond, sum, rows, blocks);
            w += width, beyond += width_beyond;
        }
        left = left > BLOCK ? left - BLOCK : c->in;
    }
    if (p->last) {
        finish_tile(c, sum, pixel, rows, blocks);
    } else {
        move_tile(c, sum, pixel, false, rows, blocks);
    }
}

/* Full tiles; what is left over is done by narrower ones. Returns the pixels done. */
NAS_INLINE int product_tiles(const pw_product *c, const piece *p, int pixel, const int rows, const int blocks) {
    for (; pixel + rows <= c->pixels; pixel += rows) {
        product_tile(c, p, pixel, rows, blocks);
    }
    return pixel;
}

/* One function per case: inlined into a common one, accumulators end up in memory. */
#define DEFINE(NAME, ROWS, BLOCKS)                                                                                     \
    static __attribute__((noinline)) int product_##NAME(const pw_product *c, const piece *p, int pixel) {              \
        return product_tiles(c, p, pixel, ROWS, BLOCKS);                                                               \
    }
#define DEFINE_WIDTH(BLOCKS)                                                                                           \
    DEFINE(wide_##BLOCKS, ROWS_##BLOCKS, BLOCKS)                                                                       \
    DEFINE(4_##BLOCKS, 4, BLOCKS)                                                                                      \
    DEFINE(1_##BLOCKS, 1, BLOCKS)                                                                                      \
    static void product_##BLOCKS(const pw_product *c, const piece *p, int pixel) {                                     \
        pixel = product_wide_##BLOCKS(c, p, pixel);                                                                    \
        pixel = product_4_##BLOCKS(c, p, pixel);                                                                       \
        product_1_##BLOCKS(c, p, pixel);                                                                               \
    }
DEFINE_WIDTH(1)
#if PANEL > 1
DEFINE_WIDTH(2)
#endif
#if defined(__AVX512F__)
DEFINE_WIDTH(3)
DEFINE_WIDTH(4)
#endif

#if defined(__AVX512F__)
/* `rows` pixels of one block of outputs from one block of inputs. */
NAS_INLINE void held_tile(const pw_product *c, const vec weight[BLOCK], int pixel, const int rows) {
    vec sum[16][PW_WIDE];
    const float *x = c->x + (ptrdiff_t)pixel * BLOCK;
    ahead_moment(c->ahead);
    ahead_run run = ahead_take(c->ahead, BLOCK, x);
    start_tile(c, sum, rows, 1);
#pragma GCC unroll 16
    for (int i = 0; i < BLOCK; i++) {
        ahead_next(&run);
#pragma GCC unroll 12
        for (int t = 0; t < rows; t++) {
            sum[t][0] = vfma(vset1(x[t * BLOCK + i]), weight[i], sum[t][0]);
        }
    }
    finish_tile(c, sum, pixel, rows, 1);
}

/* All weights stay in registers: one block of outputs does not share the loads of the values, which take all the time
 * that the multiply-adds take. 16 of 32 registers hold weights, 12 accumulate: 8 would only just hide the latency of
 * the multiply-add. */
static __attribute__((noinline)) int product_held(const pw_product *c, int pixel) {
    vec weight[BLOCK];
#pragma GCC unroll 16
    for (int i = 0; i < BLOCK; i++) {
        weight[i] = vload(c->w + i * BLOCK);
    }
    for (; pixel + 12 <= c->pixels; pixel += 12) {
        held_tile(c, weight, pixel, 12);
    }
    for (; pixel + 8 <= c->pixels; pixel += 8) {
        held_tile(c, weight, pixel, 8);
    }
    return pixel;
}
#endif

static void product_piece(const pw_product *c, const piece *p, int pixel) {
    switch (c->blocks) {
#if defined(__AVX512F__)
    case 4:
        product_4(c, p, pixel);
        break;
    case 3:
        product_3(c, p, pixel);
        break;
#endif
#if PANEL > 1
    case 2:
        product_2(c, p, pixel);
        break;
#endif
    default:
        product_1(c, p, pixel);
    }
}

void NAS_SIMD(nas__pw_multiply)(const pw_product *c) {
    const int part_blocks = (c->in + BLOCK - 1) / BLOCK, all = c->parts * part_blocks;
    piece p = {.to = all, .left = c->in, .last = true};
    int pixel = 0;
#if defined(__AVX512F__)
    if (c->blocks == 1 && c->parts == 1 && c->in == BLOCK) {
        pixel = product_held(c, pixel);
    }
#endif
    if (all <= PIECE_BLOCKS) {
        product_piece(c, &p, pixel);
        return;
    }
    const int pieces = (all + PIECE_BLOCKS - 1) / PIECE_BLOCKS;
    for (int i = 0; i < pieces; i++) {
        const int block = all * i / pieces, part = block / part_blocks, of_part = block - part * part_blocks;
        p = (piece){
            .from = block, .to = all * (i + 1) / pieces, .left = c->in - of_part * BLOCK, .last = i + 1 == pieces};
        p.row = (ptrdiff_t)part * c->in + (ptrdiff_t)of_part * BLOCK;
        product_piece(c, &p, pixel);
    }
}

/* --- the gradient of the weights --------------------------------------------------------------------- */
enum { GRADIENT_WIDE = 3 }; /* blocks of outputs of the widest tile */

/* One pixel. */
NAS_INLINE void gradient_step(const pw_gradient *c, const float *x, const float *dy, vec sum[16][GRADIENT_WIDE],
                              const int rows, const int blocks) {
    vec g[GRADIENT_WIDE];
#pragma GCC unroll 4
    for (int b = 0; b < blocks; b++) {
        g[b] = vload(dy + b * c->dy_block);
    }
#pragma GCC unroll 16
    for (int t = 0; t < rows; t++) {
        const vec value = vset1(x[t]);
#pragma GCC unroll 4
        for (int b = 0; b < blocks; b++) {
            ADD_PRODUCT(sum[t][b], value, g[b]);
        }
    }
}

/* Rows i.. of the gradient, whose inputs lie side by side at x, and `blocks` blocks of columns. */
NAS_INLINE void gradient_tile(const pw_gradient *c, const float *x, int i, int block, const int rows,
                              const int blocks) {
    vec sum[16][GRADIENT_WIDE];
    const ptrdiff_t row = (ptrdiff_t)c->blocks * BLOCK;
    float *dw = c->dw + i * row + (ptrdiff_t)block * BLOCK;
#pragma GCC unroll 16
    for (int t = 0; t < rows; t++) {
#pragma GCC unroll 4
        for (int b = 0; b < blocks; b++) {
            sum[t][b] = c->first ? vzero() : vload(dw + t * row + b * BLOCK);
        }
    }
    const float *dy = c->dy + block * c->dy_block;
    for (int left = c->pixels; left > 0; left -= PW_PIXELS) {
        ahead_moment(c->ahead);
        ahead_run run = ahead_take(c->ahead, PW_PIXELS, x);
        const float *end = dy + (ptrdiff_t)(left < PW_PIXELS ? left : PW_PIXELS) * BLOCK;
#pragma GCC unroll 1
        for (; dy + BLOCK < end; dy += 2 * BLOCK, x += 2 * BLOCK) {
            ahead_next(&run);
            gradient_step(c, x, dy, sum, rows, blocks);
            ahead_next(&run);
            gradient_step(c, x + BLOCK, dy + BLOCK, sum, rows, blocks);
        }
        if (dy < end) {
            gradient_step(c, x, dy, sum, rows, blocks);
            dy += BLOCK, x += BLOCK;
        }
    }
#pragma GCC unroll 16
    for (int t = 0; t < rows; t++) {
#pragma GCC unroll 4
        for (int b = 0; b < blocks; b++) {
            vstore(dw + t * row + b * BLOCK, sum[t][b]);
        }
    }
}

/* The `count` inputs of one block, in tiles. */
NAS_INLINE void gradient_tiles(const pw_gradient *c, const float *x, int i, int count, int block, const int rows,
                               const int blocks) {
    int t = 0;
    for (; t + rows <= count; t += rows) {
        gradient_tile(c, x + t, i + t, block, rows, blocks);
    }
    for (; rows > 4 && t + 4 <= count; t += 4) {
        gradient_tile(c, x + t, i + t, block, 4, blocks);
    }
    for (; t < count; t++) {
        gradient_tile(c, x + t, i + t, block, 1, blocks);
    }
}

static __attribute__((noinline)) void gradient_1(const pw_gradient *c, const float *x, int i, int count, int block) {
    gradient_tiles(c, x, i, count, block, INPUTS_1, 1);
}

#if PANEL > 1
static __attribute__((noinline)) void gradient_2(const pw_gradient *c, const float *x, int i, int count, int block) {
    gradient_tiles(c, x, i, count, block, INPUTS_2, 2);
}

static __attribute__((noinline)) void gradient_3(const pw_gradient *c, const float *x, int i, int count, int block) {
    gradient_tiles(c, x, i, count, block, INPUTS_3, 3);
}
#endif

static void gradient_of_block(const pw_gradient *c, const float *x, int i, int count) {
    int block = 0;
#if PANEL > 1
    for (; c->blocks - block == 3 || c->blocks - block > 4; block += 3) { /* nothing is left over, or two */
        gradient_3(c, x, i, count, block);
    }
    for (; block + 2 <= c->blocks; block += 2) {
        gradient_2(c, x, i, count, block);
    }
#endif
    for (; block < c->blocks; block++) {
        gradient_1(c, x, i, count, block);
    }
}

void NAS_SIMD(nas__pw_accumulate)(const pw_gradient *c) {
    const float *x = c->x;
    int i = 0;
    for (int part = 0; part < c->parts; part++) {
        for (int left = c->in; left > 0; left -= BLOCK, x += c->x_block) {
            const int count = left < BLOCK ? left : BLOCK;
            gradient_of_block(c, x, i, count);
            i += count;
        }
    }
}
