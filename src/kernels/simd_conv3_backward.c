/* simd_conv3_backward.c - the gradients of the 3x3 convolution. A part is a few images: their late gradient is computed
 * once, then convolved for the gradient of the data and correlated with the input for that of the weights. */
#include "simd_conv3.h"

#include <omp.h>

typedef struct plan {
    const nas__conv3 *s;
    const nas__conv3_grads *g;
    c3_job data, weights;
    int data_rows, weight_rows; /* of tiles in a group */
    int images, parts;          /* images of a part */
    int tasks;                  /* of one or more parts; each has its own dU */
    size_t late_floats, du_floats, own_floats;
    int sum_count;
} plan;

static c3_job data_job(const nas__conv3 *s, const float *u) {
    return (c3_job){
        .in = {s->oh, s->ow, 2 - s->pad_h, 2 - s->pad_w, c3_blocks(s->out), c3_tiles_of(s->h), c3_tiles_of(s->w)},
        .out = {s->h, s->w, 0, 0, c3_blocks(s->in), c3_tiles_of(s->h), c3_tiles_of(s->w)},
        .in_channels = s->out,
        .u = u,
    };
}

/* Can the buffer be read as it is? */
static bool is_plain(const nas__late_grad *d) { return !d->a && !d->masked && d->scale == 1; }

/* The gradient of small weights is collected in a number of places that depends on the shape alone, so that the sum
 * does not depend on the threads; large ones afford one place for each thread only. */
static int weight_tasks(const plan *p) {
    enum { PLACES_FLOATS = 1 << 18, MOST_PLACES = 16 };
    const int places = (int)(PLACES_FLOATS / p->du_floats);
    return c3_min(p->parts, c3_max(c3_min(places, MOST_PLACES), omp_get_max_threads()));
}

static plan make_plan(const nas__conv3 *s, const nas__conv3_grads *g) {
    plan p = {.s = s, .g = g, .data = data_job(s, g->u), .weights = NAS_SIMD(nas__conv3_forward_job)(s, NULL)};
    const int rows = NAS_SIMD(nas__conv3_group_rows)(&p.data);
    p.images = c3_max(1, c3_min(rows / p.data.in.tile_rows, s->n / 4));
    p.parts = (s->n + p.images - 1) / p.images;
    p.data_rows = c3_min(rows, p.images * p.data.in.tile_rows);
    p.weight_rows = c3_min(NAS_SIMD(nas__conv3_group_rows)(&p.weights), p.images * p.weights.in.tile_rows);
    const size_t data = NAS_SIMD(nas__conv3_group_floats)(&p.data, p.data_rows);
    const size_t weights = NAS_SIMD(nas__conv3_group_floats)(&p.weights, p.weight_rows);
    p.late_floats = NAS_SIMD(nas__conv3_late_floats)(s, g->dz, p.images);
    p.own_floats = p.late_floats + (data > weights ? data : weights);
    p.du_floats = (size_t)C3_POSITIONS * s->in * c3_blocks(s->out) * BLOCK;
    p.tasks = g->dw ? weight_tasks(&p) : p.parts;
    p.sum_count = 2 * c3_blocks(s->in) * BLOCK;
    return p;
}

const float *NAS_SIMD(nas__conv3_late_images)(const nas__conv3 *s, const nas__late_grad *d, int first, int images,
                                              float *t) {
    const int blocks = c3_blocks(s->out);
    const size_t plane = (size_t)s->oh * s->ow * BLOCK, start = (size_t)first * blocks * plane;
    if (is_plain(d)) {
        return d->g + start;
    }
    for (int i = 0; i < images * blocks; i++) {
        grad_rows(d, i % blocks, start + i * plane, 1, (ptrdiff_t)plane, t + i * plane, 0);
    }
    return t;
}

size_t NAS_SIMD(nas__conv3_late_floats)(const nas__conv3 *s, const nas__late_grad *d, int images) {
    return is_plain(d) ? 0 : (size_t)images * c3_blocks(s->out) * s->oh * s->ow * BLOCK;
}

static void data_gradient(const plan *p, int first, int images, const float *dz, float *memory, double *sums,
                          const c3_ahead *ahead) {
    const nas__conv3_grads *g = p->g;
    const size_t start = (size_t)first * p->data.out.blocks * p->s->h * p->s->w * BLOCK;
    const int rows = images * p->data.in.tile_rows;
    c3_store how = {.load = g->load, .mask = g->load && g->load->relu, .accumulate = g->accumulate, .sums = sums};
    how.x = how.mask || sums ? g->x + start : NULL;
    const c3_ahead nothing = {.arrays = 0};
    for (int r = 0; r < rows; r += p->data_rows) {
        NAS_SIMD(nas__conv3_convolve)
        (&p->data, dz, NULL, r, c3_min(p->data_rows, rows - r), memory, &how, g->dx + start, r ? &nothing : ahead);
    }
}

static void weight_gradient(const plan *p, int first, int images, const float *dz, float *memory, float *du, bool fresh,
                            const c3_ahead *ahead) {
    const c3_job *j = &p->weights;
    const float *x = p->g->x + (size_t)first * j->in.blocks * p->s->h * p->s->w * BLOCK;
    const size_t position = p->du_floats / C3_POSITIONS;
    const int total = images * j->in.tile_rows;
    for (int r = 0; r < total; r += p->weight_rows) {
        const int rows = c3_min(p->weight_rows, total - r), tiles = rows * j->in.tile_cols;
        const c3_space w = NAS_SIMD(nas__conv3_divide)(j, rows, memory);
        NAS_SIMD(nas__conv3_windows)(&j->in, x, p->g->load, r, rows, w.temp, &w.in);
        NAS_SIMD(nas__conv3_spread)(&j->out, dz, r, rows, w.temp, &w.out);
        for (int i = 0; i < C3_POSITIONS; i++) {
            NAS_SIMD(nas__conv3_correlate)
            (w.in.values + i * w.in.stride, j->in.blocks * BLOCK, w.out.values + i * w.out.stride,
             j->out.blocks * BLOCK, tiles, p->s->in, j->out.blocks, fresh && r == 0, du + i * position);
            if (r == 0) {
                c3_prefetch(ahead, i);
            }
        }
    }
}

static void look_ahead(const plan *p, int first, c3_ahead *data, c3_ahead *weights) {
    const nas__conv3_grads *g = p->g;
    const nas__late_grad *d = g->dz;
    const int rows = c3_min(p->images, p->s->n - first), in_rows = p->data.out.tile_rows;
    const int out_rows = p->weights.out.tile_rows;
    c3_ahead *one = g->dx ? data : weights, *other = g->dw ? weights : data;
    NAS_SIMD(nas__conv3_look_ahead)(one, &p->weights.out, d->g, first * out_rows, rows * out_rows);
    if (d->masked || (d->a && d->b)) {
        NAS_SIMD(nas__conv3_look_ahead)(one, &p->weights.out, d->z, first * out_rows, rows * out_rows);
    }
    NAS_SIMD(nas__conv3_look_ahead)(other, &p->data.out, g->x, first * in_rows, rows * in_rows);
    NAS_SIMD(nas__conv3_look_ahead)(other, &p->data.out, g->dx, first * in_rows, rows * in_rows);
}

static void run_task(const plan *p, int task, float *memory, float *sums, float *du) {
    const int from = group_start(p->parts, task, p->tasks), to = group_start(p->parts, task + 1, p->tasks);
    float *rest = memory + p->late_floats;
    for (int part = from; part < to; part++) {
        const int first = part * p->images, images = c3_min(p->images, p->s->n - first);
        const float *dz = NAS_SIMD(nas__conv3_late_images)(p->s, p->g->dz, first, images, memory);
        c3_ahead data = {.arrays = 0}, weights = {.arrays = 0};
        look_ahead(p, first + images, &data, &weights);
        if (p->g->dx) {
            data_gradient(p, first, images, dz, rest, p->g->in_sums ? c3_zero_sums(sums, part, p->sum_count) : NULL,
                          &data);
        }
        if (p->g->dw) {
            weight_gradient(p, first, images, dz, rest, du + task * p->du_floats, part == from, &weights);
        }
    }
}

static void by_parts(const nas__conv3 *s, const nas__conv3_grads *g) {
    const plan p = make_plan(s, g);
    const size_t sum_floats = g->dx && g->in_sums ? ((size_t)p.parts * p.sum_count * 2 + 15) / 16 * 16 : 0;
    nas__scratch *shared = nas__scratch_acquire(sum_floats + (g->dw ? p.tasks * p.du_floats : 0));
    if (!shared) {
        return;
    }
    float *sums = nas__scratch_floats(shared), *du = sums + sum_floats;
    nas__scratch *spaces = nas__scratch_acquire_team(p.own_floats);
    if (!spaces) {
        nas__scratch_release(shared);
        return;
    }
    nas__tasks tasks;
    nas__tasks_share(&tasks, p.tasks);
#pragma omp parallel if (p.tasks > 1)
    {
        nas__turn turn = {0};
        for (int task; (task = nas__tasks_next(&tasks, &turn)) >= 0;) {
            run_task(&p, task, nas__scratch_mine(spaces), sums, du);
        }
#pragma omp barrier
        if (g->dw) {
            NAS_SIMD(nas__conv3_weight_gradient)(s, du, p.du_floats, p.tasks, g->dw);
        }
    }
    if (sum_floats) {
        c3_add_sums(sums, p.parts, p.sum_count, g->in_sums);
    }
    nas__scratch_release(spaces);
    nas__scratch_release(shared);
}

void NAS_SIMD(nas__conv3_backward)(const nas__conv3 *s, const nas__conv3_grads *g) {
    if (!g->dw || !NAS_SIMD(nas__conv3_many_weights)(s)) {
        by_parts(s, g);
        return;
    }
    if (g->dx) {
        nas__conv3_grads data = *g;
        data.dw = NULL;
        by_parts(s, &data);
    }
    NAS_SIMD(nas__conv3_gradient_of_many)(s, g);
}
