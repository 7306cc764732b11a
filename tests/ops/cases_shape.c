/* cases_shape.c - shapes, reductions and sequences. */
#include "ops/gradcheck.h"

#include <math.h>
#include <string.h>

/* Row-major strides around dimension `dim`: outer x d[dim] x inner. */
static int64_t outer_of(const shape *s, int dim) {
    int64_t n = 1;
    for (int i = 0; i < dim; i++) {
        n *= s->d[i];
    }
    return n;
}

static int64_t inner_of(const shape *s, int dim) { return shape_count(s) / outer_of(s, dim) / s->d[dim]; }

/* a: dim */
static nas_tensor *run_concat(const gradcheck *c, nas_tensor **x) {
    return nas_concat(count_inputs(c), x, (int)c->a[0]);
}

static void put(const shape *to, double *y, const shape *from, const double *x, int dim, int64_t at) {
    int64_t row = from->d[dim] * inner_of(from, dim), whole = to->d[dim] * inner_of(to, dim);
    for (int64_t o = 0; o < outer_of(from, dim); o++) {
        memcpy(y + o * whole + at * inner_of(to, dim), x + o * row, (size_t)row * sizeof *y);
    }
}

static shape naive_concat(const gradcheck *c, double *const *x, double *y) {
    shape out = c->in[0];
    int dim = (int)c->a[0];
    for (int i = 1; i < count_inputs(c); i++) {
        out.d[dim] += c->in[i].d[dim];
    }
    for (int64_t i = 0, at = 0; i < count_inputs(c); at += c->in[i++].d[dim]) {
        put(&out, y, &c->in[i], x[i], dim, at);
    }
    return out;
}

/* a: dim, begin, length */
static nas_tensor *run_slice(const gradcheck *c, nas_tensor **x) {
    return nas_slice(x[0], (int)c->a[0], (int64_t)c->a[1], (int64_t)c->a[2]);
}

static shape take(const shape *s, const double *x, int dim, int64_t begin, int64_t length, double *y) {
    shape out = *s;
    int64_t inner = inner_of(s, dim);
    out.d[dim] = length;
    for (int64_t o = 0; o < outer_of(s, dim); o++) {
        memcpy(y + o * length * inner, x + (o * s->d[dim] + begin) * inner, (size_t)(length * inner) * sizeof *y);
    }
    return out;
}

static shape naive_slice(const gradcheck *c, double *const *x, double *y) {
    return take(&c->in[0], x[0], (int)c->a[0], (int64_t)c->a[1], (int64_t)c->a[2], y);
}

/* a: dim, then three lengths; the parts come back in another order, one of them twice */
static nas_tensor *run_split(const gradcheck *c, nas_tensor **x) {
    nas_tensor *part[3];
    int64_t lengths[3] = {(int64_t)c->a[1], (int64_t)c->a[2], (int64_t)c->a[3]};
    assert_true(nas_split(x[0], (int)c->a[0], 3, lengths, part));
    return nas_concat(4, (nas_tensor *[]){part[2], part[0], part[1], part[0]}, (int)c->a[0]);
}

static shape naive_split(const gradcheck *c, double *const *x, double *y) {
    static double part[1 << 16];
    int dim = (int)c->a[0];
    int64_t first = (int64_t)c->a[1], second = (int64_t)c->a[2], third = (int64_t)c->a[3];
    int64_t begin[4] = {first + second, 0, first, 0}, length[4] = {third, first, second, first};
    shape out = c->in[0];
    out.d[dim] += first;
    for (int64_t i = 0, at = 0; i < 4; at += length[i++]) {
        shape s = take(&c->in[0], x[0], dim, begin[i], length[i], part);
        put(&out, y, &s, part, dim, at);
    }
    return out;
}

/* a: groups */
static nas_tensor *run_shuffle(const gradcheck *c, nas_tensor **x) { return nas_channel_shuffle(x[0], (int)c->a[0]); }

static shape naive_shuffle(const gradcheck *c, double *const *x, double *y) {
    const int64_t *d = c->in[0].d, hw = d[2] * d[3], groups = (int64_t)c->a[0], wide = d[1] / groups;
    for (int64_t i = 0; i < d[0] * d[1]; i++) {
        int64_t channel = i % d[1], from = channel % groups * wide + channel / groups;
        memcpy(y + i * hw, x[0] + (i - channel + from) * hw, (size_t)hw * sizeof *y);
    }
    return c->in[0];
}

/* Odd ones first, so that the order matters; a: 1 when the even ones are not used. */
static nas_tensor *run_even_odd(const gradcheck *c, nas_tensor **x) {
    nas_tensor *part[2];
    assert_true(nas_split_even_odd(x[0], part));
    return nas_concat(2, (nas_tensor *[]){part[1], c->a[0] ? part[1] : part[0]}, 1);
}

static shape naive_even_odd(const gradcheck *c, double *const *x, double *y) {
    const int64_t *d = c->in[0].d, hw = d[2] * d[3], half = d[1] / 2;
    for (int64_t i = 0; i < d[0] * d[1]; i++) {
        int64_t channel = i % d[1], from = 2 * (channel % half) + (channel < half || c->a[0] ? 1 : 0);
        memcpy(y + i * hw, x[0] + (i - channel + from) * hw, (size_t)hw * sizeof *y);
    }
    return c->in[0];
}

/* a: top, bottom, left, right */
static nas_tensor *run_pad(const gradcheck *c, nas_tensor **x) {
    return nas_pad(x[0], (int)c->a[0], (int)c->a[1], (int)c->a[2], (int)c->a[3]);
}

static shape naive_pad(const gradcheck *c, double *const *x, double *y) {
    const int64_t *d = c->in[0].d;
    int64_t h = d[2] + (int64_t)(c->a[0] + c->a[1]), w = d[3] + (int64_t)(c->a[2] + c->a[3]);
    for (int64_t i = 0; i < d[0] * d[1] * h * w; i++) {
        int64_t p = i / (h * w), sy = i / w % h - (int64_t)c->a[0], sx = i % w - (int64_t)c->a[2];
        y[i] = sy >= 0 && sy < d[2] && sx >= 0 && sx < d[3] ? x[0][(p * d[2] + sy) * d[3] + sx] : 0;
    }
    return (shape){4, {d[0], d[1], h, w}};
}

/* a: the new shape, 0 at its end */
static shape wanted(const gradcheck *c) {
    shape s = {0};
    while (c->a[s.n]) {
        s.d[s.n] = (int64_t)c->a[s.n];
        s.n++;
    }
    return s;
}

static nas_tensor *run_reshape(const gradcheck *c, nas_tensor **x) {
    shape s = wanted(c);
    return nas_reshape(x[0], s.n, s.d);
}

static shape naive_reshape(const gradcheck *c, double *const *x, double *y) {
    shape s = wanted(c);
    int64_t known = 1;
    for (int i = 0; i < s.n; i++) {
        known *= s.d[i] == -1 ? 1 : s.d[i];
    }
    for (int i = 0; i < s.n; i++) {
        s.d[i] = s.d[i] == -1 ? shape_count(&c->in[0]) / known : s.d[i];
    }
    memcpy(y, x[0], (size_t)shape_count(&c->in[0]) * sizeof *y);
    return s;
}

static nas_tensor *run_flatten(const gradcheck *c, nas_tensor **x) {
    (void)c;
    return nas_flatten(x[0]);
}

static shape naive_flatten(const gradcheck *c, double *const *x, double *y) {
    const shape *s = &c->in[0];
    memcpy(y, x[0], (size_t)shape_count(s) * sizeof *y);
    return (shape){2, {s->d[0], shape_count(s) / s->d[0]}};
}

/* a: dim, for those that have one */
static nas_tensor *run_reduce(const gradcheck *c, nas_tensor **x) {
    if (!strcmp(c->op, "sum") || !strcmp(c->op, "mean")) {
        return !strcmp(c->op, "sum") ? nas_sum(x[0]) : nas_mean(x[0]);
    }
    return !strcmp(c->op, "sum_dim") ? nas_sum_dim(x[0], (int)c->a[0]) : nas_mean_dim(x[0], (int)c->a[0]);
}

static shape naive_reduce(const gradcheck *c, double *const *x, double *y) {
    shape s = c->in[0], out = {1, {1}};
    int dim = (int)c->a[0];
    if (!strcmp(c->op, "sum") || !strcmp(c->op, "mean")) {
        s = (shape){1, {shape_count(&s)}};
        dim = 0;
    } else if (s.n > 1) {
        out.n = s.n - 1;
        for (int i = 0, k = 0; i < s.n; i++) {
            if (i != dim) {
                out.d[k++] = s.d[i];
            }
        }
    }
    int64_t inner = inner_of(&s, dim);
    for (int64_t i = 0; i < shape_count(&out); i++) {
        y[i] = 0;
        for (int64_t k = 0; k < s.d[dim]; k++) {
            y[i] += x[0][(i / inner * s.d[dim] + k) * inner + i % inner] / (c->op[0] == 'm' ? (double)s.d[dim] : 1);
        }
    }
    return out;
}

/* a: rows of the table */
static nas_tensor *run_embedding(const gradcheck *c, nas_tensor **x) {
    (void)c;
    return nas_embedding(x[0], x[1]);
}

static shape naive_embedding(const gradcheck *c, double *const *x, double *y) {
    int64_t n = c->in[0].d[0], d = c->in[1].d[1];
    for (int64_t i = 0; i < n * d; i++) {
        y[i] = x[1][(int64_t)(x[0][i / d] + 0.5) * d + i % d];
    }
    return (shape){2, {n, d}};
}

/* x, h, c, weight, bias; both results side by side */
static nas_tensor *run_lstm(const gradcheck *c, nas_tensor **x) {
    nas_tensor *state[2];
    assert_true(nas_lstm_cell(x[0], x[1], x[2], x[3], c->in[4].n ? x[4] : NULL, &state[0], &state[1]));
    return nas_concat(2, state, 1);
}

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

static shape naive_lstm(const gradcheck *c, double *const *x, double *y) {
    int64_t n = c->in[0].d[0], in = c->in[0].d[1], hidden = c->in[1].d[1];
    for (int64_t i = 0; i < n * hidden; i++) {
        int64_t r = i / hidden, u = i % hidden;
        double gate[4];
        for (int g = 0; g < 4; g++) {
            const double *w = x[3] + (g * hidden + u) * (in + hidden);
            gate[g] = c->in[4].n ? x[4][g * hidden + u] : 0;
            for (int64_t k = 0; k < in + hidden; k++) {
                gate[g] += w[k] * (k < in ? x[0][r * in + k] : x[1][r * hidden + k - in]);
            }
        }
        double cell = sigmoid(gate[1]) * x[2][i] + sigmoid(gate[0]) * tanh(gate[3]);
        y[r * 2 * hidden + hidden + u] = cell;
        y[r * 2 * hidden + u] = sigmoid(gate[2]) * tanh(cell);
    }
    return (shape){2, {n, 2 * hidden}};
}

#define CASE(op, how, ...)                                                                                             \
    { op, run_##how, naive_##how, __VA_ARGS__ }
static const gradcheck cases[] = {
    CASE("concat", concat, {{4, {2, 3, 3, 5}}, {4, {2, 17, 3, 5}}, {4, {2, 1, 3, 5}}}, {1}),
    CASE("concat", concat, {{4, {2, 16, 3, 5}}, {4, {2, 32, 3, 5}}}, {1}),
    CASE("concat", concat, {{4, {1, 8, 3, 3}}, {4, {1, 8, 3, 3}}}, {1}),
    CASE("concat", concat, {{4, {2, 3, 3, 5}}, {4, {1, 3, 3, 5}}}, {0}),
    CASE("concat", concat, {{4, {2, 17, 3, 5}}, {4, {2, 17, 1, 5}}}, {2}),
    CASE("concat", concat, {{4, {2, 3, 3, 5}}, {4, {2, 3, 3, 2}}}, {3}),
    CASE("concat", concat, {{2, {3, 5}}, {2, {3, 2}}}, {1}),
    CASE("slice", slice, {{4, {2, 17, 3, 5}}}, {1, 3, 7}),
    CASE("slice", slice, {{4, {2, 40, 3, 5}}}, {1, 9, 30}),
    CASE("slice", slice, {{4, {2, 40, 3, 5}}}, {1, 16, 16}),
    CASE("slice", slice, {{4, {3, 17, 3, 5}}}, {0, 1, 2}),
    CASE("slice", slice, {{4, {2, 17, 5, 3}}}, {2, 2, 2}),
    CASE("slice", slice, {{4, {2, 3, 5, 7}}}, {3, 1, 5}),
    CASE("slice", slice, {{3, {2, 3, 5}}}, {1, 0, 3}),
    CASE("split", split, {{4, {2, 17, 3, 3}}}, {1, 5, 8, 4}),
    CASE("split", split, {{4, {1, 64, 2, 3}}}, {1, 16, 16, 32}),
    CASE("split", split, {{2, {3, 9}}}, {1, 2, 3, 4}),
    CASE("split", split, {{4, {6, 3, 2, 3}}}, {0, 1, 2, 3}),
    CASE("channel_shuffle", shuffle, {{4, {2, 6, 3, 5}}}, {2}),
    CASE("channel_shuffle", shuffle, {{4, {2, 40, 9, 9}}}, {4}),
    CASE("channel_shuffle", shuffle, {{4, {1, 32, 2, 2}}}, {1}),
    CASE("split_even_odd", even_odd, {{4, {2, 6, 3, 5}}}),
    CASE("split_even_odd", even_odd, {{4, {2, 44, 9, 9}}}),
    CASE("split_even_odd", even_odd, {{4, {1, 32, 3, 3}}}, {1}),
    CASE("pad", pad, {{4, {2, 17, 3, 5}}}, {1, 2, 3, 0}),
    CASE("pad", pad, {{4, {1, 3, 6, 5}}}, {-1, 2, 1, -2}),
    CASE("pad", pad, {{4, {1, 3, 6, 5}}}, {-2, -3, -1, -1}),
    CASE("pad", pad, {{4, {1, 2, 3, 3}}}, {5, -4, -2, 3}),
    CASE("reshape", reshape, {{4, {2, 3, 4, 5}}}, {6, -1}),
    CASE("reshape", reshape, {{4, {1, 32, 3, 2}}}, {2, 16, 2, 3}),
    CASE("reshape", reshape, {{1, {7}}}, {7, 1, 1, 1}),
    CASE("flatten", flatten, {{4, {2, 17, 3, 2}}}),
    CASE("flatten", flatten, {{1, {5}}}),
    CASE("sum", reduce, {{4, {2, 17, 3, 2}}}),
    CASE("sum", reduce, {{2, {3, 7001}}}),
    CASE("mean", reduce, {{4, {2, 17, 3, 2}}}),
    CASE("mean", reduce, {{1, {1}}}),
    CASE("sum_dim", reduce, {{4, {2, 17, 3, 2}}}, {1}),
    CASE("sum_dim", reduce, {{3, {4, 3, 65}}}, {0}),
    CASE("sum_dim", reduce, {{1, {9}}}, {0}),
    CASE("mean_dim", reduce, {{4, {2, 17, 3, 2}}}, {3}),
    CASE("mean_dim", reduce, {{2, {5, 7}}}, {0}),
    CASE("mean_dim", reduce, {{2, {300, 70}}}, {0}),
    CASE("embedding", embedding, {{1, {7}}, {2, {4, 5}}}, {4}, {CLASSES}, .constant = 1),
    CASE("embedding", embedding, {{1, {1}}, {2, {1, 1}}}, {1}, {CLASSES}, .constant = 1),
    CASE("lstm_cell", lstm, {{2, {3, 5}}, {2, {3, 7}}, {2, {3, 7}}, {2, {28, 12}}, {1, {28}}}),
    CASE("lstm_cell", lstm, {{2, {1, 1}}, {2, {1, 2}}, {2, {1, 2}}, {2, {8, 3}}}),
};
const gradcheck_family shape_cases = {cases, sizeof cases / sizeof *cases};
