/* simd_conv3.h - the parts of the 3x3 convolution by Winograd's F(4x4,3x3). A tile of 4x4 outputs needs 6x6 inputs d;
 * with the matrices of the points 0, +-C3_A, +-C3_B and infinity,
 *     y = A^T [ sum over input channels of (G g G^T) * (B^T d B) ] A        (36 products instead of 144),
 * so a convolution is 36 matrix products, one for each of the 36 "positions" of the transformed tile. Its adjoints have
 * the same form: the gradient of the data is the convolution with the kernels turned round, that of the weights is
 *     dg = G^T [ sum over tiles of (B^T d B) * (A dy A^T) ] G.
 *
 * Layouts: V and M are [position][tile][padded channels] with a stride between positions that c3_stride chooses; U and
 * its gradient are [position][panel][real input channels][C3_PANEL vectors of output channels] (the last panel may be
 * narrower). "row" means a row of tiles; the rows of all images are counted through. */
#ifndef NAS_KERNELS_SIMD_CONV3_H
#define NAS_KERNELS_SIMD_CONV3_H

#include "kernels/simd_late.h"
#include "simd_functions.h"
#include "kernels/scratch.h"
#include "kernels/tasks.h"

/* The points, exact in binary, and their squares: errors are half of those with 1 and 2 or 1 and 1/2 (rms 5e-7 of the
 * results' rms with 16 channels, 2.3e-6 with 512). */
#define C3_A  0.75f
#define C3_B  1.5f
#define C3_A2 0.5625f
#define C3_B2 2.25f

enum { C3_POSITIONS = 36, C3_PANEL = 2 };

NAS_INLINE int c3_min(int a, int b) { return a < b ? a : b; }
NAS_INLINE int c3_max(int a, int b) { return a > b ? a : b; }
NAS_INLINE int c3_blocks(int channels) { return (channels + BLOCK - 1) / BLOCK; }
NAS_INLINE int c3_tiles_of(int pixels) { return (pixels + 3) / 4; }

/* Floats between two positions: an odd number of cache lines, so that the 36 do not fall into one set of the cache. */
NAS_INLINE size_t c3_stride(int tiles, int blocks) {
    const size_t lines = ((size_t)tiles * blocks * BLOCK + 15) / 16;
    return (lines | 1) * 16;
}

/* A plane that is cut into rows of tiles. */
typedef struct c3_plane {
    int h, w, pad_h, pad_w; /* of the tensor, and the border that the first tile reaches into */
    int blocks;             /* channel blocks */
    int tile_rows, tile_cols;
} c3_plane;

typedef struct c3_tiles {
    float *values; /* V or M */
    size_t stride; /* between positions */
    int blocks;
} c3_tiles;

/* The `count` doubles of one part, set to zero; a double takes the room of two floats. */
NAS_INLINE double *c3_zero_sums(float *memory, int part, int count) {
    double *sums = (double *)(void *)memory + (size_t)part * count;
    return memset(sums, 0, sizeof(double) * count);
}

/* The sum over parts, in their order. */
NAS_INLINE void c3_add_sums(const float *memory, int parts, int count, double *sums) {
    const double *part = (const double *)(const void *)memory;
    memset(sums, 0, sizeof(double) * count);
    for (int p = 0; p < parts; p++, part += count) {
        for (int i = 0; i < count; i++) {
            sums[i] += part[i];
        }
    }
}

/* V of `rows` rows from `first` on: the 6x6 windows of x. temp holds c3_temp_size() floats. */
void NAS_SIMD(nas__conv3_windows)(const c3_plane *p, const float *x, const nas__on_load *load, int first, int rows,
                                  float *temp, const c3_tiles *v);
/* The same for the 4x4 windows of a gradient, outwards: A dy A^T. */
void NAS_SIMD(nas__conv3_spread)(const c3_plane *p, const float *dy, int first, int rows, float *temp,
                                 const c3_tiles *q);
NAS_INLINE size_t c3_temp_size(int tile_cols) { return (size_t)6 * (4 * tile_cols + 2) * BLOCK; }

/* What becomes of the outputs. */
typedef struct c3_store {
    const float *bias;       /* NULL, or added */
    const nas__on_load *act; /* NULL, or the activation (relu, cap) to apply */
    const float *x;          /* gradient of the data: the input, for the mask and the sums */
    const nas__on_load *load;
    bool mask, accumulate; /* mask: only where load's result is inside its limits */
    double *sums;          /* NULL, or [2][padded], added to: of z and z*z, or of dh and dh*x with x given */
} c3_store;

/* A^T m A of `rows` rows from `first` on to z, a plane of p->h x p->w. */
void NAS_SIMD(nas__conv3_outputs)(const c3_plane *p, const c3_tiles *m, int first, int rows, const c3_store *how,
                                  float *z);

/* m[tile][out] = v[tile][in] u[in][out] of one position; in: real channels. */
void NAS_SIMD(nas__conv3_multiply)(const float *v, int v_row, const float *u, int in, int out_blocks, int tiles,
                                   float *m);
/* du[in][out] (+)= sum over tiles of v[tile][in] q[tile][out] */
void NAS_SIMD(nas__conv3_correlate)(const float *v, int v_row, const float *q, int q_row, int tiles, int in,
                                    int out_blocks, bool first, float *du);

/* One kernel for each of `lanes` output channels: dw = G^T (sum of n_parts dU) G, lane_step floats from one to the
 * next.
 */
void NAS_SIMD(nas__conv3_kernel_gradient)(const float *du, size_t position, size_t part, int n_parts, int lanes,
                                          ptrdiff_t lane_step, float *dw);
/* All kernels: dw = G^T (sum of n_parts dU) G, to plain weights. part: floats between two dU. */
void NAS_SIMD(nas__conv3_weight_gradient)(const nas__conv3 *s, const float *du, size_t part, int n_parts, float *dw);

/* A convolution of `in` planes to `out` planes, forwards or for the gradient of the data; for the gradient of the
 * weights, out is where dz lies. */
typedef struct c3_job {
    c3_plane in, out; /* cut into the same tiles */
    int in_channels;
    const float *u;
} c3_job;

c3_job NAS_SIMD(nas__conv3_forward_job)(const nas__conv3 *s, const float *u);
/* Rows of tiles that a thread takes at once, and floats that it needs for them. */
int NAS_SIMD(nas__conv3_group_rows)(const c3_job *j);
size_t NAS_SIMD(nas__conv3_group_floats)(const c3_job *j, int rows);

/* Two arrays of transformed tiles, for in and for out, behind a temporary strip. */
typedef struct c3_space {
    float *temp;
    c3_tiles in, out;
} c3_space;

/* What the next group will touch: brought to the second cache during the products, which leave memory idle. */
typedef struct c3_ahead {
    const float *from[4];
    size_t count[4]; /* floats */
    int arrays;
} c3_ahead;

/* Adds `rows` rows of an array from `first` on, if they are contiguous. */
void NAS_SIMD(nas__conv3_look_ahead)(c3_ahead *a, const c3_plane *p, const float *array, int first, int rows);

/* The share of one position. */
NAS_INLINE void c3_prefetch(const c3_ahead *a, int position) {
    for (int i = 0; i < a->arrays; i++) {
        const size_t from = a->count[i] * position / C3_POSITIONS / 16,
                     to = a->count[i] * (position + 1) / C3_POSITIONS / 16;
        for (size_t line = from; line < to; line++) {
            __builtin_prefetch(a->from[i] + line * 16, 0, 2);
        }
    }
}

c3_space NAS_SIMD(nas__conv3_divide)(const c3_job *j, int rows, float *memory);
void NAS_SIMD(nas__conv3_convolve)(const c3_job *j, const float *x, const nas__on_load *load, int first, int rows,
                                   float *memory, const c3_store *how, float *z, const c3_ahead *ahead);

/* dz of some images: the buffer, if it can be read as it is, or computed into t. */
const float *NAS_SIMD(nas__conv3_late_images)(const nas__conv3 *s, const nas__late_grad *d, int first, int images,
                                              float *t);
size_t NAS_SIMD(nas__conv3_late_floats)(const nas__conv3 *s, const nas__late_grad *d, int images);

/* The gradient of many weights over few tiles. */
bool NAS_SIMD(nas__conv3_many_weights)(const nas__conv3 *s);
void NAS_SIMD(nas__conv3_gradient_of_many)(const nas__conv3 *s, const nas__conv3_grads *g);

#endif
