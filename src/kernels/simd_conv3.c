/* simd_conv3.c - dense 3x3 convolution, stride 1, by Winograd's F(4x4,3x3) (Lavin and Gray, 2016). Each thread takes
 * groups of rows of tiles, large enough to use each transformed weight often, small enough to stay in the second cache
 * between the three steps: transform the inputs, 36 matrix products, transform the products back. */
#include "simd_conv3.h"

/* Tiles of a group: V and M together fill about this many floats, within these limits. */
enum { GROUP_FLOATS = C3_POSITIONS * 4096, LEAST_TILES = 16, MOST_TILES = 64 };

c3_job NAS_SIMD(nas__conv3_forward_job)(const nas__conv3 *s, const float *u) {
    return (c3_job){
        .in = {s->h, s->w, s->pad_h, s->pad_w, c3_blocks(s->in), c3_tiles_of(s->oh), c3_tiles_of(s->ow)},
        .out = {s->oh, s->ow, 0, 0, c3_blocks(s->out), c3_tiles_of(s->oh), c3_tiles_of(s->ow)},
        .in_channels = s->in,
        .u = u,
    };
}

int NAS_SIMD(nas__conv3_group_rows)(const c3_job *j) {
    const int per_tile = C3_POSITIONS * (j->in.blocks + j->out.blocks) * BLOCK;
    const int tiles = c3_max(LEAST_TILES, c3_min(MOST_TILES, GROUP_FLOATS / per_tile));
    const int rows = c3_max(1, tiles / j->in.tile_cols);
    return rows > j->in.tile_rows ? rows / j->in.tile_rows * j->in.tile_rows : rows; /* whole images, if any */
}

size_t NAS_SIMD(nas__conv3_group_floats)(const c3_job *j, int rows) {
    const int tiles = rows * j->in.tile_cols;
    return c3_temp_size(j->in.tile_cols) +
           C3_POSITIONS * (c3_stride(tiles, j->in.blocks) + c3_stride(tiles, j->out.blocks));
}

/* Where a row of tiles begins; behind the plane if it sees nothing but the border. */
static size_t row_offset(const c3_plane *p, int row) {
    const size_t image = (size_t)p->blocks * p->h * p->w * BLOCK;
    return row / p->tile_rows * image + (size_t)c3_min(row % p->tile_rows * 4, p->h) * p->w * BLOCK;
}

void NAS_SIMD(nas__conv3_look_ahead)(c3_ahead *a, const c3_plane *p, const float *array, int first, int rows) {
    if (!array || rows <= 0 || (p->blocks > 1 && (first % p->tile_rows || rows % p->tile_rows))) {
        return;
    }
    const size_t from = row_offset(p, first), to = row_offset(p, first + rows);
    a->from[a->arrays] = array + from;
    a->count[a->arrays++] = to - from;
}

c3_space NAS_SIMD(nas__conv3_divide)(const c3_job *j, int rows, float *memory) {
    const int tiles = rows * j->in.tile_cols;
    c3_space space = {.temp = memory};
    memory += c3_temp_size(j->in.tile_cols);
    space.in = (c3_tiles){memory, c3_stride(tiles, j->in.blocks), j->in.blocks};
    memory += C3_POSITIONS * space.in.stride;
    space.out = (c3_tiles){memory, c3_stride(tiles, j->out.blocks), j->out.blocks};
    return space;
}

void NAS_SIMD(nas__conv3_convolve)(const c3_job *j, const float *x, const nas__on_load *load, int first, int rows,
                                   float *memory, const c3_store *how, float *z, const c3_ahead *ahead) {
    const int tiles = rows * j->in.tile_cols;
    const c3_space w = NAS_SIMD(nas__conv3_divide)(j, rows, memory);
    const size_t position = (size_t)j->in_channels * j->out.blocks * BLOCK;
    NAS_SIMD(nas__conv3_windows)(&j->in, x, load, first, rows, w.temp, &w.in);
    for (int p = 0; p < C3_POSITIONS; p++) {
        NAS_SIMD(nas__conv3_multiply)
        (w.in.values + p * w.in.stride, j->in.blocks * BLOCK, j->u + p * position, j->in_channels, j->out.blocks, tiles,
         w.out.values + p * w.out.stride);
        c3_prefetch(ahead, p);
    }
    NAS_SIMD(nas__conv3_outputs)(&j->out, &w.out, first, rows, how, z);
}

void NAS_SIMD(nas__conv3_forward)(const nas__conv3 *s, const float *x, const nas__on_load *load, const float *u,
                                  const float *bias, const nas__on_load *act, float *z, double *sums) {
    const c3_job j = NAS_SIMD(nas__conv3_forward_job)(s, u);
    const int total = s->n * j.in.tile_rows; /* small batches still give work to some threads */
    const int rows = c3_min((total + 3) / 4, NAS_SIMD(nas__conv3_group_rows)(&j));
    const int groups = (total + rows - 1) / rows, count = 2 * j.out.blocks * BLOCK;
    nas__scratch *shared = nas__scratch_acquire(sums ? (size_t)groups * count * 2 : 0);
    if (!shared) {
        return;
    }
    float *parts = nas__scratch_floats(shared);
    nas__scratch *spaces = nas__scratch_acquire_team(NAS_SIMD(nas__conv3_group_floats)(&j, rows));
    if (!spaces) {
        nas__scratch_release(shared);
        return;
    }
    nas__tasks tasks;
    nas__tasks_share(&tasks, groups);
#pragma omp parallel if (groups > 1)
    {
        nas__turn turn = {0};
        for (int g; (g = nas__tasks_next(&tasks, &turn)) >= 0;) {
            const c3_store how = {.bias = bias, .act = act, .sums = sums ? c3_zero_sums(parts, g, count) : NULL};
            const int first = g * rows, next = first + rows;
            c3_ahead ahead = {.arrays = 0};
            NAS_SIMD(nas__conv3_look_ahead)(&ahead, &j.in, x, next, c3_min(rows, total - next));
            NAS_SIMD(nas__conv3_look_ahead)(&ahead, &j.out, z, next, c3_min(rows, total - next));
            NAS_SIMD(nas__conv3_convolve)
            (&j, x, load, first, c3_min(rows, total - first), nas__scratch_mine(spaces), &how, z, &ahead);
        }
    }
    if (sums) {
        c3_add_sums(parts, groups, count, sums);
    }
    nas__scratch_release(spaces);
    nas__scratch_release(shared);
}
