/* simd_pointwise.c - forward pass of 1x1 convolutions: a strip's values are gathered through the gate and
 * multiplied; results leave their sums before they are stored. */
#include "kernels/tasks.h"
#include "simd_pointwise_strips.h"

enum { GROUPS = 128, STRIP_FLOATS = 24 * 1024 };

typedef struct forward {
    pw_cut cut;
    const float *const *x;
    const float *bias;
    const nas__on_load *act;
    float *z;
    double *partial; /* [groups][2][out padded], or NULL */
} forward;

/* What the next strip will read and write is fetched while this one is multiplied. */
static void look_ahead(const forward *f, int task, ahead *a) {
    const pw_cut *c = &f->cut;
    ahead_reset(a);
    if (task + 1 < c->tasks) {
        const pw_strip next = pw_find_strip(c, task + 1);
        for (int part = 0; c->dense && part < c->p->parts; part++) {
            pw_look_ahead(a, &next, f->x[part], c->in_blocks, c->pixels);
        }
        pw_look_ahead(a, &next, f->z, c->out_blocks, c->pixels);
        ahead_spread(a, pw_moments(&next, c->all_blocks, c->out_blocks));
    }
}

/* Where the results of images behind one another belong. */
static void find_places(const pw_cut *c, const pw_strip *s, int32_t *place) {
    for (int image = 0; image < s->images; image++) {
        for (int i = 0; i < s->count; i++) {
            *place++ = (image * c->out_blocks * c->pixels + i) * BLOCK;
        }
    }
}

static void run_strip(const forward *f, int task, float *values, int32_t *source, ahead *a, double *total) {
    const pw_cut *c = &f->cut;
    const pw_strip s = pw_find_strip(c, task);
    int32_t *place = source + c->strip;
    look_ahead(f, task, a);
    pw_product product = {.x = values,
                          .x_block = (ptrdiff_t)c->strip * BLOCK,
                          .y_block = (ptrdiff_t)c->pixels * BLOCK,
                          .parts = c->p->parts,
                          .in = c->p->in,
                          .pixels = s.all,
                          .act = f->act,
                          .ahead = a};
    float *z = f->z + ((size_t)s.image * c->out_blocks * c->pixels + s.from) * BLOCK;
    if (s.images > 1) {
        find_places(c, &s, place);
        product.place = place;
    }
    if (c->dense && c->p->parts == 1 && s.images == 1 && (!c->load || (!c->load->relu && !c->load->scale))) {
        product.x = f->x[0] + pw_plane(c, &s, 0) + (size_t)s.from * BLOCK; /* it lies as it should already */
        product.x_block = product.y_block;
    } else {
        pw_sources(c, &s, source);
        pw_gather(c, &s, f->x, source, values);
    }
    for (int block = 0; block < c->out_blocks; block += product.blocks) {
        product.blocks = pw_width(c->out_blocks - block);
        product.w = c->p->weights + (size_t)block * BLOCK * c->in_all;
        product.y = z + block * product.y_block;
        product.bias = f->bias ? f->bias + (size_t)block * BLOCK : NULL;
        vec sums[2 * PW_WIDE] = {vzero()};
        product.sums = total ? sums : NULL;
        NAS_SIMD(nas__pw_multiply)(&product);
        for (int i = 0; total && i < product.blocks; i++) {
            fold(total + (size_t)(block + i) * BLOCK, sums[2 * i]);
            fold(total + (size_t)(c->out_blocks + block + i) * BLOCK, sums[2 * i + 1]);
        }
    }
}

static void run_group(const forward *f, int group, float *values, ahead *a) {
    const pw_cut *c = &f->cut;
    const size_t width = (size_t)2 * c->out_blocks * BLOCK;
    int32_t *source = (int32_t *)(values + (size_t)c->strip * c->all_blocks * BLOCK);
    double *total = f->partial ? f->partial + group * width : NULL;
    if (total) {
        memset(total, 0, width * sizeof *total);
    }
    for (int task = group_start(c->tasks, group, c->groups); task < group_start(c->tasks, group + 1, c->groups);
         task++) {
        run_strip(f, task, values, source, a, total);
    }
}

static void run(const forward *f, nas__scratch *team) {
    nas__tasks tasks;
    nas__tasks_share(&tasks, f->cut.groups);
#pragma omp parallel if (f->cut.groups > 1)
    {
        ahead a;
        nas__turn turn = {0};
        for (int group; (group = nas__tasks_next(&tasks, &turn)) >= 0;) {
            run_group(f, group, nas__scratch_mine(team), &a);
        }
    }
}

void NAS_SIMD(nas__pointwise_forward)(const nas__pointwise *p, const float *const *x, const nas__on_load *load,
                                      const float *bias, const nas__on_load *act, float *z, double *sums) {
    forward f = {.cut = pw_find_cut(p, load, STRIP_FLOATS, GROUPS), .x = x, .bias = bias, .act = act, .z = z};
    const pw_cut *c = &f.cut;
    const size_t width = (size_t)2 * c->out_blocks * BLOCK, partial = sums ? 2 * width * c->groups : 0;
    nas__scratch *scratch = nas__scratch_acquire(partial);
    const size_t work = (size_t)c->strip * ((size_t)c->all_blocks * BLOCK + 2); /* values, source and place */
    nas__scratch *team = scratch ? nas__scratch_acquire_team(work) : NULL;
    if (team) {
        f.partial = sums ? (double *)nas__scratch_floats(scratch) : NULL;
        run(&f, team);
        if (sums) {
            pw_add_groups(c->groups, width, f.partial, sums);
        }
        nas__scratch_release(team);
    }
    if (scratch) {
        nas__scratch_release(scratch);
    }
}
