/* simd.h - one vector = one channel block. Every simd_*.c is compiled once per instruction set (cmake/kernels.cmake)
 * with NAS_ISA=avx512|avx2|generic; NAS_SIMD(name) gives its functions a suffix, and kernels.c picks the table.
 *
 * The block is 16 channels with AVX-512 and 8 otherwise (oneDNN's fast layouts nChw16c and nChw8c). GCC's vector
 * extensions do the work; intrinsics appear only where the extensions have no word for it. */
#ifndef NAS_KERNELS_SIMD_H
#define NAS_KERNELS_SIMD_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#include <immintrin.h>
#define BLOCK 16
#elif defined(__AVX2__)
#include <immintrin.h>
#define BLOCK 8
#else
#define BLOCK 8
#endif

#define NAS_CAT2(a, b) a##_##b
#define NAS_CAT(a, b)  NAS_CAT2(a, b)
#define NAS_SIMD(name) NAS_CAT(name, NAS_ISA)
#define NAS_INLINE     static inline __attribute__((always_inline))

typedef float vec __attribute__((vector_size(BLOCK * 4), aligned(BLOCK * 4)));
typedef float vec_u __attribute__((vector_size(BLOCK * 4), aligned(4), may_alias)); /* unaligned access */
typedef int32_t ivec __attribute__((vector_size(BLOCK * 4), aligned(BLOCK * 4)));

NAS_INLINE vec vload(const float *p) { return *(const vec *)p; }
NAS_INLINE void vstore(float *p, vec v) { *(vec *)p = v; }
NAS_INLINE vec vloadu(const float *p) { return *(const vec_u *)p; }
NAS_INLINE void vstoreu(float *p, vec v) { *(vec_u *)p = v; }
NAS_INLINE vec vset1(float x) { return x - (vec){0}; }
NAS_INLINE vec vzero(void) { return (vec){0}; }

#if defined(__AVX512F__)
NAS_INLINE vec vmax(vec a, vec b) { return (vec)_mm512_max_ps((__m512)a, (__m512)b); }
NAS_INLINE vec vmin(vec a, vec b) { return (vec)_mm512_min_ps((__m512)a, (__m512)b); }
/* x where c > 0, else 0: the mask of ReLU's backward pass */
NAS_INLINE vec vmask_pos(vec c, vec x) {
    return (vec)_mm512_maskz_mov_ps(_mm512_cmp_ps_mask((__m512)c, _mm512_setzero_ps(), _CMP_GT_OQ), (__m512)x);
}
/* x where a > b, else 0 */
NAS_INLINE vec vmask_greater(vec a, vec b, vec x) {
    return (vec)_mm512_maskz_mov_ps(_mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_GT_OQ), (__m512)x);
}
NAS_INLINE vec vfma(vec a, vec b, vec c) { return (vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c); }
#elif defined(__AVX2__)
NAS_INLINE vec vmax(vec a, vec b) { return (vec)_mm256_max_ps((__m256)a, (__m256)b); }
NAS_INLINE vec vmin(vec a, vec b) { return (vec)_mm256_min_ps((__m256)a, (__m256)b); }
NAS_INLINE vec vmask_pos(vec c, vec x) {
    return (vec)_mm256_and_ps(_mm256_cmp_ps((__m256)c, _mm256_setzero_ps(), _CMP_GT_OQ), (__m256)x);
}
NAS_INLINE vec vmask_greater(vec a, vec b, vec x) {
    return (vec)_mm256_and_ps(_mm256_cmp_ps((__m256)a, (__m256)b, _CMP_GT_OQ), (__m256)x);
}
NAS_INLINE vec vfma(vec a, vec b, vec c) { return (vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }
#else
/* GCC takes comparisons of vectors wider than the registers apart into single lanes, but not those of their halves. */
typedef float half_vec __attribute__((vector_size(BLOCK * 2)));
typedef int32_t half_ivec __attribute__((vector_size(BLOCK * 2)));

/* NAME(a, b): all ones in the lanes where a OP b */
#define NAS_COMPARISON(NAME, OP)                                                                                       \
    NAS_INLINE ivec NAME(vec a, vec b) {                                                                               \
        union {                                                                                                        \
            vec whole;                                                                                                 \
            half_vec half[2];                                                                                          \
        } x = {a}, y = {b};                                                                                            \
        union {                                                                                                        \
            ivec whole;                                                                                                \
            half_ivec half[2];                                                                                         \
        } mask;                                                                                                        \
        mask.half[0] = x.half[0] OP y.half[0];                                                                         \
        mask.half[1] = x.half[1] OP y.half[1];                                                                         \
        return mask.whole;                                                                                             \
    }
NAS_COMPARISON(vgreater, >)
NAS_COMPARISON(vequal, ==)
NAS_INLINE vec vselect(ivec m, vec a, vec b) { return (vec)(((ivec)a & m) | ((ivec)b & ~m)); }
NAS_INLINE vec vmax(vec a, vec b) { return vselect(vgreater(a, b), a, b); }
NAS_INLINE vec vmin(vec a, vec b) { return vselect(vgreater(b, a), a, b); }
NAS_INLINE vec vmask_pos(vec c, vec x) { return (vec)((ivec)x & vgreater(c, vzero())); }
NAS_INLINE vec vmask_greater(vec a, vec b, vec x) { return (vec)((ivec)x & vgreater(a, b)); }
NAS_INLINE vec vfma(vec a, vec b, vec c) { return a * b + c; }
#endif

/* Flat arrays are shared among threads, and summed, in pieces of this many floats, whatever the number of threads. */
enum { FLAT_PIECE = 4096 };

/* Work on fewer floats than this is over before the other threads have woken up. */
enum { SERIAL_BELOW = 1 << 15 };

/* Sums over images are taken in groups that depend on the shape alone, then the groups in order: the result does not
 * depend on the number of threads. Enough groups to occupy many threads, few enough to make their sum cheap. */
NAS_INLINE int image_groups(int n, int cb) {
    const int groups = (128 + cb - 1) / cb;
    return n < groups ? n : groups;
}

NAS_INLINE int group_start(int n, int group, int groups) { return (int)((int64_t)n * group / groups); }

/* total[i] += lane i */
NAS_INLINE void fold(double *total, vec v) {
    typedef float half __attribute__((vector_size(BLOCK * 2)));
    typedef double wide_half __attribute__((vector_size(BLOCK * 4), aligned(8), may_alias));
    union {
        vec whole;
        half part[2];
    } x = {v};
    *(wide_half *)total += __builtin_convertvector(x.part[0], wide_half);
    *(wide_half *)(total + BLOCK / 2) += __builtin_convertvector(x.part[1], wide_half);
}

/* Adds up the lanes in a fixed order. */
NAS_INLINE float vsum(vec v) {
    float s = 0;
    for (int i = 0; i < BLOCK; i++) {
        s += v[i];
    }
    return s;
}

#endif
