/* gradcheck.c - see gradcheck.h */
#include "ops/gradcheck.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { MOST_VALUES = 1 << 18, SAMPLES = 24 };
static const double step = 1e-5, value_tolerance = 2e-5, gradient_tolerance = 2e-4;

int64_t shape_count(const shape *s) {
    int64_t count = 1;
    for (int i = 0; i < s->n; i++) {
        count *= s->d[i];
    }
    return count;
}

int count_inputs(const gradcheck *c) {
    int n = 0;
    while (n < MOST_INPUTS && c->in[n].n) {
        n++;
    }
    return n;
}

static const char *describe(const gradcheck *c) {
    static char text[256];
    int used = snprintf(text, sizeof text, "%s, x ", c->op);
    for (int i = 0; i < c->in[0].n; i++) {
        used += snprintf(text + used, sizeof text - (size_t)used, i ? "x%lld" : "%lld", (long long)c->in[0].d[i]);
    }
    for (int i = 0; i < 10; i++) {
        used += snprintf(text + used, sizeof text - (size_t)used, " %g", c->a[i]);
    }
    return text;
}

static void fill_input(const gradcheck *c, int i, float *values) {
    size_t count = (size_t)shape_count(&c->in[i]);
    nas_rng rng = nas_rng_new(11, (uint64_t)i);
    int32_t *order = calloc(count, sizeof *order);
    for (size_t k = 0; k < count; k++) {
        order[k] = (int32_t)k;
    }
    nas_rng_shuffle(&rng, order, count);
    for (size_t k = 0; k < count; k++) {
        double u = nas_rng_uniform(&rng);
        switch (c->fill[i]) {
        case UNIFORM:
            values[k] = (float)(2 * u - 1);
            break;
        case POSITIVE:
            values[k] = (float)(0.5 + 1.5 * u);
            break;
        case SPACED:
            values[k] = (float)(0.01 * (order[k] - (double)count / 2) + 0.004);
            break;
        case CLASSES:
            values[k] = (float)nas_rng_below(&rng, (uint32_t)c->a[0]);
            break;
        }
    }
    free(order);
}

typedef struct work {
    int n;
    float *x[MOST_INPUTS], *gradient[MOST_INPUTS], *r;
    double *exact[MOST_INPUTS], *y;
    nas_tensor *variable[MOST_INPUTS];
    shape out;
} work;

static void prepare(const gradcheck *c, work *w) {
    w->n = count_inputs(c);
    for (int i = 0; i < w->n; i++) {
        size_t count = (size_t)shape_count(&c->in[i]);
        w->x[i] = calloc(count, sizeof(float));
        w->gradient[i] = calloc(count, sizeof(float));
        w->exact[i] = calloc(count, sizeof(double));
        fill_input(c, i, w->x[i]);
        for (size_t k = 0; k < count; k++) {
            w->exact[i][k] = w->x[i][k];
        }
        w->variable[i] = nas_variable(c->in[i].n, c->in[i].d, c->constant >> i & 1 ? NAS_ROLE_BUFFER : NAS_ROLE_WEIGHT);
        nas_tensor_write(w->variable[i], w->x[i]);
    }
    w->y = calloc(MOST_VALUES, sizeof(double));
    w->out = c->naive(c, w->exact, w->y);
    w->r = random_floats(5, (size_t)shape_count(&w->out));
    assert_true(shape_count(&w->out) <= MOST_VALUES);
}

static void finish(work *w) {
    for (int i = 0; i < w->n; i++) {
        free(w->x[i]);
        free(w->gradient[i]);
        free(w->exact[i]);
        nas_tensor_free(w->variable[i]);
    }
    free(w->y);
    free(w->r);
}

static void compare_values(const gradcheck *c, const work *w, const nas_tensor *y) {
    if (nas_tensor_ndim(y) != w->out.n) {
        fail_msg("%s: %d dimensions instead of %d: %s", describe(c), nas_tensor_ndim(y), w->out.n, nas_error_message());
    }
    for (int i = 0; i < w->out.n; i++) {
        if (nas_tensor_dim(y, i) != w->out.d[i]) {
            fail_msg("%s: dimension %d is %d instead of %d", describe(c), i, (int)nas_tensor_dim(y, i),
                     (int)w->out.d[i]);
        }
    }
    size_t count = (size_t)shape_count(&w->out);
    float *got = calloc(count, sizeof(float));
    double most = 0;
    assert_int_equal(nas_tensor_read(y, got), NAS_OK);
    for (size_t i = 0; i < count; i++) {
        most = fmax(most, fabs(w->y[i]));
    }
    for (size_t i = 0; i < count; i++) {
        if (!(fabs(got[i] - w->y[i]) <= value_tolerance * (most + 1e-3))) {
            fail_msg("%s: value %zu is %.9g instead of %.9g", describe(c), i, (double)got[i], w->y[i]);
        }
    }
    free(got);
}

static double projection(const gradcheck *c, work *w, double *y) {
    double sum = 0;
    c->naive(c, w->exact, y);
    for (int64_t i = 0; i < shape_count(&w->out); i++) {
        sum += y[i] * w->r[i];
    }
    return sum;
}

/* `factor`: what the tape's loss is of the projection */
static void compare_gradients(const gradcheck *c, work *w, int input, double factor) {
    int64_t count = shape_count(&c->in[input]), stride = count > SAMPLES ? count / SAMPLES : 1;
    double *scratch = calloc(MOST_VALUES, sizeof(double)), differences[2 * SAMPLES + 2], most = 0;
    int n = 0;
    for (int64_t k = count > SAMPLES ? 1 : 0; k < count && n < 2 * SAMPLES; k += stride, n++) {
        double *at = &w->exact[input][k], kept = *at;
        *at = kept + step;
        double above = projection(c, w, scratch);
        *at = kept - step;
        differences[n] = factor * (above - projection(c, w, scratch)) / (2 * step);
        *at = kept;
        most = fmax(most, fabs(differences[n]));
    }
    n = 0;
    for (int64_t k = count > SAMPLES ? 1 : 0; k < count && n < 2 * SAMPLES; k += stride, n++) {
        if (!(fabs(w->gradient[input][k] - differences[n]) <= gradient_tolerance * (most + 1e-3))) {
            fail_msg("%s: gradient %lld of input %d is %.9g instead of %.9g", describe(c), (long long)k, input,
                     (double)w->gradient[input][k], differences[n]);
        }
    }
    free(scratch);
}

static nas_tensor *project(const work *w, nas_tensor *y, bool second) {
    nas_tensor *r = nas_input(w->out.n, w->out.d, w->r);
    return nas_sum(nas_mul(second ? nas_scale(y, -0.5f) : y, r));
}

static void one_run(const gradcheck *c, work *w, bool second) {
    nas_tape *tape = nas_tape_new();
    nas_tape_config pass = c->pass;
    pass.grad = NAS_ROLE_WEIGHT;
    for (int times = 0; times <= second; times++) { /* the second time adds to the first one's gradients */
        nas_tape_begin(tape, &pass);
        nas_tensor *inputs[MOST_INPUTS] = {0};
        for (int i = 0; i < w->n; i++) {
            inputs[i] = second ? nas__as(w->variable[i], NAS__BLOCKED) : w->variable[i];
        }
        nas_tensor *y = c->run(c, inputs);
        compare_values(c, w, y);
        nas_tensor *loss = project(w, y, second);
        if (nas_backward(loss)) {
            fail_msg("%s: %s", describe(c), nas_error_message());
        }
    }
    for (int i = 0; i < w->n; i++) {
        if (!(c->constant >> i & 1)) {
            nas_tensor_read_grad(w->variable[i], w->gradient[i]);
            compare_gradients(c, w, i, second ? -1 : 1);
            nas_zero_grad(w->variable[i]);
        }
    }
    nas_tape_free(tape);
    assert_no_error();
}

void run_gradcheck(const gradcheck *c) {
    work w = {0};
    nas_error_clear();
    prepare(c, &w);
    one_run(c, &w, false);
    if (!c->plain_only) {
        one_run(c, &w, true);
    }
    finish(&w);
}
