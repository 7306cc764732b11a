/* simd_conv3_tiles.c - Winograd's transforms of the data. Windows of neighbouring tiles overlap, so the transform along
 * the columns is done once for a whole row of tiles, then that along the rows tile by tile. */
#include "simd_conv3.h"

#define A2 C3_A2
#define B2 C3_B2

/* v = B^T d */
NAS_INLINE void to_points(const vec d[6], vec v[6]) {
    const vec even_a = vfma(vset1(-B2), d[2], d[4]), even_b = vfma(vset1(-A2), d[2], d[4]);
    const vec odd_a = vfma(vset1(-B2), d[1], d[3]), odd_b = vfma(vset1(-A2), d[1], d[3]);
    v[0] = vfma(vset1(A2 * B2), d[0], vfma(vset1(-(A2 + B2)), d[2], d[4]));
    v[1] = vfma(vset1(C3_A), odd_a, even_a);
    v[2] = vfma(vset1(-C3_A), odd_a, even_a);
    v[3] = vfma(vset1(C3_B), odd_b, even_b);
    v[4] = vfma(vset1(-C3_B), odd_b, even_b);
    v[5] = vfma(vset1(A2 * B2), d[1], vfma(vset1(-(A2 + B2)), d[3], d[5]));
}

/* y = A^T m */
NAS_INLINE void from_points(const vec m[6], vec y[4]) {
    const vec even_a = m[1] + m[2], odd_a = m[1] - m[2], even_b = m[3] + m[4], odd_b = m[3] - m[4];
    y[0] = m[0] + even_a + even_b;
    y[1] = vfma(vset1(C3_A), odd_a, vset1(C3_B) * odd_b);
    y[2] = vfma(vset1(A2), even_a, vset1(B2) * even_b);
    y[3] = vfma(vset1(C3_A * A2), odd_a, vfma(vset1(C3_B * B2), odd_b, m[5]));
}

/* q = A y */
NAS_INLINE void spread_points(const vec y[4], vec q[6]) {
    const vec even_a = vfma(vset1(A2), y[2], y[0]), odd_a = vfma(vset1(A2), y[3], y[1]);
    const vec even_b = vfma(vset1(B2), y[2], y[0]), odd_b = vfma(vset1(B2), y[3], y[1]);
    q[0] = y[0];
    q[1] = vfma(vset1(C3_A), odd_a, even_a);
    q[2] = vfma(vset1(-C3_A), odd_a, even_a);
    q[3] = vfma(vset1(C3_B), odd_b, even_b);
    q[4] = vfma(vset1(-C3_B), odd_b, even_b);
    q[5] = y[3];
}

/* --- inputs -------------------------------------------------------------------------------------- */
enum { PLAIN, AFFINE, CLAMPED };

typedef struct strip {
    const float *row[6]; /* rows of the window, NULL outside of the image */
    int w, pad_w, cols;  /* columns of the image, of the border on the left, of the strip */
    nas__load_block load;
    float *temp; /* [6][cols][BLOCK] */
} strip;

NAS_INLINE vec value(const strip *s, const float *p, const int mode) {
    return load_value(&s->load, vload(p), mode != PLAIN, mode == CLAMPED, mode == CLAMPED);
}

/* The transform of one column, of `height` = 6 (window) or 4 (gradient) rows. */
NAS_INLINE void column(const strip *s, int c, const int height, const int mode, const bool inside) {
    vec d[6], v[6];
#pragma GCC unroll 6
    for (int i = 0; i < height; i++) {
        d[i] = inside || s->row[i] ? value(s, s->row[i] + (ptrdiff_t)(c - s->pad_w) * BLOCK, mode) : vzero();
    }
    if (height == 6) {
        to_points(d, v);
    } else {
        spread_points(d, v);
    }
    float *t = s->temp + (ptrdiff_t)c * BLOCK;
#pragma GCC unroll 6
    for (int i = 0; i < 6; i++) {
        vstore(t + (ptrdiff_t)i * s->cols * BLOCK, v[i]);
    }
}

NAS_INLINE void zero_column(const strip *s, int c) {
    for (int i = 0; i < 6; i++) {
        vstore(s->temp + ((ptrdiff_t)i * s->cols + c) * BLOCK, vzero());
    }
}

NAS_INLINE void columns(const strip *s, const int height, const int mode) {
    bool inside = true;
    for (int i = 0; i < height; i++) {
        inside = inside && s->row[i];
    }
    const int end = c3_min(s->cols, s->w + s->pad_w);
    for (int c = 0; c < c3_min(s->pad_w, s->cols); c++) {
        zero_column(s, c);
    }
    if (inside) {
        for (int c = s->pad_w; c < end; c++) {
            column(s, c, height, mode, true);
        }
    } else {
        for (int c = s->pad_w; c < end; c++) {
            column(s, c, height, mode, false);
        }
    }
    for (int c = c3_max(end, 0); c < s->cols; c++) {
        zero_column(s, c);
    }
}

static __attribute__((noinline)) void window_columns_plain(const strip *s) { columns(s, 6, PLAIN); }
static __attribute__((noinline)) void window_columns_affine(const strip *s) { columns(s, 6, AFFINE); }
static __attribute__((noinline)) void window_columns_clamped(const strip *s) { columns(s, 6, CLAMPED); }
static __attribute__((noinline)) void gradient_columns(const strip *s) { columns(s, 4, PLAIN); }

/* The second transform, from temp to V of one row of tiles. */
NAS_INLINE void rows_of_tiles(const strip *s, int tiles, const int height, float *out, size_t stride,
                              ptrdiff_t tile_step) {
    for (int i = 0; i < 6; i++) {
        const float *t = s->temp + (ptrdiff_t)i * s->cols * BLOCK;
        float *o = out + (size_t)i * 6 * stride;
        for (int tile = 0; tile < tiles; tile++, t += 4 * BLOCK, o += tile_step) {
            vec d[6], v[6];
#pragma GCC unroll 6
            for (int j = 0; j < height; j++) {
                d[j] = vload(t + j * BLOCK);
            }
            if (height == 6) {
                to_points(d, v);
            } else {
                spread_points(d, v);
            }
#pragma GCC unroll 6
            for (int j = 0; j < 6; j++) {
                vstore(o + (size_t)j * stride, v[j]);
            }
        }
    }
}

static __attribute__((noinline)) void window_rows(const strip *s, int tiles, float *out, size_t stride,
                                                  ptrdiff_t step) {
    rows_of_tiles(s, tiles, 6, out, stride, step);
}

static __attribute__((noinline)) void gradient_rows(const strip *s, int tiles, float *out, size_t stride,
                                                    ptrdiff_t step) {
    rows_of_tiles(s, tiles, 4, out, stride, step);
}

static void strip_rows(strip *s, const c3_plane *p, const float *plane, int tile_row, int height) {
    for (int i = 0; i < height; i++) {
        const int r = 4 * tile_row + i - p->pad_h;
        s->row[i] = r >= 0 && r < p->h ? plane + (ptrdiff_t)r * p->w * BLOCK : NULL;
    }
}

void NAS_SIMD(nas__conv3_windows)(const c3_plane *p, const float *x, const nas__on_load *load, int first, int rows,
                                  float *temp, const c3_tiles *v) {
    strip s = {.w = p->w, .pad_w = p->pad_w, .cols = 4 * p->tile_cols + 2, .temp = temp};
    void (*const columns_of)(const strip *) = loads_as_it_is(load) ? window_columns_plain
                                              : load->relu         ? window_columns_clamped
                                                                   : window_columns_affine;
    for (int block = 0; block < p->blocks; block++) {
        float *out = v->values + (ptrdiff_t)block * BLOCK;
        s.load = load_block(load, block);
        for (int r = first; r < first + rows; r++, out += (ptrdiff_t)p->tile_cols * v->blocks * BLOCK) {
            const size_t plane = (size_t)(r / p->tile_rows) * p->blocks + block;
            strip_rows(&s, p, x + plane * p->h * p->w * BLOCK, r % p->tile_rows, 6);
            columns_of(&s);
            window_rows(&s, p->tile_cols, out, v->stride, (ptrdiff_t)v->blocks * BLOCK);
        }
    }
}

void NAS_SIMD(nas__conv3_spread)(const c3_plane *p, const float *dy, int first, int rows, float *temp,
                                 const c3_tiles *q) {
    strip s = {.w = p->w, .cols = 4 * p->tile_cols, .temp = temp};
    for (int block = 0; block < p->blocks; block++) {
        float *out = q->values + (ptrdiff_t)block * BLOCK;
        for (int r = first; r < first + rows; r++, out += (ptrdiff_t)p->tile_cols * q->blocks * BLOCK) {
            const size_t plane = (size_t)(r / p->tile_rows) * p->blocks + block;
            strip_rows(&s, p, dy + plane * p->h * p->w * BLOCK, r % p->tile_rows, 4);
            gradient_columns(&s);
            gradient_rows(&s, p->tile_cols, out, q->stride, (ptrdiff_t)q->blocks * BLOCK);
        }
    }
}

/* --- outputs ------------------------------------------------------------------------------------- */
enum { FINISH = 1, SUMS = 2, MASK = 4, ACCUMULATE = 8 };

typedef struct target {
    float *z;
    const float *x;
    int h, w;             /* what of the tile lies inside, and */
    ptrdiff_t row;        /* floats between two rows of the plane */
    vec bias, low, high;  /* FINISH */
    nas__load_block load; /* MASK */
    vec sum, sum2;
} target;

NAS_INLINE void put(target *t, ptrdiff_t at, vec y, const int flags) {
    if (flags & FINISH) {
        y = vmin(t->high, vmax(t->low, y + t->bias)); /* in this order NaNs pass */
    }
    vec x = y;
    if (t->x && (flags & (MASK | SUMS))) {
        x = vload(t->x + at);
    }
    if (flags & MASK) {
        y = mask_gradient(&t->load, x, y, true);
    }
    if (flags & SUMS) {
        t->sum += y;
        t->sum2 = vfma(y, x, t->sum2);
    }
    vstore(t->z + at, flags & ACCUMULATE ? vload(t->z + at) + y : y);
}

NAS_INLINE void output_tile(const float *m, size_t stride, target *t, const int flags) {
    vec half[4][6];
    const size_t below = 6 * stride, below3 = 3 * below;
#pragma GCC unroll 1
    for (int j = 0; j < 6; j++, m += stride) { /* not unrolled: 36 addresses would not fit the registers */
        const float *lower = m + below3;
        const vec d[6] = {vload(m),     vload(m + below),     vload(m + 2 * below),
                          vload(lower), vload(lower + below), vload(lower + 2 * below)};
        vec y[4];
        from_points(d, y);
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            half[i][j] = y[i];
        }
    }
    const int h = c3_min(t->h, 4), w = c3_min(t->w, 4);
    ptrdiff_t at = 0;
#pragma GCC unroll 1
    for (int i = 0; i < h; i++, at += t->row) {
        vec y[4];
        from_points(half[i], y);
        if (w == 4) {
#pragma GCC unroll 4
            for (int j = 0; j < 4; j++) {
                put(t, at + j * BLOCK, y[j], flags);
            }
        } else {
            for (int j = 0; j < w; j++) {
                put(t, at + j * BLOCK, y[j], flags);
            }
        }
    }
}

NAS_INLINE void output_row(const float *m, size_t stride, ptrdiff_t tile_step, int w, target *start, const int flags) {
    target t = *start;
    for (t.w = w; t.w > 0; t.w -= 4, m += tile_step) {
        output_tile(m, stride, &t, flags);
        t.z += 4 * BLOCK;
        t.x = t.x ? t.x + 4 * BLOCK : NULL;
    }
    start->sum = t.sum;
    start->sum2 = t.sum2;
}

#define CASES(X) X(0) X(1) X(2) X(3) X(4) X(6) X(8) X(10) X(12) X(14)
#define DEFINE(FLAGS)                                                                                                  \
    static __attribute__((noinline)) void output_row_##FLAGS(const float *m, size_t stride, ptrdiff_t step, int w,     \
                                                             target *t) {                                              \
        output_row(m, stride, step, w, t, FLAGS);                                                                      \
    }
CASES(DEFINE)
#define ENTRY(FLAGS) [FLAGS] = output_row_##FLAGS,
static void (*const output_rows[])(const float *, size_t, ptrdiff_t, int, target *) = {CASES(ENTRY)};

static int set_target(target *t, const c3_store *how, int block) {
    const ptrdiff_t c = (ptrdiff_t)block * BLOCK;
    const nas__on_load *act = how->act;
    t->bias = how->bias ? vload(how->bias + c) : vzero();
    t->low = vset1(act && act->relu ? 0 : -INFINITY);
    t->high = vset1(act && act->relu && act->cap > 0 ? act->cap : INFINITY);
    t->load = load_block(how->load, block);
    t->sum = t->sum2 = vzero();
    return (how->bias || (act && act->relu) ? FINISH : 0) | (how->sums ? SUMS : 0) | (how->mask ? MASK : 0) |
           (how->accumulate ? ACCUMULATE : 0);
}

void NAS_SIMD(nas__conv3_outputs)(const c3_plane *p, const c3_tiles *m, int first, int rows, const c3_store *how,
                                  float *z) {
    const ptrdiff_t step = (ptrdiff_t)m->blocks * BLOCK, row = (ptrdiff_t)p->w * BLOCK;
    for (int block = 0; block < p->blocks; block++) {
        target t = {.row = row};
        const int flags = set_target(&t, how, block);
        const float *from = m->values + (ptrdiff_t)block * BLOCK;
        for (int r = first; r < first + rows; r++, from += p->tile_cols * step) {
            const int h = 4 * (r % p->tile_rows);
            const size_t at = (((size_t)(r / p->tile_rows) * p->blocks + block) * p->h + h) * row;
            t.z = z + at;
            t.x = how->x ? how->x + at : NULL;
            t.h = p->h - h;
            output_rows[flags](from, m->stride, step, p->w, &t);
        }
        if (how->sums) {
            double *sums = how->sums + (ptrdiff_t)block * BLOCK;
            fold(sums, t.sum);
            fold(sums + (ptrdiff_t)p->blocks * BLOCK, t.sum2);
        }
    }
}
