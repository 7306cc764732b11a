/* simd_depthwise_correlate.c - the inner loops of depthwise forward and backward-data: correlation of one bordered
 * plane with one kernel. The outputs are computed in tiles of rows x columns that stay in registers; each weight is
 * loaded once per tile, each input once per row of the kernel. */
#include "simd_depthwise.h"

/* Tile sizes: with AVX-512 16 of 32 registers accumulate, with 16 registers 8 of them (two each without AVX).
 * COLS_ALT divides image sizes such as 7, 14 and 28 that COLS does not. */
#if defined(__AVX512F__)
#define ROWS     2
#define COLS     8
#define COLS_ALT 7
#elif defined(__AVX2__)
#define ROWS     2
#define COLS     4
#define COLS_ALT 4
#else
#define ROWS     1
#define COLS     4
#define COLS_ALT 4
#endif

/* sum[r][t] belongs at y[at + r*y_row + t*y_col]. What the loops need is loaded before they store: the compiler cannot
 * know that y is not where it lies. */
NAS_INLINE void store_tile(const dw_correlation *c, vec sum[ROWS][COLS], ptrdiff_t at, const int rows, const int cols) {
    const ptrdiff_t y_row = c->y_row, y_col = c->y_col;
    float *y = c->y + at;
#pragma GCC unroll 2
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 8
        for (int t = 0; t < cols; t++) {
            vstore(y + r * y_row + t * y_col, sum[r][t]);
        }
    }
}

/* The first `skip` columns are there already. */
NAS_INLINE void finish_tile(const dw_correlation *c, vec sum[ROWS][COLS], ptrdiff_t at, int skip, const int rows,
                            const int cols) {
    const dw_finish f = *c->finish;
    const ptrdiff_t y_row = c->y_row, y_col = c->y_col;
    const float *x = f.x + at;
    float *y = c->y + at;
    if (f.masked) {
#pragma GCC unroll 8
        for (int t = 0; t < cols; t++) {
#pragma GCC unroll 2
            for (int r = 0; r < rows; r++) {
                sum[r][t] = dw_mask(&f, vload(x + r * y_row + t * y_col), sum[r][t]);
            }
        }
    }
    if (f.sums) {
        vec s1[2] = {vzero(), vzero()}, s2[2] = {vzero(), vzero()}; /* two each: their latency adds up */
#pragma GCC unroll 8
        for (int t = 0; t < cols; t++) {
#pragma GCC unroll 2
            for (int r = 0; r < rows; r++) {
                if (t >= skip) {
                    s1[t % 2] += sum[r][t];
                    s2[t % 2] = vfma(sum[r][t], vload(x + r * y_row + t * y_col), s2[t % 2]);
                }
            }
        }
        f.sums[0] += s1[0] + s1[1];
        f.sums[1] += s2[0] + s2[1];
    }
    if (f.accumulate) {
#pragma GCC unroll 8
        for (int t = 0; t < cols; t++) {
#pragma GCC unroll 2
            for (int r = 0; r < rows; r++) {
                if (t >= skip) {
                    sum[r][t] += vload(y + r * y_row + t * y_col);
                    vstore(y + r * y_row + t * y_col, sum[r][t]);
                }
            }
        }
        return;
    }
    store_tile(c, sum, at, rows, cols);
}

/* One row of the kernel. Fast instances know all taps: each input is loaded once for all that it meets. */
NAS_INLINE void tile_row(const float *x, ptrdiff_t x_row, const float *w, ahead *a, vec sum[ROWS][COLS], const int rows,
                         const int cols, const int kw, const int s, const int d) {
    if (!__builtin_constant_p(kw) || kw > 7) {
        for (int j = 0; j < kw; j++) {
            const vec weight = vload(w + j * BLOCK);
#pragma GCC unroll 2
            for (int r = 0; r < rows; r++) {
#pragma GCC unroll 8
                for (int t = 0; t < cols; t++) {
                    sum[r][t] = vfma(vload(x + r * s * x_row + (t * s + j * d) * BLOCK), weight, sum[r][t]);
                }
            }
        }
        return;
    }
    const int inputs = (cols - 1) * s + (kw - 1) * d + 1; /* of a row */
    ahead_run run = ahead_take(a, (size_t)inputs, x);
    vec weight[7];
    const float *line[ROWS];
#pragma GCC unroll 7
    for (int j = 0; j < kw; j++) {
        weight[j] = vload(w + j * BLOCK);
    }
#pragma GCC unroll 2
    for (int r = 0; r < rows; r++) {
        line[r] = x + r * s * x_row;
        __asm__("" : "+r"(line[r])); /* or else every distance from x is kept in a register, and spilled */
    }
#pragma GCC unroll 32
    for (int q = 0; q < inputs; q++) {
        ahead_next(&run);
#pragma GCC unroll 2
        for (int r = 0; r < rows; r++) {
            const vec value = vload(line[r] + q * BLOCK);
#pragma GCC unroll 7
            for (int j = 0; j < kw; j++) {
                if (q >= j * d && (q - j * d) % s == 0 && (q - j * d) / s < cols) {
                    sum[r][(q - j * d) / s] = vfma(value, weight[j], sum[r][(q - j * d) / s]);
                }
            }
        }
    }
}

/* kh0 and kh1: the rows of the kernel that meet the image anywhere in this tile. kw, s and d are constants in the fast
 * instances. The loop over kernel rows is deliberately not unrolled: its overhead is nothing beside rows*cols*kw
 * multiply-adds, and unrolled code would not fit the instruction cache. */
NAS_INLINE void tile(const dw_correlation *c, int row, int col, int skip, int kh0, int kh1, const int rows,
                     const int cols, const int kw, const int s, const int d) {
    vec sum[ROWS][COLS];
#pragma GCC unroll 2
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 8
        for (int t = 0; t < cols; t++) {
            sum[r][t] = vzero();
        }
    }
    ahead_moment(c->ahead);
    const ptrdiff_t x_row = c->x_row, x_step = x_row * d;
    const float *x = c->x + ((ptrdiff_t)row * s + (ptrdiff_t)kh0 * d) * x_row + (ptrdiff_t)col * s * BLOCK;
    const float *w = c->w + (ptrdiff_t)kh0 * kw * BLOCK;
#pragma GCC unroll 1
    for (int i = kh0; i < kh1; i++, x += x_step, w += kw * BLOCK) {
        tile_row(x, x_row, w, c->ahead, sum, rows, cols, kw, s, d);
    }
    const ptrdiff_t at = row * c->y_row + col * c->y_col;
    if (c->finish) {
        finish_tile(c, sum, at, skip, rows, cols);
        return;
    }
    store_tile(c, sum, at, rows, cols);
}

/* Columns in tiles of `cols`; the last tile is moved left to end at the border and computes some outputs twice. */
NAS_INLINE void tiles(const dw_correlation *c, int row, int kh0, int kh1, const int rows, const int cols, const int kw,
                      const int s, const int d) {
    for (int from = 0; from < c->cols; from += cols) {
        const int col = dw_min(from, c->cols - cols);
        tile(c, row, col, from - col, kh0, kh1, rows, cols, kw, s, d);
    }
}

NAS_INLINE void band(const dw_correlation *c, int row, const int rows, const int kw, const int s, const int d) {
    int kh0 = dw_max(0, dw_ceil_div(c->image_from - (row + rows - 1) * s, d));
    int kh1 = dw_min(c->kernel_h, dw_ceil_div(c->image_to - row * s, d));
    if (COLS_ALT != COLS && c->cols % COLS_ALT == 0 && c->cols % COLS != 0) {
        tiles(c, row, kh0, kh1, rows, COLS_ALT, kw, s, d);
    } else if (c->cols >= COLS) {
        tiles(c, row, kh0, kh1, rows, COLS, kw, s, d);
    } else if (COLS > 4 && c->cols >= 4) {
        tiles(c, row, kh0, kh1, rows, 4, kw, s, d);
    } else {
        tiles(c, row, kh0, kh1, rows, 1, kw, s, d);
    }
}

NAS_INLINE void correlate(const dw_correlation *c, const int kw, const int s, const int d) {
    int row = 0;
    for (; row + ROWS <= c->rows; row += ROWS) {
        band(c, row, ROWS, kw, s, d);
    }
    for (; row < c->rows; row++) {
        band(c, row, 1, kw, s, d);
    }
}

/* One function per case: inlined into a common one, the accumulators of some cases end up in memory. */
#define CASES(X)                                                                                                       \
    X(1, 1, 1)                                                                                                         \
    X(2, 1, 1)                                                                                                         \
    X(4, 1, 1)                                                                                                         \
    X(3, 1, 1)                                                                                                         \
    X(3, 1, 2)                                                                                                         \
    X(3, 2, 1)                                                                                                         \
    X(3, 2, 2)                                                                                                         \
    X(5, 1, 1)                                                                                                         \
    X(5, 1, 2)                                                                                                         \
    X(5, 2, 1)                                                                                                         \
    X(5, 2, 2)                                                                                                         \
    X(7, 1, 1)                                                                                                         \
    X(7, 1, 2)                                                                                                         \
    X(7, 2, 1)                                                                                                         \
    X(7, 2, 2)

#define DEFINE(KW, S, D)                                                                                               \
    static __attribute__((noinline)) void correlate_##KW##S##D(const dw_correlation *c) { correlate(c, KW, S, D); }
CASES(DEFINE)

static __attribute__((noinline)) void correlate_any(const dw_correlation *c) {
    correlate(c, c->kernel_w, c->stride, c->dilation);
}

void NAS_SIMD(nas__dw_correlate)(const dw_correlation *c) {
    switch (c->kernel_w * 100 + c->stride * 10 + c->dilation) {
#define CALL(KW, S, D)                                                                                                 \
    case KW * 100 + S * 10 + D:                                                                                        \
        if (c->stride == S &&                                                                                          \
            c->dilation == D) { /* stride 1 with dilation 11 must not pass for stride 2, dilation 1 */                 \
            correlate_##KW##S##D(c);                                                                                   \
            return;                                                                                                    \
        }                                                                                                              \
        break;
        CASES(CALL)
    default:
        break;
    }
    correlate_any(c);
}
