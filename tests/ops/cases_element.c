/* cases_element.c - functions of one element, and random masks. */
#include "ops/gradcheck.h"

#include <math.h>
#include <string.h>

static double relu(double x) { return x > 0 ? x : 0; }
static double relu6(double x) { return fmin(relu(x), 6); }
static double sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double gelu(double x) { return 0.5 * x * (1 + erf(x / sqrt(2))); }
static double swish(double x) { return x * sigmoid(x); }

static double hard_sigmoid(double x) { return fmin(relu(x + 3), 6) / 6; }
static double hard_swish(double x) { return x * hard_sigmoid(x); }

static const struct function {
    const char *name;
    nas_tensor *(*op)(nas_tensor *x);
    double (*f)(double x);
} functions[] = {{"relu", nas_relu, relu},
                 {"relu6", nas_relu6, relu6},
                 {"sigmoid", nas_sigmoid, sigmoid},
                 {"tanh", nas_tanh, tanh},
                 {"gelu", nas_gelu, gelu},
                 {"swish", nas_swish, swish},
                 {"exp", nas_exp, exp},
                 {"log", nas_log, log},
                 {"hard_sigmoid", nas_hard_sigmoid, hard_sigmoid},
                 {"hard_swish", nas_hard_swish, hard_swish}};

static const struct function *find(const gradcheck *c) {
    const struct function *f = functions;
    while (strcmp(f->name, c->op)) {
        f++;
    }
    return f;
}

/* The shape, then the function: both layouts of odd, whole-block and large ones. */
static nas_tensor *run_function(const gradcheck *c, nas_tensor **x) { return find(c)->op(x[0]); }

static shape naive_function(const gradcheck *c, double *const *x, double *y) {
    for (int64_t i = 0; i < shape_count(&c->in[0]); i++) {
        y[i] = find(c)->f(x[0][i]);
    }
    return c->in[0];
}

/* a: factor or value */
static nas_tensor *run_scalar(const gradcheck *c, nas_tensor **x) {
    return strcmp(c->op, "scale") ? nas_add_scalar(x[0], (float)c->a[0]) : nas_scale(x[0], (float)c->a[0]);
}

static shape naive_scalar(const gradcheck *c, double *const *x, double *y) {
    for (int64_t i = 0; i < shape_count(&c->in[0]); i++) {
        y[i] = strcmp(c->op, "scale") ? x[0][i] + (float)c->a[0] : x[0][i] * (float)c->a[0];
    }
    return c->in[0];
}

/* a: probability. The mask is what the same pass makes of ones. */
static nas_tensor *run_mask(const gradcheck *c, nas_tensor **x) {
    return strcmp(c->op, "dropout") ? nas_drop_path(x[0], (float)c->a[0]) : nas_dropout(x[0], (float)c->a[0]);
}

static shape naive_mask(const gradcheck *c, double *const *x, double *y) {
    static float ones[4096], mask[4096];
    int64_t count = shape_count(&c->in[0]);
    for (int64_t i = 0; i < count; i++) {
        ones[i] = 1;
    }
    nas_tape *tape = nas_tape_new();
    nas_tape_begin(tape, &c->pass);
    nas_tensor *input = nas_input(c->in[0].n, c->in[0].d, ones);
    nas_tensor_read(run_mask(c, &input), mask);
    nas_tape_free(tape);
    for (int64_t i = 0; i < count; i++) {
        y[i] = x[0][i] * mask[i];
    }
    return c->in[0];
}

#define ONE(name, how)                                                                                                 \
    {.op = name, .run = run_function, .naive = naive_function, .in = {{4, {2, 3, 5, 7}}}, .fill = {how}},              \
        {.op = name, .run = run_function, .naive = naive_function, .in = {{4, {1, 16, 3, 3}}}, .fill = {how}},         \
        {.op = name, .run = run_function, .naive = naive_function, .in = {{4, {1, 40, 2, 3}}}, .fill = {how}},         \
        {.op = name, .run = run_function, .naive = naive_function, .in = {{2, {3, 17}}}, .fill = {how}}, {             \
        .op = name, .run = run_function, .naive = naive_function, .in = {{1, {1}}}, .fill = { how }                    \
    }
#define MASK(name, p, ...)                                                                                             \
    {                                                                                                                  \
        .op = name, .run = run_mask, .naive = naive_mask, .a = {p}, .in = {__VA_ARGS__}, .pass = {                     \
            .training = true,                                                                                          \
            .seed = 3,                                                                                                 \
            .step = 9                                                                                                  \
        }
static const gradcheck
    cases[] = {ONE("relu", SPACED),
               ONE("relu6", SPACED),
               ONE("sigmoid", UNIFORM),
               ONE("tanh", UNIFORM),
               ONE("gelu", UNIFORM),
               ONE("swish", UNIFORM),
               ONE("hard_sigmoid", SPACED),
               ONE("hard_swish", SPACED),
               ONE("exp", UNIFORM),
               ONE("log", POSITIVE),
               {"relu6", run_function, naive_function, {{4, {1, 17, 9, 11}}}, .fill = {SPACED}}, /* reaches beyond 6 */
               {"hard_sigmoid", run_function, naive_function, {{4, {1, 17, 9, 11}}}, .fill = {SPACED}}, /* beyond +-3 */
               {"hard_swish", run_function, naive_function, {{4, {1, 17, 9, 11}}}, .fill = {SPACED}},
               {"exp", run_function, naive_function, {{2, {3, 7001}}}}, /* large enough for threads */
               {"log", run_function, naive_function, {{2, {3, 7001}}}, .fill = {POSITIVE}},
               {"scale", run_scalar, naive_scalar, {{4, {2, 17, 3, 5}}}, {-1.7}},
               {"scale", run_scalar, naive_scalar, {{1, {1}}}, {0.3}},
               {"add_scalar", run_scalar, naive_scalar, {{4, {2, 17, 3, 5}}}, {-1.7}},
               {"add_scalar", run_scalar, naive_scalar, {{4, {2, 16, 3, 5}}}, {2}},
               {"add_scalar", run_scalar, naive_scalar, {{1, {1}}}, {0.3}},
               MASK("dropout", 0.4, {4, {2, 3, 5, 7}}),
               .plain_only = true},
    MASK("dropout", 0.2, {2, {37, 41}})
}
, MASK("drop_path", 0.5, {4, {7, 17, 3, 2}})
}
, MASK("drop_path", 0.3, {2, {11, 5}})
}
,
}
;
const gradcheck_family element_cases = {cases, sizeof cases / sizeof *cases};
