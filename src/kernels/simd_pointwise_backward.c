/* simd_pointwise_backward.c - backward pass of 1x1 convolutions: a strip's gradient is finished on load, multiplied
 * with the values for the weights and with the weights for dx, which goes through the activation's mask to where it
 * came from. */
#include "kernels/tasks.h"
#include "simd_pointwise_strips.h"

/* Groups have a gradient of the weights each: few when these are many. */
enum { GROUPS = 128, FEW_GROUPS = 8, PARTIAL_FLOATS = 1 << 18, STRIP_FLOATS = 12 * 1024 };

typedef struct backward {
    pw_cut cut;
    const nas__pointwise_grads *g;
    float *partial;                   /* [groups][in_all][out padded], or NULL */
    double *sums;                     /* [groups][2][in padded], or NULL */
    bool accumulate[NAS__MOST_PARTS]; /* scattered gradients always are */
} backward;

/* What one thread works in. */
typedef struct workspace {
    float *dz, *values, *middle; /* [out blocks][strip], [blocks of all parts][strip] both */
    int32_t *source;
    ahead ahead; /* of the next strip */
} workspace;

/* --- the gradient of the output ----------------------------------------------------------------------- */
static void finish_gradient(const backward *b, const pw_strip *s, float *dz) {
    const pw_cut *c = &b->cut;
    const size_t row = (size_t)s->count * BLOCK;
    for (int block = 0; block < c->out_blocks; block++, dz += (size_t)c->strip * BLOCK) {
        for (int i = 0; i < s->images; i++) {
            const size_t at = (((size_t)(s->image + i) * c->out_blocks + block) * c->pixels + s->from) * BLOCK;
            grad_rows(b->g->dz, block, at, 1, (ptrdiff_t)row, dz + i * row, 0);
        }
    }
}

/* --- the gradient of the input ------------------------------------------------------------------------ */
NAS_INLINE void scatter_block(const float *from, const int32_t *source, int count, const float *x,
                              const nas__load_block *load, float *dx, const bool masked, const bool accumulate,
                              vec *sums) {
    for (int i = 0; i < count; i++) {
        const ptrdiff_t at = (ptrdiff_t)source[i] * BLOCK;
        vec v = vload(from + (ptrdiff_t)i * BLOCK);
        if (masked) {
            v = mask_gradient(load, vload(x + at), v, true);
        }
        if (sums) {
            sums[0] += v;
            sums[1] = vfma(v, vload(x + at), sums[1]);
        }
        vstore(dx + at, accumulate ? v + vload(dx + at) : v);
    }
}

static void scatter(const backward *b, const pw_strip *s, const workspace *w, double *total) {
    const pw_cut *c = &b->cut;
    const bool masked = c->load && c->load->relu;
    for (int i = 0; i < b->cut.all_blocks; i++) {
        const int part = i / c->in_blocks, block = i % c->in_blocks;
        if (!b->g->dx[part]) {
            continue;
        }
        const size_t plane = pw_plane(c, s, block);
        const float *from = w->middle + (size_t)i * c->strip * BLOCK, *x = b->g->x[part] + plane;
        float *dx = b->g->dx[part] + plane;
        const nas__load_block load = load_block(c->load, i);
        vec sums[2] = {vzero(), vzero()};
        if (total) {
            scatter_block(from, w->source, s->all, x, &load, dx, masked, b->accumulate[part], sums);
            fold(total + (size_t)block * BLOCK, sums[0]);
            fold(total + (size_t)(c->in_blocks + block) * BLOCK, sums[1]);
        } else if (masked) {
            scatter_block(from, w->source, s->all, x, &load, dx, true, b->accumulate[part], NULL);
        } else {
            scatter_block(from, w->source, s->all, x, &load, dx, false, b->accumulate[part], NULL);
        }
    }
}

static void input_gradient(const backward *b, const pw_strip *s, workspace *w, double *total) {
    const pw_cut *c = &b->cut;
    const int blocks = b->cut.all_blocks, out = c->p->out;
    pw_product product = {.x = w->dz,
                          .x_block = (ptrdiff_t)c->strip * BLOCK,
                          .y_block = (ptrdiff_t)c->strip * BLOCK,
                          .parts = 1,
                          .in = out,
                          .pixels = s->all,
                          .ahead = &w->ahead};
    for (int block = 0; block < blocks; block += product.blocks) {
        product.blocks = pw_width(blocks - block);
        product.w = c->p->weights_t + (size_t)block * BLOCK * out;
        product.y = w->middle + block * product.y_block;
        NAS_SIMD(nas__pw_multiply)(&product);
    }
    scatter(b, s, w, total);
}

/* What the next strip will read and write is fetched while this one is multiplied. */
static void look_ahead(const backward *b, int task, ahead *a) {
    const pw_cut *c = &b->cut;
    const nas__pointwise_grads *g = b->g;
    ahead_reset(a);
    if (task + 1 >= c->tasks) {
        return;
    }
    const pw_strip next = pw_find_strip(c, task + 1);
    const bool x = g->d_weights || g->in_sums || (g->load && g->load->relu), z = g->dz->b || g->dz->masked;
    pw_look_ahead(a, &next, g->dz->g, c->out_blocks, c->pixels);
    pw_look_ahead(a, &next, z ? g->dz->z : NULL, c->out_blocks, c->pixels);
    for (int part = 0; c->dense && part < c->p->parts; part++) {
        pw_look_ahead(a, &next, x ? g->x[part] : NULL, c->in_blocks, c->pixels);
        pw_look_ahead(a, &next, g->dx ? g->dx[part] : NULL, c->in_blocks, c->pixels);
    }
    ahead_spread(a, (g->dx ? pw_moments(&next, c->out_blocks, c->all_blocks) : 0) +
                        (g->d_weights ? pw_moments(&next, c->in_all, c->out_blocks) / PW_PIXELS : 0));
}

/* --- strips -------------------------------------------------------------------------------------------- */
/* first: of its group. */
static void run_strip(const backward *b, int task, bool first, workspace *w, float *dw, double *total) {
    const pw_cut *c = &b->cut;
    const pw_strip s = pw_find_strip(c, task);
    look_ahead(b, task, &w->ahead);
    pw_sources(c, &s, w->source);
    finish_gradient(b, &s, w->dz);
    if (dw) {
        const pw_gradient gradient = {.x = w->values,
                                      .dy = w->dz,
                                      .dw = dw,
                                      .x_block = (ptrdiff_t)c->strip * BLOCK,
                                      .dy_block = (ptrdiff_t)c->strip * BLOCK,
                                      .parts = c->p->parts,
                                      .in = c->p->in,
                                      .pixels = s.all,
                                      .blocks = c->out_blocks,
                                      .first = first,
                                      .ahead = &w->ahead};
        pw_gather(c, &s, b->g->x, w->source, w->values);
        NAS_SIMD(nas__pw_accumulate)(&gradient);
    }
    if (b->g->dx) {
        input_gradient(b, &s, w, total);
    }
}

static size_t weights_floats(const backward *b) { return (size_t)b->cut.in_all * b->cut.out_blocks * BLOCK; }

static size_t sums_width(const backward *b) { return (size_t)2 * b->cut.in_blocks * BLOCK; }

static size_t work_floats(const backward *b) {
    const pw_cut *c = &b->cut;
    return (size_t)c->strip * ((size_t)(c->out_blocks + 2 * c->all_blocks) * BLOCK + 1);
}

static workspace find_workspace(const backward *b, float *memory) {
    const pw_cut *c = &b->cut;
    workspace w = {.dz = memory};
    w.values = w.dz + (size_t)c->strip * c->out_blocks * BLOCK;
    w.middle = w.values + (size_t)c->strip * c->all_blocks * BLOCK;
    w.source = (int32_t *)(w.middle + (size_t)c->strip * c->all_blocks * BLOCK);
    return w;
}

static void run_group(const backward *b, int group, workspace *w) {
    const pw_cut *c = &b->cut;
    const int from = group_start(c->tasks, group, c->groups), to = group_start(c->tasks, group + 1, c->groups);
    float *dw = b->partial ? b->partial + group * weights_floats(b) : NULL;
    double *total = b->sums ? b->sums + group * sums_width(b) : NULL;
    if (total) {
        memset(total, 0, sums_width(b) * sizeof *total);
    }
    for (int task = from; task < to; task++) {
        run_strip(b, task, task == from, w, dw, total);
    }
}

static void run(const backward *b, nas__scratch *team) {
    nas__tasks tasks;
    nas__tasks_share(&tasks, b->cut.groups);
#pragma omp parallel if (b->cut.groups > 1)
    {
        workspace w = find_workspace(b, nas__scratch_mine(team));
        nas__turn turn = {0};
        for (int group; (group = nas__tasks_next(&tasks, &turn)) >= 0;) {
            run_group(b, group, &w);
        }
    }
}

/* What lies between the pixels that the convolution reads has no gradient. */
static void prepare_scattered(backward *b) {
    const nas__pointwise *p = b->cut.p;
    const size_t image = (size_t)b->cut.in_blocks * p->h * p->w * BLOCK;
    for (int part = 0; part < p->parts; part++) {
        b->accumulate[part] = b->g->accumulate[part];
        if (!b->cut.dense && b->g->dx[part] && !b->accumulate[part]) {
#pragma omp parallel for schedule(static)
            for (int n = 0; n < p->n; n++) {
                memset(b->g->dx[part] + n * image, 0, image * sizeof(float));
            }
            b->accumulate[part] = true;
        }
    }
}

void NAS_SIMD(nas__pointwise_backward)(const nas__pointwise *p, const nas__pointwise_grads *g) {
    const size_t weights = (size_t)p->parts * p->in * ((size_t)(p->out + BLOCK - 1) / BLOCK * BLOCK);
    const size_t affordable = PARTIAL_FLOATS / weights;
    const int groups = affordable < FEW_GROUPS ? FEW_GROUPS : affordable > GROUPS ? GROUPS : (int)affordable;
    backward b = {.cut = pw_find_cut(p, g->load, STRIP_FLOATS, g->d_weights ? groups : GROUPS), .g = g};
    const size_t partial = g->d_weights ? weights_floats(&b) * b.cut.groups : 0;
    const size_t sums = g->in_sums ? 2 * sums_width(&b) * b.cut.groups : 0;
    nas__scratch *scratch = nas__scratch_acquire(sums + partial);
    nas__scratch *team = scratch ? nas__scratch_acquire_team(work_floats(&b)) : NULL;
    if (team) {
        float *memory = nas__scratch_floats(scratch);
        b.sums = g->in_sums ? (double *)memory : NULL;
        b.partial = g->d_weights ? memory + sums : NULL;
        if (g->dx) {
            prepare_scattered(&b);
        }
        run(&b, team);
        if (b.partial) {
            pw_add_weights(b.cut.groups, weights_floats(&b), b.partial, weights_floats(&b), g->d_weights);
        }
        if (b.sums) {
            pw_add_groups(b.cut.groups, sums_width(&b), b.sums, g->in_sums);
        }
        nas__scratch_release(team);
    }
    if (scratch) {
        nas__scratch_release(scratch);
    }
}
