/* simd_conv3_products.c - the 36 matrix products of the Winograd convolution, one at a time: small enough for the
 * first caches, so all there is to do is to keep the accumulators in registers. */
#include "simd_conv3.h"

typedef struct product {
    const float *a, *b; /* a: the scalars, b: the vectors */
    float *c;
    ptrdiff_t a_row, a_step; /* floats between rows of the result, between steps of the sum */
    ptrdiff_t b_step, c_row;
    int steps;
} product;

/* c[rows][width] = (add: +=) sum over steps of a[row] b[width]. unit: a_row is 1. */
NAS_INLINE void register_tile(const product *p, const int rows, const int width, const bool add, const bool unit) {
    vec sum[16][2];
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) {
#pragma GCC unroll 2
        for (int j = 0; j < width; j++) {
            sum[i][j] = add ? vload(p->c + i * p->c_row + j * BLOCK) : vzero();
        }
    }
    const float *b = p->b, *a[4];
    const ptrdiff_t a_row = unit ? 1 : p->a_row, a_step = p->a_step, b_step = p->b_step;
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) { /* few enough pointers to stay in registers */
        a[i] = p->a + 4 * i * a_row;
    }
    for (int k = p->steps; k > 0; k--, b += b_step) {
        vec v[2];
#pragma GCC unroll 2
        for (int j = 0; j < width; j++) {
            v[j] = vload(b + j * BLOCK);
        }
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++) {
            const vec s = vset1(a[i / 4][i % 4 * a_row]);
#pragma GCC unroll 2
            for (int j = 0; j < width; j++) {
                sum[i][j] = vfma(s, v[j], sum[i][j]);
            }
        }
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            a[i] += a_step;
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) {
#pragma GCC unroll 2
        for (int j = 0; j < width; j++) {
            vstore(p->c + i * p->c_row + j * BLOCK, sum[i][j]);
        }
    }
}

/* Rows of the register tiles, two vectors and one vector wide, best first: eight accumulators and more hide the latency
 * of the multiply-adds. One function per tile: inlined together, accumulators end up in memory. */
#if defined(__AVX512F__)
#define WIDE(X)   X(8, 2) X(4, 2) X(2, 2) X(1, 2)
#define NARROW(X) X(16, 1) X(8, 1) X(4, 1) X(2, 1) X(1, 1)
#elif defined(__AVX2__)
#define WIDE(X)   X(6, 2) X(4, 2) X(2, 2) X(1, 2)
#define NARROW(X) X(8, 1) X(4, 1) X(2, 1) X(1, 1)
#else
#define WIDE(X)   X(2, 2) X(1, 2)
#define NARROW(X) X(4, 1) X(2, 1) X(1, 1)
#endif

#define DEFINE(R, W)                                                                                                   \
    static __attribute__((noinline)) void multiply_##R##x##W(const product *p) { register_tile(p, R, W, false, 0); }   \
    static __attribute__((noinline)) void correlate_##R##x##W(const product *p) { register_tile(p, R, W, false, 1); }  \
    static __attribute__((noinline)) void add_##R##x##W(const product *p) { register_tile(p, R, W, true, 1); }
WIDE(DEFINE)
NARROW(DEFINE)

/* All rows of one panel. */
#define ADVANCE(NAME, R, W)                                                                                            \
    for (; rows >= R; rows -= R, p.a += R * p.a_row, p.c += R * p.c_row) {                                             \
        NAME##_##R##x##W(&p);                                                                                          \
    }
#define MULTIPLY(R, W)  ADVANCE(multiply, R, W)
#define CORRELATE(R, W) ADVANCE(correlate, R, W)
#define ADD(R, W)       ADVANCE(add, R, W)

void NAS_SIMD(nas__conv3_multiply)(const float *v, int v_row, const float *u, int in, int out_blocks, int tiles,
                                   float *m) {
    for (int block = 0; block < out_blocks; block += C3_PANEL) {
        const int width = c3_min(C3_PANEL, out_blocks - block);
        int rows = tiles;
        product p = {.a = v,
                     .b = u + (ptrdiff_t)block * in * BLOCK,
                     .c = m + (ptrdiff_t)block * BLOCK,
                     .a_row = v_row,
                     .a_step = 1,
                     .b_step = width * BLOCK,
                     .c_row = (ptrdiff_t)out_blocks * BLOCK,
                     .steps = in};
        if (width == 2) {
            WIDE(MULTIPLY)
        } else {
            NARROW(MULTIPLY)
        }
    }
}

void NAS_SIMD(nas__conv3_correlate)(const float *v, int v_row, const float *q, int q_row, int tiles, int in,
                                    int out_blocks, bool first, float *du) {
    for (int block = 0; block < out_blocks; block += C3_PANEL) {
        const int width = c3_min(C3_PANEL, out_blocks - block);
        int rows = in;
        product p = {.a = v,
                     .b = q + (ptrdiff_t)block * BLOCK,
                     .c = du + (ptrdiff_t)block * in * BLOCK,
                     .a_row = 1,
                     .a_step = v_row,
                     .b_step = q_row,
                     .c_row = width * BLOCK,
                     .steps = tiles};
        if (width == 2 && first) {
            WIDE(CORRELATE)
        } else if (width == 2) {
            WIDE(ADD)
        } else if (first) {
            NARROW(CORRELATE)
        } else {
            NARROW(ADD)
        }
    }
}
