/* Even and odd channels of several tensors, of every instruction set against plain loops, forward and backward. */
#include "late_reference.h"

enum { N = 3, HW = 70, PARTS = 2, MOST = 3 * 16 + 20 };

/* Two parts, the first of whole blocks; the second is read behind a norm and a ReLU6, and its sums are wanted. */
typedef struct problem {
    int c[PARTS], all;
    float *x[PARTS], *scale, *shift, *half[2], *dx[PARTS];
    double sums[2][MOST];
    nas__on_load load[PARTS];
} problem;

static size_t count(const problem *p, int part) { return (size_t)N * p->c[part] * HW; }

static void solve(problem *p) {
    for (int c = 0; c < p->all; c++) {
        const int part = c >= p->c[0], own = part ? c - p->c[0] : c;
        for (int image = 0; image < N; image++) {
            for (int i = 0; i < HW; i++) {
                const size_t at = ((size_t)image * p->c[part] + own) * HW + i,
                             to = ((size_t)image * (p->all / 2) + c / 2) * HW + i;
                const double x = p->x[part][at], h = before_act(&p->load[part], own, x);
                p->dx[part][at] = 1 + 0.01f * (float)(to % 97) * (c % 2 ? 1 : -1);
                p->dx[part][at] *= !part || passes(h, p->load[part].cap);
                p->half[c % 2][to] = (float)activate(&p->load[part], h);
                p->sums[0][own] += part ? (double)p->dx[part][at] : 0;
                p->sums[1][own] += part ? (double)p->dx[part][at] * x : 0;
            }
        }
    }
}

/* The gradient of a half that solve() hands back. */
static float *half_gradient(const problem *p, int odd) {
    const size_t n = (size_t)N * (p->all / 2) * HW;
    float *g = malloc(n * sizeof *g);
    for (size_t i = 0; i < n; i++) {
        g[i] = 1 + 0.01f * (float)(i % 97) * (odd ? 1 : -1);
    }
    return g;
}

static void check(const nas__kernels *k, problem *p, bool accumulate) {
    const int b = k->block, blocks[PARTS] = {padded(p->c[0], b) / b, padded(p->c[1], b) / b}, half = p->all / 2;
    const nas__halves s = {.n = N, .hw = HW, .parts = PARTS, .blocks = {blocks[0], blocks[1]}};
    float *x[PARTS], *dx[PARTS], *y[2], *g[2];
    nas__on_load load[PARTS] = {{0}, load_to_blocked(&p->load[1], 1, p->c[1], b)};
    double sums[2 * MOST];
    for (int i = 0; i < PARTS; i++) {
        float *before = calloc(count(p, i), sizeof *before), *plain = half_gradient(p, i);
        x[i] = to_blocked(p->x[i], N, p->c[i], HW, b);
        dx[i] = accumulate ? to_blocked(before, N, p->c[i], HW, b) : new_array((size_t)N * blocks[i] * b * HW);
        y[i] = new_array((size_t)N * padded(half, b) * HW);
        g[i] = to_blocked(plain, N, half, HW, b);
        free(before);
        free(plain);
    }
    k->halves_forward(&s, (const float *const *)x, load, y[0], y[1]);
    k->halves_backward(&s, &(nas__halves_grads){.even = g[0],
                                                .odd = g[1],
                                                .x = (const float *const *)x,
                                                .load = load,
                                                .dx = dx,
                                                .accumulate = (bool[]){accumulate, accumulate},
                                                .in_sums = (double *[]){NULL, sums}});
    for (int c = 0; c < p->c[1]; c++) {
        assert_true(fabs(sums[c] - p->sums[0][c]) < 1e-3);
        assert_true(fabs(sums[blocks[1] * b + c] - p->sums[1][c]) < 1e-3);
    }
    for (int i = 0; i < PARTS; i++) {
        check_blocked(y[i], p->half[i], N, half, HW, b, 1e-6, "a half");
        check_blocked(dx[i], p->dx[i], N, p->c[i], HW, b, 1e-6, "a gradient");
        free(x[i]);
        free(g[i]);
    }
    free((void *)load[1].scale);
    free((void *)load[1].shift);
}

static void against_loops(int first, int second) {
    problem p = {.c = {first, second}, .all = first + second};
    for (int i = 0; i < PARTS; i++) {
        p.x[i] = random_floats(7 + (uint64_t)i, count(&p, i));
        p.dx[i] = malloc(count(&p, i) * sizeof(float));
        p.half[i] = malloc((size_t)N * (p.all / 2) * HW * sizeof(float));
    }
    p.scale = random_floats(9, (size_t)second);
    p.shift = random_floats(10, (size_t)second);
    p.load[1] = (nas__on_load){.scale = p.scale, .shift = p.shift, .relu = true, .cap = 0.5f};
    solve(&p);
    const nas__kernels *tables[3];
    for (int t = 0, n = nas__usable_kernel_tables(tables); t < n; t++) {
        check(tables[t], &p, false);
        check(tables[t], &p, true);
    }
    for (int i = 0; i < PARTS; i++) {
        free(p.x[i]);
        free(p.dx[i]);
        free(p.half[i]);
    }
    free(p.scale);
    free(p.shift);
}

static void equal_parts(void **state) {
    (void)state;
    against_loops(16, 16);
    against_loops(48, 48); /* a pair of blocks of both */
}

static void other_parts(void **state) {
    (void)state;
    against_loops(48, 20); /* an odd number of blocks, or a tail */
    against_loops(16, 48);
    against_loops(32, 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(equal_parts), cmocka_unit_test(other_parts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
