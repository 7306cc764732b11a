/* simd_conv3_many.c - the gradient of the weights when there are many of them and few tiles, as at the end of a ResNet.
 * Their transformed gradient would not stay in the cache while it is summed over groups of tiles; here all tiles are
 * transformed first, then each piece of the gradient is summed at one go and transformed back at once. */
#include "simd_conv3.h"

enum { PIECE = 64 }; /* input channels of a piece, beside a panel of output channels */

typedef struct plan {
    const nas__conv3 *s;
    const nas__conv3_grads *g;
    c3_job job;
    int tiles, pieces, panels;
    c3_tiles v, q; /* of all tiles */
} plan;

/* The gradient is larger than 4 MB, the transformed tiles not larger than 32 MB. */
bool NAS_SIMD(nas__conv3_many_weights)(const nas__conv3 *s) {
    const size_t tiles = (size_t)s->n * c3_tiles_of(s->oh) * c3_tiles_of(s->ow);
    const size_t channels = (size_t)(c3_blocks(s->in) + c3_blocks(s->out)) * BLOCK;
    return (size_t)C3_POSITIONS * s->in * s->out > 1 << 20 && C3_POSITIONS * tiles * channels <= 1 << 23;
}

/* V and Q of one image. */
static void transform_image(const plan *p, int image, float *memory) {
    const c3_job *j = &p->job;
    const int rows = j->in.tile_rows;
    const size_t first_tile = (size_t)image * rows * j->in.tile_cols;
    float *late = memory + c3_temp_size(j->in.tile_cols);
    c3_tiles v = p->v, q = p->q;
    v.values += first_tile * v.blocks * BLOCK;
    q.values += first_tile * q.blocks * BLOCK;
    const float *dz = NAS_SIMD(nas__conv3_late_images)(p->s, p->g->dz, image, 1, late);
    NAS_SIMD(nas__conv3_windows)(&j->in, p->g->x, p->g->load, image * rows, rows, memory, &v);
    NAS_SIMD(nas__conv3_spread)(&j->out, dz, 0, rows, memory, &q);
}

static void one_piece(const plan *p, int panel, int piece, float *du) {
    const int block = panel * C3_PANEL, width = c3_min(C3_PANEL, p->q.blocks - block);
    const int first = piece * PIECE, in = c3_min(PIECE, p->s->in - first);
    const size_t position = (size_t)in * width * BLOCK;
    for (int i = 0; i < C3_POSITIONS; i++) {
        NAS_SIMD(nas__conv3_correlate)
        (p->v.values + i * p->v.stride + first, p->v.blocks * BLOCK,
         p->q.values + i * p->q.stride + (size_t)block * BLOCK, p->q.blocks * BLOCK, p->tiles, in, width, true,
         du + i * position);
    }
    for (int i = 0; i < in; i++) {
        for (int b = 0; b < width; b++) {
            const int out = (block + b) * BLOCK;
            NAS_SIMD(nas__conv3_kernel_gradient)
            (du + (size_t)(i * width + b) * BLOCK, position, 0, 1, c3_min(BLOCK, p->s->out - out),
             (ptrdiff_t)p->s->in * 9, p->g->dw + ((size_t)out * p->s->in + first + i) * 9);
        }
    }
}

void NAS_SIMD(nas__conv3_gradient_of_many)(const nas__conv3 *s, const nas__conv3_grads *g) {
    plan p = {.s = s, .g = g, .job = NAS_SIMD(nas__conv3_forward_job)(s, NULL)};
    const int in_blocks = p.job.in.blocks, out_blocks = p.job.out.blocks;
    p.tiles = s->n * p.job.in.tile_rows * p.job.in.tile_cols;
    p.pieces = (s->in + PIECE - 1) / PIECE;
    p.panels = (out_blocks + C3_PANEL - 1) / C3_PANEL;
    p.v = (c3_tiles){NULL, c3_stride(p.tiles, in_blocks), in_blocks};
    p.q = (c3_tiles){NULL, c3_stride(p.tiles, out_blocks), out_blocks};
    const size_t transform = c3_temp_size(p.job.in.tile_cols) + NAS_SIMD(nas__conv3_late_floats)(s, g->dz, 1);
    const size_t piece = (size_t)C3_POSITIONS * PIECE * C3_PANEL * BLOCK;
    nas__scratch *shared = nas__scratch_acquire(C3_POSITIONS * (p.v.stride + p.q.stride));
    if (!shared) {
        return;
    }
    nas__scratch *spaces = nas__scratch_acquire_team(transform > piece ? transform : piece);
    if (!spaces) {
        nas__scratch_release(shared);
        return;
    }
    p.v.values = nas__scratch_floats(shared);
    p.q.values = p.v.values + C3_POSITIONS * p.v.stride;
#pragma omp parallel
    {
#pragma omp for schedule(static)
        for (int image = 0; image < s->n; image++) {
            transform_image(&p, image, nas__scratch_mine(spaces));
        }
#pragma omp for schedule(static)
        for (int task = 0; task < p.panels * p.pieces; task++) {
            one_piece(&p, task / p.pieces, task % p.pieces, nas__scratch_mine(spaces));
        }
    }
    nas__scratch_release(spaces);
    nas__scratch_release(shared);
}
