/* simd_bf16.c - between our blocked f32 and what oneDNN's fastest bf16 convolutions want: channels innermost, no tails.
 * One pass each, with what is late applied on the way in, and sums taken on the way out. */
#include "kernels/bf16.h"
#include "kernels/scratch.h"
#include "kernels/simd_late.h"
#include "kernels/simd_sums.h"

#if defined(__AVX512F__) /* oneDNN multiplies no bf16 without */

/* Pixels of one block that are finished, or summed, at a time: the lines that all blocks of them share stay near. */
enum { STRIP = 64 };

typedef uint32_t uvec __attribute__((vector_size(BLOCK * 4), aligned(BLOCK * 4)));
typedef uint16_t hvec __attribute__((vector_size(BLOCK * 2), aligned(2), may_alias));

NAS_INLINE int at_most(int a, int b) { return a < b ? a : b; }

/* --- rounding ------------------------------------------------------------------------------------- */
NAS_INLINE hvec narrow(uvec u) { return (hvec)_mm512_cvtepi32_epi16((__m512i)u); /* GCC would permute */ }

/* To the nearest, ties to even; what is no number stays none (its low half alone may have said so). */
NAS_INLINE hvec to_bf16(vec x) {
    const uvec u = (uvec)x, nearest = (u + 0x7fff + (u >> 16 & 1)) >> 16;
    const uvec magnitude = u & 0x7fffffff, none = (uvec)(0x7f800000 - (ivec)magnitude) >> 31; /* 1: a NaN */
    const uvec kept = (u >> 16) | 0x40, all = -none;
    return narrow((nearest & ~all) | (kept & all));
}

NAS_INLINE vec from_bf16(hvec h) { return (vec)(__builtin_convertvector(h, uvec) << 16); }

/* --- strips of one block --------------------------------------------------------------------------- */
/* `width` channels of a block; they lie `row` values apart outside. */
NAS_INLINE void pack(const float *values, int pixels, int width, uint16_t *out, int row) {
    if (width == BLOCK) {
        for (int p = 0; p < pixels; p++) {
            *(hvec *)(out + (size_t)p * row) = to_bf16(vload(values + p * BLOCK));
        }
        return;
    }
    for (int p = 0; p < pixels; p++) {
        const hvec h = to_bf16(vload(values + p * BLOCK));
        for (int i = 0; i < width; i++) {
            out[(size_t)p * row + i] = h[i];
        }
    }
}

NAS_INLINE vec unpack(const uint16_t *from, int width) {
    if (width == BLOCK) {
        return from_bf16(*(const hvec *)from);
    }
    hvec h = {0};
    memcpy(&h, from, (size_t)width * sizeof *from);
    return from_bf16(h);
}

/* One strip: of which image and block, and where it lies on both sides. */
typedef struct strip {
    int block, pixels, width;
    size_t blocked, inner; /* the first value, among blocked ones and with the channels innermost */
} strip;

NAS_INLINE strip strip_at(int c, int hw, int image, int first, int block) {
    const int cb = (c + BLOCK - 1) / BLOCK;
    return (strip){.block = block,
                   .pixels = at_most(STRIP, hw - first),
                   .width = at_most(BLOCK, c - block * BLOCK),
                   .blocked = (((size_t)image * cb + block) * hw + first) * BLOCK,
                   .inner = ((size_t)image * hw + first) * c + (size_t)block * BLOCK};
}

/* --- there ------------------------------------------------------------------------------------------ */
static void write_values(int n, int c, int hw, const float *x, const nas__on_load *load, uint16_t *out) {
    const int cb = (c + BLOCK - 1) / BLOCK, strips = (hw + STRIP - 1) / STRIP;
#pragma omp parallel for schedule(static) if ((size_t)n * c * hw >= SERIAL_BELOW)
    for (int task = 0; task < n * strips; task++) {
        float values[STRIP * BLOCK] __attribute__((aligned(64)));
        for (int b = 0; b < cb; b++) {
            const strip s = strip_at(c, hw, task / strips, task % strips * STRIP, b);
            load_rows(load, b, x + s.blocked, 0, 1, (ptrdiff_t)s.pixels * BLOCK, values, 0);
            pack(values, s.pixels, s.width, out + s.inner, c);
        }
    }
}

static void write_gradient(int n, int c, int hw, const nas__late_grad *late, uint16_t *out) {
    const int cb = (c + BLOCK - 1) / BLOCK, strips = (hw + STRIP - 1) / STRIP;
#pragma omp parallel for schedule(static) if ((size_t)n * c * hw >= SERIAL_BELOW)
    for (int task = 0; task < n * strips; task++) {
        float values[STRIP * BLOCK] __attribute__((aligned(64)));
        for (int b = 0; b < cb; b++) {
            const strip s = strip_at(c, hw, task / strips, task % strips * STRIP, b);
            grad_rows(late, b, s.blocked, 1, (ptrdiff_t)s.pixels * BLOCK, values, 0);
            pack(values, s.pixels, s.width, out + s.inner, c);
        }
    }
}

/* --- and back ---------------------------------------------------------------------------------------- */
/* What is read, strip by strip, and summed: a result or a gradient. */
typedef struct reading reading;
struct reading {
    int n, c, hw;
    const uint16_t *from;
    float *to;
    double *sums; /* or NULL */
    void (*read_strip)(const reading *r, const strip *s, pair *total);
    const float *bias; /* of a result */
    const float *x;    /* of a gradient, with all that follows */
    const nas__on_load *load;
    bool accumulate;
};

static void result_strip(const reading *r, const strip *s, pair *total) {
    const uint16_t *from = r->from + s->inner;
    float *to = r->to + s->blocked;
    const int pixels = s->pixels, row = r->c, width = s->width;
    vec offset = r->bias ? vload(r->bias + (size_t)s->block * BLOCK) : vzero(), sum = vzero(), squares = vzero();
    for (int p = 0; p < pixels; p++, from += row, to += BLOCK) {
        const vec v = unpack(from, width) + offset;
        vstore(to, v);
        sum += v;
        squares = vfma(v, v, squares);
    }
    fold(total->first, sum);
    fold(total->second, squares);
}

static void back_strip(const reading *r, const strip *s, pair *total) {
    const nas__load_block mask = load_block(r->load, s->block);
    const bool relu = r->load && r->load->relu, accumulate = r->accumulate;
    const uint16_t *from = r->from + s->inner;
    const float *x = r->x + s->blocked;
    float *to = r->to + s->blocked;
    const int pixels = s->pixels, row = r->c, width = s->width;
    vec sum = vzero(), products = vzero();
    for (int p = 0; p < pixels; p++, from += row, x += BLOCK, to += BLOCK) {
        const vec value = vload(x), read = unpack(from, width);
        const vec v = relu ? mask_gradient(&mask, value, read, true) : read;
        vstore(to, accumulate ? vload(to) + v : v);
        sum += v;
        products = vfma(v, value, products);
    }
    fold(total->first, sum);
    fold(total->second, products);
}

/* `partial` has `groups` times the pairs of all blocks. */
static void write_sums(const pair *partial, int groups, int cb, double *sums) {
    for (int b = 0; b < cb; b++) {
        const pair total = add_groups(partial, groups, cb, b);
        memcpy(sums + (size_t)b * BLOCK, total.first, sizeof total.first);
        memcpy(sums + (size_t)(cb + b) * BLOCK, total.second, sizeof total.second);
    }
}

static void read_all(const reading *r) {
    const int cb = (r->c + BLOCK - 1) / BLOCK, groups = image_groups(r->n, 1);
    nas__scratch *scratch = nas__scratch_acquire((size_t)groups * cb * sizeof(pair) / sizeof(float));
    if (!scratch) {
        return;
    }
    pair *partial = memset(nas__scratch_floats(scratch), 0, (size_t)groups * cb * sizeof(pair));
#pragma omp parallel for schedule(static) if ((size_t)r->n * r->c * r->hw >= SERIAL_BELOW)
    for (int g = 0; g < groups; g++) {
        for (int image = group_start(r->n, g, groups); image < group_start(r->n, g + 1, groups); image++) {
            for (int i = 0; i < (r->hw + STRIP - 1) / STRIP * cb; i++) {
                const strip s = strip_at(r->c, r->hw, image, i / cb * STRIP, i % cb);
                r->read_strip(r, &s, &partial[(size_t)g * cb + s.block]);
            }
        }
    }
    if (r->sums) {
        write_sums(partial, groups, cb, r->sums);
    }
    nas__scratch_release(scratch);
}

static void read_result(int n, int c, int hw, const uint16_t *z, const float *bias, float *y, double *sums) {
    read_all(&(reading){n, c, hw, z, y, sums, result_strip, .bias = bias});
}

static void read_back(int n, int c, int hw, const uint16_t *dh, const float *x, const nas__on_load *load, float *dx,
                      bool accumulate, double *in_sums) {
    read_all(&(reading){n, c, hw, dh, dx, in_sums, back_strip, .x = x, .load = load, .accumulate = accumulate});
}

const nas__bf16_kernels nas__bf16_avx512 = {write_values, write_gradient, read_result, read_back};
#endif
