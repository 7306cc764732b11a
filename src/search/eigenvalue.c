/* eigenvalue.c - see eigenvalue.h */
#include "search/eigenvalue.h"
#include "core/error.h"
#include "core/memory.h"
#include "tensor/tensor.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ITERATIONS = 12 };
static const double eps = 0.01, precision = 0.01;

typedef struct vectors {
    size_t count;
    float *values;             /* alpha as it was */
    double *direction, *image; /* v and H v */
    float *scratch;
} vectors;

static void move(const nas__curvature *c, const vectors *v, double factor) {
    size_t at = 0;
    for (size_t i = 0; i < c->n; i++) {
        float *alpha = c->alphas[i]->data;
        for (int64_t k = 0; k < nas__count(c->alphas[i]); k++, at++) {
            alpha[k] = factor != 0 ? (float)(v->values[at] + factor * v->direction[at]) : v->values[at];
        }
    }
}

static nas_status add_side(const nas__curvature *c, vectors *v, double sign) {
    move(c, v, sign * eps);
    nas_status status = c->differentiate(c->user);
    size_t at = 0;
    for (size_t i = 0; i < c->n; i++) {
        nas_tensor_read_grad(c->alphas[i], v->scratch);
        nas_zero_grad(c->alphas[i]);
        for (int64_t k = 0; k < nas__count(c->alphas[i]); k++, at++) {
            v->image[at] += sign * v->scratch[k] / (2 * eps);
        }
    }
    return status;
}

static double dot(const double *a, const double *b, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += a[i] * b[i];
    }
    return sum;
}

/* direction = from / |from|; false when that is no direction. */
static bool turn(vectors *v, const double *from) {
    double length = sqrt(dot(from, from, v->count));
    for (size_t i = 0; length > 0 && i < v->count; i++) {
        v->direction[i] = from[i] / length;
    }
    return length > 0;
}

static nas_status iterate(const nas__curvature *c, vectors *v, double *value) {
    int most = c->iterations > 0 ? c->iterations : ITERATIONS;
    nas_rng rng = c->rng;
    for (size_t i = 0; i < v->count; i++) {
        v->image[i] = nas_rng_normal(&rng);
    }
    *value = 0;
    for (int i = 0; i < most && turn(v, v->image); i++) {
        memset(v->image, 0, v->count * sizeof *v->image);
        nas_status status = add_side(c, v, 1);
        status = status ? status : add_side(c, v, -1);
        if (status) {
            return status;
        }
        double before = *value;
        *value = dot(v->direction, v->image, v->count);
        if (fabs(*value - before) <= precision * fabs(*value)) {
            break;
        }
    }
    return NAS_OK;
}

nas_status nas__dominant_eigenvalue(const nas__curvature *c, double *value) {
    vectors v = {0};
    for (size_t i = 0; i < c->n; i++) {
        v.count += (size_t)nas__count(c->alphas[i]);
    }
    double *memory = nas__alloc(v.count * (2 * sizeof(double) + 2 * sizeof(float)));
    if (!memory) {
        return nas_error_status();
    }
    v.direction = memory;
    v.image = v.direction + v.count;
    v.values = (float *)(v.image + v.count);
    v.scratch = v.values + v.count;
    size_t at = 0;
    for (size_t i = 0; i < c->n; i++) {
        memcpy(v.values + at, c->alphas[i]->data, (size_t)nas__count(c->alphas[i]) * sizeof *v.values);
        at += (size_t)nas__count(c->alphas[i]);
    }
    nas_status status = iterate(c, &v, value);
    move(c, &v, 0);
    free(memory);
    return status ? status : nas_error_status();
}
