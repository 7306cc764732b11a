/* pool.c - max, average and global average pooling. */
#include "ops/common.h"
#include "tensor/late.h"

static bool read_shape(const char *op, const nas_tensor *x, const nas_pool_args *a, nas__pool_shape *s,
                       int64_t out[4]) {
    int stride = a->stride ? a->stride : a->kernel;
    if (x->ndim != 4 || a->kernel < 1 || a->kernel > 15 || stride < 1 || a->padding < 0 || a->padding >= a->kernel) {
        return nas__fail_null(NAS_SHAPE, "%s: x %s, kernel %d (1..15), stride %d, padding %d (less than the kernel)",
                              op, nas__shape(x), a->kernel, stride, a->padding);
    }
    int64_t h = x->dims[2] + 2 * a->padding - a->kernel, w = x->dims[3] + 2 * a->padding - a->kernel;
    if (h < 0 || w < 0) {
        return nas__fail_null(NAS_SHAPE, "%s: kernel %d is larger than the padded image %s", op, a->kernel,
                              nas__shape(x));
    }
    out[0] = x->dims[0];
    out[1] = x->dims[1];
    out[2] = h / stride + 1;
    out[3] = w / stride + 1;
    *s = (nas__pool_shape){.n = (int)out[0],
                           .c = (int)out[1],
                           .h = (int)x->dims[2],
                           .w = (int)x->dims[3],
                           .oh = (int)out[2],
                           .ow = (int)out[3],
                           .kernel = a->kernel,
                           .stride = stride,
                           .pad = a->padding,
                           .count_padding = a->count_padding};
    return true;
}

/* The other one of the pair, when it was recorded before and its gradient is on the way: it is differentiated later. */
static nas__late_pool *waits_for(const nas__late_pool *pool) {
    nas__late_pool *other = pool->pair->pool[!pool->max];
    return other && other->node && other->norm && other->norm->grad.buffer ? other : NULL;
}

static void give_gradients(nas_tensor *x, const nas__late_pool *pool, const nas__late_grad *dy) {
    nas__buffer *fresh;
    bool accumulate;
    const nas__late_grad *other = pool->other.g ? &pool->other : NULL;
    float *dx = nas__grad_open(x, &fresh, &accumulate);
    if (dx) {
        nas__kernel_table()->pools_backward_late(&pool->shape, nas__data(x), pool->max ? dy : other,
                                                 pool->max ? other : dy, dx, accumulate);
        nas__grad_close(x, fresh);
    }
}

static void pool_backward(nas__node *node) {
    nas__late_pool *pool = *(nas__late_pool **)node->state, *later = waits_for(pool);
    nas_tensor *y = node->outputs[0];
    nas__late_grad dy = nas__grad_late(y);
    pool->node = NULL;
    if (later) {
        later->other = dy;
        later->node->saved[0] = nas__buffer_ref(y->grad.buffer);
    } else if (dy.g) {
        give_gradients(node->inputs[0], pool, &dy);
    }
}

static void pool_compute(nas_tensor *y) {
    const nas__late_pool *pool = y->late->detail;
    if (nas__give_memory(y)) {
        nas__kernel_table()->pool_forward_late(&pool->shape, pool->max, nas__data(y->late->source), y->data);
    }
}

static bool same_windows(const nas__pool_shape *a, const nas__pool_shape *b) {
    return a->kernel == b->kernel && a->stride == b->stride && a->pad == b->pad && a->count_padding == b->count_padding;
}

/* Takes its place in the pair, a new one when there is none or the place is taken. */
static bool find_pair(nas_tensor *x, nas__late_pool *pool) {
    nas__pool_pair *pair = x->pools;
    while (pair && (pair->pool[pool->max] || !same_windows(&pair->pool[!pool->max]->shape, &pool->shape))) {
        pair = pair->next;
    }
    if (!pair) {
        pair = nas__arena_alloc(&nas__tape()->arena, sizeof *pair);
        if (!pair) {
            return false;
        }
        pair->next = x->pools;
        x->pools = pair;
    }
    pair->pool[pool->max] = pool;
    pool->pair = pair;
    return true;
}

/* Pooling is cheap beside the memory that its result would take: sums and batch norm do it again when they need it. */
static nas_tensor *pool(const char *op, nas_tensor *x, const nas_pool_args *args, bool max) {
    nas__late_pool detail = {.max = max};
    int64_t out[4];
    if (!x || !read_shape(op, x, args, &detail.shape, out)) {
        return nas__null_input(op);
    }
    if (x->is_zero) {
        return nas_zero(4, out);
    }
    x = nas__as(x, NAS__BLOCKED);
    if (!x || nas__dry()) {
        const nas__pool_shape *s = &detail.shape;
        return nas__traced_as(op,
                              &(nas__told){.kernel = s->kernel,
                                           .stride = s->stride,
                                           .pad_h = s->pad,
                                           .pad_w = s->pad,
                                           .count_padding = s->count_padding},
                              1, &x, x ? nas__new(4, out, NAS__BLOCKED) : NULL);
    }
    nas_tensor *y =
        nas__postpone(&(nas__late){.kind = NAS__LATE_POOL, .compute = pool_compute, .source = x}, out, sizeof detail);
    nas__late_pool *late = y ? y->late->detail : NULL;
    if (!late) {
        return NULL;
    }
    *late = detail;
    if (!find_pair(x, late)) {
        return NULL;
    }
    late->node = nas__record(op, pool_backward, 1, &x, 1, &y, sizeof late);
    if (late->node) {
        *(nas__late_pool **)late->node->state = late;
    }
    return y;
}

nas_tensor *nas_max_pool(nas_tensor *x, nas_pool_args args) { return pool("nas_max_pool", x, &args, true); }

nas_tensor *nas_avg_pool(nas_tensor *x, nas_pool_args args) { return pool("nas_avg_pool", x, &args, false); }

static void global_backward(nas__node *node) {
    nas_tensor *x = node->inputs[0];
    const float *dy = nas__grad_data(node->outputs[0]);
    nas__buffer *dx = dy ? nas__floats(nas__storage(x)) : NULL;
    if (dx) {
        nas__kernel_table()->global_pool_backward((int)x->dims[0], (int)x->dims[1], (int)(x->dims[2] * x->dims[3]), dy,
                                                  dx->data);
        nas__grad_give(x, dx, 1);
    }
}

nas_tensor *nas_global_avg_pool(nas_tensor *x) {
    x = nas__as(x, NAS__BLOCKED);
    if (!x) {
        return nas__null_input("nas_global_avg_pool");
    }
    if (x->ndim != 4) {
        return nas__fail_null(NAS_SHAPE, "nas_global_avg_pool: x %s must be (N,C,H,W)", nas__shape(x));
    }
    nas_tensor *y = x->is_zero ? nas_zero(2, x->dims) : nas__new(2, x->dims, NAS__PLAIN);
    if (!y || y->is_zero) {
        return y;
    }
    if (nas__dry()) {
        return nas__traced("global_avg_pool", 1, &x, y);
    }
    nas__kernel_table()->global_pool_forward((int)x->dims[0], (int)x->dims[1], (int)(x->dims[2] * x->dims[3]),
                                             nas__data(x), y->data);
    nas__record("global_avg_pool", global_backward, 1, &x, 1, &y, 0);
    return y;
}
