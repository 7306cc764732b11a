/* simd_pool.c - max, average and global pooling. Forward and backward both gather: each task writes one row of one
 * plane, and the columns that no border touches are computed without any test, in loops unrolled for 3x3 windows. */
#include "kernels/simd_pool.h"
#include "kernels/scratch.h"

typedef uint8_t bytes __attribute__((vector_size(BLOCK), aligned(BLOCK), may_alias));

/* The taps that the maxima came from, while they are compared: bytes where single bytes can be masked. */
#if defined(__AVX512F__)
typedef __m128i tap_vec;
NAS_INLINE tap_vec tap_set1(int tap) { return _mm_set1_epi8((char)tap); }
NAS_INLINE void tap_store(uint8_t *index, tap_vec at) { _mm_store_si128((__m128i *)index, at); }
#else
typedef ivec tap_vec;
NAS_INLINE tap_vec tap_set1(int tap) { return tap - (ivec){0}; }
NAS_INLINE void tap_store(uint8_t *index, tap_vec at) { *(bytes *)index = __builtin_convertvector(at, bytes); }
#endif

/* best, at = v, tap in the lanes where v is larger: the first of equal values stays. */
NAS_INLINE void take_larger(vec *best, tap_vec *at, vec v, int tap) {
#if defined(__AVX512F__)
    *at = _mm_mask_mov_epi8(*at, _mm512_cmp_ps_mask((__m512)v, (__m512)*best, _CMP_GT_OQ), tap_set1(tap));
    *best = vmax(v, *best);
#elif defined(__AVX2__)
    const __m256 larger = _mm256_cmp_ps((__m256)v, (__m256)*best, _CMP_GT_OQ);
    *at = (ivec)_mm256_blendv_epi8((__m256i)*at, (__m256i)tap_set1(tap), (__m256i)larger);
    *best = vmax(v, *best);
#else
    const ivec larger = vgreater(v, *best);
    *at = (tap_set1(tap) & larger) | (*at & ~larger);
    *best = vselect(larger, v, *best);
#endif
}

#if !defined(__AVX512F__) && !defined(__AVX2__)
/* All ones in the lanes whose byte equals `tap`. Each byte of the comparison is doubled twice: two steps that any
 * instruction set has, where the conversion of bytes to integers would go lane by lane. */
NAS_INLINE ivec bytes_equal(const uint8_t *index, int tap) {
    typedef int8_t bytes_16 __attribute__((vector_size(16)));
    typedef int16_t words_8 __attribute__((vector_size(16)));
    typedef int64_t longs_2 __attribute__((vector_size(16)));
    union {
        half_ivec half[2];
        ivec whole;
    } mask;
    int64_t eight;
    memcpy(&eight, index, sizeof eight);
    const bytes_16 at = (bytes_16)(longs_2){eight, 0} == (int8_t)tap;
    const words_8 twice = (words_8)__builtin_shufflevector(at, at, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    mask.half[0] = (half_ivec)__builtin_shufflevector(twice, twice, 0, 0, 1, 1, 2, 2, 3, 3);
    mask.half[1] = (half_ivec)__builtin_shufflevector(twice, twice, 4, 4, 5, 5, 6, 6, 7, 7);
    return mask.whole;
}
#endif

/* sum + dy in the lanes whose maximum came through `tap` */
NAS_INLINE vec add_where(vec sum, const float *dy, const uint8_t *index, int tap) {
#if defined(__AVX512F__)
    const __mmask16 mine = _mm_cmpeq_epi8_mask(_mm_load_si128((const __m128i *)index), _mm_set1_epi8((char)tap));
    return (vec)_mm512_mask_add_ps((__m512)sum, mine, (__m512)sum, (__m512)vload(dy));
#elif defined(__AVX2__)
    const __m256i at = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)index));
    const __m256 mine = (__m256)_mm256_cmpeq_epi32(at, _mm256_set1_epi32(tap));
    return sum + (vec)_mm256_and_ps(mine, (__m256)vload(dy));
#else
    return sum + (vec)(bytes_equal(index, tap) & (ivec)vload(dy));
#endif
}

/* --- max --------------------------------------------------------------------------------------- */

/* The window whose top left corner lies `at` floats from x (perhaps outside the image). */
NAS_INLINE void max_window(const float *x, ptrdiff_t at, ptrdiff_t row, range kh, range kw, int k, float *y,
                           uint8_t *index) {
    vec best = vload(x + (at + kh.from * row + kw.from * BLOCK));
    tap_vec tap = tap_set1(kh.from * k + kw.from);
#pragma GCC unroll 3
    for (int i = kh.from; i < kh.to; i++) {
#pragma GCC unroll 3
        for (int j = kw.from; j < kw.to; j++) {
            if (i > kh.from || j > kw.from) {
                take_larger(&best, &tap, vload(x + (at + i * row + j * BLOCK)), i * k + j);
            }
        }
    }
    vstore(y, best);
    tap_store(index, tap);
}

NAS_INLINE void max_row(const nas__pool_shape *s, const float *x, int out, float *y, uint8_t *index, const int k,
                        const int stride) {
    const range kh = taps_inside(out, s->h, k, stride, s->pad), whole = whole_windows(s->w, s->ow, k, stride, s->pad);
    const range all = {0, k};
    const ptrdiff_t row = (ptrdiff_t)s->w * BLOCK, at = (out * stride - s->pad) * row - (ptrdiff_t)s->pad * BLOCK;
    const ptrdiff_t step = (ptrdiff_t)stride * BLOCK;
    for (ptrdiff_t o = 0; o < whole.from; o++) {
        const range kw = taps_inside((int)o, s->w, k, stride, s->pad);
        max_window(x, at + o * step, row, kh, kw, k, y + o * BLOCK, index + o * BLOCK);
    }
    if (kh.to - kh.from == k) {
        for (ptrdiff_t o = whole.from; o < whole.to; o++) {
            max_window(x, at + o * step, row, all, all, k, y + o * BLOCK, index + o * BLOCK);
        }
    } else {
        for (ptrdiff_t o = whole.from; o < whole.to; o++) {
            max_window(x, at + o * step, row, kh, all, k, y + o * BLOCK, index + o * BLOCK);
        }
    }
    for (ptrdiff_t o = whole.to; o < s->ow; o++) {
        const range kw = taps_inside((int)o, s->w, k, stride, s->pad);
        max_window(x, at + o * step, row, kh, kw, k, y + o * BLOCK, index + o * BLOCK);
    }
}

void NAS_SIMD(nas__max_pool_forward)(const nas__pool_shape *s, const float *x, float *y, uint8_t *index) {
    const int planes = s->n * ((s->c + BLOCK - 1) / BLOCK);
#pragma omp parallel for collapse(2) schedule(static) if ((size_t)planes * s->h * s->w * BLOCK >= SERIAL_BELOW)
    for (int p = 0; p < planes; p++) {
        for (int out = 0; out < s->oh; out++) {
            const float *plane = x + (size_t)p * s->h * s->w * BLOCK;
            const size_t at = ((size_t)p * s->oh + out) * s->ow * BLOCK;
            if (s->kernel == 3 && s->stride == 1) {
                max_row(s, plane, out, y + at, index + at, 3, 1);
            } else if (s->kernel == 3 && s->stride == 2) {
                max_row(s, plane, out, y + at, index + at, 3, 2);
            } else {
                max_row(s, plane, out, y + at, index + at, s->kernel, s->stride);
            }
        }
    }
}

/* The gradient of pixel (in, col) from the windows rows x cols of dy. */
NAS_INLINE vec max_gradient(const nas__pool_shape *s, const float *dy, const uint8_t *index, int in, int col,
                            range rows, range cols, const int k, const int stride) {
    vec sum = vzero();
    for (int oh = rows.from; oh < rows.to; oh++) {
        const int first_tap = (in + s->pad - oh * stride) * k + col + s->pad;
#pragma GCC unroll 3
        for (int ow = cols.from; ow < cols.to; ow++) {
            const ptrdiff_t at = ((ptrdiff_t)oh * s->ow + ow) * BLOCK;
            sum = add_where(sum, dy + at, index + at, first_tap - ow * stride);
        }
    }
    return sum;
}

/* The usual case away from left and right borders: 3 taps of stride 1 from each of the rows of dy. */
NAS_INLINE vec max_gradient_3(const float *dy, const uint8_t *index, ptrdiff_t at, ptrdiff_t row, int rows,
                              int last_tap) {
    vec sum = vzero();
#pragma GCC unroll 3
    for (int r = 0; r < rows; r++, at += row) {
#pragma GCC unroll 3
        for (int j = 0; j < 3; j++) {
            sum = add_where(sum, dy + at + j * BLOCK, index + at + j * BLOCK, last_tap - 3 * r - j);
        }
    }
    return sum;
}

static void max_row_backward_3(const nas__pool_shape *s, const float *dy, const uint8_t *index, int in, range inner,
                               float *dx) {
    const range rows = windows_over(in, s->oh, 3, 1, s->pad);
    const ptrdiff_t row = (ptrdiff_t)s->ow * BLOCK;
    const int last_tap = (in + s->pad - rows.from) * 3 + 2;
    for (int col = inner.from; col < inner.to; col++) {
        const ptrdiff_t at = rows.from * row + (ptrdiff_t)(col + s->pad - 2) * BLOCK;
        vec sum = rows.to - rows.from == 3 ? max_gradient_3(dy, index, at, row, 3, 8)
                                           : max_gradient_3(dy, index, at, row, rows.to - rows.from, last_tap);
        vstore(dx + (ptrdiff_t)col * BLOCK, sum);
    }
}

/* The pixels of a row that 3x3 windows with stride 1 cover from all sides. */
static range inner_pixels(int w, int ow, int pad) {
    const int from = clamp(2 - pad, 0, w);
    return (range){from, clamp(ow - pad, from, w)};
}

/* 3x3 with stride 2: is `col` the left one of two pixels that share window (col + pad) / 2, with one more to its left?
 */
NAS_INLINE bool starts_pair(const nas__pool_shape *s, int col) {
    const int u = col + s->pad;
    return u % 2 == 0 && u >= 2 && u / 2 < s->ow && col + 1 < s->w;
}

NAS_INLINE void max_pair_backward(const nas__pool_shape *s, const float *dy, const uint8_t *index, int in, int col,
                                  range rows, float *dx) {
    vec left = vzero(), right = vzero();
    for (int oh = rows.from; oh < rows.to; oh++) {
        const int tap = (in + s->pad - oh * 2) * 3;
        const ptrdiff_t at = ((ptrdiff_t)oh * s->ow + (col + s->pad) / 2) * BLOCK;
        left = add_where(left, dy + at - BLOCK, index + at - BLOCK, tap + 2);
        left = add_where(left, dy + at, index + at, tap);
        right = add_where(right, dy + at, index + at, tap + 1);
    }
    vstore(dx + (ptrdiff_t)col * BLOCK, left);
    vstore(dx + (ptrdiff_t)(col + 1) * BLOCK, right);
}

NAS_INLINE void max_row_backward(const nas__pool_shape *s, const float *dy, const uint8_t *index, int in, float *dx,
                                 const int k, const int stride) {
    const range rows = windows_over(in, s->oh, k, stride, s->pad);
    const range inner = k == 3 && stride == 1 ? inner_pixels(s->w, s->ow, s->pad) : (range){0, 0};
    for (int col = 0; col < s->w; col++) {
        if (col == inner.from && inner.to > inner.from) {
            max_row_backward_3(s, dy, index, in, inner, dx);
            col = inner.to - 1;
            continue;
        }
        if (k == 3 && stride == 2 && starts_pair(s, col)) {
            max_pair_backward(s, dy, index, in, col++, rows, dx);
            continue;
        }
        const range cols = windows_over(col, s->ow, k, stride, s->pad);
        vstore(dx + (ptrdiff_t)col * BLOCK, max_gradient(s, dy, index, in, col, rows, cols, k, stride));
    }
}

void NAS_SIMD(nas__max_pool_backward)(const nas__pool_shape *s, const float *dy, const uint8_t *index, float *dx) {
    const int planes = s->n * ((s->c + BLOCK - 1) / BLOCK);
#pragma omp parallel for collapse(2) schedule(static) if ((size_t)planes * s->h * s->w * BLOCK >= SERIAL_BELOW)
    for (int p = 0; p < planes; p++) {
        for (int in = 0; in < s->h; in++) {
            const size_t at = (size_t)p * s->oh * s->ow * BLOCK;
            float *row = dx + ((size_t)p * s->h + in) * s->w * BLOCK;
            if (s->kernel == 3 && s->stride == 1) {
                max_row_backward(s, dy + at, index + at, in, row, 3, 1);
            } else if (s->kernel == 3 && s->stride == 2) {
                max_row_backward(s, dy + at, index + at, in, row, 3, 2);
            } else {
                max_row_backward(s, dy + at, index + at, in, row, s->kernel, s->stride);
            }
        }
    }
}

/* --- average ----------------------------------------------------------------------------------- */

/* One over the number of pixels that count, along one axis: the product of both axes' is the window's factor. */
static void fill_factors(const nas__pool_shape *s, int outs, int size, float *factor) {
    for (int o = 0; o < outs; o++) {
        const range taps = taps_inside(o, size, s->kernel, s->stride, s->pad);
        factor[o] = 1.0f / (float)(s->count_padding ? s->kernel : taps.to - taps.from);
    }
}

NAS_INLINE vec window_sum(const float *x, ptrdiff_t at, ptrdiff_t row, range kh, range kw) {
    vec sum = vzero();
#pragma GCC unroll 3
    for (int i = kh.from; i < kh.to; i++) {
#pragma GCC unroll 3
        for (int j = kw.from; j < kw.to; j++) {
            sum += vload(x + (at + i * row + j * BLOCK));
        }
    }
    return sum;
}

/* y[i] = sum over r < rows of factor[r] * (x[r][i] + x[r][i+1] + x[r][i+2]), where each column is summed only once. */
NAS_INLINE void slide(const float *x, ptrdiff_t row, const int rows, const vec *factor, int count, float *y) {
    vec column[2];
    for (int i = -2; i < count; i++, x += BLOCK) {
        vec next = factor[0] * vload(x);
        for (int r = 1; r < rows; r++) {
            next = vfma(factor[r], vload(x + r * row), next);
        }
        if (i >= 0) {
            vstore(y + (ptrdiff_t)i * BLOCK, column[0] + column[1] + next);
        }
        column[0] = i == -2 ? next : column[1];
        column[1] = next;
    }
}

static void slide_3(const float *x, ptrdiff_t row, int rows, const vec *factor, int count, float *y) {
    if (rows == 3) {
        slide(x, row, 3, factor, count, y);
    } else if (rows == 2) {
        slide(x, row, 2, factor, count, y);
    } else if (rows == 1) {
        slide(x, row, 1, factor, count, y);
    } else {
        memset(y, 0, sizeof(vec) * (size_t)count);
    }
}

NAS_INLINE void avg_row(const nas__pool_shape *s, const float *x, int out, float row_factor, const float *factor,
                        float *y, const int k, const int stride) {
    const range kh = taps_inside(out, s->h, k, stride, s->pad), whole = whole_windows(s->w, s->ow, k, stride, s->pad);
    const range all = {0, k};
    const ptrdiff_t row = (ptrdiff_t)s->w * BLOCK, at = (out * stride - s->pad) * row - (ptrdiff_t)s->pad * BLOCK;
    const ptrdiff_t step = (ptrdiff_t)stride * BLOCK;
    for (ptrdiff_t o = 0; o < whole.from; o++) {
        const range kw = taps_inside((int)o, s->w, k, stride, s->pad);
        vstore(y + o * BLOCK, window_sum(x, at + o * step, row, kh, kw) * (row_factor * factor[o]));
    }
    const float whole_factor = whole.from < whole.to ? row_factor * factor[whole.from] : 0;
    if (k == 3 && stride == 1 && whole.from < whole.to) {
        const vec all_rows[3] = {vset1(whole_factor), vset1(whole_factor), vset1(whole_factor)};
        slide_3(x + (at + whole.from * step + kh.from * row), row, kh.to - kh.from, all_rows, whole.to - whole.from,
                y + (ptrdiff_t)whole.from * BLOCK);
    } else if (kh.to - kh.from == k) {
        for (ptrdiff_t o = whole.from; o < whole.to; o++) {
            vstore(y + o * BLOCK, window_sum(x, at + o * step, row, all, all) * whole_factor);
        }
    } else {
        for (ptrdiff_t o = whole.from; o < whole.to; o++) {
            vstore(y + o * BLOCK, window_sum(x, at + o * step, row, kh, all) * whole_factor);
        }
    }
    for (ptrdiff_t o = whole.to; o < s->ow; o++) {
        const range kw = taps_inside((int)o, s->w, k, stride, s->pad);
        vstore(y + o * BLOCK, window_sum(x, at + o * step, row, kh, kw) * (row_factor * factor[o]));
    }
}

void NAS_SIMD(nas__avg_pool_forward)(const nas__pool_shape *s, const float *x, float *y) {
    const int planes = s->n * ((s->c + BLOCK - 1) / BLOCK);
    nas__scratch *scratch = nas__scratch_acquire((size_t)s->oh + s->ow);
    if (!scratch) {
        return;
    }
    float *row_factor = nas__scratch_floats(scratch), *factor = row_factor + s->oh;
    fill_factors(s, s->oh, s->h, row_factor);
    fill_factors(s, s->ow, s->w, factor);
#pragma omp parallel for collapse(2) schedule(static) if ((size_t)planes * s->h * s->w * BLOCK >= SERIAL_BELOW)
    for (int p = 0; p < planes; p++) {
        for (int out = 0; out < s->oh; out++) {
            const float *plane = x + (size_t)p * s->h * s->w * BLOCK;
            float *row = y + ((size_t)p * s->oh + out) * s->ow * BLOCK;
            if (s->kernel == 3 && s->stride == 1) {
                avg_row(s, plane, out, row_factor[out], factor, row, 3, 1);
            } else if (s->kernel == 3 && s->stride == 2) {
                avg_row(s, plane, out, row_factor[out], factor, row, 3, 2);
            } else {
                avg_row(s, plane, out, row_factor[out], factor, row, s->kernel, s->stride);
            }
        }
    }
    nas__scratch_release(scratch);
}

typedef struct factors {
    const float *rows, *cols;
} factors;

NAS_INLINE vec avg_gradient(const nas__pool_shape *s, const float *dy, range rows, range cols, const factors *f) {
    vec sum = vzero();
    for (int oh = rows.from; oh < rows.to; oh++) {
        vec row = vzero();
        for (int ow = cols.from; ow < cols.to; ow++) {
            row = vfma(vset1(f->cols[ow]), vload(dy + ((ptrdiff_t)oh * s->ow + ow) * BLOCK), row);
        }
        sum = vfma(vset1(f->rows[oh]), row, sum);
    }
    return sum;
}

/* Pixels whose windows (3 wide, stride 1) all lie between left and right border: one factor per row of dy. */
static void avg_row_backward_3(const nas__pool_shape *s, const float *dy, range rows, range inner, const factors *f,
                               float *dx) {
    const ptrdiff_t row = (ptrdiff_t)s->ow * BLOCK;
    vec factor[3] = {vzero(), vzero(), vzero()};
    for (int oh = rows.from; oh < rows.to; oh++) {
        factor[oh - rows.from] = vset1(f->rows[oh] * f->cols[s->pad]);
    }
    const float *from = dy + rows.from * row + (ptrdiff_t)(inner.from + s->pad - 2) * BLOCK;
    slide_3(from, row, rows.to - rows.from, factor, inner.to - inner.from, dx + (ptrdiff_t)inner.from * BLOCK);
}

NAS_INLINE void avg_pair_backward(const nas__pool_shape *s, const float *dy, int col, range rows, const factors *f,
                                  float *dx) {
    const int ow = (col + s->pad) / 2;
    const vec before = vset1(f->cols[ow - 1]), shared = vset1(f->cols[ow]);
    vec left = vzero(), right = vzero();
    for (int oh = rows.from; oh < rows.to; oh++) {
        const float *from = dy + ((ptrdiff_t)oh * s->ow + ow) * BLOCK;
        const vec factor = vset1(f->rows[oh]), g = shared * vload(from);
        left = vfma(factor, vfma(before, vload(from - BLOCK), g), left);
        right = vfma(factor, g, right);
    }
    vstore(dx + (ptrdiff_t)col * BLOCK, left);
    vstore(dx + (ptrdiff_t)(col + 1) * BLOCK, right);
}

NAS_INLINE void avg_row_backward(const nas__pool_shape *s, const float *dy, int in, const factors *f, float *dx,
                                 const int k, const int stride) {
    const range rows = windows_over(in, s->oh, k, stride, s->pad);
    const range inner = k == 3 && stride == 1 ? (range){2, s->w - 2} : (range){0, 0};
    for (int col = 0; col < s->w; col++) {
        if (col == inner.from && inner.to > inner.from) {
            avg_row_backward_3(s, dy, rows, inner, f, dx);
            col = inner.to - 1;
            continue;
        }
        if (k == 3 && stride == 2 && starts_pair(s, col)) {
            avg_pair_backward(s, dy, col++, rows, f, dx);
            continue;
        }
        vstore(dx + (ptrdiff_t)col * BLOCK, avg_gradient(s, dy, rows, windows_over(col, s->ow, k, stride, s->pad), f));
    }
}

void NAS_SIMD(nas__avg_pool_backward)(const nas__pool_shape *s, const float *dy, float *dx) {
    const int planes = s->n * ((s->c + BLOCK - 1) / BLOCK);
    nas__scratch *scratch = nas__scratch_acquire((size_t)s->oh + s->ow);
    if (!scratch) {
        return;
    }
    const factors f = {nas__scratch_floats(scratch), nas__scratch_floats(scratch) + s->oh};
    fill_factors(s, s->oh, s->h, nas__scratch_floats(scratch));
    fill_factors(s, s->ow, s->w, nas__scratch_floats(scratch) + s->oh);
#pragma omp parallel for collapse(2) schedule(static) if ((size_t)planes * s->h * s->w * BLOCK >= SERIAL_BELOW)
    for (int p = 0; p < planes; p++) {
        for (int in = 0; in < s->h; in++) {
            const float *plane = dy + (size_t)p * s->oh * s->ow * BLOCK;
            float *row = dx + ((size_t)p * s->h + in) * s->w * BLOCK;
            if (s->kernel == 3 && s->stride == 1) {
                avg_row_backward(s, plane, in, &f, row, 3, 1);
            } else if (s->kernel == 3 && s->stride == 2) {
                avg_row_backward(s, plane, in, &f, row, 3, 2);
            } else {
                avg_row_backward(s, plane, in, &f, row, s->kernel, s->stride);
            }
        }
    }
    nas__scratch_release(scratch);
}

/* --- global ------------------------------------------------------------------------------------ */

/* Sums pixels in f32 over short stretches only. */
static void plane_sum(const float *x, int hw, double *total) {
    enum { STRETCH = 64 };
    for (int from = 0; from < hw; from += STRETCH) {
        const int to = hw - from < STRETCH ? hw : from + STRETCH;
        vec even = vzero(), odd = vzero();
        int i = from;
        for (; i + 2 <= to; i += 2) {
            even += vload(x + (size_t)i * BLOCK);
            odd += vload(x + (size_t)(i + 1) * BLOCK);
        }
        fold(total, i < to ? even + odd + vload(x + (size_t)i * BLOCK) : even + odd);
    }
}

void NAS_SIMD(nas__global_pool_forward)(int n, int c, int hw, const float *x, float *y) {
    const int cb = (c + BLOCK - 1) / BLOCK;
#pragma omp parallel for schedule(static) if ((size_t)n * cb * hw * BLOCK >= SERIAL_BELOW)
    for (int p = 0; p < n * cb; p++) {
        const int first = p % cb * BLOCK;
        double total[BLOCK] = {0};
        plane_sum(x + (size_t)p * hw * BLOCK, hw, total);
        for (int i = 0; i < BLOCK && first + i < c; i++) {
            y[(size_t)(p / cb) * c + first + i] = (float)(total[i] / hw);
        }
    }
}

void NAS_SIMD(nas__global_pool_backward)(int n, int c, int hw, const float *dy, float *dx) {
    const int cb = (c + BLOCK - 1) / BLOCK;
#pragma omp parallel for schedule(static) if ((size_t)n * cb * hw * BLOCK >= SERIAL_BELOW)
    for (int p = 0; p < n * cb; p++) {
        const int first = p % cb * BLOCK;
        vec g = vzero();
        for (int i = 0; i < BLOCK && first + i < c; i++) {
            g[i] = dy[(size_t)(p / cb) * c + first + i] / (float)hw;
        }
        for (int i = 0; i < hw; i++) {
            vstore(dx + ((size_t)p * hw + i) * BLOCK, g);
        }
    }
}
