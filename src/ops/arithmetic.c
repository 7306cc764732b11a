/* arithmetic.c - sums, products and element-wise functions. */
#include "ops/late_sum.h"

#include <math.h>
#include <string.h>

nas_tensor *nas__scalar(float value) { return nas_input(1, (int64_t[]){1}, &value); }

/* Both operands in one layout: blocked when either is. */
static bool agree(const char *op, nas_tensor **a, nas_tensor **b) {
    if (!nas__same_shape(*a, *b)) {
        return nas__fail_null(NAS_SHAPE, "%s: shapes %s and %s differ", op, nas__shape(*a), nas__shape(*b));
    }
    nas__layout layout = (*a)->layout == NAS__BLOCKED || (*b)->layout == NAS__BLOCKED ? NAS__BLOCKED : NAS__PLAIN;
    *a = nas__as(*a, layout);
    *b = nas__as(*b, layout);
    return *a && *b;
}

/* --- sums ---------------------------------------------------------------------------------------- */
typedef struct sum_state {
    float factors[2];
} sum_state;

static void sum_backward(nas__node *node) {
    nas__grad dy = nas__grad_of(node->outputs[0]);
    const sum_state *s = node->state;
    for (int i = 0; i < node->n_inputs; i++) {
        nas__grad_give(node->inputs[i], nas__buffer_ref(dy.buffer), s ? dy.scale * s->factors[i] : dy.scale);
    }
}

/* y = a + factor*b, equal shapes */
static nas_tensor *combine(const char *op, nas_tensor *a, nas_tensor *b, float factor) {
    if (!agree(op, &a, &b)) {
        return NULL;
    }
    if (b->is_zero || (a->is_zero && factor == 1)) {
        return b->is_zero ? a : b;
    }
    nas_tensor *y = nas__like(a);
    if (!y || nas__dry()) {
        return nas__traced(op, 2, (nas_tensor *[]){a, b}, y);
    }
    if (factor == 1) {
        nas__kernel_table()->add(nas__storage(a), nas__data(a), nas__data(b), y->data);
    } else {
        const float *both[] = {nas__data(a), nas__data(b)};
        nas__kernel_table()->mix_forward(2, both, (float[]){1, factor}, nas__storage(a), y->data);
    }
    nas__node *node = nas__record(op, sum_backward, 2, (nas_tensor *[]){a, b}, 1, &y, sizeof(sum_state));
    if (node) {
        *(sum_state *)node->state = (sum_state){{1, factor}};
    }
    return y;
}

static void add_one_backward(nas__node *node) {
    nas_tensor *x = node->inputs[0], *b = node->inputs[1];
    nas__grad dy = nas__grad_of(node->outputs[0]);
    if (nas__wants(b)) {
        nas__grad_add_array(b, (float[]){(float)(nas__sum_floats(nas__storage(x), dy.buffer->data) * dy.scale)});
    }
    nas__grad_give(x, nas__buffer_ref(dy.buffer), dy.scale);
}

static nas_tensor *add_one(nas_tensor *x, nas_tensor *b) {
    x = nas__as(x, nas__tailless(x));
    nas_tensor *y = x && b ? nas__like(x) : NULL;
    if (!y || nas__dry()) {
        return nas__traced("add_one", 2, (nas_tensor *[]){x, b}, y);
    }
    size_t count = nas__storage(x);
    float value = nas__data(b)[0], *dst = y->data;
    const float *src = nas__data(x);
#pragma omp parallel for simd schedule(static) if (count > NAS__SMALL)
    for (size_t i = 0; i < count; i++) {
        dst[i] = src[i] + value;
    }
    nas__record("add_one", add_one_backward, 2, (nas_tensor *[]){x, b}, 1, &y, 0);
    return y;
}

static nas_tensor *late_sum_of(const char *op, int n, nas_tensor *const *x) {
    nas__addend *addends = nas__arena_alloc(&nas__tape()->arena, (size_t)n * sizeof *addends);
    for (int i = 0; addends && i < n; i++) {
        addends[i] = (nas__addend){.x = x[i]};
    }
    return addends ? nas__late_sum(op, n, addends) : NULL;
}

nas_tensor *nas_add(nas_tensor *a, nas_tensor *b) {
    if (!a || !b) {
        return nas__null_input("nas_add");
    }
    if (nas__count(b) == 1 && !nas__same_shape(a, b)) {
        return add_one(a, b);
    }
    bool blocked = a->layout == NAS__BLOCKED && b->layout == NAS__BLOCKED && !a->is_zero && !b->is_zero;
    if (blocked && nas__same_shape(a, b) && !nas__dry()) {
        return late_sum_of("nas_add", 2, (nas_tensor *[]){a, b});
    }
    return combine("nas_add", a, b, 1);
}

nas_tensor *nas_sub(nas_tensor *a, nas_tensor *b) {
    return a && b ? combine("nas_sub", a, b, -1) : nas__null_input("nas_sub");
}

nas_tensor *nas_add_scalar(nas_tensor *x, float value) {
    return x ? add_one(x, nas__scalar(value)) : nas__null_input("nas_add_scalar");
}

/* Sums as many operands per pass as the stack list holds; zero operands vanish. */
nas_tensor *nas_sum_of(int n, nas_tensor *const *x) {
    enum { MOST = 64 };
    nas_tensor *list[MOST];
    const float *data[MOST];
    float ones[MOST];
    int used = 0;
    for (int i = 0; i < n; i++) {
        if (!x[i]) {
            return nas__null_input("nas_sum_of");
        }
        if (!nas__same_shape(x[i], x[0])) {
            return nas__fail_null(NAS_SHAPE, "nas_sum_of: shapes %s and %s differ", nas__shape(x[0]), nas__shape(x[i]));
        }
        if (!x[i]->is_zero) {
            if (used == MOST) {
                return nas_add(nas_sum_of(i, x), nas_sum_of(n - i, x + i));
            }
            list[used] =
                x[i]->layout == NAS__BLOCKED ? x[i] : nas__as(x[i], x[i]->ndim == 4 ? NAS__BLOCKED : NAS__PLAIN);
            if (!list[used]) {
                return NULL;
            }
            ones[used++] = 1;
        }
    }
    if (n < 1) {
        return nas__null_input("nas_sum_of");
    }
    if (used < 2) {
        return used ? list[0] : x[0];
    }
    if (list[0]->layout == NAS__BLOCKED && !nas__dry()) {
        return late_sum_of("sum_of", used, list);
    }
    nas_tensor *y = nas__like(list[0]);
    if (!y || nas__dry()) {
        return nas__traced("sum_of", used, list, y);
    }
    for (int i = 0; i < used; i++) {
        data[i] = nas__data(list[i]);
    }
    nas__kernel_table()->mix_forward(used, data, ones, nas__storage(y), y->data);
    nas__record("sum_of", sum_backward, used, list, 1, &y, 0);
    return y;
}

nas_tensor *nas_scale(nas_tensor *x, float factor) {
    if (!x) {
        return nas__null_input("nas_scale");
    }
    nas_tensor *y = x->is_zero ? x : nas__like(x);
    if (!y || x->is_zero) {
        return y;
    }
    if (nas__dry()) {
        return nas__traced_as("scale", &(nas__told){.number = factor}, 1, &x, y);
    }
    nas__kernel_table()->axpby(nas__storage(x), factor, nas__data(x), 0, y->data);
    nas__node *node = nas__record("scale", sum_backward, 1, &x, 1, &y, sizeof(sum_state));
    if (node) {
        ((sum_state *)node->state)->factors[0] = factor;
    }
    return y;
}

/* --- products ------------------------------------------------------------------------------------ */
static void give_product(nas_tensor *to, const nas_tensor *shape, const float *dy, nas_tensor *other) {
    nas__buffer *dx = nas__wants(to) ? nas__floats(nas__storage(shape)) : NULL;
    if (dx) {
        nas__kernel_table()->mul(nas__storage(shape), dy, nas__data(other), dx->data);
        nas__grad_give(to, dx, 1);
    }
}

static void mul_backward(nas__node *node) {
    const float *dy = nas__grad_data(node->outputs[0]);
    if (dy) {
        give_product(node->inputs[0], node->outputs[0], dy, node->inputs[1]);
        give_product(node->inputs[1], node->outputs[0], dy, node->inputs[0]);
    }
}

/* b has one element */
static void scalar_backward(nas__node *node) {
    nas_tensor *x = node->inputs[0], *b = node->inputs[1];
    nas__grad dy = nas__grad_of(node->outputs[0]);
    if (nas__wants(b)) {
        double dot = nas__kernel_table()->dot(nas__storage(x), dy.buffer->data, nas__data(x));
        nas__grad_add_array(b, (float[]){(float)(dot * dy.scale)});
    }
    nas__grad_give(x, nas__buffer_ref(dy.buffer), dy.scale * nas__data(b)[0]);
}

static nas_tensor *mul_scalar(nas_tensor *x, nas_tensor *b) {
    nas_tensor *y = nas__like(x);
    if (!y || nas__dry()) {
        return nas__traced("mul_scalar", 2, (nas_tensor *[]){x, b}, y);
    }
    nas__kernel_table()->axpby(nas__storage(x), nas__data(b)[0], nas__data(x), 0, y->data);
    nas__record("mul_scalar", scalar_backward, 2, (nas_tensor *[]){x, b}, 1, &y, 0);
    return y;
}

/* b has one number per channel, or per sample and channel: the scaling of batch norm, where samples count as channels
 * in the second case. Rows of coefficients: b with zero tails, then as many zeros. */
typedef struct channels {
    int n, c, padded, samples; /* n times c (padded) numbers; samples is x's n, or 1 when b has a row for each */
} channels;

static channels find_channels(const nas_tensor *x, const nas_tensor *b) {
    int padded = nas__padded(x->dims[1]);
    bool per_sample = b->ndim == 2;
    return (channels){per_sample ? (int)x->dims[0] : 1, (int)x->dims[1], padded, per_sample ? 1 : (int)x->dims[0]};
}

static nas__buffer *coefficients(const channels *s, const float *b) {
    size_t count = (size_t)s->n * (size_t)s->padded;
    nas__buffer *rows = nas__floats(2 * count);
    if (rows) {
        memset(rows->data, 0, 2 * count * sizeof(float));
        for (int i = 0; i < s->n; i++) {
            memcpy(rows->data + (size_t)i * s->padded, b + (size_t)i * s->c, (size_t)s->c * sizeof(float));
        }
    }
    return rows;
}

/* db = sum of dy*x over the pixels */
static void factor_gradient(nas_tensor *b, const channels *s, int hw, const float *x, nas_tensor *y) {
    int wide = s->n * s->padded;
    nas__grad dy = nas__grad_of(y);
    double *sums = nas__arena_alloc(&y->tape->arena, 2 * (size_t)wide * sizeof *sums);
    float *db = sums ? nas__arena_alloc(&y->tape->arena, (size_t)s->n * (size_t)s->c * sizeof *db) : NULL;
    if (db) {
        nas__kernel_table()->late_sums(s->samples, s->n == 1 ? s->c : wide, hw,
                                       &(nas__late_grad){.g = dy.buffer->data, .scale = dy.scale}, x, sums);
        for (int i = 0; i < s->n * s->c; i++) {
            db[i] = (float)sums[wide + i / s->c * s->padded + i % s->c];
        }
        nas__grad_add_array(b, db);
    }
}

static void broadcast_backward(nas__node *node) {
    nas_tensor *x = node->inputs[0], *b = node->inputs[1];
    const channels *s = node->state;
    int hw = (int)(x->dims[2] * x->dims[3]), wide = s->n * s->padded;
    const nas__on_load factors = {.scale = node->saved[0]->data, .shift = node->saved[0]->data + wide};
    if (nas__wants(b)) {
        factor_gradient(b, s, hw, nas__data(x), node->outputs[0]);
    }
    const float *dy = nas__wants(x) ? nas__grad_data(node->outputs[0]) : NULL;
    nas__buffer *dx = dy ? nas__floats(nas__storage(x)) : NULL;
    if (dx) {
        nas__kernel_table()->late_values(s->samples, s->n == 1 ? s->c : wide, hw, dy, &factors, dx->data);
        nas__grad_give(x, dx, 1);
    }
}

static nas_tensor *mul_channels(nas_tensor *x, nas_tensor *b) {
    x = nas__as(x, NAS__BLOCKED);
    nas_tensor *y = x ? nas__like(x) : NULL;
    if (!y || nas__dry()) {
        return nas__traced("mul_channels", 2, (nas_tensor *[]){x, b}, y);
    }
    channels s = find_channels(x, b);
    nas__buffer *rows = coefficients(&s, nas__data(b));
    if (!rows) {
        return NULL;
    }
    int wide = s.n * s.padded;
    nas__kernel_table()->late_values(s.samples, s.n == 1 ? s.c : wide, (int)(x->dims[2] * x->dims[3]), nas__data(x),
                                     &(nas__on_load){.scale = rows->data, .shift = rows->data + wide}, y->data);
    nas__node *node = nas__record("mul_channels", broadcast_backward, 2, (nas_tensor *[]){x, b}, 1, &y, sizeof s);
    if (node) {
        *(channels *)node->state = s;
        node->saved[0] = rows;
    } else {
        nas__buffer_unref(rows);
    }
    return y;
}

static nas_tensor *mul_broadcast(nas_tensor *x, nas_tensor *b) {
    bool scalar = nas__count(b) == 1;
    bool channel = x->ndim == 4 && ((b->ndim == 1 && b->dims[0] == x->dims[1]) ||
                                    (b->ndim == 2 && b->dims[0] == x->dims[0] && b->dims[1] == x->dims[1]));
    if (!scalar && !channel) {
        return nas__fail_null(NAS_SHAPE,
                              "nas_mul: %s cannot multiply %s: equal shapes, one element, (C) or (N,C) on (N,C,H,W)",
                              nas__shape(b), nas__shape(x));
    }
    if (x->is_zero || b->is_zero) {
        return nas__zero_like(x, x->layout);
    }
    return scalar ? mul_scalar(x, b) : mul_channels(x, b);
}

nas_tensor *nas_mul(nas_tensor *a, nas_tensor *b) {
    if (!a || !b) {
        return nas__null_input("nas_mul");
    }
    if (!nas__same_shape(a, b)) {
        return mul_broadcast(a, b);
    }
    if (a->is_zero || b->is_zero) {
        return a->is_zero ? a : b;
    }
    if (!agree("nas_mul", &a, &b)) {
        return NULL;
    }
    nas_tensor *y = nas__like(a);
    if (!y || nas__dry()) {
        return nas__traced("mul", 2, (nas_tensor *[]){a, b}, y);
    }
    nas__kernel_table()->mul(nas__storage(a), nas__data(a), nas__data(b), y->data);
    nas__record("mul", mul_backward, 2, (nas_tensor *[]){a, b}, 1, &y, 0);
    return y;
}

/* --- functions ----------------------------------------------------------------------------------- */
static void exp_backward(nas__node *node) {
    const float *dy = nas__grad_data(node->outputs[0]);
    if (dy) {
        give_product(node->inputs[0], node->outputs[0], dy, node->outputs[0]);
    }
}

static void log_backward(nas__node *node) {
    nas_tensor *x = node->inputs[0];
    const float *dy = nas__grad_data(node->outputs[0]), *v = nas__data(x);
    nas__buffer *dx = dy ? nas__floats(nas__storage(x)) : NULL;
    if (dx) {
        size_t count = nas__storage(x);
#pragma omp parallel for simd schedule(static) if (count > NAS__SMALL)
        for (size_t i = 0; i < count; i++) {
            dx->data[i] = dy[i] / v[i];
        }
        nas__grad_give(x, dx, 1);
    }
}

static nas_tensor *map(const char *op, nas_tensor *x, float (*f)(float), void (*backward)(nas__node *)) {
    if (!x) {
        return nas__null_input(op);
    }
    x = nas__as(x, nas__tailless(x));
    nas_tensor *y = x ? nas__like(x) : NULL;
    if (!y || nas__dry()) {
        return nas__traced(op, 1, &x, y);
    }
    const float *src = nas__data(x);
    size_t count = nas__storage(x);
#pragma omp parallel for schedule(static) if (count > NAS__SMALL)
    for (size_t i = 0; i < count; i++) {
        y->data[i] = f(src[i]);
    }
    nas__record(op, backward, 1, &x, 1, &y, 0);
    return y;
}

nas_tensor *nas_exp(nas_tensor *x) { return map("nas_exp", x, expf, exp_backward); }
nas_tensor *nas_log(nas_tensor *x) { return map("nas_log", x, logf, log_backward); }

nas_tensor *nas_detach(nas_tensor *x) {
    if (!x) {
        return nas__null_input("nas_detach");
    }
    if (x->is_zero) {
        return x;
    }
    nas_tensor *y = nas__dry() ? nas__new(x->ndim, x->dims, x->layout) : nas__alias(x, x->ndim, x->dims);
    if (y) {
        y->layout = x->layout;
    }
    return y;
}
