/* channels.c - channels in another order: the shuffle between grouped convolutions (ShuffleNet, Zhang et al., CVPR
 * 2018), and the split into even and odd ones, which is the shuffle of ShuffleNetV2 (Ma et al., ECCV 2018) where its
 * halves part. */
#include "ops/common.h"
#include "tensor/late.h"

#include <string.h>

/* Where channel c of the result comes from: channel c / groups of group c % groups. */
typedef struct order {
    int64_t groups, per_group;
} order;

static inline int64_t source_of(const order *o, int64_t c) { return c % o->groups * o->per_group + c / o->groups; }

/* Pixels that are moved together, so that all channels of a block find their planes in the cache. */
enum { TILE = 64 };

/* Blocked: the channels of src in their new order; or with `back` the same way back. */
static void move_channels(const order *o, int64_t n, int64_t hw, bool back, const float *src, float *dst) {
    const int64_t block = nas__block(), count = o->groups * o->per_group, blocks = nas__padded(count) / block;
#pragma omp parallel for collapse(2) schedule(static) if (n * count * hw > NAS__SMALL)
    for (int64_t i = 0; i < n; i++) {
        for (int64_t tile = 0; tile < hw; tile += TILE) {
            const int64_t pixels = hw - tile < TILE ? hw - tile : TILE;
            for (int64_t c = 0; c < count; c++) {
                const int64_t other = source_of(o, c);
                const int64_t mine = ((i * blocks + c / block) * hw + tile) * block + c % block;
                const int64_t its = ((i * blocks + other / block) * hw + tile) * block + other % block;
                const float *from = src + (back ? mine : its);
                float *to = dst + (back ? its : mine);
                for (int64_t p = 0; p < pixels; p++) {
                    to[p * block] = from[p * block];
                }
            }
        }
    }
}

/* Tails of the channel dimension have to be zero. */
static void clear_tail(const nas_tensor *t, float *data) {
    if (t->dims[1] % nas__block()) {
        memset(data, 0, nas__storage(t) * sizeof(float));
    }
}

/* --- shuffle --------------------------------------------------------------------------------------- */
static void shuffle_backward(nas__node *node) {
    nas_tensor *x = node->inputs[0];
    const order *o = node->state;
    const float *dy = nas__grad_data(node->outputs[0]);
    nas__buffer *dx = dy ? nas__floats(nas__storage(x)) : NULL;
    if (dx) {
        clear_tail(x, dx->data);
        move_channels(o, x->dims[0], x->dims[2] * x->dims[3], true, dy, dx->data);
        nas__grad_give(x, dx, 1);
    }
}

nas_tensor *nas_channel_shuffle(nas_tensor *x, int groups) {
    if (!x) {
        return nas__null_input("nas_channel_shuffle");
    }
    if (x->ndim != 4 || groups < 1 || x->dims[1] % groups) {
        return nas__fail_null(NAS_SHAPE, "nas_channel_shuffle: %d groups do not divide the channels of %s", groups,
                              nas__shape(x));
    }
    if (x->is_zero || groups == 1 || groups == x->dims[1]) {
        return x;
    }
    x = nas__as(x, NAS__BLOCKED);
    nas_tensor *y = x ? nas__like(x) : NULL;
    if (!y || nas__dry()) {
        return nas__traced_as("channel_shuffle", &(nas__told){.groups = groups}, 1, &x, y);
    }
    const order o = {groups, x->dims[1] / groups};
    const float *values = nas__data(x);
    if (!values) {
        return NULL;
    }
    clear_tail(y, y->data);
    move_channels(&o, x->dims[0], x->dims[2] * x->dims[3], false, values, y->data);
    nas__node *node = nas__record("channel_shuffle", shuffle_backward, 1, &x, 1, &y, sizeof o);
    if (node) {
        *(order *)node->state = o;
    }
    return y;
}

/* --- even and odd ---------------------------------------------------------------------------------- */
/* What is parted: of a concatenation that nobody has made its parts, as the kernel reads them. */
typedef struct parted {
    nas__halves shape;
    nas__on_load load[NAS__MOST_PARTS];
    nas_tensor *values[NAS__MOST_PARTS];
} parted;

static bool fills_blocks(const nas__late_concat *c) {
    for (int i = 0; i < c->n - 1; i++) {
        if (c->parts[i]->dims[1] % nas__block()) {
            return false;
        }
    }
    return true;
}

/* `targets` have the gradients. */
static bool read_parts(nas_tensor *x, parted *p, nas_tensor **targets) {
    const bool late = x->late && x->late->kind == NAS__LATE_CONCAT && !x->data && fills_blocks(x->late->detail);
    const nas__late_concat *c = late ? x->late->detail : NULL;
    p->shape = (nas__halves){.n = (int)x->dims[0], .hw = (int)(x->dims[2] * x->dims[3]), .parts = c ? c->n : 1};
    for (int i = 0; i < p->shape.parts; i++) {
        nas__reading r;
        if (!nas__read(c ? c->parts[i] : x, &r)) {
            return false;
        }
        p->shape.blocks[i] = nas__padded(r.values->dims[1]) / nas__block();
        p->load[i] = r.load;
        p->values[i] = r.values;
        targets[i] = r.target;
    }
    return true;
}

static const float *gradient_of(nas_tensor *y) { return nas__grad_of(y).buffer ? nas__grad_data(y) : NULL; }

static void even_odd_backward(nas__node *node) {
    const parted *p = node->state;
    const float *x[NAS__MOST_PARTS];
    float *dx[NAS__MOST_PARTS];
    bool accumulate[NAS__MOST_PARTS];
    double *sums[NAS__MOST_PARTS];
    nas__buffer *fresh[NAS__MOST_PARTS];
    for (int i = 0; i < p->shape.parts; i++) {
        x[i] = nas__data(p->values[i]);
        dx[i] = nas__grad_open(node->inputs[i], &fresh[i], &accumulate[i]);
        sums[i] = dx[i] ? nas__grad_wants_sums(node->inputs[i]) : NULL;
    }
    nas__kernel_table()->halves_backward(&p->shape, &(nas__halves_grads){.even = gradient_of(node->outputs[0]),
                                                                         .odd = gradient_of(node->outputs[1]),
                                                                         .x = x,
                                                                         .load = p->load,
                                                                         .dx = dx,
                                                                         .accumulate = accumulate,
                                                                         .in_sums = sums});
    for (int i = 0; i < p->shape.parts; i++) {
        if (dx[i]) {
            nas__grad_close(node->inputs[i], fresh[i]);
            nas__grad_tell_sums(node->inputs[i], sums[i]);
        }
    }
}

static nas_tensor *half_of(const nas_tensor *x) {
    return nas__new(4, (int64_t[]){x->dims[0], x->dims[1] / 2, x->dims[2], x->dims[3]}, NAS__BLOCKED);
}

static bool split(nas_tensor *x, nas_tensor *parts[2]) {
    parted p;
    nas_tensor *targets[NAS__MOST_PARTS];
    const float *values[NAS__MOST_PARTS];
    if (!read_parts(x, &p, targets)) {
        return false;
    }
    nas_tensor *halves[2] = {half_of(x), half_of(x)};
    if (!halves[0] || !halves[1]) {
        return false;
    }
    for (int i = 0; i < p.shape.parts; i++) {
        values[i] = nas__data(p.values[i]);
    }
    nas__kernel_table()->halves_forward(&p.shape, values, p.load, halves[0]->data, halves[1]->data);
    memcpy(parts, halves, sizeof halves);
    nas__node *node = nas__record("split_even_odd", even_odd_backward, p.shape.parts, targets, 2, halves, sizeof p);
    if (node) {
        *(parted *)node->state = p;
    }
    return true;
}

bool nas_split_even_odd(nas_tensor *x, nas_tensor *parts[2]) {
    parts[0] = parts[1] = NULL;
    if (!x) {
        return nas__null_input("nas_split_even_odd");
    }
    if (x->ndim != 4 || x->dims[1] % 2) {
        return nas__fail_null(NAS_SHAPE, "nas_split_even_odd: %s has no even number of channels", nas__shape(x));
    }
    if (x->is_zero) {
        parts[0] = parts[1] = nas_zero(4, (int64_t[]){x->dims[0], x->dims[1] / 2, x->dims[2], x->dims[3]});
        return parts[0] != NULL;
    }
    if (!nas__dry()) {
        return split(x, parts);
    }
    x = nas__as(x, NAS__BLOCKED);
    for (int half = 0; x && half < 2; half++) {
        parts[half] = nas__traced_as("split_even_odd", &(nas__told){.dim = 1, .from = half}, 1, &x, half_of(x));
    }
    return parts[0] && parts[1];
}
