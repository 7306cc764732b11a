/* late_sum.c - see late_sum.h. Batch norm and pooling of the addends are done while they are read, and the backward
 * pass gives in one go all dL/dw, what the batch norms behind the addends need, and the gradients of the addends: the
 * sum's own, scaled, without writing them out. */
#include "ops/late_sum.h"
#include "ops/conv_fused.h"
#include "tensor/late.h"

typedef struct addend {
    nas__addend is;
    float w;
} addend;

typedef struct late_sum {
    const char *op;
    int n;
    addend addends[];
} late_sum;

static void *arena(size_t bytes) {
    nas_tape *tape = nas__tape();
    return tape ? nas__arena_alloc(&tape->arena, bytes) : NULL;
}

/* --- reading the addends --------------------------------------------------------------------------- */
/* The memory that addend x is made from: looks behind a norm (whose coefficients go to *norm) and a pooling that was
 * never computed. */
static bool read_addend(nas_tensor *x, nas__term *term, const nas__on_load **norm) {
    *norm = NULL;
    if (x->late && x->late->kind == NAS__LATE_NORM) {
        *norm = &x->late->load;
        x = x->late->source;
    }
    if (x->late && x->late->kind == NAS__LATE_POOL && !x->data) {
        const nas__late_pool *pool = x->late->detail;
        *term = (nas__term){.z = nas__data(x->late->source), .pool = &pool->shape, .max = pool->max};
    } else {
        *term = (nas__term){.z = nas__data(x)};
    }
    return term->z != NULL;
}

static void sum_backward(nas__node *node);

static nas__node *record(nas_tensor *y, const late_sum *s) {
    nas_tensor **inputs = arena(2 * (size_t)s->n * sizeof *inputs);
    int n = 0;
    for (int i = 0; inputs && i < s->n; i++) {
        inputs[n++] = s->addends[i].is.x;
    }
    for (int i = 0; inputs && i < s->n; i++) {
        nas_tensor *weight = s->addends[i].is.weight;
        if (weight && (i == 0 || weight != s->addends[i - 1].is.weight)) {
            inputs[n++] = weight;
        }
    }
    return inputs ? nas__record(s->op, sum_backward, n, inputs, 1, &y, sizeof(late_sum *)) : NULL;
}

/* Two addends of weight 1, one of them a convolution that can add the other to its own result. */
static bool compute_onto(const late_sum *s, nas_tensor *y, bool *done) {
    *done = false;
    for (int i = 0; s->n == 2 && i < 2; i++) {
        nas_tensor *unit = s->addends[1 - i].is.x;
        nas__term term;
        const nas__on_load *norm;
        if (s->addends[0].w != 1 || s->addends[1].w != 1 || !nas__is_late_unit(unit)) {
            continue;
        }
        if (!read_addend(s->addends[i].is.x, &term, &norm)) {
            return false;
        }
        if (!term.pool && !norm) {
            *done = true;
            return nas__unit_onto(unit, term.z, y);
        }
    }
    return true;
}

static void compute(nas_tensor *y) {
    const late_sum *s = y->late->detail;
    bool done;
    if (!compute_onto(s, y, &done) || done) {
        return;
    }
    int n = (int)y->dims[0], c = (int)y->dims[1], hw = (int)(y->dims[2] * y->dims[3]), padded = nas__padded(c);
    nas__term *terms = arena((size_t)s->n * sizeof *terms);
    float *scale = terms ? arena(((size_t)s->n + 1) * (size_t)padded * sizeof *scale) : NULL;
    if (!scale) {
        return;
    }
    float *shift = scale + (size_t)s->n * padded;
    for (int i = 0; i < s->n; i++) {
        const nas__on_load *norm;
        if (!read_addend(s->addends[i].is.x, &terms[i], &norm)) {
            return;
        }
        for (int k = 0; k < padded; k++) {
            scale[i * padded + k] = s->addends[i].w * (norm ? norm->scale[k] : 1);
            shift[k] += norm ? s->addends[i].w * norm->shift[k] : 0;
        }
    }
    if (nas__give_memory(y)) {
        nas__kernel_table()->terms_forward(s->n, terms, n, c, hw, scale, shift, y->data);
        nas__node *node = record(y, s);
        if (node) {
            *(const late_sum **)node->state = s;
        }
    }
}

/* --- backward --------------------------------------------------------------------------------------- */
/* <dy, x> per channel is wanted for the weight's gradient and for the norm's. */
static bool wants_products(const addend *a) {
    bool norm = a->is.x->late && a->is.x->late->kind == NAS__LATE_NORM && nas__wants(a->is.x);
    return norm || (a->is.weight && nas__wants(a->is.weight));
}

/* products[i] (padded numbers) for the addends that want them, and sum = the sum of dy, which lies behind them. */
static double *products_of(const late_sum *s, const nas_tensor *y, const float *dy) {
    int padded = nas__padded(y->dims[1]), used = 0;
    nas__term *terms = arena((size_t)s->n * sizeof *terms);
    double *products = terms ? arena(((size_t)s->n + 1) * (size_t)padded * sizeof *products) : NULL;
    for (int i = 0; products && i < s->n; i++) {
        const nas__on_load *norm;
        if (wants_products(&s->addends[i]) && !read_addend(s->addends[i].is.x, &terms[used++], &norm)) {
            return NULL;
        }
    }
    if (products && used) {
        nas__kernel_table()->terms_backward(used, terms, (int)y->dims[0], (int)y->dims[1],
                                            (int)(y->dims[2] * y->dims[3]), dy, products,
                                            products + (size_t)used * padded);
    }
    return products;
}

/* dL/dw = <dy, scale*z + shift>, times dy's own scale */
static float weight_gradient(const nas_tensor *x, const double *product, const double *sum, double dy_scale) {
    const nas__on_load *norm = x->late && x->late->kind == NAS__LATE_NORM ? &x->late->load : NULL;
    double total = 0;
    for (int k = 0; k < x->dims[1]; k++) {
        total += norm ? norm->scale[k] * product[k] + norm->shift[k] * sum[k] : product[k];
    }
    return (float)(total * dy_scale);
}

static void tell_sums(nas_tensor *x, const double *product, const double *sum, double factor) {
    double *sums = nas__grad_wants_sums(x);
    int padded = nas__padded(x->dims[1]);
    for (int k = 0; sums && k < padded; k++) {
        sums[k] = factor * sum[k];
        sums[padded + k] = factor * product[k];
    }
    nas__grad_tell_sums(x, sums);
}

/* The gradient of one weight tensor is complete when the addends that use it, which lie together, have been seen. */
static void give_weight_gradients(const late_sum *s, const double *const *product, const double *sum, double scale) {
    for (int i = 0; i < s->n;) {
        nas_tensor *weight = s->addends[i].is.weight;
        int end = i + 1;
        while (end < s->n && s->addends[end].is.weight == weight) {
            end++;
        }
        float *gradient = weight && nas__wants(weight) ? arena((size_t)nas__count(weight) * sizeof *gradient) : NULL;
        for (int k = i; gradient && k < end; k++) {
            gradient[s->addends[k].is.index] += weight_gradient(s->addends[k].is.x, product[k], sum, scale);
        }
        if (gradient) {
            nas__grad_add_array(weight, gradient);
        }
        i = end;
    }
}

static void sum_backward(nas__node *node) {
    const late_sum *s = *(const late_sum **)node->state;
    nas_tensor *y = node->outputs[0];
    nas__grad dy = nas__grad_of(y);
    double *products = dy.buffer ? products_of(s, y, dy.buffer->data) : NULL;
    const double **product = products ? arena((size_t)s->n * sizeof *product) : NULL;
    if (!product) {
        return;
    }
    int padded = nas__padded(y->dims[1]), used = 0;
    for (int i = 0; i < s->n; i++) {
        product[i] = wants_products(&s->addends[i]) ? products + (size_t)used++ * padded : NULL;
    }
    const double *sum = products + (size_t)used * padded;
    give_weight_gradients(s, product, sum, dy.scale);
    for (int i = 0; i < s->n; i++) {
        nas_tensor *x = s->addends[i].is.x;
        float factor = dy.scale * s->addends[i].w;
        nas__grad_give(x, nas__buffer_ref(dy.buffer), factor);
        if (product[i]) {
            tell_sums(x, product[i], sum, factor);
        }
    }
}

/* --- making one --------------------------------------------------------------------------------------- */
/* The sum behind addend a when it can be taken apart: it has no weight here, and nobody has computed it yet. */
static const late_sum *inner(const nas__addend *a) {
    bool late = !a->weight && a->x->late && a->x->late->kind == NAS__LATE_SUM && !a->x->data;
    return late ? a->x->late->detail : NULL;
}

nas_tensor *nas__late_sum(const char *op, int n, const nas__addend *addends) {
    int total = 0;
    bool wanted = false;
    for (int i = 0; i < n; i++) {
        total += inner(&addends[i]) ? inner(&addends[i])->n : 1;
    }
    nas_tensor *y = nas__postpone(&(nas__late){.kind = NAS__LATE_SUM, .compute = compute}, addends[0].x->dims,
                                  sizeof(late_sum) + (size_t)total * sizeof(addend));
    late_sum *s = y ? y->late->detail : NULL;
    if (!s) {
        return NULL;
    }
    s->op = op;
    for (int i = 0; i < n; i++) {
        const nas__addend *a = &addends[i];
        const late_sum *in = inner(a);
        for (int k = 0; in && k < in->n; k++) {
            s->addends[s->n++] = in->addends[k];
            s->op = in->op;
        }
        if (!in) {
            nas_tensor *x = a->x->layout == NAS__BLOCKED ? a->x : nas__as(a->x, NAS__BLOCKED);
            const float *w = a->weight ? nas__data(a->weight) : NULL;
            if (!x || (a->weight && !w)) {
                return NULL;
            }
            s->addends[s->n++] = (addend){{x, a->weight, a->index}, w ? w[a->index] : 1};
        }
    }
    for (int i = 0; i < s->n; i++) {
        wanted |= nas__wants(s->addends[i].is.x) || nas__wants(s->addends[i].is.weight);
    }
    y->needs_grad = wanted;
    return y;
}
