/* arithmetic.c - sums, products and element-wise functions. */
#include "ops/common.h"

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
        return y;
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
        double sum = 0;
        for (size_t i = 0; i < nas__storage(x); i++) {
            sum += dy.buffer->data[i];
        }
        nas__grad_add_array(b, (float[]){(float)(sum * dy.scale)});
    }
    nas__grad_give(x, nas__buffer_ref(dy.buffer), dy.scale);
}

static nas_tensor *add_one(nas_tensor *x, nas_tensor *b) {
    x = nas__as(x, nas__tailless(x));
    nas_tensor *y = x ? nas__like(x) : NULL;
    if (!y || nas__dry()) {
        return y;
    }
    float value = nas__data(b)[0], *src = nas__data(x);
    for (size_t i = 0; i < nas__storage(x); i++) {
        y->data[i] = src[i] + value;
    }
    nas__record("add_one", add_one_backward, 2, (nas_tensor *[]){x, b}, 1, &y, 0);
    return y;
}

nas_tensor *nas_add(nas_tensor *a, nas_tensor *b) {
    if (!a || !b) {
        return nas__null_input("nas_add");
    }
    return nas__count(b) == 1 && nas__count(a) > 1 ? add_one(a, b) : combine("nas_add", a, b, 1);
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
            list[used] = nas__as(x[i], x[i]->ndim == 4 ? NAS__BLOCKED : NAS__PLAIN);
            ones[used++] = 1;
        }
    }
    if (n < 1) {
        return nas__null_input("nas_sum_of");
    }
    if (used < 2) {
        return used ? list[0] : x[0];
    }
    nas_tensor *y = nas__like(list[0]);
    if (!y || nas__dry()) {
        return y;
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
    if (!y || nas__dry() || x->is_zero) {
        return y;
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

/* b broadcast over x: b[i] multiplies the stretch of elements that belongs to it. stretch(p) walks x in its own layout. */
typedef struct broadcast {
    int64_t n, c, inner, block; /* x is n x c/block x inner x block */
    bool per_sample;            /* b has n*c elements instead of c; scalar: n = c = 1 */
} broadcast;

static broadcast find_broadcast(const nas_tensor *x, const nas_tensor *b) {
    broadcast s = {1, 1, (int64_t)nas__storage(x), 1, false};
    if (nas__count(b) > 1) {
        s = (broadcast){x->dims[0], x->dims[1], x->dims[2] * x->dims[3], x->layout == NAS__BLOCKED ? nas__block() : 1,
                        nas__count(b) != x->dims[1] || b->ndim == 2};
    }
    return s;
}

/* y = x*b, and, when sums is given, sums[b index] = sum of x*other over its stretch */
static void broadcast_pass(const broadcast *s, const float *x, const float *b, const float *other, float *y, float *sums) {
    int64_t cb = (s->c + s->block - 1) / s->block;
    for (int64_t p = 0; p < s->n * cb; p++) {
        for (int64_t k = 0; k < s->block && p % cb * s->block + k < s->c; k++) {
            int64_t c = p % cb * s->block + k, at = s->per_sample ? p / cb * s->c + c : c;
            const float *src = x + p * s->inner * s->block + k;
            double sum = 0;
            for (int64_t i = 0; i < s->inner; i++) {
                if (y) {
                    y[(p * s->inner + i) * s->block + k] = src[i * s->block] * b[at];
                }
                if (sums) {
                    sum += (double)src[i * s->block] * other[(p * s->inner + i) * s->block + k];
                }
            }
            if (sums) {
                sums[at] += (float)sum;
            }
        }
    }
}

static void broadcast_backward(nas__node *node) {
    nas_tensor *x = node->inputs[0], *b = node->inputs[1];
    const broadcast *s = node->state;
    const float *dy = nas__grad_data(node->outputs[0]);
    if (!dy) {
        return;
    }
    nas__buffer *dx = nas__wants(x) ? nas__floats(nas__storage(x)) : NULL;
    nas__buffer *db = nas__wants(b) ? nas__floats((size_t)nas__count(b)) : NULL;
    if (db) {
        memset(db->data, 0, (size_t)nas__count(b) * sizeof(float));
    }
    if (dx) {
        memset(dx->data, 0, nas__storage(x) * sizeof(float));
    }
    broadcast_pass(s, dy, nas__data(b), nas__data(x), dx ? dx->data : NULL, db ? db->data : NULL);
    nas__grad_give(x, dx, 1);
    if (db) {
        nas__grad_add_array(b, db->data);
        nas__buffer_unref(db);
    }
}

static nas_tensor *mul_broadcast(nas_tensor *x, nas_tensor *b) {
    bool scalar = nas__count(b) == 1;
    bool channels = x->ndim == 4 && ((b->ndim == 1 && b->dims[0] == x->dims[1]) ||
                                     (b->ndim == 2 && b->dims[0] == x->dims[0] && b->dims[1] == x->dims[1]));
    if (!scalar && !channels) {
        return nas__fail_null(NAS_SHAPE, "nas_mul: %s cannot multiply %s: equal shapes, one element, (C) or (N,C) on (N,C,H,W)",
                              nas__shape(b), nas__shape(x));
    }
    nas_tensor *y = nas__like(x);
    if (!y || nas__dry()) {
        return y;
    }
    broadcast s = find_broadcast(x, b);
    memset(y->data, 0, nas__storage(y) * sizeof(float));
    broadcast_pass(&s, nas__data(x), nas__data(b), NULL, y->data, NULL);
    nas__node *node = nas__record("mul_broadcast", broadcast_backward, 2, (nas_tensor *[]){x, b}, 1, &y, sizeof s);
    if (node) {
        *(broadcast *)node->state = s;
    }
    return y;
}

nas_tensor *nas_mul(nas_tensor *a, nas_tensor *b) {
    if (!a || !b) {
        return nas__null_input("nas_mul");
    }
    if (a->is_zero) {
        return a;
    }
    if (!nas__same_shape(a, b)) {
        return mul_broadcast(a, b);
    }
    if (!agree("nas_mul", &a, &b)) {
        return NULL;
    }
    nas_tensor *y = nas__like(a);
    if (!y || nas__dry()) {
        return y;
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
        for (size_t i = 0; i < nas__storage(x); i++) {
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
        return y;
    }
    const float *src = nas__data(x);
    for (size_t i = 0; i < nas__storage(x); i++) {
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
