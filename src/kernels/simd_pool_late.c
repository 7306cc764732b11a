/* simd_pool_late.c - the backward pass of pooling from the input alone: where the maxima came from, and the pooled
 * values that a late gradient needs, are found again, which is cheaper than to store and load them. */
#include "kernels/simd_pool.h"
#include "kernels/simd_late.h"
#include "kernels/scratch.h"
#include "kernels/simd_ahead.h"
#include "kernels/tasks.h"

NAS_INLINE vec late_value(const nas__grad_block *l, const float *g, vec z) {
    return grad_value(l, vload(g), z, l->affine, l->masked);
}

/* Some of a vector's lanes. */
#if defined(__AVX512F__)
typedef __mmask16 lanes;
NAS_INLINE lanes where_greater(vec a, vec b) { return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_GT_OQ); }
NAS_INLINE lanes where_equal(vec a, vec b) { return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_EQ_OQ); }
NAS_INLINE vec add_in(vec sum, lanes in, vec v) {
    return (vec)_mm512_mask_add_ps((__m512)sum, in, (__m512)sum, (__m512)v);
}
NAS_INLINE vec clear_in(vec v, lanes in) { return (vec)_mm512_mask_mov_ps((__m512)v, in, _mm512_setzero_ps()); }
#else
typedef ivec lanes;
#if defined(__AVX2__)
NAS_INLINE lanes where_greater(vec a, vec b) { return (lanes)_mm256_cmp_ps((__m256)a, (__m256)b, _CMP_GT_OQ); }
NAS_INLINE lanes where_equal(vec a, vec b) { return (lanes)_mm256_cmp_ps((__m256)a, (__m256)b, _CMP_EQ_OQ); }
#else
NAS_INLINE lanes where_greater(vec a, vec b) { return vgreater(a, b); }
NAS_INLINE lanes where_equal(vec a, vec b) { return vequal(a, b); }
#endif
NAS_INLINE vec add_in(vec sum, lanes in, vec v) { return sum + (vec)(in & (ivec)v); }
NAS_INLINE vec clear_in(vec v, lanes in) { return (vec)(~in & (ivec)v); }
#endif

/* --- max --------------------------------------------------------------------------------------- */

/* One plane on its way back. */
typedef struct way {
    const nas__pool_shape *s;
    nas__grad_block l;
    const float *x, *g;
    float *dx;
    bool accumulate;
} way;

/* Adds the gradient of a 3x3 window, of which `rows` rows and the columns [from, to) lie inside, to the tap that the
 * maximum came from: the last one that was larger than all before it, so the first of equal values. All but x, l and g
 * are constants in each instance. */
NAS_INLINE void send_back(const float *x, ptrdiff_t row, const int rows, const int from, const int to,
                          const nas__grad_block *l, const float *g, vec sum[3][3]) {
    lanes larger[3][3];
    vec best = vload(x + from * BLOCK);
#pragma GCC unroll 3
    for (int i = 0; i < rows; i++) {
#pragma GCC unroll 3
        for (int j = from; j < to; j++) {
            if (i > 0 || j > from) {
                const vec v = vload(x + i * row + j * BLOCK);
                larger[i][j] = where_greater(v, best);
                best = vmax(v, best);
            }
        }
    }
    vec rest = late_value(l, g, best);
#pragma GCC unroll 3
    for (int i = rows - 1; i >= 0; i--) {
#pragma GCC unroll 3
        for (int j = to - 1; j >= from; j--) {
            if (i > 0 || j > from) {
                sum[i][j] = add_in(sum[i][j], larger[i][j], rest);
                rest = clear_in(rest, larger[i][j]);
            }
        }
    }
    sum[0][from] += rest;
}

/* Adds the sums of columns [from, to) to dx and moves the others to the left. */
NAS_INLINE void put_down(vec sum[3][3], const int rows, const int from, const int to, float *dx, ptrdiff_t row) {
#pragma GCC unroll 3
    for (int i = 0; i < rows; i++) {
#pragma GCC unroll 3
        for (int j = from; j < to; j++) {
            float *pixel = dx + i * row + j * BLOCK;
            vstore(pixel, vload(pixel) + sum[i][j]);
        }
#pragma GCC unroll 3
        for (int j = 0; j < 3; j++) {
            sum[i][j] = j + to < 3 ? sum[i][j + to] : vzero();
        }
    }
}

/* A row of 3x3 windows: x and dx are their first row inside the image. */
NAS_INLINE void row_of_windows(const way *p, const float *x, const float *g, float *dx, const int rows,
                               const int stride) {
    const int w = p->s->w, ow = p->s->ow, pad = p->s->pad, whole = whole_windows(w, ow, 3, stride, pad).to;
    const ptrdiff_t row = (ptrdiff_t)w * BLOCK;
    const nas__grad_block l = p->l;
    vec sum[3][3];
#pragma GCC unroll 9
    for (int i = 0; i < 9; i++) {
        sum[i / 3][i % 3] = vzero();
    }
    ptrdiff_t o = 0;
    x -= pad * BLOCK;
    dx -= pad * BLOCK;
    if (pad) {
        send_back(x, row, rows, 1, 3, &l, g, sum);
        put_down(sum, rows, 1, stride, dx, row);
        o = 1;
    }
    for (; o < whole; o++) {
        const ptrdiff_t at = o * stride * BLOCK;
        send_back(x + at, row, rows, 0, 3, &l, g + o * BLOCK, sum);
        put_down(sum, rows, 0, stride, dx + at, row);
        ahead_of(g + o * BLOCK);
#pragma GCC unroll 2
        for (int j = 0; j < stride; j++) {
            ahead_of(x + at + j * BLOCK);
            ahead_of(dx + at + j * BLOCK);
        }
    }
    const ptrdiff_t at = o * stride * BLOCK;
    if (o < ow) {
        send_back(x + at, row, rows, 0, 2, &l, g + o * BLOCK, sum);
        put_down(sum, rows, 0, 2, dx + at, row);
    } else { /* what the whole windows left */
        put_down(sum, rows, 0, 3 - stride, dx + at, row);
    }
}

NAS_INLINE void any_number_of_rows(const way *p, const float *x, const float *g, float *dx, int rows,
                                   const int stride) {
    if (rows == 3) {
        row_of_windows(p, x, g, dx, 3, stride);
    } else if (rows == 2) {
        row_of_windows(p, x, g, dx, 2, stride);
    } else {
        row_of_windows(p, x, g, dx, 1, stride);
    }
}

/* Any kernel, stride and padding. */
static void any_window(const way *p, range kh, range kw, int out, ptrdiff_t o) {
    const nas__pool_shape *s = p->s;
    const ptrdiff_t row = (ptrdiff_t)s->w * BLOCK;
    const ptrdiff_t at = (out * s->stride - s->pad) * row + (o * s->stride - s->pad) * BLOCK;
    const ptrdiff_t first = at + kh.from * row + kw.from * BLOCK;
    vec best = vload(p->x + first);
    for (int i = kh.from; i < kh.to; i++) {
        for (int j = kw.from; j < kw.to; j++) {
            best = vmax(vload(p->x + at + i * row + j * BLOCK), best);
        }
    }
    vec rest = late_value(&p->l, p->g + (out * (ptrdiff_t)s->ow + o) * BLOCK, best);
    for (int i = kh.from; i < kh.to; i++) {
        for (int j = kw.from; j < kw.to; j++) {
            float *dx = p->dx + at + i * row + j * BLOCK;
            const lanes here = where_equal(vload(p->x + at + i * row + j * BLOCK), best);
            vstore(dx, add_in(vload(dx), here, rest));
            rest = clear_in(rest, here);
        }
    }
    vstore(p->dx + first, vload(p->dx + first) + rest); /* a NaN, which equals nothing, came from the first tap */
}

static void any_row(const way *p, range kh, int out) {
    for (int o = 0; o < p->s->ow; o++) {
        any_window(p, kh, taps_inside(o, p->s->w, p->s->kernel, p->s->stride, p->s->pad), out, o);
    }
}

/* Rows of dx are zeroed just before the first window adds to them. */
static void max_plane(const way *p) {
    const nas__pool_shape *s = p->s;
    const ptrdiff_t row = (ptrdiff_t)s->w * BLOCK;
    int zeroed = p->accumulate ? s->h : 0;
    for (int out = 0; out < s->oh; out++) {
        const range kh = taps_inside(out, s->h, s->kernel, s->stride, s->pad);
        const int top = out * s->stride - s->pad, to = out + 1 < s->oh ? top + kh.to : s->h;
        if (to > zeroed) {
            memset(p->dx + zeroed * row, 0, sizeof(float) * (to - zeroed) * row);
            zeroed = to;
        }
        const ptrdiff_t at = (top + kh.from) * row;
        if (!usual_pool(s)) {
            any_row(p, kh, out);
        } else if (s->stride == 1) {
            any_number_of_rows(p, p->x + at, p->g + (ptrdiff_t)out * s->ow * BLOCK, p->dx + at, kh.to - kh.from, 1);
        } else {
            any_number_of_rows(p, p->x + at, p->g + (ptrdiff_t)out * s->ow * BLOCK, p->dx + at, kh.to - kh.from, 2);
        }
    }
}

/* --- average ----------------------------------------------------------------------------------- */

/* The gradient of every window, divided by its number of pixels, within a border of zeroes: dx is a sum of these. */
enum { BORDER = 2 };

typedef struct shares {
    float *plane, *pooled, *factor; /* plane: the gradients; pooled: a row of averages; factor: one per column */
    ptrdiff_t row;
} shares;

static size_t shares_size(const nas__pool_shape *s) {
    return (size_t)(s->oh + 2 * BORDER) * (s->ow + 2 * BORDER) * BLOCK + (size_t)s->ow * (BLOCK + 1);
}

/* Lays the shares out in memory; the border is written once for all planes. */
static shares lay_out(const nas__pool_shape *s, float *memory) {
    const ptrdiff_t row = (ptrdiff_t)(s->ow + 2 * BORDER) * BLOCK;
    shares h = {.plane = memory, .row = row};
    h.pooled = memory + (s->oh + 2 * BORDER) * row;
    h.factor = h.pooled + (ptrdiff_t)s->ow * BLOCK;
    memset(memory, 0, sizeof(float) * BORDER * row);
    memset(memory + (s->oh + BORDER) * row, 0, sizeof(float) * BORDER * row);
    for (int r = BORDER; r < s->oh + BORDER; r++) {
        memset(memory + r * row, 0, sizeof(float) * BORDER * BLOCK);
        memset(memory + (r + 1) * row - BORDER * BLOCK, 0, sizeof(float) * BORDER * BLOCK);
    }
    for (int o = 0; o < s->ow; o++) {
        const range taps = taps_inside(o, s->w, s->kernel, s->stride, s->pad);
        h.factor[o] = 1.0f / (float)(s->count_padding ? s->kernel : taps.to - taps.from);
    }
    return h;
}

static void fill_shares(const way *p, const shares *h) {
    const nas__pool_shape *s = p->s;
    const bool need_z = p->l.affine || p->l.masked;
    const nas__grad_block l = p->l;
    for (int out = 0; out < s->oh; out++) {
        const range taps = taps_inside(out, s->h, s->kernel, s->stride, s->pad);
        const float of_row = 1.0f / (float)(s->count_padding ? s->kernel : taps.to - taps.from);
        const float *g = p->g + (ptrdiff_t)out * s->ow * BLOCK;
        float *to = h->plane + (out + BORDER) * h->row + BORDER * BLOCK;
        if (need_z) {
            NAS_SIMD(nas__pool_rows)(s, p->x, out, out + 1, NULL, h->pooled);
        }
        for (ptrdiff_t o = 0; o < s->ow; o++) {
            const vec z = need_z ? vload(h->pooled + o * BLOCK) : vzero();
            vstore(to + o * BLOCK, late_value(&l, g + o * BLOCK, z) * (of_row * h->factor[o]));
        }
    }
}

NAS_INLINE void put(float *dx, vec v, const bool accumulate) { vstore(dx, accumulate ? vload(dx) + v : v); }

NAS_INLINE vec column_sum(const float *from, ptrdiff_t row, const int rows) {
    vec sum = vload(from);
#pragma GCC unroll 3
    for (int r = 1; r < rows; r++) {
        sum += vload(from + r * row);
    }
    return sum;
}

/* Stride 1: three windows over three rows cover a pixel. `from` is the first of the first pixel. */
NAS_INLINE void gather_3x3(const float *from, ptrdiff_t row, int w, float *dx, const bool accumulate) {
    vec left = column_sum(from, row, 3), middle = column_sum(from + BLOCK, row, 3);
    for (ptrdiff_t i = 0; i < w; i++) {
        const vec right = column_sum(from + (i + 2) * BLOCK, row, 3);
        put(dx + i * BLOCK, left + middle + right, accumulate);
        left = middle;
        middle = right;
    }
}

/* Stride 2: a pixel at an even place of the padded image lies between two windows, one at an odd place in one. `from`
 * is the window to the left of the padded image's first pixel. */
NAS_INLINE void gather_pairs(const float *from, ptrdiff_t row, const int rows, int pad, int w, float *dx,
                             const bool accumulate) {
    vec left = column_sum(from, row, rows);
    for (ptrdiff_t i = -pad; i < w; i += 2) {
        from += BLOCK;
        const vec right = column_sum(from, row, rows);
        if (i >= 0) {
            put(dx + i * BLOCK, left + right, accumulate);
        }
        if (i + 1 < w) {
            put(dx + (i + 1) * BLOCK, right, accumulate);
        }
        left = right;
    }
}

NAS_INLINE void gather_any(const way *p, const shares *h, int in, float *dx, const bool accumulate) {
    const nas__pool_shape *s = p->s;
    const range rows = windows_over(in, s->oh, s->kernel, s->stride, s->pad);
    for (ptrdiff_t col = 0; col < s->w; col++) {
        const range cols = windows_over((int)col, s->ow, s->kernel, s->stride, s->pad);
        vec sum = vzero();
        for (int oh = rows.from; oh < rows.to; oh++) {
            for (int ow = cols.from; ow < cols.to; ow++) {
                sum += vload(h->plane + (oh + BORDER) * h->row + (ptrdiff_t)(ow + BORDER) * BLOCK);
            }
        }
        put(dx + col * BLOCK, sum, accumulate);
    }
}

NAS_INLINE void gather_plane(const way *p, const shares *h, const bool accumulate) {
    const nas__pool_shape *s = p->s;
    const bool usual = usual_pool(s);
    for (int in = 0; in < s->h; in++) {
        float *dx = p->dx + (ptrdiff_t)in * s->w * BLOCK;
        const int place = in + s->pad;
        if (usual && s->stride == 1) {
            gather_3x3(h->plane + place * h->row + (ptrdiff_t)s->pad * BLOCK, h->row, s->w, dx, accumulate);
        } else if (usual && place % 2 == 0) {
            gather_pairs(h->plane + (place / 2 + 1) * h->row + BLOCK, h->row, 2, s->pad, s->w, dx, accumulate);
        } else if (usual) {
            gather_pairs(h->plane + (place / 2 + 2) * h->row + BLOCK, h->row, 1, s->pad, s->w, dx, accumulate);
        } else {
            gather_any(p, h, in, dx, accumulate);
        }
    }
}

static void average_plane(const way *p, const shares *h) {
    fill_shares(p, h);
    if (p->accumulate) {
        gather_plane(p, h, true);
    } else {
        gather_plane(p, h, false);
    }
}

/* Both gradients of a plane while it is in the second-level cache; NULL: not wanted. */
static void both_planes(const nas__pool_shape *s, const float *x, int p, const nas__late_grad *max,
                        const nas__late_grad *average, const shares *h, float *dx, bool accumulate) {
    const size_t in = (size_t)s->h * s->w * BLOCK, out = (size_t)s->oh * s->ow * BLOCK;
    const int block = p % ((s->c + BLOCK - 1) / BLOCK);
    way plane = {.s = s, .x = x + p * in, .dx = dx + p * in, .accumulate = accumulate};
    if (max) {
        plane.l = grad_block(max, block);
        plane.g = max->g + p * out;
        max_plane(&plane);
        plane.accumulate = true;
    }
    if (average) {
        plane.l = grad_block(average, block);
        plane.g = average->g + p * out;
        average_plane(&plane, h);
    }
}

void NAS_SIMD(nas__pools_backward_late)(const nas__pool_shape *s, const float *x, const nas__late_grad *max,
                                        const nas__late_grad *average, float *dx, bool accumulate) {
    const int planes = s->n * ((s->c + BLOCK - 1) / BLOCK);
    nas__scratch *team = average ? nas__scratch_acquire_team(shares_size(s)) : NULL;
    if (average && !team) {
        return;
    }
    nas__tasks tasks;
    nas__tasks_share(&tasks, planes);
#pragma omp parallel if ((size_t)planes * s->h * s->w * BLOCK >= SERIAL_BELOW)
    {
        const shares h = average ? lay_out(s, nas__scratch_mine(team)) : (shares){0};
        nas__turn turn = {0};
        for (int p; (p = nas__tasks_next(&tasks, &turn)) >= 0;) {
            both_planes(s, x, p, max, average, &h, dx, accumulate);
        }
    }
    if (average) {
        nas__scratch_release(team);
    }
}
